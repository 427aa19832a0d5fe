//! The QQ connector against a simulated platform, and the simulated platform against an application of others.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use bothost::action::{Act, Button, Outgoing, TextFormat, Upload};
use bothost::clock::Timestamp;
use bothost::connector::{DeliveryError, Link};
use bothost::event::{EventKind, Membership};
use harness::eventually;
use harness::peers::{free_port, peer};
use harness::rig::{Rig, WITHIN, outgoing, say, send};
use serde_json::{Value, json};
use simulators::qq::{Qq, Sent};
use simulators::wire::{Fault, Reply};
use tokio::process::{Child, Command};

const SECRET: &str = "DG5g3B4j9X2KOErG";
const C2C: &str = "c2c:U";
const SAY_C2C: &str = "POST /v2/users/{}/messages";
const SAY_CHANNEL: &str = "POST /channels/{}/messages";
const TOKEN: &str = "POST /app/getAppAccessToken";
/// Longer than anything that would still happen takes, on a busy machine too.
const QUIET: Duration = Duration::from_millis(300);

fn table(qq: &Qq) -> String {
    let url = qq.url();
    format!(
        "app_id = \"7\"\nclient_secret = \"{SECRET}\"\napi_url = \"{url}\"\ntoken_url = \"{url}\"\nreconnect_max = \"20ms\""
    )
}

async fn started() -> (Qq, Rig) {
    let qq = Qq::start("7", SECRET).await;
    let mut rig = Rig::start("qq", &table(&qq));
    rig.connected().await;
    (qq, rig)
}

/// Has a user say something and takes it over. Returns the message's id.
async fn hear(qq: &Qq, rig: &mut Rig, place: &str, text: &str) -> String {
    let id = qq.say(place, "M", text);
    let message = rig.message().await;
    assert_eq!((message.id.as_str(), message.text.as_str()), (id.as_str(), text));
    id
}

/// Takes messages over up to one that says this. What was told shortly before a connection was lost comes again.
async fn until(rig: &mut Rig, text: &str) {
    while rig.message().await.text != text {}
}

fn answered(sent: &[Sent]) -> Vec<(&str, &str, u64)> {
    sent.iter()
        .map(|sent| {
            let number = sent.body["msg_seq"].as_u64().unwrap_or_default();
            (sent.text(), sent.body["msg_id"].as_str().unwrap_or_default(), number)
        })
        .collect()
}

fn answer(status: u16, code: i64) -> Fault {
    Fault::Answer(Reply::json(status, &json!({"code": code, "message": "no"})))
}

fn reply_to(id: &str, text: &str) -> Act<String> {
    send(Outgoing { reply_to: Some(id.to_owned()), ..outgoing(text) })
}

