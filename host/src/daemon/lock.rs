//! Files that a process locks for as long as it lives and writes its number into: who holds one, and the pid file of the watching
//! parent. The lock is the truth, the number only says whom to look at: a file that nobody holds is a stale one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::process::Process;

/// Returns the process that holds the lock of this file: it is alive, has the very file open and wrote its number into it.
/// Nothing where nobody does, or where whoever does has not yet written who it is.
///
/// # Errors
///
/// The file or the process cannot be looked at, as when they are another user's.
pub(super) fn holder(path: &Path) -> io::Result<Option<Process>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let Some(pid) = first_number(&mut file)? else { return Ok(None) };
    let Some(process) = Process::open(pid)? else { return Ok(None) };
    // Asked last: to ask is to hold it for a moment, where nobody does, and to be in the way of whoever is about to start.
    if !process.has_open(&file.metadata()?)? || is_free(&file)? {
        return Ok(None);
    }
    Ok(Some(process))
}

fn first_number(file: &mut File) -> io::Result<Option<u32>> {
    let mut bytes = Vec::new();
    file.take(32).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(text.split_whitespace().next().and_then(|number| number.parse().ok()))
}

/// Returns whether nobody holds the lock.
fn is_free(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockShared) {
        // Given back when the file is closed.
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// The locked pid file of a watching parent: its own number, and that of the host on the second line. It goes with the value; after
/// a `kill -9` it stays behind, held by nobody.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
    file: File,
}

impl PidFile {
    /// Makes the file (mode 0600) and locks it; nothing where somebody else has.
    pub(super) fn take(path: &Path) -> io::Result<Option<Self>> {
        loop {
            let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
            // Its last owner may have removed it between the two: then this is a file that nobody else can see.
            let is_there =
                fs::metadata(path).is_ok_and(|there| file.metadata().is_ok_and(|ours| ours.ino() == there.ino()));
            if is_there {
                let pid_file = Self { path: path.to_owned(), file };
                pid_file.write(None)?;
                return Ok(Some(pid_file));
            }
        }
    }

    /// Writes who watches, and whom.
    pub(super) fn write(&self, host: Option<u32>) -> io::Result<()> {
        let host = host.map(|pid| format!("{pid}\n")).unwrap_or_default();
        let text = format!("{}\n{host}", std::process::id());
        self.file.write_all_at(text.as_bytes(), 0)?;
        self.file.set_len(text.len() as u64)
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // While it is locked, so that no other owner's is removed.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_holds_the_file_is_found_until_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.pid");
        assert!(holder(&path).unwrap().is_none());
        let held = PidFile::take(&path).unwrap().unwrap();
        held.write(Some(42)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n42\n", std::process::id()));
        assert_eq!(holder(&path).unwrap().unwrap().pid(), std::process::id());
        assert!(PidFile::take(&path).unwrap().is_none());
        drop(held);
        assert!(!path.exists());
    }

    #[test]
    fn a_number_without_a_lock_is_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        for stale in
            [String::new(), "x\n".into(), "0\n".into(), "4194304999\n".into(), format!("{}\n", std::process::id())]
        {
            fs::write(&path, &stale).unwrap();
            assert!(holder(&path).unwrap().is_none(), "{stale:?}");
        }
        // The process of that number has the file open, but nobody holds the lock.
        let _open = File::open(&path).unwrap();
        assert!(holder(&path).unwrap().is_none());
    }

    #[test]
    fn a_lock_whose_file_names_another_process_is_not_that_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        // Process 1 lives, and has no such file open.
        fs::write(&path, "1\n").unwrap();
        let _held = File::open(&path).inspect(|file| flock(file, FlockOperation::LockExclusive).unwrap()).unwrap();
        assert!(holder(&path).unwrap().is_none());
    }
}
