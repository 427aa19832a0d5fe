//! `[alerts.channels.NAME]`: which way a channel is, by its `type`, and what all of them have in common.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess};
use serde::{Deserialize, Deserializer};

use super::email::{self, EmailConfig, EmailTls};
use crate::action::Severity;
use crate::alert::notice::DigestRules;
use crate::egress::{EndpointError, HttpUrl};
use crate::id::ChannelName;
use crate::secret::Secret;
use crate::units;

/// What stands for a text that is not known yet, where only the shape of a configuration is read. It is let through, and fails when it
/// is used.
pub(super) const STAND_IN: &str = "1";

/// `[alerts.channels.NAME]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelConfig {
    /// Whether it is used. One that is not can still be tried.
    pub enabled: bool,
    /// Less severe alerts are not told, unless they name this channel.
    pub min_severity: Severity,
    /// Whether it is told that an alert is over.
    pub resolved: bool,
    /// How long the first alert waits for others that come with it.
    pub group_wait: Duration,
    /// Shortest time between two notices, after a burst of three.
    pub digest_every: Duration,
    /// Time between two reminders of an alert of at least a warning that nobody acknowledged. Zero: none.
    pub remind_every: Duration,
    /// How it sends.
    pub(super) way: Way,
}

/// How a channel sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    Webhook(WebhookConfig),
    Slack(SlackConfig),
    Discord(DiscordConfig),
    Telegram(TelegramConfig),
    Email(EmailConfig),
    /// Driven by a test in this process; no configuration file can name it.
    #[cfg(test)]
    Scripted(super::scripted::Scripted),
}

/// `type = "webhook"`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WebhookConfig {
    pub(super) url: Secret,
    pub(super) secret: Option<Secret>,
}

/// `type = "slack"`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SlackConfig {
    pub(super) url: Secret,
}

/// `type = "discord"`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DiscordConfig {
    pub(super) url: Secret,
}

/// `type = "telegram"`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TelegramConfig {
    pub(super) token: Secret,
    pub(super) chat: Chat,
    pub(super) api_url: HttpUrl,
    pub(super) thread: Option<i64>,
}

/// A chat of Telegram's: its number, or `@name` of a public one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chat {
    Number(i64),
    Name(String),
}

impl ChannelConfig {
    /// Returns the word after `type =`.
    pub fn kind(&self) -> &'static str {
        match self.way {
            Way::Webhook(_) => "webhook",
            Way::Slack(_) => "slack",
            Way::Discord(_) => "discord",
            Way::Telegram(_) => "telegram",
            Way::Email(_) => "email",
            #[cfg(test)]
            Way::Scripted(_) => "scripted",
        }
    }

    /// Has paths begin at the directory of the configuration.
    pub fn resolve_paths(&mut self, directory: &Path) {
        if let Way::Email(EmailConfig { ca: Some(ca), .. }) = &mut self.way {
            *ca = directory.join(&ca);
        }
    }

    /// Returns what the channel of this name is told, and how often.
    pub(in crate::alert) fn rules(&self, channel: &ChannelName) -> DigestRules {
        DigestRules {
            channel: channel.clone(),
            min_severity: self.min_severity,
            resolved: self.resolved,
            group_wait: self.group_wait,
            digest_every: self.digest_every,
            remind_every: Some(self.remind_every).filter(|every| !every.is_zero()),
        }
    }
}

/// The word after `type =`. An enum, so that a reader can say what is valid and what is nearest.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Webhook,
    Slack,
    Discord,
    Telegram,
    Email,
}

