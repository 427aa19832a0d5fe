//! What a host is given beside its configuration, and why it may not start.

use std::path::PathBuf;
use std::sync::Arc;

use crate::access::AccessError;
use crate::admin::AdminError;
use crate::connector::ConnectorConfig;
use crate::egress::AddressGuard;
use crate::errors::Errors;
use crate::generation::GenerationError;
use crate::id::ConnectorName;
use crate::metrics::Metrics;
use crate::sandbox::SandboxError;
use crate::store::StoreError;

/// What is counted and what goes wrong, from before a host is there: its log is set up first.
#[derive(Debug, Clone)]
pub struct Instruments {
    /// What is counted and measured.
    pub metrics: Arc<Metrics>,
    /// What goes wrong.
    pub errors: Arc<Errors>,
}

impl Default for Instruments {
    fn default() -> Self {
        let metrics = Arc::new(Metrics::new());
        let errors = Arc::new(Errors::new(Arc::clone(&metrics)));
        Self { metrics, errors }
    }
}

/// What a host is given beside its configuration.
#[derive(Default)]
pub struct HostOptions {
    /// What is counted and what goes wrong.
    pub instruments: Instruments,
    /// The program whose `compile` verb compiles components. None: this program.
    pub compiler: Option<PathBuf>,
    /// Which addresses guests may reach.
    pub guard: AddressGuard,
    /// Connectors made by the caller.
    pub connectors: Vec<(ConnectorName, ConnectorConfig)>,
}

/// Why a host cannot start.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The store cannot be opened.
    #[error("cannot open the store")]
    Store(#[from] StoreError),
    /// The generations of the configuration cannot be opened.
    #[error("cannot open the generations of the configuration")]
    Generation(#[from] GenerationError),
    /// The accounts and tokens cannot be read.
    #[error("cannot read who may be let in")]
    Access(#[from] AccessError),
    /// The sandbox cannot be opened.
    #[error("cannot open the sandbox")]
    Sandbox(#[from] SandboxError),
    /// The admin side cannot listen.
    #[error("cannot open the admin side")]
    Admin(#[from] AdminError),
    /// The watchdog's thread cannot be had.
    #[error("cannot start the watchdog")]
    Watchdog(#[source] std::io::Error),
}
