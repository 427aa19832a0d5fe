//! What the writer knows of the disk below it, and what it does about it without being restarted: a full disk, one that fails, files
//! that are no longer where they were. Publishes how the store is.
//!
//! ```text
//! Working ──no room──► Full: the ballast is given up, events refused, all else is done ──room again, ballast made──► Working
//!         ──5 failures in a row, 10 s apart──► Failing: every request is a try, and so is a write of its own ──one commit──► Working
//!         ──another file at the path──► Displaced: events refused, all else is done ──the file is back──► Working
//! ```
//!
//! The process stays, whatever the disk does. A failed fsync fails its transaction, and nothing of it was acknowledged; SQLite does
//! not move its end of the log then, so that the next transaction writes those pages again rather than trust that they are on disk.
//! An exit would mend no disk, and would lose what only this process has: the actions under way, of which it knows how they ended,
//! and, if the file was deleted, the file itself. Who wants a restart has `/health`, which is 503 while the store fails.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rustix::io::Errno;

use super::request::Write;
use super::{LOG_PAGES_MAX, quarantine};
use crate::clock::Timestamp;
use crate::store::ballast::{self, Ballast};
use crate::store::health::{Condition, Pulse};
use crate::store::{StoreError, StoreHealth};

/// How often is measured what costs a system call or two.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked at whether the files are still at their path.
const PLACE_EVERY: Duration = Duration::from_secs(10);
/// Failures in a row, over at least this long, that make a store a failing one. Fewer are a matter of their own requests.
const FAILURES: u32 = 5;
const FAILING_AFTER: Duration = Duration::from_secs(10);
/// Pages of log before they are copied back while the disk is full, so that the log is used again and does not grow.
const LOG_PAGES_FULL: u32 = 64;

/// Failures in a row.
#[derive(Debug, Default)]
struct Failures {
    count: u32,
    first: Option<Instant>,
}

impl Failures {
    /// Returns whether there are enough of them.
    fn add(&mut self, now: Instant) -> bool {
        self.count = self.count.saturating_add(1);
        let first = *self.first.get_or_insert(now);
        self.count >= FAILURES && now.saturating_duration_since(first) >= FAILING_AFTER
    }
}

/// A file of the database, and which one it was when it was opened.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl Place {
    fn of(path: PathBuf) -> Self {
        let identity = identity(&path).ok();
        Self { path, identity }
    }

    /// Returns whether another file is there now, or none. A disk that does not say is another matter.
    fn is_taken(&self) -> bool {
        let Some(opened) = self.identity else { return false };
        match identity(&self.path) {
            Ok(found) => found != opened,
            Err(error) => error.kind() == ErrorKind::NotFound,
        }
    }
}

fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    path.metadata().map(|file| (file.dev(), file.ino()))
}

/// The writer's knowledge of its disk.
pub(in crate::store) struct Vigil {
    path: Arc<Path>,
    pulse: Pulse,
    ballast: Ballast,
    places: [Place; 2],
    failures: Failures,
    full_since: Option<Timestamp>,
    failing: Option<(Timestamp, String)>,
    displaced_since: Option<Timestamp>,
    /// Whether a transaction failed for want of room although the ballast was given up.
    is_cautious: bool,
    quarantined_before: u64,
    own: StoreHealth,
    look_at: Instant,
    place_at: Instant,
}

impl Vigil {
    /// Begins to watch a database that was opened. Makes the ballast; without room for it the store begins as full.
    pub(in crate::store) fn new(connection: &Connection, path: Arc<Path>, ballast: Ballast, pulse: Pulse) -> Self {
        let places = [Place::of(path.to_path_buf()), Place::of(log_of(&path))];
        let now = Instant::now();
        let mut vigil = Self {
            path,
            pulse,
            ballast,
            places,
            failures: Failures::default(),
            full_since: None,
            failing: None,
            displaced_since: None,
            is_cautious: false,
            quarantined_before: quarantine::count(connection).unwrap_or(0),
            own: StoreHealth::default(),
            look_at: now,
            place_at: now + PLACE_EVERY,
        };
        if let Err(error) = vigil.ballast.hold() {
            tracing::warn!(%error, "there is no room for the ballast");
            vigil.full_since = Some(Timestamp::now());
        }
        vigil.publish();
        vigil
    }

    pub(super) fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// Returns why a request is not even tried: what comes in anew, where it has no place.
    pub(super) fn refusal(&self, request: &Write) -> Option<StoreError> {
        request.intake_epoch()?;
        let path = Arc::clone(&self.path);
        if self.displaced_since.is_some() {
            return Some(StoreError::Displaced { path });
        }
        let source = Arc::new(std::io::Error::from(Errno::NOSPC));
        self.full_since.is_some().then_some(StoreError::DiskFull { path, source })
    }

