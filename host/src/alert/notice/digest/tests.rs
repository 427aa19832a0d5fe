//! What holds for a digest, however alerts come and go.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::alert::{Source, Standing};

const GROUP_WAIT: Duration = Duration::from_secs(5);
const EVERY: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn rules() -> DigestRules {
    DigestRules {
        channel: "ops".parse().unwrap(),
        min_severity: Severity::Info,
        resolved: true,
        group_wait: GROUP_WAIT,
        digest_every: EVERY,
        remind_every: None,
    }
}

fn at(since: Duration) -> Timestamp {
    Timestamp::from_millis(1_000_000).saturating_add(since)
}

fn alert(key: &str, severity: Severity) -> Alert {
    Alert::new(Source::Host, key, severity, "it burns", at(Duration::ZERO))
}

/// A digest, its clock, and what is up.
struct Bench {
    digest: Digest,
    begun: Instant,
    now: Instant,
    up: HashMap<AlertId, Alert>,
    notices: Vec<(Duration, Content)>,
}

impl Bench {
    fn new(rules: DigestRules) -> Self {
        let now = Instant::now();
        Self { digest: Digest::new(rules), begun: now, now, up: HashMap::new(), notices: Vec::new() }
    }

    fn hear(&mut self, alert: Alert, turn: Turn) {
        match turn {
            Turn::Resolved { .. } => drop(self.up.remove(&alert.id)),
            _ => drop(self.up.insert(alert.id, alert.clone())),
        }
        let at = at(self.now - self.begun);
        self.digest.hear(&Arc::new(News { at, turn, alert }), self.now);
    }

    fn fire(&mut self, key: &str, severity: Severity) {
        self.hear(alert(key, severity), Turn::Fired);
    }

    fn resolve(&mut self, key: &str) {
        self.hear(alert(key, Severity::Warning), Turn::Resolved { by: None });
    }

    /// Lets time pass, and takes each notice when it is due.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.digest.due(self.now).filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let up: Vec<_> = self.up.values().cloned().collect();
            let Some(content) = self.digest.take(self.now, || up) else { continue };
            self.notices.push((self.now - self.begun, content));
        }
        self.now = end;
    }

    /// Returns what the notices since the last call say.
    fn said(&mut self) -> Vec<Vec<(&'static str, String, u64)>> {
        let say = |entry: &Entry| (entry.happened.as_str(), entry.alert.key.clone(), entry.times);
        self.notices.drain(..).map(|(_, content)| content.entries.iter().map(say).collect()).collect()
    }
}

fn one(what: &'static str, key: &str, times: u64) -> Vec<Vec<(&'static str, String, u64)>> {
    vec![vec![(what, key.to_owned(), times)]]
}

#[test]
fn the_first_alert_waits_for_those_that_come_with_it_and_the_worst_comes_first() {
    let mut bench = Bench::new(rules());
    bench.fire("a", Severity::Info);
    bench.pass(Duration::from_secs(4));
    bench.fire("b", Severity::Critical);
    bench.pass(HOUR);
    assert_eq!(bench.notices[0].0, GROUP_WAIT);
    assert_eq!(bench.said(), [[("fired", "b".to_owned(), 1), ("fired", "a".to_owned(), 1)]]);
}

#[test]
fn what_comes_and_goes_within_one_notice_is_told_once() {
    let mut bench = Bench::new(rules());
    for _ in 0..7 {
        bench.fire("a", Severity::Warning);
        bench.resolve("a");
    }
    bench.pass(HOUR);
    assert_eq!(bench.said(), one("came-and-went", "a", 7));
    bench.fire("a", Severity::Warning);
    bench.pass(HOUR);
    assert_eq!(bench.said(), one("fired", "a", 1));
    for _ in 0..7 {
        bench.resolve("a");
        bench.fire("a", Severity::Warning);
    }
    bench.pass(HOUR);
    assert_eq!(bench.said(), one("changed", "a", 7));
    bench.resolve("a");
    bench.pass(HOUR);
    assert_eq!(bench.said(), one("resolved", "a", 0));
}

#[test]
fn who_does_not_want_to_hear_of_recoveries_does_not() {
    let mut bench = Bench::new(DigestRules { resolved: false, ..rules() });
    bench.fire("a", Severity::Warning);
    bench.pass(HOUR);
    bench.resolve("a");
    bench.pass(HOUR);
    assert_eq!(bench.said(), one("fired", "a", 1));
    bench.fire("a", Severity::Warning);
    bench.pass(HOUR);
    assert_eq!(bench.said(), one("fired", "a", 1));
}

