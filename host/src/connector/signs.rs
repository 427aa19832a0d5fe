//! What a connector has seen of its platform and what came of it: when, how often, what went wrong last. Noting it costs a store to
//! memory and wakes nobody: it happens with every frame, every answered poll and every delivery.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Timestamp;

/// What was seen of one connector's platform, since the host began or the connector was configured anew; all clones are the same.
/// They are no part of what a status says, so two are always equal.
#[derive(Debug, Clone, Default)]
pub struct Signs(Arc<Seen>);

/// Moments are milliseconds since the epoch; 0: never.
#[derive(Debug, Default)]
struct Seen {
    success: AtomicU64,
    event: AtomicU64,
    events: AtomicU64,
    connected: AtomicU64,
    failed: AtomicU64,
    lost: AtomicU64,
    delivered: AtomicU64,
    undelivered: AtomicU64,
    given_up: AtomicU64,
    expired: AtomicU64,
    outflow: AtomicU8,
    /// Locked where something goes wrong, and by whoever asks.
    error: Mutex<Option<(Timestamp, Arc<str>)>>,
}

/// What a connector counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connections that were made.
    pub connected: u64,
    /// Attempts to connect that failed.
    pub failed: u64,
    /// Connections that were made and lost.
    pub lost: u64,
    /// Events that came.
    pub events: u64,
    /// Actions that the platform took.
    pub delivered: u64,
    /// Tries of an action that the platform did not take, or of which it is not known.
    pub undelivered: u64,
    /// Actions that were given up, those that expired left out.
    pub given_up: u64,
    /// Actions that were not delivered in time.
    pub expired: u64,
}

/// How what waits for a connector leaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Outflow {
    /// Not at all: there is no connection.
    #[default]
    Closed,
    /// As fast as the platform's limits allow.
    Open,
    /// At a growing pace: what had piled up follows the connection.
    Replaying,
    /// Not until a while has passed: the platform has refused the credentials of a delivery.
    Refused,
}

impl Outflow {
    const ALL: [Self; 4] = [Self::Closed, Self::Open, Self::Replaying, Self::Refused];

    /// Returns its name in listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Replaying => "replaying",
            Self::Refused => "refused",
        }
    }
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
        count(&self.0.events, 1);
    }

    /// Notes that the platform took an action.
    pub fn delivered(&self) {
        count(&self.0.delivered, 1);
    }

    /// Notes that the platform did not take an action this time, and why.
    pub fn undelivered(&self, error: &str) {
        count(&self.0.undelivered, 1);
        self.erred(error);
    }

    /// Notes that an action was given up.
    pub fn given_up(&self) {
        count(&self.0.given_up, 1);
    }

    /// Notes that actions were not delivered in time.
    pub fn expired(&self, actions: u64) {
        count(&self.0.expired, actions);
    }

    /// Notes how what waits leaves now.
    pub fn flows(&self, outflow: Outflow) {
        self.0.outflow.store(outflow as u8, Ordering::Relaxed);
    }

    pub(super) fn connected(&self) {
        count(&self.0.connected, 1);
    }

    /// Notes that an attempt to connect failed, or that a connection was lost.
    pub(super) fn broke(&self, was_connected: bool, error: &str) {
        count(if was_connected { &self.0.lost } else { &self.0.failed }, 1);
        self.erred(error);
    }

    pub(super) fn erred(&self, error: &str) {
        let error = (Timestamp::now(), super::link::brief(error).into());
        *self.0.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// Returns when the platform last proved that it is there.
    pub fn last_success(&self) -> Option<Timestamp> {
        moment(&self.0.success)
    }

    /// Returns when the last event came in.
    pub fn last_event(&self) -> Option<Timestamp> {
        moment(&self.0.event)
    }

    /// Returns what went wrong last, and when: a connection, or a delivery.
    pub fn last_error(&self) -> Option<(Timestamp, Arc<str>)> {
        self.0.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns how what waits leaves now.
    pub fn outflow(&self) -> Outflow {
        let number = self.0.outflow.load(Ordering::Relaxed);
        Outflow::ALL.into_iter().find(|outflow| *outflow as u8 == number).unwrap_or_default()
    }

    /// Returns what was counted. What happens meanwhile may be in one number and not yet in another.
    pub fn tally(&self) -> Tally {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let seen = &self.0;
        Tally {
            connected: of(&seen.connected),
            failed: of(&seen.failed),
            lost: of(&seen.lost),
            events: of(&seen.events),
            delivered: of(&seen.delivered),
            undelivered: of(&seen.undelivered),
            given_up: of(&seen.given_up),
            expired: of(&seen.expired),
        }
    }
}

fn count(number: &AtomicU64, delta: u64) {
    number.fetch_add(delta, Ordering::Relaxed);
}

fn moment(millis: &AtomicU64) -> Option<Timestamp> {
    Some(millis.load(Ordering::Relaxed)).filter(|millis| *millis > 0).map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_counted_in_its_own_number_and_every_clone_shows_it() {
        let signs = Signs::default();
        let seen = signs.clone();
        assert_eq!((seen.tally(), seen.last_error(), seen.outflow()), (Tally::default(), None, Outflow::Closed));
        signs.connected();
        (0..2).for_each(|_| signs.broke(false, "no route"));
        (0..3).for_each(|_| signs.broke(true, "reset"));
        (0..4).for_each(|_| signs.event_came());
        (0..5).for_each(|_| signs.delivered());
        (0..6).for_each(|_| signs.undelivered("muted\u{1b}"));
        (0..7).for_each(|_| signs.given_up());
        signs.expired(8);
        let expected = Tally {
            connected: 1,
            failed: 2,
            lost: 3,
            events: 4,
            delivered: 5,
            undelivered: 6,
            given_up: 7,
            expired: 8,
        };
        assert_eq!(seen.tally(), expected);
        assert_eq!(&*seen.last_error().unwrap().1, "muted", "the last one, and tame");
        for outflow in Outflow::ALL {
            signs.flows(outflow);
            assert_eq!(seen.outflow(), outflow);
        }
    }
}
