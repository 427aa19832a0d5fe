//! What holds for events until a bot has them.

use futures_util::FutureExt;

use super::*;
use crate::store::history::Stand;

async fn bring<E: Engine>(engine: &E, event: Event) -> Appended {
    engine.append(Partition::ONLY, to(&[("echo", Priority::Normal)], event)).await.unwrap()
}

fn new() -> Appended {
    Appended::New { overflowing: Vec::new() }
}

pub(super) async fn a_second_delivery_is_known_within_the_window_and_not_after_it<B: Bench>() {
    let bench = B::new(options());
    let engine = bench.engine();
    let first = message("a", "1", Some("7"));
    let id = first.id;
    assert_eq!(bring(&*engine, first).await, new());
    for ms in [0, 99] {
        let again = Event { received_at: later(ms), ..message("a", "again", Some("7")) };
        assert_eq!(bring(&*engine, again).await, Appended::Duplicate);
    }
    assert_eq!(engine.story(id).await.unwrap().unwrap().duplicates, 2);
    assert_eq!(bring(&*engine, Event { received_at: later(100), ..message("a", "2", Some("7")) }).await, new());
    assert_eq!(engine.depth(&bot("echo")).await.queued, 2);
}

pub(super) async fn of_one_event_delivered_by_many_at_once_one_is_new<B: Bench>() {
    let bench = B::new(options());
    let engine = bench.engine();
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let engine = Arc::clone(&engine);
            tokio::spawn(async move { bring(&*engine, message("a", "1", Some("7"))).await })
        })
        .collect();
    let mut fresh = 0;
    for task in tasks {
        match task.await.unwrap() {
            Appended::New { .. } => fresh += 1,
            other => assert_eq!(other, Appended::Duplicate),
        }
    }
    assert_eq!((fresh, engine.depth(&bot("echo")).await.queued), (1, 1));
}

pub(super) async fn two_connectors_and_an_event_without_an_id_are_kept_apart<B: Bench>() {
    let bench = B::new(options());
    let engine = bench.engine();
    assert_eq!(bring(&*engine, message("a", "1", Some("7"))).await, new());
    let origin = Some("echo/chat".parse().unwrap());
    let other = NewEvent { origin, ..to(&[("echo", Priority::Normal)], message("a", "2", Some("7"))) };
    assert_eq!(engine.append(Partition::ONLY, other).await.unwrap(), new());
    for text in ["3", "4"] {
        assert_eq!(bring(&*engine, message("a", text, None)).await, new());
    }
}

pub(super) async fn a_conversation_comes_in_order_and_holds_up_no_other<B: Bench>() {
    let bench = B::new(options());
    let engine = bench.engine();
    for (place, text) in [("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", "a3"), ("b", "b2")] {
        engine.tell(place, text).await;
    }
    let (a1, b1) = (engine.next(NOW).await.unwrap(), engine.next(NOW).await.unwrap());
    assert_eq!((engine.text(&a1).await, engine.text(&b1).await), ("a1".to_owned(), "b1".to_owned()));
    assert!(engine.next(NOW).await.is_none(), "both conversations are at work");
    assert_eq!(engine.end(&a1, Effects::default()).await, done());
    let a2 = engine.next(NOW).await.unwrap();
    assert_eq!(engine.text(&a2).await, "a2");
    let depth = engine.depth(&bot("echo")).await;
    assert_eq!((depth.queued, depth.claimed), (2, 2));
}

pub(super) async fn the_urgent_goes_first_and_nothing_starves<B: Bench>() {
    let bench = B::new(options());
    let engine = bench.engine();
    let classes = [Priority::Low, Priority::Normal, Priority::High, Priority::Critical];
    for number in 0..30 {
        for class in classes {
            engine.tell_at(&format!("{class:?}{number}"), &format!("{class:?}"), class).await;
        }
    }
    let mut first = Vec::new();
    for _ in 0..30 {
        let claimed = engine.next(NOW).await.unwrap();
        first.push(engine.text(&claimed).await);
    }
    let share = |class| first.iter().filter(|text| **text == format!("{class:?}")).count();
    assert_eq!(first[0], "Critical");
    assert!(classes.windows(2).all(|pair| share(pair[0]) < share(pair[1])), "{first:?}");
    assert!(share(Priority::Low) > 0, "{first:?}");
}

