//! Sees to it that the installed rustc can build for the guests' target.
//!
//! A component needs a standard library for `wasm32-wasip2`, which is no part of a plain Rust installation:
//!
//! 1. where it is there, nothing is done;
//! 2. `rustup target add` fetches it: what a machine with a network needs, and all it needs;
//! 3. where rustup cannot download, it is built from Debian's packages: see `debian`.

mod debian;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cargo::{output, say};

/// What guests are built for.
pub const TARGET: &str = "wasm32-wasip2";

/// Set to `debian`, it takes the third way at once, even where the library is there.
const FORCE: &str = "BOTHOST_GUEST_TARGET";

/// A machine that cannot reach rustup's server often waits rather than fails.
const RUSTUP_TIMEOUT: Duration = Duration::from_secs(120);

/// The installed rustc.
struct Toolchain {
    rustc: OsString,
    sysroot: PathBuf,
    /// Such as `1.95.0`.
    version: String,
}

/// Makes the target ready. Does nothing, quickly, where it is.
///
/// # Errors
///
/// Fails where none of the three ways works; the message says what a person can do.
pub fn ensure() -> Result<()> {
    let toolchain = Toolchain::find()?;
    match std::env::var(FORCE).as_deref() {
        Ok("debian") => {
            say(&format!("{FORCE}=debian: the standard library for {TARGET} is built, as asked"));
            return debian::install(&toolchain);
        }
        Ok(other) => bail!("{FORCE}={other} is not known, only debian"),
        Err(_) => {}
    }
    if toolchain.has_std() {
        return Ok(());
    }
    say(&format!("rustc has no standard library for {TARGET}, so rustup is asked to add it"));
    let refused = match add_by_rustup() {
        Ok(()) if toolchain.has_std() => return Ok(()),
        Ok(()) => "it added the target to another toolchain than this rustc's".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    say(&format!("rustup could not: {refused}"));
    debian::install(&toolchain)
        .with_context(|| format!("no standard library for {TARGET}: run `rustup target add {TARGET}` with a network"))
}

impl Toolchain {
    fn find() -> Result<Self> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let sysroot = output(Command::new(&rustc).args(["--print", "sysroot"]))?;
        let version = output(Command::new(&rustc).arg("--version"))?;
        let version = version.split_whitespace().nth(1).context("rustc --version has no version")?.to_owned();
        Ok(Self { rustc, sysroot: sysroot.trim_end().into(), version })
    }

    /// Where the libraries of the target lie.
    fn library(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib").join(TARGET).join("lib")
    }

    fn has_std(&self) -> bool {
        has_std(&self.library())
    }
}

fn has_std(library: &Path) -> bool {
    let Ok(entries) = library.read_dir() else { return false };
    entries.flatten().any(|entry| is_std(&entry.file_name().to_string_lossy()))
}

fn is_std(name: &str) -> bool {
    name.starts_with("libstd-") && name.ends_with(".rlib")
}

fn add_by_rustup() -> Result<()> {
    let child = Command::new("rustup").args(["target", "add", TARGET]).stdin(Stdio::null()).spawn();
    let status = wait(child.context("failed to start rustup")?, RUSTUP_TIMEOUT)?;
    if !status.success() {
        bail!("rustup target add failed: {status}");
    }
    Ok(())
}

/// Waits for a program to end, and ends it where that takes longer than `timeout`.
fn wait(mut child: Child, timeout: Duration) -> Result<ExitStatus> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if started.elapsed() >= timeout {
            child.kill()?;
            child.wait()?;
            bail!("no end after {timeout:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_takes_too_long_is_ended() {
        let child = Command::new("sleep").arg("60").spawn().expect("started");
        let started = Instant::now();
        let error = wait(child, Duration::from_millis(100)).expect_err("too long");
        assert_eq!(error.to_string(), "no end after 100ms");
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn only_the_library_itself_counts_as_the_standard_library() {
        assert!(is_std("libstd-0123abcd.rlib"));
        assert!(!is_std("libstd_detect-0123abcd.rlib") && !is_std("libcore-0123abcd.rlib"));
    }
}
