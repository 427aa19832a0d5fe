//! Loops for ever on `!spin`, without calling the host.

use bothost_guest::{Bot, Command, Manifest, Result};

struct Spin;

bothost_guest::export!(Spin);

impl Bot for Spin {
    fn describe() -> Manifest {
        guests::manifest("spin", &["spin"])
    }

    fn on_command(command: &Command) -> Result {
        match command.name.as_str() {
            "spin" => loop {
                std::hint::spin_loop();
            },
            _ => guests::ping(command),
        }
    }
}
