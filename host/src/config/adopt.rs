//! What of a changed configuration can be in force at once, and what only after a restart. Pure. Every section is taken apart key
//! by key, so that a new key does not compile before somebody has decided which of the two it is.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::path::Path;
use std::time::Duration;

use crate::egress::HttpUrl;
use crate::secret::Secret;
use crate::telemetry::TelemetryConfig;
use crate::units::Span;

use super::{AdminConfig, Config, HostConfig, LogsConfig, OutboxConfig, QueueConfig};

/// A changed configuration, made fit for the host that runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Adoption {
    /// What can be in force now: the changed one, with the running one's values of the keys that need a restart.
    pub config: Config,
    /// A line for each key that needs a restart, with what it is and what it will be.
    pub needs_restart: Vec<String>,
}

impl Config {
    /// Returns what of `next` can take the place of this configuration while the host runs. What needs a restart is told each
    /// time anew until it has had one.
    pub fn adopt(&self, next: Self) -> Adoption {
        let Self {
            path,
            text,
            host,
            limits,
            supervision,
            rollout,
            queue,
            outbox,
            connectors,
            bots,
            offers,
            logs,
            alerts,
            vitals,
            telemetry,
            admin,
            warnings,
        } = next;
        let mut kept = Kept::default();
        let config = Self {
            path,
            text,
            host: kept.host(&self.host, host),
            limits,
            supervision,
            rollout,
            queue: kept.queue(&self.queue, queue),
            outbox: kept.outbox(&self.outbox, outbox),
            connectors,
            bots,
            offers,
            logs: kept.logs(&self.logs, logs),
            alerts,
            vitals,
            telemetry: kept.telemetry(&self.telemetry, telemetry),
            admin: kept.admin(&self.admin, admin),
            warnings,
        };
        Adoption { config, needs_restart: kept.lines }
    }
}

/// The keys that stay as they are until a restart.
#[derive(Default)]
struct Kept {
    lines: Vec<String>,
}

impl Kept {
    fn host(&mut self, now: &HostConfig, next: HostConfig) -> HostConfig {
        let HostConfig { data_dir, bots_dir, drain_timeout, watch_settle, watch_rescan, instances, core_dumps } = next;
        HostConfig {
            data_dir: self.keep("[host] data_dir", &now.data_dir, data_dir, |dir| path(dir)),
            bots_dir: self.keep("[host] bots_dir", &now.bots_dir, bots_dir, |dir| path(dir)),
            drain_timeout,
            watch_settle: self.keep("[host] watch_settle", &now.watch_settle, watch_settle, time),
            watch_rescan: self.keep("[host] watch_rescan", &now.watch_rescan, watch_rescan, time),
            instances: self.keep("[host] instances", &now.instances, instances, |count| {
                count.map_or_else(not_set, |count| count.to_string())
            }),
            core_dumps: self.keep("[host] core_dumps", &now.core_dumps, core_dumps, bool::to_string),
        }
    }

    fn queue(&mut self, now: &QueueConfig, next: QueueConfig) -> QueueConfig {
        let QueueConfig {
            max_events,
            max_bytes,
            max_events_per_bot,
            max_attempts,
            max_dead_letters,
            keep,
            dedup_window,
            durability,
        } = next;
        QueueConfig {
            max_events,
            max_bytes,
            max_events_per_bot,
            max_attempts,
            max_dead_letters: self.keep("[queue] max_dead_letters", &now.max_dead_letters, max_dead_letters, number),
            keep: self.keep("[queue] keep", &now.keep, keep, number),
            dedup_window: self.keep("[queue] dedup_window", &now.dedup_window, dedup_window, time),
            durability: self.keep("[queue] durability", &now.durability, durability, word),
        }
    }

    fn outbox(&mut self, now: &OutboxConfig, next: OutboxConfig) -> OutboxConfig {
        let OutboxConfig { max_len, ttl, overflow, on_uncertain, order } = next;
        let on_uncertain = self.keep("[outbox] on_uncertain", &now.on_uncertain, on_uncertain, word);
        OutboxConfig { max_len, ttl, overflow, on_uncertain, order }
    }

    fn logs(&mut self, now: &LogsConfig, next: LogsConfig) -> LogsConfig {
        let LogsConfig {
            level,
            stderr,
            files,
            dir,
            format,
            max_file,
            rotate_every,
            keep_days,
            keep_files,
            max_total,
            compress,
        } = next;
        LogsConfig {
            level,
            stderr: self.keep("[logs] stderr", &now.stderr, stderr, word),
            files: self.keep("[logs] files", &now.files, files, bool::to_string),
            dir: self.keep("[logs] dir", &now.dir, dir, |dir| dir.as_deref().map_or_else(not_set, path)),
            format: self.keep("[logs] format", &now.format, format, word),
            max_file,
            rotate_every,
            keep_days,
            keep_files,
            max_total,
            compress,
        }
    }

    fn telemetry(&mut self, now: &TelemetryConfig, next: TelemetryConfig) -> TelemetryConfig {
        let TelemetryConfig { endpoint, headers, sample, metrics, every, service } = next;
        let url = |url: &Option<HttpUrl>| url.as_ref().map_or_else(not_set, |url| format!("at {}", url.0));
        // Names are shown, values are secrets: another value under the same name is told with the same words twice.
        let names = |headers: &BTreeMap<String, Secret>| format!("{:?}", headers.keys().collect::<Vec<_>>());
        TelemetryConfig {
            endpoint: self.keep("[telemetry] endpoint", &now.endpoint, endpoint, url),
            headers: self.keep("[telemetry] headers", &now.headers, headers, names),
            sample: self.keep("[telemetry] sample", &now.sample, sample, number),
            metrics: self.keep("[telemetry] metrics", &now.metrics, metrics, number),
            every: self.keep("[telemetry] every", &now.every, every, time),
            service: self.keep("[telemetry] service", &now.service, service, |name| format!("{name:?}")),
        }
    }

    fn admin(&mut self, now: &AdminConfig, next: AdminConfig) -> AdminConfig {
        let AdminConfig { listen, token, hosts, tls } = next;
        let listen = self.keep("[admin] listen", &now.listen, listen, |address| {
            address.map_or_else(not_set, |address| format!("\"{address}\""))
        });
        let hosts = self.keep("[admin] hosts", &now.hosts, hosts, |hosts| format!("{hosts:?}"));
        let tls = self.keep("[admin] tls", &now.tls, tls, |tls| {
            tls.as_ref().map_or_else(not_set, |tls| format!("{} and {}", path(&tls.cert), path(&tls.key)))
        });
        AdminConfig { listen, token, hosts, tls }
    }

    /// Keeps what is now, and notes what will be where that is something else.
    fn keep<T: Clone + PartialEq>(&mut self, key: &str, now: &T, next: T, shown: impl Fn(&T) -> String) -> T {
        if next != *now {
            let (now, next) = (shown(now), shown(&next));
            self.lines.push(format!("`{key}` is {now} now and will be {next} after a restart"));
        }
        now.clone()
    }
}

fn path(path: &Path) -> String {
    format!("{path:?}")
}

fn time(time: &Duration) -> String {
    format!("\"{}\"", Span(*time))
}

fn number(number: &impl Display) -> String {
    number.to_string()
}

/// Returns the word that stands for a choice, which is its name in lower case.
fn word(choice: &impl Debug) -> String {
    format!("\"{choice:?}\"").to_lowercase()
}

fn not_set() -> String {
    "not set".to_owned()
}
