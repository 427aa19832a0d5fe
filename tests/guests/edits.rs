//! Keeps the tickets of what it sends and edits it in a later event: `!send TEXT`, then `!edit TEXT`. `!urgent TEXT` and `!idle TEXT`
//! send with a high and a low priority, `!soon TEXT` what is worth delivering for a second only.

use std::time::Duration;

use bothost_guest::messaging::{self, Outgoing, Priority, Ticket};
use bothost_guest::{Bot, Command, Manifest, Result, state};

struct Edits;

bothost_guest::export!(Edits);

impl Bot for Edits {
    fn describe() -> Manifest {
        guests::manifest("edits", &["send", "edit", "urgent", "idle", "soon"])
    }

    fn on_command(command: &Command) -> Result {
        let text = || Outgoing::from(command.text());
        match command.name.as_str() {
            "send" => state::set_json("sent", &command.answer(text())?),
            "edit" => match state::get_json::<Ticket>("sent")? {
                Some(ticket) => messaging::edit(&command.message.conversation, ticket, text()),
                None => command.answer("nothing was sent").map(drop),
            },
            "urgent" => command.answer(text().priority(Priority::High)).map(drop),
            "idle" => command.answer(text().priority(Priority::Low)).map(drop),
            "soon" => command.answer(text().expires_after(Duration::from_secs(1))).map(drop),
            _ => guests::ping(command),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bothost_guest::testing::Host;

    #[test]
    fn what_was_sent_is_edited_by_its_ticket() {
        let mut host = Host::<Edits>::new();
        host.message("lobby", "alice", "!send one").expect("handled");
        host.message("lobby", "alice", "!edit two").expect("handled");
        assert_eq!(host.sent_texts()[0], "one");
    }
}
