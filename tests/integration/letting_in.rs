//! Who is let in at the admin side by TCP: with what, how often he may guess, what a page of another site can do, and what is written down.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use bothost::admin::client::{Client, ClientError};
use bothost::audit;
use bothost::host::ADMIN_SOCKET;
use harness::host::{Home, TestHost};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_host");
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";
pub const PASSWORD: &str = "correct horse battery";

/// What came back, read to the end of the connection.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The value of a header, as it came.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Sends `METHOD PATH` with further header lines and a body of JSON, and reads the answer.
pub fn exchange(stream: impl Read + Write, request: &str, body: Option<&Value>) -> Answer {
    exchange_bytes(stream, request, body.map(Value::to_string).unwrap_or_default().as_bytes())
}

/// Sends `METHOD PATH` with further header lines and a body, which is JSON unless they say otherwise, and reads the answer.
pub fn exchange_bytes(mut stream: impl Read + Write, request: &str, body: &[u8]) -> Answer {
    let (line, headers) = request.split_once('\n').unwrap_or((request, ""));
    let mut headers: String = headers.lines().map(|header| format!("{header}\r\n")).collect();
    if !headers.contains("Host:") {
        headers.push_str("Host: localhost\r\n");
    }
    if !body.is_empty() && !headers.contains("Content-Type:") {
        headers.push_str("Content-Type: application/json\r\n");
    }
    let len = body.len();
    let text = format!("{line} HTTP/1.1\r\nConnection: close\r\nContent-Length: {len}\r\n{headers}\r\n");
    stream.write_all(&[text.as_bytes(), body].concat()).unwrap();
    let mut bytes = Vec::new();
    // A TLS connection may end without a word of it.
    let _ = stream.read_to_end(&mut bytes);
    let answer = String::from_utf8(bytes).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

pub struct Rig {
    pub host: TestHost,
    pub address: SocketAddr,
    pub client: Client,
}

impl Rig {
    pub async fn start(admin: &str) -> Self {
        let config = format!("[admin]\nlisten = \"127.0.0.1:0\"\n{admin}\n");
        let host = Home::new(PROGRAM, &config).start().await;
        let address = host.host().admin_address().unwrap();
        let client = Client::new(host.home().join("data").join(ADMIN_SOCKET));
        Self { host, address, client }
    }

    pub async fn with_token() -> Self {
        Self::start(&format!("token = \"{TOKEN}\"")).await
    }

    pub fn data(&self) -> std::path::PathBuf {
        self.host.home().join("data")
    }

    pub async fn ask(&self, request: &str, body: Option<Value>) -> Answer {
        let (address, request) = (self.address, request.to_owned());
        let asked = move || exchange(TcpStream::connect(address).unwrap(), &request, body.as_ref());
        tokio::task::spawn_blocking(asked).await.unwrap()
    }

    pub async fn account(&self, name: &str, role: &str) {
        let body = json!({ "name": name, "role": role, "password": PASSWORD });
        self.client.edit("/api/v1/accounts", Some(&body)).await.unwrap();
    }

    /// Signs in, and returns the cookie and what its requests have to bear.
    pub async fn sign_in(&self, name: &str) -> (String, String) {
        let body = json!({ "name": name, "password": PASSWORD });
        let answer = self.ask("POST /api/v1/session", Some(body)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        (cookie, answer.json()["csrf"].as_str().unwrap().to_owned())
    }

    async fn audited(&self) -> Vec<String> {
        let records = self.client.get("/api/v1/audit").await.unwrap();
        let line = |record: &Value| {
            ["who", "verb", "subject", "outcome"].map(|key| record[key].as_str().unwrap_or("").to_owned()).join(" ")
        };
        records.as_array().unwrap().iter().map(line).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f094_without_the_right_token_nobody_is_let_in_and_who_guesses_waits() {
    let rig = Rig::with_token().await;
    let by = async |header: &str| rig.ask(&format!("GET /api/v1/bots{header}"), None).await;
    assert_eq!(by(&format!("\nAuthorization: Bearer {TOKEN}")).await.status, 200);
    assert_eq!(by("").await.status, 401);
    assert_eq!(by(&format!("?token={TOKEN}")).await.status, 400);
    for end in 0..TOKEN.len().min(9) {
        let wrong = &TOKEN[..TOKEN.len() - 1 - end];
        assert_eq!(by(&format!("\nAuthorization: Bearer {wrong}")).await.status, 401, "{wrong}");
    }
    assert_eq!(by("\nAuthorization: Bearer x").await.status, 401);
    let refused = by(&format!("\nAuthorization: Bearer {TOKEN}")).await;
    assert_eq!(refused.status, 429, "ten failed");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let sign_in = rig.ask("POST /api/v1/session", Some(json!({ "token": TOKEN }))).await;
    assert_eq!(sign_in.status, 429);
    assert_eq!(rig.ask("GET /health", None).await.status, 200, "load balancers are not concerned");
    rig.client.get("/api/v1/bots").await.expect("the socket is never locked out");
}

#[tokio::test(flavor = "multi_thread")]
async fn f094_a_password_and_a_token_let_in_with_what_they_may_and_no_more() {
    let rig = Rig::start("").await;
    assert_eq!(rig.ask("POST /api/v1/session", Some(json!({ "token": TOKEN }))).await.status, 401);
    rig.account("anna", "viewer").await;
    let (cookie, csrf) = rig.sign_in("anna").await;
    let by = async |request: &str| rig.ask(&format!("{request}\nCookie: {cookie}\nX-CSRF-Token: {csrf}"), None).await;
    let who = by("GET /api/v1/session").await.json();
    assert_eq!((&who["name"], &who["role"], &who["way"]), (&json!("anna"), &json!("viewer"), &json!("session")));
    assert_eq!((by("GET /api/v1/bots").await.status, by("POST /api/v1/reload").await.status), (200, 403));
    assert_eq!(by("GET /api/v1/accounts").await.status, 403);

    let made = rig.client.edit("/api/v1/tokens", Some(&json!({ "name": "ci", "role": "operator" }))).await.unwrap();
    let token = made["token"].as_str().unwrap().to_owned();
    let by_token = async |request: &str| rig.ask(&format!("{request}\nAuthorization: Bearer {token}"), None).await;
    assert_eq!(by_token("POST /api/v1/reload").await.status, 200, "a token needs no CSRF token");
    assert!(!rig.client.get("/api/v1/tokens").await.unwrap().to_string().contains(&token));
    rig.client.delete("/api/v1/tokens/ci").await.unwrap();
    assert_eq!(by_token("POST /api/v1/reload").await.status, 401);

    assert_eq!(by("DELETE /api/v1/session").await.status, 204);
    assert_eq!(by("GET /api/v1/session").await.status, 401);
    let wrong = json!({ "name": "anna", "password": "not this one, surely" });
    assert_eq!(rig.ask("POST /api/v1/session", Some(wrong)).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_s_own_password_takes_the_old_one_and_ends_the_sessions() {
    let rig = Rig::start("").await;
    for (name, role) in [("anna", "operator"), ("bert", "operator")] {
        rig.account(name, role).await;
    }
    let (cookie, csrf) = rig.sign_in("anna").await;
    let change = async |account: &str, body: Value| {
        let request = format!("POST /api/v1/accounts/{account}/password\nCookie: {cookie}\nX-CSRF-Token: {csrf}");
        rig.ask(&request, Some(body)).await.status
    };
    let new = "another long password";
    assert_eq!(change("bert", json!({ "password": new })).await, 403);
    assert_eq!(change("anna", json!({ "password": new })).await, 400);
    assert_eq!(change("anna", json!({ "password": new, "current": "not this one, surely" })).await, 401);
    assert_eq!(change("anna", json!({ "password": "short", "current": PASSWORD })).await, 400);
    assert_eq!(change("anna", json!({ "password": new, "current": PASSWORD })).await, 200);
    assert_eq!(rig.ask(&format!("GET /api/v1/session\nCookie: {cookie}"), None).await.status, 401);
    let tenant_s = json!({ "name": "boss", "role": "admin", "tenant": "acme", "password": PASSWORD });
    let refused = rig.client.edit("/api/v1/accounts", Some(&tenant_s)).await.unwrap_err();
    assert!(matches!(&refused, ClientError::Refused { detail, .. } if detail.contains("whole host")), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f095_a_page_of_another_site_can_do_nothing_with_a_session() {
    let rig = Rig::start("").await;
    rig.account("anna", "admin").await;
    let (cookie, csrf) = rig.sign_in("anna").await;
    let by =
        async |headers: &str| rig.ask(&format!("POST /api/v1/reload\nCookie: {cookie}{headers}"), None).await.status;
    assert_eq!(by("").await, 403, "without what only its own pages know");
    assert_eq!(by("\nX-CSRF-Token: x").await, 403);
    assert_eq!(by(&format!("\nX-CSRF-Token: {csrf}")).await, 200);
    let right = format!("\nX-CSRF-Token: {csrf}");
    for bad in ["\nOrigin: http://evil.example", "\nOrigin: null", "\nSec-Fetch-Site: cross-site"] {
        assert_eq!(by(&format!("{right}{bad}")).await, 403, "{bad}");
    }
    assert_eq!(by(&format!("{right}\nHost: evil.example")).await, 421, "a name that was made to resolve here");
    // What a form of another site can send without being asked before.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let request = format!("POST /api/v1/tokens\nCookie: {cookie}{right}\nContent-Type: {kind}");
        assert_eq!(rig.ask(&request, Some(json!({ "name": "x", "role": "admin" }))).await.status, 415, "{kind}");
    }
    let other = rig.sign_in("anna").await.1;
    assert_eq!(by(&format!("\nX-CSRF-Token: {other}")).await, 403, "another session's");
    let answer = rig.ask("GET /health", None).await;
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(answer.header("strict-transport-security"), None);
    for name in ["x-content-type-options", "referrer-policy", "cross-origin-opener-policy"] {
        assert!(answer.header(name).is_some(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f102_every_change_is_recorded_without_its_secrets_and_tampering_is_found() {
    let rig = Rig::start("").await;
    rig.account("anna", "viewer").await;
    let (cookie, csrf) = rig.sign_in("anna").await;
    rig.ask(&format!("POST /api/v1/reload?dry_run=true\nCookie: {cookie}\nX-CSRF-Token: {csrf}"), None).await;
    let wrong = json!({ "name": "anna", "password": "not this one, surely" });
    rig.ask("POST /api/v1/session", Some(wrong)).await;
    rig.client.post("/api/v1/reload").await.unwrap();
    let expected = [
        "socket POST /api/v1/reload done",
        "nobody POST /api/v1/session refused",
        "anna POST /api/v1/reload?dry_run refused",
        "anna POST /api/v1/session done",
        "socket POST /api/v1/accounts/anna done",
    ];
    assert_eq!(rig.audited().await, expected);
    let file = rig.data().join("audit/audit-000001.log");
    let written = std::fs::read_to_string(&file).unwrap();
    for secret in [PASSWORD, "not this one", &csrf, cookie.split('=').nth(1).unwrap()] {
        assert!(!written.contains(secret));
    }
    assert_eq!(audit::verify(&rig.data()).unwrap().records, 5);
    std::fs::write(&file, written.replacen("anna", "bert", 1)).unwrap();
    let found = audit::verify(&rig.data()).unwrap_err().to_string();
    assert!(found.contains("audit-000001.log:1: "), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f103_what_the_host_keeps_is_for_its_user_alone() {
    let rig = Rig::start("").await;
    rig.account("anna", "viewer").await;
    let mode = |path: &Path| path.symlink_metadata().unwrap().permissions().mode() & 0o777;
    let data = rig.data();
    assert_eq!((mode(&data), mode(&data.join("audit"))), (0o700, 0o700));
    for file in [ADMIN_SOCKET, "access.json", "audit/head.json", "audit/audit-000001.log"] {
        assert_eq!(mode(&data.join(file)), 0o600, "{file}");
    }
}

/// A certificate for `localhost` in two files, and itself.
fn certificate(dir: &Path) -> rustls::pki_types::CertificateDer<'static> {
    let pair = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let cert = params.self_signed(&pair).unwrap();
    std::fs::write(dir.join("cert.pem"), cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), pair.serialize_pem()).unwrap();
    cert.der().clone()
}

fn trusting(cert: &rustls::pki_types::CertificateDer<'static>) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

async fn by_tls(
    address: SocketAddr,
    cert: &rustls::pki_types::CertificateDer<'static>,
    request: &str,
    body: Option<Value>,
) -> Answer {
    let (config, request) = (trusting(cert), request.to_owned());
    let asked = move || {
        let connection = rustls::ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
        let stream = rustls::StreamOwned::new(connection, TcpStream::connect(address).unwrap());
        exchange(stream, &request, body.as_ref())
    };
    tokio::task::spawn_blocking(asked).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_with_a_certificate_speaks_tls_and_takes_another_one_at_a_reload() {
    let dir = tempfile::tempdir().unwrap();
    let first = certificate(dir.path());
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let rig = Rig::start(&format!("token = \"{TOKEN}\"\ntls = {{ cert = {cert:?}, key = {key:?} }}")).await;
    let answer = by_tls(rig.address, &first, "GET /health", None).await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("strict-transport-security").is_some());
    let answer = by_tls(rig.address, &first, "POST /api/v1/session", Some(json!({ "token": TOKEN }))).await;
    let cookie = answer.header("set-cookie").unwrap();
    assert!(
        cookie.starts_with("__Host-bothost_session=") && cookie.contains("; Secure"),
        "the cookie goes over TLS alone"
    );

    std::fs::write(&key, "nonsense").unwrap();
    let steps = rig.client.post("/api/v1/reload").await.unwrap()["steps"].to_string();
    assert!(steps.contains("refused") && steps.contains("key.pem"), "{steps}");
    assert_eq!(by_tls(rig.address, &first, "GET /health", None).await.status, 200, "the one before stays");
    let alerts = rig.client.get("/api/v1/alerts").await.unwrap().to_string();
    assert!(alerts.contains("not renewed"), "{alerts}");

    let second = certificate(dir.path());
    rig.client.post("/api/v1/reload").await.unwrap();
    assert_eq!(by_tls(rig.address, &second, "GET /health", None).await.status, 200);
}
