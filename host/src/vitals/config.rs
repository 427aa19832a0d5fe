//! `[vitals]`: how often is measured, and what is probed.

use std::time::Duration;

use serde::Deserialize;

use crate::units::positive_duration;

/// `[vitals]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VitalsConfig {
    /// How often everything is measured and every rule is looked at. Not zero. Default: 10 s.
    #[serde(deserialize_with = "positive_duration")]
    pub interval: Duration,
}

impl Default for VitalsConfig {
    fn default() -> Self {
        Self { interval: Duration::from_secs(10) }
    }
}
