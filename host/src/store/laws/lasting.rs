//! What the next process finds.

use super::*;
use crate::delivery::OnUncertain;
use crate::store::Sent;
use crate::store::engine::State;
use crate::store::history::{SendFilter, SendStand};

pub(super) async fn everything_that_waits_is_there_again_in_order<B: Bench>() {
    for end in [End::Closed, End::Died] {
        let bench = B::new(options());
        for (place, text) in [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4")] {
            bench.engine().tell(place, text).await;
        }
        let bench = bench.reopen(end).await;
        let engine = bench.engine();
        assert_eq!(engine.depth(&bot("echo")).await.queued, 4);
        let first = engine.next(NOW).await.unwrap();
        assert_eq!((engine.text(&first).await, engine.texts(NOW).await), ("1".into(), vec!["2".into(), "4".into()]));
        engine.end(&first, Effects::default()).await;
        assert_eq!(engine.texts(NOW).await, ["3"]);
    }
}

pub(super) async fn attempts_are_counted_on_and_due_times_kept<B: Bench>() {
    let bench = B::new(options());
    let engine = bench.engine();
    engine.tell("a", "1").await;
    engine.tell("a", "2").await;
    for retry in [NOW, later(10)] {
        let claimed = engine.next(NOW).await.unwrap();
        engine.fail(engine.lease(), &claimed, fault(&claimed), Some(retry)).await.unwrap();
    }
    drop(engine);
    let bench = bench.reopen(End::Died).await;
    let engine = bench.engine();
    assert!(engine.next(later(9)).await.is_none());
    let claimed = engine.next(later(10)).await.unwrap();
    assert_eq!((engine.text(&claimed).await, claimed.attempt), ("1".to_owned(), 3));
    engine.fail(engine.lease(), &claimed, fault(&claimed), None).await.unwrap();
    let letter = engine.dead_letters(None, 9).await.unwrap().pop().unwrap();
    let story = engine.story(letter.id).await.unwrap().unwrap();
    assert_eq!((letter.attempts, story.handlings[0].faults.len()), (3, 3));
}

pub(super) async fn what_was_at_work_comes_again<B: Bench>() {
    let bench = B::new(options());
    bench.engine().tell("a", "1").await;
    let old = bench.engine().next(NOW).await.unwrap();
    let bench = bench.reopen(End::Closed).await;
    let engine = bench.engine();
    let again = engine.next(NOW).await.unwrap();
    assert_eq!((engine.text(&again).await, again.attempt), ("1".to_owned(), 1));
    assert_eq!(engine.end(&again, Effects::default()).await, done());
    assert_eq!(engine.end(&old, Effects::default()).await, Settled::Gone);
}

pub(super) async fn what_was_at_work_in_a_process_that_died_is_suspected_and_counted<B: Bench>() {
    let mut bench = B::new(options());
    bench.engine().tell("a", "1").await;
    for attempt in 1..=3 {
        bench = bench.reopen(End::Died).await;
        let engine = bench.engine();
        let claimed = engine.next(NOW).await.unwrap();
        assert_eq!((claimed.is_suspect, claimed.attempt), (true, attempt));
        // It is about to end this process as well.
        engine.begin(engine.lease(), &claimed).await.unwrap();
    }
}

pub(super) async fn a_process_that_died_before_it_wrote_anything_is_suspected_as_well<B: Bench>() {
    let bench = B::new(options());
    bench.engine().tell("a", "1").await;
    let bench = bench.reopen(End::Closed).await;
    assert!(!bench.engine().next(NOW).await.unwrap().is_suspect);
    let bench = bench.reopen(End::Died).await;
    assert!(bench.engine().next(NOW).await.unwrap().is_suspect);
}

