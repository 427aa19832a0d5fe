use super::*;
use crate::event::{AttachmentKind, ConversationKind, Message};
use serde_json::json;

fn me() -> Me {
    Me { id: 42, username: Some("EchoBot".to_owned()) }
}

fn read(update: Value) -> Vec<Event> {
    events(&"tg".parse().unwrap(), &me(), &update)
}

/// The one event of an update.
fn kind(mut update: Value) -> EventKind {
    update["update_id"] = json!(7);
    let events = read(update);
    assert_eq!(events.len(), 1, "{events:?}");
    events.into_iter().next().unwrap().kind
}

/// A message in a group with these fields besides.
fn message(fields: Value) -> Message {
    let mut message = json!({
        "message_id": 5, "date": 1_700_000_000, "from": {"id": 1, "is_bot": false, "first_name": "Ann", "last_name": "B"},
        "chat": {"id": -1_001_234_567_890_123i64, "type": "supergroup", "title": "Friends"},
    });
    message.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    match kind(json!({ "message": message })) {
        EventKind::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_keeps_who_where_when_and_its_ids_of_64_bits() {
    let message = message(json!({"text": "hi", "reply_to_message": {"message_id": 4}}));
    assert_eq!(message.id, "5");
    assert_eq!(message.conversation.id, "-1001234567890123");
    assert_eq!(message.conversation.kind, ConversationKind::Group);
    assert_eq!(message.conversation.title.as_deref(), Some("Friends"));
    assert_eq!(message.sender, User { id: "1".into(), name: Some("Ann B".into()), is_bot: false });
    assert_eq!(message.sent_at.as_millis(), 1_700_000_000_000);
    assert_eq!(message.reply_to.as_deref(), Some("4"));
    assert!(!message.addressed);
}

#[test]
fn the_event_carries_an_id_that_is_the_same_when_it_comes_again() {
    let update = json!({"update_id": 9, "poll": {}});
    let (first, second) = (read(update.clone()), read(update));
    assert_eq!(first[0].platform_id.as_deref(), Some("42:9"));
    assert_eq!(first[0].platform_id, second[0].platform_id);
}

#[test]
fn a_bot_is_addressed_in_private_by_name_by_account_by_command_and_by_reply() {
    let entity = |kind: &str, offset: usize, length: usize| json!([{"type": kind, "offset": offset, "length": length}]);
    let private = json!({"text": "hi", "chat": {"id": 1, "type": "private", "first_name": "Ann"}});
    assert!(message(private).addressed);
    assert!(message(json!({"text": "👍 @echobot!", "entities": entity("mention", 3, 8)})).addressed);
    assert!(!message(json!({"text": "👍 @echobots", "entities": entity("mention", 3, 9)})).addressed);
    assert!(!message(json!({"text": "@echobot", "entities": entity("mention", 3, 99)})).addressed);
    let by_account = json!([{"type": "text_mention", "offset": 0, "length": 2, "user": {"id": 42}}]);
    assert!(message(json!({"caption": "hi", "caption_entities": by_account})).addressed);
    assert!(message(json!({"text": "x", "reply_to_message": {"message_id": 4, "from": {"id": 42}}})).addressed);
}

#[test]
fn a_command_with_the_bots_own_name_loses_the_name_and_one_of_another_bot_keeps_it() {
    let command = |text: &str, length: usize| {
        message(json!({"text": text, "entities": [{"type": "bot_command", "offset": 0, "length": length}]}))
    };
    let own = command("/ping@EchoBot a@b", 13);
    assert_eq!((own.text.as_str(), own.addressed), ("/ping a@b", true));
    let other = command("/ping@OtherBot", 14);
    assert_eq!((other.text.as_str(), other.addressed), ("/ping@OtherBot", false));
}

#[test]
fn a_topic_is_a_thread_and_its_first_message_is_no_reply() {
    let topic =
        json!({"text": "x", "is_topic_message": true, "message_thread_id": 3, "reply_to_message": {"message_id": 3}});
    let in_topic = message(topic);
    assert_eq!(in_topic.conversation.thread.as_deref(), Some("3"));
    assert_eq!(in_topic.reply_to, None);
    let chain = message(json!({"text": "x", "message_thread_id": 3, "reply_to_message": {"message_id": 3}}));
    assert_eq!((chain.conversation.thread, chain.reply_to.as_deref()), (None, Some("3")));
}

#[test]
fn attachments_come_with_name_and_size_and_without_a_link() {
    let message = message(json!({
        "caption": "look",
        "photo": [{"file_size": 10}, {"file_size": 999}],
        "document": {"file_name": "a.pdf", "mime_type": "application/pdf", "file_size": 7},
        "location": {"latitude": 1.0, "longitude": 2.0},
    }));
    assert_eq!(message.text, "look");
    let kinds: Vec<_> = message.attachments.iter().map(|found| (found.kind, found.size)).collect();
    let expected =
        [(AttachmentKind::Image, Some(999)), (AttachmentKind::File, Some(7)), (AttachmentKind::Location, None)];
    assert_eq!(kinds, expected);
    assert_eq!(message.attachments[1].name.as_deref(), Some("a.pdf"));
    assert!(message.attachments.iter().all(|found| found.url.is_none()));
}

#[test]
fn an_animation_is_no_document_besides() {
    let message = message(json!({"animation": {"file_name": "a.mp4"}, "document": {"file_name": "a.mp4"}}));
    assert_eq!(message.attachments.len(), 1);
}

#[test]
fn edits_posts_and_service_messages_are_told_apart() {
    let post = json!({"message_id": 1, "date": 1, "chat": {"id": -5, "type": "channel", "title": "News"}, "text": "x",
        "sender_chat": {"id": -5, "type": "channel", "title": "News"}});
    match kind(json!({"channel_post": post})) {
        EventKind::Message(message) => {
            assert_eq!(message.conversation.kind, ConversationKind::Channel);
            assert_eq!((message.sender.id.as_str(), message.sender.name.as_deref()), ("-5", Some("News")));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(kind(json!({"edited_channel_post": post})), EventKind::Edited(_)));
    let joined = json!({"message_id": 1, "date": 1, "chat": {"id": -5, "type": "group"}, "new_chat_members": []});
    assert_eq!(kind(json!({"message": joined})), EventKind::Custom { name: "new_chat_members".into() });
    let closed =
        json!({"message_id": 1, "date": 1, "chat": {"id": -5, "type": "supergroup"}, "forum_topic_closed": {}});
    assert_eq!(kind(json!({"message": closed})), EventKind::Custom { name: "forum_topic_closed".into() });
}

#[test]
fn a_pressed_button_carries_its_data() {
    let query = json!({"id": "q", "from": {"id": 1}, "data": "yes",
        "message": {"message_id": 6, "chat": {"id": 8, "type": "private"}}});
    let update = json!({"update_id": 7, "callback_query": query});
    assert_eq!(callback_query_id(&update), Some("q"));
    match kind(update) {
        EventKind::Button { message_id, data, conversation, .. } => {
            assert_eq!((message_id.as_str(), data.as_str(), conversation.id.as_str()), ("6", "yes", "8"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_a_change_of_being_there_is_a_member_event() {
    let change = |key: &str, old: &str, new: &str| {
        kind(json!({key: {"chat": {"id": -5, "type": "group"},
            "old_chat_member": {"user": {"id": 3}, "status": old}, "new_chat_member": {"user": {"id": 3}, "status": new}}}))
    };
    for (old, new, expected) in [
        ("left", "member", Some(Membership::Joined)),
        ("kicked", "restricted", None),
        ("administrator", "left", Some(Membership::Left)),
        ("member", "kicked", Some(Membership::Removed)),
        ("member", "administrator", None),
    ] {
        for key in ["my_chat_member", "chat_member"] {
            match (change(key, old, new), expected) {
                (EventKind::Member { change, member, .. }, Some(expected)) => {
                    assert_eq!((change, member.id.as_str()), (expected, "3"));
                }
                (EventKind::Custom { name }, None) => assert_eq!(name, key),
                (other, _) => panic!("{old} {new}: {other:?}"),
            }
        }
    }
}

#[test]
fn every_reaction_that_came_or_went_is_an_event_with_an_id_of_its_own() {
    let emoji = |emoji: &str| json!({"type": "emoji", "emoji": emoji});
    let events = read(json!({"update_id": 7, "message_reaction": {
        "chat": {"id": -5, "type": "group"}, "message_id": 2, "user": {"id": 3},
        "old_reaction": [emoji("👍"), emoji("🔥")],
        "new_reaction": [emoji("🔥"), {"type": "custom_emoji", "custom_emoji_id": "99"}],
    }}));
    let seen: Vec<_> = events
        .iter()
        .map(|event| match &event.kind {
            EventKind::Reaction { emoji, added, .. } => (emoji.as_str(), *added, event.platform_id.as_deref()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(seen, [("👍", false, Some("42:7")), ("99", true, Some("42:7:1"))]);
}

#[test]
fn what_is_not_known_or_not_readable_is_passed_on_with_its_json() {
    let update = json!({"update_id": 7, "brand_new_kind": {"x": 1}});
    let events = read(update.clone());
    assert_eq!(events[0].kind, EventKind::Custom { name: "brand_new_kind".into() });
    assert_eq!(events[0].raw.as_deref().map(serde_json::from_str::<Value>).unwrap().unwrap(), update);
    let broken = kind(json!({"message": {"message_id": "not a number"}}));
    assert_eq!(broken, EventKind::Custom { name: "message".into() });
}
