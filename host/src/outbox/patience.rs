//! How whoever empties an outbox waits: for a store that fails, for a moment.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Outcome;
use crate::store::StoreError;

/// How long an entry waits where the store failed, or where it names a message that is still on its way.
pub(super) const RETRY_SOON: Duration = Duration::from_millis(500);

/// Returns this moment by the clock that a sender sleeps by, which a test can have.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Repeats a note until the store takes it, or the sender is cancelled: then the entry is found waiting by the next process.
pub(super) async fn written<F: Future<Output = Result<(), StoreError>>>(
    note: impl Fn() -> F,
    cancel: &CancellationToken,
) {
    while let Err(error) = note().await {
        let _ = later(&error);
        if cancel.run_until_cancelled(tokio::time::sleep(RETRY_SOON)).await.is_none() {
            return;
        }
    }
}

/// Says that the store failed.
pub(super) fn later(error: &StoreError) -> Outcome {
    let text = "the outbox waits for the store";
    let error_field = error as &dyn std::error::Error;
    // That a disk is full is said once, by whoever watches the store; a log on the same disk is not to fill it further.
    match error {
        StoreError::DiskFull { .. } => tracing::debug!(error = error_field, text),
        _ => tracing::warn!(error = error_field, text),
    }
    Outcome::Later
}

pub(super) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    [one, other].into_iter().flatten().min()
}

/// Sleeps until then; for ever where there is no such moment.
pub(super) async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
