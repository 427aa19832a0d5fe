//! What happened to bots, as the operator asks for it: their faults, their restarts, and the versions of them that are not to be
//! tried again. What is done about any of it is decided by others and only told here.

use std::borrow::Cow;

use super::history::cut;
use super::sqlite::{Read, Write};
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::id::{BotName, ContentHash, EventId};

/// Longest message of an incident that is kept, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 2 << 10;
/// Longest backtrace of an incident that is kept, in bytes.
pub const BACKTRACE_BYTES_MAX: usize = 4 << 10;
/// Longest name of a kind, and longest strategy, in bytes.
const WORDS_BYTES_MAX: usize = 256;
/// Longest reason of a condemnation that is kept, in bytes.
pub const REASON_BYTES_MAX: usize = 2 << 10;

/// Something that happened to a bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// When.
    pub at: Timestamp,
    /// To whom.
    pub bot: BotName,
    /// What.
    pub kind: IncidentKind,
    /// The event that was at work; none: no event was.
    pub event: Option<EventId>,
    /// Which attempt at it, counted from 1. 0: none.
    pub attempt: u32,
    /// The version that it happened to.
    pub component: Option<ContentHash>,
    /// What went wrong, or more of what happened; cut to [`MESSAGE_BYTES_MAX`].
    pub message: String,
    /// Where in the guest, a line a function; cut to [`BACKTRACE_BYTES_MAX`], empty where there is none.
    pub backtrace: String,
    /// What was done about it: `retry`, `dead-letter`, `restart in 2 s`, `breaker open for 1 m`, `none`, …
    pub strategy: String,
}

/// What kind of thing happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IncidentKind {
    /// An attempt or an `init` did not go well. The word is the fault's own.
    Fault(Cow<'static, str>),
    /// The bot serves, for the first time in this process or after a stop.
    Started,
    /// It was started again with the same version.
    Restarted,
    /// Another version of it serves.
    Reloaded,
    /// A version that was watched is no worse than the one before.
    Proved,
    /// The version before came back.
    RolledBack,
    /// It gets no events for a while.
    BreakerOpen,
    /// It gets them again.
    BreakerClosed,
    /// It, or a version of it, was given up.
    Quarantined,
    /// The operator forgave it.
    Reset,
    /// It was taken down.
    Stopped,
    /// A version was not taken.
    Refused,
}

impl IncidentKind {
    /// Every kind that is no fault.
    const LIFE: [Self; 11] = [
        Self::Started,
        Self::Restarted,
        Self::Reloaded,
        Self::Proved,
        Self::RolledBack,
        Self::BreakerOpen,
        Self::BreakerClosed,
        Self::Quarantined,
        Self::Reset,
        Self::Stopped,
        Self::Refused,
    ];

    /// Returns the kind's name in listings. A fault may have the name of another kind: [`IncidentKind::is_fault`] tells them apart.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Fault(kind) => kind,
            Self::Started => "started",
            Self::Restarted => "restarted",
            Self::Reloaded => "reloaded",
            Self::Proved => "proved",
            Self::RolledBack => "rolled-back",
            Self::BreakerOpen => "breaker-open",
            Self::BreakerClosed => "breaker-closed",
            Self::Quarantined => "quarantined",
            Self::Reset => "reset",
            Self::Stopped => "stopped",
            Self::Refused => "refused",
        }
    }

    /// Returns whether an attempt or an `init` failed, rather than something changed in the bot's life.
    pub fn is_fault(&self) -> bool {
        matches!(self, Self::Fault(_))
    }

    /// Returns the kind that was stored as this; none where a newer host has stored it.
    pub(super) fn of(is_fault: bool, name: String) -> Option<Self> {
        if is_fault {
            return Some(Self::Fault(name.into()));
        }
        Self::LIFE.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// An incident that is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredIncident {
    /// Its number: grows in the order in which they were noted.
    pub id: u64,
    /// What happened.
    pub incident: Incident,
}

/// Which kinds of incident are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum IncidentFilter {
    /// All of them.
    #[default]
    All,
    /// Attempts and `init`s that failed.
    Faults,
    /// Changes in bots' lives.
    Life,
}

/// Which incidents are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IncidentQuery {
    /// Those of one bot.
    pub bot: Option<BotName>,
    /// Those of some kinds.
    pub kinds: IncidentFilter,
    /// Those that were noted before the one of this number.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: u32,
}

