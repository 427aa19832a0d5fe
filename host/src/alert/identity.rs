//! What names an alert to people and programs.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::Source;

/// Names an alert, in this process and in every later one: two alerts of one source with one key have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertId(u64);

impl AlertId {
    pub(super) fn of(source: &Source, key: &str) -> Self {
        let bot = match source {
            Source::Host => "",
            Source::Bot(bot) => bot.as_str(),
        };
        let hash: [u8; 32] = Sha256::new().chain_update(bot).chain_update([0]).chain_update(key).finalize().into();
        let first = hash.iter().take(6).fold(0, |id, byte| id << 8 | u64::from(*byte));
        Self(first)
    }
}

impl fmt::Display for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

/// Why a text is no [`AlertId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an alert's id has 12 hexadecimal digits")]
pub struct AlertIdError;

impl FromStr for AlertId {
    type Err = AlertIdError;

    fn from_str(text: &str) -> Result<Self, AlertIdError> {
        let is_id = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(text, 16).ok().filter(|_| is_id).map(Self).ok_or(AlertIdError)
    }
}