#[tokio::test]
async fn every_place_is_heard_and_answered() {
    let (qq, mut rig) = started().await;
    for place in [C2C, "group:G", "channel:3", "dm:2"] {
        let id = qq.say(place, "M", "hi");
        let message = rig.message().await;
        assert_eq!((message.conversation.id.as_str(), message.text.as_str()), (place, "hi"));
        assert!(message.addressed && message.reply_deadline > Some(Timestamp::now()), "{message:?}");
        let receipt = rig.deliver(place, say("<pong>")).await.unwrap();
        let sent = qq.sent().pop().unwrap();
        assert_eq!((sent.place.as_str(), Some(sent.id.clone())), (place, receipt.platform_id));
        assert_eq!(sent.body["msg_id"], id.as_str());
        let is_of_guild = place.starts_with("channel") || place.starts_with("dm");
        assert_eq!(sent.text(), if is_of_guild { "&lt;pong&gt;" } else { "<pong>" });
        assert_eq!(sent.body["msg_seq"], if is_of_guild { Value::Null } else { json!(1) });
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_message_is_answered_five_times_and_each_answer_has_its_number() {
    let (qq, mut rig) = started().await;
    let first = hear(&qq, &mut rig, C2C, "one").await;
    let second = hear(&qq, &mut rig, C2C, "two").await;
    for key in 1..=5 {
        rig.deliver_keyed(key, C2C, say(&key.to_string())).await.unwrap();
    }
    rig.deliver_keyed(6, C2C, reply_to(&first, "6")).await.unwrap();
    rig.deliver_keyed(7, C2C, say("7")).await.unwrap();
    let (first, second) = (first.as_str(), second.as_str());
    let expected = [
        ("1", second, 1),
        ("2", second, 2),
        ("3", second, 3),
        ("4", second, 4),
        ("5", second, 5),
        ("6", first, 1),
        ("7", first, 2),
    ];
    assert_eq!(answered(&qq.sent()), expected);
    let refused = rig.deliver_keyed(8, C2C, reply_to(second, "8")).await;
    assert!(matches!(&refused, Err(DeliveryError::Permanent(why)) if why.contains("answers only")), "{refused:?}");
    rig.stop().await;
}

#[tokio::test]
async fn windows_are_deadlines_and_nothing_is_sent_past_them() {
    let (qq, mut rig) = started().await;
    for (place, minutes) in [(C2C, 60), ("group:G", 5), ("channel:3", 5), ("dm:2", 5)] {
        let window = Duration::from_secs(60 * minutes);
        qq.say_ago(place, "M", "late", window + Duration::from_secs(1));
        let message = rig.message().await;
        assert_eq!(message.reply_deadline, Some(message.sent_at.saturating_add(window)), "{place}");
        assert!(message.reply_deadline < Some(Timestamp::now()), "{place}");
        let refused = rig.deliver(place, say("x")).await;
        assert!(matches!(&refused, Err(DeliveryError::Permanent(why)) if why.contains(&minutes.to_string())));
        qq.say_ago(place, "M", "in time", window - Duration::from_secs(30));
        rig.message().await;
        rig.deliver_keyed(2, place, say("x")).await.unwrap();
    }
    assert_eq!(qq.sent().len(), 4);
    assert_eq!(qq.book().calls_of(SAY_C2C).len(), 1, "what is too late is not even tried");
    rig.stop().await;
}

#[tokio::test]
async fn f062_an_answer_whose_response_is_lost_is_there_once() {
    let (qq, mut rig) = started().await;
    let id = hear(&qq, &mut rig, C2C, "hi").await;
    for (key, fault) in [(1, Fault::Reset), (2, Fault::CutAnswer)] {
        qq.book().fail_next(SAY_C2C, fault);
        let text = key.to_string();
        let lost = rig.deliver_keyed(key, C2C, say(&text)).await;
        assert!(matches!(lost, Err(DeliveryError::Retryable(_))), "{lost:?}");
        rig.deliver_keyed(key, C2C, say(&text)).await.unwrap();
    }
    assert_eq!(answered(&qq.sent()), [("1", id.as_str(), 1), ("2", id.as_str(), 2)]);
    let numbers: Vec<_> =
        qq.book().calls_of(SAY_C2C).iter().map(|call| call.request.json()["msg_seq"].clone()).collect();
    assert_eq!(numbers, [1, 1, 2, 2]);
    rig.stop().await;
}

#[tokio::test]
async fn f062_an_answer_keeps_its_number_whatever_is_said_before_the_next_try() {
    let (qq, mut rig) = started().await;
    let first = hear(&qq, &mut rig, C2C, "hi").await;
    qq.book().fail_next(SAY_C2C, Fault::CutAnswer);
    let lost = rig.deliver_keyed(5, C2C, reply_to(&first, "once")).await;
    assert!(matches!(lost, Err(DeliveryError::Retryable(_))), "{lost:?}");
    for number in 0..20 {
        hear(&qq, &mut rig, C2C, &number.to_string()).await;
    }
    rig.deliver_keyed(5, C2C, reply_to(&first, "once")).await.unwrap();
    assert_eq!(answered(&qq.sent()), [("once", first.as_str(), 1)]);
    rig.stop().await;
}

#[tokio::test]
async fn f062_an_answer_keeps_its_number_in_the_next_process() {
    let (qq, mut rig) = started().await;
    hear(&qq, &mut rig, C2C, "hi").await;
    qq.book().fail_next(SAY_C2C, Fault::Reset);
    rig.deliver_keyed(5, C2C, say("once")).await.unwrap_err();
    let kept = rig.kept();
    rig.stop().await;
    let mut rig = Rig::start_again(kept, "qq", &table(&qq));
    rig.connected().await;
    rig.deliver_keyed(5, C2C, say("once")).await.unwrap();
    rig.deliver_keyed(6, C2C, say("twice")).await.unwrap();
    let sent = qq.sent();
    assert_eq!(sent.iter().map(Sent::text).collect::<Vec<_>>(), ["once", "twice"]);
    rig.stop().await;
}

#[tokio::test]
async fn f062_a_guild_has_no_numbers_so_that_a_lost_response_is_uncertain() {
    let (qq, mut rig) = started().await;
    hear(&qq, &mut rig, "channel:3", "hi").await;
    qq.book().fail_next(SAY_CHANNEL, Fault::Reset);
    let lost = rig.deliver("channel:3", say("x")).await;
    assert!(matches!(lost, Err(DeliveryError::Uncertain(_))), "{lost:?}");
    qq.book().fail_next(SAY_CHANNEL, answer(500, 0));
    let failed = rig.deliver("channel:3", say("x")).await;
    assert!(matches!(failed, Err(DeliveryError::Uncertain(_))), "{failed:?}");
    rig.stop().await;
}

#[tokio::test]
async fn a_number_that_somebody_else_has_used_is_replaced() {
    let (qq, mut rig) = started().await;
    hear(&qq, &mut rig, C2C, "hi").await;
    qq.book().fail_next(SAY_C2C, answer(400, 40_054_005));
    let taken = rig.deliver_keyed(1, C2C, say("x")).await;
    assert!(matches!(taken, Err(DeliveryError::Retryable(_))), "{taken:?}");
    rig.deliver_keyed(1, C2C, say("x")).await.unwrap();
    assert_eq!(qq.sent()[0].body["msg_seq"], 2);
    rig.stop().await;
}

#[tokio::test]
async fn a_long_text_is_several_answers_that_go_on_where_they_broke_off() {
    let (qq, mut rig) = started().await;
    hear(&qq, &mut rig, C2C, "hi").await;
    let text = "word ".repeat(1000);
    qq.book().pass_next(SAY_C2C);
    qq.book().fail_next(SAY_C2C, answer(500, 0));
    rig.deliver_keyed(1, C2C, say(&text)).await.unwrap_err();
    rig.deliver_keyed(1, C2C, say(&text)).await.unwrap();
    assert_eq!(qq.sent().iter().map(Sent::text).collect::<String>(), text);
    let too_long = rig.deliver_keyed(2, C2C, say(&text.repeat(3))).await;
    assert!(matches!(too_long, Err(DeliveryError::BadRequest(_))), "{too_long:?}");
    rig.stop().await;
}

#[tokio::test]
async fn files_buttons_and_markup() {
    let (qq, mut rig) = started().await;
    hear(&qq, &mut rig, "group:G", "hi").await;
    let button = |label: &str| Button { label: label.to_owned(), data: "d".to_owned() };
    let upload = Upload { name: "a.png".to_owned(), media_type: "image/png".to_owned(), content: vec![0, 159, 1] };
    let message = Outgoing {
        buttons: vec![vec![button("yes"), button("no")]],
        uploads: vec![upload],
        format: TextFormat::Markdown,
        ..outgoing("**sure?**")
    };
    rig.deliver("group:G", send(message.clone())).await.unwrap();
    let sent = qq.sent();
    assert_eq!(sent.iter().map(|sent| sent.body["msg_type"].clone()).collect::<Vec<_>>(), [0, 7]);
    assert_eq!(sent[0].text(), "**sure?**\n1. yes\n2. no");
    assert_eq!(qq.files(), [(1, vec![0, 159, 1])]);
    let in_guild = rig.deliver("channel:3", send(message)).await;
    assert!(matches!(in_guild, Err(DeliveryError::Unsupported(_))), "{in_guild:?}");
    let kept = rig.kept();
    rig.stop().await;
    let mut rig = Rig::start_again(kept, "qq", &format!("{}\nmarkdown = true", table(&qq)));
    rig.connected().await;
    let markup = Outgoing { format: TextFormat::Markdown, ..outgoing("**x**") };
    rig.deliver_keyed(2, "group:G", send(markup)).await.unwrap();
    let sent = qq.sent().pop().unwrap();
    assert_eq!((sent.body["msg_type"].as_u64(), sent.text()), (Some(2), "**x**"));
    rig.stop().await;
}

#[tokio::test]
async fn messages_are_recalled_and_reacted_to_where_the_platform_can() {
    let (qq, mut rig) = started().await;
    for place in [C2C, "group:G", "channel:3", "dm:2"] {
        let id = hear(&qq, &mut rig, place, "hi").await;
        let target = rig.deliver(place, say("x")).await.unwrap().platform_id.unwrap();
        rig.deliver(place, Act::Delete { target: target.clone() }).await.unwrap();
        assert!(qq.sent().is_empty(), "{place}");
        let edit = rig.deliver(place, Act::Edit { target, message: outgoing("y") }).await;
        assert!(matches!(edit, Err(DeliveryError::Unsupported(_))), "{edit:?}");
        let react = rig.deliver(place, Act::React { target: id, emoji: "😀".to_owned() }).await;
        assert_eq!(react.is_ok(), place == "channel:3", "{react:?}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_pressed_button_is_acknowledged_and_can_be_answered() {
    let (qq, mut rig) = started().await;
    let interaction = qq.press("group:G", "M", "yes");
    let event = rig.event().await;
    let EventKind::Button { conversation, sender, data, .. } = event.kind else { panic!("{event:?}") };
    assert_eq!((conversation.id.as_str(), sender.id.as_str(), data.as_str()), ("group:G", "M", "yes"));
    let acknowledged = || {
        let calls = qq.book().calls_of("PUT /interactions/{}");
        calls.iter().any(|call| call.status == Some(204) && call.request.path.ends_with(&interaction)).then_some(())
    };
    eventually(WITHIN, "an acknowledgement", acknowledged).await;
    rig.deliver("group:G", say("done")).await.unwrap();
    assert!(qq.sent()[0].body["event_id"].as_str().unwrap().starts_with("INTERACTION_CREATE:"));
    qq.happen("GROUP_ADD_ROBOT", json!({"group_openid": "H", "op_member_openid": "M", "timestamp": 1}));
    let EventKind::Member { conversation, change, .. } = rig.event().await.kind else { panic!() };
    assert_eq!((conversation.id.as_str(), change), ("group:H", Membership::Joined));
    rig.stop().await;
}

#[tokio::test]
async fn f060_the_platforms_pause_is_kept_to() {
    let (qq, mut rig) = started().await;
    hear(&qq, &mut rig, C2C, "hi").await;
    let limited = |header: Option<&str>| {
        let reply = Reply::json(429, &json!({"code": 22009, "message": "limit"}));
        Fault::Answer(header.iter().fold(reply, |reply, value| reply.with("Retry-After", value)))
    };
    for (header, seconds) in [
        (Some("1"), 1),
        (Some("3600"), 3600),
        (None, 20),
        (Some("-1"), 40),
        (Some("soon"), 80),
        (Some("99999999999"), 86_400),
    ] {
        qq.book().fail_next(SAY_C2C, limited(header));
        let wait = rig.deliver(C2C, say("x")).await;
        assert_eq!(wait, Err(DeliveryError::RateLimited(Duration::from_secs(seconds))), "{header:?}");
    }
    rig.deliver(C2C, say("x")).await.unwrap();
    qq.book().fail_next(SAY_C2C, limited(None));
    let wait = rig.deliver_keyed(2, C2C, say("x")).await;
    assert_eq!(wait, Err(DeliveryError::RateLimited(Duration::from_secs(5))), "anew after a success");
    rig.stop().await;
}

#[tokio::test]
async fn f061_a_platform_that_answers_badly_or_not_at_all_is_tried_again() {
    let (qq, mut rig) = started().await;
    hear(&qq, &mut rig, C2C, "hi").await;
    let vast = Reply { body: "x".repeat(9 << 20), ..Reply::default() };
    for fault in [
        Fault::Answer(Reply::html(502)),
        Fault::Answer(Reply { body: "{".to_owned(), ..Reply::default() }),
        Fault::Answer(vast),
        Fault::Reset,
        Fault::CutAnswer,
        answer(500, 0),
        answer(400, 304_082),
    ] {
        let what = format!("{fault:.60?}");
        qq.book().fail_next(SAY_C2C, fault);
        let failed = rig.deliver(C2C, say("x")).await;
        assert!(matches!(failed, Err(DeliveryError::Retryable(_))), "{what}: {failed:?}");
    }
    rig.deliver(C2C, say("x")).await.unwrap();
    assert_eq!(qq.sent().len(), 1);
    rig.stop().await;
}

#[tokio::test]
async fn f063_a_token_that_expired_is_replaced_by_one_call_for_all() {
    let (qq, mut rig) = started().await;
    for place in ["c2c:A", "c2c:B", "c2c:C"] {
        hear(&qq, &mut rig, place, "hi").await;
    }
    qq.revoke_tokens();
    let tokens = qq.book().calls_of(TOKEN).len();
    let outcomes =
        [rig.begin("c2c:A", say("a")).await, rig.begin("c2c:B", say("b")).await, rig.begin("c2c:C", say("c")).await];
    for outcome in outcomes {
        outcome.await.unwrap().unwrap();
    }
    assert_eq!(qq.sent().len(), 3);
    assert_eq!(qq.book().calls_of(TOKEN).len(), tokens + 1);
    rig.stop().await;
}

#[tokio::test]
async fn a_token_is_replaced_before_it_expires() {
    let qq = Qq::start("7", SECRET).await;
    // A second is left of it when it is due.
    qq.tokens_last(Duration::from_secs(46));
    let mut rig = Rig::start("qq", &table(&qq));
    rig.connected().await;
    hear(&qq, &mut rig, C2C, "hi").await;
    let mut key = 0;
    while qq.book().calls_of(TOKEN).len() < 2 {
        key += 1;
        hear(&qq, &mut rig, C2C, &key.to_string()).await;
        rig.deliver_keyed(key, C2C, say("x")).await.unwrap();
    }
    assert!(qq.book().calls().iter().all(|call| call.status != Some(401)), "no token had expired");
    rig.stop().await;
}

#[tokio::test]
async fn f063_refused_credentials_stop_the_connector_and_are_not_asked_for_again_and_again() {
    let (qq, mut rig) = started().await;
    hear(&qq, &mut rig, C2C, "hi").await;
    qq.refuse_credentials(true);
    let refused = rig.deliver(C2C, say("x")).await;
    assert!(matches!(refused, Err(DeliveryError::Unauthorized(_))), "{refused:?}");
    let link = rig.link(|link| matches!(link, Link::AuthFailed { .. })).await;
    assert!(format!("{link:?}").contains("invalid appid or secret") && !format!("{link:?}").contains(SECRET));
    let calls = qq.book().calls().len();
    tokio::time::sleep(QUIET).await;
    assert_eq!(qq.book().calls().len(), calls, "no hot loop");
    rig.stop().await;
}

#[tokio::test]
async fn f063_a_wrong_secret_is_said_at_the_start() {
    for mode in ["", "mode = \"webhook\"\nlisten = \"127.0.0.1:0\""] {
        let qq = Qq::start("7", "another").await;
        let mut rig = Rig::start("qq", &format!("{}\n{mode}", table(&qq)));
        rig.link(|link| matches!(link, Link::AuthFailed { .. })).await;
        assert_eq!(qq.book().calls().len(), 1, "{mode}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn f066_what_the_platform_refuses_for_good_is_permanent() {
    let (qq, mut rig) = started().await;
    hear(&qq, &mut rig, C2C, "hi").await;
    let link = rig.deliver(C2C, say("see https://a.b")).await;
    assert!(matches!(link, Err(DeliveryError::Permanent(_))), "{link:?}");
    for code in [40_054_013, 304_025, 11253] {
        qq.book().fail_next(SAY_C2C, answer(400, code));
        let refused = rig.deliver(C2C, say("x")).await;
        assert!(
            matches!(&refused, Err(DeliveryError::Permanent(why)) if why.contains(&code.to_string())),
            "{refused:?}"
        );
    }
    let nowhere = rig.deliver("elsewhere:1", say("x")).await;
    assert!(matches!(nowhere, Err(DeliveryError::BadRequest(_))), "{nowhere:?}");
    let unknown = rig.deliver_keyed(9, C2C, reply_to("unknown", "x")).await;
    assert!(matches!(unknown, Err(DeliveryError::Permanent(_))), "{unknown:?}");
    // What a person looks at first was taken.
    qq.book().fail_next(SAY_C2C, answer(202, 304_023));
    assert_eq!(rig.deliver(C2C, say("x")).await.unwrap().platform_id, None);
    rig.stop().await;
}

#[tokio::test]
async fn f068_what_comes_twice_has_one_id_and_order_is_kept() {
    let (qq, mut rig) = started().await;
    let first = qq.say(C2C, "M", "1");
    qq.repeat();
    qq.say(C2C, "M", "2");
    let [one, again, two] = [rig.event().await, rig.event().await, rig.event().await];
    assert_eq!(one.platform_id, again.platform_id);
    assert_ne!(one.platform_id, two.platform_id);
    for key in 1..=5 {
        rig.deliver_keyed(key, C2C, reply_to(&first, "x")).await.unwrap();
    }
    rig.deliver_keyed(6, C2C, reply_to(&first, "x")).await.unwrap_err();
    assert_eq!(qq.sent().len(), 5, "twice told, it can be answered five times in all");
    rig.stop().await;
}

#[tokio::test]
async fn f070_a_lost_connection_is_resumed_and_what_was_missed_comes() {
    let (qq, mut rig) = started().await;
    let ways: [fn(&Qq); 4] = [Qq::break_off, |qq| qq.close(4009), |qq| qq.close(1001), |qq| qq.send(&json!({"op": 7}))];
    for (round, lose) in ways.into_iter().enumerate() {
        let (before, missed) = (format!("before {round}"), format!("missed {round}"));
        qq.say(C2C, "M", &before);
        until(&mut rig, &before).await;
        lose(&qq);
        qq.say(C2C, "M", &missed);
        until(&mut rig, &missed).await;
        rig.connected().await;
        assert_eq!(qq.resumes().len(), round + 1);
    }
    assert_eq!(qq.identifies().len(), 1);
    assert!(qq.resumes().iter().all(|resume| resume["token"].as_str().unwrap().starts_with("QQBot ")));
    rig.stop().await;
}

#[tokio::test]
async fn f070_a_gateway_that_no_longer_acknowledges_is_left_and_the_session_resumed() {
    let qq = Qq::start("7", SECRET).await;
    qq.beat_every(Duration::from_millis(500));
    let mut rig = Rig::start("qq", &table(&qq));
    rig.connected().await;
    qq.ignore_heartbeats(true);
    eventually(WITHIN, "a resume", || (!qq.resumes().is_empty()).then_some(())).await;
    qq.ignore_heartbeats(false);
    hear(&qq, &mut rig, C2C, "hi").await;
    assert_eq!(qq.identifies().len(), 1);
    rig.stop().await;
}

#[tokio::test]
async fn f070_a_session_that_is_gone_is_begun_anew() {
    let (qq, mut rig) = started().await;
    qq.forget_sessions();
    qq.break_off();
    eventually(WITHIN, "a second identify", || (qq.identifies().len() == 2).then_some(())).await;
    rig.connected().await;
    hear(&qq, &mut rig, C2C, "hi").await;
    rig.stop().await;
}

#[tokio::test]
async fn f070_no_identify_is_made_that_the_platform_does_not_allow() {
    let qq = Qq::start("7", SECRET).await;
    qq.allow_identifies(0, Duration::from_secs(3000));
    let mut rig = Rig::start("qq", &table(&qq));
    let (error, wait) = rig.backing_off().await;
    assert!(error.contains("no further identify") && wait == Duration::from_secs(3000), "{error} {wait:?}");
    assert_eq!(qq.identifies().len(), 0);
    rig.stop().await;
}

#[tokio::test]
async fn the_gateways_last_words_decide_what_is_done() {
    for code in [4001, 4002, 4010, 4011, 4012, 4013, 4014, 4914, 4915] {
        let qq = Qq::start("7", SECRET).await;
        qq.refuse_sessions(Some(code));
        let mut rig = Rig::start("qq", &table(&qq));
        let link = rig.link(|link| matches!(link, Link::AuthFailed { .. })).await;
        assert!(format!("{link:?}").contains(&code.to_string()), "{link:?}");
        assert_eq!(qq.identifies().len(), 1, "{code}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_gateway_that_refuses_the_token_gets_a_fresh_one() {
    let (qq, mut rig) = started().await;
    let token = qq.identifies()[0]["token"].clone();
    qq.revoke_tokens();
    qq.close(4009);
    // The call before the resume notices, or the gateway does.
    eventually(WITHIN, "another token", || {
        let last = qq.resumes().pop().or_else(|| qq.identifies().pop())?;
        (last["token"] != token).then_some(())
    })
    .await;
    rig.connected().await;
    hear(&qq, &mut rig, C2C, "hi").await;
    rig.stop().await;
}

#[tokio::test]
async fn a_restart_resumes_and_can_answer_what_came_before() {
    let (qq, mut rig) = started().await;
    let id = hear(&qq, &mut rig, C2C, "hi").await;
    let kept = rig.kept();
    rig.stop().await;
    eventually(WITHIN, "the connection to go", || (qq.connections() == 0).then_some(())).await;
    qq.say("group:G", "M", "missed");
    let mut rig = Rig::start_again(kept, "qq", &format!("{}\nresume_token = \"bare\"", table(&qq)));
    until(&mut rig, "missed").await;
    rig.connected().await;
    assert_eq!((qq.identifies().len(), qq.resumes().len()), (1, 1));
    assert!(qq.resumes()[0]["token"].as_str().unwrap().starts_with("token-"));
    rig.deliver(C2C, say("x")).await.unwrap();
    assert_eq!(answered(&qq.sent()), [("x", id.as_str(), 1)]);
    rig.stop().await;
}

async fn at_the_door() -> (Qq, Rig, SocketAddr) {
    let qq = Qq::start("7", SECRET).await;
    let mut rig = Rig::start("qq", &format!("{}\nmode = \"webhook\"\nlisten = \"127.0.0.1:0\"", table(&qq)));
    rig.connected().await;
    let address = rig.status.borrow().listening.expect("an address");
    (qq, rig, address)
}

#[tokio::test]
async fn a_callback_is_answered_once_the_host_has_the_event() {
    let (qq, mut rig, address) = at_the_door().await;
    let url = format!("http://{address}/qq");
    let challenge =
        json!({"op": 13, "d": {"plain_token": "Arq0D5A61EgUu4OxUvOp", "event_ts": "1725442341"}}).to_string();
    let expected = "87befc99c42c651b3aac0278e71ada338433ae26fcb24307bdc5ad38c1adc2d01bcfcadc0842edac85e85205028a1132afe09280305f13aa6909ffc2d652c706";
    let posted = qq.post_body(&url, &challenge).await.unwrap();
    assert_eq!((posted.status, posted.body["signature"].as_str()), (200, Some(expected)));
    let (kind, data, id) = qq.write("group:G", "M", "hi");
    let post = tokio::spawn({
        let (url, data) = (url.clone(), data.clone());
        async move {
            let posted = qq.post(&url, kind, &data).await.unwrap();
            (qq, posted)
        }
    });
    let arrival = rig.arrival().await;
    tokio::time::sleep(QUIET).await;
    assert!(!post.is_finished(), "nothing is acknowledged that the host does not have");
    let first = arrival.event.platform_id.clone();
    arrival.taken.send(()).unwrap();
    let (qq, posted) = post.await.unwrap();
    assert_eq!((posted.status, posted.body), (200, json!({"op": 12, "d": 0})));
    // The platform posts again what it thinks was lost.
    let again = tokio::join!(qq.post(&url, kind, &data), rig.event());
    assert_eq!((again.0.unwrap().status, again.1.platform_id), (200, first));
    rig.deliver("group:G", say("x")).await.unwrap();
    assert_eq!(answered(&qq.sent()), [("x", id.as_str(), 1)]);
    assert!(qq.identifies().is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn a_host_that_stops_has_the_platform_keep_the_event() {
    let (qq, mut rig, address) = at_the_door().await;
    let (kind, data, _) = qq.write("group:G", "M", "hi");
    rig.arrivals.close();
    let posted = qq.post(&format!("http://{address}/qq"), kind, &data).await.unwrap();
    assert_eq!(posted.status, 503);
    rig.stop().await;
}

#[tokio::test]
async fn f071_what_the_platform_has_not_signed_goes_nowhere() {
    let (qq, mut rig, address) = at_the_door().await;
    let url = format!("http://{address}/qq");
    let (kind, data, _) = qq.write("group:G", "M", "hi");
    let body = json!({"op": 0, "id": "x", "t": kind, "d": data}).to_string();
    let now = Timestamp::now().as_millis() / 1000;
    let headers = |app: &str, at: u64, signature: String| {
        [("X-Bot-Appid", app.to_owned()), ("X-Signature-Timestamp", at.to_string()), ("X-Signature-Ed25519", signature)]
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec()
    };
    let good = |at| qq.sign(at, &body);
    let twice = [headers("7", now, good(now)), headers("7", now, good(now))].concat();
    let unsigned: Vec<_> = headers("7", now, String::new()).into_iter().take(2).collect();
    for (what, headers, body, status) in [
        ("another body", headers("7", now, qq.sign(now, "{}")), body.as_str(), 401),
        ("another moment", headers("7", now - 1, good(now)), &body, 401),
        ("too old", headers("7", now - 301, good(now - 301)), &body, 401),
        ("from the future", headers("7", now + 600, good(now + 600)), &body, 401),
        ("another bot", headers("8", now, good(now)), &body, 401),
        ("no signature", unsigned.clone(), &body, 401),
        (
            "an unsigned challenge that is an event",
            unsigned,
            r#"{"op":13,"d":{"plain_token":"{\"op\":0}","event_ts":"1"}}"#,
            400,
        ),
        ("no hex", headers("7", now, "zz".repeat(64)), &body, 401),
        ("cut off", headers("7", now, good(now)[..126].to_owned()), &body, 401),
        ("twice", twice, &body, 401),
        ("signed nonsense", headers("7", now, qq.sign(now, "no json")), "no json", 400),
    ] {
        let posted = qq.post_raw(&url, &headers, body).await.unwrap();
        assert_eq!(posted.status, status, "{what}");
    }
    let elsewhere =
        qq.post_raw(&format!("http://{address}/other"), &headers("7", now, good(now)), &body).await.unwrap();
    assert_eq!(elsewhere.status, 404);
    let vast = "x".repeat(10 << 20);
    // It may be refused so early that the rest cannot be written.
    if let Ok(posted) = qq.post_raw(&url, &headers("7", now, qq.sign(now, &vast)), &vast).await {
        assert_eq!(posted.status, 413);
    }
    assert!(rig.arrivals.try_recv().is_err(), "nothing came of any of it");
    let headers = headers("7", now, good(now));
    let taken = tokio::join!(qq.post_raw(&url, &headers, &body), rig.event());
    assert_eq!(taken.0.unwrap().status, 200);
    rig.stop().await;
}

/// Interpreters take their time to start.
const PEER_WITHIN: Duration = Duration::from_secs(60);

/// Starts NoneBot with the adapter of QQ's API, as the bot that the simulator knows.
fn nonebot(test: &str, qq: &Qq, port: u16, mode: &str) -> Option<Child> {
    let mut command = Command::new(peer(test, "nonebot/bin/python")?);
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/peers/qq_nonebot_echo.py"))
        .envs([("PORT", port.to_string()), ("API", qq.url()), ("MODE", mode.to_owned())])
        .envs([("APP", "7"), ("SECRET", SECRET)])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    Some(command.spawn().expect("a program that starts"))
}

/// Waits until somebody has answered a message with what it says.
async fn echoed(qq: &Qq, place: &str, id: &str, text: &str) {
    let is_echo =
        |sent: &Sent| sent.place == place && sent.body["msg_id"] == id && sent.text() == format!("echo:{text}");
    eventually(PEER_WITHIN, "the echo", || qq.sent().iter().any(is_echo).then_some(())).await;
}

#[tokio::test]
async fn nonebot_dials_the_simulated_gateway_answers_everywhere_and_resumes() {
    let qq = Qq::start("7", SECRET).await;
    qq.beat_every(Duration::from_millis(500));
    let test = "nonebot_dials_the_simulated_gateway_answers_everywhere_and_resumes";
    let Some(_nonebot) = nonebot(test, &qq, free_port(), "websocket") else { return };
    eventually(PEER_WITHIN, "NoneBot to identify itself", || (qq.connections() == 1).then_some(())).await;
    for place in [C2C, "group:G", "channel:3", "dm:2"] {
        let id = qq.say(place, "M", place);
        echoed(&qq, place, &id, place).await;
    }
    qq.break_off();
    eventually(WITHIN, "the connection to go", || (qq.connections() == 0).then_some(())).await;
    let missed = qq.say(C2C, "M", "missed");
    echoed(&qq, C2C, &missed, "missed").await;
    assert_eq!((qq.identifies().len(), qq.resumes().len()), (1, 1));
}

#[tokio::test]
async fn nonebot_believes_the_simulated_callbacks_and_proves_that_it_has_the_secret() {
    let (qq, port) = (Qq::start("7", SECRET).await, free_port());
    let test = "nonebot_believes_the_simulated_callbacks_and_proves_that_it_has_the_secret";
    let Some(_nonebot) = nonebot(test, &qq, port, "webhook") else { return };
    let url = format!("http://127.0.0.1:{port}/qq/webhook");
    let challenge = json!({"op": 13, "d": {"plain_token": "word", "event_ts": "1725442341"}}).to_string();
    let proof = tokio::time::timeout(PEER_WITHIN, async {
        loop {
            if let Ok(posted) = qq.post_body(&url, &challenge).await {
                break posted;
            }
            tokio::task::yield_now().await;
        }
    });
    let proof = proof.await.expect("NoneBot to listen");
    assert_eq!((proof.status, proof.body["signature"].as_str()), (200, Some(qq.sign(1_725_442_341, "word").as_str())));
    for place in [C2C, "group:G", "channel:3", "dm:2"] {
        let (kind, data, id) = qq.write(place, "M", "hi");
        assert_eq!(qq.post(&url, kind, &data).await.unwrap().status, 200);
        echoed(&qq, place, &id, "hi").await;
    }
    let (kind, data, _) = qq.write(C2C, "M", "forged");
    let body = json!({"op": 0, "id": "x", "t": kind, "d": data}).to_string();
    let now = Timestamp::now().as_millis() / 1000;
    let headers = [
        ("X-Bot-Appid", "7".to_owned()),
        ("X-Signature-Timestamp", now.to_string()),
        ("X-Signature-Ed25519", qq.sign(now, "something else")),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value));
    assert_eq!(qq.post_raw(&url, &headers, &body).await.unwrap().status, 403);
}
