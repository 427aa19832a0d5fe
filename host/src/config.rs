//! The configuration of a whole host: its sections composed, their defaults, what holds between them. Reading is in [`load`],
//! reading again while the host runs in `follow`, and what of it can be in force then in `adopt`.
//!
//! Sizes are written `"64MiB"`, times `"30s"`. Paths are relative to the directory of the file that they stand in. Any string may
//! hold `${NAME}`, an environment variable that must be set; `$${` is the text `${`. A secret may be `{ file = "PATH" }`, and is
//! never empty. A variable `BOTHOST__SECTION__KEY` overrides that key of the host's own file.

mod adopt;
mod claims;
mod find;
mod follow;
pub mod load;
mod planned;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use crate::alert::AlertsConfig;
use crate::bot::manifest::BotEntry;
use crate::connector::ConnectorConfig;
use crate::delivery::{Durability, OnUncertain, Order, Overflow};
use crate::id::{BotName, ConnectorName, OfferName};
use crate::limits::Limits;
use crate::offer::Offer;
use crate::secret::Secret;
use crate::store::{OutboxSettings, QueueBounds};
use crate::supervision::{RolloutPolicy, Supervision};
use crate::telemetry::TelemetryConfig;
use crate::units::{ByteSize, duration, positive_duration, positive_size};
use crate::vitals::VitalsConfig;
use crate::watcher::WatcherConfig;

pub use self::adopt::Adoption;
pub use self::claims::Claims;
pub use self::follow::{Follower, Reading};
pub(crate) use self::load::{Form, literal_secrets};
pub use crate::document::{ConfigError, FILE_BYTES_MAX, Mistake, Place, Placed, Variables};
pub use crate::logs::{FileFormat, LogLevel, LogLevelError, LogsConfig, StderrFormat};

/// The largest component that is looked at, whatever the limits say.
pub const COMPONENT_BYTES_MAX: u64 = 256 << 20;

/// A configuration that was read and holds together.
#[derive(Clone, PartialEq)]
pub struct Config {
    /// The file that it came from, as it was named.
    pub path: PathBuf,
    /// What stands in it, word for word.
    pub text: Arc<str>,
    /// `[host]`
    pub host: HostConfig,
    /// `[limits]`: those of all bots, which a bot's own entry may change.
    pub limits: Limits,
    /// `[supervisor]`: of all bots; a bot's own entry may name another `restart`.
    pub supervision: Supervision,
    /// `[rollout]`
    pub rollout: RolloutPolicy,
    /// `[queue]`
    pub queue: QueueConfig,
    /// `[outbox]`
    pub outbox: OutboxConfig,
    /// `[connectors.NAME]`: those that every bot may use.
    pub connectors: BTreeMap<ConnectorName, Placed<ConnectorConfig>>,
    /// `[bots.NAME]`
    pub bots: BTreeMap<BotName, Placed<BotEntry>>,
    /// `[offers.NAME]`: what tenants may rent.
    pub offers: BTreeMap<OfferName, Placed<Offer>>,
    /// `[logs]`
    pub logs: LogsConfig,
    /// `[alerts]`
    pub alerts: AlertsConfig,
    /// `[vitals]`
    pub vitals: VitalsConfig,
    /// `[telemetry]`
    pub telemetry: TelemetryConfig,
    /// `[admin]`
    pub admin: AdminConfig,
    /// What is no mistake and yet to be told. Each begins with its place.
    pub warnings: Vec<String>,
}

impl Config {
    /// Returns where the log files are, if there are any.
    pub fn logs_dir(&self) -> Option<PathBuf> {
        let by_default = || self.host.data_dir.join("logs");
        self.logs.files.then(|| self.logs.dir.clone().unwrap_or_else(by_default))
    }

    /// Returns how to watch the bots' directory. Its cap on components is the largest that any limit can have; the limit of
    /// each bot is kept where its component is loaded.
    pub fn watcher(&self) -> WatcherConfig {
        WatcherConfig {
            settle: self.host.watch_settle,
            rescan: self.host.watch_rescan,
            component_bytes_max: COMPONENT_BYTES_MAX,
            entry_bytes_max: FILE_BYTES_MAX,
            ..WatcherConfig::new(&self.host.bots_dir)
        }
    }
}

