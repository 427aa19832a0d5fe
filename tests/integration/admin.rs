//! The admin side answers, to those it should and in time; and no bot can flood what it shows.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bothost::access::Book;
use bothost::action::{AlertChange, Severity};
use bothost::admin::client::{Client, ClientError};
use bothost::admin::{Admin, AdminConfig, AdminError, Observed, Sources};
use bothost::alert::Alerts;
use bothost::audit::Audit;
use bothost::board::Board;
use bothost::bot::phase::{BotStatus, Phase};
use bothost::clock::Timestamp;
use bothost::connector::{Link, Status};
use bothost::errors::{Errors, Occurrence};
use bothost::generation::{Archive, Editor};
use bothost::grants::ConnectorKey;
use bothost::id::{BotName, ContentHash, EventId};
use bothost::logs::{self, BotLog, Format};
use bothost::metrics::Metrics;
use bothost::secret::Secret;
use bothost::store::engine::Engine;
use bothost::store::incidents::{Incident, IncidentKind};
use bothost::store::{Store, StoreOptions};
use bothost::supervisor::{BotVerb, Control, ControlError, ReloadReport, ReloadStep};
use serde_json::{Value, json};
use tokio::sync::watch;

const TOKEN: &str = "hunter2";
/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// An admin side with one bot and one connector to show.
struct Rig {
    dir: tempfile::TempDir,
    metrics: Arc<Metrics>,
    alerts: Arc<Alerts>,
    errors: Arc<Errors>,
    is_ready: watch::Sender<bool>,
    store: Store,
    access: Book,
    admin: Admin,
}

impl Rig {
    fn new(token: Option<&str>) -> Self {
        Self::with_control(token, Control::ended())
    }

    fn with_control(token: Option<&str>, control: Control) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (sources, is_ready) = sources(dir.path());
        let (metrics, alerts, errors) =
            (sources.metrics.clone(), sources.alerts.clone(), sources.observed.errors.clone());
        let store = sources.store.clone();
        let sources = Sources { control, ..sources };
        let access = sources.access.clone();
        let config = AdminConfig {
            socket: dir.path().join("admin.sock"),
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            token: token.map(Secret::new),
            hosts: Vec::new(),
        };
        let admin = Admin::bind(config, sources).expect("both doors are bound");
        Self { dir, metrics, alerts, errors, is_ready, store, access, admin }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("admin.sock")
    }

    fn address(&self) -> SocketAddr {
        self.admin.address().expect("a TCP listener")
    }

    /// Asks by the socket.
    fn by_socket(&self, request: &str) -> Answer {
        exchange(UnixStream::connect(self.socket()).expect("the socket is there"), request)
    }

    /// Asks by TCP.
    fn by_tcp(&self, request: &str) -> Answer {
        exchange(self.connect(), request)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).expect("the listener is there");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }
}

/// Returns what is to be shown; its store is below `dir`.
fn sources(dir: &Path) -> (Sources, watch::Sender<bool>) {
    let metrics = Arc::new(Metrics::new());
    let alerts = Arc::new(Alerts::new(metrics.clone()));
    let since = Timestamp::from_millis(0);
    let bot = BotStatus {
        name: bot("echo"),
        phase: Phase::Running,
        since,
        component: None,
        version: Some("1.2.0".into()),
        refused: None,
        edition: 1,
        decided: 1,
        handled: 7,
        faults: 1,
        restarts: 0,
        queued: 2,
        in_flight: 1,
        ..BotStatus::new(bot("echo"))
    };
    let console = ConnectorKey::shared("console".parse().expect("a name"));
    let status = Status { connections: 1, ..Status::new(Link::Connected, since) };
    status.signs.succeeded();
    let (is_ready, is_ready_receiver) = watch::channel(true);
    let data = dir.join(format!("data-{:x}", fastrand::u64(..)));
    let store = Store::open(&data, StoreOptions::default()).expect("a store");
    let sources = Sources {
        observed: Observed::nothing(Arc::clone(&metrics)),
        injector: bothost::router::Injector::to_nobody(store.clone(), Arc::clone(&metrics)),
        metrics,
        alerts,
        bots: board(bot.name.clone(), bot),
        connectors: board(console, status),
        editor: editor(dir, &data, &store),
        store,
        control: Control::ended(),
        access: Book::absent(),
        audit: Audit::absent(),
        certificate: None,
        logs: Some(dir.join("logs")),
        is_ready: is_ready_receiver,
    };
    (sources, is_ready)
}

/// Returns the editor of a configuration of which nothing is recorded.
fn editor(dir: &Path, data: &Path, store: &Store) -> Editor {
    let keep = std::num::NonZeroUsize::new(5).expect("it is not zero");
    let archive = Archive::open(data, store.blobs().clone(), keep).expect("an archive");
    bothost::admin::editor(archive, dir.join("config.toml"), Control::ended())
}

fn board<K: Ord + Clone, S: Clone>(name: K, status: S) -> Arc<Board<K, S>> {
    let board = Board::default();
    board.replace([(name, watch::channel(status).1)].into());
    Arc::new(board)
}

fn bot(name: &str) -> BotName {
    name.parse().expect("a name")
}

/// What came back, read to the end of the connection.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

