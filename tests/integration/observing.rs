//! What sees and tells, while the machine is short of something: the log's disk, the processor.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use harness::crowd::quantile;
use harness::process::{Process, ProcessHome, SmallDisk};
use harness::telegram::FakeTelegram;
use harness::{eventually, guests};
use tokio::time::sleep;

use super::crash::number;

const PROGRAM: &str = env!("CARGO_BIN_EXE_host");
/// Longer than any step takes; reached only by a failing test.
const WITHIN: Duration = Duration::from_secs(60);
const TOKEN: &str = "42:token";

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn skipped(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
}

fn connector(platform: &FakeTelegram) -> String {
    let url = platform.url();
    format!(
        "[connectors.tg]\ntype = \"telegram\"\ntoken = \"{TOKEN}\"\napi_url = \"{url}\"\npoll_timeout = \"1s\"\npace = \"off\"\n"
    )
}

/// Returns where a directory of the home is as the process sees it.
fn seen_by(process: &Process, path: &Path) -> PathBuf {
    Path::new(&format!("/proc/{}/root", process.id().unwrap())).join(path.strip_prefix("/").unwrap())
}

/// Has somebody make the bot write lines, and waits until that is answered.
async fn talk(platform: &FakeTelegram) {
    let answers = platform.sent_len();
    platform.push_message(7, "!flood 100");
    eventually(WITHIN, "an answer", || (platform.sent_len() > answers).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_the_logs_costs_lines_that_are_counted_and_no_event() {
    let test = "a_full_disk_of_the_logs_costs_lines_that_are_counted_and_no_event";
    if !SmallDisk::is_possible() {
        return skipped(test, "`unshare -rm mount -t tmpfs` is not permitted");
    }
    let platform = FakeTelegram::start(TOKEN).await;
    let config = format!("[limits]\nsends_per_minute = 1_000_000\n[logs]\ndir = \"lines\"\n{}", connector(&platform));
    let mut home = ProcessHome::new(PROGRAM, &config)
        .with("log_flood.wasm", &guests::guest("log_flood"))
        .warmed_by(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-for-secrets"));
    fs::create_dir(home.path().join("lines")).unwrap();
    let script = "mount -t tmpfs -o size=2m,mode=700 tmpfs lines; exec \"$@\"";
    let mut process = home.start_under(&["unshare", "-rm", "sh", "-c", script, "sh"], &[]);
    process.serving("log_flood").await;
    let lines = seen_by(&process, &home.path().join("lines"));
    talk(&platform).await;

    let mut filler = File::create(lines.join("filler")).unwrap();
    for len in [1 << 16, 1 << 12, 1] {
        while filler.write_all(&vec![7; len]).is_ok() {}
    }
    talk(&platform).await;
    process.metric_reaches("bothost_log_lines_lost_total", 1.0).await;
    let health = process.health().await.expect("it is well");
    assert_eq!(health["store"]["condition"], "working", "the store has another disk");
    assert!((process.metric("bothost_observations_working").await - 1.0).abs() < 0.5);

    drop(filler);
    fs::remove_file(lines.join("filler")).unwrap();
    talk(&platform).await;
    // The file itself tells what is missing in it.
    let file = lines.join("bots/log_flood.log");
    let is_told = |line: &str| line.contains("\"target\":\"logs\"") && line.contains("dropped ");
    let text = || fs::read_to_string(&file).ok().filter(|text| text.lines().any(is_told));
    eventually(WITHIN, "lines are written again", text).await;
    process.stop().await;
    assert!(home.said().contains("cannot write the log file"), "standard error says so");
}

/// What is asked of a host again and again.
const PATHS: [&str; 4] = ["/health", "/health/ready", "/metrics", "/health/errors"];
const ADMIN: &str = "figures";

/// Asks once, over a connection of its own, and returns how long that took.
fn ask(address: SocketAddr, path: &str) -> Duration {
    let began = Instant::now();
    let mut stream = TcpStream::connect(address).expect("the host listens");
    stream.set_read_timeout(Some(WITHIN)).expect("a timeout");
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ADMIN}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the request is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    began.elapsed()
}

/// Asks each path by turns for this long, from a thread of its own; returns how long each took.
async fn asked(address: SocketAddr, lasts: Duration) -> [Vec<Duration>; PATHS.len()] {
    let asking = tokio::task::spawn_blocking(move || {
        let (began, mut took) = (Instant::now(), [const { Vec::new() }; PATHS.len()]);
        while began.elapsed() < lasts {
            for (path, took) in PATHS.iter().zip(&mut took) {
                took.push(ask(address, path));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        took
    });
    asking.await.expect("no failure")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures: cargo xtask health"]
async fn figures_of_health_beside_bots_that_spin() {
    let lasts = Duration::from_secs(number("BOTHOST_HEALTH_SECONDS", 10));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let platform = FakeTelegram::start(TOKEN).await;
    let config = format!(
        "[limits]\nfuel_per_event = 1_000_000_000_000_000\nevent_timeout = \"10m\"\n[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"{ADMIN}\"\n{}",
        connector(&platform)
    );
    let mut home = ProcessHome::new(PROGRAM, &config).with("spin.wasm", &guests::guest("spin"));
    let spinning = cores * 2;
    for number in 0..spinning {
        home = home.with(&format!("spin-{number}.toml"), b"component = \"spin.wasm\"\n");
    }
    let mut process = home.start(&[]);
    for number in 0..spinning {
        process.serving(&format!("spin-{number}")).await;
    }
    let said = process.said();
    let address = said.split("admin=").nth(1).and_then(|rest| rest.split_whitespace().next());
    let address: SocketAddr = address.and_then(|address| address.parse().ok()).expect("where it listens");

    let mut idle = asked(address, lasts).await;
    platform.push_message(7, "!spin");
    let deadline = Instant::now() + WITHIN;
    while process.metric("bothost_instance_live").await < spinning as f64 {
        assert!(Instant::now() < deadline, "not all of them spin");
        sleep(Duration::from_millis(20)).await;
    }
    let mut busy = asked(address, lasts).await;
    let still = process.metric("bothost_instance_live").await;
    let mut table = format!("{cores} cores, {still} guests spin; times in ms, idle / spinning (ratio)\n");
    for (path, (idle, busy)) in PATHS.iter().zip(idle.iter_mut().zip(&mut busy)) {
        write!(table, "{path:<16}{:>6} /{:>6} asked", idle.len(), busy.len()).unwrap();
        for (what, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
            let [idle, busy] = [&mut *idle, &mut *busy].map(|took| quantile(took, share) / 1e6);
            write!(table, "  {what} {idle:.2} / {busy:.2} ({:.1})", busy / idle).unwrap();
        }
        table.push('\n');
    }
    println!("{table}");
    process.kill().await;
}
