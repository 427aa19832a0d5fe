//! Follows the configuration file while the host runs: reads it again whenever it has changed and come to rest, and publishes what
//! it evaluates to, good or bad. Puts nothing into force; what reads the channel does.
//!
//! ```text
//!  operating system ──events──► hints ─┐
//!  clock: poll, settling, rescan ──────┼─► round: stamp ─► rest ─► read, evaluate ─► watch channel
//!  Follower::look ─────────────────────┘
//! ```
//!
//! The file is found by its path each time, so it may be renamed over, or be a link that is turned to another. A rescan evaluates
//! it though it looks the same: the files of secrets that it names may have changed. What a rescan finds to be different it has to
//! find twice, a settling time apart.

mod rest;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::document::read_text;
use crate::watcher::{EventSource, HintMode, Hints, LOOK_INTERVAL_MIN, Sight, identify, round, sight_of};

use self::rest::Rest;
use super::{Config, ConfigError, Variables};

/// How often the file is looked at though nothing was announced, and read while it is bad: what it lacks may lie elsewhere.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How often a file that changes while it is read is read at once again for whoever asked.
const READS_MAX: u32 = 5;

/// Requests that wait for the task; those who have more wait with them.
const ASKS_MAX: usize = 8;

/// What the configuration file came to at one moment.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Counts what was published: 0 is what the host began with.
    pub number: u64,
    /// The configuration, or why there is none; whatever was good before goes on then.
    pub outcome: Result<Arc<Config>, Arc<ConfigError>>,
}

/// Who wants to have the file read at once.
type Ask = oneshot::Sender<Arc<Reading>>;

/// The handle of the task that follows the configuration file. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Follower {
    asks: mpsc::Sender<Ask>,
    newest: watch::Receiver<Arc<Reading>>,
}

impl Follower {
    /// Follows the file that `first` was read from, in the environment of this process, on the current Tokio runtime. The channel
    /// begins with `first`, as number 0. What does not differ from what was published last is not published; a file that was
    /// bad and is as before again is, as good.
    ///
    /// The task ends soon after `cancel`; what it is reading from a disk that hangs, it waits for. It goes on while nobody
    /// receives.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn spawn(
        first: Arc<Config>,
        cancel: CancellationToken,
    ) -> (watch::Receiver<Arc<Reading>>, Self, JoinHandle<()>) {
        Self::spawn_with(first, Variables::of_process(), HintMode::Events, cancel)
    }

    /// [`Follower::spawn`] with an environment of the caller's, and with events or without.
    pub fn spawn_with(
        first: Arc<Config>,
        variables: Variables,
        hints: HintMode,
        cancel: CancellationToken,
    ) -> (watch::Receiver<Arc<Reading>>, Self, JoinHandle<()>) {
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        let (patrol, newest) = Patrol::new(first, variables, hints);
        let task = tokio::spawn(run(patrol, asked, cancel));
        (newest.clone(), Self { asks, newest }, task)
    }

    /// Reads the file now, without waiting for it to rest, and returns what was published last after that. Once the task has
    /// ended: what was published last. Cancel safe; the file is read all the same.
    pub async fn look(&self) -> Arc<Reading> {
        let (answer, reading) = oneshot::channel();
        if self.asks.send(answer).await.is_ok()
            && let Ok(reading) = reading.await
        {
            return reading;
        }
        Arc::clone(&self.newest.borrow())
    }
}

/// Makes one round after the other until cancelled.
async fn run(mut patrol: Patrol, mut asks: mpsc::Receiver<Ask>, cancel: CancellationToken) {
    let hints = Arc::clone(&patrol.hints);
    let mut ask: Option<Ask> = None;
    while !cancel.is_cancelled() {
        let is_asked = ask.is_some();
        let Some((back, next_at)) = round(patrol, move |patrol: &mut Patrol| patrol.round(is_asked)).await else {
            return;
        };
        patrol = back;
        if let Some(ask) = ask.take() {
            // Who asked may have left.
            let _ = ask.send(Arc::clone(&patrol.publisher.borrow()));
        }
        // Cancel safe: a token, sleeps, hints that stay until they are taken, and a channel's `recv`.
        tokio::select! {
            () = cancel.cancelled() => {}
            () = tokio::time::sleep_until(next_at) => {}
            () = hints.next() => {}
            Some(asked) = asks.recv() => ask = Some(asked),
        }
    }
}

/// What the file was found to hold.
struct Evaluation {
    /// None: it could not be read.
    text: Option<String>,
    outcome: Result<Arc<Config>, Arc<ConfigError>>,
}

