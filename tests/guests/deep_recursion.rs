//! Calls itself until the stack is used up on `!dive`.

use std::hint::black_box;

use bothost_guest::{Bot, Command, Manifest, Result};

struct DeepRecursion;

bothost_guest::export!(DeepRecursion);

impl Bot for DeepRecursion {
    fn describe() -> Manifest {
        guests::manifest("deep_recursion", &["dive"])
    }

    fn on_command(command: &Command) -> Result {
        match command.name.as_str() {
            "dive" => command.answer(dive(0).to_string()).map(drop),
            _ => guests::ping(command),
        }
    }
}

/// Ends at a depth that no stack has. What it does after the call keeps the compiler from making a loop of it.
fn dive(depth: u64) -> u64 {
    if depth == u64::MAX { 0 } else { black_box(dive(black_box(depth + 1))) + 1 }
}
