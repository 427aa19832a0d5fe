//! Makes points of snapshots: what each says since the one before it, gathered for each step of [`STEPS`] until the step is over,
//! and kept one by one for an hour. Pure: the time is the snapshot's.
//!
//! A step is over when a snapshot is of another one, be it a later or, where the clock was set, an earlier one. So nothing is
//! counted twice, and what is counted twice over in time stands in two parts of the same step.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use super::point::{Gauge, Point, merge_into};
use super::query::{Filter, RawSpan};
use crate::clock::Timestamp;
use crate::metrics::snapshot::{Family, Histogram, Kind, Labels, Snapshot, Value};
use crate::store::observations::Keep;

/// The steps that are written down, the finest first, and how long they are kept.
pub const STEPS: [Keep; 2] = [
    Keep { step_seconds: 60, age_max: Duration::from_secs(86_400) },
    Keep { step_seconds: 600, age_max: Duration::from_secs(7 * 86_400) },
];

/// How long single points are kept, in memory.
const RAW_AGE_MAX: Duration = Duration::from_secs(3_600);
/// Looks of which single points are kept: an hour of them at ten seconds, less where it is looked more often.
const RAW_ROUNDS_MAX: usize = 361;
/// Series of which single points are kept: 32 MiB of plain numbers at most.
const RAW_SERIES_MAX: usize = 4_000;
/// Series of one name; a row has no more.
const ROW_SERIES_MAX: usize = 5_000;
/// Series in all. Guests may have 20,000 of them.
const SERIES_MAX: usize = 50_000;

/// Families of which one series of an owner is 1 and its others are 0: the zeros are left out.
const STATES: [&str; 3] = ["bothost_bot_phase", "bothost_connector_link", "bothost_store_condition"];
/// Counters that somebody else keeps, who was there before this process: what they say at first is no increase.
const OLDER: [&str; 1] = ["bothost_cgroup_cpu_throttled_seconds_total"];

/// All series of one name in a step that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// The step, in seconds.
    pub step_seconds: u32,
    /// When it began.
    pub at: Timestamp,
    /// The name.
    pub name: Box<str>,
    /// What the series are.
    pub kind: Kind,
    /// Those that have something to say; never none.
    pub series: Vec<(Labels, Point)>,
}

/// What series said lately.
#[derive(Debug, Default)]
pub struct Recorder {
    families: BTreeMap<Box<str>, Recorded>,
    /// When the step began that is open, for each of [`STEPS`].
    open: [Option<Timestamp>; STEPS.len()],
    /// When single points were taken. The single points of a series are those of the last of them.
    rounds: VecDeque<Timestamp>,
    series: usize,
    raw_series: usize,
    dropped: u64,
    has_begun: bool,
}

#[derive(Debug)]
struct Recorded {
    kind: Kind,
    series: HashMap<Labels, Track>,
}

/// One series.
#[derive(Debug, Default)]
struct Track {
    /// What it said at the last look; none where it was not there.
    previous: Option<Value>,
    is_there: bool,
    /// Looks in a row at which it was not there.
    absent: usize,
    /// None: there are too many series.
    raw: Option<VecDeque<Raw>>,
    open: [Option<Point>; STEPS.len()],
}

/// A single point, without the bulk of what says nothing.
#[derive(Debug, Clone)]
enum Raw {
    Nothing,
    Number(f64),
    Histogram(Box<Histogram>),
}

impl Recorder {
    /// Takes what every series says now. Returns the steps that are over by it.
    pub fn record(&mut self, snapshot: &Snapshot) -> Vec<Finished> {
        let finished = self.close_steps(Some(snapshot.at));
        self.begin_round(snapshot.at);
        for (name, family) in &snapshot.families {
            self.take_family(name, family);
        }
        self.end_round();
        self.has_begun = true;
        finished
    }

    /// Ends the steps that are open, as at the end of the process. What comes later within them makes another part.
    pub fn flush(&mut self) -> Vec<Finished> {
        self.close_steps(None)
    }

