//! The metrics that bots bring, exported as `bothost_guest_NAME{bot="…"}`. What a bot says is checked and bounded here,
//! so that the exposition stays valid and small whatever it does; what is refused is counted with its reason.
//!
//! A name has one kind in the whole host, for two kinds of one name make the exposition invalid: it keeps the kind that
//! its first call gave it for as long as some bot has a series of that name. The refused bot loses that metric and
//! nothing else. A counter `orders` is exported as `orders_total`, and so is a counter that was called `orders_total`
//! to begin with.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::Metrics;
use super::grouped::Owned;
use crate::id::BotName;

/// Series that one bot may have.
pub(super) const BOT_SERIES_MAX: usize = 100;
/// Series that all bots together may have. Bounds what one scrape costs.
pub(super) const HOST_SERIES_MAX: usize = 20_000;
const NAME_BYTES_MAX: usize = 64;
const LABELS_MAX: usize = 10;
const LABEL_VALUE_BYTES_MAX: usize = 128;
const BUCKETS: [f64; 11] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 50.0, 100.0];
/// Names below `bothost_guest_` that are the host's own.
const RESERVED: [&str; 3] = ["metrics_rejected", "metrics_rejected_total", "metrics_rejected_created"];

/// Why a measurement was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejection {
    /// The name breaks the rule.
    Name,
    /// A label breaks a rule, is reserved or comes twice, or there are too many.
    Label,
    /// The value is infinite or no number.
    Value,
    /// This bot uses the name with another kind.
    Kind,
    /// Another bot uses the name with another kind, or its series would have the same names.
    Taken,
    /// The bot has all the series it may have.
    BotFull,
    /// The bots together have all the series they may have.
    HostFull,
}

impl Rejection {
    /// Returns the value of the label `reason`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Label => "label",
            Self::Value => "value",
            Self::Kind => "kind",
            Self::Taken => "taken",
            Self::BotFull => "bot-full",
            Self::HostFull => "host-full",
        }
    }
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Measurement {
    Count(u64),
    Gauge(f64),
    Observe(f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    /// Returns the names that the samples of a family may have; no other family may have any of them.
    fn sample_names(self, name: &str) -> impl Iterator<Item = String> {
        let suffixes: &[&str] = match self {
            Self::Counter => &["", "_total", "_created"],
            Self::Gauge => &[""],
            Self::Histogram => &["", "_bucket", "_sum", "_count", "_created"],
        };
        suffixes.iter().map(move |suffix| format!("{name}{suffix}"))
    }
}

type Labels = Vec<(String, String)>;

#[derive(Debug, Clone, Copy)]
enum Value {
    Counter(u64),
    Gauge(f64),
    Histogram { sum: f64, count: u64, buckets: [u64; BUCKETS.len() + 1] },
}

impl Value {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Counter(0),
            Kind::Gauge => Self::Gauge(0.0),
            Kind::Histogram => Self::Histogram { sum: 0.0, count: 0, buckets: [0; _] },
        }
    }

    fn apply(&mut self, measurement: Measurement) {
        match (self, measurement) {
            (Self::Counter(total), Measurement::Count(delta)) => *total = total.saturating_add(delta),
            (Self::Gauge(value), Measurement::Gauge(new)) => *value = new,
            (Self::Histogram { sum, count, buckets }, Measurement::Observe(value)) => {
                // Finite numbers may still add up to an infinite one.
                *sum = (*sum + value).clamp(f64::MIN, f64::MAX);
                *count = count.saturating_add(1);
                let bucket = BUCKETS.iter().position(|bound| value <= *bound).unwrap_or(BUCKETS.len());
                buckets[bucket] = buckets[bucket].saturating_add(1);
            }
            _ => debug_assert!(false, "a series is found by its name, and a name has one kind"),
        }
    }
}

/// The series of one bot.
#[derive(Debug, Default)]
struct BotSeries {
    kinds: HashMap<String, Kind>,
    series: BTreeMap<(String, Labels), Value>,
    /// It was taken out of the map; nothing may be added any more.
    forgotten: bool,
}

/// The names that are in use, by all bots.
#[derive(Debug, Default)]
struct Names {
    families: HashMap<String, Claim>,
    samples: HashSet<String>,
    series: usize,
}

#[derive(Debug)]
struct Claim {
    kind: Kind,
    bots: usize,
}

