//! What became of events and actions, read for the operator and for whoever takes up what waits. Bodies that cannot be trusted are
//! never shown: whoever needs one is told, a listing leaves it out.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row};

use super::checksum::Digest;
use super::inbox::{self, EventColumns, QueueRow};
use super::outbox::{self, SendRow, select_sends};
use super::quarantine::RowName;
use super::{Fault, from_column};
use crate::action::Action;
use crate::clock::Timestamp;
use crate::event::Event;
use crate::grants::ConnectorKey;
use crate::id::{BotName, EventId};
use crate::store::history::{AttemptRecord, DeadLetter, Handling, Send, SendFilter, SendStand, Stand, Story};
use crate::store::{Flaw, record};

/// An event's columns, and its body where it can be trusted.
pub(super) struct EventRow {
    seq: i64,
    pub(super) id: EventId,
    pub(super) origin: Option<String>,
    platform_id: Option<String>,
    pub(super) received_at: Timestamp,
    duplicates: i64,
    pub(super) event: Option<Event>,
}

impl EventRow {
    const BY_SEQ: &str =
        "SELECT seq, id, origin, platform_id, received_ms, duplicates, checksum, body FROM events WHERE seq = ?1";
    const BY_ID: &str =
        "SELECT seq, id, origin, platform_id, received_ms, duplicates, checksum, body FROM events WHERE id = ?1";

    /// Reads a row. None: not even its names can be trusted.
    pub(super) fn read(row: &Row<'_>) -> Option<Self> {
        let read = || -> rusqlite::Result<(Self, Vec<u8>, i64, i64)> {
            let (id, received_ms): (Vec<u8>, i64) = (row.get(1)?, row.get(4)?);
            let bytes: [u8; 16] = id.as_slice().try_into().map_err(|_| rusqlite::Error::InvalidQuery)?;
            let found = Self {
                seq: row.get(0)?,
                id: EventId::from_bytes(bytes),
                origin: row.get(2)?,
                platform_id: row.get(3)?,
                received_at: Timestamp::from_millis(from_column(received_ms)),
                duplicates: row.get(5)?,
                event: None,
            };
            Ok((found, row.get(7)?, row.get(6)?, received_ms))
        };
        let (mut found, body, checksum, received_ms) = read().ok()?;
        let columns = EventColumns {
            id: &found.id.to_bytes(),
            origin: found.origin.as_deref(),
            platform_id: found.platform_id.as_deref(),
            received_ms,
        };
        if columns.checksum(found.seq, Digest::of(&body)) == checksum {
            found.event = record::decode_event(&body).map(|body| Event {
                id: found.id,
                connector: body.connector,
                platform_id: found.platform_id.clone(),
                received_at: found.received_at,
                kind: body.kind,
                raw: body.raw,
            });
        }
        Some(found)
    }

    fn by_seq(connection: &Connection, seq: i64) -> rusqlite::Result<Option<Option<Self>>> {
        let mut statement = connection.prepare_cached(Self::BY_SEQ)?;
        let mut rows = statement.query([seq])?;
        Ok(rows.next()?.map(Self::read))
    }
}

/// Returns an event that waits; none where it is gone.
pub(super) fn event(connection: &Connection, seq: i64) -> Result<Option<Event>, Fault> {
    match EventRow::by_seq(connection, seq)? {
        None => Ok(None),
        Some(found) => match found.and_then(|found| found.event) {
            Some(event) => Ok(Some(event)),
            None => Err(Fault::Row(RowName::event(seq), Flaw::Checksum)),
        },
    }
}

/// Returns an action that waits; none where it is gone.
pub(super) fn action(connection: &Connection, id: i64) -> Result<Option<Action>, Fault> {
    match outbox::row(connection, id)? {
        None => Ok(None),
        Some(found) => match found.and_then(|(_, body)| record::decode_action(&body)) {
            Some(action) => Ok(Some(action)),
            None => Err(Fault::Row(RowName::send(id), Flaw::Checksum)),
        },
    }
}

