//! The queue of events, bot by bot: ordered within a lane, bounded over all. In memory: what is queued is lost when the
//! process ends. The verbs are those of a durable queue: append, claim, settle.
//!
//! A lane is a conversation, or what else keeps its order. Its events are claimed one after another; a lane whose first event
//! waits for its next attempt waits as a whole. Lanes with work take turns.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::clock::Timestamp;
use crate::event::{Event, LaneKey};
use crate::id::BotName;

/// Events that wait or are at work, of all bots.
#[derive(Debug)]
pub struct Queue {
    inner: Mutex<Inner>,
    capacity: usize,
    space: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Inner {
    bots: HashMap<BotName, BotQueue>,
    len: usize,
}

#[derive(Debug, Default)]
struct BotQueue {
    lanes: HashMap<LaneKey, Lane>,
    /// Lanes whose first event can be claimed, in the order they became so.
    ready: VecDeque<LaneKey>,
    /// Lanes whose first event waits for its next attempt.
    waiting: BTreeSet<(Timestamp, LaneKey)>,
    len: usize,
    claimed: usize,
    work: Arc<Notify>,
}

/// Events of one lane; the first may be at work. A lane without events does not exist.
#[derive(Debug, Default)]
struct Lane {
    events: VecDeque<Queued>,
}

#[derive(Debug)]
struct Queued {
    event: Arc<Event>,
    attempts: u32,
}

/// An event at work: to be settled.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Whose it is.
    pub bot: BotName,
    /// What happened.
    pub event: Arc<Event>,
    /// Which attempt this is, counted from 1.
    pub attempt: u32,
    lane: LaneKey,
}

/// What becomes of an event that was at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is done, one way or the other.
    Done,
    /// It is tried again at this moment, and nothing of its lane before it.
    Retry {
        /// When.
        due: Timestamp,
    },
    /// It goes back as if it had not been claimed: the attempt does not count.
    Unclaim,
}

/// How many events there are of one bot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Waiting.
    pub queued: usize,
    /// At work.
    pub claimed: usize,
}

impl Queue {
    /// Returns an empty queue for at most `capacity` events, those at work included.
    pub fn new(capacity: usize) -> Self {
        Self { inner: Mutex::default(), capacity, space: Arc::default() }
    }

    /// Appends an event for a bot. Waits while the queue is full. Cancelled, the event is not appended.
    pub async fn append(&self, bot: &BotName, event: Arc<Event>) {
        loop {
            let space = Arc::clone(&self.space).notified_owned();
            if self.try_append(bot, &event) {
                return;
            }
            space.await;
        }
    }

    fn try_append(&self, bot: &BotName, event: &Arc<Event>) -> bool {
        let mut inner = self.lock();
        if inner.len >= self.capacity {
            return false;
        }
        inner.len += 1;
        let queue = inner.bots.entry(bot.clone()).or_default();
        queue.len += 1;
        let key = event.lane();
        let lane = queue.lanes.entry(key.clone()).or_default();
        lane.events.push_back(Queued { event: Arc::clone(event), attempts: 0 });
        if lane.events.len() == 1 {
            queue.ready.push_back(key);
        }
        // Also where it only waits behind another: whoever owns the bot says how many wait.
        queue.work.notify_one();
        true
    }

    /// Takes the next event of a bot that can be worked on now, if there is one.
    pub fn claim(&self, bot: &BotName, now: Timestamp) -> Option<Claimed> {
        let mut inner = self.lock();
        let queue = inner.bots.get_mut(bot)?;
        while queue.waiting.first().is_some_and(|(due, _)| *due <= now) {
            let (_, lane) = queue.waiting.pop_first()?;
            queue.ready.push_back(lane);
        }
        let lane = queue.ready.pop_front()?;
        let first = queue.lanes.get_mut(&lane)?.events.front_mut()?;
        first.attempts = first.attempts.saturating_add(1);
        queue.claimed += 1;
        Some(Claimed { bot: bot.clone(), event: Arc::clone(&first.event), attempt: first.attempts, lane })
    }

