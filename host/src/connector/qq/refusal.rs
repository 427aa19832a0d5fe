//! What QQ's refusals mean, by its codes. Pure.

use std::time::Duration;

use super::api::ApiError;
use crate::clock::Timestamp;
use crate::connector::DeliveryError;

/// The platform's days, by which its quotas count, begin at this hour of UTC.
const DAY_BEGINS: Duration = Duration::from_secs(16 * 60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What is to be done about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Too much at once.
    RateLimited,
    /// Too much for today.
    Quota,
    /// Certainly not done, and worth another try.
    Retryable,
    /// Taken; a person looks at it before others see it.
    Accepted,
    /// Failed, perhaps after it was done.
    Unclear,
    /// Done already.
    Duplicate,
    /// The token is not good; another may be.
    Token,
    /// The credentials are not good.
    Auth,
    /// Not allowed, or too late.
    Permanent,
    /// The request is wrong.
    BadRequest,
}

impl Class {
    /// Returns the class of a refusal: by its code, else by its status.
    pub(super) fn of(status: u16, code: i64) -> Self {
        match code {
            22009 | 20028 => Self::RateLimited,
            304_035 | 304_045 | 304_047 | 304_049 | 304_050 | 304_052 | 40_034_100 => Self::Quota,
            11242 | 11252 | 11263 | 11281 | 304_082 | 304_083 | 304_018 => Self::Retryable,
            304_023 | 304_024 => Self::Accepted,
            40_054_005 => Self::Duplicate,
            11243 | 11244 => Self::Token,
            11241 | 11251 | 11261 | 11265 => Self::Auth,
            // The message it answers is unknown, too old, or was answered too often.
            304_026 | 304_027 | 304_103 | 40_034_005 | 40_034_024..=40_034_027 | 40_034_128 => Self::Permanent,
            // Not without being asked.
            304_046 | 304_048 | 40_034_102 | 40_034_105 => Self::Permanent,
            // What it says.
            304_003 | 304_025 | 40_034_006 | 40_054_010 => Self::Permanent,
            // No privilege, no such place, no longer there, muted.
            11253 | 11254 | 11264 | 10003 | 10004 | 40_034_101 | 40_054_002..=40_054_004 | 40_054_013 => {
                Self::Permanent
            }
            50006 | 50035 => Self::Permanent,
            // Markup that this account may not use.
            304_036 | 40_034_008..=40_034_011 | 40_034_124 | 40_034_127 => Self::Permanent,
            40_054_007 | 40_054_018 => Self::BadRequest,
            _ => match status {
                401 => Self::Token,
                429 => Self::RateLimited,
                403 | 404 => Self::Permanent,
                400..500 => Self::BadRequest,
                // Without a code, or with one that is not in the platform's lists, it does not say how far it got.
                500.. => Self::Unclear,
                _ => Self::Retryable,
            },
        }
    }
}

/// Returns what became of an act by its failure. `is_repeatable`: the platform recognises a second try, so that nothing is uncertain.
pub(super) fn classify(error: &ApiError, is_repeatable: bool) -> DeliveryError {
    let text = error.to_string();
    match (error.class(), error) {
        (_, ApiError::Refused { retry_after: Some(wait), .. } | ApiError::NoToken { retry_after: Some(wait), .. }) => {
            DeliveryError::RateLimited(*wait)
        }
        (Some(Class::Quota), _) => DeliveryError::RateLimited(until_next_day(Timestamp::now())),
        (Some(Class::Token | Class::Auth), _) => DeliveryError::Unauthorized(text),
        (Some(Class::Permanent), _) => DeliveryError::Permanent(text),
        (Some(Class::BadRequest), _) => DeliveryError::BadRequest(text),
        (Some(Class::Unclear), _) if is_repeatable => DeliveryError::Retryable(text),
        (Some(Class::Unclear), _) => DeliveryError::Uncertain(text),
        (Some(_), _) => DeliveryError::Retryable(text),
        (None, ApiError::Http(http)) if !http.perhaps_sent() => DeliveryError::Retryable(text),
        (None, _) if is_repeatable => DeliveryError::Retryable(text),
        (None, _) => DeliveryError::Uncertain(text),
    }
}

