//! Who is next among the bots that wait. Policy only: it holds no slots, knows no tasks and never blocks.
//!
//! Each bot that waits has a place on a line that is counted in ticks; the lowest place is next. After its turn a bot's new
//! place is so many ticks further on as its priority says: 1 for critical, 2 for high, 4 for normal, 8 for low. So while all
//! wait, eight ticks are one round, in which they have 8, 4, 2 and 1 turns, spread over it instead of in a row. A bot that
//! begins to wait takes its place as if it just had a turn: coming and going gains nothing.
//!
//! From that follows the bound: while a bot waits, each other bot has at most `max(1, its turns per round / mine)` turns before
//! it. Two of one priority alternate; a low one waits for at most 8 turns of each critical bot, however many wait behind them.

use std::collections::{BTreeMap, HashMap};

use crate::action::Priority;
use crate::id::BotName;

/// The bots that wait, each with its waiters. A bot without waiters is not in it. Every verb takes logarithmic time.
#[derive(Debug)]
pub(super) struct Rota<W> {
    bots: HashMap<BotName, Waiting<W>>,
    places: BTreeMap<Place, BotName>,
    /// Where the bot that had the last turn stood. No place is before it.
    now: u64,
    /// How many places and waiters there have been.
    count: u64,
}

/// What waits of one bot; at least one waiter.
#[derive(Debug)]
struct Waiting<W> {
    place: Place,
    priority: Priority,
    /// In the order they came.
    waiters: BTreeMap<u64, W>,
}

/// A place on the line. Of two on one tick, the one taken first is first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    tick: u64,
    taken: u64,
}

/// One waiter, to take it out again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WaiterKey {
    bot: BotName,
    number: u64,
}

impl<W> Rota<W> {
    /// Returns a rota on which nobody waits.
    pub(super) fn new() -> Self {
        Self { bots: HashMap::new(), places: BTreeMap::new(), now: 0, count: 0 }
    }

    /// Adds a waiter behind the others of its bot. Where they differ in priority, the last one's counts for the bot.
    pub(super) fn join(&mut self, bot: &BotName, priority: Priority, waiter: W) -> WaiterKey {
        let number = self.number();
        match self.bots.get_mut(bot) {
            Some(waiting) => {
                waiting.priority = priority;
                waiting.waiters.insert(number, waiter);
            }
            None => {
                let place = self.place_after_a_turn(priority);
                self.places.insert(place, bot.clone());
                let waiters = BTreeMap::from([(number, waiter)]);
                self.bots.insert(bot.clone(), Waiting { place, priority, waiters });
            }
        }
        WaiterKey { bot: bot.clone(), number }
    }

    /// Takes out a waiter that gave up. None: it had its turn already.
    pub(super) fn leave(&mut self, key: &WaiterKey) -> Option<W> {
        let waiting = self.bots.get_mut(&key.bot)?;
        let waiter = waiting.waiters.remove(&key.number)?;
        if waiting.waiters.is_empty() {
            self.places.remove(&waiting.place);
            self.bots.remove(&key.bot);
        }
        Some(waiter)
    }

    /// Takes out the waiter whose turn it is. None: nobody waits.
    pub(super) fn next(&mut self) -> Option<W> {
        let (place, bot) = self.places.pop_first()?;
        self.now = place.tick;
        let priority = self.bots.get(&bot)?.priority;
        let next_place = self.place_after_a_turn(priority);
        let waiting = self.bots.get_mut(&bot)?;
        let (_, waiter) = waiting.waiters.pop_first()?;
        if waiting.waiters.is_empty() {
            self.bots.remove(&bot);
        } else {
            waiting.place = next_place;
            self.places.insert(next_place, bot);
        }
        Some(waiter)
    }

    fn place_after_a_turn(&mut self, priority: Priority) -> Place {
        Place { tick: self.now + stride(priority), taken: self.number() }
    }

    fn number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
}

