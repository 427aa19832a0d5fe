//! What happened to bots: appended, and the oldest forgotten with it, of all bots together and of each, so that one that fails all
//! the time does not take the others' history along.

use std::collections::BTreeSet;

use rusqlite::{Connection, Row};

use super::checksum::{Checksum, Digest};
use super::quarantine::RowName;
use super::reader::Sifted;
use super::{Fault, from_column, to_column};
use crate::clock::Timestamp;
use crate::id::{BotName, ContentHash, EventId};
use crate::store::Flaw;
use crate::store::incidents::{Incident, IncidentFilter, IncidentKind, IncidentQuery, StoredIncident};

/// Incidents that are kept.
const KEPT_MAX: u64 = 10_000;
/// Incidents of one bot that are kept.
const KEPT_OF_BOT_MAX: u32 = 500;

/// How many there are.
#[derive(Debug)]
pub(super) struct Shelf {
    count: u64,
    /// As it was before the open transaction.
    before: u64,
}

/// A row, as it is stored.
struct Columns {
    at_ms: i64,
    bot: String,
    is_fault: bool,
    kind: String,
    event: Option<Vec<u8>>,
    attempt: u32,
    component: Option<Vec<u8>>,
    strategy: String,
    message: String,
    backtrace: String,
}

impl Shelf {
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let count = connection.query_row("SELECT count(*) FROM incidents", (), |row| row.get(0)).map(from_column)?;
        Ok(Self { count, before: count })
    }

    /// Appends, and forgets what is too much by it. All of it or nothing.
    pub(super) fn append(&mut self, connection: &Connection, incidents: &[Incident]) -> Result<(), Fault> {
        let count = self.count;
        let done = super::apply::in_savepoint(
            connection,
            |connection| {
                incidents.iter().try_for_each(|incident| insert(connection, incident))?;
                self.count += incidents.len() as u64;
                Ok(self.trim(connection, incidents)?)
            },
            |()| true,
        );
        if done.is_err() {
            self.count = count;
        }
        done
    }

    /// Forgets all of a bot.
    pub(super) fn forget(&mut self, connection: &Connection, bot: &BotName) -> rusqlite::Result<()> {
        let gone = connection.prepare_cached("DELETE FROM incidents WHERE bot = ?1")?.execute([bot.as_str()])?;
        self.gone(gone);
        Ok(())
    }

    /// The open transaction is on disk.
    pub(super) fn committed(&mut self) {
        self.before = self.count;
    }

    /// The open transaction came to nothing.
    pub(super) fn rolled_back(&mut self) {
        self.count = self.before;
    }

    fn trim(&mut self, connection: &Connection, added: &[Incident]) -> rusqlite::Result<()> {
        let bots: BTreeSet<&str> = added.iter().map(|incident| incident.bot.as_str()).collect();
        for bot in bots {
            let gone = connection
                .prepare_cached(
                    "DELETE FROM incidents WHERE bot = ?1
                       AND id <= (SELECT id FROM incidents WHERE bot = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                )?
                .execute((bot, KEPT_OF_BOT_MAX))?;
            self.gone(gone);
        }
        let excess = self.count.saturating_sub(KEPT_MAX);
        if excess > 0 {
            let gone = connection
                .prepare_cached("DELETE FROM incidents WHERE id IN (SELECT id FROM incidents ORDER BY id LIMIT ?1)")?
                .execute([to_column(excess)])?;
            self.gone(gone);
        }
        Ok(())
    }

    fn gone(&mut self, count: usize) {
        self.count = self.count.saturating_sub(count as u64);
    }
}

fn insert(connection: &Connection, incident: &Incident) -> rusqlite::Result<()> {
    let columns = Columns {
        at_ms: to_column(incident.at.as_millis()),
        bot: incident.bot.to_string(),
        is_fault: incident.kind.is_fault(),
        kind: incident.kind.as_str().to_owned(),
        event: incident.event.map(|id| id.to_bytes().to_vec()),
        attempt: incident.attempt,
        component: incident.component.map(|hash| hash.0.to_vec()),
        strategy: incident.strategy.clone(),
        message: incident.message.clone(),
        backtrace: incident.backtrace.clone(),
    };
    let mut statement = connection.prepare_cached(
        "INSERT INTO incidents(at_ms, bot, is_fault, kind, event, attempt, component, strategy, checksum, message, backtrace)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    statement
        .execute((
            columns.at_ms,
            &columns.bot,
            columns.is_fault,
            &columns.kind,
            &columns.event,
            columns.attempt,
            &columns.component,
            &columns.strategy,
            columns.checksum(),
            &columns.message,
            &columns.backtrace,
        ))
        .map(drop)
}

/// Returns what is asked for, the newest first.
pub(super) fn list(connection: &Connection, query: &IncidentQuery) -> Result<Sifted<StoredIncident>, Fault> {
    macro_rules! select {
        ($of:literal) => {
            concat!(
                "SELECT id, checksum, at_ms, bot, is_fault, kind, event, attempt, component, strategy, message, backtrace
                 FROM incidents WHERE ",
                $of,
                " AND id < ?2 AND (?3 IS NULL OR is_fault = ?3) ORDER BY id DESC LIMIT ?4"
            )
        };
    }
    // Two statements, so that either finds its rows without a look at the others.
    let sql = match query.bot {
        Some(_) => select!("bot = ?1"),
        None => select!("?1 IS NULL"),
    };
    let is_fault = match query.kinds {
        IncidentFilter::All => None,
        IncidentFilter::Faults => Some(true),
        IncidentFilter::Life => Some(false),
    };
    let (bot, before) = (query.bot.as_ref().map(BotName::as_str), query.before.map_or(i64::MAX, to_column));
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query((bot, before, is_fault, query.limit))?;
    let mut found = Sifted::default();
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        match Columns::read(row) {
            Ok((columns, checksum)) if columns.checksum() == checksum => {
                let incident = columns.into_incident();
                found.rows.extend(incident.map(|incident| StoredIncident { id: from_column(id), incident }));
            }
            Ok(_) => found.unfit.push((RowName::incident(id), Flaw::Checksum)),
            Err(_) => found.unfit.push((RowName::incident(id), Flaw::Unreadable)),
        }
    }
    Ok(found)
}

