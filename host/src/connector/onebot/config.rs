//! The table of a OneBot connector.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use http::HeaderValue;
use serde::{Deserialize, Deserializer, de};

use crate::connector::config::default_reconnect_max;
use crate::connector::{Claim, PaceChoice};
use crate::egress::{HttpUrl, WebSocketUrl};
use crate::secret::Secret;
use crate::units;

/// `type = "onebot"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Table")]
pub struct OneBotConfig {
    /// Who dials whom.
    pub transport: Transport,
    /// What both sides know. Without one, everybody who can reach the other side is believed.
    pub access_token: Option<Secret>,
    /// The account that must be logged in; none: whichever is.
    pub account: Option<u64>,
    /// The longest wait between two tries.
    pub reconnect_max: Duration,
    /// Whether what is sent keeps to the platform's limits.
    pub pace: PaceChoice,
    /// A socket is dead after a silence this long; half-way it is asked for a sign of life. An implementation that sends
    /// heartbeats is judged by three of their intervals instead. By HTTP it is asked twice in this time, and must answer as fast.
    pub stall_timeout: Duration,
}

/// Who dials whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// We dial the implementation's WebSocket.
    Forward {
        /// Where it listens.
        url: WebSocketUrl,
    },
    /// The implementation dials our WebSocket.
    Reverse {
        /// Where we listen.
        listen: SocketAddr,
        /// The path it must ask for.
        path: String,
    },
    /// Each side posts to the other.
    Http {
        /// Where its API listens.
        url: HttpUrl,
        /// Where we listen.
        listen: SocketAddr,
        /// The path it posts to; one that ends with `/` has everything below it.
        path: String,
        /// What it signs events with. Without one, everybody on this machine is believed.
        secret: Option<Secret>,
    },
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    mode: Mode,
    url: Option<Address>,
    listen: Option<SocketAddr>,
    path: Option<String>,
    access_token: Option<Secret>,
    secret: Option<Secret>,
    account: Option<u64>,
    #[serde(default = "default_reconnect_max", deserialize_with = "units::positive_duration")]
    reconnect_max: Duration,
    #[serde(default)]
    pace: PaceChoice,
    #[serde(default = "default_stall_timeout", deserialize_with = "units::positive_duration")]
    stall_timeout: Duration,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Forward,
    Reverse,
    Http,
}

/// Where an implementation listens, by either protocol.
enum Address {
    WebSocket(WebSocketUrl),
    Http(HttpUrl),
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.parse() {
            Ok(url) => Ok(Self::Http(url)),
            Err(_) => text.parse().map(Self::WebSocket).map_err(de::Error::custom),
        }
    }
}

/// A ping after 20 seconds, and as long for its pong.
fn default_stall_timeout() -> Duration {
    Duration::from_secs(40)
}

/// What a path is where none is given: the ones most implementations are set up with.
const SOCKET_PATH: &str = "/onebot/v11/ws";
const HTTP_PATH: &str = "/onebot/v11/";

/// Keys that do not go together.
#[derive(Debug)]
struct TableError(&'static str);

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl TryFrom<Table> for OneBotConfig {
    type Error = TableError;

    fn try_from(table: Table) -> Result<Self, TableError> {
        if let Some(token) = &table.access_token {
            if token.expose().is_empty() {
                return Err(TableError("`access_token` is empty; leave it out where there is none"));
            }
            if HeaderValue::from_str(token.expose()).is_err() {
                return Err(TableError("`access_token` holds characters that no header can carry"));
            }
        }
        Ok(Self {
            access_token: table.access_token.clone(),
            account: table.account,
            reconnect_max: table.reconnect_max,
            pace: table.pace,
            stall_timeout: table.stall_timeout,
            transport: Transport::try_from(table)?,
        })
    }
}

impl TryFrom<Table> for Transport {
    type Error = TableError;

    fn try_from(table: Table) -> Result<Self, TableError> {
        let Table { mode, url, listen, path, secret, .. } = table;
        if path.as_ref().is_some_and(|path| !path.starts_with('/') || path.contains(['?', '#'])) {
            return Err(TableError("`path` begins with `/` and has neither `?` nor `#`"));
        }
        let is_exposed = listen.is_some_and(|listen| !listen.ip().is_loopback());
        let path_or = |default: &str| path.clone().unwrap_or_else(|| default.to_owned());
        match (mode, url, listen) {
            (Mode::Forward | Mode::Reverse, ..) if secret.is_some() => {
                Err(TableError("only mode = \"http\" has a `secret`; a WebSocket has an `access_token`"))
            }
            (Mode::Forward, None, _) => Err(TableError("mode = \"forward\" needs `url`")),
            (Mode::Forward, Some(_), listen) if listen.is_some() || path.is_some() => {
                Err(TableError("mode = \"forward\" has no `listen` and no `path`"))
            }
            (Mode::Forward, Some(Address::WebSocket(url)), _) => Ok(Self::Forward { url }),
            (Mode::Forward, Some(Address::Http(_)), _) => {
                Err(TableError("mode = \"forward\" dials a `url` of the form ws://HOST or wss://HOST"))
            }
            (Mode::Reverse, Some(_), _) => Err(TableError("mode = \"reverse\" has no `url`")),
            (Mode::Reverse, None, None) => Err(TableError("mode = \"reverse\" needs `listen`")),
            (Mode::Reverse, None, Some(_)) if is_exposed && table.access_token.is_none() => Err(TableError(
                "a `listen` address that others can reach needs an `access_token`; listen on 127.0.0.1 otherwise",
            )),
            (Mode::Reverse, None, Some(listen)) => Ok(Self::Reverse { listen, path: path_or(SOCKET_PATH) }),
            (Mode::Http, Some(Address::Http(_)), Some(_)) if is_exposed && secret.is_none() => Err(TableError(
                "a `listen` address that others can reach needs a `secret`; listen on 127.0.0.1 otherwise",
            )),
            (Mode::Http, ..) if secret.as_ref().is_some_and(|secret| secret.expose().is_empty()) => {
                Err(TableError("`secret` is empty; leave it out where there is none"))
            }
            (Mode::Http, Some(Address::Http(url)), Some(listen)) => {
                Ok(Self::Http { url, listen, path: path_or(HTTP_PATH), secret })
            }
            (Mode::Http, Some(Address::WebSocket(_)), _) => {
                Err(TableError("mode = \"http\" calls a `url` of the form http://HOST or https://HOST"))
            }
            (Mode::Http, ..) => {
                Err(TableError("mode = \"http\" needs `url`, where the API is, and `listen`, where events come"))
            }
        }
    }
}

impl OneBotConfig {
    /// Returns what no other connector can have at the same time.
    pub(in crate::connector) fn claims(&self) -> Vec<Claim> {
        match &self.transport {
            Transport::Forward { .. } => Vec::new(),
            Transport::Reverse { listen, .. } => vec![Claim::Listen(*listen)],
            Transport::Http { listen, path, .. } => vec![Claim::Door(*listen, path.clone())],
        }
    }
}
