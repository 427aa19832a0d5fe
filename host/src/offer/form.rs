//! Settings as a form, and back: a field for each setting that a schema tells of, or one of JSON where it tells nothing. Pure.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::schema::{Bounds, Group, Property, Schema, SettingFault, Shape, pointer};

/// Longest text of one field, in bytes.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// One field of a form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Field {
    /// Which setting it is, as a JSON Pointer, and the field's name in the form; empty: all settings together, as JSON.
    pub pointer: String,
    /// What people read beside it.
    pub title: String,
    /// More of it.
    pub description: String,
    /// What it takes.
    pub kind: FieldKind,
    /// Whether it must be filled in.
    pub required: bool,
    /// Whether it has a value, be that shown or not.
    pub set: bool,
    /// The value, or the default where there is none; null for a password.
    pub value: Value,
}

/// What a field takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum FieldKind {
    /// A text.
    Text {
        /// Fewest characters.
        min: u64,
        /// Most characters.
        max: Option<u64>,
    },
    /// A text that is never shown. Left empty, it stays as it is.
    Password,
    /// A whole number.
    Whole {
        /// The smallest.
        min: Option<f64>,
        /// The largest.
        max: Option<f64>,
    },
    /// A number.
    Number {
        /// The smallest.
        min: Option<f64>,
        /// The largest.
        max: Option<f64>,
    },
    /// Yes or no.
    Truth,
    /// One of a few values.
    Choice {
        /// The values.
        choices: Vec<Value>,
    },
    /// Several values, one a line.
    List,
    /// Anything, as JSON.
    Json,
}

/// Returns the form of settings that have these values.
pub fn form(schema: &Schema, values: &Map<String, Value>) -> Vec<Field> {
    let mut fields = Vec::new();
    match schema {
        Schema::Fields(group) => group.fields("", "", Some(values), &mut fields),
        Schema::Opaque => fields.push(Field {
            pointer: String::new(),
            title: "Settings".to_owned(),
            description: String::new(),
            kind: FieldKind::Json,
            required: false,
            set: !values.is_empty(),
            value: Value::Object(values.clone()),
        }),
    }
    fields
}

/// Returns the settings that a form was filled in with. `before` are those that were in force: a password that is left empty stays,
/// and so does what the form does not know. A truth that is not among the pairs is false, as browsers send it.
///
/// # Errors
///
/// What is wrong with each field.
pub fn read_form(
    schema: &Schema,
    pairs: &[(String, String)],
    before: &Map<String, Value>,
) -> Result<Map<String, Value>, Vec<SettingFault>> {
    let mut faults = Vec::new();
    let settings = match schema {
        Schema::Fields(group) => group.read("", pairs, before, &mut faults),
        Schema::Opaque => {
            let text = given(pairs, "").unwrap_or("");
            let read = if text.trim().is_empty() { Ok(Map::new()) } else { serde_json::from_str(text) };
            read.unwrap_or_else(|_| {
                let message = "must be JSON of the form {\"name\": value}".to_owned();
                faults.push(SettingFault { pointer: String::new(), message });
                Map::new()
            })
        }
    };
    if faults.is_empty() {
        faults = schema.check(&settings);
    }
    if faults.is_empty() { Ok(settings) } else { Err(faults) }
}

fn given<'p>(pairs: &'p [(String, String)], pointer: &str) -> Option<&'p str> {
    pairs.iter().find(|(name, _)| name == pointer).map(|(_, text)| text.as_str())
}

impl Group {
    fn fields(&self, at: &str, above: &str, values: Option<&Map<String, Value>>, fields: &mut Vec<Field>) {
        for property in &self.properties {
            let pointer = pointer(at, &property.name);
            let own = property.title.as_deref().unwrap_or(&property.name);
            let title = if above.is_empty() { own.to_owned() } else { format!("{above} · {own}") };
            let value = values.and_then(|values| values.get(&property.name));
            match &property.shape {
                Shape::Group(group) => group.fields(&pointer, &title, value.and_then(Value::as_object), fields),
                shape => fields.push(property.field(shape, pointer, title, value)),
            }
        }
    }

