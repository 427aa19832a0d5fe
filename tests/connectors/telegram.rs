//! Telegram, against a strict server.

mod peers;
mod webhook;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bothost::action::{Act, Button, Outgoing, TextFormat, Upload};
use bothost::clock::Timestamp;
use bothost::connector::{DeliveryError, Link};
use bothost::event::{EventKind, Membership};
use harness::eventually;
use harness::rig::{Rig, WITHIN, outgoing, say, send};
use serde_json::{Value, json};
use simulators::telegram::{Call, Fault, Telegram};
use simulators::wire::Reply;

const TOKEN: &str = "123456:s3cret-t0ken";

fn start(fake: &Telegram) -> Rig {
    start_with(fake, "reconnect_max = \"50ms\"")
}

fn start_with(fake: &Telegram, keys: &str) -> Rig {
    let table = format!("token = \"{TOKEN}\"\napi_url = \"{}\"\npoll_timeout = \"1s\"\n{keys}", fake.url());
    Rig::start("telegram", &table)
}

/// Waits until a call of `method` for which `is_it` holds has arrived.
async fn call(fake: &Telegram, method: &str, is_it: impl Fn(&Call) -> bool) -> Call {
    eventually(WITHIN, method, || fake.calls_of(method).into_iter().find(|call| is_it(call))).await
}

async fn confirmed(fake: &Telegram, left: &[i64]) {
    eventually(WITHIN, "the offset to move", || (fake.unconfirmed() == left).then_some(())).await;
}

// Receiving.

#[tokio::test]
async fn where_nothing_happens_it_is_connected_all_the_same_and_then_polls_for_long() {
    let fake = Telegram::start(TOKEN).await;
    let table = format!("token = \"{TOKEN}\"\napi_url = \"{}\"\npoll_timeout = \"50s\"", fake.url());
    let mut rig = Rig::start("telegram", &table);
    rig.connected().await;
    call(&fake, "getUpdates", |call| call.parameters["timeout"] == 50).await;
    let timeouts: Vec<_> =
        fake.calls_of("getUpdates").into_iter().map(|call| call.parameters["timeout"].clone()).collect();
    assert_eq!(timeouts, [json!(0), json!(50)]);
    rig.stop().await;
}

#[tokio::test]
async fn an_update_is_confirmed_only_after_the_host_has_taken_it_over() {
    let fake = Telegram::start(TOKEN).await;
    let id = fake.push_message(5, "hi");
    let mut rig = start(&fake);
    let arrival = rig.arrival().await;
    // A delivery goes through meanwhile, so the connector was not merely slow to confirm.
    rig.deliver("5", say("x")).await.unwrap();
    assert_eq!(fake.unconfirmed(), [id]);
    arrival.taken.send(()).unwrap();
    confirmed(&fake, &[]).await;
    rig.stop().await;
}

#[tokio::test]
async fn of_a_batch_that_was_taken_over_in_part_only_that_part_is_confirmed() {
    let fake = Telegram::start(TOKEN).await;
    let ids: Vec<_> = (0..4).map(|index| fake.push_message(5, &index.to_string())).collect();
    let mut rig = start(&fake);
    rig.event().await;
    rig.event().await;
    drop(rig.arrival().await.taken);
    rig.link(|link| *link == Link::Stopped).await;
    assert_eq!(fake.unconfirmed(), ids[2..]);
    rig.stop().await;
}

#[tokio::test]
async fn what_was_not_confirmed_comes_again_with_the_same_id() {
    let fake = Telegram::start(TOKEN).await;
    fake.push_message(5, "hi");
    let mut first = start(&fake);
    let arrival = first.arrival().await;
    drop(arrival.taken);
    first.stop().await;
    let mut second = start(&fake);
    assert_eq!(second.event().await.platform_id, arrival.event.platform_id);
    second.stop().await;
}

#[tokio::test]
async fn told_to_stop_with_a_full_inbox_it_ends_and_confirms_nothing() {
    let fake = Telegram::start(TOKEN).await;
    let ids: Vec<_> = (0..3).map(|_| fake.push_message(5, "hi")).collect();
    let table = format!("token = \"{TOKEN}\"\napi_url = \"{}\"\npoll_timeout = \"1s\"", fake.url());
    let mut rig = Rig::start_with_inbox(1, "telegram", &table);
    let first = rig.arrival().await;
    rig.cancel.cancel();
    drop(first);
    rig.stop().await;
    assert_eq!(fake.unconfirmed(), ids);
}

