//! How people are told of alerts, by servers that answer as those of the platforms do, well or not, and by a real mail server.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bothost::action::Severity;
use bothost::alert::Alerts;
use bothost::alert::channel::ChannelConfig;
use bothost::alert::notifier::{Notifier, NotifierHandle, NotifierParts};
use bothost::clock::Timestamp;
use bothost::metrics::Metrics;
use harness::eventually;
use harness::receiver::{Answer, Receiver};
use hmac::{Hmac, KeyInit, Mac};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde::Deserialize;
use serde::de::value::MapDeserializer;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use harness::peers::{peer, script};

/// Longer than anything here takes.
const WITHIN: Duration = Duration::from_secs(60);

/// Alerts, and one channel, `ops`, that tells them at once.
struct Ops {
    alerts: Arc<Alerts>,
    handle: NotifierHandle,
    task: JoinHandle<()>,
    cancel: CancellationToken,
}

impl Ops {
    fn start(kind: &str, table: &str) -> Self {
        let table: toml::Table = format!("group_wait = \"0s\"\n{table}").parse().unwrap();
        // `type` comes first, as the reader of configurations sees to.
        let entries = [("type".to_owned(), toml::Value::from(kind))].into_iter().chain(table);
        let config = ChannelConfig::deserialize(MapDeserializer::<_, toml::de::Error>::new(entries)).unwrap();
        let metrics = Arc::new(Metrics::new());
        let alerts = Arc::new(Alerts::new(metrics.clone()));
        let cancel = CancellationToken::new();
        let (handle, task) = Notifier::spawn(NotifierParts {
            alerts: alerts.clone(),
            channels: BTreeMap::from([("ops".parse().unwrap(), config)]),
            metrics,
            host: "alpha".to_owned(),
            cancel: cancel.clone(),
        });
        Self { alerts, handle, task, cancel }
    }

    fn fire(&self, summary: &str) {
        self.alerts.raise_host("db", Severity::Critical, summary, Vec::new(), Timestamp::now());
    }

    /// Sends a test, and returns what it says.
    async fn test(&self) -> Result<String, String> {
        let result = timeout(WITHIN, self.handle.test(&"ops".parse().unwrap())).await.unwrap();
        result.map(|delivered| delivered.answer).map_err(|error| format!("{error} {error:?}"))
    }

    async fn stop(self) {
        self.cancel.cancel();
        timeout(WITHIN, self.task).await.unwrap().unwrap();
    }
}

pub(super) fn parsed(body: &str) -> Value {
    serde_json::from_str(body).unwrap()
}

/// Whether a signature is that of a body by this key, made just now.
pub(super) fn is_signed(signature: &str, key: &str, body: &str) -> bool {
    let (time, hex) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let age = Timestamp::now().as_millis() / 1000 - time.parse::<u64>().unwrap();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(format!("{time}.{body}").as_bytes());
    age < 300 && mac.verify_slice(&data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap()).is_ok()
}

#[tokio::test]
async fn a_webhook_is_signed_and_every_try_has_the_same_id() {
    let receiver = Receiver::start().await;
    receiver.then([Answer::status(500, "broken"), Answer::Reset, Answer::too_many(2)]);
    let url = receiver.url("/hook/?token=s3cret-token");
    let ops = Ops::start("webhook", &format!("url = \"{url}\"\nsecret = \"key\""));
    ops.fire("it <burns> & smokes");
    let tries = receiver.wait(4, WITHIN).await;
    for try_ in &tries {
        assert_eq!(try_.target, "/hook/?token=s3cret-token");
        assert_eq!(try_.headers["x-bothost-delivery"], tries[0].headers["x-bothost-delivery"]);
        let signature = try_.headers["x-bothost-signature"].to_str().unwrap();
        assert!(is_signed(signature, "key", &try_.body) && !is_signed(signature, "other", &try_.body));
        assert_eq!(try_.body, tries[0].body);
    }
    let pause = tries[3].at - tries[2].at;
    assert!(pause >= Duration::from_secs(2), "{pause:?}");
    let body = parsed(&tries[0].body);
    assert_eq!((&body["version"], &body["host"], &body["test"]), (&json!(1), &json!("alpha"), &json!(false)));
    assert_eq!(body["id"], tries[0].headers["x-bothost-delivery"].to_str().unwrap());
    let alert = &body["alerts"][0];
    assert_eq!(
        (&alert["what"], &alert["severity"], &alert["bot"]),
        (&json!("fired"), &json!("critical"), &json!(null))
    );
    assert_eq!(alert["summary"], "it <burns> & smokes");
    ops.alerts.resolve_host("db", Timestamp::now());
    let body = parsed(&receiver.wait(5, WITHIN).await[4].body);
    assert_eq!((&body["alerts"][0]["what"], &body["alerts"][0]["times"]), (&json!("resolved"), &json!(0)));
    assert!(body["alerts"][0]["lasted_seconds"].is_u64());
    let sent = || ops.handle.statuses().into_iter().find(|status| status.sent == 2);
    let status = eventually(WITHIN, "both to be counted", sent).await;
    assert_eq!((status.failed, status.last_error), (3, None));
    ops.stop().await;
}

