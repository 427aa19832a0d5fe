//! `host run CONFIG.toml`: the host in the foreground.

use std::path::PathBuf;

use anyhow::Context;
use bothost::config::{Config, StderrFormat};
use bothost::failpoint;
use bothost::host::{Drained, Host, HostOptions};
use bothost::logs;
use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, warn};

/// Runs the host until it is told to stop: SIGINT or SIGTERM drain, a second one stops at once
#[derive(Debug, clap::Args)]
pub(super) struct Run {
    /// The configuration file
    #[arg(value_name = "CONFIG.toml")]
    config: PathBuf,
}

impl Run {
    pub(super) fn run(self) -> Result<(), Failure> {
        failpoint::check().context("cannot crash as asked")?;
        let config = Config::load(&self.config)?;
        warn(&config.warnings);
        let format = match config.logs.stderr {
            StderrFormat::Text => logs::Format::Text,
            StderrFormat::Json => logs::Format::Json,
            StderrFormat::Off => logs::Format::Off,
        };
        let log = logs::init(config.logs.level.as_str(), format).context("cannot set up the log")?;
        let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
        let outcome = runtime.block_on(serve(config, &log));
        // Calls that outlived the drain timeout end here; their threads are not waited for.
        runtime.shutdown_background();
        drop(log);
        Ok(outcome?)
    }
}

async fn serve(config: Config, log: &logs::Guard) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let bots_dir = config.host.bots_dir.clone();
    let host = Host::bind(config, HostOptions::default()).await?;
    host.metrics().expose_lost_log_lines(log.lost_lines());
    tracing::info!(bots_dir = %bots_dir.display(), admin = host.admin_address().map(tracing::field::display), "ready");
    loop {
        // Cancel safe: signals and statuses that are waited for again.
        tokio::select! {
            _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            () = host.connectors_ended() => tracing::info!("every connector has ended: stopping"),
            _ = hangup.recv() => {
                tracing::warn!("SIGHUP: the configuration is read at the start only; restart to apply a change");
                continue;
            }
        }
        break;
    }
    tokio::select! {
        drained = host.shutdown() => report(drained),
        _ = interrupt.recv() => tracing::warn!("a second SIGINT: stopped at once"),
        _ = terminate.recv() => tracing::warn!("a second SIGTERM: stopped at once"),
    }
    Ok(())
}

fn report(drained: Drained) {
    let Drained { events, actions } = drained;
    if drained == Drained::default() {
        tracing::info!("stopped, nothing left undone");
    } else {
        tracing::info!(events, actions, "stopped with events and actions undone; the next start takes them up");
    }
}
