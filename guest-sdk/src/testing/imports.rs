//! The host on native builds: the same functions as over the bindings, acting on the double's world.

use super::world::{Phase, World, with};
use crate::{Failure, Result};

/// While `describe` runs nothing is granted.
fn granted<T>(call: impl FnOnce(&mut World) -> Result<T>) -> Result<T> {
    with(|world| match world.phase {
        Phase::Describing => {
            Err(Failure::NotGranted("nothing but the log works while the bot describes itself".into()))
        }
        Phase::Handling => call(world),
    })
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn check_length(what: &str, text: &str, bytes_max: usize) -> Result {
    match text.len() {
        0 => Err(Failure::Invalid(format!("an empty {what}"))),
        length if length > bytes_max => {
            Err(Failure::Invalid(format!("a {what} of {length} bytes, at most {bytes_max} are allowed")))
        }
        _ => Ok(()),
    }
}

pub(crate) mod messaging {
    use super::{check_length, granted};
    use crate::testing::Sent;
    use crate::testing::world::{Phase, World, with};
    use crate::{Conversation, Failure, MessageRef, Outgoing, Result, Ticket};

    const BUTTON_DATA_BYTES_MAX: usize = 64;

    fn act(check: impl FnOnce() -> Result, sent: impl FnOnce(&mut World) -> Sent) -> Result {
        granted(|world| {
            if let Some(failure) = &world.send_failure {
                return Err(failure.clone());
            }
            check()?;
            let sent = sent(world);
            world.transaction.sent.push(sent);
            Ok(())
        })
    }

    fn check(message: &Outgoing) -> Result {
        if message.text.is_empty() && message.uploads.is_empty() {
            return Err(Failure::Invalid("an empty message".into()));
        }
        message
            .buttons
            .iter()
            .flatten()
            .try_for_each(|button| check_length("button data", &button.data, BUTTON_DATA_BYTES_MAX))
    }

    pub(crate) fn send(to: &Conversation, message: &Outgoing) -> Result<Ticket> {
        let mut ticket = Ticket(0);
        act(
            || check(message),
            |world| {
                ticket = Ticket(world.next_ticket);
                world.next_ticket += 1;
                Sent::Message { to: to.clone(), ticket, message: message.clone() }
            },
        )?;
        Ok(ticket)
    }

    pub(crate) fn edit(at: &Conversation, target: &MessageRef, message: &Outgoing) -> Result {
        act(|| check(message), |_| Sent::Edit { at: at.clone(), target: target.clone(), message: message.clone() })
    }

    pub(crate) fn delete(at: &Conversation, target: &MessageRef) -> Result {
        act(|| Ok(()), |_| Sent::Delete { at: at.clone(), target: target.clone() })
    }

    pub(crate) fn react(at: &Conversation, target: &MessageRef, emoji: &str) -> Result {
        act(|| Ok(()), |_| Sent::React { at: at.clone(), target: target.clone(), emoji: emoji.to_owned() })
    }

    pub(crate) fn typing(at: &Conversation) {
        with(|world| {
            if world.phase == Phase::Handling {
                world.typing.push(at.clone());
            }
        });
    }

    pub(crate) fn raw() -> Option<String> {
        with(|world| world.raw.clone())
    }
}

pub(crate) mod state {
    use std::time::Duration;

    use super::{check_length, granted};
    use crate::testing::world::{Entry, World};
    use crate::{Failure, Result};

    const KEY_BYTES_MAX: usize = 512;
    const VALUE_BYTES_MAX: usize = 1024 * 1024;

    fn write(world: &mut World, key: &str, entry: Entry) -> Result {
        if entry.value.len() > VALUE_BYTES_MAX {
            return Err(Failure::Invalid(format!(
                "a value of {} bytes, at most {VALUE_BYTES_MAX} are allowed",
                entry.value.len()
            )));
        }
        let others: usize = world
            .transaction
            .state
            .iter()
            .filter(|(other, _)| *other != key)
            .map(|(other, entry)| other.len() + entry.value.len())
            .sum();
        if others + key.len() + entry.value.len() > world.state_bytes_max {
            return Err(Failure::QuotaExceeded("limits.state".into()));
        }
        world.transaction.state.insert(key.to_owned(), entry);
        Ok(())
    }

    pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>> {
        granted(|world| {
            check_length("key", key, KEY_BYTES_MAX)?;
            let entry = world.transaction.state.get(key);
            Ok(entry.map(|entry| entry.value.clone()))
        })
    }

    pub(crate) fn set(key: &str, value: &[u8], expires_after: Option<Duration>) -> Result {
        granted(|world| {
            check_length("key", key, KEY_BYTES_MAX)?;
            let entry = Entry { value: value.to_vec(), expires_at: expires_after.map(|duration| world.now + duration) };
            write(world, key, entry)
        })
    }

    pub(crate) fn delete(key: &str) -> Result {
        granted(|world| {
            check_length("key", key, KEY_BYTES_MAX)?;
            world.transaction.state.remove(key);
            Ok(())
        })
    }

    pub(crate) fn add(key: &str, delta: i64) -> Result<i64> {
        granted(|world| {
            check_length("key", key, KEY_BYTES_MAX)?;
            let entry = world.transaction.state.get(key);
            let before = match entry.map(|entry| std::str::from_utf8(&entry.value)) {
                None => Some(0),
                Some(text) => text.ok().and_then(|text| text.parse::<i64>().ok()),
            };
            let before = before.ok_or_else(|| Failure::Invalid(format!("{key} is no number")))?;
            let sum = before
                .checked_add(delta)
                .ok_or_else(|| Failure::Invalid(format!("{before} + {delta} does not fit")))?;
            let entry =
                Entry { value: sum.to_string().into_bytes(), expires_at: entry.and_then(|entry| entry.expires_at) };
            write(world, key, entry)?;
            Ok(sum)
        })
    }

    pub(crate) fn keys(prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<String>> {
        granted(|world| {
            let keys = world.transaction.state.keys();
            Ok(keys
                .filter(|key| key.starts_with(prefix))
                .filter(|key| after.is_none_or(|after| key.as_str() > after))
                .take(limit as usize)
                .cloned()
                .collect())
        })
    }
}

pub(crate) mod settings {
    use crate::testing::world::{Phase, with};

    pub(crate) fn get(name: &str) -> Option<String> {
        with(|world| match world.phase {
            Phase::Describing => None,
            Phase::Handling => world.settings.get(name).map(ToString::to_string),
        })
    }

    pub(crate) fn all() -> String {
        with(|world| match world.phase {
            Phase::Describing => "{}".to_owned(),
            Phase::Handling => serde_json::Value::Object(world.settings.clone()).to_string(),
        })
    }

    pub(crate) fn secrets() -> Vec<String> {
        with(|world| match world.phase {
            Phase::Describing => Vec::new(),
            Phase::Handling => world.secrets.clone(),
        })
    }
}

pub(crate) mod log {
    use super::pairs;
    use crate::log::Level;
    use crate::testing::LogLine;
    use crate::testing::world::with;

    pub(crate) fn write(level: Level, message: &str, fields: &[(&str, &str)]) {
        with(|world| {
            world.logs.push(LogLine { level, message: message.to_owned(), fields: pairs(fields) });
        });
    }
}

pub(crate) mod metrics {
    use super::pairs;
    use crate::testing::Metric;
    use crate::testing::world::{Phase, with};

    fn record(metric: Metric) {
        with(|world| {
            if world.phase == Phase::Handling {
                world.metrics.push(metric);
            }
        });
    }

    pub(crate) fn count(name: &str, delta: u64, labels: &[(&str, &str)]) {
        record(Metric::Count(name.to_owned(), delta, pairs(labels)));
    }

    pub(crate) fn gauge(name: &str, value: f64, labels: &[(&str, &str)]) {
        record(Metric::Gauge(name.to_owned(), value, pairs(labels)));
    }

    pub(crate) fn observe(name: &str, value: f64, labels: &[(&str, &str)]) {
        record(Metric::Observe(name.to_owned(), value, pairs(labels)));
    }
}

pub(crate) mod alerts {
    use super::pairs;
    use crate::alerts::Severity;
    use crate::testing::Alert;
    use crate::testing::world::{Phase, with};

    pub(crate) fn raise(key: &str, severity: Severity, summary: &str, details: &[(&str, &str)]) {
        with(|world| {
            if world.phase == Phase::Handling {
                let alert = Alert { severity, summary: summary.to_owned(), details: pairs(details) };
                world.transaction.alerts.insert(key.to_owned(), alert);
            }
        });
    }

    pub(crate) fn resolve(key: &str) {
        with(|world| world.transaction.alerts.remove(key));
    }
}

pub(crate) mod timers {
    use std::time::Duration;

    use super::{check_length, granted};
    use crate::testing::SetTimer;
    use crate::timers::Schedule;
    use crate::{Failure, Result};

    const NAME_BYTES_MAX: usize = 128;
    const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
    const TIMERS_MAX: usize = 1_000;
    const INTERVAL_MIN: Duration = Duration::from_secs(1);

    fn check(schedule: &Schedule) -> Result {
        match schedule {
            Schedule::Every(interval) if *interval < INTERVAL_MIN => {
                Err(Failure::Invalid(format!("an interval of {interval:?}, at least {INTERVAL_MIN:?} is needed")))
            }
            Schedule::Cron { expression, .. } if !(5..=6).contains(&expression.split_whitespace().count()) => {
                Err(Failure::Invalid(format!("a cron expression has five or six fields, not {expression:?}")))
            }
            Schedule::Cron { zone, .. } if zone.is_empty() => {
                Err(Failure::Invalid("a cron expression needs a zone".into()))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn set(name: &str, schedule: &Schedule, payload: &[u8]) -> Result {
        granted(|world| {
            check_length("timer's name", name, NAME_BYTES_MAX)?;
            check(schedule)?;
            if payload.len() > PAYLOAD_BYTES_MAX {
                return Err(Failure::Invalid(format!(
                    "a payload of {} bytes, at most {PAYLOAD_BYTES_MAX} are allowed",
                    payload.len()
                )));
            }
            let timers = &mut world.transaction.timers;
            if timers.len() >= TIMERS_MAX && !timers.contains_key(name) {
                return Err(Failure::QuotaExceeded(format!("{TIMERS_MAX} timers")));
            }
            let due_at = match schedule {
                Schedule::After(delay) | Schedule::Every(delay) => Some(world.now + *delay),
                Schedule::At(moment) => Some(*moment),
                Schedule::Cron { .. } => None,
            };
            let timer = SetTimer { schedule: schedule.clone(), payload: payload.to_vec(), due_at };
            timers.insert(name.to_owned(), timer);
            Ok(())
        })
    }

    pub(crate) fn cancel(name: &str) -> Result<bool> {
        granted(|world| Ok(world.transaction.timers.remove(name).is_some()))
    }

    pub(crate) fn names() -> Result<Vec<String>> {
        granted(|world| Ok(world.transaction.timers.keys().cloned().collect()))
    }
}

#[cfg(feature = "http")]
pub(crate) mod http {
    use super::granted;
    use crate::http::{Address, Request, Response};
    use crate::{Failure, Result};

    pub(crate) fn send(request: &Request) -> Result<Response> {
        let address = Address::parse(&request.url)?;
        let answer = granted(|world| {
            world.requests.push(request.clone());
            world.answer.clone().ok_or_else(|| Failure::NotGranted(format!("http = [\"{}\"]", address.authority)))
        })?;
        answer(request)
    }
}
