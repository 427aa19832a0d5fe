//! Texts without the secrets that stand in them word for word, and back. What is a secret is what the configuration reads as one;
//! where a text cannot be read, everything that may be one is hidden.

use std::fmt::Write as _;

use toml_edit::{Item, Value};
use toml_parser::Source;
use toml_parser::lexer::TokenKind;

use super::keys;
use crate::config::{Form, literal_secrets};
use crate::secret::Secret;

/// What stands for a secret.
pub const REDACTED: &str = "[redacted]";

/// What is shown of a text that is no TOML.
const UNREADABLE: &str = "# what is stored is no TOML, and is not shown, since secrets may stand in it\n";
/// A secret shorter than this is not looked for in comments: it would be found in words.
const SOUGHT_BYTES_MIN: usize = 6;
/// What the name of a key or parameter has in it whose value is most likely a secret.
const TELLING: [&str; 5] = ["token", "secret", "password", "passwd", "key"];

/// A text without its secrets.
pub(super) struct Redacted {
    /// The text.
    pub(super) text: String,
    /// The secrets, in the order of the text. None: nobody can say which they are.
    pub(super) secrets: Option<Vec<Secret>>,
}

/// Hides the secrets of a text.
pub(super) fn redact(text: &str, form: Form) -> Redacted {
    let Ok(literals) = literal_secrets(text, form) else {
        return Redacted { text: hide_all(text), secrets: None };
    };
    let (mut shown, mut hidden) = (String::with_capacity(text.len()), 0);
    let secrets: Vec<_> = literals.values().map(|literal| literal.secret.clone()).collect();
    for token in Source::new(text).lex() {
        let (start, end) = (token.span().start(), token.span().end());
        let raw = &text[start..end];
        match token.kind() {
            _ if literals.get(&start).is_some_and(|literal| literal.end == end) => {
                hidden += 1;
                push_redacted(&mut shown);
            }
            TokenKind::Comment => shown.push_str(&comment(raw, &secrets)),
            kind if is_string(kind) => shown.push_str(&without_parameters(raw)),
            _ => shown.push_str(raw),
        }
    }
    // Each has to be found again: what is not hidden must not be shown.
    if hidden != literals.len() {
        return Redacted { text: hide_all(text), secrets: None };
    }
    Redacted { text: shown, secrets: Some(secrets) }
}

fn push_redacted(shown: &mut String) {
    let _ = write!(shown, "\"{REDACTED}\"");
}

fn is_string(kind: TokenKind) -> bool {
    use TokenKind::{BasicString, LiteralString, MlBasicString, MlLiteralString};
    matches!(kind, BasicString | LiteralString | MlBasicString | MlLiteralString)
}

/// Hides every string and comment.
fn hide_all(text: &str) -> String {
    if keys::document(text).is_err() {
        return UNREADABLE.to_owned();
    }
    let mut shown = String::with_capacity(text.len());
    let tokens: Vec<_> = Source::new(text).lex().collect();
    for (index, token) in tokens.iter().enumerate() {
        let next = tokens[index + 1..].iter().find(|token| token.kind() != TokenKind::Whitespace);
        let is_key = next.is_some_and(|next| matches!(next.kind(), TokenKind::Equals | TokenKind::Dot));
        match token.kind() {
            TokenKind::Comment => shown.push_str(&format!("# {REDACTED}")),
            kind if is_string(kind) && !is_key => push_redacted(&mut shown),
            _ => shown.push_str(&text[token.span().start()..token.span().end()]),
        }
    }
    shown
}

/// Returns a comment without what was, or still is, a secret: somebody may have kept the last one beside the one in use.
fn comment(raw: &str, secrets: &[Secret]) -> String {
    let (before, value) = raw.split_once('=').unwrap_or((raw, ""));
    let key = before.trim_end().rsplit(['.', ' ', '#', '\t', '{', ',']).next().unwrap_or("");
    if !value.is_empty() && is_telling(key) {
        return format!("{before}= {REDACTED}");
    }
    let sought = secrets.iter().filter(|secret| secret.expose().len() >= SOUGHT_BYTES_MIN);
    sought.fold(without_parameters(raw), |shown, secret| shown.replace(secret.expose(), REDACTED))
}

fn is_telling(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    TELLING.iter().any(|word| name.contains(word))
}

