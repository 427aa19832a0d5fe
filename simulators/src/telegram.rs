//! A strict Bot API server on 127.0.0.1. Strict: what Telegram would refuse, it refuses in Telegram's words, an update that was not
//! confirmed by an offset comes again, and one that a webhook did not take is posted again.

mod methods;
mod parameters;
mod state;
mod webhook;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use self::methods::Refusal;
use self::state::State;
use crate::eventually;
use crate::wire::{self, Book, Platform, Reply, Request, Server};

/// Longer than a client that has ended takes to be gone.
const PATIENCE: Duration = Duration::from_secs(30);
/// When everything happens.
const DATE: u64 = 1_700_000_000;

/// A call of the API.
#[derive(Debug, Clone)]
pub struct Call {
    /// Such as `sendMessage`.
    pub method: String,
    /// What it was called with, however that was written: texts, numbers and objects, and of a file its `file_name`, `mime_type` and
    /// `file_size`. Null where it cannot be read.
    pub parameters: Value,
    /// When it arrived.
    pub at: Instant,
    /// How it was answered; none as long as it is not.
    pub status: Option<u16>,
}

impl From<wire::Call> for Call {
    fn from(call: wire::Call) -> Self {
        let parameters = parameters::read(&call.request).map_or(Value::Null, |read| read.values);
        Self { method: call.operation, parameters, at: call.at, status: call.status }
    }
}

/// What goes wrong with one call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// "Too many requests", with this as `retry_after`; left out if it is null.
    RateLimited(Value),
    /// Any other refusal.
    Refuse {
        /// The status, also in the body.
        code: u16,
        /// In Telegram's words.
        description: String,
        /// As `parameters`.
        parameters: Value,
    },
    /// The page of a proxy that has lost the server behind it; it repeats the path, and so the token.
    Html(u16),
    /// The call is carried out, and the connection breaks in the middle of the answer.
    CutAnswer,
    /// The call is carried out, and the connection breaks before the answer.
    Reset,
    /// The call is carried out, and the answer never comes.
    Hang,
    /// The call is carried out, and a byte of the answer comes every so often.
    Trickle(Duration),
    /// The call is not carried out, and this is the answer.
    Answer(Reply),
}

impl Fault {
    /// Returns a refusal without parameters.
    pub fn refuse(code: u16, description: &str) -> Self {
        Self::Refuse { code, description: description.to_owned(), parameters: Value::Null }
    }

    fn on_wire(self, path: &str) -> wire::Fault {
        match self {
            Self::RateLimited(seconds) => {
                let parameters = if seconds.is_null() { Value::Null } else { json!({"retry_after": seconds}) };
                let refusal = Refusal { parameters, ..Refusal::new(429, "Too Many Requests: retry later") };
                wire::Fault::Answer(refusal.reply())
            }
            Self::Refuse { code, description, parameters } => {
                wire::Fault::Answer(Refusal { parameters, ..Refusal::new(code, &description) }.reply())
            }
            Self::Html(status) => {
                let reply = Reply { body: format!("<html>{path}</html>"), ..Reply::html(status) };
                wire::Fault::Answer(reply)
            }
            Self::CutAnswer => wire::Fault::CutAnswer,
            Self::Reset => wire::Fault::Reset,
            Self::Hang => wire::Fault::Hang,
            Self::Trickle(every) => wire::Fault::Trickle(every),
            Self::Answer(reply) => wire::Fault::Answer(reply),
        }
    }
}

/// The server, and the users and operators behind it. Ends when dropped.
#[derive(Debug)]
pub struct Telegram {
    state: Arc<State>,
    server: Server,
    poster: JoinHandle<()>,
}

impl Drop for Telegram {
    fn drop(&mut self) {
        self.poster.abort();
    }
}

impl Telegram {
    /// Starts a server that knows one bot, `@EchoBot`, with this token and the number that it begins with; 42 where it begins with none.
    pub async fn start(token: &str) -> Self {
        let state = Arc::new(State::new(token));
        let server = Server::start(Arc::clone(&state)).await;
        let poster = tokio::spawn(webhook::post(Arc::clone(&state)));
        Self { state, server, poster }
    }

    /// Returns what goes into `api_url`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    // What people do.

