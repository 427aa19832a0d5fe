//! One thing that could not be read, and how it is put into words.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

/// Most valid names that a message lists.
const NAMES_MAX: usize = 16;

/// Longest piece of the text that a message quotes, in characters.
const QUOTED_MAX: usize = 64;

/// Why reading stopped.
#[derive(Debug)]
pub(super) struct Fault {
    what: What,
    /// The byte of the text where it is.
    pub(super) at: Option<usize>,
    /// The first byte of the entry or element to leave out when reading again.
    pub(super) unit: Option<usize>,
    /// It may only be so because something else was left out, and so is not told.
    pub(super) is_echo: bool,
}

#[derive(Debug)]
enum What {
    UnknownKey { name: String, valid: &'static [&'static str] },
    UnknownWord { word: String, valid: &'static [&'static str] },
    Missing(&'static str),
    Type { found: String, wanted: String },
    Other(String),
}

impl Fault {
    /// Returns the fault of a value that is of another kind than the one wanted.
    pub(super) fn mismatch(found: &str, wanted: impl Into<String>) -> Self {
        What::Type { found: found.to_owned(), wanted: wanted.into() }.into()
    }

    /// Returns a fault that says of itself what it is.
    pub(super) fn other(message: impl fmt::Display) -> Self {
        What::Other(message.to_string()).into()
    }

    /// Says where it is, unless that is known better.
    pub(super) fn at(mut self, offset: usize) -> Self {
        self.at.get_or_insert(offset);
        self
    }

    /// Says which entry or element it is in, unless a smaller one is known.
    pub(super) fn within(mut self, unit: usize) -> Self {
        self.unit.get_or_insert(unit);
        self
    }

    /// Takes back what was said of a text that was filled in; `raw` is what the file says in its stead.
    pub(super) fn hide(mut self, raw: &str) -> Self {
        self.what = match self.what {
            What::UnknownWord { valid, .. } => What::UnknownWord { word: raw.to_owned(), valid },
            What::Other(_) => {
                What::Other(format!("what {} stands for does not fit; it may be secret and is not shown", quoted(raw)))
            }
            what => what,
        };
        self
    }

    /// Blots `secret` out of what was said by those who may have known it.
    pub(super) fn redact(&mut self, secret: &str) {
        if let What::Other(message) = &mut self.what {
            *message = message.replace(secret, "[redacted]");
        }
    }

    /// Returns the message.
    pub(super) fn wording(&self, context: &Context<'_>) -> String {
        let Context { path, planned, .. } = *context;
        let key = quoted(&path.join("."));
        match &self.what {
            What::UnknownKey { name, valid } => context.unknown_key(name, valid),
            What::UnknownWord { word, valid } if planned(path, word) => {
                format!("{} is not there yet; {}", quoted(word), there_are(valid))
            }
            What::UnknownWord { word, valid } => {
                let known = nearest(word, valid).map_or(String::new(), |near| format!("did you mean `{near}`? "));
                format!("{} is no value of {key}; {known}{}", quoted(word), there_are(valid))
            }
            What::Missing(name) => format!("`{name}` is missing{}", in_table(path)),
            What::Type { found, wanted } if path.is_empty() => format!("must be {wanted}, not {found}"),
            What::Type { found, wanted } => format!("{key} must be {wanted}, not {found}"),
            What::Other(message) if path.is_empty() => message.clone(),
            What::Other(message) => format!("{key}: {message}"),
        }
    }
}

/// What the message of a fault depends on beside the fault.
pub(super) struct Context<'c> {
    /// The keys that lead to the entry that is wrong, or to the table that misses one.
    pub(super) path: &'c [&'c str],
    /// That entry is a table.
    pub(super) is_table: bool,
    /// Tells whether a name is right and not there yet; see [`Planned`](super::Planned).
    pub(super) planned: &'c dyn Fn(&[&str], &str) -> bool,
}

impl Context<'_> {
    fn unknown_key(&self, name: &str, valid: &[&str]) -> String {
        let table = &self.path[..self.path.len().saturating_sub(1)];
        // A table at the top is known by its head.
        let is_section = self.is_table && table.is_empty();
        let section = |name: &str| if is_section { format!("`[{}]`", escaped(name)) } else { quoted(name) };
        let shown = format!("{}{}", section(name), in_table(table));
        if (self.planned)(table, name) {
            return format!("{shown} is not there yet");
        }
        let what = if is_section { "section" } else { "key" };
        match nearest(name, valid) {
            Some(near) => format!("unknown {what} {shown}, did you mean {}?", section(near)),
            None if valid.is_empty() => format!("unknown {what} {shown}, which has no keys"),
            None => format!("unknown {what} {shown}; {}", there_are(valid)),
        }
    }
}

fn in_table(path: &[&str]) -> String {
    if path.is_empty() { String::new() } else { format!(" in [{}]", escaped(&path.join("."))) }
}

