//! Goes on reading a log file where somebody left off: what is appended, and on into the next one when it is rotated, cut short or
//! removed. Asks the file system each time it is asked itself, and waits for nothing.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;

use super::directory::Identity;
use super::line::{Line, Splitter};
use super::name::Stamp;
use super::tail::{Query, Rotated};

/// Read of the files in one go.
const BATCH_BYTES: usize = 256 << 10;

/// What came since the last time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The lines that are wanted.
    pub lines: Vec<Line>,
    /// Lines that were left out because the reader is too far behind, wanted or not.
    pub skipped: u64,
    /// There is more already.
    is_more: bool,
}

impl Batch {
    /// Returns whether to ask again without a wait.
    pub fn is_more(&self) -> bool {
        self.is_more
    }
}

/// Reads on. Holds one batch at a time, however far behind it is.
#[derive(Debug)]
pub struct Follower {
    query: Query,
    current: Option<Current>,
    /// Rotated files between the one that is read and the one that is written to.
    between: VecDeque<Stamp>,
    /// The newest rotated file that was there when the current one was opened.
    last: Option<Stamp>,
    splitter: Splitter,
    /// Bytes that may be unread before lines are left out.
    behind_bytes_max: Option<u64>,
}

enum Current {
    /// The one that is written to, or was.
    Active { file: File, identity: Identity, at: u64 },
    /// One that was rotated before it could be read.
    Rotated(Box<dyn Read + Send>),
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Active { identity, at, .. } => write!(f, "Active({identity:?}, {at})"),
            Self::Rotated(_) => f.write_str("Rotated"),
        }
    }
}

impl Follower {
    /// Returns one that goes on after what a look has shown.
    pub(super) fn after(query: Query, active: Option<&(File, Identity, u64)>, last: Option<Stamp>) -> io::Result<Self> {
        let mut splitter = Splitter::default();
        let current = match active {
            None => None,
            Some((file, identity, bytes)) => {
                let at = whole_lines(file, *bytes)?;
                if at.is_none() {
                    splitter = Splitter::skipping();
                }
                let (file, identity) = (file.try_clone()?, *identity);
                Some(Current::Active { file, identity, at: at.unwrap_or(*bytes) })
            }
        };
        Ok(Self { query, current, between: VecDeque::new(), last, splitter, behind_bytes_max: None })
    }

    /// Returns one that leaves out lines rather than be more than so many bytes behind, and says how many.
    pub fn leaving_out(self, behind_bytes_max: u64) -> Self {
        Self { behind_bytes_max: Some(behind_bytes_max), ..self }
    }

    /// Returns what came since the last time, or a part of it. Blocking, for as long as it takes to read a quarter of a megabyte; or
    /// all that is left out.
    ///
    /// # Errors
    ///
    /// What the system says. It may be asked again.
    pub fn read_on(&mut self) -> io::Result<Batch> {
        let mut batch = Batch::default();
        let mut room = BATCH_BYTES;
        let mut piece = vec![0; BATCH_BYTES / 4];
        loop {
            self.skip(&mut batch)?;
            let count = self.read(&mut piece)?;
            self.take(&piece[..count], &mut batch);
            room = room.saturating_sub(count);
            if room == 0 {
                batch.is_more = true;
                return Ok(batch);
            }
            if count > 0 {
                continue;
            }
            if !self.advance(&mut piece, &mut batch)? {
                return Ok(batch);
            }
        }
    }

