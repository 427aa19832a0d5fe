//! A reload by the operator's word: has the configuration and the directory looked at now, and tells step by step what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::Supervisor;
use super::control::{ControlError, ReloadReport, ReloadStep};
use super::load::{Loaded, Loader, explain};
use super::reconcile::Desired;
use super::survey::{Wanted, survey};
use crate::bot::CondemnedList;
use crate::bot::phase::BotStatus;
use crate::config::{Config, Reading};
use crate::grants::ConnectorKey;
use crate::id::BotName;
use crate::watcher::Catalogue;

type Answer = oneshot::Sender<Result<ReloadReport, ControlError>>;

/// The reloads that somebody waits for.
#[derive(Default)]
pub(super) struct Reloads {
    /// Those that look at the files.
    looks: JoinSet<Looked>,
    /// Those that change nothing. Each answers by itself.
    rehearsals: JoinSet<()>,
    /// Those that wait for what they began to settle.
    waiting: Vec<Answer>,
    steps: Vec<ReloadStep>,
    /// What the bots were asked to run since the first of them began, and since when.
    watched: BTreeMap<BotName, (u64, Instant)>,
}

/// A reload whose files were looked at.
pub(super) struct Looked {
    answer: Answer,
}

impl Reloads {
    /// Returns the next reload whose files were looked at; none: there is none under way.
    pub(super) async fn next(&mut self) -> Option<Looked> {
        loop {
            // Cancel safe: the sets' `join_next`.
            let error = tokio::select! {
                Some(ended) = self.looks.join_next() => match ended {
                    Ok(looked) => return Some(looked),
                    Err(error) => error,
                },
                Some(ended) = self.rehearsals.join_next() => match ended {
                    Ok(()) => continue,
                    Err(error) => error,
                },
                else => return None,
            };
            tracing::error!(%error, "a reload ended badly");
        }
    }

    pub(super) async fn shut_down(&mut self) {
        self.looks.shutdown().await;
        self.rehearsals.shutdown().await;
        for answer in self.waiting.drain(..) {
            drop(answer.send(Err(ControlError::Stopping)));
        }
    }

    /// Returns whether the files are being looked at for somebody.
    pub(super) fn is_looking(&self) -> bool {
        !self.looks.is_empty()
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Returns whether somebody wants to know of steps: from the moment he asked, since what he asks for may be taken over before
    /// the look that he had made has ended.
    fn is_wanted(&self) -> bool {
        self.is_waiting() || !self.looks.is_empty()
    }

    /// Tells those who wait that a bot is asked to run a version.
    pub(super) fn watch(&mut self, bot: &BotName, number: u64) {
        if self.is_wanted() {
            self.watched.insert(bot.clone(), (number, Instant::now()));
        }
    }

    /// Tells those who wait of a step with a bot.
    pub(super) fn tell(&mut self, bot: &BotName, action: &str, detail: &str, elapsed: Option<Duration>) {
        self.push(format!("bot {bot}"), action, detail, elapsed);
    }

    pub(super) fn tell_connector(&mut self, key: &ConnectorKey, action: &str) {
        self.push(format!("connector {key}"), action, "", None);
    }

    pub(super) fn loaded(&mut self, bot: &BotName, loaded: &Loaded) {
        if self.is_wanted() {
            for step in load_steps(bot, loaded) {
                self.steps.push(step);
            }
        }
    }

    fn push(&mut self, subject: String, action: &str, detail: &str, elapsed: Option<Duration>) {
        if self.is_wanted() {
            self.steps.push(step(subject, action, detail, elapsed));
        }
    }
}

impl Supervisor {
    /// Begins a reload: has the files looked at, without waiting for it here.
    pub(super) fn begin_reload(&mut self, dry_run: bool, answer: Answer) {
        let (follower, look) = (self.parts.follower.clone(), self.parts.look.clone());
        if !dry_run {
            self.reloads.looks.spawn(async move {
                let (_, ()) = tokio::join!(follower.look(), look.look());
                Looked { answer }
            });
            return;
        }
        let (loader, config) = (self.parts.loader.clone(), self.config());
        let catalogue = self.parts.catalogue.clone();
        let bots = self.running.iter().map(|(name, running)| (name.clone(), running.serving().cloned())).collect();
        let condemned = Arc::clone(&self.parts.bots.condemned);
        let generation = self.parts.archive.latest().map_or(0, |generation| generation.number);
        self.reloads.rehearsals.spawn(async move {
            let (reading, ()) = tokio::join!(follower.look(), look.look());
            let catalogue = Arc::clone(&catalogue.borrow());
            let rehearsal = Rehearsal { loader, condemned, config, reading, catalogue, bots };
            let report = ReloadReport { generation, ..rehearsal.run().await };
            // Whoever asked may have gone.
            drop(answer.send(Ok(report)));
        });
    }

    /// Takes over what the files say, however much that removes, and has those who asked wait for what comes of it.
    pub(super) async fn looked(&mut self, looked: Looked) {
        self.reloads.waiting.push(looked.answer);
        if self.parts.readings.has_changed().unwrap_or(false) || self.blank_until.is_some() {
            self.read_configuration(true).await;
        }
        self.reconcile(true).await;
    }

