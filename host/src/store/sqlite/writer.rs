//! The one thread that writes. Everything that waits goes into one transaction, so that many pay for one fsync; each request
//! has a savepoint in it, so that one that is refused costs the others nothing. Replies leave after the commit.
//!
//! With nothing to do it sweeps expired rows, copies the write-ahead log back and gives free pages back.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::prepare::{PreparedCommit, Turn};
use super::quarantine;
use super::request::{Answer, Write};
use super::state::{self, StateWriter};
use super::usage;
use super::{Fault, counter, from_column, sql_error, timer};
use crate::clock::Timestamp;
use crate::id::BotName;
use crate::store::commit::TIMERS_MAX;
use crate::store::{Committed, Flaw, StoreError, TimerFired};

/// Requests that wait for the writer; whoever brings one more waits too.
const QUEUE_LEN: usize = 256;
/// Requests in one transaction.
const BATCH_LEN: usize = 256;
/// Bytes after which a transaction takes no further request. Bounds the write-ahead log and how long the first one waits.
const BATCH_BYTES: usize = 8 << 20;
/// How long nothing must have happened before a chore is done.
const IDLE_AFTER: Duration = Duration::from_secs(1);
/// Expired rows removed in one chore.
const SWEEP_ROWS: u32 = 500;
/// Expired rows removed for a bot that has no room left, before it is refused.
const SWEEP_ROWS_FOR_ROOM: u32 = 10_000;

/// The way to the writer.
pub(in crate::store) struct WriterHandle {
    pub(in crate::store) requests: mpsc::Sender<Write>,
    /// Counts the commits that changed a timer.
    pub(in crate::store) timers_changed: watch::Receiver<u64>,
    pub(in crate::store) thread: JoinHandle<()>,
}

/// Starts the writer. Its thread ends when `closing` is cancelled or every sender is gone, after what was already asked.
pub(in crate::store) fn spawn_writer(
    connection: Connection,
    path: Arc<Path>,
    closing: CancellationToken,
) -> Result<WriterHandle, StoreError> {
    let revision = counter::load(&connection).map_err(|error| sql_error(&path, error))?;
    let (requests, received) = mpsc::channel(QUEUE_LEN);
    let (changed, timers_changed) = watch::channel(0);
    let writer = Writer {
        connection,
        path,
        revision,
        wrote: Wrote::default(),
        timers_changed: changed,
        now: None,
        chore: None,
        pending: VecDeque::new(),
    };
    let thread = super::spawn_thread("store-write", move |runtime| writer.run(&runtime, received, &closing))?;
    Ok(WriterHandle { requests, timers_changed, thread })
}

/// What the writer wakes up for.
enum Wake {
    Requests,
    Idle,
    Ended,
}

/// What there is to do when nobody asks for anything.
#[derive(Debug, Clone, Copy)]
enum Chore {
    Sweep,
    /// Copies the write-ahead log into the database, and gives free pages back to the file system.
    Tidy,
}

/// What the open transaction has written so far.
#[derive(Debug, Clone, Copy, Default)]
struct Wrote {
    revision: bool,
    timers: bool,
}

struct Writer {
    connection: Connection,
    path: Arc<Path>,
    /// The last that was given out. Never goes back, not even when the transaction does.
    revision: u64,
    wrote: Wrote,
    timers_changed: watch::Sender<u64>,
    /// The wall clock as the last commit saw it; decides what is swept.
    now: Option<Timestamp>,
    chore: Option<Chore>,
    pending: VecDeque<Write>,
}

impl Writer {
    fn run(mut self, runtime: &Runtime, mut requests: mpsc::Receiver<Write>, closing: &CancellationToken) {
        loop {
            if !self.pending.is_empty() {
                self.process_batch();
                continue;
            }
            match runtime.block_on(self.wait(&mut requests, closing)) {
                Wake::Requests => {}
                Wake::Idle => self.do_chore(),
                Wake::Ended => return,
            }
        }
    }

    async fn wait(&mut self, requests: &mut mpsc::Receiver<Write>, closing: &CancellationToken) -> Wake {
        let mut received = Vec::new();
        let count = tokio::select! {
            biased;
            // What was sent before the end is still received.
            () = closing.cancelled() => {
                requests.close();
                requests.recv_many(&mut received, BATCH_LEN).await
            }
            count = requests.recv_many(&mut received, BATCH_LEN) => count,
            () = tokio::time::sleep(IDLE_AFTER), if self.chore.is_some() => return Wake::Idle,
        };
        self.pending.extend(received);
        if count == 0 { Wake::Ended } else { Wake::Requests }
    }

