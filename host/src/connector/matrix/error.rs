//! What a homeserver's refusal means: for a delivery, and for the connection. Pure.

use std::time::Duration;

use crate::connector::DeliveryError;
use crate::connector::link::End;
use crate::egress::HttpError;

/// A pause that the homeserver asks for is believed up to this long.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The pause after a "too many requests" that does not say how long.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(5);

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// No answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// An answer that is no homeserver's, as of a proxy in front of it.
    #[error("an answer that is no homeserver's (HTTP {0})")]
    Unreadable(u16),
    /// The homeserver says no.
    #[error("{error} ({errcode}, HTTP {status})")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// `M_…`.
        errcode: String,
        /// In its own words.
        error: String,
        /// How long to pause; there whenever the status is 429.
        retry_after: Option<Duration>,
    },
    /// Nobody is signed in yet, or any longer.
    #[error("not signed in")]
    SignedOut,
}

impl ApiError {
    /// Returns the status and the code of a refusal.
    pub(super) fn refusal(&self) -> Option<(u16, &str)> {
        match self {
            Self::Refused { status, errcode, .. } => Some((*status, errcode)),
            _ => None,
        }
    }

    /// Returns whether the token is none, or none any longer.
    pub(super) fn is_signed_out(&self) -> bool {
        matches!(self.refusal(), Some((_, "M_UNKNOWN_TOKEN" | "M_MISSING_TOKEN")))
    }
}

/// Returns the pause of a "too many requests": by the header, else by the body, else a short one.
pub(super) fn pause(by_header: Option<Duration>, by_body: Option<u64>) -> Duration {
    by_header.or(by_body.map(Duration::from_millis)).unwrap_or(RETRY_AFTER_DEFAULT).min(RETRY_AFTER_MAX)
}

/// Returns what a failure means for a delivery. Every one is repeated under the same transaction id, and takes effect once: so it is
/// never uncertain. `is_renewable`: a token that is no more is replaced by another.
pub(super) fn of_delivery(error: &ApiError, is_renewable: bool) -> DeliveryError {
    let text = error.to_string();
    let (status, errcode) = match error {
        ApiError::Refused { retry_after: Some(wait), .. } => return DeliveryError::RateLimited(*wait),
        ApiError::Refused { status, errcode, .. } => (*status, errcode.as_str()),
        ApiError::Unreadable(413) => return DeliveryError::BadRequest(text),
        ApiError::Http(_) | ApiError::Unreadable(_) | ApiError::SignedOut => return DeliveryError::Retryable(text),
    };
    match (status, errcode) {
        (_, "M_UNKNOWN_TOKEN" | "M_MISSING_TOKEN") if is_renewable => DeliveryError::Retryable(text),
        (_, "M_UNKNOWN_TOKEN" | "M_MISSING_TOKEN" | "M_USER_DEACTIVATED" | "M_USER_LOCKED" | "M_USER_SUSPENDED")
        | (401, _) => DeliveryError::Unauthorized(text),
        (_, "M_RESOURCE_LIMIT_EXCEEDED") => DeliveryError::Retryable(text),
        (403, _) => DeliveryError::Permanent(text),
        (408 | 500.., _) => DeliveryError::Retryable(text),
        _ => DeliveryError::BadRequest(text),
    }
}

/// Returns what a failure means for the connection. A token that is no more is somebody else's matter.
pub(super) fn of_connection(error: &ApiError) -> End {
    match error {
        ApiError::Refused { retry_after: Some(wait), .. } => End::Wait(*wait, error.to_string()),
        error if error.is_signed_out() => End::refused(error),
        ApiError::Refused { status: 401 | 403, .. } => End::refused(error),
        _ => End::lost(error),
    }
}
