//! What a bot's settings may be, as far as its JSON Schema says it in the words that are known here. Pure.
//!
//! A schema comes from a component, which nobody trusts: its length, depth and number of fields are bounded, and no pattern of its is
//! ever run. What uses other words is [`Schema::Opaque`]: its settings are shown as JSON, and the bot itself judges them.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

/// Longest schema, in bytes.
const BYTES_MAX: usize = 64 << 10;
/// Most fields, those of groups counted.
const FIELDS_MAX: usize = 200;
/// How deep groups may stand in one another.
const DEPTH_MAX: usize = 8;
/// Most choices of one field.
const CHOICES_MAX: usize = 200;
/// Most mistakes that are told.
const FAULTS_MAX: usize = 50;
/// Words that say something to people or to other programs, and decide nothing here.
const REMARKS: [&str; 10] = [
    "title",
    "description",
    "default",
    "examples",
    "$schema",
    "$id",
    "$comment",
    "readOnly",
    "deprecated",
    // Not run: the text is a stranger's, and so is what it would be run on.
    "pattern",
];

/// What settings may be.
#[derive(Debug, Clone, PartialEq)]
pub enum Schema {
    /// These fields.
    Fields(Group),
    /// Nobody says, or not in words that are known here.
    Opaque,
}

/// Fields that stand together.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    pub(super) properties: Vec<Property>,
    /// Whether there may be others beside.
    is_closed: bool,
}

/// One field.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Property {
    pub(super) name: String,
    pub(super) title: Option<String>,
    pub(super) description: Option<String>,
    pub(super) is_required: bool,
    pub(super) default: Option<Value>,
    pub(super) shape: Shape,
}

/// What the value of a field may be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    Text {
        len_min: u64,
        len_max: Option<u64>,
        is_password: bool,
    },
    Whole(Bounds),
    Number(Bounds),
    Truth,
    Choice(Vec<Value>),
    List {
        element: Box<Shape>,
        len_min: u64,
        len_max: Option<u64>,
    },
    Group(Group),
    /// Something said in other words.
    Json,
}

/// From where to where, both included.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Bounds {
    /// The smallest.
    pub min: Option<f64>,
    /// The largest.
    pub max: Option<f64>,
}

/// What is wrong with one setting. Never repeats the value.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct SettingFault {
    /// Where, as a JSON Pointer; empty: the settings as a whole.
    pub pointer: String,
    /// What is wrong, for people.
    pub message: String,
}

/// What is said of a setting that must be there and is not.
const MISSING: &str = "is missing";

impl SettingFault {
    /// Returns whether it is that a setting is not there.
    pub fn is_missing(&self) -> bool {
        self.message == MISSING
    }
}

impl fmt::Display for SettingFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pointer.as_str() {
            "" => write!(f, "settings: {}", self.message),
            pointer => write!(f, "settings{pointer}: {}", self.message),
        }
    }
}

impl Schema {
    /// Reads a schema. What cannot be made use of is opaque.
    pub fn read(text: Option<&str>) -> Self {
        let read = text.filter(|text| text.len() <= BYTES_MAX).and_then(|text| serde_json::from_str(text).ok());
        let Some(Value::Object(schema)) = read else { return Self::Opaque };
        group(&schema, 0, &mut 0).map_or(Self::Opaque, Self::Fields)
    }

    /// Returns settings in which `[redacted]` stands for each password.
    pub fn without_passwords(&self, mut settings: Map<String, Value>) -> Map<String, Value> {
        if let Self::Fields(group) = self {
            group.redact(&mut settings);
        }
        settings
    }

    /// Takes the passwords out of settings, each by its JSON Pointer.
    pub fn take_passwords(&self, settings: &mut Map<String, Value>) -> BTreeMap<String, String> {
        let mut taken = BTreeMap::new();
        if let Self::Fields(group) = self {
            group.take_passwords(settings, "", &mut taken);
        }
        taken
    }

    /// Returns what is wrong with settings.
    pub fn check(&self, settings: &Map<String, Value>) -> Vec<SettingFault> {
        let mut faults = Vec::new();
        if let Self::Fields(group) = self {
            group.check(settings, "", &mut faults);
        }
        faults.truncate(FAULTS_MAX);
        faults
    }
}

