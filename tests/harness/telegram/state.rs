//! What the server remembers.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::Fault;

/// A call of the API.
#[derive(Debug, Clone)]
pub struct Call {
    /// Such as `sendMessage`.
    pub method: String,
    /// The body; null where it was no JSON.
    pub parameters: Value,
    /// When it arrived.
    pub at: Instant,
    /// How it was answered; none as long as it is not.
    pub status: Option<u16>,
}

#[derive(Debug)]
pub(super) struct State {
    bot_id: i64,
    inner: Mutex<Inner>,
    /// Changes whenever a poll may have something new to look at.
    pub(super) changed: watch::Sender<()>,
    /// Open connections.
    pub(super) clients: AtomicUsize,
}

#[derive(Debug)]
struct Inner {
    token: String,
    calls: Vec<Call>,
    /// Accepted calls of `sendMessage`.
    sent: usize,
    faults: HashMap<String, VecDeque<Option<Fault>>>,
    updates: VecDeque<Value>,
    next_update_id: i64,
    next_message_id: i64,
    /// None: never said, which means everything but what has to be asked for.
    allowed: Option<HashSet<String>>,
    has_webhook: bool,
    /// The newest poll; older ones are to end.
    newest_poll: u64,
    /// The bot's own messages: (chat, message) → text.
    messages: HashMap<(i64, i64), String>,
}

/// What has to be asked for.
const NOT_BY_DEFAULT: [&str; 3] = ["chat_member", "message_reaction", "message_reaction_count"];

impl State {
    /// Returns the number of the bot that the server knows.
    pub(super) fn bot_id(&self) -> i64 {
        self.bot_id
    }

    pub(super) fn new(token: &str) -> Self {
        let inner = Inner {
            token: token.to_owned(),
            calls: Vec::new(),
            sent: 0,
            faults: HashMap::new(),
            updates: VecDeque::new(),
            next_update_id: 1000,
            next_message_id: 1,
            allowed: None,
            has_webhook: false,
            newest_poll: 0,
            messages: HashMap::new(),
        };
        // A token begins with the bot's own number.
        let bot_id = token.split(':').next().and_then(|id| id.parse().ok()).unwrap_or(42);
        Self { bot_id, inner: Mutex::new(inner), changed: watch::Sender::new(()), clients: AtomicUsize::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn knows(&self, token: &str) -> bool {
        self.lock().token == token
    }

    pub(super) fn set_token(&self, token: &str) {
        token.clone_into(&mut self.lock().token);
    }

    pub(super) fn has_webhook(&self) -> bool {
        self.lock().has_webhook
    }

    pub(super) fn set_webhook(&self, is_set: bool) {
        self.lock().has_webhook = is_set;
        self.changed.send_replace(());
    }

    pub(super) fn record(&self, method: &str, parameters: Option<&Value>) -> usize {
        let parameters = parameters.cloned().unwrap_or_default();
        let mut inner = self.lock();
        inner.calls.push(Call { method: method.to_owned(), parameters, at: Instant::now(), status: None });
        inner.calls.len() - 1
    }

    pub(super) fn finish(&self, number: usize, status: u16) {
        let mut inner = self.lock();
        inner.calls[number].status = Some(status);
        inner.sent += usize::from(status == 200 && inner.calls[number].method == "sendMessage");
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    pub(super) fn calls_len(&self) -> usize {
        self.lock().calls.len()
    }

    pub(super) fn sent_len(&self) -> usize {
        self.lock().sent
    }

    pub(super) fn script(&self, method: &str, fault: Option<Fault>) {
        self.lock().faults.entry(method.to_owned()).or_default().push_back(fault);
    }

    pub(super) fn take_fault(&self, method: &str) -> Option<Fault> {
        self.lock().faults.get_mut(method)?.pop_front().flatten()
    }

    pub(super) fn push_update(&self, kind: &str, payload: Value) -> i64 {
        let mut inner = self.lock();
        let id = inner.next_update_id;
        inner.next_update_id += 1;
        let is_wanted = match &inner.allowed {
            Some(allowed) if !allowed.is_empty() => allowed.contains(kind),
            _ => !NOT_BY_DEFAULT.contains(&kind),
        };
        if is_wanted {
            inner.updates.push_back(json!({"update_id": id, kind: payload}));
        }
        drop(inner);
        self.changed.send_replace(());
        id
    }

    pub(super) fn unconfirmed(&self) -> Vec<i64> {
        self.lock().updates.iter().map(update_id).collect()
    }

    /// Begins a poll: every older one is to end. Returns its number.
    pub(super) fn begin_poll(&self, allowed: Option<HashSet<String>>) -> u64 {
        let mut inner = self.lock();
        inner.newest_poll += 1;
        inner.allowed = allowed.or(inner.allowed.take());
        let number = inner.newest_poll;
        drop(inner);
        self.changed.send_replace(());
        number
    }

    pub(super) fn is_newest_poll(&self, number: u64) -> bool {
        self.lock().newest_poll == number
    }

    /// Confirms everything before the offset and returns what is there after it; a negative one counts from the end.
    pub(super) fn take_updates(&self, offset: Option<i64>, limit: usize) -> Vec<Value> {
        let mut inner = self.lock();
        match offset {
            Some(offset) if offset < 0 => {
                let keep = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
                let drop = inner.updates.len().saturating_sub(keep);
                inner.updates.drain(..drop);
            }
            Some(offset) => inner.updates.retain(|update| update_id(update) >= offset),
            None => {}
        }
        inner.updates.iter().take(limit).cloned().collect()
    }

    pub(super) fn next_message_id(&self) -> i64 {
        let mut inner = self.lock();
        inner.next_message_id += 1;
        inner.next_message_id
    }

    /// Returns the text of a message of the bot.
    pub(super) fn message(&self, chat: i64, message: i64) -> Option<String> {
        self.lock().messages.get(&(chat, message)).cloned()
    }

    /// Sets the text of a message of the bot, or deletes it.
    pub(super) fn set_message(&self, chat: i64, message: i64, text: Option<String>) {
        match text {
            Some(text) => self.lock().messages.insert((chat, message), text),
            None => self.lock().messages.remove(&(chat, message)),
        };
    }
}

fn update_id(update: &Value) -> i64 {
    update["update_id"].as_i64().expect("made here")
}
