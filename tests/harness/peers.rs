//! Where programs of others are, if they are installed. A test whose program is not there says so and is skipped.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub fn skipped(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
}

/// Returns a path under `$BOTHOST_PEERS`; none, and a word about it, where it is not there.
pub fn peer(test: &str, path: &str) -> Option<PathBuf> {
    let Some(root) = std::env::var_os("BOTHOST_PEERS") else {
        skipped(test, "BOTHOST_PEERS is not set");
        return None;
    };
    installed(test, &Path::new(&root).join(path))
}

/// Returns a path; none, and a word about it, where nothing is there.
pub fn installed(test: &str, path: &Path) -> Option<PathBuf> {
    if !path.exists() {
        skipped(test, &format!("{} is not installed", path.display()));
        return None;
    }
    Some(path.to_owned())
}

/// Returns a port that was free a moment ago: these programs cannot choose one themselves and say which.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port").local_addr().expect("a bound listener").port()
}

/// Returns a script that runs one of them.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../peers").join(name)
}
