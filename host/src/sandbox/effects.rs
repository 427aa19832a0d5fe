//! What one call asks for, gathered while it runs: applied as a whole if it ends well, dropped otherwise. Reads of state and
//! timers look here first, so that a handler sees its own writes.

use std::collections::BTreeMap;

use crate::action::{Action, AlertChange, Effects, StateRead, StateWrite, TimerChange};
use crate::clock::Timestamp;

/// Bytes that one call may gather in the host's memory.
const GATHERED_BYTES_MAX: u64 = 8 << 20;
/// What one gathered item costs beside its text.
const ITEM_BYTES: usize = 128;

/// One event gathered more than the host keeps for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("one event may gather 8 MiB of sends, writes, timers and alerts")]
pub(super) struct TooMuch;

/// A key of the state as this call left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OwnWrite {
    Set {
        value: Vec<u8>,
        expires_at: Option<Timestamp>,
    },
    Deleted,
    /// Added to what is stored.
    Added(i64),
}

/// What a call has asked for so far.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    actions: Vec<Action>,
    reads: BTreeMap<String, Option<u64>>,
    state: BTreeMap<String, OwnWrite>,
    timers: BTreeMap<String, TimerChange>,
    alerts: Vec<AlertChange>,
    bytes: u64,
}

impl Gathered {
    /// Counts `bytes` more, beside a fixed cost for each item.
    fn charge(&mut self, bytes: usize) -> Result<(), TooMuch> {
        let total = self.bytes.saturating_add((bytes + ITEM_BYTES) as u64);
        if total > GATHERED_BYTES_MAX {
            return Err(TooMuch);
        }
        self.bytes = total;
        Ok(())
    }

    /// Adds an act of about this many bytes.
    pub(super) fn act(&mut self, action: Action, bytes: usize) -> Result<(), TooMuch> {
        self.charge(bytes)?;
        self.actions.push(action);
        Ok(())
    }

    /// Notes which revision a key had when it was first read; none where it was absent.
    pub(super) fn note_read(&mut self, key: &str, revision: Option<u64>) -> Result<(), TooMuch> {
        if !self.reads.contains_key(key) {
            self.charge(key.len())?;
            self.reads.insert(key.to_owned(), revision);
        }
        Ok(())
    }

    /// Returns what this call did to a key.
    pub(super) fn own_write(&self, key: &str) -> Option<&OwnWrite> {
        self.state.get(key)
    }

    /// Returns the keys this call touched that begin with `prefix`, with what it did to them.
    pub(super) fn own_writes(&self, prefix: &str) -> impl Iterator<Item = (&str, &OwnWrite)> {
        self.state
            .range(prefix.to_owned()..)
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(key, write)| (key.as_str(), write))
    }

    /// Writes a key; what this call did to it before is forgotten.
    pub(super) fn write(&mut self, key: String, write: OwnWrite) -> Result<(), TooMuch> {
        let value_bytes = if let OwnWrite::Set { value, .. } = &write { value.len() } else { 0 };
        self.charge(key.len() + value_bytes)?;
        self.state.insert(key, write);
        Ok(())
    }

    /// Changes a timer; what this call did to it before is forgotten.
    pub(super) fn change_timer(&mut self, name: String, change: TimerChange) -> Result<(), TooMuch> {
        let payload_bytes = if let TimerChange::Set { payload, .. } = &change { payload.len() } else { 0 };
        self.charge(name.len() + payload_bytes)?;
        self.timers.insert(name, change);
        Ok(())
    }

    /// Returns what this call did to the timers, by name.
    pub(super) fn own_timers(&self) -> &BTreeMap<String, TimerChange> {
        &self.timers
    }

    /// Changes an alert.
    pub(super) fn change_alert(&mut self, change: AlertChange) -> Result<(), TooMuch> {
        let bytes = match &change {
            AlertChange::Raise { key, summary, details, .. } => {
                key.len() + summary.len() + details.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
            }
            AlertChange::Resolve { key } => key.len(),
        };
        self.charge(bytes)?;
        self.alerts.push(change);
        Ok(())
    }

    /// Returns everything that was gathered, for the commit.
    pub(super) fn into_effects(self) -> Effects {
        let write = |(key, write)| match write {
            OwnWrite::Set { value, expires_at } => StateWrite::Set { key, value, expires_at },
            OwnWrite::Deleted => StateWrite::Delete { key },
            OwnWrite::Added(delta) => StateWrite::Add { key, delta },
        };
        Effects {
            actions: self.actions,
            reads: self.reads.into_iter().map(|(key, revision)| StateRead { key, revision }).collect(),
            state: self.state.into_iter().map(write).collect(),
            timers: self.timers.into_values().collect(),
            alerts: self.alerts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gathered_is_bounded_by_bytes() {
        let mut gathered = Gathered::default();
        let mut writes = 0u64;
        while gathered
            .write(format!("key-{writes}"), OwnWrite::Set { value: vec![0; 1 << 20], expires_at: None })
            .is_ok()
        {
            writes += 1;
        }
        assert_eq!(writes, 7, "the eighth MiB does not fit beside the keys");
        assert_eq!(gathered.into_effects().state.len(), 7);
    }

    #[test]
    fn the_first_revision_read_is_the_one_that_counts() {
        let mut gathered = Gathered::default();
        gathered.note_read("k", Some(3)).unwrap();
        gathered.note_read("k", Some(4)).unwrap();
        assert_eq!(gathered.into_effects().reads, [StateRead { key: "k".into(), revision: Some(3) }]);
    }
}
