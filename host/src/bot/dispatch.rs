//! The task of one bot: claims its events, runs their attempts and its versions' `init`, does what its life asks for, publishes its
//! status.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::budget::RestartBudget;
use super::call::{Desk, Ended, Terms};
use super::condemned::CondemnedList;
use super::edition::Edition;
use super::life::{Act, EventEnd, Life, Now};
use super::phase::{BotStatus, Phase};
use super::report::{Report, Reporter};
use super::stall::Stall;
use super::{BotPolicy, BotServices, BotVerb, Order};
use crate::action::Severity;
use crate::alert::Signs;
use crate::clock::Timestamp;
use crate::id::{BotName, ContentHash};
use crate::sandbox::{Fault, FaultKind, StartReason};
use crate::store::{Claimed, IncidentKind};

/// The state of a bot's task.
pub(super) struct Task {
    desk: Desk,
    status: watch::Sender<BotStatus>,
    life: Life<Edition>,
    attempts_max: u32,
    work: JoinSet<Done>,
    /// The events at work, and which version has them; for the case that one's task panics, too.
    at_work: HashMap<Id, (Claimed, Edition)>,
    /// The versions whose `init` runs.
    starting: HashMap<Id, Edition>,
    stall: Stall,
    budget: Arc<RestartBudget>,
    condemned: Arc<CondemnedList>,
    news: Arc<Notify>,
    /// The host's alerts about this bot that are up.
    alerts_up: Signs,
    /// The highest number that it was offered or refused.
    newest: u64,
    cut_off: CancellationToken,
}

/// What a task of the set did.
enum Done {
    Event(Ended),
    Init(Result<(), Fault>),
    Condemned,
}

