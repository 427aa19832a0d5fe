//! The table of a OneBot connector.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use crate::connector::PaceChoice;
use crate::egress::WebSocketUrl;
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
    /// The longest wait between two tries.
    pub reconnect_max: Duration,
    /// Whether what is sent keeps to the platform's limits.
    pub pace: PaceChoice,
    /// A socket is dead after a silence this long; half-way it is asked for a sign of life. An implementation that sends
    /// heartbeats is judged by three of their intervals instead.
    pub stall_timeout: Duration,
}

/// Who dials whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// We dial the implementation.
    Forward {
        /// Where it listens.
        url: WebSocketUrl,
    },
    /// The implementation dials us.
    Reverse {
        /// Where we listen.
        listen: SocketAddr,
        /// The path it must ask for.
        path: String,
    },
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    mode: Mode,
    url: Option<WebSocketUrl>,
    listen: Option<SocketAddr>,
    path: Option<String>,
    access_token: Option<Secret>,
    #[serde(default = "default_reconnect_max", deserialize_with = "units::positive_duration")]
    reconnect_max: Duration,
    #[serde(default)]
    pace: PaceChoice,
    #[serde(default = "default_stall_timeout", deserialize_with = "units::positive_duration")]
    stall_timeout: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Forward,
    Reverse,
}

fn default_reconnect_max() -> Duration {
    Duration::from_secs(60)
}

/// A ping after 20 seconds, and as long for its pong.
fn default_stall_timeout() -> Duration {
    Duration::from_secs(40)
}

/// What a path is where none is given: the one most implementations are set up with.
const PATH: &str = "/onebot/v11/ws";

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
        let transport = match (table.mode, table.url, table.listen, table.path) {
            (Mode::Forward, Some(url), None, None) => Transport::Forward { url },
            (Mode::Forward, None, ..) => return Err(TableError("mode = \"forward\" needs `url`")),
            (Mode::Forward, ..) => return Err(TableError("mode = \"forward\" has no `listen` and no `path`")),
            (Mode::Reverse, Some(_), ..) => return Err(TableError("mode = \"reverse\" has no `url`")),
            (Mode::Reverse, None, None, _) => return Err(TableError("mode = \"reverse\" needs `listen`")),
            (Mode::Reverse, None, Some(listen), path) => {
                let path = path.unwrap_or_else(|| PATH.to_owned());
                if !path.starts_with('/') || path.contains(['?', '#']) {
                    return Err(TableError("`path` begins with `/` and has neither `?` nor `#`"));
                }
                if table.access_token.is_none() && !listen.ip().is_loopback() {
                    let why = "a `listen` address that others can reach needs an `access_token`; listen on 127.0.0.1 otherwise";
                    return Err(TableError(why));
                }
                Transport::Reverse { listen, path }
            }
        };
        if table.access_token.as_ref().is_some_and(|token| token.expose().is_empty()) {
            return Err(TableError("`access_token` is empty; leave it out where there is none"));
        }
        Ok(Self {
            transport,
            access_token: table.access_token,
            reconnect_max: table.reconnect_max,
            pace: table.pace,
            stall_timeout: table.stall_timeout,
        })
    }
}
