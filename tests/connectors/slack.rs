//! Slack against a simulator: Socket Mode, the Events API, and what bots do.

use std::time::Duration;

use bothost::action::{Act, Button, Outgoing, Upload};
use bothost::connector::{DeliveryError, Link};
use bothost::event::EventKind;
use harness::eventually;
use harness::rig::{Rig, WITHIN, outgoing, say, send};
use serde_json::json;
use simulators::slack::{APP_TOKEN, BOT_TOKEN, CHANNEL, DIRECT, Delivery, SIGNING_SECRET, STRANGE_CHANNEL, Slack};
use simulators::wire::{Fault, Reply};

fn by_socket(slack: &Slack) -> String {
    format!(
        "bot_token = \"{BOT_TOKEN}\"\napp_token = \"{APP_TOKEN}\"\napi_url = \"{}\"\nreconnect_max = \"100ms\"",
        slack.api_url()
    )
}

fn by_door(slack: &Slack) -> String {
    format!(
        "bot_token = \"{BOT_TOKEN}\"\nsigning_secret = \"{SIGNING_SECRET}\"\nlisten = \"127.0.0.1:0\"\napi_url = \"{}\"",
        slack.api_url()
    )
}

async fn connected() -> (Slack, Rig) {
    let slack = Slack::start().await;
    let mut rig = Rig::start("slack", &by_socket(&slack));
    rig.connected().await;
    (slack, rig)
}

async fn listening() -> (Slack, Rig, Delivery) {
    let slack = Slack::start().await;
    let mut rig = Rig::start("slack", &by_door(&slack));
    rig.connected().await;
    let address = rig.status.borrow().listening.expect("an address");
    (slack, rig, Delivery::to(format!("http://{address}/slack/events")))
}

#[tokio::test]
async fn messages_come_in_order_and_are_acknowledged_once_the_host_has_them() {
    let (slack, mut rig) = connected().await;
    for number in 0..20 {
        slack.say(CHANNEL, "U1", &number.to_string());
    }
    let first = rig.arrival().await;
    assert_eq!(slack.acknowledged(), Vec::<String>::new());
    first.taken.send(()).unwrap();
    for number in 1..20 {
        assert_eq!(rig.message().await.text, number.to_string());
    }
    eventually(WITHIN, "every acknowledgement", || (slack.unacknowledged() == 0).then_some(())).await;
    rig.stop().await;
    eventually(WITHIN, "the socket's end", || (slack.sockets() == 0).then_some(())).await;
}

#[tokio::test]
async fn f068_a_mention_is_told_twice_and_known_as_one_event() {
    let (slack, mut rig) = connected().await;
    let ts = slack.mention(CHANNEL, "U1", "!ping");
    let (one, other) = (rig.event().await, rig.event().await);
    assert!(one.platform_id.is_some());
    assert_eq!((&one.platform_id, &one.kind), (&other.platform_id, &other.kind));
    let EventKind::Message(message) = one.kind else { panic!("{:?}", one.kind) };
    assert_eq!((message.id, message.text.as_str(), message.addressed), (ts, "!ping", true));
    assert!(!one.raw.unwrap().contains("verification"), "no token of Slack's reaches a bot");
    rig.stop().await;
}

#[tokio::test]
async fn f068_what_was_not_acknowledged_comes_again_by_another_socket_as_the_same_event() {
    let (slack, mut rig) = connected().await;
    slack.say(CHANNEL, "U1", "once");
    let first = rig.arrival().await;
    slack.cut();
    eventually(WITHIN, "the cut", || (slack.sockets() == 0).then_some(())).await;
    first.taken.send(()).unwrap();
    let again = rig.event().await;
    assert_eq!((&again.platform_id, &again.kind), (&first.event.platform_id, &first.event.kind));
    eventually(WITHIN, "the acknowledgement", || (slack.unacknowledged() == 0).then_some(())).await;
    rig.stop().await;
}

