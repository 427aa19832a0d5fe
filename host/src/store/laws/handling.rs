//! What holds for attempts.

use super::*;
use crate::action::{AlertChange, Schedule, Severity, TimerChange};
use crate::store::engine::State;
use crate::store::history::Stand;

fn writes(state: Vec<StateWrite>) -> Effects {
    Effects { state, ..Effects::default() }
}

fn timer(name: &str) -> TimerChange {
    TimerChange::Set { name: name.to_owned(), schedule: Schedule::After(Duration::from_secs(9)), payload: Vec::new() }
}

/// Everything that a handler can ask for.
fn everything(key: &str) -> Effects {
    let alert =
        AlertChange::Raise { key: "k".into(), severity: Severity::Info, summary: "s".into(), details: Vec::new() };
    Effects {
        actions: vec![saying("a", "x", Priority::Normal), saying("a", "y", Priority::Normal)],
        reads: Vec::new(),
        state: vec![set(key, "v")],
        timers: vec![timer("t")],
        alerts: vec![alert],
    }
}

pub(super) async fn what_a_handler_did_takes_effect_as_a_whole<B: Bench>() {
    let bench = B::new(options());
    let engine = bench.engine();
    engine.open(&chat(), outbox_of(9, Overflow::Reject, Order::Priority)).await;
    engine.tell("a", "1").await;
    let claimed = engine.next(NOW).await.unwrap();
    let effects = everything("k");
    let alerts = effects.alerts.clone();
    assert_eq!(engine.end(&claimed, effects).await, Settled::Done { alerts });
    assert_eq!((engine.value("k").await.as_deref(), engine.len(&chat()).await), (Some("v"), 2));
    assert_eq!(engine.timers(&bot("echo")).await.unwrap(), ["t"]);
    let id = engine.event_of(&claimed).await.unwrap().unwrap().id;
    let story = engine.story(id).await.unwrap().unwrap();
    assert!(matches!(story.handlings[0].stand, Stand::Done { at: NOW, .. }));
    assert_eq!((story.handlings[0].attempts, story.handlings[0].sends.len()), (1, 2));
    assert_eq!(engine.end(&claimed, everything("again")).await, Settled::Gone);
    assert_eq!((engine.value("again").await, engine.len(&chat()).await), (None, 2));
}

pub(super) async fn what_is_refused_leaves_no_trace<B: Bench>() {
    let bench = B::new(options());
    let engine = bench.engine();
    engine.open(&chat(), outbox_of(9, Overflow::Reject, Order::Priority)).await;
    engine.tell("a", "1").await;
    let claimed = engine.next(NOW).await.unwrap();
    engine
        .try_end(engine.lease(), None, writes(vec![set("text", "x"), set("full", &i64::MAX.to_string())]))
        .await
        .unwrap();
    let add = |key: &str| StateWrite::Add { key: key.to_owned(), delta: 1 };
    let too_large = set("large", &"x".repeat(1 << 20));
    for refused in [add("text"), add("full"), too_large] {
        let mut effects = everything("k");
        effects.state.push(refused);
        let settled = engine.end(&claimed, effects).await;
        assert!(matches!(settled, Settled::Refused { .. }), "{settled:?}");
        assert_eq!((engine.value("k").await, engine.len(&chat()).await), (None, 0));
        assert!(engine.timers(&bot("echo")).await.unwrap().is_empty());
    }
    assert_eq!(engine.depth(&bot("echo")).await.claimed, 1, "it is still at work");
    assert!(matches!(engine.end(&claimed, everything("k")).await, Settled::Done { .. }));
}

