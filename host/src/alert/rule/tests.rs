use proptest::prelude::*;

use super::synthetic::snapshot;
use super::*;
use crate::clock::Timestamp;

const STEP: Duration = Duration::from_secs(10);

type Configs = BTreeMap<RuleName, RuleConfig>;

/// Returns the operator's rules, each from its name and its table; the host's own are not in force.
fn configs(rules: &[(&str, &str)]) -> Configs {
    let off = RuleConfig { enabled: Some(false), ..RuleConfig::default() };
    let builtin = builtin::names().into_iter().map(|name| (name.parse().unwrap(), off.clone()));
    let own = rules.iter().map(|(name, table)| (name.parse().unwrap(), toml::from_str(table).unwrap()));
    builtin.chain(own).collect()
}

const DEPTH: &str = "metric = \"depth\"\nop = \">\"\nthreshold = 100\n";

fn depth(more: &str) -> Configs {
    configs(&[("deep", &format!("{DEPTH}{more}"))])
}

/// Returns what is said, briefly.
fn brief(verdicts: &[Verdict]) -> Vec<String> {
    let brief = |verdict: &Verdict| match verdict {
        Verdict::Pending(report) => format!("pending {}", report.key),
        Verdict::Fire(report) => format!("fire {}", report.key),
        Verdict::Refresh(report) => format!("refresh {}", report.key),
        Verdict::End { key } => format!("end {key}"),
        Verdict::Act { bot, action, .. } => format!("{} {bot}", action.as_str()),
    };
    verdicts.iter().map(brief).collect()
}

/// Rules that are looked at every ten seconds.
struct Looked {
    rules: Rules,
    now: Instant,
}

impl Looked {
    fn new(configs: &Configs) -> Self {
        Self { rules: Rules::new(configs), now: Instant::now() }
    }

    fn look<S: AsRef<str>>(&mut self, series: &[(S, f64)]) -> Vec<String> {
        self.now += STEP;
        brief(&self.rules.look(&snapshot(series), self.now))
    }
}

#[test]
fn an_alert_says_what_it_is_about_and_whom_it_tells() {
    let table = "metric = \"m / 100\"\nop = \">=\"\nthreshold = \"80%\"\nseverity = \"critical\"\nfor = \"10s\"\n\
                 actions = [\"notify:ops\"]";
    let message = format!("{table}\nmessage = \"{{bot}} by {{rule}}: {{value}}, not {{threshold}}\"");
    let mut rules = Rules::new(&configs(&[("a", table), ("b", &message)]));
    let (snapshot, now) = (snapshot(&[("m{bot=\"echo\"}", 85.0)]), Instant::now());
    assert_eq!(brief(&rules.look(&snapshot, now)), ["pending a:echo", "pending b:echo"]);
    let verdicts = rules.look(&snapshot, now + STEP);
    let [Verdict::Fire(plain), Verdict::Fire(given)] = &verdicts[..] else { panic!("{verdicts:?}") };
    assert_eq!(plain.summary, "a of echo: 85% >= 80% for 10s");
    assert_eq!(given.summary, "echo by b: 85%, not 80%");
    assert_eq!((plain.severity, plain.channels.as_deref()), (Severity::Critical, Some(&["ops".parse().unwrap()][..])));
    let expected = [("rule", "a"), ("expression", "m / 100"), ("condition", ">= 80% for 10s"), ("value", "85%")];
    for ((key, value), expected) in plain.details.iter().zip(expected) {
        assert_eq!((key.as_str(), value.as_str()), expected);
    }
    let listed = rules.describe();
    let listed = listed.iter().find(|view| view.name.as_str() == "a").unwrap();
    assert_eq!((listed.firing, listed.pending, listed.value.as_deref()), (1, 0, Some("85%")));
    assert!(listed.enabled && !listed.builtin);
}

