//! What the double knows, and the thread-local place where a running handler finds it.

use std::cell::RefCell;
use std::collections::BTreeMap;
#[cfg(feature = "http")]
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::inspect::{Alert, LogLine, Metric, Sent, SetTimer};
use crate::{Conversation, Failure};

thread_local! {
    static CURRENT: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Answers an HTTP request in place of the other host.
#[cfg(feature = "http")]
pub(super) type Answer = Rc<dyn Fn(&crate::http::Request) -> crate::Result<crate::http::Response>>;

/// Everything that a bot can see or change.
pub(super) struct World {
    pub(super) now: SystemTime,
    pub(super) phase: Phase,
    pub(super) settings: serde_json::Map<String, serde_json::Value>,
    pub(super) secrets: Vec<String>,
    pub(super) raw: Option<String>,
    pub(super) send_failure: Option<Failure>,
    pub(super) state_bytes_max: usize,
    /// Not given out twice, even where the handler that got one failed.
    pub(super) next_ticket: u64,
    pub(super) transaction: Transaction,
    pub(super) logs: Vec<LogLine>,
    pub(super) metrics: Vec<Metric>,
    pub(super) typing: Vec<Conversation>,
    #[cfg(feature = "http")]
    pub(super) requests: Vec<crate::http::Request>,
    #[cfg(feature = "http")]
    pub(super) answer: Option<Answer>,
}

/// What the bot is being called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing but the log works.
    Describing,
    /// `init` or `handle`.
    Handling,
}

/// What takes effect together or not at all.
#[derive(Debug, Clone, Default)]
pub(super) struct Transaction {
    pub(super) sent: Vec<Sent>,
    pub(super) state: BTreeMap<String, Entry>,
    pub(super) timers: BTreeMap<String, SetTimer>,
    pub(super) alerts: BTreeMap<String, Alert>,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) value: Vec<u8>,
    pub(super) expires_at: Option<SystemTime>,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            // 2026-01-01T00:00:00Z: fixed, so that a test means the same on every day.
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600),
            phase: Phase::Handling,
            settings: serde_json::Map::new(),
            secrets: Vec::new(),
            raw: None,
            send_failure: None,
            state_bytes_max: 16 * 1024 * 1024,
            next_ticket: 1,
            transaction: Transaction::default(),
            logs: Vec::new(),
            metrics: Vec::new(),
            typing: Vec::new(),
            #[cfg(feature = "http")]
            requests: Vec::new(),
            #[cfg(feature = "http")]
            answer: None,
        }
    }

    /// Forgets the keys whose time is over.
    pub(super) fn expire(&mut self) {
        let now = self.now;
        self.transaction.state.retain(|_, entry| entry.expires_at.is_none_or(|at| at > now));
    }
}

/// Runs `call` with `world` in place for the functions of this crate, and returns both afterwards.
///
/// Where `call` panics the world is lost with the test that it belongs to, and the place is free for the next test on this
/// thread.
///
/// # Panics
///
/// Panics where a handler of this thread is running already.
pub(super) fn enter<T>(world: World, call: impl FnOnce() -> T) -> (World, T) {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            CURRENT.with_borrow_mut(Option::take);
        }
    }
    CURRENT.with_borrow_mut(|current| {
        assert!(current.is_none(), "a testing::Host was used from within a handler");
        *current = Some(world);
    });
    let leave = Leave;
    let answer = call();
    let world = CURRENT.with_borrow_mut(Option::take).expect("only `Leave` takes it, and that is still to come");
    drop(leave);
    (world, answer)
}

/// Gives the world of the handler that runs on this thread to `call`.
///
/// # Panics
///
/// Panics where none runs: outside a component there is no host to call.
pub(super) fn with<T>(call: impl FnOnce(&mut World) -> T) -> T {
    CURRENT.with_borrow_mut(|current| {
        let world = current.as_mut().expect(
            "outside a component the host can be called only while a testing::Host runs a handler on this thread",
        );
        call(world)
    })
}
