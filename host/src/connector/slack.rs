//! Slack: Socket Mode, where we dial, and the Events API, where Slack calls us. Owns the connection: Slack is told that an event
//! arrived only after the host has it.
//!
//! ```text
//! Socket Mode   auth.test, apps.connections.open ─► socket ── hello, envelopes ─► inbox ─► envelope acknowledged
//!               told that it will be closed, a socket is replaced first: for a moment there are two, and events come by either
//! Events API    auth.test, door ── signed requests ─► inbox ─► 200
//! ```

mod api;
mod config;
mod send;
mod words;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::timeout;

use self::api::{Api, ApiError};
pub use self::config::{Reception, SlackConfig};
use self::send::Sender;
use self::words::Me;
use super::claim::Claim;
use super::config::Nature;
use super::ingress::{Door, Ingress, IngressError, Knock};
use super::link::{Connection, End, Life};
use super::signature;
use super::socket::{Frame, OpenError, Socket, SocketEnd};
use super::{AskedKey, Inbox, PaceLimits, Ports, Stopping, deliveries};
use crate::clock::Timestamp;
use crate::egress::{AddressGuard, HttpClient, WebSocketUrl};
use crate::event::{Event, EventKind};
use crate::id::ConnectorName;
use crate::rate::{Quota, Rate};
use crate::secret::Secret;

/// What its table holds.
pub(super) const NATURE: Nature = Nature {
    name: "slack",
    keys: &[
        "bot_token",
        "app_token",
        "signing_secret",
        "listen",
        "path",
        "api_url",
        "stall_timeout",
        "reconnect_max",
        "pace",
    ],
    askable: &[
        AskedKey::secret("bot_token", "xoxb-sample"),
        AskedKey::secret("app_token", "xapp-sample"),
        AskedKey::address("api_url", "https://sample"),
    ],
};

/// What Slack takes, by <https://docs.slack.dev/apis/web-api/rate-limits>: about a message a second in a channel with short bursts,
/// and "several hundred" a minute in a workspace.
pub(super) const PACE: PaceLimits = PaceLimits {
    token: Some(Quota::new(300, Duration::from_secs(60), 20)),
    direct_chat: Some(CHANNEL),
    group_chat: Some(CHANNEL),
};

const CHANNEL: Quota = Quota::new(60, Duration::from_secs(60), 3);

/// How often a socket is replaced at once. A socket lives for hours.
const REPLACEMENTS: Quota = Quota::new(3, Duration::from_secs(60), 3);
/// How long a call that belongs to the connection itself may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a new socket may keep us waiting for its `hello`.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after Slack said that the app has too many sockets.
const CROWDED: Duration = Duration::from_secs(30);
/// When Socket Mode is looked for again after it was switched off.
const SWITCHED_OFF: Duration = Duration::from_secs(600);
/// Events after which a token is worth nothing.
const GOODBYES: [&str; 2] = ["tokens_revoked", "app_uninstalled"];
/// How far Slack's clock and ours may differ, and how old a request may be.
const TOLERANCE: Duration = Duration::from_secs(300);

impl SlackConfig {
    /// Returns what no other connector can have at the same time: of two sockets of one app Slack tells each event to one.
    pub(super) fn claims(&self) -> Vec<Claim> {
        match &self.reception {
            Reception::Socket { app_token } => vec![Claim::Credential("Slack app token", app_token.clone())],
            Reception::Events { listen, path, .. } => vec![Claim::Door(*listen, path.clone())],
        }
    }
}

/// Runs until it is told to stop.
pub(super) async fn run(config: SlackConfig, ports: Ports) {
    let Ports { name, inbox, deliveries, status, guard, ingress, memory, cancel } = ports;
    let client = HttpClient::new(config.api_url.0.clone(), guard.clone());
    let api = Api::new(client, config.bot_token.clone(), status.signs());
    let connection = Connection::new(status, config.reconnect_max);
    let doubts = Notify::new();
    let sender = Sender { api: &api, memory: &memory, guard: &guard, doubts: &doubts };
    let intake = Intake { api: &api, name: &name, inbox: &inbox, guard: &guard, doubts: &doubts };
    let deliver = deliveries::carry_out(deliveries, &cancel, |task| sender.carry_out(task));
    let receive = async {
        match &config.reception {
            Reception::Socket { app_token } => {
                connection.keep(config.stall_timeout, &cancel, |life| intake.live_by_socket(life, app_token)).await;
            }
            Reception::Events { signing_secret, listen, path } => {
                // It is we who ask: silence is an answer that did not come.
                let stall_timeout = config.stall_timeout + 2 * CALL_TIMEOUT;
                let every = config.stall_timeout / 2;
                let live =
                    |life| intake.live_by_door(life, &connection, &ingress, *listen, path, signing_secret, every);
                connection.keep(stall_timeout, &cancel, live).await;
            }
        }
    };
    tokio::join!(receive, deliver);
}

