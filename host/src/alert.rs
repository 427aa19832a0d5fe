//! The alerts that are up, of the host and of its bots, in memory: raised, acknowledged, resolved. Each turn of one is told to those
//! who subscribe, and in the log, not each time it is repeated. Why the host raises some by itself is in `alert/rule`; how people are
//! told, in `alert/channel`; what was up before, in the history that a subscriber keeps.

mod book;
pub mod channel;
mod config;
mod line;
pub mod notice;
pub mod notifier;
pub mod rule;
mod signs;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::broadcast;

use self::book::{Book, Outcome};
pub use self::config::{AlertsConfig, AlertsTable};
use self::line::Line;
pub use self::line::TARGET;
pub use self::signs::Signs;
use crate::action::{AlertChange, Severity};
use crate::clock::Timestamp;
pub use crate::id::AlertId;
use crate::id::{BotName, ChannelName};
use crate::metrics::Metrics;

/// Alerts that one bot may have up.
pub const BOT_ALERTS_MAX: usize = 100;
/// Alerts that all bots together may have up.
pub const ALERTS_MAX: usize = 10_000;
/// Alerts that the host itself may have up; bots cannot take their place.
pub const HOST_ALERTS_MAX: usize = 1_000;
/// Of those, as many are kept for alerts about the host as a whole: alerts about one bot, connector or probe each, whose keys have a
/// `:`, cannot take their place however many bots there are.
pub const WHOLE_HOST_ALERTS: usize = 100;
/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 128;
/// A summary, or a detail's value, is cut to this many bytes. With the other caps: at most 60 MiB in all.
pub const TEXT_BYTES_MAX: usize = 512;
/// Further details are left out.
pub const DETAILS_MAX: usize = 8;

/// Turns that a subscriber may be behind; of more it is told how many it missed.
const NEWS_MAX: usize = 4_096;

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
    /// Names it.
    pub id: AlertId,
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
    /// Whether people have been told, and have answered.
    pub standing: Standing,
    /// The channels that are told. None: every channel that takes its severity.
    pub channels: Option<Vec<ChannelName>>,
    /// When it came up.
    pub raised_at: Timestamp,
    /// When it was last raised.
    pub refreshed_at: Timestamp,
    /// How often it was raised since it came up.
    pub times: u64,
}

/// Where an alert that is up is in its life. One that is resolved is no longer up: it is in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// What its rule is about holds, but not for as long as the rule wants. Nobody is told yet.
    Pending,
    /// It is a reason to look.
    Firing,
    /// Somebody said that he looks after it. Nobody is reminded of it.
    Acknowledged {
        /// Who.
        by: String,
        /// When.
        at: Timestamp,
    },
}

/// A turn in an alert's life, as those hear of it who tell people and who keep the history. Pending alerts make none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub turn: Turn,
    /// The alert, after it. Of one that was resolved: as it was last.
    pub alert: Alert,
}

/// What happened to an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// It came up.
    Fired,
    /// It is better or worse than it was.
    Changed,
    /// Somebody looks after it.
    Acknowledged,
    /// It is over.
    Resolved {
        /// Who said so. None: what it was about is over.
        by: Option<String>,
    },
}

impl Source {
    /// Returns the bot, if it is one.
    pub fn bot(&self) -> Option<&BotName> {
        match self {
            Self::Host => None,
            Self::Bot(bot) => Some(bot),
        }
    }
}

impl Alert {
    /// Returns an alert that comes up now, with its texts cut.
    pub fn new(source: Source, key: &str, severity: Severity, summary: impl Into<String>, now: Timestamp) -> Self {
        Self {
            id: AlertId::of([source.bot().map_or("", BotName::as_str), key]),
            source,
            key: key.to_owned(),
            severity,
            summary: cut(summary.into(), TEXT_BYTES_MAX),
            details: Vec::new(),
            standing: Standing::Firing,
            channels: None,
            raised_at: now,
            refreshed_at: now,
            times: 1,
        }
    }

    /// Returns it with more for people, cut.
    pub fn with_details(self, details: Vec<(String, String)>) -> Self {
        Self { details: cut_details(details), ..self }
    }

    /// Returns whether it is a reason to look: it is up, and its rule has waited long enough.
    pub fn is_firing(&self) -> bool {
        self.standing != Standing::Pending
    }
}

impl Turn {
    /// Returns its name in listings and in what is kept.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Fired => "fired",
            Self::Changed => "changed",
            Self::Acknowledged => "acknowledged",
            Self::Resolved { .. } => "resolved",
        }
    }
}

/// There is no alert of that id up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no alert {0} is up")]
pub struct NotUp(pub AlertId);

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
    book: Mutex<Book>,
    news: broadcast::Sender<Arc<News>>,
}

