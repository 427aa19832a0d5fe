//! Channels, rules and probes that are added, changed and taken away while the host runs, and edits of them that are no good.

use harness::guests;
use harness::host::{Home, TestHost, eventually};
use harness::receiver::{Answer, Receiver};

use super::{DEEP, PROGRAM, QUICK, listed, rounds, run, told_when, turns, webhook};

async fn host_with(config: &str) -> TestHost {
    let host = Home::new(PROGRAM, &format!("{QUICK}{config}")).with("tick.wasm", &guests::guest("tick")).start().await;
    host.serving("tick").await;
    host
}

/// Waits until the alert of a key is up, or is not.
async fn is_up(host: &TestHost, key: &str, is_up: bool) -> String {
    let found = || host.host().alerts().active().into_iter().find(|alert| alert.key == key);
    let summary = || Some(found().map(|alert| alert.summary)).filter(|found| found.is_some() == is_up);
    eventually(summary, || format!("{key}: {:?}", host.host().alerts().active())).await.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_is_added_or_changed_is_told_what_is_up_and_one_that_is_gone_nothing() {
    let (one, two) = (Receiver::start().await, Receiver::start().await);
    let host = host_with(DEEP).await;
    host.ask("lobby", "!gauge depth 11").await;
    is_up(&host, "deep:tick", true).await;
    host.configure(&format!("{QUICK}{DEEP}{}", webhook("ops", &one)));
    told_when(&one, "deep:tick", &["fired"]).await;
    host.configure(&format!("{QUICK}{DEEP}{}", webhook("ops", &two)));
    told_when(&two, "deep:tick", &["fired"]).await;
    host.configure(&format!("{QUICK}{DEEP}"));
    eventually(|| (host.metric("bothost_notice_sent_total") == 0.0).then_some(()), || "it is still counted".into())
        .await;
    host.ask("lobby", "!gauge depth 1").await;
    is_up(&host, "deep:tick", false).await;
    rounds(&host, 3).await;
    assert_eq!((turns(&one, "deep:tick").len(), turns(&two, "deep:tick").len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_is_changed_or_gone_is_looked_at_anew() {
    let ops = Receiver::start().await;
    let config = |rule: &str| format!("{QUICK}{rule}{}", webhook("ops", &ops));
    let host = Home::new(PROGRAM, &config(DEEP)).with("tick.wasm", &guests::guest("tick")).start().await;
    host.serving("tick").await;
    host.ask("lobby", "!gauge depth 11").await;
    told_when(&ops, "deep:tick", &["fired"]).await;
    host.configure(&config(&DEEP.replace("= 10", "= 20")));
    told_when(&ops, "deep:tick", &["fired", "resolved"]).await;
    host.configure(&config(&DEEP.replace("= 10", "= 5")));
    told_when(&ops, "deep:tick", &["fired", "resolved", "fired"]).await;
    host.configure(&config(""));
    told_when(&ops, "deep:tick", &["fired", "resolved", "fired", "resolved"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_that_is_gone_leaves_neither_series_nor_alert() {
    let ops = Receiver::start().await;
    let rule = "[alerts.rules.probe-down]\nfor = \"0s\"\n";
    let host = host_with(&format!("{rule}{}", webhook("ops", &ops))).await;
    let probe = "[vitals.probes.db]\ntcp = \"127.0.0.1:1\"\nevery = \"1s\"\ntimeout = \"1s\"\n";
    host.configure(&format!("{QUICK}{probe}{rule}{}", webhook("ops", &ops)));
    told_when(&ops, "probe-down:db", &["fired"]).await;
    let is_there = || host.host().metrics().render().contains("probe=\"db\"");
    assert!(is_there());
    host.configure(&format!("{QUICK}{rule}{}", webhook("ops", &ops)));
    eventually(|| (!is_there()).then_some(()), || host.host().metrics().render()).await;
    told_when(&ops, "probe-down:db", &["fired", "resolved"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_that_is_no_good_is_rejected_with_its_place_and_the_nearest_name() {
    let ops = Receiver::start().await;
    let good = format!("{QUICK}{DEEP}{}", webhook("ops", &ops));
    let host = Home::new(PROGRAM, &good).with("tick.wasm", &guests::guest("tick")).start().await;
    host.serving("tick").await;
    for (bad, what) in [
        (
            good.replace("cooldown = \"0s\"", "actions = [\"notify:opps\"]"),
            "there is no channel `opps`; did you mean `ops`?",
        ),
        (good.replace("threshold = 10", "treshold = 10"), "did you mean `threshold`?"),
        (
            good.replace("[alerts.rules.deep]", "[alerts.rules.queue-fulll]").replace("op = \">\"\n", ""),
            "did you mean `queue-full`?",
        ),
        (good.replace("bothost_guest_depth", "rate(depth"), "metric"),
        (good.replace("\"webhook\"", "\"webhok\""), "did you mean `webhook`?"),
    ] {
        assert_ne!(bad, good);
        host.configure(&bad);
        let key = "configuration-rejected";
        let summary = || listed_summary(&host, key).filter(|summary| summary.contains(what));
        let said = eventually(summary, || format!("{what}: {:?}", host.host().alerts().active())).await;
        assert!(said.contains("config.toml:"), "{said}");
        let checked = run(host.home(), "check config.toml").await;
        assert!(checked.code == Some(64) && checked.said.contains(what), "{checked:?}");
        assert!(checked.said.contains("config.toml:"), "{checked:?}");
    }
    host.configure(&good);
    is_up(&host, "configuration-rejected", false).await;
    host.ask("lobby", "!gauge depth 11").await;
    told_when(&ops, "deep:tick", &["fired"]).await;
}

fn listed_summary(host: &TestHost, key: &str) -> Option<String> {
    host.host().alerts().active().into_iter().find(|alert| alert.key == key).map(|alert| alert.summary)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_least_channel_can_be_tried_and_says_why_it_fails_without_its_secret() {
    let ops = Receiver::start().await;
    let url = ops.url("/hook/s3cret-path");
    let host = host_with(&format!("[alerts.channels.ops]\ntype = \"webhook\"\nurl = \"{url}\"\n")).await;
    let tried = run(host.home(), "alerts test ops").await;
    assert!(tried.code == Some(0) && tried.said.contains("ops took the test notice"), "{tried:?}");
    let notice = crate::notices::parsed(&ops.wait(1, harness::host::PATIENCE).await[0].body);
    assert_eq!(notice["test"], true);
    ops.then([Answer::status(410, "gone: /hook/s3cret-path")]);
    let refused = run(host.home(), "alerts test ops").await;
    assert!(refused.code == Some(75) && refused.said.contains("HTTP 410: gone"), "{refused:?}");
    assert!(!refused.said.contains("s3cret"), "{refused:?}");
    let unknown = run(host.home(), "alerts test opps").await;
    assert!(unknown.code == Some(1) && unknown.said.contains("did you mean `ops`?"), "{unknown:?}");
    let other = run(host.home(), "alerts test something-else").await;
    assert!(other.code == Some(1) && other.said.contains("[alerts.channels.something-else]"), "{other:?}");
    assert_eq!(listed(host.home(), "channel-failing:ops").await, None, "a test is no alert");
}
