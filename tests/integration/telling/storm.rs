//! Many bots that fail at one moment for one cause: people get a few notices, which say how many there are.

use std::time::Instant;

use bothost::action::Severity;
use bothost::clock::Timestamp;
use harness::guests;
use harness::host::{Home, eventually};
use harness::receiver::Receiver;
use serde_json::Value;

use super::{PROGRAM, told_when};
use crate::lifecycle::Ward;
use crate::notices::parsed;

const BOTS: usize = 200;
/// The alert that comes after all others.
const LAST: &str = "last";

/// As those of a host whose bots fail together, with one channel that waits for what comes together.
fn config(ops: &Receiver) -> String {
    format!(
        "[vitals]\ninterval = \"500ms\"\n[queue]\nmax_attempts = 1000\n[supervisor]\nmax_restarts = 1000\n\
         [supervisor.breaker]\nfailures = 1\nopen_for = \"500ms\"\n[alerts.channels.ops]\ntype = \"webhook\"\nurl = \"{}\"\n\
         group_wait = \"2s\"\ndigest_every = \"5s\"\n",
        ops.url("/hook")
    )
}

/// How many alerts people were told of, by what happened to them.
#[derive(Debug, Default, PartialEq)]
struct Sums {
    notices: u64,
    entries_most: usize,
    came: u64,
    went: u64,
}

fn sums(ops: &Receiver) -> Sums {
    let mut sums = Sums::default();
    for notice in ops.received() {
        let notice = parsed(&notice.body);
        let entries = notice["alerts"].as_array().unwrap();
        let is = |what: &'static str| move |entry: &&Value| entry["what"] == what;
        let went = entries.iter().filter(is("resolved")).count() as u64;
        let more = |what: &str| notice["more"][what].as_u64().unwrap();
        sums.notices += 1;
        sums.entries_most = sums.entries_most.max(entries.len());
        sums.went += went + more("resolved");
        sums.came += entries.len() as u64 - went + more("critical") + more("warning") + more("info");
    }
    sums
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f086_people_get_few_notices_of_two_hundred_bots_that_fail_at_once() {
    let ops = Receiver::start().await;
    let mut home = Home::new(PROGRAM, &config(&ops)).with("shared.wasm", &guests::guest("ill"));
    for number in 0..BOTS {
        let entry = format!("component = \"shared.wasm\"\n{}", Ward::GRANT);
        home = home.with(&format!("bot-{number}.toml"), entry.as_bytes());
    }
    let ward = Ward::beside(home.path());
    let host = home.start().await;
    for number in 0..BOTS {
        host.serving(&format!("bot-{number}")).await;
    }
    let began = Instant::now();
    ward.infect("trap");
    host.say("lobby", "everybody hears this").await;
    let all_came = || (sums(&ops).came >= BOTS as u64).then_some(());
    eventually(all_came, || format!("{:?}", sums(&ops))).await;
    ward.cure("trap");
    let is_calm =
        || host.host().alerts().active().iter().all(|alert| !alert.key.starts_with("bot-degraded")).then_some(());
    eventually(is_calm, || format!("{:?}", host.host().alerts().active().len())).await;
    // The worst comes first: with it everything is told that waited.
    host.host().alerts().raise_host(LAST, Severity::Critical, "the last", Vec::new(), Timestamp::now());
    told_when(&ops, LAST, &["fired"]).await;
    let (sums, elapsed) = (sums(&ops), began.elapsed());
    // A burst of three, and one every five seconds.
    assert!(sums.notices <= 3 + elapsed.as_secs() / 5 + 1, "{sums:?} within {elapsed:?}");
    assert!(sums.entries_most <= 10, "{sums:?}");
    assert!((1..=sums.came).contains(&sums.went), "one recovery each at most: {sums:?}");
    tell(&sums, elapsed);
}

#[expect(clippy::print_stdout, reason = "the measured number is what is wanted of the test")]
fn tell(sums: &Sums, elapsed: std::time::Duration) {
    println!("{} notices of {BOTS} bots that failed and came back within {elapsed:.1?}: {sums:?}", sums.notices);
}
