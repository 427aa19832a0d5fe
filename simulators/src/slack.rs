//! Slack: the Web API, Socket Mode and the sender of the Events API. What is not acknowledged comes again, by another socket where
//! there is one.

mod web;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use futures_util::{SinkExt, StreamExt};
use hmac::{Hmac, KeyInit, Mac};
use http::StatusCode;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request as Handshake, Response as Accepted};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::wire::{Book, Fault, Platform, Reply, Request, Server};

/// The bot's token.
pub const BOT_TOKEN: &str = "xoxb-1-sample";
/// The token that sockets are opened with.
pub const APP_TOKEN: &str = "xapp-1-sample";
/// What requests are signed with.
pub const SIGNING_SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
/// The workspace.
pub const TEAM: &str = "T1";
/// The bot's user.
pub const BOT_USER: &str = "UBOT";
/// The bot behind it.
pub const BOT: &str = "BBOT";
/// A channel that the bot is a member of.
pub const CHANNEL: &str = "C1";
/// A public channel that it is not a member of.
pub const STRANGE_CHANNEL: &str = "C2";
/// A private channel that it cannot join.
pub const CLOSED_CHANNEL: &str = "G1";
/// A person's conversation with the bot.
pub const DIRECT: &str = "D1";

/// What waits for one socket to be written.
const SOCKET_QUEUE: usize = 1024;
const PING_EVERY: Duration = Duration::from_secs(1);

/// A running workspace with one app. Ends when dropped.
#[derive(Debug)]
pub struct Slack {
    state: Arc<Workspace>,
    server: Server,
    sockets: JoinHandle<()>,
}

impl Drop for Slack {
    fn drop(&mut self) {
        self.sockets.abort();
    }
}

#[derive(Debug)]
struct Workspace {
    book: Book,
    /// Where sockets are opened.
    link: SocketAddr,
    /// Where the Web API is; set once it listens.
    web: Mutex<String>,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    count: u64,
    is_revoked: bool,
    tickets: HashSet<String>,
    sockets: BTreeMap<u64, mpsc::Sender<Out>>,
    /// How many were ever opened.
    opened: usize,
    /// What was pushed and is not acknowledged, in order, and by which socket it went.
    unacknowledged: Vec<(Value, Option<u64>)>,
    acknowledged: Vec<String>,
    messages: Vec<Value>,
    reactions: HashSet<(String, String, String)>,
    joined: HashSet<String>,
    files: HashMap<String, File>,
}

#[derive(Debug, Clone, Default)]
struct File {
    name: String,
    length: usize,
    content: Option<Bytes>,
    shown_in: Option<String>,
}

enum Out {
    Text(String),
    Close(u16),
    /// Gone without a word.
    Cut,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inside {
    fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// Returns the `ts` of a new message: none is given out twice.
    fn ts(&mut self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        format!("{now}.{:06}", self.next())
    }

    /// Sends what waits to some socket, in order.
    fn push(&mut self) {
        let Self { sockets, unacknowledged, .. } = self;
        let waiting = unacknowledged.iter_mut().filter(|(_, by)| by.is_none_or(|by| !sockets.contains_key(&by)));
        for (envelope, by) in waiting {
            // Any of them may get it.
            let Some((number, socket)) = sockets.iter().nth(fastrand::usize(..sockets.len().max(1))) else { return };
            let _ = socket.try_send(Out::Text(envelope.to_string()));
            *by = Some(*number);
            envelope["retry_attempt"] = json!(envelope["retry_attempt"].as_u64().unwrap_or(0) + 1);
        }
    }
}

impl Slack {
    /// Starts one.
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let link = listener.local_addr().expect("a bound listener");
        let inside = Inside { joined: HashSet::from([CHANNEL.to_owned(), DIRECT.to_owned()]), ..Inside::default() };
        let state =
            Arc::new(Workspace { book: Book::default(), link, web: Mutex::default(), inside: Mutex::new(inside) });
        let server = Server::start(Arc::clone(&state)).await;
        *lock(&state.web) = server.url();
        let sockets = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { state, server, sockets }
    }

    /// Returns where the Web API is.
    pub fn api_url(&self) -> String {
        format!("{}/api", self.server.url())
    }

    /// Returns what was called, and what is to go wrong, by method.
    pub fn book(&self) -> &Book {
        &self.state.book
    }

    /// Has the next call of a method about which nothing is decided yet be refused in Slack's way.
    pub fn refuse_next(&self, method: &str, code: &str) {
        let reply = Reply::json(200, &json!({"ok": false, "error": code}));
        self.book().fail_next(method, Fault::Answer(reply));
    }

