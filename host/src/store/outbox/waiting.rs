//! What waits for one connector, and the change from one order of it to another.

use std::sync::Arc;

use tokio::sync::Notify;

use super::super::lanes::{LaneId, Lanes};
use super::{Entry, OutboxSettings};
use crate::action::Priority;
use crate::delivery::Order;

/// What waits for one connector.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) lanes: Lanes<Entry>,
    /// None: no connector of that name runs. What was committed for one that did waits for it to come back.
    pub(super) settings: Option<OutboxSettings>,
    /// The order that the lanes are in, which is not the one of the settings until it can be.
    pub(super) laned: Order,
    pub(super) work: Arc<Notify>,
}

impl Waiting {
    /// Whether what waits is in another order than the one that is wanted.
    pub(super) fn is_reordering(&self) -> bool {
        self.settings.is_some_and(|settings| settings.order != self.laned)
    }

    /// Puts what waits into the order that is wanted. Returns whether that could be done: what is at work has its place in the
    /// order before, and behind it others of its conversation.
    pub(super) fn reorder(&mut self) -> bool {
        let Some(settings) = self.settings.filter(|_| self.lanes.at_work() == 0) else { return false };
        self.lanes = in_order(settings.order, std::mem::take(&mut self.lanes));
        self.laned = settings.order;
        true
    }

    /// Removes an entry that is not at work. It may have been put into another lane than it was seen in.
    pub(super) fn remove(&mut self, lane: &LaneId, id: u64) -> Option<Entry> {
        let is_it = |entry: &Entry| entry.id == id;
        if let Some(entry) = self.lanes.remove(lane, is_it) {
            return Some(entry);
        }
        let lane = self.lanes.idle().find(|(_, entry)| entry.id == id).map(|(lane, _)| lane.clone())?;
        self.lanes.remove(&lane, is_it)
    }
}

/// Returns the class that an entry waits in.
pub(super) fn class(order: Order, priority: Priority) -> Priority {
    match order {
        Order::Fifo => Priority::default(),
        Order::Priority => priority,
    }
}

/// Returns what waits for a connector in lanes of another order.
fn in_order(order: Order, lanes: Lanes<Entry>) -> Lanes<Entry> {
    let mut entries: Vec<_> = lanes.into_due().collect();
    entries.sort_unstable_by_key(|(_, entry)| entry.id);
    let mut lanes = Lanes::default();
    for (due, mut entry) in entries {
        entry.lane.priority = class(order, entry.priority);
        match due {
            Some(due) => lanes.push_held(entry.lane.clone(), entry, due),
            None => lanes.push(entry.lane.clone(), entry),
        }
    }
    lanes
}
