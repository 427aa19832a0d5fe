//! Bots that go on failing, or end by themselves: what they are held against, how they come back, and when they are given up. Their
//! events wait meanwhile, and other bots go on.

use bothost::bot::phase::Phase;
use harness::guests;
use harness::host::{Home, TestHost, eventually};
use serde_json::json;

use super::{PROGRAM, Ward, alerted, assert_no_dead_letter, calm, get, run, told};

/// Small numbers, and more attempts at an event than there are probes.
const CONFIG: &str = r#"
[queue]
max_attempts = 100
[supervisor]
max_restarts = 3
backoff_initial = "20ms"
backoff_max = "50ms"
[supervisor.breaker]
failures = 3
open_for = "100ms"
"#;

/// Starts a host with the guest `ill`, which is in a ward, and with one that is well.
async fn with_ill(config: &str, with: Option<&str>) -> (TestHost, Ward) {
    let home = Home::new(PROGRAM, config)
        .with("ill.wasm", &guests::guest("ill"))
        .with("ill.toml", Ward::GRANT.as_bytes())
        .with("echo.wasm", &guests::example("echo"));
    let ward = Ward::beside(home.path());
    with.into_iter().for_each(|with| ward.infect(with));
    let host = home.start().await;
    host.serving("echo").await;
    (host, ward)
}

async fn say_in_rooms(host: &TestHost, rooms: u32, text: &str) {
    for room in 0..rooms {
        host.say(&format!("room-{room}"), text).await;
    }
}

