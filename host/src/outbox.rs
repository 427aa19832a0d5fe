//! Delivers what is committed: one task for each connector takes the entries of its outbox and hands them over, again if that may
//! help, until they are delivered, refused for good, or expired. In order within a conversation, side by side across them, as fast
//! as the platform's limits allow. How each ended is on disk before the next of its conversation leaves.

mod attempts;
mod pace;
mod patience;
mod replay;
mod traces;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use self::attempts::{Attempts, Next, Terms};
use self::pace::{Pace, Toll};
use self::patience::{RETRY_SOON, earlier, later, sleep_until, written};
use self::replay::{Replay, Wait};
use self::traces::Traces;
use crate::action::{Action, ResolvedAction};
use crate::clock::Timestamp;
use crate::connector::{Delivery, DeliveryError, PaceLimits, Receipt, Signs, Status};
use crate::delivery::OnUncertain;
use crate::failpoint::{self, Failpoint};
use crate::grants::ConnectorKey;
use crate::id::Ticket;
use crate::metrics::Metrics;
use crate::store::{Entry, Sent, Store, StoreError};
use crate::telemetry::Tracer;

/// Entries of one connector that are delivered, or written down as delivered, side by side.
const AT_WORK_MAX: usize = 64;
/// How often entries are looked for that have expired behind others.
const EXPIRE_EVERY: Duration = Duration::from_secs(5);

/// How an action ended whose time was over.
const EXPIRED: &str = "expired";

/// The task that empties one connector's outbox.
pub struct Sender {
    /// Whose outbox.
    pub key: ConnectorKey,
    /// Where it is.
    pub store: Store,
    /// The connector's end.
    pub deliveries: mpsc::Sender<Delivery>,
    /// How the connector stands.
    pub status: watch::Receiver<Status>,
    /// How much its platform takes.
    pub limits: PaceLimits,
    /// How entries are dealt with, now: those that wait as well as those that come.
    pub terms: watch::Receiver<SendTerms>,
    /// Where measurements go.
    pub metrics: Arc<Metrics>,
    /// What takes deliveries down.
    pub tracer: Tracer,
}

/// How entries are dealt with, as the operator chose.
#[derive(Debug, Clone, Copy)]
pub struct SendTerms {
    /// How long after its commit an entry is worth delivering, unless it says otherwise.
    pub ttl: Duration,
    /// What becomes of an entry that was perhaps delivered.
    pub on_uncertain: OnUncertain,
}

/// What a task of the set came back with.
struct Tried {
    entry: Entry,
    outcome: Outcome,
}

