//! `/health/metrics`: what is measured of the host as a whole, as JSON. What is measured of bots and connectors is in `/metrics`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::metrics::snapshot::{Snapshot, Value};

/// Families of which each series is one bot's or one connector's.
const OWNERS: [&str; 3] = ["bot", "connector", "probe"];

/// What is measured, as the API shows it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FiguresView {
    /// When, in RFC 3339.
    pub at: String,
    /// Each measurement by its name.
    pub metrics: BTreeMap<String, f64>,
}

/// Shows each measurement by its name, with its labels where it has some.
pub(super) fn all(exposition: &[u8]) -> FiguresView {
    let snapshot = Snapshot::read(&String::from_utf8_lossy(exposition), Timestamp::now());
    let mut figures: BTreeMap<String, f64> = BTreeMap::new();
    for (name, family) in &snapshot.families {
        for series in family.series.iter().filter(|series| OWNERS.iter().all(|owner| series.label(owner).is_none())) {
            if let Value::Number(number) = series.value
                && number.is_finite()
            {
                let labels: Vec<_> =
                    series.labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
                let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
                figures.insert(format!("{name}{labels}"), number);
            }
        }
    }
    FiguresView { at: snapshot.at.to_string(), metrics: figures }
}
