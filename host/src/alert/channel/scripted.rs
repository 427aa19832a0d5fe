//! A channel inside this process, for tests: they say what becomes of each try, and see what was sent when.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::config::{ChannelConfig, Way};
use super::{ChannelError, Notice};
use crate::action::Severity;

/// What becomes of a try.
#[derive(Debug, Clone, Copy)]
pub(in crate::alert) enum Outcome {
    Taken,
    Broken,
    Limited(Duration),
    Refused,
    Hangs,
}

#[derive(Debug, Default)]
struct Stage {
    outcomes: VecDeque<Outcome>,
    /// What becomes of a try of which nothing is said.
    otherwise: Option<Outcome>,
    tries: Vec<(Instant, Notice)>,
}

/// A channel, and the handle that drives it.
#[derive(Debug, Clone, Default)]
pub(in crate::alert) struct Scripted {
    stage: Arc<Mutex<Stage>>,
    tried: Arc<Notify>,
}

impl Eq for Scripted {}

impl PartialEq for Scripted {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.stage, &other.stage)
    }
}

impl Scripted {
    /// Returns a configuration that tells at once, of every alert, and never reminds.
    pub(in crate::alert) fn config(&self) -> ChannelConfig {
        ChannelConfig {
            enabled: true,
            min_severity: Severity::Info,
            resolved: true,
            group_wait: Duration::from_secs(5),
            digest_every: Duration::from_secs(60),
            remind_every: Duration::ZERO,
            way: Way::Scripted(self.clone()),
        }
    }

    pub(in crate::alert) fn then(&self, outcomes: impl IntoIterator<Item = Outcome>) {
        self.stage().outcomes.extend(outcomes);
    }

    pub(in crate::alert) fn always(&self, outcome: Outcome) {
        self.stage().otherwise = Some(outcome);
    }

    /// Returns what was tried, and when.
    pub(in crate::alert) fn tries(&self) -> Vec<(Instant, Notice)> {
        self.stage().tries.clone()
    }

    /// Waits for the try of this number, counted from 1, and returns it.
    pub(in crate::alert) async fn tried(&self, number: usize) -> (Instant, Notice) {
        let waiting = async {
            loop {
                let tried = self.tried.notified();
                if let Some(found) = self.tries().get(number - 1) {
                    return found.clone();
                }
                tried.await;
            }
        };
        // By a paused clock, which runs only while nothing else does.
        tokio::time::timeout(Duration::from_secs(100 * 3600), waiting).await.expect("a try in time")
    }

    pub(in crate::alert) async fn send(&self, notice: &Notice) -> Result<String, ChannelError> {
        let outcome = {
            let mut stage = self.stage();
            stage.tries.push((Instant::now(), notice.clone()));
            stage.outcomes.pop_front().or(stage.otherwise).unwrap_or(Outcome::Taken)
        };
        self.tried.notify_waiters();
        let refused = |status, retry_after| ChannelError::Refused { status, words: "no".to_owned(), retry_after };
        match outcome {
            Outcome::Taken => Ok("yes".to_owned()),
            Outcome::Broken => Err(refused(500, None)),
            Outcome::Limited(wait) => Err(refused(429, Some(wait))),
            Outcome::Refused => Err(refused(404, None)),
            Outcome::Hangs => std::future::pending().await,
        }
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap()
    }
}
