//! `host run CONFIG.toml`: the host in the foreground.

use std::path::PathBuf;

use anyhow::Context;
use bothost::config::Config;
use bothost::failpoint;
use bothost::generation::{self, Boot, Fallback};
use bothost::host::{self, Drained, Host, HostOptions, Instruments};
use bothost::logs::{self, FilesSetup};
use bothost::sandbox;
use bothost::secret::Seal;
use bothost::systemd;
use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, complain, warn};

/// Runs the host until it is told to stop: SIGINT or SIGTERM drain, a second one stops at once
#[derive(Debug, clap::Args)]
pub(super) struct Run {
    /// The configuration file
    #[arg(value_name = "CONFIG.toml")]
    config: PathBuf,
}

impl Run {
    pub(super) fn run(self) -> Result<(), Failure> {
        sandbox::open_page_map();
        let seal = Seal::set();
        failpoint::check().context("cannot crash as asked")?;
        let Boot { config, fallback } = generation::boot(&self.config)?;
        warn(&config.warnings);
        let sealed = seal.and_then(|seal| if config.host.core_dumps { seal.lift() } else { Ok(()) });
        let format = config.logs.stderr.into();
        if let Some(fallback) = fallback.as_ref().filter(|_| format == logs::Format::Off) {
            // This much is said even so.
            complain(&fallback.error);
            complain(format_args!("generation {} of the configuration is in force instead", fallback.generation));
        }
        let instruments = Instruments::default();
        let files = config.logs_dir().map(|dir| FilesSetup { dir, format: config.logs.format, rules: config.logs.rules() });
        let log = logs::init(config.logs.level.as_str(), format, files, instruments.errors.layer()).context("cannot set up the log")?;
        if let Err(error) = sealed {
            let wanted = config.host.core_dumps;
            tracing::warn!(%error, wanted, "whether this process leaves core files is left to the system");
        }
        let runtime = host::runtime().context("cannot start the runtime")?;
        let outcome = runtime.block_on(serve(config, fallback, instruments, &log));
        // Calls that outlived the drain timeout end here; their threads are not waited for.
        runtime.shutdown_background();
        drop(log);
        Ok(outcome?)
    }
}

async fn serve(
    config: Config,
    fallback: Option<Fallback>,
    instruments: Instruments,
    log: &logs::Guard,
) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let bots_dir = config.host.bots_dir.clone();
    if let Some(Fallback { generation, error }) = &fallback {
        tracing::error!(generation, error, "the configuration file is not good: an earlier generation of it is in force");
    }
    let host = Host::bind(config, HostOptions { instruments, ..HostOptions::default() }).await?;
    let mut config = host.config();
    host.metrics().expose_lost_log_lines(log.lost_lines());
    tracing::info!(bots_dir = %bots_dir.display(), admin = host.admin_address().map(tracing::field::display), "ready");
    systemd::ready("ready");
    let mut reloading = None;
    loop {
        // Cancel safe: signals and statuses that are waited for again.
        tokio::select! {
            _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            () = host.connectors_ended() => tracing::info!("every connector has ended: stopping"),
            _ = hangup.recv(), if reloading.is_none() => {
                log.reopen();
                reloading = Some(Box::pin(reload(&host)));
                continue;
            }
            () = async { reloading.as_mut().expect("checked before").await }, if reloading.is_some() => {
                reloading = None;
                continue;
            }
            Ok(()) = config.changed() => {
                let logs = config.borrow_and_update().logs.clone();
                log.set_rules(logs.rules());
                if let Err(error) = log.filter().set(logs.level.as_str()) {
                    tracing::error!(%error, "the log's level stays as it is");
                }
                continue;
            }
        }
        break;
    }
    drop(reloading);
    systemd::stopping();
    tokio::select! {
        drained = host.shutdown() => report(drained),
        _ = interrupt.recv() => tracing::warn!("a second SIGINT: stopped at once"),
        _ = terminate.recv() => tracing::warn!("a second SIGTERM: stopped at once"),
    }
    Ok(())
}

/// Looks at the configuration and the bots' directory now. What comes of it is in the log.
async fn reload(host: &Host) {
    tracing::info!("SIGHUP: looking at the configuration and the bots' directory");
    systemd::reloading();
    match host.reload().await {
        Ok(report) => tracing::info!(generation = report.generation, rejected = report.rejected, "reloaded"),
        Err(error) => tracing::error!(%error, "not reloaded"),
    }
    systemd::ready("ready");
}

fn report(drained: Drained) {
    let Drained { events, actions } = drained;
    if drained == Drained::default() {
        tracing::info!("stopped, nothing left undone");
    } else {
        tracing::info!(events, actions, "stopped with events and actions undone; the next start takes them up");
    }
}
