//! The admin side under abuse, of a whole host: connections that are held, heads and bodies without an end, bytes at random, sessions
//! that are to be over, and what is secret asked for at every door.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bothost::admin::client::Client;
use bothost::host::ADMIN_SOCKET;
use harness::guests;
use harness::host::{Home, PATIENCE, eventually};
use harness::telegram::FakeTelegram;
use http::Method;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::letting_in::{Answer, PASSWORD, Rig, TOKEN, exchange};

const PROGRAM: &str = env!("CARGO_BIN_EXE_host");
/// Every endpoint and who may ask for it, a line `METHOD PATH WHO` each.
const ENDPOINTS: &str = include_str!("../../host/src/admin/gate/access.txt");
/// What every secret here has in it.
const CANARY: &str = "CANARY";

/// A rig of this home, whose configuration must let the host listen.
async fn rig(home: Home) -> Rig {
    let host = home.start().await;
    let address = host.host().admin_address().unwrap();
    let client = Client::new(host.home().join("data").join(ADMIN_SOCKET));
    Rig { host, address, client }
}

fn admin(more: &str) -> String {
    format!("[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\n{more}\n")
}

async fn with_echo(more: &str) -> Rig {
    let rig = rig(Home::new(PROGRAM, &admin(more)).with("echo.wasm", &guests::example("echo"))).await;
    rig.host.serving("echo").await;
    rig
}

/// Asks from another address of this machine.
async fn ask_from(rig: &Rig, from: [u8; 4], request: &str, body: Option<Value>) -> Answer {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::from(from), 0))).unwrap();
    let stream = socket.connect(rig.address).await.unwrap().into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    let request = request.to_owned();
    tokio::task::spawn_blocking(move || exchange(stream, &request, body.as_ref())).await.unwrap()
}

async fn token(rig: &Rig, name: &str, role: &str, tenant: Option<&str>) -> String {
    let made = rig.client.edit("/api/v1/tokens", Some(&json!({ "name": name, "role": role, "tenant": tenant }))).await;
    made.unwrap()["token"].as_str().unwrap().to_owned()
}

async fn change_account(rig: &Rig, name: &str, change: Value) {
    rig.client.send(Method::PATCH, &format!("/api/v1/accounts/{name}"), Some(&change)).await.unwrap();
}

/// Sends bytes and returns what comes back until the other side ends it, or for so long.
fn raw(mut stream: TcpStream, bytes: &[u8], within: Duration) -> (Vec<u8>, bool) {
    let deadline = Instant::now() + within;
    // One that has heard enough may end it before it is all sent.
    let _ = stream.write_all(bytes);
    let (mut heard, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            return (heard, false);
        }
        match stream.read(&mut piece) {
            Ok(0) => return (heard, true),
            Ok(count) => heard.extend(&piece[..count]),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                return (heard, false);
            }
            Err(_) => return (heard, true),
        }
    }
}

