//! Telegram's updates in the host's words. Pure. Fields and kinds that are not known here are no error: the API grows monthly.

mod message;
mod shape;

use serde::Deserialize;
use serde_json::Value;

use self::message::read_message;
use self::shape::{ChatMember, MemberUpdate, Reaction, ReactionKind, ReactionUpdate, Update};
use crate::event::{Event, EventKind, Membership, User};
use crate::id::ConnectorName;

/// What is asked for. Without the list Telegram leaves out members and reactions.
pub(super) const ALLOWED_UPDATES: [&str; 13] = [
    "message",
    "edited_message",
    "channel_post",
    "edited_channel_post",
    "callback_query",
    "my_chat_member",
    "chat_member",
    "message_reaction",
    "chat_join_request",
    "poll",
    "poll_answer",
    "inline_query",
    "chosen_inline_result",
];

/// Larger JSON of one update is not passed on; the event is.
const RAW_BYTES_MAX: usize = 256 << 10;

/// Whose updates they are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Me {
    /// The bot's account.
    pub(super) id: i64,
    /// Without the `@`.
    pub(super) username: Option<String>,
}

/// Returns the id that an offset counts in, if this is an update at all.
pub(super) fn update_id(update: &Value) -> Option<i64> {
    update.get("update_id")?.as_i64()
}

/// Returns the id of a callback query that waits for an answer.
pub(super) fn callback_query_id(update: &Value) -> Option<&str> {
    update.get("callback_query")?.get("id")?.as_str()
}

/// Returns the events of one update: one, or one for each reaction that was put on or taken off.
pub(super) fn events(connector: &ConnectorName, me: &Me, update: &Value) -> Vec<Event> {
    let id = update_id(update).unwrap_or_default();
    let raw = Some(update.to_string()).filter(|raw| raw.len() <= RAW_BYTES_MAX);
    let to_event = |(index, kind)| {
        let suffix = if index == 0 { String::new() } else { format!(":{index}") };
        Event {
            platform_id: Some(format!("{}:{id}{suffix}", me.id)),
            raw: raw.clone(),
            ..Event::now(Some(connector.clone()), kind)
        }
    };
    kinds(connector, me, update).into_iter().enumerate().map(to_event).collect()
}

fn kinds(connector: &ConnectorName, me: &Me, update: &Value) -> Vec<EventKind> {
    let known = Update::deserialize(update).unwrap_or_default();
    if let Some(message) = known.message.or(known.channel_post) {
        return match message.service_kind(update) {
            Some(name) => vec![EventKind::Custom { name }],
            None => vec![EventKind::Message(read_message(connector, me, message))],
        };
    }
    if let Some(message) = known.edited_message.or(known.edited_channel_post) {
        return vec![EventKind::Edited(read_message(connector, me, message))];
    }
    if let Some(query) = known.callback_query
        && let (Some(message), Some(data)) = (query.message, query.data)
    {
        return vec![EventKind::Button {
            message_id: message.message_id.to_string(),
            conversation: message.conversation(connector),
            sender: query.from.into(),
            data,
        }];
    }
    if let Some(event) = known.my_chat_member.or(known.chat_member).and_then(|change| member(connector, change)) {
        return vec![event];
    }
    if let Some(change) = known.message_reaction {
        let events = reactions(connector, change);
        if !events.is_empty() {
            return events;
        }
    }
    vec![EventKind::Custom { name: kind_name(update) }]
}

/// Returns the key that says what an update is.
fn kind_name(update: &Value) -> String {
    let keys = update.as_object().into_iter().flat_map(|fields| fields.keys());
    keys.into_iter().find(|key| *key != "update_id").cloned().unwrap_or_else(|| "unknown".to_owned())
}

/// Returns what became of a member; none where only rights changed.
fn member(connector: &ConnectorName, update: MemberUpdate) -> Option<EventKind> {
    let is_in = |member: &ChatMember| match member.status.as_str() {
        "creator" | "administrator" | "member" => true,
        "restricted" => member.is_member,
        _ => false,
    };
    let change = match (is_in(&update.old_chat_member), is_in(&update.new_chat_member)) {
        (false, true) => Membership::Joined,
        (true, false) if update.new_chat_member.status == "kicked" => Membership::Removed,
        (true, false) => Membership::Left,
        _ => return None,
    };
    let conversation = update.chat.conversation(connector, None);
    Some(EventKind::Member { conversation, member: update.new_chat_member.user.into(), change })
}

/// Returns an event for each reaction that is new or gone.
fn reactions(connector: &ConnectorName, update: ReactionUpdate) -> Vec<EventKind> {
    let sender = match (update.user, update.actor_chat) {
        (Some(user), _) => User::from(user),
        (None, Some(chat)) => chat.into(),
        (None, None) => return Vec::new(),
    };
    let conversation = update.chat.conversation(connector, None);
    let difference = |of: &[Reaction], without: &[Reaction], added| {
        let differing = of.iter().filter(|reaction| !without.contains(reaction));
        let event = |reaction: &Reaction| EventKind::Reaction {
            conversation: conversation.clone(),
            message_id: update.message_id.to_string(),
            sender: sender.clone(),
            emoji: match &reaction.0 {
                ReactionKind::Emoji { emoji } => emoji.clone(),
                ReactionKind::CustomEmoji { custom_emoji_id } => custom_emoji_id.clone(),
                ReactionKind::Other => "paid".to_owned(),
            },
            added,
        };
        differing.map(event).collect::<Vec<_>>()
    };
    let mut events = difference(&update.old_reaction, &update.new_reaction, false);
    events.extend(difference(&update.new_reaction, &update.old_reaction, true));
    events
}

#[cfg(test)]
mod tests;