async fn incidents(host: &TestHost, bot: &str) -> Vec<String> {
    let list = get(host, &format!("/api/v1/faults?bot={bot}&limit=1000")).await;
    list.as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_that_fails_at_everything_is_left_alone_for_a_while_and_recovers_with_its_cause() {
    let config = CONFIG.replace("max_restarts = 3", "max_restarts = 1000");
    let (host, ward) = with_ill(&config, Some("trap")).await;
    host.serving("ill").await;
    say_in_rooms(&host, 3, "first").await;
    let degraded = host.bot_when("ill", |bot| matches!(bot.phase, Phase::Degraded { .. })).await;
    let Phase::Degraded { error, .. } = degraded.phase else { unreachable!() };
    assert!(error.contains("there is /ward/trap"), "{error}");
    assert!(alerted(&host, "bot-degraded:ill").await.contains("there is /ward/trap"));
    run(host.home(), "ps").await.well(&["ill", "degraded", "there is /ward/trap"]);

    // It is tried again and again, with one event at a time, and begins anew each time.
    host.bot_when("ill", |bot| bot.restarts >= 3).await;
    say_in_rooms(&host, 3, "second").await;
    let tried = host.bot("ill").unwrap();
    assert!(tried.restarts >= 3 && tried.faults >= 5, "{tried:?}");
    assert_eq!(host.chat.delivered_count(), 0);
    assert_eq!(host.ask("elsewhere", "!echo the other goes on").await, "the other goes on");
    assert_eq!(host.bot("echo").unwrap().restarts, 0);

    ward.cure("trap");
    let told = told(&host, 8).await;
    for room in 0..3 {
        assert_eq!(told[&format!("room-{room}")], ["first", "second"], "they waited, in order");
    }
    host.bot_when("ill", |bot| bot.phase == Phase::Running && bot.handled == 7).await;
    calm(&host, "bot-degraded:ill").await;
    assert_no_dead_letter(&host).await;
    let kinds = incidents(&host, "ill").await;
    assert!(
        ["panicked", "breaker-open", "restarted", "breaker-closed"]
            .iter()
            .all(|kind| kinds.iter().any(|one| one == kind)),
        "{kinds:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_that_does_not_recover_is_given_up_and_a_reset_brings_it_and_its_events_back() {
    let (host, ward) = with_ill(CONFIG, Some("trap")).await;
    host.serving("ill").await;
    say_in_rooms(&host, 4, "first").await;
    let given_up = host.bot_when("ill", |bot| matches!(bot.phase, Phase::Quarantined { .. })).await;
    let why = given_up.phase.detail().unwrap();
    assert!(why.contains("it was restarted 3 times within") && why.contains("there is /ward/trap"), "{why}");
    assert_eq!(given_up.restarts, 3);
    assert!(alerted(&host, "bot-quarantined:ill").await.contains("host reset"));
    calm(&host, "bot-degraded:ill").await;
    say_in_rooms(&host, 4, "second").await;
    assert_eq!(host.ask("elsewhere", "!echo the other goes on").await, "the other goes on");
    let waiting = host.bot_when("ill", |bot| bot.queued == 9 && bot.in_flight == 0).await;
    assert_eq!(waiting.since, given_up.since, "it stays given up, and what comes waits");
    assert_eq!(waiting.faults, given_up.faults);

    run(host.home(), "start ill").await.says(&["it is quarantined: `host reset` it"]);
    ward.cure("trap");
    run(host.home(), "reset ill").await.well(&["ill is reset"]);
    let told = told(&host, 10).await;
    for room in 0..4 {
        assert_eq!(told[&format!("room-{room}")], ["first", "second"]);
    }
    host.bot_when("ill", |bot| bot.phase == Phase::Running && bot.queued == 0).await;
    calm(&host, "bot-quarantined:ill").await;
    assert_no_dead_letter(&host).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quarantined_bot_comes_back_with_a_new_version_and_gets_what_waited() {
    let (host, _ward) = with_ill(CONFIG, Some("trap")).await;
    host.serving("ill").await;
    say_in_rooms(&host, 4, "first").await;
    host.bot_when("ill", |bot| matches!(bot.phase, Phase::Quarantined { .. })).await;
    host.put("ill.wasm", &guests::guest("ledger"));
    let told = told(&host, 4).await;
    assert!(told.values().all(|texts| *texts == ["first 1"]), "{told:?}");
    host.serving("ill").await;
    calm(&host, "bot-quarantined:ill").await;
    assert_no_dead_letter(&host).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_init_that_fails_is_tried_again_until_it_works_and_events_wait_for_it() {
    let config = CONFIG.replace("max_restarts = 3", "max_restarts = 1000");
    let (host, ward) = with_ill(&config, Some("init")).await;
    let failing = host.bot_when("ill", |bot| bot.restarts >= 3 && matches!(bot.phase, Phase::Backoff { .. })).await;
    assert!(failing.phase.detail().unwrap().contains("there is /ward/init"), "{failing:?}");
    assert!(alerted(&host, "bot-failing:ill").await.contains("there is /ward/init"));
    host.say("lobby", "I wait").await;
    assert_eq!(host.bot("ill").unwrap().handled, 0);
    ward.cure("init");
    assert_eq!(told(&host, 1).await["lobby"], ["I wait"]);
    let well = host.bot_when("ill", |bot| bot.phase == Phase::Running).await;
    assert!(well.restarts >= failing.restarts, "{well:?}");
    calm(&host, "bot-failing:ill").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_init_that_never_works_is_given_up() {
    let (host, ward) = with_ill(CONFIG, Some("init")).await;
    let given_up = host.bot_when("ill", |bot| matches!(bot.phase, Phase::Quarantined { .. })).await;
    assert!(given_up.phase.detail().unwrap().contains("there is /ward/init"), "{given_up:?}");
    host.say("lobby", "I wait").await;
    ward.cure("init");
    run(host.home(), "reset ill").await.well(&["ill is reset"]);
    assert_eq!(told(&host, 1).await["lobby"], ["I wait"]);
}

/// Starts a host with the guest `quit`, whose entry says when it is started again.
async fn with_quit(restart: &str) -> TestHost {
    let entry = format!("restart = \"{restart}\"");
    let home = Home::new(PROGRAM, &CONFIG.replace("max_attempts = 100", "max_attempts = 1"));
    let host = home.with("quit.wasm", &guests::guest("quit")).with("quit.toml", entry.as_bytes()).start().await;
    host.serving("quit").await;
    assert_eq!(host.ask("lobby", "!ping").await, "pong");
    host.say("lobby", "!quit").await;
    host
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_that_exits_is_left_down_until_it_is_started_unless_it_is_always_restarted() {
    for restart in ["on-failure", "never"] {
        let host = with_quit(restart).await;
        let stopped = host.bot_when("quit", |bot| matches!(bot.phase, Phase::Stopped { .. })).await;
        assert!(stopped.phase.detail().unwrap().contains("it called `exit`; `host start` brings it up"), "{stopped:?}");
        host.say("lobby", "!ping").await;
        host.bot_when("quit", |bot| bot.queued == 1 && bot.phase == stopped.phase).await;
        run(host.home(), "start quit").await.well(&["bot quit: start"]);
        assert_eq!(told(&host, 2).await["lobby"], ["pong", "pong"], "{restart}: what came meanwhile waited");
        assert_eq!(host.bot("quit").unwrap().restarts, 0);
    }
    let host = with_quit("always").await;
    assert_eq!(host.ask("lobby", "!ping").await, "pong");
    host.bot_when("quit", |bot| bot.phase == Phase::Running && bot.restarts == 1).await;
    assert_eq!(host.ask("lobby", "!ping").await, "pong");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_that_fails_and_is_never_restarted_is_given_up_at_once() {
    for (restart, is_given_up) in [("never", true), ("always", false), ("on-failure", false)] {
        let home = Home::new(PROGRAM, &CONFIG.replace("max_restarts = 3", "max_restarts = 1000"))
            .with("ill.wasm", &guests::guest("ill"))
            .with("ill.toml", format!("restart = \"{restart}\"\n{}", Ward::GRANT).as_bytes());
        let ward = Ward::beside(home.path());
        ward.infect("trap");
        let host = home.start().await;
        host.serving("ill").await;
        say_in_rooms(&host, 3, "first").await;
        if is_given_up {
            let status = host.bot_when("ill", |bot| matches!(bot.phase, Phase::Quarantined { .. })).await;
            assert!(status.phase.detail().unwrap().contains("its `restart` is \"never\""), "{status:?}");
            assert_eq!((status.restarts, status.queued), (0, 3));
        } else {
            let again = || host.bot("ill").filter(|bot| bot.restarts >= 2);
            eventually(again, || format!("{restart}: {:?}", host.bot("ill"))).await;
            ward.cure("trap");
            let told = told(&host, 3).await;
            assert_eq!(json!(told), json!({ "room-0": ["first"], "room-1": ["first"], "room-2": ["first"] }));
        }
    }
}
