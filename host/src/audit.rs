//! The audit log: who changed what, when, from where, and what came of it. Each record bears the hash of the one before, so that
//! none can be changed, removed, moved or added between without it being found; `head.json` knows the last one, so that
//! none can be cut off either.
//!
//! ```text
//! record ─► queue ─► writer's thread ─► audit-000001.log, fsync ─► head.json ─► answered
//! ```
//!
//! It shows that somebody tampered; it does not keep him from it. Who may write both the files and the head can make a new chain of
//! other records: against that, the head's hash is copied to another machine now and then. Names of what changed are written, never values:
//! nothing secret comes here.

mod ledger;
mod page;
mod record;
mod verify;
mod writer;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use self::ledger::Ledger;
pub use self::ledger::Terms;
pub use self::page::{Page, Query};
pub use self::record::Record;
pub use self::verify::{Broken, Verified, VerifyError, verify};
use self::writer::{Request, Writer};
use crate::access::Caller;

/// Its name in the data directory.
pub const DIRECTORY: &str = "audit";
/// Records that wait for the disk; past it whoever changes something waits before.
const QUEUE_MAX: usize = 64;

/// What came of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was not allowed, or not possible as things were.
    Refused,
    /// It went wrong.
    Failed,
}

/// What is to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who.
    pub who: Arc<str>,
    /// By what he was let in, or `host` for what the host did by itself.
    pub way: &'static str,
    /// From where; none: by the socket, or the host.
    pub address: Option<IpAddr>,
    /// What he did: a method, or a word.
    pub verb: String,
    /// To what. No values of a request.
    pub subject: String,
    /// What came of it.
    pub outcome: Outcome,
    /// More, for people. No values of a request.
    pub detail: Option<String>,
}

impl Entry {
    /// Returns what somebody did.
    pub fn of(caller: &Caller, verb: impl Into<String>, subject: impl Into<String>, outcome: Outcome) -> Self {
        Self {
            who: Arc::clone(&caller.name),
            way: caller.way.as_str(),
            address: None,
            verb: verb.into(),
            subject: subject.into(),
            outcome,
            detail: None,
        }
    }

    /// Returns what the host did by itself.
    pub fn of_host(verb: &str, subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            who: "host".into(),
            way: "host",
            address: None,
            verb: verb.to_owned(),
            subject: subject.into(),
            outcome: Outcome::Done,
            detail: Some(detail.into()),
        }
    }
}

/// Why something is not recorded, or cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuditError {
    /// The disk refuses.
    #[error("cannot read or write the audit log in {path:?}")]
    Disk {
        /// The directory, or the file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: Arc<io::Error>,
    },
    /// The head was written by a newer host.
    #[error("the audit log in {path:?} was written by a newer host, in format {format}: start that one")]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// The log is closed: the host is stopping.
    #[error("the audit log is closed: the host is stopping")]
    Closed,
}

impl AuditError {
    fn disk(path: &Path) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Disk { path: path.to_owned(), source: Arc::new(source) }
    }
}

/// How the audit log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Records get to the disk.
    Well,
    /// They do not, for this reason, since so many: changes are refused until they do.
    Unwell {
        /// What the system said last.
        reason: String,
        /// Records that did not get there.
        lost: u64,
    },
}

/// The running audit log. Cheap to clone: all are the same one.
#[derive(Clone)]
pub struct Audit(State);

#[derive(Clone)]
enum State {
    Absent,
    Failed(AuditError),
    Running(Arc<Shared>),
}

struct Shared {
    dir: PathBuf,
    requests: mpsc::Sender<Request>,
    health: watch::Receiver<Health>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            State::Absent => f.write_str("Audit(absent)"),
            State::Failed(error) => write!(f, "Audit({error})"),
            State::Running(shared) => write!(f, "Audit({:?})", shared.dir),
        }
    }
}

impl Audit {
    /// Opens the log in a data directory, repairs what a crash left, and returns with it what was found that is no trace of a crash:
    /// a line each, which are recorded too. Blocks. The thread that writes ends with [`Audit::close`], or with the last copy.
    ///
    /// # Errors
    ///
    /// [`AuditError`].
    pub fn open(data_dir: &Path) -> Result<(Self, Vec<String>), AuditError> {
        Self::open_with(data_dir, Terms::default())
    }

