//! The first bot to read: `!echo TEXT` answers TEXT, `!ping` answers `pong`, `!count` answers how many messages this
//! conversation has had.
//!
//! Every message and every command of the conversation counts once, the `!count` that asks included; edits, reactions and
//! the bot's own answers do not. A thread counts for itself.

use bothost_guest::{Bot, Command, Conversation, EventClass, Manifest, Message, Result, state};

struct Echo;

bothost_guest::export!(Echo);

impl Bot for Echo {
    fn describe() -> Manifest {
        Manifest::new("echo", env!("CARGO_PKG_VERSION"))
            .summary("answers with what it was told")
            .command("echo", "answers with TEXT", "TEXT")
            .command("ping", "answers pong", "")
            .command("count", "tells how many messages this conversation has had", "")
            .wants([EventClass::Message])
    }

    fn on_message(message: &Message) -> Result {
        count(&message.conversation)?;
        Ok(())
    }

    fn on_command(command: &Command) -> Result {
        let count = count(&command.message.conversation)?;
        match command.name.as_str() {
            // An empty message is one that no platform takes, and a failure would only be tried again.
            "echo" if command.text().is_empty() => command.answer("usage: !echo TEXT")?,
            "echo" => command.answer(command.text())?,
            "ping" => command.answer("pong")?,
            "count" => command.answer(count.to_string())?,
            other => return Err(format!("command {other} is not in the manifest").into()),
        };
        Ok(())
    }
}

/// Counts one message and returns how many there have been. Messages handled side by side all count: `add` has no conflicts.
fn count(conversation: &Conversation) -> Result<i64> {
    state::add(&format!("messages/{}", conversation.key()), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bothost_guest::testing::Host;

    fn check(text: &str, answer: &str) {
        let mut host = Host::<Echo>::new();
        host.message("lobby", "alice", text).expect("handled");
        assert_eq!(host.sent_texts(), [answer], "{text:?}");
    }

    #[test]
    fn echo_answers_the_text_with_its_inner_spacing() {
        check("!echo hi", "hi");
        check("/echo  a   b\n\tc ", "a   b\n\tc");
        check("!Echo@EchoBot 你好 👋", "你好 👋");
    }

    #[test]
    fn echo_without_a_text_says_how_it_is_used() {
        check("!echo", "usage: !echo TEXT");
        check("!echo   ", "usage: !echo TEXT");
    }

    #[test]
    fn ping_answers_pong() {
        check("!ping", "pong");
    }

    #[test]
    fn count_counts_every_message_of_its_conversation_and_itself() {
        let mut host = Host::<Echo>::new();
        for text in ["hello", "!ping", "!unknown", "!count"] {
            host.message("lobby", "alice", text).expect("handled");
        }
        host.message("kitchen", "bob", "!count").expect("handled");
        host.message("lobby", "bob", "!count").expect("handled");
        assert_eq!(host.sent_texts(), ["pong", "4", "1", "5"]);
    }

    #[test]
    fn other_messages_are_not_answered() {
        let mut host = Host::<Echo>::new();
        host.message("lobby", "alice", "just talking").expect("handled");
        assert!(host.sent().is_empty());
    }
}
