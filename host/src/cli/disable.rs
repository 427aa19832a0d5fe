//! `host disable BOT`: switches a bot off in the configuration.

use bothost::id::BotName;

use super::Failure;
use super::config::{Who, edit};
use super::remote::Remote;

/// Switches a bot off, for good: `enabled = false` in its entry
#[derive(Debug, clap::Args)]
pub(super) struct Disable {
    /// The bot
    bot: BotName,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    who: Who,
}

impl Disable {
    pub(super) fn run(self) -> Result<(), Failure> {
        let path = self.who.address(&format!("/api/v1/bots/{}/disable", self.bot));
        edit(&self.remote.find()?, self.remote.json, &path, None)
    }
}
