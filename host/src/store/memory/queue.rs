//! Events on their way to bots, in the model.

use std::sync::Arc;

use super::{Happened, Memory, Row, World};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::id::{BotName, EventId};
use crate::store::engine::{Lease, Partition, Queue};
use crate::store::history::{AttemptRecord, DeadLetter, Handling, Stand, Story};
use crate::store::lanes::LaneId;
use crate::store::settle::settled;
use crate::store::{
    Appended, Claimed, Commit, Committed, Depth, NewEvent, Settled, Settlement, StoreError, StoreOptions, record,
};

impl World {
    /// Takes an event over. None: there is no room.
    fn append(&mut self, new: &NewEvent, options: &StoreOptions) -> Option<Appended> {
        let now = new.event.received_at;
        let bytes = record::encode_event(&new.event).len().div_ceil(new.bots.len().max(1)) as u64;
        let counted: Vec<_> = self.rows.values().filter(|row| matches!(row.stand, Stand::Waiting { .. })).collect();
        let (len, all): (usize, u64) = (counted.len(), counted.iter().map(|row| row.bytes).sum());
        let bounds = options.queue;
        let is_full =
            len + new.bots.len() > bounds.events_max || all + bytes * new.bots.len() as u64 > bounds.bytes_max;
        if is_full && len > 0 {
            return None;
        }
        let origin = new.origin.as_ref().map(ToString::to_string);
        let key = new.event.platform_id.clone().map(|id| (origin.clone(), id));
        if let Some((seq, at)) = key.as_ref().and_then(|key| self.seen.get(key))
            && at.saturating_add(options.dedup_window) > now
        {
            self.events.get_mut(seq).unwrap().duplicates += 1;
            return Some(Appended::Duplicate);
        }
        self.seq += 1;
        self.seen.extend(key.map(|key| (key, (self.seq, now))));
        self.events.insert(self.seq, Happened { event: Arc::clone(&new.event), origin, duplicates: 0 });
        let mut overflowing = Vec::new();
        for (bot, priority) in &new.bots {
            let lane = LaneId { key: new.event.lane(), priority: *priority };
            let waiting = self.waiting.entry(bot.clone()).or_default();
            let mut row = Row {
                lane: lane.clone(),
                stand: Stand::Waiting { due: None },
                attempts: 0,
                faults: Vec::new(),
                bytes,
                is_suspect: false,
            };
            if waiting.len() >= bounds.events_per_bot_max {
                row.stand = Stand::Dead { at: now };
                row.faults.push(without_attempt("queue-full", now));
                overflowing.push(bot.clone());
            } else {
                waiting.push(lane, self.seq);
            }
            self.rows.insert((self.seq, bot.clone()), row);
        }
        Some(Appended::New { overflowing })
    }

    fn row(&mut self, claimed: &Claimed) -> Option<&mut Row> {
        let row = self.rows.get_mut(&(claimed.seq, claimed.bot.clone()))?;
        matches!(row.stand, Stand::Waiting { .. }).then_some(row)
    }

    /// Returns whether a claim still holds.
    fn holds(&mut self, claimed: &Claimed) -> bool {
        let lanes = self.waiting.get_mut(&claimed.bot);
        lanes.and_then(|lanes| lanes.at_work_in(&claimed.lane)).is_some_and(|seq| *seq == claimed.seq)
    }

    fn finish(&mut self, claimed: &Claimed) {
        if self.holds(claimed) {
            self.waiting.get_mut(&claimed.bot).unwrap().finish(&claimed.lane);
        }
    }

    fn settle(&mut self, settlement: &Settlement<'_>) -> Committed {
        let Settlement { bot, effects, state_bytes_max, now, .. } = settlement;
        let (reads, state, timers) = (effects.reads.clone(), effects.state.clone(), effects.timers.clone());
        let commit = Commit { bot: (*bot).clone(), reads, state, timers, state_bytes_max: *state_bytes_max, now: *now };
        let committed = self.commit(&commit);
        if committed != Committed::Done {
            return committed;
        }
        if let Some((claimed, spent)) = settlement.done {
            let Some(row) = self.row(claimed) else { return Committed::Gone };
            row.stand = Stand::Done { at: *now, elapsed: spent.elapsed, fuel: spent.fuel };
            row.attempts = claimed.attempt;
            self.finish(claimed);
        }
        self.send(settlement);
        Committed::Done
    }

