//! What each request does to the tables, within the transaction that the writer has open, and what follows from it in memory.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::dedup::Dedup;
use super::incidents::Shelf;
use super::request::{After, Answer, Fail, Outcome, Write};
use super::retention::{Kept, Retention};
use super::writer::Memory;
use super::{
    Fault, Flaw, condemned, counter, handled, inbox, lease, memos, operate, outbox, quarantine, sql_error, to_column,
};
use crate::clock::Timestamp;
use crate::store::incidents::Incident;
use crate::store::outbox::Pending;
use crate::store::queue::Verdict;
use crate::store::{StoreError, StoreOptions};

/// What the open transaction has written so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wrote {
    pub(super) revision: bool,
    pub(super) timers: bool,
}

/// The numbers that the writer gives out, and what it knows beside the tables.
pub(in crate::store) struct Ledger {
    /// The last that was given out. Never goes back, not even when the transaction does; so the next two.
    revision: u64,
    pub(super) seq: i64,
    pub(super) send: i64,
    pub(super) dedup: Dedup,
    pub(super) retention: Retention,
    pub(super) incidents: Shelf,
    pub(super) wrote: Wrote,
    /// What the open transaction does to the outboxes.
    pub(super) pending: Pending,
    /// The wall clock as the last request saw it; decides what is swept.
    pub(super) now: Option<Timestamp>,
}

impl Ledger {
    /// Reads where an earlier process left off.
    pub(super) fn load(connection: &Connection, options: &StoreOptions) -> rusqlite::Result<Self> {
        let kept = Kept { events: options.keep, dead_letters: options.dead_letters_max };
        let last =
            |sql| connection.query_row(sql, (), |row| row.get::<_, Option<i64>>(0)).map(Option::unwrap_or_default);
        Ok(Self {
            revision: counter::load(connection)?,
            seq: last("SELECT max(seq) FROM events")?.max(last("SELECT max(event) FROM queue")?),
            send: last("SELECT max(id) FROM outbox")?,
            dedup: Dedup::load(connection, options.dedup_window)?,
            retention: Retention::load(connection, kept)?,
            incidents: Shelf::load(connection)?,
            wrote: Wrote::default(),
            pending: Pending::default(),
            now: None,
        })
    }

    pub(super) fn now(&self) -> Option<Timestamp> {
        self.now
    }

    /// Writes incidents that were noted. All of them or none; what else is in the open transaction stays.
    pub(super) fn note(&mut self, connection: &Connection, incidents: &[Incident]) -> Result<(), Fault> {
        if incidents.is_empty() { Ok(()) } else { self.incidents.append(connection, incidents) }
    }

    /// Ends what the open transaction holds, before its commit.
    pub(super) fn close_batch(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if self.wrote.revision {
            counter::save(connection, self.revision)?;
        }
        self.retention.keep_up(connection, self.seq)
    }

    /// Writes what is there already, to see whether the disk takes it.
    pub(super) fn save_again(&self, connection: &Connection) -> rusqlite::Result<()> {
        counter::save(connection, self.revision)
    }

    /// The open transaction is on disk. Returns what it wrote.
    pub(super) fn committed(&mut self) -> Wrote {
        self.dedup.committed();
        self.retention.committed();
        self.incidents.committed();
        self.pending = Pending::default();
        std::mem::take(&mut self.wrote)
    }

    /// The open transaction came to nothing.
    pub(super) fn rolled_back(&mut self) {
        self.dedup.rolled_back();
        self.retention.rolled_back();
        self.incidents.rolled_back();
        self.pending = Pending::default();
        self.wrote = Wrote::default();
    }

    /// Returns how many ids of events are remembered.
    pub(super) fn remembered(&self) -> u64 {
        self.dedup.len() as u64
    }

    /// Removes some of what is no longer to be kept. Returns whether there is more.
    pub(super) fn sweep_history(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        self.retention.sweep(connection, self.seq, self.now)
    }