#[tokio::test]
async fn told_to_stop_it_waits_for_what_is_on_its_way_into_the_host_and_confirms_it() {
    let fake = Telegram::start(TOKEN).await;
    for text in ["one", "two", "three"] {
        fake.push_message(5, text);
    }
    let mut rig = start(&fake);
    let first = rig.arrival().await;
    rig.cancel.cancel();
    // It has seen that it is to stop once it takes no more deliveries.
    eventually(WITHIN, "no more deliveries", || rig.deliveries.is_closed().then_some(())).await;
    first.taken.send(()).unwrap();
    rig.event().await;
    rig.event().await;
    rig.stop().await;
    assert!(fake.unconfirmed().is_empty());
}

#[tokio::test]
async fn updates_of_several_batches_arrive_in_order_and_once() {
    let fake = Telegram::start(TOKEN).await;
    let mut rig = start(&fake);
    for index in 0..250 {
        fake.push_message(5, &index.to_string());
    }
    for index in 0..250 {
        assert_eq!(rig.message().await.text, index.to_string());
    }
    confirmed(&fake, &[]).await;
    rig.stop().await;
}

#[tokio::test]
async fn members_and_reactions_are_asked_for() {
    let fake = Telegram::start(TOKEN).await;
    let mut rig = start(&fake);
    call(&fake, "getUpdates", |_| true).await;
    let member = |status: &str| json!({"user": {"id": 3}, "status": status});
    let chat = json!({"id": -5, "type": "group"});
    fake.push_update(
        "chat_member",
        json!({"chat": chat, "old_chat_member": member("left"), "new_chat_member": member("member")}),
    );
    fake.push_update(
        "message_reaction",
        json!({"chat": chat, "message_id": 2, "user": {"id": 3}, "old_reaction": [],
            "new_reaction": [{"type": "emoji", "emoji": "👍"}]}),
    );
    assert!(matches!(rig.event().await.kind, EventKind::Member { change: Membership::Joined, .. }));
    assert!(matches!(rig.event().await.kind, EventKind::Reaction { added: true, .. }));
    rig.stop().await;
}

#[tokio::test]
async fn a_pressed_button_is_an_event_and_its_spinner_is_stopped() {
    let fake = Telegram::start(TOKEN).await;
    let mut rig = start(&fake);
    let button = Button { label: "Yes".to_owned(), data: "yes".to_owned() };
    let message = Outgoing { buttons: vec![vec![button]], ..outgoing("Sure?") };
    let target = rig.deliver("5", send(message)).await.unwrap().platform_id.unwrap();
    let query = fake.press(5, target.parse().unwrap(), "yes");
    let EventKind::Button { data, message_id, .. } = rig.event().await.kind else { panic!("no button") };
    assert_eq!((data.as_str(), &message_id), ("yes", &target));
    let answer = call(&fake, "answerCallbackQuery", |call| call.status.is_some()).await;
    assert_eq!((&answer.parameters["callback_query_id"], answer.status), (&json!(query), Some(200)));
    rig.stop().await;
}

#[tokio::test]
async fn what_somebody_changes_is_an_edit_and_a_topic_is_a_thread() {
    let fake = Telegram::start(TOKEN).await;
    let mut rig = start(&fake);
    fake.push_edit(5, 77, "better");
    let EventKind::Edited(edited) = rig.event().await.kind else { panic!("no edit") };
    assert_eq!((edited.id.as_str(), edited.text.as_str()), ("77", "better"));
    fake.push_topic_message(-1_000_000_000_005, 9, "in the topic");
    let message = rig.message().await;
    assert_eq!(message.conversation.thread.as_deref(), Some("9"));
    rig.deliver("-1000000000005#9", say("there too")).await.unwrap();
    assert_eq!(fake.sent()[0]["message_thread_id"], 9);
    rig.stop().await;
}

#[tokio::test]
async fn a_file_that_comes_has_a_name_and_a_size_and_no_link_that_would_hold_the_token() {
    let fake = Telegram::start(TOKEN).await;
    fake.push_document(5, "a.pdf", b"content", "look");
    let mut rig = start(&fake);
    let event = rig.event().await;
    assert!(!event.raw.as_ref().unwrap().contains("s3cret"));
    let EventKind::Message(message) = event.kind else { panic!("no message") };
    let file = &message.attachments[0];
    assert_eq!((message.text.as_str(), file.name.as_deref(), file.size), ("look", Some("a.pdf"), Some(7)));
    assert_eq!(file.url, None);
    rig.stop().await;
}

