//! One record as a line: a JSON object whose last member is the hash of the record before and of all that stands in front of it.
//!
//! ```text
//! {"seq":7,"at":"2026-…","who":"anna",…,"previous":"…64 digits…","hash":"…64 digits…"}
//! hash = SHA-256( previous's 32 bytes ‖ the object without its hash, as it is written )
//! ```

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Entry, Outcome};
use crate::clock::Timestamp;
use crate::id::ContentHash;

/// What comes before the first record.
pub(super) const NOTHING: ContentHash = ContentHash([0; 32]);

const NECK: &str = r#","hash":""#;
const TAIL: &str = r#""}"#;
const HASH_LEN: usize = 64;

/// Characters of a record's texts; what is longer is cut.
const WHO_CHARS_MAX: usize = 128;
const VERB_CHARS_MAX: usize = 32;
const SUBJECT_CHARS_MAX: usize = 512;
const DETAIL_CHARS_MAX: usize = 1_024;

/// A record as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Counted from 1, without a gap.
    pub seq: u64,
    /// When it was written.
    #[serde(with = "moment")]
    pub at: Timestamp,
    /// Who.
    pub who: String,
    /// By what he was let in.
    pub way: String,
    /// From where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What he did.
    pub verb: String,
    /// To what.
    pub subject: String,
    /// What came of it.
    pub outcome: Outcome,
    /// More, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The hash of the record before.
    pub previous: ContentHash,
    /// Its own hash. Not among what is hashed.
    #[serde(skip, default = "nothing")]
    pub hash: ContentHash,
}

fn nothing() -> ContentHash {
    NOTHING
}

/// RFC 3339, for people who read the file itself.
mod moment {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use crate::clock::Timestamp;

    pub(super) fn serialize<S: Serializer>(moment: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(moment)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Returns the line of what is recorded after another record, with its line break, and its hash.
pub(super) fn line(entry: &Entry, seq: u64, previous: ContentHash, now: Timestamp) -> (String, ContentHash) {
    let cut = |text: &str, max| text.chars().take(max).collect::<String>();
    let record = Record {
        seq,
        at: now,
        who: cut(&entry.who, WHO_CHARS_MAX),
        way: entry.way.to_owned(),
        address: entry.address.map(|address| address.to_string()),
        verb: cut(&entry.verb, VERB_CHARS_MAX),
        subject: cut(&entry.subject, SUBJECT_CHARS_MAX),
        outcome: entry.outcome,
        detail: entry.detail.as_ref().map(|detail| cut(detail, DETAIL_CHARS_MAX)),
        previous,
        hash: NOTHING,
    };
    let body = serde_json::to_string(&record).expect("texts and numbers are JSON");
    let hash = hash(previous, body.as_bytes());
    let open = body.strip_suffix('}').unwrap_or(&body);
    (format!("{open}{NECK}{hash}{TAIL}\n"), hash)
}

/// Reads a line without its line break. None: it is not what was written.
///
/// Whether it follows the record before is for the caller to see.
pub(super) fn parse(line: &[u8]) -> Option<Record> {
    let rest = line.strip_suffix(TAIL.as_bytes())?;
    let (rest, written) = rest.split_at_checked(rest.len().checked_sub(HASH_LEN)?)?;
    let open = rest.strip_suffix(NECK.as_bytes())?;
    let body = [open, b"}"].concat();
    let mut record: Record = serde_json::from_slice(&body).ok()?;
    record.hash = std::str::from_utf8(written).ok()?.parse().ok()?;
    (hash(record.previous, &body) == record.hash).then_some(record)
}

fn hash(previous: ContentHash, body: &[u8]) -> ContentHash {
    ContentHash(Sha256::new().chain_update(previous.0).chain_update(body).finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            address: Some("192.0.2.1".parse().unwrap()),
            ..Entry::of_host("restart", "bot \"e\"\n", "because\u{1b}")
        }
    }

    #[test]
    fn a_line_is_one_line_of_json_and_is_read_again() {
        let (line, hash) = line(&entry(), 7, ContentHash::of(b"before"), Timestamp::from_millis(1_000));
        let text = line.strip_suffix('\n').unwrap();
        assert!(!text.contains('\n'));
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!((&json["seq"], &json["at"]), (&7.into(), &"1970-01-01T00:00:01Z".into()));
        assert_eq!(json["hash"], hash.to_string());
        let record = parse(text.as_bytes()).unwrap();
        assert_eq!((record.hash, record.previous), (hash, ContentHash::of(b"before")));
        assert_eq!((&*record.subject, record.address.as_deref()), ("bot \"e\"\n", Some("192.0.2.1")));
    }

    #[test]
    fn no_flipped_bit_of_a_line_goes_unseen() {
        let (line, _) = line(&entry(), 7, NOTHING, Timestamp::from_millis(1_000));
        let good = line.trim_end().as_bytes();
        assert!(parse(good).is_some());
        for bit in 0..good.len() * 8 {
            let mut bad = good.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&bad).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn long_texts_are_cut() {
        let entry = Entry { subject: "x".repeat(100_000), ..entry() };
        assert!(line(&entry, 1, NOTHING, Timestamp::from_millis(0)).0.len() < 2_000);
    }
}
