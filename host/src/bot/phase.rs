//! Where a bot is in its life. Words for listings, metrics and logs; what moves a bot from one to the next is in `life`.
//!
//! ```text
//!                 ┌──────────── a new version ───────────┐
//!                 ▼                                      │
//! discovered ─► starting ─► probation ─► running ─► draining ─► stopped
//!      │            │  ▲        └──────┬─────┘
//!      ▼            ▼  │               ▼ the breaker opens
//!  rejected      backoff ◄───────── degraded            disabled, stopped: by the operator
//!                   └────────► quarantined ◄─┘ too many restarts
//! ```

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::id::{BotName, ContentHash, TenantName};
use crate::sandbox::GuestManifest;

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
    /// It handles events, and this version is watched: if it is worse than the one before, that one comes back.
    Probation {
        /// When the watch ends, if it has handled enough by then.
        until: Timestamp,
    },
    /// It handles events.
    Running,
    /// Its breaker is open: its events wait, and after a while it is tried with a few.
    Degraded {
        /// What it failed at.
        error: String,
        /// When it is tried; in the past: it is being tried.
        until: Timestamp,
    },
    /// Its `init` failed; another try comes.
    Backoff {
        /// Why it failed.
        error: String,
        /// When the next try comes.
        until: Timestamp,
    },
    /// It was given up, until the operator resets it or a new version comes. Its events wait.
    Quarantined {
        /// Why.
        reason: String,
    },
    /// Its entry says `enabled = false`.
    Disabled,
    /// It was told to stop and finishes what it has begun.
    Draining,
    /// It is gone, or it is down until the operator starts it. Its events wait.
    Stopped {
        /// Why, where it is not gone.
        reason: Option<String>,
    },
}

impl Phase {
    /// Returns the phase's name in metrics and listings.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Discovered => "discovered",
            Self::Rejected { .. } => "rejected",
            Self::Starting => "starting",
            Self::Probation { .. } => "probation",
            Self::Running => "running",
            Self::Degraded { .. } => "degraded",
            Self::Backoff { .. } => "backoff",
            Self::Quarantined { .. } => "quarantined",
            Self::Disabled => "disabled",
            Self::Draining => "draining",
            Self::Stopped { .. } => "stopped",
        }
    }

    /// Returns what there is to say beyond the name: the reason, the error.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Rejected { reason } | Self::Quarantined { reason } => Some(reason),
            Self::Backoff { error, .. } | Self::Degraded { error, .. } => Some(error),
            Self::Stopped { reason } => reason.as_deref(),
            _ => None,
        }
    }

    /// Returns whether it handles whatever comes.
    pub fn is_serving(&self) -> bool {
        matches!(self, Self::Running | Self::Probation { .. })
    }

    /// Returns whether it should serve and does not, for a reason of its own.
    pub fn is_ill(&self) -> bool {
        matches!(self, Self::Rejected { .. } | Self::Backoff { .. } | Self::Degraded { .. } | Self::Quarantined { .. })
    }
}

/// What a bot publishes of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BotStatus {
    /// Its name.
    pub name: BotName,
    /// Whom it belongs to: as its entry says now, whichever version serves.
    pub tenant: TenantName,
    /// Where it is in its life.
    pub phase: Phase,
    /// Since when.
    pub since: Timestamp,
    /// The component that serves.
    pub component: Option<ContentHash>,
    /// The version that the serving component's manifest names.
    pub version: Option<String>,
    /// What the serving component says of itself.
    pub manifest: Option<Arc<GuestManifest>>,
    /// Why a newer version, or a newer entry, does not serve although an older one does.
    pub refused: Option<String>,
    /// The number of the version that serves or did last, which grows with each that comes. 0: none.
    pub edition: u64,
    /// The newest version of which it is known whether it serves, at least at first. What is newer is being started.
    pub decided: u64,
    /// Events that ended well.
    pub handled: u64,
    /// Attempts that did not.
    pub faults: u64,
    /// How often it was started again after it failed, since this process began.
    pub restarts: u64,
    /// Events that wait.
    pub queued: usize,
    /// Events at work.
    pub in_flight: usize,
    /// The most memory that a call of the version that serves had, in bytes. 0: none was called yet.
    pub memory_peak: u64,
    /// The memory that its calls may have, in bytes. 0: no version serves.
    pub memory_limit: u64,
    /// The fuel that each of its calls may use. 0: no version serves.
    pub fuel_limit: u64,
}

impl BotStatus {
    /// Returns the status of a bot that was discovered just now.
    pub fn new(name: BotName) -> Self {
        Self {
            name,
            tenant: TenantName::default(),
            phase: Phase::Discovered,
            since: Timestamp::now(),
            component: None,
            version: None,
            manifest: None,
            refused: None,
            edition: 0,
            decided: 0,
            handled: 0,
            faults: 0,
            restarts: 0,
            queued: 0,
            in_flight: 0,
            memory_peak: 0,
            memory_limit: 0,
            fuel_limit: 0,
        }
    }
}
