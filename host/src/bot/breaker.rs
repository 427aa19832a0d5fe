//! The circuit breaker of one bot: decides whether it gets events. Pure.
//!
//! ```text
//!            too many failed             open_for is over
//!  closed ───────────────────► open ◄───────────────────── half-open
//!     ▲                          └──────────────────────────►  │ │
//!     └──────────────────────── all probes went well ──────────┘ └─ one failed: open again
//! ```

use tokio::time::Instant;

use super::tally::{Counts, Mark, Tally};
use crate::supervision::BreakerPolicy;

/// The breaker of one bot.
#[derive(Debug)]
pub(super) struct Breaker {
    policy: BreakerPolicy,
    tally: Tally,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    /// Until somebody calls for probes.
    Open,
    HalfOpen {
        /// Probes that went well.
        well: u32,
    },
}

/// What an event's end did to the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Opened,
    Closed,
}

impl Breaker {
    pub(super) fn new(policy: BreakerPolicy) -> Self {
        Self { tally: Tally::new(policy.within), policy, state: State::Closed }
    }

    /// Goes by another policy from now on. What was counted under the old one is forgotten if the window is another.
    pub(super) fn set_policy(&mut self, policy: BreakerPolicy) {
        if self.policy.within != policy.within {
            self.tally = Tally::new(policy.within);
        }
        self.policy = policy;
    }

    /// Closes it and forgets what was counted: for another version, or by the operator's word.
    pub(super) fn reset(&mut self) {
        self.tally.clear();
        self.state = State::Closed;
    }

    /// Lets probes through.
    pub(super) fn half_open(&mut self) {
        self.state = State::HalfOpen { well: 0 };
    }

    pub(super) fn is_half_open(&self) -> bool {
        matches!(self.state, State::HalfOpen { .. })
    }

    /// Returns how many events may be at work side by side, where `most` may by the bot's limits.
    pub(super) fn room(&self, most: usize) -> usize {
        match self.state {
            State::Closed => most,
            State::Open => 0,
            State::HalfOpen { .. } => most.min(1),
        }
    }

    /// Returns how the bot's events ended of late.
    pub(super) fn counts(&mut self, now: Instant) -> Counts {
        self.tally.counts(now)
    }

    /// Takes in how an event ended. What ends while the breaker is open had begun before, and says nothing new.
    pub(super) fn record(&mut self, mark: Mark, now: Instant) -> Option<Change> {
        match (self.state, mark) {
            (State::Open, _) => None,
            (State::Closed, _) => {
                self.tally.add(mark, now);
                let counts = self.tally.counts(now);
                let is_bad = counts.failed >= u64::from(self.policy.failures.get()) && counts.failed >= counts.well;
                (mark == Mark::Failed && is_bad).then(|| self.open())
            }
            (State::HalfOpen { .. }, Mark::Failed) => Some(self.open()),
            (State::HalfOpen { well }, Mark::Well) if well + 1 >= self.policy.probes.get() => {
                self.reset();
                Some(Change::Closed)
            }
            (State::HalfOpen { well }, Mark::Well) => {
                self.state = State::HalfOpen { well: well + 1 };
                None
            }
        }
    }

    fn open(&mut self) -> Change {
        self.state = State::Open;
        self.tally.clear();
        Change::Opened
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn policy(failures: u32, probes: u32) -> BreakerPolicy {
        let [failures, probes] = [failures, probes].map(|number| NonZeroU32::new(number).unwrap());
        BreakerPolicy { failures, probes, ..BreakerPolicy::default() }
    }

    /// Checks what the last of a series of ends does to a breaker of three failures and two probes.
    #[track_caller]
    fn check(is_half_open: bool, marks: &[Mark], expected: Option<Change>) {
        let mut breaker = Breaker::new(policy(3, 2));
        if is_half_open {
            breaker.half_open();
        }
        let now = Instant::now();
        let (last, before) = marks.split_last().unwrap();
        for mark in before {
            assert_eq!(breaker.record(*mark, now), None, "{marks:?}");
        }
        assert_eq!(breaker.record(*last, now), expected, "{marks:?}");
    }

    #[test]
    fn it_opens_when_enough_failed_and_no_fewer_than_went_well() {
        use Mark::{Failed, Well};
        check(false, &[Failed, Failed, Failed], Some(Change::Opened));
        check(false, &[Failed, Failed], None);
        check(false, &[Well, Well, Failed, Failed, Failed], Some(Change::Opened));
        check(false, &[Well, Well, Well, Well, Failed, Failed, Failed], None);
        check(true, &[Failed], Some(Change::Opened));
        check(true, &[Well, Failed], Some(Change::Opened));
        check(true, &[Well, Well], Some(Change::Closed));
        check(true, &[Well], None);
    }

    #[test]
    fn failures_that_are_long_ago_do_not_open_it() {
        let mut breaker = Breaker::new(policy(3, 1));
        let mut now = Instant::now();
        for _ in 0..20 {
            assert_eq!(breaker.record(Mark::Failed, now), None);
            now += Duration::from_secs(31);
        }
    }

    proptest! {
        #[test]
        fn f067_however_events_end_the_breaker_keeps_its_word(
            failures in 1u32..6, probes in 1u32..4,
            ends in prop::collection::vec((prop::bool::ANY, 0u64..90_000, prop::bool::weighted(0.2)), 1..200),
        ) {
            let mut breaker = Breaker::new(policy(failures, probes));
            let (mut now, mut is_open, mut probed) = (Instant::now(), false, None);
            for (is_well, wait, try_again) in ends {
                now += Duration::from_millis(wait);
                if is_open && try_again {
                    breaker.half_open();
                    (is_open, probed) = (false, Some(0));
                }
                prop_assert_eq!(breaker.room(16), match (is_open, probed) { (true, _) => 0, (_, Some(_)) => 1, _ => 16 });
                let change = breaker.record(if is_well { Mark::Well } else { Mark::Failed }, now);
                match (is_open, probed, is_well) {
                    (true, ..) => prop_assert_eq!(change, None),
                    (_, Some(_), false) => prop_assert_eq!(change, Some(Change::Opened)),
                    (_, Some(well), true) if well + 1 == probes => prop_assert_eq!(change, Some(Change::Closed)),
                    (_, Some(_), true) => prop_assert_eq!(change, None),
                    (_, None, true) => prop_assert_eq!(change, None, "it does not open because something went well"),
                    (_, None, false) => prop_assert_ne!(change, Some(Change::Closed)),
                }
                probed = probed.filter(|_| change.is_none()).map(|well| well + u32::from(is_well));
                is_open = is_open || change == Some(Change::Opened);
            }
        }
    }
}
