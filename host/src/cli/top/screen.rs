//! How `host top` looks. Only the rows that are in sight are made into text.

use bothost::logs::escape;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Row as TableRow, Table, Wrap};

use super::super::colour::{self, Paint};
use super::super::figure::Unit;
use super::super::table::to_the_second;
use super::model::{Mode, Row, Summary, View};

/// Lines that are no rows: the host's, an empty one, the headings, and the last.
const OTHER_LINES: u16 = 4;
pub(super) const HEADINGS: [&str; 9] =
    ["BOT", "PHASE", "FUEL/S", "ATTEMPTS/S", "P50", "P95", "MEMORY", "QUEUED", "FAULTS"];
const WIDTHS: [Constraint; 9] = [
    Constraint::Min(12),
    Constraint::Length(11),
    Constraint::Length(8),
    Constraint::Length(10),
    Constraint::Length(8),
    Constraint::Length(8),
    Constraint::Length(17),
    Constraint::Length(7),
    Constraint::Length(7),
];
const HELP: &str = "\
f l m d x n   order by fuel, latency, memory, queue, faults, name
up down j k   choose a bot; PgUp PgDn Home End
Enter         all about the bot
/             show only bots whose name has this, or that are in this phase; Esc: all
r             restart the bot, asks first
p             pause: what is shown stays
q, Ctrl-C     quit";

/// Returns how many rows a screen of this height has.
pub(super) fn height_of_rows(height: u16) -> usize {
    usize::from(height.saturating_sub(OTHER_LINES))
}

/// Draws it all. `lost` says why there is no news of the host.
pub(super) fn draw(frame: &mut Frame<'_>, summary: &Summary, selected: &[&Row], view: &View, lost: Option<&str>) {
    let lines = [Constraint::Length(1), Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)];
    let [head, gap, body, foot] = Layout::vertical(lines).areas(frame.area());
    frame.render_widget(Paragraph::new(host_line(summary)), head);
    if let Some(lost) = lost {
        let text = format!("waiting for the host: {}", escape(lost));
        frame.render_widget(Paragraph::new(text).style(style(Paint::Bad)), gap);
    }
    table(frame, body, selected, view);
    frame.render_widget(Paragraph::new(foot_line(view, selected.len())), foot);
    match &view.mode {
        Mode::Help => popup(frame, "keys", HELP.to_owned()),
        Mode::Details => {
            if let Some(row) = selected.get(view.position(selected)) {
                popup(frame, &row.bot.name, details(row));
            }
        }
        Mode::Rows | Mode::Filter | Mode::Restart(_) => {}
    }
}

fn table(frame: &mut Frame<'_>, area: Rect, selected: &[&Row], view: &View) {
    let in_sight = usize::from(area.height.saturating_sub(1));
    let chosen = view.position(selected);
    let rows = selected.iter().enumerate().skip(view.first).take(in_sight).map(|(index, row)| {
        let of = Paint::of(&row.bot.phase).filter(|paint| *paint != Paint::Good).map_or_else(Style::default, style);
        TableRow::new(cells(row)).style(if index == chosen { of.add_modifier(Modifier::REVERSED) } else { of })
    });
    let header = TableRow::new(HEADINGS).style(Style::default().add_modifier(Modifier::BOLD));
    frame.render_widget(Table::new(rows, WIDTHS).header(header).column_spacing(1), area);
}

fn style(paint: Paint) -> Style {
    if !colour::is_on() {
        return Style::default();
    }
    match paint {
        Paint::Good => Style::default().fg(Color::Green),
        Paint::Warning => Style::default().fg(Color::Yellow),
        Paint::Bad => Style::default().fg(Color::Red),
        Paint::Faint => Style::default().add_modifier(Modifier::DIM),
    }
}

/// Returns what is shown of one bot.
pub(super) fn cells(row: &Row) -> [String; 9] {
    let Row { bot, .. } = row;
    let memory = match (row.memory_peak, row.memory_limit) {
        (Some(peak), Some(limit)) => format!("{}/{}", Unit::Bytes.show(peak), Unit::Bytes.show(limit)),
        (peak, _) => Unit::Bytes.show_some(peak),
    };
    [
        escape(&bot.name).into_owned(),
        escape(&bot.phase).into_owned(),
        Unit::Plain.show_some(row.fuel),
        Unit::Plain.show_some(row.attempts),
        Unit::Seconds.show_some(row.p50),
        Unit::Seconds.show_some(row.p95),
        memory,
        bot.queued.to_string(),
        bot.faults.to_string(),
    ]
}

/// Returns how the host is, on a line.
pub(super) fn host_words(summary: &Summary) -> String {
    let Summary { uptime_seconds, memory, events, alerts, critical, bots, .. } = summary;
    let mut parts = Vec::new();
    parts.extend(uptime_seconds.map(|seconds| format!("up {}", uptime(seconds))));
    parts.extend(memory.map(|bytes| format!("memory {}", Unit::Bytes.show(bytes))));
    parts.extend(events.map(|rate| format!("{} events/s", Unit::Plain.show(rate))));
    parts.push(format!("{bots} bots"));
    parts.push(format!("{alerts} alerts ({critical} critical)"));
    parts.join("  ")
}

fn host_line(summary: &Summary) -> Line<'static> {
    let status = escape(&summary.status).into_owned();
    let look = Paint::of(&status).map_or_else(Style::default, style).add_modifier(Modifier::BOLD);
    Line::from(vec![Span::raw("host "), Span::styled(status, look), Span::raw(format!("  {}", host_words(summary)))])
}

