//! What holds for actions.

use super::*;
use crate::store::Sent;
use crate::store::history::{SendFilter, SendStand};

fn ticket(action: &Action) -> Ticket {
    match &action.act {
        Act::Send { ticket, .. } => *ticket,
        other => panic!("{other:?}"),
    }
}

fn normal(place: &str, text: &str) -> Action {
    saying(place, text, Priority::Normal)
}

async fn opened<B: Bench>(settings: OutboxSettings) -> (B, Arc<B::Engine>) {
    let bench = B::new(options());
    let engine = bench.engine();
    engine.open(&chat(), settings).await;
    (bench, engine)
}

fn roomy() -> OutboxSettings {
    outbox_of(9, Overflow::Reject, Order::Priority)
}

pub(super) async fn actions_leave_in_order_within_a_conversation_and_side_by_side<B: Bench>() {
    let (_bench, engine) = opened::<B>(roomy()).await;
    let urgent = saying("c", "c1", Priority::Critical);
    engine.say(vec![normal("a", "a1"), normal("a", "a2"), normal("b", "b1"), urgent]).await;
    let mut taken = Vec::new();
    while let Some(entry) = engine.take(engine.lease(), &chat(), NOW).await.unwrap() {
        taken.push(entry);
    }
    let mut texts = Vec::new();
    for entry in &taken {
        texts.push(said(&engine.action_of(entry).await.unwrap().unwrap()));
    }
    assert_eq!(texts, ["c1", "a1", "b1"]);
    engine.delivered(engine.lease(), taken.remove(1), 1, None).await.unwrap();
    assert_eq!((engine.leaving(NOW).await, engine.len(&chat()).await), (vec!["a2".to_owned()], 3));
}

pub(super) async fn what_is_held_holds_its_conversation_and_keeps_its_tries<B: Bench>() {
    let (_bench, engine) = opened::<B>(roomy()).await;
    engine.say(vec![normal("a", "1"), normal("a", "2")]).await;
    let entry = engine.take(engine.lease(), &chat(), NOW).await.unwrap().unwrap();
    engine.hold(engine.lease(), &entry, 1, later(10), "busy").await;
    assert!(engine.take(engine.lease(), &chat(), later(9)).await.unwrap().is_none());
    let again = engine.take(engine.lease(), &chat(), later(10)).await.unwrap().unwrap();
    assert_eq!((again.id, again.attempts), (entry.id, 1));
    assert!(!engine.drop_send(again.id).await.unwrap(), "it is being delivered");
}

pub(super) async fn a_message_is_known_by_the_platforms_id_once_it_is_delivered<B: Bench>() {
    let (_bench, engine) = opened::<B>(roomy()).await;
    let (one, other) = (normal("a", "1"), normal("a", "2"));
    let (of_one, of_other) = (ticket(&one), ticket(&other));
    engine.say(vec![one, other]).await;
    assert_eq!(engine.sent(of_one).await.unwrap(), Sent::NotYet);
    let entry = engine.take(engine.lease(), &chat(), NOW).await.unwrap().unwrap();
    engine.begun(engine.lease(), &entry).await.unwrap();
    assert_eq!(engine.sent(of_one).await.unwrap(), Sent::NotYet);
    engine.delivered(engine.lease(), entry, 1, Some("m1".into())).await.unwrap();
    let entry = engine.take(engine.lease(), &chat(), NOW).await.unwrap().unwrap();
    engine.lost(engine.lease(), entry, 3, "refused").await.unwrap();
    assert_eq!(engine.sent(of_one).await.unwrap(), Sent::As("m1".into()));
    assert_eq!(
        (engine.sent(of_other).await.unwrap(), engine.sent(Ticket(5)).await.unwrap()),
        (Sent::Never, Sent::Never)
    );
}

pub(super) async fn what_is_lost_can_be_sent_after_all_and_what_waits_can_be_dropped<B: Bench>() {
    let (_bench, engine) = opened::<B>(roomy()).await;
    engine.say(vec![normal("a", "1"), normal("b", "2")]).await;
    let entry = engine.take(engine.lease(), &chat(), NOW).await.unwrap().unwrap();
    engine.lost(engine.lease(), entry.clone(), 3, "refused").await.unwrap();
    let lost = engine.sends(SendFilter::Lost, Some(&chat()), 9).await.unwrap();
    assert!(matches!(&lost[0].stand, SendStand::Lost { reason, .. } if reason == "refused"));
    assert_eq!((lost.len(), lost[0].id, lost[0].attempts), (1, entry.id, 3));
    assert!(engine.retry_send(entry.id).await.unwrap());
    assert!(!engine.retry_send(entry.id).await.unwrap());
    let waiting = engine.sends(SendFilter::Waiting, None, 9).await.unwrap();
    assert_eq!(waiting.iter().map(|send| send.attempts).collect::<Vec<_>>(), [0, 0]);
    assert!(engine.drop_send(waiting[1].id).await.unwrap());
    assert!(!engine.drop_send(waiting[1].id).await.unwrap());
    assert_eq!(engine.leaving(NOW).await, ["1"]);
}

