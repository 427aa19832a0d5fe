//! Decides what the catalogue says: holds what was seen of each file and since when, and turns that into "read this one now"
//! and "publish this". Pure: no clock, no disk, no lock. Who drives it looks, reads and publishes.
//!
//! ```text
//!            seen differently                 settled: read             same hash, or reported
//!  Resting ──────────────────► Settling ────────────────────► (reading) ───────────────────────► Resting
//!     │                           ▲  ▲                            │
//!     │ rescan                    │  └── changed while read ──────┘
//!     └─────► Suspect ────────────┘
//!               │ read: other content though nothing else changed
//!               └─────────────────────────────── same hash ────────────────────────────────────► Resting
//! ```
//!
//! While the directory cannot be read nothing settles: what was reported of the files stays.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::catalogue::{Catalogue, DirectoryProblem, FileProblem};
use super::file::{Content, Reading};
use super::name::FileName;
use super::scan::{Look, Sight, Stamp};

/// A directory that never comes to rest is reported all the same after this many settling times: a publication waits no longer
/// for files that still change, and a deletion no longer for a directory that does.
const PATIENCE_SETTLES: u32 = 10;

/// What a file holds, or why it is of no use.
type Outcome = Result<Content, FileProblem>;

/// What was seen of the directory, and what was said of it.
#[derive(Debug)]
pub(super) struct Ledger {
    settle: Duration,
    directory: Directory,
    files: BTreeMap<FileName, Tracked>,
    /// When anything was last seen to change.
    stirred_at: Instant,
    /// When the first of the changes happened that are reported but not published.
    unpublished_since: Option<Instant>,
    published: Arc<Catalogue>,
}

#[derive(Debug)]
struct Directory {
    seen: Result<(), DirectoryProblem>,
    since: Instant,
    reported: Result<(), DirectoryProblem>,
}

/// One file.
#[derive(Debug)]
struct Tracked {
    /// What the last look showed; `None` for a file that is gone.
    seen: Option<Sight>,
    since: Instant,
    phase: Phase,
    /// What the catalogue says of it.
    reported: Option<Outcome>,
    /// What a reading showed that nothing had announced. Reported once a second reading shows the same.
    doubted: Option<Outcome>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// What was reported is what was seen.
    Resting,
    /// Changed; reported once it has not changed for the settling time.
    Settling,
    /// Nothing seems changed, but the rescan wants to know.
    Suspect,
}

impl Ledger {
    /// Returns a ledger of a directory nobody has looked at.
    pub(super) fn new(settle: Duration, now: Instant) -> Self {
        let published = Arc::new(Catalogue::unseen());
        let (seen, reported) = (published.directory.clone(), published.directory.clone());
        Self {
            settle,
            directory: Directory { seen, since: now, reported },
            files: BTreeMap::new(),
            stirred_at: now,
            unpublished_since: None,
            published,
        }
    }

    /// Returns what was published last.
    pub(super) fn published(&self) -> Arc<Catalogue> {
        self.published.clone()
    }

    /// Whether the last look showed a directory.
    pub(super) fn is_directory_readable(&self) -> bool {
        self.directory.seen.is_ok()
    }

    /// Takes in what a look at the directory showed.
    pub(super) fn observe(&mut self, look: Look, now: Instant) {
        let (seen, shown) = match look {
            Ok(files) => (Ok(()), Some(files)),
            Err(problem) => (Err(problem), None),
        };
        if self.directory.seen != seen {
            (self.directory.seen, self.directory.since) = (seen, now);
            self.stirred_at = now;
        }
        let Some(mut shown) = shown else { return };
        for (name, file) in &mut self.files {
            if file.see(shown.remove(name), now) {
                self.stirred_at = now;
            }
        }
        for (name, sight) in shown {
            self.files.insert(name, Tracked::new(sight, now));
            self.stirred_at = now;
        }
    }

    /// Has every file that seems unchanged read again.
    pub(super) fn suspect_all(&mut self) {
        for file in self.files.values_mut() {
            if file.phase == Phase::Resting && matches!(file.seen, Some(Sight::File(_))) {
                file.phase = Phase::Suspect;
            }
        }
    }

    /// Whether a file that [`Ledger::suspect_all`] named is still to be read.
    pub(super) fn is_suspecting(&self) -> bool {
        self.files.values().any(|file| file.phase == Phase::Suspect)
    }

