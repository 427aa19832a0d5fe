//! Sends N small messages on `!many N`; 100,000 without a number.

use bothost_guest::{Bot, Command, Manifest, Result};

struct ManyReplies;

bothost_guest::export!(ManyReplies);

impl Bot for ManyReplies {
    fn describe() -> Manifest {
        guests::manifest("many_replies", &["many"])
    }

    fn on_command(command: &Command) -> Result {
        match command.name.as_str() {
            "many" => {
                for reply in 0..guests::number(command, 100_000)? {
                    command.answer(format!("reply {reply}"))?;
                }
                Ok(())
            }
            _ => guests::ping(command),
        }
    }
}
