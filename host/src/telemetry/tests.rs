//! The tasks that send, against a collector that takes, refuses, delays or says nothing.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use harness::collector::{Answer, FakeCollector};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;

use super::span::{Moment, Span, Stage};
use super::*;
use crate::event::EventClass;
use crate::id::EventId;

/// Longer than any step takes; reached only by a failing test.
const SOON: Duration = Duration::from_secs(20);
/// As many as leave at once.
const BATCH: u128 = 512;

fn config(collector: &FakeCollector, metrics: bool) -> TelemetryConfig {
    let endpoint = Some(format!("{}/base/", collector.url()).parse().unwrap());
    let headers = [("authorization".to_owned(), crate::secret::Secret::new("Bearer s3cret"))].into();
    TelemetryConfig { endpoint, headers, metrics, every: Duration::from_millis(50), ..TelemetryConfig::default() }
}

fn spawn(collector: &FakeCollector) -> (Telemetry, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new());
    (Telemetry::spawn(&config(collector, false), &metrics), metrics)
}

fn record(tracer: &Tracer, ids: impl Iterator<Item = u128>) {
    for id in ids {
        let stage = Stage::Receive { connector: None, class: EventClass::Timer, bots: 1, is_duplicate: false };
        let (event, now) = (EventId::from_bytes(id.to_be_bytes()), Moment::now());
        tracer.record(Span { event, begun: now, ended: now, stage });
    }
}

fn value(metrics: &Metrics, series: &str) -> u64 {
    let text = metrics.render();
    let line = text.lines().find(|line| line.starts_with(&format!("bothost_telemetry_spans_{series}")));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

async fn until(is_so: impl Fn() -> bool) {
    let waits = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, waits).await.expect("it happens");
}

fn ids(body: &Bytes) -> Vec<u128> {
    let request = ExportTraceServiceRequest::decode(body.clone()).unwrap();
    let spans = request.resource_spans.into_iter().flat_map(|own| own.scope_spans).flat_map(|scope| scope.spans);
    spans.map(|span| u128::from_be_bytes(span.trace_id.try_into().unwrap())).collect()
}

#[tokio::test]
async fn a_full_batch_leaves_at_once_and_the_rest_with_the_stop() {
    let collector = FakeCollector::willing().await;
    let (telemetry, metrics) = spawn(&collector);
    record(&telemetry.tracer(), 1..=BATCH + 3);
    until(|| value(&metrics, "sent_total{outcome=\"ok\"}") == BATCH as u64).await;
    telemetry.shutdown().await;
    let sent = collector.sent("/base/v1/traces");
    assert_eq!(sent.iter().flat_map(|sent| ids(&sent.body)).collect::<Vec<_>>(), (1..=BATCH + 3).collect::<Vec<_>>());
    assert_eq!(sent[0].headers["authorization"], "Bearer s3cret");
    assert_eq!(sent[0].headers["content-type"], "application/x-protobuf");
    assert_eq!(value(&metrics, "sent_total{outcome=\"ok\"}"), BATCH as u64 + 3);
}

#[tokio::test]
async fn what_is_not_taken_is_sent_again_when_the_collector_says() {
    let collector = FakeCollector::willing().await;
    collector.script(Answer::Status(503, Some("1")));
    let (telemetry, metrics) = spawn(&collector);
    record(&telemetry.tracer(), 1..=BATCH);
    until(|| value(&metrics, "sent_total{outcome=\"ok\"}") == BATCH as u64).await;
    let sent = collector.sent("/base/v1/traces");
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].body, sent[1].body, "the same spans with the same ids");
    // Timers may fire a moment early by another clock.
    assert!(sent[1].at - sent[0].at >= Duration::from_millis(950), "{:?}", sent[1].at - sent[0].at);
    telemetry.shutdown().await;
}

