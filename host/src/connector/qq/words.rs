//! QQ's events in the host's words, and the places they come from. Pure. Fields and kinds that are not known here are no error.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::connector::gateway::Dispatch;
use crate::event::{
    Attachment, AttachmentKind, Conversation, ConversationKind, Event, EventKind, Membership, Message, User,
};
use crate::id::ConnectorName;

/// Larger JSON of one event is not passed on; the event is.
const RAW_BYTES_MAX: usize = 256 << 10;
/// Reactions of the platform's own set, and those that are characters.
pub(super) const EMOJI_SYSTEM: u64 = 1;
pub(super) const EMOJI_UNICODE: u64 = 2;

/// A kind of place that messages are said in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlaceKind {
    /// One user and the bot.
    C2c,
    /// A group.
    Group,
    /// A channel of a guild.
    Channel,
    /// One user of a guild and the bot.
    Dm,
}

/// A place that messages are said in: `c2c:…`, `group:…`, `channel:…` or `dm:…` as a conversation's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) kind: PlaceKind,
    /// The platform's id.
    pub(super) id: String,
}

impl PlaceKind {
    const ALL: [Self; 4] = [Self::C2c, Self::Group, Self::Channel, Self::Dm];

    fn as_str(self) -> &'static str {
        match self {
            Self::C2c => "c2c",
            Self::Group => "group",
            Self::Channel => "channel",
            Self::Dm => "dm",
        }
    }

    /// Returns whether it belongs to a guild: markup of messages, reactions and files are other ones there.
    pub(super) fn is_of_guild(self) -> bool {
        matches!(self, Self::Channel | Self::Dm)
    }
}

impl Place {
    fn new(kind: PlaceKind, id: &str) -> Option<Self> {
        (!id.is_empty()).then(|| Self { kind, id: id.to_owned() })
    }

    /// Returns how long what is said there can be answered.
    pub(super) fn window(&self) -> Duration {
        Duration::from_secs(60 * if self.kind == PlaceKind::C2c { 60 } else { 5 })
    }

    /// Returns in words that nothing there can be answered.
    pub(super) fn no_answer_left(&self) -> String {
        let minutes = self.window().as_secs() / 60;
        format!("QQ takes answers only, there five to a message within {minutes} minutes, and none is left")
    }

    fn conversation(&self, connector: &ConnectorName) -> Conversation {
        let kind = match self.kind {
            PlaceKind::C2c | PlaceKind::Dm => ConversationKind::Direct,
            PlaceKind::Group => ConversationKind::Group,
            PlaceKind::Channel => ConversationKind::Channel,
        };
        Conversation { connector: connector.clone(), id: self.to_string(), kind, title: None, thread: None }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.as_str(), self.id)
    }
}

/// A text that is no [`Place`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no conversation of QQ: one is c2c:OPENID, group:OPENID, channel:ID or dm:GUILD")]
pub(super) struct PlaceError;

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let (kind, id) = text.split_once(':').ok_or(PlaceError)?;
        let kind = PlaceKind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or(PlaceError)?;
        Self::new(kind, id).ok_or(PlaceError)
    }
}

/// What can be answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Answerable {
    /// A message, by its id.
    Message(String),
    /// Something else, by the id of the event.
    Event(String),
}

impl Answerable {
    /// Returns the platform's id.
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Message(id) | Self::Event(id) => id,
        }
    }
}

fn text<'a>(data: &'a Value, key: &str) -> &'a str {
    data.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Returns where a dispatch comes from, and what of it can be answered until when; nothing where it is none that can.
