use std::time::Instant;

use tempfile::TempDir;

use super::*;
use crate::metrics::snapshot::{Family, Histogram, Kind, Labels, Series, Value};
use crate::store::observations::OBSERVATIONS_FILE;

/// A multiple of ten minutes.
const NOW: u64 = 1_800_000_000_000;
const DAY_MS: u64 = 86_400_000;

fn moment(at: u64) -> Timestamp {
    Timestamp::from_millis(at)
}

fn open(dir: &TempDir) -> (Observations, History) {
    let (observations, _) = Observations::open(dir.path()).unwrap();
    (observations.clone(), History::new(observations))
}

fn labels(bot: &str) -> Labels {
    [("bot".into(), bot.into())].into()
}

fn family(kind: Kind, series: Vec<(String, Value)>) -> Family {
    Family { kind, series: series.into_iter().map(|(bot, value)| Series { labels: labels(&bot), value }).collect() }
}

fn one(at: u64, name: &str, kind: Kind, value: Value) -> Snapshot {
    let families = [(name.into(), family(kind, vec![("a".to_owned(), value)]))].into();
    Snapshot { at: moment(at), families }
}

fn counter(at: u64, value: u64) -> Snapshot {
    one(at, "c_total", Kind::Counter, Value::Number(value as f64))
}

fn asked(name: &str, since: u64, until: u64, step: Option<u64>) -> Query {
    let (since, until) = (moment(since), moment(until));
    Query { name: name.to_owned(), labels: Filter::default(), since, until, step: step.map(Duration::from_secs) }
}

async fn increases(history: &History, since: u64, until: u64, step: Option<u64>) -> Vec<(u64, f64)> {
    let found = history.query(asked("c_total", since, until, step), moment(until)).await.unwrap();
    assert!(found.series.len() <= 1, "{found:?}");
    let points = found.series.into_iter().flat_map(|series| series.points);
    let increase = |(at, point): (Timestamp, Point)| match point {
        Point::Counter(increase) => ((at.as_millis() - NOW) / 1_000, increase),
        other => panic!("{other:?}"),
    };
    points.map(increase).collect()
}

#[tokio::test]
async fn a_minute_that_two_processes_have_seen_is_one() {
    let dir = tempfile::tempdir().unwrap();
    for (from, until, last) in [(0, 40_000, 4), (40_000, 90_000, 5)] {
        let (observations, history) = open(&dir);
        for at in (from..until).step_by(10_000) {
            history.record(&counter(NOW + at, (at - from) / 10_000 + 1));
        }
        assert_eq!(last, (until - from) / 10_000);
        history.flush(moment(NOW + until)).await;
        observations.close().await;
    }
    let (_, history) = open(&dir);
    assert_eq!(increases(&history, NOW, NOW + 600_000, None).await, [(0, 6.0), (60, 3.0)]);
    assert_eq!(increases(&history, NOW, NOW + 600_000, Some(600)).await, [(0, 9.0)]);
    assert_eq!(history.names().await.unwrap(), ["c_total"]);
}

#[tokio::test]
async fn an_answer_has_what_is_on_disk_and_what_is_not_there_yet() {
    let dir = tempfile::tempdir().unwrap();
    let (_observations, history) = open(&dir);
    for round in 0..15 {
        history.record(&counter(NOW + round * 10_000, round));
    }
    let until = NOW + 150_000;
    // The process is as old as the window: every look.
    let looks = increases(&history, NOW, until, None).await;
    assert_eq!((looks.len(), looks[0]), (14, (10, 1.0)));
    assert_eq!(increases(&history, NOW, until, Some(60)).await, [(0, 5.0), (60, 6.0), (120, 3.0)]);
    // The process is younger than the window, and a step that began before it is shown whole.
    assert_eq!(increases(&history, NOW - 600_000, until, None).await, [(0, 5.0), (60, 6.0), (120, 3.0)]);
    assert_eq!(increases(&history, NOW + 70_000, until, Some(60)).await, [(60, 6.0), (120, 3.0)]);
    assert_eq!(increases(&history, NOW - 600_000, until, Some(120)).await, [(0, 11.0), (120, 3.0)]);
    let none = history.query(asked("c_total", NOW, until, None), moment(until)).await.unwrap();
    assert_eq!((none.kind, none.step), (Some(Kind::Counter), Duration::from_secs(10)));
    let none = history.query(asked("nothing", NOW, until, None), moment(until)).await.unwrap();
    assert_eq!((none.kind, none.series), (None, Vec::new()));
}