/// Reads the fields of an object; nothing where it is said in words that are not known.
fn group(schema: &Map<String, Value>, depth: usize, count: &mut usize) -> Option<Group> {
    let known = ["type", "properties", "required", "additionalProperties"];
    let is_object = schema.get("type").is_none_or(|kind| kind == "object");
    if depth > DEPTH_MAX || !is_object || !schema.keys().all(|key| is_known(key, &known)) {
        return None;
    }
    let is_closed = match schema.get("additionalProperties") {
        None | Some(Value::Bool(true)) => false,
        Some(Value::Bool(false)) => true,
        Some(_) => return None,
    };
    let empty = Map::new();
    let properties = schema.get("properties").map_or(Some(&empty), Value::as_object)?;
    let required = match schema.get("required") {
        None => Vec::new(),
        Some(names) => names.as_array()?.iter().map(Value::as_str).collect::<Option<Vec<_>>>()?,
    };
    *count += properties.len();
    if *count > FIELDS_MAX || required.iter().any(|name| !properties.contains_key(*name)) {
        return None;
    }
    let mut read = Vec::with_capacity(properties.len());
    for (name, schema) in properties {
        let text = |key: &str| Some(schema.get(key)?.as_str()?.to_owned());
        read.push(Property {
            name: name.clone(),
            title: text("title"),
            description: text("description"),
            is_required: required.contains(&name.as_str()),
            default: schema.get("default").cloned(),
            shape: schema.as_object().and_then(|schema| shape(schema, depth + 1, count)).unwrap_or(Shape::Json),
        });
        if *count > FIELDS_MAX {
            return None;
        }
    }
    Some(Group { properties: read, is_closed })
}

fn is_known(key: &str, known: &[&str]) -> bool {
    known.contains(&key) || REMARKS.contains(&key)
}

/// Reads what one field may be; nothing where it is said in words that are not known.
fn shape(schema: &Map<String, Value>, depth: usize, count: &mut usize) -> Option<Shape> {
    if depth > DEPTH_MAX {
        return None;
    }
    let only = |known: &[&str]| schema.keys().all(|key| is_known(key, known)).then_some(());
    if let Some(choices) = schema.get("enum") {
        only(&["type", "enum"])?;
        let choices = choices.as_array()?.clone();
        let are_plain = choices.iter().all(|choice| choice.is_string() || choice.is_number() || choice.is_boolean());
        return (are_plain && (1..=CHOICES_MAX).contains(&choices.len())).then_some(Shape::Choice(choices));
    }
    let size = |key: &str| schema.get(key).map_or(Some(None), |size| size.as_u64().map(Some));
    let bound = |key: &str| schema.get(key).map_or(Some(None), |bound| bound.as_f64().map(Some));
    match schema.get("type")?.as_str()? {
        "string" => {
            only(&["type", "minLength", "maxLength", "format", "writeOnly"])?;
            let is_hidden = schema.get("writeOnly").is_some_and(|is_hidden| *is_hidden == Value::Bool(true));
            let is_password = is_hidden || schema.get("format").is_some_and(|format| format == "password");
            Some(Shape::Text { len_min: size("minLength")?.unwrap_or(0), len_max: size("maxLength")?, is_password })
        }
        kind @ ("integer" | "number") => {
            only(&["type", "minimum", "maximum", "format"])?;
            let bounds = Bounds { min: bound("minimum")?, max: bound("maximum")? };
            Some(if kind == "integer" { Shape::Whole(bounds) } else { Shape::Number(bounds) })
        }
        "boolean" => only(&["type"]).map(|()| Shape::Truth),
        "array" => {
            only(&["type", "items", "minItems", "maxItems"])?;
            let element = shape(schema.get("items")?.as_object()?, depth + 1, count)?;
            let is_plain = !matches!(element, Shape::List { .. } | Shape::Group(_) | Shape::Json);
            let (len_min, len_max) = (size("minItems")?.unwrap_or(0), size("maxItems")?);
            is_plain.then(|| Shape::List { element: Box::new(element), len_min, len_max })
        }
        "object" => group(schema, depth, count).map(Shape::Group),
        _ => None,
    }
}

impl Group {
    fn take_passwords(&self, values: &mut Map<String, Value>, at: &str, taken: &mut BTreeMap<String, String>) {
        for property in &self.properties {
            let pointer = pointer(at, &property.name);
            match (&property.shape, values.get_mut(&property.name)) {
                (Shape::Text { is_password: true, .. }, Some(Value::String(text))) => {
                    taken.insert(pointer, std::mem::take(text));
                    values.remove(&property.name);
                }
                (Shape::Group(group), Some(Value::Object(values))) => group.take_passwords(values, &pointer, taken),
                _ => {}
            }
        }
    }

