//! A look through a database from outside, for reading only: page by page as SQLite does it, and row by row against the checksums.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row};

use super::checksum::Digest;
use super::inbox::{EventColumns, QueueRow};
use super::outbox::{SendRow, select_sends};
use super::{condemned, has_bytes, quarantine, schema, state, timer};
use crate::store::{Examined, NotExamined};

/// Rows that are named of those that are not what was written.
const UNFIT_NAMED: usize = 5;

/// Returns the version of SQLite.
pub(in crate::store) fn library_version() -> &'static str {
    rusqlite::version()
}

/// Looks through a database that is there.
pub(in crate::store) fn examine(path: &Path) -> Result<Examined, NotExamined> {
    examine_to(path, Depth::Rows)
}

/// Looks through the pages of a database that is there, whatever its rows are.
pub(in crate::store) fn examine_pages(path: &Path) -> Result<Examined, NotExamined> {
    examine_to(path, Depth::Pages)
}

fn examine_to(path: &Path, depth: Depth) -> Result<Examined, NotExamined> {
    // A file whose log is empty is read alone, so that no file of a log is made beside it. Where a host has begun to write
    // meanwhile, what was read may be half of a change.
    if !has_bytes(&path.with_extension("db-wal")) {
        let found = look(path, Reading::Alone, depth);
        if !has_bytes(&path.with_extension("db-wal")) {
            return found;
        }
    }
    look(path, Reading::WithLog, depth)
}

#[derive(Debug, Clone, Copy)]
enum Reading {
    /// The file does not change.
    Alone,
    /// What is in the log counts, and a host may be writing.
    WithLog,
}

#[derive(Debug, Clone, Copy)]
enum Depth {
    Pages,
    /// And what they hold, by the checksums of the rows.
    Rows,
}

fn look(path: &Path, reading: Reading, depth: Depth) -> Result<Examined, NotExamined> {
    let unreadable =
        |error: rusqlite::Error| NotExamined::Unreadable { path: path.to_owned(), reason: error.to_string() };
    let connection = match connect(path, reading) {
        Ok(connection) => connection,
        Err(error) if is_damage(&error) => return Ok(damaged(&error)),
        Err(error) => return Err(unreadable(error)),
    };
    if matches!(depth, Depth::Pages) {
        return pages(&connection).map_err(unreadable);
    }
    let supported = u32::try_from(schema::MIGRATIONS.len()).unwrap_or(u32::MAX);
    match connection.query_row("PRAGMA user_version", (), |row| row.get::<_, u32>(0)) {
        Ok(found) if found > supported => Err(NotExamined::Newer { path: path.to_owned(), found, supported }),
        // Its rows have other columns, until a host has brought it up to date.
        Ok(found) if found < supported => pages(&connection).map_err(unreadable),
        Ok(_) => all(&connection).map_err(unreadable),
        Err(error) if is_damage(&error) => Ok(damaged(&error)),
        Err(error) => Err(unreadable(error)),
    }
}

fn connect(path: &Path, reading: Reading) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match reading {
        Reading::Alone => {
            let address = format!("file:{}?immutable=1", encoded(path));
            Connection::open_with_flags(address, flags | OpenFlags::SQLITE_OPEN_URI)?
        }
        Reading::WithLog => Connection::open_with_flags(path, flags)?,
    };
    connection.busy_timeout(Duration::from_secs(5))?;
    // Copying the log back is the host's.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update_and_check(None, "mmap_size", 0, |_| Ok(()))?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(connection)
}

/// Returns a path as it stands in the address of a file.
fn encoded(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let bytes = path.as_os_str().as_bytes();
    bytes.iter().fold(String::new(), |mut text, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => text.push(char::from(*byte)),
            byte => text.push_str(&format!("%{byte:02X}")),
        }
        text
    })
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn damaged(error: &rusqlite::Error) -> Examined {
    Examined { damage: Some(error.to_string()), ..Examined::default() }
}

fn pages(connection: &Connection) -> rusqlite::Result<Examined> {
    match connection.query_row("PRAGMA quick_check(1)", (), |row| row.get::<_, String>(0)) {
        Ok(report) if report == "ok" => Ok(Examined::default()),
        Ok(report) => Ok(Examined { damage: Some(report), ..Examined::default() }),
        Err(error) if is_damage(&error) => Ok(damaged(&error)),
        Err(error) => Err(error),
    }
}

fn all(connection: &Connection) -> rusqlite::Result<Examined> {
    let mut found = pages(connection)?;
    if found.damage.is_some() {
        return Ok(found);
    }
    match rows(connection, &mut found) {
        Err(error) if is_damage(&error) => found.damage = Some(error.to_string()),
        other => other?,
    }
    Ok(found)
}

