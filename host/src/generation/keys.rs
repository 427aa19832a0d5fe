//! One key of a TOML text: found, set, removed. Comments, order and formatting stay. Pure; knows no key by name.

use toml_edit::{DocumentMut, Item, Key, Table, TableLike, Value};

use crate::document::{is_too_deep, nearest};

/// Longest key and value, in bytes.
const BYTES_MAX: usize = 64 << 10;
/// Most parts of a key.
const PARTS_MAX: usize = 32;

/// Why a key cannot be set, removed or shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is no key.
    #[error("`{0}` is no key: write such as limits.memory, and bots.\"a.b\".enabled where a name has dots")]
    NoKey(String),
    /// The text is no TOML.
    #[error("the text is no TOML: {0}")]
    NoToml(String),
    /// It leads through what is no table.
    #[error("`{0}` is no table, and so has no keys")]
    NoTable(String),
    /// It is a table, and a value was given.
    #[error("`{0}` is a table: set one of its keys")]
    IsTable(String),
    /// It is not there.
    #[error("`{key}` is not set{}", near.as_ref().map_or(String::new(), |near| format!("; did you mean `{near}`?")))]
    NotSet {
        /// The key.
        key: String,
        /// A key that is there and is like it.
        near: Option<String>,
    },
    /// Key or value is too long.
    #[error("a key or a value has at most 64 KiB, and a key {PARTS_MAX} parts")]
    TooLong,
    /// Text or value nests too deep.
    #[error("the text, or the value, nests too deep")]
    TooDeep,
}

/// Reads a dotted key.
pub(super) fn parse(key: &str) -> Result<Vec<String>, KeyError> {
    if key.len() > BYTES_MAX {
        return Err(KeyError::TooLong);
    }
    if key.matches('.').count() >= PARTS_MAX {
        return Err(KeyError::TooLong);
    }
    let keys = Key::parse(key).map_err(|_| KeyError::NoKey(key.escape_debug().to_string()))?;
    Ok(keys.iter().map(|key| key.get().to_owned()).collect())
}

/// Returns a key as it is written.
pub(super) fn join(path: &[impl AsRef<str>]) -> String {
    path.iter().map(|key| Key::new(key.as_ref()).to_string()).collect::<Vec<_>>().join(".")
}

/// Reads a value: as TOML where it is TOML, as a string otherwise.
fn value(text: &str) -> Result<Value, KeyError> {
    if text.len() > BYTES_MAX {
        return Err(KeyError::TooLong);
    }
    if is_too_deep(text) {
        return Err(KeyError::TooDeep);
    }
    let mut value = text.trim().parse::<Value>().unwrap_or_else(|_| Value::from(text));
    value.decor_mut().clear();
    Ok(value)
}

/// Puts a value in the place of another, with what stands around that one.
pub(super) fn replace(old: &mut Value, new: Value) {
    let (prefix, suffix) = (old.decor().prefix().cloned(), old.decor().suffix().cloned());
    *old = new;
    let decor = old.decor_mut();
    match prefix {
        Some(prefix) => decor.set_prefix(prefix),
        None => decor.set_prefix(" "),
    }
    match suffix {
        Some(suffix) => decor.set_suffix(suffix),
        None => decor.set_suffix(""),
    }
}

/// Parses a text that may be anything.
pub(super) fn document(text: &str) -> Result<DocumentMut, KeyError> {
    if is_too_deep(text) {
        return Err(KeyError::TooDeep);
    }
    text.parse().map_err(|error: toml_edit::TomlError| KeyError::NoToml(error.message().to_owned()))
}

/// Returns a text in which a key has a value.
pub(super) fn set(text: &str, path: &[String], given: &str) -> Result<String, KeyError> {
    let mut document = document(text)?;
    let new = value(given)?;
    let (last, tables) = path.split_last().ok_or_else(|| KeyError::NoKey(String::new()))?;
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for (depth, key) in tables.iter().enumerate() {
        if !table.contains_key(key) {
            // A table of nothing but tables needs no head of its own.
            let mut made = Table::new();
            made.set_implicit(depth + 1 < tables.len());
            table.insert(key, Item::Table(made));
        }
        let next = table.get_mut(key).and_then(Item::as_table_like_mut);
        table = next.ok_or_else(|| KeyError::NoTable(join(&path[..=depth])))?;
    }
    match table.get_mut(last) {
        None => drop(table.insert(last, Item::Value(new))),
        Some(Item::Value(old)) if !old.is_inline_table() || new.is_inline_table() => replace(old, new),
        Some(_) => return Err(KeyError::IsTable(join(path))),
    }
    Ok(document.to_string())
}

/// Returns a text in which a key is not.
pub(super) fn unset(text: &str, path: &[String]) -> Result<String, KeyError> {
    let mut document = document(text)?;
    find(document.as_item(), path)?;
    let (last, tables) = path.split_last().ok_or_else(|| KeyError::NoKey(String::new()))?;
    let table = tables.iter().try_fold(document.as_item_mut(), |item, key| item.get_mut(key.as_str()));
    match table {
        // The space before a closing brace belongs to the value before it.
        Some(Item::Value(Value::InlineTable(table))) => {
            table.remove(last);
            table.fmt();
        }
        Some(table) => drop(table.as_table_like_mut().and_then(|table| table.remove(last))),
        None => {}
    }
    Ok(document.to_string())
}

/// Returns what a text says of a dotted key, as TOML.
///
/// # Errors
///
/// It says nothing, or the key is none.
pub(super) fn get(text: &str, key: &str) -> Result<String, KeyError> {
    let path = parse(key)?;
    let document = document(text)?;
    Ok(match find(document.as_item(), &path)? {
        Item::Value(value) => value.clone().decorated("", "").to_string(),
        Item::Table(table) => table.to_string().trim().to_owned(),
        other => other.to_string().trim().to_owned(),
    })
}