pub(super) async fn a_handler_that_read_what_has_changed_runs_again<B: Bench>() {
    let bench = B::new(options());
    let engine = bench.engine();
    engine.tell("a", "1").await;
    engine.tell("b", "2").await;
    let (one, other) = (engine.next(NOW).await.unwrap(), engine.next(NOW).await.unwrap());
    let reads = |revision| Effects { reads: vec![saw("k", revision)], ..everything("k") };
    let conflict = Settled::Conflict { key: "k".into() };
    assert!(matches!(engine.end(&one, reads(None)).await, Settled::Done { .. }));
    assert_eq!(engine.end(&other, reads(None)).await, conflict);
    let seen = engine.get(&bot("echo"), "k", NOW).await.unwrap().unwrap().revision;
    // The same value again is another revision, and so is one that comes after a delete.
    for again in [vec![set("k", "v")], vec![StateWrite::Delete { key: "k".into() }, set("k", "v")]] {
        engine.try_end(engine.lease(), None, writes(again)).await.unwrap();
        assert_eq!(engine.end(&other, reads(Some(seen))).await, conflict);
    }
    let seen = engine.get(&bot("echo"), "k", NOW).await.unwrap().map(|found| found.revision);
    assert!(matches!(engine.end(&other, reads(seen)).await, Settled::Done { .. }));
}

pub(super) async fn what_is_added_side_by_side_is_merged<B: Bench>() {
    let bench = B::new(options());
    let engine = bench.engine();
    let add = || writes(vec![StateWrite::Add { key: "n".into(), delta: 3 }]);
    let lease = engine.lease();
    let adds = futures_util::future::join_all((0..32).map(|_| engine.try_end(lease, None, add()))).await;
    assert!(adds.into_iter().all(|settled| settled.unwrap() == done()));
    assert_eq!(engine.value("n").await.as_deref(), Some("96"));
}

pub(super) async fn a_failed_event_comes_again_when_it_is_due_and_holds_its_conversation<B: Bench>() {
    let bench = B::new(options());
    let engine = bench.engine();
    for (place, text) in [("a", "1"), ("a", "2"), ("b", "3")] {
        engine.tell(place, text).await;
    }
    let claimed = engine.next(NOW).await.unwrap();
    engine.fail(engine.lease(), &claimed, fault(&claimed), Some(later(10))).await.unwrap();
    assert_eq!(engine.texts(later(9)).await, ["3"], "what is behind it waits as well");
    let again = engine.next(later(10)).await.unwrap();
    assert_eq!((engine.text(&again).await, again.attempt), ("1".to_owned(), 2));
    engine.end(&again, Effects::default()).await;
    assert_eq!(engine.texts(later(10)).await, ["2"]);
}

pub(super) async fn the_last_failure_makes_a_dead_letter_with_its_last_attempt<B: Bench>() {
    let bench = B::new(options());
    let engine = bench.engine();
    engine.tell("a", "1").await;
    engine.tell("a", "2").await;
    for retry in [Some(NOW), Some(NOW), None] {
        let claimed = engine.next(NOW).await.unwrap();
        engine.fail(engine.lease(), &claimed, fault(&claimed), retry).await.unwrap();
    }
    let letter = engine.dead_letters(None, 9).await.unwrap().pop().unwrap();
    assert_eq!((letter.attempts, letter.last.as_ref().map(|last| last.message.as_str())), (3, Some("attempt 3")));
    let story = engine.story(letter.id).await.unwrap().unwrap();
    let faults: Vec<_> = story.handlings[0].faults.iter().map(|fault| fault.attempt).collect();
    assert_eq!((faults, story.handlings[0].stand), (vec![1, 2, 3], Stand::Dead { at: NOW }));
    assert_eq!(engine.texts(NOW).await, ["2"], "the conversation goes on");
}

pub(super) async fn a_dead_letter_is_tried_anew_or_dropped<B: Bench>() {
    let bench = B::new(options());
    let engine = bench.engine();
    let echo = bot("echo");
    for text in ["1", "2"] {
        engine.tell("a", text).await;
        let claimed = engine.next(NOW).await.unwrap();
        engine.fail(engine.lease(), &claimed, fault(&claimed), None).await.unwrap();
    }
    let letters = engine.dead_letters(Some(&echo), 9).await.unwrap();
    let [second, first] = [letters[0].id, letters[1].id];
    assert!(!engine.retry_dead_letter(first, &bot("other")).await.unwrap());
    assert!(engine.retry_dead_letter(first, &echo).await.unwrap());
    assert!(!engine.retry_dead_letter(first, &echo).await.unwrap(), "it is none any more");
    assert!(engine.drop_dead_letter(second, &echo).await.unwrap());
    assert!(!engine.drop_dead_letter(second, &echo).await.unwrap());
    assert_eq!(engine.dead_letters(None, 9).await.unwrap(), []);
    let again = engine.next(NOW).await.unwrap();
    assert_eq!((engine.text(&again).await, again.attempt), ("1".to_owned(), 1));
    assert!(engine.story(first).await.unwrap().unwrap().handlings[0].faults.is_empty());
    assert_eq!(engine.end(&again, Effects::default()).await, done());
}