/// Returns a text without the values of parameters such as `?access_token=…` in an address.
fn without_parameters(raw: &str) -> String {
    let mut shown = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find(['?', '&']) {
        let (before, after) = rest.split_at(at + 1);
        shown.push_str(before);
        let end = after.find(['&', '"', '\'', '#', ' ', '\n']).unwrap_or(after.len());
        let (parameter, after) = after.split_at(end);
        match parameter.split_once('=') {
            Some((name, value)) if is_telling(name) && !value.is_empty() => {
                let _ = write!(shown, "{name}={REDACTED}");
            }
            _ => shown.push_str(parameter),
        }
        rest = after;
    }
    shown.push_str(rest);
    shown
}

/// A text has `[redacted]` where nobody knows what it stands for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` is {REDACTED}, and the running configuration has no such secret there: write it, or `${{NAME}}`")]
pub struct UnknownSecret {
    /// The key.
    pub key: String,
}

/// Returns a text with the secrets of `running` at the keys where it says `[redacted]`. A text that is no TOML is returned as it is:
/// whoever reads it says what is wrong.
///
/// # Errors
///
/// The first key at which `running` has no secret, or another text around it.
pub(super) fn restore(text: &str, running: &str) -> Result<String, UnknownSecret> {
    let Ok(mut document) = keys::document(text) else { return Ok(text.to_owned()) };
    let running = keys::document(running).unwrap_or_default();
    let mut has_changed = false;
    fill_in(document.as_item_mut(), Some(running.as_item()), &mut Vec::new(), &mut has_changed)?;
    Ok(if has_changed { document.to_string() } else { text.to_owned() })
}

fn fill_in(
    item: &mut Item,
    running: Option<&Item>,
    path: &mut Vec<String>,
    has_changed: &mut bool,
) -> Result<(), UnknownSecret> {
    if let Some(shown) = item.as_str().filter(|text| text.contains(REDACTED)) {
        let known = running.and_then(Item::as_value).filter(|known| stands_for(shown, known));
        let known = known.ok_or_else(|| UnknownSecret { key: keys::join(path) })?;
        if let Some(value) = item.as_value_mut() {
            keys::replace(value, known.clone());
        }
        *has_changed = true;
        return Ok(());
    }
    if let Some(table) = item.as_table_like_mut() {
        for (key, item) in table.iter_mut() {
            path.push(key.get().to_owned());
            fill_in(item, running.and_then(|running| running.get(key.get())), path, has_changed)?;
            path.pop();
        }
    } else if let Some(tables) = item.as_array_of_tables_mut() {
        for (index, table) in tables.iter_mut().enumerate() {
            let mut whole = Item::Table(std::mem::take(table));
            let filled = fill_in(&mut whole, running.and_then(|running| running.get(index)), path, has_changed);
            *table = whole.into_table().unwrap_or_default();
            filled?;
        }
    } else if let Some(array) = item.as_array_mut() {
        for (index, value) in array.iter_mut().enumerate() {
            let mut whole = Item::Value(value.clone());
            fill_in(&mut whole, running.and_then(|running| running.get(index)), path, has_changed)?;
            if let Ok(whole) = whole.into_value() {
                *value = whole;
            }
        }
    }
    Ok(())
}

