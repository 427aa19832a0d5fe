//! What of the configuration is in force, and how an edit of it comes into force: the connectors, what bots are kept alive by, what is
//! held back, and what is said about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::connectors::AddressOf;
use super::guard::{Judgement, Removal, SECOND_THOUGHTS};
use super::reconcile::Desired;
use super::survey::Wanted;
use super::{Supervisor, explain};
use crate::action::Severity;
use crate::bot::BotPolicy;
use crate::bot::manifest::BotEntry;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::connector::ConnectorConfig;
use crate::grants::ConnectorKey;
use crate::id::{BotName, ConnectorName, OfferName, TenantName};
use crate::supervision::Supervision;
use crate::units::Span;

/// Keys of the host's alerts about its configuration.
const REJECTED: &str = "configuration-rejected";
const NEEDS_RESTART: &str = "needs-restart";
const MASS_REMOVAL: &str = "mass-removal";

/// Returns by what a tenant's bot is kept alive.
pub(super) fn policy(config: &Config, entry: Option<&BotEntry>, tenant: &TenantName) -> BotPolicy {
    let restart = entry.and_then(|entry| entry.restart).unwrap_or(config.supervision.restart);
    BotPolicy {
        tenant: tenant.clone(),
        supervision: Supervision { restart, ..config.supervision.clone() },
        rollout: config.rollout.clone(),
        attempts_max: config.queue.max_attempts.get(),
    }
}

impl Supervisor {
    /// Takes in what the configuration file came to, and brings it into force if it is good. `is_confirmed`: however much that
    /// removes.
    pub(super) async fn read_configuration(&mut self, is_confirmed: bool) {
        let reading = Arc::clone(&self.parts.readings.borrow_and_update());
        let next = match &reading.outcome {
            Ok(next) => next,
            Err(error) => {
                let reason = error.to_string();
                tracing::error!(reason, "the configuration file is not good: the one before stays in force");
                let summary =
                    format!("the configuration file is not good, and the one before stays in force: {reason}");
                self.raise(REJECTED, Severity::Critical, &summary);
                self.rejected = Some(reason);
                // There is something in it again, if nothing good.
                self.forget_blank();
                return;
            }
        };
        if self.is_blank_for_now(next, is_confirmed) {
            return;
        }
        self.rejected = None;
        self.parts.bots.alerts.resolve_host(REJECTED, Timestamp::now());
        for warning in &next.warnings {
            tracing::warn!("{warning}");
        }
        // What somebody changed before has its generation before this one begins; half of an edit has none, nor what is held back,
        // nor what had no time to come into force.
        let has_none = self.parts.archive.is_editing() || self.is_held_back() || self.chronicle.is_first();
        if !has_none {
            self.chronicle_now().await;
        }
        let before = self.config();
        let adoption = before.adopt(Config::clone(next));
        self.say_needs_restart(adoption.needs_restart);
        if *before == adoption.config {
            return;
        }
        if before.text != adoption.config.text {
            self.chronicle.edited();
        }
        tracing::info!(path = %before.path.display(), "the configuration file has changed and is taken over");
        self.parts.config.send_replace(Arc::new(adoption.config));
        self.set_policies().await;
        self.set_outbox();
        self.reconcile(false).await;
    }

    /// Has every bot kept alive as the configuration says now.
    async fn set_policies(&mut self) {
        let config = self.config();
        for running in self.running.values_mut() {
            let entry = running.wanted.as_ref().map(|wanted| Arc::clone(&wanted.version.entry));
            let policy = policy(&config, entry.as_deref(), &running.policy.tenant);
            if running.policy != policy {
                running.policy = policy.clone();
                running.bot.set_policy(policy).await;
            }
        }
    }

    /// Has every bot belong to whom its entry names now, whether or not what the entry asks for serves. A bot whose entry cannot be
    /// read stays with whom it belonged to.
    pub(super) async fn set_tenants(&mut self) {
        for (name, running) in &mut self.running {
            let Some(tenant) = self.tenants.get(name) else { continue };
            if running.policy.tenant != *tenant {
                running.policy.tenant = tenant.clone();
                running.bot.set_policy(running.policy.clone()).await;
            }
        }
    }

