//! Says what happens to one bot: in the log, in the records of the store, by alerts of the host. Bounds how much: a bot that fails
//! without end fills no log, and its faults do not hide what was done about them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::phase::{BotStatus, Phase};
use crate::action::Severity;
use crate::alert::{Alerts, Signs};
use crate::clock::Timestamp;
use crate::errors::{Errors, Occurrence};
use crate::id::{BotName, ContentHash};
use crate::rate::Rate;
use crate::store::{Incident, IncidentKind, Store};

/// Lines and records about one bot's faults in a minute, and as many about all else; twice as many in its first.
const PER_MINUTE: u64 = 30;

/// Who says what happens to one bot.
#[derive(Debug)]
pub(super) struct Reporter {
    bot: BotName,
    store: Store,
    alerts: Arc<Alerts>,
    errors: Arc<Errors>,
    of_faults: Mutex<Allowance>,
    of_life: Mutex<Allowance>,
}

#[derive(Debug)]
struct Allowance {
    rate: Rate,
    /// Not said since the last that was.
    muted: u64,
}

impl Allowance {
    fn new() -> Self {
        Self { rate: Rate::new(PER_MINUTE, Duration::from_secs(60)), muted: 0 }
    }

    /// Takes room for one; returns how many were not said before it. None: there is no room, and one more is not said.
    fn take(&mut self, now: Instant) -> Option<u64> {
        if self.rate.take(1, now).is_err() {
            self.muted += 1;
            return None;
        }
        Some(std::mem::take(&mut self.muted))
    }
}

/// What is said.
#[derive(Debug)]
pub(super) struct Report<'a> {
    /// How bad it is.
    pub(super) severity: Severity,
    /// What it is, as records have it.
    pub(super) kind: IncidentKind,
    /// One sentence for the log.
    pub(super) text: &'a str,
    /// About which event, and which attempt at it.
    pub(super) event: Option<(crate::id::EventId, u32)>,
    /// About which version.
    pub(super) component: Option<ContentHash>,
    pub(super) message: &'a str,
    pub(super) backtrace: &'a str,
    /// What was done about it.
    pub(super) strategy: &'a str,
}

impl Reporter {
    pub(super) fn new(bot: BotName, store: Store, alerts: Arc<Alerts>, errors: Arc<Errors>) -> Self {
        let [of_faults, of_life] = std::array::from_fn(|_| Mutex::new(Allowance::new()));
        Self { bot, store, alerts, errors, of_faults, of_life }
    }

    /// Says it, if there is room for it; else counts it. Among the errors it is in any case.
    pub(super) fn say(&self, report: &Report<'_>) {
        self.record(report);
        let allowance = if report.kind.is_fault() { &self.of_faults } else { &self.of_life };
        let taken = allowance.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
        let Some(muted) = taken else { return };
        let Report { severity, kind, text, event, component, message, backtrace, strategy } = report;
        let (bot, kind, muted) = (&self.bot, kind.as_str(), (muted > 0).then_some(muted));
        let (id, attempt) = (event.map(|(id, _)| id.to_string()), event.map(|(_, attempt)| attempt));
        // Not `message`: that is the name of the line's own text.
        let detail = message;
        match severity {
            Severity::Info => tracing::info!(%bot, kind, detail, strategy, muted, "{text}"),
            Severity::Warning => {
                tracing::warn!(%bot, kind, event = id, attempt, detail, backtrace, strategy, muted, "{text}");
            }
            Severity::Critical => {
                tracing::error!(%bot, kind, event = id, attempt, detail, backtrace, strategy, muted, "{text}");
            }
        }
        self.store.note(Incident {
            at: Timestamp::now(),
            bot: self.bot.clone(),
            kind: report.kind.clone(),
            event: event.map(|(id, _)| id),
            attempt: attempt.unwrap_or(0),
            component: *component,
            message: (*message).to_owned(),
            backtrace: (*backtrace).to_owned(),
            strategy: (*strategy).to_owned(),
        });
    }

    fn record(&self, report: &Report<'_>) {
        if report.severity == Severity::Info {
            return;
        }
        let context = [
            ("event", report.event.map(|(id, _)| id.to_string())),
            ("attempt", report.event.map(|(_, attempt)| attempt.to_string())),
            ("component", report.component.map(|hash| hash.to_string())),
            ("strategy", Some(report.strategy.to_owned())),
        ];
        let context = context.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let occurrence = Occurrence {
            severity: report.severity,
            component: "bot",
            kind: report.kind.as_str(),
            message: report.message,
            bot: Some(self.bot.as_str()),
            connector: None,
            context: &context.collect::<Vec<_>>(),
        };
        self.errors.record(&occurrence, Timestamp::now());
    }

    /// Raises the alerts that the bot's status is a reason for, and resolves those it no longer is. `up` is what is up.
    pub(super) fn alert(&self, status: &BotStatus, up: &mut Signs) {
        for (sign, severity, reason) in signs(status) {
            up.tell(&self.alerts, &format!("{sign}:{}", self.bot), severity, reason, Timestamp::now());
        }
    }

    /// Resolves what is up, for a bot that is gone.
    pub(super) fn fall_silent(&self, up: &mut Signs) {
        up.retain(&self.alerts, Timestamp::now(), |_| false);
    }
}

/// Returns every alert that a bot's status may be a reason for, and why it is one.
fn signs(status: &BotStatus) -> [(&'static str, Severity, Option<String>); 4] {
    let bot = &status.name;
    let (mut quarantined, mut degraded, mut failing) = (None, None, None);
    match &status.phase {
        Phase::Quarantined { reason } => quarantined = Some(format!("bot {bot} is quarantined: {reason}")),
        Phase::Degraded { error, .. } => {
            degraded = Some(format!("bot {bot} fails and gets few events or none, until it recovers: {error}"));
        }
        Phase::Backoff { error, .. } => failing = Some(format!("bot {bot} does not start: {error}")),
        _ => {}
    }
    let refused = status.refused.as_ref().map(|why| format!("a newer version of bot {bot} does not serve: {why}"));
    let rejected = match &status.phase {
        Phase::Rejected { reason } => Some(format!("bot {bot} cannot start: {reason}")),
        _ => None,
    };
    [
        ("bot-quarantined", Severity::Critical, quarantined),
        ("bot-degraded", Severity::Warning, degraded),
        ("bot-failing", Severity::Warning, failing),
        ("version-refused", Severity::Warning, refused.or(rejected)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up(phase: Phase, refused: Option<&str>) -> Vec<&'static str> {
        let name = "b".parse().unwrap();
        let status = BotStatus { phase, refused: refused.map(str::to_owned), ..BotStatus::new(name) };
        signs(&status).into_iter().filter(|(.., summary)| summary.is_some()).map(|(sign, ..)| sign).collect()
    }

    #[test]
    fn each_ill_of_a_bot_has_its_alert_and_a_bot_that_is_well_has_none() {
        let (error, until) = (|| "x".to_owned(), Timestamp::default());
        assert_eq!(up(Phase::Running, None), [""; 0]);
        assert_eq!(up(Phase::Running, Some("no")), ["version-refused"]);
        assert_eq!(up(Phase::Rejected { reason: error() }, None), ["version-refused"]);
        assert_eq!(up(Phase::Quarantined { reason: error() }, None), ["bot-quarantined"]);
        assert_eq!(up(Phase::Degraded { error: error(), until }, Some("no")), ["bot-degraded", "version-refused"]);
        assert_eq!(up(Phase::Backoff { error: error(), until }, None), ["bot-failing"]);
        assert_eq!(up(Phase::Disabled, None), [""; 0]);
    }
}
