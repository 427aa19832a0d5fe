//! When a measurement is a reason for an alert. Pure: what is measured and the time come in as arguments, and what comes out is
//! what to do.
//!
//! ```text
//! RuleConfig ─settle─► Rule (nothing is missing; the host's own are in `builtin`)
//!                        │
//! Snapshot ─evaluate──► a value for each subject ─watch──► where it is heading ─state─► Verdict
//!             │ memory: what was seen within a window
//! ```
//!
//! What an expression means is in `rule/expression`; when an alert comes up and ends, in `rule/state`. Time is monotonic: that
//! the wall clock is set changes nothing.

mod builtin;
mod config;
mod evaluate;
mod expression;
mod memory;
mod parse;
mod quantity;
mod room;
mod state;
mod subject;
#[cfg(test)]
mod synthetic;
mod template;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

pub use self::config::{Actions, BotAction, Comparison, RuleConfig, RuleError};
pub use self::expression::Expression;
pub use self::parse::{ExpressionError, ExpressionFault};
pub use self::quantity::{Quantity, QuantityError, Unit};
use self::room::Room;
pub use self::template::{Template, TemplateError};
use self::watch::Watch;
use crate::action::Severity;
use crate::id::{BotName, ChannelName, RuleName};
use crate::metrics::snapshot::Snapshot;

/// Subjects that all rules together remember measurements of, and that they may have alerts about.
pub const SUBJECTS_MAX: usize = 10_000;

/// Gaps between looks by which the usual one is known.
const GAPS_MAX: usize = 9;
/// Of fewer no gap is usual.
const GAPS_MIN: usize = 3;
/// A gap so many times as long as usual is one: the process was held up.
const GAP_FACTOR: u32 = 3;
/// How long a process may have begun until what it measures is there: bots have to start first, and probes to be made.
const BEGINNING: Duration = Duration::from_secs(120);
/// A shorter gap is none, however short the usual one is.
const GAP_MIN: Duration = Duration::from_secs(1);

/// What a rule says about an alert of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The alert's key: `RULE`, or `RULE:SUBJECT`.
    pub key: String,
    /// The rule.
    pub rule: RuleName,
    /// How bad it is.
    pub severity: Severity,
    /// One line for people.
    pub summary: String,
    /// More for people: the rule, its expression and condition, the value, and by when the threshold is crossed.
    pub details: Vec<(String, String)>,
    /// Who is told. None: every channel that takes its severity.
    pub channels: Option<Vec<ChannelName>>,
}

/// What is to be done after a look.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The condition holds, not yet for as long as the rule wants.
    Pending(Report),
    /// An alert comes up.
    Fire(Report),
    /// An alert is up still.
    Refresh(Report),
    /// The alert of this key is over, pending or not.
    End {
        /// Its key.
        key: String,
    },
    /// Something is to be done to a bot. Follows the [`Verdict::Fire`] that it is because of.
    Act {
        /// The bot.
        bot: BotName,
        /// What.
        action: BotAction,
        /// The alert's key.
        key: String,
        /// The rule.
        rule: RuleName,
    },
}

/// A rule, as it is listed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RuleView {
    /// Its name.
    #[schemars(with = "String")]
    pub name: RuleName,
    /// What it measures.
    pub expression: String,
    /// How it compares, such as `>`.
    pub op: String,
    /// With what, as it is written.
    pub threshold: String,
    /// How long that has to hold, in seconds.
    pub for_seconds: f64,
    /// How far it looks ahead, in seconds.
    pub forecast_seconds: Option<f64>,
    /// How bad it is.
    #[schemars(with = "String")]
    pub severity: Severity,
    /// Whether it is in force.
    pub enabled: bool,
    /// Whether the host has a rule of that name.
    pub builtin: bool,
    /// Subjects that it holds for, not yet for long enough.
    pub pending: usize,
    /// Subjects that it has an alert about.
    pub firing: usize,
    /// The worst value at the last look, in the unit of the threshold.
    pub value: Option<String>,
}

/// A metric that a rule is about and that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownName {
    /// The rule.
    pub rule: RuleName,
    /// The metric.
    pub name: String,
    /// The one that is there and was likely meant.
    pub near: Option<String>,
}

/// The host's own rules and the operator's, and what they have seen.
#[derive(Debug)]
pub struct Rules {
    watches: BTreeMap<RuleName, Watch>,
    /// Keys of alerts whose rule is gone.
    orphans: Vec<String>,
    gaps: VecDeque<Duration>,
    looked_at: Option<Instant>,
    left_out: u64,
}

impl Rules {
    /// Returns the host's rules, changed and joined by the operator's. Of those, what [`RuleConfig::check`] refuses is left out.
    pub fn new(configs: &BTreeMap<RuleName, RuleConfig>) -> Self {
        let watches = settled(configs).map(|rule| (rule.name.clone(), Watch::new(rule))).collect();
        Self { watches, orphans: Vec::new(), gaps: VecDeque::new(), looked_at: None, left_out: 0 }
    }

