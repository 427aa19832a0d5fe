//! Each function that an operator wants of a host with platforms, by the path that does it, and what comes of it.

use std::time::Duration;

use bothost::admin::client::Client;
use bothost::connector::{DeliveryError, Link};
use bothost::host::ADMIN_SOCKET;
use harness::guests;
use harness::host::{Home, PATIENCE};
use harness::telegram::FakeTelegram;
use http::Method;
use serde_json::{Value, json};

use super::PROGRAM;

/// A bot that fails stays apart until it is forgiven.
const CONFIG: &str = r#"
[queue]
max_attempts = 100
[supervisor.breaker]
failures = 1
open_for = "1h"
"#;

/// What is asked for, and where it shows what came of it.
struct Function<'a> {
    name: &'a str,
    ask: (Method, &'a str, Value),
    shows: (&'a str, &'a (dyn Fn(&Value) -> bool + Sync)),
}

/// Carries it out and waits for what comes of it. Returns what was answered.
async fn carry_out(client: &Client, function: &Function<'_>) -> Value {
    let Function { name, ask: (method, path, body), shows: (seen, is_so) } = function;
    let body = Some(body).filter(|body| !body.is_null());
    let asked = client.send(method.clone(), path, body).await;
    let answer = asked.unwrap_or_else(|error| panic!("{name}: {error}"));
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let shown = if seen.is_empty() { answer.clone() } else { client.get(seen).await.unwrap_or_default() };
        if is_so(&shown) {
            return answer;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{name}: {path} answered {answer:#}, and {seen} shows {shown:#}"
        );
        tokio::task::yield_now().await;
    }
}

