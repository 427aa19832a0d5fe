//! The composition root: binds everything in order, and stops it in the reverse order. The only file that knows everybody.
//!
//! ```text
//! start  store ► sandbox ► admin ► watcher ► bots ► router ► connectors ► timers ► ready
//! stop   intake (router, timers) ► bots finish ► outboxes empty ► connectors ► watcher ► admin ► store
//! ```

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Admin, AdminError};
use crate::alert::Alerts;
use crate::bot::BotServices;
use crate::bot::phase::{BotStatus, Phase};
use crate::config::Config;
use crate::connector::{ConnectorConfig, Link};
use crate::egress::AddressGuard;
use crate::id::ConnectorName;
use crate::metrics::Metrics;
use crate::outbox::SendTerms;
use crate::router::{Router, Routes};
use crate::sandbox::{CompileLimits, Sandbox, SandboxConfig, SandboxError, Services};
use crate::sentinel::Sentinel;
use crate::store::{OutboxSettings, QueueBounds, Store, StoreError, StoreOptions};
use crate::supervisor::{BotBoard, ConnectorServices, Connectors, LinkBoard, Loader, Supervisor, SupervisorParts};
use crate::timers::Timers;
use crate::watcher::Watcher;

/// Events on their way from connectors to the router.
const ARRIVALS_MAX: usize = 64;
/// Due timers on their way to the router.
const FIRED_MAX: usize = 16;
/// The admin socket's file in the data directory.
pub const ADMIN_SOCKET: &str = "admin.sock";

