use proptest::prelude::*;

use super::*;
use crate::metrics::snapshot::Series;

const NOW: u64 = 1_800_000_000_000;

fn labels(text: &str) -> Labels {
    [("bot".into(), text.into())].into()
}

fn histogram(counts: [u64; 3]) -> Histogram {
    let mut total = 0;
    let buckets = [1.0, 2.0, f64::INFINITY].into_iter().zip(counts).map(|(bound, count)| {
        total += count;
        (bound, total)
    });
    let buckets: Vec<_> = buckets.collect();
    Histogram { sum: total as f64, count: total, buckets }
}

/// A family: its name, its kind, and a value of each bot.
type Named<'a> = (&'a str, Kind, Vec<(&'a str, Value)>);

fn snapshot(at: u64, families: Vec<Named<'_>>) -> Snapshot {
    let families = families.into_iter().map(|(name, kind, series)| {
        let series = series.into_iter().map(|(bot, value)| Series { labels: labels(bot), value });
        (name.into(), Family { kind, series: series.collect() })
    });
    Snapshot { at: Timestamp::from_millis(at), families: families.collect() }
}

fn counter(at: u64, value: f64) -> Snapshot {
    snapshot(at, vec![("c_total", Kind::Counter, vec![("a", Value::Number(value))])])
}

fn of(finished: &[Finished], step_seconds: u32) -> Vec<(u64, Point)> {
    let of_step = finished.iter().filter(|finished| finished.step_seconds == step_seconds);
    of_step.map(|finished| (finished.at.as_millis(), finished.series[0].1.clone())).collect()
}

#[test]
fn a_step_says_what_was_counted_in_it_and_a_process_counts_from_nothing() {
    let mut recorder = Recorder::default();
    let mut finished = Vec::new();
    for (at, value) in [(0, 5.0), (10, 7.0), (60, 10.0), (70, 3.0), (125, 3.0)] {
        finished.extend(recorder.record(&counter(NOW + at * 1_000, value)));
    }
    finished.extend(recorder.flush());
    // 7 from nothing; 3 more, then anew with 3; then nothing, which is not told.
    assert_eq!(of(&finished, 60), [(NOW, Point::Counter(7.0)), (NOW + 60_000, Point::Counter(6.0))]);
    assert_eq!(of(&finished, 600), [(NOW, Point::Counter(13.0))]);
}

#[test]
fn what_somebody_else_counted_before_is_no_increase() {
    let mut recorder = Recorder::default();
    for (at, value) in [(0, 9_000.0), (10, 9_001.0)] {
        let series = vec![("", Value::Number(value))];
        recorder.record(&snapshot(NOW + at * 1_000, vec![(OLDER[0], Kind::Counter, series)]));
    }
    assert_eq!(of(&recorder.flush(), 60), [(NOW, Point::Counter(1.0))]);
}

#[test]
fn a_gauge_tells_its_last_its_extremes_and_its_mean_and_a_state_only_what_is_so() {
    let mut recorder = Recorder::default();
    for (at, value) in [(0, 4.0), (10, 1.0), (20, f64::NAN), (30, 3.0), (40, 2.0)] {
        let (up, down) = (("running", Value::Number(1.0)), ("stopped", Value::Number(0.0)));
        let families = vec![
            ("g", Kind::Gauge, vec![("a", Value::Number(value))]),
            ("bothost_bot_phase", Kind::Gauge, vec![up, down]),
        ];
        recorder.record(&snapshot(NOW + at * 1_000, families));
    }
    let finished = recorder.flush();
    let gauge = finished.iter().find(|finished| &*finished.name == "g" && finished.step_seconds == 60).unwrap();
    let expected = Gauge { last: 2.0, min: 1.0, max: 4.0, sum: 10.0, count: 4 };
    assert_eq!(gauge.series, [(labels("a"), Point::Gauge(expected))]);
    assert_eq!(expected.mean(), 2.5);
    let phase = finished.iter().find(|finished| &*finished.name == "bothost_bot_phase").unwrap();
    assert_eq!(phase.series.iter().map(|(labels, _)| labels).collect::<Vec<_>>(), [&labels("running")]);
}

#[test]
fn a_series_that_comes_again_begins_anew() {
    let mut recorder = Recorder::default();
    recorder.record(&counter(NOW, 100.0));
    recorder.record(&snapshot(NOW + 10_000, Vec::new()));
    recorder.record(&counter(NOW + 20_000, 150.0));
    assert_eq!(of(&recorder.flush(), 60), [(NOW, Point::Counter(250.0))]);
}

#[test]
fn what_is_not_there_any_more_is_forgotten_in_time() {
    let mut recorder = Recorder::default();
    recorder.record(&counter(NOW, 1.0));
    for round in 1..1_000u64 {
        recorder.record(&snapshot(NOW + round * 10_000, Vec::new()));
    }
    assert_eq!((recorder.names().count(), recorder.series, recorder.raw_series), (0, 0, 0));
}

#[test]
fn too_many_series_are_left_out_and_counted() {
    let mut recorder = Recorder::default();
    let names: Vec<_> = (0..5_010).map(|number| number.to_string()).collect();
    let series = || names.iter().map(|name| (name.as_str(), Value::Number(1.0))).collect();
    recorder.record(&snapshot(NOW, vec![("g", Kind::Gauge, series())]));
    // A thousand without single points, ten not at all.
    assert_eq!((recorder.dropped(), recorder.raw_series, recorder.series), (1_010, 4_000, 5_000));
    recorder.record(&snapshot(NOW + 10_000, vec![("g", Kind::Gauge, series())]));
    assert_eq!(recorder.dropped(), 1_020);
    assert!(recorder.flush().iter().all(|finished| finished.series.len() == 5_000));
}

#[test]
fn single_points_are_those_of_the_last_hour_and_a_clock_that_is_set_back_begins_them_anew() {
    let mut recorder = Recorder::default();
    for round in 0..1_000u64 {
        recorder.record(&counter(NOW + round * 10_000, round as f64));
    }
    let last = NOW + 999 * 10_000;
    let span = recorder.raw_span().unwrap();
    assert_eq!((last - span.since.as_millis(), span.interval), (3_600_000, Duration::from_secs(10)));
    let points = |recorder: &Recorder| {
        let (mut points, all) = (Vec::new(), (Timestamp::from_millis(0), Timestamp::from_millis(u64::MAX)));
        recorder.raw("c_total", &Filter::default(), all, |_, at, point| points.push((at.as_millis(), point)));
        points
    };
    let found = points(&recorder);
    assert_eq!((found.len(), found.last().unwrap()), (361, &(last, Point::Counter(1.0))));
    recorder.record(&counter(NOW, 1_009.0));
    assert_eq!(points(&recorder), [(NOW, Point::Counter(10.0))]);
}

#[derive(Debug, Clone)]
enum Step {
    Look { after_ms: i64, counted: u64, observed: [u64; 3] },
    Restart,
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    let looks = (0i64..200_000, 0u64..100, proptest::array::uniform3(0u64..5));
    let back = (-90_000i64..0, 0u64..100, proptest::array::uniform3(0u64..5));
    let look = |(after_ms, counted, observed)| Step::Look { after_ms, counted, observed };
    prop_oneof![8 => looks.prop_map(look), 1 => back.prop_map(look), 1 => Just(Step::Restart), 1 => Just(Step::Forget)]
}

proptest! {
    /// Whatever happens to the process and the clock, what was counted is in the steps, once.
    #[test]
    fn every_step_length_adds_up_to_what_was_counted(steps in proptest::collection::vec(step(), 1..60)) {
        let mut recorder = Recorder::default();
        let (mut at, mut counter, mut seen) = (NOW, 0, [0u64; 3]);
        let (mut counted_in_all, mut observed_in_all) = (0, [0u64; 3]);
        let mut finished = Vec::new();
        for step in steps {
            match step {
                Step::Look { after_ms, counted, observed } => {
                    at = at.saturating_add_signed(after_ms);
                    (counter, counted_in_all) = (counter + counted, counted_in_all + counted);
                    for ((seen, all), new) in seen.iter_mut().zip(&mut observed_in_all).zip(observed) {
                        (*seen, *all) = (*seen + new, *all + new);
                    }
                    let series = vec![("a", Value::Number(counter as f64))];
                    let histograms = vec![("a", Value::Histogram(histogram(seen)))];
                    let families = vec![("c_total", Kind::Counter, series), ("h", Kind::Histogram, histograms)];
                    finished.extend(recorder.record(&snapshot(at, families)));
                }
                Step::Restart => {
                    finished.extend(recorder.flush());
                    (recorder, counter, seen) = (Recorder::default(), 0, [0; 3]);
                }
                Step::Forget => {
                    finished.extend(recorder.record(&snapshot(at, Vec::new())));
                    (counter, seen) = (0, [0; 3]);
                }
            }
        }
        finished.extend(recorder.flush());
        for keep in STEPS {
            let (mut counted, mut observed) = (0.0, Histogram::default());
            for Finished { at, series, .. } in finished.iter().filter(|row| row.step_seconds == keep.step_seconds) {
                prop_assert_eq!(at.as_millis() % (u64::from(keep.step_seconds) * 1_000), 0);
                prop_assert_eq!(series.len(), 1);
                match &series[0].1 {
                    Point::Counter(increase) => {
                        prop_assert!(*increase > 0.0);
                        counted += increase;
                    }
                    Point::Histogram(histogram) => observed.add(histogram),
                    Point::Gauge(_) => prop_assert!(false, "there is none"),
                }
            }
            prop_assert_eq!(counted, counted_in_all as f64);
            let expected = histogram(observed_in_all);
            prop_assert_eq!((observed.count, observed.sum), (expected.count, expected.sum));
            if expected.count > 0 {
                prop_assert_eq!(observed, expected);
            }
        }
    }
}
