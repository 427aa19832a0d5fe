//! The composition root: binds everything in order, and stops it in the reverse order. The only file that knows everybody.
//!
//! ```text
//! start  store ► sandbox ► admin ► watcher ► bots ► router ► connectors ► timers ► ready
//! stop   intake (router, timers) ► bots finish ► outboxes empty ► connectors ► telemetry ► watcher ► admin ► store
//! ```

mod doors;
mod ended;
mod foundation;
mod live;
mod observing;
mod options;
mod runtime;
mod vital;

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::doors::{bind_admin, certificate};
pub use self::ended::Drained;
use self::ended::undone;
use self::foundation::Foundation;
use self::live::Live;
use self::observing::{Looking, Telling};
pub use self::options::{HostError, HostOptions, Instruments};
pub use self::runtime::runtime;
use self::vital::Vital;
use crate::action::Severity;
use crate::admin::{self, Admin, TlsHandle};
use crate::alert::Alerts;
use crate::audit::Audit;
use crate::bot::BotServices;
use crate::bot::phase::{BotStatus, Phase};
use crate::clock::Timestamp;
use crate::config::{Config, Follower};
use crate::egress::Doors;
use crate::history::History;
use crate::metrics::Metrics;
use crate::monitor::MonitorParts;
use crate::outbox::SendTerms;
use crate::ping;
use crate::router::{Injector, Router, Routes};
use crate::sandbox::Services;
use crate::sentinel::Sentinel;
use crate::store::Store;
use crate::supervisor::{
    BotBoard, ConnectorServices, Connectors, Control, LinkBoard, Loader, Supervisor, SupervisorParts,
};
use crate::telemetry::Telemetry;
use crate::timers::Timers;
use crate::watchdog::Running;
use crate::watcher::Watcher;

/// Events on their way from connectors to the router.
const ARRIVALS_MAX: usize = 64;
/// Due timers on their way to the router.
const FIRED_MAX: usize = 16;
/// The admin socket's file in the data directory.
pub const ADMIN_SOCKET: &str = "admin.sock";

/// A host that runs. Dropped without [`Host::shutdown`], it stops at once and finishes nothing.
pub struct Host {
    store: Store,
    telling: Telling,
    looking: Looking,
    admin: Admin,
    audit: Audit,
    certificate: Option<TlsHandle>,
    control: Control,
    bots: Arc<BotBoard>,
    links: Arc<LinkBoard>,
    metrics: Arc<Metrics>,
    alerts: Arc<Alerts>,
    config: watch::Receiver<Arc<Config>>,
    live: JoinHandle<()>,
    intake: CancellationToken,
    supervision: CancellationToken,
    watching: CancellationToken,
    cut_off: CancellationToken,
    router: JoinHandle<()>,
    timers: JoinHandle<()>,
    supervisor: JoinHandle<Supervisor>,
    watcher: JoinHandle<()>,
    following: JoinHandle<()>,
    sentinel: JoinHandle<()>,
    telemetry: Telemetry,
    watchdog: Running,
    ready: watch::Sender<bool>,
}

