//! The alerts that are up, of the host and of its bots, in memory. Says in the log when one comes or goes, not each
//! time it is repeated. Who is told, and what was up before, is no business of this file.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use crate::action::{AlertChange, Severity};
use crate::clock::Timestamp;
use crate::id::BotName;
use crate::metrics::Metrics;
use crate::rate::Rate;

/// Alerts that one bot may have up.
pub const BOT_ALERTS_MAX: usize = 100;
/// Alerts that all bots together may have up.
pub const ALERTS_MAX: usize = 10_000;
/// Alerts that the host itself may have up; bots cannot take their place.
pub const HOST_ALERTS_MAX: usize = 1_000;
/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 128;
/// A summary, or a detail's value, is cut to this many bytes. With the other caps: at most 60 MiB in all.
pub const TEXT_BYTES_MAX: usize = 512;
/// Further details are left out.
pub const DETAILS_MAX: usize = 8;

/// Log lines about one bot's alerts, in a minute.
const LINES_PER_MINUTE: u64 = 10;

/// Whose an alert is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The host itself.
    Host,
    /// A bot.
    Bot(BotName),
}

/// An alert that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Whose it is.
    pub source: Source,
    /// What tells it apart from its source's others.
    pub key: String,
    /// How bad it is.
    pub severity: Severity,
    /// One line for people.
    pub summary: String,
    /// More for people.
    pub details: Vec<(String, String)>,
    /// When it came up.
    pub raised_at: Timestamp,
    /// When it was last raised.
    pub refreshed_at: Timestamp,
    /// How often it was raised since it came up.
    pub times: u64,
}

/// Why an alert was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rejection {
    /// The key is empty or too long.
    Key,
    /// The source has all the alerts it may have.
    SourceFull,
    /// The bots together have all the alerts they may have.
    AllFull,
}

impl Rejection {
    fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::SourceFull => "source-full",
            Self::AllFull => "all-full",
        }
    }
}

/// What a change came to.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// The alert came up, or is now better or worse than it was.
    Raised,
    /// It was up already, and just as bad.
    Refreshed,
    /// It is gone.
    Resolved(Box<Alert>),
    /// There was none to resolve.
    Absent,
    Rejected(Rejection),
}

/// The alerts of one source.
#[derive(Debug)]
struct OfSource {
    alerts: BTreeMap<String, Alert>,
    lines: Rate,
    /// Lines that were not written since the last that was.
    muted: u64,
}

#[derive(Debug, Default)]
struct State {
    sources: HashMap<Source, OfSource>,
    of_bots: usize,
    by_severity: [usize; 3],
}

/// Returns a change with its texts cut as they are when it is applied.
pub fn trimmed(change: AlertChange) -> AlertChange {
    match change {
        AlertChange::Raise { key, severity, summary, details } => {
            AlertChange::Raise { key, severity, summary: cut(summary, TEXT_BYTES_MAX), details: cut_details(details) }
        }
        AlertChange::Resolve { .. } => change,
    }
}

/// All alerts of one host.
#[derive(Debug)]
pub struct Alerts {
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

impl Alerts {
    /// Returns alerts of which none is up.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let alerts = Self { metrics, state: Mutex::default() };
        alerts.publish(&alerts.lock());
        alerts
    }

    /// Makes a bot's change. One that is not taken, for its key or for want of room, is counted and logged.
    pub fn apply(&self, bot: &BotName, change: AlertChange, now: Timestamp) {
        self.change(Source::Bot(bot.clone()), change, now);
    }

    /// Raises an alert of the host's own, or refreshes it where it is up.
    pub fn raise_host(
        &self,
        key: &str,
        severity: Severity,
        summary: impl Into<String>,
        details: Vec<(String, String)>,
        now: Timestamp,
    ) {
        let change = AlertChange::Raise { key: key.to_owned(), severity, summary: summary.into(), details };
        self.change(Source::Host, change, now);
    }

