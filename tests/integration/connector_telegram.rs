//! Telegram, against a strict server.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bothost::action::{Act, Button, Outgoing, TextFormat, Upload};
use bothost::clock::Timestamp;
use bothost::connector::{DeliveryError, Link};
use bothost::event::{EventKind, Membership};
use harness::eventually;
use harness::telegram::{Call, FakeTelegram, Fault};
use serde_json::{Value, json};

use crate::rig::{Rig, WITHIN, outgoing, say, send};

const TOKEN: &str = "123456:s3cret-t0ken";

fn start(fake: &FakeTelegram) -> Rig {
    start_with(fake, "reconnect_max = \"50ms\"")
}

fn start_with(fake: &FakeTelegram, keys: &str) -> Rig {
    let table = format!("token = \"{TOKEN}\"\napi_url = \"{}\"\npoll_timeout = \"1s\"\n{keys}", fake.url());
    Rig::start("telegram", &table)
}

/// Waits until a call of `method` for which `is_it` holds has arrived.
async fn call(fake: &FakeTelegram, method: &str, is_it: impl Fn(&Call) -> bool) -> Call {
    eventually(WITHIN, method, || fake.calls_of(method).into_iter().find(|call| is_it(call))).await
}

async fn confirmed(fake: &FakeTelegram, left: &[i64]) {
    eventually(WITHIN, "the offset to move", || (fake.unconfirmed() == left).then_some(())).await;
}

// Receiving.

