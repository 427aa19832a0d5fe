//! What is counted and measured, and its exposition in the OpenMetrics text format. One registry, passed around, no
//! global.
//!
//! Every label is a configured name or a word of the program's own; a user's text is never one. What guests measure is
//! bounded in `metrics/guest.rs`.

mod bots;
mod connectors;
pub mod exposition;
mod grouped;
mod guest;
mod lines;
mod machine;
pub mod snapshot;
mod store;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use self::bots::BotMetrics;
pub use self::bots::{BotFigures, QueueFigures};
pub use self::connectors::ConnectorFigures;
use self::connectors::ConnectorMetrics;
use self::grouped::{Grouped, Words};
use self::guest::{GuestCollector, GuestMetrics};
use self::lines::LostLogLines;
use self::machine::MachineMetrics;
pub use self::machine::VitalFigures;
use self::store::StoreMetrics;
pub use self::store::{ObservationFigures, StoreFigures};
use crate::action::Severity;
use crate::event::EventClass;
use crate::grants::ConnectorKey;
use crate::id::{BotName, ChannelName};

const WAITED_SECONDS: [f64; 11] = [0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 3600.0];
const ELAPSED_SECONDS: [f64; 12] = [0.0001, 0.0005, 0.001, 0.005, 0.025, 0.1, 0.25, 1.0, 5.0, 15.0, 30.0, 60.0];
/// Fine enough that a quantile is wrong by a half at most: limits are set by it.
const FUEL_UNITS: [f64; 21] =
    [1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7, 2e7, 5e7, 1e8, 2e8, 5e8, 1e9, 2e9, 1e10];

/// The metrics of one host.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    guests: Arc<GuestMetrics>,
    own: OwnMetrics,
    is_muted: bool,
}

/// What the host itself counts.
#[derive(Debug)]
struct OwnMetrics {
    events_taken_over: Grouped<1, Counter>,
    events_duplicate: Grouped<0, Counter>,
    queue_depth: Gauge,
    attempts_ended: Grouped<2, Counter>,
    attempt_waited: Grouped<0, Histogram>,
    attempt_elapsed: Grouped<0, Histogram>,
    attempt_fuel: Grouped<0, Histogram>,
    faults: Grouped<1, Counter>,
    dead_letters: Grouped<0, Counter>,
    instances_created: Grouped<0, Counter>,
    instances_live: Gauge,
    bot_phase: Grouped<1, Gauge>,
    dropped_log_lines: Grouped<0, Counter>,
    lost_log_lines: LostLogLines,
    guest_rejected: Grouped<1, Counter>,
    deliveries_ended: Grouped<1, Counter>,
    outbox_depth: Grouped<0, Gauge>,
    connector_link: Grouped<1, Gauge>,
    component_load: Family<Words<1>, Histogram>,
    alerts_active: Family<Words<1>, Gauge>,
    alerts_rejected: Family<Words<1>, Counter>,
    errors: Family<Words<2>, Counter>,
    monitor_round: Histogram,
    notices_sent: Grouped<1, Counter>,
    degraded_parts: Gauge,
    telemetry_dropped: Counter,
    telemetry_sent: Family<Words<1>, Counter>,
    store: StoreMetrics,
    bots: BotMetrics,
    connectors: ConnectorMetrics,
    machine: MachineMetrics,
}

/// One attempt at one event, after it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// What kind of event it was.
    pub class: EventClass,
    /// `ok`, or the kind of fault.
    pub outcome: &'static str,
    /// How long the event had waited before the attempt began.
    pub waited: Duration,
    /// How long the attempt took by the wall clock.
    pub elapsed: Duration,
    /// The fuel that it used.
    pub fuel: u64,
}

/// Counts one instance as live for as long as it exists.
#[derive(Debug)]
pub struct LiveInstance(Gauge);

