//! Brings into force what of the configuration neither the supervisor, the monitor nor the start has in hand: the bounds of the
//! queue, the admin side's token, the channels of alerts, the probes.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::access::Book;
use crate::action::Severity;
use crate::alert::Alerts;
use crate::alert::notifier::NotifierHandle;
use crate::audit::Health;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::store::Store;
use crate::vitals::Probes;

/// What follows the configuration.
pub(super) struct Live {
    /// What is in force.
    pub(super) config: watch::Receiver<Arc<Config>>,
    /// Whose queue has bounds.
    pub(super) store: Store,
    /// Who is let in.
    pub(super) access: Book,
    /// How the audit log is.
    pub(super) audit: watch::Receiver<Health>,
    /// Where to say so.
    pub(super) alerts: Arc<Alerts>,
    /// Whom to tell of alerts.
    pub(super) notifier: NotifierHandle,
    /// What to probe.
    pub(super) probes: Probes,
}

impl Live {
    /// Runs until it is cancelled.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        loop {
            // Cancel safe: watches.
            tokio::select! {
                () = cancel.cancelled() => return,
                Ok(()) = self.config.changed() => self.follow(),
                Ok(()) = self.audit.changed() => self.tell(),
                else => return,
            }
        }
    }

    fn follow(&mut self) {
        let config = Arc::clone(&self.config.borrow_and_update());
        self.store.queue().set_bounds(config.queue.bounds());
        self.access.configure(config.admin.token.as_ref());
        self.notifier.replace(config.alerts.channels.clone());
        self.probes.replace(config.vitals.probes.clone());
    }

    fn tell(&mut self) {
        const KEY: &str = "audit-log";
        match self.audit.borrow_and_update().clone() {
            Health::Well => self.alerts.resolve_host(KEY, Timestamp::now()),
            Health::Unwell { reason, lost } => {
                let summary = "the audit log cannot be written: nothing may be changed by the admin side until it can";
                let details = vec![("reason".to_owned(), reason), ("records lost".to_owned(), lost.to_string())];
                self.alerts.raise_host(KEY, Severity::Critical, summary, details, Timestamp::now());
            }
        }
    }
}
