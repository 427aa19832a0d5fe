//! Every series with its value at one moment, under the names that `/metrics` shows: what rules are about, what the history keeps
//! and what a collector is sent is what a scrape would have shown. Read back from the exposition, so that there is one truth.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Metrics;
use crate::clock::Timestamp;

/// The labels of a series, sorted by name.
pub type Labels = Arc<[(Box<str>, Box<str>)]>;

/// Every series at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// When it was taken.
    pub at: Timestamp,
    /// The families by name; that of a counter ends in `_total`, as it does in a scrape.
    pub families: BTreeMap<Box<str>, Family>,
}

/// The series of one name.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// What they are.
    pub kind: Kind,
    /// Each with labels that no other has.
    pub series: Vec<Series>,
}

/// What a family measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, and begins anew with the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How often something took how long, or how much.
    Histogram,
}

/// One series.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What tells it apart.
    pub labels: Labels,
    /// What it says.
    pub value: Value,
}

/// What a series says.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of a counter or a gauge. A gauge may be infinite or no number.
    Number(f64),
    /// Of a histogram.
    Histogram(Histogram),
}

/// What a histogram has counted since the process began.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram {
    /// All observations added up.
    pub sum: f64,
    /// How many there were.
    pub count: u64,
    /// Upper bounds, ascending, the last of them infinite, and how many observations were at most that: each includes those
    /// before it.
    pub buckets: Vec<(f64, u64)>,
}

impl Snapshot {
    /// Reads what [`Metrics::render`] returned at `now`.
    pub fn read(exposition: &str, now: Timestamp) -> Self {
        Self { at: now, families: read(exposition) }
    }
}

impl Series {
    /// Returns the value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(given, _)| **given == *name).map(|(_, value)| &**value)
    }
}

impl Histogram {
    /// Returns what was observed since `before`, which is an earlier state of the same series; all of it where the process began
    /// anew in between.
    pub fn since(&self, before: &Self) -> Self {
        let is_later = self.count >= before.count
            && self.buckets.len() == before.buckets.len()
            && self.buckets.iter().zip(&before.buckets).all(|(now, then)| now.0 == then.0 && now.1 >= then.1);
        if !is_later {
            return self.clone();
        }
        let buckets = self.buckets.iter().zip(&before.buckets).map(|(now, then)| (now.0, now.1 - then.1));
        Self { sum: self.sum - before.sum, count: self.count - before.count, buckets: buckets.collect() }
    }

    /// Adds what another histogram with the same bounds has counted; one with other bounds is left out.
    pub fn add(&mut self, other: &Self) {
        if self.buckets.is_empty() {
            self.clone_from(other);
            return;
        }
        if self.buckets.iter().map(|bucket| bucket.0).ne(other.buckets.iter().map(|bucket| bucket.0)) {
            return;
        }
        self.sum += other.sum;
        self.count += other.count;
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(own, other)| own.1 += other.1);
    }

    /// Returns the value that a share `quantile` (0 to 1) of all observations does not exceed, as Prometheus estimates it: evenly
    /// spread within a bucket. Of those above the last finite bound only that bound is known. None without observations.
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let total = self.buckets.last().map(|bucket| bucket.1).filter(|total| *total > 0)?;
        let rank = quantile.clamp(0.0, 1.0) * total as f64;
        let (mut floor, mut below) = (0.0, 0);
        for &(bound, count) in &self.buckets {
            if count as f64 >= rank && count > below {
                if bound.is_infinite() {
                    return Some(floor);
                }
                let share = ((rank - below as f64) / (count - below) as f64).clamp(0.0, 1.0);
                return Some(floor + (bound - floor) * share);
            }
            (floor, below) = (bound, count);
        }
        None
    }
}

impl Metrics {
    /// Returns every series with its value. What it costs grows with the number of series, which is bounded.
    pub fn snapshot(&self, now: Timestamp) -> Snapshot {
        Snapshot::read(&self.render(), now)
    }
}

