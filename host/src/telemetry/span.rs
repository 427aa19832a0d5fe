//! One step of an event's way as a collector shows it. All steps of one event are one trace, over every restart and without
//! anything being stored for it: the trace's id is the event's, and an id that another step refers to is derived from what both
//! steps know.
//!
//! ```text
//! receive CLASS ─┬─ handle BOT ─┬─ deliver CONNECTOR
//!                │              └─ deliver CONNECTOR
//!                ├─ handle BOT (failed)
//!                └─ handle OTHER
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::event::EventClass;
use crate::grants::ConnectorKey;
use crate::id::{BotName, EventId};

/// A step that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Whose.
    pub event: EventId,
    /// When it began.
    pub begun: Moment,
    /// When it ended.
    pub ended: Moment,
    /// What it was.
    pub stage: Stage,
}

/// What a step was. Words of the program's own, configured names and numbers: nothing that a user wrote, and nothing that names one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// The event was taken over: from when it was received until it is on disk.
    Receive {
        /// The connector; none: a timer.
        connector: Option<ConnectorKey>,
        /// What kind of event.
        class: EventClass,
        /// How many bots hear it.
        bots: usize,
        /// It was taken over before and goes no further.
        is_duplicate: bool,
    },
    /// A bot's attempt: from when the guest was called until what it asked for is on disk, or is dropped.
    Handle {
        /// The bot.
        bot: BotName,
        /// What kind of event, as the bot gets it.
        class: EventClass,
        /// Which attempt, counted from 1.
        attempt: u32,
        /// `ok`, the kind of fault, or `undecided` where the store failed.
        outcome: &'static str,
        /// Fuel that it burnt.
        fuel: u64,
        /// How long the event had waited since it was received.
        waited: Duration,
    },
    /// An action's way to the platform: from its commit until what came of it is on disk.
    Deliver {
        /// The connector.
        connector: ConnectorKey,
        /// The bot that asked for it.
        bot: BotName,
        /// Its number in the outbox.
        action: u64,
        /// `ok`, or why it was lost.
        outcome: &'static str,
        /// Tries that failed, in this process and earlier ones.
        failures: u32,
        /// What it waited for between two tries in this process, the first first.
        retries: Vec<Retry>,
    },
}

/// A try that is followed by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// When it ended.
    pub at: Moment,
    /// Why it was none.
    pub why: &'static str,
    /// How long the next one waits at the least.
    pub wait: Duration,
}

/// A moment of the wall clock: nanoseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// Returns this moment.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(since.as_nanos().try_into().unwrap_or(u64::MAX))
    }

    /// Returns nanoseconds since the epoch.
    pub fn as_nanos(self) -> u64 {
        self.0
    }
}

impl From<Timestamp> for Moment {
    fn from(timestamp: Timestamp) -> Self {
        Self(timestamp.as_millis().saturating_mul(1_000_000))
    }
}

/// Names a step within its trace. Never zero, which stands for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanId([u8; 8]);

impl SpanId {
    /// Returns the id of the step that took an event over.
    pub fn of_receive(event: EventId) -> Self {
        Self::derived(event, "receive", "")
    }

    /// Returns the id of a bot's attempt that went well. There is one at the most: what it asked for refers to it, also where
    /// another process delivers that.
    pub fn of_commit(event: EventId, bot: &BotName) -> Self {
        Self::derived(event, "handle", bot.as_str())
    }

    /// Returns an id that nothing refers to.
    pub fn any() -> Self {
        Self::from_number(fastrand::u64(..))
    }

    fn derived(event: EventId, stage: &str, name: &str) -> Self {
        let digest =
            Sha256::new().chain_update(event.to_bytes()).chain_update(stage).chain_update([0]).chain_update(name);
        let bytes: [u8; 32] = digest.finalize().into();
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[..8]);
        Self::from_number(u64::from_be_bytes(number))
    }

    fn from_number(number: u64) -> Self {
        Self(number.max(1).to_be_bytes())
    }

    /// Returns the id as it is sent.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0
    }
}

impl Span {
    /// Returns the step's own id. Called once: one that nothing refers to is another each time.
    pub fn id(&self) -> SpanId {
        match &self.stage {
            Stage::Receive { .. } => SpanId::of_receive(self.event),
            Stage::Handle { bot, outcome: "ok", .. } => SpanId::of_commit(self.event, bot),
            // A number does not tell these apart: a dead letter that is tried again counts its attempts from 1, and an action may
            // be delivered by two processes in turn.
            Stage::Handle { .. } | Stage::Deliver { .. } => SpanId::any(),
        }
    }

