//! What bots keep. An expired row is an absent one, from the moment it expires until it is swept.

use rusqlite::{Connection, Row};

use super::checksum::{Checksum, Digest};
use super::prepare::PreparedWrite;
use super::quarantine::{self, RowName};
use super::usage::{self, Usage};
use super::{Fault, from_column, to_column};
use crate::clock::Timestamp;
use crate::store::commit::{SumError, sum};
use crate::store::{Committed, Flaw, StateEntry, StateValue};

/// Bytes that one sweep reads: each row is checked before it is thrown away.
const SWEEP_BYTES_MAX: usize = 16 << 20;

/// The columns of a row beside its name.
struct StateRow {
    revision: i64,
    expires_ms: Option<i64>,
    value: Vec<u8>,
}

pub(super) fn checksum(bot: &str, key: &str, revision: i64, expires_ms: Option<i64>, digest: Digest) -> i64 {
    Checksum::of("state").text(bot).text(key).number(revision).optional(expires_ms).digest(digest).finish()
}

fn is_live(expires_ms: Option<i64>, now: Timestamp) -> bool {
    expires_ms.is_none_or(|moment| moment > to_column(now.as_millis()))
}

/// Returns a row, expired or not.
fn row(connection: &Connection, bot: &str, key: &str) -> Result<Option<StateRow>, Fault> {
    let read = |row: &Row<'_>| -> rusqlite::Result<(StateRow, i64)> {
        Ok((StateRow { revision: row.get(0)?, expires_ms: row.get(1)?, value: row.get(3)? }, row.get(2)?))
    };
    let mut statement = connection
        .prepare_cached("SELECT revision, expires_ms, checksum, value FROM state WHERE bot = ?1 AND key = ?2")?;
    let mut rows = statement.query((bot, key))?;
    let Some(found) = rows.next()? else {
        return match quarantine::holds_state(connection, bot, key)? {
            true => Err(Fault::Row(RowName::state(bot, key), Flaw::InQuarantine)),
            false => Ok(None),
        };
    };
    let (row, expected) = read(found).map_err(|_| Fault::Row(RowName::state(bot, key), Flaw::Unreadable))?;
    if checksum(bot, key, row.revision, row.expires_ms, Digest::of(&row.value)) == expected {
        Ok(Some(row))
    } else {
        Err(Fault::Row(RowName::state(bot, key), Flaw::Checksum))
    }
}

/// Returns whether a row is there and cannot be trusted.
pub(super) fn is_unfit(connection: &Connection, bot: &str, key: &str) -> Result<bool, rusqlite::Error> {
    match row(connection, bot, key) {
        Ok(_) | Err(Fault::Row(_, Flaw::InQuarantine)) => Ok(false),
        Err(Fault::Row(..)) => Ok(true),
        Err(Fault::Sql(error)) => Err(error),
    }
}

/// Returns a key's value and revision.
pub(super) fn get(connection: &Connection, bot: &str, key: &str, now: Timestamp) -> Result<Option<StateValue>, Fault> {
    let row = row(connection, bot, key)?.filter(|row| is_live(row.expires_ms, now));
    Ok(row.map(|row| StateValue { value: row.value, revision: from_column(row.revision) }))
}

/// Returns the keys that begin with `prefix`, after `after`, in byte order. Their rows are not checked.
pub(super) fn keys(
    connection: &Connection,
    bot: &str,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
    now: Timestamp,
) -> Result<Vec<String>, Fault> {
    let (sql, from) = match after.filter(|after| *after >= prefix) {
        Some(after) => ("SELECT key, expires_ms FROM state WHERE bot = ?1 AND key > ?2 ORDER BY key", after),
        None => ("SELECT key, expires_ms FROM state WHERE bot = ?1 AND key >= ?2 ORDER BY key", prefix),
    };
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query((bot, from))?;
    let mut keys = Vec::new();
    while keys.len() < limit
        && let Some(row) = rows.next()?
    {
        let name = row.get_ref(0)?.as_bytes().unwrap_or_default();
        if !name.starts_with(prefix.as_bytes()) {
            break;
        }
        let unreadable = || RowName { name: name.into(), ..RowName::state(bot, "") };
        let Ok(key) = std::str::from_utf8(name) else { return Err(Fault::Row(unreadable(), Flaw::Unreadable)) };
        let expires_ms = row.get(1).map_err(|_| Fault::Row(unreadable(), Flaw::Unreadable))?;
        if is_live(expires_ms, now) {
            keys.push(key.to_owned());
        }
    }
    Ok(keys)
}

/// Returns what is kept, without the values, after `after` in byte order. The rows are not checked.
pub(super) fn entries(
    connection: &Connection,
    bot: &str,
    after: Option<&str>,
    limit: usize,
    now: Timestamp,
) -> Result<Vec<StateEntry>, Fault> {
    // The length of a value is known without reading it.
    let mut statement = connection.prepare_cached(
        "SELECT CAST(key AS BLOB), expires_ms, length(value) FROM state WHERE bot = ?1 AND key > ?2 ORDER BY key",
    )?;
    let mut rows = statement.query((bot, after.unwrap_or("")))?;
    let mut entries = Vec::new();
    while entries.len() < limit
        && let Some(row) = rows.next()?
    {
        let key = String::from_utf8_lossy(row.get_ref(0)?.as_bytes().unwrap_or_default()).into_owned();
        // What is no number is no moment: what it says is seen when the row is read as a whole.
        let expires_ms = row.get(1).unwrap_or_default();
        if is_live(expires_ms, now) {
            let bytes = from_column(row.get(2).unwrap_or_default());
            let expires_at = expires_ms.map(|moment| Timestamp::from_millis(from_column(moment)));
            entries.push(StateEntry { key, bytes, expires_at });
        }
    }
    Ok(entries)
}

