//! Actions on their way to platforms, in the model.

use std::sync::Arc;

use super::{Asked, Line, Memory, World, ordered, push};
use crate::action::{Act, Action};
use crate::clock::Timestamp;
use crate::delivery::{self, Loser};
use crate::event::LaneKey;
use crate::grants::ConnectorKey;
use crate::id::Ticket;
use crate::store::engine::{Lease, Outbox};
use crate::store::history::{Send, SendFilter, SendStand};
use crate::store::lanes::LaneId;
use crate::store::{Entry, OutboxSettings, Sent, Settlement, StoreError};

impl Asked {
    pub(super) fn view(&self) -> Send {
        Send {
            id: self.entry.id,
            event: self.event,
            bot: self.entry.bot.clone(),
            connector: self.entry.via.to_string(),
            committed_at: self.entry.committed_at,
            stand: self.stand.clone(),
            attempts: self.entry.attempts,
            action: Some(Action::clone(&self.action)),
        }
    }

    fn lose(&mut self, reason: &str, at: Timestamp) {
        self.stand = SendStand::Lost { at, reason: reason.to_owned() };
    }

    fn waits(&self) -> bool {
        matches!(self.stand, SendStand::Waiting { .. } | SendStand::PerhapsSent)
    }
}

impl World {
    /// Puts what a handler sends into the outboxes, one after another.
    pub(super) fn send(&mut self, settlement: &Settlement<'_>) {
        let now = settlement.now;
        let event = settlement.done.map(|(claimed, _)| self.events[&claimed.seq].event.id);
        for action in &settlement.effects.actions {
            self.sent += 1;
            let (ticket, expires_after) = match &action.act {
                Act::Send { ticket, message } => (Some(*ticket), message.expires_after),
                Act::Edit { message, .. } => (None, message.expires_after),
                Act::Delete { .. } | Act::React { .. } => (None, None),
            };
            let lane = LaneId { key: LaneKey::conversation(&action.at), priority: delivery::priority(&action.act) };
            let reply_by = settlement.reply_by.iter().filter(|(of, _)| *of == lane.key).map(|(_, moment)| *moment);
            let expires_at = expires_after.map(|wait| now.saturating_add(wait)).into_iter().chain(reply_by).min();
            let entry = Entry {
                id: self.sent,
                bot: settlement.bot.clone(),
                via: action.via.clone(),
                event,
                ticket,
                expires_at,
                committed_at: now,
                attempts: 0,
                priority: lane.priority,
                lane,
                action: None,
                bytes: 0,
            };
            let stand = SendStand::Waiting { due: None };
            let mut asked = Asked { entry, event, action: Arc::new(action.clone()), stand };
            match self.admit(&asked.entry, now) {
                Ok(()) => {
                    let line = self.outboxes.get_mut(&action.via).unwrap();
                    line.lanes.push(ordered(&asked.entry.lane, line.laned), self.sent);
                }
                Err(reason) => asked.lose(reason, now),
            }
            self.asked.insert(self.sent, asked);
        }
    }

    /// Makes room for an entry. Returns why there is none.
    fn admit(&mut self, entry: &Entry, now: Timestamp) -> Result<(), &'static str> {
        let Some(Line { settings: Some(settings), lanes, .. }) = self.outboxes.get(&entry.via) else {
            return Err("connector-removed");
        };
        if lanes.len() < settings.len_max {
            return Ok(());
        }
        let mut idle: Vec<_> = lanes.idle().map(|(_, id)| *id).collect();
        idle.sort_unstable();
        let idle = idle.into_iter().map(|id| (id, self.asked[&id].entry.priority));
        match settings.overflow.loser(idle, entry.priority) {
            Loser::Call => Ok(()),
            Loser::Newcomer => Err("overflow"),
            Loser::Waiting(id) => {
                self.take_out(id);
                self.asked.get_mut(&id).unwrap().lose("overflow", now);
                Ok(())
            }
        }
    }

    /// Takes an entry out of its outbox that is not at work. Returns whether it was in there.
    fn take_out(&mut self, id: u64) -> bool {
        let Some(line) = self.asked.get(&id).and_then(|asked| self.outboxes.get_mut(&asked.entry.via)) else {
            return false;
        };
        let lane = line.lanes.idle().find(|(_, other)| **other == id).map(|(lane, _)| lane.clone());
        lane.is_some_and(|lane| line.lanes.remove(&lane, |other| *other == id).is_some())
    }

    /// Puts what waits for a connector into the order that it wants now. Returns whether it is in that order: not while something
    /// is at work.
    fn is_in_order(&mut self, key: &ConnectorKey) -> bool {
        let Some(line) = self.outboxes.get_mut(key) else { return true };
        let Some(settings) = line.settings.filter(|settings| settings.order != line.laned) else { return true };
        if line.lanes.at_work() > 0 {
            return false;
        }
        (line.lanes, line.laned) = (Default::default(), settings.order);
        for (id, asked) in self.asked.iter().filter(|(_, asked)| asked.entry.via == *key && asked.waits()) {
            let due = if let SendStand::Waiting { due } = asked.stand { due } else { None };
            push(&mut line.lanes, ordered(&asked.entry.lane, line.laned), *id, due);
        }
        true
    }

    fn end(&mut self, entry: &Entry, attempts: u32, stand: SendStand) {
        if let Some(Line { lanes, .. }) = self.outboxes.get_mut(&entry.via)
            && lanes.at_work_in(&entry.lane).is_some_and(|id| *id == entry.id)
        {
            lanes.finish(&entry.lane);
        }
        if let Some(asked) = self.asked.get_mut(&entry.id) {
            (asked.entry.attempts, asked.stand) = (attempts, stand);
        }
    }
}

