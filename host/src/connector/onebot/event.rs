//! Frames of an implementation: which are answers, which are for the connector itself, and which are events. Pure.

use std::time::Duration;

use serde_json::Value;

use super::calls::Answer;
use super::segment::{self, scalar};
use crate::clock::Timestamp;
use crate::connector::link::brief;
use crate::event::{Conversation, ConversationKind, Event, EventKind, Membership, Message, User};
use crate::id::{ConnectorName, ContentHash};

/// Larger JSON of one event is not passed on; the event is.
const RAW_BYTES_MAX: usize = 256 << 10;

/// What a text frame is.
#[derive(Debug)]
pub(super) enum Frame {
    /// The answer to the call with this echo.
    Answer { echo: Value, answer: Answer },
    /// The implementation lives, and will say so again after `interval`.
    Heartbeat { interval: Duration, online: bool },
    /// Something for the host.
    Event(Box<Event>),
    /// Of no interest: the account's own messages, the life cycle of the implementation, what is no frame at all.
    Nothing,
}

/// Reads a text frame.
pub(super) fn read(connector: &ConnectorName, text: &str) -> Frame {
    let Ok(frame) = serde_json::from_str::<Value>(text) else { return Frame::Nothing };
    let Some(post_type) = frame.get("post_type").and_then(Value::as_str) else { return read_answer(frame) };
    let kind = match post_type {
        "meta_event" => return read_meta(&frame),
        "message_sent" => return Frame::Nothing,
        "message" => read_message(connector, &frame),
        "notice" => Some(read_notice(connector, &frame)),
        "request" => Some(EventKind::Custom { name: dotted(&["request", field(&frame, "request_type")]) }),
        other => Some(EventKind::Custom { name: other.to_owned() }),
    };
    let Some(kind) = kind else { return Frame::Nothing };
    let event = Event {
        platform_id: Some(platform_id(&frame, post_type, text)),
        raw: (text.len() <= RAW_BYTES_MAX).then(|| text.to_owned()),
        ..Event::now(Some(connector.clone()), kind)
    };
    Frame::Event(Box::new(event))
}

fn read_answer(mut frame: Value) -> Frame {
    let Some(echo) = frame.get_mut("echo").map(Value::take).filter(|echo| !echo.is_null()) else {
        return Frame::Nothing;
    };
    let message = [field(&frame, "wording"), field(&frame, "message")].into_iter().find(|text| !text.is_empty());
    let answer = Answer {
        status: field(&frame, "status").to_owned(),
        retcode: frame.get("retcode").and_then(Value::as_i64).unwrap_or(-1),
        message: message.map(brief).unwrap_or_default(),
        data: frame.get_mut("data").map(Value::take).unwrap_or_default(),
    };
    Frame::Answer { echo, answer }
}

fn read_meta(frame: &Value) -> Frame {
    if field(frame, "meta_event_type") != "heartbeat" {
        return Frame::Nothing;
    }
    let interval = frame.get("interval").and_then(Value::as_u64).unwrap_or_default();
    // Absent or null: the implementation cannot say.
    let is_false = |key: &str| frame.pointer(key).and_then(Value::as_bool) == Some(false);
    let online = !(is_false("/status/online") || is_false("/status/good"));
    Frame::Heartbeat { interval: Duration::from_millis(interval), online }
}

/// Returns a text field, empty where there is none.
fn field<'a>(frame: &'a Value, key: &str) -> &'a str {
    frame.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Returns an id, which is a number by the specification and a string with some; empty where there is none.
fn id(frame: &Value, key: &str) -> String {
    frame.get(key).and_then(scalar).unwrap_or_default()
}

fn dotted(parts: &[&str]) -> String {
    parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(".")
}

