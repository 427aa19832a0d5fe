//! The clocks that guests read: one millisecond coarse, so that a guest cannot time the caches of its neighbours.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

const RESOLUTION: Duration = Duration::from_millis(1);

/// The time of day.
pub(super) struct CoarseWallClock;

/// Time since the instance began.
pub(super) struct CoarseMonotonicClock {
    started: Instant,
}

impl CoarseMonotonicClock {
    pub(super) fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl HostWallClock for CoarseWallClock {
    fn resolution(&self) -> Duration {
        RESOLUTION
    }

    fn now(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Duration::from_millis(now.as_millis().try_into().unwrap_or(u64::MAX))
    }
}

impl HostMonotonicClock for CoarseMonotonicClock {
    fn resolution(&self) -> u64 {
        RESOLUTION.as_nanos().try_into().unwrap_or(u64::MAX)
    }

    fn now(&self) -> u64 {
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        millis.saturating_mul(1_000_000)
    }
}
