//! `cargo xtask soak`, `swap`, `neighbours`, `health`: tests that take minutes and print what they find. Owns their options, which each test
//! reads from its environment; the tests are in `tests/integration`.

use std::ffi::OsString;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::cargo::{self, say};
use crate::{components, guest_target};

/// A test that is run by a verb of its own.
pub struct Long {
    verb: &'static str,
    test: &'static str,
    /// Figures are those of a release build.
    is_release: bool,
    options: &'static [Choice],
}

/// An option that takes a whole number.
struct Choice {
    option: &'static str,
    /// What the test reads it from.
    variable: &'static str,
    /// None: a number that is another each time.
    default: Option<u64>,
}

impl Choice {
    const fn new(option: &'static str, variable: &'static str, default: Option<u64>) -> Self {
        Self { option, variable, default }
    }
}

/// Kills the host at random and checks that no message is lost.
pub const SOAK: Long = Long {
    verb: "soak",
    test: "crash::f073_a_soak_of_kills_loses_nothing",
    is_release: false,
    options: &[
        Choice::new("--minutes", "BOTHOST_SOAK_MINUTES", Some(1)),
        Choice::new("--seed", "BOTHOST_SOAK_SEED", None),
    ],
};

/// Swaps a bot under load and prints what people felt of it.
pub const SWAP: Long = Long {
    verb: "swap",
    test: "swap_under_load::figures_of_swaps_under_load",
    is_release: true,
    options: &[
        Choice::new("--messages", "BOTHOST_SWAP_MESSAGES", Some(10_000)),
        Choice::new("--rate", "BOTHOST_SWAP_RATE", Some(1_000)),
        Choice::new("--swaps", "BOTHOST_SWAP_SWAPS", Some(20)),
        Choice::new("--rounds", "BOTHOST_SWAP_ROUNDS", Some(3)),
    ],
};

/// Prints what bots feel of bots beside them that fail without end.
pub const NEIGHBOURS: Long = Long {
    verb: "neighbours",
    test: "neighbours::figures_beside_bots_that_fail_without_end",
    is_release: true,
    options: &[
        Choice::new("--minutes", "BOTHOST_NEIGHBOURS_MINUTES", Some(1)),
        Choice::new("--seed", "BOTHOST_NEIGHBOURS_SEED", None),
        Choice::new("--supervised", "BOTHOST_NEIGHBOURS_SUPERVISED", Some(1)),
        Choice::new("--apart", "BOTHOST_NEIGHBOURS_APART", Some(0)),
        Choice::new("--in-flight", "BOTHOST_NEIGHBOURS_IN_FLIGHT", Some(16)),
    ],
};

/// Prints how soon a host says how it is while all its processors are busy.
pub const HEALTH: Long = Long {
    verb: "health",
    test: "observing::figures_of_health_beside_bots_that_spin",
    is_release: true,
    options: &[Choice::new("--seconds", "BOTHOST_HEALTH_SECONDS", Some(10))],
};

impl Long {
    /// Builds what the test needs and runs it.
    ///
    /// # Errors
    ///
    /// Fails where the arguments make no sense, and where the test does.
    pub fn run(&self, arguments: &[OsString]) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let values = self.parse(arguments, now.as_secs())?;
        guest_target::ensure()?;
        components::build_bots()?;
        components::build_guests()?;
        say(&self.line(&values));
        // Not by nextest, which ends what takes long.
        let mut test = cargo::command();
        test.args(["test", "--package", "bothost", "--test", "integration"]);
        if self.is_release {
            test.arg("--release");
        }
        test.args(["--", "--ignored", "--exact", "--nocapture", self.test]);
        for (choice, value) in self.options.iter().zip(values) {
            test.env(choice.variable, value.to_string());
        }
        cargo::run(&mut test)
    }

    /// Returns the value of each option, in order.
    fn parse(&self, arguments: &[OsString], seed: u64) -> Result<Vec<u64>> {
        let mut values: Vec<_> = self.options.iter().map(|choice| choice.default.unwrap_or(seed)).collect();
        for pair in arguments.chunks(2) {
            let Some(index) = self.options.iter().position(|choice| pair[0] == choice.option) else {
                let known: Vec<_> = self.options.iter().map(|choice| format!("{} N", choice.option)).collect();
                bail!("{} knows {}, not {}", self.verb, known.join(", "), pair[0].display());
            };
            let value = pair.get(1).and_then(|value| value.to_str()?.parse().ok());
            values[index] = value.with_context(|| format!("{} takes a whole number", pair[0].display()))?;
        }
        Ok(values)
    }

    /// Returns what to type to have the same again.
    fn line(&self, values: &[u64]) -> String {
        let options = self.options.iter().zip(values).map(|(choice, value)| format!(" {} {value}", choice.option));
        format!("the same again: cargo xtask {}{}", self.verb, options.collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Vec<u64>> {
        SOAK.parse(&arguments.iter().map(OsString::from).collect::<Vec<_>>(), 5)
    }

    #[test]
    fn options_have_defaults_and_are_told_when_wrong() {
        assert_eq!(parse(&[]).expect("good"), [1, 5]);
        assert_eq!(parse(&["--seed", "7", "--minutes", "3"]).expect("good"), [3, 7]);
        for wrong in [&["--hours", "1"][..], &["--seed"], &["--minutes", "few"]] {
            parse(wrong).expect_err("wrong");
        }
    }

    #[test]
    fn what_is_said_to_be_typed_is_what_was_typed() {
        assert_eq!(SOAK.line(&[3, 7]), "the same again: cargo xtask soak --minutes 3 --seed 7");
    }
}
