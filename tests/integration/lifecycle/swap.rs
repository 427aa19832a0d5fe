//! A version that replaces another while messages come: the good one takes over between two of them, the bad one goes back by itself,
//! and no message is lost or answered twice.

use bothost::bot::phase::Phase;
use bothost::host::Drained;
use harness::guests;
use harness::host::{Home, TestHost, eventually};
use serde_json::json;

use super::{PROGRAM, alerted, assert_no_dead_letter, calm, get, hash, other_bytes, run, told, trapping};

/// Attempts that outlast a version that is rolled back and one more.
const CONFIG: &str = "[queue]\nmax_attempts = 4\n";
/// So many events are tried on a bad version: more than it takes to judge it.
const TRIED: u32 = 8;

async fn with_ledger(config: &str) -> TestHost {
    let host = Home::new(PROGRAM, config).with("bot.wasm", &guests::guest("ledger")).start().await;
    host.serving("bot").await;
    host
}

/// Says one thing in each of some conversations.
async fn say_in_rooms(host: &TestHost, text: &str) {
    for room in 0..TRIED {
        host.say(&format!("room-{room}"), text).await;
    }
}

/// Checks that each of these conversations was told exactly this.
async fn assert_told(host: &TestHost, expected: &[&str]) {
    let told = told(host, u64::from(TRIED) * expected.len() as u64).await;
    assert_eq!(told.len(), TRIED as usize);
    for (room, texts) in told {
        assert_eq!(texts, expected, "{room}");
    }
}

