//! Takes events from the connectors and due timers, and puts them into the queue of each bot that is to have them. Only then
//! is the connector told that its event arrived.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::action::Priority;
use crate::connector::Arrival;
use crate::event::{Event, EventKind};
use crate::grants::{ConnectorKey, Reach};
use crate::id::BotName;
use crate::metrics::Metrics;
use crate::store::{Queue, Store};
use crate::timers::FiredTimer;

/// Who hears what. Replaced as a whole when the set of bots changes.
pub type Routes = ArcSwap<Vec<Route>>;

/// One bot that gets events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The bot.
    pub bot: BotName,
    /// The connectors it hears.
    pub reach: Reach,
    /// What goes first where not everything can.
    pub priority: Priority,
}

/// The task between connectors, timers and the queue.
pub struct Router {
    /// Who hears what.
    pub routes: Arc<Routes>,
    /// Where the queue is.
    pub store: Store,
    /// Where measurements go.
    pub metrics: Arc<Metrics>,
}

impl Router {
    /// Runs until it is cancelled. What has been taken in by then is in the queue; who waits for more is told that the host
    /// stops. A full queue holds back all connectors.
    pub async fn run(
        self,
        mut arrivals: mpsc::Receiver<Arrival>,
        mut fired: mpsc::Receiver<FiredTimer>,
        cancel: CancellationToken,
    ) {
        let run = async {
            loop {
                // Both are channels, whose `recv` is cancel safe; what was received is dealt with before the next turn.
                tokio::select! {
                    Some(arrival) = arrivals.recv() => self.take_in(arrival).await,
                    Some(timer) = fired.recv() => self.fire(timer).await,
                    else => return,
                }
            }
        };
        // Cancelled between two events, or while one waits for room: it was not taken over, and its sender learns that.
        cancel.run_until_cancelled(run).await;
    }

    async fn take_in(&self, Arrival { origin, event, taken }: Arrival) {
        self.metrics.event_taken_over(Some(&origin), event.kind.class());
        let event = Arc::new(event);
        for bot in self.listeners(&origin) {
            self.queue().append(&bot, Arc::clone(&event)).await;
        }
        // A connector that went away meanwhile has nobody to tell.
        let _ = taken.send(());
    }

    async fn fire(&self, timer: FiredTimer) {
        // The timer of a bot that is switched off or refused stays due: unanswered, it comes again.
        if !self.routes.load().iter().any(|route| route.bot == timer.bot) {
            return;
        }
        let kind = EventKind::Timer { name: timer.name, payload: timer.payload, due_at: timer.due_at };
        let event = Event::now(None, kind);
        self.metrics.event_taken_over(None, event.kind.class());
        self.queue().append(&timer.bot, Arc::new(event)).await;
        // The timers' task may be stopping; then it fires once more.
        let _ = timer.done.send(());
    }

    fn listeners(&self, origin: &ConnectorKey) -> Vec<BotName> {
        let routes = self.routes.load();
        routes.iter().filter(|route| route.reach.hears(&route.bot, origin)).map(|route| route.bot.clone()).collect()
    }

    fn queue(&self) -> &Queue {
        self.store.queue()
    }
}
