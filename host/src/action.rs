//! What a bot asked for: acts on platforms, writes of state, timers, alerts. Gathered while a handler runs, applied after
//! it returned `ok`.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::event::Conversation;
use crate::grants::ConnectorKey;
use crate::id::Ticket;

/// A message: one that the platform gave an id, or one of a bot's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MessageRef {
    /// The platform's id.
    Platform(String),
    /// What `send` returned.
    Sent(Ticket),
}

/// How a text is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextFormat {
    /// As it stands.
    #[default]
    Plain,
    /// With markup, where the platform has it.
    Markdown,
}

/// What goes first where several wait: messages to leave, bots to have their turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Priority {
    Low,
    #[default]
    Normal,
    High,
    Critical,
}

/// Something to press.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Button {
    /// What people read.
    pub label: String,
    /// What comes back.
    pub data: String,
}

/// A file to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// Its file name.
    pub name: String,
    /// As in HTTP.
    pub media_type: String,
    /// Its bytes.
    #[serde(with = "crate::bytes_as_text")]
    pub content: Vec<u8>,
}

/// A message to send. `R` is how it names other messages: as the bot did, or, once resolved, by the platform's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing<R = MessageRef> {
    /// What it says.
    pub text: String,
    /// How the text is meant.
    pub format: TextFormat,
    /// Rows of buttons.
    pub buttons: Vec<Vec<Button>>,
    /// Files.
    pub uploads: Vec<Upload>,
    /// The message it answers.
    pub reply_to: Option<R>,
    /// Which of two waiting messages leaves first.
    pub priority: Priority,
    /// Not worth delivering after this long; none: the operator's default.
    pub expires_after: Option<Duration>,
}

/// One act on a platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "wit/v0.1/messaging.wit documents each")]
pub enum Act<R = MessageRef> {
    Send { ticket: Ticket, message: Outgoing<R> },
    Edit { target: R, message: Outgoing<R> },
    Delete { target: R },
    React { target: R, emoji: String },
}

/// An act and where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action<R = MessageRef> {
    /// The connector that carries it out.
    pub via: ConnectorKey,
    /// The conversation on that connector.
    pub at: Conversation,
    /// What to do there.
    pub act: Act<R>,
}

/// An action whose messages are named by the platform's own ids: what a connector gets.
pub type ResolvedAction = Action<String>;

impl Action {
    /// Names every message by the platform's id.
    ///
    /// # Errors
    ///
    /// The first ticket that `platform_id` does not know.
    pub fn resolve(self, platform_id: impl Fn(Ticket) -> Option<String>) -> Result<ResolvedAction, Ticket> {
        let resolve = |reference: MessageRef| match reference {
            MessageRef::Platform(id) => Ok(id),
            MessageRef::Sent(ticket) => platform_id(ticket).ok_or(ticket),
        };
        let act = match self.act {
            Act::Send { ticket, message } => Act::Send { ticket, message: message.resolve(&resolve)? },
            Act::Edit { target, message } => {
                Act::Edit { target: resolve(target)?, message: message.resolve(&resolve)? }
            }
            Act::Delete { target } => Act::Delete { target: resolve(target)? },
            Act::React { target, emoji } => Act::React { target: resolve(target)?, emoji },
        };
        Ok(Action { via: self.via, at: self.at, act })
    }
}

impl Outgoing {
    fn resolve(self, resolve: &impl Fn(MessageRef) -> Result<String, Ticket>) -> Result<Outgoing<String>, Ticket> {
        Ok(Outgoing {
            text: self.text,
            format: self.format,
            buttons: self.buttons,
            uploads: self.uploads,
            reply_to: self.reply_to.map(resolve).transpose()?,
            priority: self.priority,
            expires_after: self.expires_after,
        })
    }
}

/// One change of a bot's state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "wit/v0.1/state.wit documents each")]
pub enum StateWrite {
    Set {
        key: String,
        value: Vec<u8>,
        expires_at: Option<Timestamp>,
    },
    Delete {
        key: String,
    },
    /// Merged with what is there when it is applied, so that two events that add do not conflict.
    Add {
        key: String,
        delta: i64,
    },
}

/// When a timer is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// Once, this long after the commit.
    After(Duration),
    /// Once, at this moment.
    At(Timestamp),
    /// Again and again.
    Every(Duration),
    /// By a cron expression in a time zone.
    Cron {
        /// Five or six fields.
        expression: String,
        /// An IANA name.
        zone: String,
    },
}

/// One change of a bot's timers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "wit/v0.1/timers.wit documents each")]
pub enum TimerChange {
    Set { name: String, schedule: Schedule, payload: Vec<u8> },
    Cancel { name: String },
}

/// How bad an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

/// Why a text is no [`Severity`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no severity: it is info, warning or critical")]
pub struct SeverityError(String);

impl Severity {
    /// Returns its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl FromStr for Severity {
    type Err = SeverityError;

    fn from_str(text: &str) -> Result<Self, SeverityError> {
        let all = [Self::Info, Self::Warning, Self::Critical];
        let found = all.into_iter().find(|severity| severity.as_str() == text);
        found.ok_or_else(|| SeverityError(text.chars().take(32).flat_map(char::escape_debug).collect()))
    }
}

/// One change of a bot's alerts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "wit/v0.1/alerts.wit documents each")]
pub enum AlertChange {
    Raise { key: String, severity: Severity, summary: String, details: Vec<(String, String)> },
    Resolve { key: String },
}

/// A key of the state that a handler read, and the revision it saw; none where the key was absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateRead {
    /// The key.
    pub key: String,
    /// What the store counted when it was read.
    pub revision: Option<u64>,
}

/// Everything one handler asked for, in the order it asked. Applied as a whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Effects {
    /// Acts on platforms.
    pub actions: Vec<Action>,
    /// What was read, for the conflict check.
    pub reads: Vec<StateRead>,
    /// State writes, the last of a key winning.
    pub state: Vec<StateWrite>,
    /// Timer changes.
    pub timers: Vec<TimerChange>,
    /// Alert changes.
    pub alerts: Vec<AlertChange>,
}
