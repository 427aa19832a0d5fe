//! One rule at work: the values that its expression yields, where they are heading, and the alerts that it has up.

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::config::Rule;
use super::evaluate::{Memories, Values, evaluate};
use super::memory::Memory;
use super::room::Room;
use super::state::{Change, LOOKS_UNTIL_GONE, Standing};
use super::subject::{LABELS, Subject};
use super::template::Blank;
use super::{Report, RuleView, Verdict};
use crate::alert::KEY_BYTES_MAX;
use crate::forecast::{self, Certainty, Eta};
use crate::metrics::snapshot::Snapshot;

/// Digits of a key that was too long, which tell it from others with the same beginning.
const KEY_DIGITS: usize = 16;

/// One rule at work.
#[derive(Debug)]
pub(super) struct Watch {
    rule: Rule,
    memories: Memories,
    /// What it yielded, where it forecasts.
    yielded: Option<Memory>,
    /// Of the subjects that there is something to know about.
    standings: BTreeMap<Subject, Standing>,
    /// Keys of alerts that were up before there were standings.
    adopted: BTreeMap<String, Adopted>,
    worst: Option<f64>,
}

/// An alert that is up and whose subject was not seen yet.
#[derive(Debug, Default)]
struct Adopted {
    since: Option<Instant>,
    /// It stays up for so long at least where its subject is not seen.
    patience: Duration,
    missed: u32,
    /// An operator ended it.
    is_ended_by_hand: bool,
}

/// What a rule makes of a value.
#[derive(Debug, Clone, Copy)]
struct Judged {
    value: f64,
    /// What is compared: the value, or where it is heading if that is worse.
    compared: f64,
    eta: Option<Duration>,
}

impl Watch {
    pub(super) fn new(rule: Rule) -> Self {
        Self {
            memories: Memories::of(&rule.metric),
            yielded: rule.forecast.map(|forecast| Memory::of_values(forecast.window)),
            rule,
            standings: BTreeMap::new(),
            adopted: BTreeMap::new(),
            worst: None,
        }
    }

    pub(super) fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Returns how many subjects it remembers measurements of.
    pub(super) fn remembered(&self) -> usize {
        self.memories.subjects() + self.yielded.as_ref().map_or(0, Memory::subjects)
    }

    /// Returns how many subjects it has something to know about.
    pub(super) fn standing(&self) -> usize {
        self.standings.len() + self.adopted.len()
    }

    /// Takes up an alert, for `patience` at least where its subject is not seen; false if the rule is not in force.
    pub(super) fn adopt(&mut self, key: &str, patience: Duration) -> bool {
        if self.rule.is_enabled {
            self.adopted.insert(key.to_owned(), Adopted { patience, ..Adopted::default() });
        }
        self.rule.is_enabled
    }

    /// Returns the keys of the alerts that it has up, and of those that are pending.
    pub(super) fn into_keys(self) -> (Vec<String>, Vec<String>) {
        let firing = self.standings.iter().filter(|(_, standing)| standing.is_firing());
        let pending = self.standings.iter().filter(|(_, standing)| standing.is_pending());
        let firing: Vec<_> = firing.map(|(subject, _)| self.key(subject)).collect();
        let pending = pending.map(|(subject, _)| self.key(subject)).collect();
        let adopted = self.adopted.into_iter().filter(|(_, adopted)| !adopted.is_ended_by_hand).map(|(key, _)| key);
        (firing.into_iter().chain(adopted).collect(), pending)
    }

    /// Takes note that an operator ended an alert. Before the first look, which `looked_at` is none for, all that is up was adopted.
    pub(super) fn resolved_by_hand(&mut self, key: &str, looked_at: Option<Instant>) {
        if let Some(adopted) = self.adopted.get_mut(key) {
            adopted.is_ended_by_hand = true;
        }
        let subject = self.standings.keys().find(|subject| self.key(subject) == key).cloned();
        let standing = subject.and_then(|subject| self.standings.get_mut(&subject));
        if let (Some(standing), Some(now)) = (standing, looked_at) {
            standing.end_by_hand(&self.rule, now);
        }
    }

