//! The counter that revisions of state and serials of timers are drawn from. It only grows.

use rusqlite::{Connection, OptionalExtension};

use super::checksum::Checksum;
use super::{from_column, to_column};

/// Returns the last revision that was given out.
pub(super) fn load(connection: &Connection) -> Result<u64, rusqlite::Error> {
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let found: Option<(i64, i64)> =
        connection.query_one("SELECT revision, checksum FROM counter", (), read).optional()?;
    match found {
        None => Ok(0),
        Some((revision, found)) if found == checksum(revision) => Ok(from_column(revision)),
        Some(_) => {
            tracing::error!("the revision counter cannot be trusted; it goes on far above all revisions in use");
            let largest: Option<i64> = connection.query_one(
                // A bit may have flipped in one of these as well, so that none too high is believed.
                "SELECT max(revision) FROM (SELECT revision FROM state UNION ALL SELECT serial FROM timers)
                 WHERE revision < ?1",
                [1_i64 << 60],
                |row| row.get(0),
            )?;
            // Keys that are deleted by now may have had higher ones.
            Ok(from_column(largest.unwrap_or(0)).saturating_add(1 << 40))
        }
    }
}

/// Writes the last revision that was given out.
pub(super) fn save(connection: &Connection, revision: u64) -> Result<(), rusqlite::Error> {
    let revision = to_column(revision);
    let mut statement =
        connection.prepare_cached("INSERT OR REPLACE INTO counter(id, revision, checksum) VALUES (1, ?1, ?2)")?;
    statement.execute((revision, checksum(revision))).map(drop)
}

fn checksum(revision: i64) -> i64 {
    Checksum::of("counter").number(revision).finish()
}