pub(super) fn answerable(dispatch: &Dispatch) -> Option<(Place, Answerable, Timestamp)> {
    let (data, now) = (&dispatch.data, Timestamp::now());
    let place = match dispatch.kind.as_str() {
        "INTERACTION_CREATE" => pressed_in(data)?,
        "FRIEND_ADD" | "C2C_MSG_RECEIVE" => Place::new(PlaceKind::C2c, text(data, "openid"))?,
        "GROUP_ADD_ROBOT" | "GROUP_MSG_RECEIVE" => Place::new(PlaceKind::Group, text(data, "group_openid"))?,
        kind => said_in(kind, data)?,
    };
    let is_message = said_in(&dispatch.kind, data).is_some();
    let of = if is_message {
        Answerable::Message(text(data, "id").to_owned())
    } else {
        Answerable::Event(dispatch.id.clone()?)
    };
    let until = sent_at(data, now).saturating_add(place.window());
    (!of.id().is_empty()).then_some((place, of, until))
}

/// Returns where a message was said; none where the dispatch is no message.
fn said_in(kind: &str, data: &Value) -> Option<Place> {
    match kind {
        "C2C_MESSAGE_CREATE" => {
            let author = &data["author"];
            Place::new(PlaceKind::C2c, [text(author, "user_openid"), text(author, "id")].into_iter().find(is_there)?)
        }
        "GROUP_AT_MESSAGE_CREATE" | "GROUP_MESSAGE_CREATE" => Place::new(PlaceKind::Group, text(data, "group_openid")),
        "AT_MESSAGE_CREATE" | "MESSAGE_CREATE" => Place::new(PlaceKind::Channel, text(data, "channel_id")),
        "DIRECT_MESSAGE_CREATE" => Place::new(PlaceKind::Dm, text(data, "guild_id")),
        _ => None,
    }
}

fn is_there(id: &&str) -> bool {
    !id.is_empty()
}

/// Returns where a button was pressed.
fn pressed_in(data: &Value) -> Option<Place> {
    match data["chat_type"].as_u64()? {
        0 => Place::new(PlaceKind::Channel, text(data, "channel_id")),
        1 => Place::new(PlaceKind::Group, text(data, "group_openid")),
        2 => Place::new(PlaceKind::C2c, text(data, "user_openid")),
        _ => None,
    }
}

/// Returns when the platform took something; never later than now, or a wrong clock would lengthen a window.
fn sent_at(data: &Value, now: Timestamp) -> Timestamp {
    let written = match &data["timestamp"] {
        Value::String(text) => text.parse().ok().or_else(|| Some(in_seconds(text.parse().ok()?))),
        number => number.as_u64().map(in_seconds),
    };
    written.map_or(now, |at| at.min(now))
}

fn in_seconds(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds.saturating_mul(1000))
}

/// Whose events they are.
#[derive(Debug, Clone)]
pub(super) struct Me<'a> {
    pub(super) connector: &'a ConnectorName,
    pub(super) app_id: &'a str,
    /// The bot's id as a user of guilds, where it is known.
    pub(super) user_id: Option<&'a str>,
}

/// Returns the event of a dispatch; none where it is of no interest: what the bot said or did itself, and the protocol's own.
pub(super) fn event(me: &Me<'_>, dispatch: &Dispatch) -> Option<Event> {
    let kind = kind(me, dispatch)?;
    let data = &dispatch.data;
    // The same message comes by two kinds of event where two intents cover it, and the frame's id differs then. What else has an id
    // says whom it is about, such as a guild, and that comes more than once; without the frame's id it cannot be recognised.
    let is_told_once = matches!(kind, EventKind::Message(_)) || dispatch.kind == "INTERACTION_CREATE";
    let own_id = Some(text(data, "id")).filter(|id| is_told_once && is_there(id));
    let id = own_id.map(str::to_owned).or_else(|| dispatch.id.clone());
    let raw = json!({"t": dispatch.kind, "id": dispatch.id, "d": data}).to_string();
    Some(Event {
        platform_id: id.map(|id| match kind {
            EventKind::Message(_) => format!("{}:{id}", me.app_id),
            _ => format!("{}:{}:{id}", me.app_id, dispatch.kind),
        }),
        raw: Some(raw).filter(|raw| raw.len() <= RAW_BYTES_MAX),
        ..Event::now(Some(me.connector.clone()), kind)
    })
}

