//! Whether a bot that ended is started again, and when: by OTP's words, with an intensity within a period, a back-off with jitter
//! that a healthy uptime resets, and an end when it is hopeless. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::supervision::{Restart, Supervision};
use crate::units::Span;

/// Restarts that are remembered, whatever `max_restarts` says.
const REMEMBERED_MAX: usize = 10_000;

/// The restarts of one bot.
#[derive(Debug)]
pub(super) struct Restarts {
    policy: Supervision,
    backoff: Backoff,
    /// When it was restarted, by the clock below.
    recent: VecDeque<Duration>,
    /// How long it was up, all in all, until it last went down. Waiting is no healthy time: a bot that fails as soon as it may
    /// does not get away with the period that its waits take.
    uptime: Duration,
    up_since: Option<Instant>,
    /// When it last failed at something.
    failed_at: Option<Instant>,
}

/// How a bot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It failed: its `init`, or too many of its events.
    Failed,
    /// It called `exit` with success.
    Quit,
}

/// What to do about a bot that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Start it again after this wait.
    Restart { after: Duration },
    /// Leave it: it meant to end.
    Leave,
    /// Give it up, for this reason.
    Quarantine { reason: String },
}

impl Restarts {
    pub(super) fn new(policy: Supervision) -> Self {
        let backoff = backoff(&policy);
        Self { policy, backoff, recent: VecDeque::new(), uptime: Duration::ZERO, up_since: None, failed_at: None }
    }

    /// Goes by another policy from now on. What happened still counts.
    pub(super) fn set_policy(&mut self, policy: Supervision) {
        let is_same = |one: &Supervision, other: &Supervision| {
            (one.backoff_initial, one.backoff_max) == (other.backoff_initial, other.backoff_max)
                && one.jitter.total_cmp(&other.jitter).is_eq()
        };
        if !is_same(&self.policy, &policy) {
            self.backoff = backoff(&policy);
        }
        self.policy = policy;
    }

    /// Forgets what happened: for another version, or by the operator's word.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.policy.clone());
    }

    /// It is up from now on.
    pub(super) fn up(&mut self, now: Instant) {
        self.up_since = Some(now);
    }

    /// It failed at something and goes on.
    pub(super) fn failed(&mut self, now: Instant) {
        self.failed_at = Some(now);
    }

    /// It ended. `random` is uniform in `0.0..1.0`.
    pub(super) fn ended(&mut self, ending: Ending, now: Instant, random: f64) -> Verdict {
        let was_up = self.up_since.take().map(|since| now.saturating_duration_since(since)).unwrap_or_default();
        self.uptime += was_up;
        let since_failure = self.failed_at.map(|at| now.saturating_duration_since(at)).unwrap_or(was_up);
        if was_up.min(since_failure) >= self.policy.healthy_after && !was_up.is_zero() {
            self.backoff.reset();
        }
        self.failed_at = Some(now);
        match (self.policy.restart, ending) {
            (Restart::Never, Ending::Failed) => {
                Verdict::Quarantine { reason: "it failed, and its `restart` is \"never\"".to_owned() }
            }
            (Restart::Never | Restart::OnFailure, Ending::Quit) => Verdict::Leave,
            (Restart::Always, _) | (Restart::OnFailure, Ending::Failed) => self.restart(random),
        }
    }

    fn restart(&mut self, random: f64) -> Verdict {
        let Supervision { max_restarts, within, .. } = self.policy;
        while self.recent.front().is_some_and(|at| self.uptime - *at >= within) {
            self.recent.pop_front();
        }
        if self.recent.len() >= max_restarts as usize {
            let reason = match max_restarts {
                0 => "it failed, and `supervisor.max_restarts` is 0".to_owned(),
                _ => format!("it was restarted {max_restarts} times within {} and failed again", Span(within)),
            };
            return Verdict::Quarantine { reason };
        }
        if self.recent.len() == REMEMBERED_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(self.uptime);
        Verdict::Restart { after: self.backoff.next(random) }
    }
}

