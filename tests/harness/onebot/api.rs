//! The actions that the fake knows. Strict: what is of the wrong type is refused as a real implementation would.

use serde_json::{Value, json};

use super::{Call, Fault, SELF_ID, Shared};

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

fn carry_out(shared: &Shared, action: &str, parameters: &Value) -> Result<Value, (i64, String)> {
    let integer = |key: &str| parameters[key].as_i64().ok_or((1400, format!("{key} is missing or no number")));
    let sent = || message(&parameters["message"]).map(|()| json!({"message_id": shared.next_message_id()}));
    match action {
        "send_group_msg" => integer("group_id").and_then(|_| sent()),
        "send_private_msg" => integer("user_id").and_then(|_| sent()),
        "send_msg" => match parameters["group_id"].as_i64() {
            Some(_) => sent(),
            None => integer("user_id").and_then(|_| sent()),
        },
        "delete_msg" => integer("message_id").map(|_| Value::Null),
        "set_msg_emoji_like" => {
            let is_number =
                parameters["emoji_id"].as_str().is_some_and(|id| id.bytes().all(|byte| byte.is_ascii_digit()));
            if is_number { integer("message_id").map(|_| Value::Null) } else { Err((1400, "emoji_id".to_owned())) }
        }
        "get_login_info" => Ok(json!({"user_id": SELF_ID, "nickname": "fake"})),
        "get_status" => Ok(json!({"online": true, "good": true})),
        "get_version_info" => Ok(json!({"app_name": "fake", "app_version": "1", "protocol_version": "v11"})),
        unknown => Err((1404, format!("no action {unknown}"))),
    }
}

/// Checks a message: a text, or segments whose values are texts.
fn message(message: &Value) -> Result<(), (i64, String)> {
    let is_good = |segment: &Value| {
        segment["type"].is_string()
            && segment["data"].as_object().is_some_and(|data| data.values().all(|value| value.is_string()))
    };
    match message {
        Value::String(text) if !text.is_empty() => Ok(()),
        Value::Array(segments) if !segments.is_empty() && segments.iter().all(is_good) => Ok(()),
        _ => Err((1400, "message is neither a text nor segments".to_owned())),
    }
}