    /// Has the next call of a method about which nothing is decided yet be one too many.
    pub fn limit_next(&self, method: &str, retry_after: impl ToString) {
        let reply = Reply::json(429, &json!({"ok": false, "error": "ratelimited"})).with("Retry-After", retry_after);
        self.book().fail_next(method, Fault::Answer(reply));
    }

    /// Takes the app out of the workspace: its tokens are worth nothing, and its sockets end.
    pub fn revoke(&self) {
        self.inside().is_revoked = true;
        self.close(1000);
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        lock(&self.state.inside)
    }

    /// Returns how many sockets are open.
    pub fn sockets(&self) -> usize {
        self.inside().sockets.len()
    }

    /// Returns how many sockets were ever opened.
    pub fn opened(&self) -> usize {
        self.inside().opened
    }

    /// Returns the messages that the bot has in the workspace now, as they were sent, in order.
    pub fn sent(&self) -> Vec<Value> {
        self.inside().messages.iter().filter(|message| message["user"] == BOT_USER).cloned().collect()
    }

    /// Returns the envelopes that were acknowledged, in order.
    pub fn acknowledged(&self) -> Vec<String> {
        self.inside().acknowledged.clone()
    }

    /// Returns how many envelopes wait for their acknowledgement.
    pub fn unacknowledged(&self) -> usize {
        self.inside().unacknowledged.len()
    }

    /// Returns the names, contents and channels of the files that were shown.
    pub fn files(&self) -> Vec<(String, Vec<u8>, String)> {
        let inside = self.inside();
        let shown = inside
            .files
            .values()
            .filter_map(|file| Some((file.name.clone(), file.content.as_ref()?.to_vec(), file.shown_in.clone()?)));
        shown.collect()
    }

    /// Has somebody say something; returns its `ts`.
    pub fn say(&self, channel: &str, user: &str, text: &str) -> String {
        let (ts, payload) = self.said(channel, user, text, json!({}));
        self.push("events_api", payload);
        ts
    }

    /// As [`Slack::say`], with further fields, such as `thread_ts`.
    pub fn say_with(&self, channel: &str, user: &str, text: &str, fields: Value) -> String {
        let (ts, payload) = self.said(channel, user, text, fields);
        self.push("events_api", payload);
        ts
    }

    /// Returns what Slack tells when somebody says something, and does not tell it.
    pub fn said(&self, channel: &str, user: &str, text: &str, fields: Value) -> (String, Value) {
        let mut inside = self.inside();
        let ts = inside.ts();
        let kind = match &channel[..1] {
            "D" => "im",
            "G" => "group",
            _ => "channel",
        };
        let mut event = json!({"type": "message", "channel": channel, "channel_type": kind, "user": user, "text": text,
            "ts": ts, "event_ts": ts, "team": TEAM});
        if let (Some(event), Value::Object(fields)) = (event.as_object_mut(), fields) {
            event.extend(fields);
        }
        inside.messages.push(event.clone());
        drop(inside);
        (ts, self.callback(event))
    }

    /// Returns what Slack tells of an event.
    pub fn callback(&self, event: Value) -> Value {
        let id = self.inside().next();
        json!({"token": "verification", "team_id": TEAM, "api_app_id": "A1", "event": event, "type": "event_callback",
            "event_id": format!("Ev{id:08}"), "event_time": 1_700_000_000,
            "authorizations": [{"team_id": TEAM, "user_id": BOT_USER, "is_bot": true}]})
    }

    /// Has somebody name the bot: Slack tells of it twice, with two ids.
    pub fn mention(&self, channel: &str, user: &str, text: &str) -> String {
        let (ts, message) = self.said(channel, user, &format!("<@{BOT_USER}> {text}"), json!({}));
        let mut event = message["event"].clone();
        event["type"] = json!("app_mention");
        if let Some(event) = event.as_object_mut() {
            event.remove("channel_type");
        }
        self.push("events_api", self.callback(event));
        self.push("events_api", message);
        ts
    }

    /// Has something else happen.
    pub fn happen(&self, event: Value) {
        self.push("events_api", self.callback(event));
    }

