//! How many bots may be started again at one moment, of all bots together: when a shared cause takes many down, they come back one
//! after the other, and the host has room for those that are well.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::rate::Rate;

/// Restarts a second, of all bots together. An `init` takes milliseconds; at this pace two hundred bots are back in ten seconds
/// and take a small part of one processor.
const RESTARTS_PER_SECOND: u64 = 20;

/// The budget that all bots share.
#[derive(Debug)]
pub struct RestartBudget(Mutex<Rate>);

impl Default for RestartBudget {
    fn default() -> Self {
        Self(Mutex::new(Rate::new(RESTARTS_PER_SECOND, Duration::from_secs(1))))
    }
}

impl RestartBudget {
    /// Takes a restart. `random` is uniform in `0.0..1.0`.
    ///
    /// # Errors
    ///
    /// How long to wait before asking again: a little more than it takes, and for each who asks another time.
    pub(super) fn take(&self, now: Instant, random: f64) -> Result<(), Duration> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take(1, now);
        taken.map_err(|wait| wait + Duration::from_secs(1).mul_f64(random))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f086_two_hundred_that_fail_at_once_come_back_over_several_seconds() {
        let budget = RestartBudget::default();
        let start = Instant::now();
        let mut random = fastrand::Rng::with_seed(7);
        // When each asks next.
        let mut waiting = vec![start; 200];
        let mut back = Vec::new();
        while let Some(index) = (0..waiting.len()).min_by_key(|index| waiting[*index]) {
            let now = waiting[index];
            match budget.take(now, random.f64()) {
                Ok(()) => back.push(waiting.swap_remove(index) - start),
                Err(wait) => waiting[index] = now + wait,
            }
        }
        for second in 0..20 {
            let within = back.iter().filter(|at| at.as_secs() == second).count();
            assert!(within <= 40, "{within} in second {second}");
        }
        let last = back.last().unwrap().as_secs();
        assert!((8..14).contains(&last), "{last}");
    }
}
