//! IRC in the host's words: what people say and do, what a server's numbers mean, and texts cut into lines. Pure.

use serde_json::json;

use super::line::{LINE_BYTES_MAX, Line};
use super::roster::folded;
use crate::clock::Timestamp;
use crate::connector::DeliveryError;
use crate::connector::link::brief;
use crate::connector::text::{Measure, split};
use crate::event::{Conversation, ConversationKind, EventKind, Message, User};
use crate::id::ConnectorName;

/// Longest host of a mask, in bytes, and longest user: for as long as we do not know our own.
const HOST_BYTES_MAX: usize = 63;
const USER_BYTES_MAX: usize = 11;

/// What a message asks of a program, between two bytes of the value one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// Nothing: it is for people.
    Text(&'a str),
    /// Its version.
    Version,
    /// Something else.
    Other,
}

/// Reads what a message says.
pub(super) fn said(text: &str) -> Said<'_> {
    let Some(inside) = text.strip_prefix('\x01') else { return Said::Text(text) };
    let inside = inside.strip_suffix('\x01').unwrap_or(inside);
    match inside.split_once(' ').unwrap_or((inside, "")) {
        ("ACTION", text) => Said::Text(text),
        ("VERSION", _) => Said::Version,
        _ => Said::Other,
    }
}

/// Returns a channel as a conversation.
pub(super) fn channel(connector: &ConnectorName, name: &str) -> Conversation {
    let (connector, title) = (connector.clone(), Some(name.to_owned()));
    Conversation { connector, id: folded(name), kind: ConversationKind::Channel, title, thread: None }
}

/// Returns somebody by their nick.
pub(super) fn user(nick: &str) -> User {
    User { id: folded(nick), name: Some(nick.to_owned()), is_bot: false }
}

/// Returns a message to us or to a channel that we are in. `id` is for where the network has none.
pub(super) fn message(connector: &ConnectorName, me: &str, line: &Line, text: &str, id: String) -> EventKind {
    let (nick, target) = (line.nick(), line.param(0));
    let is_direct = folded(target) == folded(me);
    let conversation = if is_direct {
        let (connector, title) = (connector.clone(), Some(nick.to_owned()));
        Conversation { connector, id: folded(nick), kind: ConversationKind::Direct, title, thread: None }
    } else {
        channel(connector, target)
    };
    let text = without_colours(text);
    EventKind::Message(Message {
        id: line.tag("msgid").map_or(id, str::to_owned),
        conversation,
        sender: user(nick),
        addressed: is_direct || names(&text, me),
        text,
        attachments: Vec::new(),
        reply_to: line.tag("+draft/reply").or(line.tag("+reply")).map(str::to_owned),
        sent_at: line.tag("time").and_then(time).unwrap_or_else(Timestamp::now),
        reply_deadline: None,
    })
}

/// Returns a line as JSON, for whoever wants more than the host has words for.
pub(super) fn raw(line: &Line) -> String {
    let tags: serde_json::Map<_, _> = line.tags.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({"tags": tags, "source": line.source, "command": line.command, "params": line.params}).to_string()
}

fn time(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok().map(Timestamp::from_millis)
}

/// Returns whether a text has this nick as a word.
fn names(text: &str, nick: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || "[]\\`_^{|}-~".contains(c);
    text.split(|c| !is_part(c)).any(|word| folded(word) == folded(nick))
}

/// Returns a text without the bytes that make it bold or coloured.
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\x02' | '\x0f' | '\x11' | '\x16' | '\x1d' | '\x1e' | '\x1f' => {}
            '\x03' => {
                let number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
                    (0..2).take_while(|_| chars.next_if(char::is_ascii_digit).is_some()).count() > 0
                };
                // A comma belongs to it where a second number follows.
                let mut ahead = chars.clone();
                if number(&mut ahead) {
                    chars = ahead.clone();
                    if ahead.next_if_eq(&',').is_some() && number(&mut ahead) {
                        chars = ahead;
                    }
                }
            }
            '\x04' => while chars.next_if(char::is_ascii_hexdigit).is_some() {},
            c => plain.push(c),
        }
    }
    plain
}

/// Cuts a text into what each line may say, so that it arrives whole: servers put our mask before it.
pub(super) fn pieces(text: &str, command: &str, target: &str, mask: &str) -> Vec<String> {
    let around = format!(":{mask} {command} {target} :\r\n").len();
    let room = LINE_BYTES_MAX.saturating_sub(around).max(64);
    let lines = text.split(['\r', '\n']).map(|line| line.replace(['\0', '\x01'], ""));
    lines.flat_map(|line| split(&line, Measure::Bytes(room))).collect()
}

