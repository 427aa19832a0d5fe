//! The gateway: what comes in a connection, and in which order it must.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::BOT_ID;
use super::state::{Session, State};

/// Largest frame of a client, in bytes.
const FRAME_BYTES_MAX: usize = 4096;
/// Frames that a client may send within [`FRAMES_WINDOW`].
const FRAMES_MAX: usize = 120;
const FRAMES_WINDOW: Duration = Duration::from_secs(60);
/// Between two identifies of one bucket of shards.
const IDENTIFY_WINDOW: Duration = Duration::from_secs(5);
const INTENTS_KNOWN: u64 = ((1 << 17) - 1) | (1 << 20) | (1 << 21) | (1 << 24) | (1 << 25);
const MESSAGE_CONTENT: u64 = 1 << 15;

/// Something that a connection is to do.
#[derive(Debug, Clone)]
pub enum Order {
    /// Sends a frame.
    Frame(Value),
    /// Closes with a code.
    Close(u16, &'static str),
    /// Breaks off without a word.
    Break,
    /// Asks for a new connection (op 7).
    Reconnect,
    /// Says that the session is not valid (op 9), and whether it may be resumed. Where it may not, it is forgotten.
    Invalid(bool),
    /// Asks for a heartbeat (op 1).
    Beat,
    /// Sends the last dispatch once more.
    Repeat,
}

/// One identify.
#[derive(Debug, Clone)]
pub struct Identify {
    /// When it came.
    pub at: Instant,
    /// Which shard of how many.
    pub shard: (u64, u64),
    /// As it came, but for the token.
    pub data: Value,
}

pub(super) async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                connections.spawn(connection(stream, Arc::clone(&state)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

#[expect(clippy::result_large_err, reason = "the library's signature")]
async fn connection(stream: TcpStream, state: Arc<State>) {
    let mut query = String::new();
    let look = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        query = request.uri().query().unwrap_or_default().to_owned();
        Ok(response)
    };
    let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, look).await else { return };
    let (sender, orders, heartbeat) = state.connect();
    let mut client = Client { socket, state, sender, session: None, sent: VecDeque::new() };
    let end = if ["v=10", "encoding=json"].iter().all(|part| query.split('&').any(|given| given == *part)) {
        client.run(orders, heartbeat).await
    } else {
        Some((4012, "Invalid API version."))
    };
    if let Some((code, reason)) = end {
        let _ = client.socket.close(Some(CloseFrame { code: code.into(), reason: reason.into() })).await;
        // What the other side had on its way is read, so that the close arrives.
        while let Some(Ok(_)) = client.socket.next().await {}
    }
}

type Close = (u16, &'static str);

struct Client {
    socket: WebSocketStream<TcpStream>,
    state: Arc<State>,
    sender: mpsc::Sender<Order>,
    session: Option<String>,
    sent: VecDeque<Instant>,
}

impl Client {
    /// Returns how to close; none: without a word.
    async fn run(&mut self, mut orders: mpsc::Receiver<Order>, heartbeat: Duration) -> Option<Close> {
        self.send(&json!({"op": 10, "d": {"heartbeat_interval": heartbeat.as_millis() as u64}, "s": null, "t": null}))
            .await?;
        let mut due = Instant::now() + 2 * heartbeat;
        loop {
            tokio::select! {
                order = orders.recv() => if let Some(end) = self.obey(order?).await { return end },
                () = sleep_until(due) => return Some((4009, "Session timed out.")),
                frame = self.socket.next() => match frame {
                    Some(Ok(Message::Text(text))) => match self.hear(text.as_str()).await {
                        Ok(true) => due = Instant::now() + 2 * heartbeat,
                        Ok(false) => {}
                        Err(close) => return close,
                    },
                    Some(Ok(Message::Close(frame))) => {
                        let code = frame.map(|frame| u16::from(frame.code));
                        let mut inner = self.state.lock();
                        inner.closes.push(code);
                        if matches!(code, Some(1000 | 1001)) {
                            inner.sessions.retain(|session| Some(&session.id) != self.session.as_ref());
                        }
                        return None;
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return None,
                },
            }
        }
    }

    async fn send(&mut self, frame: &Value) -> Option<()> {
        self.socket.send(Message::text(frame.to_string())).await.ok()
    }

    /// Returns an end, where there is one.
    async fn obey(&mut self, order: Order) -> Option<Option<Close>> {
        let frame = match order {
            Order::Frame(frame) => frame,
            Order::Close(code, reason) => return Some(Some((code, reason))),
            Order::Break => return Some(None),
            Order::Reconnect => json!({"op": 7, "d": null, "s": null, "t": null}),
            Order::Invalid(resumable) => {
                if !resumable {
                    self.state.lock().sessions.retain(|session| Some(&session.id) != self.session.as_ref());
                }
                json!({"op": 9, "d": resumable, "s": null, "t": null})
            }
            Order::Beat => json!({"op": 1, "d": null, "s": null, "t": null}),
            Order::Repeat => {
                let inner = self.state.lock();
                let session = inner.sessions.iter().find(|session| Some(&session.id) == self.session.as_ref());
                match session.filter(|session| !session.log.is_empty()) {
                    Some(session) => session.frame(session.log.len()),
                    None => return None,
                }
            }
        };
        match self.send(&frame).await {
            Some(()) => None,
            None => Some(None),
        }
    }

    /// Returns whether it was a heartbeat; an error is how to close.
    async fn hear(&mut self, text: &str) -> Result<bool, Option<Close>> {
        let now = Instant::now();
        self.sent.push_back(now);
        while self.sent.front().is_some_and(|at| now - *at > FRAMES_WINDOW) {
            self.sent.pop_front();
        }
        if self.sent.len() > FRAMES_MAX {
            return Err(Some((4008, "You are being rate limited.")));
        }
        let decode = Some((4002, "Error while decoding payload."));
        if text.len() > FRAME_BYTES_MAX {
            return Err(decode);
        }
        let frame: Value = serde_json::from_str(text).map_err(|_| decode)?;
        let data = &frame["d"];
        match frame["op"].as_u64() {
            Some(1) if data.is_null() || data.is_u64() => {
                if self.state.lock().acknowledges {
                    self.send(&json!({"op": 11, "d": null, "s": null, "t": null})).await.ok_or(None)?;
                }
                Ok(true)
            }
            Some(1) => Err(decode),
            Some(2 | 6) if self.session.is_some() => Err(Some((4005, "Already authenticated."))),
            Some(2) => self.identify(data).await.map(|()| false),
            Some(6) => self.resume(data).await.map(|()| false),
            Some(3 | 4 | 8) if self.session.is_some() => Ok(false),
            Some(3 | 4 | 8) => Err(Some((4003, "Not authenticated."))),
            _ => Err(Some((4001, "Unknown opcode."))),
        }
    }

    async fn identify(&mut self, data: &Value) -> Result<(), Option<Close>> {
        let shard = match &data["shard"] {
            Value::Null => (0, 1),
            given => (given[0].as_u64().unwrap_or(1), given[1].as_u64().unwrap_or(0)),
        };
        let now = Instant::now();
        let (ready, id) = {
            let mut inner = self.state.lock();
            let bucket = |shard: u64| shard % u64::from(inner.max_concurrency.max(1));
            let is_early = inner
                .identifies
                .iter()
                .any(|other| now - other.at < IDENTIFY_WINDOW && bucket(other.shard.0) == bucket(shard.0));
            let mut shown = data.clone();
            shown.as_object_mut().map(|shown| shown.remove("token"));
            inner.identifies.push(Identify { at: now, shard, data: shown });
            if let Some(code) = inner.refusals.pop_front() {
                return Err(Some((code, "As the test wants it.")));
            }
            if data["token"].as_str().is_none() || data["token"].as_str() != inner.token.as_deref() {
                return Err(Some((4004, "Authentication failed.")));
            }
            let properties = ["os", "browser", "device"].iter().all(|key| data["properties"][key].is_string());
            let Some(intents) = data["intents"].as_u64().filter(|_| properties) else {
                return Err(Some((4002, "Error while decoding payload.")));
            };
            if shard.0 >= shard.1 {
                return Err(Some((4010, "Invalid shard.")));
            }
            if intents & !INTENTS_KNOWN != 0 {
                return Err(Some((4013, "Invalid intent(s).")));
            }
            if intents & inner.forbidden != 0 {
                return Err(Some((4014, "Disallowed intent(s).")));
            }
            inner.remaining = inner.remaining.saturating_sub(1);
            if is_early {
                (None, String::new())
            } else {
                let id = format!("session-{}-{}", inner.identifies.len(), fastrand::u64(..));
                let mut session =
                    Session { id: id.clone(), shard, intents, log: Vec::new(), connection: Some(self.sender.clone()) };
                session.push("READY", json!({
                    "v": 10, "session_id": id, "resume_gateway_url": inner.url, "user": self.state.author(), "guilds": [],
                    "private_channels": [], "relationships": [], "user_settings": {}, "session_type": "normal",
                    "shard": [shard.0, shard.1], "application": {"id": BOT_ID, "flags": 0}, "geo_ordered_rtc_regions": [],
                    "_trace": [],
                }));
                inner.sessions.push(session);
                (Some(()), id)
            }
        };
        match ready {
            Some(()) => self.session = Some(id),
            None => self.send(&json!({"op": 9, "d": false, "s": null, "t": null})).await.ok_or(None)?,
        }
        Ok(())
    }

    async fn resume(&mut self, data: &Value) -> Result<(), Option<Close>> {
        let found = {
            let mut inner = self.state.lock();
            let mut shown = data.clone();
            shown.as_object_mut().map(|shown| shown.remove("token"));
            inner.resumes.push(shown);
            if let Some(code) = inner.refusals.pop_front() {
                return Err(Some((code, "As the test wants it.")));
            }
            if data["token"].as_str().is_none() || data["token"].as_str() != inner.token.as_deref() {
                return Err(Some((4004, "Authentication failed.")));
            }
            let Some(seq) = data["seq"].as_u64() else { return Err(Some((4002, "Error while decoding payload."))) };
            let id = data["session_id"].as_str().unwrap_or_default();
            let sender = self.sender.clone();
            match inner.sessions.iter_mut().find(|session| session.id == id) {
                None => None,
                Some(session) if seq > session.log.len() as u64 => return Err(Some((4007, "Invalid seq."))),
                Some(session) => {
                    // Numbered in the session as everything else.
                    session.connection = None;
                    session.push("RESUMED", json!({"_trace": []}));
                    for number in seq as usize + 1..=session.log.len() {
                        let _ = sender.try_send(Order::Frame(session.frame(number)));
                    }
                    session.connection = Some(sender);
                    Some(id.to_owned())
                }
            }
        };
        match found {
            Some(id) => self.session = Some(id),
            None => self.send(&json!({"op": 9, "d": false, "s": null, "t": null})).await.ok_or(None)?,
        }
        Ok(())
    }
}

/// Returns what a session with these intents gets of a dispatch; none: nothing.
pub(super) fn wanted(intents: u64, (shard, shards): (u64, u64), kind: &str, data: &Value) -> Option<Value> {
    let guild = data["guild_id"].as_str().and_then(|guild| guild.parse::<u64>().ok());
    if guild.map_or(0, |guild| (guild >> 22) % shards) != shard {
        return None;
    }
    let bit = match (kind, guild.is_some()) {
        ("GUILD_MEMBER_ADD" | "GUILD_MEMBER_REMOVE", _) => 1,
        (kind, true) if kind.starts_with("MESSAGE_REACTION") => 10,
        (kind, false) if kind.starts_with("MESSAGE_REACTION") => 13,
        (kind, true) if kind.starts_with("MESSAGE_") => 9,
        (kind, false) if kind.starts_with("MESSAGE_") => 12,
        (kind, _) if kind.starts_with("CHANNEL_") || kind.starts_with("THREAD_") || kind.starts_with("GUILD_") => 0,
        _ => return Some(data.clone()),
    };
    if intents & (1 << bit) == 0 {
        return None;
    }
    let mut data = data.clone();
    let names_bot = data["mentions"].as_array().is_some_and(|all| all.iter().any(|one| one["id"] == BOT_ID));
    if bit == 9 && intents & MESSAGE_CONTENT == 0 && !names_bot && data["author"]["id"] != BOT_ID {
        data["content"] = json!("");
    }
    Some(data)
}
