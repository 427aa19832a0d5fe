//! The model of the store: what an engine is to do, as plain as it can be said. Everything is a row in a map; what is to be one
//! transaction is done to a copy of all that there is, which takes its place or is thrown away.

mod outbox;
mod queue;
mod state;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

use super::engine::{Blobs, Engine, Fence, Lease, LeaseName, Leases, Partition};
use super::history::{AttemptRecord, SendStand, Stand};
use super::lanes::{LaneId, Lanes};
use super::{BlobId, Entry, OutboxSettings, StoreError, StoreOptions};
use crate::action::Action;
use crate::clock::Timestamp;
use crate::delivery::{OnUncertain, Order};
use crate::event::Event;
use crate::grants::ConnectorKey;
use crate::id::{BotName, EventId, Ticket};

/// What was taken over, once for all bots.
#[derive(Debug, Clone)]
struct Happened {
    event: Arc<Event>,
    origin: Option<String>,
    duplicates: u64,
}

/// What one bot has to do with an event.
#[derive(Debug, Clone)]
struct Row {
    lane: LaneId,
    stand: Stand,
    attempts: u32,
    faults: Vec<AttemptRecord>,
    bytes: u64,
    is_suspect: bool,
}

/// What a bot asked of a platform.
#[derive(Debug, Clone)]
struct Asked {
    entry: Entry,
    event: Option<EventId>,
    action: Arc<Action>,
    stand: SendStand,
}

#[derive(Debug, Clone)]
struct Kept {
    value: Vec<u8>,
    revision: u64,
    expires_at: Option<Timestamp>,
}

#[derive(Debug, Clone)]
struct Owned {
    fence: u64,
    expires_at: Timestamp,
}

/// All that there is. `waiting` and `outboxes` are the order of the rows that wait; the others are the rows.
#[derive(Debug, Clone, Default)]
struct World {
    seq: u64,
    events: BTreeMap<u64, Happened>,
    rows: BTreeMap<(u64, BotName), Row>,
    seen: HashMap<(Option<String>, String), (u64, Timestamp)>,
    waiting: HashMap<BotName, Lanes<u64>>,
    sent: u64,
    asked: BTreeMap<u64, Asked>,
    outboxes: HashMap<ConnectorKey, Line>,
    tickets: HashMap<Ticket, String>,
    revision: u64,
    state: BTreeMap<(BotName, String), Kept>,
    timers: BTreeMap<(BotName, String), ()>,
    leases: HashMap<String, Owned>,
}

/// The engine.
#[derive(Debug)]
pub(super) struct Memory {
    world: Mutex<World>,
    space: Notify,
    options: StoreOptions,
    lease: Lease,
    blobs: BlobMap,
}

/// How the process before this one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Closed,
    Died,
}

impl Memory {
    pub(super) fn new(options: StoreOptions) -> Self {
        Self::of(World::default(), options, BlobMap::default())
    }

    /// Returns what the next process finds.
    pub(super) fn reopen(self, end: End) -> Self {
        let mut world = self.world.into_inner().unwrap();
        (world.waiting, world.outboxes) = Default::default();
        for ((seq, bot), row) in &mut world.rows {
            let Stand::Waiting { due } = row.stand else { continue };
            row.is_suspect = end == End::Died;
            push(world.waiting.entry(bot.clone()).or_default(), row.lane.clone(), *seq, due);
        }
        for (id, asked) in &mut world.asked {
            if asked.stand == SendStand::PerhapsSent && self.options.on_uncertain == OnUncertain::Drop {
                asked.stand = SendStand::Lost { at: Timestamp::now(), reason: "uncertain".to_owned() };
            }
            let due = match asked.stand {
                SendStand::Waiting { due } => due,
                SendStand::PerhapsSent => None,
                _ => continue,
            };
            let lanes = &mut world.outboxes.entry(asked.entry.via.clone()).or_default().lanes;
            push(lanes, asked.entry.lane.clone(), *id, due);
        }
        Self::of(world, self.options, self.blobs)
    }

