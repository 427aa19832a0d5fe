//! Events to come: checked and gathered.

use std::collections::BTreeSet;

use super::{GuestState, check_length, store_unavailable};
use crate::action::{Schedule, TimerChange};
use crate::sandbox::wit::v0_1::{timers, types};
use crate::store::{TIMER_NAME_BYTES_MAX, TIMER_PAYLOAD_BYTES_MAX, TIMERS_MAX};

type Answer<T> = wasmtime::Result<Result<T, types::Failure>>;

impl timers::Host for GuestState {
    async fn set(&mut self, name: String, when: timers::Schedule, payload: Vec<u8>) -> Answer<()> {
        Ok(self.set_timer(name, when.into(), payload).await)
    }

    async fn cancel(&mut self, name: String) -> Answer<bool> {
        Ok(self.cancel_timer(name).await)
    }

    async fn names(&mut self) -> Answer<Vec<String>> {
        Ok(self.timer_names().await.map(|names| names.into_iter().collect()))
    }
}

impl GuestState {
    async fn set_timer(&mut self, name: String, schedule: Schedule, payload: Vec<u8>) -> Result<(), types::Failure> {
        self.may_act()?;
        check_length("a timer's name", &name, TIMER_NAME_BYTES_MAX)?;
        if payload.len() > TIMER_PAYLOAD_BYTES_MAX {
            let len = payload.len();
            let why = format!("a payload has at most {TIMER_PAYLOAD_BYTES_MAX} bytes, not {len}");
            return Err(types::Failure::Invalid(why));
        }
        schedule.validate().map_err(|error| types::Failure::Invalid(error.to_string()))?;
        let names = self.timer_names().await?;
        if names.len() >= TIMERS_MAX as usize && !names.contains(&name) {
            return Err(types::Failure::QuotaExceeded(format!("{TIMERS_MAX} timers of one bot")));
        }
        let change = TimerChange::Set { name: name.clone(), schedule, payload };
        Ok(self.gathered.change_timer(name, change)?)
    }

    async fn cancel_timer(&mut self, name: String) -> Result<bool, types::Failure> {
        self.may_act()?;
        let was_set = self.timer_names().await?.contains(&name);
        if was_set {
            self.gathered.change_timer(name.clone(), TimerChange::Cancel { name })?;
        }
        Ok(was_set)
    }

    /// The bot's timers as this handler left them.
    async fn timer_names(&mut self) -> Result<BTreeSet<String>, types::Failure> {
        self.may_act()?;
        let stored = self.context.services.store.timer_names(&self.context.bot).await;
        let mut names: BTreeSet<String> =
            stored.map_err(|error| store_unavailable(self, &error))?.into_iter().collect();
        for (name, change) in self.gathered.own_timers() {
            match change {
                TimerChange::Set { .. } => names.insert(name.clone()),
                TimerChange::Cancel { .. } => names.remove(name),
            };
        }
        Ok(names)
    }
}
