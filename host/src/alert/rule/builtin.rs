//! The rules that every host has. Data only; an operator changes them key by key in `[alerts.rules.NAME]`.

use std::sync::LazyLock;
use std::time::Duration;

use super::config::{Comparison, RuleConfig};
use crate::action::Severity;
use crate::id::RuleName;
use crate::units::Span;

/// One rule, as an operator would write it.
struct Builtin {
    name: &'static str,
    metric: &'static str,
    op: Comparison,
    threshold: &'static str,
    severity: Severity,
    message: &'static str,
    more: More,
}

/// What few rules say; times and quantities as they are written, empty where nothing is.
struct More {
    clear: &'static str,
    r#for: &'static str,
    cooldown: &'static str,
    forecast: &'static str,
    window: &'static str,
}

const NOTHING_MORE: More = More { clear: "", r#for: "", cooldown: "", forecast: "", window: "" };

use Comparison::{Less, More as Above};
use Severity::{Critical, Info, Warning};

static BUILTINS: &[Builtin] = &[
    Builtin {
        name: "bot-fuel-near-limit",
        metric: "p99(bothost_attempt_fuel_units[15m]) / bothost_bot_fuel_limit_units",
        op: Above,
        threshold: "80%",
        severity: Warning,
        message: "bot {bot} needs up to {value} of the fuel that it may burn on an event: make it do less at once, or raise \
                  its `limits.fuel_per_event`",
        more: More { r#for: "5m", cooldown: "30m", ..NOTHING_MORE },
    },
    Builtin {
        name: "bot-memory-near-limit",
        metric: "bothost_bot_memory_peak_bytes / bothost_bot_memory_limit_bytes",
        op: Above,
        threshold: "90%",
        severity: Warning,
        message: "bot {bot} has used {value} of the memory that it may: past all of it its calls fail; raise its \
                  `limits.memory`, or make it keep less",
        more: More { cooldown: "30m", ..NOTHING_MORE },
    },
    Builtin {
        name: "bot-fails-often",
        metric: "increase(bothost_attempt_ended_total{outcome!=\"ok\"}[5m]) / increase(bothost_attempt_ended_total[5m])",
        op: Above,
        threshold: "50%",
        severity: Warning,
        message: "bot {bot} fails at {value} of its events: `host logs {bot}` and `host describe {bot}` say why",
        // Longer than the window: one failure among few events is no reason.
        more: More { clear: "25%", r#for: "6m", cooldown: "10m", ..NOTHING_MORE },
    },
    Builtin {
        name: "dead-letters",
        metric: "increase(bothost_dead_letter_added_total[10m])",
        op: Above,
        threshold: "0",
        severity: Warning,
        message: "{value} events of bot {bot} were given up within 10 minutes: `host dlq list` shows them, `host dlq retry` \
                  tries them again",
        more: More { cooldown: "10m", ..NOTHING_MORE },
    },
    Builtin {
        name: "queue-filling",
        metric: "bothost_queue_depth_events / bothost_queue_capacity_events",
        op: Above,
        threshold: "80%",
        severity: Warning,
        message: "the queue is {value} full: bots take less than comes in; when it is full, platforms have to wait",
        more: More { clear: "70%", r#for: "1m", ..NOTHING_MORE },
    },
    Builtin {
        name: "queue-full",
        metric: "bothost_queue_depth_events / bothost_queue_capacity_events",
        op: Above,
        threshold: "98%",
        severity: Critical,
        message: "the queue is {value} full and hardly takes events: `host ps` shows whose events wait, or raise \
                  `queue.max_events`",
        more: More { clear: "90%", r#for: "30s", ..NOTHING_MORE },
    },
    Builtin {
        name: "queue-grows",
        metric: "bothost_queue_depth_events / bothost_queue_capacity_events",
        op: Above,
        threshold: "98%",
        severity: Warning,
        message: "the queue is full in about {eta} ({value} now), and then connectors wait: `host ps` shows whose events wait",
        more: More { clear: "50%", r#for: "5m", cooldown: "30m", forecast: "1h", window: "15m" },
    },
    Builtin {
        name: "queue-old",
        metric: "bothost_queue_oldest_waiting_seconds",
        op: Above,
        threshold: "5m",
        severity: Warning,
        message: "an event has waited for {value}: see with `host ps` which bot does not take its events",
        more: More { clear: "2m", r#for: "1m", ..NOTHING_MORE },
    },
    Builtin {
        name: "outbox-old",
        metric: "bothost_outbox_oldest_waiting_seconds",
        op: Above,
        threshold: "10m",
        severity: Warning,
        message: "an action has waited for {value} to be delivered by {connector}: `host outbox list` shows what is tried and \
                  what the platform answers",
        more: More { clear: "5m", r#for: "1m", ..NOTHING_MORE },
    },
    Builtin {
        name: "disk-low",
        metric: "bothost_disk_free_bytes / bothost_disk_total_bytes",
        op: Less,
        threshold: "10%",
        severity: Warning,
        message: "{value} of the disk of the data directory is free: make room, or move `host.data_dir`",
        more: More { clear: "12%", r#for: "1m", cooldown: "30m", ..NOTHING_MORE },
    },
    Builtin {
        name: "disk-critical",
        metric: "bothost_disk_free_bytes / bothost_disk_total_bytes",
        op: Less,
        threshold: "3%",
        severity: Critical,
        message: "only {value} of the disk of the data directory is free: make room now; when it is full no event is taken",
        more: More { clear: "5%", ..NOTHING_MORE },
    },
    Builtin {
        name: "disk-fills",
        metric: "bothost_disk_free_bytes / bothost_disk_total_bytes",
        op: Less,
        threshold: "1%",
        severity: Warning,
        message: "the disk of the data directory is full in about {eta} ({value} is free now): find what grows, or make room",
        more: More { clear: "3%", r#for: "10m", cooldown: "1h", forecast: "24h", window: "6h" },
    },
    Builtin {
        name: "memory-high",
        metric: "bothost_memory_used_ratio",
        op: Above,
        threshold: "90%",
        severity: Warning,
        message: "{value} of the memory is in use: lower `limits.memory` or the number of instances, or give the host more",
        more: More { clear: "85%", r#for: "2m", ..NOTHING_MORE },
    },
    Builtin {
        name: "memory-grows",
        metric: "bothost_process_resident_bytes / bothost_memory_limit_bytes",
        op: Above,
        threshold: "95%",
        severity: Warning,
        message: "memory limit in about {eta} if it goes on as in the last hour (now {value}): `host metrics \
                  process_resident_bytes` shows since when, `host report` which bots use much",
        more: More { r#for: "10m", cooldown: "1h", forecast: "4h", window: "1h", ..NOTHING_MORE },
    },
    Builtin {
        name: "processor-busy",
        metric: "bothost_machine_cpu_ratio",
        op: Above,
        threshold: "90%",
        severity: Warning,
        message: "the processors have been {value} busy for ten minutes: `host report` shows which bots work most",
        more: More { clear: "80%", r#for: "10m", cooldown: "30m", ..NOTHING_MORE },
    },
    Builtin {
        name: "memory-pressure",
        metric: "bothost_pressure_ratio{resource=\"memory\"}",
        op: Above,
        threshold: "20%",
        severity: Warning,
        message: "for {value} of the time something waits for memory: the machine has too little of it and slows down",
        more: More { clear: "10%", r#for: "2m", cooldown: "10m", ..NOTHING_MORE },
    },
    Builtin {
        name: "files-near-limit",
        metric: "bothost_process_open_files / bothost_process_open_files_limit",
        op: Above,
        threshold: "80%",
        severity: Warning,
        message: "{value} of the files that the process may open are open: raise `LimitNOFILE=` of the service, or `ulimit -n`",
        more: More { r#for: "1m", ..NOTHING_MORE },
    },
    Builtin {
        name: "connector-silent",
        metric: "bothost_connector_silent_seconds",
        op: Above,
        threshold: "5m",
        severity: Info,
        message: "nothing has come in by {connector} for {value}: it may be a quiet hour",
        more: More { cooldown: "1h", ..NOTHING_MORE },
    },
    Builtin {
        name: "connector-stalled",
        metric: "bothost_connector_stale_seconds",
        op: Above,
        threshold: "2m",
        severity: Critical,
        message: "{connector} has had no sign of life of its platform for {value}: look at its lines in `host logs`, its token and \
                  the network",
        more: More { clear: "1m", ..NOTHING_MORE },
    },
    Builtin {
        name: "errors-many",
        metric: "increase(bothost_errors_total[5m])",
        op: Above,
        threshold: "50",
        severity: Warning,
        message: "{value} errors within five minutes: `host errors` lists the kinds, the latest first",
        more: More { clear: "25", cooldown: "10m", ..NOTHING_MORE },
    },
    Builtin {
        name: "errors-unusual",
        metric: "anomaly(bothost_errors_total[3h])",
        op: Above,
        threshold: "12",
        severity: Info,
        message: "errors come far more often than they usually do ({value} deviations): `host errors` lists the kinds",
        more: More { clear: "6", r#for: "3m", cooldown: "1h", ..NOTHING_MORE },
    },
    Builtin {
        name: "log-lines-lost",
        metric: "increase(bothost_log_lines_lost_total[10m])",
        op: Above,
        threshold: "0",
        severity: Warning,
        message: "{value} lines of the log were lost within ten minutes: the disk of `logs.dir` is full or slow",
        more: More { cooldown: "10m", ..NOTHING_MORE },
    },
    Builtin {
        name: "probe-down",
        metric: "bothost_probe_up",
        op: Less,
        threshold: "1",
        severity: Critical,
        message: "probe {probe} does not answer: `host logs` says why",
        more: More { clear: "1", r#for: "1m", ..NOTHING_MORE },
    },
];

static CONFIGS: LazyLock<Vec<(RuleName, RuleConfig)>> = LazyLock::new(|| BUILTINS.iter().map(read).collect());

const READS: &str = "the host's own rules read, as a test sees to";

fn read(builtin: &Builtin) -> (RuleName, RuleConfig) {
    fn time(text: &str) -> Option<Duration> {
        (!text.is_empty()).then(|| text.parse::<Span>().expect(READS).0)
    }
    let more = &builtin.more;
    let config = RuleConfig {
        metric: Some(builtin.metric.parse().expect(READS)),
        op: Some(builtin.op),
        threshold: Some(builtin.threshold.parse().expect(READS)),
        clear: (!more.clear.is_empty()).then(|| more.clear.parse().expect(READS)),
        r#for: time(more.r#for),
        severity: Some(builtin.severity),
        cooldown: time(more.cooldown),
        message: Some(builtin.message.parse().expect(READS)),
        forecast: time(more.forecast),
        window: time(more.window),
        ..RuleConfig::default()
    };
    (builtin.name.parse().expect(READS), config)
}

/// Returns the host's rule of that name.
pub(super) fn find(name: &RuleName) -> Option<RuleConfig> {
    CONFIGS.iter().find(|(known, _)| known == name).map(|(_, config)| config.clone())
}

/// Returns the names of the host's rules.
pub(super) fn names() -> Vec<&'static str> {
    BUILTINS.iter().map(|builtin| builtin.name).collect()
}

#[cfg(test)]
mod tests;
