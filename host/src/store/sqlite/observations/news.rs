//! The rows of alerts: which are up, and every turn. As JSON whose words may be of a newer host: what is not understood is left out.

use std::collections::BTreeSet;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::super::checksum::Checksum;
use super::super::{from_column, to_column};
use crate::action::Severity;
use crate::alert::{Alert, News, Source, Standing, Turn};
use crate::clock::Timestamp;
use crate::store::observations::{AlertQuery, StoredNews};

/// Turns that are kept.
const KEPT_MAX: u64 = 20_000;
/// Turns of one source's alerts that are kept, so that one that flaps does not take the others' history along.
const KEPT_OF_SOURCE_MAX: u32 = 1_000;
/// How long they are kept.
const KEPT_MS: u64 = 90 * 86_400_000;

/// What a turn means for what is up.
#[derive(Debug, Clone)]
pub(super) enum UpChange {
    Up(Box<Alert>),
    Gone,
}

impl UpChange {
    pub(super) fn of(news: &News) -> Self {
        match news.turn {
            Turn::Resolved { .. } => Self::Gone,
            Turn::Fired | Turn::Changed | Turn::Acknowledged => Self::Up(Box::new(news.alert.clone())),
        }
    }
}

/// An alert as it is stored, without its source and key.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct AlertBody {
    severity: String,
    summary: String,
    details: Vec<(String, String)>,
    standing: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_at_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<Vec<String>>,
    raised_ms: u64,
    refreshed_ms: u64,
    times: u64,
}

/// A turn as it is stored.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct NewsBody {
    turn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_by: Option<String>,
    alert: AlertBody,
}

impl AlertBody {
    fn of(alert: &Alert) -> Self {
        let (standing, by, by_at_ms) = match &alert.standing {
            Standing::Pending => ("pending", None, None),
            Standing::Firing => ("firing", None, None),
            Standing::Acknowledged { by, at } => ("acknowledged", Some(by.clone()), Some(at.as_millis())),
        };
        let severity = match alert.severity {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        };
        Self {
            severity: severity.to_owned(),
            summary: alert.summary.clone(),
            details: alert.details.clone(),
            standing: standing.to_owned(),
            by,
            by_at_ms,
            channels: alert.channels.as_ref().map(|names| names.iter().map(ToString::to_string).collect()),
            raised_ms: alert.raised_at.as_millis(),
            refreshed_ms: alert.refreshed_at.as_millis(),
            times: alert.times,
        }
    }

    /// None: it is in words of a newer host.
    fn into_alert(self, source: Source, key: &str) -> Option<Alert> {
        let severity = match self.severity.as_str() {
            "info" => Severity::Info,
            "warning" => Severity::Warning,
            "critical" => Severity::Critical,
            _ => return None,
        };
        let standing = match self.standing.as_str() {
            "pending" => Standing::Pending,
            "firing" => Standing::Firing,
            "acknowledged" => Standing::Acknowledged {
                by: self.by.unwrap_or_default(),
                at: Timestamp::from_millis(self.by_at_ms.unwrap_or_default()),
            },
            _ => return None,
        };
        let raised_at = Timestamp::from_millis(self.raised_ms);
        let mut alert = Alert::new(source, key, severity, self.summary, raised_at).with_details(self.details);
        alert.standing = standing;
        // A channel by a name that this host does not take is none that it could tell.
        let channels = |names: Vec<String>| names.iter().filter_map(|name| name.parse().ok()).collect();
        alert.channels = self.channels.map(channels);
        alert.refreshed_at = Timestamp::from_millis(self.refreshed_ms);
        alert.times = self.times;
        Some(alert)
    }
}

impl NewsBody {
    fn of(news: &News) -> Self {
        let resolved_by = match &news.turn {
            Turn::Resolved { by } => by.clone(),
            Turn::Fired | Turn::Changed | Turn::Acknowledged => None,
        };
        Self { turn: news.turn.as_str().to_owned(), resolved_by, alert: AlertBody::of(&news.alert) }
    }

    fn into_news(self, at: Timestamp, source: Source, key: &str) -> Option<News> {
        let turn = match self.turn.as_str() {
            "fired" => Turn::Fired,
            "changed" => Turn::Changed,
            "acknowledged" => Turn::Acknowledged,
            "resolved" => Turn::Resolved { by: self.resolved_by },
            _ => return None,
        };
        Some(News { at, turn, alert: self.alert.into_alert(source, key)? })
    }
}

fn source_text(source: &Source) -> &str {
    match source {
        Source::Host => "",
        Source::Bot(bot) => bot.as_str(),
    }
}

fn source_of(text: &str) -> Option<Source> {
    if text.is_empty() { Some(Source::Host) } else { text.parse().ok().map(Source::Bot) }
}

fn up_checksum(source: &str, key: &str, body: &str) -> i64 {
    Checksum::of("alerts_up").text(source).text(key).text(body).finish()
}

