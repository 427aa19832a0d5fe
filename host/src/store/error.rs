//! What can go wrong in the store, and whose matter it is: the operator's, the caller's, or the disk's.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::BlobId;
use super::engine::Lease;
use crate::id::BotName;
use crate::schedule::ScheduleError;

/// What kind of row a [`StoreError::Corrupt`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// A key of a bot's state.
    State,
    /// A bot's timer.
    Timer,
    /// What happened.
    Event,
    /// What a bot has to do with an event.
    Queued,
    /// What a bot asked of a platform.
    Action,
    /// Something that happened to a bot.
    Incident,
    /// A version of a bot that is not to be tried again.
    Condemned,
}

impl std::fmt::Display for RecordKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::State => "state key",
            Self::Timer => "timer",
            Self::Event => "event",
            Self::Queued => "queued event",
            Self::Action => "action",
            Self::Incident => "incident",
            Self::Condemned => "condemned version",
        })
    }
}

/// What is wrong with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Its bytes are not those that were written.
    #[error("its checksum does not match")]
    Checksum,
    /// It has a form that this host does not know.
    #[error("it cannot be read")]
    Unreadable,
    /// A repeating timer whose schedule names no further time, such as one of a zone that no longer exists.
    #[error("its schedule cannot be kept any longer")]
    NeverDue,
    /// It was found to be bad before, and has not been written since.
    #[error("it was put aside because it could not be trusted")]
    InQuarantine,
}

/// Why the store could not do something. Errors are shared by all whose requests were in one transaction.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The operator started a second host on the same data.
    #[error("the data directory {} is in use by another host{}", path.display(), process(*pid))]
    InUse {
        /// The directory.
        path: Arc<Path>,
        /// The other host's process, where it has said so.
        pid: Option<u32>,
    },
    /// The operator chose a place that cannot hold a database.
    #[error("the data directory {} is on {kind}, which cannot hold the database: choose a local disk", path.display())]
    NetworkFileSystem {
        /// The directory.
        path: Arc<Path>,
        /// The kind of file system.
        kind: &'static str,
    },
    /// The directory or a file in it cannot be made or opened.
    #[error("{} cannot be used", path.display())]
    Directory {
        /// The directory or the file.
        path: Arc<Path>,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// A newer host has written this database.
    #[error("{} has schema version {found}, and this host knows none above {supported}: start a newer one", path.display())]
    NewerSchema {
        /// The database.
        path: Arc<Path>,
        /// Its version.
        found: usize,
        /// The last version that this host knows.
        supported: usize,
    },
    /// The file is not what SQLite wrote.
    #[error("the database {} is damaged: {report}", path.display())]
    Damaged {
        /// The database.
        path: Arc<Path>,
        /// What SQLite says.
        report: String,
    },
    /// There is no room on the disk. Nothing is lost, and a later request may succeed.
    #[error("no room is left for the database {}", path.display())]
    DiskFull {
        /// The database.
        path: Arc<Path>,
        /// What SQLite says.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The files that are open are no longer those at the path.
    #[error(
        "the database {} was deleted or replaced under this host, which still has the old one: stop the host, so that it \
         finishes what it holds, then put the right file in place and start again",
        path.display()
    )]
    Displaced {
        /// The database.
        path: Arc<Path>,
    },
    /// A read took so long that it would have held up the write-ahead log.
    #[error("a read of the database {} took too long and was ended", path.display())]
    TooSlow {
        /// The database.
        path: Arc<Path>,
    },
    /// Anything else that SQLite or the disk refused. Nothing is lost, and a later request may succeed.
    #[error("the database {} does not answer", path.display())]
    Database {
        /// The database.
        path: Arc<Path>,
        /// What SQLite says.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// A row cannot be trusted. It was put aside for the operator; a bot never sees it.
    #[error("the {kind} {name:?} of bot {bot} is lost: {flaw}")]
    Corrupt {
        /// What it is.
        kind: RecordKind,
        /// Whose it is.
        bot: String,
        /// Its name.
        name: String,
        /// What is wrong with it.
        flaw: Flaw,
    },
    /// A large content is not what was kept under its name. It was put aside; nobody sees it.
    #[error("the content {id} is damaged and was put aside as {}", aside.display())]
    DamagedBlob {
        /// Its name.
        id: BlobId,
        /// Where it is now.
        aside: Arc<Path>,
    },
    /// Somebody else owns by now what this was to be written under. Nothing was written.
    #[error("{name} has passed to another owner: its fence is {current} by now, and this was asked with {fence}")]
    Fenced {
        /// The lease.
        name: String,
        /// The fence of whoever asked.
        fence: u64,
        /// The one in force.
        current: u64,
    },
    /// The caller did not check a length.
    #[error("{what} of bot {bot} has {len} bytes, not {min} to {max}")]
    Length {
        /// Whose it is.
        bot: BotName,
        /// What it is.
        what: &'static str,
        /// Its bytes.
        len: usize,
        /// The fewest allowed.
        min: usize,
        /// The most allowed.
        max: usize,
    },
    /// The caller did not check a schedule.
    #[error("the timer {timer:?} of bot {bot} has no schedule that can be kept")]
    InvalidSchedule {
        /// Whose it is.
        bot: BotName,
        /// Its name.
        timer: String,
        /// What is wrong with it.
        #[source]
        source: ScheduleError,
    },
    /// A thread of the store could not be started.
    #[error("a thread of the store could not be started")]
    Thread {
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Stopped,
}

impl StoreError {
    pub(super) fn fenced(lease: &Lease, current: u64) -> Self {
        Self::Fenced { name: lease.name.to_string(), fence: lease.fence.0, current }
    }
}

fn process(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(", process {pid}"))
}
