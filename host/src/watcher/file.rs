//! Reads one file: hashes a component, takes in an entry, or fetches a component's bytes. Blocks while the disk does; never
//! waits for a pipe or a device, never reads past a cap, and looks up between two chunks whether it should stop.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::catalogue::{ComponentFile, EntryFile, FileProblem};
use super::name::FileName;
use super::scan::{Sight, Stamp, Stopped, check_kind, file_problem, sight_of};
use crate::id::ContentHash;
use crate::units::ByteSize;

/// How much is read at once, and so between two looks at whether to stop.
const CHUNK_BYTES: usize = 64 << 10;

/// Reads a component of at most `bytes_max` bytes. Blocks while the disk does, but never for a pipe, a device or a socket, which
/// are refused. A link to a regular file is followed.
///
/// # Errors
///
/// Says what is wrong with the file and what to do about it.
pub fn read_component(path: &Path, bytes_max: u64) -> Result<Vec<u8>, FileProblem> {
    let mut source = Source::open(path)?;
    let mut bytes = Vec::with_capacity(source.metadata.len().min(bytes_max).try_into().unwrap_or(0));
    source.stream(Cap::Component(bytes_max), |chunk| {
        bytes.extend_from_slice(chunk);
        Ok::<_, FileProblem>(())
    })?;
    Ok(bytes)
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// Of a component.
    Component(ComponentFile),
    /// Of an entry.
    Entry(EntryFile),
}

impl Content {
    /// Returns the component, if it is one.
    pub(super) fn into_component(self) -> Option<ComponentFile> {
        match self {
            Self::Component(component) => Some(component),
            Self::Entry(_) => None,
        }
    }

    /// Returns the entry, if it is one.
    pub(super) fn into_entry(self) -> Option<EntryFile> {
        match self {
            Self::Entry(entry) => Some(entry),
            Self::Component(_) => None,
        }
    }
}

/// What came of reading a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reading {
    /// It was the same file from before the first byte to after the last.
    Done(Result<Content, FileProblem>),
    /// It changed meanwhile, to this; `None` if it is gone.
    Changed(Option<Sight>),
}

/// The most bytes a file may have, by what it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caps {
    pub(super) component_bytes_max: u64,
    pub(super) entry_bytes_max: u64,
}

/// Reads a file that a look showed as `expected`: to hash it and, of an entry, for its text.
pub(super) fn read(
    dir: &Path,
    name: &FileName,
    expected: Stamp,
    caps: Caps,
    cancel: &CancellationToken,
) -> Result<Reading, Stopped> {
    let path = name.path_in(dir);
    let outcome = match (name, Source::open(&path)) {
        (_, Err(problem)) => Err(problem.into()),
        (_, Ok(source)) if Stamp::of(&source.metadata) != expected => return Ok(Reading::Changed(sight_of(&path))),
        (FileName::Component(_), Ok(source)) => hash_component(source, caps.component_bytes_max, cancel),
        (FileName::Entry(_), Ok(source)) => take_entry(source, caps.entry_bytes_max, cancel),
        // Never asked for: its name is all there is to know of it.
        (FileName::Misnamed(_), Ok(_)) => return Ok(Reading::Changed(None)),
    };
    let outcome = match outcome {
        Ok(content) => Ok(content),
        Err(Unread::Problem(problem)) => Err(problem),
        Err(Unread::Stopped) => return Err(Stopped),
    };
    // The path is asked and not the descriptor, whose stamp says nothing of a file that was renamed over this one.
    Ok(match sight_of(&path) {
        Some(Sight::File(stamp)) if stamp == expected => Reading::Done(outcome),
        other => Reading::Changed(other),
    })
}

fn hash_component(mut source: Source, bytes_max: u64, cancel: &CancellationToken) -> Result<Content, Unread> {
    let mut hasher = Sha256::new();
    let len = source.stream(Cap::Component(bytes_max), |chunk| {
        hasher.update(chunk);
        go_on(cancel)
    })?;
    let hash = ContentHash(hasher.finalize().into());
    Ok(Content::Component(ComponentFile { path: source.path.into(), hash, len }))
}

fn take_entry(mut source: Source, bytes_max: u64, cancel: &CancellationToken) -> Result<Content, Unread> {
    let mut bytes = Vec::new();
    source.stream(Cap::Entry(bytes_max), |chunk| {
        bytes.extend_from_slice(chunk);
        go_on(cancel)
    })?;
    let hash = ContentHash::of(&bytes);
    let path = source.path.to_path_buf();
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Content::Entry(EntryFile { path, text: Arc::from(text), hash })),
        Err(_) => Err(FileProblem::NotText { path }.into()),
    }
}

fn go_on(cancel: &CancellationToken) -> Result<(), Unread> {
    if cancel.is_cancelled() { Err(Unread::Stopped) } else { Ok(()) }
}

/// Why a file was not read to its end.
enum Unread {
    Stopped,
    Problem(FileProblem),
}

impl From<FileProblem> for Unread {
    fn from(problem: FileProblem) -> Self {
        Self::Problem(problem)
    }
}

/// The most bytes a file may have, and with it what to say of one that has more.
#[derive(Clone, Copy)]
enum Cap {
    Component(u64),
    Entry(u64),
}

impl Cap {
    fn check(self, path: &Path, len: u64) -> Result<(), FileProblem> {
        let path = || path.to_path_buf();
        match self {
            Self::Component(max) if len > max => {
                Err(FileProblem::ComponentTooLarge { path: path(), max: ByteSize(max) })
            }
            Self::Entry(max) if len > max => Err(FileProblem::EntryTooLarge { path: path(), max: ByteSize(max) }),
            _ => Ok(()),
        }
    }
}

