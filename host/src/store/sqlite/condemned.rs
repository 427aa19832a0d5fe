//! The versions of bots that are not to be tried again.

use rusqlite::{Connection, Row};

use super::checksum::Checksum;
use super::quarantine::RowName;
use super::reader::Sifted;
use super::{Fault, from_column, to_column};
use crate::clock::Timestamp;
use crate::id::{BotName, ContentHash};
use crate::store::Flaw;
use crate::store::incidents::Condemned;

/// Versions that are kept, of all bots.
const KEPT_MAX: u32 = 1_000;

/// Adds one, or replaces it, and forgets what is too much by it.
pub(super) fn condemn(connection: &Connection, condemned: &Condemned) -> rusqlite::Result<()> {
    let Condemned { bot, component, reason, at } = condemned;
    let at_ms = to_column(at.as_millis());
    let checksum = checksum(at_ms, bot.as_str(), &component.0, reason);
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO condemned(bot, component, at_ms, checksum, reason) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute((bot.as_str(), &component.0[..], at_ms, checksum, reason))?;
    connection
        .prepare_cached(
            "DELETE FROM condemned WHERE id <= (SELECT id FROM condemned ORDER BY id DESC LIMIT 1 OFFSET ?1)",
        )?
        .execute([KEPT_MAX])
        .map(drop)
}

/// Forgets all of a bot. Returns how many there were.
pub(super) fn pardon(connection: &Connection, bot: &BotName) -> rusqlite::Result<u64> {
    let gone = connection.prepare_cached("DELETE FROM condemned WHERE bot = ?1")?.execute([bot.as_str()])?;
    Ok(gone as u64)
}

/// Returns all of them, the first first.
pub(super) fn list(connection: &Connection) -> Result<Sifted<Condemned>, Fault> {
    let mut statement =
        connection.prepare_cached("SELECT id, at_ms, bot, component, checksum, reason FROM condemned ORDER BY id")?;
    let mut rows = statement.query(())?;
    let mut found = Sifted::default();
    while let Some(row) = rows.next()? {
        match read(row) {
            Ok(Some(condemned)) => found.rows.push(condemned),
            Ok(None) => found.unfit.push((RowName::condemned(row.get(0)?), Flaw::Checksum)),
            Err(_) => found.unfit.push((RowName::condemned(row.get(0)?), Flaw::Unreadable)),
        }
    }
    Ok(found)
}

/// Reads a row. None: it is not what was written.
fn read(row: &Row<'_>) -> rusqlite::Result<Option<Condemned>> {
    let (at_ms, bot, component, found, reason): (i64, String, Vec<u8>, i64, String) =
        (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?);
    if checksum(at_ms, &bot, &component, &reason) != found {
        return Ok(None);
    }
    let (Ok(bot), Ok(component)) = (bot.parse(), <[u8; 32]>::try_from(component)) else { return Ok(None) };
    let at = Timestamp::from_millis(from_column(at_ms));
    Ok(Some(Condemned { bot, component: ContentHash(component), reason, at }))
}

fn checksum(at_ms: i64, bot: &str, component: &[u8], reason: &str) -> i64 {
    let component = super::checksum::Digest::of(component);
    Checksum::of("condemned").number(at_ms).text(bot).digest(component).text(reason).finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::schema;

    #[test]
    fn of_too_many_the_first_is_forgotten_and_one_that_is_condemned_again_counts_once() {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection, std::path::Path::new("x"), schema::MIGRATIONS).unwrap();
        let of = |n: u32, reason: &str| Condemned {
            bot: "echo".parse().unwrap(),
            component: ContentHash::of(&n.to_le_bytes()),
            reason: reason.to_owned(),
            at: Timestamp::from_millis(5),
        };
        (0..1_000).for_each(|n| condemn(&connection, &of(n, "bad")).unwrap());
        condemn(&connection, &of(0, "worse")).unwrap();
        let all = || list(&connection).unwrap_or_else(|fault| panic!("{fault:?}")).rows;
        assert_eq!((all().len(), all()[999].clone()), (1_000, of(0, "worse")));
        condemn(&connection, &of(1_000, "bad")).unwrap();
        assert_eq!((all().len(), all()[0].clone()), (1_000, of(2, "bad")));
        assert_eq!(pardon(&connection, &"echo".parse().unwrap()).unwrap(), 1_000);
        assert_eq!(all(), []);
    }
}