impl Host {
    /// Starts a host. Returns once every connector is being connected and every bot in the directory has been found; bots that
    /// still compile get their events when they are ready.
    ///
    /// # Errors
    ///
    /// [`HostError`]: nothing runs.
    pub async fn bind(config: Config, options: HostOptions) -> Result<Self, HostError> {
        let Instruments { metrics, errors } = options.instruments.clone();
        let alerts = Arc::new(Alerts::new(Arc::clone(&metrics)));
        let config = Arc::new(config);
        let Foundation { store, observations, opened, history, sandbox, archive, condemned, access, audit } =
            Foundation::lay(&config, &options).await?;
        // Before anything raises an alert, so that what was told before a restart is not told anew.
        let telling = Telling::begin(&config, &alerts, &metrics, observations, history).await;
        if let Some(aside) = opened.set_aside {
            let summary = "what was observed before could not be read: it is put aside, and its history is lost";
            let details = vec![("file".to_owned(), aside.display().to_string())];
            alerts.raise_host("observations-set-aside", Severity::Warning, summary, details, Timestamp::now());
        }
        audit.tell(&alerts);
        let audit = audit.log;
        let certificate = certificate(&config).await?;
        let telemetry = Telemetry::spawn(&config.telemetry, &metrics);
        let (in_force, config_now) = watch::channel(Arc::clone(&config));
        telling.take_up(&alerts, store.take_alerts()).await;
        metrics.instance_limit(sandbox.instances());
        let own_doors = Doors::default();
        let guard = options.guard.besides(own_doors.clone());
        let services = Services::new(store.clone(), Arc::clone(&metrics), guard);
        let (watching, cut_off) = (CancellationToken::new(), CancellationToken::new());
        let (readings, follower, following) = Follower::spawn(Arc::clone(&config), watching.clone());
        let (mut catalogue, look, watcher) = Watcher::spawn(config.watcher(), watching.clone());
        let (arrivals, arrived) = mpsc::channel(ARRIVALS_MAX);
        let routes: Arc<Routes> = Arc::new(ArcSwap::default());
        let connectors = Connectors::new(ConnectorServices {
            store: store.clone(),
            metrics: Arc::clone(&metrics),
            tracer: telemetry.tracer(),
            arrivals,
            outbox: config.outbox.settings(),
            terms: watch::Sender::new(SendTerms { ttl: config.outbox.ttl, on_uncertain: config.outbox.on_uncertain }),
            guard: services.guard.clone(),
        });
        let links = connectors.board();
        // The first catalogue knows nothing; without the second, events would pass the bots by that lie in the directory.
        // The watcher ends only when it is told to.
        let _ = catalogue.wait_for(|catalogue| catalogue.generation > 0).await;
        let mut supervisor = Supervisor::new(SupervisorParts {
            config: in_force,
            readings,
            follower,
            catalogue,
            look,
            archive: archive.clone(),
            loader: Loader { sandbox, services },
            bots: BotServices {
                store: store.clone(),
                metrics: Arc::clone(&metrics),
                alerts: Arc::clone(&alerts),
                errors: Arc::clone(&errors),
                tracer: telemetry.tracer(),
                budget: Arc::default(),
                condemned,
                news: Arc::default(),
                cut_off: cut_off.clone(),
            },
            connectors,
            routes: Arc::clone(&routes),
        });
        let (bots, control) = (supervisor.board(), supervisor.control());
        let (ready, is_ready) = watch::channel(false);
        let editor = admin::editor(archive, &*config.path, control.clone());
        let looking = Looking::begin(
            MonitorParts {
                metrics: Arc::clone(&metrics),
                alerts: Arc::clone(&alerts),
                bots: Arc::clone(&bots),
                links: Arc::clone(&links),
                store: store.clone(),
                history: telling.history().clone(),
                config: config_now.clone(),
                control: control.clone(),
                editor: editor.clone(),
            },
            &watching,
        );
        let injector = Injector {
            routes: Arc::clone(&routes),
            connectors: Arc::clone(&links),
            store: store.clone(),
            metrics: Arc::clone(&metrics),
            tracer: telemetry.tracer(),
            tally: Arc::default(),
        };
        let admin = bind_admin(
            &config,
            &own_doors,
            admin::Sources {
                metrics: Arc::clone(&metrics),
                alerts: Arc::clone(&alerts),
                bots: Arc::clone(&bots),
                connectors: Arc::clone(&links),
                store: store.clone(),
                observed: admin::Observed {
                    errors,
                    history: telling.history().clone(),
                    observations: telling.observations().clone(),
                    rules: looking.rules(),
                    notifier: telling.handle(),
                    probes: looking.probes(),
                },
                injector: injector.clone(),
                control: control.clone(),
                editor,
                access: access.clone(),
                audit: audit.clone(),
                certificate: certificate.clone(),
                logs: config.logs_dir(),
                is_ready,
            },
        )
        .await?;
        let sentinel = Sentinel { health: store.health(), alerts: Arc::clone(&alerts), metrics: Arc::clone(&metrics) };
        let sentinel = tokio::spawn(sentinel.run(watching.clone()));
        let live = Live {
            config: config_now.clone(),
            store: store.clone(),
            access,
            audit: audit.health(),
            alerts: Arc::clone(&alerts),
            notifier: telling.handle(),
            probes: looking.probes(),
        };
        let live = tokio::spawn(live.run(watching.clone()));
        let intake = CancellationToken::new();
        let (fire, fired) = mpsc::channel(FIRED_MAX);
        let router = Router {
            tally: injector.tally,
            routes,
            store: store.clone(),
            metrics: Arc::clone(&metrics),
            alerts: Arc::clone(&alerts),
            tracer: telemetry.tracer(),
        };
        let (router_pinger, pings) = ping::channel();
        let router = tokio::spawn(router.run(arrived, fired, pings, intake.clone()));
        supervisor.start(options.connectors).await;
        let (timers_pinger, pings) = ping::channel();
        let timers = Timers::spawn(store.clone(), fire, pings, intake.clone());
        let vital =
            Vital { router: router_pinger, timers: timers_pinger, supervisor: control.clone(), store: store.clone() };
        let supervision = CancellationToken::new();
        let supervisor = tokio::spawn({
            let supervision = supervision.clone();
            async move {
                supervisor.run(&supervision).await;
                supervisor
            }
        });
        let watchdog = vital.watch(Arc::clone(&alerts)).map_err(HostError::Watchdog)?;
        ready.send_replace(true);
        Ok(Self {
            store,
            telling,
            looking,
            admin,
            audit,
            certificate,
            control,
            bots,
            links,
            metrics,
            alerts,
            config: config_now,
            live,
            intake,
            supervision,
            watching,
            cut_off,
            router,
            timers,
            supervisor,
            watcher,
            following,
            sentinel,
            telemetry,
            watchdog,
            ready,
        })
    }

