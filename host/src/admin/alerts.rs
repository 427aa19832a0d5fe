//! `/api/v1/alerts`: which alerts are up and were, what the operator says of one, and the channels on which people are told.

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::problem::{Answer, Problem, json};
use super::query::Query;
use super::records::Records;
use crate::action::Severity;
use crate::alert::channel::ChannelError;
use crate::alert::notifier::{ChannelStatus, NotifierHandle};
use crate::alert::{Alert, AlertId, Alerts, News, NotUp, Source, Standing, Turn};
use crate::clock::Timestamp;
use crate::id::{BotName, ChannelName};
use crate::store::observations::{AlertQuery, Observations, StoredNews};

/// Who says something of an alert where nobody says who.
const SOMEBODY: &str = "operator";

/// One alert as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
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

/// Lists what is up: the worst first, of equals the oldest first. What is pending, where that is asked for, comes last.
pub(super) fn list(alerts: &Alerts, query: &Query) -> Result<Answer, Problem> {
    let (bot, severity) = (query.name::<BotName>("bot")?, query.name::<Severity>("severity")?);
    let is_wanted = |alert: &Alert| {
        severity.is_none_or(|severity| alert.severity >= severity)
            && bot.as_ref().is_none_or(|bot| matches!(&alert.source, Source::Bot(own) if own == bot))
    };
    let pending = if query.flag("pending")? { alerts.pending() } else { Vec::new() };
    let listed = alerts.active().into_iter().chain(pending).filter(is_wanted).map(AlertView::from);
    Ok(json(StatusCode::OK, &listed.collect::<Vec<_>>()))
}

/// Shows one that is up.
pub(super) fn one(alerts: &Alerts, id: AlertId) -> Result<Answer, Problem> {
    let alert = alerts
        .active()
        .into_iter()
        .chain(alerts.pending())
        .find(|alert| alert.id == id)
        .ok_or_else(|| absent(NotUp(id)))?;
    Ok(json(StatusCode::OK, &AlertView::from(alert)))
}

/// Notes what the operator says of one, and shows it as it is then; one that is over, as it was.
pub(super) fn change(alerts: &Alerts, id: AlertId, verb: AlertVerb, query: &Query) -> Result<Answer, Problem> {
    let by = query.text("by").unwrap_or(SOMEBODY);
    let now = Timestamp::now();
    let changed = match verb {
        AlertVerb::Acknowledge => alerts.acknowledge(id, by, now),
        AlertVerb::Resolve => alerts.resolve(id, by, now),
    };
    let mut view = AlertView::from(changed.map_err(absent)?);
    if verb == AlertVerb::Resolve {
        view.state = "resolved".to_owned();
    }
    tracing::info!(alert = view.key, by, ?verb, "the operator has answered an alert");
    Ok(json(StatusCode::OK, &view))
}

/// Lists turns of alerts, the newest first.
pub(super) async fn history(records: &Records, observations: &Observations, query: &Query) -> Result<Answer, Problem> {
    let now = Timestamp::now();
    let question = AlertQuery {
        source: query.name::<BotName>("bot")?.map(Source::Bot),
        key: query.text("key").map(str::to_owned),
        since: query.moment("since", now)?,
        until: query.moment("until", now)?,
        before: query.number("before")?,
        limit: query.limit()?,
    };
    let found = records.ask(observations.alert_history(question)).await?;
    Ok(json(StatusCode::OK, &found.into_iter().map(NewsView::from).collect::<Vec<_>>()))
}

/// Lists the channels and how they fare.
pub(super) fn channels(notifier: &NotifierHandle) -> Answer {
    json(StatusCode::OK, &notifier.statuses().into_iter().map(ChannelView::from).collect::<Vec<_>>())
}

/// Sends a test notice by a channel. The answer comes when the platform has taken or refused it.
pub(super) async fn test(notifier: &NotifierHandle, channel: &ChannelName) -> Result<Answer, Problem> {
    match notifier.test(channel).await {
        Ok(delivered) => {
            let elapsed_ms = u64::try_from(delivered.elapsed.as_millis()).unwrap_or(u64::MAX);
            Ok(json(StatusCode::OK, &serde_json::json!({ "elapsed_ms": elapsed_ms, "answer": delivered.answer })))
        }
        Err(error @ ChannelError::Unknown { .. }) => Err(Problem::Absent(error.to_string())),
        Err(error) => Err(Problem::Unavailable(format!("channel {channel} did not take the test notice: {error}"))),
    }
}

fn absent(NotUp(id): NotUp) -> Problem {
    Problem::Absent(format!("no alert {id} is up, or it is pending; GET /api/v1/alerts lists them"))
}