    fn set_outbox(&mut self) {
        let config = self.config();
        self.parts.connectors.set_outbox(config.outbox.settings(), config.outbox.ttl);
    }

    fn say_needs_restart(&mut self, lines: Vec<String>) {
        if lines.is_empty() {
            self.parts.bots.alerts.resolve_host(NEEDS_RESTART, Timestamp::now());
        } else if lines != self.needs_restart {
            for line in &lines {
                tracing::warn!(line, "a change of the configuration takes effect at the next start");
            }
            // The keys alone, so that all of them have room; what each is and will be is in the log and told by a reload.
            let keys: Vec<_> = lines.iter().filter_map(|line| line.split('`').nth(1)).collect();
            let summary = format!("changes of the configuration take effect at the next start: {}", keys.join(", "));
            self.raise(NEEDS_RESTART, Severity::Warning, &summary);
        }
        self.needs_restart = lines;
    }

    /// Returns whether the file has nothing in it where it had something a moment ago, as while an editor writes it: so it counts
    /// only if it stays so.
    fn is_blank_for_now(&mut self, next: &Config, is_confirmed: bool) -> bool {
        let now = Instant::now();
        let had_something = !self.config().text.trim().is_empty();
        let is_blank = next.text.trim().is_empty() && had_something;
        let is_over = self.blank_until.is_some_and(|until| until <= now);
        if !is_blank || is_over || is_confirmed {
            self.forget_blank();
            return false;
        }
        if self.blank_until.is_some() {
            return true;
        }
        self.blank_until = Some(now + SECOND_THOUGHTS);
        let wait = Span(SECOND_THOUGHTS);
        let summary = format!(
            "the configuration file is empty: what it said stays in force for {wait}, and then no longer; `host reload` has \
             it count now"
        );
        tracing::warn!("{summary}");
        self.raise(MASS_REMOVAL, Severity::Warning, &summary);
        true
    }

    fn forget_blank(&mut self) {
        if self.blank_until.take().is_some() && self.judged_at.is_none() {
            self.parts.bots.alerts.resolve_host(MASS_REMOVAL, Timestamp::now());
        }
    }

    fn is_held_back(&self) -> bool {
        self.judged_at.is_some() || self.blank_until.is_some()
    }

    /// Judges again what was held back.
    pub(super) async fn think_again(&mut self) {
        if self.blank_until.is_some() {
            self.read_configuration(false).await;
        } else {
            self.reconcile(false).await;
        }
    }

    /// Keeps what would be removed with more than half of all, until it is so for a while or an operator says so.
    pub(super) fn hold_back(
        &mut self,
        bots: &mut BTreeMap<BotName, Desired<Wanted>>,
        shared: &mut BTreeMap<ConnectorName, ConnectorConfig>,
        is_confirmed: bool,
    ) {
        let gone_bots: Vec<_> = self.desired.keys().filter(|name| !bots.contains_key(*name)).cloned().collect();
        let gone: Vec<_> = self.shared.keys().filter(|name| !shared.contains_key(*name)).cloned().collect();
        let named = gone_bots.iter().map(|name| format!("bot {name}"));
        let removed = named.chain(gone.iter().map(|name| format!("connector {name}"))).collect();
        let removal = Removal { total: self.desired.len() + self.shared.len(), removed, is_confirmed };
        let count = removal.removed.len();
        let total = removal.total;
        let now = Instant::now();
        let Judgement::Hold { until } = self.guard.judge(removal, now) else {
            if self.judged_at.take().is_some() && self.blank_until.is_none() {
                self.parts.bots.alerts.resolve_host(MASS_REMOVAL, Timestamp::now());
            }
            return;
        };
        bots.extend(gone_bots.into_iter().filter_map(|name| Some((name.clone(), self.desired.get(&name)?.clone()))));
        shared.extend(gone.into_iter().filter_map(|name| Some((name.clone(), self.shared.get(&name)?.clone()))));
        if self.judged_at.replace(until) != Some(until) {
            let wait = Span(std::time::Duration::from_secs((until - now).as_secs()));
            let summary = format!(
                "a change removes {count} of {total} bots and connectors: it counts in {wait} unless it is undone; `host reload` \
                 has it count now"
            );
            tracing::warn!("{summary}");
            self.raise(MASS_REMOVAL, Severity::Warning, &summary);
        }
    }