impl Columns {
    /// Reads a row, and the checksum that it was stored with.
    fn read(row: &Row<'_>) -> rusqlite::Result<(Self, i64)> {
        let columns = Self {
            at_ms: row.get(2)?,
            bot: row.get(3)?,
            is_fault: row.get(4)?,
            kind: row.get(5)?,
            event: row.get(6)?,
            attempt: row.get(7)?,
            component: row.get(8)?,
            strategy: row.get(9)?,
            message: row.get(10)?,
            backtrace: row.get(11)?,
        };
        Ok((columns, row.get(1)?))
    }

    /// Without the number, which SQLite gives.
    fn checksum(&self) -> i64 {
        let bytes = |checksum: Checksum, bytes: &Option<Vec<u8>>| match bytes {
            Some(bytes) => checksum.number(1).digest(Digest::of(bytes)),
            None => checksum.number(0),
        };
        let checksum = Checksum::of("incidents")
            .number(self.at_ms)
            .text(&self.bot)
            .number(i64::from(self.is_fault))
            .text(&self.kind)
            .number(i64::from(self.attempt))
            .text(&self.strategy)
            .text(&self.message)
            .text(&self.backtrace);
        bytes(bytes(checksum, &self.event), &self.component).finish()
    }

    /// None: it has a form that this host does not know.
    fn into_incident(self) -> Option<Incident> {
        Some(Incident {
            at: Timestamp::from_millis(from_column(self.at_ms)),
            bot: self.bot.parse().ok()?,
            kind: IncidentKind::of(self.is_fault, self.kind)?,
            event: self.event.map(TryInto::try_into).transpose().ok()?.map(EventId::from_bytes),
            attempt: self.attempt,
            component: self.component.map(TryInto::try_into).transpose().ok()?.map(ContentHash),
            message: self.message,
            backtrace: self.backtrace,
            strategy: self.strategy,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::schema;

    fn database() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection, std::path::Path::new("x"), schema::MIGRATIONS).unwrap();
        connection
    }

    fn of(bot: &str, attempt: u32) -> Incident {
        Incident {
            at: Timestamp::from_millis(7),
            bot: bot.parse().unwrap(),
            kind: IncidentKind::Fault("trapped".into()),
            event: Some(EventId::from_bytes([7; 16])),
            attempt,
            component: None,
            message: "m".to_owned(),
            backtrace: String::new(),
            strategy: "retry".to_owned(),
        }
    }

    fn attempts(connection: &Connection, bot: Option<&str>) -> Vec<u32> {
        let query =
            IncidentQuery { bot: bot.map(|bot| bot.parse().unwrap()), limit: 20_000, ..IncidentQuery::default() };
        let found = list(connection, &query).unwrap_or_else(|fault| panic!("{fault:?}"));
        assert!(found.unfit.is_empty());
        found.rows.into_iter().map(|row| row.incident.attempt).collect()
    }

    #[test]
    fn a_bot_that_always_fails_keeps_its_newest_and_leaves_the_others_theirs() {
        let connection = database();
        let mut shelf = Shelf::load(&connection).unwrap();
        shelf.append(&connection, &[of("calm", 1)]).unwrap_or_else(|fault| panic!("{fault:?}"));
        for from in (0..600).step_by(100) {
            let many: Vec<_> = (from..from + 100).map(|attempt| of("noisy", attempt)).collect();
            shelf.append(&connection, &many).unwrap_or_else(|fault| panic!("{fault:?}"));
        }
        assert_eq!(attempts(&connection, Some("noisy")), (100..600).rev().collect::<Vec<_>>());
        assert_eq!((attempts(&connection, Some("calm")), shelf.count), (vec![1], 501));
    }

    #[test]
    fn of_many_bots_the_oldest_incidents_go_and_the_count_survives_what_came_to_nothing() {
        let connection = database();
        connection.execute_batch("BEGIN").unwrap();
        let mut shelf = Shelf::load(&connection).unwrap();
        for bot in 0..21 {
            let many: Vec<_> = (0..490).map(|attempt| of(&format!("bot-{bot}"), attempt)).collect();
            shelf.append(&connection, &many).unwrap_or_else(|fault| panic!("{fault:?}"));
        }
        connection.execute_batch("COMMIT").unwrap();
        shelf.committed();
        assert_eq!((shelf.count, attempts(&connection, None).len()), (10_000, 10_000));
        assert_eq!(attempts(&connection, Some("bot-0")), (290..490).rev().collect::<Vec<_>>());

        connection.execute_batch("BEGIN").unwrap();
        shelf.forget(&connection, &"bot-1".parse().unwrap()).unwrap();
        assert_eq!(shelf.count, 9_510);
        connection.execute_batch("ROLLBACK").unwrap();
        shelf.rolled_back();
        assert_eq!((shelf.count, Shelf::load(&connection).unwrap().count), (10_000, 10_000));
    }
}
