//! Tells people of alerts. Each channel has a task of its own, with its own digest, queue and breaker, so that none waits for another;
//! one more task keeps the set of them as it is configured and passes on what a channel could not deliver.
//!
//! ```text
//! Alerts ─news─► courier of a channel: digest ─► queue ─► channel ─► platform
//!                   ▲                              │ given up
//!                   └──────── next that works ─────┴─► this task ─► nobody: the log, with its text
//! ```
//!
//! A channel that fails is itself an alert, `channel-failing:NAME`, which the others are told and it is not.

mod attempts;
mod breaker;
mod courier;
mod queue;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::error;

use self::courier::{Courier, Fallen, Start};
use self::queue::Pending;
use super::channel::text::{self, Style};
use super::channel::{Channel, ChannelConfig, ChannelError, Delivered};
use super::notice::Notice;
use super::{Alert, Alerts, Source, TARGET};
use crate::clock::Timestamp;
use crate::document::nearest;
use crate::id::ChannelName;
use crate::metrics::Metrics;

/// Notices that were given up and wait to be passed on; of more, the text goes to the log.
const FALLEN_MAX: usize = 64;
/// Notices of others that wait for a channel to look at them.
const PASSED_MAX: usize = 16;
/// A notice in the log is cut to this many UTF-16 units.
const LOGGED_UNITS_MAX: usize = 8_192;
/// Begins the key of the alert that a channel fails.
const FAILING: &str = "channel-failing:";

/// What telling people needs.
#[derive(Debug)]
pub struct NotifierParts {
    /// Whose turns are told.
    pub alerts: Arc<Alerts>,
    /// The channels, as configured.
    pub channels: BTreeMap<ChannelName, ChannelConfig>,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
    /// The name of this host, as people read it.
    pub host: String,
    /// Ends it.
    pub cancel: CancellationToken,
}

/// Tells people of alerts.
#[derive(Debug)]
pub struct Notifier {
    alerts: Arc<Alerts>,
    metrics: Arc<Metrics>,
    host: Arc<str>,
    cancel: CancellationToken,
    wanted: watch::Receiver<Configs>,
    roster: watch::Sender<Roster>,
    running: BTreeMap<ChannelName, Running>,
    couriers: JoinSet<()>,
    names: BTreeMap<Id, ChannelName>,
    fallen: (mpsc::Sender<Fallen>, mpsc::Receiver<Fallen>),
}

type Configs = Arc<BTreeMap<ChannelName, ChannelConfig>>;
type Roster = BTreeMap<ChannelName, watch::Receiver<ChannelStatus>>;

/// A channel that has a courier.
#[derive(Debug)]
struct Running {
    config: ChannelConfig,
    cancel: CancellationToken,
    passed: mpsc::Sender<Pending>,
    status: watch::Receiver<ChannelStatus>,
}

/// How a channel is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelStatus {
    /// Its name.
    pub name: ChannelName,
    /// The word after `type =`.
    pub kind: &'static str,
    /// Whether it is used.
    pub enabled: bool,
    /// Notices that wait.
    pub queued: usize,
    /// Notices that were delivered since this process or the channel began.
    pub sent: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Why the last of them did, until a notice is delivered.
    pub last_error: Option<String>,
    /// When a notice was last delivered.
    pub last_sent_at: Option<Timestamp>,
    /// It failed so often that nothing is tried before.
    pub open_until: Option<Timestamp>,
}

impl ChannelStatus {
    fn new(name: &ChannelName, config: &ChannelConfig) -> Self {
        Self {
            name: name.clone(),
            kind: config.kind(),
            enabled: config.enabled,
            queued: 0,
            sent: 0,
            failed: 0,
            last_error: None,
            last_sent_at: None,
            open_until: None,
        }
    }
}

/// What others ask of telling people.
#[derive(Debug, Clone)]
pub struct NotifierHandle {
    wanted: watch::Sender<Configs>,
    roster: watch::Receiver<Roster>,
    metrics: Arc<Metrics>,
    host: Arc<str>,
}

