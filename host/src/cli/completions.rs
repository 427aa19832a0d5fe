//! `host completions SHELL`: what a shell needs to complete the command line.

use std::io::{self, Write as _};

use clap_complete::Shell;

use super::Failure;

/// Prints a script that lets a shell complete this command line
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<(), Failure> {
        // Nobody listening is no failure.
        let _ = io::stdout().lock().write_all(&script(self.shell));
        Ok(())
    }
}

fn script(shell: Shell) -> Vec<u8> {
    let mut command = super::visible_command();
    let (name, mut script) = (command.get_name().to_owned(), Vec::new());
    clap_complete::generate(shell, &mut command, name, &mut script);
    script
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_verb_that_is_for_people_is_completed_and_no_other() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell)).unwrap();
            for verb in super::super::visible_command().get_subcommands() {
                assert!(script.contains(verb.get_name()), "{shell}: {}", verb.get_name());
            }
            assert!(!script.contains("cpu-seconds"), "{shell}: `compile` is not for people");
        }
    }
}
