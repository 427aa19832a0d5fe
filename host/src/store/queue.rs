//! Which event a bot works on next: the order of what is in the durable queue, kept in memory. Every change follows one on disk;
//! only a claim is in memory alone, so that what was at work when the process ended is waiting when it begins again.
//!
//! The bodies of events are kept as long as they fit into [`BODIES_BYTES_MAX`]; the others are read when they are claimed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::lanes::{LaneId, Lanes};
use crate::action::Priority;
use crate::clock::Timestamp;
use crate::event::{Event, LaneKey};
use crate::id::{BotName, EventId};

/// Bytes of events that are kept in memory.
const BODIES_BYTES_MAX: u64 = 64 << 20;

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub struct QueueBounds {
    /// Events of all bots, those at work included. Past it, whoever brings more waits.
    pub events_max: usize,
    /// Bytes of their bodies; an event that several bots hear counts once. Past it, whoever brings more waits.
    pub bytes_max: u64,
    /// Events of one bot. Past it, its further ones become dead letters at once, so that no bot's backlog holds up the others.
    pub events_per_bot_max: usize,
}

/// Events that wait or are at work, of all bots.
#[derive(Debug)]
pub struct Queue {
    inner: Mutex<Inner>,
    space: Arc<Notify>,
}

#[derive(Debug)]
struct Inner {
    bounds: QueueBounds,
    bots: HashMap<BotName, BotQueue>,
    /// Events and their bytes, those included that are still being written.
    len: usize,
    bytes: u64,
    bytes_in_memory: u64,
}

#[derive(Debug, Default)]
struct BotQueue {
    lanes: Lanes<Queued>,
    /// Events that are being written.
    reserved: usize,
    work: Arc<Notify>,
}

/// One event of one bot, as it waits.
#[derive(Debug)]
pub(super) struct Queued {
    /// Its place in the order of all events.
    pub(super) seq: u64,
    /// None: it is on disk only.
    pub(super) event: Option<Arc<Event>>,
    /// Its share in the bytes of its event.
    pub(super) bytes: u32,
    /// Since when it waits: it was received then, or was a dead letter until then.
    pub(super) since: Timestamp,
    /// Attempts that were made.
    pub(super) attempts: u32,
    /// It may have been at work when an earlier process died.
    pub(super) is_suspect: bool,
}

/// An event at work: to be settled.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Whose it is.
    pub bot: BotName,
    /// Which attempt this is, counted from 1.
    pub attempt: u32,
    pub(super) seq: u64,
    pub(super) event: Option<Arc<Event>>,
    /// It may have been at work when an earlier process died.
    pub is_suspect: bool,
    pub(super) lane: LaneId,
}

/// What becomes of an event that was at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is done, one way or the other.
    Done,
    /// It is tried again at this moment, and nothing of its lane before it.
    Retry { due: Timestamp },
}

/// How many events there are of one bot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Waiting.
    pub queued: usize,
    /// At work.
    pub claimed: usize,
}

/// What waits for all bots at one moment.
#[derive(Debug, Clone)]
pub struct QueueSurvey {
    /// How much may wait.
    pub bounds: QueueBounds,
    /// Bytes of all events, those at work and on their way to the disk included.
    pub bytes: u64,
    /// What waits for each bot that has ever had an event, in no order.
    pub bots: Vec<(BotName, Backlog)>,
}

/// What waits for one bot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many events there are.
    pub depth: Depth,
    /// Since when the oldest waits that is not at work.
    pub oldest: Option<Timestamp>,
}

/// Room for one event on its way to the disk.
#[derive(Debug)]
pub(super) struct Reserved {
    pub(super) rows: Vec<ReservedRow>,
    pub(super) bytes_each: u32,
}

/// Room for one bot's row of an event.
#[derive(Debug)]
pub(super) struct ReservedRow {
    pub(super) bot: BotName,
    pub(super) priority: Priority,
    /// The bot has all the events it may have: this one becomes a dead letter.
    pub(super) is_over: bool,
}

impl Claimed {
    /// Returns the event's id, where its body is in memory.
    pub fn event_id(&self) -> Option<EventId> {
        self.event.as_ref().map(|event| event.id)
    }
}

impl Queue {
    pub(super) fn new(bounds: QueueBounds) -> Self {
        let inner = Inner { bounds, bots: HashMap::new(), len: 0, bytes: 0, bytes_in_memory: 0 };
        Self { inner: Mutex::new(inner), space: Arc::default() }
    }

