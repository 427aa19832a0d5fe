//! Carrying out what bots asked for on Telegram.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::api::{Api, ApiError};
use super::form::Form;
use crate::action::{Act, Button, Outgoing, TextFormat, Upload};
use crate::connector::deliveries::Task;
use crate::connector::progress::Progress;
use crate::connector::text::{Measure, split_after};
use crate::connector::{DeliveryError, Receipt};
use crate::event::Conversation;

/// Longest text of one message: Telegram counts as Java does.
const TEXT: Measure = Measure::Utf16(4096);
/// Longest text below a file.
const CAPTION: Measure = Measure::Utf16(1024);
/// Longest data of a button, in bytes; Telegram's limit.
const BUTTON_DATA_BYTES_MAX: usize = 64;
/// Messages that one action may become.
const PIECES_MAX: usize = 16;
/// Between two pieces a pause up to this long is waited for here. After a longer one another try goes on with the rest.
const PIECE_PAUSE_MAX: Duration = Duration::from_secs(10);
/// Larger images are sent as documents; Telegram's limit.
const PHOTO_BYTES_MAX: usize = 10 << 20;
/// Groups that became supergroups whose new ids are remembered. Beyond, all are forgotten, and learnt again with the next message.
const MOVED_MAX: usize = 1024;

/// What carries actions out.
#[derive(Debug)]
pub(super) struct Sender<'a> {
    api: &'a Api,
    /// The ids that chats have now, by those they had.
    moved: Mutex<HashMap<i64, i64>>,
    /// What is there of the actions that broke off.
    progress: Progress,
}

/// One message to send: the piece of an action.
struct Piece<'a> {
    upload: Option<&'a Upload>,
    text: String,
}

impl<'a> Sender<'a> {
    pub(super) fn new(api: &'a Api) -> Self {
        Self { api, moved: Mutex::default(), progress: Progress::default() }
    }

    /// Carries out one action. Cancelled, it may be carried out or not, in whole or in part.
    pub(super) async fn carry_out(&self, task: Task) -> Result<Receipt, DeliveryError> {
        let Task { action, key, timeout } = task;
        let at = &action.at;
        match action.act {
            Act::Send { message, .. } => self.send(at, &message, key, timeout).await,
            Act::Edit { target, message } => self.edit(at, &target, &message, timeout).await,
            Act::Delete { target } => {
                let call = self.call("deleteMessage", about(at, &target)?, None, timeout);
                harmless(call.await, "message to delete not found")
            }
            Act::React { target, emoji } => {
                let mut parameters = about(at, &target)?;
                parameters["reaction"] = json!([{"type": "emoji", "emoji": emoji}]);
                harmless(self.call("setMessageReaction", parameters, None, timeout).await, NOT_MODIFIED)
            }
        }
    }

    /// Sends a text and files, in as many messages as it takes, less those that are there from an earlier try of `key`. The receipt names
    /// the first; buttons are under the last.
    async fn send(
        &self,
        at: &Conversation,
        message: &Outgoing<String>,
        key: u64,
        timeout: Duration,
    ) -> Result<Receipt, DeliveryError> {
        let pieces = pieces(message)?;
        let last = pieces.len() - 1;
        // Markup may reach over a cut, so a text in pieces is sent as it stands.
        let is_whole = pieces.iter().filter(|piece| !piece.text.is_empty()).count() <= 1;
        let format = if is_whole { message.format } else { TextFormat::Plain };
        let mut sent = self.progress.take(key);
        for (index, piece) in pieces.iter().enumerate().skip(sent.count) {
            let mut parameters = json!({"chat_id": chat_id(at)?});
            if let Some(thread) = &at.thread {
                parameters["message_thread_id"] = json!(number(thread, "thread")?);
            }
            if let (0, Some(reply_to)) = (index, &message.reply_to) {
                // The answered message may be gone meanwhile; what is said is worth more than the link to it.
                let target = number(reply_to, "message")?;
                parameters["reply_parameters"] = json!({"message_id": target, "allow_sending_without_reply": true});
            }
            let field = if piece.upload.is_some() { "caption" } else { "text" };
            let buttons = if index == last { &message.buttons[..] } else { &[] };
            fill(&mut parameters, field, &piece.text, format, buttons)?;
            let result = match self.send_piece(parameters.clone(), piece.upload, timeout).await {
                Err(error) if index > 0 => self.retry_piece(parameters, piece.upload, error, timeout).await,
                result => result,
            };
            match result {
                Ok(result) => sent.add(message_id(&result)),
                Err(error) => return Err(self.progress.broke_off(key, sent, pieces.len(), classify(&error))),
            }
        }
        Ok(Receipt { platform_id: sent.first_id })
    }