    /// Returns how every bot stands.
    pub fn bots(&self) -> Arc<BotBoard> {
        Arc::clone(&self.bots)
    }

    /// Returns how every connector stands.
    pub fn links(&self) -> Arc<LinkBoard> {
        Arc::clone(&self.links)
    }

    /// Returns the measurements.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Returns the alerts.
    pub fn alerts(&self) -> Arc<Alerts> {
        Arc::clone(&self.alerts)
    }

    /// Returns the configuration that is in force, to follow.
    pub fn config(&self) -> watch::Receiver<Arc<Config>> {
        self.config.clone()
    }

    /// Returns the way to ask the supervisor for something.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Returns the history of the metrics.
    pub fn history(&self) -> &History {
        self.telling.history()
    }

    /// Returns what the host keeps.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the TCP address of the admin side, with the real port; none where it has none.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.address()
    }

    /// Returns once every connector has ended by itself, as a console does at the end of its input; never, where there is
    /// none. One that is being restarted has not, nor one whose platform refuses its token. Cancel safe.
    pub async fn connectors_ended(&self) {
        ended::connectors_ended(&self.links, &self.control).await;
    }

    /// Stops the host: takes no further event, lets the bots finish what is queued and the outboxes deliver, for
    /// `drain_timeout` at most, then cuts off what is still at work, stops everything and waits for it.
    pub async fn shutdown(self) -> Drained {
        self.ready.send_replace(false);
        // From here on parts end because they are told to. It joins a thread that has nothing left to wait for.
        let watchdog = self.watchdog;
        let _ = tokio::task::spawn_blocking(move || drop(watchdog)).await;
        let deadline = Instant::now() + self.config.borrow().host.drain_timeout;
        self.intake.cancel();
        join("router", self.router).await;
        join("timers", self.timers).await;
        // Past the deadline what is left is counted below.
        // What waits for a bot that does not serve, and is not about to, is not waited for.
        let serving = |status: &BotStatus| {
            status.phase.is_serving() || matches!(status.phase, Phase::Discovered | Phase::Starting)
        };
        let serving = self.bots.statuses().into_iter().filter(serving).map(|status| status.name);
        let serving: Vec<_> = serving.collect();
        let _ = tokio::time::timeout_at(deadline, self.store.queue().drained(&serving)).await;
        self.supervision.cancel();
        let Ok(mut supervisor) = self.supervisor.await else {
            tracing::error!("the supervisor ended badly");
            return undone(&self.store);
        };
        // Cancel safe: the second call goes on where the first was given up.
        let finished = tokio::time::timeout_at(deadline, supervisor.stop_bots()).await;
        if finished.is_err() {
            tracing::warn!("bots were still at work when the drain timeout ended: their calls are cut off");
            self.cut_off.cancel();
            supervisor.stop_bots().await;
        }
        let _ = tokio::time::timeout_at(deadline, self.store.outbox().drained()).await;
        let drained = undone(&self.store);
        supervisor.stop_connectors().await;
        self.telemetry.shutdown().await;
        self.watching.cancel();
        join("watcher", self.watcher).await;
        join("follower of the configuration", self.following).await;
        join("sentinel", self.sentinel).await;
        self.looking.end().await;
        join("what follows the configuration", self.live).await;
        // Joins the admin thread, which answers what it has begun.
        let admin = self.admin;
        let _ = tokio::task::spawn_blocking(move || admin.shutdown()).await;
        // After the last who could change something.
        self.audit.close().await;
        // Last, for whatever ended badly may have raised an alert.
        self.telling.end().await;
        self.store.close().await;
        drained
    }
}

async fn join(what: &str, task: JoinHandle<()>) {
    if let Err(error) = task.await {
        tracing::error!(what, %error, "a task ended badly");
    }
}
