//! The table of a QQ connector.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use crate::connector::claim::Claim;
use crate::connector::config::Nature;
use crate::connector::config::default_reconnect_max;
use crate::connector::{AskedKey, PaceChoice, PaceLimits};
use crate::egress::HttpUrl;
use crate::rate::Quota;
use crate::secret::Secret;
use crate::units;

/// What its table holds.
pub(in crate::connector) const NATURE: Nature = Nature {
    name: "qq",
    keys: &[
        "app_id",
        "client_secret",
        "api_url",
        "token_url",
        "sandbox",
        "mode",
        "listen",
        "path",
        "intents",
        "resume_token",
        "markdown",
        "stall_timeout",
        "reconnect_max",
        "pace",
    ],
    askable: &[
        // No secret, but as much the tenant's own.
        AskedKey::secret("app_id", "102000000"),
        AskedKey::secret("client_secret", "sample"),
        AskedKey::address("api_url", "https://sample"),
        AskedKey::address("token_url", "https://sample"),
    ],
};

/// What QQ takes, by <https://bot.q.qq.com/wiki/develop/gosdk/api/message/post_message.html>: five messages a second in a channel; of
/// other places nothing is said.
pub(in crate::connector) const PACE: PaceLimits = PaceLimits {
    token: None,
    direct_chat: Some(Quota::new(5, Duration::from_secs(1), 1)),
    group_chat: Some(Quota::new(5, Duration::from_secs(1), 1)),
};

/// `type = "qq"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Table")]
pub struct QqConfig {
    /// Which bot it is.
    pub app_id: String,
    /// What the platform gave out with it.
    pub client_secret: Secret,
    /// Where the API is.
    pub api_url: HttpUrl,
    /// Where tokens come from.
    pub token_url: HttpUrl,
    /// How events come.
    pub transport: Transport,
    /// What is asked for, as the gateway counts it.
    pub intents: u32,
    /// How a resume writes the token.
    pub resume_token: ResumeToken,
    /// The account may send markup.
    pub markdown: bool,
    /// A gateway is given up after a silence this long.
    pub stall_timeout: Duration,
    /// The longest wait between two tries.
    pub reconnect_max: Duration,
    /// Whether what is sent keeps to the platform's limits.
    pub pace: PaceChoice,
}

/// How events come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// By the platform's gateway.
    WebSocket,
    /// The platform posts them.
    Webhook {
        /// Where we listen.
        listen: SocketAddr,
        /// The path it posts to.
        path: String,
    },
}

/// How a resume writes the token: the platform's documents and its clients differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResumeToken {
    /// As it is.
    Bare,
    /// As an identification has it.
    #[default]
    Prefixed,
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(deserialize_with = "app_id")]
    app_id: String,
    client_secret: Secret,
    api_url: Option<HttpUrl>,
    #[serde(default = "default_token_url")]
    token_url: HttpUrl,
    #[serde(default)]
    sandbox: bool,
    #[serde(default)]
    mode: Mode,
    listen: Option<SocketAddr>,
    path: Option<String>,
    intents: Option<Intents>,
    resume_token: Option<ResumeToken>,
    #[serde(default)]
    markdown: bool,
    #[serde(default = "default_stall_timeout", deserialize_with = "units::positive_duration")]
    stall_timeout: Duration,
    #[serde(default = "default_reconnect_max", deserialize_with = "units::positive_duration")]
    reconnect_max: Duration,
    #[serde(default)]
    pace: PaceChoice,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    WebSocket,
    Webhook,
}

fn default_api_url(is_sandbox: bool) -> HttpUrl {
    let url = if is_sandbox { "https://sandbox.api.sgroup.qq.com" } else { "https://api.sgroup.qq.com" };
    url.parse().expect("a constant")
}

fn default_token_url() -> HttpUrl {
    "https://bots.qq.com".parse().expect("a constant")
}

/// Nearly three of the platform's heartbeats.
fn default_stall_timeout() -> Duration {
    Duration::from_secs(120)
}

/// What a path is where none is given.
const PATH: &str = "/qq";

/// Refuses what would not survive as a header.
fn app_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let id = String::deserialize(deserializer)?;
    if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        Ok(id)
    } else {
        Err(de::Error::custom("no app id: one looks like \"102000000\" and has letters and digits only"))
    }
}

/// What may be asked for, by the platform's names.
const INTENTS: [(&str, u32); 11] = [
    ("guilds", 0),
    ("guild_members", 1),
    ("guild_messages", 9),
    ("reactions", 10),
    ("direct_message", 12),
    ("group_and_c2c", 25),
    ("interaction", 26),
    ("message_audit", 27),
    ("forums", 28),
    ("audio_action", 29),
    ("public_guild_messages", 30),
];