fn kind(me: &Me<'_>, dispatch: &Dispatch) -> Option<EventKind> {
    let (data, name) = (&dispatch.data, dispatch.kind.as_str());
    if let Some(place) = said_in(name, data) {
        let message = message(me, name, &place, data);
        return (me.user_id != Some(&message.sender.id)).then_some(EventKind::Message(message));
    }
    let member = |kind, place: &str, user: &str, change| {
        let place = Place::new(kind, text(data, place))?;
        let id = if user.is_empty() { me.app_id } else { text(data, user) }.to_owned();
        let member = User { id, name: None, is_bot: user.is_empty() };
        Some(EventKind::Member { conversation: place.conversation(me.connector), member, change })
    };
    let known = match name {
        "READY" | "RESUMED" => return None,
        "GROUP_ADD_ROBOT" => member(PlaceKind::Group, "group_openid", "", Membership::Joined),
        "GROUP_DEL_ROBOT" => member(PlaceKind::Group, "group_openid", "", Membership::Removed),
        "GROUP_MEMBER_ADD" => member(PlaceKind::Group, "group_openid", "member_openid", Membership::Joined),
        "GROUP_MEMBER_REMOVE" => member(PlaceKind::Group, "group_openid", "member_openid", Membership::Left),
        "FRIEND_ADD" => member(PlaceKind::C2c, "openid", "openid", Membership::Joined),
        "FRIEND_DEL" => member(PlaceKind::C2c, "openid", "openid", Membership::Left),
        "MESSAGE_REACTION_ADD" | "MESSAGE_REACTION_REMOVE" if me.user_id == Some(text(data, "user_id")) => return None,
        "MESSAGE_REACTION_ADD" => reaction(me, data, true),
        "MESSAGE_REACTION_REMOVE" => reaction(me, data, false),
        "INTERACTION_CREATE" => button(me, data),
        _ => None,
    };
    Some(known.unwrap_or_else(|| EventKind::Custom { name: name.to_owned() }))
}

fn message(me: &Me<'_>, name: &str, place: &Place, data: &Value) -> Message {
    let author = &data["author"];
    let ids = match place.kind {
        PlaceKind::C2c => [text(author, "user_openid"), text(author, "id")],
        PlaceKind::Group => [text(author, "member_openid"), text(author, "id")],
        PlaceKind::Channel | PlaceKind::Dm => [text(author, "id"), ""],
    };
    let sender = User {
        id: ids.into_iter().find(is_there).unwrap_or_default().to_owned(),
        name: author.get("username").and_then(Value::as_str).filter(is_there).map(str::to_owned),
        is_bot: author["bot"].as_bool().unwrap_or_default(),
    };
    let now = Timestamp::now();
    let sent_at = sent_at(data, now);
    let (said, is_named) = without_mention(me, name, place, data);
    let is_direct = matches!(place.kind, PlaceKind::C2c | PlaceKind::Dm);
    let attachments = data["attachments"].as_array().into_iter().flatten().map(attachment).collect();
    let reply_to = data["message_reference"].get("message_id").and_then(Value::as_str).map(str::to_owned);
    Message {
        id: text(data, "id").to_owned(),
        conversation: place.conversation(me.connector),
        sender,
        text: said,
        attachments,
        reply_to,
        addressed: is_direct || is_named || name.contains("AT_MESSAGE"),
        sent_at,
        reply_deadline: Some(sent_at.saturating_add(place.window())),
    }
}