#[tokio::test]
async fn f068_ids_that_leap_begin_anew_or_come_twice_neither_stop_nor_lose_anything() {
    let fake = Telegram::start(TOKEN).await;
    let of = |update: i64| Some(format!("123456:{update}"));
    fake.push_update("poll", json!({"id": "1"}));
    fake.repeat_update("poll", json!({"id": "1"}), 1000);
    let mut rig = start(&fake);
    for _ in 0..2 {
        assert_eq!(rig.event().await.platform_id, of(1000), "so that the host knows the second one again");
    }
    fake.restart_ids(9_000_000);
    fake.push_message(5, "after a gap");
    assert_eq!(rig.event().await.platform_id, of(9_000_000));
    confirmed(&fake, &[]).await;
    fake.restart_ids(17);
    fake.push_message(5, "anew");
    assert_eq!(rig.event().await.platform_id, of(17));
    confirmed(&fake, &[]).await;
    rig.stop().await;
}

// What goes wrong while receiving.

#[tokio::test]
async fn a_refused_token_ends_the_polling_and_is_not_tried_again() {
    let fake = Telegram::start("999:another").await;
    let mut rig = start(&fake);
    let link = rig.link(|link| matches!(link, Link::AuthFailed { .. })).await;
    assert!(matches!(link, Link::AuthFailed { error } if error.contains("Unauthorized")));
    assert!(matches!(rig.deliver("5", say("x")).await, Err(DeliveryError::Unauthorized(_))));
    assert_eq!((fake.calls_of("getMe").len(), fake.calls_of("getUpdates").len()), (1, 0));
    rig.cancel.cancel();
    rig.task.await.unwrap();
}

#[tokio::test]
async fn f063_a_token_that_is_revoked_while_it_runs_ends_the_polling_and_is_not_tried_again() {
    let fake = Telegram::start(TOKEN).await;
    let mut rig = start(&fake);
    rig.connected().await;
    fake.revoke_token();
    rig.link(|link| matches!(link, Link::AuthFailed { .. })).await;
    let polls = fake.calls_of("getUpdates").len();
    assert!(matches!(rig.deliver("5", say("x")).await, Err(DeliveryError::Unauthorized(_))));
    assert_eq!((fake.calls_of("getUpdates").len(), fake.calls_of("getMe").len()), (polls, 1));
    rig.stop().await;
}

#[tokio::test]
async fn f061_servers_that_fail_in_any_way_are_tried_again_and_nothing_is_lost_or_doubled() {
    let fake = Telegram::start(TOKEN).await;
    for fault in [
        Fault::Html(502),
        Fault::refuse(500, "Internal Server Error: restart"),
        Fault::CutAnswer,
        Fault::Reset,
        Fault::Trickle(Duration::from_millis(300)),
        Fault::Answer(Reply { body: "x".repeat(9 << 20), ..Reply::default() }),
        Fault::Answer(Reply { body: "no JSON".to_owned(), ..Reply::default() }),
        Fault::Html(404),
        Fault::refuse(409, "Conflict: terminated by other getUpdates request"),
    ] {
        fake.fail_next("getUpdates", fault);
    }
    fake.fail_next("getMe", Fault::Html(503));
    fake.push_message(5, "one");
    let mut rig = start_with(&fake, "stall_timeout = \"1100ms\"\nreconnect_max = \"50ms\"");
    assert_eq!(rig.message().await.text, "one");
    fake.push_message(5, "two");
    assert_eq!(rig.message().await.text, "two");
    confirmed(&fake, &[]).await;
    assert!(rig.arrivals.try_recv().is_err());
    rig.stop().await;
}

