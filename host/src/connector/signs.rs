//! When a connector last had a sign of its platform. Noting one costs a store to memory and wakes nobody: it happens with every
//! frame and every answered poll.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Timestamp;

/// The last signs of one connector's platform; all clones are the same. They are no part of what a status says, so two are always
/// equal.
#[derive(Debug, Clone, Default)]
pub struct Signs(Arc<Moments>);

/// Milliseconds since the epoch; 0: never.
#[derive(Debug, Default)]
struct Moments {
    success: AtomicU64,
    event: AtomicU64,
}

impl Eq for Signs {}

impl PartialEq for Signs {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Signs {
    /// Notes that the platform proved just now that it is there: it answered, it beat, it acknowledged. What only this side did is
    /// no proof.
    pub fn succeeded(&self) {
        self.0.success.store(Timestamp::now().as_millis(), Ordering::Relaxed);
    }

    /// Notes that an event came in just now.
    pub fn event_came(&self) {
        self.0.event.store(Timestamp::now().as_millis(), Ordering::Relaxed);
    }

    /// Returns when the platform last proved that it is there.
    pub fn last_success(&self) -> Option<Timestamp> {
        moment(&self.0.success)
    }

    /// Returns when the last event came in.
    pub fn last_event(&self) -> Option<Timestamp> {
        moment(&self.0.event)
    }
}

fn moment(millis: &AtomicU64) -> Option<Timestamp> {
    Some(millis.load(Ordering::Relaxed)).filter(|millis| *millis > 0).map(Timestamp::from_millis)
}
