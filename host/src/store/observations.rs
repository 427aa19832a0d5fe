//! What was observed: the turns of alerts, and the history of metrics, in a database of its own, `observations.db`. It must neither
//! slow nor endanger what is promised: whoever has something to note never waits, what finds no room is dropped and counted, and a
//! file that is damaged is put aside and begun anew. [`Observations`] is the handle; its SQL is in `store/sqlite/observations`.
//!
//! What a row of the history of metrics says is known to those who write and read it, and not here.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::sqlite::{self, Request, spawn_keeper};
use super::{Examined, NotExamined, StoreError};
use crate::alert::{Alert, News, Source};
use crate::clock::Timestamp;

/// The file in the data directory.
pub const OBSERVATIONS_FILE: &str = "observations.db";

/// Requests that may wait for the thread.
const REQUESTS_MAX: usize = 1_024;
/// Bytes of metrics that may wait for it.
const WAITING_BYTES_MAX: usize = 16 << 20;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the database above which the oldest metrics go, those of the finest step first. Default: 256 MiB.
    pub bytes_max: u64,
    /// Bytes that the file never has more of: above it nothing is written. Default: 320 MiB.
    pub file_bytes_max: u64,
    /// Bytes on the disk below which nothing is written, or a sixteenth of a small disk: the last room belongs to the store.
    /// Default: 64 MiB.
    pub room_bytes_min: u64,
    /// How long nothing is tried after something could not be written. Default: 1 min.
    pub rest: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes_max: 256 << 20,
            file_bytes_max: 320 << 20,
            room_bytes_min: 64 << 20,
            rest: Duration::from_secs(60),
        }
    }
}

/// Looks through the pages of the database in a data directory, and changes nothing. Nothing: there is none yet.
///
/// # Errors
///
/// See [`NotExamined`].
pub fn examine(data_dir: &Path) -> Result<Option<Examined>, NotExamined> {
    let path = data_dir.join(OBSERVATIONS_FILE);
    if !path.exists() {
        return Ok(None);
    }
    sqlite::examine_pages(&path).map(Some)
}

/// How the opening went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opened {
    /// Where the file of before is now, where it was damaged or of a newer host. What it held is no longer known.
    pub set_aside: Option<PathBuf>,
}

/// What has been lost, since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Losses {
    /// Turns of alerts that were not written.
    pub news: u64,
    /// Rows of metrics that were not written.
    pub points: u64,
    /// Rows that could not be trusted when they were read.
    pub unfit: u64,
    /// Files that were put aside.
    pub files: u64,
}

/// Which turns of alerts are asked for. The default: any, but none of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AlertQuery {
    /// Of alerts of one source.
    pub source: Option<Source>,
    /// Of alerts of this key.
    pub key: Option<String>,
    /// At this moment or later.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
    /// Older than the one with this number.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: u32,
}

/// One turn of an alert, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredNews {
    /// Its number: a later turn has a larger one.
    pub id: u64,
    /// What happened.
    pub news: News,
}

/// All series of one name in one step of time, in a form that is their writer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointsRow {
    /// How long the step is, in seconds.
    pub step_seconds: u32,
    /// The name.
    pub name: Box<str>,
    /// When the step began.
    pub at: Timestamp,
    /// What it says.
    pub body: Vec<u8>,
}

/// How long the rows of a step are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// The step, in seconds.
    pub step_seconds: u32,
    /// How long.
    pub age_max: Duration,
}

/// Which rows of metrics are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointsQuery {
    /// The step, in seconds.
    pub step_seconds: u32,
    /// The name.
    pub name: Box<str>,
    /// Whose step began then or later.
    pub since: Timestamp,
    /// Whose step began before.
    pub until: Timestamp,
    /// Behind this one, which a [`PointsPage`] has said.
    pub after: Option<PointsCursor>,
    /// Ends with the row that makes it longer than this many bytes.
    pub bytes_max: usize,
}

/// Names a row among those of its step and name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PointsCursor {
    pub(super) at_ms: u64,
    pub(super) part: i64,
}

/// Some of the rows that were asked for, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PointsPage {
    /// The rows. Several may be of one step: each says what one process, or one run of the clock, has seen of it.
    pub rows: Vec<PointsRow>,
    /// Behind which there may be more.
    pub next: Option<PointsCursor>,
}

/// The handle: cheap to clone, usable from any task. The last one to go waits for the thread.
///
/// # Cancel safety
///
/// A question whose future is dropped is answered to nobody.
#[derive(Debug, Clone)]
pub struct Observations {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    requests: mpsc::Sender<Request>,
    closing: CancellationToken,
    thread: Mutex<Option<JoinHandle<()>>>,
    tally: Arc<Tally>,
}

/// What is counted on both sides.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) news: AtomicU64,
    pub(super) points: AtomicU64,
    pub(super) unfit: AtomicU64,
    pub(super) files: AtomicU64,
    pub(super) waiting_bytes: AtomicUsize,
    pub(super) is_failing: AtomicBool,
}

