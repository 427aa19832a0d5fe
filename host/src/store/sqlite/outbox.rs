//! What bots asked of platforms: the rows behind the outbox, in the hands of the writer.

use std::sync::Arc;

use rusqlite::{Connection, Row};

use super::checksum::{Checksum, Digest};
use super::to_column;
use crate::action::{Act, Action, Priority};
use crate::clock::Timestamp;
use crate::delivery;
use crate::event::LaneKey;
use crate::grants::ConnectorKey;
use crate::id::Ticket;
use crate::store::record;

/// Where an action is on its way, as it is stored.
pub(super) mod state {
    pub(in crate::store::sqlite) const WAITING: i64 = 0;
    pub(in crate::store::sqlite) const PERHAPS_SENT: i64 = 1;
    pub(in crate::store::sqlite) const DELIVERED: i64 = 2;
    pub(in crate::store::sqlite) const LOST: i64 = 3;
}

/// An action on its way to the disk: encoded and hashed by whoever brings it.
#[derive(Debug)]
pub(in crate::store) struct PreparedSend {
    pub(super) action: Arc<Action>,
    pub(super) lane: LaneKey,
    pub(super) committed_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) body: Vec<u8>,
    pub(super) digest: Digest,
}

impl PreparedSend {
    pub(in crate::store) fn new(action: Action, reply_by: Option<&(LaneKey, Timestamp)>, now: Timestamp) -> Self {
        let lane = LaneKey::conversation(&action.at);
        let reply_by = reply_by.filter(|(of, _)| *of == lane).map(|(_, moment)| *moment);
        let body = record::encode_action(&action);
        let expires_after = match &action.act {
            Act::Send { message, .. } | Act::Edit { message, .. } => message.expires_after,
            Act::Delete { .. } | Act::React { .. } => None,
        };
        Self {
            lane,
            committed_at: now,
            expires_at: [expires_after.map(|wait| now.saturating_add(wait)), reply_by].into_iter().flatten().min(),
            digest: Digest::of(&body),
            action: Arc::new(action),
            body,
        }
    }

    pub(super) fn via(&self) -> &ConnectorKey {
        &self.action.via
    }

    pub(super) fn ticket(&self) -> Option<Ticket> {
        match &self.action.act {
            Act::Send { ticket, .. } => Some(*ticket),
            Act::Edit { .. } | Act::Delete { .. } | Act::React { .. } => None,
        }
    }

    pub(super) fn priority(&self) -> Priority {
        delivery::priority(&self.action.act)
    }
}

/// One action, without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SendRow {
    pub(super) id: i64,
    pub(super) event: Option<i64>,
    pub(super) bot: String,
    pub(super) n: i64,
    pub(super) connector: String,
    pub(super) lane: String,
    pub(super) priority: i64,
    pub(super) ticket: Option<i64>,
    pub(super) committed_ms: i64,
    pub(super) expires_ms: Option<i64>,
    pub(super) state: i64,
    pub(super) attempts: i64,
    pub(super) due_ms: Option<i64>,
    pub(super) ended_ms: Option<i64>,
    pub(super) platform_id: Option<String>,
    pub(super) reason: Option<String>,
}

/// The columns of [`SendRow`] in the order of its fields, then the checksum and the body.
macro_rules! select_sends {
    ($rest:literal) => {
        concat!(
            "SELECT id, event, bot, n, connector, lane, priority, ticket, committed_ms, expires_ms, state, attempts, due_ms, \
             ended_ms, platform_id, reason, checksum, body FROM outbox ",
            $rest
        )
    };
}
pub(super) use select_sends;

impl SendRow {
    fn checksum(&self, body: Digest) -> i64 {
        Checksum::of("outbox")
            .number(self.id)
            .optional(self.event)
            .text(&self.bot)
            .number(self.n)
            .text(&self.connector)
            .text(&self.lane)
            .number(self.priority)
            .optional(self.ticket)
            .number(self.committed_ms)
            .optional(self.expires_ms)
            .number(self.state)
            .number(self.attempts)
            .optional(self.due_ms)
            .optional(self.ended_ms)
            .text_or_none(self.platform_id.as_deref())
            .text_or_none(self.reason.as_deref())
            .digest(body)
            .finish()
    }

    /// Reads a row of [`select_sends`] and its body. None: it cannot be trusted.
    pub(super) fn read(row: &Row<'_>) -> Option<(Self, Vec<u8>)> {
        Self::read_with(row, |body| (body.to_vec(), Digest::of(body)))
    }

    /// As [`SendRow::read`], with the hash of the body in its place.
    fn read_digest(row: &Row<'_>) -> Option<(Self, Digest)> {
        Self::read_with(row, |body| {
            let digest = Digest::of(body);
            (digest, digest)
        })
    }

