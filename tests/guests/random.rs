//! Asks the host for N random bytes in one call: `!random N` answers how many came, `!draw N` which.

use bothost_guest::{Bot, Command, Manifest, Result};

struct Random;

bothost_guest::export!(Random);

impl Bot for Random {
    fn describe() -> Manifest {
        guests::manifest("random", &["random", "draw"])
    }

    fn on_command(command: &Command) -> Result {
        match command.name.as_str() {
            "random" => {
                let bytes = random_bytes(guests::number(command, 16)?);
                command.answer(format!("{} bytes", bytes.len())).map(drop)
            }
            "draw" => {
                let bytes = random_bytes(guests::number(command, 16)?);
                let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                command.answer(digits).map(drop)
            }
            _ => guests::ping(command),
        }
    }
}

#[cfg(target_arch = "wasm32")]
mod wasi {
    wit_bindgen::generate!({
        inline: "
            package guests:random;
            world draw { import wasi:random/random@0.2.12; }
        ",
        path: ["../../wit/v0.1"],
        world: "guests:random/draw",
        generate_all,
    });
}

#[cfg(target_arch = "wasm32")]
fn random_bytes(length: u64) -> Vec<u8> {
    wasi::wasi::random::random::get_random_bytes(length)
}

#[cfg(not(target_arch = "wasm32"))]
fn random_bytes(_length: u64) -> Vec<u8> {
    panic!("a native build has no host to ask")
}
