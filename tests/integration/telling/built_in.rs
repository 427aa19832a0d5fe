//! The host's own rules in whole hosts: each is brought about by what it is about.

use std::net::TcpListener;

use harness::guests;
use harness::host::{Home, TestHost, eventually};
use harness::receiver::{Answer, Receiver};

use super::{PROGRAM, QUICK, listed, run, told, told_when, turns, webhook};

/// Starts a host with one guest that serves.
async fn host_with(guest: &str, config: &str) -> TestHost {
    let component = guests::guest(guest);
    let home = Home::new(PROGRAM, &format!("{QUICK}{config}")).with(&format!("{guest}.wasm"), &component);
    let host = home.start().await;
    host.serving(guest).await;
    host
}

/// Returns what makes a rule of the host's fire at once.
fn at_once(rule: &str) -> String {
    format!("[alerts.rules.{rule}]\nfor = \"0s\"\ncooldown = \"0s\"\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_whose_events_are_given_up_is_told() {
    let ops = Receiver::start().await;
    let host = host_with("fail", &format!("[queue]\nmax_attempts = 1\n{}", webhook("ops", &ops))).await;
    // The series begins with the first of them.
    host.say("lobby", "!fail").await;
    let fired = told_when(&ops, "dead-letters:fail", &["fired"]).await;
    let summary = fired["summary"].as_str().unwrap();
    assert!(summary.starts_with("1 events of bot fail were given up"), "{summary}");
    let letters = run(host.home(), "dlq list").await.said;
    assert!(letters.contains("fail"), "the verb that the alert names: {letters}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_that_burns_all_its_fuel_is_told() {
    let ops = Receiver::start().await;
    let rule = at_once("bot-fuel-near-limit");
    let host =
        host_with("spin", &format!("[limits]\nfuel_per_event = 5_000_000\n{rule}{}", webhook("ops", &ops))).await;
    host.say("lobby", "!spin").await;
    let fired = told_when(&ops, "bot-fuel-near-limit:spin", &["fired"]).await;
    let summary = fired["summary"].as_str().unwrap();
    assert!(summary.contains("bot spin needs up to") && summary.contains('%'), "{summary}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_fills_is_told_and_that_it_is_empty_again() {
    let ops = Receiver::start().await;
    let config = format!(
        "[queue]\nmax_events = 10\n[limits]\nin_flight = 1\n{}{}",
        at_once("queue-filling"),
        webhook("ops", &ops)
    );
    let host = host_with("slow_host_call", &config).await;
    for room in 0..9 {
        let ms = if room == 0 { 3_000 } else { 1 };
        host.say(&room.to_string(), &format!("!sleep {ms}")).await;
    }
    let fired = told_when(&ops, "queue-filling", &["fired"]).await;
    assert!(fired["summary"].as_str().unwrap().starts_with("the queue is 90% full"), "{fired}");
    told_when(&ops, "queue-filling", &["fired", "resolved"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_without_an_answer_is_told_and_that_it_has_one() {
    let ops = Receiver::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let probe = format!("[vitals.probes.db]\ntcp = \"{address}\"\nevery = \"1s\"\ntimeout = \"1s\"\n");
    let config = format!("{QUICK}{probe}{}{}", at_once("probe-down"), webhook("ops", &ops));
    let host = Home::new(PROGRAM, &config).start().await;
    let fired = told_when(&ops, "probe-down:db", &["fired"]).await;
    assert_eq!(
        (&fired["summary"], &fired["severity"]),
        (&"probe db does not answer: `host logs` says why".into(), &"critical".into())
    );
    let _listener = TcpListener::bind(address).unwrap();
    told_when(&ops, "probe-down:db", &["fired", "resolved"]).await;
    assert_eq!(listed(host.home(), "probe-down:db").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connector_by_which_nothing_comes_in_is_told() {
    let ops = Receiver::start().await;
    let rule = "[alerts.rules.connector-silent]\nthreshold = \"1s\"\nactions = [\"notify:ops\"]\n";
    let host = host_with("tick", &format!("{rule}{}", webhook("ops", &ops))).await;
    assert_eq!(host.ask("lobby", "!ping").await, "pong");
    // A slow start may have been a silence as well.
    let first = || told(&ops, "connector-silent:chat").first().cloned();
    let fired = eventually(first, || format!("{:#?}", ops.received())).await;
    assert!(fired["summary"].as_str().unwrap().starts_with("nothing has come in by chat for"), "{fired}");
    assert_eq!(fired["severity"], "info");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_fails_is_told_on_the_other() {
    let (broken, ops) = (Receiver::start().await, Receiver::start().await);
    broken.then([Answer::status(410, "gone for good")]);
    let config = format!("{}{}", webhook("broken", &broken), webhook("ops", &ops));
    let host = host_with("tick", &config).await;
    assert_eq!(host.ask("lobby", "!alert hot critical it is hot").await, "raised hot");
    let fired = told_when(&ops, "channel-failing:broken", &["fired"]).await;
    assert!(fired["details"].to_string().contains("gone for good"), "{fired}");
    assert_eq!(told_when(&ops, "hot", &["fired"]).await["bot"], "tick");
    let channels = run(host.home(), "alerts channels").await.said;
    assert!(channels.contains("broken") && channels.contains("HTTP 410"), "{channels}");
    assert_eq!(host.ask("lobby", "!resolve hot").await, "resolved hot");
    told_when(&ops, "hot", &["fired", "resolved"]).await;
    // What it takes again says that it works.
    told_when(&ops, "channel-failing:broken", &["fired", "resolved"]).await;
    assert_eq!(turns(&broken, "channel-failing:broken"), [""; 0], "it is not told of itself");
}
