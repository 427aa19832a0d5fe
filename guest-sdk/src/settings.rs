//! What the operator or the tenant set for this bot. It does not change while an event is handled.

use serde::de::DeserializeOwned;

use crate::{Failure, Result, host};

/// Returns one setting, or `None` where it is not set.
///
/// ```no_run
/// # fn handler() -> bothost_guest::Result {
/// let greeting: Option<String> = bothost_guest::settings::get("greeting")?;
/// let limit = bothost_guest::settings::get("limit")?.unwrap_or(10_u32);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`Failure::Invalid`] where the setting is there and is no `T`.
pub fn get<T: DeserializeOwned>(name: &str) -> Result<Option<T>> {
    let Some(json) = host::settings::get(name) else {
        return Ok(None);
    };
    serde_json::from_str(&json).map(Some).map_err(|error| Failure::Invalid(format!("setting {name}: {error}")))
}

/// Returns all settings together: a struct of the bot's own, or `serde_json::Value`.
///
/// # Errors
///
/// [`Failure::Invalid`] where they do not make a `T`.
pub fn all<T: DeserializeOwned>() -> Result<T> {
    serde_json::from_str(&host::settings::all()).map_err(|error| Failure::Invalid(format!("settings: {error}")))
}

/// Returns the names of the secrets that may stand as `{{secret:NAME}}` in headers of outgoing HTTP requests.
///
/// The host puts in the values; a bot never sees one.
pub fn secrets() -> Vec<String> {
    host::settings::secrets()
}
