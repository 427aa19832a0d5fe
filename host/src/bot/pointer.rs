//! Values within settings by their JSON Pointer (RFC 6901), through objects only.

use serde_json::{Map, Value};

/// Puts a value to its place; what is in the way and no object makes room.
pub fn put(settings: &mut Map<String, Value>, pointer: &str, value: Value) {
    let mut parts = parts(pointer);
    let Some(last) = parts.pop() else { return };
    let mut at = settings;
    for part in parts {
        let next = at.entry(part).or_insert_with(|| Map::new().into());
        if !next.is_object() {
            *next = Map::new().into();
        }
        let Value::Object(next) = next else { return };
        at = next;
    }
    at.insert(last, value);
}

/// Takes the text that stands at a place, if one does.
pub fn take_text(settings: &mut Map<String, Value>, pointer: &str) -> Option<String> {
    let mut parts = parts(pointer);
    let last = parts.pop()?;
    let mut at = settings;
    for part in parts {
        at = at.get_mut(&part)?.as_object_mut()?;
    }
    match at.get(&last)? {
        Value::String(_) => at.remove(&last)?.as_str().map(str::to_owned),
        _ => None,
    }
}

fn parts(pointer: &str) -> Vec<String> {
    let parts = pointer.strip_prefix('/').into_iter().flat_map(|rest| rest.split('/'));
    parts.map(|part| part.replace("~1", "/").replace("~0", "~")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_put_somewhere_is_taken_from_there() {
        let mut settings = json!({ "a": 1, "b": { "c": 2 } }).as_object().unwrap().clone();
        for pointer in ["/key", "/b/x~1y", "/a/deep/er", ""] {
            put(&mut settings, pointer, "s".into());
        }
        let expected = json!({ "a": { "deep": { "er": "s" } }, "b": { "c": 2, "x/y": "s" }, "key": "s" });
        assert_eq!(Value::Object(settings.clone()), expected);
        for (pointer, taken) in [("/key", true), ("/b/x~1y", true), ("/b/c", false), ("/none/x", false), ("", false)] {
            assert_eq!(take_text(&mut settings, pointer).is_some(), taken, "{pointer}");
        }
        assert_eq!(Value::Object(settings), json!({ "a": { "deep": { "er": "s" } }, "b": { "c": 2 } }));
    }
}
