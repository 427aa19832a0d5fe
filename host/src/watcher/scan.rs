//! Looks at the directory: which components and entries it lists, and the stamp of each. Blocks, reads no file, writes nothing.

use std::collections::BTreeMap;
use std::fs::{self, FileType, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::catalogue::{DirectoryProblem, FILES_MAX, FileKind, FileProblem};
use super::name::FileName;

/// The scan was told to stop and knows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stopped;

/// Tells one state of a file from the next without reading it.
///
/// The time of the inode's last change is in it because no program can set that back, as `touch -r` does with the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) len: u64,
    pub(super) modified_ns: i128,
    pub(super) changed_ns: i128,
}

impl Stamp {
    /// Returns the stamp of a file of this metadata.
    pub(super) fn of(metadata: &Metadata) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.len(),
            modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What a look at the directory shows of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sight {
    /// A regular file.
    File(Stamp),
    /// Something that need not be read to know that it is of no use.
    Problem(FileProblem),
}

/// All that a look at the directory shows.
pub(super) type Look = Result<BTreeMap<FileName, Sight>, DirectoryProblem>;

/// Tells one directory from another that took its place.
pub(crate) type DirectoryIdentity = (u64, u64);

/// Returns the directory's identity.
pub(crate) fn identify(dir: &Path) -> Result<DirectoryIdentity, DirectoryProblem> {
    let metadata = fs::metadata(dir).map_err(|error| directory_problem(dir, &error))?;
    if !metadata.is_dir() {
        return Err(DirectoryProblem::NotADirectory { path: dir.into() });
    }
    Ok((metadata.dev(), metadata.ino()))
}

/// Makes the directory and those above it.
pub(super) fn create(dir: &Path) -> Result<(), DirectoryProblem> {
    fs::create_dir_all(dir).map_err(|error| DirectoryProblem::NotCreated { path: dir.into(), error: errno_of(&error) })
}

/// Lists the components and entries of the directory, following links.
pub(super) fn list(dir: &Path, cancel: &CancellationToken) -> Result<Look, Stopped> {
    let problem = |error: io::Error| directory_problem(dir, &error);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => return Ok(Err(problem(error))),
    };
    let mut seen = BTreeMap::new();
    for entry in entries {
        if cancel.is_cancelled() {
            return Err(Stopped);
        }
        let file_name = match entry {
            Ok(entry) => entry.file_name(),
            Err(error) => return Ok(Err(problem(error))),
        };
        let Some((name, fit)) = FileName::classify(&file_name) else { continue };
        let sight = match fit {
            Ok(()) => sight_of(&dir.join(&file_name)),
            Err(misnamed) => Some(Sight::Problem(misnamed)),
        };
        seen.extend(sight.map(|sight| (name, sight)));
        if seen.len() > FILES_MAX {
            return Ok(Err(DirectoryProblem::TooManyFiles { path: dir.into() }));
        }
    }
    Ok(Ok(seen))
}

/// Returns what is at `path`; `None` for nothing, which a file can become between being listed and being looked at.
pub(crate) fn sight_of(path: &Path) -> Option<Sight> {
    let error = match fs::metadata(path) {
        Ok(metadata) => {
            return Some(match check_kind(path, metadata.file_type()) {
                Ok(()) => Sight::File(Stamp::of(&metadata)),
                Err(problem) => Sight::Problem(problem),
            });
        }
        Err(error) => error,
    };
    if error.kind() != io::ErrorKind::NotFound {
        return Some(Sight::Problem(file_problem(path, &error)));
    }
    let is_link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    is_link.then(|| Sight::Problem(FileProblem::DanglingLink { path: path.into() }))
}

/// Checks that a file of this type can be read like a file.
pub(super) fn check_kind(path: &Path, file_type: FileType) -> Result<(), FileProblem> {
    let kind = match file_type {
        _ if file_type.is_file() => return Ok(()),
        _ if file_type.is_dir() => FileKind::Directory,
        _ if file_type.is_fifo() => FileKind::Fifo,
        _ if file_type.is_socket() => FileKind::Socket,
        _ if file_type.is_char_device() || file_type.is_block_device() => FileKind::Device,
        _ => FileKind::Other,
    };
    Err(FileProblem::NotAFile { path: path.into(), kind })
}

/// Returns why a file could not be read.
pub(super) fn file_problem(path: &Path, error: &io::Error) -> FileProblem {
    let path = path.to_path_buf();
    match error.kind() {
        io::ErrorKind::PermissionDenied => FileProblem::Denied { path },
        _ => FileProblem::Unreadable { path, error: errno_of(error) },
    }
}

fn directory_problem(dir: &Path, error: &io::Error) -> DirectoryProblem {
    let path = dir.to_path_buf();
    match error.kind() {
        io::ErrorKind::NotFound => DirectoryProblem::Missing { path },
        io::ErrorKind::NotADirectory => DirectoryProblem::NotADirectory { path },
        io::ErrorKind::PermissionDenied => DirectoryProblem::Denied { path },
        _ => DirectoryProblem::Unreadable { path, error: errno_of(error) },
    }
}

/// Keeps of an error what can be compared, so that the same problem twice is no news.
fn errno_of(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
