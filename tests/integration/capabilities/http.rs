//! Outgoing HTTP: to granted hosts, over allowed addresses, within the budgets; and whatever the other side answers.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bothost::egress::AddressGuard;
use harness::guests;
use harness::host::{Home, TestHost, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::{ONE_ATTEMPT, home, sorted};

/// A server on this machine that answers each path in its own way. Raw, for what no HTTP library would let it say.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    open: usize,
    /// The head of each request.
    requests: Vec<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Seen>>::default();
        let task = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                let mut connections = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    connections.spawn(serve(stream, Arc::clone(&seen)));
                }
            }
        });
        Self { address, seen, task }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    fn open(&self) -> usize {
        self.seen.lock().unwrap().open
    }

    fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().requests.clone()
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Seen>>) {
    {
        let mut seen = seen.lock().unwrap();
        seen.connections += 1;
        seen.open += 1;
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    seen.lock().unwrap().requests.push(head.clone());
    // A client that goes away in the middle is a part of most tests.
    let _ = answer(&mut stream, &head).await;
    seen.lock().unwrap().open -= 1;
}

async fn answer(stream: &mut TcpStream, request: &str) -> std::io::Result<()> {
    let path = request.split(' ').nth(1).unwrap_or_default();
    let head = |text: String| format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{text}\r\n");
    match path {
        "/moved" => {
            let moved = "HTTP/1.1 302 Found\r\nlocation: /hello\r\ncontent-length: 5\r\n\r\nmoved";
            stream.write_all(moved.as_bytes()).await
        }
        moved if moved.starts_with("/moved-to/") => {
            let location = moved.replacen("/moved-to/", "http://", 1);
            let length = location.len();
            let moved =
                format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: {length}\r\n\r\n{location}");
            stream.write_all(moved.as_bytes()).await
        }
        "/echo" => {
            let given = request.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap_or_default();
            let encoded = data_encoding::BASE64.encode(given.as_bytes());
            let body = format!("you said {given}, or {encoded}");
            let headers = format!("x-said: {given}\r\ncontent-length: {}\r\n", body.len());
            stream.write_all(head(headers).as_bytes()).await?;
            // In the middle of what it was told.
            let (first, rest) = body.split_at(body.len() / 4);
            stream.write_all(first.as_bytes()).await?;
            stream.flush().await?;
            tokio::task::yield_now().await;
            stream.write_all(rest.as_bytes()).await
        }
        "/zipped" => {
            stream.write_all(head("content-encoding: gzip\r\ncontent-length: 0\r\n".to_owned()).as_bytes()).await
        }
        "/drip" => {
            stream.write_all(head("content-length: 1000000\r\n".to_owned()).as_bytes()).await?;
            let mut tick = tokio::time::interval(Duration::from_millis(10));
            loop {
                tick.tick().await;
                stream.write_all(b"x").await?;
            }
        }
        "/much" => stream.write_all(head("content-length: 1000000\r\n".to_owned()).as_bytes()).await,
        "/take" => {
            let length = request.lines().find_map(|line| line.strip_prefix("content-length: "));
            let mut body = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
            stream.read_exact(&mut body).await?;
            stream.write_all(head("content-length: 5\r\n".to_owned()).as_bytes()).await?;
            stream.write_all(b"taken").await
        }
        "/hang" => stream.read_u8().await.map(drop),
        "/endless" => {
            stream.write_all(head(String::new()).as_bytes()).await?;
            loop {
                stream.write_all(&[b'x'; 64 << 10]).await?;
            }
        }
        "/many-headers" => {
            let headers: String = (0..40_000).map(|number| format!("x-{number}: y\r\n")).collect();
            stream.write_all(head(headers).as_bytes()).await
        }
        "/101-headers" => {
            let headers: String = (0..101).map(|number| format!("x-{number}: y\r\n")).collect();
            stream.write_all(head(headers).as_bytes()).await
        }
        "/huge-header" => stream.write_all(head(format!("x: {}\r\n", "y".repeat(1 << 20))).as_bytes()).await,
        "/garbage" => stream.write_all(&[0, 159, 146, 150, b'\n']).await,
        "/short" => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort").await,
        "/lies" => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nlies").await,
        "/silence" => Ok(()),
        _ => stream
            .write_all(head("content-length: 5\r\n".to_owned()).as_bytes())
            .await
            .and(stream.write_all(b"hello").await),
    }
}

/// Returns a home in which `fetch` may call the server, and guests may reach this machine.
fn open_home(config: &str, server: &Server, entry: &str) -> Home {
    let entry = format!("grants = {{ http = [\"{}\"] }}\n{entry}", server.address);
    home(config, "fetch", &entry).with("echo.wasm", &guests::example("echo")).guarded_by(AddressGuard::any())
}

async fn open_host(config: &str, server: &Server, entry: &str) -> TestHost {
    let host = open_home(config, server, entry).start().await;
    host.serving("fetch").await;
    host.serving("echo").await;
    host
}

async fn still_answers(host: &TestHost) {
    assert_eq!(host.ask("elsewhere", "!echo still").await, "still");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_granted_host_is_called_and_another_is_not() {
    let (server, other) = (Server::start().await, Server::start().await);
    let host = open_host("", &server, "").await;
    assert_eq!(host.ask("lobby", &format!("!fetch {}", server.url("/hello?a=b"))).await, "200 hello");
    let request = server.requests().remove(0);
    assert!(request.starts_with("GET /hello?a=b HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("host: {}\r\n", server.address)), "{request}");

    let refused = host.ask("lobby", &format!("!fetch {}", other.url("/hello"))).await;
    assert_eq!(refused, "not granted: http = [\"127.0.0.1\"]");
    let port = server.address.port();
    for url in [
        "http://127.0.0.1/hello".to_owned(),
        format!("http://localhost:{port}/"),
        format!("http://127.0.0.1.:{port}/"),
        format!("https://127.0.0.1:{}/", other.address.port()),
        format!("http://{}@{}/", server.address.ip(), other.address),
        format!("http://somebody@{}/", server.address),
        format!("http://somebody:{port}@{}/", server.address),
    ] {
        let answer = host.ask("lobby", &format!("!fetch {url}")).await;
        assert!(answer.starts_with("not granted: ") || answer.starts_with("invalid: "), "{url}: {answer}");
    }
    assert_eq!((server.connections(), other.connections()), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_grant_a_component_that_calls_others_does_not_serve() {
    let host = home("", "fetch", "").start().await;
    let reason = host.rejected("fetch").await;
    assert!(reason.contains("wasi:http/outgoing-handler") && reason.contains("http = ["), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f017_no_spelling_of_this_machine_can_be_reached_even_where_it_is_granted() {
    let server = Server::start().await;
    let port = server.address.port();
    let granted = [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "168.63.129.16",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "10.0.0.1",
        "0.0.0.0",
    ];
    let granted: Vec<String> =
        granted.iter().flat_map(|host| [format!("\"{host}:{port}\""), format!("\"{host}\"")]).collect();
    let host = home("", "fetch", &format!("grants = {{ http = [{}] }}", granted.join(", "))).start().await;
    host.serving("fetch").await;
    for spelling in [
        "127.0.0.1",
        "localhost",
        "LOCALHOST.",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "169.254.169.254",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "168.63.129.16",
        "10.0.0.1",
        "0",
        "0.0.0.0",
        "0x7f.1",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "2130706433",
        "127.0.0.1.",
        "127.0.0.1%00",
        "user@127.0.0.1",
        "127.0.0.1@localhost",
        "①②⑦.0.0.1",
    ] {
        let answer = host.ask("lobby", &format!("!fetch http://{spelling}:{port}/hello")).await;
        let refused = ["not granted: ", "invalid: "].iter().any(|begin| answer.starts_with(begin));
        // Where the machine has no IPv6, its resolver knows no such address.
        let unknown = answer.ends_with("no such host");
        assert!(refused || unknown, "{spelling}: {answer}");
    }
    for url in ["file:///etc/hostname", "gopher://127.0.0.1/", "//127.0.0.1/", "http://", "http:///hello"] {
        let answer = host.ask("lobby", &format!("!fetch {url}")).await;
        assert!(answer.starts_with("invalid: "), "{url}: {answer}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f017_a_numeral_that_only_a_resolver_reads_as_an_address_cannot_be_granted() {
    for spelling in ["0x7f.1", "2130706433", "127.1", "user@127.0.0.1"] {
        let host = home("", "fetch", &format!("grants = {{ http = [\"{spelling}\"] }}")).start().await;
        let reason = host.rejected("fetch").await;
        assert!(reason.contains("fetch.toml:1:") && reason.contains("names no host"), "{spelling}: {reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f017_a_redirect_is_the_bots_to_follow() {
    let server = Server::start().await;
    let host = open_host("", &server, "").await;
    assert_eq!(host.ask("lobby", &format!("!fetch {}", server.url("/moved"))).await, "302 moved");
    assert_eq!(server.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f017_the_admin_side_is_reached_by_no_guest_whatever_is_granted_and_wherever_it_is_sent() {
    let log = Log::begin();
    for listen in ["127.0.0.1", "0.0.0.0"] {
        let config = format!("[admin]\nlisten = \"{listen}:0\"\ntoken = \"t0ken-of-an-admin\"\n");
        let host = Home::new(super::COMPILER, &config).guarded_by(AddressGuard::any()).start().await;
        let port = host.host().admin_address().unwrap().port();
        let server = Server::start().await;
        let spellings = ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "[::]"];
        let granted = spellings.map(|spelling| format!("\"{spelling}:{port}\"")).join(", ");
        host.put("fetch.wasm", &guests::guest("fetch"));
        let entry = format!("grants = {{ http = [\"{}\", {granted}] }}", server.address);
        host.put("fetch.toml", entry.as_bytes());
        // The component alone may have been found before its entry.
        host.bot_when("fetch", |status| status.phase.is_serving() && status.refused.is_none()).await;

        // It answers whoever is no guest.
        let mut person = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        person.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        person.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

        for spelling in spellings {
            let answer = host.ask("lobby", &format!("!fetch http://{spelling}:{port}/health")).await;
            // Where the machine has no IPv6, its resolver knows no such address.
            let refused = answer.starts_with("not granted: ") || answer.ends_with("no such host");
            assert!(refused, "{listen} {spelling}: {answer}");
        }
        let moved =
            host.ask("lobby", &format!("!fetch {}", server.url(&format!("/moved-to/127.0.0.1:{port}/health")))).await;
        let (status, location) = moved.split_once(' ').unwrap();
        assert_eq!(status, "302");
        let answer = host.ask("lobby", &format!("!fetch {location}")).await;
        assert!(answer.starts_with("not granted: "), "{listen} {location}: {answer}");
    }
    let refused = log.text().matches("it is where this host itself listens").count();
    assert!(refused >= 2 * 6, "each was granted, and refused by the guard: {refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f021_an_answer_that_is_too_much_or_none_at_all_is_a_failure_of_the_call() {
    let server = Server::start().await;
    let host = open_host("", &server, "").await;
    for path in ["/many-headers", "/101-headers", "/huge-header", "/garbage", "/short", "/lies", "/silence"] {
        let answer = host.ask("lobby", &format!("!fetch {}", server.url(path))).await;
        assert!(answer.starts_with("unavailable: "), "{path}: {answer}");
        still_answers(&host).await;
    }
    assert_eq!(host.serving("fetch").await.faults, 0);
    assert_eq!(host.ask("lobby", &format!("!fetch {}", server.url("/hello"))).await, "200 hello");
    eventually(|| (server.open() == 0).then_some(()), || format!("{} connections are open", server.open())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f061_a_body_without_end_stops_at_what_the_bot_reads_or_at_its_memory() {
    let server = Server::start().await;
    let host = open_host("", &server, "").await;
    let answer = host.ask("lobby", &format!("!fetch {}", server.url("/endless"))).await;
    assert!(answer.contains("8388608"), "{answer}");
    still_answers(&host).await;

    let host = open_host(ONE_ATTEMPT, &server, "limits = { memory = \"4MiB\" }").await;
    host.say("lobby", &format!("!fetch {}", server.url("/endless"))).await;
    host.metric_reaches("bothost_bot_faults_total{bot=\"fetch\",kind=\"out-of-memory\"}", 1.0).await;
    still_answers(&host).await;
    eventually(|| (server.open() == 0).then_some(()), || format!("{} connections are open", server.open())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f061_a_body_has_so_many_bytes_and_no_more_in_both_directions() {
    let server = Server::start().await;
    let host = open_host("", &server, "limits = { http_body = \"64KiB\" }").await;
    let answer = host.ask("lobby", &format!("!fetch {}", server.url("/much"))).await;
    assert_eq!(answer, "quota exceeded: limits.http_body: a body has at most 65536 bytes");
    // wasi:http has no code for what goes wrong within a body, only words.
    let answer = host.ask("lobby", &format!("!fetch {}", server.url("/endless"))).await;
    assert_eq!(answer, "unavailable: HTTP response body size exceeds limit: 65536 bytes");
    assert_eq!(host.ask("lobby", &format!("!post {} 65536", server.url("/take"))).await, "200 taken");
    let before = server.connections();
    let answer = host.ask("lobby", &format!("!post {} 65537", server.url("/take"))).await;
    assert!(answer.starts_with("invalid: ") && answer.ends_with("HttpRequestBodySize(Some(65536))"), "{answer}");
    assert_eq!(server.connections(), before, "it says itself that it is too long");
    eventually(|| (server.open() == 0).then_some(()), || format!("{} connections are open", server.open())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f061_a_server_that_drips_costs_the_event_its_time_and_nothing_more() {
    let server = Server::start().await;
    let host = open_host(ONE_ATTEMPT, &server, "limits = { event_timeout = \"300ms\", http_in_flight = 1 }").await;
    host.say("lobby", &format!("!fetch {}", server.url("/drip"))).await;
    still_answers(&host).await;
    host.metric_reaches("bothost_bot_faults_total{bot=\"fetch\",kind=\"timed-out\"}", 1.0).await;
    eventually(|| (server.open() == 0).then_some(()), || "its connection outlives the event".into()).await;
    assert_eq!(host.ask("lobby", &format!("!fetch {}", server.url("/hello"))).await, "200 hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f024_a_server_that_never_answers_costs_the_event_its_time_and_nothing_more() {
    let server = Server::start().await;
    let host = open_host(ONE_ATTEMPT, &server, "limits = { event_timeout = \"300ms\", http_in_flight = 1 }").await;
    for round in 1..=3 {
        host.say("lobby", &format!("!fetch {}", server.url("/hang"))).await;
        still_answers(&host).await;
        host.metric_reaches("bothost_bot_faults_total{bot=\"fetch\",kind=\"timed-out\"}", f64::from(round)).await;
        eventually(|| (server.open() == 0).then_some(()), || "its connection outlives the event".into()).await;
    }
    assert_eq!(server.connections(), 3, "each found its place free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f022_a_bot_has_only_so_many_requests_at_one_moment() {
    let server = Server::start().await;
    let limits = "limits = { http_in_flight = 2, event_timeout = \"2s\" }";
    let host = open_host(ONE_ATTEMPT, &server, limits).await;
    let before = host.chat.delivered_count();
    for room in 0..6 {
        host.say(&format!("room-{room}"), &format!("!fetch {}", server.url("/hang"))).await;
    }
    assert_eq!(
        host.answers_since(before, 4).await,
        ["quota exceeded: limits.http_in_flight or limits.http_per_minute"; 4]
    );
    eventually(|| (server.open() == 2).then_some(()), || format!("{} connections are open", server.open())).await;
    assert_eq!(server.connections(), 2);
    host.metric_reaches("bothost_bot_faults_total{bot=\"fetch\",kind=\"timed-out\"}", 2.0).await;
    assert_eq!(host.ask("lobby", &format!("!fetch {}", server.url("/hello"))).await, "200 hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f022_a_bot_has_only_so_many_requests_in_a_minute() {
    let server = Server::start().await;
    let host = open_host("", &server, "limits = { http_per_minute = 3 }").await;
    let before = host.chat.delivered_count();
    for room in 0..5 {
        host.say(&format!("room-{room}"), &format!("!fetch {}", server.url("/hello"))).await;
    }
    let answers = sorted(host.answers_since(before, 5).await);
    assert_eq!(answers[..3], ["200 hello"; 3]);
    assert!(answers[3..].iter().all(|answer| answer.contains("limits.http_per_minute")), "{answers:?}");
    assert_eq!(server.connections(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f029_a_secret_goes_into_a_header_and_never_through_the_bot() {
    let server = Server::start().await;
    let host = open_host("", &server, "secrets = { API_KEY = \"c4n4ry\" }").await;
    let fetch = |authorization: &str| format!("!fetch {} {authorization}", server.url("/hello"));
    assert_eq!(host.ask("lobby", &fetch("Bearer {{secret:API_KEY}}")).await, "200 hello");
    assert!(server.requests()[0].contains("authorization: Bearer c4n4ry\r\n"), "{:?}", server.requests());
    let refused = host.ask("lobby", &fetch("Bearer {{secret:OTHER}}")).await;
    assert!(refused.starts_with("unavailable: ") && refused.ends_with("no secret `OTHER`"), "{refused}");
    assert_eq!(server.requests().len(), 1, "a request that lacks its secret does not leave");
}

/// Everything that the process logs, from the finest level on.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Takes what is logged from now on. A test has its process for itself.
    fn begin() -> Self {
        let log = Self::default();
        let writer = log.clone();
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).init();
        log
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f029_a_server_that_repeats_a_secret_tells_the_bot_stars() {
    let (log, server) = (Log::begin(), Server::start().await);
    let host = open_host("", &server, "secrets = { API_KEY = \"c4n4ry-secret\" }").await;
    let answer = host.ask("lobby", &format!("!fetch {} {{{{secret:API_KEY}}}}", server.url("/echo"))).await;
    assert_eq!(answer, format!("200 you said {}, or {}", "*".repeat(13), "*".repeat(20)));
    assert!(server.requests()[0].contains("authorization: c4n4ry-secret\r\n"), "{:?}", server.requests());
    assert!(server.requests()[0].contains("accept-encoding: identity\r\n"), "{:?}", server.requests());

    let answer = host.ask("lobby", &format!("!fetch {} {{{{secret:API_KEY}}}}", server.url("/zipped"))).await;
    assert!(answer.starts_with("unavailable: ") && answer.contains("gzip"), "nobody could look for it: {answer}");
    assert_eq!(host.ask("lobby", &format!("!fetch {} plain", server.url("/zipped"))).await, "200 ");

    let (text, encoded) = (log.text(), data_encoding::BASE64.encode(b"c4n4ry-secret"));
    assert!(text.contains("you said *************"), "the bot's log has what the bot got");
    let told: Vec<_> = text.lines().filter(|line| line.contains("c4n4ry") || line.contains(&encoded)).collect();
    assert!(told.is_empty(), "{told:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_refused_is_told_as_such() {
    let server = Server::start().await;
    let host = open_host("", &server, "").await;
    let (address, url) = (server.address, server.url("/hello"));
    drop(server);
    eventually(|| std::net::TcpListener::bind(address).ok().map(drop), || "the port is still taken".into()).await;
    let answer =
        tokio::time::timeout(Duration::from_secs(10), host.ask("lobby", &format!("!fetch {url}"))).await.unwrap();
    assert_eq!(answer, format!("unavailable: {address}: connection refused"));
}
