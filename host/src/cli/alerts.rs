//! `host alerts`: which alerts are up and were, by which rules, who is told of them, and what the operator says of one.

use std::time::Duration;

use bothost::action::Severity;
use bothost::admin::{AlertView, ChannelView, NewsView};
use bothost::alert::AlertId;
use bothost::alert::rule::RuleView;
use bothost::id::{BotName, ChannelName};
use bothost::logs::escape;
use bothost::units::Span;
use clap::Subcommand;

use super::remote::{Remote, Session, address, read};
use super::table::{Table, terminal_width, to_the_second};
use super::{Failure, complain, tell};

/// Where they are.
const PATH: &str = "/api/v1/alerts";

/// Alerts: lists what is up, answers it, tells what was, and tests the ways on which people are told
#[derive(Debug, clap::Args)]
pub(super) struct Alerts {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Lists what is up, the worst first
    List {
        /// Those that one bot raised
        #[arg(long)]
        bot: Option<BotName>,
        /// At least as bad: info, warning or critical
        #[arg(long)]
        severity: Option<Severity>,
        /// Those as well that are not yet a reason to look
        #[arg(long)]
        pending: bool,
    },
    /// Lists what happened to alerts, the latest first
    History {
        /// Of those that one bot raised
        #[arg(long)]
        bot: Option<BotName>,
        /// Since then: a moment in RFC 3339, or how long ago, such as 10m
        #[arg(long, value_name = "WHEN")]
        since: Option<String>,
        /// At most so many, 1000 at most
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Says that somebody looks after one: nobody is reminded of it
    Ack(Answer),
    /// Says that one is over. What it was about may raise it again
    Resolve(Answer),
    /// Lists the rules, the host's own and the operator's
    Rules,
    /// Lists the channels and how they fare
    Channels,
    /// Sends a test notice by a channel, now
    Test {
        /// The channel
        #[arg(value_name = "NAME")]
        channel: ChannelName,
    },
}

#[derive(Debug, clap::Args)]
struct Answer {
    /// The alert's id, all 12 digits
    #[arg(value_name = "ALERT")]
    alert: AlertId,
    /// Who says so. Default: the user of this process
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

impl Alerts {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (host, json) = (self.remote.find()?, self.remote.json);
        match self.act {
            Act::List { bot, severity, pending } => {
                let severity = severity.map(|severity| severity.as_str().to_owned());
                let path = address(
                    PATH,
                    [
                        ("bot", bot.map(|bot| bot.to_string())),
                        ("severity", severity),
                        ("pending", pending.then(|| "true".to_owned())),
                    ],
                );
                show::<AlertView, 8>(&host, json, &path, "no alert is up", list)
            }
            Act::History { bot, since, limit } => {
                let bot = bot.map(|bot| bot.to_string());
                let parameters = [("bot", bot), ("since", since), ("limit", Some(limit.to_string()))];
                let path = address(&format!("{PATH}/history"), parameters);
                show::<NewsView, 7>(&host, json, &path, "no alert was ever up, as far as is known", history)
            }
            Act::Ack(answer) => answer.send(&host, json, "ack"),
            Act::Resolve(answer) => answer.send(&host, json, "resolve"),
            Act::Rules => show::<RuleView, 8>(&host, json, &format!("{PATH}/rules"), "there is no rule", rules),
            Act::Channels => {
                let none = "there is no channel: a table [alerts.channels.NAME] in the configuration makes one";
                show::<ChannelView, 7>(&host, json, &format!("{PATH}/channels"), none, channels)
            }
            Act::Test { channel } => {
                // It waits for a platform.
                let answer = host.patient().post(&format!("{PATH}/channels/{channel}/test"))?;
                let took = answer["elapsed_ms"].as_u64().unwrap_or(0);
                tell(if json { answer.to_string() } else { format!("{channel} took the test notice ({took} ms)") });
                Ok(())
            }
        }
    }
}

impl Answer {
    fn send(self, host: &Session, json: bool, verb: &str) -> Result<(), Failure> {
        let by = self.by.or_else(|| std::env::var("USER").ok()).filter(|by| !by.is_empty());
        let answer = host.post(&address(&format!("{PATH}/{}/{verb}", self.alert), [("by", by)]))?;
        if json {
            tell(answer);
            return Ok(());
        }
        let alert: AlertView = read(answer)?;
        tell(format_args!("{} is {}: {}", escape(&alert.key), alert.state, escape(&alert.summary)));
        Ok(())
    }
}

/// Asks for a listing and shows it.
fn show<V: serde::de::DeserializeOwned, const N: usize>(
    host: &Session,
    json: bool,
    path: &str,
    none: &str,
    table: fn(&[V]) -> Table<N>,
) -> Result<(), Failure> {
    let answer = host.get(path)?;
    if json {
        tell(answer);
        return Ok(());
    }
    let found: Vec<V> = read(answer)?;
    if found.is_empty() {
        complain(none);
    } else {
        tell(table(&found).render(terminal_width()));
    }
    Ok(())
}

fn list(alerts: &[AlertView]) -> Table<8> {
    let mut table = Table::new(["SINCE", "SEVERITY", "STATE", "BOT", "KEY", "TIMES", "ID", "SUMMARY"]);
    for alert in alerts {
        let state = match &alert.acknowledged_by {
            Some(by) => format!("{} by {by}", alert.state),
            None => alert.state.clone(),
        };
        table.push([
            &to_the_second(&alert.raised_at),
            &alert.severity,
            &state,
            alert.bot.as_deref().unwrap_or(""),
            &alert.key,
            &alert.times.to_string(),
            &alert.id,
            &alert.summary,
        ]);
    }
    table
}

fn history(news: &[NewsView]) -> Table<7> {
    let mut table = Table::new(["AT", "TURN", "SEVERITY", "BOT", "KEY", "BY", "SUMMARY"]);
    for NewsView { at, turn, by, alert, .. } in news {
        table.push([
            &to_the_second(at),
            turn,
            &alert.severity,
            alert.bot.as_deref().unwrap_or(""),
            &alert.key,
            by.as_deref().unwrap_or(""),
            &alert.summary,
        ]);
    }
    table
}

fn rules(rules: &[RuleView]) -> Table<8> {
    let mut table = Table::new(["RULE", "SEVERITY", "IN FORCE", "FIRING", "VALUE", "CONDITION", "WHOSE", "EXPRESSION"]);
    for rule in rules {
        let ahead = rule.forecast_seconds.map(|seconds| format!(" within {}", span(seconds)));
        let long = (rule.for_seconds > 0.0).then(|| format!(" for {}", span(rule.for_seconds)));
        let condition = format!("{} {}{}{}", rule.op, rule.threshold, ahead.unwrap_or_default(), long.unwrap_or_default());
        table.push([
            rule.name.as_str(),
            rule.severity.as_str(),
            if rule.enabled { "yes" } else { "no" },
            &match (rule.firing, rule.pending) {
                (0, 0) => String::new(),
                (firing, 0) => firing.to_string(),
                (firing, pending) => format!("{firing} (+{pending} pending)"),
            },
            rule.value.as_deref().unwrap_or(""),
            &condition,
            if rule.builtin { "host" } else { "operator" },
            &rule.expression,
        ]);
    }
    table
}

fn span(seconds: f64) -> Span {
    Span(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

fn channels(channels: &[ChannelView]) -> Table<7> {
    let mut table = Table::new(["CHANNEL", "TYPE", "STATE", "SENT", "FAILED", "QUEUED", "LAST ERROR"]);
    for channel in channels {
        let state = match &channel.open_until {
            _ if !channel.enabled => "off".to_owned(),
            Some(until) => format!("given a rest until {}", to_the_second(until)),
            None if channel.last_error.is_some() => "failing".to_owned(),
            None => "ok".to_owned(),
        };
        table.push([
            &channel.name,
            &channel.kind,
            &state,
            &channel.sent.to_string(),
            &channel.failed.to_string(),
            &channel.queued.to_string(),
            channel.last_error.as_deref().unwrap_or(""),
        ]);
    }
    table
}