    /// Resolves an alert of the host's own. Resolving what is not up is no error.
    pub fn resolve_host(&self, key: &str, now: Timestamp) {
        self.change(Source::Host, AlertChange::Resolve { key: key.to_owned() }, now);
    }

    /// Drops a bot's alerts without a word, for a bot that is gone.
    pub fn forget_bot(&self, bot: &BotName) {
        let mut state = self.lock();
        let Some(source) = state.sources.remove(&Source::Bot(bot.clone())) else { return };
        for alert in source.alerts.values() {
            state.of_bots -= 1;
            state.by_severity[alert.severity as usize] -= 1;
        }
        self.publish(&state);
    }

    /// Returns what is up: the worst first, of equals the oldest first.
    pub fn active(&self) -> Vec<Alert> {
        let state = self.lock();
        let mut alerts: Vec<_> = state.sources.values().flat_map(|source| source.alerts.values()).cloned().collect();
        alerts.sort_by(|a, b| {
            (b.severity, a.raised_at, &a.source, &a.key).cmp(&(a.severity, b.raised_at, &b.source, &b.key))
        });
        alerts
    }

    fn change(&self, source: Source, change: AlertChange, now: Timestamp) {
        let mut state = self.lock();
        let line = Line::of(&change);
        let outcome = state.change(&source, change, now);
        if let Outcome::Rejected(rejection) = &outcome {
            self.metrics.alert_rejected(rejection.as_str());
        }
        self.publish(&state);
        let is_news = !matches!(outcome, Outcome::Refreshed | Outcome::Absent);
        let muted = if is_news { state.take_line(&source, Instant::now()) } else { None };
        drop(state);
        if let Some(muted) = muted {
            line.write(&source, &outcome, muted);
        }
    }

    fn publish(&self, state: &State) {
        for severity in [Severity::Info, Severity::Warning, Severity::Critical] {
            self.metrics.alerts_active(severity, state.by_severity[severity as usize]);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn change(&mut self, source: &Source, change: AlertChange, now: Timestamp) -> Outcome {
        match trimmed(change) {
            AlertChange::Raise { key, severity, summary, details } => {
                let alert = Alert {
                    source: source.clone(),
                    key,
                    severity,
                    summary,
                    details,
                    raised_at: now,
                    refreshed_at: now,
                    times: 1,
                };
                self.raise(alert)
            }
            AlertChange::Resolve { key } => self.resolve(source, &key),
        }
    }

    fn raise(&mut self, alert: Alert) -> Outcome {
        if alert.key.is_empty() || alert.key.len() > KEY_BYTES_MAX {
            return Outcome::Rejected(Rejection::Key);
        }
        let is_bot = alert.source != Source::Host;
        let of_source = self.sources.entry(alert.source.clone()).or_insert_with(OfSource::new);
        if let Some(known) = of_source.alerts.get_mut(&alert.key) {
            let before = known.severity;
            *known = Alert { raised_at: known.raised_at, times: known.times.saturating_add(1), ..alert };
            self.by_severity[before as usize] -= 1;
            self.by_severity[known.severity as usize] += 1;
            return if before == known.severity { Outcome::Refreshed } else { Outcome::Raised };
        }
        if of_source.alerts.len() >= if is_bot { BOT_ALERTS_MAX } else { HOST_ALERTS_MAX } {
            return Outcome::Rejected(Rejection::SourceFull);
        }
        if is_bot && self.of_bots >= ALERTS_MAX {
            return Outcome::Rejected(Rejection::AllFull);
        }
        self.of_bots += usize::from(is_bot);
        self.by_severity[alert.severity as usize] += 1;
        of_source.alerts.insert(alert.key.clone(), alert);
        Outcome::Raised
    }

    fn resolve(&mut self, source: &Source, key: &str) -> Outcome {
        let Some(alert) = self.sources.get_mut(source).and_then(|of_source| of_source.alerts.remove(key)) else {
            return Outcome::Absent;
        };
        self.of_bots -= usize::from(*source != Source::Host);
        self.by_severity[alert.severity as usize] -= 1;
        Outcome::Resolved(Box::new(alert))
    }

    /// Takes one line of the source's budget; returns how many were not written before it.
    fn take_line(&mut self, source: &Source, now: Instant) -> Option<u64> {
        let of_source = self.sources.entry(source.clone()).or_insert_with(OfSource::new);
        if of_source.lines.take(1, now).is_err() {
            of_source.muted += 1;
            return None;
        }
        Some(std::mem::take(&mut of_source.muted))
    }
}

impl OfSource {
    fn new() -> Self {
        Self { alerts: BTreeMap::new(), lines: Rate::new(LINES_PER_MINUTE, Duration::from_secs(60)), muted: 0 }
    }
}

/// What the log says of a change.
struct Line {
    key: String,
    severity: Option<Severity>,
    summary: String,
}

impl Line {
    fn of(change: &AlertChange) -> Self {
        match change {
            AlertChange::Raise { key, severity, summary, .. } => {
                let summary = cut(summary.clone(), TEXT_BYTES_MAX);
                Self { key: cut(key.clone(), KEY_BYTES_MAX), severity: Some(*severity), summary }
            }
            AlertChange::Resolve { key } => {
                Self { key: cut(key.clone(), KEY_BYTES_MAX), severity: None, summary: String::new() }
            }
        }
    }

    fn write(&self, source: &Source, outcome: &Outcome, muted: u64) {
        let bot = match source {
            Source::Host => None,
            Source::Bot(bot) => Some(tracing::field::display(bot)),
        };
        let (key, summary) = (&self.key, &self.summary);
        match (outcome, self.severity) {
            (Outcome::Rejected(rejection), _) => {
                warn!(bot, key, reason = rejection.as_str(), muted, "alert not taken");
            }
            (Outcome::Resolved(alert), _) => info!(bot, key, summary = alert.summary, muted, "alert resolved"),
            (_, Some(Severity::Critical)) => error!(bot, key, summary, muted, "alert raised"),
            (_, Some(Severity::Warning)) => warn!(bot, key, summary, muted, "alert raised"),
            (_, _) => info!(bot, key, summary, muted, "alert raised"),
        }
    }
}

/// Returns the text, cut at a character's end if it is longer than `bytes_max`.
fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max - '…'.len_utf8()));
        text.push('…');
    }
    text
}

