//! Taking connectors down and bringing them up again, and what they have counted.

use bothost::connector::{DeliveryError, Link};
use http::StatusCode;
use serde_json::Value;
use std::time::Duration;

use super::Operated;

const CHAT: &str = "/api/v1/connectors/chat";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connector_that_is_stopped_started_and_restarted_loses_nothing() {
    let operated = Operated::start("", &["bot"]).await;
    let host = &operated.host;
    // Tried once, and waiting for the next try when the connector is stopped.
    host.chat.script(Err(DeliveryError::Retryable("busy".to_owned())));
    host.say("lobby", "!echo before").await;
    operated.asked_until(CHAT, |chat| chat["undelivered"] == 1).await;
    let stopped = operated.post(&format!("{CHAT}/stop")).await;
    assert_eq!((&stopped["link"], &stopped["detail"]), (&"stopped".into(), &"the operator stopped it".into()));
    assert_eq!(operated.post(&format!("{CHAT}/stop")).await["link"], "stopped", "done already is no error");

    let body = serde_json::json!({ "text": "!echo while", "conversation": "lobby", "connector": "chat" });
    operated.client.edit("/api/v1/bots/bot/events", Some(&body)).await.unwrap();
    let path = "/api/v1/outbox/statistics";
    let buffers = operated.asked_until(path, |buffers| buffers[0]["waiting"] == 2).await;
    assert_eq!((&buffers[0]["outflow"], &buffers[0]["at_work"]), (&"closed".into(), &0.into()));
    assert_eq!(host.chat.delivered_count(), 1, "nothing leaves");
    assert!(host.metric("bothost_connector_link{connector=\"chat\",link=\"stopped\"}") > 0.5);
    let listed = operated.get("/api/v1/connectors").await;
    assert_eq!(listed[0]["detail"], "the operator stopped it", "it stays on the board");

    operated.post(&format!("{CHAT}/start")).await;
    assert_eq!(host.answers_since(1, 2).await, ["before", "while"]);
    operated.post(&format!("{CHAT}/restart")).await;
    assert_eq!(host.ask("lobby", "!echo after").await, "after");
    let chat = operated.asked_until(CHAT, |chat| chat["delivered"] == 3).await;
    // What was counted outlasts the runs: one connection of each.
    let counted = ["connections", "connections_lost", "events", "undelivered", "lost"].map(|name| chat[name].clone());
    assert_eq!(counted, [3, 0, 2, 1, 0].map(Value::from), "{chat:#}");
    assert_eq!(chat["last_error"], "not delivered: busy");
    assert!(chat["connected_seconds"].is_u64() && chat["last_success"].is_string(), "{chat:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_lost_and_tries_that_fail_are_counted_apart() {
    let operated = Operated::start("", &[]).await;
    let away = |error: &str| Link::BackingOff { error: error.to_owned(), wait: Duration::from_secs(1) };
    operated.asked_until(CHAT, |chat| chat["link"] == "connected").await;
    operated.host.chat.set_link(away("reset"));
    operated.asked_until(CHAT, |chat| chat["connections_lost"] == 1).await;
    operated.host.chat.set_link(away("no route"));
    let chat = operated.asked_until(CHAT, |chat| chat["connections_failed"] == 1).await;
    assert_eq!((&chat["connections_lost"], &chat["last_error"]), (&1.into(), &"no route".into()));
    operated.host.metric_reaches("bothost_connector_connections_lost_total{connector=\"chat\"}", 1.0).await;
    operated.host.metric_reaches("bothost_connector_connections_failed_total{connector=\"chat\"}", 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connector_that_is_not_there_is_answered_with_the_one_that_may_be_meant() {
    let operated = Operated::start("", &["bot"]).await;
    let (status, detail) = operated.refused("/api/v1/connectors/chta/stop", None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(detail.contains("there is no connector `chta`; did you mean `chat`?"), "{detail}");
    let (status, _) = operated.refused("/api/v1/bots/bot/connectors/chat/stop", None).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "it is not the bot's own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_connector_runs_again_once_it_is_configured_anew_and_ends_no_host() {
    let config = |token: &str| {
        format!(
            "[connectors.qq]\ntype = \"onebot\"\nmode = \"reverse\"\nlisten = \"127.0.0.1:0\"\naccess_token = \"{token}\"\n"
        )
    };
    let operated = Operated::start(&config("one"), &[]).await;
    for connector in ["qq", "chat"] {
        operated.post(&format!("/api/v1/connectors/{connector}/stop")).await;
    }
    let ended = operated.host.host().connectors_ended();
    assert!(tokio::time::timeout(Duration::from_millis(300), ended).await.is_err(), "they may be brought up again");
    operated.host.configure(&config("two"));
    let is_up = |qq: &Value| qq["link"] != "stopped" && qq["listening"].is_string();
    operated.asked_until("/api/v1/connectors/qq", is_up).await;
    assert_eq!(operated.get(CHAT).await["link"], "stopped", "nobody touched this one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connector_of_a_bots_own_is_named_below_the_bot_and_on_the_command_line_as_one() {
    let operated = Operated::start("", &["bot"]).await;
    let own =
        "[connectors.qq]\ntype = \"onebot\"\nmode = \"reverse\"\nlisten = \"127.0.0.1:0\"\naccess_token = \"t\"\n";
    operated.host.put("bot.toml", own.as_bytes());
    let listed = operated.asked_until("/api/v1/bots/bot/connectors", |listed| listed[0]["listening"].is_string()).await;
    assert_eq!((listed.as_array().map(Vec::len), &listed[0]["name"]), (Some(1), &"bot/qq".into()));
    assert_eq!(operated.told(&["connectors", "stop", "bot/qq"]).await, "bot/qq is stopped\n");
    assert_eq!(operated.get("/api/v1/bots/bot/connectors/qq").await["link"], "stopped");
    let list = operated.told(&["connectors", "list"]).await;
    assert!(list.contains("bot/qq") && list.contains("the operator stopped it") && list.contains("chat"), "{list}");
    let shown = operated.told(&["connectors", "show", "chat"]).await;
    assert!(shown.contains("connected") && shown.contains("1 made, 0 lost, 0 tries failed"), "{shown}");
    operated.told(&["connectors", "start", "bot/qq"]).await;
    operated.asked_until("/api/v1/bots/bot/connectors/qq", |qq| qq["listening"].is_string()).await;
}
