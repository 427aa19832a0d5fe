//! What `host top` shows and how keys change it. Pure: two polls in, rows out; a key in, an order out.

use std::cmp::Ordering;
use std::time::Duration;

use bothost::admin::BotView;
use bothost::metrics::snapshot::{Histogram, Snapshot, Value};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::poll::Poll;

/// One bot.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Row {
    pub(super) bot: BotView,
    /// Fuel a second; unknown until there were two polls.
    pub(super) fuel: Option<f64>,
    /// Attempts a second.
    pub(super) attempts: Option<f64>,
    /// Seconds that half of the latest attempts took at most; none where there were none.
    pub(super) p50: Option<f64>,
    pub(super) p95: Option<f64>,
    pub(super) memory_peak: Option<f64>,
    pub(super) memory_limit: Option<f64>,
}

/// The host.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Summary {
    pub(super) status: String,
    pub(super) uptime_seconds: Option<u64>,
    pub(super) memory: Option<f64>,
    /// Events a second.
    pub(super) events: Option<f64>,
    pub(super) alerts: usize,
    pub(super) critical: usize,
    pub(super) bots: usize,
}

/// Returns a line for each bot, by its latest poll and the one before.
pub(super) fn rows(now: &Poll, before: Option<&Poll>) -> Vec<Row> {
    let elapsed = before.map(|before| now.at.saturating_duration_since(before.at));
    let (fuel, took) = (PerBot::of(now, "bothost_attempt_fuel_units"), PerBot::of(now, "bothost_attempt_elapsed_seconds"));
    let (fuel_before, took_before) = match before {
        Some(before) => {
            (PerBot::of(before, "bothost_attempt_fuel_units"), PerBot::of(before, "bothost_attempt_elapsed_seconds"))
        }
        None => (PerBot::default(), PerBot::default()),
    };
    let peak = PerBot::of(now, "bothost_bot_memory_peak_bytes");
    let limit = PerBot::of(now, "bothost_bot_memory_limit_bytes");
    let row = |bot: &BotView| {
        let name = bot.name.as_str();
        let fuel = fuel.since(&fuel_before, name);
        let took = took.since(&took_before, name);
        Row {
            bot: bot.clone(),
            fuel: rate(fuel.as_ref().map_or(0.0, |fuel| fuel.sum.max(0.0)), elapsed),
            attempts: rate(took.as_ref().map_or(0.0, |took| took.count as f64), elapsed),
            p50: took.as_ref().and_then(|took| took.quantile(0.5)),
            p95: took.as_ref().and_then(|took| took.quantile(0.95)),
            memory_peak: peak.number(name),
            memory_limit: limit.number(name),
        }
    };
    now.bots.iter().map(row).collect()
}

/// Returns how the host is.
pub(super) fn summary(now: &Poll, before: Option<&Poll>) -> Summary {
    let elapsed = before.map(|before| now.at.saturating_duration_since(before.at));
    let taken = |poll: &Poll| total(&poll.figures, "bothost_event_taken_over_total").unwrap_or(0.0);
    let firing = || now.alerts.iter().filter(|alert| alert.state != "pending");
    Summary {
        status: now.status.clone(),
        uptime_seconds: now.uptime_seconds,
        memory: total(&now.figures, "bothost_process_resident_bytes"),
        events: before.and_then(|before| rate((taken(now) - taken(before)).max(0.0), elapsed)),
        alerts: firing().count(),
        critical: firing().filter(|alert| alert.severity == "critical").count(),
        bots: now.bots.len(),
    }
}

fn rate(amount: f64, elapsed: Option<Duration>) -> Option<f64> {
    let seconds = elapsed?.as_secs_f64();
    (seconds > 0.0).then(|| amount / seconds)
}

fn total(figures: &Snapshot, family: &str) -> Option<f64> {
    let numbers = figures.families.get(family)?.series.iter().filter_map(|series| match series.value {
        Value::Number(number) => Some(number),
        Value::Histogram(_) => None,
    });
    Some(numbers.sum())
}

/// A family by its bots, so that a thousand of them are looked up and not searched for.
#[derive(Default)]
struct PerBot<'a>(std::collections::HashMap<&'a str, &'a Value>);

impl<'a> PerBot<'a> {
    fn of(poll: &'a Poll, family: &str) -> Self {
        let series = poll.figures.families.get(family).map(|family| family.series.as_slice()).unwrap_or_default();
        Self(series.iter().filter_map(|series| Some((series.label("bot")?, &series.value))).collect())
    }

