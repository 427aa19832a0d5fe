//! Traces and metrics for a collector that speaks OpenTelemetry's protocol, over HTTP. Owns the tasks that send; who does a step is
//! given a [`Tracer`] to tell of it.
//!
//! In a build without the feature `otlp` there is a tracer that is always off, and nothing else.

#[cfg(feature = "otlp")]
mod collector;
mod config;
#[cfg(feature = "otlp")]
mod encode;
#[cfg(feature = "otlp")]
mod exporter;
#[cfg(feature = "otlp")]
mod patience;
pub mod span;
mod tracer;

use std::sync::Arc;

#[cfg(feature = "otlp")]
use {
    self::collector::{Collector, Signal},
    self::exporter::{Line, MetricsExporter, SpanExporter},
    std::time::Duration,
    tokio::task::JoinSet,
    tokio_util::sync::CancellationToken,
};

use crate::metrics::Metrics;

pub use self::config::TelemetryConfig;
pub use self::tracer::{Handling, Tracer};

/// Spans that wait to be sent; what comes beyond them is counted and gone.
#[cfg(feature = "otlp")]
const SPANS_MAX: usize = 8_192;
/// How long a stop waits for the collector to take what is left.
#[cfg(feature = "otlp")]
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// The tasks that send, if any are to. Dropped, they end at once and send nothing more.
#[derive(Debug)]
pub struct Telemetry {
    tracer: Tracer,
    #[cfg(feature = "otlp")]
    tasks: JoinSet<()>,
    #[cfg(feature = "otlp")]
    cancel: CancellationToken,
}

#[cfg(not(feature = "otlp"))]
impl Telemetry {
    /// Starts nothing: this build sends nothing, and no configuration that it takes asks for it.
    pub fn spawn(_config: &TelemetryConfig, _metrics: &Arc<Metrics>) -> Self {
        Self { tracer: Tracer::off() }
    }

    /// Stops nothing.
    pub async fn shutdown(self) {}
}

#[cfg(feature = "otlp")]
impl Telemetry {
    /// Starts what the configuration asks for; nothing where it names no collector.
    pub fn spawn(config: &TelemetryConfig, metrics: &Arc<Metrics>) -> Self {
        let (mut tasks, cancel) = (JoinSet::new(), CancellationToken::new());
        let Some(url) = &config.endpoint else { return Self { tracer: Tracer::off(), tasks, cancel } };
        let collector = Arc::new(Collector::new(url.0.clone(), config));
        let sender = encode::Sender::new(&config.service);
        let line = |signal| Line::new(Arc::clone(&collector), sender.clone(), signal);
        if config.metrics {
            let (line, metrics) = (line(Signal::Metrics), Arc::clone(metrics));
            let exporter = MetricsExporter { line, metrics, every: config.every, begun: span::Moment::now() };
            tasks.spawn(exporter.run(cancel.clone()));
        }
        let mut tracer = Tracer::off();
        if config.sample > 0.0 {
            let spans;
            (tracer, spans) = Tracer::on(SPANS_MAX, span::Sample::of(config.sample), Arc::clone(metrics));
            let exporter = SpanExporter { spans, line: line(Signal::Traces), metrics: Arc::clone(metrics) };
            tasks.spawn(exporter.run(cancel.clone()));
        }
        Self { tracer, tasks, cancel }
    }

    /// Has what is left sent, for two seconds at most, and joins the tasks. Call it when nobody does a step any more.
    pub async fn shutdown(mut self) {
        self.cancel.cancel();
        let deadline = tokio::time::Instant::now() + FLUSH_MAX;
        // Cancel safe: a set's `join_next`.
        while let Ok(ended) = tokio::time::timeout_at(deadline, self.tasks.join_next()).await {
            match ended {
                None => return,
                Some(Ok(())) => {}
                Some(Err(error)) => tracing::error!(%error, "a task that sends telemetry ended badly"),
            }
        }
        tracing::warn!("the collector did not take the last of what was to be sent within {FLUSH_MAX:?}");
        self.tasks.shutdown().await;
    }
}

impl Telemetry {
    /// Returns what takes the steps of events down.
    pub fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }
}

#[cfg(test)]
#[cfg(feature = "otlp")]
mod tests;
