//! The generations on disk: `data_dir/generations/N.json`, and the contents of components that they name. All work is done on
//! blocking threads, one piece at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;

use super::intent::{Intent, Pending};
use super::shelf::{self, Stored};
use super::{Generation, GenerationError, Snapshot, Summary};
use crate::clock::Timestamp;
use crate::config::COMPONENT_BYTES_MAX;
use crate::failpoint::{Failpoint, reach};
use crate::id::ContentHash;
use crate::sealed;
use crate::store::{BlobDirectory, BlobId};
use crate::watcher::{ComponentFile, read_component};

/// The generations that are kept. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Archive {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    blobs: BlobDirectory,
    keep: NonZeroUsize,
    latest: ArcSwapOption<Generation>,
    /// An edit is being carried out. Relaxed: whoever changes it or acts on it is ordered by the files that he looks at.
    is_editing: AtomicBool,
    /// Held while files are written, so that numbers have no gap and nothing is removed that somebody is about to name. Only
    /// blocking threads take it.
    ledger: Mutex<Ledger>,
}

#[derive(Debug, Default)]
struct Ledger {
    kept: BTreeMap<u64, Kept>,
    /// The largest number there ever was.
    last: u64,
    /// Contents that somebody is about to name.
    pins: BTreeSet<ContentHash>,
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Kept {
    summary: Summary,
    hashes: BTreeSet<ContentHash>,
}

impl Archive {
    /// Opens the generations in a data directory, whose store is open; `keep` of them are kept at most, the newest. One that
    /// cannot be trusted is put aside. Blocking.
    ///
    /// # Errors
    ///
    /// The directory cannot be used.
    pub fn open(data_dir: &Path, blobs: BlobDirectory, keep: NonZeroUsize) -> Result<Self, GenerationError> {
        let dir = data_dir.join("generations");
        let aside = dir.join(shelf::DAMAGED);
        sealed::remove_unfinished(&dir).map_err(GenerationError::disk(&dir))?;
        let mut ledger = Ledger { last: shelf::largest(&aside).unwrap_or(0), ..Ledger::default() };
        let mut latest = None;
        for number in shelf::numbers(&dir).map_err(GenerationError::disk(&dir))? {
            ledger.last = ledger.last.max(number);
            match shelf::load(&dir, number) {
                Ok(generation) => {
                    ledger.kept.insert(number, Kept::of(&generation));
                    latest = Some(Arc::new(generation));
                }
                // Told where it was put aside. The others are as good as before.
                Err(GenerationError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        ledger.pending = shelf::read_intent(&dir)?;
        let (latest, ledger) = (ArcSwapOption::new(latest), Mutex::new(ledger));
        let shared = Shared { dir, blobs, keep, latest, is_editing: AtomicBool::new(false), ledger };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Returns what is in force, as far as it was recorded.
    pub fn latest(&self) -> Option<Arc<Generation>> {
        self.shared.latest.load_full()
    }

    /// Returns a generation.
    ///
    /// # Errors
    ///
    /// It is not kept, or is damaged.
    pub async fn generation(&self, number: u64) -> Result<Arc<Generation>, GenerationError> {
        self.on_disk(move |shared| shared.generation(number)).await
    }

    /// Returns what there is to go back to, the newest first.
    ///
    /// # Errors
    ///
    /// [`GenerationError::Stopping`].
    pub async fn history(&self) -> Result<Vec<Summary>, GenerationError> {
        self.on_disk(|shared| Ok(shared.ledger().kept.values().rev().map(|kept| kept.summary.clone()).collect())).await
    }

    /// Keeps the content of a component, and returns the copy that is kept, which nobody changes. It is not removed before a
    /// generation that names it is; if it comes into none, [`Archive::unpin`] lets it go, or the end of the process.
    ///
    /// # Errors
    ///
    /// It cannot be read or kept, or has changed.
    pub async fn pin(&self, component: &ComponentFile) -> Result<ComponentFile, GenerationError> {
        let component = component.clone();
        self.on_disk(move |shared| {
            // Before anybody looks whether the content is there: from now on it is not removed.
            let is_new = shared.ledger().pins.insert(component.hash);
            let kept = shared.keep_content(&component);
            if kept.is_err() && is_new {
                shared.ledger().pins.remove(&component.hash);
            }
            kept
        })
        .await
    }

    /// Returns the copy of a content that is kept. What no generation names and nobody pins may go at any time.
    pub fn pinned(&self, hash: ContentHash) -> Option<ComponentFile> {
        self.shared.pinned(hash)
    }

    /// Lets go what was pinned and is not recorded: to be called when nothing that was pinned is still to serve.
    ///
    /// # Errors
    ///
    /// [`GenerationError::Stopping`].
    pub async fn unpin_all(&self) -> Result<(), GenerationError> {
        self.on_disk(|shared| {
            shared.ledger().pins.clear();
            Ok(())
        })
        .await
    }

    /// Records what is in force from now on. None: it is what was in force before. Where it holds what an edit wrote, the edit is
    /// over, and author and reason are the edit's.
    ///
    /// # Errors
    ///
    /// It cannot be written, or names what is not kept. Nothing changed then.
    pub async fn record(&self, snapshot: Snapshot) -> Result<Option<Arc<Generation>>, GenerationError> {
        self.on_disk(move |shared| shared.record(snapshot)).await
    }

    /// Finishes the edit that an earlier process had begun: brings its files to their places. To be called before the
    /// configuration and the bots' directory are looked at; the edit is over when what it wrote is recorded. Returns whether
    /// there was one, so that the configuration has to be read again.
    ///
    /// # Errors
    ///
    /// A file cannot be written. Some of them may have been.
    pub async fn finish_edit(&self) -> Result<bool, GenerationError> {
        self.on_disk(|shared| {
            let mut ledger = shared.ledger();
            let Some(Pending { intent, .. }) = &ledger.pending else { return Ok(false) };
            let (author, reason) = (&intent.author, &intent.reason);
            tracing::warn!(
                author,
                reason,
                "an edit of the configuration was under way when the host ended: it is finished"
            );
            shared.catch_up(&mut ledger)?;
            Ok(true)
        })
        .await
    }

    /// Returns whether an edit is being carried out: what is in force is part of it and part of what was before, until the reload
    /// that it asks for.
    pub fn is_editing(&self) -> bool {
        self.shared.is_editing.load(Ordering::Relaxed)
    }

    /// Says that an edit is being carried out, until what is returned is dropped.
    pub(super) fn editing(&self) -> Editing {
        self.shared.is_editing.store(true, Ordering::Relaxed);
        Editing(Arc::clone(&self.shared))
    }

    /// Writes an edit down and brings its files to their places. Blocking.
    pub(super) fn begin_edit(&self, intent: Intent) -> Result<(), GenerationError> {
        let shared = &self.shared;
        shared.blobs.check_open()?;
        let mut ledger = shared.ledger();
        let staged = intent.stage(&shared.blobs)?;
        reach(Failpoint::EditBeforeIntent);
        let path = shared.dir.join(shelf::INTENT);
        sealed::write(&path, &intent).map_err(GenerationError::disk(&path))?;
        reach(Failpoint::EditAfterIntent);
        let pending = ledger.pending.insert(Pending { intent, is_written: false });
        staged.commit()?;
        pending.is_written = true;
        Ok(())
    }

    /// Finishes an edit of this process whose files could not all be written. Blocking.
    pub(super) fn catch_up(&self) -> Result<(), GenerationError> {
        self.shared.blobs.check_open()?;
        self.shared.catch_up(&mut self.shared.ledger())
    }

    /// Ends an edit whose files are in their places, although no generation came of it.
    pub(super) async fn end_edit(&self) -> Result<(), GenerationError> {
        let end = |shared: &Shared| {
            let mut ledger = shared.ledger();
            if ledger.pending.is_some() { shared.end_edit(&mut ledger) } else { Ok(()) }
        };
        self.on_disk(end).await
    }

    /// Returns a generation. Blocking.
    pub(super) fn blocking_generation(&self, number: u64) -> Result<Arc<Generation>, GenerationError> {
        self.shared.generation(number)
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, GenerationError> + Send + 'static,
    ) -> Result<T, GenerationError> {
        let shared = Arc::clone(&self.shared);
        // Once the data directory is unlocked, another process may work in it.
        let work = move || {
            shared.blobs.check_open()?;
            work(&shared)
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| GenerationError::Stopping)?
    }
}

/// An edit that is being carried out.
pub(super) struct Editing(Arc<Shared>);

impl Drop for Editing {
    fn drop(&mut self) {
        self.0.is_editing.store(false, Ordering::Relaxed);
    }
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn generation(&self, number: u64) -> Result<Arc<Generation>, GenerationError> {
        if let Some(latest) = self.latest.load_full().filter(|latest| latest.number == number) {
            return Ok(latest);
        }
        let mut ledger = self.ledger();
        if !ledger.kept.contains_key(&number) {
            let (oldest, latest) = (ledger.kept.keys().next().copied(), ledger.kept.keys().next_back().copied());
            return Err(GenerationError::Absent { number, oldest, latest });
        }
        shelf::load(&self.dir, number).map(Arc::new).inspect_err(|error| {
            if matches!(error, GenerationError::Damaged { .. }) {
                ledger.kept.remove(&number);
            }
        })
    }

    fn pinned(&self, hash: ContentHash) -> Option<ComponentFile> {
        let path = self.blobs.path(hash.into());
        let metadata = path.metadata().ok()?;
        Some(ComponentFile { path, hash, len: metadata.len() })
    }

    fn keep_content(&self, component: &ComponentFile) -> Result<ComponentFile, GenerationError> {
        if let Some(kept) = self.pinned(component.hash).filter(|kept| kept.len == component.len) {
            return Ok(kept);
        }
        let changed = || GenerationError::Changed { path: component.path.clone() };
        let bytes = read_component(&component.path, COMPONENT_BYTES_MAX)?;
        if ContentHash::of(&bytes) != component.hash {
            return Err(changed());
        }
        self.blobs.blocking_put(&bytes)?;
        self.pinned(component.hash).ok_or_else(changed)
    }

    fn record(&self, mut snapshot: Snapshot) -> Result<Option<Arc<Generation>>, GenerationError> {
        let mut ledger = self.ledger();
        let edit = ledger.pending.as_ref().map(|pending| &pending.intent).filter(|intent| intent.is_in(&snapshot));
        let is_edit = edit.is_some();
        if let Some(intent) = edit {
            (snapshot.author, snapshot.reason) = (intent.author.clone(), intent.reason.clone());
        }
        if self.latest.load().as_ref().is_some_and(|latest| latest.is_as(&snapshot)) {
            if is_edit {
                self.end_edit(&mut ledger)?;
            }
            return Ok(None);
        }
        if let Some((bot, missing)) = snapshot.bots.iter().find(|(_, pinned)| self.pinned(pinned.hash).is_none()) {
            return Err(GenerationError::NotPinned { bot: bot.clone(), hash: missing.hash });
        }
        let generation = Generation { number: ledger.last + 1, at: Timestamp::now(), snapshot };
        let path = shelf::place(&self.dir, generation.number);
        reach(Failpoint::RecordBefore);
        sealed::write(&path, &Stored::from(&generation)).map_err(GenerationError::disk(&path))?;
        reach(Failpoint::RecordAfter);
        ledger.last = generation.number;
        let kept = Kept::of(&generation);
        ledger.pins.retain(|hash| !kept.hashes.contains(hash));
        ledger.kept.insert(generation.number, kept);
        let generation = Arc::new(generation);
        self.latest.store(Some(Arc::clone(&generation)));
        let tidied = if is_edit { self.end_edit(&mut ledger) } else { Ok(()) };
        // The generation is there; what could not be removed is removed after the next one.
        if let Err(error) = tidied.and_then(|()| self.prune(&mut ledger)) {
            tracing::warn!(error = &error as &dyn std::error::Error, "what no generation needs could not be removed");
        }
        Ok(Some(generation))
    }

    /// Brings the files of an edit to their places that is not yet written. One whose content is gone is given up.
    fn catch_up(&self, ledger: &mut Ledger) -> Result<(), GenerationError> {
        let Some(pending) = ledger.pending.as_mut().filter(|pending| !pending.is_written) else { return Ok(()) };
        match pending.intent.write(&self.blobs) {
            Ok(()) => pending.is_written = true,
            Err(error @ GenerationError::Lost { .. }) => {
                tracing::error!(error = &error as &dyn std::error::Error, "an unfinished edit is given up");
                self.end_edit(ledger)?;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn end_edit(&self, ledger: &mut Ledger) -> Result<(), GenerationError> {
        let path = self.dir.join(shelf::INTENT);
        sealed::remove(&path).map_err(GenerationError::disk(&path))?;
        ledger.pending = None;
        Ok(())
    }

    /// Removes the generations past the number that is kept, and the contents that nobody names any more.
    fn prune(&self, ledger: &mut Ledger) -> Result<(), GenerationError> {
        while ledger.kept.len() > self.keep.get() {
            let Some(number) = ledger.kept.keys().next().copied() else { break };
            let path = shelf::place(&self.dir, number);
            sealed::remove(&path).map_err(GenerationError::disk(&path))?;
            ledger.kept.remove(&number);
        }
        let named = ledger.kept.values().flat_map(|kept| &kept.hashes).chain(&ledger.pins);
        let pending = ledger.pending.iter().flat_map(|pending| pending.intent.hashes());
        let named: BTreeSet<BlobId> = named.copied().chain(pending).map(BlobId::from).collect();
        for id in self.blobs.blocking_list()? {
            if !named.contains(&id) {
                self.blobs.blocking_delete(id)?;
            }
        }
        Ok(())
    }
}

impl Kept {
    fn of(generation: &Generation) -> Self {
        let Generation { number, at, snapshot: Snapshot { author, reason, bots, .. } } = generation;
        let summary = Summary { number: *number, at: *at, author: author.clone(), reason: reason.clone() };
        Self { summary, hashes: bots.values().map(|pinned| pinned.hash).collect() }
    }
}

#[cfg(test)]
mod tests;
