//! `host systemd-unit [CONFIG.toml]`: a unit under which systemd runs the host.

use std::path::{Path, PathBuf, absolute};

use anyhow::Context;
use bothost::config::Config;
use bothost::systemd::unit::Unit;

use super::{Failure, tell, warn};

/// Prints a hardened systemd unit for the host of CONFIG.toml
#[derive(Debug, clap::Args)]
pub(super) struct SystemdUnit {
    /// The configuration file
    #[arg(value_name = "CONFIG.toml", default_value = "config.toml")]
    config: PathBuf,
    /// Who is to run it
    #[arg(long, value_name = "NAME", default_value = "bothost", value_parser = user_name)]
    user: String,
}

impl SystemdUnit {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = Config::load(&self.config)?;
        warn(&config.warnings);
        let whole = |path: &Path| absolute(path).with_context(|| format!("no path: {}", path.display()));
        let grants = config.bots.values().flat_map(|bot| &bot.value.grants.dirs).filter(|dir| dir.write);
        let mut writable = grants.map(|dir| whole(&dir.host)).collect::<Result<Vec<_>, _>>()?;
        writable.sort();
        writable.dedup();
        let unit = Unit {
            program: std::env::current_exe().context("cannot tell where this program is")?,
            config: whole(&self.config)?,
            user: self.user,
            data_dir: whole(&config.host.data_dir)?,
            bots_dir: whole(&config.host.bots_dir)?,
            writable,
            drain_timeout: config.host.drain_timeout,
        };
        tell(unit.render().map_err(anyhow::Error::from)?.trim_end());
        Ok(())
    }
}

/// Takes the names that `useradd` takes.
fn user_name(text: &str) -> Result<String, String> {
    let is_fine = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
    match text.len() {
        1..=31 if text.chars().all(is_fine) && !text.starts_with('-') => Ok(text.to_owned()),
        _ => Err("a user's name has letters, digits, `_` and `-`, 31 at most".to_owned()),
    }
}
