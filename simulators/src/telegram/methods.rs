//! The methods of the Bot API that the server knows.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::DATE;
use super::parameters::Parameters;
use super::state::{Obstacle, State};
use super::webhook::Hook;
use crate::wire::Reply;

/// Longest text of a message and below a file, in units of UTF-16.
const TEXT_MAX: usize = 4096;
const CAPTION_MAX: usize = 1024;
/// The kinds of update that there are.
const KINDS: [&str; 16] = [
    "message",
    "edited_message",
    "channel_post",
    "edited_channel_post",
    "callback_query",
    "my_chat_member",
    "chat_member",
    "message_reaction",
    "message_reaction_count",
    "chat_join_request",
    "poll",
    "poll_answer",
    "inline_query",
    "chosen_inline_result",
    "shipping_query",
    "pre_checkout_query",
];

/// A call that is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) description: String,
    pub(super) parameters: Value,
}

impl Refusal {
    pub(super) fn new(code: u16, description: &str) -> Self {
        Self { code, description: description.to_owned(), parameters: Value::Null }
    }

    pub(super) fn reply(&self) -> Reply {
        let mut body = json!({"ok": false, "error_code": self.code, "description": self.description});
        if !self.parameters.is_null() {
            body["parameters"] = self.parameters.clone();
        }
        Reply::json(self.code, &body)
    }
}

fn bad(description: &str) -> Refusal {
    Refusal::new(400, &format!("Bad Request: {description}"))
}

pub(super) async fn call(state: &State, method: &str, mut read: Parameters) -> Result<Value, Refusal> {
    let parameters = &read.values;
    match method {
        "getMe" => Ok(json!({"id": state.bot_id(), "is_bot": true, "first_name": "Echo", "username": "EchoBot",
            "can_join_groups": true, "can_read_all_group_messages": false, "supports_inline_queries": false})),
        "getUpdates" => get_updates(state, parameters).await,
        "setWebhook" => set_webhook(state, parameters),
        "deleteWebhook" => {
            state.set_webhook(None);
            if parameters["drop_pending_updates"] == true {
                state.drop_updates();
            }
            Ok(json!(true))
        }
        "getWebhookInfo" => Ok(webhook_info(state)),
        "sendMessage" => {
            let to = destination(state, parameters)?;
            let text = text(parameters)?;
            let fields = json!({"text": text, "reply_markup": markup(parameters)?, "message_thread_id": parameters.get("message_thread_id")});
            state.count_sent();
            Ok(state.add_message(to, fields))
        }
        "sendPhoto" | "sendVideo" | "sendAudio" | "sendVoice" | "sendAnimation" | "sendDocument" => {
            send_file(state, method, &mut read)
        }
        "editMessageText" => edit(state, parameters, |shown| {
            if shown.get("text").is_none() {
                return Err(bad("there is no text in the message to edit"));
            }
            shown["text"] = json!(text(parameters)?);
            Ok(())
        }),
        "editMessageCaption" => edit(state, parameters, |shown| {
            if shown.get("text").is_some() {
                return Err(bad("there is no caption in the message to edit"));
            }
            shown["caption"] = json!(caption(parameters)?);
            Ok(())
        }),
        "editMessageReplyMarkup" => edit(state, parameters, |_| Ok(())),
        "deleteMessage" => {
            let (chat, message) = (destination(state, parameters)?, integer(parameters, "message_id")?);
            state.message(chat, message).ok_or_else(|| bad("message to delete not found"))?;
            state.set_message(chat, message, None);
            Ok(json!(true))
        }
        "setMessageReaction" => {
            destination(state, parameters)?;
            integer(parameters, "message_id")?;
            let reactions = parameters["reaction"].as_array().ok_or_else(|| bad("can't parse reaction"))?;
            let is_good = |reaction: &Value| reaction["type"] == "emoji" && reaction["emoji"].is_string();
            if reactions.iter().all(is_good) { Ok(json!(true)) } else { Err(bad("REACTION_INVALID")) }
        }
        "answerCallbackQuery" if parameters["callback_query_id"].as_str().is_some_and(|id| state.take_query(id)) => {
            Ok(json!(true))
        }
        "answerCallbackQuery" => Err(bad("query is too old and response timeout expired or query ID is invalid")),
        "getFile" => {
            let id = parameters["file_id"].as_str().unwrap_or_default();
            let content = state.file(id).ok_or_else(|| bad("invalid file_id"))?;
            Ok(json!({"file_id": id, "file_unique_id": id, "file_size": content.len(), "file_path": id}))
        }
        _ => Err(Refusal::new(404, "Not Found")),
    }
}

