//! Sends one text of N MiB on `!huge N`; of 8 MiB without a number.

use bothost_guest::{Bot, Command, Manifest, Result};

struct HugeReply;

bothost_guest::export!(HugeReply);

impl Bot for HugeReply {
    fn describe() -> Manifest {
        guests::manifest("huge_reply", &["huge"])
    }

    fn on_command(command: &Command) -> Result {
        match command.name.as_str() {
            "huge" => {
                let mib = usize::try_from(guests::number(command, 8)?).unwrap_or(usize::MAX);
                command.answer("x".repeat(mib.saturating_mul(1024 * 1024))).map(drop)
            }
            _ => guests::ping(command),
        }
    }
}
