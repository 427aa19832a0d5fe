//! What a collector sees of an event's way from platform to platform, in one process and over a restart, and what it does not see.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bothost::bot::BotVerb;
use bothost::connector::{DeliveryError, Link};
use harness::collector::{Answer, FakeCollector};
use harness::guests;
use harness::host::Home;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;

const COMPILER: &str = env!("CARGO_BIN_EXE_host");
const TEXT: &str = "a text that is nobody's business";

fn telemetry(collector: &FakeCollector, more: &str) -> String {
    format!("[telemetry]\nendpoint = \"{}\"\n{more}\n", collector.url())
}

fn home(collector: &FakeCollector) -> Home {
    let config = telemetry(collector, "metrics = false\nheaders = { authorization = \"Bearer s3cret\" }");
    Home::new(COMPILER, &config)
}

/// Returns what the collector was sent so far, the earliest begun first.
fn spans(collector: &FakeCollector) -> Vec<Span> {
    let mut spans = Vec::new();
    for sent in collector.sent("/v1/traces") {
        assert_eq!(sent.headers["authorization"], "Bearer s3cret");
        let text = String::from_utf8_lossy(&sent.body).into_owned();
        for unseen in [TEXT, "lobby-41", "somebody", "s3cret"] {
            assert!(!text.contains(unseen), "{unseen} was sent");
        }
        let request = ExportTraceServiceRequest::decode(sent.body).unwrap();
        let scopes = request.resource_spans.into_iter().flat_map(|own| own.scope_spans);
        spans.extend(scopes.flat_map(|scope| scope.spans));
    }
    spans.sort_by_key(|span| span.start_time_unix_nano);
    spans
}

/// Returns the one step of this name.
fn step<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let named: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(named.len(), 1, "{name} among {:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>());
    named[0]
}

fn traces(spans: &[Span]) -> BTreeSet<&[u8]> {
    spans.iter().map(|span| &*span.trace_id).collect()
}

