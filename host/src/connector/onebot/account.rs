//! What all sockets of one QQ account share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::backlog::Backlog;
use super::calls::Caller;
use crate::connector::Signs;
use crate::connector::link::Reconnect;
use crate::id::ConnectorName;

/// One QQ account: a connector has one.
pub(super) struct Account {
    name: ConnectorName,
    link: Mutex<Reconnect>,
    /// Told of every frame that comes.
    pub(super) signs: Signs,
    /// See [`super::OneBotConfig::stall_timeout`].
    pub(super) stall_timeout: Duration,
    /// Events on their way to the host.
    pub(super) backlog: Backlog,
    /// The way to the implementation's API.
    pub(super) caller: Caller,
    /// The implementation says that QQ has the account logged in.
    online: AtomicBool,
}

impl Account {
    pub(super) fn new(name: ConnectorName, link: Reconnect, signs: Signs, stall_timeout: Duration) -> Self {
        Self {
            name,
            link: Mutex::new(link),
            signs,
            stall_timeout,
            backlog: Backlog::default(),
            caller: Caller::default(),
            online: AtomicBool::new(true),
        }
    }

    pub(super) fn name(&self) -> &ConnectorName {
        &self.name
    }

    pub(super) fn link(&self) -> MutexGuard<'_, Reconnect> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether sends have a chance.
    pub(super) fn is_online(&self) -> bool {
        self.online.load(Ordering::Relaxed)
    }

    /// Notes what a heartbeat says of the account, and publishes a change.
    pub(super) fn set_online(&self, online: bool, next_heartbeat: Duration) {
        if self.online.swap(online, Ordering::Relaxed) == online {
            return;
        }
        if online {
            tracing::info!(connector = %self.name, "the QQ account is back");
            self.link().connected();
        } else {
            tracing::warn!(connector = %self.name, "the implementation says that the QQ account is offline");
            self.link().failed_for("the implementation is connected, but its QQ account is offline", next_heartbeat);
        }
    }

    /// Forgets what the heartbeats of an ended socket said; the next one will say it again.
    pub(super) fn forget_offline(&self) {
        self.online.store(true, Ordering::Relaxed);
    }
}