    /// Has a user write to a chat: a private one if its id is positive, a group else. Returns the update's id.
    pub fn push_message(&self, chat: i64, text: &str) -> i64 {
        let message = self.message_of(chat, json!({"text": text}));
        self.push_update("message", message)
    }

    /// Has a user write into a topic of a group. Returns the update's id.
    pub fn push_topic_message(&self, chat: i64, topic: i64, text: &str) -> i64 {
        let fields = json!({"text": text, "message_thread_id": topic, "is_topic_message": true});
        self.push_update("message", self.message_of(chat, fields))
    }

    /// Has a user send a file, with a text below it. Returns the update's id. The bot can fetch the file by `getFile`.
    pub fn push_document(&self, chat: i64, name: &str, content: &[u8], caption: &str) -> i64 {
        let document = self.state.add_file("document", name, "application/octet-stream", content.to_vec());
        self.push_update("message", self.message_of(chat, json!({"document": document, "caption": caption})))
    }

    /// Has a user change what a message says. Returns the update's id.
    pub fn push_edit(&self, chat: i64, message: i64, text: &str) -> i64 {
        let fields = json!({"message_id": message, "edit_date": DATE + 1, "text": text});
        self.push_update("edited_message", self.message_of(chat, fields))
    }

    /// Has a user press the button with this data under a message of the bot's. Returns the id of the query, which the bot is to answer.
    /// Panics where there is no such button.
    pub fn press(&self, chat: i64, message: i64, data: &str) -> String {
        let shown = self.state.message(chat, message).expect("a message of the bot's");
        let buttons = shown["reply_markup"]["inline_keyboard"].to_string();
        assert!(buttons.contains(&json!(data).to_string()), "no such button: {buttons}");
        let id = format!("q{}", self.state.next_message_id());
        let query = json!({"id": id, "from": ann(), "chat_instance": "1", "data": data, "message": shown});
        self.push_update("callback_query", query);
        id
    }

    /// Has anything happen. Returns the update's id. What the bot did not ask for by `allowed_updates` is left out.
    pub fn push_update(&self, kind: &str, payload: Value) -> i64 {
        self.state.push_update(kind, payload)
    }

    /// Has Telegram give out the update of this id again, as it may after a failure of its own.
    pub fn repeat_update(&self, kind: &str, payload: Value, id: i64) {
        self.state.put_update(id, kind, payload);
    }

    /// Has the next update carry this id: higher than is due for a gap, lower for the new beginning after a week of silence.
    pub fn restart_ids(&self, at: i64) {
        self.state.restart_ids(at);
    }

    fn message_of(&self, chat: i64, fields: Value) -> Value {
        let mut message = json!({
            "message_id": self.state.next_message_id(),
            "date": DATE,
            "from": ann(),
            "chat": state::chat(chat),
        });
        if let (Some(message), Value::Object(fields)) = (message.as_object_mut(), fields) {
            message.extend(fields);
        }
        message
    }

    /// Has a user block the bot, or a group throw it out.
    pub fn block(&self, chat: i64) {
        self.state.block(chat);
    }

    /// Makes a chat one that does not exist.
    pub fn forget_chat(&self, chat: i64) {
        self.state.forget_chat(chat);
    }

    /// Makes a group a supergroup: what goes to its old id is refused with the new one.
    pub fn migrate(&self, old: i64, new: i64) {
        self.state.migrate(old, new);
    }

    // What was seen.

    /// Returns the updates that no offset has confirmed and no webhook taken.
    pub fn unconfirmed(&self) -> Vec<i64> {
        self.state.unconfirmed()
    }

    /// Returns the texts that bots sent and that were accepted, in order.
    pub fn sent(&self) -> Vec<Value> {
        self.calls_of("sendMessage")
            .into_iter()
            .filter(|call| call.status == Some(200))
            .map(|call| call.parameters)
            .collect()
    }

    /// Returns how many texts were accepted.
    pub fn sent_len(&self) -> usize {
        self.state.sent_len()
    }

    /// Returns what the bot has said in a chat and not taken back, in order, as people see it now.
    pub fn said(&self, chat: i64) -> Vec<Value> {
        self.state.messages_in(chat)
    }

