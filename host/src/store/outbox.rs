//! Actions that are committed and not yet delivered, connector by connector, and the platform's ids of what was sent. In
//! memory: what is in here is lost when the process ends.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::action::Action;
use crate::clock::Timestamp;
use crate::event::LaneKey;
use crate::grants::ConnectorKey;
use crate::id::{BotName, EventId, Ticket};

/// How many tickets are remembered; the oldest is forgotten first.
const TICKETS_MAX: usize = 100_000;

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
    platform_ids: HashMap<Ticket, String>,
    /// The remembered tickets, oldest first.
    tickets: VecDeque<Ticket>,
}

#[derive(Debug)]
struct Waiting {
    entries: VecDeque<Entry>,
    /// Taken out and not yet settled.
    at_work: usize,
    capacity: usize,
    work: Arc<Notify>,
}

/// One action that waits for delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The bot that asked for it.
    pub bot: BotName,
    /// The event it belongs to; none: the bot's `init`.
    pub event: Option<EventId>,
    /// What to do.
    pub action: Action,
    /// When it was committed.
    pub committed_at: Timestamp,
}

/// There is no such connector any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the connector {0} was removed")]
pub struct ConnectorGone(ConnectorKey);

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

impl Entry {
    /// Returns what deliveries keep their order within.
    pub fn lane(&self) -> LaneKey {
        LaneKey::conversation(&self.action.at)
    }
}

impl Outbox {
    /// Makes an outbox for a connector; one that is there keeps its entries. Handlers that had begun when it filled up may
    /// still commit, so it can hold somewhat more than `capacity`.
    pub fn open(&self, key: &ConnectorKey, capacity: usize) {
        let mut inner = self.lock();
        let waiting = inner.connectors.entry(key.clone()).or_insert_with(|| Waiting {
            entries: VecDeque::new(),
            at_work: 0,
            capacity,
            work: Arc::default(),
        });
        waiting.capacity = capacity;
    }

    /// Removes a connector's outbox and returns how many entries it had.
    pub fn close(&self, key: &ConnectorKey) -> usize {
        let removed = self.lock().connectors.remove(key);
        self.settled.notify_waiters();
        removed.map_or(0, |waiting| waiting.entries.len())
    }

    /// Returns whether a connector's outbox takes more.
    pub fn room(&self, key: &ConnectorKey) -> OutboxRoom {
        match self.lock().connectors.get(key) {
            None => OutboxRoom::Unknown,
            Some(waiting) if waiting.entries.len() < waiting.capacity => OutboxRoom::Free,
            Some(_) => OutboxRoom::Full,
        }
    }

    /// Adds an entry at the end of its connector's outbox.
    ///
    /// # Errors
    ///
    /// Its connector is gone, and the entry with it.
    pub fn push(&self, entry: Entry) -> Result<(), ConnectorGone> {
        let mut inner = self.lock();
        let Some(waiting) = inner.connectors.get_mut(&entry.action.via) else {
            return Err(ConnectorGone(entry.action.via));
        };
        waiting.entries.push_back(entry);
        waiting.work.notify_one();
        Ok(())
    }

    /// Takes the first entry of a connector's outbox whose conversation is not among the `busy`; [`Outbox::settled`] says when
    /// it is done with.
    pub fn take(&self, key: &ConnectorKey, busy: &HashSet<LaneKey>) -> Option<Entry> {
        let mut inner = self.lock();
        let waiting = inner.connectors.get_mut(key)?;
        let first = waiting.entries.iter().position(|entry| busy.is_empty() || !busy.contains(&entry.lane()))?;
        let entry = waiting.entries.remove(first)?;
        waiting.at_work += 1;
        Some(entry)
    }

    /// Says that an entry that was taken is done with.
    pub fn settled(&self, key: &ConnectorKey) {
        if let Some(waiting) = self.lock().connectors.get_mut(key) {
            waiting.at_work = waiting.at_work.saturating_sub(1);
        }
        self.settled.notify_waiters();
    }

    /// Returns once no outbox has an entry. Cancel safe.
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
        self.lock().connectors.get(key).map(|waiting| Arc::clone(&waiting.work).notified_owned())
    }

    /// Returns how many entries a connector's outbox has, those being delivered included.
    pub fn len(&self, key: &ConnectorKey) -> usize {
        self.lock().connectors.get(key).map_or(0, |waiting| waiting.entries.len() + waiting.at_work)
    }

    /// Returns how many entries all outboxes have, those being delivered included.
    pub fn total(&self) -> usize {
        self.lock().connectors.values().map(|waiting| waiting.entries.len() + waiting.at_work).sum()
    }

    /// Remembers the platform's id of what was sent.
    pub fn remember(&self, ticket: Ticket, platform_id: String) {
        let mut inner = self.lock();
        if inner.platform_ids.insert(ticket, platform_id).is_none() {
            inner.tickets.push_back(ticket);
        }
        if inner.tickets.len() > TICKETS_MAX
            && let Some(oldest) = inner.tickets.pop_front()
        {
            inner.platform_ids.remove(&oldest);
        }
    }

    /// Returns the platform's id of what was sent, if it is known.
    pub fn platform_id(&self, ticket: Ticket) -> Option<String> {
        self.lock().platform_ids.get(&ticket).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Nothing in here panics half-way; a poisoned lock protects consistent data.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_ticket_is_forgotten_first() {
        let outbox = Outbox::default();
        for number in 0..=TICKETS_MAX as u64 {
            outbox.remember(Ticket(number), number.to_string());
        }
        assert_eq!(outbox.platform_id(Ticket(0)), None);
        assert_eq!(outbox.platform_id(Ticket(1)), Some("1".into()));
    }

    #[test]
    fn an_outbox_without_a_connector_is_unknown() {
        let outbox = Outbox::default();
        let key = ConnectorKey::shared("telegram".parse().unwrap());
        assert_eq!(outbox.room(&key), OutboxRoom::Unknown);
        outbox.open(&key, 0);
        assert_eq!(outbox.room(&key), OutboxRoom::Full);
        outbox.open(&key, 1);
        assert_eq!(outbox.room(&key), OutboxRoom::Free);
    }
}