fn rows(connection: &Connection, found: &mut Examined) -> rusqlite::Result<()> {
    found.quarantined = quarantine::count(connection)?;
    let state = "SELECT bot, key, revision, expires_ms, checksum, value FROM state";
    each(connection, found, ("state key", state, 1), |row| Ok(state_checksum(row)? == row.get::<_, i64>(4)?))?;
    let timers = "SELECT bot, name, serial, set_ms, due_ms, checksum, schedule, payload FROM timers";
    each(connection, found, ("timer", timers, 1), |row| Ok(timer::read(row).is_ok()))?;
    let events = "SELECT seq, id, origin, platform_id, received_ms, checksum, body FROM events";
    each(connection, found, ("event", events, 0), |row| Ok(event_checksum(row)? == row.get::<_, i64>(5)?))?;
    let queue = "SELECT event, bot, lane, priority, bytes, state, attempts, due_ms, ended_ms, elapsed_us, fuel, checksum FROM queue";
    each(connection, found, ("queued event", queue, 0), |row| Ok(QueueRow::read(row).is_some()))?;
    each(connection, found, ("action", select_sends!(""), 0), |row| Ok(SendRow::read(row).is_some()))?;
    let condemned = condemned::list(connection).map(|sifted| (sifted.rows.len(), sifted.unfit.len()));
    match condemned {
        Ok((fit, unfit)) => {
            found.rows += (fit + unfit) as u64;
            (0..unfit).for_each(|_| note(found, "condemned version".to_owned()));
            Ok(())
        }
        Err(super::Fault::Sql(error)) => Err(error),
        Err(super::Fault::Row(row, _)) => {
            note(found, row.kind.to_string());
            Ok(())
        }
    }
}

/// Judges each row of a query; what cannot even be read is not what was written.
fn each(
    connection: &Connection,
    found: &mut Examined,
    (kind, sql, name): (&str, &str, usize),
    is_fit: impl Fn(&Row<'_>) -> rusqlite::Result<bool>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        found.rows += 1;
        if !is_fit(row).unwrap_or(false) {
            let name = match row.get_ref(name)? {
                rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                other => String::from_utf8_lossy(other.as_bytes().unwrap_or_default()).into_owned(),
            };
            note(found, format!("{kind} {name}"));
        }
    }
    Ok(())
}

fn note(found: &mut Examined, name: String) {
    found.unfit_count += 1;
    if found.unfit.len() < UNFIT_NAMED {
        found.unfit.push(name);
    }
}

fn state_checksum(row: &Row<'_>) -> rusqlite::Result<i64> {
    let (bot, key): (String, String) = (row.get(0)?, row.get(1)?);
    let value: Vec<u8> = row.get(5)?;
    Ok(state::checksum(&bot, &key, row.get(2)?, row.get(3)?, Digest::of(&value)))
}

fn event_checksum(row: &Row<'_>) -> rusqlite::Result<i64> {
    let id: Vec<u8> = row.get(1)?;
    let (origin, platform_id): (Option<String>, Option<String>) = (row.get(2)?, row.get(3)?);
    let body: Vec<u8> = row.get(6)?;
    let columns = EventColumns {
        id: &id,
        origin: origin.as_deref(),
        platform_id: platform_id.as_deref(),
        received_ms: row.get(4)?,
    };
    Ok(columns.checksum(row.get(0)?, Digest::of(&body)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::delivery::Durability;

    /// A database with a bot's state of 400 rows, closed.
    fn database() -> (tempfile::TempDir, Arc<Path>) {
        let directory = tempfile::tempdir().unwrap();
        let path: Arc<Path> = directory.path().join("x y.db").into();
        std::fs::write(&path, "").unwrap();
        let (connection, _) = super::super::open(&path, Durability::Power).unwrap();
        for number in 0..400_i64 {
            let (key, value) = (format!("key-{number:04}"), vec![b'v'; 500]);
            let checksum = state::checksum("echo", &key, number, None, Digest::of(&value));
            let sql = "INSERT INTO state(bot, key, revision, checksum, value) VALUES ('echo', ?1, ?2, ?3, ?4)";
            connection.execute(sql, (&key, number, checksum, &value)).unwrap();
        }
        drop(connection);
        (directory, path)
    }

    #[test]
    fn one_flipped_bit_of_a_value_is_found_by_its_checksum() {
        let (_directory, path) = database();
        assert_eq!(examine(&path).unwrap(), Examined { rows: 400, ..Examined::default() });
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(500).position(|window| window.iter().all(|byte| *byte == b'v')).unwrap();
        bytes[at + 250] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let found = examine(&path).unwrap();
        assert_eq!((found.rows, found.unfit_count, found.damage), (400, 1, None));
        assert!(found.unfit[0].starts_with("state key key-"), "{:?}", found.unfit);
    }

    #[test]
    fn a_page_that_is_none_is_found_and_so_is_a_file_that_is_no_database() {
        let (_directory, path) = database();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2 / 4096 * 4096;
        bytes[middle..middle + 4096].fill(0xa5);
        std::fs::write(&path, bytes).unwrap();
        assert!(examine(&path).unwrap().damage.is_some());
        std::fs::write(&path, vec![b'x'; 8192]).unwrap();
        assert!(examine(&path).unwrap().damage.is_some());
    }

    #[test]
    fn what_is_still_in_the_log_counts() {
        let (_directory, path) = database();
        let connection = super::super::connect(&path, 1 << 10).unwrap();
        connection.execute("UPDATE state SET value = x'00' WHERE key = 'key-0007'", ()).unwrap();
        let found = examine(&path).unwrap();
        assert_eq!((found.unfit_count, found.unfit), (1, vec!["state key key-0007".to_owned()]));
    }

    #[test]
    fn a_database_of_a_newer_host_is_left_alone() {
        let (_directory, path) = database();
        let connection = super::super::connect(&path, 1 << 10).unwrap();
        connection.pragma_update(None, "user_version", 4_000).unwrap();
        drop(connection);
        assert!(matches!(examine(&path), Err(NotExamined::Newer { found: 4_000, .. })));
    }
}
