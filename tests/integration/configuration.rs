//! The configuration as the operator sees and edits it, by the API and the command line: here with an admin side whose host takes
//! every file as it lies there, in the modules below with a host in a process of its own.

mod canary;
mod crash;
mod generations;
mod lab;
mod live;
mod rejected;
mod removal;
mod start;

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use bothost::access::Book;
use bothost::admin::{Admin, AdminConfig, Observed, Sources};
use bothost::alert::Alerts;
use bothost::audit::Audit;
use bothost::board::Board;
use bothost::generation::{Archive, Editor, Pinned, Reloaded, Snapshot};
use bothost::host::ADMIN_SOCKET;
use bothost::id::ContentHash;
use bothost::metrics::Metrics;
use bothost::store::engine::Engine;
use bothost::store::{Store, StoreOptions};
use bothost::supervisor::Control;
use bothost::watcher::ComponentFile;
use serde_json::{Value, json};
use tokio::sync::watch;

const PROGRAM: &str = env!("CARGO_BIN_EXE_host");
const CONFIG: &str = "\
[host]
data_dir = \"data\"
bots_dir = \"bots\"

[limits] # of all
memory = \"64MiB\"

[connectors.tg]
type = \"telegram\"
token = \"1:CANARY-tg\"

[connectors.qq]
type = \"onebot\"
mode = \"reverse\"
listen = \"127.0.0.1:0\"
access_token = \"CANARY-qq\"
";
const ENTRY: &str = "priority = \"low\"\nsecrets = { KEY = \"CANARY-entry\" }\n";

/// A configuration with a bot, whose first generation is recorded.
struct Rig {
    dir: tempfile::TempDir,
    // Stopped before the directory goes.
    _admin: Admin,
}

impl Rig {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("bots")).unwrap();
        fs::write(dir.path().join("config.toml"), CONFIG).unwrap();
        fs::write(dir.path().join("bots/echo.wasm"), "one").unwrap();
        fs::write(dir.path().join("bots/echo.toml"), ENTRY).unwrap();
        let data = dir.path().join("data");
        let store = Store::open(&data, StoreOptions::default()).unwrap();
        let archive = Archive::open(&data, store.blobs().clone(), NonZeroUsize::new(50).unwrap()).unwrap();
        take(dir.path(), &archive).await;
        let (home, generations): (Arc<Path>, _) = (dir.path().into(), archive.clone());
        let editor = Editor::new(archive, dir.path().join("config.toml"), move || {
            let (home, generations) = (Arc::clone(&home), generations.clone());
            async move {
                let (generation, steps) = (take(&home, &generations).await, vec!["bot echo: serving".to_owned()]);
                Ok(Reloaded { generation, steps, ..Reloaded::default() })
            }
        });
        let metrics = Arc::new(Metrics::new());
        let sources = Sources {
            observed: Observed::nothing(Arc::clone(&metrics)),
            injector: bothost::router::Injector::to_nobody(store.clone(), Arc::clone(&metrics)),
            alerts: Arc::new(Alerts::new(Arc::clone(&metrics))),
            metrics,
            bots: Arc::new(Board::default()),
            connectors: Arc::new(Board::default()),
            store,
            control: Control::ended(),
            editor,
            access: Book::absent(),
            audit: Audit::absent(),
            certificate: None,
            logs: None,
            is_ready: watch::channel(true).1,
        };
        let socket = data.join(ADMIN_SOCKET);
        let admin = Admin::bind(AdminConfig { socket, listen: None, token: None, hosts: Vec::new() }, sources).unwrap();
        Self { dir, _admin: admin }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Asks with headers and a body. Whatever is answered, there is no secret in it.
    #[track_caller]
    fn ask(&self, line: &str, headers: &[&str], body: &str) -> Answer {
        let stream = UnixStream::connect(self.path("data").join(ADMIN_SOCKET)).unwrap();
        lab::exchange(stream, line, headers, body).unwrap()
    }

    /// Runs the command line. Whatever it says, there is no secret in it.
    async fn run(&self, arguments: &[&str]) -> Output {
        let command = tokio::process::Command::new(PROGRAM).args(arguments).current_dir(self.dir.path()).output();
        let output = command.await.unwrap();
        let (said, complained) = (said(&output.stdout), said(&output.stderr));
        assert!(!said.contains("CANARY") && !complained.contains("CANARY"), "{said}{complained}");
        output
    }

    /// Runs the command line, which must succeed, and returns what it says.
    async fn told(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert!(output.status.success(), "{arguments:?}: {}{}", said(&output.stdout), said(&output.stderr));
        said(&output.stdout)
    }

    /// Runs the command line, which must fail, and returns its exit code and what it complains of.
    async fn refused(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments).await;
        (output.status.code().unwrap(), said(&output.stderr))
    }
}

