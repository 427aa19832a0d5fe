//! How a notice reads, in the plain text that every platform has. Pure.
//!
//! Words of guests are data: line breaks and what turns the direction of writing become spaces, and what the platform would take as
//! markup is escaped. What is too long is cut between characters, so that the number of what is left out still fits.

use std::fmt::Write as _;
use std::time::Duration;

use crate::action::Severity;
use crate::alert::notice::{Entry, Happened, More, Notice};
use crate::alert::{Source, Standing};

/// What a platform makes of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::alert) enum Style {
    /// What it is.
    Plain,
    /// Slack's "mrkdwn".
    Slack,
    /// Discord's Markdown.
    Discord,
}

/// The longest name of this host that is told.
const HOST_UNITS_MAX: usize = 64;

/// Returns a line for a subject or a notification, of at most `units_max` UTF-16 units.
pub(in crate::alert) fn title(notice: &Notice, style: Style, units_max: usize) -> String {
    let mut paper = Paper::new(style, units_max);
    host(&mut paper, notice);
    match &notice.content.entries[..] {
        [entry] if notice.content.more.alerts() == 0 => headline(&mut paper, entry, units_max),
        _ => paper.write(&numbers(&notice.content.counted())),
    }
    paper.text
}

/// Returns a text of at most `units_max` UTF-16 units, which counts no character of any platform twice too little.
pub(in crate::alert) fn body(notice: &Notice, style: Style, units_max: usize) -> String {
    let entries = &notice.content.entries;
    let mut head = Paper::new(style, units_max / 4);
    host(&mut head, notice);
    if entries.len() != 1 || notice.content.more.alerts() > 0 {
        head.write(&numbers(&notice.content.counted()));
        head.line_break();
        head.line_break();
    }
    let tail = tail(&notice.content.more, style, units_max / 4);
    let mut left = units_max.saturating_sub(head.units + tail.units);
    let mut text = head.text;
    for (index, entry) in entries.iter().enumerate() {
        let mut paper = Paper::new(style, left / (entries.len() - index));
        describe(&mut paper, entry, notice);
        paper.end_line();
        left -= paper.units;
        text += &paper.text;
    }
    text += &tail.text;
    text.truncate(text.trim_end().len());
    text
}

/// Returns the text without line breaks, control characters, and what turns the direction of writing.
pub(super) fn one_line(text: &str) -> String {
    let unseen = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if c.is_control() || unseen(c) { ' ' } else { c }).collect()
}

/// Returns a severity's word.
pub(super) fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

fn host(paper: &mut Paper, notice: &Notice) {
    let mut name = Paper::new(paper.style, HOST_UNITS_MAX);
    name.write(&notice.host);
    paper.write("[");
    paper.put(&name.text);
    paper.write("] ");
}

fn headline(paper: &mut Paper, entry: &Entry, summary_units_max: usize) {
    let alert = &entry.alert;
    let (word, times) = (severity(alert.severity), entry.times);
    let again = |at_least| if times > at_least { format!(", {} times", grouped(times)) } else { String::new() };
    paper.write(&match &entry.happened {
        Happened::Fired => format!("{}{}", word.to_uppercase(), again(1)),
        Happened::Changed if times > 0 => format!("again {}{}", word.to_uppercase(), again(1)),
        Happened::Changed => format!("now {}", word.to_uppercase()),
        Happened::Reminded => format!("still {}", word.to_uppercase()),
        Happened::CameAndWent(_) => format!("came and went ({word}{})", again(1)),
        Happened::Resolved(_) => format!("resolved (was {word}{})", again(0)),
        Happened::Tested => "test".to_owned(),
    });
    if let Source::Bot(bot) = &alert.source {
        paper.write(" · bot ");
        paper.write(bot.as_str());
    }
    paper.write(" · ");
    let mut summary = Paper::new(paper.style, summary_units_max);
    summary.write(if alert.summary.is_empty() { &alert.key } else { &alert.summary });
    paper.put(&summary.text);
}

fn describe(paper: &mut Paper, entry: &Entry, notice: &Notice) {
    let alert = &entry.alert;
    // What is to be done about it must not be cut off by what a bot wrote.
    headline(paper, entry, paper.max / 2);
    paper.end_line();
    if entry.happened == Happened::Tested {
        return;
    }
    match entry.happened.ending() {
        Some(ending) => {
            paper.write(&format!("lasted {}", span(ending.lasted)));
            if let Some(by) = &ending.by {
                paper.write(" · ended by ");
                paper.write(by);
            }
        }
        None => {
            paper.write(&format!("since {} ({})", alert.raised_at, span(notice.at.saturating_since(alert.raised_at))));
            match &alert.standing {
                Standing::Acknowledged { by, .. } => {
                    paper.write(" · looked after by ");
                    paper.write(by);
                }
                Standing::Pending | Standing::Firing => paper.write(&format!(" · host alerts ack {}", alert.id)),
            }
        }
    }
    paper.write(" · ");
    paper.write(&alert.key);
    paper.end_line();
    for (key, value) in &alert.details {
        paper.write("  ");
        paper.write(key);
        paper.write(": ");
        paper.write(value);
        paper.end_line();
    }
}