fn shown(span: &Span, key: &str) -> String {
    let value = span.attributes.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.clone());
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        other => format!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_its_handling_and_its_delivery_are_one_trace() {
    let collector = FakeCollector::willing().await;
    let host = home(&collector).with("echo.wasm", &guests::example("echo")).start().await;
    host.serving("echo").await;
    host.chat.script(Err(DeliveryError::RateLimited(Duration::from_millis(30))));
    host.say("lobby-41", &format!("!echo {TEXT}")).await;
    assert_eq!(host.answers_since(0, 2).await, [TEXT, TEXT], "refused once, then taken");
    host.stop(COMPILER, "").await;

    let spans = spans(&collector);
    assert_eq!((spans.len(), traces(&spans).len()), (3, 1), "{spans:?}");
    let receive = step(&spans, "receive message");
    let (handle, deliver) = (step(&spans, "handle echo"), step(&spans, "deliver chat"));
    assert_eq!((&receive.parent_span_id, &handle.parent_span_id), (&Vec::new(), &receive.span_id));
    assert_eq!(deliver.parent_span_id, handle.span_id);
    let kinds = [receive, handle, deliver].map(Span::kind);
    assert_eq!(kinds, [SpanKind::Consumer, SpanKind::Consumer, SpanKind::Client]);
    assert!(spans.iter().all(|span| span.status.is_none() && span.end_time_unix_nano >= span.start_time_unix_nano));
    assert_eq!((shown(receive, "bothost.connector"), shown(receive, "bothost.bots")), ("chat".into(), "1".into()));
    assert_eq!((shown(handle, "bothost.class"), shown(handle, "bothost.attempt")), ("command".into(), "1".into()));
    assert_ne!(shown(handle, "bothost.fuel"), "0");
    let [retry] = &deliver.events[..] else { panic!("{deliver:?}") };
    assert_eq!(retry.name, "retry");
    // The trace's id is the event's, by which the operator asks what became of it.
    let id: String = receive.trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(shown(deliver, "bothost.event"), id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_between_handling_and_delivery_does_not_break_a_trace() {
    let collector = FakeCollector::willing().await;
    let host = home(&collector).with("echo.wasm", &guests::example("echo")).start().await;
    let handled = host.serving("echo").await.handled;
    host.chat.set_link(Link::BackingOff { error: "away".to_owned(), wait: Duration::from_secs(1) });
    host.say("lobby-41", &format!("!echo {TEXT}")).await;
    host.bot_when("echo", |status| status.handled > handled).await;
    let config = telemetry(&collector, "metrics = false\nheaders = { authorization = \"Bearer s3cret\" }");
    let (drained, home) = host.stop(COMPILER, &config).await;
    assert_eq!(drained.actions, 1, "it is not delivered yet");
    let before = spans(&collector);
    assert_eq!(before.len(), 2, "{before:?}");

    let host = home.start().await;
    assert_eq!(host.answers_since(0, 1).await, [TEXT]);
    host.stop(COMPILER, "").await;
    let spans = spans(&collector);
    assert_eq!((spans.len(), traces(&spans)), (3, traces(&before)));
    assert_eq!(step(&spans, "deliver chat").parent_span_id, step(&before, "handle echo").span_id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_between_taking_over_and_handling_does_not_break_a_trace() {
    let collector = FakeCollector::willing().await;
    let host = home(&collector).with("echo.wasm", &guests::example("echo")).start().await;
    host.serving("echo").await;
    host.host().control().bot("echo".parse().unwrap(), BotVerb::Stop).await.unwrap();
    host.say("lobby-41", &format!("!echo {TEXT}")).await;
    let config = telemetry(&collector, "metrics = false\nheaders = { authorization = \"Bearer s3cret\" }");
    let (drained, home) = host.stop(COMPILER, &config).await;
    assert_eq!(drained.events, 1, "it is not handled yet");

    let host = home.start().await;
    assert_eq!(host.answers_since(0, 1).await, [TEXT]);
    host.stop(COMPILER, "").await;
    let spans = spans(&collector);
    let (handle, deliver) = (step(&spans, "handle echo"), step(&spans, "deliver chat"));
    assert_eq!(traces(&spans).len(), 1);
    assert_eq!((&handle.parent_span_id, &deliver.parent_span_id), (&spans[0].span_id, &handle.span_id));
    assert_eq!(spans[0].name, "receive message");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_fails_shows_its_kind_and_an_event_that_comes_again_that_it_did() {
    let collector = FakeCollector::willing().await;
    let host = home(&collector).with("fail.wasm", &guests::guest("fail")).start().await;
    host.serving("fail").await;
    for _ in 0..2 {
        host.chat.say("lobby-41", "7", &format!("!fail {TEXT}")).await.unwrap();
    }
    host.metric_reaches("bothost_bot_faults_total{bot=\"fail\"", 1.0).await;
    host.metric_reaches("bothost_event_duplicate_total", 1.0).await;
    host.stop(COMPILER, "").await;

    let spans = spans(&collector);
    let failed = spans.iter().find(|span| span.name == "handle fail").expect("an attempt");
    let status = failed.status.as_ref().expect("an error");
    assert_eq!((status.code, &status.message), (2, &shown(failed, "bothost.outcome")));
    assert_eq!(shown(failed, "error.type"), status.message);
    let received: Vec<_> = spans.iter().filter(|span| span.name == "receive message").collect();
    let duplicates: Vec<_> = received.iter().map(|span| shown(span, "bothost.duplicate")).collect();
    assert_eq!(duplicates, ["false", "true"]);
    assert!(spans.iter().all(|span| !span.name.starts_with("deliver")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_never_answers_holds_up_no_answer_and_a_stop_but_for_a_moment() {
    let collector = FakeCollector::start(Answer::Never).await;
    let config = telemetry(&collector, "every = \"50ms\"");
    let host = Home::new(COMPILER, &config).with("echo.wasm", &guests::example("echo")).start().await;
    host.serving("echo").await;
    for number in 0..20 {
        assert_eq!(host.ask("lobby-41", &format!("!echo {number}")).await, number.to_string());
    }
    let stopped_at = Instant::now();
    let (drained, _) = host.stop(COMPILER, "").await;
    assert_eq!((drained.events, drained.actions), (0, 0));
    assert!(stopped_at.elapsed() < Duration::from_secs(20), "{:?}", stopped_at.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_scrape_would_show_is_sent_as_metrics() {
    let collector = FakeCollector::willing().await;
    let config = telemetry(&collector, "every = \"50ms\"\nsample = 0\nservice = \"shop\"");
    let host = Home::new(COMPILER, &config).with("echo.wasm", &guests::example("echo")).start().await;
    host.serving("echo").await;
    host.ask("lobby-41", "!ping").await;
    host.stop(COMPILER, "").await;
    let last = collector.sent("/v1/metrics").pop().expect("at the least with the stop");
    let request = ExportMetricsServiceRequest::decode(last.body).unwrap();
    let resource = format!("{:?}", request.resource_metrics[0].resource);
    assert!(resource.contains("service.name") && resource.contains("shop"), "{resource}");
    let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
    let named = |name: &str| metrics.iter().any(|metric| metric.name == name);
    assert!(named("bothost_attempt_ended_total") && named("bothost_attempt_elapsed_seconds"), "{metrics:?}");
    assert!(collector.sent("/v1/traces").is_empty(), "no event is traced");
}