/// Returns how long the platform's day still lasts.
fn until_next_day(now: Timestamp) -> Duration {
    let into = Duration::from_millis(now.as_millis()).as_secs() + (DAY - DAY_BEGINS).as_secs();
    DAY - Duration::from_secs(into % DAY.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::HttpError;

    fn refused(status: u16, code: i64) -> ApiError {
        let retry_after = (Class::of(status, code) == Class::RateLimited).then_some(Duration::from_secs(3));
        ApiError::Refused { status, code, message: "no".to_owned(), trace: "t".to_owned(), retry_after }
    }

    fn name(error: &DeliveryError) -> &'static str {
        match error {
            DeliveryError::Retryable(_) => "retryable",
            DeliveryError::RateLimited(wait) if *wait == Duration::from_secs(3) => "limited",
            DeliveryError::RateLimited(_) => "quota",
            DeliveryError::Uncertain(_) => "uncertain",
            DeliveryError::Unauthorized(_) => "unauthorized",
            DeliveryError::Permanent(_) => "permanent",
            DeliveryError::BadRequest(_) => "bad-request",
            DeliveryError::Unsupported(_) => "unsupported",
        }
    }

    #[test]
    fn every_code_has_its_class() {
        let rows: [(&str, u16, &[i64]); 14] = [
            ("limited", 429, &[0, 22009, 20028]),
            ("limited", 400, &[22009, 20028]),
            ("quota", 400, &[304_035, 304_045, 304_047, 304_049, 304_050, 304_052, 40_034_100]),
            ("retryable", 500, &[11242, 11252, 11263, 11281, 304_018]),
            ("uncertain", 500, &[0, 1]),
            ("uncertain", 504, &[0]),
            ("retryable", 400, &[304_082, 304_083, 304_018]),
            ("unauthorized", 401, &[0, 11241, 11243, 11244, 11251, 11261, 11265]),
            ("unauthorized", 500, &[11241, 11243, 11244, 11251, 11261, 11265]),
            ("permanent", 400, &[304_026, 304_027, 304_046, 304_048, 304_003, 304_025, 40_034_024, 40_034_128]),
            ("permanent", 500, &[11253, 11254, 11264, 10003, 10004, 50006, 50035, 40_054_002]),
            ("permanent", 403, &[0]),
            ("permanent", 404, &[0]),
            ("bad-request", 400, &[0, 1, 40_054_007]),
        ];
        for (expected, status, codes) in rows {
            for code in codes {
                assert_eq!(name(&classify(&refused(status, *code), false)), expected, "HTTP {status}, code {code}");
            }
        }
        for code in [304_023, 304_024] {
            assert_eq!(Class::of(202, code), Class::Accepted);
        }
        assert_eq!(Class::of(400, 40_054_005), Class::Duplicate);
    }

    #[test]
    fn what_was_perhaps_done_is_uncertain_unless_the_platform_recognises_it() {
        let silent = || ApiError::Http(HttpError::TimedOut(Duration::from_secs(1)));
        assert_eq!(name(&classify(&silent(), false)), "uncertain");
        assert_eq!(name(&classify(&silent(), true)), "retryable");
        assert_eq!(name(&classify(&ApiError::Http(HttpError::Closed), false)), "retryable");
        assert_eq!(name(&classify(&ApiError::Unreadable { status: 502 }, false)), "uncertain");
        assert_eq!(name(&classify(&refused(500, 0), false)), "uncertain");
        assert_eq!(name(&classify(&refused(500, 0), true)), "retryable");
        let no_token = |is_refused| ApiError::NoToken { error: "no".to_owned(), is_refused, retry_after: None };
        assert_eq!(name(&classify(&no_token(false), false)), "retryable");
        assert_eq!(name(&classify(&no_token(true), false)), "unauthorized");
    }

    #[test]
    fn a_quota_is_whole_again_at_midnight_in_beijing() {
        for (now, seconds) in
            [("2026-11-21T15:59:59Z", 1), ("2026-11-21T16:00:00Z", 86_400), ("2026-11-21T00:00:00Z", 57_600)]
        {
            assert_eq!(until_next_day(now.parse().unwrap()), Duration::from_secs(seconds), "{now}");
        }
    }
}
