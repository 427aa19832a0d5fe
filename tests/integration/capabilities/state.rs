//! State: within its quota as a whole or not at all, and for one bot alone.

use harness::guests;
use harness::host::Home;

use super::{COMPILER, ONE_ATTEMPT, home, host, sorted};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_writes_past_its_quota_writes_nothing() {
    let host = home(ONE_ATTEMPT, "notes", "limits = { state = \"1KiB\" }").start().await;
    host.serving("notes").await;
    assert_eq!(host.ask("lobby", "!set kept before").await, "set kept");
    // Each of them is small enough; together they are not.
    host.say("lobby", "!fill 20").await;
    host.metric_reaches("bothost_bot_faults_total{bot=\"notes\",kind=\"refused\"}", 1.0).await;
    assert_eq!(host.ask("lobby", "!keys").await, "keys: kept");
    // One that is too large by itself is refused at once, and the handler fails with what it was told.
    host.say("lobby", &format!("!set large {}", "x".repeat(1024))).await;
    host.metric_reaches("bothost_bot_faults_total{bot=\"notes\",kind=\"failed\"}", 1.0).await;
    assert_eq!(host.ask("lobby", "!get kept").await, "before");

    assert_eq!(host.ask("lobby", "!fill 8").await, "filled 8", "what fits is written");
    host.say("lobby", "!set further value-that-does-not-fit-beside-the-others").await;
    host.say("lobby", &format!("!set kept {}", "y".repeat(200))).await;
    host.metric_reaches("bothost_dead_letter_added_total{bot=\"notes\"}", 3.0).await;
    assert_eq!(host.ask("lobby", "!get kept").await, "before");
    assert_eq!(host.ask("lobby", "!delete fill-000000").await, "deleted fill-000000");
    assert_eq!(host.ask("lobby", "!set further fits-now").await, "set further", "what was deleted makes room");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f018_no_key_leads_to_the_state_of_another_bot() {
    const BOTS: [&str; 6] = ["a", "a-b", "a.b", "a_b", "A", "a-b-a"];
    let entry = b"component = \"notes.wasm\"";
    let home = Home::new(COMPILER, "").with("notes.wasm", &guests::guest("notes"));
    let home = BOTS.iter().fold(home, |home, bot| home.with(&format!("{bot}.toml"), entry));
    let host = home.start().await;
    for bot in BOTS {
        host.serving(bot).await;
    }
    let all = |text: String| {
        let host = &host;
        async move {
            let before = host.chat.delivered_count();
            host.say("lobby", &text).await;
            sorted(host.answers_since(before, BOTS.len() as u64).await)
        }
    };
    let _ = all("!set mine here".to_owned()).await;
    for bot in BOTS {
        for key in [
            format!("{bot}/mine"),
            format!("../{bot}/mine"),
            format!("{bot}\0mine"),
            format!("{bot}.mine"),
            format!("{bot}-b/mine"),
            "%".into(),
            "_ine".into(),
            "m*".into(),
            "\u{10ffff}".into(),
            "Mine".into(),
            "' OR '1'='1".into(),
        ] {
            assert_eq!(all(format!("!get {key}")).await, ["nothing"; BOTS.len()], "{key:?}");
        }
    }
    for (prefix, expected) in
        [("", "keys: mine"), ("m", "keys: mine"), ("%", "keys: "), ("_", "keys: "), ("\u{10ffff}", "keys: ")]
    {
        assert_eq!(all(format!("!keys {prefix}")).await, [expected; BOTS.len()], "{prefix:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f018_what_one_bot_keeps_is_absent_for_the_next_of_the_same_component() {
    let home = Home::new(COMPILER, "").with("a.wasm", &guests::guest("notes"));
    let host = home.start().await;
    host.serving("a").await;
    for key in ["b/mine", "mine", "../b/mine", "b\u{0}mine", "\u{10ffff}"] {
        host.ask("lobby", &format!("!set {key} of-a")).await;
    }
    std::fs::remove_file(host.bots().join("a.wasm")).unwrap();
    harness::host::eventually(|| host.bot("a").is_none().then_some(()), || "a is still there".into()).await;
    host.put("b.wasm", &guests::guest("notes"));
    host.serving("b").await;
    assert_eq!(host.ask("lobby", "!keys").await, "keys: ");
    for key in ["mine", "/mine", "../a/mine", "a/mine", "\u{10ffff}"] {
        assert_eq!(host.ask("lobby", &format!("!get {key}")).await, "nothing", "{key:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_odd_key_keeps_its_value() {
    let host = host("notes", "").await;
    for key in ["a/../b", "%", "'", "\u{0}", "\u{10ffff}", "ключ", "😀"] {
        assert_eq!(host.ask("lobby", &format!("!set {key} value-of-{key}")).await, format!("set {key}"));
    }
    for key in ["a/../b", "%", "'", "\u{0}", "\u{10ffff}", "ключ", "😀"] {
        assert_eq!(host.ask("lobby", &format!("!get {key}")).await, format!("value-of-{key}"));
    }
}