/// Returns an id that is the same when the same thing comes again. A message's own id may begin anew when an implementation
/// loses its database, so that time and place are part of it; a notice has none, so that all of it counts.
fn platform_id(frame: &Value, post_type: &str, text: &str) -> String {
    let flag = field(frame, "flag");
    match post_type {
        "message" => {
            let (self_id, message_id, time) = (id(frame, "self_id"), id(frame, "message_id"), id(frame, "time"));
            format!("{self_id}:{}:{message_id}:{time}", conversation_id(frame))
        }
        "request" if !flag.is_empty() => format!("{}:request:{flag}", id(frame, "self_id")),
        _ => format!("{}:{post_type}:{}", id(frame, "self_id"), ContentHash::of(text.as_bytes())),
    }
}

fn conversation_id(frame: &Value) -> String {
    let group = id(frame, "group_id");
    if group.is_empty() { format!("private:{}", id(frame, "user_id")) } else { format!("group:{group}") }
}

fn conversation(connector: &ConnectorName, frame: &Value) -> Conversation {
    let is_group = frame.get("group_id").is_some_and(|group| !group.is_null());
    let title = Some(field(frame, "group_name")).filter(|name| !name.is_empty()).map(str::to_owned);
    Conversation {
        connector: connector.clone(),
        id: conversation_id(frame),
        kind: if is_group { ConversationKind::Group } else { ConversationKind::Direct },
        title,
        thread: None,
    }
}

fn sender(frame: &Value) -> User {
    let sender = frame.get("sender").unwrap_or(&Value::Null);
    let name = [field(sender, "card"), field(sender, "nickname")].into_iter().find(|name| !name.is_empty());
    User { id: id(frame, "user_id"), name: name.map(str::to_owned), is_bot: false }
}

/// Reads a message; none if the account itself wrote it.
fn read_message(connector: &ConnectorName, frame: &Value) -> Option<EventKind> {
    let self_id = id(frame, "self_id");
    let sender = sender(frame);
    if sender.id == self_id {
        return None;
    }
    let content = segment::content(&segment::read(frame.get("message").unwrap_or(&Value::Null)), &self_id);
    let conversation = conversation(connector, frame);
    let seconds = frame.get("time").and_then(Value::as_u64).unwrap_or_default();
    Some(EventKind::Message(Message {
        id: id(frame, "message_id"),
        addressed: content.mentions_self || conversation.kind == ConversationKind::Direct,
        conversation,
        sender,
        text: content.text,
        attachments: content.attachments,
        reply_to: content.reply_to,
        sent_at: Timestamp::from_millis(seconds.saturating_mul(1000)),
        reply_deadline: None,
    }))
}

