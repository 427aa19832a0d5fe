//! Text that must not be seen: it prints as `[redacted]` and is wiped when dropped. How a process keeps its memory to itself is in
//! `seal`.

mod seal;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};

pub use self::seal::Seal;

/// A secret. Comparing, printing and serialising it never shows it; only [`Secret::expose`] does.
#[derive(Clone)]
pub struct Secret(Arc<Text>);

struct Text(String);

impl Secret {
    /// What a secret calls itself while it is deserialised, so that a reader can offer more ways to write one than a text,
    /// and keeps what it read out of its messages.
    pub(crate) const SERDE_NAME: &str = "bothost::Secret";

    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Arc::new(Text(text.into())))
    }

    /// Returns the text, for the one place that sends it where it belongs.
    pub fn expose(&self) -> &str {
        &self.0.0
    }

    /// Returns whether `given` is this secret, in a time that depends on the lengths only.
    pub fn matches(&self, given: &[u8]) -> bool {
        let own = self.0.0.as_bytes();
        let mut difference = u8::from(own.len() != given.len());
        for (index, byte) in given.iter().enumerate() {
            difference |= byte ^ own.get(index).copied().unwrap_or(0);
        }
        // The optimiser may not turn the loop into one that stops at the first difference.
        std::hint::black_box(difference) == 0
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The literal is `Secret::SERDE_NAME`; an attribute takes no constant.
        #[derive(Deserialize)]
        #[serde(rename = "bothost::Secret")]
        struct Plain(String);
        Plain::deserialize(deserializer).map(|plain| Self::new(plain.0))
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0).into_bytes();
        bytes.fill(0);
        std::hint::black_box(&bytes);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.expose().as_bytes())
    }
}

impl Eq for Secret {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print_itself() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[redacted]");
    }

    #[test]
    fn only_the_whole_secret_matches() {
        let secret = Secret::new("abc");
        assert!(secret.matches(b"abc"));
        for other in [&b""[..], b"ab", b"abcd", b"abd", b"abc\0"] {
            assert!(!secret.matches(other));
        }
        assert!(!Secret::new("").matches(b"\0"));
    }
}
