//! The task of one bot: claims its events, runs their attempts, swaps its versions, publishes its status.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::call::{Desk, Ended};
use super::phase::{BotStatus, Phase};
use super::{BotServices, Order};
use crate::backoff::Backoff;
use crate::clock::Timestamp;
use crate::id::BotName;
use crate::sandbox::{Fault, Guest, StartReason};
use crate::store::Claimed;

/// Waits between two tries of an `init` that fails.
const INIT_RETRY_INITIAL: Duration = Duration::from_millis(500);
const INIT_RETRY_MAX: Duration = Duration::from_secs(30);
const INIT_RETRY_JITTER: f64 = 0.25;
/// Waits before events are claimed again after the store could not take how one ended: the guest would work for nothing.
const STORE_RETRY_INITIAL: Duration = Duration::from_secs(1);
const STORE_RETRY_MAX: Duration = Duration::from_secs(15);
const STORE_RETRY_JITTER: f64 = 0.2;

/// The state of a bot's task.
pub(super) struct Task {
    desk: Desk,
    status: watch::Sender<BotStatus>,
    /// The version that serves.
    serving: Option<Arc<Guest>>,
    /// The version whose `init` runs or is tried again.
    probation: Option<Probation>,
    work: JoinSet<Done>,
    /// The events at work, for the case that one's task panics.
    at_work: HashMap<Id, Claimed>,
    stall: Stall,
    cut_off: CancellationToken,
}

/// Nothing is claimed for a while, for the store's sake.
struct Stall {
    backoff: Backoff,
    until: Option<tokio::time::Instant>,
}

impl Stall {
    fn new() -> Self {
        Self { backoff: Backoff::new(STORE_RETRY_INITIAL, STORE_RETRY_MAX, STORE_RETRY_JITTER), until: None }
    }

    fn is_over(&mut self, now: tokio::time::Instant) -> bool {
        self.until.take_if(|until| *until <= now);
        self.until.is_none()
    }

    /// Those that fail side by side are one failure.
    fn store_failed(&mut self, now: tokio::time::Instant) {
        if self.until.is_none() {
            self.until = Some(now + self.backoff.next(fastrand::f64()));
        }
    }

    fn store_worked(&mut self) {
        self.backoff.reset();
    }
}

struct Probation {
    guest: Arc<Guest>,
    reason: StartReason,
    backoff: Backoff,
    /// When the next try is due; none: one runs.
    due: Option<tokio::time::Instant>,
}

/// What a task of the set did.
enum Done {
    Event(Ended),
    Init { guest: Arc<Guest>, result: Result<(), Fault> },
}

impl Task {
    pub(super) fn new(name: BotName, services: BotServices) -> (Self, watch::Receiver<BotStatus>) {
        let (status, receiver) = watch::channel(BotStatus::new(name.clone()));
        let BotServices { store, metrics, alerts, attempts_max, cut_off } = services;
        metrics.bot_phase(&name, Phase::Discovered.as_str());
        let desk = Desk { bot: name, store, metrics, alerts, attempts_max };
        let (work, at_work) = (JoinSet::new(), HashMap::new());
        let stall = Stall::new();
        let task = Self { desk, status, serving: None, probation: None, work, at_work, stall, cut_off };
        (task, receiver)
    }

