//! `host stop CONFIG.toml`: the host, however it was started. `host stop BOT`: a bot.

use std::path::Path;
use std::time::Duration;

use bothost::daemon::stop::{Stopped, stop as stop_found};
use bothost::daemon::{Found, Mode};
use bothost::units::Span;

use super::remote::Remote;
use super::target::{Home, Target, ask_for, runtime};
use super::{Failure, complain, tell};

/// What a host may take beyond its `drain_timeout`: connectors and the store close after it.
const BEYOND_DRAIN: Duration = Duration::from_secs(10);

/// Stops the host of CONFIG.toml, which first finishes what is at work, or BOT on the host that runs
#[derive(Debug, clap::Args)]
pub(super) struct Stop {
    /// A configuration file, or a bot
    #[arg(value_name = "CONFIG.toml|BOT")]
    target: Target,
    /// How long the host may take until it is killed [default: its `drain_timeout` and 10 s]
    #[arg(long, value_name = "TIME")]
    timeout: Option<Span>,
    #[command(flatten)]
    remote: Remote,
}

impl Stop {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = match &self.target {
            Target::Bot(bot) => return ask_for(bot, "stop", &self.remote),
            Target::Host(config) => config,
        };
        let home = Home::of_any(config)?;
        home.warn();
        let found = Found::look(&home.data_dir)?;
        if found.mode() == Mode::Stopped {
            return Err(Failure::NotRunning(no_host(&home.data_dir)));
        }
        stop(&home, &found, self.timeout.map(|timeout| timeout.0))
    }
}

/// Returns what is said where no host runs.
pub(super) fn no_host(data_dir: &Path) -> String {
    format!("no host runs in {}", data_dir.display())
}

/// Stops who was found and says so.
pub(super) fn stop(home: &Home, found: &Found, patience: Option<Duration>) -> Result<(), Failure> {
    let patience = patience.unwrap_or(home.drain_timeout + BEYOND_DRAIN);
    match runtime()?.block_on(stop_found(&home.data_dir, found, patience))? {
        Stopped::Asked => tell("the host has stopped"),
        Stopped::Killed => complain(format_args!(
            "host: it did not stop within {patience:?} and was killed; the next start takes up what it had not finished (warning)"
        )),
    }
    Ok(())
}
