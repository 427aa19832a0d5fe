//! Room on the disk that is held back: a file that holds nothing, and is deleted when nothing else fits any more, so that what was
//! begun can be finished while nothing new is taken in.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

/// Its size, where the disk is large enough.
const BYTES_MAX: u64 = 16 << 20;
/// It takes no larger part of a disk than one in so many.
const PART_OF_DISK: u64 = 8;
/// With less than this the disk counts as full, whatever the error says.
const CRAMPED_BYTES: u64 = 256 << 10;

/// The file, and whether it is there.
#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
    bytes: u64,
    is_held: bool,
}

impl Ballast {
    /// Looks at the file in a directory. Nothing is made yet. Where the disk is full already, what an earlier process held is
    /// given up, for the opening itself needs room.
    pub(super) fn find(directory: &Path) -> Self {
        let disk = statvfs(directory).map_or(u64::MAX, |disk| disk.f_blocks.saturating_mul(disk.f_frsize));
        let bytes = BYTES_MAX.min(disk / PART_OF_DISK);
        let mut ballast = Self { path: directory.join("ballast"), bytes, is_held: false };
        ballast.is_held = ballast.path.exists();
        if ballast.is_cramped() {
            ballast.give_up();
        }
        ballast
    }

    /// Returns whether next to nothing fits on the disk.
    pub(super) fn is_cramped(&self) -> bool {
        self.free_bytes().is_some_and(|free| free < CRAMPED_BYTES)
    }

    /// Returns whether it fits again, with something to spare.
    pub(super) fn has_room(&self) -> bool {
        // Where the disk does not say, trying is all that is left.
        self.is_held || self.free_bytes().is_none_or(|free| free >= self.bytes + self.bytes / 2)
    }

    /// Deletes the file.
    pub(super) fn give_up(&mut self) {
        match std::fs::remove_file(&self.path) {
            Ok(()) => self.is_held = false,
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.is_held = false,
            Err(error) => tracing::error!(path = %self.path.display(), %error, "the ballast cannot be deleted"),
        }
    }

    /// Makes the file (mode 0600), with room that is really allocated, unless it is there.
    ///
    /// # Errors
    ///
    /// Where it does not fit, or cannot be made. Nothing is left of it then.
    pub(super) fn hold(&mut self) -> io::Result<()> {
        let made = self.make();
        self.is_held = made.is_ok();
        if made.is_err() {
            self.give_up();
        }
        made
    }

    fn make(&self) -> io::Result<()> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&self.path)?;
        let found = file.metadata()?;
        if found.len() == self.bytes && found.blocks() * 512 >= self.bytes {
            return Ok(());
        }
        file.set_len(0)?;
        match fallocate(&file, FallocateFlags::empty(), 0, self.bytes.max(1)) {
            Err(Errno::OPNOTSUPP) => fill(file, self.bytes),
            result => Ok(result?),
        }
    }

    fn free_bytes(&self) -> Option<u64> {
        let disk = statvfs(self.path.parent()?).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

/// Returns how many pages of the write-ahead log may gather before they are copied back: less of a small disk.
pub(super) fn log_pages_max(directory: &Path, wanted: u32) -> u32 {
    let disk = statvfs(directory).map_or(u64::MAX, |disk| disk.f_blocks.saturating_mul(disk.f_frsize));
    u32::try_from(disk / 16 / 4096).unwrap_or(u32::MAX).clamp(100, wanted)
}

/// For file systems that know no other way.
fn fill(mut file: File, bytes: u64) -> io::Result<()> {
    io::copy(&mut io::Read::take(io::repeat(0), bytes), &mut file)?;
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_the_room_that_it_gives_back() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let mut ballast = Ballast::find(directory.path());
        ballast.hold().unwrap();
        let file = directory.path().join("ballast").metadata().unwrap();
        assert_eq!((file.len(), file.permissions().mode() & 0o777), (ballast.bytes, 0o600));
        assert!(file.blocks() * 512 >= ballast.bytes, "it is allocated");
        ballast.give_up();
        ballast.give_up();
        assert!(!directory.path().join("ballast").exists());
        ballast.hold().unwrap();
        assert!(Ballast::find(directory.path()).is_held);
    }

    #[test]
    fn one_that_is_cut_short_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ballast"), "x").unwrap();
        let mut ballast = Ballast::find(directory.path());
        ballast.hold().unwrap();
        assert_eq!(directory.path().join("ballast").metadata().unwrap().len(), ballast.bytes);
    }

    #[test]
    fn one_that_does_not_fit_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let mut ballast = Ballast { bytes: 1 << 60, ..Ballast::find(directory.path()) };
        assert!(!ballast.has_room());
        ballast.hold().unwrap_err();
        assert!(!ballast.is_held && !directory.path().join("ballast").exists());
    }
}
