//! When a host has nothing left to wait for: every connector has ended by itself; and what a stop leaves undone.

use std::future::pending;

use crate::connector::{Link, Status};
use crate::store::Store;
use crate::supervisor::{Control, LinkBoard};

/// What a stop left undone. It is on disk, and the next start takes it up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    /// Events that were not finished in time.
    pub events: usize,
    /// Actions that were not delivered in time.
    pub actions: usize,
}

/// Returns what is undone now.
pub(super) fn undone(store: &Store) -> Drained {
    Drained { events: store.queue().len(), actions: store.outbox().total() }
}

/// Returns once every connector has ended by itself; never, where there is none. Cancel safe.
pub(super) async fn connectors_ended(links: &LinkBoard, control: &Control) {
    let mut replaced = links.replaced();
    loop {
        replaced.mark_unchanged();
        let mut statuses = links.receivers();
        let all_ended = async {
            for status in &mut statuses {
                // A publisher that is gone has ended as well. Not where the platform refuses its token: another one may be
                // written while the host runs.
                let stopped = status.wait_for(|status| status.link == Link::Stopped).await.is_ok();
                // Nor one that the operator took down: it has not ended by itself, and may be brought up again.
                let is_coming =
                    |status: &Status| status.held.is_some() || matches!(status.link, Link::AuthFailed { .. });
                let comes_again = if stopped { status.borrow().held.is_some() } else { is_coming(&status.borrow()) };
                if comes_again {
                    pending::<()>().await;
                }
            }
            // Whoever restarts one has done so after this.
            let _ = control.ping().await;
        };
        tokio::select! {
            () = all_ended, if !links.receivers().is_empty() => {
                if !replaced.has_changed().unwrap_or(false) {
                    return;
                }
            }
            _ = replaced.changed() => {}
        }
    }
}
