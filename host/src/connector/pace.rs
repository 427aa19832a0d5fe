//! How much a platform takes from us before it refuses, as data. The outbox keeps to it.

use crate::rate::Quota;

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
}
