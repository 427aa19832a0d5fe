//! `/api/v1/offers`: what tenants may rent, and with which form.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::Api;
use super::ask::Ask;
use super::configuration::{edited, who};
use super::endpoint::{Access, Endpoint, Listing, Tagged};
use super::parameter::EDIT;
use super::problem::Problem;
use super::rentals::{AppliedView, optional_match};
use crate::access::Role;
use crate::bot::manifest::ComponentName;
use crate::connector::{AskedKey, AskedKind};
use crate::generation::EditError;
use crate::id::{ContentHash, OfferName};
use crate::offer::{Audience, Field, Offer, Schema, form};
use crate::supervisor::{InspectError, Inspector};

/// Components whose schemas are remembered: more offers than that are asked each time.
const SCHEMAS_MAX: usize = 64;

/// One offer as those see it to whom it is made.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OfferView {
    /// Its name, by which a bot is rented.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// The same in Chinese.
    pub title_zh: Option<String>,
    /// What it does.
    pub summary: String,
    /// The same in Chinese.
    pub summary_zh: Option<String>,
    /// The type of the connector that a rented bot gets.
    pub connector: Option<String>,
    /// The keys of that connector to fill in.
    pub ask: Vec<AskedView>,
    /// The secrets to fill in, by name.
    pub ask_secrets: Vec<String>,
    /// Most bots of it that one tenant has.
    pub per_tenant_max: u32,
    /// The settings, as a form; filled in with what a rented bot begins with.
    pub form: Vec<Field>,
    /// Why it cannot be rented at the moment.
    pub unavailable: Option<String>,
    /// For the operator: the component.
    pub component: Option<String>,
    /// For the operator: the tenants that it is made to; none: all.
    pub tenants: Option<Vec<String>>,
    /// For the operator: the bots that were rented by it.
    pub bots: Vec<String>,
}

/// A key to fill in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AskedView {
    /// Its name.
    pub name: String,
    /// Whether it is never shown again.
    pub secret: bool,
}

impl From<&AskedKey> for AskedView {
    fn from(key: &AskedKey) -> Self {
        Self { name: key.name.to_owned(), secret: key.kind == AskedKind::Secret }
    }
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/offers", Access::Tenant(Role::Viewer), "what may be rented")
            .list(async |api, ask| list(&api, &ask).await.map(Listing::whole)),
        Endpoint::post(
            "/api/v1/offers/{offer}/apply",
            Access::Host(Role::Admin),
            "brings an offer as it is now to the bots that were rented by it",
        )
        .takes(EDIT)
        .tagged(async |api, ask| apply(&api, &ask).await),
    ]
}

/// Lists the offers that are made to whoever asks.
pub(super) async fn list(api: &Api, ask: &Ask) -> Result<Vec<OfferView>, Problem> {
    let inspector = api.sources.control.inspector().await?;
    let scope = ask.scope();
    let mut views = Vec::new();
    for (name, offer) in &inspector.config().offers {
        if scope.tenant().is_none_or(|tenant| offer.value.audience.includes(tenant)) {
            let described = api.schemas.of(&inspector, &offer.value.component).await;
            let mut view = view(name, &offer.value, described);
            if scope.tenant().is_none() {
                view.component = Some(offer.value.component.to_string());
                view.tenants = match &offer.value.audience {
                    Audience::Everybody => None,
                    Audience::Tenants(tenants) => Some(tenants.iter().map(ToString::to_string).collect()),
                };
                view.bots = api.rented_by(name);
            }
            views.push(view);
        }
    }
    Ok(views)
}

fn view(name: &OfferName, offer: &Offer, described: Result<Option<String>, InspectError>) -> OfferView {
    let schema = Schema::read(described.as_ref().ok().and_then(Option::as_deref));
    let texts = offer.texts.clone();
    OfferView {
        name: name.to_string(),
        title: texts.title,
        title_zh: texts.title_zh,
        summary: texts.summary,
        summary_zh: texts.summary_zh,
        connector: offer.connector.as_ref().map(|connector| connector.kind().to_owned()),
        ask: offer.asked.iter().map(AskedView::from).collect(),
        ask_secrets: offer.asked_secrets.iter().cloned().collect(),
        per_tenant_max: offer.per_tenant_max.get(),
        form: form(&schema, &offer.settings),
        // Why is the operator's business.
        unavailable: described.err().map(|_| "the bot is not ready to be rented; ask the operator".to_owned()),
        ..OfferView::default()
    }
}

/// What components said lately of the settings that they take: to ask one takes an instance of it, and whoever looks at the offers asks all.
#[derive(Debug, Default)]
pub(super) struct Schemas(Mutex<VecDeque<(ContentHash, Option<String>)>>);

impl Schemas {
    /// Returns what a component of the bots' directory says of its settings.
    ///
    /// # Errors
    ///
    /// [`InspectError`].
    pub(super) async fn of(&self, inspector: &Inspector, file: &ComponentName) -> Result<Option<String>, InspectError> {
        let content = inspector.content(file);
        if let Some(schema) = content.and_then(|content| self.known(content)) {
            return Ok(schema);
        }
        let schema = inspector.describe(file).await?.settings_schema.map(|schema| schema.to_string());
        // What was read is of this content: anything else is refused.
        content.into_iter().for_each(|content| self.keep(content, schema.clone()));
        Ok(schema)
    }

    fn known(&self, content: ContentHash) -> Option<Option<String>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(known, _)| *known == content).map(|(_, schema)| schema.clone())
    }

    fn keep(&self, content: ContentHash, schema: Option<String>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(known, _)| *known != content);
        kept.push_front((content, schema));
        kept.truncate(SCHEMAS_MAX);
    }
}

async fn apply(api: &Api, ask: &Ask) -> Result<Tagged<AppliedView>, Problem> {
    let absent = |error| Problem::Absent(format!("{error}"));
    let offer: OfferName = ask.part("offer").parse().map_err(absent)?;
    let applied = api.sources.editor.apply_offer(who(ask), optional_match(ask)?, offer).await;
    let (bots, outcome): (Vec<_>, Result<_, EditError>) = match applied {
        Ok((bots, reloaded)) => (bots, Ok(reloaded)),
        Err(error) => (Vec::new(), Err(error)),
    };
    let Tagged { view: edit, generation } = edited(ask, outcome)?;
    Ok(Tagged { view: AppliedView { bots: bots.iter().map(ToString::to_string).collect(), edit }, generation })
}