    /// Changes how much may wait. Where more waits already than may from now on, none of it is lost: only newcomers find no room.
    pub fn set_bounds(&self, bounds: QueueBounds) {
        self.lock().bounds = bounds;
        self.space.notify_waiters();
    }

    /// Takes room for an event of `bytes`, for each bot that hears it. Waits while the queue is full. Cancel safe.
    pub(super) async fn reserve(&self, bots: Vec<(BotName, Priority)>, bytes: usize) -> Reserved {
        let bytes_each = u32::try_from(bytes.div_ceil(bots.len().max(1))).unwrap_or(u32::MAX);
        loop {
            let space = Arc::clone(&self.space).notified_owned();
            if let Some(rows) = self.try_reserve(&bots, bytes_each) {
                return Reserved { rows, bytes_each };
            }
            space.await;
        }
    }

    fn try_reserve(&self, bots: &[(BotName, Priority)], bytes_each: u32) -> Option<Vec<ReservedRow>> {
        let mut inner = self.lock();
        let bytes = u64::from(bytes_each) * bots.len() as u64;
        // Alone, an event has room however large it is or many bots hear it: it would wait for ever.
        let bounds = inner.bounds;
        let is_full = inner.len + bots.len() > bounds.events_max || inner.bytes + bytes > bounds.bytes_max;
        if is_full && inner.len > 0 {
            return None;
        }
        let mut reserve = |(bot, priority): &(BotName, Priority)| {
            let queue = inner.bots.entry(bot.clone()).or_default();
            let is_over = queue.lanes.len() + queue.reserved >= bounds.events_per_bot_max;
            if !is_over {
                queue.reserved += 1;
                inner.len += 1;
                inner.bytes += u64::from(bytes_each);
            }
            ReservedRow { bot: bot.clone(), priority: *priority, is_over }
        };
        Some(bots.iter().map(&mut reserve).collect())
    }

    /// Gives room back that was not needed.
    pub(super) fn release(&self, reserved: &Reserved) {
        let mut inner = self.lock();
        for row in reserved.rows.iter().filter(|row| !row.is_over) {
            inner.len -= 1;
            inner.bytes -= u64::from(reserved.bytes_each);
            if let Some(queue) = inner.bots.get_mut(&row.bot) {
                queue.reserved = queue.reserved.saturating_sub(1);
            }
        }
        drop(inner);
        self.space.notify_waiters();
    }

    /// Lets an event be claimed that is on disk now, in the room that was taken for it.
    pub(super) fn push(&self, reserved: &Reserved, seq: u64, event: &Arc<Event>) {
        let mut inner = self.lock();
        let (lane, since) = (event.lane(), event.received_at);
        for row in reserved.rows.iter().filter(|row| !row.is_over) {
            let bytes = reserved.bytes_each;
            let fits = inner.bytes_in_memory + u64::from(bytes) <= BODIES_BYTES_MAX;
            inner.bytes_in_memory += if fits { u64::from(bytes) } else { 0 };
            let event = fits.then(|| Arc::clone(event));
            let queue = inner.bots.entry(row.bot.clone()).or_default();
            queue.reserved = queue.reserved.saturating_sub(1);
            let id = LaneId { key: lane.clone(), priority: row.priority };
            queue.lanes.push(id, Queued { seq, event, bytes, since, attempts: 0, is_suspect: false });
            // Also where it only waits behind another: whoever owns the bot says how many wait.
            queue.work.notify_one();
        }
    }

    /// Lets an event be claimed that was on disk before, beyond all bounds: refusing it would lose it.
    pub(super) fn restore(
        &self,
        bot: &BotName,
        lane: LaneKey,
        priority: Priority,
        due: Option<Timestamp>,
        row: Queued,
    ) {
        let mut inner = self.lock();
        inner.len += 1;
        inner.bytes += u64::from(row.bytes);
        let queue = inner.bots.entry(bot.clone()).or_default();
        let id = LaneId { key: lane, priority };
        match due {
            Some(due) => queue.lanes.push_held(id, row, due),
            None => queue.lanes.push(id, row),
        }
        queue.work.notify_one();
    }

    /// Takes the next event of a bot that can be worked on now, if there is one.
    pub fn claim(&self, bot: &BotName, now: Timestamp) -> Option<Claimed> {
        let mut inner = self.lock();
        let (lane, first) = inner.bots.get_mut(bot)?.lanes.take(now)?;
        let attempt = first.attempts.saturating_add(1);
        let (seq, event, is_suspect) = (first.seq, first.event.clone(), first.is_suspect);
        Some(Claimed { bot: bot.clone(), attempt, seq, event, is_suspect, lane })
    }

