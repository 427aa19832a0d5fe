//! Proves by each answer what it has done before: for every message it counts one in its conversation's state and answers
//! the message's own words and the count. So the i-th answer of a conversation carries i if, and only if, every message
//! before it was handled exactly once.

use bothost_guest::{Bot, Command, EventClass, Manifest, Message, Result, state};

struct Ledger;

bothost_guest::export!(Ledger);

impl Bot for Ledger {
    fn describe() -> Manifest {
        guests::manifest("ledger", &[]).wants([EventClass::Message])
    }

    fn on_message(message: &Message) -> Result {
        let key = format!("count/{}", message.conversation.key());
        // Not `add`: what was read and then written shows a handler that ran on a state of before.
        let before: u64 = state::get_string(&key)?.map_or(Ok(0), |text| text.parse())?;
        let count = before + 1;
        state::set(&key, count.to_string())?;
        message.answer(format!("{} {count}", message.text)).map(drop)
    }

    fn on_command(command: &Command) -> Result {
        guests::ping(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bothost_guest::testing::Host;

    #[test]
    fn each_conversation_is_counted_for_itself() {
        let mut host = Host::<Ledger>::new();
        for (chat, text) in [("a", "a-0"), ("b", "b-0"), ("a", "a-1")] {
            host.message(chat, "alice", text).expect("handled");
        }
        assert_eq!(host.sent_texts(), ["a-0 1", "b-0 1", "a-1 2"]);
    }
}
