//! A Matrix homeserver, as an ordinary client or as an application service. Owns its table in the configuration, and what runs side by
//! side: one way in, by sync or by push, and the deliveries.
//!
//! What is encrypted end to end is not read: a room that is gets noticed once.

mod api;
mod error;
mod markup;
mod push;
mod rooms;
mod send;
mod session;
mod sync;
mod words;

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use self::api::Api;
use self::push::Push;
use self::sync::Sync;
use super::claim::Claim;
use super::config::{Nature, default_reconnect_max};
use super::link::Connection;
use super::{AskedKey, PaceChoice, PaceLimits, Ports, deliveries};
use crate::egress::{HttpClient, HttpUrl};
use crate::rate::Quota;
use crate::secret::Secret;
use crate::units;

/// What its table holds.
pub(super) const NATURE: Nature = Nature {
    name: "matrix",
    keys: &[
        "homeserver",
        "mode",
        "user",
        "password",
        "access_token",
        "device_id",
        "rooms",
        "invites",
        "as_token",
        "hs_token",
        "listen",
        "path",
        "sync_timeout",
        "stall_timeout",
        "reconnect_max",
        "pace",
    ],
    askable: &[
        AskedKey::secret("password", "sample"),
        AskedKey::secret("access_token", "sample"),
        AskedKey::address("homeserver", "https://sample"),
    ],
};

/// What Synapse takes unless it was told otherwise: ten messages at once, then one in five seconds. Other homeservers, and one of
/// one's own, take more; for these there is `pace = "off"`.
pub(super) const PACE: PaceLimits =
    PaceLimits { token: Some(Quota::new(21, Duration::from_secs(60), 10)), direct_chat: None, group_chat: None };

/// `type = "matrix"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Table")]
pub struct MatrixConfig {
    /// Where the homeserver is, without `/_matrix`.
    pub homeserver: HttpUrl,
    /// How it is connected.
    pub mode: Mode,
    /// Rooms, by id or alias, that are joined at the start.
    pub rooms: Vec<String>,
    /// Whose invites are taken.
    pub invites: Invites,
    /// How long the homeserver may hold a sync open when there is nothing to say.
    pub sync_timeout: Duration,
    /// A sync without any answer is given up after this long.
    pub stall_timeout: Duration,
    /// The longest wait between two tries.
    pub reconnect_max: Duration,
    /// Whether what is sent keeps to the platform's limits.
    pub pace: PaceChoice,
}

/// How events come, and with which credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// We ask for them, signed in as somebody.
    Sync(Login),
    /// The homeserver calls.
    Push(Service),
}

/// How to sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// With a token that somebody else got.
    Token(Secret),
    /// With a password; the token that comes of it is kept, and so is the device.
    Password {
        /// The whole id, or the part before the colon.
        user: String,
        /// Their password.
        password: Secret,
        /// Which device to be; none: one that the homeserver names the first time.
        device_id: Option<String>,
    },
}

/// An application service, as its registration with the homeserver has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// What we show to the homeserver.
    pub as_token: Secret,
    /// What the homeserver shows to us.
    pub hs_token: Secret,
    /// Where we listen.
    pub listen: SocketAddr,
    /// Below which path.
    pub path: String,
}

/// Whose invites are taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Invites {
    /// Nobody's: rooms are joined by `rooms` only.
    #[default]
    None,
    /// Everybody's.
    All,
    /// Those of these users (`@ann:example.org`), and of all users of these servers (`example.org`).
    From(Vec<String>),
}

impl Invites {
    /// Returns whether an invite by this user is taken.
    fn includes(&self, user: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::From(list) => {
                let server = user.split_once(':').map(|(_, server)| server);
                list.iter().any(|entry| entry == user || Some(entry.as_str()) == server)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Invites {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Invites;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("\"all\", \"none\" or a list of users and servers")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Invites, E> {
                match text {
                    "all" => Ok(Invites::All),
                    "none" => Ok(Invites::None),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Invites, A::Error> {
                Deserialize::deserialize(de::value::SeqAccessDeserializer::new(list)).map(Invites::From)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    homeserver: HttpUrl,
    #[serde(default)]
    mode: ModeName,
    user: Option<String>,
    #[serde(default, deserialize_with = "some_secret")]
    password: Option<Secret>,
    #[serde(default, deserialize_with = "some_token")]
    access_token: Option<Secret>,
    device_id: Option<String>,
    #[serde(default)]
    rooms: Vec<String>,
    #[serde(default)]
    invites: Invites,
    #[serde(default, deserialize_with = "some_token")]
    as_token: Option<Secret>,
    #[serde(default, deserialize_with = "some_token")]
    hs_token: Option<Secret>,
    listen: Option<SocketAddr>,
    path: Option<String>,
    #[serde(default = "default_sync_timeout", deserialize_with = "units::positive_duration")]
    sync_timeout: Duration,
    #[serde(default, deserialize_with = "units::some_positive_duration")]
    stall_timeout: Option<Duration>,
    #[serde(default = "default_reconnect_max", deserialize_with = "units::positive_duration")]
    reconnect_max: Duration,
    #[serde(default)]
    pace: PaceChoice,
}

#[derive(Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ModeName {
    #[default]
    Sync,
    AppService,
}

fn default_sync_timeout() -> Duration {
    Duration::from_secs(30)
}

/// What a sync may take longer than the homeserver was asked to hold it.
const STALL_MARGIN: Duration = Duration::from_secs(15);
/// Below which the homeserver calls, by the specification.
const PATH: &str = "/_matrix/app/v1/";

fn some_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Secret::deserialize(deserializer).map(Some)
}

/// Refuses what would not survive as a part of a header. The text itself is never shown.
fn some_token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    let token = Secret::deserialize(deserializer)?;
    if !token.expose().is_empty() && token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Some(token))
    } else {
        Err(de::Error::custom("no token: one has letters, digits and signs only, and no space"))
    }
}

/// Why a table is none of a connector.
#[derive(Debug, thiserror::Error)]
enum TableError {
    #[error("mode = \"sync\" needs `access_token`, or `user` and `password`")]
    NoLogin,
    #[error("`access_token` and `password`: keep one of the two")]
    TwoLogins,
    #[error("`device_id` goes with `password`: a token has its device")]
    DeviceOfToken,
    #[error("mode = \"appservice\" needs `as_token`, `hs_token` and `listen`")]
    NoService,
    #[error("mode = \"{mode}\" has no `{key}`")]
    Foreign { mode: &'static str, key: &'static str },
    #[error("`path` begins and ends with `/`")]
    Path,
    #[error("`stall_timeout` must be longer than `sync_timeout`, or no sync could ever end by itself")]
    StallTooShort,
}

impl TryFrom<Table> for MatrixConfig {
    type Error = TableError;