    fn take(&mut self, piece: &[u8], batch: &mut Batch) {
        let wanted = self.query.wanted;
        self.splitter.feed(piece, &mut |line| batch.lines.extend(wanted.has(&line).then_some(line)));
    }

    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        match &mut self.current {
            None => Ok(0),
            Some(Current::Active { file, at, .. }) => {
                let count = file.read_at(piece, *at)?;
                *at += count as u64;
                Ok(count)
            }
            // One that breaks off has what it has.
            Some(Current::Rotated(reader)) => Ok(reader.read(piece).unwrap_or(0)),
        }
    }

    /// Leaves out what is too far behind.
    fn skip(&mut self, batch: &mut Batch) -> io::Result<()> {
        let (Some(max), Some(Current::Active { file, at, .. })) = (self.behind_bytes_max, &mut self.current) else {
            return Ok(());
        };
        let bytes = file.metadata()?.len();
        if bytes.saturating_sub(*at) <= max {
            return Ok(());
        }
        let end = bytes - max / 2;
        let mut piece = vec![0; BATCH_BYTES / 4];
        while *at < end {
            let room = usize::try_from(end - *at).unwrap_or(usize::MAX).min(piece.len());
            let count = file.read_at(&mut piece[..room], *at)?;
            if count == 0 {
                break;
            }
            *at += count as u64;
            batch.skipped += piece[..count].iter().filter(|byte| **byte == b'\n').count() as u64;
        }
        // The line that this ends within is left out as well.
        batch.skipped += 1;
        self.splitter = Splitter::skipping();
        Ok(())
    }

    /// At the end of what is read: goes to what comes next. Returns whether there is something.
    fn advance(&mut self, piece: &mut [u8], batch: &mut Batch) -> io::Result<bool> {
        let named = fs::metadata(self.query.file.path(&self.query.dir)).ok();
        if let Some(Current::Active { file, identity, at }) = &mut self.current {
            if named.as_ref().map(Identity::of) == Some(*identity) {
                if file.metadata()?.len() < *at {
                    // Somebody cut it short; what there is now is new.
                    *at = 0;
                    self.splitter = Splitter::default();
                    return Ok(true);
                }
                return Ok(false);
            }
            // It was rotated or removed. What came between the last read and that is the last of it.
            let count = file.read_at(piece, *at)?;
            if count > 0 {
                *at += count as u64;
                self.take(&piece[..count], batch);
                return Ok(true);
            }
        } else if self.current.is_none() && self.between.is_empty() && named.is_none() {
            return Ok(false);
        }
        self.go_on(batch)
    }

    /// Opens the next file.
    fn go_on(&mut self, batch: &mut Batch) -> io::Result<bool> {
        let wanted = self.query.wanted;
        batch.lines.extend(self.splitter.finish().filter(|line| wanted.has(line)));
        self.splitter = Splitter::default();
        let left = self.current.take();
        if let Some(stamp) = self.between.pop_front() {
            let reader: Option<Box<dyn Read + Send>> = self.query.open(stamp)?.map(|rotated| match rotated {
                Rotated::Plain(file, _) => Box::new(file),
                Rotated::Packed(reader) => reader,
            });
            self.current = reader.map(Current::Rotated);
            return Ok(true);
        }
        let view = self.query.view()?;
        let mut newer: VecDeque<_> = view.stamps.iter().copied().filter(|stamp| Some(*stamp) > self.last).collect();
        self.last = view.stamps.last().copied().max(self.last);
        if let Some(Current::Active { identity, .. }) = left {
            // The first of them is the one that was read, unless somebody else has taken that away.
            let is_read = newer.front().is_some_and(|stamp| match self.query.open(*stamp) {
                Ok(Some(Rotated::Plain(file, _))) => file.metadata().is_ok_and(|file| Identity::of(&file) == identity),
                _ => true,
            });
            if is_read {
                newer.pop_front();
            }
        }
        if newer.is_empty() {
            self.current = view.active.map(|(file, identity, _)| Current::Active { file, identity, at: 0 });
            return Ok(self.current.is_some());
        }
        self.between = newer;
        Ok(true)
    }
}

/// Returns where the last whole line of a file ends; none where that is too far back to matter.
fn whole_lines(file: &File, bytes: u64) -> io::Result<Option<u64>> {
    let start = bytes.saturating_sub(super::line::LINE_BYTES_MAX as u64);
    let mut end = vec![0; usize::try_from(bytes - start).unwrap_or(0)];
    let count = file.read_at(&mut end, start)?;
    let newline = end[..count].iter().rposition(|byte| *byte == b'\n');
    Ok(match newline {
        Some(at) => Some(start + at as u64 + 1),
        None => (start == 0).then_some(0),
    })
}
