//! What one function over a window has seen of each subject. Of a long window every point stands for a while, so that there are
//! never more than [`POINTS_MAX`]; of a counter it is kept by how much it grew, series by series, so that one that begins anew takes
//! nothing back.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::evaluate::Values;
use super::expression::{Function, Selector};
use super::room::Room;
use super::subject::Subject;
use crate::forecast::{self, POINTS_MAX, Point};
use crate::metrics::snapshot::{Family, Histogram, Kind, Labels, Series, Value};

/// Points of a histogram, which are larger.
const HISTOGRAMS_MAX: usize = 30;
/// A series that was not there for so many looks is a new one when it comes back.
const LOOKS_REMEMBERED: u64 = 3;

/// What was seen within one window.
#[derive(Debug)]
pub(super) struct Memory {
    window: Duration,
    /// Whether histograms are kept, or numbers.
    is_of_histograms: bool,
    kind: Option<Kind>,
    looks: u64,
    looked_at: Option<Instant>,
    /// What each series of a counter or a histogram last said, and at which look.
    lasts: HashMap<Labels, (Value, u64)>,
    tracks: BTreeMap<Subject, Track>,
}

/// What was seen of one subject.
#[derive(Debug)]
enum Track {
    Numbers {
        points: Numbers,
        /// By how much a counter grew since it is watched.
        total: f64,
    },
    Histograms {
        /// When a point began and ended, and what was observed until its end.
        points: VecDeque<(Instant, Instant, Histogram)>,
        total: Histogram,
    },
}

/// Numbers over a while, in order of time.
#[derive(Debug, Default)]
pub(super) struct Numbers(VecDeque<Stretch>);

/// What was seen for a while.
#[derive(Debug)]
struct Stretch {
    began: Instant,
    ended: Instant,
    last: f64,
    least: f64,
    most: f64,
    sum: f64,
    times: u32,
}

impl Memory {
    pub(super) fn new(function: Function, window: Duration) -> Self {
        Self {
            window,
            is_of_histograms: function.quantile().is_some(),
            kind: None,
            looks: 0,
            looked_at: None,
            lasts: HashMap::new(),
            tracks: BTreeMap::new(),
        }
    }

    /// Returns one of an expression's values, see [`Memory::note`].
    pub(super) fn of_values(window: Duration) -> Self {
        Self::new(Function::Average, window)
    }

    pub(super) fn subjects(&self) -> usize {
        self.tracks.len()
    }

    /// Takes in what a snapshot says.
    pub(super) fn look(&mut self, selector: &Selector, family: Option<&Family>, now: Instant, room: &mut Room) {
        if let Some(family) = family {
            if self.kind.is_some_and(|kind| kind != family.kind) {
                // A bot may give up a name and bring it again as something else.
                (self.tracks, self.lasts, self.looked_at) = (BTreeMap::new(), HashMap::new(), None);
            }
            self.kind = Some(family.kind);
            let mut sums: BTreeMap<Subject, Value> = BTreeMap::new();
            for series in family.series.iter().filter(|series| selector.takes(series)) {
                if let Some(seen) = self.seen(series, family.kind) {
                    add(sums.entry(Subject::of(&selector.name, series)), seen);
                }
            }
            sums.into_iter().for_each(|(subject, seen)| self.keep(subject, seen, now, room));
        }
        self.looked(now);
    }

    /// Takes in the values of an expression.
    pub(super) fn note(&mut self, values: &Values, now: Instant, room: &mut Room) {
        for (subject, value) in values {
            self.keep(subject.clone(), Value::Number(*value), now, room);
        }
        self.looked(now);
    }