    fn of(mut world: World, options: StoreOptions, blobs: BlobMap) -> Self {
        let name = LeaseName::Partition(Partition::ONLY);
        let expires_at = Timestamp::from_millis(u64::MAX);
        let owned = world.leases.entry(name.to_string()).or_insert(Owned { fence: 0, expires_at });
        owned.fence += 1;
        let lease = Lease { name, fence: Fence(owned.fence), holder: "this process".into(), expires_at };
        Self { world: Mutex::new(world), space: Notify::new(), options, lease, blobs }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// The world, for whoever still has the right to change it.
    fn owned(&self, lease: &Lease) -> Result<MutexGuard<'_, World>, StoreError> {
        let world = self.world();
        match world.leases.get(&lease.name.to_string()) {
            Some(owned) if owned.fence > lease.fence.0 => Err(StoreError::fenced(lease, owned.fence)),
            _ => Ok(world),
        }
    }
}

fn push(lanes: &mut Lanes<u64>, lane: LaneId, thing: u64, due: Option<Timestamp>) {
    match due {
        Some(due) => lanes.push_held(lane, thing, due),
        None => lanes.push(lane, thing),
    }
}

/// What waits for one connector.
#[derive(Debug, Clone, Default)]
struct Line {
    settings: Option<OutboxSettings>,
    lanes: Lanes<u64>,
    /// The order that the lanes are in.
    laned: Order,
}

/// Returns the lane in which an outbox of this order keeps an entry.
fn ordered(lane: &LaneId, order: Order) -> LaneId {
    match order {
        Order::Fifo => LaneId { priority: Default::default(), ..lane.clone() },
        Order::Priority => lane.clone(),
    }
}

impl Leases for Memory {
    async fn acquire(
        &self,
        name: &LeaseName,
        holder: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Option<Lease>, StoreError> {
        let (mut world, expires_at) = (self.world(), now.saturating_add(ttl));
        let owned = world.leases.entry(name.to_string()).or_insert(Owned { fence: 0, expires_at: now });
        if owned.expires_at > now {
            return Ok(None);
        }
        *owned = Owned { fence: owned.fence + 1, expires_at };
        Ok(Some(Lease { name: name.clone(), fence: Fence(owned.fence), holder: holder.into(), expires_at }))
    }

    async fn renew(&self, lease: &Lease, ttl: Duration, now: Timestamp) -> Result<Option<Lease>, StoreError> {
        let (mut world, expires_at) = (self.world(), now.saturating_add(ttl));
        let owned = world.leases.get_mut(&lease.name.to_string());
        let Some(owned) = owned.filter(|owned| owned.fence == lease.fence.0 && owned.expires_at > now) else {
            return Ok(None);
        };
        owned.expires_at = expires_at;
        Ok(Some(Lease { expires_at, ..lease.clone() }))
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        let mut world = self.world();
        let owned = world.leases.get_mut(&lease.name.to_string());
        if let Some(owned) = owned.filter(|owned| owned.fence == lease.fence.0) {
            owned.expires_at = Timestamp::default();
        }
        Ok(())
    }
}

/// Contents in a map.
#[derive(Debug, Default)]
pub(super) struct BlobMap(Mutex<BTreeMap<BlobId, Vec<u8>>>);

impl Blobs for BlobMap {
    async fn put(&self, content: Vec<u8>) -> Result<BlobId, StoreError> {
        let id = BlobId::of(&content);
        self.0.lock().unwrap().insert(id, content);
        Ok(id)
    }

    async fn get(&self, id: BlobId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.lock().unwrap().get(&id).cloned())
    }

    async fn delete(&self, id: BlobId) -> Result<bool, StoreError> {
        Ok(self.0.lock().unwrap().remove(&id).is_some())
    }

    async fn list(&self) -> Result<Vec<BlobId>, StoreError> {
        Ok(self.0.lock().unwrap().keys().copied().collect())
    }
}

impl Engine for Memory {
    type Blobs = BlobMap;

    fn blobs(&self) -> &BlobMap {
        &self.blobs
    }

    fn lease(&self) -> &Lease {
        &self.lease
    }
}
