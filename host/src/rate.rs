//! A budget that refills evenly (GCRA): so many per period, all of them at once if need be. Pure; the caller brings the time.

use std::time::{Duration, Instant};

/// A budget of `capacity` per period.
#[derive(Debug, Clone)]
pub struct Rate {
    per_unit: Duration,
    period: Duration,
    /// When the budget will be full again; in the past: it is full.
    full_at: Option<Instant>,
}

impl Rate {
    /// Returns a full budget of `capacity` units per `period`. A capacity of zero allows nothing.
    pub fn new(capacity: u64, period: Duration) -> Self {
        let nanos = period.as_nanos() / u128::from(capacity.max(1));
        let per_unit =
            if capacity == 0 { Duration::MAX } else { Duration::from_nanos(nanos.try_into().unwrap_or(u64::MAX)) };
        Self { per_unit, period, full_at: None }
    }

    /// Takes `units` if they are there.
    ///
    /// # Errors
    ///
    /// How long until they will be; [`Duration::MAX`] where they never fit. Nothing is taken then.
    pub fn take(&mut self, units: u64, now: Instant) -> Result<(), Duration> {
        let cost = Duration::from_nanos(
            u64::try_from(self.per_unit.as_nanos().saturating_mul(u128::from(units))).unwrap_or(u64::MAX),
        );
        if cost > self.period {
            return Err(Duration::MAX);
        }
        let full_at = self.full_at.unwrap_or(now).max(now) + cost;
        let ahead = full_at - now;
        if ahead > self.period {
            return Err(ahead - self.period);
        }
        self.full_at = Some(full_at);
        Ok(())
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

    proptest! {
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
