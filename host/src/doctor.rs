//! Whether a host could run well here: its configuration, its files, the machine. Every check reads and changes nothing, whether or
//! not the host runs. One file a subject; who shows what was found is elsewhere.

mod admission;
mod contents;
mod machine;
mod network;
mod permissions;
mod versions;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::{Config, ConfigError};
use crate::daemon::{Found, Mode};
use crate::generation::boot;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// The host runs, and may not run well.
    Warning,
    /// Something is broken, open to others, or about to be.
    Problem,
}

impl Verdict {
    /// Returns it as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// What was found of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub what: String,
    /// What to do about it, where there is something to do.
    pub remedy: Option<String>,
}

impl Finding {
    fn ok(subject: &str, what: impl Into<String>) -> Self {
        Self { subject: subject.to_owned(), verdict: Verdict::Ok, what: what.into(), remedy: None }
    }

    fn warning(subject: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into());
        Self { subject: subject.to_owned(), verdict: Verdict::Warning, what: what.into(), remedy }
    }

    fn problem(subject: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Problem, ..Self::warning(subject, what, remedy) }
    }
}

/// What every check is given.
struct Patient {
    config: Config,
    mode: Mode,
}

impl Patient {
    fn data_dir(&self) -> &Path {
        &self.config.host.data_dir
    }

    fn is_running(&self) -> bool {
        matches!(self.mode, Mode::Watched | Mode::Unwatched | Mode::Foreground)
    }
}

/// One check. It may find several things.
type Check = fn(&Patient) -> Vec<Finding>;

/// All of them, each with what it is at, for those who wait.
const CHECKS: &[(&str, Check)] = &[
    ("looking at permissions", permissions::check),
    ("looking through the databases", contents::databases),
    ("looking through what was observed", contents::observations),
    ("comparing stored contents", contents::blobs),
    ("comparing compiled code", contents::cache),
    ("reading generations", contents::generations),
    ("reading the audit log", contents::audit),
    ("reading accounts and tokens", admission::accounts),
    ("reading the certificate", admission::certificate),
    ("looking at the network", network::check),
    ("looking at the machine", machine::check),
    ("asking for versions", versions::check),
];

/// Examines the host of a configuration, and says before each step what it is at. Blocking: seconds, with large databases longer.
///
/// # Errors
///
/// The configuration is not good, and no earlier one is known: then there is nothing to examine.
pub fn examine(config: &Path, mut at: impl FnMut(&str)) -> Result<Vec<Finding>, ConfigError> {
    at("reading the configuration");
    let boot = boot(config)?;
    let mut findings = Vec::new();
    match &boot.fallback {
        None => findings.push(Finding::ok("configuration", format!("{} is good", config.display()))),
        Some(fallback) => findings.push(Finding::problem(
            "configuration",
            format!("{} is not good: {}", config.display(), fallback.error.replace('\n', "; ")),
            format!("mend it, or `host config rollback {}`; the host runs with generation {0}", fallback.generation),
        )),
    }
    for warning in &boot.config.warnings {
        findings.push(Finding::warning("configuration", warning.clone(), "`host check` shows it with its place"));
    }
    let mode = match Found::look(&boot.config.host.data_dir) {
        Ok(found) => found.mode(),
        Err(_) => Mode::Stopped,
    };
    let patient = Patient { config: boot.config, mode };
    for (step, check) in CHECKS {
        at(step);
        findings.extend(check(&patient));
    }
    Ok(findings)
}
