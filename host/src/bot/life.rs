//! The life of one bot: which of its versions serves, whether it gets events, when it is started again, when it is given up.
//! Pure: it is told what happened and when, and answers what to do. Its task does that.
//!
//! A version takes over once its `init` ended well. Until it has proved itself it is on trial, and the one before comes back if it
//! is worse. A bot whose events keep failing gets none for a while (the breaker), then begins anew and is tried with a few. One
//! that does not recover is given up.

mod transitions;
mod words;

use std::borrow::Cow;
use std::collections::VecDeque;

use tokio::time::Instant;

use super::breaker::{Breaker, Change};
use super::phase::Phase;
use super::restart::{Ending, Restarts};
use super::tally::Mark;
use super::trial::{Opinion, Trial};
use crate::clock::Timestamp;
use crate::sandbox::StartReason;
use crate::store::IncidentKind;
use crate::supervision::{RolloutPolicy, Supervision};

/// Its `init` failed.
const INIT_FAILED: IncidentKind = IncidentKind::Fault(Cow::Borrowed("init"));

/// A moment, by the clock that waits go by and by the one that people read, and a random number in `0.0..1.0` for what is
/// decided in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) instant: Instant,
    pub(super) wall: Timestamp,
    pub(super) random: f64,
}

/// A moment to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Due {
    at: Instant,
    wall: Timestamp,
}

/// How an event ended, where it says something about the bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EventEnd {
    Well,
    /// It failed at its first attempt, or at a later one: then it had failed before, and is not held against the bot again.
    Failed {
        is_first: bool,
        error: String,
    },
    /// The bot called `exit` with success.
    Quit,
}

/// A version of a bot, whatever it is made of.
pub(super) trait Version: Clone + PartialEq {
    /// Returns its number: a newer one has a higher one.
    fn number(&self) -> u64;
}

/// What the bot's task has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act<V> {
    /// Run this version's `init`.
    Init { version: V, reason: StartReason },
    /// Never offer this version again until the operator says so.
    Condemn { version: V, reason: String },
    /// Write down what happened and what was done about it.
    Note { what: IncidentKind, version: Option<V>, message: String, strategy: String },
}

/// How the version that should serve stands.
#[derive(Debug, Clone, PartialEq)]
enum Standing {
    /// There is none yet.
    Absent,
    /// There is none: what was offered is not good.
    Rejected {
        reason: String,
    },
    /// Its `init` runs. With `probes`, because its breaker was open.
    Starting {
        reason: StartReason,
        probes: bool,
    },
    /// It gets events, as the breaker says.
    Up,
    /// The breaker is open.
    Open {
        due: Due,
        error: String,
    },
    /// Its `init` failed, or it is to begin anew.
    Backoff {
        due: Due,
        error: String,
        probes: bool,
    },
    Quarantined {
        reason: String,
    },
    Stopped {
        reason: String,
    },
    Disabled,
}

/// A version that is to take over from one that has served.
#[derive(Debug)]
struct Candidate<V> {
    version: V,
    reason: StartReason,
    restarts: Restarts,
    /// When its `init` is tried again; none: it runs.
    due: Option<Instant>,
}

/// The life of one bot, whose versions are `V`.
#[derive(Debug)]
pub(super) struct Life<V> {
    supervision: Supervision,
    rollout: RolloutPolicy,
    current: Option<V>,
    /// `current` has had events.
    has_served: bool,
    standing: Standing,
    candidate: Option<Candidate<V>>,
    trial: Option<Trial<V>>,
    breaker: Breaker,
    restarts: Restarts,
    restarted: u64,
    /// The newest version that does not serve although an older one does, and why.
    refused: Option<(u64, String)>,
    /// What it failed at last.
    error: String,
    acts: VecDeque<Act<V>>,
}

impl<V: Version> Life<V> {
    pub(super) fn new(supervision: Supervision, rollout: RolloutPolicy) -> Self {
        Self {
            breaker: Breaker::new(supervision.breaker.clone()),
            restarts: Restarts::new(supervision.clone()),
            supervision,
            rollout,
            current: None,
            has_served: false,
            standing: Standing::Absent,
            candidate: None,
            trial: None,
            restarted: 0,
            refused: None,
            error: String::new(),
            acts: VecDeque::new(),
        }
    }

