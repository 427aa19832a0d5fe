//! What the store does for whoever delivers, and for whoever looks into queue and outbox: bodies that are not in memory, the ends
//! of actions, what operators ask.

use std::sync::Arc;
use std::time::Duration;

use super::engine::Lease;
use super::history::{DeadLetter, SearchPage, SearchQuery, Send, SendFilter, Story, cut};
use super::outbox::Entry;
use super::queue::Claimed;
use super::sqlite::{Fate, Read, SendEnd, Write};
use super::{Store, StoreError};
use crate::action::Action;
use crate::clock::Timestamp;
use crate::event::Event;
use crate::grants::ConnectorKey;
use crate::id::{BotName, EventId, Ticket};

/// Longest reason that is kept with an action, in bytes.
const REASON_BYTES_MAX: usize = 1 << 10;

/// A key of the state, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateEntry {
    /// The key. What is no UTF-8 of it, which only damage can make, is replaced.
    pub key: String,
    /// How many bytes the value has.
    pub bytes: u64,
    /// When it is gone by itself.
    pub expires_at: Option<Timestamp>,
}

/// What is known of a message that a bot sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// The platform knows it by this id.
    As(String),
    /// It still waits.
    NotYet,
    /// It was lost, or is forgotten.
    Never,
}

impl Store {
    /// Returns the event that was claimed; none where it is gone.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] where what is stored cannot be trusted. It was put aside.
    pub async fn event_of(&self, claimed: &Claimed) -> Result<Option<Arc<Event>>, StoreError> {
        if let Some(event) = &claimed.event {
            return Ok(Some(Arc::clone(event)));
        }
        let seq = claimed.seq;
        let found = self.read(Timestamp::now(), |reply| Read::Event { seq, reply }).await?;
        Ok(found.map(Arc::new))
    }

    /// Returns the action that was taken; none where it is gone.
    ///
    /// # Errors
    ///
    /// As [`Store::event_of`].
    pub async fn action_of(&self, entry: &Entry) -> Result<Option<Arc<Action>>, StoreError> {
        if let Some(action) = &entry.action {
            return Ok(Some(Arc::clone(action)));
        }
        let id = entry.id;
        let found = self.read(Timestamp::now(), |reply| Read::Action { id, reply }).await?;
        Ok(found.map(Arc::new))
    }

    /// Returns what is known of a message that a bot sent.
    ///
    /// # Errors
    ///
    /// Where the database cannot be read.
    pub async fn sent(&self, ticket: Ticket) -> Result<Sent, StoreError> {
        // In memory first: what is delivered is on disk before it leaves the memory.
        if self.outbox().awaits(ticket) {
            return Ok(Sent::NotYet);
        }
        let known = self.read(Timestamp::now(), |reply| Read::PlatformId { ticket, reply }).await?;
        Ok(known.map_or(Sent::Never, Sent::As))
    }

