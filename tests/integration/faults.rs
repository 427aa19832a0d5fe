//! Each misbehaviour against a whole host: the host lives, another bot answers meanwhile, the fault is typed and counted, and
//! the culprit itself serves the next event.

use harness::guests;
use harness::host::{Home, TestHost};

const COMPILER: &str = env!("CARGO_BIN_EXE_host");

/// Tight enough that what runs into a limit does so soon.
const LIMITS: &str = r#"
[limits]
fuel_per_event = 200_000_000
event_timeout = "3s"
init_timeout = "3s"
[queue]
max_attempts = 1
"#;

async fn host_with(culprit: &str, component: Vec<u8>) -> TestHost {
    host_limited(culprit, component, LIMITS).await
}

async fn host_limited(culprit: &str, component: Vec<u8>, limits: &str) -> TestHost {
    let home = Home::new(COMPILER, limits)
        .with("echo.wasm", &guests::example("echo"))
        .with(&format!("{culprit}.wasm"), &component)
        .with(&format!("{culprit}.toml"), b"");
    let host = home.start().await;
    host.serving("echo").await;
    host
}

/// Lets `culprit` misbehave and checks everything that must hold.
async fn check(culprit: &str, provocation: &str, kind: &str) {
    check_with(LIMITS, culprit, provocation, kind).await;
}

async fn check_with(limits: &str, culprit: &str, provocation: &str, kind: &str) {
    let host = host_limited(culprit, guests::guest(culprit), limits).await;
    host.serving(culprit).await;
    let created = format!("bothost_instance_created_total{{bot=\"{culprit}\"");

    host.say("bad", provocation).await;
    assert_eq!(
        host.ask("good", "!echo meanwhile").await,
        "meanwhile",
        "another bot answers while {culprit} misbehaves"
    );
    host.metric_reaches(&format!("bothost_bot_faults_total{{bot=\"{culprit}\",kind=\"{kind}\"}}"), 1.0).await;
    host.metric_reaches(&format!("bothost_dead_letter_added_total{{bot=\"{culprit}\"}}"), 1.0).await;

    let before = host.metric(&created);
    let count = host.chat.delivered_count();
    host.say("bad", "!ping").await;
    let mut answers = host.answers_since(count, 2).await;
    answers.sort();
    assert_eq!(answers, ["pong", "pong"], "{culprit} and echo serve the next event");
    assert!(host.metric(&created) > before, "a new instance served it");
    assert_eq!(host.serving(culprit).await.faults, 1);
}

macro_rules! faults {
    ($($name:ident: $culprit:literal, $provocation:literal => $kind:literal;)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            check($culprit, $provocation, $kind).await;
        })+
    };
}

faults! {
    f001_a_trap: "trap", "!trap" => "trapped";
    f001_a_panic: "panic", "!panic" => "panicked";
    f002_an_endless_loop: "spin", "!spin" => "out-of-fuel";
    f004_a_memory_hog: "memory_hog", "!hog trap" => "out-of-memory";
    f005_a_deep_recursion: "deep_recursion", "!dive" => "stack-overflow";
    f006_a_slow_host_call: "slow_host_call", "!sleep" => "timed-out";
    f007_a_huge_reply: "huge_reply", "!huge" => "copied-too-much";
    f020_a_resource_leak: "resource_leak", "!leak" => "out-of-handles";
    f025_more_random_bytes_than_allowed: "random", "!random 100000000" => "trapped";
    a_returned_failure: "fail", "!fail" => "failed";
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f021_a_flood_of_host_calls() {
    // Host calls take time and no fuel, so with much fuel it would be the clock that stops it.
    let limits = LIMITS.replace("200_000_000", "5_000_000");
    check_with(&limits, "hostcall_flood", "!flood", "out-of-fuel").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_hog_harms_nobody() {
    let host = host_with("table_hog", guests::guest_from_wat("table_hog")).await;
    host.serving("table_hog").await;
    host.say("bad", "grow").await;
    assert_eq!(host.ask("good", "!echo meanwhile").await, "meanwhile");
    host.metric_reaches("bothost_bot_faults_total{bot=\"table_hog\",kind=\"out-of-table\"}", 2.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f003_a_loop_in_init_keeps_the_bot_out_and_nobody_else() {
    let host = host_with("spin_init", guests::guest("spin_init")).await;
    let is_waiting = |status: &bothost::bot::phase::BotStatus| status.phase.as_str() == "backoff";
    let status = host.bot_when("spin_init", is_waiting).await;
    assert!(status.phase.detail().is_some_and(|error| error.contains("limits.fuel_per_event")), "{status:?}");
    assert_eq!(host.ask("good", "!echo still").await, "still");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f003_a_loop_in_describe_rejects_the_bot() {
    let host = host_with("spin_describe", guests::guest("spin_describe")).await;
    let reason = host.rejected("spin_describe").await;
    assert!(reason.contains("`describe` failed") && reason.contains("fuel"), "{reason}");
    assert_eq!(host.ask("good", "!echo still").await, "still");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f010_a_flood_of_log_lines_is_dropped_and_counted() {
    // Without a log there is nothing to drop. Another test of this process may have set it up already.
    let _log = bothost::logs::init(
        "warn,bot=info",
        bothost::logs::Format::Text,
        None,
        bothost::host::Instruments::default().errors.layer(),
    );
    let host = host_with("log_flood", guests::guest("log_flood")).await;
    host.serving("log_flood").await;
    host.say("bad", "!flood 20000").await;
    assert_eq!(host.ask("good", "!echo meanwhile").await, "meanwhile");
    host.metric_reaches("bothost_log_lines_dropped_total{bot=\"log_flood\"}", 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_replies_stop_at_the_budget_and_none_of_them_leaves() {
    let host = host_with("many_replies", guests::guest("many_replies")).await;
    host.serving("many_replies").await;
    let before = host.chat.delivered_count();
    host.say("bad", "!many").await;
    host.metric_reaches("bothost_bot_faults_total{bot=\"many_replies\"", 1.0).await;
    assert_eq!(host.ask("good", "!echo only this").await, "only this");
    assert_eq!(host.answers_since(before, 1).await, ["only this"], "a handler that failed sent nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f012_an_event_that_always_fails_is_given_up_and_its_conversation_goes_on() {
    let home = Home::new(COMPILER, "[queue]\nmax_attempts = 2\n").with("panic.wasm", &guests::guest("panic"));
    let host = home.start().await;
    host.serving("panic").await;
    host.say("lobby", "!panic").await;
    assert_eq!(host.ask("lobby", "!ping").await, "pong", "what comes after it in its conversation is not lost");
    assert_eq!(host.metric("bothost_bot_faults_total{bot=\"panic\",kind=\"panicked\"}"), 2.0);
    host.metric_reaches("bothost_dead_letter_added_total{bot=\"panic\"}", 1.0).await;
    assert_eq!(host.serving("panic").await.faults, 2, "the bot is up, and its events were tried twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_fails_once_is_tried_again() {
    let host = Home::new(COMPILER, "").with("again.wasm", &guests::guest("fail_then_ok")).start().await;
    host.serving("again").await;
    let before = host.chat.delivered_count();
    host.say("lobby", "!once").await;
    assert_eq!(host.answers_since(before, 1).await.len(), 1);
    assert_eq!(host.metric("bothost_bot_faults_total{bot=\"again\",kind=\"failed\"}"), 1.0);
}