    /// [`Audit::open`] with other sizes.
    ///
    /// # Errors
    ///
    /// [`AuditError`].
    pub fn open_with(data_dir: &Path, terms: Terms) -> Result<(Self, Vec<String>), AuditError> {
        let dir = data_dir.join(DIRECTORY);
        let (ledger, findings) = Ledger::open(&dir, terms)?;
        let (requests, received) = mpsc::channel(QUEUE_MAX);
        let (health_sender, health) = watch::channel(Health::Well);
        let writer = Writer::new(ledger, health_sender);
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(received))
            .map_err(AuditError::disk(&dir))?;
        let shared = Shared { dir, requests, health, writer: Mutex::new(Some(thread)) };
        Ok((Self(State::Running(Arc::new(shared))), findings))
    }

    /// Returns a log that takes everything and keeps nothing: for an admin side without a host.
    pub fn absent() -> Self {
        Self(State::Absent)
    }

    /// Returns a log that could not be opened: nothing can be recorded, so nothing may be changed, and all else goes on.
    pub fn failed(error: AuditError) -> Self {
        Self(State::Failed(error))
    }

    /// Asked before a change: whether it could be recorded. Where the last record did not get to the disk, it is tried with another one.
    ///
    /// # Errors
    ///
    /// [`AuditError`]: nothing may be changed.
    pub async fn ready(&self) -> Result<(), AuditError> {
        let Some(shared) = self.running()? else { return Ok(()) };
        if shared.requests.is_closed() {
            return Err(AuditError::Closed);
        }
        let is_well = *shared.health.borrow() == Health::Well;
        if is_well { Ok(()) } else { self.ask(|answer| Request::Resume { answer }).await }
    }

    /// Records what was done. Returns once the record is on disk and stays there when the power goes. Given up, the record
    /// may be written all the same.
    ///
    /// # Errors
    ///
    /// [`AuditError`]: it is perhaps not recorded.
    pub async fn record(&self, entry: Entry) -> Result<(), AuditError> {
        self.ask(|answer| Request::Record { entry, answer }).await
    }

    /// Returns the newest records that a question is about, the newest first.
    ///
    /// # Errors
    ///
    /// [`AuditError`].
    pub async fn read(&self, query: Query) -> Result<Page, AuditError> {
        let Some(shared) = self.running()? else { return Ok(Page::default()) };
        let dir = shared.dir.clone();
        let read = tokio::task::spawn_blocking(move || page::read(&dir, &query));
        read.await.expect("reading the audit log does not panic")
    }

    /// Returns how it is, to follow.
    pub fn health(&self) -> watch::Receiver<Health> {
        match &self.0 {
            State::Running(shared) => shared.health.clone(),
            State::Absent | State::Failed(_) => watch::channel(Health::Well).1,
        }
    }

    /// Writes what was handed over, takes nothing more, and joins the thread.
    pub async fn close(&self) {
        let State::Running(shared) = &self.0 else { return };
        // Closed already, the thread ends by itself.
        let _ = shared.requests.send(Request::Close).await;
        let writer = shared.writer.lock().expect("nobody panics while holding it").take();
        let Some(writer) = writer else { return };
        if let Ok(Err(_)) = tokio::task::spawn_blocking(move || writer.join()).await {
            tracing::error!("the audit log's thread panicked");
        }
    }

    fn running(&self) -> Result<Option<&Arc<Shared>>, AuditError> {
        match &self.0 {
            State::Absent => Ok(None),
            State::Failed(error) => Err(error.clone()),
            State::Running(shared) => Ok(Some(shared)),
        }
    }

    async fn ask(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<(), AuditError>>) -> Request,
    ) -> Result<(), AuditError> {
        let Some(shared) = self.running()? else { return Ok(()) };
        let (answer, answered) = oneshot::channel();
        shared.requests.send(request(answer)).await.map_err(|_| AuditError::Closed)?;
        answered.await.map_err(|_| AuditError::Closed)?
    }
}

#[cfg(test)]
mod tests;
