//! A generation as it is shown and carried elsewhere: JSON, without the secrets that stand in it word for word.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Generation;
use super::keys::{self, KeyError};
use super::redact::redact;
use crate::bot::manifest::ComponentName;
use crate::config::Form;
use crate::id::{BotName, ContentHash};

/// A generation without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Export {
    /// Its number where it comes from.
    #[serde(default)]
    pub generation: u64,
    /// Since when it was in force, in RFC 3339.
    #[serde(default)]
    pub at: String,
    /// Who brought it about.
    #[serde(default)]
    pub author: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// The text of the configuration file.
    pub config: String,
    /// The texts of the bots' own files.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub entries: BTreeMap<BotName, String>,
    /// What serves each bot.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, ComponentView>")]
    pub components: BTreeMap<BotName, ComponentView>,
}

/// What serves a bot, and what the bot may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ComponentView {
    /// The file in the bots' directory.
    #[schemars(with = "String")]
    pub file: ComponentName,
    /// The hash of its bytes.
    #[schemars(with = "String")]
    pub sha256: ContentHash,
    /// How many bytes it has.
    #[serde(default)]
    pub len: u64,
    /// What the bot is granted.
    #[serde(default)]
    pub grants: Vec<String>,
}

impl Export {
    /// Returns what may be shown of a generation. Takes as long as reading its texts.
    pub fn of(generation: &Generation) -> Self {
        let entries = generation.entries.iter();
        let components = generation.bots.iter().map(|(name, pinned)| {
            let view = ComponentView {
                file: pinned.file.clone(),
                sha256: pinned.hash,
                len: pinned.len,
                grants: pinned.grants.clone(),
            };
            (name.clone(), view)
        });
        Self {
            generation: generation.number,
            at: generation.at.to_string(),
            author: generation.author.clone(),
            reason: generation.reason.clone(),
            config: redact(&generation.config, Form::Host).text,
            entries: entries.map(|(name, text)| (name.clone(), redact(text, Form::Bot).text)).collect(),
            components: components.collect(),
        }
    }

    /// Returns what is said of a dotted key, as TOML: of a bot that has a file of its own, what that file says.
    ///
    /// # Errors
    ///
    /// Nothing is said of it, or it is no key.
    pub fn get(&self, key: &str) -> Result<String, KeyError> {
        let path = keys::parse(key)?;
        if let [bots, name, rest @ ..] = &path[..]
            && bots == "bots"
            && let Some(entry) = name.parse().ok().and_then(|name: BotName| self.entries.get(&name))
        {
            return if rest.is_empty() { Ok(entry.trim_end().to_owned()) } else { keys::get(entry, &keys::join(rest)) };
        }
        keys::get(&self.config, key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_bot_is_looked_for_in_the_file_that_has_it() {
        let export = Export {
            generation: 1,
            at: String::new(),
            author: String::new(),
            reason: String::new(),
            config: "[limits]\nstate = \"8MiB\"\n[bots.a]\nenabled = true\n".to_owned(),
            entries: [("b".parse().unwrap(), "priority = \"low\"\n".to_owned())].into(),
            components: BTreeMap::new(),
        };
        for (key, said) in [
            ("limits.state", "\"8MiB\""),
            ("bots.a.enabled", "true"),
            ("bots.b.priority", "\"low\""),
            ("bots.b", "priority = \"low\""),
        ] {
            assert_eq!(export.get(key).unwrap(), said);
        }
        let said = export.get("bots.b.priorty").unwrap_err().to_string();
        assert_eq!(said, "`priorty` is not set; did you mean `priority`?");
    }
}