fn there_are(valid: &[&str]) -> String {
    let listed: Vec<_> = valid.iter().take(NAMES_MAX).map(|name| format!("`{name}`")).collect();
    let more = if valid.len() > NAMES_MAX { ", …" } else { "" };
    let verb = if valid.len() == 1 { "there is" } else { "there are" };
    format!("{verb} {}{more}", listed.join(", "))
}

/// Returns the valid name that `given` most likely was meant to be, where one is near enough to be worth a guess.
pub(crate) fn nearest<'v>(given: &str, valid: &[&'v str]) -> Option<&'v str> {
    let given = given.to_ascii_lowercase().replace('-', "_");
    // A third of the letters may be wrong: enough for a slip, too few for another word.
    let allowed = (given.chars().count().max(3) / 3).min(4);
    let distance = |name: &str| strsim::osa_distance(&given, &name.to_ascii_lowercase().replace('-', "_"));
    // A text much longer than every name is none of them, and measuring it would cost its length.
    let candidates = valid.iter().filter(|name| given.len().abs_diff(name.len()) <= 4);
    candidates.map(|name| (distance(name), *name)).filter(|(far, _)| *far <= allowed).min().map(|(_, name)| name)
}

/// Returns a piece of the text as messages show it: in backquotes, escaped and cut.
pub(super) fn quoted(text: &str) -> String {
    format!("`{}`", escaped(text))
}

fn escaped(text: &str) -> String {
    let mut shown: String = text.chars().take(QUOTED_MAX).flat_map(shown).collect();
    if text.chars().nth(QUOTED_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// Escapes what would move a terminal's cursor or change its colours, and nothing that people write.
fn shown(letter: char) -> impl Iterator<Item = char> {
    let plain = matches!(letter, '"' | '\'' | '\\');
    let escaped = (!plain).then(|| letter.escape_debug());
    plain.then_some(letter).into_iter().chain(escaped.into_iter().flatten())
}

impl From<What> for Fault {
    fn from(what: What) -> Self {
        Self { what, at: None, unit: None, is_echo: false }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.wording(&Context { path: &[], is_table: false, planned: &|_, _| false }))
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::other(message)
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::mismatch(kind(&found), in_words(&wanted.to_string()))
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        // Only a number is shown: a text may be a secret in the wrong place.
        let found = match found {
            Unexpected::Signed(number) => number.to_string(),
            Unexpected::Unsigned(number) => number.to_string(),
            other => kind(&other).to_owned(),
        };
        Self::mismatch(&found, in_words(&wanted.to_string()))
    }

    fn unknown_field(name: &str, valid: &'static [&'static str]) -> Self {
        What::UnknownKey { name: name.to_owned(), valid }.into()
    }

    fn unknown_variant(word: &str, valid: &'static [&'static str]) -> Self {
        What::UnknownWord { word: word.to_owned(), valid }.into()
    }

    fn missing_field(name: &'static str) -> Self {
        What::Missing(name).into()
    }
}

fn kind(found: &Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "true or false",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
        Unexpected::Float(_) => "a number with a fraction",
        Unexpected::Seq => "an array",
        Unexpected::Map => "a table",
        _ => "a string",
    }
}

/// Returns what serde calls a type in words that an operator knows.
fn in_words(wanted: &str) -> String {
    match wanted {
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "an array".to_owned(),
        "a map" => "a table".to_owned(),
        "path string" => "a path".to_owned(),
        "u8" => "a whole number from 0 to 255".to_owned(),
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "u32" => "a whole number from 0 to 4294967295".to_owned(),
        "u64" | "usize" => "a whole number from 0".to_owned(),
        "a nonzero u16" => "a whole number from 1 to 65535".to_owned(),
        "a nonzero u32" => "a whole number from 1 to 4294967295".to_owned(),
        "a nonzero u64" | "a nonzero usize" => "a whole number from 1".to_owned(),
        wanted if wanted.starts_with("struct ") => "a table".to_owned(),
        wanted => wanted.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_one_slip_away_and_no_other_word() {
        let valid = ["max_restarts", "within", "memory", "in_flight"];
        for (given, expected) in [
            ("max_restart", Some("max_restarts")),
            ("max-restarts", Some("max_restarts")),
            ("Memory", Some("memory")),
            ("memroy", Some("memory")),
            ("inflight", Some("in_flight")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, &valid), expected, "{given}");
        }
        assert_eq!(nearest(&"x".repeat(1 << 20), &valid), None);
    }

    #[test]
    fn what_is_quoted_is_short_and_moves_no_cursor() {
        assert_eq!(quoted("a\u{1b}[31m\n"), "`a\\u{1b}[31m\\n`");
        assert_eq!(quoted(&"é".repeat(100)).chars().count(), QUOTED_MAX + 3);
    }
}