fn has(list: &Value, key: &str, wanted: &str) -> bool {
    list.as_array().is_some_and(|all| all.iter().any(|one| one[key] == wanted))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_function_has_a_path_that_does_it() {
    let fake = FakeTelegram::start("1:right").await;
    let host = Home::new(PROGRAM, CONFIG)
        .with("echo.wasm", &guests::example("echo"))
        .with("panic.wasm", &guests::guest("panic"))
        .with("tick.wasm", &guests::guest("tick"))
        .start()
        .await;
    for bot in ["echo", "panic", "tick"] {
        host.serving(bot).await;
    }
    let client = Client::new(host.home().join("data").join(ADMIN_SOCKET));
    let telegram =
        |token: &str| json!({ "type": "telegram", "token": token, "api_url": fake.url(), "poll_timeout": "1s" });
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    let none = || Value::Null;
    let (chat, tg, echo) = ("/api/v1/connectors/chat", "/api/v1/connectors/tg", "/api/v1/bots/echo");
    let is = |key: &'static str, wanted: &'static str| move |shown: &Value| shown[key] == wanted;
    let (stopped, connected) = (is("link", "stopped"), is("link", "connected"));
    let (disabled, running) = (is("phase", "disabled"), is("phase", "running"));

    // Lifecycle, platforms, their configuration and what they count.
    let functions = [
        ("get the lifecycle", get.clone(), chat, none(), "", &connected as &(dyn Fn(&Value) -> bool + Sync)),
        ("stop a platform", post.clone(), "/api/v1/connectors/chat/stop", none(), chat, &stopped),
        ("start a platform", post.clone(), "/api/v1/connectors/chat/start", none(), chat, &connected),
        ("restart a platform", post.clone(), "/api/v1/connectors/chat/restart", none(), chat, &|shown| {
            shown["link"] == "connected" && shown["connections"] == 3
        }),
        ("stop a bot", post.clone(), "/api/v1/bots/echo/stop", none(), echo, &is("phase", "stopped")),
        ("start a bot", post.clone(), "/api/v1/bots/echo/start", none(), echo, &running),
        ("restart a bot", post.clone(), "/api/v1/bots/echo/restart", none(), echo, &running),
        ("add a platform", put.clone(), tg, telegram("1:wrong"), tg, &is("link", "auth-failed")),
        ("update a connection's configuration", put.clone(), tg, telegram("1:right"), tg, &connected),
        ("get what connections count", get.clone(), tg, none(), "", &|shown| {
            shown["connections"] == 1 && shown["connected_seconds"].is_u64()
        }),
        ("get the platforms", get.clone(), "/api/v1/connectors", none(), "", &|shown| {
            has(shown, "name", "chat") && has(shown, "name", "tg")
        }),
        ("remove a platform", delete.clone(), tg, none(), "/api/v1/connectors", &|shown| !has(shown, "name", "tg")),
        ("disable a bot", post.clone(), "/api/v1/bots/echo/disable", none(), echo, &disabled),
        ("enable a bot", post.clone(), "/api/v1/bots/echo/enable", none(), echo, &running),
    ];
    for (name, method, path, body, seen, is_so) in functions {
        carry_out(&client, &Function { name, ask: (method, path, body), shows: (seen, is_so) }).await;
    }
    let look = async |name: &str, path: &str, is_so: &(dyn Fn(&Value) -> bool + Sync)| {
        carry_out(&client, &Function { name, ask: (Method::GET, path, Value::Null), shows: (path, is_so) }).await;
    };
    let act = async |name: &str, ask: (Method, &str, Value), seen: &str, is_so: &(dyn Fn(&Value) -> bool + Sync)| {
        carry_out(&client, &Function { name, ask, shows: (seen, is_so) }).await
    };

    // Faults and isolation.
    host.say("room", "!panic at once").await;
    look("get the fault records", "/api/v1/faults?bot=panic&kind=faults", &|shown| has(shown, "kind", "panicked"))
        .await;
    look("get the isolation", "/api/v1/status", &|shown| {
        shown["health"]["level"] == "reduced" && has(&shown["health"]["degraded"], "part", "bot panic")
    })
    .await;
    assert_eq!(host.ask("hall", "!echo the others go on").await, "the others go on");
    let reset = (post.clone(), "/api/v1/bots/panic/reset", none());
    act("let a bot out of it", reset, "/api/v1/faults?bot=panic", &|shown| has(shown, "kind", "reset")).await;
    client.post("/api/v1/bots/panic/stop").await.unwrap();

    // Router and buffers.
    look("get what the router counts", "/api/v1/router", &|shown| shown["received"].as_u64() >= Some(2)).await;
    let before = host.chat.delivered_count();
    host.chat.set_link(Link::BackingOff { error: "away".to_owned(), wait: Duration::from_secs(1) });
    let (statistics, outbox) = ("/api/v1/outbox/statistics", "/api/v1/outbox");
    look("be away", statistics, &|shown| shown[0]["outflow"] == "closed").await;
    host.say("room", "!echo kept").await;
    look("get what buffers count", statistics, &|shown| shown[0]["waiting"] == 1).await;
    look("get what is buffered", outbox, &|shown| has(shown, "text", "kept")).await;
    host.chat.set_link(Link::Connected);
    assert_eq!(host.answers_since(before, 1).await, ["kept"], "it goes out by itself");
    host.chat.script(Err(DeliveryError::Permanent("muted".to_owned())));
    host.say("hall", "!echo once more").await;
    look("lose one", statistics, &|shown| shown[0]["given_up"] == 1).await;
    let replay = (post.clone(), "/api/v1/outbox/replay?connector=chat&lost_since=1h", none());
    let replayed = act("replay what is buffered", replay, statistics, &|shown| shown[0]["waiting"] == 0).await;
    assert_eq!(replayed["restored"], 1, "{replayed}");
    assert_eq!(host.answers_since(before + 2, 1).await, ["once more"]);

    // Monitoring and alerts.
    look("get the state of all", "/api/v1/status", &|shown| shown["version"].is_string()).await;
    look("get throughput, latency and errors", "/api/v1/report", &|shown| shown["bots"].is_array()).await;
    host.say("room", "!alert full warning the disk is full").await;
    look("get the alerts", "/api/v1/alerts", &|shown| has(shown, "key", "full")).await;
    let alerts = client.get("/api/v1/alerts").await.unwrap();
    let full = alerts.as_array().unwrap().iter().find(|alert| alert["key"] == "full").unwrap();
    let path = format!("/api/v1/alerts/{}/resolve", full["id"].as_str().unwrap().replace(' ', "%20"));
    act("resolve an alert", (post.clone(), &path, none()), "/api/v1/alerts", &|shown| !has(shown, "key", "full")).await;

    // Versions of the configuration.
    let (versions, latest) = ("/api/v1/config/versions", "/api/v1/config/versions/latest");
    let base = client.get(latest).await.unwrap()["generation"].as_u64().unwrap();
    let says =
        |wanted: &'static str| move |shown: &Value| shown["config"].as_str().is_some_and(|text| text.contains(wanted));
    let set = (post.clone(), "/api/v1/config/set", json!({ "key": "limits.memory", "value": "48MiB" }));
    act("make a version", set, latest, &says("48MiB")).await;
    look("list the versions", versions, &|shown| shown[0]["generation"] == base + 1).await;
    let diff = format!("{versions}/{base}/diff/{}", base + 1);
    look("compare two", &diff, &|shown| shown.to_string().contains("48MiB")).await;
    let exported = client.get(&format!("{versions}/{}/export", base + 1)).await.unwrap();
    let back = format!("{versions}/{base}/rollback");
    act("go back to one", (post.clone(), &back, none()), latest, &|shown| !says("48MiB")(shown)).await;
    let import = (post.clone(), "/api/v1/config/import", exported);
    act("take over what was exported", import, latest, &says("48MiB")).await;
}
