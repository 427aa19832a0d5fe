//! Tells commands from messages, by the rule of the real host.

use crate::{Command, EventKind, Manifest, Message};

/// What a message becomes for a bot with this manifest.
///
/// A command begins with `!` or `/`, followed at once by a name that the manifest declares. The name is compared in lower
/// case and without what follows an `@`, as in Telegram's `/ping@my_bot`. The rest is split at white space.
pub(super) fn classify(message: Message, manifest: &Manifest) -> EventKind {
    let Some(rest) = message.text.strip_prefix(['!', '/']) else {
        return EventKind::Message(message);
    };
    let (word, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let name = word.split('@').next().unwrap_or(word).to_lowercase();
    if !manifest.commands.iter().any(|command| command.name == name) {
        return EventKind::Message(message);
    }
    EventKind::Command(Command { name, args: rest.split_whitespace().map(str::to_owned).collect(), message })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{Conversation, ConversationKind, User};

    fn check(text: &str, expected: Option<(&str, &[&str], &str)>) {
        let manifest = Manifest::new("test", "0").command("roll", "", "");
        let message = Message {
            id: "1".into(),
            conversation: Conversation::new("test", "room", ConversationKind::Group),
            sender: User { id: "alice".into(), name: None, is_bot: false },
            text: text.into(),
            attachments: Vec::new(),
            reply_to: None,
            addressed: false,
            sent_at: SystemTime::UNIX_EPOCH,
            reply_deadline: None,
        };
        match (classify(message, &manifest), expected) {
            (EventKind::Command(command), Some((name, args, rest))) => {
                assert_eq!(command.name, name, "{text:?}");
                assert_eq!(command.args, args, "{text:?}");
                assert_eq!(command.text(), rest, "{text:?}");
                assert_eq!(command.message.text, text);
            }
            (EventKind::Message(_), None) => {}
            (kind, expected) => panic!("{text:?}: {kind:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_declared_name_after_a_prefix_is_a_command() {
        check("!roll", Some(("roll", &[], "")));
        check("/roll 2  d6 ", Some(("roll", &["2", "d6"], "2  d6")));
        check("!ROLL@Dice_Bot x", Some(("roll", &["x"], "x")));
        check("!roll\n2", Some(("roll", &["2"], "2")));
    }

    #[test]
    fn anything_else_is_a_message() {
        for text in ["roll", "!", "", "! roll", "!rolls", "!!roll", " !roll", "!other", "é"] {
            check(text, None);
        }
    }
}
