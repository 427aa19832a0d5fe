//! What to do after a delivery that did not go well: again after a wait, once the connector is connected anew, or never. Decides
//! for one entry; what holds for its chat and its connector is kept by [`Pace`](super::pace::Pace) and
//! [`Replay`](super::replay::Replay).

use std::time::Duration;

use crate::backoff::Backoff;
use crate::clock::Timestamp;
use crate::connector::DeliveryError;
use crate::delivery::OnUncertain;

/// The requirements' waits between two tries.
const RETRY_INITIAL: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);
const RETRY_JITTER: f64 = 0.25;
/// Longest wait that a platform can impose by `retry_after`.
const RATE_LIMIT_WAIT_MAX: Duration = Duration::from_secs(3600);
/// How long the first call for an entry may go without an answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that any may.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// How one entry has fared so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Tries that failed and counted as failures.
    pub failures: u32,
    /// Those of them that had no answer.
    pub unanswered: u32,
}

/// What an entry's fate depends on besides the error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// When it stops being worth it.
    pub deadline: Timestamp,
    /// What becomes of it when it was perhaps delivered.
    pub on_uncertain: OnUncertain,
}

/// What to do with the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It is tried again after this long.
    Retry {
        /// From now.
        after: Duration,
    },
    /// Its whole chat waits exactly this long: the platform said so. No failure.
    Limited {
        /// From now.
        wait: Duration,
    },
    /// The whole connector waits until it is connected anew; see [`Replay::refused`](super::replay::Replay::refused). No
    /// failure of the entry, but its time runs.
    AwaitLink,
    /// It is lost.
    GiveUp(Reason),
}

/// Why an entry was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It was not delivered in time, or would not be.
    Expired,
    /// It was perhaps delivered, and must not be delivered twice.
    Uncertain,
    /// The platform refuses it for good.
    Permanent,
    /// The request is wrong.
    BadRequest,
    /// The platform has no such act.
    Unsupported,
}

impl Reason {
    /// Returns the reason's name in metrics and log lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Uncertain => "uncertain",
            Self::Permanent => "permanent",
            Self::BadRequest => "bad-request",
            Self::Unsupported => "unsupported",
        }
    }
}

impl Attempts {
    /// Takes in a failure and returns what to do. `random` is uniform in `0.0..1.0`.
    pub fn failed(&mut self, error: &DeliveryError, terms: &Terms, now: Timestamp, random: f64) -> Next {
        let next = match error {
            DeliveryError::RateLimited(wait) => Next::Limited { wait: imposed(*wait) },
            DeliveryError::Unauthorized(_) => Next::AwaitLink,
            DeliveryError::Uncertain(_) => {
                self.unanswered = self.unanswered.saturating_add(1);
                match terms.on_uncertain {
                    OnUncertain::Retry => self.back_off(random),
                    OnUncertain::Drop => Next::GiveUp(Reason::Uncertain),
                }
            }
            DeliveryError::Retryable(_) => self.back_off(random),
            DeliveryError::Permanent(_) => Next::GiveUp(Reason::Permanent),
            DeliveryError::BadRequest(_) => Next::GiveUp(Reason::BadRequest),
            DeliveryError::Unsupported(_) => Next::GiveUp(Reason::Unsupported),
        };
        match next {
            Next::Retry { after: wait } | Next::Limited { wait } if !is_worth(terms.deadline, now, wait) => {
                Next::GiveUp(Reason::Expired)
            }
            Next::AwaitLink if !is_worth(terms.deadline, now, Duration::ZERO) => Next::GiveUp(Reason::Expired),
            next => next,
        }
    }

    fn back_off(&mut self, random: f64) -> Next {
        self.failures = self.failures.saturating_add(1);
        Next::Retry { after: Backoff::at(RETRY_INITIAL, RETRY_MAX, RETRY_JITTER, self.failures, random) }
    }

    /// Returns how long the next call may go without an answer.
    pub fn timeout(&self) -> Duration {
        delivery_timeout(self.unanswered)
    }
}

/// Returns how long a call may go without an answer after so many that had none; without one by then it counts as
/// [`DeliveryError::Uncertain`]. Grows by its first length with each: a platform that is slow is not mended by asking it more
/// often, and an answer that comes late is worth more than a message that comes twice.
fn delivery_timeout(unanswered: u32) -> Duration {
    TIMEOUT.saturating_mul(unanswered.saturating_add(1)).min(TIMEOUT_MAX)
}

/// Returns whether an entry that can leave after `wait` at the earliest leaves in time. One that does not is given up at once:
/// its bot learns of it while that may still matter, and its place is free.
pub fn is_worth(deadline: Timestamp, now: Timestamp, wait: Duration) -> bool {
    now.saturating_add(wait) < deadline
}

