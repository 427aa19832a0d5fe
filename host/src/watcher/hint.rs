//! Hints that a directory changed, from the operating system where it gives any. A hint only says "look soon": one that is
//! lost costs time until the next rescan, one too many costs a look. Hints are merged, so they take no memory.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};

use super::HintMode;
use super::scan::DirectoryIdentity;

/// How often the operating system is asked again for events after it refused.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// The least time between two looks, however many events there are.
pub(crate) const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(50);

/// What the hints since the last look ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// To read every file, because events were lost.
    pub(crate) rescan: bool,
    /// To ask for events anew, because the watched directory is another now.
    pub(crate) rearm: bool,
    /// How many times somebody asked to have everything read, so far.
    pub(crate) asked: u64,
}

/// Hints that nobody has acted on.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    wanted: Mutex<Option<Wanted>>,
    asked: AtomicU64,
    wake: Notify,
}

impl Hints {
    /// Waits until there is a hint. Cancel-safe.
    pub(crate) async fn wait(&self) {
        while self.lock().is_none() {
            self.wake.notified().await;
        }
    }

    /// Waits until there is a hint, and for so long at least that no flood of them has one look follow the other. Cancel-safe.
    pub(crate) async fn next(&self) {
        tokio::time::sleep(LOOK_INTERVAL_MIN).await;
        self.wait().await;
    }

    /// Returns all hints as one, and forgets them.
    pub(crate) fn take(&self) -> Wanted {
        self.lock().take().unwrap_or_default()
    }

    /// Asks to have everything read, and returns the number of this request.
    pub(super) fn ask(&self) -> u64 {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.give(Wanted { asked, ..Wanted::default() });
        asked
    }

