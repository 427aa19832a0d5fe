//! Sizes and times as people write them in a configuration: `"64MiB"`, `"30s"`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A number of bytes; written as `"64MiB"`, or as a bare number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A length of time; written as `"1h 30m"`, with the units `ms`, `s`, `m`, `h`, `d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// Longest time that a configuration may name: a century. A deadline that far away still fits every clock, a longer one may not.
pub const SPAN_MAX: Duration = Duration::from_secs(36_500 * 86_400);

/// Why a text is no size or no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a size.
    #[error("`{0}` is no size: write a whole number and one of B, KiB, MiB, GiB, such as \"64MiB\"")]
    Size(String),
    /// No bytes at all, where there must be some.
    #[error("it must be more than nothing, such as \"64MiB\"")]
    SizeZero,
    /// Not a time.
    #[error("`{0}` is no time: write whole numbers, each with one of ms, s, m, h, d, such as \"30s\" or \"1h 30m\"")]
    Span(String),
    /// A time past [`SPAN_MAX`].
    #[error("`{0}` is longer than a century; the longest time is 36500d")]
    SpanTooLong(String),
    /// Not a part of a whole.
    #[error("it must be from 0 to 1, such as 0.25")]
    Ratio,
    /// No time at all, where there must be some.
    #[error("it must be longer than zero, such as \"30s\"")]
    SpanZero,
}

/// Splits a text such as `64MiB` into its number and its unit.
fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let number = text[..digits].replace('_', "").parse().ok()?;
    Some((number, text[digits..].trim()))
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = || UnitError::Size(text.to_owned());
        let (number, unit) = split_number(text.trim()).ok_or_else(error)?;
        let factor: u64 = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            _ => return Err(error()),
        };
        number.checked_mul(factor).map(Self).ok_or_else(error)
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = || UnitError::Span(text.to_owned());
        let mut total = Duration::ZERO;
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(error());
        }
        while !rest.is_empty() {
            let (number, after) = split_number(rest).ok_or_else(error)?;
            let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let millis: u64 = match &after[..end] {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return Err(error()),
            };
            let part = number.checked_mul(millis).map(Duration::from_millis).ok_or_else(error)?;
            total = total.checked_add(part).ok_or_else(error)?;
            rest = after[end..].trim_start();
        }
        if total > SPAN_MAX {
            return Err(UnitError::SpanTooLong(text.to_owned()));
        }
        Ok(Self(total))
    }
}

impl fmt::Display for ByteSize {
    /// In the largest unit that divides it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}B", self.0)
    }
}

impl fmt::Display for Span {
    /// In the largest unit that divides it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        for (unit, factor) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
            if millis != 0 && millis.is_multiple_of(factor) {
                return write!(f, "{}{unit}", millis / factor);
            }
        }
        write!(f, "{millis}ms")
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = ByteSize;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"64MiB\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                u64::try_from(bytes).map(ByteSize).map_err(|_| E::custom(UnitError::Size(bytes.to_string())))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Span;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time such as \"30s\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Reads a [`ByteSize`] of at least one byte: one that something must fit in.
///
/// # Errors
///
/// Those of [`ByteSize`], and [`UnitError::SizeZero`].
pub fn positive_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
    let size = ByteSize::deserialize(deserializer)?;
    if size.0 == 0 { Err(de::Error::custom(UnitError::SizeZero)) } else { Ok(size) }
}

/// Reads a [`Span`] as the [`Duration`] it stands for.
///
/// # Errors
///
/// Those of [`Span`].
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Span::deserialize(deserializer).map(|span| span.0)
}

/// Reads a [`Span`] that is longer than zero: one that something repeats at, or that something must fit in.
///
/// # Errors
///
/// Those of [`Span`], and [`UnitError::SpanZero`].
pub fn positive_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let duration = duration(deserializer)?;
    if duration.is_zero() { Err(de::Error::custom(UnitError::SpanZero)) } else { Ok(duration) }
}

/// [`positive_duration`] for a key that may be absent.
///
/// # Errors
///
/// Those of [`positive_duration`].
pub fn some_positive_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    positive_duration(deserializer).map(Some)
}

/// Reads a part of a whole: a number from 0 to 1.
///
/// # Errors
///
/// It is another number, or none.
pub fn ratio<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    struct Visitor;
    impl de::Visitor<'_> for Visitor {
        type Value = f64;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number from 0 to 1, such as 0.25")
        }
        fn visit_f64<E: de::Error>(self, ratio: f64) -> Result<f64, E> {
            if (0.0..=1.0).contains(&ratio) { Ok(ratio) } else { Err(E::custom(UnitError::Ratio)) }
        }
        fn visit_i64<E: de::Error>(self, ratio: i64) -> Result<f64, E> {
            match ratio {
                0 => Ok(0.0),
                1 => Ok(1.0),
                _ => Err(E::custom(UnitError::Ratio)),
            }
        }
    }
    deserializer.deserialize_any(Visitor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_and_times_read_as_written() {
        assert_eq!("64MiB".parse(), Ok(ByteSize(64 << 20)));
        assert_eq!("1_000".parse(), Ok(ByteSize(1000)));
        assert_eq!("1h 30m".parse(), Ok(Span(Duration::from_secs(5400))));
        assert_eq!("250ms".parse(), Ok(Span(Duration::from_millis(250))));
    }

    #[test]
    fn what_is_no_size_or_time_is_refused_with_an_example() {
        for bad in ["", "x", "64MB", "-1", "99999999999GiB", "1.5MiB"] {
            assert!(bad.parse::<ByteSize>().unwrap_err().to_string().contains("64MiB"), "{bad}");
        }
        for bad in ["", "30", "s", "5 years", "1h-", "99999999999999999999d"] {
            assert!(bad.parse::<Span>().unwrap_err().to_string().contains("30s"), "{bad}");
        }
    }

    #[test]
    fn a_time_past_a_century_is_refused() {
        assert_eq!("36500d".parse(), Ok(Span(SPAN_MAX)));
        assert_eq!("36501d".parse::<Span>(), Err(UnitError::SpanTooLong("36501d".to_owned())));
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(bytes in 0u64..1 << 50, millis in 0u64..1 << 40) {
            prop_assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
            let span = Span(Duration::from_millis(millis));
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }
    }
}
