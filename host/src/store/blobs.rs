//! Large contents that never change, each a file under the name of its SHA-256: `blobs/sha256/ab/cd…`. A file is there as a whole
//! or not at all, and is compared with its name whenever it is read. What no longer fits is moved to `blobs/damaged` and reported.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::StoreError;
use super::engine::Blobs;
use crate::id::ContentHash;

/// The name of a content: its SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId([u8; 32]);

impl BlobId {
    /// Returns the name of a content.
    pub fn of(content: &[u8]) -> Self {
        Self(Sha256::digest(content).into())
    }
}

impl From<ContentHash> for BlobId {
    fn from(hash: ContentHash) -> Self {
        Self(hash.0)
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HEXLOWER.encode_display(&self.0).fmt(f)
    }
}

/// Why a text is no [`BlobId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a content's name has 64 hexadecimal digits in lower case")]
pub struct BlobIdError;

impl FromStr for BlobId {
    type Err = BlobIdError;

    fn from_str(text: &str) -> Result<Self, BlobIdError> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| BlobIdError)?;
        bytes.try_into().map(Self).map_err(|_| BlobIdError)
    }
}

/// The contents in a data directory.
#[derive(Debug, Clone)]
pub struct BlobDirectory {
    files: Arc<Files>,
    closing: CancellationToken,
}

#[derive(Debug)]
struct Files {
    root: PathBuf,
    /// Tells the files apart that are being written.
    next: AtomicU64,
}

impl BlobDirectory {
    /// Makes the directories (mode 0700) in a locked data directory, and removes what an earlier process was writing. Blocking.
    pub(super) fn open(data_dir: &Path, closing: CancellationToken) -> Result<Self, StoreError> {
        let files = Files { root: data_dir.join("blobs"), next: AtomicU64::new(0) };
        files.prepare().map_err(|source| files.failed(source))?;
        Ok(Self { files: Arc::new(files), closing })
    }

    /// Returns where a content is, or would be: for one who reads it in place, and compares it with its name.
    pub fn path(&self, id: BlobId) -> PathBuf {
        self.files.place(id).0
    }

    /// As [`Blobs::put`], on a thread that may block.
    pub(crate) fn blocking_put(&self, content: &[u8]) -> Result<BlobId, StoreError> {
        self.check_open()?;
        let id = BlobId::of(content);
        self.files.put(id, content).map_err(|source| self.files.failed(source))?;
        Ok(id)
    }

    /// As [`Blobs::get`], on a thread that may block.
    pub(crate) fn blocking_get(&self, id: BlobId) -> Result<Option<Vec<u8>>, StoreError> {
        self.check_open()?;
        self.files.get(id)
    }

    /// As [`Blobs::delete`], on a thread that may block.
    pub(crate) fn blocking_delete(&self, id: BlobId) -> Result<bool, StoreError> {
        self.check_open()?;
        self.files.delete(id).map_err(|source| self.files.failed(source))
    }

    /// As [`Blobs::list`], on a thread that may block.
    pub(crate) fn blocking_list(&self) -> Result<Vec<BlobId>, StoreError> {
        self.check_open()?;
        self.files.list().map_err(|source| self.files.failed(source))
    }

    /// Once the directory is unlocked, another process may work in it.
    pub(crate) fn check_open(&self) -> Result<(), StoreError> {
        if self.closing.is_cancelled() { Err(StoreError::Stopped) } else { Ok(()) }
    }

    /// Does something with the files, off the threads that serve.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Files) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.check_open()?;
        let files = Arc::clone(&self.files);
        tokio::task::spawn_blocking(move || work(&files)).await.map_err(|_| StoreError::Stopped)?
    }
}

impl Blobs for BlobDirectory {
    async fn put(&self, content: Vec<u8>) -> Result<BlobId, StoreError> {
        self.on_disk(move |files| {
            let id = BlobId::of(&content);
            files.put(id, &content).map_err(|source| files.failed(source))?;
            Ok(id)
        })
        .await
    }

    async fn get(&self, id: BlobId) -> Result<Option<Vec<u8>>, StoreError> {
        self.on_disk(move |files| files.get(id)).await
    }

    async fn delete(&self, id: BlobId) -> Result<bool, StoreError> {
        self.on_disk(move |files| files.delete(id).map_err(|source| files.failed(source))).await
    }

    async fn list(&self) -> Result<Vec<BlobId>, StoreError> {
        self.on_disk(|files| files.list().map_err(|source| files.failed(source))).await
    }
}

impl Files {
    fn failed(&self, source: io::Error) -> StoreError {
        StoreError::Directory { path: self.root.as_path().into(), source: Arc::new(source) }
    }

    fn contents(&self) -> PathBuf {
        self.root.join("sha256")
    }

    fn unfinished(&self) -> PathBuf {
        self.root.join("unfinished")
    }

    fn damaged(&self) -> PathBuf {
        self.root.join("damaged")
    }

    /// Returns where a content is, or would be, and the directory that has it.
    fn place(&self, id: BlobId) -> (PathBuf, PathBuf) {
        let name = id.to_string();
        let directory = self.contents().join(&name[..2]);
        (directory.join(&name[2..]), directory)
    }

    fn prepare(&self) -> io::Result<()> {
        for directory in [self.contents(), self.unfinished(), self.damaged()] {
            make(&directory)?;
        }
        sync(&self.root)?;
        for left in fs::read_dir(self.unfinished())? {
            fs::remove_file(left?.path())?;
        }
        Ok(())
    }

