//! `host errors`: what went wrong, grouped, the last seen first.

use bothost::action::Severity;
use bothost::admin::{ErrorView, StatisticsView};
use bothost::id::BotName;

use super::remote::{Remote, address, read};
use super::table::{Table, terminal_width, to_the_second};
use super::{Failure, complain, tell};

/// Lists what went wrong since the host began, each kind of failure once, with how often and when
#[derive(Debug, clap::Args)]
pub(super) struct Errors {
    #[command(flatten)]
    remote: Remote,
    /// At least as bad: info, warning or critical
    #[arg(long)]
    severity: Option<Severity>,
    /// Of one part of the program, such as outbox, connector, bot, store
    #[arg(long, value_name = "PART")]
    component: Option<String>,
    /// Of one bot
    #[arg(long)]
    bot: Option<BotName>,
    /// Seen since then: a moment in RFC 3339, or how long ago, such as 10m
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// At most so many, 1000 at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

impl Errors {
    pub(super) fn run(self) -> Result<(), Failure> {
        let host = self.remote.find()?;
        let parameters = [
            ("severity", self.severity.map(|severity| severity.as_str().to_owned())),
            ("component", self.component),
            ("bot", self.bot.map(|bot| bot.to_string())),
            ("since", self.since),
            ("limit", Some(self.limit.to_string())),
        ];
        let errors = host.get(&address("/api/v1/errors", parameters))?;
        let statistics = host.get("/health/errors")?;
        if self.remote.json {
            tell(serde_json::json!({ "statistics": statistics, "errors": errors }));
            return Ok(());
        }
        tell(sum(&read(statistics)?));
        let errors: Vec<ErrorView> = read(errors)?;
        if !errors.is_empty() {
            tell(format_args!("\n{}", table(&errors).render(terminal_width())));
        }
        if errors.len() == self.limit as usize {
            complain(format_args!("these are the latest {}; there may be more", self.limit));
        }
        Ok(())
    }
}

/// Returns how much went wrong, in one line.
fn sum(statistics: &StatisticsView) -> String {
    let StatisticsView { window_seconds, total, in_window, warnings, criticals, crowded_out, .. } = statistics;
    let minutes = window_seconds / 60;
    let mut sum = format!(
        "{in_window} in the last {minutes} min ({criticals} critical, {warnings} warnings), {total} since the host began"
    );
    if *crowded_out > 0 {
        sum += &format!("; {crowded_out} had no room of their own");
    }
    sum
}

fn table(errors: &[ErrorView]) -> Table<8> {
    let mut table = Table::new(["LAST", "COUNT", "SEVERITY", "PART", "WHOSE", "KIND", "ID", "MESSAGE"]);
    for error in errors {
        table.push([
            &to_the_second(&error.last_at),
            &error.count.to_string(),
            &error.severity,
            &error.component,
            error.bot.as_deref().or(error.connector.as_deref()).unwrap_or(""),
            &error.kind,
            &error.id,
            &error.message.replace('\n', " "),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_is_told_in_a_line_each_whatever_it_says() {
        let error = ErrorView {
            id: "00a1b2c3d4e5".into(),
            severity: "warning".into(),
            component: "outbox".into(),
            kind: "not delivered".into(),
            message: "no answer\n\u{1b}[2J".into(),
            connector: Some("tg".into()),
            count: 99_990,
            last_at: "2026-11-21T12:40:48.123Z".into(),
            ..ErrorView::default()
        };
        let expected = r"
LAST                  COUNT  SEVERITY  PART    WHOSE  KIND           ID            MESSAGE
2026-11-21T12:40:48Z  99990  warning   outbox  tg     not delivered  00a1b2c3d4e5  no answer \u{1b}[2J";
        assert_eq!(table(&[error]).render(None), expected.trim_start());
        let statistics = StatisticsView {
            window_seconds: 3_600,
            total: 12,
            in_window: 7,
            warnings: 6,
            criticals: 1,
            ..StatisticsView::default()
        };
        let expected = "7 in the last 60 min (1 critical, 6 warnings), 12 since the host began";
        assert_eq!(sum(&statistics), expected);
    }
}
