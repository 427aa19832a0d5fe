//! A whole host in a directory of its own, with a scripted platform.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bothost::action::{Act, ResolvedAction};
use bothost::bot::phase::{BotStatus, Phase};
use bothost::config::Config;
use bothost::connector::ConnectorConfig;
use bothost::connector::scripted::{ScriptedHandle, scripted};
use bothost::egress::AddressGuard;
use bothost::host::{Drained, Host, HostOptions, Instruments};
use bothost::store::Store;

use crate::process::copy_components;

/// How long a test waits for what should happen. Generous: a busy machine is no failure.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The name of the scripted connector.
pub const CHAT: &str = "chat";

/// What every test's host begins with; a test's own text comes after it.
const BASE: &str = r#"
# What the machine is like that a test runs on is not what the test is about.
[alerts.rules.disk-low]
enabled = false
[alerts.rules.disk-critical]
enabled = false
[alerts.rules.disk-fills]
enabled = false
[alerts.rules.memory-high]
enabled = false
[alerts.rules.memory-grows]
enabled = false
[alerts.rules.memory-pressure]
enabled = false
[alerts.rules.processor-busy]
enabled = false

[host]
data_dir = "data"
bots_dir = "bots"
watch_settle = "40ms"
watch_rescan = "300ms"
instances = 64
"#;

/// A running host and everything around it.
pub struct TestHost {
    host: Host,
    /// What people write, and what they read.
    pub chat: ScriptedHandle,
    dir: tempfile::TempDir,
    base: &'static str,
}

/// A directory for a host that does not run yet.
pub struct Home {
    dir: tempfile::TempDir,
    compiler: PathBuf,
    base: &'static str,
    config: String,
    guard: AddressGuard,
    instruments: Instruments,
}

impl Home {
    /// Makes a home; `compiler` is the binary `host`, `config` what is to stand in the configuration beside the test's base.
    pub fn new(compiler: impl Into<PathBuf>, config: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(dir.path().join("bots")).expect("the bots' directory");
        let config = format!("{BASE}{config}");
        let (compiler, guard) = (compiler.into(), AddressGuard::default());
        Self { dir, compiler, base: BASE, config, guard, instruments: Instruments::default() }
    }

    /// Makes a home whose configuration is empty: everything is as by default.
    pub fn empty(compiler: impl Into<PathBuf>) -> Self {
        Self { base: "", config: String::new(), ..Self::new(compiler, "") }
    }

    /// Has the host find a component compiled already, as it does once it has run it: that takes a second in a debug build, and
    /// is not what every test is about.
    pub async fn with_code_of(self, component: &[u8]) -> Self {
        let other = Self::new(&self.compiler, "").with("bot.wasm", component).start().await;
        other.serving("bot").await;
        let (_, other) = other.stop(&self.compiler, "").await;
        let cache = |home: &Self| home.path().join("data/cache");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(cache(&self)).expect("the cache");
        copy_components(&cache(&other), &cache(&self));
        self
    }

    /// Puts a file into the bots' directory, whole.
    pub fn with(self, file: &str, content: &[u8]) -> Self {
        put(&self.bots(), file, content);
        self
    }

    /// Lets guests reach what `guard` allows: a test's own server is on this machine, where no guest gets otherwise.
    pub fn guarded_by(self, guard: AddressGuard) -> Self {
        Self { guard, ..self }
    }

    /// Has the host count with these instruments, in place of its own.
    pub fn measured_by(self, instruments: Instruments) -> Self {
        Self { instruments, ..self }
    }

    /// Gives the host so many live instances, in place of the base's.
    pub fn with_instances(self, count: u32) -> Self {
        let config = self.config.replacen("instances = 64", &format!("instances = {count}"), 1);
        Self { config, ..self }
    }

    /// Returns the bots' directory.
    pub fn bots(&self) -> PathBuf {
        self.dir.path().join("bots")
    }

    /// Returns the directory that the configuration's relative paths begin at.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the host.
    pub async fn start(self) -> TestHost {
        let path = self.dir.path().join("config.toml");
        std::fs::write(&path, &self.config).expect("the configuration");
        let config = Config::load(&path).expect("the test's configuration is good");
        let name: bothost::id::ConnectorName = CHAT.parse().expect("a name");
        let (connector, chat) = scripted(name.clone());
        let options = HostOptions {
            instruments: self.instruments,
            compiler: Some(self.compiler),
            guard: self.guard,
            connectors: vec![(name, ConnectorConfig::Scripted(connector))],
        };
        let host = Host::bind(config, options).await.expect("the host starts");
        TestHost { host, chat, dir: self.dir, base: self.base }
    }
}

