//! Frames of an implementation: which are answers, which are for the connector itself, and which are events. And messages as
//! OneBot has them: segments in an array, or a text with CQ codes in it. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::calls::Answer;
use crate::clock::Timestamp;
use crate::event::{
    Attachment, AttachmentKind, Conversation, ConversationKind, Event, EventKind, Membership, Message, User,
};
use crate::id::{ConnectorName, ContentHash};

/// Larger JSON of one event is not passed on; the event is.
const RAW_BYTES_MAX: usize = 256 << 10;

/// Longer names of kinds are cut: implementations invent them.
const NAME_CHARS_MAX: usize = 100;

/// What a text frame is.
#[derive(Debug)]
pub(super) enum Frame {
    /// The answer to the call with this echo.
    Answer { echo: Value, answer: Answer },
    /// The implementation lives, and will say so again after `interval`.
    Heartbeat { interval: Duration, online: bool },
    /// Something for the host, and the account that it came to.
    Event { self_id: String, event: Box<Event> },
    /// Of no interest: the account's own messages, the life cycle of the implementation.
    Nothing,
    /// No frame at all.
    Garbage,
}

/// Reads a text frame.
pub(super) fn read(connector: &ConnectorName, text: &str) -> Frame {
    let Ok(frame) = serde_json::from_str::<Value>(text) else { return Frame::Garbage };
    let Some(post_type) = frame.get("post_type").and_then(Value::as_str) else {
        return match frame.get("echo").filter(|echo| !echo.is_null()).cloned() {
            Some(echo) => Frame::Answer { echo, answer: Answer::read(frame) },
            None => Frame::Garbage,
        };
    };
    let kind = match post_type {
        "meta_event" => return read_meta(&frame),
        "message_sent" => return Frame::Nothing,
        "message" => read_message(connector, &frame),
        "notice" => Some(read_notice(connector, &frame)),
        "request" => Some(EventKind::Custom { name: dotted(&["request", field(&frame, "request_type")]) }),
        other => Some(EventKind::Custom { name: dotted(&[other]) }),
    };
    let Some(kind) = kind else { return Frame::Nothing };
    let event = Event {
        platform_id: Some(platform_id(&frame, post_type, text)),
        raw: (text.len() <= RAW_BYTES_MAX).then(|| text.to_owned()),
        ..Event::now(Some(connector.clone()), kind)
    };
    Frame::Event { self_id: id(&frame, "self_id"), event: Box::new(event) }
}

fn read_meta(frame: &Value) -> Frame {
    if field(frame, "meta_event_type") != "heartbeat" {
        return Frame::Nothing;
    }
    let interval = number(frame, "interval");
    let online = is_online(frame.get("status").unwrap_or(&Value::Null));
    Frame::Heartbeat { interval: Duration::from_millis(interval), online }
}

/// Returns what a status says of the account. Absent or null: the implementation cannot say, and it counts as online.
pub(super) fn is_online(status: &Value) -> bool {
    let is_false = |key: &str| status.get(key).and_then(Value::as_bool) == Some(false);
    !(is_false("online") || is_false("good"))
}

/// Returns a text field, empty where there is none.
pub(super) fn field<'a>(frame: &'a Value, key: &str) -> &'a str {
    frame.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Returns an id, which is a number by the specification and a string with some; empty where there is none.
fn id(frame: &Value, key: &str) -> String {
    frame.get(key).and_then(scalar).unwrap_or_default()
}

/// Returns a number that is not negative, written as one or as a text; zero where there is none.
fn number(frame: &Value, key: &str) -> u64 {
    id(frame, key).parse().unwrap_or_default()
}