    /// Notes that an action is about to be handed over, so that a crash from here on leaves it as perhaps delivered. Returns when
    /// that is on disk.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub async fn send_begun(&self, entry: &Entry) -> Result<(), StoreError> {
        self.send_begun_under(&self.shared.lease, entry).await
    }

    pub(super) async fn send_begun_under(&self, lease: &Lease, entry: &Entry) -> Result<(), StoreError> {
        let (lease, id) = (Arc::new(lease.clone()), entry.id);
        self.write(|reply| Write::SendBegun { lease, id, reply }).await
    }

    /// Notes that an action was not delivered and waits until `due`. Returns once that is on its way to the disk.
    pub async fn send_failed(&self, entry: &Entry, attempts: u32, due: Timestamp, error: &str) {
        self.send_failed_under(&self.shared.lease, entry, attempts, due, error).await;
    }

    pub(super) async fn send_failed_under(
        &self,
        lease: &Lease,
        entry: &Entry,
        attempts: u32,
        due: Timestamp,
        error: &str,
    ) {
        self.outbox().hold(entry, due, attempts);
        let (lease, error) = (Arc::new(lease.clone()), cut(error.to_owned(), REASON_BYTES_MAX));
        // Only a store that is closed does not take it.
        let _ = self.shared.writes.send(Write::SendFailed { lease, id: entry.id, attempts, due, error }).await;
    }

    /// Notes that the platform took an action. Returns when that is on disk.
    ///
    /// # Errors
    ///
    /// Where it cannot be written. The action is still at work then.
    pub async fn delivered(&self, entry: Entry, attempts: u32, platform_id: Option<String>) -> Result<(), StoreError> {
        self.delivered_under(&self.shared.lease, entry, attempts, platform_id).await
    }

    pub(super) async fn delivered_under(
        &self,
        lease: &Lease,
        entry: Entry,
        attempts: u32,
        platform_id: Option<String>,
    ) -> Result<(), StoreError> {
        self.send_ended(lease, entry, attempts, SendEnd::Delivered { platform_id }).await
    }

    /// Notes that an action will not be delivered. Returns when that is on disk.
    ///
    /// # Errors
    ///
    /// As [`Store::delivered`].
    pub async fn lost(&self, entry: Entry, attempts: u32, reason: &str) -> Result<(), StoreError> {
        self.lost_under(&self.shared.lease, entry, attempts, reason).await
    }

    pub(super) async fn lost_under(
        &self,
        lease: &Lease,
        entry: Entry,
        attempts: u32,
        reason: &str,
    ) -> Result<(), StoreError> {
        let reason = cut(reason.to_owned(), REASON_BYTES_MAX);
        self.send_ended(lease, entry, attempts, SendEnd::Lost { reason }).await
    }

    /// Notes that what has waited too long for a connector will not be delivered; `ttl` is how long what names no time of its own
    /// may wait. Returns how many.
    ///
    /// # Errors
    ///
    /// Where it cannot be written. It waits on, then.
    pub async fn expire_sends(&self, key: &ConnectorKey, ttl: Duration) -> Result<u64, StoreError> {
        let now = Timestamp::steady();
        if self.outbox().expired(key, ttl, now).is_empty() {
            return Ok(0);
        }
        let key = key.clone();
        self.write(|reply| Write::ExpireSends { key, ttl, now, reply }).await
    }

    async fn send_ended(&self, lease: &Lease, entry: Entry, attempts: u32, end: SendEnd) -> Result<(), StoreError> {
        let (lease, entry, now) = (Arc::new(lease.clone()), Box::new(entry), Timestamp::now());
        self.write(|reply| Write::SendEnded { lease, entry, attempts, end, now, reply }).await
    }

    /// Makes dead letters of what waits for a bot that is gone, and forgets its incidents and which of its versions are condemned:
    /// one that comes back under its name begins anew. Returns how many events waited.
    ///
    /// # Errors
    ///
    /// Where it cannot be written. It waits on, then.
    pub async fn forget_bot(&self, bot: &BotName) -> Result<u64, StoreError> {
        let (bot, now) = (bot.clone(), Timestamp::now());
        self.write(|reply| Write::ForgetBot { bot, now, reply }).await
    }

    /// Removes the outbox of a connector that is gone, and what it kept for itself; what waits is lost. Returns how many.
    ///
    /// # Errors
    ///
    /// Where it cannot be written. The next process finds it waiting, then.
    pub async fn close_outbox(&self, key: &ConnectorKey) -> Result<u64, StoreError> {
        let (key, now) = (key.clone(), Timestamp::now());
        self.write(|reply| Write::CloseOutbox { key, now, reply }).await
    }

    /// Returns everything that is known of an event; none where it is not, or no longer.
    ///
    /// # Errors
    ///
    /// Where the database cannot be read.
    pub async fn story(&self, id: EventId) -> Result<Option<Story>, StoreError> {
        self.read(Timestamp::now(), |reply| Read::Story { id, reply }).await
    }

    /// Returns up to `limit` keys of what a bot keeps, after `after` in byte order, without those that have expired by `now`.
    ///
    /// # Errors
    ///
    /// Where the database cannot be read.
    pub async fn state_entries(
        &self,
        bot: &BotName,
        after: Option<&str>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<StateEntry>, StoreError> {
        let (bot, after) = (bot.clone(), after.map(str::to_owned));
        self.read(now, |reply| Read::StateEntries { bot, after, limit, now, reply }).await
    }

    /// Finds events that were taken over, the newest first.
    ///
    /// # Errors
    ///
    /// Where the database cannot be read.
    pub async fn search(&self, query: SearchQuery) -> Result<SearchPage, StoreError> {
        self.read(Timestamp::now(), |reply| Read::Search { query: Box::new(query), reply }).await
    }

    /// Returns up to `limit` dead letters, the latest first.
    ///
    /// # Errors
    ///
    /// Where the database cannot be read.
    pub async fn dead_letters(&self, bot: Option<&BotName>, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        let bot = bot.cloned();
        self.read(Timestamp::now(), |reply| Read::DeadLetters { bot, limit, reply }).await
    }

    /// Returns up to `limit` entries of the outbox.
    ///
    /// # Errors
    ///
    /// Where the database cannot be read.
    pub async fn sends(
        &self,
        filter: SendFilter,
        connector: Option<&ConnectorKey>,
        limit: u32,
    ) -> Result<Vec<Send>, StoreError> {
        let connector = connector.cloned();
        self.read(Timestamp::now(), |reply| Read::Sends { filter, connector, limit, reply }).await
    }

    /// Returns one entry of the outbox.
    ///
    /// # Errors
    ///
    /// Where the database cannot be read.
    pub async fn send(&self, id: u64) -> Result<Option<Send>, StoreError> {
        self.read(Timestamp::now(), |reply| Read::Send { id, reply }).await
    }

    /// Lets a dead letter be tried again, from its first attempt on. Returns whether there is one.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub async fn retry_dead_letter(&self, id: EventId, bot: &BotName) -> Result<bool, StoreError> {
        self.dead_letter(id, bot, Fate::Retry).await
    }

    /// Drops a dead letter for good. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub async fn drop_dead_letter(&self, id: EventId, bot: &BotName) -> Result<bool, StoreError> {
        self.dead_letter(id, bot, Fate::Drop).await
    }

    async fn dead_letter(&self, id: EventId, bot: &BotName, fate: Fate) -> Result<bool, StoreError> {
        let (bot, now) = (bot.clone(), Timestamp::now());
        Ok(self.write(|reply| Write::DeadLetter { id, bot, fate, now, reply }).await? > 0)
    }

    /// Lets an action that was lost be delivered after all. Returns whether there is one.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub async fn retry_send(&self, id: u64) -> Result<bool, StoreError> {
        self.operate_send(id, Fate::Retry).await
    }

    /// Gives an action up that waits. Returns whether there was one; what is being delivered is none.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub async fn drop_send(&self, id: u64) -> Result<bool, StoreError> {
        self.operate_send(id, Fate::Drop).await
    }

    async fn operate_send(&self, id: u64, fate: Fate) -> Result<bool, StoreError> {
        // The time of one that is retried begins anew, by the clock that outboxes go by.
        let now = Timestamp::steady();
        Ok(self.write(|reply| Write::Send { id, fate, now, reply }).await? > 0)
    }
}
