//! What the watcher publishes: the files of the bots' directory by bot, each with the hash of its content or with the reason
//! why it cannot be read. Data only; nothing here touches the disk.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;

use crate::id::{BotName, ContentHash, NameError};
use crate::units::ByteSize;

/// The most components and entries that a bots' directory may hold. Past it nothing more is taken over from the directory.
pub const FILES_MAX: usize = 4096;

/// The bots' directory at one moment, once everything in it that changed had come to rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    /// Grows by one with each publication, and only if something else in here changed. 0 before the first.
    pub generation: u64,
    /// Whether the directory could be read. Where not, everything below is as it was last seen, and says nothing of what the
    /// directory holds now.
    pub directory: Result<(), DirectoryProblem>,
    /// The files that belong to each bot. A bot without a file is not in here.
    pub files: BTreeMap<BotName, BotFiles>,
    /// Components and entries that no bot can be named after, by file name with control characters escaped.
    pub misnamed: BTreeMap<String, FileProblem>,
}

impl Catalogue {
    /// Returns the catalogue of a directory without a file.
    pub fn empty() -> Self {
        Self { directory: Ok(()), ..Self::unseen() }
    }

    /// Returns the catalogue before the first look.
    pub(super) fn unseen() -> Self {
        Self {
            generation: 0,
            directory: Err(DirectoryProblem::NotYetRead),
            files: BTreeMap::new(),
            misnamed: BTreeMap::new(),
        }
    }
}

/// The files of one bot; at least one of the two is there.
///
/// A problem replaces what was known of the file: whoever keeps a version running keeps it by its own copy, not by this.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BotFiles {
    /// `NAME.wasm`.
    pub component: Option<Result<ComponentFile, FileProblem>>,
    /// `NAME.toml`.
    pub entry: Option<Result<EntryFile, FileProblem>>,
}

/// A component as it lay in the directory. Its bytes are not kept: [`read_component`](super::read_component) fetches them, and
/// the reader compares their hash with this one, for the file may have been replaced since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentFile {
    /// Where it is; links are not resolved.
    pub path: PathBuf,
    /// The hash of its bytes.
    pub hash: ContentHash,
    /// How many bytes it has.
    pub len: u64,
}

/// An entry as it lay in the directory, not parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryFile {
    /// Where it is; links are not resolved.
    pub path: PathBuf,
    /// All of its text.
    pub text: Arc<str>,
    /// The hash of its text.
    pub hash: ContentHash,
}

/// What stands where a regular file should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A character or block device.
    Device,
    /// Something that this operating system alone knows.
    Other,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory => "a directory",
            Self::Fifo => "a named pipe",
            Self::Socket => "a socket",
            Self::Device => "a device",
            Self::Other => "a special file",
        })
    }
}

/// Why a file of the bots' directory is of no use, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileProblem {
    /// No such file. Not in a catalogue, where an absent file is just not there.
    #[error("`{}` does not exist: copy it there again", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A symbolic link whose target is gone.
    #[error("`{}` is a link to nothing: restore what it points to, or remove the link", path.display())]
    DanglingLink {
        /// The link.
        path: PathBuf,
    },
    /// Not a regular file, nor a link to one. It was not opened, or not read.
    #[error("`{}` is {kind}: put a regular file, or a link to one, in its place", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: FileKind,
    },
    /// A component without a byte.
    #[error("`{}` is empty: copy the component there again", path.display())]
    EmptyComponent {
        /// The file.
        path: PathBuf,
    },
    /// A component past the operator's limit.
    #[error("`{}` is larger than {max}: make the component smaller, or raise `limits.component_size`", path.display())]
    ComponentTooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        max: ByteSize,
    },
    /// An entry past the limit.
    #[error("`{}` is larger than {max}, the most that an entry may have: make it smaller", path.display())]
    EntryTooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        max: ByteSize,
    },
    /// An entry that is not UTF-8.
    #[error("`{}` is not UTF-8 text: save it as UTF-8", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// The host's user has no right to read it.
    #[error("`{}` may not be read by the host: give the host's user that right with chmod or chown", path.display())]
    Denied {
        /// The file.
        path: PathBuf,
    },
    /// The operating system failed to read it. Tried again at each rescan.
    #[error("`{}` cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        error: Errno,
    },
    /// A component or an entry that no bot can be named after.
    #[error("`{file}` is left out: rename it")]
    Misnamed {
        /// The file's name, with control characters escaped.
        file: String,
        /// What is wrong with it.
        #[source]
        error: NameError,
    },
}

/// Why the bots' directory cannot be read, and what to do about it. Bots that run keep running; the directory is looked at
/// again every second.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryProblem {
    /// Nobody has looked yet, or what was there has not come to rest.
    #[error("the bots' directory has not been read yet")]
    NotYetRead,
    /// It was there and is gone.
    #[error("the bots' directory `{}` is gone: create it again", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// It was not there at the start and could not be made.
    #[error("the bots' directory `{}` cannot be created", path.display())]
    NotCreated {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        error: Errno,
    },
    /// Something else has its name.
    #[error("`{}` is no directory: move it away, or change `host.bots_dir`", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The host's user has no right to list it.
    #[error("the bots' directory `{}` may not be listed by the host: give the host's user that right", path.display())]
    Denied {
        /// The directory.
        path: PathBuf,
    },
    /// More components and entries than [`FILES_MAX`].
    #[error("the bots' directory `{}` holds more than {FILES_MAX} components and entries: remove some", path.display())]
    TooManyFiles {
        /// The directory.
        path: PathBuf,
    },
    /// The operating system failed to list it.
    #[error("the bots' directory `{}` cannot be read", path.display())]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        error: Errno,
    },
}
