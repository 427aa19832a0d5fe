//! The page of the alerts: what is up, who is told, the rules, what was up. Pure.

use askama::Template;
use serde::Deserialize;

use super::shell::Shell;
use crate::admin::{AlertView, ChannelView, NewsView};

/// A rule as the API tells of it.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rule {
    name: String,
    expression: String,
    op: String,
    threshold: String,
    severity: String,
    enabled: bool,
    firing: usize,
    value: Option<String>,
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "alerts.html")]
pub(super) struct AlertsPage {
    pub(super) shell: Shell,
    pub(super) active: Vec<AlertView>,
    pub(super) channels: Vec<ChannelView>,
    pub(super) rules: Vec<Rule>,
    pub(super) news: Vec<NewsView>,
}
