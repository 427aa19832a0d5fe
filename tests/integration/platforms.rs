//! A whole host with connectors from its configuration, against fakes of the platforms.

use std::time::{Duration, Instant};

use bothost::connector::Status;
use bothost::grants::ConnectorKey;
use bothost::host::Drained;
use harness::guests;
use harness::host::{Home, TestHost, eventually};
use harness::onebot::FakeOneBot;
use harness::telegram::{FakeTelegram, Fault};
use serde_json::{Value, json};

const COMPILER: &str = env!("CARGO_BIN_EXE_host");

const ALICE: i64 = 7;
const BOB: i64 = 8;
const GROUP: i64 = -100;

fn telegram(fake: &FakeTelegram, token: &str) -> String {
    format!(
        "[connectors.tg]\ntype = \"telegram\"\ntoken = \"{token}\"\napi_url = \"{}\"\npoll_timeout = \"1s\"\n",
        fake.url()
    )
}

/// Two bots that share one component, each with connectors of its own and no other.
fn tenants(one: &str, two: &str) -> Home {
    let entry = |connectors: &str| format!("component = \"echo.wasm\"\n{connectors}");
    Home::new(COMPILER, "")
        .with("echo.wasm", &guests::example("echo"))
        .with("one.toml", entry(one).as_bytes())
        .with("two.toml", entry(two).as_bytes())
}

async fn with_echo(config: &str) -> TestHost {
    let host = Home::new(COMPILER, config).with("echo.wasm", &guests::example("echo")).start().await;
    host.serving("echo").await;
    host
}

async fn status_when(host: &TestHost, key: &str, is_so: impl Fn(&Status) -> bool) -> Status {
    let (owner, name) = key.split_once('/').map_or((None, key), |(owner, name)| (Some(owner), name));
    let key = ConnectorKey { owner: owner.map(|owner| owner.parse().unwrap()), name: name.parse().unwrap() };
    let links = host.host().links();
    eventually(|| links.get(&key).filter(|status| is_so(status)), || format!("{key} is {:?}", links.get(&key))).await
}