impl Drop for LiveInstance {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Returns metrics that all begin at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("bothost");
        let own = OwnMetrics::register(&mut registry);
        let guests = Arc::new(GuestMetrics::default());
        registry.register_collector(Box::new(GuestCollector(guests.clone())));
        Self { registry, guests, own, is_muted: false }
    }

    /// Returns metrics that take nothing down of what happens event by event: only for measuring, beside others, what that costs.
    /// What is set once a round, or is rare, is taken down as ever.
    pub fn muted() -> Self {
        Self { is_muted: true, ..Self::new() }
    }

    /// Returns everything in the OpenMetrics text format. What it costs grows with the number of series, which is
    /// bounded.
    pub fn render(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("writing to a string does not fail");
        text
    }

    /// Counts an event that the host took over; one without a connector is a timer's.
    pub fn event_taken_over(&self, connector: Option<&ConnectorKey>, class: EventClass) {
        if self.is_muted {
            return;
        }
        let connector = connector.map_or_else(String::new, ToString::to_string);
        self.own.events_taken_over.count(&connector, [("class", class.as_str())], 1);
    }

    /// Counts an event that a platform delivered again and that was taken over before.
    pub fn event_duplicate(&self, connector: Option<&ConnectorKey>) {
        if self.is_muted {
            return;
        }
        let connector = connector.map_or_else(String::new, ToString::to_string);
        self.own.events_duplicate.count(&connector, [], 1);
    }

    /// Counts and measures an attempt that ended, well or not.
    pub fn attempt_ended(&self, bot: &BotName, attempt: &Attempt) {
        if self.is_muted {
            return;
        }
        let words = [("class", attempt.class.as_str()), ("outcome", attempt.outcome)];
        self.own.attempts_ended.count(bot.as_str(), words, 1);
        self.own.attempt_waited.observe(bot.as_str(), [], attempt.waited.as_secs_f64());
        self.own.attempt_elapsed.observe(bot.as_str(), [], attempt.elapsed.as_secs_f64());
        self.own.attempt_fuel.observe(bot.as_str(), [], attempt.fuel as f64);
    }

    /// Counts a fault of a bot.
    pub fn fault(&self, bot: &BotName, kind: &'static str) {
        self.own.faults.count(bot.as_str(), [("kind", kind)], 1);
    }

    /// Counts an instance that was created.
    pub fn instance_created(&self, bot: &BotName) {
        if self.is_muted {
            return;
        }
        self.own.instances_created.count(bot.as_str(), [], 1);
    }

    /// Counts an instance as live until what is returned is dropped.
    pub fn live_instance(&self) -> LiveInstance {
        self.own.instances_live.inc();
        LiveInstance(self.own.instances_live.clone())
    }

    /// Counts a delivery that ended.
    pub fn delivery_ended(&self, connector: &ConnectorKey, outcome: &'static str) {
        if self.is_muted {
            return;
        }
        self.own.deliveries_ended.count(&connector.to_string(), [("outcome", outcome)], 1);
    }

    /// Counts an event that became a dead letter.
    pub fn dead_letter(&self, bot: &BotName) {
        self.own.dead_letters.count(bot.as_str(), [], 1);
    }

    /// Says how many events wait.
    pub fn queue_depth(&self, events: usize) {
        if self.is_muted {
            return;
        }
        self.own.queue_depth.set(gauge_value(events));
    }

    /// Says how many actions wait for a connector.
    pub fn outbox_depth(&self, connector: &ConnectorKey, actions: usize) {
        if self.is_muted {
            return;
        }
        self.own.outbox_depth.set(&connector.to_string(), [], gauge_value(actions));
    }

    /// Says how a connector stands, in the words of its `Link`.
    pub fn connector_link(&self, connector: &ConnectorKey, state: &'static str) {
        self.own.connector_link.switch_to(&connector.to_string(), [("link", state)]);
    }

    /// Says where a bot is in its life, in the words of its `Phase`.
    pub fn bot_phase(&self, bot: &BotName, phase: &'static str) {
        self.own.bot_phase.switch_to(bot.as_str(), [("phase", phase)]);
    }

    /// Measures how long a component took to load. `source` is `cache` or `compiled`.
    pub fn component_load(&self, source: &'static str, elapsed: Duration) {
        self.own.component_load.get_or_create(&[("source", source)]).observe(elapsed.as_secs_f64());
    }

    /// Says how many alerts of a severity are up.
    pub fn alerts_active(&self, severity: Severity, alerts: usize) {
        self.own.alerts_active.get_or_create(&[("severity", severity.as_str())]).set(gauge_value(alerts));
    }

    /// Measures a round of measuring.
    pub fn monitor_round(&self, elapsed: Duration) {
        self.own.monitor_round.observe(elapsed.as_secs_f64());
    }

    /// Counts something that went wrong in a part of the program.
    pub fn error(&self, severity: Severity, component: &'static str) {
        let words = [("severity", severity.as_str()), ("component", component)];
        self.own.errors.get_or_create(&words).inc();
    }

    /// Counts an alert that was not taken.
    pub fn alert_rejected(&self, reason: &'static str) {
        self.own.alerts_rejected.get_or_create(&[("reason", reason)]).inc();
    }

    /// Counts what became of a notice, or of one try to send it, on a channel.
    pub fn notice_sent(&self, channel: &ChannelName, outcome: &'static str) {
        self.own.notices_sent.count(channel.as_str(), [("outcome", outcome)], 1);
    }

    /// Drops every series of a channel.
    pub fn forget_channel(&self, channel: &ChannelName) {
        self.own.notices_sent.forget(channel.as_str());
    }

    /// Says how many parts of the host do not work as they should.
    pub fn degraded_parts(&self, parts: usize) {
        self.own.degraded_parts.set(gauge_value(parts));
    }

    /// Counts spans that nobody had room for.
    pub fn telemetry_spans_dropped(&self, spans: u64) {
        self.own.telemetry_dropped.inc_by(spans);
    }

    /// Counts spans that a collector was sent, by what became of them.
    pub fn telemetry_spans_sent(&self, outcome: &'static str, spans: u64) {
        if spans > 0 {
            self.own.telemetry_sent.get_or_create(&[("outcome", outcome)]).inc_by(spans);
        }
    }

    /// Says how the store is.
    pub fn store(&self, figures: &StoreFigures) {
        self.own.store.set(figures);
    }

    /// Drops every series of a bot. Call it after the bot's last attempt ended: what comes later begins new ones.
    pub fn forget_bot(&self, bot: &BotName) {
        let (own, name) = (&self.own, bot.as_str());
        own.attempts_ended.forget(name);
        own.attempt_waited.forget(name);
        own.attempt_elapsed.forget(name);
        own.attempt_fuel.forget(name);
        own.faults.forget(name);
        own.dead_letters.forget(name);
        own.instances_created.forget(name);
        own.bot_phase.forget(name);
        own.dropped_log_lines.forget(name);
        own.guest_rejected.forget(name);
        own.bots.forget(name);
        self.guests.forget(bot);
    }

    /// Drops every series of a connector, as [`Metrics::forget_bot`] does for a bot.
    pub fn forget_connector(&self, connector: &ConnectorKey) {
        let (own, name) = (&self.own, &connector.to_string());
        own.events_taken_over.forget(name);
        own.events_duplicate.forget(name);
        own.deliveries_ended.forget(name);
        own.outbox_depth.forget(name);
        own.connector_link.forget(name);
        own.connectors.forget(name);
    }
}