    /// Does what waits, up to a batch of it, in one transaction, and answers.
    fn process_batch(&mut self) {
        let (mut batch, mut bytes) = (VecDeque::new(), 0);
        while bytes < BATCH_BYTES
            && let Some(request) = self.pending.pop_front()
        {
            bytes += request.weight();
            batch.push_back(request);
        }
        let mut answers = Vec::with_capacity(batch.len());
        self.wrote = Wrote::default();
        let failed = self.transaction(&mut batch, &mut answers).err();
        if let Some(error) = &failed {
            self.roll_back();
            answers.extend(batch.into_iter().map(|request| request.refuse(error)));
        } else if self.wrote.timers {
            self.timers_changed.send_modify(|count| *count = count.wrapping_add(1));
        }
        self.chore = Some(Chore::Sweep);
        answers.into_iter().for_each(|answer| answer.send(failed.as_ref()));
    }

    fn transaction(&mut self, batch: &mut VecDeque<Write>, answers: &mut Vec<Answer>) -> Result<(), StoreError> {
        self.execute("BEGIN IMMEDIATE")?;
        while let Some(request) = batch.pop_front() {
            let answer = self.apply(request);
            // SQLite ends the transaction by itself on some errors, such as a full disk; nothing of it is left then.
            let ended = self.connection.is_autocommit().then(|| answer.error().cloned());
            answers.push(answer);
            if let Some(error) = ended {
                return Err(error.unwrap_or(StoreError::Stopped));
            }
        }
        if self.wrote.revision {
            counter::save(&self.connection, self.revision).map_err(|error| sql_error(&self.path, error))?;
        }
        self.execute("COMMIT")
    }

    fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.execute("ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be rolled back");
        }
    }

    fn apply(&mut self, request: Write) -> Answer {
        match request {
            Write::Commit { commit, reply } => {
                let result = self.commit(&commit);
                Answer::Commit(reply, result)
            }
            Write::TimerFired { bot, name, serial, turn, now, reply } => {
                let result = self.timer_fired((&bot, &name, serial), &turn, now);
                Answer::TimerFired(reply, result)
            }
            Write::PutAside { row, flaw, now, reply } => {
                let done = quarantine::put_aside_if_unfit(&self.connection, &row, flaw, now);
                Answer::PutAside(reply, done.map_err(|error| sql_error(&self.path, error)))
            }
        }
    }

    fn commit(&mut self, commit: &PreparedCommit) -> Result<Committed, StoreError> {
        self.now = Some(commit.now);
        let revision = self.next_revision();
        let attempt = |above_quota| {
            let write = |connection: &Connection| write_commit(connection, commit, revision, above_quota);
            self.in_savepoint(write, |committed| *committed == Committed::Done)
        };
        let mut result = attempt(AboveQuota::Refused);
        if let Ok(Committed::QuotaExceeded { .. }) = result {
            // What has expired counts until it is swept. Outside of the savepoint, so that it stays swept.
            result = state::sweep(&self.connection, commit.bot.as_str(), commit.now, SWEEP_ROWS_FOR_ROOM)
                .and_then(|_| attempt(AboveQuota::MayShrink));
        }
        if let Ok(Committed::Done) = result {
            self.wrote.timers |= !commit.timers.is_empty();
            self.wrote.revision |= !commit.timers.is_empty() || !commit.state.is_empty();
        }
        result.map_err(|fault| self.settle(fault, commit.now))
    }

    fn timer_fired(
        &mut self,
        timer: (&BotName, &str, u64),
        turn: &Turn,
        now: Timestamp,
    ) -> Result<TimerFired, StoreError> {
        let serial = self.next_revision();
        let bot = timer.0.as_str();
        let write = |connection: &Connection| {
            let mut usage = usage::load(connection, bot)?;
            let fired = timer::fired(connection, timer, turn, serial, &mut usage)?;
            usage::save(connection, bot, usage)?;
            Ok(fired)
        };
        let fired = self.in_savepoint(write, |_| true).map_err(|fault| self.settle(fault, now))?;
        self.wrote.revision |= fired != TimerFired::Replaced;
        Ok(fired)
    }

    fn next_revision(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    /// Does one request's work so that it can be undone alone; undoes it unless the result is one to `keep`.
    fn in_savepoint<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault>,
        keep: impl FnOnce(&T) -> bool,
    ) -> Result<T, Fault> {
        let run = |sql| self.connection.prepare_cached(sql).and_then(|mut statement| statement.execute(()));
        run("SAVEPOINT request")?;
        let result = work(&self.connection);
        if self.connection.is_autocommit() {
            return result;
        }
        if !result.as_ref().is_ok_and(keep) {
            run("ROLLBACK TO request")?;
        }
        run("RELEASE request")?;
        result
    }

    /// Puts a row that cannot be trusted aside, and says what the caller is told.
    fn settle(&self, fault: Fault, now: Timestamp) -> StoreError {
        if let Fault::Row(row, flaw) = &fault
            && *flaw != Flaw::InQuarantine
            && let Err(error) = quarantine::put_aside(&self.connection, row, *flaw, now)
        {
            return sql_error(&self.path, error);
        }
        fault.into_store_error(&self.path)
    }

    fn do_chore(&mut self) {
        let Some(chore) = self.chore.take() else { return };
        let done = match chore {
            Chore::Sweep => self.sweep(),
            Chore::Tidy => self.tidy().map(|()| None),
        };
        match done {
            Ok(next) => self.chore = next,
            // The next write brings the next try.
            Err(fault) => {
                self.roll_back();
                let error = fault.into_store_error(&self.path);
                tracing::warn!(%error, ?chore, "upkeep of the database failed");
            }
        }
    }

    /// Removes some expired rows. Returns what to do next.
    fn sweep(&self) -> Result<Option<Chore>, Fault> {
        let Some(now) = self.now else { return Ok(Some(Chore::Tidy)) };
        let Some(bot) = state::to_sweep(&self.connection, now)? else { return Ok(Some(Chore::Tidy)) };
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        state::sweep(&self.connection, &bot, now, SWEEP_ROWS)?;
        self.connection.execute_batch("COMMIT")?;
        Ok(Some(Chore::Sweep))
    }

    fn tidy(&self) -> Result<(), Fault> {
        self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()))?;
        // Gives back a page each time it is stepped.
        let mut vacuum = self.connection.prepare_cached("PRAGMA incremental_vacuum(500)")?;
        let mut pages = vacuum.query(())?;
        while pages.next()?.is_some() {}
        Ok(())
    }

    fn execute(&self, sql: &str) -> Result<(), StoreError> {
        self.connection.execute_batch(sql).map_err(|error| sql_error(&self.path, error))
    }
}

