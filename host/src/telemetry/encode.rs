//! What is sent, in the words of OpenTelemetry's protocol: who sends it, and the spans.

pub(super) mod series;

use std::sync::Arc;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event as SpanEvent, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as WireSpan, Status};
use prost::Message;

use super::span::{Retry, Span, Stage};

/// The flag of the W3C's recommendation. Whether a parent is of this process is left open: after a restart nobody can tell.
const SAMPLED: u32 = 1;

/// Who sends: the same for everything that a process sends.
#[derive(Debug, Clone)]
pub(super) struct Sender(Arc<Resource>);

impl Sender {
    /// Returns this process as the service of that name.
    pub(super) fn new(service: &str) -> Self {
        let instance = format!("{:032x}", fastrand::u128(..));
        let attributes = vec![
            text("service.name", service),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", &instance),
            text("host.name", &crate::machine::name()),
        ];
        Self(Arc::new(Resource { attributes, ..Resource::default() }))
    }

    fn resource(&self) -> Resource {
        (*self.0).clone()
    }
}

fn scope() -> InstrumentationScope {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    InstrumentationScope { name: "bothost".to_owned(), version, ..InstrumentationScope::default() }
}

/// Returns the request that sends these spans.
pub(super) fn spans(sender: &Sender, spans: &[Span]) -> Bytes {
    let spans = spans.iter().map(span).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans, ..ScopeSpans::default() }];
    let own = ResourceSpans { resource: Some(sender.resource()), scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![own] }.encode_to_vec().into()
}

fn span(span: &Span) -> WireSpan {
    let (name, kind) = match &span.stage {
        Stage::Receive { class, .. } => (format!("receive {}", class.as_str()), SpanKind::Consumer),
        Stage::Handle { bot, .. } => (format!("handle {bot}"), SpanKind::Consumer),
        Stage::Deliver { connector, .. } => (format!("deliver {connector}"), SpanKind::Client),
    };
    let outcome = match &span.stage {
        Stage::Receive { .. } => "ok",
        Stage::Handle { outcome, .. } | Stage::Deliver { outcome, .. } => outcome,
    };
    let events = match &span.stage {
        Stage::Deliver { retries, .. } => retries.iter().map(retry).collect(),
        Stage::Receive { .. } | Stage::Handle { .. } => Vec::new(),
    };
    let mut attributes = attributes(span);
    let status = (outcome != "ok").then(|| {
        attributes.push(text("error.type", outcome));
        Status { message: outcome.to_owned(), code: StatusCode::Error.into() }
    });
    WireSpan {
        trace_id: span.event.to_bytes().to_vec(),
        span_id: span.id().to_bytes().to_vec(),
        parent_span_id: span.parent().map(|id| id.to_bytes().to_vec()).unwrap_or_default(),
        flags: SAMPLED,
        name,
        kind: kind.into(),
        start_time_unix_nano: span.begun.as_nanos(),
        // The clock may have been set meanwhile; a step that ends before it began confuses whoever shows it.
        end_time_unix_nano: span.ended.max(span.begun).as_nanos(),
        attributes,
        events,
        status,
        ..WireSpan::default()
    }
}

fn attributes(span: &Span) -> Vec<KeyValue> {
    let mut attributes = vec![text("bothost.event", &span.event.to_string())];
    match &span.stage {
        Stage::Receive { connector, class, bots, is_duplicate } => {
            attributes.extend(connector.as_ref().map(|key| text("bothost.connector", &key.to_string())));
            attributes.extend([
                text("bothost.class", class.as_str()),
                number("bothost.bots", *bots as u64),
                flag("bothost.duplicate", *is_duplicate),
            ]);
        }
        Stage::Handle { bot, class, attempt, outcome, fuel, waited } => attributes.extend([
            text("bothost.bot", bot.as_str()),
            text("bothost.class", class.as_str()),
            number("bothost.attempt", u64::from(*attempt)),
            text("bothost.outcome", outcome),
            number("bothost.fuel", *fuel),
            number("bothost.waited_ms", millis(*waited)),
        ]),
        Stage::Deliver { connector, bot, action, outcome, failures, retries: _ } => attributes.extend([
            text("bothost.connector", &connector.to_string()),
            text("bothost.bot", bot.as_str()),
            number("bothost.action", *action),
            text("bothost.outcome", outcome),
            number("bothost.failed_tries", u64::from(*failures)),
        ]),
    }
    attributes
}

