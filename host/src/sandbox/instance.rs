//! One live instance, and the calls into it: `describe`, `init`, `handle`, each under fuel, time and ceilings.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wasmtime::{PoolConcurrencyLimitError, Store};

use super::component::{Component, GuestManifest};
use super::context::{COPIED_BYTES_MAX, GrantError, GuestContext, RESOURCES_MAX};
use super::effects::Gathered;
use super::engine::{FUEL_YIELD_INTERVAL, Sandbox};
use super::fault::{Fault, FaultKind};
use super::state::{GuestState, Stage};
use super::turns::Turn;
use super::wit::v0_1::{self, Bot};
use crate::action::Effects;
use crate::event::Event;
use crate::id::ContentHash;
use crate::limits::{InstanceMode, Limits};
use crate::metrics::LiveInstance;

/// Fuel of `describe`. A StarlingMonkey guest needs two million to start.
const DESCRIBE_FUEL: u64 = 100_000_000;
/// How long to wait when the pool has slots but not enough memories or tables for a component that needs several.
const POOL_RETRY: Duration = Duration::from_millis(5);

/// Why `init` is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartReason {
    /// The host started, or the bot is new.
    Started,
    /// A new version takes over.
    Reloaded,
    /// The bot comes back after a fault.
    Restarted,
}

/// One call and what became of it.
#[derive(Debug)]
pub struct Attempt {
    /// What the guest asked for, or why there is nothing.
    pub outcome: Result<Effects, Fault>,
    /// Fuel it used.
    pub fuel: u64,
    /// Wall-clock time it took, without the wait for a free slot.
    pub elapsed: Duration,
    /// The most memory it had, in bytes.
    pub memory_bytes: u64,
}

/// A component as one bot: with its limits, settings and grants.
pub struct Guest {
    component: Arc<Component>,
    context: Arc<GuestContext>,
    manifest: Arc<GuestManifest>,
    /// The most memory that a call of this version had, in bytes.
    memory_peak: Arc<AtomicU64>,
    /// The instance that stays, in warm mode.
    warm: tokio::sync::Mutex<Option<Live>>,
}

impl std::fmt::Debug for Guest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guest")
            .field("bot", &self.context.bot)
            .field("component", &self.component)
            .finish_non_exhaustive()
    }
}

/// What a call runs.
#[derive(Clone, Copy)]
enum Entry<'a> {
    Init(StartReason),
    Handle { event: &'a Event, attempt: u32 },
}

impl Guest {
    /// Returns the component as this bot.
    ///
    /// # Errors
    ///
    /// [`GrantError`] where it needs what it is not granted, or a limit is more than the sandbox can give.
    pub fn new(component: Arc<Component>, manifest: GuestManifest, context: GuestContext) -> Result<Self, GrantError> {
        context.check(component.http_import())?;
        let (context, manifest, memory_peak) = (Arc::new(context), Arc::new(manifest), Arc::default());
        Ok(Self { component, context, manifest, memory_peak, warm: tokio::sync::Mutex::new(None) })
    }

    /// Returns the same bot with nothing left of what its instance had in memory.
    pub fn anew(&self) -> Self {
        let (component, context) = (Arc::clone(&self.component), Arc::clone(&self.context));
        let (manifest, memory_peak) = (Arc::clone(&self.manifest), Arc::clone(&self.memory_peak));
        Self { component, context, manifest, memory_peak, warm: tokio::sync::Mutex::new(None) }
    }

    /// Returns what the component says of itself.
    pub fn manifest(&self) -> &Arc<GuestManifest> {
        &self.manifest
    }

    /// Returns the hash of the component.
    pub fn hash(&self) -> ContentHash {
        self.component.hash()
    }

    /// Returns the bot's limits.
    pub fn limits(&self) -> &Limits {
        &self.context.limits
    }

    /// Returns the most linear memory that a call of this version had so far, over all memories of its instance, in bytes.
    pub fn memory_peak(&self) -> u64 {
        self.memory_peak.load(Ordering::Relaxed)
    }

    /// Calls `init` in a fresh instance. Waits for a slot first; cancelled, the call ends and nothing of it remains.
    pub async fn init(&self, reason: StartReason) -> Attempt {
        self.run_fresh(Entry::Init(reason)).await
    }

