//! A budget that refills evenly (GCRA): so many per period, all of them at once if need be, or as a [`Quota`] says. Pure; the
//! caller brings the time.

use std::time::{Duration, Instant};

/// How much somebody else takes: at most `count` within any `period`, `burst` of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    count: u32,
    period: Duration,
    burst: u32,
}

impl Quota {
    /// Returns a quota. A larger burst costs pace: what is left of `count` is spread over the whole period, so that not even a
    /// period that begins with a burst sees more.
    ///
    /// # Panics
    ///
    /// If `burst` is not within `1..=count`. Quotas are constants, so a wrong one does not compile.
    pub const fn new(count: u32, period: Duration, burst: u32) -> Self {
        assert!(burst >= 1 && burst <= count, "a burst is at least one and at most all");
        Self { count, period, burst }
    }
}

/// A budget that refills.
#[derive(Debug, Clone)]
pub struct Rate {
    per_unit: Duration,
    /// How long a spent budget takes to be full again.
    depth: Duration,
    /// When the budget will be full again; in the past: it is full.
    full_at: Option<Instant>,
}

impl Rate {
    /// Returns a full budget of `capacity` units per `period`. A capacity of zero allows nothing.
    pub fn new(capacity: u64, period: Duration) -> Self {
        let nanos = period.as_nanos() / u128::from(capacity.max(1));
        let per_unit =
            if capacity == 0 { Duration::MAX } else { Duration::from_nanos(nanos.try_into().unwrap_or(u64::MAX)) };
        Self { per_unit, depth: period, full_at: None }
    }

    /// Returns a full budget that keeps within a quota. Unlike [`Rate::new`], which allows twice its capacity in a period that
    /// begins with a full budget, it never exceeds the quota's count in any period.
    pub fn within(quota: Quota) -> Self {
        let spread = u128::from(quota.count - quota.burst + 1);
        // Rounded up, since a nanosecond too early is one too many.
        let nanos = quota.period.as_nanos().div_ceil(spread);
        let per_unit = Duration::from_nanos(nanos.try_into().unwrap_or(u64::MAX));
        Self { per_unit, depth: per_unit.saturating_mul(quota.burst), full_at: None }
    }

    /// Returns how long until `units` are there: zero if they are, [`Duration::MAX`] where they never fit.
    pub fn wait(&self, units: u64, now: Instant) -> Duration {
        let cost = self.cost(units);
        if cost > self.depth {
            return Duration::MAX;
        }
        (self.full_at.unwrap_or(now).saturating_duration_since(now) + cost).saturating_sub(self.depth)
    }

    /// Takes `units` if they are there.
    ///
    /// # Errors
    ///
    /// How long until they will be; [`Duration::MAX`] where they never fit. Nothing is taken then.
    pub fn take(&mut self, units: u64, now: Instant) -> Result<(), Duration> {
        let wait = self.wait(units, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.full_at = Some(self.full_at.unwrap_or(now).max(now) + self.cost(units));
        Ok(())
    }

    /// Returns when the budget will be full again if nothing more is taken; none: nothing was ever taken.
    pub fn full_at(&self) -> Option<Instant> {
        self.full_at
    }

    fn cost(&self, units: u64) -> Duration {
        let nanos = self.per_unit.as_nanos().saturating_mul(u128::from(units));
        Duration::from_nanos(nanos.try_into().unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_full_budget_is_spent_at_once_and_refills_evenly() {
        let now = Instant::now();
        let mut rate = Rate::new(10, Duration::from_secs(1));
        assert!((0..10).all(|_| rate.take(1, now).is_ok()));
        assert_eq!(rate.take(1, now), Err(Duration::from_millis(100)));
        assert_eq!(rate.take(1, now + Duration::from_millis(100)), Ok(()));
    }

    #[test]
    fn nothing_is_taken_by_a_refusal_and_nothing_fits_into_an_empty_budget() {
        let now = Instant::now();
        let mut rate = Rate::new(4, Duration::from_secs(1));
        assert_eq!(rate.take(5, now), Err(Duration::MAX));
        assert_eq!(rate.take(4, now), Ok(()));
        assert!(Rate::new(0, Duration::from_secs(1)).take(1, now).is_err());
    }

    #[test]
    fn a_quota_gives_its_burst_at_once_and_the_rest_evenly() {
        let (now, minute) = (Instant::now(), Duration::from_secs(60));
        let mut rate = Rate::within(Quota::new(20, minute, 5));
        assert!((0..5).all(|_| rate.take(1, now).is_ok()));
        assert_eq!(rate.wait(1, now), minute / 16);
        assert_eq!(rate.take(1, now), Err(minute / 16));
        assert_eq!(rate.take(1, now + minute / 16), Ok(()));
        assert_eq!(rate.full_at(), Some(now + 6 * (minute / 16)));
    }

    proptest! {
        #[test]
        fn no_period_sees_more_than_its_quota(
            (count, burst) in (1u32..40).prop_flat_map(|count| (Just(count), 1..=count)),
            waits in prop::collection::vec(0u64..200, 1..300),
        ) {
            let period = Duration::from_secs(1);
            let mut rate = Rate::within(Quota::new(count, period, burst));
            let (mut now, mut taken) = (Instant::now(), Vec::new());
            for wait in waits {
                now += Duration::from_millis(wait);
                // As eager as can be: whatever is there at the moment it is there.
                let at = now + rate.wait(1, now);
                prop_assert!(rate.take(1, at).is_ok());
                now = at;
                taken.push(at);
            }
            for from in &taken {
                let in_period = taken.iter().filter(|at| *at >= from && **at < *from + period).count();
                prop_assert!(in_period <= count as usize, "{in_period} of {count}");
            }
        }

        #[test]
        fn no_window_sees_more_than_twice_the_capacity(steps in prop::collection::vec((0u64..300, 1u64..5), 1..200)) {
            let start = Instant::now();
            let mut rate = Rate::new(20, Duration::from_secs(1));
            let (mut now, mut taken) = (start, Vec::new());
            for (wait_ms, units) in steps {
                now += Duration::from_millis(wait_ms);
                if rate.take(units, now).is_ok() {
                    taken.push((now, units));
                }
            }
            for (from, _) in &taken {
                let in_window: u64 = taken.iter()
                    .filter(|(at, _)| at >= from && *at < *from + Duration::from_secs(1)).map(|(_, units)| units).sum();
                prop_assert!(in_window <= 40, "{in_window}");
            }
        }
    }
}