/// Returns the name of what has no words of its own here.
fn dotted(parts: &[&str]) -> String {
    let name = parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(".");
    name.chars().take(NAME_CHARS_MAX).collect()
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

fn is_in_group(frame: &Value) -> bool {
    match field(frame, "message_type") {
        // One that comes by way of a common group may name the group all the same.
        "private" => false,
        "group" => true,
        _ => number(frame, "group_id") != 0,
    }
}

fn conversation_id(frame: &Value) -> String {
    if is_in_group(frame) {
        format!("group:{}", id(frame, "group_id"))
    } else {
        format!("private:{}", id(frame, "user_id"))
    }
}

fn conversation(connector: &ConnectorName, frame: &Value) -> Conversation {
    let title = Some(field(frame, "group_name")).filter(|name| !name.is_empty()).map(str::to_owned);
    Conversation {
        connector: connector.clone(),
        id: conversation_id(frame),
        kind: if is_in_group(frame) { ConversationKind::Group } else { ConversationKind::Direct },
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
    let content = content(&segments(frame.get("message").unwrap_or(&Value::Null)), &self_id);
    let conversation = conversation(connector, frame);
    Some(EventKind::Message(Message {
        id: id(frame, "message_id"),
        addressed: content.mentions_self || conversation.kind == ConversationKind::Direct,
        conversation,
        sender,
        text: content.text,
        attachments: content.attachments,
        reply_to: content.reply_to,
        sent_at: Timestamp::from_millis(number(frame, "time").saturating_mul(1000)),
        reply_deadline: None,
    }))
}

fn read_notice(connector: &ConnectorName, frame: &Value) -> EventKind {
    let change = match (field(frame, "notice_type"), field(frame, "sub_type")) {
        ("group_increase", _) => Membership::Joined,
        ("group_decrease", "kick" | "kick_me") => Membership::Removed,
        ("group_decrease", _) => Membership::Left,
        ("group_msg_emoji_like", _) => return read_reaction(connector, frame),
        ("notify", sub_type) => return EventKind::Custom { name: dotted(&["notify", sub_type]) },
        (notice_type, _) => return EventKind::Custom { name: dotted(&["notice", notice_type]) },
    };
    let member = User { id: id(frame, "user_id"), name: None, is_bot: false };
    EventKind::Member { conversation: conversation(connector, frame), member, change }
}

/// Reads a reaction, in the words of those implementations that have them. Its first emoji stands for all: there is one.
fn read_reaction(connector: &ConnectorName, frame: &Value) -> EventKind {
    let emoji = frame.pointer("/likes/0/emoji_id").and_then(scalar).unwrap_or_default();
    EventKind::Reaction {
        conversation: conversation(connector, frame),
        message_id: id(frame, "message_id"),
        sender: User { id: id(frame, "user_id"), name: None, is_bot: false },
        emoji: emoji_of(&emoji),
        added: frame.get("is_add").and_then(Value::as_bool) != Some(false),
    }
}

/// Smaller numbers are QQ's own faces, larger ones code points.
const CODE_POINT_MIN: u32 = 0x2000;

/// Returns the emoji of QQ's number of a reaction; of its own faces the number.
fn emoji_of(id: &str) -> String {
    let code_point = id.parse().ok().filter(|code| *code >= CODE_POINT_MIN).and_then(char::from_u32);
    code_point.map_or_else(|| id.to_owned(), String::from)
}

/// One part of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Segment {
    kind: String,
    /// Strings by the specification; numbers and truth values of implementations are turned into them.
    data: BTreeMap<String, String>,
}

/// What people make of a message.
#[derive(Debug, Default, PartialEq, Eq)]
struct Content {
    text: String,
    attachments: Vec<Attachment>,
    reply_to: Option<String>,
    /// The account itself is named.
    mentions_self: bool,
}

/// Reads a message in either form.
fn segments(message: &Value) -> Vec<Segment> {
    match message {
        Value::String(text) => parse_cq(text),
        Value::Array(segments) => segments.iter().filter_map(read_segment).collect(),
        _ => Vec::new(),
    }
}

fn read_segment(segment: &Value) -> Option<Segment> {
    let kind = segment.get("type")?.as_str()?.to_owned();
    let fields = segment.get("data").and_then(Value::as_object);
    let data = fields.into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), scalar(value)?))).collect();
    Some(Segment { kind, data })
}

/// Returns the text of a string, a number or a truth value.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// Reads `text[CQ:kind,key=value,…]text`. What is no code is text.
fn parse_cq(text: &str) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("[CQ:") {
        let Some(length) = rest[start..].find(']') else { break };
        plain.push_str(&rest[..start]);
        let code = &rest[start + "[CQ:".len()..start + length];
        push_text(&mut segments, std::mem::take(&mut plain));
        let mut parts = code.split(',');
        let kind = parts.next().unwrap_or_default().trim().to_owned();
        let pair = |part: &str| {
            part.split_once('=').map(|(key, value)| (key.trim().to_owned(), unescape(&value.replace("&#44;", ","))))
        };
        segments.push(Segment { kind, data: parts.filter_map(pair).collect() });
        rest = &rest[start + length + 1..];
    }
    plain.push_str(rest);
    push_text(&mut segments, plain);
    segments
}

fn push_text(segments: &mut Vec<Segment>, text: String) {
    if !text.is_empty() {
        let data = BTreeMap::from([("text".to_owned(), unescape(&text))]);
        segments.push(Segment { kind: "text".to_owned(), data });
    }
}

fn unescape(text: &str) -> String {
    // The ampersand last, or `&amp;#91;` would become a bracket.
    text.replace("&#91;", "[").replace("&#93;", "]").replace("&amp;", "&")
}

