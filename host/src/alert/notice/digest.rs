//! Gathers the turns of alerts for one channel, and says when the next notice is due and what is in it. However many turns there are,
//! no more notices leave than the rate allows, and no more alerts are held than [`HELD_MAX`]; of the rest only their ids and number
//! are known. No clock of its own.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Content, ENTRIES_MAX, Ending, Entry, Happened, More, is_acknowledged};
use crate::action::Severity;
use crate::alert::{ALERTS_MAX, Alert, AlertId, HOST_ALERTS_MAX, News, Turn};
use crate::clock::Timestamp;
use crate::id::ChannelName;
use crate::rate::Rate;

/// Alerts that wait to be told, with their texts. Of more, those that are over and then the least severe are only counted.
const HELD_MAX: usize = 1_000;
/// Ids of alerts that are up. There are never more.
const IDS_MAX: usize = ALERTS_MAX + HOST_ALERTS_MAX;
/// Notices that may leave one after the other before `digest_every` holds.
const BURST: u32 = 3;

/// What a channel is told, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestRules {
    /// The channel.
    pub channel: ChannelName,
    /// What is less severe goes elsewhere, unless it names this channel.
    pub min_severity: Severity,
    /// Whether it is told that an alert is over.
    pub resolved: bool,
    /// How long the first turn waits for others that come with it.
    pub group_wait: Duration,
    /// Time per notice, after a burst of three.
    pub digest_every: Duration,
    /// Time between two reminders of one alert. None: no reminders.
    pub remind_every: Option<Duration>,
}

impl DigestRules {
    /// Returns whether the channel is told of an alert: of one that names its channels if this is one of them, of any other by its
    /// severity.
    pub fn takes(&self, alert: &Alert) -> bool {
        match &alert.channels {
            Some(channels) => channels.contains(&self.channel),
            None => alert.severity >= self.min_severity,
        }
    }
}

/// What waits to be told on one channel, and what was told.
#[derive(Debug)]
pub struct Digest {
    rules: DigestRules,
    rate: Rate,
    held: BTreeMap<AlertId, Held>,
    /// What is held, the first to be left out first.
    ranks: BTreeSet<Rank>,
    /// What is up, was to be told, and did not fit into `held`.
    counted: BTreeMap<AlertId, Severity>,
    /// What did not fit either and is over, and what was not heard of.
    more: More,
    /// What is up and was told.
    told: BTreeMap<AlertId, Told>,
    /// When the first of what waits came. None: nothing waits.
    since: Option<Instant>,
    /// No alert is to be reminded of before.
    remind_at: Option<Instant>,
}

/// An alert that waits to be told.
#[derive(Debug)]
struct Held {
    news: Arc<News>,
    was_told: bool,
    is_up: bool,
    times: u64,
}

/// How little an alert may be left out; the id only tells it from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    is_up: bool,
    severity: Severity,
    id: Reverse<AlertId>,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    severity: Severity,
    at: Instant,
    is_acknowledged: bool,
}

impl Digest {
    /// Returns a digest that knows of no alert.
    pub fn new(rules: DigestRules) -> Self {
        let rate = Rate::new(u64::from(BURST), rules.digest_every.saturating_mul(BURST));
        Self {
            rules,
            rate,
            held: BTreeMap::new(),
            ranks: BTreeSet::new(),
            counted: BTreeMap::new(),
            more: More::default(),
            told: BTreeMap::new(),
            since: None,
            remind_at: None,
        }
    }

    /// Returns what the channel is told, and how often.
    pub fn rules(&self) -> &DigestRules {
        &self.rules
    }

    /// Takes alerts as told: those that an earlier process told of. They are reminded of, and their end is told.
    pub fn adopt(&mut self, active: &[Alert], now: Instant) {
        for alert in active.iter().filter(|alert| alert.is_firing()) {
            if self.rules.takes(alert) {
                self.note_told(alert, now);
            }
        }
        self.plan_reminders();
    }

    /// Takes a turn in.
    pub fn hear(&mut self, news: &Arc<News>, now: Instant) {
        match news.turn {
            Turn::Fired | Turn::Changed => self.rise(news, now),
            Turn::Acknowledged => self.acknowledge(&news.alert),
            Turn::Resolved { .. } => self.fall(news, now),
        }
        self.touch(now);
    }

