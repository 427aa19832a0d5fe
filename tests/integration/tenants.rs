//! Tenants rent bots with tokens of their own, and what the operator sends to the bots' directory is judged before it lies there.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bothost::bot::phase::Phase;
use bothost::connector::Link;
use harness::guests;
use harness::host::{Home, PATIENCE, TestHost, eventually};
use harness::telegram::FakeTelegram;
use serde_json::{Value, json};

const COMPILER: &str = env!("CARGO_BIN_EXE_host");
const BOB: i64 = 7;

/// Two offers of the same bot, each on a Telegram of its own.
fn offers(one: &FakeTelegram, other: &FakeTelegram) -> String {
    let offer = |name: &str, fake: &FakeTelegram| {
        let url = fake.url();
        format!(
            "[offers.{name}]\ncomponent = \"echo.wasm\"\ntitle = \"Echo\"\nper_tenant_max = 2\n\
             connector = {{ type = \"telegram\", api_url = \"{url}\", poll_timeout = \"1s\", reconnect_max = \"50ms\" }}\n"
        )
    };
    offer("one", one) + &offer("other", other)
}

/// Sends a request by the socket, as whoever runs the host, and returns status and body.
fn send(mut stream: UnixStream, head: &str, body: &[u8]) -> (u16, Value) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let text = format!("{head} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    let length = if head.contains("Content-Length") || head.contains("Transfer-Encoding") {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    let (line, rest) = text.split_once(" HTTP/1.1\r\n").unwrap();
    let (line, own) = line.split_once('\n').unwrap_or((line, ""));
    let own: String = own.lines().map(|header| format!("{header}\r\n")).collect();
    stream.write_all(format!("{line} HTTP/1.1\r\n{rest}{own}{length}\r\n").as_bytes()).unwrap();
    // A server that has heard enough answers, and reads no more.
    let _ = stream.write_all(body);
    answer(stream)
}

