//! How a bot's life moves from one standing to the next. What moves it is in the parent.

use std::time::Duration;

use super::{Act, Candidate, INIT_FAILED, Life, Now, Standing, Version};
use crate::bot::restart::{Ending, Restarts, Verdict};
use crate::bot::trial::Trial;
use crate::sandbox::StartReason;
use crate::store::IncidentKind;

impl<V: Version> Life<V> {
    /// Has a version take the place of the current one, which does not serve.
    pub(super) fn replace(&mut self, version: V) {
        let standing = std::mem::replace(&mut self.standing, Standing::Absent);
        self.forget_version();
        self.standing = standing;
        self.current = Some(version);
    }

    pub(super) fn forget_version(&mut self) {
        self.candidate = None;
        (self.current, self.has_served, self.trial, self.refused) = (None, false, None, None);
        self.restarts.reset();
        self.breaker.reset();
    }

    pub(super) fn start_candidate(&mut self, version: V, reason: StartReason) {
        let restarts = Restarts::new(self.supervision.clone());
        self.acts.push_back(Act::Init { version: version.clone(), reason });
        self.candidate = Some(Candidate { version, reason, restarts, due: None });
    }

    /// Runs the current version's `init`; until that has ended it gets no events.
    pub(super) fn start(&mut self, reason: StartReason, probes: bool) {
        let Some(version) = self.current.clone() else { return };
        self.standing = Standing::Starting { reason, probes };
        self.acts.push_back(Act::Init { version, reason });
    }

    pub(super) fn start_again(&mut self, probes: bool) {
        self.restarted += 1;
        let reason = StartReason::Restarted;
        self.start(reason, probes);
    }

    pub(super) fn came_up(&mut self, reason: StartReason, probes: bool, now: Now) {
        self.standing = Standing::Up;
        self.restarts.up(now.instant);
        if probes {
            self.breaker.half_open();
        }
        self.has_served = true;
        let what = match reason {
            StartReason::Started => IncidentKind::Started,
            StartReason::Reloaded => IncidentKind::Reloaded,
            StartReason::Restarted => IncidentKind::Restarted,
        };
        let message = if probes { "it is tried with few events" } else { "it serves" };
        self.note(what, self.current.clone(), message.to_owned(), "none");
    }

    /// From here on the next event is the candidate's.
    pub(super) fn flip(&mut self, now: Now) {
        let Some(Candidate { version, reason, .. }) = self.candidate.take() else { return };
        let before = self.trial.take();
        let baseline = self.breaker.counts(now.instant).fault_ratio();
        // A bot that was not up has failed at all it was given.
        let baseline = if self.standing == Standing::Up && !self.breaker.is_half_open() { baseline } else { 1.0 };
        let previous = self.current.replace(version);
        self.trial = match previous {
            // The same version anew: what it was before is no better.
            _ if reason == StartReason::Restarted => before,
            Some(previous) if !self.rollout.probation.is_zero() => {
                Some(Trial::new(self.rollout.clone(), previous, baseline, before, (now.instant, now.wall)))
            }
            _ => None,
        };
        let number = self.current.as_ref().map(V::number);
        self.refused.take_if(|(refused, _)| Some(*refused) <= number);
        self.restarts.reset();
        self.breaker.reset();
        self.came_up(reason, false, now);
    }

    pub(super) fn candidate_failed(&mut self, error: String, now: Now) {
        let Some(candidate) = &mut self.candidate else { return };
        let (version, is_anew) = (candidate.version.clone(), candidate.reason == StartReason::Restarted);
        let verdict = candidate.restarts.ended(Ending::Failed, now.instant, now.random);
        let what_serves = if is_anew { "it goes on as it was" } else { "the version before serves" };
        self.refused = Some((version.number(), format!("its `init` failed, {what_serves}: {error}")));
        match verdict {
            Verdict::Restart { after } => {
                candidate.due = Some(now.instant + after);
                let strategy = format!("tried again in {}", shown(after));
                self.note(INIT_FAILED, Some(version), error, &strategy);
            }
            Verdict::Leave | Verdict::Quarantine { .. } => {
                self.candidate = None;
                let reason = format!("its `init` kept failing, {what_serves}: {error}");
                self.refused = Some((version.number(), reason.clone()));
                self.note(INIT_FAILED, Some(version.clone()), error, &format!("given up: {what_serves}"));
                // What serves is not to be held against itself.
                if !is_anew {
                    self.acts.push_back(Act::Condemn { version, reason });
                }
            }
        }
    }