    /// Returns how often a series was left out of a look because there are too many.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Returns the names that are known.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.families.keys().map(|name| &**name)
    }

    /// Returns what there are single points of.
    pub(super) fn raw_span(&self) -> Option<RawSpan> {
        let (first, last) = (self.rounds.front()?, self.rounds.back()?);
        let before = self.rounds.iter().nth_back(1).unwrap_or(last);
        Some(RawSpan { since: *first, interval: last.saturating_since(*before) })
    }

    /// Calls `each` with the single points of a name from `since` to before `until`.
    pub(super) fn raw(
        &self,
        name: &str,
        filter: &Filter,
        (since, until): (Timestamp, Timestamp),
        mut each: impl FnMut(&Labels, Timestamp, Point),
    ) {
        let Some(family) = self.families.get(name) else { return };
        for (labels, track) in family.series.iter().filter(|(labels, _)| filter.takes_labels(labels)) {
            let raw = track.raw.iter().flatten();
            // From the end: a series that came later has fewer points.
            let skipped = self.rounds.len() - track.raw.as_ref().map_or(0, VecDeque::len);
            for (at, raw) in self.rounds.iter().skip(skipped).zip(raw) {
                if (since..until).contains(at)
                    && let Some(point) = raw.point(family.kind)
                {
                    each(labels, *at, point);
                }
            }
        }
    }

    /// Calls `each` with what is known of the open step of a name, where it began from `since` to before `until`.
    pub(super) fn open_step(
        &self,
        index: usize,
        name: &str,
        filter: &Filter,
        (since, until): (Timestamp, Timestamp),
        mut each: impl FnMut(&Labels, Timestamp, Point),
    ) {
        let Some(at) = self.open[index].filter(|at| (since..until).contains(at)) else { return };
        let Some(family) = self.families.get(name) else { return };
        for (labels, track) in family.series.iter().filter(|(labels, _)| filter.takes_labels(labels)) {
            if let Some(point) = track.open[index].as_ref().filter(|point| !point.is_nothing()) {
                each(labels, at, point.clone());
            }
        }
    }

    /// Ends the steps that `now` is not in, and opens those that it is in.
    fn close_steps(&mut self, now: Option<Timestamp>) -> Vec<Finished> {
        let mut finished = Vec::new();
        for (index, keep) in STEPS.iter().enumerate() {
            let step_ms = u64::from(keep.step_seconds) * 1_000;
            let next = now.map(|now| Timestamp::from_millis(now.as_millis() - now.as_millis() % step_ms));
            let Some(at) = self.open[index].filter(|at| Some(*at) != next) else {
                self.open[index] = next;
                continue;
            };
            self.open[index] = next;
            for (name, family) in &mut self.families {
                let taken = family.series.iter_mut().filter_map(|(labels, track)| {
                    let point = track.open[index].take().filter(|point| !point.is_nothing())?;
                    Some((labels.clone(), point))
                });
                let mut series: Vec<_> = taken.collect();
                if !series.is_empty() {
                    // In an order, so that rows of the same series deflate alike.
                    series.sort_by(|one, other| one.0.cmp(&other.0));
                    let (step_seconds, name, kind) = (keep.step_seconds, name.clone(), family.kind);
                    finished.push(Finished { step_seconds, at, name, kind, series });
                }
            }
        }
        finished
    }

    fn begin_round(&mut self, now: Timestamp) {
        if self.rounds.back().is_some_and(|last| *last > now) {
            // The clock was set: which of the single points came first cannot be told by their moments any more.
            self.rounds.clear();
        }
        self.rounds.push_back(now);
        while self.rounds.len() > RAW_ROUNDS_MAX
            || self.rounds.front().is_some_and(|first| now.saturating_since(*first) > RAW_AGE_MAX)
        {
            self.rounds.pop_front();
        }
    }

    fn take_family(&mut self, name: &str, family: &Family) {
        if self.families.get(name).is_some_and(|known| known.kind != family.kind) {
            // The name means something else than it did. It does not happen within one process.
            self.families
                .remove(name)
                .into_iter()
                .flat_map(|known| known.series)
                .for_each(|(_, track)| self.forget(&track));
        }
        let mut recorded = self
            .families
            .remove(name)
            .unwrap_or_else(|| Recorded { kind: family.kind, series: HashMap::with_capacity(family.series.len()) });
        let (is_state, is_older) = (STATES.contains(&name), OLDER.contains(&name));
        for series in &family.series {
            if is_state && matches!(series.value, Value::Number(0.0)) {
                continue;
            }
            let is_full = recorded.series.len() >= ROW_SERIES_MAX || self.series >= SERIES_MAX;
            if is_full && !recorded.series.contains_key(&series.labels) {
                self.dropped += 1;
                continue;
            }
            let track = recorded.series.entry(series.labels.clone()).or_insert_with(|| {
                self.series += 1;
                let has_raw = self.raw_series < RAW_SERIES_MAX;
                self.raw_series += usize::from(has_raw);
                self.dropped += u64::from(!has_raw);
                Track { raw: has_raw.then(VecDeque::new), ..Track::default() }
            });
            let is_baseline = is_older && !self.has_begun;
            track.take(family.kind, &series.value, is_baseline);
        }
        self.families.insert(name.into(), recorded);
    }

    /// Notes what was not there, and forgets what has not been there for long.
    fn end_round(&mut self) {
        let rounds = self.rounds.len();
        let mut gone = Vec::new();
        for family in self.families.values_mut() {
            family.series.retain(|_, track| {
                track.end_round(rounds);
                let is_over = track.absent >= RAW_ROUNDS_MAX.min(rounds) && track.open.iter().all(Option::is_none);
                if is_over {
                    gone.push(track.raw.is_some());
                }
                !is_over
            });
        }
        self.series -= gone.len();
        self.raw_series -= gone.iter().filter(|had_raw| **had_raw).count();
        self.families.retain(|_, family| !family.series.is_empty());
    }

    fn forget(&mut self, track: &Track) {
        self.series -= 1;
        self.raw_series -= usize::from(track.raw.is_some());
    }
}

