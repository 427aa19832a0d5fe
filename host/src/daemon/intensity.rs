//! Whether, and when, a host that ended is brought back: by the words of OTP's supervisors, intensity within a period. Pure; the
//! caller brings the clock and the random number.

use std::collections::VecDeque;
use std::time::Duration;

use crate::backoff::Backoff;

/// What the watching parent is allowed.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Most restarts within `within`; where one more would be needed, it gives up. Default: 5.
    pub restarts_max: usize,
    /// The period of `restarts_max`. Default: 60 s.
    pub within: Duration,
    /// The wait before the first restart; it doubles with each further one. Default: 1 s.
    pub backoff_initial: Duration,
    /// The longest wait. Default: 30 s.
    pub backoff_max: Duration,
    /// By how much of itself a wait is stretched or shrunk at random, 0 to 1. Default: 0.25.
    pub jitter: f64,
    /// A host that was up for so long begins anew: with the shortest wait and no restarts held against it. Default: 5 min.
    pub healthy_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            restarts_max: 5,
            within: Duration::from_secs(60),
            backoff_initial: Duration::from_secs(1),
            backoff_max: Duration::from_secs(30),
            jitter: 0.25,
            healthy_after: Duration::from_secs(300),
        }
    }
}

/// What is done about a host that ended badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is brought back after this wait.
    Restart(Duration),
    /// It ended too often.
    GiveUp,
}

/// The restarts of one host.
#[derive(Debug, Clone)]
pub struct Restarts {
    limits: Limits,
    backoff: Backoff,
    /// When those within the period were decided on, the oldest first. Never more than `restarts_max`.
    recent: VecDeque<Duration>,
}

impl Restarts {
    /// Returns a series without any.
    pub fn new(limits: Limits) -> Self {
        let backoff = Backoff::new(limits.backoff_initial, limits.backoff_max, limits.jitter);
        Self { limits, backoff, recent: VecDeque::new() }
    }

    /// Decides about a host that was `up` for so long and ended badly at `now`, counted from any moment that stays the same.
    /// `random` is uniform in `0.0..1.0`.
    pub fn ended(&mut self, up: Duration, now: Duration, random: f64) -> Decision {
        if up >= self.limits.healthy_after {
            self.backoff.reset();
            self.recent.clear();
        }
        while self.recent.front().is_some_and(|restart| *restart + self.limits.within <= now) {
            self.recent.pop_front();
        }
        if self.recent.len() >= self.limits.restarts_max {
            return Decision::GiveUp;
        }
        // Counted from here on: counted when they are due, those of a long back-off would never be too many.
        self.recent.push_back(now);
        Decision::Restart(self.backoff.next(random))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits() -> Limits {
        Limits { jitter: 0.0, ..Limits::default() }
    }

    #[test]
    fn a_host_that_ends_at_once_is_brought_back_five_times_ever_later() {
        let mut restarts = Restarts::new(limits());
        let mut now = Duration::ZERO;
        for wait in [1, 2, 4, 8, 16] {
            assert_eq!(restarts.ended(Duration::ZERO, now, 0.5), Decision::Restart(SECOND * wait));
            now += SECOND * wait;
        }
        assert_eq!(restarts.ended(Duration::ZERO, now, 0.5), Decision::GiveUp);
    }

    #[test]
    fn a_host_that_was_well_begins_anew() {
        let mut restarts = Restarts::new(limits());
        let mut now = Duration::ZERO;
        for _ in 0..20 {
            now += SECOND * 300;
            assert_eq!(restarts.ended(SECOND * 300, now, 0.5), Decision::Restart(SECOND));
        }
    }

    #[test]
    fn no_restart_is_an_intensity_too() {
        let mut restarts = Restarts::new(Limits { restarts_max: 0, ..limits() });
        assert_eq!(restarts.ended(SECOND * 1_000, SECOND, 0.5), Decision::GiveUp);
    }

    proptest! {
        /// Ends of any kind: no period has more restarts than it may, no wait is out of bounds, and it is given up only where
        /// the restart would be one too many.
        #[test]
        fn the_intensity_is_kept(ups in prop::collection::vec(0u64..400_000, 1..60), random in 0.0f64..1.0) {
            let limits = Limits::default();
            let mut restarts = Restarts::new(limits.clone());
            let (mut now, mut since_healthy) = (Duration::ZERO, Vec::<Duration>::new());
            for up in ups {
                let up = Duration::from_millis(up);
                now += up;
                if up >= limits.healthy_after {
                    since_healthy.clear();
                }
                let of_period = since_healthy.iter().filter(|at| **at + limits.within > now).count();
                match restarts.ended(up, now, random) {
                    Decision::Restart(wait) => {
                        prop_assert!(wait <= limits.backoff_max && wait >= limits.backoff_initial.mul_f64(0.74));
                        prop_assert!(of_period < limits.restarts_max);
                        since_healthy.push(now);
                        now += wait;
                    }
                    Decision::GiveUp => {
                        prop_assert!(of_period >= limits.restarts_max);
                        break;
                    }
                }
            }
        }
    }
}