    /// Returns what is seen of a series: of a gauge what it says, of others by how much it grew since the last look.
    fn seen(&mut self, series: &Series, kind: Kind) -> Option<Value> {
        let value = match (&series.value, self.is_of_histograms) {
            (Value::Number(number), false) if number.is_finite() => Value::Number(*number),
            (Value::Histogram(histogram), false) => Value::Number(histogram.count as f64),
            (Value::Histogram(histogram), true) => Value::Histogram(histogram.clone()),
            (Value::Number(_), _) => return None,
        };
        if kind == Kind::Gauge {
            return Some(value);
        }
        let before = self.lasts.insert(series.labels.clone(), (value.clone(), self.looks));
        Some(match (before.map(|(before, _)| before), value) {
            (Some(Value::Number(before)), Value::Number(now)) if now >= before => Value::Number(now - before),
            (Some(Value::Histogram(before)), Value::Histogram(now)) => Value::Histogram(now.since(&before)),
            // It began anew, or it is a series that came while others were watched: all that it counted is since.
            (_, grown) if self.looked_at.is_some() => grown,
            (_, Value::Number(_)) => Value::Number(0.0),
            (_, Value::Histogram(now)) => Value::Histogram(now.since(&now)),
        })
    }

    fn keep(&mut self, subject: Subject, seen: Value, now: Instant, room: &mut Room) {
        let grows = self.kind.is_some_and(|kind| kind != Kind::Gauge);
        let track = match self.tracks.entry(subject) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if !room.take() => return,
            Entry::Vacant(new) => new.insert(Track::new(&seen, self.looked_at.filter(|_| grows))),
        };
        match (track, seen) {
            (Track::Numbers { points, total }, Value::Number(seen)) => {
                *total = if grows { *total + seen } else { seen };
                points.push(now, *total, self.window);
            }
            (Track::Histograms { points, total }, Value::Histogram(seen)) => {
                total.add(&seen);
                push_histogram(points, now, total.clone(), self.window);
            }
            _ => {}
        }
    }

    fn looked(&mut self, now: Instant) {
        let window = self.window;
        self.tracks.retain(|_, track| track.seen_at().is_some_and(|at| now.saturating_duration_since(at) <= window));
        let looks = self.looks;
        self.lasts.retain(|_, (_, look)| looks - *look < LOOKS_REMEMBERED);
        self.looks += 1;
        self.looked_at = Some(now);
    }

    /// Returns what a function says of every subject that was there at the last look.
    pub(super) fn values(&self, function: Function) -> Values {
        let seen_now = self.tracks.iter().filter(|(_, track)| track.seen_at() == self.looked_at);
        let grows = self.kind.is_some_and(|kind| kind != Kind::Gauge);
        let value = |track: &Track| match (track, function.quantile()) {
            (Track::Numbers { points, .. }, None) => points.value(function, self.window, grows),
            (Track::Histograms { points, .. }, Some(quantile)) => {
                let (first, last) = (points.front()?, points.back()?);
                last.2.since(&first.2).quantile(quantile)
            }
            _ => None,
        };
        seen_now.filter_map(|(subject, track)| Some((subject.clone(), value(track)?))).collect()
    }

    /// Returns the values of one subject, in order of time.
    pub(super) fn points(&self, subject: &Subject) -> Vec<Point> {
        match self.tracks.get(subject) {
            Some(Track::Numbers { points, .. }) => points.points(false),
            _ => Vec::new(),
        }
    }
}

impl Track {
    /// Returns an empty one. What grows was nothing at the last look, if there was one.
    fn new(seen: &Value, was_nothing_at: Option<Instant>) -> Self {
        match seen {
            Value::Number(_) => {
                let mut points = Numbers::default();
                was_nothing_at.into_iter().for_each(|at| points.push(at, 0.0, Duration::MAX));
                Self::Numbers { points, total: 0.0 }
            }
            Value::Histogram(seen) => {
                let nothing = seen.since(seen);
                let points = was_nothing_at.map(|at| (at, at, nothing.clone())).into_iter().collect();
                Self::Histograms { points, total: nothing }
            }
        }
    }

    fn seen_at(&self) -> Option<Instant> {
        match self {
            Self::Numbers { points, .. } => points.0.back().map(|stretch| stretch.ended),
            Self::Histograms { points, .. } => points.back().map(|(_, ended, _)| *ended),
        }
    }
}