    /// Says what became of an event at work. Of a bot that was forgotten meanwhile: nothing.
    pub(super) fn settle(&self, claimed: &Claimed, verdict: Verdict) {
        let mut inner = self.lock();
        let Some(queue) = inner.at_work(claimed) else { return };
        match verdict {
            Verdict::Retry { due } => {
                if let Some(first) = queue.lanes.at_work_in(&claimed.lane) {
                    first.attempts = claimed.attempt;
                }
                queue.lanes.hold(&claimed.lane, due);
                queue.work.notify_one();
            }
            Verdict::Done => {
                let done = queue.lanes.finish(&claimed.lane);
                queue.work.notify_one();
                if let Some(done) = done {
                    inner.forget(&done);
                }
                drop(inner);
                self.space.notify_waiters();
            }
        }
    }

    /// Takes an event out that its bot does not want.
    pub(super) fn dismiss(&self, claimed: &Claimed) {
        self.settle(claimed, Verdict::Done);
    }

    /// Puts an event back as if it had not been claimed: the attempt does not count. With `due`, not before then.
    pub fn unclaim(&self, claimed: &Claimed, due: Option<Timestamp>) {
        let mut inner = self.lock();
        let Some(queue) = inner.at_work(claimed) else { return };
        match due {
            Some(due) => queue.lanes.hold(&claimed.lane, due),
            None => queue.lanes.put_back(&claimed.lane),
        }
        queue.work.notify_one();
    }

    /// Returns a future that ends when there may be something new to claim for this bot. What happens between this call and
    /// the first poll counts. One waiter for each bot.
    pub fn work(&self, bot: &BotName) -> OwnedNotified {
        Arc::clone(&self.lock().bots.entry(bot.clone()).or_default().work).notified_owned()
    }

    /// Returns when the first of a bot's waiting lanes is due.
    pub fn next_due(&self, bot: &BotName) -> Option<Timestamp> {
        self.lock().bots.get(bot)?.lanes.next_due()
    }

    /// Returns how many events there are of a bot.
    pub fn depth(&self, bot: &BotName) -> Depth {
        self.lock().bots.get(bot).map(BotQueue::depth).unwrap_or_default()
    }

    /// Returns what waits for all bots. What it costs grows with the number of conversations that have something waiting, and the
    /// queue is held meanwhile: it is for whoever measures, now and then.
    pub fn survey(&self) -> QueueSurvey {
        let inner = self.lock();
        let backlog = |queue: &BotQueue| {
            let oldest = queue.lanes.first_idle().map(|queued| queued.since).min();
            Backlog { depth: queue.depth(), oldest }
        };
        let bots = inner.bots.iter().map(|(bot, queue)| (bot.clone(), backlog(queue))).collect();
        QueueSurvey { bounds: inner.bounds, bytes: inner.bytes, bots }
    }

    /// Returns how many events there are of each bot that has any, by name.
    pub fn depths(&self) -> Vec<(BotName, Depth)> {
        let names: Vec<_> = self.lock().bots.keys().cloned().collect();
        let mut depths: Vec<_> = names.into_iter().map(|bot| (bot.clone(), self.depth(&bot))).collect();
        depths.retain(|(_, depth)| *depth != Depth::default());
        depths.sort_by(|one, other| one.0.cmp(&other.0));
        depths
    }

