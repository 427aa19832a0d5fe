//! Slack's events, interactions and commands in the host's words, and its texts as plain ones. Pure. What is not known here is no
//! error: it becomes an event of its own name.

use std::time::Duration;

use percent_encoding::percent_decode;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::event::{
    Attachment, AttachmentKind, Conversation, ConversationKind, Event, EventKind, Membership, Message, User,
};
use crate::id::ConnectorName;

/// Larger JSON of one event is not passed on; the event is.
const RAW_BYTES_MAX: usize = 256 << 10;
/// What Slack sends along and whoever reads it could act with.
const CONFIDENTIAL: [&str; 4] = ["token", "response_url", "response_urls", "trigger_id"];

/// Who we are, as `auth.test` says it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Me {
    /// The workspace.
    team_id: String,
    /// The bot's user.
    user_id: String,
    /// The bot behind it.
    #[serde(default)]
    bot_id: String,
}

/// Returns the events of an envelope of Socket Mode.
pub(super) fn of_envelope(connector: &ConnectorName, me: &Me, envelope: &Value) -> Vec<Event> {
    Reader { connector, me }.read(envelope["type"].as_str().unwrap_or_default(), &envelope["payload"])
}

/// Returns the events of a request of the Events API.
pub(super) fn of_request(connector: &ConnectorName, me: &Me, said: &Value) -> Vec<Event> {
    let kind = match said["type"].as_str() {
        Some("event_callback") => "events_api",
        // Only events are called that; interactions have a type of their own and commands have none.
        _ if said["command"].is_string() => "slash_commands",
        // Slack tries the address of a command's certificate.
        None => return Vec::new(),
        Some("app_rate_limited") => "other",
        Some(_) => "interactive",
    };
    Reader { connector, me }.read(kind, said)
}

/// Reads the form of an interaction or a command; none where there is something wrong with it.
pub(super) fn read_form(body: &[u8]) -> Option<Value> {
    let body = std::str::from_utf8(body).ok()?;
    let mut fields = Map::new();
    for pair in body.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        fields.insert(decoded(name)?, decoded(value)?.into());
    }
    match fields.get("payload").and_then(Value::as_str) {
        Some(payload) => serde_json::from_str(payload).ok().filter(Value::is_object),
        None => Some(Value::Object(fields)),
    }
}

fn decoded(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    percent_decode(text.as_bytes()).decode_utf8().ok().map(Into::into)
}

struct Reader<'a> {
    connector: &'a ConnectorName,
    me: &'a Me,
}