#[test]
fn a_bot_is_acted_on_once_for_each_time_that_its_alert_comes_up() {
    let table = "metric = \"bothost_bot_x\"\nop = \">\"\nthreshold = 5\nactions = [\"restart\"]\ncooldown = \"20s\"";
    let mut looked = Looked::new(&configs(&[("act", table)]));
    let series = |value| [("bothost_bot_x{bot=\"echo\"}", value)];
    assert_eq!(looked.look(&series(6.0)), ["fire act:echo", "restart echo"]);
    assert_eq!(looked.look(&series(7.0)), ["refresh act:echo"]);
    assert_eq!(looked.look(&series(1.0)), ["end act:echo"]);
    looked.look(&series(1.0));
    assert_eq!(looked.look(&series(6.0)), ["fire act:echo"], "it was restarted within the last minute");
    assert_eq!(looked.look(&series(1.0)), ["end act:echo"]);
    looked.look(&series(1.0));
    assert_eq!(looked.look(&series(6.0)), ["fire act:echo", "restart echo"]);
}

#[test]
fn after_a_restart_alerts_stay_up_until_their_rule_has_looked() {
    let mut looked = Looked::new(&depth("for = \"1h\""));
    assert_eq!(looked.rules.adopt(["deep", "deep:a", "deep:b", "store-degraded"]), ["store-degraded"]);
    assert_eq!(looked.look(&[("depth{bot=\"a\"}", 101.0)]), ["refresh deep:a"], "nobody is told anew");
    assert_eq!(looked.look(&[("depth", 101.0)]), ["refresh deep"]);
    assert_eq!(looked.look(&[("depth", 1.0)]), ["end deep"]);
    assert_eq!(looked.look::<&str>(&[]), ["end deep:a"]);
    for _ in 0..8 {
        assert_eq!(looked.look::<&str>(&[]), [""; 0], "it may be about to start");
    }
    assert_eq!(looked.look::<&str>(&[]), ["end deep:b"], "who does not come is gone");
}

#[test]
fn what_needs_time_to_be_known_again_stays_up_meanwhile() {
    let table = "metric = \"m\"\nop = \"<\"\nthreshold = 0\nforecast = \"1h\"\nwindow = \"10m\"";
    let mut looked = Looked::new(&configs(&[("sinks", table)]));
    assert_eq!(looked.rules.adopt(["sinks"]), [""; 0]);
    let mut said = Vec::new();
    for minute in 0..40 {
        said.extend(looked.look(&[("m", 500.0 - f64::from(minute) * 10.0)]));
    }
    assert!(said.len() > 5 && said.iter().all(|said| said == "refresh sinks"), "{said:?}");
    said.clear();
    for _ in 0..200 {
        said.extend(looked.look(&[("m", 500.0)]));
    }
    assert_eq!(said.iter().filter(|said| *said != "refresh sinks").collect::<Vec<_>>(), ["end sinks"]);
}

#[test]
fn rules_that_did_not_change_keep_what_they_know_and_those_that_are_gone_end() {
    let two = |more: &str| configs(&[("deep", &format!("{DEPTH}{more}")), ("same", DEPTH)]);
    let mut looked = Looked::new(&two(""));
    assert_eq!(looked.look(&[("depth", 101.0)]), ["fire deep", "fire same"]);
    looked.rules.replace(&two("severity = \"critical\""));
    assert_eq!(looked.look(&[("depth", 101.0)]), ["refresh deep", "refresh same"]);
    looked.rules.replace(&two("enabled = false"));
    assert_eq!(looked.look(&[("depth", 101.0)]), ["end deep", "refresh same"]);
    looked.rules.replace(&depth(""));
    assert_eq!(looked.look(&[("depth", 1.0)]), ["end same"]);
}

#[test]
fn a_process_that_was_held_up_does_not_fire_on_what_it_saw_before() {
    let mut looked = Looked::new(&depth("for = \"1m\""));
    (0..5).for_each(|_| assert_eq!(looked.look(&[("depth", 1.0)]), [""; 0]));
    assert_eq!(looked.look(&[("depth", 101.0)]), ["pending deep"]);
    looked.now += Duration::from_secs(600);
    for _ in 0..6 {
        assert_eq!(looked.look(&[("depth", 101.0)]), ["pending deep"]);
    }
    assert_eq!(looked.look(&[("depth", 101.0)]), ["fire deep"]);
}

