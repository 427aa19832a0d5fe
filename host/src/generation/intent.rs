//! What an edit is going to write, written down before its first file changes, and the writing itself. Writing it again does no
//! harm: whatever stood there, afterwards the files are those of the edit.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{GenerationError, Snapshot};
use crate::bot::manifest::ComponentName;
use crate::config::COMPONENT_BYTES_MAX;
use crate::failpoint::{Failpoint, reach};
use crate::id::{BotName, ContentHash};
use crate::sealed;
use crate::store::{BlobDirectory, StoreError};

/// What an edit writes, and where. `None` in a map stands for a file that is removed.
#[derive(Serialize, Deserialize)]
pub(super) struct Intent {
    /// Who edits.
    pub(super) author: String,
    /// Why.
    pub(super) reason: String,
    /// The configuration file.
    pub(super) path: PathBuf,
    /// The bots' directory.
    pub(super) bots_dir: PathBuf,
    /// Its new text, where it gets one.
    pub(super) config: Option<String>,
    /// The texts of the bots' own files.
    pub(super) entries: BTreeMap<BotName, Option<String>>,
    /// The components, by content.
    pub(super) components: BTreeMap<ComponentName, Option<ContentHash>>,
}

impl std::fmt::Debug for Intent {
    /// Without the texts, in which secrets may stand.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intent").field("author", &self.author).field("reason", &self.reason).finish_non_exhaustive()
    }
}

/// An edit that is not yet over.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) intent: Intent,
    /// Whether all of its files are in their places.
    pub(super) is_written: bool,
}

enum Content<'i> {
    Text(&'i str),
    Blob(ContentHash),
    Absent,
}

impl Intent {
    /// Returns whether a snapshot holds what this wrote. A component counts where a bot is served by its file.
    pub(super) fn is_in(&self, snapshot: &Snapshot) -> bool {
        let config = self.config.as_deref().is_none_or(|text| *text == *snapshot.config);
        let entry = |(name, text): (&BotName, &Option<String>)| {
            snapshot.entries.get(name).map(|text| &**text) == text.as_deref()
        };
        let component = |(file, hash): (&ComponentName, &Option<ContentHash>)| {
            let mut served = snapshot.bots.values().filter(|pinned| pinned.file == *file);
            served.all(|pinned| Some(pinned.hash) == *hash)
        };
        config && self.entries.iter().all(entry) && self.components.iter().all(component)
    }

    /// Returns the contents that are needed to write it.
    pub(super) fn hashes(&self) -> impl Iterator<Item = ContentHash> {
        self.components.values().filter_map(|hash| *hash)
    }

    /// Brings all files to their places.
    pub(super) fn write(&self, blobs: &BlobDirectory) -> Result<(), GenerationError> {
        self.stage(blobs)?.commit()
    }

    /// Writes all files beside their places that are not there already, so that nothing changes where one of them finds no room or
    /// has no content any more.
    pub(super) fn stage(&self, blobs: &BlobDirectory) -> Result<Staged, GenerationError> {
        let mut staged = Staged::default();
        for (path, content) in self.changes() {
            let step = match content {
                Content::Absent => Step::Remove(path),
                Content::Text(text) if there(&path).is_some_and(|there| there == text.as_bytes()) => continue,
                Content::Text(text) => Step::put(path, text.as_bytes())?,
                Content::Blob(hash) if there(&path).is_some_and(|there| ContentHash::of(&there) == hash) => continue,
                Content::Blob(hash) => {
                    let content = content_of(blobs, &path, hash)?;
                    Step::put(path, &content)?
                }
            };
            staged.0.push(step);
        }
        Ok(staged)
    }

    /// Returns the files in the order in which they are brought to their places: what others name first, removals last.
    fn changes(&self) -> Vec<(PathBuf, Content<'_>)> {
        let component = |(file, hash): (&ComponentName, &Option<ContentHash>)| {
            (self.bots_dir.join(file.as_str()), hash.map_or(Content::Absent, Content::Blob))
        };
        let mut changes: Vec<_> = self.components.iter().map(component).collect();
        // A link to the configuration goes on leading to it. One in the bots' directory, such as to what a build makes, is
        // replaced: what it leads to is somebody else's.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        changes.extend(self.config.iter().map(|text| (path.clone(), Content::Text(text))));
        changes.extend(self.entries.iter().map(|(name, text)| {
            (self.bots_dir.join(format!("{name}.toml")), text.as_deref().map_or(Content::Absent, Content::Text))
        }));
        changes.sort_by_key(|(_, content)| matches!(content, Content::Absent));
        changes
    }
}

/// Returns what a file holds; nothing where it is none, or larger than any that is looked at.
fn there(path: &Path) -> Option<Vec<u8>> {
    // Asked before it is opened, since opening a pipe waits for its other end, and the directory is others' to write to.
    fs::symlink_metadata(path).ok().filter(|file| file.is_file() && file.len() <= COMPONENT_BYTES_MAX)?;
    fs::read(path).ok()
}

fn content_of(blobs: &BlobDirectory, path: &Path, hash: ContentHash) -> Result<Vec<u8>, GenerationError> {
    let lost = || GenerationError::Lost { path: path.to_owned(), hash };
    match blobs.blocking_get(hash.into()) {
        Ok(content) => content.ok_or_else(lost),
        Err(StoreError::DamagedBlob { .. }) => Err(lost()),
        Err(error) => Err(error.into()),
    }
}

/// Files that lie beside their places, and what is to be removed.
#[derive(Default)]
pub(super) struct Staged(Vec<Step>);

enum Step {
    Put { from: PathBuf, to: PathBuf },
    Remove(PathBuf),
}

impl Step {
    /// Writes a file beside its place, with the mode of what it is going to replace. Its name begins with a dot, so that the
    /// watcher leaves it alone.
    fn put(to: PathBuf, content: &[u8]) -> Result<Self, GenerationError> {
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        let from = to.with_file_name(format!("{}{name}", sealed::UNFINISHED));
        let written = (|| {
            fs::create_dir_all(sealed::directory_of(&to))?;
            let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&from)?;
            if let Some(replaced) = fs::symlink_metadata(&to).ok().filter(fs::Metadata::is_file) {
                file.set_permissions(Permissions::from_mode(replaced.permissions().mode() & 0o7777))?;
            }
            file.write_all(content)?;
            file.sync_all()
        })();
        if written.is_err() {
            // Best effort: nobody looks at it.
            let _ = fs::remove_file(&from);
        }
        written.map_err(GenerationError::disk(&to))?;
        Ok(Self::Put { from, to })
    }

    fn path(&self) -> &Path {
        match self {
            Self::Put { to: path, .. } | Self::Remove(path) => path,
        }
    }

    fn commit(&self) -> io::Result<()> {
        match self {
            Self::Put { from, to } => {
                fs::rename(from, to)?;
                File::open(sealed::directory_of(to))?.sync_all()
            }
            Self::Remove(path) => sealed::remove(path),
        }
    }
}

impl Staged {
    /// Brings every file to its place, in order.
    pub(super) fn commit(mut self) -> Result<(), GenerationError> {
        for step in std::mem::take(&mut self.0) {
            step.commit().map_err(GenerationError::disk(step.path()))?;
            reach(Failpoint::EditAfterFile);
        }
        Ok(())
    }
}

impl Drop for Staged {
    /// What was not brought to its place is in nobody's way, and is removed all the same.
    fn drop(&mut self) {
        for step in &self.0 {
            if let Step::Put { from, .. } = step {
                let _ = fs::remove_file(from);
            }
        }
    }
}
