//! The connectors that run: each with its own task, and the task that empties its outbox. Starts, stops and restarts them; what
//! they connect to is theirs alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::connector::{self, Arrival, ConnectorConfig, Inbox, Ports, Status, StatusPublisher};
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
    board: Arc<LinkBoard>,
}

struct Running {
    status: watch::Receiver<Status>,
    cancel: CancellationToken,
    /// The connector, its outbox's sender, and who measures it.
    tasks: [JoinHandle<()>; 3],
}

impl Connectors {
    /// Returns the set without any.
    pub fn new(services: ConnectorServices) -> Self {
        Self { services, running: BTreeMap::new(), board: Arc::default() }
    }

    /// Returns where everybody can read how the connectors stand.
    pub fn board(&self) -> Arc<LinkBoard> {
        Arc::clone(&self.board)
    }

    /// Starts a connector; one that runs under this key is stopped first. What waits in its outbox stays.
    pub async fn start(&mut self, key: ConnectorKey, connector: ConnectorConfig) {
        self.halt(&key, Instant::now() + STOP_MAX).await;
        let ConnectorServices { store, metrics, tracer, arrivals, outbox, terms } = self.services.clone();
        let terms = terms.subscribe();
        store.outbox().open(&key, outbox);
        let (deliveries, receiver) = mpsc::channel(DELIVERIES_MAX);
        let (publisher, status) = StatusPublisher::new();
        let cancel = CancellationToken::new();
        let ports = Ports {
            name: key.name.clone(),
            inbox: Inbox::new(key.clone(), arrivals).noting(publisher.signs()),
            deliveries: receiver,
            status: publisher,
            cancel: cancel.clone(),
        };
        let measure = measure(key.clone(), status.clone(), Arc::clone(&metrics));
        let limits = connector.pace();
        let status_of = status.clone();
        let sender = Sender { key: key.clone(), store, deliveries, status: status_of, limits, terms, metrics, tracer };
        let tasks = [
            tokio::spawn(connector::run(connector, ports)),
            tokio::spawn(sender.run(cancel.clone())),
            tokio::spawn(measure),
        ];
        let running = Running { status, cancel, tasks };
        self.running.insert(key, running);
        self.publish();
    }

    /// Has every outbox behave so from now on.
    pub fn set_outbox(&mut self, settings: OutboxSettings, ttl: Duration) {
        self.services.outbox = settings;
        for key in self.running.keys() {
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
        match self.services.store.close_outbox(key).await {
            Ok(0) => {}
            Ok(lost) => tracing::warn!(connector = %key, lost, "actions are lost: their connector was removed"),
            Err(error) => {
                tracing::error!(connector = %key, error = &error as &dyn std::error::Error, "the outbox was not closed");
            }
        }
        self.services.metrics.forget_connector(key);
    }

    /// Stops all connectors.
    pub async fn stop_all(&mut self) {
        self.pause(self.running.keys().cloned().collect()).await;
    }

    /// Stops a connector: lets it finish what it delivers until `deadline`, then cuts it off.
    async fn halt(&mut self, key: &ConnectorKey, deadline: Instant) {
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
        self.publish();
    }

    fn publish(&self) {
        let board = self.running.iter().map(|(key, running)| (key.clone(), running.status.clone())).collect();
        self.board.replace(board);
    }
}

/// Measures how a connector stands until it has ended.
async fn measure(key: ConnectorKey, mut status: watch::Receiver<Status>, metrics: Arc<Metrics>) {
    let mut counted = 0;
    loop {
        let (link, connections) = {
            let status = status.borrow_and_update();
            (status.link.as_str(), status.connections)
        };
        metrics.connector_link(&key, link);
        metrics.connections_made(&key, connections - counted);
        counted = connections;
        if status.changed().await.is_err() {
            return;
        }
    }
}
