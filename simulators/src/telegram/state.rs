//! What the server remembers.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::DATE;
use super::webhook::Hook;
use crate::wire::Book;

#[derive(Debug)]
pub(super) struct State {
    bot_id: i64,
    pub(super) book: Book,
    inner: Mutex<Inner>,
    /// Changes whenever a poll or the webhook may have something new to look at.
    pub(super) changed: watch::Sender<()>,
}

#[derive(Debug)]
struct Inner {
    token: String,
    /// Accepted calls of `sendMessage`.
    sent: usize,
    updates: VecDeque<Value>,
    next_update_id: i64,
    next_message_id: i64,
    /// None: never said, which means everything but what has to be asked for.
    allowed: Option<HashSet<String>>,
    webhook: Option<Hook>,
    posted: Vec<u16>,
    /// The newest poll; older ones are to end.
    newest_poll: u64,
    /// The bot's own messages, by chat and id.
    messages: BTreeMap<(i64, i64), Value>,
    /// Name and content, by id.
    files: HashMap<String, Vec<u8>>,
    /// Pressed buttons that were not answered.
    queries: HashSet<String>,
    blocked: HashSet<i64>,
    unknown: HashSet<i64>,
    moved: HashMap<i64, i64>,
}

/// What is between a chat and a message for it.
#[derive(Debug)]
pub(super) enum Obstacle {
    Blocked,
    Unknown,
    Moved(i64),
}

/// What has to be asked for.
const NOT_BY_DEFAULT: [&str; 3] = ["chat_member", "message_reaction", "message_reaction_count"];

/// Returns a chat as messages name it.
pub(super) fn chat(id: i64) -> Value {
    match id {
        1.. => json!({"id": id, "type": "private", "first_name": "Ann"}),
        ..=-1_000_000_000_000 => json!({"id": id, "type": "supergroup", "title": "Chat"}),
        _ => json!({"id": id, "type": "group", "title": "Chat"}),
    }
}

impl State {
    /// Returns the number of the bot that the server knows.
    pub(super) fn bot_id(&self) -> i64 {
        self.bot_id
    }