    fn read_with<T>(row: &Row<'_>, take: impl FnOnce(&[u8]) -> (T, Digest)) -> Option<(Self, T)> {
        let read = || -> rusqlite::Result<(Self, i64)> {
            let found = Self {
                id: row.get(0)?,
                event: row.get(1)?,
                bot: row.get(2)?,
                n: row.get(3)?,
                connector: row.get(4)?,
                lane: row.get(5)?,
                priority: row.get(6)?,
                ticket: row.get(7)?,
                committed_ms: row.get(8)?,
                expires_ms: row.get(9)?,
                state: row.get(10)?,
                attempts: row.get(11)?,
                due_ms: row.get(12)?,
                ended_ms: row.get(13)?,
                platform_id: row.get(14)?,
                reason: row.get(15)?,
            };
            Ok((found, row.get(16)?))
        };
        let (found, checksum) = read().ok()?;
        let (body, digest) = take(row.get_ref(17).ok()?.as_blob().ok()?);
        (found.checksum(digest) == checksum).then_some((found, body))
    }

    /// Writes a new row.
    pub(super) fn insert(&self, connection: &Connection, send: &PreparedSend) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(
            "INSERT INTO outbox(id, event, bot, n, connector, lane, priority, ticket, committed_ms, expires_ms, state, attempts,
               due_ms, ended_ms, platform_id, reason, checksum, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
        )?;
        let columns = rusqlite::params![
            self.id,
            self.event,
            self.bot,
            self.n,
            self.connector,
            self.lane,
            self.priority,
            self.ticket,
            self.committed_ms,
            self.expires_ms,
            self.state,
            self.attempts,
            self.due_ms,
            self.ended_ms,
            self.platform_id,
            self.reason,
            self.checksum(send.digest),
            send.body,
        ];
        statement.execute(columns).map(drop)
    }

    fn update(&self, connection: &Connection, body: Digest) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(
            "UPDATE outbox SET committed_ms = ?2, expires_ms = ?3, state = ?4, attempts = ?5, due_ms = ?6, ended_ms = ?7,
               platform_id = ?8, reason = ?9, checksum = ?10
             WHERE id = ?1",
        )?;
        let columns = rusqlite::params![
            self.id,
            self.committed_ms,
            self.expires_ms,
            self.state,
            self.attempts,
            self.due_ms,
            self.ended_ms,
            self.platform_id,
            self.reason,
            self.checksum(body),
        ];
        statement.execute(columns).map(drop)
    }
}

/// Returns an action and its body. `Some(None)`: it cannot be trusted.
#[expect(clippy::type_complexity, reason = "not there, or there and not to be trusted")]
pub(super) fn row(connection: &Connection, id: i64) -> rusqlite::Result<Option<Option<(SendRow, Vec<u8>)>>> {
    let mut statement = connection.prepare_cached(ROW)?;
    let mut rows = statement.query([id])?;
    Ok(rows.next()?.map(SendRow::read))
}

const ROW: &str = select_sends!("WHERE id = ?1");

/// Changes an action's row, if it is there, can be trusted and is in one of the states `from`. Returns the row as it is then.
pub(super) fn change(
    connection: &Connection,
    id: i64,
    from: &[i64],
    change: impl FnOnce(&mut SendRow),
) -> rusqlite::Result<Option<SendRow>> {
    let mut statement = connection.prepare_cached(ROW)?;
    let mut rows = statement.query([id])?;
    let Some((mut row, body)) = rows.next()?.and_then(SendRow::read_digest) else { return Ok(None) };
    // Before the row is written, so that it is read no more.
    drop(rows);
    if !from.contains(&row.state) {
        return Ok(None);
    }
    change(&mut row);
    row.update(connection, body)?;
    Ok(Some(row))
}

/// Notes that an action will not be delivered. Returns whether that is news.
pub(super) fn lose(connection: &Connection, id: i64, reason: &str, now: Timestamp) -> rusqlite::Result<bool> {
    let lost = change(connection, id, &[state::WAITING, state::PERHAPS_SENT], |row| {
        row.state = state::LOST;
        row.due_ms = None;
        row.ended_ms = Some(to_column(now.as_millis()));
        row.reason = Some(reason.to_owned());
    })?;
    Ok(lost.is_some())
}

/// Remembers the platform's id of what was sent.
pub(super) fn remember(connection: &Connection, ticket: i64, platform_id: &str) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare_cached("INSERT OR REPLACE INTO tickets(ticket, platform_id) VALUES (?1, ?2)")?;
    statement.execute((ticket, platform_id)).map(drop)
}

/// Returns the platform's id of what was sent, if it is known.
pub(super) fn platform_id(connection: &Connection, ticket: Ticket) -> rusqlite::Result<Option<String>> {
    let mut statement = connection.prepare_cached("SELECT platform_id FROM tickets WHERE ticket = ?1")?;
    let mut rows = statement.query([to_column(ticket.0)])?;
    rows.next()?.map(|row| row.get(0)).transpose()
}
