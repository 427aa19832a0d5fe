//! `host restart CONFIG.toml`: stop and start, if the configuration is good. `host restart BOT`: a bot begins anew.

use bothost::daemon::{Found, Mode};
use bothost::units::Span;

use super::remote::Remote;
use super::start::start;
use super::stop::stop;
use super::target::{Home, Target, ask_for};
use super::{FAILED, Failure, complain};

/// Restarts the host of CONFIG.toml as a daemon, if its configuration is good, or BOT on the host that runs
#[derive(Debug, clap::Args)]
pub(super) struct Restart {
    /// A configuration file, or a bot
    #[arg(value_name = "CONFIG.toml|BOT")]
    target: Target,
    /// How long the host may take to stop, and then to be ready
    #[arg(long, value_name = "TIME", default_value = "60s")]
    timeout: Span,
    #[command(flatten)]
    remote: Remote,
}

impl Restart {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = match &self.target {
            Target::Bot(bot) => return ask_for(bot, "restart", &self.remote),
            Target::Host(config) => config,
        };
        // Before anything is stopped.
        let home = Home::of_good(config)?;
        let found = Found::look(&home.data_dir)?;
        match (found.mode(), &found.host) {
            (Mode::Foreground, Some(host)) => {
                complain(format_args!(
                    "host: process {} was not started by `host start`: restart it where it was started, such as by \
                     `systemctl restart`",
                    host.pid()
                ));
                return Err(Failure::Told(FAILED));
            }
            (Mode::Stopped, _) => {}
            _ => stop(&home, &found, Some(self.timeout.0))?,
        }
        start(config, self.timeout.0)
    }
}
