//! How all series of one name in one step are written down: a byte that says the form, then, deflated:
//!
//! ```text
//! kind  bound tables: count, each: count, numbers  series: count, each: labels: count, each: name, value;  point
//! ```
//!
//! Integers are in groups of seven bits, texts have their length in front, and a number that is a whole one takes no more room than
//! an integer. Whatever is read, reading ends, and takes no more memory than the row may have.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use super::point::{Gauge, Point};
use super::query::Filter;
use crate::metrics::snapshot::{Histogram, Kind, Labels};

/// The form that is written. A reader leaves out rows of another.
const FORM: u8 = 1;
/// Bytes of a row before it is deflated that are read. Five thousand series with the longest labels have fewer.
const BYTES_MAX: u64 = 16 << 20;
/// Whole numbers below this are exact.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// The row is in a form that this host does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a row of the history of metrics has a form that this host does not know")]
pub(super) struct UnknownForm;

/// Writes the series of one name, all of one kind.
pub(super) fn encode(kind: Kind, series: &[(Labels, Point)]) -> Vec<u8> {
    let mut tables: Vec<Vec<f64>> = Vec::new();
    let mut body = Vec::new();
    put_integer(&mut body, series.len() as u64);
    for (labels, point) in series {
        put_integer(&mut body, labels.len() as u64);
        for (name, value) in labels.iter() {
            put_text(&mut body, name);
            put_text(&mut body, value);
        }
        match point {
            Point::Counter(increase) => put_number(&mut body, *increase),
            Point::Gauge(gauge) => put_gauge(&mut body, gauge),
            Point::Histogram(histogram) => put_histogram(&mut body, histogram, &mut tables),
        }
    }
    let mut head = vec![match kind {
        Kind::Counter => 0,
        Kind::Gauge => 1,
        Kind::Histogram => 2,
    }];
    put_integer(&mut head, tables.len() as u64);
    for table in &tables {
        put_integer(&mut head, table.len() as u64);
        table.iter().for_each(|bound| put_number(&mut head, *bound));
    }
    let mut encoder = DeflateEncoder::new(vec![FORM], Compression::fast());
    encoder.write_all(&head).and_then(|()| encoder.write_all(&body)).expect("writing to memory does not fail");
    encoder.finish().expect("writing to memory does not fail")
}

/// Reads the series that a filter takes, and calls `each` with them; returns how many there were in all.
pub(super) fn decode(row: &[u8], filter: &Filter, each: impl FnMut(Labels, Point)) -> Result<usize, UnknownForm> {
    let (form, deflated) = row.split_first().ok_or(UnknownForm)?;
    if *form != FORM {
        return Err(UnknownForm);
    }
    let mut bytes = Vec::new();
    DeflateDecoder::new(deflated).take(BYTES_MAX).read_to_end(&mut bytes).map_err(|_| UnknownForm)?;
    read(&mut Reader(&bytes), filter, each).ok_or(UnknownForm)
}

fn read(reader: &mut Reader<'_>, filter: &Filter, mut each: impl FnMut(Labels, Point)) -> Option<usize> {
    let kind = match reader.byte()? {
        0 => Kind::Counter,
        1 => Kind::Gauge,
        2 => Kind::Histogram,
        _ => return None,
    };
    let tables: Vec<Vec<f64>> = reader.many(|reader| reader.many(Reader::number))?;
    let count = reader.count()?;
    for _ in 0..count {
        let labels = reader.many(|reader| Some((reader.text()?, reader.text()?)))?;
        let point = match kind {
            Kind::Counter => Point::Counter(reader.number()?),
            Kind::Gauge => Point::Gauge(reader.gauge()?),
            Kind::Histogram => Point::Histogram(reader.histogram(&tables)?),
        };
        if filter.takes(labels.iter().copied()) {
            each(labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect(), point);
        }
    }
    Some(count)
}