fn uptime(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

fn foot_line(view: &View, count: usize) -> String {
    match (&view.mode, &view.note) {
        (Mode::Filter, _) => format!("/{}", escape(&view.filter)),
        (Mode::Restart(bot), _) => format!("restart bot {}? y: yes, any other key: no", escape(bot)),
        (_, Some(note)) => escape(note).into_owned(),
        _ => {
            let filter = if view.filter.is_empty() { String::new() } else { format!("  filter {}", escape(&view.filter)) };
            let paused = if view.is_paused { "  PAUSED" } else { "" };
            format!("{count} shown by {}{filter}{paused}  ?: keys  q: quit", view.order.as_str())
        }
    }
}

fn details(row: &Row) -> String {
    let Row { bot, .. } = row;
    let until = bot.until.as_deref().map(|until| format!(", until {}", to_the_second(until))).unwrap_or_default();
    let none = || "-".to_owned();
    let bytes = |value: Option<f64>| value.map_or_else(none, |value| Unit::Bytes.show(value));
    let seconds = |value: Option<f64>| value.map_or_else(none, |value| Unit::Seconds.show(value));
    let lines = [
        ("phase", format!("{} since {}{until}", bot.phase, to_the_second(&bot.since))),
        ("why", bot.detail.clone().unwrap_or_else(none)),
        ("version", bot.version.clone().unwrap_or_else(none)),
        ("component", bot.component.clone().unwrap_or_else(none)),
        ("events", format!("{} handled, {} waiting, {} at work", bot.handled, bot.queued, bot.in_flight)),
        ("faults", bot.faults.to_string()),
        ("restarts", bot.restarts.to_string()),
        ("fuel", row.fuel.map_or_else(none, |fuel| format!("{} a second", Unit::Plain.show(fuel)))),
        ("latency", format!("p50 {}, p95 {}", seconds(row.p50), seconds(row.p95))),
        ("memory", format!("{} of {}", bytes(row.memory_peak), bytes(row.memory_limit))),
    ];
    lines.map(|(name, value)| format!("{name:<10} {}", escape(&value))).join("\n")
}

fn popup(frame: &mut Frame<'_>, title: &str, text: String) {
    let area = frame.area();
    let height = u16::try_from(text.lines().count() + 2).unwrap_or(area.height).min(area.height);
    let width = area.width.min(84);
    let (x, y) = ((area.width - width) / 2, (area.height - height) / 2);
    let place = Rect { x, y, width, height };
    frame.render_widget(Clear, place);
    let block = Block::bordered().title(format!(" {} ", escape(title)));
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }).block(block), place);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::model::{self, tests::two_polls};
    use super::*;

    fn shown(view: &View, rows: &[Row], (width, height): (u16, u16), lost: Option<&str>) -> String {
        let (before, now) = two_polls();
        let summary = model::summary(&now, Some(&before));
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &summary, &view.select(rows), view, lost)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..height).map(line).collect::<Vec<_>>().join("\n")
    }

    fn rows() -> Vec<Row> {
        let (before, now) = two_polls();
        model::rows(&now, Some(&before))
    }

    #[test]
    fn the_screen_has_the_host_the_bots_and_the_keys() {
        let expected = "\
host ok  up 1h01m  memory 50 MiB  20 events/s  3 bots  0 alerts (0 critical)

BOT                PHASE       FUEL/S   ATTEMPTS/S P50      P95      MEMORY            QUEUED  FAULTS
echo               running     2k       0                            1 MiB/64 MiB      1       0
trader             quarantined 1k       0                                              7       0
idle               running     0        0                                              0       0

3 shown by fuel  ?: keys  q: quit";
        assert_eq!(shown(&View::default(), &rows(), (102, 8), None), expected);
    }

    #[test]
    fn a_host_that_is_lost_is_waited_for_and_a_question_is_asked() {
        let view = View { mode: Mode::Restart("echo".into()), ..View::default() };
        let text = shown(&view, &rows(), (80, 8), Some("no host is running\u{1b}[2J"));
        assert!(text.contains("waiting for the host: no host is running") && !text.contains('\u{1b}'), "{text}");
        assert!(text.ends_with("restart bot echo? y: yes, any other key: no"), "{text}");
    }

    #[test]
    fn of_a_thousand_bots_those_in_sight_are_shown() {
        let bot = |number: usize| Row {
            bot: bothost::admin::BotView { name: format!("bot-{number:04}"), ..Default::default() },
            ..Row::default()
        };
        let rows: Vec<_> = (0..1_000).map(bot).collect();
        let mut view = View { chosen: Some("bot-0999".into()), ..View::default() };
        view.scroll(&view.select(&rows), height_of_rows(10));
        let text = shown(&view, &rows, (80, 10), None);
        assert!(text.contains("bot-0994") && text.contains("bot-0999") && !text.contains("bot-0993"), "{text}");
    }

    #[test]
    fn the_details_of_a_bot_and_the_keys_are_shown_above_it_all() {
        let text = shown(&View { mode: Mode::Details, ..View::default() }, &rows(), (90, 20), None);
        assert!(text.contains("┌ echo ─") && text.contains("latency    p50 -, p95 -"), "{text}");
        let text = shown(&View { mode: Mode::Help, ..View::default() }, &rows(), (90, 20), None);
        assert!(text.contains("┌ keys ─") && text.contains("restart the bot, asks first"), "{text}");
        // Nothing breaks where there is no room.
        shown(&View { mode: Mode::Help, ..View::default() }, &rows(), (3, 2), Some("x"));
    }
}
