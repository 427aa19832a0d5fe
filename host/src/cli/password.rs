//! Passwords as people give them: typed twice and not shown, or as the first line of the standard input. Never on the command line, where
//! every process of the machine can read them.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, anyhow};
use bothost::secret::Secret;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::Failure;

/// Where a password comes from.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct PasswordSource {
    /// Reads the password from the first line of the standard input, and does not ask for it
    #[arg(long)]
    password_stdin: bool,
}

impl PasswordSource {
    /// Reads a new password.
    pub(super) fn read(self) -> Result<Secret, Failure> {
        if self.password_stdin {
            return Ok(Secret::new(line()?));
        }
        if !io::stdin().is_terminal() {
            return Err(anyhow!("there is no terminal to ask for the password: use --password-stdin").into());
        }
        let (first, second) = (ask("Password: ")?, ask("Once more: ")?);
        if first == second { Ok(first) } else { Err(anyhow!("these are two different passwords").into()) }
    }
}

fn ask(prompt: &str) -> Result<Secret, Failure> {
    let quiet = Quiet::begin().context("cannot have the terminal show nothing")?;
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{prompt}").and_then(|()| stderr.flush());
    let typed = line();
    drop(quiet);
    let _ = writeln!(stderr);
    Ok(Secret::new(typed?))
}

fn line() -> Result<String, Failure> {
    let mut text = String::new();
    io::stdin().lock().read_line(&mut text).context("cannot read the password")?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// A terminal that does not show what is typed, until this is dropped.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // There is nothing else to be done about it.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}
