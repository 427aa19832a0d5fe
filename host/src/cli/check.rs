//! `host check CONFIG.toml`

use std::path::PathBuf;

use anyhow::Context;
use bothost::admin::TlsHandle;
use bothost::clock::Timestamp;
use bothost::config::Config;
use bothost::supervisor::{Finding, checkup};

use super::progress::Progress;
use super::{Failure, complain, tell, warn};

/// Checks a configuration and every bot in its directory as `run` would; starts nothing
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// The configuration file
    #[arg(value_name = "CONFIG.toml")]
    config: PathBuf,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = Config::load(&self.config)?;
        warn(&config.warnings);
        warn(&config.admin.advice());
        if let Some(files) = &config.admin.tls {
            let certificate = TlsHandle::load(files.clone()).map_err(Failure::Certificate)?;
            warn(&certificate.warnings(Timestamp::now()));
        }
        let dir = &config.host.bots_dir;
        if !dir.exists() {
            complain(format_args!("{}: there is no such directory; `host run` creates it (warning)", dir.display()));
        }
        let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
        let progress = Progress::begin("checking the bots, each of which is compiled", false);
        let findings = runtime.block_on(checkup(&config)).context("cannot check the bots")?;
        drop(progress);
        let (mut good, mut are_entries_bad, mut are_components_bad) = (0, false, false);
        for (name, finding) in &findings {
            match finding {
                Finding::Good => good += 1,
                Finding::Disabled => {}
                Finding::BadEntry(reason) => {
                    are_entries_bad = true;
                    complain(reason);
                }
                Finding::BadComponent(reason) => {
                    are_components_bad = true;
                    complain(format_args!("bot {name}: {reason}"));
                }
            }
        }
        if are_entries_bad || are_components_bad {
            return Err(Failure::Bots { are_entries_bad });
        }
        let connectors = config.connectors.len();
        tell(format_args!(
            "{} is good: {}, {}",
            self.config.display(),
            count(good, "bot", "bots"),
            count(connectors, "connector", "connectors")
        ));
        Ok(())
    }
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
