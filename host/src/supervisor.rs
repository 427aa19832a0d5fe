//! Keeps the bots and connectors that run equal to those that the configuration and the directory ask for, while both change. Owns
//! both sets. Decisions are in `reconcile` and `guard`, reading what is asked for in `survey`, loading in `load`; what becomes of
//! one bot that fails is its own life's (`bot`).

mod chronicle;
mod connectors;
mod control;
mod guard;
mod inspector;
mod load;
mod reconcile;
mod reload;
mod settings;
mod survey;
mod versions;
mod workbench;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::chronicle::Chronicle;
use self::connectors::AddressOf;
pub use self::connectors::{ConnectorServices, Connectors, LinkBoard};
use self::control::Request;
pub use self::control::{BotVerb, ConnectorVerb, Control, ControlError, ReloadReport, ReloadStep};
use self::guard::Guard;
pub use self::inspector::{InspectError, Inspector, Judged, Shelved};
use self::load::explain;
pub use self::load::{Loaded, Loader, Version};
use self::reconcile::{Desired, Step};
use self::reload::Reloads;
use self::survey::{Survey, Wanted};
use self::versions::LoadEnded;
pub use self::workbench::{Finding, Workbench, WorkbenchError, checkup};
use crate::action::Priority;
use crate::board::Board;
use crate::bot::phase::BotStatus;
use crate::bot::{Bot, BotPolicy, BotServices};
use crate::config::{Config, Follower, Reading};
use crate::connector::ConnectorConfig;
use crate::generation::Archive;
use crate::grants::{ConnectorKey, Reach};
use crate::id::{BotName, ConnectorName, TenantName};
use crate::router::{Route, Routes};
use crate::watcher::{Catalogue, Lookout};

/// The status of every bot.
pub type BotBoard = Board<BotName, BotStatus>;

/// What the supervisor works with.
pub struct SupervisorParts {
    /// The configuration that is in force at the start, and from then on what is: written here, read by everybody else.
    pub config: watch::Sender<Arc<Config>>,
    /// What the configuration file comes to.
    pub readings: watch::Receiver<Arc<Reading>>,
    /// Has it read now.
    pub follower: Follower,
    /// Which files there are.
    pub catalogue: watch::Receiver<Arc<Catalogue>>,
    /// Has them looked at now.
    pub look: Lookout,
    /// Where generations are kept.
    pub archive: Archive,
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
    control: Control,
    requests: mpsc::Receiver<Request>,
    desired: BTreeMap<BotName, Desired<Wanted>>,
    /// Whom each bot belongs to, as its entry said when it could be read last.
    tenants: BTreeMap<BotName, TenantName>,
    /// Connectors that every bot may use, as configured.
    shared: BTreeMap<ConnectorName, ConnectorConfig>,
    running: BTreeMap<BotName, Running>,
    board: Arc<BotBoard>,
    loads: JoinSet<LoadEnded>,
    /// Bots that are gone and finish what they had begun.
    stopping: JoinSet<BotName>,
    /// Versions that were asked for or refused so far: the number of the newest.
    newest: u64,
    guard: Guard,
    /// When a removal that is held back is judged again.
    judged_at: Option<Instant>,
    /// Until when a configuration file without anything in it does not count.
    blank_until: Option<Instant>,
    chronicle: Chronicle,
    reloads: Reloads,
    /// What takes effect at the next start only.
    needs_restart: Vec<String>,
    /// Why the configuration file is not in force.
    rejected: Option<String>,
}

struct Running {
    bot: Bot,
    policy: BotPolicy,
    reach: Reach,
    priority: Priority,
    own: BTreeMap<ConnectorName, ConnectorConfig>,
    /// What it was asked to run last.
    wanted: Option<Wanted>,
    /// What it was given and may still run, by number.
    given: BTreeMap<u64, Wanted>,
    /// The newest version that it was given, or told of.
    told: u64,
    /// Loads of it that are under way, by number.
    loading: BTreeSet<u64>,
    /// Older loads that end do not count.
    floor: u64,
    /// It was given a version, so that its events are worth keeping.
    has_version: bool,
}

impl Running {
    /// Returns what the bot runs, or did last.
    fn serving(&self) -> Option<&Wanted> {
        let edition = self.bot.status().borrow().edition;
        self.given.get(&edition)
    }
}

