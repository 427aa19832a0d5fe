//! The host functions, one file for each capability. They check what the guest gave, then answer at once or gather.

pub(super) mod http;

mod alerts;
mod log;
mod messaging;
mod metrics;
mod settings;
mod state;
mod timers;

use super::effects::TooMuch;
use super::state::{GuestState, Stage};
use super::wit::v0_1::types;

impl types::Host for GuestState {}

impl From<TooMuch> for types::Failure {
    fn from(error: TooMuch) -> Self {
        Self::QuotaExceeded(error.to_string())
    }
}

impl GuestState {
    /// Refuses what `describe` may not do.
    fn may_act(&self) -> Result<(), types::Failure> {
        match self.stage {
            Stage::Act => Ok(()),
            Stage::Describe => Err(types::Failure::NotGranted("nothing is granted to `describe`".to_owned())),
        }
    }
}

/// Refuses a text that is empty or longer than `bytes_max`.
fn check_length(what: &str, text: &str, bytes_max: usize) -> Result<(), types::Failure> {
    if text.is_empty() || text.len() > bytes_max {
        return Err(types::Failure::Invalid(format!("{what} has 1 to {bytes_max} bytes, not {}", text.len())));
    }
    Ok(())
}

/// What a guest is told when the store cannot answer. Why is in the host's log: it is no business of the guest's.
fn store_unavailable(state: &GuestState, error: &crate::store::StoreError) -> types::Failure {
    tracing::error!(bot = %state.context.bot, %error, "the store did not answer a guest");
    types::Failure::Unavailable("the host's store".to_owned())
}
