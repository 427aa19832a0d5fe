//! `/api/v1/alerts`: which alerts are up and were, what the operator says of one, and the channels on which people are told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::Api;
use super::ask::Ask;
use super::endpoint::{Access, Endpoint, Listing};
use super::parameter::{BEFORE, BOT, Kind, LIMIT, Parameter, SINCE, UNTIL};
use super::problem::Problem;
use crate::access::{Role, Scope, Way};
use crate::action::Severity;
use crate::alert::channel::ChannelError;
use crate::alert::notifier::ChannelStatus;
use crate::alert::rule::RuleView;
use crate::alert::{Alert, AlertId, News, NotUp, Source, Standing, Turn};
use crate::clock::Timestamp;
use crate::id::{BotName, ChannelName};
use crate::store::observations::{AlertQuery, StoredNews};

/// Who says something of an alert where nobody says who.
const SOMEBODY: &str = "operator";

/// One alert as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AlertView {
    /// Names it, the next time as well.
    pub id: String,
    /// The bot that raised it; none for the host's own.
    pub bot: Option<String>,
    /// What tells it apart from its source's others.
    pub key: String,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// `pending`, `firing` or `acknowledged`; of one that is over, `resolved`.
    pub state: String,
    /// Who looks after it.
    pub acknowledged_by: Option<String>,
    /// One line for people.
    pub summary: String,
    /// More for people.
    #[schemars(with = "Vec<Vec<String>>")]
    pub details: Vec<(String, String)>,
    /// When it came up, in RFC 3339.
    pub raised_at: String,
    /// When it was last raised, in RFC 3339.
    pub refreshed_at: String,
    /// How often it was raised since it came up.
    pub times: u64,
}

impl From<Alert> for AlertView {
    fn from(alert: Alert) -> Self {
        let (state, acknowledged_by) = match alert.standing {
            Standing::Pending => ("pending", None),
            Standing::Firing => ("firing", None),
            Standing::Acknowledged { by, .. } => ("acknowledged", Some(by)),
        };
        Self {
            id: alert.id.to_string(),
            bot: match alert.source {
                Source::Host => None,
                Source::Bot(bot) => Some(bot.to_string()),
            },
            key: alert.key,
            severity: alert.severity.as_str().to_owned(),
            state: state.to_owned(),
            acknowledged_by,
            summary: alert.summary,
            details: alert.details,
            raised_at: alert.raised_at.to_string(),
            refreshed_at: alert.refreshed_at.to_string(),
            times: alert.times,
        }
    }
}

/// One turn of an alert as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NewsView {
    /// Its number; `before` takes it.
    pub id: u64,
    /// When, in RFC 3339.
    pub at: String,
    /// `fired`, `changed`, `acknowledged` or `resolved`.
    pub turn: String,
    /// Who said so; none where nobody had to.
    pub by: Option<String>,
    /// The alert after it; of one that was resolved, as it was last.
    pub alert: AlertView,
}

impl From<StoredNews> for NewsView {
    fn from(StoredNews { id, news: News { at, turn, alert } }: StoredNews) -> Self {
        let word = turn.as_str().to_owned();
        let mut alert = AlertView::from(alert);
        let by = match turn {
            Turn::Resolved { by } => {
                "resolved".clone_into(&mut alert.state);
                by
            }
            Turn::Acknowledged => alert.acknowledged_by.clone(),
            Turn::Fired | Turn::Changed => None,
        };
        Self { id, at: at.to_string(), turn: word, by, alert }
    }
}

/// One channel as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ChannelView {
    /// Its name.
    pub name: String,
    /// `webhook`, `slack`, `discord`, `telegram` or `email`.
    pub kind: String,
    /// Whether it is used.
    pub enabled: bool,
    /// Notices that wait.
    pub queued: usize,
    /// Notices that were delivered since the host or the channel began.
    pub sent: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Why the last of them did, until a notice is delivered.
    pub last_error: Option<String>,
    /// When a notice was last delivered, in RFC 3339.
    pub last_sent_at: Option<String>,
    /// Nothing is tried before, in RFC 3339, since it failed so often.
    pub open_until: Option<String>,
}

