//! Which action a connector carries out next: the order of what is in the durable outbox, kept in memory. In order within a
//! conversation and class of priority, side by side across them. Every change follows one on disk; only taking is in memory alone.
//!
//! The bodies of actions are kept as long as they fit into [`BODIES_BYTES_MAX`]; the others are read when they are taken.

mod figures;
mod waiting;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

pub use self::figures::OutboxFigures;
use self::waiting::{Waiting, class};
use super::lanes::{LaneId, Lanes};
use crate::action::{Action, Priority};
use crate::clock::Timestamp;
use crate::delivery::{Loser, Order, Overflow};
use crate::event::LaneKey;
use crate::grants::ConnectorKey;
use crate::id::{BotName, EventId, Ticket};

/// Bytes of actions that are kept in memory.
const BODIES_BYTES_MAX: u64 = 64 << 20;

/// How one connector's outbox behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxSettings {
    /// Entries that it takes. Handlers that had begun when it filled up may still commit, so that it can hold somewhat more
    /// where what comes too much is rejected.
    pub len_max: usize,
    /// What gives way when it is full.
    pub overflow: Overflow,
    /// Whether priorities count.
    pub order: Order,
}

/// All outboxes.
#[derive(Debug, Default)]
pub struct Outbox {
    inner: Mutex<Inner>,
    /// Told whenever an entry is done with or dropped.
    settled: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    connectors: HashMap<ConnectorKey, Waiting>,
    bytes_in_memory: u64,
}

/// One action that waits for delivery.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its place in the order of all actions.
    pub id: u64,
    /// The bot that asked for it.
    pub bot: BotName,
    /// The connector that is to carry it out.
    pub via: ConnectorKey,
    /// The event whose handler asked for it; none: the bot's `init`, or the event is no longer kept.
    pub event: Option<EventId>,
    /// What edits and replies call the message that it sends, if it sends one.
    pub ticket: Option<Ticket>,
    /// When it stops being worth delivering; none: after the connector's own time.
    pub expires_at: Option<Timestamp>,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// Tries that were made.
    pub attempts: u32,
    /// What to do; none: it is on disk only, see [`Store::action_of`](super::Store::action_of).
    pub action: Option<Arc<Action>>,
    /// How urgent it is, also where its outbox keeps another order.
    pub(super) priority: Priority,
    pub(super) lane: LaneId,
    pub(super) bytes: u32,
}

/// Whether an outbox takes more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutboxRoom {
    /// It does.
    Free,
    /// It has as many entries as it may.
    Full,
    /// There is no such connector.
    Unknown,
}

/// What an open transaction adds to the outboxes and takes from them, before it is there. Without it, what is committed together
/// would find the same room, or displace the same entry.
#[derive(Debug, Clone, Default)]
pub(super) struct Pending {
    connectors: HashMap<ConnectorKey, PendingAt>,
}

#[derive(Debug, Clone, Default)]
struct PendingAt {
    added: Vec<(LaneId, u64, Priority)>,
    displaced: HashSet<u64>,
}

impl Pending {
    /// An entry is to come.
    pub(super) fn add(&mut self, key: &ConnectorKey, lane: LaneId, id: u64, priority: Priority) {
        self.connectors.entry(key.clone()).or_default().added.push((lane, id, priority));
    }

    /// An entry is to go: one that waits, or one that was to come.
    pub(super) fn displace(&mut self, key: &ConnectorKey, id: u64) {
        let at = self.connectors.entry(key.clone()).or_default();
        let to_come = at.added.len();
        at.added.retain(|(_, added, _)| *added != id);
        if at.added.len() == to_come {
            at.displaced.insert(id);
        }
    }
}

/// What an outbox does about an entry that is about to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Admission {
    /// It takes it.
    Taken,
    /// It takes it, and this one gives way.
    Displaces { lane: LaneId, id: u64 },
    /// It is full, and the entry is the one to give way.
    Overflows,
    /// There is no such connector any more.
    ConnectorGone,
}

impl Outbox {
    /// Makes an outbox for a connector, or gives the one that is there these settings; its entries stay, where it has more than it
    /// now takes as well. Another order is that of all that wait: so nothing leaves until what is at work has ended.
    pub fn open(&self, key: &ConnectorKey, settings: OutboxSettings) {
        let mut inner = self.lock();
        let waiting = inner.connectors.entry(key.clone()).or_default();
        waiting.settings = Some(settings);
        waiting.work.notify_one();
    }