    /// Starts, restarts and removes the connectors that every bot may use; those that did not change stay as they are.
    pub(super) async fn set_shared_connectors(&mut self, wanted: BTreeMap<ConnectorName, ConnectorConfig>) {
        let had = std::mem::replace(&mut self.shared, wanted.clone());
        self.set_connectors(&had, wanted, ConnectorKey::shared, AddressOf::Operator).await;
    }

    /// The same for those of one bot's own.
    pub(super) async fn set_own_connectors(
        &mut self,
        name: &BotName,
        rented_by: Option<&OfferName>,
        wanted: BTreeMap<ConnectorName, ConnectorConfig>,
    ) {
        let config = self.config();
        let is_asked = |offer: &OfferName| {
            // One that is gone may have asked for it.
            config.offers.get(offer).is_none_or(|offer| offer.value.asks_for_address())
        };
        let address = if rented_by.is_some_and(is_asked) { AddressOf::Tenant } else { AddressOf::Operator };
        let had = match self.running.get_mut(name) {
            Some(running) => std::mem::replace(&mut running.own, wanted.clone()),
            None => BTreeMap::new(),
        };
        let key = |connector| ConnectorKey { owner: Some(name.clone()), name: connector };
        self.set_connectors(&had, wanted, key, address).await;
    }

    async fn set_connectors(
        &mut self,
        had: &BTreeMap<ConnectorName, ConnectorConfig>,
        wanted: BTreeMap<ConnectorName, ConnectorConfig>,
        key: impl Fn(ConnectorName) -> ConnectorKey,
        address: AddressOf,
    ) {
        let gone: Vec<_> =
            had.keys().filter(|name| !wanted.contains_key(*name)).map(|name| key(name.clone())).collect();
        let changed: Vec<_> = wanted.into_iter().filter(|(name, config)| had.get(name) != Some(config)).collect();
        // All at once: one may want the address that another leaves, and one that hangs is not to hold up the others.
        let stopping = gone.iter().cloned().chain(changed.iter().map(|(name, _)| key(name.clone())));
        self.parts.connectors.pause(stopping.collect()).await;
        for key in gone {
            self.parts.connectors.remove(&key).await;
            self.reloads.tell_connector(&key, "removed");
        }
        for (name, config) in changed {
            let is_new = !had.contains_key(&name);
            let key = key(name);
            self.reloads.tell_connector(&key, if is_new { "started" } else { "restarted" });
            self.parts.connectors.start(key, config, address).await;
        }
    }

    fn raise(&self, key: &str, severity: Severity, summary: &str) {
        self.parts.bots.alerts.raise_host(key, severity, summary, Vec::new(), Timestamp::now());
    }

    /// Gives what is in force a generation, if it has none. Whatever still starts is not in it.
    async fn chronicle_now(&mut self) {
        if self.chronicle.is_due() {
            let snapshot = self.snapshot();
            if let Err(error) = self.chronicle.record(snapshot, self.is_settled()).await {
                let error = explain(&error);
                tracing::error!(error, "what is in force is kept under no number: it cannot be come back to");
            }
        }
    }

    /// Does what waits for everything to have settled: the generation, and the answers of reloads.
    pub(super) async fn look_back(&mut self) {
        self.note_serving();
        // What an edit changes is seen file by file; it is one generation all the same.
        let is_whole = self.reloads.is_waiting() || !self.parts.archive.is_editing();
        let is_seen = is_whole && !self.reloads.is_looking() && !self.is_held_back();
        if self.chronicle.is_due() && self.is_settled() && is_seen {
            self.chronicle_now().await;
        }
        if self.reloads.is_waiting() && self.is_settled() {
            self.answer_reloads();
        }
    }
}
