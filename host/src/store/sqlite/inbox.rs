//! Events and what each bot has to do with them: the rows behind the queue, in the hands of the writer.

use std::time::Duration;

use rusqlite::{Connection, Row};

use super::checksum::{Checksum, Digest};
use super::to_column;
use crate::action::Priority;
use crate::clock::Timestamp;
use crate::event::LaneKey;
use crate::store::history::AttemptRecord;

/// Where a bot is with an event, as it is stored.
pub(super) mod state {
    pub(in crate::store::sqlite) const WAITING: i64 = 0;
    pub(in crate::store::sqlite) const DONE: i64 = 1;
    pub(in crate::store::sqlite) const DEAD: i64 = 2;
    pub(in crate::store::sqlite) const UNWANTED: i64 = 3;
}

/// An event on its way to the disk: checked and hashed by whoever brings it.
#[derive(Debug)]
pub(in crate::store) struct PreparedEvent {
    pub(in crate::store) id: [u8; 16],
    pub(in crate::store) origin: Option<String>,
    pub(in crate::store) platform_id: Option<String>,
    pub(in crate::store) received_ms: i64,
    pub(in crate::store) body: Vec<u8>,
    pub(in crate::store) lane: LaneKey,
}

/// The columns of an event beside its place and its body.
pub(super) struct EventColumns<'a> {
    pub(super) id: &'a [u8],
    pub(super) origin: Option<&'a str>,
    pub(super) platform_id: Option<&'a str>,
    pub(super) received_ms: i64,
}

impl EventColumns<'_> {
    pub(super) fn checksum(&self, seq: i64, body: Digest) -> i64 {
        Checksum::of("events")
            .number(seq)
            .digest(Digest::of(self.id))
            .text_or_none(self.origin)
            .text_or_none(self.platform_id)
            .number(self.received_ms)
            .digest(body)
            .finish()
    }
}

/// One bot's row of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QueueRow {
    pub(super) event: i64,
    pub(super) bot: String,
    pub(super) lane: String,
    pub(super) priority: i64,
    pub(super) bytes: i64,
    pub(super) state: i64,
    pub(super) attempts: i64,
    pub(super) due_ms: Option<i64>,
    pub(super) ended_ms: Option<i64>,
    pub(super) elapsed_us: Option<i64>,
    pub(super) fuel: Option<i64>,
}

impl QueueRow {
    fn checksum(&self) -> i64 {
        Checksum::of("queue")
            .number(self.event)
            .text(&self.bot)
            .text(&self.lane)
            .number(self.priority)
            .number(self.bytes)
            .number(self.state)
            .number(self.attempts)
            .optional(self.due_ms)
            .optional(self.ended_ms)
            .optional(self.elapsed_us)
            .optional(self.fuel)
            .finish()
    }

    /// Reads a row: its columns in the order of this type's fields, then the checksum. None: it cannot be trusted.
    pub(super) fn read(row: &Row<'_>) -> Option<Self> {
        let read = || -> rusqlite::Result<(Self, i64)> {
            let found = Self {
                event: row.get(0)?,
                bot: row.get(1)?,
                lane: row.get(2)?,
                priority: row.get(3)?,
                bytes: row.get(4)?,
                state: row.get(5)?,
                attempts: row.get(6)?,
                due_ms: row.get(7)?,
                ended_ms: row.get(8)?,
                elapsed_us: row.get(9)?,
                fuel: row.get(10)?,
            };
            Ok((found, row.get(11)?))
        };
        read().ok().filter(|(found, checksum)| found.checksum() == *checksum).map(|(found, _)| found)
    }

