//! The laws that every engine keeps, each told once and tried on all of them: the model in memory and SQLite today, and
//! whatever else implements [`Engine`] by a bench of its own and a line in `laws!`.

mod blobs;
mod handling;
mod lasting;
mod leases;
mod model;
mod sending;
mod taking;

use std::sync::Arc;
use std::time::Duration;

use super::engine::{Engine, Lease, Outbox, Partition, Queue};
use super::history::AttemptRecord;
use super::memory::{End, Memory};
use super::{
    Appended, Claimed, NewEvent, OutboxSettings, QueueBounds, Settled, Settlement, Spent, Store, StoreOptions,
};
use crate::action::{Act, Action, Effects, Outgoing, Priority, StateRead, StateWrite, TextFormat};
use crate::clock::Timestamp;
use crate::delivery::{Order, Overflow};
use crate::event::{Conversation, ConversationKind, Event, EventKind, Message, User};
use crate::grants::ConnectorKey;
use crate::id::{BotName, Ticket};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// An engine in the hands of a test, and how its process ends.
trait Bench: Sized {
    type Engine: Engine + Send + Sync + 'static;

    fn new(options: StoreOptions) -> Self;
    fn engine(&self) -> Arc<Self::Engine>;
    /// Returns what the next process finds.
    async fn reopen(self, end: End) -> Self;
}

struct InMemory(Arc<Memory>);

impl Bench for InMemory {
    type Engine = Memory;

    fn new(options: StoreOptions) -> Self {
        Self(Arc::new(Memory::new(options)))
    }

    fn engine(&self) -> Arc<Memory> {
        Arc::clone(&self.0)
    }

    async fn reopen(self, end: End) -> Self {
        Self(Arc::new(Arc::into_inner(self.0).expect("nobody uses it any more").reopen(end)))
    }
}

struct OnDisk {
    directory: tempfile::TempDir,
    options: StoreOptions,
    store: Store,
}

impl Bench for OnDisk {
    type Engine = Store;

    fn new(options: StoreOptions) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), options.clone()).unwrap();
        Self { directory, options, store }
    }

    fn engine(&self) -> Arc<Store> {
        Arc::new(self.store.clone())
    }

    async fn reopen(self, end: End) -> Self {
        let Self { mut directory, options, store } = self;
        if end == End::Died {
            // The files as a process leaves them that is killed now.
            let after = tempfile::tempdir().unwrap();
            for file in ["bothost.db", "bothost.db-wal"] {
                std::fs::copy(directory.path().join(file), after.path().join(file)).unwrap();
            }
            store.close().await;
            std::fs::rename(directory.path().join("blobs"), after.path().join("blobs")).unwrap();
            directory = after;
        } else {
            store.close().await;
        }
        let store = Store::open(directory.path(), options.clone()).unwrap();
        Self { directory, options, store }
    }
}