pub(in crate::store) fn news_checksum(at_ms: i64, source: &str, key: &str, body: &str) -> i64 {
    Checksum::of("alert_news").number(at_ms).text(source).text(key).text(body).finish()
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts and numbers are always JSON")
}

/// Says whether an alert is up, and how.
pub(super) fn set_up(connection: &Connection, source: &Source, key: &str, change: &UpChange) -> rusqlite::Result<()> {
    let source = source_text(source);
    match change {
        UpChange::Up(alert) => {
            let body = json(&AlertBody::of(alert));
            connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO alerts_up(source, key, checksum, body) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute((source, key, up_checksum(source, key, &body), &body))
                .map(drop)
        }
        UpChange::Gone => connection
            .prepare_cached("DELETE FROM alerts_up WHERE source = ?1 AND key = ?2")?
            .execute((source, key))
            .map(drop),
    }
}

/// Appends turns, and forgets what is too much or too old by it.
pub(super) fn append(connection: &Connection, batch: &[News], now: Timestamp) -> rusqlite::Result<()> {
    let mut sources = BTreeSet::new();
    for news in batch {
        let (source, key) = (source_text(&news.alert.source), news.alert.key.as_str());
        let (at_ms, body) = (to_column(news.at.as_millis()), json(&NewsBody::of(news)));
        connection
            .prepare_cached("INSERT INTO alert_news(at_ms, source, key, checksum, body) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute((at_ms, source, key, news_checksum(at_ms, source, key, &body), &body))?;
        set_up(connection, &news.alert.source, key, &UpChange::of(news))?;
        sources.insert(source);
    }
    for source in sources {
        connection
            .prepare_cached(
                "DELETE FROM alert_news WHERE source = ?1
                   AND id <= (SELECT id FROM alert_news WHERE source = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
            )?
            .execute((source, KEPT_OF_SOURCE_MAX))?;
    }
    let count: u64 = connection.query_row("SELECT count(*) FROM alert_news", (), |row| row.get(0)).map(from_column)?;
    let excess = to_column(count.saturating_sub(KEPT_MAX));
    connection
        .prepare_cached("DELETE FROM alert_news WHERE id IN (SELECT id FROM alert_news ORDER BY id LIMIT ?1)")?
        .execute([excess])?;
    // Numbers grow with time, so the old ones are the first: no more of them is looked at than goes.
    let oldest = to_column(now.as_millis().saturating_sub(KEPT_MS));
    connection
        .prepare_cached(
            "DELETE FROM alert_news WHERE id < (SELECT id FROM alert_news WHERE at_ms >= ?1 ORDER BY id LIMIT 1)",
        )?
        .execute([oldest])
        .map(drop)
}

/// Returns the alerts that are up, the oldest first, and how many rows cannot be trusted.
pub(super) fn up(connection: &Connection) -> rusqlite::Result<(Vec<Alert>, u64)> {
    let mut statement = connection.prepare_cached("SELECT source, key, checksum, body FROM alerts_up")?;
    let mut rows = statement.query(())?;
    let (mut alerts, mut unfit) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let (source, key, checksum, body): (String, String, i64, String) = row.try_into()?;
        if up_checksum(&source, &key, &body) != checksum {
            unfit += 1;
            continue;
        }
        let body: Option<AlertBody> = serde_json::from_str(&body).ok();
        alerts.extend(source_of(&source).zip(body).and_then(|(source, body)| body.into_alert(source, &key)));
    }
    alerts.sort_by_key(|alert| alert.raised_at);
    Ok((alerts, unfit))
}

/// Returns turns, the newest first, and how many rows cannot be trusted.
pub(super) fn list(connection: &Connection, query: &AlertQuery) -> rusqlite::Result<(Vec<StoredNews>, u64)> {
    let mut statement = connection.prepare_cached(
        "SELECT id, at_ms, source, key, checksum, body FROM alert_news
         WHERE id < ?1 AND (?2 IS NULL OR source = ?2) AND (?3 IS NULL OR key = ?3) AND at_ms >= ?4 AND at_ms < ?5
         ORDER BY id DESC LIMIT ?6",
    )?;
    let moment = |moment: Option<Timestamp>, or| moment.map_or(or, |moment| to_column(moment.as_millis()));
    let mut rows = statement.query((
        query.before.map_or(i64::MAX, to_column),
        query.source.as_ref().map(source_text),
        &query.key,
        moment(query.since, 0),
        moment(query.until, i64::MAX),
        query.limit,
    ))?;
    let (mut found, mut unfit) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let (id, at_ms, source, key, checksum, body): (i64, i64, String, String, i64, String) = row.try_into()?;
        if news_checksum(at_ms, &source, &key, &body) != checksum {
            unfit += 1;
            continue;
        }
        let body: Option<NewsBody> = serde_json::from_str(&body).ok();
        let at = Timestamp::from_millis(from_column(at_ms));
        let news = source_of(&source).zip(body).and_then(|(source, body)| body.into_news(at, source, &key));
        found.extend(news.map(|news| StoredNews { id: from_column(id), news }));
    }
    Ok((found, unfit))
}
