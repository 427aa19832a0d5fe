//! The connector that other tests drive.

use std::time::Duration;

use bothost::connector::scripted::scripted;
use bothost::connector::{ConnectorConfig, DeliveryError, Receipt, Stopping};
use bothost::event::EventKind;

use harness::rig::{Rig, say};

#[tokio::test]
async fn what_is_said_returns_once_it_was_taken_over() {
    let (connector, handle) = scripted("chat".parse().unwrap());
    let mut rig = Rig::with_inbox(1, |ports| bothost::connector::run(ConnectorConfig::Scripted(connector), ports));
    let said = handle.say("room", "m1", "hi");
    let taken = async {
        let event = rig.event().await;
        assert_eq!(event.platform_id.as_deref(), Some("room:m1"));
        assert!(matches!(event.kind, EventKind::Message(message) if message.text == "hi"));
    };
    let (said, ()) = tokio::join!(said, taken);
    said.unwrap();
    let (refused, ()) = tokio::join!(handle.say("room", "m2", "hi"), async { drop(rig.arrival().await) });
    assert_eq!(refused, Err(Stopping));
    rig.stop().await;
}

#[tokio::test]
async fn deliveries_are_remembered_and_end_as_the_script_says() {
    let (connector, handle) = scripted("chat".parse().unwrap());
    let rig = Rig::with_inbox(1, |ports| bothost::connector::run(ConnectorConfig::Scripted(connector), ports));
    let limited = DeliveryError::RateLimited(Duration::from_secs(3));
    handle.script(Err(limited.clone()));
    handle.script(Ok(Receipt { platform_id: Some("p".to_owned()) }));
    assert_eq!(rig.deliver("room", say("1")).await, Err(limited));
    assert_eq!(rig.deliver("room", say("2")).await.unwrap().platform_id.as_deref(), Some("p"));
    assert_eq!(rig.deliver("room", say("3")).await.unwrap().platform_id.as_deref(), Some("scripted-3"));
    assert_eq!(handle.delivered(3).await.len(), 3);
    rig.stop().await;
}

#[tokio::test]
async fn it_runs_again_after_it_was_stopped() {
    let (connector, handle) = scripted("chat".parse().unwrap());
    for round in 0..2 {
        let config = ConnectorConfig::Scripted(connector.clone());
        let mut rig = Rig::with_inbox(1, |ports| bothost::connector::run(config, ports));
        let id = round.to_string();
        let (said, message) = tokio::join!(handle.say("room", &id, "hi"), rig.message());
        said.unwrap();
        assert_eq!(message.id, id);
        rig.stop().await;
    }
}
