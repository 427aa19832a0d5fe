//! One connector and the host's ends of its lines, without a host.

use std::sync::Arc;
use std::time::Duration;

use bothost::action::{Act, Action, Outgoing, Priority, ResolvedAction, TextFormat};
use bothost::connector::{
    Arrival, ConnectorConfig, Delivery, DeliveryError, Inbox, Ingress, Link, Memory, Ports, Receipt, Status,
    StatusPublisher,
};
use bothost::egress::AddressGuard;
use bothost::event::{Conversation, ConversationKind, Event, EventKind, Message};
use bothost::grants::ConnectorKey;
use bothost::id::Ticket;
use bothost::store::{Store, StoreOptions};
use serde::Deserialize;
use serde::de::value::MapDeserializer;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes.
pub const WITHIN: Duration = Duration::from_secs(20);

/// A running connector.
pub struct Rig {
    pub arrivals: mpsc::Receiver<Arrival>,
    pub deliveries: mpsc::Sender<Delivery>,
    pub status: watch::Receiver<Status>,
    pub cancel: CancellationToken,
    pub task: JoinHandle<()>,
    memory: Kept,
}

/// What connectors keep from one rig to the next.
#[derive(Clone)]
pub struct Kept {
    store: Store,
    _dir: Arc<tempfile::TempDir>,
}

impl Default for Kept {
    fn default() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(dir.path(), StoreOptions::default()).expect("a store");
        Self { store, _dir: Arc::new(dir) }
    }
}

impl Rig {
    /// Starts the connector that a table of a configuration describes.
    pub fn start(kind: &str, table: &str) -> Self {
        Self::start_with_inbox(1024, kind, table)
    }

    /// As [`Rig::start`], with an inbox of this capacity.
    pub fn start_with_inbox(capacity: usize, kind: &str, table: &str) -> Self {
        Self::start_with(Kept::default(), capacity, kind, table)
    }

    /// As [`Rig::start`], with what a connector kept that ran before.
    pub fn start_again(kept: Kept, kind: &str, table: &str) -> Self {
        Self::start_with(kept, 1024, kind, table)
    }

    fn start_with(kept: Kept, capacity: usize, kind: &str, table: &str) -> Self {
        let table: toml::Table = table.parse().expect("TOML");
        // `type` comes first, as the reader of configurations sees to.
        let entries = [("type".to_owned(), toml::Value::from(kind))].into_iter().chain(table);
        let entries = MapDeserializer::<_, toml::de::Error>::new(entries);
        let config = ConnectorConfig::deserialize(entries).expect("a good table");
        Self::with(kept, capacity, |ports| bothost::connector::run(config, ports))
    }

    /// Starts a connector by hand, with an inbox of this capacity.
    pub fn with_inbox<F>(capacity: usize, run: impl FnOnce(Ports) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::with(Kept::default(), capacity, run)
    }

