//! The host's sandbox with everything that guests need around it, and one event in the host's form and in the guest's.

use std::path::PathBuf;
use std::sync::Arc;

use bothost::clock::Timestamp;
use bothost::delivery::{Order, Overflow};
use bothost::event;
use bothost::grants::ConnectorKey;
use bothost::id::ContentHash;
use bothost::limits::{InstanceMode, Limits};
use bothost::metrics::Metrics;
use bothost::sandbox::{CompileLimits, Component, Guest, GuestContext, Load, Sandbox, SandboxConfig, Services};
use bothost::store::{OutboxSettings, Store, StoreOptions};

use super::floor::{self, GuestEvent};

/// The binary that compiles components.
pub const COMPILER: &str = env!("CARGO_BIN_EXE_host");

/// The connector that events come from.
const CONNECTOR: &str = "chat";

/// A sandbox, its directory and what its guests share.
pub struct Wall {
    /// The sandbox.
    pub sandbox: Sandbox,
    services: Services,
    dir: tempfile::TempDir,
}

impl Wall {
    /// Opens a sandbox for so many live instances.
    pub fn new(instances: u32) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let sandbox = Sandbox::open(&SandboxConfig {
            cache_dir: dir.path().join("cache"),
            compiler: Some(COMPILER.into()),
            compile: CompileLimits::default(),
            instances: Some(instances),
        });
        let store = Store::open(dir.path(), StoreOptions::default()).expect("a store");
        let outbox = OutboxSettings { len_max: 1_000, overflow: Overflow::Reject, order: Order::Priority };
        store.outbox().open(&ConnectorKey::shared(CONNECTOR.parse().expect("a name")), outbox);
        let guard = bothost::egress::AddressGuard::public_only();
        let services = Services::new(store, Arc::new(Metrics::new()), guard);
        Self { sandbox: sandbox.expect("a sandbox"), services, dir }
    }

    /// Loads a component, and says how.
    pub async fn load(&self, bytes: &[u8]) -> (Arc<Component>, Load) {
        let owned = bytes.to_owned();
        let loaded = Component::load(&self.sandbox, ContentHash::of(bytes), move || Ok(owned)).await;
        loaded.expect("the component loads")
    }

    /// Returns the component as a bot that may send as much as it likes.
    pub async fn guest(&self, component: &Arc<Component>, instance: InstanceMode) -> Guest {
        let limits = Limits { instance, sends_per_minute: u32::MAX, ..Limits::default() };
        let context = || GuestContext::new("guest".parse().expect("a name"), limits.clone(), self.services.clone());
        let manifest = component.describe(context()).await.expect("the guest describes itself");
        Guest::new(Arc::clone(component), manifest, context()).expect("nothing is to be granted")
    }

    /// Returns the file with a component's code.
    pub fn code(&self, hash: ContentHash) -> PathBuf {
        let is_code = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with(&hash.to_string()) && name.ends_with(".cwasm")
        };
        let files = std::fs::read_dir(self.dir.path().join("cache")).expect("the cache");
        files.map(|file| file.expect("a file").path()).find(is_code).expect("the component was compiled")
    }
}

/// One command as a person would write it, in both forms.
pub struct Said {
    /// The host's.
    pub event: event::Event,
    /// What the guest gets of it.
    pub guest_event: GuestEvent,
}

impl Said {
    /// Returns the command `name` with these arguments.
    pub fn command(name: &str, arguments: &[&str]) -> Self {
        let text = format!("!{name} {}", arguments.join(" "));
        let message = event::Message {
            id: "1".to_owned(),
            conversation: event::Conversation {
                connector: CONNECTOR.parse().expect("a name"),
                id: "lobby".to_owned(),
                kind: event::ConversationKind::Group,
                title: None,
                thread: None,
            },
            sender: event::User { id: "alice".to_owned(), name: None, is_bot: false },
            text: text.clone(),
            attachments: Vec::new(),
            reply_to: None,
            addressed: true,
            sent_at: Timestamp::now(),
            reply_deadline: None,
        };
        let args: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let guest_message = floor::Message {
            id: message.id.clone(),
            conversation: floor::Conversation {
                connector: CONNECTOR.to_owned(),
                id: message.conversation.id.clone(),
                kind: floor::ConversationKind::Group,
                title: None,
                thread: None,
            },
            sender: floor::User { id: message.sender.id.clone(), name: None, is_bot: false },
            text,
            attachments: Vec::new(),
            reply_to: None,
            addressed: true,
            sent_at: message.sent_at.as_millis(),
            reply_deadline: None,
        };
        let guest_command = floor::Command { name: name.to_owned(), args: args.clone(), message: guest_message };
        let command = event::Command { name: name.to_owned(), args, message };
        let connector = Some(CONNECTOR.parse().expect("a name"));
        let event = event::Event::now(connector, event::EventKind::Command(command));
        let guest_event = GuestEvent {
            id: event.id.to_string(),
            attempt: 1,
            received_at: event.received_at.as_millis(),
            connector: CONNECTOR.to_owned(),
            kind: floor::EventKind::Command(guest_command),
        };
        Self { event, guest_event }
    }
}