/// Returns what was said, without the mention of the bot in front of it and the space that it leaves, and whether the bot is mentioned.
fn without_mention(me: &Me<'_>, name: &str, place: &Place, data: &Value) -> (String, bool) {
    let content = text(data, "content");
    let mentions: Vec<_> = data["mentions"].as_array().into_iter().flatten().collect();
    // Where it is not known which bot we are: the platform says `is_you` in groups, and delivers only what names us as this event.
    let is_me = |mention: &&Value| match me.user_id {
        _ if mention["is_you"] == true && mention["scope"] != "all" => true,
        Some(own) => text(mention, "id") == own,
        None => name == "AT_MESSAGE_CREATE" && mention["bot"] == true,
    };
    let ids: Vec<_> = mentions.iter().filter(|mention| is_me(mention)).map(|mention| text(mention, "id")).collect();
    let is_mention = |tag: &str| ids.iter().any(|id| tag.trim_start_matches('!') == *id);
    let rest = || {
        let (tag, rest) = content.trim_start().strip_prefix("<@")?.split_once('>')?;
        is_mention(tag).then(|| rest.trim_start())
    };
    let said = rest().unwrap_or(if name == "GROUP_AT_MESSAGE_CREATE" { content.trim_start() } else { content });
    let said = if place.kind.is_of_guild() { unescape(said) } else { said.to_owned() };
    (said, !ids.is_empty())
}

/// Undoes what guilds do to texts.
fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// Has a text mean in a guild what it says, and nobody be mentioned by it.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn attachment(data: &Value) -> Attachment {
    let media_type = text(data, "content_type");
    let kind = match media_type.split('/').next().unwrap_or_default() {
        "image" => AttachmentKind::Image,
        "video" => AttachmentKind::Video,
        "audio" | "voice" => AttachmentKind::Audio,
        _ => AttachmentKind::File,
    };
    let given = |key| Some(text(data, key)).filter(is_there).map(str::to_owned);
    // Guilds leave the scheme out.
    let url = given("url").map(|url| if url.contains("://") { url } else { format!("https://{url}") });
    Attachment {
        kind,
        name: given("filename"),
        media_type: Some(media_type).filter(|name| name.contains('/')).map(str::to_owned),
        size: data["size"].as_u64(),
        url,
    }
}

fn reaction(me: &Me<'_>, data: &Value, added: bool) -> Option<EventKind> {
    let target = &data["target"];
    if !(target["type"] == 0 || target["type"] == "ReactionTargetType_MSG") {
        return None;
    }
    let place = Place::new(PlaceKind::Channel, text(data, "channel_id"))?;
    let (kind, id) = (data["emoji"]["type"].as_u64()?, text(&data["emoji"], "id"));
    let character = || char::from_u32(id.parse().ok()?).map(String::from);
    let emoji = if kind == EMOJI_UNICODE { character() } else { None };
    Some(EventKind::Reaction {
        conversation: place.conversation(me.connector),
        message_id: text(target, "id").to_owned(),
        sender: User { id: text(data, "user_id").to_owned(), name: None, is_bot: false },
        emoji: emoji.unwrap_or_else(|| format!("{kind}:{id}")),
        added,
    })
}

fn button(me: &Me<'_>, data: &Value) -> Option<EventKind> {
    const PRESSED: u64 = 11;
    let (place, resolved) = (pressed_in(data)?, &data["data"]["resolved"]);
    let person = match place.kind {
        PlaceKind::C2c => text(data, "user_openid"),
        PlaceKind::Group => text(data, "group_member_openid"),
        PlaceKind::Channel | PlaceKind::Dm => text(resolved, "user_id"),
    };
    (data["type"] == PRESSED).then(|| EventKind::Button {
        conversation: place.conversation(me.connector),
        message_id: text(resolved, "message_id").to_owned(),
        sender: User { id: person.to_owned(), name: None, is_bot: false },
        data: text(resolved, "button_data").to_owned(),
    })
}

/// Returns the id of an interaction that waits to hear that it arrived.
pub(super) fn interaction(dispatch: &Dispatch) -> Option<&str> {
    (dispatch.kind == "INTERACTION_CREATE").then(|| text(&dispatch.data, "id")).filter(is_there)
}

#[cfg(test)]
mod tests;