/// Returns what is told by number only.
fn tail(more: &More, style: Style, units_max: usize) -> Paper {
    let mut paper = Paper::new(style, units_max);
    if more.alerts() > 0 {
        paper.write(&format!("and {} more ({})", grouped(more.alerts()), numbers(more)));
        paper.end_line();
    }
    if more.turns_missed > 0 {
        let missed = grouped(more.turns_missed);
        paper.write(&format!(
            "{missed} turns were missed, there were too many at once; host alerts list shows what is up"
        ));
        paper.end_line();
    }
    if more.notices_merged > 0 {
        let merged = grouped(more.notices_merged);
        paper.write(&format!("{merged} earlier notices could not be sent; what they told is in these numbers"));
        paper.end_line();
    }
    paper
}

/// Returns numbers of alerts as a phrase.
fn numbers(more: &More) -> String {
    let mut text = String::new();
    let warnings = if more.warning == 1 { "warning" } else { "warnings" };
    for (number, word) in
        [(more.critical, "critical"), (more.warning, warnings), (more.info, "info"), (more.resolved, "resolved")]
    {
        if number > 0 {
            let comma = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{comma}{} {word}", grouped(number));
        }
    }
    if text.is_empty() { "news of alerts".to_owned() } else { text }
}

/// Returns a number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a time in its two largest units.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let [days, hours, minutes] = [seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60];
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// Text that is escaped and cut while it is written.
#[derive(Debug)]
struct Paper {
    text: String,
    style: Style,
    /// UTF-16 units that are written.
    units: usize,
    max: usize,
    is_full: bool,
}

impl Paper {
    fn new(style: Style, max: usize) -> Self {
        Self { text: String::new(), style, units: 0, max, is_full: false }
    }

    /// Writes a text on the current line.
    fn write(&mut self, text: &str) {
        for c in one_line(text).chars() {
            let mut bytes = [0; 4];
            let plain: &str = c.encode_utf8(&mut bytes);
            match (self.style, c) {
                (Style::Slack, '&') => self.put("&amp;"),
                (Style::Slack, '<') => self.put("&lt;"),
                (Style::Slack, '>') => self.put("&gt;"),
                (Style::Discord, '\\' | '*' | '_' | '~' | '`' | '|' | '>' | '<' | '[' | ']' | '@' | '#') => {
                    self.put(&format!("\\{plain}"));
                }
                _ => self.put(plain),
            }
        }
    }

    /// Writes what is escaped already, whole or not at all; the first that does not fit leaves a sign that something is missing.
    fn put(&mut self, text: &str) {
        let units = text.encode_utf16().count();
        // Room for the sign and the end of the line.
        if self.is_full || self.units + units + 2 > self.max {
            if !self.is_full && self.units + 2 <= self.max {
                self.text.push('…');
                self.units += 1;
            }
            self.is_full = true;
            return;
        }
        self.text += text;
        self.units += units;
    }

