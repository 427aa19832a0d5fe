//! How full each connector's outbox is, read from memory for whoever asks; and the operator's word that what waits is due.

use super::{Outbox, OutboxSettings, Waiting};
use crate::clock::Timestamp;
use crate::grants::ConnectorKey;

/// How full the outbox of one connector is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxFigures {
    /// The connector.
    pub key: ConnectorKey,
    /// Entries, those being delivered included.
    pub waiting: usize,
    /// Those being delivered.
    pub at_work: usize,
    /// Conversations whose next entry waits for a moment: for another try, or until the platform takes more.
    pub held: usize,
    /// When the first of those is due.
    pub due: Option<Timestamp>,
    /// How many bytes the entries have, as far as that is known: of those that were put back it is not.
    pub bytes: u64,
    /// When the oldest was committed.
    pub oldest: Option<Timestamp>,
    /// How it behaves; none: there is no such connector, and what was committed for one that was there waits for it to come back.
    pub settings: Option<OutboxSettings>,
}

impl Outbox {
    /// Returns how full every outbox is, by name. What it costs grows with the number of entries.
    pub fn figures(&self) -> Vec<OutboxFigures> {
        let inner = self.lock();
        let mut figures: Vec<_> = inner.connectors.iter().map(|(key, waiting)| figures_of(key, waiting)).collect();
        drop(inner);
        figures.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        figures
    }

    /// Has what waits for another try be due now, in order within each conversation as ever. Returns how many conversations did not
    /// wait for anything else.
    pub(in crate::store) fn hasten(&self, key: &ConnectorKey) -> usize {
        let mut inner = self.lock();
        let Some(waiting) = inner.connectors.get_mut(key) else { return 0 };
        let hastened = waiting.lanes.hasten();
        waiting.work.notify_one();
        hastened
    }
}

fn figures_of(key: &ConnectorKey, waiting: &Waiting) -> OutboxFigures {
    let lanes = &waiting.lanes;
    OutboxFigures {
        key: key.clone(),
        waiting: lanes.len(),
        at_work: lanes.at_work(),
        held: lanes.held(),
        due: lanes.next_due(),
        bytes: lanes.all().map(|entry| u64::from(entry.bytes)).sum(),
        oldest: lanes.firsts().map(|entry| entry.committed_at).min(),
        settings: waiting.settings,
    }
}
