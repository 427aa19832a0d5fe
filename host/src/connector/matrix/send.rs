//! Carrying out what bots asked for. Every request has a transaction id that comes of the delivery's key: the homeserver carries it
//! out once, however often it is sent.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::api::{Api, CLIENT, quoted};
use super::error::{ApiError, of_delivery};
use super::markup;
use crate::action::{Act, Outgoing, TextFormat, Upload};
use crate::connector::deliveries::Task;
use crate::connector::text::{Measure, split};
use crate::connector::{DeliveryError, Receipt};
use crate::event::Conversation;

/// An event has at most 65,536 bytes with everything around it.
const EVENT_BYTES_MAX: usize = 60_000;
/// What one message holds of a text. Less than an event, since signs become longer in JSON.
const TEXT: Measure = Measure::Bytes(48_000);
/// Messages that one text may become.
const PIECES_MAX: usize = 16;

/// Carries out one action. Cancelled, it may have been done or not.
pub(super) async fn carry_out(api: &Api, task: Task) -> Result<Receipt, DeliveryError> {
    let Task { action, key, timeout } = task;
    let call = Call { api, at: &action.at, key, timeout };
    match action.act {
        Act::Send { message, .. } => call.send(message).await,
        Act::Edit { target, message } => call.edit(&target, message).await,
        Act::Delete { target } => {
            let path = format!("redact/{}/{}", quoted(&target), call.transaction(0));
            call.put(&path, &json!({})).await.map(|_| Receipt::default())
        }
        Act::React { target, emoji } => {
            let relation = json!({"rel_type": "m.annotation", "event_id": target, "key": emoji});
            let path = format!("send/m.reaction/{}", call.transaction(0));
            match call.try_put(&path, &json!({"m.relates_to": relation})).await {
                Ok(_) => Ok(Receipt::default()),
                // It is there already.
                Err(error) if error.refusal().is_some_and(|(_, code)| code == "M_DUPLICATE_ANNOTATION") => {
                    Ok(Receipt::default())
                }
                Err(error) => Err(call.judge(&error)),
            }
        }
    }
}

/// The way to the homeserver for one action.
struct Call<'a> {
    api: &'a Api,
    at: &'a Conversation,
    key: u64,
    /// How long each call may go without an answer.
    timeout: Duration,
}

impl Call<'_> {
    /// Returns the transaction id of the part `index` of the action.
    fn transaction(&self, index: usize) -> String {
        format!("bothost-{:x}-{index}", self.key)
    }

    fn judge(&self, error: &ApiError) -> DeliveryError {
        of_delivery(error, self.api.session().is_none_or(|session| session.is_renewable))
    }

    async fn try_put(&self, path: &str, content: &Value) -> Result<Value, ApiError> {
        let path = format!("{CLIENT}/rooms/{}/{path}", quoted(&self.at.id));
        self.api.act(Method::PUT, &path, content, self.timeout).await
    }

    async fn put(&self, path: &str, content: &Value) -> Result<Value, DeliveryError> {
        self.try_put(path, content).await.map_err(|error| self.judge(&error))
    }

    /// Sends a message's files and then its text, in as many events as it takes. The receipt names the first.
    async fn send(&self, message: Outgoing<String>) -> Result<Receipt, DeliveryError> {
        let pieces = split(&message.text, TEXT);
        if pieces.is_empty() && message.uploads.is_empty() {
            return Err(DeliveryError::BadRequest("a message without text or file".to_owned()));
        }
        if pieces.len() > PIECES_MAX {
            return Err(DeliveryError::BadRequest(format!("a text longer than {PIECES_MAX} messages")));
        }
        // Markup may reach over a cut, so a text in pieces is sent as it stands.
        let format = if pieces.len() == 1 { message.format } else { TextFormat::Plain };
        let mut first_id = None;
        let mut index = 0;
        let mut reply_to = message.reply_to.as_deref();
        for upload in message.uploads {
            let mut content = self.upload(upload).await?;
            relate(&mut content, self.at, reply_to.take());
            let id = self.say(&content, index).await?;
            first_id = first_id.or(id);
            index += 1;
        }
        for piece in pieces {
            let mut content = text_content(&piece, format);
            relate(&mut content, self.at, reply_to.take());
            let id = self.say(&content, index).await?;
            first_id = first_id.or(id);
            index += 1;
        }
        Ok(Receipt { platform_id: first_id })
    }

    async fn edit(&self, target: &str, message: Outgoing<String>) -> Result<Receipt, DeliveryError> {
        if !message.uploads.is_empty() {
            return Err(DeliveryError::Unsupported("put files into a message that is there"));
        }
        let text = &message.text;
        if text.trim().is_empty() || !TEXT.fits(text) {
            return Err(DeliveryError::BadRequest("a text that is empty or longer than one message".to_owned()));
        }
        let new = text_content(text, message.format);
        let mut content = text_content(&format!("* {text}"), TextFormat::Plain);
        content["m.relates_to"] = json!({"rel_type": "m.replace", "event_id": target});
        content["m.new_content"] = new;
        if content.to_string().len() > EVENT_BYTES_MAX {
            // The text is in there twice; who knows edits looks at the new one only.
            content["body"] = json!("*");
        }
        self.say(&content, 0).await.map(|_| Receipt::default())
    }

    async fn say(&self, content: &Value, index: usize) -> Result<Option<String>, DeliveryError> {
        let path = format!("send/m.room.message/{}", self.transaction(index));
        let answer = self.put(&path, content).await?;
        Ok(answer["event_id"].as_str().map(str::to_owned))
    }

    /// Stores a file with the homeserver and returns the message that shows it. Stored twice, it is shown once.
    async fn upload(&self, upload: Upload) -> Result<Value, DeliveryError> {
        let Upload { name, media_type, content } = upload;
        let kind = match media_type.split('/').next() {
            Some("image") => "m.image",
            Some("video") => "m.video",
            Some("audio") => "m.audio",
            _ => "m.file",
        };
        let size = content.len();
        let path = format!("/_matrix/media/v3/upload?filename={}", quoted(&name));
        let stored = self.api.upload(&path, &media_type, content, self.timeout).await;
        let stored = stored.map_err(|error| self.judge(&error))?;
        let info = json!({"mimetype": media_type, "size": size});
        Ok(json!({"msgtype": kind, "body": name, "filename": name, "url": stored["content_uri"], "info": info}))
    }
}