    fn give(&self, hint: Wanted) {
        let mut wanted = self.lock();
        let before = wanted.unwrap_or_default();
        *wanted = Some(Wanted {
            rescan: before.rescan || hint.rescan,
            rearm: before.rearm || hint.rearm,
            asked: before.asked.max(hint.asked),
        });
        drop(wanted);
        self.wake.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Wanted>> {
        // Nothing that holds it can panic halfway.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the operating system for events of one directory, and does without where it gives none.
pub(crate) struct EventSource {
    hints: Arc<Hints>,
    state: State,
}

enum State {
    /// Never to be asked.
    Off,
    /// No directory to watch yet.
    Unarmed,
    /// Events arrive while the watcher lives.
    Armed { directory: DirectoryIdentity, _watcher: RecommendedWatcher },
    /// Refused.
    Refused { retry_at: Instant },
}

impl EventSource {
    /// Returns a source that asks for nothing yet.
    pub(crate) fn new(mode: HintMode, hints: Arc<Hints>) -> Self {
        let state = match mode {
            HintMode::Events => State::Unarmed,
            HintMode::Polling => State::Off,
        };
        Self { hints, state }
    }

    /// Whether events arrive; otherwise the directory must be polled.
    pub(crate) fn is_armed(&self) -> bool {
        matches!(self.state, State::Armed { .. })
    }

    /// Sees to it that events of this directory arrive, if they can. Blocks briefly. To be called before a look, so that what
    /// changes after the look is announced.
    pub(crate) fn arm(&mut self, dir: &Path, directory: DirectoryIdentity, rearm: bool, now: Instant) {
        let was_refused = match &self.state {
            State::Off => return,
            State::Armed { directory: armed, .. } if *armed == directory && !rearm => return,
            State::Refused { retry_at } if now < *retry_at => return,
            State::Refused { .. } => true,
            State::Unarmed | State::Armed { .. } => false,
        };
        self.state = match watch(dir, self.hints.clone()) {
            Ok(watcher) => {
                if was_refused {
                    info!(dir = %dir.display(), "the system announces changes of this directory again");
                }
                State::Armed { directory, _watcher: watcher }
            }
            Err(error) => {
                if !was_refused {
                    warn!(
                        dir = %dir.display(),
                        %error,
                        "the system announces no changes of this directory, it is polled instead; \
                         on Linux see fs.inotify.max_user_watches and max_user_instances"
                    );
                }
                State::Refused { retry_at: now + RETRY_INTERVAL }
            }
        };
    }

    /// Gives up the events of a directory that is gone.
    pub(crate) fn disarm(&mut self) {
        if self.is_armed() {
            self.state = State::Unarmed;
        }
    }
}

/// Has events of `dir` turned into hints, on a thread of the library's that ends after the watcher is dropped.
fn watch(dir: &Path, hints: Arc<Hints>) -> notify::Result<RecommendedWatcher> {
    let watched = dir.to_path_buf();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        if let Some(hint) = hint_of(event, &watched) {
            hints.give(hint);
        }
    })?;
    watcher.watch(dir, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Returns what an event asks for; `None` for one of those that our own reading causes.
fn hint_of(event: notify::Result<Event>, watched: &Path) -> Option<Wanted> {
    let Ok(event) = event else { return Some(Wanted { rescan: true, rearm: true, ..Wanted::default() }) };
    match event.kind {
        _ if event.need_rescan() => Some(Wanted { rescan: true, rearm: false, ..Wanted::default() }),
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Wanted::default()),
        EventKind::Access(_) => None,
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => {
            Some(Wanted { rescan: false, rearm: event.paths.iter().any(|path| path == watched), ..Wanted::default() })
        }
        _ => Some(Wanted::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{CreateKind, Flag, RemoveKind};

    fn hint(kind: EventKind, path: &str) -> Option<Wanted> {
        hint_of(Ok(Event::new(kind).add_path(path.into())), Path::new("/bots"))
    }

    #[test]
    fn many_hints_become_one_that_asks_for_all() {
        let hints = Hints::default();
        hints.give(Wanted { rescan: true, rearm: false, ..Wanted::default() });
        hints.give(Wanted::default());
        hints.give(Wanted { rescan: false, rearm: true, ..Wanted::default() });
        assert_eq!(hints.take(), Wanted { rescan: true, rearm: true, ..Wanted::default() });
        assert_eq!(*hints.lock(), None);
    }

    #[test]
    fn f044_lost_events_ask_for_a_rescan() {
        let overflow = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert_eq!(
            hint_of(Ok(overflow), Path::new("/bots")),
            Some(Wanted { rescan: true, rearm: false, ..Wanted::default() })
        );
        let error = Err(notify::Error::generic("broken"));
        assert_eq!(hint_of(error, Path::new("/bots")), Some(Wanted { rescan: true, rearm: true, ..Wanted::default() }));
    }

    #[test]
    fn the_loss_of_the_directory_asks_for_new_events_and_that_of_a_file_does_not() {
        let removed = EventKind::Remove(RemoveKind::Other);
        assert_eq!(hint(removed, "/bots"), Some(Wanted { rescan: false, rearm: true, ..Wanted::default() }));
        assert_eq!(hint(removed, "/bots/x.wasm"), Some(Wanted::default()));
    }

    #[test]
    fn what_our_own_reading_causes_is_no_hint() {
        assert_eq!(hint(EventKind::Access(AccessKind::Open(AccessMode::Any)), "/bots/x.wasm"), None);
        assert!(hint(EventKind::Create(CreateKind::File), "/bots/x.wasm").is_some());
        assert!(hint(EventKind::Access(AccessKind::Close(AccessMode::Write)), "/bots/x.wasm").is_some());
    }

    #[test]
    fn f045_events_that_are_refused_are_done_without_and_asked_for_again_later() {
        let dir = tempfile::tempdir().unwrap();
        let mut source = EventSource::new(HintMode::Events, Arc::new(Hints::default()));
        let now = Instant::now();
        source.arm(&dir.path().join("refused"), (1, 1), false, now);
        assert!(!source.is_armed());
        source.arm(dir.path(), (1, 2), false, now);
        assert!(!source.is_armed(), "asked again at once");
        source.arm(dir.path(), (1, 2), false, now + RETRY_INTERVAL);
        assert!(source.is_armed());
        source.disarm();
        assert!(!source.is_armed());
    }
}