/// Returns a key's revision without looking at its value.
pub(super) fn revision(connection: &Connection, bot: &str, key: &str, now: Timestamp) -> Result<Option<u64>, Fault> {
    let mut statement =
        connection.prepare_cached("SELECT revision, expires_ms FROM state WHERE bot = ?1 AND key = ?2")?;
    let mut rows = statement.query((bot, key))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let (revision, expires_ms) =
        row.try_into().map_err(|_: rusqlite::Error| Fault::Row(RowName::state(bot, key), Flaw::Unreadable))?;
    Ok(is_live(expires_ms, now).then(|| from_column(revision)))
}

/// The state of one bot in the hands of the writer, for one commit.
pub(super) struct StateWriter<'a> {
    pub(super) connection: &'a Connection,
    pub(super) bot: &'a str,
    pub(super) revision: u64,
    pub(super) now: Timestamp,
}

impl StateWriter<'_> {
    /// Makes one change and keeps `usage` in step. Returns why it cannot be made, if so.
    pub(super) fn apply(&self, write: &PreparedWrite, usage: &mut Usage) -> Result<Option<Committed>, Fault> {
        match write {
            PreparedWrite::Set { key, value, digest, expires_ms } => {
                self.set(key, value, *digest, *expires_ms, usage)?;
            }
            PreparedWrite::Delete { key } => self.delete(key, usage)?,
            PreparedWrite::Add { key, delta } => {
                let row = row(self.connection, self.bot, key)?.filter(|row| is_live(row.expires_ms, self.now));
                let expires_ms = row.as_ref().and_then(|row| row.expires_ms);
                let value = match sum(row.as_ref().map(|row| row.value.as_slice()), *delta) {
                    Ok(sum) => sum.to_string().into_bytes(),
                    Err(SumError::NotANumber) => return Ok(Some(Committed::NotANumber { key: key.clone() })),
                    Err(SumError::TooLarge) => return Ok(Some(Committed::SumTooLarge { key: key.clone() })),
                };
                self.set(key, &value, Digest::of(&value), expires_ms, usage)?;
            }
        }
        Ok(None)
    }

    fn set(
        &self,
        key: &str,
        value: &[u8],
        digest: Digest,
        expires_ms: Option<i64>,
        usage: &mut Usage,
    ) -> Result<(), Fault> {
        if !is_live(expires_ms, self.now) {
            // It would be absent at once, and take room until it is swept.
            return self.delete(key, usage);
        }
        match stored_len(self.connection, self.bot, key)? {
            Some(len) => usage.state_bytes -= len,
            None => quarantine::resolve_state(self.connection, self.bot, key)?,
        }
        usage.state_bytes += (key.len() + value.len()) as i64;
        let revision = to_column(self.revision);
        let checksum = checksum(self.bot, key, revision, expires_ms, digest);
        let mut statement = self.connection.prepare_cached(
            "INSERT OR REPLACE INTO state(bot, key, revision, expires_ms, checksum, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        statement.execute((self.bot, key, revision, expires_ms, checksum, value))?;
        Ok(())
    }

    fn delete(&self, key: &str, usage: &mut Usage) -> Result<(), Fault> {
        match stored_len(self.connection, self.bot, key)? {
            Some(len) => usage.state_bytes -= len,
            None => quarantine::resolve_state(self.connection, self.bot, key)?,
        }
        self.connection.prepare_cached("DELETE FROM state WHERE bot = ?1 AND key = ?2")?.execute((self.bot, key))?;
        Ok(())
    }
}

/// Returns the bytes of a row's key and value.
fn stored_len(connection: &Connection, bot: &str, key: &str) -> Result<Option<i64>, Fault> {
    let mut statement = connection.prepare_cached("SELECT length(value) FROM state WHERE bot = ?1 AND key = ?2")?;
    let mut rows = statement.query((bot, key))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(key.len() as i64 + row.get::<_, i64>(0)?))
}

/// Returns a bot that has expired rows.
pub(super) fn to_sweep(connection: &Connection, now: Timestamp) -> Result<Option<String>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "SELECT bot FROM usage WHERE EXISTS
           (SELECT 1 FROM state WHERE state.bot = usage.bot AND state.expires_ms <= ?1) LIMIT 1",
    )?;
    let mut rows = statement.query([to_column(now.as_millis())])?;
    rows.next()?.map(|row| row.get(0)).transpose()
}

/// Removes up to `rows_max` expired rows of a bot, and no more than [`SWEEP_BYTES_MAX`] allows. Returns how many.
pub(super) fn sweep(connection: &Connection, bot: &str, now: Timestamp, rows_max: u32) -> Result<u32, Fault> {
    let mut statement =
        connection.prepare_cached("SELECT key FROM state WHERE bot = ?1 AND expires_ms <= ?2 LIMIT ?3")?;
    let expired = statement.query_map((bot, to_column(now.as_millis()), rows_max), |row| row.get(0))?;
    let expired: Vec<String> = expired.collect::<Result<_, _>>()?;
    let (mut removed, mut bytes) = (0, 0);
    for key in expired {
        if bytes > SWEEP_BYTES_MAX {
            break;
        }
        match row(connection, bot, &key) {
            Ok(row) => {
                bytes += row.map_or(0, |row| row.value.len());
                let mut usage = usage::load(connection, bot)?;
                StateWriter { connection, bot, revision: 0, now }.delete(&key, &mut usage)?;
                usage::save(connection, bot, usage)?;
            }
            // That it has expired may be what is wrong with it.
            Err(Fault::Row(name, flaw)) => quarantine::put_aside(connection, &name, flaw, now)?,
            Err(error) => return Err(error),
        }
        removed += 1;
    }
    Ok(removed)
}