impl Numbers {
    fn push(&mut self, now: Instant, value: f64, window: Duration) {
        let length = window / (POINTS_MAX - 2) as u32;
        let is_more_than_one = self.0.len() > 1;
        match self.0.back_mut() {
            // The first stands alone: what grew since it is what grew since then.
            Some(last) if is_more_than_one && now.saturating_duration_since(last.began) < length => {
                let (least, most) = (last.least.min(value), last.most.max(value));
                let (sum, times) = (last.sum + value, last.times + 1);
                *last = Stretch { began: last.began, ended: now, last: value, least, most, sum, times };
            }
            _ => {
                let (began, ended) = (now, now);
                self.0.push_back(Stretch {
                    began,
                    ended,
                    last: value,
                    least: value,
                    most: value,
                    sum: value,
                    times: 1,
                });
            }
        }
        // One that ended before the window began is kept, to see what grew since then.
        while self.0.len() > POINTS_MAX
            || self.0.get(1).is_some_and(|second| now.saturating_duration_since(second.ended) >= window)
        {
            self.0.pop_front();
        }
    }

    fn value(&self, function: Function, window: Duration, grows: bool) -> Option<f64> {
        let (first, last) = (self.0.front()?, self.0.back()?);
        let within = || self.0.iter().filter(|stretch| last.ended.saturating_duration_since(stretch.ended) < window);
        let length = last.ended.saturating_duration_since(first.ended).as_secs_f64();
        let grown = last.last - first.last;
        match function {
            Function::Increase => (self.0.len() > 1).then_some(grown),
            Function::Rate => (length > 0.0).then(|| grown / length),
            Function::Average => {
                let (sum, times) = within().fold((0.0, 0), |(sum, times), of| (sum + of.sum, times + of.times));
                Some(sum / f64::from(times))
            }
            Function::Minimum => within().map(|stretch| stretch.least).min_by(f64::total_cmp),
            Function::Maximum => within().map(|stretch| stretch.most).max_by(f64::total_cmp),
            Function::Slope => forecast::slope(&self.points(grows)),
            Function::Anomaly => self.anomaly(grows),
            Function::P50 | Function::P90 | Function::P95 | Function::P99 => None,
        }
    }

    fn anomaly(&self, grows: bool) -> Option<f64> {
        let points = self.points(grows);
        let rate = |pair: &[Point]| (pair[1].value - pair[0].value) / (pair[1].at - pair[0].at);
        let values: Vec<f64> = if grows {
            points.windows(2).map(rate).collect()
        } else {
            points.iter().map(|point| point.value).collect()
        };
        let (newest, earlier) = values.split_last()?;
        let newest = if grows { *newest } else { self.0.back()?.last };
        forecast::anomaly(earlier, newest)
    }

    /// Returns it as points: of what grows, what it was at the end of each stretch; else the mean of each, in its middle.
    fn points(&self, grows: bool) -> Vec<Point> {
        let Some(first) = self.0.front().map(|stretch| stretch.began) else { return Vec::new() };
        let seconds = |at: Instant| at.saturating_duration_since(first).as_secs_f64();
        let point = |stretch: &Stretch| match grows {
            true => Point { at: seconds(stretch.ended), value: stretch.last },
            false => Point {
                at: f64::midpoint(seconds(stretch.began), seconds(stretch.ended)),
                value: stretch.sum / f64::from(stretch.times),
            },
        };
        self.0.iter().map(point).collect()
    }
}

fn add(sum: Entry<'_, Subject, Value>, seen: Value) {
    match (sum, seen) {
        (Entry::Vacant(new), seen) => {
            new.insert(seen);
        }
        (Entry::Occupied(mut known), seen) => match (known.get_mut(), seen) {
            (Value::Number(sum), Value::Number(seen)) => *sum += seen,
            (Value::Histogram(sum), Value::Histogram(seen)) => sum.add(&seen),
            _ => {}
        },
    }
}

fn push_histogram(
    points: &mut VecDeque<(Instant, Instant, Histogram)>,
    now: Instant,
    total: Histogram,
    window: Duration,
) {
    let length = window / (HISTOGRAMS_MAX - 2) as u32;
    let is_more_than_one = points.len() > 1;
    match points.back_mut() {
        Some(last) if is_more_than_one && now.saturating_duration_since(last.0) < length => {
            (last.1, last.2) = (now, total);
        }
        _ => points.push_back((now, now, total)),
    }
    while points.len() > HISTOGRAMS_MAX
        || points.get(1).is_some_and(|second| now.saturating_duration_since(second.1) >= window)
    {
        points.pop_front();
    }
}

#[cfg(test)]
mod tests;