pub(super) async fn what_is_sent_to_a_connector_that_is_gone_is_lost<B: Bench>() {
    let (_bench, engine) = opened::<B>(roomy()).await;
    engine.say(vec![normal("a", "1"), normal("b", "2")]).await;
    let at_work = engine.take(engine.lease(), &chat(), NOW).await.unwrap().unwrap();
    assert_eq!(engine.close(&chat()).await.unwrap(), 1);
    engine.delivered(engine.lease(), at_work, 1, Some("m".into())).await.unwrap();
    engine.say(vec![normal("a", "3")]).await;
    let lost = engine.sends(SendFilter::Lost, None, 9).await.unwrap();
    let lost: Vec<_> = lost.iter().map(|send| said(send.action.as_ref().unwrap())).collect();
    assert_eq!(lost, ["3", "2"], "the latest first");
}

pub(super) async fn a_full_outbox_never_grows_where_something_gives_way<B: Bench>() {
    for (overflow, left) in [(Overflow::DropOldest, ["6", "7"]), (Overflow::DropNewest, ["0", "1"])] {
        let (_bench, engine) = opened::<B>(outbox_of(2, overflow, Order::Fifo)).await;
        // Within one handler and across those that settle side by side.
        engine.say((0..4).map(|number| normal(&number.to_string(), &number.to_string())).collect()).await;
        assert_eq!(engine.len(&chat()).await, 2, "{overflow:?}");
        futures_util::future::join_all(
            (4..8).map(|number| engine.say(vec![normal(&number.to_string(), &number.to_string())])),
        )
        .await;
        assert_eq!((engine.len(&chat()).await, engine.leaving(NOW).await), (2, left.map(str::to_owned).to_vec()));
        assert_eq!(engine.sends(SendFilter::Lost, None, 9).await.unwrap().len(), 6);
    }
}

pub(super) async fn what_gives_way_is_of_the_lowest_priority_also_in_order_of_arrival<B: Bench>() {
    for order in [Order::Priority, Order::Fifo] {
        let (_bench, engine) = opened::<B>(outbox_of(3, Overflow::DropLowPriority, order)).await;
        let classes = [("1", Priority::High), ("2", Priority::Low), ("3", Priority::Normal), ("4", Priority::Critical)];
        engine.say(classes.map(|(text, priority)| saying(text, text, priority)).to_vec()).await;
        let lost = engine.sends(SendFilter::Lost, None, 9).await.unwrap();
        assert_eq!(lost.iter().map(|send| said(send.action.as_ref().unwrap())).collect::<Vec<_>>(), ["2"], "{order:?}");
    }
}

pub(super) async fn another_order_counts_for_all_that_wait_once_what_is_at_work_has_ended<B: Bench>() {
    let (_bench, engine) = opened::<B>(roomy()).await;
    let texts = [("1", Priority::Low), ("2", Priority::Critical), ("3", Priority::Low)];
    engine.say(texts.map(|(text, priority)| saying(text, text, priority)).to_vec()).await;
    let at_work = engine.take(engine.lease(), &chat(), NOW).await.unwrap().unwrap();
    engine.open(&chat(), outbox_of(9, Overflow::Reject, Order::Fifo)).await;
    assert!(engine.take(engine.lease(), &chat(), NOW).await.unwrap().is_none());
    engine.delivered(engine.lease(), at_work, 1, None).await.unwrap();
    engine.say(vec![saying("4", "4", Priority::Critical)]).await;
    assert_eq!(engine.leaving(NOW).await, ["1", "3", "4"]);

    let (_bench, engine) = opened::<B>(outbox_of(9, Overflow::Reject, Order::Fifo)).await;
    engine.say(texts.map(|(text, priority)| saying(text, text, priority)).to_vec()).await;
    engine.open(&chat(), roomy()).await;
    assert_eq!(engine.leaving(NOW).await, ["2", "1", "3"]);
}

pub(super) async fn an_open_outbox_that_takes_fewer_loses_nothing<B: Bench>() {
    let (_bench, engine) = opened::<B>(roomy()).await;
    engine.say((0..4).map(|number| normal(&number.to_string(), &number.to_string())).collect()).await;
    engine.open(&chat(), outbox_of(1, Overflow::DropNewest, Order::Priority)).await;
    engine.say(vec![normal("late", "late")]).await;
    assert_eq!(engine.leaving(NOW).await, ["0", "1", "2", "3"]);
    assert_eq!(engine.sends(SendFilter::Lost, None, 9).await.unwrap().len(), 1);
}
