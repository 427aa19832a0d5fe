//! Owns the bots' directory: turns the components and entries in it into a [`Catalogue`] and publishes a new one whenever their
//! content changed and has come to rest. It parses, compiles and starts nothing, and never writes to a user's file.
//!
//! ```text
//!  operating system ──events──► hint ─┐ "look soon", merged, may be lost
//!  clock: poll, rescan, settling ─────┴─► round: scan (list, stamps) ─► ledger ─► file (hash) ─► ledger ─► watch channel
//! ```
//!
//! The truth is the content. A file is read once its stamp has not changed for the settling time, and is reported only if its
//! hash is another; a rescan reads every file now and then, for the sake of file systems without events and of times that lie.
//! One task drives it all, a round at a time, each on a blocking thread; what to do is decided in `ledger`, which is pure.

mod catalogue;
mod file;
mod hint;
mod ledger;
mod name;
mod scan;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use catalogue::{
    BotFiles, Catalogue, ComponentFile, DirectoryProblem, EntryFile, FILES_MAX, FileKind, FileProblem,
};
pub use file::read_component;
pub(crate) use hint::{EventSource, Hints, LOOK_INTERVAL_MIN};
pub(crate) use scan::{Sight, identify, sight_of};

use file::Caps;
use ledger::Ledger;
use scan::{Look, Stopped};

/// How often the stamps are looked at where no events can be had, and how often a directory that cannot be read is tried.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Settling times and rescan intervals past these are taken as these, so that no sum of moments overflows and none is zero.
const SETTLE_MAX: Duration = Duration::from_secs(600);
const RESCAN_MIN: Duration = Duration::from_millis(10);
const RESCAN_MAX: Duration = Duration::from_secs(86_400);

/// A rescan is followed by a pause of this many times what its reading took, so that a directory of large components costs a
/// tenth of one processor at most.
const RESCAN_PAUSE_FACTOR: u32 = 9;

/// Where the bots are and how to look at them.
#[derive(Debug, Clone)]
pub struct WatcherConfig {
    /// The directory. Created if it is not there at the start, but not if it is removed later.
    pub dir: PathBuf,
    /// How long a file must not change before it is read, and be gone before it counts as deleted. 200 ms by default,
    /// ten minutes at most.
    pub settle: Duration,
    /// How long between the end of one reading of every file and the next; longer if reading them all takes long. 10 s by
    /// default, from 10 ms to a day.
    pub rescan: Duration,
    /// The most bytes of a component. A larger one is a problem and is not read.
    pub component_bytes_max: u64,
    /// The most bytes of an entry, which is held in memory. A larger one is a problem and is not read. 1 MiB by default.
    pub entry_bytes_max: u64,
    /// Whether to ask the operating system for events. It does by default.
    pub hints: HintMode,
}

impl WatcherConfig {
    /// Returns the defaults for a directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            settle: Duration::from_millis(200),
            rescan: Duration::from_secs(10),
            component_bytes_max: 64 << 20,
            entry_bytes_max: 1 << 20,
            hints: HintMode::Events,
        }
    }
}

/// How the watcher learns that it should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HintMode {
    /// By events of the operating system; by polling while it gives none.
    Events,
    /// By looking every second.
    Polling,
}

/// The watcher of the bots' directory.
#[derive(Debug)]
pub struct Watcher;

impl Watcher {
    /// Starts to watch, on the current Tokio runtime. The first catalogue has generation 0 and knows nothing; the next, with the
    /// directory's content, follows about one settling time later.
    ///
    /// The task ends soon after `cancel`, even in the midst of a long read; what it is reading from a disk that hangs, it waits
    /// for. It goes on while nobody receives.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn spawn(
        mut config: WatcherConfig,
        cancel: CancellationToken,
    ) -> (watch::Receiver<Arc<Catalogue>>, Lookout, JoinHandle<()>) {
        // The process may change its working directory later. Without one, a relative path is as good as it gets.
        config.dir = std::path::absolute(&config.dir).unwrap_or(config.dir);
        config.settle = config.settle.min(SETTLE_MAX);
        config.rescan = config.rescan.clamp(RESCAN_MIN, RESCAN_MAX);
        let now = Instant::now();
        let ledger = Ledger::new(config.settle, now);
        let (publisher, receiver) = watch::channel(ledger.published());
        let hints = Arc::new(Hints::default());
        let (answers, answered) = watch::channel(0);
        let look = Lookout { hints: Arc::clone(&hints), answered };
        let patrol = Patrol {
            events: EventSource::new(config.hints, hints.clone()),
            rescan: Rescan { due_at: now + config.rescan, earliest_at: now, reading: None },
            birth: Birth::Awaited,
            asked: Asked { newest: 0, begun: 0, answers },
            config,
            hints,
            ledger,
            publisher,
            cancel,
        };
        (receiver, look, tokio::spawn(run(patrol)))
    }
}

/// The way to have the directory looked at now. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lookout {
    hints: Arc<Hints>,
    answered: watch::Receiver<u64>,
}

impl Lookout {
    /// Has every file read, and returns once what changed has settled and is published, or the watcher has ended. Cancel safe.
    pub async fn look(&self) {
        let number = self.hints.ask();
        let mut answered = self.answered.clone();
        // An error: the watcher has ended.
        let _ = answered.wait_for(|answered| *answered >= number).await;
    }
}

/// Makes one round after the other until cancelled.
async fn run(mut patrol: Patrol) {
    let (cancel, hints) = (patrol.cancel.clone(), patrol.hints.clone());
    while !cancel.is_cancelled() {
        let Some((back, next_at)) = round(patrol, Patrol::round).await else { return };
        patrol = back;
        tokio::select! {
            () = cancel.cancelled() => {}
            () = tokio::time::sleep_until(next_at) => {}
            () = hints.next() => {}
        }
    }
}

