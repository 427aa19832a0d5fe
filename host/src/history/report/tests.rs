use std::collections::BTreeSet;

use super::*;
use crate::history::query::Filter;
use crate::history::sift::Bounds;

/// A series: its name, its labels, and its total.
type One<'a> = (&'static str, &'a [(&'a str, &'a str)], Point);

fn totals(series: &[One<'_>]) -> Totals {
    let names: BTreeSet<_> = series.iter().map(|(name, _, _)| *name).collect();
    let mut totals = Totals::default();
    for wanted in names {
        assert!(FAMILIES.contains(&wanted), "{wanted} is not asked for");
        let mut sift = Sift::new(Filter::default(), u64::MAX, Bounds::default());
        for (_, labels, point) in series.iter().filter(|(name, _, _)| *name == wanted) {
            let labels = labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            sift.add(&labels, Timestamp::from_millis(7), point.clone());
        }
        totals.add(wanted, sift);
    }
    totals
}

fn report(series: &[One<'_>]) -> Report {
    Report::of(&totals(series), Timestamp::from_millis(0), Timestamp::from_millis(3_600_000))
}

fn seconds(counts: [u64; 3]) -> Point {
    let buckets = vec![(0.1, counts[0]), (1.0, counts[0] + counts[1]), (f64::INFINITY, counts.iter().sum())];
    Point::Histogram(Histogram { sum: 0.0, count: counts.iter().sum(), buckets })
}

#[test]
fn nothing_measured_makes_an_empty_report() {
    let report = report(&[]);
    assert_eq!((report.host, report.bots, report.connectors), (HostReport::default(), Vec::new(), Vec::new()));
    assert_eq!((report.since.as_str(), report.until.as_str()), ("1970-01-01T00:00:00Z", "1970-01-01T01:00:00Z"));
}

#[test]
fn a_bot_is_told_with_all_that_is_measured_of_it() {
    let bot: &[_] = &[("bot", "echo")];
    let fuel = Histogram { sum: 0.0, count: 200, buckets: vec![(1e5, 0), (1e6, 200), (f64::INFINITY, 200)] };
    let report = report(&[
        ("bothost_attempt_ended_total", &[("bot", "echo"), ("outcome", "ok")], Point::Counter(190.0)),
        ("bothost_attempt_ended_total", &[("bot", "echo"), ("outcome", "trapped")], Point::Counter(10.0)),
        ("bothost_bot_faults_total", &[("bot", "echo"), ("kind", "trapped")], Point::Counter(11.0)),
        ("bothost_bot_restarts_total", bot, Point::Counter(3.0)),
        ("bothost_dead_letter_added_total", bot, Point::Counter(2.0)),
        ("bothost_attempt_waited_seconds", bot, seconds([100, 0, 0])),
        ("bothost_attempt_elapsed_seconds", bot, seconds([0, 200, 0])),
        ("bothost_attempt_fuel_units", bot, Point::Histogram(fuel)),
        ("bothost_bot_fuel_limit_units", bot, Point::Gauge(Gauge::of(1e9))),
        ("bothost_bot_memory_peak_bytes", bot, Point::Gauge(Gauge::of(3e6))),
        ("bothost_bot_memory_limit_bytes", bot, Point::Gauge(Gauge::of(6.4e7))),
    ]);
    let BotReport { ok, failed, faults, waited_seconds, elapsed_seconds, fuel, memory, restarts, dead_letters, .. } =
        report.clone().bots.remove(0);
    assert_eq!((ok, failed, restarts, dead_letters), (190, 10, 3, 2));
    assert_eq!(faults, [("trapped".to_owned(), 11)].into());
    assert_eq!(waited_seconds.map(|waited| waited.p50), Some(0.05));
    assert_eq!(elapsed_seconds.map(|elapsed| elapsed.p50), Some(0.55));
    assert_eq!((fuel.p50, fuel.limit, fuel.suggested), (Some(550_000.0), Some(1e9), Some(2e6)));
    assert_eq!((memory.peak, memory.limit, memory.suggested), (Some(3e6), Some(6.4e7), Some(8_388_608.0)));
    assert_eq!(report.host.restarts, 3);
    assert_eq!(report.clone().of_bot("echo").bots.len(), 1);
    assert!(report.of_bot("other").bots.is_empty());
}

#[test]
fn the_worst_come_first() {
    let ended = |bot, outcome, count| {
        ("bothost_attempt_ended_total", vec![("bot", bot), ("outcome", outcome)], Point::Counter(count))
    };
    let slow = ("bothost_attempt_elapsed_seconds", vec![("bot", "slow")], seconds([0, 9, 0]));
    let quick = ("bothost_attempt_elapsed_seconds", vec![("bot", "quick")], seconds([9, 0, 0]));
    let sent = |connector, outcome, count| {
        ("bothost_delivery_ended_total", vec![("connector", connector), ("outcome", outcome)], Point::Counter(count))
    };
    let series = [
        ended("bad", "ok", 1.0),
        ended("bad", "trapped", 9.0),
        ended("quick", "ok", 99.0),
        ended("slow", "ok", 99.0),
        slow,
        quick,
        sent("good", "ok", 99.0),
        sent("lossy", "expired", 1.0),
    ];
    let series: Vec<_> = series.iter().map(|(name, labels, point)| (*name, labels.as_slice(), point.clone())).collect();
    let report = report(&series);
    assert_eq!(report.bots.iter().map(|bot| bot.bot.as_str()).collect::<Vec<_>>(), ["bad", "slow", "quick"]);
    let connectors: Vec<_> = report.connectors.iter().map(|connector| connector.connector.as_str()).collect();
    assert_eq!(connectors, ["lossy", "good"]);
}

#[test]
fn the_events_of_timers_are_the_hosts_and_no_connectors() {
    let of = |connector| vec![("class", "timer"), ("connector", connector)];
    let (timer, chat) = (of(""), of("chat"));
    let gauge = Gauge { last: 1.0, min: 1.0, max: 3.0, sum: 4.0, count: 2 };
    let report = report(&[
        ("bothost_event_taken_over_total", &timer, Point::Counter(5.0)),
        ("bothost_event_taken_over_total", &chat, Point::Counter(7.0)),
        ("bothost_connector_connections_total", &[("connector", "chat")], Point::Counter(2.0)),
        ("bothost_delivery_rate_limit_wait_seconds_total", &[("connector", "chat")], Point::Counter(1.5)),
        ("bothost_errors_total", &[("severity", "warning")], Point::Counter(4.0)),
        ("bothost_process_cpu_ratio", &[], Point::Gauge(gauge)),
        ("bothost_disk_free_bytes", &[], Point::Gauge(gauge)),
        ("bothost_queue_depth_events", &[], Point::Gauge(gauge)),
    ]);
    assert_eq!((report.host.events, report.host.errors), (12, 4));
    assert_eq!(report.host.cpu_cores, Some(Level { mean: 2.0, max: 3.0 }));
    assert_eq!((report.host.disk_free_bytes_min, report.host.queued_events_max), (Some(1.0), Some(3.0)));
    let [chat] = &report.connectors[..] else { panic!("{:?}", report.connectors) };
    assert_eq!((chat.events, chat.connections, chat.rate_limit_wait_seconds), (7, 2, 1.5));
}
