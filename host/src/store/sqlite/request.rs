//! What is asked of the writer, the answers it holds back until the transaction's end, and what follows in memory then.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::dedup::DedupKey;
use super::inbox::PreparedEvent;
use super::outbox::PreparedSend;
use super::prepare::{PreparedCommit, Turn};
use super::quarantine::RowName;
use crate::action::{AlertChange, Priority};
use crate::clock::Timestamp;
use crate::event::{Event, LaneKey};
use crate::grants::ConnectorKey;
use crate::id::{BotName, EventId};
use crate::store::append::Appended;
use crate::store::engine::Lease;
use crate::store::history::AttemptRecord;
use crate::store::incidents::Condemned;
use crate::store::lanes::LaneId;
use crate::store::memos::Memo;
use crate::store::outbox::{Entry, Outbox};
use crate::store::queue::{Claimed, Queue, Queued, Reserved, Verdict};
use crate::store::settle::Spent;
use crate::store::{Committed, Flaw, StoreError};

/// Where an answer goes.
pub(in crate::store) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// An event to take over.
#[derive(Debug)]
pub(in crate::store) struct Append {
    pub(in crate::store) event: Arc<Event>,
    pub(in crate::store) prepared: PreparedEvent,
    pub(in crate::store) key: Option<DedupKey>,
    pub(in crate::store) reserved: Reserved,
    /// The timer whose firing it is.
    pub(in crate::store) timer: Option<FiredTurn>,
    /// Grows when whoever brings events has dealt with those that were refused.
    pub(in crate::store) epoch: u64,
    pub(in crate::store) now: Timestamp,
}

/// A timer that fires, and what it does next.
#[derive(Debug)]
pub(in crate::store) struct FiredTurn {
    pub(in crate::store) bot: BotName,
    pub(in crate::store) name: String,
    pub(in crate::store) serial: u64,
    pub(in crate::store) turn: Turn,
}

/// What a handler that went well asked for.
#[derive(Debug)]
pub(in crate::store) struct Settle {
    /// The right to ask for it.
    pub(in crate::store) lease: Arc<Lease>,
    /// The event that is done with it; none: an `init`.
    pub(in crate::store) done: Option<(Claimed, Spent)>,
    pub(in crate::store) commit: PreparedCommit,
    pub(in crate::store) sends: Vec<PreparedSend>,
    pub(in crate::store) alerts: Vec<AlertChange>,
}

/// An attempt that did not go well, and what follows.
#[derive(Debug)]
pub(in crate::store) struct Fail {
    pub(in crate::store) lease: Arc<Lease>,
    pub(in crate::store) claimed: Claimed,
    pub(in crate::store) record: AttemptRecord,
    /// None: it becomes a dead letter.
    pub(in crate::store) retry: Option<Timestamp>,
}

/// How an action ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum SendEnd {
    Delivered { platform_id: Option<String> },
    Lost { reason: String },
}

