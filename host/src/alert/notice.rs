//! What people are told: one notice, and which alerts are in it. Pure. When the next one is due is decided in `alert/notice/digest`;
//! how it looks on a platform, in `alert/channel/text`.

mod digest;

use std::fmt;
use std::time::Duration;

pub use self::digest::{Digest, DigestRules};
use super::{Alert, Source, Standing};
use crate::action::Severity;
use crate::clock::Timestamp;

/// Alerts that one notice shows; of further ones it says how many there are.
pub const ENTRIES_MAX: usize = 10;

/// Names a notice, on every try to send it and on every channel. 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NoticeId(u128);

impl NoticeId {
    /// Returns an id that no other notice has: 12 digits of milliseconds since the epoch, and 80 random bits.
    pub fn generate(now: Timestamp) -> Self {
        let random = fastrand::u128(..) >> 48;
        Self(u128::from(now.as_millis() & 0xffff_ffff_ffff) << 80 | random)
    }
}

impl fmt::Display for NoticeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// One message to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Names it.
    pub id: NoticeId,
    /// The name of this host.
    pub host: String,
    /// When it was put together.
    pub at: Timestamp,
    /// What it is about.
    pub content: Content,
}

/// What a notice is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Content {
    /// The worst first, what is over last. At most [`ENTRIES_MAX`].
    pub entries: Vec<Entry>,
    /// What else there is.
    pub more: More,
}

/// One alert in a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What happened to it since it was last told of.
    pub happened: Happened,
    /// The alert; of one that is over, as it was last.
    pub alert: Alert,
    /// How often it came up since it was last told of.
    pub times: u64,
}

/// What happened to an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// It came up, and is.
    Fired,
    /// It is up, better or worse than it was told to be.
    Changed,
    /// It is still up, and nobody has said that he looks after it.
    Reminded,
    /// It came up and was over before anybody was told.
    CameAndWent(Ending),
    /// It was told of, and is over.
    Resolved(Ending),
    /// Nothing: somebody tries the channel.
    Tested,
}

/// How an alert ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// How long it was up, the last time.
    pub lasted: Duration,
    /// Who said that it is over. None: what it was about is.
    pub by: Option<String>,
}

/// What a notice tells of by number only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct More {
    /// Critical alerts that came up, whether they are up or not.
    pub critical: u64,
    /// Such warnings.
    pub warning: u64,
    /// Such alerts that are only information.
    pub info: u64,
    /// Alerts that were told of and are over.
    pub resolved: u64,
    /// Turns of alerts that were not heard of, because there were too many at once.
    pub turns_missed: u64,
    /// Earlier notices that could not be sent and are in these numbers.
    pub notices_merged: u64,
}

impl Notice {
    /// Returns a notice by which somebody tries a channel.
    pub fn test(host: &str, now: Timestamp) -> Self {
        let summary = "This is a test. Nothing has happened, and nothing needs to be done.";
        let alert = Alert::new(Source::Host, "test", Severity::Info, summary, now);
        let entries = vec![Entry { happened: Happened::Tested, alert, times: 1 }];
        let content = Content { entries, more: More::default() };
        Self { id: NoticeId::generate(now), host: host.to_owned(), at: now, content }
    }

    /// Returns whether it is one of [`Notice::test`].
    pub fn is_test(&self) -> bool {
        self.content.entries.iter().any(|entry| entry.happened == Happened::Tested)
    }
}

impl Content {
    /// Returns what is left when it is told by numbers only.
    pub fn counted(&self) -> More {
        let mut more = self.more;
        self.entries.iter().for_each(|entry| more.count(entry));
        more
    }
}

impl Entry {
    /// Returns whether the alert is over.
    pub fn is_over(&self) -> bool {
        matches!(self.happened, Happened::CameAndWent(_) | Happened::Resolved(_))
    }
}

impl Happened {
    /// Returns its name in what programs read.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Fired => "fired",
            Self::Changed => "changed",
            Self::Reminded => "reminder",
            Self::CameAndWent(_) => "came-and-went",
            Self::Resolved(_) => "resolved",
            Self::Tested => "test",
        }
    }

    /// Returns how it ended, of one that is over.
    pub fn ending(&self) -> Option<&Ending> {
        match self {
            Self::CameAndWent(ending) | Self::Resolved(ending) => Some(ending),
            Self::Fired | Self::Changed | Self::Reminded | Self::Tested => None,
        }
    }
}

impl More {
    /// Returns how many alerts it counts.
    pub fn alerts(&self) -> u64 {
        self.critical + self.warning + self.info + self.resolved
    }

    /// Returns whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what another notice would have told, which is not sent.
    pub fn merge(&mut self, other: Self) {
        self.critical = self.critical.saturating_add(other.critical);
        self.warning = self.warning.saturating_add(other.warning);
        self.info = self.info.saturating_add(other.info);
        self.resolved = self.resolved.saturating_add(other.resolved);
        self.turns_missed = self.turns_missed.saturating_add(other.turns_missed);
        self.notices_merged = self.notices_merged.saturating_add(other.notices_merged).saturating_add(1);
    }

    fn count(&mut self, entry: &Entry) {
        match entry.happened {
            Happened::Resolved(_) => self.resolved += 1,
            Happened::Tested => {}
            _ => self.add(entry.alert.severity),
        }
    }

    fn add(&mut self, severity: Severity) {
        *match severity {
            Severity::Critical => &mut self.critical,
            Severity::Warning => &mut self.warning,
            Severity::Info => &mut self.info,
        } += 1;
    }
}

/// Returns whether somebody said that he looks after an alert.
fn is_acknowledged(alert: &Alert) -> bool {
    matches!(alert.standing, Standing::Acknowledged { .. })
}
