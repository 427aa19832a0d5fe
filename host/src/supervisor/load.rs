//! From a version, a file and an entry, to a guest that can serve: load, ask what it is, check what it needs.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::bot::manifest::BotEntry;
use crate::id::BotName;
use crate::limits::Limits;
use crate::sandbox::{Component, ComponentError, GrantError, Guest, GuestContext, Sandbox, Services};
use crate::watcher::{ComponentFile, read_component};

/// Everything that a guest is made of. Equal versions are the same to users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The file.
    pub component: ComponentFile,
    /// What the operator says of the bot.
    pub entry: Arc<BotEntry>,
    /// The bot's limits: its entry's over those of all.
    pub limits: Limits,
}

/// Loads versions.
#[derive(Clone)]
pub struct Loader {
    /// Where components are compiled and run.
    pub sandbox: Sandbox,
    /// What guests share.
    pub services: Services,
}

/// A version that can serve, and what it took to know that.
pub struct Loaded {
    /// The version.
    pub guest: Guest,
    /// Where its code came from, and how long that took.
    pub code: (&'static str, Duration),
    /// How long it took to ask it what it is and to compare that with what it is granted.
    pub checked: Duration,
}

/// Why a version cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is at fault.
    #[error("{} cannot serve", .path.display())]
    Component {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ComponentError,
    },
    /// It needs what it is not granted.
    #[error("{} may not serve", .path.display())]
    Grant {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: GrantError,
    },
}

impl Loader {
    /// Loads a version of a bot. Cancel safe; a compilation under way is killed.
    ///
    /// # Errors
    ///
    /// [`LoadError`]: nothing of it serves.
    pub async fn load(&self, bot: &BotName, version: &Version) -> Result<Loaded, LoadError> {
        let path = &version.component.path;
        let component_error = |source| LoadError::Component { path: path.clone(), source };
        let limits = version.limits.clone();
        let (len, max) = (version.component.len, limits.component_size);
        if len > max {
            return Err(component_error(ComponentError::TooLarge { len, max }));
        }
        let file = path.clone();
        let read = move || read_component(&file, max).map_err(|error| ComponentError::Unreadable(explain(&error)));
        let loaded = Component::load(&self.sandbox, version.component.hash, read).await;
        let (component, load) = loaded.map_err(component_error)?;
        self.services.metrics.component_load(load.source.as_str(), load.elapsed);
        let begun = Instant::now();
        // Asked with the bot's limits, and with nothing of what it is granted.
        let mut bare = GuestContext::new(bot.clone(), limits.clone(), self.services.clone());
        bare.priority = version.entry.priority;
        let manifest = component.describe(bare).await.map_err(component_error)?;
        let mut context = GuestContext::new(bot.clone(), limits, self.services.clone());
        context.priority = version.entry.priority;
        context.settings = version.entry.whole_settings();
        context.secrets = version.entry.secrets.clone();
        context.reach = version.entry.reach.clone();
        context.grants = version.entry.grants.clone();
        let guest = Guest::new(component, manifest, context);
        let guest = guest.map_err(|source| LoadError::Grant { path: path.clone(), source })?;
        Ok(Loaded { guest, code: (load.source.as_str(), load.elapsed), checked: begun.elapsed() })
    }
}

/// Returns an error with its causes, on one line.
pub fn explain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