impl Supervisor {
    /// Returns the supervisor of nothing yet.
    pub fn new(parts: SupervisorParts) -> Self {
        let (control, requests) = Control::new();
        Self {
            control,
            requests,
            desired: BTreeMap::new(),
            tenants: BTreeMap::new(),
            shared: BTreeMap::new(),
            running: BTreeMap::new(),
            board: Arc::default(),
            loads: JoinSet::new(),
            stopping: JoinSet::new(),
            newest: 0,
            guard: Guard::default(),
            judged_at: None,
            blank_until: None,
            chronicle: Chronicle::new(parts.archive.clone()),
            reloads: Reloads::default(),
            needs_restart: Vec::new(),
            rejected: None,
            parts,
        }
    }

    /// Returns the way to ask it for something.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Returns where everybody can read how the bots stand.
    pub fn board(&self) -> Arc<BotBoard> {
        Arc::clone(&self.board)
    }

    /// Brings up what the configuration and the first catalogue ask for. Returns once every bot has its task and its route, so
    /// that no event that comes from now on passes a bot by; their components may still be compiling. `others` are connectors
    /// beside the configured ones.
    pub async fn start(&mut self, others: Vec<(ConnectorName, ConnectorConfig)>) {
        self.reconcile(true).await;
        for (name, connector) in others {
            self.parts.connectors.start(ConnectorKey::shared(name), connector, AddressOf::Operator).await;
        }
    }

    /// Follows the configuration, the catalogue and the operator until it is cancelled; then returns, with everything still
    /// running.
    pub async fn run(&mut self, cancel: &CancellationToken) {
        let news = Arc::clone(&self.parts.bots.news);
        loop {
            self.look_back().await;
            // Cancel safe: watch channels' `changed`, a channel's `recv`, the sets' `join_next`, a `Notify` that keeps one
            // notification, and a sleep.
            tokio::select! {
                () = cancel.cancelled() => return,
                Ok(()) = self.parts.readings.changed() => self.read_configuration(false).await,
                Ok(()) = self.parts.catalogue.changed() => self.reconcile(false).await,
                Some(request) = self.requests.recv() => self.asked(request).await,
                Some(ended) = self.loads.join_next() => self.load_ended(ended).await,
                Some(stopped) = self.stopping.join_next() => self.stopped(stopped).await,
                Some(looked) = self.reloads.next() => self.looked(looked).await,
                key = self.parts.connectors.fallen() => self.parts.connectors.revive(key).await,
                () = news.notified() => {}
                () = sleep_until(self.judged_at.or(self.blank_until)) => self.think_again().await,
            }
        }
    }

    /// Stops all bots: they finish what they have begun, until they are cut off. Connectors go on delivering. Cancel safe:
    /// called again, it goes on waiting.
    pub async fn stop_bots(&mut self) {
        self.loads.shutdown().await;
        self.reloads.shut_down().await;
        while let Some((name, running)) = self.running.pop_first() {
            self.stop(name, running.bot);
        }
        while self.stopping.join_next().await.is_some() {}
    }

    /// Stops all connectors.
    pub async fn stop_connectors(&mut self) {
        self.parts.connectors.stop_all().await;
    }

    /// Brings what runs in line with what is asked for. `is_confirmed`: however much that removes.
    async fn reconcile(&mut self, is_confirmed: bool) {
        let catalogue = Arc::clone(&self.parts.catalogue.borrow_and_update());
        report_directory(&catalogue);
        let config = self.config();
        let Survey { mut bots, tenants } = survey::survey(&config, &catalogue);
        let mut shared: BTreeMap<_, _> =
            config.connectors.iter().map(|(name, config)| (name.clone(), config.value.clone())).collect();
        self.hold_back(&mut bots, &mut shared, is_confirmed);
        self.tenants.retain(|name, _| bots.contains_key(name));
        self.tenants.extend(tenants);
        self.set_tenants().await;
        for (name, step) in reconcile::steps(&self.desired, &bots) {
            self.take_step(name, step).await;
        }
        self.desired = bots;
        self.publish();
        self.set_shared_connectors(shared).await;
    }

    async fn take_step(&mut self, name: BotName, step: Step<Wanted>) {
        let is_new = !self.running.contains_key(&name);
        self.chronicle.changed(&name, if is_new { "added" } else { step.as_str() });
        match step {
            Step::Load(wanted) => self.load(name, wanted).await,
            Step::Disable => {
                let newest = self.newest;
                let running = self.bot(&name);
                (running.floor, running.has_version, running.wanted) = (newest, false, None);
                running.bot.disable().await;
                self.set_own_connectors(&name, None, BTreeMap::new()).await;
                self.reloads.tell(&name, "disabled", "its entry says so", None);
            }
            Step::Refuse(reason) => self.refuse(name, reason).await,
            Step::Remove => {
                self.set_own_connectors(&name, None, BTreeMap::new()).await;
                if let Some(running) = self.running.remove(&name) {
                    tracing::info!(bot = %name, "the bot is gone");
                    self.reloads.tell(&name, "removed", "it finishes what it has begun", None);
                    self.stop(name, running.bot);
                }
            }
        }
    }