    pub(super) fn apply(
        &mut self,
        connection: &Connection,
        path: &Arc<Path>,
        memory: &Memory,
        request: Write,
    ) -> Outcome {
        let sql = |error| sql_error(path, error);
        let refusal =
            request.lease().map(|lease| lease::refusal(connection, lease).unwrap_or_else(|error| Some(sql(error))));
        if let Some(error) = refusal.flatten() {
            return request.refuse(&error);
        }
        match request {
            Write::Append { append, reply } => {
                let (result, after) = self.append(connection, *append);
                let result = result.map_err(|fault| settle_fault(connection, path, fault, self.now));
                Outcome { answer: Answer::Appended(reply, result), after }
            }
            Write::Settle { settle, reply } => match self.settle(connection, memory, &settle) {
                Ok((committed, after)) => Outcome { answer: Answer::Committed(reply, Ok(committed)), after },
                Err(fault) => Answer::Committed(reply, Err(settle_fault(connection, path, fault, self.now))).into(),
            },
            Write::Fail { fail, reply } => {
                let result = self.fail(connection, &fail).map_err(sql);
                let Fail { claimed, retry, .. } = *fail;
                let verdict = retry.map_or(Verdict::Done, |due| Verdict::Retry { due });
                let after = if result.is_ok() { vec![After::Settled(claimed, verdict)] } else { Vec::new() };
                Outcome { answer: Answer::Done(reply, result), after }
            }
            Write::Dismiss { claimed, .. } => {
                Answer::Nobody(handled::dismiss(connection, &claimed).map_err(sql)).into()
            }
            Write::Claim { claimed, reply, .. } => {
                let attempts = i64::from(claimed.attempt);
                let at = (to_column(claimed.seq), claimed.bot.as_str());
                let noted = inbox::change(connection, at, &[inbox::state::WAITING], |row| row.attempts = attempts);
                Answer::Done(reply, noted.map(drop).map_err(sql)).into()
            }
            Write::SendBegun { id, reply, .. } => {
                let noted = outbox::change(connection, to_column(id), &[outbox::state::WAITING], |row| {
                    row.state = outbox::state::PERHAPS_SENT;
                    row.due_ms = None;
                });
                Answer::Done(reply, noted.map(drop).map_err(sql)).into()
            }
            Write::SendFailed { id, attempts, due, error, .. } => {
                let of = [outbox::state::WAITING, outbox::state::PERHAPS_SENT];
                let noted = outbox::change(connection, to_column(id), &of, |row| {
                    row.state = outbox::state::WAITING;
                    row.attempts = i64::from(attempts);
                    row.due_ms = Some(to_column(due.as_millis()));
                    row.reason = Some(error);
                });
                Answer::Nobody(noted.map(drop).map_err(sql)).into()
            }
            Write::SendEnded { entry, attempts, end, now, reply, .. } => {
                let result = operate::send_ended(connection, &entry, attempts, &end, now).map_err(sql);
                let after = if result.is_ok() { vec![After::SendFinished(entry)] } else { Vec::new() };
                Outcome { answer: Answer::Done(reply, result), after }
            }
            Write::ForgetBot { bot, now, reply } => {
                let result = self.forget_bot(connection, &bot, now).map_err(sql);
                let after = if result.is_ok() { vec![After::Forget(bot)] } else { Vec::new() };
                Outcome { answer: Answer::Count(reply, result), after }
            }
            Write::CloseOutbox { key, now, reply } => {
                let mut lost = 0;
                let lose = |id: u64| outbox::lose(connection, to_column(id), "connector-removed", now);
                let result = memory.outbox.close(&key).into_iter().try_for_each(|id| {
                    lost += u64::from(lose(id)?);
                    Ok(())
                });
                let result = result.and_then(|()| memos::forget_all(connection, &key));
                Answer::Count(reply, result.map(|()| lost).map_err(sql)).into()
            }
            Write::ExpireSends { key, ttl, now, reply } => {
                let (result, after) = split(operate::expire_sends(connection, memory, &key, ttl, now).map_err(sql));
                Outcome { answer: Answer::Count(reply, result), after }
            }
            Write::DeadLetter { id, bot, fate, now, reply } => {
                let (result, after) = split(self.dead_letter(connection, id, &bot, fate, now).map_err(sql));
                Outcome { answer: Answer::Count(reply, result), after }
            }
            Write::Send { id, fate, now, reply } => {
                let (result, after) = split(operate::operate_send(connection, memory, id, fate, now).map_err(sql));
                Outcome { answer: Answer::Count(reply, result), after }
            }
            Write::RestoreSends { key, since, limit, now, reply } => {
                let restored = operate::restore_sends(connection, &key, (since, limit), now);
                let (result, after) = split(restored.map_err(sql));
                Outcome { answer: Answer::Count(reply, result), after }
            }
            Write::Lease { step, reply } => Answer::Fence(reply, lease::apply(connection, &step).map_err(sql)).into(),
            Write::Condemn { condemned, reply } => {
                Answer::Done(reply, condemned::condemn(connection, &condemned).map_err(sql)).into()
            }
            Write::Pardon { bot, reply } => {
                Answer::Count(reply, condemned::pardon(connection, &bot).map_err(sql)).into()
            }
            Write::PutMemo { key, name, memo, now, reply } => {
                let done = match memo {
                    Some(memo) => memos::put(connection, &key, &name, &memo, now),
                    None => memos::forget(connection, &key, &name),
                };
                Answer::Done(reply, done.map_err(sql)).into()
            }
            Write::PutAside { row, flaw, now, reply } => {
                let done = quarantine::put_aside_if_unfit(connection, &row, flaw, now);
                Answer::Done(reply, done.map_err(sql)).into()
            }
            Write::Ping { reply } => Answer::Done(reply, Ok(())).into(),
        }
    }

    pub(super) fn next_revision(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }
}

fn split(result: Result<(u64, Vec<After>), StoreError>) -> (Result<u64, StoreError>, Vec<After>) {
    match result {
        Ok((count, after)) => (Ok(count), after),
        Err(error) => (Err(error), Vec::new()),
    }
}

/// Does one request's work so that it can be undone alone; undoes it unless the result is one to `keep`.
pub(super) fn in_savepoint<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, Fault>,
    keep: impl FnOnce(&T) -> bool,
) -> Result<T, Fault> {
    let run = |sql| connection.prepare_cached(sql).and_then(|mut statement| statement.execute(()));
    run("SAVEPOINT request")?;
    let result = work(connection);
    if connection.is_autocommit() {
        return result;
    }
    if !result.as_ref().is_ok_and(keep) {
        run("ROLLBACK TO request")?;
    }
    run("RELEASE request")?;
    result
}

/// Puts a row that cannot be trusted aside, and says what the caller is told.
fn settle_fault(connection: &Connection, path: &Arc<Path>, fault: Fault, now: Option<Timestamp>) -> StoreError {
    if let Fault::Row(row, flaw) = &fault
        && *flaw != Flaw::InQuarantine
        && let Err(error) = quarantine::put_aside(connection, row, *flaw, now.unwrap_or_default())
    {
        return sql_error(path, error);
    }
    fault.into_store_error(path)
}