/// Follows something, and returns once the host has begun to answer.
fn followed(address: SocketAddr, path: &str, header: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n\r\n").unwrap();
    let (mut heard, mut piece) = (String::new(), [0; 4096]);
    while !heard.contains("\r\n\r\n") {
        let count = stream.read(&mut piece).unwrap();
        heard.push_str(&String::from_utf8_lossy(&piece[..count]));
        assert!(count > 0 && heard.starts_with("HTTP/1.1 200"), "{heard}");
    }
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn f094_who_guesses_locks_out_his_own_address_and_no_owner_of_an_account() {
    let rig = Rig::with_token().await;
    rig.account("anna", "admin").await;
    let own = [127, 0, 0, 1];
    let (guesser, stranger) = ([127, 0, 0, 2], [127, 0, 0, 3]);
    let (cookie, _) = rig.sign_in("anna").await;
    let wrong = || Some(json!({ "name": "anna", "password": "not this one, surely" }));
    let right = || Some(json!({ "name": "anna", "password": PASSWORD }));
    let mut last = 0;
    for _ in 0..11 {
        last = ask_from(&rig, guesser, "POST /api/v1/session", wrong()).await.status;
    }
    assert_eq!(last, 429);
    let refused = ask_from(&rig, guesser, "POST /api/v1/session", right()).await;
    assert_eq!(refused.status, 429, "not even with the right one");
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    let by_token = format!("GET /api/v1/bots\nAuthorization: Bearer {TOKEN}");
    assert_eq!(ask_from(&rig, guesser, &by_token, None).await.status, 429);
    assert_eq!(ask_from(&rig, guesser, "GET /health", None).await.status, 200);
    assert_eq!(ask_from(&rig, stranger, &by_token, None).await.status, 200, "another address is none of his");
    assert_eq!(ask_from(&rig, own, "POST /api/v1/session", right()).await.status, 200, "where anna signed in before");
    let session = format!("GET /api/v1/session\nCookie: {cookie}");
    assert_eq!(ask_from(&rig, own, &session, None).await.status, 200);
    rig.client.get("/api/v1/bots").await.expect("the socket is never locked out");
}

#[tokio::test(flavor = "multi_thread")]
async fn f095_each_sign_in_is_a_session_of_its_own_that_no_script_and_no_other_site_gets_at() {
    let rig = Rig::start("").await;
    rig.account("anna", "viewer").await;
    let body = || Some(json!({ "name": "anna", "password": PASSWORD }));
    let planted = "bothost_session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let one = rig.ask(&format!("POST /api/v1/session\nCookie: {planted}"), body()).await;
    let set = one.header("set-cookie").unwrap().to_owned();
    let flags: Vec<_> = set.split("; ").skip(1).collect();
    assert_eq!(flags, ["Path=/", "HttpOnly", "SameSite=Strict"], "{set}");
    let first = set.split(';').next().unwrap().to_owned();
    assert_ne!(first, planted, "what a stranger planted becomes no session");
    assert_eq!(rig.ask(&format!("GET /api/v1/session\nCookie: {planted}"), None).await.status, 401);
    let again = |more: &str| format!("POST /api/v1/session\nCookie: {first}{more}");
    assert_eq!(rig.ask(&again(""), body()).await.status, 403, "a session is not exchanged behind its owner's back");
    let csrf = one.json()["csrf"].as_str().unwrap().to_owned();
    let again = rig.ask(&again(&format!("\nX-CSRF-Token: {csrf}")), body()).await;
    let second = again.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    assert_ne!(first, second);
    // A page of another name that was made to resolve here, and one of another site that signs in somebody as itself.
    for bad in ["Host: evil.example", "Origin: http://evil.example", "Sec-Fetch-Site: cross-site"] {
        let refused = rig.ask(&format!("POST /api/v1/session\n{bad}"), body()).await;
        assert!(matches!(refused.status, 403 | 421) && refused.header("set-cookie").is_none(), "{bad}: {refused:?}");
        let refused = rig.ask(&format!("GET /api/v1/bots\nCookie: {second}\n{bad}"), None).await;
        assert!(matches!(refused.status, 403 | 421), "{bad}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f096_what_somebody_may_is_what_his_account_may_now_and_streams_end_with_it() {
    let rig = Rig::start("").await;
    for (name, role) in [("anna", "operator"), ("bert", "viewer")] {
        rig.account(name, role).await;
    }
    let (cookie, csrf) = rig.sign_in("anna").await;
    let (other, other_csrf) = rig.sign_in("bert").await;
    let patch = |cookie: &str, csrf: &str, name: &str| {
        format!("PATCH /api/v1/accounts/{name}\nCookie: {cookie}\nX-CSRF-Token: {csrf}")
    };
    for name in ["anna", "bert"] {
        let raised = rig.ask(&patch(&other, &other_csrf, name), Some(json!({ "role": "admin" }))).await;
        assert_eq!(raised.status, 403, "nobody raises himself");
    }
    // Streams of both kinds of who was let in, and one of somebody whom nothing happens to.
    let by_token = token(&rig, "ci", "viewer", None).await;
    let follow = async |path: &'static str, header: String| {
        let address = rig.address;
        tokio::task::spawn_blocking(move || followed(address, path, &header)).await.unwrap()
    };
    // All three follow before anything is taken away.
    let of_anna = follow("/api/v1/changes", format!("Cookie: {cookie}")).await;
    let of_token = follow("/api/v1/changes", format!("Authorization: Bearer {by_token}")).await;
    let of_bert = follow("/api/v1/status?follow=true", format!("Cookie: {other}")).await;
    let rest = |stream, within| tokio::task::spawn_blocking(move || raw(stream, b"", within));
    let (of_anna, of_token) = (rest(of_anna, PATIENCE), rest(of_token, PATIENCE));
    let of_bert = rest(of_bert, Duration::from_secs(8));
    let begun = Instant::now();
    change_account(&rig, "anna", json!({ "role": "viewer" })).await;
    rig.client.delete("/api/v1/tokens/ci").await.unwrap();
    for (whose, stream) in [("anna's", of_anna), ("the token's", of_token)] {
        let (heard, has_ended) = stream.await.unwrap();
        assert!(has_ended, "{whose}: {}", String::from_utf8_lossy(&heard));
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "at once, not when the host looks next: {:?}", begun.elapsed());
    let gone = rig.ask(&format!("POST /api/v1/reload\nCookie: {cookie}\nX-CSRF-Token: {csrf}"), None).await;
    assert_eq!(gone.status, 401, "its session is over");
    let (cookie, csrf) = rig.sign_in("anna").await;
    let lowered = rig.ask(&format!("POST /api/v1/reload\nCookie: {cookie}\nX-CSRF-Token: {csrf}"), None).await;
    assert_eq!(lowered.status, 403);
    let (_, has_ended) = of_bert.await.unwrap();
    assert!(!has_ended, "whom nothing was taken from follows on");
    change_account(&rig, "bert", json!({ "standing": "disabled" })).await;
    assert_eq!(rig.ask(&format!("GET /api/v1/session\nCookie: {other}"), None).await.status, 401);
    let again = rig.ask("POST /api/v1/session", Some(json!({ "name": "bert", "password": PASSWORD }))).await;
    assert_eq!(again.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn f096_no_listing_tells_a_tenant_of_another_s_bots() {
    let home = Home::new(PROGRAM, &admin("[bots.acmebot]\ncomponent = \"echo.wasm\"\ntenant = \"acme\"\n[bots.rivalbot]\ncomponent = \"echo.wasm\"\ntenant = \"rival\""))
        .with("echo.wasm", &guests::example("echo"));
    let rig = rig(home).await;
    for bot in ["acmebot", "rivalbot"] {
        rig.host.serving(bot).await;
    }
    rig.host.say("1", "!echo something to list").await;
    rig.host.answers_since(0, 2).await;
    let acme = token(&rig, "acme", "operator", Some("acme")).await;
    let mut seen = 0;
    for line in ENDPOINTS.lines().filter(|line| line.starts_with("GET ")) {
        let path = line.split(' ').nth(1).unwrap();
        for bot in ["rivalbot", "acmebot"] {
            let path = path.replace("{bot}", bot).replace("{event}", "0198f3a21b7c00000123456789abcdef");
            let path: Vec<_> = path.split('/').map(|part| if part.starts_with('{') { "1" } else { part }).collect();
            let path = path.join("/");
            let ask = format!(
                "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {acme}\r\nConnection: close\r\n\r\n"
            );
            let stream = TcpStream::connect(rig.address).unwrap();
            let heard = tokio::task::spawn_blocking(move || raw(stream, ask.as_bytes(), Duration::from_secs(5))).await;
            let heard = String::from_utf8_lossy(&heard.unwrap().0).into_owned();
            seen += usize::from(heard.contains("acmebot"));
            // What he himself wrote into the address may be repeated to him.
            let repeated = if path.contains("rivalbot") { "there is no bot `rivalbot`" } else { "nothing" };
            let of_others = heard.replace(repeated, "");
            let is_refused = heard.starts_with("HTTP/1.1 404") || heard.starts_with("HTTP/1.1 403");
            assert!(is_refused && path.contains("rivalbot") || !of_others.contains("rivalbot"), "{path}: {heard}");
        }
    }
    assert!(seen > 10, "he hears of his own: {seen}");
}

/// Lets this process have as many files open as it may.
fn many_files() -> u64 {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(65_536).min(65_536);
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).unwrap();
    wanted
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn f098_two_thousand_connections_that_say_nothing_keep_neither_the_operator_nor_a_bot_waiting() {
    const SILENT: usize = 2_000;
    assert!(many_files() > 2 * SILENT as u64, "this machine allows too few open files");
    let rig = with_echo("").await;
    let before = resident_kib();
    let held = Arc::new(AtomicUsize::new(0));
    let mut silent = tokio::task::JoinSet::new();
    for _ in 0..SILENT {
        let (address, held) = (rig.address, Arc::clone(&held));
        silent.spawn(async move {
            // Beyond what the system queues they wait as well, which is theirs to do.
            let _stream = tokio::net::TcpStream::connect(address).await;
            held.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<()>().await;
        });
    }
    eventually(|| (held.load(Ordering::Relaxed) > 500).then_some(()), || "they do not connect".to_owned()).await;
    for turn in 0..20 {
        let begun = Instant::now();
        rig.client.get("/health").await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        let begun = Instant::now();
        assert_eq!(rig.host.ask("1", &format!("!echo {turn}")).await, turn.to_string());
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 128 << 10, "{grown} KiB more");
    silent.shutdown().await;
    let begun = Instant::now();
    assert_eq!(rig.ask("GET /health", None).await.status, 200);
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn f098_heads_and_bodies_end_where_they_are_too_long_or_too_slow() {
    let rig = with_echo("").await;
    let address = rig.address;
    let send = move |bytes: Vec<u8>, half: bool| {
        tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            if half {
                stream.write_all(&bytes).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                return raw(stream, b"", Duration::from_secs(20));
            }
            raw(stream, &bytes, Duration::from_secs(20))
        })
    };
    let status = |heard: &[u8]| String::from_utf8_lossy(heard).split(' ').nth(1).map(str::to_owned).unwrap_or_default();
    let head = "GET /health HTTP/1.1\r\nHost: localhost\r\n";
    let slow_head = send(head.as_bytes().to_vec(), false);
    let slow_body = "POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    let slow_body = send(slow_body.as_bytes().to_vec(), false);
    let long_head = send(format!("{head}X: {}\r\n\r\n", "a".repeat(1 << 20)).into_bytes(), false);
    let many_headers = send(format!("{head}{}\r\n", "X: y\r\n".repeat(2_000)).into_bytes(), false);
    let long_body = "POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9999999999\r\n\r\n{";
    let long_body = send(long_body.as_bytes().to_vec(), false);
    let half = send(format!("{head}Connection: close\r\n\r\n").into_bytes(), true);
    let many = format!("{head}\r\n").repeat(49) + &format!("{head}Connection: close\r\n\r\n");
    let many = send(many.into_bytes(), false);
    let two_lengths = "POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /api/v1/bots HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let two_lengths = send(two_lengths.as_bytes().to_vec(), false);

    let (heard, has_ended) = slow_head.await.unwrap();
    assert!(has_ended && (heard.is_empty() || status(&heard) == "408"), "{}", String::from_utf8_lossy(&heard));
    assert_eq!(status(&slow_body.await.unwrap().0), "408");
    for (what, answer) in [("a long head", long_head), ("many headers", many_headers)] {
        let (heard, has_ended) = answer.await.unwrap();
        assert!(
            has_ended && (heard.is_empty() || status(&heard) == "431"),
            "{what}: {}",
            String::from_utf8_lossy(&heard)
        );
    }
    assert_eq!(status(&long_body.await.unwrap().0), "413");
    let (heard, has_ended) = half.await.unwrap();
    assert!(has_ended && (heard.is_empty() || status(&heard) == "200"), "{}", String::from_utf8_lossy(&heard));
    let answers = String::from_utf8_lossy(&many.await.unwrap().0).matches("HTTP/1.1 200 OK").count();
    assert_eq!(answers, 50);
    let (heard, _) = two_lengths.await.unwrap();
    assert!(!String::from_utf8_lossy(&heard).contains("HTTP/1.1 200"), "{}", String::from_utf8_lossy(&heard));
    assert_eq!(rig.host.ask("1", "!echo still").await, "still");
}

/// Returns bytes that are a request nearly, or not at all.
fn garbage(random: &mut fastrand::Rng) -> Vec<u8> {
    const PIECES: [&[u8]; 24] = [
        b"GET ",
        b"POST ",
        b"PUT ",
        b"DELETE ",
        b"/api/v1/bots",
        b"/health",
        b"/",
        b" HTTP/1.1\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"Host: localhost\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Cookie: bothost_session=",
        b"Authorization: Bearer ",
        b"%00",
        b"%2e%2e/",
        b"?limit=1&",
        b"?token=x",
        b"Origin: null\r\n",
        b"\0",
        b"\xff\xfe",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"Upgrade: h2c\r\nConnection: upgrade\r\n",
    ];
    let mut bytes = Vec::new();
    for _ in 0..random.usize(0..12) {
        if random.u8(0..4) == 0 {
            bytes.extend((0..random.usize(0..40)).map(|_| random.u8(..)));
        } else {
            bytes.extend(PIECES[random.usize(..PIECES.len())]);
        }
    }
    bytes
}

/// Returns whether what came back begins as an answer does, or nothing came.
fn is_answer_or_nothing(heard: &[u8]) -> bool {
    heard.is_empty() || heard.starts_with(b"HTTP/1.1 ") || heard.starts_with(b"HTTP/1.0 ")
}

#[tokio::test(flavor = "multi_thread")]
async fn f098_no_bytes_bring_the_admin_side_to_panic_or_to_answer_anything_but_http() {
    const STRINGS: usize = 20_000;
    const AT_ONCE: usize = 16;
    let panics = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&panics);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        counted.fetch_add(1, Ordering::Relaxed);
        before(panic);
    }));
    let rig = with_echo("").await;
    let (address, socket) = (rig.address, rig.data().join(ADMIN_SOCKET));
    let senders = (0..AT_ONCE).map(|number| {
        let socket = socket.clone();
        tokio::task::spawn_blocking(move || {
            let mut random = fastrand::Rng::with_seed(number as u64);
            let mut answered = 0_usize;
            for turn in 0..STRINGS / AT_ONCE {
                let bytes = garbage(&mut random);
                let mut heard = Vec::new();
                // Whoever sends says no more, so the other side ends it too.
                if turn % 2 == 0 {
                    let mut stream = TcpStream::connect(address).unwrap();
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    let _ = stream.write_all(&bytes);
                    let _ = stream.shutdown(std::net::Shutdown::Write);
                    let _ = stream.read_to_end(&mut heard);
                } else {
                    let mut stream = UnixStream::connect(&socket).unwrap();
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    let _ = stream.write_all(&bytes);
                    let _ = stream.shutdown(std::net::Shutdown::Write);
                    let _ = stream.read_to_end(&mut heard);
                }
                assert!(is_answer_or_nothing(&heard), "seed {number}, turn {turn}: {heard:?} to {bytes:?}");
                answered += usize::from(!heard.is_empty());
            }
            answered
        })
    });
    let mut answered = 0;
    for sender in senders.collect::<Vec<_>>() {
        answered += sender.await.unwrap();
    }
    assert!(answered > STRINGS / 20, "{answered} were answered at all");
    assert_eq!(panics.load(Ordering::Relaxed), 0);
    rig.client.get("/health").await.unwrap();
    assert_eq!(rig.host.ask("1", "!echo still").await, "still");
}