fn integer(parameters: &Value, key: &str) -> Result<i64, Refusal> {
    parameters[key].as_i64().ok_or_else(|| bad(&format!("{key} is missing or no number")))
}

/// Returns the chat that something goes to, where it can.
fn destination(state: &State, parameters: &Value) -> Result<i64, Refusal> {
    let chat = integer(parameters, "chat_id")?;
    if !parameters["message_thread_id"].is_null() {
        integer(parameters, "message_thread_id")?;
    }
    if let Some(reply) = parameters.get("reply_parameters") {
        integer(reply, "message_id")?;
    }
    match state.obstacle(chat) {
        None => Ok(chat),
        Some(Obstacle::Unknown) => Err(bad("chat not found")),
        Some(Obstacle::Blocked) if chat > 0 => Err(Refusal::new(403, "Forbidden: bot was blocked by the user")),
        Some(Obstacle::Blocked) => Err(Refusal::new(403, "Forbidden: bot was kicked from the group chat")),
        Some(Obstacle::Moved(new)) => {
            let parameters = json!({"migrate_to_chat_id": new});
            Err(Refusal { parameters, ..bad("group chat was upgraded to a supergroup chat") })
        }
    }
}

fn allowed_updates(parameters: &Value) -> Result<Option<HashSet<String>>, Refusal> {
    let Some(kinds) = parameters.get("allowed_updates").filter(|kinds| !kinds.is_null()) else { return Ok(None) };
    let kinds = kinds.as_array().ok_or_else(|| bad("can't parse allowed updates list"))?;
    let known = kinds.iter().filter_map(Value::as_str).filter(|kind| KINDS.contains(kind));
    Ok(Some(known.map(str::to_owned).collect()))
}

async fn get_updates(state: &State, parameters: &Value) -> Result<Value, Refusal> {
    let optional = |key: &str| if parameters[key].is_null() { Ok(None) } else { integer(parameters, key).map(Some) };
    let (offset, limit, seconds) = (optional("offset")?, optional("limit")?, optional("timeout")?);
    let limit = usize::try_from(limit.unwrap_or(100)).unwrap_or(0);
    if !(1..=100).contains(&limit) {
        return Err(bad("limit must be 1 to 100"));
    }
    let mut changed = state.changed.subscribe();
    let number = state.begin_poll(allowed_updates(parameters)?);
    let deadline = Instant::now() + Duration::from_secs(u64::try_from(seconds.unwrap_or(0)).unwrap_or(0));
    loop {
        changed.mark_unchanged();
        if !state.is_newest_poll(number) {
            return Err(Refusal::new(
                409,
                "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
            ));
        }
        if state.webhook().is_some() {
            return Err(Refusal::new(
                409,
                "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first",
            ));
        }
        let updates = state.take_updates(offset, limit);
        if !updates.is_empty() || timeout_at(deadline, changed.changed()).await.is_err() {
            return Ok(json!(updates));
        }
    }
}

/// As a server of one's own does, takes addresses in the clear too.
fn set_webhook(state: &State, parameters: &Value) -> Result<Value, Refusal> {
    let url = parameters["url"].as_str().ok_or_else(|| bad("bad webhook: no URL"))?;
    let secret = parameters["secret_token"].as_str().map(str::to_owned);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if secret.as_ref().is_some_and(|secret| !(1..=256).contains(&secret.len()) || !secret.bytes().all(fits)) {
        return Err(bad("secret token contains unallowed characters"));
    }
    let max_connections = parameters["max_connections"].as_i64().unwrap_or(40);
    if !(1..=100).contains(&max_connections) {
        return Err(bad("max_connections must be 1 to 100"));
    }
    if !url.is_empty() && !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(bad("bad webhook: An HTTPS URL must be provided for webhook"));
    }
    state.set_allowed(allowed_updates(parameters)?);
    if parameters["drop_pending_updates"] == true {
        state.drop_updates();
    }
    let hook = Hook { url: url.to_owned(), secret, max_connections, errors: 0, last_error: None };
    state.set_webhook((!url.is_empty()).then_some(hook));
    Ok(json!(true))
}

fn webhook_info(state: &State) -> Value {
    let pending = state.unconfirmed().len();
    let Some(hook) = state.webhook() else {
        return json!({"url": "", "has_custom_certificate": false, "pending_update_count": pending});
    };
    let mut info = json!({"url": hook.url, "has_custom_certificate": false, "pending_update_count": pending,
        "max_connections": hook.max_connections});
    if let (Some(error), Some(info)) = (hook.last_error, info.as_object_mut()) {
        info.insert("last_error_date".to_owned(), json!(DATE as i64 + hook.errors));
        info.insert("last_error_message".to_owned(), json!(error));
    }
    info
}

