//! What the operator lets one bot do beyond computing: hosts over HTTP, directories, connectors. Pure.

pub mod host_pattern;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};

pub use self::host_pattern::{HostPattern, Scheme};
use crate::id::{BotName, ConnectorName, NameError};

/// What a bot is granted. The default grants nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// Hosts it may call over HTTP. None: it may not even import HTTP; empty: it may import it and call nobody.
    pub http: Option<Vec<HostPattern>>,
    /// Directories it may use. No two have the same name for the bot.
    #[serde(deserialize_with = "dirs")]
    pub dirs: Vec<DirGrant>,
}

impl Grants {
    /// Returns what is granted, in words: a line each, in an order that depends on nothing but the grants.
    pub fn lines(&self) -> Vec<String> {
        let hosts = self.http.iter().flatten().map(|host| format!("http {host}"));
        // That it may import HTTP is a grant of its own.
        let nobody = self.http.as_ref().filter(|hosts| hosts.is_empty()).map(|_| "http to no host".to_owned());
        let dirs = self.dirs.iter().map(|dir| {
            let access = if dir.write { "to read and write" } else { "to read" };
            format!("directory {} as {} {access}", dir.host.display(), dir.guest)
        });
        let lines: BTreeSet<_> = hosts.chain(nobody).chain(dirs).collect();
        lines.into_iter().collect()
    }
}

/// A directory of the host that a bot sees.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirGrant {
    /// Where it is; as it is written, relative to the file it is written in. It is first looked for when the bot starts.
    pub host: PathBuf,
    /// What the bot calls it: an absolute path without `.`, `..` and empty parts.
    #[serde(deserialize_with = "guest_path")]
    pub guest: String,
    /// It may write there too. Default: it may only read.
    #[serde(default)]
    pub write: bool,
}

fn dirs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<DirGrant>, D::Error> {
    let dirs = Vec::<DirGrant>::deserialize(deserializer)?;
    let mut seen = BTreeSet::new();
    match dirs.iter().find(|dir| !seen.insert(&dir.guest)) {
        Some(twice) => Err(de::Error::custom(format_args!("two directories have the guest path `{}`", twice.guest))),
        None => Ok(dirs),
    }
}

fn guest_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let path = String::deserialize(deserializer)?;
    let parts = path.strip_prefix('/').map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(char::is_control);
    match parts {
        Some("") => Ok("/".to_owned()),
        Some(parts) if parts.split('/').all(plain) => Ok(format!("/{parts}")),
        _ => Err(de::Error::custom("a guest path is absolute and has no `.` and `..`, such as \"/data\"")),
    }
}

/// Which connectors a bot hears and speaks through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Connectors of the host's configuration.
    pub shared: SharedReach,
    /// Connectors of the bot's own entry, by the names it gave them.
    pub own: BTreeSet<ConnectorName>,
}

/// Which of the host's connectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SharedReach {
    /// All of them.
    All,
    /// These.
    Named(BTreeSet<ConnectorName>),
}

impl Reach {
    /// Returns the reach to all of the host's connectors.
    pub fn all() -> Self {
        Self { shared: SharedReach::All, own: BTreeSet::new() }
    }

    /// Returns the connector that `bot` means by `name`: one of its own first. None: it may not reach such a connector,
    /// whether one exists or not.
    pub fn resolve(&self, bot: &BotName, name: &str) -> Option<ConnectorKey> {
        let name: ConnectorName = name.parse().ok()?;
        if self.own.contains(&name) {
            return Some(ConnectorKey { owner: Some(bot.clone()), name });
        }
        self.allows_shared(&name).then_some(ConnectorKey { owner: None, name })
    }

    /// Returns whether `bot` hears what comes through this connector.
    pub fn hears(&self, bot: &BotName, key: &ConnectorKey) -> bool {
        match &key.owner {
            Some(owner) => owner == bot && self.own.contains(&key.name),
            None => self.allows_shared(&key.name),
        }
    }

    fn allows_shared(&self, name: &ConnectorName) -> bool {
        match &self.shared {
            SharedReach::All => true,
            SharedReach::Named(names) => names.contains(name),
        }
    }
}

/// Identifies a connector in this host: two bots may each have one of the same name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnectorKey {
    /// The bot whose own it is; none: it belongs to the host's configuration.
    pub owner: Option<BotName>,
    /// Its name there.
    pub name: ConnectorName,
}

impl ConnectorKey {
    /// Returns the key of a connector of the host's configuration.
    pub fn shared(name: ConnectorName) -> Self {
        Self { owner: None, name }
    }
}

impl FromStr for ConnectorKey {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once('/') {
            Some((owner, name)) => Ok(Self { owner: Some(owner.parse()?), name: name.parse()? }),
            None => Ok(Self::shared(text.parse()?)),
        }
    }
}

impl std::fmt::Display for ConnectorKey {
    /// `NAME`, or `BOT/NAME` for a bot's own.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.owner {
            Some(owner) => write!(f, "{owner}/{}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_grant_has_its_line() {
        let lines = |text: &str| toml::from_str::<Grants>(text).unwrap().lines();
        assert!(lines("").is_empty());
        assert_eq!(lines("http = []"), ["http to no host"]);
        let text = r#"
            http = ["b.example.com", "a.example.com:8443"]
            dirs = [{ host = "files", guest = "/data", write = true }, { host = "pics", guest = "/pics" }]
        "#;
        let expected = [
            "directory files as /data to read and write",
            "directory pics as /pics to read",
            "http a.example.com:8443",
            "http b.example.com",
        ];
        assert_eq!(lines(text), expected);
    }
}
