//! When a message is a command of a bot: its text begins with `!` or `/` and a name that the bot's manifest declares. Pure.

use crate::event::{Command, EventKind};

/// Returns the event as the bot with these commands gets it: a message that names one of them becomes a command.
pub(super) fn recognise(kind: &EventKind, is_command: impl Fn(&str) -> bool) -> Option<EventKind> {
    let EventKind::Message(message) = kind else { return None };
    let rest = message.text.strip_prefix(['!', '/'])?;
    let mut words = rest.split_whitespace();
    // White space right after the prefix: no command.
    let first = words.next().filter(|first| rest.starts_with(first))?;
    // In a group, Telegram writes `/ping@its_name`.
    let name = first.split_once('@').map_or(first, |(name, _)| name).to_lowercase();
    if !is_command(&name) {
        return None;
    }
    let args = words.map(str::to_owned).collect();
    Some(EventKind::Command(Command { name, args, message: message.clone() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::{Conversation, ConversationKind, Message, User};

    fn parse(text: &str) -> Option<(String, Vec<String>)> {
        let conversation = Conversation {
            connector: "c".parse().unwrap(),
            id: "1".into(),
            kind: ConversationKind::Direct,
            title: None,
            thread: None,
        };
        let message = Message {
            id: "m".into(),
            conversation,
            sender: User { id: "u".into(), name: None, is_bot: false },
            text: text.into(),
            attachments: vec![],
            reply_to: None,
            addressed: true,
            sent_at: Timestamp::from_millis(0),
            reply_deadline: None,
        };
        match recognise(&EventKind::Message(message), |name| ["ping", "echo"].contains(&name))? {
            EventKind::Command(command) => Some((command.name, command.args)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_declared_name_after_a_prefix_is_a_command() {
        assert_eq!(parse("!ping"), Some(("ping".into(), vec![])));
        assert_eq!(parse("/PING@some_bot now"), Some(("ping".into(), vec!["now".into()])));
        assert_eq!(parse("!echo a  b\nc"), Some(("echo".into(), vec!["a".into(), "b".into(), "c".into()])));
    }

    #[test]
    fn everything_else_is_a_message() {
        for text in ["ping", "", "!", "! ping", "!pings", "!unknown", " !ping", "?ping"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