    pub(super) fn look(
        &mut self,
        snapshot: &Snapshot,
        now: Instant,
        is_after_gap: bool,
        memory: &mut Room,
        standings: &mut Room,
    ) -> Vec<Verdict> {
        if !self.rule.is_enabled {
            return Vec::new();
        }
        let values = evaluate(&self.rule.metric, snapshot, now, &mut self.memories, memory);
        if let Some(yielded) = &mut self.yielded {
            yielded.note(&values, now, memory);
        }
        self.worst = values.values().copied().reduce(|one, other| self.rule.op.worse(one, other));
        let mut verdicts = Vec::new();
        for (subject, value) in &values {
            let was_firing = self.standings.get(subject).is_some_and(Standing::is_firing);
            if let Some(judged) = self.judge(subject, *value, was_firing) {
                verdicts.extend(self.see(subject, judged, is_after_gap, now, standings));
            }
        }
        verdicts.extend(self.miss(&values, now));
        self.standings.retain(|_, standing| !standing.is_idle(now));
        verdicts
    }

    /// Returns what to compare. None where that takes a forecast and too little was seen for one.
    fn judge(&self, subject: &Subject, value: f64, was_firing: bool) -> Option<Judged> {
        let (Some(forecast), Some(yielded)) = (self.rule.forecast, &self.yielded) else {
            return Some(Judged { value, compared: value, eta: None });
        };
        let threshold = self.rule.threshold.value;
        if self.rule.op.holds(value, threshold) {
            return Some(Judged { value, compared: value, eta: Some(Duration::ZERO) });
        }
        let trend = forecast::trend(&yielded.points(subject), forecast.window)?;
        let enough = if was_firing { Certainty::Likely } else { Certainty::Clear };
        if trend.certainty < enough {
            return Some(Judged { value, compared: value, eta: None });
        }
        let compared = self.rule.op.worse(value, trend.value_after(forecast.within));
        let is_there = self.rule.op.holds(trend.level, threshold);
        let eta = if is_there { Some(Duration::ZERO) } else { trend.time_to(threshold) };
        Some(Judged { value, compared, eta })
    }

    fn see(
        &mut self,
        subject: &Subject,
        judged: Judged,
        is_after_gap: bool,
        now: Instant,
        room: &mut Room,
    ) -> Vec<Verdict> {
        let key = self.key(subject);
        let mut known = self.standings.remove(subject);
        if let Some(adopted) = self.adopted.remove(&key) {
            let mut standing = Standing::firing();
            if adopted.is_ended_by_hand {
                standing.end_by_hand(&self.rule, now);
            }
            known = Some(standing);
        }
        let holds = self.rule.op.holds(judged.compared, self.rule.threshold.value);
        let mut standing = match known {
            Some(known) => known,
            None if holds && room.take() => Standing::calm(),
            None => return Vec::new(),
        };
        let change = standing.see(&self.rule, judged.compared, is_after_gap, now);
        let verdicts = match change {
            Change::Nothing => Vec::new(),
            Change::Pending => vec![Verdict::Pending(self.report(key, subject, judged))],
            Change::Stays => vec![Verdict::Refresh(self.report(key, subject, judged))],
            Change::Ends => vec![Verdict::End { key }],
            Change::Fires => {
                let act = self.act(&mut standing, &key, subject, now);
                [Verdict::Fire(self.report(key, subject, judged))].into_iter().chain(act).collect()
            }
        };
        self.standings.insert(subject.clone(), standing);
        verdicts
    }

    fn act(&self, standing: &mut Standing, key: &str, subject: &Subject, now: Instant) -> Option<Verdict> {
        let action = self.rule.actions.to_bot?;
        let bot = subject.get("bot")?.parse().ok()?;
        let rule = self.rule.name.clone();
        standing.acts(&self.rule, now).then(|| Verdict::Act { bot, action, key: key.to_owned(), rule })
    }

