//! What became of events and actions, as the operator asks for it: dead letters, what was sent, the story of one event.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::action::Priority;
use crate::clock::Timestamp;
use crate::event::Event;
use crate::grants::ConnectorKey;
use crate::id::{BotName, EventId};

/// Longest message of an attempt that is kept, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 << 10;
/// Longest backtrace of an attempt that is kept, in bytes.
pub const BACKTRACE_BYTES_MAX: usize = 16 << 10;

/// One attempt that did not go well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Which attempt it was, counted from 1. 0: none was made, and this says why not.
    pub attempt: u32,
    /// When it ended.
    pub at: Timestamp,
    /// How long it took.
    pub elapsed: Duration,
    /// Fuel that it burnt.
    pub fuel: u64,
    /// The kind of fault, such as `trap` or `fuel`.
    pub outcome: String,
    /// What went wrong, at most [`MESSAGE_BYTES_MAX`].
    pub message: String,
    /// Where in the guest, at most [`BACKTRACE_BYTES_MAX`]; empty where there is none.
    pub backtrace: String,
}

/// Where a bot is with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    /// It waits, or is at work.
    Waiting {
        /// Not before this moment.
        due: Option<Timestamp>,
    },
    /// It was handled.
    Done {
        /// When.
        at: Timestamp,
        /// How long the attempt took that went well.
        elapsed: Duration,
        /// Fuel that this attempt burnt.
        fuel: u64,
    },
    /// Every attempt failed, or none could be made.
    Dead {
        /// Since when.
        at: Timestamp,
    },
    /// The bot's version did not want it.
    Unwanted,
}

/// What one bot did with an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handling {
    /// The bot.
    pub bot: BotName,
    /// How urgent it was.
    pub priority: Priority,
    /// Where the bot is with it.
    pub stand: Stand,
    /// Attempts that were made.
    pub attempts: u32,
    /// Those that did not go well.
    pub faults: Vec<AttemptRecord>,
    /// What it asked of platforms.
    pub sends: Vec<Send>,
}

/// Where an action is on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendStand {
    /// It waits, or is being delivered.
    Waiting {
        /// Not before this moment.
        due: Option<Timestamp>,
    },
    /// It was handed to the platform; whether it arrived is not known.
    PerhapsSent,
    /// The platform took it.
    Delivered {
        /// When.
        at: Timestamp,
        /// The platform's id of what came of it.
        platform_id: Option<String>,
    },
    /// It will not be delivered.
    Lost {
        /// Since when.
        at: Timestamp,
        /// Why.
        reason: String,
    },
}

/// One action and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    /// Its number in the outbox.
    pub id: u64,
    /// The event whose handler asked for it; none: the bot's `init`, or the event is no longer kept.
    pub event: Option<EventId>,
    /// Whose handler.
    pub bot: BotName,
    /// The connector.
    pub connector: String,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// Where it is.
    pub stand: SendStand,
    /// Tries that were made.
    pub attempts: u32,
    /// What to do; none where what is stored cannot be trusted.
    pub action: Option<crate::action::Action>,
}

/// Everything that is known of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// What happened; none where what is stored cannot be trusted.
    pub event: Option<Event>,
    /// Its id.
    pub id: EventId,
    /// The connector's key; none: a timer.
    pub origin: Option<String>,
    /// The platform's own id of it.
    pub platform_id: Option<String>,
    /// When it was taken over.
    pub received_at: Timestamp,
    /// How often the platform delivered it again and was not heard.
    pub duplicates: u64,
    /// What each bot that hears it did, by name.
    pub handlings: Vec<Handling>,
}

/// An event that a bot could not handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its id.
    pub id: EventId,
    /// The bot.
    pub bot: BotName,
    /// Since when.
    pub at: Timestamp,
    /// Attempts that were made.
    pub attempts: u32,
    /// What the last of them met.
    pub last: Option<AttemptRecord>,
    /// What happened; none where what is stored cannot be trusted.
    pub event: Option<Event>,
}

/// Which entries of the outbox are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SendFilter {
    /// Those that wait, the next first.
    Waiting,
    /// Those that will not be delivered, the latest first.
    Lost,
}

/// Which events are looked for. What is none is not asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchQuery {
    /// Those that one of these bots hears. Of others nothing is told.
    pub bots: Option<BTreeSet<BotName>>,
    /// Where one of the bots stands with it.
    pub stand: Option<StandFilter>,
    /// The connector it came through.
    pub connector: Option<ConnectorKey>,
    /// The platform's id of the conversation it was said in.
    pub conversation: Option<String>,
    /// What its text contains, however that is capitalised.
    pub text: Option<String>,
    /// When it was taken over, at the earliest.
    pub since: Option<Timestamp>,
    /// Before when it was taken over.
    pub until: Option<Timestamp>,
    /// Before which place in the order of all events: where an earlier page ended.
    pub before: Option<u64>,
    /// After which place in that order.
    pub after: Option<u64>,
    /// How many at most; at least one.
    pub limit: u32,
}

/// Where a bot may stand with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandFilter {
    /// It waits, or is at work.
    Waiting,
    /// It was handled.
    Done,
    /// It is a dead letter.
    Dead,
    /// The bot did not want it.
    Dropped,
}

impl StandFilter {
    /// Returns whether this is where the bot stands.
    pub fn takes(self, stand: &Stand) -> bool {
        matches!(
            (self, stand),
            (Self::Waiting, Stand::Waiting { .. })
                | (Self::Done, Stand::Done { .. })
                | (Self::Dead, Stand::Dead { .. })
                | (Self::Dropped, Stand::Unwanted)
        )
    }
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchPage {
    /// The events, the newest first.
    pub events: Vec<FoundEvent>,
    /// How it ended.
    pub end: SearchEnd,
}

/// How a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchEnd {
    /// It has looked at everything.
    Oldest,
    /// It has found as many as were asked for.
    Full {
        /// Where to go on.
        before: u64,
    },
    /// It has looked at as many as one search may, and there are more.
    Cut {
        /// Where to go on.
        before: u64,
    },
}

/// An event that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundEvent {
    /// Its place in the order of all events.
    pub seq: u64,
    /// Its id.
    pub id: EventId,
    /// The connector's key; none: a timer.
    pub origin: Option<String>,
    /// When it was taken over.
    pub received_at: Timestamp,
    /// What happened; none where what is stored cannot be trusted.
    pub event: Option<Event>,
    /// What the bots that were asked for have to do with it, by name.
    pub handlings: Vec<FoundHandling>,
}

/// What one bot has to do with an event that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundHandling {
    /// The bot.
    pub bot: BotName,
    /// Where it stands.
    pub stand: Stand,
    /// Attempts that were made.
    pub attempts: u32,
}

/// Cuts a text that a guest or a platform wrote.
pub(super) fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_two_characters_and_a_short_one_not_at_all() {
        assert_eq!(cut("abc".to_owned(), 3), "abc");
        assert_eq!(cut("abcd".to_owned(), 3), "abc");
        assert_eq!(cut("aéé".to_owned(), 4), "aé");
        assert_eq!(cut("é".to_owned(), 1), "");
    }
}
