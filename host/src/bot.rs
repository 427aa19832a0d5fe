//! One bot: the task that owns it, and what others hold of it.
//!
//! The task takes its events from the queue, in order within a conversation and up to `in_flight` side by side, and runs an
//! attempt of each. A new version runs its `init` while the old one serves, and takes over with the next event if that went
//! well. Nothing here decides which bots there are.

mod call;
mod command;
mod dispatch;
pub mod manifest;
pub mod phase;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::alert::Alerts;
use crate::id::BotName;
use crate::metrics::Metrics;
use crate::sandbox::{Guest, StartReason};
use crate::store::Store;
use phase::{BotStatus, Phase};

/// What all bots are given.
#[derive(Clone)]
pub struct BotServices {
    /// Queue, state, outbox.
    pub store: Store,
    /// Where measurements go.
    pub metrics: Arc<Metrics>,
    /// Where alerts go.
    pub alerts: Arc<Alerts>,
    /// Attempts of one event before it is given up.
    pub attempts_max: u32,
    /// Cancelled when a stop has waited long enough: what is at work then is broken off, and its event stays in the queue.
    pub cut_off: CancellationToken,
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
    Serve { guest: Arc<Guest>, reason: StartReason },
    /// A version was refused before it could be tried.
    Refuse { reason: String },
    /// Take no further event.
    Pause { phase: Phase },
}

/// Orders that may wait for a bot.
const ORDERS_MAX: usize = 16;

impl Bot {
    /// Starts the task of a bot that has no version yet. It ends when this is dropped or stopped and its calls have ended.
    pub fn spawn(name: BotName, services: BotServices) -> Self {
        let (orders, receiver) = mpsc::channel(ORDERS_MAX);
        let (task, status) = dispatch::Task::new(name, services);
        Self { orders, status, task: tokio::spawn(task.run(receiver)) }
    }

    /// Gives the bot a version. It serves once its `init` ended well; until then, and if it does not, the one before serves.
    pub async fn serve(&self, guest: Arc<Guest>, reason: StartReason) {
        self.order(Order::Serve { guest, reason }).await;
    }

    /// Says that a version was refused, and why. The one before goes on serving.
    pub async fn refuse(&self, reason: String) {
        self.order(Order::Refuse { reason }).await;
    }

    /// Takes its version away; its events wait. What is at work is finished.
    pub async fn disable(&self) {
        self.order(Order::Pause { phase: Phase::Disabled }).await;
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
