//! `/api/v1/rentals`: bots that tenants rented, and `/api/v1/bots/{bot}/settings`: what is theirs to choose of a bot.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::api::Api;
use super::ask::Ask;
use super::bots::BotView;
use super::configuration::{EditView, based_on, edited, who};
use super::endpoint::{Access, Endpoint, Listing, Tagged};
use super::parameter::EDIT;
use super::problem::Problem;
use super::schema::NameWord;
use crate::access::{Role, Scope};
use crate::generation::{BotChange, Hand, Origin, Reloaded, Sheet};
use crate::id::{BotName, OfferName, TenantName};
use crate::offer::{Field, Schema, form};
use crate::secret::Secret;

/// What a body of wishes may have.
const BODY_BYTES_MAX: usize = 256 << 10;

/// A bot that was rented.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RentalView {
    /// The bot.
    pub bot: BotView,
    /// Whose it is.
    pub tenant: String,
    /// The offer that it was rented by.
    pub offer: String,
}

/// What came of renting.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RentedView {
    /// The bot.
    pub bot: String,
    /// What was done.
    #[serde(flatten)]
    pub edit: EditView,
}

/// What came of applying an offer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AppliedView {
    /// The bots that it came to.
    pub bots: Vec<String>,
    /// What was done.
    #[serde(flatten)]
    pub edit: EditView,
}

/// What may be seen of what is to be chosen. No secret is ever shown.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SettingsView {
    /// Where the bot is written: `own-file`, `config` or `directory`.
    pub origin: String,
    /// Whose it is.
    pub tenant: String,
    /// The offer that it was rented by.
    pub offer: Option<String>,
    /// The settings. `[redacted]` stands for what is not shown, and sent back keeps it.
    pub settings: Map<String, Value>,
    /// The same as a form.
    pub form: Vec<Field>,
    /// The keys of its connector that may be set.
    pub connector: Vec<SetView>,
    /// The secrets that may be set.
    pub secrets: Vec<SetView>,
}

/// A value that is not shown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SetView {
    /// Its name.
    pub name: String,
    /// Whether it has a value.
    pub set: bool,
}

/// What is wanted of a bot, as JSON. What is left out stays as it is.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(super) struct Wishes {
    /// All of its settings. `[redacted]` stands for what is there.
    settings: Option<Map<String, Value>>,
    /// Keys of its connector, such as `token`.
    connector: BTreeMap<String, String>,
    /// Secrets, by name.
    secrets: BTreeMap<String, String>,
    /// Whether it is started.
    enabled: Option<bool>,
}

/// A bot to rent, as JSON.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RentalWishes {
    /// By which offer.
    #[schemars(with = "NameWord")]
    offer: OfferName,
    /// For whom; a tenant rents for itself.
    #[schemars(with = "Option<NameWord>")]
    tenant: Option<TenantName>,
    /// Its settings; the offer's, where none are given.
    settings: Option<Map<String, Value>>,
    /// Keys of its connector, such as `token`.
    #[serde(default)]
    connector: BTreeMap<String, String>,
    /// Secrets, by name.
    #[serde(default)]
    secrets: BTreeMap<String, String>,
    /// Whether it is started. Default: it is.
    enabled: Option<bool>,
}

impl From<Wishes> for BotChange {
    fn from(wishes: Wishes) -> Self {
        let hidden =
            |map: BTreeMap<String, String>| map.into_iter().map(|(key, text)| (key, Secret::new(text))).collect();
        let Wishes { settings, connector, secrets, enabled } = wishes;
        Self { settings, connector: hidden(connector), secrets: hidden(secrets), enabled, ..Self::default() }
    }
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    let (look, act) = (Access::Bot(Role::Viewer), Access::Bot(Role::Operator));
    vec![
        Endpoint::get("/api/v1/rentals", Access::Tenant(Role::Viewer), "the bots that were rented")
            .list(async |api, ask| Ok(Listing::whole(list(&api, &ask).await?))),
        Endpoint::post("/api/v1/rentals", Access::Tenant(Role::Operator), "rents a bot by an offer")
            .takes(EDIT)
            .reads_json::<RentalWishes>(BODY_BYTES_MAX)
            .named_by("offer")
            .tagged(async |api, ask| {
                let RentalWishes { offer, tenant, settings, connector, secrets, enabled } = ask.json()?;
                let change = Wishes { settings, connector, secrets, enabled }.into();
                rent(&api, &ask, (tenant, offer), change).await
            }),
        Endpoint::of(http::Method::PATCH, "/api/v1/rentals/{bot}", act, "changes what is to be chosen of a bot")
            .takes(EDIT)
            .reads_json::<Wishes>(BODY_BYTES_MAX)
            .tagged(async |api, ask| change(&api, &ask, ask.json::<Wishes>()?.into()).await),
        Endpoint::delete("/api/v1/rentals/{bot}", act, "gives a rented bot up")
            .takes(EDIT)
            .tagged(async |api, ask| give_up(&api, &ask).await),
        Endpoint::get("/api/v1/bots/{bot}/settings", look, "the settings of a bot, as values and as a form")
            .json(async |api, ask| settings(&api, &ask).await),
        Endpoint::put("/api/v1/bots/{bot}/settings", act, "changes what is to be chosen of a bot")
            .takes(EDIT)
            .reads_json::<Wishes>(BODY_BYTES_MAX)
            .tagged(async |api, ask| change(&api, &ask, ask.json::<Wishes>()?.into()).await),
    ]
}

