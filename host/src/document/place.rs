//! Where something stands: in a file, or in the environment.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::de::{self, SeqAccess};
use serde::{Deserialize, Deserializer};

/// Where something stands. Prints as `FILE:LINE:COLUMN` or as the variable's name. Of one file, what stands earlier is less.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In a file.
    File {
        /// The file, as it was named.
        path: Arc<Path>,
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
    },
    /// In an environment variable that overrides a key.
    Variable {
        /// Its name.
        name: Arc<str>,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            // Whoever starts the process names its variables; a terminal is not theirs to steer.
            Self::Variable { name } => write!(f, "{}", name.escape_debug()),
        }
    }
}

/// A value and where it was written. Two are equal when their values are: what only moved did not change.
#[derive(Debug, Clone)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where it was written: the head of its table, or its key.
    pub place: Place,
}

impl<T: PartialEq> PartialEq for Placed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// A value and the byte of the text that it begins at. Only a [`Document`](super::Document) can fill it.
#[derive(Debug, Clone)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// The byte.
    pub offset: usize,
}

impl<T> At<T> {
    /// What it calls itself while it is deserialised.
    pub(super) const SERDE_NAME: &str = "bothost::At";
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = At<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value and its place")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<At<T>, A::Error> {
                let offset = pair.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
                let value = pair.next_element()?.ok_or_else(|| de::Error::invalid_length(1, &self))?;
                Ok(At { value, offset })
            }
        }
        deserializer.deserialize_tuple_struct(Self::SERDE_NAME, 2, Visitor(std::marker::PhantomData))
    }
}

/// Where the lines of a text begin.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    /// Finds the lines of a text.
    pub(super) fn of(text: &str) -> Self {
        let next = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(index, _)| index + 1);
        Self(std::iter::once(0).chain(next).collect())
    }

    /// Returns line and column of a byte of `text`, both counted from 1. Past the end is the end.
    pub(super) fn position(&self, text: &str, offset: usize) -> (usize, usize) {
        let offset = text.floor_char_boundary(offset);
        let line = self.0.partition_point(|start| *start <= offset);
        let start = self.0[line - 1];
        let before = text[start..offset].trim_start_matches('\u{feff}');
        (line, before.chars().count() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, offset: usize, expected: (usize, usize)) {
        assert_eq!(Lines::of(text).position(text, offset), expected, "{offset} in {text:?}");
    }

    #[test]
    fn a_position_counts_lines_and_characters_from_one() {
        check("", 0, (1, 1));
        check("ab", 1, (1, 2));
        check("ab", 2, (1, 3));
        check("ab", 9, (1, 3));
        check("a\nb", 1, (1, 2));
        check("a\nb", 2, (2, 1));
        check("a\r\n\tb", 4, (2, 2));
        check("é=1", 2, (1, 2));
        check("é=1", 1, (1, 1));
        check("\n", 1, (2, 1));
        check("\u{feff}a=1", 3, (1, 1));
    }

    proptest! {
        #[test]
        fn a_position_is_inside_the_text(text in "(?s).{0,40}", offset in 0usize..100) {
            let (line, column) = Lines::of(&text).position(&text, offset);
            let found = text.split('\n').nth(line - 1).unwrap();
            prop_assert!(column <= found.chars().count() + 1);
        }
    }
}