fn backoff(policy: &Supervision) -> Backoff {
    Backoff::new(policy.backoff_initial, policy.backoff_max, policy.jitter)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(restart: Restart, max_restarts: u32) -> Supervision {
        Supervision { restart, max_restarts, jitter: 0.0, ..Supervision::default() }
    }

    #[test]
    fn the_words_of_otp_decide_by_how_a_bot_ended() {
        let restart = Verdict::Restart { after: Duration::from_millis(500) };
        let never = Verdict::Quarantine { reason: "it failed, and its `restart` is \"never\"".to_owned() };
        for (word, ending, expected) in [
            (Restart::Always, Ending::Failed, &restart),
            (Restart::Always, Ending::Quit, &restart),
            (Restart::OnFailure, Ending::Failed, &restart),
            (Restart::OnFailure, Ending::Quit, &Verdict::Leave),
            (Restart::Never, Ending::Failed, &never),
            (Restart::Never, Ending::Quit, &Verdict::Leave),
        ] {
            let verdict = Restarts::new(policy(word, 10)).ended(ending, Instant::now(), 0.5);
            assert_eq!(&verdict, expected, "{word:?} {ending:?}");
        }
    }

    /// Has a bot fail again and again, each time after it was up for `up` and down for its wait; returns the waits until it is
    /// given up, in milliseconds, or those of a hundred failures.
    fn waits(max_restarts: u32, up: Duration) -> Vec<u128> {
        let mut restarts = Restarts::new(policy(Restart::OnFailure, max_restarts));
        let mut now = Instant::now();
        let mut waits = Vec::new();
        while waits.len() < 100 {
            restarts.up(now);
            now += up;
            match restarts.ended(Ending::Failed, now, 0.5) {
                Verdict::Restart { after } => {
                    now += after;
                    waits.push(after.as_millis());
                }
                Verdict::Quarantine { .. } => break,
                Verdict::Leave => panic!("it failed"),
            }
        }
        waits
    }

    #[test]
    fn past_the_intensity_it_is_given_up_and_waiting_is_no_uptime() {
        let expected = [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000, 30_000];
        assert_eq!(waits(10, Duration::from_millis(1)), expected);
        assert_eq!(waits(0, Duration::from_millis(1)), []);
        // Eleven times 29 s are more than five minutes.
        assert_eq!(waits(10, Duration::from_secs(31)).len(), 100);
        assert_eq!(waits(10, Duration::from_secs(61)), [500; 100], "healthy each time");
    }

    #[test]
    fn failing_now_and_then_while_up_is_not_healthy() {
        let mut restarts = Restarts::new(policy(Restart::OnFailure, 10));
        let mut now = Instant::now();
        let mut last = Duration::ZERO;
        for _ in 0..4 {
            restarts.up(now);
            now += Duration::from_secs(100);
            restarts.failed(now);
            now += Duration::from_secs(1);
            let Verdict::Restart { after } = restarts.ended(Ending::Failed, now, 0.5) else { panic!("restarted") };
            assert!(after > last, "{after:?}");
            last = after;
        }
    }

    proptest! {
        #[test]
        fn within_the_period_there_are_never_more_restarts_than_allowed(
            max_restarts in 0u32..8,
            ups in prop::collection::vec(0u64..200_000, 1..80),
        ) {
            let mut restarts = Restarts::new(policy(Restart::Always, max_restarts));
            let (mut now, mut uptime, mut seen) = (Instant::now(), 0, Vec::new());
            for up in ups {
                restarts.up(now);
                (now, uptime) = (now + Duration::from_millis(up), uptime + up);
                match restarts.ended(Ending::Failed, now, 0.5) {
                    Verdict::Restart { after } => {
                        prop_assert!(after <= Duration::from_secs(30));
                        seen.push(uptime);
                        now += after;
                    }
                    Verdict::Quarantine { .. } => restarts.reset(),
                    Verdict::Leave => prop_assert!(false),
                }
                if restarts.recent.is_empty() {
                    seen.clear();
                }
                let within = seen.iter().filter(|at| uptime - **at < 300_000).count();
                prop_assert!(within <= max_restarts as usize);
            }
        }
    }
}
