//! Events and actions as they are stored: JSON that an operator can read, in which fields are only ever added.

use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::event::{Event, EventKind};
use crate::id::ConnectorName;

/// What of an event has no column of its own.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EventBody<K = EventKind, R = String> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) connector: Option<ConnectorName>,
    pub(super) kind: K,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) raw: Option<R>,
}

/// Returns an event's body as it is stored.
pub(super) fn encode_event(event: &Event) -> Vec<u8> {
    let body = EventBody { connector: event.connector.clone(), kind: &event.kind, raw: event.raw.as_deref() };
    serde_json::to_vec(&body).expect("texts, numbers and lists of them are always JSON")
}

/// Returns the body that was stored as these bytes; none for what this host cannot read.
pub(super) fn decode_event(bytes: &[u8]) -> Option<EventBody> {
    serde_json::from_slice(bytes).ok()
}

/// Returns an action as it is stored.
pub(super) fn encode_action(action: &Action) -> Vec<u8> {
    serde_json::to_vec(action).expect("texts, numbers and lists of them are always JSON")
}

/// Returns the action that was stored as these bytes; none for what this host cannot read.
pub(super) fn decode_action(bytes: &[u8]) -> Option<Action> {
    serde_json::from_slice(bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::action::{Act, Button, MessageRef, Outgoing, Priority, TextFormat, Upload};
    use crate::clock::Timestamp;
    use crate::event::{Attachment, AttachmentKind, Conversation, ConversationKind, Message, User};
    use crate::grants::ConnectorKey;
    use crate::id::Ticket;

    fn conversation() -> Conversation {
        Conversation {
            connector: "chat".parse().unwrap(),
            id: "7".into(),
            kind: ConversationKind::Group,
            title: Some("T".into()),
            thread: None,
        }
    }

    fn event(kind: EventKind) -> Event {
        Event { raw: Some("{\"a\":1}".into()), ..Event::now(Some("chat".parse().unwrap()), kind) }
    }

    /// Stored data depends on it.
    #[test]
    fn events_keep_their_form() {
        let message = Message {
            id: "1".into(),
            conversation: conversation(),
            sender: User { id: "u".into(), name: None, is_bot: false },
            text: "hi".into(),
            attachments: vec![Attachment {
                kind: AttachmentKind::Image,
                name: None,
                media_type: None,
                size: Some(3),
                url: None,
            }],
            reply_to: None,
            addressed: true,
            sent_at: Timestamp::from_millis(5),
            reply_deadline: None,
        };
        let event = event(EventKind::Message(message));
        let text = String::from_utf8(encode_event(&event)).unwrap();
        let expected = r#"{"connector":"chat","kind":{"message":{"id":"1","conversation":{"connector":"chat","id":"7","kind":"group","title":"T","thread":null},"sender":{"id":"u","name":null,"is_bot":false},"text":"hi","attachments":[{"kind":"image","name":null,"media_type":null,"size":3,"url":null}],"reply_to":null,"addressed":true,"sent_at":5,"reply_deadline":null}},"raw":"{\"a\":1}"}"#;
        assert_eq!(text, expected);
        assert_eq!(decode_event(text.as_bytes()).unwrap().kind, event.kind);
    }

    #[test]
    fn bytes_are_stored_as_text() {
        let due_at = Timestamp::from_millis(9);
        let event = event(EventKind::Timer { name: "t".into(), payload: vec![0, 255], due_at });
        let bytes = encode_event(&event);
        assert!(String::from_utf8_lossy(&bytes).contains(r#"{"timer":{"name":"t","payload":"AP8=","due_at":9}}"#));
        assert_eq!(decode_event(&bytes).unwrap().kind, event.kind);
    }

    /// Stored data depends on it.
    #[test]
    fn actions_keep_their_form() {
        let message = Outgoing {
            text: "hi".into(),
            format: TextFormat::Markdown,
            buttons: vec![vec![Button { label: "l".into(), data: "d".into() }]],
            uploads: vec![Upload { name: "n".into(), media_type: "m".into(), content: vec![1, 2] }],
            reply_to: Some(MessageRef::Sent(Ticket(3))),
            priority: Priority::High,
            expires_after: Some(Duration::from_secs(2)),
        };
        let via = ConnectorKey { owner: Some("echo".parse().unwrap()), name: "chat".parse().unwrap() };
        let action = Action { via, at: conversation(), act: Act::Send { ticket: Ticket(4), message } };
        let text = String::from_utf8(encode_action(&action)).unwrap();
        let expected = r#"{"via":{"owner":"echo","name":"chat"},"at":{"connector":"chat","id":"7","kind":"group","title":"T","thread":null},"act":{"send":{"ticket":4,"message":{"text":"hi","format":"markdown","buttons":[[{"label":"l","data":"d"}]],"uploads":[{"name":"n","media_type":"m","content":"AQI="}],"reply_to":{"sent":3},"priority":"high","expires_after":{"secs":2,"nanos":0}}}}}"#;
        assert_eq!(text, expected);
        assert_eq!(decode_action(text.as_bytes()), Some(action));
    }

    #[test]
    fn what_a_newer_host_adds_is_passed_over_and_what_it_invents_is_refused() {
        let known = r#"{"kind":{"custom":{"name":"x"}},"mood":"good"}"#;
        assert_eq!(decode_event(known.as_bytes()).unwrap().kind, EventKind::Custom { name: "x".into() });
        assert!(decode_event(br#"{"kind":{"hologram":{}}}"#).is_none());
    }
}