    /// Says what becomes of an event at work. Of a bot that was forgotten meanwhile: nothing.
    pub fn settle(&self, claimed: &Claimed, verdict: Verdict) {
        let mut inner = self.lock();
        let Some(queue) = inner.bots.get_mut(&claimed.bot) else { return };
        let Some(lane) = queue.lanes.get_mut(&claimed.lane) else { return };
        if lane.events.front().is_none_or(|first| first.event.id != claimed.event.id) {
            return;
        }
        queue.claimed -= 1;
        match verdict {
            Verdict::Retry { due } => {
                queue.waiting.insert((due, claimed.lane.clone()));
            }
            Verdict::Unclaim => {
                if let Some(first) = lane.events.front_mut() {
                    first.attempts -= 1;
                }
                queue.ready.push_front(claimed.lane.clone());
            }
            Verdict::Done => {
                lane.events.pop_front();
                queue.len -= 1;
                if lane.events.is_empty() {
                    queue.lanes.remove(&claimed.lane);
                } else {
                    queue.ready.push_back(claimed.lane.clone());
                }
                inner.len -= 1;
                self.space.notify_waiters();
            }
        }
        if let Some(queue) = inner.bots.get(&claimed.bot) {
            queue.work.notify_one();
        }
    }

    /// Returns a future that ends when there may be something new to claim for this bot. What happens between this call and
    /// the first poll counts. One waiter for each bot.
    pub fn work(&self, bot: &BotName) -> OwnedNotified {
        Arc::clone(&self.lock().bots.entry(bot.clone()).or_default().work).notified_owned()
    }

    /// Returns when the first of a bot's waiting lanes is due.
    pub fn next_due(&self, bot: &BotName) -> Option<Timestamp> {
        self.lock().bots.get(bot)?.waiting.first().map(|(due, _)| *due)
    }

    /// Returns how many events there are of a bot.
    pub fn depth(&self, bot: &BotName) -> Depth {
        let inner = self.lock();
        inner
            .bots
            .get(bot)
            .map_or_else(Depth::default, |queue| Depth { queued: queue.len - queue.claimed, claimed: queue.claimed })
    }