/// Returns the longest mask that we may have, for as long as we do not know it.
pub(super) fn longest_mask(nick: &str) -> String {
    format!("{nick}!{}@{}", "u".repeat(USER_BYTES_MAX), "h".repeat(HOST_BYTES_MAX))
}

/// Returns what a reply says against a text of ours, and the target that it names, if it names one.
pub(super) fn refusal(line: &Line) -> Option<(DeliveryError, Option<&str>)> {
    let number = line.numeric()?;
    let text = format!("{} ({number})", brief(line.text()));
    let subject = Some(line.param(1)).filter(|subject| !subject.is_empty());
    match number {
        // No such nick, server or channel; not there; banned, muted, not registered; no private messages.
        401..=404 | 406 | 408 | 415 | 442 | 477 | 482 | 486 | 489 | 492 | 494 | 531 | 716 => {
            Some((DeliveryError::Permanent(text), subject))
        }
        // Too many targets.
        407 => Some((DeliveryError::BadRequest(text), subject)),
        // No recipient, no text, too long, unknown, not enough parameters.
        411 | 412 | 417 | 421 | 461 => Some((DeliveryError::BadRequest(text), None)),
        // Target change too fast; it says how long in words.
        439 => Some((DeliveryError::RateLimited(std::time::Duration::from_secs(30)), subject)),
        // Try again later.
        263 => Some((DeliveryError::RateLimited(std::time::Duration::from_secs(10)), None)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_of_a_text_has_its_class() {
        let class = |number: u16| {
            let line = Line::parse(format!(":s {number} bot #tea :no").as_bytes()).unwrap();
            refusal(&line).map(|(error, subject)| (error, subject.map(str::to_owned)))
        };
        let tea = || Some("#tea".to_owned());
        for number in [401, 402, 403, 404, 406, 408, 415, 442, 477, 482, 486, 489, 492, 494, 531, 716] {
            assert_eq!(class(number), Some((DeliveryError::Permanent(format!("no ({number})")), tea())));
        }
        assert_eq!(class(407), Some((DeliveryError::BadRequest("no (407)".to_owned()), tea())));
        for number in [411, 412, 417, 421, 461] {
            assert_eq!(class(number), Some((DeliveryError::BadRequest(format!("no ({number})")), None)));
        }
        assert!(matches!(class(439), Some((DeliveryError::RateLimited(_), Some(_)))));
        assert!(matches!(class(263), Some((DeliveryError::RateLimited(_), None))));
        for number in [1, 301, 332, 366, 372, 433, 471] {
            assert_eq!(class(number), None, "{number}");
        }
    }

    #[test]
    fn a_line_arrives_whole_with_our_mask_before_it() {
        let mask = longest_mask("bot");
        let text = format!("{}\r\n\0{}\x01\n\n x", "ä👨‍👩‍👧 ".repeat(100), "y".repeat(600));
        let pieces = pieces(&text, "PRIVMSG", "#tea", &mask);
        for piece in &pieces {
            let line = format!(":{mask} PRIVMSG #tea :{piece}\r\n");
            assert!(line.len() <= LINE_BYTES_MAX && !piece.contains(['\r', '\n', '\0', '\x01']), "{line:?}");
        }
        let expected = text.replace(['\r', '\n', '\0', '\x01'], "");
        assert_eq!(pieces.concat(), expected);
    }

    #[test]
    fn what_is_for_people_is_text_and_the_rest_is_not() {
        assert_eq!(said("\x01ACTION waves\x01"), Said::Text("waves"));
        assert_eq!(said("\x01VERSION\x01"), Said::Version);
        assert_eq!(said("\x01DCC SEND x\x01"), Said::Other);
        assert_eq!(without_colours("\x02b\x0f \x0304,12red\x03 5 \x033,x \x04ff0000y"), "b red 5 ,x y");
        assert!(names("Bot: hi", "bot") && names("hi @bot!", "bot") && !names("robots", "bot"));
    }

    #[test]
    fn a_message_keeps_its_id_its_time_and_what_it_answers() {
        let line = b"@msgid=m1;time=2024-01-01T00:00:00.500Z;+draft/reply=m0 :Ann!a@h PRIVMSG Bot :hi";
        let line = Line::parse(line).unwrap();
        let connector: ConnectorName = "c".parse().unwrap();
        let EventKind::Message(message) = message(&connector, "bot", &line, "hi", "x".to_owned()) else { panic!() };
        assert_eq!((message.id.as_str(), message.reply_to.as_deref()), ("m1", Some("m0")));
        assert_eq!((message.conversation.id.as_str(), message.conversation.kind), ("ann", ConversationKind::Direct));
        assert_eq!((message.sent_at, message.addressed), (Timestamp::from_millis(1_704_067_200_500), true));
    }
}