    fn redact(&self, values: &mut Map<String, Value>) {
        for property in &self.properties {
            match (&property.shape, values.get_mut(&property.name)) {
                (Shape::Text { is_password: true, .. }, Some(value)) => *value = "[redacted]".into(),
                (Shape::Group(group), Some(Value::Object(values))) => group.redact(values),
                _ => {}
            }
        }
    }

    fn check(&self, values: &Map<String, Value>, at: &str, faults: &mut Vec<SettingFault>) {
        for property in &self.properties {
            let pointer = pointer(at, &property.name);
            match values.get(&property.name) {
                Some(value) => property.shape.check(value, &pointer, faults),
                None if property.is_required => {
                    faults.push(SettingFault { pointer, message: MISSING.to_owned() });
                }
                None => {}
            }
        }
        let is_known = |name: &str| self.properties.iter().any(|property| property.name == name);
        for name in values.keys().filter(|name| self.is_closed && !is_known(name)) {
            let names: Vec<_> = self.properties.iter().map(|property| property.name.as_str()).collect();
            let message = match crate::document::nearest(name, &names) {
                Some(near) => format!("there is no such setting; did you mean `{near}`?"),
                None => "there is no such setting".to_owned(),
            };
            faults.push(SettingFault { pointer: pointer(at, name), message });
        }
    }
}

impl Shape {
    fn check(&self, value: &Value, at: &str, faults: &mut Vec<SettingFault>) {
        if let Self::Group(group) = self
            && let Value::Object(values) = value
        {
            return group.check(values, at, faults);
        }
        if let (Self::List { element, .. }, Value::Array(values)) = (self, value) {
            for (index, value) in values.iter().enumerate().take(FAULTS_MAX) {
                element.check(value, &pointer(at, &index.to_string()), faults);
            }
        }
        if let Err(message) = self.judge(value) {
            faults.push(SettingFault { pointer: at.to_owned(), message });
        }
    }

    /// Judges a value by itself.
    fn judge(&self, value: &Value) -> Result<(), String> {
        match (self, value) {
            (Self::Text { len_min, len_max, .. }, Value::String(text)) => {
                within(text.chars().count(), *len_min, *len_max, "characters")
            }
            (Self::Text { .. }, _) => Err("must be a text".to_owned()),
            (Self::Whole(bounds), Value::Number(number)) if number.is_i64() || number.is_u64() => bounds.judge(number),
            (Self::Whole(_), _) => Err("must be a whole number".to_owned()),
            (Self::Number(bounds), Value::Number(number)) => bounds.judge(number),
            (Self::Number(_), _) => Err("must be a number".to_owned()),
            (Self::Truth, Value::Bool(_)) | (Self::Json, _) => Ok(()),
            (Self::Truth, _) => Err("must be true or false".to_owned()),
            (Self::Choice(choices), value) if choices.contains(value) => Ok(()),
            (Self::Choice(choices), _) => {
                let shown: Vec<_> = choices.iter().take(16).map(ToString::to_string).collect();
                Err(format!("must be one of {}", shown.join(", ")))
            }
            (Self::List { len_min, len_max, .. }, Value::Array(values)) => {
                within(values.len(), *len_min, *len_max, "elements")
            }
            (Self::List { .. }, _) => Err("must be a list".to_owned()),
            (Self::Group(_), _) => Err("must be a group of settings".to_owned()),
        }
    }
}

impl Bounds {
    fn judge(&self, number: &serde_json::Number) -> Result<(), String> {
        let number = number.as_f64().unwrap_or(f64::NAN);
        match (self.min, self.max) {
            (Some(min), _) if number < min => Err(format!("must be at least {min}")),
            (_, Some(max)) if number > max => Err(format!("must be at most {max}")),
            _ => Ok(()),
        }
    }
}

fn within(len: usize, min: u64, max: Option<u64>, what: &str) -> Result<(), String> {
    let len = len as u64;
    if len < min {
        return Err(format!("must have at least {min} {what}"));
    }
    match max {
        Some(max) if len > max => Err(format!("must have at most {max} {what}")),
        _ => Ok(()),
    }
}

