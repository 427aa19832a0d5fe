//! What every connector has in common: how events leave it, how deliveries reach it, how it says whether it is connected.
//! A connector translates one platform and owns its connection. It knows nothing of bots or WebAssembly.
//!
//! ```text
//! platform ─► connector ──Inbox::take_over──► router      returns once the host has taken the event over
//! platform ◄─ connector ◄──── Delivery ────── outbox      answered once, with what became of it
//! ```

mod backlog;
mod claim;
mod config;
pub mod console;
mod deliveries;
pub mod discord;
mod gateway;
mod ingress;
pub mod irc;
mod link;
pub mod matrix;
mod memory;
mod menu;
pub mod onebot;
mod pace;
mod progress;
pub mod qq;
pub mod scripted;
mod signature;
mod signs;
pub mod slack;
mod socket;
mod status;
pub mod telegram;
mod template;
mod text;
pub mod webhook;

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::menu::Menus;
use crate::action::ResolvedAction;
use crate::egress::AddressGuard;
use crate::event::Event;
use crate::grants::ConnectorKey;
use crate::id::ConnectorName;

pub use claim::Claim;
pub use config::ConnectorConfig;
pub use ingress::Ingress;
pub use memory::Memory;
pub use pace::{PaceChoice, PaceLimits};
pub use signs::{Outflow, Signs, Tally};
pub use status::{Link, Status, StatusPublisher};
pub use template::{AskedKey, AskedKind, ConnectorTemplate, TemplateError};

/// The way of a connector's events into the host.
#[derive(Debug, Clone)]
pub struct Inbox {
    origin: ConnectorKey,
    sender: mpsc::Sender<Arrival>,
    signs: Signs,
    /// Where buttons are numbers.
    menus: Option<Menus>,
}

/// An event on its way in, and who waits for it to be taken over.
#[derive(Debug)]
pub struct Arrival {
    /// The connector it came through.
    pub origin: ConnectorKey,
    /// What happened.
    pub event: Event,
    /// Answered once the event is the host's to keep.
    pub taken: oneshot::Sender<()>,
}

/// The host is stopping and took no more events; the platform must keep this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host is stopping")]
pub struct Stopping;

impl Inbox {
    /// Returns the inbox of one connector; the other end of `sender` is the router's.
    pub fn new(origin: ConnectorKey, sender: mpsc::Sender<Arrival>) -> Self {
        Self { origin, sender, signs: Signs::default(), menus: None }
    }

    /// Has each event noted in the connector's signs, which are those of its [`Status`].
    #[must_use]
    pub fn noting(self, signs: Signs) -> Self {
        Self { signs, ..self }
    }

    /// Hands an event over and returns once the host has it: only then may the platform be told that it arrived. Waits while
    /// the queue is full. Cancelled before it returns, the event may have been taken over or not.
    ///
    /// # Errors
    ///
    /// [`Stopping`]: the event was not taken over.
    pub async fn take_over(&self, event: Event) -> Result<(), Stopping> {
        self.submit(event).await?.taken().await
    }

    /// Puts an event into the queue and returns the promise that the host will have it, so that many can be on their way at
    /// once and still arrive in the order of the calls. Waits while the queue is full. Cancelled before it returns, the event
    /// was not submitted.
    ///
    /// # Errors
    ///
    /// [`Stopping`]: the event was not taken over.
    pub async fn submit(&self, event: Event) -> Result<Submitted, Stopping> {
        // It came, also where the queue is full.
        self.signs.event_came();
        let event = match &self.menus {
            Some(menus) => menus.pressed(event).await,
            None => event,
        };
        let (taken, answer) = oneshot::channel();
        let origin = self.origin.clone();
        self.sender.send(Arrival { origin, event, taken }).await.map_err(|_| Stopping)?;
        Ok(Submitted { answer })
    }
}

/// An event that is on its way into the host.
#[derive(Debug)]
#[must_use = "a platform may be told that an event arrived only once it was taken over"]
pub struct Submitted {
    answer: oneshot::Receiver<()>,
}

