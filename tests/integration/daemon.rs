//! The host as a daemon: started, brought back, stopped, told of; and what systemd is told. With the program itself.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use bothost::daemon::Found;
use bothost::daemon::process::Process;
use harness::eventually;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// Longer than any step takes; reached only by a failing test.
const WITHIN: Duration = Duration::from_secs(30);
/// A host without bots and connectors is up and down in no time.
const CONFIG: &str = "[host]\ndrain_timeout = \"1s\"\ninstances = 4\n";

/// A directory with a configuration. Whatever runs in it is killed when the test ends, however it does.
struct Home(TempDir);

impl Home {
    fn new(config: &str) -> Self {
        let dir = TempDir::new().expect("a directory");
        fs::create_dir(dir.path().join("bots")).expect("a directory");
        fs::write(dir.path().join("config.toml"), config).expect("a file");
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
        command.args(arguments).current_dir(self.0.path());
        for variable in ["CRASH_AT", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            command.env_remove(variable);
        }
        command
    }

    /// Runs a verb to its end, and returns its exit code and all that it said.
    fn host(&self, arguments: &[&str]) -> (i32, String) {
        let Output { status, stdout, stderr } = self.command(arguments).output().expect("the program runs");
        let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        (status.code().expect("an exit code"), said)
    }

    #[track_caller]
    fn does(&self, arguments: &[&str]) -> String {
        let (code, said) = self.host(arguments);
        assert_eq!(code, 0, "host {}: {said}\n{}", arguments.join(" "), self.log());
        said
    }

    fn status(&self) -> Value {
        let (_, said) = self.host(&["status", "config.toml", "--json"]);
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    async fn status_when(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        eventually(WITHIN, what, || Some(self.status()).filter(&is_so)).await
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("data/daemon.log")).unwrap_or_default()
    }

    fn found(&self) -> Found {
        Found::look(&self.path("data")).expect("processes that can be looked at")
    }

