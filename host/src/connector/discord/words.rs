//! Discord's dispatches in the host's words. Pure. Fields and kinds that are not known here are no error.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::event::{self, Attachment, AttachmentKind, Conversation, ConversationKind, Event, EventKind, Membership};
use crate::id::ConnectorName;
use crate::secret::Secret;

/// The first millisecond of Discord's ids.
const EPOCH_MS: u64 = 1_420_070_400_000;
/// Larger JSON of one dispatch is not passed on; the event is.
const RAW_BYTES_MAX: usize = 256 << 10;
/// What says how the connection or a user's client is, or describes what was there before: nothing that happened.
const QUIET: [&str; 9] = [
    "READY",
    "RESUMED",
    "GUILD_CREATE",
    "PRESENCE_UPDATE",
    "TYPING_START",
    "VOICE_STATE_UPDATE",
    "VOICE_SERVER_UPDATE",
    "GUILD_MEMBERS_CHUNK",
    "APPLICATION_COMMAND_PERMISSIONS_UPDATE",
];
/// What people write is a message of one of these types; others tell of a join, a pin, a boost.
const WRITTEN: [u64; 2] = [0, 19];

/// A person or a program.
#[derive(Debug, Deserialize)]
struct User {
    id: String,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    global_name: Option<String>,
    #[serde(default)]
    bot: bool,
}

impl User {
    fn named(&self, member: Option<&Member>) -> event::User {
        let nick = member.and_then(|member| member.nick.as_ref());
        let name = nick.or(self.global_name.as_ref()).or(self.username.as_ref()).cloned();
        event::User { id: self.id.clone(), name, is_bot: self.bot }
    }
}

#[derive(Debug, Deserialize)]
struct Member {
    #[serde(default)]
    nick: Option<String>,
    #[serde(default)]
    user: Option<User>,
}

#[derive(Debug, Deserialize)]
struct Message {
    id: String,
    channel_id: String,
    #[serde(default)]
    guild_id: Option<String>,
    author: User,
    #[serde(default)]
    member: Option<Member>,
    #[serde(default)]
    webhook_id: Option<String>,
    #[serde(default)]
    content: String,
    #[serde(default, rename = "type")]
    kind: u64,
    #[serde(default)]
    edited_timestamp: Option<String>,
    #[serde(default)]
    mentions: Vec<User>,
    #[serde(default)]
    attachments: Vec<File>,
    #[serde(default)]
    sticker_items: Vec<Sticker>,
    #[serde(default)]
    message_reference: Option<Reference>,
    #[serde(default)]
    referenced_message: Option<Referenced>,
}