pub(super) async fn an_orderly_end_casts_no_suspicion<B: Bench>() {
    let bench = B::new(options());
    bench.engine().tell("a", "1").await;
    let bench = bench.reopen(End::Died).await.reopen(End::Closed).await;
    let engine = bench.engine();
    let claimed = engine.next(NOW).await.unwrap();
    engine.begin(engine.lease(), &claimed).await.unwrap();
    drop(engine);
    let bench = bench.reopen(End::Closed).await;
    let claimed = bench.engine().next(NOW).await.unwrap();
    assert_eq!((claimed.is_suspect, claimed.attempt), (false, 1));
}

pub(super) async fn what_was_seen_and_sent_and_kept_is_known_again<B: Bench>() {
    let bench = B::new(options());
    let engine = bench.engine();
    engine.open(&chat(), outbox_of(9, Overflow::Reject, Order::Priority)).await;
    let bring = || to(&[("echo", Priority::Normal)], message("a", "1", Some("7")));
    engine.append(Partition::ONLY, bring()).await.unwrap();
    let action = saying("a", "x", Priority::Normal);
    let Act::Send { ticket, .. } = action.act else { panic!() };
    let claimed = engine.next(NOW).await.unwrap();
    engine.end(&claimed, Effects { state: vec![set("k", "v")], actions: vec![action], ..Effects::default() }).await;
    let entry = engine.take(engine.lease(), &chat(), NOW).await.unwrap().unwrap();
    engine.delivered(engine.lease(), entry, 1, Some("m1".into())).await.unwrap();
    let before = engine.get(&bot("echo"), "k", NOW).await.unwrap();
    drop(engine);
    let bench = bench.reopen(End::Died).await;
    let engine = bench.engine();
    assert_eq!(engine.append(Partition::ONLY, bring()).await.unwrap(), Appended::Duplicate);
    assert_eq!(engine.sent(ticket).await.unwrap(), Sent::As("m1".into()));
    assert_eq!(engine.get(&bot("echo"), "k", NOW).await.unwrap(), before);
    assert_eq!(engine.depth(&bot("echo")).await.queued, 0);
}

pub(super) async fn outboxes_are_as_they_were_in_the_order_they_want<B: Bench>() {
    for (order, expected) in [(Order::Fifo, ["1", "2", "3"]), (Order::Priority, ["2", "1", "3"])] {
        let bench = B::new(options());
        let engine = bench.engine();
        engine.open(&chat(), outbox_of(9, Overflow::Reject, order)).await;
        let classes = [("1", Priority::Normal), ("2", Priority::Critical), ("3", Priority::Low)];
        engine.say(classes.map(|(text, priority)| saying(text, text, priority)).to_vec()).await;
        drop(engine);
        let bench = bench.reopen(End::Died).await;
        let engine = bench.engine();
        assert_eq!(engine.len(&chat()).await, 3, "what was committed waits for its connector");
        engine.open(&chat(), outbox_of(9, Overflow::Reject, order)).await;
        assert_eq!(engine.leaving(NOW).await, expected, "{order:?}");
    }
}

pub(super) async fn what_was_perhaps_sent_is_lost_where_twice_is_worse<B: Bench>() {
    for (on_uncertain, left) in [(OnUncertain::Drop, 1), (OnUncertain::Retry, 2)] {
        let bench = B::new(StoreOptions { on_uncertain, ..options() });
        let engine = bench.engine();
        engine.open(&chat(), outbox_of(9, Overflow::Reject, Order::Priority)).await;
        engine.say(vec![saying("a", "1", Priority::Normal), saying("b", "2", Priority::Normal)]).await;
        let entry = engine.take(engine.lease(), &chat(), NOW).await.unwrap().unwrap();
        engine.begun(engine.lease(), &entry).await.unwrap();
        drop(engine);
        let bench = bench.reopen(End::Died).await;
        let engine = bench.engine();
        assert_eq!(engine.sends(SendFilter::Waiting, None, 9).await.unwrap().len(), left);
        if on_uncertain == OnUncertain::Drop {
            let lost = engine.sends(SendFilter::Lost, None, 9).await.unwrap();
            assert!(matches!(&lost[0].stand, SendStand::Lost { reason, .. } if reason == "uncertain"));
        }
    }
}
