//! What the host must keep: events until every bot has handled them, what bots asked of platforms until it is delivered, and
//! the bots' state, timers and alerts. On disk, and in memory only the order in which to take it. [`Store`] is the handle; SQL is
//! below `store/sqlite` only.
//!
//! ```text
//! append ─► queue ─claim─► (guest) ─► settle: the event is done, state, timers, alerts, actions ─► outbox ─take─► (platform) ─► sent
//!                             └─────► fail: again later, or a dead letter
//! ```
//!
//! Each arrow is one transaction, but claim and take, which are in memory: what was at work when a process ended is waiting when
//! the next one begins. Reads are not transactions: each value carries a revision, and a settlement names those it rests on.

mod append;
mod ballast;
mod blobs;
mod commit;
mod deliver;
mod directory;
pub mod engine;
mod error;
mod examine;
mod health;
pub mod history;
pub mod incidents;
pub use self::incidents::{Condemned, Incident, IncidentFilter, IncidentKind, IncidentQuery, StoredIncident};
mod lanes;
pub mod memos;
mod notes;
pub mod observations;
mod outbox;
mod queue;
mod record;
mod replay;
mod settle;
mod sqlite;

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use self::append::{Appended, Appending, NewEvent};
use self::ballast::Ballast;
pub use self::blobs::{BlobDirectory, BlobId, BlobIdError};
pub use self::commit::{
    Commit, Committed, KEY_BYTES_MAX, SumError, TIMER_NAME_BYTES_MAX, TIMER_PAYLOAD_BYTES_MAX, TIMERS_MAX,
    VALUE_BYTES_MAX, sum,
};
pub use self::deliver::{Sent, StateEntry};
use self::directory::DataDirectory;
use self::engine::{Fence, Lease, LeaseName, Partition};
pub use self::error::{Flaw, RecordKind, StoreError};
pub use self::examine::{DamagedBlobs, Examined, NotExamined, examine, examine_blobs, has_blob, library_version};
use self::health::Pulse;
pub use self::health::{Condition, StoreHealth};
use self::notes::Notes;
pub use self::outbox::{Entry, Outbox, OutboxFigures, OutboxRoom, OutboxSettings};
pub use self::queue::{Backlog, Claimed, Depth, Queue, QueueBounds, QueueSurvey};
pub use self::replay::{RESTORED_MAX, Replayed};
pub use self::settle::{Settled, Settlement, Spent};
use self::sqlite::{CheckDepth, Memory, Read, Reply, RowName, Vigil, Write, WriterHandle};
use crate::action::{AlertChange, Schedule};
use crate::clock::Timestamp;
use crate::delivery::{Durability, OnUncertain};
use crate::id::BotName;

/// A value of the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateValue {
    /// At most [`VALUE_BYTES_MAX`] bytes.
    pub value: Vec<u8>,
    /// Names this value of this key: it changes with every write, and none comes back after a delete.
    pub revision: u64,
}

/// A timer that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueTimer {
    /// Whose timer.
    pub bot: BotName,
    /// Its name, unique among the bot's.
    pub name: String,
    /// What the bot gave it to carry.
    pub payload: Vec<u8>,
    /// When it was due; the first of the times where several were missed.
    pub due_at: Timestamp,
    /// Names this turn of this timer: a new one comes when it is set again and when it has fired.
    pub serial: u64,
    schedule: Schedule,
    set_at: Timestamp,
}

/// What became of a timer that fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimerFired {
    /// It comes again, then.
    DueAgain(Timestamp),
    /// It is gone.
    Finished,
    /// It was set anew, cancelled or reported before. It stays as it is.
    Replaced,
}

/// How a store keeps what it is given.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// How much may wait for bots.
    pub queue: QueueBounds,
    /// What is on disk when a call returns.
    pub durability: Durability,
    /// How long a platform's id of an event is remembered.
    pub dedup_window: Duration,
    /// Events that are kept after they are done.
    pub keep: u32,
    /// Dead letters that are kept.
    pub dead_letters_max: u32,
    /// What becomes of an action that was perhaps delivered.
    pub on_uncertain: OnUncertain,
}

impl Default for StoreOptions {
    /// The defaults of the configuration.
    fn default() -> Self {
        Self {
            queue: QueueBounds { events_max: 100_000, bytes_max: 256 << 20, events_per_bot_max: 20_000 },
            durability: Durability::default(),
            dedup_window: Duration::from_secs(86_400),
            keep: 100_000,
            dead_letters_max: 10_000,
            on_uncertain: OnUncertain::default(),
        }
    }
}