struct Answer {
    status: u16,
    tag: Option<String>,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    #[track_caller]
    fn refuses(&self, status: u16, detail: &str) {
        assert!(self.status == status && self.json()["detail"].as_str().unwrap().contains(detail), "{}", self.body);
    }
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Records what lies in a directory: the bot is served by its file.
async fn take(home: &Path, archive: &Archive) -> u64 {
    let path = home.join("bots/echo.wasm");
    let bytes = fs::read(&path).unwrap();
    let (hash, len) = (ContentHash::of(&bytes), bytes.len() as u64);
    archive.pin(&ComponentFile { path, hash, len }).await.unwrap();
    let pinned = Pinned { file: "echo.wasm".parse().unwrap(), hash, len, grants: vec!["http example.com".to_owned()] };
    let snapshot = Snapshot {
        config: fs::read_to_string(home.join("config.toml")).unwrap().into(),
        entries: BTreeMap::from([(
            "echo".parse().unwrap(),
            fs::read_to_string(home.join("bots/echo.toml")).unwrap().into(),
        )]),
        bots: BTreeMap::from([("echo".parse().unwrap(), pinned)]),
        author: "file".to_owned(),
        reason: "it changed".to_owned(),
    };
    archive.record(snapshot).await.unwrap();
    archive.latest().unwrap().number
}

#[tokio::test]
async fn f057_only_who_has_seen_the_latest_text_may_replace_it() {
    let rig = Rig::start().await;
    let seen = rig.ask("GET /api/v1/config", &[], "");
    assert_eq!((seen.status, seen.tag.as_deref()), (200, Some("\"1\"")));
    let text = seen.body.replace("64MiB", "128MiB");
    assert!(text.contains("[redacted]"), "{text}");
    rig.ask("PUT /api/v1/config", &[], &text).refuses(428, "If-Match");
    let put = rig.ask("PUT /api/v1/config?author=ann&reason=more%20room", &["If-Match: \"1\""], &text);
    assert_eq!((put.status, put.tag.as_deref()), (200, Some("\"2\"")));
    assert_eq!(rig.text("config.toml"), CONFIG.replace("64MiB", "128MiB"), "secrets and comments stay");
    rig.ask("PUT /api/v1/config", &["If-Match: \"1\""], &seen.body).refuses(412, "generation 2 is in force");
    assert_eq!(rig.ask("PUT /api/v1/config", &["If-Match: *"], &seen.body).status, 200);
    let versions = rig.ask("GET /api/v1/config/versions", &[], "").json();
    assert_eq!((&versions[1]["author"], &versions[1]["reason"]), (&json!("ann"), &json!("more room")));
    assert_eq!(versions[0]["generation"], 3);
}

#[tokio::test]
async fn what_is_not_good_is_refused_with_its_place_and_changes_nothing() {
    let rig = Rig::start().await;
    let put = |text: &str| rig.ask("PUT /api/v1/config", &["If-Match: *"], text);
    put("[limits]\nmemry = 1\n")
        .refuses(422, "config.toml:2:1: unknown key `memry` in [limits], did you mean `memory`?");
    put("[admin]\ntoken = \"[redacted]\"\n").refuses(422, "`admin.token` is [redacted]");
    put(&format!("# {}", "x".repeat(1 << 20))).refuses(413, "longer");
    rig.ask("POST /api/v1/config/set?key=limits.memory", &[], "").refuses(422, "`value` is missing");
    rig.ask("POST /api/v1/config/set", &[], "{\"key\": \"a\", \"value\": CANARY}").refuses(400, "of the form");
    rig.ask("POST /api/v1/config/import", &[], "{}").refuses(400, "missing field `config`");
    rig.ask("POST /api/v1/config/versions/9/rollback", &[], "")
        .refuses(404, "there is no generation 9; only 1 is kept");
    rig.ask("POST /api/v1/bots/ecko/disable", &[], "").refuses(404, "did you mean `echo`?");
    rig.ask("DELETE /api/v1/config", &[], "").refuses(405, "Allow");
    assert_eq!(rig.ask("GET /api/v1/config", &[], "").tag.as_deref(), Some("\"1\""));
    assert_eq!(rig.text("config.toml"), CONFIG);
}

#[tokio::test]
async fn a_key_is_set_shown_and_unset_by_command() {
    let rig = Rig::start().await;
    let set = rig.told(&["config", "set", "limits.memory", "128MiB", "--author", "ann", "--reason", "a & b"]).await;
    assert_eq!(set, "bot echo: serving\ngeneration 2 is in force\n");
    assert_eq!(rig.text("config.toml"), CONFIG.replace("64MiB", "128MiB"));
    assert_eq!(rig.told(&["config", "get", "limits.memory"]).await, "\"128MiB\"\n");
    assert_eq!(rig.told(&["config", "get", "connectors.tg.token"]).await, "\"[redacted]\"\n");
    rig.told(&["config", "set", "bots.echo.priority", "high"]).await;
    assert_eq!(rig.text("bots/echo.toml"), ENTRY.replace("low", "high"));
    rig.told(&["config", "unset", "limits.memory"]).await;
    assert_eq!(rig.text("config.toml"), CONFIG.replace("memory = \"64MiB\"\n", ""));
    rig.told(&["disable", "echo"]).await;
    assert_eq!(rig.told(&["config", "get", "bots.echo.enabled"]).await, "false\n");
    rig.told(&["enable", "echo", "--json"]).await;
    let history = rig.told(&["config", "history"]).await;
    let lines: Vec<_> = history.lines().collect();
    assert!(lines[0].starts_with("GENERATION  SINCE") && lines[1].starts_with("6 "), "{history}");
    assert!(lines[1].ends_with("enabled echo") && lines[5].ends_with("ann     a & b"), "{history}");
    let (code, complaint) = rig.refused(&["config", "set", "limits.memroy", "1MiB"]).await;
    let place = "config.toml:6:1: unknown key `memroy` in [limits], did you mean `memory`?\n";
    assert!(code == 64 && complaint.ends_with(place), "{code} {complaint}");
    let (code, complaint) = rig.refused(&["config", "get", "limits.memory"]).await;
    assert_eq!((code, complaint.as_str()), (1, "host: `limits.memory` is not set\n"));
}

#[tokio::test]
async fn f100_a_secret_is_set_and_compared_without_being_shown() {
    let rig = Rig::start().await;
    rig.told(&["config", "set", "connectors.tg.token", "2:CANARY-new"]).await;
    assert!(rig.text("config.toml").contains("2:CANARY-new"));
    assert_eq!(rig.told(&["config", "diff", "1"]).await, "config.toml: other secrets\n");
    let shown = rig.told(&["config", "show", "1"]).await;
    assert!(shown.contains("[limits] # of all") && shown.contains("secrets = { KEY = \"[redacted]\" }"), "{shown}");
    let (code, complaint) = rig.refused(&["config", "set", "connectors.tg.token", "no CANARY token"]).await;
    assert!(code == 64 && complaint.contains("no bot token"), "{code} {complaint}");
}

#[tokio::test]
async fn what_was_in_force_is_compared_brought_back_and_carried_elsewhere() {
    let rig = Rig::start().await;
    fs::write(rig.path("exported.json"), rig.told(&["config", "export"]).await).unwrap();
    fs::write(rig.path("bots/echo.wasm"), "two").unwrap();
    rig.told(&["config", "set", "limits.memory", "128MiB"]).await;
    let diff = rig.told(&["config", "diff", "1", "2"]).await;
    let expected = "\
--- config.toml (generation 1)
+++ config.toml (generation 2)
@@ -3,7 +3,7 @@
 bots_dir = \"bots\"
 
 [limits] # of all
-memory = \"64MiB\"
+memory = \"128MiB\"
 
 [connectors.tg]
 type = \"telegram\"
bot echo: component 7692c3ad3540… -> 3fc4ccfe7458…
";
    assert_eq!(diff, expected);
    assert_eq!(rig.told(&["config", "diff", "2"]).await, "generations 2 and 2 are the same\n");
    rig.told(&["config", "rollback", "1"]).await;
    assert_eq!((rig.text("config.toml").as_str(), rig.text("bots/echo.wasm").as_str()), (CONFIG, "one"));
    rig.told(&["config", "rollback", "2"]).await;
    assert_eq!(rig.text("bots/echo.wasm"), "two");
    rig.told(&["config", "import", "exported.json"]).await;
    assert_eq!((rig.text("config.toml").as_str(), rig.text("bots/echo.wasm").as_str()), (CONFIG, "one"));
    assert_eq!(rig.text("bots/echo.toml"), ENTRY);
}

#[tokio::test]
async fn a_host_is_found_although_its_file_is_no_longer_good() {
    let rig = Rig::start().await;
    fs::write(rig.path("config.toml"), "[host]\ndata_dir = \"data\"\n[limts]\n").unwrap();
    rig.told(&["config", "rollback", "1"]).await;
    assert_eq!(rig.text("config.toml"), CONFIG);
}
