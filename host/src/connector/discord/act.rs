//! Carrying out what bots asked for on Discord. A message bears a nonce that is the same on every try, so that Discord takes it once.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderValue, Method};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::rest::{Rest, RestError, Route};
use crate::action::{Act, Button, Outgoing, Upload};
use crate::connector::deliveries::Task;
use crate::connector::progress::Progress;
use crate::connector::text::{Measure, split, with_numbered};
use crate::connector::{DeliveryError, Receipt};

/// Longest text of a message. Discord counts characters; what JavaScript counts is never less.
const TEXT: Measure = Measure::Utf16(2000);
/// Messages that one text may become.
const PIECES_MAX: usize = 16;
/// Between two pieces a pause up to this long is waited for here. After a longer one another try goes on with the rest.
const PIECE_PAUSE_MAX: Duration = Duration::from_secs(10);
/// Discord knows a nonce for a few minutes; for so long it surely does.
const NONCE_WINDOW: Duration = Duration::from_secs(120);
/// Messages that are remembered as perhaps sent.
const DOUBTS_MAX: usize = 1024;
/// Rows of buttons.
const ROWS_MAX: usize = 5;
/// Buttons in a row.
const COLUMNS_MAX: usize = 5;
const LABEL_CHARS_MAX: usize = 80;
const DATA_CHARS_MAX: usize = 100;
const UPLOADS_MAX: usize = 10;
const MESSAGE_UNKNOWN: u64 = 10008;

/// What earlier tries left behind.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    /// What is there of the actions that broke off.
    progress: Progress,
    doubts: Doubts,
}

/// Actions of which the message that is next is perhaps there, and since when. Within [`NONCE_WINDOW`] that is no matter: sent again, it
/// is recognised. Pure; the caller brings the time.
#[derive(Debug, Default)]
struct Doubts(Mutex<HashMap<u64, Instant>>);

impl Doubts {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, key: u64, now: Instant) {
        let mut doubts = self.lock();
        if doubts.len() >= DOUBTS_MAX
            && let Some(oldest) = doubts.iter().min_by_key(|(_, since)| **since).map(|(key, _)| *key)
        {
            doubts.remove(&oldest);
        }
        doubts.entry(key).or_insert(now);
    }

    fn settle(&self, key: u64) {
        self.lock().remove(&key);
    }

    /// Returns whether a message was perhaps sent so long ago that Discord would take it for another. Says so once: who tries again
    /// all the same wants it sent.
    fn is_stale(&self, key: u64, now: Instant) -> bool {
        let mut doubts = self.lock();
        let is_stale = doubts.get(&key).is_some_and(|since| now.saturating_duration_since(*since) > NONCE_WINDOW);
        if is_stale {
            doubts.remove(&key);
        }
        is_stale
    }
}

/// Carries out one action.
pub(super) async fn carry_out(rest: &Rest, earlier: &Earlier, task: Task) -> Result<Receipt, DeliveryError> {
    let channel = snowflake(task.action.at.thread.as_deref().unwrap_or(&task.action.at.id), "channel")?;
    let to = Destination { rest, earlier, channel, timeout: task.timeout };
    match task.action.act {
        Act::Send { message, .. } => to.send(&message, task.key).await,
        Act::Edit { target, message } => to.edit(&target, &message).await,
        Act::Delete { target } => {
            let route = to.route(Method::DELETE, "delete", &format!("/{}", snowflake(&target, "message")?));
            match to.call(&route, Body::default()).await {
                // It was deleted before, perhaps by us.
                Err(error) if error.is(MESSAGE_UNKNOWN) => Ok(Receipt::default()),
                result => result.map(|_| Receipt::default()).map_err(|error| error.class()),
            }
        }
        Act::React { target, emoji } => {
            let target = snowflake(&target, "message")?;
            // One of a guild's own is written `<:name:id>` in texts and `name:id` here.
            let emoji = emoji.trim_start_matches("<a:").trim_start_matches("<:").trim_end_matches('>');
            let emoji = utf8_percent_encode(emoji, NON_ALPHANUMERIC);
            let route = to.route(Method::PUT, "react", &format!("/{target}/reactions/{emoji}/@me"));
            to.call(&route, Body::json(&json!({}))).await.map_err(|error| error.class())?;
            Ok(Receipt::default())
        }
    }
}

