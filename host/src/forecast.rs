//! Where a measurement is heading, and whether it is out of the ordinary. Pure: measurements in, an estimate out; the same ones in
//! give the same one out.
//!
//! The slope is the median of the slopes between every two points (Theil and Sen), so that no few wild points turn it. It counts as
//! a trend only if it is in every part of what was seen: noise, a single step and the teeth of a saw are none.

use std::fmt;
use std::time::Duration;

/// Points that an estimate uses; of more, this many are taken, evenly.
pub const POINTS_MAX: usize = 120;
/// With fewer points there is no trend, and nothing is usual.
pub const POINTS_MIN: usize = 10;

/// A trend moves by this many median deviations within its window, or it is noise.
const DRIFT_CLEAR: f64 = 3.0;
/// The same for a trend that was clear before, so that it does not come and go.
const DRIFT_LIKELY: f64 = 1.5;
/// Either half of a trend is at least this steep, as a share of the whole. A step is flat in one.
const HALF_SHARE: f64 = 0.25;
/// A drift below this share of the value is an error of arithmetic.
const DRIFT_SHARE_MIN: f64 = 1e-6;
/// What the median deviation is times this is the standard deviation, where deviations are normal.
const MAD_TO_DEVIATION: f64 = 1.4826;
/// What never varied is taken to vary by this share, so that a trifle is no anomaly.
const VARIATION_SHARE_MIN: f64 = 0.01;
/// The largest score of an anomaly.
pub const ANOMALY_MAX: f64 = 1_000.0;
/// What is further away than this is not foreseen.
const FORESEEN_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// When: seconds after any moment that all points share.
    pub at: f64,
    /// What was measured.
    pub value: f64,
}

/// Where a measurement is heading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// Change per second.
    pub slope: f64,
    /// Where its line is at the newest point; not what was measured there, which may stand out.
    pub level: f64,
    /// Whether it is one.
    pub certainty: Certainty,
}

/// Whether a slope is a trend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// It may be chance, a step, or a tooth of a saw.
    Noise,
    /// Too little to begin to believe it, enough to go on.
    Likely,
    /// It is there in every part of what was seen.
    Clear,
}

/// Returns the median change per second between two points. None with fewer than three points that are numbers.
pub fn slope(points: &[Point]) -> Option<f64> {
    let points = thinned(points);
    if points.len() < 3 {
        return None;
    }
    slope_of(&points)
}

/// Returns where the points, in order of time, are heading. None where they are too few, or fill less than half of `window`.
pub fn trend(points: &[Point], window: Duration) -> Option<Trend> {
    let points = thinned(points);
    let (first, last) = (points.first()?, points.last()?);
    let length = last.at - first.at;
    if points.len() < POINTS_MIN || length * 2.0 < window.as_secs_f64() || length <= 0.0 {
        return None;
    }
    let slope = slope_of(&points)?;
    let level = median(points.iter().map(|point| point.value - slope * (point.at - last.at)).collect())?;
    let residuals = points.iter().map(|point| (point.value - level - slope * (point.at - last.at)).abs());
    let spread = median(residuals.collect())?;
    let certainty = certainty(&points, slope, slope * length, spread, level);
    Some(Trend { slope, level, certainty })
}

fn certainty(points: &[Point], slope: f64, drift: f64, spread: f64, level: f64) -> Certainty {
    let moves_by = |deviations: f64| drift.abs() > (deviations * spread).max(DRIFT_SHARE_MIN * level.abs());
    // Of an upward trend: a downward one is turned over.
    let middle = |part: &[Point]| median(part.iter().map(|point| point.value * slope.signum()).collect());
    let quarters = (0..4).map(|part| &points[part * points.len() / 4..(part + 1) * points.len() / 4]);
    let middles: Vec<f64> = quarters.filter_map(middle).collect();
    // Where a tooth of a saw falls, so does a quarter.
    let always_rises = middles.windows(2).all(|pair| pair[1] > pair[0]);
    let has_risen = middles.last() > middles.first();
    let (one, other) = points.split_at(points.len() / 2);
    let is_steady = [one, other].iter().all(|half| slope_of(half).is_some_and(|of_half| of_half / slope >= HALF_SHARE));
    if moves_by(DRIFT_CLEAR) && always_rises && is_steady {
        Certainty::Clear
    } else if moves_by(DRIFT_LIKELY) && has_risen {
        Certainty::Likely
    } else {
        Certainty::Noise
    }
}