    /// Returns a message of the bot's, as people see it now; none where there is none.
    pub fn shown(&self, chat: i64, message: i64) -> Option<Value> {
        self.state.message(chat, message)
    }

    /// Returns all messages of the bot's in a chat, as people see them now.
    pub fn showing(&self, chat: i64) -> Vec<Value> {
        self.state.messages(chat)
    }

    /// Returns what is in a file that the bot sent or somebody else did.
    pub fn file(&self, file_id: &str) -> Option<Vec<u8>> {
        self.state.file(file_id)
    }

    /// Returns every call, in the order of arrival.
    pub fn calls(&self) -> Vec<Call> {
        self.state.book().calls().into_iter().map(Call::from).collect()
    }

    /// Returns every call of one method, in the order of arrival.
    pub fn calls_of(&self, method: &str) -> Vec<Call> {
        self.state.book().calls_of(method).into_iter().map(Call::from).collect()
    }

    /// Returns how many calls there were.
    pub fn calls_len(&self) -> usize {
        self.state.book().calls_len()
    }

    /// Waits until nobody is connected, and returns how many calls there were. After the end of the only client, that is the
    /// number of its last call: what it had written when it ended was read, and carried out or not.
    pub async fn deserted(&self) -> usize {
        // Connections are accepted in their order: once this one is at its end, none waits to be accepted.
        if let Ok(mut stream) = TcpStream::connect(self.server.address()).await {
            stream.shutdown().await.ok();
            stream.read_to_end(&mut Vec::new()).await.ok();
        }
        let is_deserted = || (self.state.book().clients() == 0).then_some(());
        eventually(PATIENCE, "the client's connections end", is_deserted).await;
        self.calls_len()
    }

    /// Returns the statuses with which the webhook answered, in order; 0 where it did not.
    pub fn posted(&self) -> Vec<u16> {
        self.state.posted()
    }

    // What goes wrong.

    /// Has the next call of `method` about which nothing is decided yet go wrong.
    pub fn fail_next(&self, method: &str, fault: Fault) {
        let path = format!("/bot{}/{method}", self.state.token());
        self.state.book().fail_next(method, fault.on_wire(&path));
    }

    /// Has the next call of `method` about which nothing is decided yet go well.
    pub fn pass_next(&self, method: &str) {
        self.state.book().pass_next(method);
    }

    /// Gives the bot another token that nobody knows: the old one is refused from now on.
    pub fn revoke_token(&self) {
        self.set_token("999:revoked");
    }

    /// Gives the bot this token: the old one is refused from now on.
    pub fn set_token(&self, token: &str) {
        self.state.set_token(token);
    }

    /// Has somebody set a webhook that leads nowhere, so that polls are refused until it is deleted.
    pub fn set_webhook(&self) {
        self.state.set_webhook(Some(webhook::Hook::nowhere()));
    }
}

fn ann() -> Value {
    json!({"id": 7, "is_bot": false, "first_name": "Ann"})
}

impl Platform for State {
    fn book(&self) -> &Book {
        &self.book
    }

    fn operation(&self, request: &Request) -> String {
        let Some((_, method)) = called(request) else { return "elsewhere".to_owned() };
        method.to_owned()
    }

    async fn answer(&self, request: Request) -> Reply {
        if let Some(rest) = request.path.strip_prefix("/file/bot") {
            let file = rest.split_once('/').filter(|(token, _)| self.knows(token)).and_then(|(_, id)| self.file(id));
            return match file {
                Some(content) => Reply { body: String::from_utf8_lossy(&content).into_owned(), ..Reply::default() },
                None => Refusal::new(404, "Not Found").reply(),
            };
        }
        let Some((token, method)) = called(&request) else { return Refusal::new(404, "Not Found").reply() };
        if !self.knows(token) {
            return Refusal::new(401, "Unauthorized").reply();
        }
        let Some(read) = parameters::read(&request) else {
            return Refusal::new(400, "Bad Request: can't parse JSON object").reply();
        };
        match methods::call(self, method, read).await {
            Ok(result) => Reply::json(200, &json!({"ok": true, "result": result})),
            Err(refused) => refused.reply(),
        }
    }
}

/// Returns the token and the method that a path names.
fn called(request: &Request) -> Option<(&str, &str)> {
    request.path.strip_prefix("/bot")?.split_once('/')
}