impl fmt::Debug for Config {
    /// Everything but the text, which may have secrets in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            text,
            host,
            limits,
            supervision,
            rollout,
            queue,
            outbox,
            connectors,
            bots,
            offers,
            logs,
            alerts,
            vitals,
            telemetry,
            admin,
            warnings,
        } = self;
        f.debug_struct("Config")
            .field("path", path)
            .field("text", &format_args!("[{} bytes]", text.len()))
            .field("host", host)
            .field("limits", limits)
            .field("supervision", supervision)
            .field("rollout", rollout)
            .field("queue", queue)
            .field("outbox", outbox)
            .field("connectors", connectors)
            .field("bots", bots)
            .field("offers", offers)
            .field("logs", logs)
            .field("alerts", alerts)
            .field("vitals", vitals)
            .field("telemetry", telemetry)
            .field("admin", admin)
            .field("warnings", warnings)
            .finish()
    }
}

/// A bot's own file, `NAME.toml` in the bots' directory.
#[derive(Debug, Clone, PartialEq)]
pub struct BotFile {
    /// The bot.
    pub name: BotName,
    /// What the file says of it.
    pub entry: Placed<BotEntry>,
    /// Connectors that belong to it alone.
    pub connectors: BTreeMap<ConnectorName, Placed<ConnectorConfig>>,
    /// What is no mistake and yet to be told. Each begins with its place.
    pub warnings: Vec<String>,
}

/// `[host]`: the process as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostConfig {
    /// Directory of the host's own files: the store, the logs, the socket. Default: `data`.
    pub data_dir: PathBuf,
    /// Directory that components are dropped into. Default: `bots`.
    pub bots_dir: PathBuf,
    /// How long a stop waits for what is at work; what is not done then stays in the queue. Default: 5 s.
    #[serde(deserialize_with = "duration")]
    pub drain_timeout: Duration,
    /// How long a file must not have changed before it is taken as whole. Default: 200 ms.
    #[serde(deserialize_with = "duration")]
    pub watch_settle: Duration,
    /// How often the bots' directory is looked through even if no change was reported. Not zero. Default: 10 s.
    #[serde(deserialize_with = "positive_duration")]
    pub watch_rescan: Duration,
    /// Most instances that live at one moment in the whole process; past it events wait. Default, none: as many as the
    /// system's `vm.max_map_count` has room for.
    pub instances: Option<NonZeroU32>,
    /// Whether the process may leave core files, and other processes of its user may read its memory, in which the secrets are.
    /// Default: no.
    pub core_dumps: bool,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            data_dir: "data".into(),
            bots_dir: "bots".into(),
            drain_timeout: Duration::from_secs(5),
            watch_settle: Duration::from_millis(200),
            watch_rescan: Duration::from_secs(10),
            instances: None,
            core_dumps: false,
        }
    }
}

/// `[queue]`: events that wait for bots.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueConfig {
    /// Most events that wait, of all bots together; past it connectors wait. Default: 100,000.
    pub max_events: NonZeroU32,
    /// Most bytes of events that wait, of all bots together; past it connectors wait. Not zero. Default: 256 MiB.
    #[serde(deserialize_with = "positive_size")]
    pub max_bytes: ByteSize,
    /// Most events that wait for one bot. Default: 20,000.
    pub max_events_per_bot: NonZeroU32,
    /// Attempts at one event before it goes to the dead letters. Default: 3.
    pub max_attempts: NonZeroU32,
    /// Most dead letters that are kept; past it the oldest is forgotten. Default: 10,000.
    pub max_dead_letters: NonZeroU32,
    /// Most finished events that `host why` can still tell of; past it the oldest is forgotten. Default: 100,000.
    pub keep: NonZeroU32,
    /// How long an event that a platform delivers again is recognised. Not zero. Default: 24 h.
    #[serde(deserialize_with = "positive_duration")]
    pub dedup_window: Duration,
    /// What an event that was taken over survives. Default: `power`.
    pub durability: Durability,
}

