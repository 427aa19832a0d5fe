//! Bots that come, change, fail, recover and are given up, from the edit of a file or the operator's word to what users and
//! operators see of it: with whole hosts and the real command line.

mod files;
mod operator;
mod scenarios;
mod storm;
mod supervision;
mod swap;
mod tenants;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bothost::action::Act;
use bothost::admin::client::Client;
use bothost::host::ADMIN_SOCKET;
use bothost::id::ContentHash;
use harness::guests;
use harness::host::{PATIENCE, TestHost, eventually};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_host");

/// Returns the component with a custom section at its end: other bytes, the same bot.
fn other_bytes(mut component: Vec<u8>, tag: u8) -> Vec<u8> {
    component.extend([0, 3, 1, b'x', tag]);
    component
}

/// Returns a component that starts and traps on everything that it is given. It is tiny: compiling it takes no time.
fn trapping() -> Vec<u8> {
    let handle = r#"handle") (param i32) (result i32) (i32.const 2048))"#;
    assert!(guests::IDLE.contains(handle));
    guests::component(&guests::IDLE.replace(handle, r#"handle") (param i32) (result i32) unreachable)"#))
}

fn hash(component: &[u8]) -> Option<ContentHash> {
    Some(ContentHash::of(component))
}

/// What the command line said, and its exit code.
#[derive(Debug)]
struct Told {
    code: Option<i32>,
    said: String,
    complained: String,
}

impl Told {
    /// Checks that it went well and said all this.
    #[track_caller]
    fn well(self, parts: &[&str]) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.says(parts)
    }

    /// Checks that it said or complained all this.
    #[track_caller]
    fn says(self, parts: &[&str]) -> String {
        let Self { said, complained, .. } = self;
        let text = format!("{said}{complained}");
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
        text
    }
}

/// Runs `host` beside a host's configuration, with arguments that have no spaces in them.
async fn run(home: &Path, arguments: &str) -> Told {
    let command = tokio::process::Command::new(PROGRAM).args(arguments.split(' ')).current_dir(home).output();
    let output = command.await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Told { code: output.status.code(), said: text(output.stdout), complained: text(output.stderr) }
}

/// Asks a host's API.
async fn get(host: &TestHost, path: &str) -> Value {
    Client::new(host.home().join("data").join(ADMIN_SOCKET)).get(path).await.unwrap()
}

/// Returns the keys of the host's own alerts that are up, and what each says.
fn alerts(host: &TestHost) -> Vec<(String, String)> {
    host.host().alerts().active().into_iter().map(|alert| (alert.key, alert.summary)).collect()
}

/// Waits until an alert of the host's is up, and returns what it says.
async fn alerted(host: &TestHost, key: &str) -> String {
    let is_up = || alerts(host).into_iter().find(|(up, _)| up == key).map(|(_, summary)| summary);
    eventually(is_up, || format!("{key} is not up: {:?}", alerts(host))).await
}

/// Waits until an alert of the host's is not up.
async fn calm(host: &TestHost, key: &str) {
    let is_down = || alerts(host).iter().all(|(up, _)| up != key).then_some(());
    eventually(is_down, || format!("{key} is up: {:?}", alerts(host))).await;
}

/// Checks that no event was given up.
async fn assert_no_dead_letter(host: &TestHost) {
    assert_eq!(get(host, "/api/v1/dead-letters").await, serde_json::json!([]));
}

/// Waits for so many answers since the start of the host, and returns them by conversation, in order.
async fn told(host: &TestHost, count: u64) -> BTreeMap<String, Vec<String>> {
    let delivered = tokio::time::timeout(PATIENCE, host.chat.delivered(count)).await;
    let delivered = delivered.unwrap_or_else(|_| panic!("{} of {count} answers came", host.chat.delivered_count()));
    let mut told: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for action in delivered {
        let Act::Send { message, .. } = action.act else { panic!("{action:?}") };
        told.entry(action.at.id).or_default().push(message.text);
    }
    told
}

/// The directory by which the guest `ill` is made ill.
pub(super) struct Ward(PathBuf);

impl Ward {
    /// Makes the directory beside the bots' one.
    pub(super) fn beside(home: &Path) -> Self {
        let ward = home.join("ward");
        std::fs::create_dir(&ward).unwrap();
        Self(ward)
    }

    /// Returns what lets a bot see it.
    pub(super) const GRANT: &str = "[[grants.dirs]]\nhost = \"../ward\"\nguest = \"/ward\"\n";

    /// Has the guest fail at `init`, or at every message by `trap`.
    pub(super) fn infect(&self, with: &str) {
        std::fs::write(self.0.join(with), "").unwrap();
    }

    pub(super) fn cure(&self, of: &str) {
        std::fs::remove_file(self.0.join(of)).unwrap();
    }
}