    fn insert(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(
            "INSERT INTO queue(event, bot, lane, priority, bytes, state, attempts, due_ms, ended_ms, elapsed_us, fuel, checksum)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?;
        let Self { event, bot, lane, priority, bytes, state, attempts, due_ms, ended_ms, elapsed_us, fuel } = self;
        let checksum = self.checksum();
        let columns = rusqlite::params![
            event, bot, lane, priority, bytes, state, attempts, due_ms, ended_ms, elapsed_us, fuel, checksum
        ];
        statement.execute(columns).map(drop)
    }

    fn update(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(
            "UPDATE queue SET state = ?3, attempts = ?4, due_ms = ?5, ended_ms = ?6, elapsed_us = ?7, fuel = ?8, checksum = ?9
             WHERE event = ?1 AND bot = ?2",
        )?;
        let Self { event, bot, state, attempts, due_ms, ended_ms, elapsed_us, fuel, .. } = self;
        let columns =
            rusqlite::params![event, bot, state, attempts, due_ms, ended_ms, elapsed_us, fuel, self.checksum()];
        statement.execute(columns).map(drop)
    }
}

/// Writes an event at its place.
pub(super) fn insert_event(
    connection: &Connection,
    seq: i64,
    event: &PreparedEvent,
    body: Digest,
) -> rusqlite::Result<()> {
    let columns = EventColumns {
        id: &event.id,
        origin: event.origin.as_deref(),
        platform_id: event.platform_id.as_deref(),
        received_ms: event.received_ms,
    };
    let checksum = columns.checksum(seq, body);
    let mut statement = connection.prepare_cached(
        "INSERT INTO events(seq, id, origin, platform_id, received_ms, checksum, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let (id, origin, platform_id) = (&event.id[..], &event.origin, &event.platform_id);
    statement.execute((seq, id, origin, platform_id, event.received_ms, checksum, &event.body)).map(drop)
}

/// Writes that a bot is to handle an event, or that it is a dead letter from the start.
pub(super) fn insert_row(
    connection: &Connection,
    (seq, bot): (i64, &str),
    (lane, priority): (&LaneKey, Priority),
    bytes: u32,
    dead_since: Option<Timestamp>,
) -> rusqlite::Result<()> {
    let row = QueueRow {
        event: seq,
        bot: bot.to_owned(),
        lane: lane.as_str().to_owned(),
        priority: priority as i64,
        bytes: i64::from(bytes),
        state: if dead_since.is_some() { state::DEAD } else { state::WAITING },
        attempts: 0,
        due_ms: None,
        ended_ms: dead_since.map(|moment| to_column(moment.as_millis())),
        elapsed_us: None,
        fuel: None,
    };
    row.insert(connection)
}

/// Returns one bot's row of an event. `Some(None)`: it cannot be trusted.
pub(super) fn row(connection: &Connection, seq: i64, bot: &str) -> rusqlite::Result<Option<Option<QueueRow>>> {
    let mut statement = connection.prepare_cached(QUEUE_ROW)?;
    let mut rows = statement.query((seq, bot))?;
    Ok(rows.next()?.map(QueueRow::read))
}

const QUEUE_ROW: &str =
    "SELECT event, bot, lane, priority, bytes, state, attempts, due_ms, ended_ms, elapsed_us, fuel, checksum
     FROM queue WHERE event = ?1 AND bot = ?2";

/// Changes one bot's row of an event, if it is there, can be trusted and is in one of the states `from`. Returns the row as it is
/// then.
pub(super) fn change(
    connection: &Connection,
    (seq, bot): (i64, &str),
    from: &[i64],
    change: impl FnOnce(&mut QueueRow),
) -> rusqlite::Result<Option<QueueRow>> {
    match row(connection, seq, bot)? {
        Some(Some(row)) => change_row(connection, row, from, change),
        Some(None) | None => Ok(None),
    }
}

/// Changes a row that was read in this transaction, as [`change`] does.
pub(super) fn change_row(
    connection: &Connection,
    mut row: QueueRow,
    from: &[i64],
    change: impl FnOnce(&mut QueueRow),
) -> rusqlite::Result<Option<QueueRow>> {
    if !from.contains(&row.state) {
        return Ok(None);
    }
    change(&mut row);
    row.update(connection)?;
    Ok(Some(row))
}

/// Notes an attempt that did not go well.
pub(super) fn insert_attempt(
    connection: &Connection,
    (seq, bot): (i64, &str),
    record: &AttemptRecord,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO attempts(event, bot, attempt, at_ms, elapsed_us, fuel, outcome, message, backtrace)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    let AttemptRecord { attempt, at, elapsed, fuel, outcome, message, backtrace } = record;
    let (at, elapsed, fuel) = (to_column(at.as_millis()), micros(*elapsed), to_column(*fuel));
    statement.execute(rusqlite::params![seq, bot, attempt, at, elapsed, fuel, outcome, message, backtrace]).map(drop)
}

/// Forgets the attempts at an event, before it is tried anew or when it goes.
pub(super) fn delete_attempts(connection: &Connection, seq: i64, bot: &str) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("DELETE FROM attempts WHERE event = ?1 AND bot = ?2")?;
    statement.execute((seq, bot)).map(drop)
}

pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Says why an event is a dead letter that nobody has tried.
pub(super) fn dead_without_attempt(outcome: &str, message: &str, now: Timestamp) -> AttemptRecord {
    AttemptRecord {
        attempt: 0,
        at: now,
        elapsed: Duration::ZERO,
        fuel: 0,
        outcome: outcome.to_owned(),
        message: message.to_owned(),
        backtrace: String::new(),
    }
}
