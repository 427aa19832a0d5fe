//! One bit of the database's file is another than it was, anywhere: what is read is what was written, or an error.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::action::{Act, Action, Effects, Outgoing, TextFormat};
use crate::delivery::{Order, Overflow};
use crate::event::{Conversation, ConversationKind, Event, EventKind, Message, User};
use crate::grants::ConnectorKey;
use crate::id::{EventId, Ticket};
use crate::store::{NewEvent, OutboxSettings, Settled, Settlement, Spent};

/// `BOTHOST_FLIPS` says how many else.
const CASES: u64 = 200;
const EVENTS: u64 = 120;
const SETTLED: u64 = 40;
const KEYS: u64 = 60;
const TIMERS: u64 = 30;

/// What was written, as it was.
#[derive(Default)]
struct Written {
    events: BTreeMap<EventId, Event>,
    waiting: BTreeSet<EventId>,
    actions: BTreeMap<u64, Action>,
    state: BTreeMap<String, Vec<u8>>,
    timers: BTreeMap<String, Vec<u8>>,
}

/// What was read of it.
#[derive(Debug, Default)]
struct Tally {
    refused: usize,
    opened: usize,
    right: usize,
    errors: usize,
    /// Neither there nor an error.
    absent: usize,
    /// Cases in which something was not there, and nothing said so, not even the look through the file.
    silent: usize,
}

fn via() -> ConnectorKey {
    ConnectorKey::shared("chat".parse().unwrap())
}

fn text(n: u64, len: usize) -> String {
    let mut rng = fastrand::Rng::with_seed(n);
    (0..len).map(|_| rng.alphanumeric()).collect()
}

fn conversation(n: u64) -> Conversation {
    let (connector, id) = ("chat".parse().unwrap(), n.to_string());
    Conversation { connector, id, kind: ConversationKind::Direct, title: None, thread: None }
}

fn event(n: u64) -> Event {
    let message = Message {
        id: n.to_string(),
        conversation: conversation(n),
        sender: User { id: "u".into(), name: None, is_bot: false },
        text: text(n, 300),
        attachments: Vec::new(),
        reply_to: None,
        addressed: true,
        sent_at: NOW,
        reply_deadline: None,
    };
    Event { platform_id: Some(n.to_string()), ..Event::now(Some("chat".parse().unwrap()), EventKind::Message(message)) }
}

fn action(n: u64) -> Action {
    let message = Outgoing {
        text: text(n + 1_000, 200),
        format: TextFormat::Plain,
        buttons: Vec::new(),
        uploads: Vec::new(),
        reply_to: None,
        priority: Priority::Normal,
        expires_after: None,
    };
    Action { via: via(), at: conversation(n), act: Act::Send { ticket: Ticket(n), message } }
}

fn open_store(directory: &Path) -> Result<Store, StoreError> {
    let store = Store::open(directory, StoreOptions::default())?;
    let settings = OutboxSettings { len_max: 10_000, overflow: Overflow::default(), order: Order::default() };
    store.outbox().open(&via(), settings);
    Ok(store)
}

async fn write_all(directory: &Path) -> Written {
    let (store, bot, mut written) = (open_store(directory).unwrap(), bot("echo"), Written::default());
    for n in 0..EVENTS {
        let event = Arc::new(event(n));
        let bots = vec![(bot.clone(), Priority::Normal)];
        let new = NewEvent { event: Arc::clone(&event), origin: Some(via()), bots, timer: None };
        store.submit(new).await.unwrap().done().await.unwrap();
        written.waiting.insert(event.id);
        written.events.insert(event.id, Event::clone(&event));
    }
    for n in 0..SETTLED {
        let claimed = store.queue().claim(&bot, Timestamp::now()).unwrap();
        written.waiting.remove(&claimed.event_id().unwrap());
        let effects = Effects { actions: vec![action(n)], ..Effects::default() };
        let done = Some((&claimed, Spent::default()));
        let (now, state_bytes_max) = (Timestamp::now(), 1 << 30);
        let settlement = Settlement { bot: &bot, done, effects, state_bytes_max, reply_by: None, now };
        assert!(matches!(store.settle(settlement).await.unwrap(), Settled::Done { .. }));
        written.actions.insert(n, action(n));
    }
    written.state = (0..KEYS).map(|n| (format!("key-{n}"), text(n + 2_000, 150).into_bytes())).collect();
    written.timers = (0..TIMERS).map(|n| (format!("timer-{n}"), text(n + 3_000, 150).into_bytes())).collect();
    let state = written.state.iter().map(|(key, value)| set(key, value.clone())).collect();
    let timers = written.timers.iter().map(|(name, payload)| TimerChange::Set {
        name: name.clone(),
        schedule: Schedule::At(later(1)),
        payload: payload.clone(),
    });
    let commit = Commit { bot, reads: Vec::new(), state, timers: timers.collect(), state_bytes_max: 1 << 30, now: NOW };
    assert_eq!(store.commit(commit).await.unwrap(), Committed::Done);
    store.close().await;
    written
}