impl OwnMetrics {
    fn register(to: &mut Registry) -> Self {
        let (bot, connector) = ("bot", "connector");
        let waited = Grouped::new(bot, || Histogram::new(WAITED_SECONDS));
        let elapsed = Grouped::new(bot, || Histogram::new(ELAPSED_SECONDS));
        let fuel = Grouped::new(bot, || Histogram::new(FUEL_UNITS));
        let load = Family::new_with_constructor((|| Histogram::new(ELAPSED_SECONDS)) as fn() -> Histogram);
        // The library adds `_total` to counters and a full stop to each help text.
        Self {
            events_taken_over: add(to, "event_taken_over", "Events that the host took over", counters(connector)),
            events_duplicate: add(
                to,
                "event_duplicate",
                "Events that a platform delivered again and that were taken over before",
                counters(connector),
            ),
            queue_depth: add(to, "queue_depth_events", "Events that wait", Gauge::default()),
            attempts_ended: add(to, "attempt_ended", "Attempts at events, by how they ended", counters(bot)),
            attempt_waited: add(to, "attempt_waited_seconds", "How long events waited for an attempt", waited),
            attempt_elapsed: add(to, "attempt_elapsed_seconds", "How long attempts took", elapsed),
            attempt_fuel: add(to, "attempt_fuel_units", "Fuel that attempts used", fuel),
            faults: add(to, "bot_faults", "Faults of bots", counters(bot)),
            dead_letters: add(to, "dead_letter_added", "Events that became dead letters", counters(bot)),
            instances_created: add(to, "instance_created", "Instances that were created", counters(bot)),
            instances_live: add(to, "instance_live", "Instances that exist", Gauge::default()),
            bot_phase: add(to, "bot_phase", "1 for the phase that the bot is in", gauges(bot)),
            dropped_log_lines: add(to, "log_lines_dropped", "Lines past a bot's log budget", counters(bot)),
            lost_log_lines: add(
                to,
                "log_lines_lost",
                "Lines that standard error or a log file did not take",
                LostLogLines::default(),
            ),
            guest_rejected: add(to, "guest_metrics_rejected", "Measurements of bots that were dropped", counters(bot)),
            deliveries_ended: add(to, "delivery_ended", "Deliveries, by how they ended", counters(connector)),
            outbox_depth: add(to, "outbox_depth_actions", "Actions that wait for a connector", gauges(connector)),
            connector_link: add(to, "connector_link", "1 for how the connector stands", gauges(connector)),
            component_load: add(to, "component_load_seconds", "How long components took to load", load),
            alerts_active: add(to, "alerts_active", "Alerts that are up", Family::default()),
            alerts_rejected: add(to, "alerts_rejected", "Alerts that were not taken", Family::default()),
            monitor_round: add(
                to,
                "monitor_round_seconds",
                "How long rounds of measuring took",
                Histogram::new(ELAPSED_SECONDS),
            ),
            errors: add(to, "errors", "What went wrong, by part of the program", Family::default()),
            notices_sent: add(to, "notice_sent", "Notices of alerts, by what became of them", counters("channel")),
            degraded_parts: add(to, "degraded_parts", "Parts of the host that do not work fully", Gauge::default()),
            telemetry_dropped: add(to, "telemetry_spans_dropped", "Spans that found no room", Counter::default()),
            telemetry_sent: add(to, "telemetry_spans_sent", "Spans sent, by how that ended", Family::default()),
            store: StoreMetrics::register(to),
            bots: BotMetrics::register(to),
            connectors: ConnectorMetrics::register(to),
            machine: MachineMetrics::register(to),
        }
    }
}