impl Shared {
    fn stop(&self) {
        self.closing.cancel();
        // Held while joining, so that a second caller returns no sooner than the first.
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that keeps what was observed has panicked");
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Observations {
    /// Opens the database in a directory that is there and is this host's. Blocking: up to some seconds after a crash. One that is
    /// damaged or of a newer host is put aside, see [`Opened`]; one that cannot be opened for another reason is tried again once a
    /// minute, and what comes until then is dropped and counted.
    ///
    /// # Errors
    ///
    /// [`StoreError::Thread`]. The host can go on with [`Observations::absent`].
    pub fn open(data_dir: &Path) -> Result<(Self, Opened), StoreError> {
        Self::open_with(data_dir, Limits::default())
    }

    /// As [`Observations::open`], with other limits.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open_with(data_dir: &Path, limits: Limits) -> Result<(Self, Opened), StoreError> {
        let tally = Arc::new(Tally::default());
        let (requests, received) = mpsc::channel(REQUESTS_MAX);
        let closing = CancellationToken::new();
        let path: Arc<Path> = data_dir.join(OBSERVATIONS_FILE).into();
        let (thread, opened) = spawn_keeper(path, limits, Arc::clone(&tally), received, closing.clone())?;
        let shared = Shared { requests, closing, thread: Mutex::new(Some(thread)), tally };
        Ok((Self { shared: Arc::new(shared) }, opened))
    }

    /// Returns a handle with nothing behind it: what it is given is dropped and counted, and what it is asked it does not know.
    pub fn absent() -> Self {
        let (requests, _) = mpsc::channel(1);
        let (closing, thread) = (CancellationToken::new(), Mutex::new(None));
        Self { shared: Arc::new(Shared { requests, closing, thread, tally: Arc::default() }) }
    }

    /// Keeps a turn of an alert. Never waits: what finds no room is dropped and counted.
    pub fn note(&self, news: &News) {
        if self.shared.requests.try_send(Request::Note(Box::new(news.clone()))).is_err() {
            self.shared.tally.news.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Keeps rows of metrics, and forgets those of the steps in `keep` that are older by `now` than they may be. Never waits, as
    /// [`Observations::note`].
    pub fn append(&self, rows: Vec<PointsRow>, keep: &'static [Keep], now: Timestamp) {
        let (count, tally) = (rows.len() as u64, &self.shared.tally);
        let bytes = rows.iter().map(|row| row.body.len()).sum();
        let waiting = tally.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let is_too_much = waiting > 0 && waiting.saturating_add(bytes) > WAITING_BYTES_MAX;
        if is_too_much || self.shared.requests.try_send(Request::Append { rows, keep, now }).is_err() {
            tally.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            tally.points.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Returns once everything is written, or dropped, that was given before.
    pub async fn settled(&self) {
        let _ = self.ask(|reply| Request::Settled { reply }).await;
    }

    /// Returns the alerts that have fired and were not resolved, with how they stand, the oldest first. None where that cannot be
    /// read, which is logged. Meant for the start: later turns that were dropped are not in it.
    pub async fn alerts_up(&self) -> Vec<Alert> {
        match self.ask(|reply| Request::AlertsUp { reply }).await {
            Ok(alerts) => alerts,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "which alerts were up is not known");
                Vec::new()
            }
        }
    }

    /// Returns turns of alerts, the newest first. One in words of a newer host is left out.
    ///
    /// # Errors
    ///
    /// Where the database cannot be read.
    pub async fn alert_history(&self, query: AlertQuery) -> Result<Vec<StoredNews>, StoreError> {
        self.ask(|reply| Request::AlertHistory { query, reply }).await
    }

    /// Returns rows of metrics, the oldest first.
    ///
    /// # Errors
    ///
    /// Where the database cannot be read.
    pub async fn range(&self, query: PointsQuery) -> Result<PointsPage, StoreError> {
        self.ask(|reply| Request::Range { query, reply }).await
    }

    /// Returns the names of which there are rows of a step, sorted, up to `limit`.
    ///
    /// # Errors
    ///
    /// Where the database cannot be read.
    pub async fn names(&self, step_seconds: u32, limit: u32) -> Result<Vec<String>, StoreError> {
        self.ask(|reply| Request::Names { step_seconds, limit, reply }).await
    }

    /// Returns what has been lost.
    pub fn losses(&self) -> Losses {
        let (tally, relaxed) = (&self.shared.tally, Ordering::Relaxed);
        Losses {
            news: tally.news.load(relaxed),
            points: tally.points.load(relaxed),
            unfit: tally.unfit.load(relaxed),
            files: tally.files.load(relaxed),
        }
    }

    /// Returns whether what comes is written at the moment.
    pub fn is_working(&self) -> bool {
        !self.shared.requests.is_closed() && !self.shared.tally.is_failing.load(Ordering::Relaxed)
    }

    /// Closes the database for all handles, after what was already given.
    pub async fn close(self) {
        let shared = self.shared;
        // It fails only where the runtime is going away, which drops the handle and closes the database as well.
        let _ = tokio::task::spawn_blocking(move || shared.stop()).await;
    }

    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.shared.requests.send(request(reply)).await.map_err(|_| StoreError::Stopped)?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }
}

/// Where an answer goes.
pub(super) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

#[cfg(test)]
mod tests;
