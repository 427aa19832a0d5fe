//! Gathers points of one name into an answer: merges those of one step, and takes no more than there is room and time for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::point::Point;
use super::query::{Filter, Found, FoundSeries};
use super::row;
use crate::clock::Timestamp;
use crate::metrics::snapshot::Labels;
use crate::store::observations::PointsRow;

/// How much an answer takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Series; of further ones it is only counted how many there are.
    pub(super) series: usize,
    /// Series that are looked at, each time it occurs.
    pub(super) looks: usize,
}

impl Default for Bounds {
    /// Of a second's work, and as many series as there may be of one name.
    fn default() -> Self {
        Self { series: 5_000, looks: 2_000_000 }
    }
}

/// Series that were left out are counted up to this many.
const LEFT_OUT_MAX: usize = 10_000;

/// What was gathered.
#[derive(Debug)]
pub(super) struct Sift {
    filter: Filter,
    step_ms: u64,
    bounds: Bounds,
    series: BTreeMap<Labels, BTreeMap<u64, Point>>,
    left_out: BTreeSet<Labels>,
    looks: usize,
}

impl Sift {
    /// Returns one that takes what `filter` takes and makes one point of `step_ms` milliseconds.
    pub(super) fn new(filter: Filter, step_ms: u64, bounds: Bounds) -> Self {
        let (series, left_out) = (BTreeMap::new(), BTreeSet::new());
        Self { filter, step_ms: step_ms.max(1), bounds, series, left_out, looks: 0 }
    }

    /// Adds a point, which is later than those before it in its step.
    pub(super) fn add(&mut self, labels: &Labels, at: Timestamp, point: Point) {
        if !self.series.contains_key(labels) && self.series.len() >= self.bounds.series {
            if self.left_out.len() < LEFT_OUT_MAX && !self.left_out.contains(labels) {
                self.left_out.insert(labels.clone());
            }
            return;
        }
        let at = at.as_millis() / self.step_ms * self.step_ms;
        let points = self.series.entry(labels.clone()).or_default();
        match points.get_mut(&at) {
            Some(known) => known.merge(&point),
            None => drop(points.insert(at, point)),
        }
    }

    /// Adds what a row says. One in another form is left out.
    pub(super) fn add_row(&mut self, row: &PointsRow) {
        if self.is_cut() {
            return;
        }
        let filter = std::mem::take(&mut self.filter);
        let found = row::decode(&row.body, &filter, |labels, point| self.add(&labels, row.at, point));
        self.filter = filter;
        match found {
            Ok(looks) => self.looks += looks.max(1),
            Err(error) => tracing::debug!(name = %row.name, at = %row.at, %error, "a row is left out"),
        }
    }

    /// Returns whether it has looked at as much as it may.
    pub(super) fn is_cut(&self) -> bool {
        self.looks >= self.bounds.looks
    }

    /// Returns all points of each series.
    pub(super) fn into_series(self) -> BTreeMap<Labels, BTreeMap<u64, Point>> {
        self.series
    }

    pub(super) fn into_found(self, step: Duration) -> Found {
        let (series_left_out, is_cut) = (self.left_out.len(), self.is_cut());
        let kind = self.series.values().flat_map(BTreeMap::values).next_back().map(Point::kind);
        let series = self.series.into_iter().map(|(labels, points)| {
            let points = points.into_iter().map(|(at, point)| (Timestamp::from_millis(at), point));
            // Of a name that meant something else once, what it means now is told.
            FoundSeries { labels, points: points.filter(|(_, point)| Some(point.kind()) == kind).collect() }
        });
        let series = series.filter(|series| !series.points.is_empty()).collect();
        Found { kind, step, series, series_left_out, is_cut }
    }
}