#[tokio::test]
async fn f070_a_socket_that_slack_wants_to_close_is_replaced_before_it_ends() {
    let (slack, mut rig) = connected().await;
    for (opened, reason) in [(2, "warning"), (3, "refresh_requested")] {
        slack.announce(reason);
        eventually(WITHIN, "another socket in its place", || {
            (slack.opened() == opened && slack.sockets() == 1).then_some(())
        })
        .await;
        slack.say(CHANNEL, "U1", reason);
        assert_eq!(rig.message().await.text, reason);
    }
    let status = rig.status.borrow().clone();
    assert_eq!((status.link, status.connections), (Link::Connected, 1), "nobody saw it go");
    rig.stop().await;
}

#[tokio::test]
async fn f070_a_socket_that_ends_again_and_again_is_opened_again_and_nothing_is_lost() {
    let (slack, mut rig) = connected().await;
    for round in 0..4 {
        let opened = slack.opened();
        match round {
            0 => slack.close(1001),
            1 => slack.cut(),
            2 => {
                slack.announce("warning");
                slack.close(1000);
            }
            _ => slack.close(4000),
        }
        slack.say(CHANNEL, "U1", &round.to_string());
        let said = rig.message().await.text;
        assert_eq!(said, round.to_string());
        eventually(WITHIN, "another socket", || (slack.opened() > opened).then_some(())).await;
        eventually(WITHIN, "the acknowledgement", || (slack.unacknowledged() == 0).then_some(())).await;
    }
    rig.stop().await;
}

#[tokio::test]
async fn f070_sockets_that_are_sent_away_one_after_the_other_are_not_asked_for_in_a_loop() {
    let (slack, mut rig) = connected().await;
    for opened in 2..=4 {
        slack.announce("warning");
        eventually(WITHIN, "another socket in its place", || {
            (slack.opened() == opened && slack.sockets() == 1).then_some(())
        })
        .await;
    }
    slack.announce("warning");
    let (error, _) = rig.backing_off().await;
    assert!(error.contains("one socket after the other"), "{error}");
    rig.connected().await;
    rig.stop().await;
}

#[tokio::test]
async fn f070_a_silent_socket_is_given_up() {
    let slack = Slack::start().await;
    // Slack pings each second here.
    let mut rig = Rig::start("slack", &format!("{}\nstall_timeout = \"200ms\"", by_socket(&slack)));
    rig.connected().await;
    let (error, _) = rig.backing_off().await;
    assert!(error.contains("nothing heard"), "{error}");
    rig.stop().await;
}

#[tokio::test]
async fn too_many_sockets_are_not_answered_with_another_at_once() {
    let (slack, mut rig) = connected().await;
    slack.announce("too_many_websockets");
    let (error, wait) = rig.backing_off().await;
    assert!(wait >= Duration::from_secs(30) && error.contains("too many sockets"), "{wait:?} {error}");
    rig.stop().await;
}

#[tokio::test]
async fn socket_mode_that_is_switched_off_is_said_to_be() {
    let (slack, mut rig) = connected().await;
    slack.announce("link_disabled");
    let link = rig.link(|link| matches!(link, Link::AuthFailed { .. })).await;
    assert!(link.trouble().unwrap().contains("switched off"), "{link:?}");
    rig.stop().await;
}

#[tokio::test]
async fn f063_a_token_that_is_taken_back_is_not_tried_again_and_again() {
    let (slack, mut rig) = connected().await;
    slack.revoke();
    let link = rig.link(|link| matches!(link, Link::AuthFailed { .. })).await;
    assert!(link.trouble().unwrap().contains("token_revoked"), "{link:?}");
    assert!(matches!(rig.deliver(CHANNEL, say("x")).await, Err(DeliveryError::Unauthorized(_))));
    assert!(slack.book().calls_of("auth.test").len() <= 3);
    rig.stop().await;
}

