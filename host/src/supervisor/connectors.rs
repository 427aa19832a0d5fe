//! The connectors that run: each with its own task, and the task that empties its outbox; and those that the operator has taken down.
//! Starts, stops and restarts them; what they connect to is theirs alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::control::{ConnectorVerb, ControlError};
use crate::board::Board;
use crate::connector::{
    self, Arrival, ConnectorConfig, Inbox, Link, Outflow, Ports, Signs, Status, StatusPublisher, Tally,
};
use crate::document::nearest;
use crate::grants::ConnectorKey;
use crate::metrics::Metrics;
use crate::outbox::{SendTerms, Sender};
use crate::store::{OutboxSettings, Store};
use crate::telemetry::Tracer;

/// Deliveries handed to a connector and not yet begun. One: the outbox keeps the order and the rest.
const DELIVERIES_MAX: usize = 1;
/// How long a connector that is told to stop may take over the deliveries at hand. A platform that never answers is not to hold
/// up the host's stop, nor the changes of other bots.
const STOP_MAX: Duration = Duration::from_secs(5);

/// What is said of a connector that the operator has stopped.
const HELD: &str = "the operator stopped it";

/// What all connectors are given.
#[derive(Clone)]
pub struct ConnectorServices {
    /// Where their outboxes are.
    pub store: Store,
    /// Where measurements go.
    pub metrics: Arc<Metrics>,
    /// What takes their deliveries down.
    pub tracer: Tracer,
    /// Where their events go: the router.
    pub arrivals: mpsc::Sender<Arrival>,
    /// How their outboxes behave.
    pub outbox: OutboxSettings,
    /// How what waits in them is dealt with.
    pub terms: watch::Sender<SendTerms>,
}

/// The status of every connector that runs.
pub type LinkBoard = Board<ConnectorKey, Status>;

/// The connectors that run.
pub struct Connectors {
    services: ConnectorServices,
    running: BTreeMap<ConnectorKey, Running>,
    /// Those that the operator has stopped. They are shown as the others are, and their outboxes take what bots ask of them.
    held: BTreeMap<ConnectorKey, Held>,
    board: Arc<LinkBoard>,
}

struct Running {
    status: watch::Receiver<Status>,
    cancel: CancellationToken,
    /// The connector, its outbox's sender, and who measures it.
    tasks: [JoinHandle<()>; 3],
    config: ConnectorConfig,
}

struct Held {
    status: watch::Sender<Status>,
    config: ConnectorConfig,
}

impl Connectors {
    /// Returns the set without any.
    pub fn new(services: ConnectorServices) -> Self {
        Self { services, running: BTreeMap::new(), held: BTreeMap::new(), board: Arc::default() }
    }

    /// Returns where everybody can read how the connectors stand.
    pub fn board(&self) -> Arc<LinkBoard> {
        Arc::clone(&self.board)
    }

    /// Starts a connector; one that runs under this key is stopped first. What waits in its outbox stays. That the operator stopped
    /// it counts no longer.
    pub async fn start(&mut self, key: ConnectorKey, connector: ConnectorConfig) {
        self.start_seen(key, connector, Signs::default()).await;
    }

    /// The same, for a connector of which this was seen before.
    async fn start_seen(&mut self, key: ConnectorKey, connector: ConnectorConfig, signs: Signs) {
        self.end(&key, Instant::now() + STOP_MAX).await;
        self.held.remove(&key);
        let ConnectorServices { store, metrics, tracer, arrivals, outbox, terms } = self.services.clone();
        let terms = terms.subscribe();
        store.outbox().open(&key, outbox);
        let (deliveries, receiver) = mpsc::channel(DELIVERIES_MAX);
        let counted = signs.tally();
        let (publisher, status) = StatusPublisher::going_on(signs);
        let cancel = CancellationToken::new();
        let ports = Ports {
            name: key.name.clone(),
            inbox: Inbox::new(key.clone(), arrivals).noting(publisher.signs()),
            deliveries: receiver,
            status: publisher,
            cancel: cancel.clone(),
        };
        let measure = measure(key.clone(), status.clone(), counted, Arc::clone(&metrics));
        let (limits, config) = (connector.pace(), connector.clone());
        let status_of = status.clone();
        let sender = Sender { key: key.clone(), store, deliveries, status: status_of, limits, terms, metrics, tracer };
        let tasks = [
            tokio::spawn(connector::run(connector, ports)),
            tokio::spawn(sender.run(cancel.clone())),
            tokio::spawn(measure),
        ];
        let running = Running { status, cancel, tasks, config };
        self.running.insert(key, running);
        self.publish();
    }

    /// Has every outbox behave so from now on.
    pub fn set_outbox(&mut self, settings: OutboxSettings, ttl: Duration) {
        self.services.outbox = settings;
        for key in self.running.keys().chain(self.held.keys()) {
            self.services.store.outbox().open(key, settings);
        }
        self.services.terms.send_if_modified(|terms| std::mem::replace(&mut terms.ttl, ttl) != ttl);
    }

