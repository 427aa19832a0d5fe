//! Telegram's Bot API, by long polling or by webhook. Owns its table in the configuration. Either way Telegram is told that an update
//! arrived only after the host has taken it over, so that nothing is lost between the two.

mod api;
mod form;
mod intake;
mod poll;
mod send;
mod update;
mod webhook;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};
use tokio::sync::mpsc;

use self::api::Api;
use self::intake::Intake;
use self::poll::Poller;
use self::send::Sender;
use self::webhook::Receiver;
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
    name: "telegram",
    keys: &[
        "token",
        "api_url",
        "mode",
        "poll_timeout",
        "listen",
        "path",
        "public_url",
        "secret_token",
        "stall_timeout",
        "reconnect_max",
        "pace",
    ],
    askable: &[AskedKey::secret("token", "1:sample"), AskedKey::address("api_url", "https://sample")],
};

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
    /// How updates come.
    pub mode: Mode,
    /// A poll without any answer is given up after this long. With a webhook: how often Telegram is asked how it fares.
    pub stall_timeout: Duration,
    /// The longest wait between two tries.
    pub reconnect_max: Duration,
    /// Whether what is sent keeps to the platform's limits.
    pub pace: PaceChoice,
}

/// How updates come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// We ask for them.
    Poll {
        /// How long Telegram may hold a poll open when there is nothing to say.
        poll_timeout: Duration,
    },
    /// Telegram posts them to us.
    Webhook(Webhook),
}

/// Where Telegram posts updates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where we listen, in the clear: TLS is for a proxy in front.
    pub listen: SocketAddr,
    /// The path there.
    pub path: String,
    /// What Telegram is told to post to: the same place as it is seen from outside.
    pub public_url: String,
    /// What each update is to carry. None: a random one, another in each process.
    pub secret_token: Option<Secret>,
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(deserialize_with = "token")]
    token: Secret,
    #[serde(default = "default_api_url")]
    api_url: HttpUrl,
    #[serde(default)]
    mode: ModeName,
    #[serde(default, deserialize_with = "units::some_positive_duration")]
    poll_timeout: Option<Duration>,
    listen: Option<SocketAddr>,
    path: Option<String>,
    public_url: Option<String>,
    secret_token: Option<Secret>,
    #[serde(default, deserialize_with = "units::some_positive_duration")]
    stall_timeout: Option<Duration>,
    #[serde(default = "default_reconnect_max", deserialize_with = "units::positive_duration")]
    reconnect_max: Duration,
    #[serde(default)]
    pace: PaceChoice,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ModeName {
    #[default]
    Poll,
    Webhook,
}

const API_URL: &str = "https://api.telegram.org";

fn default_api_url() -> HttpUrl {
    API_URL.parse().expect("a constant")
}

/// How long a poll is held open where nothing is said of it.
const POLL_TIMEOUT: Duration = Duration::from_secs(25);
/// What a poll may take longer than Telegram was asked to hold it.
const STALL_MARGIN: Duration = Duration::from_secs(10);
/// How often Telegram is asked how the webhook fares where nothing is said of it.
const CHECK_EVERY: Duration = Duration::from_secs(60);
/// What a path is where none is given.
const PATH: &str = "/telegram";
/// Longest secret of a webhook, in bytes; Telegram's limit.
const SECRET_BYTES_MAX: usize = 256;

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