    /// Returns how many events there are of all bots, those on their way to the disk included.
    pub fn len(&self) -> usize {
        self.lock().len
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns once none of these bots has any. Cancel safe.
    pub async fn drained(&self, bots: &[BotName]) {
        loop {
            let space = self.space.notified();
            if bots.iter().all(|bot| self.depth(bot) == Depth::default()) {
                return;
            }
            space.await;
        }
    }

    /// Drops a bot's events that wait from memory; on disk they are dead letters by then. Returns how many there were.
    pub(super) fn forget(&self, bot: &BotName) -> usize {
        let mut inner = self.lock();
        let Some(queue) = inner.bots.remove(bot) else { return 0 };
        let reserved = queue.reserved;
        let rows: Vec<_> = queue.lanes.into_things().collect();
        rows.iter().for_each(|row| inner.forget(row));
        if reserved > 0 {
            inner.bots.entry(bot.clone()).or_default().reserved = reserved;
        }
        drop(inner);
        self.space.notify_waiters();
        rows.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half-way; a poisoned lock protects consistent data.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BotQueue {
    fn depth(&self) -> Depth {
        let claimed = self.lanes.at_work();
        Depth { queued: self.lanes.len() - claimed, claimed }
    }
}

impl Inner {
    /// Returns the queue of a claim that still holds.
    fn at_work(&mut self, claimed: &Claimed) -> Option<&mut BotQueue> {
        let queue = self.bots.get_mut(&claimed.bot)?;
        let holds = queue.lanes.at_work_in(&claimed.lane).is_some_and(|first| first.seq == claimed.seq);
        holds.then_some(queue)
    }

    /// Takes an event that is gone off the account.
    fn forget(&mut self, row: &Queued) {
        self.len -= 1;
        self.bytes -= u64::from(row.bytes);
        if row.event.is_some() {
            self.bytes_in_memory -= u64::from(row.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventKind;

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    fn queue(events_max: usize, bytes_max: u64, events_per_bot_max: usize) -> Queue {
        Queue::new(QueueBounds { events_max, bytes_max, events_per_bot_max })
    }

    fn timer(lane: &str) -> Arc<Event> {
        let kind = EventKind::Timer { name: lane.into(), payload: Vec::new(), due_at: NOW };
        Arc::new(Event::now(None, kind))
    }

    fn bot(name: &str) -> BotName {
        name.parse().unwrap()
    }

    fn one(name: &str) -> Vec<(BotName, Priority)> {
        vec![(bot(name), Priority::Normal)]
    }

    async fn append(queue: &Queue, name: &str, seq: u64, bytes: usize) {
        let reserved = queue.reserve(one(name), bytes).await;
        queue.push(&reserved, seq, &timer(&seq.to_string()));
    }

    #[tokio::test]
    async fn an_event_is_there_once_it_is_on_disk_and_counts_before() {
        let queue = queue(10, 1_000, 10);
        let reserved = queue.reserve(one("echo"), 100).await;
        assert_eq!((queue.len(), queue.depth(&bot("echo"))), (1, Depth::default()));
        assert!(queue.claim(&bot("echo"), NOW).is_none());
        queue.push(&reserved, 1, &timer("a"));
        let claimed = queue.claim(&bot("echo"), NOW).unwrap();
        assert_eq!((claimed.seq, claimed.attempt, queue.len()), (1, 1, 1));
        queue.settle(&claimed, Verdict::Done);
        assert!(queue.is_empty());
        let reserved = queue.reserve(one("echo"), 100).await;
        queue.release(&reserved);
        assert!(queue.is_empty());
    }

    #[tokio::test]
    async fn a_survey_tells_the_oldest_that_waits_and_not_the_one_at_work() {
        let queue = queue(10, 1_000, 10);
        let received = |millis| Event { received_at: Timestamp::from_millis(millis), ..(*timer("a")).clone() };
        for (seq, millis) in [(1, 100), (2, 200), (3, 300)] {
            let reserved = queue.reserve(one("echo"), 10).await;
            queue.push(&reserved, seq, &Arc::new(received(millis)));
        }
        let survey = |queued, claimed, oldest: Option<u64>| {
            let survey = queue.survey();
            let [(name, backlog)] = &survey.bots[..] else { panic!("one bot: {survey:?}") };
            let expected = Backlog { depth: Depth { queued, claimed }, oldest: oldest.map(Timestamp::from_millis) };
            assert_eq!((name, backlog, survey.bytes), (&bot("echo"), &expected, 10 * (queued + claimed) as u64));
        };
        survey(3, 0, Some(100));
        let claimed = queue.claim(&bot("echo"), NOW).unwrap();
        survey(2, 1, Some(200));
        queue.settle(&claimed, Verdict::Retry { due: NOW });
        survey(3, 0, Some(100));
        for left in [Some(200), Some(300), None] {
            let claimed = queue.claim(&bot("echo"), NOW).unwrap();
            queue.settle(&claimed, Verdict::Done);
            survey(left.map_or(0, |_| queue.depth(&bot("echo")).queued), 0, left);
        }
    }

    #[tokio::test]
    async fn a_smaller_bound_refuses_newcomers_and_drops_nothing_and_a_larger_one_lets_in_who_waits() {
        let queue = queue(10, 1_000, 10);
        for seq in 1..4 {
            append(&queue, "echo", seq, 100).await;
        }
        let bounds =
            |events_max, bytes_max, events_per_bot_max| QueueBounds { events_max, bytes_max, events_per_bot_max };
        for tight in [bounds(2, 1_000, 10), bounds(10, 200, 10)] {
            queue.set_bounds(tight);
            assert_eq!((queue.len(), queue.try_reserve(&one("other"), 100).is_none()), (3, true), "{tight:?}");
        }
        let mut waits = std::pin::pin!(queue.reserve(one("other"), 100));
        assert!(futures_util::poll!(waits.as_mut()).is_pending());
        queue.set_bounds(bounds(10, 1_000, 2));
        assert!(!waits.await.rows[0].is_over);
        assert!(queue.reserve(one("echo"), 100).await.rows[0].is_over, "of one bot that has more than it may");
        let claimed = std::iter::from_fn(|| queue.claim(&bot("echo"), NOW));
        assert_eq!(claimed.map(|claimed| claimed.seq).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[tokio::test]
    async fn an_unclaimed_event_does_not_count_the_attempt_and_a_retried_one_does() {
        let queue = queue(10, 1_000, 10);
        append(&queue, "echo", 1, 1).await;
        let claimed = queue.claim(&bot("echo"), NOW).unwrap();
        queue.unclaim(&claimed, None);
        let claimed = queue.claim(&bot("echo"), NOW).unwrap();
        assert_eq!(claimed.attempt, 1);
        let due = Timestamp::from_millis(2_000);
        queue.settle(&claimed, Verdict::Retry { due });
        assert_eq!((queue.claim(&bot("echo"), NOW).is_none(), queue.next_due(&bot("echo"))), (true, Some(due)));
        let again = queue.claim(&bot("echo"), due).unwrap();
        assert_eq!(again.attempt, 2);
        queue.unclaim(&again, Some(due));
        assert!(queue.claim(&bot("echo"), NOW).is_none(), "it is not due yet");
    }

    #[tokio::test]
    async fn a_queue_that_is_full_by_count_or_bytes_holds_back_who_brings_more() {
        for (queue, bytes) in [(queue(1, 1_000, 10), 1), (queue(10, 1_000, 10), 1_000)] {
            let queue = Arc::new(queue);
            append(&queue, "echo", 1, bytes).await;
            let bringing = tokio::spawn({
                let queue = Arc::clone(&queue);
                async move { append(&queue, "echo", 2, 1).await }
            });
            tokio::task::yield_now().await;
            assert_eq!(queue.len(), 1);
            let claimed = queue.claim(&bot("echo"), NOW).unwrap();
            queue.settle(&claimed, Verdict::Done);
            bringing.await.unwrap();
            assert_eq!(queue.len(), 1);
        }
    }

    #[tokio::test]
    async fn an_event_too_large_for_any_queue_is_taken_alone() {
        let queue = queue(1, 10, 10);
        let bots = vec![(bot("a"), Priority::Normal), (bot("b"), Priority::Normal)];
        let reserved = queue.reserve(bots, 5_000).await;
        assert_eq!(reserved.rows.len(), 2);
    }

    #[tokio::test]
    async fn a_bot_with_all_it_may_have_gets_no_more_and_holds_up_nobody() {
        let queue = queue(10, 1_000, 1);
        append(&queue, "stuck", 1, 1).await;
        let bots = vec![(bot("stuck"), Priority::Normal), (bot("echo"), Priority::Normal)];
        let reserved = queue.reserve(bots, 1).await;
        assert_eq!(reserved.rows.iter().map(|row| row.is_over).collect::<Vec<_>>(), [true, false]);
        queue.push(&reserved, 2, &timer("a"));
        assert_eq!((queue.depth(&bot("stuck")).queued, queue.depth(&bot("echo")).queued), (1, 1));
    }

    #[tokio::test]
    async fn forgetting_a_bot_makes_room_and_its_claims_mean_nothing() {
        let queue = queue(10, 1_000, 10);
        append(&queue, "echo", 1, 7).await;
        let claimed = queue.claim(&bot("echo"), NOW).unwrap();
        assert_eq!(queue.forget(&bot("echo")), 1);
        append(&queue, "echo", 2, 7).await;
        queue.settle(&claimed, Verdict::Done);
        assert_eq!((queue.len(), queue.depth(&bot("echo")).queued), (1, 1));
    }

    #[tokio::test]
    async fn bodies_beyond_what_memory_may_hold_are_left_on_disk() {
        let queue = queue(10, u64::MAX, 10);
        append(&queue, "a", 1, usize::try_from(BODIES_BYTES_MAX).unwrap()).await;
        append(&queue, "b", 2, 1).await;
        let held = |name| queue.claim(&bot(name), NOW).unwrap().event.is_some();
        assert_eq!((held("a"), held("b")), (true, false));
    }
}
