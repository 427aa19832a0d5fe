//! Takes what the log says is wrong: each line of the host that is a warning or an error, and each that a bot wrote as an error.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::{Errors, Occurrence, TEXT_BYTES_MAX};
use crate::action::Severity;
use crate::clock::Timestamp;

/// Targets, or their ends, of lines about what is recorded where it happens, or that are no failure by themselves.
const LEFT_OUT: [&str; 3] = ["::bot::report", "alert", "performance"];
/// The target of bots' own lines.
const BOT_TARGET: &str = "bot";
/// Fields that say what was wrong, the first that is there.
const MESSAGE_FIELDS: [&str; 4] = ["error", "reason", "detail", "why"];

/// Takes errors from the log. Whatever the log's filter leaves out, this sees neither.
#[derive(Debug)]
pub struct ErrorLayer {
    errors: Arc<Errors>,
}

impl ErrorLayer {
    pub(super) fn new(errors: Arc<Errors>) -> Self {
        Self { errors }
    }
}

impl<S: Subscriber> Layer<S> for ErrorLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let (target, level) = (event.metadata().target(), *event.metadata().level());
        let is_of_bot = target == BOT_TARGET;
        let severity = match level {
            Level::ERROR if is_of_bot => Severity::Warning,
            Level::ERROR => Severity::Critical,
            Level::WARN if !is_of_bot => Severity::Warning,
            _ => return,
        };
        if LEFT_OUT.iter().any(|left_out| target.ends_with(left_out)) {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let message = MESSAGE_FIELDS.iter().find_map(|name| fields.others.iter().position(|(given, _)| given == name));
        let message = message.map(|at| fields.others.remove(at).1);
        let said = std::mem::take(&mut fields.text);
        // What a bot says is no sentence of this program's.
        let (kind, message) = match is_of_bot {
            true => ("logged by the bot", said.as_str()),
            false => (said.as_str(), message.as_deref().unwrap_or("")),
        };
        let occurrence = Occurrence {
            severity,
            component: component(target),
            kind,
            message,
            bot: fields.bot.as_deref(),
            connector: fields.connector.as_deref(),
            context: &fields.others,
        };
        self.errors.record(&occurrence, Timestamp::now());
    }
}

/// Returns the part of the program that a target names: `outbox` for `bothost::outbox::attempts`.
fn component(target: &str) -> &str {
    let mut parts = target.split("::");
    match (parts.next(), parts.next()) {
        (Some("bothost"), Some(part)) => part,
        (Some("bothost"), None) => "host",
        (Some(other), _) => other,
        (None, _) => target,
    }
}

/// The fields of one line.
#[derive(Debug, Default)]
struct Fields {
    text: String,
    bot: Option<String>,
    connector: Option<String>,
    others: Vec<(String, String)>,
}

impl Fields {
    fn take(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.text = value,
            "bot" => self.bot = Some(value),
            "connector" => self.connector = Some(value),
            name => self.others.push((name.to_owned(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value[..value.floor_char_boundary(value.len().min(TEXT_BYTES_MAX))].to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        // Bounded, for a chain may be a circle.
        while let (Some(cause), true) = (source, text.len() < TEXT_BYTES_MAX) {
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        self.take(field, text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format!("{value:?}"));
    }
}
