//! The heartbeats of a gateway's connection, by which a dead one is told from a silent one.

use std::time::Duration;

use tokio::time::Instant;

/// A promise of heartbeats outside of this is not believed.
const INTERVAL_MIN: Duration = Duration::from_millis(500);
const INTERVAL_MAX: Duration = Duration::from_secs(300);

/// When heartbeats are due. Pure; the caller brings the time.
#[derive(Debug)]
pub(super) struct Heart {
    interval: Duration,
    /// When the next beat is due.
    pub(super) due_at: Instant,
    is_acknowledged: bool,
}

impl Heart {
    /// The first beat comes after a part of the interval, `random` of it, so that many do not beat together.
    pub(super) fn new(interval: Duration, random: f64, now: Instant) -> Self {
        let interval = interval.clamp(INTERVAL_MIN, INTERVAL_MAX);
        Self { interval, due_at: now + interval.mul_f64(random.clamp(0.0, 1.0)), is_acknowledged: true }
    }

    /// Returns whether the beat that is due may be sent; otherwise the one before it was never acknowledged.
    pub(super) fn beat(&mut self, now: Instant) -> bool {
        self.due_at = now + self.interval;
        std::mem::take(&mut self.is_acknowledged)
    }

    /// Notes that the last beat was heard.
    pub(super) fn acknowledged(&mut self) {
        self.is_acknowledged = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heart_beats_at_its_interval_and_stops_when_nobody_answers() {
        let start = Instant::now();
        let mut heart = Heart::new(Duration::from_secs(40), 0.5, start);
        assert_eq!(heart.due_at, start + Duration::from_secs(20));
        assert!(heart.beat(heart.due_at));
        assert_eq!(heart.due_at, start + Duration::from_secs(60));
        heart.acknowledged();
        assert!(heart.beat(heart.due_at));
        assert!(!heart.beat(heart.due_at), "the one before was not acknowledged");
        assert_eq!(
            Heart::new(Duration::ZERO, 0.0, start).interval,
            INTERVAL_MIN,
            "an interval of nothing is no promise"
        );
    }
}