    /// Returns what Slack tells when somebody presses the first button of a message of the bot's that has this value.
    pub fn pressed(&self, user: &str, value: &str) -> Value {
        let mut inside = self.inside();
        let action_ts = inside.ts();
        let found = inside.messages.iter().rev().find_map(|message| {
            let blocks = message["blocks"].as_array()?;
            let elements = blocks.iter().filter_map(|block| block["elements"].as_array()).flatten();
            Some((message, elements.into_iter().find(|element| element["value"] == value)?))
        });
        let (message, element) = found.expect("a button with this value");
        json!({"type": "block_actions", "user": {"id": user, "username": user, "team_id": TEAM}, "api_app_id": "A1",
            "token": "verification", "trigger_id": format!("{action_ts}.t"), "team": {"id": TEAM},
            "container": {"type": "message", "message_ts": message["ts"], "channel_id": message["channel"]},
            "channel": {"id": message["channel"], "name": "general"}, "message": message,
            "response_url": "https://hooks.slack.com/actions/secret",
            "actions": [{"type": "button", "action_id": element["action_id"], "block_id": "b", "value": value,
                "action_ts": action_ts}]})
    }

    /// Has somebody press a button.
    pub fn press(&self, user: &str, value: &str) {
        self.push("interactive", self.pressed(user, value));
    }

    /// Returns what Slack tells when somebody types a command.
    pub fn commanded(&self, channel: &str, user: &str, command: &str, text: &str) -> Value {
        let trigger = self.inside().ts();
        json!({"token": "verification", "team_id": TEAM, "channel_id": channel, "channel_name": "general", "user_id": user,
            "user_name": user, "command": command, "text": text, "api_app_id": "A1", "trigger_id": trigger,
            "response_url": "https://hooks.slack.com/commands/secret"})
    }

    /// Has somebody type a command.
    pub fn command(&self, channel: &str, user: &str, command: &str, text: &str) {
        self.push("slash_commands", self.commanded(channel, user, command, text));
    }

    /// Tells something by one of the sockets: by one that is there, or by the next.
    pub fn push(&self, kind: &str, payload: Value) {
        let mut inside = self.inside();
        let id = format!("envelope-{}", inside.next());
        let envelope = json!({"envelope_id": id, "type": kind, "payload": payload, "accepts_response_payload": kind != "events_api"});
        inside.unacknowledged.push((envelope, None));
        inside.push();
    }

    /// Tells again what was not acknowledged, as Slack does after three seconds.
    pub fn push_again(&self) {
        let mut inside = self.inside();
        inside.unacknowledged.iter_mut().for_each(|(_, by)| *by = None);
        inside.push();
    }

    /// Announces the end of every socket, for this reason.
    pub fn announce(&self, reason: &str) {
        let text = json!({"type": "disconnect", "reason": reason, "debug_info": {"host": "applink"}}).to_string();
        for socket in self.inside().sockets.values() {
            let _ = socket.try_send(Out::Text(text.clone()));
        }
    }

    /// Closes every socket with this code.
    pub fn close(&self, code: u16) {
        for socket in self.inside().sockets.values() {
            let _ = socket.try_send(Out::Close(code));
        }
    }

    /// Cuts every socket off.
    pub fn cut(&self) {
        for socket in self.inside().sockets.values() {
            let _ = socket.try_send(Out::Cut);
        }
    }
}

async fn accept(listener: TcpListener, state: Arc<Workspace>) {
    let mut sockets = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                sockets.spawn(serve(stream, Arc::clone(&state)));
            }
            Some(_) = sockets.join_next() => {}
        }
    }
}

#[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
async fn serve(stream: TcpStream, state: Arc<Workspace>) {
    let check = |request: &Handshake, response: Accepted| {
        let ticket = request.uri().query().and_then(|query| query.strip_prefix("ticket=")).unwrap_or_default();
        if lock(&state.inside).tickets.remove(ticket) {
            return Ok(response);
        }
        let mut refused = http::Response::new(Some("invalid ticket".to_owned()));
        *refused.status_mut() = StatusCode::FORBIDDEN;
        Err(refused)
    };
    let Ok(mut socket) = accept_hdr_async(stream, check).await else { return };
    let hello = json!({"type": "hello", "num_connections": lock(&state.inside).sockets.len() + 1,
        "connection_info": {"app_id": "A1"}, "debug_info": {"host": "applink", "approximate_connection_time": 18060}});
    if socket.send(Message::text(hello.to_string())).await.is_err() {
        return;
    }
    let (sender, mut queue) = mpsc::channel(SOCKET_QUEUE);
    let number = {
        let mut inside = lock(&state.inside);
        let number = inside.next();
        inside.sockets.insert(number, sender);
        inside.opened += 1;
        inside.push();
        number
    };
    let mut ping = tokio::time::interval(PING_EVERY);
    loop {
        tokio::select! {
            out = queue.recv() => match out {
                Some(Out::Text(text)) => {
                    // Whether it can be written shows when it is read.
                    let _ = socket.send(Message::text(text)).await;
                }
                Some(Out::Close(code)) => {
                    let frame = CloseFrame { code: code.into(), reason: "".into() };
                    let _ = socket.close(Some(frame)).await;
                    break;
                }
                Some(Out::Cut) | None => break,
            },
            came = socket.next() => match came {
                Some(Ok(Message::Text(text))) => {
                    let said: Value = serde_json::from_str(&text).unwrap_or_default();
                    let id = said["envelope_id"].as_str().unwrap_or_default().to_owned();
                    let mut inside = lock(&state.inside);
                    inside.unacknowledged.retain(|(envelope, _)| envelope["envelope_id"] != *id);
                    inside.acknowledged.push(id);
                }
                Some(Ok(Message::Close(_))) | Some(Err(_)) | None => break,
                Some(Ok(_)) => {}
            },
            _ = ping.tick() => {
                let _ = socket.send(Message::Ping("Ping from applink".into())).await;
            }
        }
    }
    let mut inside = lock(&state.inside);
    inside.sockets.remove(&number);
    inside.push();
}

