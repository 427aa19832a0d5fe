//! The list of bots: what a row tells, and which rows are shown in which order. Pure.

use askama::Template;
use serde::Deserialize;

use super::marks::{Bar, Spark, Tag, Tone, bytes, count, units};
use super::pager::{Pager, address};
use super::shell::Shell;
use super::text::Text;

/// Rows of a page.
pub(super) const ROWS: usize = 50;

/// One bot as the API tells of it.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Bot {
    pub(super) name: String,
    pub(super) tenant: String,
    pub(super) phase: String,
    pub(super) detail: Option<String>,
    pub(super) since: String,
    pub(super) until: Option<String>,
    pub(super) component: Option<String>,
    pub(super) version: Option<String>,
    pub(super) refused: Option<String>,
    pub(super) handled: u64,
    pub(super) faults: u64,
    pub(super) restarts: u64,
    pub(super) queued: u64,
    pub(super) in_flight: u64,
    pub(super) memory_peak_bytes: u64,
    pub(super) memory_limit_bytes: u64,
    pub(super) fuel_limit: u64,
}

impl Bot {
    /// Returns whether it should serve and does not.
    pub(super) fn is_ill(&self) -> bool {
        tone(&self.phase) <= Tone::Warn || self.refused.is_some()
    }

    pub(super) fn tag(&self, text: &Text) -> Tag {
        Tag::new(tone(&self.phase), phase_word(&self.phase, text))
    }

    pub(super) fn switch(&self) -> Switch {
        match self.phase.as_str() {
            "stopped" | "draining" | "disabled" => Switch::Start,
            _ => Switch::Stop,
        }
    }

    pub(super) fn memory(&self) -> Bar {
        Bar::new(precise(self.memory_peak_bytes), precise(self.memory_limit_bytes), bytes)
    }

    /// Returns how much of its fuel a call took.
    pub(super) fn fuel(&self, used: Option<f64>) -> Bar {
        Bar::new(used.unwrap_or(0.0), precise(self.fuel_limit), units)
    }
}

/// Every phase that there is, by name.
const PHASES: [&str; 11] = [
    "running",
    "probation",
    "starting",
    "discovered",
    "degraded",
    "backoff",
    "rejected",
    "quarantined",
    "draining",
    "stopped",
    "disabled",
];

pub(super) fn tone(phase: &str) -> Tone {
    match phase {
        "rejected" | "quarantined" => Tone::Bad,
        "degraded" | "backoff" => Tone::Warn,
        "running" | "probation" => Tone::Good,
        _ => Tone::Plain,
    }
}

pub(super) fn phase_word<'a>(phase: &'a str, text: &Text) -> &'a str {
    match phase {
        "discovered" => text.phase_discovered,
        "rejected" => text.phase_rejected,
        "starting" => text.phase_starting,
        "probation" => text.phase_probation,
        "running" => text.phase_running,
        "degraded" => text.phase_degraded,
        "backoff" => text.phase_backoff,
        "quarantined" => text.phase_quarantined,
        "disabled" => text.phase_disabled,
        "draining" => text.phase_draining,
        "stopped" => text.phase_stopped,
        other => other,
    }
}

/// What the first button of a bot does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Switch {
    Start,
    Stop,
}

impl Switch {
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
        }
    }

    pub(super) fn is_stop(self) -> bool {
        self == Self::Stop
    }

    pub(super) fn label(self, text: &Text) -> &'static str {
        match self {
            Self::Start => text.start,
            Self::Stop => text.stop,
        }
    }
}

/// In which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Sort {
    #[default]
    Trouble,
    Name,
    Busy,
    Faults,
    Queue,
    Memory,
}

impl Sort {
    const ALL: [Self; 6] = [Self::Trouble, Self::Name, Self::Busy, Self::Faults, Self::Queue, Self::Memory];

