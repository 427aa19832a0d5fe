//! The runtime that a host runs on.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// Turns of a worker thread between two looks at sockets and timers. A turn may be a guest that uses up the fuel between two yields,
/// some fifty microseconds: with tokio's 61, whoever waits for a socket or a timer beside guests that spin on every thread waits
/// three milliseconds each time. A look costs about a microsecond.
const EVENT_INTERVAL: u32 = 7;

/// Builds the runtime, with a worker thread for each processor.
///
/// # Errors
///
/// The system gives no threads, or no descriptors.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().event_interval(EVENT_INTERVAL).build()
}
