//! What bots keep, in the model.

use super::{Kept, Memory, World};
use crate::action::{StateWrite, TimerChange};
use crate::clock::Timestamp;
use crate::id::BotName;
use crate::store::engine::State;
use crate::store::{Commit, Committed, StateValue, StoreError, SumError, TIMERS_MAX, sum};

impl World {
    pub(super) fn live(&self, bot: &BotName, key: &str, now: Timestamp) -> Option<&Kept> {
        let kept = self.state.get(&(bot.clone(), key.to_owned()))?;
        kept.expires_at.is_none_or(|moment| moment > now).then_some(kept)
    }

    fn bytes(&self, bot: &BotName, now: Timestamp) -> u64 {
        let keys = self.state.keys().filter(|(whose, key)| whose == bot && self.live(bot, key, now).is_some());
        keys.map(|at| (at.1.len() + self.state[at].value.len()) as u64).sum()
    }

    fn timers_of(&self, bot: &BotName) -> Vec<String> {
        self.timers.keys().filter(|(whose, _)| whose == bot).map(|(_, name)| name.clone()).collect()
    }

    /// Applies one handler's writes. What is returned but `Done` has to be undone.
    pub(super) fn commit(&mut self, commit: &Commit) -> Committed {
        let (bot, now) = (&commit.bot, commit.now);
        for read in &commit.reads {
            if self.live(bot, &read.key, now).map(|kept| kept.revision) != read.revision {
                return Committed::Conflict { key: read.key.clone() };
            }
        }
        let (bytes_before, timers_before) = (self.bytes(bot, now), self.timers_of(bot).len());
        self.revision += 1;
        for write in &commit.state {
            let (key, value, expires_at) = match write {
                StateWrite::Delete { key } => {
                    self.state.remove(&(bot.clone(), key.clone()));
                    continue;
                }
                StateWrite::Set { key, value, expires_at } => (key, value.clone(), *expires_at),
                StateWrite::Add { key, delta } => {
                    let kept = self.live(bot, key, now);
                    match sum(kept.map(|kept| kept.value.as_slice()), *delta) {
                        Ok(sum) => (key, sum.to_string().into_bytes(), kept.and_then(|kept| kept.expires_at)),
                        Err(SumError::NotANumber) => return Committed::NotANumber { key: key.clone() },
                        Err(SumError::TooLarge) => return Committed::SumTooLarge { key: key.clone() },
                    }
                }
            };
            self.state.insert((bot.clone(), key.clone()), Kept { value, revision: self.revision, expires_at });
        }
        let needed = self.bytes(bot, now);
        if needed > commit.state_bytes_max && needed > bytes_before {
            return Committed::QuotaExceeded { needed, allowed: commit.state_bytes_max };
        }
        for change in &commit.timers {
            match change {
                TimerChange::Set { name, .. } => drop(self.timers.insert((bot.clone(), name.clone()), ())),
                TimerChange::Cancel { name } => drop(self.timers.remove(&(bot.clone(), name.clone()))),
            }
        }
        let timers = self.timers_of(bot).len();
        if timers > TIMERS_MAX as usize && timers > timers_before {
            return Committed::TooManyTimers { allowed: TIMERS_MAX };
        }
        Committed::Done
    }
}

impl State for Memory {
    async fn get(&self, bot: &BotName, key: &str, now: Timestamp) -> Result<Option<StateValue>, StoreError> {
        let world = self.world();
        let value = world.live(bot, key, now);
        Ok(value.map(|kept| StateValue { value: kept.value.clone(), revision: kept.revision }))
    }

    async fn keys(
        &self,
        bot: &BotName,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<String>, StoreError> {
        let world = self.world();
        let fits = |key: &&String| {
            key.starts_with(prefix)
                && after.is_none_or(|after| key.as_str() > after)
                && world.live(bot, key, now).is_some()
        };
        let keys = world.state.keys().filter(|(whose, _)| whose == bot).map(|(_, key)| key).filter(fits);
        Ok(keys.take(limit as usize).cloned().collect())
    }

    async fn timers(&self, bot: &BotName) -> Result<Vec<String>, StoreError> {
        Ok(self.world().timers_of(bot))
    }
}
