//! Discord, against a strict gateway and REST API, and a client of others against the same.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bothost::action::{Act, Button, Outgoing, Upload};
use bothost::connector::{Delivery, DeliveryError, Link};
use bothost::egress::{AddressGuard, HttpClient, HttpUrl};
use bothost::event::{ConversationKind, Event, EventKind, Membership};
use ed25519_dalek::SigningKey;
use harness::eventually;
use harness::peers::{peer, script};
use harness::rig::{Kept, Rig, WITHIN, action, outgoing, say, send};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use simulators::discord::{BOT_ID, Discord, GUILD_ID, Order};
use simulators::wire::{Fault, Reply};
use tokio::sync::oneshot;

const TOKEN: &str = "s3cret.t0ken";
const CHANNEL: &str = "3000000000000000001";
const OTHER: &str = "3000000000000000002";
const ANN: &str = "4000000000000000001";

fn table(fake: &Discord, more: &str) -> String {
    format!("token = \"{TOKEN}\"\napi_url = \"{}\"\nreconnect_max = \"50ms\"\n{more}", fake.url())
}

fn start(fake: &Discord, more: &str) -> Rig {
    Rig::start("discord", &table(fake, more))
}

/// Returns a platform that knows the channels, and a connector that is connected to it.
async fn connected(more: &str) -> (Discord, Rig) {
    let fake = Discord::start(TOKEN).await;
    for channel in [CHANNEL, OTHER] {
        // A channel is known once somebody may write there.
        fake.message(channel, Some(GUILD_ID), ANN, "");
    }
    let mut rig = start(&fake, more);
    rig.connected().await;
    (fake, rig)
}

fn too_many(retry_after: &Value, global: bool) -> Fault {
    let body = json!({"message": "You are being rate limited.", "retry_after": retry_after, "global": global});
    let scope = if global { "global" } else { "user" };
    Fault::Answer(Reply::json(429, &body).with("x-ratelimit-scope", scope))
}

fn refusal(status: u16, code: u64) -> Fault {
    Fault::Answer(Reply::json(status, &json!({"message": "no", "code": code})))
}

fn texts(fake: &Discord) -> Vec<String> {
    fake.sent().iter().map(|message| message["content"].as_str().unwrap().to_owned()).collect()
}

/// Takes events over until `count` different ones have come, as the host would, and returns their texts in order.
async fn distinct(rig: &mut Rig, seen: &mut HashSet<String>, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        let Event { platform_id, kind, .. } = rig.event().await;
        if seen.insert(platform_id.unwrap())
            && let EventKind::Message(message) = kind
        {
            texts.push(message.text);
        }
    }
    texts
}

