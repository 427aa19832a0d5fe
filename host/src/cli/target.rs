//! What `start`, `stop` and `restart` are given: a configuration stands for its host, anything else is a bot of the host that runs.

use std::path::{Path, PathBuf, absolute};
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use bothost::config::{Config, ConfigError, HostConfig};
use bothost::id::BotName;
use bothost::logs::escape;
use tokio::runtime::Runtime;

use super::remote::Remote;
use super::{Failure, complain, tell};

/// The host of a configuration, or a bot.
#[derive(Debug, Clone)]
pub(super) enum Target {
    Host(PathBuf),
    Bot(BotName),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.ends_with(".toml") || text.contains('/') || Path::new(text).is_file() {
            return Ok(Self::Host(text.into()));
        }
        text.parse().map(Self::Bot).map_err(|error| format!("neither a configuration file nor a bot's name: {error}"))
    }
}

/// Has the running host do something with a bot.
pub(super) fn ask_for(bot: &BotName, verb: &str, remote: &Remote) -> Result<(), Failure> {
    let answer = remote.find()?.post(&format!("/api/v1/bots/{bot}/{verb}"))?;
    if remote.json {
        tell(answer);
        return Ok(());
    }
    let phase = answer["phase"].as_str().map(|phase| format!(", now {}", escape(phase))).unwrap_or_default();
    tell(format_args!("bot {bot}: {verb}{phase}"));
    Ok(())
}

/// Where a host lives.
pub(super) struct Home {
    /// Its configuration, by an absolute path.
    pub(super) config: PathBuf,
    /// Its own files, by an absolute path.
    pub(super) data_dir: PathBuf,
    /// How long it takes to stop, at most.
    pub(super) drain_timeout: Duration,
    /// Why the configuration is not good as it stands.
    pub(super) mistakes: Option<ConfigError>,
}

impl Home {
    /// Reads a configuration that must be good.
    pub(super) fn of_good(config: &Path) -> Result<Self, Failure> {
        let loaded = Config::load(config)?;
        super::warn(&loaded.warnings);
        Self::new(config, &loaded.host, None)
    }

    /// Finds the host even where its configuration has a mistake, as long as it can be told where it lives.
    pub(super) fn of_any(config: &Path) -> Result<Self, Failure> {
        match Config::load(config) {
            Ok(loaded) => Self::new(config, &loaded.host, None),
            Err(mistakes) => match Config::find_data_dir(config) {
                Some(data_dir) => Self::new(config, &HostConfig { data_dir, ..HostConfig::default() }, Some(mistakes)),
                None => Err(mistakes.into()),
            },
        }
    }

    fn new(config: &Path, host: &HostConfig, mistakes: Option<ConfigError>) -> Result<Self, Failure> {
        let whole = |path: &Path| absolute(path).with_context(|| format!("no path: {}", path.display()));
        let (config, data_dir) = (whole(config)?, whole(&host.data_dir)?);
        Ok(Self { config, data_dir, drain_timeout: host.drain_timeout, mistakes })
    }

    /// Tells what is wrong with the configuration, where that is no reason not to go on.
    pub(super) fn warn(&self) {
        if let Some(mistakes) = &self.mistakes {
            complain(mistakes);
            complain(format_args!(
                "{}: not good as it stands; the host is looked for in {} all the same (warning)",
                self.config.display(),
                self.data_dir.display()
            ));
        }
    }
}

/// Returns a runtime for a verb that only waits.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.context("cannot start the runtime")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_file_is_one_and_all_else_a_bot() {
        let is_host = |text: &str| matches!(text.parse(), Ok(Target::Host(_)));
        assert!(is_host("config.toml") && is_host("./host") && is_host("/etc/bothost/none"));
        assert!(matches!("echo".parse(), Ok(Target::Bot(bot)) if bot.as_str() == "echo"));
        assert!("no such bot!".parse::<Target>().unwrap_err().starts_with("neither a configuration file"));
    }
}