fn send_file(state: &State, method: &str, read: &mut Parameters) -> Result<Value, Refusal> {
    let parameters = &read.values;
    let to = destination(state, parameters)?;
    let kind = method.trim_start_matches("send").to_lowercase();
    let (caption, markup) = (caption(parameters)?, markup(parameters)?);
    // A file is there under the parameter's own name, or under one that the parameter gives.
    let attached =
        parameters[&kind].as_str().and_then(|text| text.strip_prefix("attach://")).unwrap_or(&kind).to_owned();
    let content = read.files.remove(&attached).ok_or_else(|| bad(&format!("there is no {kind} in the request")))?;
    if content.is_empty() {
        return Err(bad("file must be non-empty"));
    }
    if content.len() > 50 << 20 {
        return Err(Refusal::new(413, "Request Entity Too Large"));
    }
    if kind == "photo" && !is_image(&content) {
        return Err(bad("IMAGE_PROCESS_FAILED"));
    }
    let shown = &parameters[&attached];
    let text = |key: &str| shown[key].as_str().unwrap_or_default();
    let file = state.add_file(&kind, text("file_name"), text("mime_type"), content);
    let thread = parameters.get("message_thread_id");
    let mut fields = json!({"caption": caption, "reply_markup": markup, "message_thread_id": thread});
    fields[&kind] = file;
    Ok(state.add_message(to, fields))
}

/// Looks at the first bytes: PNG, JPEG, WebP.
fn is_image(content: &[u8]) -> bool {
    content.starts_with(b"\x89PNG") || content.starts_with(&[0xff, 0xd8]) || content.starts_with(b"RIFF")
}

/// Changes a message by `change` and its buttons by what is asked for; nothing changed is refused.
fn edit(
    state: &State,
    parameters: &Value,
    change: impl FnOnce(&mut Value) -> Result<(), Refusal>,
) -> Result<Value, Refusal> {
    let (chat, message) = (destination(state, parameters)?, integer(parameters, "message_id")?);
    let markup = markup(parameters)?;
    let old = state.message(chat, message).ok_or_else(|| bad("message to edit not found"))?;
    let mut new = old.clone();
    change(&mut new)?;
    if let Some(new) = new.as_object_mut() {
        new.remove("reply_markup");
        new.extend(markup.map(|markup| ("reply_markup".to_owned(), markup)));
    }
    if new == old {
        let why = "message is not modified: specified new message content and reply markup are exactly the same";
        return Err(bad(why));
    }
    state.set_message(chat, message, Some(new.clone()));
    Ok(new)
}

fn text(parameters: &Value) -> Result<String, Refusal> {
    let text = parameters["text"].as_str().ok_or_else(|| bad("message text is empty"))?;
    if text.trim().is_empty() {
        return Err(bad("message text is empty"));
    }
    if text.encode_utf16().count() > TEXT_MAX {
        return Err(bad("message is too long"));
    }
    check_parse(parameters, text)?;
    Ok(text.to_owned())
}

fn caption(parameters: &Value) -> Result<Option<String>, Refusal> {
    let Some(caption) = parameters["caption"].as_str() else { return Ok(None) };
    if caption.encode_utf16().count() > CAPTION_MAX {
        return Err(bad("message caption is too long"));
    }
    check_parse(parameters, caption)?;
    Ok(Some(caption.to_owned()))
}

fn check_parse(parameters: &Value, text: &str) -> Result<(), Refusal> {
    match parameters.get("parse_mode").map(Value::as_str) {
        None => Ok(()),
        Some(Some("Markdown")) => {
            let is_closed = |mark: char| text.matches(mark).count().is_multiple_of(2);
            if ['*', '_', '`'].into_iter().all(is_closed) {
                return Ok(());
            }
            Err(bad("can't parse entities: Can't find end of the entity starting at byte offset 0"))
        }
        Some(_) => Err(bad("unsupported parse_mode")),
    }
}

/// Returns the buttons, where there are any.
fn markup(parameters: &Value) -> Result<Option<Value>, Refusal> {
    let Some(markup) = parameters.get("reply_markup") else { return Ok(None) };
    let rows =
        markup["inline_keyboard"].as_array().ok_or_else(|| bad("can't parse reply keyboard markup JSON object"))?;
    for button in rows.iter().filter_map(Value::as_array).flatten() {
        let data = button["callback_data"].as_str().unwrap_or_default();
        if !(1..=64).contains(&data.len()) {
            return Err(bad("BUTTON_DATA_INVALID"));
        }
        if button["text"].as_str().is_none_or(str::is_empty) {
            return Err(bad("text buttons are unallowed in the inline keyboard"));
        }
    }
    Ok(rows.iter().any(|row| row != &json!([])).then(|| markup.clone()))
}
