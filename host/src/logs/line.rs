//! One line of a log file, read back, whichever of the two formats it has. What is no line of the log's is a line without time and
//! level. Pure.

use std::borrow::Cow;
use std::str::FromStr;

use serde::Deserialize;
use serde_json::{Map, Value};
use tracing::Level;

use super::escape;
use super::format::{Record, escape_json};
use crate::clock::Timestamp;
use crate::units::{Span, UnitError};

/// Longest line that is read; what is longer is cut. The host writes none that long.
pub const LINE_BYTES_MAX: usize = 512 << 10;

/// A line of a log file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    text: String,
    time: Option<Timestamp>,
    level: Option<Level>,
}

/// What a line in JSON is judged by.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    level: Cow<'a, str>,
}

impl Line {
    /// Reads a line, without the newline.
    pub fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes.strip_suffix(b"\r").unwrap_or(bytes)).into_owned();
        let head = match text.starts_with('{') {
            true => serde_json::from_str::<Head<'_>>(&text).ok().and_then(|head| judge(&head.time, &head.level)),
            false => words(&text).and_then(|words| judge(words.time, words.level)),
        };
        let (time, level) = head.unzip();
        Self { text, time, level }
    }

    /// Returns when it was written.
    pub fn time(&self) -> Option<Timestamp> {
        self.time
    }

    /// Returns its level.
    pub fn level(&self) -> Option<Level> {
        self.level
    }

    /// Returns the bytes that it has in its file.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Returns it for people, as it is on standard error. Nothing in it steers a terminal.
    pub fn to_text(&self) -> String {
        let object = self.text.starts_with('{').then(|| serde_json::from_str::<Map<String, Value>>(&self.text).ok());
        match object.flatten() {
            Some(object) if self.time.is_some() => text_of(object),
            _ => escape(&self.text).into_owned(),
        }
    }

    /// Returns it for programs, as one line of JSON: an object, with at least a `message`.
    pub fn to_json(&self) -> String {
        let object = self.text.starts_with('{').then(|| serde_json::from_str::<Map<String, Value>>(&self.text).ok());
        let object = object.flatten().unwrap_or_else(|| {
            let pair = |(key, value): (&str, &str)| (key.to_owned(), Value::from(value));
            match words(&self.text).filter(|_| self.time.is_some()) {
                Some(Words { time, level, target, bot, message }) => {
                    let known = [("time", time), ("level", level), ("target", target), ("message", message)];
                    known.into_iter().chain(bot.map(|bot| ("bot", bot))).map(pair).collect()
                }
                None => Map::from_iter([pair(("message", &self.text))]),
            }
        });
        escape_json(Value::Object(object).to_string())
    }
}

/// The parts of a line of text.
struct Words<'a> {
    time: &'a str,
    level: &'a str,
    target: &'a str,
    bot: Option<&'a str>,
    message: &'a str,
}

fn words(text: &str) -> Option<Words<'_>> {
    let (time, rest) = text.split_once(' ')?;
    let (level, rest) = rest.trim_start().split_once(' ')?;
    let (place, message) = rest.split_once(": ")?;
    let (target, bot) = match place.strip_suffix(']').and_then(|place| place.split_once('[')) {
        Some((target, bot)) => (target, Some(bot)),
        None => (place, None),
    };
    Some(Words { time, level, target, bot, message })
}

fn judge(time: &str, level: &str) -> Option<(Timestamp, Level)> {
    Some((moment(time)?, Level::from_str(level).ok()?))
}

fn text_of(mut object: Map<String, Value>) -> String {
    let mut take = |key| match object.remove(key) {
        Some(Value::String(text)) => Some(text),
        Some(other) => Some(other.to_string()),
        None => None,
    };
    let [time, level, target] = ["time", "level", "target"].map(|key| take(key).unwrap_or_default());
    let (bot, message) = (take("bot"), take("message").unwrap_or_default());
    let fields = object.into_iter().map(|(key, value)| (key.into(), value)).collect();
    Record { bot, message, fields }.into_text(&escape(&time), &escape(&level), &escape(&target))
}

fn moment(text: &str) -> Option<Timestamp> {
    let moment: jiff::Timestamp = text.parse().ok()?;
    moment.as_millisecond().try_into().ok().map(Timestamp::from_millis)
}

/// Which lines are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Those at least as severe as this. None: all.
    pub level: Option<Level>,
    /// Those that are not older. None: all.
    pub since: Option<Timestamp>,
}

impl Wanted {
    /// Returns whether a line is. One that has neither time nor level is where all are.
    pub fn has(&self, line: &Line) -> bool {
        // The more severe a level is, the less it is by its order.
        let is_severe = self.level.is_none_or(|level| line.level.is_some_and(|other| other <= level));
        is_severe && self.since.is_none_or(|since| line.time.is_some_and(|time| time >= since))
    }
}

/// Why a text is no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MomentError {
    /// Neither of the two.
    #[error("`{given}` is no moment: write how long ago, such as \"10m\", or a time such as \"2026-11-21T12:40:48Z\"")]
    Neither {
        /// What was given.
        given: String,
    },
    /// A length of time that nobody means.
    #[error(transparent)]
    Span(#[from] UnitError),
}

/// Returns the moment that a text names: how long before `now`, as in `10m`, or itself, in RFC 3339.
///
/// # Errors
///
/// It is neither.
pub fn since(text: &str, now: Timestamp) -> Result<Timestamp, MomentError> {
    if let Some(moment) = moment(text) {
        return Ok(moment);
    }
    match text.parse::<Span>() {
        Ok(Span(ago)) => {
            let ago = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
            Ok(Timestamp::from_millis(now.as_millis().saturating_sub(ago)))
        }
        Err(UnitError::Span(_)) => Err(MomentError::Neither { given: escape(text).into_owned() }),
        Err(other) => Err(other.into()),
    }
}