/// Returns a notice: what bots say, and what no bot answers.
fn text_content(text: &str, format: TextFormat) -> Value {
    let mut content = json!({"msgtype": "m.notice", "body": text});
    if format == TextFormat::Markdown
        && let Some(html) = markup::html(text)
        && html.len() + text.len() < EVENT_BYTES_MAX / 2
    {
        content["format"] = json!("org.matrix.custom.html");
        content["formatted_body"] = json!(html);
    }
    content
}

/// Says what a message answers and which thread it is in.
fn relate(content: &mut Value, at: &Conversation, reply_to: Option<&str>) {
    let relation = match (&at.thread, reply_to) {
        (None, None) => return,
        (None, Some(answered)) => json!({"m.in_reply_to": {"event_id": answered}}),
        (Some(root), answered) => json!({
            "rel_type": "m.thread",
            "event_id": root,
            // Clients that know no threads show it as an answer to the first message.
            "is_falling_back": answered.is_none(),
            "m.in_reply_to": {"event_id": answered.unwrap_or(root)},
        }),
    };
    content["m.relates_to"] = relation;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ConversationKind;

    fn room(thread: Option<&str>) -> Conversation {
        let connector = "m".parse().unwrap();
        let thread = thread.map(str::to_owned);
        Conversation { connector, id: "!r".to_owned(), kind: ConversationKind::Group, title: None, thread }
    }

    #[test]
    fn answers_and_threads_are_said_as_matrix_has_them() {
        let relation = |thread, reply_to| {
            let mut content = text_content("x", TextFormat::Plain);
            relate(&mut content, &room(thread), reply_to);
            content["m.relates_to"].clone()
        };
        assert_eq!(relation(None, None), Value::Null);
        assert_eq!(relation(None, Some("$a")), json!({"m.in_reply_to": {"event_id": "$a"}}));
        let fallback = relation(Some("$root"), None);
        assert_eq!(
            (&fallback["is_falling_back"], &fallback["m.in_reply_to"]["event_id"]),
            (&json!(true), &json!("$root"))
        );
        let answer = relation(Some("$root"), Some("$a"));
        assert_eq!((&answer["is_falling_back"], &answer["m.in_reply_to"]["event_id"]), (&json!(false), &json!("$a")));
        assert_eq!((&answer["rel_type"], &answer["event_id"]), (&json!("m.thread"), &json!("$root")));
    }

    #[test]
    fn html_goes_along_only_where_there_is_markup_and_room_for_it() {
        assert_eq!(text_content("**x**", TextFormat::Markdown)["formatted_body"], "<strong>x</strong>");
        assert_eq!(text_content("**x**", TextFormat::Plain)["formatted_body"], Value::Null);
        assert_eq!(text_content("x", TextFormat::Markdown)["formatted_body"], Value::Null);
        let long = format!("**x** {}", "y".repeat(40_000));
        assert_eq!(text_content(&long, TextFormat::Markdown)["formatted_body"], Value::Null);
    }
}
