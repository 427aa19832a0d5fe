//! What a look from outside finds among the generations: whether each can be read, and whether the contents are there that it names.
//! It changes nothing and puts nothing aside.

use std::collections::BTreeSet;
use std::path::Path;

use super::{GenerationError, shelf};
use crate::id::ContentHash;
use crate::store::has_blob;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GenerationsFound {
    /// Generations that there are.
    pub kept: u64,
    /// Those that are not what was written.
    pub damaged: Vec<u64>,
    /// Those that are of a newer host.
    pub newer: Vec<u64>,
    /// Contents that a generation names and that are not there.
    pub missing: BTreeSet<ContentHash>,
    /// The newest of the generations to which such a content belongs.
    pub missing_in: Option<u64>,
    /// Those that a host has put aside before.
    pub aside: u64,
}

/// Reads all generations in a data directory. Blocking.
///
/// # Errors
///
/// A file cannot be read. Without a directory there is nothing to read.
pub fn examine(data_dir: &Path) -> Result<GenerationsFound, GenerationError> {
    let dir = data_dir.join("generations");
    let aside = dir.join(shelf::DAMAGED);
    let aside = shelf::numbers(&aside).map_err(GenerationError::disk(&aside))?;
    let mut found = GenerationsFound { aside: aside.len() as u64, ..GenerationsFound::default() };
    for number in shelf::numbers(&dir).map_err(GenerationError::disk(&dir))? {
        match shelf::peek(&dir, number) {
            Ok(Some(generation)) => {
                let named = generation.bots.values().map(|pinned| pinned.hash);
                let missing: Vec<_> = named.filter(|hash| !has_blob(data_dir, (*hash).into())).collect();
                if !missing.is_empty() {
                    found.missing_in = Some(number);
                    found.missing.extend(missing);
                }
            }
            Ok(None) => found.damaged.push(number),
            Err(GenerationError::Newer { .. }) => found.newer.push(number),
            // A host that runs has removed it meanwhile.
            Err(GenerationError::Disk { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        }
        found.kept += 1;
    }
    Ok(found)
}
