//! Programs of others: they show that the simulator behaves as the real thing does, and the connector as others expect.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use bothost::egress::{AddressGuard, HttpClient, HttpUrl};
use harness::peers::{free_port, peer};
use tokio::process::{Child, Command};

use super::*;

/// Interpreters take their time to start.
const PATIENCE: Duration = Duration::from_secs(60);
const CALL: Duration = Duration::from_secs(10);

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers").join(name)
}

fn start_program(mut command: Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn().expect("a program that starts")
}

/// Starts aiogram, which polls, or has updates posted to this port.
fn aiogram(test: &str, fake: &Telegram, port: Option<u16>) -> Option<Child> {
    let python = peer(test, "aiogram/bin/python")?;
    let mut command = Command::new(python);
    command.arg(script("aiogram_bot.py")).env("API", fake.url()).env("TOKEN", TOKEN).env("SECRET", "hook-s3cret");
    command.env("PORT", port.map(|port| port.to_string()).unwrap_or_default());
    Some(start_program(command))
}

/// Waits for a message of the bot's with this text or caption, and returns it.
async fn shown(fake: &Telegram, key: &str, text: &str) -> Value {
    let find = || fake.showing(7).into_iter().find(|message| message[key] == text);
    eventually(PATIENCE, text, find).await
}

/// Has a user do everything that the script answers.
async fn converse(fake: &Telegram) {
    fake.push_message(7, "hi & 👍");
    let echo = shown(fake, "text", "echo:hi & 👍").await;
    fake.press(7, echo["message_id"].as_i64().unwrap(), "again");
    assert_eq!(
        shown(fake, "text", "pressed:again").await["message_id"],
        echo["message_id"],
        "the same message, edited"
    );
    fake.push_edit(7, 77, "better");
    shown(fake, "text", "edited:better").await;
    fake.push_document(7, "a.txt", b"content", "look");
    let back = shown(fake, "caption", "back:look").await;
    assert_eq!(back["document"]["file_name"], "a.txt");
    assert_eq!(fake.file(back["document"]["file_id"].as_str().unwrap()).unwrap(), b"content");
    confirmed(fake, &[]).await;
    let refused: Vec<_> = fake.calls().into_iter().filter(|call| call.status.is_some_and(|it| it != 200)).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[tokio::test]
async fn aiogram_polls_the_simulator_and_answers_texts_buttons_edits_and_files() {
    let fake = Telegram::start(TOKEN).await;
    let test = "aiogram_polls_the_simulator_and_answers_texts_buttons_edits_and_files";
    let Some(_aiogram) = aiogram(test, &fake, None) else { return };
    converse(&fake).await;
}

#[tokio::test]
async fn the_simulator_posts_to_aiograms_webhook_with_its_secret() {
    let fake = Telegram::start(TOKEN).await;
    let test = "the_simulator_posts_to_aiograms_webhook_with_its_secret";
    let Some(_aiogram) = aiogram(test, &fake, Some(free_port())) else { return };
    converse(&fake).await;
    assert!(fake.posted().iter().all(|status| *status == 200), "{:?}", fake.posted());
}

#[tokio::test]
async fn the_connector_talks_to_an_emulator_of_others() {
    let test = "the_connector_talks_to_an_emulator_of_others";
    let Some(modules) = peer(test, "telegram/node_modules") else { return };
    if peer(test, "telegram/node_modules/telegram-test-api").is_none() {
        return;
    }
    let port = free_port();
    let mut command = Command::new("node");
    command.arg(script("telegram_test_api.js")).env("PORT", port.to_string()).env("NODE_PATH", modules);
    let _server = start_program(command);
    let url = format!("http://127.0.0.1:{port}");
    let HttpUrl(endpoint) = url.parse().unwrap();
    let user = HttpClient::new(endpoint, AddressGuard::any());
    let message = json!({"botToken": "42:token", "text": "!ping", "date": 1_700_000_000,
        "from": {"id": 7, "first_name": "Ann", "username": "ann"}, "chat": {"id": 7, "type": "private", "first_name": "Ann"}});
    tokio::time::timeout(PATIENCE, async {
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
