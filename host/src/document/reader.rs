//! Reads a parsed text into whatever derives `Deserialize`, and keeps the place of what cannot be read. Beyond what TOML offers:
//!
//! - The key `type` of a table comes first, wherever it stands, so that the rest can be read as what it says.
//! - Strings are filled in from the environment; a [`Secret`] may also come from a file, and is never empty.
//! - An [`At`] also gets the place of its value.
//! - A date reads as the string that it is written as.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::de::value::{StrDeserializer, StringDeserializer};
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use toml::Spanned;
use toml::de::{DeArray, DeFloat, DeInteger, DeString, DeTable, DeValue};

use crate::secret::Secret;

use super::fault::Fault;
use super::{At, Document, Literal, fill};

/// The key that says what the rest of its table is.
const KIND: &str = "type";

/// One value of a document, about to be read.
#[derive(Clone, Copy)]
pub(super) struct Reader<'r, 't> {
    document: &'r Document<'t>,
    /// First bytes of the entries and elements to leave out.
    skipped: &'r BTreeSet<usize>,
    value: &'r DeValue<'t>,
    at: usize,
    end: usize,
}

impl<'r, 't> Reader<'r, 't> {
    /// Returns a reader of the whole document that leaves out what begins at `skipped`.
    pub(super) fn new(document: &'r Document<'t>, skipped: &'r BTreeSet<usize>) -> Self {
        Self { document, skipped, value: &document.root, at: 0, end: document.text.len() }
    }

    fn of(self, value: &'r Spanned<DeValue<'t>>) -> Self {
        let span = value.span();
        Self { value: value.get_ref(), at: span.start, end: span.end, ..self }
    }

    /// Has `read` make something of a string; if it cannot, nothing that was filled in shows.
    fn filled<V>(self, raw: &str, read: impl FnOnce(&str) -> Result<V, Fault>) -> Result<V, Fault> {
        // What a variable holds is not looked into again.
        if self.document.overrides.contain(self.at) {
            return read(raw);
        }
        let variable = |name: &str| {
            let value = self.document.variables.get(name)?;
            value.to_str().into_iter().for_each(|text| self.hide(text));
            Some(value.to_owned())
        };
        match fill::fill(raw, &variable).map_err(Fault::other)? {
            Cow::Borrowed(text) => read(text),
            Cow::Owned(text) => read(&text).map_err(|fault| fault.hide(raw)),
        }
    }

    fn hide(self, text: &str) {
        let secret = Secret::new(text);
        let mut hidden = self.document.hidden.borrow_mut();
        if !text.is_empty() && !hidden.contains(&secret) {
            hidden.push(secret);
        }
    }