    /// Removes a connector's outbox from memory and returns the ids of the entries that were not at work.
    pub(super) fn close(&self, key: &ConnectorKey) -> Vec<u64> {
        let mut inner = self.lock();
        let Some(waiting) = inner.connectors.remove(key) else { return Vec::new() };
        let idle: Vec<_> = waiting.lanes.idle().map(|(_, entry)| entry.id).collect();
        waiting.lanes.into_things().for_each(|entry| inner.forget(&entry));
        drop(inner);
        waiting.work.notify_one();
        self.settled.notify_waiters();
        idle
    }

    /// Returns whether a connector's outbox takes more. One that lets something give way always does.
    pub fn room(&self, key: &ConnectorKey) -> OutboxRoom {
        match self.lock().connectors.get(key).and_then(|waiting| Some((waiting, waiting.settings?))) {
            None => OutboxRoom::Unknown,
            Some((waiting, settings)) if settings.overflow == Overflow::Reject => {
                if waiting.lanes.len() < settings.len_max { OutboxRoom::Free } else { OutboxRoom::Full }
            }
            Some(_) => OutboxRoom::Free,
        }
    }

    /// Decides about an entry that is about to be committed, after what the open transaction has done already.
    pub(super) fn admit(&self, key: &ConnectorKey, priority: Priority, pending: &Pending) -> Admission {
        let inner = self.lock();
        let Some((waiting, settings)) = inner.connectors.get(key).and_then(|found| Some((found, found.settings?)))
        else {
            return Admission::ConnectorGone;
        };
        let nothing = PendingAt::default();
        let pending = pending.connectors.get(key).unwrap_or(&nothing);
        if waiting.lanes.len() + pending.added.len() < settings.len_max + pending.displaced.len() {
            return Admission::Taken;
        }
        let idle = waiting.lanes.idle().map(|(lane, entry)| (lane, entry.id, entry.priority));
        let idle = idle.filter(|(_, id, _)| !pending.displaced.contains(id));
        let added = pending.added.iter().map(|(lane, id, priority)| (lane, *id, *priority));
        let mut idle: Vec<_> = idle.chain(added).collect();
        idle.sort_unstable_by_key(|(_, id, _)| *id);
        let candidates = idle.into_iter().map(|(lane, id, priority)| ((lane, id), priority));
        match settings.overflow.loser(candidates, priority) {
            // The handler was told that there was room.
            Loser::Call => Admission::Taken,
            Loser::Newcomer => Admission::Overflows,
            Loser::Waiting((lane, id)) => Admission::Displaces { lane: lane.clone(), id },
        }
    }

    /// Returns the lane that a connector's outbox keeps such an entry in.
    pub(super) fn lane(&self, key: &ConnectorKey, lane: LaneKey, priority: Priority) -> LaneId {
        let inner = self.lock();
        let order = inner.connectors.get(key).map_or_else(Order::default, |waiting| waiting.laned);
        LaneId { key: lane, priority: class(order, priority) }
    }

    /// Lets an entry be taken that is on disk now. With `due`, not before then.
    pub(super) fn push(&self, mut entry: Entry, due: Option<Timestamp>) {
        let mut inner = self.lock();
        if entry.action.is_some() {
            if inner.bytes_in_memory + u64::from(entry.bytes) > BODIES_BYTES_MAX {
                entry.action = None;
            } else {
                inner.bytes_in_memory += u64::from(entry.bytes);
            }
        }
        let waiting = inner.connectors.entry(entry.via.clone()).or_default();
        entry.lane.priority = class(waiting.laned, entry.priority);
        let lane = entry.lane.clone();
        match due {
            Some(due) => waiting.lanes.push_held(lane, entry, due),
            None => waiting.lanes.push(lane, entry),
        }
        waiting.work.notify_one();
    }

    /// Drops an entry from memory that is lost on disk. One that is at work stays.
    pub(super) fn remove(&self, key: &ConnectorKey, lane: &LaneId, id: u64) {
        let mut inner = self.lock();
        let removed = inner.connectors.get_mut(key).and_then(|waiting| waiting.remove(lane, id));
        if let Some(entry) = removed {
            inner.forget(&entry);
            self.settled.notify_waiters();
        }
    }

