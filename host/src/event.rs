//! What happened: the host's own words for it. Connectors translate platforms into these, the sandbox translates these
//! into the guest's interface; nothing else stands between.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::{ConnectorName, EventId};

/// Who can read a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConversationKind {
    /// One person and the bot.
    Direct,
    /// A closed set of people.
    Group,
    /// Anybody who joins.
    Channel,
}

/// Where a message was said, and what a message is sent to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Conversation {
    /// The connector it belongs to, by the name its users configured.
    pub connector: ConnectorName,
    /// The platform's id, unique within the connector.
    pub id: String,
    /// Who can read it.
    pub kind: ConversationKind,
    /// What people call it.
    pub title: Option<String>,
    /// A topic or thread inside it.
    pub thread: Option<String>,
}

/// What order is kept within: a connector's conversation and thread, or a bot's timers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneKey(Arc<str>);

impl LaneKey {
    /// Returns the lane of a conversation. The lengths in front keep two conversations apart whatever their ids contain.
    pub fn conversation(conversation: &Conversation) -> Self {
        let thread = conversation.thread.as_deref().unwrap_or("");
        Self(format!("{}:{}:{}:{}", conversation.connector, conversation.id.len(), conversation.id, thread).into())
    }

    /// Returns the lane of what belongs to no conversation, such as a timer.
    pub fn other(what: &str, name: &str) -> Self {
        Self(format!(":{what}:{name}").into())
    }

    /// Returns the lane that was stored as this text.
    pub fn from_text(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the lane as it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A person or a bot on a platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Unique within the connector.
    pub id: String,
    /// The name that people see; users choose it.
    pub name: Option<String>,
    /// The platform says that it is a program.
    pub is_bot: bool,
}

/// What an attachment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it all")]
pub enum AttachmentKind {
    Image,
    Video,
    Audio,
    File,
    Sticker,
    Location,
    Contact,
}

/// Something that came with a message; it is not downloaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// What it is.
    pub kind: AttachmentKind,
    /// Its file name.
    pub name: Option<String>,
    /// As in HTTP.
    pub media_type: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
    /// Where it can be fetched.
    pub url: Option<String>,
}

/// What somebody said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The platform's id, unique within the conversation.
    pub id: String,
    /// Where it was said.
    pub conversation: Conversation,
    /// Who said it.
    pub sender: User,
    /// Plain text.
    pub text: String,
    /// What came with it.
    pub attachments: Vec<Attachment>,
    /// The platform's id of the message it answers.
    pub reply_to: Option<String>,
    /// The bot's account is named, or the conversation is direct.
    pub addressed: bool,
    /// When the platform took it.
    pub sent_at: Timestamp,
    /// After this moment the platform takes no reply.
    pub reply_deadline: Option<Timestamp>,
}

/// A message that names a command of the bot it goes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Lower case, without the prefix.
    pub name: String,
    /// What follows, split at white space.
    pub args: Vec<String>,
    /// The whole message.
    pub message: Message,
}

/// What became of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Membership {
    Joined,
    Left,
    Invited,
    Removed,
}

/// What happened. Mirrors `event-kind` of the guest interface, where each field is documented.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "wit/v0.1/types.wit documents every case and field")]
pub enum EventKind {
    Message(Message),
    Command(Command),
    Edited(Message),
    Reaction {
        conversation: Conversation,
        message_id: String,
        sender: User,
        emoji: String,
        added: bool,
    },
    Member {
        conversation: Conversation,
        member: User,
        change: Membership,
    },
    Button {
        conversation: Conversation,
        message_id: String,
        sender: User,
        data: String,
    },
    Timer {
        name: String,
        #[serde(with = "crate::bytes_as_text")]
        payload: Vec<u8>,
        due_at: Timestamp,
    },
    Webhook {
        path: String,
        headers: Vec<(String, String)>,
        #[serde(with = "crate::bytes_as_text")]
        body: Vec<u8>,
    },
    Custom {
        name: String,
    },
}

