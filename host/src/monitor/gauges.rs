//! What is measured once a round: how bots, connectors, queue and outboxes are at that moment. Reads what they publish and what is
//! in memory, and waits for nobody.

use std::collections::HashMap;

use crate::clock::Timestamp;
use crate::config::Config;
use crate::metrics::{BotFigures, ConnectorFigures, Metrics, QueueFigures};
use crate::store::{Backlog, Store};
use crate::supervisor::{BotBoard, LinkBoard};

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub struct Gauges<'a> {
    /// How the bots stand.
    pub bots: &'a BotBoard,
    /// How the connectors stand.
    pub connectors: &'a LinkBoard,
    /// What waits.
    pub store: &'a Store,
    /// What is in force.
    pub config: &'a Config,
}

/// Measures all of it as it is at `now`, a moment of the wall clock. What it costs grows with the number of bots, connectors, and
/// conversations that have something waiting; it does no input or output.
pub fn publish(gauges: &Gauges<'_>, metrics: &Metrics, now: Timestamp) {
    publish_bots(gauges, metrics, now);
    publish_connectors(gauges, metrics, now);
}

fn publish_bots(gauges: &Gauges<'_>, metrics: &Metrics, now: Timestamp) {
    let survey = gauges.store.queue().survey();
    let oldest = survey.bots.iter().filter_map(|(_, backlog)| backlog.oldest).min();
    metrics.queue_figures(&QueueFigures {
        capacity: survey.bounds.events_max,
        bytes: survey.bytes,
        oldest_waiting: oldest.map(|since| now.saturating_since(since)),
        dead_letters: gauges.store.health().borrow().dead_letters,
    });
    let backlogs: HashMap<_, _> = survey.bots.into_iter().collect();
    let figures = gauges.bots.statuses().into_iter().map(|status| {
        let Backlog { depth, oldest } = backlogs.get(&status.name).copied().unwrap_or_default();
        let figures = BotFigures {
            memory_peak: status.memory_peak,
            memory_limit: status.memory_limit,
            fuel_limit: status.fuel_limit,
            queued: depth.queued,
            in_flight: depth.claimed,
            oldest_waiting: oldest.map(|since| now.saturating_since(since)),
        };
        (status.name, figures)
    });
    metrics.bot_figures(&figures.collect::<Vec<_>>());
}

fn publish_connectors(gauges: &Gauges<'_>, metrics: &Metrics, now: Timestamp) {
    metrics.outbox_capacity(gauges.config.outbox.settings().len_max);
    let oldest: HashMap<_, _> = gauges.store.outbox().oldest().into_iter().collect();
    let figures = gauges.connectors.entries().into_iter().map(|(key, status)| {
        let figures = ConnectorFigures {
            stale: status.stale_for(now),
            silent: status.silent_for(now),
            oldest_waiting: oldest.get(&key).map(|since| now.saturating_since(*since)),
        };
        (key, figures)
    });
    metrics.connector_figures(&figures.collect::<Vec<_>>());
}
