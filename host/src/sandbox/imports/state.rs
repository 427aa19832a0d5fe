//! What a bot keeps. Reads look at this handler's own writes first, then at the store; writes are gathered.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{GuestState, check_length, store_unavailable};
use crate::clock::Timestamp;
use crate::sandbox::effects::OwnWrite;
use crate::sandbox::wit::v0_1::{state, types};
use crate::store::{KEY_BYTES_MAX, SumError, VALUE_BYTES_MAX, sum};

const KEYS_MAX: u32 = 1_000;

type Answer<T> = wasmtime::Result<Result<T, types::Failure>>;

impl state::Host for GuestState {
    async fn get(&mut self, key: String) -> Answer<Option<Vec<u8>>> {
        Ok(self.get_state(&key).await)
    }

    async fn set(&mut self, key: String, value: Vec<u8>, expires_after: Option<u64>) -> Answer<()> {
        Ok(self.set_state(key, value, expires_after))
    }

    async fn delete(&mut self, key: String) -> Answer<()> {
        let checked = self.may_act().and_then(|()| check_length("a key", &key, KEY_BYTES_MAX));
        Ok(checked.and_then(|()| Ok(self.gathered.write(key, OwnWrite::Deleted)?)))
    }

    async fn add(&mut self, key: String, delta: i64) -> Answer<i64> {
        Ok(self.add_state(key, delta).await)
    }

    async fn keys(&mut self, prefix: String, after: Option<String>, limit: u32) -> Answer<Vec<String>> {
        Ok(self.list_state(&prefix, after.as_deref(), limit).await)
    }
}

impl GuestState {
    async fn get_state(&mut self, key: &str) -> Result<Option<Vec<u8>>, types::Failure> {
        self.may_act()?;
        check_length("a key", key, KEY_BYTES_MAX)?;
        match self.gathered.own_write(key) {
            Some(OwnWrite::Set { value, .. }) => return Ok(Some(value.clone())),
            Some(OwnWrite::Deleted) => return Ok(None),
            Some(&OwnWrite::Added(delta)) => {
                let stored = self.stored(key, Read::Noted).await?;
                let sum = sum(stored.as_deref(), delta)?;
                return Ok(Some(sum.to_string().into_bytes()));
            }
            None => {}
        }
        self.stored(key, Read::Noted).await
    }

    fn set_state(&mut self, key: String, value: Vec<u8>, expires_after: Option<u64>) -> Result<(), types::Failure> {
        self.may_act()?;
        check_length("a key", &key, KEY_BYTES_MAX)?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(types::Failure::Invalid(format!(
                "a value has at most {VALUE_BYTES_MAX} bytes, not {}",
                value.len()
            )));
        }
        // The quota is checked again, exactly, when the event commits; this spares a bot the work that could not.
        if (key.len() + value.len()) as u64 > self.context.limits.state {
            return Err(types::Failure::QuotaExceeded("limits.state".to_owned()));
        }
        let expires_at = expires_after.map(|millis| Timestamp::now().saturating_add(Duration::from_millis(millis)));
        Ok(self.gathered.write(key, OwnWrite::Set { value, expires_at })?)
    }

    async fn add_state(&mut self, key: String, delta: i64) -> Result<i64, types::Failure> {
        self.may_act()?;
        check_length("a key", &key, KEY_BYTES_MAX)?;
        let write = match self.gathered.own_write(&key) {
            Some(OwnWrite::Set { value, expires_at }) => {
                let sum = sum(Some(value), delta)?;
                (OwnWrite::Set { value: sum.to_string().into_bytes(), expires_at: *expires_at }, sum)
            }
            Some(OwnWrite::Deleted) => {
                (OwnWrite::Set { value: delta.to_string().into_bytes(), expires_at: None }, delta)
            }
            own => {
                let before = if let Some(&OwnWrite::Added(before)) = own { before } else { 0 };
                let total = before.checked_add(delta).ok_or(SumError::TooLarge)?;
                let stored = self.stored(&key, Read::Unnoted).await?;
                (OwnWrite::Added(total), sum(stored.as_deref(), total)?)
            }
        };
        self.gathered.write(key, write.0)?;
        Ok(write.1)
    }

    async fn list_state(
        &mut self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, types::Failure> {
        self.may_act()?;
        if limit == 0 || limit > KEYS_MAX {
            return Err(types::Failure::Invalid(format!("limit is 1 to {KEYS_MAX}, not {limit}")));
        }
        let is_after = |key: &str| after.is_none_or(|after| key > after);
        let (mut added, mut deleted) = (BTreeSet::new(), BTreeSet::new());
        for (key, write) in self.gathered.own_writes(prefix).filter(|(key, _)| is_after(key)) {
            let into = if *write == OwnWrite::Deleted { &mut deleted } else { &mut added };
            into.insert(key.to_owned());
        }
        // As many more as this handler deleted, so that enough remain.
        let wanted = limit.saturating_add(deleted.len().try_into().unwrap_or(u32::MAX));
        let (store, bot) = (&self.context.services.store, &self.context.bot);
        let stored = store.state_keys(bot, prefix, after, wanted, Timestamp::now()).await;
        let stored = stored.map_err(|error| store_unavailable(self, &error))?;
        added.extend(stored);
        Ok(added.into_iter().filter(|key| !deleted.contains(key)).take(limit as usize).collect())
    }

    /// Reads the store. A noted read makes the handler run again if another event changes the key before this one commits.
    async fn stored(&mut self, key: &str, read: Read) -> Result<Option<Vec<u8>>, types::Failure> {
        let (store, bot) = (&self.context.services.store, &self.context.bot);
        let stored = store.state_get(bot, key, Timestamp::now()).await;
        let stored = stored.map_err(|error| store_unavailable(self, &error))?;
        if read == Read::Noted {
            self.gathered.note_read(key, stored.as_ref().map(|value| value.revision))?;
        }
        Ok(stored.map(|value| value.value))
    }
}

/// Whether a change of what is read matters to the handler.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Read {
    Noted,
    Unnoted,
}

impl From<SumError> for types::Failure {
    fn from(error: SumError) -> Self {
        Self::Invalid(error.to_string())
    }
}
