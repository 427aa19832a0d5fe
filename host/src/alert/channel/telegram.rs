//! Telegram's Bot API, to tell people of alerts. The token is in every path, so no path ever leaves this file.

use serde_json::{Value, json};

use super::config::{Chat, TelegramConfig};
use super::post::{Said, client, judge, seconds};
use super::text::{self, Style};
use super::{ChannelError, TIMEOUT};
use crate::alert::notice::Notice;

/// Telegram takes 4,096 UTF-16 units.
const UNITS_MAX: usize = 4_096;

/// A chat of a Telegram bot.
#[derive(Debug)]
pub(in crate::alert) struct Telegram {
    config: TelegramConfig,
}

impl Telegram {
    pub(super) fn new(config: TelegramConfig) -> Self {
        Self { config }
    }

    pub(super) async fn send(&self, notice: &Notice) -> Result<String, ChannelError> {
        let chat = match &self.config.chat {
            Chat::Number(number) => json!(number),
            Chat::Name(name) => json!(name),
        };
        // Without `parse_mode`: nothing in the text is markup.
        let mut body = json!({
            "chat_id": chat,
            "text": text::body(notice, Style::Plain, UNITS_MAX),
            "link_preview_options": { "is_disabled": true },
        });
        if let Some(thread) = self.config.thread {
            body["message_thread_id"] = json!(thread);
        }
        let token = self.config.token.expose();
        let client = client(self.config.api_url.0.clone());
        let response = client.post_json(&format!("/bot{token}/sendMessage"), body.to_string(), TIMEOUT).await?;
        judge(&response, &[token], explain)
    }
}

fn explain(body: &[u8]) -> Said {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return Said::default() };
    let words = body["description"].as_str().map(str::to_owned);
    Said { words, wait: seconds(&body["parameters"]["retry_after"]) }
}
