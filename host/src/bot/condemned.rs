//! Components that a bot was rolled back from or whose `init` it gave up: they are not tried again until the operator says so, and
//! not by the next process either.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Timestamp;
use crate::id::{BotName, ContentHash};
use crate::store::{Store, StoreError};

/// What is held against components, bot by bot.
#[derive(Debug)]
pub struct CondemnedList {
    store: Store,
    reasons: Mutex<BTreeMap<(BotName, ContentHash), String>>,
}

impl CondemnedList {
    /// Returns what the store has of earlier processes.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub async fn load(store: Store) -> Result<Self, StoreError> {
        let reasons = store.condemned().await?.into_iter().map(|one| ((one.bot, one.component), one.reason)).collect();
        Ok(Self { store, reasons: Mutex::new(reasons) })
    }

    /// Returns why a component is not to serve as this bot, if it is not.
    pub fn reason(&self, bot: &BotName, component: ContentHash) -> Option<String> {
        self.lock().get(&(bot.clone(), component)).cloned()
    }

    /// Returns the components that are not to serve as this bot, each with the reason.
    pub fn of(&self, bot: &BotName) -> Vec<(ContentHash, String)> {
        let reasons = self.lock();
        let of_bot = reasons.iter().filter(|((whose, _), _)| whose == bot);
        of_bot.map(|((_, component), reason)| (*component, reason.clone())).collect()
    }

    /// Holds something against a component: at once in this process, and in the next when the future has ended.
    ///
    /// # Errors
    ///
    /// The store does not keep it.
    pub async fn condemn(&self, bot: &BotName, component: ContentHash, reason: String) -> Result<(), StoreError> {
        self.lock().insert((bot.clone(), component), reason.clone());
        self.store.condemn(bot, component, &reason, Timestamp::now()).await
    }

    /// Forgets what is held against a bot's components.
    ///
    /// # Errors
    ///
    /// The store keeps it: the next process holds it against them again.
    pub async fn pardon(&self, bot: &BotName) -> Result<(), StoreError> {
        let had_any = {
            let mut reasons = self.lock();
            let before = reasons.len();
            reasons.retain(|(whose, _), _| whose != bot);
            reasons.len() < before
        };
        if had_any { self.store.pardon(bot).await.map(drop) } else { Ok(()) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(BotName, ContentHash), String>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
