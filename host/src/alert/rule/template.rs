//! The message of a rule: a text with places to fill in.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

/// Longest template, in bytes; what it is filled in with is cut with the alert's summary.
const TEXT_BYTES_MAX: usize = 512;

/// A text with places to fill in, such as `{value}`. `{{` stands for `{`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Blank(Blank),
}

/// A place to fill in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blank {
    Value,
    Threshold,
    Bot,
    Connector,
    Probe,
    Channel,
    Rule,
    Eta,
}

impl Blank {
    const ALL: [(&'static str, Self); 8] = [
        ("value", Self::Value),
        ("threshold", Self::Threshold),
        ("bot", Self::Bot),
        ("connector", Self::Connector),
        ("probe", Self::Probe),
        ("channel", Self::Channel),
        ("rule", Self::Rule),
        ("eta", Self::Eta),
    ];
}

/// Why a text is no [`Template`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// There is nothing to fill in there.
    #[error("there is no `{{{}}}`; there are {}", .0.escape_debug(), blanks())]
    Unknown(String),
    /// A `{` without `}`.
    #[error("a `{{` has no `}}`; write `{{{{` for the letter itself")]
    Open,
    /// It is too long.
    #[error("it is longer than 512 bytes")]
    TooLong,
}

fn blanks() -> String {
    Blank::ALL.map(|(name, _)| format!("`{{{name}}}`")).join(", ")
}

impl Template {
    /// Returns whether it asks for something.
    pub(super) fn asks_for(&self, blank: Blank) -> bool {
        self.0.contains(&Piece::Blank(blank))
    }

    /// Returns the text, filled in.
    pub(super) fn filled(&self, fill: impl Fn(Blank) -> String) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Blank(blank) => fill(*blank),
        };
        self.0.iter().map(piece).collect()
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(TemplateError::TooLong);
        }
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find('{') {
            plain.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('{') {
                plain.push('{');
                rest = after;
                continue;
            }
            let (name, after) = rest.split_once('}').ok_or(TemplateError::Open)?;
            let blank = Blank::ALL.iter().find(|(known, _)| *known == name);
            let (_, blank) = blank.ok_or_else(|| TemplateError::Unknown(name.chars().take(32).collect()))?;
            pieces.extend([Piece::Text(std::mem::take(&mut plain)), Piece::Blank(*blank)]);
            rest = after;
        }
        pieces.push(Piece::Text(plain + rest));
        Ok(Self(pieces))
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(text: &str) -> String {
        match text.parse::<Template>() {
            Ok(template) => template.filled(|blank| format!("<{blank:?}>")),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_message_is_filled_in_where_it_asks() {
        assert_eq!(filled("disk at {value}, {{not this}, {eta}!"), "disk at <Value>, {not this}, <Eta>!");
        assert_eq!(filled(""), "");
        let expected = "there is no `{bott}`; there are `{value}`, `{threshold}`, `{bot}`, `{connector}`, `{probe}`, \
                        `{channel}`, `{rule}`, `{eta}`";
        assert_eq!(filled("{bott} fails"), expected);
        assert_eq!(filled("{bot"), "a `{` has no `}`; write `{{` for the letter itself");
        assert!(!"{value}".parse::<Template>().unwrap().asks_for(Blank::Eta));
    }

    proptest! {
        #[test]
        fn reading_any_text_ends_well(text in "(\\{|\\}|value|[a-zü ]){0,20}") {
            filled(&text);
        }
    }
}
