//! The one thread that writes. Everything that waits goes into one transaction, so that many pay for one fsync; each request
//! has a savepoint in it, so that one that is refused costs the others nothing. After the commit what follows from it happens in
//! memory, then the replies leave.
//!
//! With nothing to do it sweeps expired rows, copies the write-ahead log back and gives free pages back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::apply::Ledger;
use super::request::{Outcome, Write};
use super::vigil::Vigil;
use super::{Fault, sql_error, state};
use crate::failpoint::{self, Failpoint};
use crate::store::StoreError;
use crate::store::incidents::Incident;
use crate::store::notes::Notes;
use crate::store::outbox::Outbox;
use crate::store::queue::Queue;

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

/// The way to the writer.
pub(in crate::store) struct WriterHandle {
    pub(in crate::store) requests: mpsc::Sender<Write>,
    /// Counts the commits that changed a timer.
    pub(in crate::store) timers_changed: watch::Receiver<u64>,
    pub(in crate::store) thread: JoinHandle<()>,
}

/// What the writer brings up to date in memory, and what it takes from there.
pub(in crate::store) struct Memory {
    pub(in crate::store) queue: Arc<Queue>,
    pub(in crate::store) outbox: Arc<Outbox>,
    pub(in crate::store) notes: Arc<Notes>,
}

/// Starts the writer. Its thread ends when `closing` is cancelled or every sender is gone, after what was already asked.
pub(in crate::store) fn spawn_writer(
    connection: Connection,
    ledger: Ledger,
    memory: Memory,
    vigil: Vigil,
    closing: CancellationToken,
) -> Result<WriterHandle, StoreError> {
    let (requests, received) = mpsc::channel(QUEUE_LEN);
    let (changed, timers_changed) = watch::channel(0);
    let pending = VecDeque::new();
    let (chore, closed_intake) = (None, ClosedIntake::default());
    let writer = Writer { connection, ledger, memory, vigil, timers_changed: changed, chore, closed_intake, pending };
    let thread = super::spawn_thread("store-write", move |runtime| writer.run(&runtime, received, &closing))?;
    Ok(WriterHandle { requests, timers_changed, thread })
}

/// What the writer wakes up for.
enum Wake {
    Requests,
    /// Something was noted: it is written with the next request, or when nothing has come for a while.
    Noted,
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

/// Events that come in behind one that could not be kept, and belong to the same epoch, are refused like it: kept, they would
/// overtake it.
#[derive(Debug, Default)]
struct ClosedIntake(Option<(u64, StoreError)>);

impl ClosedIntake {
    fn close(&mut self, epoch: Option<u64>, error: &StoreError) {
        if let Some(epoch) = epoch {
            self.0 = Some((epoch, error.clone()));
        }
    }

    fn refusal(&self, request: &Write) -> Option<StoreError> {
        let (closed, error) = self.0.as_ref()?;
        (request.intake_epoch()? <= *closed).then(|| error.clone())
    }
}

struct Writer {
    connection: Connection,
    ledger: Ledger,
    memory: Memory,
    vigil: Vigil,
    timers_changed: watch::Sender<u64>,
    chore: Option<Chore>,
    closed_intake: ClosedIntake,
    pending: VecDeque<Write>,
}

impl Writer {
    fn run(mut self, runtime: &Runtime, mut requests: mpsc::Receiver<Write>, closing: &CancellationToken) {
        loop {
            self.vigil.counted(self.memory.notes.dropped(), self.ledger.retention.dead(), self.ledger.remembered());
            self.vigil.look(&self.connection);
            if !self.pending.is_empty() {
                self.process_batch();
                continue;
            }
            match runtime.block_on(self.wait(&mut requests, closing)) {
                Wake::Requests | Wake::Noted => {}
                Wake::Idle => {
                    self.write_notes();
                    self.do_chore();
                    self.prove();
                }
                Wake::Ended => {
                    while self.write_notes() {}
                    return;
                }
            }
        }
    }

