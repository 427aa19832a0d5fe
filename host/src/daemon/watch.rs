//! The watching parent: runs the host as its child, hands signals on, and brings it back where it ended badly, within the
//! intensity. It outlives nothing: once the host ended well, was told to stop, or ended too often, it ends.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::intensity::{Decision, Limits, Restarts};
use super::lock::PidFile;
use super::log::DaemonLog;
use super::record::{Exit, Record};
use super::{DaemonError, PID_FILE, RECORD_FILE};
use crate::clock::Timestamp;

/// How often the size of the log is looked at while the host runs.
const BOUND_EVERY: Duration = Duration::from_secs(10);

/// Whom to watch.
#[derive(Debug, Clone)]
pub struct Watch {
    /// The program, whose verb `run` is the host. Looked up anew at each start, so that an update counts.
    pub program: PathBuf,
    /// The configuration, which only the host reads.
    pub config: PathBuf,
    /// The data directory, which must be there.
    pub data_dir: PathBuf,
    /// How often it is brought back.
    pub limits: Limits,
}

/// Why the watching parent has nothing more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The host ended well, or was told to.
    Ended,
    /// It ended too often.
    GaveUp,
}

impl Watch {
    /// Leaves the session it was started in, and watches until there is nothing more to watch.
    ///
    /// # Errors
    ///
    /// Another parent watches, or the pid file or the record cannot be written at the start. No host was started then.
    pub async fn run(self) -> Result<Outcome, DaemonError> {
        // Refused to the leader of a group, as a shell makes one of each command that is typed: that one stays in its session.
        let _ = rustix::process::setsid();
        let failed = |name| {
            let path = self.data_dir.join(name);
            move |source| DaemonError::Write { path, source }
        };
        let pid_file = PidFile::take(&self.data_dir.join(PID_FILE)).map_err(failed(PID_FILE))?;
        let pid_file = pid_file.ok_or_else(|| DaemonError::Watched { data_dir: self.data_dir.clone() })?;
        let signals = Signals::listen().map_err(DaemonError::Listen)?;
        let record = Record { watcher: std::process::id(), since: Timestamp::now().to_string(), ..Record::default() };
        record.write(&self.data_dir.join(RECORD_FILE)).map_err(failed(RECORD_FILE))?;
        let log = DaemonLog::of(&self.data_dir);
        Ok(Watcher { watch: self, pid_file, log, signals, record, is_stopping: false }.run().await)
    }
}

/// The signals that are handed on.
struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Returns the next one. Cancel safe.
    async fn recv(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.hangup.recv() => Signal::HUP,
        }
    }
}

struct Watcher {
    watch: Watch,
    pid_file: PidFile,
    log: DaemonLog,
    signals: Signals,
    record: Record,
    /// It was told to end: the host is not brought back, however it ends.
    is_stopping: bool,
}

impl Watcher {
    async fn run(mut self) -> Outcome {
        let begun = Instant::now();
        let mut restarts = Restarts::new(self.watch.limits.clone());
        loop {
            let started = Instant::now();
            let exit = self.host().await;
            let is_good = exit.is_good();
            self.log.line(&format!("the host ended: {exit}"));
            self.record.last_exit = Some(exit);
            if is_good || self.is_stopping {
                self.tell(None);
                return Outcome::Ended;
            }
            match restarts.ended(started.elapsed(), begun.elapsed(), fastrand::f64()) {
                Decision::GiveUp => {
                    self.record.gave_up = true;
                    self.tell(None);
                    self.log
                        .line("it ended too often and is not brought back: mend the cause, then `host start` again");
                    return Outcome::GaveUp;
                }
                Decision::Restart(wait) => {
                    self.tell(None);
                    self.log.line(&format!("it is brought back in {:.1} s", wait.as_secs_f64()));
                    self.rest(wait).await;
                    if self.is_stopping {
                        return Outcome::Ended;
                    }
                    self.record.restarts += 1;
                }
            }
        }
    }

    /// Runs the host once and returns how it ended.
    async fn host(&mut self) -> Exit {
        let mut child = match self.spawn() {
            Ok(child) => child,
            Err(error) => {
                self.log.line(&format!("{} does not start: {error}", self.watch.program.display()));
                return Exit::now(None);
            }
        };
        self.tell(child.id());
        let mut bounds = interval(BOUND_EVERY);
        bounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Cancel safe: a child's end, signals and ticks, which are waited for again.
            tokio::select! {
                status = child.wait() => return Exit::now(Some(status.unwrap_or_else(|_| lost()))),
                signal = self.signals.recv() => self.hand_on(signal, &child),
                _ = bounds.tick() => {
                    if let Err(error) = self.log.bound() {
                        self.log.line(&format!("the log could not be rotated: {error}"));
                    }
                }
            }
        }
    }

    fn spawn(&self) -> io::Result<Child> {
        let log = self.log.open()?;
        Command::new(&self.watch.program)
            .arg("run")
            .arg(&self.watch.config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
    }

    fn hand_on(&mut self, signal: Signal, child: &Child) {
        self.is_stopping |= signal != Signal::HUP;
        // It has a number until its end was taken note of.
        let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(Err(error)) = pid.map(|pid| kill_process(pid, signal)) {
            self.log.line(&format!("a signal was not handed on: {error}"));
        }
    }

    /// Waits, unless it is told to end.
    async fn rest(&mut self, wait: Duration) {
        let over = sleep(wait);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return,
                // The next host reads the configuration anyway.
                signal = self.signals.recv() => if signal != Signal::HUP {
                    self.is_stopping = true;
                    return;
                },
            }
        }
    }

    /// Writes down which host there is. A disk that is full is no reason to stop watching.
    fn tell(&mut self, host: Option<u32>) {
        self.record.host = host;
        self.record.since = Timestamp::now().to_string();
        let written = self.record.write(&self.watch.data_dir.join(RECORD_FILE));
        if let Err(error) = self.pid_file.write(host).and(written) {
            self.log.line(&format!("the state of the host could not be written down: {error}"));
        }
    }
}

/// How a child ended whose end cannot be learnt: not well.
fn lost() -> ExitStatus {
    ExitStatus::from_raw(0xff00)
}
