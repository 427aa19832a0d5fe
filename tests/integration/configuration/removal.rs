//! Edits that would take most of a host away: they wait, are undone without harm, and count at once at a word.

use harness::telegram::{FakeTelegram, Fault};
use serde_json::json;

use super::lab::{HOST, Lab, TOKEN, answered, echo, telegram, texts_since};

const HELD: &str = "mass-removal";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f052_a_file_that_is_empty_for_a_moment_costs_no_event_and_no_send() {
    let fake = FakeTelegram::start(TOKEN).await;
    let good = format!("{HOST}{}", telegram("tg", &fake, TOKEN));
    let mut lab = Lab::start(&good, &[("echo.wasm", &echo())]).await;
    assert_eq!(answered(&fake, "!echo before").await, "before");
    let (generation, calls) = (lab.generation(), fake.calls_of("getMe").len());
    // One send waits in the outbox while it happens.
    fake.fail_next("sendMessage", Fault::RateLimited(json!(1)));
    fake.push_message(7, "!echo in the outbox");
    lab.get_when("/api/v1/outbox", |sends| sends.as_array().is_some_and(|sends| !sends.is_empty())).await;

    std::fs::write(lab.path("config.toml"), "").unwrap();
    let summary = lab.alert_says(HELD, "the configuration file is empty").await;
    assert!(summary.contains("`host reload`"), "{summary}");
    assert!(lab.degraded().contains(&summary), "{:?}", lab.degraded());
    fake.push_message(7, "!echo meanwhile");
    assert_eq!(texts_since(&fake, 1, 2).await, ["in the outbox", "meanwhile"]);

    lab.save(&good);
    lab.alert_ends(HELD).await;
    assert_eq!(answered(&fake, "!echo after").await, "after");
    lab.connector_when("tg", |tg| tg["link"] == "connected" && tg["connections"] == 1).await;
    assert_eq!(fake.calls_of("getMe").len(), calls, "the connector went on");
    lab.told(&["reload"]).await;
    assert_eq!(lab.generation(), generation, "what never counted is no generation");
    assert!(lab.get("/api/v1/dead-letters").as_array().unwrap().is_empty());
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f052_an_empty_file_that_is_broken_next_is_held_for_broken_and_not_for_empty() {
    let fake = FakeTelegram::start(TOKEN).await;
    let good = format!("{HOST}{}", telegram("tg", &fake, TOKEN));
    let mut lab = Lab::start(&good, &[("echo.wasm", &echo())]).await;
    std::fs::write(lab.path("config.toml"), "").unwrap();
    lab.alert_says(HELD, "the configuration file is empty").await;
    lab.save("[limits");
    lab.alert_says("configuration-rejected", "config.toml:1:").await;
    lab.alert_ends(HELD).await;
    lab.save(&good);
    lab.alert_ends("configuration-rejected").await;
    assert_eq!(answered(&fake, "!echo after").await, "after");
    lab.stop().await;
}

/// A configuration with these bots, which share one component.
fn with_bots(names: &[&str]) -> String {
    names.iter().fold(HOST.to_owned(), |text, name| format!("{text}[bots.{name}]\ncomponent = \"echo.wasm\"\n"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f052_an_edit_that_removes_most_bots_waits_for_a_word_and_then_counts_at_once() {
    let all = ["a", "b", "c", "d"];
    let mut lab = Lab::new(&with_bots(&all), &[("echo.wasm", &echo())]);
    lab.resume(&all, &[]).await;
    let before = lab.bots();
    assert_eq!(before, all);

    lab.save(&with_bots(&["a", "b"]));
    lab.recorded("\"generation\":2").await;
    assert_eq!((lab.bots(), lab.alert(HELD)), (vec!["a".to_owned(), "b".to_owned()], None), "half of them may go");

    lab.save(&with_bots(&all));
    for bot in all {
        lab.serves(bot).await;
    }
    let generation = lab.recorded("\"d\"").await;
    lab.save(&with_bots(&["a"]));
    lab.alert_says(HELD, "removes 3 of 4 bots and connectors").await;
    assert_eq!((lab.bots(), lab.generation()), (all.map(str::to_owned).to_vec(), generation));
    for bot in all {
        lab.serves(bot).await;
    }

    let said = lab.told(&["reload"]).await;
    for gone in ["b", "c", "d"] {
        assert!(said.lines().any(|line| line.contains(&format!("bot {gone}")) && line.contains("removed")), "{said}");
    }
    assert_eq!((lab.bots(), lab.alert(HELD)), (vec!["a".to_owned()], None));
    assert_eq!(lab.generation(), generation + 1);
    lab.stop().await;
}
