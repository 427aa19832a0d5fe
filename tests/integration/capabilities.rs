//! What a bot can do beside answering, on a whole host: each works as `wit/` promises, and ends where the operator's grants do.

mod directories;
mod flow;
mod http;
mod state;
mod warm;

use std::time::{Duration, Instant};

use bothost::action::Severity;
use bothost::alert::Source;
use bothost::bot::phase::Phase;
use harness::guests;
use harness::host::{Home, PATIENCE, TestHost, eventually};

const COMPILER: &str = env!("CARGO_BIN_EXE_host");

/// Events that fail are given up at once.
const ONE_ATTEMPT: &str = "[queue]\nmax_attempts = 1\n";

/// Returns a home with one guest and its entry.
fn home(config: &str, guest: &str, entry: &str) -> Home {
    Home::new(COMPILER, config)
        .with(&format!("{guest}.wasm"), &guests::guest(guest))
        .with(&format!("{guest}.toml"), entry.as_bytes())
}

/// Returns a host on which one guest with this entry serves.
async fn host(guest: &str, entry: &str) -> TestHost {
    let host = home("", guest, entry).start().await;
    host.serving(guest).await;
    host
}

/// Waits until a bot has ended so many events well.
async fn handled(host: &TestHost, bot: &str, count: u64) {
    let status = host.bot_when(bot, |status| status.handled >= count).await;
    assert_eq!(status.handled, count, "{bot}");
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

/// Asks for the names of the timers until they are these: a timer is gone only a moment after its event was queued.
async fn names_become(host: &TestHost, names: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = host.ask("lobby", "!names").await;
        if answer == names {
            return;
        }
        assert!(Instant::now() < deadline, "the timers are {answer}, not {names}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_fire_when_they_are_due_and_every_kind_can_be_listed_and_cancelled() {
    let host = host("tick", "").await;
    let before = host.chat.delivered_count();
    host.say("lobby", "!after soon 20").await;
    assert_eq!(host.answers_since(before, 2).await, ["set soon", "tick soon"]);
    names_become(&host, "none").await;

    assert_eq!(host.ask("lobby", "!at later 4102444800000").await, "set later");
    assert_eq!(host.ask("lobby", "!cron daily Europe/Berlin 0 9 * * *").await, "set daily");
    let before = host.chat.delivered_count();
    host.say("lobby", "!every beat 1000").await;
    assert_eq!(host.answers_since(before, 3).await, ["set beat", "tick beat", "tick beat"]);
    assert_eq!(host.ask("lobby", "!names").await, "beat daily later");
    assert_eq!(host.ask("lobby", "!cancel beat").await, "true");
    assert_eq!(host.ask("lobby", "!cancel beat").await, "false");
    assert_eq!(host.ask("lobby", "!names").await, "daily later");

    let before = host.chat.delivered_count();
    host.say("lobby", "!cron each UTC * * * * * *").await;
    assert_eq!(host.answers_since(before, 2).await, ["set each", "tick each"], "six fields begin with the second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_of_the_same_name_is_replaced() {
    let host = host("tick", "").await;
    assert_eq!(host.ask("lobby", "!at one 4102444800000").await, "set one");
    let before = host.chat.delivered_count();
    host.say("kitchen", "!after one 20").await;
    host.answers_since(before, 2).await;
    let last = host.chat.delivered(before + 2).await.pop().unwrap();
    assert_eq!(last.at.id, "kitchen", "the payload is the new one's as well");
    names_become(&host, "none").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_that_cannot_be_kept_is_refused_with_what_is_wrong() {
    let host = host("tick", "").await;
    for (command, reason) in [
        ("!every often 999", "too short: at least 1000 ms"),
        ("!cron bad UTC every day", "five or six fields, not 2"),
        ("!cron bad UTC 61 * * * *", "is no cron expression"),
        ("!cron bad UTC 0 0 30 2 *", "never comes true"),
        ("!cron bad Mars/Olympus * * * * *", "is no IANA time zone"),
    ] {
        let answer = host.ask("lobby", command).await;
        assert!(answer.starts_with("invalid: ") && answer.contains(reason), "{command}: {answer}");
    }
    assert_eq!(host.ask("lobby", "!names").await, "none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_that_was_set_before_a_restart_fires_after_it() {
    let host = host("tick", "").await;
    assert_eq!(host.ask("lobby", "!after late 1500").await, "set late");
    let (_, home) = host.stop(COMPILER, "").await;
    let host = home.start().await;
    assert_eq!(host.answers_since(0, 1).await, ["tick late"], "its bot was still being loaded when the host was up");
    names_become(&host, "none").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_that_is_due_while_its_bot_is_away_waits_for_it() {
    let host = host("tick", "").await;
    assert_eq!(host.ask("lobby", "!after away 700").await, "set away");
    let due = Instant::now() + Duration::from_millis(700);
    host.put("tick.toml", b"enabled = false");
    host.bot_when("tick", |status| status.phase == Phase::Disabled).await;
    eventually(|| (Instant::now() > due).then_some(()), || "time stands still".into()).await;
    let before = host.chat.delivered_count();
    host.put("tick.toml", b"");
    assert_eq!(host.answers_since(before, 1).await, ["tick away"], "late, and not lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_comes_to_its_own_bot_and_to_no_other() {
    let entry = b"component = \"tick.wasm\"";
    let home = Home::new(COMPILER, "").with("tick.wasm", &guests::guest("tick"));
    let host = home.with("one.toml", entry).with("two.toml", entry).start().await;
    host.serving("one").await;
    host.serving("two").await;
    let before = host.chat.delivered_count();
    host.say("lobby", "!after soon 20").await;
    let expected = ["set soon", "set soon", "tick soon", "tick soon"];
    assert_eq!(sorted(host.answers_since(before, 4).await), expected, "each has set one, and each got one");
    for bot in ["one", "two"] {
        handled(&host, bot, 2).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_sees_its_settings_and_of_its_secrets_the_names() {
    let entry = "settings = { greeting = \"hello\", limit = 3 }\nsecrets = { API_KEY = \"c4n4ry\" }\n";
    let host = host("tick", entry).await;
    assert_eq!(host.ask("lobby", "!setting greeting").await, "Some(String(\"hello\"))");
    assert_eq!(host.ask("lobby", "!setting absent").await, "None");
    assert_eq!(host.ask("lobby", "!settings").await, r#"{"greeting":"hello","limit":3}"#);
    assert_eq!(host.ask("lobby", "!secrets").await, "API_KEY");
    assert_eq!(host.ask("lobby", "!setting API_KEY").await, "None");
    let answers = host.answers_since(0, host.chat.delivered_count()).await;
    assert!(answers.iter().all(|answer| !answer.contains("c4n4ry")), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_entry_there_are_no_settings_and_no_secrets() {
    let host = Home::new(COMPILER, "").with("tick.wasm", &guests::guest("tick")).start().await;
    host.serving("tick").await;
    assert_eq!(host.ask("lobby", "!setting greeting").await, "None");
    assert_eq!(host.ask("lobby", "!settings").await, "{}");
    assert_eq!(host.ask("lobby", "!secrets").await, "none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_is_up_from_the_event_that_raised_it_to_the_one_that_resolves_it() {
    let host = host("tick", "").await;
    host.ask("lobby", "!alert hot warning it is hot").await;
    let alerts = host.host().alerts();
    let alert = eventually(|| alerts.active().pop(), || "no alert is up".into()).await;
    assert_eq!(alert.source, Source::Bot("tick".parse().unwrap()));
    assert_eq!((alert.key.as_str(), alert.severity, alert.summary.as_str()), ("hot", Severity::Warning, "it is hot"));
    assert_eq!(alert.details, [("sender".to_owned(), "somebody".to_owned())]);
    host.ask("lobby", "!resolve hot").await;
    eventually(|| alerts.active().is_empty().then_some(()), || format!("{:?}", alerts.active())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_fails_leaves_no_alert_no_timer_and_no_answer_behind() {
    // The budget is for one answer: the second handler does its work, cannot answer and fails.
    let host = home(ONE_ATTEMPT, "tick", "limits = { sends_per_minute = 1 }").start().await;
    host.serving("tick").await;
    assert_eq!(host.ask("lobby", "!ping").await, "pong");
    host.say("lobby", "!alert hot critical it burns").await;
    host.say("lobby", "!after soon 1").await;
    host.say("lobby", "!count orders 1").await;
    host.metric_reaches("bothost_dead_letter_added_total{bot=\"tick\"}", 3.0).await;
    assert!(host.host().alerts().active().is_empty());
    assert_eq!(host.chat.delivered_count(), 1);
    assert_eq!(host.metric("bothost_guest_orders_total{bot=\"tick\""), 1.0, "measurements are no part of it");

    let (_, home) = host.stop(COMPILER, "").await;
    let host = home.with("tick.toml", b"").start().await;
    host.serving("tick").await;
    assert_eq!(host.ask("lobby", "!names").await, "none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_bot_measures_is_exported_under_its_name_and_what_is_badly_named_is_counted() {
    let host = host("tick", "").await;
    for command in ["!count orders 2", "!count orders 3", "!gauge warmth 1.5", "!observe wait 0.02"] {
        host.ask("lobby", command).await;
    }
    for (series, value) in [
        ("bothost_guest_orders_total{bot=\"tick\",command=\"count\"}", 5.0),
        ("bothost_guest_warmth{bot=\"tick\",command=\"gauge\"}", 1.5),
        ("bothost_guest_wait_count{bot=\"tick\",command=\"observe\"}", 1.0),
        ("bothost_guest_wait_sum{bot=\"tick\",command=\"observe\"}", 0.02),
    ] {
        assert_eq!(host.metric(series), value, "{series}\n{}", host.host().metrics().render());
    }
    for command in ["!count Orders 1", "!count 1st 1", "!gauge a\"}b 1", "!gauge orders 1", "!gauge warmth NaN"] {
        host.ask("lobby", command).await;
    }
    for (reason, count) in [("name", 3.0), ("kind", 1.0), ("value", 1.0)] {
        let series = format!("bothost_guest_metrics_rejected_total{{bot=\"tick\",reason=\"{reason}\"}}");
        assert_eq!(host.metric(&series), count, "{reason}\n{}", host.host().metrics().render());
    }
    assert_eq!(host.metric("bothost_guest_orders_total{bot=\"tick\",command=\"count\"}"), 5.0, "the good one stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f025_random_bytes_are_served_and_differ_from_instance_to_instance() {
    let host = host("random", "").await;
    let (first, second) = (host.ask("lobby", "!draw 32").await, host.ask("lobby", "!draw 32").await);
    assert_eq!((first.len(), second.len()), (64, 64));
    assert_ne!(first, second);
    assert_eq!(host.ask("lobby", "!random 65536").await, "65536 bytes");
    assert_eq!(host.metric("bothost_instance_created_total{bot=\"random\"}"), 5.0, "`describe`, `init` and each event");
}