/// Keys that do not go together, or a value that is none.
#[derive(Debug)]
struct TableError(&'static str);

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl TryFrom<Table> for TelegramConfig {
    type Error = TableError;

    fn try_from(table: Table) -> Result<Self, TableError> {
        let (mode, stall_timeout) = match table.mode {
            ModeName::Poll => {
                if table.listen.is_some() || table.path.is_some() || table.public_url.is_some() {
                    return Err(TableError("`listen`, `path` and `public_url` are for mode = \"webhook\""));
                }
                if table.secret_token.is_some() {
                    return Err(TableError("`secret_token` is for mode = \"webhook\""));
                }
                let poll_timeout = table.poll_timeout.unwrap_or(POLL_TIMEOUT);
                let stall_timeout = table.stall_timeout.unwrap_or(poll_timeout + STALL_MARGIN);
                if stall_timeout <= poll_timeout {
                    let why = "`stall_timeout` must be longer than `poll_timeout`, or no poll could ever end by itself";
                    return Err(TableError(why));
                }
                (Mode::Poll { poll_timeout }, stall_timeout)
            }
            ModeName::Webhook => {
                if table.poll_timeout.is_some() {
                    return Err(TableError("`poll_timeout` is for mode = \"poll\""));
                }
                let is_telegrams_own = table.api_url == default_api_url();
                let webhook =
                    webhook(table.listen, table.path, table.public_url, table.secret_token, is_telegrams_own)?;
                (Mode::Webhook(webhook), table.stall_timeout.unwrap_or(CHECK_EVERY))
            }
        };
        Ok(Self {
            token: table.token,
            api_url: table.api_url,
            mode,
            stall_timeout,
            reconnect_max: table.reconnect_max,
            pace: table.pace,
        })
    }
}

fn webhook(
    listen: Option<SocketAddr>,
    path: Option<String>,
    public_url: Option<String>,
    secret_token: Option<Secret>,
    is_telegrams_own: bool,
) -> Result<Webhook, TableError> {
    let listen = listen.ok_or(TableError("mode = \"webhook\" needs `listen`"))?;
    let path = path.unwrap_or_else(|| PATH.to_owned());
    if !path.starts_with('/') || path.contains(['?', '#']) {
        return Err(TableError("`path` begins with `/` and has neither `?` nor `#`"));
    }
    let public_url =
        public_url.ok_or(TableError("mode = \"webhook\" needs `public_url`, where Telegram reaches us"))?;
    if public_url.parse::<HttpUrl>().is_err() {
        return Err(TableError("`public_url` is of the form https://HOST[:PORT][/PATH]"));
    }
    if is_telegrams_own && !public_url.starts_with("https://") {
        return Err(TableError("`public_url` begins with https://: Telegram posts to nothing else"));
    }
    let is_good = |secret: &Secret| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        (1..=SECRET_BYTES_MAX).contains(&secret.expose().len()) && secret.expose().bytes().all(fits)
    };
    if secret_token.as_ref().is_some_and(|secret| !is_good(secret)) {
        return Err(TableError("`secret_token` has 1 to 256 letters, digits, `_` and `-`"));
    }
    Ok(Webhook { listen, path, public_url, secret_token })
}

impl TelegramConfig {
    /// Returns what no other connector can have at the same time.
    pub(super) fn claims(&self) -> Vec<Claim> {
        let token = Claim::Credential("Telegram token", self.token.clone());
        match &self.mode {
            Mode::Poll { .. } => vec![token],
            Mode::Webhook(webhook) => vec![token, Claim::Door(webhook.listen, webhook.path.clone())],
        }
    }
}

