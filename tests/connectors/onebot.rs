//! OneBot v11 in every direction, against an implementation without a QQ; and that implementation against NoneBot.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bothost::action::{Act, Outgoing, Upload};
use bothost::connector::{DeliveryError, Link, Receipt};
use bothost::event::{AttachmentKind, ConversationKind, EventKind, Membership};
use harness::eventually;
use harness::onebot::{Call, FakeOneBot, Fault, SELF_ID};
use harness::peers::{free_port, peer};
use harness::rig::{Rig, WITHIN, outgoing, say, send};
use serde_json::{Value, json};
use simulators::wire::{self, Reply};
use tokio::net::TcpSocket;
use tokio::process::{Child, Command};

const KEYS: &str = "reconnect_max = \"50ms\"";

fn forward(fake: &FakeOneBot, keys: &str) -> Rig {
    Rig::start("onebot", &format!("mode = \"forward\"\nurl = \"{}\"\n{keys}", fake.url()))
}

/// A connector that waits to be dialled, and the URL to dial.
async fn reverse(keys: &str) -> (Rig, String) {
    let mut rig = Rig::start("onebot", &format!("mode = \"reverse\"\nlisten = \"127.0.0.1:0\"\n{keys}"));
    let status = rig.status.wait_for(|status| status.listening.is_some()).await;
    let listening = status.expect("a connector that runs").listening.expect("just seen");
    (rig, format!("ws://{listening}/onebot/v11/ws"))
}

fn text(text: &str) -> Value {
    json!([{"type": "text", "data": {"text": text}}])
}

async fn sockets(fake: &FakeOneBot, count: usize) {
    eventually(WITHIN, "the sockets", || (fake.sockets() == count).then_some(())).await;
}

// Forward.

#[tokio::test]
async fn messages_come_in_and_answers_go_out_over_one_socket() {
    let fake = FakeOneBot::listen(Some("tok")).await;
    let mut rig = forward(&fake, "access_token = \"tok\"");
    rig.connected().await;
    let id = fake.push_group_message(5, 7, json!("[CQ:at,qq=10] !ping"));
    let message = rig.message().await;
    assert_eq!((message.id, message.text.as_str(), message.addressed), (id.to_string(), "!ping", true));
    assert_eq!((message.conversation.id.as_str(), message.conversation.kind), ("group:5", ConversationKind::Group));
    fake.push_private_message(7, text("hi"));
    assert_eq!(rig.message().await.conversation.id, "private:7");
    let reply = Outgoing { reply_to: Some(id.to_string()), ..outgoing("pong [CQ:at,qq=all]") };
    let receipt = rig.deliver("group:5", send(reply)).await.unwrap();
    assert!(receipt.platform_id.is_some());
    rig.deliver("private:7", say("hello")).await.unwrap();
    let calls = fake.calls();
    assert_eq!((calls[0].action.as_str(), calls[1].action.as_str()), ("send_group_msg", "send_private_msg"));
    let expected = json!([
        {"type": "reply", "data": {"id": id.to_string()}},
        {"type": "text", "data": {"text": "pong [CQ:at,qq=all]"}},
    ]);
    assert_eq!(calls[0].parameters, json!({"group_id": 5, "message": expected}), "no text of a bot becomes a code");
    rig.stop().await;
    sockets(&fake, 0).await;
}

#[tokio::test]
async fn a_wrong_token_or_path_is_said_and_not_tried_in_a_loop() {
    let fake = FakeOneBot::listen(Some("tok")).await;
    for keys in ["", "access_token = \"wrong\""] {
        let mut rig = forward(&fake, keys);
        let link = rig.link(|link| matches!(link, Link::AuthFailed { .. })).await;
        assert!(matches!(link, Link::AuthFailed { error } if error.contains("refuses the access token")));
        assert!(matches!(rig.deliver("group:5", say("x")).await, Err(DeliveryError::Retryable(_))));
        rig.stop().await;
    }
    let table = format!("mode = \"forward\"\nurl = \"{}nowhere\"\naccess_token = \"tok\"", fake.url());
    let mut rig = Rig::start("onebot", &table);
    let (error, wait) = rig.backing_off().await;
    assert!(error.contains("look at the path") && wait == Duration::from_secs(60), "{error} {wait:?}");
    rig.stop().await;
    assert_eq!(fake.sockets_ever(), 0);
}

#[tokio::test]
async fn a_lost_socket_is_made_anew() {
    let fake = FakeOneBot::listen(None).await;
    let address = fake.address();
    let mut rig = forward(&fake, KEYS);
    rig.connected().await;
    fake.close_sockets();
    eventually(WITHIN, "a second socket", || (fake.sockets_ever() == 2 && fake.sockets() == 1).then_some(())).await;
    rig.connected().await;
    fake.push_group_message(5, 7, text("after a close"));
    assert_eq!(rig.message().await.text, "after a close");
    drop(fake);
    rig.backing_off().await;
    let fake = FakeOneBot::listen_on(address, None).await;
    sockets(&fake, 1).await;
    fake.push_group_message(5, 7, text("after a restart"));
    assert_eq!(rig.message().await.text, "after a restart");
    assert_eq!(rig.status.borrow().connections, 3);
    rig.stop().await;
}