    fn number(&self, bot: &str) -> Option<f64> {
        match self.0.get(bot)? {
            Value::Number(number) => Some(*number),
            Value::Histogram(_) => None,
        }
    }

    fn since(&self, before: &Self, bot: &str) -> Option<Histogram> {
        match (self.0.get(bot)?, before.0.get(bot)) {
            (Value::Histogram(now), Some(Value::Histogram(before))) => Some(now.since(before)),
            (Value::Histogram(now), _) => Some(now.clone()),
            _ => None,
        }
    }
}

/// What the rows are in the order of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Order {
    #[default]
    Fuel,
    Latency,
    Memory,
    Queue,
    Faults,
    Name,
}

impl Order {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Fuel => "fuel",
            Self::Latency => "latency",
            Self::Memory => "memory",
            Self::Queue => "queue",
            Self::Faults => "faults",
            Self::Name => "name",
        }
    }

    fn compare(self, a: &Row, b: &Row) -> Ordering {
        let down = |a: Option<f64>, b: Option<f64>| b.unwrap_or(-1.0).total_cmp(&a.unwrap_or(-1.0));
        let by = match self {
            Self::Fuel => down(a.fuel, b.fuel),
            Self::Latency => down(a.p95, b.p95),
            Self::Memory => down(a.memory_peak, b.memory_peak),
            Self::Queue => b.bot.queued.cmp(&a.bot.queued),
            Self::Faults => b.bot.faults.cmp(&a.bot.faults),
            Self::Name => Ordering::Equal,
        };
        by.then_with(|| a.bot.name.cmp(&b.bot.name))
    }
}

/// What the keys are for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Rows,
    /// A filter is being typed.
    Filter,
    /// All about the bot that is chosen.
    Details,
    Help,
    /// Whether this bot is to be restarted.
    Restart(String),
}

/// What a key asks of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    Quit,
    Restart(String),
}

/// What is looked at, and how.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    pub(super) mode: Mode,
    pub(super) order: Order,
    pub(super) filter: String,
    /// Whether what is shown stays as it is.
    pub(super) is_paused: bool,
    /// The bot that is chosen, wherever it goes in the order.
    pub(super) chosen: Option<String>,
    /// The first row that is shown.
    pub(super) first: usize,
    pub(super) note: Option<String>,
}

/// The longest filter.
const FILTER_CHARS_MAX: usize = 64;

