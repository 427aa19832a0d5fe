//! The hand that whoever does a step is given to tell of it. It never waits: what finds no room is counted and gone.

use std::time::Duration;

#[cfg(feature = "otlp")]
use std::sync::Arc;
#[cfg(feature = "otlp")]
use tokio::sync::mpsc;

#[cfg(feature = "otlp")]
use super::span::Sample;
use super::span::{Moment, Span, Stage};
use crate::event::Event;
use crate::grants::ConnectorKey;
use crate::id::{BotName, EventId};
#[cfg(feature = "otlp")]
use crate::metrics::Metrics;

/// Takes down the steps of events. Cheap to clone. In a build without the feature `otlp` it is always off and costs nothing.
#[derive(Debug, Clone, Default)]
pub struct Tracer {
    #[cfg(feature = "otlp")]
    on: Option<Arc<On>>,
}

#[cfg(feature = "otlp")]
#[derive(Debug)]
struct On {
    spans: mpsc::Sender<Span>,
    sample: Sample,
    metrics: Arc<Metrics>,
}

impl Tracer {
    /// Returns one that takes nothing down.
    pub fn off() -> Self {
        Self::default()
    }

    /// Returns one that keeps at most `spans_max` spans of the events in `sample` for whoever has the other end.
    #[cfg(feature = "otlp")]
    pub(super) fn on(spans_max: usize, sample: Sample, metrics: Arc<Metrics>) -> (Self, mpsc::Receiver<Span>) {
        let (spans, receiver) = mpsc::channel(spans_max);
        (Self { on: Some(Arc::new(On { spans, sample, metrics })) }, receiver)
    }

    /// Returns whether it takes anything down.
    pub fn is_on(&self) -> bool {
        #[cfg(feature = "otlp")]
        return self.on.is_some();
        #[cfg(not(feature = "otlp"))]
        false
    }

    /// Returns whether it takes the steps of this event down: what is to be measured for it only then is worth measuring.
    pub fn wants(&self, event: EventId) -> bool {
        #[cfg(feature = "otlp")]
        return self.on.as_ref().is_some_and(|on| on.sample.takes(event));
        #[cfg(not(feature = "otlp"))]
        {
            let _ = event;
            false
        }
    }

    /// Takes a step down, if its event is traced. Never waits.
    pub fn record(&self, span: Span) {
        #[cfg(feature = "otlp")]
        if let Some(on) = self.on.as_ref().filter(|on| on.sample.takes(span.event))
            && on.spans.try_send(span).is_err()
        {
            on.metrics.telemetry_spans_dropped(1);
        }
        #[cfg(not(feature = "otlp"))]
        drop(span);
    }

    /// Takes down that an event was taken over just now, or that it had been before.
    pub fn received(&self, event: &Event, connector: Option<&ConnectorKey>, bots: usize, is_duplicate: bool) {
        if self.wants(event.id) {
            let (connector, class) = (connector.cloned(), event.kind.class());
            let stage = Stage::Receive { connector, class, bots, is_duplicate };
            self.record(Span { event: event.id, begun: event.received_at.into(), ended: Moment::now(), stage });
        }
    }

    /// Returns what takes an attempt down that begins now; none where the event is not traced.
    pub fn handling(&self, bot: &BotName, event: &Event, attempt: u32, waited: Duration) -> Option<Handling> {
        self.wants(event.id).then(|| {
            let (bot, class) = (bot.clone(), event.kind.class());
            let stage = Stage::Handle { bot, class, attempt, outcome: "ok", fuel: 0, waited };
            let now = Moment::now();
            Handling { tracer: self.clone(), span: Span { event: event.id, begun: now, ended: now, stage } }
        })
    }
}

/// An attempt that runs. Dropped, it leaves nothing: it was broken off.
#[derive(Debug)]
pub struct Handling {
    tracer: Tracer,
    span: Span,
}

impl Handling {
    /// Takes down how the attempt ended, just now.
    pub fn ended(mut self, how: &'static str, burnt: u64) {
        self.span.ended = Moment::now();
        if let Stage::Handle { outcome, fuel, .. } = &mut self.span.stage {
            (*outcome, *fuel) = (how, burnt);
        }
        self.tracer.record(self.span);
    }
}
