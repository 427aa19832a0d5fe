//! `/api/v1/faults`: what happened to bots, and what was done about it. `/api/v1/condemned`: which of their versions are not tried
//! again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::Api;
use super::ask::Ask;
use super::endpoint::{Access, Endpoint, Listing};
use super::parameter::{BEFORE, BOT, Kind, LIMIT, Parameter};
use super::problem::Problem;
use super::query::Query;
use crate::access::Role;
use crate::logs::escape;
use crate::store::incidents::{Condemned, IncidentFilter, IncidentQuery, StoredIncident};

/// One incident as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct IncidentView {
    /// Its number; `before` takes it.
    pub id: u64,
    /// When, in RFC 3339.
    pub at: String,
    /// To which bot.
    pub bot: String,
    /// What: a kind of fault, or `started`, `restarted`, `reloaded`, `rolled-back`, `breaker-open`, `breaker-closed`,
    /// `quarantined`, `reset`, `stopped`, `refused`.
    pub kind: String,
    /// Whether an attempt or an `init` failed. A fault may be called `refused` too.
    pub is_fault: bool,
    /// The event that was at work.
    pub event: Option<String>,
    /// Which attempt at it, counted from 1. 0: none.
    pub attempt: u32,
    /// SHA-256 of the component that it happened to, in hexadecimal.
    pub component: Option<String>,
    /// What went wrong, or more of what happened.
    pub message: String,
    /// The guest's functions, innermost first.
    pub backtrace: Vec<String>,
    /// What was done about it.
    pub strategy: String,
}

impl From<StoredIncident> for IncidentView {
    fn from(StoredIncident { id, incident }: StoredIncident) -> Self {
        Self {
            id,
            at: incident.at.to_string(),
            bot: incident.bot.to_string(),
            kind: incident.kind.as_str().to_owned(),
            is_fault: incident.kind.is_fault(),
            event: incident.event.map(|id| id.to_string()),
            attempt: incident.attempt,
            component: incident.component.map(|hash| hash.to_string()),
            message: incident.message,
            backtrace: incident.backtrace.lines().map(str::to_owned).collect(),
            strategy: incident.strategy,
        }
    }
}

/// One version that is not tried again, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CondemnedView {
    /// The bot.
    pub bot: String,
    /// SHA-256 of the component, in hexadecimal.
    pub component: String,
    /// Why.
    pub reason: String,
    /// Since when, in RFC 3339.
    pub at: String,
}

impl From<Condemned> for CondemnedView {
    fn from(condemned: Condemned) -> Self {
        Self {
            bot: condemned.bot.to_string(),
            component: condemned.component.to_string(),
            reason: condemned.reason,
            at: condemned.at.to_string(),
        }
    }
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    const KIND: Parameter = Parameter::new("kind", Kind::OneOf(&["all", "faults", "life"]), "faults, or all else");
    let access = Access::Tenant(Role::Viewer);
    vec![
        Endpoint::get("/api/v1/faults", access, "what happened to bots, the newest first")
            .takes(&[BOT, KIND, LIMIT, BEFORE])
            .list(async |api, ask| list(&api, &ask).await),
        Endpoint::get("/api/v1/condemned", access, "versions that are not tried again")
            .takes(&[BOT])
            .list(async |api, ask| condemned(&api, &ask).await.map(Listing::whole)),
    ]
}

/// Lists what happened, the newest first.
pub(super) async fn list(api: &Api, ask: &Ask) -> Result<Listing<IncidentView>, Problem> {
    let limit = ask.query.limit()?;
    let (bot, kinds, before) = (ask.asked_bot(api)?, kinds(&ask.query)?, ask.query.number("before")?);
    let question = IncidentQuery { bot, kinds, before, limit: limit + 1 };
    let found = api.records.ask(api.records.store().incidents(question)).await?;
    let views: Vec<_> = found.into_iter().map(IncidentView::from).collect();
    Ok(Listing::page(views, limit, "before", |last| last.id.to_string()))
}

/// Lists the versions that are not tried again.
pub(super) async fn condemned(api: &Api, ask: &Ask) -> Result<Vec<CondemnedView>, Problem> {
    let bot = ask.asked_bot(api)?;
    let found = api.records.ask(api.records.store().condemned()).await?;
    let found = found.into_iter().filter(|condemned| bot.as_ref().is_none_or(|bot| condemned.bot == *bot));
    Ok(found.map(CondemnedView::from).collect())
}

fn kinds(query: &Query) -> Result<IncidentFilter, Problem> {
    match query.text("kind") {
        None | Some("all") => Ok(IncidentFilter::All),
        Some("faults") => Ok(IncidentFilter::Faults),
        Some("life") => Ok(IncidentFilter::Life),
        Some(other) => {
            Err(Problem::BadRequest(format!("`kind` must be `all`, `faults` or `life`, not {}", escape(other))))
        }
    }
}
