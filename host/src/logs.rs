//! The host's log: one event, one line, whatever its texts contain, on standard error and in files. Writing never blocks who logs: a
//! line goes into a bounded queue that a thread empties, one for standard error and one for the files, and what does not fit is
//! counted.
//!
//! ```text
//! event ─► line ─┬─► queue ─► thread ─► standard error
//!                └─► queue ─► thread ─► host.log, error.log, alerts.log, performance.log, bots/NAME.log
//!                                         └─► thread that packs what was rotated and removes what is too much
//! ```
//!
//! Spans are not shown; a line carries its own fields. The log of one bot is in `logs/bot.rs`, reading in `tail` and `follow`.

mod bot;
mod config;
mod directory;
mod files;
pub mod follow;
mod format;
pub mod line;
mod name;
mod pack;
mod queue;
mod roll;
mod stream;
pub mod tail;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tracing::Subscriber;
use tracing_subscriber::layer::{Layered, SubscriberExt as _};
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

pub use self::bot::{BotLog, Stream, StreamWriter};
pub use self::config::{FileFormat, LogLevel, LogLevelError, LogsConfig, StderrFormat};
use self::files::Files;
use self::format::Lines;
pub use self::name::{LogFile, NoLogFile};
use self::name::{PERFORMANCE, Places};
use self::pack::{Packer, Shared};
use self::queue::Queue;
pub use self::roll::Rules;

/// How long the end of the process waits for the lines that are still queued.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people: time, level, where, bot, message, fields.
    #[default]
    Text,
    /// For programs: one JSON object a line.
    Json,
    /// Nothing is written.
    Off,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The filter cannot be read.
    #[error(
        "`{filter}` is no log filter: write a level (trace, debug, info, warn, error) \
         or a list such as \"info,bot=debug\""
    )]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The process has a log already.
    #[error("the process has a log already")]
    AlreadySet,
    /// The thread that writes was not started.
    #[error("no thread for writing the log")]
    Thread(#[source] io::Error),
}

/// Where log files are and what is in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesSetup {
    /// The directory. It is made where it is not there.
    pub dir: PathBuf,
    /// How lines are written.
    pub format: FileFormat,
    /// How much is written to one file, and how much is kept.
    pub rules: Rules,
}

/// The running log. Dropped, it writes what is queued, for at most a second each for standard error and for the files; later lines
/// are lost.
#[derive(Debug)]
#[must_use = "the log ends when this is dropped"]
pub struct Guard {
    stderr: Option<Arc<Queue<()>>>,
    files: Option<(Arc<Queue<Places>>, Arc<Shared>)>,
    lost: Arc<AtomicU64>,
    filter: FilterHandle,
}

impl Guard {
    /// Returns the number of lines that were not written where they should be, which goes on counting. One that is missing in two
    /// places counts twice.
    pub fn lost_lines(&self) -> Arc<AtomicU64> {
        self.lost.clone()
    }

    /// Returns the bytes of all log files, packed ones included, as they were added up last, with what was written since. 0 where
    /// there are none.
    pub fn file_bytes(&self) -> u64 {
        self.files.as_ref().map_or(0, |(_, shared)| shared.bytes())
    }

    /// Returns the handle that changes which lines are written.
    pub fn filter(&self) -> FilterHandle {
        self.filter.clone()
    }

    /// Puts other rules in force for the files, if there are any, within a minute at most.
    pub fn set_rules(&self, rules: Rules) {
        if let Some((_, shared)) = &self.files {
            shared.rules.store(Arc::new(rules));
        }
    }

    /// Has every file opened anew with its next line, or within a second. For those who rotate logs in the host's stead: what they
    /// renamed or removed is noticed anyhow.
    pub fn reopen(&self) {
        if let Some((_, shared)) = &self.files {
            shared.reopen();
        }
    }
}

/// Changes which lines of a running log are written. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FilterHandle {
    handle: reload::Handle<EnvFilter, Registry>,
    has_files: bool,
}

