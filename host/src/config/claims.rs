//! What only one connector can have: a Telegram token, which the platform serves to one poller at a time, and an address to
//! listen on.

use std::fmt;
use std::net::SocketAddr;

use crate::connector::ConnectorConfig;
use crate::connector::onebot::Transport;
use crate::document::{ConfigError, Mistake, Place};
use crate::secret::Secret;

use super::{BotFile, Config, Placed};

/// What is taken, and by whom.
#[derive(Debug, Clone, Default)]
pub struct Claims(Vec<Claim>);

#[derive(Debug, Clone)]
struct Claim {
    what: Resource,
    /// Who has it, for people.
    holder: String,
    place: Place,
}

#[derive(Debug, Clone)]
enum Resource {
    TelegramToken(Secret),
    Listen(SocketAddr),
}

impl fmt::Display for Resource {
    /// What is wrong when another has it too; the token itself is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TelegramToken(_) => f.write_str("has the Telegram token"),
            Self::Listen(address) => write!(f, "listens on {address}, an address"),
        }
    }
}

impl Resource {
    /// Returns what a connector needs for itself.
    fn of(connector: &ConnectorConfig) -> Option<Self> {
        match connector {
            ConnectorConfig::Telegram(telegram) => Some(Self::TelegramToken(telegram.token.clone())),
            ConnectorConfig::OneBot(onebot) => match &onebot.transport {
                Transport::Reverse { listen, .. } => Some(Self::Listen(*listen)),
                Transport::Forward { .. } => None,
            },
            ConnectorConfig::Console(_) | ConnectorConfig::Scripted(_) => None,
        }
    }

    fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::TelegramToken(one), Self::TelegramToken(other)) => one == other,
            (Self::Listen(one), Self::Listen(other)) => overlap(*one, *other),
            _ => false,
        }
    }
}

/// Returns whether two sockets cannot listen on these at the same time. Port 0 is another port each time.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let same_address = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && same_address
}

impl Claims {
    /// Takes what the connectors of the host's configuration need.
    ///
    /// # Errors
    ///
    /// Two need the same: each mistake is at the later one and names the earlier.
    pub fn of(config: &Config) -> Result<Self, ConfigError> {
        let mut claims = Self::default();
        let wanted = config.connectors.iter().map(|(name, connector)| (name.to_string(), connector));
        claims.take(wanted.collect())?;
        Ok(claims)
    }

    /// Takes what the connectors of a bot's own file need.
    ///
    /// # Errors
    ///
    /// Another has it already: each mistake is at this file's connector and names the other. Nothing is taken then.
    pub fn admit(&mut self, bot: &BotFile) -> Result<(), ConfigError> {
        let wanted = bot.connectors.iter().map(|(name, connector)| (format!("{}/{name}", bot.name), connector));
        self.take(wanted.collect())
    }

    fn take(&mut self, mut wanted: Vec<(String, &Placed<ConnectorConfig>)>) -> Result<(), ConfigError> {
        wanted.sort_by(|(_, one), (_, other)| one.place.cmp(&other.place));
        let before = self.0.len();
        let mut mistakes = Vec::new();
        for (holder, connector) in wanted {
            let Some(what) = Resource::of(&connector.value) else { continue };
            let place = connector.place.clone();
            match self.0.iter().find(|claim| claim.what.excludes(&what)) {
                Some(other) => {
                    let message =
                        format!("connector `{holder}` {what} of connector `{}` at {}", other.holder, other.place);
                    mistakes.push(Mistake { place, message });
                }
                None => self.0.push(Claim { what, holder, place }),
            }
        }
        if mistakes.is_empty() {
            return Ok(());
        }
        self.0.truncate(before);
        Err(ConfigError::Mistakes(mistakes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_overlap_when_one_address_covers_the_other() {
        for (one, other, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            assert_eq!(overlap(one.parse().unwrap(), other.parse().unwrap()), expected, "{one} {other}");
        }
    }
}