/// A regular file, opened.
struct Source<'a> {
    path: &'a Path,
    file: File,
    metadata: Metadata,
}

impl<'a> Source<'a> {
    fn open(path: &'a Path) -> Result<Self, FileProblem> {
        let problem = |error: io::Error| match sight_of(path) {
            Some(Sight::Problem(problem)) => problem,
            None => FileProblem::Missing { path: path.into() },
            Some(Sight::File(_)) => file_problem(path, &error),
        };
        // Asked before it is opened, because opening some devices does something: it rewinds a tape, it starts a watchdog.
        check_kind(path, fs::metadata(path).map_err(problem)?.file_type())?;
        // `NONBLOCK` for what may have taken its place since: opening a pipe waits for its other end.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| problem(errno.into()))?);
        let metadata = file.metadata().map_err(problem)?;
        check_kind(path, metadata.file_type())?;
        Ok(Self { path, file, metadata })
    }

    /// Hands the file over in chunks and returns how many bytes it had. The size is checked before the first byte and again
    /// with each chunk, for a file may grow, and some of `/proc` have more than they say.
    fn stream<E: From<FileProblem>>(
        &mut self,
        cap: Cap,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<u64, E> {
        cap.check(self.path, self.metadata.len())?;
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut len = 0;
        loop {
            let count = match self.file.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(file_problem(self.path, &error).into()),
            };
            len += count as u64;
            cap.check(self.path, len)?;
            take(&chunk[..count])?;
        }
        match cap {
            Cap::Component(_) if len == 0 => Err(FileProblem::EmptyComponent { path: self.path.into() }.into()),
            _ => Ok(len),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::FileKind;
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;
    use tempfile::TempDir;

    fn dir() -> TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn a_component_is_read_whole_and_through_links() {
        let dir = dir();
        let bytes: Vec<u8> = (0..3 * CHUNK_BYTES + 7).map(|i| (i % 251) as u8).collect();
        fs::write(dir.path().join("real"), &bytes).unwrap();
        symlink("real", dir.path().join("link")).unwrap();
        assert_eq!(read_component(&dir.path().join("link"), bytes.len() as u64), Ok(bytes));
    }

    #[test]
    fn a_file_past_its_cap_is_refused_even_if_it_says_it_is_empty() {
        let dir = dir();
        let path = dir.path().join("x.wasm");
        fs::write(&path, "12345").unwrap();
        let refused = Err(FileProblem::ComponentTooLarge { path: path.clone(), max: ByteSize(4) });
        assert_eq!(read_component(&path, 4), refused);
        let proc = PathBuf::from("/proc/self/status");
        assert_eq!(fs::metadata(&proc).unwrap().len(), 0);
        let refused = Err(FileProblem::ComponentTooLarge { path: proc.clone(), max: ByteSize(4) });
        assert_eq!(read_component(&proc, 4), refused);
    }

    #[test]
    fn what_is_no_file_is_refused_by_kind_and_never_waited_for() {
        let dir = dir();
        let at = |name: &str| dir.path().join(name);
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        let _listener = UnixListener::bind(at("socket")).unwrap();
        symlink("/dev/zero", at("device")).unwrap();
        fs::create_dir(at("directory")).unwrap();
        for (name, kind) in [
            ("fifo", FileKind::Fifo),
            ("socket", FileKind::Socket),
            ("device", FileKind::Device),
            ("directory", FileKind::Directory),
        ] {
            assert_eq!(read_component(&at(name), 99), Err(FileProblem::NotAFile { path: at(name), kind }));
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_told_from_a_link_to_nothing_and_from_an_empty_one() {
        let dir = dir();
        let path = dir.path().join("x.wasm");
        assert_eq!(read_component(&path, 99), Err(FileProblem::Missing { path: path.clone() }));
        fs::write(&path, "").unwrap();
        assert_eq!(read_component(&path, 99), Err(FileProblem::EmptyComponent { path: path.clone() }));
        fs::remove_file(&path).unwrap();
        symlink("nothing", &path).unwrap();
        assert_eq!(read_component(&path, 99), Err(FileProblem::DanglingLink { path }));
    }

    #[test]
    fn a_file_that_is_not_the_one_looked_at_is_not_read() {
        let dir = dir();
        let name = FileName::Entry("x".parse().unwrap());
        let path = name.path_in(dir.path());
        fs::write(&path, "a = 1").unwrap();
        let Some(Sight::File(stamp)) = sight_of(&path) else { panic!("no file") };
        let caps = Caps { component_bytes_max: 99, entry_bytes_max: 99 };
        let read = |cancel: &CancellationToken| read(dir.path(), &name, stamp, caps, cancel);
        let cancel = CancellationToken::new();
        assert!(matches!(read(&cancel), Ok(Reading::Done(Ok(Content::Entry(entry)))) if &*entry.text == "a = 1"));
        fs::write(&path, "a = 12").unwrap();
        assert_eq!(read(&cancel), Ok(Reading::Changed(sight_of(&path))));
        fs::remove_file(&path).unwrap();
        assert_eq!(read(&cancel), Ok(Reading::Changed(None)));
    }

    #[test]
    fn a_scan_that_is_to_stop_does_not_finish_the_file() {
        let dir = dir();
        let name = FileName::Component("x".parse().unwrap());
        fs::write(name.path_in(dir.path()), "bytes").unwrap();
        let Some(Sight::File(stamp)) = sight_of(&name.path_in(dir.path())) else { panic!("no file") };
        let cancel = CancellationToken::new();
        cancel.cancel();
        let caps = Caps { component_bytes_max: 99, entry_bytes_max: 99 };
        assert_eq!(read(dir.path(), &name, stamp, caps, &cancel), Err(Stopped));
    }
}