    async fn send_piece(
        &self,
        parameters: Value,
        upload: Option<&Upload>,
        timeout: Duration,
    ) -> Result<Value, ApiError> {
        let Some(upload) = upload else {
            return self.call("sendMessage", parameters, None, timeout).await;
        };
        let (method, field) = method_of(upload);
        let result = self.call(method, parameters.clone(), Some((field, upload)), timeout).await;
        match result {
            // Telegram looks into the file, and finds that it is not what it says, or has sides of a length it does not take.
            Err(error) if field != "document" && NO_SUCH_MEDIA.iter().any(|words| error.says(words)) => {
                self.call("sendDocument", parameters, Some(("document", upload)), timeout).await
            }
            result => result,
        }
    }

    /// Tries a later piece once more if it certainly did not arrive and the wait is short.
    async fn retry_piece(
        &self,
        parameters: Value,
        upload: Option<&Upload>,
        error: ApiError,
        timeout: Duration,
    ) -> Result<Value, ApiError> {
        let wait = match &error {
            ApiError::Refused { retry_after: Some(wait), .. } => *wait,
            ApiError::Http(http) if !http.perhaps_sent() => Duration::from_secs(1),
            _ => return Err(error),
        };
        if wait > PIECE_PAUSE_MAX {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
        self.send_piece(parameters, upload, timeout).await
    }

    /// Changes a message: its text, or the text below its file; without a text its buttons only.
    async fn edit(
        &self,
        at: &Conversation,
        target: &str,
        message: &Outgoing<String>,
        timeout: Duration,
    ) -> Result<Receipt, DeliveryError> {
        if !message.uploads.is_empty() {
            return Err(DeliveryError::Unsupported("change the files of a message"));
        }
        let about = about(at, target)?;
        let with = |key| {
            let mut parameters = about.clone();
            fill(&mut parameters, key, &message.text, message.format, &message.buttons).map(|()| parameters)
        };
        if message.text.trim().is_empty() {
            if message.buttons.is_empty() {
                return Err(DeliveryError::BadRequest("an edit to a message without text".to_owned()));
            }
            let mut parameters = about.clone();
            fill(&mut parameters, "text", "", TextFormat::Plain, &message.buttons)?;
            return harmless(self.call("editMessageReplyMarkup", parameters, None, timeout).await, NOT_MODIFIED);
        }
        let mut result = self.call("editMessageText", with("text")?, None, timeout).await;
        if matches!(&result, Err(error) if error.says("there is no text in the message to edit")) {
            result = self.call("editMessageCaption", with("caption")?, None, timeout).await;
        }
        harmless(result, NOT_MODIFIED)
    }

    /// Calls a method, with a file where there is one; once more where Telegram says how: the chat has moved, or the markup does not
    /// parse.
    async fn call(
        &self,
        method: &str,
        mut parameters: Value,
        file: Option<(&str, &Upload)>,
        timeout: Duration,
    ) -> Result<Value, ApiError> {
        let old = parameters["chat_id"].as_i64();
        if let Some(new) = old.and_then(|old| self.moved().get(&old).copied()) {
            parameters["chat_id"] = json!(new);
        }
        let mut result = self.ask(method, &parameters, file, timeout).await;
        if let Err(ApiError::Refused { migrate_to_chat_id: Some(new), .. }) = result {
            if let Some(old) = old {
                self.remember(old, new);
            }
            parameters["chat_id"] = json!(new);
            result = self.ask(method, &parameters, file, timeout).await;
        }
        if matches!(&result, Err(error) if error.says("can't parse entities"))
            && parameters.as_object_mut().is_some_and(|parameters| parameters.remove("parse_mode").is_some())
        {
            result = self.ask(method, &parameters, file, timeout).await;
        }
        result
    }

    async fn ask(
        &self,
        method: &str,
        parameters: &Value,
        file: Option<(&str, &Upload)>,
        timeout: Duration,
    ) -> Result<Value, ApiError> {
        match file {
            None => self.api.call(method, parameters, timeout).await,
            Some((field, upload)) => {
                let none = Map::new();
                let form = Form::new(parameters.as_object().unwrap_or(&none), field, upload);
                self.api.upload(method, form, timeout).await
            }
        }
    }

    fn moved(&self) -> MutexGuard<'_, HashMap<i64, i64>> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, old: i64, new: i64) {
        let mut moved = self.moved();
        if moved.len() >= MOVED_MAX {
            moved.clear();
        }
        moved.insert(old, new);
    }
}

