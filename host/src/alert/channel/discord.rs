//! Discord's webhooks.

use http::HeaderMap;
use serde_json::{Value, json};

use super::ChannelError;
use super::config::DiscordConfig;
use super::post::{Said, post, seconds};
use super::text::{self, Style};
use crate::alert::notice::Notice;

/// Discord takes 2,000 characters.
const UNITS_MAX: usize = 2_000;
/// Discord's flag for a message whose links are not looked into.
const SUPPRESS_EMBEDS: u32 = 1 << 2;

/// A webhook of Discord's.
#[derive(Debug)]
pub(in crate::alert) struct Discord {
    config: DiscordConfig,
}

impl Discord {
    pub(super) fn new(config: DiscordConfig) -> Self {
        Self { config }
    }

    pub(super) async fn send(&self, notice: &Notice) -> Result<String, ChannelError> {
        let body = json!({
            "content": text::body(notice, Style::Discord, UNITS_MAX),
            // Whatever a bot writes, nobody is called.
            "allowed_mentions": { "parse": [] },
            "flags": SUPPRESS_EMBEDS,
        });
        post(&self.config.url, HeaderMap::new(), body.to_string(), explain).await
    }
}

fn explain(body: &[u8]) -> Said {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return Said::default() };
    let words = body["message"].as_str().map(|message| match body["code"].as_u64() {
        Some(code) if code > 0 => format!("{message} ({code})"),
        _ => message.to_owned(),
    });
    Said { words, wait: seconds(&body["retry_after"]) }
}
