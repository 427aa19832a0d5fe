//! The page of the connectors. Pure.

use askama::Template;
use serde::Deserialize;

use super::marks::{Moment, Tag, Tone, count};
use super::shell::Shell;
use super::text::Text;

/// One connector as the API tells of it.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Connector {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) link: String,
    pub(super) detail: Option<String>,
    pub(super) since: String,
    pub(super) connections: u64,
    pub(super) last_event: Option<String>,
    pub(super) last_error: Option<String>,
    pub(super) events: u64,
    pub(super) delivered: u64,
    pub(super) waiting: u64,
}

/// What waits for a connector, as the API tells.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Buffer {
    pub(super) connector: String,
    pub(super) waiting: u64,
}

/// A row of it.
#[derive(Debug)]
pub(super) struct Row {
    name: String,
    kind: String,
    /// Where its buttons lead.
    path: String,
    is_stopped: bool,
    tag: Tag,
    since: Moment,
    detail: Option<String>,
    last_event: Option<Moment>,
    connections: String,
    events: String,
    delivered: String,
    waiting: String,
}

impl Row {
    pub(super) fn new(connector: Connector, shell: &Shell) -> Self {
        let path = match connector.name.split_once('/') {
            Some((bot, name)) => format!("/bots/{bot}/connectors/{name}"),
            None => format!("/connectors/{}", connector.name),
        };
        Self {
            path,
            is_stopped: connector.link == "stopped",
            tag: tag(&connector.link, shell.text),
            since: shell.moment(&connector.since),
            last_event: connector.last_event.as_deref().map(|at| shell.moment(at)),
            connections: count(connector.connections),
            events: count(connector.events),
            delivered: count(connector.delivered),
            waiting: count(connector.waiting),
            detail: connector.detail.or(connector.last_error),
            name: connector.name,
            kind: connector.kind,
        }
    }
}

fn tag(link: &str, text: &Text) -> Tag {
    match link {
        "connected" => Tag::new(Tone::Good, text.link_connected),
        "connecting" => Tag::new(Tone::Plain, text.link_connecting),
        "authenticating" => Tag::new(Tone::Plain, text.link_authenticating),
        "degraded" => Tag::new(Tone::Warn, text.link_degraded),
        "stopped" => Tag::new(Tone::Plain, text.link_stopped),
        "backing-off" => Tag::new(Tone::Warn, text.link_backing_off),
        "contested" => Tag::new(Tone::Bad, text.link_contested),
        "auth-failed" => Tag::new(Tone::Bad, text.link_auth_failed),
        other => Tag::new(Tone::Plain, other),
    }
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "connectors.html")]
pub(super) struct ConnectorsPage {
    pub(super) shell: Shell,
    pub(super) rows: Vec<Row>,
}
