//! Which connector a `[connectors.NAME]` table is, by its `type`.

use std::fmt;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess};
use serde::{Deserialize, Deserializer};

use super::claim::Claim;
use super::console::{self, ConsoleConfig};
use super::discord::{self, DiscordConfig};
use super::irc::{self, IrcConfig};
use super::matrix::{self, MatrixConfig};
use super::onebot::{self, OneBotConfig};
use super::pace::PaceLimits;
use super::qq::{self, QqConfig};
use super::scripted::Scripted;
use super::slack::{self, SlackConfig};
use super::telegram::{self, TelegramConfig};
use super::template::AskedKey;
use super::webhook::{self, WebhookConfig};

/// The configuration of one connector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectorConfig {
    /// The terminal of this process.
    Console(ConsoleConfig),
    /// Discord.
    Discord(DiscordConfig),
    /// Any IRC network.
    Irc(IrcConfig),
    /// A Matrix homeserver.
    Matrix(MatrixConfig),
    /// QQ, by an implementation of OneBot v11.
    OneBot(OneBotConfig),
    /// QQ, by its official API.
    Qq(QqConfig),
    /// Slack.
    Slack(SlackConfig),
    /// Telegram's Bot API.
    Telegram(TelegramConfig),
    /// Any system that posts JSON.
    Webhook(WebhookConfig),
    /// Driven by a test or a benchmark in this process; no configuration file can name it.
    Scripted(Scripted),
}

/// Returns the longest wait between two tries, unless a table says otherwise.
pub(super) fn default_reconnect_max() -> Duration {
    Duration::from_secs(60)
}

/// What a table of one type may hold, as the connector's own file says it.
#[derive(Debug)]
pub(super) struct Nature {
    /// The word after `type =`.
    pub(super) name: &'static str,
    /// Every key but `type`.
    pub(super) keys: &'static [&'static str],
    /// The keys that may be left to somebody else. What the host listens on is the operator's alone.
    pub(super) askable: &'static [AskedKey],
}

/// The word after `type =`. An enum, so that a reader can say what is valid and what is nearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Console,
    Discord,
    Irc,
    Matrix,
    OneBot,
    Qq,
    Slack,
    Telegram,
    Webhook,
}

impl Kind {
    #[cfg(test)]
    pub(super) const ALL: [Self; 9] = [
        Self::Console,
        Self::Discord,
        Self::Irc,
        Self::Matrix,
        Self::OneBot,
        Self::Qq,
        Self::Slack,
        Self::Telegram,
        Self::Webhook,
    ];

    /// Returns what a table of this type may hold.
    pub(super) fn nature(self) -> &'static Nature {
        match self {
            Self::Console => &console::NATURE,
            Self::Discord => &discord::NATURE,
            Self::Irc => &irc::NATURE,
            Self::Matrix => &matrix::NATURE,
            Self::OneBot => &onebot::NATURE,
            Self::Qq => &qq::NATURE,
            Self::Slack => &slack::NATURE,
            Self::Telegram => &telegram::NATURE,
            Self::Webhook => &webhook::NATURE,
        }
    }
}

impl<'de> Deserialize<'de> for ConnectorConfig {
    /// Relies on `type` being the first key, which the reader of configurations sees to.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = ConnectorConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<ConnectorConfig, A::Error> {
                if table.next_key::<String>()?.as_deref() != Some("type") {
                    return Err(de::Error::missing_field("type"));
                }
                let kind = table.next_value()?;
                ConnectorConfig::of_kind(kind, MapAccessDeserializer::new(table))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

impl ConnectorConfig {
    /// Returns how much the platform takes.
    pub fn pace(&self) -> PaceLimits {
        match self {
            Self::Discord(config) => discord::PACE.chosen(config.pace),
            Self::Irc(config) => irc::PACE.chosen(config.pace),
            Self::Matrix(config) => matrix::PACE.chosen(config.pace),
            Self::OneBot(config) => onebot::PACE.chosen(config.pace),
            Self::Qq(config) => qq::PACE.chosen(config.pace),
            Self::Slack(config) => slack::PACE.chosen(config.pace),
            Self::Telegram(config) => telegram::PACE.chosen(config.pace),
            Self::Console(_) | Self::Webhook(_) | Self::Scripted(_) => PaceLimits::NONE,
        }
    }

