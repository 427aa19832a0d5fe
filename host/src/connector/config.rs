//! Which connector a `[connectors.NAME]` table is, by its `type`.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess};
use serde::{Deserialize, Deserializer};

use super::console::ConsoleConfig;
use super::onebot::{self, OneBotConfig};
use super::pace::PaceLimits;
use super::scripted::Scripted;
use super::telegram::{self, TelegramConfig};

/// The configuration of one connector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectorConfig {
    /// The terminal of this process.
    Console(ConsoleConfig),
    /// QQ, by an implementation of OneBot v11.
    OneBot(OneBotConfig),
    /// Telegram's Bot API.
    Telegram(TelegramConfig),
    /// Driven by a test or a benchmark in this process; no configuration file can name it.
    Scripted(Scripted),
}

/// The word after `type =`. An enum, so that a reader can say what is valid and what is nearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Console,
    OneBot,
    Telegram,
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
            Self::Telegram(config) => telegram::PACE.chosen(config.pace),
            Self::OneBot(config) => onebot::PACE.chosen(config.pace),
            Self::Console(_) | Self::Scripted(_) => PaceLimits::NONE,
        }
    }

    /// Reads what stands beside `type`.
    fn of_kind<'de, D: Deserializer<'de>>(kind: Kind, table: D) -> Result<Self, D::Error> {
        match kind {
            Kind::Console => ConsoleConfig::deserialize(table).map(Self::Console),
            Kind::OneBot => OneBotConfig::deserialize(table).map(Self::OneBot),
            Kind::Telegram => TelegramConfig::deserialize(table).map(Self::Telegram),
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
            (Kind::OneBot, "mode = \"sideways\"", "expected `forward` or `reverse`"),
            (Kind::OneBot, "mode = \"forward\"", "mode = \"forward\" needs `url`"),
            (Kind::OneBot, "mode = \"forward\"\nurl = \"http://x\"", "wss://HOST"),
            (Kind::OneBot, "mode = \"forward\"\nurl = \"ws://x\"\nlisten = \"127.0.0.1:1\"", "has no `listen`"),
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