    /// Goes by other rules from now on. One that did not change keeps what it saw. Alerts of one that did stay up until it has
    /// looked; those of one that is gone or not in force end with the next look.
    pub fn replace(&mut self, configs: &BTreeMap<RuleName, RuleConfig>) {
        let mut before = std::mem::take(&mut self.watches);
        for rule in settled(configs) {
            let name = rule.name.clone();
            let watch = match before.remove(&name) {
                Some(same) if *same.rule() == rule => same,
                changed => {
                    let (firing, pending) = changed.map(Watch::into_keys).unwrap_or_default();
                    let mut watch = Watch::new(rule);
                    self.orphans.extend(pending);
                    self.orphans.extend(firing.into_iter().filter(|key| !watch.adopt(key, Duration::ZERO)));
                    watch
                }
            };
            self.watches.insert(name, watch);
        }
        for gone in before.into_values() {
            let (firing, pending) = gone.into_keys();
            self.orphans.extend(firing.into_iter().chain(pending));
        }
    }

    /// Takes up alerts that an earlier process of this host had up, by their keys: each stays up, without anybody being told
    /// anew, until its rule has a value of its subject or has had the time to get one. Returns the keys that no rule in force
    /// answers for. To be called before the first look.
    pub fn adopt<K: Into<String>>(&mut self, firing: impl IntoIterator<Item = K>) -> Vec<String> {
        let mut others = Vec::new();
        for key in firing.into_iter().map(Into::into) {
            let rule = key.split_once(':').map_or(key.as_str(), |(rule, _)| rule);
            let watch = rule.parse().ok().and_then(|rule: RuleName| self.watches.get_mut(&rule));
            if !watch.is_some_and(|watch| watch.adopt(&key, BEGINNING)) {
                others.push(key);
            }
        }
        others
    }

    /// Takes in a snapshot and returns what to do, in the order of rules and subjects. To be called at even intervals.
    pub fn look(&mut self, snapshot: &Snapshot, now: Instant) -> Vec<Verdict> {
        let is_after_gap = self.is_after_gap(now);
        let sum = |of: fn(&Watch) -> usize| self.watches.values().map(of).sum();
        let mut memory = Room::new(SUBJECTS_MAX, sum(Watch::remembered));
        let mut standings = Room::new(SUBJECTS_MAX, sum(Watch::standing));
        let mut verdicts: Vec<_> = self.orphans.drain(..).map(|key| Verdict::End { key }).collect();
        for watch in self.watches.values_mut() {
            verdicts.extend(watch.look(snapshot, now, is_after_gap, &mut memory, &mut standings));
        }
        self.left_out = memory.refused() + standings.refused();
        verdicts
    }

    /// Returns how many subjects the last look left out because there are more than [`SUBJECTS_MAX`].
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Takes note that an operator resolved an alert. It comes up again only after its value came back, or the cooldown is over.
    /// Another's key is no error.
    pub fn resolved_by_hand(&mut self, key: &str) {
        let rule = key.split_once(':').map_or(key, |(rule, _)| rule);
        let watch = rule.parse().ok().and_then(|rule: RuleName| self.watches.get_mut(&rule));
        if let Some(watch) = watch {
            watch.resolved_by_hand(key, self.looked_at);
        }
    }

    /// Returns every rule, by name.
    pub fn describe(&self) -> Vec<RuleView> {
        self.watches.values().map(Watch::describe).collect()
    }

    /// Returns the metrics that the operator's rules in force are about and that a snapshot has not. No mistake by itself: a bot
    /// may bring them.
    pub fn unknown_names(&self, snapshot: &Snapshot) -> Vec<UnknownName> {
        let known: Vec<&str> = snapshot.families.keys().map(|name| &**name).collect();
        let rules = self.watches.values().map(Watch::rule).filter(|rule| rule.is_enabled && !rule.is_builtin);
        let unknown = rules.flat_map(|rule| rule.metric.names().into_iter().map(|name| (rule.name.clone(), name)));
        let unknown = unknown.filter(|(_, name)| !snapshot.families.contains_key(*name));
        let near = |name: &str| crate::document::nearest(name, &known).map(str::to_owned);
        unknown.map(|(rule, name)| UnknownName { rule, near: near(name), name: name.to_owned() }).collect()
    }

    /// Returns whether the process was held up since the last look, and takes note of this one.
    fn is_after_gap(&mut self, now: Instant) -> bool {
        let Some(last) = self.looked_at.replace(now) else { return false };
        let gap = now.saturating_duration_since(last);
        let mut sorted: Vec<Duration> = self.gaps.iter().copied().collect();
        sorted.sort_unstable();
        let usual = sorted.get(sorted.len() / 2).copied().filter(|_| sorted.len() >= GAPS_MIN);
        if self.gaps.len() == GAPS_MAX {
            self.gaps.pop_front();
        }
        self.gaps.push_back(gap);
        usual.is_some_and(|usual| gap > usual.saturating_mul(GAP_FACTOR).max(GAP_MIN))
    }
}

/// Returns every rule there is: the host's own and the operator's.
fn settled(configs: &BTreeMap<RuleName, RuleConfig>) -> impl Iterator<Item = config::Rule> {
    let untouched = RuleConfig::default();
    let own =
        builtin::names().into_iter().filter_map(|name| name.parse().ok()).filter(|name| !configs.contains_key(name));
    let own: Vec<_> = own.filter_map(|name| untouched.settle(&name).ok()).collect();
    own.into_iter().chain(configs.iter().filter_map(|(name, config)| config.settle(name).ok()))
}

#[cfg(test)]
mod tests;
