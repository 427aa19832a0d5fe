//! `[logs]`: what the host says of itself, where, and how much of it is kept.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use super::Format;
use super::roll::Rules;
use crate::units::{ByteSize, positive_duration, positive_size};

/// `[logs]`: what the host says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogsConfig {
    /// What is worth a line, in the files and on standard error. Default: `info`.
    pub level: LogLevel,
    /// How lines are written to the standard error stream. Default: as text.
    pub stderr: StderrFormat,
    /// Whether there are files. Default: yes.
    pub files: bool,
    /// Where they are. Default, none: `logs` in the data directory.
    pub dir: Option<PathBuf>,
    /// How lines are written to them. Default: as JSON.
    pub format: FileFormat,
    /// A file that would become larger is rotated before. Not zero. Default: 100 MiB.
    #[serde(deserialize_with = "positive_size")]
    pub max_file: ByteSize,
    /// A file holds the lines of one such period at most; periods are counted from midnight UTC. Not zero. Default: 1 d.
    #[serde(deserialize_with = "positive_duration")]
    pub rotate_every: Duration,
    /// How many days rotated files are kept. Default: 14.
    pub keep_days: NonZeroU32,
    /// How many rotated files are kept of each file; past it the oldest goes. Default: 30.
    pub keep_files: NonZeroU32,
    /// Most bytes of all files together; past it the oldest rotated ones go. Those that are written to stay. Not zero. Default:
    /// 2 GiB.
    #[serde(deserialize_with = "positive_size")]
    pub max_total: ByteSize,
    /// Whether rotated files are packed with gzip. Default: yes.
    pub compress: bool,
}

impl Default for LogsConfig {
    fn default() -> Self {
        const DAYS: NonZeroU32 = NonZeroU32::new(14).expect("it is not zero");
        const FILES: NonZeroU32 = NonZeroU32::new(30).expect("it is not zero");
        Self {
            level: LogLevel::default(),
            stderr: StderrFormat::default(),
            files: true,
            dir: None,
            format: FileFormat::default(),
            max_file: ByteSize(100 << 20),
            rotate_every: Duration::from_secs(86_400),
            keep_days: DAYS,
            keep_files: FILES,
            max_total: ByteSize(2 << 30),
            compress: true,
        }
    }
}

impl LogsConfig {
    /// Returns how much is written to one file, and how much is kept.
    pub fn rules(&self) -> Rules {
        Rules {
            file_bytes_max: self.max_file.0,
            rotate_every: self.rotate_every,
            keep_days: self.keep_days.get(),
            keep_files: self.keep_files.get(),
            total_bytes_max: self.max_total.0,
            is_packed: self.compress,
        }
    }
}

/// How lines are written to the standard error stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StderrFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
    /// Not at all.
    Off,
}

impl From<StderrFormat> for Format {
    fn from(format: StderrFormat) -> Self {
        match format {
            StderrFormat::Text => Self::Text,
            StderrFormat::Json => Self::Json,
            StderrFormat::Off => Self::Off,
        }
    }
}

/// How lines are written to files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}

impl From<FileFormat> for Format {
    fn from(format: FileFormat) -> Self {
        match format {
            FileFormat::Json => Self::Json,
            FileFormat::Text => Self::Text,
        }
    }
}

/// Which log lines are written: a level, and levels for parts of the program, as in `info,bothost::connector=debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevel(String);

/// Why a text is no [`LogLevel`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no level in `{0}`: write error, warn, info, debug, trace or off, or such as \"info,bot=debug\"")]
pub struct LogLevelError(String);

impl LogLevel {
    /// Returns the directives, which `tracing_subscriber::EnvFilter` takes as they are.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LogLevel {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl FromStr for LogLevel {
    type Err = LogLevelError;

    /// Stricter than `EnvFilter`, which takes a misspelt level for the name of a part and then writes nothing else.
    fn from_str(text: &str) -> Result<Self, LogLevelError> {
        let is_level = |word: &str| matches!(word, "error" | "warn" | "info" | "debug" | "trace" | "off");
        let is_part = |part: &str| {
            !part.is_empty() && part.chars().all(|letter| letter.is_ascii_alphanumeric() || "_:-".contains(letter))
        };
        let is_directive = |directive: &str| match directive.split_once('=') {
            Some((part, level)) => is_part(part) && is_level(level),
            None => is_level(directive),
        };
        match text.split(',').find(|directive| !is_directive(directive)) {
            None => Ok(Self(text.to_owned())),
            Some(directive) => Err(LogLevelError(directive.to_owned())),
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for LogLevel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