    async fn wait(&mut self, requests: &mut mpsc::Receiver<Write>, closing: &CancellationToken) -> Wake {
        let mut received = Vec::new();
        let is_soon = self.chore.is_some() || !self.memory.notes.is_empty();
        let rest = if is_soon { IDLE_AFTER } else { self.vigil.rest() };
        let count = tokio::select! {
            biased;
            // What was sent before the end is still received.
            () = closing.cancelled() => {
                requests.close();
                requests.recv_many(&mut received, BATCH_LEN).await
            }
            count = requests.recv_many(&mut received, BATCH_LEN) => count,
            () = self.memory.notes.arrived(), if !is_soon => return Wake::Noted,
            () = tokio::time::sleep(rest) => return Wake::Idle,
        };
        for request in received {
            match request {
                // No transaction: that would look as if the disk worked, and bring the chores with it.
                Write::Ping { reply } => drop(reply.send(Ok(()))),
                request => self.pending.push_back(request),
            }
        }
        if count == 0 { Wake::Ended } else { Wake::Requests }
    }

    /// Does what waits, up to a batch of it, in one transaction, and answers.
    fn process_batch(&mut self) {
        let (mut batch, mut bytes) = (VecDeque::new(), 0);
        let mut outcomes = Vec::with_capacity(self.pending.len());
        while bytes < BATCH_BYTES
            && (batch.is_empty() || !self.vigil.is_cautious())
            && let Some(request) = self.pending.pop_front()
        {
            match self.closed_intake.refusal(&request).or_else(|| self.vigil.refusal(&request)) {
                Some(error) => {
                    self.closed_intake.close(request.intake_epoch(), &error);
                    request.refuse(&error).conclude(None, &self.memory.queue, &self.memory.outbox);
                }
                None => {
                    bytes += request.weight();
                    batch.push_back(request);
                }
            }
        }
        let epoch = batch.iter().filter_map(Write::intake_epoch).max();
        let begun = Instant::now();
        let failed = if batch.is_empty() { None } else { self.transaction(&mut batch, &mut outcomes).err() };
        if let Some(error) = &failed {
            self.closed_intake.close(epoch, error);
            self.roll_back();
            self.vigil.failed(&self.connection, error);
            outcomes.extend(batch.into_iter().map(|request| request.refuse(error)));
        } else if !outcomes.is_empty() {
            self.vigil.worked(outcomes.len(), begun.elapsed());
            if self.ledger.committed().timers {
                self.timers_changed.send_modify(|count| *count = count.wrapping_add(1));
            }
        }
        self.chore = Some(Chore::Sweep);
        for outcome in outcomes {
            outcome.conclude(failed.as_ref(), &self.memory.queue, &self.memory.outbox);
        }
    }

    /// Does requests, and writes along what was noted.
    fn transaction(&mut self, batch: &mut VecDeque<Write>, outcomes: &mut Vec<Outcome>) -> Result<(), StoreError> {
        let mut noted = if self.vigil.takes_notes() { self.memory.notes.take() } else { Vec::new() };
        let done = self.try_transaction(&mut noted, batch, outcomes);
        if done.is_err() {
            self.memory.notes.put_back(noted);
        }
        done
    }

    fn try_transaction(
        &mut self,
        noted: &mut Vec<Incident>,
        batch: &mut VecDeque<Write>,
        outcomes: &mut Vec<Outcome>,
    ) -> Result<(), StoreError> {
        self.execute("BEGIN IMMEDIATE")?;
        // First: a bot that is forgotten by a request leaves nothing behind that was noted before.
        self.insert_notes(noted)?;
        let mut steps = Steps::default();
        while let Some(request) = batch.pop_front() {
            // Behind one that failed alone in this transaction.
            if let Some(error) = self.closed_intake.refusal(&request) {
                outcomes.push(request.refuse(&error));
                continue;
            }
            steps.note(&request);
            let epoch = request.intake_epoch();
            let outcome = self.ledger.apply(&self.connection, self.vigil.path(), &self.memory, request);
            // SQLite ends the transaction by itself on some errors, such as a full disk; nothing of it is left then.
            let error = outcome.error().cloned();
            if let Some(error) = &error {
                self.closed_intake.close(epoch, error);
            }
            outcomes.push(outcome);
            let has_ended = self.connection.is_autocommit();
            match error {
                // What does not fit for one request may be what the others need: nothing of it is to be acknowledged.
                Some(error @ StoreError::DiskFull { .. }) => return Err(error),
                Some(error) if has_ended => return Err(error),
                Some(error) => self.vigil.refused(&error),
                None if has_ended => return Err(StoreError::Stopped),
                None => {}
            }
        }
        self.ledger.close_batch(&self.connection).map_err(|error| sql_error(self.vigil.path(), error))?;
        steps.reach(|step| step.before_commit);
        self.execute("COMMIT")?;
        steps.reach(|step| step.after_commit);
        Ok(())
    }

