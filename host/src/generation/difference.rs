//! What differs between two generations, for people: the texts as a unified diff without secrets, components and grants as lines.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use similar::TextDiff;

use super::redact::redact;
use super::{Generation, Pinned};
use crate::config::Form;
use crate::id::{BotName, ContentHash};

/// Digits of a hash that are shown.
const HASH_DIGITS: usize = 12;

/// What differs between two generations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Difference {
    /// The generation that is compared.
    pub from: u64,
    /// The one that it is compared with.
    pub to: u64,
    /// The texts, as a unified diff. Empty where they are shown alike.
    pub texts: String,
    /// A line for each component and grant that differs, and for each text in which a secret does.
    pub changes: Vec<String>,
}

impl Difference {
    /// Compares two generations. Takes as long as reading their texts.
    pub fn between(from: &Generation, to: &Generation) -> Self {
        let mut difference = Self { from: from.number, to: to.number, ..Self::default() };
        difference.text("config.toml", Form::Host, Some(&from.config), Some(&to.config));
        let names: BTreeSet<_> = from.entries.keys().chain(to.entries.keys()).collect();
        for name in names {
            let (old, new) = (from.entries.get(name), to.entries.get(name));
            difference.text(&format!("{name}.toml"), Form::Bot, old.map(|text| &**text), new.map(|text| &**text));
        }
        difference.bots(&from.bots, &to.bots);
        difference
    }

    /// Returns whether the two are the same.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.changes.is_empty()
    }

    fn text(&mut self, file: &str, form: Form, old: Option<&str>, new: Option<&str>) {
        if old == new {
            return;
        }
        let head = |text: Option<&str>, number: u64| match text {
            Some(_) => format!("{file} (generation {number})"),
            None => format!("/dev/null (no {file} in generation {number})"),
        };
        let heads = (head(old, self.from), head(new, self.to));
        let (old, new) = (redact(old.unwrap_or(""), form), redact(new.unwrap_or(""), form));
        let diff = TextDiff::from_lines(old.text.as_str(), new.text.as_str());
        self.texts.push_str(&diff.unified_diff().header(&heads.0, &heads.1).to_string());
        match (old.secrets, new.secrets) {
            (Some(old), Some(new)) if old == new => {}
            (Some(_), Some(_)) => self.changes.push(format!("{file}: other secrets")),
            _ => self.changes.push(format!("{file}: may have other secrets; it cannot be read now")),
        }
    }

    fn bots(&mut self, old: &BTreeMap<BotName, Pinned>, new: &BTreeMap<BotName, Pinned>) {
        let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
        for name in names {
            let (old, new) = (old.get(name), new.get(name));
            let component = |pinned: Option<&Pinned>| pinned.map_or("none".to_owned(), |pinned| short(pinned.hash));
            if old.map(|pinned| pinned.hash) != new.map(|pinned| pinned.hash) {
                self.changes.push(format!("bot {name}: component {} -> {}", component(old), component(new)));
            }
            if let (Some(old), Some(new)) = (old, new)
                && old.file != new.file
            {
                self.changes.push(format!("bot {name}: file {} -> {}", old.file, new.file));
            }
            let grants = |pinned: Option<&Pinned>| -> BTreeSet<String> {
                pinned.iter().flat_map(|pinned| pinned.grants.iter().cloned()).collect()
            };
            let (old, new) = (grants(old), grants(new));
            self.changes.extend(old.difference(&new).map(|grant| format!("bot {name}: - {grant}")));
            self.changes.extend(new.difference(&old).map(|grant| format!("bot {name}: + {grant}")));
        }
    }
}

fn short(hash: ContentHash) -> String {
    let mut digits = hash.to_string();
    digits.truncate(HASH_DIGITS);
    format!("{digits}…")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::generation::Snapshot;

    fn generation(number: u64, config: &str, entry: Option<&str>, bot: Option<(&str, &[&str])>) -> Generation {
        let name: BotName = "echo".parse().unwrap();
        let pinned = bot.map(|(content, grants)| Pinned {
            file: "echo.wasm".parse().unwrap(),
            hash: ContentHash::of(content.as_bytes()),
            len: 1,
            grants: grants.iter().map(|grant| (*grant).to_owned()).collect(),
        });
        let snapshot = Snapshot {
            config: config.into(),
            entries: entry.map(|text| (name.clone(), text.into())).into_iter().collect(),
            bots: pinned.map(|pinned| (name, pinned)).into_iter().collect(),
            author: String::new(),
            reason: String::new(),
        };
        Generation { number, at: Timestamp::from_millis(0), snapshot }
    }

    #[test]
    fn texts_components_and_grants_are_compared() {
        let old = generation(3, "[limits]\nin_flight = 4\n", None, Some(("abc", &["http a", "http b"])));
        let new =
            generation(4, "[limits]\nin_flight = 5\n", Some("enabled = true\n"), Some(("abd", &["http b", "http c"])));
        let difference = Difference::between(&old, &new);
        let texts = "\
--- config.toml (generation 3)
+++ config.toml (generation 4)
@@ -1,2 +1,2 @@
 [limits]
-in_flight = 4
+in_flight = 5
--- /dev/null (no echo.toml in generation 3)
+++ echo.toml (generation 4)
@@ -0,0 +1 @@
+enabled = true
";
        assert_eq!(difference.texts, texts);
        let changes =
            ["bot echo: component ba7816bf8f01… -> a52d159f262b…", "bot echo: - http a", "bot echo: + http c"];
        assert_eq!(difference.changes, changes);
        assert!(Difference::between(&old, &old).is_empty());
    }

    #[test]
    fn f100_another_secret_is_told_and_not_shown() {
        let config = |token: &str| generation(1, &format!("[admin]\ntoken = \"{token}\"\n"), None, None);
        let difference = Difference::between(&config("CANARY-1"), &config("CANARY-2"));
        assert_eq!(
            (difference.texts.as_str(), &difference.changes[..]),
            ("", &["config.toml: other secrets".to_owned()][..])
        );
    }
}