#[tokio::test]
async fn what_is_refused_or_taken_in_part_is_counted_and_not_sent_again() {
    let collector = FakeCollector::willing().await;
    collector.script(Answer::Status(400, None));
    let partial = ExportTracePartialSuccess { rejected_spans: 12, error_message: "too old".to_owned() };
    let answer = ExportTraceServiceResponse { partial_success: Some(partial) };
    collector.script(Answer::Taken(answer.encode_to_vec().into()));
    let (telemetry, metrics) = spawn(&collector);
    record(&telemetry.tracer(), 1..=2 * BATCH);
    until(|| value(&metrics, "sent_total{outcome=\"rejected\"}") == 12).await;
    telemetry.shutdown().await;
    assert_eq!(value(&metrics, "sent_total{outcome=\"refused\"}"), BATCH as u64);
    assert_eq!(value(&metrics, "sent_total{outcome=\"ok\"}"), BATCH as u64 - 12);
    assert_eq!(collector.sent("/base/v1/traces").len(), 2);
}

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn that_a_collector_fails_is_said_once_and_that_it_works_again_and_no_secret_is() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
    let subscriber = subscriber.with_writer(move || writer.clone()).finish();
    // The tasks of a test run on its own thread.
    let _guard = tracing::subscriber::set_default(subscriber);
    let collector = FakeCollector::willing().await;
    (0..3).for_each(|_| collector.script(Answer::Status(404, None)));
    let (telemetry, metrics) = spawn(&collector);
    record(&telemetry.tracer(), 1..=5 * BATCH);
    until(|| value(&metrics, "sent_total{outcome=\"ok\"}") == 2 * BATCH as u64).await;
    telemetry.shutdown().await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let said =
        |level: &str, what: &str| text.lines().filter(|line| line.contains(level) && line.contains(what)).count();
    assert_eq!(said(" WARN ", "the collector does not take what it is sent"), 1, "{text}");
    assert_eq!(said(" INFO ", "the collector takes what it is sent again"), 1, "{text}");
    assert!(!text.contains("s3cret"));
}

#[tokio::test]
async fn a_collector_that_never_answers_costs_room_for_so_many_spans_and_a_short_stop() {
    let collector = FakeCollector::start(Answer::Never).await;
    let (telemetry, metrics) = spawn(&collector);
    let tracer = telemetry.tracer();
    record(&tracer, 1..=BATCH);
    until(|| collector.sent("/base/v1/traces").len() == 1).await;
    // The task waits for the answer, so that nobody makes room.
    record(&tracer, 1..=SPANS_MAX as u128 + 100);
    assert_eq!(value(&metrics, "dropped_total"), 100);
    let stopped_at = Instant::now();
    telemetry.shutdown().await;
    assert!((FLUSH_MAX..SOON).contains(&stopped_at.elapsed()), "{:?}", stopped_at.elapsed());
}

#[tokio::test]
async fn a_collector_that_is_not_there_is_tried_once_more_at_the_stop() {
    let collector = FakeCollector::willing().await;
    let (telemetry, metrics) = spawn(&collector);
    drop(collector);
    record(&telemetry.tracer(), 1..=3);
    telemetry.shutdown().await;
    assert_eq!(value(&metrics, "sent_total{outcome=\"given-up\"}"), 3);
}

#[tokio::test]
async fn metrics_are_sent_again_and_again_and_with_the_stop() {
    let collector = FakeCollector::willing().await;
    let metrics = Arc::new(Metrics::new());
    let telemetry = Telemetry::spawn(&config(&collector, true), &metrics);
    until(|| collector.sent("/base/v1/metrics").len() > 2).await;
    metrics.queue_depth(41);
    telemetry.shutdown().await;
    let last = collector.sent("/base/v1/metrics").pop().unwrap();
    let request = ExportMetricsServiceRequest::decode(last.body).unwrap();
    let sent = &request.resource_metrics[0].scope_metrics[0].metrics;
    let depth = sent.iter().find(|metric| metric.name == "bothost_queue_depth_events");
    assert!(format!("{depth:?}").contains("AsDouble(41.0)"), "{depth:?}");
}

#[tokio::test]
async fn without_a_collector_or_a_share_nothing_is_taken_down() {
    let metrics = Arc::new(Metrics::new());
    let telemetry = Telemetry::spawn(&TelemetryConfig::default(), &metrics);
    assert!(!telemetry.tracer().is_on());
    telemetry.shutdown().await;
    let collector = FakeCollector::willing().await;
    let none = TelemetryConfig { sample: 0.0, ..config(&collector, false) };
    assert!(!Telemetry::spawn(&none, &metrics).tracer().is_on());
}