impl Names {
    fn claim(&mut self, name: &str, kind: Kind) -> Result<(), Rejection> {
        if let Some(claim) = self.families.get_mut(name) {
            if claim.kind != kind {
                return Err(Rejection::Taken);
            }
            claim.bots += 1;
            return Ok(());
        }
        let taken = |sample: String| self.samples.contains(&sample) || RESERVED.contains(&sample.as_str());
        if kind.sample_names(name).any(taken) {
            return Err(Rejection::Taken);
        }
        self.samples.extend(kind.sample_names(name));
        self.families.insert(name.to_owned(), Claim { kind, bots: 1 });
        Ok(())
    }

    fn release(&mut self, name: &str) {
        let Some(claim) = self.families.get_mut(name) else { return };
        claim.bots -= 1;
        if claim.bots == 0 {
            for sample in claim.kind.sample_names(name) {
                self.samples.remove(&sample);
            }
            self.families.remove(name);
        }
    }
}

/// All bots' own metrics. A bot that floods it holds up its own calls only: each bot's series have their own lock, and
/// the common one is taken for a new series or name alone. Locks are taken in the order of the fields.
#[derive(Debug, Default)]
pub(super) struct GuestMetrics {
    bots: RwLock<BTreeMap<BotName, Arc<Mutex<BotSeries>>>>,
    names: Mutex<Names>,
}

impl GuestMetrics {
    /// Takes a measurement of a bot.
    ///
    /// # Errors
    ///
    /// Why it was dropped.
    pub(super) fn record(
        &self,
        bot: &BotName,
        name: &str,
        measurement: Measurement,
        labels: &[(String, String)],
    ) -> Result<(), Rejection> {
        let kind = match measurement {
            Measurement::Count(_) => Kind::Counter,
            Measurement::Gauge(value) | Measurement::Observe(value) if !value.is_finite() => {
                return Err(Rejection::Value);
            }
            Measurement::Gauge(_) => Kind::Gauge,
            Measurement::Observe(_) => Kind::Histogram,
        };
        if !is_name(name) {
            return Err(Rejection::Name);
        }
        let name = if kind == Kind::Counter { name.strip_suffix("_total").unwrap_or(name) } else { name };
        let key = (name.to_owned(), check_labels(labels)?);
        let series = self.series_of(bot);
        let mut series = lock(&series);
        if series.kinds.get(name).is_some_and(|own| *own != kind) {
            return Err(Rejection::Kind);
        }
        if let Some(value) = series.series.get_mut(&key) {
            value.apply(measurement);
            return Ok(());
        }
        self.admit(&mut series, name, kind)?;
        series.series.entry(key).or_insert(Value::new(kind)).apply(measurement);
        Ok(())
    }

    /// Makes room for one more series of a bot.
    fn admit(&self, bot: &mut BotSeries, name: &str, kind: Kind) -> Result<(), Rejection> {
        if bot.forgotten || bot.series.len() >= BOT_SERIES_MAX {
            return Err(Rejection::BotFull);
        }
        let mut names = lock(&self.names);
        if names.series >= HOST_SERIES_MAX {
            return Err(Rejection::HostFull);
        }
        if !bot.kinds.contains_key(name) {
            names.claim(name, kind)?;
            bot.kinds.insert(name.to_owned(), kind);
        }
        names.series += 1;
        Ok(())
    }

    fn series_of(&self, bot: &BotName) -> Arc<Mutex<BotSeries>> {
        if let Some(series) = self.bots.read().unwrap_or_else(PoisonError::into_inner).get(bot) {
            return series.clone();
        }
        self.bots.write().unwrap_or_else(PoisonError::into_inner).entry(bot.clone()).or_default().clone()
    }

    /// Drops every series of a bot and gives its names back.
    pub(super) fn forget(&self, bot: &BotName) {
        let Some(series) = self.bots.write().unwrap_or_else(PoisonError::into_inner).remove(bot) else { return };
        let mut series = lock(&series);
        series.forgotten = true;
        let mut names = lock(&self.names);
        names.series -= series.series.len();
        for name in series.kinds.keys() {
            names.release(name);
        }
    }

