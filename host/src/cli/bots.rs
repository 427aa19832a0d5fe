//! `host bots`: the entry of a bot, put or removed. How bots are is told by `host ps`.

use std::path::PathBuf;

use bothost::id::BotName;
use clap::Subcommand;

use super::Failure;
use super::config::Who;
use super::placing::{Content, put, remove};
use super::remote::Remote;

/// Puts the entry of a bot, or removes a bot; `host ps` lists them
#[derive(Debug, clap::Args)]
pub(super) struct Bots {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Puts a bot's own file into the bots' directory, once it is known to be good
    Put {
        /// The bot
        name: BotName,
        /// What stands in it, as TOML; - is standard input. `[redacted]` keeps a secret that is there
        #[arg(value_name = "FILE.toml")]
        file: PathBuf,
        #[command(flatten)]
        who: Who,
    },
    /// Removes a bot: its entry, and its component where no other uses it
    Remove {
        /// The bot
        name: BotName,
        #[command(flatten)]
        who: Who,
    },
}

impl Bots {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (host, json) = (self.remote.find()?, self.remote.json);
        match self.act {
            Act::Put { name, file, who } => {
                let content = Content::read(&file, "application/toml")?;
                put(&host, json, &who.address(&format!("/api/v1/bots/{name}")), content)
            }
            Act::Remove { name, who } => remove(&host, json, &who.address(&format!("/api/v1/bots/{name}"))),
        }
    }
}
