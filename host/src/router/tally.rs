//! What the router counts of what comes in, beside the metrics: for whoever asks how it is now. Counting costs an addition.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::action::Priority;
use crate::id::BotName;

/// What came in since the host began; shared by all that bring events.
#[derive(Debug, Default)]
pub struct Tally {
    received: AtomicU64,
    injected: AtomicU64,
    timers: AtomicU64,
    unrouted: AtomicU64,
    duplicates: AtomicU64,
    overflowing: AtomicU64,
    stalls: AtomicU64,
    /// Hand-overs by class of priority, from `low` to `critical`.
    handed: [AtomicU64; 4],
    on_their_way: AtomicUsize,
    waits_for_room: AtomicBool,
    is_stalled: AtomicBool,
}

/// What came in, at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Intake {
    /// Events from connectors.
    pub received: u64,
    /// Events that the operator handed to a bot.
    pub injected: u64,
    /// Timers that fired.
    pub timers: u64,
    /// Events that no bot hears.
    pub unrouted: u64,
    /// Events that had come before.
    pub duplicates: u64,
    /// Hand-overs that became dead letters at once: the bot had as many events waiting as it may.
    pub overflowing: u64,
    /// How often the store did not take an event, so that nothing was taken in until it did.
    pub stalls: u64,
    /// How often a bot was handed an event, by priority from `low` to `critical`: an event that two bots hear counts twice.
    pub handed: [u64; 4],
    /// Events on their way to the disk.
    pub on_their_way: usize,
    /// What keeps the next event back.
    pub held_back: HeldBack,
}

/// What keeps connectors from handing over the next event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HeldBack {
    /// Nothing.
    #[default]
    No,
    /// The queue is full.
    Room,
    /// The store takes no event.
    Store,
}

impl HeldBack {
    /// Returns its name in listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Room => "room",
            Self::Store => "store",
        }
    }
}

impl Tally {
    pub(super) fn received(&self) {
        add(&self.received);
    }

    pub(super) fn injected(&self) {
        add(&self.injected);
    }

    pub(super) fn fired(&self) {
        add(&self.timers);
    }

    pub(super) fn unrouted(&self) {
        add(&self.unrouted);
    }

    pub(super) fn duplicate(&self) {
        add(&self.duplicates);
    }

    /// Notes that an event is in the queues of these bots, but for those that had no room for it.
    pub(super) fn handed(&self, bots: &[(BotName, Priority)], overflowing: &[BotName]) {
        for (bot, priority) in bots {
            add(if overflowing.contains(bot) { &self.overflowing } else { &self.handed[*priority as usize] });
        }
    }

    pub(super) fn on_their_way(&self, events: usize) {
        self.on_their_way.store(events, Ordering::Relaxed);
    }

    /// Notes that the next event waits for room in the queue, or has found some.
    pub(super) fn waits_for_room(&self, waits: bool) {
        self.waits_for_room.store(waits, Ordering::Relaxed);
    }

    pub(super) fn stalled(&self) {
        add(&self.stalls);
        self.is_stalled.store(true, Ordering::Relaxed);
    }

    pub(super) fn goes_on(&self) {
        self.is_stalled.store(false, Ordering::Relaxed);
    }

    /// Returns what was counted. What happens meanwhile may be in one number and not yet in another.
    pub fn intake(&self) -> Intake {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let held_back = if self.is_stalled.load(Ordering::Relaxed) {
            HeldBack::Store
        } else if self.waits_for_room.load(Ordering::Relaxed) {
            HeldBack::Room
        } else {
            HeldBack::No
        };
        Intake {
            received: of(&self.received),
            injected: of(&self.injected),
            timers: of(&self.timers),
            unrouted: of(&self.unrouted),
            duplicates: of(&self.duplicates),
            overflowing: of(&self.overflowing),
            stalls: of(&self.stalls),
            handed: std::array::from_fn(|class| of(&self.handed[class])),
            on_their_way: self.on_their_way.load(Ordering::Relaxed),
            held_back,
        }
    }
}

fn add(number: &AtomicU64) {
    number.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_counts_once_for_each_bot_that_gets_it_and_as_overflowing_where_one_has_no_room() {
        let tally = Tally::default();
        let bots = [("a", Priority::Low), ("b", Priority::Critical), ("c", Priority::Critical)];
        let bots = bots.map(|(bot, priority)| (bot.parse::<BotName>().unwrap(), priority));
        tally.handed(&bots, &["c".parse().unwrap()]);
        let intake = tally.intake();
        assert_eq!((intake.handed, intake.overflowing), ([1, 0, 0, 1], 1));
    }

    #[test]
    fn what_holds_back_is_the_store_before_the_queue() {
        let tally = Tally::default();
        assert_eq!(tally.intake().held_back, HeldBack::No);
        tally.waits_for_room(true);
        assert_eq!(tally.intake().held_back, HeldBack::Room);
        tally.stalled();
        assert_eq!(tally.intake().held_back, HeldBack::Store);
        tally.goes_on();
        tally.waits_for_room(false);
        assert_eq!((tally.intake().held_back, tally.intake().stalls), (HeldBack::No, 1));
    }
}
