//! `host events`: the search for events that were taken over.

use bothost::admin::EventView;
use bothost::grants::ConnectorKey;
use bothost::id::BotName;

use super::remote::{Remote, address, read};
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
    /// At most so many, 1000 at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

impl Events {
    pub(super) fn run(self) -> Result<(), Failure> {
        let answer = self.remote.find()?.get(&self.address())?;
        if self.remote.json {
            tell(answer);
            return Ok(());
        }
        let events: Vec<EventView> = read(answer)?;
        if events.is_empty() {
            tell("nothing was found");
        } else {
            tell(table(&events).render(terminal_width()));
        }
        if let Some(last) = events.last().filter(|_| events.len() >= self.limit as usize) {
            complain(format_args!("these are {}; go on with --before {}", events.len(), last.seq));
        }
        Ok(())
    }

    fn address(&self) -> String {
        let parameters = [
            ("bot", self.bot.as_ref().map(ToString::to_string)),
            ("text", self.text.clone()),
            ("connector", self.connector.as_ref().map(ToString::to_string)),
            ("conversation", self.conversation.clone()),
            ("state", self.state.clone()),
            ("since", self.since.clone()),
            ("until", self.until.clone()),
            ("before", self.before.map(|seq| seq.to_string())),
            ("limit", Some(self.limit.to_string())),
        ];
        address("/api/v1/events", parameters)
    }
}

fn table(events: &[EventView]) -> Table<7> {
    let mut table = Table::new(["EVENT", "RECEIVED", "CONNECTOR", "CONVERSATION", "KIND", "BOTS", "TEXT"]);
    for event in events {
        let stands = event.handlings.iter().map(|handling| format!("{} {}", handling.bot, handling.state));
        table.push([
            &event.event,
            &to_the_second(&event.received_at),
            event.connector.as_deref().unwrap_or(""),
            event.conversation.as_deref().unwrap_or(""),
            event.kind.as_deref().unwrap_or(""),
            &stands.collect::<Vec<_>>().join(", "),
            event.text.as_deref().unwrap_or(""),
        ]);
    }
    table
}
