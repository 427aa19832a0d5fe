//! One bot, unchanged, on every platform that can be simulated, through a whole host, and by the terminal of its author.

use std::collections::BTreeMap;
use std::process::Stdio;

use harness::eventually;
use harness::guests;
use harness::host::{CHAT, Home, PATIENCE, TestHost};
use simulators::chat::{Chat, Heard, Kind};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};
use tokio::time::timeout;

const COMPILER: &str = env!("CARGO_BIN_EXE_host");

/// What one message of each platform holds, in the platform's own measure.
fn longest(kind: Kind) -> usize {
    match kind {
        Kind::Discord => 2_000,
        Kind::OneBot | Kind::Qq => usize::MAX,
        Kind::Slack => 4_000,
        Kind::Telegram => 4_096,
    }
}

async fn on_every_platform(bot: &str, component: &[u8]) -> (TestHost, BTreeMap<&'static str, (Kind, Chat)>) {
    let mut chats = BTreeMap::new();
    let mut config = String::new();
    for kind in Kind::ALL {
        let chat = Chat::start(kind).await;
        config.push_str(&format!("[connectors.{}]\n{}pace = \"off\"\n", kind.as_str(), chat.table()));
        chats.insert(kind.as_str(), (kind, chat));
    }
    let host = Home::new(COMPILER, &config).with(&format!("{bot}.wasm"), component).start().await;
    host.serving(bot).await;
    for name in chats.keys() {
        host.metric_reaches(&format!("bothost_connector_link{{connector=\"{name}\",link=\"connected\"}}"), 1.0).await;
    }
    (host, chats)
}

/// Waits until the bot has said so much, and returns it.
async fn heard(name: &str, chat: &Chat, is_enough: impl Fn(&[Heard]) -> bool) -> Vec<Heard> {
    let what = format!("what is said on {name}");
    eventually(PATIENCE, &what, || {
        let heard = chat.heard();
        is_enough(&heard).then_some(heard)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_echo_bot_answers_on_every_platform_and_counts_each_conversation_apart() {
    let (host, chats) = on_every_platform("echo", &guests::example("echo")).await;
    for (name, (_, chat)) in &chats {
        chat.say("!ping");
        assert_eq!(heard(name, chat, |heard| !heard.is_empty()).await[0].text, "pong", "{name}");
        chat.say("!echo [CQ:at,qq=all] 2 < 3 & *stars* 你好 👍🏽");
        let got = heard(name, chat, |heard| heard.len() > 1).await;
        let text = got[1].text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        assert_eq!(text, "[CQ:at,qq=all] 2 < 3 & *stars* 你好 👍🏽", "{name}");
        chat.say("!count");
        let got = heard(name, chat, |heard| heard.len() > 2).await;
        assert!(got[2].text.contains('3'), "{name}: {:?}", got[2]);
    }
    drop(host);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buttons_are_pressed_where_there_are_some_and_are_numbers_where_there_are_none() {
    let (host, chats) = on_every_platform("menu", &guests::guest("menu")).await;
    for (name, (_, chat)) in &chats {
        chat.say("!menu");
        let menu = heard(name, chat, |heard| !heard.is_empty()).await.remove(0);
        if menu.buttons.is_empty() {
            assert_eq!(menu.text, "What will it be?\n1. Tea\n2. Coffee\n3. Water", "{name}");
            chat.say("2");
        } else {
            let labels: Vec<_> = menu.buttons.iter().map(|(label, _)| label.as_str()).collect();
            assert_eq!((menu.text.as_str(), labels), ("What will it be?", vec!["Tea", "Coffee", "Water"]), "{name}");
            chat.press(&menu, "coffee");
        }
        let got = heard(name, chat, |heard| heard.len() > 1).await;
        assert_eq!(got[1].text, "one coffee", "{name}");
    }
    drop(host);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_text_comes_in_pieces_that_fit_with_its_code_in_whole_blocks() {
    let (host, chats) = on_every_platform("menu", &guests::guest("menu")).await;
    for (name, (kind, chat)) in &chats {
        chat.say("!code");
        let is_all = |heard: &[Heard]| heard.last().is_some_and(|last| last.text.contains("That is all."));
        let got = heard(name, chat, is_all).await;
        let lines: usize = got.iter().map(|piece| piece.text.matches("let answer = 42;").count()).sum();
        assert_eq!(lines, 400, "{name}");
        for piece in &got {
            assert!(piece.text.encode_utf16().count() <= longest(*kind), "{name}");
            assert_eq!(piece.text.matches("```").count() % 2, 0, "{name}: {}", piece.text);
        }
    }
    drop(host);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connector_that_falls_over_is_started_anew_and_delivers_what_waited() {
    let host = Home::new(COMPILER, "").with("echo.wasm", &guests::example("echo")).start().await;
    host.serving("echo").await;
    assert_eq!(host.ask("room", "!ping").await, "pong");
    host.chat.fall_over();
    assert_eq!(host.ask("room", "!echo again").await, "again");
    let lost = format!("bothost_connector_connections_lost_total{{connector=\"{CHAT}\"}}");
    assert_eq!(host.metric(&lost), 1.0);
    assert_eq!(host.ask("room", "!ping").await, "pong");
}

/// Reads lines until one contains `what`.
async fn read_until(lines: &mut Lines<BufReader<ChildStdout>>, what: &str) {
    let found = async {
        loop {
            match lines.next_line().await.unwrap() {
                Some(line) if line.contains(what) => break,
                Some(_) => {}
                None => panic!("it ended before it said {what}"),
            }
        }
    };
    timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("it never said {what}"));
}

#[tokio::test]
async fn an_author_talks_to_a_bot_on_a_simulated_platform_in_the_terminal() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("menu.wasm");
    std::fs::write(&file, guests::guest("menu")).unwrap();
    for (platform, press) in [("telegram", "/2\n"), ("onebot", "2\n")] {
        let mut dev = Command::new(COMPILER);
        dev.arg("dev").arg(&file).args(["--sim", platform]).env("TMPDIR", home.path());
        let mut dev = dev.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut typed = dev.stdin.take().unwrap();
        let mut lines = BufReader::new(dev.stdout.take().unwrap()).lines();
        read_until(&mut lines, &format!("menu is on {platform}")).await;
        typed.write_all(b"!menu\n").await.unwrap();
        read_until(&mut lines, "Water").await;
        typed.write_all(press.as_bytes()).await.unwrap();
        read_until(&mut lines, "one coffee").await;
        drop(typed);
        assert!(timeout(PATIENCE, dev.wait()).await.expect("it ends with its input").unwrap().success());
    }
    let left: Vec<_> = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["menu.wasm"], "nothing is left behind");
}
