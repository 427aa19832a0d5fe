//! Environment variables that stand for keys: `BOTHOST__SUPERVISOR__MAX_RESTARTS=20` is `max_restarts = 20` in `[supervisor]`,
//! whatever the text says of it. Owns their names and how their values are read; knows no section and no key.
//!
//! Each is given bytes of its own behind those of the text, `NAME=VALUE` with a byte before it, so that a mistake in it has a place
//! like any other. Values are taken as they are: `${NAME}` in one stands for itself.

use std::borrow::Cow;
use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::variables::Variables;
use super::{ConfigError, Document, FILE_BYTES_MAX, MISTAKES_MAX, Mistake, Place, depth};

/// What the name of an override begins with.
const PREFIX: &str = "BOTHOST__";

/// What stands between two keys in a name.
const SEPARATOR: &str = "__";

/// The overrides of one document, in the order of their bytes.
#[derive(Default)]
pub(super) struct Overrides<'t>(Vec<Override<'t>>);

/// One variable.
struct Override<'t> {
    name: &'t str,
    raw: &'t str,
    /// Its first byte.
    start: usize,
    /// The first byte of its value.
    value_at: usize,
}

impl<'t> Overrides<'t> {
    /// Returns the place of a byte, where it is one of theirs.
    pub(super) fn place(&self, offset: usize) -> Option<Place> {
        let next = self.0.partition_point(|variable| variable.start <= offset);
        Some(Place::Variable { name: self.0.get(next.checked_sub(1)?)?.name.into() })
    }

    /// Returns whether a byte is one of theirs.
    pub(super) fn contain(&self, offset: usize) -> bool {
        self.0.first().is_some_and(|first| first.start <= offset)
    }

    /// Returns what was written for the whole value that begins at a byte. So `12345` can be a text where a text is wanted.
    pub(super) fn written(&self, offset: usize) -> Option<&'t str> {
        let index = self.0.binary_search_by_key(&offset, |variable| variable.value_at).ok()?;
        Some(self.0[index].raw)
    }
}

impl<'t> Document<'t> {
    /// Returns the document with what the environment's overrides say in place of what the text says.
    ///
    /// # Errors
    ///
    /// Every override that names no key, is no text, or stands where the text has no table.
    pub(crate) fn overridden(mut self) -> Result<Self, ConfigError> {
        let mut mistakes = Vec::new();
        let mut named = BTreeMap::new();
        let text_end = self.text.len();
        let mut end = text_end;
        for variable in found(self.variables) {
            let outcome = variable.and_then(|(name, raw)| {
                let start = end + 1;
                end = start + name.len() + "=".len() + raw.len();
                if (end - text_end) as u64 > FILE_BYTES_MAX {
                    return Err(mistake(
                        name,
                        "with this one the overrides are larger than 1MiB, the most that is read",
                    ));
                }
                self.put(name, raw, start, &mut named).map_err(|message| mistake(name, message))
            });
            mistakes.extend(outcome.err());
            if mistakes.len() == MISTAKES_MAX {
                break;
            }
        }
        if mistakes.is_empty() { Ok(self) } else { Err(ConfigError::Mistakes(mistakes)) }
    }

    /// Puts one override in its place. `named` are those before it, by the keys that they set.
    fn put(
        &mut self,
        name: &'t str,
        raw: &'t str,
        start: usize,
        named: &mut BTreeMap<Vec<String>, &'t str>,
    ) -> Result<(), String> {
        let keys = keys(name, start)?;
        let path = keys.iter().map(|key| key.get_ref().clone().into_owned()).collect();
        if let Some(other) = named.insert(path, name) {
            return Err(format!("`{other}` sets this key already"));
        }
        let value = value(raw, start + name.len() + "=".len())?;
        let value_at = value.span().start;
        insert(&mut self.root, &keys, value)?;
        self.overrides.0.push(Override { name, raw, start, value_at });
        Ok(())
    }
}

fn mistake(name: &str, message: impl Into<String>) -> Mistake {
    Mistake { place: Place::Variable { name: name.into() }, message: message.into() }
}

