//! What is done about log files behind the back of those who write: packing what was rotated, and removing what is too much. In a
//! thread of low priority that finds its work by looking into the directory, so that a crash at any moment leaves nothing that the
//! next start does not find.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::directory::{self, Found};
use super::name::{LogFile, UNFINISHED};
use super::roll::Rules;
use crate::clock::Timestamp;

/// How often the directory is looked through although nothing was rotated: what is too old goes by itself.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// The file that the process locks which looks after the directory.
const LOCK_FILE: &str = ".lock";
/// So much is packed between two looks whether the host ends.
const PIECE_BYTES: usize = 64 << 10;
/// How much less the thread is run than others that want to.
const NICENESS: i32 = 10;

/// What the writer and the packer both go by.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) dir: PathBuf,
    pub(super) rules: ArcSwap<Rules>,
    /// The files that are written to.
    open: Mutex<HashSet<LogFile>>,
    /// Of all files, about.
    bytes: AtomicU64,
    is_reopening: AtomicBool,
    is_ending: AtomicBool,
    /// Held by one process: two that rename and remove would destroy what the other has made.
    lock: Mutex<Option<File>>,
}

impl Shared {
    pub(super) fn new(dir: PathBuf, rules: Rules) -> Arc<Self> {
        Arc::new(Self {
            dir,
            rules: ArcSwap::from_pointee(rules),
            open: Mutex::default(),
            bytes: AtomicU64::new(0),
            is_reopening: AtomicBool::new(false),
            is_ending: AtomicBool::new(false),
            lock: Mutex::default(),
        })
    }

    /// Has every file opened anew with its next line.
    pub(super) fn reopen(&self) {
        self.is_reopening.store(true, Ordering::Relaxed);
    }

    pub(super) fn take_reopening(&self) -> bool {
        self.is_reopening.swap(false, Ordering::Relaxed)
    }

    /// Returns the bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes note that a file is written to. It is not removed from then on.
    pub(super) fn open(&self, file: &LogFile) {
        of(&self.open).insert(file.clone());
    }

    pub(super) fn close(&self, file: &LogFile) {
        of(&self.open).remove(file);
    }

    /// Returns whether this process is the one that rotates, packs and removes; it becomes so where no other is.
    pub(super) fn is_owner(&self) -> bool {
        let mut lock = of(&self.lock);
        if lock.is_none() {
            *lock = self.try_lock().ok().flatten();
        }
        lock.is_some()
    }

