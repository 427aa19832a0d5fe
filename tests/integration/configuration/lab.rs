//! A host as a process of its own, with all that a test of its configuration does to it: files, the API, the command line. Every
//! secret of these tests has CANARY in it, and whatever is heard of the host is searched for it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use bothost::daemon::Found;
use bothost::host::ADMIN_SOCKET;
use harness::guests;
use harness::host::{eventually, put};
use harness::process::{Process, ProcessHome};
use harness::telegram::FakeTelegram;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Answer, PROGRAM, said};

/// The first lines of every configuration here. The files are looked at as soon as they change, and not often otherwise.
pub(super) const HOST: &str = "\
[host]
data_dir = \"data\"
bots_dir = \"bots\"
watch_settle = \"10ms\"
watch_rescan = \"60s\"
instances = 16
drain_timeout = \"10s\"
";

/// What the fake Telegram knows its bot by.
pub(super) const TOKEN: &str = "42:CANARY-telegram";

/// A home, and the process that runs there.
pub(super) struct Lab {
    home: ProcessHome,
    process: Option<Process>,
}

impl Lab {
    /// Lays out a configuration and the bots' directory.
    pub(super) fn new(config: &str, bots: &[(&str, &[u8])]) -> Self {
        let warmed = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-for-configuration");
        let home = ProcessHome::new(PROGRAM, "").warmed_by(warmed);
        let home = bots.iter().fold(home, |home, (file, content)| home.with(file, content));
        let lab = Self { home, process: None };
        lab.save(config);
        lab
    }

    /// The same, with a host that runs and whose bots, those that have a component of their name, serve.
    pub(super) async fn start(config: &str, bots: &[(&str, &[u8])]) -> Self {
        let mut lab = Self::new(config, bots);
        let names = bots.iter().filter_map(|(file, _)| file.strip_suffix(".wasm"));
        lab.resume(&names.collect::<Vec<_>>(), &[]).await;
        lab
    }

    /// Starts a process, and waits until it is ready, these bots serve, and what is in force is recorded.
    pub(super) async fn resume(&mut self, bots: &[&str], variables: &[(&str, &str)]) {
        let process = self.process.insert(self.home.start(variables));
        for bot in bots {
            process.serving(bot).await;
        }
        let is_recorded = || {
            let is_up = self.socket().exists() && self.look("/health/ready").is_some();
            (is_up && self.look("/api/v1/config").is_some()).then_some(())
        };
        eventually(is_recorded, || "the host is not up".to_owned()).await;
    }

    /// Starts a process, and waits for nothing.
    pub(super) fn begin(&mut self, variables: &[(&str, &str)]) {
        self.process = Some(self.home.start(variables));
    }