    /// Returns all series by family, for a family's series must stand together.
    fn families(&self) -> BTreeMap<String, Vec<(BotName, Labels, Value)>> {
        let mut families: BTreeMap<String, Vec<_>> = BTreeMap::new();
        // Held to the end: a bot that is forgotten meanwhile would give its names to another kind, and both be seen.
        let bots = self.bots.read().unwrap_or_else(PoisonError::into_inner);
        for (bot, series) in bots.iter() {
            for ((name, labels), value) in &lock(series).series {
                families.entry(name.clone()).or_default().push((bot.clone(), labels.clone(), *value));
            }
        }
        families
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns whether a text is a name or a label's key: `[a-z][a-z0-9_]*`, not too long.
fn is_name(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Returns labels in an order of their own, so that the same labels given in another order are the same series.
fn check_labels(labels: &[(String, String)]) -> Result<Labels, Rejection> {
    let is_good = |(key, value): &(String, String)| {
        let is_reserved = matches!(key.as_str(), "bot" | "le");
        is_name(key) && !is_reserved && value.len() <= LABEL_VALUE_BYTES_MAX && !value.chars().any(char::is_control)
    };
    if labels.len() > LABELS_MAX || !labels.iter().all(is_good) {
        return Err(Rejection::Label);
    }
    let mut labels = labels.to_vec();
    labels.sort();
    if labels.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(Rejection::Label);
    }
    // An empty value is no label at all to those who read the exposition; kept, it would make one series two.
    labels.retain(|(_, value)| !value.is_empty());
    Ok(labels)
}

/// Writes the guests' families at each scrape.
#[derive(Debug)]
pub(super) struct GuestCollector(pub(super) Arc<GuestMetrics>);

impl Collector for GuestCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, series) in self.0.families() {
            let Some((_, _, first)) = series.first() else { continue };
            let kind = match first {
                Value::Counter(_) => MetricType::Counter,
                Value::Gauge(_) => MetricType::Gauge,
                Value::Histogram { .. } => MetricType::Histogram,
            };
            let name = format!("guest_{name}");
            let mut family = encoder.encode_descriptor(&name, "Brought by bots.", None, kind)?;
            for (bot, labels, value) in &series {
                encode_series(&mut family, bot, labels, value)?;
            }
        }
        Ok(())
    }
}

fn encode_series(family: &mut MetricEncoder<'_>, bot: &BotName, labels: &Labels, value: &Value) -> fmt::Result {
    let labels = Owned { label: "bot", owner: bot.as_str(), rest: labels };
    let mut series = family.encode_family(&labels)?;
    match value {
        Value::Counter(total) => series.encode_counter::<NoLabelSet, _, u64>(total, None),
        Value::Gauge(value) => series.encode_gauge(value),
        Value::Histogram { sum, count, buckets } => {
            let bounds = BUCKETS.into_iter().chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(buckets.iter().copied()).collect();
            series.encode_histogram::<NoLabelSet>(*sum, *count, &buckets, None)
        }
    }
}

impl Metrics {
    /// Adds to a counter that a bot brings.
    pub fn guest_count(&self, bot: &BotName, name: &str, delta: u64, labels: &[(String, String)]) {
        self.guest(bot, name, Measurement::Count(delta), labels);
    }

    /// Sets a gauge that a bot brings.
    pub fn guest_gauge(&self, bot: &BotName, name: &str, value: f64, labels: &[(String, String)]) {
        self.guest(bot, name, Measurement::Gauge(value), labels);
    }

    /// Adds an observation to a histogram that a bot brings.
    pub fn guest_observe(&self, bot: &BotName, name: &str, value: f64, labels: &[(String, String)]) {
        self.guest(bot, name, Measurement::Observe(value), labels);
    }