/// Returns an id that is one: it becomes a part of a path.
fn snowflake<'a>(id: &'a str, what: &str) -> Result<&'a str, DeliveryError> {
    if id.parse::<u64>().is_ok_and(|number| number > 0) && id.bytes().all(|byte| byte.is_ascii_digit()) {
        Ok(id)
    } else {
        Err(DeliveryError::BadRequest(format!("`{id}` is no Discord {what}")))
    }
}

/// What a request carries.
#[derive(Default)]
struct Body {
    bytes: Vec<u8>,
    /// Where it is not JSON.
    kind: Option<HeaderValue>,
}

impl Body {
    fn json(value: &Value) -> Self {
        Self { bytes: value.to_string().into_bytes(), kind: None }
    }

    /// Returns a message with its files.
    fn multipart(message: &Value, uploads: &[Upload]) -> Self {
        let boundary = format!("bothost-{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let mut bytes = Vec::new();
        let mut part = |head: String, content: &[u8]| {
            bytes.extend_from_slice(
                format!("--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n").as_bytes(),
            );
            bytes.extend_from_slice(content);
            bytes.extend_from_slice(b"\r\n");
        };
        part("name=\"payload_json\"\r\nContent-Type: application/json".to_owned(), message.to_string().as_bytes());
        for (index, upload) in uploads.iter().enumerate() {
            let name: String =
                upload.name.chars().map(|c| if c.is_control() || "\"\\/".contains(c) { '_' } else { c }).collect();
            // It is refused where it is no media type, and then the file is just a file.
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "!#$&^_.+-/".contains(c);
            let kind = Some(upload.media_type.as_str()).filter(|kind| !kind.is_empty() && kind.chars().all(is_plain));
            let kind = kind.unwrap_or("application/octet-stream");
            part(format!("name=\"files[{index}]\"; filename=\"{name}\"\r\nContent-Type: {kind}"), &upload.content);
        }
        bytes.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        let kind = HeaderValue::from_str(&format!("multipart/form-data; boundary={boundary}"));
        Self { bytes, kind: Some(kind.expect("letters, digits and a few signs")) }
    }
}

/// Where an action goes.
struct Destination<'a> {
    rest: &'a Rest,
    earlier: &'a Earlier,
    channel: &'a str,
    /// How long each call may go without an answer.
    timeout: Duration,
}