/// What can be asked of the writer.
#[derive(Debug)]
pub(in crate::store) enum Write {
    Append {
        append: Box<Append>,
        reply: Reply<Appended>,
    },
    Settle {
        settle: Box<Settle>,
        reply: Reply<Committed>,
    },
    Fail {
        fail: Box<Fail>,
        reply: Reply<()>,
    },
    /// The bot does not want an event. Nobody waits for it: asked again, it would say the same.
    Dismiss {
        lease: Arc<Lease>,
        claimed: Claimed,
    },
    /// An event that may have ended an earlier process is about to be tried.
    Claim {
        lease: Arc<Lease>,
        claimed: Claimed,
        reply: Reply<()>,
    },
    /// An action is about to be handed over whose platform cannot be asked twice.
    SendBegun {
        lease: Arc<Lease>,
        id: u64,
        reply: Reply<()>,
    },
    /// An action was not delivered and will be tried again. Nobody waits for it: it only tells.
    SendFailed {
        lease: Arc<Lease>,
        id: u64,
        attempts: u32,
        due: Timestamp,
        error: String,
    },
    SendEnded {
        lease: Arc<Lease>,
        entry: Box<Entry>,
        attempts: u32,
        end: SendEnd,
        now: Timestamp,
        reply: Reply<()>,
    },
    /// A bot is gone: what waits for it becomes dead letters.
    ForgetBot {
        bot: BotName,
        now: Timestamp,
        reply: Reply<u64>,
    },
    /// A connector is gone: what waits for it is lost.
    CloseOutbox {
        key: ConnectorKey,
        now: Timestamp,
        reply: Reply<u64>,
    },
    /// What waits for a connector may have expired.
    ExpireSends {
        key: ConnectorKey,
        ttl: Duration,
        now: Timestamp,
        reply: Reply<u64>,
    },
    /// The operator wants a dead letter tried again, or dropped.
    DeadLetter {
        id: EventId,
        bot: BotName,
        fate: Fate,
        now: Timestamp,
        reply: Reply<u64>,
    },
    /// The operator wants a lost action tried again, or one that waits dropped.
    Send {
        id: u64,
        fate: Fate,
        now: Timestamp,
        reply: Reply<u64>,
    },
    /// The operator wants what was lost for a connector tried again.
    RestoreSends {
        key: ConnectorKey,
        since: Timestamp,
        limit: usize,
        now: Timestamp,
        reply: Reply<u64>,
    },
    /// Somebody wants to own something, to go on owning it, or no longer. The answer is the fence.
    Lease {
        step: LeaseStep,
        reply: Reply<Option<u64>>,
    },
    /// A version of a bot is not to be tried again.
    Condemn {
        condemned: Box<Condemned>,
        reply: Reply<()>,
    },
    /// Every version of a bot may be tried again.
    Pardon {
        bot: BotName,
        reply: Reply<u64>,
    },
    /// A connector keeps a text under a name; none: no longer.
    PutMemo {
        key: ConnectorKey,
        name: String,
        memo: Option<Memo>,
        now: Timestamp,
        reply: Reply<()>,
    },
    /// A reader met a row that cannot be trusted.
    PutAside {
        row: RowName,
        flaw: Flaw,
        now: Timestamp,
        reply: Reply<()>,
    },
    /// Somebody wants to know that the writer gets on. Answered without a transaction.
    Ping {
        reply: Reply<()>,
    },
}

/// What somebody wants of a lease.
#[derive(Debug, Clone)]
pub(in crate::store) enum LeaseStep {
    Acquire { name: String, holder: Arc<str>, expires_at: Timestamp, now: Timestamp },
    Renew { name: String, fence: u64, expires_at: Timestamp, now: Timestamp },
    Release { name: String, fence: u64 },
}

/// What an operator wants of something that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Fate {
    Retry,
    Drop,
}

impl Write {
    /// Returns about how many bytes it will write.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Append { append, .. } => append.prepared.body.len(),
            Self::Settle { settle, .. } => {
                settle.commit.weight() + settle.sends.iter().map(|send| send.body.len()).sum::<usize>()
            }
            _ => 0,
        }
    }

    /// Returns the lease that it was asked under; none for what anybody may ask.
    pub(super) fn lease(&self) -> Option<&Lease> {
        match self {
            Self::Settle { settle, .. } => Some(&settle.lease),
            Self::Fail { fail, .. } => Some(&fail.lease),
            Self::Dismiss { lease, .. }
            | Self::Claim { lease, .. }
            | Self::SendBegun { lease, .. }
            | Self::SendFailed { lease, .. }
            | Self::SendEnded { lease, .. } => Some(lease),
            _ => None,
        }
    }

    /// Returns the epoch of an event that comes in; none for anything else.
    pub(super) fn intake_epoch(&self) -> Option<u64> {
        match self {
            Self::Append { append, .. } => Some(append.epoch),
            _ => None,
        }
    }

    pub(super) fn refuse(self, error: &StoreError) -> Outcome {
        let error = error.clone();
        match self {
            Self::Append { append, reply } => {
                Outcome { answer: Answer::Appended(reply, Err(error)), after: vec![After::Release(append.reserved)] }
            }
            Self::Settle { reply, .. } => Answer::Committed(reply, Err(error)).into(),
            Self::Fail { reply, .. }
            | Self::Claim { reply, .. }
            | Self::SendBegun { reply, .. }
            | Self::SendEnded { reply, .. }
            | Self::Condemn { reply, .. }
            | Self::PutMemo { reply, .. }
            | Self::PutAside { reply, .. }
            | Self::Ping { reply } => Answer::Done(reply, Err(error)).into(),
            Self::Lease { reply, .. } => Answer::Fence(reply, Err(error)).into(),
            Self::ForgetBot { reply, .. }
            | Self::CloseOutbox { reply, .. }
            | Self::ExpireSends { reply, .. }
            | Self::RestoreSends { reply, .. }
            | Self::DeadLetter { reply, .. }
            | Self::Pardon { reply, .. }
            | Self::Send { reply, .. } => Answer::Count(reply, Err(error)).into(),
            Self::Dismiss { .. } | Self::SendFailed { .. } => Answer::Nobody(Err(error)).into(),
        }
    }
}

