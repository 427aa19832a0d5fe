//! A number with the unit that it was written in, and other numbers in that unit: `80%`, `64MiB`, `5m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use crate::units::{ByteSize, Span};

/// A number and how it is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantity {
    /// Finite. Of a share, 1 is the whole; of a size, bytes; of a time, seconds.
    pub value: f64,
    /// As what it was written.
    pub unit: Unit,
}

/// As what a number is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// As a number.
    Plain,
    /// As a share of a hundred.
    Percent,
    /// As a size.
    Bytes,
    /// As a time.
    Seconds,
}

/// Why a text is no [`Quantity`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no number, share, size or time: write such as 5, \"80%\", \"64MiB\" or \"5m\"", .0.escape_debug())]
pub struct QuantityError(String);

impl Quantity {
    /// Returns a plain number.
    pub(super) fn plain(value: f64) -> Self {
        Self { value, unit: Unit::Plain }
    }

    /// Returns another number in the same unit.
    pub(super) fn like(self, value: f64) -> Self {
        Self { value, ..self }
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let number = |text: &str| text.trim().parse().ok().filter(|number: &f64| number.is_finite());
        let percent = || Some(Self { value: number(text.strip_suffix('%')?)? / 100.0, unit: Unit::Percent });
        let plain = || number(text).map(Self::plain);
        let time =
            || text.parse::<Span>().ok().map(|Span(time)| Self { value: time.as_secs_f64(), unit: Unit::Seconds });
        let size =
            || text.parse::<ByteSize>().ok().map(|ByteSize(bytes)| Self { value: bytes as f64, unit: Unit::Bytes });
        percent()
            .or_else(plain)
            .or_else(time)
            .or_else(size)
            .ok_or_else(|| QuantityError(text.chars().take(64).collect()))
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unit {
            _ if !self.value.is_finite() => write!(f, "{}", self.value),
            Unit::Plain => write!(f, "{}", rounded(self.value)),
            Unit::Percent => write!(f, "{}%", rounded(self.value * 100.0)),
            Unit::Bytes => {
                let units = [("TiB", 1u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
                let found = units.into_iter().find(|(_, bytes)| self.value.abs() >= *bytes as f64);
                let (unit, bytes) = found.unwrap_or(("B", 1));
                write!(f, "{}{unit}", rounded(self.value / bytes as f64))
            }
            Unit::Seconds => match Duration::try_from_secs_f64(self.value) {
                Ok(time) if time < Duration::from_secs(60) => write!(f, "{}s", rounded(self.value)),
                Ok(time) => write_time(f, time.as_secs()),
                Err(_) => write!(f, "{}s", rounded(self.value)),
            },
        }
    }
}

/// Writes the two largest units of a time.
fn write_time(f: &mut fmt::Formatter<'_>, seconds: u64) -> fmt::Result {
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let first = units.iter().position(|(_, length)| seconds >= *length).unwrap_or(units.len() - 1);
    let (unit, length) = units[first];
    write!(f, "{}{unit}", seconds / length)?;
    let next = units.get(first + 1).map(|(unit, length_of_next)| (seconds % length / length_of_next, unit));
    match next {
        Some((count, unit)) if count > 0 => write!(f, " {count}{unit}"),
        _ => Ok(()),
    }
}

/// Returns a number with as many digits as people look at.
fn rounded(number: f64) -> String {
    let size = number.abs();
    if size >= 1e15 || (size < 1e-3 && size != 0.0) {
        return format!("{number:.2e}");
    }
    let digits = if size >= 100.0 {
        0
    } else if size >= 1.0 {
        2
    } else {
        3
    };
    let text = format!("{number:.digits$}");
    let text = if digits == 0 { &text } else { text.trim_end_matches('0').trim_end_matches('.') };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or a text such as \"80%\", \"64MiB\" or \"5m\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Quantity, E> {
                Ok(Quantity::plain(number as f64))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Quantity, E> {
                Ok(Quantity::plain(number as f64))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Quantity, E> {
                let is_number = number.is_finite();
                is_number.then(|| Quantity::plain(number)).ok_or_else(|| E::custom(QuantityError(number.to_string())))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_as_people_write_it_is_shown_so() {
        for (text, value, shown) in [
            ("5", 5.0, "5"),
            ("-0.5", -0.5, "-0.5"),
            ("80%", 0.8, "80%"),
            ("0.1 %", 0.001, "0.1%"),
            ("64MiB", 67_108_864.0, "64MiB"),
            ("5m", 300.0, "5m"),
            ("250ms", 0.25, "0.25s"),
            ("1h 30m", 5_400.0, "1h 30m"),
            ("1e20", 1e20, "1.00e20"),
        ] {
            let quantity: Quantity = text.parse().unwrap();
            assert!((quantity.value - value).abs() < 1e-9 * value.abs(), "{text}");
            assert_eq!(quantity.to_string(), shown, "{text}");
        }
        for bad in ["", "x", "5 apples", "nan", "inf", "%", "64MB"] {
            assert!(bad.parse::<Quantity>().unwrap_err().to_string().contains("80%"), "{bad}");
        }
    }

    #[test]
    fn another_number_is_shown_in_the_unit_of_the_first() {
        let like = |text: &str, value| text.parse::<Quantity>().unwrap().like(value).to_string();
        assert_eq!(like("80%", 0.93456), "93.46%");
        assert_eq!(like("1MiB", 1.5e9), "1.4GiB");
        assert_eq!(like("5m", 90_061.0), "1d 1h");
        assert_eq!(like("5m", -3.0), "-3s");
        assert_eq!(like("5", 1234.5), "1234");
        assert_eq!(like("5%", f64::INFINITY), "inf");
    }

    proptest! {
        #[test]
        fn any_text_and_any_number_end_well(text in ".{0,20}", number in prop::num::f64::ANY, unit in 0..4usize) {
            let _ = text.parse::<Quantity>();
            let unit = [Unit::Plain, Unit::Percent, Unit::Bytes, Unit::Seconds][unit];
            let shown = Quantity { value: number, unit }.to_string();
            prop_assert!(shown.len() < 40, "{}", shown);
        }
    }
}
