//! What many tasks publish of themselves, by name: a map of watch channels that is replaced as a whole when the set changes.
//! Readers lock nothing that a task works with.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

/// The status `S` of everything named by `K`.
#[derive(Debug)]
pub struct Board<K, S> {
    statuses: ArcSwap<BTreeMap<K, watch::Receiver<S>>>,
    /// How often the set was replaced.
    replaced: watch::Sender<u64>,
}

impl<K, S> Default for Board<K, S> {
    fn default() -> Self {
        Self { statuses: ArcSwap::default(), replaced: watch::Sender::new(0) }
    }
}

impl<K: Ord + Clone, S: Clone> Board<K, S> {
    /// Replaces the set.
    pub fn replace(&self, statuses: BTreeMap<K, watch::Receiver<S>>) {
        self.statuses.store(Arc::new(statuses));
        self.replaced.send_modify(|times| *times += 1);
    }

    /// Returns how everything stands at this moment, in the order of the names.
    pub fn entries(&self) -> Vec<(K, S)> {
        self.statuses.load().iter().map(|(name, status)| (name.clone(), status.borrow().clone())).collect()
    }

    /// As [`Board::entries`], without the names.
    pub fn statuses(&self) -> Vec<S> {
        self.statuses.load().values().map(|status| status.borrow().clone()).collect()
    }

    /// Returns how one stands at this moment.
    pub fn get(&self, name: &K) -> Option<S> {
        self.statuses.load().get(name).map(|status| status.borrow().clone())
    }

    /// Returns what changes whenever the set is replaced.
    pub fn replaced(&self) -> watch::Receiver<u64> {
        self.replaced.subscribe()
    }

    /// Returns the channels, to wait for changes.
    pub fn receivers(&self) -> Vec<watch::Receiver<S>> {
        self.statuses.load().values().cloned().collect()
    }
}