    /// Calls `handle`, on the event's `attempt`-th attempt, in a fresh instance or in the one that stays. Waits for a slot
    /// first; cancelled, the call ends and nothing of it remains.
    pub async fn handle(&self, event: &Event, attempt: u32) -> Attempt {
        let entry = Entry::Handle { event, attempt };
        match self.context.limits.instance {
            InstanceMode::Fresh => self.run_fresh(entry).await,
            InstanceMode::Warm => self.run_warm(entry).await,
        }
    }

    /// Drops the instance that stays if nothing was asked of it for `limits.idle_timeout`. Returns how long until it might be.
    pub fn drop_idle(&self) -> Option<Duration> {
        // Locked: it is at work and not idle.
        let mut warm = self.warm.try_lock().ok()?;
        let idle = warm.as_ref()?.last_used.elapsed();
        let left = self.context.limits.idle_timeout.saturating_sub(idle);
        if left.is_zero() {
            *warm = None;
            return None;
        }
        Some(left)
    }

    /// Drops the instance that stays, unless it is at work.
    pub fn rest(&self) {
        if let Ok(mut warm) = self.warm.try_lock() {
            *warm = None;
        }
    }

    async fn run_fresh(&self, entry: Entry<'_>) -> Attempt {
        let live = Live::new(&self.component, &self.context).await;
        self.call(live, entry).await.1
    }

    async fn run_warm(&self, entry: Entry<'_>) -> Attempt {
        let mut warm = self.warm.lock().await;
        let live = match warm.take() {
            Some(live) => live,
            None => Live::new(&self.component, &self.context).await,
        };
        let (live, attempt) = self.call(live, entry).await;
        // An instance whose call ended in an error is never entered again; one that said `failed` in order may stay.
        if attempt.outcome.as_ref().err().is_none_or(|fault| fault.kind == FaultKind::Failed) {
            *warm = Some(live);
        }
        attempt
    }

    /// Runs one call. Where the pool has a slot left but not enough memories or tables for a component of several modules,
    /// begins again with a new store: the old one may hold part of what others wait for.
    async fn call(&self, mut live: Live, entry: Entry<'_>) -> (Live, Attempt) {
        loop {
            match live.call(entry).await {
                Ok(attempt) => {
                    self.memory_peak.fetch_max(attempt.memory_bytes, Ordering::Relaxed);
                    return (live, attempt);
                }
                Err(PoolFull) => {
                    drop(live);
                    tokio::time::sleep(POOL_RETRY).await;
                    live = Live::new(&self.component, &self.context).await;
                }
            }
        }
    }
}

/// The pool had no room for all parts of a component. Says nothing of the guest.
#[derive(Debug)]
struct PoolFull;

/// Asks a component what it is, with little fuel and without grants.
pub(super) async fn describe(component: &Arc<Component>, mut context: GuestContext) -> Result<GuestManifest, Fault> {
    context.limits.fuel_per_event = DESCRIBE_FUEL;
    let mut live = Live::new(component, &Arc::new(context)).await;
    live.begin(Stage::Describe, None);
    let limit = TimeLimit { key: "init_timeout", span: live.context().limits.init_timeout };
    let result = tokio::time::timeout(limit.span, async {
        let bot = live.enter().await?;
        bot.bothost_bot_guest().call_describe(&mut live.store).await
    });
    let result = result.await;
    live.settle(result, limit).map(Into::into)
}

/// The wall-clock limit of a call, and the key that sets it.
#[derive(Clone, Copy)]
struct TimeLimit {
    key: &'static str,
    span: Duration,
}

/// A live instance, or the place for one: it is made by the first call, under that call's guards.
struct Live {
    store: Store<GuestState>,
    bot: Option<Bot>,
    component: Arc<Component>,
    last_used: Instant,
    _counted: LiveInstance,
    /// Last, so that what the store holds of the pool is free before the next one's turn.
    _turn: Turn,
}

