//! Timers: what is due when. Each has a serial, new whenever it is set or has fired, by which a late report of a firing is
//! told from the timer that replaced it.

use rusqlite::{Connection, OptionalExtension, Row};

use super::checksum::Digest;
use super::prepare::{PreparedTimer, TimerRow, Turn, decode};
use super::quarantine::RowName;
use super::usage::Usage;
use super::{Fault, from_column, to_column};
use crate::clock::Timestamp;
use crate::id::BotName;
use crate::store::{DueTimer, Flaw, TimerFired};

/// Returns the names of a bot's timers, sorted.
pub(super) fn names(connection: &Connection, bot: &str) -> Result<Vec<String>, Fault> {
    let mut statement = connection.prepare_cached("SELECT name FROM timers WHERE bot = ?1 ORDER BY name")?;
    let mut rows = statement.query([bot])?;
    let mut names = Vec::new();
    while let Some(row) = rows.next()? {
        let name = row.get_ref(0)?.as_bytes().unwrap_or_default();
        match std::str::from_utf8(name) {
            Ok(name) => names.push(name.to_owned()),
            Err(_) => {
                return Err(Fault::Row(RowName { name: name.into(), ..RowName::timer(bot, "") }, Flaw::Unreadable));
            }
        }
    }
    Ok(names)
}

/// Timers that are due, and the rows among them that cannot be trusted.
#[derive(Debug, Default)]
pub(in crate::store) struct DueRows {
    pub(in crate::store) timers: Vec<DueTimer>,
    pub(in crate::store) unfit: Vec<(RowName, Flaw)>,
}

/// Returns whether a row is there and cannot be trusted.
pub(super) fn is_unfit(connection: &Connection, bot: &str, name: &str) -> Result<bool, rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "SELECT bot, name, serial, set_ms, due_ms, checksum, schedule, payload FROM timers
         WHERE bot = ?1 AND name = ?2",
    )?;
    let mut rows = statement.query((bot, name))?;
    Ok(rows.next()?.is_some_and(|row| read(row).is_err()))
}

/// Returns up to `limit` timers that are due, the longest due first; `except` is a JSON array of bots that are left out.
pub(super) fn due(connection: &Connection, now: Timestamp, limit: u32, except: &str) -> Result<DueRows, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT bot, name, serial, set_ms, due_ms, checksum, schedule, payload FROM timers
         WHERE due_ms <= ?1 AND bot NOT IN (SELECT value FROM json_each(?2)) ORDER BY due_ms LIMIT ?3",
    )?;
    let mut rows = statement.query((to_column(now.as_millis()), except, limit))?;
    let mut due = DueRows::default();
    while let Some(row) = rows.next()? {
        match read(row) {
            Ok(timer) => due.timers.push(timer),
            Err(flaw) => {
                let bytes =
                    |column| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_bytes().unwrap_or_default().into());
                due.unfit.push((RowName { bot: bytes(0)?, name: bytes(1)?, ..RowName::timer("", "") }, flaw));
            }
        }
    }
    Ok(due)
}

pub(super) fn read(row: &Row<'_>) -> Result<DueTimer, Flaw> {
    let unreadable = |_: rusqlite::Error| Flaw::Unreadable;
    let (bot, name): (String, String) = (row.get(0).map_err(unreadable)?, row.get(1).map_err(unreadable)?);
    let serial: i64 = row.get(2).map_err(unreadable)?;
    let payload: Vec<u8> = row.get(7).map_err(unreadable)?;
    let columns = TimerRow {
        set_ms: row.get(3).map_err(unreadable)?,
        due_ms: row.get(4).map_err(unreadable)?,
        schedule: row.get(6).map_err(unreadable)?,
        payload_digest: Digest::of(&payload),
    };
    if row.get::<_, i64>(5).map_err(unreadable)? != columns.checksum(&bot, &name, serial) {
        return Err(Flaw::Checksum);
    }
    Ok(DueTimer {
        bot: bot.parse().map_err(|_| Flaw::Unreadable)?,
        name,
        payload,
        due_at: Timestamp::from_millis(from_column(columns.due_ms)),
        serial: from_column(serial),
        schedule: decode(&columns.schedule).ok_or(Flaw::Unreadable)?,
        set_at: Timestamp::from_millis(from_column(columns.set_ms)),
    })
}

/// Returns when the next timer is due; `except` as in [`due`].
pub(super) fn next_due(connection: &Connection, except: &str) -> Result<Option<Timestamp>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT due_ms FROM timers WHERE bot NOT IN (SELECT value FROM json_each(?1)) ORDER BY due_ms LIMIT 1",
    )?;
    let due_ms = statement.query_one([except], |row| row.get(0)).optional()?;
    Ok(due_ms.map(|due_ms| Timestamp::from_millis(from_column(due_ms))))
}

/// Sets or cancels a timer and keeps `usage` in step.
pub(super) fn apply(
    connection: &Connection,
    bot: &str,
    change: &PreparedTimer,
    serial: u64,
    usage: &mut Usage,
) -> Result<(), Fault> {
    match change {
        PreparedTimer::Set { name, row, payload } => {
            if self::serial(connection, bot, name)?.is_none() {
                usage.timers += 1;
            }
            let serial = to_column(serial);
            let mut statement = connection.prepare_cached(
                "INSERT OR REPLACE INTO timers(bot, name, serial, set_ms, due_ms, checksum, schedule, payload)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?;
            let checksum = row.checksum(bot, name, serial);
            statement.execute((bot, name, serial, row.set_ms, row.due_ms, checksum, &row.schedule, payload))?;
        }
        PreparedTimer::Cancel { name } => usage.timers -= delete(connection, bot, name)?,
    }
    Ok(())
}

fn serial(connection: &Connection, bot: &str, name: &str) -> Result<Option<i64>, rusqlite::Error> {
    let mut statement = connection.prepare_cached("SELECT serial FROM timers WHERE bot = ?1 AND name = ?2")?;
    statement.query_one((bot, name), |row| row.get(0)).optional()
}

fn delete(connection: &Connection, bot: &str, name: &str) -> Result<i64, rusqlite::Error> {
    let mut statement = connection.prepare_cached("DELETE FROM timers WHERE bot = ?1 AND name = ?2")?;
    Ok(statement.execute((bot, name))? as i64)
}

/// Moves a timer on after it has fired, unless it is another one by now.
pub(super) fn fired(
    connection: &Connection,
    (bot, name, serial): (&BotName, &str, u64),
    turn: &Turn,
    new_serial: u64,
    usage: &mut Usage,
) -> Result<TimerFired, Fault> {
    let bot = bot.as_str();
    if self::serial(connection, bot, name)? != Some(to_column(serial)) {
        return Ok(TimerFired::Replaced);
    }
    let row = match turn {
        Turn::Gone => {
            usage.timers -= delete(connection, bot, name)?;
            return Ok(TimerFired::Finished);
        }
        Turn::Again(row) => row,
        Turn::Never => return Err(Fault::Row(RowName::timer(bot, name), Flaw::NeverDue)),
    };
    let serial = to_column(new_serial);
    let mut statement = connection
        .prepare_cached("UPDATE timers SET serial = ?3, due_ms = ?4, checksum = ?5 WHERE bot = ?1 AND name = ?2")?;
    statement.execute((bot, name, serial, row.due_ms, row.checksum(bot, name, serial)))?;
    Ok(TimerFired::DueAgain(Timestamp::from_millis(from_column(row.due_ms))))
}
