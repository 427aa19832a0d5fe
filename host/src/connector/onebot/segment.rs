//! Messages as OneBot has them: segments in an array, or a text with CQ codes in it. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::action::Outgoing;
use crate::event::{Attachment, AttachmentKind};

/// One part of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    kind: String,
    /// Strings by the specification; numbers and truth values of implementations are turned into them.
    data: BTreeMap<String, String>,
}

/// What people make of a message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) text: String,
    pub(super) attachments: Vec<Attachment>,
    pub(super) reply_to: Option<String>,
    /// The account itself is named.
    pub(super) mentions_self: bool,
}

/// Reads a message in either form.
pub(super) fn read(message: &Value) -> Vec<Segment> {
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
        let pair = |part: &str| part.split_once('=').map(|(key, value)| (key.trim().to_owned(), unescape(value)));
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
    text.replace("&#91;", "[").replace("&#93;", "]").replace("&#44;", ",").replace("&amp;", "&")
}

/// Puts the parts of a message together. `self_id` is the account that got it.
pub(super) fn content(segments: &[Segment], self_id: &str) -> Content {
    let mut content = Content::default();
    for Segment { kind, data } in segments {
        let field = |key: &str| data.get(key).cloned();
        let mut attach = |kind, name: Option<String>| {
            let size = field("file_size").and_then(|size| size.parse().ok());
            let url = field("url").filter(|url| url.starts_with("http"));
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
            "location" => attach(AttachmentKind::Location, field("title")),
            "contact" => attach(AttachmentKind::Contact, field("id")),
            // Cards, forwarded chains and what else implementations invent; the event's JSON has them.
            _ => {}
        }
    }
    // "@bot !ping" comes as a mention and " !ping".
    if content.mentions_self {
        content.text = content.text.trim().to_owned();
    }
    content
}

/// Returns a message as an array of segments. Text is never parsed for codes then, whatever it holds.
pub(super) fn write(message: &Outgoing<String>) -> Value {
    let reply = message.reply_to.iter().map(|id| json!({"type": "reply", "data": {"id": id}}));
    let buttons = message.buttons.iter().flatten().enumerate();
    let buttons = buttons.map(|(index, button)| format!("[{}] {}", index + 1, button.label));
    let lines: Vec<_> = std::iter::once(message.text.clone()).filter(|text| !text.is_empty()).chain(buttons).collect();
    let text = json!({"type": "text", "data": {"text": lines.join("\n")}});
    reply.chain([text]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{Button, Priority, TextFormat};
    use proptest::prelude::*;

    fn check(message: Value) -> Content {
        content(&read(&message), "10")
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

    #[test]
    fn both_forms_say_the_same() {
        let array = check(json!([
            {"type": "reply", "data": {"id": -77}},
            {"type": "at", "data": {"qq": 10}},
            {"type": "text", "data": {"text": " !echo a[b]&c,d"}},
            {"type": "image", "data": {"file": "x.png", "url": "https://a/b", "file_size": "12"}},
        ]));
        let code = check(json!(
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
        let content = check(json!([
            {"type": "at", "data": {"qq": "11", "name": "Ann"}},
            {"type": "text", "data": {"text": " and "}},
            {"type": "at", "data": {"qq": "all"}},
        ]));
        assert_eq!((content.text.as_str(), content.mentions_self), ("@Ann and @all", false));
    }

    #[test]
    fn an_escaped_ampersand_does_not_make_a_bracket() {
        assert_eq!(check(json!("&amp;#91;CQ:at,qq=10&amp;#93;")).text, "&#91;CQ:at,qq=10&#93;");
    }

    #[test]
    fn a_broken_code_is_text_and_a_broken_segment_is_nothing() {
        assert_eq!(check(json!("a[CQ:at,qq=10")).text, "a[CQ:at,qq=10");
        assert_eq!(check(json!([1, {"type": 2}, {"type": "text"}, {"data": {}}])), Content::default());
        assert_eq!(check(json!(null)), Content::default());
    }

    #[test]
    fn a_reply_comes_first_and_buttons_become_numbered_lines() {
        let button = |label: &str| Button { label: label.to_owned(), data: String::new() };
        let message = Outgoing {
            reply_to: Some("5".to_owned()),
            buttons: vec![vec![button("Yes")], vec![button("No")]],
            ..outgoing("Sure?")
        };
        let expected = json!([
            {"type": "reply", "data": {"id": "5"}},
            {"type": "text", "data": {"text": "Sure?\n[1] Yes\n[2] No"}},
        ]);
        assert_eq!(write(&message), expected);
    }

    proptest! {
        #[test]
        fn no_text_of_a_bot_ever_becomes_a_code(text in ".*") {
            let segments = write(&outgoing(&text));
            let back = read(&segments);
            prop_assert_eq!(back.len(), 1);
            prop_assert_eq!(content(&back, "10").text, text);
        }

        #[test]
        fn no_text_of_a_peer_is_too_much(text in "(\\[CQ:|\\]|,|=|&#91;|[a-z])*") {
            check(json!(text));
        }
    }
}
