//! How the host, its bots and its connectors fared in a span of time, from the totals of their series. Pure.

mod budget;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::budget::Budget;
use super::point::{Gauge, Point};
use super::sift::Sift;
use crate::clock::Timestamp;
use crate::metrics::snapshot::{Histogram, Labels};

/// Bots, and connectors, that a report tells of: the worst.
const LINES_MAX: usize = 1_000;

/// What a report is made of.
pub(super) const FAMILIES: &[&str] = &[
    "bothost_process_cpu_ratio",
    "bothost_machine_cpu_ratio",
    "bothost_process_resident_bytes",
    "bothost_memory_used_ratio",
    "bothost_disk_free_bytes",
    "bothost_queue_depth_events",
    "bothost_errors_total",
    "bothost_bot_restarts_total",
    "bothost_attempt_ended_total",
    "bothost_bot_faults_total",
    "bothost_attempt_waited_seconds",
    "bothost_attempt_elapsed_seconds",
    "bothost_attempt_fuel_units",
    "bothost_bot_fuel_limit_units",
    "bothost_bot_memory_peak_bytes",
    "bothost_bot_memory_limit_bytes",
    "bothost_dead_letter_added_total",
    "bothost_event_taken_over_total",
    "bothost_delivery_ended_total",
    "bothost_delivery_elapsed_seconds",
    "bothost_delivery_rate_limited_total",
    "bothost_delivery_rate_limit_wait_seconds_total",
    "bothost_connector_connections_total",
];

/// How everything fared.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Report {
    /// From when, in RFC 3339.
    pub since: String,
    /// To when, in RFC 3339.
    pub until: String,
    /// The host itself.
    pub host: HostReport,
    /// Its bots, the worst first.
    pub bots: Vec<BotReport>,
    /// Its connectors, the worst first.
    pub connectors: Vec<ConnectorReport>,
    /// Bots and connectors that it does not tell of because there are too many.
    pub left_out: usize,
    /// It would have taken too long to look at everything: the latest part of some numbers is not in them.
    pub is_cut: bool,
}

/// A gauge over the span.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Level {
    /// On average.
    pub mean: f64,
    /// At the highest.
    pub max: f64,
}

/// A histogram over the span, as it can be told from its buckets.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Quantiles {
    /// Half were at most this.
    pub p50: f64,
    /// 95 of 100 were.
    pub p95: f64,
    /// 99 of 100 were.
    pub p99: f64,
}

/// How the host fared. What nobody measures is none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct HostReport {
    /// Processor time of the process, in cores.
    pub cpu_cores: Option<Level>,
    /// Processor time of the machine, from 0 to 1.
    pub machine_cpu_ratio: Option<Level>,
    /// Memory of the process.
    pub memory_bytes: Option<Level>,
    /// Memory that is used of what there is, by all, from 0 to 1.
    pub memory_used_ratio: Option<Level>,
    /// Room on the disk, when there was the least.
    pub disk_free_bytes_min: Option<f64>,
    /// Events that waited, when there were the most.
    pub queued_events_max: Option<f64>,
    /// Events that came in.
    pub events: u64,
    /// Errors.
    pub errors: u64,
    /// Restarts of bots.
    pub restarts: u64,
}

/// How a bot fared.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct BotReport {
    /// Its name.
    pub bot: String,
    /// Attempts that ended well.
    pub ok: u64,
    /// Attempts that did not.
    pub failed: u64,
    /// Faults by kind, those of `init` included.
    pub faults: BTreeMap<String, u64>,
    /// How long events waited, in seconds.
    pub waited_seconds: Option<Quantiles>,
    /// How long attempts took, in seconds.
    pub elapsed_seconds: Option<Quantiles>,
    /// Fuel of attempts.
    pub fuel: Budget,
    /// Memory of its instances, in bytes.
    pub memory: Budget,
    /// How often it was started again.
    pub restarts: u64,
    /// Events that it could not handle.
    pub dead_letters: u64,
}

/// How a connector fared.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct ConnectorReport {
    /// Its name.
    pub connector: String,
    /// Events that came in.
    pub events: u64,
    /// Deliveries by how they ended; `ok` is how they should.
    pub deliveries: BTreeMap<String, u64>,
    /// From the commit to the platform's answer, in seconds.
    pub delivery_seconds: Option<Quantiles>,
    /// How often the platform asked to slow down.
    pub rate_limited: u64,
    /// How long was waited because of it, in seconds.
    pub rate_limit_wait_seconds: f64,
    /// How often it connected.
    pub connections: u64,
}

