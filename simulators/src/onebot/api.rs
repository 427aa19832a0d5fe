//! The actions that the fake knows. Strict: what is of the wrong type is refused as a real implementation would.

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::{Call, Fault, Shared};

/// What is to be said to a call.
pub(super) enum Outcome {
    Answer(Value),
    Silence,
    Disconnect,
}

pub(super) fn call(shared: &Shared, frame: &Value) -> Outcome {
    let action = frame["action"].as_str().unwrap_or_default();
    let parameters = &frame["params"];
    let mut inner = shared.lock();
    inner.calls.push(Call { action: action.to_owned(), parameters: parameters.clone() });
    let fault = inner.faults.get_mut(action).and_then(|faults| faults.pop_front());
    drop(inner);
    let result = match &fault {
        Some(Fault::Fail { retcode, message }) => Err((*retcode, message.clone())),
        _ => carry_out(shared, action, parameters),
    };
    let mut answer = match result {
        Ok(data) => json!({"status": "ok", "retcode": 0, "data": data, "message": "", "wording": ""}),
        Err((retcode, message)) => {
            json!({"status": "failed", "retcode": retcode, "data": null, "message": message, "wording": message})
        }
    };
    if let Some(echo) = frame.get("echo") {
        answer["echo"] = echo.clone();
    }
    match fault {
        Some(Fault::Silence) => Outcome::Silence,
        Some(Fault::Disconnect) => Outcome::Disconnect,
        _ => Outcome::Answer(answer),
    }
}

type Refusal = (i64, String);

fn carry_out(shared: &Shared, action: &str, parameters: &Value) -> Result<Value, Refusal> {
    let integer = |key: &str| parameters[key].as_i64().ok_or((1400, format!("{key} is missing or no number")));
    let known = |key: &str| {
        let id = integer(key)?;
        if shared.lock().messages.contains(&id) { Ok(id) } else { Err((1200, format!("there is no message {id}"))) }
    };
    let sent = || {
        check_message(shared, &parameters["message"])?;
        Ok(json!({"message_id": shared.new_message()}))
    };
    let answered = || {
        let flag = parameters["flag"].as_str().unwrap_or_default();
        if !parameters["approve"].is_boolean() {
            return Err((1400, "approve is no truth value".to_owned()));
        }
        match shared.lock().requests.remove(flag) {
            true => Ok(Value::Null),
            false => Err((1200, format!("there is no request {flag}"))),
        }
    };
    match action {
        "send_group_msg" => integer("group_id").and_then(|_| sent()),
        "send_private_msg" => integer("user_id").and_then(|_| sent()),
        "send_msg" => match parameters["group_id"].as_i64() {
            Some(_) => sent(),
            None => integer("user_id").and_then(|_| sent()),
        },
        "delete_msg" => known("message_id").map(|id| {
            shared.lock().messages.remove(&id);
            Value::Null
        }),
        "set_msg_emoji_like" => {
            let is_number =
                parameters["emoji_id"].as_str().is_some_and(|id| id.bytes().all(|byte| byte.is_ascii_digit()));
            if is_number { known("message_id").map(|_| Value::Null) } else { Err((1400, "emoji_id".to_owned())) }
        }
        "set_friend_add_request" | "set_group_add_request" => answered(),
        "get_login_info" => Ok(json!({"user_id": shared.self_id(), "nickname": "fake"})),
        "get_status" => Ok(json!({"online": !shared.lock().offline, "good": true})),
        "get_version_info" => Ok(json!({"app_name": "fake", "app_version": "1", "protocol_version": "v11"})),
        unknown => Err((1404, format!("no action {unknown}"))),
    }
}

/// Checks a message: a text, or segments whose values are texts.
fn check_message(shared: &Shared, message: &Value) -> Result<(), Refusal> {
    match message {
        Value::String(text) if !text.is_empty() => Ok(()),
        Value::Array(segments) if !segments.is_empty() => {
            let alone = |segment: &Value| matches!(segment["type"].as_str(), Some("record" | "video"));
            if segments.len() > 1 && segments.iter().any(alone) {
                return Err((1200, "audio and video go alone".to_owned()));
            }
            segments.iter().try_for_each(|segment| check_segment(shared, segment))
        }
        _ => Err((1400, "message is neither a text nor segments".to_owned())),
    }
}

fn check_segment(shared: &Shared, segment: &Value) -> Result<(), Refusal> {
    let text = |key: &str| segment["data"][key].as_str().filter(|text| !text.is_empty());
    let is_file = |file: &str| match file.strip_prefix("base64://") {
        Some(content) => BASE64.decode(content.as_bytes()).is_ok(),
        None => file.starts_with("http://") || file.starts_with("https://"),
    };
    let is_good = match segment["type"].as_str().unwrap_or_default() {
        "text" => text("text").is_some(),
        "at" => text("qq").is_some(),
        "face" => text("id").is_some(),
        "image" | "record" | "video" => text("file").is_some_and(is_file),
        "reply" => {
            let id = text("id").and_then(|id| id.parse().ok());
            id.is_some_and(|id: i64| shared.lock().messages.contains(&id))
        }
        _ => false,
    };
    if is_good { Ok(()) } else { Err((1400, format!("a segment that is none: {segment}"))) }
}
