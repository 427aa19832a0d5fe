//! How long what is finished stays: the last so many events for `host why`, the last so many dead letters, tickets for a week. What
//! is too old is removed a little with each transaction, so that no pause is ever long and none is needed.

use std::time::Duration;

use rusqlite::Connection;

use super::{inbox, outbox, to_column};
use crate::clock::Timestamp;

/// Events looked at in one step.
const STEP: i64 = 64;
/// Dead letters removed in one step.
const DEAD_STEP: u64 = 64;
/// How long a bot can edit what it sent.
const TICKETS_FOR: Duration = Duration::from_secs(7 * 86_400);
/// Tickets begin with the milliseconds since the epoch, followed by this many bits of a counter.
const TICKET_COUNTER_BITS: u32 = 20;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Kept {
    pub(in crate::store) events: u32,
    pub(in crate::store) dead_letters: u32,
}

/// Where the removing has got to.
#[derive(Debug)]
pub(super) struct Retention {
    kept: Kept,
    /// Events up to this one were looked at: those that were finished are gone.
    cursor: i64,
    dead: u64,
    /// As they were before the open transaction.
    before: (i64, u64),
}

impl Retention {
    /// Counts what is there.
    pub(super) fn load(connection: &Connection, kept: Kept) -> rusqlite::Result<Self> {
        let first: Option<i64> = connection.query_row("SELECT min(seq) FROM events", (), |row| row.get(0))?;
        let dead: i64 = connection.query_row("SELECT count(*) FROM queue WHERE state = 2", (), |row| row.get(0))?;
        let (cursor, dead) = (first.unwrap_or(1) - 1, u64::try_from(dead).unwrap_or(0));
        Ok(Self { kept, cursor, dead, before: (cursor, dead) })
    }

    /// Returns how many dead letters there are.
    pub(super) fn dead(&self) -> u64 {
        self.dead
    }

    /// So many dead letters have come.
    pub(super) fn died(&mut self, count: u64) {
        self.dead += count;
    }

    /// So many dead letters are none any more.
    pub(super) fn revived(&mut self, count: u64) {
        self.dead = self.dead.saturating_sub(count);
    }

    /// Removes about as much as comes in. To be called within each transaction; `last` is the latest event.
    pub(super) fn keep_up(&mut self, connection: &Connection, last: i64) -> rusqlite::Result<()> {
        let mut due = last - i64::from(self.kept.events) - self.cursor;
        // As many steps as keep the pace of a full transaction.
        for _ in 0..4 {
            if due < STEP {
                break;
            }
            self.step(connection, self.cursor + STEP)?;
            due -= STEP;
        }
        self.forget_dead(connection)?;
        Ok(())
    }

    /// The open transaction is on disk.
    pub(super) fn committed(&mut self) {
        self.before = (self.cursor, self.dead);
    }

    /// The open transaction came to nothing.
    pub(super) fn rolled_back(&mut self) {
        (self.cursor, self.dead) = self.before;
    }

    /// Removes some of what is too old, with nothing else to do. Returns whether there is more.
    pub(super) fn sweep(
        &mut self,
        connection: &Connection,
        last: i64,
        now: Option<Timestamp>,
    ) -> rusqlite::Result<bool> {
        let end = last - i64::from(self.kept.events);
        if self.cursor < end {
            self.step(connection, end.min(self.cursor + 8 * STEP))?;
            self.before = (self.cursor, self.dead);
            return Ok(self.cursor < end);
        }
        // What was not finished when the cursor passed may be by now: the next round begins with the oldest that is left.
        let first: Option<i64> = connection.query_row("SELECT min(seq) FROM events", (), |row| row.get(0))?;
        self.cursor = first.map_or(end, |first| (first - 1).min(end)).max(0);
        self.before = (self.cursor, self.dead);
        if let Some(now) = now {
            self.forget_tickets(connection, now)?;
        }
        connection
            .prepare_cached(
                "DELETE FROM outbox WHERE event IS NULL AND state >= 2 AND id < (SELECT max(id) FROM outbox) - ?1",
            )?
            .execute([i64::from(self.kept.events)])?;
        Ok(false)
    }

    /// Removes what is finished of the events after the cursor, up to `to`.
    fn step(&mut self, connection: &Connection, to: i64) -> rusqlite::Result<()> {
        const STATEMENTS: [&str; 4] = [
            "DELETE FROM queue WHERE event > ?1 AND event <= ?2 AND state IN (1, 3)",
            "DELETE FROM attempts WHERE event > ?1 AND event <= ?2
               AND NOT EXISTS (SELECT 1 FROM queue WHERE queue.event = attempts.event AND queue.bot = attempts.bot)",
            // The last of each stays: the next process counts on from it, and no number must come again.
            "DELETE FROM outbox WHERE event > ?1 AND event <= ?2 AND state >= 2 AND id < (SELECT max(id) FROM outbox)",
            "DELETE FROM events WHERE seq > ?1 AND seq <= ?2 AND seq < (SELECT max(seq) FROM events)
               AND NOT EXISTS (SELECT 1 FROM queue WHERE queue.event = events.seq)
               AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.event = events.seq)",
        ];
        const { assert!(inbox::state::DONE == 1 && inbox::state::UNWANTED == 3 && outbox::state::DELIVERED == 2) };
        for sql in STATEMENTS {
            connection.prepare_cached(sql)?.execute((self.cursor, to))?;
        }
        self.cursor = to;
        Ok(())
    }

    fn forget_dead(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let excess = self.dead.saturating_sub(u64::from(self.kept.dead_letters)).min(DEAD_STEP);
        if excess == 0 {
            return Ok(());
        }
        let mut oldest =
            connection.prepare_cached("SELECT event, bot FROM queue WHERE state = 2 ORDER BY event, bot LIMIT ?1")?;
        let oldest: Vec<(i64, String)> =
            oldest.query_map([to_column(excess)], |row| row.try_into())?.collect::<Result<_, _>>()?;
        for (event, bot) in &oldest {
            inbox::delete_attempts(connection, *event, bot)?;
            connection.prepare_cached("DELETE FROM queue WHERE event = ?1 AND bot = ?2")?.execute((event, bot))?;
        }
        self.revived(oldest.len() as u64);
        tracing::warn!(
            count = oldest.len(),
            max = self.kept.dead_letters,
            "the oldest dead letters were forgotten: there are more than queue.max_dead_letters"
        );
        Ok(())
    }

    fn forget_tickets(&self, connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
        let oldest = now.as_millis().saturating_sub(TICKETS_FOR.as_millis() as u64);
        let oldest = oldest.checked_shl(TICKET_COUNTER_BITS).unwrap_or(0);
        connection.prepare_cached("DELETE FROM tickets WHERE ticket < ?1")?.execute([to_column(oldest)]).map(drop)
    }
}

#[cfg(test)]
mod tests;
