//! Waits in a host call on `!sleep MS [TEXT]`, for an hour without a number, and answers `awake TEXT`: fuel does not run while
//! it waits.

use std::time::Duration;

use bothost_guest::{Bot, Command, Manifest, Result};

const HOUR_MS: u64 = 3_600_000;

struct SlowHostCall;

bothost_guest::export!(SlowHostCall);

impl Bot for SlowHostCall {
    fn describe() -> Manifest {
        guests::manifest("slow_host_call", &["sleep"])
    }

    fn on_command(command: &Command) -> Result {
        match command.name.as_str() {
            "sleep" => {
                std::thread::sleep(Duration::from_millis(guests::number(command, HOUR_MS)?));
                let text = command.args.iter().skip(1).fold("awake".to_owned(), |text, word| text + " " + word);
                command.answer(text).map(drop)
            }
            _ => guests::ping(command),
        }
    }
}