/// The totals of every series of [`FAMILIES`].
#[derive(Debug, Default)]
pub(super) struct Totals {
    families: BTreeMap<&'static str, Vec<(Labels, Point)>>,
    is_cut: bool,
}

impl Totals {
    /// Adds the series of one name.
    pub(super) fn add(&mut self, name: &'static str, sift: Sift) {
        self.is_cut |= sift.is_cut();
        let total = |(labels, points): (Labels, BTreeMap<u64, Point>)| {
            let whole = points.into_values().reduce(|mut total, later| {
                total.merge(&later);
                total
            });
            Some((labels, whole?))
        };
        self.families.insert(name, sift.into_series().into_iter().filter_map(total).collect());
    }

    fn of(&self, name: &str) -> &[(Labels, Point)] {
        self.families.get(name).map_or(&[], Vec::as_slice)
    }

    /// Returns the increase of each series of a counter.
    fn increases(&self, name: &str) -> impl Iterator<Item = (&Labels, f64)> {
        self.of(name).iter().filter_map(|(labels, point)| match point {
            Point::Counter(increase) => Some((labels, *increase)),
            _ => None,
        })
    }

    fn histograms(&self, name: &str) -> impl Iterator<Item = (&Labels, &Histogram)> {
        self.of(name).iter().filter_map(|(labels, point)| match point {
            Point::Histogram(histogram) => Some((labels, histogram)),
            _ => None,
        })
    }

    fn gauges(&self, name: &str) -> impl Iterator<Item = (&Labels, &Gauge)> {
        self.of(name).iter().filter_map(|(labels, point)| match point {
            Point::Gauge(gauge) => Some((labels, gauge)),
            _ => None,
        })
    }

    fn sum(&self, name: &str) -> u64 {
        self.increases(name).map(|(_, increase)| increase as u64).sum()
    }

    fn level(&self, name: &str) -> Option<Level> {
        self.gauges(name).next().map(|(_, gauge)| Level { mean: gauge.mean(), max: gauge.max })
    }
}

impl Quantiles {
    fn of(histogram: &Histogram) -> Option<Self> {
        let at = |quantile| histogram.quantile(quantile);
        Some(Self { p50: at(0.5)?, p95: at(0.95)?, p99: at(0.99)? })
    }
}

impl Report {
    /// Makes a report of totals.
    pub(super) fn of(totals: &Totals, since: Timestamp, until: Timestamp) -> Self {
        let (mut bots, mut connectors) = (bots(totals), connectors(totals));
        let left_out = bots.len().saturating_sub(LINES_MAX) + connectors.len().saturating_sub(LINES_MAX);
        bots.truncate(LINES_MAX);
        connectors.truncate(LINES_MAX);
        let (since, until) = (since.to_string(), until.to_string());
        Self { since, until, host: host(totals), bots, connectors, left_out, is_cut: totals.is_cut }
    }

    /// Returns it without any bot but one, and without connectors.
    pub fn of_bot(mut self, bot: &str) -> Self {
        self.bots.retain(|report| report.bot == bot);
        self.connectors.clear();
        self
    }
}

fn host(totals: &Totals) -> HostReport {
    let lowest = |name: &str| totals.gauges(name).map(|(_, gauge)| gauge.min).reduce(f64::min);
    HostReport {
        cpu_cores: totals.level("bothost_process_cpu_ratio"),
        machine_cpu_ratio: totals.level("bothost_machine_cpu_ratio"),
        memory_bytes: totals.level("bothost_process_resident_bytes"),
        memory_used_ratio: totals.level("bothost_memory_used_ratio"),
        disk_free_bytes_min: lowest("bothost_disk_free_bytes"),
        queued_events_max: totals.level("bothost_queue_depth_events").map(|level| level.max),
        events: totals.sum("bothost_event_taken_over_total"),
        errors: totals.sum("bothost_errors_total"),
        restarts: totals.sum("bothost_bot_restarts_total"),
    }
}

fn label<'a>(labels: &'a Labels, name: &str) -> &'a str {
    labels.iter().find(|(given, _)| **given == *name).map_or("", |(_, value)| value)
}

