use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::alert::rule::SUBJECTS_MAX;
use crate::alert::rule::synthetic::{add_histogram, snapshot};
use crate::metrics::snapshot::Kind;

type Look<'l> = (u64, &'l [(&'l str, f64)]);

/// Returns what an expression yields at the last of some looks, each so many seconds after the first.
fn yielded(text: &str, looks: &[Look<'_>]) -> Vec<(String, f64)> {
    let snapshots: Vec<_> = looks.iter().map(|(at, series)| (*at, snapshot(series))).collect();
    yielded_of(text, &snapshots)
}

fn yielded_of(text: &str, snapshots: &[(u64, Snapshot)]) -> Vec<(String, f64)> {
    let expression: Expression = text.parse().unwrap();
    let (mut memories, begin) = (Memories::of(&expression), Instant::now());
    let mut values = Values::new();
    for (at, snapshot) in snapshots {
        let mut room = Room::new(SUBJECTS_MAX, memories.subjects());
        values = evaluate(&expression, snapshot, begin + Duration::from_secs(*at), &mut memories, &mut room);
    }
    values.into_iter().map(|(subject, value)| (subject.to_string(), value)).collect()
}

#[track_caller]
fn check(text: &str, looks: &[Look<'_>], expected: &[(&str, f64)]) {
    let found = yielded(text, looks);
    let is_same = found.len() == expected.len()
        && found.iter().zip(expected).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() <= 1e-9 * b.1.abs());
    assert!(is_same, "{text}: {found:?}, not {expected:?}");
}

#[test]
fn series_are_added_up_but_for_each_subject_by_itself() {
    let now: Look = (
        0,
        &[
            ("m{bot=\"a\", class=\"x\"}", 1.0),
            ("m{bot=\"a\", class=\"y\"}", 2.0),
            ("m{bot=\"b\", class=\"x\"}", 4.0),
            ("w{class=\"x\"}", 10.0),
            ("w{class=\"y\"}", 20.0),
            ("c{connector=\"t\"}", 7.0),
            ("z", 0.0),
        ],
    );
    check("m", &[now], &[("a", 3.0), ("b", 4.0)]);
    check("m{class!=\"y\"} * 2", &[now], &[("a", 2.0), ("b", 8.0)]);
    check("w", &[now], &[("", 30.0)]);
    check("w / m", &[now], &[("a", 10.0), ("b", 7.5)]);
    check("m + c", &[now], &[]);
    check("m / z + w / z", &[now], &[]);
    check("m / absent", &[now], &[]);
    check("-(m - 1) + 0.5", &[now], &[("a", -1.5), ("b", -2.5)]);
    check("count(m) + count(absent)", &[now], &[("", 3.0)]);
    check("count(m{class=\"x\"})", &[now], &[("", 2.0)]);
}

#[test]
fn a_counters_growth_is_seen_over_its_restarts() {
    let looks: [Look; 4] = [
        (0, &[("n_total{class=\"x\"}", 100.0), ("n_total{class=\"y\"}", 50.0)]),
        (10, &[("n_total{class=\"x\"}", 110.0), ("n_total{class=\"y\"}", 50.0)]),
        // One began anew.
        (20, &[("n_total{class=\"x\"}", 3.0), ("n_total{class=\"y\"}", 55.0)]),
        // One is new: all that it counted is since.
        (30, &[("n_total{class=\"x\"}", 3.0), ("n_total{class=\"y\"}", 55.0), ("n_total{class=\"z\"}", 2.0)]),
    ];
    check("increase(n_total[1m])", &looks, &[("", 20.0)]);
    check("rate(n_total[1m])", &looks, &[("", 20.0 / 30.0)]);
    check("increase(n_total[20s])", &looks, &[("", 10.0)]);
    check("increase(n_total[1m])", &looks[..1], &[]);
    let first: [Look; 2] = [(0, &[]), (10, &[("n_total{bot=\"a\"}", 1.0)])];
    check("increase(n_total[1m])", &first, &[("a", 1.0)]);
}

#[test]
fn a_gauge_is_looked_at_over_its_window() {
    let looks: [Look; 4] = [(0, &[("g", 90.0)]), (10, &[("g", 4.0)]), (20, &[("g", 1.0)]), (30, &[("g", 4.0)])];
    check("avg(g[25s])", &looks, &[("", 3.0)]);
    check("min(g[25s])", &looks, &[("", 1.0)]);
    check("max(g[25s])", &looks, &[("", 4.0)]);
    check("max(g[1m])", &looks, &[("", 90.0)]);
    let line: Vec<[(&str, f64); 1]> = (0..10).map(|at| [("g", f64::from(at) * 30.0)]).collect();
    let line: Vec<Look> = (0..10).map(|at| (at * 10, &line[at as usize][..])).collect();
    check("slope(g[5m])", &line, &[("", 3.0)]);
}

#[test]
fn an_anomaly_is_a_value_unlike_those_before() {
    let usual: Vec<[(&str, f64); 1]> = (0..90).map(|at| [("g", 100.0 + f64::from(at * 7 % 11))]).collect();
    let mut looks: Vec<Look> = (0..90).map(|at| (at * 10, &usual[at as usize][..])).collect();
    assert!(yielded("anomaly(g[1h])", &looks)[0].1.abs() < 3.0);
    looks.push((900, &[("g", 300.0)]));
    assert!(yielded("anomaly(g[1h])", &looks)[0].1 > 10.0);
    assert_eq!(yielded("anomaly(g[1h])", &looks[..5]), []);
}

#[test]
fn a_quantile_is_of_what_was_observed_within_the_window() {
    let at = |own: &[(f64, u64)]| {
        let mut snapshot = Snapshot::default();
        add_histogram(&mut snapshot, "h{bot=\"a\"}", own);
        snapshot
    };
    let looks = [
        (0, at(&[(1.0, 50), (2.0, 0), (f64::INFINITY, 0)])),
        (10, at(&[(1.0, 50), (2.0, 10), (f64::INFINITY, 0)])),
        // It began anew.
        (20, at(&[(1.0, 0), (2.0, 10), (f64::INFINITY, 0)])),
        (30, at(&[(1.0, 0), (2.0, 10), (f64::INFINITY, 0)])),
    ];
    assert_eq!(yielded_of("p50(h[1m])", &looks), [("a".to_owned(), 1.5)]);
    assert_eq!(yielded_of("p50(h[10s])", &looks), [], "nothing was observed");
    assert_eq!(yielded_of("increase(h[1m])", &looks), [("a".to_owned(), 20.0)]);
    assert_eq!(yielded_of("h", &looks), [("a".to_owned(), 10.0)]);
    assert_eq!(yielded_of("p50(absent[1m])", &looks), []);
}

#[test]
fn a_bots_labels_are_no_subjects_but_for_its_name() {
    let now: Look = (0, &[("bothost_guest_g{bot=\"a\", connector=\"x\"}", 1.0), ("bothost_guest_g{bot=\"a\"}", 2.0)]);
    check("bothost_guest_g", &[now], &[("a", 3.0)]);
}

#[test]
fn a_name_that_comes_back_as_something_else_begins_anew() {
    let mut snapshots = vec![(0, snapshot(&[("g", 5.0)])), (10, snapshot(&[("g", 9.0)]))];
    let mut changed = snapshot(&[("g", 2.0)]);
    changed.families.values_mut().for_each(|family| family.kind = Kind::Counter);
    snapshots.push((20, changed));
    assert_eq!(yielded_of("increase(g[1m])", &snapshots), []);
}

/// Series of a few names and labels, with any numbers.
fn series() -> impl Strategy<Value = Vec<(String, f64)>> {
    let value = prop_oneof![prop::num::f64::ANY, (0..100u32).prop_map(f64::from)];
    let name = prop::sample::select(vec!["m", "n_total", "bothost_guest_g"]);
    let label = prop::sample::select(vec!["", "{bot=\"a\"}", "{bot=\"b\", class=\"x\"}", "{probe=\"p\"}"]);
    prop::collection::vec((name, label, value).prop_map(|(name, label, value)| (format!("{name}{label}"), value)), 0..9)
}

const EVERYTHING: &str = "rate(n_total[1m]) + increase(n_total[10m]) / avg(m[5m]) - min(m[1m]) * max(m[1m]) \
                          + slope(m[1h]) + anomaly(bothost_guest_g[6h]) - count(m{class!=\"x\"}) + -m / n_total";

proptest! {
    #[test]
    fn whatever_is_measured_is_evaluated_and_what_is_kept_is_bounded(
        looks in prop::collection::vec((series(), 0u64..20_000_000), 1..60),
    ) {
        let expression: Expression = EVERYTHING.parse().unwrap();
        let (mut memories, mut now) = (Memories::of(&expression), Instant::now());
        for (series, wait) in looks {
            now += Duration::from_millis(wait);
            let mut room = Room::new(9, memories.subjects());
            let values = evaluate(&expression, &snapshot(&series), now, &mut memories, &mut room);
            prop_assert!(values.values().all(|value| !value.is_nan()));
            prop_assert!(memories.subjects() <= 9);
        }
    }

    #[test]
    fn the_order_of_series_says_nothing(
        looks in prop::collection::vec(prop::collection::vec((0..6usize, 0..1_000u32), 0..12), 1..12),
        seed in any::<u64>(),
    ) {
        const NAMES: [&str; 6] =
            ["m", "m{bot=\"a\"}", "m{bot=\"a\", c=\"1\"}", "n_total{bot=\"a\"}", "n_total{bot=\"a\", c=\"1\"}", "n_total"];
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut ordered, mut shuffled) = (Vec::new(), Vec::new());
        for (at, look) in looks.into_iter().enumerate() {
            let series: std::collections::BTreeMap<_, _> = look.into_iter().collect();
            let mut series: Vec<_> = series.iter().map(|(name, value)| (NAMES[*name], f64::from(*value))).collect();
            ordered.push((at as u64 * 10, snapshot(&series)));
            random.shuffle(&mut series);
            shuffled.push((at as u64 * 10, snapshot(&series)));
        }
        for text in ["m", "increase(n_total[1m]) + m", "rate(n_total[30s]) / count(m)", "max(m[20s])"] {
            prop_assert_eq!(yielded_of(text, &ordered), yielded_of(text, &shuffled));
        }
    }
}
