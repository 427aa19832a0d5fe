//! Measurements of this bot, on the host's `/metrics` as `bothost_guest_NAME{bot="…"}`. At once, not part of the transaction.
//!
//! A name or label key is `[a-z][a-z0-9_]*`, at most 64 bytes. What breaks that, and series past the bot's cap of 100, are
//! dropped and counted by the host. A name keeps the kind that its first call gave it. Labels are pairs of key and value;
//! keep the values few, and never a user's text.

use crate::host;

/// Adds to a counter.
pub fn count(name: &str, delta: u64, labels: &[(&str, &str)]) {
    host::metrics::count(name, delta, labels);
}

/// Sets a gauge.
pub fn gauge(name: &str, value: f64, labels: &[(&str, &str)]) {
    host::metrics::gauge(name, value, labels);
}

/// Adds an observation to a histogram. Its buckets go from 0.001 to 100 in powers of ten and their halves.
pub fn observe(name: &str, value: f64, labels: &[(&str, &str)]) {
    host::metrics::observe(name, value, labels);
}
