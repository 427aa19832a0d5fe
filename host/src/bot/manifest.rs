//! What an operator says of one bot: which component it is, whom it belongs to, what it hears and may do. Read from a table
//! `[bots.NAME]` of the configuration or from a file `NAME.toml` of its own. Looks at no file and starts nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;
use std::str::FromStr;

use serde::de::{self, MapAccess, SeqAccess};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::pointer;
use crate::action::Priority;
use crate::document::At;
use crate::grants::{Grants, Reach, SharedReach};
use crate::id::{BotName, ConnectorName, OfferName, TenantName};
use crate::limits::{Limits, LimitsPatch};
use crate::secret::Secret;
use crate::supervision::Restart;

/// Longest file name of a component, in bytes: the most that file systems take.
const FILE_NAME_BYTES_MAX: usize = 255;

/// What an operator says of one bot. Without a word: the component of its name, every default, all shared connectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BotEntry {
    /// Its component.
    pub component: ComponentName,
    /// Whom it belongs to: a label, so far. Default: `default`.
    pub tenant: TenantName,
    /// The offer that it was rented by; a label. Default: none.
    pub offer: Option<OfferName>,
    /// Whether it is started. Default: it is.
    pub enabled: bool,
    /// Its share of what bots take turns for: `critical` has 8 turns where `high` has 4, `normal` 2 and `low` 1, and none of them
    /// ever waits for good. Default: `normal`.
    pub priority: Priority,
    /// When it is started again after it ended. Default: as `[supervisor] restart` says.
    pub restart: Option<Restart>,
    /// The connectors that it hears and speaks through. Default: all shared ones.
    pub reach: Reach,
    /// What it is told about itself, as JSON. Dates are strings as RFC 3339 has them. Default: nothing.
    pub settings: Map<String, Value>,
    /// Settings that nobody is shown, by their JSON Pointer, such as `/api/key`: passwords of its form. Default: none.
    pub private_settings: BTreeMap<String, Secret>,
    /// Secrets by the name that it knows them by. It never sees the texts. Default: none.
    pub secrets: BTreeMap<String, Secret>,
    /// What differs from `[limits]`. Default: nothing.
    pub limits: LimitsPatch,
    /// What it may do beyond computing. The host's side of a directory is relative to the working directory, or absolute.
    /// Default: nothing.
    pub grants: Grants,
}

impl BotEntry {
    /// Returns the entry of a bot of which nothing is said.
    pub fn of(name: &BotName) -> Self {
        Self {
            component: ComponentName::of(name),
            tenant: TenantName::default(),
            offer: None,
            enabled: true,
            priority: Priority::default(),
            restart: None,
            reach: Reach::all(),
            settings: Map::new(),
            private_settings: BTreeMap::new(),
            secrets: BTreeMap::new(),
            limits: LimitsPatch::default(),
            grants: Grants::default(),
        }
    }

    /// Returns what the bot is told: all its settings.
    pub fn whole_settings(&self) -> Map<String, Value> {
        let mut settings = self.settings.clone();
        for (at, secret) in &self.private_settings {
            pointer::put(&mut settings, at, secret.expose().into());
        }
        settings
    }

    /// Returns the bot's limits, where `base` are those of all bots.
    pub fn limits_over(&self, base: &Limits) -> Limits {
        self.limits.apply(base)
    }
}

/// The name of a component's file within the bots' directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentName(String);

/// Why a text names no component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ComponentNameError {
    /// It leads somewhere.
    #[error("a component is named by its file in the bots' directory, without a path, such as \"echo.wasm\"")]
    Path,
    /// It is no file that is looked for.
    #[error("a component's file ends in `.wasm`, such as \"echo.wasm\"")]
    Extension,
    /// It is too long, hidden, or cannot be shown.
    #[error("a component's file has a name of 1 to 255 bytes that begins with no dot and holds no control character")]
    Name,
}