/// Puts the parts of a message together. `self_id` is the account that got it.
fn content(segments: &[Segment], self_id: &str) -> Content {
    let mut content = Content::default();
    for Segment { kind, data } in segments {
        let field = |key: &str| data.get(key).cloned();
        let mut attach = |kind, name: Option<String>| {
            let size = field("file_size").and_then(|size| size.parse().ok());
            let is_url = |text: &String| text.starts_with("http://") || text.starts_with("https://");
            let url = field("url").filter(is_url).or_else(|| field("file").filter(is_url));
            content.attachments.push(Attachment { kind, name, media_type: None, size, url });
        };
        match kind.as_str() {
            "text" => content.text.push_str(data.get("text").map_or("", String::as_str)),
            "at" => match data.get("qq") {
                Some(who) if who == self_id => content.mentions_self = true,
                Some(who) => {
                    content.text.push('@');
                    content.text.push_str(data.get("name").unwrap_or(who).trim_start_matches('@'));
                }
                None => {}
            },
            "reply" => content.reply_to = content.reply_to.or_else(|| field("id")),
            "image" => attach(AttachmentKind::Image, field("file")),
            "record" => attach(AttachmentKind::Audio, field("file")),
            "video" => attach(AttachmentKind::Video, field("file")),
            "file" => attach(AttachmentKind::File, field("name").or_else(|| field("file"))),
            "face" | "mface" => attach(AttachmentKind::Sticker, field("id").or_else(|| field("summary"))),
            "dice" | "rps" => attach(AttachmentKind::Sticker, Some(kind.clone())),
            "location" => attach(AttachmentKind::Location, field("title")),
            "contact" => attach(AttachmentKind::Contact, field("id")),
            "share" | "music" => {
                let parts: Vec<_> = [field("title"), field("url")].into_iter().flatten().collect();
                content.text.push_str(&parts.join(" "));
            }
            "markdown" => content.text.push_str(&field("content").unwrap_or_default()),
            // Cards, forwarded chains, pokes, and what else implementations invent; the event's JSON has them.
            _ => {}
        }
    }
    // "@bot !ping" comes as a mention and " !ping".
    if content.mentions_self {
        content.text = content.text.trim().to_owned();
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn check(frame: Value) -> Frame {
        read(&"qq".parse().unwrap(), &frame.to_string())
    }

    fn event(frame: Value) -> Event {
        match check(frame) {
            Frame::Event { event, .. } => *event,
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
    fn what_is_no_frame_is_garbage() {
        for text in ["", "x", "[]", "null", "{}", "{\"echo\":null}", "{\"post_type\":5}"] {
            assert!(matches!(read(&"qq".parse().unwrap(), text), Frame::Garbage), "{text}");
        }
    }

    fn said(message: Value) -> Content {
        content(&segments(&message), "10")
    }

    #[test]
    fn both_forms_say_the_same() {
        let array = said(json!([
            {"type": "reply", "data": {"id": -77}},
            {"type": "at", "data": {"qq": 10}},
            {"type": "text", "data": {"text": " !echo a[b]&c,d"}},
            {"type": "image", "data": {"file": "x.png", "url": "https://a/b", "file_size": "12"}},
        ]));
        let code = said(json!(
            "[CQ:reply,id=-77][CQ:at,qq=10] !echo a&#91;b&#93;&amp;c,d[CQ:image,file=x.png,url=https://a/b,file_size=12]"
        ));
        assert_eq!(array, code);
        assert_eq!(array.text, "!echo a[b]&c,d");
        assert_eq!(array.reply_to.as_deref(), Some("-77"));
        assert!(array.mentions_self);
        let attachment = &array.attachments[0];
        assert_eq!(
            (attachment.name.as_deref(), attachment.size, attachment.kind),
            (Some("x.png"), Some(12), AttachmentKind::Image)
        );
    }

    #[test]
    fn others_that_are_named_stay_in_the_text() {
        let content = said(json!([
            {"type": "at", "data": {"qq": "11", "name": "Ann"}},
            {"type": "text", "data": {"text": " and "}},
            {"type": "at", "data": {"qq": "all"}},
        ]));
        assert_eq!((content.text.as_str(), content.mentions_self), ("@Ann and @all", false));
    }

    #[test]
    fn an_escaped_ampersand_does_not_make_a_bracket() {
        assert_eq!(said(json!("&amp;#91;CQ:at,qq=10&amp;#93;")).text, "&#91;CQ:at,qq=10&#93;");
    }

    #[test]
    fn a_broken_code_is_text_and_a_broken_segment_is_nothing() {
        assert_eq!(said(json!("a[CQ:at,qq=10")).text, "a[CQ:at,qq=10");
        assert_eq!(said(json!([1, {"type": 2}, {"type": "text"}, {"data": {}}])), Content::default());
        assert_eq!(said(json!(null)), Content::default());
    }

    proptest! {
        #[test]
        fn no_text_of_a_peer_is_too_much(text in "(\\[CQ:|\\]|,|=|&#91;|[a-z])*") {
            said(json!(text));
        }

        #[test]
        fn what_was_typed_comes_back_out_of_the_escaped_form(text in "(\\[CQ:|\\]|,|=|&#91;|&#44;|&amp;|&|[a-zé])*") {
            // As the protocol has implementations do it.
            let escaped = text.replace('&', "&amp;").replace('[', "&#91;").replace(']', "&#93;");
            let within = escaped.replace(',', "&#44;");
            let content = said(json!(format!("{escaped}[CQ:file,name={within}]")));
            prop_assert_eq!(&content.text, &text);
            prop_assert_eq!(content.attachments[0].name.as_deref(), Some(text.as_str()));
        }

        #[test]
        fn no_text_in_a_segment_ever_becomes_a_code(text in ".*") {
            let content = said(json!([{"type": "text", "data": {"text": text.clone()}}]));
            prop_assert_eq!(content, Content { text, ..Content::default() });
        }
    }
}
