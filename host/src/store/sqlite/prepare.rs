//! From what a caller wants to what the writer needs: checked against the limits, hashed, with the first due time of each
//! timer. Done by the caller's task, so that the one writer spends its time on SQL, whatever a bot sends.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::checksum::{Checksum, Digest};
use super::to_column;
use crate::action::{Schedule, StateRead, StateWrite, TimerChange};
use crate::clock::Timestamp;
use crate::id::BotName;
use crate::schedule::ScheduleError;
use crate::store::commit::{KEY_BYTES_MAX, TIMER_NAME_BYTES_MAX, TIMER_PAYLOAD_BYTES_MAX, VALUE_BYTES_MAX};
use crate::store::{Commit, DueTimer, StoreError};

/// A commit that only the database can still refuse.
#[derive(Debug)]
pub(in crate::store) struct PreparedCommit {
    pub(super) bot: BotName,
    pub(super) reads: Vec<StateRead>,
    pub(super) state: Vec<PreparedWrite>,
    pub(super) timers: Vec<PreparedTimer>,
    pub(super) state_bytes_max: u64,
    pub(super) now: Timestamp,
}

#[derive(Debug)]
pub(super) enum PreparedWrite {
    Set { key: String, value: Vec<u8>, digest: Digest, expires_ms: Option<i64> },
    Delete { key: String },
    Add { key: String, delta: i64 },
}

#[derive(Debug)]
pub(super) enum PreparedTimer {
    Set { name: String, row: TimerRow, payload: Vec<u8> },
    Cancel { name: String },
}

/// The columns of a timer beside its name, its serial and its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct TimerRow {
    pub(super) set_ms: i64,
    pub(super) due_ms: i64,
    /// As JSON.
    pub(super) schedule: String,
    pub(super) payload_digest: Digest,
}

impl TimerRow {
    fn new(schedule: &Schedule, set_at: Timestamp, due: Timestamp, payload: &[u8]) -> Self {
        Self {
            set_ms: to_column(set_at.as_millis()),
            due_ms: to_column(due.as_millis()),
            schedule: encode(schedule),
            payload_digest: Digest::of(payload),
        }
    }

    pub(super) fn checksum(&self, bot: &str, name: &str, serial: i64) -> i64 {
        Checksum::of("timers")
            .text(bot)
            .text(name)
            .number(serial)
            .number(self.set_ms)
            .number(self.due_ms)
            .text(&self.schedule)
            .digest(self.payload_digest)
            .finish()
    }
}

/// What a timer that has fired does next.
#[derive(Debug)]
pub(in crate::store) enum Turn {
    /// It was due once.
    Gone,
    /// It comes again. All but its serial, which the writer gives.
    Again(TimerRow),
    /// It should come again, but its schedule names no further time.
    Never,
}

impl Turn {
    /// Returns the turn after `now`.
    pub(in crate::store) fn after(timer: &DueTimer, now: Timestamp) -> Self {
        if !timer.schedule.repeats() {
            return Self::Gone;
        }
        match timer.schedule.next_after(timer.set_at, now) {
            Some(due) => Self::Again(TimerRow::new(&timer.schedule, timer.set_at, due, &timer.payload)),
            None => Self::Never,
        }
    }
}

impl PreparedCommit {
    /// Checks and hashes. Costs about a millisecond for each MiB, and up to one for each cron expression.
    pub(in crate::store) fn new(commit: Commit) -> Result<Self, StoreError> {
        let Commit { bot, reads, state, timers, state_bytes_max, now } = commit;
        let state = state.into_iter().map(|write| prepare_write(&bot, write)).collect::<Result<_, _>>()?;
        let timers = timers.into_iter().map(|change| prepare_timer(&bot, change, now)).collect::<Result<_, _>>()?;
        Ok(Self { bot, reads, state, timers, state_bytes_max, now })
    }

    /// Returns about how many bytes it will write.
    pub(super) fn weight(&self) -> usize {
        let write = |write: &PreparedWrite| match write {
            PreparedWrite::Set { key, value, .. } => key.len() + value.len(),
            PreparedWrite::Delete { key } | PreparedWrite::Add { key, .. } => key.len(),
        };
        let timer = |timer: &PreparedTimer| match timer {
            PreparedTimer::Set { name, payload, .. } => name.len() + payload.len(),
            PreparedTimer::Cancel { name } => name.len(),
        };
        self.state.iter().map(write).sum::<usize>() + self.timers.iter().map(timer).sum::<usize>()
    }
}

