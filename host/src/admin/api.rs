//! Answers requests: from what the rest of the host publishes, at once, and from what the store keeps, which may take a while
//! and holds up nothing else. What there is to ask for is in `route.rs`.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::header::ACCEPT;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use hyper::body::Bytes;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::auth::Caller;
use super::health::{Facts, Health, Verdict};
use super::problem::{Answer, Problem, answer, json};
use super::query::Query;
use super::queue::QueueView;
use super::records::Records;
use super::route::Route;
use super::{
    Sources, alerts, configuration, degraded, errors, figures, history, incidents, letters, logs, operate, probes,
    sends, story,
};
use crate::bot::phase::{BotStatus, Phase};
use crate::connector::{Link, Status};
use crate::grants::ConnectorKey;
use crate::metrics::exposition::Format;

/// A rendering of the metrics is shown again for this many times as long as it took to make. So at most a tenth of the
/// thread goes into it however often somebody asks, and a small one is as good as fresh.
const RENDERING_REUSE_FACTOR: u32 = 10;

/// One bot as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
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

/// One connector as the API shows it.
#[derive(Serialize)]
struct ConnectorView<'a> {
    name: String,
    link: &'static str,
    detail: Option<&'a str>,
    since: String,
    connections: u64,
    /// When its platform last proved that it is there, in RFC 3339.
    last_success: Option<String>,
    /// When the last event came, in RFC 3339.
    last_event: Option<String>,
}

impl<'a> ConnectorView<'a> {
    fn new((key, status): &'a (ConnectorKey, Status)) -> Self {
        Self {
            name: key.to_string(),
            link: status.link.as_str(),
            detail: match &status.link {
                Link::BackingOff { error, .. } | Link::Contested { error, .. } | Link::AuthFailed { error } => {
                    Some(error)
                }
                Link::Connecting | Link::Connected | Link::Stopped => None,
            },
            since: status.since.to_string(),
            connections: status.connections,
            last_success: status.signs.last_success().map(|moment| moment.to_string()),
            last_event: status.signs.last_event().map(|moment| moment.to_string()),
        }
    }
}

/// Answers requests.
#[derive(Debug)]
pub(super) struct Api {
    sources: Sources,
    records: Records,
    logs: logs::Logs,
    started: Instant,
    rendering: Mutex<Option<Rendering>>,
}

#[derive(Debug)]
struct Rendering {
    text: Bytes,
    fresh_until: Instant,
}

impl Api {
    /// `stopping` ends what would go on for ever.
    pub(super) fn new(sources: Sources, stopping: CancellationToken) -> Self {
        let records = Records::new(sources.store.clone());
        let logs = logs::Logs::new(sources.logs.clone(), stopping);
        Self { sources, records, logs, started: Instant::now(), rendering: Mutex::new(None) }
    }

    /// Answers a request that may be served.
    pub(super) async fn answer(&self, caller: Caller, head: &Parts, body: Bytes) -> Answer {
        self.try_answer(caller, head, body).await.unwrap_or_else(Problem::into_answer)
    }

