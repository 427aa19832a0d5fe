use serde_json::json;

use super::*;

fn me() -> Me {
    Me { team_id: "T1".to_owned(), user_id: "UBOT".to_owned(), bot_id: "BBOT".to_owned() }
}

fn read(kind: &str, payload: Value) -> Vec<Event> {
    let envelope = json!({"envelope_id": "e", "type": kind, "payload": payload});
    of_envelope(&"chat".parse().unwrap(), &me(), &envelope)
}

fn event(event: Value) -> Option<Event> {
    let mut events =
        read("events_api", json!({"type": "event_callback", "team_id": "T1", "event_id": "Ev1", "event": event}));
    assert!(events.len() <= 1);
    events.pop()
}

fn message(fields: Value) -> Message {
    let mut whole = json!({"type": "message", "channel": "C1", "channel_type": "channel", "user": "U1", "text": "hi",
        "ts": "1700000000.000100"});
    whole.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    match event(whole).unwrap().kind {
        EventKind::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_says_where_who_what_and_when() {
    let plain = message(json!({}));
    assert_eq!((plain.id.as_str(), plain.conversation.id.as_str()), ("1700000000.000100", "C1"));
    assert_eq!((plain.sender.id.as_str(), plain.text.as_str(), plain.addressed), ("U1", "hi", false));
    assert_eq!(plain.sent_at, Timestamp::from_millis(1_700_000_000_000));
    assert_eq!((plain.conversation.kind, plain.conversation.thread), (ConversationKind::Channel, None));
    let direct = message(json!({"channel": "D1", "channel_type": "im"}));
    assert_eq!((direct.conversation.kind, direct.addressed), (ConversationKind::Direct, true));
    for kind in ["group", "mpim"] {
        assert_eq!(message(json!({"channel_type": kind})).conversation.kind, ConversationKind::Group);
    }
    let reply = message(json!({"thread_ts": "1699999999.000001"}));
    assert_eq!(reply.conversation.thread.as_deref(), Some("1699999999.000001"));
    assert_eq!(reply.reply_to.as_deref(), Some("1699999999.000001"));
    let root = message(json!({"thread_ts": "1700000000.000100"}));
    assert_eq!((root.conversation.thread, root.reply_to), (None, None));
    let files = json!([{"name": "a.png", "mimetype": "image/png", "size": 3, "url_private": "https://x/a"}]);
    let attached = message(json!({"subtype": "file_share", "files": files})).attachments;
    assert_eq!((attached[0].kind, attached[0].size), (AttachmentKind::Image, Some(3)));
}

#[test]
fn a_mention_and_its_message_are_the_same_event_and_our_name_in_front_is_not_part_of_what_is_said() {
    let said = json!({"type": "message", "channel": "C1", "channel_type": "channel", "user": "U1",
        "text": "<@UBOT> !ping &amp; <@U2>", "ts": "1.2"});
    let mut mention = said.clone();
    mention["type"] = json!("app_mention");
    mention.as_object_mut().unwrap().remove("channel_type");
    let (said, mention) = (event(said).unwrap(), event(mention).unwrap());
    assert_eq!(said.platform_id.as_deref(), Some("T1:C1:1.2"));
    assert_eq!((&said.platform_id, &said.kind), (&mention.platform_id, &mention.kind));
    let EventKind::Message(message) = said.kind else { panic!() };
    assert_eq!((message.text.as_str(), message.addressed), ("!ping & @U2", true));
}

#[test]
fn what_we_or_other_bots_say_is_not_told() {
    for fields in [
        json!({"user": "UBOT"}),
        json!({"bot_id": "B9"}),
        json!({"subtype": "bot_message"}),
        json!({"subtype": "message_changed", "message": {"user": "UBOT", "text": "a"}, "previous_message": {"text": "b"}}),
        json!({"subtype": "message_changed", "message": {"bot_id": "B9", "text": "a"}, "previous_message": {"text": "b"}}),
        json!({"subtype": "message_deleted", "previous_message": {"bot_id": "BBOT"}}),
    ] {
        let mut whole = json!({"type": "message", "channel": "C1", "ts": "1.2"});
        whole.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        assert_eq!(event(whole), None, "{fields}");
    }
    let reaction = json!({"type": "reaction_added", "user": "UBOT", "reaction": "x", "item": {"type": "message"}});
    assert_eq!(event(reaction), None);
}

#[test]
fn an_edit_is_one_only_where_the_text_is_another() {
    let changed = |now: &str| {
        event(json!({"type": "message", "subtype": "message_changed", "channel": "C1", "channel_type": "group", "ts": "9.9",
            "message": {"user": "U1", "text": now, "ts": "1.2"}, "previous_message": {"user": "U1", "text": "a", "ts": "1.2"}}))
        .unwrap()
    };
    let edited = changed("b");
    assert_eq!(edited.platform_id.as_deref(), Some("Ev1"));
    let EventKind::Edited(message) = edited.kind else { panic!() };
    assert_eq!((message.id.as_str(), message.text.as_str()), ("1.2", "b"));
    assert_eq!(changed("a").kind, custom("message_changed"));
}

#[test]
fn every_other_event_has_its_kind() {
    let reaction = json!({"type": "reaction_removed", "user": "U1", "reaction": "tada",
        "item": {"type": "message", "channel": "C1", "ts": "1.2"}});
    let EventKind::Reaction { message_id, emoji, added, .. } = event(reaction).unwrap().kind else { panic!() };
    assert_eq!((message_id.as_str(), emoji.as_str(), added), ("1.2", "tada", false));
    for (name, expected) in [("member_joined_channel", Membership::Joined), ("member_left_channel", Membership::Left)] {
        let joined = json!({"type": name, "user": "U1", "channel": "G1", "channel_type": "G"});
        let EventKind::Member { member, change, conversation } = event(joined).unwrap().kind else { panic!() };
        assert_eq!((member.id.as_str(), change, conversation.kind), ("U1", expected, ConversationKind::Group));
    }
    for (fields, name) in [
        (
            json!({"type": "message", "subtype": "message_deleted", "previous_message": {"user": "U1"}}),
            "message_deleted",
        ),
        (json!({"type": "message", "subtype": "channel_join", "user": "U1"}), "channel_join"),
        (json!({"type": "team_join"}), "team_join"),
        (json!({"type": "reaction_added", "item": {"type": "file"}}), "reaction_added"),
        (json!({}), "unknown"),
    ] {
        assert_eq!(event(fields).unwrap().kind, custom(name));
    }
}

#[test]
fn a_button_brings_back_its_data_and_a_command_is_a_message_to_us() {
    let payload = json!({"type": "block_actions", "token": "s3cret", "response_url": "https://s3cret", "trigger_id": "s3cret",
        "user": {"id": "U1", "username": "ann"}, "channel": {"id": "C1"},
        "container": {"type": "message", "message_ts": "1.2", "channel_id": "C1", "thread_ts": "1.0"},
        "actions": [{"type": "button", "action_id": "b0-1", "value": "yes", "action_ts": "3.4"}]});
    let events = read("interactive", payload.clone());
    assert_eq!(events[0].platform_id.as_deref(), Some("C1:1.2:3.4:b0-1"));
    assert!(!events[0].raw.as_deref().unwrap().contains("s3cret"));
    let EventKind::Button { conversation, message_id, sender, data } = &events[0].kind else { panic!() };
    assert_eq!((message_id.as_str(), data.as_str(), sender.name.as_deref()), ("1.2", "yes", Some("ann")));
    assert_eq!(conversation.thread.as_deref(), Some("1.0"));
    let by_form = read_form(
        format!(
            "payload={}",
            percent_encoding::utf8_percent_encode(&payload.to_string(), percent_encoding::NON_ALPHANUMERIC)
        )
        .as_bytes(),
    )
    .unwrap();
    let by_door = of_request(&"chat".parse().unwrap(), &me(), &by_form);
    assert_eq!((&by_door[0].kind, &by_door[0].platform_id), (&events[0].kind, &events[0].platform_id));

    let form =
        b"token=s3cret&command=%2Fweather&text=94070+today&user_id=U1&user_name=ann&channel_id=D1&trigger_id=13.x";
    let events = of_request(&"chat".parse().unwrap(), &me(), &read_form(form).unwrap());
    assert_eq!(events[0].platform_id.as_deref(), Some("13.x"));
    assert!(!events[0].raw.as_deref().unwrap().contains("s3cret"));
    let EventKind::Message(message) = &events[0].kind else { panic!() };
    assert_eq!((message.text.as_str(), message.addressed), ("/weather 94070 today", true));
    assert_eq!((message.sender.name.as_deref(), message.conversation.kind), (Some("ann"), ConversationKind::Direct));

    let shortcut = read("interactive", json!({"type": "shortcut", "trigger_id": "t"}));
    assert_eq!((&shortcut[0].kind, shortcut[0].platform_id.as_deref()), (&custom("shortcut"), Some("t")));
}

#[test]
fn a_text_is_read_as_people_see_it() {
    for (given, expected) in [
        ("a &lt;b&gt; &amp;amp; c", "a <b> &amp; c"),
        ("<@U2> <@U2|ann> <#C1|general> <#C1>", "@U2 @ann #general #C1"),
        ("<!here> <!subteam^S1|@devs> <!date^1^{date}|today>", "@here @devs today"),
        ("<https://x.y/a?b=1&amp;c=2>", "https://x.y/a?b=1&c=2"),
        ("<http://example.com|example.com>", "example.com"),
        ("<https://x.y|here>", "here (https://x.y)"),
        ("<mailto:a@b.c|a@b.c> <tel:1>", "a@b.c tel:1"),
        ("a < b", "a < b"),
        ("", ""),
    ] {
        assert_eq!(plain(given), expected, "{given}");
    }
    for text in ["a <b> & c", "&lt;", "<!channel>", "<@U1>", "日本 > x"] {
        assert_eq!(plain(&escaped(text)), text, "what is sent is read as it was");
    }
}

#[test]
fn what_is_no_form_or_nonsense_is_no_panic() {
    assert_eq!(read_form(b"\xff"), None);
    assert_eq!(read_form(b"a=%ff"), None);
    assert_eq!(read_form(b"payload=7"), None);
    assert!(of_request(&"chat".parse().unwrap(), &me(), &read_form(b"ssl_check=1").unwrap()).is_empty());
    for kind in ["events_api", "interactive", "slash_commands", "", "nonsense"] {
        for payload in [
            Value::Null,
            json!([]),
            json!({"event": 7}),
            json!({"event": {"type": "message"}}),
            json!({"actions": [{}]}),
        ] {
            read(kind, payload);
        }
    }
}
