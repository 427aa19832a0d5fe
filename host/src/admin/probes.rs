//! `/api/v1/probes`: what is probed, and how it answered last.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::Api;
use super::endpoint::{Access, Endpoint};
use crate::access::Role;
use crate::vitals::ProbeStatus;

/// One probe as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProbeView {
    /// Its name.
    pub name: String,
    /// Whether it answered as it should.
    pub is_up: bool,
    /// Why not.
    pub error: Option<String>,
    /// When, in RFC 3339.
    pub at: String,
    /// How long it took.
    pub elapsed_ms: u64,
}

impl From<ProbeStatus> for ProbeView {
    fn from(ProbeStatus { name, error, at, elapsed }: ProbeStatus) -> Self {
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        Self { name: name.to_string(), is_up: error.is_none(), error, at: at.to_string(), elapsed_ms }
    }
}

/// Lists those that were made at least once.
pub(super) fn list(api: &Api) -> Vec<ProbeView> {
    api.sources.observed.probes.statuses().into_iter().map(ProbeView::from).collect()
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/probes", Access::Host(Role::Viewer), "what is probed, and how it answered last")
            .json(async |api, _| Ok(list(&api))),
    ]
}
