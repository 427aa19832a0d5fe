//! Who said what where. It owns messages, commands and conversations, and the short ways to answer them.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::messaging::{self, Outgoing, Ticket};
use crate::{MessageRef, Result};

/// Who can read a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConversationKind {
    /// One person and the bot.
    Direct,
    /// A closed set of people.
    Group,
    /// Anybody who joins; often only some may write.
    Channel,
}

/// Where a message was said, and what a message is sent to. `connector`, `id` and `thread` together identify it.
///
/// It goes through serde, so that a bot can keep it in a timer's payload or in state and write there later.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Conversation {
    /// The connector's name in the operator's configuration.
    pub connector: String,
    /// The platform's id of the conversation, unique within the connector. Opaque.
    pub id: String,
    /// Who can read it.
    pub kind: ConversationKind,
    /// What people call it, where the platform says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// A topic or thread inside the conversation, where the platform has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
}

impl Conversation {
    /// Returns a conversation by its ids, for one that no event has named.
    pub fn new(connector: impl Into<String>, id: impl Into<String>, kind: ConversationKind) -> Self {
        Self { connector: connector.into(), id: id.into(), kind, title: None, thread: None }
    }

    /// Returns a text that differs for every two different conversations: a part of a state key.
    ///
    /// Its parts are joined by `/`; a `/` or `%` within one is written as `%2F` or `%25`.
    ///
    /// ```
    /// # use bothost_guest::{Conversation, ConversationKind};
    /// let room = Conversation::new("irc", "#rust/beginners", ConversationKind::Channel);
    /// assert_eq!(room.key(), "irc/#rust%2Fbeginners");
    /// ```
    pub fn key(&self) -> String {
        let parts = [Some(&self.connector), Some(&self.id), self.thread.as_ref()];
        let escaped: Vec<String> =
            parts.into_iter().flatten().map(|part| part.replace('%', "%25").replace('/', "%2F")).collect();
        escaped.join("/")
    }

    /// Sends a message here.
    ///
    /// # Errors
    ///
    /// Those of [`messaging::send`].
    pub fn send(&self, message: impl Into<Outgoing>) -> Result<Ticket> {
        messaging::send(self, message)
    }
}

/// A person or a bot on a platform.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct User {
    /// Unique within the connector.
    pub id: String,
    /// The name that people see. Users choose it: never an identity.
    pub name: Option<String>,
    /// True where the platform says that it is a program.
    pub is_bot: bool,
}

impl User {
    /// Returns the name that people see, or the id where the platform gives none.
    pub fn display_name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }
}

/// What an attachment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttachmentKind {
    /// A still picture.
    Image,
    /// A moving picture.
    Video,
    /// Music or a voice message.
    Audio,
    /// Any other file.
    File,
    /// A sticker of the platform.
    Sticker,
    /// A place on a map.
    Location,
    /// Somebody's address card.
    Contact,
}

/// Something that came with a message. The host does not download it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// What it is.
    pub kind: AttachmentKind,
    /// The file's name, where the platform says. The sender chooses it.
    pub name: Option<String>,
    /// As in HTTP, such as `image/png`.
    pub media_type: Option<String>,
    /// Bytes, where the platform says.
    pub size: Option<u64>,
    /// Where the module `http` can fetch it, if the host of the address is granted.
    pub url: Option<String>,
}

/// A message that somebody wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The platform's id, unique within its conversation.
    pub id: String,
    /// Where it was said.
    pub conversation: Conversation,
    /// Who said it.
    pub sender: User,
    /// Plain text. Empty where a message has only attachments.
    pub text: String,
    /// What came with it, in the platform's order.
    pub attachments: Vec<Attachment>,
    /// The platform's id of the message that this one answers.
    pub reply_to: Option<String>,
    /// The bot's account is named in the text, or the conversation is direct.
    pub addressed: bool,
    /// When the platform took it.
    pub sent_at: SystemTime,
    /// After this moment the platform takes no reply to it. `None`: no such limit.
    pub reply_deadline: Option<SystemTime>,
}

impl Message {
    /// Sends a message to the conversation of this one.
    ///
    /// # Errors
    ///
    /// Those of [`messaging::send`].
    pub fn answer(&self, message: impl Into<Outgoing>) -> Result<Ticket> {
        messaging::send(&self.conversation, message)
    }

    /// Sends a message that quotes this one, where the platform has quotes.
    ///
    /// # Errors
    ///
    /// Those of [`messaging::send`].
    pub fn reply(&self, message: impl Into<Outgoing>) -> Result<Ticket> {
        self.answer(message.into().reply_to(self))
    }

    /// Puts a reaction on this message.
    ///
    /// # Errors
    ///
    /// Those of [`messaging::react`].
    pub fn react(&self, emoji: &str) -> Result {
        messaging::react(&self.conversation, self, emoji)
    }
}

impl From<&Message> for MessageRef {
    fn from(message: &Message) -> Self {
        Self::Platform(message.id.clone())
    }
}

/// A message whose text begins with `!` or `/` and the name of a command that the manifest declares.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Without the prefix, in lower case.
    pub name: String,
    /// What follows, split at white space. [`text`](Command::text) has it as it was written.
    pub args: Vec<String>,
    /// The whole message, the prefix included.
    pub message: Message,
}

impl Command {
    /// Returns what follows the name, with its inner spacing, without white space at either end.
    pub fn text(&self) -> &str {
        self.message.text.trim().split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim_start())
    }

    /// Sends a message to the conversation of the command.
    ///
    /// # Errors
    ///
    /// Those of [`messaging::send`].
    pub fn answer(&self, message: impl Into<Outgoing>) -> Result<Ticket> {
        self.message.answer(message)
    }

    /// Sends a message that quotes the command, where the platform has quotes.
    ///
    /// # Errors
    ///
    /// Those of [`messaging::send`].
    pub fn reply(&self, message: impl Into<Outgoing>) -> Result<Ticket> {
        self.message.reply(message)
    }

    /// Puts a reaction on the command's message.
    ///
    /// # Errors
    ///
    /// Those of [`messaging::react`].
    pub fn react(&self, emoji: &str) -> Result {
        self.message.react(emoji)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversations_that_differ_have_keys_that_differ() {
        let room = |connector: &str, id: &str, thread: Option<&str>| Conversation {
            thread: thread.map(str::to_owned),
            ..Conversation::new(connector, id, ConversationKind::Group)
        };
        let rooms = [
            room("a", "b/c", None),
            room("a", "b", Some("c")),
            room("a/b", "c", None),
            room("a", "b%2Fc", None),
            room("a", "b", None),
            room("a", "b", Some("")),
        ];
        let keys: std::collections::BTreeSet<String> = rooms.iter().map(Conversation::key).collect();
        assert_eq!(keys.len(), rooms.len(), "{keys:?}");
    }

    #[test]
    fn a_conversation_survives_its_way_through_json() {
        let mut topic = Conversation::new("tg", "-100", ConversationKind::Channel);
        topic.thread = Some("7".into());
        let text = serde_json::to_string(&topic).expect("accepted");
        assert_eq!(text, r#"{"connector":"tg","id":"-100","kind":"channel","thread":"7"}"#);
        assert_eq!(serde_json::from_str::<Conversation>(&text).expect("read"), topic);
    }
}