    /// Stops connectors that are about to be started anew, all at once. What waits in their outboxes stays.
    pub async fn pause(&mut self, keys: Vec<ConnectorKey>) {
        let deadline = Instant::now() + STOP_MAX;
        for running in keys.iter().filter_map(|key| self.running.get(key)) {
            running.cancel.cancel();
        }
        for key in &keys {
            self.halt(key, deadline).await;
        }
    }

    /// Stops a connector for good and drops what waits in its outbox.
    pub async fn remove(&mut self, key: &ConnectorKey) {
        self.halt(key, Instant::now() + STOP_MAX).await;
        if self.held.remove(key).is_some() {
            self.publish();
        }
        match self.services.store.close_outbox(key).await {
            Ok(0) => {}
            Ok(lost) => tracing::warn!(connector = %key, lost, "actions are lost: their connector was removed"),
            Err(error) => {
                tracing::error!(connector = %key, error = &error as &dyn std::error::Error, "the outbox was not closed");
            }
        }
        self.services.metrics.forget_connector(key);
    }

    /// Carries the operator's word out. What is as it should be stays so.
    ///
    /// # Errors
    ///
    /// [`ControlError::NoConnector`].
    pub async fn obey(&mut self, key: &ConnectorKey, verb: ConnectorVerb) -> Result<(), ControlError> {
        match (verb, self.running.contains_key(key), self.held.contains_key(key)) {
            (_, false, false) => return Err(self.unknown(key)),
            (ConnectorVerb::Start, true, _) | (ConnectorVerb::Stop, false, true) => return Ok(()),
            (ConnectorVerb::Stop, ..) => self.hold(key).await,
            (ConnectorVerb::Start | ConnectorVerb::Restart, ..) => {
                let running = self
                    .running
                    .get(key)
                    .map(|running| (running.config.clone(), running.status.borrow().signs.clone()));
                let held = || self.held.get(key).map(|held| (held.config.clone(), held.status.borrow().signs.clone()));
                if let Some((config, signs)) = running.or_else(held) {
                    self.start_seen(key.clone(), config, signs).await;
                }
            }
        }
        tracing::info!(connector = %key, ?verb, "the operator's word");
        Ok(())
    }

    /// Stops a connector until it is started again, or configured anew. What waits for it waits on.
    async fn hold(&mut self, key: &ConnectorKey) {
        let Some(running) = self.running.get(key) else { return };
        let (config, status) = (running.config.clone(), running.status.borrow().clone());
        self.end(key, Instant::now() + STOP_MAX).await;
        status.signs.flows(Outflow::Closed);
        let status = watch::Sender::new(Status::held(HELD, status.connections, status.signs));
        self.held.insert(key.clone(), Held { status, config });
        self.services.metrics.connector_link(key, Link::Stopped.as_str());
        self.publish();
    }

    fn unknown(&self, key: &ConnectorKey) -> ControlError {
        let known: Vec<_> = self.running.keys().chain(self.held.keys()).collect();
        let names: Vec<_> = known.iter().map(ToString::to_string).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let near = nearest(&key.to_string(), &names).and_then(|near| near.parse().ok());
        ControlError::NoConnector { key: key.clone(), near }
    }

    /// Stops all connectors.
    pub async fn stop_all(&mut self) {
        self.pause(self.running.keys().cloned().collect()).await;
    }

    /// Stops a connector and takes it off the board.
    async fn halt(&mut self, key: &ConnectorKey, deadline: Instant) {
        self.end(key, deadline).await;
        self.publish();
    }

    /// Stops a connector: lets it finish what it delivers until `deadline`, then cuts it off. The board shows it until it is
    /// published anew.
    async fn end(&mut self, key: &ConnectorKey, deadline: Instant) {
        let Some(running) = self.running.remove(key) else { return };
        running.cancel.cancel();
        for mut task in running.tasks {
            let ended = match timeout_at(deadline, &mut task).await {
                Ok(ended) => ended,
                Err(_) => {
                    tracing::warn!(connector = %key, "a connector did not stop in time and is cut off");
                    task.abort();
                    task.await
                }
            };
            match ended {
                Err(error) if !error.is_cancelled() => {
                    tracing::error!(connector = %key, %error, "a connector's task ended badly");
                }
                _ => {}
            }
        }
    }

    fn publish(&self) {
        let running = self.running.iter().map(|(key, running)| (key.clone(), running.status.clone()));
        let held = self.held.iter().map(|(key, held)| (key.clone(), held.status.subscribe()));
        self.board.replace(running.chain(held).collect());
    }
}

/// Measures how a connector stands until it has ended. `counted` is measured already.
async fn measure(key: ConnectorKey, mut status: watch::Receiver<Status>, mut counted: Tally, metrics: Arc<Metrics>) {
    loop {
        let (link, tally) = {
            let status = status.borrow_and_update();
            (status.link.as_str(), status.signs.tally())
        };
        metrics.connector_link(&key, link);
        metrics.connections_made(&key, tally.connected - counted.connected);
        metrics.connections_failed(&key, tally.failed - counted.failed);
        metrics.connections_lost(&key, tally.lost - counted.lost);
        counted = tally;
        if status.changed().await.is_err() {
            return;
        }
    }
}
