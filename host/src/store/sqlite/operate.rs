//! Ends what waits without an attempt of it: a bot or a connector that is gone, an operator's word, time that has run out; and how
//! the delivery of an action ended.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use super::apply::Ledger;
use super::inbox::{self, dead_without_attempt};
use super::request::{After, Fate, SendEnd};
use super::writer::Memory;
use super::{alerts, condemned, from_column, outbox, to_column};
use crate::clock::Timestamp;
use crate::event::LaneKey;
use crate::grants::ConnectorKey;
use crate::id::{BotName, EventId, Ticket};
use crate::store::history::AttemptRecord;
use crate::store::outbox::Entry;
use crate::store::queue::Queued;

impl Ledger {
    /// Makes dead letters of what waits for a bot that is gone, and drops its alerts and what is held against it: if it comes back
    /// it begins anew.
    pub(super) fn forget_bot(
        &mut self,
        connection: &Connection,
        bot: &BotName,
        now: Timestamp,
    ) -> rusqlite::Result<u64> {
        self.now = Some(now);
        alerts::forget(connection, bot)?;
        condemned::pardon(connection, bot)?;
        self.incidents.forget(connection, bot)?;
        let waiting: Vec<i64> = connection
            .prepare_cached("SELECT event FROM queue WHERE bot = ?1 AND state = 0")?
            .query_map([bot.as_str()], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let reason = dead_without_attempt("bot-removed", "the bot was removed before it had handled it", now);
        for seq in &waiting {
            self.bury(connection, (*seq, bot.as_str()), &reason)?;
        }
        Ok(waiting.len() as u64)
    }

    /// Makes a dead letter of an event that waits, without an attempt.
    fn bury(&mut self, connection: &Connection, at: (i64, &str), reason: &AttemptRecord) -> rusqlite::Result<()> {
        let changed = inbox::change(connection, at, &[inbox::state::WAITING], |row| {
            row.state = inbox::state::DEAD;
            row.due_ms = None;
            row.ended_ms = Some(to_column(reason.at.as_millis()));
        })?;
        if changed.is_some() {
            inbox::insert_attempt(connection, at, reason)?;
            self.retention.died(1);
        }
        Ok(())
    }

    /// Does what the operator wants of a dead letter. Returns how many there were of that name: one or none.
    pub(super) fn dead_letter(
        &mut self,
        connection: &Connection,
        id: EventId,
        bot: &BotName,
        fate: Fate,
        now: Timestamp,
    ) -> rusqlite::Result<(u64, Vec<After>)> {
        self.now = Some(now);
        let mut find = connection.prepare_cached("SELECT seq FROM events WHERE id = ?1")?;
        let Some(seq) = find.query_one([&id.to_bytes()[..]], |row| row.get::<_, i64>(0)).optional()? else {
            return Ok((0, Vec::new()));
        };
        let at = (seq, bot.as_str());
        let changed = inbox::change(connection, at, &[inbox::state::DEAD], |row| {
            row.attempts = 0;
            (row.due_ms, row.ended_ms) = (None, None);
            row.state = inbox::state::WAITING;
        })?;
        let Some(row) = changed else { return Ok((0, Vec::new())) };
        self.retention.revived(1);
        inbox::delete_attempts(connection, seq, bot.as_str())?;
        if fate == Fate::Drop {
            connection.prepare_cached("DELETE FROM queue WHERE event = ?1 AND bot = ?2")?.execute(at)?;
            return Ok((1, Vec::new()));
        }
        let bytes = u32::try_from(row.bytes).unwrap_or(u32::MAX);
        let queued = Queued { seq: from_column(seq), event: None, bytes, since: now, attempts: 0, is_suspect: false };
        let (lane, priority) = (LaneKey::from_text(&row.lane), super::priority(row.priority));
        Ok((1, vec![After::Restore { bot: bot.clone(), lane, priority, row: queued }]))
    }
}

/// Notes how an action ended.
pub(super) fn send_ended(
    connection: &Connection,
    entry: &Entry,
    attempts: u32,
    end: &SendEnd,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let of = [outbox::state::WAITING, outbox::state::PERHAPS_SENT, outbox::state::LOST];
    outbox::change(connection, to_column(entry.id), &of, |row| {
        row.attempts = i64::from(attempts);
        row.due_ms = None;
        row.ended_ms = Some(to_column(now.as_millis()));
        match end {
            SendEnd::Delivered { platform_id } => {
                (row.state, row.platform_id, row.reason) = (outbox::state::DELIVERED, platform_id.clone(), None);
            }
            SendEnd::Lost { reason } => (row.state, row.reason) = (outbox::state::LOST, Some(reason.clone())),
        }
    })?;
    match (end, entry.ticket) {
        (SendEnd::Delivered { platform_id: Some(id) }, Some(Ticket(ticket))) => {
            outbox::remember(connection, to_column(ticket), id)
        }
        _ => Ok(()),
    }
}

/// Loses what has waited too long for a connector. Returns how many.
pub(super) fn expire_sends(
    connection: &Connection,
    memory: &Memory,
    key: &ConnectorKey,
    ttl: Duration,
    now: Timestamp,
) -> rusqlite::Result<(u64, Vec<After>)> {
    let (mut lost, mut after) = (0, Vec::new());
    for (lane, id) in memory.outbox.expired(key, ttl, now) {
        lost += u64::from(outbox::lose(connection, to_column(id), "expired", now)?);
        after.push(After::Displaced { key: key.clone(), lane, id });
    }
    Ok((lost, after))
}

/// Does what the operator wants of an action. Returns how many there were of that number: one or none.
pub(super) fn operate_send(
    connection: &Connection,
    memory: &Memory,
    id: u64,
    fate: Fate,
    now: Timestamp,
) -> rusqlite::Result<(u64, Vec<After>)> {
    if fate == Fate::Drop {
        // Only what waits: what is being delivered has to end first.
        let Some((key, lane)) = memory.outbox.find(id) else { return Ok((0, Vec::new())) };
        let is_lost = outbox::lose(connection, to_column(id), "dropped", now)?;
        return Ok((u64::from(is_lost), vec![After::Displaced { key, lane, id }]));
    }
    let entry = restore(connection, to_column(id), now)?;
    Ok((u64::from(entry.is_some()), entry.into_iter().collect()))
}

/// Lets actions that were lost for a connector be tried again, the oldest first: those that were lost since then, at most so many, and
/// neither what an operator dropped nor what was perhaps delivered. Returns how many there are, one above the limit where there are
/// more.
pub(super) fn restore_sends(
    connection: &Connection,
    key: &ConnectorKey,
    (since, limit): (Timestamp, usize),
    now: Timestamp,
) -> rusqlite::Result<(u64, Vec<After>)> {
    let lost: Vec<i64> = connection
        .prepare_cached(
            "SELECT id FROM outbox WHERE state = 3 AND connector = ?1 AND ended_ms >= ?2
               AND reason <> 'dropped' AND reason NOT LIKE 'uncertain:%'
             ORDER BY id LIMIT ?3",
        )?
        .query_map((key.to_string(), to_column(since.as_millis()), to_column(limit as u64 + 1)), |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut after = Vec::new();
    for id in lost.iter().take(limit) {
        after.extend(restore(connection, *id, now)?);
    }
    let beyond = u64::from(lost.len() > limit);
    // One that cannot be trusted is not put back, and there may be more all the same.
    let restored = if beyond > 0 { limit } else { after.len() };
    Ok((restored as u64 + beyond, after))
}

/// Lets an action that was lost be tried again, if it is one.
fn restore(connection: &Connection, id: i64, now: Timestamp) -> rusqlite::Result<Option<After>> {
    let changed = outbox::change(connection, id, &[outbox::state::LOST], |row| {
        row.state = outbox::state::WAITING;
        row.attempts = 0;
        (row.committed_ms, row.expires_ms) = (to_column(now.as_millis()), None);
        (row.ended_ms, row.due_ms, row.reason) = (None, None, None);
    })?;
    let entry = changed.map(|row| super::recover::entry(connection, &row, 0)).transpose()?.flatten();
    Ok(entry.map(|entry| After::Send(Box::new(entry))))
}