impl FilterHandle {
    /// Puts another filter in force, for every line from now on. What a filter leaves out everywhere is decided once for each
    /// place in the program, so that a place that is left out costs nothing; this has all of them decide anew.
    ///
    /// # Errors
    ///
    /// [`InitError::Filter`]: the filter before stays. Nothing happens where the log has ended.
    pub fn set(&self, filter: &str) -> Result<(), InitError> {
        // It fails only where the subscriber is gone, and nobody logs any more.
        let _ = self.handle.reload(parse(filter, self.has_files)?);
        Ok(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some((files, _)) = &self.files {
            files.close(FLUSH_TIMEOUT);
        }
        // Last, because the files may have something to say of themselves.
        if let Some(stderr) = &self.stderr {
            stderr.close(FLUSH_TIMEOUT);
        }
    }
}

/// What passes the log's filter.
pub type Filtered = Layered<reload::Layer<EnvFilter, Registry>, Registry>;

/// Makes standard error the log of this process, and the files, if any are given. `filter` is a level, or a list such as
/// `info,bot=debug`; `listener` hears of every line that passes it. A file that cannot be written is no error: it is said on standard
/// error, and tried again.
///
/// # Errors
///
/// See [`InitError`]. Nothing is installed then.
pub fn init(
    filter: &str,
    format: Format,
    files: Option<FilesSetup>,
    listener: impl Layer<Filtered> + Send + Sync,
) -> Result<Guard, InitError> {
    let (filter, lines, guard) = build(filter, format, io::stderr(), files)?;
    let subscriber = tracing_subscriber::registry().with(filter).with(listener).with(lines);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| InitError::AlreadySet)?;
    Ok(guard)
}

/// Returns a log that goes to `writer`, for the caller to install.
///
/// # Errors
///
/// As for [`init`].
pub fn to_writer<W: io::Write + Send + 'static>(
    filter: &str,
    format: Format,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, Guard), InitError> {
    to_writer_and_files(filter, format, writer, None)
}

/// Returns a log that goes to `writer` and to files, for the caller to install.
///
/// # Errors
///
/// As for [`init`].
pub fn to_writer_and_files<W: io::Write + Send + 'static>(
    filter: &str,
    format: Format,
    writer: W,
    files: Option<FilesSetup>,
) -> Result<(impl Subscriber + Send + Sync + use<W>, Guard), InitError> {
    let (filter, lines, guard) = build(filter, format, writer, files)?;
    Ok((tracing_subscriber::registry().with(filter).with(lines), guard))
}

type Parts = (reload::Layer<EnvFilter, Registry>, Lines, Guard);

fn build<W: io::Write + Send + 'static>(
    filter: &str,
    format: Format,
    writer: W,
    files: Option<FilesSetup>,
) -> Result<Parts, InitError> {
    let has_files = files.is_some();
    let (filter, handle) = reload::Layer::new(parse(filter, has_files)?);
    let lost = Arc::new(AtomicU64::new(0));
    let stderr = match format {
        Format::Off => None,
        Format::Text | Format::Json => {
            let stream = stream::Stream { writer, format };
            Some((format, Queue::start("logs", stream, lost.clone()).map_err(InitError::Thread)?))
        }
    };
    let files = files.map(|setup| start_files(setup, stderr.clone(), &lost)).transpose()?;
    let guard = Guard {
        stderr: stderr.as_ref().map(|(_, queue)| queue.clone()),
        files: files.as_ref().map(|(_, queue, shared)| (queue.clone(), shared.clone())),
        lost,
        filter: FilterHandle { handle, has_files },
    };
    let lines = Lines { stderr, files: files.map(|(format, queue, _)| (format, queue)) };
    Ok((filter, lines, guard))
}

type Started = (Format, Arc<Queue<Places>>, Arc<Shared>);

fn start_files(
    setup: FilesSetup,
    stderr: Option<(Format, Arc<Queue<()>>)>,
    lost: &Arc<AtomicU64>,
) -> Result<Started, InitError> {
    let (format, shared) = (setup.format.into(), Shared::new(setup.dir, setup.rules));
    let packer = Packer::start(&shared).map_err(InitError::Thread)?;
    let files = Files::new(shared.clone(), packer, format, stderr);
    let queue = Queue::start("log-files", files, lost.clone()).map_err(InitError::Thread)?;
    Ok((format, queue, shared))
}

fn parse(filter: &str, has_files: bool) -> Result<EnvFilter, InitError> {
    // What is measured has a file of its own, which a level for what people read does not concern, unless it says so.
    let is_left_alone = !has_files || filter == "off" || filter.contains(&format!("{PERFORMANCE}="));
    let whole = if is_left_alone { Cow::Borrowed(filter) } else { format!("{filter},{PERFORMANCE}=info").into() };
    EnvFilter::try_new(whole).map_err(|source| InitError::Filter { filter: escape(filter).into_owned(), source })
}

/// Returns the text with every character escaped that could end a line, steer a terminal, or show text in another order
/// than it stands: C0, DEL, C1, the bidirectional controls and the Unicode line separators. Escaping twice changes
/// nothing.
pub fn escape(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find(is_dangerous) else { return Cow::Borrowed(text) };
    let mut escaped = String::with_capacity(text.len() + 16);
    escaped.push_str(&text[..first]);
    for character in text[first..].chars() {
        match character {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            _ if is_dangerous(character) => {
                write!(escaped, "\\u{{{:x}}}", u32::from(character)).expect("writing to a string does not fail");
            }
            _ => escaped.push(character),
        }
    }
    Cow::Owned(escaped)
}