impl Reader<'_> {
    fn read(&self, kind: &str, payload: &Value) -> Vec<Event> {
        let kinds = match kind {
            "events_api" => self.event(payload).map(|(id, kind)| vec![(id, kind)]).unwrap_or_default(),
            "interactive" => self.interaction(payload),
            "slash_commands" => vec![self.command(payload)],
            _ => vec![(String::new(), custom(text(&payload["type"]).unwrap_or(kind)))],
        };
        let raw = Some(without_secrets(payload).to_string()).filter(|raw| raw.len() <= RAW_BYTES_MAX);
        let to_event = |(id, kind): (String, EventKind)| Event {
            platform_id: Some(id).filter(|id| !id.is_empty()),
            raw: raw.clone(),
            ..Event::now(Some(self.connector.clone()), kind)
        };
        kinds.into_iter().map(to_event).collect()
    }

    /// Reads an event, and what it is known by; none where it is of our own doing, or another bot's that we might quarrel with.
    fn event(&self, payload: &Value) -> Option<(String, EventKind)> {
        let event = &payload["event"];
        let id = text(&payload["event_id"]).unwrap_or_default().to_owned();
        let name = text(&event["type"]).unwrap_or("unknown");
        match name {
            "message" | "app_mention" => return self.message(payload, event, id),
            "reaction_added" | "reaction_removed" if event["item"]["type"] == "message" => {
                if self.is_mine(event) {
                    return None;
                }
                let kind = EventKind::Reaction {
                    conversation: self.conversation(&event["item"]["channel"], &Value::Null, None),
                    message_id: owned(&event["item"]["ts"]),
                    sender: user(&event["user"], &Value::Null),
                    emoji: owned(&event["reaction"]),
                    added: name == "reaction_added",
                };
                return Some((id, kind));
            }
            "member_joined_channel" | "member_left_channel" => {
                let joined = name == "member_joined_channel";
                let kind = EventKind::Member {
                    conversation: self.conversation(&event["channel"], &event["channel_type"], None),
                    member: user(&event["user"], &Value::Null),
                    change: if joined { Membership::Joined } else { Membership::Left },
                };
                return Some((id, kind));
            }
            _ => {}
        }
        Some((id, custom(name)))
    }

    fn message(&self, payload: &Value, event: &Value, id: String) -> Option<(String, EventKind)> {
        if self.is_mine(event) || event["bot_id"].is_string() {
            return None;
        }
        match text(&event["subtype"]) {
            None | Some("file_share" | "thread_broadcast" | "me_message") => {
                // A mention comes as a message and as a mention, with ids of their own.
                let team = text(&payload["team_id"]).unwrap_or(&self.me.team_id);
                let id = match (text(&event["channel"]), text(&event["ts"])) {
                    (Some(channel), Some(ts)) => format!("{team}:{channel}:{ts}"),
                    _ => id,
                };
                Some((id, EventKind::Message(self.read_message(event, event))))
            }
            Some("bot_message") => None,
            Some("message_changed") => {
                let (now, before) = (&event["message"], &event["previous_message"]);
                if self.is_mine(now) || now["bot_id"].is_string() {
                    return None;
                }
                // Slack also says that it unfolded a link, or that a thread has begun.
                let said_anew = now["text"] != before["text"];
                let kind = if said_anew {
                    EventKind::Edited(self.read_message(event, now))
                } else {
                    custom("message_changed")
                };
                Some((id, kind))
            }
            Some("message_deleted") if self.is_mine(&event["previous_message"]) => None,
            Some(subtype) => Some((id, custom(subtype))),
        }
    }

    /// Reads a message that an event is about: the event itself, or one inside.
    fn read_message(&self, event: &Value, message: &Value) -> Message {
        let ts = owned(&message["ts"]);
        let thread = text(&message["thread_ts"]).filter(|thread| *thread != ts);
        let conversation = self.conversation(&event["channel"], &event["channel_type"], thread);
        let said = text(&message["text"]).unwrap_or_default();
        let is_named =
            said.contains(&format!("<@{}>", self.me.user_id)) || said.contains(&format!("<@{}|", self.me.user_id));
        let addressed = is_named || event["type"] == "app_mention" || conversation.kind == ConversationKind::Direct;
        Message {
            sent_at: moment(&ts),
            id: ts,
            sender: user(&message["user"], &message["user_profile"]),
            text: plain(self.without_own_name(said)),
            attachments: message["files"].as_array().into_iter().flatten().map(attachment).collect(),
            reply_to: conversation.thread.clone(),
            conversation,
            addressed,
            reply_deadline: None,
        }
    }

    /// Returns a text without our name in front: what follows it is what we are told.
    fn without_own_name<'t>(&self, text: &'t str) -> &'t str {
        let Some(rest) = text.trim_start().strip_prefix(&format!("<@{}", self.me.user_id)) else { return text };
        match rest.split_once('>') {
            Some((label, rest)) if label.is_empty() || label.starts_with('|') => rest.trim_start(),
            _ => text,
        }
    }

    fn interaction(&self, payload: &Value) -> Vec<(String, EventKind)> {
        let name = text(&payload["type"]).unwrap_or("interactive");
        let (message, container) = (&payload["message"], &payload["container"]);
        let ts = text(&container["message_ts"]).or_else(|| text(&message["ts"]));
        let channel = [&payload["channel"]["id"], &container["channel_id"]].into_iter().find(|id| id.is_string());
        let (Some(ts), Some(channel), "block_actions") = (ts, channel, name) else {
            return vec![(owned(&payload["trigger_id"]), custom(name))];
        };
        let thread =
            text(&container["thread_ts"]).or_else(|| text(&message["thread_ts"])).filter(|thread| *thread != ts);
        let conversation = self.conversation(channel, &Value::Null, thread);
        let press = |action: &Value| {
            let id =
                format!("{}:{ts}:{}:{}", conversation.id, owned(&action["action_ts"]), owned(&action["action_id"]));
            let data = text(&action["value"]).or_else(|| text(&action["selected_option"]["value"]));
            let kind = EventKind::Button {
                conversation: conversation.clone(),
                message_id: ts.to_owned(),
                sender: user(&payload["user"]["id"], &payload["user"]),
                data: data.unwrap_or_default().to_owned(),
            };
            (id, kind)
        };
        payload["actions"].as_array().into_iter().flatten().map(press).collect()
    }

    fn command(&self, payload: &Value) -> (String, EventKind) {
        let trigger = owned(&payload["trigger_id"]);
        let words = [&payload["command"], &payload["text"]].map(|part| text(part).unwrap_or_default().trim());
        let kind = EventKind::Message(Message {
            id: format!("/{trigger}"),
            conversation: self.conversation(&payload["channel_id"], &Value::Null, None),
            sender: user(&payload["user_id"], &payload["user_name"]),
            text: plain(words.join(" ").trim_end()),
            attachments: Vec::new(),
            reply_to: None,
            addressed: true,
            sent_at: Timestamp::now(),
            reply_deadline: None,
        });
        (trigger, kind)
    }

    fn is_mine(&self, event: &Value) -> bool {
        let is = |field: &str, own: &str| !own.is_empty() && event[field] == own;
        is("user", &self.me.user_id) || is("bot_id", &self.me.bot_id)
    }

    fn conversation(&self, channel: &Value, kind: &Value, thread: Option<&str>) -> Conversation {
        let id = owned(channel);
        let kind = match (text(kind), id.as_bytes().first()) {
            (Some("im" | "app_home"), _) | (None, Some(b'D')) => ConversationKind::Direct,
            (Some("group" | "mpim" | "G"), _) | (None, Some(b'G')) => ConversationKind::Group,
            _ => ConversationKind::Channel,
        };
        Conversation { connector: self.connector.clone(), id, kind, title: None, thread: thread.map(str::to_owned) }
    }
}

