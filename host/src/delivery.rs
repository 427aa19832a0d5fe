//! What an operator chooses of keeping and delivering: the words of `[queue]` and `[outbox]`, and what follows from them. Below
//! the store and the outbox, which both act on them. Pure.

mod overflow;

use serde::Deserialize;

pub use self::overflow::Loser;
use crate::action::{Act, Priority};

/// What the taking over of an event survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The loss of power: a platform is told that an event arrived once the disk has it.
    #[default]
    Power,
    /// The death of this process, not of the machine: the disk gets it in its own time. Quicker, and the last moments before
    /// a loss of power are gone.
    Process,
}

/// What becomes of an act that was perhaps carried out: the request left and no answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUncertain {
    /// It is tried again: rather twice than never.
    #[default]
    Retry,
    /// It is given up: rather never than twice.
    Drop,
}

/// What loses where an outbox is full. What is being delivered never does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// The bot's call: it is told that the outbox is full and can act on it. Nothing that was accepted is lost.
    #[default]
    Reject,
    /// What has waited longest.
    DropOldest,
    /// The newcomer, without its bot being told.
    DropNewest,
    /// The newest of the lowest priority, the newcomer included.
    DropLowPriority,
}

impl Overflow {
    /// Returns what the configuration calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::DropOldest => "drop-oldest",
            Self::DropNewest => "drop-newest",
            Self::DropLowPriority => "drop-low-priority",
        }
    }
}

/// Which of two entries for different conversations leaves first. Within a conversation and a priority the order is always
/// that in which they were committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// The one that was committed first, whatever its priority.
    Fifo,
    /// By priority: while all are waiting, of fifteen entries eight are critical, four high, two normal and one low, so that
    /// none starves.
    #[default]
    Priority,
}

/// Returns how urgent an act is: what its bot said of the message, where it says anything.
pub fn priority<R>(act: &Act<R>) -> Priority {
    match act {
        Act::Send { message, .. } | Act::Edit { message, .. } => message.priority,
        Act::Delete { .. } | Act::React { .. } => Priority::default(),
    }
}
