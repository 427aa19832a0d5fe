//! `cargo xtask soak`: the test that kills the host at random for minutes. Owns its options; the test is in
//! `tests/integration/crash.rs` and prints the totals.

use std::ffi::OsString;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::cargo::{self, say};
use crate::{components, guest_target};

const TEST: &str = "crash::f073_a_soak_of_kills_loses_nothing";

/// What is on the command line.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    minutes: u64,
    seed: u64,
}

impl Options {
    fn parse(arguments: &[OsString], seed: u64) -> Result<Self> {
        let mut options = Self { minutes: 1, seed };
        for pair in arguments.chunks(2) {
            let option = match pair[0].to_str() {
                Some("--minutes") => &mut options.minutes,
                Some("--seed") => &mut options.seed,
                _ => bail!("soak knows --minutes N and --seed S, not {}", pair[0].display()),
            };
            let value = pair.get(1).and_then(|value| value.to_str()?.parse().ok());
            *option = value.with_context(|| format!("{} takes a whole number", pair[0].display()))?;
        }
        Ok(options)
    }
}

/// Builds what the soak needs and runs it.
///
/// # Errors
///
/// Fails where the arguments make no sense, and where a message was lost.
pub fn soak(arguments: &[OsString]) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let Options { minutes, seed } = Options::parse(arguments, now.as_secs())?;
    guest_target::ensure()?;
    components::build_guests()?;
    say(&format!("the same again: cargo xtask soak --minutes {minutes} --seed {seed}"));
    // Not by nextest, which ends what takes long.
    let mut test = cargo::command();
    test.args([
        "test",
        "--package",
        "bothost",
        "--test",
        "integration",
        "--",
        "--ignored",
        "--exact",
        "--nocapture",
        TEST,
    ])
    .env("BOTHOST_SOAK_MINUTES", minutes.to_string())
    .env("BOTHOST_SOAK_SEED", seed.to_string());
    cargo::run(&mut test)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options> {
        Options::parse(&arguments.iter().map(OsString::from).collect::<Vec<_>>(), 5)
    }

    #[test]
    fn options_have_defaults_and_are_told_when_wrong() {
        assert_eq!(parse(&[]).expect("good"), Options { minutes: 1, seed: 5 });
        assert_eq!(parse(&["--seed", "7", "--minutes", "3"]).expect("good"), Options { minutes: 3, seed: 7 });
        for wrong in [&["--hours", "1"][..], &["--seed"], &["--minutes", "few"]] {
            parse(wrong).expect_err("wrong");
        }
    }
}
