//! Whether a channel is tried at all: after five failures in a row not for a minute, then once; each time that fails the pause doubles,
//! up to half an hour. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row after which nothing is tried for a while.
const FAILURES_MAX: u32 = 5;
const PAUSE_INITIAL: Duration = Duration::from_secs(60);
const PAUSE_MAX: Duration = Duration::from_secs(1800);

/// The breaker of one channel.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    open_until: Option<Instant>,
}

impl Breaker {
    /// Returns until when nothing is tried. Past it, one try is a probe.
    pub(super) fn open_until(&self) -> Option<Instant> {
        self.open_until
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Takes in a failure; returns whether it closes the channel for a while.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        let Some(pauses) = self.failures.checked_sub(FAILURES_MAX) else { return false };
        let pause = PAUSE_INITIAL.saturating_mul(1u32.checked_shl(pauses).unwrap_or(u32::MAX)).min(PAUSE_MAX);
        self.open_until = Some(now + pause);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_five_failures_and_each_failed_probe_doubles_the_pause() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        assert!((0..4).all(|_| !breaker.failed(now)));
        let pauses: Vec<_> = (0..8)
            .map(|_| {
                assert!(breaker.failed(now));
                breaker.open_until().unwrap().duration_since(now).as_secs()
            })
            .collect();
        assert_eq!(pauses, [60, 120, 240, 480, 960, 1800, 1800, 1800]);
        (0..100).for_each(|_| assert!(breaker.failed(now)));
        breaker.succeeded();
        assert_eq!(breaker.open_until(), None);
        assert!((0..4).all(|_| !breaker.failed(now)));
    }
}