    /// Returns the entries of a connector that are not at work and not worth delivering any more by `now`: those whose own time is
    /// over, or, where they name none, `ttl` after their commit.
    pub(super) fn expired(&self, key: &ConnectorKey, ttl: Duration, now: Timestamp) -> Vec<(LaneId, u64)> {
        let inner = self.lock();
        let Some(waiting) = inner.connectors.get(key) else { return Vec::new() };
        let is_over = |entry: &Entry| entry.expires_at.unwrap_or(entry.committed_at.saturating_add(ttl)) <= now;
        let over = waiting.lanes.idle().filter(|(_, entry)| is_over(entry));
        over.map(|(lane, entry)| (lane.clone(), entry.id)).collect()
    }

    /// Returns whether the message of this ticket is still to be delivered.
    pub(super) fn awaits(&self, ticket: Ticket) -> bool {
        let inner = self.lock();
        inner.connectors.values().any(|waiting| waiting.lanes.all().any(|entry| entry.ticket == Some(ticket)))
    }

    /// Returns where an entry waits that is not at work.
    pub(super) fn find(&self, id: u64) -> Option<(ConnectorKey, LaneId)> {
        let inner = self.lock();
        inner.connectors.iter().find_map(|(key, waiting)| {
            let (lane, _) = waiting.lanes.idle().find(|(_, entry)| entry.id == id)?;
            Some((key.clone(), lane.clone()))
        })
    }

    /// Takes the next entry of a connector's outbox that can be delivered now. Nothing else of its conversation and class is
    /// taken until it is settled, held or put back.
    pub fn take(&self, key: &ConnectorKey, now: Timestamp) -> Option<Entry> {
        let mut inner = self.lock();
        let waiting = inner.connectors.get_mut(key)?;
        if waiting.is_reordering() && !waiting.reorder() {
            return None;
        }
        let (_, entry) = waiting.lanes.take(now)?;
        Some(entry.clone())
    }

    /// Puts an entry that was taken back until `due`, with one more try on its account or not.
    pub fn hold(&self, entry: &Entry, due: Timestamp, attempts: u32) {
        self.with_lane(entry, |lanes| {
            if let Some(held) = lanes.at_work_in(&entry.lane) {
                held.attempts = attempts;
            }
            lanes.hold(&entry.lane, due);
        });
    }

    /// Puts an entry that was taken back as if it had not been.
    pub fn put_back(&self, entry: &Entry) {
        self.with_lane(entry, |lanes| lanes.put_back(&entry.lane));
    }

    /// Removes an entry that was taken: it has its end on disk.
    pub(super) fn finish(&self, entry: &Entry) {
        let mut finished = None;
        self.with_lane(entry, |lanes| finished = lanes.finish(&entry.lane));
        if let Some(entry) = finished {
            self.lock().forget(&entry);
        }
        self.settled.notify_waiters();
    }

    fn with_lane(&self, entry: &Entry, work: impl FnOnce(&mut Lanes<Entry>)) {
        let mut inner = self.lock();
        let Some(waiting) = inner.connectors.get_mut(&entry.via) else { return };
        // The connector may have been removed meanwhile, and another of its name begun.
        if waiting.lanes.at_work_in(&entry.lane).is_some_and(|at_work| at_work.id == entry.id) {
            work(&mut waiting.lanes);
            waiting.work.notify_one();
        }
    }

    /// Returns once no outbox of a running connector has an entry. Cancel safe.
    pub async fn drained(&self) {
        loop {
            let settled = self.settled.notified();
            if self.total() == 0 {
                return;
            }
            settled.await;
        }
    }

    /// Returns a future that ends when there may be something to take. What happens between this call and the first poll
    /// counts. None where the connector is gone.
    pub fn work(&self, key: &ConnectorKey) -> Option<OwnedNotified> {
        let inner = self.lock();
        inner.connectors.get(key).map(|waiting| Arc::clone(&waiting.work).notified_owned())
    }

    /// Returns when the first of a connector's waiting conversations is due. None also while all of them wait for what is at work.
    pub fn next_due(&self, key: &ConnectorKey) -> Option<Timestamp> {
        let inner = self.lock();
        let waiting = inner.connectors.get(key)?;
        if waiting.is_reordering() { None } else { waiting.lanes.next_due() }
    }

    /// Returns how many entries a connector's outbox has, those being delivered included.
    pub fn len(&self, key: &ConnectorKey) -> usize {
        self.lock().connectors.get(key).map_or(0, |waiting| waiting.lanes.len())
    }

