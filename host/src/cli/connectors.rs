//! `host connectors`: how the connectors stand, taking one down or bringing it up again, and putting one or removing it.

use std::path::PathBuf;

use bothost::admin::ConnectorView;
use bothost::grants::ConnectorKey;
use bothost::id::ConnectorName;
use bothost::logs::escape;
use bothost::units::Span;
use clap::Subcommand;

use super::config::Who;
use super::placing::{Content, put, remove};
use super::remote::{Remote, read};
use super::table::{Table, terminal_width, to_the_second};
use super::{Failure, tell};

/// The connectors: how they stand, stopping, starting or restarting one, putting or removing one. What is stopped so runs again after a restart of the host,
/// or a change of its configuration
#[derive(Debug, clap::Args)]
pub(super) struct Connectors {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Lists them, a line each
    List,
    /// Tells all that is known of one
    Show(One),
    /// Brings one up again after a stop
    Start(One),
    /// Takes one down until it is started; what bots ask of it waits
    Stop(One),
    /// Has one connect anew
    Restart(One),
    /// Puts one that every bot may use into the configuration, in place of what is there by that name
    Put {
        /// The connector
        name: ConnectorName,
        /// What stands in its table, as TOML; - is standard input. `[redacted]` keeps a secret that is there
        #[arg(value_name = "FILE.toml")]
        file: PathBuf,
        #[command(flatten)]
        who: Who,
    },
    /// Removes one that every bot may use
    Remove {
        /// The connector
        name: ConnectorName,
        #[command(flatten)]
        who: Who,
    },
}

#[derive(Debug, clap::Args)]
struct One {
    /// The connector; BOT/NAME is a bot's own
    #[arg(value_name = "CONNECTOR")]
    key: ConnectorKey,
}

impl Connectors {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (host, json) = (self.remote.find()?, self.remote.json);
        let (key, verb) = match self.act {
            Act::List => {
                let answer = host.get("/api/v1/connectors")?;
                if json { tell(answer) } else { list(&read::<Vec<ConnectorView>>(answer)?) }
                return Ok(());
            }
            Act::Show(One { key }) => {
                let answer = host.get(&path(&key))?;
                if json { tell(answer) } else { show(&read(answer)?) }
                return Ok(());
            }
            Act::Start(One { key }) => (key, "start"),
            Act::Stop(One { key }) => (key, "stop"),
            Act::Restart(One { key }) => (key, "restart"),
            Act::Put { name, file, who } => {
                let content = Content::read(&file, "application/toml")?.toml_as_json(&file)?;
                return put(&host, json, &who.address(&format!("/api/v1/connectors/{name}")), content);
            }
            Act::Remove { name, who } => {
                return remove(&host, json, &who.address(&format!("/api/v1/connectors/{name}")));
            }
        };
        let answer = host.post(&format!("{}/{verb}", path(&key)))?;
        if json {
            tell(answer);
        } else {
            let view: ConnectorView = read(answer)?;
            tell(format_args!("{} is {}", escape(&view.name), escape(&view.link)));
        }
        Ok(())
    }
}

/// Returns the address of one.
fn path(key: &ConnectorKey) -> String {
    match &key.owner {
        Some(bot) => format!("/api/v1/bots/{bot}/connectors/{}", key.name),
        None => format!("/api/v1/connectors/{}", key.name),
    }
}

fn list(connectors: &[ConnectorView]) {
    if connectors.is_empty() {
        return tell("there are no connectors");
    }
    let mut table = Table::new(["CONNECTOR", "LINK", "SINCE", "EVENTS", "DELIVERED", "FAILED", "LAST EVENT", "DETAIL"]);
    for connector in connectors {
        table.push([
            &connector.name,
            &connector.link,
            &to_the_second(&connector.since),
            &connector.events.to_string(),
            &connector.delivered.to_string(),
            &connector.undelivered.to_string(),
            &connector.last_event.as_deref().map_or_else(String::new, to_the_second),
            connector.detail.as_deref().unwrap_or(""),
        ]);
    }
    tell(table.render(terminal_width()));
}

fn show(connector: &ConnectorView) {
    let line = |name: &str, value: &str| tell(format_args!("{name:<12} {}", escape(value)));
    let some = |name: &str, value: &Option<String>| {
        if let Some(value) = value {
            line(name, value);
        }
    };
    line("connector", &connector.name);
    line("link", &connector.link);
    some("detail", &connector.detail);
    line("since", &connector.since);
    if let Some(seconds) = connector.connected_seconds {
        line("connected", &Span(std::time::Duration::from_secs(seconds)).to_string());
    }
    some("listening", &connector.listening);
    let ConnectorView { connections, connections_failed, connections_lost, .. } = connector;
    line("connections", &format!("{connections} made, {connections_lost} lost, {connections_failed} tries failed"));
    line("events", &connector.events.to_string());
    let ConnectorView { delivered, undelivered, lost, .. } = connector;
    line("actions", &format!("{delivered} delivered, {lost} lost, {undelivered} tries failed"));
    some("last sign", &connector.last_success);
    some("last event", &connector.last_event);
    some("last error", &connector.last_error);
    some("at", &connector.last_error_at);
}
