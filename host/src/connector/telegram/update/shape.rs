//! The parts of Telegram's JSON that are read.

use serde::Deserialize;
use serde_json::Value;

use crate::event::{Conversation, ConversationKind, User};
use crate::id::ConnectorName;

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Update {
    pub(super) message: Option<Message>,
    pub(super) edited_message: Option<Message>,
    pub(super) channel_post: Option<Message>,
    pub(super) edited_channel_post: Option<Message>,
    pub(super) callback_query: Option<CallbackQuery>,
    pub(super) my_chat_member: Option<MemberUpdate>,
    pub(super) chat_member: Option<MemberUpdate>,
    pub(super) message_reaction: Option<ReactionUpdate>,
}

#[derive(Deserialize)]
pub(super) struct Account {
    pub(super) id: i64,
    #[serde(default)]
    is_bot: bool,
    first_name: Option<String>,
    last_name: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Chat {
    id: i64,
    #[serde(rename = "type", default)]
    kind: String,
    title: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
}

fn full_name(first: Option<String>, last: Option<String>) -> Option<String> {
    let parts: Vec<_> = [first, last].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

impl From<Account> for User {
    fn from(account: Account) -> Self {
        let name = full_name(account.first_name, account.last_name);
        Self { id: account.id.to_string(), name, is_bot: account.is_bot }
    }
}

impl From<Chat> for User {
    /// A chat can speak for itself: a channel, an anonymous administrator.
    fn from(chat: Chat) -> Self {
        Self { id: chat.id.to_string(), name: chat.title, is_bot: false }
    }
}

impl Chat {
    pub(super) fn kind(&self) -> ConversationKind {
        match self.kind.as_str() {
            "private" => ConversationKind::Direct,
            "channel" => ConversationKind::Channel,
            _ => ConversationKind::Group,
        }
    }

    pub(super) fn conversation(self, connector: &ConnectorName, thread: Option<i64>) -> Conversation {
        Conversation {
            connector: connector.clone(),
            id: self.id.to_string(),
            kind: self.kind(),
            title: self.title.or_else(|| full_name(self.first_name, self.last_name)),
            thread: thread.map(|thread| thread.to_string()),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Message {
    pub(super) message_id: i64,
    pub(super) from: Option<Account>,
    pub(super) sender_chat: Option<Chat>,
    pub(super) chat: Chat,
    #[serde(default)]
    pub(super) date: u64,
    pub(super) message_thread_id: Option<i64>,
    #[serde(default)]
    pub(super) is_topic_message: bool,
    pub(super) reply_to_message: Option<Box<RepliedTo>>,
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) entities: Vec<Entity>,
    pub(super) caption: Option<String>,
    #[serde(default)]
    pub(super) caption_entities: Vec<Entity>,
    #[serde(default)]
    pub(super) photo: Vec<File>,
    pub(super) animation: Option<File>,
    pub(super) video: Option<File>,
    pub(super) video_note: Option<File>,
    pub(super) audio: Option<File>,
    pub(super) voice: Option<File>,
    pub(super) document: Option<File>,
    pub(super) sticker: Option<File>,
    pub(super) location: Option<Value>,
    pub(super) contact: Option<Value>,
}

impl Message {
    /// The topic, where there are topics. Elsewhere Telegram sets the id for chains of replies too.
    pub(super) fn thread(&self) -> Option<i64> {
        self.message_thread_id.filter(|_| self.is_topic_message)
    }

    pub(super) fn conversation(self, connector: &ConnectorName) -> Conversation {
        let thread = self.thread();
        self.chat.conversation(connector, thread)
    }

    /// Returns what a message is that nobody wrote, such as `new_chat_members`; none for what people say.
    pub(super) fn service_kind(&self, update: &Value) -> Option<String> {
        const SERVICE: [&str; 26] = [
            "new_chat_members",
            "left_chat_member",
            "new_chat_title",
            "new_chat_photo",
            "delete_chat_photo",
            "group_chat_created",
            "supergroup_chat_created",
            "channel_chat_created",
            "migrate_to_chat_id",
            "migrate_from_chat_id",
            "pinned_message",
            "forum_topic_created",
            "forum_topic_edited",
            "forum_topic_closed",
            "forum_topic_reopened",
            "general_forum_topic_hidden",
            "general_forum_topic_unhidden",
            "message_auto_delete_timer_changed",
            "video_chat_scheduled",
            "video_chat_started",
            "video_chat_ended",
            "video_chat_participants_invited",
            "write_access_allowed",
            "chat_background_set",
            "boost_added",
            "proximity_alert_triggered",
        ];
        let fields = update.get("message").or_else(|| update.get("channel_post"))?;
        SERVICE.into_iter().find(|name| fields.get(name).is_some()).map(str::to_owned)
    }
}

#[derive(Deserialize)]
pub(super) struct RepliedTo {
    pub(super) message_id: i64,
    pub(super) from: Option<Account>,
}

#[derive(Deserialize)]
pub(super) struct Entity {
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// In UTF-16 units, as the length.
    pub(super) offset: usize,
    pub(super) length: usize,
    pub(super) user: Option<Account>,
}

#[derive(Deserialize)]
pub(super) struct File {
    pub(super) file_name: Option<String>,
    pub(super) mime_type: Option<String>,
    pub(super) file_size: Option<u64>,
    /// Of a sticker.
    pub(super) emoji: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct CallbackQuery {
    pub(super) from: Account,
    pub(super) message: Option<Message>,
    pub(super) data: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct MemberUpdate {
    pub(super) chat: Chat,
    pub(super) old_chat_member: ChatMember,
    pub(super) new_chat_member: ChatMember,
}

#[derive(Deserialize)]
pub(super) struct ChatMember {
    pub(super) user: Account,
    pub(super) status: String,
    /// Of a restricted one.
    #[serde(default)]
    pub(super) is_member: bool,
}

#[derive(Deserialize)]
pub(super) struct ReactionUpdate {
    pub(super) chat: Chat,
    pub(super) message_id: i64,
    pub(super) user: Option<Account>,
    pub(super) actor_chat: Option<Chat>,
    pub(super) old_reaction: Vec<Reaction>,
    pub(super) new_reaction: Vec<Reaction>,
}

#[derive(Deserialize, PartialEq, Eq)]
pub(super) struct Reaction(pub(super) ReactionKind);

#[derive(Deserialize, PartialEq, Eq)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ReactionKind {
    Emoji {
        emoji: String,
    },
    CustomEmoji {
        custom_emoji_id: String,
    },
    #[serde(other)]
    Other,
}
