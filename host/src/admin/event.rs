//! What happened, as the API shows it: where, by whom, in a few words, and as a whole without what could be a secret.

use serde_json::Value;

use crate::event::{Event, EventKind, Message};

/// A text in a listing is cut to this many characters.
const SUMMARY_CHARS_MAX: usize = 200;
/// A header is not shown whose name holds one of these.
const SECRET_HEADERS: [&str; 6] = ["authorization", "cookie", "token", "secret", "signature", "key"];

/// What a listing tells of an event.
#[derive(Debug, Default)]
pub(super) struct Outline {
    pub(super) connector: Option<String>,
    pub(super) conversation: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) text: Option<String>,
}

impl Outline {
    /// Returns what there is to tell; nothing of an event that cannot be trusted.
    pub(super) fn of(event: Option<&Event>) -> Self {
        let Some(event) = event else { return Self::default() };
        Self {
            connector: event.connector.as_ref().map(ToString::to_string),
            conversation: event.kind.conversation().map(|conversation| conversation.id.clone()),
            kind: Some(event.kind.class().as_str().to_owned()),
            text: Some(summary(&event.kind)),
        }
    }
}

fn summary(kind: &EventKind) -> String {
    let said = |message: &Message| match message.attachments.len() {
        0 => cut(&message.text),
        count => format!("{} (+{count} attachments)", cut(&message.text)).trim_start().to_owned(),
    };
    match kind {
        EventKind::Message(message) | EventKind::Edited(message) => said(message),
        EventKind::Command(command) => said(&command.message),
        EventKind::Reaction { emoji, added: true, .. } => cut(emoji),
        EventKind::Reaction { emoji, added: false, .. } => cut(&format!("{emoji} taken back")),
        EventKind::Member { member, change, .. } => cut(&format!("{} {change:?}", member.id)),
        EventKind::Button { data, .. } => cut(data),
        EventKind::Timer { name, .. } | EventKind::Custom { name } => cut(name),
        EventKind::Webhook { path, .. } => cut(path),
    }
}

/// Returns the beginning of a text.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(SUMMARY_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Returns all that is stored of what happened.
pub(super) fn payload(event: &Event) -> Value {
    let mut kind = event.kind.clone();
    if let EventKind::Webhook { headers, .. } = &mut kind {
        for (name, value) in headers {
            let name = name.to_ascii_lowercase();
            if SECRET_HEADERS.iter().any(|secret| name.contains(secret)) {
                *value = "[redacted]".to_owned();
            }
        }
    }
    serde_json::to_value(kind).expect("it has text for keys")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_a_secret_is_not_shown() {
        let headers = [("X-Hub-Signature-256", "s3cret"), ("Authorization", "s3cret"), ("Accept", "text/plain")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let kind = EventKind::Webhook { path: "/in".into(), headers, body: b"{}".to_vec() };
        let shown = payload(&Event::now(None, kind)).to_string();
        assert!(!shown.contains("s3cret") && shown.contains("text/plain"), "{shown}");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = cut(&"ä".repeat(1_000));
        assert_eq!(text.chars().count(), SUMMARY_CHARS_MAX + 1);
        assert_eq!(cut("short"), "short");
    }
}
