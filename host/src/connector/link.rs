//! The connection of every connector: made, lost and made again by one state machine, whatever the platform. A connector says how one
//! life of its connection goes and how it ended; when the next begins, and what is published of it, is decided here.
//!
//! ```text
//! connecting ─► authenticating ─► connected ◄─► degraded
//!     ▲               │               │
//!     └─ backing off ◄┴── lost ◄──────┤        contested: as backing off, for credentials that somebody else uses
//!                                     └──► auth failed: tried again rarely or not at all
//! ```

use std::fmt;
use std::future::pending;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Link, StatusPublisher};
use crate::backoff::Backoff;

/// The wait after the first failure, before jitter.
const WAIT_INITIAL: Duration = Duration::from_secs(1);
/// A connection of use that lasted shorter counts as one that failed: a platform that takes everybody and throws them out again is
/// not to be tried in a loop.
const LASTING: Duration = Duration::from_secs(10);
/// However unlucky the jitter, no two tries are closer than this.
const WAIT_MIN: Duration = Duration::from_millis(50);
/// A stall timeout that never comes: for a life that judges silence itself, or in which nobody needs to speak.
pub(super) const NO_STALL: Duration = Duration::from_secs(30 * 365 * 86_400);
/// Errors come from platforms; longer ones are cut before they are published.
const ERROR_CHARS_MAX: usize = 300;

/// How one life of a connection ended, by what is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// The connector was told to stop, or the host takes no more.
    Stopped,
    /// Lost, or never made: made again after a wait that grows until a connection was of use.
    Lost(String),
    /// The platform wants a new connection in place of this one: at once, if this one was of use.
    Renew(String),
    /// Made again after exactly this long: the platform named the time, or sooner makes no sense.
    Wait(Duration, String),
    /// Another process uses the same credentials, and the platform serves one of the two.
    Contested(Duration, String),
    /// The platform refuses the credentials, or what is asked of it with them. Tried again after `retry`; none: never, until the
    /// configuration changes.
    Refused {
        /// What the platform said, and what to do about it.
        error: String,
        /// How long until a rare try.
        retry: Option<Duration>,
    },
}

impl End {
    /// Returns the end of a connection that was lost or not made by this.
    pub(super) fn lost(error: impl fmt::Display) -> Self {
        Self::Lost(error.to_string())
    }

    /// Returns the end for good that only another configuration helps against.
    pub(super) fn refused(error: impl fmt::Display) -> Self {
        Self::Refused { error: error.to_string(), retry: None }
    }
}

/// A connection that is made again and again, and its published state.
#[derive(Debug)]
pub(super) struct Connection {
    status: StatusPublisher,
    /// The longest wait between two tries, unless the platform names one.
    reconnect_max: Duration,
    state: Mutex<State>,
    /// When the platform was last heard of; none: nobody listens at the moment, so that silence proves nothing.
    heard_at: watch::Sender<Option<Instant>>,
}

#[derive(Debug)]
struct State {
    backoff: Backoff,
    /// Which life this is; what an earlier one still says counts no longer.
    generation: u64,
    was_of_use: bool,
    began_at: Instant,
}

