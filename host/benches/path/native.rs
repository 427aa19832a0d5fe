//! The floor of messages that need no disk: a scripted connector, and one task in the place of the whole host.

use std::time::Duration;

use bothost::action::{Act, Action, Outgoing, Priority, TextFormat};
use bothost::clock::Timestamp;
use bothost::connector::scripted::{ScriptedHandle, scripted};
use bothost::connector::{self, Arrival, ConnectorConfig, Delivery, Inbox, Ingress, Memory, Ports, StatusPublisher};
use bothost::egress::AddressGuard;
use bothost::event::{Conversation, EventKind};
use bothost::grants::ConnectorKey;
use bothost::id::{ConnectorName, Ticket};
use bothost::store::{Store, StoreOptions};
use harness::host::CHAT;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Arrivals and deliveries on their way, as in the host.
const CHANNEL_LEN: usize = 64;

/// A connector, and a task that answers every message.
pub struct Native {
    /// What people say.
    pub chat: ScriptedHandle,
    cancel: CancellationToken,
    /// What the connector would keep, if it kept anything.
    _dir: TempDir,
    tasks: JoinSet<()>,
}

impl Native {
    /// Starts both.
    pub fn start(runtime: &Runtime) -> Self {
        let name: ConnectorName = CHAT.parse().expect("a name");
        let (connector, chat) = scripted(name.clone());
        let (arrivals, arrived) = mpsc::channel(CHANNEL_LEN);
        let (deliveries, receiver) = mpsc::channel(CHANNEL_LEN);
        let cancel = CancellationToken::new();
        let (dir, key) = (tempfile::tempdir().expect("a temporary directory"), ConnectorKey::shared(name.clone()));
        let store = Store::open(dir.path(), StoreOptions::default()).expect("a store");
        let ports = Ports {
            inbox: Inbox::new(key.clone(), arrivals),
            name,
            deliveries: receiver,
            status: StatusPublisher::new().0,
            guard: AddressGuard::any(),
            ingress: Ingress::default(),
            memory: Memory::new(store, key),
            cancel: cancel.clone(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn_on(connector::run(ConnectorConfig::Scripted(connector), ports), runtime.handle());
        tasks.spawn_on(answer_all(arrived, deliveries), runtime.handle());
        Self { chat, cancel, _dir: dir, tasks }
    }

    /// Stops both; the task ends when its connector has.
    pub async fn stop(self) {
        self.cancel.cancel();
        self.tasks.join_all().await;
    }
}

async fn answer_all(mut arrived: mpsc::Receiver<Arrival>, deliveries: mpsc::Sender<Delivery>) {
    while let Some(Arrival { origin, event, taken }) = arrived.recv().await {
        let EventKind::Message(message) = event.kind else { continue };
        // Whoever said it waits for the answer in any case.
        let _ = taken.send(());
        let action = pong(origin, message.conversation);
        // What becomes of it is the outbox's business, which the floor has none of.
        let (outcome, _) = oneshot::channel();
        let action = action.resolve(|_| None).expect("it names no other message");
        if deliveries.send(Delivery { action, key: 0, timeout: Duration::from_secs(30), outcome }).await.is_err() {
            return;
        }
    }
}

/// Returns the answer to `!ping`.
pub fn pong(via: ConnectorKey, at: Conversation) -> Action {
    let message = Outgoing {
        text: "pong".to_owned(),
        format: TextFormat::Plain,
        buttons: Vec::new(),
        uploads: Vec::new(),
        reply_to: None,
        priority: Priority::Normal,
        expires_after: None,
    };
    Action { via, at, act: Act::Send { ticket: Ticket::generate(Timestamp::now()), message } }
}
