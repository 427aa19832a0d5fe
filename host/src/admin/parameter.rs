//! The parameters that queries take: their names, what they mean, what they may be.

use serde_json::{Value, json};

/// Names, as patterns of JSON Schema have them.
pub(super) const NAME: &str = "^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$";
const NAMES: &str = "^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}(,[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}){0,9}$";
const KEY: &str = "^([a-zA-Z0-9][a-zA-Z0-9._-]{0,63}/)?[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$";
/// Not every text of this form is a length of time that fits.
const SPAN: &str = "^[1-9][0-9]{0,3}(ms|s|m|h)$";
const MOMENT: &str = "^([1-9][0-9]{0,3}(s|m|h)|20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z)$";

/// What a parameter may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// A whole number from 0.
    Number,
    /// How many entries.
    Limit,
    Flag,
    /// In RFC 3339, or how long ago.
    Moment,
    /// A length of time.
    Span,
    OneOf(&'static [&'static str]),
    /// A name: of a bot, a tenant, an account.
    Name,
    /// Names with commas between.
    Names,
    /// The name of a connector, or of a bot's own with the bot's before it.
    Key,
}

/// One parameter of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// What it is for.
    pub(super) about: &'static str,
    pub(super) is_required: bool,
}

impl Parameter {
    pub(super) const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, kind, about, is_required: false }
    }

    pub(super) const fn required(self) -> Self {
        Self { is_required: true, ..self }
    }

    /// Returns its JSON Schema.
    pub(super) fn schema(&self) -> Value {
        match self.kind {
            Kind::Text => json!({ "type": "string", "minLength": usize::from(self.is_required) }),
            Kind::Name => json!({ "type": "string", "pattern": NAME }),
            Kind::Names => json!({ "type": "string", "pattern": NAMES }),
            Kind::Key => json!({ "type": "string", "pattern": KEY }),
            Kind::Number => json!({ "type": "integer", "minimum": 0, "maximum": i64::MAX }),
            Kind::Limit => {
                json!({ "type": "integer", "minimum": 1, "maximum": super::query::LIMIT_MAX, "default": super::query::LIMIT_DEFAULT })
            }
            Kind::Flag => json!({ "type": "boolean" }),
            Kind::Moment => json!({ "type": "string", "pattern": MOMENT, "examples": ["2026-01-31T12:00:00Z", "10m"] }),
            Kind::Span => json!({ "type": "string", "pattern": SPAN, "examples": ["1h", "90s"] }),
            Kind::OneOf(words) => json!({ "type": "string", "enum": words }),
        }
    }
}

pub(super) const BOT: Parameter =
    Parameter::new("bot", Kind::Name, "of this bot only; a tenant must name one of its own");
pub(super) const CONNECTOR: Parameter =
    Parameter::new("connector", Kind::Key, "of this connector only, such as `telegram` or `BOT/telegram`");
pub(super) const LIMIT: Parameter = Parameter::new("limit", Kind::Limit, "how many entries at most");
pub(super) const BEFORE: Parameter =
    Parameter::new("before", Kind::Number, "only entries with smaller numbers, for what comes after a page");
pub(super) const AFTER: Parameter = Parameter::new("after", Kind::Name, "only entries whose name comes after this one");
pub(super) const SINCE: Parameter = Parameter::new("since", Kind::Moment, "not before this moment, or not longer ago");
pub(super) const UNTIL: Parameter = Parameter::new("until", Kind::Moment, "not after this moment");
pub(super) const AUTHOR: Parameter =
    Parameter::new("author", Kind::Text, "who edits, where a program does it for somebody");
pub(super) const REASON: Parameter = Parameter::new("reason", Kind::Text, "why");
pub(super) const FOLLOW: Parameter =
    Parameter::new("follow", Kind::Flag, "go on with what comes, as server-sent events");
/// What every edit takes.
pub(super) const EDIT: &[Parameter] = &[AUTHOR, REASON];