/// Sends `METHOD PATH` and further header lines, and reads the answer.
fn exchange(mut stream: impl io::Read + io::Write, request: &str) -> Answer {
    let (line, headers) = request.split_once('\n').unwrap_or((request, ""));
    let host = if headers.to_lowercase().contains("host:") { "" } else { "Host: localhost\r\n" };
    let headers: String = headers.lines().map(|header| format!("{header}\r\n")).collect();
    let text = format!("{line} HTTP/1.1\r\n{host}Connection: close\r\n{headers}\r\n");
    stream.write_all(text.as_bytes()).expect("the request is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer is read");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}

/// Every route, and whether it is open to all.
const ROUTES: [(&str, bool); 14] = [
    ("/health", true),
    ("/health/live", true),
    ("/health/ready", true),
    ("/metrics", false),
    ("/api/v1/bots", false),
    ("/api/v1/bots/echo", false),
    ("/api/v1/faults", false),
    ("/api/v1/condemned", false),
    ("/api/v1/connectors", false),
    ("/api/v1/alerts", false),
    ("/api/v1/queue", false),
    ("/api/v1/dead-letters", false),
    ("/api/v1/outbox", false),
    ("/api/v1/config/versions", false),
];

#[test]
fn another_token_counts_from_the_next_request_on() {
    let rig = Rig::new(Some(TOKEN));
    let asked = |token: &str| rig.by_tcp(&format!("GET /api/v1/bots\nAuthorization: Bearer {token}")).status;
    assert_eq!((asked(TOKEN), asked("another")), (200, 401));
    rig.access.configure(Some(&Secret::new("another")));
    assert_eq!((asked(TOKEN), asked("another")), (401, 200));
    rig.access.configure(None);
    assert_eq!((asked("another"), rig.by_tcp("GET /health").status), (401, 200));
}

#[test]
fn the_socket_serves_every_route() {
    let rig = Rig::new(None);
    for (path, _) in ROUTES {
        assert_eq!(rig.by_socket(&format!("GET {path}")).status, 200, "{path}");
    }
}

#[test]
fn tcp_without_a_token_serves_health_and_says_how_to_get_the_rest() {
    let rig = Rig::new(None);
    for (path, is_open) in ROUTES {
        let answer = rig.by_tcp(&format!("GET {path}\nAuthorization: Bearer {TOKEN}"));
        assert_eq!(answer.status, if is_open { 200 } else { 401 }, "{path}");
        if !is_open {
            assert!(answer.head.contains("application/problem+json"), "{answer:?}");
            assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.contains("[admin] token")));
        }
    }
}

#[test]
fn tcp_with_a_token_serves_every_route_to_those_who_have_it() {
    let rig = Rig::new(Some(TOKEN));
    for (index, (path, is_open)) in ROUTES.into_iter().enumerate() {
        assert_eq!(rig.by_tcp(&format!("GET {path}\nAuthorization: Bearer {TOKEN}")).status, 200, "{path}");
        // Whoever fails ten times is let in no more.
        let wrong = if index < 8 { "\nAuthorization: Bearer hunter3" } else { "" };
        for bad in ["", wrong, "\nAuthorization: Basic hunter2"] {
            let answer = rig.by_tcp(&format!("GET {path}{bad}"));
            assert_eq!(answer.status, if is_open { 200 } else { 401 }, "{path} {bad}");
            assert!(!answer.body.contains(TOKEN));
        }
        assert_eq!(rig.by_tcp(&format!("GET {path}?token={TOKEN}")).status, 400, "{path}");
    }
}

#[test]
fn a_name_that_was_made_to_resolve_here_is_refused() {
    let rig = Rig::new(Some(TOKEN));
    let answer = rig.by_tcp(&format!("GET /api/v1/bots\nHost: evil.example\nAuthorization: Bearer {TOKEN}"));
    assert_eq!(answer.status, 421);
}

#[test]
fn unknown_paths_methods_and_large_bodies_are_problems() {
    let rig = Rig::new(None);
    for path in
        ["/nothing", "/api/v1/bots/nobody", "/api/v1/bots/", "/api/v1/bots/echo/", "/health/", "/api/v1/bots/%2e%2e"]
    {
        let answer = rig.by_socket(&format!("GET {path}"));
        assert_eq!((answer.status, answer.json()["status"].clone()), (404, json!(404)), "{path}");
    }
    let wrong_method = rig.by_socket("POST /api/v1/bots\nContent-Length: 0");
    assert_eq!(wrong_method.status, 405);
    assert!(wrong_method.head.contains("allow: get, head"), "{wrong_method:?}");
    assert_eq!(rig.by_socket("POST /api/v1/reload\nContent-Length: 65537").status, 413);
    let head_only = rig.by_socket("HEAD /api/v1/bots");
    assert_eq!((head_only.status, head_only.body.as_str()), (200, ""));
}

