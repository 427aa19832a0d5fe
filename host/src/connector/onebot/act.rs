//! Carrying out what bots asked for on QQ: which call of the API it is, and what its answer means.

use std::time::Duration;

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::Account;
use super::calls::{Answer, CallError, RETCODE_BAD, RETCODE_UNKNOWN};
use super::event::scalar;
use crate::action::{Act, Outgoing, ResolvedAction, Upload};
use crate::connector::{DeliveryError, Receipt};

/// Carries out one action.
pub(super) async fn carry_out(
    account: &Account,
    action: ResolvedAction,
    timeout: Duration,
) -> Result<Receipt, DeliveryError> {
    let (name, parameters, verb) = request(action)?;
    if !account.is_online() {
        return Err(DeliveryError::Retryable("the QQ account is offline".to_owned()));
    }
    match account.caller.call(name, parameters, timeout).await {
        Ok(answer) => judge(answer, verb),
        Err(error) => Err(unanswered(&error)),
    }
}

/// Returns what became of an action whose call has no answer.
fn unanswered(error: &CallError) -> DeliveryError {
    let said = error.to_string();
    match error {
        CallError::NotConnected | CallError::Unsent(_) => DeliveryError::Retryable(said),
        CallError::Lost | CallError::TimedOut(_) | CallError::Unclear(_) => DeliveryError::Uncertain(said),
        CallError::Refused(_) => DeliveryError::Unauthorized(said),
        CallError::Limited(wait) => DeliveryError::RateLimited(*wait),
    }
}

/// Returns the API's action, its parameters, and what it is called where an implementation does not have it.
fn request(action: ResolvedAction) -> Result<(&'static str, Value, &'static str), DeliveryError> {
    match action.act {
        Act::Send { message, .. } => {
            let (name, key, id) = recipient(&action.at.id)?;
            Ok((name, json!({key: id, "message": segments(&message)?}), "send messages"))
        }
        Act::Edit { .. } => Err(DeliveryError::Unsupported("edit messages")),
        Act::Delete { target } => {
            Ok(("delete_msg", json!({"message_id": number(&target, "message")?}), "delete messages"))
        }
        Act::React { target, emoji } => {
            let parameters =
                json!({"message_id": number(&target, "message")?, "emoji_id": emoji_id(&emoji)?, "set": true});
            // Not of the specification, but of every implementation that can react at all.
            Ok(("set_msg_emoji_like", parameters, "react to messages"))
        }
    }
}

/// Returns a message as an array of segments. Text is never parsed for codes then, whatever it holds.
fn segments(message: &Outgoing<String>) -> Result<Value, DeliveryError> {
    let segment = |kind: &str, key: &str, value: &str| json!({"type": kind, "data": {key: value}});
    let mut segments: Vec<_> = message.reply_to.iter().map(|id| segment("reply", "id", id)).collect();
    if !message.text.is_empty() {
        segments.push(segment("text", "text", &message.text));
    }
    for Upload { media_type, content, .. } in &message.uploads {
        let kind = match media_type.split('/').next() {
            Some("image") => "image",
            Some("audio") => "record",
            Some("video") => "video",
            // Implementations differ in how other files are sent, and none can do it in a message.
            _ => return Err(DeliveryError::Unsupported("send files but images, audio and video")),
        };
        if kind != "image" && message.uploads.len() + segments.len() > 1 {
            // QQ would drop the one or the other.
            return Err(DeliveryError::Unsupported("send audio or video together with anything else"));
        }
        segments.push(segment(kind, "file", &format!("base64://{}", BASE64.encode(content))));
    }
    match segments.is_empty() {
        true => Err(DeliveryError::BadRequest("there is nothing in the message".to_owned())),
        false => Ok(Value::Array(segments)),
    }
}

fn recipient(conversation: &str) -> Result<(&'static str, &'static str, i64), DeliveryError> {
    match conversation.split_once(':') {
        Some(("group", id)) => Ok(("send_group_msg", "group_id", number(id, "group")?)),
        Some(("private", id)) => Ok(("send_private_msg", "user_id", number(id, "user")?)),
        _ => Err(DeliveryError::BadRequest(format!("`{conversation}` is neither `group:ID` nor `private:ID`"))),
    }
}

