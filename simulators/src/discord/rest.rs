//! The REST half: what is asked, and what is wrong with it.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use super::BOT_ID;
use super::state::State;
use crate::wire::{Book, Platform, Reply, Request};

const CONTENT_CHARS_MAX: usize = 2000;
const NONCE_CHARS_MAX: usize = 25;
const FILES_MAX: usize = 10;

/// What a path asks for.
enum Route<'a> {
    Gateway,
    Me,
    Application,
    Send(&'a str),
    Message(&'a str, &'a str),
    React(&'a str, &'a str, &'a str),
    Callback(&'a str, &'a str),
    Original(&'a str),
    Unknown,
}

fn route(request: &Request) -> Route<'_> {
    let path = request.path.strip_prefix("/api/v10/").unwrap_or_default();
    let parts: Vec<_> = path.split('/').collect();
    match (request.method.clone(), &parts[..]) {
        (Method::GET, ["gateway", "bot"]) => Route::Gateway,
        (Method::GET, ["users", "@me"]) => Route::Me,
        (Method::GET, ["oauth2", "applications", "@me"]) => Route::Application,
        (Method::POST, ["channels", channel, "messages"]) => Route::Send(channel),
        (Method::PATCH | Method::DELETE, ["channels", channel, "messages", id]) => Route::Message(channel, id),
        (Method::PUT, ["channels", channel, "messages", id, "reactions", emoji, "@me"]) => {
            Route::React(channel, id, emoji)
        }
        (Method::POST, ["interactions", id, token, "callback"]) => Route::Callback(id, token),
        (Method::DELETE, ["webhooks", BOT_ID, token, "messages", "@original"]) => Route::Original(token),
        _ => Route::Unknown,
    }
}

fn refuse(status: u16, code: u64, message: &str) -> Reply {
    Reply::json(status, &json!({"message": message, "code": code}))
}

fn invalid(field: &str, why: &str) -> Reply {
    let errors = json!({field: {"_errors": [{"code": "INVALID", "message": why}]}});
    Reply::json(400, &json!({"message": "Invalid Form Body", "code": 50035, "errors": errors}))
}

impl Platform for State {
    fn book(&self) -> &Book {
        &self.book
    }

    fn operation(&self, request: &Request) -> String {
        let name = match route(request) {
            Route::Gateway => "gateway",
            Route::Me | Route::Application => "me",
            Route::Send(_) => "send",
            Route::Message(..) if request.method == Method::PATCH => "edit",
            Route::Message(..) => "delete",
            Route::React(..) => "react",
            Route::Callback(..) => "callback",
            Route::Original(_) => "followup",
            Route::Unknown => "unknown",
        };
        name.to_owned()
    }

    async fn answer(&self, request: Request) -> Reply {
        if !request.header("user-agent").starts_with("DiscordBot (") {
            return Reply::html(403);
        }
        let route = route(&request);
        let is_open = matches!(route, Route::Callback(..) | Route::Original(_));
        let token = self.lock().token.clone();
        if !is_open && token.map(|token| format!("Bot {token}")).as_deref() != Some(request.header("authorization")) {
            return refuse(401, 0, "401: Unauthorized");
        }
        let major = match route {
            Route::Send(channel) | Route::Message(channel, _) | Route::React(channel, ..) => channel,
            _ => "",
        };
        let bucket = self.operation(&request);
        let headers = match self.take(&format!("{bucket}:{major}")) {
            Ok(headers) => headers,
            Err(reply) => return reply,
        };
        let reply = match route {
            Route::Gateway => self.gateway(),
            Route::Me => Reply::json(200, &self.author()),
            Route::Application => Reply::json(
                200,
                &json!({"id": BOT_ID, "name": "echo", "icon": null, "description": "",
                "bot_public": true, "bot_require_code_grant": false, "verify_key": "", "flags": 0, "owner": self.author()}),
            ),
            Route::Send(channel) => self.send(channel, &request),
            Route::Message(channel, id) => self.change(channel, id, &request),
            Route::React(channel, id, emoji) => self.react(channel, id, emoji),
            Route::Callback(id, token) => self.callback(id, token, &request),
            Route::Original(token) => self.withdraw(token),
            Route::Unknown => refuse(404, 0, "404: Not Found"),
        };
        headers
            .into_iter()
            .fold(reply, |reply, (name, value)| reply.with(name, value))
            .with("x-ratelimit-bucket", bucket)
    }
}

impl State {
    /// Takes one request out of a bucket.
    fn take(&self, key: &str) -> Result<[(&'static str, String); 4], Reply> {
        let now = Instant::now();
        let mut inner = self.lock();
        let (limit, window) = inner.limit;
        let (left, until) = inner.buckets.entry(key.to_owned()).or_insert((limit, now + window));
        if *until <= now {
            (*left, *until) = (limit, now + window);
        }
        let wait = until.saturating_duration_since(now);
        let Some(rest) = left.checked_sub(1) else { return Err(too_many(wait, "user")) };
        *left = rest;
        Ok([
            ("x-ratelimit-limit", limit.to_string()),
            ("x-ratelimit-remaining", rest.to_string()),
            ("x-ratelimit-reset-after", format!("{:.3}", wait.as_secs_f64())),
            ("x-ratelimit-reset", "4102444800.000".to_owned()),
        ])
    }

    fn gateway(&self) -> Reply {
        let inner = self.lock();
        let limit = json!({"total": 1000, "remaining": inner.remaining, "max_concurrency": inner.max_concurrency,
            "reset_after": inner.reset_after.as_millis() as u64});
        Reply::json(200, &json!({"url": inner.url, "shards": inner.shards, "session_start_limit": limit}))
    }

    fn send(&self, channel: &str, request: &Request) -> Reply {
        let (body, files) = match payload(request) {
            Ok(read) => read,
            Err(reply) => return reply,
        };
        if !self.lock().channels.contains_key(channel) {
            return refuse(404, 10003, "Unknown Channel");
        }
        if let Some(reply) = wrong(&body, files.len()) {
            return reply;
        }
        let nonce = body["nonce"].as_str().map(str::to_owned);
        if let Some(nonce) = &nonce
            && body["enforce_nonce"] == true
            && let Some(earlier) = self.lock().nonces.get(&(channel.to_owned(), nonce.clone()))
        {
            return Reply::json(200, earlier);
        }
        let guild = self.lock().channels.get(channel).cloned().flatten();
        let attachments: Vec<_> = files
            .iter()
            .enumerate()
            .map(|(id, (name, bytes))| {
                json!({"id": id.to_string(), "filename": name, "size": bytes.len(),
                "url": format!("https://cdn/{name}"), "proxy_url": format!("https://cdn/{name}")})
            })
            .collect();
        let mut message = json!({
            "id": self.snowflake(), "channel_id": channel, "type": 0, "content": body["content"].as_str().unwrap_or_default(),
            "author": self.author(), "timestamp": "2026-01-01T00:00:00.000000+00:00", "edited_timestamp": null, "tts": false,
            "mention_everyone": false, "mentions": [], "mention_roles": [], "attachments": attachments, "embeds": [], "pinned": false,
            "flags": 0, "components": body.get("components").cloned().unwrap_or_else(|| json!([])),
        });
        for key in ["nonce", "message_reference"] {
            if let Some(value) = body.get(key) {
                message[key] = value.clone();
            }
        }
        let mut inner = self.lock();
        inner.messages.push(message.clone());
        if let Some(nonce) = nonce {
            inner.nonces.insert((channel.to_owned(), nonce), message.clone());
        }
        drop(inner);
        let mut told = message.clone();
        if let Some(guild) = guild {
            told["guild_id"] = json!(guild);
        }
        self.dispatch("MESSAGE_CREATE", told);
        Reply::json(200, &message)
    }

    fn change(&self, channel: &str, id: &str, request: &Request) -> Reply {
        let mut inner = self.lock();
        let Some(at) =
            inner.messages.iter().position(|message| message["id"] == id && message["channel_id"] == channel)
        else {
            return refuse(404, 10008, "Unknown Message");
        };
        if request.method == Method::DELETE {
            inner.messages.remove(at);
            return Reply { status: 204, ..Reply::default() };
        }
        let body = request.json();
        if let Some(reply) = wrong(&body, 0) {
            return reply;
        }
        for key in ["content", "components"] {
            if let Some(value) = body.get(key) {
                inner.messages[at][key] = value.clone();
            }
        }
        Reply::json(200, &inner.messages[at])
    }

    fn react(&self, channel: &str, id: &str, emoji: &str) -> Reply {
        if !self.lock().channels.contains_key(channel) {
            return refuse(404, 10003, "Unknown Channel");
        }
        let encoded = emoji.starts_with('%') || emoji.contains("%3A");
        if !encoded || id.parse::<u64>().is_err() {
            return refuse(400, 10014, "Unknown Emoji");
        }
        Reply { status: 204, ..Reply::default() }
    }

    fn callback(&self, id: &str, token: &str, request: &Request) -> Reply {
        let body = request.json();
        let mut inner = self.lock();
        match inner.interactions.get_mut(id) {
            Some((own, _)) if own != token => refuse(404, 10062, "Unknown interaction"),
            None => refuse(404, 10062, "Unknown interaction"),
            Some((_, true)) => refuse(400, 40060, "Interaction has already been acknowledged."),
            Some((_, answered)) => {
                if !matches!(body["type"].as_u64(), Some(1 | 4..=9)) {
                    return invalid("type", "Not a valid value.");
                }
                *answered = true;
                inner.callbacks.push((id.to_owned(), body));
                Reply { status: 204, ..Reply::default() }
            }
        }
    }

    fn withdraw(&self, token: &str) -> Reply {
        let mut inner = self.lock();
        let Some(id) = inner.interactions.iter().find(|(_, (own, _))| own == token).map(|(id, _)| id.clone()) else {
            return refuse(404, 10015, "Unknown Webhook");
        };
        inner.withdrawn.push(id);
        Reply { status: 204, ..Reply::default() }
    }
}

/// Returns the refusal of a request that came too soon.
fn too_many(wait: Duration, scope: &str) -> Reply {
    let body = json!({"message": "You are being rate limited.", "retry_after": wait.as_secs_f64(), "global": scope == "global"});
    Reply::json(429, &body)
        .with("x-ratelimit-scope", scope)
        .with("x-ratelimit-remaining", 0)
        .with("x-ratelimit-reset-after", format!("{:.3}", wait.as_secs_f64()))
        .with("retry-after", wait.as_secs() + 1)
}

type Files = Vec<(String, Vec<u8>)>;

/// Returns the JSON of a message and the files that came with it.
fn payload(request: &Request) -> Result<(Value, Files), Reply> {
    let kind = request.header("content-type");
    let Some(boundary) = kind.strip_prefix("multipart/form-data; boundary=") else {
        return match request.json() {
            Value::Object(fields) => Ok((Value::Object(fields), Vec::new())),
            _ => Err(refuse(400, 50109, "The request body contains invalid JSON.")),
        };
    };
    let broken = || refuse(400, 50035, "Invalid Form Body");
    let (mut json, mut files) = (Value::Null, Vec::new());
    for (head, body) in parts(&request.body, boundary.trim_matches('"')).ok_or_else(broken)? {
        let name = quoted(&head, " name=").ok_or_else(broken)?;
        if name == "payload_json" {
            json = serde_json::from_slice(&body).map_err(|_| broken())?;
        } else if name == format!("files[{}]", files.len()) {
            files.push((quoted(&head, "filename=").ok_or_else(broken)?, body));
        } else {
            return Err(broken());
        }
    }
    if json.is_object() { Ok((json, files)) } else { Err(broken()) }
}

fn parts(body: &[u8], boundary: &str) -> Option<Vec<(String, Vec<u8>)>> {
    let find = |hay: &[u8], needle: &[u8]| hay.windows(needle.len()).position(|window| window == needle);
    let between = format!("\r\n--{boundary}");
    let mut rest = body.strip_prefix(format!("--{boundary}").as_bytes())?;
    let mut found = Vec::new();
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        let head = find(part, b"\r\n\r\n")?;
        let end = find(part, between.as_bytes())?;
        found.push((String::from_utf8(part[..head].to_vec()).ok()?, part.get(head + 4..end)?.to_vec()));
        rest = &part[end + between.len()..];
    }
    rest.starts_with(b"--").then_some(found)
}

fn quoted(head: &str, key: &str) -> Option<String> {
    Some(head.split_once(key)?.1.strip_prefix('"')?.split_once('"')?.0.to_owned())
}

/// Returns the refusal of a message that is not as one must be.
fn wrong(body: &Value, files: usize) -> Option<Reply> {
    let content = body["content"].as_str().unwrap_or_default();
    if !(body["content"].is_string() || body["content"].is_null()) {
        return Some(invalid("content", "Could not interpret as string."));
    }
    if content.chars().count() > CONTENT_CHARS_MAX {
        return Some(invalid("content", "Must be 2000 or fewer in length."));
    }
    if content.trim().is_empty() && files == 0 {
        return Some(refuse(400, 50006, "Cannot send an empty message"));
    }
    if files > FILES_MAX {
        return Some(invalid("files", "Must be 10 or fewer in length."));
    }
    let nonce = &body["nonce"];
    if nonce.as_str().is_some_and(|nonce| nonce.chars().count() > NONCE_CHARS_MAX) {
        return Some(invalid("nonce", "Must be 25 or fewer in length."));
    }
    let mentions = &body["allowed_mentions"];
    if !mentions.is_null() && !mentions["parse"].is_array() {
        return Some(invalid("allowed_mentions", "Only dictionaries may be used."));
    }
    let reference = &body["message_reference"];
    if !reference.is_null() && reference["message_id"].as_str().is_none_or(|id| id.parse::<u64>().is_err()) {
        return Some(invalid("message_reference", "Value is not snowflake."));
    }
    wrong_components(&body["components"])
}

fn wrong_components(components: &Value) -> Option<Reply> {
    let rows = components.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut seen = HashSet::new();
    let is_button = |button: &Value, seen: &mut HashSet<String>| {
        let id = button["custom_id"].as_str().unwrap_or_default();
        button["type"] == 2
            && (1..=4).contains(&button["style"].as_u64().unwrap_or_default())
            && (1..=80).contains(&button["label"].as_str().unwrap_or_default().chars().count())
            && (1..=100).contains(&id.chars().count())
            && seen.insert(id.to_owned())
    };
    let is_row = |row: &Value, seen: &mut HashSet<String>| {
        let buttons = row["components"].as_array().map(Vec::as_slice).unwrap_or_default();
        row["type"] == 1 && (1..=5).contains(&buttons.len()) && buttons.iter().all(|button| is_button(button, seen))
    };
    let good = rows.len() <= 5 && rows.iter().all(|row| is_row(row, &mut seen));
    (!good).then(|| invalid("components", "Invalid component."))
}