fn prepare_write(bot: &BotName, write: StateWrite) -> Result<PreparedWrite, StoreError> {
    let check_key = |key: &str| check(bot, "a key of the state", key.len(), 1, KEY_BYTES_MAX);
    match write {
        StateWrite::Set { key, value, expires_at } => {
            check_key(&key)?;
            check(bot, "a value of the state", value.len(), 0, VALUE_BYTES_MAX)?;
            let digest = Digest::of(&value);
            let expires_ms = expires_at.map(|moment| to_column(moment.as_millis()));
            Ok(PreparedWrite::Set { key, value, digest, expires_ms })
        }
        StateWrite::Delete { key } => check_key(&key).map(|()| PreparedWrite::Delete { key }),
        StateWrite::Add { key, delta } => check_key(&key).map(|()| PreparedWrite::Add { key, delta }),
    }
}

fn prepare_timer(bot: &BotName, change: TimerChange, now: Timestamp) -> Result<PreparedTimer, StoreError> {
    let check_name = |name: &str| check(bot, "a timer's name", name.len(), 1, TIMER_NAME_BYTES_MAX);
    match change {
        TimerChange::Set { name, schedule, payload } => {
            check_name(&name)?;
            check(bot, "a timer's payload", payload.len(), 0, TIMER_PAYLOAD_BYTES_MAX)?;
            let due = first_due(&schedule, now).map_err(|source| StoreError::InvalidSchedule {
                bot: bot.clone(),
                timer: name.clone(),
                source,
            })?;
            let row = TimerRow::new(&schedule, now, due, &payload);
            Ok(PreparedTimer::Set { name, row, payload })
        }
        TimerChange::Cancel { name } => check_name(&name).map(|()| PreparedTimer::Cancel { name }),
    }
}

fn first_due(schedule: &Schedule, now: Timestamp) -> Result<Timestamp, ScheduleError> {
    schedule.validate()?;
    // None only where `now` is beyond the calendar.
    schedule.first_due(now).ok_or_else(|| ScheduleError::Never { expression: format!("{schedule:?}") })
}

fn check(bot: &BotName, what: &'static str, len: usize, min: usize, max: usize) -> Result<(), StoreError> {
    if (min..=max).contains(&len) { Ok(()) } else { Err(StoreError::Length { bot: bot.clone(), what, len, min, max }) }
}

/// A schedule as it is stored. Kinds and fields are only ever added: a host that meets a kind it does not know puts the timer
/// aside, and the schema's number keeps it from getting that far.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum StoredSchedule {
    After { ms: u64 },
    At { ms: u64 },
    Every { ms: u64 },
    Cron { expression: String, zone: String },
}

fn encode(schedule: &Schedule) -> String {
    let millis = |duration: &Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let stored = match schedule {
        Schedule::After(wait) => StoredSchedule::After { ms: millis(wait) },
        Schedule::At(moment) => StoredSchedule::At { ms: moment.as_millis() },
        Schedule::Every(interval) => StoredSchedule::Every { ms: millis(interval) },
        Schedule::Cron { expression, zone } => {
            StoredSchedule::Cron { expression: expression.clone(), zone: zone.clone() }
        }
    };
    serde_json::to_string(&stored).expect("numbers and texts are always JSON")
}

/// Returns the schedule; `None` for what this host cannot read.
pub(super) fn decode(text: &str) -> Option<Schedule> {
    Some(match serde_json::from_str(text).ok()? {
        StoredSchedule::After { ms } => Schedule::After(Duration::from_millis(ms)),
        StoredSchedule::At { ms } => Schedule::At(Timestamp::from_millis(ms)),
        StoredSchedule::Every { ms } => Schedule::Every(Duration::from_millis(ms)),
        StoredSchedule::Cron { expression, zone } => Schedule::Cron { expression, zone },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stored data depends on it.
    #[test]
    fn schedules_keep_their_form() {
        let cron = Schedule::Cron { expression: "0 7 * * *".to_owned(), zone: "Europe/Berlin".to_owned() };
        let forms = [
            (Schedule::After(Duration::from_millis(5)), r#"{"kind":"after","ms":5}"#),
            (Schedule::At(Timestamp::from_millis(u64::MAX)), r#"{"kind":"at","ms":18446744073709551615}"#),
            (Schedule::Every(Duration::from_secs(2)), r#"{"kind":"every","ms":2000}"#),
            (cron, r#"{"kind":"cron","expression":"0 7 * * *","zone":"Europe/Berlin"}"#),
        ];
        for (schedule, text) in forms {
            assert_eq!(encode(&schedule), text);
            assert_eq!(decode(text), Some(schedule));
        }
    }

    #[test]
    fn what_a_newer_host_adds_to_a_kind_is_passed_over() {
        assert_eq!(decode(r#"{"kind":"every","ms":2000,"jitter":7}"#), Some(Schedule::Every(Duration::from_secs(2))));
        assert_eq!(decode(r#"{"kind":"moon","phase":"full"}"#), None);
    }
}