impl Evaluation {
    /// Reads the file and what it names. Blocks while the disk does; never waits for a pipe.
    fn of(path: &Path, variables: &Variables) -> Self {
        match read_text(path) {
            Err(error) => Self { text: None, outcome: Err(Arc::new(error)) },
            Ok(text) => {
                let outcome = Config::parse_with(&text, path, variables).map(Arc::new).map_err(Arc::new);
                Self { text: Some(text), outcome }
            }
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (&self.outcome, &other.outcome) {
            (Ok(one), Ok(other)) => one == other,
            (Err(one), Err(another)) => self.text == other.text && one.to_string() == another.to_string(),
            _ => false,
        }
    }
}

/// Whether the file was the same before it was read and after.
enum Held {
    Still,
    Changed,
}

/// All that goes on a round and comes back from it.
struct Patrol {
    path: PathBuf,
    variables: Variables,
    settle: Duration,
    rescan: Duration,
    hints: Arc<Hints>,
    /// Of the directory that the path names, and of the one in which the file is in the end, where that is another.
    events: [EventSource; 2],
    rest: Rest<Option<Sight>>,
    /// What was published last.
    published: Evaluation,
    /// What the last rescan found, where that was something else and is to be found again.
    doubt: Option<Evaluation>,
    publisher: watch::Sender<Arc<Reading>>,
}

impl Patrol {
    fn new(first: Arc<Config>, variables: Variables, mode: HintMode) -> (Self, watch::Receiver<Arc<Reading>>) {
        let (publisher, newest) = watch::channel(Arc::new(Reading { number: 0, outcome: Ok(Arc::clone(&first)) }));
        let hints = Arc::new(Hints::default());
        let (path, settle) = (first.path.clone(), first.host.watch_settle);
        let patrol = Self {
            variables,
            settle,
            rescan: first.host.watch_rescan.max(LOOK_INTERVAL_MIN),
            events: [EventSource::new(mode, Arc::clone(&hints)), EventSource::new(mode, Arc::clone(&hints))],
            hints,
            rest: Rest::new(settle, sight_of(&path), Instant::now()),
            path,
            published: Evaluation { text: Some(first.text.to_string()), outcome: Ok(first) },
            doubt: None,
            publisher,
        };
        (patrol, newest)
    }

    /// Looks at the file, reads it if that is due or asked for, publishes what is new; returns when to come back if nothing calls
    /// before.
    fn round(&mut self, is_asked: bool) -> Instant {
        let wanted = self.hints.take();
        let now = Instant::now();
        self.listen(wanted.rearm, now);
        self.rest.observe(sight_of(&self.path), now);
        if wanted.rescan {
            self.rest.suspect(now);
        }
        if is_asked {
            self.read_for_asker();
        } else if now >= self.rest.due_at() {
            self.read_when_due();
        }
        self.rest.due_at().min(Instant::now() + POLL_INTERVAL)
    }

    /// Sees to it that changes are announced, as far as they can be.
    fn listen(&mut self, rearm: bool, now: Instant) {
        let named = match self.path.parent() {
            Some(dir) if dir != Path::new("") => dir,
            _ => Path::new("."),
        };
        let named_identity = identify(named).ok();
        let target = fs::canonicalize(&self.path).ok().and_then(|path| Some(path.parent()?.to_owned()));
        let target = target.and_then(|dir| identify(&dir).ok().map(|identity| (dir, identity)));
        let target = target.filter(|(_, identity)| Some(*identity) != named_identity);
        let [of_named, of_target] = &mut self.events;
        match named_identity {
            Some(identity) => of_named.arm(named, identity, rearm, now),
            None => of_named.disarm(),
        }
        match target {
            Some((dir, identity)) => of_target.arm(&dir, identity, rearm, now),
            None => of_target.disarm(),
        }
    }

    fn read_when_due(&mut self) {
        let was_read = self.rest.is_read();
        let (evaluation, held) = self.evaluate();
        if matches!(held, Held::Changed) {
            return;
        }
        let is_found_again = self.doubt.take().is_some_and(|before| before.is_same(&evaluation));
        if !was_read || is_found_again || evaluation.is_same(&self.published) {
            self.conclude(evaluation);
        } else {
            self.doubt = Some(evaluation);
            self.rest.note_read(Instant::now() + self.settle);
        }
    }

    /// Reads at once, and again if the file changes meanwhile; one that does so without end is bad.
    fn read_for_asker(&mut self) {
        for _ in 0..READS_MAX {
            if let (evaluation, Held::Still) = self.evaluate() {
                return self.conclude(evaluation);
            }
        }
        let source = std::io::Error::other("it changes while it is read");
        let error = ConfigError::Unreadable { path: self.path.clone(), source };
        self.publish(Evaluation { text: None, outcome: Err(Arc::new(error)) });
    }

    fn evaluate(&mut self) -> (Evaluation, Held) {
        let before = sight_of(&self.path);
        self.rest.observe(before.clone(), Instant::now());
        let evaluation = Evaluation::of(&self.path, &self.variables);
        let after = sight_of(&self.path);
        let held = if before == after { Held::Still } else { Held::Changed };
        self.rest.observe(after, Instant::now());
        (evaluation, held)
    }

    /// Takes an evaluation for what the file is now.
    fn conclude(&mut self, evaluation: Evaluation) {
        self.doubt = None;
        let pause = if evaluation.outcome.is_ok() { self.rescan } else { self.rescan.min(POLL_INTERVAL) };
        self.rest.note_read(Instant::now() + pause);
        if !evaluation.is_same(&self.published) {
            self.publish(evaluation);
        }
    }

    fn publish(&mut self, evaluation: Evaluation) {
        let number = self.publisher.borrow().number + 1;
        self.publisher.send_replace(Arc::new(Reading { number, outcome: evaluation.outcome.clone() }));
        self.published = evaluation;
    }
}

#[cfg(test)]
mod tests;
