//! What an engine of the store has to offer, and the words for who may write where. An engine keeps the laws in `store/laws`:
//! [`Store`](super::Store), which is SQLite, does, and so does the model in memory that the tests hold it against.
//!
//! ```text
//! Leases ─acquire─► Lease (partition, fence) ─► Queue::claim ─► Queue::settle ─► Outbox::take ─► Outbox::delivered
//!                      └─ whoever has an older fence is refused from the moment the next owner has the lease
//! ```
//!
//! A partition is a share of the bots with one owner at a time; the embedded engine has one. Taking an event over needs no
//! lease, since a platform's id of it is recognised wherever it comes in. Everything that ends an attempt or a delivery does.

mod embedded;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::history::{AttemptRecord, DeadLetter, Send as SendRecord, SendFilter, Story};
use super::{
    Appended, BlobId, Claimed, Depth, Entry, NewEvent, OutboxSettings, Sent, Settled, Settlement, StateValue,
    StoreError,
};
use crate::action::Action;
use crate::clock::Timestamp;
use crate::event::Event;
use crate::grants::ConnectorKey;
use crate::id::{BotName, EventId, NameError, Ticket};

/// A share of the bots, with one owner at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u16);

impl Partition {
    /// The one of an engine that has no more.
    pub const ONLY: Self = Self(0);
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which owner of a lease writes: each has a higher one than all before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(pub u64);

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What one owner at a time may have.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LeaseName {
    /// The bots of a partition: their queues, their state, what they send.
    Partition(Partition),
    /// A connection to a platform that takes one at a time.
    Connector(ConnectorKey),
}

impl fmt::Display for LeaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partition(partition) => write!(f, "partition/{partition}"),
            Self::Connector(key) => write!(f, "connector/{key}"),
        }
    }
}

/// Why a text is no [`LeaseName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseNameError {
    /// Neither a partition's nor a connector's.
    #[error("a lease is called `partition/NUMBER` or `connector/KEY`")]
    Kind,
    /// It begins as a connector's and goes on as none.
    #[error("no connector can have this name")]
    Connector(#[source] NameError),
}

impl FromStr for LeaseName {
    type Err = LeaseNameError;

    fn from_str(text: &str) -> Result<Self, LeaseNameError> {
        match text.split_once('/') {
            Some(("partition", number)) => {
                number.parse().map(|number| Self::Partition(Partition(number))).map_err(|_| LeaseNameError::Kind)
            }
            Some(("connector", key)) => key.parse().map(Self::Connector).map_err(LeaseNameError::Connector),
            _ => Err(LeaseNameError::Kind),
        }
    }
}

/// The right to write, until somebody else has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What it is for.
    pub name: LeaseName,
    /// Which owner this is.
    pub fence: Fence,
    /// What the owner calls itself, for people.
    pub holder: Arc<str>,
    /// From then on anybody may take it. Until somebody does, its owner still writes.
    pub expires_at: Timestamp,
}

/// Events on their way to bots. Within a conversation and class of priority they come in the order they were taken over, side by
/// side across them.
///
/// What returns `Ok` is as durable as the engine promises. A future that is dropped is carried out as a whole or not at all. The
/// `lease` is the partition's.
pub trait Queue: Sync {
    /// Takes an event over for every bot that hears it, unless its platform delivered it before, within the window. Waits while
    /// the queue is full.
    fn append(&self, partition: Partition, new: NewEvent) -> impl Future<Output = Result<Appended, StoreError>> + Send;

