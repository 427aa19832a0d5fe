//! A `[connectors.X]` table of which some keys are left to somebody else to fill in. Owns which keys those may be, and whether a
//! whole table would come of it. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapDeserializer;
use serde::de::{self, DeserializeSeed, MapAccess};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::config::{ConnectorConfig, Kind};
use crate::document::nearest;
use crate::secret::Secret;

/// A key that may be left to somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedKey {
    /// Its name in the table.
    pub name: &'static str,
    /// What it is.
    pub kind: AskedKind,
    /// Asked for where the operator does not say what is.
    is_usual: bool,
    /// A value that would be good, to try a table with.
    sample: &'static str,
}

/// What a key is that somebody else fills in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedKind {
    /// A secret: asked for unless the operator says otherwise, and never shown again.
    Secret,
    /// Where the host dials: asked for only where the operator says so.
    Address,
}

impl AskedKey {
    /// Returns a secret that may be asked for.
    pub(super) const fn secret(name: &'static str, sample: &'static str) -> Self {
        Self { name, kind: AskedKind::Secret, is_usual: true, sample }
    }

    /// Returns a secret that not every table of its type may hold: asked for only where the operator says so.
    pub(super) const fn optional_secret(name: &'static str, sample: &'static str) -> Self {
        Self { name, kind: AskedKind::Secret, is_usual: false, sample }
    }

    /// Returns an address that may be asked for.
    pub(super) const fn address(name: &'static str, sample: &'static str) -> Self {
        Self { name, kind: AskedKind::Address, is_usual: false, sample }
    }
}

impl Kind {
    fn is_secret(self, key: &str) -> bool {
        self.nature().askable.iter().any(|asked| asked.name == key && asked.kind == AskedKind::Secret)
    }
}

/// A table that is not whole.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectorTemplate {
    kind: Kind,
    given: BTreeMap<String, Given>,
}

/// What stands at a key. A secret is read as one, so that nothing shows it.
#[derive(Debug, Clone, PartialEq)]
enum Given {
    Secret(Secret),
    Plain(Value),
}

/// Why no whole table would come of a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The key is none that may be asked for.
    #[error("`{key}` cannot be asked for a connector of type `{kind}`; {remedy}")]
    NotAskable {
        /// The key.
        key: String,
        /// The type.
        kind: &'static str,
        /// What can be.
        remedy: String,
    },
    /// The operator says it and asks for it.
    #[error("`{0}` is given in `connector` and asked for: keep one of the two")]
    Given(String),
    /// With everything filled in it is no connector.
    #[error("`connector`, with what is asked for filled in: {0}")]
    NotWhole(String),
}

impl ConnectorTemplate {
    /// Returns the type's name.
    pub fn kind(&self) -> &'static str {
        self.kind.nature().name
    }

    /// Returns what is asked for: the keys that are named or, where none are, the secrets that the type has and this does not.
    ///
    /// # Errors
    ///
    /// A key may not be asked for, or no whole table would come of it.
    pub fn asked(&self, named: Option<&[String]>) -> Result<Vec<AskedKey>, TemplateError> {
        let by_default = |key: &&AskedKey| key.is_usual && !self.given.contains_key(key.name);
        let asked = match named {
            None => self.kind.nature().askable.iter().filter(by_default).copied().collect(),
            Some(names) => names.iter().map(|name| self.askable(name)).collect::<Result<Vec<_>, _>>()?,
        };
        self.whole(&asked).map_err(|error| TemplateError::NotWhole(error.to_string()))?;
        Ok(asked)
    }

    fn askable(&self, name: &str) -> Result<AskedKey, TemplateError> {
        let known = self.kind.nature().askable;
        let Some(key) = known.iter().find(|key| key.name == name) else {
            let names: Vec<_> = known.iter().map(|key| key.name).collect();
            let remedy = match nearest(name, &names) {
                Some(near) => format!("did you mean `{near}`?"),
                None if names.is_empty() => "nothing can be".to_owned(),
                None => format!("what can be: {}", names.join(", ")),
            };
            return Err(TemplateError::NotAskable { key: name.to_owned(), kind: self.kind(), remedy });
        };
        if self.given.contains_key(name) { Err(TemplateError::Given(name.to_owned())) } else { Ok(*key) }
    }

    /// Reads the table with a sample at each key that is asked for.
    fn whole(&self, asked: &[AskedKey]) -> Result<ConnectorConfig, serde_json::Error> {
        let text = |text: &str| Value::String(text.to_owned());
        // The type comes first, as the reader of a connector wants it.
        let mut pairs = vec![("type".to_owned(), text(self.kind()))];
        pairs.extend(self.given.iter().map(|(key, given)| match given {
            Given::Secret(secret) => (key.clone(), text(secret.expose())),
            Given::Plain(value) => (key.clone(), value.clone()),
        }));
        pairs.extend(asked.iter().map(|key| (key.name.to_owned(), text(key.sample))));
        ConnectorConfig::deserialize(MapDeserializer::new(pairs.into_iter()))
    }
}