#[test]
fn what_is_not_for_this_channel_is_not_told_until_it_is() {
    let mut bench = Bench::new(DigestRules { min_severity: Severity::Warning, ..rules() });
    bench.fire("a", Severity::Info);
    let named = |name: &str| Some(vec![name.parse().unwrap()]);
    bench.hear(Alert { channels: named("other"), ..alert("b", Severity::Critical) }, Turn::Fired);
    bench.pass(HOUR);
    assert!(bench.said().is_empty());
    bench.hear(Alert { channels: named("ops"), ..alert("c", Severity::Info) }, Turn::Fired);
    bench.pass(HOUR);
    assert_eq!(bench.said(), one("fired", "c", 1));
    bench.hear(alert("a", Severity::Warning), Turn::Changed);
    bench.pass(HOUR);
    assert_eq!(bench.said(), one("fired", "a", 0));
    bench.hear(alert("a", Severity::Info), Turn::Changed);
    bench.pass(HOUR);
    assert_eq!(bench.said(), one("changed", "a", 0));
}

#[test]
fn somebody_is_reminded_until_somebody_answers() {
    let mut bench = Bench::new(DigestRules { remind_every: Some(4 * HOUR), ..rules() });
    bench.fire("a", Severity::Warning);
    bench.pass(HOUR / 2);
    bench.fire("b", Severity::Critical);
    bench.fire("quiet", Severity::Info);
    bench.pass(HOUR);
    bench.notices.clear();
    bench.pass(6 * HOUR);
    assert_eq!(bench.said(), [[("reminder", "b".to_owned(), 1), ("reminder", "a".to_owned(), 1)]]);
    let standing = Standing::Acknowledged { by: "ann".to_owned(), at: at(HOUR) };
    bench.hear(Alert { standing, ..alert("b", Severity::Critical) }, Turn::Acknowledged);
    bench.pass(4 * HOUR);
    assert_eq!(bench.said(), one("reminder", "a", 1));
    bench.resolve("a");
    bench.pass(9 * HOUR);
    assert_eq!(bench.said(), one("resolved", "a", 0));
}

#[test]
fn what_an_earlier_process_told_is_not_told_again_and_its_end_is() {
    let mut bench = Bench::new(rules());
    bench.digest.adopt(&[alert("a", Severity::Warning)], bench.now);
    bench.pass(HOUR);
    assert!(bench.said().is_empty());
    bench.resolve("a");
    bench.pass(HOUR);
    assert_eq!(bench.said(), one("resolved", "a", 0));
}

#[test]
fn after_turns_were_missed_what_is_up_is_told_and_what_ended_is_counted() {
    let mut bench = Bench::new(rules());
    for key in ["told", "gone"] {
        bench.fire(key, Severity::Warning);
    }
    bench.pass(HOUR);
    bench.fire("held", Severity::Warning);
    bench.notices.clear();
    let active = vec![alert("told", Severity::Warning), alert("new", Severity::Critical)];
    bench.digest.catch_up(9, active, bench.now, at(HOUR));
    bench.pass(HOUR);
    let (_, content) = &bench.notices[0];
    assert_eq!(content.more, More { turns_missed: 9, resolved: 1, ..More::default() });
    assert_eq!(bench.said(), [[("fired", "new".to_owned(), 1), ("came-and-went", "held".to_owned(), 1)]]);
}

#[test]
fn of_too_many_the_worst_are_shown_and_the_rest_is_counted_with_bounded_memory() {
    let mut bench = Bench::new(rules());
    for number in 0..10_000 {
        bench.fire(&format!("w{number}"), Severity::Warning);
        assert!(bench.digest.held.len() <= HELD_MAX && bench.digest.ranks.len() == bench.digest.held.len());
    }
    for number in 0..12 {
        bench.fire(&format!("c{number}"), Severity::Critical);
    }
    bench.pass(HOUR);
    let [(_, content)] = &bench.notices[..] else { panic!("{} notices", bench.notices.len()) };
    assert!(content.entries.iter().all(|entry| entry.alert.severity == Severity::Critical));
    assert_eq!(content.more, More { critical: 2, warning: 10_000, ..More::default() });
    bench.notices.clear();
    bench.resolve("w1");
    bench.pass(HOUR);
    assert_eq!(bench.said(), one("resolved", "w1", 0));
}

#[test]
fn what_is_up_is_shown_before_any_number_of_those_that_are_over() {
    let mut bench = Bench::new(rules());
    for number in 0..2_000 {
        bench.fire(&format!("c{number}"), Severity::Critical);
        bench.hear(alert(&format!("c{number}"), Severity::Critical), Turn::Resolved { by: None });
        assert_eq!(bench.digest.ranks.len(), bench.digest.held.len());
    }
    bench.fire("up", Severity::Info);
    bench.pass(HOUR);
    assert_eq!(bench.said()[0][0], ("fired", "up".to_owned(), 1));
}

