//! The files of the generations, `N.json`, and of an edit that is under way, `edit.json`: where they are, what they hold, and what
//! becomes of one that cannot be trusted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::intent::{Intent, Pending};

use super::{Generation, GenerationError, Pinned, Snapshot};
use crate::clock::Timestamp;
use crate::id::BotName;
use crate::sealed::{self, SealError};

/// Where an edit is written down that is not yet over.
pub(super) const INTENT: &str = "edit.json";
/// Where what cannot be trusted is put.
pub(super) const DAMAGED: &str = "damaged";

/// A generation as it is written.
#[derive(Serialize, Deserialize)]
pub(super) struct Stored {
    number: u64,
    at: Timestamp,
    author: String,
    reason: String,
    config: String,
    entries: BTreeMap<BotName, String>,
    bots: BTreeMap<BotName, Pinned>,
}

impl From<&Generation> for Stored {
    fn from(generation: &Generation) -> Self {
        let Generation { number, at, snapshot } = generation;
        Self {
            number: *number,
            at: *at,
            author: snapshot.author.clone(),
            reason: snapshot.reason.clone(),
            config: snapshot.config.to_string(),
            entries: snapshot.entries.iter().map(|(name, text)| (name.clone(), text.to_string())).collect(),
            bots: snapshot.bots.clone(),
        }
    }
}

impl From<Stored> for Generation {
    fn from(stored: Stored) -> Self {
        let entries = stored.entries.into_iter().map(|(name, text)| (name, text.into())).collect();
        let Stored { number, at, author, reason, config, bots, .. } = stored;
        Self { number, at, snapshot: Snapshot { config: config.into(), entries, bots, author, reason } }
    }
}

/// Returns where a generation is.
pub(super) fn place(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number}.json"))
}

/// Returns the numbers of the generations in a directory, the smallest first.
pub(super) fn numbers(dir: &Path) -> std::io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for file in sealed::list(dir)? {
        let name = file.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(".json"));
        numbers.extend(stem.and_then(|stem| stem.parse::<u64>().ok()).filter(|number| *number > 0));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Returns the largest number in a directory.
pub(super) fn largest(dir: &Path) -> Option<u64> {
    numbers(dir).ok()?.pop()
}

/// Reads a generation and leaves the disk as it is. None: it is not what was written.
pub(super) fn peek(dir: &Path, number: u64) -> Result<Option<Generation>, GenerationError> {
    let path = place(dir, number);
    match sealed::read::<Stored>(&path) {
        Ok(stored) if stored.number == number => Ok(Some(stored.into())),
        Ok(_) | Err(SealError::Broken) => Ok(None),
        Err(SealError::Newer(format)) => Err(GenerationError::Newer { path, format }),
        Err(SealError::Unreadable(source)) => Err(GenerationError::Disk { path, source }),
    }
}

/// Reads a generation; one that is not what was written is put aside.
pub(super) fn load(dir: &Path, number: u64) -> Result<Generation, GenerationError> {
    if let Some(generation) = peek(dir, number)? {
        return Ok(generation);
    }
    let path = place(dir, number);
    let aside = put_aside(dir, &path).map_err(GenerationError::disk(&path))?;
    tracing::error!(generation = number, aside = %aside.display(), "a generation cannot be trusted: it was put aside");
    Err(GenerationError::Damaged { number, aside })
}

fn put_aside(dir: &Path, path: &Path) -> std::io::Result<PathBuf> {
    let aside = dir.join(DAMAGED).join(path.file_name().unwrap_or_default());
    sealed::make_directory(sealed::directory_of(&aside))?;
    fs::rename(path, &aside)?;
    sealed::sync_directory_of(&aside)?;
    sealed::sync_directory_of(path)?;
    Ok(aside)
}

/// Returns the edit that an earlier process had begun, as far as it can be read, and leaves the disk as it is.
pub(super) fn peek_intent(dir: &Path) -> Option<Intent> {
    sealed::read(&dir.join(INTENT)).ok()
}

/// Returns the edit that an earlier process had begun. One that is not what was written is put aside.
pub(super) fn read_intent(dir: &Path) -> Result<Option<Pending>, GenerationError> {
    let path = dir.join(INTENT);
    match sealed::read::<Intent>(&path) {
        Ok(intent) => Ok(Some(Pending { intent, is_written: false })),
        Err(SealError::Unreadable(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(SealError::Unreadable(source)) => Err(GenerationError::Disk { path, source }),
        Err(SealError::Newer(format)) => Err(GenerationError::Newer { path, format }),
        Err(SealError::Broken) => {
            let aside = put_aside(dir, &path).map_err(GenerationError::disk(&path))?;
            tracing::error!(aside = %aside.display(), "an unfinished edit cannot be trusted: it is given up");
            Ok(None)
        }
    }
}
