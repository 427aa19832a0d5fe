//! Who may write what. A row outlives its owner, so that the fence only grows.

use rusqlite::{Connection, OptionalExtension};

use super::{from_column, to_column};
use crate::clock::Timestamp;
use crate::store::StoreError;
use crate::store::engine::Lease;
use crate::store::sqlite::LeaseStep;

/// Takes a lease whoever has it, and returns its fence. For the one that knows that every earlier owner is gone.
pub(super) fn take(connection: &Connection, name: &str, holder: &str, expires_at: Timestamp) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO leases(name, fence, holder, expires_ms) VALUES (?1, 1, ?2, ?3)
         ON CONFLICT DO UPDATE SET fence = fence + 1, holder = excluded.holder, expires_ms = excluded.expires_ms
         RETURNING fence",
    )?;
    let fence: i64 = statement.query_row((name, holder, to_column(expires_at.as_millis())), |row| row.get(0))?;
    Ok(from_column(fence))
}

/// Takes, keeps or gives back a lease. Returns its fence; none where it is another's, or nobody's any more.
pub(super) fn apply(connection: &Connection, step: &LeaseStep) -> rusqlite::Result<Option<u64>> {
    let millis = |moment: Timestamp| to_column(moment.as_millis());
    match step {
        LeaseStep::Acquire { name, holder, expires_at, now } => {
            let mut held = connection.prepare_cached("SELECT 1 FROM leases WHERE name = ?1 AND expires_ms > ?2")?;
            if held.exists((name, millis(*now)))? {
                return Ok(None);
            }
            take(connection, name, holder, *expires_at).map(Some)
        }
        LeaseStep::Renew { name, fence, expires_at, now } => {
            let mut renew = connection.prepare_cached(
                "UPDATE leases SET expires_ms = ?3 WHERE name = ?1 AND fence = ?2 AND expires_ms > ?4",
            )?;
            let renewed = renew.execute((name, to_column(*fence), millis(*expires_at), millis(*now)))?;
            Ok((renewed > 0).then_some(*fence))
        }
        LeaseStep::Release { name, fence } => {
            let mut release =
                connection.prepare_cached("UPDATE leases SET expires_ms = 0 WHERE name = ?1 AND fence = ?2")?;
            Ok((release.execute((name, to_column(*fence)))? > 0).then_some(*fence))
        }
    }
}

/// Returns why what was asked under a lease is refused, if another has it by now.
pub(super) fn refusal(connection: &Connection, lease: &Lease) -> rusqlite::Result<Option<StoreError>> {
    let mut statement = connection.prepare_cached("SELECT fence FROM leases WHERE name = ?1")?;
    let found: Option<i64> = statement.query_one([lease.name.to_string()], |row| row.get(0)).optional()?;
    let current = found.map_or(0, from_column);
    Ok((current > lease.fence.0).then(|| StoreError::fenced(lease, current)))
}