/// An answer that waits for the transaction's end.
pub(super) enum Answer {
    Appended(Reply<Appended>, Result<Appended, StoreError>),
    Committed(Reply<Committed>, Result<Committed, StoreError>),
    Done(Reply<()>, Result<(), StoreError>),
    Count(Reply<u64>, Result<u64, StoreError>),
    Fence(Reply<Option<u64>>, Result<Option<u64>, StoreError>),
    Nobody(Result<(), StoreError>),
}

/// What one request came to.
pub(super) struct Outcome {
    pub(super) answer: Answer,
    /// What follows in memory, in this order.
    pub(super) after: Vec<After>,
}

/// What follows in memory once the transaction is on disk. All of it happens in the writer's thread, so that the order in memory
/// is that on disk.
pub(super) enum After {
    Push {
        reserved: Reserved,
        seq: u64,
        event: Arc<Event>,
    },
    /// Room was taken for an event that did not come in.
    Release(Reserved),
    Settled(Claimed, Verdict),
    Restore {
        bot: BotName,
        lane: LaneKey,
        priority: Priority,
        row: Queued,
    },
    Forget(BotName),
    Send(Box<Entry>),
    /// An entry that waits is lost.
    Displaced {
        key: ConnectorKey,
        lane: LaneId,
        id: u64,
    },
    SendFinished(Box<Entry>),
}

impl After {
    pub(super) fn happen(self, queue: &Queue, outbox: &Outbox) {
        match self {
            Self::Push { reserved, seq, event } => queue.push(&reserved, seq, &event),
            Self::Release(reserved) => queue.release(&reserved),
            Self::Settled(claimed, verdict) => queue.settle(&claimed, verdict),
            Self::Restore { bot, lane, priority, row } => queue.restore(&bot, lane, priority, None, row),
            Self::Forget(bot) => drop(queue.forget(&bot)),
            Self::Send(entry) => outbox.push(*entry, None),
            Self::Displaced { key, lane, id } => outbox.remove(&key, &lane, id),
            Self::SendFinished(entry) => outbox.finish(&entry),
        }
    }

    /// What follows where the transaction came to nothing.
    fn come_to_nothing(self, queue: &Queue) {
        if let Self::Push { reserved, .. } | Self::Release(reserved) = self {
            queue.release(&reserved);
        }
    }
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        Self { answer, after: Vec::new() }
    }
}

impl Outcome {
    pub(super) fn error(&self) -> Option<&StoreError> {
        match &self.answer {
            Answer::Appended(_, result) => result.as_ref().err(),
            Answer::Committed(_, result) => result.as_ref().err(),
            Answer::Done(_, result) | Answer::Nobody(result) => result.as_ref().err(),
            Answer::Count(_, result) => result.as_ref().err(),
            Answer::Fence(_, result) => result.as_ref().err(),
        }
    }

    /// Lets what follows happen and sends the answer, or, where the transaction failed, its error: even a refusal may rest on what
    /// is undone now.
    pub(super) fn conclude(self, failed: Option<&StoreError>, queue: &Queue, outbox: &Outbox) {
        fn deliver<T>(reply: Reply<T>, result: Result<T, StoreError>, failed: Option<&StoreError>) {
            // Whoever asked may be gone.
            let _ = reply.send(failed.map_or(result, |error| Err(error.clone())));
        }
        for after in self.after {
            match failed {
                None => after.happen(queue, outbox),
                Some(_) => after.come_to_nothing(queue),
            }
        }
        match self.answer {
            Answer::Appended(reply, result) => deliver(reply, result, failed),
            Answer::Committed(reply, result) => deliver(reply, result, failed),
            Answer::Done(reply, result) => deliver(reply, result, failed),
            Answer::Count(reply, result) => deliver(reply, result, failed),
            Answer::Fence(reply, result) => deliver(reply, result, failed),
            Answer::Nobody(result) => {
                if let Some(error) = failed.or(result.as_ref().err()) {
                    tracing::warn!(error = error as &dyn std::error::Error, "a note could not be written");
                }
            }
        }
    }
}