    fn read(
        &self,
        at: &str,
        pairs: &[(String, String)],
        before: &Map<String, Value>,
        faults: &mut Vec<SettingFault>,
    ) -> Map<String, Value> {
        let is_known = |name: &String| self.properties.iter().any(|property| property.name == *name);
        let unknown = before.iter().filter(|(name, _)| !is_known(name));
        let mut values: Map<_, _> = unknown.map(|(name, value)| (name.clone(), value.clone())).collect();
        let nothing = Map::new();
        for property in &self.properties {
            let pointer = pointer(at, &property.name);
            let was = before.get(&property.name);
            let value = match &property.shape {
                Shape::Group(group) => {
                    let below = was.and_then(Value::as_object).unwrap_or(&nothing);
                    let read = group.read(&pointer, pairs, below, faults);
                    (!read.is_empty() || property.is_required).then_some(Value::Object(read))
                }
                shape => match shape.read(given(pairs, &pointer), was) {
                    Ok(value) => value,
                    Err(message) => {
                        faults.push(SettingFault { pointer, message: message.to_owned() });
                        None
                    }
                },
            };
            values.extend(value.map(|value| (property.name.clone(), value)));
        }
        values
    }
}

impl Property {
    fn field(&self, shape: &Shape, pointer: String, title: String, value: Option<&Value>) -> Field {
        let kind = match shape {
            Shape::Text { is_password: true, .. } => FieldKind::Password,
            Shape::Text { len_min, len_max, .. } => FieldKind::Text { min: *len_min, max: *len_max },
            Shape::Whole(Bounds { min, max }) => FieldKind::Whole { min: *min, max: *max },
            Shape::Number(Bounds { min, max }) => FieldKind::Number { min: *min, max: *max },
            Shape::Truth => FieldKind::Truth,
            Shape::Choice(choices) => FieldKind::Choice { choices: choices.clone() },
            Shape::List { .. } => FieldKind::List,
            Shape::Group(_) | Shape::Json => FieldKind::Json,
        };
        let shown = value.or(self.default.as_ref()).cloned().filter(|_| kind != FieldKind::Password);
        Field {
            pointer,
            title,
            description: self.description.clone().unwrap_or_default(),
            kind,
            required: self.is_required,
            set: value.is_some(),
            value: shown.unwrap_or_default(),
        }
    }
}

impl Shape {
    /// Reads what was typed. None: there is no such setting.
    fn read(&self, text: Option<&str>, was: Option<&Value>) -> Result<Option<Value>, &'static str> {
        if text.is_some_and(|text| text.len() > TEXT_BYTES_MAX) {
            return Err("is too long");
        }
        let text = text.unwrap_or("");
        match self {
            Self::Truth => return Ok(Some(Value::Bool(matches!(text, "on" | "true" | "1")))),
            Self::Text { is_password: true, .. } if text.is_empty() => return Ok(was.cloned()),
            _ if text.trim().is_empty() => return Ok(None),
            _ => {}
        }
        match self {
            Self::Text { .. } => Ok(Value::String(text.to_owned())),
            Self::Whole(_) => text.trim().parse::<i64>().map(Value::from).map_err(|_| "must be a whole number"),
            Self::Number(_) => {
                let number = text.trim().parse::<f64>().ok().and_then(serde_json::Number::from_f64);
                number.map(Value::Number).ok_or("must be a number")
            }
            Self::Choice(choices) => {
                let is_it = |choice: &&Value| choice.as_str().map_or_else(|| choice.to_string(), str::to_owned) == text;
                choices.iter().find(is_it).cloned().ok_or("must be one of the choices")
            }
            Self::List { element, .. } => {
                let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
                let read = lines.map(|line| element.read(Some(line), None).map(Option::unwrap_or_default));
                read.collect::<Result<Vec<_>, _>>().map(Value::Array)
            }
            Self::Truth | Self::Group(_) | Self::Json => serde_json::from_str(text).map_err(|_| "must be JSON"),
        }
        .map(Some)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn schema() -> Schema {
        let group = json!({"type": "object", "title": "API", "properties": {
            "key": {"type": "string", "format": "password"},
            "url": {"type": "string"},
        }});
        let schema = json!({"type": "object", "required": ["prize"], "properties": {
            "prize": {"type": "string", "title": "Prize", "description": "What is won"},
            "winners": {"type": "integer", "default": 2, "minimum": 1},
            "open": {"type": "boolean"},
            "odds": {"type": "array", "items": {"type": "number"}},
            "mode": {"enum": ["fair", 7]},
            "a/b": group,
        }});
        Schema::read(Some(&schema.to_string()))
    }

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else { panic!("an object") };
        map
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn a_form_has_a_field_a_setting_and_shows_no_password() {
        let values = object(json!({"prize": "car", "a/b": {"key": "s3cret"}}));
        let fields = form(&schema(), &values);
        let shown = serde_json::to_string(&fields).unwrap();
        assert!(!shown.contains("s3cret"), "{shown}");
        let field = |pointer: &str| fields.iter().find(|field| field.pointer == pointer).unwrap();
        assert_eq!((field("/prize").title.as_str(), &field("/prize").value), ("Prize", &json!("car")));
        assert_eq!((field("/winners").set, &field("/winners").value), (false, &json!(2)));
        let key = field("/a~1b/key");
        assert_eq!((key.title.as_str(), &key.kind, key.set), ("API · key", &FieldKind::Password, true));
    }

