//! When a file is to be read: once it has come to rest after a change, and again now and then whatever it looks like. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// What is known of a file from looking at it. `S` tells one state of the file from another.
#[derive(Debug)]
pub(super) struct Rest<S> {
    /// How long the file must look the same before it is read.
    settle: Duration,
    seen: S,
    seen_since: Instant,
    /// As what it was last read; none: it was not.
    read: Option<S>,
    /// When it is read again though it looks the same.
    again_at: Instant,
}

impl<S: Clone + PartialEq> Rest<S> {
    /// Returns what is known of a file that was seen once and never read.
    pub(super) fn new(settle: Duration, seen: S, now: Instant) -> Self {
        Self { settle, seen, seen_since: now, read: None, again_at: now }
    }

    /// Takes in what the file looks like now.
    pub(super) fn observe(&mut self, sight: S, now: Instant) {
        if sight != self.seen {
            (self.seen, self.seen_since) = (sight, now);
        }
    }

    /// Returns whether it was read as what it looks like now.
    pub(super) fn is_read(&self) -> bool {
        self.read.as_ref() == Some(&self.seen)
    }

    /// Returns when it is to be read, unless it changes before.
    pub(super) fn due_at(&self) -> Instant {
        let rested_at = self.seen_since + self.settle;
        if self.is_read() { rested_at.max(self.again_at) } else { rested_at }
    }

    /// Notes that it was read as what was last seen, and when it is to be read again if nothing happens before.
    pub(super) fn note_read(&mut self, again_at: Instant) {
        self.read = Some(self.seen.clone());
        self.again_at = again_at;
    }

    /// Has it read as soon as it rests.
    pub(super) fn suspect(&mut self, now: Instant) {
        self.again_at = self.again_at.min(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE: Duration = Duration::from_millis(200);

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn a_file_is_read_once_it_has_not_changed_for_the_settling_time() {
        let start = Instant::now();
        let mut rest = Rest::new(SETTLE, 'a', start);
        assert_eq!(rest.due_at(), at(start, 200));
        for (ms, sight) in [(100, 'b'), (250, 'c'), (300, 'c')] {
            rest.observe(sight, at(start, ms));
        }
        assert_eq!(rest.due_at(), at(start, 450));
        rest.note_read(at(start, 10_000));
        assert!(rest.is_read());
        assert_eq!(rest.due_at(), at(start, 10_000));
    }

    #[test]
    fn a_change_that_is_taken_back_while_the_file_is_not_read_costs_no_reading() {
        let start = Instant::now();
        let mut rest = Rest::new(SETTLE, 'a', start);
        rest.note_read(at(start, 10_000));
        rest.observe('b', at(start, 500));
        assert_eq!(rest.due_at(), at(start, 700));
        rest.observe('a', at(start, 600));
        assert_eq!(rest.due_at(), at(start, 10_000));
    }

    #[test]
    fn a_reading_for_its_own_sake_waits_for_rest_too() {
        let start = Instant::now();
        let mut rest = Rest::new(SETTLE, 'a', start);
        rest.note_read(at(start, 10_000));
        rest.suspect(at(start, 50));
        assert_eq!(rest.due_at(), at(start, 200));
        rest.note_read(at(start, 10_000));
        rest.suspect(at(start, 300));
        assert_eq!(rest.due_at(), at(start, 300));
    }
}
