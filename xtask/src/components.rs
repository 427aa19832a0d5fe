//! Builds components and leaves them where the host and the tests look: `target/bots` and `target/guests` of the repository.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::cargo::{self, say};
use crate::guest_target::TARGET;

/// Builds each directory of `examples/` that has a `Cargo.toml`, as `target/bots/NAME.wasm`.
///
/// The package has the directory's name. The place does not follow `CARGO_TARGET_DIR`, as `examples/config.toml` names it.
pub fn build_bots() -> Result<()> {
    let names = names(&cargo::root().join("examples"), |path| {
        path.join("Cargo.toml").is_file().then(|| path.file_name()).flatten()?.to_str().map(str::to_owned)
    })?;
    let mut build = build();
    for name in &names {
        build.args(["--package", name]);
    }
    cargo::run(&mut build)?;
    publish(&names, "", "bots")
}

/// Builds the examples of the package `guests`, one a file of `tests/guests/`, as `target/guests/NAME.wasm`.
pub fn build_guests() -> Result<()> {
    let names = names(&cargo::root().join("tests/guests"), |path| {
        let is_guest = path.extension().is_some_and(|extension| extension == "rs");
        is_guest.then(|| path.file_stem()).flatten()?.to_str().filter(|name| *name != "lib").map(str::to_owned)
    })?;
    cargo::run(build().args(["--package", "guests", "--examples"]))?;
    publish(&names, "examples", "guests")
}

fn build() -> std::process::Command {
    let mut build = cargo::command();
    build.args(["build", "--quiet", "--target", TARGET, "--profile", "guest"]);
    build
}

fn names(directory: &Path, name: impl Fn(&Path) -> Option<String>) -> Result<Vec<String>> {
    let read = || format!("failed to read {}", directory.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).with_context(read)? {
        names.extend(name(&entry.with_context(read)?.path()));
    }
    names.sort();
    Ok(names)
}

/// Copies what cargo built under `built` to `target/KIND` of the repository.
fn publish(names: &[String], built: &str, kind: &str) -> Result<()> {
    let from = cargo::target_directory()?.join(TARGET).join("guest").join(built);
    let to = cargo::root().join("target").join(kind);
    fs::create_dir_all(&to).with_context(|| format!("failed to create {}", to.display()))?;
    let mut changed = 0;
    for name in names {
        // Cargo writes a library's file with underscores.
        let built = from.join(format!("{}.wasm", if built.is_empty() { name.replace('-', "_") } else { name.clone() }));
        let bytes = fs::read(&built).with_context(|| format!("failed to read {}", built.display()))?;
        changed += usize::from(replace(&to.join(format!("{name}.wasm")), &bytes)?);
    }
    say(&format!("{kind}: {} in {}, {changed} changed", names.len(), to.display()));
    Ok(())
}

/// Writes a file in one step, so that a host that watches the directory never sees half of it. Returns false, and leaves the
/// file alone, where it has these bytes already: a touched file is a swap for nothing.
fn replace(path: &Path, bytes: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|present| present == bytes) {
        return Ok(false);
    }
    // Not `.wasm`, which the host would load.
    let partial = path.with_extension("wasm.partial");
    fs::write(&partial, bytes).with_context(|| format!("failed to write {}", partial.display()))?;
    fs::rename(&partial, path).with_context(|| format!("failed to write {}", path.display()))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_only_where_its_bytes_change() {
        let directory = std::env::temp_dir().join(format!("xtask-replace-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("created");
        let path = directory.join("bot.wasm");
        let inode = || fs::metadata(&path).expect("there").ino();

        assert!(replace(&path, b"one").expect("written"));
        let first = inode();
        assert!(!replace(&path, b"one").expect("left alone"));
        assert_eq!(inode(), first);
        assert!(replace(&path, b"two").expect("written"));
        assert_eq!(fs::read(&path).expect("read"), b"two");
        assert_eq!(fs::read_dir(&directory).expect("read").count(), 1, "no partial file is left");
        fs::remove_dir_all(&directory).expect("removed");
    }
}