    #[test]
    fn what_was_typed_is_read_by_its_kind_and_the_rest_stays() {
        let before = object(json!({"prize": "car", "a/b": {"key": "s3cret", "url": "x"}, "other": 1}));
        let typed = [("/prize", "boat"), ("/winners", " 3 "), ("/open", "on"), ("/odds", "0.5\n\n1"), ("/mode", "7")];
        let read = read_form(&schema(), &pairs(&typed), &before).unwrap();
        let expected = json!({
            "prize": "boat", "winners": 3, "open": true, "odds": [0.5, 1.0], "mode": 7, "a/b": {"key": "s3cret"},
            "other": 1,
        });
        assert_eq!(Value::Object(read), expected);
    }

    #[test]
    fn every_field_that_is_wrong_is_told() {
        let typed = [("/winners", "many"), ("/odds", "x"), ("/mode", "other")];
        let faults = read_form(&schema(), &pairs(&typed), &Map::new()).unwrap_err();
        let told: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(told, ["/mode", "/odds", "/winners"]);
        let faults = read_form(&schema(), &pairs(&[("/winners", "0")]), &Map::new()).unwrap_err();
        let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["settings/prize: is missing", "settings/winners: must be at least 1"]);
    }

    #[test]
    fn where_there_is_no_schema_the_settings_are_one_field_of_json() {
        let values = object(json!({"a": 1}));
        let fields = form(&Schema::Opaque, &values);
        assert_eq!((fields.len(), fields[0].pointer.as_str(), &fields[0].value), (1, "", &json!({"a": 1})));
        assert_eq!(
            read_form(&Schema::Opaque, &pairs(&[("", "{\"b\": 2}")]), &values).unwrap(),
            object(json!({"b": 2}))
        );
        assert!(read_form(&Schema::Opaque, &pairs(&[("", "[1]")]), &values).is_err());
        assert!(read_form(&Schema::Opaque, &[], &values).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn what_a_form_shows_is_what_it_reads(
            prize in "[a-z]{1,9}", winners in 1..99_i64, is_open in any::<bool>(), odds in prop::collection::vec(0..9_u8, 0..4),
        ) {
            let odds: Vec<_> = odds.into_iter().map(f64::from).collect();
            let mut values = object(json!({"prize": prize, "winners": winners, "open": is_open}));
            values.extend((!odds.is_empty()).then(|| ("odds".to_owned(), json!(odds))));
            let text = |value: &Value| match value {
                Value::String(text) => text.clone(),
                Value::Array(lines) => lines.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
                other => other.to_string(),
            };
            let fields = form(&schema(), &values);
            let filled: Vec<_> = fields.iter().filter(|field| field.set).map(|field| (field.pointer.clone(), text(&field.value))).collect();
            prop_assert_eq!(read_form(&schema(), &filled, &values).unwrap(), values);
        }
    }
}
