//! What a rule says of one subject, from look to look. Pure.
//!
//! ```text
//!        holds                 held for `for`, and the cooldown is over
//!  calm ───────► pending ───────────────────────────────────────────────► firing
//!   ▲  ◄────────── does not hold                                            │
//!   └──────────── back beyond `clear`: the cooldown begins ─────────────────┘
//! ```

use std::time::Duration;

use tokio::time::Instant;

use super::config::Rule;

/// A subject that was not seen for so many looks is gone.
pub(super) const LOOKS_UNTIL_GONE: u32 = 3;
/// How long at least a value is between threshold and `clear` until that ends the alert, where nobody chose `clear`.
const LINGER_MIN: Duration = Duration::from_secs(300);
/// The least time between two restarts of a bot by one rule.
const RESTARTS_APART_MIN: Duration = Duration::from_secs(60);

/// How a rule stands about one subject.
#[derive(Debug)]
pub(super) struct Standing {
    phase: Phase,
    /// It does not fire before this.
    quiet_until: Option<Instant>,
    /// An operator ended the alert: it is quiet until the value came back, at the longest for the cooldown.
    is_ended_by_hand: bool,
    /// Since when the value is neither bad nor good.
    lingers_since: Option<Instant>,
    /// Looks that did not see it.
    missed: u32,
    acted_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Calm,
    Pending { since: Instant },
    Firing,
}

/// What a look did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing to say.
    Nothing,
    /// It holds, not yet for long enough.
    Pending,
    /// The alert comes up.
    Fires,
    /// It is up still.
    Stays,
    /// It is over, or was pending and did not come up.
    Ends,
}

impl Standing {
    fn new(phase: Phase) -> Self {
        Self { phase, quiet_until: None, is_ended_by_hand: false, lingers_since: None, missed: 0, acted_at: None }
    }

    /// Returns that of a subject of which nothing is known.
    pub(super) fn calm() -> Self {
        Self::new(Phase::Calm)
    }

    /// Returns that of a subject whose alert is up.
    pub(super) fn firing() -> Self {
        Self::new(Phase::Firing)
    }

    pub(super) fn is_firing(&self) -> bool {
        self.phase == Phase::Firing
    }

    pub(super) fn is_pending(&self) -> bool {
        matches!(self.phase, Phase::Pending { .. })
    }

    /// Returns whether forgetting it changes nothing.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        let has_acted = self.acted_at.is_some_and(|at| now.saturating_duration_since(at) < RESTARTS_APART_MIN);
        self.phase == Phase::Calm && !self.is_quiet(now) && !self.is_ended_by_hand && !has_acted
    }

    /// Takes in a value. After a gap in the looks nobody knows what was in between: whatever was being waited for begins anew.
    pub(super) fn see(&mut self, rule: &Rule, value: f64, is_after_gap: bool, now: Instant) -> Change {
        self.missed = 0;
        let holds = rule.op.holds(value, rule.threshold.value);
        if is_after_gap {
            self.lingers_since = None;
            if let Phase::Pending { since } = &mut self.phase {
                *since = now;
            }
        }
        if self.stays_ended(rule, value, now) {
            return Change::Nothing;
        }
        match self.phase {
            Phase::Firing => self.see_firing(rule, value, holds, now),
            Phase::Calm if !holds => Change::Nothing,
            Phase::Pending { .. } if !holds => {
                self.phase = Phase::Calm;
                Change::Ends
            }
            Phase::Calm => self.wait(rule, now, now),
            Phase::Pending { since } => self.wait(rule, since, now),
        }
    }

    fn see_firing(&mut self, rule: &Rule, value: f64, holds: bool, now: Instant) -> Change {
        if holds {
            self.lingers_since = None;
            return Change::Stays;
        }
        if rule.op.holds(value, rule.clear) {
            let lingers = now.saturating_duration_since(*self.lingers_since.get_or_insert(now));
            if rule.is_clear_chosen || lingers < rule.cooldown.max(LINGER_MIN) {
                return Change::Stays;
            }
        }
        self.end(rule, now)
    }

    fn end(&mut self, rule: &Rule, now: Instant) -> Change {
        self.phase = Phase::Calm;
        self.lingers_since = None;
        self.quiet_until = Some(now + rule.cooldown);
        Change::Ends
    }

    fn wait(&mut self, rule: &Rule, since: Instant, now: Instant) -> Change {
        if now.saturating_duration_since(since) >= rule.r#for && !self.is_quiet(now) {
            self.phase = Phase::Firing;
            return Change::Fires;
        }
        self.phase = Phase::Pending { since };
        Change::Pending
    }

    /// Returns whether what an operator ended stays so. It does until the value came back or the cooldown is over.
    fn stays_ended(&mut self, rule: &Rule, value: f64, now: Instant) -> bool {
        if !self.is_ended_by_hand {
            return false;
        }
        if !rule.op.holds(value, rule.clear) {
            (self.is_ended_by_hand, self.quiet_until) = (false, None);
        }
        self.is_ended_by_hand &= self.is_quiet(now);
        self.is_ended_by_hand
    }

    fn is_quiet(&self, now: Instant) -> bool {
        self.quiet_until.is_some_and(|until| now < until)
    }

    /// Takes in that the subject has no value.
    pub(super) fn miss(&mut self, rule: &Rule, now: Instant) -> Change {
        self.missed = self.missed.saturating_add(1);
        if self.missed < LOOKS_UNTIL_GONE {
            return Change::Nothing;
        }
        self.is_ended_by_hand = false;
        match self.phase {
            Phase::Calm => Change::Nothing,
            Phase::Pending { .. } => {
                self.phase = Phase::Calm;
                Change::Ends
            }
            Phase::Firing => self.end(rule, now),
        }
    }

    /// An operator ended the alert.
    pub(super) fn end_by_hand(&mut self, rule: &Rule, now: Instant) {
        if self.phase != Phase::Calm {
            self.end(rule, now);
            self.is_ended_by_hand = true;
        }
    }

    /// Returns whether to act on the bot now that the alert came up, and notes that it was done.
    pub(super) fn acts(&mut self, rule: &Rule, now: Instant) -> bool {
        let apart = rule.cooldown.max(RESTARTS_APART_MIN);
        let acts = self.acted_at.is_none_or(|at| now.saturating_duration_since(at) >= apart);
        if acts {
            self.acted_at = Some(now);
        }
        acts
    }
}

#[cfg(test)]
mod tests;
