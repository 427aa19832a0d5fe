//! `/api/v1/errors`: what went wrong, grouped, and how much of it. `/health/errors` is how much.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::Api;
use super::ask::Ask;
use super::endpoint::{Access, Endpoint, Listing};
use super::parameter::{BOT, Kind, LIMIT, Parameter, SINCE};
use super::problem::Problem;
use crate::access::Role;
use crate::action::Severity;
use crate::clock::Timestamp;
use crate::errors::{ErrorQuery, Group, Statistics, WINDOW_MAX};

/// One group as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ErrorView {
    /// Names it, in a later process as well.
    pub id: String,
    /// `info`, `warning` or `critical`: how bad it was at its worst.
    pub severity: String,
    /// The part of the program.
    pub component: String,
    /// What it is.
    pub kind: String,
    /// What was wrong the last time.
    pub message: String,
    /// The bot, if it was one bot's.
    pub bot: Option<String>,
    /// The connector, if it was one connector's.
    pub connector: Option<String>,
    /// More about the last time, by name.
    #[schemars(with = "Vec<Vec<String>>")]
    pub context: Vec<(String, String)>,
    /// How often.
    pub count: u64,
    /// When for the first time since the host began, in RFC 3339.
    pub first_at: String,
    /// When for the last time, in RFC 3339.
    pub last_at: String,
}

impl From<Group> for ErrorView {
    fn from(group: Group) -> Self {
        Self {
            id: group.id.to_string(),
            severity: group.severity.as_str().to_owned(),
            component: group.component,
            kind: group.kind,
            message: group.message,
            bot: group.bot,
            connector: group.connector,
            context: group.context,
            count: group.count,
            first_at: group.first_at.to_string(),
            last_at: group.last_at.to_string(),
        }
    }
}

/// How much went wrong, as the API shows it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StatisticsView {
    /// How long the window is, in seconds.
    pub window_seconds: u64,
    /// Since the host began.
    pub total: u64,
    /// Within the window.
    pub in_window: u64,
    /// Within the window, a minute.
    pub per_minute: f64,
    /// Within the window.
    pub warnings: u64,
    /// Within the window.
    pub criticals: u64,
    /// Within the window, by part of the program, the most first.
    #[schemars(with = "Vec<Vec<serde_json::Value>>")]
    pub by_component: Vec<(String, u64)>,
    /// Groups that are kept.
    pub groups: usize,
    /// Occurrences that had no group of their own, for want of room.
    pub crowded_out: u64,
}

impl StatisticsView {
    fn new(window: Duration, statistics: Statistics) -> Self {
        Self {
            window_seconds: window.as_secs(),
            total: statistics.total,
            in_window: statistics.in_window,
            per_minute: statistics.per_minute,
            warnings: statistics.by_severity[Severity::Warning as usize],
            criticals: statistics.by_severity[Severity::Critical as usize],
            by_component: statistics.by_component,
            groups: statistics.groups,
            crowded_out: statistics.crowded_out,
        }
    }
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    const SEVERITY: Parameter =
        Parameter::new("severity", Kind::OneOf(&["info", "warning", "critical"]), "as bad as this, or worse");
    const COMPONENT: Parameter = Parameter::new("component", Kind::Text, "of this part of the host only");
    const WINDOW: Parameter = Parameter::new("window", Kind::Span, "of the last so long; an hour at most");
    vec![
        Endpoint::get("/api/v1/errors", Access::Tenant(Role::Viewer), "what went wrong since the host began, grouped")
            .takes(&[SEVERITY, COMPONENT, BOT, SINCE, LIMIT])
            .list(async |api, ask| list(&api, &ask).map(Listing::whole)),
        Endpoint::get("/api/v1/errors/{error}", Access::Host(Role::Viewer), "one of them")
            .json(async |api, ask| one(&api, &ask)),
        Endpoint::get("/health/errors", Access::Host(Role::Viewer), "how much went wrong")
            .takes(&[WINDOW])
            .json(async |api, ask| statistics(&api, &ask)),
    ]
}

/// Lists the groups that fit, the latest first.
pub(super) fn list(api: &Api, ask: &Ask) -> Result<Vec<ErrorView>, Problem> {
    let query = &ask.query;
    let question = ErrorQuery {
        severity: query.name::<Severity>("severity")?,
        component: query.text("component").map(str::to_owned),
        bot: ask.asked_bot(api)?.map(|bot| bot.to_string()),
        since: query.moment("since", Timestamp::now())?,
    };
    let found = api.sources.observed.errors.list(&question, query.limit()? as usize);
    Ok(found.into_iter().map(ErrorView::from).collect())
}

/// Shows one.
fn one(api: &Api, ask: &Ask) -> Result<ErrorView, Problem> {
    let id = ask.id("error")?;
    let absent =
        || Problem::Absent(format!("no error {id} is known since this host began; GET /api/v1/errors lists them"));
    Ok(ErrorView::from(api.sources.observed.errors.get(id).ok_or_else(absent)?))
}

/// Shows how much went wrong.
fn statistics(api: &Api, ask: &Ask) -> Result<StatisticsView, Problem> {
    let window = ask.query.span("window")?.unwrap_or(WINDOW_MAX).min(WINDOW_MAX);
    let statistics = api.sources.observed.errors.statistics(window, Timestamp::now());
    Ok(StatisticsView::new(window, statistics))
}
