//! What is up when a process ends, and what people hear of it by the next one.

use std::net::TcpListener;
use std::path::Path;

use harness::guests;
use harness::host::eventually;
use harness::process::{Process, ProcessHome};
use harness::receiver::{Answer, Receiver};
use harness::telegram::FakeTelegram;
use serde_json::Value;

use super::{PROGRAM, QUICK, answer, history, listed, run, told_when, turns, webhook};

const TOKEN: &str = "42:CANARY-telegram";

fn telegram(fake: &FakeTelegram) -> String {
    format!("[connectors.tg]\ntype = \"telegram\"\ntoken = \"{TOKEN}\"\napi_url = \"{}\"\n", fake.url())
}

/// Returns a home with the guest `tick`, which listens to a fake platform.
fn home(fake: &FakeTelegram, config: &str) -> ProcessHome {
    let warmed = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-for-telling");
    let config = format!("{QUICK}{}{config}", telegram(fake));
    ProcessHome::new(PROGRAM, &config).warmed_by(warmed).with("tick.wasm", &guests::guest("tick"))
}

/// Says something, and waits for the answer.
async fn ask(fake: &FakeTelegram, text: &str) -> String {
    let before = fake.sent_len();
    fake.push_message(7, text);
    let sent = || fake.sent().get(before).map(|sent| sent["text"].as_str().unwrap().to_owned());
    eventually(sent, || format!("no answer to {text}")).await
}

async fn rounds(process: &Process, count: u32) {
    let made = "bothost_monitor_round_seconds_count";
    process.metric_reaches(made, process.metric(made).await + f64::from(count)).await;
}

fn free_port() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_up_stays_up_through_restarts_and_what_is_over_is_told_once() {
    let (ops, fake) = (Receiver::start().await, FakeTelegram::start(TOKEN).await);
    let (stays, over) = (free_port(), free_port());
    let probe = |name: &str, address| {
        format!("[vitals.probes.{name}]\ntcp = \"{address}\"\nevery = \"2s\"\ntimeout = \"1s\"\n")
    };
    let rule = "[alerts.rules.probe-down]\nfor = \"0s\"\n";
    let config = format!("{}{}{rule}{}", probe("stays", stays), probe("over", over), webhook("ops", &ops));
    let mut home = home(&fake, &config);

    let mut first = home.start(&[]);
    first.serving("tick").await;
    assert_eq!(ask(&fake, "!alert hot warning it is hot").await, "raised hot");
    assert_eq!(ask(&fake, "!alert dull info it is dull").await, "raised dull");
    for key in ["probe-down:stays", "probe-down:over", "hot", "dull"] {
        told_when(&ops, key, &["fired"]).await;
    }
    for key in ["probe-down:stays", "hot"] {
        let id = listed(home.path(), key).await.unwrap()["id"].as_str().unwrap().to_owned();
        assert_eq!(run(home.path(), &format!("alerts ack {id} --by ada")).await.code, Some(0));
    }
    let id = listed(home.path(), "dull").await.unwrap()["id"].as_str().unwrap().to_owned();
    assert_eq!(run(home.path(), &format!("alerts resolve {id} --by ada")).await.code, Some(0));
    told_when(&ops, "dull", &["fired", "resolved"]).await;
    first.stop().await;

    let _answers = TcpListener::bind(over).unwrap();
    let mut second = home.start(&[]);
    second.serving("tick").await;
    told_when(&ops, "probe-down:over", &["fired", "resolved"]).await;
    rounds(&second, 12).await;
    check(&ops, &home).await;
    // Killed, it has no time to tell or to write anything.
    second.kill().await;

    let mut third = home.start(&[]);
    third.serving("tick").await;
    rounds(&third, 12).await;
    check(&ops, &home).await;
    assert_eq!(ask(&fake, "!resolve hot").await, "resolved hot");
    told_when(&ops, "hot", &["fired", "resolved"]).await;
    let turns: Vec<_> = history(home.path(), "hot").await.into_iter().map(|(turn, _)| turn).collect();
    assert_eq!(turns, ["resolved", "acknowledged", "fired"]);
    third.stop().await;
}