impl Platform for Workspace {
    fn book(&self) -> &Book {
        &self.book
    }

    fn operation(&self, request: &Request) -> String {
        request.path.strip_prefix("/api/").unwrap_or(&request.path).to_owned()
    }

    async fn answer(&self, request: Request) -> Reply {
        web::answer(self, &request)
    }
}

/// How a request of the Events API is made.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Where it goes.
    pub url: String,
    /// What it is signed with.
    pub secret: String,
    /// By how many seconds its clock is wrong.
    pub skew: i64,
}

impl Delivery {
    /// Returns a good one.
    pub fn to(url: impl Into<String>) -> Self {
        Self { url: url.into(), secret: SIGNING_SECRET.to_owned(), skew: 0 }
    }

    /// Posts JSON; returns status and body.
    pub async fn post(&self, payload: &Value) -> (u16, String) {
        self.post_body("application/json", payload.to_string(), 0).await
    }

    /// Posts an interaction, as the form that it is.
    pub async fn post_interaction(&self, payload: &Value) -> (u16, String) {
        self.post_form(&json!({"payload": payload.to_string()})).await
    }

    /// Posts a form, such as that of a command.
    pub async fn post_form(&self, fields: &Value) -> (u16, String) {
        let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let pairs = fields.as_object().into_iter().flatten();
        let body = pairs.map(|(name, value)| format!("{name}={}", encoded(value.as_str().unwrap_or_default())));
        let body = body.collect::<Vec<_>>().join("&");
        self.post_body("application/x-www-form-urlencoded", body, 0).await
    }

    /// Posts JSON as Slack does until it is taken, four times at the most and without Slack's pauses; returns every status.
    pub async fn post_until_taken(&self, payload: &Value) -> Vec<u16> {
        let mut statuses = Vec::new();
        for retry in 0..4 {
            let (status, _) = self.post_body("application/json", payload.to_string(), retry).await;
            statuses.push(status);
            if (200..300).contains(&status) {
                break;
            }
        }
        statuses
    }

    async fn post_body(&self, media_type: &str, body: String, retry: u32) -> (u16, String) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let at = now.saturating_add_signed(self.skew);
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).expect("a key of any length will do");
        mac.update(format!("v0:{at}:{body}").as_bytes());
        let signature = format!("v0={}", HEXLOWER.encode(&mac.finalize().into_bytes()));
        let mut request = http::Request::post(&self.url)
            .header("content-type", media_type)
            .header("user-agent", "Slackbot 1.0 (+https://api.slack.com/robots)")
            .header("x-slack-request-timestamp", at)
            .header("x-slack-signature", signature);
        if retry > 0 {
            request = request.header("x-slack-retry-num", retry).header("x-slack-retry-reason", "http_error");
        }
        post(request.body(Full::new(Bytes::from(body))).expect("a good request")).await
    }
}

/// Posts a request to the host of its URL; returns status and body. 0: there was no answer.
pub async fn post(mut request: http::Request<Full<Bytes>>) -> (u16, String) {
    use http_body_util::BodyExt;
    let authority = request.uri().authority().expect("a URL with a host").to_string();
    let target = request.uri().path_and_query().expect("a path").as_str().parse().expect("a path");
    *request.uri_mut() = target;
    request.headers_mut().insert("host", authority.parse().expect("a host"));
    let exchange = async {
        let stream = TcpStream::connect(&authority).await.ok()?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        // Owns the sender: without it the connection ends.
        let response = async move {
            let response = sender.send_request(request).await.ok()?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.ok()?.to_bytes();
            Some((status, String::from_utf8_lossy(&body).into_owned()))
        };
        tokio::join!(response, connection).0
    };
    exchange.await.unwrap_or_default()
}