    /// Catches up with what is up, after turns were missed or because the channel is new: what is up and was not told is told, what
    /// ended unheard is counted. `at` is the time that people read.
    pub fn catch_up(&mut self, missed: u64, active: Vec<Alert>, now: Instant, at: Timestamp) {
        self.more.turns_missed = self.more.turns_missed.saturating_add(missed);
        let up: BTreeSet<_> = active.iter().filter(|alert| alert.is_firing()).map(|alert| alert.id).collect();
        let gone: Vec<_> = self.held.values().filter(|held| held.is_up && !up.contains(&held.news.alert.id)).collect();
        let ended: Vec<_> = gone.iter().map(|held| (held.news.alert.clone(), Turn::Resolved { by: None })).collect();
        for (alert, turn) in ended {
            self.fall(&Arc::new(News { at, turn, alert }), now);
        }
        for id in self.counted.keys().filter(|id| !up.contains(id)).copied().collect::<Vec<_>>() {
            self.end_counted(id);
        }
        for id in self.told.keys().filter(|id| !up.contains(id)).copied().collect::<Vec<_>>() {
            if !self.held.contains_key(&id) {
                self.told.remove(&id);
                self.more.resolved += u64::from(self.rules.resolved);
            }
        }
        for alert in active.into_iter().filter(Alert::is_firing) {
            let is_known = [self.told.contains_key(&alert.id), self.counted.contains_key(&alert.id)];
            if !self.held.contains_key(&alert.id) && is_known == [false, false] {
                self.rise(&Arc::new(News { at, turn: Turn::Fired, alert }), now);
            }
        }
        self.touch(now);
    }

