//! What all connectors share of losing a platform and finding it again: how long to wait, and saying so.

use std::fmt;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Link, StatusPublisher};
use crate::backoff::Backoff;

/// The wait after the first failure, before jitter.
const WAIT_INITIAL: Duration = Duration::from_secs(1);
/// However unlucky the jitter, no two tries are closer than this.
const WAIT_MIN: Duration = Duration::from_millis(50);
/// Errors come from platforms; longer ones are cut before they are published.
const ERROR_CHARS_MAX: usize = 300;

/// A connection that is made again and again, and its published state.
#[derive(Debug)]
pub(super) struct Reconnect {
    status: StatusPublisher,
    backoff: Backoff,
    max: Duration,
}

impl Reconnect {
    /// Waits grow from a second, doubling, to `max`.
    pub(super) fn new(status: StatusPublisher, max: Duration) -> Self {
        Self { status, backoff: Backoff::new(WAIT_INITIAL.min(max), max, 0.0), max }
    }

    /// Says that the platform listens. The waits do not begin anew before [`Reconnect::succeeded`].
    pub(super) fn connected(&self) {
        self.status.publish(Link::Connected);
    }

    /// Begins the waits anew: the connection has been of use, not only been made.
    pub(super) fn succeeded(&mut self) {
        self.backoff.reset();
    }

    /// Says that something failed, and returns how long to wait before the next try.
    pub(super) fn failed(&mut self, error: impl fmt::Display) -> Duration {
        let wait = full_jitter(self.backoff.next(0.5), fastrand::f64());
        self.failed_for(error, wait)
    }

    /// As [`Reconnect::failed`], for failures that time will hardly mend: the longest wait at once.
    pub(super) fn failed_long(&self, error: impl fmt::Display) -> Duration {
        self.failed_for(error, self.max)
    }

    /// As [`Reconnect::failed`] where the wait is known.
    pub(super) fn failed_for(&self, error: impl fmt::Display, wait: Duration) -> Duration {
        self.status.publish(Link::BackingOff { error: brief(&error.to_string()), wait });
        wait
    }

    /// Says that another process uses the same credentials, and returns how long to wait before the next try.
    pub(super) fn contested(&self, error: impl fmt::Display, wait: Duration) -> Duration {
        self.status.publish(Link::Contested { error: brief(&error.to_string()), wait });
        wait
    }

    /// Says that the platform refuses the credentials.
    pub(super) fn refused(&self, error: impl fmt::Display) {
        self.status.publish(Link::AuthFailed { error: brief(&error.to_string()) });
    }

    /// Says that no more events come.
    pub(super) fn stopped(&self) {
        self.status.publish(Link::Stopped);
    }

    /// Says where the connector listens.
    pub(super) fn listening(&self, address: SocketAddr) {
        self.status.publish_listening(address);
    }
}

/// Waits; breaks off at once when cancelled.
pub(super) async fn pause(wait: Duration, cancel: &CancellationToken) -> ControlFlow<()> {
    match tokio::time::timeout(wait, cancel.cancelled()).await {
        Ok(()) => ControlFlow::Break(()),
        Err(_) => ControlFlow::Continue(()),
    }
}

/// Returns a wait between nothing and `base`: those that failed together come back evenly spread.
fn full_jitter(base: Duration, random: f64) -> Duration {
    base.mul_f64(random.clamp(0.0, 1.0)).max(WAIT_MIN.min(base))
}

/// Returns a platform's text fit for a status and a log line: short, and without control characters.
pub(super) fn brief(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(ERROR_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wait_of(link: &Link) -> Duration {
        match link {
            Link::BackingOff { wait, .. } => *wait,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn waits_grow_to_the_maximum_and_begin_anew_after_a_success() {
        let (status, watch) = StatusPublisher::new();
        let mut link = Reconnect::new(status, Duration::from_secs(4));
        let bounds = [1, 2, 4, 4];
        for bound in bounds {
            assert!(link.failed("x") <= Duration::from_secs(bound));
        }
        link.connected();
        assert_eq!(watch.borrow().connections, 1);
        link.succeeded();
        assert!(link.failed("x") <= Duration::from_secs(1));
        assert!(wait_of(&watch.borrow().link) <= Duration::from_secs(1));
    }

    #[test]
    fn a_published_error_is_short_and_tame() {
        let (status, watch) = StatusPublisher::new();
        Reconnect::new(status, Duration::from_secs(1)).refused(format!("\u{1b}[31m{}", "x".repeat(1000)));
        match &watch.borrow().link {
            Link::AuthFailed { error } => {
                assert!(error.len() <= ERROR_CHARS_MAX && !error.contains('\u{1b}'), "{error}");
            }
            other => panic!("{other:?}"),
        };
    }

    #[tokio::test]
    async fn a_pause_ends_at_once_when_cancelled() {
        let cancel = CancellationToken::new();
        cancel.cancel();
        assert_eq!(pause(Duration::from_secs(3600), &cancel).await, ControlFlow::Break(()));
        assert_eq!(pause(Duration::ZERO, &CancellationToken::new()).await, ControlFlow::Continue(()));
    }

    proptest! {
        #[test]
        fn jitter_never_leaves_its_bounds(base_ms in 0u64..100_000, random in 0.0f64..1.0) {
            let base = Duration::from_millis(base_ms);
            let wait = full_jitter(base, random);
            prop_assert!(wait <= base && wait >= WAIT_MIN.min(base));
        }
    }
}
