//! What each bot has: one row a bot, kept in step by whoever writes its state and timers.

use rusqlite::{Connection, OptionalExtension};

use super::checksum::Checksum;

/// Bytes and timers of one bot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Usage {
    /// Of all keys and values, swept or not.
    pub(super) state_bytes: i64,
    pub(super) timers: i64,
}

impl Usage {
    fn checksum(self, bot: &str) -> i64 {
        Checksum::of("usage").text(bot).number(self.state_bytes).number(self.timers).finish()
    }
}

/// Returns what a bot has. A row that cannot be trusted is counted anew: unlike a bot's own data it can be.
pub(super) fn load(connection: &Connection, bot: &str) -> Result<Usage, rusqlite::Error> {
    let mut statement = connection.prepare_cached("SELECT state_bytes, timers, checksum FROM usage WHERE bot = ?1")?;
    let found = statement
        .query_one([bot], |row| Ok((Usage { state_bytes: row.get(0)?, timers: row.get(1)? }, row.get::<_, i64>(2)?)))
        .optional()?;
    match found {
        None => Ok(Usage::default()),
        Some((usage, checksum)) if checksum == usage.checksum(bot) => Ok(usage),
        Some(_) => {
            tracing::error!(bot, "the record of what a bot has stored cannot be trusted; it is counted anew");
            recount(connection, bot)
        }
    }
}

/// Writes what a bot has; a bot that has nothing has no row.
pub(super) fn save(connection: &Connection, bot: &str, usage: Usage) -> Result<(), rusqlite::Error> {
    if usage == Usage::default() {
        return connection.prepare_cached("DELETE FROM usage WHERE bot = ?1")?.execute([bot]).map(drop);
    }
    let mut statement = connection
        .prepare_cached("INSERT OR REPLACE INTO usage(bot, state_bytes, timers, checksum) VALUES (?1, ?2, ?3, ?4)")?;
    statement.execute((bot, usage.state_bytes, usage.timers, usage.checksum(bot))).map(drop)
}

/// Counts what a bot has, row by row, and writes it.
pub(super) fn recount(connection: &Connection, bot: &str) -> Result<Usage, rusqlite::Error> {
    let state_bytes = connection.query_one(
        "SELECT coalesce(sum(length(CAST(key AS BLOB)) + length(value)), 0) FROM state WHERE bot = ?1",
        [bot],
        |row| row.get(0),
    )?;
    let timers = connection.query_one("SELECT count(*) FROM timers WHERE bot = ?1", [bot], |row| row.get(0))?;
    let usage = Usage { state_bytes, timers };
    save(connection, bot, usage)?;
    Ok(usage)
}
