//! Events to come. A timer fires as a `timer` event and outlives restarts of bot and host.
//!
//! Setting and cancelling take effect when the handler returns `Ok`, or not at all; [`names`] sees this handler's own
//! changes. Setting a timer replaces the one of the same name. A name has 1 to 128 bytes, a payload at most 64 KiB, a bot at
//! most 1,000 timers. Durations and moments count in whole milliseconds.
//!
//! ```no_run
//! use bothost_guest::{Bot, Conversation, Manifest, Message, Result, TimerFired, timers};
//! use std::time::Duration;
//!
//! struct Remind;
//!
//! impl Bot for Remind {
//!     fn describe() -> Manifest {
//!         Manifest::new("remind", "0.1.0")
//!     }
//!
//!     fn on_message(message: &Message) -> Result {
//!         let place = serde_json::to_vec(&message.conversation)?;
//!         timers::after(&format!("tea/{}", message.id), Duration::from_secs(180), place)
//!     }
//!
//!     fn on_timer(timer: &TimerFired) -> Result {
//!         timer.json::<Conversation>()?.send("Tea is ready.")?;
//!         Ok(())
//!     }
//! }
//! ```

use std::time::{Duration, SystemTime};

use crate::{Result, host};

/// When a timer fires.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Schedule {
    /// Once, this long after the handler's work takes effect.
    After(Duration),
    /// Once, at this moment; at once where it has passed.
    At(SystemTime),
    /// Again and again, at least one second apart. Times missed while the host was down are one event, not many.
    Every(Duration),
    /// A cron expression in a time zone. Missed times as in `Every`.
    Cron {
        /// Five fields from minute to day of week, or six with seconds in front.
        expression: String,
        /// An IANA name, such as `Europe/Berlin`.
        zone: String,
    },
}

/// Sets a timer by its schedule; the functions below are short for it.
///
/// # Errors
///
/// [`Invalid`](crate::Failure::Invalid) for a bad name, expression, zone or interval,
/// [`QuotaExceeded`](crate::Failure::QuotaExceeded) past 1,000 timers.
pub fn set(name: &str, schedule: &Schedule, payload: impl AsRef<[u8]>) -> Result {
    host::timers::set(name, schedule, payload.as_ref())
}

/// Sets a timer that fires once, `delay` after the handler's work takes effect.
///
/// # Errors
///
/// Those of [`set`].
pub fn after(name: &str, delay: Duration, payload: impl AsRef<[u8]>) -> Result {
    set(name, &Schedule::After(delay), payload)
}

/// Sets a timer that fires once, at `moment`; at once where it has passed.
///
/// # Errors
///
/// Those of [`set`].
pub fn at(name: &str, moment: SystemTime, payload: impl AsRef<[u8]>) -> Result {
    set(name, &Schedule::At(moment), payload)
}

/// Sets a timer that fires every `interval`, at least one second.
///
/// # Errors
///
/// Those of [`set`].
pub fn every(name: &str, interval: Duration, payload: impl AsRef<[u8]>) -> Result {
    set(name, &Schedule::Every(interval), payload)
}

/// Sets a timer that fires by a cron expression of five or six fields, in an IANA time zone such as `Europe/Berlin`.
///
/// # Errors
///
/// Those of [`set`].
pub fn cron(name: &str, expression: &str, zone: &str, payload: impl AsRef<[u8]>) -> Result {
    let schedule = Schedule::Cron { expression: expression.to_owned(), zone: zone.to_owned() };
    set(name, &schedule, payload)
}

/// Cancels a timer. False: there was none.
///
/// # Errors
///
/// [`Unavailable`](crate::Failure::Unavailable) where the store is down.
pub fn cancel(name: &str) -> Result<bool> {
    host::timers::cancel(name)
}

/// Returns the names of this bot's timers, sorted.
///
/// # Errors
///
/// [`Unavailable`](crate::Failure::Unavailable) where the store is down.
pub fn names() -> Result<Vec<String>> {
    host::timers::names()
}
