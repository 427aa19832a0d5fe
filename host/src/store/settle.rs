//! The end of an attempt. Of one that went well everything takes effect in one transaction: state, timers, actions, alerts, and
//! that the event is done. Of one that did not, nothing does, and what went wrong is written down.

use std::sync::Arc;
use std::time::Duration;

use super::commit::Commit;
use super::engine::Lease;
use super::history::{AttemptRecord, BACKTRACE_BYTES_MAX, MESSAGE_BYTES_MAX, cut};
use super::queue::Claimed;
use super::sqlite::{Fail, PreparedCommit, PreparedSend, Settle, Write};
use super::{Committed, Store, StoreError};
use crate::action::{AlertChange, Effects};
use crate::clock::Timestamp;
use crate::event::LaneKey;
use crate::id::BotName;

/// What an attempt took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Wall-clock time.
    pub elapsed: Duration,
    /// Fuel.
    pub fuel: u64,
}

/// What a handler asked for.
#[derive(Debug)]
pub struct Settlement<'a> {
    /// Whose handler.
    pub bot: &'a BotName,
    /// The event that is done with it, and what that took; none: the bot's `init`.
    pub done: Option<(&'a Claimed, Spent)>,
    /// What it asked for.
    pub effects: Effects,
    /// Bytes of state that the bot may have.
    pub state_bytes_max: u64,
    /// The conversation whose platform takes no reply after this moment: what is sent there expires then at the latest.
    pub reply_by: Option<(LaneKey, Timestamp)>,
    /// The wall clock.
    pub now: Timestamp,
}

/// What came of a [`Settlement`]. Anything but `Done` left no trace.
#[derive(Debug, PartialEq, Eq)]
pub enum Settled {
    /// It took effect.
    Done {
        /// They are on disk; nobody was told yet.
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
    /// The event is no longer the bot's to handle: it was made a dead letter meanwhile.
    Gone,
}

impl Store {
    /// Lets what a handler asked for take effect and its event be done, as a whole or not at all. Returns when it is on disk.
    ///
    /// # Errors
    ///
    /// Where it breaks a limit that the caller had to check, meets a row that cannot be trusted, or cannot be written.
    /// Nothing took effect then, and the event is still at work.
    pub async fn settle(&self, settlement: Settlement<'_>) -> Result<Settled, StoreError> {
        self.settle_under(&self.shared.lease, settlement).await
    }

    pub(super) async fn settle_under(&self, lease: &Lease, settlement: Settlement<'_>) -> Result<Settled, StoreError> {
        let Settlement { bot, done, effects, state_bytes_max, reply_by, now } = settlement;
        if done.is_none() && effects == Effects::default() {
            return Ok(Settled::Done { alerts: Vec::new() });
        }
        let Effects { actions, reads, state, timers, alerts } = effects;
        let commit = PreparedCommit::new(Commit { bot: bot.clone(), reads, state, timers, state_bytes_max, now })?;
        let sent_at = Timestamp::steady();
        let sends = actions.into_iter().map(|action| PreparedSend::new(action, reply_by.as_ref(), sent_at)).collect();
        let done = done.map(|(claimed, spent)| (claimed.clone(), spent));
        let settle = Box::new(Settle { lease: Arc::new(lease.clone()), done, commit, sends, alerts: alerts.clone() });
        Ok(settled(self.write(|reply| Write::Settle { settle, reply }).await?, alerts))
    }

    /// Writes down an attempt that did not go well. The event is tried again at `retry`; without one it is a dead letter.
    ///
    /// # Errors
    ///
    /// Where it cannot be written. The event is still at work then.
    pub async fn fail(
        &self,
        claimed: &Claimed,
        record: AttemptRecord,
        retry: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.fail_under(&self.shared.lease, claimed, record, retry).await
    }

    pub(super) async fn fail_under(
        &self,
        lease: &Lease,
        claimed: &Claimed,
        record: AttemptRecord,
        retry: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let record = AttemptRecord {
            message: cut(record.message, MESSAGE_BYTES_MAX),
            backtrace: cut(record.backtrace, BACKTRACE_BYTES_MAX),
            ..record
        };
        let fail = Box::new(Fail { lease: Arc::new(lease.clone()), claimed: claimed.clone(), record, retry });
        self.write(|reply| Write::Fail { fail, reply }).await
    }

    /// Says that the bot does not want an event. Returns once that is on its way: after a crash the bot is asked again.
    pub async fn dismiss(&self, claimed: &Claimed) {
        self.dismiss_under(&self.shared.lease, claimed).await;
    }

    pub(super) async fn dismiss_under(&self, lease: &Lease, claimed: &Claimed) {
        self.queue().dismiss(claimed);
        // Only a store that is closed does not take it.
        let dismiss = Write::Dismiss { lease: Arc::new(lease.clone()), claimed: claimed.clone() };
        let _ = self.shared.writes.send(dismiss).await;
    }

    /// Notes that an attempt begins, where the event may have ended an earlier process: one that ends every process runs out of
    /// attempts. For all others a claim costs nothing.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub async fn begin(&self, claimed: &Claimed) -> Result<(), StoreError> {
        self.begin_under(&self.shared.lease, claimed).await
    }

    pub(super) async fn begin_under(&self, lease: &Lease, claimed: &Claimed) -> Result<(), StoreError> {
        if !claimed.is_suspect {
            return Ok(());
        }
        let (lease, claimed) = (Arc::new(lease.clone()), claimed.clone());
        self.write(|reply| Write::Claim { lease, claimed, reply }).await
    }
}

/// Says what came of a commit in the words of its caller.
pub(super) fn settled(committed: Committed, alerts: Vec<AlertChange>) -> Settled {
    match committed {
        Committed::Done => Settled::Done { alerts },
        Committed::Conflict { key } => Settled::Conflict { key },
        Committed::Gone => Settled::Gone,
        Committed::QuotaExceeded { needed, allowed } => {
            refused(format!("its state would have {needed} bytes, limits.state is {allowed}"))
        }
        Committed::NotANumber { key } => refused(format!("`{key}` is no number that could be added to")),
        Committed::SumTooLarge { key } => refused(format!("the sum at `{key}` does not fit into 64 bits")),
        Committed::TooManyTimers { allowed } => refused(format!("a bot has at most {allowed} timers")),
    }
}

fn refused(reason: String) -> Settled {
    Settled::Refused { reason }
}

/// Short ways for the tests of this crate.
#[cfg(test)]
mod testing {
    use super::*;
    use crate::action::Priority;
    use crate::event::{Event, EventKind};
    use crate::store::{Appended, DueTimer, NewEvent};

    impl Store {
        /// Commits what belongs to no event, as an `init` does.
        pub(crate) async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
            let commit = PreparedCommit::new(commit)?;
            let lease = Arc::clone(&self.shared.lease);
            let settle = Box::new(Settle { lease, done: None, commit, sends: Vec::new(), alerts: Vec::new() });
            self.write(|reply| Write::Settle { settle, reply }).await
        }

        /// Fires a timer, as the router does.
        pub(crate) async fn fire(&self, timer: &DueTimer, now: Timestamp) -> Result<Appended, StoreError> {
            let (name, payload, due_at) = (timer.name.clone(), timer.payload.clone(), timer.due_at);
            let event = Event { received_at: now, ..Event::now(None, EventKind::Timer { name, payload, due_at }) };
            let bots = vec![(timer.bot.clone(), Priority::Normal)];
            let new = NewEvent { event: event.into(), origin: None, bots, timer: Some(timer.clone()) };
            self.submit(new).await?.done().await
        }
    }
}
