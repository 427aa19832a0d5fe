//! Owns the places at which a test may have this process die, as `kill -9` or a power cut would have it, and nothing else.
//!
//! `CRASH_AT=NAME:N` in the environment aborts the process when the failpoint NAME is reached for the N-th time, counted
//! from 1. In a build with neither debug assertions nor the feature `failpoints`, nothing is looked up and nothing dies.
//!
//! A point's name says between which two steps it lies: `settle.before-commit` is reached with the transaction open, and
//! `settle.after-commit` before anybody has heard of it. `tests/integration/crash.rs` goes through [`Failpoint::ALL`].

use std::fmt;

/// Declares the enum, its names and the list of all, so that none can be in one and missing in another.
macro_rules! failpoints {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal,)+) => {
        /// A place at which the process may be made to die.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Failpoint {
            $($(#[$doc])+ $variant,)+
        }

        impl Failpoint {
            /// Every failpoint, in the order in which a message passes them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Returns the name by which `CRASH_AT` knows it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

failpoints! {
    /// The store was asked to take an event and has done nothing yet.
    AppendReceived = "append.received",
    /// Events are written, their transaction is open.
    AppendBeforeCommit = "append.before-commit",
    /// Events are durable, and no connector knows.
    AppendAfterCommit = "append.after-commit",
    /// An event is claimed for a bot.
    ClaimTaken = "claim.taken",
    /// The guest is about to be called.
    GuestBefore = "guest.before",
    /// The guest has answered; nothing of it is kept yet.
    GuestAfter = "guest.after",
    /// The handler's effects are written, their transaction is open.
    SettleBeforeCommit = "settle.before-commit",
    /// The handler's effects are durable; no action has been handed over.
    SettleAfterCommit = "settle.after-commit",
    /// A connector is about to be given an action.
    SendBefore = "send.before",
    /// The platform has answered; the host has not noted it.
    SendAfter = "send.after",
    /// The note that an action is done is written, its transaction is open.
    DeliveredBeforeCommit = "delivered.before-commit",
    /// The note that an action is done is durable.
    DeliveredAfterCommit = "delivered.after-commit",
    /// The host has a batch of updates; the poll that would confirm them has not gone out.
    OffsetBefore = "offset.before",
    /// A poll with a new offset was answered: the platform has forgotten what lies before it.
    OffsetAfter = "offset.after",
    /// An older schema was found and nothing has been done about it.
    MigrationBeforeCopy = "migration.before-copy",
    /// The older database was copied aside.
    MigrationAfterCopy = "migration.after-copy",
    /// The new schema is written, its transaction is open.
    MigrationBeforeCommit = "migration.before-commit",
    /// The new schema is durable.
    MigrationAfterCommit = "migration.after-commit",
    /// What an edit of the configuration is going to write is on disk beside its places, and nobody knows of it.
    EditBeforeIntent = "edit.before-intent",
    /// What an edit is going to write is written down, and no file has changed.
    EditAfterIntent = "edit.after-intent",
    /// One file of an edit is in its place.
    EditAfterFile = "edit.after-file",
    /// A generation is about to be written.
    RecordBefore = "record.before",
    /// A generation is durable, and the edit that it came by is not yet over.
    RecordAfter = "record.after",
}

impl fmt::Display for Failpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `CRASH_AT` is not `NAME:N`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FailpointError {
    /// No colon, or no number above 0 after it.
    #[error("CRASH_AT={value:?} is not NAME:N with N counted from 1, such as {}:1", Failpoint::SettleBeforeCommit)]
    NotNameAndCount {
        /// What it is.
        value: String,
    },
    /// A failpoint that does not exist.
    #[error("CRASH_AT names no failpoint: {name:?}; there are {}", names())]
    Unknown {
        /// What it names.
        name: String,
    },
}

fn names() -> String {
    Failpoint::ALL.iter().map(|point| point.name()).collect::<Vec<_>>().join(", ")
}

/// Where to die.
#[cfg(any(debug_assertions, feature = "failpoints", test))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plan {
    point: Failpoint,
    visit: std::num::NonZeroU64,
}

#[cfg(any(debug_assertions, feature = "failpoints", test))]
impl std::str::FromStr for Plan {
    type Err = FailpointError;

    fn from_str(value: &str) -> Result<Self, FailpointError> {
        let parts = value.rsplit_once(':').and_then(|(name, visit)| Some((name, visit.parse().ok()?)));
        let (name, visit) = parts.ok_or_else(|| FailpointError::NotNameAndCount { value: value.to_owned() })?;
        let point = Failpoint::ALL.iter().copied().find(|point| point.name() == name);
        let point = point.ok_or_else(|| FailpointError::Unknown { name: name.to_owned() })?;
        Ok(Self { point, visit })
    }
}

/// Checks what the environment asks for, so that a misspelt test does not pass by never dying. Called once, at the start.
///
/// # Errors
///
/// Fails where `CRASH_AT` is set, this build has failpoints, and it names none.
pub fn check() -> Result<(), FailpointError> {
    armed::check()
}

/// Dies here if `CRASH_AT` says so. Costs one relaxed load where it is not set, and nothing in a build without failpoints.
#[inline(always)]
pub fn reach(point: Failpoint) {
    armed::reach(point);
}

#[cfg(any(debug_assertions, feature = "failpoints"))]
mod armed {
    use std::io::Write;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::{Failpoint, FailpointError, Plan};

    /// The environment was looked at and asks for nothing. Relaxed: whoever reads an old `false` looks the plan up again.
    static IS_OFF: AtomicBool = AtomicBool::new(false);
    static PLAN: OnceLock<Result<Option<Plan>, FailpointError>> = OnceLock::new();
    static VISITS: AtomicU64 = AtomicU64::new(0);

    fn plan() -> &'static Result<Option<Plan>, FailpointError> {
        PLAN.get_or_init(|| match std::env::var_os("CRASH_AT") {
            Some(value) => value.to_string_lossy().parse().map(Some),
            None => Ok(None),
        })
    }

    pub(super) fn check() -> Result<(), FailpointError> {
        plan().clone().map(drop)
    }

    #[inline(always)]
    pub(super) fn reach(point: Failpoint) {
        if !IS_OFF.load(Ordering::Relaxed) {
            look(point);
        }
    }

    #[cold]
    fn look(point: Failpoint) {
        let Ok(Some(plan)) = plan() else {
            IS_OFF.store(true, Ordering::Relaxed);
            return;
        };
        if plan.point == point && VISITS.fetch_add(1, Ordering::Relaxed) + 1 == plan.visit.get() {
            // By hand: the log's thread would die with the line unwritten. A test tells this end from another abort by it.
            let _unheard = writeln!(std::io::stderr(), "CRASH_AT: {point} reached {} times, aborting", plan.visit);
            std::process::abort();
        }
    }
}

#[cfg(not(any(debug_assertions, feature = "failpoints")))]
mod armed {
    use super::{Failpoint, FailpointError};

    pub(super) fn check() -> Result<(), FailpointError> {
        Ok(())
    }

    #[inline(always)]
    pub(super) fn reach(_point: Failpoint) {}
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_is_another_and_is_understood() {
        let names: HashSet<_> = Failpoint::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), Failpoint::ALL.len());
        for point in Failpoint::ALL {
            let plan: Plan = format!("{point}:7").parse().unwrap();
            assert_eq!((plan.point, plan.visit.get()), (*point, 7));
        }
    }

    #[test]
    fn what_is_no_failpoint_is_refused_with_the_names_of_all() {
        let error = "settle.befor-commit:1".parse::<Plan>().unwrap_err().to_string();
        assert!(error.contains("\"settle.befor-commit\"; there are append.received, "), "{error}");
        assert!(Failpoint::ALL.iter().all(|point| error.contains(point.name())), "{error}");
    }

    #[test]
    fn a_count_that_is_missing_or_no_number_above_0_is_refused() {
        for value in ["", "guest.before", "guest.before:", "guest.before:0", "guest.before:-1", "guest.before:one"] {
            let error = value.parse::<Plan>().unwrap_err();
            assert_eq!(error, FailpointError::NotNameAndCount { value: value.to_owned() });
        }
    }
}
