//! Executes wasm's `unreachable` on `!trap`.

use bothost_guest::{Bot, Command, Manifest, Result};

struct Trap;

bothost_guest::export!(Trap);

impl Bot for Trap {
    fn describe() -> Manifest {
        guests::manifest("trap", &["trap"])
    }

    fn on_command(command: &Command) -> Result {
        match command.name.as_str() {
            "trap" => unreachable_instruction(),
            _ => guests::ping(command),
        }
    }
}

#[cfg(target_arch = "wasm32")]
fn unreachable_instruction() -> ! {
    core::arch::wasm32::unreachable()
}

#[cfg(not(target_arch = "wasm32"))]
fn unreachable_instruction() -> ! {
    panic!("a native build has no such instruction")
}
