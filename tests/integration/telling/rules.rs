//! The operator's own rules: what they say, what becomes of it, and what they have done to bots.

use bothost::admin::client::Client;
use bothost::bot::phase::Phase;
use bothost::host::ADMIN_SOCKET;
use harness::guests;
use harness::host::{Home, TestHost};
use harness::receiver::Receiver;
use serde_json::Value;

use super::{DEEP, PROGRAM, QUICK, answer, history, listed, rounds, run, told, told_when, turns, webhook};
use crate::notices::is_signed;

/// Rounds within which happens what should.
const ROUNDS_MAX: usize = 50;

/// Starts a host with the guest `tick` and this configuration.
async fn host_with(config: &str) -> TestHost {
    let host = Home::new(PROGRAM, &format!("{QUICK}{config}")).with("tick.wasm", &guests::guest("tick")).start().await;
    host.serving("tick").await;
    host
}

async fn gauge(host: &TestHost, depth: f64) {
    assert_eq!(host.ask("lobby", &format!("!gauge depth {depth}")).await, "measured depth");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_about_a_bots_own_metric_is_told_once_answered_and_over_once() {
    let ops = Receiver::start().await;
    let host = host_with(&format!("{}{DEEP}", webhook("ops", &ops))).await;
    gauge(&host, 11.5).await;
    let fired = told_when(&ops, "deep:tick", &["fired"]).await;
    assert_eq!((fired["summary"].as_str(), fired["severity"].as_str()), (Some("tick is 11.5 deep"), Some("warning")));
    let notice = ops.received().into_iter().find(|notice| notice.body.contains("deep:tick")).unwrap();
    assert!(is_signed(notice.headers["x-bothost-signature"].to_str().unwrap(), "key", &notice.body));

    let shown = run(host.home(), "alerts list").await.said;
    assert!(shown.contains("deep:tick") && shown.contains("firing") && shown.contains("tick is 11.5 deep"), "{shown}");
    let id = fired["id"].as_str().unwrap();
    let acknowledged = run(host.home(), &format!("alerts ack {id} --by ada")).await;
    assert!(acknowledged.code == Some(0) && acknowledged.said.contains("acknowledged"), "{acknowledged:?}");

    // It is better, and not yet good.
    gauge(&host, 9.8).await;
    let client = Client::new(host.home().join("data").join(ADMIN_SOCKET));
    let mut deep = Value::Null;
    for _ in 0..ROUNDS_MAX {
        let rules = client.get("/api/v1/alerts/rules").await.unwrap();
        deep = rules.as_array().unwrap().iter().find(|rule| rule["name"] == "deep").cloned().unwrap();
        if deep["value"] == "9.8" {
            break;
        }
        rounds(&host, 1).await;
    }
    assert_eq!((&deep["value"], &deep["firing"], &deep["builtin"]), (&"9.8".into(), &1.into(), &false.into()));
    let up = listed(host.home(), "deep:tick").await.unwrap();
    assert_eq!((&up["state"], &up["acknowledged_by"]), (&"acknowledged".into(), &"ada".into()));

    gauge(&host, 3.0).await;
    let over = told_when(&ops, "deep:tick", &["fired", "resolved"]).await;
    assert_eq!((over["acknowledged_by"].as_str(), over["ended_by"].as_str()), (Some("ada"), None));
    rounds(&host, 5).await;
    assert_eq!(turns(&ops, "deep:tick").len(), 2, "{:?}", told(&ops, "deep:tick"));
    assert_eq!(listed(host.home(), "deep:tick").await, None);
    let turn = |turn: &str, by: Option<&str>| (turn.to_owned(), by.map(str::to_owned));
    let expected = [turn("resolved", None), turn("acknowledged", Some("ada")), turn("fired", None)];
    assert_eq!(history(host.home(), "deep:tick").await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_that_an_operator_resolves_stays_away_until_its_value_came_back() {
    let ops = Receiver::start().await;
    let config = format!("{}{}", webhook("ops", &ops), DEEP.replace("\"0s\"", "\"1h\""));
    let host = host_with(&config).await;
    gauge(&host, 12.0).await;
    let fired = told_when(&ops, "deep:tick", &["fired"]).await;
    let id = fired["id"].as_str().unwrap();
    assert_eq!(run(host.home(), &format!("alerts resolve {id} --by ada")).await.code, Some(0));
    let over = told_when(&ops, "deep:tick", &["fired", "resolved"]).await;
    assert_eq!(over["ended_by"], "ada");
    rounds(&host, 5).await;
    assert_eq!((turns(&ops, "deep:tick").len(), listed(host.home(), "deep:tick").await), (2, None));
    let again = run(host.home(), &format!("alerts ack {id}")).await;
    assert!(again.code == Some(1) && again.said.contains("no alert"), "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_restarts_its_bot_once_for_each_time_that_it_fires() {
    let ops = Receiver::start().await;
    let config = format!("{}{DEEP}actions = [\"restart\", \"notify:ops\"]\n", webhook("ops", &ops));
    let host = host_with(&config).await;
    gauge(&host, 11.0).await;
    told_when(&ops, "deep:tick", &["fired"]).await;
    for _ in 0..ROUNDS_MAX {
        if restarts(&host).await > 0 {
            break;
        }
        rounds(&host, 1).await;
    }
    assert_eq!(host.ask("lobby", "!ping").await, "pong");
    rounds(&host, 5).await;
    assert_eq!(restarts(&host).await, 1, "and not again");
}

/// Returns how often the bot was started anew, as the command line tells it.
async fn restarts(host: &TestHost) -> usize {
    run(host.home(), "faults tick").await.said.matches("restarted").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_disables_its_bot_and_the_history_of_the_configuration_names_it() {
    let ops = Receiver::start().await;
    let config = format!("{}{DEEP}actions = [\"disable\"]\n", webhook("ops", &ops));
    let host = host_with(&config).await;
    gauge(&host, 11.0).await;
    told_when(&ops, "deep:tick", &["fired"]).await;
    host.bot_when("tick", |status| status.phase == Phase::Disabled).await;
    // It is recorded a moment after it is in force.
    let mut versions = Value::Null;
    for _ in 0..ROUNDS_MAX {
        versions = answer(host.home(), "config history").await;
        if versions.to_string().contains("rule deep") {
            return;
        }
        rounds(&host, 1).await;
    }
    panic!("{versions:#}");
}
