//! Alerts from what is measured to what people read and answer: whole hosts whose rounds come quickly, somebody's server that the
//! notices go to, and the real command line.

mod built_in;
mod edits;
mod restart;
mod rules;
mod storm;

use std::path::Path;

use harness::host::{TestHost, eventually};
use harness::receiver::Receiver;
use serde_json::Value;

use crate::notices::parsed;

const PROGRAM: &str = env!("CARGO_BIN_EXE_host");

/// Rounds that come quickly.
const QUICK: &str = "[vitals]\ninterval = \"200ms\"\n";

/// A rule about what the guest `tick` measures at a word. Once its alert has ended it may fire again at once.
const DEEP: &str = "\
[alerts.rules.deep]
metric = \"bothost_guest_depth\"
op = \">\"
threshold = 10
cooldown = \"0s\"
message = \"{bot} is {value} deep\"
";

/// Returns the table of a webhook that is told of everything at once.
fn webhook(name: &str, receiver: &Receiver) -> String {
    let url = receiver.url("/hook");
    format!(
        "[alerts.channels.{name}]\ntype = \"webhook\"\nurl = \"{url}\"\nsecret = \"key\"\nmin_severity = \"info\"\n\
         group_wait = \"0s\"\ndigest_every = \"1ms\"\n"
    )
}

/// Returns what somebody was told of the alerts of a key, in order.
fn told(receiver: &Receiver, key: &str) -> Vec<Value> {
    let bodies: Vec<_> = receiver.received().iter().map(|notice| parsed(&notice.body)).collect();
    let alerts = bodies.iter().flat_map(|body| body["alerts"].as_array().unwrap());
    alerts.filter(|alert| alert["key"] == key).cloned().collect()
}

/// Returns what happened to the alerts of a key, as somebody was told.
fn turns(receiver: &Receiver, key: &str) -> Vec<String> {
    told(receiver, key).iter().map(|alert| alert["what"].as_str().unwrap().to_owned()).collect()
}

/// Waits until somebody was told of this, and returns the last of it.
async fn told_when(receiver: &Receiver, key: &str, expected: &[&str]) -> Value {
    let is_so = || (turns(receiver, key) == expected).then(|| told(receiver, key));
    let said = || format!("{key}: {:?}, and of all: {:#?}", turns(receiver, key), receiver.received());
    eventually(is_so, said).await.pop().unwrap()
}

/// Waits until so many more rounds were made: what is not told by then is not about to be.
async fn rounds(host: &TestHost, count: u32) {
    let made = "bothost_monitor_round_seconds_count";
    host.metric_reaches(made, host.metric(made) + f64::from(count)).await;
}

/// What the command line said, and its exit code.
#[derive(Debug)]
struct Told {
    code: Option<i32>,
    said: String,
}

/// Runs the command line beside a configuration, with arguments that have no spaces in them.
async fn run(home: &Path, arguments: &str) -> Told {
    let command = tokio::process::Command::new(PROGRAM).args(arguments.split(' ')).current_dir(home).output();
    let output = command.await.unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    Told { code: output.status.code(), said }
}

/// Runs the command line, which must succeed, and returns what it answers in JSON.
async fn answer(home: &Path, arguments: &str) -> Value {
    let told = run(home, &format!("{arguments} --json")).await;
    assert_eq!(told.code, Some(0), "{arguments}: {}", told.said);
    parsed(&told.said)
}

/// Returns the alert of a key that is up, as the command line lists it.
async fn listed(home: &Path, key: &str) -> Option<Value> {
    let alerts = answer(home, "alerts list").await;
    alerts.as_array().unwrap().iter().find(|alert| alert["key"] == key).cloned()
}

/// Returns what happened to the alerts of a key and by whom, the latest first, as the command line lists it.
async fn history(home: &Path, key: &str) -> Vec<(String, Option<String>)> {
    let news = answer(home, "alerts history").await;
    let news = news.as_array().unwrap().iter().filter(|news| news["alert"]["key"] == key);
    let turn = |news: &Value| (news["turn"].as_str().unwrap().to_owned(), news["by"].as_str().map(str::to_owned));
    news.map(turn).collect()
}
