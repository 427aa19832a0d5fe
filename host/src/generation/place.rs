//! What the operator puts beside the configuration or takes away: connectors, entries of bots, components. Each is an edit like any
//! other, so that it has a generation and can be undone.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use toml_edit::Item;

use super::edit::{Edit, EditError, Editor, Reloaded, Who};
use super::ground::Ground;
use super::keys::{self, KeyError};
use super::plan::restored;
use super::rental::RentalError;
use super::values::{self, References};
use crate::bot::manifest::ComponentName;
use crate::config::Config;
use crate::id::{BotName, ConnectorName, ContentHash};

/// What the operator wants there to be, or not to be.
#[derive(Debug, Clone)]
pub enum Placing {
    /// A connector that every bot may use, as JSON. `[redacted]` stands for the secret that is there.
    Connector(ConnectorName, Map<String, Value>),
    /// No such connector.
    NoConnector(ConnectorName),
    /// A bot's own file, as TOML. `[redacted]` stands for the secret that is there.
    Bot(BotName, String),
    /// A bot's own file, as JSON.
    BotTable(BotName, Map<String, Value>),
    /// No such bot: its entry goes, and the component of its name if no other bot uses it.
    NoBot(BotName),
    /// A component with this content, which was pinned.
    Component(ComponentName, ContentHash),
    /// No such component.
    NoComponent(ComponentName),
}

impl Editor {
    /// Puts something to its place, or takes it away.
    ///
    /// # Errors
    ///
    /// [`EditError`].
    pub async fn place(&self, who: Who, based_on: Option<u64>, what: Placing) -> Result<Reloaded, EditError> {
        self.plan(move |ground, _| {
            let (edit, reason) = ground.placed(what)?;
            Ok((Edit { who, based_on, ..edit }, reason))
        })
        .await
    }
}

impl Ground {
    fn placed(&self, what: Placing) -> Result<(Edit, String), EditError> {
        let mut edit = Edit::default();
        let reason = match what {
            Placing::Connector(name, table) => {
                edit.config = Some(self.with_connector(&name, &table)?);
                format!("put connector {name}")
            }
            Placing::NoConnector(name) => {
                edit.config = Some(keys::unset(&self.config()?, &["connectors".to_owned(), name.to_string()])?);
                format!("removed connector {name}")
            }
            Placing::Bot(name, text) => {
                edit.entries.insert(name.clone(), Some(self.with_secrets(&name, &text)?));
                format!("put bot {name}")
            }
            Placing::BotTable(name, table) => {
                let old = keys::document(self.entries.get(&name).map_or("", |text| text))?;
                let table = values::table(&table, Some(old.as_table()), References::Meant);
                let table = table.map_err(|fault| RentalError::Settings(vec![fault]))?.into_table();
                edit.entries.insert(name.clone(), Some(self.with_secrets(&name, &table.to_string())?));
                format!("put bot {name}")
            }
            Placing::NoBot(name) => {
                self.known(&name)?;
                if self.entries.contains_key(&name) {
                    edit.entries.insert(name.clone(), None);
                } else if let Ok(text) = keys::unset(&self.config()?, &["bots".to_owned(), name.to_string()]) {
                    edit.config = Some(text);
                }
                // Left alone where another bot uses it. Otherwise it would be a bot of this name again, with every default.
                edit.components.insert(ComponentName::of(&name), None);
                format!("removed bot {name}")
            }
            Placing::Component(file, hash) => {
                edit.components.insert(file.clone(), Some(hash));
                format!("put component {file}")
            }
            Placing::NoComponent(file) => {
                self.unused(&file)?;
                edit.components.insert(file.clone(), None);
                format!("removed component {file}")
            }
        };
        Ok((edit, reason))
    }

    /// Checks that no bot and no offer needs a component.
    fn unused(&self, file: &ComponentName) -> Result<(), EditError> {
        let (_, users) = self.check(&Edit::default())?;
        let named = users.into_iter().filter(|(_, used)| used == file).map(|(bot, _)| format!("bot {bot}"));
        let serving = self.latest.iter().flat_map(|latest| &latest.bots).filter(|(_, pinned)| pinned.file == *file);
        let config = Config::parse(&self.config()?, &self.path)?;
        let offers = config.offers.iter().filter(|(_, offer)| offer.value.component == *file);
        let users: BTreeSet<_> = named
            .chain(serving.map(|(bot, _)| format!("bot {bot}")))
            .chain(offers.map(|(offer, _)| format!("offer {offer}")))
            .collect();
        if users.is_empty() {
            return Ok(());
        }
        let users = users.into_iter().collect::<Vec<_>>().join(", ");
        Err(EditError::InUse { file: file.clone(), users })
    }

    fn with_connector(&self, name: &ConnectorName, table: &Map<String, Value>) -> Result<String, EditError> {
        let mut document = keys::document(&self.config()?)?;
        let old = document.get("connectors").and_then(|connectors| connectors.get(name.as_str()));
        let new = values::table(table, old.and_then(Item::as_table_like), References::Meant);
        let new = new.map_err(|fault| RentalError::Settings(vec![fault]))?;
        let implicit = || {
            let mut table = toml_edit::Table::new();
            table.set_implicit(true);
            Item::Table(table)
        };
        let connectors = document.entry("connectors").or_insert_with(implicit);
        let connectors = connectors.as_table_like_mut().ok_or_else(|| KeyError::NoTable("connectors".to_owned()))?;
        connectors.insert(name.as_str(), Item::Table(new.into_table()));
        Ok(document.to_string())
    }

    /// Returns a bot's file with the secrets that it has now.
    fn with_secrets(&self, name: &BotName, text: &str) -> Result<String, EditError> {
        let running = self.latest.as_ref().and_then(|latest| latest.entries.get(name));
        let running = self.entries.get(name).map(String::as_str).or(running.map(|text| &**text));
        restored(text, &format!("{name}.toml"), running.unwrap_or(""))
    }
}
