//! What everything else of a host stands on: the store, the sandbox, the generations of the configuration, and what earlier processes
//! held against components.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::Path;
use std::sync::Arc;

use super::{HostError, HostOptions};
use crate::access::Book;
use crate::action::Severity;
use crate::admin::upload::remove_leftovers;
use crate::alert::Alerts;
use crate::audit::Audit;
use crate::bot::CondemnedList;
use crate::clock::Timestamp;
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
    pub(super) access: Book,
    pub(super) audit: Audited,
}

/// The audit log, and how it was found.
pub(super) struct Audited {
    pub(super) log: Audit,
    findings: Vec<String>,
}

impl Audited {
    /// Opens it. Where it cannot be opened the host goes on, and nothing can be changed by the admin side.
    fn open(data_dir: &Path) -> Self {
        match Audit::open(data_dir) {
            Ok((log, findings)) => Self { log, findings },
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the audit log cannot be opened");
                let finding = format!("it cannot be opened, and nothing can be changed by the admin side: {error}");
                Self { log: Audit::failed(error), findings: vec![finding] }
            }
        }
    }

    /// Says what was found that is no trace of a crash.
    pub(super) fn tell(&self, alerts: &Alerts) {
        if self.findings.is_empty() {
            return;
        }
        for finding in &self.findings {
            tracing::error!(finding, "the audit log is not as it was left");
        }
        let summary = "the audit log is not as it was left: somebody may have tampered with it";
        let details = vec![("found".to_owned(), self.findings.join("; "))];
        alerts.raise_host("audit-log-found", Severity::Critical, summary, details, Timestamp::now());
    }
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
            // After the store, which has the data directory to itself.
            remove_leftovers(data_dir);
            let (access, audit) = (Book::open(data_dir)?, Audited::open(data_dir));
            Ok::<_, HostError>((store, observations, opened, sandbox, archive, access, audit))
        };
        let opened = tokio::task::spawn_blocking(open).await;
        let (store, observations, opened, sandbox, archive, access, audit) = opened.expect("opening does not panic")?;
        archive.finish_edit().await?;
        let condemned = Arc::new(CondemnedList::load(store.clone()).await?);
        let history = History::new(observations.clone());
        Ok(Self { store, observations, opened, history, sandbox, archive, condemned, access, audit })
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