    pub(super) fn quit(&mut self, now: Now) {
        self.went_down(Ending::Quit, "it called `exit`".to_owned(), false, now);
    }

    /// The current version is not up any more.
    pub(super) fn went_down(&mut self, ending: Ending, error: String, probes: bool, now: Now) {
        let kind = match ending {
            Ending::Failed => INIT_FAILED,
            Ending::Quit => IncidentKind::Stopped,
        };
        self.forget_restart();
        match self.restarts.ended(ending, now.instant, now.random) {
            Verdict::Restart { after } => {
                self.note(kind, self.current.clone(), error.clone(), &format!("restart in {}", shown(after)));
                self.standing = Standing::Backoff { due: now.after(after), error, probes };
            }
            Verdict::Leave => {
                self.candidate = None;
                self.note(kind, self.current.clone(), error.clone(), "left: it meant to end");
                self.standing = Standing::Stopped { reason: format!("{error}; `host start` brings it up again") };
            }
            Verdict::Quarantine { reason } => self.give_up(&reason, &error),
        }
    }

    pub(super) fn breaker_opened(&mut self, now: Now) {
        if self.trial.as_ref().is_some_and(Trial::has_better) {
            return self.roll_back("too many of its events failed", now);
        }
        self.forget_restart();
        let error = self.error.clone();
        match self.restarts.ended(Ending::Failed, now.instant, now.random) {
            Verdict::Quarantine { reason } => self.give_up(&reason, &error),
            Verdict::Restart { .. } | Verdict::Leave => {
                let stretch = 1.0 + self.supervision.jitter * (2.0 * now.random - 1.0);
                let wait = self.supervision.breaker.open_for.mul_f64(stretch);
                let strategy = format!("no events for {}, then a try", shown(wait));
                self.note(IncidentKind::BreakerOpen, self.current.clone(), error.clone(), &strategy);
                self.standing = Standing::Open { due: now.after(wait), error };
            }
        }
    }

    pub(super) fn give_up(&mut self, why: &str, error: &str) {
        let reason = format!("{why}; the last time: {error}; `host reset` or a new version brings it back");
        self.note(IncidentKind::Quarantined, self.current.clone(), reason.clone(), "quarantined: its events wait");
        self.standing = Standing::Quarantined { reason };
    }

    /// Ends the trial of a version that is no worse than the one before.
    pub(super) fn proved(&mut self, now: Now) {
        let Some(trial) = self.trial.take() else { return };
        let message = format!("it was watched for {} s", trial.age(now.instant).as_secs());
        self.note(IncidentKind::Proved, self.current.clone(), message, "none");
    }

    /// Goes back to the version before. It gets no events until its `init` has ended: the worse one may have undone what
    /// that had set up.
    pub(super) fn roll_back(&mut self, why: &str, now: Now) {
        self.forget_restart();
        let (Some(trial), Some(worse)) = (self.trial.take(), self.current.take()) else { return };
        let (version, rest) = trial.back((now.instant, now.wall));
        (self.current, self.trial) = (Some(version), rest);
        let reason = format!("it was rolled back: {why}; the last: {}", self.error);
        self.note(IncidentKind::RolledBack, Some(worse.clone()), reason.clone(), "the version before comes back");
        self.refused = Some((worse.number(), reason.clone()));
        self.acts.push_back(Act::Condemn { version: worse, reason });
        self.restarts.reset();
        self.breaker.reset();
        self.start(StartReason::Reloaded, false);
    }

    /// Forgets that the current version was about to begin anew by the operator's word: it is not up any more.
    fn forget_restart(&mut self) {
        let number = self.current.as_ref().map(V::number);
        self.candidate.take_if(|candidate| Some(candidate.version.number()) == number);
    }

    pub(super) fn note(&mut self, what: IncidentKind, version: Option<V>, message: String, strategy: &str) {
        self.acts.push_back(Act::Note { what, version, message, strategy: strategy.to_owned() });
    }
}

fn shown(wait: Duration) -> String {
    format!("{:.1} s", wait.as_secs_f64())
}