/// Reads an exposition of this program. What is no sample of a family that was described before it is left out.
fn read(text: &str) -> BTreeMap<Box<str>, Family> {
    let mut families = BTreeMap::new();
    let mut open: Option<(Box<str>, Family)> = None;
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# TYPE ") {
            families.extend(open.take());
            open = described.split_once(' ').and_then(|(name, kind)| begin(name, kind));
        } else if !line.starts_with('#')
            && let Some((name, family)) = &mut open
        {
            sample(name, family, line);
        }
    }
    families.extend(open);
    families
}

fn begin(name: &str, kind: &str) -> Option<(Box<str>, Family)> {
    let (name, kind) = match kind {
        "counter" => (format!("{name}_total"), Kind::Counter),
        "gauge" => (name.to_owned(), Kind::Gauge),
        "histogram" => (name.to_owned(), Kind::Histogram),
        _ => return None,
    };
    Some((name.into(), Family { kind, series: Vec::new() }))
}

fn sample(family_name: &str, family: &mut Family, line: &str) -> Option<()> {
    let (name, mut labels, value) = split(line)?;
    let number: f64 = value.parse().ok()?;
    if family.kind != Kind::Histogram {
        if name == family_name {
            labels.sort_unstable();
            family.series.push(Series { labels: labels.into(), value: Value::Number(number) });
        }
        return Some(());
    }
    let part = name.strip_prefix(family_name)?;
    let bound = labels.iter().position(|(name, _)| **name == *"le").map(|at| labels.remove(at).1);
    labels.sort_unstable();
    // The samples of one series stand together.
    let is_known = family.series.last().is_some_and(|series| *series.labels == *labels);
    if !is_known {
        let value = Value::Histogram(Histogram::default());
        family.series.push(Series { labels: labels.into(), value });
    }
    let Value::Histogram(histogram) = &mut family.series.last_mut()?.value else { return None };
    match part {
        "_sum" => histogram.sum = number,
        "_count" => histogram.count = number as u64,
        "_bucket" => histogram.buckets.push((bound?.parse().ok()?, number as u64)),
        _ => return None,
    }
    Some(())
}

type Pairs = Vec<(Box<str>, Box<str>)>;

/// Splits `name{label="value"} 1.0` into its parts.
fn split(line: &str) -> Option<(&str, Pairs, &str)> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    if let Some(value) = rest.strip_prefix(' ') {
        return Some((name, Vec::new(), value));
    }
    let (mut labels, mut rest) = (Vec::new(), &rest[1..]);
    loop {
        if let Some(value) = rest.strip_prefix("} ") {
            // An exemplar, which this program has none of, would stand behind a `#`.
            return Some((name, labels, value));
        }
        let (label, after) = rest.strip_prefix(',').unwrap_or(rest).split_once("=\"")?;
        let (value, after) = quoted(after)?;
        labels.push((label.into(), value));
        rest = after;
    }
}