/// What a connection needs to bring events in.
#[derive(Clone, Copy)]
struct Intake<'a> {
    api: &'a Api,
    name: &'a ConnectorName,
    inbox: &'a Inbox,
    guard: &'a AddressGuard,
    /// Told when a token is perhaps worth nothing any more.
    doubts: &'a Notify,
}

impl Intake<'_> {
    /// Asks who we are, by which Slack also says whether the token is good.
    async fn me(&self) -> Result<Me, ApiError> {
        let answer = self.api.call("auth.test", &json!({}), CALL_TIMEOUT).await?;
        Me::deserialize(&answer).map_err(|_| ApiError::Unreadable { status: 200 })
    }

    /// Hands events over.
    async fn take_over(&self, life: Life<'_>, events: Vec<Event>) -> Result<(), Stopping> {
        for event in events {
            if matches!(&event.kind, EventKind::Custom { name } if GOODBYES.contains(&name.as_str())) {
                self.doubts.notify_one();
            }
            life.while_deaf(self.inbox.take_over(event)).await?;
        }
        Ok(())
    }

    async fn live_by_socket(self, life: Life<'_>, app_token: &Secret) -> End {
        let serve = async {
            let me = self.me().await.map_err(end_of)?;
            life.authenticating();
            let socket = self.open(app_token).await?;
            life.connected();
            self.serve(life, app_token, &me, socket).await
        };
        serve.await.unwrap_or_else(|end| end)
    }

    /// Opens a socket and waits until Slack greets.
    async fn open(&self, app_token: &Secret) -> Result<Socket, End> {
        let answer =
            self.api.call_as("apps.connections.open", &json!({}), app_token, CALL_TIMEOUT).await.map_err(end_of)?;
        // The ticket in it is as good as the token for a moment: it is in no error.
        let url = answer["url"].as_str().and_then(|url| url.parse().ok());
        let Some(WebSocketUrl(endpoint)) = url else { return Err(End::lost("Slack named no address of a socket")) };
        let mut socket =
            Socket::open(&endpoint, Default::default(), self.guard).await.map_err(|error| match error {
                OpenError::Refused(StatusCode::TOO_MANY_REQUESTS) => End::Wait(CROWDED, error.to_string()),
                error => End::lost(error),
            })?;
        let greeted = timeout(HELLO_TIMEOUT, async {
            loop {
                if let Frame::Text(text) = socket.next().await.map_err(End::lost)? {
                    return first_word(&read(&text));
                }
            }
        });
        greeted.await.unwrap_or_else(|_| Err(End::lost("no hello from Slack")))?;
        Ok(socket)
    }

    /// Serves a socket and those that come after it.
    async fn serve(&self, life: Life<'_>, app_token: &Secret, me: &Me, socket: Socket) -> Result<End, End> {
        let mut socket = Some(socket);
        let mut replacements = Rate::within(REPLACEMENTS);
        let mut successor: Option<BoxFuture<'_, Result<Socket, End>>> = None;
        loop {
            let came = async {
                match &mut socket {
                    Some(socket) => socket.next().await,
                    None => std::future::pending().await,
                }
            };
            let opened = async {
                match &mut successor {
                    Some(opening) => opening.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                frame = came => match frame {
                    Ok(Frame::Sign) => life.heard(),
                    Ok(Frame::Text(text)) => {
                        life.heard();
                        let envelope = read(&text);
                        match Word::of(&envelope) {
                            Word::Leaving if successor.is_none() && replacements.take(1, Instant::now()).is_err() => {
                                return Err(End::Renew("Slack sends one socket after the other away".to_owned()));
                            }
                            Word::Leaving => {
                                successor.get_or_insert_with(|| Box::pin(self.open(app_token)));
                            }
                            Word::Ended(end) => return Err(end),
                            Word::Greeting => {}
                            Word::Envelope(id) => {
                                let events = words::of_envelope(self.name, me, &envelope);
                                if self.take_over(life, events).await.is_err() {
                                    return Ok(End::Stopped);
                                }
                                if let Some(socket) = &mut socket {
                                    socket.send(json!({"envelope_id": id}).to_string()).await.map_err(End::lost)?;
                                }
                                life.of_use();
                            }
                        }
                    }
                    // Slack said so before.
                    Err(SocketEnd::Closed { .. } | SocketEnd::Broken(_)) if successor.is_some() => socket = None,
                    Err(error) => return Err(End::lost(error)),
                },
                opened = opened => {
                    successor = None;
                    // What came by the old one and was not acknowledged comes again by the new one.
                    if let Some(old) = socket.replace(opened?) {
                        old.close(1000, "replaced").await;
                    }
                    life.heard();
                }
                () = self.doubts.notified() => {
                    self.me().await.map_err(end_of)?;
                }
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one caller, which takes them out of the table")]
    async fn live_by_door(
        self,
        life: Life<'_>,
        connection: &Connection,
        ingress: &Ingress,
        listen: SocketAddr,
        path: &str,
        signing_secret: &Secret,
        every: Duration,
    ) -> End {
        let serve = async {
            let me = self.me().await.map_err(end_of)?;
            life.authenticating();
            let door = ingress.open(listen, path).await.map_err(|error| match error {
                IngressError::Taken { .. } => End::refused(error),
                IngressError::Bind { .. } => End::lost(error),
            })?;
            connection.listening(door.address());
            life.connected();
            let watch = async {
                loop {
                    // Whichever comes first.
                    let _ = timeout(every, self.doubts.notified()).await;
                    match self.me().await.map_err(end_of) {
                        Ok(_) => life.connected(),
                        Err(end @ End::Refused { .. }) => return end,
                        // The door stays open: what Slack has to say may come all the same.
                        Err(End::Lost(error) | End::Wait(_, error)) => life.degraded(error),
                        Err(end) => return end,
                    }
                }
            };
            tokio::select! {
                end = watch => Err(end),
                end = self.answer(life, &me, door, signing_secret) => Ok(end),
            }
        };
        serve.await.unwrap_or_else(|end: End| end)
    }

    async fn answer(&self, life: Life<'_>, me: &Me, mut door: Door, signing_secret: &Secret) -> End {
        loop {
            let knock = door.next().await;
            let said = match said(&knock, signing_secret) {
                Ok(said) => said,
                Err(status) => {
                    knock.answer(status);
                    continue;
                }
            };
            if said["type"] == "url_verification" {
                knock.answer_json(StatusCode::OK, &json!({"challenge": said["challenge"]}));
                continue;
            }
            if self.take_over(life, words::of_request(self.name, me, &said)).await.is_err() {
                knock.answer(StatusCode::SERVICE_UNAVAILABLE);
                return End::Stopped;
            }
            knock.answer(StatusCode::OK);
            life.of_use();
        }
    }
}

/// What a text on a socket is about.
enum Word {
    Greeting,
    /// The socket will be closed; another is to take its place.
    Leaving,
    Ended(End),
    Envelope(String),
}

impl Word {
    fn of(text: &Value) -> Self {
        match (text["type"].as_str(), text["envelope_id"].as_str(), text["reason"].as_str()) {
            (_, Some(id), _) => Self::Envelope(id.to_owned()),
            (Some("disconnect"), _, Some("link_disabled")) => Self::Ended(End::Refused {
                error: "Socket Mode is switched off for this app".to_owned(),
                retry: Some(SWITCHED_OFF),
            }),
            (Some("disconnect"), _, Some("too_many_websockets")) => {
                let wait = CROWDED + CROWDED.mul_f64(fastrand::f64());
                Self::Ended(End::Wait(wait, "this app has too many sockets: who else uses its token?".to_owned()))
            }
            (Some("disconnect"), ..) => Self::Leaving,
            _ => Self::Greeting,
        }
    }
}

/// Reads the first text on a socket. Whatever it is, it is Slack's; only a goodbye is none to begin with.
fn first_word(text: &Value) -> Result<(), End> {
    match Word::of(text) {
        Word::Greeting => Ok(()),
        Word::Ended(end) => Err(end),
        // Unacknowledged, it comes again.
        Word::Envelope(_) => Err(End::lost("an envelope before the hello")),
        Word::Leaving => Err(End::lost("closed by Slack before it began")),
    }
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// Returns what a request says if it is Slack's, or the status that it gets otherwise.
fn said(knock: &Knock, signing_secret: &Secret) -> Result<Value, StatusCode> {
    if knock.method != http::Method::POST {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    if !is_signed(knock, signing_secret, Timestamp::now()) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let media_type = knock.header("content-type").unwrap_or_default();
    match media_type.split(';').next().unwrap_or_default().trim() {
        "application/json" => serde_json::from_slice(&knock.body).map_err(|_| StatusCode::BAD_REQUEST),
        "application/x-www-form-urlencoded" => words::read_form(&knock.body).ok_or(StatusCode::BAD_REQUEST),
        _ => Err(StatusCode::UNSUPPORTED_MEDIA_TYPE),
    }
}

/// Returns whether a request is Slack's, and of now.
fn is_signed(knock: &Knock, signing_secret: &Secret, now: Timestamp) -> bool {
    let header = |name| knock.header(name);
    let (Some(at), Some(given)) = (header("x-slack-request-timestamp"), header("x-slack-signature")) else {
        return false;
    };
    let Some(signature) = given.strip_prefix("v0=") else { return false };
    let parts = [b"v0:", at.as_bytes(), b":", &knock.body[..]];
    signature::is_recent(at, TOLERANCE, now)
        && signature::is_hex_mac(signing_secret.expose().as_bytes(), &parts, signature)
}

/// Returns how a life ends whose own calls fail like this.
fn end_of(error: ApiError) -> End {
    match error {
        ApiError::Limited(wait) => End::Wait(wait, error.to_string()),
        _ if error.is_of_credentials() => End::refused(error),
        error => End::lost(error),
    }
}
