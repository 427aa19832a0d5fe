use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use super::*;
use crate::action::{Action, Button, Priority, TextFormat, Upload};
use crate::grants::ConnectorKey;
use crate::id::Ticket;

fn config(table: &str) -> WebhookConfig {
    let table = format!("listen = \"127.0.0.1:0\"\npath = \"/hook\"\n{table}");
    WebhookConfig::deserialize(toml::Deserializer::parse(&table).unwrap()).unwrap()
}

fn knock(headers: &[(&str, &str)], body: &str) -> Knock {
    let headers = headers
        .iter()
        .map(|(name, value)| (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap()));
    Knock::post(HeaderMap::from_iter(headers), body.to_owned())
}

const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

fn read(table: &str, headers: &[(&str, &str)], body: &str) -> Result<Event, StatusCode> {
    event(&config(table), &"hook".parse().unwrap(), &knock(headers, body))
}

const NONE: &str = "signature = \"none\"";
const CHAT: &str =
    "signature = \"none\"\ntext = \"/message/text\"\nconversation = \"/room\"\nsender = \"/user/id\"\ndedup = \"/id\"";

#[test]
fn a_request_is_an_event_of_its_own_with_the_headers_that_prove_nothing() {
    let headers = [
        JSON,
        ("x-event", "push"),
        ("authorization", "Bearer s3cret"),
        ("cookie", "s3cret"),
        ("x-hub-signature", "s3cret"),
        ("x-gitlab-token", "s3cret"),
        ("x-api-key", "s3cret"),
    ];
    let event = read(NONE, &headers, "{\"a\": 1}").unwrap();
    assert_eq!(event.raw.as_deref(), Some("{\"a\":1}"));
    let EventKind::Webhook { path, headers, body } = event.kind else { panic!("{event:?}") };
    assert_eq!((path.as_str(), &body[..]), ("/", &b"{\"a\": 1}"[..]));
    let names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["content-type", "x-event"]);
}