impl Trend {
    /// Returns where its line will be after this long.
    pub fn value_after(&self, wait: Duration) -> f64 {
        self.level + self.slope * wait.as_secs_f64()
    }

    /// Returns how long its line takes to `threshold`. None where it moves away from it, or takes more than ten years.
    pub fn time_to(&self, threshold: f64) -> Option<Duration> {
        let way = threshold - self.level;
        if self.slope == 0.0 {
            return (way == 0.0).then_some(Duration::ZERO);
        }
        let wait = Duration::try_from_secs_f64(way / self.slope).ok()?;
        (wait <= FORESEEN_MAX).then_some(wait)
    }
}

/// A guest may measure anything. Of numbers beyond this the differences may be no numbers.
const VALUE_MAX: f64 = 1e150;

/// Returns by how many of its usual deviations `newest` is above (or, negative, below) what usually follows `earlier`, which is in
/// order of time; at most [`ANOMALY_MAX`]. None with fewer than [`POINTS_MIN`] numbers. What is usual moves with what was seen
/// last; what deviations are usual is the median of all.
pub fn anomaly(earlier: &[f64], newest: f64) -> Option<f64> {
    let bounded = |value: f64| value.clamp(-VALUE_MAX, VALUE_MAX);
    let earlier: Vec<f64> = earlier.iter().copied().filter(|value| value.is_finite()).map(bounded).collect();
    if earlier.len() < POINTS_MIN || !newest.is_finite() {
        return None;
    }
    let newest = bounded(newest);
    let weight = 2.0 / (earlier.len().min(POINTS_MAX) as f64 + 1.0);
    let mut usual = earlier[0];
    let mut deviations = Vec::with_capacity(earlier.len());
    for value in &earlier[1..] {
        deviations.push((value - usual).abs());
        usual += weight * (value - usual);
    }
    let deviation = (MAD_TO_DEVIATION * median(deviations)?).max(VARIATION_SHARE_MIN * usual.abs());
    let score = if newest == usual { 0.0 } else { (newest - usual) / deviation };
    Some(score.clamp(-ANOMALY_MAX, ANOMALY_MAX))
}

/// Leaves out what is no number, and of the rest takes at most [`POINTS_MAX`], the first and the last among them.
fn thinned(points: &[Point]) -> Vec<Point> {
    let mut points: Vec<Point> =
        points.iter().copied().filter(|point| point.at.is_finite() && point.value.is_finite()).collect();
    let last = points.len().saturating_sub(1);
    if points.len() > POINTS_MAX {
        points = (0..POINTS_MAX).map(|index| points[index * last / (POINTS_MAX - 1)]).collect();
    }
    points
}

fn slope_of(points: &[Point]) -> Option<f64> {
    let mut slopes = Vec::with_capacity(points.len() * points.len().saturating_sub(1) / 2);
    for (index, early) in points.iter().enumerate() {
        let later = points[index + 1..].iter().filter(|late| late.at > early.at);
        slopes.extend(later.map(|late| (late.value - early.value) / (late.at - early.at)));
    }
    median(slopes).filter(|slope| slope.is_finite())
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    let (low, high) = (last / 2, last.div_ceil(2));
    let (_, upper, _) = values.select_nth_unstable_by(high, f64::total_cmp);
    let upper = *upper;
    if low == high {
        return Some(upper);
    }
    let lower = values[..high].iter().copied().max_by(f64::total_cmp)?;
    Some(f64::midpoint(lower, upper))
}