/// Reads up to the quote that ends a label's value.
fn quoted(text: &str) -> Option<(Box<str>, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value.into(), &text[at + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            _ => value.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::event::EventClass;
    use crate::metrics::Attempt;

    const NOW: Timestamp = Timestamp::from_millis(7_000);

    fn number<'a>(snapshot: &'a Snapshot, family: &str, label: Option<(&str, &str)>) -> Option<&'a Value> {
        let series = &snapshot.families.get(family)?.series;
        let found = series.iter().find(|series| label.is_none_or(|(name, value)| series.label(name) == Some(value)));
        found.map(|series| &series.value)
    }

    #[test]
    fn a_snapshot_says_what_a_scrape_would() {
        let metrics = Metrics::new();
        let bot = "echo".parse().unwrap();
        let (waited, elapsed) = (Duration::from_millis(3), Duration::from_millis(30));
        metrics
            .attempt_ended(&bot, &Attempt { class: EventClass::Message, outcome: "ok", waited, elapsed, fuel: 5_000 });
        metrics.queue_depth(3);
        metrics.guest_gauge(&bot, "balance", -2.5, &[("symbol".to_owned(), "a\"b\\c d} ".to_owned())]);
        let snapshot = metrics.snapshot(NOW);
        assert_eq!(snapshot.at, NOW);
        assert_eq!(number(&snapshot, "bothost_queue_depth_events", None), Some(&Value::Number(3.0)));
        let ended = number(&snapshot, "bothost_attempt_ended_total", Some(("outcome", "ok")));
        assert_eq!(ended, Some(&Value::Number(1.0)));
        let balance = number(&snapshot, "bothost_guest_balance", Some(("symbol", "a\"b\\c d} ")));
        assert_eq!(balance, Some(&Value::Number(-2.5)));
        let Some(Value::Histogram(fuel)) = number(&snapshot, "bothost_attempt_fuel_units", Some(("bot", "echo")))
        else {
            panic!("no histogram: {snapshot:?}")
        };
        assert_eq!((fuel.count, fuel.sum, fuel.buckets.last()), (1, 5_000.0, Some(&(f64::INFINITY, 1))));
        assert_eq!(snapshot.families["bothost_attempt_fuel_units"].kind, Kind::Histogram);
    }

    fn histogram(counts: &[u64]) -> Histogram {
        let bounds = [1.0, 2.0, 4.0, f64::INFINITY];
        let mut total = 0;
        let buckets = bounds.iter().zip(counts).map(|(bound, count)| {
            total += count;
            (*bound, total)
        });
        let buckets: Vec<_> = buckets.collect();
        Histogram { sum: total as f64, count: total, buckets }
    }

    #[test]
    fn quantiles_are_those_that_prometheus_would_estimate() {
        for (counts, quantile, expected) in [
            ([0, 0, 0, 0], 0.5, None),
            ([10, 0, 0, 0], 0.5, Some(0.5)),
            ([0, 10, 0, 0], 1.0, Some(2.0)),
            ([5, 5, 0, 0], 0.75, Some(1.5)),
            ([0, 0, 0, 3], 0.5, Some(4.0)),
            ([1, 0, 1, 0], 0.99, Some(3.96)),
        ] {
            let found = histogram(&counts).quantile(quantile);
            let is_near = match (found, expected) {
                (Some(found), Some(expected)) => (found - expected).abs() < 1e-9,
                (found, expected) => found == expected,
            };
            assert!(is_near, "{counts:?} {quantile}: {found:?}");
        }
    }

    #[test]
    fn what_came_since_is_the_difference_or_all_after_a_restart() {
        let (before, after) = (histogram(&[1, 1, 0, 0]), histogram(&[3, 1, 0, 2]));
        assert_eq!(after.since(&before), histogram(&[2, 0, 0, 2]));
        assert_eq!(before.since(&after), before);
        let mut sum = Histogram::default();
        sum.add(&before);
        sum.add(&after);
        assert_eq!(sum, histogram(&[4, 2, 0, 2]));
    }

    proptest! {
        #[test]
        fn whatever_a_label_says_comes_back(value in "[ -~äü水]{1,40}", number in -1e9..1e9f64) {
            let metrics = Metrics::new();
            metrics.guest_gauge(&"b".parse().unwrap(), "x", number, &[("l".to_owned(), value.clone())]);
            let snapshot = metrics.snapshot(NOW);
            let found = self::number(&snapshot, "bothost_guest_x", Some(("l", value.as_str())));
            prop_assert_eq!(found, Some(&Value::Number(number)));
        }

        #[test]
        fn reading_any_text_ends_well(text in "(# TYPE [a-z]+ (counter|gauge|histogram)\n|[a-z_{}=\", .0-9\\\\]{0,40}\n){0,20}") {
            read(&text);
        }
    }
}
