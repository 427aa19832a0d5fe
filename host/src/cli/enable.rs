//! `host enable BOT`: switches a bot on in the configuration.

use bothost::id::BotName;

use super::Failure;
use super::config::{Who, edit};
use super::remote::Remote;

/// Switches a bot on, for good: `enabled = true` in its entry
#[derive(Debug, clap::Args)]
pub(super) struct Enable {
    /// The bot
    bot: BotName,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    who: Who,
}

impl Enable {
    pub(super) fn run(self) -> Result<(), Failure> {
        let path = self.who.address(&format!("/api/v1/bots/{}/enable", self.bot));
        edit(&self.remote.find()?, self.remote.json, &path, None)
    }
}
