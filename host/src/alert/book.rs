//! What is up, by source and key, and how many there may be. No lock and no clock of its own.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::{
    ALERTS_MAX, Alert, AlertId, BOT_ALERTS_MAX, HOST_ALERTS_MAX, KEY_BYTES_MAX, Source, Standing, WHOLE_HOST_ALERTS,
};
use crate::action::Severity;
use crate::rate::Rate;

/// Log lines about one source's alerts, in a minute.
pub(super) const LINES_PER_MINUTE: u64 = 10;

/// Why an alert was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejection {
    /// The key is empty or too long.
    Key,
    /// The source has all the alerts it may have.
    SourceFull,
    /// The bots together have all the alerts they may have.
    AllFull,
}

impl Rejection {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::SourceFull => "source-full",
            Self::AllFull => "all-full",
        }
    }
}

/// What a change came to.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// The alert came up and fires.
    Raised(Box<Alert>),
    /// It is now better or worse than it was.
    Changed(Box<Alert>),
    /// Nothing that anybody has to hear of.
    Refreshed,
    /// It is gone.
    Resolved {
        alert: Box<Alert>,
        by: Option<String>,
    },
    /// There was none to resolve, or it was pending.
    Absent,
    Rejected(Rejection),
}

impl Outcome {
    pub(super) fn is_news(&self) -> bool {
        !matches!(self, Self::Refreshed | Self::Absent)
    }
}

/// The alerts of one source.
#[derive(Debug)]
struct OfSource {
    alerts: BTreeMap<String, Alert>,
    lines: Rate,
    /// Lines that were not written since the last that was.
    muted: u64,
}

impl OfSource {
    fn new() -> Self {
        Self { alerts: BTreeMap::new(), lines: Rate::new(LINES_PER_MINUTE, Duration::from_secs(60)), muted: 0 }
    }

    /// Makes room where something is pending: it may become a reason to look, and another one is. Only rules have such, and only
    /// the host's alerts are rules', so that no count of bots' alerts changes.
    fn drop_pending(&mut self) -> bool {
        let pending = self.alerts.iter().find(|(_, alert)| !alert.is_firing()).map(|(key, _)| key.clone());
        pending.is_some_and(|key| self.alerts.remove(&key).is_some())
    }
}

/// All alerts that are up.
#[derive(Debug, Default)]
pub(super) struct Book {
    sources: HashMap<Source, OfSource>,
    of_bots: usize,
    firing: [usize; 3],
    /// What an earlier process had up, by source and key, until it is raised again or ended.
    remembered: HashMap<(Source, String), Alert>,
}

impl Book {
    pub(super) fn raise(&mut self, alert: Alert) -> Outcome {
        if alert.key.is_empty() || alert.key.len() > KEY_BYTES_MAX {
            return Outcome::Rejected(Rejection::Key);
        }
        let name = (alert.source.clone(), alert.key.clone());
        if self.remembered.contains_key(&name) {
            if !alert.is_firing() {
                return Outcome::Refreshed;
            }
            if let Some(known) = self.remembered.remove(&name) {
                self.insert(known);
            }
        }
        let is_bot = alert.source != Source::Host;
        let of_source = self.sources.entry(alert.source.clone()).or_insert_with(OfSource::new);
        if let Some(known) = of_source.alerts.get_mut(&alert.key) {
            let before = known.clone();
            let standing = match (&before.standing, &alert.standing) {
                (Standing::Pending, given) => given.clone(),
                (Standing::Acknowledged { .. }, _) if alert.severity > before.severity => Standing::Firing,
                (kept, _) => kept.clone(),
            };
            // Who was pending comes up now.
            let raised_at =
                if before.is_firing() || standing == Standing::Pending { before.raised_at } else { alert.raised_at };
            *known = Alert { raised_at, standing, times: before.times.saturating_add(1), ..alert };
            let known = Box::new(known.clone());
            self.count(&before, false);
            self.count(&known, true);
            return match (before.is_firing(), known.is_firing()) {
                (false, true) => Outcome::Raised(known),
                (true, true) if before.severity != known.severity => Outcome::Changed(known),
                _ => Outcome::Refreshed,
            };
        }
        let room = match (is_bot, alert.key.contains(':')) {
            (true, _) => BOT_ALERTS_MAX,
            (false, true) => HOST_ALERTS_MAX - WHOLE_HOST_ALERTS,
            (false, false) => HOST_ALERTS_MAX,
        };
        if of_source.alerts.len() >= room && !(alert.is_firing() && of_source.drop_pending()) {
            return Outcome::Rejected(Rejection::SourceFull);
        }
        if is_bot && self.of_bots >= ALERTS_MAX {
            return Outcome::Rejected(Rejection::AllFull);
        }
        self.insert(alert.clone());
        if alert.is_firing() { Outcome::Raised(Box::new(alert)) } else { Outcome::Refreshed }
    }

