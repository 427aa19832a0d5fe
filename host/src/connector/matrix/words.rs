//! Matrix's events in the host's words. Pure. What is not known here is no error, and nothing that a bot is told.

use std::collections::HashMap;

use serde_json::Value;

use super::api::quoted;
use crate::clock::Timestamp;
use crate::event::{Attachment, AttachmentKind, Conversation, ConversationKind, EventKind, Membership, Message, User};

/// What is asked for of what happens in rooms.
pub(super) const TYPES: [&str; 8] = [
    "m.room.message",
    "m.room.encrypted",
    "m.room.redaction",
    "m.room.member",
    "m.room.name",
    "m.room.join_rules",
    "m.reaction",
    "m.sticker",
];

/// Where an event happened and who looks.
#[derive(Debug)]
pub(super) struct Place<'a> {
    /// Our id: what we said is nothing new.
    pub(super) me: &'a str,
    /// The room.
    pub(super) room: &'a Conversation,
    /// What people there call themselves, as far as known.
    pub(super) names: &'a HashMap<String, String>,
}

impl Place<'_> {
    fn user(&self, id: &str) -> User {
        User { id: id.to_owned(), name: self.names.get(id).cloned(), is_bot: false }
    }

    /// Returns what an event says; none where it is ours, another bot's answer, or nothing to tell.
    pub(super) fn read(&self, event: &Value) -> Option<EventKind> {
        let sender = event["sender"].as_str()?;
        let kind = event["type"].as_str()?;
        if kind == "m.room.member" {
            return self.member(event, sender);
        }
        if sender == self.me {
            return None;
        }
        match kind {
            "m.room.message" | "m.sticker" => self.message(event, sender),
            "m.reaction" => {
                let relation = &event["content"]["m.relates_to"];
                Some(EventKind::Reaction {
                    conversation: self.room.clone(),
                    message_id: relation["event_id"].as_str()?.to_owned(),
                    sender: self.user(sender),
                    emoji: relation["key"].as_str()?.to_owned(),
                    added: true,
                })
            }
            "m.room.redaction" => Some(EventKind::Custom { name: kind.to_owned() }),
            _ => None,
        }
    }

    fn member(&self, event: &Value, sender: &str) -> Option<EventKind> {
        let (who, now) = (event["state_key"].as_str()?, event["content"]["membership"].as_str()?);
        let before = &event["unsigned"]["prev_content"]["membership"];
        let before = before.as_str().or(event["prev_content"]["membership"].as_str()).unwrap_or("leave");
        let change = match (before, now) {
            (before, now) if before == now => return None,
            (_, "join") => Membership::Joined,
            (_, "invite") => Membership::Invited,
            ("join", "leave") if who == sender => Membership::Left,
            ("join", "leave") | (_, "ban") => Membership::Removed,
            // An invite that was turned down, a ban that was lifted, a wish to be let in.
            _ => return None,
        };
        let mut member = self.user(who);
        member.name = event["content"]["displayname"].as_str().map(str::to_owned).or(member.name);
        Some(EventKind::Member { conversation: self.room.clone(), member, change })
    }

    fn message(&self, event: &Value, sender: &str) -> Option<EventKind> {
        let relation = &event["content"]["m.relates_to"];
        let replaced = relation["event_id"].as_str().filter(|_| relation["rel_type"] == "m.replace");
        let content = match replaced {
            Some(_) => &event["content"]["m.new_content"],
            None => &event["content"],
        };
        if content["msgtype"] == "m.notice" {
            return None;
        }
        let body = content["body"].as_str()?;
        let attachment = attachment(event, content, body);
        // Of a file the body is its name, unless that stands apart.
        let is_caption = content["filename"].as_str().is_some_and(|name| name != body);
        let mut text = if attachment.is_none() || is_caption { body } else { "" };
        let is_fallback = relation["is_falling_back"] == true;
        let reply_to = relation["m.in_reply_to"]["event_id"].as_str().filter(|_| !is_fallback);
        if reply_to.is_some() && content["format"].is_string() {
            text = without_quote(text);
        }
        let mut conversation = self.room.clone();
        if relation["rel_type"] == "m.thread" {
            conversation.thread = relation["event_id"].as_str().map(str::to_owned);
        }
        let addressed = conversation.kind == ConversationKind::Direct || self.mentions(content, text);
        let message = Message {
            id: replaced.or(event["event_id"].as_str())?.to_owned(),
            conversation,
            sender: self.user(sender),
            text: text.to_owned(),
            attachments: attachment.into_iter().collect(),
            reply_to: reply_to.map(str::to_owned),
            addressed,
            sent_at: event["origin_server_ts"].as_u64().map_or_else(Timestamp::now, Timestamp::from_millis),
            reply_deadline: None,
        };
        Some(if replaced.is_some() { EventKind::Edited(message) } else { EventKind::Message(message) })
    }

    fn mentions(&self, content: &Value, text: &str) -> bool {
        let listed = content["m.mentions"]["user_ids"].as_array();
        if listed.is_some_and(|users| users.iter().any(|user| user == self.me)) || text.contains(self.me) {
            return true;
        }
        let html = content["formatted_body"].as_str().unwrap_or_default();
        let links = [format!("matrix.to/#/{}", self.me), format!("matrix.to/#/{}", quoted(self.me))];
        links.iter().any(|link| html.contains(link.as_str()))
    }
}

/// Returns a text without the quote that older clients put before an answer.
fn without_quote(text: &str) -> &str {
    match text.split_once("\n\n") {
        Some((quote, answer)) if quote.starts_with("> <") && quote.lines().all(|line| line.starts_with('>')) => answer,
        _ => text,
    }
}

/// Returns the file of a message. Only who is signed in can fetch it, so there is no address to give away; the homeserver's own is in
/// the raw event.
fn attachment(event: &Value, content: &Value, body: &str) -> Option<Attachment> {
    let kind = match content["msgtype"].as_str() {
        _ if event["type"] == "m.sticker" => AttachmentKind::Sticker,
        Some("m.image") => AttachmentKind::Image,
        Some("m.video") => AttachmentKind::Video,
        Some("m.audio") => AttachmentKind::Audio,
        Some("m.file") => AttachmentKind::File,
        Some("m.location") => AttachmentKind::Location,
        _ => return None,
    };
    Some(Attachment {
        kind,
        name: Some(content["filename"].as_str().unwrap_or(body).to_owned()),
        media_type: content["info"]["mimetype"].as_str().map(str::to_owned),
        size: content["info"]["size"].as_u64(),
        url: None,
    })
}

#[cfg(test)]
mod tests;
