//! Whether a new version of a bot is worse than the one it replaced, by how its events end. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::tally::{Counts, Mark};
use crate::clock::Timestamp;
use crate::supervision::RolloutPolicy;

/// Versions that can be gone back to. Saved quickly one after the other, the proven one and the newest stay.
const FALLBACKS_MAX: usize = 4;

/// A moment by the clock that waits go by, and by the one that people read.
type Moment = (Instant, Timestamp);

/// A version that is watched.
#[derive(Debug)]
pub(super) struct Trial<V> {
    policy: RolloutPolicy,
    /// What to go back to; the last first. The first is the one that has proved itself.
    fallbacks: Vec<V>,
    /// Which part of the events of the version before it failed.
    baseline: f64,
    began: Moment,
    counts: Counts,
}

/// What is known of a version that is watched.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Opinion {
    /// Too little to say.
    Undecided,
    /// It is no worse.
    Good,
    /// It is worse, and how.
    Worse(String),
}

impl<V> Trial<V> {
    /// Begins to watch a version that took over from `previous`, of whose events `baseline` (0 to 1) had failed. `before` is
    /// the trial of `previous` where it was not over.
    pub(super) fn new(policy: RolloutPolicy, previous: V, baseline: f64, before: Option<Self>, now: Moment) -> Self {
        let mut fallbacks = before.map(|trial| trial.fallbacks).unwrap_or_default();
        if fallbacks.len() == FALLBACKS_MAX {
            fallbacks.remove(1);
        }
        fallbacks.push(previous);
        Self { policy, fallbacks, baseline, began: now, counts: Counts::default() }
    }

    /// Returns the version to go back to, and its own trial if it had not proved itself either.
    pub(super) fn back(mut self, now: Moment) -> (V, Option<Self>) {
        let last = self.fallbacks.pop().expect("a trial begins with one");
        let rest = (!self.fallbacks.is_empty()).then_some(Self { began: now, counts: Counts::default(), ..self });
        (last, rest)
    }

    /// Returns the versions that are kept for it.
    pub(super) fn fallbacks(&self) -> &[V] {
        &self.fallbacks
    }

    pub(super) fn set_policy(&mut self, policy: RolloutPolicy) {
        self.policy = policy;
    }

    /// Takes in how an event ended that the version had at its first attempt.
    pub(super) fn record(&mut self, mark: Mark) {
        self.counts.add(mark);
    }

    /// Returns when the watch may end.
    pub(super) fn until(&self) -> Moment {
        (self.began.0 + self.policy.probation, self.began.1.saturating_add(self.policy.probation))
    }

    pub(super) fn opinion(&self, now: Instant) -> Opinion {
        let (ended, ratio) = (self.counts.total(), self.counts.fault_ratio());
        let is_enough = ended >= u64::from(self.policy.min_events.get());
        if is_enough && ratio > self.policy.max_fault_ratio.max(self.baseline) {
            let Counts { failed, .. } = self.counts;
            return Opinion::Worse(format!("{failed} of its first {ended} events failed"));
        }
        // What failed and was hardly used has not proved itself, however long ago it came.
        let is_over = now.saturating_duration_since(self.began.0) >= self.policy.probation;
        if is_over && (is_enough || self.counts.failed == 0) { Opinion::Good } else { Opinion::Undecided }
    }

    /// Returns whether the version before was better than one of whose events half failed.
    pub(super) fn has_better(&self) -> bool {
        self.baseline < 0.5
    }

    /// Returns how long it has been watched.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began.0)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    fn trial(baseline: f64) -> Trial<u32> {
        let policy = RolloutPolicy {
            probation: Duration::from_secs(60),
            max_fault_ratio: 0.2,
            min_events: NonZeroU32::new(5).unwrap(),
        };
        Trial::new(policy, 1, baseline, None, (Instant::now(), Timestamp::default()))
    }

    /// Checks the opinion of a version of whose events `well` and then `failed` ended so, `after` seconds.
    #[track_caller]
    fn check(baseline: f64, (well, failed): (u64, u64), after: u64, expected: fn(&Opinion) -> bool) {
        let mut trial = trial(baseline);
        (0..well).for_each(|_| trial.record(Mark::Well));
        (0..failed).for_each(|_| trial.record(Mark::Failed));
        let opinion = trial.opinion(trial.began.0 + Duration::from_secs(after));
        assert!(expected(&opinion), "{baseline} {well} {failed} {after}: {opinion:?}");
    }

    #[test]
    fn a_version_is_judged_by_its_events_against_the_one_before() {
        let is_worse = |opinion: &Opinion| matches!(opinion, Opinion::Worse(_));
        let is_good = |opinion: &Opinion| *opinion == Opinion::Good;
        let is_open = |opinion: &Opinion| *opinion == Opinion::Undecided;
        check(0.0, (3, 2), 1, is_worse);
        check(0.0, (4, 1), 1, is_open);
        check(0.0, (4, 1), 60, is_good);
        check(0.0, (0, 4), 59, is_open);
        check(0.0, (0, 4), 3600, is_open);
        check(0.0, (0, 5), 3600, is_worse);
        check(0.0, (0, 0), 60, is_good);
        check(0.0, (1, 0), 59, is_open);
        check(0.5, (3, 2), 1, is_open);
        check(0.5, (2, 3), 1, is_worse);
        check(1.0, (0, 100), 60, is_good);
    }

    #[test]
    fn quick_saves_are_gone_back_through_one_by_one_to_the_proven_one() {
        let now = (Instant::now(), Timestamp::default());
        let mut current = trial(0.0);
        for version in 2..9 {
            current = Trial::new(current.policy.clone(), version, 0.0, Some(current), now);
        }
        let mut order = Vec::new();
        let mut next = Some(current);
        while let Some(trial) = next {
            let (version, rest) = trial.back(now);
            order.push(version);
            next = rest;
        }
        assert_eq!(order, [8, 7, 6, 1]);
    }

    proptest! {
        #[test]
        fn a_version_without_a_fault_is_never_called_worse(events in 0u64..100, after in 0u64..200, baseline in 0.0f64..1.0) {
            let mut trial = trial(baseline);
            (0..events).for_each(|_| trial.record(Mark::Well));
            let expected = if after >= 60 { Opinion::Good } else { Opinion::Undecided };
            prop_assert_eq!(trial.opinion(trial.began.0 + Duration::from_secs(after)), expected);
        }
    }
}
