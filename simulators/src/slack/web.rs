//! The Web API: what each method takes, and what it refuses.

use std::collections::{HashMap, HashSet};

use hyper::body::Bytes;
use serde_json::{Map, Value, json};

use super::{
    APP_TOKEN, BOT, BOT_TOKEN, BOT_USER, CHANNEL, CLOSED_CHANNEL, DIRECT, File, Inside, STRANGE_CHANNEL, TEAM,
    Workspace, lock,
};
use crate::wire::{Reply, Request};

/// Methods that take a form only.
const FORMS: [&str; 3] = ["conversations.history", "conversations.replies", "files.getUploadURLExternal"];

type Answer = Result<Value, &'static str>;

pub(super) fn answer(workspace: &Workspace, request: &Request) -> Reply {
    if let Some(id) = request.path.strip_prefix("/upload/") {
        return upload(workspace, id, &request.body);
    }
    let method = request.path.strip_prefix("/api/").unwrap_or_default();
    let answer = match arguments(method, request) {
        Ok(arguments) => authorised(workspace, method, request).and_then(|()| call(workspace, method, &arguments)),
        Err(code) => Err(code),
    };
    let body = match answer {
        Ok(Value::Object(mut fields)) => {
            fields.insert("ok".to_owned(), json!(true));
            Value::Object(fields)
        }
        Ok(_) => json!({"ok": true}),
        Err(code) => json!({"ok": false, "error": code}),
    };
    Reply::json(200, &body)
}

fn authorised(workspace: &Workspace, method: &str, request: &Request) -> Result<(), &'static str> {
    let token = request.header("authorization").strip_prefix("Bearer ").ok_or("not_authed")?;
    let of_app = method == "apps.connections.open";
    match token {
        _ if token != BOT_TOKEN && token != APP_TOKEN => Err("invalid_auth"),
        _ if lock(&workspace.inside).is_revoked => Err("token_revoked"),
        _ if (token == APP_TOKEN) != of_app => Err("not_allowed_token_type"),
        _ => Ok(()),
    }
}

fn arguments(method: &str, request: &Request) -> Result<Map<String, Value>, &'static str> {
    let media_type = request.header("content-type").split(';').next().unwrap_or_default();
    match media_type {
        "application/json" if !FORMS.contains(&method) => match request.json() {
            Value::Object(arguments) => Ok(arguments),
            _ => Err("invalid_json"),
        },
        "application/x-www-form-urlencoded" => form(&request.body).ok_or("invalid_form_data"),
        // Without arguments it does not matter.
        _ if request.body.is_empty() => Ok(Map::new()),
        _ => Err("invalid_arguments"),
    }
}

fn form(body: &[u8]) -> Option<Map<String, Value>> {
    let decoded = |text: &str| {
        let (mut bytes, mut rest) = (Vec::new(), text.bytes());
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'+' => b' ',
                b'%' => u8::from_str_radix(std::str::from_utf8(&[rest.next()?, rest.next()?]).ok()?, 16).ok()?,
                other => other,
            });
        }
        String::from_utf8(bytes).ok()
    };
    let pairs = std::str::from_utf8(body).ok()?.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = decoded(value)?;
        // Lists and objects are JSON within a form.
        let json = serde_json::from_str(&value).ok().filter(|json: &Value| json.is_array() || json.is_object());
        Some((decoded(name)?, json.unwrap_or(Value::String(value))))
    });
    pairs.collect()
}

fn upload(workspace: &Workspace, id: &str, body: &Bytes) -> Reply {
    let mut inside = lock(&workspace.inside);
    match inside.files.get_mut(id) {
        Some(file) if file.length == body.len() => {
            file.content = Some(body.clone());
            Reply { body: format!("OK - {}", body.len()), ..Reply::default() }
        }
        Some(_) => Reply { status: 400, body: "length".to_owned(), ..Reply::default() },
        None => Reply { status: 404, ..Reply::default() },
    }
}