fn custom(name: &str) -> EventKind {
    EventKind::Custom { name: name.to_owned() }
}

fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

fn owned(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Returns a person by their id and what is told of them: a name, or a profile with one.
fn user(id: &Value, profile: &Value) -> User {
    let named = ["display_name", "username", "name", "real_name"].into_iter().find_map(|key| text(&profile[key]));
    User { id: owned(id), name: named.or_else(|| text(profile)).map(str::to_owned), is_bot: false }
}

fn attachment(file: &Value) -> Attachment {
    let media_type = text(&file["mimetype"]);
    let kind = match media_type.and_then(|media_type| media_type.split('/').next()) {
        Some("image") => AttachmentKind::Image,
        Some("video") => AttachmentKind::Video,
        Some("audio") => AttachmentKind::Audio,
        _ => AttachmentKind::File,
    };
    Attachment {
        kind,
        name: text(&file["name"]).map(str::to_owned),
        media_type: media_type.map(str::to_owned),
        size: file["size"].as_u64(),
        url: text(&file["url_private"]).map(str::to_owned),
    }
}

/// Returns the moment that a message's `ts` is; now where it is none.
fn moment(ts: &str) -> Timestamp {
    let seconds: Option<f64> = ts.parse().ok().filter(|seconds| (0.0..1e11).contains(seconds));
    seconds.map_or_else(Timestamp::now, |seconds| {
        Timestamp::from_millis(0).saturating_add(Duration::from_secs_f64(seconds))
    })
}

fn without_secrets(payload: &Value) -> Value {
    let mut payload = payload.clone();
    if let Some(fields) = payload.as_object_mut() {
        CONFIDENTIAL.iter().for_each(|name| {
            fields.remove(*name);
        });
    }
    payload
}

/// Returns a text of Slack's as people see it.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        plain.push_str(&unescaped(&rest[..at]));
        let inner = &rest[at + 1..];
        let Some((inside, after)) = inner.split_once('>') else {
            rest = &rest[at..];
            break;
        };
        plain.push_str(&reference(inside));
        rest = after;
    }
    plain.push_str(&unescaped(rest));
    plain
}

/// Returns what stands between `<` and `>`: somebody, something or a link, with or without a label.
fn reference(inside: &str) -> String {
    let (target, label) = inside.split_once('|').map_or((inside, None), |(target, label)| (target, Some(label)));
    let label = label.filter(|label| !label.is_empty()).map(unescaped);
    let mut chars = target.chars();
    match (chars.next(), label) {
        (Some('@'), label) => format!("@{}", label.unwrap_or_else(|| chars.as_str().to_owned())),
        (Some('#'), label) => format!("#{}", label.unwrap_or_else(|| chars.as_str().to_owned())),
        (Some('!'), Some(label)) if target.starts_with("!date^") => label,
        (Some('!'), label) => {
            let name = label.unwrap_or_else(|| chars.as_str().to_owned());
            format!("@{}", name.trim_start_matches('@'))
        }
        (_, label) => {
            let url = unescaped(target);
            match label {
                None => url.strip_prefix("mailto:").unwrap_or(&url).to_owned(),
                // Slack makes a link of what was typed as an address.
                Some(label) if url.strip_suffix('/').unwrap_or(&url).ends_with(&label) => label,
                Some(label) => format!("{label} ({url})"),
            }
        }
    }
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// Returns a text that Slack shows as it stands, and in which nobody is called.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests;
