//! Delivers what is committed: one task for each connector takes the entries of its outbox and hands them over, again if that may
//! help, until they are delivered, refused for good, or expired. In order within a conversation, side by side across them, so
//! that a conversation the platform holds back holds up no other. Every loss is logged and counted.

#[cfg_attr(not(test), expect(dead_code, reason = "the sender does not ask it yet"))]
mod attempts;
#[cfg_attr(not(test), expect(dead_code, reason = "the sender does not ask it yet"))]
mod pace;
#[cfg_attr(not(test), expect(dead_code, reason = "the sender does not ask it yet"))]
mod replay;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::action::{Act, ResolvedAction};
use crate::backoff::Backoff;
use crate::clock::Timestamp;
use crate::connector::{Delivery, DeliveryError, Receipt};
use crate::event::LaneKey;
use crate::grants::ConnectorKey;
use crate::id::Ticket;
use crate::metrics::Metrics;
use crate::store::{Entry, Store};

/// The requirements' waits between two tries.
const RETRY_INITIAL: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);
const RETRY_JITTER: f64 = 0.25;
/// Longest wait that a platform can impose by `retry_after`.
const RATE_LIMIT_WAIT_MAX: Duration = Duration::from_secs(3600);

/// The task that empties one connector's outbox.
pub struct Sender {
    /// Whose outbox.
    pub key: ConnectorKey,
    /// Where it is.
    pub store: Store,
    /// The connector's end.
    pub deliveries: mpsc::Sender<Delivery>,
    /// How long an entry is worth delivering, unless it says otherwise.
    pub ttl: Duration,
    /// Where measurements go.
    pub metrics: Arc<Metrics>,
}

/// Conversations of one connector that are delivered to side by side.
const AT_WORK_MAX: usize = 16;

/// What to do after a delivery that did not go well.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Retry { after: Duration },
    GiveUp,
}

/// What became of an entry.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Delivered,
    /// The label of why not.
    Lost(&'static str),
}

impl Sender {
    /// Runs until it is cancelled or the outbox is closed. What is being delivered then is finished with if the connector
    /// answers; it is not tried again.
    pub async fn run(self, cancel: CancellationToken) {
        let mut at_work = FuturesUnordered::new();
        let mut busy = HashSet::new();
        while let Some(work) = self.store.outbox().work(&self.key) {
            while at_work.len() < AT_WORK_MAX && !cancel.is_cancelled() {
                let Some(entry) = self.store.outbox().take(&self.key, &busy) else { break };
                let lane = entry.lane();
                busy.insert(lane.clone());
                let delivery = self.deliver(entry, &cancel);
                at_work.push(async move { (lane, delivery.await) });
            }
            self.measure();
            // Cancel safe: a set's `next`, and a `Notified` that is made anew in each turn before the outbox is looked at.
            tokio::select! {
                Some((lane, end)) = at_work.next() => self.ended(&mut busy, &lane, &end),
                () = work, if !cancel.is_cancelled() => {}
                () = cancel.cancelled(), if at_work.is_empty() => return,
            }
        }
    }

    fn ended(&self, busy: &mut HashSet<LaneKey>, lane: &LaneKey, end: &End) {
        busy.remove(lane);
        let label = match end {
            End::Delivered => "ok",
            End::Lost(why) => why,
        };
        self.metrics.delivery_ended(&self.key, label);
        self.store.outbox().settled(&self.key);
    }

    fn measure(&self) {
        self.metrics.outbox_depth(&self.key, self.store.outbox().len(&self.key));
    }

    /// Tries one entry until it has an end.
    async fn deliver(&self, entry: Entry, cancel: &CancellationToken) -> End {
        let (ticket, expires_at) = terms(&entry, self.ttl);
        let platform_id = |ticket| self.store.outbox().platform_id(ticket);
        let action = match entry.action.clone().resolve(platform_id) {
            Ok(action) => action,
            Err(Ticket(ticket)) => {
                return self.lose(&entry, "unresolved", &format!("message {ticket} was never delivered"));
            }
        };
        let mut backoff = Backoff::new(RETRY_INITIAL, RETRY_MAX, RETRY_JITTER);
        loop {
            if Timestamp::now() >= expires_at {
                return self.lose(&entry, "expired", "it was not delivered in time");
            }
            let error = match self.try_once(action.clone()).await {
                Ok(receipt) => {
                    if let (Some(ticket), Some(id)) = (ticket, receipt.platform_id) {
                        self.store.outbox().remember(ticket, id);
                    }
                    return End::Delivered;
                }
                Err(error) => error,
            };
            let Next::Retry { after } = decide(&error, &mut backoff, fastrand::f64()) else {
                return self.lose(&entry, label(&error), &error.to_string());
            };
            tracing::debug!(connector = %self.key, %error, wait_ms = after.as_millis(), "a delivery will be tried again");
            if cancel.run_until_cancelled(tokio::time::sleep(after)).await.is_none() {
                return self.lose(&entry, "stopped", "the host stopped before it was delivered");
            }
        }
    }

