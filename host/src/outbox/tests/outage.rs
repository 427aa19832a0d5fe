//! Six hours without a platform, in simulated time: what is kept, what is given up, and how what is left leaves.

use std::collections::BTreeMap;

use tokio::time::{Instant, advance};

use super::*;
use crate::connector::{Link, PaceChoice};
use crate::store::history::SendStand;

const HOUR: Duration = Duration::from_secs(3_600);
/// Between two messages, all conversations together.
const EVERY: Duration = Duration::from_secs(10);
/// What is worth nothing a minute later: every third message.
const BRIEF: Duration = Duration::from_secs(60);
const CONVERSATIONS: usize = 4;
const LEN_MAX: usize = 200;

/// A message that the platform got, and when.
struct Got {
    at: Instant,
    conversation: String,
    number: usize,
}

/// Waits for what takes real time, such as a commit, while simulated time stands: a runtime that has something to do does not let its
/// clock run ahead.
async fn in_no_time<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    loop {
        tokio::select! {
            biased;
            done = &mut future => return done,
            () = tokio::task::yield_now() => {}
        }
    }
}

/// Spins until `is_so`, for real seconds at the most.
async fn until(is_so: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + WITHIN;
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "not in real {WITHIN:?}");
        tokio::task::yield_now().await;
    }
}

fn message(number: usize) -> Action {
    let mut action = saying(&number.to_string());
    action.at.id = format!("room-{}", number % CONVERSATIONS);
    if let Act::Send { ticket, message } = &mut action.act {
        *ticket = Ticket(number as u64);
        message.expires_after = number.is_multiple_of(3).then_some(BRIEF);
    }
    action
}

#[tokio::test(start_paused = true)]
async fn f065_six_hours_without_the_platform_keep_what_fits_and_is_worth_it_and_send_it_in_order_and_at_a_pace() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { durability: crate::delivery::Durability::Process, ..StoreOptions::default() };
    let store = Store::open(dir.path(), options).unwrap();
    store
        .outbox()
        .open(&key(), OutboxSettings { len_max: LEN_MAX, overflow: Overflow::DropOldest, order: Order::Priority });
    let (_terms, terms) = watch::channel(SendTerms { ttl: HOUR, on_uncertain: OnUncertain::Retry });
    let (publisher, status) = StatusPublisher::new();
    let signs = publisher.signs();
    let (deliveries, mut delivered) = mpsc::channel::<Delivery>(1);
    let telegram: crate::connector::ConnectorConfig = {
        let table = [("type", "telegram"), ("token", "1:x")].map(|(key, value)| (key, toml::Value::from(value)));
        serde::Deserialize::deserialize(serde::de::value::MapDeserializer::<_, toml::de::Error>::new(table.into_iter()))
            .unwrap()
    };
    assert_eq!(PaceChoice::default(), PaceChoice::Platform);
    let sender = Sender {
        key: key(),
        store: store.clone(),
        deliveries,
        status,
        limits: telegram.pace(),
        terms,
        metrics: Arc::new(Metrics::new()),
        tracer: Tracer::off(),
    };
    let cancel = CancellationToken::new();
    let task = tokio::spawn(sender.run(cancel.clone()));
    let platform = tokio::spawn(async move {
        let mut got = Vec::new();
        while let Some(Delivery { action, outcome, .. }) = delivered.recv().await {
            let Act::Send { message, .. } = action.act else { panic!("a message") };
            let number = message.text.parse().unwrap();
            got.push(Got { at: Instant::now(), conversation: action.at.id, number });
            let _ = outcome.send(Ok(Receipt::default()));
        }
        got
    });

    let mut committed = Vec::new();
    let count = (6 * HOUR.as_secs() / EVERY.as_secs()) as usize;
    for number in 1..=count {
        // It tries again every now and then, as a connector does.
        publisher.publish(match number % 6 {
            0 => Link::Connecting { error: Some("refused".to_owned()) },
            _ => Link::BackingOff { error: "refused".to_owned(), wait: Duration::from_secs(60) },
        });
        let now = Timestamp::steady();
        committed.push(now);
        let settlement = Settlement {
            bot: &"echo".parse().unwrap(),
            done: None,
            effects: Effects { actions: vec![message(number)], ..Effects::default() },
            state_bytes_max: 1 << 20,
            reply_by: None,
            now,
        };
        in_no_time(store.settle(settlement)).await.unwrap();
        assert!(store.outbox().len(&key()) <= LEN_MAX, "bounded, at message {number}");
        advance(EVERY).await;
    }
    let back_at = Instant::now();
    publisher.publish(Link::Connected);
    let mut steps = 0;
    while store.outbox().len(&key()) > 0 {
        advance(Duration::from_millis(50)).await;
        let before = store.outbox().len(&key());
        // What takes a commit takes real time.
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        steps += usize::from(before == store.outbox().len(&key()));
        assert!(steps < 100_000, "{before} are left");
    }
    let tally = || signs.tally();
    until(|| {
        let tally = tally();
        store.outbox().len(&key()) == 0 && tally.delivered > 0
    })
    .await;
    cancel.cancel();
    in_no_time(task).await.unwrap();
    let got = in_no_time(platform).await.unwrap();
    let lost = in_no_time(store.sends(SendFilter::Lost, None, count as u32)).await.unwrap();

    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for send in &lost {
        let SendStand::Lost { reason, .. } = &send.stand else { panic!("{send:?}") };
        *reasons.entry(reason.split(':').next().unwrap_or_default().to_owned()).or_default() += 1;
    }
    let (expired, displaced) = (reasons.get("expired").copied().unwrap_or(0), reasons.values().sum::<usize>());
    assert_eq!(got.len() + displaced, count, "every message was delivered or has its reason: {reasons:?}");
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert_eq!((tally().delivered as usize, tally().expired as usize), (got.len(), expired));
    assert!(expired >= count / 3 - 10, "each third was worth nothing a minute later: {reasons:?}");
    assert!(got.len() > LEN_MAX / 2 && got.len() <= LEN_MAX, "{}", got.len());

    for Got { at, conversation, number } in &got {
        let age = Timestamp::steady().saturating_since(committed[number - 1]).saturating_sub(Instant::now() - *at);
        let worth = if number.is_multiple_of(3) { BRIEF } else { HOUR };
        assert!(age < worth, "{number} to {conversation} after {age:?}");
    }
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    for Got { conversation, number, .. } in &got {
        assert!(last.insert(conversation, *number).is_none_or(|before| before < *number), "{conversation}: {number}");
    }
    let within =
        |from: Instant, window: Duration| got.iter().filter(|one| one.at >= from && one.at < from + window).count();
    // Five a second, growing by two and a half each second, the first at once.
    let at_first = within(back_at, Duration::from_secs(1));
    assert!(at_first <= 8, "it begins gently: {at_first}");
    for Got { at, .. } in &got {
        assert!(within(*at, Duration::from_secs(1)) <= 31, "the platform takes no more");
        for room in 0..CONVERSATIONS {
            let room = format!("room-{room}");
            let minute =
                got.iter().filter(|one| one.conversation == room && one.at >= *at && one.at < *at + BRIEF).count();
            assert!(minute <= 23, "twenty a minute in a group, and a short burst");
        }
    }
    in_no_time(store.close()).await;
}