fn answer(mut stream: UnixStream) -> (u16, Value) {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

fn connect(host: &TestHost) -> UnixStream {
    UnixStream::connect(host.home().join("data/admin.sock")).unwrap()
}

/// Asks without holding up the runtime on which the fakes answer.
async fn ask(host: &TestHost, request: &str, body: Value) -> (u16, Value) {
    let (stream, head) = (connect(host), request.to_owned());
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    tokio::task::spawn_blocking(move || send(stream, &head, &body)).await.unwrap()
}

async fn upload(host: &TestHost, file: &str, body: Vec<u8>) -> (u16, Value) {
    let (stream, head) = (connect(host), format!("PUT /api/v1/components/{file}\nContent-Type: application/wasm"));
    tokio::task::spawn_blocking(move || send(stream, &head, &body)).await.unwrap()
}

async fn rent(host: &TestHost, tenant: &str, offer: &str, token: &str) -> (u16, Value) {
    let wishes = json!({"tenant": tenant, "offer": offer, "connector": {"token": token}});
    ask(host, "POST /api/v1/rentals", wishes).await
}

async fn answered(fake: &FakeTelegram, text: &str) {
    let said = |fake: &FakeTelegram| fake.sent().iter().any(|sent| sent["text"] == text);
    eventually(|| said(fake).then_some(()), || format!("nobody said {text}: {:?}", fake.sent())).await;
}

fn connections(host: &TestHost, key: &str) -> Option<(u64, Link)> {
    host.host().links().get(&key.parse().unwrap()).map(|status| (status.connections, status.link))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rented_bot_starts_by_itself_and_another_token_restarts_it_alone() {
    let (one, other) = (FakeTelegram::start("1:one").await, FakeTelegram::start("2:other").await);
    let home = Home::new(COMPILER, &offers(&one, &other)).with("echo.wasm", &guests::example("echo"));
    let host = home.start().await;
    assert!(host.bot("echo").is_none(), "what is offered is no bot of its own");
    assert_eq!(rent(&host, "acme", "one", "1:one").await.1["bot"], "acme-one");
    assert_eq!(rent(&host, "rival", "other", "2:other").await.1["bot"], "rival-other");
    assert_eq!(host.serving("acme-one").await.tenant.as_str(), "acme");
    host.serving("rival-other").await;
    one.push_message(BOB, "!echo from one");
    other.push_message(BOB, "!echo from other");
    answered(&one, "from one").await;
    answered(&other, "from other").await;
    let file = host.bots().join("acme-one.toml");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let before = (connections(&host, "rival-other/telegram"), host.bot("rival-other").unwrap().edition);
    one.set_token("1:new");
    let (status, said) = ask(&host, "PATCH /api/v1/rentals/acme-one", json!({"connector": {"token": "1:new"}})).await;
    assert_eq!(status, 200, "{said}");
    one.push_message(BOB, "!echo after");
    answered(&one, "after").await;
    assert_eq!((connections(&host, "rival-other/telegram"), host.bot("rival-other").unwrap().edition), before);

    // A secret is never read back, and `[redacted]` keeps it.
    let (_, seen) = ask(&host, "GET /api/v1/bots/acme-one/settings", Value::Null).await;
    assert_eq!(seen["connector"], json!([{"name": "token", "set": true}]));
    let kept = json!({"connector": {"token": "[redacted]"}, "settings": {"greeting": "${HOME}"}});
    let (status, said) = ask(&host, "PUT /api/v1/bots/acme-one/settings", kept).await;
    assert_eq!(status, 200, "{said}");
    let (_, seen) = ask(&host, "GET /api/v1/bots/acme-one/settings", Value::Null).await;
    assert_eq!(seen["settings"], json!({"greeting": "${HOME}"}));
    assert!(std::fs::read_to_string(&file).unwrap().contains("1:new"));

    let (status, _) = ask(&host, "PATCH /api/v1/rentals/acme-one", json!({"enabled": false})).await;
    assert_eq!(status, 200);
    host.bot_when("acme-one", |status| status.phase == Phase::Disabled).await;
    assert_eq!(connections(&host, "acme-one/telegram"), None, "its connector is gone");
    let (status, _) = ask(&host, "DELETE /api/v1/rentals/acme-one", Value::Null).await;
    assert_eq!((status, file.exists()), (200, false));
    eventually(|| host.bot("acme-one").is_none().then_some(()), || "it is still there".into()).await;
    let (_, versions) = ask(&host, "GET /api/v1/config/versions", Value::Null).await;
    assert!(versions.to_string().contains("acme rented acme-one by the offer one"), "{versions}");
    assert!(
        connections(&host, "rival-other/telegram") == before.0 && !versions.to_string().contains("1:new"),
        "{versions}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rental_that_cannot_be_is_refused_and_changes_nothing() {
    let fake = FakeTelegram::start("1:one").await;
    let home = Home::new(COMPILER, &offers(&fake, &fake)).with("echo.wasm", &guests::example("echo"));
    let host = home.start().await;
    assert_eq!(rent(&host, "acme", "one", "1:one").await.0, 200);
    for (tenant, offer, token, expected) in [
        ("rival", "one", "1:one", 422),
        ("rival", "oen", "2:x", 404),
        ("rival", "one", "s3cret/../x", 422),
        ("rival", "one", "", 422),
    ] {
        let (status, said) = rent(&host, tenant, offer, token).await;
        assert_eq!(status, expected, "{tenant} {offer}: {said}");
        assert!(!said.to_string().contains("s3cret") && !said.to_string().contains("1:one"), "{said}");
    }
    assert_eq!(rent(&host, "acme", "one", "2:two").await.1["bot"], "acme-one-2");
    assert_eq!(rent(&host, "acme", "one", "3:three").await.0, 409);
    let files = std::fs::read_dir(host.bots())
        .unwrap()
        .filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "toml"));
    assert_eq!(files.count(), 2);
    let (_, offers) = ask(&host, "GET /api/v1/offers", Value::Null).await;
    assert_eq!(offers[0]["ask"], json!([{"name": "token", "secret": true}]));
    assert_eq!(offers[0]["bots"], json!(["acme-one", "acme-one-2"]));
    let (_, tenants) = ask(&host, "GET /api/v1/tenants", Value::Null).await;
    assert_eq!((&tenants[0]["name"], tenants[0]["bots"].as_object().unwrap().len()), (&json!("acme"), 2));
}

#[test]
fn a_check_judges_what_is_offered_as_if_it_were_rented() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    std::fs::create_dir(dir.path().join("bots")).unwrap();
    std::fs::write(dir.path().join("bots/fetch.wasm"), guests::guest("fetch")).unwrap();
    let offer = |name: &str, more: &str| format!("[offers.{name}]\ntitle = \"X\"\n{more}\n");
    let text = offer("absent", "component = \"absent.wasm\"")
        + &offer("bare", "component = \"fetch.wasm\"")
        + &offer("good", "component = \"fetch.wasm\"\ngrants = { http = [] }");
    std::fs::write(&path, text).unwrap();
    let checked = std::process::Command::new(COMPILER).arg("check").arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(!checked.status.success(), "{said}");
    let about = |name: &str| said.lines().find(|line| line.contains(&format!("offer {name}:")));
    assert!(about("absent").is_some_and(|line| line.contains("copy it there")), "{said}");
    assert!(about("bare").is_some_and(|line| line.contains("http")), "{said}");
    assert_eq!(about("good"), None, "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_is_sent_is_judged_before_it_lies_there() {
    let host = Home::new(COMPILER, "").with("echo.wasm", &guests::example("echo")).start().await;
    let first = host.serving("echo").await.component;
    let mut other = guests::example("echo");
    other.extend([0, 3, 1, b'x', 7]);
    let (status, said) = upload(&host, "echo.wasm?reason=newer", other.clone()).await;
    assert_eq!((status, &said["bots"], &said["serving"]), (200, &json!(["echo"]), &json!(["echo"])), "{said}");
    assert_ne!(host.serving("echo").await.component, first);
    let generation = said["generation"].as_u64().unwrap();
    let in_force = std::fs::read(host.bots().join("echo.wasm")).unwrap();
    for (file, bytes, expected) in [
        ("echo.wasm", b"no component".to_vec(), 422),
        ("echo.wasm", guests::guest("spin_describe"), 422),
        ("echo.wasm", Vec::new(), 422),
        ("..%2Fx.wasm", other.clone(), 400),
        ("..%5Cx.wasm", other.clone(), 400),
        ("x.txt", other.clone(), 400),
        (".x.wasm", other.clone(), 400),
        ("two%20words.wasm", other.clone(), 400),
    ] {
        let (status, said) = upload(&host, file, bytes).await;
        assert_eq!(status, expected, "{file}: {said}");
    }
    // One that needs what its bot is not granted names what is missing.
    let (status, said) = upload(&host, "fetch.wasm", guests::guest("fetch")).await;
    assert!(status == 422 && said.to_string().contains("http"), "{said}");
    assert_eq!(std::fs::read(host.bots().join("echo.wasm")).unwrap(), in_force);
    assert_eq!(std::fs::read_dir(host.bots()).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(host.home().join("data/uploads")).unwrap().count(), 0, "nothing is left");
    let (_, listed) = ask(&host, "GET /api/v1/components", Value::Null).await;
    assert_eq!((&listed[0]["file"], &listed[0]["bots"]), (&json!("echo.wasm"), &json!(["echo"])));
    assert_eq!(ask(&host, "DELETE /api/v1/components/echo.wasm", Value::Null).await.0, 409);
    // It has a generation, and so can be undone.
    let rollback = format!("POST /api/v1/config/versions/{}/rollback", generation - 1);
    assert_eq!(ask(&host, &rollback, Value::Null).await.0, 200);
    assert_eq!(host.serving("echo").await.component, first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f097_no_upload_takes_more_than_its_share_of_disk_time_or_turns() {
    let host = Home::new(COMPILER, "[limits]\ncomponent_size = \"1MiB\"\n").start().await;
    let put = "PUT /api/v1/components/x.wasm";
    let huge = send(connect(&host), &format!("{put}\nContent-Length: 10737418240"), b"\0asm");
    assert_eq!(huge.0, 413, "{}", huge.1);
    // Of unknown length, it ends where it is too long.
    let mut chunked = Vec::new();
    for _ in 0..40 {
        chunked.extend(b"10000\r\n");
        chunked.extend(vec![7; 65_536]);
        chunked.extend(b"\r\n");
    }
    let chunked = send(connect(&host), &format!("{put}\nTransfer-Encoding: chunked"), &chunked);
    assert_eq!(chunked.0, 413, "{}", chunked.1);

    // Whoever sends slowly holds a turn, and not for long.
    let begun = Instant::now();
    let mut slow: Vec<_> = (0..100).map(|_| connect(&host)).collect();
    for stream in &mut slow {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!("{put} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n\0");
        stream.write_all(head.as_bytes()).unwrap();
    }
    let answers =
        tokio::task::spawn_blocking(move || slow.into_iter().map(|stream| answer(stream).0).collect::<Vec<_>>());
    let answers = answers.await.unwrap();
    let count = |wanted: u16| answers.iter().filter(|status| **status == wanted).count();
    assert_eq!((count(408), count(503)), (2, 98), "{answers:?}");
    assert!(begun.elapsed() < PATIENCE + Duration::from_secs(10));
    assert_eq!(std::fs::read_dir(host.home().join("data/uploads")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(host.bots()).unwrap().count(), 0);
    // Its turns are free again.
    let (status, said) = upload(&host, "x.wasm", b"no component".to_vec()).await;
    assert_eq!(status, 422, "{said}");
}
