//! The page of the configuration: what is in force, what was, and how two of them differ. Pure.

use askama::Template;
use serde::Deserialize;

use super::shell::Shell;
use crate::admin::VersionView;

/// How two generations differ, as the API tells.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Difference {
    from: u64,
    to: u64,
    texts: String,
    changes: Vec<String>,
}

impl Difference {
    fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.changes.is_empty()
    }

    fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.texts.lines().map(|text| Line { text })
    }
}

/// A line of a difference. Its first character says what became of it, so the colour is not the only sign.
#[derive(Debug)]
struct Line<'a> {
    text: &'a str,
}

impl Line<'_> {
    fn class(&self) -> &'static str {
        match self.text.as_bytes().first() {
            Some(b'+') => "added",
            Some(b'-') => "removed",
            _ => "",
        }
    }
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "configuration.html")]
pub(super) struct ConfigurationPage {
    pub(super) shell: Shell,
    /// The one in force.
    pub(super) generation: u64,
    pub(super) text: String,
    pub(super) versions: Vec<VersionView>,
    pub(super) from: u64,
    pub(super) to: u64,
    /// None: nobody asked.
    pub(super) difference: Option<Difference>,
}
