//! What a bot that fails without end may write: a few lines and a few records, a handful of alerts, and a count of everything. What
//! its host does about it is told all the same.

use std::time::Duration;

use harness::guests;
use harness::host::PATIENCE;
use harness::process::{Process, ProcessHome};
use harness::telegram::FakeTelegram;
use serde_json::Value;
use tokio::time::{Instant, sleep};

const PROGRAM: &str = env!("CARGO_BIN_EXE_host");
const TOKEN: &str = "42:token";
/// Messages that trap, and how many conversations they come in.
const MESSAGES: u32 = 2_000;
const CHATS: u32 = 200;
/// Lines and records that a bot's faults may come to in the time that the test takes at most: sixty in the first minute, thirty in
/// each further one.
const FAULTS_TOLD_MAX: usize = 120;
/// Alerts of the host that there are about one bot.
const ALERTS_MAX: usize = 4;
/// Records that are kept of one bot.
const RECORDS_MAX: usize = 500;
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Has a bot trap on so many messages, each of which it is given once.
async fn crash_loop(supervisor: &str) -> (FakeTelegram, Process, ProcessHome) {
    let platform = FakeTelegram::start(TOKEN).await;
    let config = format!(
        "[queue]\nmax_attempts = 1\n{supervisor}[connectors.tg]\ntype = \"telegram\"\ntoken = \"{TOKEN}\"\napi_url = \"{}\"\n\
         poll_timeout = \"1s\"\npace = \"off\"\n",
        platform.url()
    );
    let mut home = ProcessHome::new(PROGRAM, &config).with("trap.wasm", &guests::guest("trap"));
    let mut process = home.start(&[]);
    process.serving("trap").await;
    for number in 0..MESSAGES {
        platform.push_message(i64::from(number % CHATS) + 7001, "!trap");
    }
    (platform, process, home)
}

/// Asks for a listing until it is as wanted.
async fn listed(process: &Process, path: &str, is_so: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = process.ask(path).await;
        let list = answer.and_then(|list| list.as_array().cloned()).unwrap_or_default();
        if is_so(&list) {
            return list;
        }
        assert!(Instant::now() < deadline, "{path} is {list:?}");
        sleep(LOOK_EVERY).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f088_an_endless_crash_loop_is_told_in_a_few_lines_and_counted_in_full() {
    let breaker = "[supervisor.breaker]\nfailures = 1_000_000\n";
    let (_platform, process, home) = crash_loop(breaker).await;
    for series in
        ["bothost_bot_faults_total{bot=\"trap\",kind=\"trapped\"}", "bothost_dead_letter_added_total{bot=\"trap\"}"]
    {
        assert_eq!(process.metric_reaches(series, f64::from(MESSAGES)).await, f64::from(MESSAGES));
    }
    let records = listed(&process, "/api/v1/faults?bot=trap&limit=1000", |records| !records.is_empty()).await;
    assert!(records.len() <= FAULTS_TOLD_MAX.min(RECORDS_MAX), "{} records", records.len());
    let alerts = listed(&process, "/api/v1/alerts", |_| true).await;
    assert!(alerts.len() <= ALERTS_MAX, "{alerts:?}");
    process.stop().await;

    let said = home.said();
    let lines: Vec<_> = said.lines().filter(|line| line.contains("trap")).collect();
    assert!(lines.len() <= FAULTS_TOLD_MAX, "{} lines, at last {:?}", lines.len(), lines.last());
    assert!(lines.iter().any(|line| line.contains("an event was given up")), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f088_that_a_bot_was_given_up_is_told_beside_a_flood_of_its_faults() {
    let supervisor = "[supervisor]\nmax_restarts = 0\n[supervisor.breaker]\nfailures = 500\n";
    let (_platform, process, home) = crash_loop(supervisor).await;
    let is_told = |records: &[Value]| records.iter().any(|record| record["kind"] == "quarantined");
    listed(&process, "/api/v1/faults?bot=trap&limit=1000", is_told).await;
    let faults = process.metric("bothost_bot_faults_total{bot=\"trap\",kind=\"trapped\"}").await;
    assert!(faults >= 500.0, "{faults} faults");
    let alerts = listed(&process, "/api/v1/alerts", |alerts| !alerts.is_empty()).await;
    let keys: Vec<_> = alerts.iter().filter_map(|alert| alert["key"].as_str()).collect();
    assert_eq!(keys, ["bot-quarantined:trap"]);
    process.stop().await;
    let said = home.said();
    assert!(said.contains("the bot is quarantined"), "{:?}", said.lines().last());
}