    /// Reports what settled and need not be read: the directory, files that are gone, and what is no file.
    pub(super) fn settle(&mut self, now: Instant) {
        let directory = &mut self.directory;
        if directory.seen != directory.reported && now >= directory.since + self.settle {
            directory.reported = directory.seen.clone();
            self.unpublished_since.get_or_insert(now);
        }
        if directory.seen.is_err() {
            return;
        }
        let rest = Rest { settle: self.settle, stirred_at: self.stirred_at };
        self.files.retain(|_, file| {
            if file.phase != Phase::Settling || now < file.due_at(rest) {
                return true;
            }
            match &file.seen {
                Some(Sight::File(_)) => true,
                Some(Sight::Problem(problem)) => {
                    let outcome = Err(problem.clone());
                    if file.report(outcome) {
                        self.unpublished_since.get_or_insert(now);
                    }
                    true
                }
                None => {
                    if file.reported.is_some() {
                        self.unpublished_since.get_or_insert(now);
                    }
                    false
                }
            }
        });
    }

    /// Returns the file to read next, if there is one; settled changes come before what is only suspected.
    pub(super) fn next_read(&self, now: Instant) -> Option<(FileName, Stamp)> {
        if self.directory.seen.is_err() {
            return None;
        }
        let rest = Rest { settle: self.settle, stirred_at: self.stirred_at };
        let is_due = |file: &Tracked| match file.phase {
            Phase::Resting => None,
            Phase::Settling => (now >= file.due_at(rest)).then_some(0),
            Phase::Suspect => Some(1),
        };
        let readable = self.files.iter().filter_map(|(name, file)| match file.seen {
            Some(Sight::File(stamp)) => Some((is_due(file)?, name, stamp)),
            _ => None,
        });
        readable.min_by_key(|(urgency, ..)| *urgency).map(|(_, name, stamp)| (name.clone(), stamp))
    }

    /// Takes in what came of reading the file that [`Ledger::next_read`] named.
    pub(super) fn record(&mut self, name: FileName, reading: Reading, now: Instant) {
        let Entry::Occupied(mut file) = self.files.entry(name) else { return };
        let file = file.get_mut();
        match reading {
            Reading::Changed(sight) => {
                file.restart(sight, now);
                self.stirred_at = now;
            }
            Reading::Done(outcome) => {
                let is_expected = match file.phase {
                    Phase::Settling => file.doubted.as_ref().is_none_or(|doubted| *doubted == outcome),
                    Phase::Resting | Phase::Suspect => file.reported.as_ref() == Some(&outcome),
                };
                if !is_expected {
                    file.restart(file.seen.clone(), now);
                    file.doubted = Some(outcome);
                } else if file.report(outcome) {
                    self.unpublished_since.get_or_insert(now);
                }
            }
        }
    }

    /// Returns a catalogue to publish, if there is a new one and either everything is at rest, so that what was saved together
    /// is seen together, or it has waited long enough for the rest.
    pub(super) fn publish(&mut self, now: Instant) -> Option<Arc<Catalogue>> {
        let since = self.unpublished_since?;
        if self.is_settling() && now < since + self.patience() {
            return None;
        }
        self.unpublished_since = None;
        let mut catalogue = self.catalogue();
        if catalogue == *self.published {
            return None;
        }
        catalogue.generation += 1;
        self.published = Arc::new(catalogue);
        Some(self.published())
    }

