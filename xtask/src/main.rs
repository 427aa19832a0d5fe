//! The repository's verbs, run as `cargo xtask VERB`. This file owns the verbs; the work is in the modules.

mod cargo;
mod components;
mod figures;
mod guest_target;

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

const USAGE: &str = "\
usage: cargo xtask VERB

  demo            builds host and bots, then runs them on the console connector
  test [ARGS…]    builds bots and guests, then runs every test; ARGS go to the test runner and leave out the doctests
  bots            builds each directory of examples/ into target/bots/NAME.wasm
  guests          builds the test guests into target/guests/NAME.wasm
  bench           runs the benchmarks of the host
  soak [--minutes N] [--seed S]
                  kills the host under load every second or two, for a minute, and checks that no message is lost
  swap [--messages N] [--rate N] [--swaps N] [--rounds N]
                  swaps a bot of a release build under load, and prints how long people waited and how long a swap took
  neighbours [--minutes N] [--seed S] [--apart 1] [--in-flight N]
                  prints what bots feel of others that fail without end, a minute with and one without them by turns; apart: also
                  beside each kind of failing bot alone; in-flight: how many events each of those may have at work
  health [--seconds N]
                  prints how soon a release host says how it is, idle and while twice as many bots spin as there are cores
  help            prints this

BOTHOST_GUEST_TARGET=debian builds the guests' standard library from Debian's packages, as is done where rustup cannot
download it.
";

/// What is tested has everything in it that can be built in, so that nothing is compiled twice.
const FEATURES: [&str; 2] = ["--features", "bothost/otlp"];

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let verb = arguments.next().unwrap_or_default();
    let rest: Vec<OsString> = arguments.collect();
    let outcome = match (verb.to_str(), rest.is_empty()) {
        (Some("demo"), true) => demo(),
        (Some("test"), _) => test(&rest),
        (Some("bots"), true) => bots(),
        (Some("guests"), true) => guests(),
        (Some("bench"), true) => cargo::run(cargo::command().args(["bench", "--package", "bothost"])),
        (Some("help" | "--help" | "-h"), true) => return print(std::io::stdout(), USAGE, ExitCode::SUCCESS),
        (Some("soak"), _) => figures::SOAK.run(&rest),
        (Some("swap"), _) => figures::SWAP.run(&rest),
        (Some("neighbours"), _) => figures::NEIGHBOURS.run(&rest),
        (Some("health"), _) => figures::HEALTH.run(&rest),
        _ => return print(std::io::stderr(), USAGE, ExitCode::from(2)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => print(std::io::stderr(), &format!("xtask: {error:#}\n"), ExitCode::FAILURE),
    }
}

/// Prints a text and returns the exit code that goes with it; nobody is left to tell where even that fails.
fn print(mut to: impl Write, text: &str, code: ExitCode) -> ExitCode {
    match to.write_all(text.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn bots() -> Result<()> {
    guest_target::ensure()?;
    components::build_bots()
}

fn guests() -> Result<()> {
    guest_target::ensure()?;
    components::build_guests()
}

/// Becomes the host, which so gets the terminal's signals itself and whose exit code is this command's.
fn demo() -> Result<()> {
    bots()?;
    // The dev profile: a release build of the host takes several times as long, and a demo feels no difference.
    cargo::run(cargo::command().args(["build", "--package", "bothost", "--bin", "host"]))?;
    let host = cargo::target_directory()?.join("debug/host");
    let error = Command::new(&host).arg("run").arg(cargo::root().join("examples/config.toml")).exec();
    Err(error).with_context(|| format!("failed to run {}", host.display()))
}

fn test(arguments: &[OsString]) -> Result<()> {
    bots()?;
    components::build_guests()?;
    if !cargo::has_nextest() {
        return cargo::run(cargo::command().args(["test", "--workspace"]).args(FEATURES).args(arguments));
    }
    cargo::run(cargo::command().args(["nextest", "run", "--workspace"]).args(FEATURES).args(arguments))?;
    if !arguments.is_empty() {
        return Ok(());
    }
    // Nextest does not know doctests.
    cargo::run(cargo::command().args(["test", "--doc", "--workspace"]).args(FEATURES))
}