    pub(super) fn resolve(&mut self, source: &Source, key: &str, by: Option<String>) -> Outcome {
        let Some(alert) = self.sources.get_mut(source).and_then(|of_source| of_source.alerts.remove(key)) else {
            let remembered = self.remembered.remove(&(source.clone(), key.to_owned()));
            return remembered.map_or(Outcome::Absent, |alert| Outcome::Resolved { alert: Box::new(alert), by });
        };
        self.of_bots -= usize::from(*source != Source::Host);
        self.count(&alert, false);
        if alert.is_firing() { Outcome::Resolved { alert: Box::new(alert), by } } else { Outcome::Absent }
    }

    /// Remembers what may be raised again; as much of it as may be up.
    pub(super) fn remember(&mut self, alerts: impl Iterator<Item = Alert>) {
        let remembered = alerts.take(ALERTS_MAX + HOST_ALERTS_MAX);
        self.remembered.extend(remembered.map(|alert| ((alert.source.clone(), alert.key.clone()), alert)));
    }

    pub(super) fn remembered(&self) -> impl Iterator<Item = &Alert> {
        self.remembered.values()
    }

    /// Forgets a source of which nothing is up, and what it may still say.
    pub(super) fn forget(&mut self, source: &Source) {
        if self.sources.get(source).is_some_and(|of_source| of_source.alerts.is_empty()) {
            self.sources.remove(source);
        }
    }

    pub(super) fn find_mut(&mut self, id: AlertId) -> Option<&mut Alert> {
        self.sources.values_mut().flat_map(|of_source| of_source.alerts.values_mut()).find(|alert| alert.id == id)
    }

    pub(super) fn keys_of(&self, source: &Source) -> Vec<String> {
        let up = self.sources.get(source).into_iter().flat_map(|of_source| of_source.alerts.keys());
        let remembered = self.remembered.keys().filter(|(of, _)| of == source).map(|(_, key)| key);
        up.chain(remembered).cloned().collect()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Alert> {
        self.sources.values().flat_map(|of_source| of_source.alerts.values())
    }

    /// Returns how many fire, acknowledged or not.
    pub(super) fn firing(&self, severity: Severity) -> usize {
        self.firing[severity as usize]
    }

    /// Takes one line of the source's budget; returns how many were not written before it.
    pub(super) fn take_line(&mut self, source: &Source, now: Instant) -> Option<u64> {
        let of_source = self.sources.entry(source.clone()).or_insert_with(OfSource::new);
        if of_source.lines.take(1, now).is_err() {
            of_source.muted += 1;
            return None;
        }
        Some(std::mem::take(&mut of_source.muted))
    }

    fn insert(&mut self, alert: Alert) {
        self.of_bots += usize::from(alert.source != Source::Host);
        self.count(&alert, true);
        let of_source = self.sources.entry(alert.source.clone()).or_insert_with(OfSource::new);
        of_source.alerts.insert(alert.key.clone(), alert);
    }

    fn count(&mut self, alert: &Alert, is_more: bool) {
        if alert.is_firing() {
            let firing = &mut self.firing[alert.severity as usize];
            *firing = if is_more { *firing + 1 } else { *firing - 1 };
        }
    }
}
