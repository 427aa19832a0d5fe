//! Series that belong to somebody, a bot or a connector, and leave with them. `prometheus_client`'s own family forgets
//! one label set at a time; this one forgets everything of one owner at once.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, LabelSetEncoder, MetricEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::{MetricType, TypedMetric};

/// The labels that tell an owner's series apart: each a name and a word of the program's own.
pub(super) type Words<const N: usize> = [(&'static str, &'static str); N];

/// A gauge of parts: seconds, ratios.
pub(super) type Measure = Gauge<f64, AtomicU64>;

/// A counter of parts.
pub(super) type Sum = Counter<f64, AtomicU64>;

/// One metric family: its series by owner, then by `N` words.
pub(super) struct Grouped<const N: usize, M> {
    /// The label that names the owner.
    label: &'static str,
    create: fn() -> M,
    rows: Arc<RwLock<Rows<N, M>>>,
}

type Rows<const N: usize, M> = BTreeMap<String, BTreeMap<Words<N>, M>>;

impl<const N: usize, M> Grouped<N, M> {
    /// Returns a family without series, whose owners are named by `label`.
    pub(super) fn new(label: &'static str, create: fn() -> M) -> Self {
        Self { label, create, rows: Arc::default() }
    }

    /// Drops every series of `owner`.
    pub(super) fn forget(&self, owner: &str) {
        self.rows.write().unwrap_or_else(PoisonError::into_inner).remove(owner);
    }

    /// Drops every series of owners that are none any more.
    pub(super) fn retain(&self, is_owner: impl Fn(&str) -> bool) {
        self.rows.write().unwrap_or_else(PoisonError::into_inner).retain(|owner, _| is_owner(owner));
    }

    /// Calls `update` with one series, creating it if need be.
    fn with(&self, owner: &str, words: Words<N>, update: impl FnOnce(&M)) {
        {
            let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(metric) = rows.get(owner).and_then(|row| row.get(&words)) {
                return update(metric);
            }
        }
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        update(rows.entry(owner.to_owned()).or_default().entry(words).or_insert_with(self.create));
    }
}

impl<const N: usize> Grouped<N, Counter> {
    /// Adds to a counter.
    pub(super) fn count(&self, owner: &str, words: Words<N>, delta: u64) {
        self.with(owner, words, |counter| {
            counter.inc_by(delta);
        });
    }
}

impl<const N: usize> Grouped<N, Sum> {
    /// Adds to a counter.
    pub(super) fn add(&self, owner: &str, words: Words<N>, delta: f64) {
        self.with(owner, words, |sum| {
            sum.inc_by(delta);
        });
    }
}

impl<const N: usize> Grouped<N, Measure> {
    /// Sets a gauge.
    pub(super) fn set(&self, owner: &str, words: Words<N>, value: f64) {
        self.with(owner, words, |gauge| {
            gauge.set(value);
        });
    }
}

impl Grouped<0, Measure> {
    /// Sets the gauge of `owner`, or drops it where there is nothing to say.
    pub(super) fn set_or_forget(&self, owner: &str, value: Option<f64>) {
        match value {
            Some(value) => self.set(owner, [], value),
            None => self.forget(owner),
        }
    }
}

impl<const N: usize> Grouped<N, Histogram> {
    /// Adds an observation.
    pub(super) fn observe(&self, owner: &str, words: Words<N>, value: f64) {
        self.with(owner, words, |histogram| histogram.observe(value));
    }
}

impl<const N: usize> Grouped<N, Gauge> {
    /// Sets a gauge.
    pub(super) fn set(&self, owner: &str, words: Words<N>, value: i64) {
        self.with(owner, words, |gauge| {
            gauge.set(value);
        });
    }

    /// Sets one gauge of `owner` to 1 and its others to 0; no scrape sees it half done.
    pub(super) fn switch_to(&self, owner: &str, words: Words<N>) {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let row = rows.entry(owner.to_owned()).or_default();
        for gauge in row.values() {
            gauge.set(0);
        }
        row.entry(words).or_insert_with(self.create).set(1);
    }
}

impl<const N: usize, M> Clone for Grouped<N, M> {
    fn clone(&self) -> Self {
        Self { label: self.label, create: self.create, rows: self.rows.clone() }
    }
}

impl<const N: usize, M> fmt::Debug for Grouped<N, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grouped").field("label", &self.label).finish_non_exhaustive()
    }
}

impl<const N: usize, M: EncodeMetric + TypedMetric> EncodeMetric for Grouped<N, M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        for (owner, row) in rows.iter() {
            for (words, metric) in row {
                metric.encode(encoder.encode_family(&Owned { label: self.label, owner, rest: words })?)?;
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }

    fn is_empty(&self) -> bool {
        self.rows.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// A series' labels: its owner's, then the rest.
pub(super) struct Owned<'a, L> {
    pub(super) label: &'static str,
    pub(super) owner: &'a str,
    pub(super) rest: &'a L,
}

impl<L: EncodeLabelSet> EncodeLabelSet for Owned<'_, L> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        {
            let mut label = encoder.encode_label();
            let mut key = label.encode_label_key()?;
            key.write_str(self.label)?;
            let mut value = key.encode_label_value()?;
            value.write_str(self.owner)?;
            value.finish()?;
        }
        self.rest.encode(encoder)
    }
}
