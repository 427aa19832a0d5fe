//! One attempt of one event: call the guest, then commit what it asked for or drop it.

use std::sync::Arc;
use std::time::Duration;

use crate::alert::Alerts;
use crate::backoff::Backoff;
use crate::clock::Timestamp;
use crate::event::{Event, EventClass};
use crate::id::BotName;
use crate::metrics::{self, Metrics};
use crate::sandbox::{Attempt, Fault, FaultKind, Guest, StartReason};
use crate::store::{Claimed, Settled, Settlement, Store, Verdict};

/// How often a handler is run again at once because another event changed what it had read.
const CONFLICT_RERUNS_MAX: u32 = 10;
/// The requirements' waits between attempts.
const RETRY_INITIAL: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);
const RETRY_JITTER: f64 = 0.25;

/// What attempts need beside the guest.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) bot: BotName,
    pub(super) store: Store,
    pub(super) metrics: Arc<Metrics>,
    pub(super) alerts: Arc<Alerts>,
    /// Attempts of one event before it is given up.
    pub(super) attempts_max: u32,
}

/// How an attempt ended, for the bot's counters.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The event is done, or the bot did not want it.
    Well,
    /// It faulted; the event is tried again or given up.
    Faulted,
}

impl Desk {
    /// Runs one attempt of an event and settles it with the queue.
    pub(super) async fn attempt(&self, guest: &Guest, claimed: &Claimed) -> Ended {
        let Some(event) = as_wanted(guest, &claimed.event) else {
            self.store.queue().settle(claimed, Verdict::Done);
            return Ended::Well;
        };
        let waited = Timestamp::now().saturating_since(event.received_at);
        let outcome = self.handle_and_commit(guest, &event, claimed, waited).await;
        match outcome {
            Ok(()) => {
                self.store.queue().settle(claimed, Verdict::Done);
                Ended::Well
            }
            Err(fault) => {
                self.report_fault(&fault, &event, claimed.attempt);
                self.store.queue().settle(claimed, self.after(&fault, claimed));
                Ended::Faulted
            }
        }
    }

    /// Settles an event whose attempt panicked in the host.
    pub(super) fn host_panicked(&self, claimed: &Claimed) {
        let fault = Fault::new(FaultKind::Host, "the host panicked while it handled this event");
        self.report_fault(&fault, &claimed.event, claimed.attempt);
        self.store.queue().settle(claimed, self.after(&fault, claimed));
    }

    async fn handle_and_commit(
        &self,
        guest: &Guest,
        event: &Event,
        claimed: &Claimed,
        waited: Duration,
    ) -> Result<(), Fault> {
        for _ in 0..=CONFLICT_RERUNS_MAX {
            let attempt = guest.handle(event, claimed.attempt).await;
            self.measure(event.kind.class(), &attempt, waited);
            let effects = attempt.outcome?;
            let settlement = Settlement {
                bot: &self.bot,
                event: Some(event.id),
                effects,
                state_bytes_max: guest.limits().state,
                now: Timestamp::now(),
            };
            if self.commit(settlement).await? {
                return Ok(());
            }
        }
        Err(Fault::new(FaultKind::Refused, "other events changed what it read, ten times in a row"))
    }

    /// Runs `init` as a transaction of its own.
    pub(super) async fn init(&self, guest: &Guest, reason: StartReason) -> Result<(), Fault> {
        for _ in 0..=CONFLICT_RERUNS_MAX {
            let effects = guest.init(reason).await.outcome?;
            let settlement = Settlement {
                bot: &self.bot,
                event: None,
                effects,
                state_bytes_max: guest.limits().state,
                now: Timestamp::now(),
            };
            if self.commit(settlement).await? {
                return Ok(());
            }
        }
        Err(Fault::new(FaultKind::Refused, "events changed what `init` read, ten times in a row"))
    }

    /// Commits what a call asked for. False: another event changed what it had read, so it has to run again.
    async fn commit(&self, settlement: Settlement<'_>) -> Result<bool, Fault> {
        match self.store.settle(settlement).await {
            Ok(Settled::Done { alerts }) => {
                for change in alerts {
                    self.alerts.apply(&self.bot, change, Timestamp::now());
                }
                Ok(true)
            }
            Ok(Settled::Conflict { .. }) => Ok(false),
            Ok(Settled::Refused { reason }) => Err(Fault::new(FaultKind::Refused, reason)),
            Err(error) => Err(Fault::new(FaultKind::Host, format!("the store could not commit: {error}"))),
        }
    }

    /// Decides what becomes of an event whose attempt faulted.
    fn after(&self, fault: &Fault, claimed: &Claimed) -> Verdict {
        if claimed.attempt < self.attempts_max {
            let wait = Backoff::at(RETRY_INITIAL, RETRY_MAX, RETRY_JITTER, claimed.attempt, fastrand::f64());
            return Verdict::Retry { due: Timestamp::now().saturating_add(wait) };
        }
        self.metrics.dead_letter(&self.bot);
        let (bot, event, attempts) = (&self.bot, claimed.event.id, claimed.attempt);
        tracing::error!(%bot, %event, attempts, %fault, "an event was given up: every attempt failed");
        Verdict::Done
    }

    fn report_fault(&self, fault: &Fault, event: &Event, attempt: u32) {
        self.metrics.fault(&self.bot, fault.kind.as_str());
        let backtrace = fault.backtrace.join("\n");
        tracing::warn!(bot = %self.bot, event = %event.id, attempt, %fault, backtrace, "a call failed");
    }

    fn measure(&self, class: EventClass, attempt: &Attempt, waited: Duration) {
        let outcome = attempt.outcome.as_ref().map_or_else(|fault| fault.kind.as_str(), |_| "ok");
        let measured = metrics::Attempt { class, outcome, waited, elapsed: attempt.elapsed, fuel: attempt.fuel };
        self.metrics.attempt_ended(&self.bot, &measured);
    }
}

/// Returns the event as this version of the bot gets it, or nothing if it does not want it. Commands and the bot's own timers
/// always come.
fn as_wanted(guest: &Guest, event: &Arc<Event>) -> Option<Arc<Event>> {
    let manifest = guest.manifest();
    let is_command = |name: &str| manifest.commands.iter().any(|command| command.name == name);
    if let Some(kind) = super::command::recognise(&event.kind, is_command) {
        return Some(Arc::new(Event { kind, ..Event::clone(event) }));
    }
    let class = event.kind.class();
    let always = matches!(class, EventClass::Command | EventClass::Timer);
    (always || manifest.wants.is_empty() || manifest.wants.contains(&class)).then(|| Arc::clone(event))
}
