//! A OneBot v11 implementation without a QQ behind it, in both roles: it listens for applications that dial it, or dials one
//! that listens.

mod api;
mod socket;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

/// The account that is logged in.
pub const SELF_ID: i64 = 10;

/// Frames that may wait for a socket that the application does not read.
const FRAMES_MAX: usize = 16 << 10;

/// A call of the API that reached the implementation.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Such as `send_group_msg`.
    pub action: String,
    /// Its `params`.
    pub parameters: Value,
}

/// What goes wrong with one call.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// It is refused.
    Fail {
        /// Any but 0 and 1.
        retcode: i64,
        /// Why.
        message: String,
    },
    /// It is carried out and never answered.
    Silence,
    /// It is carried out, and the socket breaks before the answer.
    Disconnect,
}

#[derive(Debug, Clone)]
enum Command {
    Frame(Arc<str>),
    Close,
    /// Neither read nor write, and keep the socket open.
    Hang,
}

/// The implementation. Ends when dropped.
#[derive(Debug)]
pub struct FakeOneBot {
    address: Option<SocketAddr>,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    token: Option<String>,
    inner: Mutex<Inner>,
    commands: broadcast::Sender<Command>,
    sockets: AtomicUsize,
    sockets_ever: AtomicUsize,
    next_message_id: AtomicI64,
}

#[derive(Debug, Default)]
struct Inner {
    calls: Vec<Call>,
    faults: HashMap<String, VecDeque<Fault>>,
}

impl Shared {
    fn new(token: Option<&str>) -> Arc<Self> {
        Arc::new(Self {
            token: token.map(str::to_owned),
            inner: Mutex::default(),
            commands: broadcast::Sender::new(FRAMES_MAX),
            sockets: AtomicUsize::new(0),
            sockets_ever: AtomicUsize::new(0),
            next_message_id: AtomicI64::new(100),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_message_id(&self) -> i64 {
        self.next_message_id.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for FakeOneBot {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeOneBot {
    /// Listens for applications: `/` for everything, `/event` and `/api` for one of both.
    pub async fn listen(token: Option<&str>) -> Self {
        Self::listen_on(SocketAddr::from(([127, 0, 0, 1], 0)), token).await
    }

    /// As [`FakeOneBot::listen`], on an address that is known before.
    pub async fn listen_on(address: SocketAddr, token: Option<&str>) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let shared = Shared::new(token);
        let task = tokio::spawn(socket::listen(listener, Arc::clone(&shared)));
        Self { address: Some(address), shared, task }
    }

    /// Dials an application, once. `role` is `Universal`, `API` or `Event`.
    ///
    /// # Errors
    ///
    /// The HTTP status of a refusal.
    pub async fn dial(url: &str, role: &str, token: Option<&str>) -> Result<Self, u16> {
        Self::dial_as(SELF_ID, url, role, token).await
    }

    /// As [`FakeOneBot::dial`], for another account.
    ///
    /// # Errors
    ///
    /// The HTTP status of a refusal.
    pub async fn dial_as(self_id: i64, url: &str, role: &str, token: Option<&str>) -> Result<Self, u16> {
        let shared = Shared::new(token);
        let websocket = socket::dial(self_id, url, role, token).await?;
        let commands = shared.commands.subscribe();
        let role = socket::Role { events: role != "API", calls: role != "Event" };
        let task = tokio::spawn(socket::run(websocket, role, Arc::clone(&shared), commands));
        Ok(Self { address: None, shared, task })
    }

    /// Returns where it listens.
    pub fn url(&self) -> String {
        format!("ws://{}/", self.address.expect("one that listens"))
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address.expect("one that listens")
    }

    /// Sends a frame over every socket that is for events.
    pub fn push(&self, frame: &Value) {
        // Nobody listens: lost, as in the protocol.
        let _ = self.shared.commands.send(Command::Frame(frame.to_string().into()));
    }

    /// Has a user write to a group. Returns the message's id.
    pub fn push_group_message(&self, group: i64, user: i64, message: Value) -> i64 {
        let id = self.shared.next_message_id();
        self.push(&json!({
            "time": 1_700_000_000, "self_id": SELF_ID, "post_type": "message", "message_type": "group",
            "sub_type": "normal", "message_id": id, "group_id": group, "user_id": user, "anonymous": null,
            "message": message, "raw_message": "", "font": 0,
            "sender": {"user_id": user, "nickname": "ann", "card": "Ann", "role": "member"},
        }));
        id
    }

    /// Has a user write to the account. Returns the message's id.
    pub fn push_private_message(&self, user: i64, message: Value) -> i64 {
        let id = self.shared.next_message_id();
        self.push(&json!({
            "time": 1_700_000_000, "self_id": SELF_ID, "post_type": "message", "message_type": "private",
            "sub_type": "friend", "message_id": id, "user_id": user, "message": message, "raw_message": "", "font": 0,
            "sender": {"user_id": user, "nickname": "ann"},
        }));
        id
    }

    /// Sends a heartbeat.
    pub fn push_heartbeat(&self, interval_ms: u64, online: bool) {
        self.push(&json!({
            "time": 1_700_000_000, "self_id": SELF_ID, "post_type": "meta_event", "meta_event_type": "heartbeat",
            "interval": interval_ms, "status": {"online": online, "good": true},
        }));
    }

    /// Returns every call, in the order of arrival.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.lock().calls.clone()
    }

    /// Has the next call of `action` that has no fault yet go wrong.
    pub fn fail_next(&self, action: &str, fault: Fault) {
        self.shared.lock().faults.entry(action.to_owned()).or_default().push_back(fault);
    }

    /// Returns how many sockets are open.
    pub fn sockets(&self) -> usize {
        self.shared.sockets.load(Ordering::SeqCst)
    }

    /// Returns how many sockets ever were open.
    pub fn sockets_ever(&self) -> usize {
        self.shared.sockets_ever.load(Ordering::SeqCst)
    }

    /// Closes every socket.
    pub fn close_sockets(&self) {
        let _ = self.shared.commands.send(Command::Close);
    }

    /// Has every open socket fall silent without closing it: not even pings are answered.
    pub fn hang_sockets(&self) {
        let _ = self.shared.commands.send(Command::Hang);
    }
}
