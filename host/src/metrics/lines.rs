//! Log lines that are missing: a bot's beyond its budget, and those that the log itself could not write.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::Metrics;
use crate::id::BotName;

/// A counter that somebody else keeps.
#[derive(Debug, Clone, Default)]
pub(super) struct LostLogLines(Arc<OnceLock<Arc<AtomicU64>>>);

impl EncodeMetric for LostLogLines {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let lines = self.0.get().map_or(0, |lines| lines.load(Ordering::Relaxed));
        encoder.encode_counter::<NoLabelSet, _, u64>(&lines, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

impl Metrics {
    /// Counts log lines of a bot that were dropped.
    pub fn dropped_log_lines(&self, bot: &BotName, lines: u64) {
        if lines > 0 {
            self.own.dropped_log_lines.count(bot.as_str(), [], lines);
        }
    }

    /// Exposes `lines`, which goes on counting, as the log lines that did not reach standard error. Only the first call
    /// has an effect: a process has one log.
    pub fn expose_lost_log_lines(&self, lines: Arc<AtomicU64>) {
        let _ = self.own.lost_log_lines.0.set(lines);
    }
}