impl Outbox for Memory {
    async fn open(&self, key: &ConnectorKey, settings: OutboxSettings) {
        self.world().outboxes.entry(key.clone()).or_default().settings = Some(settings);
    }

    async fn close(&self, key: &ConnectorKey) -> Result<u64, StoreError> {
        let (mut world, mut lost) = (self.world(), 0);
        let Some(line) = world.outboxes.remove(key) else { return Ok(0) };
        for (_, id) in line.lanes.idle() {
            world.asked.get_mut(id).unwrap().lose("connector-removed", Timestamp::now());
            lost += 1;
        }
        Ok(lost)
    }

    async fn take(&self, _lease: &Lease, key: &ConnectorKey, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        let world = &mut *self.world();
        if !world.is_in_order(key) {
            return Ok(None);
        }
        let Some((lane, id)) = world.outboxes.get_mut(key).and_then(|line| line.lanes.take(now)) else {
            return Ok(None);
        };
        Ok(Some(Entry { lane, ..world.asked[id].entry.clone() }))
    }

    async fn action_of(&self, entry: &Entry) -> Result<Option<Arc<Action>>, StoreError> {
        Ok(self.world().asked.get(&entry.id).map(|asked| Arc::clone(&asked.action)))
    }

    async fn begun(&self, lease: &Lease, entry: &Entry) -> Result<(), StoreError> {
        let mut world = self.owned(lease)?;
        if let Some(asked) = world.asked.get_mut(&entry.id).filter(|asked| asked.waits()) {
            asked.stand = SendStand::PerhapsSent;
        }
        Ok(())
    }

    async fn hold(&self, lease: &Lease, entry: &Entry, attempts: u32, due: Timestamp, _error: &str) {
        let Ok(mut world) = self.owned(lease) else { return };
        if let Some(Line { lanes, .. }) = world.outboxes.get_mut(&entry.via)
            && lanes.at_work_in(&entry.lane).is_some_and(|id| *id == entry.id)
        {
            lanes.hold(&entry.lane, due);
        }
        if let Some(asked) = world.asked.get_mut(&entry.id).filter(|asked| asked.waits()) {
            asked.stand = SendStand::Waiting { due: Some(due) };
            asked.entry.attempts = attempts;
        }
    }

    async fn delivered(
        &self,
        lease: &Lease,
        entry: Entry,
        attempts: u32,
        platform_id: Option<String>,
    ) -> Result<(), StoreError> {
        let mut world = self.owned(lease)?;
        world.tickets.extend(entry.ticket.zip(platform_id.clone()));
        world.end(&entry, attempts, SendStand::Delivered { at: Timestamp::now(), platform_id });
        Ok(())
    }

    async fn lost(&self, lease: &Lease, entry: Entry, attempts: u32, reason: &str) -> Result<(), StoreError> {
        let stand = SendStand::Lost { at: Timestamp::now(), reason: reason.to_owned() };
        self.owned(lease)?.end(&entry, attempts, stand);
        Ok(())
    }

    async fn sent(&self, ticket: Ticket) -> Result<Sent, StoreError> {
        let world = self.world();
        let waits = world.asked.values().any(|asked| asked.entry.ticket == Some(ticket) && asked.waits());
        Ok(match world.tickets.get(&ticket) {
            Some(id) => Sent::As(id.clone()),
            None if waits => Sent::NotYet,
            None => Sent::Never,
        })
    }

    async fn len(&self, key: &ConnectorKey) -> usize {
        self.world().outboxes.get(key).map_or(0, |line| line.lanes.len())
    }

    async fn sends(
        &self,
        filter: SendFilter,
        connector: Option<&ConnectorKey>,
        limit: u32,
    ) -> Result<Vec<Send>, StoreError> {
        let world = self.world();
        let of = world.asked.values().filter(|asked| connector.is_none_or(|key| asked.entry.via == *key));
        let is_lost = |asked: &&Asked| matches!(asked.stand, SendStand::Lost { .. });
        Ok(match filter {
            SendFilter::Waiting => of.filter(|asked| asked.waits()).take(limit as usize).map(Asked::view).collect(),
            SendFilter::Lost => of.rev().filter(is_lost).take(limit as usize).map(Asked::view).collect(),
        })
    }

    async fn retry_send(&self, id: u64) -> Result<bool, StoreError> {
        let world = &mut *self.world();
        let lost = world.asked.get_mut(&id).filter(|asked| matches!(asked.stand, SendStand::Lost { .. }));
        let Some(asked) = lost else { return Ok(false) };
        asked.stand = SendStand::Waiting { due: None };
        (asked.entry.attempts, asked.entry.expires_at) = (0, None);
        let line = world.outboxes.entry(asked.entry.via.clone()).or_default();
        line.lanes.push(ordered(&asked.entry.lane, line.laned), id);
        Ok(true)
    }

    async fn drop_send(&self, id: u64) -> Result<bool, StoreError> {
        let mut world = self.world();
        if !world.take_out(id) {
            return Ok(false);
        }
        world.asked.get_mut(&id).unwrap().lose("dropped", Timestamp::now());
        Ok(true)
    }
}