#[test]
fn what_is_no_json_is_passed_on_as_it_is_unless_something_is_looked_for_in_it() {
    let event = read(NONE, &[("content-type", "text/plain")], "hello").unwrap();
    assert!(matches!(event.kind, EventKind::Webhook { .. }) && event.raw.is_none());
    assert_eq!(read(NONE, &[JSON], "{").unwrap_err(), StatusCode::BAD_REQUEST);
    assert_eq!(read(CHAT, &[], "{}").unwrap_err(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(read(CHAT, &[JSON], "{}").unwrap_err(), StatusCode::BAD_REQUEST);
    let no_room = "{\"message\": {\"text\": \"x\"}}";
    assert_eq!(read(CHAT, &[JSON], no_room).unwrap_err(), StatusCode::BAD_REQUEST);
}

#[test]
fn a_text_in_a_body_is_a_message_in_a_conversation() {
    let body = r#"{"id": 7, "room": "r/1", "user": {"id": 5}, "message": {"text": "!ping"}}"#;
    let event = read(CHAT, &[JSON], body).unwrap();
    assert_eq!(event.platform_id.as_deref(), Some("/:7"));
    let EventKind::Message(message) = event.kind else { panic!("{event:?}") };
    assert_eq!((message.text.as_str(), message.conversation.id.as_str()), ("!ping", "r/1"));
    assert_eq!((message.sender.id.as_str(), message.addressed), ("5", true));
    let fixed = read("signature = \"none\"\ntext = \"/t\"", &[JSON], "{\"t\": 1}").unwrap();
    let EventKind::Message(message) = fixed.kind else { panic!("{fixed:?}") };
    assert_eq!((message.text.as_str(), message.conversation.id.as_str()), ("1", "webhook"));
}

#[test]
fn a_request_is_known_again_by_what_its_sender_says_or_else_by_its_content() {
    let id = |table: &str, headers: &[(&str, &str)], body: &str, now: u64| {
        let config = config(table);
        let json = serde_json::from_str(body).ok();
        dedup_id(&config, &knock(headers, body), json.as_ref(), Timestamp::from_millis(now))
    };
    let github = "signature = \"github\"\nsecret = \"x\"";
    assert_eq!(id(github, &[("x-github-delivery", "g")], "{}", 0), "/:g");
    assert_eq!(id("signature = \"standard\"\nsecret = \"x\"", &[("webhook-id", "m")], "{}", 0), "/:m");
    assert_eq!(id("signature = \"stripe\"\nsecret = \"x\"", &[], "{\"id\": \"evt\"}", 0), "/:evt");
    let own = "signature = \"none\"\ndedup_header = \"X-Id\"";
    assert_eq!(id(own, &[("x-id", "1")], "{}", 0), "/:1");
    assert!(id(own, &[("x-id", &"1".repeat(5000))], "{}", 0).len() < 100);
    let one = id(NONE, &[], "{}", 1_000);
    assert_eq!(one, id(NONE, &[], "{}", 59_000), "the same within a minute");
    assert_ne!(one, id(NONE, &[], "{}", 60_000));
    assert_ne!(one, id(NONE, &[], "{} ", 1_000));
    assert_eq!(one.len(), 67);
}

#[test]
fn every_act_is_told_in_json() {
    let at = Conversation {
        connector: "hook".parse().unwrap(),
        id: "r".to_owned(),
        kind: ConversationKind::Group,
        title: None,
        thread: Some("t".to_owned()),
    };
    let message = Outgoing {
        text: "hi".to_owned(),
        format: TextFormat::Markdown,
        buttons: vec![vec![Button { label: "A".to_owned(), data: "a".to_owned() }]],
        uploads: vec![Upload { name: "n".to_owned(), media_type: "text/plain".to_owned(), content: b"x".to_vec() }],
        reply_to: Some("m".to_owned()),
        priority: Priority::Normal,
        expires_after: Some(Duration::from_secs(1)),
    };
    let told = |act: Act<String>| {
        let via = ConnectorKey::shared(at.connector.clone());
        answer(&Action { via, at: at.clone(), act })
    };
    assert_eq!(
        told(Act::Send { ticket: Ticket(1), message: message.clone() }),
        json!({"type": "send", "conversation": "r", "thread": "t", "text": "hi", "format": "markdown",
            "buttons": [[{"label": "A", "data": "a"}]], "reply_to": "m",
            "files": [{"name": "n", "media_type": "text/plain", "content": "eA=="}]})
    );
    assert_eq!(told(Act::Edit { target: "m".to_owned(), message })["target"], "m");
    assert_eq!(
        told(Act::Delete { target: "m".to_owned() }),
        json!({"type": "delete", "conversation": "r", "thread": "t", "target": "m"})
    );
    assert_eq!(told(Act::React { target: "m".to_owned(), emoji: "👍".to_owned() })["emoji"], "👍");
}

#[test]
fn a_table_is_refused_with_what_is_wrong_and_without_its_secrets() {
    let check = |table: &str, expected: &str| {
        let table = format!("path = \"/hook\"\n{table}");
        let error = WebhookConfig::deserialize(toml::Deserializer::parse(&table).unwrap()).unwrap_err();
        assert!(error.message().contains(expected) && !error.message().contains("s3cret"), "{table}: {error}");
    };
    let local = "listen = \"127.0.0.1:0\"\n";
    check("", "missing field `listen`");
    check(local, "needs a `secret`");
    check(&format!("{local}secret = \"\""), "empty");
    check(&format!("{local}old_secret = \"s3cret\""), "`old_secret` needs");
    check(&format!("{local}signature = \"none\"\nsecret = \"s3cret\""), "has no `secret`");
    check("listen = \"0.0.0.0:1\"\nsignature = \"none\"", "needs a `bearer`");
    check(&format!("{local}secret = \"s3cret\"\ntext = \"x\""), "JSON pointers");
    check(&format!("{local}secret = \"s3cret\"\nconversation = \"x\""), "need `text`");
    check(&format!("{local}secret = \"s3cret\"\nsignature = \"md5\""), "unknown variant");
    let config = config("secret = \"s3cret\"\nold_secret = \"s3cret\"\nreply_url = \"http://x/s3cret\"");
    assert!(!format!("{config:?}").contains("s3cret"));
    assert_eq!(config.secrets.len(), 2);
}