/// Exactly what the platform says. Except that no wait at all is none of its words: without one we would ask without pause.
fn imposed(wait: Duration) -> Duration {
    if wait.is_zero() { RETRY_INITIAL } else { wait.min(RATE_LIMIT_WAIT_MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000_000);
    const DAY: Duration = Duration::from_secs(86_400);
    /// No jitter.
    const MIDDLE: f64 = 0.5;

    fn terms(ttl: Duration, on_uncertain: OnUncertain) -> Terms {
        Terms { deadline: NOW.saturating_add(ttl), on_uncertain }
    }

    /// Returns what is done after each of several failures of one entry with much time left.
    fn after(errors: impl IntoIterator<Item = DeliveryError>) -> Vec<Next> {
        let mut attempts = Attempts::default();
        let terms = terms(DAY, OnUncertain::Retry);
        errors.into_iter().map(|error| attempts.failed(&error, &terms, NOW, MIDDLE)).collect()
    }

    fn retry(millis: u64) -> Next {
        Next::Retry { after: Duration::from_millis(millis) }
    }

    fn retryable() -> DeliveryError {
        DeliveryError::Retryable("x".to_owned())
    }

    fn uncertain() -> DeliveryError {
        DeliveryError::Uncertain("x".to_owned())
    }

    fn limited(seconds: u64) -> DeliveryError {
        DeliveryError::RateLimited(Duration::from_secs(seconds))
    }

    fn unauthorized() -> DeliveryError {
        DeliveryError::Unauthorized("x".to_owned())
    }

    #[test]
    fn the_waits_of_an_entry_double_from_half_a_second_to_half_a_minute() {
        let waits = after(std::iter::repeat_with(retryable).take(9));
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000].map(retry));
    }

    #[test]
    fn what_the_platform_imposes_is_exact_and_lengthens_nothing() {
        let wait = |seconds| Next::Limited { wait: Duration::from_secs(seconds) };
        let found = after([retryable(), limited(17), limited(1), limited(900), retryable()]);
        assert_eq!(found, [retry(500), wait(17), wait(1), wait(900), retry(1000)]);
        assert_eq!(after([limited(99_999)]), [Next::Limited { wait: RATE_LIMIT_WAIT_MAX }]);
        assert_eq!(after([limited(0)]), [Next::Limited { wait: RETRY_INITIAL }]);
    }

    #[test]
    fn refused_credentials_are_no_failure_of_the_entry() {
        assert_eq!(
            after([unauthorized(), unauthorized(), retryable()]),
            [Next::AwaitLink, Next::AwaitLink, retry(500)]
        );
        let mut attempts = Attempts::default();
        let late = terms(Duration::ZERO, OnUncertain::Retry);
        assert_eq!(attempts.failed(&unauthorized(), &late, NOW, MIDDLE), Next::GiveUp(Reason::Expired));
    }

    #[test]
    fn what_cannot_help_is_not_tried_again() {
        let errors = [
            DeliveryError::Permanent("x".to_owned()),
            DeliveryError::BadRequest("x".to_owned()),
            DeliveryError::Unsupported("x"),
        ];
        let reasons = [Reason::Permanent, Reason::BadRequest, Reason::Unsupported];
        assert_eq!(after(errors), reasons.map(Next::GiveUp));
        assert_eq!(reasons.map(Reason::as_str), ["permanent", "bad-request", "unsupported"]);
    }

    #[test]
    fn what_was_perhaps_delivered_goes_by_the_policy() {
        for (policy, expected) in
            [(OnUncertain::Retry, retry(500)), (OnUncertain::Drop, Next::GiveUp(Reason::Uncertain))]
        {
            let found = Attempts::default().failed(&uncertain(), &terms(DAY, policy), NOW, MIDDLE);
            assert_eq!(found, expected, "{policy:?}");
        }
    }

    #[test]
    fn what_would_become_due_too_late_is_given_up_at_once() {
        let (second, policy) = (Duration::from_secs(1), OnUncertain::Retry);
        for (error, ttl, expected) in [
            (retryable(), second / 2, Next::GiveUp(Reason::Expired)),
            (retryable(), second, retry(500)),
            (limited(1), second, Next::GiveUp(Reason::Expired)),
            (limited(1), 2 * second, Next::Limited { wait: second }),
        ] {
            let found = Attempts::default().failed(&error, &terms(ttl, policy), NOW, MIDDLE);
            assert_eq!(found, expected, "{error} with {ttl:?} left");
        }
    }

    #[test]
    fn each_call_without_an_answer_gives_the_next_one_longer() {
        let mut attempts = Attempts::default();
        let mut seconds = Vec::new();
        for _ in 0..7 {
            seconds.push(attempts.timeout().as_secs());
            attempts.failed(&uncertain(), &terms(DAY, OnUncertain::Retry), NOW, MIDDLE);
            attempts.failed(&retryable(), &terms(DAY, OnUncertain::Retry), NOW, MIDDLE);
        }
        assert_eq!(seconds, [10, 20, 30, 40, 50, 60, 60]);
        assert_eq!(delivery_timeout(u32::MAX), TIMEOUT_MAX);
    }

    fn any_error() -> impl Strategy<Value = DeliveryError> {
        prop_oneof![
            Just(retryable()),
            Just(uncertain()),
            Just(unauthorized()),
            (0u64..10_000).prop_map(limited),
            Just(DeliveryError::Permanent("x".to_owned())),
        ]
    }

    proptest! {
        #[test]
        fn nothing_waits_past_its_deadline_and_no_wait_leaves_its_bounds(
            errors in prop::collection::vec((any_error(), 0.0f64..1.0), 1..60), ttl in 1u64..100_000,
        ) {
            let (mut attempts, mut now) = (Attempts::default(), NOW);
            let terms = terms(Duration::from_secs(ttl), OnUncertain::Retry);
            let mut failures = 0;
            for (error, random) in errors {
                let next = attempts.failed(&error, &terms, now, random);
                failures += u32::from(matches!(error, DeliveryError::Retryable(_) | DeliveryError::Uncertain(_)));
                prop_assert_eq!(attempts.failures, failures);
                match next {
                    Next::Retry { after } => {
                        prop_assert!(after >= RETRY_INITIAL.mul_f64(1.0 - RETRY_JITTER) && after <= RETRY_MAX);
                        now = now.saturating_add(after);
                    }
                    Next::Limited { wait } => now = now.saturating_add(wait),
                    Next::AwaitLink => {}
                    Next::GiveUp(_) => break,
                }
                prop_assert!(now < terms.deadline);
            }
        }
    }
}