fn cut_details(details: Vec<(String, String)>) -> Vec<(String, String)> {
    let cut_pair = |(key, value)| (cut(key, KEY_BYTES_MAX), cut(value, TEXT_BYTES_MAX));
    details.into_iter().take(DETAILS_MAX).map(cut_pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000);
    const LATER: Timestamp = Timestamp::from_millis(2_000);

    fn bot(name: &str) -> BotName {
        name.parse().unwrap()
    }

    fn raise(key: &str, severity: Severity) -> AlertChange {
        AlertChange::Raise { key: key.into(), severity, summary: "it burns".into(), details: Vec::new() }
    }

    fn resolve(key: &str) -> AlertChange {
        AlertChange::Resolve { key: key.into() }
    }

    fn check_metrics(alerts: &Alerts, line: &str) {
        let text = alerts.metrics.render();
        assert!(text.lines().any(|given| given == line), "{line}\nnot in\n{text}");
    }

    #[test]
    fn an_alert_is_up_until_it_is_resolved_and_counts_how_often_it_was_raised() {
        let alerts = Alerts::new(Arc::default());
        alerts.apply(&bot("a"), raise("k", Severity::Warning), NOW);
        alerts.apply(&bot("a"), raise("k", Severity::Critical), LATER);
        let [alert] = &alerts.active()[..] else { panic!("one alert") };
        assert_eq!((alert.raised_at, alert.refreshed_at, alert.times), (NOW, LATER, 2));
        check_metrics(&alerts, r#"bothost_alerts_active{severity="warning"} 0"#);
        check_metrics(&alerts, r#"bothost_alerts_active{severity="critical"} 1"#);
        alerts.apply(&bot("a"), resolve("k"), LATER);
        alerts.apply(&bot("a"), resolve("k"), LATER);
        assert_eq!(alerts.active(), []);
        check_metrics(&alerts, r#"bothost_alerts_active{severity="critical"} 0"#);
    }

    #[test]
    fn the_worst_comes_first_and_a_key_is_a_bots_own() {
        let alerts = Alerts::new(Arc::default());
        alerts.apply(&bot("a"), raise("k", Severity::Info), NOW);
        alerts.apply(&bot("b"), raise("k", Severity::Warning), LATER);
        alerts.raise_host("k", Severity::Critical, "disk full", Vec::new(), LATER);
        let sources: Vec<_> = alerts.active().into_iter().map(|alert| alert.source).collect();
        assert_eq!(sources, [Source::Host, Source::Bot(bot("b")), Source::Bot(bot("a"))]);
        alerts.resolve_host("k", LATER);
        assert_eq!(alerts.active().len(), 2);
    }

    #[test]
    fn a_flood_of_alerts_ends_at_the_cap_and_leaves_room_for_others() {
        let alerts = Alerts::new(Arc::default());
        for n in 0..100_000 {
            alerts.apply(&bot("a"), raise(&n.to_string(), Severity::Info), NOW);
        }
        assert_eq!(alerts.active().len(), BOT_ALERTS_MAX);
        check_metrics(&alerts, r#"bothost_alerts_rejected_total{reason="source-full"} 99900"#);
        alerts.apply(&bot("b"), raise("k", Severity::Info), NOW);
        assert_eq!(alerts.active().len(), BOT_ALERTS_MAX + 1);
    }

    #[test]
    fn bots_cannot_take_the_hosts_place() {
        let alerts = Alerts::new(Arc::default());
        for n in 0..ALERTS_MAX + 1 {
            alerts.apply(&bot(&(n / BOT_ALERTS_MAX).to_string()), raise(&n.to_string(), Severity::Info), NOW);
        }
        check_metrics(&alerts, r#"bothost_alerts_rejected_total{reason="all-full"} 1"#);
        alerts.raise_host("k", Severity::Critical, "disk full", Vec::new(), NOW);
        assert_eq!(alerts.active().len(), ALERTS_MAX + 1);
        alerts.forget_bot(&bot("0"));
        assert_eq!(alerts.active().len(), ALERTS_MAX + 1 - BOT_ALERTS_MAX);
    }

    #[test]
    fn fields_are_cut_at_a_characters_end_and_long_keys_refused() {
        let alerts = Alerts::new(Arc::default());
        let details = vec![("k".repeat(1000), "ü".repeat(10_000)); 100];
        let summary = "ü".repeat(10_000);
        alerts.apply(
            &bot("a"),
            AlertChange::Raise { key: "k".into(), severity: Severity::Info, summary, details },
            NOW,
        );
        alerts.apply(&bot("a"), raise(&"k".repeat(KEY_BYTES_MAX + 1), Severity::Info), NOW);
        alerts.apply(&bot("a"), raise("", Severity::Info), NOW);
        let [alert] = &alerts.active()[..] else { panic!("one alert") };
        assert!(alert.summary.len() <= TEXT_BYTES_MAX && alert.summary.ends_with('…'));
        assert_eq!(alert.details.len(), DETAILS_MAX);
        assert!(alert.details.iter().all(|(key, value)| key.len() <= KEY_BYTES_MAX && value.len() <= TEXT_BYTES_MAX));
        check_metrics(&alerts, r#"bothost_alerts_rejected_total{reason="key"} 2"#);
    }

    #[test]
    fn a_flapper_gets_a_few_lines_and_the_next_says_how_many_were_left_out() {
        let mut state = State::default();
        let (source, now) = (Source::Bot(bot("a")), Instant::now());
        let written = (0..1000).filter(|_| state.take_line(&source, now).is_some()).count();
        assert_eq!(written as u64, LINES_PER_MINUTE);
        assert_eq!(state.take_line(&source, now + Duration::from_secs(60)), Some(1000 - LINES_PER_MINUTE));
    }
}
