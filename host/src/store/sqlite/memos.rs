//! What connectors keep for themselves.

use rusqlite::{Connection, OptionalExtension};

use super::checksum::Checksum;
use super::to_column;
use crate::clock::Timestamp;
use crate::grants::ConnectorKey;
use crate::store::memos::{MEMOS_MAX, Memo};

/// Writes between two looks at whether there are too many.
const EVICT_EVERY: i64 = 64;

/// Writes one, or replaces it, and forgets what has expired and what is too much by it: of those that expire the oldest, so that many
/// of them never push out what is written once.
pub(super) fn put(
    connection: &Connection,
    key: &ConnectorKey,
    name: &str,
    memo: &Memo,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let connector = key.to_string();
    let expires_ms = memo.expires_at.map(|at| to_column(at.as_millis()));
    let checksum = checksum(&connector, name, expires_ms, &memo.value);
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO memos(connector, name, expires_ms, checksum, value) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute((&connector, name, expires_ms, checksum, &memo.value))?;
    connection
        .prepare_cached("DELETE FROM memos WHERE connector = ?1 AND expires_ms <= ?2")?
        .execute((&connector, to_column(now.as_millis())))?;
    // Not each time: it looks at all of them.
    if connection.last_insert_rowid() % EVICT_EVERY != 0 {
        return Ok(());
    }
    connection
        .prepare_cached(
            "DELETE FROM memos WHERE id IN (SELECT id FROM memos WHERE connector = ?1 \
             ORDER BY expires_ms IS NULL DESC, id DESC LIMIT -1 OFFSET ?2)",
        )?
        .execute((&connector, MEMOS_MAX))
        .map(drop)
}

/// Forgets one.
pub(super) fn forget(connection: &Connection, key: &ConnectorKey, name: &str) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("DELETE FROM memos WHERE connector = ?1 AND name = ?2")?;
    statement.execute((key.to_string(), name)).map(drop)
}

/// Forgets all of a connector.
pub(super) fn forget_all(connection: &Connection, key: &ConnectorKey) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM memos WHERE connector = ?1")?.execute([key.to_string()]).map(drop)
}

/// Returns one that has not expired. One that is not what was written is as good as none: each can be had from its platform anew.
pub(super) fn get(
    connection: &Connection,
    key: &ConnectorKey,
    name: &str,
    now: Timestamp,
) -> rusqlite::Result<Option<String>> {
    let connector = key.to_string();
    let mut statement = connection.prepare_cached(
        "SELECT expires_ms, checksum, value FROM memos \
         WHERE connector = ?1 AND name = ?2 AND (expires_ms IS NULL OR expires_ms > ?3)",
    )?;
    let row: Option<(Option<i64>, i64, String)> = statement
        .query_row((&connector, name, to_column(now.as_millis())), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let is_fit = |expires_ms, found, value: &str| checksum(&connector, name, expires_ms, value) == found;
    Ok(row.and_then(|(expires_ms, found, value)| {
        if is_fit(expires_ms, found, &value) {
            return Some(value);
        }
        tracing::error!(%connector, name, "what the connector kept is not what was written; it is asked for anew");
        None
    }))
}

fn checksum(connector: &str, name: &str, expires_ms: Option<i64>, value: &str) -> i64 {
    Checksum::of("memos").text(connector).text(name).optional(expires_ms).text(value).finish()
}
