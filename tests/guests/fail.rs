//! Fails politely on `!fail TEXT`: returns `Failure::Other` with the text.

use bothost_guest::{Bot, Command, Failure, Manifest, Result};

struct Fail;

bothost_guest::export!(Fail);

impl Bot for Fail {
    fn describe() -> Manifest {
        guests::manifest("fail", &["fail"])
    }

    fn on_command(command: &Command) -> Result {
        match (command.name.as_str(), command.text()) {
            // What is sent before the failure must not be delivered.
            ("fail", text) => {
                command.answer("never delivered")?;
                Err(Failure::Other(if text.is_empty() { "told to fail".into() } else { text.into() }))
            }
            _ => guests::ping(command),
        }
    }
}
