//! The parts that a host cannot do without, and how each is asked whether it gets on. What is made of the answers is the
//! watchdog's.

use std::io;
use std::sync::Arc;

use crate::alert::Alerts;
use crate::ping::Pinger;
use crate::store::Store;
use crate::supervisor::Control;
use crate::systemd;
use crate::watchdog::{ASK_EVERY, Beat, Part, Running, Watchdog};

/// The ways to the parts.
pub(super) struct Vital {
    pub(super) router: Pinger,
    pub(super) timers: Pinger,
    pub(super) supervisor: Control,
    pub(super) store: Store,
}

impl Vital {
    /// Watches over the parts, and passes on to the service manager that they live: at least twice in the time that it waits.
    /// Must be called on the runtime that is one of them.
    pub(super) fn watch(self, alerts: Arc<Alerts>) -> io::Result<Running> {
        let every = systemd::watchdog_timeout().map_or(ASK_EVERY, |timeout| ASK_EVERY.min(timeout / 2));
        let mut was_silent = false;
        let beat = move |beat: Beat<'_>| match beat {
            Beat::Alive => {
                systemd::alive();
                if std::mem::take(&mut was_silent) {
                    systemd::status("ready");
                }
            }
            Beat::Silent(summary) => {
                was_silent = true;
                systemd::status(summary);
            }
        };
        Watchdog { parts: self.parts(), every, alerts, beat }.spawn()
    }

    fn parts(self) -> Vec<Part> {
        let Self { router, timers, supervisor, store } = self;
        let runtime = tokio::runtime::Handle::current();
        vec![
            Part::new("runtime", move || {
                let turn = runtime.spawn(async {});
                async move { turn.await.ok().map(|()| "runs tasks") }
            }),
            Part::task("router", router),
            Part::new("supervisor", move || {
                let supervisor = supervisor.clone();
                async move { supervisor.ping().await.ok().map(|()| "keeps bots and connectors") }
            }),
            Part::new("store", move || {
                let store = store.clone();
                async move { store.ping().await.ok().map(|()| "takes requests") }
            }),
            Part::task("timers", timers),
        ]
    }
}
