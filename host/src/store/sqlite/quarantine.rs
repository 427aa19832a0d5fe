//! Rows that cannot be trusted: moved out of the way as they are, never shown to a bot.

use rusqlite::Connection;

use super::{state, timer, to_column, usage};
use crate::clock::Timestamp;
use crate::store::{Flaw, RecordKind};

/// More is left where it is: each read finds it there again and is refused again.
const ROWS_MAX: i64 = 1_000;

/// Where a row is. Bytes rather than text, because the name itself may be what is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct RowName {
    pub(in crate::store) kind: RecordKind,
    pub(in crate::store) bot: Vec<u8>,
    pub(in crate::store) name: Vec<u8>,
}

impl RowName {
    pub(super) fn state(bot: &str, key: &str) -> Self {
        Self { kind: RecordKind::State, bot: bot.into(), name: key.into() }
    }

    pub(super) fn timer(bot: &str, name: &str) -> Self {
        Self { kind: RecordKind::Timer, bot: bot.into(), name: name.into() }
    }

    /// An event's name is its number, and it is no bot's.
    pub(super) fn event(seq: i64) -> Self {
        Self { kind: RecordKind::Event, bot: Vec::new(), name: seq.to_string().into() }
    }

    pub(super) fn queued(bot: Vec<u8>, event: i64) -> Self {
        Self { kind: RecordKind::Queued, bot, name: event.to_string().into() }
    }

    pub(super) fn send(id: i64) -> Self {
        Self { kind: RecordKind::Action, bot: Vec::new(), name: id.to_string().into() }
    }

    pub(super) fn incident(id: i64) -> Self {
        Self { kind: RecordKind::Incident, bot: Vec::new(), name: id.to_string().into() }
    }

    pub(super) fn condemned(id: i64) -> Self {
        Self { kind: RecordKind::Condemned, bot: Vec::new(), name: id.to_string().into() }
    }
}

/// Returns how many rows are there.
pub(super) fn count(connection: &Connection) -> Result<u64, rusqlite::Error> {
    let mut count = connection.prepare_cached("SELECT count(*) FROM quarantine")?;
    count.query_row((), |row| row.get(0)).map(super::from_column)
}

/// Puts a row aside that a reader has found, unless it was written or deleted since.
pub(super) fn put_aside_if_unfit(
    connection: &Connection,
    row: &RowName,
    flaw: Flaw,
    now: Timestamp,
) -> Result<(), rusqlite::Error> {
    let is_unfit = match (std::str::from_utf8(&row.bot), std::str::from_utf8(&row.name), row.kind) {
        (Ok(bot), Ok(key), RecordKind::State) => state::is_unfit(connection, bot, key)?,
        (Ok(bot), Ok(name), RecordKind::Timer) => timer::is_unfit(connection, bot, name)?,
        // Nobody writes these twice but the writer, who checks them.
        (_, _, RecordKind::Event | RecordKind::Queued | RecordKind::Action) => true,
        // Written once, under a number of their own.
        (_, _, RecordKind::Incident | RecordKind::Condemned) => true,
        // No bot can have written such a name.
        _ => true,
    };
    if is_unfit { put_aside(connection, row, flaw, now) } else { Ok(()) }
}

/// Moves a row into the quarantine and logs it.
pub(super) fn put_aside(
    connection: &Connection,
    row: &RowName,
    flaw: Flaw,
    now: Timestamp,
) -> Result<(), rusqlite::Error> {
    let (bot, name) = (String::from_utf8_lossy(&row.bot), String::from_utf8_lossy(&row.name));
    let full = connection.query_one("SELECT count(*) >= ?1 FROM quarantine", [ROWS_MAX], |row| row.get(0))?;
    tracing::error!(record = %row.kind, %bot, ?name, %flaw, left_in_place = full, "a stored row cannot be trusted");
    if full {
        return Ok(());
    }
    let (copy, delete) = match row.kind {
        RecordKind::State => (COPY_STATE, "DELETE FROM state WHERE bot = CAST(?1 AS TEXT) AND key = CAST(?2 AS TEXT)"),
        RecordKind::Timer => {
            (COPY_TIMER, "DELETE FROM timers WHERE bot = CAST(?1 AS TEXT) AND name = CAST(?2 AS TEXT)")
        }
        RecordKind::Event => (COPY_EVENT, "DELETE FROM events WHERE seq = CAST(?2 AS TEXT) AND ?1 IS NOT NULL"),
        RecordKind::Queued => {
            (COPY_QUEUED, "DELETE FROM queue WHERE bot = CAST(?1 AS TEXT) AND event = CAST(?2 AS TEXT)")
        }
        RecordKind::Action => (COPY_ACTION, "DELETE FROM outbox WHERE id = CAST(?2 AS TEXT) AND ?1 IS NOT NULL"),
        RecordKind::Incident => (COPY_INCIDENT, "DELETE FROM incidents WHERE id = CAST(?2 AS TEXT) AND ?1 IS NOT NULL"),
        RecordKind::Condemned => {
            (COPY_CONDEMNED, "DELETE FROM condemned WHERE id = CAST(?2 AS TEXT) AND ?1 IS NOT NULL")
        }
    };
    connection.execute(copy, (&row.bot, &row.name, flaw.to_string(), to_column(now.as_millis())))?;
    connection.execute(delete, (&row.bot, &row.name))?;
    // What the row says of its own size cannot be trusted either.
    if matches!(row.kind, RecordKind::State | RecordKind::Timer)
        && let Ok(bot) = std::str::from_utf8(&row.bot)
    {
        usage::recount(connection, bot)?;
    }
    Ok(())
}

