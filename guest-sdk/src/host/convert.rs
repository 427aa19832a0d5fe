//! From the bindings' types to this crate's and back; nothing else.

use std::time::{Duration, SystemTime};

use super::bindings::bothost::bot::{alerts, log, messaging, timers, types};
use super::bindings::exports::bothost::bot::guest;
use super::imports::{millis, timestamp};
use crate::alerts::Severity;
use crate::log::Level;
use crate::timers::Schedule;
use crate::{
    Attachment, AttachmentKind, ButtonPress, Command, Conversation, ConversationKind, CustomEvent, Event, EventClass,
    EventKind, Failure, Manifest, MemberChange, Membership, Message, MessageRef, Outgoing, Priority, Reaction,
    StartReason, TextFormat, TimerFired, User, WebhookRequest,
};

fn moment(timestamp_ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(timestamp_ms)
}

/// Writes one `From` for an enum whose cases carry nothing and have the same names on both sides.
macro_rules! same_cases {
    ($from:ty => $into:ty: $($case:ident),+) => {
        impl From<$from> for $into {
            fn from(value: $from) -> Self {
                match value {
                    $(<$from>::$case => Self::$case,)+
                }
            }
        }
    };
}

same_cases!(types::ConversationKind => ConversationKind: Direct, Group, Channel);
same_cases!(ConversationKind => types::ConversationKind: Direct, Group, Channel);
same_cases!(types::AttachmentKind => AttachmentKind: Image, Video, Audio, File, Sticker, Location, Contact);
same_cases!(types::Membership => Membership: Joined, Left, Invited, Removed);
same_cases!(guest::StartReason => StartReason: Started, Reloaded, Restarted);
same_cases!(EventClass => guest::EventClass: Message, Command, Edited, Reaction, Member, Button, Timer, Webhook, Custom);
same_cases!(Severity => alerts::Severity: Info, Warning, Critical);
same_cases!(Level => log::Level: Trace, Debug, Info, Warn, Error);
same_cases!(TextFormat => messaging::TextFormat: Plain, Markdown);
same_cases!(Priority => messaging::Priority: Low, Normal, High, Critical);

impl From<types::Failure> for Failure {
    fn from(failure: types::Failure) -> Self {
        use types::Failure as Raw;
        match failure {
            Raw::RateLimited(after) => Self::RateLimited(Duration::from_millis(after)),
            Raw::Unauthorized => Self::Unauthorized,
            Raw::Forbidden => Self::Forbidden,
            Raw::NotFound => Self::NotFound,
            Raw::Invalid(why) => Self::Invalid(why),
            Raw::TimedOut => Self::TimedOut,
            Raw::Unavailable(what) => Self::Unavailable(what),
            Raw::QuotaExceeded(what) => Self::QuotaExceeded(what),
            Raw::NotGranted(what) => Self::NotGranted(what),
            Raw::Other(text) => Self::Other(text),
        }
    }
}

impl From<Failure> for types::Failure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::RateLimited(after) => Self::RateLimited(millis(after)),
            Failure::Unauthorized => Self::Unauthorized,
            Failure::Forbidden => Self::Forbidden,
            Failure::NotFound => Self::NotFound,
            Failure::Invalid(why) => Self::Invalid(why),
            Failure::TimedOut => Self::TimedOut,
            Failure::Unavailable(what) => Self::Unavailable(what),
            Failure::QuotaExceeded(what) => Self::QuotaExceeded(what),
            Failure::NotGranted(what) => Self::NotGranted(what),
            Failure::Other(text) => Self::Other(text),
        }
    }
}

impl From<types::Conversation> for Conversation {
    fn from(raw: types::Conversation) -> Self {
        Self { connector: raw.connector, id: raw.id, kind: raw.kind.into(), title: raw.title, thread: raw.thread }
    }
}

impl From<&Conversation> for types::Conversation {
    fn from(conversation: &Conversation) -> Self {
        Self {
            connector: conversation.connector.clone(),
            id: conversation.id.clone(),
            kind: conversation.kind.into(),
            title: conversation.title.clone(),
            thread: conversation.thread.clone(),
        }
    }
}

impl From<types::User> for User {
    fn from(raw: types::User) -> Self {
        Self { id: raw.id, name: raw.name, is_bot: raw.is_bot }
    }
}

