use super::*;
use crate::action::{Act, Effects, Outgoing, Priority, TextFormat};
use crate::connector::StatusPublisher;
use crate::delivery::{Order, Overflow};
use crate::event::{Conversation, ConversationKind};
use crate::store::history::SendFilter;
use crate::store::{OutboxSettings, Settled, Settlement, StoreOptions};

mod outage;

const WITHIN: Duration = Duration::from_secs(30);

fn key() -> ConnectorKey {
    ConnectorKey::shared("chat".parse().unwrap())
}

fn saying(text: &str) -> Action {
    let at = Conversation {
        connector: key().name,
        id: text.to_owned(),
        kind: ConversationKind::Group,
        title: None,
        thread: None,
    };
    let message = Outgoing {
        text: text.to_owned(),
        format: TextFormat::Plain,
        buttons: Vec::new(),
        uploads: Vec::new(),
        reply_to: None,
        priority: Priority::Normal,
        expires_after: None,
    };
    Action { via: key(), at, act: Act::Send { ticket: Ticket(1), message } }
}

/// A store whose outbox has one entry.
async fn store_with_an_entry(dir: &std::path::Path) -> Store {
    let store = Store::open(dir, StoreOptions::default()).unwrap();
    let settings = OutboxSettings { len_max: 9, overflow: Overflow::Reject, order: Order::Priority };
    store.outbox().open(&key(), settings);
    let settlement = Settlement {
        bot: &"echo".parse().unwrap(),
        done: None,
        effects: Effects { actions: vec![saying("hello")], ..Effects::default() },
        state_bytes_max: 1 << 20,
        reply_by: None,
        now: Timestamp::now(),
    };
    assert_eq!(store.settle(settlement).await.unwrap(), Settled::Done { alerts: Vec::new() });
    store
}

#[tokio::test]
async fn a_shorter_time_counts_at_once_and_for_what_waits_already() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_with_an_entry(dir.path()).await;
    let terms_of = |ttl| SendTerms { ttl, on_uncertain: OnUncertain::Retry };
    let (publish, terms) = watch::channel(terms_of(Duration::from_secs(3_600)));
    // The connector never connects, so that nothing is tried.
    let (_status, status) = StatusPublisher::new();
    let (deliveries, mut delivered) = mpsc::channel(1);
    let sender = Sender {
        key: key(),
        store: store.clone(),
        deliveries,
        status,
        limits: PaceLimits::NONE,
        terms,
        metrics: Arc::new(Metrics::new()),
        tracer: Tracer::off(),
    };
    let cancel = CancellationToken::new();
    let started_at = Instant::now();
    let task = tokio::spawn(sender.run(cancel.clone()));
    publish.send_replace(terms_of(Duration::ZERO));
    tokio::time::timeout(WITHIN, store.outbox().drained()).await.expect("it expires");
    assert!(started_at.elapsed() < EXPIRE_EVERY, "it was found in its turn only");
    let lost = store.sends(SendFilter::Lost, None, 9).await.unwrap();
    assert_eq!(lost.len(), 1);
    assert!(delivered.try_recv().is_err(), "it was not tried");
    cancel.cancel();
    task.await.unwrap();
    store.close().await;
}
