//! What tenants may rent: a component, what the operator decides about it, and what is left to the tenant. Read from a table
//! `[offers.NAME]` of the configuration. Pure; starts nothing and writes nothing.
//!
//! ```text
//! [offers.NAME] ─► Offer ─┐
//!                         ├─generation─► bots_dir/TENANT-OFFER.toml     a bot like any other from then on
//! a tenant's wishes ──────┘
//! ```
//!
//! What an offer says is written into a rented bot's own file. Editing the offer changes what is rented from then on; it comes to the
//! bots that are rented already when the operator applies it, and removing it leaves them running.

mod form;
mod schema;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};

pub use self::form::{Field, FieldKind, form, read_form};
pub use self::schema::{Schema, SettingFault};
use crate::action::Priority;
use crate::bot::manifest::ComponentName;
use crate::connector::{AskedKey, AskedKind, ConnectorTemplate, TemplateError};
use crate::grants::Grants;
use crate::id::{BotName, ConnectorName, ContentHash, NAME_BYTES_MAX, OfferName, TenantName};
use crate::limits::LimitsPatch;
use crate::secret::Secret;
use crate::supervision::Restart;

/// Longest title, in characters.
const TITLE_CHARS_MAX: usize = 100;
/// Longest summary, in characters.
const SUMMARY_CHARS_MAX: usize = 2_000;
/// Most secrets that are asked for.
const ASKED_MAX: usize = 32;
/// Longest name of a secret, in bytes.
const SECRET_NAME_BYTES_MAX: usize = 64;
/// Room in a bot's name for what tells it from others of nearly the same name.
const SUFFIX_BYTES_MAX: usize = 16;

/// What tenants may rent.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Table")]
pub struct Offer {
    /// The component that a rented bot is.
    pub component: ComponentName,
    /// What people read.
    pub texts: Texts,
    /// The connector that a rented bot gets for itself; none: it gets none.
    pub connector: Option<ConnectorTemplate>,
    /// The keys of that connector that the tenant fills in.
    pub asked: Vec<AskedKey>,
    /// Connectors of the host's that it hears and speaks through beside. Default: none.
    pub shared: BTreeSet<ConnectorName>,
    /// Settings that it begins with. Default: none.
    pub settings: Map<String, Value>,
    /// What differs from `[limits]`. Default: nothing.
    pub limits: LimitsPatch,
    /// What it may do beyond computing. Default: nothing.
    pub grants: Grants,
    /// Its share of the turns. Default: `normal`.
    pub priority: Priority,
    /// When it is started again. Default: as `[supervisor] restart` says.
    pub restart: Option<Restart>,
    /// Secrets of the operator's, which no tenant sees.
    pub secrets: BTreeMap<String, Secret>,
    /// The names of secrets that the tenant fills in.
    pub asked_secrets: BTreeSet<String>,
    /// Most bots of this offer that one tenant has. Default: 1.
    pub per_tenant_max: NonZeroU32,
    /// To whom it is made. Default: to all tenants.
    pub audience: Audience,
}

/// What people read of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Texts {
    /// Its name for people.
    pub title: String,
    /// The same in Chinese.
    pub title_zh: Option<String>,
    /// What it does.
    pub summary: String,
    /// The same in Chinese.
    pub summary_zh: Option<String>,
}

/// To whom an offer is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// To every tenant.
    Everybody,
    /// To these.
    Tenants(BTreeSet<TenantName>),
}

impl Audience {
    /// Returns whether it is made to `tenant`.
    pub fn includes(&self, tenant: &TenantName) -> bool {
        match self {
            Self::Everybody => true,
            Self::Tenants(tenants) => tenants.contains(tenant),
        }
    }
}

/// An offer as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    component: ComponentName,
    title: String,
    title_zh: Option<String>,
    #[serde(default)]
    summary: String,
    summary_zh: Option<String>,
    connector: Option<ConnectorTemplate>,
    ask: Option<Vec<String>>,
    #[serde(default)]
    connectors: BTreeSet<ConnectorName>,
    #[serde(default)]
    settings: Map<String, Value>,
    #[serde(default)]
    limits: LimitsPatch,
    #[serde(default)]
    grants: Grants,
    #[serde(default)]
    priority: Priority,
    restart: Option<Restart>,
    #[serde(default)]
    secrets: BTreeMap<String, Secret>,
    #[serde(default)]
    ask_secrets: BTreeSet<String>,
    #[serde(default = "one")]
    per_tenant_max: NonZeroU32,
    #[serde(default = "everybody", deserialize_with = "audience")]
    tenants: Audience,
}

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

