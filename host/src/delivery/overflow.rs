//! Who loses where an outbox is full.

use super::Overflow;
use crate::action::Priority;

/// Who loses. `K` is how the caller names what waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loser<K> {
    /// The call that would add the newcomer: the bot is told, nothing is added.
    Call,
    /// The newcomer; its bot is told nothing.
    Newcomer,
    /// One that waits; the newcomer takes its place.
    Waiting(K),
}

impl Overflow {
    /// Returns who loses to a newcomer. `waiting` is what waits, in the order it was committed, without what is being delivered:
    /// that cannot be taken back. If nothing waits, the newcomer loses even under [`Overflow::DropOldest`].
    pub fn loser<K>(self, waiting: impl IntoIterator<Item = (K, Priority)>, newcomer: Priority) -> Loser<K> {
        let mut waiting = waiting.into_iter();
        match self {
            Self::Reject => Loser::Call,
            Self::DropNewest => Loser::Newcomer,
            Self::DropOldest => waiting.next().map_or(Loser::Newcomer, |(key, _)| Loser::Waiting(key)),
            // Of equals the newest loses, so that what has waited keeps its turn; and the newcomer is the newest of all.
            Self::DropLowPriority => waiting
                .filter(|(_, priority)| *priority < newcomer)
                .reduce(|lowest, next| if next.1 <= lowest.1 { next } else { lowest })
                .map_or(Loser::Newcomer, |(key, _)| Loser::Waiting(key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Priority::{Critical, High, Low, Normal};
    use proptest::prelude::*;

    #[track_caller]
    fn check(policy: Overflow, waiting: &[Priority], newcomer: Priority, expected: Loser<usize>) {
        assert_eq!(policy.loser(waiting.iter().copied().enumerate(), newcomer), expected);
    }

    #[test]
    fn each_policy_has_its_loser() {
        let waiting = [Normal, Low, High, Low, Normal];
        check(Overflow::Reject, &waiting, Critical, Loser::Call);
        check(Overflow::DropNewest, &waiting, Critical, Loser::Newcomer);
        check(Overflow::DropOldest, &waiting, Low, Loser::Waiting(0));
        check(Overflow::DropLowPriority, &waiting, Normal, Loser::Waiting(3));
    }

    #[test]
    fn among_equals_the_newcomer_is_the_newest() {
        check(Overflow::DropLowPriority, &[Normal, High], Normal, Loser::Newcomer);
        check(Overflow::DropLowPriority, &[Normal, High], Low, Loser::Newcomer);
    }

    #[test]
    fn what_is_being_delivered_is_never_taken_back() {
        for policy in [Overflow::DropOldest, Overflow::DropNewest, Overflow::DropLowPriority] {
            check(policy, &[], Critical, Loser::Newcomer);
        }
    }

    fn priority() -> impl Strategy<Value = Priority> {
        prop::sample::select(vec![Low, Normal, High, Critical])
    }

    proptest! {
        #[test]
        fn nothing_that_stays_is_below_what_was_dropped(
            waiting in prop::collection::vec(priority(), 0..30), newcomer in priority(),
        ) {
            let mut all = waiting.clone();
            all.push(newcomer);
            let lost = match Overflow::DropLowPriority.loser(waiting.iter().copied().enumerate(), newcomer) {
                Loser::Waiting(position) => position,
                _ => waiting.len(),
            };
            prop_assert!(all.iter().all(|priority| *priority >= all[lost]));
            prop_assert!(all[lost + 1..].iter().all(|priority| *priority > all[lost]), "a newer equal stayed");
        }
    }
}
