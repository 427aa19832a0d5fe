//! What a real Prometheus and its linter make of a host at work. Both come with the Debian package `prometheus`; a test whose
//! program is not there says so and is skipped.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::eventually;
use harness::guests;
use harness::host::{Home, TestHost};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_host");
const TOKEN: &str = "a-token-for-scrapes";
/// Prometheus opens a database before it scrapes.
const WITHIN: Duration = Duration::from_secs(60);
/// Scrapes at once that must not hold up anybody.
const SCRAPES: usize = 100;

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn is_there(test: &str, program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !is_there {
        eprintln!("SKIPPED {test}: {program} is not installed");
    }
    is_there
}

/// Returns a host with an admin side on TCP and a bot that has answered a few messages, well and not.
async fn at_work() -> TestHost {
    let config = format!("[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\n");
    let home = Home::new(PROGRAM, &config)
        .with("echo.wasm", &guests::example("echo"))
        .with("trap.wasm", &guests::guest("trap"));
    let host = home.start().await;
    host.serving("echo").await;
    host.serving("trap").await;
    for n in 0..5 {
        host.ask("1", &format!("!echo {n}")).await;
    }
    host.metric_reaches("bothost_attempt_ended_total{bot=\"echo\",class=\"command\",outcome=\"ok\"}", 5.0).await;
    host
}

/// Returns the body of what is answered with 200, or what else was.
fn get(address: SocketAddr, path: &str, headers: &str) -> Result<String, String> {
    let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(WITHIN)).map_err(|error| error.to_string())?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    if head.starts_with("HTTP/1.1 200") { Ok(body.to_owned()) } else { Err(head.to_owned()) }
}

fn scrape(host: &TestHost) -> String {
    let address = host.host().admin_address().expect("a TCP listener");
    get(address, "/metrics", &format!("Authorization: Bearer {TOKEN}\r\n")).expect("the host is scraped")
}

/// A Prometheus that scrapes one host each second, until it is dropped.
struct Prometheus {
    child: Child,
    address: SocketAddr,
}

impl Prometheus {
    fn start(directory: &Path, target: SocketAddr) -> Self {
        // It cannot choose a port itself and say which; this one was free a moment ago.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let address = free.expect("a free port");
        let config = format!(
            "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: bothost\n    authorization:\n      \
             credentials: {TOKEN}\n    static_configs:\n      - targets: ['{target}']\n"
        );
        let file = directory.join("prometheus.yml");
        std::fs::write(&file, config).expect("the configuration");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Prometheus starts");
        Self { child, address }
    }

    /// Returns the value of each series of a query, once there are some.
    async fn values(&self, query: &str) -> Vec<f64> {
        let path = format!("/api/v1/query?query={query}");
        eventually(WITHIN, &format!("series of {query}"), || {
            let answer: Value = serde_json::from_str(&get(self.address, &path, "").ok()?).ok()?;
            let series = answer["data"]["result"].as_array()?;
            let values = series.iter().filter_map(|series| series["value"][1].as_str()?.parse().ok());
            Some(values.collect()).filter(|values: &Vec<f64>| !values.is_empty())
        })
        .await
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_prometheus_scrapes_a_host_at_work_and_finds_what_happened() {
    if !is_there("a_prometheus_scrapes_a_host_at_work_and_finds_what_happened", "prometheus") {
        return;
    }
    let host = at_work().await;
    let directory = tempfile::tempdir().expect("a directory");
    let prometheus = Prometheus::start(directory.path(), host.host().admin_address().expect("a TCP listener"));
    assert_eq!(prometheus.values("up").await, [1.0], "a scrape that is not understood leaves it at 0");
    let handled = prometheus.values("sum(bothost_attempt_ended_total%7Bbot%3D%22echo%22%7D)").await;
    assert_eq!(handled, [5.0]);
    let quantile = "histogram_quantile(0.99,bothost_attempt_fuel_units_bucket%7Bbot%3D%22echo%22%7D)";
    assert!(prometheus.values(quantile).await[0] > 0.0);
    drop(prometheus);
    host.stop(PROGRAM, "").await;
}

#[tokio::test]
async fn promtool_has_nothing_to_say_against_the_metrics() {
    if !is_there("promtool_has_nothing_to_say_against_the_metrics", "promtool") {
        return;
    }
    let host = at_work().await;
    let text = scrape(&host);
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    promtool.stdin.take().expect("it is piped").write_all(text.as_bytes()).expect("promtool reads");
    let said = promtool.wait_with_output().expect("promtool ends");
    let said = (
        said.status.code(),
        String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr),
    );
    assert_eq!(said, (Some(0), String::new()), "{text}");
    host.stop(PROGRAM, "").await;
}

#[tokio::test]
async fn f092_a_hundred_scrapes_at_once_hold_up_neither_health_nor_bots() {
    let host = at_work().await;
    let address = host.host().admin_address().expect("a TCP listener");
    let scrapes: Vec<_> = (0..SCRAPES)
        .map(|_| {
            tokio::task::spawn_blocking(move || {
                get(address, "/metrics", &format!("Authorization: Bearer {TOKEN}\r\n")).map(|text| text.len())
            })
        })
        .collect();
    assert_eq!(host.ask("2", "!echo meanwhile").await, "meanwhile");
    assert!(get(address, "/health", "").is_ok());
    let mut served = 0;
    for scrape in scrapes {
        match scrape.await.expect("a scrape ends") {
            Ok(bytes) => {
                assert!(bytes > 1_000, "{bytes}");
                served += 1;
            }
            // Past the cap on connections the system lets them wait, and none is turned away with half an answer.
            Err(refused) => assert!(!refused.starts_with("HTTP/1.1 5"), "{refused}"),
        }
    }
    assert!(served > 0);
    host.stop(PROGRAM, "").await;
}
