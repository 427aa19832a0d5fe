//! What is secret stays so, whatever fails: not in logs, answers, metrics, notices or files, and not in what a crash leaves behind.

mod memory;
mod parrot;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use harness::process::{Process, ProcessHome};
use harness::receiver::Receiver;
use harness::telegram::FakeTelegram;
use harness::{eventually, guests};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use self::parrot::Parrot;

const PROGRAM: &str = env!("CARGO_BIN_EXE_host");
/// Longer than any step takes; reached only by a failing test.
const WITHIN: Duration = Duration::from_secs(60);

/// Every kind of secret that a configuration may have, as it is in this one.
const CONNECTOR: &str = "4242:CANARYconnectorAAAAAAAAAAAAAAAAAAAA";
const WORKING: &str = "4343:CANARYworkingAAAAAAAAAAAAAAAAAAAAAA";
const ACCESS: &str = "CANARYaccesstoken";
const HOOK_PATH: &str = "CANARYhookpath";
const HOOK_SECRET: &str = "CANARYhooksecret";
const NOWHERE: &str = "CANARYnowhere";
const SLACK: &str = "CANARYslackpath";
const DISCORD: &str = "CANARYdiscordpath";
const CHANNEL: &str = "4444:CANARYchannelAAAAAAAAAAAAAAAAAAAAAA";
const PASSWORD: &str = "CANARYpassword";
const HEADER: &str = "CANARYheader";
const ADMIN: &str = "CANARYadmintoken";
const BOT: &str = "CANARYbotsecret";
/// What they have in common, wherever a part of one may turn up.
const COMMON: &str = "CANARY";

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn skipped(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
}

/// The servers that a host talks to. All of them but two refuse and repeat.
struct Servers {
    http: Parrot,
    collector: Parrot,
    mail: Parrot,
    good: Receiver,
    platform: FakeTelegram,
}

impl Servers {
    async fn start() -> Self {
        Self {
            http: Parrot::http().await,
            collector: Parrot::http().await,
            mail: Parrot::mail().await,
            good: Receiver::start().await,
            platform: FakeTelegram::start(WORKING).await,
        }
    }

    fn config(&self) -> String {
        let Self { http, mail, good, platform, .. } = self;
        let api = http.url("http", "");
        let channel = |name: &str, table: String| {
            format!("[alerts.channels.{name}]\n{table}\ngroup_wait = \"0s\"\ndigest_every = \"1s\"\n")
        };
        let mail = format!(
            "server = \"localhost\"\nport = {}\ntls = \"none\"\nusername = \"bot\"\npassword = \"{PASSWORD}\"\n\
             from = \"h@example.com\"\nto = [\"o@example.com\"]",
            mail.port()
        );
        let hook = http.url("http", &format!("/{HOOK_PATH}?key={HOOK_PATH}"));
        let channels = [
            ("hook", format!("type = \"webhook\"\nurl = \"{hook}\"\nsecret = \"{HOOK_SECRET}\"")),
            ("nowhere", format!("type = \"webhook\"\nurl = \"http://127.0.0.1:1/{NOWHERE}\"")),
            ("slack", format!("type = \"slack\"\nurl = \"{}\"", http.url("http", &format!("/{SLACK}")))),
            ("discord", format!("type = \"discord\"\nurl = \"{}\"", http.url("http", &format!("/{DISCORD}")))),
            ("telegram", format!("type = \"telegram\"\ntoken = \"{CHANNEL}\"\nchat = 1\napi_url = \"{api}\"")),
            ("mail", format!("type = \"email\"\n{mail}")),
            ("good", format!("type = \"webhook\"\nurl = \"{}\"", good.url("/"))),
        ];
        let mut config = format!(
            "[logs]\nlevel = \"trace\"\n[vitals]\ninterval = \"1s\"\n[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"{ADMIN}\"\n\
             [connectors.refused]\ntype = \"telegram\"\ntoken = \"{CONNECTOR}\"\napi_url = \"{api}\"\nreconnect_max = \"100ms\"\n\
             [connectors.works]\ntype = \"telegram\"\ntoken = \"{WORKING}\"\napi_url = \"{}\"\npoll_timeout = \"1s\"\n\
             [connectors.socket]\ntype = \"onebot\"\nmode = \"forward\"\nurl = \"{}\"\naccess_token = \"{ACCESS}\"\nreconnect_max = \"100ms\"\n\
             [alerts.rules.always]\nmetric = \"process_threads\"\nop = \">\"\nthreshold = 0\nseverity = \"critical\"\n",
            platform.url(),
            http.url("ws", "/"),
        );
        if cfg!(feature = "otlp") {
            let url = self.collector.url("http", "");
            let headers = format!("headers = {{ authorization = \"Bearer {HEADER}\" }}");
            config.push_str(&format!("[telemetry]\nendpoint = \"{url}\"\n{headers}\nevery = \"1s\"\n"));
        }
        channels.map(|(name, table)| channel(name, table)).into_iter().fold(config, |config, channel| config + &channel)
    }

