//! What others hold of the metrics: a count for as long as an instance lives, a counter that the log keeps.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::Gauge;

/// Counts one instance as live for as long as it exists.
#[derive(Debug)]
pub struct LiveInstance(Gauge);

impl LiveInstance {
    pub(super) fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for LiveInstance {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A counter that somebody else keeps.
#[derive(Debug, Clone, Default)]
pub(super) struct LostLogLines(Arc<OnceLock<Arc<AtomicU64>>>);

impl LostLogLines {
    /// Has it be this one; only the first call has an effect.
    pub(super) fn keep(&self, lines: Arc<AtomicU64>) {
        let _ = self.0.set(lines);
    }
}

impl EncodeMetric for LostLogLines {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let lines = self.0.get().map_or(0, |lines| lines.load(Ordering::Relaxed));
        encoder.encode_counter::<NoLabelSet, _, u64>(&lines, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}
