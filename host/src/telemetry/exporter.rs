//! Sends what was taken down and what is measured. A collector that is slow, down or unwilling costs nobody anything: what it does
//! not take in time is given up and counted, and what finds no room meanwhile is counted by the tracer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, timeout_at};
use tokio_util::sync::CancellationToken;

use super::collector::{Collector, Signal};
use super::encode::{self, Sender};
use super::patience::{Outcome, Patience, is_over};
use super::span::{Moment, Span};
use crate::clock::Timestamp;
use crate::metrics::Metrics;

/// Spans in one request.
const BATCH_MAX: usize = 512;
/// How long the first span of a batch waits for others.
const GATHER: Duration = Duration::from_secs(5);

/// What sends spans.
pub(super) struct SpanExporter {
    pub(super) spans: mpsc::Receiver<Span>,
    pub(super) line: Line,
    pub(super) metrics: Arc<Metrics>,
}

/// What sends metrics.
pub(super) struct MetricsExporter {
    pub(super) line: Line,
    pub(super) metrics: Arc<Metrics>,
    pub(super) every: Duration,
    pub(super) begun: Moment,
}

/// The line to the collector for one signal.
pub(super) struct Line {
    collector: Arc<Collector>,
    sender: Sender,
    signal: Signal,
    patience: Patience,
    is_failing: bool,
}

impl SpanExporter {
    /// Runs until it is cancelled or every tracer is gone, and then until what was taken down has been tried once more.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        while let Some(batch) = self.gather(&cancel).await {
            self.deliver(&batch, &cancel).await;
        }
    }

    /// Returns the next batch: when it is full, or some time after its first span. None: there is nothing left, nor to come.
    async fn gather(&mut self, cancel: &CancellationToken) -> Option<Vec<Span>> {
        let mut batch = Vec::new();
        // Cancel safe: a channel's `recv_many`, which takes nothing where it loses.
        let _ = cancel.run_until_cancelled(self.spans.recv_many(&mut batch, BATCH_MAX)).await;
        let until = tokio::time::Instant::now() + GATHER;
        while !batch.is_empty() && batch.len() < BATCH_MAX {
            let room = BATCH_MAX - batch.len();
            let more = self.spans.recv_many(&mut batch, room);
            match cancel.run_until_cancelled(timeout_at(until, more)).await {
                Some(Ok(count)) if count > 0 => {}
                _ => break,
            }
        }
        // Cancelled, what is there is taken without waiting.
        while batch.len() < BATCH_MAX
            && let Ok(span) = self.spans.try_recv()
        {
            batch.push(span);
        }
        (!batch.is_empty()).then_some(batch)
    }

    /// Sends a batch until it is taken, refused, or not worth another try.
    async fn deliver(&mut self, batch: &[Span], cancel: &CancellationToken) {
        let (body, first, count) = (encode::spans(&self.line.sender, batch), Instant::now(), batch.len() as u64);
        loop {
            // One that is cancelled while it waits is tried once more, and then no more.
            let is_last = cancel.is_cancelled();
            match self.line.send(body.clone()).await {
                Sent::Taken { rejected } => {
                    self.metrics.telemetry_spans_sent("ok", count.saturating_sub(rejected));
                    return self.metrics.telemetry_spans_sent("rejected", rejected.min(count));
                }
                Sent::Refused => return self.metrics.telemetry_spans_sent("refused", count),
                Sent::Later(_) if is_last || is_over(first, Instant::now()) => {
                    return self.metrics.telemetry_spans_sent("given-up", count);
                }
                Sent::Later(wait) => {
                    let _ = cancel.run_until_cancelled(tokio::time::sleep(wait)).await;
                }
            }
        }
    }
}

impl MetricsExporter {
    /// Runs until it is cancelled, and then sends once more. What is not taken is not tried again: all of it is in the next.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let mut rounds = tokio::time::interval(self.every);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick comes at once, when little is measured yet.
        rounds.tick().await;
        let mut quiet_until = Instant::now();
        loop {
            // Cancel safe: an interval.
            let is_last = cancel.run_until_cancelled(rounds.tick()).await.is_none();
            if is_last || Instant::now() >= quiet_until {
                let (metrics, sender, begun) = (Arc::clone(&self.metrics), self.line.sender.clone(), self.begun);
                let encode = move || encode::series::snapshot(&sender, &metrics.snapshot(Timestamp::now()), begun);
                // Not for the threads that carry events: it grows with the number of series.
                let Ok(body) = tokio::task::spawn_blocking(encode).await else { return };
                if let Some(Sent::Later(wait)) = cancelled_or(self.line.send(body), &cancel, is_last).await {
                    quiet_until = Instant::now() + wait;
                }
            }
            if is_last {
                return;
            }
        }
    }
}

/// Sends, or breaks off when it is cancelled: the last round sends what is in it and more.
async fn cancelled_or<T>(send: impl Future<Output = T>, cancel: &CancellationToken, is_last: bool) -> Option<T> {
    if is_last { Some(send.await) } else { cancel.run_until_cancelled(send).await }
}

/// What came of a try.
enum Sent {
    Taken {
        rejected: u64,
    },
    Refused,
    /// It was not taken; the collector is to be left alone so long.
    Later(Duration),
}

impl Line {
    pub(super) fn new(collector: Arc<Collector>, sender: Sender, signal: Signal) -> Self {
        Self { collector, sender, signal, patience: Patience::new(), is_failing: false }
    }

    async fn send(&mut self, body: Bytes) -> Sent {
        match self.collector.send(self.signal, body).await {
            Outcome::Taken { rejected } => {
                self.patience.satisfied();
                self.works();
                Sent::Taken { rejected }
            }
            Outcome::Refused(why) => {
                self.fails(&why);
                Sent::Refused
            }
            Outcome::Later { after, why } => {
                self.fails(&why);
                Sent::Later(self.patience.wait(after, fastrand::f64()))
            }
        }
    }

    /// Says once that it fails, however long it does.
    fn fails(&mut self, why: &str) {
        let (signal, collector) = (self.signal, &self.collector);
        if std::mem::replace(&mut self.is_failing, true) {
            tracing::debug!(?signal, ?collector, why, "the collector still does not take what it is sent");
        } else {
            tracing::warn!(
                ?signal,
                ?collector,
                why,
                "the collector does not take what it is sent; said once until it does"
            );
        }
    }

    /// Says once that it works again.
    fn works(&mut self) {
        if std::mem::take(&mut self.is_failing) {
            tracing::info!(signal = ?self.signal, collector = ?self.collector, "the collector takes what it is sent again");
        }
    }
}
