//! What was asked for first of all, from end to end over HTTP: tenants who configure bots of a host that runs and was told nothing
//! before, and every function that a platform's operator wants of a host.

mod functions;

use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use bothost::admin::client::Client;
use bothost::host::ADMIN_SOCKET;
use harness::guests;
use harness::host::{Home, PATIENCE, TestHost};
use harness::telegram::FakeTelegram;
use serde_json::{Value, json};

use super::letting_in::{Answer, exchange_bytes};

const PROGRAM: &str = env!("CARGO_BIN_EXE_host");
const PASSWORD: &str = "correct horse battery";

/// No bot, no connector, no offer: an address, and that a bot which crashes is not left alone for long.
const NOTHING: &str = r#"
[admin]
listen = "127.0.0.1:0"
[queue]
max_attempts = 2
[supervisor]
backoff_initial = "20ms"
backoff_max = "50ms"
[supervisor.breaker]
failures = 1
open_for = "100ms"
"#;

/// A host, and whoever runs it.
struct Started {
    host: TestHost,
    address: SocketAddr,
    socket: PathBuf,
    operator: Client,
}

/// A tenant that has signed in.
struct Tenant {
    address: SocketAddr,
    cookie: String,
    csrf: String,
}

impl Started {
    async fn with_nothing() -> Self {
        let host = Home::new(PROGRAM, NOTHING).start().await;
        let address = host.host().admin_address().unwrap();
        let socket = host.home().join("data").join(ADMIN_SOCKET);
        Self { operator: Client::new(&socket), host, address, socket }
    }

    /// Sends what is no JSON, by the socket.
    async fn send(&self, request: String, body: Vec<u8>) -> Answer {
        let stream = UnixStream::connect(&self.socket).unwrap();
        tokio::task::spawn_blocking(move || exchange_bytes(stream, &request, &body)).await.unwrap()
    }

    /// Writes an offer into the configuration as it is.
    async fn offer(&self, name: &str, fake: &FakeTelegram) {
        let seen = self.send("GET /api/v1/config".to_owned(), Vec::new()).await;
        let url = fake.url();
        let offer = format!(
            "\n[offers.{name}]\ncomponent = \"panic.wasm\"\ntitle = \"Helper\"\n\
             connector = {{ type = \"telegram\", api_url = \"{url}\", poll_timeout = \"1s\", reconnect_max = \"50ms\" }}\n"
        );
        let tag = seen.header("etag").unwrap();
        let request = format!("PUT /api/v1/config\nIf-Match: {tag}\nContent-Type: application/toml");
        let put = self.send(request, format!("{}{offer}", seen.body).into_bytes()).await;
        assert_eq!(put.status, 200, "{put:?}");
    }

    /// Makes an account for a tenant.
    async fn account(&self, name: &str, tenant: &str) {
        let body = json!({ "name": name, "role": "operator", "tenant": tenant, "password": PASSWORD });
        self.operator.edit("/api/v1/accounts", Some(&body)).await.unwrap();
    }

    async fn sign_in(&self, name: &str) -> Tenant {
        let body = json!({ "name": name, "password": PASSWORD });
        let answer = ask(self.address, "POST /api/v1/session".to_owned(), body.to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        Tenant { address: self.address, cookie, csrf: answer.json()["csrf"].as_str().unwrap().to_owned() }
    }
}

async fn ask(address: SocketAddr, request: String, body: String) -> Answer {
    let asked = move || exchange_bytes(TcpStream::connect(address).unwrap(), &request, body.as_bytes());
    tokio::task::spawn_blocking(asked).await.unwrap()
}

impl Tenant {
    async fn ask(&self, request: &str, body: Value) -> Answer {
        let (cookie, csrf) = (&self.cookie, &self.csrf);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        ask(self.address, format!("{request}\nCookie: {cookie}\nX-CSRF-Token: {csrf}"), body).await
    }

    /// Asks for what must be answered.
    async fn told(&self, request: &str, body: Value) -> Value {
        let answer = self.ask(request, body).await;
        assert!((200..300).contains(&answer.status), "{request}: {answer:?}");
        answer.json()
    }

    /// Rents a bot with a token, and returns its name.
    async fn rent(&self, offer: &str, token: &str) -> String {
        let wishes = json!({ "offer": offer, "connector": { "token": token } });
        self.told("POST /api/v1/rentals", wishes).await["bot"].as_str().unwrap().to_owned()
    }

    /// Asks until what is answered is as wanted, and returns it.
    async fn told_until(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answer = self.told(&format!("GET {path}"), Value::Null).await;
            if is_so(&answer) {
                return answer;
            }
            assert!(tokio::time::Instant::now() < deadline, "{path}: {answer:#}");
            tokio::task::yield_now().await;
        }
    }
}

