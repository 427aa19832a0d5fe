//! How many events of late went well and how many did not, in a window that moves with the time. Pure, and of one size however
//! many events there are.

use std::time::Duration;

use tokio::time::Instant;

/// Parts of the window: what is counted leaves it one part at a time.
const PARTS: u32 = 10;

/// How an event ended, for those who judge a bot by its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Well,
    Failed,
}

/// Counts within a moving window.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    part: Duration,
    counts: [Counts; PARTS as usize],
    /// The part that is being counted into, and since when.
    current: usize,
    since: Option<Instant>,
}

/// How many events went well and how many did not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) well: u64,
    pub(super) failed: u64,
}

impl Counts {
    pub(super) fn add(&mut self, mark: Mark) {
        match mark {
            Mark::Well => self.well += 1,
            Mark::Failed => self.failed += 1,
        }
    }

    pub(super) fn total(self) -> u64 {
        self.well + self.failed
    }

    /// Returns which part of all failed, 0 to 1; of none, none did.
    pub(super) fn fault_ratio(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "2^53 events are more than a window ever sees")]
        let (failed, total) = (self.failed as f64, self.total() as f64);
        if total == 0.0 { 0.0 } else { failed / total }
    }
}

impl Tally {
    /// Returns a window of this length in which nothing happened yet.
    pub(super) fn new(window: Duration) -> Self {
        let part = (window / PARTS).max(Duration::from_nanos(1));
        Self { part, counts: Default::default(), current: 0, since: None }
    }

    pub(super) fn add(&mut self, mark: Mark, now: Instant) {
        self.advance(now);
        self.counts[self.current].add(mark);
    }

    /// Returns what was counted of late: within the window, or up to a tenth of it less.
    pub(super) fn counts(&mut self, now: Instant) -> Counts {
        self.advance(now);
        self.counts.iter().fold(Counts::default(), |sum, part| Counts {
            well: sum.well + part.well,
            failed: sum.failed + part.failed,
        })
    }

    pub(super) fn clear(&mut self) {
        (self.counts, self.since) = (Default::default(), None);
    }

    fn advance(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let steps = now.saturating_duration_since(since).as_nanos() / self.part.as_nanos();
        for _ in 0..steps.min(u128::from(PARTS)) {
            self.current = (self.current + 1) % self.counts.len();
            self.counts[self.current] = Counts::default();
        }
        match u32::try_from(steps) {
            Ok(steps) => self.since = Some(since + self.part * steps),
            Err(_) => self.since = Some(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut tally = Tally::new(Duration::from_secs(60));
        tally.add(Mark::Failed, at(0));
        tally.add(Mark::Well, at(30));
        assert_eq!(tally.counts(at(53)), Counts { well: 1, failed: 1 });
        assert_eq!(tally.counts(at(61)), Counts { well: 1, failed: 0 });
        assert_eq!(tally.counts(at(100_000)), Counts::default());
        assert!((Counts { well: 3, failed: 1 }.fault_ratio() - 0.25).abs() < f64::EPSILON);
    }

    proptest! {
        #[test]
        fn the_window_holds_all_of_its_last_nine_tenths_and_nothing_older_than_itself(
            waits in prop::collection::vec(0u64..20_000, 1..60),
        ) {
            let mut now = Instant::now();
            let mut tally = Tally::new(Duration::from_secs(60));
            let mut seen = Vec::new();
            for wait in waits {
                now += Duration::from_millis(wait);
                tally.add(Mark::Failed, now);
                seen.push(now);
                let within = |span| seen.iter().filter(|at| now - **at < Duration::from_secs(span)).count() as u64;
                let counted = tally.counts(now).failed;
                prop_assert!(within(54) <= counted && counted <= within(60) + 1, "{counted}");
            }
        }
    }
}
