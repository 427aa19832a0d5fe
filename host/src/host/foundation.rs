//! What everything else of a host stands on: the store, the sandbox, the generations of the configuration, and what earlier processes
//! held against components.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;

use super::{HostError, HostOptions};
use crate::bot::CondemnedList;
use crate::config::Config;
use crate::generation::Archive;
use crate::history::History;
use crate::sandbox::{CompileLimits, Sandbox, SandboxConfig};
use crate::store::engine::Engine as _;
use crate::store::observations::{Observations, Opened};
use crate::store::{Store, StoreOptions};

/// Generations of the configuration that are kept, the newest.
const GENERATIONS_KEPT: NonZeroUsize = const { NonZeroUsize::new(50).expect("it is not zero") };

/// What a host stands on.
pub(super) struct Foundation {
    pub(super) store: Store,
    pub(super) observations: Observations,
    /// How that was opened.
    pub(super) opened: Opened,
    pub(super) history: History,
    pub(super) sandbox: Sandbox,
    pub(super) archive: Archive,
    pub(super) condemned: Arc<CondemnedList>,
}

impl Foundation {
    /// Opens all of it, and finishes an edit of the configuration that was under way when the process before ended.
    pub(super) async fn lay(config: &Arc<Config>, options: &HostOptions) -> Result<Self, HostError> {
        let (config, compiler) = (Arc::clone(config), options.compiler.clone());
        let open = move || {
            let data_dir = &config.host.data_dir;
            let store = Store::open(data_dir, store_options(&config))?;
            let (observations, opened) = Observations::open(data_dir).unwrap_or_else(|error| {
                tracing::warn!(error = &error as &dyn std::error::Error, "what is observed is not kept");
                (Observations::absent(), Opened::default())
            });
            let sandbox = Sandbox::open(&SandboxConfig {
                cache_dir: data_dir.join("cache"),
                compiler,
                compile: CompileLimits::default(),
                instances: config.host.instances.map(NonZeroU32::get),
            })?;
            let archive = Archive::open(data_dir, store.blobs().clone(), GENERATIONS_KEPT)?;
            Ok::<_, HostError>((store, observations, opened, sandbox, archive))
        };
        let opened = tokio::task::spawn_blocking(open).await;
        let (store, observations, opened, sandbox, archive) = opened.expect("opening does not panic")?;
        archive.finish_edit().await?;
        let condemned = Arc::new(CondemnedList::load(store.clone()).await?);
        let history = History::new(observations.clone());
        Ok(Self { store, observations, opened, history, sandbox, archive, condemned })
    }
}

fn store_options(config: &Config) -> StoreOptions {
    let queue = &config.queue;
    StoreOptions {
        queue: queue.bounds(),
        durability: queue.durability,
        dedup_window: queue.dedup_window,
        keep: queue.keep.get(),
        dead_letters_max: queue.max_dead_letters.get(),
        on_uncertain: config.outbox.on_uncertain,
    }
}