fn retry(retry: &Retry) -> SpanEvent {
    SpanEvent {
        time_unix_nano: retry.at.as_nanos(),
        name: "retry".to_owned(),
        attributes: vec![text("bothost.reason", retry.why), number("bothost.retry_after_ms", millis(retry.wait))],
        ..SpanEvent::default()
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

fn text(key: &str, value: &str) -> KeyValue {
    pair(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: u64) -> KeyValue {
    pair(key, Value::IntValue(value.try_into().unwrap_or(i64::MAX)))
}

fn flag(key: &str, value: bool) -> KeyValue {
    pair(key, Value::BoolValue(value))
}

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;
    use crate::event::EventClass;
    use crate::id::EventId;
    use crate::telemetry::span::{Moment, SpanId};

    fn event() -> EventId {
        EventId::from_bytes([7; 16])
    }

    fn moment(millis: u64) -> Moment {
        Timestamp::from_millis(millis).into()
    }

    fn sent(stage: Stage) -> WireSpan {
        let given = Span { event: event(), begun: moment(5), ended: moment(9), stage };
        let request = ExportTraceServiceRequest::decode(spans(&Sender::new("shop"), &[given])).unwrap();
        let [own] = &request.resource_spans[..] else { panic!("{request:?}") };
        let named = own.resource.as_ref().unwrap().attributes.iter().map(|pair| pair.key.as_str());
        let named: Vec<_> = named.take(3).collect();
        assert_eq!(named, ["service.name", "service.version", "service.instance.id"]);
        own.scope_spans[0].spans[0].clone()
    }

    fn shown(attributes: &[KeyValue], key: &str) -> String {
        let value = attributes.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.clone());
        match value.and_then(|value| value.value) {
            Some(Value::StringValue(text)) => text,
            Some(Value::IntValue(number)) => number.to_string(),
            Some(Value::BoolValue(flag)) => flag.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_first_step_has_the_events_id_as_its_trace_and_no_parent() {
        let connector = Some("chat".parse().unwrap());
        let span = sent(Stage::Receive { connector, class: EventClass::Message, bots: 2, is_duplicate: false });
        assert_eq!((&span.trace_id, &span.parent_span_id), (&vec![7; 16], &Vec::new()));
        assert_eq!(span.span_id, SpanId::of_receive(event()).to_bytes());
        assert_eq!((span.name.as_str(), span.kind()), ("receive message", SpanKind::Consumer));
        assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (5_000_000, 9_000_000));
        assert_eq!((shown(&span.attributes, "bothost.connector"), span.status), ("chat".to_owned(), None));
    }

    #[test]
    fn an_attempt_that_failed_says_how_and_no_more() {
        let bot = "echo".parse().unwrap();
        let (class, waited) = (EventClass::Command, Duration::from_millis(12));
        let span = sent(Stage::Handle { bot, class, attempt: 2, outcome: "trap", fuel: 99, waited });
        assert_eq!(span.parent_span_id, SpanId::of_receive(event()).to_bytes());
        let status = span.status.unwrap();
        assert_eq!((status.code(), status.message.as_str()), (StatusCode::Error, "trap"));
        let named = ["attempt", "fuel", "waited_ms"].map(|key| shown(&span.attributes, &format!("bothost.{key}")));
        assert_eq!(named, ["2", "99", "12"]);
    }

    #[test]
    fn a_delivery_tells_of_each_wait_between_its_tries() {
        let bot: crate::id::BotName = "echo".parse().unwrap();
        let retries = vec![Retry { at: moment(6), why: "rate-limited", wait: Duration::from_secs(3) }];
        let connector = "chat".parse().unwrap();
        let stage = Stage::Deliver { connector, bot: bot.clone(), action: 4, outcome: "ok", failures: 0, retries };
        let span = sent(stage);
        assert_eq!(span.parent_span_id, SpanId::of_commit(event(), &bot).to_bytes());
        assert_eq!((span.events[0].name.as_str(), span.events[0].time_unix_nano), ("retry", 6_000_000));
        assert_eq!(shown(&span.events[0].attributes, "bothost.retry_after_ms"), "3000");
    }
}
