//! `[vitals]`: how often is measured, and what is probed.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use crate::egress::HttpUrl;
use crate::id::ProbeName;
use crate::units::{Span, positive_duration};

/// The most probes that there may be.
pub const PROBES_MAX: usize = 64;

/// What is probed more often than this, is burdened by it.
const EVERY_MIN: Duration = Duration::from_secs(1);

/// `[vitals]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VitalsConfig {
    /// How often everything is measured and every rule is looked at. Not zero. Default: 10 s.
    #[serde(deserialize_with = "positive_duration")]
    pub interval: Duration,
    /// `[vitals.probes.NAME]`: what else should answer. At most [`PROBES_MAX`]. Default: none.
    #[serde(deserialize_with = "probes")]
    pub probes: BTreeMap<ProbeName, ProbeConfig>,
}

impl Default for VitalsConfig {
    fn default() -> Self {
        Self { interval: Duration::from_secs(10), probes: BTreeMap::new() }
    }
}

/// `[vitals.probes.NAME]`: something that should answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Table")]
pub struct ProbeConfig {
    /// What is asked.
    pub target: ProbeTarget,
    /// How often. At least a second. Default: 30 s.
    pub every: Duration,
    /// How long an answer may take. Not zero and not longer than `every`. Default: 5 s.
    pub timeout: Duration,
}

/// What is asked, and what counts as an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeTarget {
    /// `tcp = "HOST:PORT"`: it takes a connection.
    Tcp(TcpTarget),
    /// `http = "URL"`: it answers a GET with a status from 200 to 399.
    Http(HttpUrl),
}

/// A host and a port of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpTarget {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port. Not zero.
    pub port: u16,
}

/// Why a text is no [`TcpTarget`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no host with a port, such as \"127.0.0.1:3001\", \"[::1]:3001\" or \"db.example.com:5432\"")]
pub struct TcpTargetError(String);

impl FromStr for TcpTarget {
    type Err = TcpTargetError;

    fn from_str(text: &str) -> Result<Self, TcpTargetError> {
        let error = || TcpTargetError(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(error)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(error)?;
        let host = match host.strip_prefix('[') {
            Some(address) => address.strip_suffix(']').filter(|address| address.contains(':')).ok_or_else(error)?,
            None if host.contains([':', ']']) => return Err(error()),
            None => host,
        };
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || "-._:".contains(letter);
        if host.is_empty() || !host.chars().all(is_name) {
            return Err(error());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl<'de> Deserialize<'de> for TcpTarget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    tcp: Option<TcpTarget>,
    http: Option<HttpUrl>,
    #[serde(default = "default_every", deserialize_with = "positive_duration")]
    every: Duration,
    #[serde(default = "default_timeout", deserialize_with = "positive_duration")]
    timeout: Duration,
}

fn default_every() -> Duration {
    Duration::from_secs(30)
}

fn default_timeout() -> Duration {
    Duration::from_secs(5)
}

/// Keys that do not go together.
#[derive(Debug)]
enum TableError {
    NoTarget,
    TwoTargets,
    TooOften,
    TooSlow { every: Duration, timeout: Duration },
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTarget => f.write_str(
                "a probe needs `tcp = \"HOST:PORT\"` or `http = \"https://HOST/PATH\"`, to know what to ask",
            ),
            Self::TwoTargets => {
                f.write_str("a probe asks one thing: keep `tcp` or `http`, and make a second probe of the other")
            }
            Self::TooOften => write!(f, "`every` is at least {}", Span(EVERY_MIN)),
            Self::TooSlow { every, timeout } => {
                let (every, timeout) = (Span(*every), Span(*timeout));
                write!(
                    f,
                    "`timeout` is {timeout}, which is longer than `every`, {every}: lower the one or raise the other"
                )
            }
        }
    }
}

impl TryFrom<Table> for ProbeConfig {
    type Error = TableError;

