//! The five edits that need no restart of the host, each from the moment of the edit to what its user sees, within a second. The only
//! tests that look at a clock: with every setting as by default, so that 200 ms of it are `watch_settle`, and with a component
//! whose code was compiled before, as that of tenants who share it is.

use std::time::{Duration, Instant};

use bothost::bot::phase::Phase;
use bothost::connector::{Link, Status};
use bothost::grants::ConnectorKey;
use harness::guests;
use harness::host::{Home, TestHost, eventually};
use harness::telegram::FakeTelegram;

use super::PROGRAM;

/// What an edit may take.
const WITHIN: Duration = Duration::from_secs(1);
const ALICE: i64 = 7;
const BOB: i64 = 8;

/// Says how long an edit took, and checks that it was not too long.
#[track_caller]
#[expect(clippy::print_stdout, reason = "the measured time is what is wanted of the test")]
fn assert_quick(what: &str, begun: Instant) {
    let elapsed = begun.elapsed();
    println!("{what}: {} ms", elapsed.as_millis());
    assert!(elapsed < WITHIN, "{what} took {elapsed:?}");
}

fn telegram(fake: &FakeTelegram, name: &str, token: &str) -> String {
    format!("[connectors.{name}]\ntype = \"telegram\"\ntoken = \"{token}\"\napi_url = \"{}\"\n", fake.url())
}

/// What a tenant's `NAME.toml` says.
fn tenant(fake: &FakeTelegram, token: &str) -> String {
    format!("component = \"shared.wasm\"\n{}", telegram(fake, "tg", token))
}

fn key(text: &str) -> ConnectorKey {
    let (owner, name) = text.split_once('/').map_or((None, text), |(owner, name)| (Some(owner), name));
    ConnectorKey { owner: owner.map(|owner| owner.parse().unwrap()), name: name.parse().unwrap() }
}

fn link(host: &TestHost, of: &str) -> Option<Status> {
    host.host().links().get(&key(of))
}

async fn connected(host: &TestHost, of: &str) -> Status {
    let is_so = || link(host, of).filter(|status| status.link == Link::Connected);
    eventually(is_so, || format!("{of} is {:?}", link(host, of))).await
}

