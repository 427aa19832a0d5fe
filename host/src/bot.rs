//! One bot: the task that owns it, and what others hold of it.
//!
//! The task takes its events from the queue, in order within a conversation and up to `in_flight` side by side, and runs an
//! attempt of each. A new version runs its `init` while the old one serves, and takes over with the next event if that went
//! well. What becomes of a bot that fails is decided in `life`. Nothing here decides which bots there are.

mod breaker;
mod budget;
mod call;
mod command;
mod condemned;
mod dispatch;
mod edition;
mod life;
pub mod manifest;
pub mod phase;
pub mod pointer;
mod report;
mod restart;
mod stall;
mod tally;
mod trial;

use std::sync::Arc;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::alert::Alerts;
use crate::errors::Errors;
use crate::id::{BotName, TenantName};
use crate::metrics::Metrics;
use crate::sandbox::Guest;
use crate::store::Store;
use crate::supervision::{RolloutPolicy, Supervision};
use crate::telemetry::Tracer;
use phase::BotStatus;

pub use self::budget::RestartBudget;
pub use self::condemned::CondemnedList;

/// What all bots are given.
#[derive(Clone)]
pub struct BotServices {
    /// Queue, state, outbox.
    pub store: Store,
    /// Where measurements go.
    pub metrics: Arc<Metrics>,
    /// Where alerts go.
    pub alerts: Arc<Alerts>,
    /// Where what goes wrong is counted.
    pub errors: Arc<Errors>,
    /// What takes their attempts down.
    pub tracer: Tracer,
    /// What they may restart, together.
    pub budget: Arc<RestartBudget>,
    /// What is held against their components.
    pub condemned: Arc<CondemnedList>,
    /// Notified when a bot's status says something new of its versions or its phase.
    pub news: Arc<Notify>,
    /// Cancelled when a stop has waited long enough: what is at work then is broken off, and its event stays in the queue.
    pub cut_off: CancellationToken,
}

/// How one bot is kept alive, and for whom. May change while it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct BotPolicy {
    /// Whom it belongs to.
    pub tenant: TenantName,
    /// When it is restarted and given up, with its own entry's `restart`.
    pub supervision: Supervision,
    /// How its new versions are watched.
    pub rollout: RolloutPolicy,
    /// Attempts at one event before it is given up.
    pub attempts_max: u32,
}

/// What an operator does with one bot. None of it is written down: after a restart of the host the configuration counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BotVerb {
    /// Bring it up again after a stop.
    Start,
    /// Take it down until it is started: its events wait, what is at work is finished.
    Stop,
    /// Begin anew with the same version: `init` runs, and it serves again when that ended well.
    Restart,
    /// Forget what it is held against: the breaker closes, the quarantine of the bot and of its refused versions is lifted.
    Reset,
}

/// A running bot task. Dropped, the task drains as if told to stop.
#[derive(Debug)]
pub struct Bot {
    orders: mpsc::Sender<Order>,
    status: watch::Receiver<BotStatus>,
    task: JoinHandle<()>,
}

/// What a bot's task is told.
#[derive(Debug)]
enum Order {
    /// Serve with this guest from the next event on, if its `init` ends well.
    Serve { number: u64, guest: Arc<Guest> },
    /// The version of this number was refused before it could be tried.
    Refuse { number: u64, reason: String },
    /// What was refused is there no more: what serves is what should.
    Accept,
    /// Take no further event: its entry says so.
    Disable,
    /// Go by this policy.
    Policy(BotPolicy),
    /// The operator's word. Answered with why not, where it cannot be.
    Verb { verb: BotVerb, answer: oneshot::Sender<Result<(), String>> },
}

/// Orders that may wait for a bot.
const ORDERS_MAX: usize = 16;

impl Bot {
    /// Starts the task of a bot that has no version yet. It ends when this is dropped or stopped and its calls have ended.
    pub fn spawn(name: BotName, policy: BotPolicy, services: BotServices) -> Self {
        let (orders, receiver) = mpsc::channel(ORDERS_MAX);
        let (task, status) = dispatch::Task::new(name, policy, services);
        Self { orders, status, task: tokio::spawn(task.run(receiver)) }
    }

    /// Gives the bot a version. It serves once its `init` ended well; until then, and if it does not, the one before serves.
    /// Newer versions have higher numbers.
    pub async fn serve(&self, number: u64, guest: Arc<Guest>) {
        self.order(Order::Serve { number, guest }).await;
    }

    /// Says that a version was refused, and why. The one before goes on serving.
    pub async fn refuse(&self, number: u64, reason: String) {
        self.order(Order::Refuse { number, reason }).await;
    }

    /// Says that what was refused is there no more: the version that serves is the one that should.
    pub async fn accept(&self) {
        self.order(Order::Accept).await;
    }

    /// Takes its version away; its events wait. What is at work is finished.
    pub async fn disable(&self) {
        self.order(Order::Disable).await;
    }

    /// Has it kept alive by another policy from now on.
    pub async fn set_policy(&self, policy: BotPolicy) {
        self.order(Order::Policy(policy)).await;
    }

    /// Carries the operator's word out.
    ///
    /// # Errors
    ///
    /// Why it cannot be done as things are.
    pub async fn obey(&self, verb: BotVerb) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Verb { verb, answer }).await;
        answered.await.unwrap_or_else(|_| Err("its task has ended".to_owned()))
    }

    /// Stops the bot: what is at work is finished or cut off, what waits stays in the queue. Returns when nothing of it runs.
    pub async fn stop(self) {
        drop(self.orders);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "a bot's task ended badly");
        }
    }

    /// Returns what the bot publishes of itself.
    pub fn status(&self) -> watch::Receiver<BotStatus> {
        self.status.clone()
    }

    async fn order(&self, order: Order) {
        if self.orders.send(order).await.is_err() {
            let bot = self.status.borrow().name.clone();
            tracing::error!(%bot, "a bot's task has ended and takes no orders");
        }
    }
}
