//! The methods of the Bot API that the fake knows.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::state::State;

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
}

fn bad(description: &str) -> Refusal {
    Refusal::new(400, &format!("Bad Request: {description}"))
}

pub(super) async fn call(state: &State, method: &str, parameters: &Value) -> Result<Value, Refusal> {
    match method {
        "getMe" => Ok(json!({"id": state.bot_id(), "is_bot": true, "first_name": "Echo", "username": "EchoBot"})),
        "getUpdates" => get_updates(state, parameters).await,
        "deleteWebhook" => {
            state.set_webhook(false);
            Ok(json!(true))
        }
        "sendMessage" => send_message(state, parameters),
        "editMessageText" => edit_message(state, parameters),
        "deleteMessage" => {
            let (chat, message) = (integer(parameters, "chat_id")?, integer(parameters, "message_id")?);
            state.message(chat, message).ok_or_else(|| bad("message to delete not found"))?;
            state.set_message(chat, message, None);
            Ok(json!(true))
        }
        "setMessageReaction" => {
            integer(parameters, "chat_id")?;
            integer(parameters, "message_id")?;
            let reactions = parameters["reaction"].as_array().ok_or_else(|| bad("can't parse reaction"))?;
            let is_good = |reaction: &Value| reaction["type"] == "emoji" && reaction["emoji"].is_string();
            if reactions.iter().all(is_good) { Ok(json!(true)) } else { Err(bad("REACTION_INVALID")) }
        }
        "answerCallbackQuery" if parameters["callback_query_id"].is_string() => Ok(json!(true)),
        "answerCallbackQuery" => Err(bad("query is too old and response timeout expired or query ID is invalid")),
        _ => Err(Refusal::new(404, "Not Found")),
    }
}

fn integer(parameters: &Value, key: &str) -> Result<i64, Refusal> {
    parameters[key].as_i64().ok_or_else(|| bad(&format!("{key} is missing or no number")))
}

async fn get_updates(state: &State, parameters: &Value) -> Result<Value, Refusal> {
    let optional = |key: &str| if parameters[key].is_null() { Ok(None) } else { integer(parameters, key).map(Some) };
    let (offset, limit, seconds) = (optional("offset")?, optional("limit")?, optional("timeout")?);
    let limit = usize::try_from(limit.unwrap_or(100)).unwrap_or(0);
    if !(1..=100).contains(&limit) {
        return Err(bad("limit must be 1 to 100"));
    }
    let allowed = parameters["allowed_updates"]
        .as_array()
        .map(|kinds| kinds.iter().filter_map(Value::as_str).map(str::to_owned).collect::<HashSet<_>>());
    let mut changed = state.changed.subscribe();
    let number = state.begin_poll(allowed);
    let deadline = Instant::now() + Duration::from_secs(u64::try_from(seconds.unwrap_or(0)).unwrap_or(0));
    loop {
        changed.mark_unchanged();
        if !state.is_newest_poll(number) {
            return Err(Refusal::new(
                409,
                "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
            ));
        }
        if state.has_webhook() {
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

fn send_message(state: &State, parameters: &Value) -> Result<Value, Refusal> {
    let chat = integer(parameters, "chat_id")?;
    check_markup(parameters)?;
    let text = text(parameters)?;
    if let Some(reply) = parameters.get("reply_parameters") {
        integer(reply, "message_id")?;
    }
    let message = state.next_message_id();
    state.set_message(chat, message, Some(text.clone()));
    Ok(json!({"message_id": message, "date": 1_700_000_000, "chat": {"id": chat, "type": "private"}, "text": text}))
}

fn edit_message(state: &State, parameters: &Value) -> Result<Value, Refusal> {
    let (chat, message) = (integer(parameters, "chat_id")?, integer(parameters, "message_id")?);
    check_markup(parameters)?;
    let text = text(parameters)?;
    match state.message(chat, message) {
        None => Err(bad("message to edit not found")),
        Some(old) if old == text => {
            Err(bad("message is not modified: specified new message content is exactly the same"))
        }
        Some(_) => {
            state.set_message(chat, message, Some(text.clone()));
            Ok(
                json!({"message_id": message, "date": 1_700_000_000, "chat": {"id": chat, "type": "private"}, "text": text}),
            )
        }
    }
}

fn text(parameters: &Value) -> Result<String, Refusal> {
    let text = parameters["text"].as_str().ok_or_else(|| bad("message text is empty"))?;
    if text.trim().is_empty() {
        return Err(bad("message text is empty"));
    }
    if text.encode_utf16().count() > 4096 {
        return Err(bad("message is too long"));
    }
    match parameters.get("parse_mode").map(Value::as_str) {
        None => {}
        Some(Some("Markdown")) => {
            let is_closed = |mark: char| text.matches(mark).count() % 2 == 0;
            if !['*', '_', '`'].into_iter().all(is_closed) {
                return Err(bad("can't parse entities: Can't find end of the entity starting at byte offset 0"));
            }
        }
        Some(_) => return Err(bad("unsupported parse_mode")),
    }
    Ok(text.to_owned())
}

fn check_markup(parameters: &Value) -> Result<(), Refusal> {
    let Some(markup) = parameters.get("reply_markup") else { return Ok(()) };
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
    Ok(())
}
