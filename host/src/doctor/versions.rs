//! What this program is made of.

use super::{Finding, Patient};
use crate::{sandbox, store};

pub(super) fn check(_: &Patient) -> Vec<Finding> {
    let what = format!(
        "host {}, interface bothost:bot@{}, {}, SQLite {}, Rust {} or later",
        env!("CARGO_PKG_VERSION"),
        sandbox::SERVED_VERSION,
        sandbox::ENGINE_LINE,
        store::library_version(),
        env!("CARGO_PKG_RUST_VERSION"),
    );
    vec![Finding::ok("versions", what)]
}
