//! Keeps an edit from taking most of a host away by mistake: what removes more than half of the bots and connectors at once counts
//! only when it is still so a while later. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

/// How long a mass removal must stay before it counts.
pub(super) const SECOND_THOUGHTS: Duration = Duration::from_secs(10);

/// What guards against mass removals.
#[derive(Debug, Default)]
pub(super) struct Guard {
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    removed: BTreeSet<String>,
    since: Instant,
}

/// What to do about a removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Let it count.
    Go,
    /// Keep what it removes, and ask again then.
    Hold {
        /// When to ask again.
        until: Instant,
    },
}

/// A removal that is asked for.
#[derive(Debug)]
pub(super) struct Removal {
    /// How many bots and connectors there are.
    pub(super) total: usize,
    /// Those that would go.
    pub(super) removed: BTreeSet<String>,
    /// The operator asked for it by command.
    pub(super) is_confirmed: bool,
}

impl Guard {
    /// Judges a removal. Asked again with the same one, it keeps to its word.
    pub(super) fn judge(&mut self, removal: Removal, now: Instant) -> Judgement {
        let Removal { total, removed, is_confirmed } = removal;
        let is_mass = removed.len() >= 2 && removed.len() * 2 > total;
        if !is_mass || is_confirmed {
            self.held = None;
            return Judgement::Go;
        }
        let since = match &self.held {
            Some(held) if held.removed == removed => held.since,
            _ => now,
        };
        let until = since + SECOND_THOUGHTS;
        if now >= until {
            self.held = None;
            return Judgement::Go;
        }
        self.held = Some(Held { removed, since });
        Judgement::Hold { until }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removal(total: usize, removed: usize) -> Removal {
        let removed = (0..removed).map(|number| format!("bot {number}")).collect();
        Removal { total, removed, is_confirmed: false }
    }

    #[test]
    fn f052_what_removes_more_than_half_waits_for_a_second_look() {
        let now = Instant::now();
        for (total, removed, is_held) in
            [(0, 0, false), (1, 1, false), (2, 1, false), (2, 2, true), (4, 2, false), (5, 3, true), (100, 50, false)]
        {
            let judgement = Guard::default().judge(removal(total, removed), now);
            assert_eq!(judgement != Judgement::Go, is_held, "{removed} of {total}");
        }
    }

    #[test]
    fn f052_what_is_removed_by_command_does_not_wait() {
        let commanded = Removal { is_confirmed: true, ..removal(5, 5) };
        assert_eq!(Guard::default().judge(commanded, Instant::now()), Judgement::Go);
    }

    #[test]
    fn a_removal_that_stays_counts_after_a_while_and_another_begins_anew() {
        let now = Instant::now();
        let mut guard = Guard::default();
        let until = now + SECOND_THOUGHTS;
        assert_eq!(guard.judge(removal(4, 4), now), Judgement::Hold { until });
        let later = now + Duration::from_secs(4);
        assert_eq!(guard.judge(removal(4, 4), later), Judgement::Hold { until });
        assert_eq!(guard.judge(removal(4, 3), later), Judgement::Hold { until: later + SECOND_THOUGHTS });
        assert_eq!(guard.judge(removal(4, 3), later + SECOND_THOUGHTS), Judgement::Go);
        assert_eq!(guard.judge(removal(4, 0), later), Judgement::Go);
    }
}