/// A version of a bot that is not to be tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condemned {
    /// The bot.
    pub bot: BotName,
    /// The version.
    pub component: ContentHash,
    /// Why; cut to [`REASON_BYTES_MAX`].
    pub reason: String,
    /// Since when.
    pub at: Timestamp,
}

impl Store {
    /// Notes an incident, without waiting: it goes to disk with what is written next, or after about a second by itself. What is
    /// noted while a thousand others wait is dropped and counted in [`StoreHealth`](super::StoreHealth); a crash takes along what
    /// has waited for less than a second. The newest 10,000 are kept, of one bot 500.
    ///
    /// Whoever notes what guests can bring about has to limit how often.
    pub fn note(&self, incident: Incident) {
        self.shared.notes.push(incident.trimmed());
    }

    /// Returns incidents that are on disk, the newest first. Those that cannot be trusted are put aside and left out.
    ///
    /// # Errors
    ///
    /// Where the database cannot be read.
    pub async fn incidents(&self, query: IncidentQuery) -> Result<Vec<StoredIncident>, StoreError> {
        let now = Timestamp::now();
        let found = self.read(now, |reply| Read::Incidents { query, reply }).await?;
        for (row, flaw) in found.unfit {
            self.put_aside(row, flaw, now).await?;
        }
        Ok(found.rows)
    }

    /// Condemns a version of a bot; one that is condemned already has the new reason from now on. Returns when that is on disk. Of
    /// more than a thousand, the one that was condemned first is forgotten.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub async fn condemn(
        &self,
        bot: &BotName,
        component: ContentHash,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let reason = cut(reason.to_owned(), REASON_BYTES_MAX);
        let condemned = Box::new(Condemned { bot: bot.clone(), component, reason, at: now });
        self.write(|reply| Write::Condemn { condemned, reply }).await
    }

    /// Forgives every version of a bot. Returns how many were condemned, when that is on disk.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub async fn pardon(&self, bot: &BotName) -> Result<usize, StoreError> {
        let bot = bot.clone();
        let pardoned = self.write(|reply| Write::Pardon { bot, reply }).await?;
        Ok(usize::try_from(pardoned).unwrap_or(usize::MAX))
    }

    /// Returns every version that is condemned, of all bots, the first first. One whose row cannot be trusted is put aside and
    /// left out: it would be tried again.
    ///
    /// # Errors
    ///
    /// Where the database cannot be read.
    pub async fn condemned(&self) -> Result<Vec<Condemned>, StoreError> {
        let now = Timestamp::now();
        let found = self.read(now, |reply| Read::Condemned { reply }).await?;
        for (row, flaw) in found.unfit {
            self.put_aside(row, flaw, now).await?;
        }
        Ok(found.rows)
    }
}

impl Incident {
    /// Returns it with its texts cut.
    fn trimmed(mut self) -> Self {
        if let IncidentKind::Fault(kind) = &mut self.kind
            && kind.len() > WORDS_BYTES_MAX
        {
            *kind = cut(std::mem::take(kind).into_owned(), WORDS_BYTES_MAX).into();
        }
        Self {
            message: cut(self.message, MESSAGE_BYTES_MAX),
            backtrace: cut(self.backtrace, BACKTRACE_BYTES_MAX),
            strategy: cut(self.strategy, WORDS_BYTES_MAX),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_known_by_its_name_and_a_fault_is_not_taken_for_another() {
        for kind in IncidentKind::LIFE {
            assert_eq!(IncidentKind::of(false, kind.as_str().to_owned()), Some(kind.clone()));
            assert_eq!(IncidentKind::of(true, kind.as_str().to_owned()).map(|kind| kind.is_fault()), Some(true));
        }
        assert_eq!(IncidentKind::of(false, "of a newer host".to_owned()), None);
    }

    #[test]
    fn no_text_is_kept_that_is_longer_than_its_cap() {
        let long = "é".repeat(5_000);
        let incident = Incident {
            at: Timestamp::from_millis(1),
            bot: "echo".parse().unwrap(),
            kind: IncidentKind::Fault(long.clone().into()),
            event: None,
            attempt: 0,
            component: None,
            message: format!("a{long}"),
            backtrace: long.clone(),
            strategy: long,
        };
        let Incident { kind, message, backtrace, strategy, .. } = incident.trimmed();
        let lens = [kind.as_str().len(), message.len(), backtrace.len(), strategy.len()];
        assert_eq!(lens, [256, 2047, 4096, 256], "cut between two characters");
    }
}
