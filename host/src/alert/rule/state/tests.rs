use proptest::prelude::*;

use super::*;
use crate::alert::rule::config::RuleConfig;

fn rule(text: &str) -> Rule {
    let whole = format!("metric = \"m\"\nop = \">\"\nthreshold = 100\n{text}");
    let config: RuleConfig = toml::from_str(&whole).unwrap();
    config.settle(&"x".parse().unwrap()).unwrap()
}

/// Checks what a rule says of values that are looked at every ten seconds: `.` nothing, `p` pending, `F` fires, `s` stays, `E` ends,
/// by `_` for a value that is missing.
#[track_caller]
fn check(rule: &Rule, values: &[Option<f64>], expected: &str) {
    let (mut standing, mut now, mut said) = (Standing::calm(), Instant::now(), String::new());
    for value in values {
        let change = match value {
            Some(value) => standing.see(rule, *value, false, now),
            None => standing.miss(rule, now),
        };
        said.push(letter(change));
        now += Duration::from_secs(10);
    }
    assert_eq!(said, expected, "{values:?}");
}

fn letter(change: Change) -> char {
    match change {
        Change::Nothing => '.',
        Change::Pending => 'p',
        Change::Fires => 'F',
        Change::Stays => 's',
        Change::Ends => 'E',
    }
}

const BAD: Option<f64> = Some(101.0);
const BETWEEN: Option<f64> = Some(97.0);
const GOOD: Option<f64> = Some(90.0);

#[test]
fn an_alert_comes_up_ends_beyond_clear_and_is_quiet_for_the_cooldown() {
    let rule = rule("cooldown = \"30s\"");
    check(&rule, &[GOOD, BETWEEN, BAD, BETWEEN, BAD, GOOD, BAD, BAD, BAD, BAD], "..FssEppFs");
    check(&rule, &[BAD, Some(f64::NAN)], "FE");
    check(&rule, &[Some(f64::NAN), Some(f64::INFINITY)], ".F");
}

#[test]
fn it_has_to_hold_for_as_long_as_the_rule_wants() {
    let rule = rule("for = \"20s\"\ncooldown = \"0s\"");
    check(&rule, &[BAD, BAD, BAD, BAD], "ppFs");
    check(&rule, &[BAD, BAD, BETWEEN, BAD, BAD, BAD], "ppEppF");
}

#[test]
fn a_subject_that_vanishes_ends_its_alert_after_three_looks() {
    let rule = rule("for = \"10s\"");
    check(&rule, &[BAD, BAD, None, None, BAD, None, None, None, None], "pF..s..E.");
    check(&rule, &[BAD, None, None, None], "p..E");
}

#[test]
fn what_is_neither_bad_nor_good_does_not_stay_up_for_ever() {
    let values: Vec<_> = [BAD].into_iter().chain([BETWEEN; 40]).collect();
    let expected = |stays: usize, rest: &str| format!("F{}{rest}", "s".repeat(stays));
    check(&rule(""), &values, &expected(30, "E........."));
    check(&rule("clear = 95"), &values, &expected(40, ""));
}

#[test]
fn after_a_gap_in_the_looks_waiting_begins_anew() {
    let rule = rule("for = \"30s\"");
    let (mut standing, begin) = (Standing::calm(), Instant::now());
    let mut see =
        |is_after_gap, seconds| letter(standing.see(&rule, 101.0, is_after_gap, begin + Duration::from_secs(seconds)));
    assert_eq!(
        [see(false, 0), see(false, 10), see(true, 3_600), see(false, 3_620), see(false, 3_630)],
        ['p', 'p', 'p', 'p', 'F']
    );
}

#[test]
fn what_an_operator_ended_comes_up_again_after_it_came_back_or_the_cooldown() {
    let rule = rule("cooldown = \"60s\"");
    for (after, expected) in [
        ([BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD], "......Fs"),
        ([GOOD, BAD, BAD, GOOD, BAD, BAD, BAD, BAD], ".FsEpppp"),
    ] {
        let (mut standing, mut now, mut said) = (Standing::firing(), Instant::now(), String::new());
        standing.end_by_hand(&rule, now);
        for value in after {
            said.push(letter(standing.see(&rule, value.unwrap(), false, now)));
            now += Duration::from_secs(10);
        }
        assert_eq!(said, expected);
    }
}

proptest! {
    #[test]
    fn f090_a_value_that_flaps_about_the_threshold_raises_few_alerts(
        values in prop::collection::vec(80.0..120.0f64, 1..400), cooldown in 0u64..600, r#for in 0u64..60,
    ) {
        let rule = rule(&format!("cooldown = \"{cooldown}s\"\nfor = \"{for}s\""));
        let (mut standing, mut now) = (Standing::calm(), Instant::now());
        let (mut fired, mut is_up, mut ended_at, mut held_since) = (0u64, false, None, None);
        let length = values.len() as u64 * 10;
        for value in values {
            let holds = value > 100.0;
            held_since = held_since.filter(|_| holds).or(holds.then_some(now));
            match standing.see(&rule, value, false, now) {
                Change::Fires => {
                    prop_assert!(!is_up && holds);
                    prop_assert!(now - held_since.unwrap() >= Duration::from_secs(r#for));
                    prop_assert!(ended_at.is_none_or(|at| now - at >= Duration::from_secs(cooldown)));
                    (fired, is_up) = (fired + 1, true);
                }
                Change::Ends => {
                    if is_up {
                        prop_assert!(!holds);
                        ended_at = Some(now);
                    }
                    is_up = false;
                }
                Change::Stays => prop_assert!(is_up),
                Change::Pending | Change::Nothing => prop_assert!(!is_up),
            }
            now += Duration::from_secs(10);
        }
        prop_assert!(fired <= 1 + length / (cooldown + 10), "{} in {} s", fired, length);
    }

    #[test]
    fn f090_within_the_hysteresis_nothing_ends_or_comes_up(values in prop::collection::vec(96.0..104.0f64, 1..100)) {
        let rule = rule("clear = 95");
        let (mut standing, mut now) = (Standing::calm(), Instant::now());
        let changes = values.into_iter().map(|value| {
            now += Duration::from_secs(10);
            standing.see(&rule, value, false, now)
        });
        let turns = changes.filter(|change| matches!(change, Change::Fires | Change::Ends)).count();
        prop_assert!(turns <= 1);
    }
}
