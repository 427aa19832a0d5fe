//! Drop a component into the directory and it is live; overwrite it and it is swapped; and whatever else happens to files.

use bothost::bot::phase::Phase;
use harness::guests;
use harness::host::{Home, eventually, put};

const COMPILER: &str = env!("CARGO_BIN_EXE_host");

/// Returns the component with a custom section at its end: other bytes, the same bot.
fn other_bytes(mut component: Vec<u8>, tag: u8) -> Vec<u8> {
    component.extend([0, 3, 1, b'x', tag]);
    component
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_component_is_live_and_a_deleted_one_is_gone() {
    let host = Home::new(COMPILER, "").start().await;
    assert!(host.host().bots().entries().is_empty(), "an empty directory is a host that waits");
    host.put("echo.wasm", &guests::example("echo"));
    host.serving("echo").await;
    assert_eq!(host.ask("lobby", "!echo hi").await, "hi");

    std::fs::remove_file(host.bots().join("echo.wasm")).unwrap();
    eventually(|| host.bot("echo").is_none().then_some(()), || "echo is still there".into()).await;
    host.say("lobby", "!echo nobody hears this").await;
    host.put("echo.wasm", &guests::example("echo"));
    host.serving("echo").await;
    assert_eq!(host.ask("lobby", "!echo back").await, "back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overwritten_component_takes_over_and_no_message_is_lost() {
    let host = Home::new(COMPILER, "").with("bot.wasm", &guests::example("echo")).start().await;
    let first = host.serving("bot").await.component;
    let before = host.chat.delivered_count();
    let mut expected = Vec::new();
    for round in 0..5u8 {
        host.put("bot.wasm", &other_bytes(guests::example("echo"), round));
        for number in 0..20 {
            let text = format!("{round}-{number}");
            host.say("lobby", &format!("!echo {text}")).await;
            expected.push(text);
        }
    }
    let answers = host.answers_since(before, expected.len() as u64).await;
    assert_eq!(answers, expected, "every message was answered, once, in order");
    let last = bothost::id::ContentHash::of(&other_bytes(guests::example("echo"), 4));
    let status = host.bot_when("bot", |status| status.component == Some(last)).await;
    assert_ne!(status.component, first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_bot_keeps_survives_a_swap_and_a_restart() {
    let host = Home::new(COMPILER, "").with("echo.wasm", &guests::example("echo")).start().await;
    host.serving("echo").await;
    assert_eq!(host.ask("lobby", "!count").await, "1");
    let next = bothost::id::ContentHash::of(&other_bytes(guests::example("echo"), 1));
    host.put("echo.wasm", &other_bytes(guests::example("echo"), 1));
    host.bot_when("echo", |status| status.component == Some(next)).await;
    assert_eq!(host.ask("lobby", "!count").await, "2");

    let (drained, home) = host.stop(COMPILER, "").await;
    assert_eq!(drained, bothost::host::Drained::default());
    let host = home.start().await;
    host.serving("echo").await;
    assert_eq!(host.ask("lobby", "!count").await, "3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f039_a_half_written_file_never_replaces_the_good_one() {
    let host = Home::new(COMPILER, "").with("echo.wasm", &guests::example("echo")).start().await;
    let good = host.serving("echo").await.component;
    let next = other_bytes(guests::example("echo"), 9);
    std::fs::write(host.bots().join("echo.wasm"), &next[..next.len() / 2]).unwrap();
    let refused = host.bot_when("echo", |status| status.refused.is_some()).await;
    assert_eq!((refused.component, &refused.phase), (good, &Phase::Running), "the good one goes on serving");
    assert_eq!(host.ask("lobby", "!echo still here").await, "still here");
    std::fs::write(host.bots().join("echo.wasm"), &next).unwrap();
    let status = host.serving("echo").await;
    assert_eq!(status.component, Some(bothost::id::ContentHash::of(&next)), "whole, it takes over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f036_a_version_whose_init_fails_never_gets_a_message() {
    let host = Home::new(COMPILER, "[limits]\nfuel_per_event = 100_000_000\n")
        .with("bot.wasm", &guests::example("echo"))
        .start()
        .await;
    let good = host.serving("bot").await.component;
    host.put("bot.wasm", &guests::guest("spin_init"));
    let status = host.bot_when("bot", |status| status.refused.is_some()).await;
    assert_eq!((status.component, status.phase), (good, Phase::Running));
    assert!(status.refused.is_some_and(|why| why.contains("`init` failed")));
    assert_eq!(host.ask("lobby", "!echo old").await, "old");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f043_a_directory_that_goes_and_comes_back_takes_no_bot_down() {
    let host = Home::new(COMPILER, "").with("echo.wasm", &guests::example("echo")).start().await;
    host.serving("echo").await;
    let bots = host.bots();
    std::fs::rename(&bots, host.home().join("away")).unwrap();
    assert_eq!(host.ask("lobby", "!echo without a file").await, "without a file");
    std::fs::create_dir(&bots).unwrap();
    put(&bots, "echo.wasm", &guests::example("echo"));
    put(&bots, "second.wasm", &guests::guest("counter"));
    host.serving("second").await;
    assert_eq!(host.ask("lobby", "!echo and back").await, "and back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f044_fifty_components_at_once_are_all_live() {
    let host = Home::new(COMPILER, "").start().await;
    let echo = guests::example("echo");
    for number in 0..50 {
        host.put(&format!("bot-{number}.wasm"), &echo);
    }
    for number in 0..50 {
        host.serving(&format!("bot-{number}")).await;
    }
    let before = host.chat.delivered_count();
    host.say("lobby", "!ping").await;
    assert_eq!(host.answers_since(before, 50).await, vec!["pong"; 50]);
    assert_eq!(host.metric("bothost_component_load_seconds_count{source=\"compiled\"}"), 1.0, "compiled once for all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_beside_the_component_changes_that_bot_and_no_other() {
    let host = Home::new(COMPILER, "")
        .with("tick.wasm", &guests::guest("tick"))
        .with("tick.toml", b"settings = { greeting = \"hello\" }")
        .with("echo.wasm", &guests::example("echo"))
        .start()
        .await;
    host.serving("tick").await;
    let echo = host.serving("echo").await;
    assert!(host.ask("lobby", "!setting greeting").await.contains("hello"));
    host.put("tick.toml", b"settings = { greeting = \"good day\" }");
    let mut answer = String::new();
    while !answer.contains("good day") {
        answer = host.ask("lobby", "!setting greeting").await;
    }
    assert_eq!(host.bot("echo").unwrap().since, echo.since, "the other bot was not touched");

    host.put("tick.toml", b"enabled = false");
    host.bot_when("tick", |status| status.phase == Phase::Disabled).await;
    host.put("tick.toml", b"enabled = tru");
    let reason = host.bot_when("tick", |status| status.phase.detail().is_some()).await;
    assert!(reason.phase.detail().unwrap().contains("tick.toml:1:"), "{reason:?}");
    assert_eq!(host.ask("lobby", "!echo unmoved").await, "unmoved");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_bots_share_one_component_and_nothing_else() {
    let entry = b"component = \"shared.wasm\"";
    let host = Home::new(COMPILER, "")
        .with("shared.wasm", &guests::guest("counter"))
        .with("one.toml", entry)
        .with("two.toml", entry)
        .start()
        .await;
    host.serving("one").await;
    host.serving("two").await;
    assert!(host.bot("shared").is_none(), "a component that entries name is no bot of its own");
    let before = host.chat.delivered_count();
    host.say("lobby", "!state").await;
    host.say("lobby", "!state").await;
    let mut answers = host.answers_since(before, 4).await;
    answers.sort();
    assert_eq!(answers, ["1", "1", "2", "2"], "each counts for itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_side_by_side_that_change_one_key_all_count() {
    let host = Home::new(COMPILER, "").with("counter.wasm", &guests::guest("counter")).start().await;
    host.serving("counter").await;
    let before = host.chat.delivered_count();
    let says = (0..40).map(|number| {
        let host = &host;
        async move { host.say(&format!("room-{number}"), "!state").await }
    });
    futures_util::future::join_all(says).await;
    let mut answers: Vec<u32> = host.answers_since(before, 40).await.iter().map(|text| text.parse().unwrap()).collect();
    answers.sort_unstable();
    assert_eq!(answers, (1..=40).collect::<Vec<_>>(), "read and written side by side, and none was lost");
}