    pub(super) fn all(self) -> [Self; 6] {
        Self::ALL
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Trouble => "trouble",
            Self::Name => "name",
            Self::Busy => "busy",
            Self::Faults => "faults",
            Self::Queue => "queue",
            Self::Memory => "memory",
        }
    }

    pub(super) fn label(self, text: &Text) -> &'static str {
        match self {
            Self::Trouble => text.sort_trouble,
            Self::Name => text.sort_name,
            Self::Busy => text.sort_busy,
            Self::Faults => text.sort_faults,
            Self::Queue => text.sort_queue,
            Self::Memory => text.sort_memory,
        }
    }

    fn of(name: &str) -> Self {
        Self::ALL.into_iter().find(|sort| sort.name() == name).unwrap_or_default()
    }
}

/// What is asked of the list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Asked {
    pub(super) search: String,
    pub(super) phase: String,
    pub(super) sort: Sort,
    /// Counted from 0.
    pub(super) page: usize,
}

impl Asked {
    /// Reads the parameters of an address; whatever is none of them counts as not given.
    pub(super) fn new(value: impl Fn(&str) -> Option<String>) -> Self {
        let text = |name| value(name).unwrap_or_default();
        let page = text("page").parse::<usize>().unwrap_or(1).clamp(1, 100_000) - 1;
        Self { search: text("search"), phase: text("phase"), sort: Sort::of(&text("sort")), page }
    }

    fn wants(&self, bot: &Bot) -> bool {
        let search = self.search.trim().to_lowercase();
        (self.phase.is_empty() || bot.phase == self.phase) && bot.name.to_lowercase().contains(&search)
    }

    /// Returns the bots that are wanted, in order.
    pub(super) fn sift(&self, mut bots: Vec<Bot>) -> Vec<Bot> {
        bots.retain(|bot| self.wants(bot));
        let most = |number: u64| std::cmp::Reverse(number);
        match self.sort {
            Sort::Trouble => {
                bots.sort_by(|a, b| (!a.is_ill(), tone(&a.phase), &a.name).cmp(&(!b.is_ill(), tone(&b.phase), &b.name)))
            }
            Sort::Name => bots.sort_by(|a, b| a.name.cmp(&b.name)),
            Sort::Busy => bots.sort_by_key(|bot| most(bot.handled)),
            Sort::Faults => bots.sort_by_key(|bot| most(bot.faults)),
            Sort::Queue => bots.sort_by_key(|bot| most(bot.queued)),
            Sort::Memory => bots.sort_by_key(|bot| most(bot.memory_peak_bytes)),
        }
        bots
    }

    fn address(&self, page: usize) -> String {
        let page = if page == 0 { String::new() } else { (page + 1).to_string() };
        let sort = if self.sort == Sort::default() { "" } else { self.sort.name() };
        address("/bots", &[("search", &self.search), ("phase", &self.phase), ("sort", sort), ("page", &page)])
    }
}

/// One row.
#[derive(Debug)]
pub(super) struct Row {
    name: String,
    tenant: String,
    version: Option<String>,
    tag: Tag,
    detail: Option<String>,
    spark: Spark,
    handled: String,
    faults: String,
    queued: String,
    memory: Bar,
    fuel: Bar,
    switch: Switch,
}

impl Row {
    /// Tells of a bot; `events` is how many it handled in each part of the last hour, `fuel` what a call of it took at most.
    pub(super) fn new(bot: Bot, events: &[f64], fuel: Option<f64>, text: &Text) -> Self {
        let sum: f64 = events.iter().sum();
        Self {
            tag: bot.tag(text),
            spark: Spark::new(events, format!("{}: {}", text.events_of_last_hour, units(sum))),
            handled: count(bot.handled),
            faults: count(bot.faults),
            queued: count(bot.queued),
            memory: bot.memory(),
            fuel: bot.fuel(fuel),
            switch: bot.switch(),
            name: bot.name,
            tenant: bot.tenant,
            version: bot.version,
            detail: bot.detail,
        }
    }
}

/// How many bots are in a phase.
#[derive(Debug)]
pub(super) struct PhaseCount {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) tag: Tag,
    pub(super) count: usize,
}

