//! What the log says of a turn of an alert.

use tracing::{error, info, warn};

use super::Source;
use super::book::Outcome;
use crate::action::Severity;

/// What the log says of a change.
pub(super) struct Line {
    pub(super) key: String,
    pub(super) severity: Severity,
    pub(super) summary: String,
}

/// The target of every line about an alert, which have a file of their own.
pub const TARGET: &str = "alert";

impl Line {
    pub(super) fn write(&self, source: &Source, outcome: &Outcome, muted: u64) {
        let bot = match source {
            Source::Host => None,
            Source::Bot(bot) => Some(tracing::field::display(bot)),
        };
        let (key, summary) = (&self.key, &self.summary);
        match (outcome, self.severity) {
            (Outcome::Rejected(rejection), _) => {
                warn!(target: TARGET, bot, key, reason = rejection.as_str(), muted, "alert not taken");
            }
            (Outcome::Resolved { alert, by }, _) => {
                info!(target: TARGET, bot, key, summary = alert.summary, by, muted, "alert resolved");
            }
            (_, Severity::Critical) => error!(target: TARGET, bot, key, summary, muted, "alert raised"),
            (_, Severity::Warning) => warn!(target: TARGET, bot, key, summary, muted, "alert raised"),
            (_, _) => info!(target: TARGET, bot, key, summary, muted, "alert raised"),
        }
    }
}