fn read_notice(connector: &ConnectorName, frame: &Value) -> EventKind {
    let change = match (field(frame, "notice_type"), field(frame, "sub_type")) {
        ("group_increase", _) => Membership::Joined,
        ("group_decrease", "kick" | "kick_me") => Membership::Removed,
        ("group_decrease", _) => Membership::Left,
        ("notify", sub_type) => return EventKind::Custom { name: dotted(&["notify", sub_type]) },
        (notice_type, _) => return EventKind::Custom { name: dotted(&["notice", notice_type]) },
    };
    let member = User { id: id(frame, "user_id"), name: None, is_bot: false };
    EventKind::Member { conversation: conversation(connector, frame), member, change }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(frame: Value) -> Frame {
        read(&"qq".parse().unwrap(), &frame.to_string())
    }

    fn event(frame: Value) -> Event {
        match check(frame) {
            Frame::Event(event) => *event,
            other => panic!("{other:?}"),
        }
    }

    fn group_message(message: Value) -> Value {
        json!({"time": 1_700_000_000, "self_id": 10, "post_type": "message", "message_type": "group", "group_id": 5,
            "user_id": 7, "message_id": -9, "message": message, "sender": {"nickname": "ann", "card": "Ann"}})
    }

    #[test]
    fn a_group_message_keeps_who_where_and_when() {
        let frame = group_message(json!([{"type": "text", "data": {"text": "hi"}}]));
        let event = event(frame.clone());
        assert_eq!(event.platform_id.as_deref(), Some("10:group:5:-9:1700000000"));
        assert_eq!(event.raw, Some(frame.to_string()));
        let EventKind::Message(message) = event.kind else { panic!("{event:?}") };
        assert_eq!((message.id.as_str(), message.text.as_str(), message.addressed), ("-9", "hi", false));
        assert_eq!((message.conversation.id.as_str(), message.conversation.kind), ("group:5", ConversationKind::Group));
        assert_eq!((message.sender.id.as_str(), message.sender.name.as_deref()), ("7", Some("Ann")));
        assert_eq!(message.sent_at.as_millis(), 1_700_000_000_000);
    }

    #[test]
    fn a_private_message_addresses_the_account_and_ids_may_be_strings() {
        let event = event(json!({"self_id": "10", "post_type": "message", "message_type": "private", "user_id": "7",
            "message_id": "x", "message": "hi", "group_id": null}));
        let EventKind::Message(message) = event.kind else { panic!("{event:?}") };
        assert_eq!(
            (message.conversation.id.as_str(), message.conversation.kind),
            ("private:7", ConversationKind::Direct)
        );
        assert!(message.addressed);
    }

    #[test]
    fn own_messages_never_come_back() {
        let mut own = group_message(json!("hi"));
        own["user_id"] = json!(10);
        assert!(matches!(check(own), Frame::Nothing));
        let mut sent = group_message(json!("hi"));
        sent["post_type"] = json!("message_sent");
        assert!(matches!(check(sent), Frame::Nothing));
    }

    #[test]
    fn members_that_come_and_go_are_member_events() {
        for (notice_type, sub_type, expected) in [
            ("group_increase", "approve", Membership::Joined),
            ("group_decrease", "leave", Membership::Left),
            ("group_decrease", "kick", Membership::Removed),
            ("group_decrease", "kick_me", Membership::Removed),
        ] {
            let event = event(json!({"self_id": 10, "post_type": "notice", "notice_type": notice_type,
                "sub_type": sub_type, "group_id": 5, "user_id": 7}));
            let EventKind::Member { change, member, conversation } = event.kind else { panic!("{event:?}") };
            assert_eq!((change, member.id.as_str(), conversation.id.as_str()), (expected, "7", "group:5"));
        }
    }

    #[test]
    fn other_notices_and_requests_are_passed_on_by_name() {
        for (frame, name) in [
            (json!({"post_type": "notice", "notice_type": "group_recall"}), "notice.group_recall"),
            (json!({"post_type": "notice", "notice_type": "notify", "sub_type": "poke"}), "notify.poke"),
            (json!({"post_type": "request", "request_type": "friend", "flag": "f"}), "request.friend"),
            (json!({"post_type": "brand_new"}), "brand_new"),
        ] {
            let event = event(frame);
            assert_eq!(event.kind, EventKind::Custom { name: name.to_owned() });
            assert!(event.platform_id.is_some() && event.raw.is_some());
        }
    }

    #[test]
    fn a_heartbeat_says_how_often_and_whether_the_account_is_online() {
        let heartbeat = |status: Value| {
            let frame =
                json!({"post_type": "meta_event", "meta_event_type": "heartbeat", "interval": 500, "status": status});
            match check(frame) {
                Frame::Heartbeat { interval, online } => (interval.as_millis(), online),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(heartbeat(json!({"online": true, "good": true})), (500, true));
        assert_eq!(heartbeat(json!({"online": null, "good": true})), (500, true));
        assert_eq!(heartbeat(json!({"online": false, "good": true})), (500, false));
        assert_eq!(heartbeat(json!({"online": true, "good": false})), (500, false));
    }

    #[test]
    fn an_answer_carries_its_code_and_the_better_of_its_two_texts() {
        let frame = json!({"status": "failed", "retcode": 100, "data": null, "echo": "3", "message": "ERR", "wording": "muted"});
        let Frame::Answer { echo, answer } = check(frame) else { panic!() };
        assert_eq!((echo, answer.retcode, answer.message.as_str()), (json!("3"), 100, "muted"));
    }

    #[test]
    fn what_is_no_frame_is_nothing() {
        for text in ["", "x", "[]", "null", "{}", "{\"echo\":null}", "{\"post_type\":5}"] {
            assert!(matches!(read(&"qq".parse().unwrap(), text), Frame::Nothing), "{text}");
        }
    }
}
