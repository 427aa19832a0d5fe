//! The host as a daemon: a parent that watches it and brings it back, who runs in a data directory, and how to stop them. Knows
//! nothing of what a host does; the parent reads no configuration and keeps no store, so that there is little in it to fail.
//!
//! ```text
//! host start ──► host watch (own session) ──► host run ──exit 0──────────────► the parent ends too
//!                holds data_dir/host.pid      holds   ──badly──► wait ► again; too often: gives up, says so, exits 1
//!                writes data_dir/daemon.json  data_dir/lock
//! ```

pub mod intensity;
pub mod launch;
mod lock;
pub mod log;
pub mod process;
pub mod record;
pub mod stop;
pub mod watch;

use std::io;
use std::path::{Path, PathBuf};

use self::process::Process;
use self::record::Record;

/// The file that the watching parent locks.
const PID_FILE: &str = "host.pid";
/// The file that a host locks, however it was started.
const LOCK_FILE: &str = "lock";
/// What the watching parent tells.
pub const RECORD_FILE: &str = "daemon.json";

/// Why a daemon was not started, found or stopped.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// A file or a process of it cannot be looked at.
    #[error("cannot look at {path:?} and its process")]
    Look {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {path:?}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Another parent watches.
    #[error("another process watches over the host in {data_dir:?} already")]
    Watched {
        /// The data directory.
        data_dir: PathBuf,
    },
    /// A process cannot be signalled or waited for.
    #[error("cannot signal process {pid}")]
    Signal {
        /// The process.
        pid: u32,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Signals cannot be listened for.
    #[error("cannot listen for signals")]
    Listen(#[source] io::Error),
    /// The watching parent cannot be started.
    #[error("cannot start {program:?}")]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A process is still there after it was killed.
    #[error("process {pid} does not end, although it was killed")]
    Lasts {
        /// The process.
        pid: u32,
    },
}

impl DaemonError {
    /// Returns whether it is another user's.
    pub fn is_not_allowed(&self) -> bool {
        match self {
            Self::Look { source, .. } | Self::Write { source, .. } | Self::Signal { source, .. } => {
                source.kind() == io::ErrorKind::PermissionDenied
            }
            _ => false,
        }
    }
}

/// Who runs in a data directory at this moment.
#[derive(Debug)]
pub struct Found {
    /// The host.
    pub host: Option<Process>,
    /// The parent that watches over it.
    pub watcher: Option<Process>,
    /// What a watching parent told last, this one or one before.
    pub record: Option<Record>,
}

/// How a host runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A parent watches over it.
    Watched,
    /// The parent that started it is gone; the host goes on.
    Unwatched,
    /// It was started by other means: by hand, by a service manager.
    Foreground,
    /// There is none; a parent waits to bring it back, or is about to.
    Waiting,
    /// There is none.
    Stopped,
}

impl Found {
    /// Looks who runs in a data directory.
    ///
    /// # Errors
    ///
    /// [`DaemonError::Look`].
    pub fn look(data_dir: &Path) -> Result<Self, DaemonError> {
        let holder = |name| {
            let path = data_dir.join(name);
            lock::holder(&path).map_err(|source| DaemonError::Look { path, source })
        };
        // The parent last: one that ends meanwhile has seen its host end before.
        let (host, watcher) = (holder(LOCK_FILE)?, holder(PID_FILE)?);
        Ok(Self { host, watcher, record: Record::read(&data_dir.join(RECORD_FILE)) })
    }

    /// Returns how the host runs.
    pub fn mode(&self) -> Mode {
        let was_watched = |host: &Process| self.record.as_ref().is_some_and(|record| record.host == Some(host.pid()));
        match (&self.host, &self.watcher) {
            (Some(host), Some(_)) if was_watched(host) => Mode::Watched,
            (Some(host), None) if was_watched(host) => Mode::Unwatched,
            (Some(_), _) => Mode::Foreground,
            (None, Some(_)) => Mode::Waiting,
            (None, None) => Mode::Stopped,
        }
    }
}
