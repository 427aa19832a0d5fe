//! The look through a file that would hold up a start: on a thread and a connection of its own, table by table, since what reads for
//! long keeps the log from being copied back. It finds what no read would: rows that are not where they should be.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use rusqlite::{Connection, ErrorCode};
use tokio_util::sync::CancellationToken;

use super::{LastEnd, sql_error};
use crate::store::StoreError;
use crate::store::health::Pulse;

/// Steps of SQLite's machine between two looks at whether the store is being closed.
const STEPS: i32 = 100_000;

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Depth {
    /// Whether each page is one.
    Pages,
    /// And whether each row is in each index.
    Indexes,
}

impl Depth {
    /// Returns what a file is worth that was opened: all of it at each start where that takes seconds, else what a crash may have
    /// done.
    pub(in crate::store) fn of(is_large: bool, last_end: LastEnd) -> Option<Self> {
        match (is_large, last_end) {
            (false, _) => Some(Self::Indexes),
            (true, LastEnd::Crash) => Some(Self::Pages),
            (true, LastEnd::Clean) => None,
        }
    }
}

/// Starts the look. Its thread ends with it, or soon after `closing` is cancelled.
pub(in crate::store) fn spawn_check(
    path: Arc<Path>,
    depth: Depth,
    closing: CancellationToken,
    pulse: Pulse,
) -> Result<JoinHandle<()>, StoreError> {
    super::spawn_thread("store-check", move |_| match look_through(&path, depth, &closing, &pulse) {
        Ok(None) => tracing::debug!(?depth, "the database was looked through, and is as it was written"),
        Ok(Some(report)) => pulse.damaged(&report),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {}
        Err(error) => match sql_error(&path, error) {
            StoreError::Damaged { report, .. } => pulse.damaged(&report),
            error => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the database could not be looked through");
            }
        },
    })
}

/// Returns what is wrong with the file; nothing where nothing is.
fn look_through(
    path: &Path,
    depth: Depth,
    closing: &CancellationToken,
    pulse: &Pulse,
) -> rusqlite::Result<Option<String>> {
    let mut connection = super::connect(path, 4 << 10)?;
    connection.pragma_update(None, "query_only", true)?;
    let closing = closing.clone();
    connection.progress_handler(STEPS, Some(move || closing.is_cancelled()))?;
    let found = look_at_tables(&connection, depth);
    if pulse.is_displaced() {
        super::vigil::keep_off(&connection);
    }
    found
}

fn look_at_tables(connection: &Connection, depth: Depth) -> rusqlite::Result<Option<String>> {
    let check = match depth {
        Depth::Pages => "quick_check",
        Depth::Indexes => "integrity_check",
    };
    for table in tables(connection)? {
        let report: String = connection.query_row(&format!("PRAGMA {check}('{table}')"), (), |row| row.get(0))?;
        if report != "ok" {
            return Ok(Some(format!("table {table}: {report}")));
        }
    }
    Ok(None)
}

fn tables(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut tables = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    tables.query_map((), |row| row.get(0))?.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Durability;

    fn database() -> (tempfile::TempDir, Arc<Path>) {
        let directory = tempfile::tempdir().unwrap();
        let path: Arc<Path> = directory.path().join("x.db").into();
        std::fs::write(&path, "").unwrap();
        let (connection, _) = super::super::open(&path, Durability::Power).unwrap();
        let sql = "CREATE TABLE filled(n INTEGER PRIMARY KEY, text TEXT) STRICT;
             WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers LIMIT 2000)
             INSERT INTO filled SELECT n, hex(randomblob(500)) FROM numbers;";
        connection.execute_batch(sql).unwrap();
        (directory, path)
    }

    fn check(path: &Arc<Path>, closing: CancellationToken) -> Option<String> {
        let pulse = Pulse::default();
        spawn_check(path.clone(), Depth::Pages, closing, pulse.clone()).unwrap().join().unwrap();
        let health = pulse.subscribe().borrow().clone();
        health.damage
    }

    #[test]
    fn a_page_that_is_not_what_was_written_is_found() {
        let (_directory, path) = database();
        assert_eq!(check(&path, CancellationToken::new()), None);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2 / 4096 * 4096;
        bytes[middle..middle + 4096].fill(0xa5);
        std::fs::write(&path, bytes).unwrap();
        let report = check(&path, CancellationToken::new()).unwrap();
        assert!(report.contains("filled"), "{report}");
    }

    #[test]
    fn f077_a_row_that_its_index_does_not_know_is_found() {
        let (_directory, path) = database();
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("CREATE INDEX of_text ON filled(text)").unwrap();
        let sql = "PRAGMA writable_schema = 1; DELETE FROM sqlite_schema WHERE name = 'of_text';";
        let row = "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema WHERE name = 'of_text'";
        connection.execute_batch(&format!("CREATE TEMP TABLE kept AS {row}; {sql}")).unwrap();
        connection.execute_batch("PRAGMA writable_schema = RESET; UPDATE filled SET text = 'x' WHERE n = 7").unwrap();
        let back = "PRAGMA writable_schema = 1; INSERT INTO sqlite_schema SELECT * FROM kept;";
        connection.execute_batch(back).unwrap();
        drop(connection);
        let look = |depth| {
            let (closing, pulse) = (CancellationToken::new(), Pulse::default());
            look_through(&path, depth, &closing, &pulse).unwrap()
        };
        assert_eq!(look(Depth::Pages), None);
        let report = look(Depth::Indexes).unwrap();
        assert!(report.contains("of_text"), "{report}");
    }

    #[test]
    fn a_large_file_is_looked_through_only_after_a_crash() {
        assert_eq!(Depth::of(false, LastEnd::Clean), Some(Depth::Indexes));
        assert_eq!(Depth::of(true, LastEnd::Crash), Some(Depth::Pages));
        assert_eq!(Depth::of(true, LastEnd::Clean), None);
    }

    #[test]
    fn it_ends_when_the_store_is_closed() {
        let (_directory, path) = database();
        let closing = CancellationToken::new();
        closing.cancel();
        assert_eq!(check(&path, closing), None);
    }
}
