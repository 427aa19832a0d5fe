//! What the platform knows: sessions, channels, messages, interactions.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::BOT_ID;
use super::gateway::{Identify, Order, wanted};
use crate::wire::Book;

/// The first millisecond of Discord's ids.
const EPOCH_MS: u64 = 1_420_070_400_000;
/// Dispatches that wait for one connection.
const WAITING_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct State {
    pub(super) book: Book,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) url: String,
    /// None: revoked.
    pub(super) token: Option<String>,
    next: u64,
    /// By channel, the guild it belongs to.
    pub(super) channels: HashMap<String, Option<String>>,
    pub(super) messages: Vec<Value>,
    /// What was sent under a nonce, by channel and nonce.
    pub(super) nonces: HashMap<(String, String), Value>,
    pub(super) limit: (u32, Duration),
    pub(super) buckets: HashMap<String, (u32, Instant)>,
    /// Tokens of interactions that may be answered, and whether they were.
    pub(super) interactions: HashMap<String, (String, bool)>,
    pub(super) callbacks: Vec<(String, Value)>,
    pub(super) withdrawn: Vec<String>,
    pub(super) sessions: Vec<Session>,
    pub(super) identifies: Vec<Identify>,
    pub(super) resumes: Vec<Value>,
    pub(super) closes: Vec<Option<u16>>,
    pub(super) connections: usize,
    pub(super) refusals: VecDeque<u16>,
    pub(super) remaining: u32,
    pub(super) reset_after: Duration,
    pub(super) shards: u32,
    pub(super) max_concurrency: u32,
    pub(super) heartbeat: Duration,
    pub(super) acknowledges: bool,
    pub(super) forbidden: u64,
    pub(super) open: Vec<mpsc::Sender<Order>>,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) shard: (u64, u64),
    pub(super) intents: u64,
    /// Every dispatch, the first being number 1.
    pub(super) log: Vec<(String, Value)>,
    pub(super) connection: Option<mpsc::Sender<Order>>,
}

impl Session {
    pub(super) fn push(&mut self, kind: &str, data: Value) {
        self.log.push((kind.to_owned(), data));
        let order = Order::Frame(self.frame(self.log.len()));
        // A connection that has gone gets it when the session is resumed.
        if self.connection.as_ref().is_some_and(|connection| connection.try_send(order).is_err()) {
            self.connection = None;
        }
    }

    pub(super) fn frame(&self, number: usize) -> Value {
        let (kind, data) = &self.log[number - 1];
        json!({"op": 0, "s": number, "t": kind, "d": data})
    }
}

impl State {
    pub(super) fn new(token: &str, url: String) -> Self {
        let inner = Inner {
            url,
            token: Some(token.to_owned()),
            next: 0,
            channels: HashMap::new(),
            messages: Vec::new(),
            nonces: HashMap::new(),
            limit: (1000, Duration::from_secs(1)),
            buckets: HashMap::new(),
            interactions: HashMap::new(),
            callbacks: Vec::new(),
            withdrawn: Vec::new(),
            sessions: Vec::new(),
            identifies: Vec::new(),
            resumes: Vec::new(),
            closes: Vec::new(),
            connections: 0,
            refusals: VecDeque::new(),
            remaining: 1000,
            reset_after: Duration::from_secs(86_400),
            shards: 1,
            max_concurrency: 1,
            heartbeat: Duration::from_millis(41_250),
            acknowledges: true,
            forbidden: 0,
            open: Vec::new(),
        };
        Self { book: Book::default(), inner: Mutex::new(inner) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn snowflake(&self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let mut inner = self.lock();
        inner.next += 1;
        (((now - EPOCH_MS) << 22) | (inner.next & 0x3f_ffff)).to_string()
    }

    pub(super) fn author(&self) -> Value {
        json!({"id": BOT_ID, "username": "echo", "global_name": null, "discriminator": "0001", "avatar": null, "bot": true})
    }

    pub(super) fn open(&self, channel: &str, guild: Option<&str>) {
        self.lock().channels.insert(channel.to_owned(), guild.map(str::to_owned));
    }

    pub(super) fn open_interaction(&self, id: &str) -> String {
        let token = format!("interaction-token-{id}");
        self.lock().interactions.insert(id.to_owned(), (token.clone(), false));
        token
    }

    pub(super) fn dispatch(&self, kind: &str, data: Value) {
        for session in &mut self.lock().sessions {
            if let Some(data) = wanted(session.intents, session.shard, kind, &data) {
                session.push(kind, data);
            }
        }
    }

    pub(super) fn order(&self, order: &Order) {
        let mut inner = self.lock();
        inner.open.retain(|connection| !connection.is_closed());
        for connection in &inner.open {
            // One that does not read what it has is as good as told.
            let _ = connection.try_send(order.clone());
        }
    }

    pub(super) fn connect(&self) -> (mpsc::Sender<Order>, mpsc::Receiver<Order>, Duration) {
        let (sender, orders) = mpsc::channel(WAITING_MAX);
        let mut inner = self.lock();
        inner.connections += 1;
        inner.open.push(sender.clone());
        (sender, orders, inner.heartbeat)
    }
}
