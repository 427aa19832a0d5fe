//! One bit in one column is not what was written, under a store that runs and under one that begins.

use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::types::Value;
use tempfile::TempDir;

use crate::action::{Act, Action, Effects, Outgoing, Priority, TextFormat};
use crate::clock::Timestamp;
use crate::delivery::{Order, Overflow};
use crate::event::{Conversation, ConversationKind, Event, EventKind};
use crate::grants::ConnectorKey;
use crate::id::{BotName, Ticket};
use crate::store::history::SendFilter;
use crate::store::{Claimed, NewEvent, OutboxSettings, Settled, Settlement, Spent, Store, StoreError, StoreOptions};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn echo() -> BotName {
    "echo".parse().unwrap()
}

fn chat() -> ConnectorKey {
    ConnectorKey::shared("chat".parse().unwrap())
}

/// A store in which one event and one action wait, closed; and a second hand on its database.
async fn closed() -> (TempDir, Connection) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), StoreOptions::default()).unwrap();
    store.outbox().open(&chat(), OutboxSettings { len_max: 9, overflow: Overflow::Reject, order: Order::Priority });
    let kind = EventKind::Custom { name: "x".into() };
    let event = Event { platform_id: Some("7".into()), received_at: NOW, ..Event::now(None, kind) };
    let bots = vec![(echo(), Priority::Normal)];
    let new = NewEvent { event: event.into(), origin: Some(chat()), bots, timer: None };
    store.submit(new).await.unwrap().done().await.unwrap();
    settle(&store, None).await.unwrap();
    store.close().await;
    let fate = Connection::open(directory.path().join("bothost.db")).unwrap();
    (directory, fate)
}

async fn settle(store: &Store, claimed: Option<&Claimed>) -> Result<Settled, StoreError> {
    let at = Conversation {
        connector: "chat".parse().unwrap(),
        id: "7".into(),
        kind: ConversationKind::Group,
        title: None,
        thread: None,
    };
    let message = Outgoing {
        text: "hi".into(),
        format: TextFormat::Plain,
        buttons: Vec::new(),
        uploads: Vec::new(),
        reply_to: None,
        priority: Priority::Normal,
        expires_after: None,
    };
    let action = Action { via: chat(), at, act: Act::Send { ticket: Ticket(3), message } };
    let effects = Effects { actions: vec![action], ..Effects::default() };
    let (bot, done) = (echo(), claimed.map(|claimed| (claimed, Spent::default())));
    store.settle(Settlement { bot: &bot, done, effects, state_bytes_max: 9, reply_by: None, now: NOW }).await
}

#[tokio::test]
async fn what_waited_before_has_waited_since_it_was_received() {
    let (directory, fate) = closed().await;
    let since = || {
        let store = Store::open(directory.path(), StoreOptions::default()).unwrap();
        let survey = store.queue().survey();
        survey.bots.iter().map(|(bot, backlog)| (bot.clone(), backlog.oldest)).collect::<Vec<_>>()
    };
    assert_eq!(since(), [(echo(), Some(NOW))]);
    // Where the event itself is gone, it is one that begins to wait.
    fate.execute_batch("PRAGMA foreign_keys = OFF; DELETE FROM events").unwrap();
    let [(_, Some(oldest))] = &since()[..] else { panic!("it waits") };
    assert!(*oldest > NOW);
}

/// Every bit of a value that differs in one bit only and that the column's type allows, and nothing at all where it may be so.
fn flipped(value: &Value) -> Vec<Value> {
    match value {
        Value::Integer(number) => (0..63).map(|bit| Value::Integer(number ^ (1 << bit))).collect(),
        Value::Text(text) => {
            let mut bytes = text.clone().into_bytes();
            let Some(last) = bytes.last_mut() else { return vec![Value::Text("x".into())] };
            *last ^= 1;
            vec![Value::Text(String::from_utf8(bytes).unwrap())]
        }
        Value::Blob(bytes) => {
            let flip = |at: usize| {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1;
                Value::Blob(bytes)
            };
            (0..bytes.len()).map(flip).collect()
        }
        Value::Null => vec![Value::Integer(1)],
        Value::Real(_) => unreachable!("there are no such columns"),
    }
}

