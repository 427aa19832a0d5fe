//! How much a platform takes from us before it refuses, as data. The outbox keeps to it.

use serde::Deserialize;

use crate::rate::Quota;

/// Whether the outbox keeps to what a platform is known to take: `pace` in a connector's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PaceChoice {
    /// It does.
    #[default]
    Platform,
    /// Everything leaves at once, and only what the platform itself holds back is held back: for an account with limits of its own,
    /// and for a server of one's own.
    Off,
}

/// What a platform allows; none: nothing is known to be forbidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaceLimits {
    /// Of the whole connector: whatever is asked with its credentials.
    pub token: Option<Quota>,
    /// Of messages to one person.
    pub direct_chat: Option<Quota>,
    /// Of messages to one group or channel.
    pub group_chat: Option<Quota>,
}

impl PaceLimits {
    /// Everything is allowed.
    pub const NONE: Self = Self { token: None, direct_chat: None, group_chat: None };

    /// Returns what holds where the operator has chosen this.
    pub(super) fn chosen(self, choice: PaceChoice) -> Self {
        match choice {
            PaceChoice::Platform => self,
            PaceChoice::Off => Self::NONE,
        }
    }
}