    /// Takes the next event of a bot that can be worked on now. Nothing else of its lane is taken until it is settled, failed,
    /// dismissed or given back; what its owner had at work when it died is waiting for the next owner.
    fn claim(
        &self,
        lease: &Lease,
        bot: &BotName,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<Claimed>, StoreError>> + Send;

    /// Returns the event that was claimed; none where it is gone. What cannot be trusted is an error, once.
    fn event_of(&self, claimed: &Claimed) -> impl Future<Output = Result<Option<Arc<Event>>, StoreError>> + Send;

    /// Notes that an attempt begins, where it may end this process: so that it counts even then.
    fn begin(&self, lease: &Lease, claimed: &Claimed) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Lets what a handler asked for take effect and its event be done, as a whole or not at all.
    fn settle(
        &self,
        lease: &Lease,
        settlement: Settlement<'_>,
    ) -> impl Future<Output = Result<Settled, StoreError>> + Send;

    /// Writes down an attempt that did not go well. The event is tried again at `retry`; without one it is a dead letter.
    fn fail(
        &self,
        lease: &Lease,
        claimed: &Claimed,
        record: AttemptRecord,
        retry: Option<Timestamp>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Says that the bot does not want an event. May be forgotten by a crash: the bot is asked again then.
    fn dismiss(&self, lease: &Lease, claimed: &Claimed) -> impl Future<Output = ()> + Send;

    /// Gives an event back as if it had not been claimed; with `due`, not before then.
    fn unclaim(&self, claimed: &Claimed, due: Option<Timestamp>) -> impl Future<Output = ()> + Send;

    /// Returns how many events there are of a bot.
    fn depth(&self, bot: &BotName) -> impl Future<Output = Depth> + Send;

    /// Makes dead letters of what waits for a bot that is gone. Returns how many.
    fn forget_bot(&self, bot: &BotName) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Returns up to `limit` dead letters, the latest first.
    fn dead_letters(
        &self,
        bot: Option<&BotName>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<DeadLetter>, StoreError>> + Send;

    /// Lets a dead letter be tried again, from its first attempt on. Returns whether there is one.
    fn retry_dead_letter(&self, id: EventId, bot: &BotName) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Drops a dead letter for good. Returns whether there was one.
    fn drop_dead_letter(&self, id: EventId, bot: &BotName) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Returns what is known of an event.
    fn story(&self, id: EventId) -> impl Future<Output = Result<Option<Story>, StoreError>> + Send;
}

/// Actions on their way to platforms, in the same order as [`Queue`] keeps. The `lease` is that of the partition whose bots sent
/// them.
pub trait Outbox: Sync {
    /// Makes an outbox for a connector, or gives the one that is there these settings; what waits stays. Another order is that of
    /// all that wait, once what is at work has ended; until then nothing is taken.
    fn open(&self, key: &ConnectorKey, settings: OutboxSettings) -> impl Future<Output = ()> + Send;

    /// Removes the outbox of a connector that is gone; what waits in it is lost. Returns how many.
    fn close(&self, key: &ConnectorKey) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Takes the next entry that can be delivered now. Nothing else of its lane is taken until it has ended or is held.
    fn take(
        &self,
        lease: &Lease,
        key: &ConnectorKey,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<Entry>, StoreError>> + Send;

    /// Returns the action that was taken; none where it is gone. What cannot be trusted is an error, once.
    fn action_of(&self, entry: &Entry) -> impl Future<Output = Result<Option<Arc<Action>>, StoreError>> + Send;

    /// Notes that an action is about to be handed over: a crash from here on leaves it as perhaps delivered.
    fn begun(&self, lease: &Lease, entry: &Entry) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Notes that an action was not delivered and waits until `due`. May be forgotten by a crash.
    fn hold(
        &self,
        lease: &Lease,
        entry: &Entry,
        attempts: u32,
        due: Timestamp,
        error: &str,
    ) -> impl Future<Output = ()> + Send;

    /// Notes that the platform took an action, and by which id it knows what came of it.
    fn delivered(
        &self,
        lease: &Lease,
        entry: Entry,
        attempts: u32,
        platform_id: Option<String>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Notes that an action will not be delivered.
    fn lost(
        &self,
        lease: &Lease,
        entry: Entry,
        attempts: u32,
        reason: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns what is known of a message that a bot sent.
    fn sent(&self, ticket: Ticket) -> impl Future<Output = Result<Sent, StoreError>> + Send;

    /// Returns how many entries there are for a connector, those being delivered included.
    fn len(&self, key: &ConnectorKey) -> impl Future<Output = usize> + Send;

    /// Returns up to `limit` entries.
    fn sends(
        &self,
        filter: SendFilter,
        connector: Option<&ConnectorKey>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<SendRecord>, StoreError>> + Send;

    /// Lets an action that was lost be delivered after all. Returns whether there is one.
    fn retry_send(&self, id: u64) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Gives an action up that waits. Returns whether there was one; what is being delivered is none.
    fn drop_send(&self, id: u64) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// What bots keep. It is written by [`Queue::settle`] only, which names the revisions that it rests on.
pub trait State: Sync {
    /// Returns the value of a key, or nothing where it is absent or has expired by `now`.
    fn get(
        &self,
        bot: &BotName,
        key: &str,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<StateValue>, StoreError>> + Send;

    /// Returns up to `limit` keys that begin with `prefix` and come after `after`, in byte order.
    fn keys(
        &self,
        bot: &BotName,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<String>, StoreError>> + Send;

    /// Returns the names of a bot's timers, sorted.
    fn timers(&self, bot: &BotName) -> impl Future<Output = Result<Vec<String>, StoreError>> + Send;
}

/// Who owns what.
pub trait Leases: Sync {
    /// Takes a lease that nobody has, or whose time is over. None: somebody has it.
    fn acquire(
        &self,
        name: &LeaseName,
        holder: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<Lease>, StoreError>> + Send;

    /// Keeps a lease for another `ttl`. None: its time was over, or another has it.
    fn renew(
        &self,
        lease: &Lease,
        ttl: Duration,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<Lease>, StoreError>> + Send;

    /// Gives a lease back, so that the next owner need not wait. One that another has by now stays as it is.
    fn release(&self, lease: &Lease) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Large contents that never change, such as components, by their hash.
pub trait Blobs: Sync {
    /// Keeps a content and returns its name. One that is there already costs nothing.
    fn put(&self, content: Vec<u8>) -> impl Future<Output = Result<BlobId, StoreError>> + Send;

    /// Returns a content; none where there is none. One that no longer fits its name is an error, once, and never returned.
    fn get(&self, id: BlobId) -> impl Future<Output = Result<Option<Vec<u8>>, StoreError>> + Send;

    /// Removes a content. Returns whether there was one.
    fn delete(&self, id: BlobId) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Returns the names of all contents, sorted.
    fn list(&self) -> impl Future<Output = Result<Vec<BlobId>, StoreError>> + Send;
}

/// Everything that the host keeps is behind one of these.
pub trait Engine: Queue + Outbox + State + Leases {
    /// Where contents are.
    type Blobs: Blobs;

    /// Returns the contents.
    fn blobs(&self) -> &Self::Blobs;

    /// Returns the lease of the partition that this process works on.
    fn lease(&self) -> &Lease;
}

#[cfg(test)]
impl Lease {
    /// Returns the lease of a partition's first owner.
    pub(super) fn of_first_owner() -> Self {
        let expires_at = Timestamp::from_millis(u64::MAX);
        Self { name: LeaseName::Partition(Partition::ONLY), fence: Fence(1), holder: "test".into(), expires_at }
    }
}
