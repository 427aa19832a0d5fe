use super::*;
use serde_json::json;

fn read(kind: &str, data: Value) -> Option<Event> {
    let connector = "chat".parse().unwrap();
    Reader { connector: &connector, me: Some("1") }.event(kind, &data, "s:7")
}

fn base() -> Value {
    json!({"id": "175928847299117063", "channel_id": "5", "guild_id": "6", "type": 0, "content": "  hi\n*you* ",
        "author": {"id": "7", "username": "ann", "global_name": "Ann"}, "member": {"nick": "Annie"}, "mentions": []})
}

fn with(changes: Value) -> Value {
    let mut message = base();
    for (key, value) in changes.as_object().unwrap() {
        message[key] = value.clone();
    }
    message
}

fn message(changes: Value) -> event::Message {
    match read("MESSAGE_CREATE", with(changes)).unwrap().kind {
        EventKind::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_keeps_its_text_and_its_time_is_in_its_id() {
    let event = read("MESSAGE_CREATE", base()).unwrap();
    assert_eq!(event.platform_id.as_deref(), Some("message:175928847299117063"));
    let message = message(json!({}));
    assert_eq!((message.text.as_str(), message.sender.name.as_deref()), ("  hi\n*you* ", Some("Annie")));
    assert_eq!(message.sent_at, Timestamp::from_millis(1_462_015_105_796));
    assert_eq!((message.conversation.id.as_str(), message.conversation.kind), ("5", ConversationKind::Group));
    assert!(!message.addressed);
}

#[test]
fn a_message_is_addressed_in_private_by_a_mention_or_by_an_answer() {
    let me = json!({"id": "1", "bot": true});
    assert!(message(json!({"guild_id": null})).addressed);
    assert!(message(json!({"mentions": [me]})).addressed);
    let answer =
        message(json!({"type": 19, "message_reference": {"message_id": "9"}, "referenced_message": {"author": me}}));
    assert!(answer.addressed && answer.reply_to.as_deref() == Some("9"));
    let passed_on = message(json!({"message_reference": {"message_id": "9", "type": 1}}));
    assert_eq!(passed_on.reply_to, None);
}

#[test]
fn what_programs_write_is_left_out_and_what_discord_tells_of_is_no_message() {
    for changes in
        [json!({"author": {"id": "1"}}), json!({"author": {"id": "8", "bot": true}}), json!({"webhook_id": "8"})]
    {
        assert_eq!(read("MESSAGE_CREATE", with(changes)), None);
    }
    let joined = read("MESSAGE_CREATE", with(json!({"type": 7}))).unwrap();
    assert_eq!(joined.kind, EventKind::Custom { name: "MESSAGE_CREATE".to_owned() });
}

#[test]
fn an_edit_is_known_by_its_time_and_a_looked_up_link_is_none() {
    let edited = read("MESSAGE_UPDATE", with(json!({"edited_timestamp": "T1"}))).unwrap();
    assert_eq!(edited.platform_id.as_deref(), Some("edit:175928847299117063:T1"));
    assert!(matches!(edited.kind, EventKind::Edited(_)));
    assert_eq!(read("MESSAGE_UPDATE", base()), None);
    assert_eq!(read("MESSAGE_UPDATE", json!({"id": "1", "channel_id": "5", "embeds": []})), None);
}

#[test]
fn files_and_stickers_come_with_their_addresses() {
    let got = message(json!({
        "attachments": [{"filename": "a.png", "content_type": "image/png", "size": 3, "url": "https://cdn/a.png"}, {"filename": "b"}],
        "sticker_items": [{"id": "4", "name": "wave"}],
    }));
    let kinds: Vec<_> = got.attachments.iter().map(|attachment| attachment.kind).collect();
    assert_eq!(kinds, [AttachmentKind::Image, AttachmentKind::File, AttachmentKind::Sticker]);
    assert_eq!((got.attachments[0].size, got.attachments[0].url.as_deref()), (Some(3), Some("https://cdn/a.png")));
}

#[test]
fn reactions_and_members_are_known_by_their_place_in_the_session() {
    let reaction = json!({"user_id": "7", "channel_id": "5", "message_id": "9", "guild_id": "6", "emoji": {"id": "3", "name": "ok"}});
    let event = read("MESSAGE_REACTION_ADD", reaction.clone()).unwrap();
    assert_eq!(event.platform_id.as_deref(), Some("place:s:7"));
    assert!(matches!(event.kind, EventKind::Reaction { emoji, added: true, .. } if emoji == "ok:3"));
    assert!(matches!(
        read("MESSAGE_REACTION_REMOVE", reaction).unwrap().kind,
        EventKind::Reaction { added: false, .. }
    ));
    let own = json!({"user_id": "1", "channel_id": "5", "message_id": "9", "emoji": {"name": "x"}});
    assert_eq!(read("MESSAGE_REACTION_ADD", own), None);
    let left = read("GUILD_MEMBER_REMOVE", json!({"guild_id": "6", "user": {"id": "7", "username": "ann"}})).unwrap();
    assert!(
        matches!(left.kind, EventKind::Member { change: Membership::Left, member, .. } if member.name.as_deref() == Some("ann"))
    );
}

fn interaction(kind: u64, data: Value) -> Value {
    json!({"id": "175928847299117063", "application_id": "1", "type": kind, "token": "s3cret", "data": data, "channel_id": "5",
        "guild_id": "6", "member": {"user": {"id": "7", "username": "ann"}}, "message": {"id": "9"}})
}

#[test]
fn a_slash_command_is_what_somebody_might_have_typed_and_its_token_stays_here() {
    let options = json!([{"type": 2, "name": "group", "options": [{"type": 1, "name": "add", "options": [
        {"type": 3, "name": "what", "value": "two words"}, {"type": 4, "name": "count", "value": 3}, {"type": 5, "name": "x", "value": true}]}]}]);
    let event =
        read("INTERACTION_CREATE", interaction(2, json!({"type": 1, "name": "list", "options": options}))).unwrap();
    assert!(!event.raw.as_ref().unwrap().contains("s3cret"));
    assert_eq!(event.platform_id.as_deref(), Some("interaction:175928847299117063"));
    let EventKind::Message(message) = event.kind else { panic!() };
    assert_eq!((message.text.as_str(), message.addressed), ("/list group add two words 3 true", true));
    let menu =
        read("INTERACTION_CREATE", interaction(2, json!({"type": 3, "name": "Quote", "target_id": "99"}))).unwrap();
    assert!(matches!(menu.kind, EventKind::Message(message) if message.text == "/Quote 99"));
}

#[test]
fn a_button_is_a_button_and_other_interactions_are_discords_own() {
    let button = read("INTERACTION_CREATE", interaction(3, json!({"component_type": 2, "custom_id": "yes"}))).unwrap();
    assert!(matches!(button.kind, EventKind::Button { message_id, data, .. } if message_id == "9" && data == "yes"));
    let menu =
        read("INTERACTION_CREATE", interaction(3, json!({"component_type": 3, "custom_id": "m", "values": ["a"]})))
            .unwrap();
    assert!(matches!(menu.kind, EventKind::Custom { .. }));
    assert_eq!(read("INTERACTION_CREATE", interaction(4, json!({"name": "x"}))), None, "a suggestion is no event");
}

#[test]
fn what_is_not_known_is_passed_on_and_what_is_no_happening_is_not() {
    assert!(
        matches!(read("THREAD_CREATE", json!({"id": "1"})).unwrap().kind, EventKind::Custom { name } if name == "THREAD_CREATE")
    );
    for quiet in QUIET {
        assert_eq!(read(quiet, json!({"id": "1"})), None);
    }
    for kind in ["MESSAGE_CREATE", "MESSAGE_UPDATE", "MESSAGE_REACTION_ADD", "GUILD_MEMBER_ADD", "INTERACTION_CREATE"] {
        assert_eq!(read(kind, json!({"id": 5})), None, "{kind} of another shape");
    }
}
