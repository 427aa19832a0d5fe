//! The text of a rented bot's own file: what an offer puts into it, and what its tenant does. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value as Json};
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::keys::{self, KeyError};
use super::redact::REDACTED;
use super::rental::RentalError;
use super::values::{self, References, anchor, escaped, plain};
use crate::bot::pointer;
use crate::id::{OfferName, TenantName};
use crate::offer::{Offer, Schema};
use crate::secret::Secret;

/// What an offer decides about its bots in full: each is as the offer says, or not there.
const DECIDED: [&str; 5] = ["component", "priority", "restart", "limits", "grants"];

/// Where a bot's file has the settings that nobody is shown.
pub(super) const PRIVATE: &str = "private_settings";

/// An offer, read and as it is written.
pub(super) struct Lease<'l> {
    pub(super) name: &'l OfferName,
    pub(super) offer: &'l Offer,
    /// Its table, in which references are still references.
    pub(super) written: &'l Item,
    /// Where the relative paths in it begin.
    pub(super) directory: &'l Path,
}

/// What is wanted of a bot. What is not said stays as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BotChange {
    /// All of its settings. A text `[redacted]` stands for what is there.
    pub settings: Option<Map<String, Json>>,
    /// Keys of its own connector. `[redacted]` stands for what is there.
    pub connector: BTreeMap<String, Secret>,
    /// Secrets, by name. `[redacted]` stands for what is there.
    pub secrets: BTreeMap<String, Secret>,
    /// Whether it is started.
    pub enabled: Option<bool>,
    /// Settings that nobody is shown, by their JSON Pointer, taken out of the others by [`BotChange::parted`].
    pub private: BTreeMap<String, Secret>,
}

/// The keys that whoever changes a bot may set.
pub(super) struct Asked {
    pub(super) connector: BTreeSet<String>,
    pub(super) secrets: BTreeSet<String>,
}

impl Asked {
    /// Returns what an offer asks for.
    pub(super) fn by(offer: &Offer) -> Self {
        let connector = offer.asked.iter().map(|key| key.name.to_owned()).collect();
        Self { connector, secrets: offer.asked_secrets.clone() }
    }

    /// Checks that a change sets nothing else.
    pub(super) fn check(&self, change: &BotChange) -> Result<(), RentalError> {
        let unasked = |given: &BTreeMap<String, Secret>, asked: &BTreeSet<String>| {
            let key = given.keys().find(|key| !asked.contains(*key))?;
            Some(RentalError::NotAsked { key: key.clone(), asked: asked.iter().cloned().collect() })
        };
        let unasked = unasked(&change.connector, &self.connector).or_else(|| unasked(&change.secrets, &self.secrets));
        unasked.map_or(Ok(()), Err)
    }
}

impl Lease<'_> {
    /// Returns the file of a bot that is rented now.
    pub(super) fn text(&self, tenant: &TenantName, change: &BotChange) -> Result<String, RentalError> {
        let missing = self.offer.asked_secrets.iter().find(|name| !change.secrets.contains_key(*name));
        if let Some(name) = missing {
            return Err(RentalError::Missing(name.clone()));
        }
        let mut document = DocumentMut::new();
        let root = document.as_table_mut();
        for (key, value) in [("tenant", tenant.as_str()), ("offer", self.name.as_str())] {
            root.insert(key, toml_edit::value(value));
        }
        root.insert("enabled", toml_edit::value(change.enabled.unwrap_or(true)));
        self.decide(root);
        if let Some(settings) = self.copy("settings") {
            root.insert("settings", table_item(settings));
        }
        change.write(root)?;
        Ok(document.to_string())
    }

    /// Returns the file of a bot that was rented before, as the offer says now. What the tenant chose stays.
    pub(super) fn applied(&self, text: &str) -> Result<String, RentalError> {
        let mut document = keys::document(text)?;
        self.decide(document.as_table_mut());
        Ok(document.to_string())
    }

    /// Writes what is not the tenant's to choose.
    fn decide(&self, root: &mut Table) {
        for key in DECIDED {
            match self.copy(key) {
                Some(value @ Value::InlineTable(_)) => drop(root.insert(key, table_item(value))),
                Some(value) => drop(root.insert(key, Item::Value(value))),
                None => drop(root.remove(key)),
            }
        }
        let given = self.copy("secrets").and_then(|secrets| secrets.as_inline_table().cloned()).unwrap_or_default();
        let asked = &self.offer.asked_secrets;
        if let Some(secrets) = merged(root.get("secrets"), given, |name| asked.contains(name)) {
            root.insert("secrets", table_item(Value::InlineTable(secrets)));
        } else {
            root.remove("secrets");
        }
        self.connect(root);
    }

    fn connect(&self, root: &mut Table) {
        let Some(template) = &self.offer.connector else {
            let names: Array = self.offer.shared.iter().map(|name| name.as_str()).collect();
            return drop(root.insert("connectors", toml_edit::value(names)));
        };
        let given = self.copy("connector").and_then(|table| table.as_inline_table().cloned()).unwrap_or_default();
        let name = own_connector(root).unwrap_or_else(|| template.kind().to_owned());
        let is_asked = |key: &str| self.offer.asked.iter().any(|asked| asked.name == key);
        let old = root.get("connectors").and_then(|connectors| connectors.get(&name));
        let own = merged(old, given, is_asked).unwrap_or_default();
        let mut connectors = Table::new();
        connectors.set_implicit(true);
        connectors.insert(&name, table_item(Value::InlineTable(own)));
        root.insert("connectors", Item::Table(connectors));
    }

    /// Returns what the offer says of a key, so that it means the same in a bot's own file.
    fn copy(&self, key: &str) -> Option<Value> {
        let mut value = plain(self.written.get(key)?)?;
        match key {
            "secrets" | "connector" => anchor(&mut value, "file", self.directory),
            "grants" => anchor(&mut value, "host", self.directory),
            _ => {}
        }
        Some(value)
    }
}