/// What came of trying an entry.
enum Outcome {
    /// Its body was read; it can be tried now.
    Loaded(Arc<Action>),
    Delivered,
    Failed(DeliveryError),
    /// It cannot be delivered, whatever the platform says.
    Lost(&'static str),
    /// Nothing was tried: the store failed, or what it names is still on its way.
    Later,
    /// It is written down: that it is lost, and why, or that it waits.
    Written(Option<&'static str>),
}

impl Sender {
    /// Runs until it is cancelled or the outbox is closed. What is being delivered then is finished with if the connector
    /// answers; what waits stays.
    pub async fn run(self, cancel: CancellationToken) {
        let mut rounds = Rounds {
            pace: Pace::new(self.limits),
            replay: Replay::new(&self.limits),
            signs: self.status.borrow().signs.clone(),
            status: self.status.clone(),
            terms: self.terms.clone(),
            fared: HashMap::new(),
            traces: Traces::new(self.tracer.clone()),
            at_work: FuturesUnordered::new(),
            expire_at: patience::now() + EXPIRE_EVERY,
            sender: &self,
            cancel: &cancel,
        };
        while let Some(work) = self.store.outbox().work(&self.key) {
            let wake = if cancel.is_cancelled() { None } else { rounds.fill().await };
            self.metrics.outbox_depth(&self.key, self.store.outbox().len(&self.key));
            // Cancel safe: a set's `next`, a sleep, a watch, and a `Notified` that is made anew in each turn before the outbox is
            // looked at.
            tokio::select! {
                Some(tried) = rounds.at_work.next() => rounds.ended(tried),
                () = work, if !cancel.is_cancelled() => {}
                // Fixed terms have nobody to change them.
                Ok(()) = rounds.terms.changed(), if !cancel.is_cancelled() => rounds.expire_at = patience::now(),
                // A connector that is gone has said all that it will; the sender is cancelled with it.
                Ok(()) = rounds.status.changed(), if !cancel.is_cancelled() => {}
                () = sleep_until(wake), if !cancel.is_cancelled() => {}
                () = cancel.cancelled(), if rounds.at_work.is_empty() => return,
            }
        }
    }

    /// Reads an entry's body.
    async fn load(&self, entry: Entry) -> Tried {
        let outcome = match self.store.action_of(&entry).await {
            Ok(Some(action)) => Outcome::Loaded(action),
            Ok(None) | Err(StoreError::Corrupt { .. }) => Outcome::Lost("corrupt"),
            Err(error) => later(&error),
        };
        Tried { entry, outcome }
    }

    /// Tries an entry once, and writes it down if it was delivered.
    async fn attempt(&self, entry: Entry, action: Arc<Action>, tries: Attempts, cancel: &CancellationToken) -> Tried {
        let outcome = match self.prepared(&entry, &action).await {
            Err(outcome) => outcome,
            Ok(action) => {
                failpoint::reach(Failpoint::SendBefore);
                let result = self.hand_over(action, &entry, tries).await;
                failpoint::reach(Failpoint::SendAfter);
                match result {
                    Ok(receipt) => {
                        let note =
                            || self.store.delivered(entry.clone(), entry.attempts + 1, receipt.platform_id.clone());
                        written(note, cancel).await;
                        Outcome::Delivered
                    }
                    Err(error) => Outcome::Failed(error),
                }
            }
        };
        Tried { entry, outcome }
    }

    /// Gets an entry ready to be handed over: the ids of the messages that it names, and, where it must not be sent twice, the
    /// note that it may be under way.
    async fn prepared(&self, entry: &Entry, action: &Action) -> Result<ResolvedAction, Outcome> {
        let resolved = self.resolved(action).await?;
        if self.terms().on_uncertain == OnUncertain::Drop {
            self.store.send_begun(entry).await.map_err(|error| later(&error))?;
        }
        Ok(resolved)
    }

    async fn resolved(&self, action: &Action) -> Result<ResolvedAction, Outcome> {
        let mut known: HashMap<Ticket, String> = HashMap::new();
        loop {
            match action.clone().resolve(|ticket| known.get(&ticket).cloned()) {
                Ok(resolved) => return Ok(resolved),
                Err(ticket) => match self.store.sent(ticket).await {
                    Ok(Sent::As(id)) => drop(known.insert(ticket, id)),
                    Ok(Sent::NotYet) => return Err(Outcome::Later),
                    Ok(Sent::Never) => return Err(Outcome::Lost("unresolved")),
                    Err(error) => return Err(later(&error)),
                },
            }
        }
    }

    async fn hand_over(
        &self,
        action: ResolvedAction,
        entry: &Entry,
        tries: Attempts,
    ) -> Result<Receipt, DeliveryError> {
        let (outcome, answer) = oneshot::channel();
        let delivery = Delivery { action, key: entry.id, timeout: tries.timeout(), outcome };
        if self.deliveries.send(delivery).await.is_err() {
            return Err(DeliveryError::Retryable("the connector has ended".to_owned()));
        }
        answer.await.unwrap_or_else(|_| Err(DeliveryError::Uncertain("the connector gave no answer".to_owned())))
    }

    fn deadline(&self, entry: &Entry) -> Timestamp {
        entry.expires_at.unwrap_or_else(|| entry.committed_at.saturating_add(self.terms().ttl))
    }

    fn terms(&self) -> SendTerms {
        *self.terms.borrow()
    }
}

/// What the task knows between two turns.
struct Rounds<'a> {
    sender: &'a Sender,
    cancel: &'a CancellationToken,
    pace: Pace,
    replay: Replay,
    status: watch::Receiver<Status>,
    terms: watch::Receiver<SendTerms>,
    /// How the entries have fared that were tried and wait.
    fared: HashMap<u64, Attempts>,
    signs: Signs,
    traces: Traces,
    at_work: FuturesUnordered<BoxFuture<'a, Tried>>,
    expire_at: Instant,
}

impl Rounds<'_> {
    /// Takes what may leave now. Returns when to look again, if nothing happens before.
    async fn fill(&mut self) -> Option<Instant> {
        let sender = self.sender;
        self.expire(patience::now()).await;
        // Writing down what has expired takes its time, by which the pace of a new connection must not be ahead.
        let now = patience::now();
        let backlog = sender.store.outbox().len(&sender.key);
        self.replay.observe(&self.status.borrow_and_update(), backlog, now);
        self.signs.flows(self.replay.outflow(backlog));
        let mut wake = (backlog > 0).then_some(self.expire_at);
        while self.at_work.len() < AT_WORK_MAX {
            let (now, steady) = (patience::now(), Timestamp::steady());
            match self.replay.ask(now) {
                Err(Wait::Link) => return wake,
                Err(Wait::Until(at)) => return earlier(wake, Some(at)),
                Ok(()) => {}
            }
            let free_at = self.pace.token_free_at(now);
            if free_at > now {
                return earlier(wake, Some(free_at));
            }
            let Some(entry) = sender.store.outbox().take(&sender.key, steady) else {
                let due = sender.store.outbox().next_due(&sender.key).map(|due| now + due.saturating_since(steady));
                wake = earlier(wake, due);
                break;
            };
            self.start(entry, now, steady);
        }
        wake
    }

    /// Lets an entry leave, or puts it back until its chat takes more.
    fn start(&mut self, entry: Entry, now: Instant, steady: Timestamp) {
        let sender = self.sender;
        if steady >= sender.deadline(&entry) {
            return self.lose(entry, EXPIRED, "it was not delivered in time");
        }
        let Some(action) = entry.action.clone() else { return self.at_work.push(Box::pin(sender.load(entry))) };
        if let Err(until) = self.pace.ask(&action.at, Toll::of(&action.act), now) {
            let due = steady.saturating_add(until.saturating_duration_since(now).max(Duration::from_millis(1)));
            return sender.store.outbox().hold(&entry, due, entry.attempts);
        }
        self.replay.left(sender.store.outbox().len(&sender.key), now);
        let tries = self.tries(&entry);
        self.at_work.push(Box::pin(sender.attempt(entry, action, tries, self.cancel)));
    }