#[track_caller]
fn assert_clean(whence: &str, text: &str) {
    if let Some(at) = text.find(CANARY) {
        let (from, to) = (text.floor_char_boundary(at.saturating_sub(300)), text.ceil_char_boundary(at + 60));
        panic!("{whence} tells a secret: …{}…", &text[from..to]);
    }
}

/// Every secret that the admin side takes, by where it belongs.
fn canaries() -> BTreeMap<&'static str, String> {
    ["connector", "offer", "offer-given", "rental-token", "rental-secret", "bot", "channel", "account", "wrong"]
        .into_iter()
        .enumerate()
        .map(|(number, name)| (name, format!("{}:{CANARY}{number:030}", 4_000 + number)))
        .collect()
}

fn secret_config(of: &BTreeMap<&str, String>, fake: &FakeTelegram) -> String {
    let url = fake.url();
    admin(&format!(
        "[connectors.shared]\ntype = \"telegram\"\ntoken = \"{}\"\napi_url = \"{url}\"\n\
         [alerts.channels.hook]\ntype = \"webhook\"\nurl = \"http://127.0.0.1:1/\"\nsecret = \"{}\"\n\
         [offers.one]\ntitle = \"One\"\ncomponent = \"echo.wasm\"\nsecrets = {{ GIVEN = \"{}\" }}\nask_secrets = [\"ASKED\"]\n\
         connector = {{ type = \"telegram\", api_url = \"{url}\", poll_timeout = \"1s\" }}\n\
         [offers.two]\ntitle = \"Two\"\ncomponent = \"echo.wasm\"\n\
         connector = {{ type = \"telegram\", api_url = \"{url}\", token = \"{}\" }}\n",
        of["connector"], of["channel"], of["offer-given"], of["offer"],
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn f100_no_endpoint_page_error_or_file_shows_anybody_a_secret() {
    let of = canaries();
    let fake = FakeTelegram::start(&of["rental-token"]).await;
    let entry = format!("component = \"echo.wasm\"\nsecrets = {{ KEY = \"{}\" }}\n", of["bot"]);
    let home = Home::new(PROGRAM, &secret_config(&of, &fake)).with("echo.wasm", &guests::example("echo"));
    let rig = rig(home.with("own.toml", entry.as_bytes())).await;
    rig.host.serving("own").await;
    let account = json!({ "name": "anna", "role": "admin", "password": of["account"] });
    rig.client.edit("/api/v1/accounts", Some(&account)).await.unwrap();
    let wishes = json!({ "tenant": "acme", "offer": "one", "connector": { "token": of["rental-token"] },
        "secrets": { "ASKED": of["rental-secret"] } });
    let rented = rig.client.edit("/api/v1/rentals", Some(&wishes)).await.unwrap();
    assert_clean("renting", &rented.to_string());
    rig.host.serving("acme-one").await;

    let mut callers = vec![("admin", TOKEN.to_owned())];
    for (name, role, tenant) in
        [("boss", "admin", None), ("looker", "viewer", None), ("acme", "operator", Some("acme"))]
    {
        callers.push((name, token(&rig, name, role, tenant).await));
    }
    let own_tokens: Vec<_> = callers[1..].iter().map(|(_, token)| token.clone()).collect();
    errors_on_purpose(&rig, &of).await;

    let mut good = 0;
    for (who, token) in &callers {
        for line in ENDPOINTS.lines().filter(|line| line.starts_with("GET ")) {
            let path = line.split(' ').nth(1).unwrap();
            let of_bot = if path.contains("{bot}") { ["own", "acme-one"].as_slice() } else { &[""] };
            for bot in of_bot {
                let path = path.replace("{bot}", bot).replace("{version}", "1").replace("{other}", "latest");
                let path = path.replace("{connector}", "telegram");
                let path: Vec<_> = path.split('/').map(|part| if part.starts_with('{') { "1" } else { part }).collect();
                let ask = format!(
                    "GET {} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n",
                    path.join("/")
                );
                let stream = TcpStream::connect(rig.address).unwrap();
                let heard = tokio::task::spawn_blocking(move || raw(stream, ask.as_bytes(), Duration::from_secs(2)));
                let heard = String::from_utf8_lossy(&heard.await.unwrap().0).into_owned();
                good += usize::from(heard.starts_with("HTTP/1.1 200"));
                let whence = format!("{who} asks for {}", path.join("/"));
                assert_clean(&whence, &heard);
                assert!(own_tokens.iter().chain([&TOKEN.to_owned()]).all(|token| !heard.contains(token)), "{whence}");
            }
        }
    }
    assert!(good > 150, "{good} were answered");
    let (_, home) = rig.host.stop(PROGRAM, "").await;
    only_where_it_belongs(home.path());
}

/// Makes every mistake that there is with a secret in it, and looks at what is said about it.
async fn errors_on_purpose(rig: &Rig, of: &BTreeMap<&str, String>) {
    let wrong = &of["wrong"];
    let as_admin = format!("\nAuthorization: Bearer {TOKEN}");
    let asked = [
        ("POST /api/v1/session", json!({ "name": "anna", "password": wrong })),
        ("POST /api/v1/session", json!({ "name": wrong, "password": wrong })),
        ("POST /api/v1/accounts", json!({ "name": "x", "role": "viewer", "password": CANARY })),
        ("POST /api/v1/accounts", json!({ "name": "x", "role": "viewer", "password": [wrong] })),
        (
            "POST /api/v1/rentals",
            json!({ "tenant": "b", "offer": "one", "connector": { "token": format!("{wrong} x/y") } }),
        ),
        ("POST /api/v1/rentals", json!({ "tenant": "b", "offer": "one", "connector": { "token": [wrong] } })),
        ("POST /api/v1/rentals", json!({ "tenant": "b", "offer": "none", "connector": { "token": wrong } })),
        ("POST /api/v1/rentals", json!({ "tenant": "b", "offer": "two", "secrets": { "NOT": wrong } })),
        ("PUT /api/v1/bots/acme-one/settings", json!({ "connector": { "api_url": wrong } })),
        ("POST /api/v1/config/set", json!({ "key": "connectors.shared.token", "value": format!("{wrong} /") })),
        ("POST /api/v1/config/set", json!({ "key": "alerts.channels.hook.secret", "value": format!("[\"{wrong}\"]") })),
        ("PUT /api/v1/connectors/shared", json!({ "type": "telegram", "token": wrong, "tokn": wrong })),
        ("PUT /api/v1/bots/own", json!({ "component": "echo.wasm", "secrets": [wrong] })),
    ];
    for (request, body) in asked {
        let header = if request.ends_with("session") { "" } else { &as_admin };
        let answer = rig.ask(&format!("{request}{header}"), Some(body)).await;
        assert!((400..500).contains(&answer.status), "{request} is no mistake: {answer:?}");
        // What stands for a name may be repeated as far as it is one; no secret is.
        assert_clean(request, &format!("{}{}", answer.head, answer.body));
    }
    let broken = format!("PUT /api/v1/config{as_admin}\nIf-Match: *\nContent-Type: application/toml");
    let answer = rig.ask(&broken, Some(json!(format!("[admin]\ntoken = \"{wrong}")))).await;
    assert!((400..500).contains(&answer.status), "{answer:?}");
    assert_clean("a broken configuration", &answer.body);
    let in_query = rig.ask(&format!("GET /api/v1/bots?token={wrong}"), None).await;
    assert_clean("a token in the query", &in_query.body);
}

/// Looks through every file: the operator's own, the bots' own, and the generations, which nobody else may read, have secrets.
fn only_where_it_belongs(home: &Path) {
    fn walk(dir: &Path, look: &mut impl FnMut(&Path)) {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => walk(&entry.path(), look),
                kind if kind.is_file() => look(&entry.path()),
                _ => {}
            }
        }
    }
    let mut seen = 0;
    walk(home, &mut |path| {
        let relative = path.strip_prefix(home).unwrap();
        seen += 1;
        if relative == Path::new("config.toml") || relative.starts_with("bots") {
            return;
        }
        if relative.starts_with("data/generations") {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o077, 0, "{}", path.display());
            return;
        }
        assert_clean(&relative.display().to_string(), &String::from_utf8_lossy(&fs::read(path).unwrap()));
    });
    assert!(seen > 10, "there are files to look through");
}