/// Calls `check` for each value that a column of a table's only row could have after one flipped bit.
async fn for_each_flip(table: &str, columns: &[&str], check: impl AsyncFn(&TempDir, &Connection, &str)) {
    let (directory, fate) = closed().await;
    let snapshot = std::fs::read(directory.path().join("bothost.db")).unwrap();
    let read = |column: &str| fate.query_row(&format!("SELECT {column} FROM {table}"), (), |row| row.get(0)).unwrap();
    let values: Vec<(&str, Value)> = columns.iter().map(|column| (*column, read(column))).collect();
    drop(fate);
    for (column, value) in values {
        let all = flipped(&value);
        // A few of each: the first bits, the last, and one between.
        let some = [0, 1, all.len() / 2, all.len() - 1];
        for (index, flipped) in all.into_iter().enumerate().filter(|(index, _)| some.contains(index)) {
            std::fs::write(directory.path().join("bothost.db"), &snapshot).unwrap();
            let fate = Connection::open(directory.path().join("bothost.db")).unwrap();
            let text = matches!(value, Value::Null) && ["platform_id", "reason"].contains(&column);
            let flipped = if text { Value::Text("x".into()) } else { flipped };
            let what = format!("{table}.{column} {index}");
            assert_eq!(fate.execute(&format!("UPDATE {table} SET {column} = ?1"), [flipped]).unwrap(), 1, "{what}");
            check(&directory, &fate, &what).await;
        }
    }
}