const COPY_STATE: &str = "
INSERT INTO quarantine(source, bot, name, flaw, found_ms, columns, body)
SELECT 'state', bot, key, ?3, ?4,
       json_object('revision', revision, 'expires_ms', expires_ms, 'checksum', checksum), value
FROM state WHERE bot = CAST(?1 AS TEXT) AND key = CAST(?2 AS TEXT)";

const COPY_TIMER: &str = "
INSERT INTO quarantine(source, bot, name, flaw, found_ms, columns, body)
SELECT 'timers', bot, name, ?3, ?4,
       json_object('serial', serial, 'set_ms', set_ms, 'due_ms', due_ms, 'checksum', checksum, 'schedule', schedule),
       payload
FROM timers WHERE bot = CAST(?1 AS TEXT) AND name = CAST(?2 AS TEXT)";

const COPY_EVENT: &str = "
INSERT INTO quarantine(source, bot, name, flaw, found_ms, columns, body)
SELECT 'events', CAST(?1 AS TEXT), CAST(seq AS TEXT), ?3, ?4,
       json_object('id', hex(id), 'origin', origin, 'platform_id', platform_id, 'received_ms', received_ms, 'checksum', checksum),
       body
FROM events WHERE seq = CAST(?2 AS TEXT)";

const COPY_QUEUED: &str = "
INSERT INTO quarantine(source, bot, name, flaw, found_ms, columns, body)
SELECT 'queue', bot, event, ?3, ?4,
       json_object('lane', lane, 'priority', priority, 'state', state, 'attempts', attempts, 'due_ms', due_ms,
                   'ended_ms', ended_ms, 'checksum', checksum),
       NULL
FROM queue WHERE bot = CAST(?1 AS TEXT) AND event = CAST(?2 AS TEXT)";

const COPY_ACTION: &str = "
INSERT INTO quarantine(source, bot, name, flaw, found_ms, columns, body)
SELECT 'outbox', CAST(?1 AS TEXT), id, ?3, ?4,
       json_object('event', event, 'bot', bot, 'n', n, 'connector', connector, 'state', state, 'checksum', checksum), body
FROM outbox WHERE id = CAST(?2 AS TEXT)";

const COPY_INCIDENT: &str = "
INSERT INTO quarantine(source, bot, name, flaw, found_ms, columns, body)
SELECT 'incidents', CAST(?1 AS TEXT), CAST(id AS TEXT), ?3, ?4,
       json_object('at_ms', at_ms, 'bot', bot, 'is_fault', is_fault, 'kind', kind, 'event', hex(event), 'attempt', attempt,
                   'component', hex(component), 'strategy', strategy, 'checksum', checksum, 'backtrace', backtrace),
       message
FROM incidents WHERE id = CAST(?2 AS TEXT)";

const COPY_CONDEMNED: &str = "
INSERT INTO quarantine(source, bot, name, flaw, found_ms, columns, body)
SELECT 'condemned', CAST(?1 AS TEXT), CAST(id AS TEXT), ?3, ?4,
       json_object('at_ms', at_ms, 'bot', bot, 'component', hex(component), 'checksum', checksum), reason
FROM condemned WHERE id = CAST(?2 AS TEXT)";

/// Returns whether a key of the state that is absent is so because it was put aside.
pub(super) fn holds_state(connection: &Connection, bot: &str, key: &str) -> Result<bool, rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "SELECT 1 FROM quarantine WHERE source = 'state' AND bot = ?1 AND name = ?2 AND resolved = 0",
    )?;
    statement.exists((bot, key))
}

/// Notes that a bot has written or deleted a key, so that what it lost no longer stands in its way. The row stays for the
/// operator.
pub(super) fn resolve_state(connection: &Connection, bot: &str, key: &str) -> Result<(), rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "UPDATE quarantine SET resolved = 1 WHERE source = 'state' AND bot = ?1 AND name = ?2 AND resolved = 0",
    )?;
    statement.execute((bot, key)).map(drop)
}
