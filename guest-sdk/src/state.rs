//! What a bot keeps: bytes by key, seen by this bot alone.
//!
//! Reads see this handler's own writes. Writes take effect when it returns `Ok`, or not at all. Where another event of this
//! bot has changed a key that this handler read, the handler is run again; [`add`] never causes that.
//!
//! A key has 1 to 512 bytes, a value at most 1 MiB, all of a bot's keys and values together at most `limits.state`. Every
//! function here fails with [`Failure::Invalid`] for a key that breaks this.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Failure, Result, host};

/// How many keys [`keys`] asks the host for at a time; the interface allows no more.
const KEYS_PER_CALL: u32 = 1_000;

/// Returns the value, or `None` where the key is absent or has expired.
///
/// # Errors
///
/// [`Failure::Invalid`] for a bad key, [`Failure::Unavailable`] where the store is down.
pub fn get(key: &str) -> Result<Option<Vec<u8>>> {
    host::state::get(key)
}

/// Returns the value as text, or `None` where the key is absent or has expired.
///
/// # Errors
///
/// Those of [`get`], and [`Failure::Other`] where the value is no UTF-8.
pub fn get_string(key: &str) -> Result<Option<String>> {
    let Some(value) = get(key)? else {
        return Ok(None);
    };
    Ok(Some(String::from_utf8(value)?))
}

/// Returns the value read as JSON, or `None` where the key is absent or has expired.
///
/// # Errors
///
/// Those of [`get`], and [`Failure::Other`] where the value is no JSON of that shape.
pub fn get_json<T: DeserializeOwned>(key: &str) -> Result<Option<T>> {
    let Some(value) = get(key)? else {
        return Ok(None);
    };
    Ok(Some(serde_json::from_slice(&value)?))
}

/// Writes a value that stays until it is overwritten or deleted.
///
/// # Errors
///
/// [`Failure::QuotaExceeded`] past `limits.state`, [`Failure::Invalid`] for a bad key or too large a value.
pub fn set(key: &str, value: impl AsRef<[u8]>) -> Result {
    host::state::set(key, value.as_ref(), None)
}

/// Writes a value that is gone after `duration`, in whole milliseconds.
///
/// # Errors
///
/// Those of [`set`].
pub fn set_for(key: &str, value: impl AsRef<[u8]>, duration: Duration) -> Result {
    host::state::set(key, value.as_ref(), Some(duration))
}

/// Writes a value as JSON, to be read with [`get_json`].
///
/// # Errors
///
/// Those of [`set`], and [`Failure::Other`] where the value cannot be written as JSON.
pub fn set_json<T: Serialize + ?Sized>(key: &str, value: &T) -> Result {
    set(key, serde_json::to_vec(value)?)
}

/// Removes a key. Removing an absent one is no error.
///
/// # Errors
///
/// Those of [`get`].
pub fn delete(key: &str) -> Result {
    host::state::delete(key)
}

/// Adds to a number and returns the sum as this handler sees it.
///
/// An absent key counts as 0. The number is stored as its decimal text. Two events that add to one key do not conflict:
/// both count, and neither is run again. So prefer it to [`get`] and [`set`] for counters.
///
/// # Errors
///
/// [`Failure::Invalid`] where the value is no number or the sum does not fit; otherwise those of [`set`].
pub fn add(key: &str, delta: i64) -> Result<i64> {
    host::state::add(key, delta)
}

/// Returns every key that begins with `prefix`, in byte order.
///
/// It asks for 1,000 keys at a time. Where there may be more than fit into memory, use [`keys_after`].
///
/// # Errors
///
/// [`Failure::Unavailable`] where the store is down.
pub fn keys(prefix: &str) -> Result<Vec<String>> {
    let mut all: Vec<String> = Vec::new();
    loop {
        let page = keys_after(prefix, all.last().map(String::as_str), KEYS_PER_CALL)?;
        let complete = page.len() < KEYS_PER_CALL as usize;
        all.extend(page);
        if complete {
            return Ok(all);
        }
    }
}

/// Returns at most `limit` (1 to 1,000) keys that begin with `prefix` and come after `after`, in byte order.
///
/// # Errors
///
/// [`Failure::Invalid`] for a limit out of range, [`Failure::Unavailable`] where the store is down.
pub fn keys_after(prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<String>> {
    if !(1..=KEYS_PER_CALL).contains(&limit) {
        return Err(Failure::Invalid(format!("a limit of {limit} keys is not within 1 to {KEYS_PER_CALL}")));
    }
    host::state::keys(prefix, after, limit)
}
