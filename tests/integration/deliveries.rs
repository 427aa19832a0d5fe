//! What becomes of an answer on its way: held while the platform is away, edited by a later process, given way to others, or lost
//! and listed.

use std::time::Duration;

use bothost::action::{Act, MessageRef, ResolvedAction};
use bothost::connector::{DeliveryError, Link};
use bothost::host::Drained;
use bothost::store::Store;
use bothost::store::history::{Send, SendFilter, SendStand};
use harness::guests;
use harness::host::{Home, TestHost};

const COMPILER: &str = env!("CARGO_BIN_EXE_host");
const BOT: &str = "edits";

async fn start(config: &str) -> TestHost {
    let host = Home::new(COMPILER, config).with("edits.wasm", &guests::guest(BOT)).start().await;
    host.serving(BOT).await;
    host
}

/// Says something and waits until the bot has handled it.
async fn handled(host: &TestHost, room: &str, text: &str) {
    let before = host.bot(BOT).expect("it is there").handled;
    host.say(room, text).await;
    host.bot_when(BOT, |status| status.handled > before).await;
}

fn away() -> Link {
    Link::BackingOff { error: "the platform is away".to_owned(), wait: Duration::from_secs(1) }
}

async fn lost(store: &Store) -> Vec<Send> {
    store.sends(SendFilter::Lost, None, 100).await.expect("the store answers")
}

/// Returns why one is lost, in a word; what the connector said stands behind it.
fn reason(send: &Send) -> &str {
    match &send.stand {
        SendStand::Lost { reason, .. } => reason.split(": ").next().unwrap_or(reason),
        stand => panic!("{stand:?} is not lost"),
    }
}

