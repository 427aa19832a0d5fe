//! `/api/v1/bots`: how the bots are.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::Api;
use super::ask::Ask;
use super::endpoint::{Access, Answers, Endpoint, Listing};
use super::operate::no_bot;
use super::parameter::{AFTER, Kind, LIMIT, Parameter};
use super::problem::{Answer, Problem};
use super::status::changes;
use super::stream::event;
use crate::access::Role;
use crate::bot::phase::{BotStatus, Phase};
use crate::id::BotName;

/// Bots in a listing where nobody says how many.
const LIMIT_DEFAULT: u32 = super::query::LIMIT_MAX;

/// One bot as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BotView {
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub phase: String,
    /// Why it is there, where there is a reason to give, or why a newer version does not serve.
    pub detail: Option<String>,
    /// Since when, in RFC 3339.
    pub since: String,
    /// When it will be tried again, or when the watch of a new version ends; in RFC 3339.
    pub until: Option<String>,
    /// SHA-256 of the component that serves, in hexadecimal.
    pub component: Option<String>,
    /// The version that the component names.
    pub version: Option<String>,
    /// Why a newer version, or a newer entry, does not serve although an older one does.
    pub refused: Option<String>,
    /// Events that ended well.
    pub handled: u64,
    /// Attempts that did not.
    pub faults: u64,
    /// How often it was started again after it failed, since the host began.
    pub restarts: u64,
    /// Events that wait.
    pub queued: usize,
    /// Events at work.
    pub in_flight: usize,
    /// Whose it is.
    pub tenant: String,
    /// The most memory that a call of the version that serves had.
    pub memory_peak_bytes: u64,
    /// The memory that its calls may have; 0: no version serves.
    pub memory_limit_bytes: u64,
    /// The fuel that each of its calls may use; 0: no version serves.
    pub fuel_limit: u64,
}

impl From<&BotStatus> for BotView {
    fn from(status: &BotStatus) -> Self {
        Self {
            name: status.name.to_string(),
            phase: status.phase.as_str().to_owned(),
            detail: status.phase.detail().or(status.refused.as_deref()).map(str::to_owned),
            since: status.since.to_string(),
            until: until(&status.phase),
            component: status.component.map(|hash| hash.to_string()),
            version: status.version.clone(),
            refused: status.refused.clone(),
            handled: status.handled,
            faults: status.faults,
            restarts: status.restarts,
            queued: status.queued,
            in_flight: status.in_flight,
            tenant: status.tenant.to_string(),
            memory_peak_bytes: status.memory_peak,
            memory_limit_bytes: status.memory_limit,
            fuel_limit: status.fuel_limit,
        }
    }
}

fn until(phase: &Phase) -> Option<String> {
    match phase {
        Phase::Probation { until } | Phase::Backoff { until, .. } | Phase::Degraded { until, .. } => {
            Some(until.to_string())
        }
        _ => None,
    }
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    const PHASE: Parameter = Parameter::new("phase", Kind::Text, "in this phase only, such as `running`");
    const TEXT: Parameter = Parameter::new("text", Kind::Text, "whose name has this in it");
    vec![
        Endpoint::get("/api/v1/bots", Access::Tenant(Role::Viewer), "the bots, by name")
            .takes(&[TEXT, PHASE, AFTER, Parameter { about: "how many at most; 1000 where nobody says", ..LIMIT }])
            .list(async |api, ask| list(&api, &ask)),
        Endpoint::get(
            "/api/v1/changes",
            Access::Tenant(Role::Viewer),
            "the bots as they change, as server-sent events",
        )
        .raw(Answers::Text("text/event-stream"), async |api, ask| follow(&api, &ask)),
        Endpoint::get("/api/v1/bots/{bot}", Access::Bot(Role::Viewer), "one bot")
            .json(async |api, ask| one(&api, &ask)),
    ]
}

/// Lists the bots that whoever asks may see.
pub(super) fn list(api: &Api, ask: &Ask) -> Result<Listing<BotView>, Problem> {
    let query = &ask.query;
    let limit = query.text("limit").map_or(Ok(LIMIT_DEFAULT), |_| query.limit())?;
    let after = query.name::<BotName>("after")?;
    let (text, phase) = (query.text("text"), query.text("phase"));
    let is_wanted = |bot: &BotStatus| {
        after.as_ref().is_none_or(|after| bot.name > *after)
            && text.is_none_or(|text| bot.name.as_str().contains(text))
            && phase.is_none_or(|phase| bot.phase.as_str() == phase)
            && ask.scope().covers(&bot.tenant)
    };
    let bots = api.sources.bots.statuses().into_iter().filter(is_wanted);
    let views: Vec<_> = bots.take(limit as usize + 1).map(|bot| BotView::from(&bot)).collect();
    Ok(Listing::page(views, limit, "after", |last| last.name.clone()))
}

/// Tells which bots there are, and from then on each that changes, comes or goes: events `bot` and `gone`.
fn follow(api: &Arc<Api>, ask: &Ask) -> Result<Answer, Problem> {
    let place = api.streams.place(&ask.from)?;
    let (api, scope) = (Arc::clone(api), ask.scope().clone());
    let mut told: BTreeMap<BotName, BotStatus> = BTreeMap::new();
    let mut turn = 0_u64;
    Ok(place.follow(changes(move || {
        let bots = api.sources.bots.entries().into_iter().filter(|(_, bot)| scope.covers(&bot.tenant));
        let bots: BTreeMap<_, _> = bots.collect();
        let json = |bot: &BotStatus| serde_json::to_string(&BotView::from(bot)).unwrap_or_default();
        let changed = bots.iter().filter(|(name, bot)| told.get(*name) != Some(*bot));
        let mut pieces: Vec<_> = changed.map(|(_, bot)| event("bot", &json(bot))).collect();
        let gone = told.keys().filter(|name| !bots.contains_key(*name));
        pieces.extend(gone.map(|name| event("gone", &serde_json::json!({ "name": name.as_str() }).to_string())));
        turn += u64::from(!pieces.is_empty());
        told = bots;
        (turn, pieces)
    })))
}

/// Shows one.
pub(super) fn one(api: &Api, ask: &Ask) -> Result<BotView, Problem> {
    let bot = ask.bot()?;
    api.sources.bots.get(&bot).map(|bot| BotView::from(&bot)).ok_or_else(|| no_bot(bot.as_str()))
}