fn call(workspace: &Workspace, method: &str, arguments: &Map<String, Value>) -> Answer {
    let inside = &mut *lock(&workspace.inside);
    let given = |name: &str| arguments.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| match arguments.get(name) {
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    match method {
        "auth.test" => Ok(json!({"url": "https://team.slack.com/", "team": "Team", "user": "bot", "team_id": TEAM,
            "user_id": BOT_USER, "bot_id": BOT, "is_enterprise_install": false})),
        "apps.connections.open" => {
            let ticket = format!("ticket{}", inside.next());
            let url = format!("ws://{}/link?ticket={ticket}", workspace.link);
            inside.tickets.insert(ticket);
            Ok(json!({"url": url}))
        }
        "chat.postMessage" => post(inside, arguments),
        "chat.update" => {
            check_content(arguments)?;
            let message = own(inside, given("channel"), given("ts"), "cant_update_message")?;
            message["text"] = arguments.get("text").cloned().unwrap_or_default();
            message["blocks"] = arguments.get("blocks").cloned().unwrap_or_default();
            message["edited"] = json!(true);
            Ok(json!({"channel": given("channel"), "ts": given("ts"), "text": given("text")}))
        }
        "chat.delete" => {
            own(inside, given("channel"), given("ts"), "cant_delete_message")?;
            inside.messages.retain(|message| message["ts"] != given("ts"));
            Ok(json!({"channel": given("channel"), "ts": given("ts")}))
        }
        "reactions.add" => {
            let name = given("name");
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-+':".contains(&byte)) {
                return Err("invalid_name");
            }
            if !is_ts(given("timestamp")) {
                return Err("bad_timestamp");
            }
            let mut messages = inside.messages.iter();
            if !messages.any(|message| message["channel"] == given("channel") && message["ts"] == given("timestamp")) {
                return Err("message_not_found");
            }
            let reaction = (given("channel").to_owned(), given("timestamp").to_owned(), name.to_owned());
            inside.reactions.insert(reaction).then(|| json!({})).ok_or("already_reacted")
        }
        "conversations.join" => match given("channel") {
            channel @ (CHANNEL | STRANGE_CHANNEL) => {
                inside.joined.insert(channel.to_owned());
                Ok(json!({"channel": {"id": channel}}))
            }
            CLOSED_CHANNEL | DIRECT => Err("method_not_supported_for_channel_type"),
            _ => Err("channel_not_found"),
        },
        "conversations.history" => {
            check_channel(inside, given("channel"))?;
            let oldest: f64 = given("oldest").parse().unwrap_or(0.0);
            let is_within = |message: &&Value| {
                let is_reply = message["thread_ts"].is_string() && message["thread_ts"] != message["ts"];
                message["channel"] == given("channel") && !is_reply && seconds(message) >= oldest
            };
            // Newest first.
            Ok(listed(inside.messages.iter().rev().filter(is_within), arguments, number("limit")))
        }
        "conversations.replies" => {
            check_channel(inside, given("channel"))?;
            let thread = given("ts");
            let is_within = |message: &&Value| {
                message["channel"] == given("channel") && (message["ts"] == thread || message["thread_ts"] == thread)
            };
            if !inside.messages.iter().any(|message| message["ts"] == thread) {
                return Err("thread_not_found");
            }
            Ok(listed(inside.messages.iter().filter(is_within), arguments, number("limit")))
        }
        "files.getUploadURLExternal" => {
            let (name, length) = (given("filename"), number("length").unwrap_or(0));
            if name.is_empty() || length == 0 {
                return Err("invalid_arguments");
            }
            let id = format!("F{}", inside.next());
            let length = usize::try_from(length).map_err(|_| "file_upload_size_restricted")?;
            inside.files.insert(id.clone(), File { name: name.to_owned(), length, ..File::default() });
            Ok(json!({"upload_url": format!("{}/upload/{id}", lock(&workspace.web)), "file_id": id}))
        }
        "files.completeUploadExternal" => {
            check_channel(inside, given("channel_id"))?;
            let files = arguments.get("files").and_then(Value::as_array).ok_or("invalid_arguments")?;
            for file in files {
                let known = inside.files.get_mut(file["id"].as_str().unwrap_or_default());
                let known = known.filter(|known| known.content.is_some()).ok_or("file_not_found")?;
                known.shown_in = Some(given("channel_id").to_owned());
            }
            Ok(json!({"files": files}))
        }
        _ => Err("unknown_method"),
    }
}

fn check_channel(inside: &Inside, channel: &str) -> Result<(), &'static str> {
    match channel {
        _ if inside.joined.contains(channel) => Ok(()),
        STRANGE_CHANNEL => Err("not_in_channel"),
        _ => Err("channel_not_found"),
    }
}