    fn try_from(table: Table) -> Result<Self, TableError> {
        let Table { tcp, http, every, timeout } = table;
        let target = match (tcp, http) {
            (Some(tcp), None) => ProbeTarget::Tcp(tcp),
            (None, Some(http)) => ProbeTarget::Http(http),
            (None, None) => return Err(TableError::NoTarget),
            (Some(_), Some(_)) => return Err(TableError::TwoTargets),
        };
        if every < EVERY_MIN {
            return Err(TableError::TooOften);
        }
        if timeout > every {
            return Err(TableError::TooSlow { every, timeout });
        }
        Ok(Self { target, every, timeout })
    }
}

fn probes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<ProbeName, ProbeConfig>, D::Error> {
    let probes = BTreeMap::<ProbeName, ProbeConfig>::deserialize(deserializer)?;
    if probes.len() > PROBES_MAX {
        let count = probes.len();
        return Err(de::Error::custom(format_args!("there are {count} probes, and at most {PROBES_MAX} may be")));
    }
    Ok(probes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<VitalsConfig, String> {
        let table = toml::Deserializer::parse(text).unwrap();
        VitalsConfig::deserialize(table).map_err(|error| error.message().to_owned())
    }

    fn target(text: &str) -> Option<(String, u16)> {
        text.parse::<TcpTarget>().ok().map(|target| (target.host, target.port))
    }

    #[test]
    fn a_probe_has_its_defaults_and_its_own_words() {
        assert_eq!(check("").unwrap(), VitalsConfig::default());
        let config = check(
            "[probes.db]\ntcp = \"db:5432\"\n[probes.site]\nhttp = \"https://a.example/x\"\nevery = \"1m\"\ntimeout = \"1m\"",
        );
        let probes: Vec<_> = config.unwrap().probes.into_iter().collect();
        let (name, db) = &probes[0];
        assert_eq!(name.as_str(), "db");
        assert_eq!((db.every, db.timeout), (Duration::from_secs(30), Duration::from_secs(5)));
        assert_eq!(db.target, ProbeTarget::Tcp(TcpTarget { host: "db".to_owned(), port: 5432 }));
        assert!(matches!(&probes[1].1.target, ProbeTarget::Http(HttpUrl(place)) if place.target == "/x"));
    }

    #[test]
    fn a_target_is_a_name_or_an_address_with_a_port() {
        assert_eq!(target("a.example:1"), Some(("a.example".to_owned(), 1)));
        assert_eq!(target("127.0.0.1:3001"), Some(("127.0.0.1".to_owned(), 3001)));
        assert_eq!(target("[::1]:80"), Some(("::1".to_owned(), 80)));
        for bad in ["", "a", "a:", ":1", "a:0", "a:65536", "::1:80", "[::1]", "[a]:1", "tcp://a:1", "a b:1", "a:1/x"] {
            assert_eq!(target(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_probe_is_said_with_what_helps() {
        for (text, expected) in [
            ("[probes.a]", "needs `tcp = \"HOST:PORT\"` or `http"),
            ("[probes.a]\ntcp = \"a:1\"\nhttp = \"http://a\"", "keep `tcp` or `http`"),
            ("[probes.a]\ntcp = \"a\"", "`a` is no host with a port, such as"),
            ("[probes.a]\nhttp = \"ftp://a/s3cret\"", "https://HOST"),
            ("[probes.a]\ntcp = \"a:1\"\nevery = \"100ms\"", "`every` is at least 1s"),
            ("[probes.a]\ntcp = \"a:1\"\nevery = \"2s\"", "`timeout` is 5s, which is longer than `every`, 2s"),
            ("[probes.a]\ntcp = \"a:1\"\ntimeout = \"0s\"", "longer than zero"),
            ("[probes.a]\nudp = \"a:1\"", "unknown field `udp`"),
            ("[probes.\"a b\"]\ntcp = \"a:1\"", "`a b` is no name"),
            ("interval = \"0s\"", "longer than zero"),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.contains(expected) && !error.contains("s3cret"), "{text}: {error}");
        }
        let many: String = (0..=PROBES_MAX).map(|index| format!("[probes.p{index}]\ntcp = \"a:1\"\n")).collect();
        assert_eq!(check(&many).unwrap_err(), "there are 65 probes, and at most 64 may be");
    }
}