    /// Returns when the next thing will be due without anything changing; `None` if nothing will.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let directory = &self.directory;
        let directory_due = (directory.seen != directory.reported).then(|| directory.since + self.settle);
        let rest = Rest { settle: self.settle, stirred_at: self.stirred_at };
        let files = directory.seen.is_ok().then_some(&self.files).into_iter().flatten();
        let file_due = files.filter_map(|(_, file)| match file.phase {
            Phase::Resting => None,
            Phase::Settling => Some(file.due_at(rest)),
            Phase::Suspect => Some(self.stirred_at),
        });
        let publication_due = self.unpublished_since.map(|since| since + self.patience());
        directory_due.into_iter().chain(file_due.min()).chain(publication_due).min()
    }

    /// Whether everything that was seen is published.
    pub(super) fn is_at_rest(&self) -> bool {
        !self.is_settling() && !self.is_suspecting() && self.unpublished_since.is_none()
    }

    fn is_settling(&self) -> bool {
        self.directory.seen != self.directory.reported
            || (self.directory.seen.is_ok() && self.files.values().any(|file| file.phase == Phase::Settling))
    }

    fn patience(&self) -> Duration {
        self.settle * PATIENCE_SETTLES
    }

    /// Returns what is to be said, under the generation that was published last.
    fn catalogue(&self) -> Catalogue {
        let mut catalogue = Catalogue {
            generation: self.published.generation,
            directory: self.directory.reported.clone(),
            ..Catalogue::unseen()
        };
        for (name, file) in &self.files {
            match (name, file.reported.clone()) {
                (FileName::Component(bot), Some(outcome)) => {
                    let files = catalogue.files.entry(bot.clone()).or_default();
                    files.component = outcome.map(Content::into_component).transpose();
                }
                (FileName::Entry(bot), Some(outcome)) => {
                    let files = catalogue.files.entry(bot.clone()).or_default();
                    files.entry = outcome.map(Content::into_entry).transpose();
                }
                (FileName::Misnamed(file), Some(Err(problem))) => {
                    catalogue.misnamed.insert(file.clone(), problem);
                }
                (FileName::Misnamed(_), Some(Ok(_))) | (_, None) => {}
            }
        }
        catalogue
    }
}

/// How long files rest before they are reported, and since when the directory does.
#[derive(Debug, Clone, Copy)]
struct Rest {
    settle: Duration,
    stirred_at: Instant,
}

impl Tracked {
    fn new(sight: Sight, now: Instant) -> Self {
        Self { seen: Some(sight), since: now, phase: Phase::Settling, reported: None, doubted: None }
    }

    /// Takes in what a look showed; returns whether that is news.
    fn see(&mut self, sight: Option<Sight>, now: Instant) -> bool {
        let is_news = self.seen != sight;
        if is_news {
            self.restart(sight, now);
        }
        is_news
    }

    fn restart(&mut self, sight: Option<Sight>, now: Instant) {
        (self.seen, self.since, self.phase, self.doubted) = (sight, now, Phase::Settling, None);
    }

    /// Returns when it may be reported. That a file is gone waits for the whole directory to rest, for a directory that is
    /// emptied may be about to be removed or filled again, and that is not what it means to delete a bot.
    fn due_at(&self, rest: Rest) -> Instant {
        let own = self.since + rest.settle;
        match self.seen {
            Some(_) => own,
            None => own.max((rest.stirred_at + rest.settle).min(self.since + rest.settle * PATIENCE_SETTLES)),
        }
    }

