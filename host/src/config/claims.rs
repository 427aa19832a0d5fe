//! Who has what only one connector can have, such as a Telegram token, which the platform serves to one poller at a time, or an
//! address to listen on.

use crate::connector::{Claim, ConnectorConfig};
use crate::document::{ConfigError, Mistake, Place};

use super::{BotFile, Config, Placed};

/// What is taken, and by whom.
#[derive(Debug, Clone, Default)]
pub struct Claims(Vec<Held>);

#[derive(Debug, Clone)]
struct Held {
    what: Claim,
    /// Who has it, for people.
    holder: String,
    place: Place,
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
            for what in connector.value.claims() {
                let place = connector.place.clone();
                match self.0.iter().find(|held| held.what.excludes(&what)) {
                    Some(other) => {
                        let message =
                            format!("connector `{holder}` {what} of connector `{}` at {}", other.holder, other.place);
                        mistakes.push(Mistake { place, message });
                    }
                    None => self.0.push(Held { what, holder: holder.clone(), place }),
                }
            }
        }
        if mistakes.is_empty() {
            return Ok(());
        }
        self.0.truncate(before);
        Err(ConfigError::Mistakes(mistakes))
    }
}