    async fn try_once(&self, action: ResolvedAction) -> Result<Receipt, DeliveryError> {
        let (outcome, answer) = oneshot::channel();
        if self.deliveries.send(Delivery { action, outcome }).await.is_err() {
            return Err(DeliveryError::Retryable("the connector has ended".to_owned()));
        }
        answer.await.unwrap_or_else(|_| Err(DeliveryError::Uncertain("the connector gave no answer".to_owned())))
    }

    fn lose(&self, entry: &Entry, why: &'static str, error: &str) -> End {
        let event = entry.event.map(|event| event.to_string());
        tracing::error!(connector = %self.key, bot = %entry.bot, event, why, error, "an action was not delivered");
        End::Lost(why)
    }
}

/// Returns the ticket of what is sent, and when the entry stops being worth it.
fn terms(entry: &Entry, ttl: Duration) -> (Option<Ticket>, Timestamp) {
    let (ticket, own_ttl) = match &entry.action.act {
        Act::Send { ticket, message } => (Some(*ticket), message.expires_after),
        Act::Edit { message, .. } => (None, message.expires_after),
        Act::Delete { .. } | Act::React { .. } => (None, None),
    };
    (ticket, entry.committed_at.saturating_add(own_ttl.unwrap_or(ttl)))
}

fn decide(error: &DeliveryError, backoff: &mut Backoff, random: f64) -> Next {
    match error {
        // Exactly as long as the platform says, and no failure of ours.
        DeliveryError::RateLimited(wait) => Next::Retry { after: (*wait).min(RATE_LIMIT_WAIT_MAX) },
        // What may have been delivered is sent again: rather twice than never.
        DeliveryError::Retryable(_) | DeliveryError::Uncertain(_) | DeliveryError::Unauthorized(_) => {
            Next::Retry { after: backoff.next(random) }
        }
        DeliveryError::Permanent(_) | DeliveryError::BadRequest(_) | DeliveryError::Unsupported(_) => Next::GiveUp,
    }
}

fn label(error: &DeliveryError) -> &'static str {
    match error {
        DeliveryError::Retryable(_) => "retryable",
        DeliveryError::RateLimited(_) => "rate-limited",
        DeliveryError::Uncertain(_) => "uncertain",
        DeliveryError::Unauthorized(_) => "unauthorized",
        DeliveryError::Permanent(_) => "permanent",
        DeliveryError::BadRequest(_) => "bad-request",
        DeliveryError::Unsupported(_) => "unsupported",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_help_is_tried_again() {
        let mut backoff = Backoff::new(RETRY_INITIAL, RETRY_MAX, 0.0);
        let mut next = |error| decide(&error, &mut backoff, 0.5);
        let seconds = Duration::from_secs;
        assert_eq!(next(DeliveryError::RateLimited(seconds(17))), Next::Retry { after: seconds(17) });
        assert_eq!(next(DeliveryError::RateLimited(seconds(99_999))), Next::Retry { after: RATE_LIMIT_WAIT_MAX });
        assert_eq!(next(DeliveryError::Retryable("x".into())), Next::Retry { after: Duration::from_millis(500) });
        assert_eq!(next(DeliveryError::Uncertain("x".into())), Next::Retry { after: seconds(1) });
        assert_eq!(next(DeliveryError::BadRequest("x".into())), Next::GiveUp);
        assert_eq!(next(DeliveryError::Permanent("x".into())), Next::GiveUp);
        assert_eq!(next(DeliveryError::Unsupported("edit")), Next::GiveUp);
    }
}
