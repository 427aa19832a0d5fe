//! `daemon.json`: what the watching parent tells of the host that it watches. Written by the parent alone, whole or not at all;
//! read by whoever asks, long after too.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// What is known. A later version may know more; what it does not say has its default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The watching parent.
    pub watcher: u32,
    /// The host; none while there is none.
    pub host: Option<u32>,
    /// When the host, or the wait for its restart, began: RFC 3339.
    pub since: String,
    /// How often it was brought back since the parent began.
    pub restarts: u64,
    /// How it last ended.
    pub last_exit: Option<Exit>,
    /// It ended too often and is not brought back.
    pub gave_up: bool,
}

/// How a process ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Exit {
    /// Its exit code; none where a signal ended it, or where it did not even start.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// When that was: RFC 3339.
    pub at: String,
}

impl Exit {
    /// Returns how a process ended just now; with nothing, that it could not be started.
    pub fn now(status: Option<ExitStatus>) -> Self {
        Self {
            code: status.and_then(|status| status.code()),
            signal: status.and_then(|status| status.signal()),
            at: Timestamp::now().to_string(),
        }
    }

    /// Returns whether it ended of its own will and well.
    pub fn is_good(&self) -> bool {
        self.code == Some(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (_, Some(signal)) => write!(f, "signal {signal}"),
            (Some(code), None) => write!(f, "exit code {code}"),
            (None, None) => f.write_str("it did not start"),
        }
    }
}

impl Record {
    /// Reads what was last written; nothing where there is none that can be read.
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Replaces what was written.
    ///
    /// # Errors
    ///
    /// What the system says; the record before stands.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let unfinished = path.with_extension("json.tmp");
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        fs::rename(&unfinished, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_what_is_no_record_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.json");
        assert_eq!(Record::read(&path), None);
        let exit = Exit::now(Some(ExitStatus::from_raw(9)));
        let record = Record { watcher: 7, restarts: 3, last_exit: Some(exit), ..Record::default() };
        record.write(&path).unwrap();
        assert_eq!(Record::read(&path), Some(record));
        fs::write(&path, "{").unwrap();
        assert_eq!(Record::read(&path), None);
        fs::write(&path, r#"{"watcher":1,"from_the_future":{}}"#).unwrap();
        assert_eq!(Record::read(&path), Some(Record { watcher: 1, ..Record::default() }));
    }

    #[test]
    fn an_exit_reads_as_people_say_it() {
        let of = |raw| Exit::now(Some(ExitStatus::from_raw(raw))).to_string();
        assert_eq!([of(9), of(0x4000), of(0)], ["signal 9", "exit code 64", "exit code 0"]);
        assert_eq!(Exit::now(None).to_string(), "it did not start");
    }
}