/// Runs until it is told to stop.
pub(super) async fn run(config: TelegramConfig, ports: Ports) {
    let Ports { name, inbox, deliveries, status, guard, ingress, cancel, .. } = ports;
    let client = HttpClient::new(config.api_url.0.clone(), guard);
    let api = Api::new(client, config.token.clone(), status.signs());
    let connection = Connection::new(status, config.reconnect_max);
    let (pressed, presses) = mpsc::channel(intake::PRESSES_MAX);
    let intake = Intake::new(&api, &name, &inbox, pressed);
    let receive = async {
        match &config.mode {
            Mode::Poll { poll_timeout } => {
                let poller = Poller::new(&api, &intake, &config, *poll_timeout, &name);
                poller.run(&connection, &cancel).await;
            }
            Mode::Webhook(webhook) => {
                let receiver = Receiver::new(&api, &intake, &config, webhook, &name);
                receiver.run(&connection, &ingress, &cancel).await;
            }
        }
    };
    let sender = Sender::new(&api);
    let deliver = deliveries::carry_out(deliveries, &cancel, |task| sender.carry_out(task));
    tokio::join!(receive, deliver, intake::answer_presses(&api, presses, &cancel));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::Rate;
    use std::time::Instant;

    fn check(text: &str) -> Result<TelegramConfig, String> {
        // Not its `Display`: that repeats the line of the file, and with it a secret.
        TelegramConfig::deserialize(toml::Deserializer::parse(text).unwrap())
            .map_err(|error| error.message().to_owned())
    }

    const WEBHOOK: &str = "token = \"1:a\"\nmode = \"webhook\"\nlisten = \"127.0.0.1:8443\"\n";

    #[test]
    fn a_webhook_needs_where_it_listens_and_what_telegram_is_told_and_has_its_path_for_itself() {
        let config = check(&format!("{WEBHOOK}public_url = \"https://bots.example/tg\"")).unwrap();
        let listen = "127.0.0.1:8443".parse().unwrap();
        let expected = Webhook {
            listen,
            path: "/telegram".to_owned(),
            public_url: "https://bots.example/tg".to_owned(),
            secret_token: None,
        };
        assert_eq!(config.mode, Mode::Webhook(expected));
        assert!(config.claims().contains(&Claim::Door(listen, "/telegram".to_owned())));
        assert_eq!(config.stall_timeout, CHECK_EVERY);
    }

    #[test]
    fn a_group_gets_at_most_twenty_messages_in_any_minute_and_hardly_less() {
        let (mut rate, start) = (Rate::within(PACE.group_chat.unwrap()), Instant::now());
        let sent: Vec<u64> =
            (0..600).filter(|second| rate.take(1, start + Duration::from_secs(*second)).is_ok()).collect();
        let within_minute = |from: u64| sent.iter().filter(|at| (from..from + 60).contains(at)).count();
        let counts: Vec<_> = (0..540).map(within_minute).collect();
        assert!(counts.iter().all(|count| (15..=20).contains(count)), "{counts:?}");
    }

    #[test]
    fn what_does_not_go_together_is_said() {
        let hook = |keys: &str| format!("{WEBHOOK}public_url = \"https://bots.example\"\n{keys}");
        for (table, expected) in [
            (WEBHOOK.to_owned(), "needs `public_url`"),
            ("token = \"1:a\"\nmode = \"webhook\"".to_owned(), "needs `listen`"),
            (format!("{WEBHOOK}public_url = \"http://bots.example\""), "begins with https://"),
            (format!("{WEBHOOK}public_url = \"bots.example\""), "of the form https://HOST"),
            (hook("path = \"tg\""), "`path` begins with `/`"),
            (hook("poll_timeout = \"5s\""), "`poll_timeout` is for mode = \"poll\""),
            (hook("secret_token = \"s3cret with spaces\""), "`secret_token` has 1 to 256"),
            (hook("secret_token = \"\""), "`secret_token` has 1 to 256"),
            ("token = \"1:a\"\npath = \"/x\"".to_owned(), "for mode = \"webhook\""),
            ("token = \"1:a\"\nsecret_token = \"s3cret\"".to_owned(), "for mode = \"webhook\""),
        ] {
            let error = check(&table).unwrap_err();
            assert!(error.contains(expected), "{table}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
        let own_server = format!("{WEBHOOK}api_url = \"http://127.0.0.1:8081\"\npublic_url = \"http://127.0.0.1/tg\"");
        assert!(check(&own_server).is_ok(), "a server of one's own may post in the clear");
        let debug = format!("{:?}", check(&hook("secret_token = \"s3cret\"")).unwrap());
        assert!(!debug.contains("s3cret"), "{debug}");
    }
}
