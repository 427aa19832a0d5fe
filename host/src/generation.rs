//! What was in force at one moment, kept so that it can be shown, compared and restored; and the edits that lead from one such
//! moment to the next. Whether a bot serves is no business of it: the supervisor says what is in force, and is told what changed.
//!
//! ```text
//! Edit ─Editor─► checked as a whole ─► Intent on disk ─► files in their places ─► reload ─► Archive::record ─► Generation
//!                                          └─ found at a start: finished first                    ▲
//! a file that somebody changed by hand ─────────────────────────► supervisor ─────────────────────┘
//! ```
//!
//! The contents of components are in `store::BlobDirectory`, of which this is the only user: a content that no kept generation
//! names, and nobody has pinned, is removed.

mod archive;
mod boot;
mod difference;
mod edit;
mod examine;
mod exchange;
mod ground;
mod intent;
mod keys;
mod lease;
mod place;
mod plan;
mod redact;
mod rental;
mod sheet;
mod shelf;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::archive::Archive;
pub use self::boot::{Boot, Fallback, boot};
pub use self::difference::Difference;
pub use self::edit::{Edit, EditError, Editor, Reloaded, Who};
pub use self::examine::{GenerationsFound, examine};
pub use self::exchange::{ComponentView, Export};
pub use self::keys::KeyError;
pub use self::lease::BotChange;
pub use self::place::Placing;
pub use self::redact::{REDACTED, UnknownSecret};
pub use self::rental::{Hand, RentalError};
pub use self::sheet::{Origin, Sheet};
use crate::bot::manifest::ComponentName;
use crate::clock::Timestamp;
use crate::id::{BotName, ContentHash};
use crate::store::StoreError;
use crate::watcher::FileProblem;

/// Everything that is in force at one moment.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The text of the configuration file.
    pub config: Arc<str>,
    /// The texts of the bots' own files, `NAME.toml` in the bots' directory.
    pub entries: BTreeMap<BotName, Arc<str>>,
    /// What serves each bot.
    pub bots: BTreeMap<BotName, Pinned>,
    /// Who brought it about, such as `file` where somebody changed a file.
    pub author: String,
    /// Why, for people.
    pub reason: String,
}

impl Snapshot {
    /// Returns whether the same is in force, whoever brought it about.
    fn is_as(&self, other: &Self) -> bool {
        self.config == other.config && self.entries == other.entries && self.bots == other.bots
    }
}

impl fmt::Debug for Snapshot {
    /// Without the texts, in which secrets may stand.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("entries", &self.entries.keys())
            .field("bots", &self.bots)
            .field("author", &self.author)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

/// The component that serves a bot, and what the bot may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// The name of its file in the bots' directory.
    pub file: ComponentName,
    /// The hash of its bytes.
    pub hash: ContentHash,
    /// How many bytes it has.
    pub len: u64,
    /// What the bot is granted, as [`Grants::lines`](crate::grants::Grants::lines) says it.
    pub grants: Vec<String>,
}

/// A [`Snapshot`] that is kept under a number. It never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Counted from 1, without gaps.
    pub number: u64,
    /// Since when it was in force.
    pub at: Timestamp,
    snapshot: Snapshot,
}

impl Deref for Generation {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}

/// What a list of generations says of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its number.
    pub number: u64,
    /// Since when it was in force.
    pub at: Timestamp,
    /// Who brought it about.
    pub author: String,
    /// Why.
    pub reason: String,
}

/// Why a generation could not be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum GenerationError {
    /// There is none of this number, or no longer.
    #[error("there is no generation {number}; {}", kept(*.oldest, *.latest))]
    Absent {
        /// The number.
        number: u64,
        /// The first that is kept.
        oldest: Option<u64>,
        /// The last.
        latest: Option<u64>,
    },
    /// It is not what was written. It was put aside; nobody can go back to it.
    #[error("generation {number} is damaged and was put aside as {}", .aside.display())]
    Damaged {
        /// Its number.
        number: u64,
        /// Where it is now.
        aside: PathBuf,
    },
    /// It was written by a newer host. It stays as it is.
    #[error(
        "{} is of format {format}, which a newer host has written, and this one reads format 1: start the newer one, or move the file away",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// A file or directory of the generations cannot be read or written.
    #[error("{} cannot be used", .path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A component cannot be read.
    #[error("a component cannot be kept")]
    Component(#[from] FileProblem),
    /// A component was replaced between two looks at it.
    #[error("{} has changed since it was looked at", .path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// What is to be recorded could not be restored: nobody has pinned it.
    #[error("the component {hash} of bot {bot} is not kept")]
    NotPinned {
        /// The bot.
        bot: BotName,
        /// The content.
        hash: ContentHash,
    },
    /// A component cannot be restored. Nothing changed.
    #[error("{} cannot be restored: its content {hash} is gone", .path.display())]
    Lost {
        /// Its file.
        path: PathBuf,
        /// The content.
        hash: ContentHash,
    },
    /// The store does not keep contents.
    #[error("contents of components cannot be kept")]
    Store(#[from] StoreError),
    /// The process is stopping.
    #[error("the host is stopping")]
    Stopping,
}

impl GenerationError {
    fn disk(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Disk { path: path.to_owned(), source }
    }
}

fn kept(oldest: Option<u64>, latest: Option<u64>) -> String {
    match (oldest, latest) {
        (Some(oldest), Some(latest)) if oldest == latest => format!("only {latest} is kept"),
        (Some(oldest), Some(latest)) => format!("{oldest} to {latest} are kept"),
        _ => "none is kept".to_owned(),
    }
}
