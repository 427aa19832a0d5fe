//! The form of a bot's settings: a field for each, made from what the API says they may be, and back. What is secret is set and never
//! shown. Pure.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::form;

/// What is sent back of a value that is not shown, to keep it.
const KEPT: &str = "[redacted]";

/// What may be chosen of a bot, as the API tells.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    #[serde(rename = "form")]
    pub(super) fields: Vec<Field>,
    /// The keys of its connector.
    pub(super) connector: Vec<Hidden>,
    pub(super) secrets: Vec<Hidden>,
}

/// A value that is not shown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Hidden {
    pub(super) name: String,
    pub(super) set: bool,
}

/// A field.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Field {
    /// Which setting it is, as a JSON Pointer; empty: all of them.
    pub(super) pointer: String,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) kind: Kind,
    pub(super) required: bool,
    pub(super) set: bool,
    pub(super) value: Value,
}

/// What a field takes.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(super) enum Kind {
    #[default]
    Text,
    Password,
    Whole {
        min: Option<f64>,
        max: Option<f64>,
    },
    Number {
        min: Option<f64>,
        max: Option<f64>,
    },
    Truth,
    Choice {
        choices: Vec<Value>,
    },
    List,
    #[serde(other)]
    Json,
}

impl Form {
    /// Returns the settings that a form was filled in with. The API checks them: what is no number stays a text, so that it can say so.
    pub(super) fn read(&self, filled: &form::Form) -> Value {
        let mut settings = Map::new();
        for field in &self.fields {
            let given = filled.all(&field.input()).next();
            if let Some(value) = field.read(given) {
                put(&mut settings, &field.pointer, value);
            }
        }
        Value::Object(settings)
    }
}

impl Field {
    /// Returns the name of its input.
    pub(super) fn input(&self) -> String {
        format!("setting.{}", self.pointer)
    }

    /// Returns the choices as they stand in the form.
    pub(super) fn choices(&self) -> Vec<String> {
        match &self.kind {
            Kind::Choice { choices } => choices.iter().map(written).collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn is_flag(&self) -> bool {
        self.kind == Kind::Truth
    }

    pub(super) fn is_secret(&self) -> bool {
        self.kind == Kind::Password
    }

    pub(super) fn is_long(&self) -> bool {
        matches!(self.kind, Kind::List | Kind::Json)
    }

    pub(super) fn is_decimal(&self) -> bool {
        matches!(self.kind, Kind::Number { .. })
    }

    pub(super) fn minimum(&self) -> Option<f64> {
        match self.kind {
            Kind::Whole { min, .. } | Kind::Number { min, .. } => min,
            _ => None,
        }
    }

    pub(super) fn maximum(&self) -> Option<f64> {
        match self.kind {
            Kind::Whole { max, .. } | Kind::Number { max, .. } => max,
            _ => None,
        }
    }

    pub(super) fn input_type(&self) -> &'static str {
        match self.kind {
            Kind::Whole { .. } | Kind::Number { .. } => "number",
            Kind::Password => "password",
            _ => "text",
        }
    }

    /// Returns its value as it stands in an input. Of a secret there is none, whatever came.
    pub(super) fn shown(&self) -> String {
        match &self.value {
            _ if self.is_secret() => String::new(),
            Value::Array(items) if self.kind == Kind::List => items.iter().map(written).collect::<Vec<_>>().join("\n"),
            value => written(value),
        }
    }

    pub(super) fn is_chosen(&self, choice: &str) -> bool {
        self.shown() == choice
    }

    /// Returns the value that somebody wrote; none: there is none.
    fn read(&self, given: Option<&str>) -> Option<Value> {
        let text = given.unwrap_or_default();
        let parsed = || serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
        match &self.kind {
            Kind::Truth => Some(Value::from(text == "true")),
            Kind::Password if text.is_empty() => self.set.then(|| Value::from(KEPT)),
            Kind::Text | Kind::Password if !text.is_empty() || given.is_some() && self.set => Some(Value::from(text)),
            _ if text.trim().is_empty() => None,
            Kind::Choice { choices } => Some(
                choices.iter().find(|choice| written(choice) == text).cloned().unwrap_or_else(|| Value::from(text)),
            ),
            Kind::List => {
                let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
                let numbers = self.value.as_array().is_some_and(|items| items.iter().any(Value::is_number));
                let item = |line: &str| match serde_json::from_str::<Value>(line) {
                    Ok(number) if numbers && number.is_number() => number,
                    _ => Value::from(line),
                };
                Some(lines.map(item).collect())
            }
            _ => Some(parsed()),
        }
    }
}

fn written(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Puts a value where a JSON Pointer leads. An empty one leads to the whole.
fn put(settings: &mut Map<String, Value>, pointer: &str, value: Value) {
    let mut names: Vec<_> = pointer.split('/').skip(1).map(|name| name.replace("~1", "/").replace("~0", "~")).collect();
    let Some(last) = names.pop() else {
        if let Value::Object(all) = value {
            *settings = all;
        }
        return;
    };
    let mut group = settings;
    for name in names {
        let next = group.entry(name).or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(next) = next else { return };
        group = next;
    }
    group.insert(last, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn form_of(fields: Value) -> Form {
        serde_json::from_value(json!({ "form": fields })).unwrap()
    }

    #[test]
    fn a_secret_is_never_shown_and_stays_where_nothing_is_given() {
        let form =
            form_of(json!([{ "pointer": "/key", "kind": { "type": "password" }, "set": true, "value": "s3cret" }]));
        assert_eq!((form.fields[0].shown(), form.fields[0].input_type()), (String::new(), "password"));
        assert_eq!(form.read(&form::Form::read(b"setting./key=")), json!({ "key": KEPT }));
        assert_eq!(form.read(&form::Form::read(b"setting.%2Fkey=new")), json!({ "key": "new" }));
    }

    #[test]
    fn what_is_written_becomes_values_of_its_kind() {
        let form = form_of(json!([
            { "pointer": "/name", "kind": { "type": "text", "min": 0, "max": null }, "value": "a" },
            { "pointer": "/limits/most", "kind": { "type": "whole", "min": 1.0, "max": null }, "value": 5 },
            { "pointer": "/limits/share", "kind": { "type": "number", "min": null, "max": null }, "value": 0.5 },
            { "pointer": "/quiet", "kind": { "type": "truth" }, "value": true },
            { "pointer": "/mode", "kind": { "type": "choice", "choices": [1, "two"] }, "value": 1 },
            { "pointer": "/words", "kind": { "type": "list" }, "value": ["a", "b"] },
            { "pointer": "/a~1b", "kind": { "type": "something-new" }, "value": { "x": 1 } },
        ]));
        let filled = b"setting./name=b&setting./limits/most=7&setting./limits/share=x&setting./mode=1&setting./words=c%0D%0A%0D%0Ad&setting./a~1b=%7B%7D";
        let expected = json!({
            "name": "b", "limits": { "most": 7, "share": "x" }, "quiet": false, "mode": 1, "words": ["c", "d"], "a/b": {}
        });
        assert_eq!(form.read(&form::Form::read(filled)), expected);
        let shown: Vec<_> = form.fields.iter().map(Field::shown).collect();
        assert_eq!(shown, ["a", "5", "0.5", "true", "1", "a\nb", "{\"x\":1}"]);
    }

    #[test]
    fn settings_that_nobody_describes_are_one_field() {
        let form = form_of(json!([{ "pointer": "", "kind": { "type": "json" }, "value": { "a": 1 } }]));
        assert_eq!(form.read(&form::Form::read(b"setting.=%7B%22b%22%3A2%7D")), json!({ "b": 2 }));
    }
}
