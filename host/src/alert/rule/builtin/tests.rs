use std::collections::BTreeMap;

use tokio::time::Instant;

use super::*;
use crate::alert::rule::synthetic::{add_histogram, snapshot};
use crate::alert::rule::{Rules, Verdict};
use crate::metrics::snapshot::Snapshot;

type Scene = fn(minutes: f64) -> Snapshot;

/// Looks at a scene every twenty seconds for five hours; returns the summary of the first alert of a rule.
fn first_alert(rule: &str, scene: Scene) -> Option<String> {
    let (mut rules, begin) = (Rules::new(&BTreeMap::new()), Instant::now());
    for look in 0..900u32 {
        let verdicts = rules.look(&scene(f64::from(look) / 3.0), begin + Duration::from_secs(20) * look);
        let fired = verdicts.into_iter().find_map(|verdict| match verdict {
            Verdict::Fire(report) if report.rule.as_str() == rule => Some(report.summary),
            _ => None,
        });
        if fired.is_some() {
            return fired;
        }
    }
    None
}

const E: &str = "{bot=\"echo\"}";

fn of(name: &str, labels: &str) -> String {
    format!("bothost_{name}{labels}")
}

fn ratio(part: &str, whole: &str, labels: &str, share: f64) -> Snapshot {
    snapshot(&[(of(part, labels), share * 1e9), (of(whole, labels), 1e9)])
}

fn gauge(name: &str, labels: &str, value: f64) -> Snapshot {
    snapshot(&[(of(name, labels), value)])
}

fn fuel(minutes: f64, bound: f64) -> Snapshot {
    let mut scene = gauge("bot_fuel_limit_units", E, 1e9);
    let observed = (minutes * 60.0) as u64;
    let own = [(1e6, 0), (bound, observed), (f64::INFINITY, 0)];
    add_histogram(&mut scene, &of("attempt_fuel_units", E), &own);
    scene
}

fn attempts(well: f64, failed: f64) -> Snapshot {
    let labels = |outcome: &str| format!("{{bot=\"echo\", outcome=\"{outcome}\"}}");
    snapshot(&[(of("attempt_ended_total", &labels("ok")), well), (of("attempt_ended_total", &labels("trap")), failed)])
}

/// Two to four errors a minute, and fifty from some minute on.
fn errors(minutes: f64, burst: f64) -> f64 {
    let (usual, more) = (minutes.min(burst), (minutes - burst).max(0.0));
    (3.0 * usual + (usual * 0.7).sin()).floor() + (50.0 * more).floor()
}

