//! What is measured of a whole host, round by round: the series are there, with the values that what happened gives them. A round
//! is made by hand, at the moment that the test says.

use std::time::Duration;

use bothost::clock::Timestamp;
use bothost::connector::{DeliveryError, Link};
use bothost::grants::ConnectorKey;
use bothost::metrics::snapshot::{Series, Snapshot, Value};
use bothost::monitor::gauges::{self, Gauges};
use harness::guests;
use harness::host::{CHAT, Home, TestHost, eventually};

const COMPILER: &str = env!("CARGO_BIN_EXE_host");
const MIB: f64 = 1_048_576.0;
const HOUR: Duration = Duration::from_secs(3600);

/// Makes a round as if it were `later` than now, and returns what a scrape would show.
fn round(host: &TestHost, later: Duration) -> Snapshot {
    let now = Timestamp::now().saturating_add(later);
    let (bots, connectors, config) = (host.host().bots(), host.host().links(), host.host().config());
    let config = config.borrow();
    let gauges = Gauges { bots: &bots, connectors: &connectors, store: host.store(), config: &config };
    let metrics = host.host().metrics();
    gauges::publish(&gauges, &metrics, now);
    metrics.snapshot(now)
}

/// Returns the value of a series without labels, or of the one whose label has this value; of a histogram, its count.
fn value(snapshot: &Snapshot, name: &str, label: Option<(&str, &str)>) -> Option<f64> {
    let family = snapshot.families.get(&*format!("bothost_{name}"))?;
    let is_it = |series: &&Series| label.is_none_or(|(name, value)| series.label(name) == Some(value));
    let series = family.series.iter().find(is_it)?;
    match &series.value {
        Value::Number(number) => Some(*number),
        Value::Histogram(histogram) => Some(histogram.count as f64),
    }
}

fn of_bot(snapshot: &Snapshot, name: &str, bot: &str) -> f64 {
    value(snapshot, name, Some(("bot", bot))).unwrap_or_else(|| panic!("{name} of {bot} is not there"))
}

fn of_chat(snapshot: &Snapshot, name: &str) -> Option<f64> {
    value(snapshot, name, Some(("connector", CHAT)))
}

async fn link_is(host: &TestHost, is_so: impl Fn(&Link) -> bool) {
    let key = ConnectorKey::shared(CHAT.parse().unwrap());
    let link = || host.host().links().get(&key).map(|status| status.link);
    eventually(|| link().filter(&is_so), || format!("{:?}", link())).await;
}

fn lost() -> Link {
    Link::BackingOff { error: "gone".to_owned(), wait: HOUR }
}

#[tokio::test]
async fn bots_of_one_content_have_their_own_memory_measured_beside_their_own_limits() {
    let hog = guests::guest("memory_hog");
    let home = Home::new(COMPILER, "[queue]\nmax_events = 1234\n[outbox]\nmax_len = 77\n");
    let home = home.with("small.toml", b"limits = { memory = \"16MiB\" }").with("small.wasm", &hog);
    let home = home.with("large.toml", b"limits = { memory = \"48MiB\" }").with("large.wasm", &hog);
    let host = home.start().await;
    host.serving("small").await;
    host.serving("large").await;
    host.chat.script(Err(DeliveryError::RateLimited(Duration::from_millis(20))));
    host.say("room", "!hog").await;
    // The one that was put off, and both answers.
    host.answers_since(0, 3).await;
    host.metric_reaches("bothost_delivery_elapsed_seconds_count", 2.0).await;
    for (bot, most) in [("small", 16.0 * MIB), ("large", 48.0 * MIB)] {
        // The answer leaves at its commit; that the event ended is known a moment later.
        host.bot_when(bot, |status| status.handled == 1 && status.memory_peak > 0).await;
        let snapshot = round(&host, Duration::ZERO);
        assert_eq!(of_bot(&snapshot, "bot_memory_limit_bytes", bot), most);
        let peak = of_bot(&snapshot, "bot_memory_peak_bytes", bot);
        assert!(peak > most / 2.0 && peak <= most, "{bot} had {peak}");
        let status = host.bot(bot).unwrap();
        assert!(status.fuel_limit > 0, "{status:?}");
        assert_eq!(of_bot(&snapshot, "bot_fuel_limit_units", bot), status.fuel_limit as f64);
        for nothing in ["bot_restarts_total", "bot_queued_events", "bot_in_flight_events", "bot_oldest_waiting_seconds"]
        {
            assert_eq!(of_bot(&snapshot, nothing, bot), 0.0, "{nothing}");
        }
    }
    let snapshot = round(&host, Duration::ZERO);
    for (name, expected) in [
        ("queue_capacity_events", 1234.0),
        ("queue_bytes", 0.0),
        ("queue_oldest_waiting_seconds", 0.0),
        ("outbox_capacity_actions", 77.0),
        ("instance_limit", 64.0),
        ("dead_letters_kept", 0.0),
    ] {
        assert_eq!(value(&snapshot, name, None), Some(expected), "{name}");
    }
    assert_eq!(of_chat(&snapshot, "connector_connections_total"), Some(1.0));
    assert_eq!(of_chat(&snapshot, "delivery_elapsed_seconds"), Some(2.0));
    assert_eq!(of_chat(&snapshot, "delivery_rate_limited_total"), Some(1.0));
    assert_eq!(of_chat(&snapshot, "delivery_rate_limit_wait_seconds_total"), Some(0.02));
    assert_eq!(of_chat(&snapshot, "outbox_oldest_waiting_seconds"), Some(0.0));
    host.stop(COMPILER, "").await;
}

