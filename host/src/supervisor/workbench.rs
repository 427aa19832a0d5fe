//! Bots looked at without a host: for `check` and `inspect`. Works in a scratch directory, so that it neither meets nor disturbs a
//! host that runs, and leaves nothing behind.

use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::inspector::Inspector;
use super::load::{Loader, explain};
use super::reconcile::Desired;
use super::survey::survey;
use crate::config::Config;
use crate::egress::AddressGuard;
use crate::id::{BotName, ContentHash};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::offer::{Offer, Schema};
use crate::sandbox::{
    CompileLimits, Component, ComponentError, GuestContext, GuestManifest, Sandbox, SandboxConfig, SandboxError,
    Services,
};
use crate::store::{Store, StoreError, StoreOptions};
use crate::watcher::{Catalogue, Watcher};

/// Instances that live at one moment on a workbench.
const INSTANCES: u32 = 4;

/// Why there is no workbench.
#[derive(Debug, thiserror::Error)]
pub enum WorkbenchError {
    /// Its directory cannot be made.
    #[error("cannot make the scratch directory {}", .path.display())]
    Scratch {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its store cannot be opened.
    #[error("cannot open a store for it")]
    Store(#[from] StoreError),
    /// Its sandbox cannot be opened.
    #[error("cannot open a sandbox for it")]
    Sandbox(#[from] SandboxError),
}

/// What `check` found of one bot or one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It would serve, if its `init` ends well.
    Good,
    /// Its entry says `enabled = false`; nothing else was looked at.
    Disabled,
    /// Its entry is not good, or its component is not there.
    BadEntry(String),
    /// Its component cannot serve.
    BadComponent(String),
}

/// A sandbox and all that belongs to it, in a directory that goes when this is dropped.
pub struct Workbench {
    loader: Loader,
    limits: Limits,
    // Dropped after what lies in it.
    _scratch: Scratch,
}

impl Workbench {
    /// Makes one. Blocking.
    ///
    /// # Errors
    ///
    /// [`WorkbenchError`].
    pub fn open(limits: Limits) -> Result<Self, WorkbenchError> {
        let scratch = Scratch::make()?;
        let config = SandboxConfig {
            cache_dir: scratch.0.join("cache"),
            compiler: None,
            compile: CompileLimits::default(),
            instances: Some(INSTANCES),
        };
        let sandbox = Sandbox::open(&config)?;
        let store = Store::open(&scratch.0, StoreOptions::default())?;
        let services = Services::new(store, Arc::new(Metrics::new()), AddressGuard::public_only());
        Ok(Self { loader: Loader { sandbox, services }, limits, _scratch: scratch })
    }

    /// Compiles a component and asks it what it is.
    ///
    /// # Errors
    ///
    /// [`ComponentError`]: it is no bot.
    pub async fn examine(&self, bytes: Vec<u8>) -> Result<(Arc<Component>, GuestManifest), ComponentError> {
        let Loader { sandbox, services } = &self.loader;
        let (component, _) = Component::load(sandbox, ContentHash::of(&bytes), move || Ok(bytes)).await?;
        let name: BotName = "inspected".parse().expect("it is a name");
        let manifest = component.describe(GuestContext::new(name, self.limits.clone(), services.clone())).await?;
        Ok((component, manifest))
    }
}

/// Looks at every bot of a configuration as a host would that starts now, up to but without `init`.
///
/// # Errors
///
/// [`WorkbenchError`]: nothing was looked at.
pub async fn checkup(config: &Config) -> Result<Vec<(String, Finding)>, WorkbenchError> {
    let limits = config.limits.clone();
    let bench = tokio::task::spawn_blocking(move || Workbench::open(limits)).await.expect("opening does not panic")?;
    let catalogue = look_once(config).await;
    let directory = catalogue.directory.as_ref().err().map(|problem| ("bots_dir".to_owned(), explain(problem)));
    let misnamed = catalogue.misnamed.iter().map(|(file, problem)| (file.clone(), explain(problem)));
    let mut findings: Vec<_> =
        directory.into_iter().chain(misnamed).map(|(name, reason)| (name, Finding::BadEntry(reason))).collect();
    for (name, desired) in survey(config, &catalogue).bots {
        let finding = match desired {
            Desired::Disabled { .. } => Finding::Disabled,
            Desired::Refused { reason } => Finding::BadEntry(reason),
            Desired::Run(wanted) => match bench.loader.load(&name, &wanted.version).await {
                Ok(_) => Finding::Good,
                Err(error) => Finding::BadComponent(explain(&error)),
            },
        };
        findings.push((name.to_string(), finding));
    }
    let inspector = Inspector {
        loader: bench.loader.clone(),
        config: Arc::new(config.clone()),
        catalogue,
        runtime: Handle::current(),
    };
    for (name, offer) in &config.offers {
        if let Err(reason) = offer_is_good(&inspector, &offer.value).await {
            findings
                .push((format!("offer {name}"), Finding::BadEntry(format!("{}: offer {name}: {reason}", offer.place))));
        }
    }
    Ok(findings)
}

/// Checks that an offer's component is there and could serve, and that the bot takes the settings that it begins with, but for what the
/// tenant fills in.
async fn offer_is_good(inspector: &Inspector, offer: &Offer) -> Result<(), String> {
    let shelved = inspector.components().into_iter().find(|shelved| shelved.file == offer.component.as_str());
    let component = match shelved.map(|shelved| shelved.component) {
        Some(component) => component.map_err(|problem| explain(&problem))?,
        None => return Err(format!("there is no `{}` in the bots' directory: copy it there", offer.component)),
    };
    let loaded = inspector.judge_offer(offer, component).await.map_err(|error| error.to_string())?;
    let schema = Schema::read(loaded.guest.manifest().settings_schema.as_deref());
    let given = schema.check(&offer.settings).into_iter().filter(|fault| !fault.is_missing());
    given.map(|fault| Err(fault.to_string())).next().unwrap_or(Ok(()))
}

/// Returns what lies in the bots' directory. A directory that is not there holds nothing, and is not made.
async fn look_once(config: &Config) -> Arc<Catalogue> {
    let cancel = CancellationToken::new();
    let watcher = config.watcher();
    if !watcher.dir.exists() {
        return Arc::new(Catalogue::empty());
    }
    let (mut catalogue, _, task) = Watcher::spawn(watcher, cancel.clone());
    let seen = catalogue.wait_for(|catalogue| catalogue.generation > 0).await.map(|seen| Arc::clone(&seen));
    cancel.cancel();
    if let Err(error) = task.await {
        tracing::error!(%error, "the watcher ended badly");
    }
    seen.unwrap_or_else(|_| Arc::new(Catalogue::empty()))
}

struct Scratch(PathBuf);

impl Scratch {
    fn make() -> Result<Self, WorkbenchError> {
        let path = std::env::temp_dir().join(format!("bothost-{:016x}", fastrand::u64(..)));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|source| WorkbenchError::Scratch { path: path.clone(), source })?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a scratch directory stays behind");
        }
    }
}