    /// Starts the host in the foreground.
    fn run(&self, variables: &[(&str, &str)]) -> Guard {
        let mut command = self.command(&["run", "config.toml"]);
        command.envs(variables.iter().copied()).stdin(Stdio::null()).stderr(Stdio::null());
        Guard(command.spawn().expect("the program starts"))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // The parent first, so that it brings nothing back.
        for _ in 0..2 {
            let Ok(found) = Found::look(&self.path("data")) else { return };
            for process in found.watcher.iter().chain(&found.host) {
                let _ = process.signal(Signal::KILL);
            }
        }
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

fn process(status: &Value, key: &str) -> Process {
    let pid = status[key].as_u64().unwrap_or_else(|| panic!("no {key}: {status}"));
    Process::open(pid.try_into().unwrap()).unwrap().unwrap_or_else(|| panic!("{key} is gone: {status}"))
}

#[tokio::test]
async fn a_daemon_that_is_killed_is_brought_back_and_one_that_is_stopped_is_gone() {
    let home = Home::new(CONFIG);
    let said = home.does(&["start", "config.toml"]);
    assert!(said.contains("is ready"), "{said}");
    let status = home.status();
    assert_eq!((&status["mode"], &status["health"], &status["restarts"]), (&"watched".into(), &"ok".into(), &0.into()));
    assert!(status["memory_bytes"].as_u64().unwrap() > 1 << 20, "{status}");
    let (first, watcher) = (process(&status, "pid"), process(&status, "watcher_pid"));

    first.signal(Signal::KILL).unwrap();
    first.ended().await.unwrap();
    let is_back = |status: &Value| status["health"] == "ok" && status["restarts"] == 1;
    let status = home.status_when("the host is back", is_back).await;
    assert_eq!((&status["last_exit"]["signal"], &status["last_exit"]["code"]), (&9.into(), &Value::Null));
    assert_ne!(status["pid"], first.pid());
    let told = home.does(&["status", "config.toml"]);
    assert!(told.contains("last exit  signal 9"), "{told}");

    let second = process(&status, "pid");
    home.does(&["stop", "config.toml"]);
    for gone in [second, watcher] {
        tokio::time::timeout(WITHIN, gone.ended()).await.expect("it has ended").unwrap();
    }
    assert!(!home.path("data/host.pid").exists());
    let (code, said) = home.host(&["status", "config.toml"]);
    assert!(code == 69 && said.starts_with("no host runs in "), "{code}: {said}");
}

#[tokio::test]
async fn a_second_start_is_refused_with_the_number_of_the_first() {
    let home = Home::new(CONFIG);
    home.does(&["start", "config.toml"]);
    let pid = home.status()["pid"].to_string();
    let (code, said) = home.host(&["start", "config.toml"]);
    assert!(code == 1 && said.contains("runs in") && said.contains(&pid), "{code}: {said}");
    assert_eq!(home.status()["pid"].to_string(), pid, "the first goes on");
    home.does(&["stop", "config.toml"]);
}

#[test]
fn there_is_nothing_to_stop_where_nothing_runs_and_a_stale_file_is_nothing() {
    let home = Home::new(CONFIG);
    assert_eq!(home.host(&["stop", "config.toml"]).0, 69);
    // Numbers of a process that lives and is no host.
    fs::create_dir(home.path("data")).unwrap();
    for name in ["data/host.pid", "data/lock"] {
        fs::write(home.path(name), format!("{}\n", std::process::id())).unwrap();
    }
    let (code, said) = home.host(&["stop", "config.toml"]);
    assert!(code == 69 && said.contains("no host runs in"), "{code}: {said}");
    assert_eq!(home.status()["mode"], "stopped");
}

#[tokio::test]
async fn a_host_in_the_foreground_is_told_of_and_stopped_and_not_restarted() {
    let home = Home::new(CONFIG);
    let mut host = home.run(&[]);
    let status = home.status_when("the host is up", |status| status["health"] == "ok").await;
    assert_eq!((&status["mode"], &status["pid"]), (&"foreground".into(), &host.0.id().into()));
    let (code, said) = home.host(&["restart", "config.toml"]);
    assert!(code == 1 && said.contains("was not started by `host start`"), "{code}: {said}");
    home.does(&["stop", "config.toml"]);
    assert!(host.0.wait().unwrap().success(), "it drained");
}

#[tokio::test]
async fn a_host_goes_on_without_its_watching_parent_and_can_be_stopped() {
    let home = Home::new(CONFIG);
    home.does(&["start", "config.toml"]);
    let status = home.status();
    let (host, watcher) = (process(&status, "pid"), process(&status, "watcher_pid"));
    watcher.signal(Signal::KILL).unwrap();
    watcher.ended().await.unwrap();
    let status = home.status();
    assert_eq!((&status["mode"], &status["pid"]), (&"unwatched".into(), &host.pid().into()));
    assert!(home.does(&["status", "config.toml"]).contains("by nobody"));
    home.does(&["stop", "config.toml"]);
    tokio::time::timeout(WITHIN, host.ended()).await.expect("it has ended").unwrap();
}

#[tokio::test]
async fn a_host_that_does_not_stop_is_killed_and_not_brought_back() {
    let home = Home::new(CONFIG);
    home.does(&["start", "config.toml"]);
    let status = home.status();
    let (host, watcher) = (process(&status, "pid"), process(&status, "watcher_pid"));
    host.signal(Signal::STOP).unwrap();
    let said = home.does(&["stop", "config.toml", "--timeout", "100ms"]);
    assert!(said.contains("was killed"), "{said}");
    for gone in [host, watcher] {
        tokio::time::timeout(WITHIN, gone.ended()).await.expect("it has ended").unwrap();
    }
    assert_eq!(home.status()["mode"], "stopped");
}

#[tokio::test]
async fn a_watching_parent_that_does_not_react_is_killed_with_its_host() {
    let home = Home::new(CONFIG);
    home.does(&["start", "config.toml"]);
    let status = home.status();
    let (host, watcher) = (process(&status, "pid"), process(&status, "watcher_pid"));
    watcher.signal(Signal::STOP).unwrap();
    home.does(&["stop", "config.toml", "--timeout", "100ms"]);
    for gone in [host, watcher] {
        tokio::time::timeout(WITHIN, gone.ended()).await.expect("it has ended").unwrap();
    }
    assert!(!home.path("data/host.pid").exists());
    assert_eq!(home.status()["mode"], "stopped");
}

#[tokio::test]
async fn a_host_that_keeps_ending_is_given_up_and_that_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("{CONFIG}[admin]\nlisten = \"{}\"\n", taken.local_addr().unwrap());
    let home = Home::new(&listen);
    fs::create_dir(home.path("data")).unwrap();
    let watch = ["watch", "--data-dir", "data", "--backoff-initial-ms", "1", "config.toml"];
    let (code, _) = home.host(&watch);
    assert_eq!(code, 1);
    let status = home.status();
    assert_eq!((&status["gave_up"], &status["restarts"], &status["running"]), (&true.into(), &5.into(), &false.into()));
    assert_eq!(status["last_exit"]["code"], 1);
    assert!(home.log().contains("ended too often"), "{}", home.log());
    assert!(home.host(&["status", "config.toml"]).1.contains("gave up"));
}

#[test]
fn a_host_that_does_not_come_up_is_not_tried_again_behind_the_operators_back() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let home = Home::new(&format!("{CONFIG}[admin]\nlisten = \"{}\"\n", taken.local_addr().unwrap()));
    let (code, said) = home.host(&["start", "config.toml"]);
    assert!(code == 1 && said.contains("cannot listen on `[admin] listen`"), "{code}: {said}");
    let found = home.found();
    assert!(found.host.is_none() && found.watcher.is_none());
}

