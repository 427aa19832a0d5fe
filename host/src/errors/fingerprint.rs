//! What two failures must have in common to be the same one: kind, place, whom it happened to, and the message without what
//! differs from time to time.

use super::{ErrorId, Occurrence};

/// Of a message only so much tells failures apart.
const MESSAGE_CHARS_MAX: usize = 200;

/// Returns the name of an occurrence's group.
pub(super) fn of(occurrence: &Occurrence<'_>) -> ErrorId {
    let Occurrence { component, kind, message, bot, connector, .. } = occurrence;
    ErrorId::of([component, kind, &shape(message), bot.unwrap_or(""), connector.unwrap_or("")])
}

/// Returns the name of the group of all that has no room of its own.
pub(super) fn of_rest(component: &str, bot: Option<&str>) -> ErrorId {
    ErrorId::of([component, "", "", bot.unwrap_or(""), ""])
}

/// Returns a message with each word that has a digit in it, and whatever stands in quotes, as `#`: numbers, ids, addresses, times
/// and names of files and people differ from time to time, and the failure is the same.
fn shape(message: &str) -> String {
    let (mut shape, mut word, mut quote) = (String::new(), String::new(), None);
    let end_word = |shape: &mut String, word: &mut String| {
        if word.chars().any(|letter| letter.is_ascii_digit()) {
            if !shape.ends_with('#') {
                shape.push('#');
            }
        } else {
            shape.push_str(word);
        }
        word.clear();
    };
    for letter in message.chars().take(MESSAGE_CHARS_MAX) {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '`') => {
                end_word(&mut shape, &mut word);
                shape.push('#');
                quote = Some(letter);
            }
            (None, letter) if letter.is_alphanumeric() || "-_./:".contains(letter) => word.push(letter),
            (None, letter) => {
                end_word(&mut shape, &mut word);
                shape.push(letter);
            }
        }
    }
    end_word(&mut shape, &mut word);
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_time_to_time_tells_no_failures_apart() {
        for (one, other) in [
            ("no answer within 4999 ms", "no answer within 5001 ms"),
            ("cannot connect to 10.0.0.7:443: refused", "cannot connect to 10.0.0.9:8443: refused"),
            ("key \"alice\" is too long", "key \"bob, too\" is too long"),
            ("event 0198f3a21b7c at 2026-11-21T12:40:48Z", "event 0198f3a2aaaa at 2026-11-22T00:00:00Z"),
        ] {
            assert_eq!(shape(one), shape(other));
        }
        assert_ne!(shape("connection refused"), shape("connection reset"));
        assert!(shape(&"x ".repeat(10_000)).len() <= MESSAGE_CHARS_MAX);
    }
}
