//! A TOML text in which every mistake has its place. Owns the reading of files, the places, the wording of mistakes and what is
//! filled in from the environment; knows no section and no key.
//!
//! ```text
//! text ─► depth ─► toml ─► Document ──read──► Reader ─► a struct that derives `Deserialize`
//!                              ▲                │ a mistake: note it, leave its entry out, read again
//!                              └────────────────┘
//! ```
//!
//! Any string may hold `${NAME}`, which stands for that environment variable, and `$${`, which stands for `${`. Where a
//! [`Secret`](crate::secret::Secret) is expected, `{ file = "PATH" }` stands for what that file holds. Nothing that was filled in
//! appears in a message. Variables may also override keys; see [`Document::overridden`].

mod depth;
mod fault;
mod fill;
mod overrides;
mod place;
mod reader;
mod variables;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

use crate::id::NameError;
use crate::secret::Secret;

use self::fault::{Context, Fault};
use self::overrides::Overrides;
use self::place::Lines;
use self::reader::Reader;

pub(crate) use self::fault::nearest;
pub(crate) use self::place::At;
pub use self::place::{Place, Placed};
pub use self::variables::Variables;

/// Largest configuration file, in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// Most mistakes that one reading reports.
const MISTAKES_MAX: usize = 50;

/// Longest text in which the parser looks for more than one mistake of syntax, in bytes: it keeps all it finds.
const RECOVERABLE_BYTES_MAX: usize = 64 << 10;

/// Most mistakes of syntax that are reported; more are mostly the echo of the first.
const SYNTAX_MISTAKES_MAX: usize = 5;

/// Why a configuration file is not good. Prints one line for each mistake.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no such file.
    #[error("{}: there is no such file; an empty one is enough to begin with", .0.display())]
    NotFound(PathBuf),
    /// It cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It would be a bot's own file, and no bot can have its name.
    #[error("{}: {source}", path.display())]
    Misnamed {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: NameError,
    },
    /// It is larger than [`FILE_BYTES_MAX`].
    #[error("{}: is larger than 1MiB, the most that is read", .0.display())]
    TooLarge(PathBuf),
    /// What it says is not good; in the order of the text, never empty.
    #[error("{}", lines(.0))]
    Mistakes(Vec<Mistake>),
}

/// One thing that is not good, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where it is.
    pub place: Place,
    /// What is wrong, and what to do about it.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

fn lines(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n")
}

/// A name that is right and not there yet: asked with the table's path, the table's `type` where it has one, and the name.
/// For a key the path is that of its table; for one of a few words, that of the key.
pub(crate) type Planned = fn(path: &[&str], kind: Option<&str>, name: &str) -> bool;

/// A text that parsed.
pub(crate) struct Document<'t> {
    path: Arc<Path>,
    text: &'t str,
    lines: Lines,
    root: DeValue<'t>,
    variables: &'t Variables,
    overrides: Overrides<'t>,
    planned: Planned,
    /// What was filled in, so that no message shows it.
    hidden: RefCell<Vec<Secret>>,
    /// By the place they are about, so that a second reading does not repeat them.
    warnings: RefCell<BTreeMap<usize, String>>,
    /// The secrets that stand in the text word for word, by their first byte.
    literals: RefCell<BTreeMap<usize, Literal>>,
    /// What stands for a secret's file that is not read. None: it is read.
    in_place_of_files: Option<&'static str>,
}

/// A secret that stands in a text word for word.
pub(crate) struct Literal {
    /// The byte after the string that it is.
    pub(crate) end: usize,
    /// The secret.
    pub(crate) secret: Secret,
}

impl<'t> Document<'t> {
    /// Parses a text. `path` is for messages, and its directory is where relative paths begin.
    ///
    /// # Errors
    ///
    /// The text is no TOML, or is nested too deep.
    pub(crate) fn parse(
        text: &'t str,
        path: &Path,
        variables: &'t Variables,
        planned: Planned,
    ) -> Result<Self, ConfigError> {
        let mut document = Self {
            path: path.into(),
            text,
            lines: Lines::of(text),
            root: DeValue::Table(DeTable::new()),
            variables,
            overrides: Overrides::default(),
            planned,
            hidden: RefCell::default(),
            warnings: RefCell::default(),
            literals: RefCell::default(),
            in_place_of_files: None,
        };
        if let Err(offset) = depth::check(text) {
            let message = format!("nested deeper than {} levels", depth::DEPTH_MAX);
            return Err(ConfigError::Mistakes(vec![document.mistake(offset, message)]));
        }
        let root = if text.len() <= RECOVERABLE_BYTES_MAX {
            let (root, errors) = DeTable::parse_recoverable(text);
            if errors.is_empty() { Ok(root) } else { Err(errors) }
        } else {
            DeTable::parse(text).map_err(|error| vec![error])
        };
        document.root = match root {
            Ok(root) => DeValue::Table(root.into_inner()),
            Err(errors) => return Err(document.syntax(&errors)),
        };
        Ok(document)
    }