    fn put(&self, id: BlobId, content: &[u8]) -> io::Result<()> {
        let (path, directory) = self.place(id);
        if path.metadata().is_ok_and(|file| file.len() == content.len() as u64) {
            return Ok(());
        }
        if make(&directory)? {
            sync(&self.contents())?;
        }
        let unfinished = self.unfinished().join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let written = (|| {
            let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&unfinished)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)
        })();
        if let Err(error) = written {
            // Best effort: the next process removes it otherwise.
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        sync(&directory)
    }

    fn get(&self, id: BlobId) -> Result<Option<Vec<u8>>, StoreError> {
        let (path, directory) = self.place(id);
        let content = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|source| self.failed(source))?,
        };
        if BlobId::of(&content) == id {
            return Ok(Some(content));
        }
        let aside: Arc<Path> = self.damaged().join(id.to_string()).into();
        tracing::error!(content = %id, aside = %aside.display(), "a stored content cannot be trusted");
        fs::rename(&path, &aside).and_then(|()| sync(&directory)).map_err(|source| self.failed(source))?;
        Err(StoreError::DamagedBlob { id, aside })
    }

    fn delete(&self, id: BlobId) -> io::Result<bool> {
        let (path, directory) = self.place(id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            removed => removed.and_then(|()| sync(&directory)).map(|()| true),
        }
    }

    fn list(&self) -> io::Result<Vec<BlobId>> {
        let mut ids = Vec::new();
        for directory in fs::read_dir(self.contents())? {
            let directory = directory?;
            for file in fs::read_dir(directory.path())? {
                let name = [directory.file_name(), file?.file_name()].map(|name| name.to_string_lossy().into_owned());
                // What somebody else has put there is none of ours.
                ids.extend(name.concat().parse::<BlobId>());
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }
}

/// Makes a directory (mode 0700) unless it is there. Returns whether it was not.
fn make(directory: &Path) -> io::Result<bool> {
    let is_new = !directory.exists();
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    Ok(is_new)
}

/// Brings the names in a directory to the disk.
fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn directory() -> (tempfile::TempDir, BlobDirectory) {
        let parent = tempfile::tempdir().unwrap();
        let blobs = BlobDirectory::open(parent.path(), CancellationToken::new()).unwrap();
        (parent, blobs)
    }

    #[tokio::test]
    async fn a_content_lies_under_its_hash_and_nobody_else_can_read_it() {
        let (_parent, blobs) = directory();
        let id = blobs.put(b"abc".to_vec()).await.unwrap();
        let name = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(id.to_string(), name);
        let path = blobs.files.root.join("sha256").join(&name[..2]).join(&name[2..]);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap()), mode(&blobs.files.root)), (0o600, 0o700, 0o700));
    }

    #[tokio::test]
    async fn one_flipped_bit_is_found_put_aside_and_can_be_put_again() {
        let (_parent, blobs) = directory();
        let id = blobs.put(b"abc".to_vec()).await.unwrap();
        let (path, _) = blobs.files.place(id);
        fs::write(&path, b"abb").unwrap();
        let refused = blobs.get(id).await.unwrap_err();
        assert!(matches!(&refused, StoreError::DamagedBlob { aside, .. } if fs::read(aside).unwrap() == b"abb"));
        assert_eq!(blobs.get(id).await.unwrap(), None);
        blobs.put(b"abc".to_vec()).await.unwrap();
        assert_eq!(blobs.get(id).await.unwrap().as_deref(), Some(&b"abc"[..]));
    }

    #[tokio::test]
    async fn a_content_that_is_there_is_not_written_again_and_one_that_was_cut_short_is() {
        let (_parent, blobs) = directory();
        let id = blobs.put(b"abc".to_vec()).await.unwrap();
        let (path, _) = blobs.files.place(id);
        let before = path.metadata().unwrap().modified().unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        blobs.put(b"abc".to_vec()).await.unwrap();
        assert_eq!(path.metadata().unwrap().modified().unwrap(), std::time::UNIX_EPOCH);
        fs::write(&path, b"").unwrap();
        blobs.put(b"abc".to_vec()).await.unwrap();
        assert!(path.metadata().unwrap().modified().unwrap() >= before);
        assert_eq!(blobs.get(id).await.unwrap().as_deref(), Some(&b"abc"[..]));
    }

    #[tokio::test]
    async fn what_was_being_written_when_a_process_died_is_removed_and_what_is_not_ours_left_out() {
        let (parent, blobs) = directory();
        let left = blobs.files.root.join("unfinished/7");
        fs::write(&left, "half").unwrap();
        make(&blobs.files.root.join("sha256/zz")).unwrap();
        fs::write(blobs.files.root.join("sha256/zz/notes"), "").unwrap();
        let blobs = BlobDirectory::open(parent.path(), CancellationToken::new()).unwrap();
        assert!(!left.exists());
        assert_eq!(blobs.list().await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_closed_store_gives_no_contents() {
        let (_parent, blobs) = directory();
        blobs.closing.cancel();
        assert!(matches!(blobs.list().await, Err(StoreError::Stopped)));
    }

    #[test]
    fn only_lower_case_digits_are_a_name() {
        let id = BlobId::of(b"abc");
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "ab", &id.to_string().to_uppercase(), &format!("{id}00")] {
            assert_eq!(text.parse::<BlobId>(), Err(BlobIdError));
        }
    }
}