pub(super) async fn what_is_given_back_was_no_attempt<B: Bench>() {
    let bench = B::new(options());
    let engine = bench.engine();
    engine.tell("a", "1").await;
    engine.tell("b", "2").await;
    let claimed = engine.next(NOW).await.unwrap();
    engine.unclaim(&claimed, None).await;
    let again = engine.next(NOW).await.unwrap();
    assert_eq!((engine.text(&again).await, again.attempt), ("1".to_owned(), 1), "its turn is not lost");
    engine.unclaim(&again, Some(later(10))).await;
    assert_eq!(engine.texts(later(9)).await, ["2"]);
    assert_eq!(engine.next(later(10)).await.unwrap().attempt, 1);
}

pub(super) async fn what_a_bot_does_not_want_is_gone<B: Bench>() {
    let bench = B::new(options());
    let engine = bench.engine();
    engine.tell("a", "1").await;
    engine.tell("a", "2").await;
    let claimed = engine.next(NOW).await.unwrap();
    let id = engine.event_of(&claimed).await.unwrap().unwrap().id;
    engine.dismiss(engine.lease(), &claimed).await;
    assert_eq!(engine.texts(NOW).await, ["2"]);
    // What is written behind the note comes after it.
    engine.try_end(engine.lease(), None, writes(vec![set("k", "v")])).await.unwrap();
    assert_eq!(engine.story(id).await.unwrap().unwrap().handlings[0].stand, Stand::Unwanted);
    assert_eq!(engine.end(&claimed, writes(vec![set("late", "v")])).await, Settled::Gone);
    assert_eq!(engine.value("late").await, None);
}

pub(super) async fn an_event_that_was_taken_away_meanwhile_has_no_effect<B: Bench>() {
    let bench = B::new(options());
    let engine = bench.engine();
    engine.open(&chat(), outbox_of(9, Overflow::Reject, Order::Priority)).await;
    engine.tell("a", "1").await;
    let claimed = engine.next(NOW).await.unwrap();
    engine.forget_bot(&bot("echo")).await.unwrap();
    assert_eq!(engine.end(&claimed, everything("k")).await, Settled::Gone);
    engine.fail(engine.lease(), &claimed, fault(&claimed), Some(NOW)).await.unwrap();
    assert_eq!((engine.value("k").await, engine.len(&chat()).await), (None, 0));
    let letter = engine.dead_letters(None, 9).await.unwrap().pop().unwrap();
    assert_eq!(letter.last.unwrap().outcome, "bot-removed");
}

pub(super) async fn an_init_is_a_transaction_without_an_event<B: Bench>() {
    let bench = B::new(options());
    let engine = bench.engine();
    engine.open(&chat(), outbox_of(9, Overflow::Reject, Order::Priority)).await;
    let settled = engine.try_end(engine.lease(), None, everything("k")).await.unwrap();
    assert!(matches!(settled, Settled::Done { alerts } if alerts.len() == 1));
    assert_eq!((engine.value("k").await.as_deref(), engine.len(&chat()).await), (Some("v"), 2));
}

pub(super) async fn keys_come_in_byte_order_from_a_prefix<B: Bench>() {
    let bench = B::new(options());
    let engine = bench.engine();
    let names = ["a", "a\0", "aB", "ab", "aé", "b"];
    engine.try_end(engine.lease(), None, writes(names.iter().rev().map(|name| set(name, "")).collect())).await.unwrap();
    let echo = bot("echo");
    let keys = async |prefix, after, limit| engine.keys(&echo, prefix, after, limit, NOW).await.unwrap();
    assert_eq!(keys("", None, 100).await, names);
    assert_eq!(keys("a", Some("aB"), 1).await, ["ab"]);
    assert_eq!(keys("b", Some("a"), 100).await, ["b"]);
    assert!(engine.keys(&bot("other"), "", None, 9, NOW).await.unwrap().is_empty());
}
