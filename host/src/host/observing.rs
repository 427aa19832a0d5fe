//! What sees and tells: the rounds of the monitor, the probes, the history of alerts, and the channels on which people are told.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::join;
use crate::action::AlertChange;
use crate::alert::notifier::{Notifier, NotifierHandle, NotifierParts};
use crate::alert::rule::RuleView;
use crate::alert::{Alert, Alerts, Source, Turn};
use crate::clock::Timestamp;
use crate::config::Config;
use crate::history::History;
use crate::id::BotName;
use crate::machine;
use crate::metrics::Metrics;
use crate::monitor::{self, Monitor, MonitorParts};
use crate::store::observations::{AlertQuery, Observations};
use crate::vitals::Probes;

/// The parts that tell, from before anything may raise an alert to after everything has ended.
pub(super) struct Telling {
    observations: Observations,
    history: History,
    chronicle: JoinHandle<()>,
    notifier: JoinHandle<()>,
    handle: NotifierHandle,
    telling: CancellationToken,
    keeping: CancellationToken,
}

impl Telling {
    /// Takes up the alerts that were up when the process before ended, and begins to tell of every turn from now on.
    pub(super) async fn begin(
        config: &Config,
        alerts: &Arc<Alerts>,
        metrics: &Arc<Metrics>,
        observations: Observations,
        history: History,
    ) -> Self {
        alerts.restore(observations.alerts_up().await);
        let (telling, keeping) = (CancellationToken::new(), CancellationToken::new());
        let chronicle = monitor::keep(alerts.subscribe(), observations.clone(), keeping.clone());
        let (handle, notifier) = Notifier::spawn(NotifierParts {
            alerts: Arc::clone(alerts),
            channels: config.alerts.channels.clone(),
            metrics: Arc::clone(metrics),
            host: machine::name(),
            cancel: telling.clone(),
        });
        Self { observations, history, chronicle: tokio::spawn(chronicle), notifier, handle, telling, keeping }
    }

    /// Raises the alerts of bots that the store says are up, since when they are. Of those that were up in the process before nobody is
    /// told anew; those that an operator has ended since the bot raised them stay ended.
    pub(super) async fn take_up(&self, alerts: &Alerts, of_bots: Vec<(BotName, AlertChange, Timestamp)>) {
        let known = alerts.known().into_iter().map(|alert| (alert.source, alert.key));
        let known: HashSet<(Source, String)> = known.collect();
        for (bot, change, raised_at) in of_bots {
            let AlertChange::Raise { key, severity, summary, details } = change else { continue };
            let of = (Source::Bot(bot), key);
            if known.contains(&of) || !self.is_ended_by_hand(&of).await {
                let (source, key) = of;
                let alert = Alert::new(source, &key, severity, summary, Timestamp::now()).with_details(details);
                alerts.raise(Alert { raised_at, ..alert });
            }
        }
    }

    async fn is_ended_by_hand(&self, (source, key): &(Source, String)) -> bool {
        let query =
            AlertQuery { source: Some(source.clone()), key: Some(key.clone()), limit: 1, ..AlertQuery::default() };
        // Where the history cannot be read, the alert comes up: better once too often.
        let last = self.observations.alert_history(query).await.unwrap_or_default().into_iter().next();
        last.is_some_and(|last| matches!(last.news.turn, Turn::Resolved { by: Some(_) }))
    }

    pub(super) fn handle(&self) -> NotifierHandle {
        self.handle.clone()
    }

    pub(super) fn observations(&self) -> &Observations {
        &self.observations
    }

    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// Tells what there is left to tell, for about two seconds at most, and writes down what was seen.
    pub(super) async fn end(self) {
        self.telling.cancel();
        join("notifier", self.notifier).await;
        // After it, for a channel that fails at the last is an alert as well.
        self.keeping.cancel();
        join("history of alerts", self.chronicle).await;
        self.history.flush(Timestamp::now()).await;
        self.observations.close().await;
    }
}

/// The parts that look.
pub(super) struct Looking {
    monitor: JoinHandle<()>,
    rules: watch::Receiver<Arc<Vec<RuleView>>>,
    probing: JoinHandle<()>,
    probes: Probes,
}

impl Looking {
    /// Begins to look, until `cancel`.
    pub(super) fn begin(parts: MonitorParts, cancel: &CancellationToken) -> Self {
        let probes = parts.config.borrow().vitals.probes.clone();
        let (probes, probing) = Probes::spawn(probes, Arc::clone(&parts.metrics), cancel.clone());
        let monitor = Monitor::new(parts);
        let rules = monitor.rules();
        Self { monitor: tokio::spawn(monitor.run(cancel.clone())), rules, probing, probes }
    }

    pub(super) fn rules(&self) -> watch::Receiver<Arc<Vec<RuleView>>> {
        self.rules.clone()
    }

    pub(super) fn probes(&self) -> Probes {
        self.probes.clone()
    }

    /// Waits for their end, which somebody has asked for.
    pub(super) async fn end(self) {
        join("monitor", self.monitor).await;
        join("probes", self.probing).await;
    }
}