#[tokio::test]
async fn a_restart_takes_the_new_configuration_or_leaves_the_old_host_alone() {
    let home = Home::new(CONFIG);
    let (code, _) = home.host(&["start", "none.toml"]);
    assert_eq!(code, 64);
    home.does(&["start", "config.toml"]);
    let before = home.status()["pid"].clone();
    fs::write(home.path("config.toml"), format!("{CONFIG}nonsense = 1\n")).unwrap();
    let (code, said) = home.host(&["restart", "config.toml"]);
    assert!(code == 64 && said.contains("nonsense"), "{code}: {said}");
    let status = home.status();
    assert_eq!((&status["pid"], &status["mode"]), (&before, &"watched".into()));
    let mistake = status["config_error"].as_str().unwrap_or_default();
    assert!(mistake.contains("nonsense"), "the host is found beside a mistake, which is told: {status}");
    fs::write(home.path("config.toml"), CONFIG).unwrap();
    home.does(&["restart", "config.toml"]);
    let after = home.status();
    assert!(after["health"] == "ok" && after["pid"] != before, "{after}");
    // What was mended can break again before the stop, which needs none of it.
    fs::write(home.path("config.toml"), format!("{CONFIG}nonsense = 1\n")).unwrap();
    home.does(&["stop", "config.toml"]);
}

#[tokio::test]
async fn a_bot_is_asked_for_at_the_host_that_runs() {
    let home = Home::new(CONFIG);
    for verb in ["start", "stop", "restart"] {
        let (code, said) = home.host(&[verb, "echo"]);
        assert!(code == 69 && said.contains("no host is running"), "{verb}: {code}: {said}");
    }
    let _host = home.run(&[]);
    home.status_when("the host is up", |status| status["health"] == "ok").await;
    let (code, said) = home.host(&["restart", "nobody"]);
    assert!(code == 1 && said.contains("/api/v1/bots/nobody/restart"), "{code}: {said}");
}

#[tokio::test]
async fn systemd_hears_that_the_host_is_ready_lives_and_stops_in_this_order() {
    let home = Home::new(CONFIG);
    let path = home.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    // A part that hangs is the watchdog's own test; here the host lives, and says so many times.
    let mut host = home.run(&[("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "200000")]);
    let heard = Heard(socket);
    assert_eq!(heard.next().await, "READY=1\nSTATUS=ready\n");
    for _ in 0..5 {
        assert_eq!(heard.next().await, "WATCHDOG=1\n");
    }
    home.does(&["stop", "config.toml"]);
    let mut last = heard.next().await;
    while last == "WATCHDOG=1\n" {
        last = heard.next().await;
    }
    assert_eq!(last, "STOPPING=1\nSTATUS=stopping\n");
    assert!(host.0.wait().unwrap().success());
}

/// What a service manager hears.
struct Heard(UnixDatagram);

impl Heard {
    async fn next(&self) -> String {
        let receive = || {
            let mut bytes = [0; 4096];
            let length = self.0.recv(&mut bytes).ok()?;
            Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
        };
        eventually(WITHIN, "a word to the service manager", receive).await
    }
}

#[test]
fn the_unit_that_is_printed_is_one_that_systemd_takes() {
    let home = Home::new(CONFIG);
    let unit = home.does(&["systemd-unit", "config.toml", "--user", "root"]);
    assert!(unit.contains(&format!("ExecStart={}", env!("CARGO_BIN_EXE_host"))), "{unit}");
    let path = home.path("bothost.service");
    fs::write(&path, &unit).unwrap();
    let Some(said) = verified("the_unit_that_is_printed_is_one_that_systemd_takes", &path) else { return };
    let about_it: Vec<_> = said.lines().filter(|line| line.contains("bothost.service")).collect();
    assert!(about_it.is_empty(), "{said}\n{unit}");
}

/// Returns what `systemd-analyze verify` says of a unit; none, and a word about it, where there is no such program.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn verified(test: &str, unit: &Path) -> Option<String> {
    match Command::new("systemd-analyze").arg("verify").arg("--man=no").arg(unit).output() {
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => {
            eprintln!("SKIPPED {test}: systemd-analyze: {error}");
            None
        }
    }
}
