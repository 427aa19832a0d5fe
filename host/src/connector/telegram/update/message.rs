//! One Telegram message in the host's words.

use super::Me;
use super::shape::{Entity, File, Message};
use crate::clock::Timestamp;
use crate::event::{self, Attachment, AttachmentKind, ConversationKind, User};
use crate::id::ConnectorName;

/// Reads what somebody said. `/command@name` of this very bot loses its `@name`, so that a command is the same in a group as
/// in private.
pub(super) fn read_message(connector: &ConnectorName, me: &Me, mut message: Message) -> event::Message {
    let attachments = attachments(&message);
    let text = message.text.take().or_else(|| message.caption.take()).unwrap_or_default();
    let entities = if message.entities.is_empty() { &message.caption_entities } else { &message.entities };
    let is_reply_to_me = replied_to(&message).is_some_and(|(_, author)| author == Some(me.id));
    let addressed = message.chat.kind() == ConversationKind::Direct
        || is_reply_to_me
        || entities.iter().any(|entity| names(entity, &text, me));
    let text = without_own_name(text, entities, me);
    let reply_to = replied_to(&message).map(|(id, _)| id.to_string());
    let (id, date) = (message.message_id.to_string(), message.date);
    let sender = sender(&mut message);
    event::Message {
        id,
        conversation: message.conversation(connector),
        sender,
        text,
        attachments,
        reply_to,
        addressed,
        sent_at: Timestamp::from_millis(date.saturating_mul(1000)),
        reply_deadline: None,
    }
}

fn sender(message: &mut Message) -> User {
    match (message.from.take(), message.sender_chat.take()) {
        // An anonymous administrator comes with a stand-in as `from`; the chat is who speaks.
        (_, Some(chat)) => chat.into(),
        (Some(account), None) => account.into(),
        (None, None) => User { id: String::new(), name: None, is_bot: false },
    }
}

/// Returns the message that this one answers and its author. In a topic every message "answers" the topic's first one.
fn replied_to(message: &Message) -> Option<(i64, Option<i64>)> {
    let replied = message.reply_to_message.as_ref()?;
    let is_topic_start = message.thread() == Some(replied.message_id);
    (!is_topic_start).then(|| (replied.message_id, replied.from.as_ref().map(|account| account.id)))
}

/// Returns whether an entity names this bot: `@name`, a mention of the account, or `/command@name`.
fn names(entity: &Entity, text: &str, me: &Me) -> bool {
    if entity.kind == "text_mention" {
        return entity.user.as_ref().is_some_and(|user| user.id == me.id);
    }
    let (Some(username), Some(range)) = (&me.username, utf16_range(text, entity)) else { return false };
    let named = match entity.kind.as_str() {
        "mention" => text[range].strip_prefix('@'),
        "bot_command" => text[range].split_once('@').map(|(_, name)| name),
        _ => None,
    };
    named.is_some_and(|named| named.eq_ignore_ascii_case(username))
}

fn without_own_name(text: String, entities: &[Entity], me: &Me) -> String {
    let own = entities.iter().find(|entity| entity.kind == "bot_command" && entity.offset == 0);
    let Some(range) = own.filter(|entity| names(entity, &text, me)).and_then(|entity| utf16_range(&text, entity))
    else {
        return text;
    };
    match text[range.clone()].find('@') {
        Some(at) => format!("{}{}", &text[..at], &text[range.end..]),
        None => text,
    }
}

/// Returns the bytes that an entity covers; none where it does not lie between characters of the text.
fn utf16_range(text: &str, entity: &Entity) -> Option<std::ops::Range<usize>> {
    let end = entity.offset.checked_add(entity.length)?;
    let (mut units, mut from, mut to) = (0, None, None);
    for (index, units_here) in text.char_indices().map(|(index, c)| (index, c.len_utf16())).chain([(text.len(), 0)]) {
        from = from.or((units == entity.offset).then_some(index));
        to = to.or((units == end).then_some(index));
        units += units_here;
    }
    Some(from?..to?)
}

fn attachments(message: &Message) -> Vec<Attachment> {
    let file = |kind, file: &File| Attachment {
        kind,
        name: file.file_name.clone().or_else(|| file.emoji.clone()),
        media_type: file.mime_type.clone(),
        size: file.file_size,
        // A link would hold the token.
        url: None,
    };
    let bare = |kind| Attachment { kind, name: None, media_type: None, size: None, url: None };
    // The sizes of a photo grow; an animation comes a second time as a document.
    let document = message.document.as_ref().filter(|_| message.animation.is_none());
    let files = [
        (AttachmentKind::Image, message.photo.last()),
        (AttachmentKind::Video, message.animation.as_ref()),
        (AttachmentKind::Video, message.video.as_ref()),
        (AttachmentKind::Video, message.video_note.as_ref()),
        (AttachmentKind::Audio, message.audio.as_ref()),
        (AttachmentKind::Audio, message.voice.as_ref()),
        (AttachmentKind::File, document),
        (AttachmentKind::Sticker, message.sticker.as_ref()),
    ];
    let location = message.location.as_ref().map(|_| bare(AttachmentKind::Location));
    let contact = message.contact.as_ref().map(|_| bare(AttachmentKind::Contact));
    let files = files.into_iter().filter_map(|(kind, found)| found.map(|found| file(kind, found)));
    files.chain(location).chain(contact).collect()
}
