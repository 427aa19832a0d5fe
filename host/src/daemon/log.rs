//! `daemon.log`: where the standard streams of the host and of its watching parent go. Bounded: at a size it becomes
//! `daemon.log.1`, and the one before that is gone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::clock::Timestamp;

/// Its size from which on it is rotated. Looked at now and then, so that it may be exceeded for a moment.
const BYTES_MAX: u64 = 10 << 20;
/// The most that is read of its end.
const TAIL_BYTES_MAX: u64 = 64 << 10;

/// The log in a data directory.
#[derive(Debug, Clone)]
pub struct DaemonLog {
    path: PathBuf,
    bytes_max: u64,
}

impl DaemonLog {
    /// Returns the log of a host with this data directory.
    pub fn of(data_dir: &Path) -> Self {
        Self { path: data_dir.join("daemon.log"), bytes_max: BYTES_MAX }
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it for a process that is about to start, as a new file where the old one is large.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn open(&self) -> io::Result<File> {
        if self.is_large() {
            fs::rename(&self.path, self.rotated())?;
        }
        self.append()
    }

    /// Rotates it where it is large, under processes that go on writing to it: it is copied and begins anew. What is written
    /// between the two is lost.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn bound(&self) -> io::Result<()> {
        if self.is_large() {
            fs::copy(&self.path, self.rotated())?;
            // They append: what they write next is at its new beginning.
            self.append()?.set_len(0)?;
        }
        Ok(())
    }

    /// Writes a line of the watching parent's own. One that cannot be written is nobody's affair.
    pub fn line(&self, text: &str) {
        let line = format!("{} host watch: {text}\n", Timestamp::now());
        let _ = self.append().and_then(|mut file| file.write_all(line.as_bytes()));
    }

    /// Returns the last lines, as far back as `from`, a length that the log had before.
    pub fn tail(&self, lines: usize, from: u64) -> Vec<String> {
        let read = || {
            let mut file = File::open(&self.path)?;
            let length = file.metadata()?.len();
            // It is shorter where it was rotated meanwhile.
            let from = if from > length { 0 } else { from };
            file.seek(SeekFrom::Start(from.max(length.saturating_sub(TAIL_BYTES_MAX))))?;
            let mut bytes = Vec::new();
            file.take(TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
            io::Result::Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let text = read().unwrap_or_default();
        let all: Vec<_> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].iter().map(|line| (*line).to_owned()).collect()
    }

    /// Returns its length; 0 where it is not there.
    pub fn bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    fn is_large(&self) -> bool {
        self.bytes() > self.bytes_max
    }

    fn rotated(&self) -> PathBuf {
        self.path.with_extension("log.1")
    }

    fn append(&self) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> (tempfile::TempDir, DaemonLog) {
        let dir = tempfile::tempdir().unwrap();
        let log = DaemonLog { bytes_max: 100, ..DaemonLog::of(dir.path()) };
        (dir, log)
    }

    #[test]
    fn a_large_log_becomes_the_one_before_at_a_start_and_under_a_process_that_writes() {
        let (dir, log) = small();
        let rotated = dir.path().join("daemon.log.1");
        let mut process = log.open().unwrap();
        process.write_all(&[b'a'; 101]).unwrap();
        log.bound().unwrap();
        process.write_all(b"next\n").unwrap();
        assert_eq!(
            (fs::read(&rotated).unwrap().len(), fs::read_to_string(log.path()).unwrap()),
            (101, "next\n".into())
        );
        process.write_all(&[b'b'; 101]).unwrap();
        log.open().unwrap();
        assert_eq!((fs::read(&rotated).unwrap().len(), log.bytes()), (106, 0));
        process.write_all(&[b'c'; 500]).unwrap();
        log.bound().unwrap();
        assert_eq!(fs::read(&rotated).unwrap().len(), 606, "a log within its bounds is left alone");
    }

    #[test]
    fn the_tail_is_what_came_last_and_nothing_from_before() {
        let (_dir, log) = small();
        let mut process = log.open().unwrap();
        process.write_all(b"old\n").unwrap();
        let from = log.bytes();
        process.write_all(b"one\ntwo\nthree\n").unwrap();
        assert_eq!(log.tail(2, from), ["two", "three"]);
        assert_eq!(log.tail(9, from), ["one", "two", "three"]);
        assert_eq!(log.tail(9, 1_000), ["old", "one", "two", "three"]);
    }
}