#[test]
fn an_alert_that_an_operator_resolved_does_not_come_up_at_once() {
    let mut looked = Looked::new(&depth("cooldown = \"30s\""));
    assert_eq!(looked.look(&[("depth", 101.0)]), ["fire deep"]);
    looked.rules.resolved_by_hand("deep");
    looked.rules.resolved_by_hand("another's");
    (0..2).for_each(|_| assert_eq!(looked.look(&[("depth", 101.0)]), [""; 0]));
    assert_eq!(looked.look(&[("depth", 101.0)]), ["fire deep"]);
}

#[test]
fn an_alert_from_before_the_restart_can_be_resolved_by_hand_as_well() {
    let mut looked = Looked::new(&depth("cooldown = \"30s\""));
    looked.rules.adopt(["deep", "deep:a"]);
    looked.rules.resolved_by_hand("deep");
    looked.rules.resolved_by_hand("deep:a");
    for _ in 0..3 {
        assert_eq!(looked.look(&[("depth", 101.0)]), [""; 0]);
    }
    assert_eq!(looked.look(&[("depth", 101.0)]), ["fire deep"]);
}

#[test]
fn a_key_is_never_too_long_and_says_which_it_is() {
    let name = "r".repeat(64);
    let mut looked = Looked::new(&configs(&[(&name, DEPTH)]));
    let subjects = ["x", "y"].map(|end| format!("depth{{connector=\"{}/{}{end}\"}}", "b".repeat(64), "ü".repeat(60)));
    let said = looked.look(&subjects.map(|series| (series, 101.0)));
    let keys: Vec<&str> = said.iter().filter_map(|said| said.strip_prefix("fire ")).collect();
    assert!(keys.len() == 2 && keys[0] != keys[1], "{keys:?}");
    assert!(keys.iter().all(|key| key.len() <= crate::alert::KEY_BYTES_MAX), "{keys:?}");
}

#[test]
fn past_ten_thousand_subjects_the_rest_is_left_out_and_counted() {
    let table = "metric = \"increase(n_total[10m])\"\nop = \">=\"\nthreshold = 0";
    let mut rules = Rules::new(&configs(&[("many", table)]));
    let series: Vec<_> = (0..SUBJECTS_MAX + 7).map(|bot| (format!("n_total{{bot=\"b{bot}\"}}"), 1.0)).collect();
    let (snapshot, now) = (snapshot(&series), Instant::now());
    rules.look(&snapshot, now);
    assert_eq!(rules.left_out(), 7);
    assert_eq!(rules.look(&snapshot, now + STEP).len(), SUBJECTS_MAX);
    rules.look(&Snapshot::default(), now + Duration::from_secs(1_000));
    assert_eq!(rules.left_out(), 0);
}

#[test]
fn names_that_are_not_there_are_said_with_what_was_likely_meant() {
    let table = "metric = \"bothost_queue_dept_events / bothost_guest_x\"\nop = \">\"\nthreshold = 1";
    let rules = Rules::new(&configs(&[("mine", table)]));
    let unknown = rules.unknown_names(&snapshot(&[("bothost_queue_depth_events", 1.0)]));
    let said: Vec<_> = unknown.iter().map(|unknown| (unknown.name.as_str(), unknown.near.as_deref())).collect();
    assert_eq!(said, [("bothost_guest_x", None), ("bothost_queue_dept_events", Some("bothost_queue_depth_events"))]);
}

#[test]
fn the_hosts_own_rules_are_there_without_a_word() {
    let views = Rules::new(&Configs::new()).describe();
    assert_eq!(views.len(), builtin::names().len());
    assert!(views.iter().all(|view| view.builtin && view.enabled));
}