/// Returns name and value of each override, or what is wrong with it.
fn found(variables: &Variables) -> impl Iterator<Item = Result<(&str, &str), Mistake>> {
    variables.beginning_with(PREFIX).map(|(name, value)| {
        let name = name.to_str().ok_or_else(|| mistake(&name.to_string_lossy(), "the name is not UTF-8"))?;
        match value.to_str() {
            None => Err(mistake(name, "the value is not UTF-8")),
            Some("") => Err(mistake(name, "is empty; unset it, or write \"\" for an empty text")),
            Some(value) => Ok((name, value)),
        }
    })
}

/// Returns the keys that an override's name stands for.
fn keys<'t>(name: &'t str, start: usize) -> Result<Vec<Spanned<DeString<'t>>>, String> {
    let mut keys = Vec::new();
    let mut at = PREFIX.len();
    for key in name[PREFIX.len()..].split(SEPARATOR) {
        if key.is_empty() {
            return Err(
                "the name must be sections and a key with `__` between them, such as BOTHOST__QUEUE__MAX_EVENTS"
                    .to_owned(),
            );
        }
        keys.push(Spanned::new(start + at..start + at + key.len(), Cow::Owned(key.to_ascii_lowercase())));
        at += key.len() + SEPARATOR.len();
    }
    if keys.len() > depth::DEPTH_MAX { Err(too_deep()) } else { Ok(keys) }
}

/// Reads an override's value: as TOML where it is that, as a text otherwise.
fn value(raw: &str, start: usize) -> Result<Spanned<DeValue<'_>>, String> {
    // Of a text that is no array and no table the dots are no nesting.
    if raw.trim_start().starts_with(['[', '{']) && depth::check(raw).is_err() {
        return Err(too_deep());
    }
    Ok(match DeValue::parse(raw) {
        Ok(value) => shifted(value, start),
        Err(_) => Spanned::new(start..start + raw.len(), DeValue::String(Cow::Borrowed(raw))),
    })
}

fn too_deep() -> String {
    format!("nested deeper than {} levels", depth::DEPTH_MAX)
}

/// Returns a value as if it had been read so many bytes further on.
fn shifted(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let span = value.span();
    let moved = match value.into_inner() {
        DeValue::Array(array) => DeValue::Array(array.into_iter().map(|element| shifted(element, by)).collect()),
        DeValue::Table(table) => DeValue::Table(
            table
                .into_iter()
                .map(|(key, value)| {
                    let span = key.span();
                    (Spanned::new(span.start + by..span.end + by, key.into_inner()), shifted(value, by))
                })
                .collect(),
        ),
        other => other,
    };
    Spanned::new(span.start + by..span.end + by, moved)
}

/// Puts a value where `keys` lead, through tables that are made if need be.
fn insert<'t>(
    root: &mut DeValue<'t>,
    keys: &[Spanned<DeString<'t>>],
    value: Spanned<DeValue<'t>>,
) -> Result<(), String> {
    let Some((last, path)) = keys.split_last() else { return Ok(()) };
    let mut at = root;
    for (depth, key) in path.iter().enumerate() {
        let table = table(at, &keys[..depth])?;
        let new = || Spanned::new(key.span(), DeValue::Table(DeTable::new()));
        at = table.entry(key.clone()).or_insert_with(new).get_mut();
    }
    let table = table(at, path)?;
    // A map keeps the key that it has, and with it a place in the text.
    table.remove(last);
    table.insert(last.clone(), value);
    Ok(())
}

fn table<'v, 't>(value: &'v mut DeValue<'t>, path: &[Spanned<DeString<'_>>]) -> Result<&'v mut DeTable<'t>, String> {
    match value {
        DeValue::Table(table) => Ok(table),
        _ => {
            let path: Vec<_> = path.iter().map(|key| key.get_ref().as_ref()).collect();
            Err(format!("{} is no table", super::fault::quoted(&path.join("."))))
        }
    }
}
