//! Writes N log lines on `!flood N`, and for ever on `!flood`, by turns to the log, standard output and standard error.

use std::io::Write;

use bothost_guest::{Bot, Command, Manifest, Result, log};

struct LogFlood;

bothost_guest::export!(LogFlood);

impl Bot for LogFlood {
    fn describe() -> Manifest {
        guests::manifest("log_flood", &["flood"])
    }

    fn on_command(command: &Command) -> Result {
        match command.name.as_str() {
            "flood" => {
                let lines = guests::number(command, u64::MAX)?;
                flood(lines)?;
                command.answer(format!("wrote {lines} lines")).map(drop)
            }
            _ => guests::ping(command),
        }
    }
}

fn flood(lines: u64) -> Result {
    for line in 0..lines {
        match line % 3 {
            0 => log::info!("log line {line}"),
            1 => writeln!(std::io::stdout(), "stdout line {line}")?,
            _ => writeln!(std::io::stderr(), "stderr line {line}")?,
        }
    }
    Ok(())
}