impl Live {
    /// Waits for the bot's turn to have a slot, and makes a store for an instance.
    async fn new(component: &Arc<Component>, context: &Arc<GuestContext>) -> Self {
        let sandbox: &Sandbox = &component.sandbox;
        let turn = sandbox.turn(&context.bot, context.priority).await;
        let mut store = Store::new(&sandbox.engine, GuestState::new(context));
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(COPIED_BYTES_MAX);
        store.set_max_component_handles(RESOURCES_MAX);
        store.fuel_async_yield_interval(Some(FUEL_YIELD_INTERVAL)).expect("the engine counts fuel");
        Self {
            store,
            bot: None,
            component: Arc::clone(component),
            last_used: Instant::now(),
            _counted: context.services.metrics.live_instance(),
            _turn: turn,
        }
    }

    fn context(&self) -> &GuestContext {
        &self.store.data().context
    }

    /// Prepares the store for one call: full of fuel, nothing gathered.
    fn begin(&mut self, stage: Stage, raw: Option<String>) {
        let fuel = self.context().limits.fuel_per_event;
        self.store.set_fuel(fuel).expect("the engine counts fuel");
        let state = self.store.data_mut();
        state.stage = stage;
        state.gathered = Gathered::default();
        state.raw = raw;
        state.limiter.take_refused();
    }

    /// Returns the instance; makes it if there is none yet, which runs the guest's start functions.
    async fn enter(&mut self) -> wasmtime::Result<Bot> {
        if let Some(bot) = self.bot.take() {
            return Ok(bot);
        }
        let bot = self.component.pre.instantiate_async(&mut self.store).await?;
        let context = self.context();
        context.services.metrics.instance_created(&context.bot);
        Ok(bot)
    }

    /// Runs one call under all guards.
    async fn call(&mut self, entry: Entry<'_>) -> Result<Attempt, PoolFull> {
        let limits = &self.context().limits;
        let (limit, raw) = match entry {
            Entry::Init(_) => (TimeLimit { key: "init_timeout", span: limits.init_timeout }, None),
            Entry::Handle { event, .. } => {
                (TimeLimit { key: "event_timeout", span: limits.event_timeout }, event.raw.clone())
            }
        };
        let fuel_limit = limits.fuel_per_event;
        self.begin(Stage::Act, raw);
        let started = Instant::now();
        // The store stays outside of the future, so that a call that timed out can still be asked what it used.
        let result = tokio::time::timeout(limit.span, async {
            let bot = self.enter().await?;
            let guest = bot.bothost_bot_guest();
            let answer = match entry {
                Entry::Init(reason) => guest.call_init(&mut self.store, reason.into()).await,
                Entry::Handle { event, attempt } => {
                    guest.call_handle(&mut self.store, &v0_1::event(event, attempt)).await
                }
            };
            self.bot = Some(bot);
            answer
        })
        .await;
        let elapsed = started.elapsed();
        self.last_used = Instant::now();
        if matches!(&result, Ok(Err(error)) if error.is::<PoolConcurrencyLimitError>()) {
            return Err(PoolFull);
        }
        let outcome = self.settle(result, limit).and_then(|answer| match answer {
            Ok(()) => Ok(std::mem::take(&mut self.store.data_mut().gathered).into_effects()),
            Err(failure) => Err(Fault::new(FaultKind::Failed, v0_1::failure_text(&failure))),
        });
        Ok(Attempt {
            outcome,
            fuel: fuel_limit.saturating_sub(self.store.get_fuel().unwrap_or(0)),
            elapsed,
            memory_bytes: self.store.data().limiter.memory_bytes(),
        })
    }

    /// Turns the end of a call into its answer or its fault.
    fn settle<T>(
        &mut self,
        result: Result<wasmtime::Result<T>, tokio::time::error::Elapsed>,
        limit: TimeLimit,
    ) -> Result<T, Fault> {
        let state = self.store.data_mut();
        let context = &state.context;
        context.services.metrics.dropped_log_lines(&context.bot, context.log.settle(Instant::now()));
        match result {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Fault::of(&error, &state.circumstances())),
            Err(_) => {
                let (span, key) = (crate::units::Span(limit.span), limit.key);
                Err(Fault::new(FaultKind::TimedOut, format!("took longer than {span} (limits.{key})")))
            }
        }
    }
}