#[tokio::test]
async fn a_full_inbox_keeps_no_answer_from_being_read_and_no_event_is_lost() {
    let fake = FakeOneBot::listen(None).await;
    let table = format!("mode = \"forward\"\nurl = \"{}\"", fake.url());
    let mut rig = Rig::start_with_inbox(1, "onebot", &table);
    rig.connected().await;
    sockets(&fake, 1).await;
    // Far more than the inbox, the backlog's lower mark and what is under way can hold; large enough to fill TCP's buffers.
    let padding = "x".repeat(4096);
    for index in 0..2000 {
        fake.push_group_message(5, 7, text(&format!("{index} {padding}")));
    }
    // Nobody takes an event, and yet each of these gets its answer.
    for _ in 0..3 {
        rig.deliver("group:5", say("x")).await.unwrap();
    }
    for index in 0..2000 {
        let message = rig.message().await;
        assert!(message.text.starts_with(&format!("{index} ")), "{index}: {:.20}", message.text);
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_socket_that_falls_silent_is_given_up() {
    let fake = FakeOneBot::listen(None).await;
    let mut rig = forward(&fake, "stall_timeout = \"200ms\"\nreconnect_max = \"50ms\"");
    rig.connected().await;
    sockets(&fake, 1).await;
    fake.hang_sockets();
    let (error, _) = rig.backing_off().await;
    assert!(error.starts_with("nothing heard for"), "{error}");
    eventually(WITHIN, "a second socket", || (fake.sockets_ever() == 2).then_some(())).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_quiet_socket_that_answers_pings_is_kept() {
    let fake = FakeOneBot::listen(None).await;
    let mut rig = forward(&fake, "stall_timeout = \"500ms\"");
    rig.connected().await;
    // Three stalls long nothing is said; a machine under load still answers a ping within half of one.
    let quiet = tokio::time::timeout(Duration::from_millis(1500), rig.status.changed()).await;
    assert!(quiet.is_err(), "{:?}", rig.status.borrow());
    assert_eq!(fake.sockets_ever(), 1);
    let signs = rig.status.borrow().signs.clone();
    assert!(signs.last_success().is_some() && signs.last_event().is_none(), "{signs:?}");
    rig.stop().await;
}

#[tokio::test]
async fn f070_heartbeats_that_stop_end_the_socket() {
    let fake = FakeOneBot::listen(None).await;
    let mut rig = forward(&fake, "stall_timeout = \"1h\"\nreconnect_max = \"50ms\"");
    rig.connected().await;
    sockets(&fake, 1).await;
    fake.push_heartbeat(50, true);
    assert!(rig.backing_off().await.0.starts_with("nothing heard for"));
    rig.stop().await;
}

#[tokio::test]
async fn while_the_account_is_offline_sends_wait() {
    let fake = FakeOneBot::listen(None).await;
    let mut rig = forward(&fake, "");
    rig.connected().await;
    sockets(&fake, 1).await;
    fake.push_heartbeat(60_000, false);
    let link = rig.link(|link| matches!(link, Link::Degraded { .. })).await;
    assert!(link.trouble().unwrap().contains("offline"), "{link:?}");
    assert!(matches!(rig.deliver("group:5", say("x")).await, Err(DeliveryError::Retryable(_))));
    fake.push_heartbeat(60_000, true);
    rig.connected().await;
    rig.deliver("group:5", say("x")).await.unwrap();
    assert_eq!(fake.calls().len(), 1);
    assert_eq!(rig.status.borrow().connections, 1, "the connection was there all the time");
    rig.stop().await;
}

#[tokio::test]
async fn what_the_account_itself_says_does_not_come_back() {
    let fake = FakeOneBot::listen(None).await;
    let mut rig = forward(&fake, "");
    rig.connected().await;
    sockets(&fake, 1).await;
    fake.push_group_message(5, SELF_ID, text("echo"));
    fake.push(&json!({"post_type": "message_sent", "self_id": 10, "user_id": 10, "message": "echo"}));
    fake.push(&json!({"post_type": "notice", "notice_type": "group_decrease", "sub_type": "kick", "self_id": 10,
        "group_id": 5, "user_id": 7}));
    fake.push(&json!({"post_type": "request", "request_type": "friend", "self_id": 10, "user_id": 7, "flag": "f"}));
    assert!(matches!(rig.event().await.kind, EventKind::Member { change: Membership::Removed, .. }));
    let request = rig.event().await;
    assert_eq!(request.kind, EventKind::Custom { name: "request.friend".to_owned() });
    assert!(request.raw.unwrap().contains("\"flag\""));
    rig.stop().await;
}

#[tokio::test]
async fn every_end_of_a_call_has_its_class() {
    let fake = FakeOneBot::listen(None).await;
    let mut rig = forward(&fake, KEYS);
    rig.connected().await;
    let fail = |retcode, message: &str| Fault::Fail { retcode, message: message.to_owned() };
    type Check = fn(&DeliveryError) -> bool;
    let cases: [(Fault, Check); 5] = [
        (fail(1400, "bad"), |error| matches!(error, DeliveryError::BadRequest(_))),
        (fail(1404, "unknown"), |error| *error == DeliveryError::Unsupported("send messages")),
        (fail(120, "muted"), |error| *error == DeliveryError::Permanent("muted (retcode 120)".to_owned())),
        (fail(1200, "Timeout: sendMsg"), |error| matches!(error, DeliveryError::Uncertain(_))),
        (Fault::Disconnect, |error| matches!(error, DeliveryError::Uncertain(_))),
    ];
    for (fault, is_right) in cases {
        fake.fail_next("send_group_msg", fault.clone());
        let error = rig.deliver("group:5", say("x")).await.unwrap_err();
        assert!(is_right(&error), "{fault:?}: {error:?}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn other_acts_are_carried_out_where_the_platform_has_them() {
    let fake = FakeOneBot::listen(None).await;
    let mut rig = forward(&fake, "");
    rig.connected().await;
    let id = fake.push_group_message(5, 7, text("hi"));
    let target = || id.to_string();
    let upload =
        |media_type: &str| Upload { name: "a".to_owned(), media_type: media_type.to_owned(), content: b"hi".to_vec() };
    let receipt = rig.deliver("group:5", Act::React { target: target(), emoji: "👍".to_owned() }).await;
    assert_eq!(receipt, Ok(Receipt::default()));
    rig.deliver("group:5", Act::Delete { target: target() }).await.unwrap();
    let image = send(Outgoing { uploads: vec![upload("image/png")], ..outgoing("look") });
    rig.deliver("group:5", image).await.unwrap();
    for act in [
        Act::Edit { target: target(), message: outgoing("x") },
        Act::React { target: target(), emoji: ":custom:".to_owned() },
        send(Outgoing { uploads: vec![upload("text/plain")], ..outgoing("x") }),
    ] {
        assert!(matches!(rig.deliver("group:5", act).await, Err(DeliveryError::Unsupported(_))));
    }
    let calls: Vec<_> = fake.calls().into_iter().map(|call| (call.action, call.parameters)).collect();
    let segments = json!([
        {"type": "text", "data": {"text": "look"}},
        {"type": "image", "data": {"file": "base64://aGk="}},
    ]);
    assert_eq!(
        calls,
        [
            ("set_msg_emoji_like".to_owned(), json!({"message_id": id, "emoji_id": "128077", "set": true})),
            ("delete_msg".to_owned(), json!({"message_id": id})),
            ("send_group_msg".to_owned(), json!({"group_id": 5, "message": segments})),
        ]
    );
    rig.stop().await;
}

#[tokio::test]
async fn what_people_do_besides_writing_comes_by_its_name_with_all_that_was_said() {
    let fake = FakeOneBot::listen(None).await;
    let mut rig = forward(&fake, "");
    rig.connected().await;
    sockets(&fake, 1).await;
    for (notice_type, fields, name) in [
        (
            "group_recall",
            json!({"group_id": 5, "user_id": 7, "operator_id": 8, "message_id": 9}),
            "notice.group_recall",
        ),
        ("friend_add", json!({"user_id": 7}), "notice.friend_add"),
        ("notify", json!({"sub_type": "poke", "group_id": 5, "user_id": 7, "target_id": 10}), "notify.poke"),
        ("group_ban", json!({"sub_type": "ban", "group_id": 5, "user_id": 7, "duration": 60}), "notice.group_ban"),
    ] {
        let frame = fake.notice(notice_type, fields);
        fake.push(&frame);
        let event = rig.event().await;
        assert_eq!(event.kind, EventKind::Custom { name: name.to_owned() });
        assert_eq!(serde_json::from_str::<Value>(&event.raw.unwrap()).unwrap(), frame);
    }
    let reaction =
        json!({"group_id": "5", "user_id": "7", "message_id": 9, "likes": [{"emoji_id": "128077", "count": 1}]});
    fake.push(&fake.notice("group_msg_emoji_like", reaction));
    let EventKind::Reaction { emoji, message_id, conversation, added, .. } = rig.event().await.kind else { panic!() };
    assert_eq!((emoji.as_str(), message_id.as_str(), conversation.id.as_str(), added), ("👍", "9", "group:5", true));
    fake.push(&fake.notice("group_increase", json!({"sub_type": "approve", "group_id": 5, "user_id": 7})));
    assert!(matches!(rig.event().await.kind, EventKind::Member { change: Membership::Joined, .. }));
    rig.stop().await;
}

#[tokio::test]
async fn what_comes_with_a_message_can_be_fetched_and_what_was_typed_stays_text() {
    let fake = FakeOneBot::listen(None).await;
    let mut rig = forward(&fake, "");
    rig.connected().await;
    sockets(&fake, 1).await;
    // Typed by a person, so escaped by the implementation in the one form and bare in the other.
    let typed = "[CQ:at,qq=10] & &#91;";
    let escaped = "&#91;CQ:at,qq=10&#93; &amp; &amp;#91;";
    let array = json!([
        {"type": "text", "data": {"text": typed}},
        {"type": "image", "data": {"file": "a.png", "url": "https://q/a?b=1,2", "file_size": 12}},
        {"type": "video", "data": {"file": "https://q/v"}},
        {"type": "brand_new", "data": {"x": [1]}},
    ]);
    let code = json!(format!(
        "{escaped}[CQ:image,file=a.png,url=https://q/a?b=1&#44;2,file_size=12][CQ:video,file=https://q/v][CQ:brand_new,x=1]"
    ));
    for message in [array, code] {
        fake.push_group_message(5, 7, message);
        let message = rig.message().await;
        assert_eq!((message.text.as_str(), message.addressed), (typed, false));
        let found: Vec<_> =
            message.attachments.iter().map(|found| (found.kind, found.url.as_deref(), found.size)).collect();
        let expected = [
            (AttachmentKind::Image, Some("https://q/a?b=1,2"), Some(12)),
            (AttachmentKind::Video, Some("https://q/v"), None),
        ];
        assert_eq!(found, expected);
    }
    rig.stop().await;
}

#[tokio::test]
async fn the_account_that_is_logged_in_must_be_the_one_that_is_configured() {
    let fake = FakeOneBot::listen(None).await;
    let mut rig = forward(&fake, "account = 10");
    rig.connected().await;
    fake.push_group_message(5, 7, text("hi"));
    assert_eq!(rig.message().await.text, "hi");
    rig.stop().await;

    let mut rig = forward(&fake, "account = 77");
    let link = rig.link(|link| matches!(link, Link::AuthFailed { .. })).await;
    let error = link.trouble().unwrap();
    assert!(error.contains("`10`") && error.contains("`77`"), "{error}");
    sockets(&fake, 0).await;
    rig.stop().await;

    // Another account is logged in later.
    let mut rig = forward(&fake, "account = 10");
    rig.connected().await;
    sockets(&fake, 1).await;
    fake.log_in_as(11);
    fake.push_group_message(5, 7, text("not for us"));
    rig.link(|link| matches!(link, Link::AuthFailed { error } if error.contains("`11`"))).await;
    assert!(rig.arrivals.try_recv().is_err(), "nothing of another account reaches a bot");
    rig.stop().await;
}

#[tokio::test]
async fn an_implementation_that_does_not_say_whose_account_it_has_is_not_believed() {
    let fake = FakeOneBot::listen(None).await;
    fake.fail_next("get_login_info", Fault::Fail { retcode: 1404, message: "unknown".to_owned() });
    let mut rig = forward(&fake, &format!("account = 10\n{KEYS}"));
    assert!(rig.backing_off().await.0.contains("does not say whose account it has"));
    rig.connected().await;
    rig.stop().await;
}

#[tokio::test]
async fn f062_a_send_whose_answer_never_comes_may_have_been_made() {
    let fake = FakeOneBot::listen(None).await;
    let mut rig = forward(&fake, KEYS);
    rig.connected().await;
    for fault in [Fault::Silence, Fault::Disconnect] {
        fake.fail_next("send_group_msg", fault.clone());
        let begun = rig.begin("group:5", say("x")).await;
        let calls = fake.calls().len();
        eventually(WITHIN, "the call", || (fake.calls().len() > calls || calls == 2).then_some(())).await;
        if fault == Fault::Silence {
            fake.close_sockets();
        }
        let error = tokio::time::timeout(WITHIN, begun).await.unwrap().unwrap().unwrap_err();
        assert!(matches!(error, DeliveryError::Uncertain(_)), "{fault:?}: {error:?}");
        rig.connected().await;
    }
    assert_eq!(fake.calls().len(), 2, "nothing is said twice by itself");
    rig.stop().await;
}

#[tokio::test]
async fn f063_a_token_that_is_revoked_stops_the_connector_without_a_loop() {
    let fake = FakeOneBot::listen(Some("tok")).await;
    let mut rig = forward(&fake, &format!("access_token = \"tok\"\n{KEYS}"));
    rig.connected().await;
    sockets(&fake, 1).await;
    fake.change_token("other");
    fake.close_sockets();
    let link = rig.link(|link| matches!(link, Link::AuthFailed { .. })).await;
    assert!(link.trouble().unwrap().contains("refuses the access token (HTTP 403"), "{link:?}");
    assert!(!format!("{link:?}").contains("tok\""));
    assert!(matches!(rig.deliver("group:5", say("x")).await, Err(DeliveryError::Retryable(_))));
    assert_eq!(fake.sockets_ever(), 1);
    rig.stop().await;
}

#[tokio::test]
async fn f066_what_the_platform_refuses_for_good_is_not_tried_again() {
    let fake = FakeOneBot::listen(None).await;
    let mut rig = forward(&fake, "");
    rig.connected().await;
    for (retcode, message) in [(120, "muted"), (1200, "no friend"), (103, "not in the group")] {
        fake.fail_next("send_group_msg", Fault::Fail { retcode, message: message.to_owned() });
        let expected = DeliveryError::Permanent(format!("{message} (retcode {retcode})"));
        assert_eq!(rig.deliver("group:5", say("x")).await, Err(expected));
    }
    let gone = rig.deliver("group:5", Act::Delete { target: "12345".to_owned() }).await;
    assert!(matches!(gone, Err(DeliveryError::Permanent(_))), "{gone:?}");
    rig.deliver("group:5", say("still connected")).await.unwrap();
    rig.stop().await;
}

#[tokio::test]
async fn f068_the_same_again_has_the_same_id_and_ids_that_begin_anew_have_others() {
    let fake = FakeOneBot::listen(None).await;
    let mut rig = forward(&fake, "");
    rig.connected().await;
    sockets(&fake, 1).await;
    let (_, first) = fake.group_message(5, 7, text("first"));
    let mut later = first.clone();
    later["time"] = json!(1_800_000_000);
    later["message"] = text("after the database was lost");
    let mut elsewhere = first.clone();
    elsewhere["group_id"] = json!(6);
    let friend = fake.friend_request(7, "hi");
    let mut ids = Vec::new();
    for frame in [&first, &later, &first, &elsewhere, &friend, &friend] {
        fake.push(frame);
        ids.push(rig.event().await.platform_id.unwrap());
    }
    assert_eq!((&ids[0], &ids[4]), (&ids[2], &ids[5]));
    assert!(ids[0] != ids[1] && ids[0] != ids[3] && ids[1] != ids[3] && ids[4] != ids[0], "{ids:?}");
    rig.stop().await;
}

#[tokio::test]
async fn f070_a_server_that_closes_every_so_often_loses_nothing_that_was_said_between() {
    let fake = FakeOneBot::listen(None).await;
    let mut rig = forward(&fake, KEYS);
    for (round, code) in [1000, 1001, 1011, 1012, 1013, 4000].into_iter().enumerate() {
        eventually(WITHIN, "a socket", || (fake.sockets_ever() == round + 1 && fake.sockets() == 1).then_some(()))
            .await;
        rig.connected().await;
        fake.push_group_message(5, 7, text(&code.to_string()));
        assert_eq!(rig.message().await.text, code.to_string());
        rig.deliver("group:5", say("x")).await.unwrap();
        fake.close_sockets_with(code);
        rig.link(|link| matches!(link, Link::BackingOff { error, .. } if error.contains(&code.to_string()))).await;
    }
    rig.connected().await;
    assert_eq!(rig.status.borrow().connections, 7);
    rig.stop().await;
}

#[tokio::test]
async fn told_to_stop_it_waits_for_the_answer_at_hand() {
    let fake = FakeOneBot::listen(None).await;
    let mut rig = forward(&fake, "");
    rig.connected().await;
    fake.fail_next("send_group_msg", Fault::Silence);
    let begun = rig.begin("group:5", say("x")).await;
    eventually(WITHIN, "the call", || (fake.calls().len() == 1).then_some(())).await;
    rig.cancel.cancel();
    let later = rig.begin("group:5", say("y")).await;
    assert!(matches!(later.await, Ok(Err(DeliveryError::Retryable(_))) | Err(_)));
    assert_eq!(fake.sockets(), 1);
    fake.close_sockets();
    assert!(matches!(begun.await.unwrap(), Err(DeliveryError::Uncertain(_))));
    rig.stop().await;
}

// Reverse.

#[tokio::test]
async fn an_implementation_that_dials_serves_as_one_that_is_dialled() {
    let (mut rig, url) = reverse("access_token = \"tok\"").await;
    assert!(matches!(rig.deliver("group:5", say("x")).await, Err(DeliveryError::Retryable(_))));
    let fake = FakeOneBot::dial(&url, "Universal", Some("tok")).await.unwrap();
    rig.connected().await;
    fake.push_group_message(5, 7, text("hi"));
    assert_eq!(rig.message().await.text, "hi");
    rig.deliver("group:5", say("hello")).await.unwrap();
    assert_eq!(fake.calls().len(), 1);
    fake.close_sockets();
    assert!(rig.backing_off().await.0.contains("waiting for the implementation's connection"));
    rig.stop().await;
}

#[tokio::test]
async fn sockets_for_events_and_calls_together_make_an_account() {
    let (mut rig, url) = reverse("").await;
    let event = FakeOneBot::dial(&url, "Event", None).await.unwrap();
    assert!(rig.backing_off().await.0.contains("API socket"));
    let api = FakeOneBot::dial(&url, "API", None).await.unwrap();
    rig.connected().await;
    event.push_group_message(5, 7, text("hi"));
    assert_eq!(rig.message().await.text, "hi");
    rig.deliver("group:5", say("hello")).await.unwrap();
    assert_eq!((api.calls().len(), event.calls().len()), (1, 0));
    drop(event);
    rig.link(|link| matches!(link, Link::BackingOff { error, .. } if error.contains("event socket"))).await;
    rig.deliver("group:5", say("still there")).await.unwrap();
    rig.stop().await;
}

#[tokio::test]
async fn a_newer_socket_replaces_the_older_one() {
    let (mut rig, url) = reverse("").await;
    let old = FakeOneBot::dial(&url, "Universal", None).await.unwrap();
    rig.connected().await;
    let new = FakeOneBot::dial(&url, "Universal", None).await.unwrap();
    sockets(&old, 0).await;
    new.push_group_message(5, 7, text("hi"));
    assert_eq!(rig.message().await.text, "hi");
    rig.deliver("group:5", say("hello")).await.unwrap();
    assert_eq!((old.calls().len(), new.calls().len()), (0, 1));
    assert_eq!(rig.status.borrow().link, Link::Connected);
    rig.stop().await;
}

#[tokio::test]
async fn strangers_are_turned_away_by_the_right_status() {
    let (rig, url) = reverse("access_token = \"tok\"").await;
    let status = async |url: &str, token| FakeOneBot::dial(url, "Universal", token).await.map(|_| ()).unwrap_err();
    assert_eq!(status(&url, None).await, 401);
    assert_eq!(status(&url, Some("wrong")).await, 403);
    assert_eq!(status(&format!("{url}/other"), Some("tok")).await, 404);
    let _first = FakeOneBot::dial(&format!("{url}?access_token=tok"), "Universal", None).await.unwrap();
    let other = FakeOneBot::dial_as(11, &url, "Universal", Some("tok")).await;
    assert_eq!(other.map(|_| ()).unwrap_err(), 409, "one connector, one account");
    rig.stop().await;
}

#[tokio::test]
async fn a_stopped_connector_leaves_its_address_free_and_one_that_is_taken_is_waited_for() {
    let (rig, url) = reverse("").await;
    let address: SocketAddr = url[5..url.rfind("/onebot").unwrap()].parse().unwrap();
    let table = format!("mode = \"reverse\"\nlisten = \"{address}\"\n{KEYS}");
    let mut second = Rig::start("onebot", &table);
    assert!(second.backing_off().await.0.contains("cannot listen"));
    rig.stop().await;
    second.status.wait_for(|status| status.listening == Some(address)).await.unwrap();
    FakeOneBot::dial(&url, "Universal", None).await.unwrap();
    second.connected().await;
    second.stop().await;
}

#[tokio::test]
async fn whoever_dials_must_have_the_configured_account() {
    let (mut rig, url) = reverse("access_token = \"tok\"\naccount = 10").await;
    let status = FakeOneBot::dial_as(11, &url, "Universal", Some("tok")).await.map(|_| ()).unwrap_err();
    assert_eq!(status, 403);
    let link = rig.link(|link| matches!(link, Link::AuthFailed { .. })).await;
    assert!(link.trouble().unwrap().contains("`11`") && link.trouble().unwrap().contains("`10`"), "{link:?}");
    // One that says one thing and is another.
    let liar = FakeOneBot::dial_posing_as(10, 13, &url, "Universal", Some("tok")).await.unwrap();
    rig.link(|link| matches!(link, Link::AuthFailed { error } if error.contains("`13`"))).await;
    sockets(&liar, 0).await;
    let fake = FakeOneBot::dial(&url, "Universal", Some("tok")).await.unwrap();
    rig.connected().await;
    fake.log_in_as(12);
    fake.push_group_message(5, 7, text("not for us"));
    rig.link(|link| matches!(link, Link::AuthFailed { error } if error.contains("`12`"))).await;
    sockets(&fake, 0).await;
    assert!(rig.arrivals.try_recv().is_err(), "nothing of another account reaches a bot");
    let _fake = FakeOneBot::dial(&url, "Universal", Some("tok")).await.unwrap();
    rig.connected().await;
    rig.stop().await;
}

#[tokio::test]
async fn the_account_of_one_that_dials_may_be_offline_and_come_back() {
    let (mut rig, url) = reverse("").await;
    let fake = FakeOneBot::dial(&url, "Universal", None).await.unwrap();
    rig.connected().await;
    fake.push_heartbeat(60_000, false);
    rig.link(|link| matches!(link, Link::Degraded { .. })).await;
    fake.close_sockets();
    rig.backing_off().await;
    let fake = FakeOneBot::dial(&url, "Universal", None).await.unwrap();
    rig.connected().await;
    rig.deliver("group:5", say("hello")).await.unwrap();
    assert_eq!(fake.calls().len(), 1);
    rig.stop().await;
}

#[tokio::test]
async fn f071_a_handshake_that_is_none_costs_the_connected_one_nothing() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut rig, url) = reverse("").await;
    let fake = FakeOneBot::dial(&url, "Universal", None).await.unwrap();
    rig.connected().await;
    let address: SocketAddr = url[5..url.rfind("/onebot").unwrap()].parse().unwrap();
    for garbage in [
        "GET /onebot/v11/ws HTTP/1.1\r\nhost: x\r\n\r\n",
        "\u{0}\u{1}\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
    ] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(garbage.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // It ends, with an answer or without.
        let _ = tokio::time::timeout(WITHIN, stream.read_to_end(&mut answer)).await.expect("an end");
        assert!(!String::from_utf8_lossy(&answer).contains(" 101 "), "{garbage:?}");
    }
    fake.push_group_message(5, 7, text("hi"));
    assert_eq!(rig.message().await.text, "hi");
    rig.stop().await;
}

// HTTP.

const SECRET: &str = "s3cret-of-events";

/// A connector that calls an API by HTTP, and the URL to post events to.
async fn posted(fake: &FakeOneBot, keys: &str) -> (Rig, String) {
    let url = fake.url();
    let table = format!("mode = \"http\"\nurl = \"{url}\"\nlisten = \"127.0.0.1:0\"\nsecret = \"{SECRET}\"\n{keys}");
    let mut rig = Rig::start("onebot", &table);
    let status = rig.status.wait_for(|status| status.listening.is_some()).await;
    let listening = status.expect("a connector that runs").listening.expect("just seen");
    (rig, format!("http://{listening}/onebot/v11/"))
}

#[tokio::test]
async fn events_are_posted_here_and_calls_are_posted_there() {
    let fake = FakeOneBot::http(Some("tok")).await;
    let (mut rig, url) = posted(&fake, "access_token = \"tok\"\naccount = 10").await;
    rig.connected().await;
    let (id, frame) = fake.group_message(5, 7, json!("[CQ:at,qq=10] !ping"));
    let (status, message) = tokio::join!(fake.post(&url, Some(SECRET), &frame), rig.message());
    assert_eq!(status, Some(204));
    assert_eq!((message.id, message.text.as_str(), message.addressed), (id.to_string(), "!ping", true));
    let reply = Outgoing { reply_to: Some(id.to_string()), ..outgoing("pong [CQ:at,qq=all]") };
    let receipt = rig.deliver("group:5", send(reply)).await.unwrap();
    assert!(receipt.platform_id.is_some());
    rig.deliver("private:7", say("hello")).await.unwrap();
    rig.deliver("group:5", Act::Delete { target: receipt.platform_id.unwrap() }).await.unwrap();
    let calls = fake.book().calls_of("send_group_msg");
    let sent = json!([
        {"type": "reply", "data": {"id": id.to_string()}},
        {"type": "text", "data": {"text": "pong [CQ:at,qq=all]"}},
    ]);
    assert_eq!(calls[0].request.json(), json!({"group_id": 5, "message": sent}));
    assert_eq!(fake.book().calls_of("send_private_msg").len() + fake.book().calls_of("delete_msg").len(), 2);
    // A request and a notice, of what has no words of its own here.
    let (below, request) = (format!("{url}http"), fake.friend_request(7, "hi"));
    let (status, event) = tokio::join!(fake.post(&below, Some(SECRET), &request), rig.event());
    assert_eq!((status, event.kind), (Some(204), EventKind::Custom { name: "request.friend".to_owned() }));
    rig.stop().await;
}

#[tokio::test]
async fn an_event_is_answered_only_once_the_host_has_it() {
    let fake = FakeOneBot::http(None).await;
    let (mut rig, url) = posted(&fake, "").await;
    rig.connected().await;
    let (_, frame) = fake.group_message(5, 7, text("hi"));
    let mut posting = std::pin::pin!(fake.post(&url, Some(SECRET), &frame));
    let arrival = tokio::select! {
        arrival = rig.arrival() => arrival,
        status = &mut posting => panic!("{status:?} before the host had it"),
    };
    arrival.taken.send(()).unwrap();
    assert_eq!(posting.await, Some(204));
    // One that the host does not take is to come again, and is the same then.
    let (status, arrival) = tokio::join!(fake.post(&url, Some(SECRET), &frame), async {
        let arrival = rig.arrival().await;
        arrival.event.platform_id.clone()
    });
    assert_eq!(status, Some(503));
    let (status, event) = tokio::join!(fake.post(&url, Some(SECRET), &frame), rig.event());
    assert_eq!((status, event.platform_id), (Some(204), arrival));
    rig.stop().await;
}

#[tokio::test]
async fn f071_what_is_not_signed_or_no_event_never_reaches_a_bot() {
    let fake = FakeOneBot::http(None).await;
    let (mut rig, url) = posted(&fake, "account = 10").await;
    rig.connected().await;
    let (_, frame) = fake.group_message(5, 7, text("hi"));
    assert_eq!(fake.post(&url, None, &frame).await, Some(401));
    assert_eq!(fake.post(&url, Some("wrong"), &frame).await, Some(403));
    let id = ("x-self-id", "10");
    for (headers, body, expected) in [
        (&[id, ("x-signature", "sha1=zz")][..], &b"{}"[..], 403),
        (&[id, ("x-signature", "sha256=00")][..], b"{}", 403),
        (&[id, ("x-signature", "sha1=00"), ("x-signature", "sha1=00")][..], b"{}", 401),
    ] {
        assert_eq!(fake.post_raw(&url, headers, body).await, Some(expected), "{headers:?}");
    }
    assert_eq!(fake.post(&url, Some(SECRET), &json!(["no event"])).await, Some(400));
    assert_eq!(fake.post(&url, Some(SECRET), &json!({"status": "ok", "echo": "1"})).await, Some(400));
    let elsewhere = url.replace("/onebot/v11/", "/elsewhere");
    assert_eq!(fake.post(&elsewhere, Some(SECRET), &frame).await, Some(404));
    assert_eq!(fake.post_raw(&url, &[id], &vec![b'x'; 2 << 20]).await, Some(413));
    // The header names one account, the signed body another; and another account altogether.
    let mut other = frame.clone();
    other["self_id"] = json!(11);
    assert_eq!(fake.post(&url, Some(SECRET), &other).await, Some(400));
    fake.log_in_as(11);
    assert_eq!(fake.post(&url, Some(SECRET), &other).await, Some(409));
    assert!(rig.arrivals.try_recv().is_err());
    rig.stop().await;
}

#[tokio::test]
async fn f061_whatever_becomes_of_a_call_has_its_class() {
    let fake = FakeOneBot::http(None).await;
    let (mut rig, _) = posted(&fake, "").await;
    rig.connected().await;
    let answer = |status| wire::Fault::Answer(Reply { status, ..Reply::default() });
    type Check = fn(&DeliveryError) -> bool;
    let cases: [(wire::Fault, Check); 9] = [
        (wire::Fault::Reset, |error| matches!(error, DeliveryError::Uncertain(_))),
        (wire::Fault::CutAnswer, |error| matches!(error, DeliveryError::Uncertain(_))),
        (wire::Fault::Answer(Reply::html(502)), |error| matches!(error, DeliveryError::Uncertain(_))),
        (wire::Fault::Answer(Reply::html(200)), |error| matches!(error, DeliveryError::Uncertain(_))),
        (answer(503), |error| matches!(error, DeliveryError::Retryable(_))),
        (answer(400), |error| matches!(error, DeliveryError::BadRequest(_))),
        (answer(404), |error| *error == DeliveryError::Unsupported("send messages")),
        (answer(401), |error| matches!(error, DeliveryError::Unauthorized(_))),
        (wire::Fault::Answer(Reply { status: 429, ..Reply::default() }.with("retry-after", 3600)), |error| {
            *error == DeliveryError::RateLimited(Duration::from_secs(3600))
        }),
    ];
    for (fault, is_right) in cases {
        fake.book().fail_next("send_group_msg", fault.clone());
        let error = rig.deliver("group:5", say("x")).await.unwrap_err();
        assert!(is_right(&error), "{fault:?}: {error:?}");
    }
    rig.deliver("group:5", say("x")).await.unwrap();
    rig.stop().await;
}

#[tokio::test]
async fn f061_an_api_that_hangs_or_dribbles_is_given_up_and_found_again() {
    let fake = FakeOneBot::http(None).await;
    let (mut rig, url) = posted(&fake, &format!("stall_timeout = \"400ms\"\n{KEYS}")).await;
    rig.connected().await;
    for fault in [wire::Fault::Hang, wire::Fault::Trickle(Duration::from_millis(50)), wire::Fault::Reset] {
        fake.book().fail_next("get_status", fault);
        assert!(rig.backing_off().await.0.contains("API does not answer"));
        rig.connected().await;
    }
    // Events come in all the same.
    fake.book().fail_next("get_status", wire::Fault::Hang);
    rig.backing_off().await;
    let (_, frame) = fake.group_message(5, 7, text("hi"));
    let (status, message) = tokio::join!(fake.post(&url, Some(SECRET), &frame), rig.message());
    assert_eq!((status, message.text.as_str()), (Some(204), "hi"));
    rig.stop().await;
}

#[tokio::test]
async fn f063_an_api_that_refuses_the_token_or_has_another_account_is_said() {
    let fake = FakeOneBot::http(Some("tok")).await;
    let keys = "stall_timeout = \"100ms\"\naccess_token = \"tok\"\naccount = 10";
    let (mut rig, _) = posted(&fake, keys).await;
    rig.connected().await;
    fake.change_token("other");
    let link = rig.link(|link| matches!(link, Link::AuthFailed { .. })).await;
    assert!(link.trouble().unwrap().contains("refuses the access token"), "{link:?}");
    rig.stop().await;
    fake.change_token("tok");
    fake.log_in_as(11);
    let (mut rig, _) = posted(&fake, keys).await;
    let link = rig.link(|link| matches!(link, Link::AuthFailed { .. })).await;
    assert!(link.trouble().unwrap().contains("`11`") && link.trouble().unwrap().contains("`10`"), "{link:?}");
    rig.stop().await;
}

#[tokio::test]
async fn by_http_too_an_account_that_is_offline_holds_what_is_sent() {
    let fake = FakeOneBot::http(None).await;
    fake.set_online(false);
    let (mut rig, url) = posted(&fake, "stall_timeout = \"1h\"").await;
    rig.link(|link| matches!(link, Link::Degraded { .. })).await;
    assert!(matches!(rig.deliver("group:5", say("x")).await, Err(DeliveryError::Retryable(_))));
    assert_eq!(fake.post(&url, Some(SECRET), &fake.heartbeat(5000, true)).await, Some(204));
    rig.connected().await;
    rig.deliver("group:5", say("x")).await.unwrap();
    rig.stop().await;
}

// The simulator against NoneBot, an application of others.

/// Interpreters take their time to start.
const START: Duration = Duration::from_secs(60);

fn nonebot(test: &str, port: u16, more: &[(&str, &str)]) -> Option<Child> {
    let python = peer(test, "nonebot/bin/python")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/nonebot_echo.py");
    let mut command = Command::new(python);
    command.arg(script).env("PORT", port.to_string()).env("TOKEN", "tok").envs(more.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    Some(command.spawn().expect("a program that starts"))
}

async fn listening(port: u16) {
    let deadline = tokio::time::Instant::now() + START;
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        // From another address: a port that nobody listens on yet may else be given to this very socket, which then talks to itself.
        socket.bind((Ipv4Addr::new(127, 0, 0, 2), 0).into()).unwrap();
        if socket.connect((Ipv4Addr::LOCALHOST, port).into()).await.is_ok() {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "NoneBot listens within {START:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until the application has made a call that holds this.
async fn called(fake: &FakeOneBot, action: &str, text: &str) {
    let is_it = |call: &Call| call.action.starts_with(action) && call.parameters.to_string().contains(text);
    eventually(START, text, || fake.calls().iter().any(is_it).then_some(())).await;
}

/// Has everything happen that the simulator knows, and waits for what NoneBot does about it.
async fn everything_happens(fake: &FakeOneBot, tell: impl AsyncFn(Value)) {
    tell(fake.private_message(7, text("array")).1).await;
    called(fake, "send_", "echo:array").await;
    let code =
        json!("[CQ:at,qq=10] code &#91;CQ:face,id=1&#93; &amp; more[CQ:image,file=a.png,url=https://q/a?b=1&#44;2]");
    tell(fake.group_message(5, 7, code).1).await;
    called(fake, "send_", "echo:code [CQ:face,id=1] & more").await;
    tell(fake.notice("group_increase", json!({"sub_type": "approve", "group_id": 5, "user_id": 77, "operator_id": 7})))
        .await;
    called(fake, "send_", "welcome:77").await;
    let request = fake.friend_request(7, "hi");
    tell(request.clone()).await;
    called(fake, "set_friend_add_request", request["flag"].as_str().unwrap()).await;
}

#[tokio::test]
async fn nonebot_dials_the_simulator_and_answers() {
    let fake = FakeOneBot::listen(Some("tok")).await;
    let dial = [("DIAL", fake.url())];
    let dial = dial.each_ref().map(|(name, url)| (*name, url.as_str()));
    let Some(_nonebot) = nonebot("nonebot_dials_the_simulator_and_answers", free_port(), &dial) else { return };
    eventually(START, "NoneBot to dial", || (fake.sockets() == 1).then_some(())).await;
    everything_happens(&fake, async |frame| fake.push(&frame)).await;
}

#[tokio::test]
async fn the_simulator_dials_nonebot_with_the_right_token_only() {
    let port = free_port();
    let Some(_nonebot) = nonebot("the_simulator_dials_nonebot_with_the_right_token_only", port, &[]) else { return };
    listening(port).await;
    let url = format!("ws://127.0.0.1:{port}/onebot/v11/ws");
    assert_eq!(FakeOneBot::dial(&url, "Universal", Some("wrong")).await.map(|_| ()).unwrap_err(), 403);
    let fake = FakeOneBot::dial(&url, "Universal", Some("tok")).await.unwrap();
    everything_happens(&fake, async |frame| fake.push(&frame)).await;
}

#[tokio::test]
async fn the_simulator_posts_to_nonebot_and_is_called_by_http() {
    let (port, fake) = (free_port(), FakeOneBot::http(Some("tok")).await);
    let (test, api) = ("the_simulator_posts_to_nonebot_and_is_called_by_http", fake.url());
    let Some(_nonebot) = nonebot(test, port, &[("API", &api), ("SECRET", SECRET)]) else { return };
    listening(port).await;
    let url = format!("http://127.0.0.1:{port}/onebot/v11/");
    let frame = fake.private_message(7, text("x")).1;
    assert_eq!(fake.post(&url, None, &frame).await, Some(401));
    assert_eq!(fake.post(&url, Some("wrong"), &frame).await, Some(403));
    everything_happens(&fake, async |frame| assert_eq!(fake.post(&url, Some(SECRET), &frame).await, Some(204))).await;
}