    /// Returns how many events there are of all bots.
    pub fn len(&self) -> usize {
        self.lock().len
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns once there are none. Cancel safe.
    pub async fn drained(&self) {
        loop {
            let space = self.space.notified();
            if self.is_empty() {
                return;
            }
            space.await;
        }
    }

    /// Drops all events of a bot that is gone, and returns how many there were.
    pub fn forget(&self, bot: &BotName) -> usize {
        let mut inner = self.lock();
        let count = inner.bots.remove(bot).map_or(0, |queue| queue.len);
        inner.len -= count;
        self.space.notify_waiters();
        count
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Nothing in here panics half-way; a poisoned lock protects consistent data.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::event::EventKind;

    fn bot() -> BotName {
        "echo".parse().unwrap()
    }

    fn timer(lane: &str) -> Arc<Event> {
        let kind = EventKind::Timer { name: lane.into(), payload: vec![], due_at: Timestamp::from_millis(0) };
        Arc::new(Event::now(None, kind))
    }

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    #[tokio::test]
    async fn a_lane_is_worked_on_one_event_after_another_and_lanes_side_by_side() {
        let queue = Queue::new(10);
        let (first, second, other) = (timer("a"), timer("a"), timer("b"));
        for event in [&first, &second, &other] {
            queue.append(&bot(), Arc::clone(event)).await;
        }
        let claimed_first = queue.claim(&bot(), NOW).unwrap();
        let claimed_other = queue.claim(&bot(), NOW).unwrap();
        assert_eq!((claimed_first.event.id, claimed_other.event.id), (first.id, other.id));
        assert!(queue.claim(&bot(), NOW).is_none(), "the second event of lane a waits for the first");
        queue.settle(&claimed_first, Verdict::Done);
        assert_eq!(queue.claim(&bot(), NOW).unwrap().event.id, second.id);
    }

    #[tokio::test]
    async fn an_event_that_waits_for_its_next_attempt_holds_its_lane() {
        let queue = Queue::new(10);
        for event in [timer("a"), timer("a")] {
            queue.append(&bot(), event).await;
        }
        let claimed = queue.claim(&bot(), NOW).unwrap();
        let due = Timestamp::from_millis(2_000);
        queue.settle(&claimed, Verdict::Retry { due });
        assert!(queue.claim(&bot(), NOW).is_none());
        assert_eq!(queue.next_due(&bot()), Some(due));
        let again = queue.claim(&bot(), due).unwrap();
        assert_eq!((again.event.id, again.attempt), (claimed.event.id, 2));
    }

    #[tokio::test]
    async fn an_unclaimed_event_does_not_count_the_attempt() {
        let queue = Queue::new(10);
        queue.append(&bot(), timer("a")).await;
        let claimed = queue.claim(&bot(), NOW).unwrap();
        queue.settle(&claimed, Verdict::Unclaim);
        assert_eq!(queue.claim(&bot(), NOW).unwrap().attempt, 1);
    }

    #[tokio::test]
    async fn a_full_queue_holds_back_who_appends_until_there_is_room() {
        let queue = Arc::new(Queue::new(1));
        queue.append(&bot(), timer("a")).await;
        let appending = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.append(&bot(), timer("b")).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(queue.len(), 1);
        let claimed = queue.claim(&bot(), NOW).unwrap();
        queue.settle(&claimed, Verdict::Done);
        appending.await.unwrap();
        assert_eq!(queue.len(), 1);
    }

    #[tokio::test]
    async fn forgetting_a_bot_makes_room_and_its_claims_mean_nothing() {
        let queue = Queue::new(10);
        queue.append(&bot(), timer("a")).await;
        let claimed = queue.claim(&bot(), NOW).unwrap();
        assert_eq!(queue.forget(&bot()), 1);
        queue.settle(&claimed, Verdict::Done);
        assert!(queue.is_empty());
    }

    proptest! {
        /// Whatever is appended, claimed and settled in whatever order: each lane comes out in order, and nothing is lost.
        #[test]
        fn every_lane_comes_out_in_order_and_whole(steps in prop::collection::vec((0u8..4, 0u8..3, any::<bool>()), 1..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let queue = Queue::new(1_000);
            let mut appended: BTreeMap<String, Vec<_>> = BTreeMap::new();
            let mut done: BTreeMap<String, Vec<_>> = BTreeMap::new();
            let mut at_work: Vec<Claimed> = Vec::new();
            let name = |event: &Event| match &event.kind {
                EventKind::Timer { name, .. } => name.clone(),
                _ => unreachable!("only timers are appended"),
            };
            let mut finish = |claimed: Claimed, good: bool| {
                if good {
                    done.entry(name(&claimed.event)).or_default().push(claimed.event.id);
                }
                queue.settle(&claimed, if good { Verdict::Done } else { Verdict::Retry { due: NOW } });
            };
            for (what, lane, good) in steps {
                match what {
                    0 | 1 => {
                        let event = timer(&lane.to_string());
                        appended.entry(lane.to_string()).or_default().push(event.id);
                        runtime.block_on(queue.append(&bot(), event));
                    }
                    2 => at_work.extend(queue.claim(&bot(), NOW)),
                    _ => if !at_work.is_empty() { finish(at_work.remove(usize::from(lane) % at_work.len()), good) },
                }
            }
            at_work.drain(..).for_each(|claimed| finish(claimed, true));
            while let Some(claimed) = queue.claim(&bot(), NOW) {
                finish(claimed, true);
            }
            prop_assert!(queue.is_empty());
            prop_assert_eq!(appended, done);
        }
    }
}
