//! The database of what was observed: one thread, one connection, and what becomes of a file that is no good. The rows are in
//! `observations/{news,points}`.
//!
//! ```text
//! no file, or a bad one ─put aside─► working ◄──a minute later── resting: what comes is dropped and counted
//!                                       └──────nothing can be written──────►┘
//! ```

mod news;
mod points;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Instant;

use rusqlite::{Connection, TransactionBehavior};
use rustix::fs::statvfs;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::news::UpChange;
#[cfg(test)]
pub(in crate::store) use self::news::news_checksum as news_checksum_of;
use super::schema::{self, MigrationError};
use super::{from_column, has_bytes, quick_check, spawn_thread, sql_error};
use crate::alert::{Alert, News, Source};
use crate::clock::Timestamp;
use crate::store::StoreError;
use crate::store::observations::{
    AlertQuery, Answer, Keep, Limits, Opened, PointsPage, PointsQuery, PointsRow, StoredNews, Tally,
};

/// Files that were put aside and are kept, the newest.
const ASIDE_MAX: usize = 3;
/// Turns of alerts in one transaction.
const BATCH_MAX: usize = 256;
/// On a small disk, one in so many of its bytes is left to the store.
const PART_OF_DISK: u64 = 16;
/// Alerts whose last turn could not be written and is made up for later.
const OWED_MAX: usize = 1_024;