macro_rules! laws {
    ($($area:ident { $($law:ident)+ })+) => {
        mod in_memory {
            $($(#[tokio::test] async fn $law() { super::$area::$law::<super::InMemory>().await })+)+
        }
        mod on_disk {
            $($(#[tokio::test] async fn $law() { super::$area::$law::<super::OnDisk>().await })+)+
        }
    };
}

laws! {
    taking {
        a_second_delivery_is_known_within_the_window_and_not_after_it
        of_one_event_delivered_by_many_at_once_one_is_new
        two_connectors_and_an_event_without_an_id_are_kept_apart
        a_conversation_comes_in_order_and_holds_up_no_other
        the_urgent_goes_first_and_nothing_starves
        every_bot_that_hears_an_event_has_it
        who_brings_more_than_the_queue_takes_waits_for_room
        a_bot_with_all_it_may_have_gets_dead_letters_and_holds_up_nobody
        of_a_bot_that_is_removed_everything_is_a_dead_letter
    }
    handling {
        what_a_handler_did_takes_effect_as_a_whole
        what_is_refused_leaves_no_trace
        a_handler_that_read_what_has_changed_runs_again
        what_is_added_side_by_side_is_merged
        a_failed_event_comes_again_when_it_is_due_and_holds_its_conversation
        the_last_failure_makes_a_dead_letter_with_its_last_attempt
        a_dead_letter_is_tried_anew_or_dropped
        what_is_given_back_was_no_attempt
        what_a_bot_does_not_want_is_gone
        an_event_that_was_taken_away_meanwhile_has_no_effect
        an_init_is_a_transaction_without_an_event
        keys_come_in_byte_order_from_a_prefix
    }
    sending {
        actions_leave_in_order_within_a_conversation_and_side_by_side
        what_is_held_holds_its_conversation_and_keeps_its_tries
        a_message_is_known_by_the_platforms_id_once_it_is_delivered
        what_is_lost_can_be_sent_after_all_and_what_waits_can_be_dropped
        what_is_sent_to_a_connector_that_is_gone_is_lost
        a_full_outbox_never_grows_where_something_gives_way
        what_gives_way_is_of_the_lowest_priority_also_in_order_of_arrival
        another_order_counts_for_all_that_wait_once_what_is_at_work_has_ended
        an_open_outbox_that_takes_fewer_loses_nothing
    }
    leases {
        a_lease_has_one_owner_until_its_time_is_over
        every_owner_has_a_higher_fence
        what_an_earlier_owner_writes_is_refused
        a_lease_can_be_given_back
        every_process_is_an_owner_of_its_own
    }
    lasting {
        everything_that_waits_is_there_again_in_order
        attempts_are_counted_on_and_due_times_kept
        what_was_at_work_comes_again
        what_was_at_work_in_a_process_that_died_is_suspected_and_counted
        a_process_that_died_before_it_wrote_anything_is_suspected_as_well
        an_orderly_end_casts_no_suspicion
        what_was_seen_and_sent_and_kept_is_known_again
        outboxes_are_as_they_were_in_the_order_they_want
        what_was_perhaps_sent_is_lost_where_twice_is_worse
    }
    blobs {
        a_content_is_found_by_its_hash_until_it_is_deleted
        the_same_content_twice_is_one
        contents_outlive_the_process
    }
}

fn bot(name: &str) -> BotName {
    name.parse().unwrap()
}

fn chat() -> ConnectorKey {
    ConnectorKey::shared("chat".parse().unwrap())
}

fn later(ms: u64) -> Timestamp {
    NOW.saturating_add(Duration::from_millis(ms))
}

fn options() -> StoreOptions {
    let queue = QueueBounds { events_max: 1_000, bytes_max: 1 << 20, events_per_bot_max: 500 };
    StoreOptions { queue, dedup_window: Duration::from_millis(100), ..StoreOptions::default() }
}

fn conversation(id: &str) -> Conversation {
    Conversation {
        connector: "chat".parse().unwrap(),
        id: id.to_owned(),
        kind: ConversationKind::Group,
        title: None,
        thread: None,
    }
}

/// A message in a conversation, with the platform's id of the event.
fn message(place: &str, text: &str, platform_id: Option<&str>) -> Event {
    let message = Message {
        id: text.to_owned(),
        conversation: conversation(place),
        sender: User { id: "u".into(), name: None, is_bot: false },
        text: text.to_owned(),
        attachments: Vec::new(),
        reply_to: None,
        addressed: true,
        sent_at: NOW,
        reply_deadline: None,
    };
    Event {
        platform_id: platform_id.map(str::to_owned),
        received_at: NOW,
        ..Event::now(Some("chat".parse().unwrap()), EventKind::Message(message))
    }
}

fn to(bots: &[(&str, Priority)], event: Event) -> NewEvent {
    let bots = bots.iter().map(|(name, priority)| (bot(name), *priority)).collect();
    NewEvent { event: event.into(), origin: Some(chat()), bots, timer: None }
}

fn text_of(event: &Event) -> String {
    match &event.kind {
        EventKind::Message(message) => message.text.clone(),
        other => panic!("{other:?}"),
    }
}

fn saying(place: &str, text: &str, priority: Priority) -> Action {
    let message = Outgoing {
        text: text.to_owned(),
        format: TextFormat::Plain,
        buttons: Vec::new(),
        uploads: Vec::new(),
        reply_to: None,
        priority,
        expires_after: None,
    };
    // The ticket is the text's number, so that tests can ask for it.
    let ticket = Ticket(text.bytes().fold(1, |sum, byte| sum * 31 + u64::from(byte)));
    Action { via: chat(), at: conversation(place), act: Act::Send { ticket, message } }
}

fn said(action: &Action) -> String {
    match &action.act {
        Act::Send { message, .. } => message.text.clone(),
        other => panic!("{other:?}"),
    }
}

fn set(key: &str, value: &str) -> StateWrite {
    StateWrite::Set { key: key.to_owned(), value: value.into(), expires_at: None }
}

fn saw(key: &str, revision: Option<u64>) -> StateRead {
    StateRead { key: key.to_owned(), revision }
}

fn fault(claimed: &Claimed) -> AttemptRecord {
    AttemptRecord {
        attempt: claimed.attempt,
        at: NOW,
        elapsed: Duration::from_millis(3),
        fuel: 7,
        outcome: "trap".into(),
        message: format!("attempt {}", claimed.attempt),
        backtrace: "at x".into(),
    }
}

fn outbox_of(len_max: usize, overflow: Overflow, order: Order) -> OutboxSettings {
    OutboxSettings { len_max, overflow, order }
}

/// What the laws do with any engine.
trait Verbs: Engine {
    async fn tell(&self, place: &str, text: &str) {
        self.tell_at(place, text, Priority::Normal).await;
    }

    async fn tell_at(&self, place: &str, text: &str, priority: Priority) {
        let new = to(&[("echo", priority)], message(place, text, None));
        let appended = self.append(Partition::ONLY, new).await.unwrap();
        assert_eq!(appended, Appended::New { overflowing: Vec::new() });
    }

    async fn next(&self, now: Timestamp) -> Option<Claimed> {
        self.claim(self.lease(), &bot("echo"), now).await.unwrap()
    }

    async fn text(&self, claimed: &Claimed) -> String {
        text_of(&self.event_of(claimed).await.unwrap().unwrap())
    }

    /// Claims all that can be claimed now.
    async fn texts(&self, now: Timestamp) -> Vec<String> {
        let mut texts = Vec::new();
        while let Some(claimed) = self.next(now).await {
            texts.push(self.text(&claimed).await);
        }
        texts
    }

    async fn end(&self, claimed: &Claimed, effects: Effects) -> Settled {
        self.try_end(self.lease(), Some(claimed), effects).await.unwrap()
    }

    async fn try_end(
        &self,
        lease: &Lease,
        claimed: Option<&Claimed>,
        effects: Effects,
    ) -> Result<Settled, super::StoreError> {
        let (echo, spent) = (bot("echo"), Spent { elapsed: Duration::from_millis(2), fuel: 5 });
        let bot = claimed.map_or(&echo, |claimed| &claimed.bot);
        let done = claimed.map(|claimed| (claimed, spent));
        let settlement = Settlement { bot, done, effects, state_bytes_max: 1 << 20, reply_by: None, now: NOW };
        self.settle(lease, settlement).await
    }

    /// Has the bot say something, as its `init` would.
    async fn say(&self, actions: Vec<Action>) {
        let settled = self.try_end(self.lease(), None, Effects { actions, ..Effects::default() }).await;
        assert_eq!(settled.unwrap(), done());
    }

    async fn value(&self, key: &str) -> Option<String> {
        let found = self.get(&bot("echo"), key, NOW).await.unwrap()?;
        Some(String::from_utf8(found.value).unwrap())
    }

    /// Takes all that can be taken now.
    async fn leaving(&self, now: Timestamp) -> Vec<String> {
        let mut texts = Vec::new();
        while let Some(entry) = self.take(self.lease(), &chat(), now).await.unwrap() {
            texts.push(said(&self.action_of(&entry).await.unwrap().unwrap()));
        }
        texts
    }
}

impl<E: Engine> Verbs for E {}

fn done() -> Settled {
    Settled::Done { alerts: Vec::new() }
}