/// Addresses that are wrong or name nothing, the status, and what the answer says.
const MISTAKES: [(&str, u16, &str); 22] = [
    ("GET /api/v1/bots/nobody", 404, "GET /api/v1/bots lists them"),
    ("GET /api/v1/events/0198", 400, "32 hexadecimal digits"),
    ("GET /api/v1/events/0198f3a21b7c00000123456789abcdef", 404, "there is no event 0198f3a21b7c0000"),
    ("DELETE /api/v1/dead-letters/0198f3a21b7c00000123456789abcdef?bot=echo", 404, "there is no event"),
    ("POST /api/v1/dead-letters/0198f3a21b7c00000123456789abcdef/retry?bot=a%20b", 400, "`a b` is no name"),
    ("GET /api/v1/dead-letters?limit=1001", 400, "`limit` must be a whole number from 1 to 1000"),
    ("GET /api/v1/dead-letters?bots=echo", 400, "unknown parameter `bots`; this path takes: bot, limit"),
    ("GET /api/v1/outbox?state=gone", 400, "`state` must be `waiting` or `lost`"),
    ("GET /api/v1/outbox?connector=a/b/c", 400, "`connector`: "),
    ("GET /api/v1/outbox/x", 400, "a whole number"),
    ("DELETE /api/v1/outbox/7", 404, "the outbox has no entry 7; GET /api/v1/outbox lists"),
    ("POST /api/v1/outbox/7/retry", 404, "the outbox has no entry 7"),
    ("GET /api/v1/queue?bot=echo", 400, "this path takes: none"),
    ("GET /api/v1/faults?kind=bad", 400, "`kind` must be `all`, `faults` or `life`, not bad"),
    ("GET /api/v1/faults?before=+1", 400, "`before` must be a whole number"),
    ("GET /api/v1/faults?bot=a%20b", 400, "`a b` is no name"),
    ("GET /api/v1/condemned?limit=1", 400, "this path takes: bot"),
    ("POST /api/v1/bots/nobody/stop", 404, "there is no bot `nobody`; GET /api/v1/bots lists them"),
    ("POST /api/v1/bots/echo/reset?bot=echo", 400, "this path takes: none"),
    ("POST /api/v1/bots/echo/reset", 503, "the host is stopping"),
    ("POST /api/v1/reload?dry_run=yes", 400, "`dry_run` must be `true` or `false`, not yes"),
    ("POST /api/v1/reload", 503, "the host is stopping"),
];

#[test]
fn each_mistake_is_told_with_what_would_be_right() {
    let rig = Rig::new(None);
    for (request, status, said) in MISTAKES {
        let answer = rig.by_socket(request);
        assert_eq!(answer.status, status, "{request}: {answer:?}");
        assert!(answer.head.contains("application/problem+json"), "{answer:?}");
        assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.contains(said)), "{request}: {answer:?}");
    }
}

#[test]
fn what_changes_something_takes_no_other_method_and_by_tcp_a_token() {
    let rig = Rig::new(Some(TOKEN));
    let event = "/api/v1/dead-letters/0198f3a21b7c00000123456789abcdef";
    for (method, path, allow) in [
        ("GET", "/api/v1/outbox/7/retry".to_owned(), "allow: post\r"),
        ("POST", "/api/v1/outbox/7".to_owned(), "allow: get, head, delete\r"),
        ("GET", format!("{event}/retry"), "allow: post\r"),
        ("PUT", event.to_owned(), "allow: get, head, delete\r"),
        ("DELETE", "/api/v1/dead-letters".to_owned(), "allow: get, head\r"),
        ("GET", "/api/v1/bots/echo/stop".to_owned(), "allow: post\r"),
        ("GET", "/api/v1/reload".to_owned(), "allow: post\r"),
        ("POST", "/api/v1/faults".to_owned(), "allow: get, head\r"),
    ] {
        let answer = rig.by_socket(&format!("{method} {path}"));
        assert!(answer.status == 405 && answer.head.contains(allow), "{method} {path}: {answer:?}");
    }
    for request in ["POST /api/v1/outbox/7/retry", "DELETE /api/v1/outbox/7"] {
        assert_eq!(rig.by_tcp(request).status, 401, "{request}");
        assert_eq!(rig.by_tcp(&format!("{request}\nAuthorization: Bearer {TOKEN}")).status, 404, "{request}");
    }
    for request in ["POST /api/v1/bots/echo/stop", "POST /api/v1/reload"] {
        assert_eq!(rig.by_tcp(request).status, 401, "{request}");
        assert_eq!(rig.by_tcp(&format!("{request}\nAuthorization: Bearer {TOKEN}")).status, 503, "{request}");
    }
}

/// A supervisor's stand-in, on a thread of its own: it does everything but start, and reports one step of a reload.
fn stand_in() -> (Control, std::thread::JoinHandle<Vec<(String, BotVerb)>>) {
    let (tell, told) = std::sync::mpsc::sync_channel(16);
    let bot = move |name: &BotName, verb| {
        tell.send((name.to_string(), verb)).expect("the thread listens");
        match verb {
            BotVerb::Start => Err(ControlError::NotNow("bot echo runs already".to_owned())),
            _ => Ok(()),
        }
    };
    let reload = async |dry_run| {
        let step = ReloadStep {
            subject: "bot echo".to_owned(),
            action: if dry_run { "would compile".to_owned() } else { "compiled".to_owned() },
            ..ReloadStep::default()
        };
        Ok(ReloadReport { generation: 7, steps: vec![step], ..ReloadReport::default() })
    };
    let (control, stand_in) = Control::answered_by(bot, reload);
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(stand_in);
        told.try_iter().collect()
    });
    (control, thread)
}

