//! QQ's official API for bots on 127.0.0.1: tokens, messages, the gateway, and callbacks. Strict: only answers are taken, to messages of
//! the same place, within the window, five to each, and no number twice; a token that expired is refused, and what a session missed
//! comes again.

mod answers;
mod callback;
mod gateway;
mod state;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use self::gateway::Command;
use self::state::State;
use crate::wire::{Book, Platform, Reply, Request, Server};

pub use self::callback::Posted;
pub use self::state::Sent;

/// A running platform, its users, and whoever operates it. Ends when dropped.
#[derive(Debug)]
pub struct Qq {
    state: Arc<State>,
    server: Server,
    gateway: JoinHandle<()>,
}

impl Drop for Qq {
    fn drop(&mut self) {
        self.gateway.abort();
    }
}

impl Qq {
    /// Starts a platform that knows one bot.
    pub async fn start(app_id: &str, client_secret: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let state = Arc::new(State::new(app_id, client_secret, format!("ws://{address}/websocket")));
        let gateway = tokio::spawn(gateway::serve(listener, Arc::clone(&state)));
        let server = Server::start(Arc::new(Api(Arc::clone(&state)))).await;
        Self { state, server, gateway }
    }

    /// Returns what goes into `api_url` and `token_url`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Returns what is called and what goes wrong. Operations are named by their method and their path, ids as `{}`.
    pub fn book(&self) -> &Book {
        &self.state.book
    }

    /// Has a user say something: in `c2c:USER`, `group:G`, `channel:C` or `dm:GUILD`. Returns the message's id.
    pub fn say(&self, place: &str, user: &str, text: &str) -> String {
        self.say_ago(place, user, text, Duration::ZERO)
    }

    /// As [`Qq::say`], so long ago.
    pub fn say_ago(&self, place: &str, user: &str, text: &str, ago: Duration) -> String {
        let (kind, data, id) = self.state.said(place, user, text, ago);
        self.happen(kind, data);
        id
    }

    /// Writes a message down without telling the bot. Returns the kind of its event, what that says, and the message's id.
    pub fn write(&self, place: &str, user: &str, text: &str) -> (&'static str, Value, String) {
        self.state.said(place, user, text, Duration::ZERO)
    }

    /// Has a user press a button in a group or alone with the bot. Returns the id of the interaction.
    pub fn press(&self, place: &str, user: &str, data: &str) -> String {
        let (event, id) = self.state.pressed(place, user, data);
        self.happen("INTERACTION_CREATE", event);
        id
    }

    /// Has anything happen that the gateway tells.
    pub fn happen(&self, kind: &str, data: Value) {
        self.state.happen(kind, data);
    }

    /// Tells once more what the gateway told last, as something new.
    pub fn repeat(&self) {
        let last = self.state.lock().last.clone();
        if let Some((kind, data)) = last {
            self.happen(&kind, data);
        }
    }

    /// Returns the answers that were taken, in order.
    pub fn sent(&self) -> Vec<Sent> {
        self.state.lock().sent.clone()
    }

    /// Returns the files that were given, each with its type.
    pub fn files(&self) -> Vec<(u64, Vec<u8>)> {
        self.state.lock().files.iter().map(|file| (file.kind, file.content.clone())).collect()
    }

    /// Makes the tokens from now on last this long.
    pub fn tokens_last(&self, lasts: Duration) {
        self.state.lock().token_lasts = lasts;
    }

    /// Takes all tokens back; the next ones are good.
    pub fn revoke_tokens(&self) {
        self.state.lock().tokens.clear();
    }

    /// Refuses the credentials, and every token that was given for them; or takes them again.
    pub fn refuse_credentials(&self, refuse: bool) {
        let mut inner = self.state.lock();
        inner.is_refused = refuse;
        inner.tokens.clear();
    }

    /// Has connections from now on beat this often.
    pub fn beat_every(&self, interval: Duration) {
        self.state.lock().interval = interval;
    }

