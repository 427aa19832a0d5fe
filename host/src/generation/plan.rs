//! What the operator's verbs make of the files: an [`Edit`] for each. Pure.

use std::collections::BTreeMap;

use super::edit::{Edit, EditError, Who};
use super::ground::Ground;
use super::redact::restore;
use super::{Generation, Snapshot, keys};
use crate::bot::manifest::ComponentName;
use crate::id::{BotName, ContentHash};

/// All the files of a configuration.
pub(super) struct Files {
    pub(super) config: String,
    pub(super) entries: BTreeMap<BotName, String>,
    pub(super) components: BTreeMap<ComponentName, ContentHash>,
}

impl Files {
    /// Returns the edit that writes these, and removes what only `latest` has.
    pub(super) fn instead_of(self, latest: Option<&Generation>, who: Who) -> Edit {
        let latest: Option<&Snapshot> = latest.map(|latest| &**latest);
        let mut edit = Edit { who, config: Some(self.config), ..Edit::default() };
        edit.entries =
            latest.into_iter().flat_map(|latest| latest.entries.keys()).map(|name| (name.clone(), None)).collect();
        let files =
            latest.into_iter().flat_map(|latest| latest.bots.values()).map(|pinned| (pinned.file.clone(), None));
        edit.components = files.collect();
        edit.entries.extend(self.entries.into_iter().map(|(name, text)| (name, Some(text))));
        edit.components.extend(self.components.into_iter().map(|(file, hash)| (file, Some(hash))));
        edit
    }
}

/// Returns the edit that sets a key, or removes it where there is no value.
pub(super) fn key_edit(ground: &Ground, who: Who, path: &[String], value: Option<&str>) -> Result<Edit, EditError> {
    let change = |text: &str, path: &[String]| match value {
        Some(value) => keys::set(text, path, value),
        None => keys::unset(text, path),
    };
    let mut edit = Edit { who, ..Edit::default() };
    match ground.owner(path) {
        Some((bot, path)) => {
            let text = change(ground.entries.get(&bot).map_or("", |text| text), path)?;
            edit.entries.insert(bot, Some(text));
        }
        None => edit.config = Some(change(&ground.config()?, path)?),
    }
    Ok(edit)
}

/// Returns a text with the secrets of the running one.
pub(super) fn restored(text: &str, file: &str, running: &str) -> Result<String, EditError> {
    restore(text, running).map_err(|source| EditError::UnknownSecret { file: file.to_owned(), source })
}

impl Ground {
    /// Returns the configuration whose secrets may be taken over.
    pub(super) fn running_config(&self) -> &str {
        self.latest.as_ref().map_or("", |latest| &latest.config)
    }
}
