//! The HTTP API: messages, files, reactions and what surrounds them.

use data_encoding::BASE64;
use http::Method;
use serde_json::{Value, json};

use super::state::{Answerable, BOT_ID, File, Inner, Sent, State, now_millis, refusal, written};
use crate::wire::{Reply, Request};

/// Answers to one message.
const ANSWERS_MAX: usize = 5;
/// Longest text, in characters.
const TEXT_CHARS_MAX: usize = 4000;

/// Answers a request that came with a good token.
pub(super) fn answer(state: &State, request: &Request) -> Reply {
    let path = decoded(&request.path);
    let parts: Vec<_> = path.iter().map(String::as_str).collect();
    let (get, post) = (request.method == Method::GET, request.method == Method::POST);
    let (put, delete) = (request.method == Method::PUT, request.method == Method::DELETE);
    match parts[..] {
        ["gateway"] if get => Reply::json(200, &json!({"url": state.gateway_url})),
        ["gateway", "bot"] if get => {
            let inner = state.lock();
            let limit = json!({"total": 1000, "remaining": inner.identifies_left,
                "reset_after": inner.reset_after.as_millis() as u64, "max_concurrency": 1});
            Reply::json(200, &json!({"url": state.gateway_url, "shards": 1, "session_start_limit": limit}))
        }
        ["users", "@me"] if get => {
            Reply::json(200, &json!({"id": BOT_ID, "username": "Bot", "avatar": "", "bot": true}))
        }
        ["v2", "users", id, "messages"] if post => say(state, &format!("c2c:{id}"), request),
        ["v2", "groups", id, "messages"] if post => say(state, &format!("group:{id}"), request),
        ["channels", id, "messages"] if post => say(state, &format!("channel:{id}"), request),
        ["dms", id, "messages"] if post => say(state, &format!("dm:{id}"), request),
        ["v2", "users", id, "files"] if post => take_file(state, &format!("c2c:{id}"), &request.json()),
        ["v2", "groups", id, "files"] if post => take_file(state, &format!("group:{id}"), &request.json()),
        ["v2", "users", id, "messages", message] if delete => recall(state, &format!("c2c:{id}"), message),
        ["v2", "groups", id, "messages", message] if delete => recall(state, &format!("group:{id}"), message),
        ["channels", id, "messages", message] if delete => recall(state, &format!("channel:{id}"), message),
        ["dms", id, "messages", message] if delete => recall(state, &format!("dm:{id}"), message),
        ["channels", id, "messages", message, "reactions", "1" | "2", emoji] if put => {
            let is_there = state.lock().answerable.get(message).is_some_and(|it| it.place == format!("channel:{id}"));
            if is_there && emoji.bytes().all(|byte| byte.is_ascii_digit()) {
                Reply { status: 204, ..Reply::default() }
            } else {
                refusal(400, 50035, "invalid reaction")
            }
        }
        ["interactions", id] if put => {
            let mut inner = state.lock();
            let Some(place) = inner.interactions.iter().position(|own| own == id) else {
                return refusal(400, 630_006, "unknown interaction");
            };
            inner.interactions.remove(place);
            Reply { status: 204, ..Reply::default() }
        }
        _ => refusal(404, 0, "no such path"),
    }
}

