//! Brings into force what of the configuration neither the supervisor, the monitor nor the start has in hand: the bounds of the
//! queue, the admin side's token, the channels of alerts, the probes.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::admin::TokenHandle;
use crate::alert::notifier::NotifierHandle;
use crate::config::Config;
use crate::store::Store;
use crate::vitals::Probes;

/// What follows the configuration.
pub(super) struct Live {
    /// What is in force.
    pub(super) config: watch::Receiver<Arc<Config>>,
    /// Whose queue has bounds.
    pub(super) store: Store,
    /// What lets in.
    pub(super) token: TokenHandle,
    /// Whom to tell of alerts.
    pub(super) notifier: NotifierHandle,
    /// What to probe.
    pub(super) probes: Probes,
}

impl Live {
    /// Runs until it is cancelled.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        // Cancel safe: a watch.
        while let Some(Ok(())) = cancel.run_until_cancelled(self.config.changed()).await {
            let config = Arc::clone(&self.config.borrow_and_update());
            self.store.queue().set_bounds(config.queue.bounds());
            self.token.set(config.admin.token.clone());
            self.notifier.replace(config.alerts.channels.clone());
            self.probes.replace(config.vitals.probes.clone());
        }
    }
}
