//! Counts in two places, so that a fresh instance and a warm one can be told apart: `!memory` counts in a static and
//! answers it, `!state` counts in state, by reading and writing, and answers that.

use std::sync::atomic::{AtomicU64, Ordering};

use bothost_guest::{Bot, Command, Manifest, Result, state};

static IN_MEMORY: AtomicU64 = AtomicU64::new(0);

struct Counter;

bothost_guest::export!(Counter);

impl Bot for Counter {
    fn describe() -> Manifest {
        guests::manifest("counter", &["memory", "state"])
    }

    fn on_command(command: &Command) -> Result {
        match command.name.as_str() {
            "memory" => {
                let count = IN_MEMORY.fetch_add(1, Ordering::Relaxed) + 1;
                command.answer(count.to_string()).map(drop)
            }
            // Not `add`: this one is to conflict with its like, and still to count each once.
            "state" => {
                let before: u64 = state::get_string("count")?.map_or(Ok(0), |text| text.parse())?;
                let count = before + 1;
                state::set("count", count.to_string())?;
                command.answer(count.to_string()).map(drop)
            }
            _ => guests::ping(command),
        }
    }
}
