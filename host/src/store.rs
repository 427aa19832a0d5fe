//! What the host must keep. State and timers of bots are on disk and outlive the process; the queue of events and the outboxes
//! are in memory so far, behind the verbs of durable ones. [`Store`] is the handle; SQL is below `store/sqlite` only.
//!
//! A handler's effects come as one [`Commit`], which is applied as a whole or not at all. Reads are not transactions: each
//! value carries a revision, and a commit names the revisions it rests on.

mod commit;
mod directory;
mod error;
mod outbox;
mod queue;
mod settle;
mod sqlite;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use self::commit::{
    Commit, Committed, KEY_BYTES_MAX, SumError, TIMER_NAME_BYTES_MAX, TIMER_PAYLOAD_BYTES_MAX, TIMERS_MAX,
    VALUE_BYTES_MAX, sum,
};
use self::directory::DataDirectory;
pub use self::error::{Flaw, RecordKind, StoreError};
pub use self::outbox::{ConnectorGone, Entry, Outbox, OutboxRoom};
pub use self::queue::{Claimed, Depth, Queue, Verdict};
pub use self::settle::{Settled, Settlement};
use self::sqlite::{PreparedCommit, Read, Reply, RowName, Turn, Write, WriterHandle};
use crate::action::Schedule;
use crate::clock::Timestamp;
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
pub enum TimerFired {
    /// It comes again, then.
    DueAgain(Timestamp),
    /// It is gone.
    Finished,
    /// It was set anew, cancelled or reported before. It stays as it is.
    Replaced,
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
    closing: CancellationToken,
    running: Mutex<Option<Running>>,
    queue: Queue,
    outbox: Outbox,
}

/// What is there until the store is closed.
#[derive(Debug)]
struct Running {
    threads: Vec<JoinHandle<()>>,
    _directory: DataDirectory,
}

impl Shared {
    /// Ends the threads after what was asked of them, then unlocks the directory. Blocking, for as long as one transaction.
    fn stop(&self) {
        self.closing.cancel();
        // Held while joining, so that a second caller returns no sooner than the first.
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in running.take().into_iter().flat_map(|running| running.threads) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store has panicked");
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Store {
    /// Opens the store in a directory, which is made if need be, with a queue for `events_max` events. Blocking: up to some seconds after a crash or an update.
    ///
    /// # Errors
    ///
    /// Where the directory cannot be used, another host uses it, or its database is damaged or of a newer host.
    pub fn open(data_dir: &Path, events_max: usize) -> Result<Self, StoreError> {
        let directory = DataDirectory::lock(data_dir)?;
        let path: Arc<Path> = directory.file("bothost.db")?.into();
        let connection = sqlite::open(&path)?;
        let closing = CancellationToken::new();
        // A thread that is already there ends when its only sender is dropped.
        let (reads, mut threads) = sqlite::spawn_readers(&path, &closing)?;
        let WriterHandle { requests, timers_changed, thread } =
            sqlite::spawn_writer(connection, path, closing.clone())?;
        threads.push(thread);
        let running = Mutex::new(Some(Running { threads, _directory: directory }));
        let (queue, outbox) = (Queue::new(events_max), Outbox::default());
        Ok(Self {
            shared: Arc::new(Shared { writes: requests, reads, timers_changed, closing, running, queue, outbox }),
        })
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

    /// Applies what a handler asked for, as a whole or not at all. Returns when it is on disk.
    ///
    /// # Errors
    ///
    /// Where it breaks a limit that the caller had to check, meets a row that cannot be trusted, or cannot be written.
    /// Nothing of it was applied then.
    pub async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        if commit.is_empty() {
            return Ok(Committed::Done);
        }
        let commit = PreparedCommit::new(commit)?;
        self.write(|reply| Write::Commit { commit, reply }).await
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

    /// Notes that a timer has fired: one that is due once is gone, a repeating one is due at its next time after `now`,
    /// however many were missed. A timer that was replaced meanwhile stays as it is.
    ///
    /// # Errors
    ///
    /// Where it cannot be written, or the timer has no next time any more and is put aside.
    pub async fn timer_fired(&self, timer: &DueTimer, now: Timestamp) -> Result<TimerFired, StoreError> {
        let turn = Turn::after(timer, now);
        let (bot, name, serial) = (timer.bot.clone(), timer.name.clone(), timer.serial);
        self.write(|reply| Write::TimerFired { bot, name, serial, turn, now, reply }).await
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