/// Returns the parts of a path, decoded.
fn decoded(path: &str) -> Vec<String> {
    let part = |part: &str| {
        let (mut bytes, mut rest) = (Vec::new(), part.as_bytes());
        while let Some((first, after)) = rest.split_first() {
            let hex = (*first == b'%').then(|| after.get(..2)).flatten();
            let byte = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
            bytes.push(byte.unwrap_or(*first));
            rest = if byte.is_some() { &after[2..] } else { after };
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    path.trim_start_matches('/').split('/').map(part).collect()
}

fn say(state: &State, place: &str, request: &Request) -> Reply {
    if !request.header("content-type").starts_with("application/json") {
        return refusal(400, 50035, "the body is no JSON");
    }
    let (body, number) = (request.json(), state.next());
    let mut inner = state.lock();
    if let Err(reply) = judge(&mut inner, place, &body) {
        return reply;
    }
    let id = format!("ROBOT1.0_out{number}!");
    inner.sent.push(Sent { place: place.to_owned(), id: id.clone(), body: body.clone() });
    let timestamp = written(now_millis());
    let Some((_, guild)) = place.split_once(':').filter(|_| is_of_guild(place)) else {
        return Reply::json(200, &json!({"id": id, "timestamp": timestamp}));
    };
    Reply::json(
        200,
        &json!({"id": id, "timestamp": timestamp, "channel_id": guild, "guild_id": "guild", "content": body["content"],
            "author": {"id": BOT_ID, "username": "Bot", "bot": true}}),
    )
}

fn is_of_guild(place: &str) -> bool {
    place.starts_with("channel:") || place.starts_with("dm:")
}

/// Refuses what the platform would, in its order; the number of the answer is taken where it does not.
fn judge(inner: &mut Inner, place: &str, body: &Value) -> Result<(), Reply> {
    let is_of_guild = is_of_guild(place);
    let text = body["content"].as_str().unwrap_or_default();
    let markdown = body["markdown"]["content"].as_str().unwrap_or_default();
    let has_body = match body["msg_type"].as_u64() {
        _ if is_of_guild => !text.is_empty() || !markdown.is_empty(),
        Some(0) => !text.is_empty(),
        Some(2) => !markdown.is_empty(),
        Some(7) => inner.files.iter().any(|file| body["media"]["file_info"] == *file.info && file.place == place),
        _ => return Err(refusal(400, 50035, "invalid msg_type")),
    };
    if !has_body {
        return Err(refusal(400, 50006, "message is empty"));
    }
    if text.chars().count() > TEXT_CHARS_MAX {
        return Err(refusal(400, 40_054_007, "message is too long"));
    }
    if text.contains("https://") || text.contains("http://") {
        let code = if is_of_guild { 304_003 } else { 40_054_010 };
        return Err(refusal(400, code, "url not allowed"));
    }
    let of_message = body["msg_id"].as_str();
    let Some(id) = of_message.or_else(|| body["event_id"].as_str()) else {
        let code = if is_of_guild { 304_046 } else { 40_034_102 };
        return Err(refusal(400, code, "active messages are not allowed"));
    };
    let Some(answerable) = inner.answerable.get_mut(id).filter(|answerable| answerable.place == place) else {
        let code = if is_of_guild { 304_026 } else { 40_034_024 };
        return Err(refusal(400, code, "invalid msg_id"));
    };
    if answerable.until <= now_millis() {
        let code = if is_of_guild { 304_027 } else { 40_034_128 };
        return Err(refusal(400, code, "msg_id is too old"));
    }
    number(answerable, is_of_guild, body)
}

/// Takes the number of an answer: guilds have none and count.
fn number(answerable: &mut Answerable, is_of_guild: bool, body: &Value) -> Result<(), Reply> {
    let number = match &body["msg_seq"] {
        Value::Null => 1,
        number => number.as_u64().ok_or_else(|| refusal(400, 50035, "invalid msg_seq"))?,
    };
    if !is_of_guild && answerable.numbers.contains(&number) {
        return Err(refusal(400, 40_054_005, "消息被去重，请检查请求msgseq"));
    }
    if answerable.numbers.len() >= ANSWERS_MAX {
        return Err(refusal(400, 40_034_024, "too many answers to this msg_id"));
    }
    answerable.numbers.push(number);
    Ok(())
}

fn take_file(state: &State, place: &str, body: &Value) -> Reply {
    let content = body["file_data"].as_str().and_then(|data| BASE64.decode(data.as_bytes()).ok());
    let (Some(kind @ 1..=4), Some(content), Some(false)) =
        (body["file_type"].as_u64(), content, body["srv_send_msg"].as_bool())
    else {
        return refusal(400, 50035, "invalid file");
    };
    let info = format!("file-{}", state.next());
    state.lock().files.push(File { info: info.clone(), place: place.to_owned(), kind, content });
    Reply::json(200, &json!({"file_uuid": info, "file_info": info, "ttl": 3600}))
}

fn recall(state: &State, place: &str, message: &str) -> Reply {
    let mut inner = state.lock();
    let Some(index) = inner.sent.iter().position(|sent| sent.place == place && sent.id == message) else {
        return refusal(400, 50015, "no such message");
    };
    inner.sent.remove(index);
    Reply { status: if is_of_guild(place) { 204 } else { 200 }, ..Reply::default() }
}