fn is_ts(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('.').is_some_and(|(seconds, number)| digits(seconds) && digits(number))
}

fn seconds(message: &Value) -> f64 {
    message["ts"].as_str().and_then(|ts| ts.parse().ok()).unwrap_or_default()
}

fn listed<'a>(messages: impl Iterator<Item = &'a Value>, arguments: &Map<String, Value>, limit: Option<u64>) -> Value {
    let with_metadata =
        arguments.get("include_all_metadata").is_some_and(|with| with == "true" || *with == json!(true));
    let limit = limit.unwrap_or(100).min(999);
    let shown = |message: &Value| {
        let mut message = message.clone();
        if let (false, Some(fields)) = (with_metadata, message.as_object_mut()) {
            fields.remove("metadata");
        }
        message
    };
    json!({"messages": messages.take(usize::try_from(limit).unwrap_or(999)).map(shown).collect::<Vec<_>>(), "has_more": false})
}

/// Returns a message of the bot's own.
fn own<'a>(
    inside: &'a mut Inside,
    channel: &str,
    ts: &str,
    not_mine: &'static str,
) -> Result<&'a mut Value, &'static str> {
    let mut messages = inside.messages.iter_mut();
    let message =
        messages.find(|message| message["channel"] == channel && message["ts"] == ts).ok_or("message_not_found")?;
    if message["user"] == BOT_USER { Ok(message) } else { Err(not_mine) }
}

fn post(inside: &mut Inside, arguments: &Map<String, Value>) -> Answer {
    let channel = arguments.get("channel").and_then(Value::as_str).ok_or("invalid_arguments")?;
    check_channel(inside, channel)?;
    check_content(arguments)?;
    if arguments.get("thread_ts").is_some_and(|thread| !thread.as_str().is_some_and(is_ts)) {
        return Err("invalid_thread_ts");
    }
    if let Some(metadata) = arguments.get("metadata") {
        let is_good = metadata["event_type"].is_string() && metadata["event_payload"].is_object();
        is_good.then_some(()).ok_or("invalid_metadata_format")?;
    }
    let ts = inside.ts();
    let mut message = arguments.clone();
    message.extend(HashMap::from([
        ("ts".to_owned(), json!(ts)),
        ("user".to_owned(), json!(BOT_USER)),
        ("bot_id".to_owned(), json!(BOT)),
        ("type".to_owned(), json!("message")),
    ]));
    inside.messages.push(Value::Object(message.clone()));
    Ok(json!({"channel": channel, "ts": ts, "message": message}))
}

fn check_content(arguments: &Map<String, Value>) -> Result<(), &'static str> {
    let text = arguments.get("text").and_then(Value::as_str).unwrap_or_default();
    let none = Vec::new();
    let blocks = arguments.get("blocks").and_then(Value::as_array).unwrap_or(&none);
    if text.trim().is_empty() && blocks.is_empty() {
        return Err("no_text");
    }
    // The Web API cuts it off; who relies on that loses something.
    if text.chars().count() > 40_000 {
        return Err("msg_too_long");
    }
    if blocks.len() > 50 || !blocks.iter().all(is_good_block) {
        return Err("invalid_blocks");
    }
    Ok(())
}

fn is_good_block(block: &Value) -> bool {
    let length = |value: &Value| value.as_str().map_or(0, |text| text.chars().count());
    match block["type"].as_str() {
        Some("section") => {
            let is_text = ["plain_text", "mrkdwn"].iter().any(|kind| block["text"]["type"] == *kind);
            is_text && (1..=3000).contains(&length(&block["text"]["text"]))
        }
        Some("actions") => {
            let Some(elements) = block["elements"].as_array() else { return false };
            let ids: HashSet<_> = elements.iter().map(|element| element["action_id"].to_string()).collect();
            let is_good = |element: &Value| {
                element["type"] == "button"
                    && element["text"]["type"] == "plain_text"
                    && (1..=75).contains(&length(&element["text"]["text"]))
                    && element.get("value").is_none_or(|value| (1..=2000).contains(&length(value)))
                    && (1..=255).contains(&length(&element["action_id"]))
            };
            (1..=25).contains(&elements.len()) && ids.len() == elements.len() && elements.iter().all(is_good)
        }
        _ => false,
    }
}
