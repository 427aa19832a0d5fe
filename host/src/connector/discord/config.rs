//! The table of a Discord connector.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use data_encoding::HEXLOWER_PERMISSIVE;
use ed25519_dalek::VerifyingKey;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

use super::shard::SHARDS_MAX;
use crate::connector::PaceChoice;
use crate::connector::claim::Claim;
use crate::connector::config::default_reconnect_max;
use crate::egress::{HttpUrl, WebSocketUrl};
use crate::secret::Secret;
use crate::units;

/// `type = "discord"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Table")]
pub struct DiscordConfig {
    /// What the application's page gave out.
    pub token: Secret,
    /// Where the REST API is.
    pub api_url: HttpUrl,
    /// Where the gateway is; none: where the REST API says.
    pub gateway_url: Option<WebSocketUrl>,
    /// What is asked for, a bit each.
    pub intents: u64,
    /// Which part of the guilds is served.
    pub shards: Shards,
    /// Where interactions come in by HTTP.
    pub door: Option<Door>,
    /// The application that the token must be of.
    pub application_id: Option<String>,
    /// A connection is dead after a silence this long.
    pub stall_timeout: Duration,
    /// The longest wait between two tries.
    pub reconnect_max: Duration,
    /// Whether what is sent keeps to the platform's limits.
    pub pace: PaceChoice,
}

/// Which part of a bot's guilds is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shards {
    /// All, in as many parts as Discord advises.
    Advised,
    /// All, in so many parts.
    All(u32),
    /// This part of so many; others are served elsewhere.
    One(u32, u32),
}

/// Where interactions come in by HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    /// The address.
    pub listen: SocketAddr,
    /// The path.
    pub path: String,
    /// Who signs them.
    pub public_key: VerifyingKey,
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(deserialize_with = "token")]
    token: Secret,
    #[serde(default = "default_api_url")]
    api_url: HttpUrl,
    gateway_url: Option<WebSocketUrl>,
    #[serde(default)]
    intents: Intents,
    shards: Option<Count>,
    shard: Option<(u32, u32)>,
    public_key: Option<String>,
    listen: Option<SocketAddr>,
    path: Option<String>,
    application_id: Option<String>,
    #[serde(default = "default_stall_timeout", deserialize_with = "units::positive_duration")]
    stall_timeout: Duration,
    #[serde(default = "default_reconnect_max", deserialize_with = "units::positive_duration")]
    reconnect_max: Duration,
    #[serde(default)]
    pace: PaceChoice,
}

fn default_api_url() -> HttpUrl {
    "https://discord.com/api/v10".parse().expect("a constant")
}

/// Two of Discord's heartbeats, and some time for the second's answer.
fn default_stall_timeout() -> Duration {
    Duration::from_secs(90)
}

/// What a path is where none is given.
const PATH: &str = "/discord/interactions";

/// Refuses what would not survive in a header. The text itself is never shown.
fn token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    let token = Secret::deserialize(deserializer)?;
    if !token.expose().is_empty() && token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(token)
    } else {
        Err(de::Error::custom("no bot token: one has letters, digits and signs only, and no `Bot ` in front"))
    }
}

/// Discord's names of what a bot may be told, and their bits.
const INTENTS: [(&str, u32); 21] = [
    ("guilds", 0),
    ("guild_members", 1),
    ("guild_moderation", 2),
    ("guild_expressions", 3),
    ("guild_integrations", 4),
    ("guild_webhooks", 5),
    ("guild_invites", 6),
    ("guild_voice_states", 7),
    ("guild_presences", 8),
    ("guild_messages", 9),
    ("guild_message_reactions", 10),
    ("guild_message_typing", 11),
    ("direct_messages", 12),
    ("direct_message_reactions", 13),
    ("direct_message_typing", 14),
    ("message_content", 15),
    ("guild_scheduled_events", 16),
    ("auto_moderation_configuration", 20),
    ("auto_moderation_execution", 21),
    ("guild_message_polls", 24),
    ("direct_message_polls", 25),
];

/// What is asked for: names, or the number that they make.
struct Intents(u64);

impl Default for Intents {
    /// Messages and reactions, in guilds and in private, with what they say.
    fn default() -> Self {
        Self(1 | 1 << 9 | 1 << 10 | 1 << 12 | 1 << 13 | 1 << 15)
    }
}

impl<'de> Deserialize<'de> for Intents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Intents;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of intents, such as [\"guilds\", \"guild_messages\"], or their number")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Intents, E> {
                Ok(Intents(number))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Intents, E> {
                u64::try_from(number).map(Intents).map_err(|_| E::custom("intents are no negative number"))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut names: A) -> Result<Intents, A::Error> {
                let mut bits = 0;
                while let Some(name) = names.next_element::<String>()? {
                    let Some((_, bit)) = INTENTS.iter().find(|(known, _)| *known == name) else {
                        let known: Vec<_> = INTENTS.iter().map(|(name, _)| *name).collect();
                        return Err(de::Error::custom(format!("no intent `{name}`; there are {}", known.join(", "))));
                    };
                    bits |= 1 << bit;
                }
                Ok(Intents(bits))
            }
        }
        deserializer.deserialize_any(Names)
    }
}

