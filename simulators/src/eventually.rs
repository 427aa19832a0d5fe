//! Waiting for what comes about by itself, never for longer than a test may take.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Returns what `look` finds as soon as it finds something. Panics with `what` after `within`.
pub async fn eventually<T>(within: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        sleep(Duration::from_millis(2)).await;
    }
}
