//! Carrying out what bots asked for on Slack.
//!
//! Slack does not recognise a message that is sent a second time. So each carries a key in its metadata, and what is known of a send
//! that failed in the middle is kept: the next try takes it up there, and looks for the message first where its fate is unknown.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::api::{Api, ApiError, classify};
use super::words::escaped;
use crate::action::{Act, Button, Outgoing, TextFormat, Upload};
use crate::clock::Timestamp;
use crate::connector::deliveries::Task;
use crate::connector::text::{Measure, split, with_numbered};
use crate::connector::{DeliveryError, Memory, Receipt};
use crate::egress::{AddressGuard, HttpClient, HttpUrl};
use crate::event::Conversation;

/// Characters of one message, as Slack advises.
const CHARS_MAX: usize = 4000;
/// Characters of a text above buttons.
const SECTION_CHARS_MAX: usize = 3000;
/// What a character may become when it is escaped.
const ESCAPED_CHARS_MAX: usize = 5;
/// Messages that one text may become.
const PIECES_MAX: usize = 16;
const BUTTONS_OF_BLOCK_MAX: usize = 25;
/// Blocks of a message, the text's left out.
const BLOCKS_MAX: usize = 49;
const LABEL_CHARS_MAX: usize = 75;
const DATA_CHARS_MAX: usize = 2000;

/// How long it is kept how far a send came. The outbox has given it up long before.
const PROGRESS_KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// How far Slack's clock may be behind ours when we look for a message.
const CLOCKS_APART: Duration = Duration::from_secs(300);
/// Messages among which one is looked for; those of one channel since it was sent.
const LOOK_BACK: u32 = 100;

/// How far a send came.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    /// The `ts` of each message that is there.
    sent: Vec<String>,
    /// When the next one was sent that perhaps is there, in milliseconds.
    in_doubt_since: Option<u64>,
}

/// Carries out what bots asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sender<'a> {
    pub(super) api: &'a Api,
    pub(super) memory: &'a Memory,
    pub(super) guard: &'a AddressGuard,
    /// Told when a token was refused.
    pub(super) doubts: &'a Notify,
}