    /// Whether what only informs may be written along: not where it could take something else with it.
    pub(super) fn takes_notes(&self) -> bool {
        self.full_since.is_none() && !self.is_cautious
    }

    /// So many incidents were dropped since the store was opened, so many dead letters are kept, and so many ids
    /// of events remembered.
    pub(super) fn counted(&mut self, incidents_dropped: u64, dead_letters: u64, dedup_keys: u64) {
        (self.own.incidents_dropped, self.own.dead_letters) = (incidents_dropped, dead_letters);
        self.own.dedup_keys = dedup_keys;
    }

    /// Whether there is no room for what comes in.
    pub(super) fn is_full(&self) -> bool {
        self.full_since.is_some()
    }

    /// Whether requests have to be done one by one, so that one that does not fit does not take the others with it.
    pub(super) fn is_cautious(&self) -> bool {
        self.is_cautious
    }

    /// Whether a write is wanted that shows if the disk works again.
    pub(super) fn wants_proof(&self) -> bool {
        self.failing.is_some()
    }

    /// How long the writer may sleep.
    pub(super) fn rest(&self) -> Duration {
        if self.full_since.is_some() || self.failing.is_some() { LOOK_EVERY } else { PLACE_EVERY }
    }

    /// A transaction is on disk.
    pub(super) fn worked(&mut self, requests: usize, elapsed: Duration) {
        self.own.commits += 1;
        self.own.requests += requests as u64;
        self.own.commit_time += elapsed;
        self.failures = Failures::default();
        if self.failing.take().is_some() {
            self.publish();
        }
    }

    /// A transaction came to nothing, and was rolled back.
    pub(super) fn failed(&mut self, connection: &Connection, error: &StoreError) {
        match error {
            StoreError::DiskFull { .. } => self.no_room(connection),
            // The index of the log is a file as well; where that does not fit, it is an I/O error to SQLite.
            StoreError::Database { .. } if self.ballast.is_cramped() => self.no_room(connection),
            StoreError::Stopped => return,
            _ => {
                if let StoreError::Damaged { report, .. } = error {
                    self.pulse.damaged(report);
                }
                if self.failures.add(Instant::now()) {
                    let since = self.failing.take().map_or_else(Timestamp::now, |(since, _)| since);
                    self.failing = Some((since, chain(error)));
                }
            }
        }
        self.publish();
    }

    /// A request alone met what it could not do.
    pub(super) fn refused(&self, error: &StoreError) {
        if let StoreError::Damaged { report, .. } = error {
            self.pulse.damaged(report);
        }
    }

    fn no_room(&mut self, connection: &Connection) {
        self.is_cautious = self.full_since.is_some();
        self.full_since.get_or_insert_with(Timestamp::now);
        self.ballast.give_up();
        limit_log(connection, LOG_PAGES_FULL);
        // What is copied back leaves its place in the log to what comes next.
        if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(())) {
            tracing::debug!(%error, "the log could not be copied back");
        }
    }

    /// Looks at what may have changed, if it is time to.
    pub(super) fn look(&mut self, connection: &Connection) {
        let now = Instant::now();
        if now < self.look_at {
            return;
        }
        self.look_at = now + LOOK_EVERY;
        if self.full_since.is_some() && self.ballast.has_room() && self.ballast.hold().is_ok() {
            (self.full_since, self.is_cautious) = (None, false);
            limit_log(connection, log_pages_max(&self.path));
        }
        if now >= self.place_at {
            self.place_at = now + PLACE_EVERY;
            self.look_at_places(connection);
        }
        let len = |path: &Path| path.metadata().map_or(0, |file| file.len());
        self.own.database_bytes = len(&self.path);
        self.own.log_bytes = len(&self.places[1].path);
        let quarantined = quarantine::count(connection).unwrap_or(self.quarantined_before);
        self.own.quarantined = quarantined.saturating_sub(self.quarantined_before);
        self.publish();
    }

    fn look_at_places(&mut self, connection: &Connection) {
        if !self.places.iter().any(Place::is_taken) {
            self.displaced_since = None;
            return;
        }
        self.displaced_since.get_or_insert_with(Timestamp::now);
        keep_off(connection);
    }

    fn publish(&mut self) {
        self.own.condition = match (&self.displaced_since, &self.failing, &self.full_since) {
            (Some(since), _, _) => Condition::Displaced { since: *since },
            (None, Some((since, error)), _) => Condition::Failing { since: *since, error: error.clone() },
            (None, None, Some(since)) => Condition::Full { since: *since },
            (None, None, None) => Condition::Working,
        };
        let own = &self.own;
        self.pulse.change(|health| *health = StoreHealth { damage: health.damage.take(), ..own.clone() });
    }

    #[cfg(test)]
    pub(super) fn health(&self) -> tokio::sync::watch::Receiver<StoreHealth> {
        self.pulse.subscribe()
    }

    /// Makes the failures so far old enough.
    #[cfg(test)]
    pub(super) fn fail_for_long(&mut self) {
        self.failures = Failures { count: FAILURES, first: Instant::now().checked_sub(FAILING_AFTER) };
    }

    #[cfg(test)]
    pub(super) fn look_now(&mut self, connection: &Connection) {
        (self.look_at, self.place_at) = (Instant::now(), Instant::now());
        self.look(connection);
    }
}