#[test]
fn the_operators_verbs_reach_the_supervisor_and_its_answers_come_back() {
    let (control, thread) = stand_in();
    let rig = Rig::with_control(None, control);
    for verb in ["stop", "restart", "reset"] {
        let answer = rig.by_socket(&format!("POST /api/v1/bots/echo/{verb}"));
        assert_eq!((answer.status, &answer.json()["name"]), (202, &json!("echo")), "{verb}: {answer:?}");
    }
    let refused = rig.by_socket("POST /api/v1/bots/echo/start");
    assert_eq!((refused.status, &refused.json()["detail"]), (409, &json!("bot echo runs already")));
    for (query, action) in [("", "compiled"), ("?dry_run=false", "compiled"), ("?dry_run=true", "would compile")] {
        let answer = rig.by_socket(&format!("POST /api/v1/reload{query}"));
        assert_eq!((answer.status, &answer.json()["steps"][0]["action"]), (200, &json!(action)), "{query}");
    }
    drop(rig);
    let orders = thread.join().expect("the stand-in ends with the admin side");
    let verbs = [BotVerb::Stop, BotVerb::Restart, BotVerb::Reset, BotVerb::Start];
    assert_eq!(orders, verbs.map(|verb| ("echo".to_owned(), verb)));
}

#[tokio::test]
async fn what_happened_to_a_bot_is_listed_with_what_was_done_about_it() {
    let rig = Rig::new(None);
    let version = ContentHash::of(b"component");
    let started = Incident {
        at: Timestamp::from_millis(1_000),
        bot: bot("echo"),
        kind: IncidentKind::Started,
        event: None,
        attempt: 0,
        component: Some(version),
        message: String::new(),
        backtrace: String::new(),
        strategy: "none".to_owned(),
    };
    let trapped = Incident {
        kind: IncidentKind::Fault("trapped".into()),
        event: Some(EventId::from_bytes([7; 16])),
        attempt: 2,
        message: "unreachable".to_owned(),
        backtrace: "inner\nouter".to_owned(),
        strategy: "dead-letter".to_owned(),
        ..started.clone()
    };
    rig.store.note(started.clone());
    rig.store.note(trapped);
    rig.store.note(Incident { bot: bot("other"), ..started });
    rig.store.condemn(&bot("echo"), version, "traps", Timestamp::from_millis(2_000)).await.expect("it is written");

    let client = Client::new(rig.socket());
    let listed = client.get("/api/v1/faults?bot=echo").await.expect("an answer");
    let trapped = json!({
        "id": 2, "at": "1970-01-01T00:00:01Z", "bot": "echo", "kind": "trapped", "is_fault": true,
        "event": "07".repeat(16), "attempt": 2, "component": version.to_string(), "message": "unreachable",
        "backtrace": ["inner", "outer"], "strategy": "dead-letter",
    });
    assert_eq!(
        (&listed[0], &listed[1]["kind"], listed.as_array().map(Vec::len)),
        (&trapped, &json!("started"), Some(2))
    );
    for (query, ids) in [("", vec![3, 2, 1]), ("?kind=faults", vec![2]), ("?kind=life&before=3&limit=1", vec![1])] {
        let listed = client.get(&format!("/api/v1/faults{query}")).await.expect("an answer");
        let listed = listed.as_array().expect("a list").iter().map(|incident| incident["id"].clone());
        assert_eq!(listed.collect::<Vec<_>>(), ids, "{query}");
    }
    let condemned = json!([{
        "bot": "echo", "component": version.to_string(), "reason": "traps", "at": "1970-01-01T00:00:02Z",
    }]);
    assert_eq!(client.get("/api/v1/condemned?bot=echo").await.expect("an answer"), condemned);
    assert_eq!(client.get("/api/v1/condemned?bot=other").await.expect("an answer"), json!([]));
    tokio::task::spawn_blocking(move || drop(rig)).await.expect("it stops");
}

