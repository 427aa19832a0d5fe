//! Carrying out what bots asked for on QQ.

use std::time::Duration;

use serde_json::{Value, json};

use super::account::Account;
use super::calls::{Answer, CallError};
use super::segment::{self, scalar};
use crate::action::{Act, ResolvedAction};
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
        Err(error @ CallError::NotConnected) => Err(DeliveryError::Retryable(error.to_string())),
        Err(error @ (CallError::Lost | CallError::TimedOut(_))) => Err(DeliveryError::Uncertain(error.to_string())),
    }
}

/// Returns the API's action, its parameters, and what it is called where an implementation does not have it.
fn request(action: ResolvedAction) -> Result<(&'static str, Value, &'static str), DeliveryError> {
    match action.act {
        Act::Send { message, .. } => {
            if !message.uploads.is_empty() {
                return Err(DeliveryError::Unsupported("send files"));
            }
            let (name, key, id) = recipient(&action.at.id)?;
            Ok((name, json!({key: id, "message": segment::write(&message)}), "send messages"))
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

fn judge(answer: Answer, verb: &'static str) -> Result<Receipt, DeliveryError> {
    let text = || format!("{} (retcode {})", answer.message, answer.retcode).trim_start().to_owned();
    match (answer.status.as_str(), answer.retcode) {
        ("ok", _) | (_, 0 | 1) | ("async", _) => {
            Ok(Receipt { platform_id: answer.data.get("message_id").and_then(scalar) })
        }
        (_, 1400 | 100) => Err(DeliveryError::BadRequest(text())),
        (_, 1401 | 1403) => Err(DeliveryError::Unauthorized(text())),
        (_, 1404) => Err(DeliveryError::Unsupported(verb)),
        // Some implementations wait for QQ and give up; the message may be there all the same.
        _ if answer.message.to_ascii_lowercase().contains("timeout") => Err(DeliveryError::Uncertain(text())),
        // Muted, no friend, not in the group, held back: the codes differ by implementation, that trying again does not
        // help is common to them.
        _ => Err(DeliveryError::Permanent(text())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: &str, retcode: i64, message: &str) -> Result<Receipt, DeliveryError> {
        let data = json!({"message_id": 5});
        judge(Answer { status: status.to_owned(), retcode, data, message: message.to_owned() }, "fly")
    }

    #[test]
    fn every_code_has_its_class() {
        let receipt = Receipt { platform_id: Some("5".to_owned()) };
        assert_eq!(check("ok", 0, ""), Ok(receipt.clone()));
        assert_eq!(check("async", 1, ""), Ok(receipt));
        assert!(matches!(check("failed", 1400, "x"), Err(DeliveryError::BadRequest(_))));
        assert_eq!(check("failed", 1404, "x"), Err(DeliveryError::Unsupported("fly")));
        assert_eq!(check("failed", 120, "muted"), Err(DeliveryError::Permanent("muted (retcode 120)".to_owned())));
        assert!(matches!(check("failed", 1200, "Timeout: sendMsg"), Err(DeliveryError::Uncertain(_))));
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