#[tokio::test(flavor = "multi_thread")]
async fn f101_an_address_that_an_admin_configures_is_never_where_clouds_keep_their_credentials() {
    let rig = with_echo("[alerts.channels.hook]\ntype = \"webhook\"\nurl = \"http://127.0.0.1:1/\"").await;
    let test = async |url: &str| {
        let body = json!({ "key": "alerts.channels.hook.url", "value": url });
        rig.client.edit("/api/v1/config/set", Some(&body)).await.unwrap();
        let said =
            rig.ask(&format!("POST /api/v1/alerts/channels/hook/test\nAuthorization: Bearer {TOKEN}"), None).await;
        format!("{} {}", said.status, said.body)
    };
    for url in ["http://169.254.169.254/latest/meta-data/", "http://[fe80::1]/", "http://[::ffff:169.254.169.254]/"] {
        let said = test(url).await;
        assert!(said.contains("is not allowed") && said.contains("link-local"), "{url}: {said}");
    }
    // What runs beside the host is what such channels are for.
    let said = test("http://127.0.0.1:1/").await;
    assert!(said.contains("cannot connect") || said.contains("refused"), "{said}");
    // A connector's address likewise.
    let connector = json!({ "type": "telegram", "token": "1:x", "api_url": "http://169.254.169.254" });
    rig.client.send(Method::PUT, "/api/v1/connectors/cloud", Some(&connector)).await.unwrap();
    let reached = || {
        let links = rig.host.host().links();
        links
            .get(&"cloud".parse().unwrap())
            .map(|status| format!("{:?}", status.link))
            .filter(|link| link.contains("not allowed"))
    };
    eventually(reached, || "the connector is not refused".to_owned()).await;
}

