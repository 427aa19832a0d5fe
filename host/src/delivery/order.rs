//! Which of the entries that may leave leaves first.

use super::Order;
use crate::action::{Act, Priority};

/// How often each priority has its turn, lowest first.
const WEIGHTS: [i32; 4] = [1, 2, 4, 8];

/// Returns the priority of an act. What belongs to no message of its own is normal.
pub fn priority<R>(act: &Act<R>) -> Priority {
    match act {
        Act::Send { message, .. } | Act::Edit { message, .. } => message.priority,
        Act::Delete { .. } | Act::React { .. } => Priority::Normal,
    }
}

/// Whose turn it is: a smooth weighted round robin over the priorities of one connector. While all wait, the low has each
/// fifteenth turn; whoever comes and goes meanwhile, it never waits for more than 25 others (found by trying every sequence).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turns {
    /// What each priority has been denied, lowest first.
    credit: [i32; 4],
}

impl Turns {
    /// Returns which entry leaves next. `ready` is what may leave, in the order it was committed, and the first of each
    /// priority in it is enough. It must not hold
    ///
    /// - an entry whose conversation is at work or paced, or order would be lost or the turn wasted;
    /// - an entry that names a message whose send still waits: with a higher priority it would overtake what it is about.
    ///
    /// If it turns out that the entry cannot leave after all, go on with the turns as they were before.
    pub fn next<K>(&mut self, order: Order, ready: impl IntoIterator<Item = (K, Priority)>) -> Option<K> {
        let mut ready = ready.into_iter();
        if order == Order::Fifo {
            return ready.next().map(|(key, _)| key);
        }
        let mut first: [Option<K>; 4] = [const { None }; 4];
        for (key, priority) in ready {
            first[class(priority)].get_or_insert(key);
            if first.iter().all(Option::is_some) {
                break;
            }
        }
        let chosen = self.turn([0, 1, 2, 3].map(|class: usize| first[class].is_some()))?;
        first[chosen].take()
    }

    fn turn(&mut self, is_waiting: [bool; 4]) -> Option<usize> {
        let mut total = 0;
        for (class, credit) in self.credit.iter_mut().enumerate() {
            if is_waiting[class] {
                *credit += WEIGHTS[class];
                total += WEIGHTS[class];
            } else {
                // Who has nothing to send saves nothing up; what it had too much is remembered, or coming and going would pay.
                *credit = (*credit).min(0);
            }
        }
        // Of equals the last, which is the highest priority.
        let chosen = (0..4).filter(|class| is_waiting[*class]).max_by_key(|class| self.credit[*class])?;
        self.credit[chosen] -= total;
        Some(chosen)
    }
}

const fn class(priority: Priority) -> usize {
    match priority {
        Priority::Low => 0,
        Priority::Normal => 1,
        Priority::High => 2,
        Priority::Critical => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Priority::{Critical, High, Low, Normal};
    use proptest::prelude::*;

    const ALL: [Priority; 4] = [Low, Normal, High, Critical];

    #[test]
    fn by_fifo_the_oldest_leaves_first_whatever_its_priority() {
        assert_eq!(Turns::default().next(Order::Fifo, [("low", Low), ("critical", Critical)]), Some("low"));
    }

    #[test]
    fn of_two_that_wait_the_higher_priority_leaves_first() {
        let ready = [("low", Low), ("normal", Normal), ("high", High), ("critical", Critical), ("another", Critical)];
        assert_eq!(Turns::default().next(Order::Priority, ready), Some("critical"));
        assert_eq!(Turns::default().next(Order::Priority, [("normal", Normal), ("high", High)]), Some("high"));
    }

    #[test]
    fn nothing_leaves_where_nothing_waits() {
        assert_eq!(Turns::default().next::<()>(Order::Priority, []), None);
        assert_eq!(Turns::default().next::<()>(Order::Fifo, []), None);
    }

    #[test]
    fn while_all_wait_the_turns_are_eight_four_two_and_one() {
        let mut turns = Turns::default();
        let mut counts = [0; 4];
        for _ in 0..15 {
            counts[class(turns.next(Order::Priority, ALL.map(|priority| (priority, priority))).unwrap())] += 1;
        }
        assert_eq!(counts, [1, 2, 4, 8]);
        assert_eq!(turns, Turns::default(), "and all begins anew");
    }

    #[test]
    fn one_that_is_alone_saves_up_nothing_and_owes_nothing() {
        let mut turns = Turns::default();
        for _ in 0..1000 {
            turns.next(Order::Priority, [((), Low)]);
        }
        assert_eq!(turns, Turns::default());
    }

    #[test]
    fn what_names_a_message_without_sending_one_is_normal() {
        assert_eq!(priority(&Act::Delete { target: "1" }), Normal);
    }

    proptest! {
        #[test]
        fn the_low_never_starves_whoever_comes_and_goes(others in prop::collection::vec(any::<[bool; 3]>(), 100)) {
            let (mut turns, mut since) = (Turns::default(), 0);
            for [normal, high, critical] in others {
                let ready = [(Low, true), (Normal, normal), (High, high), (Critical, critical)];
                let ready = ready.into_iter().filter(|(_, is_ready)| *is_ready).map(|(priority, _)| (priority, priority));
                since = if turns.next(Order::Priority, ready) == Some(Low) { 0 } else { since + 1 };
                prop_assert!(since <= 25, "{since} others in a row");
            }
        }

        #[test]
        fn within_a_priority_the_oldest_leaves_first(
            mut ready in prop::collection::vec(prop::sample::select(ALL.to_vec()), 1..40),
        ) {
            let mut turns = Turns::default();
            let mut entries: Vec<_> = ready.drain(..).enumerate().collect();
            while let Some(position) = turns.next(Order::Priority, entries.iter().copied()) {
                let (_, priority) = *entries.iter().find(|(at, _)| *at == position).unwrap();
                prop_assert!(!entries.iter().any(|(at, other)| *other == priority && *at < position));
                entries.retain(|(at, _)| *at != position);
            }
            prop_assert!(entries.is_empty());
        }
    }
}
