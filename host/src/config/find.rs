//! Where a host lives, although its configuration cannot be read as a whole: to look after a host that runs must be possible
//! while its configuration has a mistake.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::{Config, HostConfig};
use crate::document::read_beginning;

impl Config {
    /// Returns the data directory that a configuration names, or the default, whatever else stands in it; nothing where the file
    /// cannot be read, or what it says of the directory cannot be understood. For a configuration that [`Config::load`] refuses.
    pub fn find_data_dir(path: &Path) -> Option<PathBuf> {
        let text = read_beginning(path)?;
        let named = named_data_dir(&text)?;
        Some(path.parent().unwrap_or(Path::new("")).join(named))
    }
}

fn named_data_dir(text: &str) -> Option<PathBuf> {
    // What can be read of it in spite of mistakes.
    let (table, _) = DeTable::parse_recoverable(text);
    let Some(host) = table.get_ref().get("host") else { return Some(HostConfig::default().data_dir) };
    let Some(value) = host.get_ref().get("data_dir") else { return Some(HostConfig::default().data_dir) };
    match value.get_ref() {
        // One that is made of variables would have to be the same here as it was there.
        DeValue::String(named) if !named.is_empty() && !named.contains("${") => Some(PathBuf::from(named.as_ref())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_found_beside_mistakes_and_not_guessed() {
        let found = |text| named_data_dir(text).map(|path| path.display().to_string());
        assert_eq!(found("").as_deref(), Some("data"));
        assert_eq!(
            found("[host]\ndata_dir = \"d\"\ndrain_timeout = \"soon\"\n[bots.x]\nfoo = 1").as_deref(),
            Some("d")
        );
        assert_eq!(found("[host]\ndata_dir = \"d\"\nbots_dir = \n[limits").as_deref(), Some("d"));
        assert_eq!(found("[host]\ndata_dir = \"${HOME}/d\""), None);
        assert_eq!(found("[host]\ndata_dir = 7"), None);
    }

    #[test]
    fn it_is_relative_to_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        assert_eq!(Config::find_data_dir(&path), None);
        std::fs::write(&path, "[host]\ndata_dir = \"d\"\nnonsense = 1").unwrap();
        assert_eq!(Config::find_data_dir(&path), Some(dir.path().join("d")));
    }
}
