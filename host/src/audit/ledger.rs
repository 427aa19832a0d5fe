//! The files of the audit log, as the one who writes them sees them: opened after whatever happened, appended to, and renewed.
//!
//! A file is cut only at its end, by what a crash left there of a line that nobody was told of. Where anything else is wrong, the files stay
//! as they are and the next record goes into a new one, following the record that the head names: the gap stays for
//! [`verify`](super::verify) to find.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::record::{self, NOTHING, Record};
use super::{AuditError, Entry};
use crate::clock::Timestamp;
use crate::id::ContentHash;
use crate::sealed::{self, SealError};

/// Where the last record is named.
pub(super) const HEAD: &str = "head.json";

/// How large the files become, and how many are kept.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// From this size on a new file is begun.
    pub file_bytes: u64,
    /// Files that are kept; the oldest gives way. At least 2.
    pub files_max: u64,
}

impl Default for Terms {
    /// A gigabyte in all.
    fn default() -> Self {
        Self { file_bytes: 16 << 20, files_max: 64 }
    }
}

/// A record by its number and its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Link {
    pub(super) seq: u64,
    pub(super) hash: ContentHash,
}

impl Link {
    pub(super) const START: Self = Self { seq: 0, hash: NOTHING };

    /// Returns whether a record comes right after this one.
    pub(super) fn is_followed_by(&self, record: &Record) -> bool {
        self.seq.checked_add(1) == Some(record.seq) && self.hash == record.previous
    }
}

impl From<&Record> for Link {
    fn from(record: &Record) -> Self {
        Self { seq: record.seq, hash: record.hash }
    }
}

/// What `head.json` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// The last record that somebody was told of.
    pub(super) last: Link,
    /// The last record that is no longer kept.
    pub(super) before_first: Link,
    /// The number of the oldest file.
    pub(super) first_file: u64,
}

/// Returns the path of a file of the log.
pub(super) fn place(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("audit-{number:06}.log"))
}

/// Returns the numbers of the files, the oldest first; none where there is no directory.
pub(super) fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for file in sealed::list(dir)? {
        let name = file.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("audit-")?.strip_suffix(".log")?.parse().ok());
        // Only as it is written, so that no two names have one number.
        numbers.extend(number.filter(|number| place(dir, *number).file_name() == Some(&*name)));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Splits a file into its whole lines and what comes after the last.
pub(super) fn lines(bytes: &[u8]) -> (impl DoubleEndedIterator<Item = &[u8]>, &[u8]) {
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let (whole, rest) = bytes.split_at(end);
    (whole.split_inclusive(|byte| *byte == b'\n').map(|line| &line[..line.len() - 1]), rest)
}

/// The log, open for writing.
#[derive(Debug)]
pub(super) struct Ledger {
    dir: PathBuf,
    terms: Terms,
    file: File,
    number: u64,
    /// Of the file, as far as it is whole.
    len: u64,
    /// Whether there may be more than that in it.
    is_dirty: bool,
    head: Head,
}

/// What the files say at the start.
struct Found {
    /// The newest file with a line, and its bytes.
    newest: Option<(u64, Vec<u8>)>,
    /// The largest number there is.
    number: u64,
}

impl Ledger {
    /// Opens the log of a directory, which is made unless it is there.
    pub(super) fn open(dir: &Path, terms: Terms) -> Result<(Self, Vec<String>), AuditError> {
        let disk = || AuditError::disk(dir);
        sealed::make_directory(dir).map_err(disk())?;
        sealed::remove_unfinished(dir).map_err(disk())?;
        let head = match sealed::read::<Head>(&dir.join(HEAD)) {
            Ok(head) => Ok(head),
            Err(SealError::Unreadable(error)) if error.kind() == io::ErrorKind::NotFound => Err("missing"),
            Err(SealError::Unreadable(source)) => return Err(disk()(source)),
            Err(SealError::Newer(format)) => return Err(AuditError::Newer { path: dir.to_owned(), format }),
            Err(SealError::Broken) => Err("damaged"),
        };
        let all = numbers(dir).map_err(disk())?;
        let found = Found::look(dir, &all).map_err(disk())?;
        let (mut findings, mut repairs) = (Vec::new(), Vec::new());
        let (head, number) = match head {
            Ok(head) => match found.after(&head) {
                Ok((last, torn)) => {
                    repairs.extend(torn);
                    (Head { last, ..head }, found.number.max(head.first_file))
                }
                Err(finding) => {
                    findings.push(finding);
                    (head, found.number + 1)
                }
            },
            Err(_) if found.newest.is_none() => {
                (Head { last: Link::START, before_first: Link::START, first_file: 1 }, found.number.max(1))
            }
            Err(how) => {
                findings.push(format!("{HEAD} is {how}: whether records were cut off cannot be known"));
                let first_file = all.first().copied().unwrap_or(1);
                let before_first = before_first(dir, first_file).map_err(disk())?;
                (Head { last: found.last().unwrap_or(before_first), before_first, first_file }, found.number + 1)
            }
        };
        for number in all.into_iter().filter(|number| *number < head.first_file) {
            // What a crash left of a removal.
            fs::remove_file(place(dir, number)).map_err(disk())?;
        }
        let (file, len) = begin(dir, number).map_err(disk())?;
        sealed::write(&dir.join(HEAD), &head).map_err(disk())?;
        let mut ledger = Self { dir: dir.to_owned(), terms, file, number, len, is_dirty: true, head };
        let noted = findings.iter().map(|finding| Entry::of_host("find", "audit log", finding));
        let noted: Vec<_> =
            noted.chain(repairs.iter().map(|repair| Entry::of_host("repair", "audit log", repair))).collect();
        ledger.append(&noted, Timestamp::now()).map_err(disk())?;
        Ok((ledger, findings))
    }

