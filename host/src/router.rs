//! Takes events from the connectors and due timers, and has the store keep them for each bot that is to have them. Only when they are
//! on disk is the connector told that its event arrived.
//!
//! Many are on their way to the disk at once, and stay in order: if one cannot be kept, neither can those behind it, nothing more
//! is taken in, and all of them are tried again, in order, until the store takes them.

mod injection;
mod tally;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::action::{Priority, Severity};
use crate::alert::Alerts;
use crate::backoff::Backoff;
use crate::clock::Timestamp;
use crate::connector::Arrival;
use crate::event::{Event, EventKind};
use crate::grants::{ConnectorKey, Reach};
use crate::id::BotName;
use crate::metrics::Metrics;
use crate::ping::Pings;
use crate::store::{Appended, DueTimer, NewEvent, Store, StoreError};
use crate::telemetry::Tracer;
use crate::timers::FiredTimer;

pub use self::injection::{Injected, InjectedFate, Injection, InjectionError, Injector};
pub use self::tally::{HeldBack, Intake, Tally};

/// Events on their way to the disk. More than share one transaction, so that the next can fill while one is written.
const ON_THEIR_WAY_MAX: usize = 512;
/// Waits between two tries of a store that does not take an event.
const STALL_INITIAL: Duration = Duration::from_millis(100);
const STALL_MAX: Duration = Duration::from_secs(5);
const STALL_JITTER: f64 = 0.2;
/// What the router says of itself while it rightly does nothing else.
const ROOM_WAIT: &str = "waits for room in the queue";
const STORE_WAIT: &str = "waits for a store that takes events again";
/// The alert that is up while nothing is taken in.
const STALLED: &str = "intake-stalled";

/// Who hears what. Replaced as a whole when the set of bots changes.
pub type Routes = ArcSwap<Vec<Route>>;

/// One bot that gets events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The bot.
    pub bot: BotName,
    /// The connectors it hears.
    pub reach: Reach,
    /// How urgent its events are.
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
    /// Where it is said that nothing is taken in.
    pub alerts: Arc<Alerts>,
    /// What takes down that events were taken over.
    pub tracer: Tracer,
    /// What counts what comes in.
    pub tally: Arc<Tally>,
}

/// An event that is to be kept, and who waits for that.
struct Incoming {
    event: Arc<Event>,
    origin: Option<ConnectorKey>,
    bots: Vec<(BotName, Priority)>,
    timer: Option<DueTimer>,
    taken: oneshot::Sender<()>,
}

type OnItsWay = BoxFuture<'static, (Incoming, Result<Appended, StoreError>)>;

impl Router {
    /// Runs until it is cancelled, and answers pings. What was on its way to the disk by then is waited for; who waits for more is told that the host
    /// stops. A full queue holds back all connectors.
    pub async fn run(
        self,
        mut arrivals: mpsc::Receiver<Arrival>,
        mut fired: mpsc::Receiver<FiredTimer>,
        mut pings: Pings,
        cancel: CancellationToken,
    ) {
        let mut on_their_way: FuturesOrdered<OnItsWay> = FuturesOrdered::new();
        let run = async {
            loop {
                // Channels, whose `recv` is cancel safe, and a set, whose `next` is; what was received is dealt with before the
                // next turn.
                self.tally.on_their_way(on_their_way.len());
                let has_room = on_their_way.len() < ON_THEIR_WAY_MAX;
                let incoming = tokio::select! {
                    Some(ended) = on_their_way.next() => {
                        pings.during(STORE_WAIT, self.ended(ended, &mut on_their_way)).await;
                        continue;
                    }
                    Some(ping) = pings.recv() => {
                        ping.answer("takes events in");
                        continue;
                    }
                    Some(arrival) = arrivals.recv(), if has_room => self.arrived(arrival),
                    Some(timer) = fired.recv(), if has_room => self.fired(timer),
                    else => return,
                };
                if let Some(incoming) = incoming {
                    pings.during(ROOM_WAIT, self.submit(incoming, &mut on_their_way)).await;
                }
            }
        };
        // Cancelled between two events, or while one waits for room: it was not taken over, and its sender learns that.
        cancel.run_until_cancelled(run).await;
        while let Some((incoming, result)) = on_their_way.next().await {
            if result.is_ok() {
                let _ = incoming.taken.send(());
            }
        }
    }

    /// Looks up who hears an event. Nobody: it is taken over with that.
    fn arrived(&self, Arrival { origin, event, taken }: Arrival) -> Option<Incoming> {
        self.metrics.event_taken_over(Some(&origin), event.kind.class());
        self.tally.received();
        let routes = self.routes.load();
        let hearing = routes.iter().filter(|route| route.reach.hears(&route.bot, &origin));
        let bots: Vec<_> = hearing.map(|route| (route.bot.clone(), route.priority)).collect();
        if bots.is_empty() {
            // A connector that went away meanwhile has nobody to tell.
            let _ = taken.send(());
            self.tally.unrouted();
            self.tracer.received(&event, Some(&origin), 0, false);
            return None;
        }
        Some(Incoming { event: Arc::new(event), origin: Some(origin), bots, timer: None, taken })
    }

    /// Makes an event of a timer. That of a bot that is switched off or refused stays due: unanswered, it comes again.
    fn fired(&self, FiredTimer { timer, done }: FiredTimer) -> Option<Incoming> {
        let routes = self.routes.load();
        let route = routes.iter().find(|route| route.bot == timer.bot)?;
        let (name, payload, due_at) = (timer.name.clone(), timer.payload.clone(), timer.due_at);
        let event = Event::now(None, EventKind::Timer { name, payload, due_at });
        self.metrics.event_taken_over(None, event.kind.class());
        self.tally.fired();
        let bots = vec![(route.bot.clone(), route.priority)];
        Some(Incoming { event: Arc::new(event), origin: None, bots, timer: Some(timer), taken: done })
    }