async fn condemned(host: &TestHost) -> Vec<String> {
    let list = get(host, "/api/v1/condemned?bot=bot").await;
    list.as_array().unwrap().iter().map(|one| one["component"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_traps_is_rolled_back_and_its_messages_are_answered_by_the_one_before() {
    let (good, bad) = (guests::guest("ledger"), trapping());
    let host = with_ledger(CONFIG).await;
    host.put("bot.wasm", &bad);
    let watched = host.bot_when("bot", |bot| bot.component == hash(&bad)).await;
    assert!(matches!(watched.phase, Phase::Probation { .. }), "{watched:?}");
    say_in_rooms(&host, "hello").await;
    let back = host.bot_when("bot", |bot| bot.component == hash(&good) && bot.phase == Phase::Running).await;
    assert_told(&host, &["hello 1"]).await;
    assert_no_dead_letter(&host).await;

    let why = back.refused.unwrap();
    assert!(why.contains("it was rolled back") && why.contains("unreachable"), "{why}");
    assert_eq!(condemned(&host).await, [hash(&bad).unwrap().to_string()]);
    assert!(alerted(&host, "version-refused:bot").await.contains("it was rolled back"));
    run(host.home(), "ps").await.well(&["bot", "running", "it was rolled back"]);
    let digits = hash(&bad).unwrap().to_string()[..12].to_owned();
    run(host.home(), "describe bot").await.well(&["running", "why", "it was rolled back", "condemned", &digits]);
    run(host.home(), "faults bot").await.well(&["rolled-back", "the version before comes back", "trapped", &digits]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condemned_version_is_refused_until_a_reset_by_this_process_and_by_the_next() {
    let (good, bad) = (guests::guest("ledger"), trapping());
    let host = with_ledger(CONFIG).await;
    host.put("bot.wasm", &bad);
    host.bot_when("bot", |bot| bot.component == hash(&bad)).await;
    say_in_rooms(&host, "one").await;
    host.bot_when("bot", |bot| bot.component == hash(&good) && bot.phase == Phase::Running).await;
    assert_told(&host, &["one 1"]).await;

    // Another version in between, so that the same bytes are an edit again.
    let better = other_bytes(good.clone(), 1);
    host.put("bot.wasm", &better);
    let status = host.bot_when("bot", |bot| bot.component == hash(&better)).await;
    assert_eq!(status.refused, None);
    calm(&host, "version-refused:bot").await;
    host.put("bot.wasm", &bad);
    let refused = host.bot_when("bot", |bot| bot.refused.is_some()).await;
    assert_eq!(refused.component, hash(&better));
    let why = refused.refused.unwrap();
    assert!(why.contains("is not tried again") && why.contains("host reset bot"), "{why}");
    let rehearsed = run(host.home(), "reload --dry-run").await;
    assert_eq!(rehearsed.code, Some(1), "{rehearsed:?}");
    let rehearsed = rehearsed.says(&["would be refused", "it was rolled back"]);
    assert!(!rehearsed.contains("would be started"), "{rehearsed}");
    say_in_rooms(&host, "two").await;
    assert_told(&host, &["one 1", "two 2"]).await;
    assert_eq!(host.bot("bot").unwrap().faults, refused.faults, "it never got a message");

    // The next process finds the bad file in the directory, and what served before in its generation.
    let (drained, home) = host.stop(PROGRAM, CONFIG).await;
    assert_eq!(drained, Drained::default());
    assert_eq!(std::fs::read(home.bots().join("bot.wasm")).unwrap(), bad);
    let host = home.start().await;
    let stands_in = host.bot_when("bot", |bot| bot.phase == Phase::Running && bot.refused.is_some()).await;
    assert_eq!(stands_in.component, hash(&better), "{stands_in:?}");
    assert!(stands_in.refused.unwrap().contains("is not tried again"));
    say_in_rooms(&host, "three").await;
    assert_told(&host, &["three 3"]).await;
    assert!(alerted(&host, "version-refused:bot").await.contains("is not tried again"));

    run(host.home(), "reset bot").await.well(&["bot is reset"]);
    host.bot_when("bot", |bot| bot.component == hash(&bad)).await;
    assert_eq!(condemned(&host).await, [""; 0]);
    say_in_rooms(&host, "four").await;
    host.bot_when("bot", |bot| bot.component == hash(&better) && bot.phase == Phase::Running).await;
    assert_told(&host, &["three 3", "four 4"]).await;
    assert_eq!(condemned(&host).await, [hash(&bad).unwrap().to_string()], "it had its chance");
    assert_no_dead_letter(&host).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f048_of_two_quick_saves_the_good_one_serves_and_the_bad_one_is_reported() {
    let host = with_ledger(CONFIG).await;
    let compiled = || host.metric("bothost_component_load_seconds_count{source=\"compiled\"}");
    let mut before = host.bot("bot").unwrap().component;
    for round in 0..5u8 {
        let good = other_bytes(guests::guest("ledger"), round);
        let loads = compiled();
        host.put("bot.wasm", &good);
        // Now and then the second save comes before the first was noticed, else while it is being started.
        if round % 2 == 0 {
            eventually(|| (compiled() > loads).then_some(()), || "it was not compiled".into()).await;
        }
        host.put("bot.wasm", format!("no component, {round}").as_bytes());
        // Returns once everything has settled.
        host.host().control().reload(false).await.unwrap();
        let status = host.bot("bot").unwrap();
        assert!(status.refused.as_ref().is_some_and(|why| why.contains("cannot serve")), "{round}: {status:?}");
        let was_seen = status.component == hash(&good);
        assert!(was_seen || (round % 2 == 1 && status.component == before), "{round}: {status:?}");
        before = status.component;
        let answer = host.ask("lobby", "still there").await;
        assert_eq!(answer, format!("still there {}", round + 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f048_a_bad_version_goes_back_to_the_good_one_that_was_on_trial_itself() {
    let (second, bad) = (other_bytes(guests::guest("ledger"), 2), trapping());
    let host = with_ledger(CONFIG).await;
    host.put("bot.wasm", &second);
    let status = host.bot_when("bot", |bot| bot.component == hash(&second)).await;
    assert!(matches!(status.phase, Phase::Probation { .. }));
    host.put("bot.wasm", &bad);
    host.bot_when("bot", |bot| bot.component == hash(&bad)).await;
    say_in_rooms(&host, "hello").await;
    let back = host.bot_when("bot", |bot| bot.component == hash(&second) && bot.phase.is_serving()).await;
    assert!(matches!(back.phase, Phase::Probation { .. }), "it has not proved itself yet: {back:?}");
    assert_told(&host, &["hello 1"]).await;
    assert_eq!(condemned(&host).await, [hash(&bad).unwrap().to_string()]);
    assert_no_dead_letter(&host).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f049_swaps_among_messages_keep_their_order_and_answer_each_once() {
    const ROUNDS: u8 = 4;
    let host = with_ledger("").await;
    let mut expected = 0;
    for round in 0..ROUNDS {
        let next = other_bytes(guests::guest("ledger"), round);
        host.put("bot.wasm", &next);
        // Messages come before the swap, in its midst and after it.
        let mut is_after = false;
        while !is_after {
            is_after = host.bot("bot").unwrap().component == hash(&next);
            say_in_rooms(&host, "m").await;
            expected += 1;
        }
    }
    let told = told(&host, u64::from(TRIED) * expected).await;
    for (room, texts) in told {
        let in_order: Vec<_> = (1..=expected).map(|count| format!("m {count}")).collect();
        assert_eq!(texts, in_order, "{room}");
    }
    let status = host.bot("bot").unwrap();
    assert_eq!((status.faults, status.restarts), (0, 0));
    eventually(|| (host.bot("bot")?.queued == 0).then_some(()), || "events wait".into()).await;
    assert_eq!(host.chat.delivered_count(), u64::from(TRIED) * expected, "none was answered twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f049_a_call_under_way_ends_on_its_version_and_holds_up_its_own_conversation_only() {
    let slow = guests::guest("slow_host_call");
    let host = Home::new(PROGRAM, "").with("bot.wasm", &slow).start().await;
    host.serving("bot").await;
    host.say("one", "!sleep 1500 first").await;
    host.bot_when("bot", |bot| bot.in_flight == 1).await;
    host.put("bot.wasm", &other_bytes(slow.clone(), 1));
    host.bot_when("bot", |bot| bot.component == hash(&other_bytes(slow.clone(), 1))).await;
    host.say("one", "!sleep 1 second").await;
    assert_eq!(host.ask("two", "!sleep 1 other").await, "awake other", "while the first is at work");
    assert_eq!(host.chat.delivered_count(), 1);
    let told = told(&host, 3).await;
    assert_eq!(json!(told), json!({ "one": ["awake first", "awake second"], "two": ["awake other"] }));
}
