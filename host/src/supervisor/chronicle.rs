//! Gives what is in force a number, once it has settled: every change of it is a generation that can be shown, compared and come
//! back to.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Supervisor;
use crate::generation::{Archive, GenerationError, Pinned, Snapshot};
use crate::id::BotName;

/// Bots that the reason of a generation names.
const NAMED_MAX: usize = 5;

/// What has changed since the last generation.
#[derive(Debug)]
pub(super) struct Chronicle {
    archive: Archive,
    is_due: bool,
    is_edited: bool,
    is_first: bool,
    changes: BTreeMap<BotName, &'static str>,
    /// The versions that serve, by bot, as they were when it was last looked.
    serving: BTreeMap<BotName, u64>,
}

impl Chronicle {
    pub(super) fn new(archive: Archive) -> Self {
        Self {
            archive,
            is_due: true,
            is_edited: false,
            is_first: true,
            changes: BTreeMap::new(),
            serving: BTreeMap::new(),
        }
    }

    /// Notes that a step was taken with a bot.
    pub(super) fn changed(&mut self, bot: &BotName, how: &'static str) {
        self.changes.insert(bot.clone(), how);
        self.is_due = true;
    }

    /// Notes that the configuration file has another text.
    pub(super) fn edited(&mut self) {
        (self.is_edited, self.is_due) = (true, true);
    }

    /// Notes which versions serve.
    pub(super) fn seen(&mut self, serving: BTreeMap<BotName, u64>) {
        for (bot, number) in &serving {
            if self.serving.get(bot).is_some_and(|before| before > number) {
                self.changes.insert(bot.clone(), "rolled back");
            }
        }
        if self.serving != serving {
            (self.serving, self.is_due) = (serving, true);
        }
    }

    pub(super) fn is_due(&self) -> bool {
        self.is_due
    }

    /// Returns whether this process has given none yet: before everything has settled once, nothing is in force.
    pub(super) fn is_first(&self) -> bool {
        self.is_first
    }

    /// Keeps what is in force, unless it is as it was. `is_settled`: nothing is on its way that may still come to serve.
    pub(super) async fn record(&mut self, mut snapshot: Snapshot, is_settled: bool) -> Result<(), GenerationError> {
        (snapshot.author, snapshot.reason) = self.why();
        // Whatever comes of it: a disk that is full is not asked again until something changes.
        (self.is_due, self.is_edited, self.is_first) = (false, false, false);
        self.changes.clear();
        let recorded = self.archive.record(snapshot).await?;
        if is_settled {
            self.archive.unpin_all().await?;
        }
        if let Some(generation) = recorded {
            let (number, author, reason) = (generation.number, &generation.author, &generation.reason);
            tracing::info!(generation = number, author, reason, "this is in force now");
        }
        Ok(())
    }

    /// Returns who brought the change about and why, as far as files tell.
    fn why(&self) -> (String, String) {
        let mut reason = String::new();
        if self.is_edited {
            reason.push_str("the configuration file was changed");
        }
        let more = self.changes.len().saturating_sub(NAMED_MAX);
        for (bot, how) in self.changes.iter().take(NAMED_MAX) {
            let comma = if reason.is_empty() { "" } else { ", " };
            write!(reason, "{comma}{bot} {how}").expect("writing to a string does not fail");
        }
        if more > 0 {
            write!(reason, " and {more} more").expect("writing to a string does not fail");
        }
        if self.is_first {
            return ("host".to_owned(), "start".to_owned());
        }
        let is_own = self.changes.values().any(|how| *how == "rolled back");
        (if is_own { "host" } else { "file" }.to_owned(), reason)
    }
}

impl Supervisor {
    /// Returns what is in force.
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut entries = BTreeMap::new();
        let mut bots = BTreeMap::new();
        for (name, running) in &self.running {
            let serving = running.bot.status().borrow().edition;
            let Some(wanted) = running.given.get(&serving).filter(|_| running.has_version) else { continue };
            let (version, text) = (&wanted.version, &wanted.text);
            entries.extend(text.as_ref().map(|text| (name.clone(), text.clone())));
            let (hash, len) = (version.component.hash, version.component.len);
            let (file, grants) = (version.entry.component.clone(), version.entry.grants.lines());
            bots.insert(name.clone(), Pinned { file, hash, len, grants });
        }
        for (name, desired) in &self.desired {
            if let super::Desired::Disabled { text: Some(text) } = desired {
                entries.insert(name.clone(), text.clone());
            }
        }
        Snapshot { config: self.config().text.clone(), entries, bots, author: String::new(), reason: String::new() }
    }

    /// Tells the chronicle which versions serve.
    pub(super) fn note_serving(&mut self) {
        let serving = self.running.iter().map(|(name, running)| (name.clone(), running.bot.status().borrow().edition));
        self.chronicle.seen(serving.filter(|(_, number)| *number > 0).collect());
    }
}