/// Checks that what was up is up as it was, that what was ended is not, and that nobody was told anything anew.
async fn check(ops: &Receiver, home: &ProcessHome) {
    for key in ["probe-down:stays", "hot"] {
        let alert = listed(home.path(), key).await.unwrap_or_else(|| panic!("{key} is up"));
        assert_eq!((&alert["state"], &alert["acknowledged_by"]), (&"acknowledged".into(), &"ada".into()), "{key}");
        assert_eq!(turns(ops, key), ["fired"]);
    }
    for key in ["probe-down:over", "dull"] {
        assert_eq!(listed(home.path(), key).await, None);
        assert_eq!(turns(ops, key), ["fired", "resolved"], "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_of_the_last_moment_is_told_before_the_end() {
    let (ops, fake) = (Receiver::start().await, FakeTelegram::start(TOKEN).await);
    let patient = webhook("ops", &ops).replace("group_wait = \"0s\"", "group_wait = \"1h\"");
    let mut home = home(&fake, &patient);
    let mut process = home.start(&[]);
    process.serving("tick").await;
    fake.push_message(7, "!alert hot critical it is hot");
    let asked = || fake.unconfirmed().is_empty().then_some(());
    eventually(asked, || "the host has not taken it over".to_owned()).await;
    assert_eq!(turns(&ops, "hot"), [""; 0], "it would wait for others");
    process.stop().await;
    assert_eq!(turns(&ops, "hot"), ["fired"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_whose_channel_hangs_ends_and_says_what_nobody_was_told() {
    let (ops, fake) = (Receiver::start().await, FakeTelegram::start(TOKEN).await);
    ops.then([Answer::Hang, Answer::Hang]);
    let mut home = home(&fake, &webhook("ops", &ops));
    let mut process = home.start(&[]);
    process.serving("tick").await;
    assert_eq!(ask(&fake, "!alert hot critical it is hot").await, "raised hot");
    eventually(|| (!ops.received().is_empty()).then_some(()), || "nothing is tried".to_owned()).await;
    process.stop().await;
    let said = home.said();
    assert!(said.contains("people were not told") && said.contains("it is hot"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_in_a_process_is_grouped_and_told_by_api_and_command_line() {
    let fake = FakeTelegram::start(TOKEN).await;
    let rule = "[alerts.rules.slip]\nmetric = \"bothost_queue_dept_events\"\nop = \">\"\nthreshold = 1\n";
    let mut home = home(&fake, &format!("[queue]\nmax_attempts = 1\n{rule}")).with("trap.wasm", &guests::guest("trap"));
    let mut process = home.start(&[]);
    process.serving("tick").await;
    process.serving("trap").await;
    fake.push_message(7, "!trap");
    fake.push_message(7, "!trap");
    let letters = "bothost_dead_letter_added_total{bot=\"trap\"}";
    process.metric_reaches(letters, 2.0).await;
    fake.fail_next("sendMessage", harness::telegram::Fault::refuse(400, "Bad Request: chat not found"));
    fake.push_message(7, "!names");
    process.metric_reaches("bothost_errors_total{severity=\"critical\",component=\"outbox\"}", 1.0).await;

    let errors = process.ask("/api/v1/errors").await.unwrap();
    let of = |component: &str| -> Vec<&Value> {
        errors.as_array().unwrap().iter().filter(|error| error["component"] == component).collect()
    };
    let trapped = of("bot").into_iter().find(|error| error["bot"] == "trap").unwrap_or_else(|| panic!("{errors:#}"));
    assert!(trapped["count"].as_u64() >= Some(2), "{trapped}");
    assert!(of("outbox").iter().any(|error| error["message"].to_string().contains("chat not found")), "{errors:#}");
    let sums = process.ask("/health/errors").await.unwrap();
    assert!(sums["total"].as_u64() >= Some(3) && sums["by_component"].to_string().contains("outbox"), "{sums}");
    let shown = run(home.path(), "errors").await.said;
    assert!(shown.contains("trap") && shown.contains("chat not found"), "{shown}");
    assert_eq!(answer(home.path(), "errors --bot trap").await["errors"][0]["bot"], "trap");
    let figures = process.ask("/health/metrics").await.unwrap();
    for name in ["bothost_process_resident_bytes", "bothost_queue_capacity_events", "bothost_disk_free_bytes"] {
        assert!(figures["metrics"][name].as_f64() > Some(0.0), "{name}: {figures:#}");
    }
    rounds(&process, 3).await;
    let said = process.said();
    assert_eq!(said.matches("a rule is about a metric that is not there").count(), 1, "{said}");
    assert!(said.contains("bothost_queue_depth_events"), "{said}");
    process.stop().await;
}