    /// Returns how many entries a connector's outbox takes; none where there is no such connector.
    pub fn len_max(&self, key: &ConnectorKey) -> usize {
        let settings = self.lock().connectors.get(key).and_then(|waiting| waiting.settings);
        settings.map_or(0, |settings| settings.len_max)
    }

    /// Returns, for each connector that has an entry, when the oldest was committed that is not delivered, in no order. What it costs
    /// grows with the number of conversations that have one.
    pub fn oldest(&self) -> Vec<(ConnectorKey, Timestamp)> {
        let inner = self.lock();
        let oldest = |waiting: &Waiting| waiting.lanes.firsts().map(|entry| entry.committed_at).min();
        inner.connectors.iter().filter_map(|(key, waiting)| Some((key.clone(), oldest(waiting)?))).collect()
    }

    /// Returns how many entries the outboxes of running connectors have, those being delivered included.
    pub fn total(&self) -> usize {
        let inner = self.lock();
        inner.connectors.values().filter(|waiting| waiting.settings.is_some()).map(|waiting| waiting.lanes.len()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half-way; a poisoned lock protects consistent data.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Takes an entry that is gone off the account.
    fn forget(&mut self, entry: &Entry) {
        if entry.action.is_some() {
            self.bytes_in_memory = self.bytes_in_memory.saturating_sub(u64::from(entry.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    fn key() -> ConnectorKey {
        ConnectorKey::shared("chat".parse().unwrap())
    }

    fn settings(len_max: usize, overflow: Overflow) -> OutboxSettings {
        OutboxSettings { len_max, overflow, order: Order::Priority }
    }

    fn entry(id: u64, lane: &str, priority: Priority) -> Entry {
        Entry {
            id,
            bot: "echo".parse().unwrap(),
            via: key(),
            event: None,
            ticket: None,
            expires_at: None,
            committed_at: NOW,
            attempts: 0,
            priority,
            lane: LaneId { key: LaneKey::other("test", lane), priority },
            action: None,
            bytes: 0,
        }
    }

    fn ids(outbox: &Outbox) -> Vec<u64> {
        std::iter::from_fn(|| outbox.take(&key(), NOW)).map(|entry| entry.id).collect()
    }

    #[test]
    fn an_outbox_without_a_connector_is_unknown() {
        let outbox = Outbox::default();
        assert_eq!(outbox.room(&key()), OutboxRoom::Unknown);
        outbox.push(entry(1, "a", Priority::Normal), None);
        assert_eq!((outbox.room(&key()), outbox.total()), (OutboxRoom::Unknown, 0));
        assert_eq!(outbox.admit(&key(), Priority::Normal, &Pending::default()), Admission::ConnectorGone);
        outbox.open(&key(), settings(1, Overflow::Reject));
        assert_eq!((outbox.room(&key()), outbox.total()), (OutboxRoom::Full, 1), "what was committed for it waited");
        outbox.open(&key(), settings(2, Overflow::Reject));
        assert_eq!(outbox.room(&key()), OutboxRoom::Free);
    }

    #[test]
    fn what_gives_way_is_what_the_policy_names() {
        let cases = [
            (Overflow::Reject, Priority::Critical, None),
            (Overflow::DropOldest, Priority::Low, Some(1)),
            (Overflow::DropLowPriority, Priority::High, Some(3)),
        ];
        for (overflow, newcomer, victim) in cases {
            let outbox = Outbox::default();
            outbox.open(&key(), settings(3, overflow));
            for (id, priority) in [(1, Priority::High), (2, Priority::Normal), (3, Priority::Normal)] {
                outbox.push(entry(id, &id.to_string(), priority), None);
            }
            let displaced = match outbox.admit(&key(), newcomer, &Pending::default()) {
                Admission::Displaces { id, .. } => Some(id),
                Admission::Taken => None,
                other => panic!("{other:?}"),
            };
            assert_eq!(displaced, victim, "{overflow:?}");
        }
        let outbox = Outbox::default();
        outbox.open(&key(), settings(1, Overflow::DropLowPriority));
        outbox.push(entry(1, "a", Priority::High), None);
        assert_eq!(outbox.admit(&key(), Priority::Low, &Pending::default()), Admission::Overflows);
        outbox.open(&key(), settings(1, Overflow::DropNewest));
        assert_eq!(outbox.admit(&key(), Priority::Critical, &Pending::default()), Admission::Overflows);
    }

    #[test]
    fn priorities_count_unless_the_order_is_that_of_arrival() {
        for (order, expected) in [(Order::Priority, [2, 1]), (Order::Fifo, [1, 2])] {
            let outbox = Outbox::default();
            outbox.open(&key(), OutboxSettings { order, ..settings(9, Overflow::Reject) });
            outbox.push(entry(1, "a", Priority::Low), None);
            outbox.push(entry(2, "b", Priority::Critical), None);
            assert_eq!(ids(&outbox), expected);
        }
    }

    #[test]
    fn an_entry_that_is_held_holds_its_conversation() {
        let outbox = Outbox::default();
        outbox.open(&key(), settings(9, Overflow::Reject));
        outbox.push(entry(1, "a", Priority::Normal), None);
        outbox.push(entry(2, "a", Priority::Normal), None);
        let taken = outbox.take(&key(), NOW).unwrap();
        let due = Timestamp::from_millis(2_000);
        outbox.hold(&taken, due, 1);
        assert_eq!((outbox.take(&key(), NOW).is_none(), outbox.next_due(&key())), (true, Some(due)));
        let again = outbox.take(&key(), due).unwrap();
        assert_eq!((again.id, again.attempts), (1, 1));
        outbox.finish(&again);
        assert_eq!((ids(&outbox), outbox.total()), (vec![2], 1));
    }

    #[test]
    fn an_open_outbox_takes_fewer_from_then_on_and_loses_nothing() {
        let outbox = Outbox::default();
        outbox.open(&key(), settings(3, Overflow::Reject));
        (1..4).for_each(|id| outbox.push(entry(id, &id.to_string(), Priority::Normal), None));
        outbox.open(&key(), settings(1, Overflow::Reject));
        assert_eq!((outbox.room(&key()), outbox.len(&key())), (OutboxRoom::Full, 3));
        outbox.open(&key(), settings(1, Overflow::DropNewest));
        assert_eq!(outbox.admit(&key(), Priority::Normal, &Pending::default()), Admission::Overflows);
        assert_eq!(ids(&outbox), [1, 2, 3]);
    }

    #[test]
    fn another_order_of_an_open_outbox_waits_for_what_is_at_work() {
        let outbox = Outbox::default();
        let ordered = |order| OutboxSettings { order, ..settings(9, Overflow::Reject) };
        outbox.open(&key(), ordered(Order::Priority));
        outbox.push(entry(1, "a", Priority::Low), None);
        outbox.push(entry(2, "a", Priority::High), None);
        outbox.push(entry(3, "a", Priority::High), None);
        let first = outbox.take(&key(), NOW).unwrap();
        assert_eq!(first.id, 2);
        outbox.open(&key(), ordered(Order::Fifo));
        assert!(outbox.take(&key(), NOW).is_none() && outbox.next_due(&key()).is_none());
        outbox.hold(&first, Timestamp::from_millis(2_000), 1);
        // By arrival now, the held one behind the first of its conversation.
        let first = outbox.take(&key(), NOW).unwrap();
        assert_eq!((first.id, outbox.take(&key(), NOW).is_none()), (1, true));
        outbox.finish(&first);
        assert_eq!(outbox.take(&key(), NOW).map(|entry| (entry.id, entry.attempts)), Some((2, 1)));
    }

    #[test]
    fn what_is_removed_is_found_in_whatever_order_it_waits() {
        let outbox = Outbox::default();
        let ordered = |order| OutboxSettings { order, ..settings(9, Overflow::Reject) };
        outbox.open(&key(), ordered(Order::Priority));
        outbox.push(entry(1, "a", Priority::Low), None);
        outbox.push(entry(2, "b", Priority::Low), None);
        let (_, lane) = outbox.find(1).unwrap();
        outbox.open(&key(), ordered(Order::Fifo));
        let taken = outbox.take(&key(), NOW).unwrap();
        outbox.put_back(&taken);
        outbox.remove(&key(), &lane, 1);
        assert_eq!(ids(&outbox), [2]);
    }

    #[test]
    fn closing_returns_what_was_not_at_work() {
        let outbox = Outbox::default();
        outbox.open(&key(), settings(9, Overflow::Reject));
        outbox.push(entry(1, "a", Priority::Normal), None);
        outbox.push(entry(2, "a", Priority::Normal), None);
        let taken = outbox.take(&key(), NOW).unwrap();
        assert_eq!(outbox.close(&key()), [2]);
        outbox.finish(&taken);
        assert_eq!(outbox.room(&key()), OutboxRoom::Unknown);
    }
}
