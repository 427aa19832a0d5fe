//! One attempt of one event: call the guest, then commit what it asked for, or drop it and write down what went wrong.

use std::sync::Arc;
use std::time::Duration;

use super::report::{Report, Reporter};
use crate::action::Severity;
use crate::alert::Alerts;
use crate::backoff::Backoff;
use crate::clock::Timestamp;
use crate::event::{Event, EventClass};
use crate::failpoint::{self, Failpoint};
use crate::id::{BotName, ContentHash};
use crate::metrics::{self, Metrics};
use crate::sandbox::{Attempt, Fault, FaultKind, Guest, StartReason};
use crate::store::history::AttemptRecord;
use crate::store::{Claimed, IncidentKind, Settled, Settlement, Spent, Store, StoreError};
use crate::telemetry::Tracer;

/// How often a handler is run again at once because another event changed what it had read.
const CONFLICT_RERUNS_MAX: u32 = 10;
/// The requirements' waits between attempts.
const RETRY_INITIAL: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);
const RETRY_JITTER: f64 = 0.25;

/// How long an event waits where the store cannot say what became of it.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// What attempts need beside the guest.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) bot: BotName,
    pub(super) store: Store,
    pub(super) metrics: Arc<Metrics>,
    pub(super) alerts: Arc<Alerts>,
    pub(super) tracer: Tracer,
    pub(super) reporter: Arc<Reporter>,
}

/// When an event that fails is given up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// After so many attempts.
    pub(super) attempts_max: u32,
    /// False while the version is on trial: the one before may come back, and is to have its chance.
    pub(super) may_give_up: bool,
}

/// How an attempt ended, for the bot's counters.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The event is done.
    Well,
    /// The bot did not want it.
    Unwanted,
    /// It faulted; the event is tried again or given up.
    Faulted { kind: FaultKind, is_first: bool, error: String },
    /// The store failed: the event waits as if nothing had been tried.
    Undecided,
}

/// Why an attempt did not end well.
enum Failed {
    /// The bot's doing.
    Fault { fault: Fault, spent: Spent },
    /// The store's: no attempt of the bot's.
    Store(StoreError),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Desk {
    /// Runs one attempt of an event and writes down how it ended.
    pub(super) async fn attempt(&self, guest: &Guest, claimed: &Claimed, terms: Terms) -> Ended {
        match self.try_event(guest, claimed, terms).await {
            Ok(ended) => ended,
            Err(Failed::Fault { fault, spent }) => {
                let given_back = self.give_back(claimed, &fault, spent, (Some(guest.hash()), terms)).await;
                self.faulted(claimed, &fault, given_back)
            }
            Err(Failed::Store(error)) => self.undecided(claimed, &error),
        }
    }

    /// Writes down that an attempt panicked in the host.
    pub(super) async fn host_panicked(&self, claimed: &Claimed, terms: Terms) -> Ended {
        let fault = Fault::new(FaultKind::Host, "the host panicked while it handled this event");
        let given_back = self.give_back(claimed, &fault, Spent::default(), (None, terms)).await;
        self.faulted(claimed, &fault, given_back)
    }

    fn faulted(&self, claimed: &Claimed, fault: &Fault, given_back: Result<(), StoreError>) -> Ended {
        match given_back {
            Ok(()) => Ended::Faulted { kind: fault.kind, is_first: claimed.attempt == 1, error: fault.to_string() },
            Err(error) => self.undecided(claimed, &error),
        }
    }

    async fn try_event(&self, guest: &Guest, claimed: &Claimed, terms: Terms) -> Result<Ended, Failed> {
        failpoint::reach(Failpoint::ClaimTaken);
        let lost =
            |message: String| Failed::Fault { fault: Fault::new(FaultKind::Host, message), spent: Spent::default() };
        let event = match self.store.event_of(claimed).await {
            Ok(Some(event)) => event,
            Ok(None) => return Err(lost("the event is no longer stored".to_owned())),
            Err(error @ StoreError::Corrupt { .. }) => return Err(lost(error.to_string())),
            Err(error) => return Err(error.into()),
        };
        let Some(event) = as_wanted(guest, &event) else {
            self.store.dismiss(claimed).await;
            return Ok(Ended::Unwanted);
        };
        self.store.begin(claimed).await?;
        if claimed.is_suspect && claimed.attempt > terms.attempts_max {
            return Err(lost("the host died while it handled this event, each time it tried".to_owned()));
        }
        let waited = Timestamp::now().saturating_since(event.received_at);
        let traced = self.tracer.handling(&self.bot, &event, claimed.attempt, waited);
        let result = self.handle_and_commit(guest, &event, claimed, waited).await;
        if let Some(traced) = traced {
            match &result {
                Ok(spent) => traced.ended("ok", spent.fuel),
                Err(Failed::Fault { fault, spent }) => traced.ended(fault.kind.as_str(), spent.fuel),
                Err(Failed::Store(_)) => traced.ended("undecided", 0),
            }
        }
        result.map(|_| Ended::Well)
    }

    async fn handle_and_commit(
        &self,
        guest: &Guest,
        event: &Event,
        claimed: &Claimed,
        waited: Duration,
    ) -> Result<Spent, Failed> {
        let mut spent = Spent::default();
        for _ in 0..=CONFLICT_RERUNS_MAX {
            failpoint::reach(Failpoint::GuestBefore);
            let attempt = guest.handle(event, claimed.attempt).await;
            failpoint::reach(Failpoint::GuestAfter);
            self.measure(event.kind.class(), &attempt, waited);
            spent = Spent { elapsed: attempt.elapsed, fuel: attempt.fuel };
            let effects = attempt.outcome.map_err(|fault| Failed::Fault { fault, spent })?;
            let settlement = Settlement {
                bot: &self.bot,
                done: Some((claimed, spent)),
                effects,
                state_bytes_max: guest.limits().state,
                reply_by: event.reply_deadline().map(|moment| (event.lane(), moment)),
                now: Timestamp::now(),
            };
            if self.commit(settlement, spent).await? {
                return Ok(spent);
            }
        }
        let fault = Fault::new(FaultKind::Refused, "other events changed what it read, ten times in a row");
        Err(Failed::Fault { fault, spent })
    }

    /// Runs `init` as a transaction of its own.
    pub(super) async fn init(&self, guest: &Guest, reason: StartReason) -> Result<(), Fault> {
        for _ in 0..=CONFLICT_RERUNS_MAX {
            let effects = guest.init(reason).await.outcome?;
            let settlement = Settlement {
                bot: &self.bot,
                done: None,
                effects,
                state_bytes_max: guest.limits().state,
                reply_by: None,
                now: Timestamp::now(),
            };
            match self.commit(settlement, Spent::default()).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(Failed::Fault { fault, .. }) => return Err(fault),
                Err(Failed::Store(error)) => {
                    return Err(Fault::new(FaultKind::Host, format!("the store could not commit: {error}")));
                }
            }
        }
        Err(Fault::new(FaultKind::Refused, "events changed what `init` read, ten times in a row"))
    }

