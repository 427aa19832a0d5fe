//! The groups, and how much came in each of the last minutes. No lock and no clock of its own.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::{
    BOT_GROUPS_MAX, CONTEXT_MAX, ErrorId, GROUPS_MAX, Group, Occurrence, Statistics, TEXT_BYTES_MAX, fingerprint,
};
use crate::action::Severity;
use crate::clock::Timestamp;

/// Minutes that are counted one by one.
const MINUTES: usize = 60;
const MINUTE_MS: u64 = 60_000;
/// A group that nothing came into for so long gives its room to another.
const STALE: Duration = Duration::from_secs(600);
/// How often room is looked for where there is none.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Parts of the program are few; a component that would be one more is counted as the program as a whole.
const COMPONENTS_MAX: usize = 64;
/// What stands for the program as a whole.
const WHOLE: &str = "host";

/// Everything that went wrong.
#[derive(Debug, Default)]
pub(super) struct Book {
    groups: HashMap<ErrorId, Group>,
    /// How many of them each bot has.
    of_bots: HashMap<String, usize>,
    minutes: Minutes,
    /// The names of the parts of the program, for labels of metrics.
    components: BTreeMap<String, &'static str>,
    total: u64,
    crowded_out: u64,
    looked_at: Option<Timestamp>,
}

/// What came in each of the last minutes, by part of the program and severity.
#[derive(Debug, Default)]
struct Minutes(BTreeMap<u64, HashMap<(&'static str, Severity), u64>>);

impl Book {
    /// Counts an occurrence, whose group has this id. Returns the name of its component.
    pub(super) fn record(&mut self, id: ErrorId, occurrence: &Occurrence<'_>, now: Timestamp) -> &'static str {
        let component = self.component(occurrence.component);
        self.total += 1;
        self.minutes.add(component, occurrence.severity, now);
        if let Some(group) = self.groups.get_mut(&id) {
            group.again(occurrence, now);
        } else if self.has_room(occurrence.bot, now) {
            self.insert(Group::new(id, occurrence, now));
        } else {
            self.crowded_out += 1;
            let rest = fingerprint::of_rest(component, occurrence.bot);
            let has_room_for_rest = self.groups.len() < 2 * GROUPS_MAX;
            match self.groups.get_mut(&rest) {
                Some(group) => group.again(occurrence, now),
                // One for each part of the program and each bot: there are few parts, and a bot has had its room for long.
                None if has_room_for_rest => {
                    let group = Group { kind: "others".to_owned(), ..Group::new(rest, occurrence, now) };
                    self.insert(group);
                }
                None => {}
            }
        }
        component
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    pub(super) fn statistics(&self, window: Duration, now: Timestamp) -> Statistics {
        let mut statistics = Statistics {
            total: self.total,
            groups: self.groups.len(),
            crowded_out: self.crowded_out,
            ..Statistics::default()
        };
        let mut components: BTreeMap<&str, u64> = BTreeMap::new();
        for ((component, severity), count) in self.minutes.within(window, now) {
            statistics.in_window += count;
            statistics.by_severity[severity as usize] += count;
            *components.entry(component).or_default() += count;
        }
        statistics.by_component = components.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        statistics.by_component.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        let minutes = window.as_secs_f64() / 60.0;
        statistics.per_minute = if minutes > 0.0 { statistics.in_window as f64 / minutes } else { 0.0 };
        statistics
    }

    fn insert(&mut self, group: Group) {
        if let Some(bot) = &group.bot {
            *self.of_bots.entry(bot.clone()).or_default() += 1;
        }
        self.groups.insert(group.id, group);
    }

    /// Returns whether there is room for one more group, and makes some if that is long ago.
    fn has_room(&mut self, bot: Option<&str>, now: Timestamp) -> bool {
        let is_full = |book: &Self| {
            let of_bot = bot.and_then(|bot| book.of_bots.get(bot)).copied().unwrap_or(0);
            book.groups.len() >= GROUPS_MAX || of_bot >= BOT_GROUPS_MAX
        };
        if !is_full(self) {
            return true;
        }
        if self.looked_at.is_some_and(|looked_at| now.saturating_since(looked_at) < LOOK_EVERY) {
            return false;
        }
        self.looked_at = Some(now);
        self.groups.retain(|_, group| now.saturating_since(group.last_at) < STALE);
        self.of_bots.clear();
        for bot in self.groups.values().filter_map(|group| group.bot.as_ref()) {
            *self.of_bots.entry(bot.clone()).or_default() += 1;
        }
        !is_full(self)
    }

    /// Returns the name of a component as it may stand in a label. Names are those of modules of this program, so what is leaked
    /// here is as bounded as they are.
    fn component(&mut self, name: &str) -> &'static str {
        if let Some(known) = self.components.get(name) {
            return known;
        }
        if self.components.len() >= COMPONENTS_MAX {
            return WHOLE;
        }
        let leaked: &'static str = Box::leak(name.to_owned().into_boxed_str());
        self.components.insert(name.to_owned(), leaked);
        leaked
    }
}

impl Minutes {
    fn add(&mut self, component: &'static str, severity: Severity, now: Timestamp) {
        let minute = now.as_millis() / MINUTE_MS;
        *self.0.entry(minute).or_default().entry((component, severity)).or_default() += 1;
        while self.0.len() > MINUTES + 1 {
            self.0.pop_first();
        }
    }

    fn within(&self, window: Duration, now: Timestamp) -> impl Iterator<Item = ((&'static str, Severity), u64)> {
        let now = now.as_millis();
        let window = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        // The minute in which the window begins counts as a whole.
        let (from, to) = (now.saturating_sub(window) / MINUTE_MS, now / MINUTE_MS);
        self.0.range(from..=to).flat_map(|(_, counts)| counts.iter().map(|(key, count)| (*key, *count)))
    }
}

impl Group {
    fn new(id: ErrorId, occurrence: &Occurrence<'_>, now: Timestamp) -> Self {
        Self {
            id,
            severity: occurrence.severity,
            component: occurrence.component.to_owned(),
            kind: cut(occurrence.kind),
            message: cut(occurrence.message),
            bot: occurrence.bot.map(str::to_owned),
            connector: occurrence.connector.map(str::to_owned),
            context: context(occurrence),
            count: 1,
            first_at: now,
            last_at: now,
        }
    }

    fn again(&mut self, occurrence: &Occurrence<'_>, now: Timestamp) {
        self.severity = self.severity.max(occurrence.severity);
        self.count = self.count.saturating_add(1);
        // What is told of a storm is told of its seconds: texts are copied once in each.
        if now.saturating_since(self.last_at) >= LOOK_EVERY {
            self.message = cut(occurrence.message);
            self.context = context(occurrence);
        }
        self.last_at = self.last_at.max(now);
    }
}

fn context(occurrence: &Occurrence<'_>) -> Vec<(String, String)> {
    occurrence.context.iter().take(CONTEXT_MAX).map(|(name, value)| (cut(name), cut(value))).collect()
}

fn cut(text: &str) -> String {
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(TEXT_BYTES_MAX)])
}