fn number(id: &str, what: &str) -> Result<i64, DeliveryError> {
    id.parse().map_err(|_| DeliveryError::BadRequest(format!("`{id}` is no OneBot {what}")))
}

/// Returns QQ's number of a reaction: of its own faces the number as given, of an emoji its code point.
fn emoji_id(emoji: &str) -> Result<String, DeliveryError> {
    const VARIATION: char = '\u{fe0f}';
    let mut letters = emoji.trim_end_matches(VARIATION).chars();
    match (letters.next(), letters.next()) {
        _ if !emoji.is_empty() && emoji.bytes().all(|byte| byte.is_ascii_digit()) => Ok(emoji.to_owned()),
        (Some(letter), None) if !letter.is_ascii() => Ok(u32::from(letter).to_string()),
        _ => Err(DeliveryError::Unsupported("react with this emoji")),
    }
}

/// What becomes of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Done,
    BadRequest,
    Unauthorized,
    Unsupported,
    Permanent,
}

/// What a code of an answer means. Those of the protocol are few; what stands here beyond them means the same with most
/// implementations.
const CLASSES: &[(i64, Class)] = &[
    (0, Class::Done),
    // Accepted; what becomes of it is never said.
    (1, Class::Done),
    // A parameter is missing or wrong.
    (100, Class::BadRequest),
    (RETCODE_BAD, Class::BadRequest),
    (1401, Class::Unauthorized),
    (1403, Class::Unauthorized),
    (RETCODE_UNKNOWN, Class::Unsupported),
    // Muted, no friend, not in the group, held back: the codes for it differ, that trying again does not help is common to them.
    (102, Class::Permanent),
    (103, Class::Permanent),
    (1200, Class::Permanent),
    (-1, Class::Permanent),
];

