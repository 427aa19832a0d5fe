//! Ends attempts: what a handler asked for takes effect as a whole and its event is done, or what went wrong is written down and
//! the event waits, or is a dead letter.

use std::sync::Arc;

use rusqlite::Connection;

use super::apply::{Ledger, in_savepoint};
use super::inbox;
use super::prepare::PreparedCommit;
use super::quarantine::RowName;
use super::request::{After, Fail, Settle};
use super::state::{self, StateWriter};
use super::writer::Memory;
use super::{Fault, Flaw, alerts, from_column, outbox, story, timer, to_column, usage};
use crate::store::Committed;
use crate::store::commit::TIMERS_MAX;
use crate::store::outbox::{Admission, Entry, Pending};
use crate::store::queue::{Claimed, Verdict};

/// Expired rows removed for a bot that has no room left, before it is refused.
const SWEEP_ROWS_FOR_ROOM: u32 = 10_000;

impl Ledger {
    /// Lets a handler's effects take effect, and its event be done.
    pub(super) fn settle(
        &mut self,
        connection: &Connection,
        memory: &Memory,
        settle: &Settle,
    ) -> Result<(Committed, Vec<After>), Fault> {
        let commit = &settle.commit;
        self.now = Some(commit.now);
        let (revision, first_send) = (self.next_revision(), self.send + 1);
        let mut pending = Pending::default();
        let mut attempt = |above_quota| {
            let write = |connection: &Connection| {
                let committed = write_commit(connection, commit, revision, above_quota)?;
                if committed != Committed::Done {
                    return Ok((committed, Vec::new()));
                }
                if !write_done(connection, settle)? {
                    return Ok((Committed::Gone, Vec::new()));
                }
                alerts::apply(connection, &commit.bot, &settle.alerts, commit.now)?;
                pending.clone_from(&self.pending);
                Ok((Committed::Done, write_sends(connection, memory, settle, first_send, &mut pending)?))
            };
            in_savepoint(connection, write, |(committed, _)| *committed == Committed::Done)
        };
        let mut result = attempt(AboveQuota::Refused);
        if let Ok((Committed::QuotaExceeded { .. }, _)) = result {
            // What has expired counts until it is swept. Outside of the savepoint, so that it stays swept.
            result = state::sweep(connection, commit.bot.as_str(), commit.now, SWEEP_ROWS_FOR_ROOM)
                .and_then(|_| attempt(AboveQuota::MayShrink));
        }
        let (committed, mut after) = result?;
        if committed == Committed::Done {
            self.send += settle.sends.len() as i64;
            self.pending = pending;
            self.wrote.timers |= !commit.timers.is_empty();
            self.wrote.revision |= !commit.timers.is_empty() || !commit.state.is_empty();
        }
        if matches!(committed, Committed::Done | Committed::Gone) {
            after.extend(settle.done.as_ref().map(|(claimed, _)| After::Settled(claimed.clone(), Verdict::Done)));
        }
        Ok((committed, after))
    }

    /// Notes an attempt that did not go well, and when the next one comes, or that none does.
    pub(super) fn fail(&mut self, connection: &Connection, fail: &Fail) -> rusqlite::Result<()> {
        let Fail { claimed, record, retry, .. } = fail;
        self.now = Some(record.at);
        let at = (to_column(claimed.seq), claimed.bot.as_str());
        let changed = inbox::change(connection, at, &[inbox::state::WAITING], |row| {
            row.attempts = i64::from(claimed.attempt);
            row.due_ms = retry.map(|due| to_column(due.as_millis()));
            if retry.is_none() {
                row.state = inbox::state::DEAD;
                row.ended_ms = Some(to_column(record.at.as_millis()));
            }
        })?;
        if changed.is_some() {
            inbox::insert_attempt(connection, at, record)?;
            self.retention.died(u64::from(retry.is_none()));
        }
        Ok(())
    }
}

