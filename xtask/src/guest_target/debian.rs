//! Builds the guests' standard library from Debian's packages, where rustup cannot download it.
//!
//! rustc takes only a standard library of exactly its own version. Debian ships the source of many versions as `rust-src`, and
//! the C library below it as `wasi-libc`; apt's mirrors are often reachable where rustup's server is not. Nothing is
//! installed and apt's own state stays as it is: lists and packages go to a directory that is removed afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{TARGET, Toolchain, has_std, is_std};
use crate::cargo::{forget_outer_cargo, output, run, say};

/// Where a rustc newer than the system's own release may have its source.
const SUITES: [&str; 4] = ["bookworm-backports", "trixie", "trixie-backports", "sid"];

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What the target's start-up code is linked from.
const LIBC_FILES: [&str; 3] = ["libc.a", "crt1-command.o", "crt1-reactor.o"];

/// Builds the standard library and lays it into the sysroot.
///
/// # Errors
///
/// Fails where this is no Debian, its mirror cannot be reached or has no source of this version, or the build fails.
pub(super) fn install(toolchain: &Toolchain) -> Result<()> {
    let work = WorkDirectory::create()?;
    let apt = Apt::set_up(&work.0)?;

    let versions = apt.versions("rust-src")?;
    let rust_src = versions
        .iter()
        .find(|offer| is_source_of(&offer.version, &toolchain.version))
        .with_context(|| format!("Debian has no rust-src {}", toolchain.version))?;
    // Of the same suite, as Debian builds its own Rust of that version with it.
    let wasi_libc = apt
        .versions("wasi-libc")?
        .into_iter()
        .find(|offer| offer.suite == rust_src.suite)
        .with_context(|| format!("Debian has no wasi-libc in {}", rust_src.suite))?;
    let packages = [format!("rust-src={}", rust_src.version), format!("wasi-libc={}", wasi_libc.version)];
    say(&format!("fetching {} from {} {}", packages.join(" and "), apt.mirror, rust_src.suite));
    let root = apt.unpack(&packages)?;

    say(&format!("building the standard library {} for {TARGET}, about a minute", toolchain.version));
    let built = build(toolchain, &library_source(&root)?, &work.0.join("build"))?;
    lay_in(&built, &root.join("usr/lib").join(TARGET), &toolchain.library())?;
    if !has_std(&toolchain.library()) {
        bail!("the build left no standard library in {}", toolchain.library().display());
    }
    say(&format!("{TARGET} is ready"));
    Ok(())
}

/// A directory that goes away with this value.
struct WorkDirectory(PathBuf);

impl WorkDirectory {
    fn create() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("bothost-guest-target-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("failed to create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for WorkDirectory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            say(&format!("{} is left behind: {error}", self.0.display()));
        }
    }
}

/// apt with lists of its own.
struct Apt {
    directory: PathBuf,
    mirror: String,
}

impl Apt {
    fn set_up(directory: &Path) -> Result<Self> {
        let mirror = mirror()?;
        // apt creates neither of them.
        for needed in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(directory.join(needed))?;
        }
        let sources: String =
            SUITES.iter().map(|suite| format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n")).collect();
        fs::write(directory.join("sources.list"), sources)?;
        let apt = Self { directory: directory.to_owned(), mirror };
        if let Err(error) = run(apt.command("apt-get").arg("update")) {
            // A mirror need not carry every suite; the others may have what is looked for.
            say(&format!("{error:#}; going on with what was fetched"));
        }
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let directory = self.directory.display();
        // Without the sandbox user: it may not read a directory that belongs to the caller.
        let options = [
            format!("Dir::Etc::sourcelist={directory}/sources.list"),
            "Dir::Etc::sourceparts=-".to_owned(),
            format!("Dir::State::lists={directory}/lists"),
            format!("Dir::Cache={directory}/cache"),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "quiet=2".to_owned(),
        ];
        for option in options {
            command.args(["-o", &option]);
        }
        command.current_dir(&self.directory);
        command
    }

    /// Returns the versions of a package that the suites have, in apt's order.
    fn versions(&self, package: &str) -> Result<Vec<Offer>> {
        let table = output(self.command("apt-cache").args(["madison", package]))?;
        Ok(table.lines().filter_map(Offer::parse).collect())
    }

    /// Fetches packages and unpacks them into one directory, which it returns.
    fn unpack(&self, packages: &[String]) -> Result<PathBuf> {
        run(self.command("apt-get").arg("download").args(packages))?;
        let root = self.directory.join("root");
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                run(Command::new("dpkg").arg("-x").arg(path).arg(&root))?;
            }
        }
        Ok(root)
    }
}

/// A version of a package, and the suite that has it.
#[derive(Debug, PartialEq, Eq)]
struct Offer {
    version: String,
    suite: String,
}

