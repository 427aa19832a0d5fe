//! `host describe BOT`: everything that the running host knows of one bot.

use bothost::admin::{BotView, CondemnedView, IncidentView};
use bothost::history::Report;
use bothost::id::BotName;
use bothost::logs::escape;
use serde_json::json;

use super::remote::{Remote, read};
use super::table::{terminal_width, to_the_second};
use super::{Failure, faults, report, tell};

/// How far back its figures go.
const WINDOW: &str = "1h";
/// So many incidents are told.
const INCIDENTS: u32 = 10;

/// Tells everything about one bot: how it is and why, its version, which versions are condemned, and what happened lately
#[derive(Debug, clap::Args)]
pub(super) struct Describe {
    #[command(flatten)]
    remote: Remote,
    /// The bot
    #[arg(value_name = "BOT")]
    bot: BotName,
}

impl Describe {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (host, name) = (self.remote.find()?, &self.bot);
        let bot = host.get(&format!("/api/v1/bots/{name}"))?;
        let past = || Ok((host.get(&format!("/api/v1/condemned?bot={name}"))?, host.get(&faults::path(Some(name), INCIDENTS))?));
        // What was observed may be lost while all else is known.
        let lately = host.get(&report::path(WINDOW, Some(name))).ok();
        if self.remote.json {
            let (condemned, incidents) = past().map_err(Failure::Client)?;
            tell(json!({ "bot": bot, "condemned": condemned, "incidents": incidents, "last_hour": lately }));
            return Ok(());
        }
        // How it is comes first: that is known even where the store does not answer.
        tell(present(&read(bot)?));
        let (condemned, incidents) = past().map_err(Failure::Client)?;
        for line in condemned_lines(&read::<Vec<_>>(condemned)?) {
            tell(line);
        }
        let lately = lately.and_then(|lately| read::<Report>(lately).ok()).unwrap_or_default();
        if let Some(bot) = lately.bots.first() {
            tell(format_args!("\nlast hour\n{}", report::bot(bot)));
        }
        let incidents: Vec<IncidentView> = read(incidents)?;
        tell(if incidents.is_empty() {
            "\nnothing is known to have happened to it".to_owned()
        } else {
            format!("\n{}", faults::table(&incidents).render(terminal_width()))
        });
        Ok(())
    }
}

/// Returns how a bot is, a line for each thing that is known.
fn present(bot: &BotView) -> String {
    let until = bot.until.as_deref().map(|until| format!(", until {}", to_the_second(until))).unwrap_or_default();
    let refused = bot.refused.as_deref().filter(|refused| bot.detail.as_deref() != Some(refused));
    let BotView { handled, faults, queued, in_flight, .. } = bot;
    let lines = [
        ("bot", Some(bot.name.clone())),
        ("phase", Some(format!("{} since {}{until}", bot.phase, to_the_second(&bot.since)))),
        ("why", bot.detail.clone()),
        ("refused", refused.map(str::to_owned)),
        ("version", Some(bot.version.clone().unwrap_or_else(|| "none".to_owned()))),
        ("component", Some(bot.component.clone().unwrap_or_else(|| "none serves".to_owned()))),
        ("restarts", Some(bot.restarts.to_string())),
        ("events", Some(format!("{handled} handled, {queued} waiting, {in_flight} at work"))),
        ("faults", Some(faults.to_string())),
    ];
    let lines = lines.into_iter().filter_map(|(name, value)| Some(line(name, &value?)));
    lines.collect::<Vec<_>>().join("\n")
}

fn condemned_lines(condemned: &[CondemnedView]) -> Vec<String> {
    let of = |version: &CondemnedView| {
        let CondemnedView { component, reason, at, .. } = version;
        line("condemned", &format!("{} since {}: {}", faults::short(component), to_the_second(at), reason.replace('\n', " ")))
    };
    condemned.iter().map(of).collect()
}

fn line(name: &str, value: &str) -> String {
    format!("{name:<13} {}", escape(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bot_is_told_as_it_is_and_says_nothing_to_the_terminal() {
        let bot = BotView {
            name: "echo".into(),
            phase: "backoff".into(),
            detail: Some("init trapped: \u{1b}[2J".into()),
            since: "2026-11-21T12:40:48.123Z".into(),
            until: Some("2026-11-21T12:40:50.123Z".into()),
            component: Some("1a2b3c".into()),
            version: None,
            refused: Some("asks for more".into()),
            handled: 7,
            faults: 3,
            restarts: 2,
            queued: 4,
            in_flight: 1,
            ..BotView::default()
        };
        let expected = r"
bot           echo
phase         backoff since 2026-11-21T12:40:48Z, until 2026-11-21T12:40:50Z
why           init trapped: \u{1b}[2J
refused       asks for more
version       none
component     1a2b3c
restarts      2
events        7 handled, 4 waiting, 1 at work
faults        3";
        assert_eq!(present(&bot), expected.trim_start());
        let same = BotView { refused: bot.detail.clone(), ..bot };
        assert!(!present(&same).contains("refused"), "the reason is told once");
    }

    #[test]
    fn a_condemned_version_is_told_with_its_reason() {
        let version = CondemnedView {
            bot: "echo".into(),
            component: "0123456789abcdef".into(),
            reason: "it traps\nalways".into(),
            at: "2026-11-21T12:40:48Z".into(),
        };
        let expected = ["condemned     0123456789ab since 2026-11-21T12:40:48Z: it traps always"];
        assert_eq!(condemned_lines(&[version]), expected);
    }
}
