//! Shows which version of it handled a message: it counts as `ledger` does, and answers the message's words, the count and the
//! number in its mark. A test that writes another mark over it has another version, of other bytes; one that is marked as bad
//! traps on every message, once it has counted.

use std::hint::black_box;

use bothost_guest::{Bot, Command, EventClass, Manifest, Message, Result, state};

/// Three digits, and `ok ` or `bad`.
static MARK: &str = "edition[000 ok ]";

struct Edition;

bothost_guest::export!(Edition);

impl Bot for Edition {
    fn describe() -> Manifest {
        guests::manifest("edition", &[]).wants([EventClass::Message])
    }

    fn on_message(message: &Message) -> Result {
        let key = format!("count/{}", message.conversation.key());
        // Not `add`: what was read and then written shows a handler that ran on a state of before.
        let before: u64 = state::get_string(&key)?.map_or(Ok(0), |text| text.parse())?;
        let count = before + 1;
        state::set(&key, count.to_string())?;
        // Out of the compiler's sight, which knows what stands there now.
        let mark = black_box(MARK);
        message.answer(format!("{} {count} {}", message.text, &mark[8..11]))?;
        assert!(!mark.ends_with("bad]"), "this version is not good");
        Ok(())
    }

    fn on_command(command: &Command) -> Result {
        guests::ping(command)
    }
}