    /// Writes incidents within the open transaction. Those that cannot be, for a reason of their own, are dropped.
    fn insert_notes(&mut self, noted: &mut Vec<Incident>) -> Result<(), StoreError> {
        let Err(fault) = self.ledger.note(&self.connection, noted) else { return Ok(()) };
        let error = fault.into_store_error(self.vigil.path());
        if self.connection.is_autocommit() || matches!(error, StoreError::DiskFull { .. }) {
            return Err(error);
        }
        tracing::warn!(error = &error as &dyn std::error::Error, count = noted.len(), "incidents could not be written");
        self.vigil.refused(&error);
        self.memory.notes.lose(noted.len());
        noted.clear();
        Ok(())
    }

    /// Writes what was noted and nothing took along. Returns whether it did and there is more.
    fn write_notes(&mut self) -> bool {
        if self.memory.notes.is_empty() || !self.vigil.takes_notes() {
            return false;
        }
        let begun = Instant::now();
        match self.transaction(&mut VecDeque::new(), &mut Vec::new()) {
            Ok(()) => {
                self.vigil.worked(0, begun.elapsed());
                self.ledger.committed();
                self.chore.get_or_insert(Chore::Sweep);
                !self.memory.notes.is_empty()
            }
            Err(error) => {
                self.roll_back();
                self.vigil.failed(&self.connection, &error);
                false
            }
        }
    }

    fn roll_back(&mut self) {
        self.ledger.rolled_back();
        if !self.connection.is_autocommit()
            && let Err(error) = self.execute("ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be rolled back");
        }
    }

    fn do_chore(&mut self) {
        let Some(chore) = self.chore.take() else { return };
        let done = match chore {
            Chore::Sweep => self.sweep(),
            Chore::Tidy => self.tidy(),
        };
        match done {
            Ok(next) => self.chore = next,
            // The next write brings the next try.
            Err(fault) => {
                self.roll_back();
                let error = fault.into_store_error(self.vigil.path());
                self.vigil.failed(&self.connection, &error);
                tracing::warn!(%error, ?chore, "upkeep of the database failed");
            }
        }
    }

    /// Writes something where everything failed, to see whether it still does.
    fn prove(&mut self) {
        if !self.vigil.wants_proof() {
            return;
        }
        let begun = Instant::now();
        let written = self.execute("BEGIN IMMEDIATE").and_then(|()| {
            self.ledger.save_again(&self.connection).map_err(|error| sql_error(self.vigil.path(), error))?;
            self.execute("COMMIT")
        });
        match written {
            Ok(()) => self.vigil.worked(0, begun.elapsed()),
            Err(error) => {
                self.roll_back();
                self.vigil.failed(&self.connection, &error);
            }
        }
    }

    /// Removes some of what is no longer to be kept. Returns what to do next.
    fn sweep(&mut self) -> Result<Option<Chore>, Fault> {
        let expired = match self.ledger.now() {
            Some(now) => state::to_sweep(&self.connection, now)?.map(|bot| (bot, now)),
            None => None,
        };
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        if let Some((bot, now)) = &expired {
            state::sweep(&self.connection, bot, *now, SWEEP_ROWS)?;
        }
        let has_more = self.ledger.sweep_history(&self.connection)?;
        self.connection.execute_batch("COMMIT")?;
        Ok(Some(if expired.is_some() || has_more { Chore::Sweep } else { Chore::Tidy }))
    }

    /// Returns what to do next: on a full disk, the same until nothing is left to give back.
    fn tidy(&self) -> Result<Option<Chore>, Fault> {
        self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()))?;
        // Gives back a page each time it is stepped.
        let mut vacuum = self.connection.prepare_cached("PRAGMA incremental_vacuum(500)")?;
        let mut pages = vacuum.query(())?;
        while pages.next()?.is_some() {}
        drop(pages);
        let free: i64 = self.connection.query_row("PRAGMA freelist_count", (), |row| row.get(0))?;
        Ok((self.vigil.is_full() && free > 0).then_some(Chore::Tidy))
    }

    fn execute(&self, sql: &str) -> Result<(), StoreError> {
        self.connection.execute_batch(sql).map_err(|error| sql_error(self.vigil.path(), error))
    }
}

