//! Requests in the host's words, and the host's acts as JSON. Pure.
//!
//! What is posted to `reply_url`:
//!
//! ```json
//! { "type": "send", "conversation": "c", "thread": null, "text": "t", "format": "plain", "buttons": [[{"label": "l", "data": "d"}]],
//!   "reply_to": "id or null", "files": [{"name": "n", "media_type": "m", "content": "base64"}] }
//! { "type": "edit", …the same, "target": "id" }   { "type": "delete", "conversation", "thread", "target" }
//! { "type": "react", "conversation", "thread", "target", "emoji" }
//! ```

use data_encoding::{BASE64, HEXLOWER};
use http::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::config::{Conversing, WebhookConfig};
use crate::action::{Act, Outgoing, ResolvedAction};
use crate::clock::Timestamp;
use crate::connector::ingress::Knock;
use crate::connector::signature::Scheme;
use crate::event::{Conversation, ConversationKind, Event, EventKind, Message, User};
use crate::id::ConnectorName;

/// Larger JSON of one event is not passed on; the event is.
const RAW_BYTES_MAX: usize = 256 << 10;
/// Characters of an id that a sender gives; longer ones are known by their hash.
const ID_CHARS_MAX: usize = 200;
/// Headers that prove something to us: whoever reads them could act as the sender.
const CONFIDENTIAL: [&str; 5] =
    ["authorization", "proxy-authorization", "cookie", "x-forwarded-authorization", "x-api-key"];
/// Within this many milliseconds the same body is the same request, where nothing else says so.
const SAME_MS: u64 = 60_000;

/// Returns the event of a request that has proved itself, or the status that says what is wrong with it.
pub(super) fn event(config: &WebhookConfig, connector: &ConnectorName, knock: &Knock) -> Result<Event, StatusCode> {
    let json = read(config, knock)?;
    let platform_id = Some(dedup_id(config, knock, json.as_ref(), Timestamp::now()));
    let kind = match (&config.conversing, &json) {
        (Some(conversing), Some(json)) => message(conversing, connector, json, platform_id.clone())?,
        _ => {
            EventKind::Webhook { path: knock.path.clone(), headers: headers(config, knock), body: knock.body.to_vec() }
        }
    };
    let raw = json.map(|json| json.to_string()).filter(|raw| raw.len() <= RAW_BYTES_MAX);
    Ok(Event { platform_id, raw, ..Event::now(Some(connector.clone()), kind) })
}

