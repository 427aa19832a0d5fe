//! The operator's verbs on the bots of a host that runs, by the command line: what they do, what they say, and their exit codes.

use std::time::Instant;

use bothost::bot::phase::Phase;
use harness::guests;
use harness::host::{Home, PATIENCE, TestHost, eventually};

use super::{PROGRAM, hash, other_bytes, run, told};

async fn with_echo() -> TestHost {
    let host = Home::new(PROGRAM, "").with("bot.wasm", &guests::example("echo")).start().await;
    host.serving("bot").await;
    host
}

/// Asks what happened to the bot until it is told: it is written down a moment later.
async fn until_told(host: &TestHost, kind: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = run(host.home(), "faults bot").await.well(&[]);
        if said.contains(kind) {
            return;
        }
        assert!(Instant::now() < deadline, "{kind} is not told:\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_tells_each_step_and_ends_once_everything_serves() {
    let host = with_echo().await;
    run(host.home(), "reload").await.well(&["there was nothing to do: generation 1 is in force"]);

    let next = other_bytes(guests::example("echo"), 1);
    host.put("bot.wasm", &next);
    host.put("second.wasm", &guests::guest("counter"));
    let said = run(host.home(), "reload").await.well(&[
        "bot second",
        "compiled",
        "validated",
        "serving",
        "generation 2 is in force",
    ]);
    let status = [host.bot("bot"), host.bot("second")].map(Option::unwrap);
    assert!(status.iter().all(|bot| bot.phase.is_serving()), "when it ends they serve: {status:?}\n{said}");
    assert_eq!(status[0].component, hash(&next));

    std::fs::remove_file(host.bots().join("second.wasm")).unwrap();
    run(host.home(), "reload").await.well(&["bot second", "removed", "generation 3 is in force"]);
    assert!(host.bot("second").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_tells_every_step_of_a_new_version_whoever_saw_it_first() {
    let host = with_echo().await;
    for round in 0..5u8 {
        let next = other_bytes(guests::example("echo"), round);
        let digits = hash(&next).unwrap().to_string();
        host.put("bot.wasm", &next);
        // Whether the watcher or the operator is first is chance.
        let steps = ["bot bot", "compiled", "validated", "serving", &digits, "echo 0.1.0", " ms", "is in force"];
        let said = run(host.home(), "reload").await.well(&steps);
        assert_eq!(host.bot("bot").unwrap().component, hash(&next), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_ends_badly_where_a_bot_or_the_configuration_is_refused() {
    let host = with_echo().await;
    host.put("bot.wasm", b"no component");
    let refused = run(host.home(), "reload --dry-run").await;
    assert_eq!(refused.code, Some(1), "as the reload itself would end: {refused:?}");
    refused.says(&["bot bot", "would be refused", "it is not WebAssembly", "nothing was changed"]);
    host.put("new.wasm", b"no component either");
    let refused = run(host.home(), "reload").await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert_eq!(host.ask("lobby", "!echo on").await, "on");
    assert!(host.bot("bot").unwrap().refused.is_some(), "{refused:?}");

    host.configure("[limits]\nmemry = \"1MiB\"\n");
    for verb in ["reload --dry-run", "reload"] {
        let rejected = run(host.home(), verb).await;
        assert_eq!(rejected.code, Some(64), "{verb}: {rejected:?}");
        rejected.says(&["unknown key `memry`", "the configuration was rejected; generation 1 stays in force"]);
    }
    run(host.home(), "ps").await.well(&["bot", "running"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_tells_what_would_be_and_changes_nothing() {
    let host = with_echo().await;
    run(host.home(), "reload --dry-run").await.well(&[
        "bot bot",
        "serves already",
        "nothing was changed: generation 1",
    ]);
    let before = host.bot("bot");
    let entries = [("memory = \"16MiB\"", "would be started"), ("memory = \"16MB of nothing\"", "would be refused")];
    for (limit, expected) in entries {
        let file = host.bots().join("bot.toml");
        std::fs::write(&file, format!("enabled = true\nlimits = {{ {limit} }}")).unwrap();
        let told = run(host.home(), "reload --dry-run").await;
        std::fs::remove_file(&file).unwrap();
        if told.said.contains(expected) {
            continue;
        }
        panic!("{limit}: {told:?}");
    }
    assert_eq!(before.map(|bot| bot.component), host.bot("bot").map(|bot| bot.component));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_is_stopped_started_and_restarted_and_its_events_wait_meanwhile() {
    let host = with_echo().await;
    run(host.home(), "stop bot").await.well(&["bot bot: stop"]);
    host.bot_when("bot", |bot| matches!(bot.phase, Phase::Stopped { .. })).await;
    host.say("lobby", "!echo one").await;
    host.say("lobby", "!echo two").await;
    host.bot_when("bot", |bot| bot.queued == 2).await;
    run(host.home(), "ps").await.well(&["bot", "stopped", "stopped by the operator"]);
    run(host.home(), "describe bot").await.well(&["stopped since", "stopped by the operator", "2 waiting"]);
    // A new version does not start what the operator has stopped.
    let next = other_bytes(guests::example("echo"), 1);
    host.put("bot.wasm", &next);
    run(host.home(), "reload").await;
    assert_eq!(host.bot("bot").unwrap().phase.as_str(), "stopped");
    run(host.home(), "start bot").await.well(&["bot bot: start"]);
    assert_eq!(told(&host, 2).await["lobby"], ["one", "two"]);
    let status = host.serving("bot").await;
    assert_eq!((status.component, status.restarts), (hash(&next), 0));

    let starts = host.metric("bothost_attempt_ended_total");
    run(host.home(), "restart bot").await.well(&["bot bot: restart"]);
    until_told(&host, "restarted").await;
    assert_eq!(host.ask("lobby", "!echo three").await, "three");
    assert!(host.metric("bothost_attempt_ended_total") >= starts);
    run(host.home(), "reset bot").await.well(&["bot is reset"]);
    until_told(&host, "reset").await;
    run(host.home(), "faults bot").await.well(&["started", "stopped", "by the operator", "restarted", "reset"]);
    eventually(|| host.bot("bot").filter(|bot| bot.phase.is_serving()), || format!("{:?}", host.bot("bot"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_to_a_bot_is_told() {
    let host = Home::new(PROGRAM, "[queue]\nmax_attempts = 1\n").with("bot.wasm", &guests::guest("trap")).start().await;
    host.serving("bot").await;
    host.say("lobby", "!trap").await;
    host.bot_when("bot", |bot| bot.faults == 1).await;
    let digits = hash(&guests::guest("trap")).unwrap().to_string();
    let expected = ["trapped", "dead-letter", &digits[..12], "unreachable", "started"];
    until_told(&host, "trapped").await;
    run(host.home(), "faults").await.well(&expected);
    run(host.home(), "describe bot").await.well(&["running", &digits, "0 handled, 0 waiting", "faults        1"]);
    run(host.home(), "faults bot --limit 1").await.well(&["these are the latest 1; there may be more"]);
    run(host.home(), "faults other").await.well(&["nothing is known to have happened"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_done_is_said_with_its_exit_code() {
    let host = Home::new(PROGRAM, "")
        .with("bot.wasm", &guests::example("echo"))
        .with("off.wasm", &guests::example("echo"))
        .with("off.toml", b"enabled = false")
        .with("bad.wasm", b"no component")
        .start()
        .await;
    host.serving("bot").await;
    host.rejected("bad").await;
    for verb in ["stop", "start", "restart", "reset", "describe"] {
        let refused = run(host.home(), &format!("{verb} nobody")).await;
        assert_eq!(refused.code, Some(1), "{verb}: {refused:?}");
        refused.says(&["there is no bot `nobody`"]);
    }
    for (arguments, why) in [
        ("start off", "`host enable` it"),
        ("restart off", "`host enable` it"),
        ("start bad", "it has no version that could serve"),
        ("restart bad", "it is not WebAssembly"),
    ] {
        let refused = run(host.home(), arguments).await;
        assert_eq!(refused.code, Some(1), "{arguments}: {refused:?}");
        refused.says(&[why]);
    }
    run(host.home(), "start bot").await.well(&["bot bot: start, now running"]);
    run(host.home(), "describe bad").await.well(&["rejected since", "it is not WebAssembly", "none serves"]);
    assert_eq!(run(host.home(), "stop no/such.toml").await.code, Some(64));
    assert_eq!(host.ask("lobby", "!echo undisturbed").await, "undisturbed");
}