    fn tries(&self, entry: &Entry) -> Attempts {
        let new = Attempts { failures: entry.attempts, unanswered: 0 };
        self.fared.get(&entry.id).copied().unwrap_or(new)
    }

    fn ended(&mut self, Tried { entry, outcome }: Tried) {
        match outcome {
            Outcome::Loaded(_) if self.cancel.is_cancelled() => self.sender.store.outbox().put_back(&entry),
            Outcome::Loaded(action) => {
                let mut entry = entry;
                entry.action = Some(action);
                self.start(entry, patience::now(), Timestamp::steady());
            }
            Outcome::Delivered => {
                self.fared.remove(&entry.id);
                self.traces.ended(&entry, "ok");
                self.signs.delivered();
                self.sender.metrics.delivery_ended(&self.sender.key, "ok");
                // By the wall clock, as the commit was.
                let elapsed = Timestamp::now().saturating_since(entry.committed_at);
                self.sender.metrics.delivered_after(&self.sender.key, elapsed);
            }
            Outcome::Lost(why) => self.lose(entry, why, "it cannot be delivered"),
            Outcome::Later => {
                let due = Timestamp::steady().saturating_add(RETRY_SOON);
                self.sender.store.outbox().hold(&entry, due, entry.attempts);
            }
            Outcome::Failed(error) => self.failed(entry, &error),
            Outcome::Written(None) => {}
            Outcome::Written(Some(why)) => {
                self.fared.remove(&entry.id);
                self.traces.ended(&entry, why);
                if why == EXPIRED {
                    self.signs.expired(1)
                } else {
                    self.signs.given_up()
                }
                self.sender.metrics.delivery_ended(&self.sender.key, why);
            }
        }
    }

    fn failed(&mut self, entry: Entry, error: &DeliveryError) {
        let (now, steady) = (patience::now(), Timestamp::steady());
        let sender = self.sender;
        let mut tries = self.tries(&entry);
        let terms = Terms { deadline: sender.deadline(&entry), on_uncertain: sender.terms().on_uncertain };
        let next = tries.failed(error, &terms, steady, fastrand::f64());
        self.fared.insert(entry.id, tries);
        if !self.cancel.is_cancelled() {
            self.signs.undelivered(&error.to_string());
        }
        self.traces.retried(&entry, next);
        let wait = match next {
            Next::GiveUp(reason) => return self.lose(entry, reason.as_str(), &error.to_string()),
            // A connector that is stopping refuses what it is given; that is nobody's failure.
            _ if self.cancel.is_cancelled() => return sender.store.outbox().put_back(&entry),
            Next::Retry { after } => after,
            Next::Limited { wait } => {
                sender.metrics.rate_limited(&sender.key, wait);
                if let Some(action) = &entry.action {
                    self.pace.hold_chat(&action.at, now + wait, now);
                }
                wait
            }
            Next::AwaitLink => {
                self.replay.refused(now);
                RETRY_SOON
            }
        };
        tracing::debug!(connector = %sender.key, %error, wait_ms = wait.as_millis(), "a delivery will be tried again");
        let (due, text, store) = (steady.saturating_add(wait), error.to_string(), &sender.store);
        self.at_work.push(Box::pin(async move {
            store.send_failed(&entry, tries.failures, due, &text).await;
            Tried { entry, outcome: Outcome::Written(None) }
        }));
    }

    /// Has it written down that an entry will not be delivered.
    fn lose(&mut self, entry: Entry, why: &'static str, error: &str) {
        let (sender, cancel) = (self.sender, self.cancel);
        tracing::error!(connector = %sender.key, bot = %entry.bot, action = entry.id, why, error, "an action was not delivered");
        // Listings show what stands before the colon as the reason.
        let reason = format!("{why}: {error}");
        self.at_work.push(Box::pin(async move {
            written(|| sender.store.lost(entry.clone(), entry.attempts, &reason), cancel).await;
            Tried { entry, outcome: Outcome::Written(Some(why)) }
        }));
    }

    /// Loses what has expired without its turn having come.
    async fn expire(&mut self, now: Instant) {
        if now < self.expire_at {
            return;
        }
        self.expire_at = now + EXPIRE_EVERY;
        let sender = self.sender;
        match sender.store.expire_sends(&sender.key, sender.terms().ttl).await {
            Ok(0) => {}
            Ok(count) => {
                tracing::error!(connector = %sender.key, count, why = EXPIRED, "actions were not delivered in time");
                self.signs.expired(count);
                (0..count).for_each(|_| sender.metrics.delivery_ended(&sender.key, EXPIRED));
            }
            Err(error) => drop(later(&error)),
        }
    }
}

#[cfg(test)]
mod tests;
