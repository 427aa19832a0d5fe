//! Carrying out what bots asked for on Telegram.

use std::time::Duration;

use serde_json::{Value, json};

use super::api::{Api, ApiError};
use super::split::{UNITS_MAX, split};
use crate::action::{Act, Button, Outgoing, ResolvedAction, TextFormat};
use crate::connector::{DeliveryError, Receipt};
use crate::event::Conversation;

/// Longest data of a button, in bytes; Telegram's limit.
const BUTTON_DATA_BYTES_MAX: usize = 64;
/// Messages that one text may become.
const PIECES_MAX: usize = 16;
/// Between two pieces a pause up to this long is waited for: a text that broke off cannot be taken up again later.
const PIECE_PAUSE_MAX: Duration = Duration::from_secs(10);

/// Carries out one action.
pub(super) async fn carry_out(api: &Api, action: ResolvedAction, timeout: Duration) -> Result<Receipt, DeliveryError> {
    let api = Calls { api, timeout };
    let at = &action.at;
    match action.act {
        Act::Send { message, .. } => send(api, at, &message).await,
        Act::Edit { target, message } => {
            let mut parameters = about(at, &target)?;
            fill(&mut parameters, &message.text, message.format, &message.buttons)?;
            harmless(call(api, "editMessageText", parameters).await, "message is not modified")
        }
        Act::Delete { target } => {
            harmless(call(api, "deleteMessage", about(at, &target)?).await, "message to delete not found")
        }
        Act::React { target, emoji } => {
            let mut parameters = about(at, &target)?;
            parameters["reaction"] = json!([{"type": "emoji", "emoji": emoji}]);
            harmless(call(api, "setMessageReaction", parameters).await, "message is not modified")
        }
    }
}

/// The way to the platform for one action.
#[derive(Clone, Copy)]
struct Calls<'a> {
    api: &'a Api,
    /// How long each call may go without an answer.
    timeout: Duration,
}

/// Sends a text, in as many messages as it takes. The receipt names the first; buttons are under the last.
async fn send(api: Calls<'_>, at: &Conversation, message: &Outgoing<String>) -> Result<Receipt, DeliveryError> {
    if !message.uploads.is_empty() {
        return Err(DeliveryError::Unsupported("send files"));
    }
    // A piece of nothing but white space would be refused.
    let mut pieces: Vec<_> = split(&message.text, UNITS_MAX);
    pieces.retain(|piece| !piece.trim().is_empty());
    let Some(last) = pieces.len().checked_sub(1) else {
        return Err(DeliveryError::BadRequest("a message without text".to_owned()));
    };
    if last >= PIECES_MAX {
        return Err(DeliveryError::BadRequest(format!("a text longer than {PIECES_MAX} messages")));
    }
    let mut first_id = None;
    for (index, piece) in pieces.iter().enumerate() {
        let mut parameters = json!({"chat_id": chat_id(at)?});
        if let Some(thread) = &at.thread {
            parameters["message_thread_id"] = json!(number(thread, "thread")?);
        }
        if let (0, Some(reply_to)) = (index, &message.reply_to) {
            // The answered message may be gone meanwhile; what is said is worth more than the link to it.
            let target = number(reply_to, "message")?;
            parameters["reply_parameters"] = json!({"message_id": target, "allow_sending_without_reply": true});
        }
        // Markup may reach over a cut, so a text in pieces is sent as it stands.
        let format = if last == 0 { message.format } else { TextFormat::Plain };
        let buttons = if index == last { &message.buttons[..] } else { &[] };
        fill(&mut parameters, piece, format, buttons)?;
        let sent = match call(api, "sendMessage", parameters.clone()).await {
            Err(error) if index > 0 => retry_piece(api, parameters, error).await,
            result => result,
        };
        match sent {
            Ok(result) => first_id = first_id.or_else(|| message_id(&result)),
            Err(error) if index == 0 => return Err(classify(error)),
            Err(error) => {
                let count = pieces.len();
                return Err(DeliveryError::Uncertain(format!("{index} of {count} parts are there, then: {error}")));
            }
        }
    }
    Ok(Receipt { platform_id: first_id })
}

/// Tries a later piece once more if it certainly did not arrive and the wait is short.
async fn retry_piece(api: Calls<'_>, parameters: Value, error: ApiError) -> Result<Value, ApiError> {
    let wait = match &error {
        ApiError::Refused { retry_after: Some(wait), .. } => *wait,
        ApiError::Http(http) if !http.perhaps_sent() => Duration::from_secs(1),
        _ => return Err(error),
    };
    if wait > PIECE_PAUSE_MAX {
        return Err(error);
    }
    tokio::time::sleep(wait).await;
    call(api, "sendMessage", parameters).await
}