    /// Ends the line where there is one.
    fn end_line(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.line_break();
        }
    }

    fn line_break(&mut self) {
        if self.units < self.max {
            self.text.push('\n');
            self.units += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::alert::Alert;
    use crate::alert::notice::{Content, Ending, NoticeId};
    use crate::clock::Timestamp;

    const AT: Timestamp = Timestamp::from_millis(1_700_000_065_000);

    fn alert(summary: &str) -> Alert {
        let source = Source::Bot("shop".parse().unwrap());
        Alert::new(source, "db", Severity::Critical, summary, Timestamp::from_millis(1_700_000_000_000))
    }

    fn notice(entries: Vec<Entry>, more: More) -> Notice {
        let content = Content { entries, more };
        Notice { id: NoticeId::generate(AT), host: "alpha".to_owned(), at: AT, content }
    }

    fn fired(alert: Alert) -> Entry {
        Entry { happened: Happened::Fired, alert, times: 1 }
    }

    #[test]
    fn one_alert_reads_as_one_and_says_what_to_do() {
        let mut alert = alert("it burns");
        alert.details = vec![("table".to_owned(), "orders".to_owned())];
        let id = alert.id;
        let notice = notice(vec![fired(alert)], More::default());
        assert_eq!(title(&notice, Style::Plain, 200), "[alpha] CRITICAL · bot shop · it burns");
        let expected = format!(
            "[alpha] CRITICAL · bot shop · it burns\n\
             since 2023-11-14T22:13:20Z (1 min 5 s) · host alerts ack {id} · db\n  table: orders"
        );
        assert_eq!(body(&notice, Style::Plain, 4096), expected);
    }

    #[test]
    fn each_thing_that_happens_has_its_words() {
        let ending = || Ending { lasted: Duration::from_secs(3_700), by: Some("ann".to_owned()) };
        for (happened, times, expected) in [
            (Happened::Fired, 7, "CRITICAL, 7 times · "),
            (Happened::Changed, 0, "now CRITICAL · "),
            (Happened::Changed, 7, "again CRITICAL, 7 times · "),
            (Happened::Reminded, 1, "still CRITICAL · "),
            (Happened::CameAndWent(ending()), 1, "came and went (critical) · "),
            (Happened::CameAndWent(ending()), 7, "came and went (critical, 7 times) · "),
            (Happened::Resolved(ending()), 0, "resolved (was critical) · "),
            (Happened::Tested, 1, "test · "),
        ] {
            let is_over = happened.ending().is_some();
            let text =
                body(&notice(vec![Entry { happened, alert: alert("x"), times }], More::default()), Style::Plain, 4096);
            assert!(text.starts_with(&format!("[alpha] {expected}")), "{text}");
            assert_eq!(text.contains("lasted 1 h 1 min · ended by ann"), is_over, "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_told_by_number() {
        let more = More { critical: 4_000, warning: 95_990, resolved: 1, turns_missed: 5, ..More::default() };
        let notice = notice(vec![fired(alert("x"))], More { notices_merged: 2, ..more });
        assert_eq!(title(&notice, Style::Plain, 200), "[alpha] 4,001 critical, 95,990 warnings, 1 resolved");
        let text = body(&notice, Style::Plain, 2000);
        assert!(text.contains("and 99,991 more (4,000 critical, 95,990 warnings, 1 resolved)"), "{text}");
        assert!(text.contains("5 turns were missed") && text.contains("2 earlier notices"), "{text}");
    }

    #[test]
    fn what_a_bot_writes_is_no_markup_and_no_line_of_its_own() {
        let evil = "<!channel> & @everyone [x](http://e) *b*\r\nSubject: x\u{202e}y";
        let notice = notice(vec![fired(alert(evil))], More::default());
        let slack = body(&notice, Style::Slack, 3000);
        assert!(slack.contains("&lt;!channel&gt; &amp; @everyone [x](http://e) *b*  Subject: x y"), "{slack}");
        let discord = body(&notice, Style::Discord, 2000);
        assert!(discord.contains(r"\<!channel\> & \@everyone \[x\](http://e) \*b\*  Subject"), "{discord}");
        assert!(title(&notice, Style::Plain, 200).lines().count() == 1);
    }

    #[test]
    fn times_are_in_their_two_largest_units() {
        for (seconds, expected) in
            [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (7_260, "2 h 1 min"), (180_000, "2 d 2 h")]
        {
            assert_eq!(span(Duration::from_secs(seconds)), expected);
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_long_or_cut_within_a_character(
            summaries in prop::collection::vec("\\PC{0,300}|[<&>\\[*😀]{0,300}", 1..10),
            details in prop::collection::vec(("\\PC{0,100}", "\\PC{0,300}"), 0..8),
            style in prop::sample::select(vec![Style::Plain, Style::Slack, Style::Discord]),
            max in prop::sample::select(vec![200usize, 2000, 3000, 4096]),
            left_out in 0u64..1_000_000,
        ) {
            let entry = |summary: &String| fired(alert(summary).with_details(details.clone()));
            let notice = notice(summaries.iter().map(entry).collect(), More { warning: left_out, ..More::default() });
            for text in [title(&notice, style, max), body(&notice, style, max)] {
                prop_assert!(text.encode_utf16().count() <= max, "{text}");
                if style == Style::Slack {
                    let without = text.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "");
                    prop_assert!(!without.contains(['&', '<', '>']), "{text}");
                }
            }
            if max >= 2000 {
                let text = body(&notice, style, max);
                prop_assert_eq!(text.matches("host alerts ack").count(), summaries.len(), "{}", text);
                prop_assert!(left_out == 0 || text.contains(" more ("), "{text}");
            }
        }
    }
}