    fn dead(&mut self, id: EventId, bot: &BotName) -> Option<u64> {
        let seq = *self.events.iter().find(|(_, happened)| happened.event.id == id)?.0;
        let row = self.rows.get(&(seq, bot.clone()))?;
        matches!(row.stand, Stand::Dead { .. }).then_some(seq)
    }
}

fn without_attempt(outcome: &str, at: Timestamp) -> AttemptRecord {
    AttemptRecord {
        attempt: 0,
        at,
        elapsed: Default::default(),
        fuel: 0,
        outcome: outcome.to_owned(),
        message: String::new(),
        backtrace: String::new(),
    }
}

impl Queue for Memory {
    async fn append(&self, _partition: Partition, new: NewEvent) -> Result<Appended, StoreError> {
        loop {
            let space = self.space.notified();
            let appended = self.world().append(&new, &self.options);
            match appended {
                Some(appended) => return Ok(appended),
                None => space.await,
            }
        }
    }

    async fn claim(&self, _lease: &Lease, bot: &BotName, now: Timestamp) -> Result<Option<Claimed>, StoreError> {
        let world = &mut *self.world();
        let Some((lane, seq)) = world.waiting.get_mut(bot).and_then(|lanes| lanes.take(now)) else { return Ok(None) };
        let seq = *seq;
        let row = &world.rows[&(seq, bot.clone())];
        let (attempt, is_suspect) = (row.attempts + 1, row.is_suspect);
        Ok(Some(Claimed { bot: bot.clone(), attempt, seq, event: None, is_suspect, lane }))
    }

    async fn event_of(&self, claimed: &Claimed) -> Result<Option<Arc<Event>>, StoreError> {
        Ok(self.world().events.get(&claimed.seq).map(|happened| Arc::clone(&happened.event)))
    }

    async fn begin(&self, lease: &Lease, claimed: &Claimed) -> Result<(), StoreError> {
        let mut world = self.owned(lease)?;
        if let Some(row) = world.row(claimed).filter(|row| row.is_suspect) {
            row.attempts = claimed.attempt;
        }
        Ok(())
    }

    async fn settle(&self, lease: &Lease, settlement: Settlement<'_>) -> Result<Settled, StoreError> {
        let mut world = self.owned(lease)?;
        let mut next = world.clone();
        let committed = next.settle(&settlement);
        match (&committed, settlement.done) {
            (Committed::Done, _) => *world = next,
            (Committed::Gone, Some((claimed, _))) => world.finish(claimed),
            _ => {}
        }
        self.space.notify_waiters();
        Ok(settled(committed, settlement.effects.alerts))
    }

    async fn fail(
        &self,
        lease: &Lease,
        claimed: &Claimed,
        record: AttemptRecord,
        retry: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let mut world = self.owned(lease)?;
        if let Some(row) = world.row(claimed) {
            row.attempts = claimed.attempt;
            row.stand = match retry {
                Some(due) => Stand::Waiting { due: Some(due) },
                None => Stand::Dead { at: record.at },
            };
            row.faults.push(record);
        }
        match retry {
            Some(due) if world.holds(claimed) => world.waiting.get_mut(&claimed.bot).unwrap().hold(&claimed.lane, due),
            Some(_) => {}
            None => world.finish(claimed),
        }
        self.space.notify_waiters();
        Ok(())
    }

    async fn dismiss(&self, lease: &Lease, claimed: &Claimed) {
        let Ok(mut world) = self.owned(lease) else { return };
        if let Some(row) = world.row(claimed) {
            row.stand = Stand::Unwanted;
        }
        world.finish(claimed);
        self.space.notify_waiters();
    }

