//! Moments that can be written down: of the wall clock, for what people read and what bots ask for, and of a clock that nobody sets,
//! for what the host itself waits for. Deadlines within a process use `tokio::time::Instant`.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// A moment: milliseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Returns this moment by the wall clock; the epoch itself where the clock is set before it.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(since.as_millis().try_into().unwrap_or(u64::MAX))
    }

    /// Returns this moment by a clock that is set to the wall clock once, when it is first asked, and runs evenly from then on. For
    /// waits that are kept across processes: if the wall clock is set meanwhile, no retry freezes and nothing expires by it.
    pub fn steady() -> Self {
        static START: OnceLock<(Timestamp, Instant)> = OnceLock::new();
        let (wall, instant) = START.get_or_init(|| (Self::now(), Instant::now()));
        wall.saturating_add(instant.elapsed())
    }

    /// Returns the moment this many milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Returns the milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Returns the moment `duration` later; the end of time where that does not fit.
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_millis().try_into().unwrap_or(u64::MAX)))
    }

    /// Returns the moment `duration` earlier; the epoch where that does not fit.
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration.as_millis().try_into().unwrap_or(u64::MAX)))
    }

    /// Returns how long `earlier` was before this moment; zero where it was not before.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Why a text is no [`Timestamp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a moment is written such as 2026-11-21T12:00:00Z, and not before 1970")]
pub struct TimestampError;

impl FromStr for Timestamp {
    type Err = TimestampError;

    /// Reads RFC 3339, with any offset.
    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let moment: jiff::Timestamp = text.parse().map_err(|_| TimestampError)?;
        u64::try_from(moment.as_millisecond()).map(Self).map_err(|_| TimestampError)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339, in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_millisecond(millis) {
            Ok(timestamp) => timestamp.fmt(f),
            Err(_) => write!(f, "{} ms after the epoch", self.0),
        }
    }
}
