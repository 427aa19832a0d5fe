//! What lies in the directory of the logs: the files that are ours by their names. Others are neither counted nor touched.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::name::{BOTS_DIR, LogFile, Named, Stamp, UNFINISHED};
use crate::clock::Timestamp;

/// A file of the logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) named: Named,
    pub(super) bytes: u64,
    /// When it was written to last, as the system says.
    pub(super) changed: Timestamp,
}

impl Found {
    /// Returns when its last line was written, or a little later.
    pub(super) fn written(&self) -> Timestamp {
        self.named.stamp.map_or(self.changed, Stamp::at)
    }

    /// Returns what the age of files is told by; a greater one is newer.
    pub(super) fn age_key(&self) -> (Timestamp, Option<Stamp>) {
        (self.written(), self.named.stamp)
    }
}

/// Which file it is, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

impl Identity {
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

/// Returns when a file was written to last.
pub(super) fn changed(metadata: &fs::Metadata) -> Timestamp {
    let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    Timestamp::from_millis(since.as_millis().try_into().unwrap_or(u64::MAX))
}

/// Makes a directory that nobody else can look into, unless it is there.
pub(super) fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Returns every file of the logs, in no order. What is not there is none.
pub(super) fn scan(logs: &Path) -> Vec<Found> {
    let (mut found, bots) = (Vec::new(), logs.join(BOTS_DIR));
    for (dir, is_bot) in [(logs, false), (&*bots, true)] {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(named) = name.to_str().and_then(|name| Named::read(name, is_bot)) else { continue };
            // One that is gone meanwhile is not there.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_file() {
                found.push(Found { path: entry.path(), named, bytes: metadata.len(), changed: changed(&metadata) });
            }
        }
    }
    found
}

/// Returns what was rotated from one file, the oldest first, each once: where a file and its packed copy are both there, the copy may
/// be unfinished.
pub(super) fn rotated(logs: &Path, file: &LogFile) -> Vec<Stamp> {
    let is_bot = matches!(file, LogFile::Bot(_));
    let entries = fs::read_dir(file.directory(logs)).into_iter().flatten().flatten();
    let named = entries.filter_map(|entry| Named::read(entry.file_name().to_str()?, is_bot));
    let mut stamps: Vec<_> = named.filter(|named| named.file == *file).filter_map(|named| named.stamp).collect();
    stamps.sort();
    stamps.dedup();
    stamps
}

/// Removes what a process left that ended while it packed: the unfinished copies, and those that it may have finished and whose
/// originals are still there, which are packed anew.
pub(super) fn tidy(logs: &Path) {
    for dir in [logs, &*logs.join(BOTS_DIR)] {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let is_unfinished = entry.file_name().to_str().is_some_and(|name| name.ends_with(UNFINISHED));
            if is_unfinished {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
    let files = scan(logs);
    for found in files.iter().filter(|found| found.named.is_packed) {
        let plain = Named { is_packed: false, ..found.named.clone() };
        if files.iter().any(|other| other.named == plain) {
            let _ = fs::remove_file(&found.path);
        }
    }
}
