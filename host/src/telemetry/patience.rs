//! What to do after a collector was sent something: go on, wait and try again, or give it up. Pure.

use std::time::{Duration, Instant};

use http::StatusCode;

use crate::backoff::Backoff;
use crate::clock::Timestamp;

/// Waits between two tries where the collector names none.
const RETRY_INITIAL: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
const RETRY_JITTER: f64 = 0.25;
/// The longest that a collector may have us wait.
const IMPOSED_MAX: Duration = Duration::from_secs(300);
/// How long after its first try something is not tried again.
const GIVE_UP_AFTER: Duration = Duration::from_secs(120);

/// What came of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was taken, except for so many items.
    Taken { rejected: u64 },
    /// It will never be taken; why.
    Refused(String),
    /// It may be taken later; not before this long, where the collector said so; why it was not.
    Later { after: Option<Duration>, why: String },
}

impl Outcome {
    /// Returns what an answer without a body to look at means.
    pub(super) fn of_status(status: StatusCode, retry_after: Option<Duration>) -> Self {
        let why = format!("the collector answers {status}");
        match status.as_u16() {
            200..300 => Self::Taken { rejected: 0 },
            429 | 502 | 503 | 504 => Self::Later { after: retry_after, why },
            _ => Self::Refused(why),
        }
    }
}

/// Reads the header `Retry-After`: seconds, or a date.
pub(super) fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
    let date = Timestamp::from_millis(date.as_millisecond().try_into().ok()?);
    Some(date.saturating_since(now))
}

/// How a collector has fared. Kept over all that it is sent, so that one that is down is not asked ever more often.
#[derive(Debug)]
pub(super) struct Patience {
    backoff: Backoff,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { backoff: Backoff::new(RETRY_INITIAL, RETRY_MAX, RETRY_JITTER) }
    }

    /// The collector took something.
    pub(super) fn satisfied(&mut self) {
        self.backoff.reset();
    }

    /// Returns how long the collector is to be left alone. `random` is uniform in `0.0..1.0`.
    pub(super) fn wait(&mut self, after: Option<Duration>, random: f64) -> Duration {
        let own = self.backoff.next(random);
        // Zero is no wait at all, and would be tried again at once for two minutes.
        after.filter(|after| !after.is_zero()).map_or(own, |after| after.min(IMPOSED_MAX))
    }
}

/// Returns whether something first tried at `first` is given up now that it was not taken again.
pub(super) fn is_over(first: Instant, now: Instant) -> bool {
    now.saturating_duration_since(first) >= GIVE_UP_AFTER
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_passes_is_tried_again() {
        for (status, is_later) in [(429, true), (502, true), (503, true), (504, true), (400, false), (404, false)] {
            let outcome = Outcome::of_status(StatusCode::from_u16(status).unwrap(), None);
            assert_eq!(matches!(outcome, Outcome::Later { .. }), is_later, "{status}");
        }
        assert_eq!(Outcome::of_status(StatusCode::ACCEPTED, None), Outcome::Taken { rejected: 0 });
        // A redirect is followed by nobody: the operator has to write where the collector is.
        assert!(matches!(Outcome::of_status(StatusCode::FOUND, None), Outcome::Refused(_)));
    }

    #[test]
    fn a_collector_says_when_in_seconds_or_by_the_clock() {
        // Sun, 06 Nov 1994 08:49:37 GMT.
        let now = Timestamp::from_millis(784_111_777_000);
        assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:07 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }

    #[test]
    fn what_was_taken_ends_a_series_of_growing_waits() {
        let mut patience = Patience::new();
        assert_eq!(patience.wait(None, 0.5), RETRY_INITIAL);
        assert_eq!(patience.wait(None, 0.5), 2 * RETRY_INITIAL);
        assert_eq!(patience.wait(Some(Duration::from_secs(9)), 0.5), Duration::from_secs(9));
        patience.satisfied();
        assert_eq!(patience.wait(None, 0.5), RETRY_INITIAL);
    }

    #[test]
    fn nothing_is_tried_for_ever() {
        let first = Instant::now();
        assert!(!is_over(first, first));
        assert!(is_over(first, first + GIVE_UP_AFTER));
    }

    proptest! {
        #[test]
        fn no_wait_is_nothing_and_none_is_endless(after in proptest::option::of(0_u64..), tries in 1..60, random in 0.0..1.0) {
            let mut patience = Patience::new();
            for _ in 0..tries {
                let wait = patience.wait(after.map(Duration::from_secs), random);
                prop_assert!(!wait.is_zero() && wait <= IMPOSED_MAX);
            }
        }

        #[test]
        fn reading_any_header_ends_well(text in "\\PC{0,40}") {
            retry_after(&text, Timestamp::from_millis(0));
        }
    }
}