/// Waits until a fake has got `count` messages, and returns each one's chat and text.
async fn telegram_got(fake: &FakeTelegram, count: usize) -> Vec<(i64, String)> {
    let got = || (fake.sent().len() >= count).then(|| fake.sent());
    let sent = eventually(got, || format!("{count} messages: {:?}", fake.calls())).await;
    let text = |message: &Value| (message["chat_id"].as_i64().unwrap(), message["text"].as_str().unwrap().to_owned());
    sent.iter().map(text).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_telegram_user_is_answered() {
    let fake = FakeTelegram::start("42:token").await;
    let host = with_echo(&telegram(&fake, "42:token")).await;
    fake.push_message(ALICE, "!echo hi there");
    fake.push_message(GROUP, "/echo@EchoBot in a group");
    let got = telegram_got(&fake, 2).await;
    assert!(
        got.contains(&(ALICE, "hi there".to_owned())) && got.contains(&(GROUP, "in a group".to_owned())),
        "{got:?}"
    );
    eventually(|| fake.unconfirmed().is_empty().then_some(()), || format!("{:?}", fake.unconfirmed())).await;
    assert_eq!(host.chat.delivered_count(), 0, "an answer goes where the question came from");
    // The platform has it before its answer is counted.
    let delivered = "bothost_delivery_ended_total{connector=\"tg\",outcome=\"ok\"}";
    host.metric_reaches(delivered, 2.0).await;
    assert_eq!(host.metric(delivered), 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telegram_is_told_of_an_update_only_once_the_host_has_it() {
    let fake = FakeTelegram::start("42:token").await;
    let config = format!("{}[queue]\nmax_events = 1\n", telegram(&fake, "42:token"));
    let host = Home::new(COMPILER, &config).with("slow.wasm", &guests::guest("slow_host_call")).start().await;
    host.serving("slow").await;
    fake.push_message(ALICE, "!sleep 1000 first");
    host.bot_when("slow", |status| status.in_flight == 1).await;
    let second = fake.push_message(ALICE, "!sleep 1 second");
    // It is in a poll's answer, and there is no room for it: every look until the first has ended finds it unconfirmed.
    let is_held = || {
        let unconfirmed = fake.unconfirmed();
        let ended = host.metric("bothost_attempt_ended_total{bot=\"slow\"") > 0.0;
        assert!(ended || unconfirmed.contains(&second), "{unconfirmed:?}");
        ended.then_some(())
    };
    eventually(is_held, || "the first has not ended".into()).await;
    let got = telegram_got(&fake, 2).await;
    assert_eq!(got, [(ALICE, "awake first".to_owned()), (ALICE, "awake second".to_owned())]);
    eventually(|| fake.unconfirmed().is_empty().then_some(()), || format!("{:?}", fake.unconfirmed())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_telegram_update_that_the_host_has_not_taken_over_comes_again_after_a_restart() {
    let fake = FakeTelegram::start("42:token").await;
    let telegram = telegram(&fake, "42:token");
    let config = format!("drain_timeout = \"0s\"\n{telegram}[queue]\nmax_events = 1\n");
    let host = Home::new(COMPILER, &config).with("slow.wasm", &guests::guest("slow_host_call")).start().await;
    host.serving("slow").await;
    fake.push_message(ALICE, "!sleep");
    host.bot_when("slow", |status| status.in_flight == 1).await;
    // Not in the chat of the first: there it would wait behind it, which is still to be handled.
    let update = fake.push_message(BOB, "!ping");
    let (drained, home) = host.stop(COMPILER, &telegram).await;
    assert_eq!((drained.events, fake.unconfirmed()), (1, vec![update]));
    let host = home.start().await;
    host.serving("slow").await;
    assert!(telegram_got(&fake, 1).await.contains(&(BOB, "pong".to_owned())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_with_telegram_bots_of_their_own_answer_their_own_users_only() {
    let (one, two) = (FakeTelegram::start("1:one").await, FakeTelegram::start("2:two").await);
    let host = tenants(&telegram(&one, "1:one"), &telegram(&two, "2:two")).start().await;
    host.serving("one").await;
    host.serving("two").await;
    // The same person in the same chat, as far as the platform's ids go.
    for number in 0..5 {
        one.push_message(ALICE, &format!("!echo one-{number}"));
        two.push_message(ALICE, &format!("!echo two-{number}"));
    }
    let texts = |of: &str| (0..5).map(|number| (ALICE, format!("{of}-{number}"))).collect::<Vec<_>>();
    assert_eq!(telegram_got(&one, 5).await, texts("one"));
    assert_eq!(telegram_got(&two, 5).await, texts("two"));
    two.push_message(ALICE, "!count");
    assert_eq!(telegram_got(&two, 6).await[5].1, "6", "each keeps its own count");
    host.say("lobby", "!echo nobody hears the shared connector").await;
    for key in ["one/tg", "two/tg"] {
        status_when(&host, key, |status| status.link.as_str() == "connected").await;
    }
    assert_eq!((one.sent().len(), two.sent().len(), host.chat.delivered_count()), (5, 6, 0));
    for fake in [&one, &two] {
        assert!(fake.calls().iter().all(|call| call.status != Some(401)), "nobody used another's token");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f053_a_telegram_token_that_another_tenant_has_keeps_the_second_out() {
    let fake = FakeTelegram::start("1:one").await;
    let table = telegram(&fake, "1:one");
    let host = tenants(&table, &table).start().await;
    host.serving("one").await;
    let reason = host.rejected("two").await;
    assert!(reason.contains("two.toml:") && reason.contains("one.toml:") && reason.contains("one/tg"), "{reason}");
    assert!(!reason.contains("1:one"), "the token itself is not shown: {reason}");
    fake.push_message(ALICE, "!echo hi");
    assert_eq!(telegram_got(&fake, 1).await, [(ALICE, "hi".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f063_a_tenant_whose_token_is_revoked_is_shown_and_the_other_goes_on() {
    let (one, two) = (FakeTelegram::start("1:one").await, FakeTelegram::start("2:two").await);
    let host = tenants(&telegram(&one, "1:one"), &telegram(&two, "2:two")).start().await;
    host.serving("two").await;
    status_when(&host, "one/tg", |status| status.link.as_str() == "connected").await;
    one.revoke_token();
    one.push_message(ALICE, "!echo nobody");
    status_when(&host, "one/tg", |status| status.link.as_str() == "auth-failed").await;
    two.push_message(ALICE, "!echo unmoved");
    assert_eq!(telegram_got(&two, 1).await, [(ALICE, "unmoved".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_entry_moves_its_bot_to_the_other_connector() {
    let (old, new) = (FakeTelegram::start("1:old").await, FakeTelegram::start("2:new").await);
    let host = tenants(&telegram(&old, "1:old"), "connectors = []").start().await;
    host.serving("one").await;
    old.push_message(ALICE, "!echo before");
    assert_eq!(telegram_got(&old, 1).await, [(ALICE, "before".to_owned())]);
    host.put("one.toml", format!("component = \"echo.wasm\"\n{}", telegram(&new, "2:new")).as_bytes());
    new.push_message(ALICE, "!echo after");
    assert_eq!(telegram_got(&new, 1).await, [(ALICE, "after".to_owned())]);
    old.push_message(ALICE, "!echo nobody polls here");
    new.push_message(ALICE, "!echo again");
    telegram_got(&new, 2).await;
    assert_eq!((old.sent().len(), old.unconfirmed().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f085_a_platform_that_never_answers_does_not_hold_up_the_stop() {
    let fake = FakeTelegram::start("42:token").await;
    let host = with_echo(&format!("drain_timeout = \"300ms\"\n{}", telegram(&fake, "42:token"))).await;
    fake.fail_next("sendMessage", Fault::Hang);
    fake.push_message(ALICE, "!echo hi");
    eventually(|| fake.calls_of("sendMessage").pop(), || "nothing was sent".into()).await;
    let started = Instant::now();
    let (drained, _) = host.stop(COMPILER, "").await;
    assert_eq!(drained, Drained { events: 0, actions: 1 });
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_whose_platform_never_answers_does_not_hold_up_the_changes_of_another() {
    let (one, two) = (FakeTelegram::start("1:one").await, FakeTelegram::start("2:two").await);
    let host = tenants(&telegram(&one, "1:one"), "connectors = []").start().await;
    host.serving("one").await;
    one.fail_next("sendMessage", Fault::Hang);
    one.push_message(ALICE, "!echo hi");
    eventually(|| one.calls_of("sendMessage").pop(), || "nothing was sent".into()).await;
    std::fs::remove_file(host.bots().join("one.toml")).unwrap();
    host.put("two.toml", format!("component = \"echo.wasm\"\n{}", telegram(&two, "2:two")).as_bytes());
    two.push_message(ALICE, "!echo meanwhile");
    let started = Instant::now();
    assert_eq!(telegram_got(&two, 1).await, [(ALICE, "meanwhile".to_owned())]);
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}

const QQ_GROUP: i64 = 500;
const QQ_USER: i64 = 20;

fn text(text: &str) -> Value {
    json!([{"type": "text", "data": {"text": text}}])
}

/// Waits until a fake was asked to send `count` messages, and returns their texts.
async fn onebot_got(fake: &FakeOneBot, count: usize) -> Vec<String> {
    let sends = || -> Vec<Value> {
        let calls = fake.calls().into_iter().filter(|call| call.action.starts_with("send_"));
        calls.map(|call| call.parameters).collect()
    };
    let got = || (sends().len() >= count).then(sends);
    let sent = eventually(got, || format!("{count} messages: {:?}", fake.calls())).await;
    let text_of = |part: &Value| part["data"]["text"].as_str().unwrap_or_default().to_owned();
    sent.iter().map(|sent| sent["message"].as_array().into_iter().flatten().map(text_of).collect()).collect()
}

fn forward(fake: &FakeOneBot) -> String {
    let url = fake.url();
    format!("[connectors.qq]\ntype = \"onebot\"\nmode = \"forward\"\nurl = \"{url}\"\naccess_token = \"s3cret\"\n")
}

const REVERSE: &str =
    "[connectors.qq]\ntype = \"onebot\"\nmode = \"reverse\"\nlisten = \"127.0.0.1:0\"\naccess_token = \"s3cret\"\n";

/// Dials the connector as soon as it listens.
async fn dial(host: &TestHost, key: &str) -> FakeOneBot {
    let listening = status_when(host, key, |status| status.listening.is_some()).await.listening.unwrap();
    let url = format!("ws://{listening}/onebot/v11/ws");
    let fake =
        FakeOneBot::dial(&url, "Universal", Some("s3cret")).await.unwrap_or_else(|status| panic!("{url}: {status}"));
    status_when(host, key, |status| status.link.as_str() == "connected").await;
    fake
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_qq_user_is_answered_through_a_socket_that_the_host_opened() {
    let fake = FakeOneBot::listen(Some("s3cret")).await;
    let host = with_echo(&forward(&fake)).await;
    status_when(&host, "qq", |status| status.link.as_str() == "connected").await;
    fake.push_group_message(QQ_GROUP, QQ_USER, text("!echo in a group"));
    assert_eq!(onebot_got(&fake, 1).await, ["in a group"]);
    fake.push_private_message(QQ_USER, text("!echo in private"));
    assert_eq!(onebot_got(&fake, 2).await, ["in a group", "in private"]);
    assert_eq!(fake.calls().iter().filter(|call| call.action == "send_group_msg").count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_qq_user_is_answered_through_a_socket_that_the_platform_opened() {
    let host = with_echo(REVERSE).await;
    let fake = dial(&host, "qq").await;
    fake.push_group_message(QQ_GROUP, QQ_USER, text("!echo hi"));
    assert_eq!(onebot_got(&fake, 1).await, ["hi"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_with_qq_accounts_of_their_own_answer_their_own_users_only() {
    let (one, two) = (FakeOneBot::listen(Some("s3cret")).await, FakeOneBot::listen(Some("s3cret")).await);
    let host = tenants(&forward(&one), &forward(&two)).start().await;
    answers_its_own(&host, &one, &two).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_whose_platforms_dial_them_answer_their_own_users_only() {
    let host = tenants(REVERSE, REVERSE).start().await;
    let (one, two) = (dial(&host, "one/qq").await, dial(&host, "two/qq").await);
    answers_its_own(&host, &one, &two).await;
}

async fn answers_its_own(host: &TestHost, one: &FakeOneBot, two: &FakeOneBot) {
    for (bot, key) in [("one", "one/qq"), ("two", "two/qq")] {
        host.serving(bot).await;
        status_when(host, key, |status| status.link.as_str() == "connected").await;
    }
    for number in 0..5 {
        one.push_group_message(QQ_GROUP, QQ_USER, text(&format!("!echo one-{number}")));
        two.push_group_message(QQ_GROUP, QQ_USER, text(&format!("!echo two-{number}")));
    }
    let texts = |of: &str| (0..5).map(|number| format!("{of}-{number}")).collect::<Vec<_>>();
    assert_eq!(onebot_got(one, 5).await, texts("one"));
    assert_eq!(onebot_got(two, 5).await, texts("two"));
    two.push_group_message(QQ_GROUP, QQ_USER, text("!count"));
    assert_eq!(onebot_got(two, 6).await[5], "6", "each keeps its own count");
    assert_eq!((onebot_got(one, 5).await.len(), host.chat.delivered_count()), (5, 0));
}