fn put_integer(into: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

fn put_text(into: &mut Vec<u8>, text: &str) {
    put_integer(into, text.len() as u64);
    into.extend_from_slice(text.as_bytes());
}

/// A whole number that is not negative as twice itself; any other as a 1 and its eight bytes.
fn put_number(into: &mut Vec<u8>, number: f64) {
    if number.fract() == 0.0 && number.is_sign_positive() && number < WHOLE_MAX {
        put_integer(into, (number as u64) << 1);
    } else {
        put_integer(into, 1);
        into.extend_from_slice(&number.to_le_bytes());
    }
}

fn put_gauge(into: &mut Vec<u8>, gauge: &Gauge) {
    let Gauge { last, min, max, sum, count } = *gauge;
    put_integer(into, count);
    // Most gauges stand still most of the time.
    let stands_still = last == min && min == max && last * count as f64 == sum;
    let numbers = if stands_still { &[last][..] } else { &[last, min, max, sum] };
    into.push(numbers.len() as u8);
    numbers.iter().for_each(|number| put_number(into, *number));
}

fn put_histogram(into: &mut Vec<u8>, histogram: &Histogram, tables: &mut Vec<Vec<f64>>) {
    let bounds = || histogram.buckets.iter().map(|bucket| bucket.0);
    let table = tables.iter().position(|table| table.iter().copied().eq(bounds()));
    let table = table.unwrap_or_else(|| {
        tables.push(bounds().collect());
        tables.len() - 1
    });
    put_integer(into, table as u64);
    put_number(into, histogram.sum);
    put_integer(into, histogram.count);
    let mut below = 0;
    for (_, count) in &histogram.buckets {
        put_integer(into, count.saturating_sub(below));
        below = *count;
    }
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn integer(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// Reads how many of something follow, of which each takes a byte at least.
    fn count(&mut self) -> Option<usize> {
        usize::try_from(self.integer()?).ok().filter(|count| *count <= self.0.len())
    }

    fn many<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.count()?;
        (0..count).map(|_| one(self)).collect()
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = self.count()?;
        std::str::from_utf8(self.bytes(len)?).ok()
    }

    fn number(&mut self) -> Option<f64> {
        match self.integer()? {
            1 => Some(f64::from_le_bytes(self.bytes(8)?.try_into().ok()?)),
            whole => Some((whole >> 1) as f64),
        }
    }

    fn gauge(&mut self) -> Option<Gauge> {
        let count = self.integer()?.max(1);
        match self.byte()? {
            1 => {
                let value = self.number()?;
                Some(Gauge { last: value, min: value, max: value, sum: value * count as f64, count })
            }
            4 => Some(Gauge {
                last: self.number()?,
                min: self.number()?,
                max: self.number()?,
                sum: self.number()?,
                count,
            }),
            _ => None,
        }
    }

    fn histogram(&mut self, tables: &[Vec<f64>]) -> Option<Histogram> {
        let table = tables.get(usize::try_from(self.integer()?).ok()?)?;
        let (sum, count) = (self.number()?, self.integer()?);
        let mut below: u64 = 0;
        let buckets = table.iter().map(|bound| {
            below = below.saturating_add(self.integer()?);
            Some((*bound, below))
        });
        let buckets = buckets.collect::<Option<_>>()?;
        Some(Histogram { sum, count, buckets })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels() -> impl Strategy<Value = Labels> {
        proptest::collection::vec(("[a-z]{1,8}", "[ -~é水]{0,12}"), 0..4).prop_map(|pairs| {
            pairs.into_iter().map(|(name, value)| (name.into_boxed_str(), value.into_boxed_str())).collect()
        })
    }

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![
            (0u64..1 << 53).prop_map(|whole| whole as f64),
            any::<f64>().prop_filter("equal to itself", |number| !number.is_nan()),
        ]
    }

    fn gauge() -> impl Strategy<Value = Point> {
        let any = (number(), number(), number(), number(), 1u64..100).prop_map(|(last, min, max, sum, count)| Gauge {
            last,
            min,
            max,
            sum,
            count,
        });
        prop_oneof![any, number().prop_map(Gauge::of)].prop_map(Point::Gauge)
    }

    fn histogram() -> impl Strategy<Value = Point> {
        let bounds = prop_oneof![Just(vec![1.0, 2.5, f64::INFINITY]), Just(vec![0.001, f64::INFINITY]), Just(vec![])];
        (bounds, proptest::collection::vec(0u64..1 << 40, 3), number()).prop_map(|(bounds, counts, sum)| {
            let mut below = 0;
            let buckets = bounds.into_iter().zip(counts).map(|(bound, count)| {
                below += count;
                (bound, below)
            });
            let buckets: Vec<_> = buckets.collect();
            Point::Histogram(Histogram { sum, count: below, buckets })
        })
    }

    fn rows() -> impl Strategy<Value = (Kind, Vec<(Labels, Point)>)> {
        let of = |kind, point: BoxedStrategy<Point>| {
            proptest::collection::vec((labels(), point), 0..6).prop_map(move |series| (kind, series))
        };
        prop_oneof![
            of(Kind::Counter, number().prop_map(Point::Counter).boxed()),
            of(Kind::Gauge, gauge().boxed()),
            of(Kind::Histogram, histogram().boxed()),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read((kind, series) in rows()) {
            let mut found = Vec::new();
            let count = decode(&encode(kind, &series), &Filter::default(), |labels, point| found.push((labels, point)));
            prop_assert_eq!(count, Ok(series.len()));
            prop_assert_eq!(found, series);
        }

        #[test]
        fn reading_anything_ends_well(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            read(&mut Reader(&bytes), &Filter::default(), |_, _| ());
            let _ = decode(&bytes, &Filter::default(), |_, _| ());
        }

        #[test]
        fn a_row_that_is_cut_off_is_of_no_known_form((kind, series) in rows(), part in 0.0..1.0f64) {
            let row = encode(kind, &series);
            let cut = (row.len() as f64 * part) as usize;
            prop_assert_eq!(decode(&row[..cut], &Filter::default(), |_, _| ()), Err(UnknownForm));
        }
    }
}
