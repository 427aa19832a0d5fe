//! The log of one bot: what it writes through the interface and on its standard streams, within a budget that all its
//! instances share. Lines past the budget are dropped; one line says how many.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::Level;

use super::escape;
use crate::id::BotName;
use crate::rate::Rate;

/// The target of every event here, for filters such as `info,bot=debug`.
pub(super) const TARGET: &str = "bot";
/// The field that holds a bot's own fields, as a JSON object.
pub(super) const FIELDS: &str = "fields";

/// Longest text of one line, in bytes. A longer one of the interface is cut, of a stream split.
const LINE_BYTES_MAX: usize = 8 << 10;
/// Further fields are left out.
const FIELDS_MAX: usize = 32;
/// A field's key and value are cut to this many bytes each.
const FIELD_BYTES_MAX: usize = 1 << 10;
/// What a line costs beyond its text: time, level, name.
const OVERHEAD_BYTES: u64 = 100;
/// Longest mark of a text that was cut.
const CUT_MARK_BYTES_MAX: usize = 32;
/// The budget's period, and how long a bot is not heard once it overran it: long enough that a flood gets one report a
/// second and not one for each line that fits in between.
const PERIOD: Duration = Duration::from_secs(1);

/// The log of one bot. Clones share its budget.
#[derive(Debug, Clone)]
pub struct BotLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bot: BotName,
    rate_bytes_per_second: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    budget: Rate,
    overrun: Option<Overrun>,
    /// Dropped lines that [`BotLog::settle`] did not return yet.
    uncounted: u64,
}

/// Lines that were dropped and not reported yet.
#[derive(Debug, Clone, Copy)]
struct Overrun {
    lines: u64,
    /// Until then every line is dropped.
    until: Instant,
}

/// One of a bot's standard streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output; its lines have the level `info`.
    Stdout,
    /// Standard error; its lines have the level `warn`.
    Stderr,
}

impl BotLog {
    /// Returns the log of a bot that may write so many bytes a second. Zero allows nothing.
    pub fn new(bot: BotName, rate_bytes_per_second: u64) -> Self {
        let budget = Rate::new(rate_bytes_per_second, PERIOD);
        let state = Mutex::new(State { budget, overrun: None, uncounted: 0 });
        Self(Arc::new(Inner { bot, rate_bytes_per_second, state }))
    }

    /// Writes one line, or drops and counts it. A line that the log's filter leaves out costs nothing.
    pub fn line(&self, level: Level, text: &str, fields: &[(String, String)], now: Instant) {
        if is_enabled(level) && !self.0.is_muted(now) {
            self.0.write(level, None, text, fields, now);
        }
    }

    /// Returns a writer for one standard stream of one instance.
    pub fn stream(&self, stream: Stream) -> StreamWriter {
        StreamWriter { log: self.clone(), stream, partial: Vec::new(), is_split: false }
    }

    /// Reports what was dropped if the budget is back, and returns how many lines were dropped since the last call. To
    /// be called after each event, and its result counted.
    pub fn settle(&self, now: Instant) -> u64 {
        let mut state = self.0.lock();
        let report = state.report(self.0.rate_bytes_per_second, now);
        let uncounted = std::mem::take(&mut state.uncounted);
        drop(state);
        self.0.report(report);
        uncounted
    }
}

impl Inner {
    /// Returns whether the bot is not heard at present, and counts the line if so. Costs next to nothing, for floods.
    fn is_muted(&self, now: Instant) -> bool {
        let mut state = self.lock();
        let is_muted = state.overrun.is_some_and(|overrun| now < overrun.until);
        if is_muted {
            state.drop_line(now);
        }
        is_muted
    }

    fn write(&self, level: Level, stream: Option<Stream>, text: &str, fields: &[(String, String)], now: Instant) {
        let text = cut(text, LINE_BYTES_MAX.min(usize::try_from(self.rate_bytes_per_second).unwrap_or(usize::MAX)));
        let fields = (!fields.is_empty()).then(|| {
            let pair = |(key, value): &(String, String)| {
                (cut(key, FIELD_BYTES_MAX).into_owned(), cut(value, FIELD_BYTES_MAX).into_owned().into())
            };
            serde_json::Value::Object(fields.iter().take(FIELDS_MAX).map(pair).collect()).to_string()
        });
        // Escapes are longer than what they stand for, so it is they that are paid for.
        let bytes = escape(&text).len() + fields.as_ref().map_or(0, String::len);
        let cost = OVERHEAD_BYTES.saturating_add(bytes as u64);
        let mut state = self.lock();
        let report = state.report(self.rate_bytes_per_second, now);
        let is_paid = state.overrun.is_none() && state.take(cost, self.rate_bytes_per_second, now);
        if !is_paid {
            state.drop_line(now);
        }
        drop(state);
        self.report(report);
        if is_paid {
            self.emit(level, stream, &text, fields.as_deref());
        }
    }

    fn report(&self, lines: Option<u64>) {
        if let Some(lines) = lines {
            tracing::warn!(target: TARGET, bot = self.bot.as_str(), "dropped {lines} lines");
        }
    }