    fn try_from(mut table: Table) -> Result<Self, TableError> {
        let stall_timeout = table.stall_timeout.unwrap_or(table.sync_timeout + STALL_MARGIN);
        if stall_timeout <= table.sync_timeout {
            return Err(TableError::StallTooShort);
        }
        let mode = match table.mode {
            ModeName::Sync => Mode::Sync(table.login()?),
            ModeName::AppService => Mode::Push(table.service()?),
        };
        let Table { homeserver, rooms, invites, sync_timeout, reconnect_max, pace, .. } = table;
        Ok(Self { homeserver, mode, rooms, invites, sync_timeout, stall_timeout, reconnect_max, pace })
    }
}

impl Table {
    fn login(&mut self) -> Result<Login, TableError> {
        let foreign = |key| Err(TableError::Foreign { mode: "sync", key });
        match (&self.as_token, &self.hs_token, &self.listen, &self.path) {
            (Some(_), ..) => return foreign("as_token"),
            (_, Some(_), ..) => return foreign("hs_token"),
            (_, _, Some(_), _) => return foreign("listen"),
            (.., Some(_)) => return foreign("path"),
            (None, None, None, None) => {}
        }
        match (self.access_token.take(), self.user.take(), self.password.take(), self.device_id.take()) {
            (Some(_), _, Some(_), _) => Err(TableError::TwoLogins),
            (Some(_), _, None, Some(_)) => Err(TableError::DeviceOfToken),
            (Some(token), ..) => Ok(Login::Token(token)),
            (None, Some(user), Some(password), device_id) => Ok(Login::Password { user, password, device_id }),
            (None, ..) => Err(TableError::NoLogin),
        }
    }

    fn service(&mut self) -> Result<Service, TableError> {
        let foreign = |key| Err(TableError::Foreign { mode: "appservice", key });
        match (&self.access_token, &self.password, &self.user, &self.device_id) {
            (Some(_), ..) => return foreign("access_token"),
            (_, Some(_), ..) => return foreign("password"),
            (_, _, Some(_), _) => return foreign("user"),
            (.., Some(_)) => return foreign("device_id"),
            (None, None, None, None) => {}
        }
        let path = self.path.take().unwrap_or_else(|| PATH.to_owned());
        if !(path.starts_with('/') && path.ends_with('/')) {
            return Err(TableError::Path);
        }
        match (self.as_token.take(), self.hs_token.take(), self.listen) {
            (Some(as_token), Some(hs_token), Some(listen)) => Ok(Service { as_token, hs_token, listen, path }),
            _ => Err(TableError::NoService),
        }
    }
}

impl MatrixConfig {
    /// Returns what no other connector can have at the same time. A homeserver would serve one account to several, and each would
    /// answer the same messages.
    pub(super) fn claims(&self) -> Vec<Claim> {
        let credential = |secret| Claim::Credential("Matrix account", secret);
        match &self.mode {
            Mode::Sync(Login::Token(token)) => vec![credential(token.clone())],
            Mode::Sync(Login::Password { user, .. }) => {
                vec![credential(Secret::new(format!("{user} at {}", self.homeserver.0.authority)))]
            }
            Mode::Push(service) => {
                vec![credential(service.as_token.clone()), Claim::Door(service.listen, service.path.clone())]
            }
        }
    }
}

/// Runs until it is told to stop.
pub(super) async fn run(config: MatrixConfig, ports: Ports) {
    let Ports { name, inbox, deliveries, status, guard, ingress, memory, cancel } = ports;
    let client = HttpClient::new(config.homeserver.0.clone(), guard);
    let api = Api::new(client, status.signs());
    let link = Connection::new(status, config.reconnect_max);
    let host = rooms::Host { connector: &name, inbox: &inbox, memory: &memory };
    let deliver = deliveries::carry_out(deliveries, &cancel, |task| send::carry_out(&api, task));
    match &config.mode {
        Mode::Sync(login) => {
            let sync = Sync::new(&api, &config, login, host);
            tokio::join!(link.keep(config.stall_timeout, &cancel, |life| sync.live(life)), deliver);
        }
        Mode::Push(service) => {
            let push = Push::new(&api, &config, service, host, (&ingress, &link));
            tokio::join!(link.keep(config.stall_timeout, &cancel, |life| push.live(life)), deliver);
        }
    }
}

#[cfg(test)]
mod tests;