    /// Returns the next thing to do, until there is none.
    pub(super) fn next_act(&mut self) -> Option<Act<V>> {
        self.acts.pop_front()
    }

    /// Takes in a new version: its `init` is run, while the one before serves where there is one.
    pub(super) fn offer(&mut self, version: V) {
        match self.standing {
            Standing::Stopped { .. } => self.replace(version),
            Standing::Up | Standing::Open { .. } | Standing::Starting { .. } | Standing::Backoff { .. }
                if self.has_served =>
            {
                self.start_candidate(version, StartReason::Reloaded);
            }
            _ => {
                let reason = if self.has_served { StartReason::Reloaded } else { StartReason::Started };
                self.replace(version);
                self.start(reason, false);
            }
        }
    }

    /// Says that the version of this number was refused before it could be tried. An older one goes on.
    pub(super) fn refuse(&mut self, number: u64, reason: String) {
        self.note(IncidentKind::Refused, None, reason.clone(), "the version before serves, if there is one");
        if matches!(self.standing, Standing::Absent | Standing::Rejected { .. } | Standing::Disabled) {
            self.standing = Standing::Rejected { reason };
        } else {
            self.refused = Some((number, reason));
        }
    }

    /// Takes in how an `init` ended.
    pub(super) fn init_ended(&mut self, version: &V, result: Result<(), String>, now: Now) {
        if self.candidate.as_ref().is_some_and(|candidate| candidate.version == *version) {
            match result {
                Ok(()) => self.flip(now),
                Err(error) => self.candidate_failed(error, now),
            }
        } else if let (true, Standing::Starting { reason, probes }) =
            (self.current.as_ref() == Some(version), &self.standing)
        {
            let (reason, probes) = (*reason, *probes);
            match result {
                Ok(()) => self.came_up(reason, probes, now),
                Err(error) => self.went_down(Ending::Failed, error, probes, now),
            }
        }
        // Else it was overtaken by a newer one, and says nothing of that.
    }

    /// Takes in how an event ended that `version` had.
    pub(super) fn event_ended(&mut self, version: &V, end: EventEnd, now: Now) {
        if self.current.as_ref() != Some(version) || self.standing != Standing::Up {
            return;
        }
        let mark = match end {
            EventEnd::Quit => return self.quit(now),
            EventEnd::Well => Mark::Well,
            EventEnd::Failed { is_first, error } => {
                self.restarts.failed(now.instant);
                self.error = error;
                if !is_first && !self.breaker.is_half_open() {
                    return;
                }
                Mark::Failed
            }
        };
        if let Some(trial) = &mut self.trial {
            trial.record(mark);
            match trial.opinion(now.instant) {
                Opinion::Worse(why) => return self.roll_back(&why, now),
                Opinion::Good => self.proved(now),
                Opinion::Undecided => {}
            }
        }
        match self.breaker.record(mark, now.instant) {
            Some(Change::Opened) => self.breaker_opened(now),
            Some(Change::Closed) => {
                let message = "it was tried and went well".to_owned();
                self.note(IncidentKind::BreakerClosed, self.current.clone(), message, "none");
            }
            None => {}
        }
    }

    /// Returns whether something is due that costs a start of the bot: what of many bots should not come at once.
    pub(super) fn is_restart_due(&self, now: Instant) -> bool {
        let candidate = self.candidate.as_ref().and_then(|candidate| candidate.due);
        let due = match &self.standing {
            Standing::Open { due, .. } | Standing::Backoff { due, .. } => Some(due.at),
            _ => None,
        };
        [candidate, due].into_iter().flatten().any(|due| due <= now)
    }

    /// Puts off what is due: there are too many restarts just now.
    pub(super) fn postpone(&mut self, now: Now, wait: std::time::Duration) {
        let later = now.after(wait);
        match &mut self.standing {
            Standing::Open { due, .. } | Standing::Backoff { due, .. } if due.at <= now.instant => *due = later,
            _ => {}
        }
        if let Some(due) = self.candidate.as_mut().and_then(|candidate| candidate.due.as_mut()) {
            *due = (*due).max(later.at);
        }
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Now) {
        match &self.standing {
            Standing::Open { due, .. } if due.at <= now.instant => self.start_again(true),
            Standing::Backoff { due, probes, .. } if due.at <= now.instant => {
                let probes = *probes;
                self.start_again(probes);
            }
            _ => {}
        }
        if let Some(candidate) = self.candidate.as_mut().filter(|it| it.due.is_some_and(|due| due <= now.instant)) {
            candidate.due = None;
            let (version, reason) = (candidate.version.clone(), candidate.reason);
            self.acts.push_back(Act::Init { version, reason });
        }
        if self.trial.as_ref().is_some_and(|trial| trial.opinion(now.instant) == Opinion::Good) {
            self.proved(now);
        }
    }