const fn names_of<const N: usize>(intents: [(&'static str, u32); N]) -> [&'static str; N] {
    let mut names = [""; N];
    let mut index = 0;
    while index < N {
        names[index] = intents[index].0;
        index += 1;
    }
    names
}

/// What is asked for: a number, or names.
struct Intents(u32);

impl Default for Intents {
    /// What every bot may have.
    fn default() -> Self {
        Self(1 << 30 | 1 << 12 | 1 << 25 | 1 << 26)
    }
}

impl<'de> Deserialize<'de> for Intents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Intents;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or a list of names such as [\"group_and_c2c\", \"direct_message\"]")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Intents, E> {
                u32::try_from(number).map(Intents).map_err(|_| E::custom("`intents` is a number from 0 to 4294967295"))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Intents, E> {
                self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut names: A) -> Result<Intents, A::Error> {
                const NAMES: [&str; INTENTS.len()] = names_of(INTENTS);
                let mut all = 0;
                while let Some(name) = names.next_element::<String>()? {
                    let known = INTENTS.iter().find(|(known, _)| known.eq_ignore_ascii_case(&name));
                    let Some((_, bit)) = known else {
                        return Err(de::Error::unknown_variant(&name, &NAMES));
                    };
                    all |= 1 << bit;
                }
                Ok(Intents(all))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Keys that do not go together.
#[derive(Debug)]
struct TableError(&'static str);

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl TryFrom<Table> for QqConfig {
    type Error = TableError;

    fn try_from(table: Table) -> Result<Self, TableError> {
        let transport = match (table.mode, table.listen, table.path) {
            (Mode::WebSocket, None, None) => Transport::WebSocket,
            (Mode::WebSocket, ..) => return Err(TableError("mode = \"websocket\" has no `listen` and no `path`")),
            (Mode::Webhook, None, _) => return Err(TableError("mode = \"webhook\" needs `listen`")),
            (Mode::Webhook, Some(_), _) if table.intents.is_some() || table.resume_token.is_some() => {
                return Err(TableError("mode = \"webhook\" has no `intents` and no `resume_token`"));
            }
            (Mode::Webhook, Some(listen), path) => {
                let path = path.unwrap_or_else(|| PATH.to_owned());
                if !path.starts_with('/') || path.contains(['?', '#']) {
                    return Err(TableError("`path` begins with `/` and has neither `?` nor `#`"));
                }
                Transport::Webhook { listen, path }
            }
        };
        if table.client_secret.expose().is_empty() {
            // Everybody would know the key that is derived from it.
            return Err(TableError("`client_secret` is empty"));
        }
        if table.sandbox && table.api_url.is_some() {
            return Err(TableError("`sandbox` stands for an `api_url`; keep one of the two"));
        }
        Ok(Self {
            app_id: table.app_id,
            client_secret: table.client_secret,
            api_url: table.api_url.unwrap_or_else(|| default_api_url(table.sandbox)),
            token_url: table.token_url,
            transport,
            intents: table.intents.unwrap_or_default().0,
            resume_token: table.resume_token.unwrap_or_default(),
            markdown: table.markdown,
            stall_timeout: table.stall_timeout,
            reconnect_max: table.reconnect_max,
            pace: table.pace,
        })
    }
}

impl QqConfig {
    /// Returns what no other connector can have at the same time. Two that answer for one bot would number their answers alike.
    pub(in crate::connector) fn claims(&self) -> Vec<Claim> {
        let bot = Claim::Credential("QQ app id", Secret::new(self.app_id.clone()));
        match &self.transport {
            Transport::WebSocket => vec![bot],
            Transport::Webhook { listen, path } => vec![bot, Claim::Door(*listen, path.clone())],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(table: &str) -> Result<QqConfig, String> {
        let table = format!("app_id = \"1\"\nclient_secret = \"s3cret\"\n{table}");
        toml::from_str(&table).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn intents_are_a_number_or_names() {
        let default = 1 << 30 | 1 << 12 | 1 << 25 | 1 << 26;
        for (table, expected) in [
            ("", default),
            ("intents = 513", 513),
            ("intents = [\"guilds\", \"GUILD_MESSAGES\"]", 513),
            ("intents = []", 0),
        ] {
            assert_eq!(check(table).unwrap().intents, expected, "{table}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_table_is_said_with_what_is_valid() {
        for (table, expected) in [
            ("intents = [\"everything\"]", "`group_and_c2c`"),
            ("intents = -1", "from 0 to 4294967295"),
            ("mode = \"poll\"", "expected `websocket` or `webhook`"),
            ("mode = \"webhook\"", "needs `listen`"),
            ("listen = \"127.0.0.1:1\"", "has no `listen`"),
            ("mode = \"webhook\"\nlisten = \"127.0.0.1:1\"\npath = \"x\"", "begins with `/`"),
            ("mode = \"webhook\"\nlisten = \"127.0.0.1:1\"\nintents = 1", "has no `intents`"),
            ("sandbox = true\napi_url = \"https://a\"", "keep one of the two"),
            ("resume_token = \"none\"", "expected `bare` or `prefixed`"),
        ] {
            let error = check(table).unwrap_err();
            assert!(error.contains(expected), "{table}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
        let secretless: Result<QqConfig, _> = toml::from_str("app_id = \"1\"\nclient_secret = \"\"");
        assert!(secretless.unwrap_err().message().contains("is empty"));
    }

    #[test]
    fn a_sandbox_has_an_address_of_its_own() {
        assert_eq!(check("sandbox = true").unwrap().api_url.0.host, "sandbox.api.sgroup.qq.com");
        assert_eq!(check("").unwrap().api_url.0.host, "api.sgroup.qq.com");
    }
}