impl Sender<'_> {
    /// Carries out one action.
    pub(super) async fn carry_out(self, task: Task) -> Result<Receipt, DeliveryError> {
        let at = &task.action.at;
        let result = match &task.action.act {
            Act::Send { message, .. } => self.send(at, message, task.key, task.timeout).await,
            Act::Edit { target, message } => {
                let arguments = edit(at, target, message)?;
                harmless(self.call("chat.update", arguments, task.timeout).await, None)
            }
            Act::Delete { target } => {
                let arguments = json!({"channel": at.id, "ts": target});
                harmless(self.call("chat.delete", arguments, task.timeout).await, Some("message_not_found"))
            }
            Act::React { target, emoji } => {
                let arguments = json!({"channel": at.id, "timestamp": target, "name": emoji_name(emoji)?});
                harmless(self.call("reactions.add", arguments, task.timeout).await, Some("already_reacted"))
            }
        };
        if matches!(result, Err(DeliveryError::Unauthorized(_))) {
            self.doubts.notify_one();
        }
        result
    }

    /// Calls a method; once more after joining a channel that anybody may join.
    async fn call(self, method: &str, arguments: Value, timeout: Duration) -> Result<Value, ApiError> {
        let result = self.api.call(method, &arguments, timeout).await;
        match &result {
            Err(error) if error.code() == Some("not_in_channel") => {
                let join = json!({"channel": arguments["channel"]});
                match self.api.call("conversations.join", &join, timeout).await {
                    Ok(_) => self.api.call(method, &arguments, timeout).await,
                    Err(_) => result,
                }
            }
            _ => result,
        }
    }

    /// Sends a text, in as many messages as it takes, and files after it. The receipt names the first message; buttons are under the
    /// last.
    async fn send(
        self,
        at: &Conversation,
        message: &Outgoing<String>,
        key: u64,
        timeout: Duration,
    ) -> Result<Receipt, DeliveryError> {
        let messages = messages(at, message, key)?;
        if messages.is_empty() && message.uploads.is_empty() {
            return Err(DeliveryError::BadRequest("a message without text".to_owned()));
        }
        let name = format!("sent:{key:x}");
        let before = self.memory.get(&name).await;
        let mut progress: Progress =
            before.as_deref().and_then(|kept| serde_json::from_str(kept).ok()).unwrap_or_default();
        let result = self.send_all(messages, &message.uploads, at, &mut progress, timeout).await;
        if result.is_ok() {
            if before.is_some() {
                self.memory.forget(&name).await;
            }
        } else if progress != Progress::default() {
            let kept = serde_json::to_string(&progress).unwrap_or_default();
            self.memory.try_put(&name, kept, Some(PROGRESS_KEPT)).await;
        }
        result
    }

    async fn send_all(
        self,
        messages: Vec<Value>,
        uploads: &[Upload],
        at: &Conversation,
        progress: &mut Progress,
        timeout: Duration,
    ) -> Result<Receipt, DeliveryError> {
        for message in messages.into_iter().skip(progress.sent.len()) {
            let found = match progress.in_doubt_since {
                Some(since) => self.find(&message, Timestamp::from_millis(since), timeout).await?,
                None => None,
            };
            let ts = match found {
                Some(ts) => ts,
                None => {
                    let asked_at = Timestamp::now();
                    match self.call("chat.postMessage", message, timeout).await {
                        Ok(answer) => answer["ts"].as_str().unwrap_or_default().to_owned(),
                        Err(error) => {
                            let error = classify(&error);
                            let is_doubtful = matches!(error, DeliveryError::Uncertain(_));
                            // The first of several tries may be the one that arrived.
                            let since = progress.in_doubt_since.take().unwrap_or(asked_at.as_millis());
                            progress.in_doubt_since = is_doubtful.then_some(since);
                            return Err(error);
                        }
                    }
                }
            };
            progress.in_doubt_since = None;
            progress.sent.push(ts);
        }
        if !uploads.is_empty() {
            self.upload(at, uploads, timeout).await?;
        }
        Ok(Receipt { platform_id: progress.sent.first().filter(|ts| !ts.is_empty()).cloned() })
    }

    /// Returns the `ts` of a message that was perhaps sent before, if it was. A token that may not read says nothing: then it is sent
    /// again, as the operator has chosen for what is uncertain.
    async fn find(self, message: &Value, since: Timestamp, timeout: Duration) -> Result<Option<String>, DeliveryError> {
        let oldest = since.saturating_sub(CLOCKS_APART).as_millis() / 1000;
        let mut arguments = json!({
            "channel": message["channel"], "oldest": format!("{oldest}.000000"), "limit": LOOK_BACK, "include_all_metadata": true,
        });
        let method = match message["thread_ts"].as_str() {
            Some(thread) => {
                arguments["ts"] = json!(thread);
                "conversations.replies"
            }
            None => "conversations.history",
        };
        match self.api.call(method, &arguments, timeout).await {
            Ok(answer) => {
                let key = &message["metadata"]["event_payload"]["key"];
                let mut messages = answer["messages"].as_array().into_iter().flatten();
                let own = messages.find(|found| found["metadata"]["event_payload"]["key"] == *key);
                Ok(own.and_then(|own| own["ts"].as_str()).map(str::to_owned))
            }
            Err(error) => match classify(&error) {
                DeliveryError::Permanent(_) | DeliveryError::BadRequest(_) => Ok(None),
                DeliveryError::Uncertain(why) => Err(DeliveryError::Retryable(why)),
                other => Err(other),
            },
        }
    }

    /// Puts files where Slack wants them, then shows them.
    async fn upload(self, at: &Conversation, uploads: &[Upload], timeout: Duration) -> Result<(), DeliveryError> {
        let mut files = Vec::new();
        for upload in uploads {
            let arguments = json!({"filename": upload.name, "length": upload.content.len()});
            // What was put there and is never shown harms nobody.
            let answer = self.api.call("files.getUploadURLExternal", &arguments, timeout).await.map_err(again)?;
            let url = answer["upload_url"].as_str().and_then(|url| url.parse().ok());
            let (Some(HttpUrl(endpoint)), Some(id)) = (url, answer["file_id"].as_str()) else {
                return Err(DeliveryError::Retryable("Slack named no place for a file".to_owned()));
            };
            let media_type = HeaderValue::try_from(upload.media_type.as_str());
            let media_type = media_type.unwrap_or(HeaderValue::from_static("application/octet-stream"));
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, media_type)]);
            let client = HttpClient::new(endpoint, self.guard.clone());
            let response = client.post_to_endpoint(headers, upload.content.clone(), timeout).await;
            let status = response.map_err(|error| DeliveryError::Retryable(error.to_string()))?.status;
            if !status.is_success() {
                return Err(DeliveryError::Retryable(format!("a file was not taken (HTTP {})", status.as_u16())));
            }
            files.push(json!({"id": id, "title": upload.name}));
        }
        let mut arguments = json!({"files": files, "channel_id": at.id});
        if let Some(thread) = &at.thread {
            arguments["thread_ts"] = json!(thread);
        }
        self.api.call("files.completeUploadExternal", &arguments, timeout).await.map_err(|error| classify(&error))?;
        Ok(())
    }
}

