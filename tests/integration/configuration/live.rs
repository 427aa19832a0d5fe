//! Edits that count while the host runs: what they change changes at once, and nothing else is disturbed.

use std::net::TcpStream;

use harness::guests;
use harness::host::eventually;
use harness::telegram::FakeTelegram;
use serde_json::Value;

use super::lab::{HOST, Lab, TOKEN, answered, echo, exchange, free_address, telegram, texts_since};

/// What a fake knows its bot by after it was given another token.
const NEXT_TOKEN: &str = "999:revoked";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_bot_whose_entry_changed_is_started_again() {
    let fake = FakeTelegram::start(TOKEN).await;
    let config = format!("{HOST}{}", telegram("tg", &fake, TOKEN));
    let warm = b"limits = { instance = \"warm\" }\n";
    let bots: [(&str, &[u8]); 4] = [
        ("counter.wasm", &guests::guest("counter")),
        ("counter.toml", warm),
        ("tick.wasm", &guests::guest("tick")),
        ("tick.toml", b"settings = { greeting = \"hello\" }\n"),
    ];
    let mut lab = Lab::start(&config, &bots).await;
    assert_eq!(answered(&fake, "!memory").await, "1");
    assert!(answered(&fake, "!setting greeting").await.contains("hello"));
    let (counter, tick) = (lab.bot("counter")["since"].clone(), lab.bot("tick")["since"].clone());

    lab.told(&["config", "set", "bots.tick.settings.greeting", "good day"]).await;
    assert!(answered(&fake, "!setting greeting").await.contains("good day"));
    assert_ne!(lab.bot("tick")["since"], tick);
    lab.told(&["config", "set", "queue.max_attempts", "5"]).await;
    lab.told(&["config", "set", "connectors.tg.poll_timeout", "2s"]).await;
    assert_eq!(lab.bot("counter")["since"], counter);
    assert_eq!(answered(&fake, "!memory").await, "2", "its instance is the one of before");

    // What holds for all bots starts all of them.
    lab.told(&["config", "set", "limits.memory", "32MiB"]).await;
    assert_eq!(answered(&fake, "!memory").await, "1");
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_limit_and_a_changed_number_of_attempts_hold_for_the_next_message() {
    let fake = FakeTelegram::start(TOKEN).await;
    let config = format!("{HOST}{}", telegram("tg", &fake, TOKEN));
    let bots: [(&str, &[u8]); 2] =
        [("many.wasm", &guests::guest("many_replies")), ("fail.wasm", &guests::guest("fail"))];
    let mut lab = Lab::start(&config, &bots).await;
    for (count, attempts) in [(1, 1), (2, 2)] {
        lab.told(&["config", "set", "queue.max_attempts", &attempts.to_string()]).await;
        fake.push_message(7, "!fail");
        let is_there = |letters: &Value| letters.as_array().is_some_and(|letters| letters.len() == count);
        assert_eq!(lab.get_when("/api/v1/dead-letters", is_there).await[0]["attempts"], attempts);
    }
    fake.push_message(7, "!many 3");
    assert_eq!(texts_since(&fake, 0, 3).await, ["reply 0", "reply 1", "reply 2"]);
    lab.told(&["config", "set", "limits.sends_per_minute", "2"]).await;
    fake.push_message(7, "!many 3");
    let is_short = |faults: &Value| faults[0].to_string().contains("quota exceeded: limits.sends_per_minute");
    lab.get_when("/api/v1/faults?bot=many", is_short).await;
    assert_eq!(fake.sent_len(), 3);
    // A version on trial gives nothing up: what failed for want of room is tried again, and goes well.
    lab.told(&["config", "unset", "limits.sends_per_minute"]).await;
    texts_since(&fake, 3, 3).await;
    assert_eq!(lab.alert("needs-restart"), None);
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connector_that_is_changed_added_or_removed_disturbs_no_other() {
    let (one, two) = (FakeTelegram::start(TOKEN).await, FakeTelegram::start("43:CANARY-two").await);
    let three = FakeTelegram::start("44:CANARY-three").await;
    let config = |token| format!("{HOST}{}{}", telegram("one", &one, TOKEN), telegram("two", &two, token));
    let mut lab = Lab::start(&config("43:CANARY-two"), &[("echo.wasm", &echo())]).await;
    assert_eq!(answered(&one, "!echo 1").await, "1");
    assert_eq!(answered(&two, "!echo 2").await, "2");
    let calls = one.calls_of("getMe").len();
    let bot = lab.bot("echo")["since"].clone();

    two.revoke_token();
    lab.connector_when("two", |two| two["link"] == "auth-failed").await;
    lab.save(&config(NEXT_TOKEN));
    lab.connector_when("two", |two| two["link"] == "connected").await;
    assert_eq!(answered(&two, "!echo with another token").await, "with another token");

    let with_three = format!("{}{}", config(NEXT_TOKEN), telegram("three", &three, "44:CANARY-three"));
    lab.save(&with_three);
    assert_eq!(answered(&three, "!echo 3").await, "3");
    lab.recorded("connectors.three").await;
    lab.save(&config(NEXT_TOKEN));
    let is_gone = |all: &Value| all.as_array().is_some_and(|all| all.iter().all(|one| one["name"] != "three"));
    lab.get_when("/api/v1/connectors", is_gone).await;
    three.deserted().await;

    assert_eq!(answered(&one, "!echo unmoved").await, "unmoved");
    assert_eq!(answered(&two, "!echo unmoved").await, "unmoved");
    assert_eq!(one.calls_of("getMe").len(), calls, "the first was never connected again");
    lab.connector_when("one", |one| one["connections"] == 1).await;
    assert_eq!(lab.bot("echo")["since"], bot, "no bot was started again");
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f063_the_only_connector_s_token_is_refused_and_the_host_waits_for_another() {
    let fake = FakeTelegram::start(TOKEN).await;
    let mut lab = Lab::start(&format!("{HOST}{}", telegram("tg", &fake, TOKEN)), &[("echo.wasm", &echo())]).await;
    assert_eq!(answered(&fake, "!echo before").await, "before");
    fake.revoke_token();
    lab.connector_when("tg", |tg| tg["link"] == "auth-failed").await;
    fake.push_message(7, "!echo kept at the platform");
    lab.told(&["config", "set", "connectors.tg.token", NEXT_TOKEN]).await;
    assert_eq!(texts_since(&fake, 1, 1).await, ["kept at the platform"]);
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_worth_a_line_changes_with_the_next_line() {
    let mut lab = Lab::start(HOST, &[]).await;
    let set = |level| ["config", "set", "logs.level", level, "--author", level];
    lab.told(&set("warn")).await;
    let mut quiet = Vec::new();
    for number in 0..3 {
        quiet.push(format!("quiet-{number}"));
        lab.told(&["config", "set", "queue.max_events", &(100 + number).to_string(), "--author", &quiet[number]]).await;
    }
    lab.told(&set("info")).await;
    lab.told(&["config", "set", "queue.max_events", "200", "--author", "loud"]).await;
    let process = lab.process();
    eventually(|| process.said().contains("loud").then_some(()), || process.said()).await;
    // The log's filter is set a moment after the edit that asks for it is answered.
    let said = lab.stop().await;
    assert!(!said.contains(&quiet[2]), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_admin_token_locks_the_old_one_out() {
    let address = free_address();
    let config = |token: &str| format!("{HOST}[admin]\nlisten = \"{address}\"\ntoken = \"{token}\"\n");
    let mut lab = Lab::start(&config("CANARY-old"), &[]).await;
    let status = |token: &str| {
        let stream = TcpStream::connect(&address).unwrap();
        let header = format!("Authorization: Bearer {token}");
        exchange(stream, "GET /api/v1/bots", &[&header], "").unwrap().status
    };
    assert_eq!((status("CANARY-old"), status("CANARY-new")), (200, 401));
    lab.save(&config("CANARY-new"));
    // Asked with the one that is good as yet: who guesses is locked out.
    eventually(|| (status("CANARY-old") == 401).then_some(()), || "the old token lets in".to_owned()).await;
    assert_eq!(status("CANARY-new"), 200);
    assert_eq!(lab.alert("needs-restart"), None);
    lab.stop().await;
}
