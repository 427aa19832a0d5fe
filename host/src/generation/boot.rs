//! What a host begins with: the configuration file, as an edit leaves it that was begun and is finished at this start; or where it is
//! not good, the configuration that was last in force. Reads only: another host may be at work in the data directory.

use std::path::Path;

use super::shelf;
use crate::config::{Config, ConfigError};

/// A configuration to begin with.
#[derive(Debug)]
pub struct Boot {
    /// The configuration.
    pub config: Config,
    /// Set where it is not that of the file. To be told loudly.
    pub fallback: Option<Fallback>,
}

/// Why a host begins with an earlier configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// The generation that the configuration is of.
    pub generation: u64,
    /// What is wrong with the file: a line for each mistake.
    pub error: String,
}

/// Reads the configuration file; where it is not good, takes the text of the newest generation that can be trusted in its stead, as
/// if it stood at that path. Blocking.
///
/// # Errors
///
/// What is wrong with the file, where there is no generation whose text is good now, or no file at all: then the path is more
/// likely wrong than the configuration.
pub fn boot(path: &Path) -> Result<Boot, ConfigError> {
    let error = match Config::load(path) {
        Ok(config) => return Ok(Boot { config: edited(&config, path).unwrap_or(config), fallback: None }),
        Err(error @ ConfigError::NotFound(_)) => return Err(error),
        Err(error) => error,
    };
    let Some(data_dir) = Config::find_data_dir(path) else { return Err(error) };
    let dir = data_dir.join("generations");
    let mut numbers = shelf::numbers(&dir).unwrap_or_default();
    while let Some(number) = numbers.pop() {
        let Ok(Some(generation)) = shelf::peek(&dir, number) else { continue };
        return match Config::parse(&generation.config, path) {
            Ok(config) => {
                let fallback = Fallback { generation: number, error: error.to_string() };
                Ok(Boot { config, fallback: Some(fallback) })
            }
            Err(_) => Err(error),
        };
    }
    Err(error)
}

/// Returns the configuration that an edit is about to write, which the last process had begun and not finished: all of it counts
/// from the start on.
fn edited(config: &Config, path: &Path) -> Option<Config> {
    let data_dir = &config.host.data_dir;
    let text = shelf::peek_intent(&data_dir.join("generations"))?.config?;
    Config::parse(&text, path).ok().filter(|edited| edited.host.data_dir == *data_dir)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::num::NonZeroUsize;

    use super::*;
    use crate::generation::{Archive, Snapshot};
    use crate::store::engine::Engine;
    use crate::store::{Store, StoreOptions};

    /// A directory with a configuration file of this text, and with a generation of each of the others in `data`.
    async fn home(text: &str, data: &str, generations: &[&str]) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("config.toml"), text).unwrap();
        let store = Store::open(&home.path().join(data), StoreOptions::default()).unwrap();
        let keep = NonZeroUsize::new(9).unwrap();
        let archive = Archive::open(&home.path().join(data), store.blobs().clone(), keep).unwrap();
        for text in generations {
            let (author, reason) = ("file".to_owned(), "it changed".to_owned());
            let (entries, bots) = (BTreeMap::new(), BTreeMap::new());
            archive.record(Snapshot { config: (*text).into(), entries, bots, author, reason }).await.unwrap().unwrap();
        }
        store.close().await;
        home
    }

    #[tokio::test]
    async fn a_good_file_is_what_counts() {
        let home = home("[limits]\nmemory = \"7MiB\"\n", "data", &["[limits]\nmemory = \"5MiB\"\n"]).await;
        let boot = boot(&home.path().join("config.toml")).unwrap();
        assert_eq!((boot.config.limits.memory, boot.fallback), (7 << 20, None));
    }

    #[tokio::test]
    async fn a_bad_file_is_replaced_by_the_newest_generation_and_the_reason_is_told() {
        let bad = "[limits]\nmemry = \"7MiB\"\n";
        let home = home(bad, "data", &["[limits]\nmemory = \"5MiB\"\n", "[limits]\nmemory = \"6MiB\"\n"]).await;
        let path = home.path().join("config.toml");
        let found = boot(&path).unwrap();
        let fallback = found.fallback.unwrap();
        assert_eq!((found.config.limits.memory, fallback.generation), (6 << 20, 2));
        assert!(fallback.error.contains("config.toml:2:1: unknown key `memry`"), "{}", fallback.error);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), bad, "it is the operator's");
        std::fs::write(home.path().join("data/generations/2.json"), "{").unwrap();
        assert_eq!(boot(&path).unwrap().fallback.unwrap().generation, 1);
        assert!(home.path().join("data/generations/2.json").exists(), "it reads only");
    }

    #[tokio::test]
    async fn the_data_directory_is_found_in_a_file_that_is_no_toml() {
        for bad in [
            "[host]\ndata_dir = \"elsewhere\" # here\n[limits\n",
            "host.data_dir = 'elsewhere'\n[[[\n",
            "[limits]\ndata_dir = \"nowhere\"\n[ host ]\ndata_dir=\"elsewhere\"\nx = = 1\n",
        ] {
            let home = home(bad, "elsewhere", &[""]).await;
            let fallback = boot(&home.path().join("config.toml")).unwrap().fallback;
            assert_eq!(fallback.map(|fallback| fallback.generation), Some(1), "{bad}");
        }
    }

    #[tokio::test]
    async fn without_a_generation_or_without_a_file_the_error_is_told() {
        let home = home("[host\n", "data", &[]).await;
        assert!(matches!(boot(&home.path().join("config.toml")), Err(ConfigError::Mistakes(_))));
        assert!(matches!(boot(&home.path().join("confg.toml")), Err(ConfigError::NotFound(_))));
    }
}
