//! The page of one bot: how it is, what it may use, its settings, what happened to it, and its log. Pure.

use askama::Template;

use super::bots::{Bot, Switch};
use super::marks::{Tag, bytes};
use super::overview::Figure;
use super::settings::Form;
use super::shell::Shell;
use crate::admin::IncidentView;

/// Something that is known of it.
#[derive(Debug)]
pub(super) struct Fact {
    pub(super) name: &'static str,
    pub(super) value: String,
}

/// Something that it keeps.
#[derive(Debug)]
pub(super) struct StateEntry {
    key: String,
    size: String,
}

impl StateEntry {
    pub(super) fn new(key: String, size: f64) -> Self {
        Self { key, size: bytes(size) }
    }
}

/// A line of its log.
#[derive(Debug, Default)]
pub(super) struct LogLine {
    pub(super) at: String,
    pub(super) level: String,
    pub(super) text: String,
}

impl LogLine {
    fn class(&self) -> &'static str {
        match self.level.to_ascii_lowercase().as_str() {
            "error" => "error",
            "warn" => "warn",
            _ => "",
        }
    }
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "bot.html")]
pub(super) struct BotPage {
    pub(super) shell: Shell,
    pub(super) tag: Tag,
    pub(super) switch: Switch,
    /// Whether he may say whether it is started at all.
    pub(super) may_switch: bool,
    pub(super) is_ill: bool,
    pub(super) figures: Vec<Figure>,
    pub(super) facts: Vec<Fact>,
    /// None: he may not see them, or nobody knows what they may be.
    pub(super) settings: Option<Form>,
    pub(super) incidents: Vec<IncidentView>,
    pub(super) state: Vec<StateEntry>,
    pub(super) logs: Vec<LogLine>,
    pub(super) bot: Bot,
}
