//! `/api/v1/alerts`: which alerts are up, one of them, and what the operator says of it.

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::problem::{Answer, Problem, json};
use super::query::Query;
use crate::action::Severity;
use crate::alert::{Alert, AlertId, Alerts, NotUp, Source, Standing};
use crate::clock::Timestamp;
use crate::id::BotName;

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

/// What the operator says of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AlertVerb {
    /// Somebody looks after it.
    Acknowledge,
    /// It is over.
    Resolve,
}

/// Lists what is up: the worst first, of equals the oldest first.
pub(super) fn list(alerts: &Alerts, query: &Query) -> Result<Answer, Problem> {
    let (bot, severity) = (query.name::<BotName>("bot")?, query.name::<Severity>("severity")?);
    let is_wanted = |alert: &Alert| {
        severity.is_none_or(|severity| alert.severity >= severity)
            && bot.as_ref().is_none_or(|bot| matches!(&alert.source, Source::Bot(own) if own == bot))
    };
    let active = alerts.active().into_iter().filter(is_wanted).map(AlertView::from);
    Ok(json(StatusCode::OK, &active.collect::<Vec<_>>()))
}

/// Shows one that is up.
pub(super) fn one(alerts: &Alerts, id: AlertId) -> Result<Answer, Problem> {
    let alert = alerts.active().into_iter().find(|alert| alert.id == id).ok_or_else(|| absent(NotUp(id)))?;
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

fn absent(NotUp(id): NotUp) -> Problem {
    Problem::Absent(format!("no alert {id} is up, or it is pending; GET /api/v1/alerts lists them"))
}
