//! One token as it is kept.

use serde::{Deserialize, Serialize};

use super::{Digest, Power};
use crate::clock::Timestamp;

/// What every token of the book begins with, so that people and scanners of secrets know it.
pub(super) const PREFIX: &str = "bh_";

/// A token. Its name is the key under which it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// What is kept of it.
    pub(super) digest: Digest,
    /// What it may do, and with what.
    pub power: Power,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it does not let in; none: it does until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl Token {
    /// Returns whether it lets in at this moment.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|expires_at| now < expires_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Role;

    #[test]
    fn a_token_lets_in_until_it_expires() {
        let at = Timestamp::from_millis;
        let power = Power::new(Role::Viewer, None).unwrap();
        let mut token = Token { digest: Digest::of(b""), power, created_at: at(0), expires_at: Some(at(10)) };
        assert!(token.is_valid(at(9)) && !token.is_valid(at(10)));
        token.expires_at = None;
        assert!(token.is_valid(at(u64::MAX)));
    }
}