/// The steps of a message that are in a transaction, for the failpoints around its commit.
#[derive(Default)]
struct Steps([bool; 3]);

struct Step {
    before_commit: Failpoint,
    after_commit: Failpoint,
}

impl Steps {
    const ALL: [Step; 3] = [
        Step { before_commit: Failpoint::AppendBeforeCommit, after_commit: Failpoint::AppendAfterCommit },
        Step { before_commit: Failpoint::SettleBeforeCommit, after_commit: Failpoint::SettleAfterCommit },
        Step { before_commit: Failpoint::DeliveredBeforeCommit, after_commit: Failpoint::DeliveredAfterCommit },
    ];

    fn note(&mut self, request: &Write) {
        let step = match request {
            Write::Append { .. } => 0,
            Write::Settle { .. } => 1,
            Write::SendEnded { .. } => 2,
            _ => return,
        };
        self.0[step] = true;
    }

    fn reach(&self, point: impl Fn(&Step) -> Failpoint) {
        let there = Self::ALL.iter().zip(self.0).filter(|(_, is_there)| *is_there);
        there.for_each(|(step, _)| failpoint::reach(point(step)));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Append, PreparedCommit, PreparedEvent, Settle, recover};
    use super::*;
    use crate::action::{Priority, StateRead, StateWrite};
    use crate::clock::Timestamp;
    use crate::delivery::Durability;
    use crate::event::{Event, EventKind};
    use crate::store::ballast::Ballast;
    use crate::store::commit::Commit;
    use crate::store::engine::Lease;
    use crate::store::health::Pulse;
    use crate::store::incidents::IncidentKind;
    use crate::store::record::encode_event;
    use crate::store::{Appended, Committed, StoreOptions};

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    /// A writer in the hands of the test, without its thread.
    fn writer() -> (tempfile::TempDir, Writer) {
        let directory = tempfile::tempdir().unwrap();
        let path: Arc<Path> = directory.path().join("x.db").into();
        std::fs::write(&path, "").unwrap();
        let (connection, last_end) = super::super::open(&path, Durability::Power).unwrap();
        let (timers_changed, _) = watch::channel(0);
        let options = StoreOptions::default();
        let queue = Arc::new(Queue::new(options.queue));
        let memory = Memory { queue, outbox: Arc::default(), notes: Arc::default() };
        let ledger = recover(&connection, &path, &options, &memory, last_end).unwrap();
        let (chore, closed_intake, pending) = (None, ClosedIntake::default(), VecDeque::new());
        let vigil = Vigil::new(&connection, path, Ballast::find(directory.path()), Pulse::default());
        let writer = Writer { connection, ledger, memory, vigil, timers_changed, chore, closed_intake, pending };
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
        let commit = PreparedCommit::new(commit).unwrap();
        let lease = Lease::of_first_owner().into();
        let settle = Box::new(Settle { lease, done: None, commit, sends: Vec::new(), alerts: Vec::new() });
        writer.pending.push_back(Write::Settle { settle, reply });
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
        writer.process_batch();
        assert!(writer.pending.is_empty());
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

    fn append(writer: &mut Writer, epoch: u64) -> tokio::sync::oneshot::Receiver<Result<Appended, StoreError>> {
        append_for(writer, "echo", epoch)
    }

    fn append_for(
        writer: &mut Writer,
        bot: &str,
        epoch: u64,
    ) -> tokio::sync::oneshot::Receiver<Result<Appended, StoreError>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let event = Arc::new(Event::now(None, EventKind::Custom { name: "x".into() }));
        let bots = vec![(bot.parse().unwrap(), Priority::Normal)];
        let reserved = runtime.block_on(writer.memory.queue.reserve(bots, 1));
        let prepared = PreparedEvent {
            id: event.id.to_bytes(),
            origin: None,
            platform_id: None,
            received_ms: 1,
            body: encode_event(&event),
            lane: event.lane(),
        };
        let (reply, answer) = tokio::sync::oneshot::channel();
        let append = Append { event, prepared, key: None, reserved, timer: None, epoch, now: NOW };
        writer.pending.push_back(Write::Append { append: Box::new(append), reply });
        answer
    }