/// Returns the phases in which there are bots, or that is asked for.
pub(super) fn phases(bots: &[Bot], asked: &str, text: &'static Text) -> Vec<PhaseCount> {
    let counted = PHASES.into_iter().map(|name| (name, bots.iter().filter(|bot| bot.phase == name).count()));
    counted
        .filter(|(name, count)| *count > 0 || *name == asked)
        .map(|(name, count)| {
            let label = phase_word(name, text);
            PhaseCount { name, label, tag: Tag::new(tone(name), label), count }
        })
        .collect()
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "bots.html")]
pub(super) struct BotsPage {
    shell: Shell,
    asked: Asked,
    phases: Vec<PhaseCount>,
    rows: Vec<Row>,
    total: String,
    range: String,
    pager: Pager,
}

/// What is shown of all bots: those of one page, and what the rest of the page says of all.
#[derive(Debug)]
pub(super) struct Selection {
    asked: Asked,
    phases: Vec<PhaseCount>,
    total: usize,
    found: usize,
    /// Those of the page, in order.
    pub(super) bots: Vec<Bot>,
}

impl Selection {
    pub(super) fn new(asked: Asked, bots: Vec<Bot>, text: &'static Text) -> Self {
        let (phases, total) = (phases(&bots, &asked.phase, text), bots.len());
        let sifted = asked.sift(bots);
        let found = sifted.len();
        let bots = sifted.into_iter().skip(asked.page.saturating_mul(ROWS)).take(ROWS).collect();
        Self { asked, phases, total, found, bots }
    }

    /// Returns the address of this page of the listing.
    pub(super) fn address(&self) -> String {
        self.asked.address(self.asked.page)
    }

    /// Returns the page; `row` tells of a bot.
    pub(super) fn page(self, shell: Shell, row: impl Fn(Bot) -> Row) -> BotsPage {
        let Self { asked, phases, total, found, bots } = self;
        let (first, text) = (asked.page * ROWS, shell.text);
        let range =
            format!("{}–{} {} {}", first + usize::from(!bots.is_empty()), first + bots.len(), text.of_them, found);
        let before = (asked.page > 0).then(|| asked.address(asked.page - 1));
        let after = (first + bots.len() < found).then(|| asked.address(asked.page + 1));
        let pager = Pager::new(text, range.clone(), before, after);
        let rows = bots.into_iter().map(row).collect();
        BotsPage { shell, asked, phases, rows, total: count(total as u64), range, pager }
    }
}

fn precise(number: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let number = number as f64;
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bot(name: &str, phase: &str, handled: u64) -> Bot {
        Bot { name: name.to_owned(), phase: phase.to_owned(), handled, ..Bot::default() }
    }

    fn names(asked: &Asked) -> Vec<String> {
        let bots = vec![bot("Alpha", "running", 1), bot("beta", "rejected", 9), bot("gamma", "degraded", 5)];
        asked.sift(bots).into_iter().map(|bot| bot.name).collect()
    }

    #[test]
    fn what_is_ill_comes_first_unless_another_order_is_asked_for() {
        assert_eq!(names(&Asked::default()), ["beta", "gamma", "Alpha"]);
        assert_eq!(names(&Asked { sort: Sort::Name, ..Asked::default() }), ["Alpha", "beta", "gamma"]);
        assert_eq!(names(&Asked { sort: Sort::Busy, ..Asked::default() }), ["beta", "gamma", "Alpha"]);
        assert_eq!(names(&Asked { search: "ALPH".into(), ..Asked::default() }), ["Alpha"]);
        assert_eq!(names(&Asked { phase: "degraded".into(), ..Asked::default() }), ["gamma"]);
    }

    #[test]
    fn addresses_of_pages_keep_what_was_asked() {
        let given = |name: &str| match name {
            "search" => Some("a b".to_owned()),
            "sort" => Some("faults".to_owned()),
            "page" => Some("3".to_owned()),
            _ => None,
        };
        let asked = Asked::new(given);
        assert_eq!(asked.page, 2);
        assert_eq!(asked.address(3), "/bots?search=a%20b&sort=faults&page=4");
        assert_eq!(Asked::new(|_| Some("nonsense".to_owned())).page, 0);
    }
}
