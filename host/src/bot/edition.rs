//! One version of a bot as its task holds it: a guest, and the number under which it was offered.

use std::sync::Arc;

use super::life::Version;
use crate::sandbox::Guest;

/// A version of a bot.
#[derive(Debug, Clone)]
pub(super) struct Edition {
    pub(super) number: u64,
    pub(super) guest: Arc<Guest>,
}

impl Edition {
    /// Returns the same version with nothing left of what its instances had in memory.
    pub(super) fn anew(&self) -> Self {
        Self { number: self.number, guest: Arc::new(self.guest.anew()) }
    }
}

impl PartialEq for Edition {
    /// The same guest: one that was begun anew is another.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.guest, &other.guest)
    }
}

impl Version for Edition {
    fn number(&self) -> u64 {
        self.number
    }
}