/// How many shards: a number, or `"auto"`.
struct Count(Shards);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "\"auto\" or a number from 1 to {SHARDS_MAX}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Count, E> {
                if text == "auto" {
                    Ok(Count(Shards::Advised))
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(text), &self))
                }
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Count, E> {
                let count = u32::try_from(number).ok().filter(|count| (1..=SHARDS_MAX).contains(count));
                count
                    .map(|count| Count(Shards::All(count)))
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Count, E> {
                self.visit_u64(u64::try_from(number).unwrap_or_default())
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// What does not fit in a table.
#[derive(Debug)]
struct TableError(&'static str);

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl TryFrom<Table> for DiscordConfig {
    type Error = TableError;

    fn try_from(table: Table) -> Result<Self, TableError> {
        let shards = match (table.shards, table.shard) {
            (None, None) => Shards::Advised,
            (Some(Count(shards)), None) => shards,
            (None, Some((number, of))) if number < of => Shards::One(number, of),
            (None, Some(_)) => return Err(TableError("`shard` is [number, how many]; the first is number 0")),
            (Some(_), Some(_)) => {
                return Err(TableError("`shards` serves all of them here, `shard` one: keep one of the two"));
            }
        };
        let is_number = |id: &String| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
        if table.application_id.as_ref().is_some_and(|id| !is_number(id)) {
            return Err(TableError("`application_id` is the number on the application's page"));
        }
        Ok(Self {
            token: table.token,
            api_url: table.api_url,
            gateway_url: table.gateway_url,
            intents: table.intents.0,
            shards,
            door: door(table.public_key, table.listen, table.path)?,
            application_id: table.application_id,
            stall_timeout: table.stall_timeout,
            reconnect_max: table.reconnect_max,
            pace: table.pace,
        })
    }
}

fn door(key: Option<String>, listen: Option<SocketAddr>, path: Option<String>) -> Result<Option<Door>, TableError> {
    let (key, listen) = match (key, listen, &path) {
        (None, None, None) => return Ok(None),
        (Some(key), Some(listen), _) => (key, listen),
        _ => return Err(TableError("interactions by HTTP need both `listen` and `public_key`")),
    };
    let path = path.unwrap_or_else(|| PATH.to_owned());
    if !path.starts_with('/') || path.contains(['?', '#']) {
        return Err(TableError("`path` begins with `/` and has neither `?` nor `#`"));
    }
    let bytes = HEXLOWER_PERMISSIVE.decode(key.as_bytes()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let public_key = bytes.and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok());
    let public_key =
        public_key.ok_or(TableError("`public_key` is the 64 hexadecimal digits on the application's page"))?;
    Ok(Some(Door { listen, path, public_key }))
}

impl DiscordConfig {
    /// Returns what no other connector can have at the same time.
    pub(in crate::connector) fn claims(&self) -> Vec<Claim> {
        // Two that serve different parts of one bot's guilds are no rivals.
        let served = match self.shards {
            Shards::One(number, of) => Secret::new(format!("{} {number}/{of}", self.token.expose())),
            Shards::All(_) | Shards::Advised => self.token.clone(),
        };
        let mut claims = vec![Claim::Credential("Discord token", served)];
        claims.extend(self.door.as_ref().map(|door| Claim::Door(door.listen, door.path.clone())));
        claims
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(table: &str) -> Result<DiscordConfig, String> {
        toml::from_str(table).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_token_is_enough() {
        let config = read("token = 'a.b-c'").unwrap();
        assert_eq!((config.shards, config.intents, config.door), (Shards::Advised, 46_593, None));
    }

    #[test]
    fn intents_are_names_or_their_number() {
        assert_eq!(read("token = 'x'\nintents = ['guilds', 'message_content']").unwrap().intents, 32_769);
        assert_eq!(read("token = 'x'\nintents = 513").unwrap().intents, 513);
        let error = read("token = 'x'\nintents = ['message']").unwrap_err();
        assert!(error.contains("no intent `message`; there are guilds,"), "{error}");
        assert!(read("token = 'x'\nintents = -1").is_err());
    }

    #[test]
    fn shards_are_all_of_them_or_one() {
        let shards = |text: &str| read(&format!("token = 'x'\n{text}")).map(|config| config.shards);
        assert_eq!(shards("shards = 'auto'"), Ok(Shards::Advised));
        assert_eq!(shards("shards = 3"), Ok(Shards::All(3)));
        assert_eq!(shards("shard = [1, 4]"), Ok(Shards::One(1, 4)));
        for wrong in [
            "shards = 0",
            "shards = -1",
            "shards = 9999",
            "shards = 'all'",
            "shard = [4, 4]",
            "shards = 2\nshard = [0, 2]",
        ] {
            assert!(shards(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_door_needs_an_address_and_a_key() {
        let key = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
        let door = |text: &str| read(&format!("token = 'x'\n{text}")).map(|config| config.door);
        let good = door(&format!("listen = '127.0.0.1:0'\npublic_key = '{key}'")).unwrap().unwrap();
        assert_eq!(good.path, PATH);
        assert!(door("listen = '127.0.0.1:0'").is_err() && door(&format!("public_key = '{key}'")).is_err());
        assert!(door("path = '/x'").is_err() && door("listen = '127.0.0.1:0'\npublic_key = 'abc'").is_err());
        assert!(door(&format!("listen = '127.0.0.1:0'\npublic_key = '{key}'\npath = 'x'")).is_err());
    }

    #[test]
    fn a_wrong_token_is_refused_without_being_shown() {
        let error = read("token = 'Bot s3cret'").unwrap_err();
        assert!(!error.contains("s3cret"), "{error}");
    }

    #[test]
    fn two_shards_of_one_token_go_together_and_two_of_the_same_number_do_not() {
        let claims = |text: &str| read(&format!("token = 'x'\n{text}")).unwrap().claims();
        let excludes = |one: &str, other: &str| claims(one)[0].excludes(&claims(other)[0]);
        assert!(!excludes("shard = [0, 2]", "shard = [1, 2]"));
        assert!(excludes("shard = [0, 2]", "shard = [0, 2]"));
        assert!(excludes("", "shards = 2"));
    }
}
