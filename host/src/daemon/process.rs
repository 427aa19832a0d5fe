//! A process of this machine: held so that what is signalled is the process that was looked at, whatever becomes of its number.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A process that was alive when it was looked for.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    fd: OwnedFd,
}

impl Process {
    /// Returns the process of this number; nothing where there is none.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn open(pid: u32) -> io::Result<Option<Self>> {
        let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        match pidfd_open(raw, PidfdFlags::empty()) {
            Ok(fd) => Ok(Some(Self { pid, fd })),
            Err(Errno::SRCH) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Returns its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends it a signal. One that has ended gets none.
    ///
    /// # Errors
    ///
    /// What the system says, such as that the process is another user's.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.fd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits until it has ended. Cancel safe.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub async fn ended(&self) -> io::Result<()> {
        #[expect(
            deprecated,
            reason = "what replaces it is unsafe, for descriptors that others may close; this one is owned"
        )]
        let end = AsyncFd::with_interest(self.fd.try_clone()?, Interest::READABLE)?;
        // Readable once it has ended, and from then on.
        end.readable().await.map(drop)
    }

    /// Returns whether it has this very file open. A host keeps what it has open to itself: of that one, whether it has locked the
    /// file.
    ///
    /// # Errors
    ///
    /// What the system says, such as that the process is another user's.
    pub(super) fn has_open(&self, file: &fs::Metadata) -> io::Result<bool> {
        let entries = match fs::read_dir(format!("/proc/{}/fd", self.pid)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                // Where the list of all locks cannot be read either, the first reason is the better one.
                let locks = fs::read_to_string("/proc/locks").map_err(|_| error)?;
                return Ok(has_locked(&locks, self.pid, file.ino()));
            }
            entries => entries?,
        };
        // What is closed meanwhile is not open.
        let mut found = entries.filter_map(|entry| fs::metadata(entry.ok()?.path()).ok());
        Ok(found.any(|found| (found.dev(), found.ino()) == (file.dev(), file.ino())))
    }

    /// Returns how long it has been there; nothing where that cannot be read.
    pub fn uptime(&self) -> Option<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        let since_boot = fs::read_to_string("/proc/uptime").ok()?;
        let started = started_ticks(&stat)? as f64 / rustix::param::clock_ticks_per_second() as f64;
        let since_boot: f64 = since_boot.split(' ').next()?.parse().ok()?;
        Duration::try_from_secs_f64((since_boot - started).max(0.0)).ok()
    }

    /// Returns how much memory it occupies, in bytes; nothing where that cannot be read.
    pub fn memory_bytes(&self) -> Option<u64> {
        resident_bytes(&fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?)
    }
}

/// Returns the start of a process in ticks since boot, from its `stat`: field 22. The name before it, in parentheses, may hold
/// anything.
fn started_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

/// Returns whether a process has locked a file as a whole, by what `/proc/locks` says. The device is not compared, for some file
/// systems have another one there than in what they say of a file.
fn has_locked(locks: &str, pid: u32, inode: u64) -> bool {
    locks.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        let kind = words.next();
        let (mut words, pid, inode) = (words.skip(2), pid.to_string(), inode.to_string());
        let is_its = words.next() == Some(&*pid);
        let is_of_file = words.next().and_then(|file| file.rsplit(':').next()) == Some(&*inode);
        kind == Some("FLOCK") && is_its && is_of_file
    })
}

/// Returns the resident memory that a `status` names.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_name_cannot_move_the_fields() {
        let stat = "7 (a) b (c 1 2) S 1 7 7 0 -1 4194560 1 0 0 0 2 3 0 0 20 0 9 0 4242 1 2";
        assert_eq!(started_ticks(stat), Some(4242));
        assert_eq!(started_ticks("7 (x"), None);
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t  1234 kB\nThreads:\t1\n"), Some(1234 * 1024));
    }

    #[test]
    fn of_all_locks_those_count_that_a_process_has_of_a_whole_file() {
        let locks = "1: POSIX  ADVISORY  WRITE 70 fe:00:11 0 EOF\n2: FLOCK  ADVISORY  WRITE 70 fe:00:12 0 EOF\n\
                     2: -> FLOCK  ADVISORY  READ 71 fe:00:12 0 EOF\n";
        assert!(has_locked(locks, 70, 12));
        for (pid, inode) in [(70, 11), (71, 12), (70, 2), (7, 12)] {
            assert!(!has_locked(locks, pid, inode), "{pid} {inode}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let holds = || {
            let locks = fs::read_to_string("/proc/locks").unwrap();
            has_locked(&locks, std::process::id(), file.as_file().metadata().unwrap().ino())
        };
        assert!(!holds());
        rustix::fs::flock(file.as_file(), rustix::fs::FlockOperation::LockExclusive).unwrap();
        assert!(holds());
    }

    #[test]
    fn this_process_is_seen_as_it_is() {
        let this = Process::open(std::process::id()).unwrap().unwrap();
        assert!(this.memory_bytes().unwrap() > 1 << 20);
        assert!(this.uptime().unwrap() < Duration::from_secs(3_600));
        let file = tempfile::tempfile().unwrap();
        assert!(this.has_open(&file.metadata().unwrap()).unwrap());
        let elsewhere = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        assert!(!this.has_open(&fs::metadata(&elsewhere).unwrap()).unwrap());
    }

    #[tokio::test]
    async fn the_end_of_a_process_is_waited_for_and_its_number_is_not_signalled_afterwards() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let process = Process::open(child.id()).unwrap().unwrap();
        process.signal(Signal::KILL).unwrap();
        process.ended().await.unwrap();
        child.wait().unwrap();
        process.signal(Signal::KILL).unwrap();
        assert!(Process::open(process.pid()).unwrap().is_none());
    }
}
