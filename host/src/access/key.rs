//! What lets somebody in and is not chosen by people: 256 random bits, and what is kept of them.

use std::fmt;
use std::io;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::Digest as _;

/// 256 random bits as a text that goes into headers and cookies as it is. It prints as `[redacted]`.
#[derive(Clone)]
pub struct Key(String);

impl Key {
    /// Returns a new one, with something in front by which people know what it is.
    ///
    /// # Errors
    ///
    /// The system gives no random bits.
    pub fn generate(prefix: &str) -> io::Result<Self> {
        let mut bits = [0; 32];
        getrandom::fill(&mut bits).map_err(io::Error::other)?;
        Ok(Self(format!("{prefix}{}", BASE64URL_NOPAD.encode(&bits))))
    }

    /// Returns what somebody gave, which is perhaps one.
    pub fn given(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Returns the text, for the one place that hands it over.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns what is kept of it.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    /// Returns whether `given` is this key, in a time that says nothing of how much of it is right.
    pub fn matches(&self, given: &[u8]) -> bool {
        self.digest().matches(&Digest::of(given))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The SHA-256 of what lets somebody in.
///
/// Fit for what nobody can guess. Passwords can be guessed, and are not kept like this.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Returns the digest of what was given.
    pub fn of(given: &[u8]) -> Self {
        Self(sha2::Sha256::digest(given).into())
    }

    /// Returns whether both are the same, in the same time wherever they differ.
    pub fn matches(&self, other: &Self) -> bool {
        let difference = self.0.iter().zip(other.0).fold(0, |difference, (one, other)| difference | (one ^ other));
        // The optimiser may not turn the loop into one that stops at the first difference.
        std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[digest]")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&HEXLOWER.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = HEXLOWER.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| de::Error::custom("a digest has 64 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_keys_are_the_same_and_none_prints_itself() {
        let [one, other] = ["bh_", "bh_"].map(|prefix| Key::generate(prefix).unwrap());
        assert_ne!(one.expose(), other.expose());
        assert_eq!(one.expose().len(), 3 + 43);
        assert_eq!(format!("{one:?} {:?}", one.digest()), "[redacted] [digest]");
    }

    #[test]
    fn only_the_whole_key_matches() {
        let key = Key::generate("").unwrap();
        assert!(key.matches(key.expose().as_bytes()));
        for other in ["", &key.expose()[1..], &format!("{} ", key.expose())] {
            assert!(!key.matches(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn a_digest_is_read_from_what_was_written() {
        let digest = Digest::of(b"abc");
        let written = serde_json::to_string(&digest).unwrap();
        assert!(serde_json::from_str::<Digest>(&written).unwrap().matches(&digest));
        assert!(serde_json::from_str::<Digest>("\"00\"").is_err());
    }
}
