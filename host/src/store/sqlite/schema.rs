//! The tables, and how a database of an older host becomes one of this host. Forward only.
//!
//! `PRAGMA user_version` counts the migrations that a database has had. A new one is appended to [`MIGRATIONS`]; one that was
//! released never changes.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::Connection;

use crate::failpoint::{self, Failpoint};

/// Every migration, the oldest first.
pub(super) const MIGRATIONS: &[&str] = &[STATE_AND_TIMERS, MESSAGES, INCIDENTS, MEMOS];

/// Rows of `state` and `timers` are found by bot and name, and hold their large column last, so that looking at the others
/// does not read it. Each `checksum` covers all columns of its row.
const STATE_AND_TIMERS: &str = "
-- The last revision that was given out; one row. Revisions of state and serials of timers are drawn from it, so that none
-- comes back for a key that was deleted and written again.
CREATE TABLE counter(
  id INTEGER PRIMARY KEY CHECK (id = 1),
  revision INTEGER NOT NULL,
  checksum INTEGER NOT NULL
) STRICT;

-- What each bot has, so that a quota is checked without a scan. Expired keys count until they are swept.
CREATE TABLE usage(
  bot TEXT PRIMARY KEY,
  state_bytes INTEGER NOT NULL,
  timers INTEGER NOT NULL,
  checksum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE state(
  bot TEXT NOT NULL,
  key TEXT NOT NULL,
  revision INTEGER NOT NULL,
  expires_ms INTEGER,
  checksum INTEGER NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (bot, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX state_expiry ON state(bot, expires_ms) WHERE expires_ms IS NOT NULL;

CREATE TABLE timers(
  bot TEXT NOT NULL,
  name TEXT NOT NULL,
  serial INTEGER NOT NULL,
  set_ms INTEGER NOT NULL,
  due_ms INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  schedule TEXT NOT NULL,
  payload BLOB NOT NULL,
  PRIMARY KEY (bot, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX timers_due ON timers(due_ms);

-- Rows that could not be trusted, as they were found. A key in here is answered with an error, not as absent, until it is
-- written or deleted.
CREATE TABLE quarantine(
  id INTEGER PRIMARY KEY,
  source TEXT NOT NULL,
  bot TEXT NOT NULL,
  name TEXT NOT NULL,
  flaw TEXT NOT NULL,
  found_ms INTEGER NOT NULL,
  resolved INTEGER NOT NULL DEFAULT 0,
  columns TEXT NOT NULL,
  body ANY
) STRICT;
CREATE INDEX quarantine_open ON quarantine(source, bot, name) WHERE resolved = 0;
";

/// The path of a message. What is appended in the order of time is found by a number that grows, so that the cost of an event
/// does not depend on how many are stored: whatever is written lies at the end of its table.
const MESSAGES: &str = "
-- What happened, once for all bots that hear it. `seq` is the order in which events were taken over.
CREATE TABLE events(
  seq INTEGER PRIMARY KEY,
  id BLOB NOT NULL,
  origin TEXT,
  platform_id TEXT,
  received_ms INTEGER NOT NULL,
  -- How often the platform delivered it again. Not under the checksum: it only informs.
  duplicates INTEGER NOT NULL DEFAULT 0,
  checksum INTEGER NOT NULL,
  body BLOB NOT NULL
) STRICT;
-- Ids begin with the time, so that a new one lies at the end here too.
CREATE INDEX events_id ON events(id);

-- What each bot that hears an event has to do with it. `state`: 0 waiting, 1 done, 2 dead letter, 3 not wanted.
CREATE TABLE queue(
  event INTEGER NOT NULL,
  bot TEXT NOT NULL,
  lane TEXT NOT NULL,
  priority INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  state INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  due_ms INTEGER,
  ended_ms INTEGER,
  elapsed_us INTEGER,
  fuel INTEGER,
  checksum INTEGER NOT NULL,
  PRIMARY KEY (event, bot)
) STRICT, WITHOUT ROWID;
CREATE INDEX queue_dead ON queue(event, bot) WHERE state = 2;

-- Attempts that did not go well. Number 0 is none: it says why an event became a dead letter without one.
CREATE TABLE attempts(
  event INTEGER NOT NULL,
  bot TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  elapsed_us INTEGER NOT NULL,
  fuel INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  message TEXT NOT NULL,
  backtrace TEXT NOT NULL,
  PRIMARY KEY (event, bot, attempt)
) STRICT, WITHOUT ROWID;

-- The platforms' own ids of what was taken over, by which a second delivery is recognised. Kept in memory as well.
CREATE TABLE seen(
  id INTEGER PRIMARY KEY,
  key BLOB NOT NULL,
  event INTEGER NOT NULL,
  seen_ms INTEGER NOT NULL
) STRICT;

-- What bots asked of platforms. `state`: 0 waiting, 1 perhaps sent, 2 delivered, 3 lost. `event` is null for what an `init`
-- asked; `n` counts within one handler.
CREATE TABLE outbox(
  id INTEGER PRIMARY KEY,
  event INTEGER,
  bot TEXT NOT NULL,
  n INTEGER NOT NULL,
  connector TEXT NOT NULL,
  lane TEXT NOT NULL,
  priority INTEGER NOT NULL,
  ticket INTEGER,
  committed_ms INTEGER NOT NULL,
  expires_ms INTEGER,
  state INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  due_ms INTEGER,
  ended_ms INTEGER,
  platform_id TEXT,
  reason TEXT,
  checksum INTEGER NOT NULL,
  body BLOB NOT NULL
) STRICT;
CREATE INDEX outbox_event ON outbox(event);
CREATE INDEX outbox_lost ON outbox(id) WHERE state = 3;

-- The platforms' ids of what bots sent, by which they can edit it later.
CREATE TABLE tickets(
  ticket INTEGER PRIMARY KEY,
  platform_id TEXT NOT NULL
) STRICT;

-- Alerts of bots that are up.
CREATE TABLE alerts(
  bot TEXT NOT NULL,
  key TEXT NOT NULL,
  raised_ms INTEGER NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (bot, key)
) STRICT, WITHOUT ROWID;

-- Who may write what. `fence` grows with every owner: what an earlier one still writes is refused.
CREATE TABLE leases(
  name TEXT PRIMARY KEY,
  fence INTEGER NOT NULL,
  holder TEXT NOT NULL,
  expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// What happened to bots, and what follows from it across processes. Each `checksum` covers all columns of its row but the number.
const INCIDENTS: &str = "
-- The newest of all, and of each bot. `is_fault` tells kinds of fault from other kinds, which may have the same name.
CREATE TABLE incidents(
  id INTEGER PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  bot TEXT NOT NULL,
  is_fault INTEGER NOT NULL,
  kind TEXT NOT NULL,
  event BLOB,
  attempt INTEGER NOT NULL,
  component BLOB,
  strategy TEXT NOT NULL,
  checksum INTEGER NOT NULL,
  message TEXT NOT NULL,
  backtrace TEXT NOT NULL
) STRICT;
-- An index holds the number of each row as its last column.
CREATE INDEX incidents_bot ON incidents(bot);

-- Versions of bots that are not to be tried again, in the order in which that was decided.
CREATE TABLE condemned(
  id INTEGER PRIMARY KEY,
  bot TEXT NOT NULL,
  component BLOB NOT NULL,
  at_ms INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  reason TEXT NOT NULL,
  UNIQUE (bot, component)
) STRICT;
";

const MEMOS: &str = "
-- What connectors keep for themselves. The numbers grow with every write, so the oldest are found by them.
CREATE TABLE memos(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  connector TEXT NOT NULL,
  name TEXT NOT NULL,
  expires_ms INTEGER,
  checksum INTEGER NOT NULL,
  value TEXT NOT NULL,
  UNIQUE (connector, name)
) STRICT;
";

/// Why a database cannot be brought up to date.
#[derive(Debug)]
pub(super) enum MigrationError {
    /// A newer host made it.
    Newer {
        found: usize,
        supported: usize,
    },
    /// The copy before a migration could not be made.
    Copy(std::io::Error),
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for MigrationError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

/// Runs the migrations that are missing, each in a transaction of its own with its number.
///
/// A database that has data is copied to `FILE.before-VERSION` first. A copy that an earlier, interrupted try has left is
/// replaced.
pub(super) fn migrate(connection: &mut Connection, path: &Path, migrations: &[&str]) -> Result<(), MigrationError> {
    let version: i64 = connection.query_row("PRAGMA user_version", (), |row| row.get(0))?;
    // A negative number is none of ours, and no host supports it.
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    if version > migrations.len() {
        return Err(MigrationError::Newer { found: version, supported: migrations.len() });
    }
    if (1..migrations.len()).contains(&version) {
        failpoint::reach(Failpoint::MigrationBeforeCopy);
        let mut copy = path.as_os_str().to_owned();
        copy.push(format!(".before-{}", migrations.len()));
        // `VACUUM INTO` fills an empty file, which is how the copy gets its mode.
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600).open(&copy).map_err(MigrationError::Copy)?;
        connection.execute("VACUUM INTO ?1", [copy.to_string_lossy()])?;
        failpoint::reach(Failpoint::MigrationAfterCopy);
    }
    for (index, migration) in migrations.iter().enumerate().skip(version) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", (index + 1) as i64)?;
        failpoint::reach(Failpoint::MigrationBeforeCommit);
        transaction.commit()?;
        failpoint::reach(Failpoint::MigrationAfterCommit);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_database_is_copied_and_brought_up_to_date() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.db");
        let mut connection = Connection::open(&path).unwrap();
        let first = "CREATE TABLE a(x); INSERT INTO a VALUES (7);";
        migrate(&mut connection, &path, &[first]).unwrap();
        assert!(!directory.path().join("x.db.before-1").exists());

        migrate(&mut connection, &path, &[first, "CREATE TABLE b(y);", "INSERT INTO b SELECT x FROM a"]).unwrap();
        let of = |connection: &Connection, sql| connection.query_row(sql, (), |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!((of(&connection, "SELECT y FROM b"), of(&connection, "PRAGMA user_version")), (7, 3));
        let copy = Connection::open(directory.path().join("x.db.before-3")).unwrap();
        assert_eq!((of(&copy, "SELECT x FROM a"), of(&copy, "PRAGMA user_version")), (7, 1));
    }

    #[test]
    fn a_migration_that_fails_leaves_the_version_before_it() {
        let mut connection = Connection::open_in_memory().unwrap();
        let failed = migrate(&mut connection, Path::new("x"), &["CREATE TABLE a(x);", "CREATE TABLE b(y); nonsense"]);
        assert!(matches!(failed, Err(MigrationError::Sql(_))));
        let version: i64 = connection.query_row("PRAGMA user_version", (), |row| row.get(0)).unwrap();
        assert_eq!(version, 1);
        assert!(connection.query_row("SELECT y FROM b", (), |_| Ok(())).is_err());
    }
}
