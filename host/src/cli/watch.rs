//! `host watch CONFIG.toml`: the watching parent, which `host start` starts.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use bothost::daemon::intensity::Limits;
use bothost::daemon::watch::{self, Outcome};

use super::target::runtime;
use super::{FAILED, Failure};

/// Watches over a host and brings it back when it ends badly
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(super) struct Watch {
    /// The host's own files
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The wait before the first restart, in milliseconds
    #[arg(long, hide = true, value_name = "MS")]
    backoff_initial_ms: Option<u64>,
    /// The configuration file
    #[arg(value_name = "CONFIG.toml")]
    config: PathBuf,
}

impl Watch {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut limits = Limits::default();
        if let Some(initial) = self.backoff_initial_ms {
            limits.backoff_initial = Duration::from_millis(initial);
        }
        let program = std::env::current_exe().context("cannot tell where this program is")?;
        let watch = watch::Watch { program, config: self.config, data_dir: self.data_dir, limits };
        match runtime()?.block_on(watch.run())? {
            Outcome::Ended => Ok(()),
            Outcome::GaveUp => Err(Failure::Told(FAILED)),
        }
    }
}
