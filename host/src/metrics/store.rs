//! What the store publishes of itself, as metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Metrics;
use super::grouped::Words;

/// What the store publishes of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreFigures {
    /// Its condition, in its own words.
    pub condition: &'static str,
    /// Length of the write-ahead log.
    pub log_bytes: u64,
    /// Length of the database.
    pub database_bytes: u64,
    /// Rows that were put aside.
    pub quarantined: u64,
    /// Transactions since the start.
    pub commits: u64,
    /// Requests in them.
    pub requests: u64,
    /// How long they took, all together.
    pub commit_time: Duration,
    /// Incidents that were noted and not written.
    pub incidents_dropped: u64,
}

/// What has become of what was to be written down beside the store, in `observations.db`, since the process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ObservationFigures {
    /// Whether what comes is written at the moment.
    pub is_working: bool,
    /// Turns of alerts that were not written.
    pub turns_lost: u64,
    /// Rows of the history of metrics that were not written.
    pub points_lost: u64,
    /// Rows that could not be trusted when they were read.
    pub unfit: u64,
    /// Files that were put aside.
    pub files_set_aside: u64,
}

impl Metrics {
    /// Says what has become of what was observed.
    pub fn observations(&self, figures: &ObservationFigures) {
        self.own.store.observations.set(figures);
    }
}

#[derive(Debug, Default)]
struct ObservationMetrics {
    working: Gauge,
    lost: Family<Words<1>, Counter>,
}

impl ObservationMetrics {
    fn register(to: &mut Registry) -> Self {
        let own = Self::default();
        to.register("observations_working", "1 while what is observed is written down", own.working.clone());
        to.register("observations_lost", "What was observed and is not known any more", own.lost.clone());
        own
    }

    fn set(&self, figures: &ObservationFigures) {
        self.working.set(i64::from(figures.is_working));
        for (what, lost) in [
            ("turns", figures.turns_lost),
            ("points", figures.points_lost),
            ("unfit", figures.unfit),
            ("files", figures.files_set_aside),
        ] {
            self.lost.get_or_create(&[("what", what)]).inner().store(lost, Ordering::Relaxed);
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct StoreMetrics {
    condition: Family<Words<1>, Gauge>,
    log_bytes: Gauge,
    database_bytes: Gauge,
    quarantined: Gauge,
    commits: Counter,
    requests: Counter,
    commit_seconds: Counter<f64, AtomicU64>,
    incidents_dropped: Counter,
    observations: ObservationMetrics,
}

impl StoreMetrics {
    pub(super) fn register(to: &mut Registry) -> Self {
        let own = Self { observations: ObservationMetrics::register(to), ..Self::default() };
        to.register("store_condition", "1 for how the store is", own.condition.clone());
        to.register("store_wal_bytes", "Length of the database's write-ahead log", own.log_bytes.clone());
        to.register("store_database_bytes", "Length of the database without its log", own.database_bytes.clone());
        to.register("store_quarantined_rows", "Rows that were put aside since the start", own.quarantined.clone());
        to.register("store_commits", "Transactions that were committed", own.commits.clone());
        to.register("store_requests", "Requests that were committed", own.requests.clone());
        to.register("store_commit_seconds", "How long the commits took, all together", own.commit_seconds.clone());
        to.register("incidents_dropped", "Incidents of bots that were not written down", own.incidents_dropped.clone());
        own
    }

    pub(super) fn set(&self, figures: &StoreFigures) {
        for condition in ["working", "full", "failing", "displaced"] {
            let is_it = i64::from(condition == figures.condition);
            self.condition.get_or_create(&[("condition", condition)]).set(is_it);
        }
        for (gauge, value) in [
            (&self.log_bytes, figures.log_bytes),
            (&self.database_bytes, figures.database_bytes),
            (&self.quarantined, figures.quarantined),
        ] {
            gauge.set(value.try_into().unwrap_or(i64::MAX));
        }
        self.commits.inner().store(figures.commits, Ordering::Relaxed);
        self.requests.inner().store(figures.requests, Ordering::Relaxed);
        self.incidents_dropped.inner().store(figures.incidents_dropped, Ordering::Relaxed);
        self.commit_seconds.inner().store(figures.commit_time.as_secs_f64().to_bits(), Ordering::Relaxed);
    }
}
