//! `host ps`: one line a bot, asked of the host that runs.

use std::path::PathBuf;

use anyhow::Context;
use bothost::admin::{BotView, client};
use bothost::config::Config;
use bothost::host::ADMIN_SOCKET;

use super::{Failure, tell};

/// Lists the bots of the running host: phase, version, counts, and what is wrong
#[derive(Debug, clap::Args)]
pub(super) struct Ps {
    /// The configuration of the host that is asked
    #[arg(long, value_name = "CONFIG.toml", default_value = "config.toml")]
    config: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Ps {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = Config::load(&self.config)?;
        let client = client::Client::new(config.host.data_dir.join(ADMIN_SOCKET));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let answer = runtime.context("cannot start the runtime")?.block_on(client.get("/api/v1/bots"))?;
        if self.json {
            tell(answer);
        } else {
            let bots: Vec<BotView> = serde_json::from_value(answer).context("the host's answer is not understood")?;
            tell(client::table(&bots).trim_end());
        }
        Ok(())
    }
}
