//! Nothing is claimed for a while after the store could not take how an event ended: the guest would work for nothing. Pure.

use std::time::Duration;

use crate::backoff::Backoff;

/// Waits before events are claimed again after the store could not take how one ended: the guest would work for nothing.
const STORE_RETRY_INITIAL: Duration = Duration::from_secs(1);
const STORE_RETRY_MAX: Duration = Duration::from_secs(15);
const STORE_RETRY_JITTER: f64 = 0.2;

/// Whether events are claimed.
pub(super) struct Stall {
    backoff: Backoff,
    /// Until when.
    pub(super) until: Option<tokio::time::Instant>,
}

impl Stall {
    pub(super) fn new() -> Self {
        Self { backoff: Backoff::new(STORE_RETRY_INITIAL, STORE_RETRY_MAX, STORE_RETRY_JITTER), until: None }
    }

    pub(super) fn is_over(&mut self, now: tokio::time::Instant) -> bool {
        self.until.take_if(|until| *until <= now);
        self.until.is_none()
    }

    /// Those that fail side by side are one failure.
    pub(super) fn store_failed(&mut self, now: tokio::time::Instant) {
        if self.until.is_none() {
            self.until = Some(now + self.backoff.next(fastrand::f64()));
        }
    }

    pub(super) fn store_worked(&mut self) {
        self.backoff.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_fails_is_asked_less_and_less_until_it_works() {
        let mut now = tokio::time::Instant::now();
        let mut stall = Stall::new();
        let mut waits = Vec::new();
        for _ in 0..8 {
            (0..16).for_each(|_| stall.store_failed(now));
            let until = stall.until.unwrap();
            assert!(!stall.is_over(now) && stall.is_over(until));
            waits.push((until - now).as_secs_f64());
            now = until;
        }
        assert!(waits[0] <= 1.2 && waits[7] >= 12.0, "{waits:?}");
        stall.store_worked();
        stall.store_failed(now);
        assert!(stall.until.unwrap() - now <= Duration::from_millis(1200));
    }
}