/// The kinds of event, for a bot's list of wanted ones and as a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "one for each case of `EventKind`")]
pub enum EventClass {
    Message,
    Command,
    Edited,
    Reaction,
    Member,
    Button,
    Timer,
    Webhook,
    Custom,
}

impl EventClass {
    /// Returns the kind's name in metrics and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Command => "command",
            Self::Edited => "edited",
            Self::Reaction => "reaction",
            Self::Member => "member",
            Self::Button => "button",
            Self::Timer => "timer",
            Self::Webhook => "webhook",
            Self::Custom => "custom",
        }
    }
}

impl EventKind {
    /// Returns which kind this is.
    pub fn class(&self) -> EventClass {
        match self {
            Self::Message(_) => EventClass::Message,
            Self::Command(_) => EventClass::Command,
            Self::Edited(_) => EventClass::Edited,
            Self::Reaction { .. } => EventClass::Reaction,
            Self::Member { .. } => EventClass::Member,
            Self::Button { .. } => EventClass::Button,
            Self::Timer { .. } => EventClass::Timer,
            Self::Webhook { .. } => EventClass::Webhook,
            Self::Custom { .. } => EventClass::Custom,
        }
    }

    /// Returns where it happened, if it happened in a conversation.
    pub fn conversation(&self) -> Option<&Conversation> {
        match self {
            Self::Message(message) | Self::Edited(message) => Some(&message.conversation),
            Self::Command(command) => Some(&command.message.conversation),
            Self::Reaction { conversation, .. }
            | Self::Member { conversation, .. }
            | Self::Button { conversation, .. } => Some(conversation),
            Self::Timer { .. } | Self::Webhook { .. } | Self::Custom { .. } => None,
        }
    }
}

/// Something that happened, as a connector or the timers hand it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The same on every attempt and for every bot that gets it.
    pub id: EventId,
    /// The connector it came from; none for a timer.
    pub connector: Option<ConnectorName>,
    /// The platform's own id of it, the same when the platform delivers it again.
    pub platform_id: Option<String>,
    /// When the host took it over.
    pub received_at: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// The platform's own JSON.
    pub raw: Option<String>,
}

impl Event {
    /// Returns an event that happens now, with a new id.
    pub fn now(connector: Option<ConnectorName>, kind: EventKind) -> Self {
        let received_at = Timestamp::now();
        Self { id: EventId::generate(received_at), connector, platform_id: None, received_at, kind, raw: None }
    }

    /// Returns after which moment the platform takes no reply; none where it sets no such limit.
    pub fn reply_deadline(&self) -> Option<Timestamp> {
        match &self.kind {
            EventKind::Message(message) | EventKind::Edited(message) => message.reply_deadline,
            EventKind::Command(command) => command.message.reply_deadline,
            _ => None,
        }
    }

    /// Returns what this event keeps its order within.
    pub fn lane(&self) -> LaneKey {
        match (&self.kind, self.kind.conversation()) {
            (_, Some(conversation)) => LaneKey::conversation(conversation),
            (EventKind::Timer { name, .. }, None) => LaneKey::other("timer", name),
            (kind, None) => LaneKey::other(
                &format!("{:?}", kind.class()),
                self.connector.as_ref().map_or("", ConnectorName::as_str),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(id: &str, thread: Option<&str>) -> Conversation {
        Conversation {
            connector: "c".parse().unwrap(),
            id: id.into(),
            kind: ConversationKind::Group,
            title: None,
            thread: thread.map(str::to_owned),
        }
    }

    #[test]
    fn conversations_whose_ids_look_alike_have_lanes_of_their_own() {
        let one = LaneKey::conversation(&conversation("a:b", None));
        let two = LaneKey::conversation(&conversation("a", Some("b")));
        assert_ne!(one, two);
    }

    #[test]
    fn a_title_is_no_part_of_the_lane() {
        let mut renamed = conversation("a", None);
        renamed.title = Some("new".into());
        assert_eq!(LaneKey::conversation(&renamed), LaneKey::conversation(&conversation("a", None)));
    }
}