impl Tally {
    fn note<T: PartialEq + std::fmt::Debug>(&mut self, found: Result<Option<T>, StoreError>, written: Option<&T>) {
        match found {
            Ok(Some(found)) => {
                assert_eq!(Some(&found), written, "this was never written");
                self.right += 1;
            }
            Ok(None) => self.absent += 1,
            Err(StoreError::Stopped) => panic!("a thread of the store has ended"),
            Err(_) => self.errors += 1,
        }
    }

    /// Reads all that can be read, as bots and connectors do. Returns how many events, actions, values and timers were right.
    async fn read_all(&mut self, store: Store, written: &Written) -> [usize; 4] {
        let mut marks = vec![self.right];
        let (bot, now) = (bot("echo"), Timestamp::now());
        let mut claimed_ids = BTreeSet::new();
        while let Some(claimed) = store.queue().claim(&bot, now) {
            let found = store.event_of(&claimed).await.map(|event| event.map(|event| Event::clone(&event)));
            let id = found.as_ref().ok().and_then(|event| event.as_ref()).map(|event| event.id);
            if let Some(id) = id {
                assert!(claimed_ids.insert(id), "it came twice");
                assert!(written.waiting.contains(&id), "it was done");
            }
            self.note(found, id.and_then(|id| written.events.get(&id)));
        }
        marks.push(self.right);
        while let Some(entry) = store.outbox().take(&via(), now) {
            let found = store.action_of(&entry).await.map(|action| action.map(|action| Action::clone(&action)));
            let ticket = entry.ticket.map(|ticket| ticket.0);
            self.note(found, ticket.and_then(|ticket| written.actions.get(&ticket)));
        }
        marks.push(self.right);
        for (key, value) in &written.state {
            let found = store.state_get(&bot, key, NOW).await.map(|found| found.map(|found| found.value));
            self.note(found, Some(value));
        }
        marks.push(self.right);
        match store.due_timers(later(10), 1_000, &[]).await {
            Ok(timers) => {
                for timer in timers {
                    self.note(Ok(Some(timer.payload)), written.timers.get(&timer.name));
                }
            }
            Err(_) => self.errors += 1,
        }
        marks.push(self.right);
        store.close().await;
        std::array::from_fn(|kind| marks[kind + 1] - marks[kind])
    }
}

/// Returns whether the look through the file, which each start begins, finds nothing.
fn looked_through(path: &Path) -> bool {
    let pulse = crate::store::health::Pulse::default();
    spawn_check(path.into(), CheckDepth::Indexes, Default::default(), pulse.clone()).unwrap().join().unwrap();
    pulse.subscribe().borrow().damage.is_none()
}

#[tokio::test]
async fn f077_a_flipped_bit_anywhere_in_the_file_never_shows_as_what_was_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let written = write_all(directory.path()).await;
    let path = directory.path().join("bothost.db");
    let whole = std::fs::read(&path).unwrap();
    let mut all = Tally::default();
    let total = all.read_all(open_store(directory.path()).unwrap(), &written).await;
    assert_eq!((all.errors, all.absent), (0, 0), "{all:?}");
    let mut tally = Tally::default();
    let cases = std::env::var("BOTHOST_FLIPS").map_or(CASES, |cases| cases.parse().unwrap());
    for seed in 0..cases {
        let mut bytes = whole.clone();
        let bit = fastrand::Rng::with_seed(seed).usize(..bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, bytes).unwrap();
        for suffix in ["-wal", "-shm"] {
            std::fs::remove_file(format!("{}{suffix}", path.display())).ok();
        }
        match open_store(directory.path()) {
            Ok(store) => {
                tally.opened += 1;
                let before = tally.errors;
                let right = tally.read_all(store, &written).await;
                let errors = tally.errors - before;
                let put_aside = Connection::open(&path).map_or(0, |connection| count(&connection, "quarantine"));
                if right != total && errors == 0 && put_aside == 0 && looked_through(&path) {
                    tally.silent += 1;
                    println!("seed {seed}, page {}, byte {}: {right:?} of {total:?}", bit / 8 / 4096, bit / 8 % 4096);
                }
            }
            Err(error) => {
                assert!(!matches!(error, StoreError::InUse { .. } | StoreError::Directory { .. }), "{error:?}");
                tally.refused += 1;
            }
        }
    }
    assert!(tally.silent as u64 * 100 <= cases, "{tally:?}");
    println!("{total:?} reads each: {tally:?}");
}