/// Marks a handler's event as done. False: it is none that waits.
fn write_done(connection: &Connection, settle: &Settle) -> Result<bool, Fault> {
    let Some((claimed, spent)) = &settle.done else { return Ok(true) };
    let at = (to_column(claimed.seq), claimed.bot.as_str());
    let row = match inbox::row(connection, at.0, at.1)? {
        None => return Ok(false),
        Some(None) => return Err(Fault::Row(RowName::queued(at.1.into(), at.0), Flaw::Checksum)),
        Some(Some(row)) => row,
    };
    let changed = inbox::change_row(connection, row, &[inbox::state::WAITING], |row| {
        row.state = inbox::state::DONE;
        row.attempts = i64::from(claimed.attempt);
        row.due_ms = None;
        row.ended_ms = Some(to_column(settle.commit.now.as_millis()));
        row.elapsed_us = Some(inbox::micros(spent.elapsed));
        row.fuel = Some(to_column(spent.fuel));
    })?;
    Ok(changed.is_some())
}

/// Notes that a bot does not want an event.
pub(super) fn dismiss(connection: &Connection, claimed: &Claimed) -> rusqlite::Result<()> {
    let at = (to_column(claimed.seq), claimed.bot.as_str());
    inbox::change(connection, at, &[inbox::state::WAITING], |row| row.state = inbox::state::UNWANTED).map(drop)
}

/// Writes what a handler sends, and what gives way to it.
fn write_sends(
    connection: &Connection,
    memory: &Memory,
    settle: &Settle,
    first: i64,
    pending: &mut Pending,
) -> Result<Vec<After>, Fault> {
    let mut after = Vec::new();
    let now = settle.commit.now;
    let event = match &settle.done {
        // Where its body was read for the handler, its id is not in memory.
        Some((claimed, _)) if !settle.sends.is_empty() => match claimed.event_id() {
            None => story::event_id(connection, to_column(claimed.seq))?,
            known => known,
        },
        _ => None,
    };
    for (n, send) in settle.sends.iter().enumerate() {
        let reason = match memory.outbox.admit(send.via(), send.priority(), pending) {
            Admission::Taken => None,
            Admission::Displaces { lane, id } => {
                outbox::lose(connection, to_column(id), "overflow", now)?;
                pending.displace(send.via(), id);
                after.push(After::Displaced { key: send.via().clone(), lane, id });
                None
            }
            Admission::Overflows => Some("overflow"),
            Admission::ConnectorGone => Some("connector-removed"),
        };
        let n = n as i64;
        let row = outbox::SendRow {
            id: first + n,
            event: settle.done.as_ref().map(|(claimed, _)| to_column(claimed.seq)),
            bot: settle.commit.bot.to_string(),
            n,
            connector: send.via().to_string(),
            lane: send.lane.as_str().to_owned(),
            priority: send.priority() as i64,
            ticket: send.ticket().map(|ticket| to_column(ticket.0)),
            committed_ms: to_column(send.committed_at.as_millis()),
            expires_ms: send.expires_at.map(|moment| to_column(moment.as_millis())),
            state: if reason.is_some() { outbox::state::LOST } else { outbox::state::WAITING },
            attempts: 0,
            due_ms: None,
            ended_ms: reason.map(|_| to_column(now.as_millis())),
            platform_id: None,
            reason: reason.map(str::to_owned),
        };
        row.insert(connection, send)?;
        match reason {
            Some(reason) => tracing::error!(bot = row.bot, connector = row.connector, reason, "an action is lost"),
            None => {
                let lane = memory.outbox.lane(send.via(), send.lane.clone(), send.priority());
                pending.add(send.via(), lane.clone(), from_column(row.id), send.priority());
                after.push(After::Send(Box::new(Entry {
                    id: from_column(row.id),
                    bot: settle.commit.bot.clone(),
                    via: send.via().clone(),
                    event,
                    ticket: send.ticket(),
                    expires_at: send.expires_at,
                    committed_at: send.committed_at,
                    attempts: 0,
                    priority: send.priority(),
                    lane,
                    action: Some(Arc::clone(&send.action)),
                    bytes: u32::try_from(send.body.len()).unwrap_or(u32::MAX),
                })));
            }
        }
    }
    Ok(after)
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