/// Calls a method; once more where Telegram says how: the chat has moved, or the markup does not parse.
async fn call(api: Calls<'_>, method: &str, mut parameters: Value) -> Result<Value, ApiError> {
    let mut result = api.api.call(method, &parameters, api.timeout).await;
    if let Err(ApiError::Refused { migrate_to_chat_id: Some(id), .. }) = result {
        parameters["chat_id"] = json!(id);
        result = api.api.call(method, &parameters, api.timeout).await;
    }
    if matches!(&result, Err(error) if error.says("can't parse entities"))
        && let Some(parameters) = parameters.as_object_mut()
        && parameters.remove("parse_mode").is_some()
    {
        result = api.api.call(method, &Value::Object(std::mem::take(parameters)), api.timeout).await;
    }
    result
}

/// Returns the parameters that name a message.
fn about(at: &Conversation, target: &str) -> Result<Value, DeliveryError> {
    Ok(json!({"chat_id": chat_id(at)?, "message_id": number(target, "message")?}))
}

/// Adds text, markup and buttons.
fn fill(parameters: &mut Value, text: &str, format: TextFormat, buttons: &[Vec<Button>]) -> Result<(), DeliveryError> {
    parameters["text"] = json!(text);
    if format == TextFormat::Markdown {
        // The old dialect: the newer one refuses every full stop that is not escaped, so what bots write hardly ever parses.
        parameters["parse_mode"] = json!("Markdown");
    }
    if !buttons.is_empty() {
        let row = |row: &Vec<Button>| row.iter().map(button).collect::<Result<Vec<_>, _>>();
        parameters["reply_markup"] =
            json!({"inline_keyboard": buttons.iter().map(row).collect::<Result<Vec<_>, _>>()?});
    }
    Ok(())
}

fn button(button: &Button) -> Result<Value, DeliveryError> {
    let length = button.data.len();
    if (1..=BUTTON_DATA_BYTES_MAX).contains(&length) {
        Ok(json!({"text": button.label, "callback_data": button.data}))
    } else {
        let limits = format!("a button's data has 1 to {BUTTON_DATA_BYTES_MAX} bytes, not {length}");
        Err(DeliveryError::BadRequest(limits))
    }
}

/// Returns a chat by its number, or by the name of a public one.
fn chat_id(at: &Conversation) -> Result<Value, DeliveryError> {
    if at.id.starts_with('@') { Ok(json!(at.id)) } else { number(&at.id, "chat").map(|id| json!(id)) }
}

fn number(id: &str, what: &str) -> Result<i64, DeliveryError> {
    id.parse().map_err(|_| DeliveryError::BadRequest(format!("`{id}` is no Telegram {what}")))
}

fn message_id(result: &Value) -> Option<String> {
    result.get("message_id")?.as_i64().map(|id| id.to_string())
}

/// Judges an act that does no harm when it is done twice: it is never uncertain, and that it was done already is success.
fn harmless(result: Result<Value, ApiError>, done_already: &str) -> Result<Receipt, DeliveryError> {
    match result {
        Ok(result) => Ok(Receipt { platform_id: message_id(&result) }),
        Err(error) if error.says(done_already) => Ok(Receipt::default()),
        Err(error) => Err(match classify(error) {
            DeliveryError::Uncertain(why) => DeliveryError::Retryable(why),
            other => other,
        }),
    }
}

fn classify(error: ApiError) -> DeliveryError {
    let text = error.to_string();
    match (&error, error.code()) {
        (ApiError::Refused { retry_after: Some(wait), .. }, _) => DeliveryError::RateLimited(*wait),
        (ApiError::Http(http), _) if !http.perhaps_sent() => DeliveryError::Retryable(text),
        (ApiError::Refused { .. }, Some(401 | 404)) => DeliveryError::Unauthorized(text),
        (_, Some(403)) => DeliveryError::Permanent(text),
        (_, Some(400)) if error.says("rights") => DeliveryError::Permanent(text),
        (_, Some(409)) => DeliveryError::Retryable(text),
        (ApiError::Refused { .. }, Some(400..500)) => DeliveryError::BadRequest(text),
        // A server that fails, or something in front of it, does not say whether the message went out before.
        _ => DeliveryError::Uncertain(text),
    }
}
