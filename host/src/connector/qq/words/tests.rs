use super::*;

fn dispatch(kind: &str, data: Value) -> Dispatch {
    Dispatch { kind: kind.to_owned(), data, id: Some(format!("{kind}:frame")), seq: 1 }
}

fn read(kind: &str, data: Value) -> Option<Event> {
    let connector = "chat".parse().unwrap();
    event(&Me { connector: &connector, app_id: "7", user_id: Some("99") }, &dispatch(kind, data))
}

fn said(kind: &str, data: Value) -> Message {
    match read(kind, data).unwrap().kind {
        EventKind::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_kind_of_message_says_where_it_was_said_and_until_when_it_can_be_answered() {
    let at = "2026-11-21T20:00:00+08:00";
    for (kind, data, id, sender, conversation, minutes) in [
        ("C2C_MESSAGE_CREATE", json!({"author": {"user_openid": "U"}}), "c2c:U", "U", ConversationKind::Direct, 60),
        (
            "GROUP_AT_MESSAGE_CREATE",
            json!({"group_openid": "G", "author": {"member_openid": "M"}}),
            "group:G",
            "M",
            ConversationKind::Group,
            5,
        ),
        (
            "AT_MESSAGE_CREATE",
            json!({"channel_id": "3", "guild_id": "2", "author": {"id": "5"}}),
            "channel:3",
            "5",
            ConversationKind::Channel,
            5,
        ),
        (
            "DIRECT_MESSAGE_CREATE",
            json!({"channel_id": "3", "guild_id": "2", "author": {"id": "5"}}),
            "dm:2",
            "5",
            ConversationKind::Direct,
            5,
        ),
    ] {
        let mut data = data;
        data["id"] = json!("m1");
        data["content"] = json!("hi");
        data["timestamp"] = json!(at);
        let message = said(kind, data.clone());
        assert_eq!((message.conversation.id.as_str(), message.conversation.kind), (id, conversation), "{kind}");
        assert_eq!((message.id.as_str(), message.sender.id.as_str(), message.text.as_str()), ("m1", sender, "hi"));
        assert!(message.addressed, "{kind}");
        let sent_at: Timestamp = at.parse().unwrap();
        assert_eq!(message.sent_at, sent_at);
        assert_eq!(message.reply_deadline, Some(sent_at.saturating_add(Duration::from_secs(60 * minutes))), "{kind}");
        let (place, of, until) = answerable(&dispatch(kind, data.clone())).unwrap();
        assert_eq!((place.to_string().as_str(), of.id(), Some(until)), (id, "m1", message.reply_deadline));
        assert_eq!(read(kind, data).unwrap().platform_id.as_deref(), Some("7:m1"));
    }
}

#[test]
fn a_message_that_two_kinds_of_event_bring_is_one() {
    let data = json!({"id": "m1", "channel_id": "3", "author": {"id": "5"}, "content": "hi"});
    let id = |kind| read(kind, data.clone()).unwrap().platform_id;
    assert_eq!(id("AT_MESSAGE_CREATE"), id("MESSAGE_CREATE"));
}

#[test]
fn two_changes_of_one_guild_are_two_events() {
    let connector = "chat".parse().unwrap();
    let me = Me { connector: &connector, app_id: "7", user_id: None };
    let platform_id = |kind: &str, frame: Option<&str>| {
        let id = frame.map(str::to_owned);
        let data = json!({"id": "g1", "type": 11, "chat_type": 2, "user_openid": "U"});
        event(&me, &Dispatch { kind: kind.to_owned(), data, id, seq: 1 }).unwrap().platform_id
    };
    for kind in ["GUILD_UPDATE", "CHANNEL_UPDATE", "GUILD_MEMBER_UPDATE"] {
        assert_eq!(platform_id(kind, Some("f1")), Some(format!("7:{kind}:f1")));
        assert_eq!(platform_id(kind, Some("f2")), Some(format!("7:{kind}:f2")));
        assert_eq!(platform_id(kind, None), None);
    }
    let pressed = |frame| platform_id("INTERACTION_CREATE", frame);
    assert_eq!(pressed(Some("f1")).as_deref(), Some("7:INTERACTION_CREATE:g1"));
    assert_eq!(pressed(Some("f1")), pressed(Some("f2")));
}

#[test]
fn the_mention_in_front_goes_and_everything_else_stays() {
    let mentions = json!([{"id": "99", "bot": true}, {"id": "5"}]);
    for (kind, content, expected, addressed) in [
        ("AT_MESSAGE_CREATE", "<@!99> hi", "hi", true),
        ("AT_MESSAGE_CREATE", "<@99>\u{a0}hi <@!99>", "hi <@!99>", true),
        ("AT_MESSAGE_CREATE", "<@!5> hi", "<@!5> hi", true),
        ("MESSAGE_CREATE", " hi &lt;@5&gt; &amp;amp;", " hi <@5> &amp;", true),
        ("GROUP_AT_MESSAGE_CREATE", "  hi &lt;b&gt; ", "hi &lt;b&gt; ", true),
        ("C2C_MESSAGE_CREATE", " hi", " hi", true),
    ] {
        let data = json!({"id": "1", "content": content, "mentions": mentions, "channel_id": "3", "group_openid": "G",
            "author": {"id": "5", "user_openid": "U", "member_openid": "M"}});
        let message = said(kind, data);
        assert_eq!((message.text.as_str(), message.addressed), (expected, addressed), "{kind} {content}");
    }
    let overheard = json!({"id": "1", "content": "hi", "channel_id": "3", "author": {"id": "5"}});
    assert!(!said("MESSAGE_CREATE", overheard).addressed);
    let group = json!({"id": "1", "content": "<@B> hi", "group_openid": "G", "author": {"member_openid": "M"},
        "mentions": [{"scope": "single", "id": "B", "is_you": true}]});
    let message = said("GROUP_MESSAGE_CREATE", group);
    assert_eq!((message.text.as_str(), message.addressed), ("hi", true));
}

#[test]
fn what_the_bot_does_itself_is_no_event() {
    let own = json!({"id": "1", "content": "x", "channel_id": "3", "author": {"id": "99", "bot": true}});
    assert_eq!(read("MESSAGE_CREATE", own), None);
    assert_eq!(read("MESSAGE_REACTION_ADD", json!({"user_id": "99"})), None);
    assert_eq!(read("READY", json!({"session_id": "s"})), None);
    assert_eq!(read("RESUMED", json!("")), None);
}

#[test]
fn attachments_are_named_by_what_they_are() {
    let data = json!({"id": "1", "content": "", "author": {"user_openid": "U"}, "attachments": [
        {"content_type": "image/png", "filename": "a.png", "url": "gchat.qpic.cn/x", "size": 3},
        {"content_type": "voice", "url": "https://x/y"},
        {"content_type": "file", "filename": "a.zip"},
    ]});
    let attachments = said("C2C_MESSAGE_CREATE", data).attachments;
    let kinds: Vec<_> = attachments.iter().map(|one| (one.kind, one.url.as_deref())).collect();
    assert_eq!(
        kinds,
        [
            (AttachmentKind::Image, Some("https://gchat.qpic.cn/x")),
            (AttachmentKind::Audio, Some("https://x/y")),
            (AttachmentKind::File, None)
        ]
    );
    assert_eq!((attachments[0].size, attachments[0].media_type.as_deref()), (Some(3), Some("image/png")));
    assert_eq!(attachments[1].media_type, None);
}

#[test]
fn a_pressed_button_says_who_pressed_it_where() {
    for (chat, id, person) in [
        (json!({"chat_type": 0, "channel_id": "3"}), "channel:3", "5"),
        (json!({"chat_type": 1, "group_openid": "G", "group_member_openid": "M"}), "group:G", "M"),
        (json!({"chat_type": 2, "user_openid": "U"}), "c2c:U", "U"),
    ] {
        let mut data = json!({"id": "i1", "type": 11,
            "data": {"resolved": {"button_data": "yes", "message_id": "m1", "user_id": "5"}}});
        data.as_object_mut().unwrap().extend(chat.as_object().unwrap().clone());
        let event = read("INTERACTION_CREATE", data.clone()).unwrap();
        let EventKind::Button { conversation, message_id, sender, data: pressed } = event.kind else { panic!() };
        assert_eq!((conversation.id.as_str(), sender.id.as_str()), (id, person));
        assert_eq!((message_id.as_str(), pressed.as_str()), ("m1", "yes"));
        let dispatch = dispatch("INTERACTION_CREATE", data);
        assert_eq!(interaction(&dispatch), Some("i1"));
        let (place, of, _) = answerable(&dispatch).unwrap();
        assert_eq!((place.to_string().as_str(), of), (id, Answerable::Event("INTERACTION_CREATE:frame".to_owned())));
    }
}

#[test]
fn members_reactions_and_the_rest() {
    for (kind, data, id, member, expected) in [
        ("GROUP_ADD_ROBOT", json!({"group_openid": "G"}), "group:G", "7", Membership::Joined),
        ("GROUP_DEL_ROBOT", json!({"group_openid": "G"}), "group:G", "7", Membership::Removed),
        ("GROUP_MEMBER_ADD", json!({"group_openid": "G", "member_openid": "M"}), "group:G", "M", Membership::Joined),
        ("FRIEND_ADD", json!({"openid": "U"}), "c2c:U", "U", Membership::Joined),
        ("FRIEND_DEL", json!({"openid": "U"}), "c2c:U", "U", Membership::Left),
    ] {
        let event = read(kind, data).unwrap();
        assert_eq!(event.platform_id, Some(format!("7:{kind}:{kind}:frame")));
        let EventKind::Member { conversation, member: who, change } = event.kind else { panic!("{kind}") };
        assert_eq!((conversation.id.as_str(), who.id.as_str(), change), (id, member, expected), "{kind}");
    }
    for (emoji, expected) in [(json!({"type": 2, "id": "128512"}), "😀"), (json!({"type": 1, "id": "4"}), "1:4")] {
        let data = json!({"user_id": "5", "channel_id": "3", "target": {"id": "m1", "type": 0}, "emoji": emoji});
        let EventKind::Reaction { emoji, added: true, .. } = read("MESSAGE_REACTION_ADD", data).unwrap().kind else {
            panic!()
        };
        assert_eq!(emoji, expected);
    }
    for (kind, data) in [
        ("C2C_MSG_REJECT", json!({"openid": "U"})),
        ("MESSAGE_AUDIT_PASS", json!({"audit_id": "1"})),
        ("GROUP_ADD_ROBOT", json!({})),
        ("C2C_MESSAGE_CREATE", json!("no object")),
        ("INTERACTION_CREATE", json!({"type": 12, "chat_type": 2, "user_openid": "U"})),
    ] {
        assert_eq!(read(kind, data).unwrap().kind, EventKind::Custom { name: kind.to_owned() });
    }
}
