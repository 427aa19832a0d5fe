//! Version 0.1 of the interface: generated bindings, and nothing but conversions between them and the host's own types.

wasmtime::component::bindgen!({
    path: "../wit/v0.1",
    world: "bothost:bot/bot",
    imports: {
        "bothost:bot/state": async | trappable,
        "bothost:bot/timers": async | trappable,
        default: trappable,
    },
    exports: { default: async },
});

use std::time::Duration;

pub(in crate::sandbox) use self::bothost::bot::{alerts, log, messaging, metrics, settings, state, timers, types};
pub(in crate::sandbox) use exports::bothost::bot::guest;

use crate::action;
use crate::clock::Timestamp;
use crate::event;
use crate::sandbox::component::{GuestManifest, ManifestCommand};
use crate::sandbox::instance::StartReason;

impl From<&event::Conversation> for types::Conversation {
    fn from(from: &event::Conversation) -> Self {
        Self {
            connector: from.connector.to_string(),
            id: from.id.clone(),
            kind: match from.kind {
                event::ConversationKind::Direct => types::ConversationKind::Direct,
                event::ConversationKind::Group => types::ConversationKind::Group,
                event::ConversationKind::Channel => types::ConversationKind::Channel,
            },
            title: from.title.clone(),
            thread: from.thread.clone(),
        }
    }
}

impl From<types::ConversationKind> for event::ConversationKind {
    fn from(from: types::ConversationKind) -> Self {
        match from {
            types::ConversationKind::Direct => Self::Direct,
            types::ConversationKind::Group => Self::Group,
            types::ConversationKind::Channel => Self::Channel,
        }
    }
}

impl From<&event::User> for types::User {
    fn from(from: &event::User) -> Self {
        Self { id: from.id.clone(), name: from.name.clone(), is_bot: from.is_bot }
    }
}

impl From<&event::Attachment> for types::Attachment {
    fn from(from: &event::Attachment) -> Self {
        Self {
            kind: match from.kind {
                event::AttachmentKind::Image => types::AttachmentKind::Image,
                event::AttachmentKind::Video => types::AttachmentKind::Video,
                event::AttachmentKind::Audio => types::AttachmentKind::Audio,
                event::AttachmentKind::File => types::AttachmentKind::File,
                event::AttachmentKind::Sticker => types::AttachmentKind::Sticker,
                event::AttachmentKind::Location => types::AttachmentKind::Location,
                event::AttachmentKind::Contact => types::AttachmentKind::Contact,
            },
            name: from.name.clone(),
            media_type: from.media_type.clone(),
            size: from.size,
            url: from.url.clone(),
        }
    }
}

impl From<&event::Message> for types::Message {
    fn from(from: &event::Message) -> Self {
        Self {
            id: from.id.clone(),
            conversation: (&from.conversation).into(),
            sender: (&from.sender).into(),
            text: from.text.clone(),
            attachments: from.attachments.iter().map(Into::into).collect(),
            reply_to: from.reply_to.clone(),
            addressed: from.addressed,
            sent_at: from.sent_at.as_millis(),
            reply_deadline: from.reply_deadline.map(Timestamp::as_millis),
        }
    }
}

impl From<&event::Command> for types::Command {
    fn from(from: &event::Command) -> Self {
        Self { name: from.name.clone(), args: from.args.clone(), message: (&from.message).into() }
    }
}

/// Returns the guest's form of an event, on its `attempt`-th attempt.
pub(in crate::sandbox) fn event(from: &event::Event, attempt: u32) -> types::Event {
    let connector = from.connector.as_ref().map_or_else(String::new, ToString::to_string);
    types::Event {
        id: from.id.to_string(),
        attempt,
        received_at: from.received_at.as_millis(),
        kind: event_kind(&from.kind, &connector),
        connector,
    }
}

fn event_kind(from: &event::EventKind, connector: &str) -> types::EventKind {
    use event::EventKind as Kind;
    match from {
        Kind::Message(message) => types::EventKind::Message(message.into()),
        Kind::Command(command) => types::EventKind::Command(command.into()),
        Kind::Edited(message) => types::EventKind::Edited(message.into()),
        Kind::Reaction { conversation, message_id, sender, emoji, added } => {
            types::EventKind::Reaction(types::Reaction {
                conversation: conversation.into(),
                message_id: message_id.clone(),
                sender: sender.into(),
                emoji: emoji.clone(),
                added: *added,
            })
        }
        Kind::Member { conversation, member, change } => types::EventKind::Member(types::MemberChange {
            conversation: conversation.into(),
            member: member.into(),
            change: match change {
                event::Membership::Joined => types::Membership::Joined,
                event::Membership::Left => types::Membership::Left,
                event::Membership::Invited => types::Membership::Invited,
                event::Membership::Removed => types::Membership::Removed,
            },
        }),
        Kind::Button { conversation, message_id, sender, data } => types::EventKind::Button(types::ButtonPress {
            conversation: conversation.into(),
            message_id: message_id.clone(),
            sender: sender.into(),
            data: data.clone(),
        }),
        Kind::Timer { name, payload, due_at } => types::EventKind::Timer(types::TimerFired {
            name: name.clone(),
            payload: payload.clone(),
            due_at: due_at.as_millis(),
        }),
        Kind::Webhook { path, headers, body } => types::EventKind::Webhook(types::WebhookRequest {
            connector: connector.to_owned(),
            path: path.clone(),
            headers: headers.clone(),
            body: body.clone(),
        }),
        Kind::Custom { name } => {
            types::EventKind::Custom(types::CustomEvent { connector: connector.to_owned(), name: name.clone() })
        }
    }
}