    pub(super) fn new(token: &str) -> Self {
        let inner = Inner {
            token: token.to_owned(),
            sent: 0,
            updates: VecDeque::new(),
            next_update_id: 1000,
            next_message_id: 1,
            allowed: None,
            webhook: None,
            posted: Vec::new(),
            newest_poll: 0,
            messages: BTreeMap::new(),
            files: HashMap::new(),
            queries: HashSet::new(),
            blocked: HashSet::new(),
            unknown: HashSet::new(),
            moved: HashMap::new(),
        };
        // A token begins with the bot's own number.
        let bot_id = token.split(':').next().and_then(|id| id.parse().ok()).unwrap_or(42);
        Self { bot_id, book: Book::default(), inner: Mutex::new(inner), changed: watch::Sender::new(()) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn knows(&self, token: &str) -> bool {
        self.lock().token == token
    }

    pub(super) fn token(&self) -> String {
        self.lock().token.clone()
    }

    pub(super) fn set_token(&self, token: &str) {
        token.clone_into(&mut self.lock().token);
    }

    pub(super) fn webhook(&self) -> Option<Hook> {
        self.lock().webhook.clone()
    }

    pub(super) fn set_webhook(&self, webhook: Option<Hook>) {
        self.lock().webhook = webhook;
        self.changed.send_replace(());
    }

    /// Notes how the webhook answered: with a status, or with an error.
    pub(super) fn note_posted(&self, answer: &Result<u16, String>) {
        let mut inner = self.lock();
        inner.posted.push(*answer.as_ref().unwrap_or(&0));
        let error = match answer {
            Ok(200..300) => return,
            Ok(status) => format!("Wrong response from the webhook: {status}"),
            Err(error) => error.clone(),
        };
        if let Some(webhook) = &mut inner.webhook {
            webhook.errors += 1;
            webhook.last_error = Some(error);
        }
    }

    pub(super) fn posted(&self) -> Vec<u16> {
        self.lock().posted.clone()
    }

    pub(super) fn count_sent(&self) {
        self.lock().sent += 1;
    }

    pub(super) fn sent_len(&self) -> usize {
        self.lock().sent
    }

    pub(super) fn set_allowed(&self, allowed: Option<HashSet<String>>) {
        let mut inner = self.lock();
        inner.allowed = allowed.or(inner.allowed.take());
    }

    pub(super) fn push_update(&self, kind: &str, payload: Value) -> i64 {
        let mut inner = self.lock();
        let id = inner.next_update_id;
        inner.next_update_id += 1;
        drop(inner);
        self.put_update(id, kind, payload);
        id
    }

    pub(super) fn put_update(&self, id: i64, kind: &str, payload: Value) {
        let mut inner = self.lock();
        let is_wanted = match &inner.allowed {
            Some(allowed) if !allowed.is_empty() => allowed.contains(kind),
            _ => !NOT_BY_DEFAULT.contains(&kind),
        };
        if let (true, Some(query)) = (kind == "callback_query", payload["id"].as_str()) {
            inner.queries.insert(query.to_owned());
        }
        if is_wanted {
            inner.updates.push_back(json!({"update_id": id, kind: payload}));
        }
        drop(inner);
        self.changed.send_replace(());
    }

    pub(super) fn restart_ids(&self, at: i64) {
        self.lock().next_update_id = at;
    }

    pub(super) fn unconfirmed(&self) -> Vec<i64> {
        self.lock().updates.iter().map(update_id).collect()
    }

    /// Returns the first update that nobody has taken.
    pub(super) fn first_update(&self) -> Option<Value> {
        self.lock().updates.front().cloned()
    }

    /// Notes that the webhook has taken the first update.
    pub(super) fn drop_update(&self, update: &Value) {
        let mut inner = self.lock();
        if inner.updates.front() == Some(update) {
            inner.updates.pop_front();
        }
    }

    pub(super) fn drop_updates(&self) {
        self.lock().updates.clear();
    }

    /// Begins a poll: every older one is to end. Returns its number.
    pub(super) fn begin_poll(&self, allowed: Option<HashSet<String>>) -> u64 {
        self.set_allowed(allowed);
        let mut inner = self.lock();
        inner.newest_poll += 1;
        let number = inner.newest_poll;
        drop(inner);
        self.changed.send_replace(());
        number
    }

    pub(super) fn is_newest_poll(&self, number: u64) -> bool {
        self.lock().newest_poll == number
    }

    /// Confirms everything before the offset and returns what is there after it; a negative one counts from the end. One far above
    /// every id there is belongs to ids that began anew meanwhile, and confirms nothing.
    pub(super) fn take_updates(&self, offset: Option<i64>, limit: usize) -> Vec<Value> {
        let mut inner = self.lock();
        match offset {
            Some(offset) if offset < 0 => {
                let keep = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
                let drop = inner.updates.len().saturating_sub(keep);
                inner.updates.drain(..drop);
            }
            Some(offset) if offset > inner.next_update_id => {}
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

    /// Returns a message of the bot.
    pub(super) fn message(&self, chat: i64, message: i64) -> Option<Value> {
        self.lock().messages.get(&(chat, message)).cloned()
    }

    /// Returns the messages of the bot in a chat, in their order.
    pub(super) fn messages(&self, chat: i64) -> Vec<Value> {
        self.lock().messages.iter().filter(|((at, _), _)| *at == chat).map(|(_, shown)| shown.clone()).collect()
    }

    pub(super) fn messages_in(&self, chat: i64) -> Vec<Value> {
        let inner = self.lock();
        let mut own: Vec<_> = inner.messages.iter().filter(|((own, _), _)| *own == chat).collect();
        own.sort_by_key(|((_, id), _)| *id);
        own.into_iter().map(|(_, message)| message.clone()).collect()
    }

    /// Keeps a new message of the bot, with these fields, and returns it whole.
    pub(super) fn add_message(&self, to: i64, fields: Value) -> Value {
        let id = self.next_message_id();
        let from = json!({"id": self.bot_id, "is_bot": true, "first_name": "Echo", "username": "EchoBot"});
        let mut message = json!({"message_id": id, "date": DATE, "from": from, "chat": chat(to)});
        if let (Some(message), Value::Object(fields)) = (message.as_object_mut(), fields) {
            message.extend(fields.into_iter().filter(|(_, value)| !value.is_null()));
        }
        self.set_message(to, id, Some(message.clone()));
        message
    }

    /// Changes a message of the bot, or deletes it.
    pub(super) fn set_message(&self, chat: i64, message: i64, shown: Option<Value>) {
        match shown {
            Some(shown) => self.lock().messages.insert((chat, message), shown),
            None => self.lock().messages.remove(&(chat, message)),
        };
    }

    /// Keeps a file, and returns it as messages show it.
    pub(super) fn add_file(&self, kind: &str, name: &str, media_type: &str, content: Vec<u8>) -> Value {
        let size = content.len();
        let id = format!("file{}", self.next_message_id());
        self.lock().files.insert(id.clone(), content);
        let file = json!({"file_id": id, "file_unique_id": id, "file_size": size});
        let with = |fields: Value| {
            let mut file = file.clone();
            if let (Some(file), Value::Object(fields)) = (file.as_object_mut(), fields) {
                file.extend(fields);
            }
            file
        };
        let sides = json!({"width": 1, "height": 1});
        match kind {
            "photo" => json!([with(sides)]),
            "audio" | "voice" => with(json!({"duration": 1, "mime_type": media_type})),
            "video" | "animation" => with(json!({"width": 1, "height": 1, "duration": 1, "mime_type": media_type})),
            _ => with(json!({"file_name": name, "mime_type": media_type})),
        }
    }

    pub(super) fn file(&self, id: &str) -> Option<Vec<u8>> {
        self.lock().files.get(id).cloned()
    }

    /// Takes the query of a pressed button. Returns whether it was there.
    pub(super) fn take_query(&self, id: &str) -> bool {
        self.lock().queries.remove(id)
    }

    pub(super) fn block(&self, chat: i64) {
        self.lock().blocked.insert(chat);
    }

    pub(super) fn forget_chat(&self, chat: i64) {
        self.lock().unknown.insert(chat);
    }

    pub(super) fn migrate(&self, old: i64, new: i64) {
        self.lock().moved.insert(old, new);
    }

    /// Returns why nothing can be sent to a chat.
    pub(super) fn obstacle(&self, chat: i64) -> Option<Obstacle> {
        let inner = self.lock();
        let moved = inner.moved.get(&chat).map(|new| Obstacle::Moved(*new));
        moved
            .or_else(|| inner.blocked.contains(&chat).then_some(Obstacle::Blocked))
            .or_else(|| inner.unknown.contains(&chat).then_some(Obstacle::Unknown))
    }
}

fn update_id(update: &Value) -> i64 {
    update["update_id"].as_i64().expect("made here")
}