    async fn try_answer(&self, caller: Caller, head: &Parts, body: Bytes) -> Result<Answer, Problem> {
        let Parts { method, uri, headers, .. } = head;
        let route = Route::of(uri.path())?;
        if let Route::Bot(name) | Route::BotVerb(name, _) = &route {
            // So that a wrong method on a wrong path is a wrong path.
            self.bot(name)?;
        }
        let allow = route.allow();
        if !allow.split(", ").any(|allowed| *method == allowed) {
            return Err(Problem::MethodNotAllowed { allow });
        }
        let query = match route.parameters() {
            Some(known) => Query::parse(uri.query(), known)?,
            None => Query::default(),
        };
        let editor = &self.sources.editor;
        match route {
            Route::Health => Ok(self.health(caller)),
            Route::Live => Ok(json(StatusCode::OK, &serde_json::json!({ "status": "ok" }))),
            Route::Ready => Ok(self.ready()),
            Route::Metrics => Ok(self.metrics(headers)),
            Route::Bots => Ok(self.bots()),
            Route::Bot(name) => self.bot(&name),
            Route::BotVerb(name, verb) => operate::bot(&self.sources, &name, verb).await,
            Route::Reload => operate::reload(&self.sources, &query).await,
            Route::Incidents => incidents::list(&self.records, &query).await,
            Route::Condemned => incidents::condemned(&self.records, &query).await,
            Route::Connectors => Ok(self.connectors()),
            Route::Alerts => alerts::list(&self.sources.alerts, &query),
            Route::Alert(id) => alerts::one(&self.sources.alerts, id),
            Route::AlertVerb(id, verb) => alerts::change(&self.sources.alerts, id, verb, &query),
            Route::AlertHistory => alerts::history(&self.records, &self.sources.observed.observations, &query).await,
            Route::Rules => Ok(json(StatusCode::OK, &**self.sources.observed.rules.borrow())),
            Route::Channels => Ok(alerts::channels(&self.sources.observed.notifier)),
            Route::ChannelTest(name) => alerts::test(&self.sources.observed.notifier, &name).await,
            Route::Probes => Ok(probes::list(&self.sources.observed.probes)),
            Route::Errors => errors::list(&self.sources.observed.errors, &query),
            Route::Error(id) => errors::one(&self.sources.observed.errors, id),
            Route::ErrorStatistics => errors::statistics(&self.sources.observed.errors, &query),
            Route::Figures => Ok(figures::all(&self.rendering())),
            Route::MetricsHistory => history::metrics(&self.records, &self.sources.observed.history, &query).await,
            Route::MetricsNames => history::names(&self.records, &self.sources.observed.history).await,
            Route::Report => history::report(&self.records, &self.sources.observed.history, &query).await,
            Route::Logs => self.logs.answer(&query).await,
            Route::Queue => Ok(json(StatusCode::OK, &QueueView::from(self.records.store().queue()))),
            Route::Event(id) => story::one(&self.records, id).await,
            Route::DeadLetters => letters::list(&self.records, &query).await,
            Route::DeadLetter(id) if *method == Method::DELETE => letters::discard(&self.records, id, &query).await,
            Route::DeadLetter(id) => letters::one(&self.records, id, &query).await,
            Route::DeadLetterRetry(id) => letters::retry(&self.records, &self.sources.bots, id, &query).await,
            Route::Sends => sends::list(&self.records, &query).await,
            Route::Send(id) if *method == Method::DELETE => sends::give_up(&self.records, id).await,
            Route::Send(id) => sends::one(&self.records, id).await,
            Route::SendRetry(id) => sends::retry(&self.records, &self.sources.connectors, id).await,
            Route::Enable { bot, is_enabled } => configuration::enable(editor, &bot, is_enabled, &query).await,
            Route::Config if *method == Method::PUT => configuration::put(editor, headers, &query, body).await,
            Route::Config => configuration::text(editor).await,
            Route::Versions => configuration::versions(editor).await,
            Route::Version(version) => configuration::version(editor, version).await,
            Route::Diff(from, to) => configuration::diff(editor, from, to).await,
            Route::Rollback(number) => configuration::rollback(editor, number, &query).await,
            Route::Import => configuration::import(editor, &query, body).await,
            Route::Set => configuration::set(editor, &query, body).await,
            Route::Unset => configuration::unset(editor, &query).await,
        }
    }

    fn facts(&self) -> Facts {
        Facts {
            is_ready: *self.sources.is_ready.borrow(),
            bots: self.sources.bots.statuses(),
            connectors: self.sources.connectors.entries(),
            store: self.sources.store.health().borrow().clone(),
            alerts: self.sources.alerts.active(),
        }
    }

    fn health(&self, caller: Caller) -> Answer {
        let health = Health::assess(self.started.elapsed(), &self.facts(), caller);
        json(status_of(health.status), &health)
    }

    fn ready(&self) -> Answer {
        let verdict = if *self.sources.is_ready.borrow() { Verdict::Ok } else { Verdict::Unavailable };
        json(status_of(verdict), &serde_json::json!({ "status": verdict }))
    }

    fn metrics(&self, headers: &HeaderMap) -> Answer {
        let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
        let format = Format::accepted(accept);
        let text = self.rendering();
        let body = match format {
            Format::OpenMetrics => text,
            Format::Prometheus => Bytes::from(format.write(&String::from_utf8_lossy(&text)).into_owned()),
        };
        answer(StatusCode::OK, format.content_type(), body)
    }

    /// Returns the metrics in OpenMetrics, as they are or were a moment ago.
    fn rendering(&self) -> Bytes {
        let mut rendering = self.rendering.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        match &*rendering {
            Some(rendering) if begun < rendering.fresh_until => rendering.text.clone(),
            _ => {
                self.sources.metrics.degraded_parts(degraded::parts(&self.facts()).len());
                let text = Bytes::from(self.sources.metrics.render());
                let reuse: Duration = begun.elapsed() * RENDERING_REUSE_FACTOR;
                *rendering = Some(Rendering { text: text.clone(), fresh_until: Instant::now() + reuse });
                text
            }
        }
    }

    fn bots(&self) -> Answer {
        let bots = self.sources.bots.statuses();
        json(StatusCode::OK, &bots.iter().map(BotView::from).collect::<Vec<_>>())
    }

    fn bot(&self, name: &str) -> Result<Answer, Problem> {
        let bot = name.parse().ok().and_then(|name| self.sources.bots.get(&name));
        Ok(json(StatusCode::OK, &BotView::from(&bot.ok_or_else(|| operate::no_bot(name))?)))
    }

    fn connectors(&self) -> Answer {
        let connectors = self.sources.connectors.entries();
        json(StatusCode::OK, &connectors.iter().map(ConnectorView::new).collect::<Vec<_>>())
    }
}

fn status_of(verdict: Verdict) -> StatusCode {
    match verdict {
        Verdict::Ok | Verdict::Degraded => StatusCode::OK,
        Verdict::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}
