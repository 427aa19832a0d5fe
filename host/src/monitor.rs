//! One round every `[vitals] interval`: the machine is measured, what the others publish is turned into metrics, a snapshot of all
//! metrics goes into the history and before the rules, and what the rules say is done. Decides nothing itself.
//!
//! ```text
//! vitals, bots, connectors, queue ─► metrics ─snapshot─► history
//!                                                 └────► rules ─verdicts─► alerts, and orders to bots
//! ```

mod chronicle;
mod deeds;
pub mod gauges;
mod links;
mod performance;
mod verdicts;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::chronicle::keep;
use self::deeds::Deeds;
use self::gauges::Gauges;
use self::links::LinkWatch;
use self::performance::Performance;
use crate::alert::rule::{RuleView, Rules, UnknownName};
use crate::alert::{Alerts, News, Source, Turn};
use crate::clock::Timestamp;
use crate::config::Config;
use crate::generation::Editor;
use crate::history::History;
use crate::id::RuleName;
use crate::metrics::Metrics;
use crate::metrics::snapshot::Snapshot;
use crate::store::Store;
use crate::supervisor::{BotBoard, Control, LinkBoard};
use crate::vitals::Vitals;

/// At most one part in so many of a processor goes into rounds: with very many series they come less often.
const SHARE: u32 = 50;
/// Alerts that an earlier process had up are over if nobody has raised them again within this.
const CONFIRM_WITHIN: Duration = Duration::from_secs(120);
/// The look after which a metric that is not there is worth a word: by then everybody has measured once.
const LOOKS_UNTIL_NAMED: u32 = 2;

/// What a round looks at, and whom it tells.
#[derive(Debug)]
pub struct MonitorParts {
    /// Where measurements go and come from.
    pub metrics: Arc<Metrics>,
    /// Where alerts go.
    pub alerts: Arc<Alerts>,
    /// How the bots stand.
    pub bots: Arc<BotBoard>,
    /// How the connectors stand.
    pub links: Arc<LinkBoard>,
    /// What waits.
    pub store: Store,
    /// Where snapshots go.
    pub history: History,
    /// What is in force.
    pub config: watch::Receiver<Arc<Config>>,
    /// For rules that restart a bot.
    pub control: Control,
    /// For rules that disable a bot.
    pub editor: Editor,
}

/// The task that makes the rounds.
#[derive(Debug)]
pub struct Monitor {
    parts: MonitorParts,
    news: broadcast::Receiver<Arc<News>>,
    /// Away while a round is at work.
    eye: Option<Eye>,
    links: LinkWatch,
    deeds: Deeds,
    rules: watch::Sender<Arc<Vec<RuleView>>>,
    /// When the process began to look; none once the alerts of an earlier one have been confirmed or ended.
    unsettled: Option<Instant>,
    /// The snapshot that the last line about performance ended with.
    told: Option<Snapshot>,
}

/// What is looked with, on a thread that may block.
#[derive(Debug)]
struct Eye {
    vitals: Vitals,
    rules: Rules,
    /// Looks since the rules were read.
    looks: u32,
    /// Metrics that are not there, of which that has been said.
    missed: BTreeSet<(RuleName, String)>,
}

impl Eye {
    /// Returns one whose rules know of the alerts that are up.
    fn new(config: &Config, alerts: &Alerts) -> Self {
        let mut rules = Rules::new(&config.alerts.rules);
        let of_host = alerts.known().into_iter().filter(|alert| alert.source == Source::Host);
        // The keys that no rule answers for are others', which raise them again if they still have a reason.
        let _ = rules.adopt(of_host.map(|alert| alert.key));
        Self { vitals: Vitals::new(config.host.data_dir.clone()), rules, looks: 0, missed: BTreeSet::new() }
    }

    /// Says of which metrics rules are that are not there, of each once.
    fn tell_unknown(&mut self, snapshot: &Snapshot) {
        self.looks = self.looks.saturating_add(1);
        if self.looks != LOOKS_UNTIL_NAMED {
            return;
        }
        for UnknownName { rule, name, near } in self.rules.unknown_names(snapshot) {
            let is_new = self.missed.insert((rule.clone(), name.clone()));
            match near {
                Some(near) if is_new => {
                    tracing::warn!(%rule, metric = name, near, "a rule is about a metric that is not there; did you mean the near one?");
                }
                None if is_new => {
                    tracing::info!(%rule, metric = name, "a rule is about a metric that is not there yet")
                }
                _ => {}
            }
        }
    }
}

impl Monitor {
    /// Returns the task, not yet running. The alerts that an earlier process had up must have been restored.
    pub fn new(parts: MonitorParts) -> Self {
        let config = Arc::clone(&parts.config.borrow());
        let eye = Eye::new(&config, &parts.alerts);
        let views = watch::Sender::new(Arc::new(eye.rules.describe()));
        Self {
            news: parts.alerts.subscribe(),
            eye: Some(eye),
            links: LinkWatch::default(),
            deeds: Deeds::new(parts.control.clone(), parts.editor.clone()),
            rules: views,
            unsettled: Some(Instant::now()),
            told: None,
            parts,
        }
    }

