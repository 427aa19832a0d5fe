//! A OneBot v11 implementation without a QQ behind it, in every role: it listens for applications that dial it, dials one
//! that listens, or has its API called by HTTP and posts its events.

mod api;
mod http;
mod socket;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use crate::wire::{Book, Server};

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
    /// Close with this code.
    CloseWith(u16),
}

/// The implementation. Ends when dropped.
#[derive(Debug)]
pub struct OneBot {
    address: Option<SocketAddr>,
    shared: Arc<Shared>,
    /// Of its WebSockets.
    task: Option<JoinHandle<()>>,
    /// Of its API by HTTP.
    api: Option<(Arc<http::Api>, Server)>,
}

#[derive(Debug)]
struct Shared {
    token: Mutex<Option<String>>,
    self_id: AtomicI64,
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
    /// The messages that there are: what others name must be one of them.
    messages: HashSet<i64>,
    /// The requests that nobody has answered.
    requests: HashSet<String>,
    offline: bool,
}

impl Shared {
    fn new(token: Option<&str>) -> Arc<Self> {
        Arc::new(Self {
            token: Mutex::new(token.map(str::to_owned)),
            self_id: AtomicI64::new(SELF_ID),
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

    fn token(&self) -> Option<String> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn self_id(&self) -> i64 {
        self.self_id.load(Ordering::SeqCst)
    }

    /// Adds a message and returns its id.
    fn new_message(&self) -> i64 {
        let id = self.next_message_id.fetch_add(1, Ordering::Relaxed);
        self.lock().messages.insert(id);
        id
    }
}

impl Drop for OneBot {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl OneBot {
    /// Listens for applications: `/` for everything, `/event` and `/api` for one of both.
    pub async fn listen(token: Option<&str>) -> Self {
        Self::listen_on(SocketAddr::from(([127, 0, 0, 1], 0)), token).await
    }

    /// As [`OneBot::listen`], on an address that is known before.
    pub async fn listen_on(address: SocketAddr, token: Option<&str>) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let shared = Shared::new(token);
        let task = tokio::spawn(socket::listen(listener, Arc::clone(&shared)));
        Self { address: Some(address), shared, task: Some(task), api: None }
    }

    /// Has its API called by HTTP; events are posted by [`OneBot::post`].
    pub async fn http(token: Option<&str>) -> Self {
        let shared = Shared::new(token);
        let api = Arc::new(http::Api { shared: Arc::clone(&shared), book: Book::default() });
        let server = Server::start(Arc::clone(&api)).await;
        Self { address: Some(server.address()), shared, task: None, api: Some((api, server)) }
    }

    /// Dials an application, once. `role` is `Universal`, `API` or `Event`.
    ///
    /// # Errors
    ///
    /// The HTTP status of a refusal.
    pub async fn dial(url: &str, role: &str, token: Option<&str>) -> Result<Self, u16> {
        Self::dial_as(SELF_ID, url, role, token).await
    }

    /// As [`OneBot::dial`], for another account.
    ///
    /// # Errors
    ///
    /// The HTTP status of a refusal.
    pub async fn dial_as(self_id: i64, url: &str, role: &str, token: Option<&str>) -> Result<Self, u16> {
        Self::dial_posing_as(self_id, self_id, url, role, token).await
    }

    /// As [`OneBot::dial`], saying that the account is `pretended` where `self_id` is logged in.
    ///
    /// # Errors
    ///
    /// The HTTP status of a refusal.
    pub async fn dial_posing_as(
        pretended: i64,
        self_id: i64,
        url: &str,
        role: &str,
        token: Option<&str>,
    ) -> Result<Self, u16> {
        let shared = Shared::new(token);
        shared.self_id.store(self_id, Ordering::SeqCst);
        let websocket = socket::dial(pretended, url, role, token).await?;
        let commands = shared.commands.subscribe();
        let role = socket::Role { events: role != "API", calls: role != "Event" };
        let task = tokio::spawn(socket::run(websocket, role, Arc::clone(&shared), commands));
        Ok(Self { address: None, shared, task: Some(task), api: None })
    }

    /// Returns where it listens.
    pub fn url(&self) -> String {
        let scheme = if self.api.is_some() { "http" } else { "ws" };
        format!("{scheme}://{}/", self.address.expect("one that listens"))
    }

    /// Returns what was called by HTTP, and what is to go wrong there, by action.
    pub fn book(&self) -> &Book {
        &self.api.as_ref().expect("one with an API by HTTP").0.book
    }

    /// Logs another account in, without a word to anybody.
    pub fn log_in_as(&self, self_id: i64) {
        self.shared.self_id.store(self_id, Ordering::SeqCst);
    }

    /// Takes another access token from now on.
    pub fn change_token(&self, token: &str) {
        *self.shared.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.to_owned());
    }

    /// Has QQ log the account out, or in again, which `get_status` says from now on.
    pub fn set_online(&self, online: bool) {
        self.shared.lock().offline = !online;
    }

    /// Posts an event to an application, signed where there is a secret, and returns the status of the answer.
    pub async fn post(&self, url: &str, secret: Option<&str>, frame: &Value) -> Option<u16> {
        let body = frame.to_string();
        let signature = secret.map(|secret| http::sign(secret, body.as_bytes()));
        let self_id = self.shared.self_id().to_string();
        let mut headers = vec![("x-self-id", self_id.as_str())];
        headers.extend(signature.as_deref().map(|signature| ("x-signature", signature)));
        self.post_raw(url, &headers, body.as_bytes()).await
    }

    /// Posts anything to an application, and returns the status of the answer.
    pub async fn post_raw(&self, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<u16> {
        http::post(url, headers, body.to_vec()).await
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
        let (id, frame) = self.group_message(group, user, message);
        self.push(&frame);
        id
    }

    /// Returns a message of a user in a group, and its id.
    pub fn group_message(&self, group: i64, user: i64, message: Value) -> (i64, Value) {
        let id = self.shared.new_message();
        let frame = json!({
            "time": 1_700_000_000, "self_id": self.shared.self_id(), "post_type": "message", "message_type": "group",
            "sub_type": "normal", "message_id": id, "group_id": group, "user_id": user, "anonymous": null,
            "message": message, "raw_message": "", "font": 0,
            "sender": {"user_id": user, "nickname": "ann", "card": "Ann", "role": "member"},
        });
        (id, frame)
    }

    /// Has a user write to the account. Returns the message's id.
    pub fn push_private_message(&self, user: i64, message: Value) -> i64 {
        let (id, frame) = self.private_message(user, message);
        self.push(&frame);
        id
    }

    /// Returns a message of a user to the account, and its id.
    pub fn private_message(&self, user: i64, message: Value) -> (i64, Value) {
        let id = self.shared.new_message();
        let frame = json!({
            "time": 1_700_000_000, "self_id": self.shared.self_id(), "post_type": "message", "message_type": "private",
            "sub_type": "friend", "message_id": id, "user_id": user, "message": message, "raw_message": "", "font": 0,
            "sender": {"user_id": user, "nickname": "ann"},
        });
        (id, frame)
    }

    /// Returns a notice of this type with these fields.
    pub fn notice(&self, notice_type: &str, fields: Value) -> Value {
        let frame = json!({"time": 1_700_000_000, "self_id": self.shared.self_id(), "post_type": "notice",
            "notice_type": notice_type});
        merge(frame, fields)
    }

    /// Returns a user's request to become a friend. It can be answered once, by its `flag`.
    pub fn friend_request(&self, user: i64, comment: &str) -> Value {
        let flag = format!("flag-{}", self.shared.new_message());
        self.shared.lock().requests.insert(flag.clone());
        json!({"time": 1_700_000_000, "self_id": self.shared.self_id(), "post_type": "request", "request_type": "friend",
            "user_id": user, "comment": comment, "flag": flag})
    }

    /// Sends a heartbeat.
    pub fn push_heartbeat(&self, interval_ms: u64, online: bool) {
        self.push(&self.heartbeat(interval_ms, online));
    }

    /// Returns a heartbeat.
    pub fn heartbeat(&self, interval_ms: u64, online: bool) -> Value {
        json!({
            "time": 1_700_000_000, "self_id": self.shared.self_id(), "post_type": "meta_event", "meta_event_type": "heartbeat",
            "interval": interval_ms, "status": {"online": online, "good": true},
        })
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

    /// Closes every socket with a code.
    pub fn close_sockets_with(&self, code: u16) {
        let _ = self.shared.commands.send(Command::CloseWith(code));
    }

    /// Has every open socket fall silent without closing it: not even pings are answered.
    pub fn hang_sockets(&self) {
        let _ = self.shared.commands.send(Command::Hang);
    }
}

fn merge(mut frame: Value, fields: Value) -> Value {
    if let (Some(frame), Value::Object(fields)) = (frame.as_object_mut(), fields) {
        frame.extend(fields);
    }
    frame
}