/// Runs the command line against a rig, with arguments that have no spaces in them: the exit code, and what it says to either stream.
fn told(rig: &Rig, arguments: &str) -> (Option<i32>, String, String) {
    std::fs::write(rig.dir.path().join("config.toml"), "[host]\ndata_dir = \".\"\nbots_dir = \"bots\"\n")
        .expect("a file");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_host"))
        .args(arguments.split(' '))
        .current_dir(rig.dir.path())
        .output()
        .expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_command_line_tells_what_the_supervisor_did() {
    let (control, thread) = stand_in();
    let rig = Rig::with_control(None, control);
    assert_eq!(told(&rig, "reset echo"), (Some(0), "echo is reset\n".to_owned(), String::new()));
    let (code, said, complaint) = told(&rig, "reset nobody");
    assert_eq!((code, said.as_str()), (Some(1), ""));
    assert!(complaint.contains("404") && complaint.contains("there is no bot `nobody`"), "{complaint}");
    let (code, said, _) = told(&rig, "reload");
    assert_eq!((code, said.lines().count()), (Some(0), 2), "{said}");
    assert!(said.starts_with("bot echo  compiled  ") && said.ends_with("generation 7 is in force\n"), "{said}");
    let (code, said, _) = told(&rig, "reload --dry-run");
    assert!(code == Some(0) && said.contains("would compile") && said.contains("nothing was changed"), "{said}");
    let (_, said, _) = told(&rig, "reload --json");
    assert_eq!(serde_json::from_str::<Value>(&said).expect("JSON")["generation"], 7);
    drop(rig);
    let orders = thread.join().expect("the stand-in ends with the admin side");
    assert_eq!(orders, [("echo".to_owned(), BotVerb::Reset)]);
    let rig = Rig::new(None);
    assert_eq!(told(&rig, "reload").0, Some(75), "a host that stops may be asked again");
}

#[test]
fn a_reload_that_was_not_taken_ends_with_the_documented_codes() {
    let rejected = ReloadReport {
        rejected: Some("config.toml:7:1: unknown key `bost`\nconfig.toml:9:1: \u{1b}[2J".to_owned()),
        ..ReloadReport::default()
    };
    let step = ReloadStep { subject: "bot echo".into(), action: "refused".into(), ..ReloadStep::default() };
    let refused = ReloadReport { steps: vec![step], ..ReloadReport::default() };
    for (report, code, complaint) in
        [(rejected, 64, "config.toml:7:1: unknown key `bost`\nconfig.toml:9:1: \\u{1b}[2J\n"), (refused, 1, "")]
    {
        let (control, stand_in) = Control::answered_by(|_, _| Ok(()), move |_| std::future::ready(Ok(report.clone())));
        let thread = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(stand_in);
        });
        let rig = Rig::with_control(None, control);
        let (found, _, said) = told(&rig, "reload");
        assert_eq!((found, said.as_str()), (Some(code), complaint));
        drop(rig);
        thread.join().expect("the stand-in ends with the admin side");
    }
}

#[tokio::test]
async fn the_command_line_describes_a_bot_and_what_happened_to_it() {
    let rig = Rig::new(None);
    let version = ContentHash::of(b"component");
    rig.store.note(Incident {
        at: Timestamp::from_millis(1_000),
        bot: bot("echo"),
        kind: IncidentKind::Fault("panicked".into()),
        event: Some(EventId::from_bytes([7; 16])),
        attempt: 2,
        component: Some(version),
        message: "boom \u{1b}[2J".to_owned(),
        backtrace: String::new(),
        strategy: "restart in 2 s".to_owned(),
    });
    rig.store.condemn(&bot("echo"), version, "it panics", Timestamp::from_millis(2_000)).await.expect("it is written");
    let short = &version.to_string()[..12];
    let (code, said, _) = told(&rig, "describe echo");
    assert_eq!(code, Some(0));
    for part in [
        "phase         running since 1970-01-01T00:00:00Z\n",
        "restarts      0\n",
        &format!("condemned     {short} since 1970-01-01T00:00:02Z: it panics\n"),
        &format!("panicked  2    restart in 2 s  {short}  {}  boom \\u{{1b}}[2J", "07".repeat(16)),
    ] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
    let (_, said, _) = told(&rig, "describe echo --json");
    let described: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&described["bot"]["name"], &described["incidents"][0]["kind"]), (&json!("echo"), &json!("panicked")));
    assert_eq!(described["condemned"][0]["reason"], "it panics");
    assert!(told(&rig, "describe nobody").2.contains("there is no bot `nobody`"));

    assert!(told(&rig, "faults echo").1.contains("boom \\u{1b}[2J"));
    assert_eq!(told(&rig, "faults other").1, "nothing is known to have happened\n");
    let (_, said, complaint) = told(&rig, "faults --limit 1");
    assert!(
        said.contains("panicked") && complaint.contains("these are the latest 1; there may be more"),
        "{complaint}"
    );
    assert_eq!(told(&rig, "faults --limit 0").0, Some(2));
    assert!(
        told(&rig, "ps").1.starts_with("NAME  PHASE    UNTIL  VERSION  QUEUED  HANDLED  FAULTS  RESTARTS  DETAIL\n")
    );

    // How it is, is known even where the store has nothing to say.
    rig.store.clone().close().await;
    let (code, said, complaint) = told(&rig, "describe echo");
    assert!(code == Some(75) && said.contains("phase         running") && complaint.contains("closed"), "{complaint}");
    tokio::task::spawn_blocking(move || drop(rig)).await.expect("it stops");
}

