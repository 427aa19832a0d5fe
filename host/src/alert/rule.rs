//! When a measurement is a reason for an alert. Pure: what is measured and the time come in as arguments.

use serde::Deserialize;

/// `[alerts.rules.NAME]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {}