pub(super) async fn every_bot_that_hears_an_event_has_it<B: Bench>() {
    let bench = B::new(options());
    let engine = bench.engine();
    let event = message("a", "1", None);
    let id = event.id;
    let hearing = [("echo", Priority::Normal), ("log", Priority::Low)];
    engine.append(Partition::ONLY, to(&hearing, event)).await.unwrap();
    for (name, _) in hearing {
        let claimed = engine.claim(engine.lease(), &bot(name), NOW).await.unwrap().unwrap();
        assert_eq!(engine.text(&claimed).await, "1");
        engine.end(&claimed, Effects::default()).await;
    }
    let story = engine.story(id).await.unwrap().unwrap();
    let handlings: Vec<_> = story.handlings.iter().map(|of| (of.bot.as_str(), of.priority)).collect();
    assert_eq!(handlings, hearing);
    assert!(story.handlings.iter().all(|handling| matches!(handling.stand, Stand::Done { fuel: 5, .. })));
    assert_eq!((story.event.map(|event| text_of(&event)), story.origin), (Some("1".into()), Some("chat".into())));
}

pub(super) async fn who_brings_more_than_the_queue_takes_waits_for_room<B: Bench>() {
    let one_by_count = QueueBounds { events_max: 1, ..options().queue };
    let one_by_bytes = QueueBounds { bytes_max: 1, ..options().queue };
    for queue in [one_by_count, one_by_bytes] {
        let bench = B::new(StoreOptions { queue, ..options() });
        let engine = bench.engine();
        engine.tell("a", "1").await;
        let mut bringing = Box::pin(engine.tell("a", "2"));
        for _ in 0..10 {
            assert!((&mut bringing).now_or_never().is_none(), "there is no room");
            tokio::task::yield_now().await;
        }
        let claimed = engine.next(NOW).await.unwrap();
        engine.end(&claimed, Effects::default()).await;
        bringing.await;
        assert_eq!(engine.texts(NOW).await, ["2"]);
    }
}

pub(super) async fn a_bot_with_all_it_may_have_gets_dead_letters_and_holds_up_nobody<B: Bench>() {
    let queue = QueueBounds { events_per_bot_max: 1, ..options().queue };
    let bench = B::new(StoreOptions { queue, ..options() });
    let engine = bench.engine();
    engine.tell("a", "1").await;
    let hearing = to(&[("echo", Priority::Normal), ("log", Priority::Normal)], message("a", "2", None));
    let appended = engine.append(Partition::ONLY, hearing).await.unwrap();
    assert_eq!(appended, Appended::New { overflowing: vec![bot("echo")] });
    assert_eq!((engine.depth(&bot("echo")).await.queued, engine.depth(&bot("log")).await.queued), (1, 1));
    let letters = engine.dead_letters(Some(&bot("echo")), 9).await.unwrap();
    let why = letters[0].last.as_ref().unwrap();
    assert_eq!((letters.len(), letters[0].attempts, why.attempt, why.outcome.as_str()), (1, 0, 0, "queue-full"));
    assert_eq!(letters[0].event.as_ref().map(text_of).as_deref(), Some("2"));
}

pub(super) async fn of_a_bot_that_is_removed_everything_is_a_dead_letter<B: Bench>() {
    let bench = B::new(options());
    let engine = bench.engine();
    for text in ["1", "2"] {
        engine.tell("a", text).await;
    }
    engine.append(Partition::ONLY, to(&[("log", Priority::Normal)], message("a", "3", None))).await.unwrap();
    let claimed = engine.next(NOW).await.unwrap();
    assert_eq!(engine.forget_bot(&bot("echo")).await.unwrap(), 2);
    let letters = engine.dead_letters(None, 9).await.unwrap();
    let texts: Vec<_> = letters.iter().map(|letter| text_of(letter.event.as_ref().unwrap())).collect();
    assert_eq!(texts, ["2", "1"], "the latest first");
    assert!(letters.iter().all(|letter| letter.last.as_ref().unwrap().outcome == "bot-removed"));
    assert_eq!(engine.end(&claimed, Effects::default()).await, Settled::Gone);
    assert_eq!((engine.depth(&bot("echo")).await.queued, engine.depth(&bot("log")).await.queued), (0, 1));
}
