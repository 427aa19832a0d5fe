//! From what a bot should run to the version that its task has: loaded, kept, given; refused, or stood in for by what ran before.

use std::sync::Arc;

use tokio::task::JoinError;

use super::load::{Loaded, explain};
use super::reconcile::Desired;
use super::survey::{self, Wanted};
use super::{Supervisor, settings};
use crate::id::BotName;

/// Versions given to a bot that are remembered: what serves is among them.
const GIVEN_MAX: usize = 8;

/// A load that has ended.
pub(super) struct LoadEnded {
    name: BotName,
    number: u64,
    wanted: Wanted,
    /// For a version that stands in for one that is not good: the number of that one, and what is wrong with it.
    in_place_of: Option<(u64, String)>,
    result: Result<Loaded, String>,
}

impl Supervisor {
    /// Has a bot run this. Where only its connectors differ from what it runs, it goes on and they change.
    pub(super) async fn load(&mut self, name: BotName, wanted: Wanted) {
        let component = wanted.version.component.hash;
        // Its file was not good for a while.
        let was_refused = matches!(self.desired.get(&name), Some(Desired::Refused { .. }));
        let before = self.bot(&name).wanted.replace(wanted.clone());
        let is_as_before = before.as_ref().is_some_and(|before| before.version == wanted.version);
        if is_as_before && (!was_refused || self.serves(&name, &wanted)) {
            self.set_own_connectors(&name, wanted.version.entry.offer.as_ref(), wanted.own.clone()).await;
            let running = self.bot(&name);
            for given in running.given.values_mut().filter(|given| given.version == wanted.version) {
                *given = wanted.clone();
            }
            if was_refused {
                running.bot.accept().await;
                self.reloads.tell(&name, "serves already", "its file is as it was", None);
            }
            return;
        }
        let is_same_component =
            before.is_some_and(|before| before.version.component.hash == component && !is_as_before);
        if is_same_component && self.parts.bots.condemned.reason(&name, component).is_some() {
            // What was wrong may have been its entry, which is another now.
            self.pardon(&name).await;
        }
        if let Some(reason) = self.parts.bots.condemned.reason(&name, component) {
            let reason = format!("{component} is not tried again: {reason}; `host reset {name}` lets it be");
            return self.refuse(name, reason).await;
        }
        self.newest += 1;
        let number = self.newest;
        let running = self.bot(&name);
        running.loading.insert(number);
        if !running.has_version {
            (running.reach, running.priority) = (wanted.version.entry.reach.clone(), wanted.version.entry.priority);
            // Before its own connectors start: what they bring is confirmed to the platform, so somebody has to hear it.
            self.publish();
            self.set_own_connectors(&name, wanted.version.entry.offer.as_ref(), wanted.own.clone()).await;
        }
        self.spawn_load(name, number, wanted, None);
    }

    /// Takes no version of a bot, or one that stands in for it: what the bot ran in the newest generation.
    pub(super) async fn refuse(&mut self, name: BotName, reason: String) {
        self.reloads.tell(&name, "refused", &reason, None);
        self.newest += 2;
        let number = self.newest;
        let has_better = self.bot(&name).has_version || !self.bot(&name).loading.is_empty();
        match self.stand_in(&name).filter(|_| !has_better) {
            Some(wanted) => self.spawn_load(name, number - 1, wanted, Some((number, reason))),
            None => {
                let running = self.bot(&name);
                running.told = number;
                running.bot.refuse(number, reason).await;
            }
        }
    }

    pub(super) fn stand_in(&self, name: &BotName) -> Option<Wanted> {
        let generation = self.parts.archive.latest()?;
        let hash = generation.bots.get(name)?.hash;
        if self.parts.bots.condemned.reason(name, hash).is_some() {
            return None;
        }
        let component = self.parts.archive.pinned(hash)?;
        let catalogue = Arc::clone(&self.parts.catalogue.borrow());
        survey::as_before(&self.config(), &catalogue, name, (&generation, component))
    }