/// A time to come, as people read it: `3 h 10 min`. No finer than an estimate can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eta(pub Duration);

impl fmt::Display for Eta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HOUR: u64 = 60;
        const DAY: u64 = 24 * HOUR;
        let minutes = self.0.as_secs() / 60;
        let step = match minutes {
            0 => return f.write_str("less than a minute"),
            1..10 => 1,
            10..HOUR => 5,
            HOUR..600 => 10,
            600..2_880 => HOUR,
            _ => DAY,
        };
        // Down: who is told "3 h" has at least that.
        let minutes = minutes / step * step;
        match (minutes / HOUR, minutes % HOUR) {
            (0, minutes) => write!(f, "{minutes} min"),
            (hours, _) if step == DAY => write!(f, "{} days", hours / 24),
            (hours, 0) => write!(f, "{hours} h"),
            (hours, minutes) => write!(f, "{hours} h {minutes} min"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(3_600);

    /// One point a minute for an hour.
    fn hour(value: impl Fn(f64) -> f64) -> Vec<Point> {
        (0..=60).map(|minute| f64::from(minute) * 60.0).map(|at| Point { at, value: value(at) }).collect()
    }

    fn certainty(points: &[Point]) -> Certainty {
        trend(points, WINDOW).unwrap().certainty
    }

    #[test]
    fn a_line_is_followed_to_its_threshold() {
        let trend = trend(&hour(|at| 100.0 + at / 60.0), WINDOW).unwrap();
        assert_eq!(trend.certainty, Certainty::Clear);
        let wait = trend.time_to(350.0).unwrap();
        assert!(wait.abs_diff(Duration::from_secs(190 * 60)) < Duration::from_secs(1), "{wait:?}");
        assert_eq!(Eta(wait + Duration::from_secs(1)).to_string(), "3 h 10 min");
        assert_eq!(trend.time_to(50.0), None, "it goes the other way");
        assert!((trend.value_after(WINDOW) - 220.0).abs() < 1e-6);
    }

    #[test]
    fn a_few_wild_points_do_not_turn_a_line() {
        let wild = hour(|at| if at % 600.0 == 0.0 { 9e9 } else { at });
        let trend = trend(&wild, WINDOW).unwrap();
        assert!((trend.slope - 1.0).abs() < 0.2, "{trend:?}");
    }

    #[test]
    fn too_few_points_or_too_short_a_time_is_no_trend() {
        let points = hour(|at| at);
        assert_eq!(trend(&points[..POINTS_MIN - 1], Duration::from_secs(60)), None);
        assert_eq!(trend(&points[..29], WINDOW), None);
        assert!(trend(&points[..31], WINDOW).is_some());
        assert_eq!(slope(&points[..2]), None);
        assert_eq!(trend(&[], WINDOW), None);
    }

    #[test]
    fn what_stays_as_it_is_or_makes_one_step_has_no_trend() {
        assert_eq!(certainty(&hour(|_| 7e9)), Certainty::Noise);
        for step_at in (0..3_600).step_by(120) {
            let points = hour(|at| if at > f64::from(step_at) { 80.0 } else { 20.0 });
            assert_ne!(certainty(&points), Certainty::Clear, "{step_at}");
        }
    }

    #[test]
    fn noise_hardly_ever_looks_like_a_trend() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut clear = 0;
        for _ in 0..500 {
            let noise: Vec<f64> = (0..=60).map(|_| random.f64() + random.f64() + random.f64()).collect();
            let points = hour(|at| noise[(at / 60.0) as usize]);
            clear += u32::from(certainty(&points) == Certainty::Clear);
        }
        assert!(clear <= 2, "{clear} of 500");
    }

    #[test]
    fn a_trend_is_seen_through_noise() {
        let mut random = fastrand::Rng::with_seed(8);
        let noise: Vec<f64> = (0..=60).map(|_| random.f64() * 10.0).collect();
        let points = hour(|at| at / 60.0 + noise[(at / 60.0) as usize]);
        assert_eq!(certainty(&points), Certainty::Clear);
    }

    #[test]
    fn a_leak_below_the_teeth_of_a_saw_is_a_trend() {
        assert_eq!(certainty(&hour(|at| at / 60.0 + at % 300.0 / 30.0)), Certainty::Clear);
    }

    #[test]
    fn what_never_varied_is_odd_when_it_does_and_a_trifle_is_not() {
        assert_eq!(anomaly(&[5.0; 9], 6.0), None);
        assert_eq!(anomaly(&[5.0; 10], 5.0), Some(0.0));
        assert!(anomaly(&[5.0; 10], 5.02).unwrap() < 1.0);
        assert!(anomaly(&[5.0; 10], 50.0).unwrap() > 100.0);
        assert_eq!(anomaly(&[0.0; 10], -1.0), Some(-ANOMALY_MAX));
        let usual: Vec<f64> = (0..60).map(|index| 100.0 + f64::from(index * 7 % 11)).collect();
        assert!(anomaly(&usual, 104.0).unwrap().abs() < 3.0);
        assert!(anomaly(&usual, 200.0).unwrap() > 10.0);
    }

    #[test]
    fn a_time_to_come_is_no_finer_than_it_is_known() {
        for (seconds, expected) in [
            (0, "less than a minute"),
            (59, "less than a minute"),
            (9 * 60 + 59, "9 min"),
            (59 * 60, "55 min"),
            (3_600, "1 h"),
            (3 * 3_600 + 19 * 60, "3 h 10 min"),
            (10 * 3_600 + 59 * 60, "10 h"),
            (47 * 3_600, "47 h"),
            (49 * 3_600, "2 days"),
            (12 * 86_400 + 5, "12 days"),
        ] {
            assert_eq!(Eta(Duration::from_secs(seconds)).to_string(), expected, "{seconds}");
        }
    }

    #[test]
    fn the_largest_numbers_of_all_have_a_score() {
        let mut earlier = vec![0.0; 20];
        (earlier[0], earlier[1]) = (-1.7e308, 1.7e308);
        assert!(anomaly(&earlier, 1.0).is_some_and(|score| score.abs() <= ANOMALY_MAX));
        assert!(anomaly(&earlier, f64::MIN).is_some_and(|score| score.abs() <= ANOMALY_MAX));
    }

    proptest! {
        #[test]
        fn the_teeth_of_a_saw_are_no_trend(period in 120.0..2_700.0f64, phase in 0.0..1.0f64, height in 1e-3..1e12f64) {
            let points = hour(|at| (at / period + phase).fract() * height);
            prop_assert_ne!(certainty(&points), Certainty::Clear);
            let falling = hour(|at| -(at / period + phase).fract() * height);
            prop_assert_ne!(certainty(&falling), Certainty::Clear);
        }

        #[test]
        fn whatever_was_measured_an_estimate_is_a_number(
            values in prop::collection::vec((prop::num::f64::ANY, prop::num::f64::ANY), 0..300),
            threshold in prop::num::f64::ANY,
        ) {
            let points: Vec<Point> = values.iter().map(|&(at, value)| Point { at, value }).collect();
            if let Some(slope) = slope(&points) {
                prop_assert!(slope.is_finite());
            }
            if let Some(wait) = trend(&points, WINDOW).and_then(|trend| trend.time_to(threshold)) {
                prop_assert!(wait <= FORESEEN_MAX);
            }
            let values: Vec<f64> = points.iter().map(|point| point.value).collect();
            if let Some(score) = anomaly(&values, threshold) {
                prop_assert!(score.abs() <= ANOMALY_MAX);
            }
        }

        #[test]
        fn a_slope_is_what_it_is_wherever_the_points_begin(steep in -1e3..1e3f64, from in -1e6..1e6f64) {
            let found = slope(&hour(|at| from + steep * at)).unwrap();
            prop_assert!((found - steep).abs() < 1e-4 * (1.0 + steep.abs()), "{} {}", found, steep);
        }
    }
}
