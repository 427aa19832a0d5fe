//! Slack's incoming webhooks.

use http::HeaderMap;
use serde_json::json;

use super::ChannelError;
use super::config::SlackConfig;
use super::post::{plain, post};
use super::text::{self, Style};
use crate::alert::notice::Notice;

/// Slack takes 3,000 characters in a section.
const UNITS_MAX: usize = 3_000;
/// What stands in a notification of the phone.
const TITLE_UNITS_MAX: usize = 300;

/// An incoming webhook of Slack's.
#[derive(Debug)]
pub(in crate::alert) struct Slack {
    config: SlackConfig,
}

impl Slack {
    pub(super) fn new(config: SlackConfig) -> Self {
        Self { config }
    }

    pub(super) async fn send(&self, notice: &Notice) -> Result<String, ChannelError> {
        let section = json!({
            "type": "section",
            // Verbatim: nothing in it becomes a link, a channel or a person.
            "text": { "type": "mrkdwn", "verbatim": true, "text": text::body(notice, Style::Slack, UNITS_MAX) },
        });
        let body = json!({
            "text": text::title(notice, Style::Slack, TITLE_UNITS_MAX),
            "blocks": [section],
            "unfurl_links": false,
            "unfurl_media": false,
        });
        post(&self.config.url, HeaderMap::new(), body.to_string(), plain).await
    }
}
