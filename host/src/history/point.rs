//! What a series says of one step of time, in a form of which two in a row make one of both without loss.

use crate::metrics::snapshot::{Histogram, Kind};

/// What a series says of one step.
#[derive(Debug, Clone, PartialEq)]
pub enum Point {
    /// How much a counter grew.
    Counter(f64),
    /// Where a gauge was.
    Gauge(Gauge),
    /// What a histogram counted.
    Histogram(Histogram),
}

/// Where a gauge was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gauge {
    /// At last.
    pub last: f64,
    /// At the lowest.
    pub min: f64,
    /// At the highest.
    pub max: f64,
    /// All looks added up.
    pub sum: f64,
    /// How often it was looked at; at least once.
    pub count: u64,
}

impl Gauge {
    /// Returns what one look says.
    pub fn of(value: f64) -> Self {
        Self { last: value, min: value, max: value, sum: value, count: 1 }
    }

    /// Returns where it was on average.
    pub fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }

    fn merge(&mut self, later: &Self) {
        *self = Self {
            last: later.last,
            min: self.min.min(later.min),
            max: self.max.max(later.max),
            sum: self.sum + later.sum,
            count: self.count.saturating_add(later.count),
        };
    }
}

impl Point {
    /// Returns what kind of series it is of.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Counter(_) => Kind::Counter,
            Self::Gauge(_) => Kind::Gauge,
            Self::Histogram(_) => Kind::Histogram,
        }
    }

    /// Makes it say what both steps say. A later one of another kind takes its place: the name means something else by then. So
    /// does a histogram with other bounds, which cannot be added.
    pub fn merge(&mut self, later: &Self) {
        match (&mut *self, later) {
            (Self::Counter(increase), Self::Counter(more)) => *increase += more,
            (Self::Gauge(gauge), Self::Gauge(later)) => gauge.merge(later),
            (Self::Histogram(histogram), Self::Histogram(more)) if has_same_bounds(histogram, more) => {
                histogram.add(more);
            }
            _ => self.clone_from(later),
        }
    }

    /// Returns whether nothing was counted.
    pub fn is_nothing(&self) -> bool {
        match self {
            Self::Counter(increase) => *increase == 0.0,
            Self::Gauge(_) => false,
            Self::Histogram(histogram) => histogram.count == 0,
        }
    }
}

fn has_same_bounds(one: &Histogram, other: &Histogram) -> bool {
    one.buckets.iter().map(|bucket| bucket.0).eq(other.buckets.iter().map(|bucket| bucket.0))
}

/// Adds a point to where there may be none yet.
pub(super) fn merge_into(place: &mut Option<Point>, later: Point) {
    match place {
        Some(point) => point.merge(&later),
        None => *place = Some(later),
    }
}
