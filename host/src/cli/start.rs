//! `host start CONFIG.toml`: the host as a daemon. `host start BOT`: a bot that was stopped.

use std::path::Path;
use std::process::Child;
use std::time::Duration;

use anyhow::Context;
use bothost::admin::client::Client;
use bothost::daemon::{Found, RECORD_FILE};
use bothost::daemon::launch::Launch;
use bothost::daemon::log::DaemonLog;
use bothost::daemon::record::Record;
use bothost::host::ADMIN_SOCKET;
use bothost::logs::escape;
use bothost::units::Span;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::remote::Remote;
use super::target::{Home, Target, ask_for, runtime};
use super::{FAILED, Failure, TRY_AGAIN, complain, tell};

/// How often a host that starts is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Lines of its log that are shown where it does not come up.
const LINES_SHOWN: usize = 20;

/// Starts the host of CONFIG.toml as a daemon that is brought back when it ends badly, or BOT on the host that runs
#[derive(Debug, clap::Args)]
pub(super) struct Start {
    /// A configuration file, or a bot that was stopped
    #[arg(value_name = "CONFIG.toml|BOT")]
    target: Target,
    /// How long the host may take until it is ready
    #[arg(long, value_name = "TIME", default_value = "60s")]
    timeout: Span,
    #[command(flatten)]
    remote: Remote,
}

impl Start {
    pub(super) fn run(self) -> Result<(), Failure> {
        match &self.target {
            Target::Bot(bot) => ask_for(bot, "start", &self.remote),
            Target::Host(config) => start(config, self.timeout.0),
        }
    }
}

/// Starts a daemon and returns once it is ready.
pub(super) fn start(config: &Path, patience: Duration) -> Result<(), Failure> {
    let home = Home::of_good(config)?;
    let found = Found::look(&home.data_dir)?;
    if let Some(process) = found.host.as_ref().or(found.watcher.as_ref()) {
        complain(format_args!(
            "host: a host runs in {} already, process {}: see `host status {}`",
            home.data_dir.display(),
            process.pid(),
            config.display()
        ));
        return Err(Failure::Told(FAILED));
    }
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let log = DaemonLog::of(&home.data_dir);
    let launch = Launch { program, config: home.config.clone(), data_dir: home.data_dir.clone() };
    let log_before = log.bytes();
    let mut parent = launch.spawn()?;
    match runtime()?.block_on(came_up(&home, &mut parent, patience)) {
        Came::Up { host } => {
            tell(format_args!("the host is ready: process {host}, watched over by {}", parent.id()));
            tell(format_args!("host status {}    log: {}", config.display(), log.path().display()));
            Ok(())
        }
        Came::Late => {
            let path = log.path().display();
            complain(format_args!("host: not ready within {patience:?}; it goes on starting, see {path}"));
            Err(Failure::Told(TRY_AGAIN))
        }
        Came::Down => {
            // It would be tried again, behind the back of whoever is told that it failed. A child of ours: the number is its own.
            if let Some(pid) = i32::try_from(parent.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::TERM);
            }
            parent.wait().context("cannot wait for the watching parent")?;
            complain(format_args!("host: the host does not come up; the end of {}:", log.path().display()));
            log.tail(LINES_SHOWN, log_before).iter().for_each(|line| complain(escape(line)));
            Err(Failure::Told(FAILED))
        }
    }
}

/// What became of a host that was started.
enum Came {
    Up { host: u32 },
    Late,
    Down,
}

async fn came_up(home: &Home, parent: &mut Child, patience: Duration) -> Came {
    let deadline = Instant::now() + patience;
    let client = Client::new(home.data_dir.join(ADMIN_SOCKET));
    loop {
        // One that cannot be asked has not ended.
        if parent.try_wait().is_ok_and(|ended| ended.is_some()) {
            return Came::Down;
        }
        let record = Record::read(&home.data_dir.join(RECORD_FILE)).filter(|record| record.watcher == parent.id());
        match record {
            Some(Record { last_exit: Some(_), .. }) => return Came::Down,
            Some(Record { host: Some(host), .. }) if client.get("/health/ready").await.is_ok() => {
                return Came::Up { host };
            }
            _ if Instant::now() >= deadline => return Came::Late,
            _ => sleep(LOOK_EVERY).await,
        }
    }
}