fn is_dangerous(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Mutex;
    use std::sync::atomic::Ordering;

    /// A writer whose text the test can read.
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

    /// Returns what `log` logs.
    fn logged(filter: &str, format: Format, log: impl FnOnce()) -> String {
        let written = Shared::default();
        let (subscriber, guard) = to_writer(filter, format, written.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, log);
        drop(guard);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    const FORGED: &str = "hi\n{\"level\":\"ERROR\"}\r\u{1b}[31m\u{202e}\u{9b}\u{7f}\0\u{2028}end";

    #[test]
    fn no_text_forges_a_line_or_steers_the_terminal() {
        for format in [Format::Text, Format::Json] {
            let text = logged("info", format, || tracing::info!(user = FORGED, "said {FORGED}"));
            let line = text.strip_suffix('\n').unwrap();
            assert!(!line.contains(is_dangerous), "{format:?}: {line:?}");
            assert!(line.contains("end"), "{line}");
        }
    }

    #[test]
    fn a_json_line_reads_back_as_it_was_logged() {
        let text =
            logged("info", Format::Json, || tracing::warn!(bot = "echo", attempt = 2u64, user = FORGED, "{FORGED}"));
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["level"], &line["bot"], &line["attempt"]), (&"WARN".into(), &"echo".into(), &2.into()));
        assert_eq!((&line["message"], &line["user"]), (&FORGED.into(), &FORGED.into()));
        assert!(line["time"].is_string() && line["target"].is_string());
    }

    #[test]
    fn a_text_line_names_the_bot_before_what_the_bot_says() {
        let text = logged(
            "info",
            Format::Text,
            || tracing::warn!(target: "bot", bot = "echo", user = "a b", "[other]: x=\"y\""),
        );
        assert!(text.trim_end().ends_with("WARN bot[echo]: [other]: x=\"y\" user=\"a b\""), "{text}");
    }

    #[test]
    fn the_filter_chooses_and_off_writes_nothing() {
        let log = || {
            tracing::debug!(target: "bot", "kept");
            tracing::debug!(target: "host", "left out");
        };
        let text = logged("info,bot=debug", Format::Text, log);
        assert!(text.contains("kept") && !text.contains("left out"), "{text}");
        assert_eq!(logged("trace", Format::Off, log), "");
    }

    #[test]
    fn another_filter_is_in_force_at_once_and_a_bad_one_changes_nothing() {
        let written = Shared::default();
        let (subscriber, guard) = to_writer("info", Format::Text, written.clone()).unwrap();
        let filter = guard.filter();
        tracing::subscriber::with_default(subscriber, || {
            let say = |turn: u32| {
                tracing::debug!(target: "bot", turn, "a detail");
                tracing::info!(target: "host", turn, "a fact");
            };
            say(1);
            filter.set("warn,bot=debug").unwrap();
            say(2);
            assert!(filter.set("bot=loud").is_err());
            say(3);
            filter.set("off").unwrap();
            say(4);
            filter.set("info").unwrap();
            say(5);
        });
        drop(guard);
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = text.lines().map(|line| line.split("Z ").nth(1).unwrap_or(line).trim()).collect();
        let expected = ["a fact turn=1", "a detail turn=2", "a detail turn=3", "a fact turn=5"];
        assert_eq!(lines.len(), expected.len(), "{text}");
        assert!(lines.iter().zip(expected).all(|(line, expected)| line.ends_with(expected)), "{text}");
        filter.set("info").unwrap();
    }

    #[test]
    fn a_bad_filter_is_refused_with_an_example() {
        let error = to_writer("bot=loud", Format::Text, io::sink()).err().unwrap();
        assert!(error.to_string().contains("info,bot=debug"), "{error}");
    }

    #[test]
    fn a_giant_field_is_cut() {
        for format in [Format::Text, Format::Json] {
            let text =
                logged("info", format, || tracing::info!(body = "x".repeat(10 << 20), "{}", "y".repeat(10 << 20)));
            assert!(text.len() < 20 << 10, "{}", text.len());
        }
    }

    #[test]
    fn a_dead_writer_costs_lines_not_the_process() {
        struct Dead;
        impl io::Write for Dead {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let (subscriber, guard) = to_writer("info", Format::Text, Dead).unwrap();
        let lost = guard.lost_lines();
        tracing::subscriber::with_default(subscriber, || (0..10).for_each(|_| tracing::info!("x")));
        drop(guard);
        assert_eq!(lost.load(Ordering::Relaxed), 10);
    }

    proptest! {
        #[test]
        fn escaped_text_is_harmless_and_stays_as_it_is(text in "\\PC*|[\\x00-\\x{2100}]*") {
            let once = escape(&text).into_owned();
            prop_assert!(!once.contains(is_dangerous));
            prop_assert_eq!(escape(&once), once.as_str());
        }
    }
}