#[tokio::test]
async fn slack_discord_and_telegram_get_what_they_take_and_nobody_is_mentioned() {
    let receiver = Receiver::start().await;
    let summary = "<!here> @everyone http://evil";
    let mut bodies = Vec::new();
    for (kind, table) in [
        ("slack", format!("url = \"{}\"", receiver.url("/services/T/B/X"))),
        ("discord", format!("url = \"{}\"", receiver.url("/api/webhooks/1/x"))),
        ("telegram", format!("token = \"1:a\"\nchat = -100\nthread = 7\napi_url = \"{}\"", receiver.url(""))),
    ] {
        let ops = Ops::start(kind, &table);
        ops.fire(summary);
        let received = receiver.wait(bodies.len() + 1, WITHIN).await.pop().unwrap();
        bodies.push((received.target, parsed(&received.body)));
        ops.stop().await;
    }
    let [(slack_path, slack), (discord_path, discord), (telegram_path, telegram)] = &bodies[..] else {
        panic!("three")
    };
    assert_eq!(
        [slack_path, discord_path, telegram_path],
        ["/services/T/B/X", "/api/webhooks/1/x", "/bot1:a/sendMessage"]
    );
    let section = &slack["blocks"][0]["text"];
    assert_eq!((&section["type"], &section["verbatim"]), (&json!("mrkdwn"), &json!(true)));
    for text in [&section["text"], &slack["text"]] {
        assert!(text.as_str().unwrap().contains("&lt;!here&gt;"), "{text}");
    }
    assert_eq!((&slack["unfurl_links"], &slack["unfurl_media"]), (&json!(false), &json!(false)));
    assert_eq!((&discord["allowed_mentions"], &discord["flags"]), (&json!({"parse": []}), &json!(4)));
    assert!(discord["content"].as_str().unwrap().contains("\\@everyone"), "{discord}");
    assert_eq!((&telegram["chat_id"], &telegram["message_thread_id"]), (&json!(-100), &json!(7)));
    assert_eq!(
        (&telegram["parse_mode"], &telegram["link_preview_options"]),
        (&json!(null), &json!({"is_disabled": true}))
    );
    assert!(telegram["text"].as_str().unwrap().contains(summary), "{telegram}");
}

#[tokio::test]
async fn a_platforms_no_is_told_in_its_words_and_without_secrets() {
    let receiver = Receiver::start().await;
    let hook = receiver.url("/services/s3cret-path");
    let telegram = format!("token = \"1:s3cret\"\nchat = 1\napi_url = \"{}\"", receiver.url(""));
    let answers = [
        ("webhook", format!("url = \"{hook}\""), 410, "gone: /services/s3cret-path".to_owned(), "HTTP 410: gone"),
        ("webhook", format!("url = \"{hook}\""), 302, String::new(), "it redirects elsewhere"),
        ("webhook", format!("url = \"{hook}\""), 502, "<html>s3cret</html>".to_owned(), "HTTP 502: no further words"),
        ("slack", format!("url = \"{hook}\""), 404, "no_team".to_owned(), "HTTP 404: no_team"),
        (
            "discord",
            format!("url = \"{hook}\""),
            404,
            json!({"message": "Unknown Webhook", "code": 10015}).to_string(),
            "HTTP 404: Unknown Webhook (10015)",
        ),
        (
            "telegram",
            telegram,
            401,
            json!({"ok": false, "description": "Unauthorized: 1:s3cret"}).to_string(),
            "HTTP 401: Unauthorized: [redacted]",
        ),
    ];
    for (kind, table, status, body, expected) in answers {
        let ops = Ops::start(kind, &table);
        receiver.then([Answer::status(status, &body)]);
        let error = ops.test().await.unwrap_err();
        assert!(error.contains(expected), "{kind}: {error}");
        assert!(!error.contains("s3cret"), "{kind}: {error}");
        assert_eq!(ops.test().await.as_deref(), Ok("HTTP 200"), "{kind}");
        ops.stop().await;
    }
    let ops = Ops::start("webhook", "url = \"http://127.0.0.1:1/s3cret\"");
    let error = ops.test().await.unwrap_err();
    assert!(error.contains("cannot connect to 127.0.0.1:1") && !error.contains("s3cret"), "{error}");
    ops.stop().await;
}