#[tokio::test]
async fn what_waits_is_measured_by_the_oldest_of_it() {
    let home = Home::new(COMPILER, "[limits]\nin_flight = 1\n");
    let home = home.with("slow_host_call.wasm", &guests::guest("slow_host_call"));
    let host = home.start().await;
    host.serving("slow_host_call").await;
    for (room, ms) in [("a", 4000), ("b", 1), ("c", 1)] {
        host.say(room, &format!("!sleep {ms}")).await;
    }
    host.bot_when("slow_host_call", |status| (status.in_flight, status.queued) == (1, 2)).await;
    let snapshot = round(&host, HOUR);
    let waits = of_bot(&snapshot, "bot_oldest_waiting_seconds", "slow_host_call");
    assert!((3600.0..3700.0).contains(&waits), "{waits}");
    assert_eq!(value(&snapshot, "queue_oldest_waiting_seconds", None), Some(waits));
    assert!(of_bot(&snapshot, "bot_queued_events", "slow_host_call") >= 1.0);
    assert!(value(&snapshot, "queue_bytes", None).unwrap() > 0.0);
    // What is answered now stays in the outbox.
    host.chat.set_link(lost());
    link_is(&host, |link| *link == lost()).await;
    host.bot_when("slow_host_call", |status| status.handled >= 2).await;
    let waits = of_chat(&round(&host, HOUR), "outbox_oldest_waiting_seconds").unwrap();
    assert!((3600.0..3700.0).contains(&waits), "{waits}");
}

#[tokio::test]
async fn a_connector_that_falls_silent_shows_for_how_long() {
    let host = Home::new(COMPILER, "").with("steps.wasm", &guests::guest("steps")).start().await;
    host.serving("steps").await;
    link_is(&host, |link| *link == Link::Connected).await;
    host.ask("room", "!show").await;
    let silence = |later| of_chat(&round(&host, later), "connector_silent_seconds").unwrap();
    let staleness = |later| of_chat(&round(&host, later), "connector_stale_seconds");
    let (soon, later) = (silence(Duration::ZERO), silence(HOUR));
    assert!(soon < 60.0 && (3600.0..3700.0).contains(&later), "{soon} {later}");
    assert!((3600.0..3700.0).contains(&staleness(HOUR).unwrap()), "{:?}", staleness(HOUR));
    // A sign of life is no event.
    let signs = host.host().links().get(&ConnectorKey::shared(CHAT.parse().unwrap())).unwrap().signs;
    let (before, event) = (Timestamp::now(), signs.last_event());
    host.chat.give_sign();
    assert!(signs.last_success() >= Some(before) && signs.last_event() == event, "{signs:?}");
    // Another event ends the silence.
    host.ask("room", "!show").await;
    assert!(silence(Duration::ZERO) < later);
    // What is lost is not stale: that it is lost is said elsewhere.
    host.chat.set_link(lost());
    link_is(&host, |link| *link == lost()).await;
    assert_eq!(staleness(HOUR), None);
    assert!(silence(HOUR) >= 3600.0);
    host.stop(COMPILER, "").await;
}
