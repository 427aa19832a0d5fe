//! What holds for owners.

use std::time::Duration;

use super::*;
use crate::store::StoreError;
use crate::store::engine::{LeaseName, Leases};

const TTL: Duration = Duration::from_millis(100);

fn token() -> LeaseName {
    LeaseName::Connector(chat())
}

pub(super) async fn a_lease_has_one_owner_until_its_time_is_over<B: Bench>() {
    let bench = B::new(options());
    let engine = bench.engine();
    let first = engine.acquire(&token(), "a", TTL, NOW).await.unwrap().unwrap();
    assert_eq!((first.expires_at, &*first.holder), (later(100), "a"));
    for holder in ["a", "b"] {
        assert_eq!(engine.acquire(&token(), holder, TTL, later(99)).await.unwrap(), None);
    }
    let other = LeaseName::Connector("echo/chat".parse().unwrap());
    assert!(engine.acquire(&other, "b", TTL, NOW).await.unwrap().is_some());
    let renewed = engine.renew(&first, TTL, later(50)).await.unwrap().unwrap();
    assert_eq!((renewed.fence, renewed.expires_at), (first.fence, later(150)));
    assert_eq!(engine.acquire(&token(), "b", TTL, later(149)).await.unwrap(), None);
    assert_eq!(engine.renew(&renewed, TTL, later(150)).await.unwrap(), None, "its time was over");
    assert!(engine.acquire(&token(), "b", TTL, later(150)).await.unwrap().is_some());
}

pub(super) async fn every_owner_has_a_higher_fence<B: Bench>() {
    let mut bench = B::new(options());
    let mut fences = Vec::new();
    for round in 0..4 {
        let lease = bench.engine().acquire(&token(), "a", TTL, later(round * 100)).await.unwrap().unwrap();
        fences.push(lease.fence);
        bench = bench.reopen(End::Died).await;
    }
    assert!(fences.is_sorted_by(|one, next| one < next), "{fences:?}");
}

pub(super) async fn what_an_earlier_owner_writes_is_refused<B: Bench>() {
    let bench = B::new(options());
    let engine = bench.engine();
    let old = engine.lease().clone();
    engine.open(&chat(), outbox_of(9, Overflow::Reject, Order::Fifo)).await;
    engine.tell("a", "1").await;
    engine.say(vec![saying("a", "x", Priority::Normal)]).await;
    let (claimed, entry) = (engine.next(NOW).await.unwrap(), engine.take(&old, &chat(), NOW).await.unwrap().unwrap());
    engine.release(&old).await.unwrap();
    let new = engine.acquire(&old.name, "the next", TTL, NOW).await.unwrap().unwrap();
    assert!(new.fence > old.fence);

    let effects = || Effects { state: vec![set("k", "v")], ..Effects::default() };
    let refused = engine.try_end(&old, Some(&claimed), effects()).await.unwrap_err();
    let (fence, current) = (old.fence.0, new.fence.0);
    assert!(
        matches!(&refused, StoreError::Fenced { name, fence: of, current: now }
            if *name == "partition/0" && (*of, *now) == (fence, current)),
        "{refused}"
    );
    let refusals = [
        engine.try_end(&old, None, effects()).await.map(drop),
        engine.fail(&old, &claimed, fault(&claimed), None).await,
        engine.begun(&old, &entry).await,
        engine.delivered(&old, entry.clone(), 1, None).await,
        engine.lost(&old, entry.clone(), 1, "x").await,
    ];
    for refusal in refusals {
        assert!(matches!(refusal, Err(StoreError::Fenced { .. })), "{refusal:?}");
    }
    assert_eq!((engine.value("k").await, engine.dead_letters(None, 9).await.unwrap().len()), (None, 0));

    assert_eq!(engine.try_end(&new, Some(&claimed), effects()).await.unwrap(), done());
    engine.delivered(&new, entry, 1, None).await.unwrap();
    assert_eq!((engine.value("k").await.as_deref(), engine.len(&chat()).await), (Some("v"), 0));
}

pub(super) async fn a_lease_can_be_given_back<B: Bench>() {
    let bench = B::new(options());
    let engine = bench.engine();
    let first = engine.acquire(&token(), "a", TTL, NOW).await.unwrap().unwrap();
    engine.release(&first).await.unwrap();
    assert_eq!(engine.renew(&first, TTL, NOW).await.unwrap(), None);
    let second = engine.acquire(&token(), "b", TTL, NOW).await.unwrap().unwrap();
    assert!(second.fence > first.fence);
    engine.release(&first).await.unwrap();
    assert_eq!(
        engine.acquire(&token(), "c", TTL, NOW).await.unwrap(),
        None,
        "it was no longer the first one's to give"
    );
}

pub(super) async fn every_process_is_an_owner_of_its_own<B: Bench>() {
    let bench = B::new(options());
    let first = bench.engine().lease().clone();
    let bench = bench.reopen(End::Closed).await;
    let second = bench.engine().lease().clone();
    let bench = bench.reopen(End::Died).await;
    let third = bench.engine().lease().clone();
    assert!(first.fence < second.fence && second.fence < third.fence);
    let effects = Effects { state: vec![set("k", "v")], ..Effects::default() };
    let refused = bench.engine().try_end(&second, None, effects).await;
    assert!(matches!(refused, Err(StoreError::Fenced { .. })), "{refused:?}");
}