/// Every migration, the oldest first. Each `checksum` covers all columns of its row but the number and the part.
const MIGRATIONS: &[&str] = &["
-- The alerts that have fired and were not resolved. The host's own have no source.
CREATE TABLE alerts_up(
  source TEXT NOT NULL,
  key TEXT NOT NULL,
  checksum INTEGER NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (source, key)
) STRICT, WITHOUT ROWID;

-- The turns of alerts: the newest of all, and of each source.
CREATE TABLE alert_news(
  id INTEGER PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  source TEXT NOT NULL,
  key TEXT NOT NULL,
  checksum INTEGER NOT NULL,
  body TEXT NOT NULL
) STRICT;
CREATE INDEX alert_news_source ON alert_news(source);

-- All series of a name in a step of time. A step that two processes have seen has a part of each.
CREATE TABLE points(
  step_s INTEGER NOT NULL,
  name TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  part INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (step_s, name, at_ms, part)
) STRICT, WITHOUT ROWID;
CREATE INDEX points_age ON points(step_s, at_ms);
"];

/// What the thread is asked for.
#[derive(Debug)]
pub(in crate::store) enum Request {
    Note(Box<News>),
    Append { rows: Vec<PointsRow>, keep: &'static [Keep], now: Timestamp },
    Settled { reply: Answer<()> },
    AlertsUp { reply: Answer<Vec<Alert>> },
    AlertHistory { query: AlertQuery, reply: Answer<Vec<StoredNews>> },
    Range { query: PointsQuery, reply: Answer<PointsPage> },
    Names { step_seconds: u32, limit: u32, reply: Answer<Vec<String>> },
}

/// Opens the database and starts the thread that owns it. It ends when it is told to, after what was asked of it, or when nobody can
/// ask any more. Blocking.
pub(in crate::store) fn spawn_keeper(
    path: Arc<Path>,
    limits: Limits,
    tally: Arc<Tally>,
    mut requests: mpsc::Receiver<Request>,
    closing: CancellationToken,
) -> Result<(JoinHandle<()>, Opened), StoreError> {
    let mut keeper =
        Keeper { path, limits, tally, connection: None, resting_until: None, trouble: None, owed: BTreeMap::new() };
    let opened = Opened { set_aside: keeper.open() };
    let thread = spawn_thread("observations", move |runtime| {
        runtime.block_on(async move {
            loop {
                let next = tokio::select! {
                    biased;
                    () = closing.cancelled(), if !requests.is_closed() => {
                        requests.close();
                        continue;
                    }
                    next = requests.recv() => next,
                };
                let Some(request) = next else { break };
                keeper.serve(request, &mut requests);
            }
        });
    })?;
    Ok((thread, opened))
}

struct Keeper {
    path: Arc<Path>,
    limits: Limits,
    tally: Arc<Tally>,
    connection: Option<Connection>,
    /// Nothing is written before.
    resting_until: Option<Instant>,
    /// Why something could not be done last.
    trouble: Option<StoreError>,
    /// What `alerts_up` should say, of alerts whose turns were dropped.
    owed: BTreeMap<(Source, String), UpChange>,
}

impl Keeper {
    fn serve(&mut self, request: Request, more: &mut mpsc::Receiver<Request>) {
        match request {
            Request::Note(first) => {
                let mut batch = vec![*first];
                while batch.len() < BATCH_MAX {
                    match more.try_recv() {
                        Ok(Request::Note(next)) => batch.push(*next),
                        Ok(other) => {
                            self.note(&batch);
                            return self.serve(other, more);
                        }
                        Err(_) => break,
                    }
                }
                self.note(&batch);
            }
            Request::Append { rows, keep, now } => self.append(&rows, keep, now),
            // An answer that nobody waits for any more is no failure; nor are those below.
            Request::Settled { reply } => drop(reply.send(Ok(()))),
            Request::AlertsUp { reply } => drop(reply.send(self.read(news::up))),
            Request::AlertHistory { query, reply } => {
                drop(reply.send(self.read(|connection| news::list(connection, &query))));
            }
            Request::Range { query, reply } => {
                drop(reply.send(self.read(|connection| points::range(connection, &query))));
            }
            Request::Names { step_seconds, limit, reply } => {
                let names = |connection: &Connection| Ok((points::names(connection, step_seconds, limit)?, 0));
                drop(reply.send(self.read(names)));
            }
        }
    }

    fn note(&mut self, batch: &[News]) {
        let owed = std::mem::take(&mut self.owed);
        let done = self.write(|connection| {
            owed.iter().try_for_each(|((source, key), change)| news::set_up(connection, source, key, change))?;
            news::append(connection, batch, Timestamp::now())
        });
        if done.is_ok() {
            return;
        }
        self.owed = owed;
        self.tally.news.fetch_add(batch.len() as u64, Ordering::Relaxed);
        for news in batch {
            let name = (news.alert.source.clone(), news.alert.key.clone());
            if self.owed.len() < OWED_MAX || self.owed.contains_key(&name) {
                self.owed.insert(name, UpChange::of(news));
            }
        }
    }

    fn append(&mut self, rows: &[PointsRow], keep: &[Keep], now: Timestamp) {
        let bytes_max = self.limits.bytes_max;
        let done = self.write(|connection| {
            // First, so that there is room for what comes.
            points::forget(connection, keep, bytes_max, now)?;
            points::append(connection, rows)
        });
        if done.is_err() {
            self.tally.points.fetch_add(rows.len() as u64, Ordering::Relaxed);
        }
        self.tally.waiting_bytes.fetch_sub(rows.iter().map(|row| row.body.len()).sum(), Ordering::Relaxed);
    }

    /// Does something in a transaction: all of it or nothing, and nothing at all while the database rests.
    fn write(&mut self, work: impl FnOnce(&Connection) -> rusqlite::Result<()>) -> Result<(), StoreError> {
        if self.resting_until.is_some_and(|until| Instant::now() < until) {
            return Err(self.trouble());
        }
        if is_disk_cramped(&self.path, self.limits.room_bytes_min) {
            let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(self.failed(StoreError::DiskFull { path: Arc::clone(&self.path), source: Arc::new(source) }));
        }
        if self.connection.is_none() {
            self.open();
        }
        let trouble = self.trouble();
        let connection = self.connection.as_mut().ok_or(trouble)?;
        let transact = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            work(&transaction)?;
            transaction.commit()
        };
        match transact(connection) {
            Ok(()) => {
                self.resting_until = None;
                if self.tally.is_failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("what is observed is written down again");
                }
                Ok(())
            }
            Err(error) => Err(self.failed(sql_error(&self.path, error))),
        }
    }

    /// Reads something, with the number of rows that could not be trusted.
    fn read<T>(&mut self, work: impl FnOnce(&Connection) -> rusqlite::Result<(T, u64)>) -> Result<T, StoreError> {
        let connection = self.connection.as_ref().ok_or_else(|| self.trouble())?;
        match work(connection) {
            Ok((found, unfit)) => {
                self.tally.unfit.fetch_add(unfit, Ordering::Relaxed);
                Ok(found)
            }
            Err(error) => {
                let error = sql_error(&self.path, error);
                Err(if matches!(error, StoreError::Damaged { .. }) { self.failed(error) } else { error })
            }
        }
    }

    /// Opens the database, putting aside what is in its place and no good. Returns where that is now.
    fn open(&mut self) -> Option<PathBuf> {
        let first = open(&self.path, &self.limits);
        let (opened, aside) = match first {
            Err(error @ (StoreError::Damaged { .. } | StoreError::NewerSchema { .. })) => {
                let aside = self.put_aside(&error);
                (open(&self.path, &self.limits), aside)
            }
            other => (other, None),
        };
        match opened {
            Ok(connection) => self.connection = Some(connection),
            Err(error) => self.rest(&error),
        }
        aside
    }

    fn failed(&mut self, error: StoreError) -> StoreError {
        if matches!(error, StoreError::Damaged { .. }) {
            self.connection = None;
            self.put_aside(&error);
            self.open();
        } else {
            self.rest(&error);
        }
        error
    }

    fn trouble(&self) -> StoreError {
        self.trouble.clone().unwrap_or(StoreError::Stopped)
    }

    fn rest(&mut self, error: &StoreError) {
        self.trouble = Some(error.clone());
        self.resting_until = Some(Instant::now() + self.limits.rest);
        if !self.tally.is_failing.swap(true, Ordering::Relaxed) {
            let error = error as &dyn std::error::Error;
            tracing::warn!(error, "what is observed cannot be written down: it is dropped until it can be");
        }
    }

    fn put_aside(&mut self, why: &StoreError) -> Option<PathBuf> {
        let aside = put_aside(&self.path, Timestamp::now());
        self.tally.files.fetch_add(1, Ordering::Relaxed);
        let (error, aside_path) = (why as &dyn std::error::Error, aside.as_deref().ok());
        tracing::error!(error, aside = ?aside_path, "what was observed before is put aside and begun anew");
        aside.ok()
    }
}

