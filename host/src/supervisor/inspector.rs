//! Components judged before they serve anybody: what they say of themselves, who would use them, whether they could. Works on what is in
//! force at one moment, and changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::Supervisor;
use super::load::{LoadError, Loaded, Loader, Version};
use super::reconcile::Desired;
use super::survey::survey;
use crate::bot::manifest::{BotEntry, ComponentName};
use crate::config::Config;
use crate::id::{BotName, ContentHash};
use crate::offer::Offer;
use crate::sandbox::{Component, GuestContext, GuestManifest};
use crate::watcher::{Catalogue, ComponentFile, FileProblem, read_component};

/// Judges components. Cheap to clone.
#[derive(Clone)]
pub struct Inspector {
    pub(super) loader: Loader,
    pub(super) config: Arc<Config>,
    pub(super) catalogue: Arc<Catalogue>,
    /// Where guests run: not on the thread of whoever asks.
    pub(super) runtime: Handle,
}

/// A component that could serve everybody who uses it.
#[derive(Debug, Clone)]
pub struct Judged {
    /// What it says of itself.
    pub manifest: Arc<GuestManifest>,
    /// The names of what it imports.
    pub imports: Vec<String>,
    /// The bots that it would serve; where nobody's entry names it, the one of its name.
    pub users: Vec<BotName>,
}

/// A component in the bots' directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shelved {
    /// Its file.
    pub file: String,
    /// It, or why it is of no use.
    pub component: Result<ComponentFile, FileProblem>,
    /// The bots that use it, be they switched on or not.
    pub bots: Vec<BotName>,
    /// The offers that name it.
    pub offers: Vec<String>,
}

/// Why a component was not judged.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// It could not serve.
    #[error("{0}")]
    Bad(String),
    /// There is no such component.
    #[error("there is no component `{0}`")]
    Absent(ComponentName),
    /// The host is stopping.
    #[error("the host is stopping")]
    Stopping,
}

impl Inspector {
    /// Returns where the host keeps its own files.
    pub fn data_dir(&self) -> PathBuf {
        self.config.host.data_dir.clone()
    }

    /// Returns the configuration that is in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the largest component that some bot, or one without an entry, may have.
    pub fn component_bytes_max(&self) -> u64 {
        let entries = survey(&self.config, &self.catalogue).bots.into_values();
        let of_bots = entries.filter_map(|desired| match desired {
            Desired::Run(wanted) => Some(wanted.version.limits.component_size),
            _ => None,
        });
        let of_offers =
            self.config.offers.values().map(|offer| offer.value.limits.apply(&self.config.limits).component_size);
        of_bots.chain(of_offers).fold(self.config.limits.component_size, u64::max)
    }

    /// Returns what lies in the bots' directory.
    pub fn components(&self) -> Vec<Shelved> {
        let mut users: BTreeMap<String, BTreeSet<BotName>> = BTreeMap::new();
        for (name, component) in self.entries() {
            users.entry(component.to_string()).or_default().insert(name);
        }
        let of_bot = |(name, files): (&BotName, &crate::watcher::BotFiles)| {
            let component = files.component.clone()?;
            let file = ComponentName::of(name).to_string();
            let bots = users.get(&file).into_iter().flatten().cloned().collect();
            let named = self.config.offers.iter().filter(|(_, offer)| offer.value.component.as_str() == file);
            Some(Shelved { component, bots, offers: named.map(|(offer, _)| offer.to_string()).collect(), file })
        };
        self.catalogue.files.iter().filter_map(of_bot).collect()
    }

    /// Returns every bot with the component that its entry names.
    fn entries(&self) -> Vec<(BotName, ComponentName)> {
        let used = |(name, desired): (BotName, Desired<super::survey::Wanted>)| match desired {
            Desired::Run(wanted) => Some((name, wanted.version.entry.component.clone())),
            // Read as far as it goes: one that is switched off needs its component all the same.
            Desired::Disabled { text: Some(text) } => {
                let path = self.config.host.bots_dir.join(format!("{name}.toml"));
                let file = self.config.parse_bot(&name, &text, &path).ok()?;
                Some((name, file.entry.value.component))
            }
            Desired::Disabled { text: None } | Desired::Refused { .. } => {
                let entry = self.config.bots.get(&name).map(|entry| entry.value.component.clone());
                Some((name.clone(), entry.unwrap_or_else(|| ComponentName::of(&name))))
            }
        };
        survey(&self.config, &self.catalogue).bots.into_iter().filter_map(used).collect()
    }

    /// Judges a component as what those get who rent it by an offer.
    ///
    /// # Errors
    ///
    /// [`InspectError`].
    pub(super) async fn judge_offer(&self, offer: &Offer, component: ComponentFile) -> Result<Loaded, InspectError> {
        let bot = stand_in("");
        self.loader.load(&bot, &self.offered(&bot, offer, component)).await.map_err(bad)
    }

    /// Judges content for a file by the same gate as the directory's: for each bot that would be served by it, with what that one is
    /// granted. A bot's `init` is not called.
    ///
    /// # Errors
    ///
    /// [`InspectError`].
    pub async fn judge(&self, file: &ComponentName, component: ComponentFile) -> Result<Judged, InspectError> {
        let (own, file) = (self.clone(), file.clone());
        let judged = self.runtime.spawn(async move { own.judge_here(&file, component).await });
        judged.await.map_err(|_| InspectError::Stopping)?
    }

