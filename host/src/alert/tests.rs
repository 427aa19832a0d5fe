//! What holds for all alerts of a host.

use std::time::Duration;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_000);
const LATER: Timestamp = Timestamp::from_millis(2_000);

fn bot(name: &str) -> BotName {
    name.parse().unwrap()
}

fn raise(key: &str, severity: Severity) -> AlertChange {
    AlertChange::Raise { key: key.into(), severity, summary: "it burns".into(), details: Vec::new() }
}

fn resolve(key: &str) -> AlertChange {
    AlertChange::Resolve { key: key.into() }
}

fn check_metrics(alerts: &Alerts, line: &str) {
    let text = alerts.metrics.render();
    assert!(text.lines().any(|given| given == line), "{line}\nnot in\n{text}");
}

#[test]
fn an_alert_is_up_until_it_is_resolved_and_counts_how_often_it_was_raised() {
    let alerts = Alerts::new(Arc::default());
    alerts.apply(&bot("a"), raise("k", Severity::Warning), NOW);
    alerts.apply(&bot("a"), raise("k", Severity::Critical), LATER);
    let [alert] = &alerts.active()[..] else { panic!("one alert") };
    assert_eq!((alert.raised_at, alert.refreshed_at, alert.times), (NOW, LATER, 2));
    check_metrics(&alerts, r#"bothost_alerts_active{severity="warning"} 0"#);
    check_metrics(&alerts, r#"bothost_alerts_active{severity="critical"} 1"#);
    alerts.apply(&bot("a"), resolve("k"), LATER);
    alerts.apply(&bot("a"), resolve("k"), LATER);
    assert_eq!(alerts.active(), []);
    check_metrics(&alerts, r#"bothost_alerts_active{severity="critical"} 0"#);
}

#[test]
fn the_worst_comes_first_and_a_key_is_a_bots_own() {
    let alerts = Alerts::new(Arc::default());
    alerts.apply(&bot("a"), raise("k", Severity::Info), NOW);
    alerts.apply(&bot("b"), raise("k", Severity::Warning), LATER);
    alerts.raise_host("k", Severity::Critical, "disk full", Vec::new(), LATER);
    let sources: Vec<_> = alerts.active().into_iter().map(|alert| alert.source).collect();
    assert_eq!(sources, [Source::Host, Source::Bot(bot("b")), Source::Bot(bot("a"))]);
    alerts.resolve_host("k", LATER);
    assert_eq!(alerts.active().len(), 2);
}

#[test]
fn a_flood_of_alerts_ends_at_the_cap_and_leaves_room_for_others() {
    let alerts = Alerts::new(Arc::default());
    for n in 0..100_000 {
        alerts.apply(&bot("a"), raise(&n.to_string(), Severity::Info), NOW);
    }
    assert_eq!(alerts.active().len(), BOT_ALERTS_MAX);
    check_metrics(&alerts, r#"bothost_alerts_rejected_total{reason="source-full"} 99900"#);
    alerts.apply(&bot("b"), raise("k", Severity::Info), NOW);
    assert_eq!(alerts.active().len(), BOT_ALERTS_MAX + 1);
}

#[test]
fn bots_cannot_take_the_hosts_place() {
    let alerts = Alerts::new(Arc::default());
    for n in 0..ALERTS_MAX + 1 {
        alerts.apply(&bot(&(n / BOT_ALERTS_MAX).to_string()), raise(&n.to_string(), Severity::Info), NOW);
    }
    check_metrics(&alerts, r#"bothost_alerts_rejected_total{reason="all-full"} 1"#);
    alerts.raise_host("k", Severity::Critical, "disk full", Vec::new(), NOW);
    assert_eq!(alerts.active().len(), ALERTS_MAX + 1);
    alerts.forget_bot(&bot("0"));
    assert_eq!(alerts.active().len(), ALERTS_MAX + 1 - BOT_ALERTS_MAX);
}

#[test]
fn fields_are_cut_at_a_characters_end_and_long_keys_refused() {
    let alerts = Alerts::new(Arc::default());
    let details = vec![("k".repeat(1000), "ü".repeat(10_000)); 100];
    let summary = "ü".repeat(10_000);
    alerts.apply(&bot("a"), AlertChange::Raise { key: "k".into(), severity: Severity::Info, summary, details }, NOW);
    alerts.apply(&bot("a"), raise(&"k".repeat(KEY_BYTES_MAX + 1), Severity::Info), NOW);
    alerts.apply(&bot("a"), raise("", Severity::Info), NOW);
    let [alert] = &alerts.active()[..] else { panic!("one alert") };
    assert!(alert.summary.len() <= TEXT_BYTES_MAX && alert.summary.ends_with('…'));
    assert_eq!(alert.details.len(), DETAILS_MAX);
    assert!(alert.details.iter().all(|(key, value)| key.len() <= KEY_BYTES_MAX && value.len() <= TEXT_BYTES_MAX));
    check_metrics(&alerts, r#"bothost_alerts_rejected_total{reason="key"} 2"#);
}

#[test]
fn a_flapper_gets_a_few_lines_and_the_next_says_how_many_were_left_out() {
    let mut book = Book::default();
    let (source, now) = (Source::Bot(bot("a")), Instant::now());
    let written = (0..1000).filter(|_| book.take_line(&source, now).is_some()).count();
    assert_eq!(written as u64, book::LINES_PER_MINUTE);
    assert_eq!(book.take_line(&source, now + Duration::from_secs(60)), Some(1000 - book::LINES_PER_MINUTE));
}

fn raised(key: &str, severity: Severity, standing: Standing, now: Timestamp) -> Alert {
    Alert { standing, ..Alert::new(Source::Host, key, severity, "it burns", now) }
}

fn turns(news: &mut broadcast::Receiver<Arc<News>>) -> Vec<(&'static str, String)> {
    std::iter::from_fn(|| news.try_recv().ok()).map(|news| (news.turn.as_str(), news.alert.key.clone())).collect()
}

#[test]
fn each_turn_is_told_once_and_a_pending_alert_makes_none() {
    let alerts = Alerts::new(Arc::default());
    let mut news = alerts.subscribe();
    alerts.raise(raised("k", Severity::Warning, Standing::Pending, NOW));
    alerts.resolve_host("k", NOW);
    assert_eq!(turns(&mut news), []);
    alerts.raise(raised("k", Severity::Warning, Standing::Pending, NOW));
    assert_eq!((alerts.active().len(), alerts.pending().len()), (0, 1));
    check_metrics(&alerts, r#"bothost_alerts_active{severity="warning"} 0"#);
    alerts.raise(raised("k", Severity::Warning, Standing::Firing, LATER));
    alerts.raise(raised("k", Severity::Warning, Standing::Pending, LATER));
    alerts.raise(raised("k", Severity::Critical, Standing::Firing, LATER));
    let [alert] = &alerts.active()[..] else { panic!("one alert") };
    assert_eq!((alert.raised_at, &alert.standing), (LATER, &Standing::Firing), "it came up when it fired");
    alerts.resolve_host("k", LATER);
    alerts.resolve_host("k", LATER);
    let expected = ["fired", "changed", "resolved"].map(|turn| (turn, "k".to_owned()));
    assert_eq!(turns(&mut news), expected);
}

#[test]
fn what_somebody_looks_after_stays_so_until_it_gets_worse() {
    let alerts = Alerts::new(Arc::default());
    alerts.apply(&bot("a"), raise("k", Severity::Warning), NOW);
    let id = alerts.active()[0].id;
    let mut news = alerts.subscribe();
    alerts.acknowledge(id, "ada", LATER).unwrap();
    alerts.apply(&bot("a"), raise("k", Severity::Warning), LATER);
    assert_eq!(alerts.active()[0].standing, Standing::Acknowledged { by: "ada".into(), at: LATER });
    alerts.apply(&bot("a"), raise("k", Severity::Critical), LATER);
    assert_eq!(alerts.active()[0].standing, Standing::Firing);
    alerts.resolve(id, "ada", LATER).unwrap();
    assert_eq!(alerts.acknowledge(id, "ada", LATER), Err(NotUp(id)));
    assert_eq!(alerts.resolve(id, "ada", LATER), Err(NotUp(id)));
    assert_eq!(turns(&mut news), ["acknowledged", "changed", "resolved"].map(|turn| (turn, "k".to_owned())));
    assert_eq!(id.to_string().parse(), Ok(id));
}

#[test]
fn what_was_up_before_a_restart_is_up_again_and_nobody_is_told_anew() {
    let before = Alerts::new(Arc::default());
    before.apply(&bot("a"), raise("k", Severity::Warning), NOW);
    before.acknowledge(before.active()[0].id, "ada", NOW).unwrap();
    let after = Alerts::new(Arc::default());
    let mut news = after.subscribe();
    after.restore(before.active());
    assert_eq!((after.active().len(), after.known().len()), (0, 1), "whether it is still so is not known yet");
    after.apply(&bot("a"), raise("k", Severity::Warning), LATER);
    assert_eq!(turns(&mut news), []);
    let [alert] = &after.active()[..] else { panic!("one alert") };
    assert_eq!((alert.raised_at, alert.times), (NOW, 2));
    assert!(matches!(alert.standing, Standing::Acknowledged { .. }));
}

#[test]
fn the_alerts_of_a_bot_that_is_gone_end_with_it() {
    let alerts = Alerts::new(Arc::default());
    alerts.apply(&bot("a"), raise("k", Severity::Warning), NOW);
    let mut news = alerts.subscribe();
    alerts.forget_bot(&bot("a"));
    assert_eq!(turns(&mut news), [("resolved", "k".to_owned())]);
    assert_eq!(alerts.active(), []);
}

#[test]
fn what_was_up_before_a_restart_and_nobody_raises_again_is_over() {
    let before = Alerts::new(Arc::default());
    for key in ["kept", "raised", "resolved", "over"] {
        before.raise_host(key, Severity::Warning, "it burns", Vec::new(), NOW);
    }
    let after = Alerts::new(Arc::default());
    let mut news = after.subscribe();
    after.restore(before.active());
    after.raise_host("raised", Severity::Warning, "it burns", Vec::new(), LATER);
    after.resolve_host("resolved", LATER);
    after.end_remembered(LATER, |alert| alert.key == "kept");
    assert_eq!(turns(&mut news), ["resolved", "over"].map(|key| ("resolved", key.to_owned())));
    let known: Vec<_> = after.known().into_iter().map(|alert| alert.key).collect();
    assert_eq!((after.active().len(), known.len()), (1, 2), "{known:?}");
}

#[test]
fn alerts_about_each_bot_leave_room_for_those_about_the_host() {
    let alerts = Alerts::new(Arc::default());
    for n in 0..2 * HOST_ALERTS_MAX {
        alerts.raise(raised(&format!("fails:{n}"), Severity::Warning, Standing::Pending, NOW));
    }
    assert_eq!(alerts.pending().len(), HOST_ALERTS_MAX - WHOLE_HOST_ALERTS);
    alerts.raise_host("bot-degraded:x", Severity::Warning, "it fails", Vec::new(), NOW);
    assert_eq!(alerts.active().len(), 1, "what fires takes the place of what is pending");
    for n in 0..2 * HOST_ALERTS_MAX {
        alerts.raise_host(&format!("bot-degraded:{n}"), Severity::Warning, "it fails", Vec::new(), NOW);
    }
    assert_eq!((alerts.active().len(), alerts.pending().len()), (HOST_ALERTS_MAX - WHOLE_HOST_ALERTS, 0));
    alerts.raise_host("disk-full", Severity::Critical, "the disk is full", Vec::new(), NOW);
    assert_eq!(alerts.active()[0].key, "disk-full");
}
