//! `[telemetry]`: where traces and metrics are sent.

use serde::Deserialize;

/// `[telemetry]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {}