/// Writes a file beside its place and renames it there, as an editor or a copying program does.
pub fn put(dir: &Path, file: &str, content: &[u8]) {
    let unfinished = dir.join(format!(".{file}.unfinished"));
    std::fs::write(&unfinished, content).expect("the file is written");
    std::fs::rename(&unfinished, dir.join(file)).expect("the file is renamed");
}

impl TestHost {
    /// Returns the bots' directory.
    pub fn bots(&self) -> PathBuf {
        self.dir.path().join("bots")
    }

    /// Returns the directory that the configuration's relative paths begin at.
    pub fn home(&self) -> &Path {
        self.dir.path()
    }

    /// Puts a file into the bots' directory, whole.
    pub fn put(&self, file: &str, content: &[u8]) {
        put(&self.bots(), file, content);
    }

    /// Writes the configuration anew, beside the test's base, as an editor does.
    pub fn configure(&self, config: &str) {
        put(self.dir.path(), "config.toml", format!("{}{config}", self.base).as_bytes());
    }

    /// Returns how a bot stands, if there is such a bot.
    pub fn bot(&self, name: &str) -> Option<BotStatus> {
        self.host.bots().get(&name.parse().expect("a name"))
    }

    /// Waits until a bot stands as wanted, and returns how it stands.
    pub async fn bot_when(&self, name: &str, is_so: impl Fn(&BotStatus) -> bool) -> BotStatus {
        eventually(|| self.bot(name).filter(|status| is_so(status)), || format!("{name} is {:?}", self.bot(name))).await
    }

    /// Waits until a bot serves.
    pub async fn serving(&self, name: &str) -> BotStatus {
        self.bot_when(name, |status| status.phase.is_serving() && status.refused.is_none()).await
    }

    /// Waits until a bot was refused before it ever served, and returns why.
    pub async fn rejected(&self, name: &str) -> String {
        let status = self.bot_when(name, |status| matches!(status.phase, Phase::Rejected { .. })).await;
        status.phase.detail().unwrap_or_default().to_owned()
    }

    /// Says something in a conversation and returns once the host has it.
    pub async fn say(&self, conversation: &str, text: &str) {
        let id = format!("{:016x}", fastrand::u64(..));
        self.chat.say(conversation, &id, text).await.expect("the host takes it over");
    }

    /// Says something and returns the next answer, whoever gives it.
    pub async fn ask(&self, conversation: &str, text: &str) -> String {
        let before = self.chat.delivered_count();
        self.say(conversation, text).await;
        self.answers_since(before, 1).await.remove(0)
    }

    /// Waits for `count` answers beyond the first `before`, and returns the texts of all beyond them.
    pub async fn answers_since(&self, before: u64, count: u64) -> Vec<String> {
        let delivered = tokio::time::timeout(PATIENCE, self.chat.delivered(before + count));
        let actions = delivered.await.unwrap_or_else(|_| {
            panic!("{} of {} answers came", self.chat.delivered_count() - before, count);
        });
        let skip = usize::try_from(before).expect("it is small");
        actions.iter().skip(skip).map(text_of).collect()
    }

    /// Returns the value of a metric whose exposition line begins with `series`, such as `name_total{bot="x"}`; 0 where it is
    /// not there.
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.host.metrics().render();
        let line = text.lines().find(|line| line.starts_with(series));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }

    /// Waits until a metric has at least this value.
    pub async fn metric_reaches(&self, series: &str, value: f64) {
        let reached = || (self.metric(series) >= value).then_some(());
        eventually(reached, || format!("{series} is {}\n{}", self.metric(series), self.host.metrics().render())).await;
    }

    /// Returns what the host keeps.
    pub fn store(&self) -> &Store {
        self.host.store()
    }

    /// Returns the host itself.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Stops the host and returns what it left undone, and its home, to start it again.
    pub async fn stop(self, compiler: impl Into<PathBuf>, config: &str) -> (Drained, Home) {
        let drained = self.host.shutdown().await;
        let (compiler, config) = (compiler.into(), format!("{}{config}", self.base));
        let (guard, instruments) = (AddressGuard::default(), Instruments::default());
        (drained, Home { dir: self.dir, compiler, base: self.base, config, guard, instruments })
    }
}

/// Returns what an action says, or what else it does.
pub fn text_of(action: &ResolvedAction) -> String {
    match &action.act {
        Act::Send { message, .. } | Act::Edit { message, .. } => message.text.clone(),
        Act::Delete { target } => format!("(delete {target})"),
        Act::React { target, emoji } => format!("(react {target} {emoji})"),
    }
}

/// Looks again and again until there is something, for as long as [`PATIENCE`]; then fails with what `say` says.
pub async fn eventually<T>(mut look: impl FnMut() -> Option<T>, say: impl FnOnce() -> String) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "it did not happen within {PATIENCE:?}: {}", say());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
