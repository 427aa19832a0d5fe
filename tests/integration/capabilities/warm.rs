//! Warm mode: one instance stays from event to event, until it faults, idles or is overtaken.

use harness::guests;
use harness::host::{Home, TestHost, eventually};

use super::{COMPILER, ONE_ATTEMPT, home};

const WARM: &str = "limits = { instance = \"warm\" }";

async fn warm(guest: &str, entry: &str) -> TestHost {
    let host = home(ONE_ATTEMPT, guest, entry).start().await;
    host.serving(guest).await;
    host
}

async fn live(host: &TestHost, count: f64) {
    let now = || host.metric("bothost_instance_live ");
    eventually(|| (now() == count).then_some(()), || format!("{} instances live, not {count}", now())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_instance_keeps_its_memory_from_event_to_event() {
    let host = warm("counter", WARM).await;
    for expected in 1..=5 {
        assert_eq!(host.ask(&format!("room-{expected}"), "!memory").await, expected.to_string());
    }
    live(&host, 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_a_warm_bot_run_one_after_another_and_none_is_lost() {
    let host = warm("counter", WARM).await;
    let before = host.chat.delivered_count();
    futures_util::future::join_all((0..40).map(|room| {
        let host = &host;
        async move { host.say(&format!("room-{room}"), "!memory").await }
    }))
    .await;
    let mut counts: Vec<u32> = host.answers_since(before, 40).await.iter().map(|text| text.parse().unwrap()).collect();
    counts.sort_unstable();
    assert_eq!(counts, (1..=40).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_instance_that_trapped_is_never_entered_again() {
    let host = warm("trap", WARM).await;
    assert_eq!(host.ask("lobby", "!ping").await, "pong");
    live(&host, 1.0).await;
    host.say("lobby", "!trap").await;
    host.metric_reaches("bothost_bot_faults_total{bot=\"trap\",kind=\"trapped\"}", 1.0).await;
    live(&host, 0.0).await;
    assert_eq!(host.ask("lobby", "!ping").await, "pong");
    // `describe` and `init` have one of their own.
    assert_eq!(host.metric("bothost_instance_created_total{bot=\"trap\"}"), 4.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_instance_that_timed_out_is_never_entered_again() {
    let entry = "limits = { instance = \"warm\", event_timeout = \"200ms\" }";
    let host = warm("slow_host_call", entry).await;
    for round in 1..=3 {
        host.say("lobby", "!sleep").await;
        assert_eq!(host.ask("lobby", "!ping").await, "pong");
        let faults = host.metric("bothost_bot_faults_total{bot=\"slow_host_call\",kind=\"timed-out\"}");
        assert_eq!(faults, f64::from(round));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_returned_failure_leaves_a_warm_instance_as_it_is() {
    let host = warm("fail", WARM).await;
    assert_eq!(host.ask("lobby", "!ping").await, "pong");
    host.say("lobby", "!fail").await;
    assert_eq!(host.ask("lobby", "!ping").await, "pong");
    assert_eq!(host.metric("bothost_instance_created_total{bot=\"fail\"}"), 3.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_instance_that_idles_is_dropped() {
    let host = warm("counter", "limits = { instance = \"warm\", idle_timeout = \"200ms\" }").await;
    assert_eq!(host.ask("lobby", "!memory").await, "1");
    live(&host, 0.0).await;
    assert_eq!(host.ask("lobby", "!memory").await, "1", "and a new one begins anew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_drops_the_warm_instance_of_the_version_before() {
    let host = warm("counter", WARM).await;
    assert_eq!(host.ask("lobby", "!memory").await, "1");
    assert_eq!(host.ask("lobby", "!memory").await, "2");
    let next: Vec<u8> = [guests::guest("counter"), vec![0, 3, 1, b'x', 1]].concat();
    host.put("counter.wasm", &next);
    let hash = bothost::id::ContentHash::of(&next);
    host.bot_when("counter", |status| status.component == Some(hash)).await;
    live(&host, 0.0).await;
    assert_eq!(host.ask("lobby", "!memory").await, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_warm_bots_of_one_component_share_no_memory() {
    let entry = b"component = \"counter.wasm\"\nlimits = { instance = \"warm\" }";
    let home = Home::new(COMPILER, "").with("counter.wasm", &guests::guest("counter"));
    let host = home.with("one.toml", entry).with("two.toml", entry).start().await;
    host.serving("one").await;
    host.serving("two").await;
    for expected in ["1", "2", "3"] {
        let before = host.chat.delivered_count();
        host.say("lobby", "!memory").await;
        assert_eq!(host.answers_since(before, 2).await, [expected; 2]);
    }
}