#[test]
fn what_is_degraded_is_told_to_the_operator_and_only_counted_for_others() {
    let rig = Rig::new(Some(TOKEN));
    let now = Timestamp::from_millis(1_000);
    rig.alerts.raise_host("configuration-rejected", Severity::Warning, "line 7: unknown key", Vec::new(), now);
    let degraded = json!([{ "part": "configuration", "since": "1970-01-01T00:00:01Z", "why": "line 7: unknown key" }]);
    let by_token = format!("GET /health\nAuthorization: Bearer {TOKEN}");
    for health in [rig.by_socket("GET /health"), rig.by_tcp(&by_token)] {
        let health = health.json();
        assert_eq!((&health["status"], &health["level"]), (&json!("ok"), &json!("reduced")));
        assert_eq!(health["degraded"], degraded);
    }
    for public in [rig.by_tcp("GET /health"), rig.by_tcp("GET /health\nAuthorization: Bearer hunter3")] {
        assert!(!public.body.contains("line 7"), "{}", public.body);
        let health = public.json();
        assert_eq!((&health["level"], &health["degraded_parts"]), (&json!("reduced"), &json!(1)));
        assert_eq!(health.get("degraded"), None);
    }
    let metrics = rig.by_socket("GET /metrics").body;
    assert!(metrics.contains("bothost_degraded_parts 1\n") && metrics.contains("bothost_incidents_dropped_total 0\n"));
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_told_and_health_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let (sources, _is_ready) = sources(dir.path());
    let store = sources.store.clone();
    let config = AdminConfig { socket: dir.path().join("admin.sock"), listen: None, token: None, hosts: Vec::new() };
    let admin = Admin::bind(config, sources).expect("the socket is bound");
    store.close().await;
    let client = Client::new(dir.path().join("admin.sock"));
    let letters = client.get("/api/v1/dead-letters").await;
    assert!(matches!(letters, Err(ClientError::Refused { status, .. }) if status == 503), "{letters:?}");
    client.get("/health").await.expect("it needs no store");
    tokio::task::spawn_blocking(move || admin.shutdown()).await.expect("it stops");
}

#[test]
fn the_answers_show_what_was_published() {
    let rig = Rig::new(None);
    let change = AlertChange::Raise {
        key: "feed".into(),
        severity: Severity::Warning,
        summary: "no prices".into(),
        details: vec![("exchange".into(), "x".into())],
    };
    rig.alerts.apply(&bot("echo"), change, Timestamp::from_millis(0));

    let health = rig.by_socket("GET /health").json();
    assert_eq!((&health["status"], &health["bots"]), (&json!("ok"), &json!({ "running": 1 })));
    assert_eq!(health["connectors"], json!({ "connected": 1 }));
    let echo = rig.by_socket("GET /api/v1/bots/echo").json();
    assert_eq!((&echo["phase"], &echo["version"], &echo["handled"]), (&json!("running"), &json!("1.2.0"), &json!(7)));
    assert_eq!(rig.by_socket("GET /api/v1/bots").json(), json!([echo]));
    let connectors = rig.by_socket("GET /api/v1/connectors").json();
    assert_eq!((&connectors[0]["name"], &connectors[0]["link"]), (&json!("console"), &json!("connected")));
    assert!(connectors[0]["last_success"].as_str().is_some_and(|moment| moment.ends_with('Z')), "{connectors}");
    assert_eq!(connectors[0]["last_event"], json!(null), "none came");
    let alerts = rig.by_socket("GET /api/v1/alerts").json();
    assert_eq!((&alerts[0]["bot"], &alerts[0]["severity"]), (&json!("echo"), &json!("warning")));
    let metrics = rig.by_socket("GET /metrics");
    assert!(metrics.head.contains("content-type: text/plain; version=0.0.4"), "{}", metrics.head);
    assert!(metrics.body.contains("bothost_alerts_active{severity=\"warning\"} 1\n"), "{}", metrics.body);
}

