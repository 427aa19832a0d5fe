//! Stops a host and whoever watches over it: asks, waits, and where that does not help, kills.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::timeout;

use super::lock::PidFile;
use super::process::Process;
use super::{DaemonError, Found, Mode, PID_FILE};

/// How long a process may take to end that was killed, or whose child was.
const AFTER_KILL: Duration = Duration::from_secs(5);

/// How a stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// The host ended by itself.
    Asked,
    /// It did not end in time and was killed. What it had not finished is on disk.
    Killed,
}

/// Stops who was found in a data directory, and returns when they are gone. They have `patience` to end by themselves.
///
/// # Errors
///
/// [`DaemonError`]: one cannot be signalled, or does not end.
pub async fn stop(data_dir: &Path, found: &Found, patience: Duration) -> Result<Stopped, DaemonError> {
    // The parent hands it on; told as well, its host would take that for the second signal, which stops at once.
    let beside_parent = found.host.as_ref().filter(|_| !found.is_parent_of_host());
    for process in found.watcher.iter().chain(beside_parent) {
        signal(process, Signal::TERM)?;
    }
    if timeout(patience, all_ended(found)).await.is_ok_and(|ended| ended.is_ok()) {
        return Ok(Stopped::Asked);
    }
    // By now the parent may have another child than the one that was found.
    let now = Found::look(data_dir)?;
    for host in now.host.iter().chain(&found.host) {
        signal(host, Signal::KILL)?;
    }
    // A parent that was asked ends after its child. One that does not was stopped itself.
    if timeout(AFTER_KILL, all_ended(found)).await.is_err() {
        for process in found.watcher.iter().chain(&found.host) {
            signal(process, Signal::KILL)?;
        }
        let last = Found::look(data_dir)?;
        if let Some(host) = &last.host {
            signal(host, Signal::KILL)?;
            ended(host).await?;
        }
        for process in found.watcher.iter().chain(&found.host) {
            ended(process).await?;
        }
        // Nobody holds it any more, or it is not taken; dropped, it is gone.
        let _ = PidFile::take(&data_dir.join(PID_FILE));
    }
    Ok(Stopped::Killed)
}

impl Found {
    /// Returns whether a signal to the parent reaches the host.
    fn is_parent_of_host(&self) -> bool {
        self.mode() == Mode::Watched
    }
}

fn signal(process: &Process, signal: Signal) -> Result<(), DaemonError> {
    process.signal(signal).map_err(|source| DaemonError::Signal { pid: process.pid(), source })
}

async fn all_ended(found: &Found) -> Result<(), DaemonError> {
    for process in found.host.iter().chain(&found.watcher) {
        process.ended().await.map_err(|source| DaemonError::Signal { pid: process.pid(), source })?;
    }
    Ok(())
}

async fn ended(process: &Process) -> Result<(), DaemonError> {
    match timeout(AFTER_KILL, process.ended()).await {
        Ok(ended) => ended.map_err(|source| DaemonError::Signal { pid: process.pid(), source }),
        Err(_) => Err(DaemonError::Lasts { pid: process.pid() }),
    }
}