fn texts(sends: &[Send]) -> Vec<String> {
    let text = |send: &Send| match &send.action.as_ref().expect("its body can be trusted").act {
        Act::Send { message, .. } | Act::Edit { message, .. } => message.text.clone(),
        Act::Delete { .. } | Act::React { .. } => String::new(),
    };
    sends.iter().map(text).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_platform_is_away_nothing_is_tried_and_afterwards_everything_leaves_in_order() {
    let host = start("").await;
    host.chat.set_link(away());
    for number in 0..12 {
        handled(&host, "lobby", &format!("!send {number}")).await;
    }
    assert_eq!(host.chat.delivered_count(), 0);
    host.chat.set_link(Link::Connected);
    let answers = host.answers_since(0, 12).await;
    assert_eq!(answers, (0..12).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_when_the_host_stops_is_delivered_by_the_next() {
    let host = start("drain_timeout = \"0s\"\n").await;
    host.chat.set_link(away());
    handled(&host, "lobby", "!send later").await;
    let (drained, home) = host.stop(COMPILER, "").await;
    assert_eq!(drained, Drained { events: 0, actions: 1 });
    let host = home.start().await;
    assert_eq!(host.answers_since(0, 1).await, ["later"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_edited_by_its_ticket_whoever_has_sent_it() {
    let host = start("").await;
    assert_eq!(host.ask("lobby", "!send one").await, "one");
    host.say("lobby", "!edit two").await;
    let edited = |action: &ResolvedAction| match &action.act {
        Act::Edit { target, message } => (target.clone(), message.text.clone()),
        act => panic!("{act:?} is no edit"),
    };
    assert_eq!(edited(&host.chat.delivered(2).await[1]), ("scripted-1".to_owned(), "two".to_owned()));
    let (_, home) = host.stop(COMPILER, "").await;
    let host = home.start().await;
    host.serving(BOT).await;
    host.say("lobby", "!edit three").await;
    assert_eq!(edited(&host.chat.delivered(1).await[0]), ("scripted-1".to_owned(), "three".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_waits_for_the_message_that_it_names_and_is_lost_with_it() {
    let host = start("").await;
    host.chat.set_link(away());
    handled(&host, "lobby", "!send one").await;
    handled(&host, "lobby", "!edit two").await;
    host.chat.script(Err(DeliveryError::Permanent("muted".to_owned())));
    host.chat.set_link(Link::Connected);
    host.metric_reaches("bothost_delivery_ended_total{connector=\"chat\",outcome=\"unresolved\"", 1.0).await;
    let lost = lost(host.store()).await;
    assert_eq!(texts(&lost), ["two", "one"]);
    assert_eq!(lost.iter().map(reason).collect::<Vec<_>>(), ["unresolved", "permanent"]);
    let named = lost[0].action.as_ref().map(|action| &action.act);
    assert!(matches!(named, Some(Act::Edit { target: MessageRef::Sent(_), .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expires_while_the_platform_is_away_is_lost_and_listed() {
    let host = start("").await;
    host.chat.set_link(away());
    handled(&host, "lobby", "!soon too late").await;
    handled(&host, "lobby", "!send in time").await;
    host.metric_reaches("bothost_delivery_ended_total{connector=\"chat\",outcome=\"expired\"", 1.0).await;
    host.chat.set_link(Link::Connected);
    assert_eq!(host.answers_since(0, 1).await, ["in time"]);
    let lost = lost(host.store()).await;
    assert_eq!((texts(&lost), reason(&lost[0])), (vec!["too late".to_owned()], "expired"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_outbox_lets_go_what_its_policy_names_and_says_so() {
    let cases = [("drop-oldest", ["2", "urgent"], "1"), ("drop-newest", ["1", "2"], "urgent")];
    for (policy, stay, goes) in cases {
        let host = start(&format!("[outbox]\nmax_len = 2\noverflow = \"{policy}\"\norder = \"fifo\"\n")).await;
        host.chat.set_link(away());
        for text in ["!send 1", "!send 2", "!urgent urgent"] {
            handled(&host, "lobby", text).await;
        }
        let lost = lost(host.store()).await;
        assert_eq!((texts(&lost), reason(&lost[0])), (vec![goes.to_owned()], "overflow"), "{policy}");
        host.chat.set_link(Link::Connected);
        assert_eq!(host.answers_since(0, 2).await, stay, "{policy}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_outbox_that_rejects_fails_the_handler_and_loses_nothing() {
    let host = start("[outbox]\nmax_len = 1\n[queue]\nmax_attempts = 1\n").await;
    host.chat.set_link(away());
    handled(&host, "lobby", "!send 1").await;
    host.say("lobby", "!send 2").await;
    host.bot_when(BOT, |status| status.faults == 1).await;
    assert!(lost(host.store()).await.is_empty());
    let letters = host.store().dead_letters(None, 10).await.expect("the store answers");
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].last.as_ref().map(|last| (last.attempt, last.outcome.as_str())), Some((1, "failed")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_perhaps_delivered_is_sent_again_or_given_up_as_the_operator_chose() {
    let uncertain = || Err(DeliveryError::Uncertain("no answer".to_owned()));
    let host = start("[outbox]\non_uncertain = \"retry\"\n").await;
    host.chat.script(uncertain());
    host.say("lobby", "!send twice").await;
    assert_eq!(host.answers_since(0, 2).await, ["twice", "twice"]);

    let host = start("[outbox]\non_uncertain = \"drop\"\n").await;
    host.chat.script(uncertain());
    host.say("lobby", "!send once").await;
    host.metric_reaches("bothost_delivery_ended_total{connector=\"chat\",outcome=\"uncertain\"", 1.0).await;
    let lost = lost(host.store()).await;
    assert_eq!(
        (texts(&lost), reason(&lost[0]), host.chat.delivered_count()),
        (vec!["once".to_owned()], "uncertain", 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_what_waits_the_urgent_leaves_first() {
    let host = start("").await;
    host.chat.set_link(away());
    for (room, text) in [("a", "!idle idle"), ("b", "!send normal"), ("c", "!urgent urgent")] {
        handled(&host, room, text).await;
    }
    host.chat.set_link(Link::Connected);
    assert_eq!(host.answers_since(0, 3).await, ["urgent", "normal", "idle"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_platform_delivers_twice_is_handled_once_also_by_the_next_process() {
    let host = start("").await;
    host.chat.say("lobby", "m1", "!send once").await.expect("taken over");
    host.chat.say("lobby", "m1", "!send once").await.expect("known, and so confirmed");
    host.metric_reaches("bothost_event_duplicate_total{connector=\"chat\"}", 1.0).await;
    assert_eq!(host.answers_since(0, 1).await, ["once"]);
    let (_, home) = host.stop(COMPILER, "").await;
    let host = home.start().await;
    host.serving(BOT).await;
    host.chat.say("lobby", "m1", "!send once").await.expect("known, and so confirmed");
    assert_eq!(host.ask("lobby", "!ping").await, "pong");
    assert_eq!(host.metric("bothost_event_duplicate_total{connector=\"chat\"}"), 1.0);
}
