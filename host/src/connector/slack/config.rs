//! The table of a Slack connector.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use crate::connector::PaceChoice;
use crate::egress::HttpUrl;
use crate::secret::Secret;
use crate::units;

/// `type = "slack"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Table")]
pub struct SlackConfig {
    /// What acts are done with.
    pub bot_token: Secret,
    /// How events come.
    pub reception: Reception,
    /// Where the Web API is.
    pub api_url: HttpUrl,
    /// A socket is dead after a silence this long. Slack pings every 10 to 30 seconds.
    pub stall_timeout: Duration,
    /// The longest wait between two tries.
    pub reconnect_max: Duration,
    /// Whether what is sent keeps to the platform's limits.
    pub pace: PaceChoice,
}

/// How events come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reception {
    /// By a socket that we open.
    Socket {
        /// What sockets are opened with.
        app_token: Secret,
    },
    /// By requests of Slack's.
    Events {
        /// What they are signed with.
        signing_secret: Secret,
        /// Where we listen.
        listen: SocketAddr,
        /// The path of events, interactions and commands alike.
        path: String,
    },
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(deserialize_with = "token")]
    bot_token: Secret,
    #[serde(default, deserialize_with = "some_token")]
    app_token: Option<Secret>,
    signing_secret: Option<Secret>,
    listen: Option<SocketAddr>,
    path: Option<String>,
    #[serde(default = "default_api_url")]
    api_url: HttpUrl,
    #[serde(default = "default_minute", deserialize_with = "units::positive_duration")]
    stall_timeout: Duration,
    #[serde(default = "default_minute", deserialize_with = "units::positive_duration")]
    reconnect_max: Duration,
    #[serde(default)]
    pace: PaceChoice,
}

fn default_api_url() -> HttpUrl {
    "https://slack.com/api".parse().expect("a constant")
}

fn default_minute() -> Duration {
    Duration::from_secs(60)
}

/// What a path is where none is given: the one that Slack's own frameworks have.
const PATH: &str = "/slack/events";

/// Refuses what would not survive as a header's value. The text itself is never shown.
fn token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    let token = Secret::deserialize(deserializer)?;
    if !token.expose().is_empty() && token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(token)
    } else {
        Err(de::Error::custom("no token: one looks like xoxb-… or xapp-… and has neither spaces nor other than ASCII"))
    }
}

fn some_token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    token(deserializer).map(Some)
}

/// Keys that do not go together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct TableError(&'static str);

impl TryFrom<Table> for SlackConfig {
    type Error = TableError;

    fn try_from(table: Table) -> Result<Self, TableError> {
        let reception = match (table.app_token, table.signing_secret, table.listen) {
            (Some(app_token), None, None) if table.path.is_none() => Reception::Socket { app_token },
            (Some(_), ..) => {
                return Err(TableError("with `app_token` there is no `signing_secret`, `listen` or `path`"));
            }
            (None, None, _) => {
                return Err(TableError("needs `app_token` for Socket Mode, or `signing_secret` and `listen`"));
            }
            (None, Some(_), None) => return Err(TableError("`signing_secret` needs `listen`")),
            (None, Some(signing_secret), Some(listen)) => {
                let path = table.path.unwrap_or_else(|| PATH.to_owned());
                if !path.starts_with('/') || path.contains(['?', '#']) {
                    return Err(TableError("`path` begins with `/` and has neither `?` nor `#`"));
                }
                if signing_secret.expose().is_empty() {
                    return Err(TableError("`signing_secret` is empty"));
                }
                Reception::Events { signing_secret, listen, path }
            }
        };
        let Table { bot_token, api_url, stall_timeout, reconnect_max, pace, .. } = table;
        Ok(Self { bot_token, reception, api_url, stall_timeout, reconnect_max, pace })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(table: &str) -> Result<SlackConfig, String> {
        // Not its `Display`: that repeats the line of the file, and with it a secret.
        let read = SlackConfig::deserialize(toml::Deserializer::parse(table).unwrap());
        read.map_err(|error| error.message().to_owned())
    }

    const BOT: &str = "bot_token = \"xoxb-s3cret\"\n";

    #[test]
    fn events_come_by_a_socket_or_at_a_door() {
        let by_socket = read(&format!("{BOT}app_token = \"xapp-s3cret\"")).unwrap();
        assert_eq!(by_socket.reception, Reception::Socket { app_token: Secret::new("xapp-s3cret") });
        assert_eq!((by_socket.stall_timeout, by_socket.api_url), (Duration::from_secs(60), default_api_url()));
        let by_door = read(&format!("{BOT}signing_secret = \"s3cret\"\nlisten = \"127.0.0.1:1\"")).unwrap();
        let Reception::Events { path, .. } = &by_door.reception else { panic!("{by_door:?}") };
        assert_eq!(path, PATH);
        assert!(!format!("{by_door:?} {:?}", by_socket.reception).contains("s3cret"));
    }

    #[test]
    fn what_is_wrong_with_a_table_is_said_without_its_secrets() {
        for (table, expected) in [
            ("", "missing field `bot_token`"),
            ("bot_token = \"s3cret \"", "no token"),
            ("bot_token = \"\"", "no token"),
            (BOT, "needs `app_token`"),
            (&format!("{BOT}listen = \"127.0.0.1:1\""), "needs `app_token`"),
            (&format!("{BOT}signing_secret = \"s3cret\""), "needs `listen`"),
            (&format!("{BOT}signing_secret = \"\"\nlisten = \"127.0.0.1:1\""), "`signing_secret` is empty"),
            (&format!("{BOT}app_token = \"x\"\npath = \"/\""), "with `app_token` there is no"),
            (&format!("{BOT}app_token = \"x\"\nsigning_secret = \"s3cret\""), "with `app_token` there is no"),
            (&format!("{BOT}signing_secret = \"s3cret\"\nlisten = \"127.0.0.1:1\"\npath = \"x\""), "begins with `/`"),
            (&format!("{BOT}app_token = \"x\"\nstall_timeout = \"0s\""), "longer than zero"),
            (&format!("{BOT}app_token = \"x\"\nmode = \"rtm\""), "unknown field `mode`"),
        ] {
            let error = read(table).unwrap_err();
            assert!(error.contains(expected) && !error.contains("s3cret"), "{table}: {error}");
        }
    }
}