    /// Returns what was written for a number, a truth value or a date that an override holds, which may be meant as a text.
    fn written(self) -> Option<&'t str> {
        let is_text = matches!(self.value, DeValue::String(_) | DeValue::Array(_) | DeValue::Table(_));
        if is_text { None } else { self.document.overrides.written(self.at) }
    }

    /// Returns the text of a secret.
    fn secret(self) -> Result<String, Fault> {
        let text = self.secret_text()?;
        if text.is_empty() {
            return Err(Fault::other("a secret must not be empty"));
        }
        if self.document.overrides.contain(self.at) {
            self.hide(&text);
        }
        Ok(text)
    }

    fn secret_text(self) -> Result<String, Fault> {
        if let Some(text) = self.written() {
            return Ok(text.to_owned());
        }
        match self.value {
            DeValue::String(raw) => {
                if !fill::is_reference(raw) {
                    let literal = Literal { end: self.end, secret: Secret::new(raw.as_ref()) };
                    self.document.literals.borrow_mut().insert(self.at, literal);
                }
                self.filled(raw, |text| Ok(text.to_owned()))
            }
            DeValue::Table(table) => match table.get("file").map(Spanned::get_ref) {
                Some(DeValue::String(file)) if table.len() == 1 => self.secret_file(file),
                _ => Err(Fault::mismatch("another table", "a string or `{ file = \"PATH\" }`")),
            },
            other => Err(Fault::mismatch(kind(other), "a string or `{ file = \"PATH\" }`")),
        }
    }

    fn secret_file(self, raw: &str) -> Result<String, Fault> {
        if let Some(text) = self.document.in_place_of_files {
            return Ok(text.to_owned());
        }
        let path: PathBuf = self.filled(raw, |file| Ok(self.document.directory().join(file)))?;
        let file = fill::read_secret(&path).map_err(|error| {
            Fault::other(format_args!("the secret's file `{}` cannot be read: {error}", path.display()))
        })?;
        self.hide(&file.text);
        if file.is_exposed {
            let warning =
                format!("others than its owner may read the secret's file `{0}`; `chmod 600 {0}`", path.display());
            self.document.warnings.borrow_mut().insert(self.at, warning);
        }
        Ok(file.text)
    }

    fn table<'de, V: Visitor<'de>>(self, table: &'r DeTable<'t>, visitor: V) -> Result<V::Value, Fault> {
        let (mut entries, left_out): (Vec<_>, Vec<_>) =
            table.iter().partition(|(key, _)| !self.skipped.contains(&key.span().start));
        entries.sort_by_key(|(key, _)| (key.get_ref() != KIND, key.span().start));
        visitor.visit_map(Entries { reader: self, entries: entries.into_iter(), value: None }).map_err(|mut fault| {
            // Of a table that was not read whole nobody can say what it lacks.
            fault.is_echo |= fault.at.is_none() && !left_out.is_empty();
            fault.at(self.at)
        })
    }

    fn array<'de, V: Visitor<'de>>(self, array: &'r DeArray<'t>, visitor: V) -> Result<V::Value, Fault> {
        let elements: Vec<_> = array.iter().filter(|element| !self.skipped.contains(&element.span().start)).collect();
        let is_whole = elements.len() == array.len();
        visitor.visit_seq(Elements { reader: self, elements: elements.into_iter() }).map_err(|mut fault| {
            fault.is_echo |= fault.at.is_none() && !is_whole;
            fault.at(self.at)
        })
    }
}

impl<'de> Deserializer<'de> for Reader<'_, '_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            DeValue::String(raw) => self.filled(raw, |text| visitor.visit_str(text)),
            DeValue::Integer(number) => integer(number, visitor),
            DeValue::Float(number) => float(number, visitor),
            DeValue::Boolean(is_true) => visitor.visit_bool(*is_true),
            DeValue::Datetime(date) => visitor.visit_str(&date.to_string()),
            DeValue::Array(array) => self.array(array, visitor),
            DeValue::Table(table) => self.table(table, visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.written() {
            Some(text) => visitor.visit_str(text),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        if name != Secret::SERDE_NAME {
            return visitor.visit_newtype_struct(self);
        }
        visitor.visit_newtype_struct(StringDeserializer::new(self.secret()?))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.value {
            DeValue::Table(table) => self.table(table, visitor),
            // What derives `Deserialize` would also take an array, and give its keys their values by order.
            other => Err(Fault::mismatch(kind(other), "a table")),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if name == At::<()>::SERDE_NAME { visitor.visit_seq(Pair::Place(self)) } else { self.deserialize_any(visitor) }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.value {
            DeValue::String(raw) => self.filled(raw, |text| visitor.visit_enum(text.into_deserializer())),
            other => {
                let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
                Err(Fault::mismatch(kind(other), words.join(" or ")))
            }
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple map identifier
        ignored_any
    }
}

fn integer<'de, V: Visitor<'de>>(number: &DeInteger<'_>, visitor: V) -> Result<V::Value, Fault> {
    if let Ok(number) = i64::from_str_radix(number.as_str(), number.radix()) {
        return visitor.visit_i64(number);
    }
    match u64::from_str_radix(number.as_str(), number.radix()) {
        Ok(number) => visitor.visit_u64(number),
        Err(_) => Err(Fault::other("the number does not fit 64 bits")),
    }
}

fn float<'de, V: Visitor<'de>>(number: &DeFloat<'_>, visitor: V) -> Result<V::Value, Fault> {
    match number.as_str().parse::<f64>() {
        // JSON has neither infinity nor a number that is none, and would make them null without a word.
        Ok(number) if number.is_finite() => visitor.visit_f64(number),
        _ => Err(Fault::other("must be a finite number")),
    }
}

/// Returns what a value is, in the words of messages.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

type Entry<'r, 't> = (&'r Spanned<DeString<'t>>, &'r Spanned<DeValue<'t>>);

/// The entries of a table that are read.
struct Entries<'r, 't> {
    reader: Reader<'r, 't>,
    entries: std::vec::IntoIter<Entry<'r, 't>>,
    value: Option<Entry<'r, 't>>,
}

impl<'de> MapAccess<'de> for Entries<'_, '_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some(entry) = self.entries.next() else { return Ok(None) };
        self.value = Some(entry);
        let (key, start) = (entry.0.get_ref(), entry.0.span().start);
        seed.deserialize(StrDeserializer::new(key)).map(Some).map_err(|fault: Fault| fault.at(start).within(start))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let (key, value) = self.value.take().ok_or_else(|| Fault::mismatch("nothing", "a value"))?;
        let reader = self.reader.of(value);
        seed.deserialize(reader).map_err(|fault| fault.at(reader.at).within(key.span().start))
    }
}

