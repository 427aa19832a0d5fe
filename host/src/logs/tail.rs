//! Reads log files as they lie there, from the newest line backwards or from a moment on, through what was rotated and packed. Needs
//! no host that runs, and holds no more lines than are asked for. Blocking.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::directory::{self, Identity};
use super::follow::Follower;
use super::line::{Line, Splitter, Wanted};
use super::name::{LogFile, Stamp};

/// Bytes of all the lines that are held at a time; past it the oldest go.
const HELD_BYTES_MAX: usize = 32 << 20;
/// So much of a file's end is looked at first, and then so many times as much, until there are enough lines.
const WINDOW_BYTES: u64 = 256 << 10;
const WINDOW_FACTOR: u64 = 8;
/// Read at a time.
const PIECE_BYTES: usize = 64 << 10;
/// How often a look is begun anew because a file was rotated meanwhile.
const LOOKS_MAX: usize = 10;

/// Which lines of which file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The directory of the logs.
    pub dir: PathBuf,
    /// The file.
    pub file: LogFile,
    /// Which of its lines.
    pub wanted: Wanted,
}

/// What a file and what was rotated from it was at one moment.
#[derive(Debug)]
pub(super) struct View {
    /// The one that is written to, if it is there.
    pub(super) active: Option<(File, Identity, u64)>,
    /// The others, the oldest first.
    pub(super) stamps: Vec<Stamp>,
}

impl Query {
    /// Returns the last lines, `count` at most, and what goes on after them. No files, no lines.
    ///
    /// # Errors
    ///
    /// What the system says of a file that is there and cannot be read.
    pub fn last(&self, count: usize) -> io::Result<(Vec<Line>, Follower)> {
        let View { active, stamps } = self.view()?;
        let follower = Follower::after(self.clone(), active.as_ref(), stamps.last().copied())?;
        let mut held = Held::new(count);
        if let Some((file, _, bytes)) = &active {
            held.before(self.last_of(file, *bytes, held.room(), Ending::MayBeUnfinished)?);
        }
        for stamp in stamps.into_iter().rev() {
            // All of its lines are older.
            let is_too_old = self.wanted.since.is_some_and(|since| stamp.is_before(since));
            if held.is_full() || is_too_old {
                break;
            }
            match self.open(stamp)? {
                None => {}
                Some(Rotated::Plain(file, bytes)) => {
                    held.before(self.last_of(&file, bytes, held.room(), Ending::IsWhole)?);
                }
                Some(Rotated::Packed(reader)) => {
                    let mut kept = Held::new(held.room());
                    // One that breaks off has the lines that it has.
                    let _ = self.scan(reader, &mut Splitter::default(), &mut |line| {
                        kept.push(line);
                        ControlFlow::Continue(())
                    });
                    held.before(kept);
                }
            }
        }
        Ok((held.lines.into(), follower))
    }

    /// Gives `each` all lines, the oldest first, for as long as it wants them, and returns what goes on after them.
    ///
    /// # Errors
    ///
    /// As [`Query::last`].
    pub fn all(&self, each: &mut dyn FnMut(Line) -> ControlFlow<()>) -> io::Result<Follower> {
        let View { active, stamps } = self.view()?;
        let follower = Follower::after(self.clone(), active.as_ref(), stamps.last().copied())?;
        for stamp in stamps {
            if self.wanted.since.is_some_and(|since| stamp.is_before(since)) {
                continue;
            }
            let reader: Box<dyn Read> = match self.open(stamp)? {
                None => continue,
                Some(Rotated::Plain(file, _)) => Box::new(file),
                Some(Rotated::Packed(reader)) => reader,
            };
            let mut splitter = Splitter::default();
            if let Ok(ControlFlow::Break(())) = self.scan(reader, &mut splitter, each) {
                return Ok(follower);
            }
        }
        if let Some((file, _, bytes)) = active {
            // A last line that is unfinished is the first of what follows.
            let _ = self.scan(file.take(bytes), &mut Splitter::default(), each)?;
        }
        Ok(follower)
    }

    /// Looks at what there is. What is rotated while it looks would be there twice or not at all, so it looks again then.
    pub(super) fn view(&self) -> io::Result<View> {
        let path = self.file.path(&self.dir);
        let identity = || fs::metadata(&path).ok().map(|metadata| Identity::of(&metadata));
        for _ in 1..LOOKS_MAX {
            let view = self.look(&path)?;
            if identity() == view.active.as_ref().map(|(_, identity, _)| *identity) {
                return Ok(view);
            }
        }
        self.look(&path)
    }

