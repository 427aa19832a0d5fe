//! Programs of others: they show that the fakes behave as the real things do. Installed under `$BOTHOST_PEERS`, as
//! `.ci/run` does it: Python environments `nonebot`, `mail` and `schemathesis`, and npm's modules in `telegram` and `browser`. A test whose
//! program is not there says so and is skipped.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bothost::egress::{AddressGuard, HttpClient, HttpUrl};
use harness::eventually;
use harness::onebot::FakeOneBot;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::rig::{Rig, say};

/// Interpreters take their time to start.
const WITHIN: Duration = Duration::from_secs(60);
const CALL: Duration = Duration::from_secs(10);

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn skipped(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
}

/// Returns a path under `$BOTHOST_PEERS`; none, and a word about it, where it is not there.
pub fn peer(test: &str, path: &str) -> Option<PathBuf> {
    let Some(root) = std::env::var_os("BOTHOST_PEERS") else {
        skipped(test, "BOTHOST_PEERS is not set");
        return None;
    };
    let path = Path::new(&root).join(path);
    if !path.exists() {
        skipped(test, &format!("{} is not installed", path.display()));
        return None;
    }
    Some(path)
}

pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers").join(name)
}

/// Returns a port that was free a moment ago: these programs cannot choose one themselves and say which.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port").local_addr().expect("a bound listener").port()
}

fn nonebot(test: &str, port: u16, dial: &str) -> Option<Child> {
    let python = peer(test, "nonebot/bin/python")?;
    let mut command = Command::new(python);
    command.arg(script("nonebot_echo.py")).env("PORT", port.to_string()).env("TOKEN", "tok").env("DIAL", dial);
    Some(start(command))
}

fn start(mut command: Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn().expect("a program that starts")
}

/// Waits until the application has answered a message of this text.
async fn echoed(fake: &FakeOneBot, text: &str) {
    let is_echo = |call: &harness::onebot::Call| {
        call.action.starts_with("send_") && call.parameters["message"].to_string().contains(&format!("echo:{text}"))
    };
    eventually(WITHIN, "the echo", || fake.calls().iter().any(is_echo).then_some(())).await;
}

#[tokio::test]
async fn nonebot_dials_the_fake_implementation_and_answers() {
    let fake = FakeOneBot::listen(Some("tok")).await;
    let Some(_nonebot) = nonebot("nonebot_dials_the_fake_implementation_and_answers", free_port(), &fake.url()) else {
        return;
    };
    eventually(WITHIN, "NoneBot to dial", || (fake.sockets() == 1).then_some(())).await;
    fake.push_private_message(7, json!([{"type": "text", "data": {"text": "forward"}}]));
    echoed(&fake, "forward").await;
    fake.push_group_message(
        5,
        7,
        json!([{"type": "at", "data": {"qq": "10"}}, {"type": "text", "data": {"text": " x"}}]),
    );
    eventually(WITHIN, "a second answer", || (fake.calls().len() > 1).then_some(())).await;
}

#[tokio::test]
async fn the_fake_implementation_dials_nonebot_with_the_right_token_only() {
    let port = free_port();
    let Some(_nonebot) = nonebot("the_fake_implementation_dials_nonebot_with_the_right_token_only", port, "") else {
        return;
    };
    tokio::time::timeout(WITHIN, async {
        while tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("NoneBot to listen");
    let url = format!("ws://127.0.0.1:{port}/onebot/v11/ws");
    assert_eq!(FakeOneBot::dial(&url, "Universal", Some("wrong")).await.map(|_| ()).unwrap_err(), 403);
    let fake = FakeOneBot::dial(&url, "Universal", Some("tok")).await.unwrap();
    fake.push_private_message(7, json!([{"type": "text", "data": {"text": "reverse"}}]));
    echoed(&fake, "reverse").await;
}

#[tokio::test]
async fn the_telegram_connector_talks_to_an_emulator_of_others() {
    let test = "the_telegram_connector_talks_to_an_emulator_of_others";
    let Some(modules) = peer(test, "telegram/node_modules") else { return };
    if peer(test, "telegram/node_modules/telegram-test-api").is_none() {
        return;
    }
    let port = free_port();
    let mut command = Command::new("node");
    command.arg(script("telegram_test_api.js")).env("PORT", port.to_string()).env("NODE_PATH", modules);
    let _server = start(command);
    let url = format!("http://127.0.0.1:{port}");
    let HttpUrl(endpoint) = url.parse().unwrap();
    let user = HttpClient::new(endpoint, AddressGuard::any());
    let message = json!({"botToken": "42:token", "text": "!ping", "date": 1_700_000_000,
        "from": {"id": 7, "first_name": "Ann", "username": "ann"}, "chat": {"id": 7, "type": "private", "first_name": "Ann"}});
    tokio::time::timeout(WITHIN, async {
        while user.post_json("/sendMessage", message.to_string(), CALL).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the emulator to listen");
    let mut rig = Rig::start("telegram", &format!("token = \"42:token\"\napi_url = \"{url}\""));
    let received = rig.message().await;
    assert_eq!((received.text.as_str(), received.conversation.id.as_str()), ("!ping", "7"));
    rig.deliver("7", say("pong")).await.unwrap();
    let ask = json!({"token": "42:token", "chatId": "7"}).to_string();
    let response = user.post_json("/getUpdates", ask, CALL).await.unwrap();
    let updates: Value = serde_json::from_slice(&response.body).unwrap();
    assert!(updates.to_string().contains("pong"), "{updates}");
    rig.stop().await;
}