impl From<types::Attachment> for Attachment {
    fn from(raw: types::Attachment) -> Self {
        Self { kind: raw.kind.into(), name: raw.name, media_type: raw.media_type, size: raw.size, url: raw.url }
    }
}

impl From<types::Message> for Message {
    fn from(raw: types::Message) -> Self {
        Self {
            id: raw.id,
            conversation: raw.conversation.into(),
            sender: raw.sender.into(),
            text: raw.text,
            attachments: raw.attachments.into_iter().map(Into::into).collect(),
            reply_to: raw.reply_to,
            addressed: raw.addressed,
            sent_at: moment(raw.sent_at),
            reply_deadline: raw.reply_deadline.map(moment),
        }
    }
}

impl From<types::EventKind> for EventKind {
    fn from(raw: types::EventKind) -> Self {
        use types::EventKind as Raw;
        match raw {
            Raw::Message(message) => Self::Message(message.into()),
            Raw::Command(command) => {
                Self::Command(Command { name: command.name, args: command.args, message: command.message.into() })
            }
            Raw::Edited(message) => Self::Edited(message.into()),
            Raw::Reaction(reaction) => Self::Reaction(Reaction {
                conversation: reaction.conversation.into(),
                message_id: reaction.message_id,
                sender: reaction.sender.into(),
                emoji: reaction.emoji,
                added: reaction.added,
            }),
            Raw::Member(change) => Self::Member(MemberChange {
                conversation: change.conversation.into(),
                member: change.member.into(),
                change: change.change.into(),
            }),
            Raw::Button(press) => Self::Button(ButtonPress {
                conversation: press.conversation.into(),
                message_id: press.message_id,
                sender: press.sender.into(),
                data: press.data,
            }),
            Raw::Timer(timer) => {
                Self::Timer(TimerFired { name: timer.name, payload: timer.payload, due_at: moment(timer.due_at) })
            }
            Raw::Webhook(request) => Self::Webhook(WebhookRequest {
                connector: request.connector,
                path: request.path,
                headers: request.headers,
                body: request.body,
            }),
            Raw::Custom(custom) => Self::Custom(CustomEvent { connector: custom.connector, name: custom.name }),
        }
    }
}

impl From<types::Event> for Event {
    fn from(raw: types::Event) -> Self {
        Self {
            id: raw.id,
            attempt: raw.attempt,
            received_at: moment(raw.received_at),
            connector: raw.connector,
            kind: raw.kind.into(),
        }
    }
}

impl From<Manifest> for guest::Manifest {
    fn from(manifest: Manifest) -> Self {
        Self {
            name: manifest.name,
            version: manifest.version,
            summary: manifest.summary,
            commands: manifest
                .commands
                .into_iter()
                .map(|command| guest::CommandInfo {
                    name: command.name,
                    summary: command.summary,
                    usage: command.usage,
                })
                .collect(),
            wants: manifest.wants.into_iter().map(Into::into).collect(),
            settings_schema: manifest.settings_schema,
        }
    }
}

impl From<&MessageRef> for messaging::MessageRef {
    fn from(message: &MessageRef) -> Self {
        match message {
            MessageRef::Platform(id) => Self::Platform(id.clone()),
            MessageRef::Sent(ticket) => Self::Sent(ticket.0),
        }
    }
}

impl From<&Outgoing> for messaging::Outgoing {
    fn from(message: &Outgoing) -> Self {
        let button =
            |button: &crate::Button| messaging::Button { label: button.label.clone(), data: button.data.clone() };
        Self {
            text: message.text.clone(),
            format: message.format.into(),
            buttons: message.buttons.iter().map(|row| row.iter().map(button).collect()).collect(),
            uploads: message
                .uploads
                .iter()
                .map(|upload| messaging::Upload {
                    name: upload.name.clone(),
                    media_type: upload.media_type.clone(),
                    content: upload.content.clone(),
                })
                .collect(),
            reply_to: message.reply_to.as_ref().map(Into::into),
            priority: message.priority.into(),
            expires_after: message.expires_after.map(millis),
        }
    }
}

impl From<&Schedule> for timers::Schedule {
    fn from(schedule: &Schedule) -> Self {
        match schedule {
            Schedule::After(delay) => Self::After(millis(*delay)),
            Schedule::At(moment) => Self::At(timestamp(*moment)),
            Schedule::Every(interval) => Self::Every(millis(*interval)),
            Schedule::Cron { expression, zone } => Self::Cron((expression.clone(), zone.clone())),
        }
    }
}