    fn look(&self, path: &Path) -> io::Result<View> {
        let active = match File::open(path) {
            Ok(file) => {
                let metadata = file.metadata()?;
                if !metadata.is_file() {
                    return Err(io::Error::other(format!("{path:?} is no ordinary file")));
                }
                Some((file, Identity::of(&metadata), metadata.len()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(View { active, stamps: directory::rotated(&self.dir, &self.file) })
    }

    /// Opens a rotated file. None: it is gone, as the oldest do.
    pub(super) fn open(&self, stamp: Stamp) -> io::Result<Option<Rotated>> {
        match File::open(self.file.rotated(&self.dir, stamp)) {
            Ok(file) => {
                let bytes = file.metadata()?.len();
                return Ok(Some(Rotated::Plain(file, bytes)));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        match File::open(self.file.packed(&self.dir, stamp)) {
            Ok(file) => Ok(Some(Rotated::Packed(Box::new(MultiGzDecoder::new(file))))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the last lines of a file of so many bytes, from its end on, so that a large one need not be read.
    fn last_of(&self, file: &File, bytes: u64, count: usize, ending: Ending) -> io::Result<Held> {
        let mut window = WINDOW_BYTES;
        loop {
            // From the byte before on, which tells whether a line begins there.
            let start = bytes.saturating_sub(window).saturating_sub(1);
            let mut splitter = if start == 0 { Splitter::default() } else { Splitter::skipping() };
            let mut held = Held::new(count);
            let mut is_old = false;
            let mut each = |line: Line| {
                is_old |= self.wanted.since.zip(line.time()).is_some_and(|(since, time)| time < since);
                if self.wanted.has(&line) {
                    held.push(line);
                }
            };
            let mut reader = Section { file, at: start, end: bytes };
            read_all(&mut reader, &mut |piece| {
                splitter.feed(piece, &mut each);
                ControlFlow::Continue(())
            })?;
            if ending == Ending::IsWhole {
                splitter.finish().into_iter().for_each(&mut each);
            }
            if start == 0 || is_old || held.is_full() {
                return Ok(held);
            }
            window = window.saturating_mul(WINDOW_FACTOR);
        }
    }

    /// Gives `each` what is wanted of a reader.
    fn scan(
        &self,
        mut reader: impl Read,
        splitter: &mut Splitter,
        each: &mut dyn FnMut(Line) -> ControlFlow<()>,
    ) -> io::Result<ControlFlow<()>> {
        let mut flow = ControlFlow::Continue(());
        let mut take = |line: Line| {
            if flow.is_continue() && self.wanted.has(&line) {
                flow = each(line);
            }
            flow
        };
        let read = read_all(&mut reader, &mut |piece| {
            let mut flow = ControlFlow::Continue(());
            splitter.feed(piece, &mut |line| flow = take(line));
            flow
        });
        read.map(|()| flow)
    }
}

/// A rotated file.
pub(super) enum Rotated {
    Plain(File, u64),
    Packed(Box<dyn Read + Send>),
}

/// Whether the last line of a file is one although it has no newline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    IsWhole,
    MayBeUnfinished,
}

/// Part of a file that somebody else may read too.
struct Section<'f> {
    file: &'f File,
    at: u64,
    end: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(into.len());
        let count = self.file.read_at(&mut into[..room], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

fn read_all(reader: &mut dyn Read, each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match reader.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) if each(&piece[..count]).is_break() => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The newest lines, so many at most.
#[derive(Debug)]
struct Held {
    lines: VecDeque<Line>,
    bytes: usize,
    count_max: usize,
    /// Older ones were let go for want of room.
    has_dropped: bool,
}

impl Held {
    fn new(count_max: usize) -> Self {
        Self { lines: VecDeque::new(), bytes: 0, count_max, has_dropped: false }
    }

    fn room(&self) -> usize {
        self.count_max - self.lines.len()
    }

    fn is_full(&self) -> bool {
        self.has_dropped || self.room() == 0
    }

    fn push(&mut self, line: Line) {
        self.bytes += line.bytes();
        self.lines.push_back(line);
        while self.lines.len() > self.count_max || self.bytes > HELD_BYTES_MAX {
            self.has_dropped = true;
            self.bytes -= self.lines.pop_front().map_or(0, |line| line.bytes());
        }
    }

    /// Puts older lines before those that it has.
    fn before(&mut self, older: Self) {
        for line in older.lines.into_iter().rev() {
            if self.bytes + line.bytes() > HELD_BYTES_MAX {
                self.has_dropped = true;
                return;
            }
            self.bytes += line.bytes();
            self.lines.push_front(line);
        }
    }
}