#[test]
fn the_operator_answers_an_alert_by_its_id() {
    let rig = Rig::new(None);
    let (summary, details) = ("no prices".to_owned(), Vec::new());
    let change = AlertChange::Raise { key: "feed".into(), severity: Severity::Warning, summary, details };
    rig.alerts.apply(&bot("echo"), change, Timestamp::from_millis(0));
    let alerts = rig.by_socket("GET /api/v1/alerts?bot=echo&severity=warning").json();
    let id = alerts[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(rig.by_socket("GET /api/v1/alerts?bot=other").json(), json!([]));
    let acknowledged = rig.by_socket(&format!("POST /api/v1/alerts/{id}/ack?by=ada")).json();
    assert_eq!((&acknowledged["state"], &acknowledged["acknowledged_by"]), (&json!("acknowledged"), &json!("ada")));
    assert_eq!(rig.by_socket(&format!("GET /api/v1/alerts/{id}")).json(), acknowledged);
    let resolved = rig.by_socket(&format!("POST /api/v1/alerts/{id}/resolve")).json();
    assert_eq!(resolved["state"], json!("resolved"));
    assert_eq!(rig.by_socket("GET /api/v1/alerts").json(), json!([]));
    assert_eq!(rig.by_socket(&format!("POST /api/v1/alerts/{id}/ack")).status, 404);
    assert_eq!(rig.by_socket("POST /api/v1/alerts/feed/ack").status, 400);
    assert_eq!(rig.by_socket("GET /api/v1/alerts?severity=loud").status, 400);
}

#[test]
fn what_went_wrong_is_listed_and_counted_for_the_operator_only() {
    let rig = Rig::new(Some("t0ken"));
    let occurrence = Occurrence {
        severity: Severity::Critical,
        component: "outbox",
        kind: "not delivered",
        message: "no answer within 5000 ms",
        bot: Some("echo"),
        connector: None,
        context: &[("tries".to_owned(), "3".to_owned())],
    };
    (0..3).for_each(|_| rig.errors.record(&occurrence, Timestamp::now()));
    let errors = rig.by_socket("GET /api/v1/errors?severity=warning&component=outbox&bot=echo&since=10m").json();
    assert_eq!((&errors[0]["kind"], &errors[0]["count"]), (&json!("not delivered"), &json!(3)));
    let id = errors[0]["id"].as_str().expect("an id");
    assert_eq!(rig.by_socket(&format!("GET /api/v1/errors/{id}")).json(), errors[0]);
    let how_much = rig.by_socket("GET /health/errors?window=5m").json();
    assert_eq!((&how_much["in_window"], &how_much["criticals"]), (&json!(3), &json!(3)));
    assert_eq!(how_much["by_component"], json!([["outbox", 3]]));
    let figures = rig.by_socket("GET /health/metrics").json();
    assert_eq!(figures["metrics"]["bothost_errors_total{component=\"outbox\",severity=\"critical\"}"], json!(3.0));
    for path in ["/api/v1/errors", "/health/errors", "/health/metrics", "/metrics", "/api/v1/alerts"] {
        assert_eq!(rig.by_tcp(&format!("GET {path}")).status, 401, "{path}");
    }
    for bad in ["errors?since=yesterday", "errors?severity=loud", "errors/xyz", "errors?bot=a/b"] {
        assert_eq!(rig.by_socket(&format!("GET /api/v1/{bad}")).status, 400, "{bad}");
    }
}

#[test]
fn a_host_that_is_not_ready_says_503_and_is_alive() {
    let rig = Rig::new(None);
    rig.is_ready.send_replace(false);
    assert_eq!(rig.by_tcp("GET /health").status, 503);
    assert_eq!(rig.by_tcp("GET /health/ready").status, 503);
    assert_eq!(rig.by_tcp("GET /health/live").status, 200);
}

#[test]
fn it_answers_while_every_thread_of_the_main_runtime_spins() {
    let rig = Rig::new(None);
    let main = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let (is_over, spinning) = (Arc::new(AtomicBool::new(false)), Arc::new(std::sync::Barrier::new(3)));
    // Declared after the runtime, so that a failure ends the spinning before it waits for it.
    let _end = OnDrop(is_over.clone());
    for _ in 0..2 {
        let (is_over, spinning) = (is_over.clone(), spinning.clone());
        main.spawn(async move {
            spinning.wait();
            while !is_over.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
    }
    spinning.wait();
    // Reading gives up after `PATIENCE`.
    assert_eq!(rig.by_tcp("GET /health").status, 200);
}

/// Sets its flag when dropped.
struct OnDrop(Arc<AtomicBool>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_client_that_is_slow_with_its_head_is_cut_off() {
    let rig = Rig::new(None);
    let mut slow = rig.connect();
    slow.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ").expect("a part of a head is sent");
    // Ends when the host closes the connection; a time-out of the read would be an error here.
    let mut rest = Vec::new();
    match slow.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
    }
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
}

#[test]
fn a_head_that_is_too_large_is_refused_and_others_are_served() {
    let rig = Rig::new(None);
    let mut large = rig.connect();
    // The host may close before it has read everything.
    let _ = large
        .write_all(format!("GET /health HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(1 << 20)).as_bytes());
    let mut answer = Vec::new();
    let _ = large.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    assert_eq!(rig.by_tcp("GET /health").status, 200);
}

#[test]
fn many_silent_tcp_clients_do_not_keep_the_operator_from_the_socket() {
    let rig = Rig::new(None);
    let silent: Vec<_> = (0..300).map(|_| rig.connect()).collect();
    assert_eq!(rig.by_socket("GET /api/v1/bots").status, 200);
    // Once the silent ones are cut off, there is room by TCP too.
    assert_eq!(rig.by_tcp("GET /health").status, 200);
    drop(silent);
}

#[test]
fn it_stops_with_silent_clients_and_takes_its_socket_along() {
    let rig = Rig::new(None);
    let (socket, address) = (rig.socket(), rig.address());
    let mut silent = rig.connect();
    assert_eq!(rig.by_tcp("GET /health").status, 200, "so that the silent one was accepted");
    let begun = Instant::now();
    let Rig { admin, dir, .. } = rig;
    admin.shutdown();
    assert!(begun.elapsed() < PATIENCE);
    assert!(!socket.exists());
    assert!(TcpStream::connect(address).is_err());
    assert!(matches!(silent.read(&mut [0]), Ok(0) | Err(_)));
    drop(dir);
}

/// Binds the socket in a directory of its own after `prepare` put something there.
fn bind_after(prepare: impl FnOnce(&PathBuf)) -> (tempfile::TempDir, Result<Admin, AdminError>) {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("admin.sock");
    prepare(&socket);
    let admin =
        Admin::bind(AdminConfig { socket, listen: None, token: None, hosts: Vec::new() }, sources(dir.path()).0);
    (dir, admin)
}

#[test]
fn the_socket_is_its_owners_alone_and_replaces_that_of_a_dead_process() {
    let (dir, admin) = bind_after(|socket| drop(UnixListener::bind(socket).expect("a socket")));
    let admin = admin.expect("the file was stale");
    let mode = std::fs::metadata(dir.path().join("admin.sock")).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(admin);
}

#[test]
fn a_running_host_and_a_file_in_the_way_are_left_alone() {
    let mut other = None;
    let (dir, admin) = bind_after(|socket| other = Some(UnixListener::bind(socket).expect("a socket")));
    assert!(matches!(admin, Err(AdminError::Running { .. })), "{admin:?}");
    assert!(dir.path().join("admin.sock").exists());
    let (dir, admin) = bind_after(|socket| std::fs::write(socket, "precious").expect("a file"));
    assert!(matches!(admin, Err(AdminError::NoSocket { .. })), "{admin:?}");
    assert_eq!(std::fs::read_to_string(dir.path().join("admin.sock")).ok().as_deref(), Some("precious"));
}

#[test]
fn bad_places_to_listen_are_refused_with_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let bind = |socket: PathBuf, listen: &str, token: Option<&str>| {
        let listen = Some(listen.parse().expect("an address"));
        let error = Admin::bind(
            AdminConfig { socket, listen, token: token.map(Secret::new), hosts: Vec::new() },
            sources(dir.path()).0,
        );
        error.expect_err("it is refused").to_string()
    };
    let socket = || dir.path().join("admin.sock");
    let open = bind(socket(), "0.0.0.0:0", None);
    assert!(open.contains("token = \"${BOTHOST_TOKEN}\""), "{open}");
    let long = bind(dir.path().join("x".repeat(120)), "127.0.0.1:0", None);
    assert!(long.contains("data_dir"), "{long}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    assert!(bind(socket(), &address, None).contains(&address));
    assert!(!socket().exists(), "nothing is left behind");
}

#[tokio::test]
async fn the_client_reads_answers_and_tells_why_there_are_none() {
    let rig = Rig::new(None);
    let client = Client::new(rig.socket());
    let bots = client.get("/api/v1/bots").await.expect("an answer");
    assert_eq!(bots[0]["name"], "echo");
    let refused = client.get("/api/v1/bots/nobody").await;
    assert!(matches!(refused, Err(ClientError::Refused { status, .. }) if status == 404), "{refused:?}");
    let Rig { admin, dir, .. } = rig;
    tokio::task::spawn_blocking(move || admin.shutdown()).await.expect("it stops");
    let gone = client.get("/api/v1/bots").await;
    assert!(matches!(gone, Err(ClientError::NotRunning { .. })), "{gone:?}");
    drop(UnixListener::bind(dir.path().join("admin.sock")).expect("a stale socket"));
    let stale = client.get("/api/v1/bots").await;
    assert!(matches!(stale, Err(ClientError::NotRunning { .. })), "{stale:?}");
}

#[test]
fn a_bot_that_floods_its_metrics_is_bounded_and_counted() {
    let rig = Rig::new(None);
    for n in 0..100_000 {
        let labels = [("message".to_owned(), n.to_string())];
        rig.metrics.guest_count(&bot("flooder"), "seen", 1, &labels);
    }
    rig.metrics.guest_count(&bot("echo"), "seen", 1, &[]);
    let metrics = rig.by_socket("GET /metrics").body;
    assert_eq!(
        metrics.lines().filter(|line| line.starts_with("bothost_guest_seen_total{bot=\"flooder\"")).count(),
        100
    );
    assert!(metrics.contains("bothost_guest_seen_total{bot=\"echo\"} 1\n"));
    assert!(metrics.contains("bothost_guest_metrics_rejected_total{bot=\"flooder\",reason=\"bot-full\"} 99900\n"));
}

/// A writer whose text can be read.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns what the host's log holds after `log` ran.
fn logged(format: Format, log: impl FnOnce()) -> String {
    let written = Shared::default();
    let (subscriber, guard) = logs::to_writer("info", format, written.clone()).expect("a good filter");
    tracing::subscriber::with_default(subscriber, log);
    drop(guard);
    let bytes = written.0.lock().expect("nobody panicked").clone();
    String::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn a_bot_that_floods_its_log_is_bounded_and_counted() {
    let now = Instant::now();
    let text = logged(Format::Text, || {
        let log = BotLog::new(bot("flooder"), 64 << 10);
        let mut stdout = log.stream(logs::Stream::Stdout);
        let megabyte = "spam and more spam\n".repeat((1 << 20) / 19);
        (0..20).for_each(|_| stdout.write(megabyte.as_bytes(), now));
        assert!(log.settle(now) > 1_000_000);
        BotLog::new(bot("echo"), 64 << 10).line(tracing::Level::INFO, "still heard", &[], now);
    });
    assert!(text.len() < 100 << 10, "{}", text.len());
    assert_eq!(text.matches(" lines\n").count(), 1);
    assert!(text.contains("bot[echo]: still heard"));
}

#[test]
fn a_log_line_that_a_guest_forges_stays_one_line_of_that_guest() {
    let forged = "ok\n2026-01-01T00:00:00Z ERROR host: disk full\r\u{1b}[2J{\"level\":\"ERROR\"}\u{202e}\0";
    for format in [Format::Text, Format::Json] {
        let text = logged(format, || {
            let log = BotLog::new(bot("liar"), 64 << 10);
            let fields = [(forged.to_owned(), forged.to_owned())];
            log.line(tracing::Level::INFO, forged, &fields, Instant::now());
        });
        assert_eq!(text.lines().count(), 1, "{text:?}");
        assert!(text.contains("liar"));
        assert!(!text.trim_end().contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
    }
}
