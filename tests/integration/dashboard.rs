//! The dashboard in a real browser: what a person does there from end to end, and what every page has to hold. The steps are in
//! `tests/peers/dashboard.js`; here is the host that they are done to, and Telegram behind it. Where no browser is installed the test
//! says so and is skipped.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bothost::admin::client::Client;
use bothost::host::ADMIN_SOCKET;
use harness::guests;
use harness::process::ProcessHome;
use harness::telegram::FakeTelegram;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use harness::peers::{peer, script};

const PROGRAM: &str = env!("CARGO_BIN_EXE_host");
const PASSWORD: &str = "correct horse battery";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const TELEGRAM_TOKEN: &str = "1:one";
const SOMEBODY: i64 = 7;
/// What must be seen as text wherever it appears.
const HOSTILE: &str = "\"><img src=x onerror=alert(1)><script>alert(2)</script>";
/// For everything that the browser does.
const WITHIN: Duration = Duration::from_secs(240);

fn config(port: u16, telegram: &str) -> String {
    let mut rules = String::new();
    // What the machine is like that a test runs on is not what the test is about.
    for rule in
        ["disk-low", "disk-critical", "disk-fills", "memory-high", "memory-grows", "memory-pressure", "processor-busy"]
    {
        rules.push_str(&format!("[alerts.rules.{rule}]\nenabled = false\n"));
    }
    let hostile = HOSTILE.replace('"', "\\\"");
    format!(
        "[admin]\nlisten = \"127.0.0.1:{port}\"\ntoken = \"{TOKEN}\"\n[queue]\nmax_attempts = 2\n[rollout]\nprobation = \"0s\"\n{rules}\
         [offers.parrot]\ncomponent = \"parrot.wasm\"\ntitle = \"Parrot {hostile}\"\ntitle_zh = \"鹦鹉\"\n\
         summary = \"Keeps time and tells you.\"\nsummary_zh = \"按时提醒。\"\n\
         connector = {{ type = \"telegram\", api_url = \"{telegram}\", poll_timeout = \"1s\", reconnect_max = \"50ms\" }}\n"
    )
}

/// Returns a port that was free a moment ago: the host is a process, and says nowhere which it was given.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn browser() -> Option<PathBuf> {
    let chosen = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let usual = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].map(PathBuf::from);
    chosen.into_iter().chain(usual).find(|path| path.exists())
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn installed(test: &str) -> Option<(PathBuf, PathBuf)> {
    let modules = peer(test, "browser/node_modules")?;
    let found = browser();
    if found.is_none() {
        eprintln!("SKIPPED {test}: chromium is not installed");
    }
    Some((modules, found?))
}

/// Carries out what the script asks for on its standard output, and hands the rest on; returns once it has ended.
#[expect(clippy::print_stdout, reason = "what the browser did is the test's report")]
async fn listen(stdout: impl AsyncRead + Unpin, telegram: &FakeTelegram) {
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        match line.strip_prefix("say ") {
            Some(text) => {
                telegram.push_message(SOMEBODY, text);
            }
            None => println!("{line}"),
        }
    }
}

async fn account(client: &Client, name: &str, role: &str, tenant: Option<&str>) {
    let body = json!({ "name": name, "role": role, "password": PASSWORD, "tenant": tenant });
    client.edit("/api/v1/accounts", Some(&body)).await.unwrap();
}

fn artefacts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/artefacts/dashboard")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f099_a_browser_gets_all_its_work_done_on_pages_that_keep_their_promises() {
    let test = "f099_a_browser_gets_all_its_work_done_on_pages_that_keep_their_promises";
    let Some((modules, chromium)) = installed(test) else { return };
    let telegram = FakeTelegram::start(TELEGRAM_TOKEN).await;
    let port = free_port();
    let mut home =
        ProcessHome::new(PROGRAM, &config(port, &telegram.url())).with("parrot.wasm", &guests::guest("choosy"));
    // The browser sends a file under its own name.
    for (dir, file, component) in
        [("new", "echo.wasm", guests::example("echo")), ("broken", "parrot.wasm", guests::guest("panic"))]
    {
        std::fs::create_dir(home.path().join(dir)).unwrap();
        std::fs::write(home.path().join(dir).join(file), component).unwrap();
    }
    let mut host = home.start(&[]);
    let client = Client::new(host.data().join(ADMIN_SOCKET));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while client.get("/health/ready").await.is_err() {
        assert!(host.ended().is_none() && tokio::time::Instant::now() < deadline, "the host is not ready");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    account(&client, "maria", "admin", None).await;
    account(&client, "vera", "viewer", None).await;
    account(&client, "li", "operator", Some("acme")).await;
    account(&client, "sam", "operator", Some("rival")).await;

    let out = artefacts();
    std::fs::create_dir_all(&out).unwrap();
    let mut node = Command::new("node");
    node.arg(script("dashboard.js"))
        .env("NODE_PATH", modules)
        .env("CHROMIUM", chromium)
        .env("URL", format!("http://127.0.0.1:{port}"))
        .env("PASSWORD", PASSWORD)
        .env("TELEGRAM_TOKEN", TELEGRAM_TOKEN)
        .env("HOSTILE", HOSTILE)
        .env("COMPONENT", home.path().join("new/echo.wasm"))
        .env("BROKEN", home.path().join("broken/parrot.wasm"))
        .env("OUT", &out)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut node = node.spawn().unwrap();
    let (stdout, mut stderr) = (node.stdout.take().unwrap(), node.stderr.take().unwrap());
    let mut complaint = String::new();
    let done = timeout(WITHIN, async {
        let (_, _, status) =
            tokio::join!(listen(stdout, &telegram), stderr.read_to_string(&mut complaint), node.wait());
        status.unwrap()
    });
    let status = done.await.expect("the browser to be done in time");
    assert!(status.success(), "{complaint}");
    recorded_once(&client).await;
    host.stop().await;
}

/// What is done on a page is done by the API, and is written down once, under what it was about.
async fn recorded_once(client: &Client) {
    let records = client.get("/api/v1/audit?limit=500").await.unwrap();
    let line = |record: &Value| {
        ["who", "verb", "subject", "outcome"].map(|key| record[key].as_str().unwrap_or("").to_owned()).join(" ")
    };
    let lines: Vec<_> = records.as_array().unwrap().iter().map(line).collect();
    let count = |wanted: &str| lines.iter().filter(|line| line.starts_with(wanted)).count();
    assert_eq!(count("li POST /bots/acme-parrot/disable done"), 1, "{lines:#?}");
    assert_eq!(count("li POST /offers/parrot: acme-parrot done"), 1, "{lines:#?}");
    assert_eq!(count("maria POST /dead-letters: retry acme-parrot/"), 1, "{lines:#?}");
    assert_eq!(count("maria POST /sign-in done"), 2, "{lines:#?}");
    assert_eq!(count("li POST /bots/acme-parrot/settings refused"), 1, "{lines:#?}");
    assert_eq!(
        lines.iter().filter(|line| line.contains(" /api/v1/") && line.starts_with("li ")).count(),
        0,
        "{lines:#?}"
    );
}