    /// Returns when to ask [`Digest::take`] again. None: there is nothing to tell until something is heard.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let news = self.since.map(|since| since + self.rules.group_wait);
        let due = news.into_iter().chain(self.remind_at).min()?;
        Some(due.max(now + self.rate.wait(1, now)))
    }

    /// Returns what is to be told now, and takes it as told; none if nothing is due. `active` is asked for what is up only where
    /// somebody has to be reminded.
    pub fn take(&mut self, now: Instant, active: impl FnOnce() -> Vec<Alert>) -> Option<Content> {
        if self.due(now).is_none_or(|due| due > now) {
            return None;
        }
        self.drain(now, active)
    }

    /// Returns what is to be told, whether it is due or not: for a channel that ends.
    pub fn drain(&mut self, now: Instant, active: impl FnOnce() -> Vec<Alert>) -> Option<Content> {
        let mut entries = self.reminders(now, active);
        let held = std::mem::take(&mut self.held);
        self.ranks.clear();
        for (id, held) in held {
            if held.is_up {
                self.note_told(&held.news.alert, now);
            } else {
                self.told.remove(&id);
            }
            entries.push(held.into_entry());
        }
        let mut more = std::mem::take(&mut self.more);
        for (id, severity) in std::mem::take(&mut self.counted) {
            more.add(severity);
            self.told.insert(id, Told { severity, at: now, is_acknowledged: false });
        }
        self.since = None;
        self.plan_reminders();
        entries.sort_by_cached_key(|entry| {
            let is_reminder = entry.happened == Happened::Reminded;
            (entry.is_over(), Reverse(entry.alert.severity), is_reminder, entry.alert.raised_at, entry.alert.id)
        });
        entries.iter().skip(ENTRIES_MAX).for_each(|entry| more.count(entry));
        entries.truncate(ENTRIES_MAX);
        if entries.is_empty() && more.is_empty() {
            return None;
        }
        // Where it is not there, this is the end of the channel, which waits for nothing.
        let _ = self.rate.take(1, now);
        Some(Content { entries, more })
    }

    fn rise(&mut self, news: &Arc<News>, now: Instant) {
        let id = news.alert.id;
        if let Some(held) = self.held.get_mut(&id) {
            self.ranks.remove(&held.rank());
            // One that is up already has not come up again: that was known before it was heard.
            held.times += u64::from(!held.is_up && news.turn == Turn::Fired);
            held.is_up = true;
            held.news = Arc::clone(news);
            self.ranks.insert(held.rank());
            return;
        }
        let was_told = self.told.contains_key(&id);
        if was_told || self.counted.remove(&id).is_some() || self.rules.takes(&news.alert) {
            let times = u64::from(news.turn == Turn::Fired);
            self.hold(Held { news: Arc::clone(news), was_told, is_up: true, times }, now);
        }
    }

    fn fall(&mut self, news: &Arc<News>, now: Instant) {
        let id = news.alert.id;
        if let Some(held) = self.held.get_mut(&id) {
            if held.was_told && !self.rules.resolved {
                self.ranks.remove(&held.rank());
                self.held.remove(&id);
                self.told.remove(&id);
                return;
            }
            self.ranks.remove(&held.rank());
            held.is_up = false;
            held.news = Arc::clone(news);
            self.ranks.insert(held.rank());
        } else if self.counted.contains_key(&id) {
            self.end_counted(id);
        } else if self.told.contains_key(&id) {
            if self.rules.resolved {
                self.hold(Held { news: Arc::clone(news), was_told: true, is_up: false, times: 0 }, now);
            } else {
                self.told.remove(&id);
            }
        }
    }

    fn acknowledge(&mut self, alert: &Alert) {
        if let Some(told) = self.told.get_mut(&alert.id) {
            told.is_acknowledged = true;
        }
        if let Some(held) = self.held.get_mut(&alert.id) {
            let News { at, turn, .. } = &*held.news;
            held.news = Arc::new(News { at: *at, turn: turn.clone(), alert: alert.clone() });
        }
    }

    /// Holds an alert, or counts the one of the least rank among those that are there and itself.
    fn hold(&mut self, held: Held, now: Instant) {
        self.since.get_or_insert(now);
        if self.held.len() >= HELD_MAX {
            match self.ranks.pop_first() {
                Some(least) if least < held.rank() => {
                    let Reverse(id) = least.id;
                    if let Some(least) = self.held.remove(&id) {
                        self.count(&least);
                    }
                }
                least => {
                    self.ranks.extend(least);
                    return self.count(&held);
                }
            }
        }
        self.ranks.insert(held.rank());
        self.held.insert(held.news.alert.id, held);
    }

    fn count(&mut self, held: &Held) {
        let id = held.news.alert.id;
        if held.is_up && self.counted.len() < IDS_MAX {
            self.counted.insert(id, held.severity());
        } else if !held.is_up && self.told.remove(&id).is_some() {
            self.more.resolved += 1;
        } else {
            self.more.add(held.severity());
        }
    }

    fn end_counted(&mut self, id: AlertId) {
        let Some(severity) = self.counted.remove(&id) else { return };
        if self.told.remove(&id).is_none() {
            self.more.add(severity);
        } else {
            self.more.resolved += u64::from(self.rules.resolved);
        }
    }

    /// Notes since when something waits.
    fn touch(&mut self, now: Instant) {
        if self.held.is_empty() && self.counted.is_empty() && self.more.is_empty() {
            self.since = None;
        } else {
            self.since.get_or_insert(now);
        }
    }

    fn note_told(&mut self, alert: &Alert, now: Instant) {
        if self.told.len() < IDS_MAX || self.told.contains_key(&alert.id) {
            let told = Told { severity: alert.severity, at: now, is_acknowledged: is_acknowledged(alert) };
            self.told.insert(alert.id, told);
        }
    }

    fn plan_reminders(&mut self) {
        let Some(every) = self.rules.remind_every else { return };
        self.remind_at = self.told.values().filter(|told| told.wants_reminder()).map(|told| told.at + every).min();
    }

    /// Returns the alerts that somebody has to be reminded of; where there is one, also those of which that would be so soon.
    fn reminders(&mut self, now: Instant, active: impl FnOnce() -> Vec<Alert>) -> Vec<Entry> {
        let (Some(every), Some(true)) = (self.rules.remind_every, self.remind_at.map(|at| at <= now)) else {
            return Vec::new();
        };
        if !self.told.values().any(|told| told.wants_reminder() && told.at + every <= now) {
            return Vec::new();
        }
        let soon = now + every / 4;
        let mut entries = Vec::new();
        for alert in active().into_iter().filter(Alert::is_firing) {
            let Some(told) = self.told.get_mut(&alert.id) else { continue };
            told.is_acknowledged |= is_acknowledged(&alert);
            if told.wants_reminder() && told.at + every <= soon && !self.held.contains_key(&alert.id) {
                told.at = now;
                entries.push(Entry { happened: Happened::Reminded, alert, times: 1 });
            }
        }
        // What is not up any more: that it is over is about to be heard. Until then nothing is to be said.
        self.told.values_mut().filter(|told| told.at + every <= now).for_each(|told| told.at = now);
        entries
    }
}

impl Held {
    fn severity(&self) -> Severity {
        self.news.alert.severity
    }

    fn rank(&self) -> Rank {
        Rank { is_up: self.is_up, severity: self.severity(), id: Reverse(self.news.alert.id) }
    }

    fn into_entry(self) -> Entry {
        let News { at, turn, alert } = &*self.news;
        let by = if let Turn::Resolved { by } = turn { by.clone() } else { None };
        let ending = Ending { lasted: at.saturating_since(alert.raised_at), by };
        let happened = match (self.is_up, self.was_told) {
            (true, true) => Happened::Changed,
            (true, false) => Happened::Fired,
            (false, true) => Happened::Resolved(ending),
            (false, false) => Happened::CameAndWent(ending),
        };
        Entry { happened, alert: alert.clone(), times: self.times }
    }
}

impl Told {
    fn wants_reminder(&self) -> bool {
        !self.is_acknowledged && self.severity >= Severity::Warning
    }
}

#[cfg(test)]
mod tests;
