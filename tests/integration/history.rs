//! What was measured is there later, after a restart too, and is told by the API and the command line; and what becomes of the file
//! that holds it never matters to the bots.

use std::fs;
use std::time::Duration;

use bothost::admin::client::{Client, ClientError};
use bothost::clock::Timestamp;
use bothost::host::ADMIN_SOCKET;
use bothost::store::observations::OBSERVATIONS_FILE;
use harness::guests;
use harness::host::{Home, TestHost};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_host");
/// What the command line finds the host by.
const CONFIG: &str = "[host]\ndata_dir = \"data\"\nbots_dir = \"bots\"\n";
const CONFIGURATION: &str = "";

fn home() -> Home {
    Home::new(PROGRAM, CONFIGURATION).with("echo.wasm", &guests::example("echo"))
}

fn client(host: &TestHost) -> Client {
    Client::new(host.home().join("data").join(ADMIN_SOCKET))
}

/// Has the host look at its measurements now.
fn look(host: &TestHost) {
    host.host().history().record(&host.host().metrics().snapshot(Timestamp::now()));
}

/// Runs the command line, which must succeed, and returns what it says.
async fn told(host: &TestHost, arguments: &str) -> String {
    fs::write(host.home().join("host.toml"), CONFIG).unwrap();
    let arguments = arguments.split(' ').chain(["--config", "host.toml"]);
    let command = tokio::process::Command::new(PROGRAM).args(arguments).current_dir(host.home()).output();
    let output = command.await.unwrap();
    let (said, complained) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{said}{complained}");
    said
}

/// Adds up what a counter of echo's counted, as the API tells it.
async fn handled(client: &Client) -> f64 {
    let path = "/api/v1/metrics/history?name=attempt_ended_total&since=1h&step=10m&bot=echo";
    let view = client.get(path).await.unwrap();
    let series = view["series"].as_array().unwrap().iter();
    let points = series.flat_map(|series| series["points"].as_array().unwrap());
    points.map(|point| point["increase"].as_f64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_measured_is_told_and_outlives_the_process() {
    let host = home().start().await;
    host.serving("echo").await;
    look(&host);
    for _ in 0..3 {
        assert_eq!(host.ask("lobby", "!ping").await, "pong");
    }
    host.metric_reaches("bothost_attempt_elapsed_seconds_count{bot=\"echo\"}", 3.0).await;
    look(&host);
    assert_eq!(handled(&client(&host)).await, 3.0);

    let names = told(&host, "metrics").await;
    assert!(names.lines().any(|name| name == "bothost_attempt_ended_total"), "{names}");
    let shown = told(&host, "metrics bothost_attempt_ended_total --bot echo --step 1m").await;
    assert!(shown.contains("bot=echo") && shown.contains("INCREASE") && shown.contains('█'), "{shown}");
    let shown = told(&host, "metrics attempt_fuel_units --bot echo").await;
    assert!(shown.contains("COUNT  P50"), "{shown}");
    let report = told(&host, "report --window 1h").await;
    assert!(report.contains("echo  3") && report.contains("SUGGESTED"), "{report}");
    let report: Value = serde_json::from_str(&told(&host, "report --bot echo --json").await).unwrap();
    assert_eq!((report["bots"][0]["ok"].as_u64(), report["connectors"].as_array().unwrap().len()), (Some(3), 0));
    let described = told(&host, "describe echo").await;
    assert!(described.contains("last hour\nevents        3 ok, 0 failed"), "{described}");

    let (_, home) = host.stop(PROGRAM, CONFIGURATION).await;
    let host = home.start().await;
    host.serving("echo").await;
    assert_eq!(host.ask("lobby", "!ping").await, "pong");
    host.metric_reaches("bothost_attempt_elapsed_seconds_count{bot=\"echo\"}", 1.0).await;
    look(&host);
    assert_eq!(handled(&client(&host)).await, 4.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_wrongly_is_refused_with_what_would_be_right() {
    let host = home().start().await;
    let client = client(&host);
    for (path, said) in [
        ("metrics/history", "`name` is missing"),
        ("metrics/history?name=x&since=yesterday", "or how long ago, such as 10m"),
        ("metrics/history?name=x&user=y", "this path takes: name, since, until, step, bot, connector"),
        ("report?window=0s", "must be a length of time"),
        ("report?window=soon", "must be a length of time"),
    ] {
        let refused = client.get(&format!("/api/v1/{path}")).await;
        assert!(matches!(&refused, Err(ClientError::Refused { detail, .. }) if detail.contains(said)), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_history_is_put_aside_with_an_alert_and_the_bots_answer() {
    let host = home().start().await;
    let (_, home) = host.stop(PROGRAM, CONFIGURATION).await;
    let file = home.path().join("data").join(OBSERVATIONS_FILE);
    fs::write(&file, "no database at all. ".repeat(1_000)).unwrap();
    let host = home.start().await;
    host.serving("echo").await;
    assert_eq!(host.ask("lobby", "!ping").await, "pong");
    let alerts = client(&host).get("/api/v1/alerts").await.unwrap();
    let keys: Vec<_> = alerts.as_array().unwrap().iter().map(|alert| alert["key"].as_str().unwrap()).collect();
    assert!(keys.contains(&"observations-set-aside"), "{keys:?}");
    look(&host);
    let within = tokio::time::timeout(Duration::from_secs(20), client(&host).get("/api/v1/metrics/names")).await;
    assert!(!within.unwrap().unwrap().as_array().unwrap().is_empty());
}