fn find<'d>(root: &'d Item, path: &[String]) -> Result<&'d Item, KeyError> {
    let mut item = root;
    for (depth, key) in path.iter().enumerate() {
        let table = item.as_table_like().ok_or_else(|| KeyError::NoTable(join(&path[..depth])))?;
        item = table.get(key).ok_or_else(|| {
            let there: Vec<_> = table.iter().map(|(key, _)| key).collect();
            let near = nearest(key, &there).map(|near| join(&[&path[..depth], &[near.to_owned()]].concat()));
            KeyError::NotSet { key: join(path), near }
        })?;
    }
    Ok(item)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "\
# The whole host.
[limits]
memory = \"64MiB\"   # enough
in_flight = 4

[bots.\"a.b\"] # dots
enabled = true
secrets = { A = \"1\", B = \"2\" }
";

    #[track_caller]
    fn check(key: &str, value: Option<&str>, change: Result<(&str, &str), &str>) {
        let path = parse(key).unwrap();
        let result = match value {
            Some(value) => set(TEXT, &path, value),
            None => unset(TEXT, &path),
        };
        match change {
            Ok((from, to)) => {
                assert!(TEXT.contains(from), "{from}");
                assert_eq!(result.unwrap(), TEXT.replace(from, to));
            }
            Err(said) => assert_eq!(result.unwrap_err().to_string(), said),
        }
    }

    #[test]
    fn only_the_value_changes() {
        check("limits.memory", Some("128MiB"), Ok(("\"64MiB\"   # enough", "\"128MiB\"   # enough")));
        check("limits.in_flight", Some("8"), Ok(("in_flight = 4", "in_flight = 8")));
        check("bots.\"a.b\".enabled", Some("false"), Ok(("enabled = true", "enabled = false")));
        check("bots.\"a.b\".secrets.B", Some("\"3\""), Ok(("B = \"2\"", "B = \"3\"")));
        check("bots.\"a.b\".secrets", Some("{ C = \"4\" }"), Ok(("{ A = \"1\", B = \"2\" }", "{ C = \"4\" }")));
        check("limits.memory", Some("two words"), Ok(("\"64MiB\"", "\"two words\"")));
    }

    #[test]
    fn what_is_not_there_is_added_at_its_place() {
        check("limits.state", Some("8MiB"), Ok(("in_flight = 4\n", "in_flight = 4\nstate = \"8MiB\"\n")));
        check(
            "bots.c.settings.list",
            Some("[1, 2]"),
            Ok(("B = \"2\" }\n", "B = \"2\" }\n\n[bots.c.settings]\nlist = [1, 2]\n")),
        );
        assert_eq!(set("", &parse("queue.keep").unwrap(), "7").unwrap(), "[queue]\nkeep = 7\n");
    }

    #[test]
    fn what_is_removed_leaves_the_rest() {
        check("limits.in_flight", None, Ok(("in_flight = 4\n", "")));
        check("bots.\"a.b\".secrets.B", None, Ok((", B = \"2\" }", " }")));
        check("limits.in_flght", None, Err("`limits.in_flght` is not set; did you mean `limits.in_flight`?"));
        check("queue.keep", None, Err("`queue.keep` is not set"));
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_key() {
        check("limits.memory.x", Some("1"), Err("`limits.memory` is no table, and so has no keys"));
        check("limits", Some("1"), Err("`limits` is a table: set one of its keys"));
        check("bots.\"a.b\".secrets", Some("1"), Err("`bots.\"a.b\".secrets` is a table: set one of its keys"));
        assert!(matches!(parse("a..b"), Err(KeyError::NoKey(_))));
        assert!(matches!(parse(""), Err(KeyError::NoKey(_))));
        let long = format!("{{ {}x = 1 }}", "a.".repeat(10_000));
        for deep in ["[".repeat(10_000), long] {
            assert_eq!(set("", &parse("a").unwrap(), &deep), Err(KeyError::TooDeep));
            assert_eq!(set(&deep, &parse("a").unwrap(), "1"), Err(KeyError::TooDeep));
        }
        assert_eq!(parse(&"a.".repeat(10_000)), Err(KeyError::TooLong));
    }

    proptest! {
        #[test]
        fn what_is_set_is_what_is_there_and_the_rest_stays(
            path in prop::collection::vec("[a-c. \"é]{1,3}", 1..4),
            value in any::<String>(),
        ) {
            let Ok(text) = set(TEXT, &path, &value) else { return Ok(()) };
            let shown = get(&text, &join(&path)).unwrap();
            prop_assert!(shown.parse::<Value>().is_ok(), "{}", shown);
            prop_assert_eq!(set(&text, &path, &shown).unwrap(), text.clone());
            for line in TEXT.lines() {
                prop_assert!(text.contains(line), "{}", line);
            }
        }
    }

    #[test]
    fn a_key_is_shown_as_it_stands() {
        for (key, shown) in [
            ("limits.memory", "\"64MiB\""),
            ("bots.\"a.b\".enabled", "true"),
            ("bots.\"a.b\".secrets", "{ A = \"1\", B = \"2\" }"),
            ("limits", "memory = \"64MiB\"   # enough\nin_flight = 4"),
        ] {
            assert_eq!(get(TEXT, key).unwrap(), shown);
        }
        assert!(get(TEXT, "limits.memroy").unwrap_err().to_string().ends_with("did you mean `limits.memory`?"));
    }
}
