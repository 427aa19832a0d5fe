//! Keeps the bots and connectors that run equal to those that the configuration and the directory ask for. Owns both sets; the
//! decisions are in `reconcile`, the loading in `load`.

mod connectors;
mod load;
mod reconcile;
mod survey;
mod workbench;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

pub use self::connectors::{ConnectorServices, Connectors, LinkBoard};
pub use self::load::{Loader, Version};
use self::reconcile::{Desired, Step};
pub use self::workbench::{Finding, Workbench, WorkbenchError, checkup};
use crate::action::Priority;
use crate::board::Board;
use crate::bot::phase::BotStatus;
use crate::bot::{Bot, BotServices};
use crate::config::Config;
use crate::connector::ConnectorConfig;
use crate::grants::{ConnectorKey, Reach};
use crate::id::{BotName, ConnectorName};
use crate::router::{Route, Routes};
use crate::sandbox::{Guest, StartReason};
use crate::watcher::Catalogue;

/// The status of every bot.
pub type BotBoard = Board<BotName, BotStatus>;

/// What the supervisor works with.
pub struct SupervisorParts {
    /// Which bots and connectors there should be.
    pub config: Arc<Config>,
    /// Which files there are.
    pub catalogue: watch::Receiver<Arc<Catalogue>>,
    /// Turns a version into a guest.
    pub loader: Loader,
    /// What bots are given.
    pub bots: BotServices,
    /// The connectors that run.
    pub connectors: Connectors,
    /// Who hears what: written here, read by the router.
    pub routes: Arc<Routes>,
}

/// The task that owns the bots and the connectors.
pub struct Supervisor {
    parts: SupervisorParts,
    desired: BTreeMap<BotName, Desired<Version>>,
    running: BTreeMap<BotName, Running>,
    board: Arc<BotBoard>,
    loads: JoinSet<Loaded>,
    /// Bots that are gone and finish what they had begun.
    stopping: JoinSet<BotName>,
    loads_begun: u64,
}

struct Running {
    bot: Bot,
    reach: Reach,
    priority: Priority,
    own: BTreeMap<ConnectorName, ConnectorConfig>,
    /// The load whose result counts; older ones were overtaken.
    load: Option<u64>,
    /// It was given a version, so that its events are worth keeping.
    has_version: bool,
}

struct Loaded {
    name: BotName,
    number: u64,
    result: Result<Arc<Guest>, String>,
}

impl Supervisor {
    /// Returns the supervisor of nothing yet.
    pub fn new(parts: SupervisorParts) -> Self {
        Self {
            parts,
            desired: BTreeMap::new(),
            running: BTreeMap::new(),
            board: Arc::default(),
            loads: JoinSet::new(),
            stopping: JoinSet::new(),
            loads_begun: 0,
        }
    }

    /// Returns where everybody can read how the bots stand.
    pub fn board(&self) -> Arc<BotBoard> {
        Arc::clone(&self.board)
    }

    /// Brings up what the configuration and the first catalogue ask for. Returns once every bot has its task and its route, so
    /// that no event that comes from now on passes a bot by; their components may still be compiling. `others` are connectors
    /// beside the configured ones.
    pub async fn start(&mut self, others: Vec<(ConnectorName, ConnectorConfig)>) {
        self.reconcile().await;
        let configured = self.parts.config.connectors.clone();
        let configured = configured.into_iter().map(|(name, config)| (name, config.value));
        for (name, connector) in configured.chain(others) {
            self.parts.connectors.start(ConnectorKey::shared(name), connector).await;
        }
    }

    /// Follows the catalogue until it is cancelled; then returns, with everything still running.
    pub async fn run(&mut self, cancel: &CancellationToken) {
        loop {
            // Cancel safe: a watch channel's `changed`, and the sets' `join_next`.
            tokio::select! {
                () = cancel.cancelled() => return,
                Ok(()) = self.parts.catalogue.changed() => self.reconcile().await,
                Some(loaded) = self.loads.join_next() => self.loaded(loaded).await,
                Some(stopped) = self.stopping.join_next() => self.stopped(stopped).await,
                else => return cancel.cancelled().await,
            }
        }
    }

    /// Stops all bots: they finish what they have begun, until they are cut off. Connectors go on delivering. Cancel safe:
    /// called again, it goes on waiting.
    pub async fn stop_bots(&mut self) {
        self.loads.shutdown().await;
        while let Some((name, running)) = self.running.pop_first() {
            self.stop(name, running.bot);
        }
        while self.stopping.join_next().await.is_some() {}
    }

    /// Stops all connectors.
    pub async fn stop_connectors(&mut self) {
        self.parts.connectors.stop_all().await;
    }

    async fn reconcile(&mut self) {
        let catalogue = Arc::clone(&self.parts.catalogue.borrow_and_update());
        report_directory(&catalogue);
        let now = survey::survey(&self.parts.config, &catalogue);
        for (name, step) in reconcile::steps(&self.desired, &now) {
            self.take_step(name, step).await;
        }
        self.desired = now;
        self.publish();
    }