    /// Returns the word after `type =`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Console(_) => console::NATURE.name,
            Self::Discord(_) => discord::NATURE.name,
            Self::Irc(_) => irc::NATURE.name,
            Self::Matrix(_) => matrix::NATURE.name,
            Self::OneBot(_) => onebot::NATURE.name,
            Self::Qq(_) => qq::NATURE.name,
            Self::Slack(_) => slack::NATURE.name,
            Self::Telegram(_) => telegram::NATURE.name,
            Self::Webhook(_) => webhook::NATURE.name,
            Self::Scripted(_) => "scripted",
        }
    }

    /// Returns whether the platform has buttons to press.
    pub(super) fn has_buttons(&self) -> bool {
        match self {
            Self::Discord(_) | Self::Slack(_) | Self::Telegram(_) | Self::Webhook(_) | Self::Scripted(_) => true,
            Self::Console(_) | Self::Irc(_) | Self::Matrix(_) | Self::OneBot(_) | Self::Qq(_) => false,
        }
    }

    /// Returns what no other connector can have at the same time.
    pub fn claims(&self) -> Vec<Claim> {
        match self {
            Self::Discord(config) => config.claims(),
            Self::Irc(config) => config.claims(),
            Self::Matrix(config) => config.claims(),
            Self::OneBot(config) => config.claims(),
            Self::Qq(config) => config.claims(),
            Self::Slack(config) => config.claims(),
            Self::Telegram(config) => config.claims(),
            Self::Webhook(config) => config.claims(),
            Self::Console(_) | Self::Scripted(_) => Vec::new(),
        }
    }

    /// Reads what stands beside `type`.
    fn of_kind<'de, D: Deserializer<'de>>(kind: Kind, table: D) -> Result<Self, D::Error> {
        match kind {
            Kind::Console => ConsoleConfig::deserialize(table).map(Self::Console),
            Kind::Discord => DiscordConfig::deserialize(table).map(Self::Discord),
            Kind::Irc => IrcConfig::deserialize(table).map(Self::Irc),
            Kind::Matrix => MatrixConfig::deserialize(table).map(Self::Matrix),
            Kind::OneBot => OneBotConfig::deserialize(table).map(Self::OneBot),
            Kind::Qq => QqConfig::deserialize(table).map(Self::Qq),
            Kind::Slack => SlackConfig::deserialize(table).map(Self::Slack),
            Kind::Telegram => TelegramConfig::deserialize(table).map(Self::Telegram),
            Kind::Webhook => WebhookConfig::deserialize(table).map(Self::Webhook),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, text: &str) -> Result<ConnectorConfig, String> {
        let table = toml::Deserializer::parse(text).unwrap();
        // Not its `Display`: that repeats the line of the file, and with it a secret.
        ConnectorConfig::of_kind(kind, table).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn every_kind_reads_its_table() {
        for (kind, table) in [
            (Kind::Console, ""),
            (Kind::OneBot, "mode = \"forward\"\nurl = \"ws://127.0.0.1:6700\""),
            (Kind::OneBot, "mode = \"reverse\"\nlisten = \"127.0.0.1:0\"\naccess_token = \"x\""),
            (Kind::OneBot, "mode = \"http\"\nurl = \"http://a\"\nlisten = \"0.0.0.0:1\"\nsecret = \"x\"\naccount = 10"),
            (Kind::Telegram, "token = \"1:a\""),
        ] {
            assert!(check(kind, table).is_ok(), "{kind:?}: {table}");
        }
    }

    #[test]
    fn platforms_that_limit_us_say_so_and_those_in_this_process_do_not() {
        let pace = |kind, table| check(kind, table).unwrap().pace();
        assert_eq!(pace(Kind::Console, ""), PaceLimits::NONE);
        assert_eq!(pace(Kind::Telegram, "token = \"1:a\""), telegram::PACE);
        assert_eq!(pace(Kind::Telegram, "token = \"1:a\"\npace = \"off\""), PaceLimits::NONE);
        assert_eq!(pace(Kind::OneBot, "mode = \"forward\"\nurl = \"ws://127.0.0.1:6700\""), onebot::PACE);
    }

    #[test]
    fn what_is_wrong_with_a_table_is_said_with_what_is_valid() {
        for (kind, table, expected) in [
            (Kind::Console, "prompt = true", "unknown field `prompt`"),
            (Kind::Telegram, "", "missing field `token`"),
            (Kind::Telegram, "token = \"1:a\"\nmode = \"pull\"", "unknown variant `pull`"),
            (Kind::Telegram, "token = \"s3cret/../x\"", "no bot token"),
            (Kind::Telegram, "token = \"1:a\"\napi_url = \"ftp://x\"", "https://HOST"),
            (Kind::Telegram, "token = \"1:a\"\nreconnect_max = \"0s\"", "must be longer than zero"),
            (
                Kind::Telegram,
                "token = \"1:a\"\nstall_timeout = \"5s\"",
                "`stall_timeout` must be longer than `poll_timeout`",
            ),
            (Kind::OneBot, "", "missing field `mode`"),
            (Kind::OneBot, "mode = \"sideways\"", "expected one of `forward`, `reverse`, `http`"),
            (Kind::OneBot, "mode = \"forward\"", "mode = \"forward\" needs `url`"),
            (Kind::OneBot, "mode = \"forward\"\nurl = \"http://x\"", "wss://HOST"),
            (Kind::OneBot, "mode = \"forward\"\nurl = \"ws://x\"\nlisten = \"127.0.0.1:1\"", "has no `listen`"),
            (
                Kind::OneBot,
                "mode = \"forward\"\nurl = \"ws://x\"\nsecret = \"x\"",
                "only mode = \"http\" has a `secret`",
            ),
            (Kind::OneBot, "mode = \"forward\"\nurl = \"ws://x\"\naccess_token = \"s3cret\\n\"", "no header can carry"),
            (Kind::OneBot, "mode = \"http\"\nurl = \"http://x\"", "needs `url`, where the API is, and `listen`"),
            (Kind::OneBot, "mode = \"http\"\nurl = \"ws://x\"\nlisten = \"127.0.0.1:1\"", "https://HOST"),
            (Kind::OneBot, "mode = \"http\"\nurl = \"http://x\"\nlisten = \"0.0.0.0:1\"", "needs a `secret`"),
            (
                Kind::OneBot,
                "mode = \"http\"\nurl = \"http://x\"\nlisten = \"127.0.0.1:1\"\nsecret = \"\"",
                "`secret` is empty",
            ),
            (Kind::OneBot, "mode = \"reverse\"", "mode = \"reverse\" needs `listen`"),
            (Kind::OneBot, "mode = \"reverse\"\nlisten = \"0.0.0.0:1\"", "needs an `access_token`"),
            (Kind::OneBot, "mode = \"reverse\"\nlisten = \"127.0.0.1:1\"\npath = \"x\"", "`path` begins with `/`"),
        ] {
            let error = check(kind, table).unwrap_err();
            assert!(error.contains(expected), "{kind:?} {table}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_configuration_shows_no_secret() {
        for (kind, table) in [
            (Kind::Telegram, "token = \"1:s3cret\""),
            (Kind::OneBot, "mode = \"forward\"\nurl = \"ws://a/?access_token=s3cret\"\naccess_token = \"s3cret\""),
        ] {
            assert!(!format!("{:?}", check(kind, table).unwrap()).contains("s3cret"));
        }
    }
}
