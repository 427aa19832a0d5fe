//! `host faults [BOT]`: what happened to bots and what was done about it.

use bothost::admin::IncidentView;
use bothost::id::BotName;

use super::remote::{Remote, address, read};
use super::table::{Table, terminal_width, to_the_second};
use super::{Failure, complain, tell};

/// Digits of a component's hash that tell versions of a bot apart.
const HASH_DIGITS: usize = 12;

/// Lists what happened to bots, the newest first: faults, restarts, new versions, and what was done about each
#[derive(Debug, clap::Args)]
pub(super) struct Faults {
    #[command(flatten)]
    remote: Remote,
    /// Of one bot
    #[arg(value_name = "BOT")]
    bot: Option<BotName>,
    /// At most so many, 1000 at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

impl Faults {
    pub(super) fn run(self) -> Result<(), Failure> {
        let answer = self.remote.find()?.get(&path(self.bot.as_ref(), self.limit))?;
        if self.remote.json {
            tell(answer);
            return Ok(());
        }
        let incidents: Vec<IncidentView> = read(answer)?;
        if incidents.is_empty() {
            tell("nothing is known to have happened");
            return Ok(());
        }
        tell(table(&incidents).render(terminal_width()));
        if incidents.len() == self.limit as usize {
            complain(format_args!("these are the latest {}; there may be more", self.limit));
        }
        Ok(())
    }
}

/// Returns the address of what happened.
pub(super) fn path(bot: Option<&BotName>, limit: u32) -> String {
    address("/api/v1/faults", [("bot", bot.map(ToString::to_string)), ("limit", Some(limit.to_string()))])
}

/// Returns what happened, a line each.
pub(super) fn table(incidents: &[IncidentView]) -> Table<8> {
    let mut table = Table::new(["AT", "BOT", "KIND", "TRY", "STRATEGY", "COMPONENT", "EVENT", "MESSAGE"]);
    for incident in incidents {
        table.push([
            &to_the_second(&incident.at),
            &incident.bot,
            &incident.kind,
            &if incident.attempt == 0 { String::new() } else { incident.attempt.to_string() },
            &incident.strategy,
            &short(incident.component.as_deref().unwrap_or("")),
            incident.event.as_deref().unwrap_or(""),
            &incident.message.replace('\n', " "),
        ]);
    }
    table
}

/// Returns the beginning of a hash.
pub(super) fn short(hash: &str) -> String {
    hash.chars().take(HASH_DIGITS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_is_told_in_a_line_each_whatever_the_guest_says() {
        let fault = IncidentView {
            at: "2026-11-21T12:40:48.123Z".into(),
            bot: "echo".into(),
            kind: "panicked".into(),
            is_fault: true,
            event: Some("0198".into()),
            attempt: 2,
            component: Some("1a2b3c4d5e6f7081".into()),
            message: "boom\nat \u{1b}[2J".into(),
            strategy: "restart in 2 s".into(),
            ..IncidentView::default()
        };
        let started = IncidentView {
            at: "2026-11-21T12:40:47Z".into(),
            bot: "echo".into(),
            kind: "started".into(),
            strategy: "none".into(),
            ..IncidentView::default()
        };
        let expected = r"
AT                    BOT   KIND      TRY  STRATEGY        COMPONENT     EVENT  MESSAGE
2026-11-21T12:40:48Z  echo  panicked  2    restart in 2 s  1a2b3c4d5e6f  0198   boom at \u{1b}[2J
2026-11-21T12:40:47Z  echo  started   -    none            -             -";
        assert_eq!(table(&[fault, started]).render(None), expected.trim_start());
    }
}