#[tokio::test]
async fn a_pause_that_is_asked_for_in_a_body_is_kept() {
    let receiver = Receiver::start().await;
    for (kind, table, body) in [
        ("discord", format!("url = \"{}\"", receiver.url("/a")), json!({"message": "slow", "retry_after": 1.5})),
        (
            "telegram",
            format!("token = \"1:a\"\nchat = 1\napi_url = \"{}\"", receiver.url("")),
            json!({"ok": false, "description": "slow", "parameters": {"retry_after": 2}}),
        ),
    ] {
        let before = receiver.received().len();
        receiver.then([Answer::status(429, &body.to_string())]);
        let ops = Ops::start(kind, &table);
        ops.fire("x");
        let tries = receiver.wait(before + 2, WITHIN).await;
        let pause = tries[before + 1].at - tries[before].at;
        assert!(pause >= Duration::from_millis(1_500), "{kind}: {pause:?}");
        ops.stop().await;
    }
}

#[tokio::test]
async fn f101_a_webhook_at_the_metadata_of_a_cloud_is_not_dialled() {
    let ops = Ops::start("webhook", "url = \"http://169.254.169.254/latest\"");
    let error = ops.test().await.unwrap_err();
    assert!(error.contains("clouds keep their metadata"), "{error}");
    ops.stop().await;
}

#[tokio::test]
async fn a_receiver_that_never_answers_does_not_hold_up_the_end() {
    let receiver = Receiver::start().await;
    receiver.then([Answer::Hang, Answer::Hang]);
    let ops = Ops::start("webhook", &format!("url = \"{}\"", receiver.url("/")));
    ops.fire("x");
    receiver.wait(1, WITHIN).await;
    ops.stop().await;
}