    #[test]
    fn an_event_that_fails_alone_is_overtaken_by_none_of_its_transaction() {
        let (_directory, mut writer) = writer();
        // What the first event would be written as is there already.
        let taken = "INSERT INTO queue(event, bot, lane, priority, bytes, state, attempts, checksum)
                     VALUES (1, 'echo', '', 1, 0, 1, 0, 0)";
        writer.connection.execute(taken, ()).unwrap();
        let mut failed = append_for(&mut writer, "echo", 0);
        let mut behind = append_for(&mut writer, "other", 0);
        let mut settled = ask(&mut writer, Vec::new(), vec![set("a", 1, None)], NOW);
        let mut again = append_for(&mut writer, "other", 1);
        writer.process_batch();
        assert!(matches!(failed.try_recv().unwrap(), Err(StoreError::Database { .. })));
        assert!(matches!(behind.try_recv().unwrap(), Err(StoreError::Database { .. })));
        assert_eq!(settled.try_recv().unwrap().unwrap(), Committed::Done);
        assert!(matches!(again.try_recv().unwrap(), Ok(Appended::New { .. })));
        assert_eq!(writer.memory.queue.len(), 1, "the room of the other two was given back");
    }

    fn note(writer: &Writer, message: &str) {
        writer.memory.notes.push(Incident {
            at: NOW,
            bot: "echo".parse().unwrap(),
            kind: IncidentKind::Started,
            event: None,
            attempt: 0,
            component: None,
            message: message.to_owned(),
            backtrace: String::new(),
            strategy: "none".to_owned(),
        });
    }

