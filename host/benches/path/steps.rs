//! The steps of a message at the store alone, so many side by side that they share their commits.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bothost::action::{Effects, Priority};
use bothost::clock::Timestamp;
use bothost::delivery::{Order, Overflow};
use bothost::event::{Conversation, ConversationKind, Event, EventKind, Message, User};
use bothost::grants::ConnectorKey;
use bothost::id::BotName;
use bothost::store::{NewEvent, OutboxSettings, Settled, Settlement, Spent, Store};
use futures_util::future::join_all;
use harness::host::CHAT;

use super::native;

/// Messages of one step, each in a conversation of its own.
pub const SIDE_BY_SIDE: u32 = 64;

/// A store, and what is done to it.
pub struct Steps<'a> {
    store: &'a Store,
    via: ConnectorKey,
    next: Cell<u64>,
}

impl<'a> Steps<'a> {
    /// Opens an outbox for what will be sent.
    pub fn new(store: &'a Store) -> Self {
        let via = ConnectorKey::shared(CHAT.parse().expect("a name"));
        let outbox = OutboxSettings { len_max: 1_000, overflow: Overflow::Reject, order: Order::Priority };
        store.outbox().open(&via, outbox);
        Self { store, via, next: Cell::new(fastrand::u64(..1 << 60)) }
    }

    /// Appends an event to a bot's queue from each conversation. Returns how long that took; so do the others.
    pub async fn append(&self, bot: &str) -> Duration {
        let bot: BotName = bot.parse().expect("a name");
        let events: Vec<_> = (0..SIDE_BY_SIDE).map(|person| Arc::new(self.event(person))).collect();
        let started = Instant::now();
        let appended = events.into_iter().map(|event| async {
            let bots = vec![(bot.clone(), Priority::Normal)];
            let new = NewEvent { event, origin: Some(self.via.clone()), bots, timer: None };
            self.store.submit(new).await.expect("the store is open").done().await.expect("the disk has room")
        });
        join_all(appended).await;
        started.elapsed()
    }

    /// Claims an event of each conversation and settles it with an answer.
    pub async fn settle(&self, bot: &str) -> Duration {
        let bot: BotName = bot.parse().expect("a name");
        let started = Instant::now();
        let settled = (0..SIDE_BY_SIDE).map(|person| {
            let claimed = self.store.queue().claim(&bot, Timestamp::now()).expect("an event of each conversation");
            let bot = &bot;
            async move {
                let actions = vec![native::pong(self.via.clone(), conversation(person))];
                let settlement = Settlement {
                    bot,
                    done: Some((&claimed, Spent::default())),
                    effects: Effects { actions, ..Effects::default() },
                    state_bytes_max: 1 << 20,
                    reply_by: None,
                    now: Timestamp::now(),
                };
                let settled = self.store.settle(settlement).await.expect("the disk has room");
                assert!(matches!(settled, Settled::Done { .. }), "nothing stands against it");
            }
        });
        join_all(settled).await;
        started.elapsed()
    }

    /// Takes an answer of each conversation and notes that it was delivered.
    pub async fn deliver(&self) -> Duration {
        let started = Instant::now();
        let delivered = (0..SIDE_BY_SIDE).map(|person| {
            let entry = self.store.outbox().take(&self.via, Timestamp::now()).expect("an answer of each conversation");
            self.store.delivered(entry, 1, Some(format!("scripted-{person}")))
        });
        for delivered in join_all(delivered).await {
            delivered.expect("the disk has room");
        }
        started.elapsed()
    }

    fn event(&self, person: u32) -> Event {
        let id = format!("{:016x}", self.next.replace(self.next.get() + 1));
        let message = Message {
            id: id.clone(),
            conversation: conversation(person),
            sender: User { id: "somebody".to_owned(), name: None, is_bot: false },
            text: "!ping".to_owned(),
            attachments: Vec::new(),
            reply_to: None,
            addressed: true,
            sent_at: Timestamp::now(),
            reply_deadline: None,
        };
        let event = Event::now(Some(CHAT.parse().expect("a name")), EventKind::Message(message));
        Event { platform_id: Some(format!("{person}:{id}")), ..event }
    }
}

fn conversation(person: u32) -> Conversation {
    Conversation {
        connector: CHAT.parse().expect("a name"),
        id: person.to_string(),
        kind: ConversationKind::Direct,
        title: None,
        thread: None,
    }
}
