//! What holds for all errors of a host.

use proptest::prelude::*;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

const START: Timestamp = Timestamp::from_millis(1_000_000_000);

fn errors() -> Arc<Errors> {
    Arc::new(Errors::new(Arc::default()))
}

fn occurrence<'a>(component: &'a str, kind: &'a str, message: &'a str) -> Occurrence<'a> {
    let (bot, connector) = (None, None);
    Occurrence { severity: Severity::Warning, component, kind, message, bot, connector, context: &[] }
}

fn after(seconds: u64) -> Timestamp {
    START.saturating_add(Duration::from_secs(seconds))
}

#[test]
fn the_same_failure_again_is_one_entry_that_counts() {
    let errors = errors();
    errors.record(&occurrence("outbox", "not delivered", "no answer within 5000 ms"), START);
    errors.record(&occurrence("outbox", "not delivered", "no answer within 5001 ms"), after(7));
    errors.record(&occurrence("store", "not delivered", "no answer within 5001 ms"), after(8));
    let found = errors.list(&ErrorQuery::default(), 10);
    let [store, outbox] = &found[..] else { panic!("{found:?}") };
    assert_eq!((store.count, outbox.count), (1, 2));
    assert_eq!((outbox.first_at, outbox.last_at), (START, after(7)));
    assert_eq!(outbox.message, "no answer within 5001 ms");
    assert_eq!(errors.get(outbox.id).as_ref(), Some(outbox));
    assert_eq!(outbox.id.to_string().parse(), Ok(outbox.id));
}

#[test]
fn a_query_chooses_by_severity_part_bot_and_time() {
    let errors = errors();
    let critical = Occurrence { severity: Severity::Critical, ..occurrence("store", "full", "") };
    errors.record(&critical, START);
    errors.record(&Occurrence { bot: Some("echo"), ..occurrence("bot", "trap", "") }, after(60));
    let kinds = |query: ErrorQuery| -> Vec<_> { errors.list(&query, 10).into_iter().map(|group| group.kind).collect() };
    assert_eq!(kinds(ErrorQuery::default()), ["trap", "full"]);
    assert_eq!(kinds(ErrorQuery { severity: Some(Severity::Critical), ..ErrorQuery::default() }), ["full"]);
    assert_eq!(kinds(ErrorQuery { component: Some("store".into()), ..ErrorQuery::default() }), ["full"]);
    assert_eq!(kinds(ErrorQuery { bot: Some("echo".into()), ..ErrorQuery::default() }), ["trap"]);
    assert_eq!(kinds(ErrorQuery { since: Some(after(1)), ..ErrorQuery::default() }), ["trap"]);
    assert_eq!(errors.list(&ErrorQuery::default(), 1).len(), 1);
}

#[test]
fn rates_are_of_the_window_and_totals_of_the_process() {
    let errors = errors();
    for second in 0..600 {
        errors.record(&occurrence("outbox", "not delivered", ""), after(second));
    }
    errors.record(&Occurrence { severity: Severity::Critical, ..occurrence("store", "full", "") }, after(600));
    let statistics = errors.statistics(Duration::from_secs(300), after(600));
    assert!((300..=361).contains(&statistics.in_window), "{statistics:?}");
    assert!(statistics.per_minute >= 60.0, "{statistics:?}");
    assert_eq!((statistics.total, statistics.by_severity[2]), (601, 1));
    assert_eq!(statistics.by_component[0].0, "outbox");
    let later = errors.statistics(WINDOW_MAX, after(3 * 3_600));
    assert_eq!((later.in_window, later.total), (0, 601));
}

