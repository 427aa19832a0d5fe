//! What the operator's words do to a bot's life: those of the configuration, and those that are said while it runs.

use super::{Life, Now, Standing, Version};
use crate::sandbox::StartReason;
use crate::store::IncidentKind;
use crate::supervision::{RolloutPolicy, Supervision};

impl<V: Version> Life<V> {
    /// Goes by other policies from now on.
    pub(in crate::bot) fn set_policy(&mut self, supervision: Supervision, rollout: RolloutPolicy) {
        self.breaker.set_policy(supervision.breaker.clone());
        self.restarts.set_policy(supervision.clone());
        if let Some(candidate) = &mut self.candidate {
            candidate.restarts.set_policy(supervision.clone());
        }
        if let Some(trial) = &mut self.trial {
            trial.set_policy(rollout.clone());
        }
        (self.supervision, self.rollout) = (supervision, rollout);
    }

    /// Says that what was refused is there no more.
    pub(in crate::bot) fn accept(&mut self) {
        self.refused = None;
    }

    /// Takes its version away, by its entry's word.
    pub(in crate::bot) fn disable(&mut self) {
        self.forget_version();
        self.standing = Standing::Disabled;
    }

    /// Takes it down by the operator's word.
    pub(in crate::bot) fn stop(&mut self) {
        if !matches!(self.standing, Standing::Absent | Standing::Rejected { .. } | Standing::Disabled) {
            self.candidate = None;
            self.trial = None;
            self.standing = Standing::Stopped { reason: "stopped by the operator".to_owned() };
            self.note(IncidentKind::Stopped, self.current.clone(), "by the operator".to_owned(), "none");
        }
    }

    /// Brings it up again after a stop, by the operator's word.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(in crate::bot) fn bring_up(&mut self) -> Result<(), String> {
        match &self.standing {
            Standing::Stopped { .. } => {
                self.restarts.reset();
                self.breaker.reset();
                self.start(StartReason::Started, false);
                Ok(())
            }
            Standing::Disabled => Err("its entry says `enabled = false`: `host enable` it".to_owned()),
            Standing::Absent => Err("it has no version yet".to_owned()),
            Standing::Rejected { reason } => Err(format!("it has no version that could serve: {reason}")),
            Standing::Quarantined { .. } => Err("it is quarantined: `host reset` it".to_owned()),
            Standing::Starting { .. } | Standing::Up | Standing::Open { .. } | Standing::Backoff { .. } => Ok(()),
        }
    }

    /// Begins anew with `version`, which is the current one with nothing left from before; by the operator's word.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(in crate::bot) fn restart(&mut self, version: V) -> Result<(), String> {
        match &self.standing {
            Standing::Up if self.candidate.is_none() => {
                self.start_candidate(version, StartReason::Restarted);
                Ok(())
            }
            Standing::Up => Err("a new version of it is being started".to_owned()),
            Standing::Open { .. } | Standing::Backoff { .. } => {
                self.current = Some(version);
                self.start_again(matches!(self.standing, Standing::Open { .. }));
                Ok(())
            }
            _ => self.bring_up(),
        }
    }

    /// Forgets what it is held against, by the operator's word; a bot that was given up begins anew.
    pub(in crate::bot) fn reset(&mut self, now: Now) {
        self.note(IncidentKind::Reset, self.current.clone(), "by the operator".to_owned(), "none");
        self.restarts.reset();
        self.breaker.reset();
        self.refused = None;
        match self.standing {
            Standing::Quarantined { .. } | Standing::Open { .. } | Standing::Backoff { .. } => self.start_again(false),
            Standing::Up => self.restarts.up(now.instant),
            _ => {}
        }
    }
}