#[derive(Debug, Deserialize)]
struct File {
    #[serde(default)]
    filename: Option<String>,
    #[serde(default)]
    content_type: Option<String>,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    url: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Sticker {
    id: String,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Reference {
    #[serde(default)]
    message_id: Option<String>,
    /// 0: an answer; 1: passed on.
    #[serde(default, rename = "type")]
    kind: u64,
}

#[derive(Debug, Deserialize)]
struct Referenced {
    author: User,
}

#[derive(Debug, Deserialize)]
struct Reaction {
    user_id: String,
    channel_id: String,
    message_id: String,
    #[serde(default)]
    guild_id: Option<String>,
    #[serde(default)]
    member: Option<Member>,
    emoji: Emoji,
}

#[derive(Debug, Deserialize)]
struct Emoji {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct MemberChange {
    guild_id: String,
    user: User,
    #[serde(default)]
    nick: Option<String>,
}

/// Somebody used what the bot offers: a command, a button, a form.
#[derive(Debug, Deserialize)]
pub(super) struct Interaction {
    pub(super) id: String,
    pub(super) application_id: String,
    #[serde(rename = "type")]
    pub(super) kind: u64,
    /// Opens the way to answer it, for a quarter of an hour.
    pub(super) token: Secret,
    #[serde(default)]
    data: Value,
    #[serde(default)]
    channel_id: Option<String>,
    #[serde(default)]
    guild_id: Option<String>,
    #[serde(default)]
    member: Option<Member>,
    #[serde(default)]
    user: Option<User>,
    #[serde(default)]
    message: Option<Value>,
}

impl Interaction {
    /// Returns an interaction, where this is one.
    pub(super) fn read(data: &Value) -> Option<Self> {
        Self::deserialize(data).ok()
    }
}

/// Who reads, for whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) connector: &'a ConnectorName,
    /// The bot's own account, where it is known.
    pub(super) me: Option<&'a str>,
}

impl Reader<'_> {
    /// Returns the event of a dispatch; none where it is none of a bot's business. `place` is where the dispatch stands: its session and
    /// number, the same when it comes again.
    pub(super) fn event(self, kind: &str, data: &Value, place: &str) -> Option<Event> {
        if QUIET.contains(&kind) {
            return None;
        }
        let (id, read) = match kind {
            "MESSAGE_CREATE" => self.message(data)?,
            "MESSAGE_UPDATE" => self.edited(data)?,
            "MESSAGE_REACTION_ADD" => (None, self.reaction(data, true)?),
            "MESSAGE_REACTION_REMOVE" => (None, self.reaction(data, false)?),
            "GUILD_MEMBER_ADD" => (None, self.member(data, Membership::Joined)?),
            "GUILD_MEMBER_REMOVE" => (None, self.member(data, Membership::Left)?),
            "INTERACTION_CREATE" => return self.interaction(&Interaction::read(data)?, data),
            other => (None, EventKind::Custom { name: other.to_owned() }),
        };
        Some(self.wrap(id.unwrap_or_else(|| format!("place:{place}")), read, data))
    }

    fn wrap(self, platform_id: String, kind: EventKind, data: &Value) -> Event {
        let raw = Some(data.to_string()).filter(|raw| raw.len() <= RAW_BYTES_MAX);
        Event { platform_id: Some(platform_id), raw, ..Event::now(Some(self.connector.clone()), kind) }
    }

    fn conversation(self, id: String, guild: Option<&str>) -> Conversation {
        let kind = if guild.is_some() { ConversationKind::Group } else { ConversationKind::Direct };
        Conversation { connector: self.connector.clone(), id, kind, title: None, thread: None }
    }

    /// Returns what somebody wrote, and the id by which it is known when it comes again. What programs write, this one too, is left out:
    /// two of them would talk for ever.
    fn message(self, data: &Value) -> Option<(Option<String>, EventKind)> {
        let message = Message::deserialize(data).ok()?;
        if self.is_program(&message) {
            return None;
        }
        let id = Some(format!("message:{}", message.id));
        Some(match WRITTEN.contains(&message.kind) {
            true => (id, EventKind::Message(self.written(message))),
            false => (id, EventKind::Custom { name: "MESSAGE_CREATE".to_owned() }),
        })
    }

    /// Returns what somebody changed. Discord also tells that it has looked up a link; that is nobody's edit.
    fn edited(self, data: &Value) -> Option<(Option<String>, EventKind)> {
        let message = Message::deserialize(data).ok().filter(|message| !self.is_program(message))?;
        let edited = message.edited_timestamp.clone()?;
        Some((Some(format!("edit:{}:{edited}", message.id)), EventKind::Edited(self.written(message))))
    }

    fn is_program(self, message: &Message) -> bool {
        message.author.bot || message.webhook_id.is_some() || self.me == Some(&message.author.id)
    }

    fn written(self, message: Message) -> event::Message {
        let is_me = |user: &User| self.me == Some(user.id.as_str());
        let addressed = message.guild_id.is_none()
            || message.mentions.iter().any(is_me)
            || message.referenced_message.as_ref().is_some_and(|message| is_me(&message.author));
        let stickers = message.sticker_items.into_iter().map(|sticker| Attachment {
            kind: AttachmentKind::Sticker,
            url: Some(format!("https://media.discordapp.net/stickers/{}.png", sticker.id)),
            name: sticker.name,
            media_type: None,
            size: None,
        });
        let reply_to = message.message_reference.filter(|to| to.kind == 0).and_then(|to| to.message_id);
        event::Message {
            sent_at: sent_at(&message.id),
            id: message.id,
            conversation: self.conversation(message.channel_id, message.guild_id.as_deref()),
            sender: message.author.named(message.member.as_ref()),
            text: message.content,
            attachments: message.attachments.into_iter().map(attachment).chain(stickers).collect(),
            reply_to,
            addressed,
            reply_deadline: None,
        }
    }

    fn reaction(self, data: &Value, added: bool) -> Option<EventKind> {
        let reaction = Reaction::deserialize(data).ok().filter(|reaction| self.me != Some(&reaction.user_id))?;
        let member = reaction.member.as_ref();
        let user = match member.and_then(|member| member.user.as_ref()) {
            Some(user) => user.named(member),
            None => event::User { id: reaction.user_id, name: None, is_bot: false },
        };
        let emoji = match (reaction.emoji.id, reaction.emoji.name) {
            (Some(id), name) => format!("{}:{id}", name.unwrap_or_default()),
            (None, name) => name?,
        };
        let conversation = self.conversation(reaction.channel_id, reaction.guild_id.as_deref());
        Some(EventKind::Reaction { conversation, message_id: reaction.message_id, sender: user, emoji, added })
    }

    fn member(self, data: &Value, change: Membership) -> Option<EventKind> {
        let MemberChange { guild_id, user, nick } = MemberChange::deserialize(data).ok()?;
        let conversation = self.conversation(guild_id.clone(), Some(&guild_id));
        Some(EventKind::Member { conversation, member: user.named(Some(&Member { nick, user: None })), change })
    }

    /// Returns the event of an interaction: a button, a command as the text that somebody might have typed, or something of Discord's own.
    pub(super) fn interaction(self, interaction: &Interaction, data: &Value) -> Option<Event> {
        let kind = self.interaction_kind(interaction)?;
        let mut shown = data.clone();
        if let Some(shown) = shown.as_object_mut() {
            // Who has it can answer in the bot's name.
            shown.remove("token");
        }
        Some(self.wrap(format!("interaction:{}", interaction.id), kind, &shown))
    }

    fn interaction_kind(self, interaction: &Interaction) -> Option<EventKind> {
        let custom = || EventKind::Custom { name: "INTERACTION_CREATE".to_owned() };
        // A ping is for who listens, and a suggestion of what to type is asked for with every key that is pressed.
        if matches!(interaction.kind, 1 | 4) {
            return None;
        }
        let (member, user) = (interaction.member.as_ref(), interaction.user.as_ref());
        let Some(user) = member.and_then(|member| member.user.as_ref()).or(user) else { return Some(custom()) };
        let sender = user.named(member);
        let Some(channel) = interaction.channel_id.clone() else { return Some(custom()) };
        let conversation = self.conversation(channel, interaction.guild_id.as_deref());
        let given = &interaction.data;
        Some(match interaction.kind {
            2 => EventKind::Message(event::Message {
                id: interaction.id.clone(),
                conversation,
                sender,
                text: command_text(given),
                attachments: Vec::new(),
                reply_to: None,
                addressed: true,
                sent_at: sent_at(&interaction.id),
                reply_deadline: None,
            }),
            3 if given["component_type"] == 2 => EventKind::Button {
                conversation,
                message_id: interaction.message.as_ref()?["id"].as_str()?.to_owned(),
                sender,
                data: given["custom_id"].as_str()?.to_owned(),
            },
            _ => custom(),
        })
    }
}

/// Returns a command as somebody might have typed it: its name, those of its subcommands, and the values in the order of its definition.
fn command_text(data: &Value) -> String {
    let mut words = vec![format!("/{}", data["name"].as_str().unwrap_or_default())];
    // From the menu of a message or a user: that is all there is to it.
    words.extend(data["target_id"].as_str().map(str::to_owned));
    let mut options = data["options"].as_array();
    while let Some(list) = options {
        options = None;
        for option in list {
            match (option["type"].as_u64(), &option["value"]) {
                (Some(1 | 2), _) => {
                    words.push(option["name"].as_str().unwrap_or_default().to_owned());
                    options = option["options"].as_array();
                }
                (_, Value::String(text)) => words.push(text.clone()),
                (_, Value::Null) => {}
                (_, other) => words.push(other.to_string()),
            }
        }
    }
    words.join(" ")
}

fn attachment(file: File) -> Attachment {
    let kind = match file.content_type.as_deref().and_then(|kind| kind.split('/').next()) {
        Some("image") => AttachmentKind::Image,
        Some("video") => AttachmentKind::Video,
        Some("audio") => AttachmentKind::Audio,
        _ => AttachmentKind::File,
    };
    Attachment { kind, name: file.filename, media_type: file.content_type, size: file.size, url: file.url }
}

/// Returns when Discord gave out an id.
fn sent_at(id: &str) -> Timestamp {
    let millis = id.parse::<u64>().map_or(0, |id| id >> 22);
    Timestamp::from_millis(EPOCH_MS).saturating_add(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests;