impl Connection {
    /// Returns a connection that was not made yet. Waits grow from a second, doubling, to `reconnect_max`.
    pub(super) fn new(status: StatusPublisher, reconnect_max: Duration) -> Self {
        let backoff = Backoff::new(WAIT_INITIAL.min(reconnect_max), reconnect_max, 0.0);
        let state = Mutex::new(State { backoff, generation: 0, was_of_use: false, began_at: Instant::now() });
        Self { status, reconnect_max, state, heard_at: watch::Sender::new(None) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says where the connector listens.
    pub(super) fn listening(&self, address: SocketAddr) {
        self.status.publish_listening(address);
    }

    /// Has `live` live one life after another, each cut off once nothing was heard of the platform for `stall_timeout`, until it says
    /// [`End::Stopped`] or `cancel` is given. With the latter a life is cut off where it stands: what must be finished is watched for
    /// inside. Publishes [`Link::Stopped`] at the end.
    pub(super) async fn keep<'a, F>(
        &'a self,
        stall_timeout: Duration,
        cancel: &CancellationToken,
        mut live: impl FnMut(Life<'a>) -> F,
    ) where
        F: Future<Output = End>,
    {
        let mut reason = None;
        while !cancel.is_cancelled() {
            let life = self.begin(reason.take());
            let end = tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                end = live(life) => end,
                () = self.stalled(stall_timeout) => {
                    End::Lost(format!("nothing heard for {} s", stall_timeout.as_secs_f32()))
                }
            };
            let Some((wait, error)) = self.end(end) else { break };
            reason = Some(error);
            let paused = match wait {
                Some(wait) => pause(wait, cancel).await,
                None => {
                    cancel.cancelled().await;
                    ControlFlow::Break(())
                }
            };
            if paused.is_break() {
                break;
            }
        }
        self.state().generation += 1;
        self.status.publish(Link::Stopped);
    }

    fn begin(&self, error: Option<String>) -> Life<'_> {
        let mut state = self.state();
        state.generation += 1;
        state.was_of_use = false;
        state.began_at = Instant::now();
        let life = Life { connection: self, generation: state.generation };
        drop(state);
        self.heard_at.send_replace(Some(Instant::now()));
        self.status.publish(Link::Connecting { error });
        life
    }

    /// Publishes the end of a life, and returns how long to wait before the next, none being for ever, and the reason; none where
    /// there is to be no other.
    fn end(&self, end: End) -> Option<(Option<Duration>, String)> {
        let mut state = self.state();
        // From now on what is left of it says nothing.
        state.generation += 1;
        let has_lasted = state.was_of_use && state.began_at.elapsed() >= LASTING;
        if has_lasted {
            state.backoff.reset();
        }
        let usual = |state: &mut State| full_jitter(state.backoff.next(0.5), fastrand::f64());
        let (wait, error) = match end {
            End::Stopped => return None,
            End::Renew(error) if has_lasted => {
                (Some(full_jitter(WAIT_INITIAL.min(self.reconnect_max), fastrand::f64())), error)
            }
            End::Lost(error) | End::Renew(error) => (Some(usual(&mut state)), error),
            // No time at all would be a loop.
            End::Wait(wait, error) => (Some(wait.max(WAIT_MIN)), error),
            End::Contested(wait, error) => {
                let error = brief(&error);
                self.status.publish(Link::Contested { error: error.clone(), wait });
                return Some((Some(wait), error));
            }
            End::Refused { error, retry } => {
                let error = brief(&error);
                self.status.publish(Link::AuthFailed { error: error.clone() });
                return Some((retry, error));
            }
        };
        let error = brief(&error);
        self.status.publish(Link::BackingOff { error: error.clone(), wait: wait.unwrap_or_default() });
        Some((wait, error))
    }

    /// Returns once nothing was heard of the platform for so long although somebody listened.
    async fn stalled(&self, timeout: Duration) {
        let mut heard_at = self.heard_at.subscribe();
        loop {
            let last = *heard_at.borrow_and_update();
            let silence = async {
                match last {
                    Some(last) => sleep_until(last + timeout).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = silence => return,
                // The sender is `self`.
                _ = heard_at.changed() => {}
            }
        }
    }
}

/// One life of a connection. What it says counts until it has ended, and no longer: what is left of it in some corner never speaks
/// for its successor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life<'a> {
    connection: &'a Connection,
    generation: u64,
}

