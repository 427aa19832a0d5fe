//! The end of a handler that went well: what it asked for takes effect.
//!
//! State and timers are one transaction on disk. Actions go into the outboxes after it, in memory: a crash between the two
//! loses them.

use super::{Commit, Committed, Entry, Store, StoreError};
use crate::action::{AlertChange, Effects};
use crate::clock::Timestamp;
use crate::id::{BotName, EventId};

/// What a handler asked for.
#[derive(Debug)]
pub struct Settlement<'a> {
    /// Whose handler.
    pub bot: &'a BotName,
    /// Of which event; none: the bot's `init`.
    pub event: Option<EventId>,
    /// What it asked for.
    pub effects: Effects,
    /// Bytes of state that the bot may have.
    pub state_bytes_max: u64,
    /// The wall clock.
    pub now: Timestamp,
}

/// What came of a [`Settlement`]. Anything but `Done` left no trace.
#[derive(Debug, PartialEq, Eq)]
pub enum Settled {
    /// It took effect; but for the alerts, which are not the store's.
    Done {
        /// They took effect neither.
        alerts: Vec<AlertChange>,
    },
    /// Another event has changed this key since the handler read it: run the handler again.
    Conflict {
        /// The key.
        key: String,
    },
    /// It cannot take effect; run again, it would meet the same.
    Refused {
        /// Why, with the limit's configuration key.
        reason: String,
    },
}

impl Store {
    /// Lets what a handler asked for take effect, as a whole or not at all.
    ///
    /// # Errors
    ///
    /// Those of [`Store::commit`]. Nothing took effect then.
    pub async fn settle(&self, settlement: Settlement<'_>) -> Result<Settled, StoreError> {
        let Settlement { bot, event, effects, state_bytes_max, now } = settlement;
        let Effects { actions, reads, state, timers, alerts } = effects;
        let commit = Commit { bot: bot.clone(), reads, state, timers, state_bytes_max, now };
        match self.commit(commit).await? {
            Committed::Done => {}
            Committed::Conflict { key } => return Ok(Settled::Conflict { key }),
            Committed::QuotaExceeded { needed, allowed } => {
                return refused(format!("its state would have {needed} bytes, limits.state is {allowed}"));
            }
            Committed::NotANumber { key } => return refused(format!("`{key}` is no number that could be added to")),
            Committed::SumTooLarge { key } => return refused(format!("the sum at `{key}` does not fit into 64 bits")),
            Committed::TooManyTimers { allowed } => return refused(format!("a bot has at most {allowed} timers")),
        }
        for action in actions {
            let entry = Entry { bot: bot.clone(), event, action, committed_at: now };
            if let Err(error) = self.outbox().push(entry) {
                tracing::error!(%bot, %error, "an action was dropped");
            }
        }
        Ok(Settled::Done { alerts })
    }
}

fn refused(reason: String) -> Result<Settled, StoreError> {
    Ok(Settled::Refused { reason })
}