impl Alerts {
    /// Returns alerts of which none is up.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let alerts = Self { metrics, book: Mutex::default(), news: broadcast::channel(NEWS_MAX).0 };
        alerts.publish(&alerts.lock());
        alerts
    }

    /// Returns every turn of any alert from now on, in order.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<News>> {
        self.news.subscribe()
    }

    /// Remembers alerts that were up when an earlier process ended. One that is raised again goes on as it was, and nobody is told
    /// anew; until then it is not up. To be called before anything is raised.
    pub fn restore(&self, alerts: Vec<Alert>) {
        self.lock().remember(alerts.into_iter().filter(Alert::is_firing));
    }

    /// Resolves what is remembered still: nobody has a reason for it any more. What `is_kept` says stays.
    pub fn end_remembered(&self, now: Timestamp, is_kept: impl Fn(&Alert) -> bool) {
        let over: Vec<_> = self.lock().remembered().filter(|alert| !is_kept(alert)).cloned().collect();
        over.iter().for_each(|alert| self.end(&alert.source, &alert.key, None, now));
    }

    /// Returns what is up, and what is remembered and may be up again.
    pub fn known(&self) -> Vec<Alert> {
        let book = self.lock();
        book.all().filter(|alert| alert.is_firing()).chain(book.remembered()).cloned().collect()
    }

    /// Makes a bot's change. One that is not taken, for its key or for want of room, is counted and logged.
    pub fn apply(&self, bot: &BotName, change: AlertChange, now: Timestamp) {
        let source = Source::Bot(bot.clone());
        match change {
            AlertChange::Raise { key, severity, summary, details } => {
                self.raise(Alert::new(source, &key, severity, summary, now).with_details(details));
            }
            AlertChange::Resolve { key } => self.end(&source, &key, None, now),
        }
    }

    /// Raises an alert, or refreshes it where it is up. One that was acknowledged stays so unless it gets worse; one that fires
    /// does not become pending again.
    pub fn raise(&self, alert: Alert) {
        let (source, now) = (alert.source.clone(), alert.refreshed_at);
        let line = Line {
            key: cut(alert.key.clone(), KEY_BYTES_MAX),
            severity: alert.severity,
            summary: alert.summary.clone(),
        };
        let mut book = self.lock();
        let outcome = book.raise(alert);
        if let Outcome::Rejected(rejection) = &outcome {
            self.metrics.alert_rejected(rejection.as_str());
        }
        self.announce(book, &source, &line, outcome, now);
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
        self.raise(Alert::new(Source::Host, key, severity, summary, now).with_details(details));
    }

    /// Resolves an alert of the host's own. Resolving what is not up is no error.
    pub fn resolve_host(&self, key: &str, now: Timestamp) {
        self.end(&Source::Host, key, None, now);
    }

    /// Notes that somebody looks after an alert.
    ///
    /// # Errors
    ///
    /// It is not up, or pending.
    pub fn acknowledge(&self, id: AlertId, by: &str, now: Timestamp) -> Result<Alert, NotUp> {
        let mut book = self.lock();
        let alert = book.find_mut(id).filter(|alert| alert.is_firing()).ok_or(NotUp(id))?;
        alert.standing = Standing::Acknowledged { by: cut(by.to_owned(), KEY_BYTES_MAX), at: now };
        let alert = alert.clone();
        self.tell(Turn::Acknowledged, alert.clone(), now);
        Ok(alert)
    }

    /// Resolves an alert because somebody says so. What it was about may raise it again.
    ///
    /// # Errors
    ///
    /// It is not up.
    pub fn resolve(&self, id: AlertId, by: &str, now: Timestamp) -> Result<Alert, NotUp> {
        let alert = self.lock().find_mut(id).map(|alert| alert.clone()).ok_or(NotUp(id))?;
        self.end(&alert.source, &alert.key, Some(cut(by.to_owned(), KEY_BYTES_MAX)), now);
        Ok(alert)
    }

    /// Resolves a bot's alerts, for a bot that is gone.
    pub fn forget_bot(&self, bot: &BotName) {
        let source = Source::Bot(bot.clone());
        let keys = self.lock().keys_of(&source);
        keys.iter().for_each(|key| self.end(&source, key, None, Timestamp::now()));
        self.lock().forget(&source);
    }

    /// Returns what is a reason to look: the worst first, of equals the oldest first.
    pub fn active(&self) -> Vec<Alert> {
        self.sorted(Alert::is_firing)
    }

    /// Returns what may become one: what its rule has not seen for long enough. In the same order.
    pub fn pending(&self) -> Vec<Alert> {
        self.sorted(|alert| !alert.is_firing())
    }

    fn sorted(&self, is_wanted: impl Fn(&Alert) -> bool) -> Vec<Alert> {
        let mut alerts: Vec<_> = self.lock().all().filter(|alert| is_wanted(alert)).cloned().collect();
        alerts.sort_by(|a, b| {
            (b.severity, a.raised_at, &a.source, &a.key).cmp(&(a.severity, b.raised_at, &b.source, &b.key))
        });
        alerts
    }

    fn end(&self, source: &Source, key: &str, by: Option<String>, now: Timestamp) {
        let mut book = self.lock();
        let outcome = book.resolve(source, key, by);
        let line = Line { key: cut(key.to_owned(), KEY_BYTES_MAX), severity: Severity::Info, summary: String::new() };
        self.announce(book, source, &line, outcome, now);
    }

    /// Says what a change came to, to whom it is news.
    fn announce(&self, mut book: MutexGuard<'_, Book>, source: &Source, line: &Line, outcome: Outcome, now: Timestamp) {
        self.publish(&book);
        let muted = if outcome.is_news() { book.take_line(source, Instant::now()) } else { None };
        // With the lock held, so that turns are told in the order in which they happen.
        match &outcome {
            Outcome::Raised(alert) => self.tell(Turn::Fired, (**alert).clone(), now),
            Outcome::Changed(alert) => self.tell(Turn::Changed, (**alert).clone(), now),
            Outcome::Resolved { alert, by } => self.tell(Turn::Resolved { by: by.clone() }, (**alert).clone(), now),
            Outcome::Refreshed | Outcome::Absent | Outcome::Rejected(_) => {}
        }
        drop(book);
        if let Some(muted) = muted {
            line.write(source, &outcome, muted);
        }
    }

    fn tell(&self, turn: Turn, alert: Alert, at: Timestamp) {
        // It fails only where nobody listens.
        let _ = self.news.send(Arc::new(News { at, turn, alert }));
    }

    fn publish(&self, book: &Book) {
        for severity in [Severity::Info, Severity::Warning, Severity::Critical] {
            self.metrics.alerts_active(severity, book.firing(severity));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
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
mod tests;
