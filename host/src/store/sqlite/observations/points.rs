//! The rows of metrics: appended, read in order, and forgotten by age and by how much there is.

use rusqlite::Connection;

use super::super::checksum::{Checksum, Digest};
use super::super::{from_column, to_column};
use crate::clock::Timestamp;
use crate::store::observations::{Keep, PointsCursor, PointsPage, PointsQuery, PointsRow};

/// Rows that go at once where there are too many bytes.
const PORTION_ROWS: u32 = 128;
/// Portions that one transaction forgets. More may go with the next.
const PORTIONS_MAX: usize = 64;
/// Rows whose moment is further ahead than this are of a clock that was wrong.
const AHEAD_MS: u64 = 86_400_000;

fn checksum(step_seconds: u32, name: &str, at_ms: i64, body: &[u8]) -> i64 {
    let columns = Checksum::of("points").number(i64::from(step_seconds)).text(name).number(at_ms);
    columns.digest(Digest::of(body)).finish()
}

/// Appends rows. One of a step and name that is there already becomes a further part of it.
pub(super) fn append(connection: &Connection, rows: &[PointsRow]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO points(step_s, name, at_ms, part, checksum, body) VALUES (?1, ?2, ?3,
           (SELECT coalesce(max(part) + 1, 0) FROM points WHERE step_s = ?1 AND name = ?2 AND at_ms = ?3), ?4, ?5)",
    )?;
    rows.iter().try_for_each(|row| {
        let at_ms = to_column(row.at.as_millis());
        let checksum = checksum(row.step_seconds, &row.name, at_ms, &row.body);
        statement.execute((row.step_seconds, &row.name, at_ms, checksum, &row.body)).map(drop)
    })
}

/// Forgets what is too old, what is of a moment that has not come, and, while there are more bytes than there may be, the oldest of
/// the finest step.
pub(super) fn forget(connection: &Connection, keep: &[Keep], bytes_max: u64, now: Timestamp) -> rusqlite::Result<()> {
    let ahead = to_column(now.as_millis().saturating_add(AHEAD_MS));
    for Keep { step_seconds, age_max } in keep {
        let age_ms = u64::try_from(age_max.as_millis()).unwrap_or(u64::MAX);
        let oldest = to_column(now.as_millis().saturating_sub(age_ms));
        connection
            .prepare_cached("DELETE FROM points WHERE step_s = ?1 AND at_ms < ?2")?
            .execute((step_seconds, oldest))?;
        connection
            .prepare_cached("DELETE FROM points WHERE step_s = ?1 AND at_ms > ?2")?
            .execute((step_seconds, ahead))?;
    }
    for _ in 0..PORTIONS_MAX {
        if used_bytes(connection)? <= bytes_max {
            break;
        }
        let gone = connection
            .prepare_cached(
                "DELETE FROM points WHERE (step_s, name, at_ms, part) IN (
                   SELECT step_s, name, at_ms, part FROM points
                   WHERE step_s = (SELECT min(step_s) FROM points) ORDER BY at_ms LIMIT ?1)",
            )?
            .execute([PORTION_ROWS])?;
        if gone == 0 {
            break;
        }
    }
    Ok(())
}

/// Returns how many bytes the database has without the pages that are free again.
fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |sql| connection.query_row(sql, (), |row| row.get(0)).map(from_column);
    let (pages, free) = (pragma("PRAGMA page_count")?, pragma("PRAGMA freelist_count")?);
    Ok(pages.saturating_sub(free) * pragma("PRAGMA page_size")?)
}

/// Returns rows, the oldest first, and how many cannot be trusted.
pub(super) fn range(connection: &Connection, query: &PointsQuery) -> rusqlite::Result<(PointsPage, u64)> {
    let mut statement = connection.prepare_cached(
        "SELECT at_ms, part, checksum, body FROM points
         WHERE step_s = ?1 AND name = ?2 AND at_ms >= ?3 AND at_ms < ?4 AND (at_ms, part) > (?5, ?6)
         ORDER BY at_ms, part",
    )?;
    let (after_ms, after_part) = query.after.map_or((-1, -1), |after| (to_column(after.at_ms), after.part));
    let since = to_column(query.since.as_millis()).max(after_ms);
    let until = to_column(query.until.as_millis());
    let mut rows = statement.query((query.step_seconds, &query.name, since, until, after_ms, after_part))?;
    let (mut page, mut unfit, mut bytes) = (PointsPage::default(), 0, 0);
    while let Some(row) = rows.next()? {
        let (at_ms, part): (i64, i64) = (row.get(0)?, row.get(1)?);
        let (stored, body): (i64, Vec<u8>) = (row.get(2)?, row.get(3)?);
        bytes += body.len();
        let at = Timestamp::from_millis(from_column(at_ms));
        if checksum(query.step_seconds, &query.name, at_ms, &body) == stored {
            page.rows.push(PointsRow { step_seconds: query.step_seconds, name: query.name.clone(), at, body });
        } else {
            unfit += 1;
        }
        if bytes >= query.bytes_max {
            page.next = Some(PointsCursor { at_ms: at.as_millis(), part });
            break;
        }
    }
    Ok((page, unfit))
}

/// Returns the names of a step, sorted: one search for each, not a look at every row.
pub(super) fn names(connection: &Connection, step_seconds: u32, limit: u32) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare_cached(
        "WITH RECURSIVE found(name) AS (
           SELECT min(name) FROM points WHERE step_s = ?1
           UNION ALL
           SELECT (SELECT min(name) FROM points WHERE step_s = ?1 AND name > found.name) FROM found
           WHERE found.name IS NOT NULL)
         SELECT name FROM found WHERE name IS NOT NULL LIMIT ?2",
    )?;
    statement.query_map((step_seconds, limit), |row| row.get(0))?.collect()
}
