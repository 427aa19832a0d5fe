//! What one handler wants written, and what came of it. The limits that hold for every bot are here.

use crate::action::{StateRead, StateWrite, TimerChange};
use crate::clock::Timestamp;
use crate::id::BotName;

/// Longest key of the state, in bytes; the shortest has one.
pub const KEY_BYTES_MAX: usize = 512;
/// Longest value of the state, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// Longest name of a timer, in bytes; the shortest has one.
pub const TIMER_NAME_BYTES_MAX: usize = 128;
/// Longest payload of a timer, in bytes.
pub const TIMER_PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// Timers that one bot may have at a time.
pub const TIMERS_MAX: u32 = 1_000;

/// What one handler read and wants written: one transaction, applied as a whole or not at all.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Whose state and timers.
    pub bot: BotName,
    /// What the handler saw. If any of it has changed since, nothing is written.
    pub reads: Vec<StateRead>,
    /// Applied in this order.
    pub state: Vec<StateWrite>,
    /// Applied in this order.
    pub timers: Vec<TimerChange>,
    /// Bytes of all keys and values that the bot may have afterwards. A commit that adds none is let through even above it.
    pub state_bytes_max: u64,
    /// The wall clock: decides what has expired, and from when schedules count.
    pub now: Timestamp,
}

/// What came of a [`Commit`]. Anything but [`Done`](Committed::Done) left no trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// It is on disk.
    Done,
    /// A key has changed since the handler read it: run the handler again.
    Conflict {
        /// The first such key.
        key: String,
    },
    /// The bot's keys and values would be too large.
    QuotaExceeded {
        /// Bytes that the bot would have afterwards.
        needed: u64,
        /// Bytes that it may have.
        allowed: u64,
    },
    /// An `add` met a value that is no number.
    NotANumber {
        /// Its key.
        key: String,
    },
    /// The sum of an `add` does not fit into 64 bits.
    SumTooLarge {
        /// Its key.
        key: String,
    },
    /// The event that it ends is no longer the bot's to handle.
    Gone,
    /// The bot would have more than [`TIMERS_MAX`] timers.
    TooManyTimers {
        /// How many it may have.
        allowed: u32,
    },
}

/// Why two numbers have no sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SumError {
    /// What is stored is no number.
    #[error("the value is not a number")]
    NotANumber,
    /// More than 64 bits.
    #[error("the sum does not fit into 64 bits")]
    TooLarge,
}

/// Returns `delta` more than the decimal number that is stored; nothing stored counts as 0.
///
/// The one rule of `add`: for what the store writes, and for what a handler is told before that.
///
/// # Errors
///
/// Where there is no such sum.
pub fn sum(stored: Option<&[u8]>, delta: i64) -> Result<i64, SumError> {
    let number = match stored {
        None => 0,
        Some(bytes) => {
            std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<i64>().ok()).ok_or(SumError::NotANumber)?
        }
    };
    number.checked_add(delta).ok_or(SumError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_that_fit_are_added() {
        assert_eq!(sum(None, 3), Ok(3));
        assert_eq!(sum(Some(b"-4"), 3), Ok(-1));
        assert_eq!(sum(Some(b"x"), 1), Err(SumError::NotANumber));
        assert_eq!(sum(Some(b""), 1), Err(SumError::NotANumber));
        assert_eq!(sum(Some(&[0xff]), 1), Err(SumError::NotANumber));
        assert_eq!(sum(Some(b"9223372036854775807"), 1), Err(SumError::TooLarge));
    }
}
