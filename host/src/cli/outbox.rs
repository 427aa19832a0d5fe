//! `host outbox`: what bots asked of platforms and is not delivered yet, or was lost.

use bothost::admin::{ReplayView, SendView};
use bothost::grants::ConnectorKey;
use bothost::logs::escape;
use clap::Subcommand;

use super::remote::{Remote, Session, address, read};
use super::table::{Table, terminal_width, to_the_second};
use super::{Failure, complain, tell};

/// Where it is.
const PATH: &str = "/api/v1/outbox";

/// The outbox: what waits for a platform or was lost. Lists, shows, retries or drops entries, or has them delivered now
#[derive(Debug, clap::Args)]
pub(super) struct Outbox {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Lists what waits, the next first, or what is lost, the latest first
    List {
        /// What is lost, in place of what waits
        #[arg(long)]
        lost: bool,
        /// What is for one connector; BOT/NAME is a bot's own
        #[arg(long)]
        connector: Option<ConnectorKey>,
        /// At most so many, 1000 at most
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Tells all that is known of one entry
    Show {
        /// The entry's number
        id: u64,
    },
    /// Lets one that is lost be delivered after all
    Retry {
        /// The entry's number
        id: u64,
    },
    /// Has all that waits for a connector delivered now, and what was lost, if that is wanted
    Replay {
        /// The connector; BOT/NAME is a bot's own
        #[arg(long)]
        connector: ConnectorKey,
        /// Also what was lost since then: a moment in RFC 3339, or how long ago, such as 1h. At most 1000 actions, the oldest first
        #[arg(long, value_name = "WHEN")]
        lost_since: Option<String>,
    },
    /// Gives one up that waits
    Drop {
        /// The entry's number
        id: u64,
    },
}

impl Outbox {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (host, json) = (self.remote.find()?, self.remote.json);
        match self.act {
            Act::List { lost, connector, limit } => list(&host, json, lost, connector, limit)?,
            Act::Show { id } => {
                let answer = host.get(&format!("{PATH}/{id}"))?;
                if json { tell(answer) } else { show(&read(answer)?) }
            }
            Act::Retry { id } => {
                let answer = host.post(&format!("{PATH}/{id}/retry"))?;
                tell(if json { answer.to_string() } else { format!("entry {id} waits for its delivery again") });
            }
            Act::Replay { connector, lost_since } => replay(&host, json, &connector, lost_since)?,
            Act::Drop { id } => {
                let answer = host.delete(&format!("{PATH}/{id}"))?;
                tell(if json { answer.to_string() } else { format!("entry {id} is given up") });
            }
        }
        Ok(())
    }
}

fn list(
    host: &Session,
    json: bool,
    lost: bool,
    connector: Option<ConnectorKey>,
    limit: u32,
) -> Result<(), Failure> {
    let state = if lost { "lost" } else { "waiting" };
    let connector = connector.map(|key| key.to_string());
    let parameters = [("state", Some(state.to_owned())), ("connector", connector), ("limit", Some(limit.to_string()))];
    let answer = host.get(&address(PATH, parameters))?;
    if json {
        tell(answer);
        return Ok(());
    }
    let sends: Vec<SendView> = read(answer)?;
    if sends.is_empty() {
        tell(if lost { "nothing was lost" } else { "nothing waits" });
        return Ok(());
    }
    let why = if lost { "REASON" } else { "DUE" };
    let mut table = Table::new(["ID", "EVENT", "BOT", "CONNECTOR", "CONVERSATION", "KIND", "TRIES", why, "TEXT"]);
    for send in &sends {
        table.push([
            &send.id.to_string(),
            send.event.as_deref().unwrap_or(""),
            &send.bot,
            &send.connector,
            send.conversation.as_deref().unwrap_or(""),
            send.kind.as_deref().unwrap_or(""),
            &send.attempts.to_string(),
            &standing(send),
            send.text.as_deref().unwrap_or(""),
        ]);
    }
    tell(table.render(terminal_width()));
    if sends.len() == limit as usize {
        complain(format_args!("these are {limit}; there may be more"));
    }
    Ok(())
}

fn replay(
    host: &Session,
    json: bool,
    connector: &ConnectorKey,
    lost_since: Option<String>,
) -> Result<(), Failure> {
    let parameters = [("connector", Some(connector.to_string())), ("lost_since", lost_since)];
    let answer = host.post(&address(&format!("{PATH}/replay"), parameters))?;
    if json {
        tell(answer);
        return Ok(());
    }
    let ReplayView { hastened, restored, has_more, .. } = read(answer)?;
    tell(format_args!("{hastened} conversations wait no more, {restored} lost actions wait again"));
    if has_more {
        complain("more was lost: run it again once these are delivered");
    }
    Ok(())
}

fn standing(send: &SendView) -> String {
    match (&send.reason, &send.due) {
        (Some(reason), _) => reason.clone(),
        (None, Some(due)) => to_the_second(due),
        (None, None) if send.state == "waiting" => "now".to_owned(),
        (None, None) => send.state.clone(),
    }
}

fn show(send: &SendView) {
    let line = |name: &str, value: &str| tell(format_args!("{name:<13} {}", escape(value)));
    let some = |name: &str, value: &Option<String>| {
        if let Some(value) = value {
            line(name, value);
        }
    };
    line("entry", &send.id.to_string());
    line("event", send.event.as_deref().unwrap_or("none"));
    line("bot", &send.bot);
    line("connector", &send.connector);
    some("conversation", &send.conversation);
    line("act", send.kind.as_deref().unwrap_or("cannot be trusted"));
    some("about", &send.target);
    line("committed", &send.committed_at);
    line("state", &send.state);
    line("tries", &send.attempts.to_string());
    some("due", &send.due);
    some("ended", &send.ended_at);
    some("reason", &send.reason);
    some("detail", &send.detail);
    some("platform id", &send.platform_id);
    some("text", &send.text);
}