impl NotifierHandle {
    /// Returns a handle with nobody behind it: there is no channel.
    pub fn absent(metrics: Arc<Metrics>) -> Self {
        Self { wanted: watch::Sender::default(), roster: watch::channel(Roster::new()).1, metrics, host: "".into() }
    }

    /// Has these be the channels from now on. One that is configured as before goes on as if nothing had happened; one that is new, or
    /// was changed, is told what is up.
    pub fn replace(&self, channels: BTreeMap<ChannelName, ChannelConfig>) {
        self.wanted.send_replace(Arc::new(channels));
    }

    /// Sends a test at once, past digest, queue and breaker, also on a channel that is not enabled. Takes 30 s at most. Cancelled, it
    /// may have been sent or not.
    ///
    /// # Errors
    ///
    /// There is no such channel, or why it did not take the notice, in the platform's words.
    pub async fn test(&self, channel: &ChannelName) -> Result<Delivered, ChannelError> {
        let wanted = self.wanted.borrow().clone();
        let Some(config) = wanted.get(channel) else {
            let known: Vec<_> = wanted.keys().map(ChannelName::as_str).collect();
            let near = nearest(channel.as_str(), &known).and_then(|near| near.parse().ok());
            return Err(ChannelError::Unknown { channel: channel.clone(), near });
        };
        let result = Channel::new(config).send(&Notice::test(&self.host, Timestamp::now())).await;
        self.metrics.notice_sent(channel, if result.is_ok() { "test" } else { "test-failed" });
        result
    }

    /// Returns how each channel is, by name.
    pub fn statuses(&self) -> Vec<ChannelStatus> {
        self.roster.borrow().values().map(|status| status.borrow().clone()).collect()
    }
}

impl Notifier {
    /// Begins to tell people of each turn from now on. What is up already counts as told, by an earlier process: restore alerts before,
    /// and raise none in between. The task ends when cancelled, within about 2 s, after each channel has tried what it still had; that
    /// text of which nobody was told is in the log then.
    pub fn spawn(parts: NotifierParts) -> (NotifierHandle, JoinHandle<()>) {
        let NotifierParts { alerts, channels, metrics, host, cancel } = parts;
        let host: Arc<str> = host.into();
        let (wanted, wanted_receiver) = watch::channel(Arc::new(channels));
        let (roster, roster_receiver) = watch::channel(Roster::new());
        let handle = NotifierHandle { wanted, roster: roster_receiver, metrics: metrics.clone(), host: host.clone() };
        let mut notifier = Self {
            alerts,
            metrics,
            host,
            cancel,
            wanted: wanted_receiver,
            roster,
            running: BTreeMap::new(),
            couriers: JoinSet::new(),
            names: BTreeMap::new(),
            fallen: mpsc::channel(FALLEN_MAX),
        };
        // Before this returns, so that no turn is missed.
        notifier.adjust(Start::Adopt);
        (handle, tokio::spawn(notifier.run()))
    }