impl Task {
    pub(super) fn new(name: BotName, policy: BotPolicy, services: BotServices) -> (Self, watch::Receiver<BotStatus>) {
        let (status, receiver) = watch::channel(BotStatus { tenant: policy.tenant, ..BotStatus::new(name.clone()) });
        let BotServices { store, metrics, alerts, errors, tracer, budget, condemned, news, cut_off } = services;
        metrics.bot_phase(&name, Phase::Discovered.as_str());
        metrics.bot_restarted(&name, 0);
        let alerts_up = Signs::of("bot", name.as_str());
        let reporter = Arc::new(Reporter::new(name.clone(), store.clone(), Arc::clone(&alerts), errors));
        let task = Self {
            desk: Desk { bot: name, store, metrics, alerts, tracer, reporter },
            status,
            life: Life::new(policy.supervision, policy.rollout),
            attempts_max: policy.attempts_max,
            work: JoinSet::new(),
            at_work: HashMap::new(),
            starting: HashMap::new(),
            stall: Stall::new(),
            budget,
            condemned,
            news,
            alerts_up,
            newest: 0,
            cut_off,
        };
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
            self.do_acts();
        }
        self.drain().await;
    }

    /// Claims events while there are any and there is room beside those at work.
    fn claim(&mut self) {
        let Some(edition) = self.life.serving().cloned() else { return };
        let now = tokio::time::Instant::now();
        if !self.stall.is_over(now) {
            return;
        }
        let terms = Terms { attempts_max: self.attempts_max, may_give_up: self.life.may_give_up(now) };
        while self.at_work.len() < self.life.room(edition.guest.limits().in_flight as usize) {
            let Some(claimed) = self.desk.store.queue().claim(&self.desk.bot, Timestamp::steady()) else { return };
            let (desk, guest, event) = (self.desk.clone(), Arc::clone(&edition.guest), claimed.clone());
            let task = self.work.spawn(async move { Done::Event(desk.attempt(&guest, &event, terms).await) });
            self.at_work.insert(task.id(), (claimed, edition.clone()));
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Serve { number, guest } => {
                self.newest = self.newest.max(number);
                self.life.offer(Edition { number, guest });
            }
            Order::Refuse { number, reason } => {
                self.newest = self.newest.max(number);
                self.life.refuse(number, reason);
            }
            Order::Accept => self.life.accept(),
            Order::Disable => self.life.disable(),
            Order::Policy(policy) => {
                self.attempts_max = policy.attempts_max;
                self.status.send_if_modified(|status| {
                    std::mem::replace(&mut status.tenant, policy.tenant.clone()) != policy.tenant
                });
                self.life.set_policy(policy.supervision, policy.rollout);
            }
            Order::Verb { verb, answer } => {
                let done = match verb {
                    BotVerb::Start => self.life.bring_up(),
                    BotVerb::Stop => {
                        self.life.stop();
                        Ok(())
                    }
                    BotVerb::Restart => match self.life.newest().map(Edition::anew) {
                        Some(edition) => self.life.restart(edition),
                        None => self.life.bring_up(),
                    },
                    BotVerb::Reset => {
                        self.life.reset(now());
                        Ok(())
                    }
                };
                // Whoever asked may have gone.
                let _ = answer.send(done);
            }
        }
    }

    /// Does what the bot's life asks for, and publishes how it stands then.
    fn do_acts(&mut self) {
        while let Some(act) = self.life.next_act() {
            match act {
                Act::Init { version, reason } => self.start_init(version, reason),
                Act::Condemn { version, reason } => self.condemn(version.guest.hash(), reason),
                Act::Note { what, version, message, strategy } => {
                    let component = version.map(|edition| edition.guest.hash());
                    self.note(what, component, &message, &strategy);
                }
            }
        }
        self.publish();
    }

    fn start_init(&mut self, edition: Edition, reason: StartReason) {
        let (desk, guest) = (self.desk.clone(), Arc::clone(&edition.guest));
        let task = self.work.spawn(async move { Done::Init(desk.init(&guest, reason).await) });
        self.starting.insert(task.id(), edition);
    }

    /// Has a component not be tried again. Where only entry or limits differ from what serves, it is not the component's fault.
    fn condemn(&mut self, component: ContentHash, reason: String) {
        if self.life.newest().is_some_and(|edition| edition.guest.hash() == component) {
            return;
        }
        let (condemned, bot) = (Arc::clone(&self.condemned), self.desk.bot.clone());
        self.work.spawn(async move {
            if let Err(error) = condemned.condemn(&bot, component, reason).await {
                let error = &error as &dyn std::error::Error;
                tracing::error!(%bot, %component, error, "the next process will try this version again");
            }
            Done::Condemned
        });
    }

    fn note(&self, what: IncidentKind, component: Option<ContentHash>, message: &str, strategy: &str) {
        let (severity, text) = match &what {
            IncidentKind::Fault(_) => (Severity::Warning, "`init` failed"),
            IncidentKind::Started => (Severity::Info, "the bot serves"),
            IncidentKind::Reloaded => (Severity::Info, "a version of the bot serves"),
            IncidentKind::Restarted => (Severity::Info, "the bot began anew"),
            IncidentKind::Proved => (Severity::Info, "a version has proved itself"),
            IncidentKind::RolledBack => (Severity::Critical, "a version was rolled back"),
            IncidentKind::BreakerOpen => (Severity::Warning, "the bot gets no events for a while"),
            IncidentKind::BreakerClosed => (Severity::Info, "the bot recovered"),
            IncidentKind::Quarantined => (Severity::Critical, "the bot is quarantined"),
            IncidentKind::Reset => (Severity::Info, "the bot was reset"),
            IncidentKind::Stopped => (Severity::Info, "the bot is stopped"),
            IncidentKind::Refused => (Severity::Critical, "a version was refused"),
        };
        let report = Report { severity, kind: what, text, event: None, component, message, backtrace: "", strategy };
        self.desk.reporter.say(&report);
    }

    fn finished(&mut self, done: Result<(Id, Done), JoinError>) {
        let id = done.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        if let Some((claimed, edition)) = self.at_work.remove(&id) {
            match done {
                Ok((_, Done::Event(ended))) => self.event_ended(&edition, ended),
                _ => self.panicked(claimed, edition),
            }
        } else if let Some(edition) = self.starting.remove(&id) {
            let result = match done {
                Ok((_, Done::Init(result))) => result.map_err(|fault| fault.to_string()),
                _ => Err("the host panicked in it".to_owned()),
            };
            if result.is_err() {
                self.desk.metrics.fault(&self.desk.bot, "init");
            }
            self.life.init_ended(&edition, result, now());
        }
    }

    fn event_ended(&mut self, edition: &Edition, ended: Ended) {
        match &ended {
            Ended::Well | Ended::Unwanted | Ended::Faulted { .. } => self.stall.store_worked(),
            Ended::Undecided => self.stall.store_failed(tokio::time::Instant::now()),
        }
        self.status.send_modify(|status| match ended {
            Ended::Well | Ended::Unwanted => status.handled += 1,
            Ended::Faulted { .. } => status.faults += 1,
            Ended::Undecided => {}
        });
        let end = match ended {
            Ended::Well => EventEnd::Well,
            Ended::Faulted { kind: FaultKind::Quit, .. } => EventEnd::Quit,
            // What the bot never saw says nothing of it, and the host's own failures are nothing that its restart mends.
            Ended::Unwanted | Ended::Faulted { kind: FaultKind::Host, .. } | Ended::Undecided => return,
            Ended::Faulted { is_first, error, .. } => EventEnd::Failed { is_first, error },
        };
        self.life.event_ended(edition, end, now());
    }

    /// Has it written down that an attempt panicked in the host. The event stays at work until that is done.
    fn panicked(&mut self, claimed: Claimed, edition: Edition) {
        let (desk, event) = (self.desk.clone(), claimed.clone());
        let terms = Terms { attempts_max: self.attempts_max, may_give_up: true };
        let task = self.work.spawn(async move { Done::Event(desk.host_panicked(&event, terms).await) });
        self.at_work.insert(task.id(), (claimed, edition));
    }

    /// When something is due: in the bot's life, a lane's next attempt, a warm instance that may be idle.
    fn wake_at(&self) -> Option<tokio::time::Instant> {
        let now = (tokio::time::Instant::now(), Timestamp::steady());
        // Without room for it, or while nothing is claimed, a lane that is due would only wake the task again and again.
        let room = |edition: &Edition| self.life.room(edition.guest.limits().in_flight as usize);
        let has_room = self.life.serving().filter(|edition| self.at_work.len() < room(edition));
        let retry = has_room.and_then(|_| self.desk.store.queue().next_due(&self.desk.bot));
        let retry = self.stall.until.or(retry.map(|due| now.0 + due.saturating_since(now.1)));
        let idle = self.life.kept().filter_map(|edition| edition.guest.drop_idle()).map(|left| now.0 + left).min();
        [retry, self.life.next_due(now.0), idle].into_iter().flatten().min()
    }

    fn on_wake(&mut self) {
        let now = now();
        if self.life.is_restart_due(now.instant)
            && let Err(wait) = self.budget.take(now.instant.into_std(), now.random)
        {
            self.life.postpone(now, wait);
        }
        self.life.tick(now);
    }

    /// Finishes what is at work, or ends it when it is cut off.
    async fn drain(mut self) {
        self.enter(Phase::Draining);
        let cut_off = self.cut_off.clone();
        // Cancel safe: a set's `join_next`.
        while let Some(Some(done)) = cut_off.run_until_cancelled(self.work.join_next_with_id()).await {
            self.finished(done);
        }
        // Joined, so that no call outlives the bot. Their events go back when this is dropped.
        self.work.shutdown().await;
        self.publish_depth();
        self.desk.reporter.fall_silent(&mut self.alerts_up);
        self.enter(Phase::Stopped { reason: None });
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

    /// Publishes what its life says of it. Called after each event: what is as it was costs a comparison.
    fn publish(&mut self) {
        // What may come back is kept as code; an instance of it would only take another's place.
        let serving = self.life.serving();
        self.life.kept().filter(|edition| Some(*edition) != serving).for_each(|edition| edition.guest.rest());
        let is_entered = self.enter(self.life.phase());
        if self.publish_versions() || is_entered {
            self.news.notify_one();
            let status = self.status.borrow();
            self.desk.reporter.alert(&status, &mut self.alerts_up);
        }
    }

    fn publish_versions(&self) -> bool {
        let current = self.life.current();
        let component = current.map(|edition| edition.guest.hash());
        let manifest = current.map(|edition| edition.guest.manifest());
        let version = manifest.map(|manifest| manifest.version.as_str());
        let edition = current.map_or(0, |edition| edition.number);
        let (refused, restarts) = (self.life.refused(), self.life.restarted());
        let is_decided = !self.life.is_starting();
        let (memory_peak, memory_limit, fuel_limit) = current.map_or((0, 0, 0), |edition| {
            let limits = edition.guest.limits();
            (edition.guest.memory_peak(), limits.memory, limits.fuel_per_event)
        });
        let mut is_news = false;
        self.status.send_if_modified(|status| {
            let decided = if is_decided { self.newest } else { status.decided };
            let is_same = (status.component, status.edition, status.decided) == (component, edition, decided)
                && (status.version.as_deref(), status.refused.as_deref()) == (version, refused)
                && status.restarts == restarts;
            let is_measured =
                (status.memory_peak, status.memory_limit, status.fuel_limit) == (memory_peak, memory_limit, fuel_limit);
            (status.memory_peak, status.memory_limit, status.fuel_limit) = (memory_peak, memory_limit, fuel_limit);
            if !is_same {
                (status.component, status.edition, status.decided) = (component, edition, decided);
                (status.version, status.refused) = (version.map(str::to_owned), refused.map(str::to_owned));
                status.manifest = manifest.cloned();
                self.desk.metrics.bot_restarted(&self.desk.bot, restarts.saturating_sub(status.restarts));
                status.restarts = restarts;
            }
            is_news = !is_same;
            is_news || !is_measured
        });
        is_news
    }

    /// Publishes the phase; returns whether it is another.
    fn enter(&self, phase: Phase) -> bool {
        self.status.send_if_modified(|status| {
            let is_news = status.phase != phase;
            if is_news {
                self.desk.metrics.bot_phase(&self.desk.bot, phase.as_str());
                status.since = Timestamp::now();
                status.phase = phase;
            }
            is_news
        })
    }
}

impl Drop for Task {
    /// A task that is aborted leaves its claims to the next one.
    fn drop(&mut self) {
        for (claimed, _) in self.at_work.values() {
            self.desk.store.queue().unclaim(claimed, None);
        }
    }
}

fn now() -> Now {
    Now { instant: tokio::time::Instant::now(), wall: Timestamp::now(), random: fastrand::f64() }
}

/// Sleeps until then; for ever where there is no such moment.
async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