/// What becomes of a commit that leaves its bot above the quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AboveQuota {
    /// It is refused. What has expired was counted, so the answer is not the last word.
    Refused,
    /// It is refused unless the bot has no more than before: one whose quota was lowered can still clean up.
    MayShrink,
}

/// Checks what was read and writes what is wanted. What this leaves behind counts only if it returns [`Committed::Done`].
fn write_commit(
    connection: &Connection,
    commit: &PreparedCommit,
    revision: u64,
    above_quota: AboveQuota,
) -> Result<Committed, Fault> {
    let bot = commit.bot.as_str();
    for read in &commit.reads {
        if state::revision(connection, bot, &read.key, commit.now)? != read.revision {
            return Ok(Committed::Conflict { key: read.key.clone() });
        }
    }
    if commit.state.is_empty() && commit.timers.is_empty() {
        return Ok(Committed::Done);
    }
    let before = usage::load(connection, bot)?;
    let mut usage = before;
    let writer = StateWriter { connection, bot, revision, now: commit.now };
    for write in &commit.state {
        if let Some(refused) = writer.apply(write, &mut usage)? {
            return Ok(refused);
        }
    }
    let (needed, allowed) = (from_column(usage.state_bytes), commit.state_bytes_max);
    let may_stay = above_quota == AboveQuota::MayShrink && usage.state_bytes <= before.state_bytes;
    if needed > allowed && !may_stay {
        return Ok(Committed::QuotaExceeded { needed, allowed });
    }
    for change in &commit.timers {
        timer::apply(connection, bot, change, revision, &mut usage)?;
    }
    if usage.timers > i64::from(TIMERS_MAX) && usage.timers > before.timers {
        return Ok(Committed::TooManyTimers { allowed: TIMERS_MAX });
    }
    if usage != before {
        usage::save(connection, bot, usage)?;
    }
    Ok(Committed::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{StateRead, StateWrite};
    use crate::store::{Commit, TimerFired};

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    /// A writer in the hands of the test, without its thread.
    fn writer() -> (tempfile::TempDir, Writer) {
        let directory = tempfile::tempdir().unwrap();
        let path: Arc<Path> = directory.path().join("x.db").into();
        std::fs::write(&path, "").unwrap();
        let connection = super::super::open(&path).unwrap();
        let (timers_changed, _) = watch::channel(0);
        let (wrote, pending) = (Wrote::default(), VecDeque::new());
        let writer = Writer { connection, path, revision: 0, wrote, timers_changed, now: None, chore: None, pending };
        (directory, writer)
    }

    fn ask(
        writer: &mut Writer,
        reads: Vec<StateRead>,
        state: Vec<StateWrite>,
        now: Timestamp,
    ) -> tokio::sync::oneshot::Receiver<Result<Committed, StoreError>> {
        let bot = "echo".parse().unwrap();
        let commit = Commit { bot, reads, state, timers: Vec::new(), state_bytes_max: u64::MAX, now };
        let (reply, answer) = tokio::sync::oneshot::channel();
        writer.pending.push_back(Write::Commit { commit: PreparedCommit::new(commit).unwrap(), reply });
        answer
    }

    fn set(key: &str, bytes: usize, expires_at: Option<Timestamp>) -> StateWrite {
        StateWrite::Set { key: key.to_owned(), value: vec![7; bytes], expires_at }
    }

    fn number(writer: &Writer, sql: &str) -> i64 {
        writer.connection.query_row(sql, (), |row| row.get(0)).unwrap()
    }

    #[test]
    fn what_waits_shares_one_transaction_and_what_is_refused_leaves_it_alone() {
        let (_directory, mut writer) = writer();
        let read = |key: &str| vec![StateRead { key: key.to_owned(), revision: None }];
        let mut answers: Vec<_> =
            (0..64).map(|index| ask(&mut writer, read("k7"), vec![set(&format!("k{index}"), 1, None)], NOW)).collect();
        let mut replaced = {
            let (reply, answer) = tokio::sync::oneshot::channel();
            let (bot, name, turn) = ("echo".parse().unwrap(), "t".to_owned(), Turn::Gone);
            writer.pending.push_back(Write::TimerFired { bot, name, serial: 1, turn, now: NOW, reply });
            answer
        };
        writer.process_batch();
        assert!(writer.pending.is_empty());
        assert_eq!(replaced.try_recv().unwrap().unwrap(), TimerFired::Replaced);
        for (index, answer) in answers.iter_mut().enumerate() {
            let expected = if index <= 7 { Committed::Done } else { Committed::Conflict { key: "k7".to_owned() } };
            assert_eq!(answer.try_recv().unwrap().unwrap(), expected, "{index}");
        }
        assert_eq!(number(&writer, "SELECT count(*) FROM state"), 8);
    }

    #[test]
    fn a_transaction_that_cannot_be_committed_fails_all_of_it_and_the_next_one_works() {
        let (directory, mut writer) = writer();
        writer.connection.busy_timeout(Duration::ZERO).unwrap();
        let other = Connection::open(directory.path().join("x.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut answers = [0, 1].map(|_| ask(&mut writer, Vec::new(), vec![set("a", 1, None)], NOW));
        writer.process_batch();
        for answer in &mut answers {
            assert!(matches!(answer.try_recv().unwrap(), Err(StoreError::Database { .. })));
        }
        other.execute_batch("ROLLBACK").unwrap();
        let mut answer = ask(&mut writer, Vec::new(), vec![set("a", 1, None)], NOW);
        writer.process_batch();
        assert_eq!(answer.try_recv().unwrap().unwrap(), Committed::Done);
    }

    #[test]
    fn a_batch_of_many_bytes_is_cut() {
        let (_directory, mut writer) = writer();
        let answers: Vec<_> =
            (0..12).map(|_| ask(&mut writer, Vec::new(), vec![set("a", 1 << 20, None)], NOW)).collect();
        writer.process_batch();
        assert_eq!(writer.pending.len(), 12 - 8);
        drop(answers);
    }

    #[test]
    fn an_idle_writer_sweeps_and_gives_space_back() {
        let (directory, mut writer) = writer();
        let soon = Some(Timestamp::from_millis(2_000));
        let writes = (0..600).map(|index| set(&format!("k{index}"), 4_000, soon)).collect();
        drop(ask(&mut writer, Vec::new(), writes, NOW));
        writer.process_batch();
        drop(ask(&mut writer, Vec::new(), vec![set("stays", 1, None)], Timestamp::from_millis(2_000)));
        writer.process_batch();
        let mut chores = 0;
        while writer.chore.is_some() {
            writer.do_chore();
            chores += 1;
        }
        // Two sweeps, a look that finds nothing, and the tidying.
        assert_eq!(chores, 4);
        assert_eq!(number(&writer, "SELECT count(*) FROM state"), 1);
        assert_eq!(number(&writer, "SELECT state_bytes FROM usage"), 6);
        assert!(number(&writer, "PRAGMA freelist_count") < 200, "pages are given back");
        assert!(directory.path().join("x.db").metadata().unwrap().len() > 0);
    }
}