impl View {
    /// Returns the rows that are looked at, in order.
    pub(super) fn select<'a>(&self, rows: &'a [Row]) -> Vec<&'a Row> {
        let wanted = |row: &&Row| self.filter.is_empty() || row.bot.name.contains(&self.filter) || row.bot.phase == self.filter;
        let mut selected: Vec<_> = rows.iter().filter(wanted).collect();
        selected.sort_by(|a, b| self.order.compare(a, b));
        selected
    }

    /// Returns which of the rows is chosen.
    pub(super) fn position(&self, selected: &[&Row]) -> usize {
        let chosen = self.chosen.as_deref();
        selected.iter().position(|row| Some(row.bot.name.as_str()) == chosen).unwrap_or(0)
    }

    /// Has the chosen row be one of the `height` that are shown.
    pub(super) fn scroll(&mut self, selected: &[&Row], height: usize) {
        let (at, height) = (self.position(selected), height.max(1));
        let last = selected.len().saturating_sub(height);
        self.first = self.first.clamp(at.saturating_sub(height - 1), at).min(last);
    }

    /// Takes a key.
    pub(super) fn key(&mut self, key: KeyEvent, selected: &[&Row], height: usize) -> Option<Wish> {
        self.note = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) && matches!(key.code, KeyCode::Char('c' | 'd')) {
            return Some(Wish::Quit);
        }
        match std::mem::take(&mut self.mode) {
            Mode::Filter => self.filter_key(key.code),
            Mode::Restart(bot) => return matches!(key.code, KeyCode::Char('y')).then_some(Wish::Restart(bot)),
            Mode::Help => {}
            Mode::Details => match key.code {
                KeyCode::Char('q') | KeyCode::Esc | KeyCode::Enter => {}
                KeyCode::Char('r') => self.ask_to_restart(selected),
                _ => self.mode = Mode::Details,
            },
            Mode::Rows => return self.row_key(key.code, selected, height),
        }
        None
    }

    fn filter_key(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => return,
            KeyCode::Esc => return self.filter.clear(),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(letter) if self.filter.chars().count() < FILTER_CHARS_MAX => self.filter.push(letter),
            _ => {}
        }
        self.mode = Mode::Filter;
    }

    fn row_key(&mut self, key: KeyCode, selected: &[&Row], height: usize) -> Option<Wish> {
        let page = isize::try_from(height).unwrap_or(isize::MAX);
        match key {
            KeyCode::Char('q') => return Some(Wish::Quit),
            KeyCode::Char('?' | 'h') => self.mode = Mode::Help,
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('p') => self.is_paused = !self.is_paused,
            KeyCode::Char('r') => self.ask_to_restart(selected),
            KeyCode::Enter if !selected.is_empty() => self.choose(selected, 0, Mode::Details),
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('f') => self.order = Order::Fuel,
            KeyCode::Char('l') => self.order = Order::Latency,
            KeyCode::Char('m') => self.order = Order::Memory,
            // `q` is taken by what every such program ends with.
            KeyCode::Char('d') => self.order = Order::Queue,
            KeyCode::Char('x') => self.order = Order::Faults,
            KeyCode::Char('n') => self.order = Order::Name,
            KeyCode::Up | KeyCode::Char('k') => self.choose(selected, -1, Mode::Rows),
            KeyCode::Down | KeyCode::Char('j') => self.choose(selected, 1, Mode::Rows),
            KeyCode::PageUp => self.choose(selected, -page, Mode::Rows),
            KeyCode::PageDown => self.choose(selected, page, Mode::Rows),
            KeyCode::Home => self.choose(selected, isize::MIN / 2, Mode::Rows),
            KeyCode::End => self.choose(selected, isize::MAX / 2, Mode::Rows),
            _ => {}
        }
        None
    }

    fn ask_to_restart(&mut self, selected: &[&Row]) {
        if let Some(row) = selected.get(self.position(selected)) {
            self.mode = Mode::Restart(row.bot.name.clone());
        }
    }

    fn choose(&mut self, selected: &[&Row], by: isize, mode: Mode) {
        let last = selected.len().saturating_sub(1);
        let at = self.position(selected).saturating_add_signed(by).min(last);
        self.chosen = selected.get(at).map(|row| row.bot.name.clone());
        self.mode = mode;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Instant;

    use bothost::clock::Timestamp;

    use super::*;

    pub(in super::super) fn poll(at: Instant, fuel: [u64; 2], bots: &[(&str, &str, usize)]) -> Poll {
        let text = format!(
            "# TYPE bothost_attempt_fuel_units histogram\n\
             bothost_attempt_fuel_units_sum{{bot=\"echo\"}} {}\n\
             bothost_attempt_fuel_units_count{{bot=\"echo\"}} 1\n\
             bothost_attempt_fuel_units_sum{{bot=\"trader\"}} {}\n\
             bothost_attempt_fuel_units_count{{bot=\"trader\"}} 1\n\
             # TYPE bothost_attempt_elapsed_seconds histogram\n\
             bothost_attempt_elapsed_seconds_sum{{bot=\"echo\"}} 1.0\n\
             bothost_attempt_elapsed_seconds_count{{bot=\"echo\"}} 10\n\
             bothost_attempt_elapsed_seconds_bucket{{le=\"0.01\",bot=\"echo\"}} 10\n\
             bothost_attempt_elapsed_seconds_bucket{{le=\"+Inf\",bot=\"echo\"}} 10\n\
             # TYPE bothost_bot_memory_peak_bytes gauge\n\
             bothost_bot_memory_peak_bytes{{bot=\"echo\"}} 1048576\n\
             # TYPE bothost_bot_memory_limit_bytes gauge\n\
             bothost_bot_memory_limit_bytes{{bot=\"echo\"}} 67108864\n\
             # TYPE bothost_event_taken_over counter\n\
             bothost_event_taken_over_total{{connector=\"tg\",class=\"message\"}} {}\n\
             # TYPE bothost_process_resident_bytes gauge\n\
             bothost_process_resident_bytes 52428800\n",
            fuel[0],
            fuel[1],
            fuel[0] / 100
        );
        let bot = |(name, phase, queued): &(&str, &str, usize)| BotView {
            name: (*name).to_owned(),
            phase: (*phase).to_owned(),
            queued: *queued,
            ..BotView::default()
        };
        Poll {
            at,
            status: "ok".into(),
            uptime_seconds: Some(3_700),
            bots: bots.iter().map(bot).collect(),
            alerts: Vec::new(),
            figures: Snapshot::read(&text, Timestamp::from_millis(0)),
        }
    }

    pub(in super::super) const BOTS: &[(&str, &str, usize)] =
        &[("echo", "running", 1), ("trader", "quarantined", 7), ("idle", "running", 0)];

    pub(in super::super) fn two_polls() -> (Poll, Poll) {
        let begin = Instant::now();
        (poll(begin, [1_000, 0], BOTS), poll(begin + Duration::from_secs(2), [5_000, 2_000], BOTS))
    }

    fn press(view: &mut View, rows: &[Row], keys: &str) -> Option<Wish> {
        let mut wish = None;
        for letter in keys.chars() {
            let code = match letter {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                letter => KeyCode::Char(letter),
            };
            let selected = view.select(rows);
            wish = view.key(KeyEvent::from(code), &selected, 2);
        }
        wish
    }

    fn names(view: &View, rows: &[Row]) -> Vec<String> {
        view.select(rows).into_iter().map(|row| row.bot.name.clone()).collect()
    }

    #[test]
    fn rates_are_what_differs_between_two_polls() {
        let (before, now) = two_polls();
        let rows = rows(&now, Some(&before));
        assert_eq!((rows[0].fuel, rows[1].fuel, rows[2].fuel), (Some(2_000.0), Some(1_000.0), Some(0.0)));
        assert_eq!((rows[0].memory_peak, rows[0].memory_limit), (Some(1_048_576.0), Some(67_108_864.0)));
        assert_eq!(rows[0].p50, None, "nothing was attempted between the two");
        let summary = summary(&now, Some(&before));
        assert_eq!((summary.events, summary.memory, summary.bots), (Some(20.0), Some(52_428_800.0), 3));
        let first = super::rows(&now, None);
        assert_eq!(first[0].fuel, None);
        assert!(first[0].p50.is_some_and(|p50| p50 < 0.01));
    }

    #[test]
    fn a_host_that_began_anew_shows_no_negative_rate() {
        let (now, before) = two_polls();
        let now = Poll { at: before.at + Duration::from_secs(2), ..now };
        assert!(rows(&now, Some(&before)).iter().all(|row| row.fuel.is_none_or(|fuel| fuel >= 0.0)));
        assert_eq!(summary(&now, Some(&before)).events, Some(0.0));
    }

    #[test]
    fn keys_sort_and_filter() {
        let (before, now) = two_polls();
        let (rows, mut view) = (rows(&now, Some(&before)), View::default());
        assert_eq!(names(&view, &rows), ["echo", "trader", "idle"]);
        press(&mut view, &rows, "d");
        assert_eq!(names(&view, &rows), ["trader", "echo", "idle"]);
        press(&mut view, &rows, "n");
        assert_eq!(names(&view, &rows), ["echo", "idle", "trader"]);
        press(&mut view, &rows, "/rad\n");
        assert_eq!((names(&view, &rows), &view.mode), (vec!["trader".to_owned()], &Mode::Rows));
        press(&mut view, &rows, "\u{1b}");
        assert_eq!(view.filter, "");
        press(&mut view, &rows, "/q");
        assert_eq!((view.filter.as_str(), &view.mode), ("q", &Mode::Filter));
    }

    #[test]
    fn a_bot_stays_chosen_when_the_order_changes_and_is_in_sight() {
        let (before, now) = two_polls();
        let (rows, mut view) = (rows(&now, Some(&before)), View::default());
        press(&mut view, &rows, "jj");
        assert_eq!(view.chosen.as_deref(), Some("idle"));
        view.scroll(&view.select(&rows), 2);
        assert_eq!(view.first, 1);
        press(&mut view, &rows, "n");
        assert_eq!(view.position(&view.select(&rows)), 1);
        press(&mut view, &rows, "kkkk");
        view.scroll(&view.select(&rows), 2);
        assert_eq!((view.chosen.as_deref(), view.first), (Some("echo"), 0));
    }

    #[test]
    fn a_restart_is_asked_for_first() {
        let (before, now) = two_polls();
        let (rows, mut view) = (rows(&now, Some(&before)), View::default());
        assert_eq!(press(&mut view, &rows, "rn"), None);
        assert_eq!(view.mode, Mode::Rows);
        assert_eq!(press(&mut view, &rows, "ry"), Some(Wish::Restart("echo".into())));
        assert_eq!(press(&mut view, &rows, "\nq"), None, "of the details first");
        assert_eq!(press(&mut view, &rows, "q"), Some(Wish::Quit));
        assert_eq!(press(&mut View::default(), &[], "r\njk"), None, "without a bot there is nothing to do");
    }
}