    /// Reads the whole text as a `T`.
    ///
    /// # Errors
    ///
    /// Every mistake in a key or value of its own, in the order of the text.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        let mut skipped = BTreeSet::new();
        let mut mistakes = Vec::new();
        loop {
            let mut fault = match T::deserialize(Reader::new(self, &skipped)) {
                Ok(value) if mistakes.is_empty() => return Ok(value),
                Ok(_) => break,
                Err(fault) => fault,
            };
            if !fault.is_echo {
                mistakes.push((fault.at.unwrap_or(0), self.wording(&mut fault)));
            }
            // What is wrong is left out of the next reading, which so comes to the next mistake.
            let progress = fault.unit.is_some_and(|unit| skipped.insert(unit));
            if !progress || mistakes.len() == MISTAKES_MAX {
                break;
            }
        }
        mistakes.sort();
        if mistakes.len() == MISTAKES_MAX {
            mistakes.push((self.text.len(), format!("there may be more mistakes than these {MISTAKES_MAX}")));
        }
        Err(ConfigError::Mistakes(mistakes.into_iter().map(|(at, message)| self.mistake(at, message)).collect()))
    }

    /// Has this text stand for what a secret's file holds: nothing outside the text is opened.
    pub(crate) fn without_files(mut self, text: &'static str) -> Self {
        self.in_place_of_files = Some(text);
        self
    }

    /// Returns the secrets that what was read until now has met word for word, by their first byte.
    pub(crate) fn into_literals(self) -> BTreeMap<usize, Literal> {
        self.literals.into_inner()
    }

    /// Returns the place of a byte of the text or of an override.
    pub(crate) fn place(&self, offset: usize) -> Place {
        self.overrides.place(offset).unwrap_or_else(|| {
            let (line, column) = self.lines.position(self.text, offset);
            Place::File { path: self.path.clone(), line, column }
        })
    }

    /// Returns a mistake at a byte of the text.
    pub(crate) fn mistake(&self, offset: usize, message: impl Into<String>) -> Mistake {
        Mistake { place: self.place(offset), message: message.into() }
    }

    /// Returns what is no mistake and yet to be told, in the order of the text.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.warnings.borrow().iter().map(|(offset, warning)| format!("{}: {warning}", self.place(*offset))).collect()
    }

    /// Returns the directory of the text's file, where its relative paths begin.
    pub(crate) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    fn syntax(&self, errors: &[toml::de::Error]) -> ConfigError {
        let mut mistakes = Vec::new();
        let mut last_line = None;
        for error in errors {
            let span = error.span().unwrap_or(self.text.len()..self.text.len());
            let message = match error.message() {
                "duplicate key" => {
                    format!("{} is there twice", fault::quoted(self.text.get(span.clone()).unwrap_or("")))
                }
                message => format!("not TOML: {message}"),
            };
            // One slip makes the parser complain of much that follows on its line.
            let line = self.lines.position(self.text, span.start).0;
            if last_line.replace(line) != Some(line) {
                mistakes.push(self.mistake(span.start, message));
            }
        }
        mistakes.truncate(SYNTAX_MISTAKES_MAX);
        ConfigError::Mistakes(mistakes)
    }

    /// Returns what people read of a fault.
    fn wording(&self, fault: &mut Fault) -> String {
        let path = fault.unit.and_then(|unit| reader::path_to(&self.root, unit)).unwrap_or_default();
        let kind = reader::kind_at(&self.root, &path);
        self.hidden.borrow().iter().for_each(|secret| fault.redact(secret.expose()));
        let planned = |path: &[&str], name: &str| (self.planned)(path, kind, name);
        let is_table = reader::is_table(&self.root, &path);
        fault.wording(&Context { path: &path, is_table, planned: &planned })
    }
}

/// Returns whether a text nests so deep that what is parsed of it may not be taken apart again.
pub(crate) fn is_too_deep(text: &str) -> bool {
    depth::check(text).is_err()
}

/// Reads a configuration file as text. Never waits for a pipe.
///
/// # Errors
///
/// It is not there, is no ordinary file, cannot be read, is too large, or holds what is not UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ConfigError::NotFound(path.to_owned()),
        _ => ConfigError::Unreadable { path: path.to_owned(), source },
    };
    let mut bytes = Vec::new();
    let file = fill::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge(path.to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&error.as_bytes()[..good]);
        let (line, column) = Lines::of(&text).position(&text, good);
        let place = Place::File { path: path.into(), line, column };
        ConfigError::Mistakes(vec![Mistake { place, message: "is not UTF-8".to_owned() }])
    })
}

/// Returns as much of a file as is ever read, whatever it is worth; nothing where it is no file that can be read.
pub(crate) fn read_beginning(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    fill::open(path).ok()?.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
