//! What happened. It owns the event and the kinds that are no message; messages are in `message.rs`.

use std::time::SystemTime;

use serde::de::DeserializeOwned;

use crate::{Command, Conversation, EventClass, Message, Result, User};

/// One attempt of one event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Unique in this host and the same on every attempt: the idempotency key for calls to others.
    pub id: String,
    /// 1 on the first attempt.
    pub attempt: u32,
    /// When the host took it over.
    pub received_at: SystemTime,
    /// The connector it came from; empty for a timer.
    pub connector: String,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum EventKind {
    /// A message that is no command of this bot.
    Message(Message),
    /// A message that begins with `!` or `/` and the name of a command of this bot.
    Command(Command),
    /// A message that its sender has changed, with its new text.
    Edited(Message),
    /// A reaction put on or taken off.
    Reaction(Reaction),
    /// Somebody joined or left.
    Member(MemberChange),
    /// A press of a button that this bot has sent.
    Button(ButtonPress),
    /// A timer of this bot is due.
    Timer(TimerFired),
    /// A request that came to a webhook connector.
    Webhook(WebhookRequest),
    /// Something that only one platform has.
    Custom(CustomEvent),
}

impl EventKind {
    /// Returns the class that a manifest asks for this kind by.
    pub fn class(&self) -> EventClass {
        match self {
            Self::Message(_) => EventClass::Message,
            Self::Command(_) => EventClass::Command,
            Self::Edited(_) => EventClass::Edited,
            Self::Reaction(_) => EventClass::Reaction,
            Self::Member(_) => EventClass::Member,
            Self::Button(_) => EventClass::Button,
            Self::Timer(_) => EventClass::Timer,
            Self::Webhook(_) => EventClass::Webhook,
            Self::Custom(_) => EventClass::Custom,
        }
    }

    /// Returns the conversation it happened in; `None` for timers, webhooks and custom events.
    pub fn conversation(&self) -> Option<&Conversation> {
        match self {
            Self::Message(message) | Self::Edited(message) => Some(&message.conversation),
            Self::Command(command) => Some(&command.message.conversation),
            Self::Reaction(reaction) => Some(&reaction.conversation),
            Self::Member(change) => Some(&change.conversation),
            Self::Button(press) => Some(&press.conversation),
            Self::Timer(_) | Self::Webhook(_) | Self::Custom(_) => None,
        }
    }
}

/// Why [`Bot::init`](crate::Bot::init) is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StartReason {
    /// The host started, or the bot is new or was enabled.
    Started,
    /// A new version of the component or of its settings takes over.
    Reloaded,
    /// The bot comes back after a fault.
    Restarted,
}

/// A reaction put on a message or taken off it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reaction {
    /// Where the message is.
    pub conversation: Conversation,
    /// The message that somebody reacted to.
    pub message_id: String,
    /// Who reacted.
    pub sender: User,
    /// The emoji itself, or the platform's name of a custom one.
    pub emoji: String,
    /// True: put on. False: taken off.
    pub added: bool,
}

/// How somebody's place in a conversation changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Membership {
    /// Came in.
    Joined,
    /// Went by their own will.
    Left,
    /// Was asked to come in and is not in yet.
    Invited,
    /// Was thrown out.
    Removed,
}

/// Somebody joined or left a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberChange {
    /// Where it happened.
    pub conversation: Conversation,
    /// Whom it happened to; may be the bot itself.
    pub member: User,
    /// What happened to them.
    pub change: Membership,
}

/// Somebody pressed a button that this bot had sent.
#[derive(Debug, Clone, PartialEq)]
pub struct ButtonPress {
    /// Where the button is.
    pub conversation: Conversation,
    /// The message with the button.
    pub message_id: String,
    /// Who pressed it.
    pub sender: User,
    /// The `data` that the bot gave the button.
    pub data: String,
}

/// A timer of this bot is due.
#[derive(Debug, Clone, PartialEq)]
pub struct TimerFired {
    /// The name that the bot gave the timer.
    pub name: String,
    /// What the bot gave when it set the timer.
    pub payload: Vec<u8>,
    /// When it was due. Now is later if the host was busy or down.
    pub due_at: SystemTime,
}

impl TimerFired {
    /// Returns the payload as text.
    ///
    /// # Errors
    ///
    /// [`Failure::Other`](crate::Failure::Other) where it is no UTF-8.
    pub fn text(&self) -> Result<&str> {
        Ok(std::str::from_utf8(&self.payload)?)
    }

    /// Returns the payload read as JSON, such as a [`Conversation`] to write to.
    ///
    /// # Errors
    ///
    /// [`Failure::Other`](crate::Failure::Other) where it is no JSON of that shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        Ok(serde_json::from_slice(&self.payload)?)
    }
}

/// A request that came to a webhook connector. The host has verified its signature.
#[derive(Debug, Clone, PartialEq)]
pub struct WebhookRequest {
    /// The connector it came to.
    pub connector: String,
    /// The path of the address, without the query.
    pub path: String,
    /// Names in lower case and values, in the order they came.
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub body: Vec<u8>,
}

impl WebhookRequest {
    /// Returns the first header of this name. Case does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(candidate, _)| candidate.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Returns the body read as JSON.
    ///
    /// # Errors
    ///
    /// [`Failure::Other`](crate::Failure::Other) where it is no JSON of that shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}

/// Something that only one platform has.
#[derive(Debug, Clone, PartialEq)]
pub struct CustomEvent {
    /// The connector it came from.
    pub connector: String,
    /// The platform's name of it. [`messaging::raw`](crate::messaging::raw) gives the JSON.
    pub name: String,
}