impl<'de> Deserialize<'de> for ChannelConfig {
    /// Relies on `type` being the first key, which the reader of configurations sees to.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = ChannelConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<ChannelConfig, A::Error> {
                if table.next_key::<String>()?.as_deref() != Some("type") {
                    return Err(de::Error::missing_field("type"));
                }
                let kind = table.next_value()?;
                ChannelConfig::of_kind(kind, MapAccessDeserializer::new(table))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

impl ChannelConfig {
    /// Reads what stands beside `type`.
    fn of_kind<'de, D: Deserializer<'de>>(kind: Kind, table: D) -> Result<Self, D::Error> {
        match kind {
            Kind::Webhook => WebhookTable::deserialize(table).map(WebhookTable::into_config),
            Kind::Slack => SlackTable::deserialize(table).map(SlackTable::into_config),
            Kind::Discord => DiscordTable::deserialize(table).map(DiscordTable::into_config),
            Kind::Telegram => TelegramTable::deserialize(table).map(TelegramTable::into_config),
            Kind::Email => {
                let config = EmailTable::deserialize(table)?.into_config();
                let Way::Email(email) = &config.way else { return Ok(config) };
                email.check().map_err(de::Error::custom)?;
                Ok(config)
            }
        }
    }
}

/// Declares the table of one way as it is written: with the keys that all have, which `serde` cannot take from another struct without
/// forgetting which keys are unknown.
macro_rules! channel_table {
    ($table:ident => $way:ident($config:ident) { $($(#[$attribute:meta])* $field:ident: $kind:ty,)* }) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct $table {
            #[serde(default = "yes")]
            enabled: bool,
            #[serde(default = "warning")]
            min_severity: Severity,
            #[serde(default = "yes")]
            resolved: bool,
            #[serde(default = "five_seconds", deserialize_with = "units::duration")]
            group_wait: Duration,
            #[serde(default = "one_minute", deserialize_with = "units::positive_duration")]
            digest_every: Duration,
            #[serde(default = "four_hours", deserialize_with = "units::duration")]
            remind_every: Duration,
            $($(#[$attribute])* $field: $kind,)*
        }

        impl $table {
            fn into_config(self) -> ChannelConfig {
                let Self { enabled, min_severity, resolved, group_wait, digest_every, remind_every, $($field,)* } = self;
                let way = Way::$way($config { $($field,)* });
                ChannelConfig { enabled, min_severity, resolved, group_wait, digest_every, remind_every, way }
            }
        }
    };
}

channel_table! { WebhookTable => Webhook(WebhookConfig) {
    #[serde(deserialize_with = "url")]
    url: Secret,
    #[serde(default, deserialize_with = "some_secret")]
    secret: Option<Secret>,
} }

channel_table! { SlackTable => Slack(SlackConfig) {
    #[serde(deserialize_with = "url")]
    url: Secret,
} }

channel_table! { DiscordTable => Discord(DiscordConfig) {
    #[serde(deserialize_with = "url")]
    url: Secret,
} }

channel_table! { TelegramTable => Telegram(TelegramConfig) {
    #[serde(deserialize_with = "token")]
    token: Secret,
    #[serde(deserialize_with = "chat")]
    chat: Chat,
    #[serde(default = "telegram_api")]
    api_url: HttpUrl,
    #[serde(default)]
    thread: Option<i64>,
} }

channel_table! { EmailTable => Email(EmailConfig) {
    server: String,
    #[serde(default)]
    port: Option<u16>,
    #[serde(default)]
    tls: EmailTls,
    #[serde(default)]
    username: Option<String>,
    #[serde(default, deserialize_with = "some_secret")]
    password: Option<Secret>,
    #[serde(deserialize_with = "email::address")]
    from: String,
    #[serde(deserialize_with = "email::addresses")]
    to: Vec<String>,
    #[serde(default)]
    ca: Option<PathBuf>,
    #[serde(default)]
    hello: Option<String>,
} }

fn yes() -> bool {
    true
}

fn warning() -> Severity {
    Severity::Warning
}

fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

fn one_minute() -> Duration {
    Duration::from_secs(60)
}

fn four_hours() -> Duration {
    Duration::from_secs(4 * 3600)
}

fn telegram_api() -> HttpUrl {
    "https://api.telegram.org".parse().expect("a constant")
}

/// Reads a URL that may hold a token.
fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    let url = Secret::deserialize(deserializer)?;
    let parsed: Result<HttpUrl, EndpointError> = url.expose().parse();
    match parsed {
        Err(error) if url.expose() != STAND_IN => Err(de::Error::custom(error)),
        _ => Ok(url),
    }
}

fn some_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    let secret = Secret::deserialize(deserializer)?;
    if secret.expose().is_empty() {
        return Err(de::Error::custom("it is empty; leave the key out where there is none"));
    }
    Ok(Some(secret))
}

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

fn chat<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Chat, D::Error> {
    struct Visitor;
    impl de::Visitor<'_> for Visitor {
        type Value = Chat;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a chat's number, such as -1001234567890, or the name of a public one, such as \"@ops\"")
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Chat, E> {
            Ok(Chat::Number(number))
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Chat, E> {
            i64::try_from(number)
                .map(Chat::Number)
                .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Chat, E> {
            let is_name = text.len() > 1 && text.starts_with('@') && !text.contains(char::is_whitespace);
            match text.parse() {
                Ok(number) => Ok(Chat::Number(number)),
                Err(_) if is_name => Ok(Chat::Name(text.to_owned())),
                Err(_) => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
            }
        }
    }
    deserializer.deserialize_any(Visitor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, text: &str) -> Result<ChannelConfig, String> {
        let table = toml::Deserializer::parse(text).unwrap();
        // Not its `Display`: that repeats the line of the file, and with it a secret.
        ChannelConfig::of_kind(kind, table).map_err(|error| error.message().to_owned())
    }

    const MAIL: &str =
        "server = \"mail.example.com\"\nfrom = \"Host <host@example.com>\"\nto = [\"ops@example.com\"]\n";

    #[test]
    fn every_kind_reads_its_table_and_has_the_defaults() {
        for (kind, table, name) in [
            (Kind::Webhook, "url = \"https://a/b?c=d\"\nsecret = \"x\"", "webhook"),
            (Kind::Slack, "url = \"https://hooks.slack.com/services/a/b/c\"", "slack"),
            (Kind::Discord, "url = \"https://discord.com/api/webhooks/1/a\"", "discord"),
            (Kind::Telegram, "token = \"1:a\"\nchat = -100\nthread = 7", "telegram"),
            (Kind::Telegram, "token = \"1:a\"\nchat = \"@ops\"", "telegram"),
            (Kind::Email, MAIL, "email"),
        ] {
            let config = check(kind, table).unwrap();
            assert_eq!((config.kind(), config.enabled, config.resolved), (name, true, true));
            assert_eq!(config.min_severity, Severity::Warning);
            let seconds = [config.group_wait, config.digest_every, config.remind_every].map(|span| span.as_secs());
            assert_eq!(seconds, [5, 60, 14_400]);
        }
        let never = check(Kind::Slack, "url = \"https://a\"\nremind_every = \"0s\"").unwrap();
        assert_eq!(never.rules(&"a".parse().unwrap()).remind_every, None);
    }

    #[test]
    fn what_is_wrong_with_a_table_is_said_with_what_is_valid() {
        let mail = |more: &str| format!("{MAIL}{more}");
        for (kind, table, expected) in [
            (Kind::Webhook, String::new(), "missing field `url`"),
            (Kind::Webhook, "url = \"s3cret\"".into(), "https://HOST"),
            (Kind::Webhook, "url = \"https://a\"\nsecret = \"\"".into(), "leave the key out"),
            (Kind::Slack, "url = \"https://a\"\nsecret = \"s3cret\"".into(), "unknown field `secret`"),
            (Kind::Slack, "url = \"https://a\"\nmin_severity = \"bad\"".into(), "unknown variant `bad`"),
            (Kind::Slack, "url = \"https://a\"\ndigest_every = \"0s\"".into(), "longer than zero"),
            (Kind::Telegram, "token = \"s3cret/\"\nchat = 1".into(), "no bot token"),
            (Kind::Telegram, "token = \"1:a\"\nchat = \"ops\"".into(), "@ops"),
            (Kind::Email, "server = \"a\"".into(), "missing field `from`"),
            (Kind::Email, mail("tls = \"none\""), "`tls = \"none\"` is for a server on this machine"),
            (Kind::Email, mail("tls = \"maybe\""), "unknown variant `maybe`"),
            (Kind::Email, mail("username = \"a\""), "`username` needs a `password`"),
            (Kind::Email, mail("password = \"s3cret\""), "`password` needs a `username`"),
            (Kind::Email, mail("hello = \"a b\""), "`hello`"),
            (Kind::Email, MAIL.replace("ops@example.com", "ops"), "no mail address"),
            (Kind::Email, MAIL.replace("\"ops@example.com\"", ""), "at least one"),
            (Kind::Email, MAIL.replace("mail.example.com", "https://mail"), "`server`"),
        ] {
            let error = check(kind, &table).unwrap_err();
            assert!(error.contains(expected), "{kind:?} {table}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_configuration_shows_no_secret() {
        for (kind, table) in [
            (Kind::Webhook, "url = \"https://a/s3cret\"\nsecret = \"s3cret\"".to_owned()),
            (Kind::Slack, "url = \"https://a/s3cret\"".into()),
            (Kind::Discord, "url = \"https://a/s3cret\"".into()),
            (Kind::Telegram, "token = \"1:s3cret\"\nchat = 1\napi_url = \"https://a/s3cret\"".into()),
            (Kind::Email, format!("{MAIL}username = \"u\"\npassword = \"s3cret\"")),
        ] {
            let config = check(kind, &table).unwrap();
            assert!(!format!("{config:?}{:?}", super::super::Channel::new(&config)).contains("s3cret"));
        }
    }

    #[test]
    fn what_stands_for_an_unknown_text_is_let_through() {
        for kind in [Kind::Webhook, Kind::Slack, Kind::Discord] {
            assert!(check(kind, "url = \"1\"").is_ok());
        }
        let mail = "server = \"1\"\nfrom = \"1\"\nto = [\"1\"]\nusername = \"1\"\npassword = \"1\"\nhello = \"1\"";
        assert!(check(Kind::Email, mail).is_ok());
        assert!(check(Kind::Telegram, "token = \"1\"\nchat = \"1\"\napi_url = \"https://a\"").is_ok());
    }

    #[test]
    fn the_file_of_an_authority_is_beside_the_configuration() {
        let mut config = check(Kind::Email, &format!("{MAIL}ca = \"ca.pem\"")).unwrap();
        config.resolve_paths(Path::new("/etc/bothost"));
        let Way::Email(email) = config.way else { panic!("mail") };
        assert_eq!(email.ca.as_deref(), Some(Path::new("/etc/bothost/ca.pem")));
    }

    #[test]
    fn a_channel_of_a_configuration_is_read_with_its_secrets_and_its_mistakes_have_a_place() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("hook"), "https://a/s3cret\n").unwrap();
        let path = directory.path().join("bothost.toml");
        let read = |text: &str| crate::config::Config::parse(text, &path);
        let config = read("[alerts.channels.ops]\nurl = { file = \"hook\" }\ntype = \"slack\"\n").unwrap();
        let channel = &config.alerts.channels[&"ops".parse().unwrap()];
        assert!(matches!(&channel.way, Way::Slack(slack) if slack.url.expose() == "https://a/s3cret"));
        let mail = format!("[alerts.channels.mail]\ntype = \"email\"\n{MAIL}ca = \"ca.pem\"\n");
        let config = read(&mail).unwrap();
        let Way::Email(email) = &config.alerts.channels[&"mail".parse().unwrap()].way else { panic!("mail") };
        assert_eq!(email.ca, Some(directory.path().join("ca.pem")));
        for (text, expected) in [
            ("[alerts.channels.ops]\nurl = \"https://a\"\n", "type"),
            ("[alerts.channels.ops]\ntype = \"slak\"\nurl = \"https://a\"\n", "slack"),
            ("[alerts.channels.ops]\ntype = \"slack\"\nurl = \"s3cret\"\n", "https://HOST"),
            ("[alerts.channels.ops]\ntype = \"slack\"\nurl = \"https://a\"\nurll = \"x\"\n", "did you mean `url`"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("bothost.toml"), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
