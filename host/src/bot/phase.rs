//! Where a bot is in its life. Words for listings, metrics and logs; what moves a bot from one to the next is elsewhere.
//!
//! ```text
//! discovered ─► starting ─► running ─► draining ─► stopped
//!      │            │  ▲
//!      ▼            ▼  │
//!  rejected      backoff            disabled: never started
//! ```

use crate::clock::Timestamp;
use crate::id::{BotName, ContentHash};

/// Where a bot is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Its file was seen and is being checked and compiled.
    Discovered,
    /// Its file or its entry is not good, and no earlier version serves. Another look comes when one of them changes.
    Rejected {
        /// What is wrong and what to do about it.
        reason: String,
    },
    /// Its `init` runs.
    Starting,
    /// It handles events.
    Running,
    /// Its `init` failed; another try comes.
    Backoff {
        /// Why it failed.
        error: String,
        /// When the next try comes.
        until: Timestamp,
    },
    /// Its entry says `enabled = false`.
    Disabled,
    /// It was told to stop and finishes what it has begun.
    Draining,
    /// It is gone.
    Stopped,
}

impl Phase {
    /// Returns the phase's name in metrics and listings.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Discovered => "discovered",
            Self::Rejected { .. } => "rejected",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Backoff { .. } => "backoff",
            Self::Disabled => "disabled",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }

    /// Returns what there is to say beyond the name: the reason, the error.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Rejected { reason } => Some(reason),
            Self::Backoff { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// What a bot publishes of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BotStatus {
    /// Its name.
    pub name: BotName,
    /// Where it is in its life.
    pub phase: Phase,
    /// Since when.
    pub since: Timestamp,
    /// The component that serves.
    pub component: Option<ContentHash>,
    /// The version that the serving component's manifest names.
    pub version: Option<String>,
    /// Why a newer version, or a newer entry, does not serve although an older one does.
    pub refused: Option<String>,
    /// Events that ended well.
    pub handled: u64,
    /// Attempts that did not.
    pub faults: u64,
    /// Events that wait.
    pub queued: usize,
    /// Events at work.
    pub in_flight: usize,
}

impl BotStatus {
    /// Returns the status of a bot that was discovered just now.
    pub fn new(name: BotName) -> Self {
        Self {
            name,
            phase: Phase::Discovered,
            since: Timestamp::now(),
            component: None,
            version: None,
            refused: None,
            handled: 0,
            faults: 0,
            queued: 0,
            in_flight: 0,
        }
    }
}
