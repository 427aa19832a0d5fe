//! What is kept of a gateway's session, and how often a bot may identify itself to begin one.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use crate::clock::Timestamp;
use crate::connector::Memory;
use crate::connector::link::End;

/// Resumes that may fail in a row before a session is given up.
const RESUMES_FAILED_MAX: u32 = 3;
/// A day, in which identifies are counted.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Identifies in a row are not closer than this: <https://discord.com/developers/docs/events/gateway#rate-limiting>.
const IDENTIFY_EVERY: Duration = Duration::from_secs(5);

/// How often a bot may identify itself: `session_start_limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(in crate::connector) struct SessionLimit {
    /// A day.
    pub(in crate::connector) total: u32,
    /// Now.
    pub(in crate::connector) remaining: u32,
    /// Milliseconds until it is `total` again.
    pub(in crate::connector) reset_after: u64,
    /// Side by side within five seconds.
    #[serde(default = "one")]
    pub(in crate::connector) max_concurrency: u32,
}

fn one() -> u32 {
    1
}

impl Default for SessionLimit {
    /// What Discord gives a small bot: <https://discord.com/developers/docs/events/gateway#session-start-limit-object>.
    fn default() -> Self {
        Self { total: 1000, remaining: 1000, reset_after: 0, max_concurrency: 1 }
    }
}

/// What is kept of a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) id: String,
    /// The last dispatch that the host has.
    pub(super) seq: u64,
    /// Where it is to be resumed, where that is another place.
    pub(super) url: Option<String>,
}

/// One session of one bot: a shard, where there are several.
#[derive(Debug)]
pub(in crate::connector) struct Sessions {
    memory: Memory,
    /// Under which the session is kept: another for another token and for each shard.
    name: String,
    resumes_failed: AtomicU32,
    /// In a row, at the place where the session is to be resumed or anywhere else.
    opens_failed: AtomicU32,
}

/// Identifies of one token, by all its shards.
#[derive(Debug)]
pub(in crate::connector) struct Identifies {
    memory: Memory,
    name: String,
    /// Held while an identify is decided, so that they are counted one by one.
    turn: Semaphore,
    /// When each bucket of shards identified last.
    last: Mutex<Vec<(u32, Instant)>>,
}

impl Identifies {
    /// Returns the count that is kept under a name.
    pub(in crate::connector) fn new(memory: Memory, name: String) -> Self {
        Self { memory, name, turn: Semaphore::new(1), last: Mutex::default() }
    }

    /// Waits for the turn of a shard and counts an identify, which the platform allows by `limit`. Counted before it is made: one that
    /// a crash cuts off was perhaps made.
    pub(super) async fn take(&self, shard: u32, limit: SessionLimit) -> Result<(), End> {
        if limit.remaining == 0 {
            let wait = Duration::from_millis(limit.reset_after).clamp(IDENTIFY_EVERY, DAY);
            return Err(End::Wait(wait, "the platform allows no further identify today".to_owned()));
        }
        // Never closed.
        let _turn = self.turn.acquire().await.map_err(End::lost)?;
        let bucket = shard % limit.max_concurrency.max(1);
        let last = lock(&self.last).iter().find(|(own, _)| *own == bucket).map(|(_, at)| *at);
        if let Some(last) = last {
            sleep_until(last + IDENTIFY_EVERY).await;
        }
        let now = Timestamp::now();
        let kept = self.memory.get(&self.name).await.unwrap_or_default();
        let made: Vec<u64> = serde_json::from_str(&kept).unwrap_or_default();
        let mut made: Vec<u64> =
            made.into_iter().filter(|at| now.saturating_since(Timestamp::from_millis(*at)) < DAY).collect();
        // Past nine tenths something is wrong here, and a token that identifies too often is taken away.
        if made.len() as u64 >= u64::from(limit.total) * 9 / 10 {
            let oldest = made.first().copied().map_or(now, Timestamp::from_millis);
            let wait = DAY.saturating_sub(now.saturating_since(oldest)).max(IDENTIFY_EVERY);
            return Err(End::Wait(
                wait,
                format!("{} identifies within a day; the platform takes the token away at {}", made.len(), limit.total),
            ));
        }
        made.push(now.as_millis());
        let made = serde_json::to_string(&made).unwrap_or_default();
        self.memory.put(&self.name, made, Some(DAY)).await.map_err(|error| {
            End::lost(format_args!("an identify must be counted before it is made, and cannot be: {error}"))
        })?;
        let mut last = lock(&self.last);
        last.retain(|(own, _)| *own != bucket);
        last.push((bucket, Instant::now()));
        Ok(())
    }
}

impl Sessions {
    /// Returns the session that is kept under a name.
    pub(in crate::connector) fn new(memory: Memory, name: String) -> Self {
        Self { memory, name, resumes_failed: AtomicU32::new(0), opens_failed: AtomicU32::new(0) }
    }

    pub(super) async fn recall(&self) -> Option<Session> {
        if self.resumes_failed.load(Ordering::Relaxed) >= RESUMES_FAILED_MAX {
            self.forget().await;
        }
        serde_json::from_str(&self.memory.get(&self.name).await?).ok()
    }

    /// Returns whether it is worth trying where the platform said that the session is to be resumed. That place may be gone, which is
    /// no reason to give the session up.
    pub(super) fn is_reachable(&self) -> bool {
        self.opens_failed.load(Ordering::Relaxed) < RESUMES_FAILED_MAX
    }

    /// Notes whether somebody was there.
    pub(super) fn reached(&self, somebody: bool) {
        if somebody {
            self.opens_failed.store(0, Ordering::Relaxed);
        } else {
            self.opens_failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes that a resume is tried; until [`Sessions::begun`] it counts as one that failed.
    pub(super) fn resuming(&self) {
        self.resumes_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a session has begun or goes on.
    pub(super) fn begun(&self) {
        self.resumes_failed.store(0, Ordering::Relaxed);
    }

    pub(super) async fn keep(&self, session: &Session) {
        // A platform forgets a session much sooner.
        self.memory.try_put(&self.name, serde_json::to_string(session).unwrap_or_default(), Some(DAY)).await;
    }

    pub(super) async fn forget(&self) {
        self.resumes_failed.store(0, Ordering::Relaxed);
        self.memory.forget(&self.name).await;
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
