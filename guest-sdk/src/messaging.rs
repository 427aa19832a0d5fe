//! Acts on platforms: sends, edits, deletes, reacts.
//!
//! What is done here is gathered while a handler runs and leaves when it returns `Ok`. So `Ok` from [`send`] means that the
//! host has taken the message, not that the platform has it: retries, rate limits and order are the host's work. Only
//! [`typing`] takes effect at once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Conversation, Result, host};

/// A message of this bot that the platform may not have yet. Later acts can name it at once, in this event or another.
///
/// It goes through serde, so that a bot can keep it in state and edit its message when a later event comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ticket(pub(crate) u64);

/// A message: one that the platform gave an id, or one of this bot's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MessageRef {
    /// The platform's id, as in [`Message::id`](crate::Message::id).
    Platform(String),
    /// What [`send`] returned.
    Sent(Ticket),
}

impl From<Ticket> for MessageRef {
    fn from(ticket: Ticket) -> Self {
        Self::Sent(ticket)
    }
}

/// How a text is meant. A platform without markup gets it plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TextFormat {
    /// As it stands.
    #[default]
    Plain,
    /// Markdown.
    Markdown,
}

/// Which of two waiting messages leaves first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// What may wait, and goes first where the operator's outbox drops by priority.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Before the others.
    High,
    /// Before all others.
    Critical,
}

/// A button below a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Button {
    /// What people read.
    pub label: String,
    /// Comes back in [`ButtonPress::data`](crate::ButtonPress::data). At most 64 bytes.
    pub data: String,
}

impl Button {
    /// Returns a button with a label and the data that a press brings back, at most 64 bytes of it.
    pub fn new(label: impl Into<String>, data: impl Into<String>) -> Self {
        Self { label: label.into(), data: data.into() }
    }
}

/// A file to send. The bytes count against the limit of one host call, 1 MiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The file's name.
    pub name: String,
    /// As in HTTP, such as `image/png`.
    pub media_type: String,
    /// The file itself.
    pub content: Vec<u8>,
}

/// A message to send.
///
/// ```
/// use bothost_guest::{Button, Outgoing, Priority};
/// use std::time::Duration;
///
/// let question = Outgoing::text("*Deploy* now?")
///     .markdown()
///     .buttons([Button::new("Yes", "deploy:yes"), Button::new("No", "deploy:no")])
///     .priority(Priority::High)
///     .expires_after(Duration::from_secs(600));
/// assert_eq!(question.buttons[0].len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Outgoing {
    /// What it says.
    pub text: String,
    /// How the text is meant.
    pub format: TextFormat,
    /// Rows of buttons; numbered text where the platform has none.
    pub buttons: Vec<Vec<Button>>,
    /// Files that go with it.
    pub uploads: Vec<Upload>,
    /// The message that it quotes.
    pub reply_to: Option<MessageRef>,
    /// Which of two waiting messages leaves first.
    pub priority: Priority,
    /// Not worth delivering after this long. `None`: the operator's default.
    pub expires_after: Option<Duration>,
}

impl Outgoing {
    /// Returns a message that says this, as plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Says that the text is Markdown.
    pub fn markdown(mut self) -> Self {
        self.format = TextFormat::Markdown;
        self
    }

    /// Adds one row of buttons.
    pub fn buttons(mut self, row: impl IntoIterator<Item = Button>) -> Self {
        self.buttons.push(row.into_iter().collect());
        self
    }

    /// Adds a file. `media_type` is as in HTTP, such as `image/png`.
    pub fn upload(
        mut self,
        name: impl Into<String>,
        media_type: impl Into<String>,
        content: impl Into<Vec<u8>>,
    ) -> Self {
        self.uploads.push(Upload { name: name.into(), media_type: media_type.into(), content: content.into() });
        self
    }

    /// Makes it quote a message: a [`Message`](crate::Message), a [`Ticket`] or a [`MessageRef`].
    pub fn reply_to(mut self, message: impl Into<MessageRef>) -> Self {
        self.reply_to = Some(message.into());
        self
    }

    /// Sets which of two waiting messages leaves first.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Sets how long it is worth delivering, in whole milliseconds.
    pub fn expires_after(mut self, duration: Duration) -> Self {
        self.expires_after = Some(duration);
        self
    }
}

impl From<&str> for Outgoing {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<&String> for Outgoing {
    fn from(text: &String) -> Self {
        Self::text(text)
    }
}

impl From<String> for Outgoing {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

/// Sends a message; a text will do for one.
///
/// # Errors
///
/// [`NotGranted`](crate::Failure::NotGranted) where the bot has no such connector, [`Invalid`](crate::Failure::Invalid) for
/// an empty message, [`QuotaExceeded`](crate::Failure::QuotaExceeded) past `limits.sends_per_minute`,
/// [`Unavailable`](crate::Failure::Unavailable) where the connector's outbox is full.
pub fn send(to: &Conversation, message: impl Into<Outgoing>) -> Result<Ticket> {
    host::messaging::send(to, &message.into())
}

/// Replaces a message of this bot.
///
/// # Errors
///
/// Those of [`send`].
pub fn edit(at: &Conversation, target: impl Into<MessageRef>, message: impl Into<Outgoing>) -> Result {
    host::messaging::edit(at, &target.into(), &message.into())
}

/// Deletes a message.
///
/// # Errors
///
/// Those of [`send`].
pub fn delete(at: &Conversation, target: impl Into<MessageRef>) -> Result {
    host::messaging::delete(at, &target.into())
}

/// Puts a reaction on a message: an emoji, or the platform's name of a custom one.
///
/// # Errors
///
/// Those of [`send`].
pub fn react(at: &Conversation, target: impl Into<MessageRef>, emoji: &str) -> Result {
    host::messaging::react(at, &target.into(), emoji)
}

/// Shows "typing" where the platform has it. At once, best effort, not part of the transaction.
pub fn typing(at: &Conversation) {
    host::messaging::typing(at);
}

/// Returns the platform's own JSON of the event being handled, if it had one.
pub fn raw() -> Option<String> {
    host::messaging::raw()
}
