//! The connectors that run: each with its own task, and the task that empties its outbox; and those that the operator has taken down.
//! Starts, stops and restarts them; what they connect to is theirs alone.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::control::{ConnectorVerb, ControlError};
use crate::board::Board;
use crate::connector::{
    self, Arrival, ConnectorConfig, Inbox, Ingress, Link, Memory, Outflow, Ports, Signs, Status, StatusPublisher, Tally,
};
use crate::document::nearest;
use crate::egress::AddressGuard;
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

/// How long a connector that fell over is left alone: what it fell over may come again.
const REVIVE_AFTER: Duration = Duration::from_secs(5);
/// Connectors that fell over and wait to be started anew.
const FALLEN_MAX: usize = 16;

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
    /// Where those may connect to whose address a tenant chose: where guests may.
    pub guard: AddressGuard,
}

/// Who said where a connector connects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddressOf {
    /// Whoever runs the host: it may be a server beside it.
    Operator,
    /// A tenant, because an offer asked for it.
    Tenant,
}

/// The status of every connector that runs.
pub type LinkBoard = Board<ConnectorKey, Status>;

/// The connectors that run.
pub struct Connectors {
    services: ConnectorServices,
    running: BTreeMap<ConnectorKey, Running>,
    /// Those that the operator has stopped. They are shown as the others are, and their outboxes take what bots ask of them.
    held: BTreeMap<ConnectorKey, Held>,
    /// Where platforms reach them.
    ingress: Ingress,
    /// Those that fell over, and who says so.
    fallen: (mpsc::Sender<ConnectorKey>, mpsc::Receiver<ConnectorKey>),
    board: Arc<LinkBoard>,
}

struct Running {
    status: watch::Receiver<Status>,
    cancel: CancellationToken,
    /// The connector, its outbox's sender, and who measures it.
    tasks: [JoinHandle<()>; 3],
    config: ConnectorConfig,
    guard: AddressGuard,
}

struct Held {
    status: watch::Sender<Status>,
    config: ConnectorConfig,
    guard: AddressGuard,
}

impl Connectors {
    /// Returns the set without any.
    pub fn new(services: ConnectorServices) -> Self {
        Self {
            services,
            running: BTreeMap::new(),
            held: BTreeMap::new(),
            ingress: Ingress::default(),
            fallen: mpsc::channel(FALLEN_MAX),
            board: Arc::default(),
        }
    }

    /// Returns where everybody can read how the connectors stand.
    pub fn board(&self) -> Arc<LinkBoard> {
        Arc::clone(&self.board)
    }

    /// Starts a connector; one that runs under this key is stopped first. What waits in its outbox stays. That the operator stopped
    /// it counts no longer.
    pub(super) async fn start(&mut self, key: ConnectorKey, connector: ConnectorConfig, address: AddressOf) {
        let guard = match address {
            AddressOf::Operator => AddressGuard::no_metadata(),
            AddressOf::Tenant => self.services.guard.clone(),
        };
        self.start_seen(key, connector, guard, Signs::default()).await;
    }

    /// The same, for a connector of which this was seen before.
    async fn start_seen(&mut self, key: ConnectorKey, connector: ConnectorConfig, guard: AddressGuard, signs: Signs) {
        self.end(&key, Instant::now() + STOP_MAX).await;
        self.held.remove(&key);
        let ConnectorServices { store, metrics, tracer, arrivals, outbox, terms, .. } = self.services.clone();
        let terms = terms.subscribe();
        store.outbox().open(&key, outbox);
        let (deliveries, receiver) = mpsc::channel(DELIVERIES_MAX);
        let counted = signs.tally();
        let (publisher, status) = StatusPublisher::going_on(connector.kind(), signs);
        let (cancel, late) = (CancellationToken::new(), publisher.clone());
        let ports = Ports {
            name: key.name.clone(),
            inbox: Inbox::new(key.clone(), arrivals).noting(publisher.signs()),
            deliveries: receiver,
            status: publisher,
            guard: guard.clone(),
            ingress: self.ingress.clone(),
            memory: Memory::new(store.clone(), key.clone()),
            cancel: cancel.clone(),
        };
        let measure = measure(key.clone(), status.clone(), counted, Arc::clone(&metrics));
        let (limits, config) = (connector.pace(), connector.clone());
        let status_of = status.clone();
        let sender = Sender { key: key.clone(), store, deliveries, status: status_of, limits, terms, metrics, tracer };
        let watched =
            watched(key.clone(), late, cancel.clone(), self.fallen.0.clone(), connector::run(connector, ports));
        let tasks = [tokio::spawn(watched), tokio::spawn(sender.run(cancel.clone())), tokio::spawn(measure)];
        let running = Running { status, cancel, tasks, config, guard };
        self.running.insert(key, running);
        self.publish();
    }