fn bots(totals: &Totals) -> Vec<BotReport> {
    let mut bots: BTreeMap<&str, BotReport> = BTreeMap::new();
    let mut of = |labels, change: &dyn Fn(&mut BotReport)| {
        let name = label(labels, "bot");
        if !name.is_empty() {
            change(bots.entry(name).or_insert_with(|| BotReport { bot: name.to_owned(), ..BotReport::default() }));
        }
    };
    for (labels, count) in totals.increases("bothost_attempt_ended_total") {
        let is_ok = label(labels, "outcome") == "ok";
        of(labels, &|bot| *(if is_ok { &mut bot.ok } else { &mut bot.failed }) += count as u64);
    }
    for (labels, count) in totals.increases("bothost_bot_faults_total") {
        let kind = label(labels, "kind");
        of(labels, &|bot| *bot.faults.entry(kind.to_owned()).or_default() += count as u64);
    }
    for (labels, count) in totals.increases("bothost_bot_restarts_total") {
        of(labels, &|bot| bot.restarts += count as u64);
    }
    for (labels, count) in totals.increases("bothost_dead_letter_added_total") {
        of(labels, &|bot| bot.dead_letters += count as u64);
    }
    for (labels, waited) in totals.histograms("bothost_attempt_waited_seconds") {
        of(labels, &|bot| bot.waited_seconds = Quantiles::of(waited));
    }
    for (labels, elapsed) in totals.histograms("bothost_attempt_elapsed_seconds") {
        of(labels, &|bot| bot.elapsed_seconds = Quantiles::of(elapsed));
    }
    for (labels, fuel) in totals.histograms("bothost_attempt_fuel_units") {
        of(labels, &|bot| bot.fuel = Budget::of_fuel(fuel));
    }
    for (labels, peak) in totals.gauges("bothost_bot_memory_peak_bytes") {
        of(labels, &|bot| bot.memory = Budget::of_memory(peak.max, bot.ok + bot.failed));
    }
    for (labels, limit) in totals.gauges("bothost_bot_fuel_limit_units") {
        of(labels, &|bot| bot.fuel.limit = Some(limit.last));
    }
    for (labels, limit) in totals.gauges("bothost_bot_memory_limit_bytes") {
        of(labels, &|bot| bot.memory.limit = Some(limit.last));
    }
    let mut bots: Vec<_> = bots.into_values().collect();
    let p99 = |bot: &BotReport| bot.elapsed_seconds.map_or(0.0, |elapsed| elapsed.p99);
    let badness = |bot: &BotReport| (bot.failed, bot.dead_letters, bot.restarts);
    // Stable: of equals, in the order of their names.
    bots.sort_by(|one, other| badness(other).cmp(&badness(one)).then(p99(other).total_cmp(&p99(one))));
    bots
}

fn connectors(totals: &Totals) -> Vec<ConnectorReport> {
    let mut connectors: BTreeMap<&str, ConnectorReport> = BTreeMap::new();
    let mut of = |labels, change: &dyn Fn(&mut ConnectorReport)| {
        let name = label(labels, "connector");
        // The events of timers have none.
        if !name.is_empty() {
            let new = || ConnectorReport { connector: name.to_owned(), ..ConnectorReport::default() };
            change(connectors.entry(name).or_insert_with(new));
        }
    };
    for (labels, count) in totals.increases("bothost_event_taken_over_total") {
        of(labels, &|connector| connector.events += count as u64);
    }
    for (labels, count) in totals.increases("bothost_delivery_ended_total") {
        let outcome = label(labels, "outcome");
        of(labels, &|connector| *connector.deliveries.entry(outcome.to_owned()).or_default() += count as u64);
    }
    for (labels, elapsed) in totals.histograms("bothost_delivery_elapsed_seconds") {
        of(labels, &|connector| connector.delivery_seconds = Quantiles::of(elapsed));
    }
    for (labels, count) in totals.increases("bothost_delivery_rate_limited_total") {
        of(labels, &|connector| connector.rate_limited += count as u64);
    }
    for (labels, seconds) in totals.increases("bothost_delivery_rate_limit_wait_seconds_total") {
        of(labels, &|connector| connector.rate_limit_wait_seconds += seconds);
    }
    for (labels, count) in totals.increases("bothost_connector_connections_total") {
        of(labels, &|connector| connector.connections += count as u64);
    }
    let mut connectors: Vec<_> = connectors.into_values().collect();
    let lost = |connector: &ConnectorReport| {
        let lost = connector.deliveries.iter().filter(|(outcome, _)| *outcome != "ok").map(|(_, count)| *count);
        (lost.sum::<u64>(), connector.rate_limited, connector.connections)
    };
    connectors.sort_by_key(|connector| std::cmp::Reverse(lost(connector)));
    connectors
}

#[cfg(test)]
mod tests;