    /// Returns a bot; one that was not there begins.
    fn bot(&mut self, name: &BotName) -> &mut Running {
        let (services, config, newest) = (&self.parts.bots, &self.parts.config, &self.newest);
        let tenant = self.tenants.get(name).cloned().unwrap_or_default();
        self.running.entry(name.clone()).or_insert_with(|| {
            let policy = settings::policy(&config.borrow(), None, &tenant);
            Running {
                bot: Bot::spawn(name.clone(), policy.clone(), services.clone()),
                policy,
                reach: Reach::all(),
                priority: Priority::default(),
                own: BTreeMap::new(),
                wanted: None,
                given: BTreeMap::new(),
                told: 0,
                loading: BTreeSet::new(),
                floor: *newest,
                has_version: false,
            }
        })
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
        self.pardon(&name).await;
        self.parts.bots.metrics.forget_bot(&name);
        self.parts.bots.alerts.forget_bot(&name);
    }

    /// Forgets what is held against a bot's components.
    async fn pardon(&self, name: &BotName) {
        if let Err(error) = self.parts.bots.condemned.pardon(name).await {
            let error = &error as &dyn std::error::Error;
            tracing::error!(bot = %name, error, "the next process will hold it against the bot's components again");
        }
    }

    async fn asked(&mut self, request: Request) {
        // Whoever asked may have gone.
        match request {
            Request::Bot { name, verb, answer } => drop(answer.send(self.obey(name, verb).await)),
            Request::Connector { key, verb, answer } => drop(answer.send(self.parts.connectors.obey(&key, verb).await)),
            Request::Reload { dry_run, answer } => self.begin_reload(dry_run, answer),
            Request::Ping { answer } => drop(answer.send(())),
            Request::Inspector { answer } => drop(answer.send(self.inspector())),
        }
    }

    async fn obey(&mut self, name: BotName, verb: BotVerb) -> Result<(), ControlError> {
        let Some(running) = self.running.get(&name) else { return Err(ControlError::NoBot(name)) };
        running.bot.obey(verb).await.map_err(ControlError::NotNow)?;
        if verb == BotVerb::Reset {
            self.pardon(&name).await;
            // What was held against it may be what lies in the directory.
            if let Some(Desired::Run(wanted)) = self.desired.get(&name).cloned()
                && !self.serves(&name, &wanted)
            {
                self.bot(&name).wanted = None;
                self.load(name, wanted).await;
            }
        }
        Ok(())
    }

    /// Returns whether a bot runs this version, or did last.
    fn serves(&mut self, name: &BotName, wanted: &Wanted) -> bool {
        self.bot(name).serving().is_some_and(|serving| serving.version == wanted.version)
    }

    /// Publishes who there is and who hears what. A bot that was never more than refused or disabled hears nothing.
    fn publish(&self) {
        let board = self.running.iter().map(|(name, running)| (name.clone(), running.bot.status())).collect();
        self.board.replace(board);
        let hears = |running: &&Running| running.has_version || !running.loading.is_empty();
        let route = |(name, running): (&BotName, &Running)| Route {
            bot: name.clone(),
            reach: running.reach.clone(),
            priority: running.priority,
        };
        let routes = self.running.iter().filter(|(_, running)| hears(running)).map(route).collect();
        self.parts.routes.store(Arc::new(routes));
    }

    /// Returns whether nothing is on its way: every version that was asked for serves, or is known not to.
    fn is_settled(&self) -> bool {
        let is_decided = |running: &Running| running.bot.status().borrow().decided >= running.told;
        self.loads.is_empty() && self.running.values().all(is_decided)
    }

    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.parts.config.borrow())
    }
}

/// Sleeps until then; for ever where there is no such moment.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Says what is wrong with the directory as a whole. Bots that run keep running.
fn report_directory(catalogue: &Catalogue) {
    if let Err(problem) = &catalogue.directory {
        tracing::error!(problem = explain(problem), "the bots' directory cannot be used");
    }
    for problem in catalogue.misnamed.values() {
        tracing::warn!(problem = explain(problem), "a file in the bots' directory is left out");
    }
}