    /// Returns the id of the step that this one follows from; none: it is the first.
    pub fn parent(&self) -> Option<SpanId> {
        match &self.stage {
            Stage::Receive { .. } => None,
            Stage::Handle { .. } => Some(SpanId::of_receive(self.event)),
            Stage::Deliver { bot, .. } => Some(SpanId::of_commit(self.event, bot)),
        }
    }
}

/// Which events are traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// An event is traced whose 56 random bits are at least this.
    threshold: u64,
}

/// The bits of a trace's id by which every program that follows the W3C's recommendation decides.
const RANDOM_BITS: u32 = 56;

impl Sample {
    /// Returns the sample of a share of all events, from 0 to 1.
    pub fn of(share: f64) -> Self {
        let all = 1_u64 << RANDOM_BITS;
        Self { threshold: ((1.0 - share.clamp(0.0, 1.0)) * all as f64) as u64 }
    }

    /// Returns whether an event is traced: the same in every process.
    pub fn takes(self, event: EventId) -> bool {
        let id = u128::from_be_bytes(event.to_bytes());
        // An id of zero stands for none; no host gives it.
        id != 0 && id as u64 & ((1 << RANDOM_BITS) - 1) >= self.threshold
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(id: u128) -> EventId {
        EventId::from_bytes(id.to_be_bytes())
    }

    fn bot(name: &str) -> BotName {
        name.parse().unwrap()
    }

    fn handle(outcome: &'static str) -> Span {
        let stage = Stage::Handle {
            bot: bot("echo"),
            class: EventClass::Message,
            attempt: 1,
            outcome,
            fuel: 0,
            waited: Duration::ZERO,
        };
        Span { event: event(7), begun: Moment::now(), ended: Moment::now(), stage }
    }

    fn deliver(bot_name: &str) -> Span {
        let stage = Stage::Deliver {
            connector: ConnectorKey::shared("chat".parse().unwrap()),
            bot: bot(bot_name),
            action: 1,
            outcome: "ok",
            failures: 0,
            retries: Vec::new(),
        };
        Span { event: event(7), begun: Moment::now(), ended: Moment::now(), stage }
    }

    #[test]
    fn a_delivery_belongs_to_the_attempt_that_committed_it_and_to_no_other() {
        assert_eq!(deliver("echo").parent(), Some(handle("ok").id()));
        assert_ne!(deliver("other").parent(), Some(handle("ok").id()));
        assert_ne!(deliver("echo").parent(), Some(handle("trap").id()));
        assert_eq!(handle("trap").parent(), Some(SpanId::of_receive(event(7))));
    }

    #[test]
    fn what_nothing_refers_to_has_an_id_of_its_own_each_time() {
        assert_ne!(handle("trap").id(), handle("trap").id());
        assert_ne!(deliver("echo").id(), deliver("echo").id());
    }

    #[test]
    fn ids_that_are_derived_are_those_of_every_build() {
        // What an earlier build sent must find together with what this one sends.
        assert_eq!(SpanId::of_receive(event(1)).to_bytes(), SpanId::derived(event(1), "receive", "").to_bytes());
        let known = Sha256::digest([&event(1).to_bytes()[..], b"handle\0echo"].concat());
        assert_eq!(SpanId::of_commit(event(1), &bot("echo")).to_bytes(), known[..8]);
    }

    #[test]
    fn of_a_share_about_that_many_are_traced() {
        let sample = Sample::of(0.25);
        let mut random = fastrand::Rng::with_seed(7);
        let traced = (0..10_000).filter(|_| sample.takes(event(random.u128(..)))).count();
        assert!((2_200..2_800).contains(&traced), "{traced}");
    }

    proptest! {
        #[test]
        fn a_larger_share_takes_what_a_smaller_one_takes(id in 1_u128.., one in 0.0..=1.0, other in 0.0..=1.0) {
            let (small, large): (f64, f64) = if one < other { (one, other) } else { (other, one) };
            prop_assert!(!Sample::of(small).takes(event(id)) || Sample::of(large).takes(event(id)));
            prop_assert!(Sample::of(1.0).takes(event(id)) && !Sample::of(0.0).takes(event(id)));
        }
    }
}
