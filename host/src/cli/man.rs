//! `host man`: the manual, from what the command line knows of itself.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context;
use clap_mangen::Man as Page;

use super::{Failure, tell};

/// Prints the manual page; with --dir, writes a page for each verb
#[derive(Debug, clap::Args)]
pub(super) struct Man {
    /// Where the pages are written, such as /usr/local/share/man/man1
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Some(dir) = self.dir else {
            let mut page = Vec::new();
            Page::new(super::visible_command()).render(&mut page).context("cannot write the manual page")?;
            // Nobody listening is no failure.
            let _ = io::stdout().lock().write_all(&page);
            return Ok(());
        };
        let failed = || format!("cannot write the manual to {}", dir.display());
        fs::create_dir_all(&dir).with_context(failed)?;
        clap_mangen::generate_to(super::visible_command(), &dir).with_context(failed)?;
        tell(format_args!("the manual is in {}: man {}", dir.display(), dir.join("host.1").display()));
        Ok(())
    }
}
