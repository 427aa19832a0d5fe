//! Synapse, the real homeserver, on 127.0.0.1: started, killed and started again on what it has on disk. And its users.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bothost::egress::{AddressGuard, HttpClient, HttpUrl};
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::peers::{free_port, peer};

/// Python takes its time to start, the more so while others compile.
const START: Duration = Duration::from_secs(120);
const CALL: Duration = Duration::from_secs(60);

/// A homeserver that forgets nothing. Killed when dropped.
#[derive(Debug)]
pub struct Synapse {
    python: PathBuf,
    dir: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Synapse {
    /// Starts a new one, with `settings` in place of the usual ones; none where it is not installed. `app_service` among them is the
    /// registration of one.
    pub async fn start(test: &str, settings: &Value) -> Option<Self> {
        let python = peer(test, "synapse/bin/python")?;
        let (dir, port) = (tempfile::tempdir().expect("a temporary directory"), free_port());
        let path = |name: &str| dir.path().join(name).display().to_string();
        let plenty = json!({"per_second": 1000, "burst_count": 1000});
        let mut config = json!({
            "server_name": "localhost",
            "report_stats": false,
            "pid_file": path("pid"),
            "listeners": [{"port": port, "type": "http", "tls": false, "bind_addresses": ["127.0.0.1"],
                "resources": [{"names": ["client", "media"], "compress": false}]}],
            "database": {"name": "sqlite3", "args": {"database": path("homeserver.db")}},
            "media_store_path": path("media"),
            "signing_key_path": path("signing.key"),
            "macaroon_secret_key": "macaroon",
            "form_secret": "form",
            "trusted_key_servers": [],
            "suppress_key_server_warning": true,
            "enable_registration": true,
            "enable_registration_without_verification": true,
            "presence": {"enabled": false},
            "federation_domain_whitelist": [],
            "rc_message": plenty,
            "rc_registration": plenty,
            "rc_login": {"address": plenty, "account": plenty, "failed_attempts": plenty},
            "rc_joins": {"local": plenty},
            "rc_invites": {"per_room": plenty, "per_user": plenty},
        });
        for (key, value) in settings.as_object().expect("settings") {
            if key == "app_service" {
                fs::write(dir.path().join("service.yaml"), value.to_string()).expect("the registration");
                config["app_service_config_files"] = json!([path("service.yaml")]);
            } else {
                config[key] = value.clone();
            }
        }
        fs::write(dir.path().join("homeserver.yaml"), config.to_string()).expect("the configuration");
        let key = "ed25519 a_test 7Cj9SDdQ0Q0yxcKRl3yxSO0yQ2nZ6jM8mkQqv3QF2B0\n";
        fs::write(dir.path().join("signing.key"), key).expect("the key");
        let child = spawn(&python, &dir);
        let mut synapse = Self { python, dir, port, child };
        synapse.ready().await;
        Some(synapse)
    }

    /// Returns where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends it as a power failure would.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("a process to kill");
    }

    /// Starts it again after [`Synapse::kill`], with everything that it had on disk.
    pub async fn start_again(&mut self) {
        self.child = spawn(&self.python, &self.dir);
        self.ready().await;
    }

    async fn ready(&mut self) {
        let client = self.client();
        let healthy = async {
            loop {
                let answer = client.call(Method::GET, "/health", HeaderMap::new(), "", CALL).await;
                if answer.is_ok_and(|answer| answer.status.is_success()) {
                    return;
                }
                let ended = self.child.try_wait().expect("a child");
                assert!(ended.is_none(), "Synapse ended: {}", self.said());
                sleep(Duration::from_millis(50)).await;
            }
        };
        assert!(timeout(START, healthy).await.is_ok(), "Synapse is not ready: {}", self.said());
    }

    fn said(&self) -> String {
        let said = fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default();
        said.lines().rev().take(30).collect::<Vec<_>>().join("\n")
    }

    fn client(&self) -> HttpClient {
        let HttpUrl(endpoint) = self.url().parse().expect("a URL");
        HttpClient::new(endpoint, AddressGuard::any())
    }

    /// Registers a user, whose password is `pw`.
    pub async fn register(&self, name: &str) -> MatrixUser {
        let mut user = MatrixUser { client: self.client(), id: String::new(), token: String::new() };
        let body = json!({"auth": {"type": "m.login.dummy"}, "username": name, "password": "pw"});
        let answer = user.post("/register", &body).await;
        let text = |key: &str| answer[key].as_str().expect("a new user").to_owned();
        (user.id, user.token) = (text("user_id"), text("access_token"));
        user
    }
}

fn spawn(python: &PathBuf, dir: &tempfile::TempDir) -> Child {
    let stderr = fs::File::options().create(true).append(true).open(dir.path().join("stderr")).expect("a file");
    Command::new(python)
        .args(["-m", "synapse.app.homeserver", "-c", "homeserver.yaml"])
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .kill_on_drop(true)
        .spawn()
        .expect("Synapse starts")
}

/// Somebody with an account.
#[derive(Debug)]
pub struct MatrixUser {
    client: HttpClient,
    pub id: String,
    pub token: String,
}

impl MatrixUser {
    /// Calls the client-server API and returns status and answer.
    pub async fn call(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let mut headers = HeaderMap::new();
        if !self.token.is_empty() {
            let value = HeaderValue::try_from(format!("Bearer {}", self.token)).expect("a token");
            headers.insert(header::AUTHORIZATION, value);
        }
        let version = if path.starts_with("/v1/") { "" } else { "/v3" };
        let path = format!("/_matrix/client{version}{path}");
        let answer = self.client.call(method, &path, headers, body.to_string(), CALL).await.expect("an answer");
        (answer.status.as_u16(), serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
    }

    async fn done(&self, method: Method, path: &str, body: &Value) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    pub async fn post(&self, path: &str, body: &Value) -> Value {
        self.done(Method::POST, path, body).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Value {
        self.done(Method::PUT, path, body).await
    }

    pub async fn get(&self, path: &str) -> Value {
        self.done(Method::GET, path, &json!({})).await
    }

    /// Signs in anew, as another device.
    pub async fn log_in(&mut self) {
        let user = json!({"type": "m.id.user", "user": self.id});
        self.token.clear();
        let body = json!({"type": "m.login.password", "identifier": user, "password": "pw"});
        self.token = self.post("/login", &body).await["access_token"].as_str().expect("a token").to_owned();
    }

    /// Makes a room and returns its id.
    pub async fn room(&self, settings: &Value) -> String {
        self.post("/createRoom", settings).await["room_id"].as_str().expect("a room").to_owned()
    }

    /// Sends an event and returns its id.
    pub async fn send(&self, room: &str, kind: &str, content: &Value) -> String {
        let path = format!("/rooms/{room}/send/{kind}/{}", fastrand::u64(..));
        self.put(&path, content).await["event_id"].as_str().expect("an event").to_owned()
    }

    /// Says something and returns the event's id.
    pub async fn say(&self, room: &str, text: &str) -> String {
        self.send(room, "m.room.message", &json!({"msgtype": "m.text", "body": text})).await
    }

    /// Returns the events of a room of this type, oldest first.
    pub async fn events(&self, room: &str, kind: &str) -> Vec<Value> {
        let filter = format!("%7B%22types%22%3A%5B%22{kind}%22%5D%7D");
        let page = self.get(&format!("/rooms/{room}/messages?dir=b&limit=500&filter={filter}")).await;
        page["chunk"].as_array().expect("events").iter().rev().cloned().collect()
    }
}
