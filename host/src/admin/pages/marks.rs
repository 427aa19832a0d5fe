//! The small pieces that pages are made of: signs, moments, bars, lines of a hour, and how numbers are written. Pure: what time it is
//! comes in. None of them needs a style of its own, so the pages' policy can forbid those.

use askama::Template;
use askama::filters::HtmlSafe;

use super::text::{Text, fill};
use crate::clock::Timestamp;

/// How good something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tone {
    Bad,
    Warn,
    Plain,
    Good,
}

impl Tone {
    /// Returns its class in the style sheet.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Warn => "warn",
            Self::Plain => "plain",
            Self::Good => "good",
        }
    }

    /// Returns its sign, so that the colour is not the only one.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Bad => "▲",
            Self::Warn => "◆",
            Self::Plain => "○",
            Self::Good => "●",
        }
    }
}

/// A word with a sign.
#[derive(Debug, Clone, Template)]
#[template(path = "tag.html")]
pub(super) struct Tag {
    pub(super) tone: Tone,
    pub(super) label: String,
}

impl Tag {
    pub(super) fn new(tone: Tone, label: impl Into<String>) -> Self {
        Self { tone, label: label.into() }
    }
}

impl HtmlSafe for Tag {}

/// A moment: how long ago it is, and in RFC 3339 for those who point at it and for programs.
#[derive(Debug, Clone, Template)]
#[template(path = "moment.html")]
pub(super) struct Moment {
    at: String,
    relative: String,
}

impl HtmlSafe for Moment {}

impl Moment {
    /// Tells of a moment in RFC 3339; what is none is shown as it is.
    pub(super) fn new(at: &str, now: Timestamp, text: &Text) -> Self {
        let relative = at.parse::<Timestamp>().map_or_else(|_| at.to_owned(), |moment| relative(moment, now, text));
        Self { at: at.to_owned(), relative }
    }
}

fn relative(moment: Timestamp, now: Timestamp, text: &Text) -> String {
    let ahead = moment.saturating_since(now).as_secs();
    let seconds = now.saturating_since(moment).as_secs();
    match (ahead, seconds) {
        (120.., _) => fill(text.in_minutes, ahead / 60),
        (1.., _) => fill(text.in_seconds, ahead),
        (0, 0..60) => fill(text.ago_seconds, seconds),
        (0, 60..3_600) => fill(text.ago_minutes, seconds / 60),
        (0, 3_600..172_800) => fill(text.ago_hours, seconds / 3_600),
        (0, _) => fill(text.ago_days, seconds / 86_400),
    }
}

/// How much of something is used.
#[derive(Debug, Clone, Template)]
#[template(path = "bar.html")]
pub(super) struct Bar {
    class: &'static str,
    share: u8,
    label: String,
}

impl HtmlSafe for Bar {}

impl Bar {
    /// Tells how much of `limit` is used; `write` says how a number of it is written.
    pub(super) fn new(used: f64, limit: f64, write: fn(f64) -> String) -> Self {
        let share = if limit > 0.0 { (used / limit * 100.0).clamp(0.0, 100.0) } else { 0.0 };
        let class = match share {
            95.0.. => "full",
            75.0.. => "high",
            _ => "",
        };
        // An SVG's width is a whole number of a hundred: finer than anybody sees.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 0 and 100")]
        let share = share.round() as u8;
        let label = if limit > 0.0 { format!("{} / {}", write(used), write(limit)) } else { "–".to_owned() };
        Self { class, share, label }
    }
}

/// A line of what something was, one point after another.
#[derive(Debug, Clone, Template)]
#[template(path = "spark.html")]
pub(super) struct Spark {
    points: String,
    label: String,
}

impl HtmlSafe for Spark {}

impl Spark {
    /// Draws values, which are none below zero; `label` says for those who cannot see it what it is.
    pub(super) fn new(values: &[f64], label: impl Into<String>) -> Self {
        let most = values.iter().copied().filter(|value| value.is_finite()).fold(0.0_f64, f64::max);
        let steps = values.len().saturating_sub(1).max(1);
        let height =
            |value: f64| if most > 0.0 && value.is_finite() { 23.0 - value.max(0.0) / most * 21.0 } else { 23.0 };
        let mut points: Vec<_> = values
            .iter()
            .enumerate()
            .map(|(at, value)| format!("{:.1},{:.1}", precise(at) * 100.0 / precise(steps), height(*value)))
            .collect();
        if points.len() < 2 {
            points = vec!["0,23".to_owned(), "100,23".to_owned()];
        }
        Self { points: points.join(" "), label: label.into() }
    }
}

