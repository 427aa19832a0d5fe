//! Incidents on their way to the writer: a short list in memory, so that whoever notes one waits for nobody. What does not fit is
//! counted and dropped; the oldest stays, since it says how it began.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::incidents::Incident;

/// Incidents that may wait. With their caps, 7 MiB at most.
const WAITING_MAX: usize = 1_000;
/// Incidents in one transaction.
const BATCH_LEN: usize = 128;

/// What waits to be written down.
#[derive(Debug, Default)]
pub(super) struct Notes {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Incident>,
    dropped: u64,
}

impl Notes {
    /// Adds one, or counts it as dropped.
    pub(super) fn push(&self, incident: Incident) {
        let mut state = self.lock();
        if state.waiting.len() < WAITING_MAX {
            state.waiting.push_back(incident);
        } else {
            state.dropped += 1;
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// Takes those that come next, the oldest first.
    pub(super) fn take(&self) -> Vec<Incident> {
        let mut state = self.lock();
        let count = state.waiting.len().min(BATCH_LEN);
        state.waiting.drain(..count).collect()
    }

    /// Puts back what was taken and could not be written, before all that came since.
    pub(super) fn put_back(&self, incidents: Vec<Incident>) {
        let mut state = self.lock();
        incidents.into_iter().rev().for_each(|incident| state.waiting.push_front(incident));
        let excess = state.waiting.len().saturating_sub(WAITING_MAX);
        state.waiting.truncate(WAITING_MAX);
        state.dropped += excess as u64;
    }

    /// Counts some that were taken and will never be written.
    pub(super) fn lose(&self, count: usize) {
        self.lock().dropped += count as u64;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    /// Returns how many were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Returns when one has come since this returned last, perhaps once too often. Cancel safe.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::store::incidents::IncidentKind;

    fn note(at: u64) -> Incident {
        Incident {
            at: Timestamp::from_millis(at),
            bot: "echo".parse().unwrap(),
            kind: IncidentKind::Started,
            event: None,
            attempt: 0,
            component: None,
            message: String::new(),
            backtrace: String::new(),
            strategy: "none".to_owned(),
        }
    }

    #[test]
    fn what_does_not_fit_is_counted_and_the_oldest_stays() {
        let notes = Notes::default();
        (0..1_010).for_each(|at| notes.push(note(at)));
        assert_eq!(notes.dropped(), 10);
        let taken = notes.take();
        assert_eq!((taken.len(), &taken[0], &taken[127]), (128, &note(0), &note(127)));
        (0..100).for_each(|at| notes.push(note(2_000 + at)));
        notes.put_back(taken);
        assert_eq!(notes.dropped(), 110, "what came last gives way");
        let mut all = Vec::new();
        while !notes.is_empty() {
            all.extend(notes.take());
        }
        assert_eq!(all, (0..1_000).map(note).collect::<Vec<_>>());
    }
}