impl Destination<'_> {
    fn route(&self, method: Method, name: &'static str, rest: &str) -> Route {
        let path = format!("/channels/{}/messages{rest}", self.channel);
        Route { method, path, name, major: self.channel.to_owned() }
    }

    async fn call(&self, route: &Route, body: Body) -> Result<Value, RestError> {
        self.rest.call(route, body.bytes, body.kind, self.timeout).await
    }

    /// Sends a text, in as many messages as it takes, less those that are there from an earlier try of `key`. The receipt names the first;
    /// buttons and files are with the last.
    async fn send(&self, message: &Outgoing<String>, key: u64) -> Result<Receipt, DeliveryError> {
        if message.uploads.len() > UPLOADS_MAX {
            return Err(DeliveryError::BadRequest(format!("more than {UPLOADS_MAX} files")));
        }
        let (text, components) = shape(message);
        let mut pieces = split(&text, TEXT);
        if pieces.is_empty() && !message.uploads.is_empty() {
            pieces.push(String::new());
        }
        let Some(last) = pieces.len().checked_sub(1) else {
            return Err(DeliveryError::BadRequest("a message without text".to_owned()));
        };
        if last >= PIECES_MAX {
            return Err(DeliveryError::BadRequest(format!("a text longer than {PIECES_MAX} messages")));
        }
        let reply_to = message.reply_to.as_deref().map(|id| snowflake(id, "message")).transpose()?;
        let Earlier { progress, doubts } = self.earlier;
        if doubts.is_stale(key, Instant::now()) {
            return Err(DeliveryError::Uncertain(
                "its answer was lost so long ago that Discord would not recognise it".to_owned(),
            ));
        }
        let route = self.route(Method::POST, "send", "");
        let mut sent = progress.take(key);
        for (index, piece) in pieces.iter().enumerate().skip(sent.count) {
            let mut body = json!({
                "content": piece, "nonce": format!("{key:x}-{index:x}"), "enforce_nonce": true,
                "allowed_mentions": {"parse": [], "replied_user": false},
            });
            if let (0, Some(id)) = (index, reply_to) {
                // The answered message may be gone meanwhile; what is said is worth more than the link to it.
                body["message_reference"] = json!({"message_id": id, "fail_if_not_exists": false});
            }
            let uploads = if index == last { &message.uploads[..] } else { &[] };
            if index == last && !components.is_empty() {
                body["components"] = json!(components);
            }
            match self.send_piece(&route, &body, uploads, index > 0).await {
                Ok(answer) => {
                    sent.add(answer["id"].as_str().map(str::to_owned));
                    doubts.settle(key);
                }
                Err(error) => {
                    if error.is_in_doubt() {
                        doubts.note(key, Instant::now());
                    }
                    return Err(progress.broke_off(key, sent, pieces.len(), error.class()));
                }
            }
        }
        Ok(Receipt { platform_id: sent.first_id })
    }

    /// Sends one message. Of a later piece a short pause is waited for here.
    async fn send_piece(
        &self,
        route: &Route,
        message: &Value,
        uploads: &[Upload],
        may_wait: bool,
    ) -> Result<Value, RestError> {
        let body = || if uploads.is_empty() { Body::json(message) } else { Body::multipart(message, uploads) };
        match self.call(route, body()).await {
            Err(RestError::Limited(wait)) if may_wait && wait <= PIECE_PAUSE_MAX => {
                tokio::time::sleep(wait).await;
                self.call(route, body()).await
            }
            result => result,
        }
    }

    async fn edit(&self, target: &str, message: &Outgoing<String>) -> Result<Receipt, DeliveryError> {
        let (text, components) = shape(message);
        if !TEXT.fits(&text) {
            return Err(DeliveryError::BadRequest("a text longer than one message".to_owned()));
        }
        let route = self.route(Method::PATCH, "edit", &format!("/{}", snowflake(target, "message")?));
        let body = json!({"content": text, "components": components, "allowed_mentions": {"parse": []}});
        let edited = self.call(&route, Body::json(&body)).await.map_err(|error| error.class())?;
        Ok(Receipt { platform_id: edited["id"].as_str().map(str::to_owned) })
    }
}

