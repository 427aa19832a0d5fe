//! OneBot v11 in both directions, against an implementation without a QQ.

use std::net::SocketAddr;
use std::time::Duration;

use bothost::action::{Act, Outgoing, Upload};
use bothost::connector::{DeliveryError, Link, Receipt};
use bothost::event::{ConversationKind, EventKind, Membership};
use harness::eventually;
use harness::onebot::{FakeOneBot, Fault};
use serde_json::{Value, json};

use crate::rig::{Rig, WITHIN, outgoing, say, send};

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
async fn heartbeats_that_stop_end_the_socket() {
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
    assert!(rig.backing_off().await.0.contains("offline"));
    assert!(matches!(rig.deliver("group:5", say("x")).await, Err(DeliveryError::Retryable(_))));
    fake.push_heartbeat(60_000, true);
    rig.connected().await;
    rig.deliver("group:5", say("x")).await.unwrap();
    assert_eq!(fake.calls().len(), 1);
    rig.stop().await;
}

#[tokio::test]
async fn what_the_account_itself_says_does_not_come_back() {
    let fake = FakeOneBot::listen(None).await;
    let mut rig = forward(&fake, "");
    rig.connected().await;
    sockets(&fake, 1).await;
    fake.push_group_message(5, harness::onebot::SELF_ID, text("echo"));
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
    let target = || "100".to_owned();
    let upload = Upload { name: "a".to_owned(), media_type: "text/plain".to_owned(), content: Vec::new() };
    rig.deliver("group:5", Act::Delete { target: target() }).await.unwrap();
    let receipt = rig.deliver("group:5", Act::React { target: target(), emoji: "👍".to_owned() }).await;
    assert_eq!(receipt, Ok(Receipt::default()));
    for act in [
        Act::Edit { target: target(), message: outgoing("x") },
        Act::React { target: target(), emoji: ":custom:".to_owned() },
        send(Outgoing { uploads: vec![upload], ..outgoing("x") }),
    ] {
        assert!(matches!(rig.deliver("group:5", act).await, Err(DeliveryError::Unsupported(_))));
    }
    let calls: Vec<_> = fake.calls().into_iter().map(|call| (call.action, call.parameters)).collect();
    assert_eq!(
        calls,
        [
            ("delete_msg".to_owned(), json!({"message_id": 100})),
            ("set_msg_emoji_like".to_owned(), json!({"message_id": 100, "emoji_id": "128077", "set": true})),
        ]
    );
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