    fn emit(&self, level: Level, stream: Option<Stream>, text: &str, fields: Option<&str>) {
        let bot = self.bot.as_str();
        let stream = stream.map(|stream| match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        });
        macro_rules! emit {
            ($($level:ident),*) => {
                match level {
                    $(Level::$level => tracing::event!(target: TARGET, Level::$level, bot, stream, fields, "{text}"),)*
                }
            };
        }
        emit!(TRACE, DEBUG, INFO, WARN, ERROR);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    /// Says at last what was dropped, for a bot that ended before its budget was back.
    fn drop(&mut self) {
        let overrun = self.state.get_mut().unwrap_or_else(PoisonError::into_inner).overrun.take();
        self.report(overrun.map(|overrun| overrun.lines));
    }
}

impl State {
    /// Takes the cost of a line, or all the budget where the line costs more than that.
    fn take(&mut self, cost: u64, capacity: u64, now: Instant) -> bool {
        self.budget.take(cost.min(capacity).max(1), now).is_ok()
    }

    /// Returns how many lines to report as dropped, if there are any and the budget is back.
    fn report(&mut self, capacity: u64, now: Instant) -> Option<u64> {
        let overrun = self.overrun.filter(|overrun| now >= overrun.until)?;
        if !self.take(OVERHEAD_BYTES, capacity, now) {
            return None;
        }
        self.overrun = None;
        Some(overrun.lines)
    }

    fn drop_line(&mut self, now: Instant) {
        self.uncounted += 1;
        let overrun = self.overrun.get_or_insert(Overrun { lines: 0, until: now + PERIOD });
        overrun.lines += 1;
    }
}

/// Splits what one instance writes on one stream into lines of its bot's log. A last line without an end is written
/// when this is dropped.
#[derive(Debug)]
pub struct StreamWriter {
    log: BotLog,
    stream: Stream,
    /// The line that has not ended yet; never longer than [`LINE_BYTES_MAX`].
    partial: Vec<u8>,
    /// The partial line continues one that was too long.
    is_split: bool,
}

impl StreamWriter {
    /// Takes bytes in pieces of any length, valid UTF-8 or not.
    pub fn write(&mut self, mut bytes: &[u8], now: Instant) {
        while !bytes.is_empty() {
            let room = LINE_BYTES_MAX - self.partial.len();
            let window = &bytes[..bytes.len().min(room)];
            if let Some(end) = window.iter().position(|byte| *byte == b'\n') {
                self.partial.extend_from_slice(&window[..end]);
                bytes = &bytes[end + 1..];
                // A line that fills the buffer to the byte was written already.
                if !(self.is_split && self.partial.is_empty()) {
                    self.end_line(self.partial.len(), now);
                }
                self.is_split = false;
            } else {
                self.partial.extend_from_slice(window);
                bytes = &bytes[window.len()..];
                if self.partial.len() == LINE_BYTES_MAX {
                    self.end_line(whole_characters(&self.partial), now);
                    self.is_split = true;
                }
            }
        }
    }

    /// Writes the first bytes of the partial line as a line and keeps the rest.
    fn end_line(&mut self, bytes: usize, now: Instant) {
        let level = match self.stream {
            Stream::Stdout => Level::INFO,
            Stream::Stderr => Level::WARN,
        };
        if is_enabled(level) && !self.log.0.is_muted(now) {
            let line = &self.partial[..bytes];
            let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
            self.log.0.write(level, Some(self.stream), &text, &[], now);
        }
        self.partial.drain(..bytes);
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        if !self.partial.is_empty() {
            self.end_line(self.partial.len(), Instant::now());
        }
    }
}

fn is_enabled(level: Level) -> bool {
    macro_rules! is_enabled {
        ($($level:ident),*) => {
            match level {
                $(Level::$level => tracing::enabled!(target: TARGET, Level::$level),)*
            }
        };
    }
    is_enabled!(TRACE, DEBUG, INFO, WARN, ERROR)
}

/// Returns how many of the bytes are whole characters, where the last one is cut; all of them otherwise.
fn whole_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        _ => bytes.len(),
    }
}