fn precise(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::from(u32::MAX), f64::from)
}

/// Writes a count with a sign between its thousands.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut written = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            written.push(',');
        }
        written.push(digit);
    }
    written
}

/// Writes a number of bytes with the largest fitting unit.
pub(super) fn bytes(number: f64) -> String {
    scaled(number, 1_024.0, &["B", "KiB", "MiB", "GiB", "TiB"])
}

/// Writes a large number with its first digits.
pub(super) fn units(number: f64) -> String {
    scaled(number, 1_000.0, &["", "k", "M", "G", "T"])
}

fn scaled(number: f64, base: f64, names: &[&str]) -> String {
    let mut number = number.max(0.0);
    let mut at = 0;
    while number >= base && at + 1 < names.len() {
        number /= base;
        at += 1;
    }
    let digits = usize::from(number < 10.0 && at > 0);
    format!("{number:.digits$} {}", names[at]).trim_end().to_owned()
}

/// Writes a rate or another small number.
pub(super) fn rate(number: f64) -> String {
    match number {
        0.0 => "0".to_owned(),
        ..10.0 => format!("{number:.2}"),
        ..100.0 => format!("{number:.1}"),
        _ => units(number),
    }
}

/// Writes a time that something took, in milliseconds.
pub(super) fn milliseconds(number: f64) -> String {
    match number {
        ..0.1 => format!("{:.0} µs", number * 1_000.0),
        ..10.0 => format!("{number:.1} ms"),
        ..1_000.0 => format!("{number:.0} ms"),
        _ => format!("{:.1} s", number / 1_000.0),
    }
}

/// Writes how long something lasts.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::ENGLISH;
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 1_536.0, 64.0 * 1_048_576.0].map(bytes), ["0 B", "1.5 KiB", "64 MiB"]);
        assert_eq!([5.0, 1_500.0, 1e9].map(units), ["5", "1.5 k", "1.0 G"]);
        assert_eq!([0.0, 0.05, 12.34, 1_234.0].map(rate), ["0", "0.05", "12.3", "1.2 k"]);
        assert_eq!([0.05, 1.25, 250.0, 2_500.0].map(milliseconds), ["50 µs", "1.2 ms", "250 ms", "2.5 s"]);
        assert_eq!([59, 61, 3_660, 90_000].map(span), ["59 s", "1 min", "1 h 1 min", "1 d 1 h"]);
    }

    #[test]
    fn a_moment_is_told_by_how_long_ago_it_is() {
        let now = "2026-01-31T12:00:00Z".parse().unwrap();
        let told = |at: &str| Moment::new(at, now, &ENGLISH).relative;
        assert_eq!(told("2026-01-31T11:59:50Z"), "10 s ago");
        assert_eq!(told("2026-01-31T11:00:00Z"), "1 h ago");
        assert_eq!(told("2026-01-21T12:00:00Z"), "10 d ago");
        assert_eq!(told("2026-01-31T12:00:30Z"), "in 30 s");
        assert_eq!(told("2026-01-31T12:05:00Z"), "in 5 min");
        assert_eq!(told("never"), "never");
        assert!(Moment::new("\"><b>", now, &ENGLISH).to_string().contains("&#34;&#62;&#60;b"));
    }

    #[test]
    fn a_bar_stays_within_its_bounds_and_says_its_numbers() {
        let share = |used, limit| Bar::new(used, limit, bytes).share;
        assert_eq!([share(0.0, 10.0), share(5.0, 10.0), share(50.0, 10.0), share(5.0, 0.0)], [0, 50, 100, 0]);
        assert_eq!(share(f64::NAN, 10.0), 0);
        let html = Bar::new(48.0 * 1_048_576.0, 64.0 * 1_048_576.0, bytes).to_string();
        assert!(html.contains("48 MiB / 64 MiB") && html.contains("high"), "{html}");
    }

    #[test]
    fn a_line_is_drawn_of_any_values() {
        for values in [&[][..], &[1.0], &[0.0, 0.0], &[f64::NAN, f64::INFINITY, 3.0], &[-1.0, 2.0, 1.0]] {
            let html = Spark::new(values, "x").to_string();
            assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
        }
        assert_eq!(Spark::new(&[0.0, 2.0, 1.0], "x").points, "0.0,23.0 50.0,2.0 100.0,12.5");
    }
}
