//! The data directory: made, checked and locked, so that one host at a time writes into it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock, statfs};
use rustix::io::Errno;

use super::StoreError;

/// A locked data directory. The lock goes with the value, and with the process however it ends.
#[derive(Debug)]
pub(super) struct DataDirectory {
    path: PathBuf,
    _lock: File,
}

impl DataDirectory {
    /// Makes the directory (mode 0700) unless it is there, and locks it.
    pub(super) fn lock(path: &Path) -> Result<Self, StoreError> {
        let failed = |source: std::io::Error| StoreError::Directory { path: path.into(), source: Arc::new(source) };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        warn_if_open(path);
        refuse_network(path)?;
        let lock_path = path.join("lock");
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(failed)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(StoreError::InUse { path: path.into(), pid: read_pid(&mut lock) }),
            Err(errno) => return Err(failed(errno.into())),
        }
        // In its place, and only then cut: on a full disk there may be no other.
        let line = format!("{}\n", std::process::id());
        lock.write_all(line.as_bytes()).and_then(|()| lock.set_len(line.len() as u64)).map_err(failed)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Returns the path of a file in it, which is made (mode 0600) unless it is there.
    pub(super) fn file(&self, name: &str) -> Result<PathBuf, StoreError> {
        let path = self.path.join(name);
        match OpenOptions::new().create(true).append(true).mode(0o600).open(&path) {
            Ok(_) => Ok(path),
            Err(source) => Err(StoreError::Directory { path: path.into(), source: Arc::new(source) }),
        }
    }
}

/// Says so where others may look into the directory: it was made by somebody else, who may have meant it.
fn warn_if_open(path: &Path) {
    let mode = path.metadata().map_or(0, |found| found.permissions().mode() & 0o777);
    if mode & 0o077 != 0 {
        let shown = path.display();
        tracing::warn!(
            "other users can look into {shown} (mode {mode:03o}), where secrets and messages are: chmod 700 {shown}"
        );
    }
}

/// Returns what the owner of the lock wrote; nothing where it has not done so yet.
fn read_pid(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// SQLite's write-ahead log needs memory that all openers share, which these do not have; their locks are no locks either.
fn refuse_network(path: &Path) -> Result<(), StoreError> {
    const KINDS: [(u32, &str); 4] = [(0x6969, "NFS"), (0x517b, "SMB"), (0xff53_4d42, "CIFS"), (0xfe53_4d42, "SMB")];
    // Where the question itself fails, opening the files will say more.
    let Ok(found) = statfs(path) else { return Ok(()) };
    // The type is a signed word on some platforms, so only its lower half is compared.
    let found = found.f_type as u32;
    match KINDS.iter().find(|(magic, _)| *magic == found) {
        Some((_, kind)) => Err(StoreError::NetworkFileSystem { path: path.into(), kind }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn nobody_else_can_look_inside() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("new/data");
        let directory = DataDirectory::lock(&path).unwrap();
        let file = directory.file("x.db").unwrap();
        assert_eq!((mode(&path), mode(&file), mode(&path.join("lock"))), (0o700, 0o600, 0o600));
    }

    #[test]
    fn a_second_owner_is_told_who_the_first_is_until_that_one_is_gone() {
        let parent = tempfile::tempdir().unwrap();
        let first = DataDirectory::lock(parent.path()).unwrap();
        let refused = DataDirectory::lock(parent.path()).unwrap_err();
        assert!(matches!(refused, StoreError::InUse { pid: Some(pid), .. } if pid == std::process::id()), "{refused}");
        drop(first);
        DataDirectory::lock(parent.path()).unwrap();
    }

    #[test]
    fn a_path_that_cannot_be_a_directory_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = DataDirectory::lock(file.path()).unwrap_err();
        assert!(error.to_string().contains(&file.path().display().to_string()), "{error}");
    }
}
