//! What is measured of connectors once a round, of what they deliver, and of what the operator has probed.

use std::collections::HashSet;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::grouped::{Grouped, Measure, Sum};
use super::{Metrics, add, counters, gauge_value, gauges};
use crate::grants::ConnectorKey;
use crate::id::ProbeName;

/// From a call that a platform answers at once to a backlog that waited for it to come back.
const DELIVERED_SECONDS: [f64; 12] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3600.0];

/// How one connector is at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectorFigures {
    /// For how long there was no sign that its platform is there; none: it is not connected.
    pub stale: Option<Duration>,
    /// For how long no event has come; none: none can have come.
    pub silent: Option<Duration>,
    /// For how long the oldest action that is not delivered has been committed; none: everything is delivered.
    pub oldest_waiting: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct ConnectorMetrics {
    connections: Grouped<0, Counter>,
    connections_failed: Grouped<0, Counter>,
    connections_lost: Grouped<0, Counter>,
    delivered_after: Grouped<0, Histogram>,
    rate_limited: Grouped<0, Counter>,
    rate_limit_wait: Grouped<0, Sum>,
    stale: Grouped<0, Measure>,
    silent: Grouped<0, Measure>,
    outbox_oldest: Grouped<0, Measure>,
    outbox_capacity: Gauge,
    probe_up: Grouped<0, Gauge>,
    probe_elapsed: Grouped<0, Measure>,
}

impl ConnectorMetrics {
    pub(super) fn register(to: &mut Registry) -> Self {
        let (connector, probe) = ("connector", "probe");
        let measures = |owner| Grouped::new(owner, Measure::default);
        let delivered = Grouped::new(connector, || Histogram::new(DELIVERED_SECONDS));
        let (delivery, wait) =
            ("How long actions took from their commit to their delivery", "delivery_rate_limit_wait_seconds");
        Self {
            connections: add(to, "connector_connections", "How often the connector connected", counters(connector)),
            connections_failed: add(
                to,
                "connector_connections_failed",
                "How often the connector tried to connect and failed",
                counters(connector),
            ),
            connections_lost: add(
                to,
                "connector_connections_lost",
                "How often a connection of the connector was lost",
                counters(connector),
            ),
            delivered_after: add(to, "delivery_elapsed_seconds", delivery, delivered),
            rate_limited: add(
                to,
                "delivery_rate_limited",
                "Deliveries that the platform put off because there were too many",
                counters(connector),
            ),
            rate_limit_wait: add(
                to,
                wait,
                "How long the platform put deliveries off, all together",
                Grouped::new(connector, Sum::default),
            ),
            stale: add(
                to,
                "connector_stale_seconds",
                "How long there was no sign of the platform, while the connector is connected",
                measures(connector),
            ),
            silent: add(to, "connector_silent_seconds", "How long no event has come", measures(connector)),
            outbox_oldest: add(
                to,
                "outbox_oldest_waiting_seconds",
                "How long ago the oldest action was committed that is not delivered",
                measures(connector),
            ),
            outbox_capacity: add(
                to,
                "outbox_capacity_actions",
                "Actions that may wait for one connector",
                Gauge::default(),
            ),
            probe_up: add(to, "probe_up", "1 where the probe was answered", gauges(probe)),
            probe_elapsed: add(to, "probe_elapsed_seconds", "How long the last probe took", measures(probe)),
        }
    }

    pub(super) fn forget(&self, connector: &str) {
        self.connections.forget(connector);
        self.connections_failed.forget(connector);
        self.connections_lost.forget(connector);
        self.delivered_after.forget(connector);
        self.rate_limited.forget(connector);
        self.rate_limit_wait.forget(connector);
        self.stale.forget(connector);
        self.silent.forget(connector);
        self.outbox_oldest.forget(connector);
    }
}

impl Metrics {
    /// Counts connections that a connector made. With 0, says that it has made none so far.
    pub fn connections_made(&self, connector: &ConnectorKey, times: u64) {
        self.own.connectors.connections.count(&connector.to_string(), [], times);
    }

    /// Counts tries of a connector to connect that failed. With 0, says that none has so far.
    pub fn connections_failed(&self, connector: &ConnectorKey, times: u64) {
        self.own.connectors.connections_failed.count(&connector.to_string(), [], times);
    }

    /// Counts connections that a connector has lost. With 0, says that it has lost none so far.
    pub fn connections_lost(&self, connector: &ConnectorKey, times: u64) {
        self.own.connectors.connections_lost.count(&connector.to_string(), [], times);
    }

    /// Measures a delivery that went well: how long after its commit.
    pub fn delivered_after(&self, connector: &ConnectorKey, elapsed: Duration) {
        if self.is_muted {
            return;
        }
        self.own.connectors.delivered_after.observe(&connector.to_string(), [], elapsed.as_secs_f64());
    }

    /// Counts a delivery that the platform puts off, and for how long.
    pub fn rate_limited(&self, connector: &ConnectorKey, wait: Duration) {
        let (own, name) = (&self.own.connectors, &connector.to_string());
        own.rate_limited.count(name, [], 1);
        own.rate_limit_wait.add(name, [], wait.as_secs_f64());
    }

    /// Says how every connector is. One that is not among them has no such series any more.
    pub fn connector_figures(&self, all: &[(ConnectorKey, ConnectorFigures)]) {
        all.iter().for_each(|(connector, figures)| self.connector_figures_of(&connector.to_string(), figures));
        let own = &self.own.connectors;
        // One that went while it was measured is dropped with the next round.
        let names: HashSet<_> = all.iter().map(|(connector, _)| connector.to_string()).collect();
        for measures in [&own.stale, &own.silent, &own.outbox_oldest] {
            measures.retain(|name| names.contains(name));
        }
    }

    fn connector_figures_of(&self, name: &str, figures: &ConnectorFigures) {
        let own = &self.own.connectors;
        own.stale.set_or_forget(name, figures.stale.map(|stale| stale.as_secs_f64()));
        own.silent.set_or_forget(name, figures.silent.map(|silent| silent.as_secs_f64()));
        own.outbox_oldest.set(name, [], figures.oldest_waiting.unwrap_or_default().as_secs_f64());
    }

    /// Says how many actions may wait for one connector.
    pub fn outbox_capacity(&self, actions: usize) {
        self.own.connectors.outbox_capacity.set(gauge_value(actions));
    }

    /// Says how a probe ended, and how long it took.
    pub fn probe(&self, probe: &ProbeName, is_up: bool, elapsed: Duration) {
        let own = &self.own.connectors;
        own.probe_up.set(probe.as_str(), [], is_up.into());
        own.probe_elapsed.set(probe.as_str(), [], elapsed.as_secs_f64());
    }

    /// Drops the series of a probe that is none any more.
    pub fn forget_probe(&self, probe: &ProbeName) {
        self.own.connectors.probe_up.forget(probe.as_str());
        self.own.connectors.probe_elapsed.forget(probe.as_str());
    }
}