impl Submitted {
    /// Returns once the host has the event.
    ///
    /// # Errors
    ///
    /// [`Stopping`]: nobody can say that the host has it.
    pub async fn taken(self) -> Result<(), Stopping> {
        self.answer.await.map_err(|_| Stopping)
    }
}

/// One action to carry out, and where to say what became of it.
#[derive(Debug)]
pub struct Delivery {
    /// What to do.
    pub action: ResolvedAction,
    /// The same on every try of this action and on no other's: for platforms that recognise a second delivery by it.
    pub key: u64,
    /// How long one call of the platform may go without an answer. Longer after a call that had none.
    pub timeout: Duration,
    /// Told once. Dropped unanswered, the outcome counts as [`DeliveryError::Uncertain`].
    pub outcome: oneshot::Sender<Result<Receipt, DeliveryError>>,
}

/// What a platform said of an action that it carried out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The id of the message that came of it, where one did.
    pub platform_id: Option<String>,
}

/// Why an action was not carried out, by what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// Certainly not done; try again later.
    #[error("not delivered: {0}")]
    Retryable(String),
    /// Certainly not done; try again after exactly this long. Never counted as a failure.
    #[error("rate limited for {} ms", .0.as_millis())]
    RateLimited(Duration),
    /// Perhaps done: the request left, no answer came.
    #[error("perhaps delivered: {0}")]
    Uncertain(String),
    /// The platform refuses the connector's credentials.
    #[error("credentials refused: {0}")]
    Unauthorized(String),
    /// The platform refuses this for good: blocked, no permission, muted.
    #[error("refused: {0}")]
    Permanent(String),
    /// The request is wrong; sent again it fails again.
    #[error("bad request: {0}")]
    BadRequest(String),
    /// This platform has no such act.
    #[error("this platform cannot {0}")]
    Unsupported(&'static str),
}

/// Everything a connector is given: its name and the ends of its lines to the host.
#[derive(Debug)]
pub struct Ports {
    /// Its name, for the conversations it reports.
    pub name: ConnectorName,
    /// Where its events go.
    pub inbox: Inbox,
    /// What it is to deliver: in order within a conversation, side by side across conversations.
    pub deliveries: mpsc::Receiver<Delivery>,
    /// Where it says how it stands.
    pub status: StatusPublisher,
    /// Where it may connect to.
    pub guard: AddressGuard,
    /// Where its platform reaches it, should it be the one to call.
    pub ingress: Ingress,
    /// What it keeps from one process to the next.
    pub memory: Memory,
    /// Cancelled when it is to stop: it asks for no further event, finishes the deliveries at hand, answers those it has not
    /// begun as [`DeliveryError::Retryable`], and returns.
    pub cancel: CancellationToken,
}

/// Runs a connector until it is told to stop. The one task of the connector is the one that awaits this; dropping it cuts
/// everything off where it stands.
pub async fn run(config: ConnectorConfig, mut ports: Ports) {
    if config.has_buttons() {
        return run_as_it_is(config, ports).await;
    }
    let menus = Menus::new(ports.memory.clone());
    let (onward, deliveries) = mpsc::channel(1);
    let from_host = std::mem::replace(&mut ports.deliveries, deliveries);
    ports.inbox.menus = Some(menus.clone());
    tokio::join!(run_as_it_is(config, ports), menus.number(from_host, onward));
}

async fn run_as_it_is(config: ConnectorConfig, ports: Ports) {
    match config {
        ConnectorConfig::Console(config) => console::run(config, ports).await,
        ConnectorConfig::Discord(config) => discord::run(config, ports).await,
        ConnectorConfig::Irc(config) => irc::run(config, ports).await,
        ConnectorConfig::Matrix(config) => matrix::run(config, ports).await,
        ConnectorConfig::OneBot(config) => onebot::run(config, ports).await,
        ConnectorConfig::Qq(config) => qq::run(config, ports).await,
        ConnectorConfig::Slack(config) => slack::run(config, ports).await,
        ConnectorConfig::Telegram(config) => telegram::run(config, ports).await,
        ConnectorConfig::Webhook(config) => webhook::run(config, ports).await,
        ConnectorConfig::Scripted(scripted) => scripted.run(ports).await,
    }
}
