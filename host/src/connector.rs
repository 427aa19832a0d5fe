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
mod signs;
pub mod telegram;
mod template;

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
pub use signs::{Outflow, Signs, Tally};
pub use template::{AskedKey, AskedKind, ConnectorTemplate, TemplateError};

/// The way of a connector's events into the host.
#[derive(Debug, Clone)]
pub struct Inbox {
    origin: ConnectorKey,
    sender: mpsc::Sender<Arrival>,
    signs: Signs,
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
        Self { origin, sender, signs: Signs::default() }
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
    /// Another process uses the same credentials, and the platform serves one of the two. Tried again after `wait`.
    Contested {
        /// What the platform said.
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
            Self::Contested { .. } => "contested",
            Self::AuthFailed { .. } => "auth-failed",
            Self::Stopped => "stopped",
        }
    }

    /// Returns what is wrong, where something is.
    pub fn trouble(&self) -> Option<&str> {
        match self {
            Self::BackingOff { error, .. } | Self::Contested { error, .. } | Self::AuthFailed { error } => Some(error),
            Self::Connecting | Self::Connected | Self::Stopped => None,
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
    /// Why it does not run, where somebody wants it so.
    pub held: Option<&'static str>,
    /// What was seen of its platform: read at any moment, announced to nobody.
    pub signs: Signs,
}

impl Status {
    /// Returns the status of a connector that stands like this since then and has heard nothing yet.
    pub fn new(link: Link, since: Timestamp) -> Self {
        Self { link, since, connections: 0, listening: None, held: None, signs: Signs::default() }
    }

    /// Returns the status of a connector that was stopped just now, for this reason.
    pub fn held(reason: &'static str, connections: u64, signs: Signs) -> Self {
        let status = Self::new(Link::Stopped, Timestamp::now());
        Self { connections, held: Some(reason), signs, ..status }
    }

    /// Returns for how long, at the moment `now` of the wall clock, the platform has given no proof that it is there. That it took
    /// the connection is one. None while the connector is not connected.
    pub fn stale_for(&self, now: Timestamp) -> Option<Duration> {
        (self.link == Link::Connected).then(|| {
            let last = self.signs.last_success().map_or(self.since, |last| last.max(self.since));
            now.saturating_since(last)
        })
    }

    /// Returns for how long, at the moment `now` of the wall clock, no event has come: since the last one, connected or not; where
    /// none ever came, since it is connected. None where none can have come.
    pub fn silent_for(&self, now: Timestamp) -> Option<Duration> {
        let connected = (self.link == Link::Connected).then_some(self.since);
        self.signs.last_event().or(connected).map(|last| now.saturating_since(last))
    }
}

/// The end of a status that a connector writes.
#[derive(Debug)]
pub struct StatusPublisher {
    sender: watch::Sender<Status>,
}

impl StatusPublisher {
    /// Returns both ends of a status that begins as [`Link::Connecting`].
    pub fn new() -> (Self, watch::Receiver<Status>) {
        Self::going_on(Signs::default())
    }

    /// The same, for a connector of which this was seen before.
    pub fn going_on(signs: Signs) -> (Self, watch::Receiver<Status>) {
        let status = Status { signs, ..Status::new(Link::Connecting, Timestamp::now()) };
        let (sender, receiver) = watch::channel(status);
        (Self { sender }, receiver)
    }

    /// Returns the signs that the status shows, for whoever sees them.
    pub fn signs(&self) -> Signs {
        self.sender.borrow().signs.clone()
    }

    /// Notes that the platform proved just now that it is there; see [`Signs::succeeded`]. Wakes nobody.
    pub fn succeeded(&self) {
        self.sender.borrow().signs.succeeded();
    }

    /// Publishes how the connector stands now. The same again changes nothing, but that what failed again is counted again.
    pub fn publish(&self, link: Link) {
        self.sender.send_if_modified(|status| {
            if let Some(error) = link.trouble() {
                status.signs.broke(status.link == Link::Connected, error);
            }
            if status.link == link {
                return false;
            }
            if link == Link::Connected {
                status.connections += 1;
                status.signs.connected();
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    const CONNECTED_AT: Timestamp = Timestamp::from_millis(1_000);

    fn after(seconds: u64) -> Timestamp {
        CONNECTED_AT.saturating_add(Duration::from_secs(seconds))
    }

    fn seconds(value: u64) -> Option<Duration> {
        Some(Duration::from_secs(value))
    }

    #[test]
    fn a_connection_is_stale_since_it_was_made_or_since_the_last_proof() {
        let status = Status::new(Link::Connected, CONNECTED_AT);
        assert_eq!((status.stale_for(after(7)), status.silent_for(after(7))), (seconds(7), seconds(7)));
        status.signs.succeeded();
        let proved = status.signs.last_success().unwrap();
        assert_eq!(status.stale_for(proved.saturating_add(Duration::from_secs(5))), seconds(5));
        assert_eq!(status.silent_for(proved), Some(proved.saturating_since(CONNECTED_AT)), "a proof is no event");
    }

    #[test]
    fn a_proof_of_an_earlier_connection_says_nothing_of_this_one() {
        let mut status = Status::new(Link::Connected, CONNECTED_AT);
        status.signs.succeeded();
        status.since = status.signs.last_success().unwrap().saturating_add(Duration::from_secs(60));
        assert_eq!(status.stale_for(status.since.saturating_add(Duration::from_secs(1))), seconds(1));
    }

    #[test]
    fn what_is_not_connected_is_not_stale_and_silent_only_if_it_ever_spoke() {
        let status = Status::new(Link::BackingOff { error: "x".into(), wait: Duration::ZERO }, CONNECTED_AT);
        status.signs.succeeded();
        assert_eq!((status.stale_for(after(9)), status.silent_for(after(9))), (None, None));
        status.signs.event_came();
        let came = status.signs.last_event().unwrap();
        assert_eq!(status.silent_for(came.saturating_add(Duration::from_secs(3))), seconds(3));
    }

    #[tokio::test]
    async fn signs_reach_every_clone_of_a_status_and_wake_nobody() {
        let (publisher, mut receiver) = StatusPublisher::new();
        let (sender, mut arrivals) = mpsc::channel(1);
        let inbox = Inbox::new(ConnectorKey::shared("qq".parse().unwrap()), sender).noting(publisher.signs());
        let seen = receiver.borrow_and_update().clone();
        publisher.succeeded();
        let event = Event::now(None, crate::event::EventKind::Custom { name: "x".to_owned() });
        let _submitted = inbox.submit(event).await.unwrap();
        assert!(arrivals.recv().await.is_some());
        assert!(seen.signs.last_success().is_some() && seen.signs.last_event().is_some());
        assert!(!receiver.has_changed().unwrap());
        assert_eq!(seen, *receiver.borrow(), "no other status");
    }
}
