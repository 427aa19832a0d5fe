//! How much is there of actions that became several messages and broke off, so that another try goes on with the rest. It lives as long
//! as the connector runs; what was forgotten is sent as a whole again.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::DeliveryError;

/// Actions that are remembered. Beyond, the one that broke off longest ago gives way.
const ACTIONS_MAX: usize = 1024;

/// What is there of one action.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// How many of its messages.
    pub(super) count: usize,
    /// The id of the first of them, where the platform gave one.
    pub(super) first_id: Option<String>,
}

impl Sent {
    /// Takes in that the next message is there.
    pub(super) fn add(&mut self, id: Option<String>) {
        self.count += 1;
        self.first_id = self.first_id.take().or(id);
    }
}

/// What is there of the actions that another try is to complete, by [`Delivery::key`](super::Delivery::key), the oldest first.
#[derive(Debug, Default)]
pub(super) struct Progress(Mutex<VecDeque<(u64, Sent)>>);

impl Progress {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, Sent)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what is there of an action that is tried now, and forgets it: to be called once a try.
    pub(super) fn take(&self, key: u64) -> Sent {
        let mut kept = self.lock();
        let found = kept.iter().position(|(other, _)| *other == key);
        found.and_then(|index| kept.remove(index)).map_or_else(Sent::default, |(_, sent)| sent)
    }

    /// Takes in that an action of `count` messages broke off after those that are `sent`, and returns why, with how far it came. What is
    /// there is remembered if the action is worth another try.
    pub(super) fn broke_off(&self, key: u64, sent: Sent, count: usize, error: DeliveryError) -> DeliveryError {
        if sent.count == 0 {
            return error;
        }
        let there = format!("{} of {count} parts are there, then", sent.count);
        let (error, is_worth_a_try) = match error {
            DeliveryError::Retryable(why) => (DeliveryError::Retryable(format!("{there}: {why}")), true),
            DeliveryError::Uncertain(why) => (DeliveryError::Uncertain(format!("{there}: {why}")), true),
            DeliveryError::Unauthorized(why) => (DeliveryError::Unauthorized(format!("{there}: {why}")), true),
            DeliveryError::Permanent(why) => (DeliveryError::Permanent(format!("{there}: {why}")), false),
            DeliveryError::BadRequest(why) => (DeliveryError::BadRequest(format!("{there}: {why}")), false),
            DeliveryError::RateLimited(_) => (error, true),
            DeliveryError::Unsupported(_) => (error, false),
        };
        if is_worth_a_try {
            let mut kept = self.lock();
            if kept.len() >= ACTIONS_MAX {
                kept.pop_front();
            }
            kept.push_back((key, sent));
        }
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn sent(count: usize) -> Sent {
        Sent { count, first_id: Some("1".to_owned()) }
    }

    #[test]
    fn what_is_worth_another_try_goes_on_where_it_broke_off_and_what_is_not_is_forgotten() {
        type Class = fn(String) -> DeliveryError;
        let texts: [(Class, bool); 5] = [
            (DeliveryError::Retryable, true),
            (DeliveryError::Uncertain, true),
            (DeliveryError::Unauthorized, true),
            (DeliveryError::Permanent, false),
            (DeliveryError::BadRequest, false),
        ];
        let wait = DeliveryError::RateLimited(Duration::from_secs(3600));
        let texts = texts.map(|(class, is_kept)| {
            (class("no".to_owned()), class("2 of 5 parts are there, then: no".to_owned()), is_kept)
        });
        for (error, told, is_kept) in texts.into_iter().chain([(wait.clone(), wait, true)]) {
            let progress = Progress::default();
            assert_eq!(progress.broke_off(7, sent(2), 5, error.clone()), told);
            assert_eq!(progress.take(8), Sent::default(), "another action");
            assert_eq!(progress.take(7), if is_kept { sent(2) } else { Sent::default() }, "{error:?}");
            assert_eq!(progress.take(7), Sent::default(), "it is given out once");
            assert_eq!(progress.broke_off(7, Sent::default(), 5, error.clone()), error, "nothing of it is there");
            assert!(progress.lock().is_empty());
        }
    }

    #[test]
    fn the_first_id_stays_and_the_oldest_action_gives_way() {
        let mut some = Sent::default();
        for id in [None, Some("a"), Some("b")] {
            some.add(id.map(str::to_owned));
        }
        assert_eq!(some, Sent { count: 3, first_id: Some("a".to_owned()) });
        let progress = Progress::default();
        let keys = 0..=ACTIONS_MAX as u64;
        for key in keys.clone() {
            progress.broke_off(key, sent(1), 2, DeliveryError::Retryable(String::new()));
        }
        let kept = keys.filter(|key| progress.take(*key) == sent(1)).collect::<Vec<_>>();
        assert_eq!(kept, (1..=ACTIONS_MAX as u64).collect::<Vec<_>>());
    }
}
