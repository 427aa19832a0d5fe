//! What every handler works with, and the list of all endpoints.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::header::ACCEPT;
use http::{HeaderMap, StatusCode};
use hyper::body::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ask::Ask;
use super::endpoint::{Access, Answers, Endpoint};
use super::figures::{self, FiguresView};
use super::health::{Facts, Health, Verdict};
use super::offers::Schemas;
use super::problem::{Answer, answer, json};
use super::records::Records;
use super::stream::Streams;
use super::upload::Uploads;
use super::{
    Sources, accounts, alerts, audit, bots, buffers, components, configuration, connectors, degraded, errors, events,
    history, incidents, injection, kept, letters, logs, offers, openapi, operate, pages, places, probes, queue,
    rentals, router, sends, session, status, story, tenants, tokens,
};
use crate::access::{Caller, Role, Scope};
use crate::id::BotName;
use crate::metrics::exposition::Format;

/// A rendering of the metrics is shown again for this many times as long as it took to make. So at most a tenth of the
/// thread goes into it however often somebody asks, and a small one is as good as fresh.
const RENDERING_REUSE_FACTOR: u32 = 10;

/// What every handler works with.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) sources: Sources,
    pub(super) records: Records,
    pub(super) streams: Streams,
    /// Requests that change something, which go on to their end though their client may leave.
    pub(super) changes: TaskTracker,
    pub(super) uploads: Uploads,
    pub(super) schemas: Schemas,
    started: Instant,
    rendering: Mutex<Option<Rendering>>,
}

#[derive(Debug)]
struct Rendering {
    text: Bytes,
    fresh_until: Instant,
}

/// Whether something is so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
struct StatusView {
    /// `ok` or `unavailable`.
    status: Verdict,
}

/// Returns everything that is served.
pub(super) fn endpoints() -> Vec<Endpoint> {
    let mut all = health();
    all.extend(openapi::endpoints());
    all.extend(status::endpoints());
    all.extend(bots::endpoints());
    all.extend(operate::endpoints());
    all.extend(connectors::endpoints());
    all.extend(events::endpoints());
    all.extend(kept::endpoints());
    all.extend(injection::endpoints());
    all.extend(router::endpoints());
    all.extend(story::endpoints());
    all.extend(letters::endpoints());
    all.extend(sends::endpoints());
    all.extend(buffers::endpoints());
    all.extend(queue::endpoints());
    all.extend(incidents::endpoints());
    all.extend(errors::endpoints());
    all.extend(alerts::endpoints());
    all.extend(probes::endpoints());
    all.extend(history::endpoints());
    all.extend(logs::endpoints());
    all.extend(configuration::endpoints());
    all.extend(session::endpoints());
    all.extend(accounts::endpoints());
    all.extend(tokens::endpoints());
    all.extend(audit::endpoints());
    all.extend(offers::endpoints());
    all.extend(rentals::endpoints());
    all.extend(tenants::endpoints());
    all.extend(places::endpoints());
    all.extend(components::endpoints());
    all.extend(pages::endpoints());
    all
}

/// How the host is. Load balancers have no token, and what they are answered names nothing.
fn health() -> Vec<Endpoint> {
    use schemars::SchemaGenerator;
    vec![
        Endpoint::get("/health", Access::Anybody, "how the host is; 503 where nothing can be taken in")
            .takes_anything()
            .raw(Answers::Json(SchemaGenerator::subschema_for::<Health>), async |api, ask| Ok(api.health(&ask))),
        Endpoint::get("/health/live", Access::Anybody, "that it answers")
            .takes_anything()
            .json(async |_, _| Ok(StatusView { status: Verdict::Ok })),
        Endpoint::get("/health/ready", Access::Anybody, "whether it takes events; 503 where it does not")
            .takes_anything()
            .raw(Answers::Json(SchemaGenerator::subschema_for::<StatusView>), async |api, _| Ok(api.ready())),
        Endpoint::get("/health/metrics", Access::Host(Role::Viewer), "what is measured of the host as a whole")
            .json(async |api, _| Ok(api.figures())),
        Endpoint::get("/metrics", Access::Host(Role::Viewer), "everything that is measured, for Prometheus")
            .takes_anything()
            .raw(Answers::Text("text/plain"), async |api, ask| Ok(api.metrics(&ask.headers))),
    ]
}

impl Api {
    /// `stopping` ends what would go on for ever; `changes` knows when what was begun has ended.
    pub(super) fn new(sources: Sources, stopping: CancellationToken, changes: TaskTracker) -> Self {
        let records = Records::new(sources.store.clone());
        let streams = Streams::new(stopping);
        Self {
            sources,
            records,
            streams,
            changes,
            uploads: Uploads::default(),
            schemas: Schemas::default(),
            started: Instant::now(),
            rendering: Mutex::new(None),
        }
    }

    /// Returns whether a bot is there and within a scope.
    pub(super) fn covers(&self, scope: &Scope, bot: &BotName) -> bool {
        self.sources.bots.get(bot).is_some_and(|status| scope.covers(&status.tenant))
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

    /// Returns how the host is, for whoever asks.
    pub(super) fn assessed(&self, visitor: Option<&Caller>) -> Health {
        Health::assess(self.started.elapsed(), &self.facts(), visitor)
    }

    fn health(&self, ask: &Ask) -> Answer {
        let health = self.assessed(ask.visitor.as_ref());
        json(status_of(health.status), &health)
    }

    fn ready(&self) -> Answer {
        let status = if *self.sources.is_ready.borrow() { Verdict::Ok } else { Verdict::Unavailable };
        json(status_of(status), &StatusView { status })
    }

    /// Returns what is measured of the host as a whole.
    pub(super) fn figures(&self) -> FiguresView {
        figures::all(&self.rendering())
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
    pub(super) fn rendering(&self) -> Bytes {
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
}

fn status_of(verdict: Verdict) -> StatusCode {
    match verdict {
        Verdict::Ok | Verdict::Degraded => StatusCode::OK,
        Verdict::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}