/// What a host is given beside its configuration.
#[derive(Default)]
pub struct HostOptions {
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
    /// The sandbox cannot be opened.
    #[error("cannot open the sandbox")]
    Sandbox(#[from] SandboxError),
    /// The admin side cannot listen.
    #[error("cannot open the admin side")]
    Admin(#[from] AdminError),
}

/// What a stop left undone. It is on disk, and the next start takes it up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    /// Events that were not finished in time.
    pub events: usize,
    /// Actions that were not delivered in time.
    pub actions: usize,
}

/// A host that runs. Dropped without [`Host::shutdown`], it stops at once and finishes nothing.
pub struct Host {
    store: Store,
    admin: Admin,
    bots: Arc<BotBoard>,
    links: Arc<LinkBoard>,
    metrics: Arc<Metrics>,
    alerts: Arc<Alerts>,
    drain_timeout: Duration,
    intake: CancellationToken,
    supervision: CancellationToken,
    watching: CancellationToken,
    cut_off: CancellationToken,
    router: JoinHandle<()>,
    timers: JoinHandle<()>,
    supervisor: JoinHandle<Supervisor>,
    watcher: JoinHandle<()>,
    sentinel: JoinHandle<()>,
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
        let config = Arc::new(config);
        let metrics = Arc::new(Metrics::new());
        let alerts = Arc::new(Alerts::new(Arc::clone(&metrics)));
        let (store, sandbox) = open(&config, &options).await?;
        for (bot, change, raised_at) in store.take_alerts() {
            alerts.apply(&bot, change, raised_at);
        }
        let services = Services { store: store.clone(), metrics: Arc::clone(&metrics), guard: options.guard };
        let (watching, cut_off) = (CancellationToken::new(), CancellationToken::new());
        let (mut catalogue, _, watcher) = Watcher::spawn(config.watcher(), watching.clone());
        let (arrivals, arrived) = mpsc::channel(ARRIVALS_MAX);
        let routes: Arc<Routes> = Arc::new(ArcSwap::default());
        let connectors = Connectors::new(ConnectorServices {
            store: store.clone(),
            metrics: Arc::clone(&metrics),
            arrivals,
            outbox: OutboxSettings {
                len_max: config.outbox.max_len.get() as usize,
                overflow: config.outbox.overflow,
                order: config.outbox.order,
            },
            terms: SendTerms { ttl: config.outbox.ttl, on_uncertain: config.outbox.on_uncertain },
        });
        let links = connectors.board();
        // The first catalogue knows nothing; without the second, events would pass the bots by that lie in the directory.
        // The watcher ends only when it is told to.
        let _ = catalogue.wait_for(|catalogue| catalogue.generation > 0).await;
        let mut supervisor = Supervisor::new(SupervisorParts {
            config: Arc::clone(&config),
            catalogue,
            loader: Loader { sandbox, services, limits: config.limits.clone() },
            bots: BotServices {
                store: store.clone(),
                metrics: Arc::clone(&metrics),
                alerts: Arc::clone(&alerts),
                attempts_max: config.queue.max_attempts.get(),
                cut_off: cut_off.clone(),
            },
            connectors,
            routes: Arc::clone(&routes),
        });
        let bots = supervisor.board();
        let (ready, is_ready) = watch::channel(false);
        let admin = bind_admin(
            &config,
            admin::Sources {
                metrics: Arc::clone(&metrics),
                alerts: Arc::clone(&alerts),
                bots: Arc::clone(&bots),
                connectors: Arc::clone(&links),
                store: store.clone(),
                is_ready,
            },
        )
        .await?;
        let sentinel = Sentinel { health: store.health(), alerts: Arc::clone(&alerts), metrics: Arc::clone(&metrics) };
        let sentinel = tokio::spawn(sentinel.run(watching.clone()));
        let intake = CancellationToken::new();
        let (fire, fired) = mpsc::channel(FIRED_MAX);
        let router =
            Router { routes, store: store.clone(), metrics: Arc::clone(&metrics), alerts: Arc::clone(&alerts) };
        let router = tokio::spawn(router.run(arrived, fired, intake.clone()));
        supervisor.start(options.connectors).await;
        let timers = Timers::spawn(store.clone(), fire, intake.clone());
        let supervision = CancellationToken::new();
        let supervisor = tokio::spawn({
            let supervision = supervision.clone();
            async move {
                supervisor.run(&supervision).await;
                supervisor
            }
        });
        ready.send_replace(true);
        let drain_timeout = config.host.drain_timeout;
        Ok(Self {
            store,
            admin,
            bots,
            links,
            metrics,
            alerts,
            drain_timeout,
            intake,
            supervision,
            watching,
            cut_off,
            router,
            timers,
            supervisor,
            watcher,
            sentinel,
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

    /// Returns what the host keeps.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the TCP address of the admin side, with the real port; none where it has none.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.address()
    }

    /// Returns once every connector has ended by itself, as a console does at the end of its input; never, where there is
    /// none. Cancel safe.
    pub async fn connectors_ended(&self) {
        let statuses = self.links.receivers();
        if statuses.is_empty() {
            return std::future::pending().await;
        }
        for mut status in statuses {
            // A publisher that is gone has ended as well.
            let _ = status.wait_for(|status| status.link == Link::Stopped).await;
        }
    }

    /// Stops the host: takes no further event, lets the bots finish what is queued and the outboxes deliver, for
    /// `drain_timeout` at most, then cuts off what is still at work, stops everything and waits for it.
    pub async fn shutdown(self) -> Drained {
        self.ready.send_replace(false);
        let deadline = Instant::now() + self.drain_timeout;
        self.intake.cancel();
        join("router", self.router).await;
        join("timers", self.timers).await;
        // Past the deadline what is left is counted below.
        // What waits for a bot that does not serve, and is not about to, is not waited for.
        let serving = |status: &BotStatus| matches!(status.phase, Phase::Discovered | Phase::Starting | Phase::Running);
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
        self.watching.cancel();
        join("watcher", self.watcher).await;
        join("sentinel", self.sentinel).await;
        // Joins the admin thread, which answers what it has begun.
        let admin = self.admin;
        let _ = tokio::task::spawn_blocking(move || admin.shutdown()).await;
        self.store.close().await;
        drained
    }
}

fn undone(store: &Store) -> Drained {
    Drained { events: store.queue().len(), actions: store.outbox().total() }
}

fn store_options(config: &Config) -> StoreOptions {
    let queue = &config.queue;
    StoreOptions {
        queue: QueueBounds {
            events_max: queue.max_events.get() as usize,
            bytes_max: queue.max_bytes.0,
            events_per_bot_max: queue.max_events_per_bot.get() as usize,
        },
        durability: queue.durability,
        dedup_window: queue.dedup_window,
        keep: queue.keep.get(),
        dead_letters_max: queue.max_dead_letters.get(),
        on_uncertain: config.outbox.on_uncertain,
    }
}

/// Opens what takes a while and blocks: the store and the sandbox.
async fn open(config: &Arc<Config>, options: &HostOptions) -> Result<(Store, Sandbox), HostError> {
    let config = Arc::clone(config);
    let compiler = options.compiler.clone();
    let open = move || {
        let data_dir = &config.host.data_dir;
        let store = Store::open(data_dir, store_options(&config))?;
        let sandbox = Sandbox::open(&SandboxConfig {
            cache_dir: data_dir.join("cache"),
            compiler,
            compile: CompileLimits::default(),
            instances: config.host.instances.map(NonZeroU32::get),
        })?;
        Ok((store, sandbox))
    };
    tokio::task::spawn_blocking(open).await.expect("opening does not panic")
}

async fn bind_admin(config: &Config, sources: admin::Sources) -> Result<Admin, AdminError> {
    let admin = admin::AdminConfig {
        socket: config.host.data_dir.join(ADMIN_SOCKET),
        listen: config.admin.listen,
        token: config.admin.token.clone(),
    };
    tokio::task::spawn_blocking(move || Admin::bind(admin, sources)).await.expect("binding does not panic")
}

async fn join(what: &str, task: JoinHandle<()>) {
    if let Err(error) = task.await {
        tracing::error!(what, %error, "a task ended badly");
    }
}