#[test]
fn f088_a_storm_of_a_thousand_kinds_keeps_its_counts_and_its_bounds() {
    let errors = errors();
    let kinds: Vec<_> = (0..2_000).map(|kind| "kind ".to_owned() + &"x".repeat(kind)).collect();
    for n in 0..200_000 {
        let kind = &kinds[n % kinds.len()];
        errors.record(&occurrence("outbox", kind, "something"), START);
    }
    let statistics = errors.statistics(WINDOW_MAX, START);
    assert_eq!((statistics.total, statistics.in_window), (200_000, 200_000));
    assert!(statistics.groups <= GROUPS_MAX + 1, "{statistics:?}");
    let listed: u64 = errors.list(&ErrorQuery::default(), usize::MAX).iter().map(|group| group.count).sum();
    assert_eq!(listed, 200_000, "what has no group of its own is counted with the others");
    errors.record(&occurrence("store", "full", ""), after(3_600));
    let found = errors.list(&ErrorQuery { component: Some("store".into()), ..ErrorQuery::default() }, 1);
    assert_eq!(found[0].kind, "full", "what is long ago gives its room");
}

#[test]
fn a_bot_that_makes_up_failures_takes_no_room_of_others() {
    let errors = errors();
    let messages: Vec<_> = (0..10_000).map(|n| "z".repeat(n % 190) + &"y".repeat(n / 190)).collect();
    for message in &messages {
        errors.record(&Occurrence { bot: Some("liar"), ..occurrence("bot", "trap", message) }, START);
    }
    assert!(errors.statistics(WINDOW_MAX, START).groups <= BOT_GROUPS_MAX + 1);
    errors.record(&Occurrence { bot: Some("honest"), ..occurrence("bot", "trap", "x") }, START);
    assert_eq!(errors.list(&ErrorQuery { bot: Some("honest".into()), ..ErrorQuery::default() }, 9).len(), 1);
}

#[test]
fn each_warning_of_the_log_is_an_error_but_what_is_recorded_elsewhere() {
    let errors = errors();
    let subscriber = tracing_subscriber::registry().with(errors.layer());
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!(target: "bothost::outbox", "all is well");
        tracing::warn!(target: "bothost::outbox::attempts", connector = "tg", bot = "echo", error = "no answer", tries = 3u64, "not delivered");
        tracing::error!(target: "bothost", "a task ended badly");
        tracing::error!(target: "alert", "alert raised");
        tracing::warn!(target: "bothost::bot::report", "a fault");
        tracing::warn!(target: "bot", bot = "echo", "careful");
        tracing::error!(target: "bot", bot = "echo", "the exchange does not answer");
    });
    let mut found = errors.list(&ErrorQuery::default(), 10);
    found.sort_by(|one, other| one.component.cmp(&other.component));
    let [bot, host, outbox] = &found[..] else { panic!("{found:?}") };
    assert_eq!((bot.kind.as_str(), bot.message.as_str()), ("logged by the bot", "the exchange does not answer"));
    assert_eq!((host.component.as_str(), host.severity), ("host", Severity::Critical));
    assert_eq!((outbox.kind.as_str(), outbox.message.as_str()), ("not delivered", "no answer"));
    assert_eq!((outbox.bot.as_deref(), outbox.connector.as_deref()), (Some("echo"), Some("tg")));
    assert_eq!(outbox.context, [("tries".to_owned(), "3".to_owned())]);
    let text = errors.metrics.render();
    assert!(text.contains(r#"bothost_errors_total{severity="warning",component="outbox"} 1"#), "{text}");
}

proptest! {
    #[test]
    fn nothing_is_lost_whatever_the_clock_does(turns in prop::collection::vec((0u8..4, 0u64..7_200), 1..200)) {
        let errors = errors();
        for (kind, second) in &turns {
            let kind = ["a", "b", "c", "d"][usize::from(*kind)];
            errors.record(&occurrence("outbox", kind, "x"), after(*second));
        }
        let groups = errors.list(&ErrorQuery::default(), usize::MAX);
        prop_assert_eq!(groups.iter().map(|group| group.count).sum::<u64>(), turns.len() as u64);
        prop_assert!(groups.iter().all(|group| group.first_at <= group.last_at || group.count == 1));
    }
}
