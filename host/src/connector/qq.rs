//! QQ by its official API for bots, version 2: events by the gateway or by an HTTP callback, answers by HTTP. Owns the table in the
//! configuration and both ways in.

mod api;
mod callback;
mod config;
mod refusal;
mod replies;
mod send;
mod words;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use self::api::{Api, ApiError};
use self::callback::{Asked, Seal};
pub use self::config::QqConfig;
pub(super) use self::config::{NATURE, PACE};
use self::config::{ResumeToken, Transport};
use self::refusal::Class;
use self::replies::Replies;
use self::send::Sender;
use self::words::Me;
use super::gateway::{self, Closing, Dispatch, Identifies, Invitation, Lines, Platform, SessionLimit, Sessions};
use super::ingress::Knock;
use super::link::{Connection, End, Life};
use super::{Inbox, Ingress, Ports, Stopping, deliveries};
use crate::clock::Timestamp;
use crate::egress::WebSocketUrl;
use crate::event::Event;
use crate::id::ConnectorName;

/// How long a call that nobody's message depends on may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Pressed buttons that wait to be acknowledged; of more, the person sees that nothing came of it.
const PRESSED_MAX: usize = 64;
/// The pause after the gateway was sent too much.
const FLOOD_PAUSE: Duration = Duration::from_secs(5);

/// Runs until it is told to stop.
pub(super) async fn run(config: QqConfig, ports: Ports) {
    let Ports { name, inbox, deliveries, status, guard, ingress, memory, cancel } = ports;
    let api = Api::new(&config, guard.clone(), status.signs());
    let replies = Replies::new(memory.clone());
    let sender = Sender { api: &api, replies: &replies, may_markdown: config.markdown };
    let (pressed, mut acknowledged) = mpsc::channel(PRESSED_MAX);
    let bot = Bot {
        name: &name,
        config: &config,
        api: &api,
        replies: &replies,
        pressed,
        user_id: OnceLock::new(),
        is_token_refused: AtomicBool::new(false),
    };
    let sessions = Sessions::new(memory.clone(), format!("session:{}:{}", config.app_id, config.intents));
    let identifies = Identifies::new(memory, format!("identifies:{}", config.app_id));
    let (bot, connection) = (&bot, &Connection::new(status, config.reconnect_max));
    let receive = connection.keep(config.stall_timeout, &cancel, |life| {
        let lines =
            Lines { life, inbox: &inbox, guard: &guard, sessions: &sessions, identifies: &identifies, shard: 0 };
        let (ingress, inbox, transport) = (&ingress, &inbox, &config.transport);
        async move {
            let served = async {
                match transport {
                    Transport::WebSocket => gateway::live(bot, lines).await,
                    Transport::Webhook { .. } => bot.open_door(connection, lines.life, ingress, inbox).await,
                }
            };
            bot.api.begin();
            tokio::select! {
                end = served => end,
                end = bot.api.refused() => end,
            }
        }
    });
    let deliver = deliveries::carry_out(deliveries, &cancel, |task| sender.carry_out(task));
    let acknowledge = cancel.run_until_cancelled(async {
        while let Some(interaction) = acknowledged.recv().await {
            sender.acknowledge(&interaction).await;
        }
    });
    tokio::join!(receive, deliver, acknowledge);
}

/// One account, as both ways in see it.
#[derive(Debug)]
struct Bot<'a> {
    name: &'a ConnectorName,
    config: &'a QqConfig,
    api: &'a Api,
    replies: &'a Replies,
    /// Interactions to acknowledge.
    pressed: mpsc::Sender<String>,
    /// Its id as a user of guilds, once it is known.
    user_id: OnceLock<String>,
    /// The gateway has refused a token, and none has been accepted since.
    is_token_refused: AtomicBool,
}