    /// Waits until every server was told the secrets that are its own, so that it can have repeated them.
    async fn were_told(&self) {
        let http = [CONNECTOR, ACCESS, HOOK_PATH, SLACK, DISCORD, CHANNEL];
        for secret in http {
            eventually(WITHIN, secret, || self.http.has_heard(secret).then_some(())).await;
        }
        let password = encoded_password();
        eventually(WITHIN, "the password", || self.mail.has_heard(&password).then_some(())).await;
        if cfg!(feature = "otlp") {
            eventually(WITHIN, "the header", || self.collector.has_heard(HEADER).then_some(())).await;
        }
    }
}

/// How a password goes to a mail server.
fn encoded_password() -> String {
    data_encoding::BASE64.encode(format!("\0bot\0{PASSWORD}").as_bytes())
}

/// Fails where a text has a secret, or a part of one, in it.
#[track_caller]
fn assert_clean(whence: &str, text: &str) {
    for sign in [COMMON, &encoded_password(), &data_encoding::BASE64.encode(PASSWORD.as_bytes())] {
        if let Some(at) = text.find(sign) {
            let (from, to) = (text.floor_char_boundary(at.saturating_sub(400)), text.ceil_char_boundary(at + 60));
            panic!("{whence} tells a secret: …{}…", &text[from..to]);
        }
    }
}

/// Returns whatever the host answers, with its head.
async fn ask(process: &Process, line: &str) -> String {
    let mut socket = UnixStream::connect(process.data().join("admin.sock")).await.unwrap();
    let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Runs a verb, and returns what it says, whatever its exit code.
async fn verb(home: &ProcessHome, arguments: &[&str]) -> String {
    let command = Command::new(PROGRAM).args(arguments).current_dir(home.path()).kill_on_drop(true).output();
    let Output { stdout, stderr, .. } = tokio::time::timeout(WITHIN, command).await.unwrap().unwrap();
    format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
}

/// Calls `look` with each file below a directory.
fn each_file(dir: &Path, look: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => each_file(&entry.path(), look),
            kind if kind.is_file() => look(&entry.path()),
            _ => {}
        }
    }
}

/// Waits until this channel has failed, and returns how the channels are.
async fn failing(process: &Process, names: &[&str]) -> Value {
    let deadline = Instant::now() + WITHIN;
    loop {
        let channels = process.ask("/api/v1/alerts/channels").await.unwrap();
        let has_failed = |name: &str| {
            let list = channels.as_array().unwrap();
            list.iter().any(|channel| channel["name"] == name && channel["failed"].as_u64() > Some(0))
        };
        if names.iter().all(|name| has_failed(name)) {
            return channels;
        }
        assert!(Instant::now() < deadline, "not all fail: {channels}");
        sleep(Duration::from_millis(50)).await;
    }
}

const PATHS: [&str; 28] = [
    "/health",
    "/health/live",
    "/health/ready",
    "/health/errors",
    "/health/metrics",
    "/metrics",
    "/api/v1/bots",
    "/api/v1/bots/fetch",
    "/api/v1/faults",
    "/api/v1/condemned",
    "/api/v1/connectors",
    "/api/v1/errors",
    "/api/v1/alerts",
    "/api/v1/alerts/history",
    "/api/v1/alerts/rules",
    "/api/v1/alerts/channels",
    "/api/v1/probes",
    "/api/v1/metrics/names",
    "/api/v1/metrics/history?name=bothost_process_threads",
    "/api/v1/report",
    "/api/v1/logs?lines=10000",
    "/api/v1/logs?file=error&lines=10000",
    "/api/v1/logs?bot=fetch",
    "/api/v1/queue",
    "/api/v1/outbox",
    "/api/v1/config",
    "/api/v1/config/versions",
    "/api/v1/config/versions/latest/export",
];

