//! The log files as where lines end up. Owns those that are open: makes them, looks before each write whether they are still what
//! their paths name, and rotates them. Whatever fails costs the lines of that file, which are counted, and is tried again with the
//! next ones. Packing and removing is in `pack`.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;

use super::directory::{self, Identity};
use super::format::{report, warning};
use super::name::{LogFile, Places, Stamp};
use super::pack::{Packer, Shared};
use super::queue::{Queue, Share, Sink};
use super::{Format, escape};
use crate::clock::Timestamp;

/// Bots' files that are open at a time; before a further one the one is closed that was not written to for longest.
const BOT_FILES_MAX: usize = 64;
/// A file is written to before more than this waits for it, and after each batch.
const PENDING_BYTES_MAX: usize = 64 << 10;

/// The open log files.
#[derive(Debug)]
pub(super) struct Files {
    shared: Arc<Shared>,
    packer: Packer,
    format: Format,
    /// Where to say that a file cannot be written: nowhere else would it be read.
    stderr: Option<(Format, Arc<Queue<()>>)>,
    open: HashMap<LogFile, OpenFile>,
    /// Counts the lines, to tell which file was written to last.
    turn: u64,
}

/// What is known of a file that is written to.
#[derive(Debug, Default)]
struct OpenFile {
    handle: Option<Handle>,
    /// Whole lines that are not written yet.
    pending: Vec<u8>,
    pending_lines: u64,
    /// Lines that were lost and are to be told in the file itself.
    lost: u64,
    /// The last write ended within a line.
    is_torn: bool,
    /// It was said that it cannot be written.
    is_told: bool,
    /// When it was used last, in lines.
    used: u64,
}

#[derive(Debug)]
struct Handle {
    file: File,
    identity: Identity,
    /// When its last line was written.
    written: Timestamp,
}

impl Files {
    /// Returns the files of a directory, none of them open yet. The packer ends with them.
    pub(super) fn new(
        shared: Arc<Shared>,
        packer: Packer,
        format: Format,
        stderr: Option<(Format, Arc<Queue<()>>)>,
    ) -> Self {
        Self { shared, packer, format, stderr, open: HashMap::new(), turn: 0 }
    }

    /// Takes a line for one file.
    fn add(&mut self, file: &LogFile, line: &[u8]) -> u64 {
        self.turn += 1;
        let mut lost = 0;
        if !self.open.contains_key(file) {
            lost += self.make_room(file);
            self.shared.open(file);
            self.open.insert(file.clone(), OpenFile::default());
        }
        // What is written at once is not split over two files.
        let room =
            usize::try_from(self.shared.rules.load().file_bytes_max).unwrap_or(usize::MAX).min(PENDING_BYTES_MAX);
        if self.open.get(file).is_some_and(|open| open.pending.len() + line.len() > room) {
            lost += self.write_out(file);
        }
        if let Some(open) = self.open.get_mut(file) {
            open.used = self.turn;
            open.pending.extend_from_slice(line);
            open.pending_lines += 1;
        }
        lost
    }

    /// Closes one bot's file if there are too many for another one's.
    fn make_room(&mut self, file: &LogFile) -> u64 {
        let is_bot = |file: &LogFile| matches!(file, LogFile::Bot(_));
        let bots = || self.open.iter().filter(|(file, _)| is_bot(file));
        if !is_bot(file) || bots().count() < BOT_FILES_MAX {
            return 0;
        }
        let Some(oldest) = bots().min_by_key(|(_, open)| open.used).map(|(file, _)| file.clone()) else { return 0 };
        let lost = self.write_out(&oldest);
        self.open.remove(&oldest);
        self.shared.close(&oldest);
        lost
    }

    /// Writes what waits for one file. Returns the lines that could not be written.
    fn write_out(&mut self, file: &LogFile) -> u64 {
        let Some(open) = self.open.get_mut(file) else { return 0 };
        if open.pending.is_empty() {
            return 0;
        }
        let now = Timestamp::now();
        let written = open.prepare(file, &self.shared, now).and_then(|rotated| {
            if rotated {
                self.packer.nudge();
            }
            open.write(self.format, &self.shared, now)
        });
        let lost = std::mem::take(&mut open.pending_lines);
        open.pending.clear();
        // One burst does not hold memory for ever.
        open.pending.shrink_to(2 * PENDING_BYTES_MAX);
        match written {
            Ok(()) => {
                open.lost = 0;
                open.is_told = false;
                0
            }
            Err(error) => {
                open.lost += lost;
                let is_told = std::mem::replace(&mut open.is_told, true);
                if !is_told {
                    self.complain(file, &error);
                }
                lost
            }
        }
    }

