//! Tells the operator. Alerts take effect when the handler returns `Ok`, or not at all.

use crate::host;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth a look soon.
    Warning,
    /// Worth waking somebody.
    Critical,
}

/// Raises the alert with this key, or refreshes it where it is up.
///
/// The key, at most 128 bytes, names it within this bot. `details` are pairs of name and value.
pub fn raise(key: &str, severity: Severity, summary: &str, details: &[(&str, &str)]) {
    host::alerts::raise(key, severity, summary, details);
}

/// Resolves the alert with this key. Resolving what is not up is no error.
pub fn resolve(key: &str) {
    host::alerts::resolve(key);
}