/// Returns what is given, and what was there before of what is kept. None: nothing.
fn merged(old: Option<&Item>, given: InlineTable, is_kept: impl Fn(&str) -> bool) -> Option<InlineTable> {
    let mut table = given;
    for (name, item) in old.and_then(Item::as_table_like).into_iter().flat_map(TableLike::iter) {
        if let Some(value) = plain(item).filter(|_| is_kept(name)) {
            table.insert(name, value);
        }
    }
    (!table.is_empty()).then_some(table)
}

fn table_item(value: Value) -> Item {
    match value {
        Value::InlineTable(table) => Item::Table(table.into_table()),
        value => Item::Value(value),
    }
}

/// Returns the name of the one connector that a bot has for itself.
pub(super) fn own_connector(root: &dyn TableLike) -> Option<String> {
    let mut names = root.get("connectors")?.as_table_like()?.iter().map(|(name, _)| name.to_owned());
    names.next().filter(|_| names.next().is_none())
}

impl BotChange {
    /// Writes what is wanted into a bot's table.
    /// Takes the settings that are passwords by this schema apart from the others.
    pub(super) fn parted(mut self, schema: &Schema) -> Self {
        if let Some(settings) = &mut self.settings {
            let passwords = schema.take_passwords(settings).into_iter();
            self.private.extend(passwords.map(|(at, text)| (at, Secret::new(text))));
        }
        self
    }

    /// Returns the settings without those that nobody is shown, and these: what the form says is a password, and what was kept so before,
    /// whatever the version that serves now says of it.
    fn kept_apart(&self, settings: &Map<String, Json>, root: &Table) -> (Map<String, Json>, BTreeMap<String, Secret>) {
        let (mut settings, mut private) = (settings.clone(), self.private.clone());
        let kept = root.get(PRIVATE).and_then(Item::as_table_like);
        for (at, _) in kept.into_iter().flat_map(TableLike::iter) {
            if let Some(text) = pointer::take_text(&mut settings, at) {
                private.insert(at.to_owned(), Secret::new(text));
            }
        }
        // What stays and was not kept apart, such as what an offer begins with, stays where it is.
        private.retain(|at, secret| {
            let is_elsewhere = secret.expose() == REDACTED && kept.is_none_or(|kept| !kept.contains_key(at));
            if is_elsewhere {
                pointer::put(&mut settings, at, REDACTED.into());
            }
            !is_elsewhere
        });
        (settings, private)
    }

    pub(super) fn write(&self, root: &mut Table) -> Result<(), RentalError> {
        if let Some(enabled) = self.enabled {
            set(root, "enabled", Value::from(enabled));
        }
        if let Some(settings) = &self.settings {
            let (settings, private) = self.kept_apart(settings, root);
            write_private(root, &private)?;
            let settings = &settings;
            let old = root.get("settings").and_then(Item::as_table_like);
            let table = values::table(settings, old, References::Escaped).map_err(|fault| vec![fault]);
            let table = table.map_err(RentalError::Settings)?;
            root.insert("settings", table_item(Value::InlineTable(table)));
        }
        if self.connector.values().any(|value| value.expose() != REDACTED) {
            let name = own_connector(root).ok_or(RentalError::NoConnector)?;
            let own = root.get_mut("connectors").and_then(|own| own.get_mut(&name)).and_then(Item::as_table_like_mut);
            fill(own.ok_or(RentalError::NoConnector)?, &self.connector);
        }
        if !self.secrets.is_empty() {
            let secrets = root.entry("secrets").or_insert_with(|| Item::Table(Table::new()));
            fill(secrets.as_table_like_mut().ok_or(RentalError::NoConnector)?, &self.secrets);
        }
        Ok(())
    }
}

/// Writes the private settings: those that are not given are gone, and `[redacted]` keeps what is there.
fn write_private(root: &mut Table, given: &BTreeMap<String, Secret>) -> Result<(), RentalError> {
    let table = root.entry(PRIVATE).or_insert_with(|| Item::Table(Table::new()));
    let table = table.as_table_like_mut().ok_or_else(|| KeyError::NoTable(PRIVATE.to_owned()))?;
    let gone: Vec<_> = table.iter().map(|(at, _)| at.to_owned()).filter(|at| !given.contains_key(at)).collect();
    for at in gone {
        table.remove(&at);
    }
    fill(table, given);
    if table.is_empty() {
        root.remove(PRIVATE);
    }
    Ok(())
}

fn fill(table: &mut dyn TableLike, given: &BTreeMap<String, Secret>) {
    for (name, secret) in given.iter().filter(|(_, secret)| secret.expose() != REDACTED) {
        let value = Value::from(escaped(secret.expose()));
        match table.get_mut(name) {
            Some(Item::Value(old)) => keys::replace(old, value),
            _ => drop(table.insert(name, Item::Value(value))),
        }
    }
}

fn set(table: &mut Table, key: &str, value: Value) {
    match table.get_mut(key) {
        Some(Item::Value(old)) => keys::replace(old, value),
        _ => drop(table.insert(key, Item::Value(value))),
    }
}