#[tokio::test]
async fn where_nothing_happens_it_is_connected_all_the_same_and_then_polls_for_long() {
    let fake = FakeTelegram::start(TOKEN).await;
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
    let fake = FakeTelegram::start(TOKEN).await;
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
    let fake = FakeTelegram::start(TOKEN).await;
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
    let fake = FakeTelegram::start(TOKEN).await;
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
    let fake = FakeTelegram::start(TOKEN).await;
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
async fn updates_of_several_batches_arrive_in_order_and_once() {
    let fake = FakeTelegram::start(TOKEN).await;
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
    let fake = FakeTelegram::start(TOKEN).await;
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
    let fake = FakeTelegram::start(TOKEN).await;
    let mut rig = start(&fake);
    let message = json!({"message_id": 6, "date": 1, "chat": {"id": 5, "type": "private"}});
    fake.push_update("callback_query", json!({"id": "q1", "from": {"id": 7}, "data": "yes", "message": message}));
    assert!(matches!(rig.event().await.kind, EventKind::Button { data, .. } if data == "yes"));
    let answer = call(&fake, "answerCallbackQuery", |_| true).await;
    assert_eq!(answer.parameters["callback_query_id"], "q1");
    rig.stop().await;
}

// What goes wrong while receiving.

#[tokio::test]
async fn a_refused_token_ends_the_polling_and_is_not_tried_again() {
    let fake = FakeTelegram::start("999:another").await;
    let mut rig = start(&fake);
    let link = rig.link(|link| matches!(link, Link::AuthFailed { .. })).await;
    assert!(matches!(link, Link::AuthFailed { error } if error.contains("Unauthorized")));
    assert!(matches!(rig.deliver("5", say("x")).await, Err(DeliveryError::Unauthorized(_))));
    assert_eq!((fake.calls_of("getMe").len(), fake.calls_of("getUpdates").len()), (1, 0));
    rig.cancel.cancel();
    rig.task.await.unwrap();
}

#[tokio::test]
async fn a_token_that_is_revoked_while_it_runs_ends_the_polling() {
    let fake = FakeTelegram::start(TOKEN).await;
    let mut rig = start(&fake);
    rig.connected().await;
    fake.revoke_token();
    rig.link(|link| matches!(link, Link::AuthFailed { .. })).await;
    rig.cancel.cancel();
    rig.task.await.unwrap();
}

#[tokio::test]
async fn servers_that_fail_in_any_way_are_tried_again_and_nothing_is_lost_or_doubled() {
    let fake = FakeTelegram::start(TOKEN).await;
    for fault in [
        Fault::Html(502),
        Fault::refuse(500, "Internal Server Error: restart"),
        Fault::CutAnswer,
        Fault::Html(404),
        Fault::refuse(409, "Conflict: terminated by other getUpdates request"),
    ] {
        fake.fail_next("getUpdates", fault);
    }
    fake.fail_next("getMe", Fault::Html(503));
    fake.push_message(5, "one");
    let mut rig = start(&fake);
    assert_eq!(rig.message().await.text, "one");
    fake.push_message(5, "two");
    assert_eq!(rig.message().await.text, "two");
    confirmed(&fake, &[]).await;
    assert!(rig.arrivals.try_recv().is_err());
    rig.stop().await;
}

#[tokio::test]
async fn a_poll_that_brings_nothing_at_all_is_given_up() {
    let fake = FakeTelegram::start(TOKEN).await;
    fake.fail_next("getUpdates", Fault::Hang);
    let mut rig = start_with(&fake, "stall_timeout = \"1100ms\"\nreconnect_max = \"50ms\"");
    assert!(rig.backing_off().await.0.contains("no answer within 1100 ms"));
    let (signs, stalled) = (rig.status.borrow().signs.clone(), Timestamp::now());
    fake.push_message(5, "hi");
    assert_eq!(rig.message().await.text, "hi");
    assert!(signs.last_success() >= Some(stalled), "{signs:?}");
    rig.stop().await;
}

#[tokio::test]
async fn a_pause_that_telegram_asks_for_is_kept_to_the_second() {
    let fake = FakeTelegram::start(TOKEN).await;
    fake.fail_next("getUpdates", Fault::RateLimited(json!(1)));
    let mut rig = start(&fake);
    assert_eq!(rig.backing_off().await.1, Duration::from_secs(1));
    rig.connected().await;
    let polls = fake.calls_of("getUpdates");
    let pause = polls[1].at - polls[0].at;
    assert!(pause >= Duration::from_secs(1) && pause < Duration::from_millis(1900), "{pause:?}");
    rig.stop().await;
}

#[tokio::test]
async fn two_processes_with_one_token_are_told_of_each_other() {
    let fake = FakeTelegram::start(TOKEN).await;
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
    let fake = FakeTelegram::start(TOKEN).await;
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
    let fake = FakeTelegram::start(TOKEN).await;
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
    let fake = FakeTelegram::start(TOKEN).await;
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

#[tokio::test]
async fn between_two_parts_a_short_pause_is_waited_for_and_any_other_end_is_uncertain() {
    let fake = FakeTelegram::start(TOKEN).await;
    let rig = start(&fake);
    let text = "x".repeat(5000);
    fake.pass_next("sendMessage");
    fake.fail_next("sendMessage", Fault::RateLimited(json!(1)));
    rig.deliver("5", say(&text)).await.unwrap();
    assert_eq!(fake.sent().len(), 2);
    fake.pass_next("sendMessage");
    fake.pass_next("sendMessage");
    fake.pass_next("sendMessage");
    fake.fail_next("sendMessage", Fault::RateLimited(json!(3600)));
    rig.deliver("5", say(&text)).await.unwrap();
    let error = rig.deliver("5", say(&text)).await.unwrap_err();
    assert!(matches!(&error, DeliveryError::Uncertain(why) if why.starts_with("1 of 2 parts")), "{error}");
    rig.stop().await;
}

#[tokio::test]
async fn markup_that_does_not_parse_is_sent_as_it_stands() {
    let fake = FakeTelegram::start(TOKEN).await;
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
async fn a_group_that_became_a_supergroup_is_followed() {
    let fake = FakeTelegram::start(TOKEN).await;
    let rig = start(&fake);
    let parameters = json!({"migrate_to_chat_id": -100_777});
    let description = "Bad Request: group chat was upgraded to a supergroup chat".to_owned();
    fake.fail_next("sendMessage", Fault::Refuse { code: 400, description, parameters });
    rig.deliver("-777", say("hi")).await.unwrap();
    assert_eq!(fake.sent()[0]["chat_id"], -100_777);
    rig.stop().await;
}

#[tokio::test]
async fn edits_deletions_and_reactions_may_be_done_twice() {
    let fake = FakeTelegram::start(TOKEN).await;
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
    let fake = FakeTelegram::start(TOKEN).await;
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
    let fake = FakeTelegram::start(TOKEN).await;
    let rig = start(&fake);
    let upload = Upload { name: "a".to_owned(), media_type: "text/plain".to_owned(), content: Vec::new() };
    let button = Button { label: "x".to_owned(), data: "d".repeat(65) };
    for (conversation, message) in [
        ("5", Outgoing { uploads: vec![upload], ..outgoing("x") }),
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
    let fake = FakeTelegram::start(TOKEN).await;
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
    let fake = FakeTelegram::start(TOKEN).await;
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