    #[test]
    fn what_is_noted_rides_with_the_next_request_and_waits_on_where_that_fails() {
        let (directory, mut writer) = writer();
        writer.connection.busy_timeout(Duration::ZERO).unwrap();
        let other = Connection::open(directory.path().join("x.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        note(&writer, "first");
        drop(ask(&mut writer, Vec::new(), vec![set("a", 1, None)], NOW));
        writer.process_batch();
        assert!(!writer.write_notes(), "alone it is no better");
        other.execute_batch("ROLLBACK").unwrap();
        note(&writer, "second");
        let mut answer = ask(&mut writer, Vec::new(), vec![set("a", 1, None)], NOW);
        writer.process_batch();
        assert_eq!(answer.try_recv().unwrap().unwrap(), Committed::Done);
        assert_eq!(number(&writer, "SELECT count(*) FROM incidents"), 2);
        assert_eq!(number(&writer, "SELECT id FROM incidents WHERE message = 'first'"), 1);
        assert!(writer.memory.notes.is_empty() && !writer.write_notes());
    }

    #[test]
    fn incidents_that_cannot_be_written_are_counted_and_take_no_request_with_them() {
        let (_directory, mut writer) = writer();
        writer.connection.execute_batch("DROP TABLE incidents").unwrap();
        note(&writer, "lost");
        let mut answer = ask(&mut writer, Vec::new(), vec![set("a", 1, None)], NOW);
        writer.process_batch();
        assert_eq!(answer.try_recv().unwrap().unwrap(), Committed::Done);
        assert_eq!(number(&writer, "SELECT count(*) FROM state"), 1);
        assert_eq!((writer.memory.notes.is_empty(), writer.memory.notes.dropped()), (true, 1));
    }

    #[test]
    fn f075_a_full_disk_is_not_filled_with_incidents() {
        let (_directory, mut writer) = writer();
        fill_up(&mut writer);
        note(&writer, "waits");
        let mut answer = ask(&mut writer, Vec::new(), vec![], NOW);
        writer.process_batch();
        assert_eq!(answer.try_recv().unwrap().unwrap(), Committed::Done);
        assert!(!writer.write_notes() && !writer.memory.notes.is_empty());
        writer.connection.pragma_update_and_check(None, "max_page_count", 1 << 20, |_| Ok(())).unwrap();
        writer.vigil.look_now(&writer.connection);
        assert!(!writer.write_notes() && writer.memory.notes.is_empty());
        assert_eq!(number(&writer, "SELECT count(*) FROM incidents"), 1);
    }

    /// A database whose file may not grow is as good as a disk that is full.
    fn fill_up(writer: &mut Writer) {
        let pages = number(writer, "PRAGMA page_count");
        writer.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
        let mut answer = ask(writer, Vec::new(), vec![set("large", 1 << 20, None)], NOW);
        writer.process_batch();
        assert!(matches!(answer.try_recv().unwrap(), Err(StoreError::DiskFull { .. })));
    }

    #[test]
    fn f075_a_full_disk_takes_no_event_until_there_is_room_and_all_else_goes_on() {
        let (directory, mut writer) = writer();
        let health = writer.vigil.health();
        let ballast = directory.path().join("ballast");
        assert!(ballast.exists());
        fill_up(&mut writer);
        assert_eq!((health.borrow().condition.as_str(), ballast.exists()), ("full", false));
        let (mut refused, mut settled) = (append(&mut writer, 0), ask(&mut writer, Vec::new(), vec![], NOW));
        writer.process_batch();
        assert!(matches!(refused.try_recv().unwrap(), Err(StoreError::DiskFull { .. })));
        assert_eq!(settled.try_recv().unwrap().unwrap(), Committed::Done);
        assert_eq!(writer.memory.queue.len(), 0, "its room was given back");
        writer.connection.pragma_update_and_check(None, "max_page_count", 1 << 20, |_| Ok(())).unwrap();
        writer.vigil.look_now(&writer.connection);
        assert_eq!((health.borrow().condition.as_str(), ballast.exists()), ("working", true));
        // One that was on its way behind the refused one must not overtake it.
        let (mut behind, mut again) = (append(&mut writer, 0), append(&mut writer, 1));
        writer.process_batch();
        assert!(matches!(behind.try_recv().unwrap(), Err(StoreError::DiskFull { .. })));
        assert!(matches!(again.try_recv().unwrap(), Ok(Appended::New { .. })));
    }

    #[test]
    fn f075_a_full_disk_is_given_back_all_that_the_database_does_not_need() {
        let (_directory, mut writer) = writer();
        let writes = (0..8).map(|n| set(&format!("k{n}"), 1 << 20, None)).collect();
        drop(ask(&mut writer, Vec::new(), writes, NOW));
        writer.process_batch();
        let writes = (0..8).map(|n| StateWrite::Delete { key: format!("k{n}") }).collect();
        drop(ask(&mut writer, Vec::new(), writes, NOW));
        writer.process_batch();
        assert!(number(&writer, "PRAGMA freelist_count") > 2_000);
        let error = StoreError::DiskFull { path: writer.vigil.path().clone(), source: Arc::new(std::fmt::Error) };
        writer.vigil.failed(&writer.connection, &error);
        while writer.chore.is_some() {
            writer.do_chore();
        }
        assert_eq!(number(&writer, "PRAGMA freelist_count"), 0);
    }

    #[test]
    fn f075_what_does_not_fit_takes_nothing_else_with_it() {
        let (_directory, mut writer) = writer();
        fill_up(&mut writer);
        fill_up(&mut writer);
        let mut small = ask(&mut writer, Vec::new(), vec![], NOW);
        let mut large = ask(&mut writer, Vec::new(), vec![set("large", 1 << 20, None)], NOW);
        writer.process_batch();
        assert_eq!(small.try_recv().unwrap().unwrap(), Committed::Done);
        writer.process_batch();
        assert!(matches!(large.try_recv().unwrap(), Err(StoreError::DiskFull { .. })));
    }

    #[test]
    fn f076_a_failing_store_finds_out_by_itself_that_it_works_again() {
        let (directory, mut writer) = writer();
        writer.connection.busy_timeout(Duration::ZERO).unwrap();
        let other = Connection::open(directory.path().join("x.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        writer.vigil.fail_for_long();
        drop(ask(&mut writer, Vec::new(), vec![set("a", 1, None)], NOW));
        writer.process_batch();
        let health = writer.vigil.health();
        assert_eq!(health.borrow().condition.as_str(), "failing");
        writer.prove();
        assert_eq!(health.borrow().condition.as_str(), "failing");
        other.execute_batch("ROLLBACK").unwrap();
        writer.prove();
        assert_eq!(health.borrow().condition.as_str(), "working");
    }
}