    /// Runs until the orders end, then finishes what is at work.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            // Asked for before claiming, so that what comes in between is not missed.
            let work = self.desk.store.queue().work(&self.desk.bot);
            self.claim();
            self.publish_depth();
            let wake = self.wake_at();
            // Every branch is cancel safe: a channel's `recv`, a `Notified` that is made anew in each turn after the state it
            // tells of is looked at again, a set's `join_next`, and a sleep.
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => break,
                },
                () = work => {}
                Some(done) = self.work.join_next_with_id() => self.finished(done),
                () = sleep_until(wake) => self.on_wake(),
            }
        }
        self.drain().await;
    }

    /// Claims events while there are any and there is room beside those at work.
    fn claim(&mut self) {
        let Some(guest) = &self.serving else { return };
        if !self.stall.is_over(tokio::time::Instant::now()) {
            return;
        }
        let room = guest.limits().in_flight as usize;
        while self.at_work.len() < room {
            let Some(claimed) = self.desk.store.queue().claim(&self.desk.bot, Timestamp::steady()) else { return };
            let (desk, guest, event) = (self.desk.clone(), Arc::clone(guest), claimed.clone());
            let task = self.work.spawn(async move { Done::Event(desk.attempt(&guest, &event).await) });
            self.at_work.insert(task.id(), claimed);
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Serve { guest, reason } => {
                let backoff = Backoff::new(INIT_RETRY_INITIAL, INIT_RETRY_MAX, INIT_RETRY_JITTER);
                self.probation = Some(Probation { guest, reason, backoff, due: None });
                if self.serving.is_none() {
                    self.enter(Phase::Starting);
                }
                self.start_init();
            }
            Order::Refuse { reason } => {
                tracing::error!(bot = %self.desk.bot, reason, "a version was refused");
                self.probation = None;
                if self.serving.is_none() {
                    self.enter(Phase::Rejected { reason });
                } else {
                    self.status.send_modify(|status| status.refused = Some(reason));
                }
            }
            Order::Pause { phase } => {
                self.probation = None;
                self.serving = None;
                self.enter(phase);
            }
        }
    }

    fn start_init(&mut self) {
        let Some(probation) = &mut self.probation else { return };
        probation.due = None;
        let (desk, guest, reason) = (self.desk.clone(), Arc::clone(&probation.guest), probation.reason);
        self.work.spawn(async move {
            let result = desk.init(&guest, reason).await;
            Done::Init { guest, result }
        });
    }

    fn finished(&mut self, done: Result<(Id, Done), JoinError>) {
        match done {
            Ok((id, Done::Event(ended))) => {
                self.at_work.remove(&id);
                self.count(&ended);
            }
            Ok((_, Done::Init { guest, result })) => self.init_ended(&guest, result),
            Err(error) => match self.at_work.remove(&error.id()) {
                Some(claimed) => self.panicked(claimed),
                None => self.init_panicked(),
            },
        }
    }

    /// Has it written down that an attempt panicked in the host. The event stays at work until that is done.
    fn panicked(&mut self, claimed: Claimed) {
        let (desk, event) = (self.desk.clone(), claimed.clone());
        let task = self.work.spawn(async move { Done::Event(desk.host_panicked(&event).await) });
        self.at_work.insert(task.id(), claimed);
    }

    /// Lets a version serve whose `init` ended well; tries one again that failed.
    fn init_ended(&mut self, guest: &Arc<Guest>, result: Result<(), Fault>) {
        // A version that was overtaken by a newer one says nothing of the newer.
        let Some(probation) = self.probation.take_if(|probation| Arc::ptr_eq(&probation.guest, guest)) else { return };
        match result {
            Ok(()) => self.flip(probation.guest),
            Err(fault) => self.init_failed(probation, fault.to_string()),
        }
    }

    fn init_panicked(&mut self) {
        if let Some(probation) = self.probation.take_if(|probation| probation.due.is_none()) {
            self.init_failed(probation, "the host panicked in it".to_owned());
        }
    }

    fn init_failed(&mut self, mut probation: Probation, error: String) {
        let wait = probation.backoff.next(fastrand::f64());
        tracing::warn!(bot = %self.desk.bot, error, wait_ms = wait.as_millis(), "`init` failed and will be tried again");
        self.desk.metrics.fault(&self.desk.bot, "init");
        if self.serving.is_none() {
            let until = Timestamp::now().saturating_add(wait);
            self.enter(Phase::Backoff { error, until });
        } else {
            let refused = format!("its `init` failed, the version before serves: {error}");
            self.status.send_modify(|status| status.refused = Some(refused));
        }
        probation.due = Some(tokio::time::Instant::now() + wait);
        probation.reason = if self.serving.is_none() { StartReason::Restarted } else { probation.reason };
        self.probation = Some(probation);
    }

    /// From here on the next event is this version's.
    fn flip(&mut self, guest: Arc<Guest>) {
        let (hash, version) = (guest.hash(), guest.manifest().version.clone());
        tracing::info!(bot = %self.desk.bot, component = %hash, version, "the bot serves");
        self.serving = Some(guest);
        self.status.send_modify(|status| {
            status.component = Some(hash);
            status.version = Some(version);
            status.refused = None;
        });
        self.enter(Phase::Running);
    }

    /// When something is due: a lane's next attempt, the next try of `init`, a warm instance that may be idle.
    fn wake_at(&self) -> Option<tokio::time::Instant> {
        let now = (tokio::time::Instant::now(), Timestamp::steady());
        // Without room for it, or while nothing is claimed, a lane that is due would only wake the task again and again.
        let has_room = self.serving.as_ref().filter(|guest| self.at_work.len() < guest.limits().in_flight as usize);
        let retry = has_room.and_then(|_| self.desk.store.queue().next_due(&self.desk.bot));
        let retry = self.stall.until.or(retry.map(|due| now.0 + due.saturating_since(now.1)));
        let init = self.probation.as_ref().and_then(|probation| probation.due);
        let idle = self.serving.as_ref().and_then(|guest| guest.drop_idle()).map(|left| now.0 + left);
        [retry, init, idle].into_iter().flatten().min()
    }

    fn on_wake(&mut self) {
        let now = tokio::time::Instant::now();
        if self.probation.as_ref().and_then(|probation| probation.due).is_some_and(|due| due <= now) {
            self.start_init();
        }
    }

    /// Finishes what is at work, or ends it when it is cut off.
    async fn drain(mut self) {
        self.enter(Phase::Draining);
        self.probation = None;
        let cut_off = self.cut_off.clone();
        // Cancel safe: a set's `join_next`.
        while let Some(Some(done)) = cut_off.run_until_cancelled(self.work.join_next_with_id()).await {
            self.finished(done);
        }
        // Joined, so that no call outlives the bot. Their events go back when this is dropped.
        self.work.shutdown().await;
        self.publish_depth();
        self.enter(Phase::Stopped);
    }

    fn count(&mut self, ended: &Ended) {
        match ended {
            Ended::Well | Ended::Faulted => self.stall.store_worked(),
            Ended::Undecided => self.stall.store_failed(tokio::time::Instant::now()),
        }
        self.status.send_modify(|status| match ended {
            Ended::Well => status.handled += 1,
            Ended::Faulted => status.faults += 1,
            Ended::Undecided => {}
        });
    }

    fn publish_depth(&self) {
        self.desk.metrics.queue_depth(self.desk.store.queue().len());
        let depth = self.desk.store.queue().depth(&self.desk.bot);
        self.status.send_if_modified(|status| {
            let changed = (status.queued, status.in_flight) != (depth.queued, depth.claimed);
            (status.queued, status.in_flight) = (depth.queued, depth.claimed);
            changed
        });
    }

    fn enter(&self, phase: Phase) {
        self.desk.metrics.bot_phase(&self.desk.bot, phase.as_str());
        self.status.send_if_modified(|status| {
            let changed = status.phase != phase;
            if changed {
                status.since = Timestamp::now();
                status.phase = phase;
            }
            changed
        });
    }
}

impl Drop for Task {
    /// A task that is aborted leaves its claims to the next one.
    fn drop(&mut self) {
        for claimed in self.at_work.values() {
            self.desk.store.queue().unclaim(claimed, None);
        }
    }
}

/// Sleeps until then; for ever where there is no such moment.
async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_fails_is_asked_less_and_less_until_it_works() {
        let mut now = tokio::time::Instant::now();
        let mut stall = Stall::new();
        let mut waits = Vec::new();
        for _ in 0..8 {
            (0..16).for_each(|_| stall.store_failed(now));
            let until = stall.until.unwrap();
            assert!(!stall.is_over(now) && stall.is_over(until));
            waits.push((until - now).as_secs_f64());
            now = until;
        }
        assert!(waits[0] <= 1.2 && waits[7] >= 12.0, "{waits:?}");
        stall.store_worked();
        stall.store_failed(now);
        assert!(stall.until.unwrap() - now <= Duration::from_millis(1200));
    }
}
