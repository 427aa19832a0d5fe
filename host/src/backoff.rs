//! How long to wait before trying again: doubling, capped, with jitter. Pure; the caller brings the random number.

use std::time::Duration;

/// A series of growing waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    jitter: f64,
    tries: u32,
}

impl Backoff {
    /// Returns a series that begins at `initial`, doubles, and stops growing at `max`. Each wait is stretched or shrunk by up
    /// to `jitter` (0 to 1) of itself, so that many that failed together do not come back together.
    pub fn new(initial: Duration, max: Duration, jitter: f64) -> Self {
        Self { initial, max: max.max(initial), jitter: jitter.clamp(0.0, 1.0), tries: 0 }
    }

    /// Returns the wait of a series in which this is failure number `failures`, counted from 1.
    pub fn at(initial: Duration, max: Duration, jitter: f64, failures: u32, random: f64) -> Duration {
        let mut backoff = Self { tries: failures.saturating_sub(1), ..Self::new(initial, max, jitter) };
        backoff.next(random)
    }

    /// Returns the next wait. `random` is uniform in `0.0..1.0`. Never more than `max`.
    pub fn next(&mut self, random: f64) -> Duration {
        let doubled = self.initial.saturating_mul(1u32.checked_shl(self.tries).unwrap_or(u32::MAX));
        self.tries = self.tries.saturating_add(1);
        let base = doubled.min(self.max);
        let factor = 1.0 + self.jitter * (2.0 * random.clamp(0.0, 1.0) - 1.0);
        base.mul_f64(factor).min(self.max)
    }

    /// Begins again at `initial`, after something went well.
    pub fn reset(&mut self) {
        self.tries = 0;
    }

    /// Returns how often [`Backoff::next`] was asked since the start or the last reset.
    pub fn tries(&self) -> u32 {
        self.tries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_double_up_to_the_cap_and_begin_again() {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(3), 0.0);
        let waits: Vec<_> = (0..5).map(|_| backoff.next(0.5).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 3000, 3000]);
        backoff.reset();
        assert_eq!(backoff.next(0.5).as_millis(), 500);
    }

    proptest! {
        #[test]
        fn no_wait_leaves_its_bounds(tries in 0u32..200, jitter in 0.0f64..1.0, random in 0.0f64..1.0) {
            let (initial, max) = (Duration::from_millis(500), Duration::from_secs(30));
            let wait = Backoff::at(initial, max, jitter, tries, random);
            prop_assert!(wait <= max);
            prop_assert!(wait >= initial.mul_f64(1.0 - jitter).saturating_sub(Duration::from_nanos(1)));
        }
    }
}
