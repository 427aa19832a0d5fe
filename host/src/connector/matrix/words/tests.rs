use super::*;
use proptest::prelude::*;
use serde_json::json;

fn read(event: &Value) -> Option<EventKind> {
    let connector = "m".parse().unwrap();
    let room =
        Conversation { connector, id: "!r".to_owned(), kind: ConversationKind::Group, title: None, thread: None };
    let names = HashMap::from([("@ann:x".to_owned(), "Ann".to_owned())]);
    Place { me: "@bot:x", room: &room, names: &names }.read(event)
}

fn said(content: &Value) -> Option<Message> {
    match read(
        &json!({"type": "m.room.message", "event_id": "$e", "sender": "@ann:x", "origin_server_ts": 7, "content": content}),
    )? {
        EventKind::Message(message) | EventKind::Edited(message) => Some(message),
        _ => None,
    }
}

#[test]
fn a_message_has_its_text_its_sender_and_its_time() {
    let message = said(&json!({"msgtype": "m.text", "body": "> no quote"})).unwrap();
    assert_eq!((message.text.as_str(), message.sender.name.as_deref()), ("> no quote", Some("Ann")));
    assert_eq!((message.sent_at, message.addressed), (Timestamp::from_millis(7), false));
}

#[test]
fn notices_what_is_ours_and_what_was_redacted_is_nothing() {
    assert!(said(&json!({"msgtype": "m.notice", "body": "x"})).is_none());
    assert!(said(&json!({})).is_none());
    let own = json!({"type": "m.room.message", "event_id": "$e", "sender": "@bot:x", "content": {"msgtype": "m.text", "body": "x"}});
    assert_eq!(read(&own), None);
    assert_eq!(read(&json!({"type": "m.room.topic", "event_id": "$e", "sender": "@ann:x", "content": {}})), None);
}

#[test]
fn whoever_is_named_is_addressed() {
    for content in [
        json!({"msgtype": "m.text", "body": "x", "m.mentions": {"user_ids": ["@bot:x"]}}),
        json!({"msgtype": "m.text", "body": "@bot:x hi"}),
        json!({"msgtype": "m.text", "body": "Bot", "formatted_body": "<a href=\"https://matrix.to/#/@bot:x\">Bot</a>"}),
        json!({"msgtype": "m.text", "body": "Bot", "formatted_body": "<a href=\"https://matrix.to/#/%40bot%3Ax\">Bot</a>"}),
    ] {
        assert!(said(&content).unwrap().addressed, "{content}");
    }
}

#[test]
fn the_quote_of_an_older_client_is_no_part_of_an_answer() {
    let relation = json!({"m.in_reply_to": {"event_id": "$a"}});
    let body = "> <@bot:x> first\n> second\n\nanswer";
    let message =
        said(&json!({"msgtype": "m.text", "body": body, "format": "org.matrix.custom.html", "m.relates_to": relation}))
            .unwrap();
    assert_eq!((message.text.as_str(), message.reply_to.as_deref()), ("answer", Some("$a")));
}

#[test]
fn members_come_and_go_and_a_new_name_is_neither() {
    let change = |before: Value, now: &str, sender: &str| {
        let event = json!({"type": "m.room.member", "event_id": "$e", "sender": sender, "state_key": "@ann:x",
            "content": {"membership": now}, "unsigned": {"prev_content": {"membership": before}}});
        match read(&event)? {
            EventKind::Member { change, .. } => Some(change),
            _ => None,
        }
    };
    for (before, now, sender, expected) in [
        (Value::Null, "join", "@ann:x", Some(Membership::Joined)),
        (json!("invite"), "join", "@ann:x", Some(Membership::Joined)),
        (json!("join"), "join", "@ann:x", None),
        (json!("join"), "leave", "@ann:x", Some(Membership::Left)),
        (json!("join"), "leave", "@bot:x", Some(Membership::Removed)),
        (json!("join"), "ban", "@bot:x", Some(Membership::Removed)),
        (json!("leave"), "invite", "@bot:x", Some(Membership::Invited)),
        (json!("invite"), "leave", "@ann:x", None),
        (json!("ban"), "leave", "@bot:x", None),
    ] {
        assert_eq!(change(before.clone(), now, sender), expected, "{before} {now} {sender}");
    }
}

#[test]
fn a_file_has_a_name_and_its_caption_is_the_text() {
    let content = json!({"msgtype": "m.file", "body": "a.txt", "info": {"mimetype": "text/plain", "size": 3}, "url": "mxc://x/y"});
    let message = said(&content).unwrap();
    let file = &message.attachments[0];
    assert_eq!((message.text.as_str(), file.kind, file.name.as_deref()), ("", AttachmentKind::File, Some("a.txt")));
    assert_eq!((file.media_type.as_deref(), file.size, file.url.as_deref()), (Some("text/plain"), Some(3), None));
    let sticker = json!({"type": "m.sticker", "event_id": "$e", "sender": "@ann:x", "content": {"body": "wave", "url": "mxc://x/y"}});
    let Some(EventKind::Message(message)) = read(&sticker) else { panic!() };
    assert_eq!(message.attachments[0].kind, AttachmentKind::Sticker);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z$@.:> \n]{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["m.room.message", "m.replace", "m.thread", "join", "m.reaction", "m.image"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let keys =
            ["content", "m.relates_to", "m.new_content", "body", "msgtype", "rel_type", "event_id", "membership"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(prop::sample::select(keys.to_vec()), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_that_comes_panics(kind in prop::sample::select(TYPES.to_vec()), content in any_json()) {
        let event = json!({"type": kind, "event_id": "$e", "sender": "@ann:x", "state_key": "@ann:x", "content": content});
        let _ = read(&event);
    }
}
