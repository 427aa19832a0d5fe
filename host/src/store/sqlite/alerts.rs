//! The alerts of bots that are up: written with the handler that raised them, so that they outlive the process.

use rusqlite::Connection;

use super::{from_column, to_column};
use crate::action::AlertChange;
use crate::alert;
use crate::clock::Timestamp;
use crate::id::BotName;

/// Applies a handler's changes. What the host would not take is left out here too.
pub(super) fn apply(
    connection: &Connection,
    bot: &BotName,
    changes: &[AlertChange],
    now: Timestamp,
) -> rusqlite::Result<()> {
    for change in changes {
        match change {
            AlertChange::Raise { key, .. } if key.is_empty() || key.len() > alert::KEY_BYTES_MAX => {}
            AlertChange::Raise { key, .. } => {
                let mut statement = connection.prepare_cached(
                    "INSERT INTO alerts(bot, key, raised_ms, body)
                     SELECT ?1, ?2, ?3, ?4 WHERE (SELECT count(*) FROM alerts WHERE bot = ?1 AND key != ?2) < ?5
                     ON CONFLICT DO UPDATE SET body = excluded.body",
                )?;
                let body = serde_json::to_string(&alert::trimmed(change.clone())).expect("texts are always JSON");
                let room = alert::BOT_ALERTS_MAX as i64;
                statement.execute((bot.as_str(), key, to_column(now.as_millis()), body, room))?;
            }
            AlertChange::Resolve { key } => {
                connection
                    .prepare_cached("DELETE FROM alerts WHERE bot = ?1 AND key = ?2")?
                    .execute((bot.as_str(), key))?;
            }
        }
    }
    Ok(())
}

/// Forgets the alerts of a bot that is gone.
pub(super) fn forget(connection: &Connection, bot: &BotName) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM alerts WHERE bot = ?1")?.execute([bot.as_str()]).map(drop)
}

/// Returns the alerts that were up, the oldest first. What cannot be read is left out.
pub(super) fn load(connection: &Connection) -> rusqlite::Result<Vec<(BotName, AlertChange, Timestamp)>> {
    let mut statement = connection.prepare("SELECT bot, body, raised_ms FROM alerts ORDER BY raised_ms")?;
    let rows = statement.query_map((), |row| {
        let (bot, body, raised_ms): (String, String, i64) = row.try_into()?;
        let change = serde_json::from_str(&body).ok();
        Ok(bot
            .parse()
            .ok()
            .zip(change)
            .map(|(bot, change)| (bot, change, Timestamp::from_millis(from_column(raised_ms)))))
    })?;
    rows.filter_map(Result::transpose).collect()
}
