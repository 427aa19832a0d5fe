//! What waits in the outboxes, and having it delivered now, with what was lost.

use bothost::connector::{DeliveryError, Link};
use http::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;

use super::Operated;

const STATISTICS: &str = "/api/v1/outbox/statistics";
/// How often what is held is tried in vain.
const FAILURES: u64 = 7;
const REPLAY: &str = "/api/v1/outbox/replay?connector=chat";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_lost_is_delivered_in_order_after_all_and_once() {
    let operated = Operated::start("", &["bot"]).await;
    let host = &operated.host;
    for number in 0..3 {
        host.chat.script(Err(DeliveryError::Permanent("muted".to_owned())));
        host.ask("lobby", &format!("!echo {number}")).await;
    }
    operated.asked_until(STATISTICS, |buffers| buffers[0]["given_up"] == 3).await;
    assert_eq!(host.ask("lobby", "!echo 3").await, "3");
    let before = host.chat.delivered_count();

    let none = json!({ "connector": "chat", "hastened": 0, "restored": 0, "has_more": false });
    assert_eq!(operated.post(REPLAY).await, none, "what is lost stays so, where it is not asked for");
    let replayed = operated.post(&format!("{REPLAY}&lost_since=1h")).await;
    assert_eq!(replayed["restored"], 3, "{replayed}");
    assert_eq!(host.answers_since(before, 3).await, ["0", "1", "2"]);
    operated.asked_until(STATISTICS, |buffers| buffers[0]["waiting"] == 0).await;
    assert_eq!(operated.post(&format!("{REPLAY}&lost_since=1h")).await, none, "none of them is lost any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_put_back_than_there_is_room_for_and_nothing_that_the_operator_gave_up() {
    let operated = Operated::start("[outbox]\nmax_len = 2\n", &["bot"]).await;
    let host = &operated.host;
    for number in 0..3 {
        host.chat.script(Err(DeliveryError::Permanent("muted".to_owned())));
        host.ask("lobby", &format!("!echo {number}")).await;
    }
    operated.asked_until(STATISTICS, |buffers| buffers[0]["given_up"] == 3).await;
    host.chat.set_link(Link::BackingOff { error: "away".to_owned(), wait: Duration::from_secs(1) });
    operated.asked_until(STATISTICS, |buffers| buffers[0]["outflow"] == "closed").await;
    host.say("lobby", "!echo given up").await;
    let waiting = operated.asked_until("/api/v1/outbox", |waiting| waiting[0]["id"].is_u64()).await;
    operated.client.delete(&format!("/api/v1/outbox/{}", waiting[0]["id"])).await.unwrap();

    let said = operated.told(&["outbox", "replay", "--connector", "chat", "--lost-since", "1h"]).await;
    assert_eq!(said, "0 conversations wait no more, 2 lost actions wait again\n");
    let buffers = operated.get(STATISTICS).await;
    let shown = ["connector", "waiting", "capacity", "overflow", "given_up"].map(|name| buffers[0][name].clone());
    assert_eq!(shown, [json!("chat"), json!(2), json!(2), json!("reject"), json!(3)], "{buffers:#}");
    assert!(buffers[0]["oldest"].is_string());
    let full = operated.post(&format!("{REPLAY}&lost_since=1h")).await;
    assert_eq!((&full["restored"], &full["has_more"]), (&0.into(), &true.into()));

    let before = host.chat.delivered_count();
    host.chat.set_link(Link::Connected);
    host.answers_since(before, 2).await;
    operated.asked_until(STATISTICS, |buffers| buffers[0]["waiting"] == 0).await;
    let last = operated.post(&format!("{REPLAY}&lost_since=1h")).await;
    assert_eq!((&last["restored"], &last["has_more"]), (&1.into(), &false.into()), "not what was given up");
    assert_eq!(host.answers_since(before, 3).await, ["0", "1", "2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_another_try_is_tried_at_once() {
    let operated = Operated::start("", &["bot"]).await;
    let host = &operated.host;
    for _ in 0..FAILURES {
        host.chat.script(Err(DeliveryError::Retryable("busy".to_owned())));
    }
    host.say("lobby", "!echo at last").await;
    // Left alone, the seventh try comes after more than half a minute.
    let mut hastened = 0;
    for tried in 1..=FAILURES {
        host.chat.wait_for_delivered(tried).await;
        let is_held = |buffers: &Value| buffers[0]["held"] == 1 || host.chat.delivered_count() > tried;
        operated.asked_until(STATISTICS, is_held).await;
        hastened += operated.post(REPLAY).await["hastened"].as_u64().unwrap();
    }
    assert!(hastened > FAILURES / 2, "{hastened}");
    host.chat.wait_for_delivered(FAILURES + 1).await;
    operated.asked_until(STATISTICS, |buffers| buffers[0]["delivered"] == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_needs_a_connector_that_there_is() {
    let operated = Operated::start("", &[]).await;
    let (status, detail) = operated.refused("/api/v1/outbox/replay", None).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(detail.contains("connector"), "{detail}");
    let (status, _) = operated.refused("/api/v1/outbox/replay?connector=other", None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}
