//! Panics with `boom` and what follows the command on `!panic`.

use bothost_guest::{Bot, Command, Manifest, Result};

struct Panic;

bothost_guest::export!(Panic);

impl Bot for Panic {
    fn describe() -> Manifest {
        guests::manifest("panic", &["panic"])
    }

    fn on_command(command: &Command) -> Result {
        match command.name.as_str() {
            "panic" => panic!("{}", format!("boom {}", command.text()).trim_end()),
            _ => guests::ping(command),
        }
    }
}