    fn complain(&self, file: &LogFile, error: &io::Error) {
        let Some((format, stderr)) = &self.stderr else { return };
        let path = file.path(&self.shared.dir);
        let message = format!("cannot write the log file {path:?}, lines for it are dropped until it can be: {error}");
        stderr.push(warning(*format, escape(&message).into_owned()), (), Share::Host);
    }
}

impl Sink<Places> for Files {
    fn write(&mut self, line: &str, to: &Places) -> u64 {
        // A line that is missing in one of two files is missing.
        to.files().map(|file| self.add(file, line.as_bytes())).sum()
    }

    fn dropped(&mut self, lines: u64) {
        let text = report(self.format, lines);
        self.add(&LogFile::Host, text.as_bytes());
    }

    fn flush(&mut self) -> u64 {
        if self.shared.take_reopening() {
            self.open.values_mut().for_each(|open| open.handle = None);
        }
        let waiting = self.open.iter().filter(|(_, open)| !open.pending.is_empty());
        let waiting: Vec<_> = waiting.map(|(file, _)| file.clone()).collect();
        waiting.iter().map(|file| self.write_out(file)).sum()
    }

    /// Makes anew what was removed, and rotates what has nothing new to write and whose period is over.
    fn look_after(&mut self) -> u64 {
        let (lost, now) = (self.flush(), Timestamp::now());
        for (file, open) in &mut self.open {
            // What is wrong is said when there is a line to write.
            if let Ok(true) = open.prepare(file, &self.shared, now) {
                self.packer.nudge();
            }
        }
        lost
    }
}

impl OpenFile {
    /// Makes sure that the file is open, is the one that its path names, and has room. Returns whether it was rotated.
    fn prepare(&mut self, file: &LogFile, shared: &Shared, now: Timestamp) -> io::Result<bool> {
        let path = file.path(&shared.dir);
        // Somebody may have renamed or removed it: whoever rotates logs in the host's stead.
        let named = fs::metadata(&path).ok();
        if let Some(handle) = &self.handle
            && named.as_ref().map(Identity::of) != Some(handle.identity)
        {
            self.handle = None;
        }
        let (handle, bytes) = match (self.handle.take(), named) {
            // Asked anew each time: a file that somebody else cut short is written on from its new end.
            (Some(handle), Some(named)) => (handle, named.len()),
            _ => {
                self.is_torn = false;
                Handle::open(&path)?
            }
        };
        let rules = shared.rules.load();
        let is_due = rules.is_due(bytes, self.pending.len() as u64, handle.written, now);
        if !is_due || !shared.is_owner() {
            self.handle = Some(handle);
            return Ok(false);
        }
        let stamp = Stamp::after(directory::rotated(&shared.dir, file).pop(), now);
        if let Err(error) = fs::rename(&path, file.rotated(&shared.dir, stamp)) {
            // Better too large than not written.
            self.handle = Some(handle);
            return if error.kind() == io::ErrorKind::NotFound { Err(error) } else { Ok(false) };
        }
        self.is_torn = false;
        self.handle = Some(Handle::open(&path)?.0);
        Ok(true)
    }

    fn write(&mut self, format: Format, shared: &Shared, now: Timestamp) -> io::Result<()> {
        let Some(handle) = &mut self.handle else { return Err(io::ErrorKind::NotFound.into()) };
        if self.is_torn || self.lost > 0 {
            let mut before = if self.is_torn { "\n".to_owned() } else { String::new() };
            if self.lost > 0 {
                before.push_str(&report(format, self.lost));
            }
            self.is_torn = true;
            handle.file.write_all(before.as_bytes())?;
        }
        // Until all of it is there.
        self.is_torn = true;
        handle.file.write_all(&self.pending)?;
        self.is_torn = false;
        handle.written = now;
        shared.add_bytes(self.pending.len() as u64);
        Ok(())
    }
}

impl Handle {
    /// Opens a file to append to it, and returns its length with it. Makes it, and the directory, unless they are there.
    fn open(path: &Path) -> io::Result<(Self, u64)> {
        let open = || {
            // What stands in the place of a file may be a pipe that nobody reads.
            let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag of open fits into its argument");
            OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(path)
        };
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                path.parent().map_or(Ok(()), directory::make)?;
                open()?
            }
            opened => opened?,
        };
        let metadata = file.metadata()?;
        let written = directory::changed(&metadata);
        Ok((Self { file, identity: Identity::of(&metadata), written }, metadata.len()))
    }
}
