//! What is asked of the writer, and the answers it holds back until the transaction's end.

use tokio::sync::oneshot;

use super::prepare::{PreparedCommit, Turn};
use super::quarantine::RowName;
use crate::clock::Timestamp;
use crate::id::BotName;
use crate::store::{Committed, Flaw, StoreError, TimerFired};

/// Where an answer goes.
pub(in crate::store) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What can be asked of the writer.
#[derive(Debug)]
pub(in crate::store) enum Write {
    /// What a handler wants written.
    Commit { commit: PreparedCommit, reply: Reply<Committed> },
    /// A timer has fired.
    TimerFired { bot: BotName, name: String, serial: u64, turn: Turn, now: Timestamp, reply: Reply<TimerFired> },
    /// A reader met a row that cannot be trusted.
    PutAside { row: RowName, flaw: Flaw, now: Timestamp, reply: Reply<()> },
}

impl Write {
    /// Returns about how many bytes it will write.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Commit { commit, .. } => commit.weight(),
            Self::TimerFired { .. } | Self::PutAside { .. } => 0,
        }
    }

    pub(super) fn refuse(self, error: &StoreError) -> Answer {
        let error = error.clone();
        match self {
            Self::Commit { reply, .. } => Answer::Commit(reply, Err(error)),
            Self::TimerFired { reply, .. } => Answer::TimerFired(reply, Err(error)),
            Self::PutAside { reply, .. } => Answer::PutAside(reply, Err(error)),
        }
    }
}

/// An answer that waits for the transaction's end.
pub(super) enum Answer {
    Commit(Reply<Committed>, Result<Committed, StoreError>),
    TimerFired(Reply<TimerFired>, Result<TimerFired, StoreError>),
    PutAside(Reply<()>, Result<(), StoreError>),
}

impl Answer {
    pub(super) fn error(&self) -> Option<&StoreError> {
        match self {
            Self::Commit(_, result) => result.as_ref().err(),
            Self::TimerFired(_, result) => result.as_ref().err(),
            Self::PutAside(_, result) => result.as_ref().err(),
        }
    }

    /// Sends the answer, or, where the transaction failed, its error: even a refusal may rest on what is undone now.
    pub(super) fn send(self, failed: Option<&StoreError>) {
        fn deliver<T>(reply: Reply<T>, result: Result<T, StoreError>, failed: Option<&StoreError>) {
            // Whoever asked may be gone.
            let _ = reply.send(failed.map_or(result, |error| Err(error.clone())));
        }
        match self {
            Self::Commit(reply, result) => deliver(reply, result, failed),
            Self::TimerFired(reply, result) => deliver(reply, result, failed),
            Self::PutAside(reply, result) => deliver(reply, result, failed),
        }
    }
}
