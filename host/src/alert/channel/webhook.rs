//! A program of the operator's, told in JSON:
//!
//! ```json
//! { "version": 1, "id": "32 hex digits", "host": "name", "at": "RFC 3339", "test": false,
//!   "alerts": [ { "id": "12 hex digits", "what": "fired", "severity": "critical", "bot": "name or null", "key": "k",
//!                 "summary": "s", "details": [ { "key": "k", "value": "v" } ], "raised_at": "RFC 3339", "times": 1,
//!                 "lasted_seconds": null, "ended_by": null, "acknowledged_by": null } ],
//!   "more": { "critical": 0, "warning": 0, "info": 0, "resolved": 0 }, "turns_missed": 0, "notices_merged": 0 }
//! ```
//!
//! `what` is `fired`, `changed`, `reminder`, `came-and-went`, `resolved` or `test`; the last two times are there for what is over. Within
//! version 1 keys are added, none is taken away. With a `secret`, `X-Bothost-Signature: t=UNIX,v1=HEX` is the HMAC-SHA256 of `t`, a full
//! stop and the body. `X-Bothost-Delivery` is the same on every try, so that a receiver can tell a second one.

use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use sha2::Sha256;

use super::ChannelError;
use super::config::WebhookConfig;
use super::post::{plain, post};
use super::text::severity;
use crate::alert::notice::{Entry, Notice};
use crate::alert::{Source, Standing};
use crate::clock::Timestamp;

/// A webhook.
#[derive(Debug)]
pub(in crate::alert) struct Webhook {
    config: WebhookConfig,
}

impl Webhook {
    pub(super) fn new(config: WebhookConfig) -> Self {
        Self { config }
    }

    pub(super) async fn send(&self, notice: &Notice) -> Result<String, ChannelError> {
        let body = body(notice).to_string();
        let mut headers = HeaderMap::new();
        let mut add = |name: &'static str, value: String| {
            let value = HeaderValue::try_from(value).expect("digits and letters");
            headers.insert(HeaderName::from_static(name), value);
        };
        add("x-bothost-delivery", notice.id.to_string());
        if let Some(secret) = &self.config.secret {
            add("x-bothost-signature", signature(secret.expose(), Timestamp::now(), &body));
        }
        post(&self.config.url, headers, body, plain).await
    }
}

/// Returns the value of the header that proves who sent a body and when.
fn signature(secret: &str, now: Timestamp, body: &str) -> String {
    let seconds = now.as_millis() / 1000;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length will do");
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body.as_bytes());
    format!("t={seconds},v1={}", data_encoding::HEXLOWER.encode(&mac.finalize().into_bytes()))
}

fn body(notice: &Notice) -> Value {
    let more = &notice.content.more;
    json!({
        "version": 1,
        "id": notice.id.to_string(),
        "host": notice.host,
        "at": notice.at.to_string(),
        "test": notice.is_test(),
        "alerts": notice.content.entries.iter().map(entry).collect::<Vec<_>>(),
        "more": {
            "critical": more.critical,
            "warning": more.warning,
            "info": more.info,
            "resolved": more.resolved,
        },
        "turns_missed": more.turns_missed,
        "notices_merged": more.notices_merged,
    })
}

fn entry(entry: &Entry) -> Value {
    let alert = &entry.alert;
    let ending = entry.happened.ending();
    let bot = match &alert.source {
        Source::Host => None,
        Source::Bot(bot) => Some(bot.as_str()),
    };
    let acknowledged_by = match &alert.standing {
        Standing::Acknowledged { by, .. } => Some(by.as_str()),
        Standing::Pending | Standing::Firing => None,
    };
    let details = alert.details.iter().map(|(key, value)| json!({"key": key, "value": value}));
    json!({
        "id": alert.id.to_string(),
        "what": entry.happened.as_str(),
        "severity": severity(alert.severity),
        "bot": bot,
        "key": alert.key,
        "summary": alert.summary,
        "details": details.collect::<Vec<_>>(),
        "raised_at": alert.raised_at.to_string(),
        "times": entry.times,
        "lasted_seconds": ending.map(|ending| ending.lasted.as_secs()),
        "ended_by": ending.and_then(|ending| ending.by.as_deref()),
        "acknowledged_by": acknowledged_by,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_over_the_time_and_the_body() {
        // By `printf '1700000000.{}' | openssl dgst -sha256 -hmac key`.
        let expected = "t=1700000000,v1=9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae";
        assert_eq!(signature("key", Timestamp::from_millis(1_700_000_000_999), "{}"), expected);
    }
}