fn add<M: Metric + Clone>(to: &mut Registry, name: &str, help: &str, metric: M) -> M {
    to.register(name, help, metric.clone());
    metric
}

fn counters<const N: usize>(owner: &'static str) -> Grouped<N, Counter> {
    Grouped::new(owner, Counter::default)
}

fn gauges<const N: usize>(owner: &'static str) -> Grouped<N, Gauge> {
    Grouped::new(owner, Gauge::default)
}

fn gauge_value(count: usize) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    fn bot(name: &str) -> BotName {
        name.parse().unwrap()
    }

    fn attempt(outcome: &'static str) -> Attempt {
        let (waited, elapsed) = (Duration::from_millis(3), Duration::from_millis(30));
        Attempt { class: EventClass::Command, outcome, waited, elapsed, fuel: 12_345 }
    }

    /// Metrics with something in every family.
    fn busy() -> Metrics {
        let metrics = Metrics::new();
        let connector = ConnectorKey::shared("console".parse().unwrap());
        metrics.event_taken_over(Some(&connector), EventClass::Message);
        metrics.event_taken_over(None, EventClass::Timer);
        metrics.attempt_ended(&bot("echo"), &attempt("ok"));
        metrics.attempt_ended(&bot("echo"), &attempt("trap"));
        metrics.fault(&bot("echo"), "trap");
        metrics.dead_letter(&bot("echo"));
        metrics.instance_created(&bot("echo"));
        metrics.bot_phase(&bot("echo"), "starting");
        metrics.bot_phase(&bot("echo"), "running");
        metrics.dropped_log_lines(&bot("echo"), 7);
        metrics.expose_lost_log_lines(Arc::new(AtomicU64::new(5)));
        metrics.queue_depth(3);
        metrics.delivery_ended(&connector, "ok");
        metrics.outbox_depth(&connector, 2);
        metrics.connector_link(&connector, "connected");
        metrics.component_load("cache", Duration::from_micros(700));
        metrics.alerts_active(Severity::Critical, 1);
        metrics.alert_rejected("bot-full");
        metrics.notice_sent(&"ops".parse().unwrap(), "ok");
        let commit_time = Duration::from_millis(1500);
        metrics.store(&StoreFigures { condition: "full", commits: 9, commit_time, ..StoreFigures::default() });
        let labels = [("symbol".to_owned(), "a\"b\\c".to_owned()), ("side".to_owned(), "buy".to_owned())];
        metrics.guest_count(&bot("echo"), "orders", 3, &labels);
        metrics.guest_count(&bot("other"), "orders", 4, &[]);
        metrics.guest_gauge(&bot("echo"), "balance", -2.5, &labels);
        metrics.guest_observe(&bot("echo"), "latency", 0.7, &labels);
        metrics.guest_gauge(&bot("echo"), "Bad Name", 1.0, &[]);
        metrics.bot_restarted(&bot("echo"), 2);
        let waiting = Some(Duration::from_millis(2500));
        let figures = BotFigures {
            memory_peak: 1 << 20,
            memory_limit: 64 << 20,
            fuel_limit: 9,
            queued: 3,
            in_flight: 1,
            oldest_waiting: waiting,
        };
        metrics.bot_figures(&[(bot("echo"), figures)]);
        metrics.connections_made(&connector, 4);
        metrics.delivered_after(&connector, Duration::from_millis(30));
        metrics.rate_limited(&connector, Duration::from_secs(3));
        let still = Some(Duration::from_secs(7));
        let figures = ConnectorFigures { stale: still, silent: still, oldest_waiting: waiting };
        metrics.connector_figures(&[(connector, figures)]);
        let probe = "gateway".parse().unwrap();
        metrics.probe(&probe, false, Duration::from_millis(250));
        metrics
    }

    #[test]
    fn the_exposition_shows_what_was_counted() {
        let text = busy().render();
        for line in [
            r#"bothost_event_taken_over_total{connector="console",class="message"} 1"#,
            r#"bothost_attempt_ended_total{bot="echo",class="command",outcome="trap"} 1"#,
            r#"bothost_attempt_elapsed_seconds_bucket{le="0.1",bot="echo"} 2"#,
            r#"bothost_bot_phase{bot="echo",phase="starting"} 0"#,
            r#"bothost_bot_phase{bot="echo",phase="running"} 1"#,
            "bothost_log_lines_lost_total 5",
            r#"bothost_store_condition{condition="working"} 0"#,
            r#"bothost_store_condition{condition="full"} 1"#,
            "bothost_store_commits_total 9",
            "bothost_store_commit_seconds_total 1.5",
            "bothost_queue_depth_events 3",
            r#"bothost_guest_orders_total{bot="echo",side="buy",symbol="a\"b\\c"} 3"#,
            r#"bothost_guest_orders_total{bot="other"} 4"#,
            r#"bothost_guest_balance{bot="echo",side="buy",symbol="a\"b\\c"} -2.5"#,
            r#"bothost_guest_latency_bucket{le="1.0",bot="echo",side="buy",symbol="a\"b\\c"} 1"#,
            r#"bothost_guest_metrics_rejected_total{bot="echo",reason="name"} 1"#,
            r#"bothost_bot_restarts_total{bot="echo"} 2"#,
            r#"bothost_bot_memory_limit_bytes{bot="echo"} 67108864"#,
            r#"bothost_bot_oldest_waiting_seconds{bot="echo"} 2.5"#,
            r#"bothost_connector_connections_total{connector="console"} 4"#,
            r#"bothost_delivery_elapsed_seconds_bucket{le="0.1",connector="console"} 1"#,
            r#"bothost_delivery_rate_limited_total{connector="console"} 1"#,
            r#"bothost_delivery_rate_limit_wait_seconds_total{connector="console"} 3.0"#,
            r#"bothost_connector_silent_seconds{connector="console"} 7.0"#,
            r#"bothost_probe_up{probe="gateway"} 0"#,
            r#"bothost_probe_elapsed_seconds{probe="gateway"} 0.25"#,
        ] {
            assert!(text.lines().any(|given| given == line), "{line}\nnot in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn muted_metrics_take_down_rounds_and_no_events() {
        let (metrics, connector) = (Metrics::muted(), ConnectorKey::shared("console".parse().unwrap()));
        metrics.event_taken_over(Some(&connector), EventClass::Message);
        metrics.attempt_ended(&bot("echo"), &attempt("ok"));
        metrics.delivery_ended(&connector, "ok");
        metrics.delivered_after(&connector, Duration::from_millis(30));
        metrics.guest_count(&bot("echo"), "orders", 3, &[]);
        let text = metrics.render();
        assert!(!text.contains("console") && !text.contains("echo"), "{text}");
        metrics.bot_figures(&[(bot("echo"), BotFigures::default())]);
        assert!(metrics.render().contains(r#"bothost_bot_queued_events{bot="echo"} 0"#));
    }

    #[test]
    fn no_family_is_described_twice() {
        let text = busy().render();
        let mut families: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let all = families.len();
        families.sort_unstable();
        families.dedup();
        assert_eq!(families.len(), all);
    }

    #[test]
    fn a_forgotten_bot_leaves_no_series_behind() {
        let metrics = busy();
        metrics.forget_bot(&bot("echo"));
        let text = metrics.render();
        assert!(!text.contains(r#"bot="echo""#), "{text}");
        assert!(text.contains(r#"bot="other""#), "{text}");
    }

    #[test]
    fn a_forgotten_connector_leaves_no_series_behind() {
        let metrics = busy();
        metrics.forget_connector(&ConnectorKey::shared("console".parse().unwrap()));
        assert!(!metrics.render().contains("console"));
    }

    #[test]
    fn what_is_measured_by_round_leaves_with_whoever_is_not_measured_any_more() {
        let metrics = busy();
        metrics.bot_figures(&[(bot("other"), BotFigures::default())]);
        metrics.connector_figures(&[]);
        let text = metrics.render();
        assert!(text.contains(r#"bothost_bot_queued_events{bot="other"} 0"#), "{text}");
        assert!(!text.contains(r#"bothost_bot_queued_events{bot="echo"}"#), "{text}");
        assert!(!text.contains("bothost_connector_silent_seconds{"), "{text}");
        assert!(text.contains(r#"bothost_bot_restarts_total{bot="echo"} 2"#), "it still counts: {text}");
    }

    #[test]
    fn live_instances_are_counted_while_they_live() {
        let metrics = Metrics::new();
        let guard = metrics.live_instance();
        assert!(metrics.render().contains("bothost_instance_live 1\n"));
        drop(guard);
        assert!(metrics.render().contains("bothost_instance_live 0\n"));
    }
}