    pub(super) fn spawn_load(
        &mut self,
        name: BotName,
        number: u64,
        wanted: Wanted,
        in_place_of: Option<(u64, String)>,
    ) {
        self.bot(&name).loading.insert(number);
        self.reloads.watch(&name, number);
        let (loader, archive) = (self.parts.loader.clone(), self.parts.archive.clone());
        self.loads.spawn(async move {
            let result = loader.load(&name, &wanted.version).await.map_err(|error| explain(&error));
            // Kept before it serves: what serves can always be come back to.
            if result.is_ok()
                && let Err(error) = archive.pin(&wanted.version.component).await
            {
                let error = explain(&error);
                tracing::warn!(bot = %name, error, "this version is not kept: it cannot be come back to");
            }
            LoadEnded { name, number, wanted, in_place_of, result }
        });
    }

    pub(super) async fn load_ended(&mut self, ended: Result<LoadEnded, JoinError>) {
        let LoadEnded { name, number, wanted, in_place_of, result } = match ended {
            Ok(ended) => ended,
            Err(error) => return tracing::error!(%error, "loading a component ended badly"),
        };
        let Some(running) = self.running.get_mut(&name) else { return };
        running.loading.remove(&number);
        // A newer one that is good already serves, or it is to take nothing.
        let is_overtaken = number <= running.floor;
        match result {
            Ok(_) if is_overtaken => {}
            Ok(loaded) => {
                running.floor = number;
                self.reloads.loaded(&name, &loaded);
                self.give(&name, number, wanted, loaded).await;
                if let Some((number, reason)) = in_place_of {
                    tracing::error!(bot = %name, reason, "the version of the newest generation stands in for one that is not good");
                    let running = self.bot(&name);
                    running.told = running.told.max(number);
                    running.bot.refuse(number, reason).await;
                }
            }
            Err(reason) => {
                let is_stand_in = in_place_of.is_some();
                let (number, reason) = in_place_of.unwrap_or((number, reason));
                if is_overtaken {
                    return;
                }
                self.reloads.tell(&name, "refused", &reason, None);
                self.refused_late(name, number, reason, is_stand_in).await;
            }
        }
        self.publish();
    }

    /// A version turned out to be of no use. If it would have been the bot's first of this process, another stands in for it.
    pub(super) async fn refused_late(&mut self, name: BotName, number: u64, reason: String, is_stand_in: bool) {
        let running = self.bot(&name);
        let has_better = is_stand_in || running.has_version || !running.loading.is_empty();
        let failed = running.wanted.as_ref().map(|wanted| wanted.version.component.hash);
        let stand_in = self.stand_in(&name).filter(|wanted| Some(wanted.version.component.hash) != failed);
        match stand_in.filter(|_| !has_better) {
            Some(wanted) => {
                self.newest += 2;
                self.spawn_load(name, self.newest - 1, wanted, Some((self.newest, reason)));
            }
            None => {
                let running = self.bot(&name);
                running.told = running.told.max(number);
                running.bot.refuse(number, reason).await;
            }
        }
    }

    /// Gives a bot a version that can serve, with all that goes with it.
    pub(super) async fn give(&mut self, name: &BotName, number: u64, wanted: Wanted, loaded: Loaded) {
        let reach = wanted.version.entry.reach.clone();
        let running = self.bot(name);
        (running.priority, running.has_version) = (wanted.version.entry.priority, true);
        // What its connectors bring is confirmed to their platforms, so it has to hear the new ones before they start, and the old
        // ones until they have stopped.
        let before = std::mem::replace(&mut running.reach, reach.clone());
        running.reach.own.extend(before.own);
        self.publish();
        self.set_own_connectors(name, wanted.version.entry.offer.as_ref(), wanted.own.clone()).await;
        let config = self.config();
        let running = self.bot(name);
        running.reach = reach;
        running.told = running.told.max(number);
        let policy = settings::policy(&config, Some(&wanted.version.entry), &running.policy.tenant);
        if running.policy != policy {
            running.policy = policy.clone();
            running.bot.set_policy(policy).await;
        }
        running.given.insert(number, wanted);
        let serving = running.bot.status().borrow().edition;
        while running.given.len() > GIVEN_MAX {
            let Some(oldest) = running.given.keys().copied().find(|number| *number != serving) else { break };
            running.given.remove(&oldest);
        }
        running.bot.serve(number, Arc::new(loaded.guest)).await;
    }
}