    async fn judge_here(&self, file: &ComponentName, component: ComponentFile) -> Result<Judged, InspectError> {
        let mut versions = Vec::new();
        for (name, desired) in survey(&self.config, &self.catalogue).bots {
            if let Desired::Run(wanted) = desired
                && wanted.version.entry.component == *file
            {
                versions.push((name, Version { component: component.clone(), ..wanted.version }));
            }
        }
        for (name, offer) in self.config.offers.iter().filter(|(_, offer)| offer.value.component == *file) {
            let bot = stand_in(name.as_str());
            versions.push((bot.clone(), self.offered(&bot, &offer.value, component.clone())));
        }
        if versions.is_empty() {
            let stem = file.as_str().trim_end_matches(".wasm");
            let name: BotName = stem.parse().map_err(|error| InspectError::Bad(format!("{error}")))?;
            let (entry, limits) = (Arc::new(BotEntry::of(&name)), self.config.limits.clone());
            versions.push((name, Version { component, entry, limits }));
        }
        let (mut users, mut first) = (Vec::new(), None);
        for (name, version) in versions {
            let loaded = self.loader.load(&name, &version).await.map_err(bad)?;
            first.get_or_insert((Arc::clone(loaded.guest.manifest()), loaded.guest.hash()));
            users.push(name);
        }
        let Some((manifest, hash)) = first else { return Err(InspectError::Absent(file.clone())) };
        let imports = self.imports(hash).await;
        users.retain(|name| !name.as_str().starts_with(OFFERED));
        Ok(Judged { manifest, imports, users })
    }

    fn offered(&self, bot: &BotName, offer: &Offer, component: ComponentFile) -> Version {
        let mut entry = BotEntry::of(bot);
        (entry.grants, entry.limits, entry.priority) = (offer.grants.clone(), offer.limits.clone(), offer.priority);
        let limits = entry.limits_over(&self.config.limits);
        Version { component, entry: Arc::new(entry), limits }
    }

    async fn imports(&self, hash: ContentHash) -> Vec<String> {
        let absent = || Err(crate::sandbox::ComponentError::Changed);
        let loaded = Component::load(&self.loader.sandbox, hash, absent).await;
        loaded.map(|(component, _)| component.imports().to_vec()).unwrap_or_default()
    }

    /// Returns what lies in the directory under a component's name, by its hash.
    pub fn content(&self, file: &ComponentName) -> Option<ContentHash> {
        let stem: BotName = file.as_str().strip_suffix(".wasm")?.parse().ok()?;
        Some(self.catalogue.files.get(&stem)?.component.as_ref()?.as_ref().ok()?.hash)
    }

    /// Returns what a component of the directory says of itself.
    ///
    /// # Errors
    ///
    /// [`InspectError`].
    pub async fn describe(&self, file: &ComponentName) -> Result<GuestManifest, InspectError> {
        let stem: Option<BotName> = file.as_str().strip_suffix(".wasm").and_then(|stem| stem.parse().ok());
        let there = stem.and_then(|stem| self.catalogue.files.get(&stem)?.component.clone());
        let component = match there {
            Some(Ok(component)) => component,
            Some(Err(problem)) => return Err(InspectError::Bad(problem.to_string())),
            None => return Err(InspectError::Absent(file.clone())),
        };
        let (loader, limits) = (self.loader.clone(), self.config.limits.clone());
        let described = self.runtime.spawn(async move {
            let (path, max) = (component.path, limits.component_size);
            let read = move || {
                read_component(&path, max)
                    .map_err(|error| crate::sandbox::ComponentError::Unreadable(error.to_string()))
            };
            let (code, _) = Component::load(&loader.sandbox, component.hash, read).await?;
            let bare = GuestContext::new(stand_in(""), limits, loader.services.clone());
            code.describe(bare).await
        });
        let described = described.await.map_err(|_| InspectError::Stopping)?;
        described.map_err(|error| InspectError::Bad(super::load::explain(&error)))
    }
}

/// Says what is wrong without the path, which may be of a copy that nobody knows.
fn bad(error: LoadError) -> InspectError {
    let cause = std::error::Error::source(&error);
    InspectError::Bad(cause.map_or_else(|| error.to_string(), super::load::explain))
}

impl Supervisor {
    /// Returns what judges components, by what is in force now.
    pub(super) fn inspector(&self) -> Inspector {
        Inspector {
            loader: self.parts.loader.clone(),
            config: self.config(),
            catalogue: Arc::clone(&self.parts.catalogue.borrow()),
            runtime: Handle::current(),
        }
    }
}

/// What the names of bots begin with that stand in for those that an offer may come to have.
const OFFERED: &str = "0offered-";

fn stand_in(offer: &str) -> BotName {
    let name = format!("{OFFERED}{offer}");
    let cut = &name[..name.len().min(crate::id::NAME_BYTES_MAX)];
    cut.parse().expect("it is made of a name")
}
