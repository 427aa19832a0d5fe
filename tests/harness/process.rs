//! A host as a process of its own, `host run CONFIG`, that can be killed and started again on the same home. What it writes
//! to standard error is shown where a test fails.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bothost::admin::client::{Client, ClientError};
use http::StatusCode;
use rustix::process::{Pid, Resource, Rlimit, Signal};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::host::{PATIENCE, put};

/// How often a process is looked at that comes about by itself.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// What a failed test shows of standard error: this many lines of this many processes, the last ones.
const LINES_SHOWN: usize = 40;
const PROCESSES_SHOWN: usize = 3;

/// What every process' configuration begins with; a test's own text comes after it. Its sections must be others.
const BASE: &str = r#"
[host]
data_dir = "data"
bots_dir = "bots"
watch_settle = "10ms"
instances = 16
drain_timeout = "10s"
"#;

/// A directory with all that a host has. Outlives its processes, one at a time.
#[derive(Debug)]
pub struct ProcessHome {
    dir: tempfile::TempDir,
    program: PathBuf,
    warmed: Option<PathBuf>,
    starts: usize,
    disk: Option<SmallDisk>,
}

/// A disk of its own for the data directory, there for one process and gone with it.
#[derive(Debug, Clone, Copy)]
pub struct SmallDisk {
    /// Its size.
    pub bytes: u64,
    /// Whether there is no room from the start on, but for what an earlier process has left.
    pub is_full: bool,
}

impl SmallDisk {
    /// Returns whether this machine lets its user have one.
    pub fn is_possible() -> bool {
        let tried = std::process::Command::new("unshare")
            .args(["-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"])
            .stderr(Stdio::null())
            .status();
        tried.is_ok_and(|status| status.success())
    }

    /// Returns what makes it over `data`, in a mount namespace of its own, and then becomes what is given as its arguments.
    fn script(self) -> String {
        let Self { bytes, is_full } = self;
        let fill =
            "echo 1 >data/lock; fallocate -l $((BYTES / 8)) data/ballast; cat /dev/zero >data/filler 2>/dev/null;";
        let fill = if is_full { fill } else { "" };
        format!(
            "set -e; BYTES={bytes}; cp -a data before; mount -t tmpfs -o size=$BYTES,mode=700 tmpfs data; cp -a before/. data/; \
             set +e; {fill} exec \"$@\""
        )
    }
}

impl ProcessHome {
    /// Makes a home for the program `host`; `config` is what stands in the configuration beside the base.
    pub fn new(program: impl Into<PathBuf>, config: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join("bots")).expect("the bots' directory");
        fs::write(dir.path().join("config.toml"), format!("{BASE}{config}")).expect("the configuration");
        Self { dir, program: program.into(), warmed: None, starts: 0, disk: None }
    }

    /// Puts a file into the bots' directory, whole.
    pub fn with(self, file: &str, content: &[u8]) -> Self {
        put(&self.dir.path().join("bots"), file, content);
        self
    }

    /// Begins with the compiled components in the directory `warmed`, and leaves there what is compiled here: homes of the same
    /// bots spare each other a minute of compiling. The host checks what it loads.
    pub fn warmed_by(mut self, warmed: impl Into<PathBuf>) -> Self {
        let (warmed, cache) = (warmed.into(), self.cache());
        fs::create_dir_all(&warmed).expect("a directory for compiled components");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&cache).expect("the cache");
        copy_components(&warmed, &cache);
        self.warmed = Some(warmed);
        self
    }

    /// Gives the data directory a disk of its own, with what is in the directory by now; for one start.
    pub fn on(mut self, disk: SmallDisk) -> Self {
        self.disk = Some(disk);
        self
    }

    /// Returns the directory that everything is in.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the directory of the host's own files.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Returns what the newest process has written to its standard error stream so far; after its end, all of it.
    pub fn said(&self) -> String {
        text_of(&self.stderr(self.starts))
    }

    fn stderr(&self, start: usize) -> PathBuf {
        self.dir.path().join(format!("stderr-{start}"))
    }

    fn cache(&self) -> PathBuf {
        self.data().join("cache")
    }

    /// Starts a process with these variables in its environment. The one before must have ended.
    pub fn start(&mut self, variables: &[(&str, &str)]) -> Process {
        self.start_under(&[], variables)
    }

    /// Starts a process as [`ProcessHome::start`] does, by a program that becomes it, such as `strace -D`.
    pub fn start_under(&mut self, program: &[&str], variables: &[(&str, &str)]) -> Process {
        // A core file for each of a hundred processes that die on purpose fills a disk.
        rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), ..core_limit() }).ok();
        self.starts += 1;
        let stderr = self.stderr(self.starts);
        let script = self.disk.map(SmallDisk::script);
        let shell = script.as_deref().map_or(vec![], |script| vec!["unshare", "-rm", "sh", "-c", script, "sh"]);
        let mut words =
            shell.into_iter().chain(program.iter().copied()).map(OsStr::new).chain([self.program.as_os_str()]);
        let child = Command::new(words.next().unwrap_or_default())
            .args(words)
            .arg("run")
            .arg("config.toml")
            .current_dir(self.dir.path())
            .env_remove("CRASH_AT")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&stderr).expect("a file for standard error"))
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        // Where the process has a disk of its own, it is seen through the process only.
        let data = match (self.disk, child.id()) {
            (Some(_), Some(id)) => {
                let data = self.data();
                Path::new(&format!("/proc/{id}/root")).join(data.strip_prefix("/").unwrap_or(&data))
            }
            _ => self.data(),
        };
        let client = Client::new(data.join("admin.sock"));
        Process { child, stderr, client, cache: self.cache(), warmed: self.warmed.clone(), data }
    }
}