/// Writes to the bot behind a fake, in a chat of its own, and waits for `pong`.
async fn is_answered(fake: &FakeTelegram, chat: i64) {
    fake.push_message(chat, "!ping");
    let answer = |sent: &Value| sent["text"] == "pong" && sent["chat_id"] == chat;
    let found = || fake.sent().iter().any(answer).then_some(());
    harness::host::eventually(found, || format!("no answer in {chat}: {:?}", fake.sent())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_configure_bots_of_a_host_that_was_told_nothing_before() {
    let started = Started::with_nothing().await;
    let (one, other) = (FakeTelegram::start("1:one").await, FakeTelegram::start("2:other").await);
    assert_eq!(started.operator.get("/api/v1/bots").await.unwrap(), json!([]), "it runs, and waits to be told");
    assert_eq!(started.operator.get("/health").await.unwrap()["status"], "ok");

    // The operator makes an account, an offer, and what is offered.
    started.account("ada", "acme").await;
    started.offer("helper", &one).await;
    started.offer("other", &other).await;
    let put = "PUT /api/v1/components/panic.wasm\nContent-Type: application/wasm".to_owned();
    let sent = started.send(put, guests::guest("panic")).await;
    assert_eq!(sent.status, 200, "{sent:?}");

    // The tenant signs in and gives its token: the bot starts by itself.
    let ada = started.sign_in("ada").await;
    let offers = ada.told("GET /api/v1/offers", Value::Null).await;
    assert_eq!((&offers[0]["title"], &offers[0]["ask"][0]["name"]), (&json!("Helper"), &json!("token")));
    assert_eq!(ada.rent("helper", "1:one").await, "acme-helper");
    is_answered(&one, 1).await;

    // A second tenant joins while it runs.
    started.account("bob", "rival").await;
    let bob = started.sign_in("bob").await;
    assert_eq!(bob.told("GET /api/v1/bots", Value::Null).await, json!([]), "of others a tenant sees nothing");
    assert_eq!(bob.rent("other", "2:other").await, "rival-other");
    is_answered(&other, 1).await;

    // Another token: its connector alone connects anew.
    let connectors = "/api/v1/bots/acme-helper/connectors";
    let of_bob = "GET /api/v1/bots/rival-other/connectors/telegram";
    let before = (bob.told(of_bob, Value::Null).await, bob.told("GET /api/v1/bots/rival-other", Value::Null).await);
    one.set_token("1:new");
    let change = json!({ "connector": { "token": "1:new" } });
    ada.told("PATCH /api/v1/rentals/acme-helper", change).await;
    is_answered(&one, 2).await;
    ada.told_until(connectors, |all| all[0]["link"] == "connected").await;
    let after = (bob.told(of_bob, Value::Null).await, bob.told("GET /api/v1/bots/rival-other", Value::Null).await);
    assert_eq!((&after.0["connections"], &after.0["since"]), (&json!(1), &before.0["since"]));
    assert_eq!(after.1["since"], before.1["since"]);

    // It crashes, and runs again by itself, alone.
    // More often than it was well, so that it is not only that one event which is to blame.
    for chat in 100..104 {
        one.push_message(chat, "!panic");
    }
    ada.told_until("/api/v1/bots/acme-helper", |bot| bot["restarts"] != 0).await;
    is_answered(&one, 4).await;
    ada.told_until("/api/v1/bots/acme-helper", |bot| bot["phase"] == "running").await;
    let faults = ada.told("GET /api/v1/faults?bot=acme-helper&kind=faults", Value::Null).await;
    assert_eq!(faults[0]["kind"], "panicked", "{faults}");
    assert_eq!(bob.told("GET /api/v1/bots/rival-other", Value::Null).await["restarts"], 0);

    // Switched off it stops, switched on it answers what was written meanwhile.
    ada.told("PATCH /api/v1/rentals/acme-helper", json!({ "enabled": false })).await;
    ada.told_until("/api/v1/bots/acme-helper", |bot| bot["phase"] == "disabled").await;
    ada.told_until(connectors, |all| *all == json!([])).await;
    one.push_message(5, "!ping");
    ada.told("PATCH /api/v1/rentals/acme-helper", json!({ "enabled": true })).await;
    is_answered(&one, 6).await;
    assert!(one.sent().iter().any(|sent| sent["chat_id"] == 5), "{:?}", one.sent());

    // What one has the other cannot touch, nor see that it is there.
    for request in
        ["GET /api/v1/bots/acme-helper", "POST /api/v1/bots/acme-helper/stop", "DELETE /api/v1/rentals/acme-helper"]
    {
        assert_eq!(bob.ask(request, Value::Null).await.status, 404, "{request}");
    }
    let audited = started.operator.get("/api/v1/audit").await.unwrap().to_string();
    assert!(audited.contains("/api/v1/rentals") && !audited.contains("1:new"), "{audited}");
    assert!(started.host.bot("rival-other").is_some());
}