/// Splits what is read in pieces into lines. Holds one line at most, and of that no more than [`LINE_BYTES_MAX`].
#[derive(Debug, Default)]
pub(super) struct Splitter {
    partial: Vec<u8>,
    is_cut: bool,
    /// What comes first is the end of a line whose beginning was not read.
    is_skipping: bool,
}

impl Splitter {
    /// Returns one that leaves out everything up to the first newline.
    pub(super) fn skipping() -> Self {
        Self { is_skipping: true, ..Self::default() }
    }

    /// Takes a piece, and gives `each` the lines that end in it.
    pub(super) fn feed(&mut self, piece: &[u8], each: &mut dyn FnMut(Line)) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let (body, is_end) = part.strip_suffix(b"\n").map_or((part, false), |body| (body, true));
            if !self.is_skipping {
                let room = LINE_BYTES_MAX.saturating_sub(self.partial.len());
                self.is_cut |= body.len() > room;
                self.partial.extend_from_slice(&body[..body.len().min(room)]);
            }
            if is_end && !std::mem::take(&mut self.is_skipping) {
                each(self.take());
            }
        }
    }

    /// Returns the last line, where it has no end.
    pub(super) fn finish(&mut self) -> Option<Line> {
        self.is_skipping = false;
        (!self.partial.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> Line {
        if std::mem::take(&mut self.is_cut) {
            self.partial.extend_from_slice("…".as_bytes());
        }
        let line = Line::read(&self.partial);
        self.partial.clear();
        self.partial.shrink_to(LINE_BYTES_MAX / 8);
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = r#"2026-11-21T12:40:48.123Z  WARN bot[echo]: said: "hi" user="a b""#;
    const JSON: &str = r#"{"bot":"echo","fields":{"a":"b c"},"level":"WARN","message":"said","n":2,"target":"bot","time":"2026-11-21T12:40:48.123Z"}"#;

    #[test]
    fn both_formats_read_alike() {
        let (text, json) = (Line::read(TEXT.as_bytes()), Line::read(JSON.as_bytes()));
        assert_eq!((text.time(), text.level()), (json.time(), json.level()));
        assert_eq!(
            (text.time().unwrap().to_string().as_str(), text.level()),
            ("2026-11-21T12:40:48.123Z", Some(Level::WARN))
        );
        assert_eq!(text.to_text(), TEXT);
        assert_eq!(json.to_text(), "2026-11-21T12:40:48.123Z  WARN bot[echo]: said a=\"b c\" n=2");
        assert_eq!(json.to_json(), JSON);
        let value: Value = serde_json::from_str(&text.to_json()).unwrap();
        assert_eq!((&value["bot"], &value["message"]), (&"echo".into(), &r#"said: "hi" user="a b""#.into()));
    }

    #[test]
    fn what_is_no_line_of_ours_is_shown_harmless_where_all_lines_are_wanted() {
        for other in ["\u{1b}[2J{", "{\"time\":1}", "", "2026-11-21 WARN x: y", "{\"level\":\"WARN\"\u{9b}"] {
            let line = Line::read(other.as_bytes());
            assert_eq!((line.time(), line.level()), (None, None), "{other:?}");
            assert!(!line.to_text().contains(super::super::is_dangerous) && !line.to_json().contains('\u{1b}'));
            assert!(serde_json::from_str::<Map<String, Value>>(&line.to_json()).is_ok());
            assert!(Wanted::default().has(&line));
            assert!(!Wanted { level: Some(Level::TRACE), since: None }.has(&line));
        }
    }

    #[test]
    fn a_moment_is_a_time_or_how_long_ago() {
        let now = Timestamp::from_millis(1_000_000);
        assert_eq!(since("10m", now), Ok(Timestamp::from_millis(400_000)));
        assert_eq!(since("1970-01-01T00:00:07Z", now), Ok(Timestamp::from_millis(7_000)));
        assert_eq!(since("2d", now), Ok(Timestamp::from_millis(0)));
        assert!(since("soon\u{1b}", now).unwrap_err().to_string().starts_with("`soon\\u{1b}` is no moment"));
    }

    proptest! {
        #[test]
        fn a_text_is_split_alike_wherever_its_pieces_end(text in "[ab\n]{0,60}", cuts in proptest::collection::vec(0usize..60, 0..6)) {
            let (mut lines, mut splitter) = (Vec::new(), Splitter::default());
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort();
            for pair in cuts.windows(2) {
                splitter.feed(&text.as_bytes()[pair[0]..pair[1]], &mut |line| lines.push(line.text));
            }
            lines.extend(splitter.finish().map(|line| line.text));
            prop_assert_eq!(lines, text.lines().map(str::to_owned).collect::<Vec<_>>());
        }

        #[test]
        fn nothing_that_is_read_harms(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let line = Line::read(&bytes);
            prop_assert!(!line.to_text().contains(super::super::is_dangerous));
            prop_assert!(!line.to_json().contains(super::super::is_dangerous));
        }
    }

    #[test]
    fn a_line_that_never_ends_is_cut_and_costs_no_more() {
        let (mut lines, mut splitter) = (Vec::new(), Splitter::default());
        for _ in 0..20 {
            splitter.feed(&vec![b'x'; LINE_BYTES_MAX / 4], &mut |line| lines.push(line));
            assert!(splitter.partial.len() <= LINE_BYTES_MAX);
        }
        splitter.feed(b"\nnext\n", &mut |line| lines.push(line));
        assert_eq!((lines[0].bytes(), lines[1].text.as_str()), (LINE_BYTES_MAX + "…".len(), "next"));
        assert!(lines[0].text.ends_with('…'));
    }
}