/// Returns everything that is known of an event.
pub(super) fn story(connection: &Connection, id: EventId) -> Result<Option<Story>, Fault> {
    let mut statement = connection.prepare_cached(EventRow::BY_ID)?;
    let mut rows = statement.query([&id.to_bytes()[..]])?;
    let Some(found) = rows.next()?.and_then(EventRow::read) else { return Ok(None) };
    let mut sends = sends_of(connection, found.seq, id)?;
    let mut statement = connection.prepare_cached(
        "SELECT event, bot, lane, priority, bytes, state, attempts, due_ms, ended_ms, elapsed_us, fuel, checksum
         FROM queue WHERE event = ?1 ORDER BY bot",
    )?;
    let mut rows = statement.query([found.seq])?;
    let mut handlings = Vec::new();
    while let Some(row) = rows.next()? {
        let Some((bot, row)) = QueueRow::read(row).and_then(|row| Some((row.bot.parse::<BotName>().ok()?, row))) else {
            continue;
        };
        let (own, others): (Vec<_>, Vec<_>) = std::mem::take(&mut sends).into_iter().partition(|send| send.bot == bot);
        sends = others;
        handlings.push(Handling {
            priority: super::priority(row.priority),
            stand: stand(&row),
            attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
            faults: attempts(connection, found.seq, bot.as_str(), u32::MAX)?,
            sends: own,
            bot,
        });
    }
    Ok(Some(Story {
        event: found.event,
        id,
        origin: found.origin,
        platform_id: found.platform_id,
        received_at: found.received_at,
        duplicates: from_column(found.duplicates),
        handlings,
    }))
}

pub(super) fn stand(row: &QueueRow) -> Stand {
    let moment = |ms: Option<i64>| Timestamp::from_millis(from_column(ms.unwrap_or_default()));
    match row.state {
        inbox::state::DONE => Stand::Done {
            at: moment(row.ended_ms),
            elapsed: Duration::from_micros(from_column(row.elapsed_us.unwrap_or_default())),
            fuel: from_column(row.fuel.unwrap_or_default()),
        },
        inbox::state::DEAD => Stand::Dead { at: moment(row.ended_ms) },
        inbox::state::UNWANTED => Stand::Unwanted,
        _ => Stand::Waiting { due: row.due_ms.map(|ms| moment(Some(ms))) },
    }
}

/// Returns the attempts of a bot at an event that did not go well, at most the last `limit`, the first first.
fn attempts(connection: &Connection, seq: i64, bot: &str, limit: u32) -> rusqlite::Result<Vec<AttemptRecord>> {
    let mut statement = connection.prepare_cached(
        "SELECT attempt, at_ms, elapsed_us, fuel, outcome, message, backtrace FROM attempts
         WHERE event = ?1 AND bot = ?2 ORDER BY attempt DESC LIMIT ?3",
    )?;
    let read = |row: &Row<'_>| -> rusqlite::Result<AttemptRecord> {
        let number = |index| row.get(index).map(from_column);
        Ok(AttemptRecord {
            attempt: row.get(0)?,
            at: Timestamp::from_millis(number(1)?),
            elapsed: Duration::from_micros(number(2)?),
            fuel: number(3)?,
            outcome: row.get(4)?,
            message: row.get(5)?,
            backtrace: row.get(6)?,
        })
    };
    let mut found: Vec<_> = statement.query_map((seq, bot, limit), read)?.collect::<Result<_, _>>()?;
    found.reverse();
    Ok(found)
}

