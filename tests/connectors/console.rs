//! The console, on an input and an output in memory.

use bothost::action::{Act, Outgoing, Upload};
use bothost::connector::Link;
use bothost::connector::console::{Prompt, run_on};
use bothost::event::ConversationKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};

use harness::rig::{Rig, outgoing, say, send};

/// A console, what types into it, and what reads from it.
fn start(prompt: Prompt) -> (Rig, DuplexStream, DuplexStream) {
    let (keyboard, input) = duplex(64 << 10);
    let (output, screen) = duplex(64 << 10);
    let rig = Rig::with_inbox(8, move |ports| run_on(BufReader::new(input), output, prompt, ports));
    (rig, keyboard, screen)
}

/// Reads until `end` has been shown.
async fn read_until(screen: &mut DuplexStream, end: &str) -> String {
    let mut shown = Vec::new();
    while !shown.ends_with(end.as_bytes()) {
        shown.push(screen.read_u8().await.expect("a console that runs"));
    }
    String::from_utf8(shown).expect("UTF-8")
}

#[tokio::test]
async fn every_line_is_a_message_and_every_answer_is_shown() {
    let (mut rig, mut keyboard, mut screen) = start(Prompt::Hidden);
    keyboard.write_all(b"!echo hi\r\n\n  \nzweite Zeile \xc3\xa4\n").await.unwrap();
    let first = rig.message().await;
    assert_eq!((first.text.as_str(), first.conversation.id.as_str()), ("!echo hi", "console"));
    assert_eq!((first.conversation.kind, first.addressed), (ConversationKind::Direct, true));
    assert_eq!(first.sender.id, std::env::var("USER").unwrap_or_else(|_| "you".to_owned()));
    let second = rig.message().await;
    assert_eq!(second.text, "zweite Zeile ä");
    assert_ne!(first.id, second.id);
    let receipt = rig.deliver("console", say("hi")).await.unwrap();
    assert!(receipt.platform_id.is_some());
    assert_eq!(read_until(&mut screen, "hi\n").await, "hi\n");
    rig.stop().await;
}

#[tokio::test]
async fn at_the_end_of_the_input_it_says_so_and_still_shows_what_bots_say() {
    let (mut rig, mut keyboard, mut screen) = start(Prompt::Hidden);
    keyboard.write_all(b"last words").await.unwrap();
    drop(keyboard);
    assert_eq!(rig.message().await.text, "last words");
    rig.link(|link| *link == Link::Stopped).await;
    assert!(!rig.task.is_finished());
    rig.deliver("console", say("late answer")).await.unwrap();
    assert_eq!(read_until(&mut screen, "\n").await, "late answer\n");
    rig.stop().await;
}

#[tokio::test]
async fn an_inbox_that_is_full_does_not_hold_up_what_bots_say() {
    let (rig, mut keyboard, mut screen) = start(Prompt::Hidden);
    keyboard.write_all("x\n".repeat(100).as_bytes()).await.unwrap();
    rig.deliver("console", say("still here")).await.unwrap();
    assert_eq!(read_until(&mut screen, "\n").await, "still here\n");
    rig.stop().await;
}

#[tokio::test]
async fn a_bot_cannot_command_the_terminal() {
    let (rig, _keyboard, mut screen) = start(Prompt::Hidden);
    rig.deliver("console", say("a\u{1b}]0;title\u{7}\u{9b}2J\rb\tc\nd")).await.unwrap();
    assert_eq!(read_until(&mut screen, "d\n").await, "a]0;title2Jb\tc\nd\n");
    rig.stop().await;
}

#[tokio::test]
async fn every_act_is_shown_as_lines() {
    let (rig, _keyboard, mut screen) = start(Prompt::Hidden);
    let upload = Upload { name: "a.txt".to_owned(), media_type: "text/plain".to_owned(), content: vec![0; 3] };
    let rich = Outgoing { uploads: vec![upload], ..outgoing("Sure?") };
    let target = || "out-1".to_owned();
    for (act, expected) in [
        (send(rich), "Sure?\n* file a.txt (3 bytes)\n"),
        (Act::Edit { target: target(), message: outgoing("Really?") }, "* edited out-1: Really?\n"),
        (Act::React { target: target(), emoji: "👍".to_owned() }, "* reacted to out-1 with 👍\n"),
        (Act::Delete { target: target() }, "* deleted out-1\n"),
    ] {
        rig.deliver("console", act).await.unwrap();
        assert_eq!(read_until(&mut screen, expected).await, expected);
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_prompt_is_there_before_each_line_and_after_each_answer() {
    let (mut rig, mut keyboard, mut screen) = start(Prompt::Shown);
    assert_eq!(read_until(&mut screen, "> ").await, "> ");
    keyboard.write_all(b"hi\n").await.unwrap();
    rig.message().await;
    assert_eq!(read_until(&mut screen, "> ").await, "> ");
    rig.deliver("console", say("hello")).await.unwrap();
    assert_eq!(read_until(&mut screen, "\n> ").await, "\rhello\n> ");
    rig.stop().await;
}
