//! `host compile`: what the host runs as a child to compile one component. Hidden: not for people.

use std::time::Duration;

use bothost::sandbox::{CompileLimits, compile_in_this_process};

use super::Failure;

/// Compiles the component on standard input to native code on standard output
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(super) struct Compile {
    /// Bytes of address space
    #[arg(long)]
    memory: u64,
    /// Seconds of processor time
    #[arg(long)]
    cpu_seconds: u64,
}

impl Compile {
    pub(super) fn run(self) -> Result<(), Failure> {
        // The exit code is a word between this process and its parent, which no other verb knows.
        let limits = CompileLimits { memory: self.memory, cpu: Duration::from_secs(self.cpu_seconds) };
        std::process::exit(compile_in_this_process(limits))
    }
}