const VERBS: [&[&str]; 21] = [
    &["config", "show"],
    &["config", "history"],
    &["config", "export"],
    &["config", "diff", "1"],
    &["config", "get", "alerts"],
    &["config", "get", "alerts.channels.hook.secret"],
    &["config", "get", "connectors.refused"],
    &["config", "get", "admin.token"],
    &["alerts", "list"],
    &["alerts", "history"],
    &["alerts", "channels"],
    &["alerts", "rules"],
    &["errors"],
    &["faults"],
    &["ps"],
    &["describe", "fetch"],
    &["status", "config.toml"],
    &["logs"],
    &["report"],
    &["outbox", "list"],
    &["check", "config.toml"],
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_no_secret_is_told_however_its_use_fails() {
    let servers = Servers::start().await;
    let entry = format!("secrets = {{ KEY = \"{BOT}\" }}\ngrants = {{ http = [\"*.example.invalid\"] }}\n");
    let mut home = ProcessHome::new(PROGRAM, &servers.config())
        .with("fetch.wasm", &guests::guest("fetch"))
        .with("fetch.toml", entry.as_bytes())
        .warmed_by(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-for-secrets"));
    let mut process = home.start(&[]);
    process.serving("fetch").await;
    servers.platform.push_message(7, "!fetch https://a.example.invalid/ Bearer-{{secret:KEY}}");
    servers.were_told().await;
    let channels = failing(&process, &["hook", "nowhere", "slack", "discord", "telegram", "mail"]).await;
    assert_clean("the list of channels", &channels.to_string());
    eventually(WITHIN, "an answer of the bot", || (servers.platform.sent_len() > 0).then_some(())).await;
    assert_clean("an answer of the bot", &format!("{:?}", servers.platform.sent()));

    for channel in ["hook", "nowhere", "slack", "discord", "telegram", "mail", "good"] {
        assert_clean(channel, &verb(&home, &["alerts", "test", channel]).await);
    }
    for path in PATHS {
        let answer = ask(&process, &format!("GET {path}")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        assert_clean(path, &answer);
    }
    for arguments in VERBS {
        assert_clean(&arguments.join(" "), &verb(&home, arguments).await);
    }

    // What is wrong with a configuration is told, and what stands there is not.
    let config = home.path().join("config.toml");
    let good = fs::read_to_string(&config).unwrap();
    for (right, wrong) in [
        (CONNECTOR, "CANARY with/a slash"),
        (&*format!("http://127.0.0.1:1/{NOWHERE}"), "CANARY://nowhere"),
        (&*format!("token = \"{ADMIN}\""), "token = [\"CANARY\"]"),
        (&*format!("password = \"{PASSWORD}\""), "pasword = \"CANARY\""),
        (&*format!("token = \"{ADMIN}\""), "token = \"CANARY"),
    ] {
        fs::write(&config, good.replace(right, wrong)).unwrap();
        let said = verb(&home, &["reload"]).await;
        assert!(said.contains("config.toml:"), "{wrong} is no mistake: {said}");
        assert_clean("reload", &said);
        assert_clean("check", &verb(&home, &["check", "config.toml"]).await);
    }
    fs::write(&config, good).unwrap();

    // The channel that works hears that the others fail.
    let notices = servers.good.wait(2, WITHIN).await;
    process.stop().await;
    for notice in notices.iter().chain(&servers.good.received()) {
        assert_clean("a notice", &format!("{:?} {}", notice.headers, notice.body));
    }
    assert_clean("standard error", &home.said());
    let mut logs = 0;
    each_file(home.path(), &mut |path| {
        let bytes = fs::read(path).unwrap();
        let relative = path.strip_prefix(home.path()).unwrap();
        logs += usize::from(relative.starts_with("data/logs"));
        // Where the operator wrote them; and what the host goes back to, which nobody else may read.
        let is_theirs = relative.starts_with("config.toml") || relative.starts_with("bots");
        let is_kept = relative.starts_with("data/generations");
        if is_kept {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o077, 0, "{}", path.display());
        } else if !is_theirs {
            assert_clean(&relative.display().to_string(), &String::from_utf8_lossy(&bytes));
        }
    });
    assert!(logs >= 3, "there are logs to look through");
}