    /// Returns where it is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Appends records. When this returns they are on disk, and the head knows them.
    ///
    /// # Errors
    ///
    /// What the system says: they are perhaps not there. The next ones are tried in their place.
    pub(super) fn append(&mut self, entries: &[Entry], now: Timestamp) -> io::Result<()> {
        if self.is_dirty {
            self.file.set_len(self.len)?;
            self.file.seek(io::SeekFrom::Start(self.len))?;
            self.is_dirty = false;
        }
        if entries.is_empty() {
            return Ok(());
        }
        let (mut text, mut last) = (String::new(), self.head.last);
        for entry in entries {
            let (line, hash) = record::line(entry, last.seq + 1, last.hash, now);
            last = Link { seq: last.seq + 1, hash };
            text.push_str(&line);
        }
        self.is_dirty = true;
        self.file.write_all(text.as_bytes())?;
        self.file.sync_data()?;
        // Whoever dies here leaves records that nobody was told of, which the next start takes for good.
        let head = Head { last, ..self.head };
        sealed::write(&self.dir.join(HEAD), &head)?;
        (self.is_dirty, self.head) = (false, head);
        self.len += text.len() as u64;
        if self.len >= self.terms.file_bytes
            && let Err(error) = self.renew(now)
        {
            // The file grows on until it works.
            tracing::error!(%error, dir = %self.dir.display(), "no new file for the audit log");
        }
        Ok(())
    }

    /// Begins a new file, and removes the oldest if there are too many.
    fn renew(&mut self, now: Timestamp) -> io::Result<()> {
        let number = self.number + 1;
        (self.file, self.len) = begin(&self.dir, number)?;
        (self.number, self.is_dirty) = (number, true);
        let oldest = self.head.first_file;
        if number - oldest < self.terms.files_max {
            return Ok(());
        }
        // What cannot be read there ends the removal: the evidence stays.
        let bytes = fs::read(place(&self.dir, oldest))?;
        let last = lines(&bytes).0.next_back().and_then(record::parse).ok_or(io::ErrorKind::InvalidData)?;
        let head = Head { before_first: Link::from(&last), first_file: oldest + 1, ..self.head };
        sealed::write(&self.dir.join(HEAD), &head)?;
        self.head = head;
        sealed::remove(&place(&self.dir, oldest))?;
        let detail = format!("records up to {}, the last with hash {}", last.seq, last.hash);
        self.append(&[Entry::of_host("remove", format!("audit-{oldest:06}.log"), detail)], now)
    }
}

impl Found {
    fn look(dir: &Path, numbers: &[u64]) -> io::Result<Self> {
        let number = numbers.last().copied().unwrap_or(0);
        for number in numbers.iter().rev() {
            let bytes = fs::read(place(dir, *number))?;
            if !bytes.is_empty() {
                return Ok(Self { newest: Some((*number, bytes)), number: numbers.last().copied().unwrap_or(0) });
            }
        }
        Ok(Self { newest: None, number })
    }

    /// Returns the last record that can be read.
    fn last(&self) -> Option<Link> {
        let (_, bytes) = self.newest.as_ref()?;
        lines(bytes).0.rev().find_map(record::parse).as_ref().map(Link::from)
    }

    /// Returns the record that the next one follows, and what a crash left that is to be cut off. An error: what is there is not what a
    /// crash leaves.
    fn after(&self, head: &Head) -> Result<(Link, Option<String>), String> {
        let Some((number, bytes)) = &self.newest else {
            return if head.last == head.before_first { Ok((head.last, None)) } else { Err(gone(head)) };
        };
        let (whole, torn) = lines(bytes);
        // From the head's record on, all must follow one another. It may be the last of the file before.
        let mut at = None;
        let mut is_first = true;
        for line in whole {
            let record = record::parse(line);
            at = match (at, record) {
                (None, Some(record)) if Link::from(&record) == head.last => Some(head.last),
                (None, Some(record)) if is_first && head.last.is_followed_by(&record) => Some(Link::from(&record)),
                (None, _) => None,
                (Some(link), Some(record)) if Link::is_followed_by(&link, &record) => Some(Link::from(&record)),
                (Some(link), _) => return Err(format!("what comes after record {} is not what was written", link.seq)),
            };
            is_first = false;
        }
        if at.is_none() && is_first && (head.last == head.before_first || *number > head.first_file) {
            // Nothing but a torn first line of a new file.
            at = Some(head.last);
        }
        let last = at.ok_or_else(|| gone(head))?;
        let said =
            |bytes: usize| format!("{bytes} bytes of a record after {} that nobody was told of were cut off", last.seq);
        Ok((last, Some(torn.len()).filter(|len| *len > 0).map(said)))
    }
}

fn gone(head: &Head) -> String {
    format!("record {} was written and is not there any more, or not as it was", head.last.seq)
}

/// Opens a file of the log, which is made unless it is there, and returns how much of it is whole lines.
fn begin(dir: &Path, number: u64) -> io::Result<(File, u64)> {
    let path = place(dir, number);
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(&path)?;
    sealed::sync_directory_of(&path)?;
    let bytes = fs::read(&path)?;
    let len = bytes.len() - lines(&bytes).1.len();
    Ok((file, len as u64))
}

/// Returns what comes before the first record that is kept, as that one says.
fn before_first(dir: &Path, first_file: u64) -> io::Result<Link> {
    let bytes = match fs::read(place(dir, first_file)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Link::START),
        read => read?,
    };
    let first = lines(&bytes).0.next().and_then(record::parse);
    Ok(first.map_or(Link::START, |first| Link { seq: first.seq.saturating_sub(1), hash: first.previous }))
}
