//! The way of many events: held back where there is no room, side by side where there is, in order within a conversation,
//! delivered through whatever the platform says, and finished when the host stops.

use std::time::{Duration, Instant};

use bothost::connector::{DeliveryError, Link};
use bothost::host::Drained;
use futures_util::FutureExt;
use futures_util::future::join_all;
use harness::guests;
use harness::host::{Home, TestHost};

use super::{COMPILER, ONE_ATTEMPT, home};

const SLOW: &str = "slow_host_call";

async fn slow(config: &str, in_flight: u32) -> TestHost {
    let entry = format!("limits = {{ in_flight = {in_flight}, event_timeout = \"1h\" }}");
    let host = home(config, SLOW, &entry).start().await;
    host.serving(SLOW).await;
    host
}

async fn echo(config: &str) -> TestHost {
    let host = Home::new(COMPILER, config).with("echo.wasm", &guests::example("echo")).start().await;
    host.serving("echo").await;
    host
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f080_a_full_queue_holds_the_platform_back_and_loses_nothing() {
    let host = slow("[queue]\nmax_events = 4\n", 2).await;
    let ended = || host.metric("bothost_attempt_ended_total{bot=\"slow_host_call\"");
    for room in 0..4 {
        host.say(&format!("room-{room}"), "!sleep 500 first").await;
    }
    assert_eq!(ended(), 0.0, "four are taken over at once");
    host.say("room-4", "!sleep 1 first").await;
    assert!(ended() >= 1.0, "the fifth only when the first of them has ended");

    let rooms = (0..5).map(|room| {
        let host = &host;
        async move {
            for number in 0..8 {
                host.say(&format!("room-{room}"), &format!("!sleep 5 {room} {number}")).await;
            }
        }
    });
    join_all(rooms).await;
    let answers = host.answers_since(0, 5 + 5 * 8).await;
    for room in 0..5 {
        let of_room: Vec<_> = answers.iter().filter(|answer| answer.starts_with(&format!("awake {room} "))).collect();
        let expected: Vec<_> = (0..8).map(|number| format!("awake {room} {number}")).collect();
        assert_eq!(of_room, expected.iter().collect::<Vec<_>>(), "each once, in its conversation's order");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conversations_are_handled_side_by_side_as_far_as_the_bot_may_and_one_by_one_within() {
    let host = slow("", 4).await;
    for room in 0..6 {
        host.say(&format!("room-{room}"), "!sleep 1000 first").await;
        host.say(&format!("room-{room}"), "!sleep 1 second").await;
    }
    // The rest waits: two conversations, and what comes second in the four at work.
    host.bot_when(SLOW, |status| (status.in_flight, status.queued) == (4, 8)).await;
    let started = Instant::now();
    let answers = host.answers_since(0, 12).await;
    assert!(started.elapsed() < Duration::from_secs(6), "six seconds are what it takes one after another");
    let actions = host.chat.delivered(12).await;
    for room in 0..6 {
        let of_room = actions.iter().zip(&answers).filter(|(action, _)| action.at.id == format!("room-{room}"));
        assert_eq!(of_room.map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["awake first", "awake second"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f060_a_rate_limit_is_waited_for_in_its_conversation_and_holds_up_no_other() {
    const WAIT: Duration = Duration::from_millis(400);
    let host = echo("").await;
    host.chat.script(Err(DeliveryError::RateLimited(WAIT)));
    host.say("lobby", "!echo first").await;
    host.answers_since(0, 1).await;
    let refused_at = Instant::now();
    host.say("lobby", "!echo second").await;
    host.say("kitchen", "!echo elsewhere").await;
    assert_eq!(host.answers_since(0, 4).await, ["first", "elsewhere", "first", "second"]);
    assert!(refused_at.elapsed() > WAIT - Duration::from_millis(50), "{:?}", refused_at.elapsed());
    host.metric_reaches("bothost_delivery_ended_total{connector=\"chat\",outcome=\"ok\"}", 3.0).await;
    assert_eq!(host.metric("bothost_delivery_ended_total{connector=\"chat\",outcome=\"rate-limited\"}"), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f062_what_may_help_is_tried_again_until_it_is_delivered() {
    let host = echo("").await;
    host.chat.script(Err(DeliveryError::Retryable("down".into())));
    host.chat.script(Err(DeliveryError::Uncertain("no answer came".into())));
    host.say("lobby", "!echo first").await;
    host.say("lobby", "!echo second").await;
    assert_eq!(host.answers_since(0, 4).await, ["first", "first", "first", "second"]);
    host.metric_reaches("bothost_delivery_ended_total{connector=\"chat\",outcome=\"ok\"}", 2.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f066_what_is_refused_for_good_is_dropped_counted_and_in_nobodys_way() {
    let host = echo("").await;
    host.chat.script(Err(DeliveryError::Permanent("blocked".into())));
    host.chat.script(Err(DeliveryError::BadRequest("too long".into())));
    host.chat.script(Err(DeliveryError::Unsupported("send")));
    for text in ["first", "second", "third", "fourth"] {
        host.say("lobby", &format!("!echo {text}")).await;
    }
    assert_eq!(host.answers_since(0, 4).await, ["first", "second", "third", "fourth"]);
    for outcome in ["permanent", "bad-request", "unsupported", "ok"] {
        let series = format!("bothost_delivery_ended_total{{connector=\"chat\",outcome=\"{outcome}\"}}");
        host.metric_reaches(&series, 1.0).await;
    }
    assert_eq!(host.serving("echo").await.faults, 0, "the bot has done its part");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f065_what_waited_too_long_is_not_sent_any_more() {
    let host = echo("[outbox]\nttl = \"2s\"\n").await;
    host.chat.script(Err(DeliveryError::RateLimited(Duration::from_millis(2200))));
    host.say("lobby", "!echo late").await;
    host.metric_reaches("bothost_delivery_ended_total{connector=\"chat\",outcome=\"expired\"}", 1.0).await;
    assert_eq!(host.ask("lobby", "!echo in time").await, "in time");
    assert_eq!(host.answers_since(0, 2).await, ["late", "in time"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f065_a_full_outbox_fails_the_handler_which_is_tried_again() {
    let host = echo("[outbox]\nmax_len = 1\n").await;
    host.chat.set_link(Link::BackingOff { error: "away".to_owned(), wait: Duration::from_secs(1) });
    host.say("lobby", "!echo first").await;
    host.bot_when("echo", |status| status.handled == 1).await;
    host.say("lobby", "!echo second").await;
    host.bot_when("echo", |status| status.faults >= 1).await;
    host.chat.set_link(Link::Connected);
    assert_eq!(host.answers_since(0, 2).await, ["first", "second"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f085_a_stop_answers_everything_that_was_taken_over() {
    let host = echo("").await;
    let chat = host.chat.clone();
    join_all((0..200).map(|number| {
        let host = &host;
        async move { host.say(&format!("room-{}", number % 20), &format!("!echo {number:03}")).await }
    }))
    .await;
    let (drained, _) = host.stop(COMPILER, "").await;
    assert_eq!(drained, Drained::default());
    assert_eq!(chat.delivered_count(), 200);

    let host = slow("", 4).await;
    let chat = host.chat.clone();
    for room in 0..8 {
        host.say(&format!("room-{room}"), "!sleep 200").await;
    }
    let (drained, _) = host.stop(COMPILER, "").await;
    assert_eq!((drained, chat.delivered_count()), (Drained::default(), 8));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f085_a_stop_waits_for_the_retry_of_what_failed_and_for_the_platform() {
    let host = Home::new(COMPILER, "").with("again.wasm", &guests::guest("fail_then_ok")).start().await;
    host.serving("again").await;
    let chat = host.chat.clone();
    chat.script(Err(DeliveryError::RateLimited(Duration::from_millis(300))));
    host.say("lobby", "!once").await;
    let (drained, _) = host.stop(COMPILER, "").await;
    assert_eq!((drained, chat.delivered_count()), (Drained::default(), 2));
}

/// Stops a host that has something left which never ends, and checks that it ends all the same.
async fn is_cut_off(host: TestHost, left: Drained) -> Home {
    let metrics = host.host().metrics();
    let started = Instant::now();
    let (drained, home) = host.stop(COMPILER, "").await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(drained, left);
    assert!(metrics.render().contains("bothost_instance_live 0\n"), "a call goes on in a host that has stopped");
    home
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f085_a_bot_that_never_ends_is_cut_off_when_the_drain_timeout_ends() {
    let config = "drain_timeout = \"300ms\"\n";
    let host = slow(config, 4).await;
    host.say("lobby", "!sleep").await;
    host.bot_when(SLOW, |status| status.in_flight == 1).await;
    let home = is_cut_off(host, Drained { events: 1, actions: 0 }).await;
    let host = home.start().await;
    host.serving(SLOW).await;
    assert_eq!(host.ask("elsewhere", "!ping").await, "pong", "the directory is free for the next host");

    let spin = "limits = { fuel_per_event = 1_000_000_000_000, event_timeout = \"1h\" }";
    let host = home_of_spin(config, spin).await;
    host.say("lobby", "!spin").await;
    host.bot_when("spin", |status| status.in_flight == 1).await;
    is_cut_off(host, Drained { events: 1, actions: 0 }).await;
}

async fn home_of_spin(config: &str, entry: &str) -> TestHost {
    let host = home(config, "spin", entry).start().await;
    host.serving("spin").await;
    host
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f085_an_init_that_never_ends_is_cut_off_as_well() {
    let config = "drain_timeout = \"300ms\"\n[limits]\nfuel_per_event = 1_000_000_000_000\ninit_timeout = \"1h\"\n";
    let host = home(config, "spin_init", "").start().await;
    host.bot_when("spin_init", |status| status.phase.as_str() == "starting").await;
    is_cut_off(host, Drained::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f085_a_platform_that_takes_nothing_does_not_hold_up_the_stop() {
    let host = echo("drain_timeout = \"300ms\"\n").await;
    host.chat.script(Err(DeliveryError::RateLimited(Duration::from_secs(600))));
    host.say("lobby", "!echo first").await;
    host.say("lobby", "!echo second").await;
    host.bot_when("echo", |status| status.handled == 2).await;
    host.answers_since(0, 1).await;
    is_cut_off(host, Drained { events: 0, actions: 2 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f085_what_waits_for_room_when_the_host_stops_is_left_to_the_platform() {
    let host = slow(&format!("drain_timeout = \"300ms\"\n{ONE_ATTEMPT}max_events = 1\n"), 1).await;
    host.say("lobby", "!sleep").await;
    let chat = host.chat.clone();
    let mut waits = Box::pin(chat.say("lobby", "id", "!ping"));
    assert!(waits.as_mut().now_or_never().is_none());
    is_cut_off(host, Drained { events: 1, actions: 0 }).await;
    waits.await.expect_err("it was not taken over");
}
