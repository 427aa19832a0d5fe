//! `host status CONFIG.toml`: whether a host runs, how it was started, and how it is.

use std::fmt::Write;
use std::path::PathBuf;

use bothost::admin::client::{Client, ClientError};
use bothost::daemon::record::{Exit, Record};
use bothost::daemon::{Found, Mode};
use bothost::host::ADMIN_SOCKET;
use bothost::logs::escape;
use http::StatusCode;
use serde::Serialize;

use super::table::to_the_second;
use super::target::{Home, runtime};
use super::{Failure, NOT_RUNNING, tell};

/// Tells whether the host of CONFIG.toml runs, who watches over it, and how it is
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    /// The configuration file
    #[arg(value_name = "CONFIG.toml", default_value = "config.toml")]
    config: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What is known.
#[derive(Debug, Serialize)]
struct Report {
    running: bool,
    mode: Mode,
    pid: Option<u32>,
    watcher_pid: Option<u32>,
    uptime_seconds: Option<u64>,
    memory_bytes: Option<u64>,
    /// Since `host start`.
    restarts: u64,
    last_exit: Option<Exit>,
    gave_up: bool,
    /// `ok`, `degraded`, `unavailable`, or why it could not be asked.
    health: Option<String>,
    data_dir: PathBuf,
    config_error: Option<String>,
}

impl Status {
    pub(super) fn run(self) -> Result<(), Failure> {
        let home = Home::of_any(&self.config)?;
        let found = Found::look(&home.data_dir)?;
        let health = match found.host {
            Some(_) => Some(runtime()?.block_on(health(&Client::new(home.data_dir.join(ADMIN_SOCKET))))),
            None => None,
        };
        let report = Report::of(&home, &found, health);
        if self.json {
            tell(serde_json::to_string(&report).map_err(anyhow::Error::from)?);
        } else {
            home.warn();
            tell(report.words());
        }
        if report.running { Ok(()) } else { Err(Failure::Told(NOT_RUNNING)) }
    }
}

async fn health(client: &Client) -> String {
    match client.get("/health").await {
        Ok(health) => health["status"].as_str().map_or_else(|| "not understood".to_owned(), |word| escape(word).into()),
        Err(ClientError::Refused { status: StatusCode::SERVICE_UNAVAILABLE, .. }) => "unavailable".to_owned(),
        Err(error) => format!("{:#}", anyhow::Error::new(error)),
    }
}

impl Report {
    fn of(home: &Home, found: &Found, health: Option<String>) -> Self {
        let mode = found.mode();
        // What a parent told of earlier hosts says nothing of one that was started by other means.
        let record = found.record.clone().filter(|_| mode != Mode::Foreground);
        let Record { restarts, last_exit, gave_up, .. } = record.unwrap_or_default();
        Self {
            running: found.host.is_some(),
            mode,
            pid: found.host.as_ref().map(|host| host.pid()),
            watcher_pid: found.watcher.as_ref().map(|watcher| watcher.pid()),
            uptime_seconds: found.host.as_ref().and_then(|host| host.uptime()).map(|uptime| uptime.as_secs()),
            memory_bytes: found.host.as_ref().and_then(|host| host.memory_bytes()),
            restarts,
            last_exit,
            gave_up,
            health,
            data_dir: home.data_dir.clone(),
            config_error: home.mistakes.as_ref().map(ToString::to_string),
        }
    }

    fn words(&self) -> String {
        let mut words = match (self.mode, self.pid) {
            (Mode::Waiting, _) => "not running at this moment; its watching parent brings it back".to_owned(),
            (_, None) => format!("no host runs in {}", self.data_dir.display()),
            (_, Some(pid)) => format!("running: process {pid}"),
        };
        let watched = match (self.mode, self.watcher_pid) {
            (Mode::Watched | Mode::Waiting, Some(watcher)) => format!("by process {watcher}"),
            (Mode::Unwatched, _) => "by nobody: its watching parent is gone, and it is not brought back; \
                                     `host restart` mends that"
                .to_owned(),
            (Mode::Foreground, _) => "not by `host start`: it was started in the foreground".to_owned(),
            _ => String::new(),
        };
        let gave_up = if self.gave_up { "it ended too often and was not brought back".to_owned() } else { String::new() };
        let last_exit = self.last_exit.as_ref().map(|exit| format!("{exit}, {}", to_the_second(&exit.at)));
        let is_daemon = !matches!(self.mode, Mode::Foreground | Mode::Stopped);
        let uptime = self.uptime_seconds.map(long);
        let memory = self.memory_bytes.map(|bytes| format!("{} MiB", bytes >> 20));
        let lines = [
            ("watched", Some(watched).filter(|text| !text.is_empty())),
            ("up", uptime),
            ("memory", memory),
            ("health", self.health.clone()),
            ("restarts", is_daemon.then(|| self.restarts.to_string())),
            ("last exit", last_exit),
            ("gave up", Some(gave_up).filter(|text| !text.is_empty())),
        ];
        for (name, value) in lines {
            if let Some(value) = value {
                // To a text, which takes everything.
                let _ = write!(words, "\n{name:<10} {value}");
            }
        }
        words
    }
}

/// Returns a time as people say it, in its two largest units.
fn long(seconds: u64) -> String {
    let [minutes, hours, days] = [seconds / 60, seconds / 3_600, seconds / 86_400];
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_its_two_largest_units() {
        assert_eq!([59, 61, 3_660, 90_000].map(long), ["59 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]);
    }

    #[test]
    fn a_host_that_nobody_watches_is_said_so_with_what_mends_it() {
        let report = Report {
            running: true,
            mode: Mode::Unwatched,
            pid: Some(7),
            watcher_pid: None,
            uptime_seconds: Some(61),
            memory_bytes: Some(5 << 20),
            restarts: 1,
            last_exit: Some(Exit { code: None, signal: Some(9), at: "2026-11-21T12:00:00.123Z".into() }),
            gave_up: false,
            health: Some("ok".into()),
            data_dir: "/d".into(),
            config_error: None,
        };
        let expected = "\
running: process 7
watched    by nobody: its watching parent is gone, and it is not brought back; `host restart` mends that
up         1 min 1 s
memory     5 MiB
health     ok
restarts   1
last exit  signal 9, 2026-11-21T12:00:00Z";
        assert_eq!(report.words(), expected);
    }
}