#[tokio::test]
async fn f063_a_delivery_that_is_refused_for_its_token_makes_the_connection_ask() {
    let (slack, mut rig, _) = listening().await;
    slack.revoke();
    assert!(matches!(rig.deliver(CHANNEL, say("x")).await, Err(DeliveryError::Unauthorized(_))));
    rig.link(|link| matches!(link, Link::AuthFailed { .. })).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_wrong_token_is_refused_once_and_shown_nowhere() {
    let slack = Slack::start().await;
    let table = by_socket(&slack).replace(BOT_TOKEN, "xoxb-s3cret");
    let mut rig = Rig::start("slack", &table);
    let link = rig.link(|link| matches!(link, Link::AuthFailed { .. })).await;
    assert!(link.trouble().unwrap().contains("invalid_auth") && !format!("{link:?}").contains("s3cret"));
    rig.stop().await;
    assert_eq!(slack.book().calls().len(), 1);
}

#[tokio::test]
async fn f060_a_pause_is_kept_to_exactly_and_nonsense_is_a_short_one() {
    let (slack, rig) = connected().await;
    for (given, seconds) in [("1", 1), ("3600", 3600), ("-1", 5), ("soon", 5)] {
        slack.limit_next("chat.postMessage", given);
        let outcome = rig.deliver(CHANNEL, say("x")).await;
        assert_eq!(outcome, Err(DeliveryError::RateLimited(Duration::from_secs(seconds))), "{given}");
    }
    rig.deliver(CHANNEL, say("x")).await.unwrap();
    assert_eq!(slack.sent().len(), 1);
    rig.stop().await;
}

#[tokio::test]
async fn f060_a_pause_before_a_socket_is_kept_to_as_well() {
    let slack = Slack::start().await;
    slack.limit_next("apps.connections.open", 77);
    let mut rig = Rig::start("slack", &by_socket(&slack));
    assert_eq!(rig.backing_off().await.1, Duration::from_secs(77));
    rig.stop().await;
}

#[tokio::test]
async fn f061_an_answer_that_breaks_off_leaves_it_open_whether_it_was_sent() {
    let (slack, rig) = connected().await;
    for (key, fault) in [Fault::Reset, Fault::CutAnswer, Fault::Answer(Reply::html(502))].into_iter().enumerate() {
        slack.book().fail_next("chat.postMessage", fault);
        let outcome = rig.deliver_keyed(key as u64, CHANNEL, say("x")).await;
        assert!(matches!(outcome, Err(DeliveryError::Uncertain(_))), "{outcome:?}");
        // What does no harm twice is tried again.
        slack.book().fail_next("reactions.add", Fault::Reset);
        let react = Act::React { target: "1.2".to_owned(), emoji: "eyes".to_owned() };
        assert!(matches!(rig.deliver(CHANNEL, react).await, Err(DeliveryError::Retryable(_))));
    }
    rig.stop().await;
}

#[tokio::test]
async fn f062_a_message_whose_answer_was_lost_is_looked_for_and_not_sent_twice() {
    let (slack, rig) = connected().await;
    let thread = format!("{CHANNEL}#{}", slack.say(CHANNEL, "U1", "root"));
    for (key, conversation) in [(1, CHANNEL), (2, thread.as_str())] {
        slack.book().fail_next("chat.postMessage", Fault::Reset);
        let lost = rig.deliver_keyed(key, conversation, say("once")).await;
        assert!(matches!(lost, Err(DeliveryError::Uncertain(_))), "{lost:?}");
        let receipt = rig.deliver_keyed(key, conversation, say("once")).await.unwrap();
        let sent = slack.sent();
        assert_eq!(sent.len(), key as usize);
        assert_eq!(receipt.platform_id.as_deref(), sent.last().unwrap()["ts"].as_str());
    }
    rig.deliver_keyed(3, CHANNEL, say("once")).await.unwrap();
    assert_eq!(slack.sent().len(), 3, "another message of the same words is another message");
    rig.stop().await;
}

#[tokio::test]
async fn f062_what_is_in_doubt_is_known_by_the_next_process_and_sent_where_it_never_arrived() {
    let slack = Slack::start().await;
    let mut rig = Rig::start("slack", &by_socket(&slack));
    rig.connected().await;
    slack.book().fail_next("chat.postMessage", Fault::Reset);
    slack.book().fail_next("chat.postMessage", Fault::Answer(Reply::html(502)));
    for key in [1, 2] {
        assert!(matches!(rig.deliver_keyed(key, CHANNEL, say("x")).await, Err(DeliveryError::Uncertain(_))));
    }
    let kept = rig.kept();
    rig.stop().await;
    let rig = Rig::start_again(kept, "slack", &by_socket(&slack));
    for key in [1, 2] {
        rig.deliver_keyed(key, CHANNEL, say("x")).await.unwrap();
        assert_eq!(slack.sent().len(), key as usize);
    }
    rig.stop().await;
}

#[tokio::test]
async fn f062_a_token_that_may_not_read_sends_again_and_a_pause_while_looking_is_kept_to() {
    let (slack, rig) = connected().await;
    slack.book().fail_next("chat.postMessage", Fault::Reset);
    assert!(rig.deliver_keyed(1, CHANNEL, say("x")).await.is_err());
    slack.limit_next("conversations.history", 9);
    assert_eq!(rig.deliver_keyed(1, CHANNEL, say("x")).await, Err(DeliveryError::RateLimited(Duration::from_secs(9))));
    assert_eq!(slack.sent().len(), 1);
    slack.refuse_next("conversations.history", "missing_scope");
    rig.deliver_keyed(1, CHANNEL, say("x")).await.unwrap();
    assert_eq!(slack.sent().len(), 2, "the duplicate that is documented");
    rig.stop().await;
}

#[tokio::test]
async fn a_text_that_broke_off_is_taken_up_where_it_broke() {
    let (slack, rig) = connected().await;
    let long = "word ".repeat(2000);
    slack.book().pass_next("chat.postMessage");
    slack.limit_next("chat.postMessage", 3);
    assert_eq!(
        rig.deliver_keyed(7, CHANNEL, say(&long)).await,
        Err(DeliveryError::RateLimited(Duration::from_secs(3)))
    );
    let receipt = rig.deliver_keyed(7, CHANNEL, say(&long)).await.unwrap();
    let sent = slack.sent();
    assert_eq!(sent.iter().map(|message| message["text"].as_str().unwrap()).collect::<String>(), long);
    assert_eq!(receipt.platform_id.as_deref(), sent[0]["ts"].as_str());
    rig.stop().await;
}

#[tokio::test]
async fn f066_a_channel_that_is_not_there_is_refused_for_good_and_disturbs_no_other() {
    let (slack, rig) = connected().await;
    assert!(matches!(rig.deliver("C404", say("x")).await, Err(DeliveryError::Permanent(_))));
    for code in ["is_archived", "restricted_action", "missing_scope"] {
        slack.refuse_next("chat.postMessage", code);
        assert!(matches!(rig.deliver(CHANNEL, say("x")).await, Err(DeliveryError::Permanent(_))), "{code}");
    }
    rig.deliver(CHANNEL, say("x")).await.unwrap();
    assert_eq!(rig.status.borrow().link, Link::Connected);
    rig.stop().await;
}

#[tokio::test]
async fn a_channel_that_anybody_may_join_is_joined_to_speak_there() {
    let (slack, rig) = connected().await;
    rig.deliver(STRANGE_CHANNEL, say("hello")).await.unwrap();
    assert_eq!(slack.sent()[0]["channel"], STRANGE_CHANNEL);
    rig.stop().await;
}

#[tokio::test]
async fn what_is_sent_calls_nobody_and_buttons_come_back() {
    let (slack, mut rig) = connected().await;
    let buttons = vec![vec![
        Button { label: "Yes & no".to_owned(), data: "<yes>".to_owned() },
        Button { label: "No".to_owned(), data: String::new() },
    ]];
    let ts = slack.say(DIRECT, "U1", "root");
    rig.event().await;
    let message = Outgoing { buttons, reply_to: Some(ts.clone()), ..outgoing("<!channel> & you?") };
    let id = rig.deliver(DIRECT, send(message)).await.unwrap().platform_id.unwrap();
    let sent = &slack.sent()[0];
    assert_eq!((&sent["text"], &sent["thread_ts"]), (&json!("&lt;!channel&gt; &amp; you?"), &json!(ts)));
    slack.press("U1", "<yes>");
    let EventKind::Button { message_id, data, conversation, .. } = rig.event().await.kind else { panic!() };
    assert_eq!((message_id, data.as_str(), conversation.id.as_str()), (id, "<yes>", DIRECT));
    rig.stop().await;
}

#[tokio::test]
async fn messages_are_edited_deleted_and_reacted_to_and_doing_so_twice_is_no_error() {
    let (slack, rig) = connected().await;
    let ts = rig.deliver(CHANNEL, say("one")).await.unwrap().platform_id.unwrap();
    rig.deliver(CHANNEL, Act::Edit { target: ts.clone(), message: outgoing("two") }).await.unwrap();
    assert_eq!(slack.sent()[0]["text"], "two");
    for emoji in ["👍", ":thumbsup:"] {
        rig.deliver(CHANNEL, Act::React { target: ts.clone(), emoji: emoji.to_owned() }).await.unwrap();
    }
    for _ in 0..2 {
        rig.deliver(CHANNEL, Act::Delete { target: ts.clone() }).await.unwrap();
    }
    assert!(slack.sent().is_empty());
    let foreign = slack.say(CHANNEL, "U1", "mine");
    let edit = Act::Edit { target: foreign, message: outgoing("yours") };
    assert!(matches!(rig.deliver(CHANNEL, edit).await, Err(DeliveryError::Permanent(_))));
    rig.stop().await;
}

#[tokio::test]
async fn files_are_shown_after_the_text() {
    let (slack, rig) = connected().await;
    let upload = Upload { name: "a&b.txt".to_owned(), media_type: "text/plain".to_owned(), content: b"hello".to_vec() };
    rig.deliver(CHANNEL, send(Outgoing { uploads: vec![upload], ..outgoing("look") })).await.unwrap();
    assert_eq!(slack.files(), [("a&b.txt".to_owned(), b"hello".to_vec(), CHANNEL.to_owned())]);
    assert_eq!(slack.sent()[0]["text"], "look");
    rig.stop().await;
}

#[tokio::test]
async fn commands_members_and_reactions_come_by_the_socket() {
    let (slack, mut rig) = connected().await;
    slack.command(CHANNEL, "U1", "/weather", "today");
    let message = rig.message().await;
    assert_eq!((message.text.as_str(), message.addressed), ("/weather today", true));
    // Its id is none that Slack could answer in a thread.
    rig.deliver(CHANNEL, send(Outgoing { reply_to: Some(message.id), ..outgoing("sunny") })).await.unwrap();
    let ts = slack.sent()[0]["ts"].clone();
    slack.happen(json!({"type": "reaction_added", "user": "U1", "reaction": "tada",
        "item": {"type": "message", "channel": CHANNEL, "ts": ts}}));
    assert!(matches!(rig.event().await.kind, EventKind::Reaction { added: true, .. }));
    slack.happen(json!({"type": "member_joined_channel", "user": "U2", "channel": CHANNEL, "channel_type": "C"}));
    assert!(matches!(rig.event().await.kind, EventKind::Member { .. }));
    rig.stop().await;
}

#[tokio::test]
async fn what_the_bot_says_itself_does_not_come_back() {
    let (slack, mut rig) = connected().await;
    slack.say_with(CHANNEL, "UBOT", "loop", json!({"bot_id": "BBOT"}));
    slack.say_with(CHANNEL, "U2", "loop", json!({"bot_id": "B2", "subtype": "bot_message"}));
    slack.say(CHANNEL, "U1", "hello");
    assert_eq!(rig.message().await.text, "hello");
    eventually(WITHIN, "every acknowledgement", || (slack.unacknowledged() == 0).then_some(())).await;
    rig.stop().await;
}

#[tokio::test]
async fn requests_of_slacks_are_answered_once_the_host_has_them() {
    let (slack, mut rig, delivery) = listening().await;
    let (_, payload) = slack.said(CHANNEL, "U1", "hello", json!({}));
    let take = async {
        let arrival = rig.arrival().await;
        arrival.taken.send(()).unwrap();
        arrival.event
    };
    let (statuses, first) = tokio::join!(delivery.post_until_taken(&payload), take);
    assert_eq!(statuses, [200]);
    let (statuses, again) = tokio::join!(delivery.post_until_taken(&payload), rig.event());
    assert_eq!((statuses, &again.platform_id), (vec![200], &first.platform_id), "one event, told again");

    rig.deliver(
        CHANNEL,
        send(Outgoing {
            buttons: vec![vec![Button { label: "A".to_owned(), data: "a".to_owned() }]],
            ..outgoing("Choose")
        }),
    )
    .await
    .unwrap();
    let press = slack.pressed("U1", "a");
    let ((status, _), event) = tokio::join!(delivery.post_interaction(&press), rig.event());
    assert!(status == 200 && matches!(event.kind, EventKind::Button { .. }), "{status} {event:?}");
    let command = slack.commanded(CHANNEL, "U1", "/weather", "to & fro");
    let ((status, _), event) = tokio::join!(delivery.post_form(&command), rig.message());
    assert_eq!((status, event.text.as_str()), (200, "/weather to & fro"));
    let challenge = json!({"type": "url_verification", "challenge": "3eZbrw1aB", "token": "x"});
    let (status, body) = delivery.post(&challenge).await;
    assert_eq!((status, body.as_str()), (200, "{\"challenge\":\"3eZbrw1aB\"}"));
    rig.stop().await;
}

#[tokio::test]
async fn a_request_that_the_host_did_not_take_is_to_come_again() {
    let (slack, mut rig, delivery) = listening().await;
    let (_, payload) = slack.said(CHANNEL, "U1", "hello", json!({}));
    let refuse = async { drop(rig.arrival().await) };
    let ((status, _), ()) = tokio::join!(delivery.post(&payload), refuse);
    assert_eq!(status, 503);
}

#[tokio::test]
async fn f071_what_is_not_slacks_or_not_of_now_is_refused_before_it_is_read() {
    let (slack, mut rig, good) = listening().await;
    let (_, payload) = slack.said(CHANNEL, "U1", "hello", json!({}));
    let wrong = Delivery { secret: "wrong".to_owned(), ..good.clone() };
    let old = Delivery { skew: -301, ..good.clone() };
    let early = Delivery { skew: 302, ..good.clone() };
    for bad in [wrong, old, early] {
        assert_eq!(bad.post(&payload).await, (401, String::new()), "{bad:?}");
    }
    let elsewhere = Delivery { url: format!("{}/x", good.url), ..good.clone() };
    assert_eq!(elsewhere.post(&payload).await.0, 404);
    let large = json!({"type": "event_callback", "event": {"text": "x".repeat(10_000_000)}});
    assert_eq!(good.post(&large).await.0, 413);
    let get = http::Request::get(&good.url).body(Default::default()).unwrap();
    assert_eq!(simulators::slack::post(get).await.0, 405);
    let unsigned = http::Request::post(&good.url).body(Default::default()).unwrap();
    assert_eq!(simulators::slack::post(unsigned).await.0, 401);
    assert!(rig.arrivals.try_recv().is_err(), "nothing of it came in");
    let (statuses, _) = tokio::join!(good.post_until_taken(&payload), rig.event());
    assert_eq!(statuses, [200]);
    rig.stop().await;
}

#[tokio::test]
async fn slack_that_is_away_does_not_close_the_door() {
    let slack = Slack::start().await;
    let mut rig = Rig::start("slack", &format!("{}\nstall_timeout = \"100ms\"", by_door(&slack)));
    rig.connected().await;
    for _ in 0..3 {
        slack.book().fail_next("auth.test", Fault::Answer(Reply::html(503)));
    }
    rig.link(|link| matches!(link, Link::Degraded { .. })).await;
    let address = rig.status.borrow().listening.unwrap();
    let delivery = Delivery::to(format!("http://{address}/slack/events"));
    let (_, payload) = slack.said(CHANNEL, "U1", "hello", json!({}));
    let (statuses, _) = tokio::join!(delivery.post_until_taken(&payload), rig.event());
    assert_eq!(statuses, [200]);
    rig.connected().await;
    rig.stop().await;
}

/// Slack's own framework for Python against the simulator: it shows that this behaves as Slack does.
mod bolt {
    use std::path::Path;
    use std::process::Stdio;

    use harness::peers::{free_port, peer};
    use tokio::process::{Child, Command};

    use super::*;

    /// Interpreters take their time to start.
    const WITHIN: Duration = Duration::from_secs(60);

    fn bolt(test: &str, slack: &Slack, environment: &[(&str, &str)]) -> Option<Child> {
        let python = peer(test, "slackbolt/bin/python")?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/slack_bolt_app.py");
        let mut command = Command::new(python);
        command
            .arg(script)
            .env("API_URL", slack.api_url())
            .env("BOT_TOKEN", BOT_TOKEN)
            .envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        Some(command.spawn().expect("a program that starts"))
    }

    async fn said(slack: &Slack, text: &str, times: usize) {
        let is_there = || slack.sent().iter().filter(|message| message["text"] == text).count() == times;
        eventually(WITHIN, text, || is_there().then_some(())).await;
    }

    #[tokio::test]
    async fn bolt_talks_to_the_simulator_by_sockets() {
        let slack = Slack::start().await;
        let test = "bolt_talks_to_the_simulator_by_sockets";
        let Some(_bolt) = bolt(test, &slack, &[("APP_TOKEN", APP_TOKEN)]) else { return };
        eventually(WITHIN, "Bolt's socket", || (slack.sockets() == 1).then_some(())).await;
        slack.say(CHANNEL, "U1", "ping");
        said(&slack, "pong", 1).await;
        slack.press("U1", "pressed");
        said(&slack, "pressed", 1).await;
        slack.command(CHANNEL, "U1", "/weather", "today");
        said(&slack, "weather today", 1).await;
        eventually(WITHIN, "acknowledgements", || (slack.unacknowledged() == 0).then_some(())).await;
        slack.announce("refresh_requested");
        eventually(WITHIN, "another socket", || (slack.opened() == 2).then_some(())).await;
        slack.say(CHANNEL, "U1", "ping");
        said(&slack, "pong", 2).await;
    }

    #[tokio::test]
    async fn bolt_takes_the_simulators_signed_requests_and_no_others() {
        let (slack, port) = (Slack::start().await, free_port());
        let test = "bolt_takes_the_simulators_signed_requests_and_no_others";
        let environment = [("SIGNING_SECRET", SIGNING_SECRET), ("PORT", &port.to_string())];
        let Some(_bolt) = bolt(test, &slack, &environment) else { return };
        let delivery = Delivery::to(format!("http://127.0.0.1:{port}/slack/events"));
        let challenge = json!({"type": "url_verification", "challenge": "abc"});
        let verified = async {
            while delivery.post(&challenge).await.0 != 200 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(WITHIN, verified).await.expect("Bolt to listen");
        let (_, payload) = slack.said(CHANNEL, "U1", "ping", json!({}));
        assert_eq!(delivery.post_until_taken(&payload).await, [200]);
        said(&slack, "pong", 1).await;
        assert_eq!(delivery.post_interaction(&slack.pressed("U1", "pressed")).await.0, 200);
        said(&slack, "pressed", 1).await;
        assert_eq!(delivery.post_form(&slack.commanded(CHANNEL, "U1", "/weather", "today")).await.0, 200);
        said(&slack, "weather today", 1).await;
        let wrong = Delivery { secret: "wrong".to_owned(), ..delivery.clone() };
        let old = Delivery { skew: -400, ..delivery };
        assert_eq!((wrong.post(&payload).await.0, old.post(&payload).await.0), (401, 401));
    }
}
