//! What went wrong, grouped: the same failure again and again is one entry that counts. In memory, bounded whatever happens; what
//! bots failed at is on disk as well, each by itself, in `store/incidents`.
//!
//! Two ways in. Faults of bots are recorded where they are judged, since not each of them has a line in the log. Everything else
//! that is worth a warning or an error in the log is taken from there ([`Errors::layer`]), so that no place of the program has to
//! say a thing twice, and none can forget to.

mod book;
mod fingerprint;
mod layer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::book::Book;
pub use self::layer::ErrorLayer;
use crate::action::Severity;
use crate::clock::Timestamp;
pub use crate::id::ErrorId;
use crate::metrics::Metrics;

/// Groups that are kept. What comes beyond is counted under its component alone.
pub const GROUPS_MAX: usize = 1_000;
/// Groups of one bot: what it makes up does not take the others' room.
pub const BOT_GROUPS_MAX: usize = 20;
/// The longest window that rates are known for.
pub const WINDOW_MAX: Duration = Duration::from_secs(3_600);
/// A text is cut to this many bytes.
const TEXT_BYTES_MAX: usize = 1_024;
/// Further fields are left out.
const CONTEXT_MAX: usize = 12;

/// Something that went wrong, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence<'a> {
    /// How bad it is.
    pub severity: Severity,
    /// The part of the program it happened in.
    pub component: &'a str,
    /// What it is: a constant sentence or word.
    pub kind: &'a str,
    /// What was wrong this time.
    pub message: &'a str,
    /// The bot that it happened to.
    pub bot: Option<&'a str>,
    /// The connector that it happened to.
    pub connector: Option<&'a str>,
    /// More, by name.
    pub context: &'a [(String, String)],
}

/// What went wrong in one way, however often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Names it.
    pub id: ErrorId,
    /// How bad it was at its worst.
    pub severity: Severity,
    /// The part of the program.
    pub component: String,
    /// What it is.
    pub kind: String,
    /// What was wrong the last time.
    pub message: String,
    /// The bot, if it was one bot's.
    pub bot: Option<String>,
    /// The connector, if it was one connector's.
    pub connector: Option<String>,
    /// More about the last time, by name.
    pub context: Vec<(String, String)>,
    /// How often.
    pub count: u64,
    /// When for the first time since the process began.
    pub first_at: Timestamp,
    /// When for the last time.
    pub last_at: Timestamp,
}

/// Which groups are asked for. By default all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ErrorQuery {
    /// At least as bad.
    pub severity: Option<Severity>,
    /// Of this part of the program.
    pub component: Option<String>,
    /// Of this bot.
    pub bot: Option<String>,
    /// Seen since then.
    pub since: Option<Timestamp>,
}

impl ErrorQuery {
    fn takes(&self, group: &Group) -> bool {
        self.severity.is_none_or(|severity| group.severity >= severity)
            && self.component.as_ref().is_none_or(|component| group.component == *component)
            && self.bot.as_ref().is_none_or(|bot| group.bot.as_ref() == Some(bot))
            && self.since.is_none_or(|since| group.last_at >= since)
    }
}

/// How much went wrong.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Statistics {
    /// Since the process began.
    pub total: u64,
    /// Within the window.
    pub in_window: u64,
    /// Within the window, a minute.
    pub per_minute: f64,
    /// Within the window, by how bad: info, warning, critical.
    pub by_severity: [u64; 3],
    /// Within the window, by part of the program, the most first.
    pub by_component: Vec<(String, u64)>,
    /// Groups that are kept.
    pub groups: usize,
    /// Occurrences that had no group of their own, for want of room.
    pub crowded_out: u64,
}

/// Everything that went wrong in one host.
#[derive(Debug)]
pub struct Errors {
    metrics: Arc<Metrics>,
    book: Mutex<Book>,
}

impl Errors {
    /// Returns the errors of a host in which nothing went wrong so far.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, book: Mutex::default() }
    }

    /// Records that something went wrong.
    pub fn record(&self, occurrence: &Occurrence<'_>, now: Timestamp) {
        // Before the lock: hashing is most of the work.
        let id = fingerprint::of(occurrence);
        let component = self.lock().record(id, occurrence, now);
        self.metrics.error(occurrence.severity, component);
    }

    /// Returns at most `limit` groups, the last seen first.
    pub fn list(&self, query: &ErrorQuery, limit: usize) -> Vec<Group> {
        let mut found: Vec<_> = self.lock().groups().filter(|group| query.takes(group)).cloned().collect();
        found.sort_by(|one, other| (other.last_at, other.count, one.id).cmp(&(one.last_at, one.count, other.id)));
        found.truncate(limit);
        found
    }

    /// Returns one group.
    pub fn get(&self, id: ErrorId) -> Option<Group> {
        self.lock().groups().find(|group| group.id == id).cloned()
    }

    /// Returns how much went wrong within a window that ends now, [`WINDOW_MAX`] at most.
    pub fn statistics(&self, window: Duration, now: Timestamp) -> Statistics {
        self.lock().statistics(window.min(WINDOW_MAX), now)
    }

    /// Returns what takes errors from the log. To be installed with it.
    pub fn layer(self: &Arc<Self>) -> ErrorLayer {
        ErrorLayer::new(Arc::clone(self))
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
