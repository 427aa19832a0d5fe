//! Whether the audit log is what was written: every record follows the one before, and none is missing at either end.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::ledger::{HEAD, Head, Link, lines, numbers, place};
use super::{DIRECTORY, record};
use crate::id::ContentHash;
use crate::sealed::{self, SealError};

/// A log in which every record is what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Records that are kept.
    pub records: u64,
    /// The number of the last one; 0: there is none yet.
    pub last: u64,
    /// Its hash: what to copy elsewhere, to know later that this log goes on from there.
    pub hash: ContentHash,
    /// Files that are kept.
    pub files: u64,
    /// Records, and bytes of one, that nobody was told of: the host that wrote them ended meanwhile, or is at it.
    pub unacknowledged: (u64, usize),
}

/// What is wrong at a place of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The line is not what was written.
    Line,
    /// The record does not follow the one before, which has this number.
    Order(u64),
    /// The record with this number is another one than the head knows.
    Other(u64),
    /// It ends before the record with this number, which was written.
    Short(u64),
    /// The file is not there.
    File,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line => f.write_str("this is not what was written"),
            Self::Order(seq) => write!(f, "this does not follow record {seq}: records were removed, moved or added"),
            Self::Other(seq) => write!(f, "record {seq} is another one than {HEAD} knows"),
            Self::Short(seq) => write!(f, "records up to {seq} were written, and are cut off here"),
            Self::File => f.write_str("the file is missing"),
        }
    }
}

/// Why a log is not what was written.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Something is wrong at a place.
    #[error("{}:{line}: {broken}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong.
        broken: Broken,
    },
    /// The head is missing or damaged.
    #[error("{path:?} is missing or not what was written: whether records were cut off cannot be known")]
    Head {
        /// The file.
        path: PathBuf,
    },
    /// A newer host wrote it.
    #[error("{path:?} was written by a newer host, in format {format}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// It cannot be read.
    #[error("cannot read {path:?}")]
    Disk {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// Looks through the whole log of a data directory, which a host may be writing meanwhile. Blocks: it reads all of it, a gigabyte at
/// most.
///
/// # Errors
///
/// [`VerifyError`]: the first thing that is wrong.
pub fn verify(data_dir: &Path) -> Result<Verified, VerifyError> {
    let dir = &data_dir.join(DIRECTORY);
    let disk = |path: &Path| {
        let path = path.to_owned();
        |source| VerifyError::Disk { path, source }
    };
    let head_path = dir.join(HEAD);
    // Before the files, so that what is written meanwhile only makes them longer.
    let head = match sealed::read::<Head>(&head_path) {
        Ok(head) => head,
        Err(SealError::Unreadable(error)) if error.kind() == io::ErrorKind::NotFound => {
            if numbers(dir).map_err(disk(dir))?.is_empty() {
                return Ok(Verified { records: 0, last: 0, hash: Link::START.hash, files: 0, unacknowledged: (0, 0) });
            }
            return Err(VerifyError::Head { path: head_path });
        }
        Err(SealError::Unreadable(source)) => return Err(VerifyError::Disk { path: head_path, source }),
        Err(SealError::Newer(format)) => return Err(VerifyError::Newer { path: head_path, format }),
        Err(SealError::Broken) => return Err(VerifyError::Head { path: head_path }),
    };
    let numbers: Vec<_> = numbers(dir).map_err(disk(dir))?.into_iter().filter(|n| *n >= head.first_file).collect();
    let mut walk = Walk { head, at: head.before_first, records: 0, torn: 0 };
    for (index, number) in numbers.iter().enumerate() {
        let expected = head.first_file + index as u64;
        if *number != expected {
            return Err(VerifyError::Broken { path: place(dir, expected), line: 1, broken: Broken::File });
        }
        let path = place(dir, *number);
        let bytes = fs::read(&path).map_err(disk(&path))?;
        let is_newest = index + 1 == numbers.len();
        walk.file(&bytes, is_newest).map_err(|(line, broken)| VerifyError::Broken { path, line, broken })?;
    }
    if walk.at.seq < head.last.seq {
        let path = place(dir, numbers.last().copied().unwrap_or(head.first_file));
        let line = fs::read(&path).map_or(1, |bytes| lines(&bytes).0.count() as u64 + 1);
        return Err(VerifyError::Broken { path, line, broken: Broken::Short(head.last.seq) });
    }
    Ok(Verified {
        records: walk.records,
        last: walk.at.seq,
        hash: walk.at.hash,
        files: numbers.len() as u64,
        unacknowledged: (walk.at.seq - head.last.seq, walk.torn),
    })
}

/// How far the records were followed.
struct Walk {
    head: Head,
    at: Link,
    records: u64,
    torn: usize,
}

impl Walk {
    fn file(&mut self, bytes: &[u8], is_newest: bool) -> Result<(), (u64, Broken)> {
        let (whole, torn) = lines(bytes);
        let mut number = 0;
        for line in whole {
            number += 1;
            let record = record::parse(line).ok_or((number, Broken::Line))?;
            if !self.at.is_followed_by(&record) {
                return Err((number, Broken::Order(self.at.seq)));
            }
            self.at = Link::from(&record);
            self.records += 1;
            if self.at.seq == self.head.last.seq && self.at != self.head.last {
                return Err((number, Broken::Other(self.at.seq)));
            }
        }
        if torn.is_empty() {
            return Ok(());
        }
        // A line that somebody was told of is whole.
        if !is_newest || self.at.seq < self.head.last.seq {
            return Err((number + 1, Broken::Line));
        }
        self.torn = torn.len();
        Ok(())
    }
}