    /// Answers those who wait, once everything has settled.
    pub(super) fn answer_reloads(&mut self) {
        let mut steps = std::mem::take(&mut self.reloads.steps);
        for (bot, (number, begun)) in std::mem::take(&mut self.reloads.watched) {
            let Some(running) = self.running.get(&bot) else { continue };
            let status = running.bot.status().borrow().clone();
            let elapsed = Some(begun.elapsed());
            let subject = format!("bot {bot}");
            if status.edition == number {
                steps.push(step(subject, "serving", &serving(&status), elapsed));
            } else if !steps.iter().any(|step| step.subject == subject && step.action == "refused") {
                let reason = status.refused.as_deref().or(status.phase.detail()).unwrap_or("it does not serve");
                steps.push(step(subject, "refused", reason, elapsed));
            }
        }
        let report = ReloadReport {
            generation: self.parts.archive.latest().map_or(0, |generation| generation.number),
            steps,
            rejected: self.rejected.clone(),
            needs_restart: self.needs_restart.clone(),
        };
        for answer in self.reloads.waiting.drain(..) {
            // Whoever asked may have gone.
            drop(answer.send(Ok(report.clone())));
        }
    }
}

/// A reload that changes nothing.
struct Rehearsal {
    loader: Loader,
    condemned: Arc<CondemnedList>,
    config: Arc<Config>,
    reading: Arc<Reading>,
    catalogue: Arc<Catalogue>,
    /// What they ran when it began; the files may be taken over meanwhile.
    bots: BTreeMap<BotName, Option<Wanted>>,
}

impl Rehearsal {
    /// Loads every version that there should be, without `init`, and says what a reload would do with it.
    async fn run(self) -> ReloadReport {
        let mut report = ReloadReport::default();
        let config = match &self.reading.outcome {
            Ok(next) => {
                let adoption = self.config.adopt(Config::clone(next));
                report.needs_restart = adoption.needs_restart;
                adoption.config
            }
            Err(error) => {
                report.rejected = Some(error.to_string());
                Config::clone(&self.config)
            }
        };
        let desired = survey(&config, &self.catalogue).bots;
        for bot in self.bots.keys().filter(|bot| !desired.contains_key(*bot)) {
            report.steps.push(step(format!("bot {bot}"), "would be removed", "", None));
        }
        for (bot, desired) in desired {
            self.rehearse(&bot, desired, &mut report.steps).await;
        }
        report
    }

    async fn rehearse(&self, bot: &BotName, desired: Desired<Wanted>, steps: &mut Vec<ReloadStep>) {
        let subject = format!("bot {bot}");
        let wanted = match desired {
            Desired::Run(wanted) => wanted,
            Desired::Disabled { .. } => {
                return steps.push(step(subject, "is disabled", "its entry says so", None));
            }
            Desired::Refused { reason } => return steps.push(step(subject, "would be refused", &reason, None)),
        };
        let component = wanted.version.component.hash;
        steps.push(step(subject.clone(), "settled", &component.to_string(), None));
        let serving = self.bots.get(bot).and_then(Option::as_ref).map(|serving| &serving.version);
        // Of another entry, what was held against it is forgotten.
        let is_same = serving.is_none_or(|serving| serving.entry == wanted.version.entry);
        if let Some(reason) = self.condemned.reason(bot, component).filter(|_| is_same) {
            return steps.push(step(subject, "would be refused", &reason, None));
        }
        match self.loader.load(bot, &wanted.version).await {
            Ok(loaded) => {
                steps.extend(load_steps(bot, &loaded));
                let action = if serving == Some(&wanted.version) { "serves already" } else { "would be started" };
                steps.push(step(subject, action, "", None));
            }
            Err(error) => steps.push(step(subject, "would be refused", &explain(&error), None)),
        }
    }
}

fn load_steps(bot: &BotName, loaded: &Loaded) -> [ReloadStep; 2] {
    let (source, elapsed) = loaded.code;
    let hash = loaded.guest.hash().to_string();
    let manifest = loaded.guest.manifest();
    let checked = format!("{} {}", manifest.name, manifest.version);
    [
        step(format!("bot {bot}"), source, &hash, Some(elapsed)),
        step(format!("bot {bot}"), "validated", &checked, Some(loaded.checked)),
    ]
}

fn serving(status: &BotStatus) -> String {
    let component = status.component.map(|hash| hash.to_string()).unwrap_or_default();
    format!("{} {component}", status.version.as_deref().unwrap_or_default())
}

fn step(subject: String, action: &str, detail: &str, elapsed: Option<Duration>) -> ReloadStep {
    let elapsed_ms = elapsed.map_or(0, |elapsed| elapsed.as_millis().try_into().unwrap_or(u64::MAX));
    ReloadStep { subject, action: action.to_owned(), detail: detail.to_owned(), elapsed_ms }
}
