//! What the test guests share: a manifest, and `!ping`, by which a test sees whether a guest still serves.

use bothost_guest::{Command, Manifest, Result};

/// Returns the manifest of the guest `name`: `ping`, and the commands that set off its misbehaviour.
pub fn manifest(name: &str, commands: &[&str]) -> Manifest {
    let ping = Manifest::new(name, env!("CARGO_PKG_VERSION")).summary("misbehaves for the tests").command(
        "ping",
        "answers pong",
        "",
    );
    commands.iter().fold(ping, |manifest, command| manifest.command(*command, "misbehaves", ""))
}

/// Answers `!ping` with `pong`.
///
/// # Errors
///
/// Fails for every other command, which the guest declares and does not know.
pub fn ping(command: &Command) -> Result {
    match command.name.as_str() {
        "ping" => command.answer("pong").map(drop),
        other => Err(format!("command {other} is declared and not handled").into()),
    }
}

/// Returns the number that the command is given, or `default` where it is given none.
///
/// # Errors
///
/// Fails where the argument is no number.
pub fn number(command: &Command, default: u64) -> Result<u64> {
    match command.args.first() {
        Some(argument) => Ok(argument.parse()?),
        None => Ok(default),
    }
}