#[tokio::test]
async fn f061_a_server_that_is_not_there_or_speaks_no_tls_is_named() {
    let fake = Telegram::start(TOKEN).await;
    let closed = harness::peers::free_port();
    for (url, expected) in [
        (fake.url().replace("http:", "https:"), "TLS with 127.0.0.1 failed".to_owned()),
        (format!("http://127.0.0.1:{closed}"), format!("127.0.0.1:{closed}")),
    ] {
        let mut rig = Rig::start("telegram", &format!("token = \"{TOKEN}\"\napi_url = \"{url}\""));
        let (error, _) = rig.backing_off().await;
        assert!(error.contains(&expected) && !error.contains("s3cret"), "{error}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_poll_that_brings_nothing_at_all_is_given_up() {
    let fake = Telegram::start(TOKEN).await;
    fake.fail_next("getUpdates", Fault::Hang);
    let mut rig = start_with(&fake, "stall_timeout = \"1100ms\"\nreconnect_max = \"50ms\"");
    assert_eq!(rig.backing_off().await.0, "nothing heard for 1.1 s");
    let (signs, stalled) = (rig.status.borrow().signs.clone(), Timestamp::now());
    fake.push_message(5, "hi");
    assert_eq!(rig.message().await.text, "hi");
    assert!(signs.last_success() >= Some(stalled), "{signs:?}");
    rig.stop().await;
}

#[tokio::test]
async fn f060_a_pause_is_as_long_as_telegram_says_however_it_says_it() {
    let fake = Telegram::start(TOKEN).await;
    for (given, seconds) in
        [(json!(3600), 3600), (json!(null), 5), (json!(-1), 5), (json!("7"), 7), (json!("soon"), 5), (json!(1), 1)]
    {
        fake.fail_next("getUpdates", Fault::RateLimited(given.clone()));
        fake.fail_next("sendMessage", Fault::RateLimited(given.clone()));
        let polls = fake.calls_of("getUpdates").len();
        let mut rig = start(&fake);
        assert_eq!(rig.backing_off().await.1, Duration::from_secs(seconds), "{given}");
        let limited = Err(DeliveryError::RateLimited(Duration::from_secs(seconds)));
        assert_eq!(rig.deliver("5", say("x")).await, limited, "{given}");
        // Polls and sends have pauses of their own.
        rig.deliver("5", say("x")).await.unwrap();
        assert_eq!(fake.calls_of("getUpdates").len(), polls + 1, "{given}: nobody asks meanwhile");
        if seconds == 1 {
            rig.connected().await;
            let polls = fake.calls_of("getUpdates").split_off(polls);
            assert!(polls[1].at - polls[0].at >= Duration::from_secs(1));
        }
        rig.stop().await;
    }
}

#[tokio::test]
async fn f064_two_processes_with_one_token_are_told_of_each_other() {
    let fake = Telegram::start(TOKEN).await;
    let mut first = start_with(&fake, "reconnect_max = \"1h\"");
    // Its second poll is open, and not about to be made.
    eventually(WITHIN, "a second poll", || (fake.calls_of("getUpdates").len() == 2).then_some(())).await;
    let mut second = start_with(&fake, "reconnect_max = \"1h\"");
    let Link::Contested { error, wait } = first.link(|link| matches!(link, Link::Contested { .. })).await else {
        unreachable!("it was waited for")
    };
    assert!(error.starts_with("another process polls with this token"), "{error}");
    assert_eq!(wait, Duration::from_secs(6), "a poll's length and a margin");
    second.connected().await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_webhook_in_the_way_is_removed_and_updates_are_kept() {
    let fake = Telegram::start(TOKEN).await;
    fake.push_message(5, "kept");
    fake.set_webhook();
    let mut rig = start(&fake);
    assert_eq!(rig.message().await.text, "kept");
    assert_eq!(fake.calls_of("deleteWebhook")[0].parameters["drop_pending_updates"], false);
    rig.stop().await;
}

// Delivering.

#[tokio::test]
async fn a_message_carries_its_reply_topic_and_buttons() {
    let fake = Telegram::start(TOKEN).await;
    let rig = start(&fake);
    let button = |label: &str, data: &str| Button { label: label.to_owned(), data: data.to_owned() };
    let message = Outgoing {
        reply_to: Some("4".to_owned()),
        buttons: vec![vec![button("Yes", "y"), button("No", "n")], vec![button("Later", "l")]],
        ..outgoing("*not* markup")
    };
    let receipt = rig.deliver("-100123#9", send(message)).await.unwrap();
    assert!(receipt.platform_id.unwrap().parse::<i64>().is_ok());
    let expected = json!({
        "chat_id": -100_123,
        "message_thread_id": 9,
        "text": "*not* markup",
        "reply_parameters": {"message_id": 4, "allow_sending_without_reply": true},
        "reply_markup": {"inline_keyboard": [
            [{"text": "Yes", "callback_data": "y"}, {"text": "No", "callback_data": "n"}],
            [{"text": "Later", "callback_data": "l"}],
        ]},
    });
    assert_eq!(fake.sent(), [expected]);
    rig.stop().await;
}

#[tokio::test]
async fn a_long_text_becomes_several_messages_with_the_buttons_under_the_last() {
    let fake = Telegram::start(TOKEN).await;
    let rig = start(&fake);
    let line = format!("{}\n", "👍".repeat(50));
    let text = line.repeat(100);
    let button = Button { label: "More".to_owned(), data: "m".to_owned() };
    let message = Outgoing { buttons: vec![vec![button]], reply_to: Some("4".to_owned()), ..outgoing(&text) };
    rig.deliver("5", send(message)).await.unwrap();
    let sent = fake.sent();
    assert_eq!(sent.iter().map(|part| part["text"].as_str().unwrap()).collect::<String>(), text);
    assert!(sent.iter().all(|part| part["text"].as_str().unwrap().ends_with('\n')), "cut between lines");
    let with = |key: &str| sent.iter().map(|part| part.get(key).is_some()).collect::<Vec<_>>();
    assert_eq!(with("reply_parameters"), [true, false, false]);
    assert_eq!(with("reply_markup"), [false, false, true]);
    rig.stop().await;
}

/// A text of two parts, and the first letter of each that is there.
fn two_parts() -> String {
    format!("{}\n{}", "a".repeat(4000), "b".repeat(4000))
}

fn parts_there(fake: &Telegram) -> String {
    fake.sent().iter().map(|part| part["text"].as_str().unwrap().chars().next().unwrap()).collect()
}

#[tokio::test]
async fn between_two_parts_a_short_pause_is_waited_for_and_after_a_longer_one_only_the_rest_is_sent() {
    let fake = Telegram::start(TOKEN).await;
    let rig = start(&fake);
    let text = two_parts();
    fake.pass_next("sendMessage");
    fake.fail_next("sendMessage", Fault::RateLimited(json!(1)));
    rig.deliver_keyed(1, "5", say(&text)).await.unwrap();
    assert_eq!(parts_there(&fake), "ab");
    fake.pass_next("sendMessage");
    fake.fail_next("sendMessage", Fault::RateLimited(json!(3600)));
    let limited = rig.deliver_keyed(2, "5", say(&text)).await;
    assert_eq!(limited, Err(DeliveryError::RateLimited(Duration::from_secs(3600))));
    let first = fake.showing(5)[2]["message_id"].to_string();
    rig.deliver_keyed(3, "6", say("c")).await.unwrap();
    let receipt = rig.deliver_keyed(2, "5", say(&text)).await.unwrap();
    assert_eq!((parts_there(&fake).as_str(), receipt.platform_id), ("abacb", Some(first)));
    rig.stop().await;
}

#[tokio::test]
async fn a_later_part_that_is_refused_has_the_class_of_its_refusal_and_what_was_before_is_there_once() {
    let fake = Telegram::start(TOKEN).await;
    let rig = start(&fake);
    type Class = fn(String) -> DeliveryError;
    let blocked = Fault::refuse(403, "Forbidden: bot was blocked by the user");
    let faults: [(Fault, &str, Class); 4] = [
        (blocked.clone(), "Forbidden: bot was blocked by the user (403)", DeliveryError::Permanent),
        (Fault::refuse(400, "Bad Request: no"), "Bad Request: no (400)", DeliveryError::BadRequest),
        (Fault::refuse(401, "Unauthorized"), "Unauthorized (401)", DeliveryError::Unauthorized),
        (Fault::refuse(500, "Oops"), "Oops (500)", DeliveryError::Uncertain),
    ];
    for (key, (fault, why, class)) in (1..).zip(faults) {
        fake.pass_next("sendMessage");
        fake.fail_next("sendMessage", fault);
        let refused = rig.deliver_keyed(key, "5", say(&two_parts())).await;
        assert_eq!(refused, Err(class(format!("1 of 2 parts are there, then: {why}"))));
    }
    assert_eq!(parts_there(&fake), "aaaa");
    // Of what was in doubt, only the part in doubt is sent again.
    rig.deliver_keyed(4, "5", say(&two_parts())).await.unwrap();
    assert_eq!(parts_there(&fake), "aaaab");

    let files = vec![upload("a.bin", "", b"x"), upload("b.bin", "", b"y")];
    fake.pass_next("sendDocument");
    fake.fail_next("sendDocument", blocked);
    let refused = rig.deliver_keyed(5, "7", send(Outgoing { uploads: files, ..outgoing("") })).await;
    assert!(matches!(refused, Err(DeliveryError::Permanent(_))), "{refused:?}");
    assert_eq!(fake.showing(7).len(), 1);
    rig.stop().await;
}

#[tokio::test]
async fn markup_that_does_not_parse_is_sent_as_it_stands() {
    let fake = Telegram::start(TOKEN).await;
    let rig = start(&fake);
    for text in ["*bold*", "2 * 3"] {
        let message = Outgoing { format: TextFormat::Markdown, ..outgoing(text) };
        rig.deliver("5", send(message)).await.unwrap();
    }
    let sent = fake.sent();
    assert_eq!((&sent[0]["parse_mode"], &sent[0]["text"]), (&json!("Markdown"), &json!("*bold*")));
    assert_eq!((&sent[1]["parse_mode"], &sent[1]["text"]), (&Value::Null, &json!("2 * 3")));
    rig.stop().await;
}

#[tokio::test]
async fn a_group_that_became_a_supergroup_is_followed_and_from_then_on_at_once() {
    let fake = Telegram::start(TOKEN).await;
    let rig = start(&fake);
    fake.migrate(-777, -1_000_000_000_777);
    for text in ["one", "two"] {
        rig.deliver("-777", say(text)).await.unwrap();
    }
    let chats: Vec<_> = fake.calls_of("sendMessage").iter().map(|call| call.parameters["chat_id"].clone()).collect();
    assert_eq!(chats, [json!(-777), json!(-1_000_000_000_777_i64), json!(-1_000_000_000_777_i64)]);
    rig.stop().await;
}

fn upload(name: &str, media_type: &str, content: &[u8]) -> Upload {
    Upload { name: name.to_owned(), media_type: media_type.to_owned(), content: content.to_vec() }
}

#[tokio::test]
async fn files_go_one_by_one_with_the_text_below_the_first_and_the_buttons_below_the_last() {
    let fake = Telegram::start(TOKEN).await;
    let rig = start(&fake);
    let (png, pdf) = (b"\x89PNG\r\n\x1a\n\0--", b"%PDF\xff\0");
    let button = Button { label: "More".to_owned(), data: "m".to_owned() };
    let message = Outgoing {
        uploads: vec![upload("a \"b\".png", "image/png", png), upload("b.pdf", "application/pdf", pdf)],
        buttons: vec![vec![button]],
        reply_to: Some("4".to_owned()),
        ..outgoing("look")
    };
    let first = rig.deliver("5#9", send(message)).await.unwrap().platform_id.unwrap();
    let shown = fake.showing(5);
    assert_eq!(shown.len(), 2, "{shown:?}");
    assert_eq!((&shown[0]["message_id"].to_string(), &shown[0]["caption"]), (&first, &json!("look")));
    let content = |file: &Value| fake.file(file["file_id"].as_str().unwrap()).unwrap();
    assert_eq!(content(&shown[0]["photo"][0]), png);
    assert_eq!(content(&shown[1]["document"]), pdf);
    assert_eq!(shown[1]["document"]["file_name"], "b.pdf");
    assert_eq!((&shown[0]["message_thread_id"], &shown[1]["message_thread_id"]), (&json!(9), &json!(9)));
    assert!(shown[0]["reply_markup"].is_null() && shown[1]["reply_markup"].is_object());
    assert_eq!(fake.calls_of("sendPhoto")[0].parameters["reply_parameters"]["message_id"], 4);
    assert!(fake.calls_of("sendDocument")[0].parameters["reply_parameters"].is_null());
    rig.stop().await;
}

#[tokio::test]
async fn a_text_too_long_for_a_caption_goes_on_in_messages_of_its_own() {
    let fake = Telegram::start(TOKEN).await;
    let rig = start(&fake);
    let text = "👍 line\n".repeat(300);
    let message = Outgoing { uploads: vec![upload("a.bin", "", b"x")], ..outgoing(&text) };
    rig.deliver("5", send(message)).await.unwrap();
    let shown = fake.showing(5);
    let caption = shown[0]["caption"].as_str().unwrap();
    assert_eq!(format!("{caption}{}", shown[1]["text"].as_str().unwrap()), text);
    rig.stop().await;
}

#[tokio::test]
async fn a_picture_that_is_none_is_sent_as_a_file() {
    let fake = Telegram::start(TOKEN).await;
    let rig = start(&fake);
    let message = Outgoing { uploads: vec![upload("a.png", "image/png", b"no picture")], ..outgoing("") };
    rig.deliver("5", send(message)).await.unwrap();
    assert_eq!(fake.calls_of("sendPhoto")[0].status, Some(400));
    assert_eq!(fake.showing(5)[0]["document"]["file_name"], "a.png");
    rig.stop().await;
}

#[tokio::test]
async fn what_is_below_a_file_is_edited_too_and_buttons_without_a_text_are_all_that_changes() {
    let fake = Telegram::start(TOKEN).await;
    let rig = start(&fake);
    let edit = |target: &str, message| Act::Edit { target: target.to_owned(), message };
    let message = Outgoing { uploads: vec![upload("a.bin", "", b"x")], ..outgoing("old") };
    let file = rig.deliver("5", send(message)).await.unwrap().platform_id.unwrap();
    // Once more: it is not modified, and that is no failure.
    for _ in 0..2 {
        rig.deliver("5", edit(&file, outgoing("new"))).await.unwrap();
    }
    assert_eq!(fake.shown(5, file.parse().unwrap()).unwrap()["caption"], "new");
    let text = rig.deliver("5", say("text")).await.unwrap().platform_id.unwrap();
    let button = Button { label: "Yes".to_owned(), data: "y".to_owned() };
    for _ in 0..2 {
        let buttons = Outgoing { buttons: vec![vec![button.clone()]], ..outgoing("") };
        rig.deliver("5", edit(&text, buttons)).await.unwrap();
    }
    let shown = fake.shown(5, text.parse().unwrap()).unwrap();
    assert_eq!(
        (&shown["text"], &shown["reply_markup"]["inline_keyboard"][0][0]["text"]),
        (&json!("text"), &json!("Yes"))
    );
    let too_long = edit(&text, outgoing(&"x".repeat(4097)));
    assert!(matches!(rig.deliver("5", too_long).await, Err(DeliveryError::BadRequest(_))));
    let with_file = Outgoing { uploads: vec![upload("a", "", b"x")], ..outgoing("x") };
    assert!(matches!(rig.deliver("5", edit(&text, with_file)).await, Err(DeliveryError::Unsupported(_))));
    assert!(matches!(rig.deliver("5", edit(&text, outgoing(" "))).await, Err(DeliveryError::BadRequest(_))));
    rig.stop().await;
}

#[tokio::test]
async fn f062_a_send_whose_answer_is_lost_is_uncertain_and_was_made_once() {
    let fake = Telegram::start(TOKEN).await;
    let rig = start(&fake);
    for (count, fault) in [Fault::CutAnswer, Fault::Reset].into_iter().enumerate() {
        fake.fail_next("sendMessage", fault);
        assert!(matches!(rig.deliver("5", say("x")).await, Err(DeliveryError::Uncertain(_))));
        assert_eq!(fake.sent_len(), count + 1);
    }
    fake.fail_next("sendDocument", Fault::Reset);
    let message = Outgoing { uploads: vec![upload("a", "", b"x")], ..outgoing("") };
    assert!(matches!(rig.deliver("5", send(message)).await, Err(DeliveryError::Uncertain(_))));
    rig.stop().await;
}

#[tokio::test]
async fn f066_who_blocked_the_bot_and_a_chat_that_is_none_are_given_up_and_the_connection_stays() {
    let fake = Telegram::start(TOKEN).await;
    let mut rig = start(&fake);
    rig.connected().await;
    fake.block(6);
    fake.block(-6);
    fake.forget_chat(8);
    for chat in ["6", "-6"] {
        assert!(matches!(rig.deliver(chat, say("x")).await, Err(DeliveryError::Permanent(_))));
    }
    let error = rig.deliver("8", say("x")).await.unwrap_err();
    assert_eq!(error, DeliveryError::BadRequest("Bad Request: chat not found (400)".to_owned()));
    rig.deliver("5", say("x")).await.unwrap();
    assert_eq!(rig.status.borrow().link, Link::Connected);
    rig.stop().await;
}

#[tokio::test]
async fn edits_deletions_and_reactions_may_be_done_twice() {
    let fake = Telegram::start(TOKEN).await;
    let rig = start(&fake);
    let target = rig.deliver("5", say("old")).await.unwrap().platform_id.unwrap();
    for _ in 0..2 {
        rig.deliver("5", Act::React { target: target.clone(), emoji: "👍".to_owned() }).await.unwrap();
        rig.deliver("5", Act::Edit { target: target.clone(), message: outgoing("new") }).await.unwrap();
    }
    for _ in 0..2 {
        rig.deliver("5", Act::Delete { target: target.clone() }).await.unwrap();
    }
    let edit = Act::Edit { target: target.clone(), message: outgoing("newer") };
    assert!(matches!(rig.deliver("5", edit).await, Err(DeliveryError::BadRequest(_))));
    // Lost answers of acts that may be done twice are not uncertain.
    fake.fail_next("deleteMessage", Fault::CutAnswer);
    assert!(matches!(rig.deliver("5", Act::Delete { target }).await, Err(DeliveryError::Retryable(_))));
    rig.stop().await;
}

#[tokio::test]
async fn every_refusal_of_a_send_has_its_class() {
    type Check = fn(&DeliveryError) -> bool;
    let cases: [(Fault, Check); 11] = [
        (Fault::RateLimited(json!(7)), |error| *error == DeliveryError::RateLimited(Duration::from_secs(7))),
        (Fault::RateLimited(json!(null)), |error| matches!(error, DeliveryError::RateLimited(_))),
        (Fault::refuse(401, "Unauthorized"), |error| matches!(error, DeliveryError::Unauthorized(_))),
        (Fault::refuse(404, "Not Found"), |error| matches!(error, DeliveryError::Unauthorized(_))),
        (
            Fault::refuse(403, "Forbidden: bot was blocked by the user"),
            |error| matches!(error, DeliveryError::Permanent(why) if why.contains("blocked")),
        ),
        (Fault::refuse(400, "Bad Request: chat not found"), |error| matches!(error, DeliveryError::BadRequest(_))),
        (Fault::refuse(400, "Bad Request: not enough rights to send text messages"), |error| {
            matches!(error, DeliveryError::Permanent(_))
        }),
        (Fault::refuse(413, "Request Entity Too Large"), |error| matches!(error, DeliveryError::BadRequest(_))),
        (Fault::refuse(500, "Internal Server Error"), |error| matches!(error, DeliveryError::Uncertain(_))),
        (Fault::Html(504), |error| matches!(error, DeliveryError::Uncertain(_))),
        (Fault::CutAnswer, |error| matches!(error, DeliveryError::Uncertain(_))),
    ];
    let fake = Telegram::start(TOKEN).await;
    let rig = start(&fake);
    for (fault, is_right) in cases {
        fake.fail_next("sendMessage", fault.clone());
        let error = rig.deliver("5", say("hi")).await.unwrap_err();
        assert!(is_right(&error), "{fault:?}: {error:?}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn what_telegram_cannot_do_is_said_without_asking_it() {
    let fake = Telegram::start(TOKEN).await;
    let rig = start(&fake);
    let button = Button { label: "x".to_owned(), data: "d".repeat(65) };
    for (conversation, message) in [
        ("5", Outgoing { uploads: vec![upload("a", "text/plain", b"x"); 17], ..outgoing("x") }),
        ("5", Outgoing { buttons: vec![vec![button]], ..outgoing("x") }),
        ("5", outgoing(" \n ")),
        ("5", outgoing(&"x".repeat(100_000))),
        ("somewhere", outgoing("x")),
        ("5", Outgoing { reply_to: Some("x".to_owned()), ..outgoing("x") }),
    ] {
        let error = rig.deliver(conversation, send(message)).await.unwrap_err();
        assert!(matches!(error, DeliveryError::BadRequest(_) | DeliveryError::Unsupported(_)), "{error}");
    }
    assert!(fake.calls_of("sendMessage").is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_means_that_nothing_was_delivered() {
    let fake = Telegram::start(TOKEN).await;
    let rig = start(&fake);
    drop(fake);
    assert!(matches!(
        rig.deliver("5", say("hi")).await,
        Err(DeliveryError::Retryable(_) | DeliveryError::Uncertain(_))
    ));
    assert!(matches!(rig.deliver("5", say("hi")).await, Err(DeliveryError::Retryable(_))));
    rig.stop().await;
}

// Secrets.

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("a test that goes on").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_token_is_in_no_log_no_status_and_no_error_whatever_goes_wrong() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let fake = Telegram::start(TOKEN).await;
    let faults = || {
        [
            Fault::Html(502),
            Fault::CutAnswer,
            Fault::refuse(400, &format!("no /bot{TOKEN}/x")),
            Fault::RateLimited(json!(1)),
        ]
    };
    let mut said = String::new();
    for fault in faults() {
        fake.fail_next("getUpdates", fault.clone());
        fake.fail_next("sendMessage", fault);
    }
    let mut rig = start(&fake);
    for _ in faults() {
        said += &format!("{:?}", rig.deliver("5", say("hi")).await);
    }
    said += &format!("{:?}", rig.backing_off().await);
    fake.push_message(5, "hi");
    rig.message().await;
    fake.revoke_token();
    rig.link(|link| matches!(link, Link::AuthFailed { .. })).await;
    said += &format!("{:?}", rig.status.borrow());
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("cannot get updates") && log.contains("refuses the token"), "{log}");
    for text in [log, said] {
        assert!(!text.contains("s3cret"), "{text}");
    }
    rig.cancel.cancel();
    rig.task.await.unwrap();
}
