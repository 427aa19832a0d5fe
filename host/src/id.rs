//! Names and ids, each its own type so that none stands in for another.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// Longest name of a bot, connector or tenant, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{given}` is no name: 1 to {NAME_BYTES_MAX} of the letters a-z, A-Z, 0-9, `.`, `_`, `-`, the first a letter or digit"
)]
pub struct NameError {
    given: String,
}

fn check_name(text: &str) -> Result<Arc<str>, NameError> {
    let begins_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let all_allowed = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if begins_well && all_allowed && text.len() <= NAME_BYTES_MAX {
        Ok(text.into())
    } else {
        // A refused name may be anything, so it is cut and its control characters are escaped before people read it.
        let given = text.chars().take(NAME_BYTES_MAX).flat_map(char::escape_debug).collect();
        Err(NameError { given })
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                check_name(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name_type! {
    /// A bot's name: the key of its entry, or the file's name without `.wasm`.
    BotName
}
name_type! {
    /// A connector's name: the key of its table. A connector of one bot's own is `BOT.NAME`.
    ConnectorName
}
name_type! {
    /// A tenant's name: who rents a bot.
    TenantName
}

impl Default for TenantName {
    /// Returns the tenant of a bot whose entry names none.
    fn default() -> Self {
        "default".parse().expect("it is made of letters")
    }
}

name_type! {
    /// The name of an offer, which tenants rent bots of: the key of its table.
    OfferName
}
name_type! {
    /// The name of a channel that tells people of alerts: the key of its table.
    ChannelName
}
name_type! {
    /// The name of a rule that raises alerts: the key of its table, or of a rule of the host's own.
    RuleName
}
name_type! {
    /// An account's name: whom a password lets in at the admin side.
    AccountName
}
name_type! {
    /// The name of a token that lets in at the admin side.
    TokenName
}
name_type! {
    /// The name of a probe: the key of its table.
    ProbeName
}

macro_rules! digest_type {
    ($(#[$doc:meta])* $name:ident, $error:ident, $whose:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// Returns the id of what is told apart by these texts.
            pub(crate) fn of<const N: usize>(parts: [&str; N]) -> Self {
                let hasher = parts.iter().fold(Sha256::new(), |hasher, part| hasher.chain_update(part).chain_update([0]));
                let hash: [u8; 32] = hasher.finalize().into();
                Self(hash.iter().take(6).fold(0, |id, byte| id << 8 | u64::from(*byte)))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:012x}", self.0)
            }
        }

        #[doc = concat!("Why a text is no [`", stringify!($name), "`].")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
        #[error("{} id has 12 hexadecimal digits", $whose)]
        pub struct $error;

        impl FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, $error> {
                let is_id = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
                u64::from_str_radix(text, 16).ok().filter(|_| is_id).map(Self).ok_or($error)
            }
        }
    };
}

digest_type! {
    /// Names an alert, in this process and in every later one: two alerts of one source with one key have the same.
    AlertId, AlertIdError, "an alert's"
}
digest_type! {
    /// Names what went wrong in one way, in this process and in every later one.
    ErrorId, ErrorIdError, "an error's"
}

/// Identifies one event in this host, on every attempt.
///
/// 32 hexadecimal digits: 12 of the milliseconds since the epoch, so that ids sort by time, and 20 that no other event has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(u128);

impl EventId {
    /// Returns an id that no other event of any host has, for all that 64 random bits can promise.
    pub fn generate(now: crate::clock::Timestamp) -> Self {
        static SEQUENCE: AtomicU64 = AtomicU64::new(0);
        let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed) & 0xffff;
        Self(
            (u128::from(now.as_millis() & 0xffff_ffff_ffff) << 80)
                | (u128::from(sequence) << 64)
                | u128::from(fastrand::u64(..)),
        )
    }
}

impl EventId {
    /// Returns the id as it is stored; ids compare as these bytes do.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Returns the id that was stored as these bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

/// Why a text is no [`EventId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event's id has 32 hexadecimal digits")]
pub struct EventIdError;

impl FromStr for EventId {
    type Err = EventIdError;

    fn from_str(text: &str) -> Result<Self, EventIdError> {
        // `from_str_radix` would take a sign as well.
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u128::from_str_radix(text, 16).ok().filter(|_| is_hex).map(Self).ok_or(EventIdError)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Names a message of a bot's own before, and after, the platform gave it an id. Unique in this data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ticket(pub u64);

/// The last ticket that was given, by this process or, as far as it was told, an earlier one.
static LAST_TICKET: AtomicU64 = AtomicU64::new(0);

impl Ticket {
    /// Returns a ticket larger than any this process gave before or was told of: milliseconds since the epoch times 2^20, plus a
    /// counter.
    pub fn generate(now: crate::clock::Timestamp) -> Self {
        let floor = now.as_millis() << 20;
        let previous = LAST_TICKET
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(last.max(floor) + 1))
            .unwrap_or_else(|last| last);
        Self(previous.max(floor) + 1)
    }

    /// Tells of a ticket that an earlier process gave: if the wall clock was set back since, no ticket is given twice.
    pub fn was_given(self) {
        LAST_TICKET.fetch_max(self.0, Ordering::Relaxed);
    }
}

/// SHA-256 of a component's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    /// Returns the hash of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

/// Why a text is no [`ContentHash`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a content's hash has 64 hexadecimal digits in lower case")]
pub struct ContentHashError;

impl FromStr for ContentHash {
    type Err = ContentHashError;

    fn from_str(text: &str) -> Result<Self, ContentHashError> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| ContentHashError)?;
        bytes.try_into().map(Self).map_err(|_| ContentHashError)
    }
}

impl Serialize for ContentHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn names_refuse_paths_and_control_characters() {
        for bad in ["", "..", "a/b", ".x", "a b", "a\n", &"a".repeat(65)] {
            assert!(bad.parse::<BotName>().is_err(), "{bad:?}");
        }
        for good in ["echo", "Echo-2", "a.b_c", &"a".repeat(64)] {
            assert_eq!(good.parse::<BotName>().map(|name| name.to_string()), Ok(good.to_owned()));
        }
    }

    #[test]
    fn a_refused_name_is_shown_without_its_control_characters() {
        let error = "a\u{1b}[31m".parse::<BotName>().unwrap_err();
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
    }

    #[test]
    fn a_hash_is_read_from_what_it_prints() {
        let hash = ContentHash::of(b"abc");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        for text in ["", "ab", &hash.to_string().to_uppercase(), &format!("{hash}00")] {
            assert_eq!(text.parse::<ContentHash>(), Err(ContentHashError));
        }
    }

    #[test]
    fn event_ids_sort_by_time() {
        let (early, late) =
            (EventId::generate(Timestamp::from_millis(5)), EventId::generate(Timestamp::from_millis(6)));
        assert!(early < late && early.to_string() < late.to_string());
    }

    #[test]
    fn tickets_grow_even_when_the_clock_steps_back() {
        let first = Ticket::generate(Timestamp::from_millis(1_000_000));
        let second = Ticket::generate(Timestamp::from_millis(5));
        assert!(second > first);
    }
}
