//! [`Store`] as an engine: its own verbs, with the lease given instead of its own.

use std::sync::Arc;
use std::time::Duration;

use super::{Engine, Fence, Lease, LeaseName, Leases, Outbox, Partition, Queue, SendRecord, State};
use crate::action::Action;
use crate::clock::Timestamp;
use crate::event::Event;
use crate::grants::ConnectorKey;
use crate::id::{BotName, EventId, Ticket};
use crate::store::blobs::BlobDirectory;
use crate::store::history::{AttemptRecord, DeadLetter, SendFilter, Story};
use crate::store::sqlite::{LeaseStep, Write};
use crate::store::{
    Appended, Claimed, Depth, Entry, NewEvent, OutboxSettings, Sent, Settled, Settlement, StateValue, Store, StoreError,
};

impl Queue for Store {
    async fn append(&self, _partition: Partition, new: NewEvent) -> Result<Appended, StoreError> {
        self.submit(new).await?.done().await
    }

    async fn claim(&self, lease: &Lease, bot: &BotName, now: Timestamp) -> Result<Option<Claimed>, StoreError> {
        // Only in memory: an owner that is none any more learns it when it writes what came of the claim.
        debug_assert!(matches!(lease.name, LeaseName::Partition(_)), "bots belong to partitions");
        Ok(self.queue().claim(bot, now))
    }

    async fn event_of(&self, claimed: &Claimed) -> Result<Option<Arc<Event>>, StoreError> {
        Store::event_of(self, claimed).await
    }

    async fn begin(&self, lease: &Lease, claimed: &Claimed) -> Result<(), StoreError> {
        self.begin_under(lease, claimed).await
    }

    async fn settle(&self, lease: &Lease, settlement: Settlement<'_>) -> Result<Settled, StoreError> {
        self.settle_under(lease, settlement).await
    }

    async fn fail(
        &self,
        lease: &Lease,
        claimed: &Claimed,
        record: AttemptRecord,
        retry: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.fail_under(lease, claimed, record, retry).await
    }

    async fn dismiss(&self, lease: &Lease, claimed: &Claimed) {
        self.dismiss_under(lease, claimed).await;
    }

    async fn unclaim(&self, claimed: &Claimed, due: Option<Timestamp>) {
        self.queue().unclaim(claimed, due);
    }

    async fn depth(&self, bot: &BotName) -> Depth {
        self.queue().depth(bot)
    }

    async fn forget_bot(&self, bot: &BotName) -> Result<u64, StoreError> {
        Store::forget_bot(self, bot).await
    }

    async fn dead_letters(&self, bot: Option<&BotName>, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        Store::dead_letters(self, bot, limit).await
    }

    async fn retry_dead_letter(&self, id: EventId, bot: &BotName) -> Result<bool, StoreError> {
        Store::retry_dead_letter(self, id, bot).await
    }

    async fn drop_dead_letter(&self, id: EventId, bot: &BotName) -> Result<bool, StoreError> {
        Store::drop_dead_letter(self, id, bot).await
    }

    async fn story(&self, id: EventId) -> Result<Option<Story>, StoreError> {
        Store::story(self, id).await
    }
}

impl Outbox for Store {
    async fn open(&self, key: &ConnectorKey, settings: OutboxSettings) {
        self.outbox().open(key, settings);
    }

    async fn close(&self, key: &ConnectorKey) -> Result<u64, StoreError> {
        self.close_outbox(key).await
    }

    async fn take(&self, lease: &Lease, key: &ConnectorKey, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        debug_assert!(matches!(lease.name, LeaseName::Partition(_)), "what bots send belongs to their partition");
        Ok(self.outbox().take(key, now))
    }

    async fn action_of(&self, entry: &Entry) -> Result<Option<Arc<Action>>, StoreError> {
        Store::action_of(self, entry).await
    }

    async fn begun(&self, lease: &Lease, entry: &Entry) -> Result<(), StoreError> {
        self.send_begun_under(lease, entry).await
    }

    async fn hold(&self, lease: &Lease, entry: &Entry, attempts: u32, due: Timestamp, error: &str) {
        self.send_failed_under(lease, entry, attempts, due, error).await;
    }

    async fn delivered(
        &self,
        lease: &Lease,
        entry: Entry,
        attempts: u32,
        platform_id: Option<String>,
    ) -> Result<(), StoreError> {
        self.delivered_under(lease, entry, attempts, platform_id).await
    }

    async fn lost(&self, lease: &Lease, entry: Entry, attempts: u32, reason: &str) -> Result<(), StoreError> {
        self.lost_under(lease, entry, attempts, reason).await
    }

    async fn sent(&self, ticket: Ticket) -> Result<Sent, StoreError> {
        Store::sent(self, ticket).await
    }

    async fn len(&self, key: &ConnectorKey) -> usize {
        self.outbox().len(key)
    }

    async fn sends(
        &self,
        filter: SendFilter,
        connector: Option<&ConnectorKey>,
        limit: u32,
    ) -> Result<Vec<SendRecord>, StoreError> {
        Store::sends(self, filter, connector, limit).await
    }

    async fn retry_send(&self, id: u64) -> Result<bool, StoreError> {
        Store::retry_send(self, id).await
    }

    async fn drop_send(&self, id: u64) -> Result<bool, StoreError> {
        Store::drop_send(self, id).await
    }
}

impl State for Store {
    async fn get(&self, bot: &BotName, key: &str, now: Timestamp) -> Result<Option<StateValue>, StoreError> {
        self.state_get(bot, key, now).await
    }

    async fn keys(
        &self,
        bot: &BotName,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<String>, StoreError> {
        self.state_keys(bot, prefix, after, limit, now).await
    }

    async fn timers(&self, bot: &BotName) -> Result<Vec<String>, StoreError> {
        self.timer_names(bot).await
    }
}

impl Leases for Store {
    async fn acquire(
        &self,
        name: &LeaseName,
        holder: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Option<Lease>, StoreError> {
        let (holder, expires_at) = (Arc::<str>::from(holder), now.saturating_add(ttl));
        let step = LeaseStep::Acquire { name: name.to_string(), holder: Arc::clone(&holder), expires_at, now };
        let fence = self.write(|reply| Write::Lease { step, reply }).await?;
        Ok(fence.map(|fence| Lease { name: name.clone(), fence: Fence(fence), holder, expires_at }))
    }

    async fn renew(&self, lease: &Lease, ttl: Duration, now: Timestamp) -> Result<Option<Lease>, StoreError> {
        let expires_at = now.saturating_add(ttl);
        let step = LeaseStep::Renew { name: lease.name.to_string(), fence: lease.fence.0, expires_at, now };
        let fence = self.write(|reply| Write::Lease { step, reply }).await?;
        Ok(fence.map(|_| Lease { expires_at, ..lease.clone() }))
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        let step = LeaseStep::Release { name: lease.name.to_string(), fence: lease.fence.0 };
        self.write(|reply| Write::Lease { step, reply }).await.map(drop)
    }
}

impl Engine for Store {
    type Blobs = BlobDirectory;

    fn blobs(&self) -> &BlobDirectory {
        &self.shared.blobs
    }

    fn lease(&self) -> &Lease {
        &self.shared.lease
    }
}
