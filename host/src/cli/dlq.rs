//! `host dlq`: the events that a bot could not handle, and what becomes of them.

use anyhow::anyhow;
use bothost::admin::client::ClientError;
use bothost::admin::{AttemptView, DeadLetterView};
use bothost::id::{BotName, EventId};
use bothost::logs::escape;
use clap::Subcommand;
use http::StatusCode;

use super::remote::{Remote, Session, address, read};
use super::table::{Table, terminal_width, to_the_second};
use super::{Failure, complain, tell};

/// Where they are.
const PATH: &str = "/api/v1/dead-letters";
/// So many are tried again at once: as many as one listing has.
const ALL_MAX: u32 = 1_000;

/// Dead letters: events that a bot could not handle. Lists, shows, retries or drops them
#[derive(Debug, clap::Args)]
pub(super) struct Dlq {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Lists them, the latest first
    List {
        /// Those of one bot
        #[arg(long)]
        bot: Option<BotName>,
        /// At most so many, 1000 at most
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Tells all that is known of one: every attempt, with its backtrace, and what happened
    Show(One),
    /// Lets the bot try again, from the first attempt on
    Retry {
        /// The event's id, all 32 digits
        #[arg(value_name = "EVENT", required_unless_present = "all", conflicts_with = "all")]
        event: Option<EventId>,
        /// Every dead letter, the oldest first
        #[arg(long)]
        all: bool,
        /// The bot; needed where the event is a dead letter of several
        #[arg(long)]
        bot: Option<BotName>,
    },
    /// Drops one for good
    Drop(One),
}

#[derive(Debug, clap::Args)]
struct One {
    /// The event's id, all 32 digits
    #[arg(value_name = "EVENT")]
    event: EventId,
    /// The bot; needed where the event is a dead letter of several
    #[arg(long)]
    bot: Option<BotName>,
}

impl Dlq {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (host, json) = (self.remote.find()?, self.remote.json);
        match self.act {
            Act::List { bot, limit } => list(&host, json, bot, limit),
            Act::Show(One { event, bot }) => {
                let answer = host.get(&one(event, "", bot))?;
                if json { tell(answer) } else { show(&read(answer)?) }
                Ok(())
            }
            Act::Retry { event: Some(event), bot, .. } => {
                let answer = host.post(&one(event, "/retry", bot))?;
                let bot = escape(answer["bot"].as_str().unwrap_or("?")).into_owned();
                tell(if json { answer.to_string() } else { format!("{event} waits for {bot} again") });
                Ok(())
            }
            Act::Retry { event: None, bot, .. } => retry_all(&host, json, bot),
            Act::Drop(One { event, bot }) => {
                let answer = host.delete(&one(event, "", bot))?;
                let bot = escape(answer["bot"].as_str().unwrap_or("?")).into_owned();
                tell(if json { answer.to_string() } else { format!("{event} of {bot} is dropped") });
                Ok(())
            }
        }
    }
}

/// Returns the address of one, or of what can be done with it.
fn one(event: EventId, act: &str, bot: Option<BotName>) -> String {
    address(&format!("{PATH}/{event}{act}"), [("bot", bot.map(|bot| bot.to_string()))])
}

fn all(bot: Option<BotName>, limit: u32) -> String {
    address(PATH, [("bot", bot.map(|bot| bot.to_string())), ("limit", Some(limit.to_string()))])
}

fn list(host: &Session, json: bool, bot: Option<BotName>, limit: u32) -> Result<(), Failure> {
    let answer = host.get(&all(bot, limit))?;
    if json {
        tell(answer);
        return Ok(());
    }
    let letters: Vec<DeadLetterView> = read(answer)?;
    if letters.is_empty() {
        tell("no dead letters");
        return Ok(());
    }
    let mut table = Table::new(["EVENT", "BOT", "SINCE", "ATTEMPTS", "REASON", "CONVERSATION", "TEXT"]);
    for letter in &letters {
        table.push([
            &letter.event,
            &letter.bot,
            &to_the_second(&letter.at),
            &letter.attempts.to_string(),
            letter.reason.as_deref().unwrap_or(""),
            letter.conversation.as_deref().unwrap_or(""),
            letter.text.as_deref().unwrap_or("(what is stored cannot be trusted)"),
        ]);
    }
    tell(table.render(terminal_width()));
    if letters.len() == limit as usize {
        complain(format_args!("these are the latest {limit}; there may be more"));
    }
    Ok(())
}

fn show(letter: &DeadLetterView) {
    let line = |name: &str, value: &str| tell(format_args!("{name:<13} {}", escape(value)));
    line("event", &letter.event);
    line("bot", &letter.bot);
    line("received", letter.received_at.as_deref().unwrap_or("?"));
    line("dead since", &letter.at);
    line("connector", letter.connector.as_deref().unwrap_or("none"));
    line("conversation", letter.conversation.as_deref().unwrap_or("none"));
    line("platform id", letter.platform_id.as_deref().unwrap_or("none"));
    line(letter.kind.as_deref().unwrap_or("event"), letter.text.as_deref().unwrap_or("cannot be trusted"));
    letter.faults.iter().for_each(show_fault);
    if let Some(payload) = &letter.payload {
        tell("payload");
        let payload = format!("{payload:#}");
        payload.lines().for_each(|line| tell(format_args!("    {}", escape(line))));
    }
}

fn show_fault(fault: &AttemptView) {
    let AttemptView { attempt, at, elapsed_ms, fuel, outcome, message, backtrace } = fault;
    let what = escape(outcome);
    tell(match attempt {
        0 => format!("no attempt    {at}: {what}"),
        attempt => format!("attempt {attempt:<5} {at}, {elapsed_ms:.1} ms, fuel {fuel}: {what}"),
    });
    message.lines().for_each(|line| tell(format_args!("    {}", escape(line))));
    backtrace.iter().for_each(|frame| tell(format_args!("      at {}", escape(frame))));
}

/// Tries all again that one listing has. One that cannot be does not keep the others from it.
fn retry_all(host: &Session, json: bool, bot: Option<BotName>) -> Result<(), Failure> {
    let mut letters: Vec<DeadLetterView> = read(host.get(&all(bot, ALL_MAX))?)?;
    let may_be_more = letters.len() == ALL_MAX as usize;
    // Within a conversation the order in which they came.
    letters.reverse();
    let (mut retried, mut refused) = (Vec::new(), 0);
    for letter in letters {
        let DeadLetterView { event, bot, .. } = &letter;
        match host.post(&format!("{PATH}/{event}/retry?bot={bot}")) {
            Ok(answer) => retried.push(answer),
            // Somebody else was quicker.
            Err(ClientError::Refused { status: StatusCode::NOT_FOUND, .. }) => {}
            Err(ClientError::Refused { detail, .. }) => {
                refused += 1;
                complain(format_args!("{}: {detail}", escape(event)));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let count = retried.len();
    tell(if json { serde_json::Value::from(retried).to_string() } else { format!("{count} events wait again") });
    if may_be_more {
        complain("there may be more: run this again");
    }
    if refused > 0 { Err(anyhow!("{refused} dead letters were not retried").into()) } else { Ok(()) }
}
