//! Any IRC network. Owns its table in the configuration, and what runs side by side: the connection, and the deliveries that it carries.

mod line;
mod register;
mod roster;
mod serve;
mod wire;
mod words;

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};
use tokio_util::sync::CancellationToken;

use self::serve::Network;
use self::wire::Way;
use super::claim::Claim;
use super::config::Nature;
use super::link::Connection;
use super::{AskedKey, PaceChoice, PaceLimits, Ports, deliveries};
use crate::rate::Quota;
use crate::secret::Secret;
use crate::units;

/// What its table holds.
pub(super) const NATURE: Nature = Nature {
    name: "irc",
    keys: &[
        "server",
        "tls",
        "nick",
        "user",
        "realname",
        "password",
        "sasl_user",
        "sasl_password",
        "channels",
        "notice",
        "stall_timeout",
        "reconnect_max",
        "pace",
    ],
    askable: &[
        AskedKey::secret("password", "sample"),
        AskedKey::secret("sasl_password", "sample"),
        AskedKey::address("server", "irc.example.org"),
    ],
};

/// What servers take before they speak of a flood: four lines at once, then one in two seconds.
const FLOOD: Quota = Quota::new(33, Duration::from_secs(60), 4);

/// What the platform takes.
pub(super) const PACE: PaceLimits = PaceLimits { token: Some(FLOOD), direct_chat: None, group_chat: None };

/// `type = "irc"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Table")]
pub struct IrcConfig {
    /// Where the server is.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// What we are called, if nobody else is.
    pub nick: String,
    /// The user of our mask.
    pub user: String,
    /// What `WHOIS` says of us.
    pub realname: String,
    /// The server's password.
    pub password: Option<Secret>,
    /// An account and its password.
    pub sasl: Option<(String, Secret)>,
    /// Channels and their keys.
    pub channels: Vec<(String, Option<Secret>)>,
    /// Whether to speak in notices, which no bot answers.
    pub notice: bool,
    /// The server is given up when nothing was heard of it for so long; it is asked for a sign after half of it.
    pub stall_timeout: Duration,
    /// The longest wait between two tries.
    pub reconnect_max: Duration,
    /// Whether what is sent keeps to the platform's limits.
    pub pace: PaceChoice,
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    server: String,
    #[serde(default = "yes")]
    tls: bool,
    nick: String,
    user: Option<String>,
    realname: Option<String>,
    #[serde(default, deserialize_with = "some_secret")]
    password: Option<Secret>,
    sasl_user: Option<String>,
    #[serde(default, deserialize_with = "some_secret")]
    sasl_password: Option<Secret>,
    #[serde(default)]
    channels: Vec<String>,
    #[serde(default)]
    notice: bool,
    #[serde(default = "default_stall_timeout", deserialize_with = "units::positive_duration")]
    stall_timeout: Duration,
    #[serde(default = "default_reconnect_max", deserialize_with = "units::positive_duration")]
    reconnect_max: Duration,
    #[serde(default)]
    pace: PaceChoice,
}

fn yes() -> bool {
    true
}

fn default_stall_timeout() -> Duration {
    Duration::from_secs(120)
}

fn default_reconnect_max() -> Duration {
    Duration::from_secs(300)
}

fn some_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    let secret = Secret::deserialize(deserializer)?;
    if secret.expose().is_empty() || secret.expose().contains(['\r', '\n', '\0']) || secret.expose().len() > 300 {
        return Err(de::Error::custom("a password has 1 to 300 bytes and is one line"));
    }
    Ok(Some(secret))
}

/// Why a table is none of a connector. Shows no secret: a channel may have a key.
#[derive(Debug, thiserror::Error)]
enum TableError {
    #[error("`server` is HOST or HOST:PORT")]
    Server,
    #[error("`{0}` is one word that does not begin with `:`")]
    Word(&'static str),
    #[error("`realname` is one line")]
    Realname,
    #[error("`sasl_user` and `sasl_password` go together")]
    Sasl,
    #[error("`channels` has names such as \"#tea\", each with its key after a space where it has one")]
    Channel,
}

impl TryFrom<Table> for IrcConfig {
    type Error = TableError;

    fn try_from(table: Table) -> Result<Self, TableError> {
        let (host, port) = address(&table.server, if table.tls { 6697 } else { 6667 }).ok_or(TableError::Server)?;
        let user = table.user.unwrap_or_else(|| table.nick.clone());
        let realname = table.realname.unwrap_or_else(|| table.nick.clone());
        for (name, word) in [("nick", &table.nick), ("user", &user)] {
            if !is_word(word) {
                return Err(TableError::Word(name));
            }
        }
        if realname.contains(['\r', '\n', '\0']) {
            return Err(TableError::Realname);
        }
        let sasl = match (table.sasl_user, table.sasl_password) {
            (Some(user), Some(password)) if !user.contains('\0') => Some((user, password)),
            (None, None) => None,
            _ => return Err(TableError::Sasl),
        };
        let channels = table.channels.iter().map(|entry| channel(entry).ok_or(TableError::Channel));
        let channels = channels.collect::<Result<_, _>>()?;
        let Table { tls, nick, password, notice, stall_timeout, reconnect_max, pace, .. } = table;
        Ok(Self {
            host,
            port,
            tls,
            nick,
            user,
            realname,
            password,
            sasl,
            channels,
            notice,
            stall_timeout,
            reconnect_max,
            pace,
        })
    }
}

/// Reads `host`, `host:port`, `[v6]` or `[v6]:port`.
fn address(text: &str, port: u16) -> Option<(String, u16)> {
    let authority: http::uri::Authority = text.parse().ok()?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let has_port = authority.as_str().len() > authority.host().len();
    let port = if has_port { authority.port_u16()? } else { port };
    (!host.is_empty() && !text.contains('@')).then(|| (host.to_owned(), port))
}

/// Returns whether a text is one parameter of a line.
fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && !text.starts_with(':')
        && !text.contains([' ', '\r', '\n', '\0', ',', '!', '@'])
}

fn channel(entry: &str) -> Option<(String, Option<Secret>)> {
    let (name, key) = match entry.split_once(' ') {
        Some((name, key)) => (name, Some(key)),
        None => (entry, None),
    };
    let is_name = name.len() > 1 && name.starts_with(['#', '&', '+', '!']) && is_word(&name[1..]);
    (is_name && key.is_none_or(is_word)).then(|| (name.to_owned(), key.map(Secret::new)))
}

impl IrcConfig {
    /// Returns what no other connector can have at the same time: a name on a network.
    pub(super) fn claims(&self) -> Vec<Claim> {
        let name = format!("{} on {}:{}", self.nick.to_ascii_lowercase(), self.host, self.port);
        vec![Claim::Credential("IRC nick", Secret::new(name))]
    }
}

/// Runs until it is told to stop. The connection goes on until what was begun is delivered.
pub(super) async fn run(config: IrcConfig, ports: Ports) {
    let Ports { name, inbox, deliveries, status, guard, cancel, .. } = ports;
    let link = Connection::new(status, config.reconnect_max);
    let (way, hang_up) = (Way::default(), CancellationToken::new());
    let network = Network { config: &config, name: &name, inbox: &inbox, guard, way: &way, epoch: serve::epoch() };
    let deliver = async {
        deliveries::carry_out(deliveries, &cancel, |task| wire::carry_out(&way, task)).await;
        way.quit().await;
        hang_up.cancel();
    };
    tokio::join!(link.keep(config.stall_timeout, &hang_up, |life| network.live(life)), deliver);
}

#[cfg(test)]
mod tests;
