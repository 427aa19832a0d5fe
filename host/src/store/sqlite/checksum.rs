//! A checksum for each row. SQLite has none for its pages: a bit that flips on disk comes back as a wrong value.
//!
//! The first eight bytes of SHA-256, over every column. A large column enters as its own digest, so that it can be hashed by
//! whoever brings it, before the row's small numbers are known and outside of the writer's thread.

use sha2::{Digest as _, Sha256};

/// The hash of one large column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest([u8; 32]);

impl Digest {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

/// A row's checksum in the making: a table's name, then its columns in order.
pub(super) struct Checksum(Sha256);

impl Checksum {
    pub(super) fn of(table: &str) -> Self {
        Self(Sha256::new()).text(table)
    }

    /// Adds a text; its length in front keeps two columns apart whatever they contain.
    pub(super) fn text(mut self, text: &str) -> Self {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text);
        self
    }

    pub(super) fn number(mut self, number: i64) -> Self {
        self.0.update(number.to_le_bytes());
        self
    }

    pub(super) fn optional(self, number: Option<i64>) -> Self {
        match number {
            Some(number) => self.number(1).number(number),
            None => self.number(0),
        }
    }

    pub(super) fn text_or_none(self, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.number(1).text(text),
            None => self.number(0),
        }
    }

    pub(super) fn digest(mut self, digest: Digest) -> Self {
        self.0.update(digest.0);
        self
    }

    pub(super) fn finish(self) -> i64 {
        let hash: [u8; 32] = self.0.finalize().into();
        let mut first = [0; 8];
        first.copy_from_slice(&hash[..8]);
        i64::from_le_bytes(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_and_its_place_count() {
        let checksums = [
            Checksum::of("a").text("bc").number(1).finish(),
            Checksum::of("ab").text("c").number(1).finish(),
            Checksum::of("a").text("bc").number(2).finish(),
            Checksum::of("a").text("bc").optional(Some(1)).finish(),
            Checksum::of("a").text("bc").optional(None).finish(),
            Checksum::of("a").text("bc").digest(Digest::of(b"1")).finish(),
        ];
        for (index, one) in checksums.iter().enumerate() {
            assert!(!checksums[..index].contains(one), "{index}");
        }
    }

    /// Stored data depends on it.
    #[test]
    fn the_algorithm_stays() {
        let checksum = Checksum::of("state").text("bot").number(7).optional(None).digest(Digest::of(b"value")).finish();
        assert_eq!(checksum, 702_451_404_315_800_016);
    }
}