proptest! {
    #[test]
    fn that_the_wall_clock_is_set_changes_nothing(
        values in prop::collection::vec((0.0..200.0f64, any::<u64>()), 1..80),
    ) {
        let (mut steady, mut jumping) = (Rules::new(&depth("for = \"20s\"")), Rules::new(&depth("for = \"20s\"")));
        let mut now = Instant::now();
        for (value, wall) in values {
            now += STEP;
            let snapshot = snapshot(&[("depth", value)]);
            let jumped = Snapshot { at: Timestamp::from_millis(wall), ..snapshot.clone() };
            prop_assert_eq!(steady.look(&snapshot, now), jumping.look(&jumped, now));
        }
    }

    #[test]
    fn through_restarts_and_reloads_every_alert_that_fired_ends_once(
        looks in prop::collection::vec((prop::collection::vec((0..4usize, 80.0..120.0f64), 0..4), 0..12u8), 1..80),
    ) {
        const NAMES: [&str; 4] = ["depth", "depth{bot=\"a\"}", "depth{bot=\"b\"}", "depth{probe=\"c\"}"];
        let tables = [depth("for = \"10s\"\ncooldown = \"20s\""), depth(""), configs(&[])];
        let (mut rules, mut now, mut table) = (Rules::new(&tables[0]), Instant::now(), 0);
        let mut up = std::collections::BTreeSet::new();
        for (series, turn) in looks {
            now += STEP;
            match turn {
                0 => {
                    rules = Rules::new(&tables[table]);
                    for key in rules.adopt(up.clone()) {
                        up.remove(&key);
                    }
                }
                1 | 2 => {
                    table = (table + usize::from(turn)) % tables.len();
                    rules.replace(&tables[table]);
                }
                _ => {}
            }
            let series: BTreeMap<_, _> = series.into_iter().collect();
            let series: Vec<_> = series.into_iter().map(|(name, value)| (NAMES[name], value)).collect();
            for verdict in rules.look(&snapshot(&series), now) {
                match verdict {
                    Verdict::Fire(report) => prop_assert!(up.insert(report.key), "it is up already"),
                    Verdict::Refresh(report) => prop_assert!(up.contains(&report.key), "{} is not up", report.key),
                    Verdict::End { key } => {
                        up.remove(&key);
                    }
                    Verdict::Pending(report) => prop_assert!(!up.contains(&report.key)),
                    Verdict::Act { .. } => prop_assert!(false),
                }
            }
            let firing: usize = rules.describe().iter().map(|view| view.firing).sum();
            prop_assert_eq!(firing, up.len());
        }
        for _ in 0..13 {
            now += STEP;
            for verdict in rules.look(&Snapshot::default(), now) {
                if let Verdict::End { key } = verdict {
                    up.remove(&key);
                }
            }
        }
        prop_assert!(up.is_empty(), "{:?}", up);
    }

    #[test]
    fn whatever_is_measured_the_hosts_rules_look_at_it(
        looks in prop::collection::vec((prop::collection::vec((0..40usize, prop::num::f64::ANY), 0..20), 0u64..1 << 40), 1..12),
    ) {
        let (mut rules, mut now) = (Rules::new(&Configs::new()), Instant::now());
        let names: Vec<String> = settled(&Configs::new())
            .flat_map(|rule| rule.metric.names().iter().map(|name| format!("{name}{{bot=\"a\"}}")).collect::<Vec<_>>())
            .collect();
        for (series, wait) in looks {
            now += Duration::from_millis(wait);
            let series: Vec<_> = series.into_iter().map(|(name, value)| (&names[name % names.len()], value)).collect();
            for verdict in rules.look(&snapshot(&series), now) {
                if let Verdict::Fire(report) | Verdict::Refresh(report) | Verdict::Pending(report) = verdict {
                    prop_assert!(report.key.len() <= 128 && report.details.len() <= crate::alert::DETAILS_MAX);
                }
            }
        }
    }
}
