//! How a connector stands with its platform, and who is told: the states of every connection, whatever the platform.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::watch;

use super::Signs;
use crate::clock::Timestamp;

/// How a connector stands with its platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// A connection is being made.
    Connecting {
        /// Why there is none, where there was one, or where an earlier try failed.
        error: Option<String>,
    },
    /// It is made; the platform is told who connects, or asked what was missed.
    Authenticating,
    /// The platform has proved that it listens.
    Connected,
    /// Connected, and of no use at the moment: the platform says that what is sent would not arrive.
    Degraded {
        /// What the platform said.
        error: String,
    },
    /// Lost; tried again after `wait`. A `wait` of zero: the platform is the one to connect.
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
    /// The platform refuses the credentials, or what is asked of it with them. What could help is a change of the configuration;
    /// at most a rare try is made.
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
            Self::Connecting { .. } => "connecting",
            Self::Authenticating => "authenticating",
            Self::Connected => "connected",
            Self::Degraded { .. } => "degraded",
            Self::BackingOff { .. } => "backing-off",
            Self::Contested { .. } => "contested",
            Self::AuthFailed { .. } => "auth-failed",
            Self::Stopped => "stopped",
        }
    }

    /// Returns what is wrong, where something is.
    pub fn trouble(&self) -> Option<&str> {
        match self {
            Self::Connecting { error } => error.as_deref(),
            Self::Degraded { error }
            | Self::BackingOff { error, .. }
            | Self::Contested { error, .. }
            | Self::AuthFailed { error } => Some(error),
            Self::Authenticating | Self::Connected | Self::Stopped => None,
        }
    }

    /// Returns whether a connection is there, of use or not.
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Connected | Self::Degraded { .. })
    }
}

/// What a connector publishes of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The word after `type =` in its table.
    pub kind: &'static str,
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
        Self { kind: "", link, since, connections: 0, listening: None, held: None, signs: Signs::default() }
    }

    /// Returns the status of a connector that was stopped just now, for this reason.
    pub fn held(self, reason: &'static str) -> Self {
        let Self { kind, connections, signs, .. } = self;
        Self { kind, connections, held: Some(reason), signs, ..Self::new(Link::Stopped, Timestamp::now()) }
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
#[derive(Debug, Clone)]
pub struct StatusPublisher {
    sender: watch::Sender<Status>,
}

impl StatusPublisher {
    /// Returns both ends of a status that begins as [`Link::Connecting`].
    pub fn new() -> (Self, watch::Receiver<Status>) {
        Self::going_on("", Signs::default())
    }

    /// The same, for a connector of which this was seen before.
    pub fn going_on(kind: &'static str, signs: Signs) -> (Self, watch::Receiver<Status>) {
        let status = Status { kind, signs, ..Status::new(Link::Connecting { error: None }, Timestamp::now()) };
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
            match (&link, link.trouble()) {
                // A new try is no news of the failure before it.
                (Link::Connecting { .. }, _) | (_, None) => {}
                (Link::Degraded { .. }, Some(error)) => status.signs.erred(error),
                (_, Some(error)) => status.signs.broke(status.link.is_up(), error),
            }
            if status.link == link {
                return false;
            }
            if link.is_up() && !status.link.is_up() {
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

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::super::Inbox;
    use super::*;
    use crate::event::Event;
    use crate::grants::ConnectorKey;

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