impl From<ChannelStatus> for ChannelView {
    fn from(status: ChannelStatus) -> Self {
        let ChannelStatus { name, kind, enabled, queued, sent, failed, last_error, last_sent_at, open_until } = status;
        Self {
            name: name.to_string(),
            kind: kind.to_owned(),
            enabled,
            queued,
            sent,
            failed,
            last_error,
            last_sent_at: last_sent_at.map(|at| at.to_string()),
            open_until: open_until.map(|at| at.to_string()),
        }
    }
}

/// What the operator says of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AlertVerb {
    /// Somebody looks after it.
    Acknowledge,
    /// It is over.
    Resolve,
}

const KEY: Parameter = Parameter::new("key", Kind::Text, "of alerts with this key only");
const SEVERITY: Parameter =
    Parameter::new("severity", Kind::OneOf(&["info", "warning", "critical"]), "as bad as this, or worse");
const PENDING: Parameter = Parameter::new("pending", Kind::Flag, "with those that are not up for long enough yet");
const BY: Parameter = Parameter::new("by", Kind::Text, "who says so, where a program does it for somebody");

/// What was asked of a channel came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TestView {
    /// How long the platform took.
    pub elapsed_ms: u64,
    /// What it said.
    pub answer: String,
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    let (look, act) = (Access::Tenant(Role::Viewer), Access::Tenant(Role::Operator));
    vec![
        Endpoint::get("/api/v1/alerts", look, "the alerts that are up, the worst first")
            .takes(&[Parameter { about: "of this bot only", ..BOT }, SEVERITY, PENDING])
            .list(async |api, ask| list(&api, &ask).map(Listing::whole)),
        Endpoint::get("/api/v1/alerts/{alert}", look, "one alert that is up").json(async |api, ask| one(&api, &ask)),
        Endpoint::post("/api/v1/alerts/{alert}/ack", act, "somebody looks after it")
            .takes(&[BY])
            .json(async |api, ask| change(&api, &ask, AlertVerb::Acknowledge)),
        Endpoint::post("/api/v1/alerts/{alert}/resolve", act, "it is over")
            .takes(&[BY])
            .json(async |api, ask| change(&api, &ask, AlertVerb::Resolve)),
        Endpoint::get("/api/v1/alerts/history", look, "what happened to alerts, the newest first")
            .takes(&[BOT, KEY, SINCE, UNTIL, BEFORE, LIMIT])
            .list(async |api, ask| history(&api, &ask).await),
        Endpoint::get("/api/v1/alerts/rules", Access::Host(Role::Viewer), "the rules and what they last saw")
            .json(async |api, _| Ok(rules(&api))),
        Endpoint::get("/api/v1/alerts/channels", Access::Host(Role::Viewer), "the channels on which people are told")
            .json(async |api, _| Ok(channels(&api))),
        Endpoint::post("/api/v1/alerts/channels/{channel}/test", Access::Host(Role::Operator), "a test notice, now")
            .json(async |api, ask| test(&api, &ask.id("channel")?).await),
    ]
}

/// Lists what is up: the worst first, of equals the oldest first. What is pending, where that is asked for, comes last.
pub(super) fn list(api: &Api, ask: &Ask) -> Result<Vec<AlertView>, Problem> {
    let (bot, severity) = (ask.query.name::<BotName>("bot")?, ask.query.name::<Severity>("severity")?);
    let alerts = &api.sources.alerts;
    let is_wanted = |alert: &Alert| {
        severity.is_none_or(|severity| alert.severity >= severity)
            && bot.as_ref().is_none_or(|bot| matches!(&alert.source, Source::Bot(own) if own == bot))
            && is_covered(api, ask, alert)
    };
    let pending = if ask.query.flag("pending")? { alerts.pending() } else { Vec::new() };
    Ok(alerts.active().into_iter().chain(pending).filter(is_wanted).map(AlertView::from).collect())
}