fn everybody() -> Audience {
    Audience::Everybody
}

/// Reads an array of tenants, or of `"*"`.
fn audience<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Audience, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    if names.iter().any(|name| name == "*") {
        return Ok(Audience::Everybody);
    }
    let tenants = names.iter().map(|name| TenantName::from_str(name)).collect::<Result<_, _>>();
    tenants.map(Audience::Tenants).map_err(de::Error::custom)
}

/// Keys of an offer that do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// The connector and what is asked for it.
    #[error(transparent)]
    Connector(#[from] TemplateError),
    /// Keys of a connector are asked for, and there is none.
    #[error("`ask` names keys of a connector, and there is none: add `connector = {{ type = … }}`")]
    NoConnector,
    /// It has its own connector and shared ones.
    #[error("`connector` gives each bot its own, and `connectors` shared ones: keep one of the two")]
    TwoKinds,
    /// The secret is the operator's and the tenant's.
    #[error("the secret `{0}` is given and asked for: keep one of the two")]
    SecretGiven(String),
    /// A secret's name will not do.
    #[error(
        "`ask_secrets`: a name has 1 to {SECRET_NAME_BYTES_MAX} letters, digits and `_`; there are at most {ASKED_MAX}"
    )]
    SecretName,
    /// A text is empty or too long.
    #[error("`{0}` must have 1 to {1} characters, on one line where it is a title")]
    Text(&'static str, usize),
}

impl TryFrom<Table> for Offer {
    type Error = OfferError;

    fn try_from(table: Table) -> Result<Self, OfferError> {
        let asked = match &table.connector {
            Some(_) if !table.connectors.is_empty() => return Err(OfferError::TwoKinds),
            Some(template) => template.asked(table.ask.as_deref())?,
            None if table.ask.is_some_and(|asked| !asked.is_empty()) => return Err(OfferError::NoConnector),
            None => Vec::new(),
        };
        if table.ask_secrets.len() > ASKED_MAX || !table.ask_secrets.iter().all(|name| is_secret_name(name)) {
            return Err(OfferError::SecretName);
        }
        if let Some(twice) = table.ask_secrets.iter().find(|name| table.secrets.contains_key(*name)) {
            return Err(OfferError::SecretGiven(twice.clone()));
        }
        let texts = Texts {
            title: table.title,
            title_zh: table.title_zh,
            summary: table.summary,
            summary_zh: table.summary_zh,
        };
        texts.check()?;
        Ok(Self {
            component: table.component,
            texts,
            connector: table.connector,
            asked,
            shared: table.connectors,
            settings: table.settings,
            limits: table.limits,
            grants: table.grants,
            priority: table.priority,
            restart: table.restart,
            secrets: table.secrets,
            asked_secrets: table.ask_secrets,
            per_tenant_max: table.per_tenant_max,
            audience: table.tenants,
        })
    }
}

fn is_secret_name(name: &str) -> bool {
    let are_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    !name.is_empty() && name.len() <= SECRET_NAME_BYTES_MAX && are_plain
}

impl Texts {
    fn check(&self) -> Result<(), OfferError> {
        let is_title = |text: &str| {
            let len = text.chars().count();
            (1..=TITLE_CHARS_MAX).contains(&len) && !text.trim().is_empty() && !text.contains(char::is_control)
        };
        if !is_title(&self.title) {
            return Err(OfferError::Text("title", TITLE_CHARS_MAX));
        }
        if !self.title_zh.as_deref().is_none_or(is_title) {
            return Err(OfferError::Text("title_zh", TITLE_CHARS_MAX));
        }
        let summaries = [("summary", Some(&self.summary)), ("summary_zh", self.summary_zh.as_ref())];
        let too_long = |text: &String| text.chars().count() > SUMMARY_CHARS_MAX;
        match summaries.into_iter().find(|(_, text)| text.is_some_and(too_long)) {
            Some((key, _)) => Err(OfferError::Text(key, SUMMARY_CHARS_MAX)),
            None => Ok(()),
        }
    }
}