/// Waits until a fake has got so many messages, and returns what they say.
async fn got(fake: &FakeTelegram, count: usize) -> Vec<String> {
    let got = || (fake.sent_len() >= count).then(|| fake.sent());
    let sent = eventually(got, || format!("{count} messages: {:?}", fake.calls())).await;
    sent.iter().map(|message| message["text"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_with_an_empty_configuration_waits_for_a_bot_and_a_token_and_then_answers() {
    let echo = guests::example("echo");
    let host = Home::empty(PROGRAM).with_code_of(&echo).await.start().await;
    assert!(host.host().bots().entries().is_empty() && link(&host, "tg").is_none());
    let fake = FakeTelegram::start("42:first").await;
    fake.push_message(ALICE, "!echo I was here before you");

    let begun = Instant::now();
    host.put("echo.wasm", &echo);
    host.serving("echo").await;
    assert_quick("a bot is dropped in, until it serves", begun);

    let begun = Instant::now();
    host.configure(&telegram(&fake, "tg", "42:first"));
    assert_eq!(got(&fake, 1).await, ["I was here before you"]);
    assert_quick("a connector is added, until its user is answered", begun);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_token_restarts_its_connection_and_touches_no_other() {
    let (shared, one, two) =
        (FakeTelegram::start("42:old").await, FakeTelegram::start("1:old").await, FakeTelegram::start("2:same").await);
    let host = Home::empty(PROGRAM)
        .with("echo.wasm", &guests::example("echo"))
        .with("shared.wasm", &guests::example("echo"))
        .with("one.toml", tenant(&one, "1:old").as_bytes())
        .with("two.toml", tenant(&two, "2:same").as_bytes())
        .start()
        .await;
    host.configure(&telegram(&shared, "tg", "42:old"));
    for of in ["tg", "one/tg", "two/tg"] {
        connected(&host, of).await;
    }
    let mut bots = Vec::new();
    for bot in ["echo", "one", "two"] {
        bots.push(host.serving(bot).await);
    }
    let before = ["one/tg", "two/tg"].map(|of| link(&host, of).unwrap());

    let old = link(&host, "tg").unwrap().since;
    shared.set_token("42:new");
    let begun = Instant::now();
    host.configure(&telegram(&shared, "tg", "42:new"));
    eventually(|| link(&host, "tg").filter(|it| it.link == Link::Connected && it.since > old), || "tg".into()).await;
    shared.push_message(ALICE, "!echo with the new token");
    assert_eq!(got(&shared, 1).await, ["with the new token"]);
    assert_quick("a shared connector's token is changed, until its user is answered", begun);
    assert_eq!(["one/tg", "two/tg"].map(|of| link(&host, of).unwrap()), before, "the others were not touched");

    let old = link(&host, "one/tg").unwrap().since;
    let untouched = ["tg", "two/tg"].map(|of| link(&host, of).unwrap());
    one.set_token("1:new");
    let begun = Instant::now();
    host.put("one.toml", tenant(&one, "1:new").as_bytes());
    eventually(|| link(&host, "one/tg").filter(|it| it.link == Link::Connected && it.since > old), || "one/tg".into())
        .await;
    one.push_message(ALICE, "!echo mine as well");
    assert_eq!(got(&one, 1).await, ["mine as well"]);
    assert_quick("a tenant's token is changed, until its user is answered", begun);
    assert_eq!(["tg", "two/tg"].map(|of| link(&host, of).unwrap()), untouched);
    for before in bots {
        let now = host.bot(before.name.as_str()).unwrap();
        assert_eq!((now.since, now.edition), (before.since, before.edition), "{}: no bot began anew", before.name);
    }
    two.push_message(ALICE, "!echo undisturbed");
    assert_eq!(got(&two, 1).await, ["undisturbed"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_who_is_added_is_answered_and_one_who_is_disabled_is_not() {
    let (one, two) = (FakeTelegram::start("1:one").await, FakeTelegram::start("2:two").await);
    let host = Home::empty(PROGRAM)
        .with("shared.wasm", &guests::example("echo"))
        .with("one.toml", tenant(&one, "1:one").as_bytes())
        .start()
        .await;
    host.serving("one").await;
    let first = connected(&host, "one/tg").await;
    two.push_message(BOB, "!echo hello from the second");

    let begun = Instant::now();
    host.put("two.toml", tenant(&two, "2:two").as_bytes());
    assert_eq!(got(&two, 1).await, ["hello from the second"]);
    assert_quick("a tenant is added, until his user is answered", begun);
    eventually(|| two.unconfirmed().is_empty().then_some(()), || format!("{:?}", two.unconfirmed())).await;

    let begun = Instant::now();
    host.put("two.toml", format!("enabled = false\n{}", tenant(&two, "2:two")).as_bytes());
    let is_disabled = || {
        let is_off = host.bot("two").is_some_and(|bot| bot.phase == Phase::Disabled);
        (is_off && link(&host, "two/tg").is_none()).then_some(())
    };
    eventually(is_disabled, || format!("{:?} {:?}", host.bot("two"), link(&host, "two/tg"))).await;
    assert_quick("a tenant is disabled, until he has neither bot nor connection", begun);
    let asked = two.deserted().await;
    let missed = two.push_message(BOB, "!echo while it was off");
    one.push_message(ALICE, "!echo the first is there");
    assert_eq!(got(&one, 1).await, ["the first is there"]);
    assert_eq!(link(&host, "one/tg"), Some(first), "the other was not touched");
    assert_eq!((two.calls_len(), two.unconfirmed()), (asked, vec![missed]), "the platform keeps it");

    let begun = Instant::now();
    host.put("two.toml", tenant(&two, "2:two").as_bytes());
    assert_eq!(got(&two, 2).await[1], "while it was off");
    assert_quick("a tenant is enabled again, until his user is answered", begun);
}

/// Two messages after each other, of which the first brings the bot down: the second is answered. Where it is the same
/// conversation it waits for its turn, until the first is given up.
async fn survives_a_crash(entry: &str) {
    let host =
        Home::empty(PROGRAM).with("bot.wasm", &guests::guest("trap")).with("bot.toml", entry.as_bytes()).start().await;
    host.serving("bot").await;
    assert_eq!(host.ask("lobby", "!ping").await, "pong");
    let faults = || host.bot("bot").map_or(0, |bot| bot.faults);
    let begun = Instant::now();
    host.say("lobby", "!trap").await;
    eventually(|| (faults() > 0).then_some(()), || "it did not trap".into()).await;
    assert_eq!(host.ask("another room", "!ping").await, "pong");
    assert_quick(&format!("a bot crashes, until it answers the next message ({entry})"), begun);
    assert_eq!(host.ask("lobby", "!ping").await, "pong", "in the same conversation, in its turn");
    // Its queue goes on a moment before it has counted.
    let status = host.bot_when("bot", |bot| bot.faults == 3).await;
    assert_eq!((status.phase, status.restarts), (Phase::Running, 0), "one message is to blame");
    assert_eq!(super::get(&host, "/api/v1/dead-letters").await.as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_that_crashes_answers_the_next_message() {
    survives_a_crash("").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_instance_that_crashes_is_replaced_for_the_next_message() {
    survives_a_crash("limits = { instance = \"warm\" }").await;
}