fn run(home: &Path, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(PROGRAM).args(arguments).current_dir(home).stdin(Stdio::null()).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap_or(-1), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn f102_a_byte_that_was_changed_and_a_tail_that_was_cut_are_found_by_line() {
    let rig = Rig::start("").await;
    for name in ["anna", "bert", "carl"] {
        rig.account(name, "viewer").await;
    }
    let file = rig.data().join("audit/audit-000001.log");
    let (_, stopped) = rig.host.stop(PROGRAM, "").await;
    let home = stopped.path();
    let look = || [run(home, &["audit", "--verify"]), run(home, &["doctor", "config.toml"])];
    let [(verified, said), (_, doctor)] = look();
    assert_eq!(verified, 0, "{said}");
    assert!(!doctor.contains("audit-000001.log"), "{doctor}");
    let good = fs::read(&file).unwrap();
    let second = 1 + good.iter().position(|byte| *byte == b'\n').unwrap();
    let mut flipped = good.clone();
    flipped[second + 30] ^= 1;
    let last = good[..good.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for (what, bytes, place) in [
        ("a byte", flipped, "audit-000001.log:2"),
        ("the last line", good[..last].to_vec(), "audit-000001.log"),
        ("half a line", good[..last + 20].to_vec(), "audit-000001.log:3"),
    ] {
        fs::write(&file, bytes).unwrap();
        for (code, said) in look() {
            assert_eq!(code, 1, "{what}: {said}");
            assert!(said.contains(place), "{what}: {said}");
        }
    }
    fs::write(&file, good).unwrap();
    assert_eq!(run(home, &["audit", "--verify"]).0, 0);
}

#[test]
fn f103_under_any_umask_what_the_host_keeps_is_its_own_and_an_open_directory_is_told() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("bots")).unwrap();
    let config = "[host]\ndata_dir = \"data\"\nbots_dir = \"bots\"\ninstances = 4\n";
    fs::write(home.path().join("config.toml"), config).unwrap();
    let (data, said_in) = (home.path().join("data"), home.path().join("said"));
    let start = || {
        let said = fs::File::create(&said_in).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "umask 000; exec \"$0\" run config.toml", PROGRAM]).current_dir(home.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn().unwrap();
        let begun = Instant::now();
        while UnixStream::connect(data.join(ADMIN_SOCKET)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "{}", fs::read_to_string(&said_in).unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
        child
    };
    let stop = |mut child: std::process::Child| {
        let id = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        assert!(child.wait().unwrap().success());
    };
    let child = start();
    let mode = |path: &Path| path.symlink_metadata().unwrap().permissions().mode() & 0o777;
    let mut open = Vec::new();
    let mut look = vec![data.clone()];
    while let Some(path) = look.pop() {
        if mode(&path) & 0o077 != 0 {
            open.push(format!("{} {:03o}", path.display(), mode(&path)));
        }
        if path.is_dir() {
            look.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert!(open.is_empty(), "others may: {open:#?}");
    assert_eq!((mode(&data), mode(&data.join(ADMIN_SOCKET))), (0o700, 0o600));
    assert!(!fs::read_to_string(&said_in).unwrap().contains("other users can look into"));
    stop(child);
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    stop(start());
    let said = fs::read_to_string(&said_in).unwrap();
    assert!(said.contains("other users can look into") && said.contains("chmod 700"), "{said}");
    let (code, said) = run(home.path(), &["doctor", "config.toml"]);
    assert!(code == 1 && said.contains("other users can look into"), "{said}");
}