/// Returns the messages that a text becomes, each ready to post.
fn messages(at: &Conversation, message: &Outgoing<String>, key: u64) -> Result<Vec<Value>, DeliveryError> {
    let (text, buttons) = with_buttons(message);
    let pieces = split(&text, Measure::Chars(room(&text, buttons)));
    if pieces.len() > PIECES_MAX {
        return Err(DeliveryError::BadRequest(format!("a text longer than {PIECES_MAX} messages")));
    }
    // What answers a command answers nothing that could be named.
    let answered = message.reply_to.as_deref().filter(|ts| is_ts(ts));
    let thread = at.thread.as_deref().or(answered);
    let last = pieces.len().saturating_sub(1);
    let to_arguments = |(index, piece): (usize, &String)| {
        let mut arguments = body(piece, message.format, if index == last { buttons } else { &[] });
        arguments["channel"] = json!(at.id);
        arguments["metadata"] = json!({"event_type": "bothost", "event_payload": {"key": format!("{key:x}-{index}")}});
        if let Some(thread) = thread {
            arguments["thread_ts"] = json!(thread);
        }
        arguments
    };
    Ok(pieces.iter().enumerate().map(to_arguments).collect())
}

fn edit(at: &Conversation, target: &str, message: &Outgoing<String>) -> Result<Value, DeliveryError> {
    if !message.uploads.is_empty() {
        return Err(DeliveryError::Unsupported("put files into a message that is there"));
    }
    let (text, buttons) = with_buttons(message);
    if text.trim().is_empty() {
        return Err(DeliveryError::BadRequest("a message without text".to_owned()));
    }
    let room = room(&text, buttons);
    if !Measure::Chars(room).fits(&text) {
        return Err(DeliveryError::BadRequest(format!("a text longer than one message of {room} characters")));
    }
    let mut arguments = body(&text, message.format, buttons);
    arguments["channel"] = json!(at.id);
    arguments["ts"] = json!(target);
    if buttons.is_empty() {
        // Those that were there go.
        arguments["blocks"] = json!([]);
    }
    Ok(arguments)
}

/// Returns the text and the buttons that Slack takes; those it does not take are numbered lines of the text.
fn with_buttons(message: &Outgoing<String>) -> (String, &[Vec<Button>]) {
    let fits = |button: &Button| {
        let label = escaped(&button.label).chars().count();
        (1..=LABEL_CHARS_MAX).contains(&label) && button.data.chars().count() <= DATA_CHARS_MAX
    };
    let blocks: usize = message.buttons.iter().map(|row| row.len().div_ceil(BUTTONS_OF_BLOCK_MAX)).sum();
    // Above buttons there is a text.
    if message.buttons.iter().flatten().all(fits) && blocks <= BLOCKS_MAX && !message.text.trim().is_empty() {
        (message.text.clone(), &message.buttons)
    } else {
        (with_numbered(&message.text, &message.buttons), &[])
    }
}

