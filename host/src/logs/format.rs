//! One event as one line, for people or for programs.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::bot::{FIELDS, TARGET};
use super::name::{PERFORMANCE, Places};
use super::queue::{Queue, Share};
use super::{Format, escape, is_dangerous};
use crate::clock::Timestamp;

/// A field's value is cut to this many bytes: a platform's error page is no log line.
const VALUE_BYTES_MAX: usize = 8 << 10;

/// Turns events into lines and queues them, for standard error and for files; each by itself, so that neither waits for the other.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) stderr: Option<(Format, Arc<Queue<()>>)>,
    pub(super) files: Option<(Format, Arc<Queue<Places>>)>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let (level, target) = (*metadata.level(), metadata.target());
        let stderr = self.stderr.as_ref().filter(|_| target != PERFORMANCE);
        if stderr.is_none() && self.files.is_none() {
            return;
        }
        let mut record = Record::default();
        event.record(&mut record);
        let time = Timestamp::now();
        let share = if target == TARGET { Share::Bots } else { Share::Host };
        let places = self.files.as_ref().map(|_| Places::of(target, level, record.bot.as_deref()));
        let line = |record: Record, format| record.into_line(format, &time, level.as_str(), target);
        match (stderr, self.files.as_ref().zip(places)) {
            (Some((format, queue)), None) => queue.push(line(record, *format), (), share),
            (None, Some(((format, queue), places))) => queue.push(line(record, *format), places, share),
            (Some((of_stderr, stderr)), Some(((of_files, files), places))) => {
                let (text, further) = if of_stderr == of_files {
                    let text = line(record, *of_stderr);
                    (text.clone(), text)
                } else {
                    (line(record.clone(), *of_stderr), line(record, *of_files))
                };
                stderr.push(text, (), share);
                files.push(further, places, share);
            }
            (None, None) => {}
        }
    }
}

/// Returns the line that tells how many lines are not there.
pub(super) fn report(format: Format, dropped: u64) -> String {
    warning(format, format!("dropped {dropped} lines"))
}

/// Returns a line of the log's own about itself.
pub(super) fn warning(format: Format, message: String) -> String {
    let record = Record { message, ..Record::default() };
    record.into_line(format, &Timestamp::now(), "WARN", "logs")
}

/// What an event carries.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    pub(super) bot: Option<String>,
    pub(super) message: String,
    pub(super) fields: Vec<(Cow<'static, str>, Value)>,
}

impl Record {
    fn into_line(self, format: Format, time: &dyn fmt::Display, level: &str, target: &str) -> String {
        let mut line = match format {
            Format::Json => self.into_json(time, level, target),
            Format::Text | Format::Off => self.into_text(time, level, target),
        };
        line.push('\n');
        line
    }

    /// `TIME LEVEL TARGET[BOT]: MESSAGE KEY=VALUE …`. All that a text of somebody else's could imitate stands before
    /// it.
    pub(super) fn into_text(self, time: &dyn fmt::Display, level: &str, target: &str) -> String {
        let mut line = format!("{time} {level:>5} {target}");
        if let Some(bot) = &self.bot {
            line.extend(["[", &escape(bot), "]"]);
        }
        line.extend([": ", &escape(&self.message)]);
        for (key, value) in &self.fields {
            match value {
                Value::Object(pairs) => pairs.iter().for_each(|(key, value)| push_pair(&mut line, key, value)),
                value => push_pair(&mut line, key, value),
            }
        }
        line
    }

    fn into_json(self, time: &dyn fmt::Display, level: &str, target: &str) -> String {
        let mut object = Map::new();
        object.insert("time".to_owned(), time.to_string().into());
        object.insert("level".to_owned(), level.into());
        object.insert("target".to_owned(), target.into());
        object.extend(self.bot.map(|bot| ("bot".to_owned(), bot.into())));
        object.insert("message".to_owned(), self.message.into());
        for (key, value) in self.fields {
            // A field of the host's may not take the place of what stands above.
            object.entry(key).or_insert(value);
        }
        escape_json(Value::Object(object).to_string())
    }

    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("bot", Value::String(text)) => self.bot = Some(text),
            (name, value) => self.fields.push((name.into(), value)),
        }
    }
}

impl Visit for Record {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Capped::default();
        // An error means that the cap was reached.
        let _ = write!(text, "{value:?}");
        self.add(field, text.finish().into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        // A bot's own fields, bounded already and written as an object by the neighbouring module.
        if let Some(object) = (field.name() == FIELDS).then(|| serde_json::from_str::<Map<_, _>>(value).ok()).flatten()
        {
            return self.add(field, Value::Object(object));
        }
        let mut text = Capped::default();
        let _ = text.write_str(value);
        self.add(field, text.finish().into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }
}

/// A text that takes no more than [`VALUE_BYTES_MAX`], however much is written.
#[derive(Debug, Default)]
struct Capped {
    text: String,
    is_cut: bool,
}

impl Capped {
    fn finish(mut self) -> String {
        if self.is_cut {
            self.text.push('…');
        }
        self.text
    }
}

impl fmt::Write for Capped {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.is_cut {
            return Err(fmt::Error);
        }
        let end = text.floor_char_boundary(VALUE_BYTES_MAX - self.text.len());
        self.text.push_str(&text[..end]);
        self.is_cut = end < text.len();
        if self.is_cut { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Adds ` KEY=VALUE`; quoted where it would not read as one value.
fn push_pair(line: &mut String, key: &str, value: &Value) {
    line.extend([" ", &escape(key), "="]);
    match value {
        Value::String(text)
            if text.is_empty() || text.contains([' ', '"', '=', '\\']) || text.contains(is_dangerous) =>
        {
            line.push_str(&escape_json(Value::from(text.as_str()).to_string()));
        }
        Value::String(text) => line.push_str(text),
        value => line.push_str(&escape_json(value.to_string())),
    }
}

/// Returns JSON with those characters escaped too that its writer lets through. They stand in strings only.
pub(super) fn escape_json(json: String) -> String {
    if !json.contains(is_dangerous) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if is_dangerous(character) {
            write!(escaped, "\\u{:04x}", u32::from(character)).expect("writing to a string does not fail");
        } else {
            escaped.push(character);
        }
    }
    escaped
}