/// Returns whether the disk has so little room left that the store needs it. Where that cannot be told, it is not known to have.
fn is_disk_cramped(path: &Path, room_bytes_min: u64) -> bool {
    let Ok(disk) = statvfs(path.parent().unwrap_or(path)) else { return false };
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    is_cramped(bytes(disk.f_bavail), bytes(disk.f_blocks), room_bytes_min)
}

fn is_cramped(available: u64, total: u64, room_bytes_min: u64) -> bool {
    available < room_bytes_min.min(total / PART_OF_DISK)
}

fn open(path: &Arc<Path>, limits: &Limits) -> Result<Connection, StoreError> {
    let unusable = |source| StoreError::Directory { path: Arc::clone(path), source: Arc::new(source) };
    OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(unusable)?;
    let was_cut_off = has_bytes(&path.with_extension("db-wal"));
    let failed = |error| sql_error(path, error);
    let mut connection = super::connect(path, 2 << 10).map_err(failed)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).map_err(failed)?;
    // The log is written at once and synced now and then: what was noted survives this process, not the machine.
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
    connection.pragma_update_and_check(None, "journal_size_limit", 8 << 20, |_| Ok(())).map_err(failed)?;
    let page_bytes = connection.query_row("PRAGMA page_size", (), |row| row.get(0)).map(from_column).map_err(failed)?;
    let pages_max = i64::try_from(limits.file_bytes_max / page_bytes.max(1)).unwrap_or(i64::MAX);
    connection.pragma_update_and_check(None, "max_page_count", pages_max, |_| Ok(())).map_err(failed)?;
    if was_cut_off {
        quick_check(&connection, path)?;
    }
    schema::migrate(&mut connection, path, MIGRATIONS).map_err(|error| match error {
        MigrationError::Newer { found, supported } => StoreError::NewerSchema { path: path.clone(), found, supported },
        MigrationError::Copy(source) => StoreError::Directory { path: path.clone(), source: Arc::new(source) },
        MigrationError::Sql(error) => failed(error),
    })?;
    Ok(connection)
}

/// Renames the database with what belongs to it, and forgets the oldest of those that were put aside before.
fn put_aside(path: &Path, now: Timestamp) -> std::io::Result<PathBuf> {
    let with = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    // Names sort as the moments do.
    let aside = with(&format!(".damaged-{:013}", now.as_millis()));
    fs::rename(path, &aside)?;
    for part in ["-wal", "-shm"] {
        let mut to = aside.clone().into_os_string();
        to.push(part);
        match fs::rename(with(part), to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let prefix = with(".damaged-");
    let is_aside =
        |other: &PathBuf| other.as_os_str().as_encoded_bytes().starts_with(prefix.as_os_str().as_encoded_bytes());
    let found = fs::read_dir(path.parent().unwrap_or(path))?.flatten().map(|entry| entry.path()).filter(is_aside);
    let (companions, mut files): (Vec<_>, Vec<_>) = found.partition(|file| {
        [&b"-wal"[..], b"-shm"].iter().any(|part| file.as_os_str().as_encoded_bytes().ends_with(part))
    });
    files.sort();
    for old in &files[..files.len().saturating_sub(ASIDE_MAX)] {
        fs::remove_file(old)?;
        let of_it =
            |file: &&PathBuf| file.as_os_str().as_encoded_bytes().starts_with(old.as_os_str().as_encoded_bytes());
        companions.iter().filter(of_it).try_for_each(fs::remove_file)?;
    }
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_room_belongs_to_the_store() {
        for (available, total, expected) in [(63, 10_000, true), (64, 10_000, false), (9, 160, true), (10, 160, false)]
        {
            assert_eq!(is_cramped(available, total, 64), expected, "{available} of {total}");
        }
    }
}