/// Returns the JSON Pointer of a name below another.
pub(super) fn pointer(at: &str, name: &str) -> String {
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    pub(in crate::offer) fn lottery() -> String {
        json!({
            "type": "object",
            "required": ["prize"],
            "additionalProperties": false,
            "properties": {
                "prize": {"type": "string", "minLength": 1, "maxLength": 10, "title": "Prize", "pattern": "(a+)+$"},
                "winners": {"type": "integer", "minimum": 1, "maximum": 5, "default": 1},
                "odds": {"type": "number", "maximum": 0.5},
                "open": {"type": "boolean"},
                "mode": {"enum": ["fair", "first"]},
                "admins": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
                "api": {"type": "object", "properties": {"key": {"type": "string", "format": "password"}}},
                "odd": {"oneOf": []},
            },
        })
        .to_string()
    }

    #[track_caller]
    fn check(settings: Value, expected: &[&str]) {
        let Value::Object(settings) = settings else { panic!("an object") };
        let faults = Schema::read(Some(&lottery())).check(&settings);
        assert_eq!(faults.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn settings_are_judged_field_by_field() {
        check(json!({"prize": "car", "winners": 5, "odds": 0.5, "open": true, "mode": "fair", "odd": {"x": []}}), &[]);
        check(json!({}), &["settings/prize: is missing"]);
        check(json!({"prize": ""}), &["settings/prize: must have at least 1 characters"]);
        check(json!({"prize": "x".repeat(11)}), &["settings/prize: must have at most 10 characters"]);
        check(json!({"prize": 7}), &["settings/prize: must be a text"]);
        check(json!({"prize": "x", "winners": 1.5}), &["settings/winners: must be a whole number"]);
        check(json!({"prize": "x", "winners": 0}), &["settings/winners: must be at least 1"]);
        check(json!({"prize": "x", "odds": 1}), &["settings/odds: must be at most 0.5"]);
        check(json!({"prize": "x", "mode": "rigged"}), &["settings/mode: must be one of \"fair\", \"first\""]);
        check(json!({"prize": "x", "admins": ["a", 1]}), &["settings/admins/1: must be a text"]);
        check(json!({"prize": "x", "admins": ["a", "b", "c"]}), &["settings/admins: must have at most 2 elements"]);
        check(json!({"prize": "x", "api": {"key": 1}}), &["settings/api/key: must be a text"]);
        check(
            json!({"prize": "x", "winner": 1}),
            &["settings/winner: there is no such setting; did you mean `winners`?"],
        );
    }

    #[test]
    fn f102_what_is_not_known_or_too_large_is_opaque_and_blows_nothing_up() {
        let deep =
            (0..40).fold(json!({"type": "string"}), |inner, _| json!({"type": "object", "properties": {"x": inner}}));
        let fields: Map<_, _> = (0..201).map(|n| (n.to_string(), json!({"type": "string"}))).collect();
        // Few at each level, and many in all.
        let leaves: Map<_, _> = (0..100).map(|n| (n.to_string(), json!({"type": "boolean"}))).collect();
        let group = json!({"type": "object", "properties": leaves});
        let many = json!({"type": "object", "properties": {"a": group, "b": group, "c": group}});
        for opaque in [
            String::new(),
            "[]".to_owned(),
            "[".repeat(100_000),
            json!({"$ref": "#"}).to_string(),
            json!({"type": "object", "required": ["x"]}).to_string(),
            json!({"type": "object", "properties": fields}).to_string(),
            many.to_string(),
            format!("{{\"title\": \"{}\"}}", "x".repeat(70_000)),
        ] {
            assert_eq!(Schema::read(Some(&opaque)), Schema::Opaque, "{}", &opaque[..opaque.len().min(80)]);
        }
        assert_eq!(Schema::read(None), Schema::Opaque);
        // What nests too deep is one field of JSON, where it begins to.
        assert!(matches!(Schema::read(Some(&deep.to_string())), Schema::Fields(_)));
    }

    proptest! {
        #[test]
        fn no_schema_and_no_settings_panic(schema in "[\\[\\]{}:,\"a-z0-9]{0,60}", settings in "[\\[\\]{}:,\"a-z0-9]{0,60}") {
            let settings = serde_json::from_str(&settings).unwrap_or_default();
            let _ = Schema::read(Some(&schema)).check(&settings);
            let _ = Schema::read(Some(&lottery())).check(&settings);
        }
    }
}