/// Reads the body where the table says that there is something in it. Without pointers it may be anything.
fn read(config: &WebhookConfig, knock: &Knock) -> Result<Option<Value>, StatusCode> {
    let media_type = knock.header("content-type").unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    let is_json =
        media_type.eq_ignore_ascii_case("application/json") || media_type.to_ascii_lowercase().ends_with("+json");
    let is_needed = config.conversing.is_some() || config.dedup.is_some();
    match (is_json, is_needed) {
        (false, true) => Err(StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (false, false) => Ok(None),
        (true, _) => serde_json::from_slice(&knock.body).map(Some).map_err(|_| StatusCode::BAD_REQUEST),
    }
}

/// Returns what is the same when a request comes again: what its sender says, or else its content, for a while.
fn dedup_id(config: &WebhookConfig, knock: &Knock, json: Option<&Value>, now: Timestamp) -> String {
    let by_pointer = || scalar(json?.pointer(config.dedup.as_deref()?)?);
    let header = match (&config.dedup_header, config.signature) {
        (Some(name), _) => Some(name.as_str()),
        (None, Scheme::GitHub) => Some("x-github-delivery"),
        (None, Scheme::Standard) => Some("webhook-id"),
        _ => None,
    };
    let by_header = || knock.header(header?).map(str::to_owned);
    // Stripe says it in the body.
    let by_scheme = || (config.signature == Scheme::Stripe).then(|| scalar(json?.get("id")?)).flatten();
    let given = by_pointer().or_else(by_header).or_else(by_scheme).filter(|id| !id.is_empty());
    match given {
        Some(id) if id.chars().count() <= ID_CHARS_MAX => format!("{}:{id}", knock.path),
        Some(id) => format!("{}:#{}", knock.path, hash(&[id.as_bytes()])),
        None => {
            // A signature that has its time in it tells two requests of one content apart, and is the same when one comes again.
            let timed = match config.signature {
                Scheme::Bothost | Scheme::Stripe => config.signature.header().and_then(|name| knock.header(name)),
                Scheme::GitHub | Scheme::Standard | Scheme::None => None,
            };
            let mark = timed.map_or_else(|| (now.as_millis() / SAME_MS).to_string(), str::to_owned);
            let query = knock.query.as_deref().unwrap_or_default();
            format!("{}:={}", knock.path, hash(&[mark.as_bytes(), b"\n", query.as_bytes(), b"\n", &knock.body]))
        }
    }
}

fn hash(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    HEXLOWER.encode(&hash.finalize())
}

fn message(
    conversing: &Conversing,
    connector: &ConnectorName,
    json: &Value,
    id: Option<String>,
) -> Result<EventKind, StatusCode> {
    let at = |pointer: &str| json.pointer(pointer).and_then(scalar);
    let text = at(&conversing.text).ok_or(StatusCode::BAD_REQUEST)?;
    let conversation = match conversing.conversation.starts_with('/') {
        true => at(&conversing.conversation).ok_or(StatusCode::BAD_REQUEST)?,
        false => conversing.conversation.clone(),
    };
    let sender = conversing.sender.as_deref().and_then(at).unwrap_or_default();
    Ok(EventKind::Message(Message {
        id: id.unwrap_or_default(),
        conversation: Conversation {
            connector: connector.clone(),
            id: conversation,
            kind: ConversationKind::Group,
            title: None,
            thread: None,
        },
        sender: User { id: sender, name: None, is_bot: true },
        text,
        attachments: Vec::new(),
        reply_to: None,
        addressed: true,
        sent_at: Timestamp::now(),
        reply_deadline: None,
    }))
}

/// Returns a text, a number or a truth as a text.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// Returns the headers that a bot may see, those that are text.
fn headers(config: &WebhookConfig, knock: &Knock) -> Vec<(String, String)> {
    let is_open = |name: &str| {
        // Whatever proves something, by whichever scheme: it may be another host's secret.
        !CONFIDENTIAL.contains(&name)
            && !name.contains("signature")
            && !name.contains("token")
            && Some(name) != config.signature.header()
    };
    let open = knock.headers.iter().filter(|(name, _)| is_open(name.as_str()));
    open.filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))).collect()
}

/// Returns what is posted of an act.
pub(super) fn answer(action: &ResolvedAction) -> Value {
    let mut answer = json!({"conversation": action.at.id, "thread": action.at.thread});
    let mut say = |kind: &str, target: Option<&String>, message: Option<&Outgoing<String>>| {
        answer["type"] = json!(kind);
        if let Some(target) = target {
            answer["target"] = json!(target);
        }
        let Some(message) = message else { return };
        let file = |upload: &crate::action::Upload| json!({"name": upload.name, "media_type": upload.media_type, "content": BASE64.encode(&upload.content)});
        answer["text"] = json!(message.text);
        answer["format"] = json!(message.format);
        answer["buttons"] = json!(message.buttons);
        answer["reply_to"] = json!(message.reply_to);
        answer["files"] = message.uploads.iter().map(file).collect();
    };
    match &action.act {
        Act::Send { message, .. } => say("send", None, Some(message)),
        Act::Edit { target, message } => say("edit", Some(target), Some(message)),
        Act::Delete { target } => say("delete", Some(target), None),
        Act::React { target, emoji } => {
            say("react", Some(target), None);
            answer["emoji"] = json!(emoji);
        }
    }
    answer
}

#[cfg(test)]
mod tests;