    /// Returns the next connector that fell over. Cancel-safe.
    pub async fn fallen(&mut self) -> ConnectorKey {
        match self.fallen.1.recv().await {
            Some(key) => key,
            // The other end is in here as well.
            None => std::future::pending().await,
        }
    }

    /// Starts a connector anew that fell over. One that was stopped or removed meanwhile stays so.
    pub async fn revive(&mut self, key: ConnectorKey) {
        let Some(running) = self.running.get(&key) else { return };
        let (config, guard) = (running.config.clone(), running.guard.clone());
        let signs = running.status.borrow().signs.clone();
        self.start_seen(key, config, guard, signs).await;
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
                let running = self.running.get(key).map(|running| {
                    (running.config.clone(), running.guard.clone(), running.status.borrow().signs.clone())
                });
                let of_held =
                    |held: &Held| (held.config.clone(), held.guard.clone(), held.status.borrow().signs.clone());
                if let Some((config, guard, signs)) = running.or_else(|| self.held.get(key).map(of_held)) {
                    self.start_seen(key.clone(), config, guard, signs).await;
                }
            }
        }
        tracing::info!(connector = %key, ?verb, "the operator's word");
        Ok(())
    }

    /// Stops a connector until it is started again, or configured anew. What waits for it waits on.
    async fn hold(&mut self, key: &ConnectorKey) {
        let Some(running) = self.running.get(key) else { return };
        let (config, guard) = (running.config.clone(), running.guard.clone());
        let status = running.status.borrow().clone();
        self.end(key, Instant::now() + STOP_MAX).await;
        status.signs.flows(Outflow::Closed);
        let status = watch::Sender::new(status.held(HELD));
        self.held.insert(key.clone(), Held { status, config, guard });
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
        self.ingress.closed().await;
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

/// Runs a connector. One that falls over, by a fault of the host's own, says so and wants to be started anew after a while: on every
/// other side all would look well.
async fn watched(
    key: ConnectorKey,
    status: StatusPublisher,
    cancel: CancellationToken,
    fallen: mpsc::Sender<ConnectorKey>,
    connector: impl Future<Output = ()>,
) {
    if AssertUnwindSafe(connector).catch_unwind().await.is_ok() {
        return;
    }
    let error = "it fell over, by a fault of the host's own".to_owned();
    tracing::error!(connector = %key, "{error}; it is started anew");
    status.publish(Link::BackingOff { error, wait: REVIVE_AFTER });
    let revive = async {
        tokio::time::sleep(REVIVE_AFTER).await;
        // The other end lives as long as the connectors.
        let _ = fallen.send(key).await;
    };
    cancel.run_until_cancelled(revive).await;
}

/// Measures how a connector stands, and says when it is connected and when no longer, until it has ended. `counted` is measured
/// already.
async fn measure(key: ConnectorKey, mut status: watch::Receiver<Status>, mut counted: Tally, metrics: Arc<Metrics>) {
    let mut was = None;
    loop {
        let (link, tally) = {
            let status = status.borrow_and_update();
            (status.link.clone(), status.signs.tally())
        };
        metrics.connector_link(&key, link.as_str());
        metrics.connections_made(&key, tally.connected - counted.connected);
        metrics.connections_failed(&key, tally.failed - counted.failed);
        metrics.connections_lost(&key, tally.lost - counted.lost);
        counted = tally;
        notice(&key, was.as_ref(), &link);
        was = Some(link);
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// Says in the log what became of a connection.
fn notice(key: &ConnectorKey, was: Option<&Link>, link: &Link) {
    let was_up = was.is_some_and(Link::is_up);
    match link {
        Link::Connected => tracing::info!(connector = %key, "connected"),
        Link::Degraded { error } => tracing::warn!(connector = %key, error, "connected, and of no use"),
        Link::BackingOff { error, wait } if was_up => {
            tracing::warn!(connector = %key, error, wait_ms = wait.as_millis(), "the connection is lost");
        }
        // A platform that dials us is waited for.
        Link::BackingOff { error, wait } if !wait.is_zero() => {
            tracing::warn!(connector = %key, error, wait_ms = wait.as_millis(), "no connection");
        }
        Link::Contested { error, .. } => tracing::warn!(connector = %key, error, "somebody else uses its credentials"),
        Link::AuthFailed { error } => tracing::error!(connector = %key, error, "the platform refuses it"),
        Link::BackingOff { .. } | Link::Connecting { .. } | Link::Authenticating | Link::Stopped => {}
    }
}