impl Drop for ProcessHome {
    #[expect(clippy::print_stderr, reason = "a failed test shows what the hosts said")]
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for start in 1 + self.starts.saturating_sub(PROCESSES_SHOWN)..=self.starts {
            let text = text_of(&self.stderr(start));
            let lines: Vec<_> = text.lines().collect();
            let shown = &lines[lines.len().saturating_sub(LINES_SHOWN)..];
            eprintln!("--- process {start} of {} said, at last:\n{}\n---", self.starts, shown.join("\n"));
        }
    }
}

fn text_of(stderr: &Path) -> String {
    String::from_utf8_lossy(&fs::read(stderr).unwrap_or_default()).into_owned()
}

fn core_limit() -> Rlimit {
    rustix::process::getrlimit(Resource::Core)
}

/// Copies compiled components that are not there yet. Another process may do the same at the same moment.
pub(crate) fn copy_components(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        // The code and the sum that vouches for it. What is unfinished is its own host's.
        if path.extension().is_some_and(|extension| extension != "tmp") && !target.exists() {
            let unfinished = to.join(format!("{:016x}.tmp", fastrand::u64(..)));
            let copied = fs::copy(&path, &unfinished).and_then(|_| fs::rename(&unfinished, &target));
            copied.unwrap_or_else(|error| panic!("{} to {}: {error}", path.display(), to.display()));
        }
    }
}

/// A process that runs, or has ended by itself. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stderr: PathBuf,
    client: Client,
    cache: PathBuf,
    warmed: Option<PathBuf>,
    data: PathBuf,
}

impl Process {
    /// Waits until the host is ready and a bot serves. Panics where the process ends instead.
    pub async fn serving(&mut self, bot: &str) {
        let deadline = Instant::now() + PATIENCE;
        let path = format!("/api/v1/bots/{bot}");
        loop {
            let is_ready = self.client.get("/health/ready").await.is_ok();
            if is_ready && self.client.get(&path).await.is_ok_and(|bot| bot["phase"] == "running") {
                break;
            }
            if let Some(status) = self.ended() {
                panic!("the host ended before {bot} served: {status}");
            }
            assert!(Instant::now() < deadline, "{bot} does not serve within {PATIENCE:?}");
            sleep(LOOK_EVERY).await;
        }
        if let Some(warmed) = &self.warmed {
            copy_components(&self.cache, warmed);
        }
    }

    /// Returns the process' number; none where it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Returns the directory of the host's own files, as the process sees it.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Returns how the process ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours")
    }

    /// Asks the host for a path of its API; none where there is no such path.
    pub async fn ask(&self, path: &str) -> Option<Value> {
        match self.client.get(path).await {
            Ok(value) => Some(value),
            Err(ClientError::Refused { status: StatusCode::NOT_FOUND, .. }) => None,
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// Returns what the host says of its health, and nothing where it says that it is not well at all.
    pub async fn health(&self) -> Option<Value> {
        match self.client.get("/health").await {
            Ok(value) => Some(value),
            Err(ClientError::Refused { status: StatusCode::SERVICE_UNAVAILABLE, .. }) => None,
            Err(error) => panic!("/health: {error}"),
        }
    }

    /// Returns the value of a metric whose exposition line begins with `series`; 0 where it is not there.
    pub async fn metric(&self, series: &str) -> f64 {
        let mut socket = UnixStream::connect(self.data.join("admin.sock")).await.expect("the host listens");
        let ask = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        socket.write_all(ask.as_bytes()).await.expect("the host reads");
        let mut text = String::new();
        socket.read_to_string(&mut text).await.expect("the host answers");
        let line = text.lines().find(|line| line.starts_with(series));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }

    /// Waits until a metric has at least this value, and returns it.
    pub async fn metric_reaches(&self, series: &str, value: f64) -> f64 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.metric(series).await;
            if now >= value {
                return now;
            }
            assert!(Instant::now() < deadline, "{series} is {now}, not {value}, after {PATIENCE:?}");
            sleep(LOOK_EVERY).await;
        }
    }

    /// Kills the process as `kill -9` does, and waits for its end.
    pub async fn kill(mut self) {
        // Fails where it has ended already; whoever kills does not mind.
        self.child.start_kill().ok();
        self.end().await;
    }

    /// Waits until the process has aborted at its failpoint.
    pub async fn aborted(mut self, failpoint: &str) {
        let status = self.end().await;
        let is_abort = status.signal() == Some(Signal::ABORT.as_raw());
        let is_meant = self.said().contains(&format!("CRASH_AT: {failpoint} reached"));
        assert!(is_abort && is_meant, "it did not die of {failpoint}: {status}");
    }

    /// Sends the process a signal.
    pub fn signal(&self, signal: Signal) {
        let id = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let id = id.unwrap_or_else(|| panic!("the host ended before it was told to"));
        rustix::process::kill_process(id, signal).expect("a child of ours");
    }

    /// Stops the process as an operator does, and waits for its end, which must be a good one.
    pub async fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.end().await;
        assert!(status.success(), "the host did not stop well: {status}");
    }

    /// Waits for the process to refuse the start, and returns what it says.
    pub async fn refused(self) -> String {
        self.refused_with().await.1
    }

    /// Waits for the process to refuse the start, and returns its exit code and what it says.
    pub async fn refused_with(mut self) -> (i32, String) {
        let status = self.end().await;
        let code = status.code().filter(|code| *code != 0);
        (code.unwrap_or_else(|| panic!("it should have refused to start: {status}")), self.said())
    }

    /// Returns what the process has written to standard error so far.
    pub fn said(&self) -> String {
        text_of(&self.stderr)
    }

    async fn end(&mut self) -> ExitStatus {
        let ended = timeout(PATIENCE, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("the process runs on after {PATIENCE:?}")).expect("a child of ours")
    }
}
