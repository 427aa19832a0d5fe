//! Values between JSON and TOML texts. What somebody else gives is written so that it stays what it is: `${` in it is no reference.
//! Pure.

use std::path::Path;

use serde_json::{Map, Value as Json};
use toml_edit::{Array, InlineTable, Item, TableLike, Value};

use super::redact::REDACTED;
use crate::offer::SettingFault;

/// How deep what somebody gives may nest.
const DEPTH_MAX: usize = 16;

/// Whether `${NAME}` in a given text stands for an environment variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum References {
    /// It does: the operator gives it.
    Meant,
    /// It stands for itself.
    Escaped,
}

/// Returns a text as it is written so that it reads as what it is.
pub(super) fn escaped(text: &str) -> String {
    text.replace("${", "$${")
}

/// Returns what a text reads as, where nothing in it stands for anything else.
fn unescaped(text: &str) -> Option<String> {
    let without = text.replace("$${", "");
    (!without.contains("${")).then(|| text.replace("$${", "${"))
}

/// Writes an object. Where it says `[redacted]`, what `old` has there stays. What is null is left out.
pub(super) fn table(
    given: &Map<String, Json>,
    old: Option<&dyn TableLike>,
    references: References,
) -> Result<InlineTable, SettingFault> {
    table_at(given, old, references, &mut Vec::new())
}

fn table_at(
    given: &Map<String, Json>,
    old: Option<&dyn TableLike>,
    references: References,
    at: &mut Vec<String>,
) -> Result<InlineTable, SettingFault> {
    let mut table = InlineTable::new();
    for (name, json) in given.iter().filter(|(_, json)| !json.is_null()) {
        at.push(name.clone());
        let value = value_at(json, old.and_then(|old| old.get(name)), references, at)?;
        table.insert(name, value);
        at.pop();
    }
    Ok(table)
}

fn value_at(
    json: &Json,
    old: Option<&Item>,
    references: References,
    at: &mut Vec<String>,
) -> Result<Value, SettingFault> {
    let fault = |at: &[String], message: &str| {
        let pointer = at.iter().map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1"))).collect();
        SettingFault { pointer, message: message.to_owned() }
    };
    if at.len() > DEPTH_MAX {
        return Err(fault(at, "nests too deep"));
    }
    Ok(match json {
        Json::Null => return Err(fault(at, "must not be null within a list")),
        Json::Bool(is_so) => Value::from(*is_so),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::from(whole),
            (None, Some(number)) if !json.is_u64() && number.is_finite() => Value::from(number),
            _ => return Err(fault(at, "is too large a number")),
        },
        Json::String(text) if text == REDACTED => {
            plain(old.unwrap_or(&Item::None)).ok_or_else(|| fault(at, "is [redacted], and there is nothing to keep"))?
        }
        Json::String(text) if references == References::Escaped => Value::from(escaped(text)),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(elements) => {
            let mut array = Array::new();
            for (index, element) in elements.iter().enumerate() {
                at.push(index.to_string());
                array.push(value_at(element, old.and_then(|old| old.get(index)), references, at)?);
                at.pop();
            }
            Value::Array(array)
        }
        Json::Object(object) => {
            Value::InlineTable(table_at(object, old.and_then(Item::as_table_like), references, at)?)
        }
    })
}

/// Returns the same value without comments and formatting. None: there is none.
pub(super) fn plain(item: &Item) -> Option<Value> {
    if let Some(table) = item.as_table_like() {
        return Some(Value::InlineTable(plain_table(table)));
    }
    if let Some(tables) = item.as_array_of_tables() {
        return Some(Value::Array(tables.iter().map(|table| Value::InlineTable(plain_table(table))).collect()));
    }
    Some(match item.as_value()? {
        Value::String(text) => Value::from(text.value().as_str()),
        Value::Integer(number) => Value::from(*number.value()),
        Value::Float(number) => Value::from(*number.value()),
        Value::Boolean(is_so) => Value::from(*is_so.value()),
        Value::Datetime(date) => Value::from(*date.value()),
        Value::Array(array) => {
            Value::Array(array.iter().filter_map(|element| plain(&Item::Value(element.clone()))).collect())
        }
        Value::InlineTable(table) => Value::InlineTable(plain_table(table)),
    })
}

fn plain_table(table: &dyn TableLike) -> InlineTable {
    let mut copy = InlineTable::new();
    for (name, item) in table.iter() {
        if let Some(value) = plain(item) {
            copy.insert(name, value);
        }
    }
    copy
}

