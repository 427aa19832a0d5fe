//! Telegram's Bot API, by long polling. Owns the poll and its offset: an update is confirmed to Telegram only after the host
//! has taken it over, so that nothing is lost between the two.

mod api;
mod poll;
mod send;
mod split;
mod update;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use self::api::Api;
use self::poll::Poller;
use super::link::Reconnect;
use super::{PaceChoice, PaceLimits, Ports, deliveries};
use crate::egress::{AddressGuard, HttpClient, HttpUrl};
use crate::rate::Quota;
use crate::secret::Secret;
use crate::units;

/// What Telegram takes, by <https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this>: about thirty
/// messages a second in all, one a second in a chat with short bursts, twenty a minute in a group. A bulk of messages goes
/// through the first, so it is spread rather than given in bursts.
pub(super) const PACE: PaceLimits = PaceLimits {
    token: Some(Quota::new(30, Duration::from_secs(1), 1)),
    direct_chat: Some(Quota::new(60, Duration::from_secs(60), 3)),
    group_chat: Some(Quota::new(20, Duration::from_secs(60), 3)),
};

/// `type = "telegram"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Table")]
pub struct TelegramConfig {
    /// What BotFather gave out.
    pub token: Secret,
    /// Where the Bot API is; Telegram's own, or one's own server.
    pub api_url: HttpUrl,
    /// How long Telegram may hold a poll open when there is nothing to say.
    pub poll_timeout: Duration,
    /// A poll without any answer is given up after this long.
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
    #[serde(deserialize_with = "token")]
    token: Secret,
    #[serde(default = "default_api_url")]
    api_url: HttpUrl,
    #[serde(rename = "mode", default)]
    _mode: Mode,
    #[serde(default = "default_poll_timeout", deserialize_with = "units::positive_duration")]
    poll_timeout: Duration,
    #[serde(default, deserialize_with = "units::some_positive_duration")]
    stall_timeout: Option<Duration>,
    #[serde(default = "default_reconnect_max", deserialize_with = "units::positive_duration")]
    reconnect_max: Duration,
    #[serde(default)]
    pace: PaceChoice,
}

fn default_api_url() -> HttpUrl {
    "https://api.telegram.org".parse().expect("a constant")
}

fn default_poll_timeout() -> Duration {
    Duration::from_secs(25)
}

fn default_reconnect_max() -> Duration {
    Duration::from_secs(60)
}

/// What a poll may take longer than Telegram was asked to hold it.
const STALL_MARGIN: Duration = Duration::from_secs(10);

/// Refuses what would not survive as a part of a path. The text itself is never shown.
fn token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    let token = Secret::deserialize(deserializer)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b":_-".contains(&byte);
    if !token.expose().is_empty() && token.expose().bytes().all(fits) {
        Ok(token)
    } else {
        Err(de::Error::custom(
            "no bot token: one looks like 123456789:AA… and has letters, digits, `:`, `_` and `-` only",
        ))
    }
}

/// How updates come.
#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// We ask for them.
    #[default]
    Poll,
}

/// A stall timeout that cuts off every poll.
#[derive(Debug)]
struct StallTooShort;

impl fmt::Display for StallTooShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`stall_timeout` must be longer than `poll_timeout`, or no poll could ever end by itself")
    }
}

impl TryFrom<Table> for TelegramConfig {
    type Error = StallTooShort;

    fn try_from(table: Table) -> Result<Self, StallTooShort> {
        let stall_timeout = table.stall_timeout.unwrap_or(table.poll_timeout + STALL_MARGIN);
        if stall_timeout <= table.poll_timeout {
            return Err(StallTooShort);
        }
        Ok(Self {
            token: table.token,
            api_url: table.api_url,
            poll_timeout: table.poll_timeout,
            stall_timeout,
            reconnect_max: table.reconnect_max,
            pace: table.pace,
        })
    }
}

/// Runs until it is told to stop.
pub(super) async fn run(config: TelegramConfig, ports: Ports) {
    let Ports { name, inbox, deliveries, status, cancel } = ports;
    let client = HttpClient::new(config.api_url.0.clone(), AddressGuard::no_metadata());
    let api = Api::new(client, config.token.clone(), status.signs());
    let link = Reconnect::new(status, config.reconnect_max);
    let poller = Poller::new(&api, &config, &name, &inbox, &cancel);
    let deliver = deliveries::carry_out(deliveries, &cancel, |action, timeout| send::carry_out(&api, action, timeout));
    tokio::join!(poller.run(link), deliver);
}
