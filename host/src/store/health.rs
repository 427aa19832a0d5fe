//! How the store is, as it says so itself: whoever wants to know watches it.

use std::time::Duration;

use tokio::sync::watch;

use super::sqlite::Write;
use super::{Store, StoreError};
use crate::clock::Timestamp;

/// How the store is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreHealth {
    /// Whether it takes what it is given.
    pub condition: Condition,
    /// What SQLite says of a part of the file that is not what it wrote; nothing where none was met.
    pub damage: Option<String>,
    /// Rows that could not be trusted and were put aside, since the store was opened.
    pub quarantined: u64,
    /// Length of the write-ahead log, in bytes. Measured once a second at most, as all that follows.
    pub log_bytes: u64,
    /// Length of the database without its log, in bytes.
    pub database_bytes: u64,
    /// Transactions that were committed.
    pub commits: u64,
    /// Requests in them.
    pub requests: u64,
    /// How long they took, all together.
    pub commit_time: Duration,
    /// Dead letters that are kept.
    pub dead_letters: u64,
    /// Platforms' ids of events by which a second delivery is recognised.
    pub dedup_keys: u64,
    /// Incidents that were noted and are on no disk, since the store was opened.
    pub incidents_dropped: u64,
}

/// Whether the store takes what it is given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Condition {
    /// All of it.
    #[default]
    Working,
    /// Nothing new: the disk is full. What was begun is finished in the room that was held back for it.
    Full {
        /// When it was first so.
        since: Timestamp,
    },
    /// Nothing: one transaction after the other has failed, for another reason than room.
    Failing {
        /// When it was first so.
        since: Timestamp,
        /// What the last of them says.
        error: String,
    },
    /// Nothing new: the files that it writes to are no longer those at their path. What was begun is finished.
    Displaced {
        /// When it was noticed.
        since: Timestamp,
    },
}

impl Condition {
    /// Its name for programs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Full { .. } => "full",
            Self::Failing { .. } => "failing",
            Self::Displaced { .. } => "displaced",
        }
    }
}

/// Where the store's threads say how it is.
#[derive(Debug, Clone, Default)]
pub(super) struct Pulse(watch::Sender<StoreHealth>);

impl Pulse {
    pub(super) fn subscribe(&self) -> watch::Receiver<StoreHealth> {
        self.0.subscribe()
    }

    /// A part of the file is not what was written.
    pub(super) fn damaged(&self, report: &str) {
        self.change(|health| {
            health.damage.get_or_insert_with(|| report.to_owned());
        });
    }

    pub(super) fn is_displaced(&self) -> bool {
        matches!(self.0.borrow().condition, Condition::Displaced { .. })
    }

    /// Wakes those who watch only where something has changed.
    pub(super) fn change(&self, change: impl FnOnce(&mut StoreHealth)) {
        self.0.send_if_modified(|health| {
            let before = health.clone();
            change(health);
            *health != before
        });
    }
}

impl Store {
    /// Returns once the writer had a turn, whatever the disk does. It waits behind what others have asked before.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stopped`]: the writer has ended.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.write(|reply| Write::Ping { reply }).await
    }
}