    async fn take_step(&mut self, name: BotName, step: Step<Version>) {
        match step {
            Step::Load(version) => self.load(name, version).await,
            Step::Disable => {
                self.bot(&name).bot.disable().await;
                let running = self.bot(&name);
                (running.load, running.has_version) = (None, false);
                self.set_own_connectors(&name, BTreeMap::new()).await;
            }
            Step::Refuse(reason) => {
                let running = self.bot(&name);
                running.load = None;
                running.bot.refuse(reason).await;
            }
            Step::Remove => {
                self.set_own_connectors(&name, BTreeMap::new()).await;
                if let Some(running) = self.running.remove(&name) {
                    tracing::info!(bot = %name, "the bot is gone");
                    self.stop(name, running.bot);
                }
            }
        }
    }

    async fn load(&mut self, name: BotName, version: Version) {
        self.loads_begun += 1;
        let number = self.loads_begun;
        let running = self.bot(&name);
        running.load = Some(number);
        running.reach = version.entry.reach.clone();
        running.priority = version.entry.priority;
        // Before its own connectors start: what they bring is confirmed to the platform, so somebody has to hear it.
        self.publish();
        let own = version.own.clone();
        self.set_own_connectors(&name, own).await;
        let loader = self.parts.loader.clone();
        self.loads.spawn(async move {
            let result = loader.load(&name, &version).await;
            Loaded { name, number, result: result.map(Arc::new).map_err(|error| load::explain(&error)) }
        });
    }

    async fn loaded(&mut self, loaded: Result<Loaded, JoinError>) {
        let Loaded { name, number, result } = match loaded {
            Ok(loaded) => loaded,
            Err(error) => return tracing::error!(%error, "loading a component ended badly"),
        };
        let Some(running) = self.running.get_mut(&name).filter(|running| running.load == Some(number)) else { return };
        running.load = None;
        match result {
            Ok(guest) => {
                let reason = if running.has_version { StartReason::Reloaded } else { StartReason::Started };
                running.has_version = true;
                running.bot.serve(guest, reason).await;
            }
            Err(reason) => running.bot.refuse(reason).await,
        }
        self.publish();
    }

    /// Returns a bot; one that was not there begins.
    fn bot(&mut self, name: &BotName) -> &mut Running {
        let services = &self.parts.bots;
        self.running.entry(name.clone()).or_insert_with(|| Running {
            bot: Bot::spawn(name.clone(), services.clone()),
            reach: Reach::all(),
            priority: Priority::default(),
            own: BTreeMap::new(),
            load: None,
            has_version: false,
        })
    }

    /// Starts, restarts and removes a bot's own connectors; those that did not change stay as they are.
    async fn set_own_connectors(&mut self, name: &BotName, wanted: BTreeMap<ConnectorName, ConnectorConfig>) {
        let had = self.running.get_mut(name).map(|running| std::mem::take(&mut running.own)).unwrap_or_default();
        let key = |connector: &ConnectorName| ConnectorKey { owner: Some(name.clone()), name: connector.clone() };
        for connector in had.keys().filter(|connector| !wanted.contains_key(*connector)) {
            self.parts.connectors.remove(&key(connector)).await;
        }
        for (connector, config) in wanted.iter().filter(|(connector, config)| had.get(*connector) != Some(*config)) {
            self.parts.connectors.start(key(connector), config.clone()).await;
        }
        if !wanted.is_empty() {
            self.bot(name).own = wanted;
        }
    }

    fn stop(&mut self, name: BotName, bot: Bot) {
        self.stopping.spawn(async move {
            bot.stop().await;
            name
        });
    }

    async fn stopped(&mut self, stopped: Result<BotName, JoinError>) {
        let name = match stopped {
            Ok(name) => name,
            Err(error) => return tracing::error!(%error, "stopping a bot ended badly"),
        };
        // Dropped again in no time, it is another bot's queue by now.
        if self.running.contains_key(&name) {
            return;
        }
        match self.parts.bots.store.forget_bot(&name).await {
            Ok(0) => {}
            Ok(dead) => tracing::warn!(bot = %name, dead, "events became dead letters: their bot was removed"),
            Err(error) => {
                tracing::error!(bot = %name, error = &error as &dyn std::error::Error, "the events of a removed bot still wait");
            }
        }
        self.parts.bots.metrics.forget_bot(&name);
        self.parts.bots.alerts.forget_bot(&name);
    }

    /// Publishes who there is and who hears what. A bot that was never more than refused or disabled hears nothing.
    fn publish(&self) {
        let board = self.running.iter().map(|(name, running)| (name.clone(), running.bot.status())).collect();
        self.board.replace(board);
        let hears = |running: &&Running| running.has_version || running.load.is_some();
        let route = |(name, running): (&BotName, &Running)| Route {
            bot: name.clone(),
            reach: running.reach.clone(),
            priority: running.priority,
        };
        let routes = self.running.iter().filter(|(_, running)| hears(running)).map(route).collect();
        self.parts.routes.store(Arc::new(routes));
    }
}

/// Says what is wrong with the directory as a whole. Bots that run keep running.
fn report_directory(catalogue: &Catalogue) {
    if let Err(problem) = &catalogue.directory {
        tracing::error!(problem = load::explain(problem), "the bots' directory cannot be used");
    }
    for problem in catalogue.misnamed.values() {
        tracing::warn!(problem = load::explain(problem), "a file in the bots' directory is left out");
    }
}
