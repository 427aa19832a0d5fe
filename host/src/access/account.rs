//! One account as it is kept.

use serde::{Deserialize, Serialize};

use super::Power;
use crate::clock::Timestamp;

/// Whether an account lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It does.
    Enabled,
    /// It does not, until it is enabled again.
    Disabled,
}

/// An account. Its name is the key under which it is kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// What is kept of its password.
    pub(super) password: String,
    /// What it may do, and with what.
    pub power: Power,
    /// Whether it lets in.
    pub standing: Standing,
    /// When it was made.
    pub created_at: Timestamp,
}

impl std::fmt::Debug for Account {
    /// Everything but what is kept of its password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("power", &self.power).field("standing", &self.standing).finish_non_exhaustive()
    }
}