    async fn unclaim(&self, claimed: &Claimed, due: Option<Timestamp>) {
        let mut world = self.world();
        if world.holds(claimed) {
            let lanes = world.waiting.get_mut(&claimed.bot).unwrap();
            match due {
                Some(due) => lanes.hold(&claimed.lane, due),
                None => lanes.put_back(&claimed.lane),
            }
        }
    }

    async fn depth(&self, bot: &BotName) -> Depth {
        let world = self.world();
        let lanes = world.waiting.get(bot);
        lanes.map_or_else(Depth::default, |lanes| Depth {
            queued: lanes.len() - lanes.at_work(),
            claimed: lanes.at_work(),
        })
    }

    async fn forget_bot(&self, bot: &BotName) -> Result<u64, StoreError> {
        let (world, now, mut count) = (&mut *self.world(), Timestamp::now(), 0);
        for ((_, whose), row) in &mut world.rows {
            if whose == bot && matches!(row.stand, Stand::Waiting { .. }) {
                row.stand = Stand::Dead { at: now };
                row.faults.push(without_attempt("bot-removed", now));
                count += 1;
            }
        }
        world.waiting.remove(bot);
        self.space.notify_waiters();
        Ok(count)
    }

    async fn dead_letters(&self, bot: Option<&BotName>, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        let world = self.world();
        let mut letters: Vec<_> = world
            .rows
            .iter()
            .filter(|((_, whose), _)| bot.is_none_or(|bot| whose == bot))
            .filter_map(|((seq, whose), row)| {
                let Stand::Dead { at } = row.stand else { return None };
                let event = Event::clone(&world.events[seq].event);
                // By number, as they are listed elsewhere: 0 is none.
                let last = row.faults.iter().max_by_key(|fault| fault.attempt).cloned();
                let letter = DeadLetter {
                    id: event.id,
                    bot: whose.clone(),
                    at,
                    attempts: row.attempts,
                    last,
                    event: Some(event),
                };
                Some((*seq, letter))
            })
            .collect();
        letters.sort_by_key(|(seq, letter)| (std::cmp::Reverse(*seq), letter.bot.clone()));
        Ok(letters.into_iter().take(limit as usize).map(|(_, letter)| letter).collect())
    }

    async fn retry_dead_letter(&self, id: EventId, bot: &BotName) -> Result<bool, StoreError> {
        let world = &mut *self.world();
        let Some(seq) = world.dead(id, bot) else { return Ok(false) };
        let row = world.rows.get_mut(&(seq, bot.clone())).unwrap();
        (row.stand, row.attempts, row.is_suspect) = (Stand::Waiting { due: None }, 0, false);
        row.faults.clear();
        world.waiting.entry(bot.clone()).or_default().push(row.lane.clone(), seq);
        Ok(true)
    }

    async fn drop_dead_letter(&self, id: EventId, bot: &BotName) -> Result<bool, StoreError> {
        let mut world = self.world();
        let seq = world.dead(id, bot);
        Ok(seq.is_some_and(|seq| world.rows.remove(&(seq, bot.clone())).is_some()))
    }

    async fn story(&self, id: EventId) -> Result<Option<Story>, StoreError> {
        let world = self.world();
        let Some((seq, happened)) = world.events.iter().find(|(_, happened)| happened.event.id == id) else {
            return Ok(None);
        };
        let handlings = world.rows.iter().filter(|((of, _), _)| of == seq).map(|((_, bot), row)| {
            let mut faults = row.faults.clone();
            faults.sort_by_key(|fault| fault.attempt);
            let sends = world.asked.values().filter(|asked| asked.event == Some(id) && asked.entry.bot == *bot);
            Handling {
                bot: bot.clone(),
                priority: row.lane.priority,
                stand: row.stand,
                attempts: row.attempts,
                faults,
                sends: sends.map(super::Asked::view).collect(),
            }
        });
        Ok(Some(Story {
            event: Some(Event::clone(&happened.event)),
            id,
            origin: happened.origin.clone(),
            platform_id: happened.event.platform_id.clone(),
            received_at: happened.event.received_at,
            duplicates: happened.duplicates,
            handlings: handlings.collect(),
        }))
    }
}