/// Returns the text and the rows of buttons, wrapped as far as Discord takes no wider and no more rows. Buttons that it would not take
/// even so are numbered lines of the text: to be read only, since a number that somebody types here is a text like any other.
fn shape(message: &Outgoing<String>) -> (String, Vec<Value>) {
    let mut seen = HashSet::new();
    let fits = |button: &Button, seen: &mut HashSet<String>| {
        !button.label.trim().is_empty()
            && (1..=DATA_CHARS_MAX).contains(&button.data.chars().count())
            && seen.insert(button.data.clone())
    };
    let buttons: Vec<_> = message.buttons.iter().flatten().collect();
    let wrapped = message.buttons.iter().flat_map(|row| row.chunks(COLUMNS_MAX));
    let mut rows: Vec<Vec<_>> = wrapped.map(|row| row.iter().collect()).collect();
    if rows.len() > ROWS_MAX {
        rows = buttons.chunks(COLUMNS_MAX).map(<[_]>::to_vec).collect();
    }
    let all_fit = rows.len() <= ROWS_MAX && buttons.iter().all(|button| fits(button, &mut seen));
    if !all_fit {
        return (with_numbered(&message.text, &message.buttons), Vec::new());
    }
    let button = |button: &&Button| {
        let label: String = button.label.chars().take(LABEL_CHARS_MAX).collect();
        json!({"type": 2, "style": 2, "label": label, "custom_id": button.data})
    };
    let row = |row: &Vec<&Button>| json!({"type": 1, "components": row.iter().map(button).collect::<Vec<_>>()});
    (message.text.clone(), rows.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{Priority, TextFormat};

    fn with_buttons(rows: &[&[&str]]) -> Outgoing<String> {
        let button = |data: &&str| Button { label: format!("L{data}"), data: (*data).to_owned() };
        Outgoing {
            text: "Sure?".to_owned(),
            format: TextFormat::Plain,
            buttons: rows.iter().map(|row| row.iter().map(button).collect()).collect(),
            uploads: Vec::new(),
            reply_to: None,
            priority: Priority::Normal,
            expires_after: None,
        }
    }

    #[test]
    fn rows_of_buttons_stay_and_are_wrapped_where_discord_takes_no_wider_or_no_more() {
        let shown = |rows: &[&[&str]]| {
            let (text, rows) = shape(&with_buttons(rows));
            assert_eq!(text, "Sure?");
            let ids = |row: &Value| {
                let buttons = row["components"].as_array().unwrap().iter();
                buttons.map(|button| button["custom_id"].as_str().unwrap().to_owned()).collect::<String>()
            };
            rows.iter().map(ids).collect::<Vec<_>>()
        };
        assert_eq!(shown(&[&["a", "b"], &[], &["c"]]), ["ab", "c"]);
        assert_eq!(shown(&[&["a", "b", "c", "d", "e", "f"], &["g"]]), ["abcde", "f", "g"]);
        assert_eq!(shown(&[&["a"], &["b"], &["c"], &["d"], &["e"], &["f"]]), ["abcde", "f"]);
        let all: Vec<_> = ('a'..='y').map(String::from).collect();
        let all: Vec<_> = all.iter().map(String::as_str).collect();
        assert_eq!(shown(&[&all]), ["abcde", "fghij", "klmno", "pqrst", "uvwxy"]);
    }

    #[test]
    fn buttons_that_discord_would_not_take_are_numbered_lines() {
        let long = "x".repeat(101);
        let many: Vec<_> = ('a'..='z').map(String::from).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let all: [&[&[&str]]; 4] = [&[&many], &[&["a", "a"]], &[&[""]], &[&[&long]]];
        for rows in all {
            let (text, components) = shape(&with_buttons(rows));
            assert!(components.is_empty() && text.starts_with("Sure?\n1. L"), "{rows:?}");
        }
    }

    #[test]
    fn an_id_is_a_number_and_nothing_else() {
        assert_eq!(snowflake("175928847299117063", "channel"), Ok("175928847299117063"));
        for wrong in ["", "0", "+1", "-1", "1/messages", "../1", "abc", "99999999999999999999999"] {
            assert!(matches!(snowflake(wrong, "channel"), Err(DeliveryError::BadRequest(_))), "{wrong}");
        }
    }

    #[test]
    fn a_file_is_named_harmlessly() {
        let upload = Upload {
            name: "a\"\r\n/b.txt".to_owned(),
            media_type: "text/plain\r\nx: y".to_owned(),
            content: b"hi".to_vec(),
        };
        let body = Body::multipart(&json!({}), &[upload]);
        let text = String::from_utf8(body.bytes).unwrap();
        assert!(
            text.contains("filename=\"a____b.txt\"\r\nContent-Type: application/octet-stream\r\n\r\nhi\r\n--bothost-"),
            "{text}"
        );
    }

    #[test]
    fn a_message_is_in_doubt_once_discord_would_no_longer_recognise_it() {
        let (doubts, start) = (Doubts::default(), Instant::now());
        let (soon, late) = (start + NONCE_WINDOW, start + NONCE_WINDOW + Duration::from_secs(1));
        doubts.note(1, start);
        doubts.note(1, soon);
        assert!(!doubts.is_stale(1, soon) && !doubts.is_stale(2, late));
        assert!(doubts.is_stale(1, late), "the first try is what counts");
        assert!(!doubts.is_stale(1, late), "and it is said once");
        doubts.note(1, start);
        doubts.settle(1);
        assert!(!doubts.is_stale(1, late), "it is there");
        for key in 0..2 * DOUBTS_MAX as u64 {
            doubts.note(key, start + Duration::from_nanos(key));
        }
        assert_eq!(doubts.lock().len(), DOUBTS_MAX);
        assert!(doubts.is_stale(2 * DOUBTS_MAX as u64 - 1, late) && !doubts.is_stale(0, late), "the oldest gave way");
    }
}
