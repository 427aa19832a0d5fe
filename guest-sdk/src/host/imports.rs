//! The host on wasm: converts this crate's types, calls the bindings, converts the answers.

use std::time::{Duration, SystemTime};

#[cfg(feature = "http")]
pub(crate) use super::fetch as http;

/// Returns whole milliseconds, the most the interface can say where there are more.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns milliseconds since the epoch; a moment before it counts as the epoch.
pub(super) fn timestamp(moment: SystemTime) -> u64 {
    millis(moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub(crate) mod messaging {
    use crate::host::bindings::bothost::bot::messaging as host;
    use crate::{Conversation, MessageRef, Outgoing, Result, Ticket};

    pub(crate) fn send(to: &Conversation, message: &Outgoing) -> Result<Ticket> {
        Ok(Ticket(host::send(&to.into(), &message.into())?))
    }

    pub(crate) fn edit(at: &Conversation, target: &MessageRef, message: &Outgoing) -> Result {
        Ok(host::edit(&at.into(), &target.into(), &message.into())?)
    }

    pub(crate) fn delete(at: &Conversation, target: &MessageRef) -> Result {
        Ok(host::delete(&at.into(), &target.into())?)
    }

    pub(crate) fn react(at: &Conversation, target: &MessageRef, emoji: &str) -> Result {
        Ok(host::react(&at.into(), &target.into(), emoji)?)
    }

    pub(crate) fn typing(at: &Conversation) {
        host::typing(&at.into());
    }

    pub(crate) fn raw() -> Option<String> {
        host::raw()
    }
}

pub(crate) mod state {
    use std::time::Duration;

    use super::millis;
    use crate::Result;
    use crate::host::bindings::bothost::bot::state as host;

    pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>> {
        Ok(host::get(key)?)
    }

    pub(crate) fn set(key: &str, value: &[u8], expires_after: Option<Duration>) -> Result {
        Ok(host::set(key, value, expires_after.map(millis))?)
    }

    pub(crate) fn delete(key: &str) -> Result {
        Ok(host::delete(key)?)
    }

    pub(crate) fn add(key: &str, delta: i64) -> Result<i64> {
        Ok(host::add(key, delta)?)
    }

    pub(crate) fn keys(prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<String>> {
        Ok(host::keys(prefix, after, limit)?)
    }
}

pub(crate) mod settings {
    use crate::host::bindings::bothost::bot::settings as host;

    pub(crate) fn get(name: &str) -> Option<String> {
        host::get(name)
    }

    pub(crate) fn all() -> String {
        host::all()
    }

    pub(crate) fn secrets() -> Vec<String> {
        host::secrets()
    }
}

pub(crate) mod log {
    use super::pairs;
    use crate::host::bindings::bothost::bot::log as host;
    use crate::log::Level;

    pub(crate) fn write(level: Level, message: &str, fields: &[(&str, &str)]) {
        host::write(level.into(), message, &pairs(fields));
    }
}

pub(crate) mod metrics {
    use super::pairs;
    use crate::host::bindings::bothost::bot::metrics as host;

    pub(crate) fn count(name: &str, delta: u64, labels: &[(&str, &str)]) {
        host::count(name, delta, &pairs(labels));
    }

    pub(crate) fn gauge(name: &str, value: f64, labels: &[(&str, &str)]) {
        host::gauge(name, value, &pairs(labels));
    }

    pub(crate) fn observe(name: &str, value: f64, labels: &[(&str, &str)]) {
        host::observe(name, value, &pairs(labels));
    }
}

pub(crate) mod alerts {
    use super::pairs;
    use crate::alerts::Severity;
    use crate::host::bindings::bothost::bot::alerts as host;

    pub(crate) fn raise(key: &str, severity: Severity, summary: &str, details: &[(&str, &str)]) {
        host::raise(key, severity.into(), summary, &pairs(details));
    }

    pub(crate) fn resolve(key: &str) {
        host::resolve(key);
    }
}

pub(crate) mod timers {
    use crate::Result;
    use crate::host::bindings::bothost::bot::timers as host;
    use crate::timers::Schedule;

    pub(crate) fn set(name: &str, schedule: &Schedule, payload: &[u8]) -> Result {
        Ok(host::set(name, &schedule.into(), payload)?)
    }

    pub(crate) fn cancel(name: &str) -> Result<bool> {
        Ok(host::cancel(name)?)
    }

    pub(crate) fn names() -> Result<Vec<String>> {
        Ok(host::names()?)
    }
}