/// Returns how many characters of this text one message holds.
fn room(text: &str, buttons: &[Vec<Button>]) -> usize {
    match buttons.iter().any(|row| !row.is_empty()) {
        false => CHARS_MAX,
        true if escaped(text).len() == text.len() => SECTION_CHARS_MAX,
        true => SECTION_CHARS_MAX / ESCAPED_CHARS_MAX,
    }
}

/// Returns what a message says and shows.
fn body(text: &str, format: TextFormat, buttons: &[Vec<Button>]) -> Value {
    let text = escaped(text);
    let is_marked = format == TextFormat::Markdown;
    let mut body = json!({"text": text, "mrkdwn": is_marked});
    let rows: Vec<_> = buttons.iter().flat_map(|row| row.chunks(BUTTONS_OF_BLOCK_MAX)).collect();
    if !rows.is_empty() {
        let kind = if is_marked { "mrkdwn" } else { "plain_text" };
        let mut blocks = vec![json!({"type": "section", "text": {"type": kind, "text": text}})];
        blocks.extend(rows.iter().enumerate().map(|(number, row)| actions(number, row)));
        body["blocks"] = json!(blocks);
    }
    body
}

fn actions(number: usize, row: &[Button]) -> Value {
    let button = |(index, button): (usize, &Button)| {
        let label = json!({"type": "plain_text", "text": escaped(&button.label)});
        let mut element = json!({"type": "button", "action_id": format!("b{number}-{index}"), "text": label});
        // There is none that says nothing.
        if !button.data.is_empty() {
            element["value"] = json!(button.data);
        }
        element
    };
    json!({"type": "actions", "elements": row.iter().enumerate().map(button).collect::<Vec<_>>()})
}

fn is_ts(text: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('.').is_some_and(|(seconds, number)| is_number(seconds) && is_number(number))
}

/// What people type most, and what Slack calls it.
const EMOJI: [(&str, &str); 16] = [
    ("👍", "thumbsup"),
    ("👎", "thumbsdown"),
    ("❤", "heart"),
    ("😂", "joy"),
    ("😄", "smile"),
    ("😢", "cry"),
    ("🎉", "tada"),
    ("👀", "eyes"),
    ("✅", "white_check_mark"),
    ("❌", "x"),
    ("🚀", "rocket"),
    ("🔥", "fire"),
    ("🙏", "pray"),
    ("👏", "clap"),
    ("⚠", "warning"),
    ("💯", "100"),
];

/// Returns Slack's name of an emoji: as it is given, with or without colons, or of one that people type often.
fn emoji_name(emoji: &str) -> Result<&str, DeliveryError> {
    let emoji = emoji.trim().trim_end_matches('\u{fe0f}');
    if let Some((_, name)) = EMOJI.iter().find(|(known, _)| *known == emoji) {
        return Ok(name);
    }
    let name = emoji.trim_matches(':');
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-+':".contains(&byte);
    if !name.is_empty() && name.bytes().all(fits) {
        Ok(name)
    } else {
        Err(DeliveryError::BadRequest("Slack knows emoji by name, such as `thumbsup`".to_owned()))
    }
}

/// Judges an act that does no harm when it is done twice: it is never uncertain, and that it was done already is success.
fn harmless(result: Result<Value, ApiError>, done_already: Option<&str>) -> Result<Receipt, DeliveryError> {
    match result {
        Ok(_) => Ok(Receipt::default()),
        Err(error) if error.code().is_some_and(|code| Some(code) == done_already) => Ok(Receipt::default()),
        Err(error) => Err(again(error)),
    }
}

fn again(error: ApiError) -> DeliveryError {
    match classify(&error) {
        DeliveryError::Uncertain(why) => DeliveryError::Retryable(why),
        other => other,
    }
}

#[cfg(test)]
mod tests;