fn count(fate: &Connection, sql: &str) -> i64 {
    fate.query_row(sql, (), |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_queued_row_with_one_flipped_bit_is_put_aside_whatever_it_says() {
    let columns = [
        "event",
        "bot",
        "lane",
        "priority",
        "bytes",
        "state",
        "attempts",
        "due_ms",
        "ended_ms",
        "elapsed_us",
        "fuel",
        "checksum",
    ];
    for_each_flip("queue", &columns, async |directory, fate, what| {
        let store = Store::open(directory.path(), StoreOptions::default()).unwrap();
        assert!(store.queue().is_empty(), "{what}");
        assert_eq!(count(fate, "SELECT count(*) FROM quarantine WHERE source = 'queue'"), 1, "{what}");
        assert_eq!(count(fate, "SELECT count(*) FROM queue"), 0, "{what}");
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn an_event_with_one_flipped_bit_reaches_no_guest() {
    let columns = ["seq", "id", "origin", "platform_id", "received_ms", "checksum", "body"];
    for_each_flip("events", &columns, async |directory, fate, what| {
        let store = Store::open(directory.path(), StoreOptions::default()).unwrap();
        let claimed = store.queue().claim(&echo(), NOW).unwrap();
        match store.event_of(&claimed).await {
            // Under another number it is not found, and not taken for another.
            Ok(found) => assert!(found.is_none() && what.starts_with("events.seq"), "{what}"),
            Err(error) => {
                assert!(matches!(error, StoreError::Corrupt { .. }), "{what}: {error}");
                assert_eq!(count(fate, "SELECT count(*) FROM quarantine WHERE source = 'events'"), 1, "{what}");
            }
        }
        assert!(store.event_of(&claimed).await.unwrap().is_none(), "{what}");
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn an_action_with_one_flipped_bit_is_put_aside_and_never_delivered() {
    let columns = [
        "id",
        "event",
        "bot",
        "n",
        "connector",
        "lane",
        "priority",
        "ticket",
        "committed_ms",
        "expires_ms",
        "attempts",
        "due_ms",
        "ended_ms",
        "platform_id",
        "reason",
        "checksum",
        "body",
    ];
    for_each_flip("outbox", &columns, async |directory, fate, what| {
        let store = Store::open(directory.path(), StoreOptions::default()).unwrap();
        assert_eq!(store.outbox().len(&chat()), 0, "{what}");
        assert_eq!(count(fate, "SELECT count(*) FROM quarantine WHERE source = 'outbox'"), 1, "{what}");
        store.close().await;
    })
    .await;
}

/// As stored, waiting is a type without bytes: one bit makes it perhaps-sent or a type that no number has, and neither end.
#[tokio::test]
async fn an_action_that_says_it_is_no_longer_waiting_is_believed_only_with_its_checksum() {
    let (directory, fate) = closed().await;
    fate.execute("UPDATE outbox SET state = 1", ()).unwrap();
    let store = Store::open(directory.path(), StoreOptions::default()).unwrap();
    assert_eq!(store.outbox().len(&chat()), 0);
    assert_eq!(count(&fate, "SELECT count(*) FROM quarantine WHERE source = 'outbox'"), 1);
}

#[tokio::test]
async fn an_action_that_goes_bad_under_a_running_store_is_not_handed_over() {
    let (directory, fate) = closed().await;
    let store = Store::open(directory.path(), StoreOptions::default()).unwrap();
    let entry = store.outbox().take(&chat(), NOW).unwrap();
    fate.execute("UPDATE outbox SET body = CAST(replace(body, 'hi', 'ho') AS BLOB)", ()).unwrap();
    let refused = store.action_of(&entry).await;
    assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{refused:?}");
    assert!(store.action_of(&entry).await.unwrap().is_none());
    assert!(store.send(entry.id).await.unwrap().is_none());
    store.lost(entry, 0, "corrupt").await.unwrap();
    assert_eq!(store.outbox().len(&chat()), 0);
}

/// Its effects do not take place, and its conversation goes on.
#[tokio::test]
async fn an_event_whose_row_goes_bad_while_it_is_at_work_is_put_aside_and_holds_up_nobody() {
    let (directory, fate) = closed().await;
    let store = Store::open(directory.path(), StoreOptions::default()).unwrap();
    let claimed = store.queue().claim(&echo(), NOW).unwrap();
    fate.execute("UPDATE queue SET fuel = 1", ()).unwrap();
    let refused = settle(&store, Some(&claimed)).await;
    assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{refused:?}");
    assert_eq!(count(&fate, "SELECT count(*) FROM quarantine WHERE source = 'queue'"), 1);
    // The caller gives it back, and learns at the next try that it is gone.
    store.queue().unclaim(&claimed, None);
    let again = store.queue().claim(&echo(), NOW).unwrap();
    assert_eq!(settle(&store, Some(&again)).await.unwrap(), Settled::Gone);
    assert!(store.queue().is_empty());
    assert_eq!(store.sends(SendFilter::Waiting, None, 9).await.unwrap().len(), 1, "that of the `init`");
}

#[tokio::test]
async fn an_event_that_fell_out_of_memory_is_read_when_it_is_claimed() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), StoreOptions::default()).unwrap();
    // Together more than is kept in memory.
    let text = "x".repeat(9 << 20);
    for number in 0..9 {
        let event = Event::now(None, EventKind::Custom { name: format!("{number}") });
        let event = Arc::new(Event { raw: Some(text.clone()), ..event });
        let new = NewEvent { event, origin: None, bots: vec![(echo(), Priority::Normal)], timer: None };
        store.submit(new).await.unwrap().done().await.unwrap();
    }
    let mut in_memory = 0;
    for number in 0..9 {
        let claimed = store.queue().claim(&echo(), NOW).unwrap();
        in_memory += usize::from(claimed.event_id().is_some());
        let event = store.event_of(&claimed).await.unwrap().unwrap();
        assert_eq!(event.kind, EventKind::Custom { name: number.to_string() });
        assert_eq!(event.raw.as_ref().map(String::len), Some(text.len()));
        store.dismiss(&claimed).await;
    }
    assert_eq!((in_memory, store.queue().len()), (7, 0));
}
