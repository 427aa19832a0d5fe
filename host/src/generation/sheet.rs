//! What may be seen of a bot's entry: whose it is, what of it may be chosen, and never a secret. Reads, and writes nothing.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use toml_edit::{Item, Table, TableLike};

use super::edit::{EditError, Editor};
use super::ground::Ground;
use super::lease::{Asked, PRIVATE, own_connector};
use super::redact::REDACTED;
use super::{Snapshot, keys, values};
use crate::access::Scope;
use crate::bot::pointer;
use crate::id::{BotName, OfferName};

/// Where a bot is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// In a file of its own.
    OwnFile,
    /// In the configuration file.
    Config,
    /// Nowhere: its component lies in the directory.
    Directory,
}

/// What may be seen of a bot's entry by those who may change it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sheet {
    /// Where it is written.
    pub origin: Origin,
    /// Whom it belongs to.
    pub tenant: String,
    /// The offer that it was rented by.
    pub offer: Option<String>,
    /// Its settings; what refers to something else is `[redacted]`.
    pub settings: Map<String, Value>,
    /// The keys of its connector that may be set, and which of them have a value.
    pub connector: Vec<(String, bool)>,
    /// The secrets that may be set, and which of them have a value.
    pub secrets: Vec<(String, bool)>,
}

impl Editor {
    /// Returns what may be seen of a bot's entry.
    ///
    /// # Errors
    ///
    /// There is no such bot, or not within these bounds; or the files cannot be read.
    pub async fn sheet(&self, scope: Scope, bot: BotName) -> Result<Sheet, EditError> {
        self.look(move |ground| ground.sheet(&scope, &bot)).await
    }
}

impl Snapshot {
    /// Returns the bots that were rented, each with its offer.
    pub fn rented(&self) -> Vec<(BotName, String)> {
        let rented = self.entries.iter().filter_map(|(bot, text)| Some((bot.clone(), Labels::of(text).offer?)));
        rented.collect()
    }
}

/// What a bot's file says of whose it is. Read by itself, so that a mistake elsewhere hides it from nobody.
pub(super) struct Labels {
    pub(super) tenant: String,
    pub(super) offer: Option<String>,
}

impl Labels {
    pub(super) fn of(text: &str) -> Self {
        Self::in_table(keys::document(text).unwrap_or_default().as_table())
    }

    pub(super) fn in_table(table: &dyn TableLike) -> Self {
        let text = |key| table.get(key).and_then(Item::as_str).map(str::to_owned);
        Self { tenant: text("tenant").unwrap_or_else(|| "default".to_owned()), offer: text("offer") }
    }

    pub(super) fn is_by(&self, offer: &OfferName) -> bool {
        self.offer.as_deref() == Some(offer.as_str())
    }
}

impl Ground {
    fn sheet(&self, scope: &Scope, bot: &BotName) -> Result<Sheet, EditError> {
        let own = self.own_file(scope, bot)?;
        let text = match own {
            Some(text) => text.clone(),
            None => self.config()?.into_owned(),
        };
        let document = keys::document(&text)?;
        let empty = Item::Table(Table::new());
        let entry = if own.is_some() {
            Some(document.as_item())
        } else {
            document.get("bots").and_then(|bots| bots.get(bot.as_str()))
        };
        let origin = match (own, entry) {
            (Some(_), _) => Origin::OwnFile,
            (None, Some(_)) => Origin::Config,
            (None, None) => Origin::Directory,
        };
        let entry = entry.unwrap_or(&empty);
        let labels = Labels::in_table(entry.as_table_like().unwrap_or(document.as_table()));
        let settings = entry.get("settings").map(values::shown).unwrap_or_default();
        let mut settings = settings.as_object().cloned().unwrap_or_default();
        for (at, _) in entry.get(PRIVATE).and_then(Item::as_table_like).into_iter().flat_map(TableLike::iter) {
            pointer::put(&mut settings, at, REDACTED.into());
        }
        let asked = match own {
            Some(_) => self.asked(&document),
            None => Asked { connector: BTreeSet::new(), secrets: BTreeSet::new() },
        };
        let is_set = |table: Option<&Item>, key: &str| table.and_then(|table| table.get(key)).is_some();
        let name = own_connector(document.as_table()).unwrap_or_default();
        let connector = document.get("connectors").and_then(|connectors| connectors.get(&name));
        let with = |names: BTreeSet<String>, table: Option<&Item>| {
            names
                .into_iter()
                .map(|name| {
                    let is_set = is_set(table, &name);
                    (name, is_set)
                })
                .collect()
        };
        Ok(Sheet {
            origin,
            tenant: labels.tenant,
            offer: labels.offer,
            settings,
            connector: with(asked.connector, connector),
            secrets: with(asked.secrets, entry.get("secrets")),
        })
    }
}
