//! `/api/v1/probes`: what is probed, and how it answered last.

use http::StatusCode;
use serde::Serialize;

use super::problem::{Answer, json};
use crate::vitals::{ProbeStatus, Probes};

/// One probe as the API shows it.
#[derive(Debug, Serialize)]
struct ProbeView {
    name: String,
    /// Whether it answered as it should.
    is_up: bool,
    /// Why not.
    error: Option<String>,
    /// When, in RFC 3339.
    at: String,
    elapsed_ms: u64,
}

impl From<ProbeStatus> for ProbeView {
    fn from(ProbeStatus { name, error, at, elapsed }: ProbeStatus) -> Self {
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        Self { name: name.to_string(), is_up: error.is_none(), error, at: at.to_string(), elapsed_ms }
    }
}

/// Lists those that were made at least once.
pub(super) fn list(probes: &Probes) -> Answer {
    json(StatusCode::OK, &probes.statuses().into_iter().map(ProbeView::from).collect::<Vec<_>>())
}