/// Returns how many ticks lie between two turns.
fn stride(priority: Priority) -> u64 {
    match priority {
        Priority::Critical => 1,
        Priority::High => 2,
        Priority::Normal => 4,
        Priority::Low => 8,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const PRIORITIES: [Priority; 4] = [Priority::Critical, Priority::High, Priority::Normal, Priority::Low];

    fn bot(number: usize) -> BotName {
        format!("bot-{number}").parse().unwrap()
    }

    fn turns_per_round(priority: Priority) -> usize {
        match priority {
            Priority::Critical => 8,
            Priority::High => 4,
            Priority::Normal => 2,
            Priority::Low => 1,
        }
    }

    /// The most turns that a bot of priority `other` may have before one of priority `own` that waits.
    fn bound(other: Priority, own: Priority) -> usize {
        (turns_per_round(other) / turns_per_round(own)).max(1)
    }

    /// A rota on which each of these bots has `backlog` waiters; a waiter is its bot's number.
    fn crowded(priorities: &[Priority], backlog: usize) -> Rota<usize> {
        let mut rota = Rota::new();
        for (number, &priority) in priorities.iter().enumerate() {
            for _ in 0..backlog {
                rota.join(&bot(number), priority, number);
            }
        }
        rota
    }

    #[test]
    fn a_round_has_eight_four_two_and_one_turns_by_priority() {
        let mut rota = crowded(&PRIORITIES, 100);
        for round in 0..5 {
            let turns: Vec<usize> = (0..15).map(|_| rota.next().unwrap()).collect();
            let counts = [0, 1, 2, 3].map(|number| turns.iter().filter(|&&turn| turn == number).count());
            assert_eq!(counts, [8, 4, 2, 1], "round {round}: {turns:?}");
        }
    }

    #[test]
    fn bots_of_one_priority_alternate_whatever_waits_behind_them() {
        for priority in PRIORITIES {
            let mut rota = crowded(&[priority; 2], 1);
            for _ in 0..1_000 {
                rota.join(&bot(0), priority, 0);
            }
            for _ in 0..50 {
                assert_eq!((rota.next(), rota.next()), (Some(0), Some(1)));
                rota.join(&bot(1), priority, 1);
            }
        }
    }

    #[test]
    fn who_comes_and_goes_gains_nothing() {
        let mut rota = crowded(&[Priority::Normal; 3], 1_000);
        let guest = bot(9);
        for _ in 0..100 {
            // It takes itself out and comes again after each turn of another.
            let key = rota.join(&guest, Priority::Normal, 9);
            assert_ne!(rota.next(), Some(9));
            rota.leave(&key);
        }
    }

    #[test]
    fn within_a_bot_the_first_to_come_is_the_first_served() {
        let mut rota = Rota::new();
        let keys: Vec<_> = (0..5).map(|number| rota.join(&bot(0), Priority::Low, number)).collect();
        assert_eq!(rota.leave(&keys[2]), Some(2));
        assert_eq!(rota.leave(&keys[2]), None, "it is gone already");
        assert_eq!(std::iter::from_fn(|| rota.next()).collect::<Vec<_>>(), [0, 1, 3, 4]);
        assert_eq!(rota.leave(&keys[0]), None, "it had its turn");
    }

    /// What happens to a rota.
    #[derive(Debug, Clone)]
    enum Step {
        Join {
            bot: usize,
        },
        /// Of those that wait, the one at this share of them.
        Leave {
            which: prop::sample::Index,
        },
        Next,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..6_usize).prop_map(|bot| Step::Join { bot }),
            1 => any::<prop::sample::Index>().prop_map(|which| Step::Leave { which }),
            3 => Just(Step::Next),
        ];
        prop::collection::vec(step, 0..300)
    }

    fn priorities() -> impl Strategy<Value = Vec<Priority>> {
        prop::collection::vec(prop::sample::select(&PRIORITIES[..]), 6)
    }

    /// The bots of these waiters.
    fn bots(waiting: &[(usize, u64, WaiterKey)]) -> BTreeSet<usize> {
        waiting.iter().map(|(number, ..)| *number).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Against a plain list of who waits: nobody is lost or served twice, the first of a bot is first, no other bot has
        /// more turns than the bound while one waits, and what does not wait takes no room.
        #[test]
        fn nobody_is_lost_overtaken_at_home_or_starved(steps in steps(), priorities in priorities()) {
            let mut rota = Rota::new();
            let mut waiting: Vec<(usize, u64, WaiterKey)> = Vec::new();
            // Turns of each bot since another began to wait or had its last turn.
            let mut before = [[0_usize; 6]; 6];
            let mut serial = 0;
            for step in steps {
                match step {
                    Step::Join { bot: number } => {
                        if waiting.iter().all(|(other, ..)| *other != number) {
                            before[number] = [0; 6];
                        }
                        serial += 1;
                        let key = rota.join(&bot(number), priorities[number], (number, serial));
                        waiting.push((number, serial, key));
                    }
                    Step::Leave { which } if !waiting.is_empty() => {
                        let (number, serial, key) = waiting.remove(which.index(waiting.len()));
                        prop_assert_eq!(rota.leave(&key), Some((number, serial)));
                    }
                    Step::Leave { .. } => {}
                    Step::Next => {
                        let Some((number, serial)) = rota.next() else {
                            prop_assert!(waiting.is_empty());
                            continue;
                        };
                        let first = waiting.iter().position(|(other, ..)| *other == number).unwrap();
                        prop_assert_eq!(waiting.remove(first).1, serial);
                        before[number] = [0; 6];
                        for own in bots(&waiting).into_iter().filter(|&own| own != number) {
                            before[own][number] += 1;
                            let (turns, most) = (before[own][number], bound(priorities[number], priorities[own]));
                            prop_assert!(turns <= most, "bot {} had {} turns before bot {}", number, turns, own);
                        }
                    }
                }
                prop_assert_eq!(rota.bots.len(), bots(&waiting).len());
                prop_assert_eq!(rota.places.len(), rota.bots.len());
                prop_assert!(rota.places.keys().all(|place| place.tick >= rota.now));
            }
        }
    }
}