/// Returns whether whoever asks may see an alert: a tenant those of its bots, and that host's about them.
fn is_covered(api: &Api, ask: &Ask, alert: &Alert) -> bool {
    match (ask.scope(), &alert.source) {
        (Scope::Host, _) => true,
        (scope, Source::Bot(bot)) => api.covers(scope, bot),
        (scope, Source::Host) => bot_of(alert).is_some_and(|bot| api.covers(scope, &bot)),
    }
}

/// Returns the bot that an alert of the host is about.
fn bot_of(alert: &Alert) -> Option<BotName> {
    alert.details.iter().find(|(key, _)| key == "bot").and_then(|(_, name)| name.parse().ok())
}

/// Shows one that is up.
pub(super) fn one(api: &Api, ask: &Ask) -> Result<AlertView, Problem> {
    find(api, ask, ask.id("alert")?).map(AlertView::from)
}

fn find(api: &Api, ask: &Ask, id: AlertId) -> Result<Alert, Problem> {
    let alerts = &api.sources.alerts;
    let mut up = alerts.active().into_iter().chain(alerts.pending());
    let found = up.find(|alert| alert.id == id && is_covered(api, ask, alert));
    found.ok_or_else(|| absent(NotUp(id)))
}

/// Notes what the operator says of one, and shows it as it is then; one that is over, as it was.
pub(super) fn change(api: &Api, ask: &Ask, verb: AlertVerb) -> Result<AlertView, Problem> {
    let id = find(api, ask, ask.id("alert")?)?.id;
    let (alerts, now) = (&api.sources.alerts, Timestamp::now());
    let by = match ask.caller().way {
        Way::Session => &*ask.caller().name,
        Way::Socket | Way::Token => ask.query.text("by").unwrap_or(SOMEBODY),
    };
    let changed = match verb {
        AlertVerb::Acknowledge => alerts.acknowledge(id, by, now),
        AlertVerb::Resolve => alerts.resolve(id, by, now),
    };
    let mut view = AlertView::from(changed.map_err(absent)?);
    if verb == AlertVerb::Resolve {
        view.state = "resolved".to_owned();
    }
    tracing::info!(alert = view.key, by, ?verb, "the operator has answered an alert");
    Ok(view)
}

/// Lists turns of alerts, the newest first.
pub(super) async fn history(api: &Api, ask: &Ask) -> Result<Listing<NewsView>, Problem> {
    let (query, now) = (&ask.query, Timestamp::now());
    let limit = query.limit()?;
    let question = AlertQuery {
        source: ask.asked_bot(api)?.map(Source::Bot),
        key: query.text("key").map(str::to_owned),
        since: query.moment("since", now)?,
        until: query.moment("until", now)?,
        before: query.number("before")?,
        limit: limit + 1,
    };
    let found = api.records.ask(api.sources.observed.observations.alert_history(question)).await?;
    let views: Vec<_> = found.into_iter().map(NewsView::from).collect();
    Ok(Listing::page(views, limit, "before", |last| last.id.to_string()))
}

/// Lists the rules and what they last saw.
pub(super) fn rules(api: &Api) -> Vec<RuleView> {
    api.sources.observed.rules.borrow().to_vec()
}

/// Lists the channels and how they fare.
pub(super) fn channels(api: &Api) -> Vec<ChannelView> {
    api.sources.observed.notifier.statuses().into_iter().map(ChannelView::from).collect()
}

/// Sends a test notice by a channel. The answer comes when the platform has taken or refused it.
pub(super) async fn test(api: &Api, channel: &ChannelName) -> Result<TestView, Problem> {
    match api.sources.observed.notifier.test(channel).await {
        Ok(delivered) => {
            let elapsed_ms = u64::try_from(delivered.elapsed.as_millis()).unwrap_or(u64::MAX);
            Ok(TestView { elapsed_ms, answer: delivered.answer })
        }
        Err(error @ ChannelError::Unknown { .. }) => Err(Problem::Absent(error.to_string())),
        Err(error) => Err(Problem::Unavailable(format!("channel {channel} did not take the test notice: {error}"))),
    }
}

fn absent(NotUp(id): NotUp) -> Problem {
    Problem::Absent(format!("no alert {id} is up, or it is pending; GET /api/v1/alerts lists them"))
}