/// A real mail server.
struct MailServer {
    port: u16,
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl MailServer {
    /// Starts it with this environment; none where it is not installed.
    async fn start(test: &str, environment: &[(&str, &str)]) -> Option<Self> {
        let python = peer(test, "mail/bin/python")?;
        let mut command = Command::new(python);
        command.arg(script("mail.py")).envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().expect("a program that starts");
        let mut lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let first = timeout(WITHIN, lines.next_line()).await.expect("its port in time").unwrap().expect("its port");
        let port = first.strip_prefix("PORT ").expect("a port").parse().expect("a number");
        Some(Self { port, lines, _process: process })
    }

    /// Returns the next mail that it was given.
    async fn mail(&mut self) -> Value {
        let line = timeout(WITHIN, self.lines.next_line()).await.expect("a mail in time").unwrap();
        parsed(&line.expect("a mail"))
    }

    fn table(&self, more: &str) -> String {
        let port = self.port;
        format!(
            "server = \"localhost\"\nport = {port}\nfrom = \"Host <host@example.com>\"\nto = [\"ops@example.com\"]\n{more}"
        )
    }
}

/// Writes the certificate of `localhost`, its key, and the authority that vouches for it.
fn certificates(into: &Path) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(into.join("ca.pem"), authority.self_signed(&authority_key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    std::fs::write(into.join("leaf.pem"), leaf.pem()).unwrap();
    std::fs::write(into.join("leaf.key"), key.serialize_pem()).unwrap();
}

#[tokio::test]
async fn a_mail_that_is_put_off_is_sent_again_and_one_that_is_refused_is_not() {
    let test = "a_mail_that_is_put_off_is_sent_again_and_one_that_is_refused_is_not";
    let environment =
        [("MODE", "none"), ("REPLIES", "451 4.7.1 later;250 OK;550 5.1.1 no such user;550 5.1.1 no such user")];
    let Some(mut server) = MailServer::start(test, &environment).await else { return };
    let ops = Ops::start("email", &server.table("tls = \"none\""));
    ops.fire("ü burns\r\nBcc: evil@example.com");
    let (first, second) = (server.mail().await, server.mail().await);
    assert_eq!((&first["reply"], &second["reply"]), (&json!("451 4.7.1 later"), &json!("250 OK")));
    assert_eq!((&second["from"], &second["to"]), (&json!("host@example.com"), &json!(["ops@example.com"])));
    let id = |mail: &Value| {
        mail["text"].as_str().unwrap().lines().find(|line| line.starts_with("Message-ID")).unwrap().to_owned()
    };
    assert_eq!(id(&first), id(&second));
    assert!(!second["text"].as_str().unwrap().lines().any(|line| line.starts_with("Bcc")));
    let error = ops.test().await.unwrap_err();
    assert!(error.contains("550") && error.contains("no such user"), "{error}");
    server.mail().await;
    ops.alerts.resolve_host("db", Timestamp::now());
    server.mail().await;
    let is_up = || ops.alerts.active().into_iter().find(|alert| alert.key == "channel-failing:ops");
    let alert = eventually(WITHIN, "the alert that it fails", is_up).await;
    assert!(alert.details.iter().any(|(_, value)| value.contains("no such user")), "{alert:?}");
    ops.stop().await;
}

#[tokio::test]
async fn mail_is_encrypted_by_the_authority_that_is_named_and_the_password_is_told_to_nobody_else() {
    let test = "mail_is_encrypted_by_the_authority_that_is_named_and_the_password_is_told_to_nobody_else";
    let directory = tempfile::tempdir().unwrap();
    certificates(directory.path());
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (certificate, key, authority) = (path("leaf.pem"), path("leaf.key"), path("ca.pem"));
    for mode in ["starttls", "implicit"] {
        let environment =
            [("MODE", mode), ("CERT", certificate.as_str()), ("KEY", key.as_str()), ("PASSWORD", "s3cret")];
        let Some(mut server) = MailServer::start(test, &environment).await else { return };
        let table = |ca: &str, password: &str| {
            server.table(&format!("tls = \"{mode}\"\nusername = \"bot\"\npassword = \"{password}\"\n{ca}"))
        };
        let ca = format!("ca = \"{authority}\"");
        let (good, distrusted, wrong) = (table(&ca, "s3cret"), table("", "s3cret"), table(&ca, "wr0ng-s3cret"));
        let ops = Ops::start("email", &good);
        assert!(ops.test().await.unwrap().starts_with("250"));
        let mail = server.mail().await;
        assert_eq!((&mail["is_encrypted"], &mail["is_authenticated"]), (&json!(true), &json!(true)), "{mode}");
        assert_eq!(mail["hello"], "alpha");
        ops.stop().await;
        for (table, expected) in [(distrusted, "certificate"), (wrong, "535")] {
            let ops = Ops::start("email", &table);
            let error = ops.test().await.unwrap_err();
            assert!(error.contains(expected) && !error.contains("s3cret"), "{mode}: {error}");
            ops.stop().await;
        }
    }
}

#[tokio::test]
async fn a_server_without_encryption_gets_neither_password_nor_mail() {
    let test = "a_server_without_encryption_gets_neither_password_nor_mail";
    let Some(mut server) = MailServer::start(test, &[("MODE", "none"), ("PASSWORD", "s3cret")]).await else { return };
    let ops = Ops::start("email", &server.table("username = \"bot\"\npassword = \"s3cret\""));
    let error = ops.test().await.unwrap_err();
    assert!(error.to_lowercase().contains("starttls"), "{error}");
    ops.stop().await;
    // What it took first is this.
    let ops = Ops::start("email", &server.table("tls = \"none\"\nusername = \"bot\"\npassword = \"s3cret\""));
    ops.fire("over the wire of this machine");
    let mail = server.mail().await;
    assert!(mail["text"].as_str().unwrap().contains("over the wire of this machine"), "{mail}");
    ops.stop().await;
}