#[tokio::test]
async fn an_answer_has_only_the_series_that_are_asked_for_and_no_more_than_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let (_observations, history) = open(&dir);
    let series = (0..250).map(|bot| (format!("bot-{bot}"), Value::Number(1.0))).collect();
    let families = [("g".into(), family(Kind::Gauge, series))].into();
    history.record(&Snapshot { at: moment(NOW), families });
    history.flush(moment(NOW)).await;
    for step in [None, Some(60)] {
        let found = history.query(asked("g", NOW, NOW + 60_000, step), moment(NOW)).await.unwrap();
        assert_eq!((found.series.len(), found.series_left_out, found.is_cut), (200, 50, false));
        let filter = Filter::default().with("bot", ["bot-7".to_owned()]);
        let query = Query { labels: filter, ..asked("g", NOW, NOW + 60_000, step) };
        let found = history.query(query, moment(NOW)).await.unwrap();
        assert_eq!((found.series.len(), found.series_left_out), (1, 0));
        assert_eq!(found.series[0].labels, labels("bot-7"));
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_makes_no_row_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (_observations, history) = open(&dir);
    let mut counted = 0;
    for at in [0, 50_000, 70_000, 20_000, 30_000, 65_000, 10_000, 130_000, 0] {
        counted += 1;
        history.record(&counter(NOW + at, counted));
    }
    history.flush(moment(NOW + 130_000)).await;
    let minutes = increases(&history, NOW - DAY_MS / 2, NOW + 600_000, Some(60)).await;
    assert_eq!(minutes, [(0, 6.0), (60, 2.0), (120, 1.0)]);
}

#[tokio::test]
async fn a_report_is_made_of_memory_and_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (_observations, history) = open(&dir);
    for round in 0..60u64 {
        let ended = |outcome: &str, count: u64| Series {
            labels: [("bot".into(), "echo".into()), ("outcome".into(), outcome.into())].into(),
            value: Value::Number(count as f64),
        };
        let series = vec![ended("ok", round * 3), ended("trapped", round)];
        let families = [("bothost_attempt_ended_total".into(), Family { kind: Kind::Counter, series })].into();
        history.record(&Snapshot { at: moment(NOW + round * 10_000), families });
    }
    let now = moment(NOW + 590_000);
    for (window, expected) in [(3_600, (177, 59)), (86_400, (177, 59)), (95, (30, 10))] {
        let report = history.report(Duration::from_secs(window), now).await.unwrap();
        assert_eq!(report.bots.len(), 1);
        assert_eq!((report.bots[0].ok, report.bots[0].failed), expected, "{window} s");
    }
}

/// 60 series of counters, 30 of gauges and 10 of histograms, of ten names.
fn busy(at: u64, round: u64) -> Snapshot {
    let number = |bot: u64, name: u64| Value::Number((round * (bot + 1) + name * round % 7) as f64);
    let bots = |value: &dyn Fn(u64) -> Value| (0..10).map(|bot| (format!("bot-{bot}"), value(bot))).collect();
    let mut families = std::collections::BTreeMap::new();
    for name in 0..6 {
        families.insert(format!("c{name}_total").into(), family(Kind::Counter, bots(&|bot| number(bot, name))));
    }
    for name in 0..3u64 {
        let gauge = |bot: u64| Value::Number(((round * 31 + bot * 17 + name) % 1_009) as f64 / 8.0);
        families.insert(format!("g{name}").into(), family(Kind::Gauge, bots(&gauge)));
    }
    let histogram = |bot: u64| {
        let buckets = (0..12).map(|bucket| (0.001 * f64::from(1 << bucket), round * (bot + bucket as u64 + 1) / 3));
        let total = round * (bot + 13) / 3;
        let buckets = buckets.chain([(f64::INFINITY, total)]).collect();
        Value::Histogram(Histogram { sum: total as f64 * 0.01, count: total, buckets })
    };
    families.insert("h".into(), family(Kind::Histogram, bots(&histogram)));
    Snapshot { at: moment(at), families }
}

#[tokio::test]
async fn a_week_of_a_hundred_series_fits_and_answers() {
    // Looked at each ten minutes for six days, of which no finer rows are left in the end, and each ten seconds on the last.
    let moments = (0..6 * 144).map(|step| step * 600_000).chain((6 * 8_640..7 * 8_640).map(|look| look * 10_000));
    let dir = tempfile::tempdir().unwrap();
    let (observations, history) = open(&dir);
    let (begun, mut slowest) = (Instant::now(), Duration::ZERO);
    for (round, at) in (0..).zip(moments) {
        let snapshot = busy(NOW + at, round);
        let begun = Instant::now();
        history.record(&snapshot);
        slowest = slowest.max(begun.elapsed());
        if round % 600 == 0 {
            observations.settled().await;
        }
    }
    let recorded = begun.elapsed();
    let until = NOW + 7 * DAY_MS;
    history.flush(moment(until)).await;
    let begun = Instant::now();
    for (name, since, points) in
        [("c3_total", until - DAY_MS, 720), ("h", until - 7 * DAY_MS, 504), ("g1", until - 3_600_000, 360)]
    {
        let found = history.query(asked(name, since, until, None), moment(until)).await.unwrap();
        assert_eq!((found.series.len(), found.series_left_out, found.is_cut), (10, 0, false));
        let least = found.series.iter().map(|series| series.points.len()).min();
        assert!(least.is_some_and(|least| (points..=1_000).contains(&least)), "{name}: {least:?}");
    }
    let queries = begun.elapsed();
    let losses = observations.losses();
    observations.close().await;
    let bytes = std::fs::metadata(dir.path().join(OBSERVATIONS_FILE)).unwrap().len();
    println!(
        "{bytes} bytes; recorded in {recorded:?}, the slowest look {slowest:?}; three answers in {queries:?}; {losses:?}"
    );
    assert_eq!((losses.points, history.series_dropped()), (0, 0));
    assert!(bytes < 24 << 20, "{bytes}");
}