impl Track {
    /// Takes what the series says. A baseline is only remembered.
    fn take(&mut self, kind: Kind, value: &Value, is_baseline: bool) {
        let point = point(kind, self.previous.as_ref(), value);
        if kind != Kind::Gauge {
            self.previous = Some(value.clone());
        }
        self.is_there = true;
        let point = point.filter(|_| !is_baseline);
        if let Some(raw) = &mut self.raw {
            raw.push_back(point.as_ref().map_or(Raw::Nothing, Raw::of));
        }
        if let Some(point) = point {
            for open in &mut self.open {
                merge_into(open, point.clone());
            }
        }
    }

    fn end_round(&mut self, rounds: usize) {
        if std::mem::take(&mut self.is_there) {
            self.absent = 0;
        } else {
            // Where it comes again, it begins anew.
            self.previous = None;
            self.absent += 1;
            if let Some(raw) = &mut self.raw {
                raw.push_back(Raw::Nothing);
            }
        }
        if let Some(raw) = &mut self.raw {
            let excess = raw.len().saturating_sub(rounds);
            raw.drain(..excess);
        }
    }
}

/// Returns what a look adds to what was known before it. None: it is no number.
fn point(kind: Kind, previous: Option<&Value>, value: &Value) -> Option<Point> {
    match (kind, value) {
        (Kind::Counter, Value::Number(now)) if now.is_finite() && *now >= 0.0 => {
            let before = match previous {
                Some(Value::Number(before)) if before <= now => *before,
                // It is new, or began anew: all of it was counted since.
                _ => 0.0,
            };
            Some(Point::Counter(now - before))
        }
        (Kind::Gauge, Value::Number(now)) if !now.is_nan() => Some(Point::Gauge(Gauge::of(*now))),
        (Kind::Histogram, Value::Histogram(now)) => Some(Point::Histogram(match previous {
            Some(Value::Histogram(before)) => now.since(before),
            _ => now.clone(),
        })),
        _ => None,
    }
}

impl Raw {
    fn of(point: &Point) -> Self {
        match point {
            point if point.is_nothing() => Self::Nothing,
            Point::Counter(number) => Self::Number(*number),
            Point::Gauge(gauge) => Self::Number(gauge.last),
            Point::Histogram(histogram) => Self::Histogram(Box::new(histogram.clone())),
        }
    }

    fn point(&self, kind: Kind) -> Option<Point> {
        match (self, kind) {
            (Self::Number(number), Kind::Counter) => Some(Point::Counter(*number)),
            (Self::Number(number), _) => Some(Point::Gauge(Gauge::of(*number))),
            (Self::Histogram(histogram), _) => Some(Point::Histogram((**histogram).clone())),
            (Self::Nothing, _) => None,
        }
    }
}

#[cfg(test)]
mod tests;