impl ComponentName {
    /// Returns the file of a bot whose entry names none: its name and `.wasm`.
    pub fn of(bot: &BotName) -> Self {
        Self(format!("{bot}.wasm"))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ComponentName {
    type Err = ComponentNameError;

    fn from_str(text: &str) -> Result<Self, ComponentNameError> {
        if text.contains(['/', '\\']) {
            return Err(ComponentNameError::Path);
        }
        if text.starts_with('.') || text.len() > FILE_NAME_BYTES_MAX || text.contains(char::is_control) {
            return Err(ComponentNameError::Name);
        }
        if !text.ends_with(".wasm") {
            return Err(ComponentNameError::Extension);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ComponentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for ComponentName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ComponentName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// An entry as it is written, before it is known whose it is. `C` is what a table `[connectors.X]` in it is read as: a bot
/// knows nothing of connectors.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(bound(deserialize = "C: Deserialize<'de>"))]
pub(crate) struct Declaration<C> {
    component: Option<ComponentName>,
    #[serde(default)]
    tenant: TenantName,
    offer: Option<OfferName>,
    #[serde(default = "enabled")]
    enabled: bool,
    #[serde(default)]
    priority: Priority,
    restart: Option<Restart>,
    #[serde(default)]
    connectors: Connectors<C>,
    #[serde(default)]
    settings: Map<String, Value>,
    #[serde(default)]
    private_settings: BTreeMap<String, Secret>,
    #[serde(default)]
    secrets: BTreeMap<String, Secret>,
    #[serde(default)]
    limits: LimitsPatch,
    #[serde(default)]
    grants: Grants,
}

/// The connectors of a [`Declaration`].
#[derive(Debug, Default)]
pub(crate) enum Connectors<C> {
    /// All that the host's configuration has.
    #[default]
    All,
    /// These of the host's configuration.
    Named(Vec<At<ConnectorName>>),
    /// None of the host's; these of its own.
    Own(BTreeMap<ConnectorName, At<C>>),
}

impl<C> Declaration<C> {
    /// Returns the entry of the bot `name`, and the connectors that it names or brings. `directory` is where the relative
    /// paths in it begin.
    pub(crate) fn into_entry(self, name: &BotName, directory: &Path) -> (BotEntry, Connectors<C>) {
        let mut grants = self.grants;
        for dir in &mut grants.dirs {
            dir.host = directory.join(&dir.host);
        }
        let entry = BotEntry {
            component: self.component.unwrap_or_else(|| ComponentName::of(name)),
            tenant: self.tenant,
            offer: self.offer,
            enabled: self.enabled,
            priority: self.priority,
            restart: self.restart,
            reach: self.connectors.reach(),
            settings: self.settings,
            private_settings: self.private_settings,
            secrets: self.secrets,
            limits: self.limits,
            grants,
        };
        (entry, self.connectors)
    }
}

impl<C> Connectors<C> {
    fn reach(&self) -> Reach {
        match self {
            Self::All => Reach::all(),
            Self::Named(names) => Reach {
                shared: SharedReach::Named(names.iter().map(|name| name.value.clone()).collect()),
                own: BTreeSet::new(),
            },
            Self::Own(own) => Reach { shared: SharedReach::Named(BTreeSet::new()), own: own.keys().cloned().collect() },
        }
    }
}

impl<'de, C: Deserialize<'de>> Deserialize<'de> for Connectors<C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<C>(PhantomData<C>);
        impl<'de, C: Deserialize<'de>> de::Visitor<'de> for Visitor<C> {
            type Value = Connectors<C>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of connectors' names or [\"*\"]")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Self::Value, A::Error> {
                let (mut named, mut is_all) = (Vec::new(), false);
                while let Some(At { value, offset }) = names.next_element::<At<NameOrAll>>()? {
                    match value {
                        NameOrAll::Name(value) => named.push(At { value, offset }),
                        NameOrAll::All => is_all = true,
                    }
                }
                Ok(if is_all { Connectors::All } else { Connectors::Named(named) })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                BTreeMap::deserialize(de::value::MapAccessDeserializer::new(map)).map(Connectors::Own)
            }
        }
        deserializer.deserialize_any(Visitor(PhantomData))
    }
}

/// One element of `connectors = […]`.
enum NameOrAll {
    Name(ConnectorName),
    All,
}

impl<'de> Deserialize<'de> for NameOrAll {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "*" { Ok(Self::All) } else { text.parse().map(Self::Name).map_err(de::Error::custom) }
    }
}

/// Stands for a connector of a bot's own where it can have none: in the host's configuration.
#[derive(Debug)]
pub(crate) enum NoConnector {}

impl<'de> Deserialize<'de> for NoConnector {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(de::Error::custom("a bot's own connectors stand in its own file, NAME.toml in the bots' directory"))
    }
}

fn enabled() -> bool {
    true
}
