//! Ends of its own will on `!quit`: `std::process::exit(0)`.

use bothost_guest::{Bot, Command, Manifest, Result};

struct Quit;

bothost_guest::export!(Quit);

impl Bot for Quit {
    fn describe() -> Manifest {
        guests::manifest("quit", &["quit"])
    }

    fn on_command(command: &Command) -> Result {
        match command.name.as_str() {
            "quit" => std::process::exit(0),
            _ => guests::ping(command),
        }
    }
}