    /// Returns when something will be due if nothing happens before.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        let standing = match &self.standing {
            Standing::Open { due, .. } | Standing::Backoff { due, .. } => Some(due.at),
            _ => None,
        };
        let candidate = self.candidate.as_ref().and_then(|candidate| candidate.due);
        // Past its end a trial waits for events.
        let trial = self.trial.as_ref().map(|trial| trial.until().0).filter(|until| *until > now);
        [standing, candidate, trial].into_iter().flatten().min()
    }

    /// Returns the version that gets events.
    pub(super) fn serving(&self) -> Option<&V> {
        self.current.as_ref().filter(|_| self.standing == Standing::Up)
    }

    /// Returns how many events may be at work side by side, where `most` may by the bot's limits.
    pub(super) fn room(&self, most: usize) -> usize {
        if self.standing == Standing::Up { self.breaker.room(most) } else { 0 }
    }

    /// Returns whether an event that fails again and again may be given up: not while the version before may come back, which is
    /// to have its chance. A trial that goes on for want of events is no reason: this one may be what holds them up.
    pub(super) fn may_give_up(&self, now: Instant) -> bool {
        self.trial.as_ref().is_none_or(|trial| trial.until().0 <= now)
    }

    /// Returns the version that serves, or did last.
    pub(super) fn current(&self) -> Option<&V> {
        self.current.as_ref().filter(|_| self.has_served)
    }

    /// Returns the version that serves or is about to.
    pub(super) fn newest(&self) -> Option<&V> {
        self.current.as_ref()
    }

    /// Returns every version that may serve again without being offered.
    pub(super) fn kept(&self) -> impl Iterator<Item = &V> {
        let fallbacks = self.trial.iter().flat_map(Trial::fallbacks);
        self.current.iter().chain(fallbacks).chain(self.candidate.iter().map(|candidate| &candidate.version))
    }

    /// Returns whether a version is being started for the first time.
    pub(super) fn is_starting(&self) -> bool {
        matches!(self.standing, Standing::Starting { .. })
            || self.candidate.as_ref().is_some_and(|candidate| candidate.due.is_none())
    }

    /// Returns why a newer version does not serve.
    pub(super) fn refused(&self) -> Option<&str> {
        self.refused.as_ref().map(|(_, reason)| reason.as_str())
    }

    pub(super) fn restarted(&self) -> u64 {
        self.restarted
    }

    /// Returns where the bot is in its life.
    pub(super) fn phase(&self) -> Phase {
        match &self.standing {
            Standing::Absent => Phase::Discovered,
            Standing::Rejected { reason } => Phase::Rejected { reason: reason.clone() },
            Standing::Starting { probes: false, .. } => Phase::Starting,
            Standing::Starting { probes: true, .. } => {
                Phase::Degraded { error: self.error.clone(), until: Timestamp::default() }
            }
            Standing::Up if self.breaker.is_half_open() => {
                Phase::Degraded { error: self.error.clone(), until: Timestamp::default() }
            }
            Standing::Up => match &self.trial {
                Some(trial) => Phase::Probation { until: trial.until().1 },
                None => Phase::Running,
            },
            Standing::Open { due, error } => Phase::Degraded { error: error.clone(), until: due.wall },
            Standing::Backoff { due, error, .. } => Phase::Backoff { error: error.clone(), until: due.wall },
            Standing::Quarantined { reason } => Phase::Quarantined { reason: reason.clone() },
            Standing::Stopped { reason } => Phase::Stopped { reason: Some(reason.clone()) },
            Standing::Disabled => Phase::Disabled,
        }
    }
}

impl Now {
    fn after(self, wait: std::time::Duration) -> Due {
        Due { at: self.instant + wait, wall: self.wall.saturating_add(wait) }
    }
}

#[cfg(test)]
mod tests;