    fn try_lock(&self) -> io::Result<Option<File>> {
        directory::make(&self.dir)?;
        let path = self.dir.join(LOCK_FILE);
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

fn of<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread that packs and removes. Dropped, it ends within a piece of work and is joined.
#[derive(Debug)]
pub(super) struct Packer {
    shared: Arc<Shared>,
    nudge: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Packer {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// It was not started.
    pub(super) fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let (nudge, nudged) = sync_channel(1);
        let own = Arc::clone(shared);
        let thread = std::thread::Builder::new().name("log-pack".to_owned()).spawn(move || run(&own, &nudged))?;
        Ok(Self { shared: Arc::clone(shared), nudge: Some(nudge), thread: Some(thread) })
    }

    /// Says that there is something to do. Waits for nothing.
    pub(super) fn nudge(&self) {
        if let Some(nudge) = &self.nudge {
            // Where one is on its way already, it stands for this one too.
            let _ = nudge.try_send(());
        }
    }
}

impl Drop for Packer {
    fn drop(&mut self) {
        self.shared.is_ending.store(true, Ordering::Relaxed);
        self.nudge = None;
        if let Some(thread) = self.thread.take() {
            // A panic of it was told; there is nobody left to tell more.
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared, nudged: &Receiver<()>) {
    // Linux has a niceness for each thread. Without it, packing only takes more of what others want.
    let _ = rustix::process::nice(NICENESS);
    let mut is_tidied = false;
    loop {
        if shared.is_owner() {
            if !is_tidied {
                directory::tidy(&shared.dir);
                is_tidied = true;
            }
            look_through(shared, Timestamp::now());
        }
        match nudged.recv_timeout(LOOK_EVERY) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Removes what is too much, packs what is not packed, and adds up what there is.
fn look_through(shared: &Shared, now: Timestamp) {
    let rules = **shared.rules.load();
    remove_surplus(shared, &rules, now);
    if rules.is_packed {
        let mut files = directory::scan(&shared.dir);
        files.retain(|found| found.named.stamp.is_some() && !found.named.is_packed);
        files.sort_by_key(Found::age_key);
        for found in &files {
            // It is tried again at the next look. A full disk may be why: the file stays as it is.
            let _ = pack(&found.path, &shared.is_ending);
            if shared.is_ending.load(Ordering::Relaxed) {
                return;
            }
        }
    }
    let bytes = directory::scan(&shared.dir).iter().map(|found| found.bytes).sum();
    shared.bytes.store(bytes, Ordering::Relaxed);
}

fn remove_surplus(shared: &Shared, rules: &Rules, now: Timestamp) {
    let files = directory::scan(&shared.dir);
    let is_open = |file: &LogFile| of(&shared.open).contains(file);
    for found in rules.surplus(&files, now, is_open) {
        let open = of(&shared.open);
        // Held meanwhile, so that nobody begins to write to it now.
        if found.named.stamp.is_some() || !open.contains(&found.named.file) {
            let _ = fs::remove_file(&found.path);
        }
    }
}

/// Packs one file: beside it under another name, which becomes its own when it is whole, and only then does the file go. It is not
/// forced to disk: after a loss of power the newest lines may be missing, as they are of a file that is not packed.
fn pack(path: &Path, is_ending: &AtomicBool) -> io::Result<()> {
    let with = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let (unfinished, packed) = (with(UNFINISHED), with(".gz"));
    let outcome = compress(path, &unfinished, is_ending)
        .and_then(|()| fs::rename(&unfinished, &packed))
        .and_then(|()| fs::remove_file(path));
    if outcome.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    outcome
}

fn compress(from: &Path, to: &Path, is_ending: &AtomicBool) -> io::Result<()> {
    let mut from = File::open(from)?;
    let to = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(to)?;
    let mut encoder = GzEncoder::new(BufWriter::new(to), Compression::default());
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        if is_ending.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        match from.read(&mut piece)? {
            0 => break,
            count => encoder.write_all(&piece[..count])?,
        }
    }
    encoder.finish()?.flush()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::MultiGzDecoder;

    use super::*;
    use crate::logs::name::Stamp;

    const RULES: Rules = Rules {
        file_bytes_max: 1000,
        rotate_every: Duration::from_secs(86_400),
        keep_days: 14,
        keep_files: 100,
        total_bytes_max: 1 << 30,
        is_packed: true,
    };

    /// A directory with two rotated files of the host.
    fn directory() -> (tempfile::TempDir, Arc<Shared>, [Stamp; 2], Timestamp) {
        let dir = tempfile::tempdir().unwrap();
        let now = Timestamp::now();
        let first = Stamp::after(None, now);
        let stamps = [first, Stamp::after(Some(first), now)];
        for (number, stamp) in stamps.into_iter().enumerate() {
            fs::write(LogFile::Host.rotated(dir.path(), stamp), format!("line {number}\n")).unwrap();
        }
        let shared = Shared::new(dir.path().to_owned(), RULES);
        (dir, shared, stamps, now)
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = entries.collect();
        names.sort();
        names
    }

    fn unpacked(path: &Path) -> String {
        let mut text = String::new();
        MultiGzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn what_was_rotated_is_packed_whole_and_added_up() {
        let (dir, shared, stamps, now) = directory();
        fs::write(dir.path().join("host.log"), "now\n").unwrap();
        fs::write(dir.path().join("host.log.1"), "somebody else's").unwrap();
        look_through(&shared, now);
        let packed = stamps.map(|stamp| LogFile::Host.packed(dir.path(), stamp));
        assert_eq!(packed.each_ref().map(|path| unpacked(path)), ["line 0\n", "line 1\n"]);
        assert_eq!(names(dir.path()).len(), 4);
        let bytes: u64 = packed.iter().map(|path| fs::metadata(path).unwrap().len()).sum();
        assert_eq!(shared.bytes(), bytes + 4);
    }

    #[test]
    fn f091_a_crash_while_a_file_is_packed_loses_nothing_and_leaves_no_double() {
        let (dir, shared, [first, second], now) = directory();
        // One had its copy whole or not, nobody knows, and was not removed yet; of the other there is a part.
        fs::write(LogFile::Host.packed(dir.path(), first), b"\x1f\x8b half").unwrap();
        let mut unfinished = LogFile::Host.rotated(dir.path(), second).into_os_string();
        unfinished.push(UNFINISHED);
        fs::write(unfinished, b"\x1f").unwrap();
        assert_eq!(directory::rotated(dir.path(), &LogFile::Host), [first, second], "read once each");

        directory::tidy(dir.path());
        look_through(&shared, now);
        let packed = [first, second].map(|stamp| LogFile::Host.packed(dir.path(), stamp));
        assert_eq!(packed.each_ref().map(|path| unpacked(path)), ["line 0\n", "line 1\n"]);
        assert_eq!(names(dir.path()).len(), 2);
    }

    #[test]
    fn packing_that_is_cut_off_leaves_the_file_as_it_was() {
        let (dir, shared, [first, _], now) = directory();
        shared.is_ending.store(true, Ordering::Relaxed);
        look_through(&shared, now);
        assert_eq!(names(dir.path()).len(), 2);
        assert_eq!(fs::read_to_string(LogFile::Host.rotated(dir.path(), first)).unwrap(), "line 0\n");
    }

    #[test]
    fn one_process_at_a_time_looks_after_a_directory() {
        let (dir, shared, _, _) = directory();
        assert!(shared.is_owner());
        let other = Shared::new(dir.path().to_owned(), RULES);
        assert!(!other.is_owner());
        drop(shared);
        assert!(other.is_owner());
    }

    #[test]
    fn a_bots_file_goes_when_it_is_old_and_nobody_writes_to_it() {
        let (dir, shared, _, now) = directory();
        let bots = ["gone", "open"].map(|name| LogFile::Bot(name.parse().unwrap()));
        directory::make(&dir.path().join("bots")).unwrap();
        bots.iter().for_each(|bot| fs::write(bot.path(dir.path()), "x\n").unwrap());
        shared.open(&bots[1]);
        look_through(&shared, now);
        assert_eq!(names(&dir.path().join("bots")).len(), 2);
        look_through(&shared, now.saturating_add(Duration::from_secs(15 * 86_400)));
        assert_eq!(names(&dir.path().join("bots")), ["open.log"]);
        assert_eq!(names(dir.path()), ["bots"], "what was rotated is older still");
    }
}