    /// Settles what the catalogue is to say; returns whether that is new.
    fn report(&mut self, outcome: Outcome) -> bool {
        (self.phase, self.doubted) = (Phase::Resting, None);
        let is_new = self.reported.as_ref() != Some(&outcome);
        self.reported = Some(outcome);
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::{BotFiles, ComponentFile, EntryFile, FileKind};
    use super::*;
    use crate::id::ContentHash;
    use proptest::prelude::*;
    use std::path::PathBuf;

    const SETTLE: Duration = Duration::from_millis(200);
    const DIR: &str = "/bots";

    /// What lies under a name of the model's directory.
    #[derive(Debug, Clone, PartialEq)]
    struct Lying {
        stamp: Stamp,
        /// `None` is a pipe.
        text: Option<&'static str>,
        stamped_at: Instant,
    }

    /// A directory in memory, and a ledger that is driven over it as the watcher drives it over the disk.
    struct World {
        now: Instant,
        files: Option<BTreeMap<FileName, Lying>>,
        ledger: Ledger,
        stamps: u64,
        publications: Vec<Arc<Catalogue>>,
    }

    impl World {
        fn new() -> Self {
            let now = Instant::now();
            let ledger = Ledger::new(SETTLE, now);
            Self { now, files: Some(BTreeMap::new()), ledger, stamps: 0, publications: Vec::new() }
        }

        /// A world in which `x.wasm` with this text has been published.
        fn with_x(text: &'static str) -> Self {
            let mut world = Self::new();
            world.write(&x(), Some(text));
            world.rest();
            assert_eq!(world.publications.len(), 1);
            world
        }

        fn stamp(&mut self) -> Stamp {
            self.stamps += 1;
            Stamp { device: 1, inode: self.stamps, len: 1, modified_ns: 0, changed_ns: 0 }
        }

        fn write(&mut self, name: &FileName, text: Option<&'static str>) {
            let lying = Lying { stamp: self.stamp(), text, stamped_at: self.now };
            self.files.iter_mut().for_each(|files| _ = files.insert(name.clone(), lying.clone()));
        }

        /// Changes the content and nothing else.
        fn write_unseen(&mut self, name: &FileName, text: &'static str) {
            let file = self.files.iter_mut().flatten().find(|(at, file)| *at == name && file.text.is_some());
            file.into_iter().for_each(|(_, file)| file.text = Some(text));
        }

        fn rename(&mut self, from: &FileName, to: &FileName) {
            let moved = self.files.as_mut().and_then(|files| files.remove(from));
            moved.into_iter().for_each(|file| self.write(to, file.text));
        }

        fn remove(&mut self, name: &FileName) {
            self.files.iter_mut().for_each(|files| _ = files.remove(name));
        }

        fn look(&mut self) {
            let shown = self.files.as_ref().map(|files| {
                files.iter().map(|(name, file)| (name.clone(), sight(name, file))).collect::<BTreeMap<_, _>>()
            });
            self.ledger.observe(shown.ok_or(DirectoryProblem::Missing { path: DIR.into() }), self.now);
            self.ledger.settle(self.now);
        }

        /// Reads the next file that is due; returns whether one was.
        fn read(&mut self) -> bool {
            let Some((name, expected)) = self.ledger.next_read(self.now) else { return false };
            let found = self.files.as_ref().and_then(|files| files.get(&name));
            let reading = match found {
                Some(file) if file.stamp == expected => {
                    assert!(self.now >= file.stamped_at + SETTLE, "read before it settled");
                    Reading::Done(outcome(&name, file))
                }
                other => Reading::Changed(other.map(|file| sight(&name, file))),
            };
            self.ledger.record(name, reading, self.now);
            true
        }

        fn publish(&mut self) {
            let last = self.ledger.published();
            if let Some(new) = self.ledger.publish(self.now) {
                assert_eq!(new.generation, last.generation + 1);
                assert_ne!(Catalogue { generation: last.generation, ..(*new).clone() }, *last, "published the same");
                self.publications.push(new);
            }
        }

        fn round(&mut self) {
            self.look();
            while self.read() {}
            self.publish();
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
        }

        /// Makes a round, and then one whenever something is due, until nothing is.
        fn rest(&mut self) {
            self.round();
            for _ in 0..100 {
                let Some(due) = self.ledger.next_due() else { return };
                self.now = self.now.max(due);
                self.round();
            }
            panic!("never at rest: {:#?}", self.ledger);
        }

        fn last(&self) -> &Catalogue {
            self.publications.last().unwrap()
        }

        fn texts_of_x(&self) -> Vec<Option<ContentHash>> {
            let of = |catalogue: &Arc<Catalogue>| {
                Some(catalogue.files.values().next()?.component.clone()?.expect("no problem").hash)
            };
            self.publications.iter().map(of).collect()
        }

        /// What the catalogue should say of the directory.
        fn truth(&self) -> BTreeMap<crate::id::BotName, BotFiles> {
            let mut truth = BTreeMap::<_, BotFiles>::new();
            for (name, file) in self.files.iter().flatten() {
                let outcome = outcome(name, file);
                match name {
                    FileName::Component(bot) => {
                        truth.entry(bot.clone()).or_default().component =
                            outcome.map(Content::into_component).transpose();
                    }
                    FileName::Entry(bot) => {
                        truth.entry(bot.clone()).or_default().entry = outcome.map(Content::into_entry).transpose();
                    }
                    FileName::Misnamed(_) => {}
                }
            }
            truth
        }
    }

    fn sight(name: &FileName, file: &Lying) -> Sight {
        match outcome(name, file) {
            Ok(_) => Sight::File(file.stamp),
            Err(problem) => Sight::Problem(problem),
        }
    }

    fn outcome(name: &FileName, file: &Lying) -> Outcome {
        let path = name.path_in(&PathBuf::from(DIR));
        let Some(text) = file.text else { return Err(FileProblem::NotAFile { path, kind: FileKind::Fifo }) };
        let hash = ContentHash::of(text.as_bytes());
        Ok(match name {
            FileName::Entry(_) => Content::Entry(EntryFile { path, text: text.into(), hash }),
            _ => Content::Component(ComponentFile { path, hash, len: text.len() as u64 }),
        })
    }

    fn x() -> FileName {
        FileName::Component("x".parse().unwrap())
    }

    fn y() -> FileName {
        FileName::Component("y".parse().unwrap())
    }

    fn hash(text: &str) -> Option<ContentHash> {
        Some(ContentHash::of(text.as_bytes()))
    }

    #[test]
    fn an_empty_directory_is_published_once_it_was_looked_at() {
        let mut world = World::new();
        world.round();
        assert!(world.publications.is_empty());
        world.rest();
        assert_eq!((world.last().generation, &world.last().directory), (1, &Ok(())));
        world.rest();
        assert_eq!(world.publications.len(), 1);
    }

    #[test]
    fn f039_a_file_that_grows_is_reported_once_and_whole() {
        let mut world = World::with_x("v1");
        for text in ["h", "ha", "hal", "half"] {
            world.write(&x(), Some(text));
            world.round();
            world.pass(SETTLE - Duration::from_millis(1));
            world.round();
        }
        world.rest();
        assert_eq!(world.texts_of_x(), [hash("v1"), hash("half")]);
    }

    #[test]
    fn f039_a_file_that_changes_while_it_is_read_is_read_again_later() {
        let mut world = World::with_x("v1");
        world.write(&x(), Some("half"));
        world.round();
        world.pass(SETTLE);
        world.look();
        world.write(&x(), Some("whole"));
        assert!(world.read(), "the half was due");
        world.publish();
        assert!(!world.read(), "read again before it settled");
        world.rest();
        assert_eq!(world.texts_of_x(), [hash("v1"), hash("whole")]);
    }

    #[test]
    fn f043_a_file_that_is_replaced_by_deleting_it_first_was_never_gone() {
        let mut world = World::with_x("v1");
        world.remove(&x());
        world.round();
        world.pass(SETTLE / 2);
        world.write(&x(), Some("v2"));
        world.rest();
        assert_eq!(world.texts_of_x(), [hash("v1"), hash("v2")]);
    }

    #[test]
    fn f043_a_deletion_waits_until_the_directory_rests_but_not_for_ever() {
        let mut world = World::with_x("v1");
        world.remove(&x());
        let gone_at = world.now;
        while world.publications.len() == 1 {
            world.write(&y(), Some("restless"));
            world.round();
            world.pass(SETTLE / 2);
        }
        assert_eq!(world.last().files.len(), 0);
        let waited = world.now - gone_at;
        assert!(waited >= SETTLE * PATIENCE_SETTLES && waited <= SETTLE * PATIENCE_SETTLES * 3, "{waited:?}");
    }

    #[test]
    fn f043_a_directory_that_is_gone_takes_no_file_with_it() {
        let mut world = World::with_x("v1");
        // As `rm -r` does it: the files first, and nobody looks in between for long.
        world.write(&y(), Some("v1"));
        world.rest();
        world.remove(&x());
        world.round();
        world.pass(SETTLE / 2);
        world.files = None;
        world.rest();
        world.ledger.suspect_all();
        assert_eq!(world.ledger.next_read(world.now), None);
        assert!(matches!(world.last().directory, Err(DirectoryProblem::Missing { .. })));
        world.pass(SETTLE * 100);
        world.files = Some(BTreeMap::new());
        world.round();
        world.pass(SETTLE / 2);
        world.write(&x(), Some("v2"));
        world.write(&y(), Some("v2"));
        world.rest();
        assert_eq!(world.last().directory, Ok(()));
        assert!(world.publications[1..].iter().all(|catalogue| catalogue.files.len() == 2));
        assert_eq!(world.texts_of_x().last(), Some(&hash("v2")));
    }

    #[test]
    fn f044_what_changes_together_is_published_together() {
        let mut world = World::with_x("v1");
        world.write(&x(), Some("v2"));
        world.round();
        world.pass(SETTLE / 2);
        world.write(&y(), Some("v2"));
        world.rest();
        assert_eq!(world.publications.len(), 2);
        assert_eq!(world.last().files.len(), 2);
    }

    #[test]
    fn f044_a_file_that_never_rests_holds_up_no_other_for_long() {
        let mut world = World::with_x("v1");
        world.write(&x(), Some("v2"));
        let changed_at = world.now;
        while world.publications.len() == 1 {
            world.write(&y(), Some("restless"));
            world.round();
            world.pass(SETTLE / 2);
        }
        assert_eq!(world.texts_of_x().last(), Some(&hash("v2")));
        assert!(world.now - changed_at <= SETTLE * (PATIENCE_SETTLES + 3));
    }

    #[test]
    fn f047_content_that_changed_unseen_is_found_by_a_rescan_and_believed_when_it_is_seen_twice() {
        let mut world = World::with_x("v1");
        world.write_unseen(&x(), "half");
        world.rest();
        assert_eq!(world.publications.len(), 1);
        world.ledger.suspect_all();
        world.round();
        world.write_unseen(&x(), "whole");
        world.pass(SETTLE);
        world.round();
        assert_eq!(world.publications.len(), 1, "believed at first sight");
        world.rest();
        assert_eq!(world.texts_of_x(), [hash("v1"), hash("whole")]);
    }

    #[test]
    fn f047_a_rescan_that_finds_nothing_new_publishes_nothing() {
        let mut world = World::with_x("v1");
        world.write(&x(), Some("v1"));
        world.rest();
        world.ledger.suspect_all();
        assert!(world.ledger.is_suspecting());
        world.rest();
        assert!(!world.ledger.is_suspecting());
        assert_eq!(world.publications.len(), 1);
    }

    #[test]
    fn a_new_file_is_read_before_those_of_a_rescan() {
        let mut world = World::with_x("v1");
        world.write(&y(), Some("v1"));
        world.round();
        world.pass(SETTLE);
        world.ledger.suspect_all();
        assert_eq!(world.ledger.next_read(world.now).map(|(name, _)| name), Some(y()));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Write(FileName, Option<&'static str>),
        WriteUnseen(FileName, &'static str),
        Rename(FileName, FileName),
        Remove(FileName),
        RemoveDirectory,
        MakeDirectory,
        Pass(u64),
        Look,
        Read,
        Publish,
        Rescan,
    }

    fn name() -> impl Strategy<Value = FileName> {
        (prop::sample::select(vec!["a", "b"]), any::<bool>()).prop_map(|(bot, is_entry)| {
            let bot = bot.parse().unwrap();
            if is_entry { FileName::Entry(bot) } else { FileName::Component(bot) }
        })
    }

    fn step() -> impl Strategy<Value = Step> {
        let text = || prop::sample::select(vec!["v1", "v2", "v3"]);
        prop_oneof![
            4 => (name(), text()).prop_map(|(name, text)| Step::Write(name, Some(text))),
            1 => name().prop_map(|name| Step::Write(name, None)),
            1 => (name(), text()).prop_map(|(name, text)| Step::WriteUnseen(name, text)),
            2 => (name(), name()).prop_map(|(from, to)| Step::Rename(from, to)),
            2 => name().prop_map(Step::Remove),
            1 => Just(Step::RemoveDirectory),
            2 => Just(Step::MakeDirectory),
            6 => (0u64..300).prop_map(Step::Pass),
            6 => Just(Step::Look),
            4 => Just(Step::Read),
            3 => Just(Step::Publish),
            1 => Just(Step::Rescan),
        ]
    }

    impl World {
        fn take(&mut self, step: Step) {
            match step {
                Step::Write(name, text) => self.write(&name, text),
                Step::WriteUnseen(name, text) => self.write_unseen(&name, text),
                Step::Rename(from, to) => self.rename(&from, &to),
                Step::Remove(name) => self.remove(&name),
                Step::RemoveDirectory => self.files = None,
                Step::MakeDirectory => _ = self.files.get_or_insert_default(),
                Step::Pass(millis) => self.pass(Duration::from_millis(millis)),
                Step::Look => self.look(),
                Step::Read => _ = self.read(),
                Step::Publish => self.publish(),
                Step::Rescan => self.ledger.suspect_all(),
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_the_catalogue_ends_as_the_directory(steps in prop::collection::vec(step(), 0..120)) {
            let mut world = World::new();
            for step in steps {
                world.take(step);
            }
            world.rest();
            world.ledger.suspect_all();
            world.rest();
            let last = world.ledger.published();
            prop_assert_eq!(last.directory.is_ok(), world.files.is_some());
            if world.files.is_some() {
                prop_assert_eq!(&last.files, &world.truth());
            }
        }

        #[test]
        fn while_the_directory_is_gone_no_file_is_dropped(steps in prop::collection::vec(step(), 0..60)) {
            let mut world = World::new();
            for step in steps {
                world.take(step);
            }
            world.rest();
            let before = world.ledger.published();
            world.files = None;
            world.rest();
            world.pass(SETTLE * 100);
            world.rest();
            prop_assert_eq!(&world.ledger.published().files, &before.files);
        }
    }
}
