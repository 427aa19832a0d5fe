//! Calls cargo and other programs, and knows where cargo puts things.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// What `cargo run` sets for the program it runs. Handed on, it would make build scripts that watch these variables run again
/// whenever cargo is called from here and by hand in turns.
const SET_BY_CARGO_RUN: [&str; 4] = ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_", "CARGO_CRATE_"];

/// Returns a call of the cargo that runs this program, in the repository's root.
pub fn command() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    forget_outer_cargo(&mut command);
    command
}

/// Takes out of the environment of `command` what `cargo run` has put into this program's.
pub fn forget_outer_cargo(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if SET_BY_CARGO_RUN.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
}

/// Runs a program to its end, with the terminal of this one.
///
/// # Errors
///
/// Fails where it cannot be started, and where it does not succeed.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("failed to start {}", line(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", line(command));
    }
    Ok(())
}

/// Runs a program to its end and returns what it prints.
///
/// # Errors
///
/// Fails where it cannot be started, does not succeed, or prints no UTF-8.
pub fn output(command: &mut Command) -> Result<String> {
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("failed to start {}", line(command)))?;
    if !output.status.success() {
        bail!("{} failed: {}", line(command), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} printed no UTF-8", line(command)))
}

/// Tells the person at the terminal what is going on.
pub fn say(text: &str) {
    // Standard output belongs to what is run. Where standard error is closed, nobody listens.
    let _unheard = writeln!(std::io::stderr(), "xtask: {text}");
}

/// Returns the repository's root.
pub fn root() -> PathBuf {
    let package =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    package.parent().map_or_else(|| package.clone(), Path::to_path_buf)
}

/// Returns cargo's target directory, wherever an environment variable or a configuration file has put it.
///
/// # Errors
///
/// Fails where cargo cannot say.
pub fn target_directory() -> Result<PathBuf> {
    let metadata = output(command().args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let path = string_field(&metadata, "target_directory").context("failed to read the output of cargo metadata")?;
    Ok(path.into())
}

/// Tells whether `cargo nextest` is installed.
pub fn has_nextest() -> bool {
    let quiet = command().args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

/// Returns the string that stands under `name` in a JSON text. A whole parser would be this program's only use of one.
fn string_field(json: &str, name: &str) -> Result<String> {
    let start = format!("\"{name}\":\"");
    let (_, rest) = json.split_once(&start).with_context(|| format!("no field {name}"))?;
    let (value, _) = rest.split_once('"').with_context(|| format!("field {name} does not end"))?;
    if value.contains('\\') {
        bail!("field {name} has an escape, which is not read here: {value}");
    }
    Ok(value.to_owned())
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_field_is_found_in_json() {
        let json = r#"{"packages":[],"target_directory":"/a b/target","version":1}"#;
        assert_eq!(string_field(json, "target_directory").expect("found"), "/a b/target");
        string_field(json, "workspace_root").expect_err("absent");
        string_field(r#"{"a":"b\"c"}"#, "a").expect_err("escaped");
    }

    #[test]
    fn a_program_that_fails_is_named_with_its_arguments() {
        let error = run(Command::new("false").arg("why")).expect_err("fails");
        assert!(error.to_string().starts_with("false why failed: "), "{error}");
    }
}