/// A rule, what makes it raise an alert, what does not, and a part of what it says.
const SCENES: &[(&str, Scene, Scene, &str)] = &[
    ("bot-fuel-near-limit", |m| fuel(m, 1e9), |m| fuel(m, 5e8), "bot echo needs up to 99"),
    (
        "bot-memory-near-limit",
        |_| ratio("bot_memory_peak_bytes", "bot_memory_limit_bytes", E, 0.95),
        |_| ratio("bot_memory_peak_bytes", "bot_memory_limit_bytes", E, 0.85),
        "bot echo has used 95%",
    ),
    (
        "bot-fails-often",
        |m| attempts(m.floor(), m.floor() * 3.0),
        // One failure, and nothing else for an hour; and some now and then.
        |m| {
            attempts(
                if m > 60.0 { m * 3.0 } else { 0.0 },
                if m > 60.0 {
                    m
                } else if m > 2.0 {
                    1.0
                } else {
                    0.0
                },
            )
        },
        "bot echo fails at 75% of its events",
    ),
    (
        "dead-letters",
        |m| if m < 2.0 { Snapshot::default() } else { gauge("dead_letter_added_total", E, 2.0) },
        |_| gauge("dead_letter_added_total", E, 7.0),
        "2 events of bot echo",
    ),
    (
        "queue-filling",
        |_| ratio("queue_depth_events", "queue_capacity_events", "", 0.81),
        |_| ratio("queue_depth_events", "queue_capacity_events", "", 0.79),
        "81% full",
    ),
    (
        "queue-full",
        |_| ratio("queue_depth_events", "queue_capacity_events", "", 1.0),
        |_| ratio("queue_depth_events", "queue_capacity_events", "", 0.97),
        "100% full",
    ),
    (
        "queue-grows",
        |m| ratio("queue_depth_events", "queue_capacity_events", "", (m / 60.0 * 0.6).min(0.9)),
        |m| ratio("queue_depth_events", "queue_capacity_events", "", m % 7.0 / 7.0 * 0.6),
        "the queue is full in about",
    ),
    (
        "queue-old",
        |m| gauge("queue_oldest_waiting_seconds", "", m * 60.0),
        |m| gauge("queue_oldest_waiting_seconds", "", m * 60.0 % 290.0),
        "waited for 6m",
    ),
    (
        "outbox-old",
        |m| gauge("outbox_oldest_waiting_seconds", "{connector=\"tg\"}", m * 60.0),
        |m| gauge("outbox_oldest_waiting_seconds", "{connector=\"tg\"}", m * 60.0 % 590.0),
        "delivered by tg",
    ),
    (
        "disk-low",
        |_| ratio("disk_free_bytes", "disk_total_bytes", "", 0.09),
        |_| ratio("disk_free_bytes", "disk_total_bytes", "", 0.11),
        "9% of the disk",
    ),
    (
        "disk-critical",
        |_| ratio("disk_free_bytes", "disk_total_bytes", "", 0.02),
        |_| ratio("disk_free_bytes", "disk_total_bytes", "", 0.04),
        "only 2%",
    ),
    (
        "disk-fills",
        |m| ratio("disk_free_bytes", "disk_total_bytes", "", 0.6 - m / 60.0 * 0.04),
        // Thirty days from full.
        |m| ratio("disk_free_bytes", "disk_total_bytes", "", 0.6 - m / 60.0 * 0.0008),
        "is full in about 11 h",
    ),
    (
        "memory-high",
        |_| gauge("memory_used_ratio", "", 0.92),
        |_| gauge("memory_used_ratio", "", 0.88),
        "92% of the memory",
    ),
    (
        "memory-grows",
        |m| ratio("process_resident_bytes", "memory_limit_bytes", "", 0.2 + m / 60.0 * 0.2),
        // What is collected every twelve minutes has teeth.
        |m| ratio("process_resident_bytes", "memory_limit_bytes", "", 0.3 + m % 12.0 / 12.0 * 0.5),
        "memory limit in about 3 h",
    ),
    (
        "processor-busy",
        |_| gauge("machine_cpu_ratio", "", 0.99),
        |m| gauge("machine_cpu_ratio", "", if m % 9.0 < 8.0 { 1.0 } else { 0.5 }),
        "99% busy",
    ),
    (
        "memory-pressure",
        |_| gauge("pressure_ratio", "{resource=\"memory\"}", 0.3),
        |_| gauge("pressure_ratio", "{resource=\"cpu\"}", 0.9),
        "for 30% of the time",
    ),
    (
        "files-near-limit",
        |_| ratio("process_open_files", "process_open_files_limit", "", 0.9),
        |_| ratio("process_open_files", "process_open_files_limit", "", 0.5),
        "LimitNOFILE",
    ),
    (
        "connector-silent",
        |m| gauge("connector_silent_seconds", "{connector=\"tg\"}", m * 60.0),
        |_| gauge("connector_silent_seconds", "{connector=\"tg\"}", 299.0),
        "nothing has come in by tg for 5m",
    ),
    (
        "connector-stalled",
        |m| gauge("connector_stale_seconds", "{connector=\"tg\"}", m * 60.0),
        |_| gauge("connector_stale_seconds", "{connector=\"tg\"}", 60.0),
        "tg has had no sign of life",
    ),
    (
        "errors-many",
        |m| gauge("errors_total", "{severity=\"error\", component=\"x\"}", m * 20.0),
        |m| gauge("errors_total", "{severity=\"error\", component=\"x\"}", m * 5.0),
        "errors within five minutes",
    ),
    (
        "errors-unusual",
        |m| gauge("errors_total", "{severity=\"warning\", component=\"x\"}", errors(m, 240.0)),
        |m| gauge("errors_total", "{severity=\"warning\", component=\"x\"}", errors(m, 1e9)),
        "far more often than they usually do",
    ),
    (
        "log-lines-lost",
        |m| gauge("log_lines_lost_total", "", if m > 1.0 { 3.0 } else { 0.0 }),
        |_| gauge("log_lines_lost_total", "", 3.0),
        "3 lines",
    ),
    (
        "probe-down",
        |m| gauge("probe_up", "{probe=\"db\"}", if m > 3.0 { 0.0 } else { 1.0 }),
        |m| gauge("probe_up", "{probe=\"db\"}", if m % 5.0 < 0.5 { 0.0 } else { 1.0 }),
        "db does not answer",
    ),
];

#[test]
fn each_rule_of_the_hosts_has_a_scene_that_raises_it_and_one_that_does_not() {
    assert_eq!(SCENES.iter().map(|(name, ..)| *name).collect::<Vec<_>>(), names());
    for (name, bad, good, expected) in SCENES {
        let summary = first_alert(name, *bad).unwrap_or_else(|| panic!("{name} was not raised"));
        assert!(summary.contains(expected), "{name}: {summary}");
        assert_eq!(first_alert(name, *good), None, "{name}");
    }
}

#[test]
fn each_rule_of_the_hosts_is_whole_and_its_alert_ends_when_all_is_well() {
    for name in names() {
        let rule: RuleName = name.parse().unwrap();
        let config = find(&rule).unwrap();
        assert_eq!(config.check(&rule), Ok(()), "{name}");
    }
    let (mut rules, begin) = (Rules::new(&BTreeMap::new()), Instant::now());
    assert_eq!(rules.adopt(["probe-down:db"]), [""; 0]);
    let up = gauge("probe_up", "{probe=\"db\"}", 1.0);
    assert_eq!(rules.look(&up, begin), [Verdict::End { key: "probe-down:db".to_owned() }]);
}