/// Has `patrol` do a round on a blocking thread, and returns it with what came of that; nothing where the runtime is being shut down.
pub(crate) async fn round<P: Send + 'static, T: Send + 'static>(
    mut patrol: P,
    work: impl FnOnce(&mut P) -> T + Send + 'static,
) -> Option<(P, T)> {
    let round = tokio::task::spawn_blocking(move || {
        let done = work(&mut patrol);
        (patrol, done)
    });
    match round.await {
        Ok(done) => Some(done),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => None,
    }
}

/// All that goes on a round and comes back from it.
struct Patrol {
    config: WatcherConfig,
    events: EventSource,
    hints: Arc<Hints>,
    ledger: Ledger,
    rescan: Rescan,
    birth: Birth,
    asked: Asked,
    publisher: watch::Sender<Arc<Catalogue>>,
    cancel: CancellationToken,
}

/// Requests to have everything read, by their numbers.
struct Asked {
    newest: u64,
    /// The newest that the rescan under way, or the last one, began after.
    begun: u64,
    answers: watch::Sender<u64>,
}

/// Whether the directory was ever there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Birth {
    Awaited,
    Done,
}

/// When every file is read again, whatever its stamp says.
#[derive(Debug)]
struct Rescan {
    due_at: Instant,
    /// Not before this, even if events were lost.
    earliest_at: Instant,
    /// How long the files of the rescan under way took to read; `None` while there is none.
    reading: Option<Duration>,
}

impl Rescan {
    /// Whether one begins now. `wanted` has the next as soon as may be.
    fn begins(&mut self, wanted: bool, now: Instant) -> bool {
        if wanted {
            self.due_at = self.earliest_at;
        }
        let begins = self.reading.is_none() && now >= self.due_at;
        if begins {
            self.reading = Some(Duration::ZERO);
        }
        begins
    }

    /// Ends the one under way, if one is.
    fn end(&mut self, interval: Duration, now: Instant) {
        let Some(reading) = self.reading.take() else { return };
        self.earliest_at = now + reading * RESCAN_PAUSE_FACTOR;
        self.due_at = self.earliest_at.max(now + interval);
    }
}

impl Patrol {
    /// Looks, reads what is due, publishes what is new; returns when to come back if nothing calls before.
    fn round(&mut self) -> Instant {
        let started_at = Instant::now();
        let wanted = self.hints.take();
        let Ok(look) = self.look(wanted.rearm, started_at) else { return started_at };
        let now = Instant::now();
        self.ledger.observe(look, now);
        self.asked.newest = self.asked.newest.max(wanted.asked);
        let is_asked = self.asked.newest > self.asked.begun;
        if is_asked {
            // Somebody waits for it.
            self.rescan.earliest_at = now;
        }
        if self.rescan.begins(wanted.rescan || is_asked, now) {
            self.asked.begun = self.asked.newest;
            self.ledger.suspect_all();
        }
        self.ledger.settle(now);
        if self.read_due(started_at) == Err(Stopped) {
            return now;
        }
        let now = Instant::now();
        if !self.ledger.is_suspecting() {
            self.rescan.end(self.config.rescan, now);
        }
        if let Some(catalogue) = self.ledger.publish(now) {
            self.publisher.send_replace(catalogue);
        }
        if self.rescan.reading.is_none() && self.ledger.is_at_rest() {
            let begun = self.asked.begun;
            self.asked.answers.send_if_modified(|answered| std::mem::replace(answered, begun) != begun);
        }
        if self.asked.newest > self.asked.begun { now } else { self.next_round_at(now) }
    }

    fn look(&mut self, rearm: bool, now: Instant) -> Result<Look, Stopped> {
        let dir = &self.config.dir;
        let mut identity = scan::identify(dir);
        if self.birth == Birth::Awaited && matches!(identity, Err(DirectoryProblem::Missing { .. })) {
            identity = scan::create(dir).and_then(|()| scan::identify(dir));
        }
        match identity {
            Ok(directory) => {
                self.birth = Birth::Done;
                self.events.arm(dir, directory, rearm, now);
                scan::list(dir, &self.cancel)
            }
            Err(problem) => {
                self.events.disarm();
                Ok(Err(problem))
            }
        }
    }

    /// Reads file after file until none is due or the round took long enough.
    fn read_due(&mut self, round_started_at: Instant) -> Result<(), Stopped> {
        let caps =
            Caps { component_bytes_max: self.config.component_bytes_max, entry_bytes_max: self.config.entry_bytes_max };
        while let Some((name, stamp)) = self.ledger.next_read(Instant::now()) {
            let started_at = Instant::now();
            let reading = file::read(&self.config.dir, &name, stamp, caps, &self.cancel)?;
            let now = Instant::now();
            self.ledger.record(name, reading, now);
            if let Some(total) = &mut self.rescan.reading {
                *total += now - started_at;
            }
            // So that a long rescan keeps neither a new file nor a publication waiting. What is left is read in the next round.
            if now >= round_started_at + LOOK_INTERVAL_MIN {
                break;
            }
        }
        Ok(())
    }

    fn next_round_at(&self, now: Instant) -> Instant {
        let is_blind = !self.events.is_armed() || !self.ledger.is_directory_readable();
        let poll_at = if is_blind { now + POLL_INTERVAL } else { self.rescan.due_at };
        let rescan_at = if self.rescan.reading.is_some() { now + POLL_INTERVAL } else { self.rescan.due_at };
        self.ledger.next_due().into_iter().fold(poll_at.min(rescan_at), Instant::min)
    }
}
