//! The store on disk: one SQLite database, one thread that writes, two that read. All SQL is below this module.
//!
//! ```text
//! Store ──Write──► writer ── up to 256 requests: one transaction, one fsync ──► replies
//!       ──Read───► reader, reader ── each its own connection, `query_only` ───► replies
//! ```

mod alerts;
mod apply;
mod check;
mod checksum;
mod condemned;
mod counter;
mod dedup;
mod examine;
mod handled;
mod inbox;
mod incidents;
mod lease;
mod memos;
mod observations;
mod operate;
mod outbox;
mod prepare;
mod quarantine;
mod reader;
mod recover;
mod request;
mod retention;
mod schema;
mod search;
mod state;
mod story;
mod take_over;
mod timer;
mod usage;
mod vigil;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::runtime::Runtime;

use self::schema::MigrationError;
use super::{Flaw, StoreError, StoreOptions};
use crate::action::{AlertChange, Priority};
use crate::clock::Timestamp;
use crate::delivery::Durability;
use crate::id::BotName;

pub(super) use self::apply::Ledger;
pub(super) use self::check::{Depth as CheckDepth, spawn_check};
pub(super) use self::dedup::DedupKey;
pub(super) use self::examine::{examine, examine_pages, library_version};
pub(super) use self::inbox::PreparedEvent;
#[cfg(test)]
pub(super) use self::observations::news_checksum_of;
pub(super) use self::observations::{Request, spawn_keeper};
pub(super) use self::outbox::PreparedSend;
pub(super) use self::prepare::{PreparedCommit, Turn};
pub(super) use self::quarantine::RowName;
pub(super) use self::reader::{Read, spawn_readers};
pub(super) use self::recover::LastEnd;
pub(super) use self::request::{Append, Fail, Fate, FiredTurn, LeaseStep, Reply, SendEnd, Settle, Write};
pub(super) use self::vigil::Vigil;
pub(super) use self::writer::{Memory, WriterHandle, spawn_writer};

/// Above this size a look at the whole file would hold up the start for too long.
const QUICK_CHECK_BYTES_MAX: u64 = 1 << 30;
/// Pages of the write-ahead log before they are copied back: twice the throughput of the default of 1,000. The idle writer copies
/// earlier, and a small disk has less.
const LOG_PAGES_MAX: u32 = 8_000;

/// Why a request went wrong, before it is known whose file it was.
#[derive(Debug)]
enum Fault {
    Sql(rusqlite::Error),
    /// One row cannot be trusted.
    Row(RowName, Flaw),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl Fault {
    fn into_store_error(self, path: &Arc<Path>) -> StoreError {
        match self {
            Self::Sql(error) => sql_error(path, error),
            Self::Row(row, flaw) => row.into_store_error(flaw),
        }
    }
}

impl RowName {
    pub(super) fn into_store_error(self, flaw: Flaw) -> StoreError {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        StoreError::Corrupt { kind: self.kind, bot: text(&self.bot), name: text(&self.name), flaw }
    }
}

/// Says what SQLite's error means for whoever runs the host.
fn sql_error(path: &Arc<Path>, error: rusqlite::Error) -> StoreError {
    let (path, code) = (path.clone(), error.sqlite_error_code());
    let source: Arc<dyn std::error::Error + Send + Sync> = Arc::new(error);
    match code {
        Some(ErrorCode::DiskFull) => StoreError::DiskFull { path, source },
        Some(ErrorCode::OperationInterrupted) => StoreError::TooSlow { path },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StoreError::Damaged { path, report: source.to_string() }
        }
        _ => StoreError::Database { path, source },
    }
}

/// Opens the database for writing and brings its tables up to date. Blocking.
///
/// Opened after a crash, a file that is not [large](is_large) is looked through.
pub(super) fn open(path: &Arc<Path>, durability: Durability) -> Result<(Connection, LastEnd), StoreError> {
    let last_end = if has_bytes(&path.with_extension("db-wal")) { LastEnd::Crash } else { LastEnd::Clean };
    let failed = |error| sql_error(path, error);
    let mut connection = connect(path, 16 << 10).map_err(failed)?;
    // Only a database without tables takes this.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(failed)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).map_err(failed)?;
    let synchronous = match durability {
        Durability::Power => "FULL",
        // The log is written at once and synced now and then: what this process wrote survives it, not the machine.
        Durability::Process => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous).map_err(failed)?;
    let log_pages = vigil::log_pages_max(path);
    connection.pragma_update_and_check(None, "wal_autocheckpoint", log_pages, |_| Ok(())).map_err(failed)?;
    connection.pragma_update_and_check(None, "journal_size_limit", 64 << 20, |_| Ok(())).map_err(failed)?;
    if last_end == LastEnd::Crash && !is_large(path) {
        quick_check(&connection, path)?;
    }
    schema::migrate(&mut connection, path, schema::MIGRATIONS).map_err(|error| match error {
        MigrationError::Newer { found, supported } => StoreError::NewerSchema { path: path.clone(), found, supported },
        MigrationError::Copy(source) => StoreError::Directory { path: path.clone(), source: Arc::new(source) },
        MigrationError::Sql(error) => sql_error(path, error),
    })?;
    Ok((connection, last_end))
}