    async fn run(mut self) {
        let cancel = self.cancel.clone();
        let mut is_configurable = true;
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                changed = self.wanted.changed(), if is_configurable => match changed {
                    Ok(()) => self.adjust(Start::CatchUp),
                    Err(_) => is_configurable = false,
                },
                Some(fallen) = self.fallen.1.recv() => self.pass_on(fallen),
                Some(ended) = self.couriers.join_next_with_id() => self.note_end(ended),
            }
        }
        while let Some(ended) = self.couriers.join_next_with_id().await {
            self.note_end(ended);
        }
        // What a channel gave up just before: there is nobody left to pass it to.
        while let Ok(fallen) = self.fallen.1.try_recv() {
            log_lost(&fallen.from, &fallen.pending.notice, "the host ends");
        }
    }

    /// Has the couriers be those of the configured channels.
    fn adjust(&mut self, start: Start) {
        let wanted = self.wanted.borrow_and_update().clone();
        let is_kept = |name: &ChannelName, running: &Running| wanted.get(name) == Some(&running.config);
        let gone: Vec<_> = self.running.extract_if(.., |name, running| !is_kept(name, running)).collect();
        for (name, running) in gone {
            running.cancel.cancel();
            self.alerts.resolve_host(&failing_key(&name), Timestamp::now());
            if !wanted.contains_key(&name) {
                self.metrics.forget_channel(&name);
            }
        }
        for (name, config) in wanted.iter().filter(|(_, config)| config.enabled) {
            if !self.running.contains_key(name) {
                let running = self.start(name, config, start);
                self.running.insert(name.clone(), running);
            }
        }
        // What an earlier process said of a channel that is no more.
        for alert in self.alerts.known() {
            let channel = alert.key.strip_prefix(FAILING).filter(|_| alert.source == Source::Host);
            if channel.is_some_and(|name| !self.running.keys().any(|running| running.as_str() == name)) {
                self.alerts.resolve_host(&alert.key, Timestamp::now());
            }
        }
        let status = |(name, config): (&ChannelName, &ChannelConfig)| {
            let running = self.running.get(name).map(|running| running.status.clone());
            (name.clone(), running.unwrap_or_else(|| watch::channel(ChannelStatus::new(name, config)).1))
        };
        self.roster.send_replace(wanted.iter().map(status).collect());
    }

    fn start(&mut self, name: &ChannelName, config: &ChannelConfig, start: Start) -> Running {
        let (passed, passed_receiver) = mpsc::channel(PASSED_MAX);
        let (status, status_receiver) = watch::channel(ChannelStatus::new(name, config));
        let cancel = self.cancel.child_token();
        let courier = Courier::new(courier::CourierParts {
            name: name.clone(),
            config,
            alerts: self.alerts.clone(),
            metrics: self.metrics.clone(),
            host: self.host.clone(),
            wanted: self.wanted.clone(),
            passed: passed_receiver,
            fallen: self.fallen.0.clone(),
            status,
            host_cancel: self.cancel.clone(),
        });
        let task = self.couriers.spawn(courier.start(start).run(cancel.clone()));
        self.names.insert(task.id(), name.clone());
        Running { config: config.clone(), cancel, passed, status: status_receiver }
    }

    /// Gives what a channel could not deliver to the next that works and has not had it.
    fn pass_on(&mut self, fallen: Fallen) {
        let Fallen { from, pending } = fallen;
        let entries = &pending.notice.content.entries;
        let works = |running: &Running| running.status.borrow().open_until.is_none();
        for (name, running) in
            self.running.iter().filter(|(name, running)| !pending.had.contains(*name) && works(running))
        {
            let (rules, own) = (running.config.rules(name), failing_key(name));
            if !entries.is_empty() && entries.iter().all(|entry| rules.takes(&entry.alert)) {
                // It hears of all of them by itself.
                return;
            }
            let mut given = pending.clone();
            // No channel is told that it fails itself.
            let is_own = |alert: &Alert| alert.source == Source::Host && alert.key == own;
            given.notice.content.entries.retain(|entry| !rules.takes(&entry.alert) && !is_own(&entry.alert));
            if given.notice.content.entries.is_empty() && given.notice.content.more.is_empty() {
                continue;
            }
            if running.passed.try_send(given).is_ok() {
                return;
            }
        }
        log_lost(&from, &pending.notice, "no other channel works that has not had it");
    }

    fn note_end(&mut self, ended: Result<(Id, ()), JoinError>) {
        let (id, panic) = match ended {
            Ok((id, ())) => (id, None),
            Err(error) => (error.id(), Some(error)),
        };
        let Some(name) = self.names.remove(&id) else { return };
        if !self.wanted.borrow().contains_key(&name) {
            // Its last tries were counted after it was gone.
            self.metrics.forget_channel(&name);
        }
        if let Some(error) = panic {
            error!(channel = %name, %error, "a channel's task failed; the channel is silent until it is configured anew");
            self.running.remove(&name);
        }
    }
}

fn failing_key(channel: &ChannelName) -> String {
    format!("{FAILING}{channel}")
}

/// Writes down what nobody was told.
fn log_lost(channel: &ChannelName, notice: &Notice, why: &str) {
    let text = text::body(notice, Style::Plain, LOGGED_UNITS_MAX);
    error!(target: TARGET, %channel, notice = %notice.id, text, why, "people were not told");
}

#[cfg(test)]
mod tests;