/// Returns the dead letters, the latest first.
pub(super) fn dead_letters(
    connection: &Connection,
    bot: Option<&BotName>,
    limit: u32,
) -> Result<Vec<DeadLetter>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT event, bot, lane, priority, bytes, state, attempts, due_ms, ended_ms, elapsed_us, fuel, checksum
         FROM queue WHERE state = 2 AND (?1 IS NULL OR bot = ?1) ORDER BY event DESC, bot LIMIT ?2",
    )?;
    let mut rows = statement.query((bot.map(BotName::as_str), limit))?;
    let mut letters = Vec::new();
    while let Some(row) = rows.next()? {
        let Some(row) = QueueRow::read(row) else { continue };
        let (Ok(bot), Some(Some(found))) = (row.bot.parse::<BotName>(), EventRow::by_seq(connection, row.event)?)
        else {
            continue;
        };
        letters.push(DeadLetter {
            id: found.id,
            at: Timestamp::from_millis(from_column(row.ended_ms.unwrap_or_default())),
            attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
            last: attempts(connection, row.event, bot.as_str(), 1)?.pop(),
            event: found.event,
            bot,
        });
    }
    Ok(letters)
}

/// Returns entries of the outbox.
pub(super) fn sends(
    connection: &Connection,
    filter: SendFilter,
    connector: Option<&ConnectorKey>,
    limit: u32,
) -> Result<Vec<Send>, Fault> {
    let sql = match filter {
        SendFilter::Waiting => select_sends!("WHERE state < 2 AND (?1 IS NULL OR connector = ?1) ORDER BY id LIMIT ?2"),
        SendFilter::Lost => {
            select_sends!("WHERE state = 3 AND (?1 IS NULL OR connector = ?1) ORDER BY id DESC LIMIT ?2")
        }
    };
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query((connector.map(ToString::to_string), limit))?;
    let mut sends = Vec::new();
    while let Some(row) = rows.next()? {
        if let Some((row, body)) = SendRow::read(row) {
            let event = row.event.map(|seq| event_id(connection, seq)).transpose()?.flatten();
            sends.extend(view(&row, &body, event));
        }
    }
    Ok(sends)
}

/// Returns one entry of the outbox.
pub(super) fn send(connection: &Connection, id: i64) -> Result<Option<Send>, Fault> {
    let Some(Some((row, body))) = outbox::row(connection, id)? else { return Ok(None) };
    let event = row.event.map(|seq| event_id(connection, seq)).transpose()?.flatten();
    Ok(view(&row, &body, event))
}

fn sends_of(connection: &Connection, seq: i64, id: EventId) -> rusqlite::Result<Vec<Send>> {
    let mut statement = connection.prepare_cached(select_sends!("WHERE event = ?1 ORDER BY id"))?;
    let mut rows = statement.query([seq])?;
    let mut sends = Vec::new();
    while let Some(row) = rows.next()? {
        sends.extend(SendRow::read(row).and_then(|(row, body)| view(&row, &body, Some(id))));
    }
    Ok(sends)
}

/// Returns the id of the event at this place; none where it is gone.
pub(super) fn event_id(connection: &Connection, seq: i64) -> rusqlite::Result<Option<EventId>> {
    let mut statement = connection.prepare_cached("SELECT id FROM events WHERE seq = ?1")?;
    let id: Option<Vec<u8>> = statement.query_one([seq], |row| row.get(0)).optional()?;
    Ok(id.and_then(|id| id.try_into().ok()).map(EventId::from_bytes))
}

fn view(row: &SendRow, body: &[u8], event: Option<EventId>) -> Option<Send> {
    let moment = |ms: Option<i64>| Timestamp::from_millis(from_column(ms.unwrap_or_default()));
    let stand = match row.state {
        outbox::state::PERHAPS_SENT => SendStand::PerhapsSent,
        outbox::state::DELIVERED => {
            SendStand::Delivered { at: moment(row.ended_ms), platform_id: row.platform_id.clone() }
        }
        outbox::state::LOST => {
            SendStand::Lost { at: moment(row.ended_ms), reason: row.reason.clone().unwrap_or_default() }
        }
        _ => SendStand::Waiting { due: row.due_ms.map(|ms| moment(Some(ms))) },
    };
    Some(Send {
        id: from_column(row.id),
        event,
        bot: row.bot.parse().ok()?,
        connector: row.connector.clone(),
        committed_at: moment(Some(row.committed_ms)),
        stand,
        attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
        action: record::decode_action(body),
    })
}