/// Takes a lease whoever has it, and returns its fence: the data directory is locked, so that every earlier owner is gone.
pub(super) fn take_lease(
    connection: &Connection,
    path: &Arc<Path>,
    name: &str,
    holder: &str,
) -> Result<u64, StoreError> {
    lease::take(connection, name, holder, Timestamp::from_millis(u64::MAX)).map_err(|error| sql_error(path, error))
}

/// Reads what an earlier process left to do into memory, and where its numbers had got to. Blocking, for about a second for each
/// million events.
pub(super) fn recover(
    connection: &Connection,
    path: &Arc<Path>,
    options: &StoreOptions,
    memory: &Memory,
    last_end: LastEnd,
) -> Result<Ledger, StoreError> {
    let now = Timestamp::now();
    let recovered = recover::queue(connection, &memory.queue, last_end, now)
        .and_then(|()| recover::outbox(connection, &memory.outbox, options.on_uncertain, now))
        .and_then(|()| Ledger::load(connection, options));
    recovered.map_err(|error| sql_error(path, error))
}

/// Returns the alerts of bots that were up, the oldest first.
pub(super) fn alerts(
    connection: &Connection,
    path: &Arc<Path>,
) -> Result<Vec<(BotName, AlertChange, Timestamp)>, StoreError> {
    alerts::load(connection).map_err(|error| sql_error(path, error))
}

/// Opens one more connection, for reading only. Blocking. The database must have been opened before.
fn open_reader(path: &Arc<Path>) -> Result<Connection, StoreError> {
    let failed = |error| sql_error(path, error);
    let connection = connect(path, 4 << 10).map_err(failed)?;
    connection.pragma_update(None, "query_only", true).map_err(failed)?;
    Ok(connection)
}

fn connect(path: &Path, cache_kib: i64) -> rusqlite::Result<Connection> {
    // No mutex: each connection belongs to one thread. No URI: a path is a path, whatever it begins with.
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    // Nobody else writes; this is for an operator who looks inside with `sqlite3` meanwhile.
    connection.busy_timeout(Duration::from_secs(5))?;
    // With a mapped file, an I/O error is a signal that ends the process.
    connection.pragma_update_and_check(None, "mmap_size", 0, |_| Ok(()))?;
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn quick_check(connection: &Connection, path: &Arc<Path>) -> Result<(), StoreError> {
    let report: String =
        connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0)).map_err(|error| sql_error(path, error))?;
    if report == "ok" { Ok(()) } else { Err(StoreError::Damaged { path: path.clone(), report }) }
}

/// Returns whether a look through the file takes too long for a start.
pub(super) fn is_large(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.len() >= QUICK_CHECK_BYTES_MAX)
}

fn has_bytes(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.len() > 0)
}

/// Starts a thread that owns a connection, with a runtime to wait on channels and timers.
fn spawn_thread(name: &str, work: impl FnOnce(Runtime) + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    let failed = |source: std::io::Error| StoreError::Thread { source: Arc::new(source) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(failed)?;
    std::thread::Builder::new().name(name.to_owned()).spawn(move || work(runtime)).map_err(failed)
}

/// Returns the class of priority that was stored as this number. No other is stored.
fn priority(number: i64) -> Priority {
    match number {
        ..=0 => Priority::Low,
        1 => Priority::Normal,
        2 => Priority::High,
        3.. => Priority::Critical,
    }
}

/// Numbers as SQLite keeps them. What does not fit is as far away as can be said: a revision that nobody reaches, a moment
/// 292 million years from now.
pub(super) fn to_column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The way back. A row's checksum has been compared before, so a negative number does not occur.
fn from_column(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests;
