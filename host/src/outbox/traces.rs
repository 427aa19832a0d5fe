//! Takes down how actions were delivered, for those of events that are traced.

use std::collections::HashMap;

use super::attempts::Next;
use crate::store::Entry;
use crate::telemetry::Tracer;
use crate::telemetry::span::{Moment, Retry, Span, Stage};

/// Waits of one action that are told; of more, the last are left out.
const RETRIES_MAX: usize = 32;
/// Actions whose waits are remembered. What was lost without its turn having come is not taken out: all are forgotten at once then.
const ACTIONS_MAX: usize = 4_096;

/// What is taken down of one connector's deliveries.
pub(super) struct Traces {
    tracer: Tracer,
    /// The waits between the tries of what is not delivered yet.
    retries: HashMap<u64, Vec<Retry>>,
}

impl Traces {
    pub(super) fn new(tracer: Tracer) -> Self {
        Self { tracer, retries: HashMap::new() }
    }

    /// A try did not go well, and this is what is done about it.
    pub(super) fn retried(&mut self, entry: &Entry, next: Next) {
        let (why, wait) = match next {
            Next::Retry { after } => ("failed", after),
            Next::Limited { wait } => ("rate-limited", wait),
            Next::AwaitLink => ("unauthorized", super::RETRY_SOON),
            Next::GiveUp(_) => return,
        };
        if !entry.event.is_some_and(|event| self.tracer.wants(event)) {
            return;
        }
        if self.retries.len() >= ACTIONS_MAX && !self.retries.contains_key(&entry.id) {
            self.retries.clear();
        }
        let retries = self.retries.entry(entry.id).or_default();
        if retries.len() < RETRIES_MAX {
            retries.push(Retry { at: Moment::now(), why, wait });
        }
    }

    /// It is delivered, or lost: `outcome` is `ok`, or why.
    pub(super) fn ended(&mut self, entry: &Entry, outcome: &'static str) {
        let Some(event) = entry.event.filter(|event| self.tracer.wants(*event)) else { return };
        let stage = Stage::Deliver {
            connector: entry.via.clone(),
            bot: entry.bot.clone(),
            action: entry.id,
            outcome,
            failures: entry.attempts,
            retries: self.retries.remove(&entry.id).unwrap_or_default(),
        };
        self.tracer.record(Span { event, begun: entry.committed_at.into(), ended: Moment::now(), stage });
    }
}