impl Offer {
    /// Reads a line such as ` rust-src | 1.95.0+dfsg1-2~bpo13+1 | http://mirror/debian trixie-backports/main amd64 Packages`.
    fn parse(line: &str) -> Option<Self> {
        let mut columns = line.split('|').map(str::trim).skip(1);
        let version = columns.next()?.to_owned();
        let (suite, _component) = columns.next()?.split_whitespace().nth(1)?.split_once('/')?;
        Some(Self { version, suite: suite.to_owned() })
    }
}

/// Returns the mirror that this machine is set up to use: one that is known to be reachable.
fn mirror() -> Result<String> {
    if let Some(mirror) = configured_mirror()? {
        return Ok(mirror);
    }
    // A fresh container has no lists, and without lists apt names no mirror.
    run(Command::new("apt-get").args(["-qq", "update"]))?;
    configured_mirror()?.context("apt has no mirror configured")
}

fn configured_mirror() -> Result<Option<String>> {
    let arguments = ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"];
    let mirrors = output(Command::new("apt-get").args(arguments))
        .context("failed to ask apt for its mirror: the standard library can be built on Debian only")?;
    // The security archive has none of the suites.
    Ok(mirrors.lines().find(|uri| !uri.contains("security")).map(str::to_owned))
}

/// Tells whether a Debian version such as `1.95.0+dfsg1-1~bpo13+1` is of this release of Rust.
fn is_source_of(debian: &str, release: &str) -> bool {
    debian.strip_prefix(release).is_some_and(|rest| rest.starts_with(['+', '~', '-']))
}

fn library_source(root: &Path) -> Result<PathBuf> {
    let sources = root.join("usr/src");
    let entries = fs::read_dir(&sources).with_context(|| format!("failed to read {}", sources.display()))?;
    entries
        .flatten()
        .map(|entry| entry.path().join("library"))
        .find(|path| path.join("Cargo.toml").is_file())
        .context("the package rust-src has no library")
}

/// Builds as rustc's own bootstrap does, and returns the directory with the libraries.
fn build(toolchain: &Toolchain, source: &Path, target_directory: &Path) -> Result<PathBuf> {
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    forget_outer_cargo(&mut build);
    build
        .current_dir(source)
        // The standard library uses unstable features, which a stable compiler refuses to everybody else.
        .env("RUSTC_BOOTSTRAP", "1")
        // Marks the libraries as the compiler's own, so that they do not collide with a program's crates.
        .env("__CARGO_DEFAULT_LIB_METADATA", "stablestd")
        // Bitcode, as guests are linked with LTO; and a program must not reach the library's private crates.
        .env("RUSTFLAGS", "-Cembed-bitcode=yes -Zforce-unstable-if-unmarked")
        .env("RUSTC", &toolchain.rustc)
        .env("CARGO_TARGET_DIR", target_directory)
        .args(["build", "--quiet", "--release", "--package", "sysroot", "--target", TARGET])
        // Those of the released library. `panic-unwind` is one of them although a panic aborts on this target.
        .args(["--features", "panic-unwind compiler-builtins-mem"]);
    run(&mut build)?;
    Ok(target_directory.join(TARGET).join("release/deps"))
}

/// Copies the libraries into the sysroot. The standard library itself goes last: by it `ensure` tells that all is there.
fn lay_in(built: &Path, libc: &Path, library: &Path) -> Result<()> {
    let self_contained = library.join("self-contained");
    fs::create_dir_all(&self_contained).with_context(|| format!("failed to create {}", self_contained.display()))?;
    for name in LIBC_FILES {
        copy(&libc.join(name), &self_contained.join(name))?;
    }
    let mut libraries = Vec::new();
    for entry in fs::read_dir(built).with_context(|| format!("failed to read {}", built.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // `sysroot` is an empty crate that only pulls in the others.
        if name.ends_with(".rlib") && !name.starts_with("libsysroot-") {
            libraries.push(name);
        }
    }
    libraries.sort_by_key(|name| is_std(name));
    libraries.iter().try_for_each(|name| copy(&built.join(name), &library.join(name)))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("failed to copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_read_from_apts_table() {
        let line = "  rust-src | 1.95.0+dfsg1-2~bpo13+1 | http://mirror/debian trixie-backports/main amd64 Packages";
        let offer = Offer { version: "1.95.0+dfsg1-2~bpo13+1".into(), suite: "trixie-backports".into() };
        assert_eq!(Offer::parse(line), Some(offer));
        assert_eq!(Offer::parse("N: Unable to locate package rust-src"), None);
    }

    #[test]
    fn only_the_very_release_is_a_source() {
        assert!(is_source_of("1.95.0+dfsg1-1~bpo13+1", "1.95.0"));
        assert!(is_source_of("1.95.0-1", "1.95.0"));
        assert!(!is_source_of("1.95.01-1", "1.95.0"));
        assert!(!is_source_of("1.94.1+dfsg1-1", "1.95.0"));
    }
}