#[test]
fn f088_a_storm_of_a_hundred_thousand_turns_is_a_few_notices_and_one_recovery_each() {
    let mut bench = Bench::new(rules());
    for turn in 0..100_000u32 {
        let key = format!("kind-{}", turn % 1_000);
        if (turn / 1_000).is_multiple_of(2) {
            bench.fire(&key, Severity::Warning);
        } else {
            bench.resolve(&key);
        }
        bench.pass(Duration::from_millis(6));
        assert!(bench.digest.held.len() <= HELD_MAX && bench.digest.told.len() <= 1_000);
    }
    bench.pass(HOUR);
    let seconds = 600;
    assert!(bench.notices.len() as u64 <= 3 + seconds / 60 + 1, "{} notices", bench.notices.len());
    bench.notices.clear();
    for number in 0..1_000 {
        bench.fire(&format!("kind-{number}"), Severity::Warning);
    }
    bench.pass(HOUR);
    for number in 0..1_000 {
        bench.resolve(&format!("kind-{number}"));
    }
    bench.pass(24 * HOUR);
    let told: Vec<_> = bench.notices.iter().map(|(_, content)| (content.entries.len(), content.more)).collect();
    let more = More::default();
    assert_eq!(told, [(10, More { warning: 990, ..more }), (10, More { resolved: 990, ..more })]);
    assert!(bench.digest.told.is_empty() && bench.digest.due(bench.now).is_none());
}

#[derive(Debug, Clone)]
enum Step {
    Fire(u8, u8),
    Change(u8, u8),
    Resolve(u8),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u8..8, 0u8..3).prop_map(|(key, severity)| Step::Fire(key, severity)),
        (0u8..8, 0u8..3).prop_map(|(key, severity)| Step::Change(key, severity)),
        (0u8..8).prop_map(Step::Resolve),
        (0u64..90_000).prop_map(Step::Wait),
    ]
}

fn severity(number: u8) -> Severity {
    [Severity::Info, Severity::Warning, Severity::Critical][usize::from(number)]
}

proptest! {
    #[test]
    fn what_stays_up_is_told_recoveries_follow_a_telling_and_no_notice_comes_too_soon(
        steps in prop::collection::vec(step(), 1..200), resolved: bool,
    ) {
        let mut bench = Bench::new(DigestRules { resolved, ..rules() });
        for step in steps {
            match step {
                Step::Fire(key, number) if !bench.up.contains_key(&alert(&key.to_string(), severity(0)).id) => {
                    bench.fire(&key.to_string(), severity(number));
                }
                Step::Change(key, number) if bench.up.contains_key(&alert(&key.to_string(), severity(0)).id) => {
                    bench.hear(alert(&key.to_string(), severity(number)), Turn::Changed);
                }
                Step::Resolve(key) if bench.up.contains_key(&alert(&key.to_string(), severity(0)).id) => {
                    bench.resolve(&key.to_string());
                }
                Step::Wait(millis) => bench.pass(Duration::from_millis(millis)),
                _ => {}
            }
        }
        bench.pass(HOUR);
        let mut told = HashSet::new();
        for (_, content) in &bench.notices {
            prop_assert!(content.more.is_empty() && content.entries.len() <= ENTRIES_MAX);
            for entry in &content.entries {
                let id = entry.alert.id;
                match entry.happened {
                    Happened::Fired => prop_assert!(told.insert(id) || !resolved),
                    Happened::Changed => prop_assert!(told.contains(&id)),
                    Happened::Resolved(_) => prop_assert!(resolved && told.remove(&id)),
                    Happened::CameAndWent(_) => prop_assert!(!told.contains(&id) || !resolved),
                    Happened::Reminded | Happened::Tested => prop_assert!(false, "{:?}", entry),
                }
            }
        }
        prop_assert!(bench.up.keys().all(|id| told.contains(id)), "what is up was told");
        prop_assert!(!resolved || told.len() == bench.up.len(), "what is over was told to be");
        let times: Vec<_> = bench.notices.iter().map(|(time, _)| *time).collect();
        for (index, from) in times.iter().enumerate() {
            for (count, to) in times[index..].iter().enumerate() {
                let most = u64::from(BURST) + (*to - *from).as_secs() / EVERY.as_secs() + 1;
                prop_assert!((count as u64) < most, "{count} notices after another within {:?}", *to - *from);
            }
        }
    }
}
