//! What is measured, in the words of OpenTelemetry's protocol: every series of a snapshot under the name that a scrape shows, all
//! cumulative since the process began.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram as WireHistogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum,
};
use prost::Message;

use super::{Sender, scope, text};
use crate::metrics::snapshot::{Family, Histogram, Kind, Labels, Snapshot, Value};
use crate::telemetry::span::Moment;

/// Returns the request that sends this snapshot of a process that began at `begun`.
pub(in crate::telemetry) fn snapshot(sender: &Sender, snapshot: &Snapshot, begun: Moment) -> Bytes {
    let within = Within { begun: begun.as_nanos(), now: Moment::from(snapshot.at).max(begun).as_nanos() };
    let metrics = snapshot.families.iter().map(|(name, family)| Metric {
        name: name.to_string(),
        data: Some(within.data(family)),
        ..Metric::default()
    });
    let scope_metrics =
        vec![ScopeMetrics { scope: Some(scope()), metrics: metrics.collect(), ..ScopeMetrics::default() }];
    let own = ResourceMetrics { resource: Some(sender.resource()), scope_metrics, ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![own] }.encode_to_vec().into()
}

/// The time that is counted over, in nanoseconds since the epoch.
#[derive(Clone, Copy)]
struct Within {
    begun: u64,
    now: u64,
}

impl Within {
    fn data(self, family: &Family) -> Data {
        let cumulative = AggregationTemporality::Cumulative.into();
        match family.kind {
            Kind::Counter => Data::Sum(Sum {
                data_points: self.numbers(family),
                aggregation_temporality: cumulative,
                is_monotonic: true,
            }),
            Kind::Gauge => Data::Gauge(Gauge { data_points: self.numbers(family) }),
            Kind::Histogram => Data::Histogram(WireHistogram {
                data_points: self.histograms(family),
                aggregation_temporality: cumulative,
            }),
        }
    }

    fn numbers(self, family: &Family) -> Vec<NumberDataPoint> {
        let point = |labels, value| NumberDataPoint {
            attributes: attributes(labels),
            start_time_unix_nano: if family.kind == Kind::Counter { self.begun } else { 0 },
            time_unix_nano: self.now,
            value: Some(Number::AsDouble(value)),
            ..NumberDataPoint::default()
        };
        let series = family.series.iter().filter_map(|series| match &series.value {
            Value::Number(value) => Some(point(&series.labels, *value)),
            Value::Histogram(_) => None,
        });
        series.collect()
    }

    fn histograms(self, family: &Family) -> Vec<HistogramDataPoint> {
        let series = family.series.iter().filter_map(|series| match &series.value {
            Value::Histogram(histogram) => Some(self.histogram(&series.labels, histogram)),
            Value::Number(_) => None,
        });
        series.collect()
    }

    fn histogram(self, labels: &Labels, histogram: &Histogram) -> HistogramDataPoint {
        let (explicit_bounds, bucket_counts) = buckets(histogram);
        HistogramDataPoint {
            attributes: attributes(labels),
            start_time_unix_nano: self.begun,
            time_unix_nano: self.now,
            // The protocol wants the sum of the buckets here; read while it was counted in, the other number may differ by one.
            count: bucket_counts.iter().sum(),
            sum: Some(histogram.sum),
            bucket_counts,
            explicit_bounds,
            ..HistogramDataPoint::default()
        }
    }
}

/// Returns the finite bounds, and how many observations lie between each and the one before, with those above the last.
fn buckets(histogram: &Histogram) -> (Vec<f64>, Vec<u64>) {
    let bounds: Vec<_> = histogram.buckets.iter().map(|bucket| bucket.0).filter(|bound| bound.is_finite()).collect();
    let mut below = 0;
    let mut counts = Vec::with_capacity(bounds.len() + 1);
    for &(_, count) in &histogram.buckets {
        counts.push(count.saturating_sub(below));
        below = below.max(count);
    }
    if counts.len() == bounds.len() {
        counts.push(histogram.count.saturating_sub(below));
    }
    (bounds, counts)
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    labels.iter().map(|(name, value)| text(name, value)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::Timestamp;
    use crate::event::EventClass;
    use crate::metrics::{Attempt, Metrics};

    const NOW: Timestamp = Timestamp::from_millis(7_000);

    fn sent(metrics: &Metrics) -> Vec<Metric> {
        let begun = Timestamp::from_millis(2_000).into();
        let bytes = snapshot(&Sender::new("bothost"), &metrics.snapshot(NOW), begun);
        let mut request = ExportMetricsServiceRequest::decode(bytes).unwrap();
        request.resource_metrics.remove(0).scope_metrics.remove(0).metrics
    }

    fn found<'a>(metrics: &'a [Metric], name: &str) -> &'a Data {
        metrics.iter().find(|metric| metric.name == name).and_then(|metric| metric.data.as_ref()).unwrap()
    }

    #[test]
    fn counters_gauges_and_histograms_are_sent_as_what_they_are() {
        let metrics = Metrics::new();
        let bot = "echo".parse().unwrap();
        let (waited, elapsed) = (Duration::from_millis(3), Duration::from_millis(30));
        let attempt = Attempt { class: EventClass::Message, outcome: "ok", waited, elapsed, fuel: 5_000 };
        metrics.attempt_ended(&bot, &attempt);
        metrics.queue_depth(3);
        let sent = sent(&metrics);

        let Data::Sum(ended) = found(&sent, "bothost_attempt_ended_total") else { panic!("{sent:?}") };
        let point = &ended.data_points[0];
        assert!(ended.is_monotonic && ended.aggregation_temporality == AggregationTemporality::Cumulative as i32);
        assert_eq!(point.value, Some(Number::AsDouble(1.0)));
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (2_000_000_000, 7_000_000_000));
        assert!(point.attributes.contains(&text("bot", "echo")));

        let Data::Gauge(depth) = found(&sent, "bothost_queue_depth_events") else { panic!("{sent:?}") };
        assert_eq!(depth.data_points[0].value, Some(Number::AsDouble(3.0)));

        let Data::Histogram(fuel) = found(&sent, "bothost_attempt_fuel_units") else { panic!("{sent:?}") };
        let point = &fuel.data_points[0];
        assert_eq!((point.count, point.sum), (1, Some(5_000.0)));
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        let bucket = point.explicit_bounds.iter().position(|bound| *bound >= 5_000.0);
        assert_eq!(bucket.map(|bucket| point.bucket_counts[bucket]), Some(1));
    }

    proptest! {
        #[test]
        fn every_observation_is_in_one_bucket(counts in proptest::collection::vec(0_u64..1_000, 1..9)) {
            let mut below = 0;
            let last = counts.len() - 1;
            let buckets = counts.iter().enumerate().map(|(index, count)| {
                below += count;
                (if index == last { f64::INFINITY } else { index as f64 }, below)
            });
            let buckets: Vec<_> = buckets.collect();
            let histogram = Histogram { sum: 0.0, count: counts.iter().sum(), buckets };
            let (bounds, sent) = self::buckets(&histogram);
            prop_assert_eq!(bounds.len() + 1, sent.len());
            prop_assert_eq!(sent, counts);
        }
    }
}