    /// Brings an event on its way, once the queue has room for it.
    async fn submit(&self, incoming: Incoming, on_their_way: &mut FuturesOrdered<OnItsWay>) {
        let new = NewEvent {
            event: Arc::clone(&incoming.event),
            origin: incoming.origin.clone(),
            bots: incoming.bots.clone(),
            timer: incoming.timer.clone(),
        };
        self.tally.waits_for_room(true);
        let submitted = self.store.submit(new).await;
        self.tally.waits_for_room(false);
        match submitted {
            Ok(appending) => on_their_way.push_back(Box::pin(async move { (incoming, appending.done().await) })),
            // The store is closed: the sender learns that the host stops.
            Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "an event was not taken over"),
        }
    }

    async fn ended(
        &self,
        (incoming, result): (Incoming, Result<Appended, StoreError>),
        on_their_way: &mut FuturesOrdered<OnItsWay>,
    ) {
        match result {
            Ok(appended) => self.taken_over(incoming, &appended),
            Err(StoreError::Stopped) => {}
            Err(error) => self.stall(incoming, error, on_their_way).await,
        }
    }

    fn taken_over(&self, incoming: Incoming, appended: &Appended) {
        if *appended != Appended::Stale {
            let is_duplicate = *appended == Appended::Duplicate;
            self.tracer.received(&incoming.event, incoming.origin.as_ref(), incoming.bots.len(), is_duplicate);
        }
        match appended {
            Appended::New { overflowing } => {
                self.tally.handed(&incoming.bots, overflowing);
                for bot in overflowing {
                    self.metrics.dead_letter(bot);
                    tracing::warn!(%bot, event = %incoming.event.id, "a dead letter: too many events of this bot wait");
                }
            }
            Appended::Duplicate => {
                self.tally.duplicate();
                self.metrics.event_duplicate(incoming.origin.as_ref());
            }
            Appended::Stale => {}
        }
        // A connector that went away meanwhile has nobody to tell.
        let _ = incoming.taken.send(());
    }

    /// Takes nothing in until the store takes what it could not keep.
    async fn stall(&self, first: Incoming, error: StoreError, on_their_way: &mut FuturesOrdered<OnItsWay>) {
        let summary = format!("no event is taken in: {error}");
        tracing::error!(error = &error as &dyn std::error::Error, "no event is taken in until the store works again");
        self.tally.stalled();
        self.alerts.raise_host(STALLED, Severity::Critical, summary, Vec::new(), Timestamp::now());
        let mut backoff = Backoff::new(STALL_INITIAL, STALL_MAX, STALL_JITTER);
        let mut left = vec![first];
        while !left.is_empty() {
            // All that were on their way when the first could not be kept come back as well.
            while let Some((incoming, result)) = on_their_way.next().await {
                match result {
                    Ok(appended) => self.taken_over(incoming, &appended),
                    Err(StoreError::Stopped) => return,
                    Err(_) => left.push(incoming),
                }
            }
            tokio::time::sleep(backoff.next(fastrand::f64())).await;
            self.store.resume_intake();
            for incoming in left.drain(..) {
                self.submit(incoming, on_their_way).await;
            }
            if let Some((incoming, result)) = on_their_way.next().await {
                match result {
                    Ok(appended) => self.taken_over(incoming, &appended),
                    Err(StoreError::Stopped) => return,
                    Err(_) => left.push(incoming),
                }
            }
        }
        self.tally.goes_on();
        tracing::info!("the store works again; events are taken in");
        self.alerts.resolve_host(STALLED, Timestamp::now());
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::ping;
    use crate::store::{QueueBounds, StoreOptions};

    /// Longer than any step takes; reached only by a failing test.
    const SOON: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_router_that_waits_for_room_says_so_to_whoever_asks_whether_it_lives() {
        let directory = tempfile::tempdir().unwrap();
        let queue = QueueBounds { events_max: 1, ..StoreOptions::default().queue };
        let store = Store::open(directory.path(), StoreOptions { queue, ..StoreOptions::default() }).unwrap();
        let route = Route { bot: "slow".parse().unwrap(), reach: Reach::all(), priority: Priority::default() };
        let metrics = Arc::<Metrics>::default();
        let router = Router {
            routes: Arc::new(Routes::from_pointee(vec![route])),
            store: store.clone(),
            alerts: Arc::new(Alerts::new(Arc::clone(&metrics))),
            metrics,
            tracer: Tracer::off(),
            tally: Arc::default(),
        };
        let (arrivals, arrived) = mpsc::channel(4);
        let (_fire, fired) = mpsc::channel(1);
        let (pinger, pings) = ping::channel();
        let cancel = CancellationToken::new();
        let task = tokio::spawn(router.run(arrived, fired, pings, cancel.clone()));
        assert_eq!(timeout(SOON, pinger.ask()).await.expect("an answer"), Some("takes events in"));
        for _ in 0..2 {
            let kind = EventKind::Custom { name: "n".into() };
            let (taken, _) = oneshot::channel();
            let origin = ConnectorKey::shared("c".parse().unwrap());
            arrivals.send(Arrival { origin, event: Event::now(None, kind), taken }).await.unwrap();
        }
        let waits = async { while pinger.ask().await != Some(ROOM_WAIT) {} };
        timeout(SOON, waits).await.expect("the second event waits for the first, and the router answers");
        cancel.cancel();
        timeout(SOON, task).await.expect("an end").unwrap();
        store.close().await;
    }
}