impl Offer {
    /// Returns whether a tenant says where the connector connects to.
    pub(crate) fn asks_for_address(&self) -> bool {
        self.asked.iter().any(|key| key.kind == AskedKind::Address)
    }

    /// Has the relative paths in it begin at `directory`.
    pub(crate) fn resolve_paths(&mut self, directory: &Path) {
        for dir in &mut self.grants.dirs {
            dir.host = directory.join(&dir.host);
        }
    }
}

/// Returns the name of a tenant's bot of an offer: `TENANT-OFFER`, with a number where that is taken.
///
/// No two pairs of tenant and offer come to the same name unless they are made to: what a bot keeps is kept by its name, and is not
/// another tenant's to find. Names with `-` could be cut in two ways, so that a tenant's with one gets a few digits more.
pub fn rental_name(tenant: &TenantName, offer: &OfferName, is_taken: impl Fn(&BotName) -> bool) -> BotName {
    let (tenant, offer) = (tenant.as_str(), offer.as_str());
    let plain = format!("{tenant}-{offer}");
    let room = NAME_BYTES_MAX - SUFFIX_BYTES_MAX;
    let stem = if tenant.contains('-') || plain.len() > room {
        let digits = ContentHash::of(format!("{tenant}\0{offer}").as_bytes()).to_string();
        // Names are ASCII, so that they can be cut anywhere.
        format!("{}-{}", &plain[..plain.len().min(room)], &digits[..8])
    } else {
        plain
    };
    let numbered = (1_u32..).map(|number| if number == 1 { stem.clone() } else { format!("{stem}-{number}") });
    let names = numbered.map(|name| name.parse::<BotName>().expect("it is made of names and short enough"));
    names.into_iter().find(|name| !is_taken(name)).expect("there are more numbers than bots")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        let said = toml::from_str::<Offer>(text).unwrap_err().message().to_owned();
        assert!(said.contains(expected) && !said.contains("s3cret"), "{said}");
    }

    const GOOD: &str = "component = \"a.wasm\"\ntitle = \"A\"\n";

    #[test]
    fn an_offer_of_few_words_asks_for_nothing_and_is_for_everybody() {
        let offer: Offer = toml::from_str(GOOD).unwrap();
        assert_eq!((offer.asked.len(), offer.per_tenant_max.get(), &offer.audience), (0, 1, &Audience::Everybody));
        assert!(offer.audience.includes(&"anybody".parse().unwrap()));
    }

    #[test]
    fn keys_that_do_not_go_together_are_refused() {
        refused("component = \"a.wasm\"\ntitle = \" \"", "`title` must have");
        refused(&format!("{GOOD}ask = [\"token\"]"), "there is none");
        refused(&format!("{GOOD}ask_secrets = [\"A B\"]"), "a name has");
        refused(&format!("{GOOD}ask_secrets = [\"A\"]\nsecrets = {{ A = \"s3cret\" }}"), "given and asked for");
        refused(&format!("{GOOD}connectors = [\"x\"]\nconnector = {{ type = \"console\" }}"), "keep one of the two");
        refused(&format!("{GOOD}tenants = [\"a b\"]"), "is no name");
        refused(&format!("{GOOD}tenant = [\"a\"]"), "unknown field `tenant`");
    }

    #[test]
    fn an_offer_is_made_to_those_it_names() {
        let offer: Offer = toml::from_str(&format!("{GOOD}tenants = [\"acme\"]")).unwrap();
        let includes = |name: &str| offer.audience.includes(&name.parse().unwrap());
        assert!(includes("acme") && !includes("other"));
    }

    #[test]
    fn no_two_tenants_come_to_the_same_name() {
        let name = |tenant: &str, offer: &str, taken: &[&str]| {
            let is_taken = |name: &BotName| taken.contains(&name.as_str());
            rental_name(&tenant.parse().unwrap(), &offer.parse().unwrap(), is_taken).to_string()
        };
        assert_eq!(name("acme", "lottery", &[]), "acme-lottery");
        assert_eq!(name("acme", "lottery", &["acme-lottery", "acme-lottery-2"]), "acme-lottery-3");
        assert_ne!(name("a", "b-c", &[]), name("a-b", "c", &[]));
        let long = "x".repeat(64);
        assert_ne!(name(&long, "a", &[]), name(&long, "b", &[]));
        assert!(name(&long, &long, &[]).len() <= NAME_BYTES_MAX);
    }
}