    /// Starts a process that does not come up, and returns its exit code and what it says.
    pub(super) async fn refuses_to_start(&mut self, variables: &[(&str, &str)]) -> (i32, String) {
        let (code, said) = self.home.start(variables).refused_with().await;
        without_secrets(&said);
        (code, said)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(super) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Replaces the configuration file, as an editor does.
    pub(super) fn save(&self, config: &str) {
        put(self.home.path(), "config.toml", config.as_bytes());
    }

    /// Replaces a file in the bots' directory.
    pub(super) fn put(&self, file: &str, content: &[u8]) {
        put(&self.path("bots"), file, content);
    }

    pub(super) fn process(&mut self) -> &mut Process {
        self.process.as_mut().unwrap()
    }

    fn socket(&self) -> PathBuf {
        self.path("data").join(ADMIN_SOCKET)
    }

    /// Asks with headers and a body.
    #[track_caller]
    pub(super) fn ask(&self, line: &str, headers: &[&str], body: &str) -> Answer {
        let stream = UnixStream::connect(self.socket()).unwrap();
        exchange(stream, line, headers, body).unwrap()
    }

    /// Asks for what is there, or is not, or a host that is not.
    fn look(&self, path: &str) -> Option<Answer> {
        let stream = UnixStream::connect(self.socket()).ok()?;
        exchange(stream, &format!("GET {path}"), &[], "").filter(|answer| answer.status == 200)
    }

    #[track_caller]
    pub(super) fn get(&self, path: &str) -> Value {
        let answer = self.ask(&format!("GET {path}"), &[], "");
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    /// Waits until an answer is as wanted.
    pub(super) async fn get_when(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let look = || self.look(path).map(|answer| answer.json()).filter(&is_so);
        eventually(look, || format!("{path}: {:?}", self.look(path).map(|answer| answer.body))).await
    }

    pub(super) fn bot(&self, name: &str) -> Value {
        self.get(&format!("/api/v1/bots/{name}"))
    }

    pub(super) async fn bot_when(&self, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        self.get_when(&format!("/api/v1/bots/{name}"), is_so).await
    }

    /// Waits until a bot serves what it should.
    pub(super) async fn serves(&self, name: &str) {
        let is_up = |bot: &Value| bot["phase"] == "running" || bot["phase"] == "probation";
        self.bot_when(name, |bot| bot["refused"].is_null() && is_up(bot)).await;
    }

    /// Returns the names of those bots that there are.
    pub(super) fn bots(&self) -> Vec<String> {
        let bots = self.get("/api/v1/bots");
        bots.as_array().unwrap().iter().map(|bot| bot["name"].as_str().unwrap().to_owned()).collect()
    }

    pub(super) async fn connector_when(&self, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let found = |all: &Value| all.as_array()?.iter().find(|connector| connector["name"] == name).cloned();
        let all = self.get_when("/api/v1/connectors", |all| found(all).is_some_and(|one| is_so(&one))).await;
        found(&all).unwrap()
    }

    /// Returns what the host's alert of this key says, if it is up.
    pub(super) fn alert(&self, key: &str) -> Option<String> {
        let alerts = self.get("/api/v1/alerts");
        let alert = alerts.as_array()?.iter().find(|alert| alert["key"] == key && alert["bot"].is_null())?;
        Some(alert["summary"].as_str()?.to_owned())
    }

    /// Waits until an alert of this key says this.
    pub(super) async fn alert_says(&self, key: &str, part: &str) -> String {
        let look = || self.alert(key).filter(|summary| summary.contains(part));
        eventually(look, || format!("{key} does not say {part:?}: {}", self.get("/api/v1/alerts"))).await
    }

    /// Waits until no alert of this key is up.
    pub(super) async fn alert_ends(&self, key: &str) {
        eventually(|| self.alert(key).is_none().then_some(()), || format!("{key}: {:?}", self.alert(key))).await;
    }

    /// Returns what `/health` says of the configuration.
    pub(super) fn degraded(&self) -> Vec<String> {
        let health = self.get("/health");
        let parts = health["degraded"].as_array().unwrap();
        let of_configuration = parts.iter().filter(|part| part["part"] == "configuration");
        of_configuration.map(|part| part["why"].as_str().unwrap().to_owned()).collect()
    }

    /// Returns the generations, the newest first.
    pub(super) fn versions(&self) -> Vec<Value> {
        self.get("/api/v1/config/versions").as_array().unwrap().clone()
    }

    pub(super) fn generation(&self) -> u64 {
        self.versions()[0]["generation"].as_u64().unwrap()
    }

    /// Waits until the newest generation has this in it.
    pub(super) async fn recorded(&self, part: &str) -> u64 {
        let look = |answer: &Value| answer.to_string().contains(part);
        let latest = self.get_when("/api/v1/config/versions/latest", look).await;
        latest["generation"].as_u64().unwrap()
    }

    /// Runs the command line, and returns its exit code and all that it says.
    pub(super) async fn host(&self, arguments: &[&str]) -> (i32, String) {
        self.host_with(arguments, &[]).await
    }

    pub(super) async fn host_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String) {
        let mut command = tokio::process::Command::new(PROGRAM);
        command.args(arguments).current_dir(self.home.path()).env_remove("CRASH_AT").envs(variables.iter().copied());
        let output = command.kill_on_drop(true).output().await.unwrap();
        let said = format!("{}{}", said(&output.stdout), said(&output.stderr));
        without_secrets(&said);
        (output.status.code().unwrap(), said)
    }

    /// Runs the command line, which must succeed, and returns what it says.
    pub(super) async fn told(&self, arguments: &[&str]) -> String {
        let (code, said) = self.host(arguments).await;
        assert_eq!(code, 0, "{arguments:?}: {said}");
        said
    }

    /// Waits until the process dies at its failpoint.
    pub(super) async fn dies_at(&mut self, failpoint: &str) {
        self.process.take().unwrap().aborted(failpoint).await;
    }

    /// Stops the host, and looks through all that it said while it ran.
    pub(super) async fn stop(&mut self) -> String {
        self.process.take().unwrap().stop().await;
        let heard = self.home.said();
        without_secrets(&heard);
        heard
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // One that was started as a daemon, where its test has failed: the parent first, so that it brings nothing back.
        for _ in 0..2 {
            let Ok(found) = Found::look(&self.path("data")) else { return };
            for process in found.watcher.iter().chain(&found.host) {
                let _ = process.signal(Signal::KILL);
            }
        }
    }
}

#[track_caller]
pub(super) fn without_secrets(text: &str) {
    assert!(!text.contains("CANARY"), "a secret is shown:\n{text}");
}

/// Sends one request and reads the whole answer; none where the other end is gone.
#[track_caller]
pub(super) fn exchange(
    mut stream: impl std::io::Read + std::io::Write,
    line: &str,
    headers: &[&str],
    body: &str,
) -> Option<Answer> {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = body.len();
    let head = format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n");
    // A body that is too long is not read to its end.
    let _ = stream.write_all(format!("{head}{headers}\r\n{body}").as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = said(&answer);
    without_secrets(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let tag = head.lines().find_map(|line| line.to_lowercase().strip_prefix("etag: ").map(str::to_owned));
    Some(Answer { status: head[9..12].parse().ok()?, tag, body: body.to_owned() })
}

/// Returns a connector to a fake Telegram.
pub(super) fn telegram(name: &str, fake: &FakeTelegram, token: &str) -> String {
    let url = fake.url();
    format!(
        "[connectors.{name}]\ntype = \"telegram\"\ntoken = \"{token}\"\napi_url = \"{url}\"\npoll_timeout = \"1s\"\n\
         reconnect_max = \"100ms\"\npace = \"off\"\n"
    )
}

/// Has a user say something, and returns the next answer.
pub(super) async fn answered(fake: &FakeTelegram, text: &str) -> String {
    let before = fake.sent_len();
    fake.push_message(7, text);
    texts_since(fake, before, 1).await.remove(0)
}

/// Waits for so many texts beyond the first ones, and returns all of them.
pub(super) async fn texts_since(fake: &FakeTelegram, before: usize, count: usize) -> Vec<String> {
    let look = || (fake.sent_len() >= before + count).then(|| fake.sent());
    let sent = eventually(look, || format!("{} of {count} answers came", fake.sent_len() - before)).await;
    sent[before..].iter().map(|message| message["text"].as_str().unwrap().to_owned()).collect()
}

/// Returns the component with a custom section at its end: other bytes, the same bot.
pub(super) fn other_bytes(component: &[u8], tag: u8) -> Vec<u8> {
    [component, &[0, 3, 1, b'x', tag]].concat()
}

/// Returns the line and column of a text in a file, as messages name them.
pub(super) fn place(file: &str, part: &str) -> String {
    let before = &file[..file.find(part).unwrap()];
    let column = before.len() - before.rfind('\n').map_or(0, |end| end + 1) + 1;
    format!("{}:{column}", before.matches('\n').count() + 1)
}

/// Returns an address that nobody listens on.
pub(super) fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

pub(super) fn echo() -> Vec<u8> {
    guests::example("echo")
}

/// Returns what `Lab::versions` says of each, without the time.
pub(super) fn in_short(versions: &[Value]) -> Vec<Value> {
    versions.iter().map(|version| json!([version["generation"], version["author"], version["reason"]])).collect()
}