async fn auth_failed(rig: &mut Rig) -> String {
    match rig.link(|link| matches!(link, Link::AuthFailed { .. })).await {
        Link::AuthFailed { error } => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_said_arrives_and_what_the_bot_says_names_nobody() {
    let (fake, mut rig) = connected("").await;
    let id = fake.say(CHANNEL, ANN, &format!("hi <@{BOT_ID}>"));
    let message = rig.message().await;
    assert_eq!((message.id.as_str(), message.text.as_str()), (id.as_str(), format!("hi <@{BOT_ID}>").as_str()));
    assert!(message.addressed && message.conversation.kind == ConversationKind::Group);
    let direct = fake.say_direct(OTHER, ANN, "psst");
    let message = rig.message().await;
    assert!(message.id == direct && message.addressed && message.conversation.kind == ConversationKind::Direct);

    let answer = Outgoing { reply_to: Some(id.clone()), ..outgoing("@everyone hello") };
    let receipt = rig.deliver(CHANNEL, send(answer)).await.unwrap();
    let sent = fake.sent();
    assert_eq!(
        (sent[0]["id"].as_str(), sent[0]["content"].as_str()),
        (receipt.platform_id.as_deref(), Some("@everyone hello"))
    );
    assert_eq!(sent[0]["message_reference"], json!({"message_id": id, "fail_if_not_exists": false}));
    let asked = fake.book().calls_of("send")[0].request.json();
    assert_eq!((&asked["allowed_mentions"]["parse"], &asked["enforce_nonce"]), (&json!([]), &json!(true)));

    // What the bot said came by the gateway too, before this.
    fake.say(CHANNEL, ANN, "last");
    assert_eq!(rig.message().await.text, "last");
    rig.stop().await;
}

#[tokio::test]
async fn edits_reactions_and_members_arrive() {
    let (fake, mut rig) =
        connected("intents = [\"guilds\", \"guild_members\", \"guild_messages\", \"guild_message_reactions\"]").await;
    let id = fake.say(CHANNEL, ANN, "a");
    assert_eq!(rig.message().await.text, "", "without the intent, what people write stays with Discord");
    fake.edit(CHANNEL, &id, ANN, "b", "2026-01-01T00:00:01+00:00");
    assert!(matches!(rig.event().await.kind, EventKind::Edited(message) if message.id == id));
    for added in [true, false] {
        fake.react(CHANNEL, &id, ANN, "👍", added);
        let EventKind::Reaction { emoji, added: got, .. } = rig.event().await.kind else { panic!("no reaction") };
        assert_eq!((emoji.as_str(), got), ("👍", added));
    }
    fake.dispatch(
        "GUILD_MEMBER_ADD",
        json!({"guild_id": GUILD_ID, "user": {"id": ANN, "username": "ann"}, "roles": []}),
    );
    let EventKind::Member { member, change, .. } = rig.event().await.kind else { panic!("no member") };
    assert_eq!((member.id.as_str(), change), (ANN, Membership::Joined));
    rig.stop().await;
}

#[tokio::test]
async fn messages_are_changed_deleted_and_reacted_to() {
    let (fake, rig) = connected("").await;
    let sent = rig.deliver(CHANNEL, say("a")).await.unwrap().platform_id.unwrap();
    rig.deliver(CHANNEL, Act::Edit { target: sent.clone(), message: outgoing("b") }).await.unwrap();
    assert_eq!(texts(&fake), ["b"]);
    for emoji in ["👍", "<:ok:123>"] {
        rig.deliver(CHANNEL, Act::React { target: sent.clone(), emoji: emoji.to_owned() }).await.unwrap();
    }
    let reactions: Vec<_> = fake.book().calls_of("react").into_iter().map(|call| call.request.path).collect();
    assert!(reactions[0].ends_with("/reactions/%F0%9F%91%8D/@me") && reactions[1].ends_with("/reactions/ok%3A123/@me"));
    for _ in 0..2 {
        rig.deliver(CHANNEL, Act::Delete { target: sent.clone() }).await.unwrap();
    }
    assert!(fake.sent().is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn a_long_text_goes_in_pieces_with_buttons_and_files_under_the_last() {
    let (fake, rig) = connected("").await;
    let button = |data: &str| Button { label: "Yes".to_owned(), data: data.to_owned() };
    let upload =
        Upload { name: "a.txt".to_owned(), media_type: "text/plain".to_owned(), content: b"--x\r\n\r\nhi".to_vec() };
    let message = Outgoing {
        buttons: vec![vec![button("yes"), button("no")]],
        uploads: vec![upload],
        ..outgoing(&"👍 word ".repeat(600))
    };
    let receipt = rig.deliver_keyed(7, CHANNEL, send(message)).await.unwrap();
    let sent = fake.sent();
    assert!(sent.len() > 1 && sent[0]["id"].as_str() == receipt.platform_id.as_deref());
    assert_eq!(texts(&fake).concat(), "👍 word ".repeat(600));
    let nonces: HashSet<_> = sent.iter().map(|message| message["nonce"].to_string()).collect();
    assert_eq!(nonces.len(), sent.len());
    let (last, rest) = sent.split_last().unwrap();
    assert!(rest.iter().all(|message| message["components"] == json!([]) && message["attachments"] == json!([])));
    assert_eq!(last["components"][0]["components"][1]["custom_id"], "no");
    assert_eq!((&last["attachments"][0]["filename"], &last["attachments"][0]["size"]), (&json!("a.txt"), &json!(9)));
    rig.stop().await;
}

#[tokio::test]
async fn f060_a_pause_is_kept_exactly_and_holds_back_its_own_channel_only() {
    let (fake, rig) = connected("").await;
    let pauses =
        [(json!(1), 1000), (json!(3600.5), 3_600_500), (json!(null), 5000), (json!(-1), 5000), (json!("x"), 5000)];
    for (number, (given, millis)) in pauses.into_iter().enumerate() {
        // Another channel each time, for the one before is held back.
        let channel = &format!("310000000000000000{number}");
        fake.message(channel, Some(GUILD_ID), ANN, "");
        let expected = Duration::from_millis(millis);
        fake.book().fail_next("send", too_many(&given, false));
        assert_eq!(rig.deliver(channel, say("x")).await, Err(DeliveryError::RateLimited(expected)), "{given}");
        let asked = fake.book().calls_of("send").len();
        let again = rig.deliver(channel, say("x")).await;
        assert!(matches!(again, Err(DeliveryError::RateLimited(wait)) if wait <= expected), "{again:?}");
        assert_eq!(fake.book().calls_of("send").len(), asked, "nothing is asked that is known to be refused");
    }
    rig.deliver(CHANNEL, say("meanwhile")).await.unwrap();
    fake.book().fail_next("send", too_many(&json!(60), true));
    rig.deliver(CHANNEL, say("x")).await.unwrap_err();
    let everywhere = rig.deliver("3200000000000000000", say("x")).await;
    assert!(matches!(everywhere, Err(DeliveryError::RateLimited(_))), "{everywhere:?}");
    rig.stop().await;
}

#[tokio::test]
async fn a_spent_bucket_is_waited_for_and_not_tried() {
    let (fake, rig) = connected("").await;
    fake.limit_routes(1, Duration::from_secs(3600));
    rig.deliver(CHANNEL, say("a")).await.unwrap();
    let held = rig.deliver(CHANNEL, say("b")).await;
    assert!(matches!(held, Err(DeliveryError::RateLimited(wait)) if wait > Duration::from_secs(3500)), "{held:?}");
    rig.deliver(OTHER, say("c")).await.unwrap();
    assert_eq!(fake.book().calls_of("send").len(), 2);
    rig.stop().await;
}

#[tokio::test]
async fn f061_whatever_breaks_on_the_way_is_worth_another_try() {
    let (fake, rig) = connected("").await;
    let faults = [
        Fault::CutAnswer,
        Fault::Reset,
        Fault::Answer(Reply::html(502)),
        refusal(500, 0),
        refusal(503, 0),
        Fault::Hang,
        Fault::Trickle(Duration::from_millis(50)),
    ];
    for (key, fault) in (1..).zip(faults) {
        fake.book().fail_next("send", fault.clone());
        let (outcome, answer) = oneshot::channel();
        let delivery =
            Delivery { action: action(CHANNEL, say("x")), key, timeout: Duration::from_millis(300), outcome };
        rig.deliveries.send(delivery).await.unwrap();
        let outcome = tokio::time::timeout(WITHIN, answer).await.unwrap().unwrap();
        assert!(matches!(outcome, Err(DeliveryError::Retryable(_))), "{fault:?}: {outcome:?}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn f062_what_was_sent_and_not_answered_is_there_once() {
    let (fake, rig) = connected("").await;
    fake.book().fail_next("send", Fault::Reset);
    let long = "word ".repeat(700);
    rig.deliver_keyed(5, CHANNEL, say(&long)).await.unwrap_err();
    let receipt = rig.deliver_keyed(5, CHANNEL, say(&long)).await.unwrap();
    assert_eq!(texts(&fake).concat(), long);
    assert_eq!(receipt.platform_id.as_deref(), fake.sent()[0]["id"].as_str());
    rig.deliver_keyed(6, CHANNEL, say("another")).await.unwrap();
    assert_eq!(texts(&fake).last().map(String::as_str), Some("another"));
    rig.stop().await;
}

/// A text of two parts, and which of them Discord was asked to send.
fn two_parts() -> String {
    format!("{}\n{}", "a".repeat(1900), "b".repeat(1900))
}

fn parts_asked(fake: &Discord) -> String {
    let calls = fake.book().calls_of("send");
    calls.iter().map(|call| call.request.json()["content"].as_str().unwrap().chars().next().unwrap()).collect()
}

#[tokio::test]
async fn a_later_part_that_is_refused_has_the_class_of_its_refusal_and_what_was_before_is_asked_once() {
    let (fake, rig) = connected("").await;
    type Class = fn(String) -> DeliveryError;
    let faults: [(Fault, &str, Class); 3] = [
        (refusal(403, 50013), "no (HTTP 403, code 50013)", DeliveryError::Permanent),
        (refusal(400, 50035), "no (HTTP 400, code 50035)", DeliveryError::BadRequest),
        (refusal(500, 0), "no (HTTP 500, code 0)", DeliveryError::Retryable),
    ];
    for (key, (fault, why, class)) in (1..).zip(faults) {
        fake.book().pass_next("send");
        fake.book().fail_next("send", fault);
        let refused = rig.deliver_keyed(key, CHANNEL, say(&two_parts())).await;
        assert_eq!(refused, Err(class(format!("1 of 2 parts are there, then: {why}"))));
    }
    assert_eq!(parts_asked(&fake), "ababab");
    let first = fake.sent().last().unwrap()["id"].as_str().map(str::to_owned);
    let receipt = rig.deliver_keyed(3, CHANNEL, say(&two_parts())).await.unwrap();
    assert_eq!((parts_asked(&fake).as_str(), receipt.platform_id), ("abababb", first));
    rig.stop().await;
}

#[tokio::test]
async fn after_a_long_pause_between_two_parts_only_the_rest_is_sent() {
    let (fake, rig) = connected("").await;
    fake.book().pass_next("send");
    fake.book().fail_next("send", too_many(&json!(3600), false));
    let limited = rig.deliver_keyed(7, CHANNEL, say(&two_parts())).await;
    assert_eq!(limited, Err(DeliveryError::RateLimited(Duration::from_secs(3600))));
    let again = rig.deliver_keyed(7, CHANNEL, say(&two_parts())).await;
    assert!(matches!(again, Err(DeliveryError::RateLimited(wait)) if wait > Duration::from_secs(3500)), "{again:?}");
    assert_eq!(parts_asked(&fake), "ab", "the channel is still held back");
    // Another channel stands for this one an hour later.
    let receipt = rig.deliver_keyed(7, OTHER, say(&two_parts())).await.unwrap();
    assert_eq!(receipt.platform_id.as_deref(), fake.sent()[0]["id"].as_str());
    assert_eq!((parts_asked(&fake).as_str(), texts(&fake).concat()), ("abb", two_parts()));
    rig.deliver_keyed(8, OTHER, say(&two_parts())).await.unwrap();
    assert_eq!(parts_asked(&fake), "abbab", "another action is sent as a whole");
    rig.stop().await;
}

#[tokio::test]
async fn f063_a_revoked_token_ends_everything_at_once() {
    for by_gateway in [true, false] {
        let (fake, mut rig) = connected("").await;
        if by_gateway {
            fake.revoke();
        } else {
            fake.book().fail_next("send", refusal(401, 0));
            let refused = rig.deliver(CHANNEL, say("x")).await;
            assert!(matches!(refused, Err(DeliveryError::Unauthorized(_))), "{refused:?}");
        }
        let error = auth_failed(&mut rig).await;
        assert!(error.contains("token") && !error.contains(TOKEN), "{error}");
        let refused = rig.deliver(CHANNEL, say("x")).await;
        assert!(matches!(refused, Err(DeliveryError::Unauthorized(_))), "{refused:?}");
        assert_eq!((fake.identifies().len(), fake.book().calls_of("send").len()), (1, 1));
        let refused = rig.deliver(CHANNEL, say("x")).await;
        assert!(matches!(refused, Err(DeliveryError::Unauthorized(_))), "{refused:?}");
        assert_eq!(fake.book().calls_of("send").len(), 1, "nothing is asked any more");
        rig.stop().await;
    }
}

#[tokio::test]
async fn f063_a_wrong_token_is_refused_before_anybody_identifies() {
    let fake = Discord::start("another").await;
    let mut rig = start(&fake, "");
    let error = auth_failed(&mut rig).await;
    assert!(error.contains("401") && !error.contains(TOKEN), "{error}");
    assert!(fake.identifies().is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn f066_what_is_refused_for_good_is_not_tried_again() {
    let (fake, rig) = connected("").await;
    let unknown = rig.deliver("3999999999999999999", say("x")).await;
    assert!(matches!(unknown, Err(DeliveryError::Permanent(_))), "{unknown:?}");
    for (fault, wanted) in [(refusal(403, 50007), true), (refusal(403, 50013), true), (refusal(400, 50035), false)] {
        fake.book().fail_next("send", fault);
        match rig.deliver(CHANNEL, say("x")).await {
            Err(DeliveryError::Permanent(_)) => assert!(wanted),
            Err(DeliveryError::BadRequest(_)) => assert!(!wanted),
            other => panic!("{other:?}"),
        }
    }
    let nowhere = rig.deliver("../gateway", say("x")).await;
    assert!(matches!(nowhere, Err(DeliveryError::BadRequest(_))), "{nowhere:?}");
    rig.deliver(CHANNEL, say("fine")).await.unwrap();
    rig.stop().await;
}

#[tokio::test]
async fn f068_what_comes_twice_is_the_same_event_and_the_order_stays() {
    let (fake, mut rig) = connected("").await;
    fake.say(CHANNEL, ANN, "a");
    let first = rig.event().await;
    fake.order(Order::Repeat);
    assert_eq!(rig.event().await.platform_id, first.platform_id);
    fake.react(CHANNEL, "5", ANN, "👍", true);
    let reaction = rig.event().await;
    fake.order(Order::Repeat);
    assert_eq!(rig.event().await.platform_id, reaction.platform_id);
    let expected: Vec<_> = (0..300).map(|number| number.to_string()).collect();
    for text in &expected {
        fake.say(CHANNEL, ANN, text);
    }
    assert_eq!(distinct(&mut rig, &mut HashSet::new(), 300).await, expected);
    rig.stop().await;
}

#[tokio::test]
async fn f070_every_lost_connection_is_resumed_with_what_was_missed_in_order() {
    let (fake, mut rig) = connected("").await;
    let mut seen = HashSet::new();
    let breaks = [
        Order::Break,
        Order::Reconnect,
        Order::Close(4000, "unknown"),
        Order::Close(1001, "going away"),
        Order::Invalid(true),
    ];
    for (round, order) in breaks.into_iter().enumerate() {
        fake.say(CHANNEL, ANN, "before");
        assert_eq!(distinct(&mut rig, &mut seen, 1).await, ["before"]);
        fake.order(order.clone());
        // Whether the connection still stands or not: it is in the session.
        fake.say(CHANNEL, ANN, "missed 1");
        fake.say(OTHER, ANN, "missed 2");
        assert_eq!(distinct(&mut rig, &mut seen, 2).await, ["missed 1", "missed 2"], "{order:?}");
        eventually(WITHIN, "a resume", || (fake.resumes().len() > round).then_some(())).await;
    }
    assert_eq!(fake.identifies().len(), 1, "a lost connection costs no identify");
    rig.stop().await;
}

#[tokio::test]
async fn f070_a_gateway_that_acknowledges_no_heartbeat_is_left_without_ending_the_session() {
    let fake = Discord::start(TOKEN).await;
    fake.beat_every(Duration::from_millis(500));
    let mut rig = start(&fake, "");
    rig.connected().await;
    fake.acknowledge_beats(false);
    eventually(WITHIN, "a resume", || (!fake.resumes().is_empty()).then_some(())).await;
    fake.acknowledge_beats(true);
    assert!(fake.closes().iter().all(|code| !matches!(code, Some(1000 | 1001))), "{:?}", fake.closes());
    fake.say(CHANNEL, ANN, "still there");
    assert_eq!(distinct(&mut rig, &mut HashSet::new(), 1).await, ["still there"]);
    assert_eq!(fake.identifies().len(), 1);
    rig.stop().await;
}

#[tokio::test]
async fn f070_a_heartbeat_that_is_asked_for_comes_at_once() {
    let (fake, mut rig) = connected("").await;
    for _ in 0..3 {
        fake.order(Order::Beat);
    }
    fake.say(CHANNEL, ANN, "after");
    assert_eq!(rig.message().await.text, "after");
    assert_eq!(fake.connections(), 1);
    rig.stop().await;
}

#[tokio::test]
async fn f070_a_session_that_cannot_be_resumed_is_begun_anew() {
    let (fake, mut rig) = connected("").await;
    fake.order(Order::Invalid(false));
    eventually(WITHIN, "an identify", || (fake.identifies().len() == 2).then_some(())).await;
    rig.connected().await;
    assert!(fake.resumes().is_empty(), "what is not valid is not tried");
    // One that Discord forgot without a word.
    fake.forget_sessions();
    fake.order(Order::Break);
    eventually(WITHIN, "an identify", || (fake.identifies().len() == 3).then_some(())).await;
    eventually(WITHIN, "a message", || {
        fake.say(CHANNEL, ANN, "anew");
        rig.arrivals.try_recv().ok()
    })
    .await;
    assert_eq!(fake.resumes().len(), 1);
    let identifies = fake.identifies();
    for pair in identifies.windows(2) {
        assert!(pair[1].at - pair[0].at >= Duration::from_secs(5), "Discord takes one in five seconds");
    }
    rig.stop().await;
}

#[tokio::test]
async fn f070_a_session_that_fails_to_resume_three_times_is_given_up() {
    let (fake, mut rig) = connected("").await;
    fake.refuse_next(&[4000, 4001, 4002]);
    fake.order(Order::Break);
    eventually(WITHIN, "an identify", || (fake.identifies().len() == 2).then_some(())).await;
    rig.connected().await;
    assert_eq!(fake.resumes().len(), 3);
    rig.stop().await;
}

#[tokio::test]
async fn a_quiet_gateway_that_acknowledges_heartbeats_is_heard() {
    let fake = Discord::start(TOKEN).await;
    fake.beat_every(Duration::from_millis(500));
    let mut rig = start(&fake, "");
    rig.connected().await;
    let last_success = || rig.status.borrow().signs.last_success();
    let first = last_success();
    eventually(WITHIN, "a later sign of life", || (last_success() > first).then_some(())).await;
    assert_eq!(fake.connections(), 1);
    rig.stop().await;
}

#[tokio::test]
async fn f070_a_close_code_that_only_another_configuration_helps_against_ends_the_tries() {
    for (code, word) in [(4013, "intents"), (4014, "intents"), (4010, "shard"), (4011, "shards")] {
        let fake = Discord::start(TOKEN).await;
        fake.refuse_next(&[code]);
        let mut rig = start(&fake, "");
        let error = auth_failed(&mut rig).await;
        assert!(error.contains(word), "{code}: {error}");
        assert_eq!(fake.connections(), 1);
        rig.stop().await;
    }
    let fake = Discord::start(TOKEN).await;
    fake.forbid_intents(1 << 15);
    let mut rig = start(&fake, "");
    assert!(auth_failed(&mut rig).await.contains("application's page"));
    rig.stop().await;
}

#[tokio::test]
async fn a_restart_resumes_and_what_the_host_did_not_take_comes_again() {
    let (fake, mut rig) = connected("").await;
    fake.say(CHANNEL, ANN, "taken");
    assert_eq!(rig.message().await.text, "taken");
    fake.say(CHANNEL, ANN, "not taken");
    let arrival = rig.arrival().await;
    let kept: Kept = rig.kept();
    // As a crash: nobody says anything to anybody.
    rig.task.abort();
    drop(arrival);
    drop(rig);
    fake.say(CHANNEL, ANN, "meanwhile");
    let mut rig = Rig::start_again(kept, "discord", &table(&fake, ""));
    let mut texts = Vec::new();
    while texts.last().map(String::as_str) != Some("meanwhile") {
        texts.push(rig.message().await.text);
    }
    let end = &texts[texts.len() - 2..];
    assert_eq!(end, ["not taken", "meanwhile"], "{texts:?}");
    rig.connected().await;
    assert_eq!((fake.identifies().len(), fake.resumes().len()), (1, 1));
    assert_eq!(fake.book().calls_of("me").len(), 1, "what is resumed does not say who we are");
    // It knows itself.
    rig.deliver(CHANNEL, say("own words")).await.unwrap();
    fake.say(CHANNEL, ANN, "end");
    assert_eq!(rig.message().await.text, "end");
    rig.stop().await;
}

#[tokio::test]
async fn another_tokens_session_is_not_resumed() {
    let (fake, rig) = connected("").await;
    let kept = rig.kept();
    rig.stop().await;
    let other = Discord::start("another.t0ken").await;
    let table = table(&other, "").replace(TOKEN, "another.t0ken");
    let mut rig = Rig::start_again(kept, "discord", &table);
    rig.connected().await;
    assert_eq!((other.identifies().len(), other.resumes().len()), (1, 0));
    drop(fake);
    rig.stop().await;
}

#[tokio::test]
async fn f070_nobody_identifies_when_no_identify_is_left() {
    let fake = Discord::start(TOKEN).await;
    fake.leave_identifies(0, Duration::from_secs(7200));
    let mut rig = start(&fake, "");
    let (error, wait) = rig.backing_off().await;
    assert!(error.contains("identify"), "{error}");
    assert_eq!(wait, Duration::from_secs(7200));
    assert!(fake.identifies().is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn every_shard_has_its_session_and_the_worst_is_shown() {
    let fake = Discord::start(TOKEN).await;
    fake.advise(2, 16);
    let mut rig = start(&fake, "");
    rig.connected().await;
    let mut shards: Vec<_> = fake.identifies().iter().map(|identify| identify.shard).collect();
    shards.sort_unstable();
    assert_eq!(shards, [(0, 2), (1, 2)]);
    for guild in 1u64..=4 {
        let message = fake.message(CHANNEL, Some(&(guild << 22).to_string()), ANN, &guild.to_string());
        fake.dispatch("MESSAGE_CREATE", message);
    }
    let mut texts = Vec::new();
    for _ in 0..4 {
        texts.push(rig.message().await.text);
    }
    texts.sort_unstable();
    assert_eq!(texts, ["1", "2", "3", "4"]);
    fake.refuse_next(&[4014]);
    fake.order(Order::Break);
    assert!(auth_failed(&mut rig).await.contains("intents"), "one of them is refused, whatever the other does");
    rig.stop().await;
}

#[tokio::test]
async fn one_shard_of_several_is_served_alone() {
    let (fake, rig) = connected("shard = [3, 4]").await;
    assert_eq!(fake.identifies()[0].shard, (3, 4));
    rig.stop().await;
}

#[tokio::test]
async fn an_interaction_is_answered_once_the_host_has_it() {
    let (fake, mut rig) = connected("").await;
    let pressed = fake.press(CHANNEL, "5", ANN, "yes");
    let arrival = rig.arrival().await;
    assert!(fake.callbacks().is_empty());
    assert!(matches!(&arrival.event.kind, EventKind::Button { data, .. } if data == "yes"));
    arrival.taken.send(()).unwrap();
    let answers = eventually(WITHIN, "an answer", || Some(fake.callbacks()).filter(|all| !all.is_empty())).await;
    assert_eq!(answers, [(pressed, json!({"type": 6}))]);

    let options = json!([{"type": 3, "name": "what", "value": "two words"}]);
    let slashed = fake.slash(CHANNEL, ANN, "add", options);
    let message = rig.message().await;
    assert_eq!((message.text.as_str(), message.addressed), ("/add two words", true));
    eventually(WITHIN, "the note to be taken back", || (fake.withdrawn() == [slashed.clone()]).then_some(())).await;
    assert_eq!(fake.callbacks()[1].1["type"], 5);
    // What the bot says is a message of its own, an answer to nothing that Discord knows.
    let answer = Outgoing { reply_to: Some(message.id), ..outgoing("added") };
    rig.deliver(CHANNEL, send(answer)).await.unwrap();
    assert_eq!(texts(&fake), ["added"]);
    rig.stop().await;
}

/// Knocks at a connector's door, and returns the status and what it says.
async fn knock(rig: &Rig, path: &str, headers: &[(&'static str, String)], body: &str) -> (u16, Value) {
    knock_at(door(rig), path, headers, body).await
}

fn door(rig: &Rig) -> SocketAddr {
    rig.status.borrow().listening.expect("a connector that listens")
}

async fn knock_at(address: SocketAddr, path: &str, headers: &[(&'static str, String)], body: &str) -> (u16, Value) {
    let HttpUrl(endpoint) = format!("http://{address}").parse().unwrap();
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
        .collect();
    let client = HttpClient::new(endpoint, AddressGuard::any());
    let response = client.call(Method::POST, path, headers, body.to_owned(), WITHIN).await.unwrap();
    (response.status.as_u16(), serde_json::from_slice(&response.body).unwrap_or_default())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn f071_what_discord_did_not_sign_is_refused_and_what_it_did_is_taken() {
    let (key, public) = Discord::key();
    let (fake, mut rig) = connected(&format!("listen = \"127.0.0.1:0\"\npublic_key = \"{public}\"")).await;
    let path = "/discord/interactions";
    let ping = json!({"id": "1", "application_id": BOT_ID, "type": 1, "token": "t", "version": 1}).to_string();
    let signed = Discord::sign(&key, &now().to_string(), &ping);
    assert_eq!(knock(&rig, path, &signed, &ping).await, (200, json!({"type": 1})));
    let old = Discord::sign(&key, &(now() - 3600).to_string(), &ping);
    let forged = Discord::sign(&SigningKey::from_bytes(&[9; 32]), &now().to_string(), &ping);
    for headers in [&[][..], &signed[..1], &old, &forged] {
        assert_eq!(knock(&rig, path, headers, &ping).await.0, 401);
    }
    assert_eq!(knock(&rig, path, &signed, &format!("{ping} ")).await.0, 401);
    assert_eq!(knock(&rig, "/elsewhere", &signed, &ping).await.0, 404);
    let large = "x".repeat(2 << 20);
    assert_eq!(knock(&rig, path, &signed, &large).await.0, 413);
    let nonsense = Discord::sign(&key, &now().to_string(), "nonsense");
    assert_eq!(knock(&rig, path, &nonsense, "nonsense").await.0, 400);
    assert!(rig.arrivals.try_recv().is_err(), "none of it is an event");

    let pressed = fake.pressed(CHANNEL, "5", ANN, "yes").to_string();
    let slashed = fake.slashed(CHANNEL, ANN, "add", json!([])).to_string();
    let mut ids = Vec::new();
    // The first is sent twice, as by somebody who has listened.
    for (body, kind) in [(&pressed, 6), (&pressed, 6), (&slashed, 5)] {
        let signed = Discord::sign(&key, &now().to_string(), body);
        let address = door(&rig);
        let (answer, event) = tokio::join!(knock_at(address, path, &signed, body), rig.event());
        assert_eq!((answer.0, &answer.1["type"]), (200, &json!(kind)));
        assert!(!event.raw.as_ref().unwrap().contains("interaction-token"));
        ids.push(event.platform_id);
    }
    assert!(ids[0] == ids[1] && ids[1] != ids[2]);
    eventually(WITHIN, "the note to be taken back", || (fake.withdrawn().len() == 1).then_some(())).await;
    assert!(fake.callbacks().is_empty(), "the answer went with the response");
    rig.stop().await;
}

#[tokio::test]
async fn f071_what_the_host_does_not_take_is_not_answered_as_taken() {
    let (key, public) = Discord::key();
    let (fake, mut rig) = connected(&format!("listen = \"127.0.0.1:0\"\npublic_key = \"{public}\"")).await;
    let body = fake.pressed(CHANNEL, "5", ANN, "yes").to_string();
    let signed = Discord::sign(&key, &now().to_string(), &body);
    let address = door(&rig);
    let refuse = async { drop(rig.arrival().await) };
    let (answer, ()) = tokio::join!(knock_at(address, "/discord/interactions", &signed, &body), refuse);
    assert_eq!(answer.0, 503);
    rig.stop().await;
}

#[tokio::test]
async fn discord_py_talks_to_the_simulator_as_to_discord() {
    let test = "discord_py_talks_to_the_simulator_as_to_discord";
    let Some(python) = peer(test, "discordpy/bin/python") else { return };
    let fake = Discord::start(TOKEN).await;
    let mut command = tokio::process::Command::new(python);
    command.arg(script("discord_echo.py")).env("TOKEN", TOKEN).env("API_URL", fake.url());
    let _bot = command.stdin(Stdio::null()).kill_on_drop(true).spawn().expect("a program that starts");
    let patience = Duration::from_secs(60);
    let echoed = async |text: &str| {
        let wanted = format!("echo:{text}");
        eventually(patience, "the echo", || texts(&fake).contains(&wanted).then_some(())).await;
    };
    eventually(patience, "an identify", || (!fake.identifies().is_empty()).then_some(())).await;
    // Once its session is there, everything that is said comes, now or when it is resumed.
    eventually(patience, "a session", || fake.has_sessions().then_some(())).await;
    fake.say_direct(CHANNEL, ANN, "first");
    echoed("first").await;
    fake.order(Order::Reconnect);
    eventually(patience, "a resume", || (!fake.resumes().is_empty()).then_some(())).await;
    fake.say_direct(CHANNEL, ANN, "second");
    echoed("second").await;
    fake.order(Order::Break);
    fake.say_direct(CHANNEL, ANN, "third");
    echoed("third").await;
    assert_eq!((fake.identifies().len(), texts(&fake).len()), (1, 3));
}
