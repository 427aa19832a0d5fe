//! `host events`: the search for events that were taken over, and following those that come.

use std::io::{self, Write as _};
use std::ops::ControlFlow;

use bothost::admin::EventView;
use bothost::admin::client::ServerEvent;
use bothost::grants::ConnectorKey;
use bothost::id::BotName;
use bothost::logs::escape;
use serde_json::Value;

use super::remote::{Pages, Remote, address, read};
use super::table::{Table, terminal_width, to_the_second};
use super::{Failure, complain, tell};

/// Finds events that were taken over, the latest first
#[derive(Debug, clap::Args)]
pub(super) struct Events {
    #[command(flatten)]
    remote: Remote,
    /// That one bot hears
    bot: Option<BotName>,
    /// Whose text has this in it, however it is capitalised
    #[arg(long)]
    text: Option<String>,
    /// That came through one connector; BOT/NAME is a bot's own
    #[arg(long)]
    connector: Option<ConnectorKey>,
    /// Said in one conversation, by the platform's id of it
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// Where a bot stands with it
    #[arg(long, value_parser = ["waiting", "done", "dead", "dropped"])]
    state: Option<String>,
    /// Taken over since then: a moment in RFC 3339, or how long ago, such as 10m
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Taken over before then, as with --since
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Before this place in the order of all events, as an earlier search said
    #[arg(long, value_name = "SEQ")]
    before: Option<u64>,
    /// At most so many, 100000 at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Those that come from now on, and how they end, until it is interrupted
    #[arg(short, long, conflicts_with_all = ["since", "until", "before", "limit"])]
    follow: bool,
}

impl Events {
    pub(super) fn run(self) -> Result<(), Failure> {
        let host = self.remote.find()?;
        if self.follow {
            return Ok(host.follow(&self.address(None), |event| self.hear(&event))?);
        }
        let limit = self.limit as usize;
        let Pages { entries, next, is_full } = host.up_to(limit, |page| self.address(Some(page)))?;
        let count = entries.len();
        if self.remote.json {
            tell(Value::from(entries));
        } else if entries.is_empty() && next.is_none() {
            tell("nothing was found");
        } else if !entries.is_empty() {
            tell(table(&read::<Vec<EventView>>(Value::from(entries))?).render(terminal_width()));
        }
        // Where the next one begins is in its address.
        let before = next.as_deref().and_then(|next| next.split(['?', '&']).find_map(|pair| pair.strip_prefix("before=")));
        match before {
            Some(before) if is_full => complain(format_args!("these are {count}; go on with --before {before}")),
            Some(before) => {
                let found = format_args!("found {count} so far, and did not look at everything");
                complain(format_args!("{found}: go on with --before {before}"));
            }
            None => {}
        }
        Ok(())
    }

    /// Shows what a host that is followed says.
    fn hear(&self, event: &ServerEvent) -> ControlFlow<()> {
        let mut out = io::stdout().lock();
        let shown = match event.name.as_str() {
            "event" if self.remote.json => writeln!(out, "{}", event.data),
            "event" => match serde_json::from_str::<EventView>(&event.data) {
                Ok(view) => writeln!(out, "{}", line(&view)),
                Err(_) => return strange(event),
            },
            _ => return strange(event),
        };
        if shown.and_then(|()| out.flush()).is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Returns the address of a search for so many at once; none: to follow.
    fn address(&self, limit: Option<usize>) -> String {
        let parameters = [
            ("bot", self.bot.as_ref().map(ToString::to_string)),
            ("text", self.text.clone()),
            ("connector", self.connector.as_ref().map(ToString::to_string)),
            ("conversation", self.conversation.clone()),
            ("state", self.state.clone()),
            ("since", self.since.clone()),
            ("until", self.until.clone()),
            ("before", self.before.map(|seq| seq.to_string())),
            ("limit", limit.map(|limit| limit.to_string())),
            ("follow", limit.is_none().then(|| "true".to_owned())),
        ];
        address("/api/v1/events", parameters)
    }
}

/// Tells what a host says that is no event.
fn strange(said: &ServerEvent) -> ControlFlow<()> {
    complain(format_args!("the host says: {} {} (warning)", escape(&said.name), escape(&said.data)));
    ControlFlow::Continue(())
}

/// Returns an event on a line, with what is somebody else's text made harmless.
fn line(event: &EventView) -> String {
    let words = [
        to_the_second(&event.received_at),
        event.event.clone(),
        stands(event),
        event.connector.clone().unwrap_or_default(),
        event.conversation.clone().unwrap_or_default(),
        event.text.clone().unwrap_or_default(),
    ];
    let words = words.iter().map(|word| escape(word)).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("  ")
}

fn stands(event: &EventView) -> String {
    let stands = event.handlings.iter().map(|handling| format!("{} {}", handling.bot, handling.state));
    stands.collect::<Vec<_>>().join(", ")
}

fn table(events: &[EventView]) -> Table<7> {
    let mut table = Table::new(["EVENT", "RECEIVED", "CONNECTOR", "CONVERSATION", "KIND", "BOTS", "TEXT"]);
    for event in events {
        table.push([
            &event.event,
            &to_the_second(&event.received_at),
            event.connector.as_deref().unwrap_or(""),
            event.conversation.as_deref().unwrap_or(""),
            event.kind.as_deref().unwrap_or(""),
            &stands(event),
            event.text.as_deref().unwrap_or(""),
        ]);
    }
    table
}