impl<'de> Deserialize<'de> for ConnectorTemplate {
    /// Relies on `type` being the first key, which the reader of configurations sees to.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = ConnectorTemplate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<ConnectorTemplate, A::Error> {
                if table.next_key::<String>()?.as_deref() != Some("type") {
                    return Err(de::Error::missing_field("type"));
                }
                let kind: Kind = table.next_value()?;
                let mut given = BTreeMap::new();
                while let Some(key) = table.next_key_seed(KeyOf(kind))? {
                    let value = match kind.is_secret(&key) {
                        true => Given::Secret(table.next_value()?),
                        false => Given::Plain(table.next_value()?),
                    };
                    given.insert(key, value);
                }
                Ok(ConnectorTemplate { kind, given })
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// Reads a key of a table of this type.
struct KeyOf(Kind);

impl<'de> DeserializeSeed<'de> for KeyOf {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        let key = String::deserialize(deserializer)?;
        if self.0.nature().keys.contains(&key.as_str()) {
            Ok(key)
        } else {
            Err(de::Error::unknown_field(&key, self.0.nature().keys))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(json: Value) -> ConnectorTemplate {
        let Value::Object(mut table) = json else { panic!("a table") };
        let mut pairs = vec![("type".to_owned(), table.remove("type").unwrap())];
        pairs.extend(table);
        ConnectorTemplate::deserialize(MapDeserializer::<_, serde_json::Error>::new(pairs.into_iter())).unwrap()
    }

    fn names(asked: Result<Vec<AskedKey>, TemplateError>) -> Result<Vec<&'static str>, String> {
        asked.map(|keys| keys.iter().map(|key| key.name).collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_keys_of_a_type_are_those_that_its_table_has() {
        for kind in Kind::ALL {
            let pairs = [("type", Value::from(kind.nature().name)), ("nonsense", Value::Null)];
            let read = MapDeserializer::<_, serde_json::Error>::new(pairs.into_iter());
            let said = ConnectorConfig::deserialize(read).unwrap_err().to_string();
            let mut known: Vec<_> = said.split('`').skip(3).step_by(2).collect();
            let mut keys = kind.nature().keys.to_vec();
            known.sort_unstable();
            keys.sort_unstable();
            assert_eq!(keys, known, "{said}");
            assert!(kind.nature().askable.iter().all(|asked| keys.contains(&asked.name)));
        }
    }

    #[test]
    fn secrets_are_asked_for_unless_they_are_given_and_addresses_where_they_are_named() {
        let telegram = template(serde_json::json!({"type": "telegram", "api_url": "http://127.0.0.1:1"}));
        assert_eq!(names(telegram.asked(None)), Ok(vec!["token"]));
        let plain = template(serde_json::json!({"type": "telegram"}));
        let both = ["token".to_owned(), "api_url".to_owned()];
        assert_eq!(names(plain.asked(Some(&both))), Ok(vec!["token", "api_url"]));
        let forward = template(serde_json::json!({"type": "onebot", "mode": "forward", "url": "ws://x"}));
        assert_eq!(names(forward.asked(None)), Ok(vec!["access_token"]));
        let posted =
            template(serde_json::json!({"type": "onebot", "mode": "http", "url": "http://x", "listen": "127.0.0.1:1"}));
        assert_eq!(names(posted.asked(Some(&["secret".to_owned()]))), Ok(vec!["secret"]));
        let given = template(serde_json::json!({"type": "telegram", "token": "1:x"}));
        assert_eq!(names(given.asked(None)), Ok(vec![]));
    }

    #[test]
    fn what_would_be_no_connector_is_refused_with_the_key() {
        let telegram = template(serde_json::json!({"type": "telegram", "token": "1:s3cret"}));
        let check = |template: &ConnectorTemplate, keys: &[&str], expected: &str| {
            let keys: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
            let said = names(template.asked(Some(&keys))).unwrap_err();
            assert!(said.contains(expected) && !said.contains("s3cret"), "{said}");
        };
        check(&telegram, &["token"], "given in `connector` and asked for");
        check(&telegram, &["tokn"], "did you mean `token`?");
        check(&telegram, &["poll_timeout"], "what can be: token, api_url");
        check(&template(serde_json::json!({"type": "onebot", "mode": "forward"})), &[], "needs `url`");
        check(&template(serde_json::json!({"type": "onebot", "mode": "reverse"})), &["listen"], "cannot be asked");
        assert!(!format!("{telegram:?}").contains("s3cret"));
    }
}
