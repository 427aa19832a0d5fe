//! `host send BOT TEXT`: an event for one bot, as if somebody had written to it.

use bothost::admin::{InjectedView, InjectionBody};
use bothost::id::BotName;
use bothost::logs::escape;

use super::remote::{Remote, read};
use super::{FAILED, Failure, complain, tell};

/// Hands a bot a message, as if somebody had written to it; what it answers goes out by the connector, into the conversation
#[derive(Debug, clap::Args)]
pub(super) struct Send {
    #[command(flatten)]
    remote: Remote,
    /// The bot
    bot: BotName,
    /// What is to have been written, such as "!ping"
    text: String,
    /// The connector it is to have come through; needed where the bot hears several
    #[arg(long)]
    connector: Option<String>,
    /// The platform's id of the conversation, which is where the answer goes
    #[arg(long, value_name = "ID", default_value = "operator")]
    conversation: String,
    /// The platform's id of who is to have written it
    #[arg(long = "as", value_name = "USER", default_value = "operator")]
    user: String,
    /// The name that people see
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What tells it apart: one with the same id is handed over once
    #[arg(long)]
    id: Option<String>,
}

impl Send {
    pub(super) fn run(self) -> Result<(), Failure> {
        let body = InjectionBody {
            text: self.text,
            conversation: Some(self.conversation),
            connector: self.connector,
            user: Some(self.user),
            user_name: self.name,
            id: self.id,
        };
        let body = serde_json::to_value(body).map_err(anyhow::Error::from)?;
        let answer = self.remote.find()?.edit(&format!("/api/v1/bots/{}/events", self.bot), Some(&body))?;
        if self.remote.json {
            tell(answer);
            return Ok(());
        }
        let InjectedView { event, bot, connector, state } = read(answer)?;
        let (bot, connector) = (escape(&bot).into_owned(), escape(&connector).into_owned());
        match (state.as_str(), event) {
            ("duplicate", _) => tell(format_args!("{bot} was handed one of this id before; nothing was done")),
            ("dead-letter", Some(event)) => {
                complain(format_args!(
                    "{event} is a dead letter: {bot} has as many events waiting as it may; `host dlq retry {event}` tries it"
                ));
                return Err(Failure::Told(FAILED));
            }
            (_, event) => {
                let event = event.unwrap_or_default();
                tell(format_args!("{event} waits for {bot}, as from {connector}; `host why {event}` tells what becomes of it"));
            }
        }
        Ok(())
    }
}