    /// Commits what a call asked for. False: another event changed what it had read, so it has to run again.
    async fn commit(&self, settlement: Settlement<'_>, spent: Spent) -> Result<bool, Failed> {
        match self.store.settle(settlement).await? {
            Settled::Done { alerts } => {
                for change in alerts {
                    self.alerts.apply(&self.bot, change, Timestamp::now());
                }
                Ok(true)
            }
            // The operator has taken the event away; nothing of it takes effect.
            Settled::Gone => Ok(true),
            Settled::Conflict { .. } => Ok(false),
            Settled::Refused { reason } => Err(Failed::Fault { fault: Fault::new(FaultKind::Refused, reason), spent }),
        }
    }

    /// Writes an attempt down that faulted: the event is tried again, or is a dead letter.
    async fn give_back(
        &self,
        claimed: &Claimed,
        fault: &Fault,
        spent: Spent,
        (component, terms): (Option<ContentHash>, Terms),
    ) -> Result<(), StoreError> {
        self.metrics.fault(&self.bot, fault.kind.as_str());
        // What may have killed a process is never tried without end.
        let is_over = claimed.attempt >= terms.attempts_max && (terms.may_give_up || claimed.is_suspect);
        let wait = Backoff::at(RETRY_INITIAL, RETRY_MAX, RETRY_JITTER, claimed.attempt, fastrand::f64());
        let retry = (!is_over).then(|| Timestamp::steady().saturating_add(wait));
        let record = AttemptRecord {
            attempt: claimed.attempt,
            at: Timestamp::now(),
            elapsed: spent.elapsed,
            fuel: spent.fuel,
            outcome: fault.kind.as_str().to_owned(),
            message: fault.to_string(),
            backtrace: fault.backtrace.join("\n"),
        };
        self.store.fail(claimed, record, retry).await?;
        if is_over {
            self.metrics.dead_letter(&self.bot);
        }
        let strategy = if is_over { "dead-letter".to_owned() } else { format!("retry in {} ms", wait.as_millis()) };
        self.reporter.say(&Report {
            severity: if is_over { Severity::Critical } else { Severity::Warning },
            kind: IncidentKind::Fault(fault.kind.as_str().into()),
            text: if is_over { "an event was given up: it is a dead letter now" } else { "a call failed" },
            event: claimed.event_id().map(|id| (id, claimed.attempt)),
            component,
            message: &fault.message,
            backtrace: &fault.backtrace.join("\n"),
            strategy: &strategy,
        });
        Ok(())
    }

    /// Leaves an event waiting whose end the store could not take. It is no attempt: nothing of it took effect.
    fn undecided(&self, claimed: &Claimed, error: &StoreError) -> Ended {
        let (bot, error) = (&self.bot, error as &dyn std::error::Error);
        tracing::warn!(%bot, error, "the store failed; the event waits");
        self.store.queue().unclaim(claimed, Some(Timestamp::steady().saturating_add(STORE_RETRY)));
        Ended::Undecided
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
        let Event { id, connector, platform_id, received_at, kind: _, raw } = &**event;
        let (connector, platform_id, raw) = (connector.clone(), platform_id.clone(), raw.clone());
        return Some(Arc::new(Event { id: *id, connector, platform_id, received_at: *received_at, kind, raw }));
    }
    let class = event.kind.class();
    let always = matches!(class, EventClass::Command | EventClass::Timer);
    (always || manifest.wants.is_empty() || manifest.wants.contains(&class)).then(|| Arc::clone(event))
}
