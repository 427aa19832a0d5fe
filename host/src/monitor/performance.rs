//! One line a minute about how the host does, for the file that holds nothing else.

use std::time::Duration;

use crate::metrics::snapshot::{Histogram, Snapshot, Value};

/// How often a line is written.
pub(super) const EVERY: Duration = Duration::from_secs(60);
/// The target of these lines.
const TARGET: &str = "performance";

/// How the host did between two snapshots.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Performance {
    events_per_second: f64,
    attempts_per_second: f64,
    failures_per_second: f64,
    deliveries_per_second: f64,
    /// How long attempts took, of 99 in 100 at most.
    elapsed_p99_ms: Option<f64>,
    /// How long events waited for an attempt, of 99 in 100 at most.
    waited_p99_ms: Option<f64>,
    queued: f64,
    outbox: f64,
    instances: f64,
    processor: Option<f64>,
    resident_bytes: Option<f64>,
    wal_bytes: f64,
}

impl Performance {
    /// Compares two snapshots, of which the first is the earlier one.
    pub(super) fn between(before: &Snapshot, now: &Snapshot) -> Self {
        let seconds = now.at.saturating_since(before.at).as_secs_f64().max(1.0);
        let rate = |name: &str, is_wanted: fn(Option<&str>) -> bool| {
            let grown = sum(now, name, is_wanted) - sum(before, name, is_wanted);
            (grown / seconds).max(0.0)
        };
        let any: fn(Option<&str>) -> bool = |_| true;
        let quantile = |name: &str| Some(histogram(now, name).since(&histogram(before, name)).quantile(0.99)? * 1e3);
        Self {
            events_per_second: rate("bothost_event_taken_over_total", any),
            attempts_per_second: rate("bothost_attempt_ended_total", any),
            failures_per_second: rate("bothost_attempt_ended_total", |outcome| outcome != Some("ok")),
            deliveries_per_second: rate("bothost_delivery_ended_total", any),
            elapsed_p99_ms: quantile("bothost_attempt_elapsed_seconds"),
            waited_p99_ms: quantile("bothost_attempt_waited_seconds"),
            queued: sum(now, "bothost_queue_depth_events", any),
            outbox: sum(now, "bothost_outbox_depth_actions", any),
            instances: sum(now, "bothost_instance_live", any),
            processor: number(now, "bothost_process_cpu_ratio"),
            resident_bytes: number(now, "bothost_process_resident_bytes"),
            wal_bytes: sum(now, "bothost_store_wal_bytes", any),
        }
    }

    /// Writes the line.
    pub(super) fn write(&self) {
        let round = |number: f64| (number * 100.0).round() / 100.0;
        tracing::info!(
            target: TARGET,
            events_per_second = round(self.events_per_second),
            attempts_per_second = round(self.attempts_per_second),
            failures_per_second = round(self.failures_per_second),
            deliveries_per_second = round(self.deliveries_per_second),
            elapsed_p99_ms = self.elapsed_p99_ms.map(round),
            waited_p99_ms = self.waited_p99_ms.map(round),
            queued = self.queued as u64,
            outbox = self.outbox as u64,
            instances = self.instances as u64,
            processor = self.processor.map(round),
            resident_bytes = self.resident_bytes.map(|bytes| bytes as u64),
            wal_bytes = self.wal_bytes as u64,
            "performance"
        );
    }
}

/// Adds up the series of a name whose label `outcome` is wanted.
fn sum(snapshot: &Snapshot, name: &str, is_wanted: fn(Option<&str>) -> bool) -> f64 {
    let Some(family) = snapshot.families.get(name) else { return 0.0 };
    let wanted = family.series.iter().filter(|series| is_wanted(series.label("outcome")));
    let numbers = wanted.filter_map(|series| match series.value {
        Value::Number(number) => Some(number),
        Value::Histogram(_) => None,
    });
    numbers.sum()
}

fn number(snapshot: &Snapshot, name: &str) -> Option<f64> {
    match snapshot.families.get(name)?.series.first()?.value {
        Value::Number(number) => Some(number),
        Value::Histogram(_) => None,
    }
}

fn histogram(snapshot: &Snapshot, name: &str) -> Histogram {
    let mut all = Histogram::default();
    for series in snapshot.families.get(name).into_iter().flat_map(|family| &family.series) {
        if let Value::Histogram(histogram) = &series.value {
            all.add(histogram);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::EventClass;
    use crate::metrics::{Attempt, Metrics};

    #[test]
    fn a_line_is_of_what_happened_since_the_last() {
        let (metrics, bot) = (Metrics::new(), "echo".parse().unwrap());
        let attempt = |outcome| {
            let (waited, elapsed) = (Duration::from_millis(3), Duration::from_millis(30));
            metrics.attempt_ended(&bot, &Attempt { class: EventClass::Message, outcome, waited, elapsed, fuel: 5_000 });
        };
        attempt("ok");
        let before = metrics.snapshot(Timestamp::from_millis(0));
        (0..60).for_each(|_| attempt("ok"));
        (0..30).for_each(|_| attempt("trap"));
        metrics.queue_depth(7);
        let performance = Performance::between(&before, &metrics.snapshot(Timestamp::from_millis(60_000)));
        assert_eq!((performance.attempts_per_second, performance.failures_per_second), (1.5, 0.5));
        assert_eq!((performance.queued, performance.resident_bytes), (7.0, None));
        assert!(performance.elapsed_p99_ms.is_some_and(|ms| (25.0..100.0).contains(&ms)), "{performance:?}");
        let idle = metrics.snapshot(Timestamp::from_millis(120_000));
        assert_eq!(Performance::between(&idle, &idle).elapsed_p99_ms, None);
    }
}
