//! What to do after a try to send a notice that failed. Pure.

use std::time::Duration;

use crate::alert::channel::Advice;
use crate::backoff::Backoff;

const RETRY_INITIAL: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(300);
const RETRY_JITTER: f64 = 0.25;
/// A notice is tried for this long. Later it is no news.
pub(super) const AGE_MAX: Duration = Duration::from_secs(3600);

/// How one notice has fared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Attempts {
    failures: u32,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Retry { after: Duration },
    GiveUp,
}

impl Attempts {
    /// Returns what to do after a failure of a notice that is `age` old. `random` is uniform in `0.0..1.0`.
    pub(super) fn failed(&mut self, advice: Advice, age: Duration, random: f64) -> Next {
        let after = match advice {
            Advice::GiveUp => return Next::GiveUp,
            // No failure: it works, and says when to come back.
            Advice::Wait(wait) => wait,
            Advice::Retry => {
                self.failures = self.failures.saturating_add(1);
                Backoff::at(RETRY_INITIAL, RETRY_MAX, RETRY_JITTER, self.failures, random)
            }
        };
        if age.saturating_add(after) >= AGE_MAX { Next::GiveUp } else { Next::Retry { after } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Next {
        Next::Retry { after: Duration::from_secs(seconds) }
    }

    #[test]
    fn waits_double_and_what_the_platform_asks_for_is_exact() {
        let mut attempts = Attempts::default();
        let mut failed = |advice| attempts.failed(advice, Duration::ZERO, 0.5);
        assert_eq!([failed(Advice::Retry), failed(Advice::Retry)], [seconds(1), seconds(2)]);
        assert_eq!(failed(Advice::Wait(Duration::from_secs(17))), seconds(17));
        assert_eq!([failed(Advice::Retry), failed(Advice::GiveUp)], [seconds(4), Next::GiveUp]);
    }

    #[test]
    fn no_wait_is_longer_than_five_minutes_and_none_ends_after_an_hour() {
        let mut attempts = Attempts::default();
        let last = (0..50).map(|_| attempts.failed(Advice::Retry, Duration::ZERO, 1.0)).last();
        assert_eq!(last, Some(seconds(300)));
        assert_eq!(attempts.failed(Advice::Retry, AGE_MAX - RETRY_MAX, 0.5), Next::GiveUp);
        assert_eq!(attempts.failed(Advice::Wait(AGE_MAX), Duration::ZERO, 0.5), Next::GiveUp);
    }
}