    /// Returns the rules and what they last saw.
    pub fn rules(&self) -> watch::Receiver<Arc<Vec<RuleView>>> {
        self.rules.subscribe()
    }

    /// Makes rounds until it is cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        loop {
            let began = Instant::now();
            self.round().await;
            let cost = began.elapsed();
            self.parts.metrics.monitor_round(cost);
            if self.rest(began, cost, &cancel).await.is_none() {
                self.deeds.finish().await;
                return;
            }
        }
    }

    /// Waits for the next round; none: it is the end.
    async fn rest(&mut self, began: Instant, cost: Duration, cancel: &CancellationToken) -> Option<()> {
        loop {
            let interval = self.parts.config.borrow().vitals.interval;
            // Cancel safe: a sleep until a fixed moment, a watch, a broadcast, a set's `join_next`.
            tokio::select! {
                () = cancel.cancelled() => return None,
                () = tokio::time::sleep_until(began + interval.max(cost * SHARE)) => return Some(()),
                Ok(()) = self.parts.config.changed() => {
                    let config = Arc::clone(&self.parts.config.borrow_and_update());
                    self.with_eye(|eye| {
                        eye.rules.replace(&config.alerts.rules);
                        eye.looks = 0;
                    });
                }
                Ok(news) = self.news.recv() => self.hear(&news),
                () = self.deeds.next(), if self.deeds.are_under_way() => {}
            }
        }
    }

    /// What the operator resolved by hand must not come up with the next look.
    fn hear(&mut self, news: &News) {
        if let (Source::Host, Turn::Resolved { by: Some(_) }) = (&news.alert.source, &news.turn) {
            self.with_eye(|eye| eye.rules.resolved_by_hand(&news.alert.key));
        }
    }

    fn with_eye(&mut self, change: impl FnOnce(&mut Eye)) {
        if let Some(eye) = &mut self.eye {
            change(eye);
        }
    }

    async fn round(&mut self) {
        let now = Timestamp::now();
        self.links.look(&self.parts.links.entries(), &self.parts.alerts, std::time::Instant::now(), now);
        {
            let config = Arc::clone(&self.parts.config.borrow());
            let MonitorParts { bots, links, store, .. } = &self.parts;
            gauges::publish(&Gauges { bots, connectors: links, store, config: &config }, &self.parts.metrics, now);
            self.parts.metrics.observations(&self.parts.history.figures());
        }
        let Some(mut eye) = self.eye.take() else { return };
        let (metrics, history) = (Arc::clone(&self.parts.metrics), self.parts.history.clone());
        // Rendering many series, deflating rows and reading files takes milliseconds that no guest should wait for.
        let looked = tokio::task::spawn_blocking(move || {
            metrics.vitals(&eye.vitals.read());
            let snapshot = metrics.snapshot(now);
            history.record(&snapshot);
            let verdicts = eye.rules.look(&snapshot, Instant::now());
            eye.tell_unknown(&snapshot);
            (eye, snapshot, verdicts)
        });
        match looked.await {
            Ok((eye, snapshot, verdicts)) => {
                let views = Arc::new(eye.rules.describe());
                self.eye = Some(eye);
                for order in verdicts::apply(verdicts, &self.parts.alerts, now) {
                    self.deeds.begin(order);
                }
                self.rules.send_replace(views);
                self.tell_performance(snapshot);
            }
            Err(error) => {
                tracing::error!(%error, "a round of measuring ended badly: rules begin anew");
                let config = Arc::clone(&self.parts.config.borrow());
                self.eye = Some(Eye::new(&config, &self.parts.alerts));
            }
        }
        self.settle(now);
    }

    /// Ends what an earlier process had up and nobody has a reason for in this one.
    fn settle(&mut self, now: Timestamp) {
        if self.unsettled.take_if(|began| began.elapsed() >= CONFIRM_WITHIN).is_some() {
            let is_rule = |key: &str| {
                let name = key.split_once(':').map_or(key, |(name, _)| name);
                self.rules.borrow().iter().any(|rule| rule.enabled && rule.name.as_str() == name)
            };
            // A rule in force knows by itself when its alerts end.
            self.parts.alerts.end_remembered(now, |alert| alert.source == Source::Host && is_rule(&alert.key));
        }
    }

    fn tell_performance(&mut self, snapshot: Snapshot) {
        match &self.told {
            Some(told) if snapshot.at.saturating_since(told.at) < performance::EVERY => {}
            Some(told) => {
                Performance::between(told, &snapshot).write();
                self.told = Some(snapshot);
            }
            None => self.told = Some(snapshot),
        }
    }
}