/// Returns the text if it fits, or else what of it leaves room to say how much is missing.
fn cut(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    let kept = &text[..text.floor_char_boundary(bytes_max.saturating_sub(CUT_MARK_BYTES_MAX))];
    Cow::Owned(format!("{kept}… ({} bytes more)", text.len() - kept.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{Format, to_writer};
    use std::io;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns the JSON lines that come of what `write` does with the log of a bot that has `rate` bytes a second.
    fn logged(rate: u64, write: impl FnOnce(BotLog)) -> Vec<serde_json::Value> {
        let written = Shared::default();
        let (subscriber, guard) = to_writer("info", Format::Json, written.clone()).unwrap();
        let log = BotLog::new("echo".parse().unwrap(), rate);
        tracing::subscriber::with_default(subscriber, || write(log));
        drop(guard);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn messages(lines: &[serde_json::Value]) -> Vec<&str> {
        lines.iter().map(|line| line["message"].as_str().unwrap()).collect()
    }

    #[test]
    fn a_line_carries_the_bot_its_level_and_its_fields() {
        let fields = [("user".to_owned(), "a\nb".to_owned()), ("level".to_owned(), "ERROR".to_owned())];
        let lines = logged(1 << 16, |log| log.line(Level::WARN, "hello", &fields, Instant::now()));
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((&line["bot"], &line["target"], &line["level"]), (&"echo".into(), &"bot".into(), &"WARN".into()));
        assert_eq!(line["fields"], serde_json::json!({ "user": "a\nb", "level": "ERROR" }));
    }

    #[test]
    fn a_flood_keeps_to_the_budget_and_is_reported_once_a_second() {
        let start = Instant::now();
        let lines = logged(64 << 10, |log| {
            // Ten seconds of 10,000 lines a second.
            for n in 0..100_000u64 {
                log.line(Level::INFO, &"x".repeat(100), &[], start + Duration::from_micros(n * 100));
            }
            let dropped = log.settle(start + Duration::from_secs(20));
            assert!(dropped > 90_000, "{dropped}");
            assert_eq!(log.settle(start + Duration::from_secs(20)), 0);
        });
        let bytes: usize = lines.iter().map(|line| line.to_string().len()).sum();
        assert!(bytes < 12 * (64 << 10), "{bytes}");
        let reported = |message: &&str| message.strip_prefix("dropped ")?.strip_suffix(" lines")?.parse::<usize>().ok();
        let reports: Vec<_> = messages(&lines).iter().filter_map(reported).collect();
        assert!((1..=11).contains(&reports.len()), "{reports:?}");
        assert_eq!(
            reports.iter().sum::<usize>() + lines.len() - reports.len(),
            100_000,
            "each line is written or counted"
        );
    }

    #[test]
    fn all_clones_share_one_budget_and_what_escapes_to_more_costs_more() {
        let now = Instant::now();
        let lines = logged(1000, |log| {
            log.clone().line(Level::INFO, &"x".repeat(400), &[], now);
            log.clone().line(Level::INFO, &"\0".repeat(90), &[], now);
            log.line(Level::INFO, "too much", &[], now);
        });
        assert_eq!(lines.len(), 2);
        assert_eq!(messages(&lines)[1], "dropped 2 lines");
    }

    #[test]
    fn a_bot_that_ends_while_it_is_not_heard_is_still_reported() {
        let now = Instant::now();
        let lines = logged(0, |log| (0..3).for_each(|_| log.line(Level::ERROR, "x", &[], now)));
        assert_eq!(messages(&lines), ["dropped 3 lines"]);
    }

    #[test]
    fn lines_below_the_filter_cost_nothing() {
        let now = Instant::now();
        let lines = logged(300, |log| {
            (0..1000).for_each(|_| log.line(Level::DEBUG, &"x".repeat(300), &[], now));
            log.line(Level::INFO, "heard", &[], now);
            assert_eq!(log.settle(now), 0);
        });
        assert_eq!(messages(&lines), ["heard"]);
    }

    #[test]
    fn a_stream_is_split_into_lines_wherever_its_pieces_end() {
        let now = Instant::now();
        let lines = logged(1 << 20, |log| {
            let mut stdout = log.stream(Stream::Stdout);
            for piece in ["on", "e\r\ntwo\n", "\nth\u{fc}"] {
                for byte in piece.bytes() {
                    stdout.write(&[byte], now);
                }
            }
            log.stream(Stream::Stderr).write(b"\xff bad\n", now);
            drop(stdout);
        });
        assert_eq!(messages(&lines), ["one", "two", "", "\u{fffd} bad", "thü"]);
        assert_eq!((&lines[0]["stream"], &lines[3]["stream"]), (&"stdout".into(), &"stderr".into()));
        assert_eq!((&lines[0]["level"], &lines[3]["level"]), (&"INFO".into(), &"WARN".into()));
    }

    #[test]
    fn a_long_line_of_a_stream_is_split_between_characters_and_loses_nothing() {
        let now = Instant::now();
        // The first line is one byte too long for its last character; the second ends where the buffer does.
        let text = "x".to_owned() + &"ü".repeat(5000) + "\n" + &"y".repeat(LINE_BYTES_MAX) + "\nz\n";
        let lines = logged(1 << 20, |log| log.stream(Stream::Stdout).write(text.as_bytes(), now));
        assert_eq!(lines.len(), 4);
        assert_eq!(messages(&lines).concat(), text.replace('\n', ""));
        assert_eq!(messages(&lines)[3], "z");
    }

    #[test]
    fn a_long_line_of_the_interface_is_cut_and_says_so() {
        let lines = logged(1 << 20, |log| log.line(Level::INFO, &"ü".repeat(5000), &[], Instant::now()));
        assert!(messages(&lines)[0].ends_with("ü… (1840 bytes more)"));
    }
}