/// Has a relative path at `key` of every table in a value begin at `directory`. One that begins with a variable stays.
pub(super) fn anchor(value: &mut Value, key: &str, directory: &Path) {
    match value {
        Value::Array(elements) => elements.iter_mut().for_each(|element| anchor(element, key, directory)),
        Value::InlineTable(table) => {
            for (name, value) in table.iter_mut() {
                let path = value.as_str().filter(|path| name.get() == key && !path.starts_with("${"));
                match path.map(|path| directory.join(path).to_string_lossy().into_owned()) {
                    Some(path) => *value = Value::from(path),
                    None => anchor(value, key, directory),
                }
            }
        }
        _ => {}
    }
}

/// Returns what may be shown of settings, as JSON: a text in which something stands for something else is `[redacted]`.
pub(super) fn shown(item: &Item) -> Json {
    match plain(item) {
        Some(value) => shown_value(&value),
        None => Json::Null,
    }
}

fn shown_value(value: &Value) -> Json {
    match value {
        Value::String(text) => unescaped(text.value()).unwrap_or_else(|| REDACTED.to_owned()).into(),
        Value::Integer(number) => (*number.value()).into(),
        Value::Float(number) => (*number.value()).into(),
        Value::Boolean(is_so) => (*is_so.value()).into(),
        Value::Datetime(date) => date.value().to_string().into(),
        Value::Array(elements) => elements.iter().map(shown_value).collect(),
        Value::InlineTable(table) => {
            Json::Object(table.iter().map(|(name, value)| (name.to_owned(), shown_value(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use toml_edit::DocumentMut;

    use super::*;

    fn object(json: Json) -> Map<String, Json> {
        let Json::Object(object) = json else { panic!("an object") };
        object
    }

    fn written(given: Json, old: &str, references: References) -> Result<String, String> {
        let old: DocumentMut = old.parse().unwrap();
        let written = table(&object(given), Some(old.as_table()), references);
        written.map(|table| table.to_string()).map_err(|fault| fault.to_string())
    }

    #[test]
    fn what_somebody_gives_reads_as_what_it_is_and_not_as_a_variable() {
        let given = json!({"a": "${HOME} $${X}", "file": {"file": "/etc/passwd"}});
        let text = written(given.clone(), "", References::Escaped).unwrap();
        assert!(text.contains("$${HOME} $$${X}"), "{text}");
        let back: DocumentMut = format!("x = {text}").parse().unwrap();
        assert_eq!(shown(&back["x"]), given);
        assert_eq!(written(json!({"a": "${HOME}"}), "", References::Meant).unwrap(), "{ a = \"${HOME}\" }");
    }

    #[test]
    fn what_is_redacted_stays_and_a_reference_is_not_shown() {
        let old = "url = \"https://${HOST}/\" # ours\n[deep]\nlist = [\"a\", \"${B}\"]\n";
        let document: DocumentMut = old.parse().unwrap();
        let seen = shown(document.as_item());
        assert_eq!(seen, json!({"url": "[redacted]", "deep": {"list": ["a", "[redacted]"]}}));
        let kept = written(seen, old, References::Escaped).unwrap();
        assert!(kept.contains("https://${HOST}/") && kept.contains("[\"a\", \"${B}\"]"), "{kept}");
        let unknown = written(json!({"new": "[redacted]"}), old, References::Escaped);
        assert_eq!(unknown.unwrap_err(), "settings/new: is [redacted], and there is nothing to keep");
    }

    #[test]
    fn what_toml_cannot_say_is_refused_with_its_place() {
        let deep = (0..40).fold(json!(1), |inner, _| json!({"x": inner}));
        for (given, expected) in [
            (json!({"a": [null]}), "settings/a/0: must not be null within a list"),
            (json!({"a": u64::MAX}), "settings/a: is too large a number"),
            (deep, "nests too deep"),
        ] {
            let said = written(given, "", References::Escaped).unwrap_err();
            assert!(said.ends_with(expected), "{said}");
        }
        assert_eq!(written(json!({"a": null}), "", References::Escaped).unwrap(), "{}");
    }

    #[test]
    fn relative_paths_begin_where_they_were_written() {
        let document: DocumentMut =
            "x = { A = { file = \"a\" }, B = { file = \"/b\" }, C = \"file\" }".parse().unwrap();
        let mut value = plain(&document["x"]).unwrap();
        anchor(&mut value, "file", Path::new("/etc"));
        assert_eq!(value.to_string(), "{ A = { file = \"/etc/a\" }, B = { file = \"/b\" }, C = \"file\" }");
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in any::<String>(), name in "[a-z. \"é]{1,5}") {
            let given = object(json!({name: text}));
            prop_assume!(text != REDACTED);
            let written = table(&given, None, References::Escaped).unwrap();
            let document: DocumentMut = format!("x = {written}").parse().unwrap();
            prop_assert_eq!(shown(&document["x"]), Json::Object(given));
        }
    }
}