impl QueueConfig {
    /// Returns how much may wait.
    pub fn bounds(&self) -> QueueBounds {
        QueueBounds {
            events_max: self.max_events.get() as usize,
            bytes_max: self.max_bytes.0,
            events_per_bot_max: self.max_events_per_bot.get() as usize,
        }
    }
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            max_events: at_least_one(100_000),
            max_bytes: ByteSize(256 << 20),
            max_events_per_bot: at_least_one(20_000),
            max_attempts: at_least_one(3),
            max_dead_letters: at_least_one(10_000),
            keep: at_least_one(100_000),
            dedup_window: Duration::from_secs(86_400),
            durability: Durability::Power,
        }
    }
}

/// `[outbox]`: what bots sent and platforms have not taken yet.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutboxConfig {
    /// Most sends that wait for one connector; past it `overflow` says what loses. Default: 1,000.
    pub max_len: NonZeroU32,
    /// How long a send may wait before it expires. Not zero. Default: 1 h.
    #[serde(deserialize_with = "positive_duration")]
    pub ttl: Duration,
    /// What loses where `max_len` is reached. Default: `reject`, further ones.
    pub overflow: Overflow,
    /// What becomes of a send that was perhaps delivered. Default: `retry`, so that it may arrive twice.
    pub on_uncertain: OnUncertain,
    /// Which of two sends to different conversations leaves first. Default: `priority`.
    pub order: Order,
}

impl OutboxConfig {
    /// Returns how one outbox behaves.
    pub fn settings(&self) -> OutboxSettings {
        OutboxSettings { len_max: self.max_len.get() as usize, overflow: self.overflow, order: self.order }
    }
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self {
            max_len: at_least_one(1_000),
            ttl: Duration::from_secs(3_600),
            overflow: Overflow::Reject,
            on_uncertain: OnUncertain::Retry,
            order: Order::Priority,
        }
    }
}

/// `[admin]`: the host's HTTP side.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Where it listens. Default, none: nowhere.
    #[serde(deserialize_with = "listen_address")]
    pub listen: Option<SocketAddr>,
    /// What a caller must show to be an admin of the host. Default, none: only who has an account or a token of its own is let in.
    pub token: Option<Secret>,
    /// The names by which it is called, such as `bots.example`, for pages that were made to resolve to it are refused by that.
    /// Default, none: local names where it listens on a loopback address, any elsewhere.
    pub hosts: Vec<String>,
    /// The certificate and the key that it shows. Default, none: it speaks HTTP in clear.
    pub tls: Option<TlsFiles>,
}

/// `[admin] tls`: where the certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate and those that vouch for it, in PEM.
    pub cert: PathBuf,
    /// Its private key, in PEM: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// The least characters of a token that nobody guesses, if they are random.
const TOKEN_CHARS_MIN: usize = 32;

impl AdminConfig {
    /// Returns what is no mistake and yet to be told.
    pub fn advice(&self) -> Vec<String> {
        let mut advice = Vec::new();
        if self.token.as_ref().is_some_and(|token| token.expose().chars().count() < TOKEN_CHARS_MIN) {
            advice.push(format!(
                "`[admin] token` has fewer than {TOKEN_CHARS_MIN} characters and can be guessed: take a longer one, such as of \
                 `openssl rand -hex 32`, or `host tokens create`"
            ));
        }
        if let Some(listen) = self.listen.filter(|listen| !listen.ip().is_loopback() && self.tls.is_none()) {
            advice.push(format!(
                "`[admin] listen` {listen} is open to other machines without `[admin] tls`: passwords and tokens travel in clear"
            ));
        }
        advice
    }
}

/// Reads an address to listen on.
fn listen_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let refused =
        |_| de::Error::custom(format_args!("`{text}` is no IP address with a port, such as \"127.0.0.1:8080\""));
    text.parse().map(Some).map_err(refused)
}

/// Returns a default that is not zero.
const fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(number - 1)
}

#[cfg(test)]
mod tests;
