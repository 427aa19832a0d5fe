//! What a test sees of what a bot did.

use std::time::SystemTime;

use crate::alerts::Severity;
use crate::log::Level;
use crate::timers::Schedule;
use crate::{Conversation, MessageRef, Outgoing, Ticket};

/// An act on a platform that took effect.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Sent {
    /// A new message.
    Message {
        /// Where it went.
        to: Conversation,
        /// What [`messaging::send`](crate::messaging::send) returned for it.
        ticket: Ticket,
        /// What it says.
        message: Outgoing,
    },
    /// A message that took another's place.
    Edit {
        /// Where the message is.
        at: Conversation,
        /// Which message.
        target: MessageRef,
        /// What it says now.
        message: Outgoing,
    },
    /// A message that was deleted.
    Delete {
        /// Where the message was.
        at: Conversation,
        /// Which message.
        target: MessageRef,
    },
    /// A reaction put on a message.
    React {
        /// Where the message is.
        at: Conversation,
        /// Which message.
        target: MessageRef,
        /// The emoji, or the platform's name of a custom one.
        emoji: String,
    },
}

/// A timer that is set.
#[derive(Debug, Clone, PartialEq)]
pub struct SetTimer {
    /// When it fires, as the bot said it.
    pub schedule: Schedule,
    /// What it brings back.
    pub payload: Vec<u8>,
    /// When it fires next. `None` for a cron expression, which the double does not compute; see
    /// [`Host::fire`](super::Host::fire).
    pub due_at: Option<SystemTime>,
}

/// A line of the bot's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// What it says.
    pub message: String,
    /// Names and values.
    pub fields: Vec<(String, String)>,
}

/// An alert that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// How bad it is.
    pub severity: Severity,
    /// What it says.
    pub summary: String,
    /// Names and values.
    pub details: Vec<(String, String)>,
}

/// One call to [`metrics`](crate::metrics). The labels are names and values.
#[derive(Debug, Clone, PartialEq)]
pub enum Metric {
    /// A counter went up by so much.
    Count(String, u64, Vec<(String, String)>),
    /// A gauge was set to a value.
    Gauge(String, f64, Vec<(String, String)>),
    /// A histogram observed a value.
    Observe(String, f64, Vec<(String, String)>),
}
