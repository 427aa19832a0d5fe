//! What every connector has in common: how events leave it, how deliveries reach it, how it says whether it is connected.
//! A connector translates one platform and owns its connection. It knows nothing of bots or WebAssembly.
//!
//! ```text
//! platform ─► connector ──Inbox::take_over──► router      returns once the host has taken the event over
//! platform ◄─ connector ◄──── Delivery ────── outbox      answered once, with what became of it
//! ```

mod config;
pub mod console;
mod deliveries;
mod link;
pub mod onebot;
mod pace;
pub mod scripted;
pub mod telegram;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::action::ResolvedAction;
use crate::clock::Timestamp;
use crate::event::Event;
use crate::grants::ConnectorKey;
use crate::id::ConnectorName;

pub use config::ConnectorConfig;
pub use pace::{PaceChoice, PaceLimits};

/// The way of a connector's events into the host.
#[derive(Debug, Clone)]
pub struct Inbox {
    origin: ConnectorKey,
    sender: mpsc::Sender<Arrival>,
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
        Self { origin, sender }
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

/// How a connector stands with its platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// The first connection is being made.
    Connecting,
    /// The platform has proved that it listens.
    Connected,
    /// Lost, or of no use at the moment; tried again after `wait`. A `wait` of zero: the platform is the one to connect.
    BackingOff {
        /// What went wrong.
        error: String,
        /// How long until the next try.
        wait: Duration,
    },
    /// The platform refuses the credentials. What could help is a change of the configuration; at most a rare try is made.
    AuthFailed {
        /// What the platform said.
        error: String,
    },
    /// No more events come, because it was told to stop or because its input ended. In the latter case deliveries still go
    /// out until it is told to stop.
    Stopped,
}

impl Link {
    /// Returns the state's name in metrics and listings.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::BackingOff { .. } => "backing-off",
            Self::AuthFailed { .. } => "auth-failed",
            Self::Stopped => "stopped",
        }
    }
}

/// What a connector publishes of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// How it stands.
    pub link: Link,
    /// Since when.
    pub since: Timestamp,
    /// How often it connected.
    pub connections: u64,
    /// Where it listens, if it is one that platforms dial.
    pub listening: Option<SocketAddr>,
}

/// The end of a status that a connector writes.
#[derive(Debug)]
pub struct StatusPublisher {
    sender: watch::Sender<Status>,
}

impl StatusPublisher {
    /// Returns both ends of a status that begins as [`Link::Connecting`].
    pub fn new() -> (Self, watch::Receiver<Status>) {
        let (sender, receiver) =
            watch::channel(Status { link: Link::Connecting, since: Timestamp::now(), connections: 0, listening: None });
        (Self { sender }, receiver)
    }

    /// Publishes how the connector stands now. The same again changes nothing.
    pub fn publish(&self, link: Link) {
        self.sender.send_if_modified(|status| {
            if status.link == link {
                return false;
            }
            status.connections += u64::from(link == Link::Connected);
            status.since = Timestamp::now();
            status.link = link;
            true
        });
    }

    /// Publishes where the connector listens.
    pub fn publish_listening(&self, address: SocketAddr) {
        self.sender.send_modify(|status| status.listening = Some(address));
    }
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
    /// Cancelled when it is to stop: it asks for no further event, finishes the deliveries at hand, answers those it has not
    /// begun as [`DeliveryError::Retryable`], and returns.
    pub cancel: CancellationToken,
}

/// Runs a connector until it is told to stop. The one task of the connector is the one that awaits this; dropping it cuts
/// everything off where it stands.
pub async fn run(config: ConnectorConfig, ports: Ports) {
    match config {
        ConnectorConfig::Console(config) => console::run(config, ports).await,
        ConnectorConfig::OneBot(config) => onebot::run(config, ports).await,
        ConnectorConfig::Telegram(config) => telegram::run(config, ports).await,
        ConnectorConfig::Scripted(scripted) => scripted.run(ports).await,
    }
}