impl Life<'_> {
    /// Returns which life this is: a number that grows.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    fn counts(&self) -> bool {
        self.connection.state().generation == self.generation
    }

    fn publish(&self, link: Link) {
        // Held while publishing, so that an end cannot come between the two.
        let state = self.connection.state();
        if state.generation == self.generation {
            self.connection.status.publish(link);
        }
    }

    /// Says that the other side is there and is told who connects.
    pub(super) fn authenticating(&self) {
        self.publish(Link::Authenticating);
        self.heard();
    }

    /// Says that the platform listens. The waits do not begin anew before [`Life::of_use`].
    pub(super) fn connected(&self) {
        self.publish(Link::Connected);
        self.heard();
    }

    /// Says that the connection is there, and that what is sent would not arrive.
    pub(super) fn degraded(&self, error: impl fmt::Display) {
        self.publish(Link::Degraded { error: brief(&error.to_string()) });
        self.heard();
    }

    /// Says where the connector listens.
    pub(super) fn listening(&self, address: SocketAddr) {
        self.connection.listening(address);
    }

    /// Says what is missing of the platform, and that it is looked for again after `wait`; zero: the platform is the one to connect.
    /// The life goes on.
    pub(super) fn waiting(&self, error: impl fmt::Display, wait: Duration) {
        self.publish(Link::BackingOff { error: brief(&error.to_string()), wait });
    }

    /// Says that whoever connected is not let in, and that only a change of the configuration helps, on one of both sides. The life
    /// goes on: the next one that connects may be another.
    pub(super) fn refused(&self, error: impl fmt::Display) {
        self.publish(Link::AuthFailed { error: brief(&error.to_string()) });
    }

    /// Says that the connection has been of use, not only been made. If it lasts, the waits begin anew after it.
    pub(super) fn of_use(&self) {
        let mut state = self.connection.state();
        if state.generation == self.generation {
            state.was_of_use = true;
        }
    }

    /// Notes that the platform proved just now that it is there.
    pub(super) fn heard(&self) {
        if self.counts() {
            self.connection.status.succeeded();
            self.connection.heard_at.send_modify(|at| *at = at.map(|_| Instant::now()));
        }
    }

    /// Waits for the host: meanwhile nobody listens to the platform, and its silence is none. Cancel-safe where `future` is.
    pub(super) async fn while_deaf<T>(&self, future: impl Future<Output = T>) -> T {
        /// Ends it also where the wait is cut off.
        struct Deaf<'a>(&'a watch::Sender<Option<Instant>>);
        impl Drop for Deaf<'_> {
            fn drop(&mut self) {
                self.0.send_replace(Some(Instant::now()));
            }
        }
        self.connection.heard_at.send_replace(None);
        let _deaf = Deaf(&self.connection.heard_at);
        future.await
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
pub(super) fn full_jitter(base: Duration, random: f64) -> Duration {
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
    use std::cell::Cell;

    const SECOND: Duration = Duration::from_secs(1);
    const LONG: Duration = Duration::from_secs(3600);

    /// Lives the lives that `live` tells, and returns every link that was published and how long the whole took.
    async fn keep(max: Duration, stall: Duration, live: impl AsyncFn(Life<'_>, u32) -> End) -> (Vec<Link>, Duration) {
        let (status, mut watch) = StatusPublisher::new();
        let connection = Connection::new(status, max);
        let (cancel, lives, start) = (CancellationToken::new(), Cell::new(0), Instant::now());
        let mut seen = vec![watch.borrow_and_update().link.clone()];
        let (live, lives) = (&live, &lives);
        let kept = connection.keep(stall, &cancel, |life| {
            lives.set(lives.get() + 1);
            async move {
                // So that whoever watches sees what was published when it began.
                tokio::task::yield_now().await;
                live(life, lives.get()).await
            }
        });
        tokio::pin!(kept);
        loop {
            tokio::select! {
                biased;
                changed = watch.changed() => {
                    changed.unwrap();
                    seen.push(watch.borrow_and_update().link.clone());
                }
                () = &mut kept => break,
            }
        }
        seen.push(watch.borrow_and_update().link.clone());
        (seen, start.elapsed())
    }

    fn names(links: &[Link]) -> Vec<&'static str> {
        links.iter().map(Link::as_str).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn waits_grow_to_the_maximum_and_begin_anew_after_a_connection_of_use() {
        let (links, _) = keep(4 * SECOND, LONG, async |life, number| match number {
            1..=4 => End::lost("refused"),
            5 => {
                life.connected();
                life.of_use();
                tokio::time::sleep(LASTING).await;
                End::lost("reset")
            }
            _ => End::Stopped,
        })
        .await;
        let waits: Vec<_> = links
            .iter()
            .filter_map(|link| if let Link::BackingOff { wait, .. } = link { Some(*wait) } else { None })
            .collect();
        assert_eq!(waits.len(), 5, "{links:?}");
        for (wait, bound) in waits.iter().zip([1, 2, 4, 4, 1]) {
            assert!(*wait <= bound * SECOND && *wait >= WAIT_MIN, "{waits:?}");
        }
        assert_eq!(links.last(), Some(&Link::Stopped));
    }

    #[tokio::test(start_paused = true)]
    async fn a_platform_that_names_the_time_is_left_alone_exactly_so_long() {
        let (links, took) = keep(SECOND, LONG, async |_, number| match number {
            1 => End::Wait(LONG, "too many identifies".to_owned()),
            2 => End::Contested(LONG, "another poller".to_owned()),
            3 => End::Refused { error: "token".to_owned(), retry: Some(LONG) },
            _ => End::Stopped,
        })
        .await;
        assert!((3 * LONG..3 * LONG + SECOND).contains(&took), "{took:?}");
        let expected = ["backing-off", "connecting", "contested", "connecting", "auth-failed", "connecting", "stopped"];
        assert_eq!(
            names(&links).into_iter().filter(|name| expected.contains(name)).skip(1).collect::<Vec<_>>(),
            expected
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_for_good_is_not_tried_again_and_ends_when_told() {
        let (status, watch) = StatusPublisher::new();
        let (connection, cancel, lives) = (Connection::new(status, SECOND), CancellationToken::new(), Cell::new(0));
        let kept = connection.keep(LONG, &cancel, |_| {
            lives.set(lives.get() + 1);
            async { End::refused("no such token") }
        });
        let stop = async {
            tokio::time::sleep(LONG).await;
            assert_eq!(watch.borrow().link, Link::AuthFailed { error: "no such token".to_owned() });
            cancel.cancel();
        };
        tokio::join!(kept, stop);
        assert_eq!((lives.get(), watch.borrow().link.clone()), (1, Link::Stopped));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_life_is_cut_off_and_one_that_waits_for_the_host_is_not() {
        let (links, took) = keep(SECOND, 10 * SECOND, async |life, number| match number {
            1 => {
                life.connected();
                tokio::time::sleep(8 * SECOND).await;
                life.heard();
                life.while_deaf(tokio::time::sleep(LONG)).await;
                pending().await
            }
            _ => End::Stopped,
        })
        .await;
        assert!(took >= LONG + 18 * SECOND && took < LONG + 20 * SECOND, "{took:?}");
        assert!(links.iter().any(|link| link.trouble() == Some("nothing heard for 10 s")), "{links:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_of_an_earlier_life_says_nothing_of_the_present_one() {
        let (status, watch) = StatusPublisher::new();
        let connection = Connection::new(status, SECOND);
        let first = connection.begin(None);
        first.connected();
        assert!(connection.end(End::lost("reset")).is_some());
        let second = connection.begin(None);
        assert!(second.generation() > first.generation());
        second.connected();
        first.degraded("late");
        first.of_use();
        assert_eq!((watch.borrow().link.clone(), watch.borrow().connections), (Link::Connected, 2));
        assert!(!connection.state().was_of_use);
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_is_quick_only_where_the_connection_was_of_use_for_a_while() {
        let (links, took) = keep(LONG, LONG, async |life, number| match number {
            20.. => End::Stopped,
            _ => {
                life.connected();
                life.of_use();
                tokio::time::sleep(LASTING).await;
                End::Renew("asked to".to_owned())
            }
        })
        .await;
        assert!(took <= 20 * (LASTING + SECOND), "{took:?} {links:?}");
        let (_, took) = keep(LONG, LONG, async |life, number| match number {
            40.. => End::Stopped,
            _ => {
                life.connected();
                life.of_use();
                End::Renew("asked to".to_owned())
            }
        })
        .await;
        assert!(took > LONG, "{took:?}: it would be a hot loop");
    }

    #[test]
    fn a_published_error_is_short_and_tame() {
        let (status, watch) = StatusPublisher::new();
        let connection = Connection::new(status, SECOND);
        connection.begin(None);
        connection.end(End::refused(format!("\u{1b}[31m{}", "x".repeat(1000))));
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
