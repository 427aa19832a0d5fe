//! Whether a silent socket is still alive. Pure; the caller brings the time.

use std::time::Duration;

use tokio::time::Instant;

/// Heartbeats that may be missed.
const HEARTBEATS_MISSED_MAX: u32 = 3;

/// A promise to be heard of less often than this is not believed.
const HEARTBEAT_MAX: Duration = Duration::from_secs(600);

/// What is known of one socket.
#[derive(Debug)]
pub(super) struct Liveness {
    stall_timeout: Duration,
    /// How often the implementation says that it lives, once it has said so.
    heartbeat: Option<Duration>,
    heard_at: Instant,
    was_asked: bool,
}

/// What a silence calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Ask for a sign of life.
    Ask,
    /// Nothing more will come.
    Dead,
}

impl Liveness {
    pub(super) fn new(stall_timeout: Duration, now: Instant) -> Self {
        Self { stall_timeout, heartbeat: None, heard_at: now, was_asked: false }
    }

    /// Notes any frame; also the end of a time in which nobody listened.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard_at = now;
        self.was_asked = false;
    }

    /// Returns for how long nothing was heard.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.heard_at)
    }

    /// Notes how often heartbeats come.
    pub(super) fn heartbeat(&mut self, interval: Duration) {
        self.heartbeat = Some(interval.min(HEARTBEAT_MAX)).filter(|interval| !interval.is_zero());
    }

    /// Notes that a sign of life was asked for.
    pub(super) fn asked(&mut self) {
        self.was_asked = true;
    }

    /// Returns what is to be done next, and when, if nothing is heard until then.
    pub(super) fn next(&self) -> (Instant, Due) {
        match self.heartbeat {
            Some(interval) => (self.heard_at + interval.saturating_mul(HEARTBEATS_MISSED_MAX), Due::Dead),
            None if self.was_asked => (self.heard_at + self.stall_timeout, Due::Dead),
            None => (self.heard_at + self.stall_timeout / 2, Due::Ask),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn without_heartbeats_a_silence_is_asked_about_and_then_believed() {
        let start = Instant::now();
        let mut liveness = Liveness::new(40 * SECOND, start);
        assert_eq!(liveness.next(), (start + 20 * SECOND, Due::Ask));
        liveness.asked();
        assert_eq!(liveness.next(), (start + 40 * SECOND, Due::Dead));
        liveness.heard(start + 21 * SECOND);
        assert_eq!(liveness.next(), (start + 41 * SECOND, Due::Ask));
    }

    #[test]
    fn with_heartbeats_three_may_be_missed() {
        let start = Instant::now();
        let mut liveness = Liveness::new(40 * SECOND, start);
        liveness.heartbeat(5 * SECOND);
        assert_eq!(liveness.next(), (start + 15 * SECOND, Due::Dead));
        liveness.heartbeat(Duration::ZERO);
        assert_eq!(liveness.next().1, Due::Ask, "an interval of nothing is no promise");
    }
}