impl Bot<'_> {
    fn me(&self) -> Me<'_> {
        let user_id = self.user_id.get().map(String::as_str);
        Me { connector: self.name, app_id: &self.config.app_id, user_id }
    }

    fn is_user(&self, user: &Value) {
        if let Some(id) = user["id"].as_str() {
            // Another id would be another account's.
            let _ = self.user_id.set(id.to_owned());
        }
    }

    /// Asks who the bot is, which shows whether the credentials are good. Without the permission to ask it stays unknown.
    async fn introduce(&self) -> Result<(), ApiError> {
        if self.user_id.get().is_some() {
            return Ok(());
        }
        match self.api.call(Method::GET, "/users/@me", None, CALL_TIMEOUT).await {
            Ok(user) => {
                self.is_user(&user);
                Ok(())
            }
            Err(error) if matches!(error.class(), Some(Class::Permanent | Class::BadRequest)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Remembers what can be answered.
    async fn remember(&self, dispatch: &Dispatch) {
        if let Some((place, of, until)) = words::answerable(dispatch) {
            self.replies.add(&place, &of, until).await;
        }
    }

    /// Says that a button has arrived, where this is one that was pressed.
    fn acknowledge(&self, dispatch: &Dispatch) {
        if let Some(interaction) = words::interaction(dispatch) {
            // More at once than anybody presses: the rest see that nothing came of it.
            let _ = self.pressed.try_send(interaction.to_owned());
        }
    }

    /// Lives one life of the callback: from when the credentials are known to be good until the end.
    async fn open_door(&self, connection: &Connection, life: Life<'_>, ingress: &Ingress, inbox: &Inbox) -> End {
        let Transport::Webhook { listen, path } = &self.config.transport else { return End::Stopped };
        life.authenticating();
        if let Err(error) = self.introduce().await {
            return error.end();
        }
        let mut door = match ingress.open(*listen, path).await {
            Ok(door) => door,
            Err(error) => return End::lost(error),
        };
        connection.listening(door.address());
        life.connected();
        life.of_use();
        let seal = Seal::new(&self.config.app_id, &self.config.client_secret);
        loop {
            // Nobody calls where nobody writes: its silence is none.
            let knock = life.while_deaf(door.next()).await;
            if self.take(&seal, inbox, life, knock).await == Err(Stopping) {
                return End::Stopped;
            }
        }
    }

    /// Takes in one request and answers it.
    async fn take(&self, seal: &Seal, inbox: &Inbox, life: Life<'_>, knock: Knock) -> Result<(), Stopping> {
        let asked = match seal.read(&knock, Timestamp::now()) {
            Ok(asked) => asked,
            Err(status) => {
                knock.answer(status);
                return Ok(());
            }
        };
        life.heard();
        let answer = match asked {
            Asked::Challenge(answer) => answer,
            Asked::Other => json!({"op": 12, "d": 0}),
            Asked::Event(dispatch) => {
                self.remember(&dispatch).await;
                if let Some(event) = words::event(&self.me(), &dispatch)
                    && let Err(stopping) = life.while_deaf(inbox.take_over(event)).await
                {
                    knock.answer(StatusCode::SERVICE_UNAVAILABLE);
                    return Err(stopping);
                }
                self.acknowledge(&dispatch);
                json!({"op": 12, "d": 0})
            }
        };
        knock.answer_json(StatusCode::OK, &answer);
        Ok(())
    }
}

/// What the platform says of its gateway.
#[derive(Deserialize)]
struct GatewayBot {
    url: String,
    session_start_limit: Option<SessionLimit>,
}

impl Platform for Bot<'_> {
    async fn invitation(&self) -> Result<Invitation, End> {
        self.introduce().await.map_err(|error| error.end())?;
        let said = self.api.call(Method::GET, "/gateway/bot", None, CALL_TIMEOUT).await.map_err(|error| error.end())?;
        let GatewayBot { url, session_start_limit } = serde_json::from_value(said)
            .map_err(|error| End::lost(format_args!("no gateway in the platform's answer: {error}")))?;
        let url: WebSocketUrl =
            url.parse().map_err(|error| End::lost(format_args!("the gateway's address: {error}")))?;
        Ok(Invitation { url, limit: session_start_limit.unwrap_or_default() })
    }

    async fn identify(&self) -> Result<Value, End> {
        let token = self.api.token(None).await.map_err(|error| error.end())?;
        Ok(json!({"token": token.prefixed(), "intents": self.config.intents, "shard": [0, 1], "properties": {}}))
    }

    async fn resume(&self, session_id: &str, seq: u64) -> Result<Value, End> {
        let token = self.api.token(None).await.map_err(|error| error.end())?;
        let token = match self.config.resume_token {
            ResumeToken::Bare => token.expose().to_owned(),
            ResumeToken::Prefixed => token.prefixed(),
        };
        Ok(json!({"token": token, "session_id": session_id, "seq": seq}))
    }

    fn ready(&self, data: &Value) -> Result<(), End> {
        self.is_token_refused.store(false, Ordering::Relaxed);
        self.is_user(&data["user"]);
        match data["session_id"].as_str() {
            Some(id) if !id.is_empty() => Ok(()),
            _ => Err(End::lost("a session without an id")),
        }
    }

    async fn arriving(&self, dispatch: &Dispatch) {
        self.remember(dispatch).await;
    }

    fn events(&self, dispatch: &Dispatch) -> Vec<Event> {
        words::event(&self.me(), dispatch).into_iter().collect()
    }

    fn taken(&self, dispatch: &Dispatch) {
        self.acknowledge(dispatch);
    }

    fn closing(&self, code: Option<u16>) -> Closing {
        match code.unwrap_or_default() {
            // The token had expired, or is one that was taken back: there may be a better one.
            4004 if !self.is_token_refused.swap(true, Ordering::Relaxed) => {
                self.api.discard();
                Closing::Identify
            }
            4004 => Closing::Refused("the gateway refuses a fresh token; look at `app_id` and `client_secret`"),
            4006 | 4007 | 4900..=4913 => Closing::Identify,
            4008 => Closing::ResumeAfter(FLOOD_PAUSE),
            4001 | 4002 => Closing::Refused("the gateway does not understand this connector"),
            4010..=4012 => Closing::Refused("the gateway wants the bot split up, or another version"),
            4013 | 4014 => Closing::Refused("the bot may not have these `intents`"),
            4914 => Closing::Refused("the bot may connect to the sandbox only; set `sandbox = true`"),
            4915 => Closing::Refused("the bot is banned"),
            _ => Closing::Resume,
        }
    }
}
