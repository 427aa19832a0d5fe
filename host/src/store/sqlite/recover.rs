//! What an earlier process left to do: read once, at the start, into the order that is kept in memory.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use super::inbox::{self, QueueRow};
use super::outbox::{SendRow, select_sends};
use super::{from_column, outbox, quarantine, story};
use crate::clock::Timestamp;
use crate::delivery::OnUncertain;
use crate::event::LaneKey;
use crate::grants::ConnectorKey;
use crate::id::{BotName, Ticket};
use crate::store::Flaw;
use crate::store::lanes::LaneId;
use crate::store::outbox::{Entry, Outbox};
use crate::store::queue::{Queue, Queued};

/// How the process before this one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum LastEnd {
    /// It closed the database.
    Clean,
    /// It died: what it had at work may have been the reason.
    Crash,
}

/// No event waits longer for its next attempt, nor an action for its next try, than this. What says otherwise was written when the
/// wall clock was ahead.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(60);
const SEND_WAIT_MAX: Duration = Duration::from_secs(3600);

fn not_after(due_ms: i64, now: Timestamp, wait_max: Duration) -> Timestamp {
    Timestamp::from_millis(from_column(due_ms)).min(now.saturating_add(wait_max))
}

/// Fills the queue with the events that wait.
pub(super) fn queue(connection: &Connection, queue: &Queue, last_end: LastEnd, now: Timestamp) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(
        "SELECT event, bot, lane, priority, bytes, state, attempts, due_ms, ended_ms, elapsed_us, fuel, checksum
         FROM queue ORDER BY event, bot",
    )?;
    let mut rows = statement.query(())?;
    let mut received = connection.prepare("SELECT received_ms FROM events WHERE seq = ?1")?;
    let mut unfit = Vec::new();
    while let Some(row) = rows.next()? {
        let found = QueueRow::read(row).and_then(|found| Some((found.bot.parse::<BotName>().ok()?, found)));
        let Some((bot, found)) = found else {
            let text =
                |index| row.get_ref(index).ok().and_then(|value| value.as_bytes().ok()).unwrap_or_default().to_vec();
            unfit.push(quarantine::RowName::queued(text(1), row.get::<_, i64>(0).unwrap_or_default()));
            continue;
        };
        // Only now: between waiting and done there is one bit.
        if found.state != inbox::state::WAITING {
            continue;
        }
        // The event's own row is judged where it is claimed; if it cannot be read, no more is lost here than a measurement.
        let since: Option<i64> = received.query_one([found.event], |row| row.get(0)).ok();
        let queued = Queued {
            since: since.map_or(now, |since| Timestamp::from_millis(from_column(since))),
            seq: from_column(found.event),
            event: None,
            bytes: u32::try_from(found.bytes).unwrap_or(u32::MAX),
            attempts: u32::try_from(found.attempts).unwrap_or(u32::MAX),
            is_suspect: last_end == LastEnd::Crash,
        };
        let due = found.due_ms.map(|due| not_after(due, now, RETRY_WAIT_MAX));
        queue.restore(&bot, LaneKey::from_text(&found.lane), super::priority(found.priority), due, queued);
    }
    drop(rows);
    unfit.iter().try_for_each(|row| quarantine::put_aside(connection, row, Flaw::Checksum, now))
}

/// Fills the outboxes with the actions that wait. Those that were perhaps sent are tried again or lost, as the operator chose.
pub(super) fn outbox(
    connection: &Connection,
    outbox: &Outbox,
    on_uncertain: OnUncertain,
    now: Timestamp,
) -> rusqlite::Result<()> {
    // What is neither of the ends, also where it is nothing that was ever written.
    let mut statement = connection.prepare(select_sends!("WHERE state NOT IN (2, 3) ORDER BY id"))?;
    let mut rows = statement.query(())?;
    let (mut unfit, mut uncertain) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
        let Some((found, body)) = SendRow::read(row) else {
            unfit.push(quarantine::RowName::send(row.get(0).unwrap_or_default()));
            continue;
        };
        if found.state == outbox::state::PERHAPS_SENT && on_uncertain == OnUncertain::Drop {
            uncertain.push(found.id);
        } else if let Some(entry) = entry(connection, &found, body.len())? {
            outbox.push(entry, found.due_ms.map(|due| not_after(due, now, SEND_WAIT_MAX)));
        }
    }
    drop(rows);
    for last in [
        "SELECT ticket FROM tickets ORDER BY ticket DESC LIMIT 1",
        "SELECT ticket FROM outbox WHERE ticket IS NOT NULL ORDER BY id DESC LIMIT 1",
    ] {
        let last: Option<i64> = connection.query_row(last, (), |row| row.get(0)).optional()?;
        Ticket(from_column(last.unwrap_or_default())).was_given();
    }
    unfit.iter().try_for_each(|row| quarantine::put_aside(connection, row, Flaw::Checksum, now))?;
    for id in uncertain {
        tracing::warn!(action = id, "an action was perhaps delivered before the host died; it is not tried again");
        outbox::lose(connection, id, "uncertain", now)?;
    }
    Ok(())
}

/// Returns the entry of a row. None where its names are none: the checksum fits, so another host wrote them.
pub(super) fn entry(connection: &Connection, row: &SendRow, bytes: usize) -> rusqlite::Result<Option<Entry>> {
    let moment = |ms: i64| Timestamp::from_millis(from_column(ms));
    let (Ok(bot), Ok(via)) = (row.bot.parse(), row.connector.parse::<ConnectorKey>()) else { return Ok(None) };
    let event = row.event.map(|seq| story::event_id(connection, seq)).transpose()?.flatten();
    Ok(Some(Entry {
        id: from_column(row.id),
        bot,
        via,
        event,
        ticket: row.ticket.map(|ticket| Ticket(from_column(ticket))),
        expires_at: row.expires_ms.map(moment),
        committed_at: moment(row.committed_ms),
        attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
        priority: super::priority(row.priority),
        lane: LaneId { key: LaneKey::from_text(&row.lane), priority: super::priority(row.priority) },
        action: None,
        bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
    }))
}

#[cfg(test)]
mod tests;
