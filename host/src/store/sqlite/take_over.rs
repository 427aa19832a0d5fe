//! Takes events over: what one is written as, for every bot that hears it, with the platform's own id of it and, where a timer fired,
//! that it has.

use rusqlite::Connection;

use super::apply::{Ledger, in_savepoint};
use super::checksum::Digest;
use super::inbox::{self, dead_without_attempt};
use super::request::{After, Append};
use super::{Fault, Turn, from_column, timer, usage};
use crate::failpoint::{self, Failpoint};
use crate::id::BotName;
use crate::store::TimerFired;
use crate::store::append::Appended;
use crate::store::queue::Reserved;

impl Ledger {
    /// Takes an event over, unless it was before.
    pub(super) fn append(&mut self, connection: &Connection, append: Append) -> (Result<Appended, Fault>, Vec<After>) {
        failpoint::reach(Failpoint::AppendReceived);
        self.now = Some(append.now);
        let seq = self.seq + 1;
        let result = self.try_append(connection, &append, seq);
        let Append { event, reserved, .. } = append;
        match result {
            Ok(appended @ Appended::New { .. }) => {
                self.seq = seq;
                (Ok(appended), vec![After::Push { reserved, seq: from_column(seq), event }])
            }
            other => (other, vec![After::Release(reserved)]),
        }
    }

    fn try_append(&mut self, connection: &Connection, append: &Append, seq: i64) -> Result<Appended, Fault> {
        if let Some(before) = append.key.and_then(|key| self.dedup.find(key, append.now)) {
            let mut count =
                connection.prepare_cached("UPDATE events SET duplicates = duplicates + 1 WHERE seq = ?1")?;
            count.execute([before])?;
            return Ok(Appended::Duplicate);
        }
        let write = |connection: &Connection| {
            if let Some(timer) = &append.timer {
                let of = (&timer.bot, timer.name.as_str(), timer.serial);
                if self.timer_fired(connection, of, &timer.turn)? == TimerFired::Replaced {
                    return Ok(Appended::Stale);
                }
            }
            inbox::insert_event(connection, seq, &append.prepared, Digest::of(&append.prepared.body))?;
            let overflowing = insert_rows(connection, seq, append, &append.reserved)?;
            if let Some(key) = append.key {
                self.dedup.insert(connection, key, seq, append.now)?;
            }
            Ok(Appended::New { overflowing })
        };
        let appended = in_savepoint(connection, write, |appended| matches!(appended, Appended::New { .. }))?;
        if let Appended::New { overflowing } = &appended {
            self.retention.died(overflowing.len() as u64);
        }
        Ok(appended)
    }

    fn timer_fired(
        &mut self,
        connection: &Connection,
        timer: (&BotName, &str, u64),
        turn: &Turn,
    ) -> Result<TimerFired, Fault> {
        let serial = self.next_revision();
        let bot = timer.0.as_str();
        let mut usage = usage::load(connection, bot)?;
        let fired = timer::fired(connection, timer, turn, serial, &mut usage)?;
        usage::save(connection, bot, usage)?;
        self.wrote.revision |= fired != TimerFired::Replaced;
        Ok(fired)
    }
}

/// Writes a row for each bot that hears an event. Returns those that have too many already.
fn insert_rows(connection: &Connection, seq: i64, append: &Append, reserved: &Reserved) -> Result<Vec<BotName>, Fault> {
    let mut overflowing = Vec::new();
    for row in &reserved.rows {
        let at = (seq, row.bot.as_str());
        let dead_since = row.is_over.then_some(append.now);
        inbox::insert_row(connection, at, (&append.prepared.lane, row.priority), reserved.bytes_each, dead_since)?;
        if row.is_over {
            overflowing.push(row.bot.clone());
            let message = "the bot had as many events waiting as queue.max_events_per_bot allows";
            inbox::insert_attempt(connection, at, &dead_without_attempt("queue-full", message, append.now))?;
        }
    }
    Ok(overflowing)
}