    /// Takes in that subjects have no value, or none that says anything yet.
    fn miss(&mut self, values: &Values, now: Instant) -> Vec<Verdict> {
        let mut ended = Vec::new();
        for (subject, standing) in &mut self.standings {
            // One that is there, and of which too little was seen for a forecast, is not gone.
            if !values.contains_key(subject) && standing.miss(&self.rule, now) == Change::Ends {
                ended.push(subject.clone());
            }
        }
        let mut verdicts: Vec<_> = ended.iter().map(|subject| Verdict::End { key: self.key(subject) }).collect();
        let memory = self.rule.memory();
        self.adopted.retain(|key, adopted| {
            let since = *adopted.since.get_or_insert(now);
            adopted.missed = adopted.missed.saturating_add(1);
            let is_gone = adopted.missed >= LOOKS_UNTIL_GONE
                && now.saturating_duration_since(since) >= memory.max(adopted.patience);
            let is_up = !adopted.is_ended_by_hand;
            verdicts.extend((is_gone && is_up).then(|| Verdict::End { key: key.clone() }));
            !is_gone
        });
        verdicts
    }

    /// Returns the key of an alert about a subject: one that is too long ends in a part of its hash.
    fn key(&self, subject: &Subject) -> String {
        if subject.is_whole() {
            return self.rule.name.to_string();
        }
        let key = format!("{}:{subject}", self.rule.name);
        if key.len() <= KEY_BYTES_MAX {
            return key;
        }
        let mut hash = data_encoding::HEXLOWER.encode(&Sha256::digest(&key));
        hash.truncate(KEY_DIGITS);
        let end = key.floor_char_boundary(KEY_BYTES_MAX - KEY_DIGITS - 1);
        format!("{}~{hash}", &key[..end])
    }

    fn report(&self, key: String, subject: &Subject, judged: Judged) -> Report {
        let value = self.rule.threshold.like(judged.value).to_string();
        let eta = judged.eta.map(|eta| Eta(eta).to_string());
        let fill = |blank| match blank {
            Blank::Value => value.clone(),
            Blank::Threshold => self.rule.threshold.to_string(),
            Blank::Rule => self.rule.name.to_string(),
            Blank::Eta => eta.clone().unwrap_or_else(|| "an unknown time".to_owned()),
            Blank::Bot => shown(subject, "bot"),
            Blank::Connector => shown(subject, "connector"),
            Blank::Probe => shown(subject, "probe"),
            Blank::Channel => shown(subject, "channel"),
        };
        let of = if subject.is_whole() { String::new() } else { format!(" of {subject}") };
        let plain = || format!("{}{of}: {value} {}", self.rule.name, self.rule.condition());
        let summary = self.rule.message.as_ref().map_or_else(plain, |message| message.filled(fill));
        let mut details = vec![
            ("rule".to_owned(), self.rule.name.to_string()),
            ("expression".to_owned(), self.rule.metric.to_string()),
            ("condition".to_owned(), self.rule.condition()),
            ("value".to_owned(), value.clone()),
            ("threshold".to_owned(), self.rule.threshold.to_string()),
        ];
        // By what it is about others decide who may see it.
        let about = LABELS.iter().filter_map(|label| Some(((*label).to_owned(), subject.get(label)?.to_owned())));
        details.extend(about);
        details.extend(eta.map(|eta| ("eta".to_owned(), eta)));
        let notify = &self.rule.actions.notify;
        let channels = (!notify.is_empty()).then(|| notify.clone());
        Report { key, rule: self.rule.name.clone(), severity: self.rule.severity, summary, details, channels }
    }

    pub(super) fn describe(&self) -> RuleView {
        let rule = &self.rule;
        let adopted = self.adopted.values().filter(|adopted| !adopted.is_ended_by_hand).count();
        RuleView {
            name: rule.name.clone(),
            expression: rule.metric.to_string(),
            op: rule.op.as_str().to_owned(),
            threshold: rule.threshold.to_string(),
            for_seconds: rule.r#for.as_secs_f64(),
            forecast_seconds: rule.forecast.map(|forecast| forecast.within.as_secs_f64()),
            severity: rule.severity,
            enabled: rule.is_enabled,
            builtin: rule.is_builtin,
            pending: self.standings.values().filter(|standing| standing.is_pending()).count(),
            firing: self.standings.values().filter(|standing| standing.is_firing()).count() + adopted,
            value: self.worst.map(|worst| rule.threshold.like(worst).to_string()),
        }
    }
}

fn shown(subject: &Subject, label: &str) -> String {
    subject.get(label).map_or_else(|| "?".to_owned(), |value| value.escape_debug().to_string())
}