    fn with<F>(memory: Kept, capacity: usize, run: impl FnOnce(Ports) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, arrivals) = mpsc::channel(capacity);
        let inbox = Inbox::new(key(), sender);
        let (deliveries, receiver) = mpsc::channel(64);
        let (publisher, status) = StatusPublisher::new();
        let cancel = CancellationToken::new();
        let name = "chat".parse().expect("a name");
        let ports = Ports {
            name,
            inbox,
            deliveries: receiver,
            status: publisher,
            guard: AddressGuard::any(),
            ingress: Ingress::default(),
            memory: Memory::new(memory.store.clone(), key()),
            cancel: cancel.clone(),
        };
        Self { arrivals, deliveries, status, cancel, task: tokio::spawn(run(ports)), memory }
    }

    /// Returns the next arrival, not taken over yet.
    pub async fn arrival(&mut self) -> Arrival {
        timeout(WITHIN, self.arrivals.recv()).await.expect("an event in time").expect("a connector that runs")
    }

    /// Takes the next event over.
    pub async fn event(&mut self) -> Event {
        let arrival = self.arrival().await;
        arrival.taken.send(()).expect("a connector that waits");
        arrival.event
    }

    /// Takes the next event over, which must be a message.
    pub async fn message(&mut self) -> Message {
        match self.event().await.kind {
            EventKind::Message(message) => message,
            other => panic!("{other:?}"),
        }
    }

    /// Returns what the connector keeps, for the next one.
    pub fn kept(&self) -> Kept {
        self.memory.clone()
    }

    /// Has the connector carry out an act, and returns where its outcome will be.
    pub async fn begin(
        &self,
        conversation: &str,
        act: Act<String>,
    ) -> oneshot::Receiver<Result<Receipt, DeliveryError>> {
        self.begin_keyed(1, conversation, act).await
    }

    /// As [`Rig::begin`], with the key of the delivery: the same for each try of one action, and for no other.
    pub async fn begin_keyed(
        &self,
        key: u64,
        conversation: &str,
        act: Act<String>,
    ) -> oneshot::Receiver<Result<Receipt, DeliveryError>> {
        let (outcome, answer) = oneshot::channel();
        let delivery = Delivery { action: action(conversation, act), key, timeout: Duration::from_secs(30), outcome };
        self.deliveries.send(delivery).await.expect("a connector that runs");
        answer
    }

    /// Has the connector carry out an act.
    pub async fn deliver(&self, conversation: &str, act: Act<String>) -> Result<Receipt, DeliveryError> {
        let answer = self.begin(conversation, act).await;
        timeout(WITHIN, answer).await.expect("an outcome in time").expect("an outcome")
    }

    /// Has the connector carry out an act under a key.
    pub async fn deliver_keyed(
        &self,
        key: u64,
        conversation: &str,
        act: Act<String>,
    ) -> Result<Receipt, DeliveryError> {
        let answer = self.begin_keyed(key, conversation, act).await;
        timeout(WITHIN, answer).await.expect("an outcome in time").expect("an outcome")
    }

    /// Returns the first link from now on for which `is_it` holds.
    pub async fn link(&mut self, is_it: impl Fn(&Link) -> bool) -> Link {
        let found = timeout(WITHIN, self.status.wait_for(|status| is_it(&status.link))).await;
        found.expect("the link in time").expect("a connector that runs").link.clone()
    }

    pub async fn connected(&mut self) {
        self.link(|link| *link == Link::Connected).await;
    }

    /// Waits until the connector backs off, and returns why.
    pub async fn backing_off(&mut self) -> (String, Duration) {
        match self.link(|link| matches!(link, Link::BackingOff { .. })).await {
            Link::BackingOff { error, wait } => (error, wait),
            other => panic!("{other:?}"),
        }
    }

    /// Tells the connector to stop and waits until it has.
    pub async fn stop(self) {
        self.cancel.cancel();
        timeout(WITHIN, self.task).await.expect("an end in time").expect("an end without a panic");
        assert_eq!(self.status.borrow().link, Link::Stopped);
    }
}

pub fn action(conversation: &str, act: Act<String>) -> ResolvedAction {
    let (id, thread) = match conversation.split_once('#') {
        Some((id, thread)) if !id.is_empty() => (id, Some(thread.to_owned())),
        // The name of a channel may begin so.
        _ => (conversation, None),
    };
    let connector = key().name;
    let at = Conversation { connector, id: id.to_owned(), kind: ConversationKind::Group, title: None, thread };
    Action { via: key(), at, act }
}

fn key() -> ConnectorKey {
    ConnectorKey::shared("chat".parse().expect("a name"))
}

/// A message to send that says this and nothing else.
pub fn outgoing(text: &str) -> Outgoing<String> {
    Outgoing {
        text: text.to_owned(),
        format: TextFormat::Plain,
        buttons: Vec::new(),
        uploads: Vec::new(),
        reply_to: None,
        priority: Priority::Normal,
        expires_after: None,
    }
}

pub fn send(message: Outgoing<String>) -> Act<String> {
    Act::Send { ticket: Ticket(1), message }
}

pub fn say(text: &str) -> Act<String> {
    send(outgoing(text))
}