/// Returns whether a text with `[redacted]` is what would be shown of a value.
fn stands_for(shown: &str, known: &Value) -> bool {
    let Some(text) = known.as_str() else { return false };
    text != REDACTED && (shown == REDACTED || without_parameters(text) == shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = include_str!("../config/tests/full.toml");
    const FULL_BOT: &str = include_str!("../config/tests/full_bot.toml");

    /// Returns a text in which every secret is `CANARY-N` word for word, and how many there are.
    fn with_canaries(text: &str) -> (String, usize) {
        let (mut count, mut parts) = (0, Vec::new());
        for line in text.lines() {
            let key = line.split('=').next().unwrap_or("").trim();
            if line.starts_with('#') || !["token", "access_token", "secrets"].contains(&key) {
                parts.push(line.to_owned());
                continue;
            }
            count += 1;
            let canary = if key == "token" { format!("{count}:CANARY-{count}") } else { format!("CANARY-{count}") };
            parts.push(if key == "secrets" {
                format!("secrets = {{ API_KEY = \"{canary}\" }}")
            } else {
                format!("{key} = \"{canary}\" # was {canary}")
            });
        }
        (parts.join("\n"), count)
    }

    #[test]
    fn f100_no_secret_of_any_key_is_shown() {
        for (text, form, expected) in [(FULL, Form::Host, 6), (FULL_BOT, Form::Bot, 1)] {
            let (text, count) = with_canaries(text);
            assert_eq!((count, text.matches("CANARY").count() >= count), (expected, true));
            let redacted = redact(&text, form);
            assert!(!redacted.text.contains("CANARY"), "{}", redacted.text);
            assert_eq!(redacted.secrets.map(|secrets| secrets.len()), Some(expected), "it could be read");
            assert_eq!(redacted.text.lines().count(), text.lines().count());
            assert!(redacted.text.contains("component = \"shop-2.wasm\""), "what is no secret is shown");
            let restored = restore(&redacted.text, &text).unwrap();
            assert_eq!(redact(&restored, form).text.trim_end(), redacted.text.trim_end());
            assert_eq!(literals(&restored, form), literals(&text, form), "every secret is back");
        }
    }

    fn literals(text: &str, form: Form) -> Vec<String> {
        let secrets = redact(text, form).secrets.unwrap();
        secrets.iter().map(|secret| secret.expose().to_owned()).collect()
    }

    #[test]
    fn what_only_names_a_secret_is_shown() {
        for text in [
            "[admin]\ntoken = \"${BOTHOST_TOKEN}\"\n",
            "[admin]\ntoken = { file = \"token\" }\n",
            "[bots.a.settings]\ntoken = \"no secret\"\n",
        ] {
            assert_eq!(redact(text, Form::Host).text, text);
        }
        let mixed = redact("[admin]\ntoken = \"abc${X}\"\n", Form::Host).text;
        assert_eq!(mixed, "[admin]\ntoken = \"[redacted]\"\n");
    }

    #[test]
    fn f100_a_secret_is_not_shown_in_a_comment_nor_in_an_address() {
        for (text, shown) in [
            ("# token = \"1:old\"\n", "# token = [redacted]\n"),
            ("[admin]\ntoken = 'hunter2' # hunter2 it is\n", "[admin]\ntoken = \"[redacted]\" # [redacted] it is\n"),
            ("# see http://a/?x=1&access_token=abc&y=2\n", "# see http://a/?x=1&access_token=[redacted]&y=2\n"),
            ("# a plain remark\n", "# a plain remark\n"),
        ] {
            assert_eq!(redact(text, Form::Host).text, shown);
        }
        let text = "[connectors.qq]\ntype = \"onebot\"\nmode = \"forward\"\nurl = \"ws://a/?access_token=abc\"\n";
        let shown = redact(text, Form::Host).text;
        assert!(shown.contains("url = \"ws://a/?access_token=[redacted]\""), "{shown}");
        assert_eq!(restore(&shown, text).unwrap(), text);
    }

    #[test]
    fn f100_a_text_that_is_not_good_shows_no_string() {
        let text = "# abc\n[connectors.tg]\ntype = \"telegrm\"\ntoken = \"1:abc\"\nn = 3\n\"a b\" = 'abc'\n";
        let redacted = redact(text, Form::Host);
        assert!(!redacted.text.contains("abc") && redacted.secrets.is_none(), "{}", redacted.text);
        assert!(redacted.text.contains("n = 3") && redacted.text.contains("\"a b\" = "), "{}", redacted.text);
        let deep = format!("{}x = 1", "a.".repeat(200_000));
        for unreadable in ["token = 1:abc", &deep] {
            assert_eq!(redact(unreadable, Form::Host).text, UNREADABLE);
            assert_eq!(restore(unreadable, "").unwrap(), unreadable);
        }
    }

    #[test]
    fn a_redacted_secret_that_nobody_knows_is_refused_with_its_key() {
        let text = "[connectors.\"t g\"]\ntoken = \"[redacted]\"\n";
        let unknown = |running: &str| restore(text, running).unwrap_err().key;
        assert_eq!(unknown(""), "connectors.\"t g\".token");
        assert_eq!(unknown("[connectors.\"t g\"]\ntoken = { file = \"x\" }\n"), "connectors.\"t g\".token");
        assert_eq!(unknown(text), "connectors.\"t g\".token");
    }

    #[test]
    fn secrets_come_back_with_the_formatting_of_the_text_that_takes_them() {
        let running = "admin = { token = 'abc' }\n[bots.a]\nsecrets = { X = \"1${Y}\" }\n";
        let text = "# mine\nadmin.token  =  \"[redacted]\"  # here\nbots.a.secrets = { X=\"[redacted]\" }\n";
        let expected = "# mine\nadmin.token  =  'abc'  # here\nbots.a.secrets = { X=\"1${Y}\" }\n";
        assert_eq!(restore(text, running).unwrap(), expected);
    }
}
