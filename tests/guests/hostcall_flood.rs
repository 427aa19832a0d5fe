//! Calls the host for ever on `!flood`: reads state, writes the log, counts a metric.

use bothost_guest::{Bot, Command, Manifest, Result, log, metrics, state};

struct HostcallFlood;

bothost_guest::export!(HostcallFlood);

impl Bot for HostcallFlood {
    fn describe() -> Manifest {
        guests::manifest("hostcall_flood", &["flood"])
    }

    fn on_command(command: &Command) -> Result {
        match command.name.as_str() {
            "flood" => flood(),
            _ => guests::ping(command),
        }
    }
}

fn flood() -> Result {
    for round in 0_u64.. {
        state::get("absent")?;
        log::debug!("round {round}");
        metrics::count("rounds", 1, &[]);
    }
    Ok(())
}