fn judge(answer: Answer, verb: &'static str) -> Result<Receipt, DeliveryError> {
    let known = CLASSES.iter().find(|(code, _)| *code == answer.retcode).map(|(_, class)| *class);
    let class = match answer.status.as_str() {
        "ok" | "async" => Class::Done,
        _ => known.unwrap_or(Class::Permanent),
    };
    let text = || format!("{} (retcode {})", answer.message, answer.retcode).trim_start().to_owned();
    Err(match class {
        Class::Done => return Ok(Receipt { platform_id: answer.data.get("message_id").and_then(scalar) }),
        Class::BadRequest => DeliveryError::BadRequest(text()),
        Class::Unauthorized => DeliveryError::Unauthorized(text()),
        Class::Unsupported => DeliveryError::Unsupported(verb),
        // Some implementations wait for QQ and give up; the message may be there all the same.
        Class::Permanent if answer.message.to_ascii_lowercase().contains("timeout") => DeliveryError::Uncertain(text()),
        Class::Permanent => DeliveryError::Permanent(text()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{Priority, TextFormat};
    use proptest::prelude::*;

    fn check(status: &str, retcode: i64, message: &str) -> Result<Receipt, DeliveryError> {
        let data = json!({"message_id": 5});
        judge(Answer { status: status.to_owned(), retcode, data, message: message.to_owned() }, "fly")
    }

    #[test]
    fn every_code_has_its_class() {
        let receipt = Receipt { platform_id: Some("5".to_owned()) };
        assert_eq!(check("ok", 0, ""), Ok(receipt.clone()));
        assert_eq!(check("async", 1, ""), Ok(receipt.clone()));
        for (code, class) in CLASSES.iter().chain([&(34, Class::Permanent), &(-99, Class::Permanent)]) {
            let is_right = match (check("failed", *code, "x"), class) {
                (Ok(got), Class::Done) => got == receipt,
                (Err(DeliveryError::BadRequest(text)), Class::BadRequest)
                | (Err(DeliveryError::Unauthorized(text)), Class::Unauthorized)
                | (Err(DeliveryError::Permanent(text)), Class::Permanent) => text == format!("x (retcode {code})"),
                (Err(DeliveryError::Unsupported(verb)), Class::Unsupported) => verb == "fly",
                _ => false,
            };
            assert!(is_right, "{code}: {class:?}");
        }
        assert!(matches!(check("failed", 1200, "Timeout: sendMsg"), Err(DeliveryError::Uncertain(_))));
    }

    #[test]
    fn what_has_no_answer_may_be_done_only_if_it_left() {
        let said = || "x".to_owned();
        let second = Duration::from_secs(1);
        for (error, is_right) in [
            (
                CallError::NotConnected,
                (|error| matches!(error, DeliveryError::Retryable(_))) as fn(DeliveryError) -> bool,
            ),
            (CallError::Unsent(said()), |error| matches!(error, DeliveryError::Retryable(_))),
            (CallError::Lost, |error| matches!(error, DeliveryError::Uncertain(_))),
            (CallError::TimedOut(second), |error| matches!(error, DeliveryError::Uncertain(_))),
            (CallError::Unclear(said()), |error| matches!(error, DeliveryError::Uncertain(_))),
            (CallError::Refused(http::StatusCode::FORBIDDEN), |error| matches!(error, DeliveryError::Unauthorized(_))),
            (CallError::Limited(second), |error| error == DeliveryError::RateLimited(Duration::from_secs(1))),
        ] {
            assert!(is_right(unanswered(&error)), "{error:?}");
        }
    }

    fn outgoing(text: &str) -> Outgoing<String> {
        Outgoing {
            text: text.to_owned(),
            format: TextFormat::Plain,
            buttons: Vec::new(),
            uploads: Vec::new(),
            reply_to: None,
            priority: Priority::Normal,
            expires_after: None,
        }
    }

    fn upload(media_type: &str) -> Upload {
        Upload { name: "a".to_owned(), media_type: media_type.to_owned(), content: b"hi".to_vec() }
    }

    #[test]
    fn a_reply_comes_first_then_the_text_then_the_images() {
        let message = Outgoing {
            reply_to: Some("5".to_owned()),
            uploads: vec![upload("image/png"), upload("image/gif")],
            ..outgoing("Sure?")
        };
        let expected = json!([
            {"type": "reply", "data": {"id": "5"}},
            {"type": "text", "data": {"text": "Sure?"}},
            {"type": "image", "data": {"file": "base64://aGk="}},
            {"type": "image", "data": {"file": "base64://aGk="}},
        ]);
        assert_eq!(segments(&message), Ok(expected));
    }

    #[test]
    fn audio_and_video_go_alone_and_other_files_not_at_all() {
        let with = |text: &str, types: &[&str]| {
            segments(&Outgoing { uploads: types.iter().map(|kind| upload(kind)).collect(), ..outgoing(text) })
        };
        for (media_type, kind) in [("audio/ogg", "record"), ("video/mp4", "video")] {
            let expected = json!([{"type": kind, "data": {"file": "base64://aGk="}}]);
            assert_eq!(with("", &[media_type]), Ok(expected));
            for mixed in
                [with("x", &[media_type]), with("", &[media_type, "image/png"]), with("", &["image/png", media_type])]
            {
                assert!(matches!(mixed, Err(DeliveryError::Unsupported(_))), "{mixed:?}");
            }
        }
        assert!(matches!(with("x", &["text/plain"]), Err(DeliveryError::Unsupported(_))));
        assert!(matches!(with("", &[]), Err(DeliveryError::BadRequest(_))));
    }

    proptest! {
        #[test]
        fn no_text_of_a_bot_ever_becomes_a_code(text in ".+") {
            let written = segments(&outgoing(&text));
            prop_assert_eq!(written, Ok(json!([{"type": "text", "data": {"text": text}}])));
        }
    }

    #[test]
    fn a_conversation_says_whom_to_send_to() {
        assert_eq!(recipient("group:5"), Ok(("send_group_msg", "group_id", 5)));
        assert_eq!(recipient("private:7"), Ok(("send_private_msg", "user_id", 7)));
        for bad in ["", "5", "group:", "group:x", "channel:5"] {
            assert!(matches!(recipient(bad), Err(DeliveryError::BadRequest(_))), "{bad}");
        }
    }

    #[test]
    fn an_emoji_is_its_code_point_and_a_face_its_number() {
        assert_eq!(emoji_id("👍"), Ok("128077".to_owned()));
        assert_eq!(emoji_id("❤\u{fe0f}"), Ok("10084".to_owned()));
        assert_eq!(emoji_id("76"), Ok("76".to_owned()));
        for bad in ["", "x", "👍👍", "👩\u{200d}🚀"] {
            assert!(matches!(emoji_id(bad), Err(DeliveryError::Unsupported(_))), "{bad}");
        }
    }
}