/// What Telegram says of an edit to what is there already.
const NOT_MODIFIED: &str = "message is not modified";

/// What Telegram says of a file that is not of the kind it was sent as.
const NO_SUCH_MEDIA: [&str; 4] =
    ["PHOTO_INVALID_DIMENSIONS", "PHOTO_EXT_INVALID", "PHOTO_SAVE_FILE_INVALID", "IMAGE_PROCESS_FAILED"];

/// Returns what to send, message by message: the files, the first with as much of the text as a caption holds, then the rest of the
/// text. Never empty.
fn pieces(message: &Outgoing<String>) -> Result<Vec<Piece<'_>>, DeliveryError> {
    let first = if message.uploads.is_empty() { TEXT } else { CAPTION };
    let mut texts = split_after(&message.text, first, TEXT).into_iter().peekable();
    let mut pieces = Vec::new();
    for (index, upload) in message.uploads.iter().enumerate() {
        let caption = if index == 0 { texts.next_if(|text| CAPTION.fits(text)) } else { None };
        pieces.push(Piece { upload: Some(upload), text: caption.unwrap_or_default() });
    }
    pieces.extend(texts.map(|text| Piece { upload: None, text }));
    if pieces.is_empty() {
        return Err(DeliveryError::BadRequest("a message without text and files".to_owned()));
    }
    if pieces.len() > PIECES_MAX {
        return Err(DeliveryError::BadRequest(format!("more than {PIECES_MAX} messages in one")));
    }
    Ok(pieces)
}

/// Returns the method that shows a file best, and what it calls the file.
fn method_of(upload: &Upload) -> (&'static str, &'static str) {
    let essence = upload.media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match &essence[..] {
        "image/jpeg" | "image/png" | "image/webp" if upload.content.len() <= PHOTO_BYTES_MAX => ("sendPhoto", "photo"),
        "image/gif" => ("sendAnimation", "animation"),
        "video/mp4" => ("sendVideo", "video"),
        "audio/mpeg" | "audio/mp4" => ("sendAudio", "audio"),
        "audio/ogg" => ("sendVoice", "voice"),
        _ => ("sendDocument", "document"),
    }
}

/// Returns the parameters that name a message.
fn about(at: &Conversation, target: &str) -> Result<Value, DeliveryError> {
    Ok(json!({"chat_id": chat_id(at)?, "message_id": number(target, "message")?}))
}

/// Adds text, if there is any, markup and buttons.
fn fill(
    parameters: &mut Value,
    key: &str,
    text: &str,
    format: TextFormat,
    buttons: &[Vec<Button>],
) -> Result<(), DeliveryError> {
    if !text.is_empty() {
        parameters[key] = json!(text);
        if format == TextFormat::Markdown {
            // The old dialect: the newer one refuses every full stop that is not escaped, so what bots write hardly ever parses.
            parameters["parse_mode"] = json!("Markdown");
        }
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
        Err(error) => Err(match classify(&error) {
            DeliveryError::Uncertain(why) => DeliveryError::Retryable(why),
            other => other,
        }),
    }
}

/// What Telegram says, with code 400, where the chat does not let the bot: no other request would fare better.
const NOT_ALLOWED: [&str; 6] =
    ["rights", "WRITE_FORBIDDEN", "CHAT_RESTRICTED", "CHAT_SEND_", "TOPIC_CLOSED", "group chat was deactivated"];

fn classify(error: &ApiError) -> DeliveryError {
    let text = error.to_string();
    match (error, error.code()) {
        (ApiError::Refused { retry_after: Some(wait), .. }, _) => DeliveryError::RateLimited(*wait),
        (ApiError::Http(http), _) if !http.perhaps_sent() => DeliveryError::Retryable(text),
        (error, _) if error.refuses_token() => DeliveryError::Unauthorized(text),
        (ApiError::Refused { .. }, Some(403)) => DeliveryError::Permanent(text),
        (ApiError::Refused { .. }, Some(400)) if NOT_ALLOWED.iter().any(|words| error.says(words)) => {
            DeliveryError::Permanent(text)
        }
        (ApiError::Refused { .. }, Some(409)) => DeliveryError::Retryable(text),
        // A proxy in front may have a limit of its own.
        (ApiError::Refused { .. }, Some(400..500)) | (_, Some(413)) => DeliveryError::BadRequest(text),
        // A server that fails, or something in front of it, does not say whether the message went out before.
        _ => DeliveryError::Uncertain(text),
    }
}

#[cfg(test)]
mod tests;
