//! Connectors of one host that platforms call: they share a listener, and none is disturbed by another's coming and going.

use std::time::Duration;

use bothost::connector::{ConnectorConfig, Ingress, Link, Ports};
use bothost::event::EventKind;
use harness::rig::{Rig, WITHIN};
use serde::Deserialize;
use serde_json::json;
use simulators::slack::{BOT_TOKEN, CHANNEL, Delivery, SIGNING_SECRET, Slack, post};
use tokio::time::timeout;

fn start(ingress: &Ingress, table: &str) -> Rig {
    let table: toml::Table = table.parse().expect("TOML");
    // `type` comes first, as the reader of configurations sees to.
    let (kind, rest): (Vec<_>, Vec<_>) = table.into_iter().partition(|(key, _)| key == "type");
    let entries = kind.into_iter().chain(rest);
    let config = ConnectorConfig::deserialize(serde::de::value::MapDeserializer::<_, toml::de::Error>::new(entries));
    let (config, ingress) = (config.expect("a good table"), ingress.clone());
    Rig::with_inbox(64, |ports| bothost::connector::run(config, Ports { ingress, ..ports }))
}

fn hook(listen: &str, path: &str) -> String {
    format!(
        "type = \"webhook\"\nlisten = \"{listen}\"\npath = \"{path}\"\nsignature = \"none\"\nreconnect_max = \"50ms\""
    )
}

async fn knock(url: &str) -> u16 {
    post(http::Request::post(url).body(Default::default()).expect("a request")).await.0
}

#[tokio::test]
async fn connectors_of_different_kinds_share_an_address_and_one_may_come_and_go() {
    let (ingress, slack) = (Ingress::default(), Slack::start().await);
    let mut hooks = start(&ingress, &hook("127.0.0.1:0", "/hooks/"));
    hooks.connected().await;
    let address = hooks.status.borrow().listening.unwrap().to_string();
    let events = format!(
        "type = \"slack\"\nbot_token = \"{BOT_TOKEN}\"\nsigning_secret = \"{SIGNING_SECRET}\"\nlisten = \"{address}\"\n\
         api_url = \"{}\"",
        slack.api_url()
    );
    for round in 0..3 {
        let mut chat = start(&ingress, &events);
        chat.connected().await;
        let delivery = Delivery::to(format!("http://{address}/slack/events"));
        let (_, payload) = slack.said(CHANNEL, "U1", "hello", json!({}));
        let (statuses, event) = tokio::join!(delivery.post_until_taken(&payload), chat.event());
        assert_eq!(statuses, [200], "{round}");
        assert!(matches!(event.kind, EventKind::Message(_)));
        chat.stop().await;
        assert_eq!(delivery.post(&payload).await.0, 404, "{round}");
        let url = format!("http://{address}/hooks/{round}");
        let (status, event) = tokio::join!(knock(&url), hooks.event());
        assert_eq!(status, 200);
        assert!(matches!(event.kind, EventKind::Webhook { path, .. } if path == format!("/hooks/{round}")));
    }
    hooks.stop().await;
    assert_eq!(knock(&format!("http://{address}/hooks/x")).await, 0, "nobody listens");
    // The same port, at once.
    let mut hooks = start(&ingress, &hook(&address, "/hooks/"));
    hooks.connected().await;
    hooks.stop().await;
    timeout(WITHIN, ingress.closed()).await.expect("nothing is left");
}

#[tokio::test]
async fn a_path_that_another_connector_has_is_refused_for_good_and_said_so() {
    let ingress = Ingress::default();
    let mut one = start(&ingress, &hook("127.0.0.1:0", "/x"));
    one.connected().await;
    let address = one.status.borrow().listening.unwrap().to_string();
    let mut other = start(&ingress, &hook(&address, "/x"));
    let link = other.link(|link| matches!(link, Link::AuthFailed { .. })).await;
    assert!(link.trouble().unwrap().contains("another connector has the path /x"), "{link:?}");
    other.stop().await;
    let url = format!("http://{address}/x");
    let (status, _) = tokio::join!(knock(&url), one.event());
    assert_eq!(status, 200, "the one that had it still has");
    one.stop().await;
}

#[tokio::test]
async fn a_stop_while_a_request_is_open_answers_it_and_does_not_wait_for_its_client() {
    let ingress = Ingress::default();
    let mut rig = start(&ingress, &hook("127.0.0.1:0", "/"));
    rig.connected().await;
    let url = format!("http://{}/", rig.status.borrow().listening.unwrap());
    let asked = tokio::spawn(async move { knock(&url).await });
    let arrival = rig.arrival().await;
    rig.stop().await;
    assert_eq!(timeout(Duration::from_secs(5), asked).await.unwrap().unwrap(), 503);
    drop(arrival);
    timeout(WITHIN, ingress.closed()).await.expect("nothing is left");
}
