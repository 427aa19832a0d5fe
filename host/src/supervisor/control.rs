//! What others may ask of the supervisor while it runs: by messages that its task answers between two of its own steps.

use tokio::sync::{mpsc, oneshot};

use super::inspector::Inspector;
pub use crate::bot::BotVerb;
use crate::grants::ConnectorKey;
use crate::id::BotName;

/// Requests that may wait for the supervisor.
const REQUESTS_MAX: usize = 16;

/// The way to a running supervisor. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Control {
    requests: mpsc::Sender<Request>,
}

/// What an operator does with one connector. None of it is written down: after a restart of the host, or a change of what the
/// configuration says of the connector, it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectorVerb {
    /// Bring it up again after a stop.
    Start,
    /// Take it down until it is started: what it was delivering is finished, what waits for it waits on, and what bots ask of it
    /// meanwhile waits too.
    Stop,
    /// Connect anew.
    Restart,
}

/// What a reload did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct ReloadReport {
    /// The generation that is in force afterwards.
    pub generation: u64,
    /// Step by step, in the order in which they were taken.
    pub steps: Vec<ReloadStep>,
    /// Why the configuration was not taken, where it was not: the generation before goes on.
    pub rejected: Option<String>,
    /// Changes that take effect at the next start only, each with its key.
    pub needs_restart: Vec<String>,
}

/// One step of a reload.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct ReloadStep {
    /// What it is about: `bot echo`, `connector telegram`, `[limits]`.
    pub subject: String,
    /// What was done: `settled`, `validated`, `compiled`, `started`, `serving`, `refused`, `removed`, …
    pub action: String,
    /// More, for people.
    pub detail: String,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
}

/// Why the supervisor did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// There is no such bot.
    #[error("there is no bot `{0}`")]
    NoBot(BotName),
    /// There is no such connector.
    #[error("there is no connector `{key}`{}", .near.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    NoConnector {
        /// The name that was given.
        key: ConnectorKey,
        /// The one that may have been meant.
        near: Option<ConnectorKey>,
    },
    /// It cannot be done as things are.
    #[error("{0}")]
    NotNow(String),
    /// The host is stopping.
    #[error("the host is stopping")]
    Stopping,
}

/// A question, and where its answer goes.
pub(super) enum Request {
    Bot { name: BotName, verb: BotVerb, answer: oneshot::Sender<Result<(), ControlError>> },
    Connector { key: ConnectorKey, verb: ConnectorVerb, answer: oneshot::Sender<Result<(), ControlError>> },
    Reload { dry_run: bool, answer: oneshot::Sender<Result<ReloadReport, ControlError>> },
    Ping { answer: oneshot::Sender<()> },
    Inspector { answer: oneshot::Sender<Inspector> },
}

impl Control {
    /// Returns the way to a supervisor, and its end of it.
    pub(super) fn new() -> (Self, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        (Self { requests }, receiver)
    }

    /// Returns the way to a supervisor that has ended: for an admin side without a host.
    pub fn ended() -> Self {
        Self::new().0
    }

    /// Returns the way to one who stands in for a supervisor, and that one, to be polled: for an admin side without a host. It ends
    /// once every copy of the way is gone.
    pub fn answered_by<F>(
        mut bot: impl FnMut(&BotName, BotVerb) -> Result<(), ControlError>,
        mut reload: impl FnMut(bool) -> F,
    ) -> (Self, impl Future<Output = ()>)
    where
        F: Future<Output = Result<ReloadReport, ControlError>>,
    {
        let (control, mut requests) = Self::new();
        let stand_in = async move {
            while let Some(request) = requests.recv().await {
                // Whoever asked may be gone.
                match request {
                    Request::Bot { name, verb, answer } => drop(answer.send(bot(&name, verb))),
                    // Nothing stands in for connectors: the host is stopping, as far as they go.
                    Request::Connector { answer, .. } => drop(answer.send(Err(ControlError::Stopping))),
                    Request::Reload { dry_run, answer } => drop(answer.send(reload(dry_run).await)),
                    Request::Ping { answer } => drop(answer.send(())),
                    // It has nothing to inspect with.
                    Request::Inspector { answer } => drop(answer),
                }
            }
        };
        (control, stand_in)
    }

    /// Has a verb carried out on a bot. Returns once the bot's task has the order.
    ///
    /// # Errors
    ///
    /// [`ControlError`]: nothing was done.
    pub async fn bot(&self, name: BotName, verb: BotVerb) -> Result<(), ControlError> {
        self.ask(|answer| Request::Bot { name, verb, answer }).await?
    }

    /// Has a verb carried out on a connector. Returns once it was: after a stop nothing of it runs any more; after a start it
    /// connects. What is done already is no error.
    ///
    /// # Errors
    ///
    /// [`ControlError`]: nothing was done.
    pub async fn connector(&self, key: ConnectorKey, verb: ConnectorVerb) -> Result<(), ControlError> {
        self.ask(|answer| Request::Connector { key, verb, answer }).await?
    }

    /// Looks at the configuration and the bots' directory now, takes what changed, and returns when every step of it has ended.
    /// With `dry_run`, says what would be done and does nothing that lasts.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn reload(&self, dry_run: bool) -> Result<ReloadReport, ControlError> {
        self.ask(|answer| Request::Reload { dry_run, answer }).await?
    }

    /// Returns once the supervisor had a turn.
    ///
    /// # Errors
    ///
    /// [`ControlError::Stopping`]: it has ended.
    pub async fn ping(&self) -> Result<(), ControlError> {
        self.ask(|answer| Request::Ping { answer }).await
    }

    /// Returns what judges components, by what is in force now.
    ///
    /// # Errors
    ///
    /// [`ControlError::Stopping`]: it has ended.
    pub async fn inspector(&self) -> Result<Inspector, ControlError> {
        self.ask(|answer| Request::Inspector { answer }).await
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, ControlError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| ControlError::Stopping)?;
        answered.await.map_err(|_| ControlError::Stopping)
    }
}
