//! `/api/v1/status`: the host at a glance, once or whenever something of it changes.

use std::time::Duration;

use futures_util::stream;
use hyper::body::Bytes;
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::api::Api;
use super::ask::Ask;
use super::endpoint::{Access, Answers, Endpoint};
use super::health::Health;
use super::parameter::FOLLOW;
use super::problem::{Answer, Problem, json};
use super::queue::QueueView;
use super::stream::{SILENT_MAX, event};
use crate::access::Role;
use crate::action::Severity;
use crate::clock::Timestamp;

/// How often a follower is told at most.
pub(super) const TELL_EVERY: Duration = Duration::from_secs(1);

/// The host at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusView {
    /// When, in RFC 3339.
    pub at: String,
    /// The host's version.
    pub version: String,
    /// How it is, and what of it does not work as it should.
    pub health: Health,
    /// The generation of the configuration that is in force; none: nothing was recorded yet.
    pub generation: Option<u64>,
    /// Events that wait and are at work.
    pub queue: QueueView,
    /// Actions that wait for their platforms.
    pub outbox: usize,
    /// Alerts that are up.
    pub alerts: AlertsView,
}

/// How many alerts are up.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AlertsView {
    /// Things to know.
    pub info: usize,
    /// Things to look after.
    pub warning: usize,
    /// Things to look after now.
    pub critical: usize,
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/api/v1/status",
            Access::Host(Role::Viewer),
            "the host at a glance; followed, whenever it changes",
        )
        .takes(&[FOLLOW])
        .raw(Answers::JsonOrEvents(SchemaGenerator::subschema_for::<StatusView>), async |api, ask| status(&api, &ask)),
    ]
}

fn status(api: &std::sync::Arc<Api>, ask: &Ask) -> Result<Answer, Problem> {
    if !ask.query.flag("follow")? {
        return Ok(json(http::StatusCode::OK, &overview(api, ask)));
    }
    let place = api.streams.place(&ask.from)?;
    let (api, caller) = (std::sync::Arc::clone(api), ask.visitor.clone());
    let look = move || {
        let mut view = glance(&api, caller.as_ref());
        // What changes by itself is no change.
        let at = std::mem::take(&mut view.at);
        let uptime = std::mem::take(&mut view.health.uptime_seconds);
        let compared = serde_json::to_string(&view).unwrap_or_default();
        (view.at, view.health.uptime_seconds) = (at, uptime);
        (compared, vec![event("status", &serde_json::to_string(&view).unwrap_or_default())])
    };
    Ok(place.follow(changes(look)))
}

/// Returns the host at a glance.
pub(super) fn overview(api: &Api, ask: &Ask) -> StatusView {
    glance(api, ask.visitor.as_ref())
}

fn glance(api: &Api, caller: Option<&crate::access::Caller>) -> StatusView {
    let mut alerts = AlertsView::default();
    for alert in api.sources.alerts.active() {
        match alert.severity {
            Severity::Info => alerts.info += 1,
            Severity::Warning => alerts.warning += 1,
            Severity::Critical => alerts.critical += 1,
        }
    }
    let queue = QueueView { bots: Vec::new(), ..QueueView::from(api.records.store().queue()) };
    StatusView {
        at: Timestamp::now().to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        health: api.assessed(caller),
        generation: api.sources.editor.archive().latest().map(|latest| latest.number),
        queue,
        outbox: api.records.store().outbox().total(),
        alerts,
    }
}

/// Returns the pieces of an answer that tells whenever what `look` returns first has changed; what it returns second is told then. Looks
/// at most once in [`TELL_EVERY`], and only when the client takes more.
pub(super) fn changes<C: PartialEq + Send + 'static>(
    look: impl FnMut() -> (C, Vec<Bytes>) + Send + 'static,
) -> impl futures_util::Stream<Item = Bytes> + Send {
    let begun = (look, None::<C>, Instant::now());
    stream::unfold(begun, async |(mut look, mut told, mut said)| {
        loop {
            if told.is_some() {
                tokio::time::sleep(TELL_EVERY).await;
            }
            let (now, pieces) = look();
            if told.as_ref() != Some(&now) {
                told = Some(now);
                let whole = Bytes::from(pieces.concat());
                return Some((whole, (look, told, Instant::now())));
            }
            if said.elapsed() >= SILENT_MAX {
                said = Instant::now();
                return Some((Bytes::from_static(b": nothing new\n\n"), (look, told, said)));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures_util::StreamExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_does_not_change_is_not_told_again() {
        let mut states = VecDeque::from([1, 1, 1, 2, 2]);
        let look = move || {
            let state = states.pop_front().unwrap_or(3);
            (state, vec![event("status", &state.to_string())])
        };
        let told: Vec<_> = changes(look).take(4).collect().await;
        let told: Vec<_> = told.iter().map(|piece| std::str::from_utf8(piece).unwrap()).collect();
        let of = |state| format!("event: status\ndata: {state}\n\n");
        assert_eq!(told[..3], [of(1), of(2), of(3)]);
        assert_eq!(told[3], ": nothing new\n\n", "a client hears that somebody is there");
    }
}