/// The handle: cheap to clone, usable from any task. The last one to go waits for the store's threads.
///
/// # Cancel safety
///
/// A call whose future is dropped may still be carried out, as a whole; nobody learns how it ended.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    writes: mpsc::Sender<Write>,
    reads: mpsc::Sender<Read>,
    timers_changed: watch::Receiver<u64>,
    pulse: Pulse,
    closing: CancellationToken,
    /// Cancelled once the readers are gone.
    writer_closing: CancellationToken,
    running: Mutex<Option<Running>>,
    /// Grows when events are taken over again after one could not be.
    intake_epoch: AtomicU64,
    queue: Arc<Queue>,
    outbox: Arc<Outbox>,
    blobs: BlobDirectory,
    /// The right of this process to write for the bots.
    lease: Arc<Lease>,
    /// Those that were up when the store was opened, until somebody takes them.
    alerts: Mutex<Vec<(BotName, AlertChange, Timestamp)>>,
    notes: Arc<Notes>,
}

/// What is there until the store is closed.
#[derive(Debug)]
struct Running {
    readers: Vec<JoinHandle<()>>,
    writer: JoinHandle<()>,
    _directory: DataDirectory,
}

impl Shared {
    /// Ends the threads after what was asked of them, then unlocks the directory. Blocking, for as long as one transaction.
    fn stop(&self) {
        self.closing.cancel();
        // Held while joining, so that a second caller returns no sooner than the first.
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Running { readers, writer, _directory }) = running.take() else { return };
        let join = |thread: JoinHandle<()>| {
            if thread.join().is_err() {
                tracing::error!("a thread of the store has panicked");
            }
        };
        readers.into_iter().for_each(join);
        // Alone: of connections that close at the same time each takes another for the last one, none copies the write-ahead
        // log back, and the next process believes that this one died.
        self.writer_closing.cancel();
        join(writer);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Store {
    /// Opens the store in a directory, which is made if need be, and takes up what an earlier process left. Blocking: up to some
    /// seconds after a crash, an update, or with millions of events.
    ///
    /// # Errors
    ///
    /// Where the directory cannot be used, another host uses it, or its database is damaged or of a newer host.
    pub fn open(data_dir: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let directory = DataDirectory::lock(data_dir)?;
        let ballast = Ballast::find(data_dir);
        let path: Arc<Path> = directory.file("bothost.db")?.into();
        let (connection, last_end) = sqlite::open(&path, options.durability)?;
        let (name, holder) = (LeaseName::Partition(Partition::ONLY), format!("process {}", std::process::id()));
        let fence = Fence(sqlite::take_lease(&connection, &path, &name.to_string(), &holder)?);
        let expires_at = Timestamp::from_millis(u64::MAX);
        let lease = Arc::new(Lease { name, fence, holder: holder.into(), expires_at });
        let (queue, outbox) = (Arc::new(Queue::new(options.queue)), Arc::new(Outbox::default()));
        let notes = Arc::new(Notes::default());
        let memory = Memory { queue: Arc::clone(&queue), outbox: Arc::clone(&outbox), notes: Arc::clone(&notes) };
        let ledger = sqlite::recover(&connection, &path, &options, &memory, last_end)?;
        let alerts = Mutex::new(sqlite::alerts(&connection, &path)?);
        let closing = CancellationToken::new();
        let blobs = BlobDirectory::open(data_dir, closing.clone())?;
        // A thread that is already there ends when its only sender is dropped.
        let pulse = Pulse::default();
        let (reads, mut readers) = sqlite::spawn_readers(&path, &closing, &pulse)?;
        if let Some(depth) = CheckDepth::of(sqlite::is_large(&path), last_end) {
            readers.push(sqlite::spawn_check(Arc::clone(&path), depth, closing.clone(), pulse.clone())?);
        }
        let vigil = Vigil::new(&connection, path, ballast, pulse.clone());
        let writer_closing = CancellationToken::new();
        let WriterHandle { requests, timers_changed, thread: writer } =
            sqlite::spawn_writer(connection, ledger, memory, vigil, writer_closing.clone())?;
        let running = Mutex::new(Some(Running { readers, writer, _directory: directory }));
        let intake_epoch = AtomicU64::new(0);
        let shared = Shared {
            writes: requests,
            reads,
            timers_changed,
            pulse,
            closing,
            writer_closing,
            running,
            intake_epoch,
            queue,
            outbox,
            blobs,
            lease,
            alerts,
            notes,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Returns the alerts of bots that were up when the store was opened, the oldest first; once.
    pub fn take_alerts(&self) -> Vec<(BotName, AlertChange, Timestamp)> {
        std::mem::take(&mut *self.shared.alerts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns how the store is: at once where it begins or ceases to work, its sizes once a second at most.
    pub fn health(&self) -> watch::Receiver<StoreHealth> {
        self.shared.pulse.subscribe()
    }

    /// Returns the queue of events.
    pub fn queue(&self) -> &Queue {
        &self.shared.queue
    }

    /// Returns the outboxes.
    pub fn outbox(&self) -> &Outbox {
        &self.shared.outbox
    }

    /// Returns the value of a key, or nothing where it is absent or has expired by `now`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] where the value cannot be trusted, from then on until the key is written or deleted.
    pub async fn state_get(&self, bot: &BotName, key: &str, now: Timestamp) -> Result<Option<StateValue>, StoreError> {
        let (bot, key) = (bot.clone(), key.to_owned());
        self.read(now, |reply| Read::StateGet { bot, key, now, reply }).await
    }

    /// Returns up to `limit` keys that begin with `prefix` and come after `after`, in byte order, without those that have
    /// expired by `now` or cannot be trusted.
    ///
    /// # Errors
    ///
    /// Where the database cannot be read.
    pub async fn state_keys(
        &self,
        bot: &BotName,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<String>, StoreError> {
        let (bot, prefix, after) = (bot.clone(), prefix.to_owned(), after.map(str::to_owned));
        self.read(now, |reply| Read::StateKeys { bot, prefix, after, limit, now, reply }).await
    }

    /// Returns the names of a bot's timers, sorted.
    ///
    /// # Errors
    ///
    /// Where the database cannot be read.
    pub async fn timer_names(&self, bot: &BotName) -> Result<Vec<String>, StoreError> {
        let bot = bot.clone();
        self.read(Timestamp::now(), |reply| Read::TimerNames { bot, reply }).await
    }

    /// Returns up to `limit` timers that are due by `now`, the longest due first, without those of the bots in `except`.
    ///
    /// # Errors
    ///
    /// Where the database cannot be read. A timer that cannot be trusted is put aside and left out.
    pub async fn due_timers(
        &self,
        now: Timestamp,
        limit: u32,
        except: &[BotName],
    ) -> Result<Vec<DueTimer>, StoreError> {
        let except = json_array(except);
        let due = self.read(now, |reply| Read::DueTimers { now, limit, except, reply }).await?;
        for (row, flaw) in due.unfit {
            self.put_aside(row, flaw, now).await?;
        }
        Ok(due.timers)
    }

    /// Returns when the next timer is due, or was, without those of the bots in `except`.
    ///
    /// # Errors
    ///
    /// Where the database cannot be read.
    pub async fn next_due(&self, except: &[BotName]) -> Result<Option<Timestamp>, StoreError> {
        let except = json_array(except);
        self.read(Timestamp::now(), |reply| Read::NextDue { except, reply }).await
    }

    /// Returns a signal that changes whenever a commit has set or cancelled timers.
    pub fn timers_changed(&self) -> watch::Receiver<u64> {
        self.shared.timers_changed.clone()
    }

    /// Closes the store for all its handles, after what was already asked of it, and unlocks the data directory.
    pub async fn close(self) {
        let shared = self.shared;
        // It fails only where the runtime is going away, which drops the handle and closes the store as well.
        let _ = tokio::task::spawn_blocking(move || shared.stop()).await;
    }

    async fn write<T>(&self, request: impl FnOnce(Reply<T>) -> Write) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.shared.writes.send(request(reply)).await.map_err(|_| StoreError::Stopped)?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }

    async fn read<T>(
        &self,
        now: Timestamp,
        request: impl FnOnce(Reply<Result<T, (RowName, Flaw)>>) -> Read,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let ask = async {
            self.shared.reads.send(request(reply)).await.map_err(|_| StoreError::Stopped)?;
            answer.await.map_err(|_| StoreError::Stopped)?
        };
        // The readers leave what waits behind when the store is closed.
        let found = self.shared.closing.run_until_cancelled(ask).await.ok_or(StoreError::Stopped)??;
        match found {
            Ok(found) => Ok(found),
            Err((row, flaw)) => Err(self.corrupt(row, flaw, now).await),
        }
    }

    /// Has a row put aside and says what the caller is told.
    async fn corrupt(&self, row: RowName, flaw: Flaw, now: Timestamp) -> StoreError {
        if flaw != Flaw::InQuarantine
            && let Err(error) = self.put_aside(row.clone(), flaw, now).await
        {
            return error;
        }
        row.into_store_error(flaw)
    }

    async fn put_aside(&self, row: RowName, flaw: Flaw, now: Timestamp) -> Result<(), StoreError> {
        self.write(|reply| Write::PutAside { row, flaw, now, reply }).await
    }
}

fn json_array(bots: &[BotName]) -> String {
    serde_json::Value::from_iter(bots.iter().map(BotName::as_str)).to_string()
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod memory;
