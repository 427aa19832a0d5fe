//! `host reset BOT`: what a bot is held against is forgotten.

use bothost::id::BotName;

use super::remote::Remote;
use super::{Failure, tell};

/// Gives a bot another chance: its breaker closes, and the quarantine of it and of its versions is lifted
#[derive(Debug, clap::Args)]
pub(super) struct Reset {
    #[command(flatten)]
    remote: Remote,
    /// The bot
    #[arg(value_name = "BOT")]
    bot: BotName,
}

impl Reset {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Self { remote, bot } = self;
        let answer = remote.find()?.post(&format!("/api/v1/bots/{bot}/reset"))?;
        tell(if remote.json { answer.to_string() } else { format!("{bot} is reset") });
        Ok(())
    }
}