/// Has a connection leave the log at its path alone when it is closed: it may be that of another database by now.
pub(super) fn keep_off(connection: &Connection) {
    if let Err(error) = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true) {
        tracing::warn!(%error, "the database's log will be copied back at the end");
    }
}

/// Returns how many pages of log may gather on this database's disk.
pub(super) fn log_pages_max(path: &Path) -> u32 {
    ballast::log_pages_max(path.parent().unwrap_or(path), LOG_PAGES_MAX)
}

fn limit_log(connection: &Connection, pages: u32) {
    if let Err(error) = connection.pragma_update_and_check(None, "wal_autocheckpoint", pages, |_| Ok(())) {
        tracing::warn!(%error, "the length of the log could not be limited");
    }
}

fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// An error with all that it rests on, as one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Durability;

    fn vigil() -> (tempfile::TempDir, Connection, Vigil) {
        let directory = tempfile::tempdir().unwrap();
        let path: Arc<Path> = directory.path().join("x.db").into();
        std::fs::write(&path, "").unwrap();
        let (connection, _) = super::super::open(&path, Durability::Power).unwrap();
        let vigil = Vigil::new(&connection, path, Ballast::find(directory.path()), Pulse::default());
        (directory, connection, vigil)
    }

    fn condition(vigil: &Vigil) -> &'static str {
        vigil.pulse.subscribe().borrow().condition.as_str()
    }

    #[test]
    fn f076_failures_in_a_row_make_a_failing_store_and_one_commit_a_working_one() {
        let (_directory, connection, mut vigil) = vigil();
        let source = Arc::new(std::io::Error::other("disk I/O error"));
        let error = StoreError::Database { path: vigil.path.clone(), source };
        (0..9).for_each(|_| vigil.failed(&connection, &error));
        assert_eq!((condition(&vigil), vigil.wants_proof()), ("working", false));
        vigil.fail_for_long();
        vigil.failed(&connection, &error);
        assert!(vigil.wants_proof());
        let health = vigil.pulse.subscribe().borrow().clone();
        let Condition::Failing { error, .. } = health.condition else { panic!("{health:?}") };
        assert!(error.ends_with(": disk I/O error"), "{error}");
        vigil.worked(1, Duration::ZERO);
        assert_eq!((condition(&vigil), vigil.wants_proof()), ("working", false));
    }

    #[test]
    fn f078_a_database_that_is_replaced_or_deleted_is_noticed_and_so_is_its_return() {
        let (directory, connection, mut vigil) = vigil();
        let (path, aside) = (directory.path().join("x.db"), directory.path().join("aside"));
        vigil.look_now(&connection);
        assert_eq!(condition(&vigil), "working");
        std::fs::rename(&path, &aside).unwrap();
        vigil.look_now(&connection);
        assert_eq!(condition(&vigil), "displaced");
        std::fs::copy(&aside, &path).unwrap();
        vigil.look_now(&connection);
        assert_eq!(condition(&vigil), "displaced", "a copy of it is another file");
        std::fs::rename(&aside, &path).unwrap();
        vigil.look_now(&connection);
        assert_eq!(condition(&vigil), "working");
        std::fs::remove_file(directory.path().join("x.db-wal")).unwrap();
        vigil.look_now(&connection);
        assert_eq!(condition(&vigil), "displaced", "its log is a part of it");
    }

    #[test]
    fn f078_a_log_that_may_be_anothers_is_left_alone_at_the_end() {
        let (directory, connection, mut vigil) = vigil();
        std::fs::rename(directory.path().join("x.db"), directory.path().join("aside")).unwrap();
        vigil.look_now(&connection);
        let log = directory.path().join("x.db-wal");
        std::fs::write(&log, "of the backup").unwrap();
        drop(connection);
        assert!(log.exists());
    }

    #[test]
    fn only_a_row_of_failures_over_a_while_makes_a_failing_store() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut failures = Failures::default();
        assert!((0..100).all(|_| !failures.add(now)), "many at once are one mishap");
        assert!(failures.add(after(10)));
        let mut failures = Failures::default();
        assert!((0..4).all(|n| !failures.add(after(10 * n))), "few are as many mishaps");
        assert!(failures.add(after(40)));
    }
}