    /// Leaves heartbeats without an acknowledgement; or acknowledges them again.
    pub fn ignore_heartbeats(&self, ignore: bool) {
        self.state.ignores_heartbeats.store(ignore, Ordering::SeqCst);
    }

    /// Allows so many further identifies, and none after that until so much later.
    pub fn allow_identifies(&self, remaining: u32, reset_after: Duration) {
        let mut inner = self.state.lock();
        (inner.identifies_left, inner.reset_after) = (remaining, reset_after);
    }

    /// Closes every connection with a code.
    pub fn close(&self, code: u16) {
        self.state.command(&Command::Close(code));
    }

    /// Breaks every connection without a word.
    pub fn break_off(&self) {
        self.state.command(&Command::Break);
    }

    /// Sends any frame over every connection.
    pub fn send(&self, frame: &Value) {
        self.state.command(&Command::Frame(frame.to_string()));
    }

    /// Forgets every session: a resume is answered with op 9.
    pub fn forget_sessions(&self) {
        self.state.lock().sessions.clear();
    }

    /// Closes identifies and resumes from now on with this code; or none.
    pub fn refuse_sessions(&self, code: Option<u16>) {
        self.state.lock().refuses_with = code;
    }

    /// Returns the connections that have a session.
    pub fn connections(&self) -> usize {
        self.state.lock().sockets.len()
    }

    /// Returns the identifies that came, as they were.
    pub fn identifies(&self) -> Vec<Value> {
        self.state.lock().identifies.clone()
    }

    /// Returns the resumes that came, as they were.
    pub fn resumes(&self) -> Vec<Value> {
        self.state.lock().resumes.clone()
    }

    /// Returns the signatures of a callback with this body at this moment, in seconds since 1970.
    pub fn sign(&self, timestamp: u64, body: &str) -> String {
        callback::sign(&self.state.client_secret, timestamp, body)
    }

    /// Posts an event to a callback, signed.
    ///
    /// # Errors
    ///
    /// Nobody answers.
    pub async fn post(&self, url: &str, kind: &str, data: &Value) -> Result<Posted, String> {
        let body = json!({"op": 0, "id": format!("{kind}:{}", self.state.next()), "t": kind, "d": data}).to_string();
        self.post_body(url, &body).await
    }

    /// Posts any body to a callback, signed.
    ///
    /// # Errors
    ///
    /// Nobody answers.
    pub async fn post_body(&self, url: &str, body: &str) -> Result<Posted, String> {
        let now = state::now_millis() / 1000;
        let headers = [
            ("X-Bot-Appid".to_owned(), self.state.app_id.clone()),
            ("X-Signature-Timestamp".to_owned(), now.to_string()),
            ("X-Signature-Ed25519".to_owned(), self.sign(now, body)),
        ];
        callback::post(url, &headers, body).await
    }

    /// Posts any body with any headers.
    ///
    /// # Errors
    ///
    /// Nobody answers.
    pub async fn post_raw(&self, url: &str, headers: &[(String, String)], body: &str) -> Result<Posted, String> {
        callback::post(url, headers, body).await
    }
}

/// The HTTP side.
struct Api(Arc<State>);

impl Platform for Api {
    fn book(&self) -> &Book {
        &self.0.book
    }

    fn operation(&self, request: &Request) -> String {
        let known = |part: &&str| {
            ["v2", "users", "groups", "channels", "dms", "messages", "files", "reactions", "interactions", "gateway"]
                .contains(part)
                || ["bot", "@me", "app", "getAppAccessToken", ""].contains(part)
        };
        let parts: Vec<_> = request.path.split('/').map(|part| if known(&part) { part } else { "{}" }).collect();
        format!("{} {}", request.method, parts.join("/"))
    }

    async fn answer(&self, request: Request) -> Reply {
        let state = &self.0;
        if request.path == "/app/getAppAccessToken" && request.method == Method::POST {
            return state.give_token(&request.json());
        }
        let reply = if state.knows(request.header("authorization")) {
            answers::answer(state, &request)
        } else {
            state::refusal(401, 11244, "token not exist or expire")
        };
        reply.with("X-Tps-trace-ID", "trace-1")
    }
}