impl From<messaging::MessageRef> for action::MessageRef {
    fn from(from: messaging::MessageRef) -> Self {
        match from {
            messaging::MessageRef::Platform(id) => Self::Platform(id),
            messaging::MessageRef::Sent(ticket) => Self::Sent(crate::id::Ticket(ticket)),
        }
    }
}

impl From<messaging::Outgoing> for action::Outgoing {
    fn from(from: messaging::Outgoing) -> Self {
        let button = |button: messaging::Button| action::Button { label: button.label, data: button.data };
        let upload = |upload: messaging::Upload| action::Upload {
            name: upload.name,
            media_type: upload.media_type,
            content: upload.content,
        };
        Self {
            text: from.text,
            format: match from.format {
                messaging::TextFormat::Plain => action::TextFormat::Plain,
                messaging::TextFormat::Markdown => action::TextFormat::Markdown,
            },
            buttons: from.buttons.into_iter().map(|row| row.into_iter().map(button).collect()).collect(),
            uploads: from.uploads.into_iter().map(upload).collect(),
            reply_to: from.reply_to.map(Into::into),
            priority: match from.priority {
                messaging::Priority::Low => action::Priority::Low,
                messaging::Priority::Normal => action::Priority::Normal,
                messaging::Priority::High => action::Priority::High,
                messaging::Priority::Critical => action::Priority::Critical,
            },
            expires_after: from.expires_after.map(Duration::from_millis),
        }
    }
}

impl From<timers::Schedule> for action::Schedule {
    fn from(from: timers::Schedule) -> Self {
        match from {
            timers::Schedule::After(millis) => Self::After(Duration::from_millis(millis)),
            timers::Schedule::At(millis) => Self::At(Timestamp::from_millis(millis)),
            timers::Schedule::Every(millis) => Self::Every(Duration::from_millis(millis)),
            timers::Schedule::Cron((expression, zone)) => Self::Cron { expression, zone },
        }
    }
}

impl From<alerts::Severity> for action::Severity {
    fn from(from: alerts::Severity) -> Self {
        match from {
            alerts::Severity::Info => Self::Info,
            alerts::Severity::Warning => Self::Warning,
            alerts::Severity::Critical => Self::Critical,
        }
    }
}

impl From<log::Level> for tracing::Level {
    fn from(from: log::Level) -> Self {
        match from {
            log::Level::Trace => Self::TRACE,
            log::Level::Debug => Self::DEBUG,
            log::Level::Info => Self::INFO,
            log::Level::Warn => Self::WARN,
            log::Level::Error => Self::ERROR,
        }
    }
}

impl From<StartReason> for guest::StartReason {
    fn from(from: StartReason) -> Self {
        match from {
            StartReason::Started => Self::Started,
            StartReason::Reloaded => Self::Reloaded,
            StartReason::Restarted => Self::Restarted,
        }
    }
}

impl From<guest::EventClass> for event::EventClass {
    fn from(from: guest::EventClass) -> Self {
        match from {
            guest::EventClass::Message => Self::Message,
            guest::EventClass::Command => Self::Command,
            guest::EventClass::Edited => Self::Edited,
            guest::EventClass::Reaction => Self::Reaction,
            guest::EventClass::Member => Self::Member,
            guest::EventClass::Button => Self::Button,
            guest::EventClass::Timer => Self::Timer,
            guest::EventClass::Webhook => Self::Webhook,
            guest::EventClass::Custom => Self::Custom,
        }
    }
}

impl From<guest::Manifest> for GuestManifest {
    fn from(from: guest::Manifest) -> Self {
        let command = |command: guest::CommandInfo| ManifestCommand {
            name: command.name,
            summary: command.summary,
            usage: command.usage,
        };
        Self {
            name: from.name,
            version: from.version,
            summary: from.summary,
            commands: from.commands.into_iter().map(command).collect(),
            wants: from.wants.into_iter().map(Into::into).collect(),
            settings_schema: from.settings_schema,
        }
    }
}

/// Returns what a guest said of its own failure, for people.
pub(in crate::sandbox) fn failure_text(failure: &types::Failure) -> String {
    match failure {
        types::Failure::RateLimited(millis) => format!("rate limited for {millis} ms"),
        types::Failure::Unauthorized => "unauthorized".to_owned(),
        types::Failure::Forbidden => "forbidden".to_owned(),
        types::Failure::NotFound => "not found".to_owned(),
        types::Failure::Invalid(why) => format!("invalid: {why}"),
        types::Failure::TimedOut => "timed out".to_owned(),
        types::Failure::Unavailable(why) => format!("unavailable: {why}"),
        types::Failure::QuotaExceeded(what) => format!("quota exceeded: {what}"),
        types::Failure::NotGranted(what) => format!("not granted: {what}"),
        types::Failure::Other(text) => text.clone(),
    }
}
