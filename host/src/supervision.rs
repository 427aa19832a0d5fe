//! What an operator chooses of how bots are kept alive and how their new versions are watched: the words of `[supervisor]` and
//! `[rollout]`. What follows from them is decided in `bot`.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;

use crate::units::{duration, positive_duration, ratio};

/// When a bot that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Whatever the reason.
    Always,
    /// Unless it ended of its own will, by calling `exit` with success.
    #[default]
    OnFailure,
    /// Never: it stays down until an operator starts it or a new version comes.
    Never,
}

/// `[supervisor]`: how bots are kept alive.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Supervision {
    /// When a bot that ended is started again; a bot's own entry may say otherwise. Default: `on-failure`.
    pub restart: Restart,
    /// Most restarts within `within`; one more, and the bot is quarantined. Default: 10.
    pub max_restarts: u32,
    /// The period of `max_restarts`. Only time in which the bot was up counts. Not zero. Default: 5 min.
    #[serde(deserialize_with = "positive_duration")]
    pub within: Duration,
    /// The wait before the first restart; it doubles with each further one. Default: 500 ms.
    #[serde(deserialize_with = "duration")]
    pub backoff_initial: Duration,
    /// The longest wait before a restart. Default: 30 s.
    #[serde(deserialize_with = "duration")]
    pub backoff_max: Duration,
    /// By how much of itself a wait is stretched or shrunk at random, 0 to 1, so that bots that failed together do not come back
    /// together. Default: 0.25.
    #[serde(deserialize_with = "ratio")]
    pub jitter: f64,
    /// A bot that was up for so long without a fault begins again with the shortest wait. Default: 60 s.
    #[serde(deserialize_with = "duration")]
    pub healthy_after: Duration,
    /// `[supervisor.breaker]`
    pub breaker: BreakerPolicy,
}

impl Default for Supervision {
    fn default() -> Self {
        Self {
            restart: Restart::OnFailure,
            max_restarts: 10,
            within: Duration::from_secs(300),
            backoff_initial: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
            jitter: 0.25,
            healthy_after: Duration::from_secs(60),
            breaker: BreakerPolicy::default(),
        }
    }
}

/// `[supervisor.breaker]`: when a bot that fails gets no events for a while. They wait.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerPolicy {
    /// The breaker opens when so many events failed within `within` at their first attempt, and no fewer than went well.
    /// Default: 5.
    pub failures: NonZeroU32,
    /// The window in which they are counted. Not zero. Default: 1 min.
    #[serde(deserialize_with = "positive_duration")]
    pub within: Duration,
    /// How long it stays open before the bot is tried again. Not zero. Default: 60 s.
    #[serde(deserialize_with = "positive_duration")]
    pub open_for: Duration,
    /// How many events it is tried with, one after the other; if all go well the breaker closes. Default: 1.
    pub probes: NonZeroU32,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        let failures = const { NonZeroU32::new(5).expect("it is not zero") };
        Self { failures, within: Duration::from_secs(60), open_for: Duration::from_secs(60), probes: NonZeroU32::MIN }
    }
}

/// `[rollout]`: how a new version of a bot is watched after it took over.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RolloutPolicy {
    /// How long it is watched at least; zero: not at all. Default: 60 s.
    #[serde(deserialize_with = "duration")]
    pub probation: Duration,
    /// The version before comes back when more than this part of the new one's events fail, 0 to 1, and more than of its own
    /// did. Default: 0.2.
    #[serde(deserialize_with = "ratio")]
    pub max_fault_ratio: f64,
    /// So many of its events must have ended before it is judged. Default: 5.
    pub min_events: NonZeroU32,
}

impl Default for RolloutPolicy {
    fn default() -> Self {
        let min_events = const { NonZeroU32::new(5).expect("it is not zero") };
        Self { probation: Duration::from_secs(60), max_fault_ratio: 0.2, min_events }
    }
}
