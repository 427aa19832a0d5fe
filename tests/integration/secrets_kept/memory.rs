//! What is in the memory of a host stays there: no core file, no other process of its user. What that must not break goes on.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::chown;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use bothost::admin::client::Client;
use harness::process::{Process, ProcessHome};
use harness::telegram::FakeTelegram;
use harness::{eventually, guests};
use rustix::process::{Pid, Resource, Rlimit, Signal};

use super::{PROGRAM, skipped};

/// Longer than any step takes; reached only by a failing test.
const WITHIN: Duration = Duration::from_secs(60);
/// Somebody who is not the administrator.
const NOBODY: u32 = 65_534;
const OPEN: &str = "[host]\ncore_dumps = true\n";

/// Returns a home of the bot `ledger`, which hears a Telegram bot of this token.
fn home(platform: &FakeTelegram, token: &str) -> ProcessHome {
    ProcessHome::new(PROGRAM, &connector(platform, token))
        .with("ledger.wasm", &guests::guest("ledger"))
        .warmed_by(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-for-crashes"))
}

fn connector(platform: &FakeTelegram, token: &str) -> String {
    format!(
        "[connectors.tg]\ntype = \"telegram\"\ntoken = \"{token}\"\napi_url = \"{}\"\npoll_timeout = \"1s\"\n",
        platform.url()
    )
}

/// Kills a process as a fault of its own would, and waits for its end.
async fn kill(process: &mut Process, signal: Signal) -> ExitStatus {
    let deadline = tokio::time::Instant::now() + WITHIN;
    loop {
        if let Some(status) = process.ended() {
            return status;
        }
        // Once may not do: whoever looks for faults of guests takes one that comes again for serious only.
        process.signal(signal);
        assert!(tokio::time::Instant::now() < deadline, "the process runs on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn pid(process: &Process) -> Pid {
    Pid::from_raw(process.id().unwrap().try_into().unwrap()).unwrap()
}

/// Gives a process leave for core files of any size; or says why not.
fn allow_core_files(process: &Process) -> Result<(), String> {
    let unlimited = Rlimit { current: None, maximum: None };
    let limit = rustix::process::prlimit(Some(pid(process)), Resource::Core, unlimited);
    limit.map(drop).map_err(|error| format!("no limit can be lifted: {error}"))
}

/// Starts the host, gives it leave for core files, kills it as a fault of its own would, and returns how it ended.
async fn crashed(home: &mut ProcessHome, variables: &[(&str, &str)], signal: Signal) -> Result<ExitStatus, String> {
    let mut process = home.start(variables);
    process.serving("ledger").await;
    allow_core_files(&process)?;
    Ok(kill(&mut process, signal).await)
}

/// Returns the core files in a directory.
fn core_files(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).unwrap().flatten();
    files.filter(|file| file.file_name().to_string_lossy().starts_with("core")).map(|file| file.path()).collect()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f093_a_host_that_crashes_leaves_no_core_file_unless_it_may() {
    let test = "f093_a_host_that_crashes_leaves_no_core_file_unless_it_may";
    let token = "4242:never-in-a-core-file";
    let platform = FakeTelegram::start(token).await;
    let mut home = home(&platform, token);
    for signal in [Signal::SEGV, Signal::ABORT] {
        let status = match crashed(&mut home, &[], signal).await {
            Ok(status) => status,
            Err(why) => return skipped(test, &why),
        };
        assert_eq!(status.signal(), Some(signal.as_raw()));
        assert!(!status.core_dumped() && core_files(home.path()).is_empty(), "{status:?}");
    }
    let status = crashed(&mut home, &[("BOTHOST__HOST__CORE_DUMPS", "true")], Signal::SEGV).await.unwrap();
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    if !status.core_dumped() {
        return skipped(test, &format!("this machine writes no core files: core_pattern is {}", pattern.trim()));
    }
    // What makes the test worth something: this is where the token would have been.
    match &core_files(home.path())[..] {
        [core] => assert!(contains(&fs::read(core).unwrap(), token)),
        _ => skipped(test, &format!("core files go elsewhere: core_pattern is {}", pattern.trim())),
    }
}

/// The writable memory of a process that is no file's and not too large to look through: where what it allocated is. None where that is
/// not permitted.
fn memory(process: &Process) -> Option<Vec<u8>> {
    const REGION_BYTES_MAX: u64 = 256 << 20;
    let id = process.id().unwrap();
    let maps = fs::read_to_string(format!("/proc/{id}/maps")).ok()?;
    let mut memory = File::open(format!("/proc/{id}/mem")).ok()?;
    let mut all = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().unwrap(), words.next().unwrap());
        let is_of_file = words.nth(2).is_some_and(|inode| inode != "0");
        let (from, to) = range.split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        if !rights.starts_with("rw") || is_of_file || to - from > REGION_BYTES_MAX {
            continue;
        }
        let mut region = vec![0; usize::try_from(to - from).unwrap()];
        memory.seek(SeekFrom::Start(from)).ok()?;
        // A region may be gone by now.
        if memory.read_exact(&mut region).is_ok() {
            all.extend(region);
        }
    }
    Some(all)
}

/// Returns how often a token is in memory: in texts of a configuration, in requests, and by itself.
fn found(memory: &[u8], token: &str) -> [usize; 3] {
    let mut found = [0; 3];
    for at in (0..memory.len().saturating_sub(token.len())).filter(|at| memory[*at..].starts_with(token.as_bytes())) {
        let before = &memory[at.saturating_sub(4)..at];
        let kind = match before {
            _ if before.ends_with(b"\"") => 0,
            b"/bot" => 1,
            _ => 2,
        };
        found[kind] += 1;
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_was_replaced_is_wiped_where_it_was_used() {
    let test = "a_token_that_was_replaced_is_wiped_where_it_was_used";
    let (old, new) = ("4242:the-one-that-was-replaced", "4343:the-one-that-came-after");
    let (before, after) = (FakeTelegram::start(old).await, FakeTelegram::start(new).await);
    let mut home = home(&before, old);
    // Otherwise only the administrator could look.
    let mut process = home.start(&[("BOTHOST__HOST__CORE_DUMPS", "true")]);
    process.serving("ledger").await;
    eventually(WITHIN, "the old token is used", || before.calls_len().checked_sub(1)).await;
    let Some(then) = memory(&process) else { return skipped(test, "no memory of others can be read here") };
    let config = home.path().join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace(&connector(&before, old), &connector(&after, new))).unwrap();
    eventually(WITHIN, "the new token is used", || after.calls_of("getUpdates").len().checked_sub(1)).await;
    let now = memory(&process).unwrap();
    let ([_, _, used], [texts, requests, left]) = (found(&then, old), found(&now, old));
    eprintln!("{test}: {texts} copies are left in texts of the configuration, {requests} in requests");
    assert!(used > 0, "it was there");
    assert_eq!(left, 0);
    process.stop().await;
}

/// A home that somebody else than the administrator has a host in.
struct Other {
    dir: tempfile::TempDir,
    program: PathBuf,
    is_root: bool,
}

impl Other {
    fn new(config: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let is_root = rustix::process::geteuid().is_root();
        fs::write(dir.path().join("config.toml"), format!("{config}[limits]\nmemory = \"1MiB\"\n")).unwrap();
        fs::create_dir(dir.path().join("bots")).unwrap();
        let mut program = PathBuf::from(PROGRAM);
        if is_root {
            // Where the build is, others may have no business.
            program = dir.path().join("host");
            fs::hard_link(PROGRAM, &program).or_else(|_| fs::copy(PROGRAM, &program).map(drop)).unwrap();
            for path in [dir.path(), &dir.path().join("bots"), &dir.path().join("config.toml")] {
                chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        let other = Self { dir, program, is_root };
        let works = other.command(&["true"]).status().is_ok_and(|status| status.success());
        works.then_some(other)
    }

    /// Returns a command that this user gives.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = match self.is_root {
            true => Command::new("setpriv"),
            false => Command::new("env"),
        };
        if self.is_root {
            command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".to_owned()]);
        }
        command.args(words).current_dir(self.dir.path()).env("HOME", self.dir.path()).stdin(Stdio::null());
        command
    }

    /// Runs a verb of the program to its end, and returns whether it went well, and what it said.
    fn host(&self, arguments: &[&str]) -> (bool, String) {
        let words: Vec<_> = [self.program.to_str().unwrap()].into_iter().chain(arguments.iter().copied()).collect();
        self.run(&words)
    }

    fn run(&self, words: &[&str]) -> (bool, String) {
        let Output { status, stdout, stderr } = self.command(words).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        (status.success(), said)
    }
}

/// A child that does not outlive its test.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn f093_its_own_user_cannot_read_the_memory_of_a_host_and_can_still_look_after_it() {
    let test = "f093_its_own_user_cannot_read_the_memory_of_a_host_and_can_still_look_after_it";
    for (config, is_open) in [("[host]\n", false), (OPEN, true)] {
        let config = format!("{config}instances = 4\n");
        let Some(other) = Other::new(&config) else { return skipped(test, "there is no setpriv") };
        let words = [other.program.to_str().unwrap(), "run", "config.toml"];
        let said = File::create(other.dir.path().join("said")).unwrap();
        let mut child = Guard(other.command(&words).stderr(said).spawn().unwrap());
        let ready = || {
            let (is_good, said) = other.host(&["status", "config.toml", "--json"]);
            let status: serde_json::Value = serde_json::from_str(&said).ok()?;
            (is_good && status["health"] == "ok").then_some(status)
        };
        let status = eventually(WITHIN, "the host is ready", ready).await;
        // What the verbs find out of its process.
        assert_eq!(status["pid"], child.0.id());
        assert_eq!(status["mode"], "foreground");
        assert!(status["memory_bytes"].as_u64().unwrap() > 1 << 20, "{status}");
        let (_, again) = other.host(&["run", "config.toml"]);
        assert!(again.contains(&child.0.id().to_string()), "a second host is told who the first is: {again}");
        // What it finds out of itself.
        let client = Client::new(other.dir.path().join("data/admin.sock"));
        let figures = client.get("/health/metrics").await.unwrap();
        let figure = |name: &str| figures["metrics"][format!("bothost_{name}")].as_f64();
        assert!(figure("process_open_files") > Some(5.0), "{figures}");
        assert!(figure("process_resident_bytes") > Some(1e6), "{figures}");
        for file in ["environ", "mem", "fd"] {
            let path = format!("/proc/{}/{file}", child.0.id());
            let read = match file {
                "fd" => other.run(&["ls", &path]).0,
                _ => other.run(&["sh", "-c", &format!("exec 3<{path}")]).0,
            };
            assert_eq!(read, is_open, "{path}");
        }
        let (is_stopped, said) = other.host(&["stop", "config.toml"]);
        assert!(is_stopped, "{said}");
        assert!(child.0.wait().unwrap().success());
    }
}