/// The elements of an array that are read.
struct Elements<'r, 't> {
    reader: Reader<'r, 't>,
    elements: std::vec::IntoIter<&'r Spanned<DeValue<'t>>>,
}

impl<'de> SeqAccess<'de> for Elements<'_, '_> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let Some(element) = self.elements.next() else { return Ok(None) };
        let reader = self.reader.of(element);
        seed.deserialize(reader).map(Some).map_err(|fault| fault.at(reader.at).within(reader.at))
    }
}

/// What an [`At`] is read from: first the place, then the value.
enum Pair<'r, 't> {
    Place(Reader<'r, 't>),
    Value(Reader<'r, 't>),
    End,
}

impl<'de> SeqAccess<'de> for Pair<'_, '_> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        match std::mem::replace(self, Self::End) {
            Self::Place(reader) => {
                *self = Self::Value(reader);
                seed.deserialize(reader.at.into_deserializer()).map(Some)
            }
            Self::Value(reader) => seed.deserialize(reader).map(Some),
            Self::End => Ok(None),
        }
    }
}

/// Returns the keys that lead from `root` to the entry or element that begins at `unit`.
pub(super) fn path_to<'r>(root: &'r DeValue<'_>, unit: usize) -> Option<Vec<&'r str>> {
    let (table, array) = (root.as_table(), root.as_array());
    let in_table = table.into_iter().flatten().find_map(|(key, value)| {
        if key.span().start == unit {
            return Some(vec![key.get_ref().as_ref()]);
        }
        let mut path = path_to(value.get_ref(), unit)?;
        path.insert(0, key.get_ref().as_ref());
        Some(path)
    });
    let in_array = || {
        array.into_iter().flatten().find_map(|element| {
            if element.span().start == unit { Some(Vec::new()) } else { path_to(element.get_ref(), unit) }
        })
    };
    in_table.or_else(in_array)
}

/// Returns whether there is a table at the end of `path`.
pub(super) fn is_table(root: &DeValue<'_>, path: &[&str]) -> bool {
    let found = path.iter().try_fold(root, |value, key| Some(value.as_table()?.get(*key)?.get_ref()));
    found.is_some_and(DeValue::is_table)
}

/// Returns the `type` of the innermost table on the way along `path` that has one.
pub(super) fn kind_at<'r>(root: &'r DeValue<'_>, path: &[&str]) -> Option<&'r str> {
    let mut kind = None;
    let mut value = root;
    for key in path {
        let Some(next) = value.as_table().and_then(|table| table.get(*key)) else { break };
        value = next.get_ref();
        let own = value.as_table().and_then(|table| table.get(KIND)).and_then(|own| own.get_ref().as_str());
        kind = own.or(kind);
    }
    kind
}