    fn guest(&self, bot: &BotName, name: &str, measurement: Measurement, labels: &[(String, String)]) {
        if self.is_muted {
            return;
        }
        if let Err(rejection) = self.guests.record(bot, name, measurement, labels) {
            self.own.guest_rejected.count(bot.as_str(), [("reason", rejection.as_str())], 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Measurement::{Count, Gauge, Observe};

    fn bot(name: &str) -> BotName {
        name.parse().unwrap()
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn names_and_labels_outside_the_rule_are_refused() {
        let guests = GuestMetrics::default();
        for name in ["", "A", "1a", "_a", "a-b", "a\n", "a b", "é", &"a".repeat(65)] {
            assert_eq!(guests.record(&bot("b"), name, Count(1), &[]), Err(Rejection::Name), "{name:?}");
        }
        let long = "v".repeat(129);
        let many: Vec<_> = (0..11).map(|n| (format!("k{n}"), "v".to_owned())).collect();
        for bad in [
            labels(&[("bot", "x")]),
            labels(&[("le", "x")]),
            labels(&[("__name__", "x")]),
            labels(&[("k", "a\nb")]),
            labels(&[("k", &long)]),
            labels(&[("k", "a"), ("k", "b")]),
            many,
        ] {
            assert_eq!(guests.record(&bot("b"), "n", Count(1), &bad), Err(Rejection::Label), "{bad:?}");
        }
    }

    #[test]
    fn what_is_no_finite_number_is_refused() {
        let guests = GuestMetrics::default();
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(guests.record(&bot("b"), "g", Gauge(value), &[]), Err(Rejection::Value));
            assert_eq!(guests.record(&bot("b"), "h", Observe(value), &[]), Err(Rejection::Value));
        }
    }

    #[test]
    fn a_flood_of_series_ends_at_the_cap_and_known_series_go_on() {
        let guests = GuestMetrics::default();
        let outcomes: Vec<_> =
            (0..1000).map(|n| guests.record(&bot("b"), "n", Count(1), &labels(&[("k", &n.to_string())]))).collect();
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), BOT_SERIES_MAX);
        assert!(outcomes[BOT_SERIES_MAX..].iter().all(|outcome| *outcome == Err(Rejection::BotFull)));
        assert_eq!(guests.record(&bot("b"), "n", Count(1), &labels(&[("k", "0")])), Ok(()));
        assert_eq!(guests.record(&bot("c"), "n", Count(1), &[]), Ok(()));
    }

    #[test]
    fn all_bots_together_are_bounded_and_a_forgotten_bot_makes_room() {
        let guests = GuestMetrics::default();
        for b in 0..HOST_SERIES_MAX / BOT_SERIES_MAX {
            for n in 0..BOT_SERIES_MAX {
                let outcome = guests.record(&bot(&b.to_string()), "n", Count(1), &labels(&[("k", &n.to_string())]));
                assert_eq!(outcome, Ok(()));
            }
        }
        assert_eq!(guests.record(&bot("late"), "n", Count(1), &[]), Err(Rejection::HostFull));
        guests.forget(&bot("0"));
        assert_eq!(guests.record(&bot("late"), "n", Count(1), &[]), Ok(()));
    }

    #[test]
    fn a_name_keeps_its_kind_until_the_last_bot_that_uses_it_is_forgotten() {
        let guests = GuestMetrics::default();
        assert_eq!(guests.record(&bot("a"), "n", Count(1), &[]), Ok(()));
        assert_eq!(guests.record(&bot("a"), "n", Gauge(1.0), &[]), Err(Rejection::Kind));
        assert_eq!(guests.record(&bot("b"), "n", Gauge(1.0), &[]), Err(Rejection::Taken));
        guests.forget(&bot("a"));
        assert_eq!(guests.record(&bot("b"), "n", Gauge(1.0), &[]), Ok(()));
    }

    #[test]
    fn no_two_families_share_a_sample_name() {
        let guests = GuestMetrics::default();
        assert_eq!(guests.record(&bot("a"), "orders_total", Count(1), &[]), Ok(()));
        assert_eq!(guests.record(&bot("a"), "orders", Count(1), &[]), Ok(()), "the same counter");
        assert_eq!(guests.record(&bot("b"), "orders_total", Gauge(1.0), &[]), Err(Rejection::Taken));
        assert_eq!(guests.record(&bot("a"), "lag_count", Gauge(1.0), &[]), Ok(()));
        assert_eq!(guests.record(&bot("b"), "lag", Observe(1.0), &[]), Err(Rejection::Taken));
        assert_eq!(guests.record(&bot("a"), "metrics_rejected", Count(1), &[]), Err(Rejection::Taken));
        assert_eq!(guests.families().keys().collect::<Vec<_>>(), ["lag_count", "orders"]);
    }

    #[test]
    fn the_order_of_labels_makes_no_new_series() {
        let guests = GuestMetrics::default();
        for pairs in [[("a", "1"), ("b", "2")], [("b", "2"), ("a", "1")]] {
            assert_eq!(guests.record(&bot("b"), "n", Count(1), &labels(&pairs)), Ok(()));
        }
        assert!(matches!(guests.families()["n"][..], [(_, _, Value::Counter(2))]));
    }

    #[test]
    fn no_value_overflows() {
        let guests = GuestMetrics::default();
        for _ in 0..2 {
            assert_eq!(guests.record(&bot("b"), "n", Count(u64::MAX), &[]), Ok(()));
            assert_eq!(guests.record(&bot("b"), "h", Observe(f64::MAX), &[]), Ok(()));
        }
        let families = guests.families();
        assert!(matches!(families["n"][..], [(_, _, Value::Counter(u64::MAX))]));
        assert!(matches!(families["h"][..], [(_, _, Value::Histogram { sum: f64::MAX, count: 2, .. })]));
    }
}
