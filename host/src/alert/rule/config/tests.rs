use std::path::Path;

use super::*;
use crate::document::{Document, Variables};

fn read(text: &str) -> Result<RuleConfig, String> {
    let table = toml::Deserializer::parse(text).unwrap();
    RuleConfig::deserialize(table).map_err(|error| error.message().to_owned())
}

/// Checks what is said of a table that is no rule of that name.
#[track_caller]
fn check(name: &str, text: &str, expected: &str) {
    let checked = read(text).and_then(|config| config.check(&name.parse().unwrap()).map_err(|error| error.to_string()));
    let message = checked.unwrap_err();
    assert!(message.contains(expected), "{text}: {message}");
}

fn settled(name: &str, text: &str) -> Rule {
    read(text).unwrap().settle(&name.parse().unwrap()).unwrap()
}

#[test]
fn a_rule_of_ones_own_needs_what_it_is_about_and_has_a_default_for_the_rest() {
    let rule = settled("mine", "metric = \"m\"\nop = \">\"\nthreshold = \"80%\"");
    assert_eq!((rule.severity, rule.cooldown, rule.r#for), (Severity::Warning, COOLDOWN, Duration::ZERO));
    assert!((rule.clear - 0.76).abs() < 1e-9 && rule.is_enabled && !rule.is_builtin && rule.forecast.is_none());
    let rule = settled("mine", "metric = \"m\"\nop = \"<\"\nthreshold = -10");
    assert!((rule.clear + 9.5).abs() < 1e-9);
    check("mine", "", "the host has no rule `mine`, so this one needs `metric`");
    check("mine", "metric = \"m\"\nthreshold = 1", "needs `op`");
    check("mine", "metric = \"m\"\nop = \">\"", "needs `threshold`");
    check("disk-lov", "enabled = false", "did you mean `disk-low`?");
}

#[test]
fn a_rule_of_the_hosts_is_changed_key_by_key() {
    let rule = settled("disk-low", "severity = \"critical\"\nactions = [\"notify:ops\", \"notify:ops\"]");
    assert_eq!((rule.severity, rule.is_builtin), (Severity::Critical, true));
    assert!((rule.threshold.value - 0.1).abs() < 1e-9 && (rule.clear - 0.12).abs() < 1e-9);
    assert_eq!(rule.actions.notify, ["ops".parse().unwrap()]);
    let rule = settled("disk-low", "threshold = \"20%\"");
    assert!((rule.clear - 0.21).abs() < 1e-9, "its own `clear` went with its own threshold");
    let rule = settled("disk-fills", "forecast = \"1h\"");
    assert_eq!(rule.forecast.unwrap().window, Duration::from_secs(900));
    assert!(!settled("disk-low", "enabled = false").is_enabled);
}

#[test]
fn what_contradicts_itself_is_refused_with_what_to_write() {
    let mine = |rest: &str| format!("metric = \"m\"\nop = \">\"\nthreshold = 5\n{rest}");
    check("x", &mine("clear = 6"), "with `op = \">\"` it is at most 5");
    check(
        "x",
        "metric = \"m\"\nop = \"==\"\nthreshold = 5\nclear = 4",
        "`clear` has a meaning with >, >=, < and <= only",
    );
    check("x", "metric = \"m\"\nop = \"!=\"\nthreshold = 5\nforecast = \"1h\"", "`forecast` has a meaning with");
    check("x", &mine("forecast = \"60d\""), "at most 30d");
    check("x", &mine("window = \"1h\""), "`window` has a meaning with `forecast` only");
    check("x", &mine("forecast = \"1h\"\nwindow = \"1m\""), "`window` is from 10m to 6h");
    check("x", &mine("message = \"in {eta}\""), "which only a `forecast` knows");
    check("x", &mine("message = \"{bott}\""), "there is no `{bott}`");
    check(
        "x",
        &mine("actions = [\"restart\"]"),
        "`actions` has \"restart\", and what `metric` yields is not of one bot",
    );
    check("x", &mine("actions = [\"reboot\"]"), "`reboot` is no action; there are \"notify:CHANNEL\"");
    check("x", &mine("actions = [\"restart\", \"disable\"]"), "do not go together");
    check("x", &mine("actions = [\"notify:a b\"]"), "`a b` is no name");
    check("x", "metric = \"m +\"", "column 4 of the expression");
    check("x", "op = \"=>\"", "unknown variant `=>`");
    check("x", "threshold = \"many\"", "`many` is no number, share, size or time");
    check("x", "metrik = \"m\"", "unknown field `metrik`");
    check("x", "for = \"soon\"", "no time");
}

#[test]
fn a_rule_on_a_bots_metric_may_act_on_the_bot() {
    let of_bot =
        "metric = \"rate(bothost_guest_losses_total[5m])\"\nop = \">\"\nthreshold = 3\nactions = [\"disable\"]";
    assert_eq!(settled("x", of_bot).actions.to_bot, Some(BotAction::Disable));
    assert_eq!(settled("bot-fails-often", "actions = [\"restart\"]").actions.to_bot, Some(BotAction::Restart));
}

#[test]
fn it_says_which_channels_there_must_be() {
    let config = read("actions = [\"notify:b\", \"restart\", \"notify:a\"]").unwrap();
    assert_eq!(config.notify(), ["a".parse().unwrap(), "b".parse().unwrap()]);
    assert_eq!(RuleConfig::default().notify(), []);
}

#[test]
fn a_mistake_is_shown_where_it_is_written() {
    let shown = |text: &str| {
        let variables = Variables::of_process();
        let document = Document::parse(text, Path::new("config.toml"), &variables, |_, _, _| false).unwrap();
        document.read::<RuleConfig>().map_err(|error| error.to_string())
    };
    assert_eq!(
        shown("for = \"30s\"\nmetric = \"1 + rat(m[5m])\"").unwrap_err(),
        "config.toml:2:10: `metric`: column 5 of the expression: there is no function `rat`; did you mean `rate`?"
    );
    assert!(shown("op = \">>\"").unwrap_err().starts_with("config.toml:1:6: "));
    assert!(shown("thresold = 5").unwrap_err().contains("did you mean `threshold`?"));
    let good = "metric = \"m\"\nop = \"<=\"\nthreshold = 0.5\nclear = \"60%\"\nfor = \"1m\"\nseverity = \"critical\"\n\
                cooldown = \"0s\"\nmessage = \"{value}\"\nactions = [\"notify:a\"]\nenabled = false";
    assert_eq!(shown(good).unwrap().check(&"x".parse().unwrap()), Ok(()));
}