/// Lists the bots that were rented and that whoever asks may see.
pub(super) async fn list(api: &Api, ask: &Ask) -> Result<Vec<RentalView>, Problem> {
    let mut views = Vec::new();
    for (bot, offer) in api.rented() {
        if let Some(status) = api.sources.bots.get(&bot).filter(|status| ask.scope().covers(&status.tenant)) {
            let tenant = status.tenant.to_string();
            views.push(RentalView { bot: BotView::from(&status), tenant, offer });
        }
    }
    Ok(views)
}

/// Rents a bot: for whoever asks, or for whom the operator says.
pub(super) async fn rent(
    api: &Api,
    ask: &Ask,
    (tenant, offer): (Option<TenantName>, OfferName),
    change: BotChange,
) -> Result<Tagged<RentedView>, Problem> {
    let missing = || Problem::Unprocessable("`tenant` is missing: whom the bot is for".to_owned());
    let tenant = tenant.or_else(|| ask.scope().tenant().cloned()).ok_or_else(missing)?;
    let inspector = api.sources.control.inspector().await?;
    let component = inspector.config().offers.get(&offer).map(|offer| offer.value.component.clone());
    let described = match component {
        Some(component) => api.schemas.of(&inspector, &component).await.ok().flatten(),
        None => None,
    };
    let schema = Schema::read(described.as_deref());
    let rented = api.sources.editor.rent(hand(ask)?, (tenant, offer), change, schema).await;
    let (bot, outcome) = match rented {
        Ok((bot, reloaded)) => (bot.to_string(), Ok(reloaded)),
        Err(error) => (String::new(), Err(error)),
    };
    let Tagged { view: edit, generation } = edited(ask, outcome.map(|reloaded| own_steps(ask, &bot, reloaded)))?;
    Ok(Tagged { view: RentedView { bot, edit }, generation })
}

/// Changes what is to be chosen of a bot.
pub(super) async fn change(api: &Api, ask: &Ask, change: BotChange) -> Result<Tagged<EditView>, Problem> {
    let bot = ask.bot()?;
    let schema = schema_of(api, &bot);
    let changed = api.sources.editor.change(hand(ask)?, bot.clone(), change, schema).await;
    edited(ask, changed.map(|reloaded| own_steps(ask, bot.as_str(), reloaded)))
}

/// Gives a rented bot up.
pub(super) async fn give_up(api: &Api, ask: &Ask) -> Result<Tagged<EditView>, Problem> {
    let bot = ask.bot()?;
    let given_up = api.sources.editor.give_up(hand(ask)?, bot.clone()).await;
    edited(ask, given_up.map(|reloaded| own_steps(ask, bot.as_str(), reloaded)))
}

/// Shows what is to be chosen of a bot.
pub(super) async fn settings(api: &Api, ask: &Ask) -> Result<SettingsView, Problem> {
    let bot = ask.bot()?;
    let seen = api.sources.editor.sheet(ask.scope().clone(), bot.clone()).await;
    let Sheet { origin, tenant, offer, settings, connector, secrets } = match seen {
        Ok(sheet) => sheet,
        Err(error) => return Err(super::configuration::refused(ask, error)),
    };
    let schema = schema_of(api, &bot);
    let set = |keys: Vec<(String, bool)>| keys.into_iter().map(|(name, set)| SetView { name, set }).collect();
    let origin = match origin {
        Origin::OwnFile => "own-file",
        Origin::Config => "config",
        Origin::Directory => "directory",
    };
    let settings = schema.without_passwords(settings);
    let form = form(&schema, &settings);
    let (connector, secrets) = (set(connector), set(secrets));
    Ok(SettingsView { origin: origin.to_owned(), tenant, offer, form, settings, connector, secrets })
}

/// Returns what a bot says its settings may be; what serves says it.
pub(super) fn schema_of(api: &Api, bot: &BotName) -> Schema {
    let manifest = api.sources.bots.get(bot).and_then(|status| status.manifest);
    Schema::read(manifest.as_ref().and_then(|manifest| manifest.settings_schema.as_deref()))
}

pub(super) fn hand(ask: &Ask) -> Result<Hand, Problem> {
    Ok(Hand { who: who(ask), scope: ask.scope().clone(), based_on: optional_match(ask)? })
}

/// Returns the generation that a client has seen, where it says so.
pub(super) fn optional_match(ask: &Ask) -> Result<Option<u64>, Problem> {
    if ask.headers.contains_key(http::header::IF_MATCH) { based_on(&ask.headers) } else { Ok(None) }
}

/// Leaves to a tenant the steps that are about its own bot: what else came into force meanwhile is others' business.
fn own_steps(ask: &Ask, bot: &str, mut reloaded: Reloaded) -> Reloaded {
    if *ask.scope() != Scope::Host {
        let starts = [format!("bot {bot}:"), format!("connector {bot}/")];
        reloaded.steps.retain(|step| starts.iter().any(|start| step.starts_with(start)));
        reloaded.needs_restart.clear();
    }
    reloaded
}

impl Api {
    /// Returns the bots that were rented, as the generation in force says, each with its offer.
    pub(super) fn rented(&self) -> Vec<(BotName, String)> {
        self.sources.editor.archive().latest().map(|latest| latest.rented()).unwrap_or_default()
    }

    /// Returns the bots that were rented by one offer.
    pub(super) fn rented_by(&self, offer: &OfferName) -> Vec<String> {
        let by = self.rented().into_iter().filter(|(_, by)| by == offer.as_str());
        by.map(|(bot, _)| bot.to_string()).collect()
    }
}
